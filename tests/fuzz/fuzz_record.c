/*
 * Any bytes may lie where a record is expected: decoding answers, and what it
 * accepts is encoded to the same bytes again. A record is 64 bytes and two
 * checksums, so the input is also tried with both made right.
 *
 * Decodes: engine/record.c
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "engine/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void decode(const uint8_t *p, size_t n)
{
	enum record_state state;
	struct record r;
	uint64_t bytes;
	uint8_t *again;

	state = record_decode(p, n, 7, true, &r, &bytes);
	if (state == RECORD_BAD_HEADER)
		return;
	CHECK(bytes <= n && bytes % 8 == 0);
	CHECK(r.key.p + r.key.n == r.attrs.p);
	CHECK(r.attrs.p + r.attrs.n == r.value.p);
	CHECK(r.value.p + r.value.n <= p + bytes);
	if (state != RECORD_OK)
		return;
	again = malloc(bytes);
	CHECK(again && record_encode(again, 7, &r) == bytes);
	CHECK(memcmp(again, p,
		     RECORD_HEADER_BYTES + r.key.n + r.attrs.n + r.value.n) ==
	      0);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	uint64_t head, value;
	uint8_t *copy;
	uint32_t crc;

	decode(data, n);
	if (n < RECORD_HEADER_BYTES)
		return 0;
	head = RECORD_HEADER_BYTES + get_u16(data + 56) + get_u16(data + 58);
	value = get_u32(data + 60);
	if (head + value > n)
		return 0;
	copy = malloc(n);
	CHECK(copy);
	memcpy(copy, data, n);
	put_u16(copy + 8, RECORD_MAGIC);
	crc = crc32c(7, copy + 8, head - 8);
	put_u32(copy, crc);
	put_u32(copy + 4, crc32c(crc, copy + head, value));
	decode(copy, n);
	free(copy);
	return 0;
}
