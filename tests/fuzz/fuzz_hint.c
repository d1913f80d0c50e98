/*
 * Any file may have the name of a hint: loading answers, and what it accepts
 * can be walked and merged. Tried as it is and with right checksums, for the
 * pass over the items must hold without them.
 *
 * Decodes in part: engine/hint.c engine/run.c
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "engine/hint.h"
#include "engine/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static enum err on_live(void *ctx, const struct run_item *item)
{
	uint64_t *sum = ctx;

	CHECK(item->key.n <= RECORD_KEY_BYTES_MAX);
	*sum += crc32c(0, item->key.p, item->key.n) + item->expiry_ns +
		item->term;
	return OK;
}

static void load(const uint8_t *p, size_t n)
{
	struct hint_file file = { .data_bytes = 0 };
	struct buf b = BUF_INIT;
	struct hint *h;
	uint64_t sum = 0;

	if (n >= 32) {
		file.file_id = get_u32(p + 16);
		file.salt = get_u64(p + 24);
	}
	CHECK(!buf_add(&b, p, n));
	if (hint_decode(&b, &file, &h)) {
		CHECK(b.n == n);
		buf_done(&b);
		return;
	}
	for (uint32_t i = 0; i < hint_partition_count(h); i++) {
		struct run *run = hint_partition(h, i)->run;

		CHECK(!run_merge(&run, 1, on_live, NULL, &sum));
	}
	hint_free(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	uint64_t table_bytes;
	uint8_t *copy;

	load(data, n);
	if (n < 64)
		return 0;
	table_bytes = 96ull * get_u32(data + 12);
	if (table_bytes > n - 64)
		return 0;
	copy = malloc(n);
	CHECK(copy);
	memcpy(copy, data, n);
	put_u32(copy + 4, 0x54484352);
	put_u32(copy + 8, HINT_FORMAT_VERSION);
	put_u64(copy + 48, n);
	put_u32(copy + 56,
		crc32c(crc32c(0, copy + 4, 52), copy + 64, table_bytes));
	put_u32(copy, crc32c(0, copy + 4, n - 4));
	load(copy, n);
	free(copy);
	return 0;
}
