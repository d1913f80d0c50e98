/*
 * engine/settle.c - pointing the key directory at what consensus committed.
 *
 * The second half of a put. The records are decoded again where they lie, in
 * the writer's memory when they are fresh, so that what readers will find is
 * what was looked at. All records of an entry are applied under one hold of
 * the directory's lock: an ordered walk sees an entry whole or not at all.
 */
#include <stdlib.h>

#include "base/check.h"
#include "engine/engine_internal.h"
#include "engine/settle.h"
#include "engine/unsettled.h"

/* What one record of the entry did; kept until the lock is released. */
struct settled {
	struct record r;
	uint64_t off;
	unsigned damaged; /* LOC_DAMAGED when the value is known lost */
	uint64_t removed; /* keys a DELETE_PREFIX removed     */
	uint64_t removed_bytes_at;   /* where they begin in removed_keys */
	struct keydir_change change; /* ends in a flexible array */
};

/* One removed key in removed_keys: entry, then the key's bytes. */
struct removed {
	uint64_t version;
	uint64_t loc;
	uint32_t value_bytes;
	uint16_t attr_bytes;
	uint16_t key_bytes;
};

/* Bytes at old's place are dead now. */
static void count_dead(struct engine *e, uint64_t loc, uint64_t bytes)
{
	struct datafile *df;

	epoch_enter(e->readers);
	df = engine_file(e, loc_file_id(loc));
	if (df)
		atomic_fetch_sub_explicit(&df->live_bytes, bytes,
					  memory_order_relaxed);
	epoch_exit(e->readers);
}

/* Find the first key with the prefix that is older than version. */
static const struct keydir_entry *next_older(struct keydir *kd,
					     struct bytes from,
					     struct bytes prefix,
					     uint64_t version)
{
	struct keydir_iter it;
	const struct keydir_entry *k = keydir_seek(kd, from, &it);

	while (k && bytes_begins(bytes_of(k->key, k->key_bytes), prefix)) {
		if (k->version < version)
			return k;
		k = keydir_next(&it);
	}
	return NULL;
}

/* Remember k, with its key, behind the others. */
static enum err note_removed(struct engine *e, const struct keydir_entry *k)
{
	struct removed r = { k->version, k->loc, k->value_bytes, k->attr_bytes,
			     k->key_bytes };
	enum err err;

	err = buf_reserve(&e->removed_keys, sizeof(r) + k->key_bytes + 8);
	if (err)
		return err;
	memcpy(e->removed_keys.p + e->removed_keys.n, &r, sizeof(r));
	memcpy(e->removed_keys.p + e->removed_keys.n + sizeof(r), k->key,
	       k->key_bytes);
	e->removed_keys.n += (sizeof(r) + k->key_bytes + 7) & ~7ull;
	return OK;
}

static enum err remove_prefix(struct engine *e, struct partition *p,
			      struct settled *s, uint64_t version)
{
	uint8_t from_key[RECORD_KEY_BYTES_MAX];
	struct bytes from = s->r.key;
	const struct keydir_entry *k;
	struct keydir_change change;
	enum err err;

	s->removed = 0;
	s->removed_bytes_at = e->removed_keys.n;
	while ((k = next_older(p->kd, from, s->r.key, version))) {
		memcpy(from_key, k->key, k->key_bytes);
		from = bytes_of(from_key, k->key_bytes);
		err = note_removed(e, k);
		if (err)
			return err;
		keydir_del(p->kd, from, version, &change);
		CHECK(change.changed);
		s->removed++;
	}
	return OK;
}

/* Change the directory by one record. Lock held. */
static enum err apply_record(struct engine *e, struct partition *p,
			     struct settled *s, uint64_t loc)
{
	const struct record *r = &s->r;
	uint64_t version = version_pack(r->index, r->position);

	s->change = (struct keydir_change){ 0 };
	s->removed = 0;
	switch (r->type) {
	case RECORD_PUT:
		return keydir_put(p->kd, r->key, version, loc,
				  record_logical_bytes(r), (uint16_t)r->attrs.n,
				  &s->change);
	case RECORD_DELETE:
	case RECORD_EXPIRE:
		keydir_del(p->kd, r->key, version, &s->change);
		return OK;
	case RECORD_DELETE_PREFIX:
		return remove_prefix(e, p, s, version);
	default:
		return OK;
	}
}

