/*
 * store/forward.c - the asking side: requests that another node decides.
 *
 * Each gets a sequence number and the slot of that number in a window of
 * FORWARD_WINDOW; what finds its slot taken is held back. So of one node at
 * most that many are under way, and a slot's record in the state ("\0f") is
 * not overwritten before its request is over.
 *
 *    to send --> sent --> answered --> completed, when the answer's index is
 *       ^         |                    applied here
 *       '---------'  another leader or term, a link that broke, a time
 *
 * Every copy is for one leader in one term. An answer that says that an entry
 * holds the request is final, from whatever copy. A refusal is taken only as
 * an answer to the newest copy: one sent later may still be decided otherwise.
 *
 * Who is to leave a group takes its window's records along (store/members.c),
 * and may yet stay, because the next leader has not heard that it is to leave.
 * Once this node has seen them go no second copy is sent or believed: what was
 * decided on a state without them has an index behind that, and is completed
 * only when this node has applied so far. (Who hears of both, its leaving and
 * its staying, by a state in place of the log, does not see them go.)
 *
 * At the deadline a request ends with ERR_NO_LEADER if no copy can have been
 * decided, else with ERR_UNKNOWN.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/net.h"
#include "store/forward_internal.h"

#define LOOK_NS	  (20ull * 1000 * 1000)
#define RESEND_NS (500ull * 1000 * 1000)
#define AGAIN_NS  (40ull * 1000 * 1000)

enum err forward_new(struct store *s)
{
	struct forward *f = calloc(1, sizeof(*f));
	enum err err;

	if (!f)
		return ERR_NOMEM;
	err = leader_side_new(&f->leader);
	if (!err && s->o.net) {
		f->asked = calloc(FORWARD_WINDOW, sizeof(*f->asked));
		err = f->asked ? OK : ERR_NOMEM;
	}
	if (err) {
		leader_side_free(f->leader);
		free(f);
		return err;
	}
	do
		f->incarnation = seed_next(s->o.seed);
	while (f->incarnation == 0);
	f->floor = f->next = 1;
	list_init(&f->held);
	s->forward = f;
	return OK;
}

void forward_free(struct store *s)
{
	struct forward *f = s->forward;

	if (!f)
		return;
	CHECK(f->floor == f->next);
	leader_side_free(f->leader);
	buf_done(&f->to_self);
	free(f->asked);
	free(f);
	s->forward = NULL;
}

static struct asked *slot_of(struct forward *f, uint64_t sequence)
{
	return &f->asked[sequence % FORWARD_WINDOW];
}

static struct partition *partition_of(struct store *s, const struct asked *a)
{
	return &s->partitions[a->q->partition];
}

static bool is_overdue(struct store *s, const struct store_queued *q,
		       uint64_t now_ns)
{
	return now_ns - q->since_ns >= s->o.commit_timeout_ms * 1000000;
}

/* ---------------------------------------------------------- completing --- */

/* The slot is free again; what is the request's is the caller's. */
static struct store_queued *release(struct forward *f, struct asked *a)
{
	struct store_queued *q = a->q;

	if (a->state == ASKED_ANSWERED)
		f->answered--;
	a->q = NULL;
	while (f->floor < f->next && !slot_of(f, f->floor)->q)
		f->floor++;
	if (f->held.head)
		f->look = true;
	return q;
}

static void complete(struct store *s, struct asked *a, enum err err)
{
	struct store_queued *q = release(s->forward, a);

	if (err == ERR_UNKNOWN && q->kind == REQUEST_WRITE)
		results_drop(write_of(q));
	request_complete(s, q, err);
}

static void give_up(struct store *s, struct asked *a)
{
	complete(s, a, a->doubtful > 0 ? ERR_UNKNOWN : ERR_NO_LEADER);
}

static void complete_answered(struct store *s, struct asked *a)
{
	if (a->err)
		complete(s, a, (enum err)a->err);
	else
		request_settled(s, release(s->forward, a));
}

static void complete_applied(struct store *s)
{
	struct forward *f = s->forward;
	uint64_t to = f->next;

	for (uint64_t i = f->floor; i < to && f->answered > 0; i++) {
		struct asked *a = slot_of(f, i);

		if (a->q && a->state == ASKED_ANSWERED &&
		    engine_applied_index(s->engine,
					 (uint16_t)a->q->partition) >= a->index)
			complete_answered(s, a);
	}
}

