/*
 * engine/replica_log.c - the log as a peer sees it: terms, sizes, entries.
 */
#include <stdlib.h>

#include "base/check.h"
#include "engine/engine_internal.h"
#include "engine/readback.h"
#include "engine/replica.h"

uint64_t engine_first_index(struct engine *e, uint16_t partition)
{
	CHECK(partition < e->o.partitions);
	return atomic_load(&e->partitions[partition].base_index) + 1;
}

enum err engine_term_at(struct engine *e, uint16_t partition, uint64_t index,
			uint64_t *term)
{
	struct partition *p = &e->partitions[partition];

	if (index > p->terms.last_index)
		return ERR_NOT_FOUND;
	if (index + 1 < engine_first_index(e, partition))
		return ERR_COMPACTED;
	*term = terms_at(&p->terms, index);
	return *term || index == p->terms.floor ? OK : ERR_CORRUPT;
}

uint64_t engine_stamp_at(struct engine *e, uint16_t partition, uint64_t index)
{
	const struct partition *p = &e->partitions[partition];
	const struct tail_entry *t;

	CHECK(partition < e->o.partitions);
	if (index == atomic_load(&p->applied_index))
		return p->last_stamp_ns;
	t = tail_at(&p->tail, index);
	return t ? t->stamp_ns : 0;
}

void engine_log_keep(struct engine *e, uint16_t partition, uint64_t index)
{
	CHECK(partition < e->o.partitions);
	atomic_store(&e->partitions[partition].keep_index, index);
}

/* Where the entry lies, or why it can't be told. */
static enum err locate(struct engine *e, uint16_t partition, uint64_t index,
		       struct tail_entry *t)
{
	enum err err;

	if (index > e->partitions[partition].terms.last_index)
		return ERR_NOT_FOUND;
	if (index < engine_first_index(e, partition))
		return ERR_COMPACTED;
	err = readback_find(e, partition, index, t);
	if (err == ERR_NOT_FOUND) /* unless a merge took it meanwhile */
		err = index < engine_first_index(e, partition) ? ERR_COMPACTED
							       : ERR_CORRUPT;
	return err;
}

uint32_t engine_log_fit(struct engine *e, uint16_t partition, uint64_t from,
			uint64_t to, uint64_t bytes_max, uint64_t *bytes)
{
	struct tail_entry t;
	uint32_t n = 0;

	*bytes = 0;
	for (uint64_t i = from; i <= to; i++) {
		if (locate(e, partition, i, &t))
			break;
		if (n && *bytes + t.bytes > bytes_max)
			break;
		*bytes += t.bytes;
		n++;
	}
	return n;
}

/* ---------------------------------------------------------------- read --- */

void engine_log_entry_done(struct engine_log_entry *le)
{
	free(le->records);
	buf_done(&le->bytes);
	*le = (struct engine_log_entry){ 0 };
}

/* The bytes of the entry's records, copied; *fresh: they need no proof. */
static enum err copy_bytes(struct engine *e, const struct tail_entry *t,
			   struct buf *to, uint32_t *seed, bool *fresh)
{
	struct datafile *df;
	const uint8_t *p;
	uint64_t n;
	enum err err;

	to->n = 0;
	err = buf_reserve(to, t->bytes);
	if (err)
		return err;
	epoch_enter(e->readers);
	df = engine_file(e, loc_file_id(t->loc));
	if (df)
		datafile_pin(df);
	epoch_exit(e->readers);
	if (!df)
		return ERR_NOT_FOUND;
	*seed = df->seed;
	p = log_memory(&e->log, df, loc_off(t->loc), &n);
	*fresh = p != NULL;
	if (p) {
		CHECK(n >= t->bytes);
		memcpy(to->p, p, t->bytes);
	} else {
		err = datafile_read(df, loc_off(t->loc), t->bytes, to->p);
	}
	to->n = t->bytes;
	if (err == ERR_IO) /* a bad sector is damage: peers have the bytes */
		err = ERR_CORRUPT;
	if (err == ERR_CORRUPT)
		engine_note_corrupt(e, df, loc_off(t->loc), 0);
	datafile_unpin(df);
	return err;
}

static enum err reserve_records(struct engine_log_entry *le, uint32_t n)
{
	struct engine_record *records;

	if (n <= le->record_cap)
		return OK;
	records = realloc(le->records, n * sizeof(*records));
	if (!records)
		return ERR_NOMEM;
	le->records = records;
	le->record_cap = n;
	return OK;
}

static enum err decode(const struct tail_entry *t, uint32_t seed, bool fresh,
		       uint16_t partition, uint64_t index,
		       struct engine_log_entry *le)
{
	const uint8_t *at = le->bytes.p;
	uint64_t left = le->bytes.n, bytes;
	struct record r;

	for (uint32_t i = 0; i < t->records; i++) {
		if (record_decode(at, left, seed, !fresh, &r, &bytes) !=
			    RECORD_OK ||
		    r.partition != partition || r.index != index ||
		    r.position != i || r.term != t->term)
			return ERR_CORRUPT;
		le->records[i] = (struct engine_record){
			.type = r.type,
			.flags = record_loc_flags(&r),
			.expiry_ns = r.expiry_ns,
			.key = r.key,
			.attrs = r.attrs,
			.value = r.value,
		};
		at += bytes;
		left -= bytes;
	}
	le->entry = (struct engine_entry){ .partition = partition,
					   .index = index,
					   .term = t->term,
					   .stamp_ns = r.stamp_ns,
					   .mtime_ns = r.mtime_ns,
					   .records = le->records,
					   .record_count = t->records };
	return OK;
}

enum err readback_read(struct engine *e, uint16_t partition, uint64_t index,
		       const struct tail_entry *t, struct engine_log_entry *le)
{
	uint32_t seed;
	bool fresh;
	enum err err;

	CHECK(t->records > 0);
	err = reserve_records(le, t->records);
	if (!err)
		err = copy_bytes(e, t, &le->bytes, &seed, &fresh);
	if (!err)
		err = decode(t, seed, fresh, partition, index, le);
	return err;
}

enum err engine_log_read(struct engine *e, uint16_t partition, uint64_t index,
			 struct engine_log_entry *le)
{
	struct tail_entry t;
	enum err err;

	CHECK(partition < e->o.partitions);
	err = locate(e, partition, index, &t);
	if (err)
		return err;
	err = readback_read(e, partition, index, &t, le);
	if (err == ERR_NOT_FOUND) /* a merge took its segment meanwhile */
		err = ERR_COMPACTED;
	return err;
}
