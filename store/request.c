/*
 * store/request.c - what becomes of a request once the core thread has it.
 *
 *    queue --> waiting --> decided --> completed
 *                 |           |
 *                 |           '--> another entry stands at its index: again
 *                 '--> forwarded to who leads
 *
 * waiting: undecided, in order, for each partition. A request is decided only
 * where the partition is led (group_can_decide). It is sent to the leader from
 * elsewhere; where no leader is known it waits for one, for two election
 * timeouts at most.
 *
 * decided: in the order of the log. A request that appended entries is
 * completed when they are applied, and only if they are still those of its
 * term: a leader that lost its office may find other ones there. Then, by
 * consensus, what it had appended never happens, and it is decided again. A
 * request that appended nothing has refused something or found nothing to do:
 * it is answered when what it was decided on is applied and a read index asked
 * for after the decision has shown that this node still led (barrier.c). In a
 * group of one the former says the latter.
 */
#include <stdlib.h>

#include "base/check.h"
#include "store/file_decide.h"
#include "store/forward.h"
#include "store/group_internal.h"
#include "store/observer.h"

enum {
	BATCH_WRITES_MAX = 4096,
	BATCH_BYTES_MAX = 4 << 20,
	GATHER_BYTES_MAX = 256 << 10,
};

/*
 * What was decided last is on its way to a quorum: gather. A batch costs two
 * messages and a sync on every member, whether it holds one entry or hundreds,
 * and none is committed before the one ahead of it. Only large entries, which
 * keep disks and links busy, go one batch behind the other.
 */
static bool must_gather(struct partition *p)
{
	return p->decided.head && p->unapplied_bytes < GATHER_BYTES_MAX &&
	       group_has_others(p);
}

/*
 * Meanwhile writes wake nobody: an answer, which ends the gathering, does.
 * Cleared before the core looks at the queue for the last time, so nobody is
 * left behind there.
 */
static void publish_gathering(struct partition *p)
{
	atomic_store(&p->gathering, must_gather(p));
}

/* ----------------------------------------------------------- completing -- */

static void count_commit(struct store *s, const struct store_queued *q)
{
	uint64_t ns = clock_mono_ns(s->o.clock) - q->since_ns;

	count_up(&s->commit_count, 1);
	count_up(&s->commit_ns_total, ns);
	count_up(&s->commit_buckets[time_bucket(ns)], 1);
}

void request_complete(struct store *s, struct store_queued *q, enum err err)
{
	struct store_file_op *op;
	struct store_change *c;
	struct store_write *w;

	atomic_fetch_sub(&s->queue_count, 1);
	switch ((enum request_kind)q->kind) {
	case REQUEST_WRITE:
		w = write_of(q);
		if (err)
			w->err = err;
		if (w->upload)
			upload_commit_over(w->upload, w->err);
		count_commit(s, q);
		w->done(w);
		return;
	case REQUEST_STAGE:
	case REQUEST_ABANDON:
		upload_complete(upload_of(q), err);
		return;
	case REQUEST_CHANGE:
		c = change_of(q);
		if (err)
			c->err = err;
		c->done(c);
		return;
	case REQUEST_FILE:
		op = file_of(q);
		if (err)
			op->err = err;
		count_commit(s, q);
		op->done(op);
		return;
	}
}

void request_settled(struct store *s, struct store_queued *q)
{
	if (q->entries == 0 || !observer_holds(s, q))
		request_complete(s, q, OK);
}

static void complete_list(struct store *s, struct request_list *l, enum err err)
{
	struct store_queued *q;

	while ((q = list_take(l)))
		request_complete(s, q, err);
}

/* -------------------------------------------------- several partitions --- */

/*
 * The deletion of a prefix without a slash: one request for each partition,
 * the whole is over when all are.
 */
struct split {
	struct store *s;
	struct store_write *whole;
	uint32_t left, failed;
	enum err err;
	struct store_write part[];
};

static void part_done(struct store_write *part)
{
	struct split *x = part->user;
	struct store_write *w = x->whole;

	w->deleted += part->deleted;
	if (part->err) {
		x->failed++;
		/* One share that may be done makes the whole doubtful. */
		if (x->err != ERR_UNKNOWN)
			x->err = part->err;
	}
	if (part == &x->part[0])
		w->revision = part->revision;
	if (--x->left > 0)
		return;
	w->succeeded = true;
	w->atomic = false;
	/* With a share done already the whole is neither done nor undone. */
	w->err = x->failed == x->s->partition_count ? x->err
		 : x->failed			    ? ERR_UNKNOWN
						    : OK;
	request_complete(x->s, &w->queued, w->err);
	free(x);
}