/* The callbacks of a DELETE_PREFIX, key by key, and its accounting. */
static void tell_removed(struct engine *e, const struct settled *s,
			 engine_applied_fn *fn, void *ctx)
{
	uint64_t at = s->removed_bytes_at;

	for (uint64_t i = 0; i < s->removed; i++) {
		struct removed gone;
		struct record r = s->r;
		struct engine_applied a = { .record = &r, .had_old = true };
		struct keydir_entry k;

		memcpy(&gone, e->removed_keys.p + at, sizeof(gone));
		k = (struct keydir_entry){ gone.version, gone.loc,
					   gone.value_bytes, gone.attr_bytes,
					   gone.key_bytes };
		count_dead(e, gone.loc, entry_disk_bytes(&k));
		r.type = RECORD_DELETE;
		r.key = bytes_of(e->removed_keys.p + at + sizeof(gone),
				 gone.key_bytes);
		a.old_version = gone.version;
		if (fn)
			fn(ctx, &a);
		at += (sizeof(gone) + gone.key_bytes + 7) & ~7ull;
	}
}

enum { EXPIRIES_DEAD_MIN = 1024 };

static bool is_current(void *ctx, const struct expiry_item *item)
{
	const struct keydir_entry *k =
		keydir_get(ctx, bytes_of(item->key, item->key_bytes));

	return k && k->version == item->version;
}

/*
 * Remember when r expires. A key that is written again and again before it
 * expires leaves an item each time; when most are such, they are dropped.
 */
static enum err note_expiry(struct engine *e, struct partition *p,
			    const struct record *r)
{
	if (p->expiry.count >= 2 * keydir_count(p->kd) + EXPIRIES_DEAD_MIN) {
		epoch_enter(e->readers);
		expiry_sweep(&p->expiry, is_current, p->kd);
		epoch_exit(e->readers);
	}
	return expiry_add(&p->expiry, r->key,
			  version_pack(r->index, r->position), r->expiry_ns);
}

/* Accounting, expiry and callback of one record; no lock held. */
static enum err finish_record(struct engine *e, struct partition *p,
			      struct datafile *df, const struct settled *s,
			      engine_applied_fn *fn, void *ctx)
{
	struct engine_applied a = { .record = &s->r,
				    .had_old = s->change.had_old,
				    .old_version = s->change.old.version,
				    .removed = s->removed };
	const struct keydir_entry *old = &s->change.old;

	if (s->change.changed && s->change.had_old)
		count_dead(e, old->loc, entry_disk_bytes(old));
	if (s->change.changed && s->r.type == RECORD_PUT) {
		atomic_fetch_add_explicit(
			&df->live_bytes,
			record_bytes(s->r.key.n, s->r.attrs.n, s->r.value.n),
			memory_order_relaxed);
		if (s->r.expiry_ns) {
			enum err err = note_expiry(e, p, &s->r);

			if (err)
				return err;
		}
	}
	if (s->removed)
		tell_removed(e, s, fn, ctx);
	if (fn)
		fn(ctx, &a);
	return OK;
}

static enum err reserve_settled(struct engine *e, uint32_t n)
{
	struct settled *s;

	if (n <= e->settled_cap)
		return OK;
	s = realloc(e->settled, n * sizeof(*s));
	if (!s)
		return ERR_NOMEM;
	e->settled = s;
	e->settled_cap = n;
	return OK;
}

/* The bytes of the entry's records: in memory, else read back. */
static enum err entry_bytes(struct engine *e, struct datafile *df,
			    const struct tail_entry *t, const uint8_t **p,
			    bool *fresh)
{
	uint64_t off = loc_off(t->loc), n;
	enum err err;

	*p = log_memory(&e->log, df, off, &n);
	*fresh = *p != NULL;
	if (*p) {
		CHECK(n >= t->bytes);
		return OK;
	}
	e->settle_buf.n = 0;
	err = buf_reserve(&e->settle_buf, t->bytes);
	if (!err)
		err = datafile_read(df, off, t->bytes, e->settle_buf.p);
	*p = e->settle_buf.p;
	return err;
}

