/*
 * store/backup.c - the backup stream.
 *
 *  off  size  head, little-endian, BACKUP_HEAD_BYTES + 16 a partition
 *    0     4  head_crc   crc32c(0, bytes 4 to the end of the head)
 *    4     4  magic      BACKUP_MAGIC
 *    8     4  format     BACKUP_FORMAT_VERSION
 *   12     4  partitions
 *   16    16  cluster_id
 *   32     8  node_id
 *   40     8  wall_ns    when it was begun
 *   48     -  for each partition: index u64, log clock u64 (its last stamp)
 *
 * then blocks of up to BACKUP_BLOCK_BYTES:
 *
 *    0     4  bytes      of the payload; 0: the end block
 *    4     4  crc        crc32c(crc of the block before, payload); the first
 *                        block goes on from head_crc
 *    8     -  payload
 *
 * The payloads joined are records (engine/record.h, file seed = head_crc), in
 * no order: of each key the one with the highest (index, position) counts, a
 * DELETE_PREFIX hides what is older. The end block's payload is missing; its
 * crc field is crc32c(crc of the block before, count of records as u64), and
 * that count follows. A stream without a good end block is not whole.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "engine/snapshot.h"
#include "store/backup_format.h"
#include "store/store_internal.h"

enum { READ_BYTES_MIN = 64 << 10 };

struct store_backup {
	struct engine_snapshot *snapshot;
	struct buf out;	    /* head and end: ready to go out as they are */
	size_t out_off;	    /* of out, given out so far */
	struct buf records; /* encoded, not in a block yet */
	size_t records_off;
	uint32_t seed, crc;
	uint64_t count;
	bool no_more, ended;
};

static enum err make_head(struct store *s, struct store_backup *b)
{
	size_t n = BACKUP_HEAD_BYTES + 16 * (size_t)s->partition_count;
	uint8_t cluster_id[16], *p;
	uint64_t node_id;
	enum err err;

	err = buf_reserve(&b->out, n);
	if (err)
		return err;
	p = b->out.p;
	engine_identity(s->engine, cluster_id, &node_id);
	put_u32(p + 4, BACKUP_MAGIC);
	put_u32(p + 8, BACKUP_FORMAT_VERSION);
	put_u32(p + 12, s->partition_count);
	memcpy(p + 16, cluster_id, sizeof(cluster_id));
	put_u64(p + 32, node_id);
	put_u64(p + 40, clock_wall_ns(s->o.clock));
	for (uint32_t i = 0; i < s->partition_count; i++) {
		put_u64(p + BACKUP_HEAD_BYTES + BACKUP_PART_BYTES * i,
			engine_snapshot_index(b->snapshot, (uint16_t)i));
		put_u64(p + BACKUP_HEAD_BYTES + BACKUP_PART_BYTES * i + 8,
			log_clock_ns(s, &s->partitions[i]));
	}
	b->seed = crc32c(0, p + 4, n - 4);
	b->crc = b->seed;
	put_u32(p, b->seed);
	b->out.n = n;
	return OK;
}

/* A node that joins has none until a leader sends it. */
static bool has_states(struct store *s, const struct store_backup *b)
{
	for (uint32_t i = 0; i < s->partition_count; i++) {
		if (!engine_snapshot_index(b->snapshot, (uint16_t)i))
			return false;
	}
	return true;
}

enum err store_backup_open(struct store *s, struct store_backup **out)
{
	struct store_backup *b;
	enum err err;

	if (!atomic_load_explicit(&s->started, memory_order_acquire))
		return ERR_STARTING;
	b = calloc(1, sizeof(*b));
	if (!b)
		return ERR_NOMEM;
	err = engine_snapshot_open(s->engine, &b->snapshot);
	if (!err && !has_states(s, b))
		err = ERR_STARTING;
	if (!err)
		err = make_head(s, b);
	if (err) {
		store_backup_done(b);
		return err;
	}
	*out = b;
	return OK;
}

void store_backup_done(struct store_backup *b)
{
	if (!b)
		return;
	engine_snapshot_close(b->snapshot);
	buf_done(&b->out);
	buf_done(&b->records);
	free(b);
}

/* Have a block's worth of records ready, unless there are no more. */
static enum err fill_records(struct store_backup *b)
{
	if (b->records_off > 0) {
		b->records.n -= b->records_off;
		memmove(b->records.p, b->records.p + b->records_off,
			b->records.n);
		b->records_off = 0;
	}
	while (!b->no_more && b->records.n < BACKUP_BLOCK_BYTES) {
		struct record r;
		uint64_t n;
		enum err err = engine_snapshot_next(b->snapshot, &r);

		if (err == ERR_NOT_FOUND) {
			b->no_more = true;
			return OK;
		}
		if (err)
			return err;
		n = record_bytes(r.key.n, r.attrs.n, r.value.n);
		err = buf_reserve(&b->records, n);
		if (err)
			return err;
		b->records.n +=
			record_encode(b->records.p + b->records.n, b->seed, &r);
		b->count++;
	}
	return OK;
}

/* Put one block at dst, which has room for it. */
static size_t make_block(struct store_backup *b, uint8_t *dst)
{
	size_t n = b->records.n - b->records_off;

	if (n > BACKUP_BLOCK_BYTES)
		n = BACKUP_BLOCK_BYTES;
	if (n == 0) {
		put_u64(dst + BACKUP_BLOCK_HEAD_BYTES, b->count);
		put_u32(dst, 0);
		put_u32(dst + 4,
			crc32c(b->crc, dst + BACKUP_BLOCK_HEAD_BYTES, 8));
		b->ended = true;
		return BACKUP_BLOCK_HEAD_BYTES + 8;
	}
	b->crc = crc32c_copy(b->crc, dst + BACKUP_BLOCK_HEAD_BYTES,
			     b->records.p + b->records_off, n);
	put_u32(dst, (uint32_t)n);
	put_u32(dst + 4, b->crc);
	b->records_off += n;
	return BACKUP_BLOCK_HEAD_BYTES + n;
}

enum err store_backup_read(struct store_backup *b, void *dst, size_t cap,
			   size_t *n)
{
	uint8_t *p = dst;
	size_t done = 0;

	CHECK(cap >= READ_BYTES_MIN);
	if (b->out_off < b->out.n) {
		done = b->out.n - b->out_off;
		if (done > cap)
			done = cap;
		memcpy(p, b->out.p + b->out_off, done);
		b->out_off += done;
	}
	while (!b->ended &&
	       cap - done >= BACKUP_BLOCK_HEAD_BYTES + BACKUP_BLOCK_BYTES) {
		if (b->records.n - b->records_off < BACKUP_BLOCK_BYTES) {
			enum err err = fill_records(b);

			if (err)
				return err;
		}
		done += make_block(b, p + done);
	}
	*n = done;
	return OK;
}
