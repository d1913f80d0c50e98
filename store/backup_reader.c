/*
 * store/backup_reader.c - see backup_reader.h; the stream is drawn in
 * store/backup.c.
 *
 *   HEAD -> PARTS -> BLOCK <-> PAYLOAD
 *                    BLOCK  -> COUNT -> DONE
 *
 * The input of each state has a length that is known before it is read, at
 * most that of a block; records lie across blocks and are joined in a buffer
 * of their own, which holds one record and one block at most.
 */
#include "store/backup_reader.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "engine/engine.h"
#include "store/backup_format.h"

enum reading { HEAD, PARTS, BLOCK, PAYLOAD, COUNT, DONE };

struct backup_reader {
	struct backup_events events;
	enum reading state;
	size_t wanted; /* bytes that the state waits for */
	struct buf in; /* of them, those that have come; the head stays  */
	struct buf records;
	struct backup_head head;
	struct backup_part *parts;
	uint32_t seed, crc, block_crc;
	uint64_t bytes, record_count;
};

static void expect(struct backup_reader *r, enum reading state, size_t bytes)
{
	r->state = state;
	r->wanted = bytes;
}

enum err backup_reader_new(const struct backup_events *events,
			   struct backup_reader **out)
{
	struct backup_reader *r = calloc(1, sizeof(*r));

	if (!r)
		return ERR_NOMEM;
	r->events = *events;
	expect(r, HEAD, BACKUP_HEAD_BYTES);
	*out = r;
	return OK;
}

void backup_reader_free(struct backup_reader *r)
{
	if (!r)
		return;
	buf_done(&r->in);
	buf_done(&r->records);
	free(r->parts);
	free(r);
}

/* ------------------------------------------------------------------ head - */

static enum err take_head(struct backup_reader *r)
{
	const uint8_t *p = r->in.p;
	uint32_t partitions = get_u32(p + 12);

	if (get_u32(p + 4) != BACKUP_MAGIC)
		return ERR_INVALID;
	if (get_u32(p + 8) > BACKUP_FORMAT_VERSION)
		return ERR_VERSION;
	if (get_u32(p + 8) != BACKUP_FORMAT_VERSION || partitions == 0 ||
	    partitions > ENGINE_PARTITIONS_MAX)
		return ERR_CORRUPT;
	expect(r, PARTS,
	       BACKUP_HEAD_BYTES + BACKUP_PART_BYTES * (size_t)partitions);
	return OK;
}

static enum err take_parts(struct backup_reader *r)
{
	const uint8_t *p = r->in.p;
	uint32_t n = get_u32(p + 12);

	r->seed = r->crc = crc32c(0, p + 4, r->in.n - 4);
	if (get_u32(p) != r->seed)
		return ERR_CORRUPT;
	r->parts = calloc(n, sizeof(*r->parts));
	if (!r->parts)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *at =
			p + BACKUP_HEAD_BYTES + BACKUP_PART_BYTES * (size_t)i;

		r->parts[i].index = get_u64(at);
		r->parts[i].clock_ns = get_u64(at + 8);
		if (r->parts[i].index > VERSION_INDEX_MAX)
			return ERR_CORRUPT;
	}
	r->head = (struct backup_head){ .partitions = n,
					.node_id = get_u64(p + 32),
					.wall_ns = get_u64(p + 40),
					.parts = r->parts };
	memcpy(r->head.cluster_id, p + 16, sizeof(r->head.cluster_id));
	r->in.n = 0;
	expect(r, BLOCK, BACKUP_BLOCK_HEAD_BYTES);
	return r->events.head ? r->events.head(r->events.ctx, &r->head) : OK;
}

/* --------------------------------------------------------------- records - */

/* What a state may hold; the rest of a record is the engine's to judge. */
static bool is_sound(const struct backup_reader *r, const struct record *rec)
{
	return rec->partition < r->head.partitions && rec->index > 0 &&
	       rec->index <= r->parts[rec->partition].index &&
	       !(rec->flags & LOC_DAMAGED);
}

