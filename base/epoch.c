/*
 * base/epoch.c - epoch-based reclamation with three limbo bags.
 *
 * The domain has a counter, `now`. A reader announces the value it saw in a
 * slot of its own; the counter moves on only while every announced value
 * equals it. What was retired at r is released when the counter reaches r + 2:
 * the first step proves that whoever stays inside announced r or later, the
 * second that they announced r + 1, and so entered after the unlinking:
 *
 *	now      r            r + 1          r + 2
 *	bags     r: filling   r: waiting     r: released, filled again as r + 3
 *
 * Announcing is a store and a full fence; the mover fences too before it looks
 * at the slots. Either it sees the announcement, or the reader sees everything
 * that was unlinked before (Dekker's argument). Leaving is one plain store.
 *
 * Which slot is a thread's own is the same number in every domain, handed out
 * for the whole process and given back by a thread-specific key's destructor:
 * this is the one piece of global state here.
 */
#include "base/epoch.h"

#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

enum {
	LINE_BYTES = 64,
	BAG_COUNT = 3,
	BLOCK_RECORDS = 170, /* about 4 KiB */
	BLOCK_SPARE_MIN = 4, /* from the start, so that a domain whose readers
				come and go never fails to retire */
	BLOCK_SPARE_MAX = 8,
	RETIRE_BATCH = 64, /* retires between two tries to move on */
	FIRST_EPOCH = 1,   /* 0 in a slot means outside */
};

struct slot {
	alignas(LINE_BYTES) uint64_t epoch; /* 0: not inside */
};

struct record {
	void (*fn)(void *ctx, uint64_t ref);
	void *ctx;
	uint64_t ref;
};

/* Retired records, in a list that is only ever filled at its head. */
struct block {
	struct block *next;
	unsigned count;
	struct record records[BLOCK_RECORDS];
};

struct epoch {
	struct slot slots[EPOCH_THREADS_MAX];
	alignas(LINE_BYTES) uint64_t now; /* read by all, moved under lock */
	alignas(LINE_BYTES) pthread_mutex_t lock; /* of all below */
	struct block *bags[BAG_COUNT];		  /* by epoch modulo 3 */
	struct block *spare;
	unsigned spare_count;
	unsigned retired_since; /* the last try to move on */
};

/* Process-wide: which slot numbers are taken, and one above the highest ever */
static uint64_t slots_taken[EPOCH_THREADS_MAX / 64];
static int slots_high;
static pthread_once_t slot_once = PTHREAD_ONCE_INIT;
static pthread_key_t slot_key;
static __thread int slot_mine = -1;

static void release_slot(void *value)
{
	int i = slot_mine;

	slot_mine = -1;
	__atomic_fetch_and(&slots_taken[i / 64], ~(UINT64_C(1) << i % 64),
			   __ATOMIC_RELEASE);
}

static void make_slot_key(void)
{
	CHECK(pthread_key_create(&slot_key, release_slot) == 0);
}

