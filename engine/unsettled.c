/*
 * engine/unsettled.c - unsettled bytes of segments, and carrying them forward.
 *
 * An idle or lagging partition would keep the segment of its last entries, and
 * all behind it, for ever: a segment is merged only when nothing in it waits
 * for consensus. So the few entries that still wait are appended again:
 *
 *      before | A: 1 2 3 4 (5) | B: ... | C: ... |          (5) not settled
 *      after  | A: 1 2 3 4  5  | B: ... | C: ... (5)        A may go
 *
 * The copy has index and term of the original, so it kills nothing. The base
 * that a merge of A sets is 4. Were 6 settled in B, a merge of B alone would
 * set the base to 6 and kill the copy of 5: C lists it, and B reaches to C.
 */
#include "engine/unsettled.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "engine/readback.h"
#include "engine/segment.h"

enum { CARRY_STEP_BYTES = 1 << 20 };

/* The entry at index leaves its segment without having been settled. */
static void leave(struct engine *e, const struct partition *p, uint64_t index)
{
	const struct tail_entry *t = tail_at(&p->tail, index);
	struct datafile *df = t ? engine_file(e, loc_file_id(t->loc)) : NULL;

	if (!df || index <= atomic_load_explicit(&p->applied_index,
						 memory_order_relaxed))
		return;
	atomic_store(&df->left_sequence, atomic_load(&e->log.sequence));
	unsettled_done(df, t->bytes);
}

void unsettled_set(struct engine *e, struct partition *p, uint64_t index,
		   const struct tail_entry *t, struct datafile *df)
{
	leave(e, p, index);
	unsettled_done(df, -(uint64_t)t->bytes);
	tail_set(&p->tail, index, t);
}

void unsettled_cut(struct engine *e, struct partition *p, uint64_t index)
{
	uint64_t end = p->tail.first_index + p->tail.count;

	if (index < p->tail.first_index)
		index = p->tail.first_index;
	for (uint64_t i = index; i < end; i++)
		leave(e, p, i);
	tail_cut(&p->tail, index);
}

bool unsettled_none(struct engine *e, struct datafile *df)
{
	if (atomic_load_explicit(&df->unsettled_bytes, memory_order_acquire))
		return false;
	if (atomic_load(&df->left_sequence) <=
	    atomic_load(&e->log.synced_sequence))
		return true;
	atomic_store(&e->sync_wanted, true);
	return false;
}

/* -------------------------------------------------------------- copies --- */

static struct again *last_again(struct datafile *df, uint16_t partition,
				uint64_t first)
{
	struct again *a =
		df->again_count ? &df->again[df->again_count - 1] : NULL;

	if (!a || a->partition != partition || first < a->first ||
	    first > a->last + 1)
		return NULL;
	return a;
}

static enum err add_locked(struct datafile *df, uint16_t partition,
			   uint64_t first, uint64_t last)
{
	struct again *a = last_again(df, partition, first);
	uint32_t cap = df->again_cap ? df->again_cap * 2 : 8;

	if (a) {
		a->last = last > a->last ? last : a->last;
		return OK;
	}
	if (df->again_count == df->again_cap) {
		a = realloc(df->again, cap * sizeof(*a));
		if (!a)
			return ERR_NOMEM;
		df->again = a;
		df->again_cap = cap;
	}
	df->again[df->again_count++] = (struct again){ first, last, partition };
	return OK;
}

enum err again_add(struct engine *e, struct datafile *df, uint16_t partition,
		   uint64_t first, uint64_t last)
{
	enum err err;

	CHECK(first <= last);
	pthread_mutex_lock(&e->terms_lock);
	err = add_locked(df, partition, first, last);
	pthread_mutex_unlock(&e->terms_lock);
	return err;
}

void again_clear(struct datafile *df)
{
	df->again_count = 0;
}

uint64_t again_lowest(struct engine *e, struct datafile *df, uint16_t partition)
{
	uint64_t base = atomic_load(&e->partitions[partition].base_index);
	uint64_t lowest = UINT64_MAX;

	pthread_mutex_lock(&e->terms_lock);
	for (uint32_t i = 0; i < df->again_count; i++) {
		const struct again *a = &df->again[i];
		uint64_t first = a->first > base ? a->first : base + 1;

		if (a->partition == partition && a->last > base &&
		    first < lowest)
			lowest = first;
	}
	pthread_mutex_unlock(&e->terms_lock);
	return lowest;
}

bool again_any(struct engine *e, struct datafile *df)
{
	bool any;

	pthread_mutex_lock(&e->terms_lock);
	any = df->again_count != 0;
	pthread_mutex_unlock(&e->terms_lock);
	return any;
}

/* --------------------------------------------------------------- carry --- */

static enum err carry_entry(struct engine *e, uint16_t partition,
			    uint64_t index, const struct tail_entry *t)
{
	struct partition *p = &e->partitions[partition];
	struct tail_entry copy;
	struct datafile *df;
	enum err err;

	err = readback_read(e, partition, index, t, &e->carried);
	if (!err)
		err = engine_append_again(e, &e->carried.entry, &copy, &df);
	if (!err)
		err = again_add(e, df, partition, index, index);
	if (err)
		return err;
	marks_add(&df->marks, partition, index, loc_off(copy.loc), true);
	unsettled_set(e, p, index, &copy, df);
	return OK;
}

/* Carry what one partition has; false: the step is over. */
static bool carry_partition(struct engine *e, uint16_t partition,
			    uint64_t *bytes)
{
	struct partition *p = &e->partitions[partition];
	uint64_t i = atomic_load(&p->applied_index) + 1;

	for (; i <= p->terms.last_index; i++) {
		const struct tail_entry *found = tail_at(&p->tail, i);
		struct datafile *df =
			found ? engine_file(e, loc_file_id(found->loc)) : NULL;
		struct tail_entry t;
		enum err err;

		if (!df || !atomic_load(&df->carry))
			continue;
		if (*bytes >= CARRY_STEP_BYTES)
			return false;
		t = *found;
		err = carry_entry(e, partition, i, &t);
		if (err == ERR_CORRUPT)
			continue; /* stays, and its segment with it */
		if (err)
			return false;
		*bytes += t.bytes;
	}
	return true;
}

void carry_step(struct engine *e)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < e->o.partitions; i++)
		if (!carry_partition(e, (uint16_t)i, &bytes))
			return;
	atomic_store(&e->carry_wanted, false);
}