/* ------------------------------------------------------------- sending --- */

static struct request_head head_of(const struct forward *f,
				   const struct partition *p,
				   const struct asked *a)
{
	return (struct request_head){ .incarnation = f->incarnation,
				      .sequence = a->sequence,
				      .floor = f->floor,
				      .term = p->term,
				      .again = a->doubtful > 0 };
}

static void note_sent(struct store *s, struct asked *a, uint64_t term)
{
	if (a->sent_term != term)
		a->copies = 0;
	a->copies++;
	a->doubtful++;
	a->state = ASKED_SENT;
	a->sent_term = term;
	a->sent_ns = clock_mono_ns(s->o.clock);
}

/*
 * This node leads now. What was never decided elsewhere is an own request
 * again; of the rest the window knows.
 */
static void decide_here(struct store *s, struct partition *p, struct asked *a)
{
	struct forward *f = s->forward;
	struct request_head head = head_of(f, p, a);
	struct item item = { .kind = ITEM_REQUEST, .partition = p->id };

	if (!group_can_decide(p))
		return;
	if (a->doubtful == 0) {
		struct store_queued *q = release(f, a);

		atomic_fetch_sub(&s->queue_count, 1);
		core_submit(s, q);
		return;
	}
	f->to_self.n = 0;
	if (request_encode(&f->to_self, &head, a->q))
		return;
	note_sent(s, a, p->term);
	item.body = buf_bytes(&f->to_self);
	forward_receive(s, s->self_id, &item);
}

void forward_dropped(struct store *s, struct partition *p, uint64_t index)
{
	struct forward *f = s->forward;

	for (uint64_t i = f->floor, to = f->next; i < to && f->asked; i++) {
		struct asked *a = slot_of(f, i);
		bool answered = a->state == ASKED_ANSWERED;

		if (!a->q || a->sequence != i || a->q->partition != p->id ||
		    (answered && a->index < index))
			continue;
		a->dropped = true;
		if (a->doubtful > 1)
			complete(s, a, ERR_UNKNOWN);
	}
}

static void try_send(struct store *s, struct asked *a)
{
	struct forward *f = s->forward;
	struct partition *p = partition_of(s, a);
	uint64_t leader = group_leader(p);
	struct request_head head = head_of(f, p, a);
	struct buf *b;

	CHECK(a->state != ASKED_ANSWERED);
	a->state = ASKED_TO_SEND;
	if (a->dropped && a->doubtful > 0) {
		complete(s, a, ERR_UNKNOWN);
		return;
	}
	if (leader == s->self_id) {
		decide_here(s, p, a);
		return;
	}
	if (leader == RAFT_NOBODY || !s->o.net->is_up(s->o.net, leader))
		return;
	b = outbox_begin(s, leader, ITEM_REQUEST, p->id);
	if (!b) { /* its share of the round is full */
		f->look = true;
		return;
	}
	if (request_encode(b, &head, a->q)) {
		outbox_drop(s);
		return;
	}
	outbox_end(s);
	note_sent(s, a, p->term);
}

static bool try_begin(struct store *s, struct store_queued *q)
{
	struct forward *f = s->forward;
	struct asked *a = slot_of(f, f->next);

	if (a->q)
		return false;
	if (q->kind == REQUEST_WRITE)
		results_clear(write_of(q));
	*a = (struct asked){ .q = q, .sequence = f->next++ };
	try_send(s, a);
	return true;
}

void forward_submit(struct store *s, struct store_queued *q)
{
	struct forward *f = s->forward;

	CHECK(!q->no_forward);
	if (!f->asked)
		request_complete(s, q, ERR_NO_LEADER);
	else if (f->held.head || !try_begin(s, q))
		list_add(&f->held, q);
}

void forward_wake(struct store *s, bool lost)
{
	s->forward->look = true;
	s->forward->lost |= lost;
}

