/*
 * store/barrier.c - when may a read be answered from this node's state?
 *
 * AT ONCE, on the reader's own thread, from what the core publishes for each
 * partition (enum freshness):
 *
 *   FRESH_ALONE  a group of one without learners. A write is answered only
 *                after it was applied here, and nobody else can answer one.
 *   FRESH_LEASE  this node leads and a quorum has promised to elect nobody
 *                else before lease_end_ns (thesis 6.4.1). Besides, everything
 *                committed must be applied: the commit index is published
 *                before any message tells it to others, so a write that some
 *                node has answered is not missed.
 *
 * BY A READ INDEX otherwise (6.4), on any node. Barriers come over in a stack
 * like the one of queue.c. What gathers for a partition becomes a batch and
 * asks raft once; one question of a partition is under way at a time, what
 * comes meanwhile gathers in the next batch, and wakes nobody: the answer will.
 * A batch is over when the index it was granted is applied here. Refusals
 * (request.c) ride in the same batches. A batch is asked again, under the same
 * context, when leaders change and when the answer may be lost; an old answer
 * is still right, because everything in the batch is older than its first
 * question.
 *
 * Barriers for all partitions gather in turns: one set of them is under way at
 * a time, as a part of one batch in each partition.
 */
#include <stdlib.h>

#include "base/check.h"
#include "store/group_internal.h"

enum {
	BATCHES_MAX = 8,    /* of a partition that are not over            */
	REPEAT_TICKS = 3,   /* a follower's question may be lost           */
	SPARE_BATCHES = 64, /* kept for reuse                              */
};

/* Barriers for all partitions: over when each one's batch is. */
struct read_all {
	uint32_t left;
	enum err err;
	struct store_barrier *barriers;
};

struct read_batch {
	struct read_batch *next;
	uint64_t context;
	uint64_t index; /* granted                                            */
	uint64_t tail;	/* on which refusals were decided                     */
	uint64_t since_ns;
	uint32_t ticks; /* since it was asked                                */
	bool asked, granted;
	struct store_barrier *barriers;
	struct request_list refusals;
	struct read_all *all;
};

/* ------------------------------------------------------------ published -- */

static bool is_alone(const struct raft_conf *c)
{
	return c->count == 1 && c->role[0] == RAFT_VOTER;
}

void reads_publish(struct partition *p)
{
	uint64_t end_ns = p->deciding ? raft_lease_end(p->raft) : 0;
	enum freshness fresh = FRESH_ASK;

	if (p->deciding && is_alone(raft_conf(p->raft)))
		fresh = FRESH_ALONE;
	else if (end_ns > 0)
		fresh = FRESH_LEASE;
	atomic_store_explicit(&p->lease_end_ns, end_ns, memory_order_release);
	atomic_store_explicit(&p->fresh, (int)fresh, memory_order_release);
	atomic_store_explicit(&p->led, !p->broken && p->leader != RAFT_NOBODY,
			      memory_order_relaxed);
}

static bool lease_holds(struct store *s, struct partition *p)
{
	switch ((enum freshness)atomic_load(&p->fresh)) {
	case FRESH_ALONE:
		return true;
	case FRESH_LEASE:
		return clock_boot_ns(s->o.clock) <
		       atomic_load(&p->lease_end_ns);
	case FRESH_ASK:
		break;
	}
	return false;
}

static bool is_fresh(struct store *s, struct partition *p,
		     enum store_consistency consistency)
{
	if (atomic_load_explicit(&p->fresh, memory_order_acquire) ==
	    FRESH_ALONE)
		return true;
	return consistency == STORE_LEASE && lease_holds(s, p) &&
	       engine_applied_index(s->engine, p->id) >=
		       atomic_load(&p->committed_shown);
}

/* The partitions that a barrier is for. */
static void span(const struct store *s, int32_t partition, uint32_t *from,
		 uint32_t *to)
{
	bool all = partition == STORE_ALL_PARTITIONS;

	*from = all ? 0 : (uint32_t)partition;
	*to = all ? s->partition_count : *from + 1;
}

enum err store_barrier(struct store *s, int32_t partition,
		       enum store_consistency consistency,
		       struct store_barrier *b)
{
	struct store_barrier *head;
	bool gather = b->gather; /* once it is in the stack it may be gone */
	uint32_t from, to;