static bool spans_partitions(const struct store *s,
			     const struct store_queued *q)
{
	const struct store_write *w;

	if (q->kind != REQUEST_WRITE || s->partition_count == 1 ||
	    q->no_forward)
		return false;
	w = write_of((struct store_queued *)(uintptr_t)q);
	return w->delete_prefix && w->done != part_done &&
	       !(w->prefix.n > 0 && memchr(w->prefix.p, '/', w->prefix.n));
}

static void split_prefix(struct store *s, struct store_queued *q)
{
	uint32_t n = s->partition_count;
	struct split *x = calloc(1, sizeof(*x) + n * sizeof(x->part[0]));

	CHECK(n > 1);
	if (!x) {
		request_complete(s, q, ERR_NOMEM);
		return;
	}
	*x = (struct split){ .s = s, .whole = write_of(q), .left = n };
	x->whole->deleted = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct store_write *part = &x->part[i];

		*part = (struct store_write){
			.delete_prefix = true,
			.prefix = x->whole->prefix,
			.done = part_done,
			.user = x,
			.queued = { .kind = REQUEST_WRITE,
				    .partition = i,
				    .since_ns = q->since_ns },
		};
		core_submit(s, &part->queued);
	}
}

/* -------------------------------------------------------------- routing -- */

static void add_waiting(struct store *s, struct store_queued *q)
{
	struct partition *p = &s->partitions[q->partition];

	CHECK(q->partition < s->partition_count);
	list_add(&p->waiting, q);
	group_touch(p);
}

void core_submit(struct store *s, struct store_queued *q)
{
	atomic_fetch_add(&s->queue_count, 1);
	add_waiting(s, q);
}

void requests_take(struct store *s)
{
	struct request_list l;
	struct store_queued *q;

	list_init(&l);
	queue_take(s, &l);
	while ((q = list_take(&l))) {
		if (spans_partitions(s, q))
			split_prefix(s, q);
		else if (q->kind == REQUEST_CHANGE &&
			 change_of(q)->kind == STORE_TRANSFER)
			members_transfer(s, change_of(q));
		else
			add_waiting(s, q);
	}
}

/* This node cannot decide for p now: who can, or wait for one. */
static void send_away(struct store *s, struct partition *p)
{
	struct request_list keep;
	struct store_queued *q;

	list_init(&keep);
	while ((q = list_take(&p->waiting))) {
		if (p->broken || (q->no_forward && p->role != RAFT_LEADER))
			request_complete(s, q, ERR_NO_LEADER);
		else if (q->no_forward || !s->o.net)
			list_add(&keep, q);
		else
			forward_submit(s, q);
	}
	while ((q = list_take(&keep)))
		list_add(&p->waiting, q);
}

/* ------------------------------------------------------------- deciding -- */

static enum err decide_one(struct store *s, struct store_queued *q)
{
	struct store_write *w;

	switch ((enum request_kind)q->kind) {
	case REQUEST_STAGE:
		return upload_stage(s, upload_of(q));
	case REQUEST_ABANDON:
		return upload_abandon(s, upload_of(q));
	case REQUEST_CHANGE:
		return decide_change(s, change_of(q));
	case REQUEST_FILE:
		count_up(&s->writes, 1);
		return decide_file(s, file_of(q));
	case REQUEST_WRITE:
		break;
	}
	w = write_of(q);
	count_up(&s->writes, 1);
	return w->delete_prefix ? decide_delete_prefix(s, w)
				: decide_write(s, w);
}

static bool is_blocked(struct partition *p)
{
	return engine_applied_index(p->s->engine, p->id) < p->blocked_to ||
	       group_is_full(p);
}

/* A round that has begun with p takes all that waits. */
static bool may_begin(struct partition *p)
{
	return group_can_decide(p) && !is_blocked(p) && !must_gather(p);
}

/* ERR_PENDING: nothing more of p now. */
static enum err decide_next(struct store *s, struct partition *p)
{
	struct store_queued *q = p->waiting.head;
	uint64_t before = p->last_index;
	enum err err;

	if (q->no_forward && !forward_may_decide(s, q, &err)) {
		request_complete(s, list_take(&p->waiting), err);
		return OK;
	}
	s->forwarding = q->no_forward ? q : NULL;
	err = decide_one(s, q);
	s->forwarding = NULL;
	if (err == ERR_PENDING) {
		CHECK(p->last_index == before);
		CHECK(engine_applied_index(s->engine, p->id) < before);
		p->blocked_to = before;
		return err;
	}
	(void)list_take(&p->waiting); /* it is q */
	q->index = p->last_index;
	q->term = p->office_term;
	q->entries = (uint32_t)(p->last_index - before);
	if (q->entries > 0 || err || atomic_load(&p->fresh) == FRESH_ALONE)
		list_add(&p->decided, q);
	else
		reads_add_refusal(s, p, q);
	CHECK(!err || err == ERR_IO);
	return err;
}