/* The first record at p, *n bytes of it. ERR_NOT_FOUND: it is not all there. */
static enum err take_record(struct backup_reader *r, const uint8_t *p,
			    size_t left, uint64_t *n)
{
	struct record rec;
	uint64_t bytes;
	uint32_t value_bytes;

	if (left < RECORD_HEADER_BYTES)
		return ERR_NOT_FOUND;
	value_bytes = get_u32(p + 60);
	if (value_bytes > RECORD_VALUE_BYTES_MAX)
		return ERR_CORRUPT;
	bytes = record_bytes(get_u16(p + 56), get_u16(p + 58), value_bytes);
	if (left < bytes)
		return ERR_NOT_FOUND;
	if (record_decode(p, left, r->seed, true, &rec, n) != RECORD_OK)
		return ERR_CORRUPT;
	CHECK(*n == bytes);
	rec.flags &= ~RECORD_LOG_FLAGS; /* they say how it lay in its file */
	if (!is_sound(r, &rec))
		return ERR_CORRUPT;
	r->record_count++;
	return r->events.record ? r->events.record(r->events.ctx, &rec) : OK;
}

static enum err take_payload(struct backup_reader *r)
{
	size_t off = 0;
	uint64_t n;
	enum err err;

	r->crc = crc32c(r->crc, r->in.p, r->in.n);
	if (r->crc != r->block_crc)
		return ERR_CORRUPT;
	err = buf_add(&r->records, r->in.p, r->in.n);
	while (!err) {
		err = take_record(r, r->records.p + off, r->records.n - off,
				  &n);
		off += err ? 0 : n;
	}
	if (err != ERR_NOT_FOUND)
		return err;
	r->records.n -= off;
	memmove(r->records.p, r->records.p + off, r->records.n);
	r->in.n = 0;
	expect(r, BLOCK, BACKUP_BLOCK_HEAD_BYTES);
	return OK;
}

static enum err take_block(struct backup_reader *r)
{
	uint32_t n = get_u32(r->in.p);

	r->block_crc = get_u32(r->in.p + 4);
	r->in.n = 0;
	if (n > BACKUP_BLOCK_BYTES)
		return ERR_CORRUPT;
	if (n > 0)
		expect(r, PAYLOAD, n);
	else
		expect(r, COUNT, BACKUP_COUNT_BYTES);
	return OK;
}

static enum err take_count(struct backup_reader *r)
{
	if (crc32c(r->crc, r->in.p, r->in.n) != r->block_crc ||
	    get_u64(r->in.p) != r->record_count || r->records.n > 0)
		return ERR_CORRUPT;
	r->in.n = 0;
	expect(r, DONE, 0);
	return OK;
}

/* ---------------------------------------------------------------- stream - */

/* All that the state waits for is in r->in. */
static enum err take(struct backup_reader *r)
{
	switch (r->state) {
	case HEAD:
		return take_head(r);
	case PARTS:
		return take_parts(r);
	case BLOCK:
		return take_block(r);
	case PAYLOAD:
		return take_payload(r);
	case COUNT:
		return take_count(r);
	case DONE:
		break;
	}
	return ERR_CORRUPT;
}

enum err backup_reader_feed(struct backup_reader *r, struct bytes in)
{
	while (in.n > 0) {
		size_t n = r->wanted - r->in.n;
		enum err err;

		if (r->state == DONE)
			return ERR_CORRUPT; /* something follows the end */
		if (n > in.n)
			n = in.n;
		err = buf_add(&r->in, in.p, n);
		if (err)
			return err;
		in = bytes_of(in.p + n, in.n - n);
		if (r->in.n < r->wanted)
			return OK;
		n = r->in.n;
		if (r->state == PARTS)
			n -= BACKUP_HEAD_BYTES; /* counted already */
		err = take(r);
		if (err)
			return err;
		r->bytes += n;
	}
	return OK;
}

enum err backup_reader_end(const struct backup_reader *r)
{
	return r->state == DONE ? OK : ERR_CORRUPT;
}

uint64_t backup_reader_bytes(const struct backup_reader *r)
{
	return r->bytes;
}

uint64_t backup_reader_records(const struct backup_reader *r)
{
	return r->record_count;
}

const struct backup_head *backup_reader_head(const struct backup_reader *r)
{
	return r->parts ? &r->head : NULL;
}