	if (partition != STORE_ALL_PARTITIONS &&
	    (partition < 0 || (uint32_t)partition >= s->partition_count))
		return ERR_INVALID;
	if (!atomic_load_explicit(&s->started, memory_order_acquire))
		return ERR_STARTING;
	if (consistency == STORE_STALE)
		return OK;
	if (atomic_load(&s->closing))
		return ERR_NO_LEADER;
	span(s, partition, &from, &to);
	while (from < to && is_fresh(s, &s->partitions[from], consistency))
		from++;
	if (from == to)
		return OK;
	b->partition = partition;
	head = atomic_load_explicit(&s->barriers, memory_order_relaxed);
	do
		b->next = head;
	while (!atomic_compare_exchange_weak(&s->barriers, &head, b));
	if (partition == STORE_ALL_PARTITIONS ||
	    !atomic_load(&s->partitions[partition].reading))
		queue_wake_for(s, gather);
	return ERR_PENDING;
}

bool store_lease_holds(struct store *s, int32_t partition)
{
	uint32_t from, to;

	if (!atomic_load_explicit(&s->started, memory_order_acquire) ||
	    atomic_load(&s->closing))
		return false;
	span(s, partition, &from, &to);
	while (from < to && lease_holds(s, &s->partitions[from]))
		from++;
	return from == to;
}

/* -------------------------------------------------------------- batches -- */

/* The batch of p that still gathers. NULL: no memory. */
static struct read_batch *open_batch(struct store *s, struct partition *p)
{
	struct groups *g = s->groups;
	struct read_batch *b = p->reads_open;

	if (b)
		return b;
	b = g->spare;
	if (b) {
		g->spare = b->next;
		g->spare_count--;
	} else {
		b = malloc(sizeof(*b));
	}
	if (!b)
		return NULL;
	*b = (struct read_batch){ .context = ++g->context,
				  .since_ns = clock_mono_ns(s->o.clock) };
	list_init(&b->refusals);
	p->reads_open = b;
	group_touch(p);
	return b;
}

static void free_batch(struct groups *g, struct read_batch *b)
{
	if (g->spare_count >= SPARE_BATCHES) {
		free(b);
		return;
	}
	b->next = g->spare;
	g->spare = b;
	g->spare_count++;
}

static void end_barriers(struct store_barrier *b, enum err err)
{
	while (b) {
		struct store_barrier *next = b->next;

		b->done(b, err);
		b = next;
	}
}

static void end_all(struct groups *g, struct read_all *all, enum err err)
{
	if (!all)
		return;
	if (err)
		all->err = err;
	if (--all->left > 0)
		return;
	if (g->all == all)
		g->all = NULL;
	end_barriers(all->barriers, all->err);
	free(all);
}

static void end_refusals(struct store *s, struct read_batch *b, enum err err)
{
	struct store_queued *q;

	while ((q = list_take(&b->refusals)))
		request_complete(s, q, err);
}

/* b is out of every list. */
static void end_batch(struct store *s, struct read_batch *b, enum err err)
{
	end_barriers(b->barriers, err);
	end_refusals(s, b, err);
	end_all(s->groups, b->all, err);
	free_batch(s->groups, b);
}

/* ------------------------------------------------------------- gathering - */

static void add_barrier(struct store *s, struct store_barrier *b)
{
	struct partition *p = &s->partitions[b->partition];
	struct read_batch *batch = open_batch(s, p);

	if (!batch) {
		b->done(b, ERR_NO_LEADER);
		return;
	}
	b->next = batch->barriers;
	batch->barriers = b;
}

/* Begin the next turn of barriers for all partitions. */
static void begin_all(struct store *s)
{
	struct groups *g = s->groups;
	struct read_all *all;

	if (g->all || !g->all_next)
		return;
	all = calloc(1, sizeof(*all));
	if (!all) {
		end_barriers(g->all_next, ERR_NO_LEADER);
		g->all_next = NULL;
		return;
	}
	all->barriers = g->all_next;
	all->left = s->partition_count;
	g->all_next = NULL;
	g->all = all;
	for (uint32_t i = 0; i < s->partition_count; i++) {
		struct read_batch *b = open_batch(s, &s->partitions[i]);

		if (b)
			b->all = all;
		else
			end_all(g, all, ERR_NO_LEADER);
	}
}

void reads_take(struct store *s)
{
	struct store_barrier *b = atomic_exchange(&s->barriers, NULL);
	struct groups *g = s->groups;

	while (b) {
		struct store_barrier *next = b->next;

		if (b->partition == STORE_ALL_PARTITIONS) {
			b->next = g->all_next;
			g->all_next = b;
		} else {
			add_barrier(s, b);
		}
		b = next;
	}
	begin_all(s);
}

void reads_add_refusal(struct store *s, struct partition *p,
		       struct store_queued *q)
{
	struct read_batch *b = open_batch(s, p);

	if (!b) {
		request_complete(s, q, ERR_NO_LEADER);
		return;
	}
	list_add(&b->refusals, q);
	if (q->index > b->tail)
		b->tail = q->index;
}

/* --------------------------------------------------------------- asking -- */