/* Decode all records of the entry into e->settled. */
static enum err decode_entry(struct engine *e, struct datafile *df,
			     const struct tail_entry *t)
{
	const uint8_t *p;
	uint64_t off = loc_off(t->loc), left = t->bytes, bytes;
	bool fresh;
	enum err err = entry_bytes(e, df, t, &p, &fresh);

	for (uint32_t i = 0; !err && i < t->records; i++) {
		struct settled *s = &e->settled[i];
		enum record_state state;

		state = record_decode(p, left, df->seed, !fresh, &s->r, &bytes);
		if (state == RECORD_BAD_HEADER) {
			engine_note_corrupt(e, df, off, 1);
			return ERR_CORRUPT;
		}
		if (state == RECORD_BAD_VALUE) {
			engine_note_corrupt(e, df, off, 1);
			if (e->o.has_peers)
				return ERR_CORRUPT;
		}
		s->damaged = state == RECORD_BAD_VALUE ? LOC_DAMAGED : 0;
		s->off = off;
		off += bytes;
		p += bytes;
		left -= bytes;
	}
	return err;
}

static enum err settle_entry(struct engine *e, struct partition *p,
			     const struct tail_entry *t,
			     const struct engine_settler *to)
{
	struct datafile *df = engine_file(e, loc_file_id(t->loc));
	enum err err;

	CHECK(df);
	err = reserve_settled(e, t->records);
	if (!err)
		err = decode_entry(e, df, t);
	if (err)
		return err;
	for (uint32_t i = 0; to->before && i < t->records; i++)
		to->before(to->ctx, &e->settled[i].r, i, t->records);
	e->removed_keys.n = 0;
	keydir_lock(p->kd);
	for (uint32_t i = 0; !err && i < t->records; i++) {
		struct settled *s = &e->settled[i];
		unsigned flags = record_loc_flags(&s->r) | s->damaged;

		err = apply_record(e, p, s, loc_pack(df->id, s->off, flags));
	}
	keydir_unlock(p->kd);
	for (uint32_t i = 0; !err && i < t->records; i++)
		err = finish_record(e, p, df, &e->settled[i], to->applied,
				    to->ctx);
	return err;
}

/* First it is settled, then its segment no longer waits for it. */
static void pass_entry(struct engine *e, struct partition *p, uint64_t index,
		       const struct tail_entry *t)
{
	p->last_stamp_ns = t->stamp_ns;
	atomic_store_explicit(&p->applied_index, index, memory_order_release);
	unsettled_done(engine_file(e, loc_file_id(t->loc)), t->bytes);
}

enum err engine_settle_told(struct engine *e, uint16_t partition,
			    uint64_t index, const struct engine_settler *to)
{
	struct partition *p = &e->partitions[partition];
	uint64_t applied =
		atomic_load_explicit(&p->applied_index, memory_order_relaxed);
	enum err err;

	CHECK(partition < e->o.partitions);
	CHECK(index <= p->terms.last_index);
	while (applied < index) {
		const struct tail_entry *t = tail_at(&p->tail, applied + 1);

		if (p->missing == applied + 1)
			return ERR_CORRUPT;
		CHECK(t);
		atomic_store_explicit(&p->settling_index, applied + 1,
				      memory_order_release);
		err = settle_entry(e, p, t, to);
		if (err) {
			atomic_store(&p->settling_index, applied);
			if (err == ERR_CORRUPT && e->o.has_peers)
				damage_note_entry(p, applied + 1);
			return err;
		}
		pass_entry(e, p, ++applied, t);
		if (to->after)
			to->after(to->ctx, partition, applied);
	}
	return OK;
}

enum err engine_settle(struct engine *e, uint16_t partition, uint64_t index,
		       engine_applied_fn *fn, void *ctx)
{
	const struct engine_settler to = { .ctx = ctx, .applied = fn };

	return engine_settle_told(e, partition, index, &to);
}

void settle_done(struct engine *e)
{
	free(e->settled);
	buf_done(&e->removed_keys);
	buf_done(&e->settle_buf);
}