/* Is it time for another copy of what was sent? */
static bool is_stale(struct store *s, const struct asked *a, uint64_t now_ns)
{
	const struct partition *p = partition_of(s, a);
	uint64_t leader = group_leader(p);

	if (leader == RAFT_NOBODY)
		return false;
	return p->term != a->sent_term || s->forward->lost ||
	       now_ns - a->sent_ns >= RESEND_NS;
}

static void look_at(struct store *s, struct asked *a, uint64_t now_ns)
{
	if (is_overdue(s, a->q, now_ns)) {
		give_up(s, a);
		return;
	}
	switch ((enum asked_state)a->state) {
	case ASKED_TO_SEND:
		if (partition_of(s, a)->term != a->sent_term ||
		    now_ns - a->sent_ns >= AGAIN_NS)
			try_send(s, a);
		return;
	case ASKED_SENT:
		if (is_stale(s, a, now_ns))
			try_send(s, a);
		return;
	case ASKED_ANSWERED:
		return;
	}
}

static void begin_held(struct store *s, uint64_t now_ns)
{
	struct forward *f = s->forward;

	while (f->held.head) {
		struct store_queued *q = f->held.head;

		if (is_overdue(s, q, now_ns)) {
			list_take(&f->held);
			request_complete(s, q, ERR_NO_LEADER);
			continue;
		}
		if (slot_of(f, f->next)->q)
			return;
		list_take(&f->held);
		CHECK(try_begin(s, q));
	}
}

void forward_round(struct store *s)
{
	struct forward *f = s->forward;
	uint64_t now_ns, to = f->next;

	complete_applied(s);
	if (f->floor == f->next && !f->held.head) {
		f->look = f->lost = false;
		return;
	}
	now_ns = clock_mono_ns(s->o.clock);
	if (!f->look && now_ns - f->looked_ns < LOOK_NS)
		return;
	f->looked_ns = now_ns;
	f->look = false;
	for (uint64_t i = f->floor; i < to; i++) {
		struct asked *a = slot_of(f, i);

		if (a->q && a->sequence == i)
			look_at(s, a, now_ns);
	}
	f->lost = false;
	begin_held(s, now_ns);
}

uint64_t forward_wait_ms(struct store *s)
{
	struct forward *f = s->forward;

	if (f->floor == f->next && !f->held.head)
		return UINT64_MAX;
	return f->look ? 1 : LOOK_NS / 1000000;
}

/* ------------------------------------------------------------- answers --- */

/*
 * A copy was not decided, or nobody knows: again, elsewhere or later. Of
 * several copies for one term it is not told which one this was.
 */
static void not_decided(struct asked *a, const struct answer_head *head)
{
	if (head->term != a->sent_term || a->state != ASKED_SENT)
		return;
	if (head->status == ANSWER_NOT_HERE && a->copies == 1)
		a->doubtful--;
	a->state = ASKED_TO_SEND;
}

void forward_answered(struct store *s, uint64_t from, const struct item *item)
{
	struct forward *f = s->forward;
	struct bytes in = item->body;
	struct answer_head head;
	struct asked *a;

	if (!f->asked || answer_head_decode(&in, &head) ||
	    head.incarnation != f->incarnation)
		return;
	a = slot_of(f, head.sequence);
	if (!a->q || a->sequence != head.sequence ||
	    a->state == ASKED_ANSWERED || a->q->partition != item->partition)
		return;
	if (head.status != ANSWER_DONE) {
		not_decided(a, &head);
		return;
	}
	if (!head.appended && head.term != a->sent_term)
		return; /* a newer copy may be decided otherwise */
	if (answer_decode(in, &head, a->q))
		return; /* no memory: the answer comes again */
	a->state = ASKED_ANSWERED;
	a->index = head.index;
	a->err = head.err;
	a->q->index = head.index;
	a->q->entries = head.appended;
	f->answered++;
}

void forward_stop(struct store *s)
{
	struct forward *f = s->forward;
	struct store_queued *q;

	if (!f || !f->asked)
		return;
	for (uint64_t i = f->floor, to = f->next; i < to; i++) {
		struct asked *a = slot_of(f, i);

		if (a->q)
			complete(s, a,
				 a->doubtful > 0 ? ERR_UNKNOWN : ERR_CLOSED);
	}
	while ((q = list_take(&f->held)))
		request_complete(s, q, ERR_CLOSED);
}
