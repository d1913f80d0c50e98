/*
 * store/rescue.c - see rescue.h.
 *
 * A partition's state is the engine's picture of what is settled, and then the
 * entries of the log behind it as they stand, record by record: the highest
 * version of a key counts, as everywhere, so no order matters.
 */
#include "store/rescue.h"

#include <stdlib.h>

#include "base/check.h"
#include "engine/manifest.h"
#include "engine/replica.h"
#include "engine/snapshot.h"
#include "store/hidden.h"
#include "store/members_internal.h"

struct rescue {
	struct engine *engine;
	uint32_t partitions;
	struct rescue_part *parts;
	struct backup_part *heads;
	uint64_t damaged;
};

/* ------------------------------------------------------------------ open - */

static enum err count_partitions(const struct rescue_options *o,
				 uint32_t *partitions, struct buf *why)
{
	struct manifest m;
	enum err err = manifest_load(o->vfs, o->dir, &m);

	if (err) {
		(void)!buf_addf(why, "%s/MANIFEST: %s", o->dir, err_text(err));
		return err;
	}
	*partitions = m.partition_count;
	manifest_done(&m);
	return OK;
}

/* How far the log can be read behind what is known to be committed. */
static enum err look_at_part(struct rescue *r, uint16_t i)
{
	struct engine_log_entry le = { .records = NULL };
	struct rescue_part *p = &r->parts[i];
	struct engine_partition_info info;
	enum err err = OK;

	engine_partition_info(r->engine, i, &info);
	p->term = info.hard_state.term;
	p->commit = p->last = info.applied_index;
	while (p->last < info.last_index && !err) {
		err = engine_log_read(r->engine, i, p->last + 1, &le);
		p->last += !err;
	}
	engine_log_entry_done(&le);
	if (err == ERR_CORRUPT)
		p->lost = p->last + 1;
	else if (err)
		return err;
	r->heads[i].index = p->last;
	r->heads[i].clock_ns = info.last_stamp_ns;
	return OK;
}

enum err rescue_open(const struct rescue_options *o, struct rescue **out,
		     struct buf *why)
{
	struct rescue *r = calloc(1, sizeof(*r));
	struct engine_options e;
	enum err err = r ? OK : ERR_NOMEM;

	if (!err)
		err = count_partitions(o, &r->partitions, why);
	if (!err) {
		r->parts = calloc(r->partitions, sizeof(*r->parts));
		r->heads = calloc(r->partitions, sizeof(*r->heads));
		err = r->parts && r->heads ? OK : ERR_NOMEM;
	}
	if (!err) {
		engine_options_default(&e);
		e.vfs = o->vfs;
		e.clock = o->clock;
		e.seed = o->seed;
		e.dir = o->dir;
		e.partitions = r->partitions;
		e.min_free_bytes = 0;
		e.has_peers = true; /* what is lost in the log is no error   */
		err = engine_open(&e, &r->engine, why);
	}
	for (uint32_t i = 0; !err && i < r->partitions; i++)
		err = look_at_part(r, (uint16_t)i);
	if (err)
		rescue_close(r);
	else
		*out = r;
	return err;
}

void rescue_close(struct rescue *r)
{
	if (!r)
		return;
	engine_close(r->engine);
	free(r->parts);
	free(r->heads);
	free(r);
}

uint32_t rescue_partitions(const struct rescue *r)
{
	return r->partitions;
}

const struct rescue_part *rescue_part(const struct rescue *r, uint32_t i)
{
	CHECK(i < r->partitions);
	return &r->parts[i];
}

const struct backup_part *rescue_parts(const struct rescue *r)
{
	return r->heads;
}

uint64_t rescue_identity(const struct rescue *r, uint8_t cluster_id[16])
{
	uint64_t node_id;

	engine_identity(r->engine, cluster_id, &node_id);
	return node_id;
}

/* --------------------------------------------------------------- members - */

static bool read_member(struct rescue *r, uint64_t id, struct member *m)
{
	uint8_t key[MEMBER_KEY_BYTES];
	struct engine_value v;
	enum err err;

	*m = (struct member){ .m.id = id };
	err = engine_get(r->engine, 0, member_key(key, id), ENGINE_VERIFY, &v);
	if (err)
		return false;
	err = member_decode(v.value, m);
	engine_value_done(&v);
	return err == OK;
}

