/*
 * Any file may be called MANIFEST: decoding answers, and what it accepts is
 * encoded to bytes that decode to the same again. Tried as it is and with a
 * right checksum and length.
 *
 * Decodes in part: engine/manifest.c
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "engine/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void decode(const uint8_t *p, size_t n)
{
	struct buf a = BUF_INIT, b = BUF_INIT;
	struct manifest m, copy;

	if (manifest_decode(bytes_of(p, n), &m))
		return;
	CHECK(!manifest_copy(&m, &copy));
	CHECK(!manifest_encode(&m, &a));
	CHECK(!manifest_encode(&copy, &b));
	CHECK(bytes_equal(buf_bytes(&a), buf_bytes(&b)));
	manifest_done(&copy);
	CHECK(!manifest_decode(buf_bytes(&a), &copy));
	manifest_done(&copy);
	manifest_done(&m);
	buf_done(&a);
	buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	uint8_t *copy;

	decode(data, n);
	if (n < 80)
		return 0;
	copy = malloc(n);
	CHECK(copy);
	memcpy(copy, data, n);
	put_u32(copy + 4, 0x464d4352);
	put_u32(copy + 8, MANIFEST_FORMAT_VERSION);
	put_u64(copy + 72, n);
	put_u32(copy, crc32c(0, copy + 4, n - 4));
	decode(copy, n);
	free(copy);
	return 0;
}