static void ask(struct partition *p, struct read_batch *b)
{
	enum err err;

	if (!group_open(p))
		return;
	raft_set_time(p->raft, clock_boot_ns(p->s->o.clock));
	err = raft_read(p->raft, b->context);
	b->asked = err == OK;
	b->ticks = 0;
	group_fed(p);
}

/* A question is under way, or there are too many batches: gather. */
static bool must_gather(const struct partition *p)
{
	uint32_t n = 0;

	for (const struct read_batch *b = p->reads; b; b = b->next) {
		if (!b->granted || ++n >= BATCHES_MAX)
			return true;
	}
	return false;
}

bool reads_are_due(const struct partition *p)
{
	return p->reads_open && !p->broken && !must_gather(p);
}

/*
 * While a question is under way its answer wakes the core thread, and whoever
 * asks meanwhile need not. Cleared before the core looks at the stack for the
 * last time, so nobody is left behind there.
 */
static void publish_reading(struct partition *p)
{
	atomic_store(&p->reading, must_gather(p));
}

void reads_ask(struct partition *p)
{
	struct read_batch **at = &p->reads;
	struct read_batch *b;

	for (b = p->reads; b; b = b->next) {
		if (!b->asked && !b->granted)
			ask(p, b);
	}
	if (reads_are_due(p)) {
		b = p->reads_open;
		p->reads_open = NULL;
		while (*at)
			at = &(*at)->next;
		*at = b;
		ask(p, b);
	}
	publish_reading(p);
}

void reads_granted(struct partition *p, uint64_t context, uint64_t index)
{
	for (struct read_batch *b = p->reads; b; b = b->next) {
		if (b->context != context)
			continue;
		b->granted = true;
		b->index = index;
	}
}

void reads_ask_again(struct partition *p)
{
	for (struct read_batch *b = p->reads; b; b = b->next)
		b->asked = b->granted;
	group_touch(p);
}

/* ------------------------------------------------------------- answering - */

void reads_applied(struct store *s, struct partition *p)
{
	uint64_t applied = engine_applied_index(s->engine, p->id);
	struct read_batch **at = &p->reads;

	while (*at) {
		struct read_batch *b = *at;

		if (!b->granted || b->index > applied || b->tail > applied) {
			at = &b->next;
			continue;
		}
		*at = b->next;
		end_batch(s, b, OK);
	}
	publish_reading(p);
	if (p->reads_open)
		group_touch(p);
	begin_all(s);
}

static void void_refusals(struct store *s, struct read_batch *b)
{
	struct store_queued *q;

	if (!b)
		return;
	while ((q = list_take(&b->refusals)))
		request_again(s, q);
	b->tail = 0; /* what they were decided on may never be applied */
}

void reads_leave_office(struct store *s, struct partition *p)
{
	void_refusals(s, p->reads_open);
	for (struct read_batch *b = p->reads; b; b = b->next)
		void_refusals(s, b);
}

bool reads_wait(const struct partition *p)
{
	return p->reads_open || p->reads;
}

void reads_expire(struct store *s, struct partition *p)
{
	uint64_t now_ns = clock_mono_ns(s->o.clock);
	uint64_t wait_ns = 2 * s->o.election_ms * 1000000;
	struct read_batch **at = &p->reads, *b;

	while ((b = *at)) {
		if (now_ns - b->since_ns >= wait_ns) {
			*at = b->next;
			end_batch(s, b, ERR_NO_LEADER);
			continue;
		}
		/* what this node leads is in raft's own hands */
		if (!b->granted && p->role != RAFT_LEADER &&
		    ++b->ticks >= REPEAT_TICKS)
			b->asked = false;
		at = &b->next;
	}
	b = p->reads_open;
	if (b && now_ns - b->since_ns >= wait_ns) {
		p->reads_open = NULL;
		end_batch(s, b, ERR_NO_LEADER);
	}
	publish_reading(p);
	if (reads_wait(p))
		group_touch(p);
}

void reads_stop(struct store *s, enum err err)
{
	struct groups *g = s->groups;
	struct store_barrier *b = atomic_exchange(&s->barriers, NULL);

	end_barriers(b, err);
	end_barriers(g->all_next, err);
	g->all_next = NULL;
	for (uint32_t i = 0; i < s->partition_count; i++) {
		struct partition *p = &s->partitions[i];
		struct read_batch *batch;

		while ((batch = p->reads)) {
			p->reads = batch->next;
			end_batch(s, batch, err);
		}
		batch = p->reads_open;
		p->reads_open = NULL;
		if (batch)
			end_batch(s, batch, err);
		publish_reading(p);
	}
}

void reads_free(struct store *s)
{
	struct groups *g = s->groups;

	while (g->spare) {
		struct read_batch *b = g->spare;

		g->spare = b->next;
		free(b);
	}
}