uint32_t rescue_members(struct rescue *r,
			struct store_member list[RESCUE_MEMBERS_MAX])
{
	uint64_t ids[RESCUE_MEMBERS_MAX];
	uint32_t found = 0, count = 0;
	struct engine_iter it;
	struct engine_info info;
	struct bytes key;
	struct member m;
	bool more;

	engine_iter_begin(r->engine, 0, &it);
	more = engine_iter_seek(&it, member_prefix(), &key, &info);
	while (more && found < RESCUE_MEMBERS_MAX &&
	       key.n == MEMBER_KEY_BYTES &&
	       bytes_begins(key, member_prefix())) {
		ids[found++] = get_be64(key.p + 2);
		more = engine_iter_next(&it, &key, &info);
	}
	engine_iter_end(&it);
	for (uint32_t i = 0; i < found; i++) {
		if (read_member(r, ids[i], &m))
			list[count++] = m.m;
	}
	return count;
}

/* ------------------------------------------------------------------ read - */

struct reading {
	enum err (*add)(void *ctx, const struct record *rec);
	void *ctx;
	uint64_t records;
};

static enum err hand_out(struct reading *to, const struct record *rec)
{
	switch (rec->type) {
	case RECORD_PUT:
	case RECORD_DELETE:
	case RECORD_EXPIRE:
	case RECORD_DELETE_PREFIX:
		to->records++;
		return to->add(to->ctx, rec);
	default:
		return OK; /* no-ops and their like are no state */
	}
}

static enum err read_settled(struct rescue *r, uint16_t partition,
			     struct reading *to)
{
	struct engine_snapshot *s;
	struct record rec;
	enum err err;

	err = engine_snapshot_open_partition(r->engine, partition, &s);
	if (err)
		return err;
	for (;;) {
		err = engine_snapshot_next(s, &rec);
		if (err == ERR_CORRUPT) {
			r->damaged++; /* this one is lost, it goes on */
			continue;
		}
		if (err)
			break;
		rec.flags &= ~RECORD_LOG_FLAGS;
		err = hand_out(to, &rec);
		if (err)
			break;
	}
	engine_snapshot_close(s);
	return err == ERR_NOT_FOUND ? OK : err;
}

static enum err read_entry(const struct engine_entry *e, struct reading *to)
{
	enum err err = OK;

	for (uint32_t i = 0; i < e->record_count && !err; i++) {
		const struct engine_record *r = &e->records[i];
		const struct record rec = { .type = r->type,
					    .flags = r->flags,
					    .partition = e->partition,
					    .position = (uint16_t)i,
					    .index = e->index,
					    .term = e->term,
					    .stamp_ns = e->stamp_ns,
					    .mtime_ns = e->mtime_ns,
					    .expiry_ns = r->expiry_ns,
					    .key = r->key,
					    .attrs = r->attrs,
					    .value = r->value };

		err = hand_out(to, &rec);
	}
	return err;
}

static enum err read_log(struct rescue *r, uint16_t partition,
			 struct reading *to)
{
	const struct rescue_part *p = &r->parts[partition];
	struct engine_log_entry le = { .records = NULL };
	enum err err = OK;

	for (uint64_t i = p->commit + 1; i <= p->last && !err; i++) {
		err = engine_log_read(r->engine, partition, i, &le);
		if (!err)
			err = read_entry(&le.entry, to);
	}
	engine_log_entry_done(&le);
	return err;
}

enum err rescue_read(struct rescue *r,
		     enum err (*add)(void *ctx, const struct record *rec),
		     void *ctx, uint64_t *records)
{
	struct reading to = { .add = add, .ctx = ctx };
	enum err err = OK;

	for (uint32_t i = 0; i < r->partitions && !err; i++) {
		err = read_settled(r, (uint16_t)i, &to);
		if (!err)
			err = read_log(r, (uint16_t)i, &to);
	}
	*records = to.records;
	return err;
}

uint64_t rescue_damaged(struct rescue *r, struct rescue_damaged *list,
			uint32_t *count)
{
	struct engine_damaged *found =
		calloc(RESCUE_DAMAGED_MAX, sizeof(*found));

	*count = 0;
	if (!found)
		return r->damaged;
	*count = engine_damaged_take(r->engine, found, RESCUE_DAMAGED_MAX);
	for (uint32_t i = 0; i < *count; i++) {
		list[i].partition = found[i].partition;
		list[i].key_bytes = found[i].key_bytes;
		memcpy(list[i].key, found[i].key, found[i].key_bytes);
	}
	free(found);
	return r->damaged;
}
