/*
 * engine/heal.c - bytes that were damaged here are put back from a peer.
 *
 * An entry of the log is appended again with its index and term (RECORD_AGAIN):
 * of two copies the later is read. A settled key whose entry may lie below the
 * base, where log records are dead, is written in a frame of its own that says
 * so (FRAME_HEALED): its put is no entry, only the bytes of that version of the
 * key, and it counts wherever the base is.
 *
 * The key directory is pointed at them when they are durable and a mark proves
 * it, and only if the key still has that version. Until then, and after a crash
 * before, it points at the damaged place, which answers ERR_CORRUPT.
 */
#include <stdlib.h>

#include "base/check.h"
#include "engine/engine_internal.h"
#include "engine/frame.h"
#include "engine/readback.h"
#include "engine/segment.h"
#include "engine/unsettled.h"

uint64_t engine_missing(struct engine *e, uint16_t partition)
{
	CHECK(partition < e->o.partitions);
	return e->partitions[partition].missing;
}

/* Remember to point key at loc, if it still has that version then. */
static enum err add_heal(struct engine *e, uint16_t partition, struct bytes key,
			 uint64_t version, uint64_t loc, uint64_t bytes)
{
	struct damage *d = &e->damage;
	struct heal *h;

	if (d->heal_count == d->heal_cap) {
		uint32_t cap = d->heal_cap ? d->heal_cap * 2 : 16;

		h = realloc(d->heals, cap * sizeof(*h));
		if (!h)
			return ERR_NOMEM;
		d->heals = h;
		d->heal_cap = cap;
	}
	h = &d->heals[d->heal_count];
	*h = (struct heal){ .version = version,
			    .loc = loc,
			    .bytes = bytes,
			    .key_bytes = (uint32_t)key.n,
			    .partition = partition,
			    .key = malloc(key.n) };
	if (!h->key)
		return ERR_NOMEM;
	memcpy(h->key, key.p, key.n);
	d->heal_count++;
	return OK;
}

/* -------------------------------------------------------------- record --- */

/* Is r the version of its key that the directory has? */
static enum err check_record(struct engine *e, const struct record *r)
{
	struct partition *p = &e->partitions[r->partition];
	const struct keydir_entry *k;
	enum err err = ERR_NOT_FOUND;
	uint64_t term = 0;

	if (r->type != RECORD_PUT || r->key.n == 0 ||
	    r->key.n > RECORD_KEY_BYTES_MAX ||
	    r->attrs.n > RECORD_ATTR_BYTES_MAX ||
	    r->value.n > RECORD_VALUE_BYTES_MAX)
		return ERR_INVALID;
	if (r->index >= p->terms.floor)
		term = terms_at(&p->terms, r->index);
	if (term && term != r->term)
		return ERR_INVALID;
	epoch_enter(e->readers);
	k = keydir_get(partition_keydir(p), r->key);
	if (k && k->version == version_pack(r->index, r->position))
		err = k->attr_bytes == r->attrs.n &&
				      k->value_bytes == record_logical_bytes(r)
			      ? OK
			      : ERR_INVALID;
	epoch_exit(e->readers);
	return err;
}

enum err engine_heal_record(struct engine *e, const struct record *r)
{
	uint64_t bytes = record_bytes(r->key.n, r->attrs.n, r->value.n), off;
	struct record copy = *r;
	struct datafile *df;
	uint8_t *dst;
	enum err err;

	CHECK(r->partition < e->o.partitions);
	err = check_record(e, r);
	if (!err)
		err = log_write(&e->log); /* the frame is its own */
	if (!err)
		err = log_reserve(&e->log, bytes, true, &dst, &off, &df);
	if (err)
		return err;
	copy.flags =
		(uint8_t)((record_loc_flags(r) & ~LOC_DAMAGED) | RECORD_LAST);
	record_encode(dst, df->seed, &copy);
	log_commit(&e->log, bytes, 1, FRAME_HEALED);
	atomic_store(&df->healed, true);
	err = log_write(&e->log);
	if (err)
		return err;
	return add_heal(e, r->partition, r->key,
			version_pack(r->index, r->position),
			loc_pack(df->id, off, record_loc_flags(&copy)), bytes);
}

/* --------------------------------------------------------------- entry --- */

/* The entry lies in merged files only: its keys one by one. */
static enum err heal_merged(struct engine *e, const struct engine_entry *entry)
{
	for (uint32_t i = 0; i < entry->record_count; i++) {
		struct record r;
		enum err err;

		engine_as_record(entry, i, &r);
		if (r.type != RECORD_PUT)
			continue;
		err = engine_heal_record(e, &r);
		if (err && err != ERR_NOT_FOUND)
			return err;
	}
	return OK;
}

