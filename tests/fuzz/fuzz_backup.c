/*
 * Any bytes may be given to `raftcask restore`: the reader answers, reads
 * nothing beyond its input and reaches no check. Checksums would keep the
 * fuzzer out, so the input is also tried with the right ones: as a head and
 * blocks whose payload is what it says, records' sums included.
 *
 * Decodes: store/backup_reader.c
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "engine/record.h"
#include "store/backup_format.h"
#include "store/backup_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static enum err see(void *ctx, const struct record *r)
{
	const struct backup_head *h = ctx;

	CHECK(r->partition < h->partitions);
	CHECK(r->index > 0);
	return r->key.n == 3 ? ERR_IO : OK; /* events may fail, too */
}

static enum err see_head(void *ctx, const struct backup_head *h)
{
	*(struct backup_head *)ctx = *h;
	return OK;
}

static void read_all(const uint8_t *data, size_t n, size_t piece)
{
	struct backup_head head = { 0 };
	const struct backup_events events = { see_head, see, &head };
	struct backup_reader *r;
	enum err err = OK;

	CHECK(!backup_reader_new(&events, &r));
	for (size_t at = 0; !err && at < n; at += piece)
		err = backup_reader_feed(
			r,
			bytes_of(data + at, n - at < piece ? n - at : piece));
	if (!err)
		err = backup_reader_end(r);
	CHECK(backup_reader_bytes(r) <= n);
	backup_reader_free(r);
}

/* One partition, its index as high as may be. */
static size_t make_head(uint8_t *p)
{
	size_t n = BACKUP_HEAD_BYTES + BACKUP_PART_BYTES;

	memset(p, 0, n);
	put_u32(p + 4, BACKUP_MAGIC);
	put_u32(p + 8, BACKUP_FORMAT_VERSION);
	put_u32(p + 12, 1);
	put_u64(p + BACKUP_HEAD_BYTES, (1ull << 48) - 1);
	put_u32(p, crc32c(0, p + 4, n - 4));
	return n;
}

/* The first record's sums over whatever lengths it claims, if they fit. */
static void mend_record(uint8_t *p, size_t n, uint32_t seed)
{
	size_t key, attrs, value;

	if (n < RECORD_HEADER_BYTES)
		return;
	key = get_u16(p + 56);
	attrs = get_u16(p + 58);
	value = get_u32(p + 60);
	if (RECORD_HEADER_BYTES + key + attrs + value > n)
		return;
	put_u16(p + 8, RECORD_MAGIC);
	put_u32(p, crc32c(seed, p + 8, RECORD_HEADER_BYTES - 8 + key + attrs));
	put_u32(p + 4, crc32c(get_u32(p), p + RECORD_HEADER_BYTES + key + attrs,
			      value));
}

static void read_mended(const uint8_t *data, size_t n)
{
	size_t head = BACKUP_HEAD_BYTES + BACKUP_PART_BYTES;
	uint8_t *p = malloc(head + BACKUP_BLOCK_HEAD_BYTES + n + 16);
	uint8_t *block = p + head, *payload = block + BACKUP_BLOCK_HEAD_BYTES;
	uint32_t crc;

	CHECK(p);
	CHECK(make_head(p) == head);
	if (n)
		memcpy(payload, data, n);
	mend_record(payload, n, get_u32(p));
	crc = crc32c(get_u32(p), payload, n);
	put_u32(block, (uint32_t)n);
	put_u32(block + 4, crc);
	put_u32(payload + n, 0);
	put_u64(payload + n + 8, 1);
	put_u32(payload + n + 4, crc32c(crc, payload + n + 8, 8));
	read_all(p, head + BACKUP_BLOCK_HEAD_BYTES + n + 16, 7 + n / 3);
	free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	read_all(data, n, 1 + n / 2);
	if (n <= BACKUP_BLOCK_BYTES)
		read_mended(data, n);
	return 0;
}