/* A free slot number, or -1. */
static int try_take_slot(void)
{
	for (int w = 0; w < EPOCH_THREADS_MAX / 64; w++) {
		uint64_t taken =
			__atomic_load_n(&slots_taken[w], __ATOMIC_RELAXED);

		while (~taken) {
			int bit = __builtin_ctzll(~taken);

			if (__atomic_compare_exchange_n(
				    &slots_taken[w], &taken,
				    taken | UINT64_C(1) << bit, false,
				    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
				return w * 64 + bit;
		}
	}
	return -1;
}

static __attribute__((noinline)) void take_slot(void)
{
	int i, high;

	pthread_once(&slot_once, make_slot_key);
	while ((i = try_take_slot()) < 0)
		sched_yield();
	high = __atomic_load_n(&slots_high, __ATOMIC_RELAXED);
	while (high <= i &&
	       !__atomic_compare_exchange_n(&slots_high, &high, i + 1, false,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
	/* The value only has to be non-null for the destructor to run. */
	CHECK(pthread_setspecific(slot_key, &slots_taken) == 0);
	slot_mine = i;
}

/* Whether nobody is inside with another epoch than now. Lock held. */
static bool all_in_present(const struct epoch *e)
{
	int high;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	high = __atomic_load_n(&slots_high, __ATOMIC_ACQUIRE);
	for (int i = 0; i < high; i++) {
		uint64_t seen =
			__atomic_load_n(&e->slots[i].epoch, __ATOMIC_ACQUIRE);

		if (seen != 0 && seen != e->now)
			return false;
	}
	return true;
}

/*
 * Move the counter on if the readers allow it. True: it moved, and *ripe is
 * the list whose releases are due now. Lock held.
 */
static bool try_advance(struct epoch *e, struct block **ripe)
{
	struct block **bag;

	e->retired_since = 0;
	if (!all_in_present(e))
		return false;
	__atomic_store_n(&e->now, e->now + 1, __ATOMIC_RELEASE);
	bag = &e->bags[(e->now + 1) % BAG_COUNT]; /* that of now - 2 */
	*ripe = *bag;
	*bag = NULL;
	return true;
}

/* Keep some of the emptied blocks, so that retiring need not allocate. */
static void recycle_blocks(struct epoch *e, struct block *b)
{
	struct block *next;

	pthread_mutex_lock(&e->lock);
	for (; b && e->spare_count < BLOCK_SPARE_MAX; b = next) {
		next = b->next;
		b->next = e->spare;
		e->spare = b;
		e->spare_count++;
	}
	pthread_mutex_unlock(&e->lock);
	for (; b; b = next) {
		next = b->next;
		free(b);
	}
}

/* Run the releases of a list that nobody else sees. Lock not held. */
static void run_releases(const struct block *b)
{
	for (; b; b = b->next)
		for (unsigned i = 0; i < b->count; i++)
			b->records[i].fn(b->records[i].ctx, b->records[i].ref);
}

/* The block of the present bag with room for a record, or NULL. */
static struct block *block_with_room(struct epoch *e)
{
	struct block **bag = &e->bags[e->now % BAG_COUNT];
	struct block *b = *bag;

	if (b && b->count < BLOCK_RECORDS)
		return b;
	b = e->spare;
	if (b) {
		e->spare = b->next;
		e->spare_count--;
	} else {
		b = malloc(sizeof(*b));
		if (!b)
			return NULL;
	}
	b->count = 0;
	b->next = *bag;
	*bag = b;
	return b;
}

static void free_spares(struct epoch *e)
{
	struct block *b;

	while ((b = e->spare)) {
		e->spare = b->next;
		free(b);
	}
	e->spare_count = 0;
}

enum err epoch_new(struct epoch **out)
{
	struct epoch *e = aligned_alloc(LINE_BYTES, sizeof(*e));

	if (!e)
		return ERR_NOMEM;
	memset(e, 0, sizeof(*e));
	while (e->spare_count < BLOCK_SPARE_MIN) {
		struct block *b = malloc(sizeof(*b));

		if (!b)
			goto out_free;
		b->next = e->spare;
		e->spare = b;
		e->spare_count++;
	}
	if (pthread_mutex_init(&e->lock, NULL) != 0)
		goto out_free;
	e->now = FIRST_EPOCH;
	*out = e;
	return OK;
out_free:
	free_spares(e);
	free(e);
	return ERR_NOMEM;
}

void epoch_free(struct epoch *e)
{
	struct block *b;

	if (!e)
		return;
	for (int i = 0; i < EPOCH_THREADS_MAX; i++)
		CHECK(__atomic_load_n(&e->slots[i].epoch, __ATOMIC_ACQUIRE) ==
		      0);
	for (unsigned i = 1; i <= BAG_COUNT; i++) {
		b = e->bags[(e->now + i) % BAG_COUNT]; /* oldest first */
		e->bags[(e->now + i) % BAG_COUNT] = NULL;
		run_releases(b);
		recycle_blocks(e, b);
	}
	free_spares(e);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

void epoch_enter(struct epoch *e)
{
	struct slot *s;

	if (__builtin_expect(slot_mine < 0, 0))
		take_slot();
	s = &e->slots[slot_mine];
	DCHECK(s->epoch == 0);
	__atomic_store_n(&s->epoch, __atomic_load_n(&e->now, __ATOMIC_ACQUIRE),
			 __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void epoch_exit(struct epoch *e)
{
	CHECK(slot_mine >= 0);
	DCHECK(e->slots[slot_mine].epoch != 0);
	__atomic_store_n(&e->slots[slot_mine].epoch, 0, __ATOMIC_RELEASE);
}

enum err epoch_retire(struct epoch *e, void (*fn)(void *ctx, uint64_t ref),
		      void *ctx, uint64_t ref)
{
	struct block *b, *ripe = NULL;

	pthread_mutex_lock(&e->lock);
	b = block_with_room(e);
	if (b)
		b->records[b->count++] =
			(struct record){ .fn = fn, .ctx = ctx, .ref = ref };
	if (!b || ++e->retired_since >= RETIRE_BATCH)
		(void)try_advance(e, &ripe); /* refused: the next one tries */
	pthread_mutex_unlock(&e->lock);
	if (ripe) {
		run_releases(ripe);
		recycle_blocks(e, ripe);
	}
	return b ? OK : ERR_NOMEM;
}

void epoch_collect(struct epoch *e)
{
	for (int i = 0; i < BAG_COUNT; i++) {
		struct block *ripe = NULL;
		bool moved;

		pthread_mutex_lock(&e->lock);
		moved = try_advance(e, &ripe);
		pthread_mutex_unlock(&e->lock);
		if (!moved)
			return;
		if (ripe) {
			run_releases(ripe);
			recycle_blocks(e, ripe);
		}
	}
}