/* The copy of a settled entry at t: keys that point at another shall move. */
static enum err heal_keys(struct engine *e, const struct engine_entry *entry,
			  const struct tail_entry *t)
{
	uint64_t off = loc_off(t->loc);

	for (uint32_t i = 0; i < entry->record_count; i++) {
		struct record r;
		uint64_t bytes;
		enum err err;

		engine_as_record(entry, i, &r);
		bytes = record_bytes(r.key.n, r.attrs.n, r.value.n);
		if (r.type == RECORD_PUT && !check_record(e, &r)) {
			err = add_heal(e, entry->partition, r.key,
				       version_pack(r.index, r.position),
				       loc_pack(loc_file_id(t->loc), off,
						record_loc_flags(&r)),
				       bytes);
			if (err)
				return err;
		}
		off += bytes;
	}
	return OK;
}

/* The copy is part of the log now. */
static enum err enter_copy(struct engine *e, const struct engine_entry *entry,
			   const struct tail_entry *t, struct datafile *df)
{
	struct partition *p = &e->partitions[entry->partition];
	bool settled = entry->index <= atomic_load(&p->applied_index);
	uint64_t cut;
	enum err err;

	marks_add(&df->marks, entry->partition, entry->index, loc_off(t->loc),
		  true);
	readback_forget(e, entry->partition);
	err = again_add(e, df, entry->partition, entry->index, entry->index);
	if (err)
		return err;
	pthread_mutex_lock(&e->terms_lock);
	err = terms_add(&p->terms, entry->index, entry->index, entry->term,
			true, &cut);
	pthread_mutex_unlock(&e->terms_lock);
	if (err)
		return err;
	if (!settled) {
		unsettled_set(e, p, entry->index, t, df);
		damage_find_missing(p);
		return OK;
	}
	if (tail_at(&p->tail, entry->index))
		tail_set(&p->tail, entry->index, t);
	return heal_keys(e, entry, t);
}

enum err engine_heal_entry(struct engine *e, const struct engine_entry *entry)
{
	struct partition *p = &e->partitions[entry->partition];
	struct tail_entry t;
	struct datafile *df;
	uint64_t term;
	enum err err;

	CHECK(entry->partition < e->o.partitions);
	CHECK(entry->record_count > 0);
	if (entry->index == 0 || entry->index > p->terms.last_index ||
	    entry->term == 0)
		return ERR_INVALID;
	if (entry->index <= atomic_load(&p->base_index))
		return heal_merged(e, entry);
	term = terms_at(&p->terms, entry->index);
	if (term && term != entry->term)
		return ERR_INVALID;
	err = engine_append_again(e, entry, &t, &df);
	return err ? err : enter_copy(e, entry, &t, df);
}

/* -------------------------------------------------------------- settle --- */

static enum err point_at(struct engine *e, const struct heal *h)
{
	struct partition *p = &e->partitions[h->partition];
	struct bytes key = bytes_of(h->key, h->key_bytes);
	struct datafile *from = NULL, *to;
	const struct keydir_entry *k;
	struct keydir *kd;
	uint64_t old = 0;
	bool moved = false;
	enum err err = OK;

	epoch_enter(e->readers);
	to = engine_file(e, loc_file_id(h->loc));
	kd = partition_keydir(p);
	keydir_lock(kd);
	k = keydir_get(kd, key);
	if (to && k && k->version == h->version && k->loc != h->loc) {
		old = k->loc;
		err = keydir_move(kd, key, h->version, old, h->loc, &moved);
	}
	keydir_unlock(kd);
	if (moved)
		from = engine_file(e, loc_file_id(old));
	if (from) {
		engine_forget_place(e, from, loc_off(old));
		atomic_fetch_sub(&from->live_bytes, h->bytes);
	}
	if (moved)
		atomic_fetch_add(&to->live_bytes, h->bytes);
	epoch_exit(e->readers);
	return err;
}

/*
 * A mark behind them, durable too: damage in what nothing proves is taken for
 * a torn end by the next start, and cut. Of an entry a peer sends that again,
 * of a key nobody knows that it was here.
 */
static enum err prove(struct engine *e)
{
	enum err err = log_mark(&e->log);

	return err ? err : log_sync(&e->log);
}

enum err engine_heal_settle(struct engine *e)
{
	struct damage *d = &e->damage;
	enum err err = d->heal_count > 0 ? prove(e) : OK;

	while (!err && d->heal_count > 0) {
		struct heal *h = &d->heals[d->heal_count - 1];

		err = point_at(e, h);
		if (err)
			break;
		free(h->key);
		d->heal_count--;
	}
	return err;
}

uint32_t engine_damaged_take(struct engine *e, struct engine_damaged *out,
			     uint32_t cap)
{
	struct damage *d = &e->damage;
	uint32_t n = 0;

	pthread_mutex_lock(&e->stats_lock);
	while (n < cap && d->key_count > 0) {
		struct engine_damaged *k = d->keys[--d->key_count];

		out[n++] = *k;
		free(k);
	}
	pthread_mutex_unlock(&e->stats_lock);
	return n;
}