enum err requests_decide(struct store *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->active_count; i++) {
		struct partition *p = s->active[i];
		bool begin = p->waiting.head && may_begin(p);

		while (begin && p->waiting.head && group_can_decide(p) &&
		       !is_blocked(p) && n < BATCH_WRITES_MAX &&
		       s->batch_bytes < BATCH_BYTES_MAX) {
			enum err err = decide_next(s, p);

			n++;
			if (err == ERR_IO)
				return err;
			if (err)
				break;
		}
		if (p->waiting.head && !group_can_decide(p))
			send_away(s, p);
		publish_gathering(p);
	}
	return OK;
}

bool requests_are_due(struct partition *p)
{
	return p->waiting.head && may_begin(p);
}

/* -------------------------------------------------------------- applied -- */

void request_again(struct store *s, struct store_queued *q)
{
	if (q->no_forward) {
		request_complete(s, q, ERR_NO_LEADER);
		return;
	}
	if (q->kind == REQUEST_WRITE)
		results_drop(write_of(q));
	add_waiting(s, q);
}

/*
 * Another entry stands where the last of q's was: of those none is left, or,
 * when there were several, perhaps some.
 */
static void undone(struct store *s, struct store_queued *q)
{
	if (q->entries > 1)
		request_complete(s, q, ERR_UNKNOWN);
	else
		request_again(s, q);
}

/*
 * Requests of an earlier office. Terms never fall within a log: where an entry
 * of a later term is applied, nothing of an earlier term follows.
 */
static void resolve_old(struct store *s, struct partition *p, uint64_t applied)
{
	struct request_list keep;
	struct store_queued *q;
	uint64_t term, at;

	if (raft_term_at(p->raft, applied, &term))
		term = 0;
	list_init(&keep);
	while ((q = list_take(&p->decided))) {
		if (q->index > applied && q->term >= term)
			list_add(&keep, q);
		else if (q->index > applied)
			undone(s, q);
		else if (raft_term_at(p->raft, q->index, &at))
			request_complete(s, q, ERR_UNKNOWN);
		else if (at == q->term)
			request_settled(s, q);
		else
			undone(s, q);
	}
	while ((q = list_take(&keep)))
		list_add(&p->decided, q);
}

void requests_applied(struct store *s, struct partition *p)
{
	uint64_t applied = engine_applied_index(s->engine, p->id);

	while (p->decided.head) {
		struct store_queued *q = p->decided.head;

		if (!p->office_index || q->term != p->office_term) {
			resolve_old(s, p, applied);
			break;
		}
		if (q->index > applied)
			break;
		request_settled(s, list_take(&p->decided));
	}
	publish_gathering(p);
}

void requests_leave_office(struct store *s, struct partition *p)
{
	struct request_list keep;
	struct store_queued *q;

	list_init(&keep);
	while ((q = list_take(&p->decided))) {
		if (q->entries == 0)
			request_again(s, q);
		else
			list_add(&keep, q);
	}
	while ((q = list_take(&keep)))
		list_add(&p->decided, q);
	p->blocked_to = 0;
	publish_gathering(p);
}

/* -------------------------------------------------------------- time ----- */

static void expire_list(struct store *s, struct request_list *l, uint64_t ms,
			enum err err)
{
	uint64_t now_ns = clock_mono_ns(s->o.clock);
	struct request_list keep;
	struct store_queued *q;

	list_init(&keep);
	while ((q = list_take(l))) {
		if (now_ns - q->since_ns < ms * 1000000)
			list_add(&keep, q);
		else
			request_complete(s, q, err);
	}
	while ((q = list_take(&keep)))
		list_add(l, q);
}

void requests_expire(struct store *s, struct partition *p)
{
	uint64_t wait_ms = p->role == RAFT_LEADER ? s->o.commit_timeout_ms
						  : 2 * s->o.election_ms;

	if (p->waiting.head)
		expire_list(s, &p->waiting, wait_ms, ERR_NO_LEADER);
	if (p->decided.head)
		expire_list(s, &p->decided, s->o.commit_timeout_ms,
			    ERR_UNKNOWN);
	publish_gathering(p);
}

void requests_stop(struct store *s)
{
	requests_take(s);
	for (uint32_t i = 0; i < s->partition_count; i++) {
		struct partition *p = &s->partitions[i];

		/* What was appended may be durable, and be applied later. */
		complete_list(s, &p->decided, ERR_UNKNOWN);
		complete_list(s, &p->waiting, ERR_CLOSED);
	}
}
