/*
 * raft/output.c - what goes out, in which order.
 *
 * Messages that promise something about this node's disk (votes, answers to
 * appends: paper 5, figure 2 "updated on stable storage before responding")
 * wait in `after` until the ready that holds them is durable; all others go at
 * once. A leader's promise about its own log goes through `after` too, as an
 * answer to itself (thesis 10.2.1).
 */
#include "raft/core.h"

void trace(const struct raft *r, const struct raft_event *e)
{
	r->c.trace(r->c.trace_ctx, r, e);
}

/*
 * May an input be taken? One input emits at most `reserve` messages, and so
 * does the next ready by itself: the queues are out_max and twice that long.
 */
bool output_has_room(const struct raft *r)
{
	return r->out.count <= r->c.out_max && r->after.count <= r->c.out_max &&
	       r->grant_count < r->c.reads_max;
}

bool output_can_pump(const struct raft *r)
{
	return r->out.count < r->c.out_max;
}

static bool waits_for_disk(const struct raft_msg *m)
{
	return m->type == RAFT_MSG_APPEND_REPLY ||
	       m->type == RAFT_MSG_VOTE_REPLY ||
	       m->type == RAFT_MSG_PREVOTE_REPLY;
}

void output_send(struct raft *r, struct raft_msg *m)
{
	struct msg_queue *q = waits_for_disk(m) ? &r->after : &r->out;

	m->from = r->c.id;
	switch (m->type) {
	case RAFT_MSG_VOTE:
	case RAFT_MSG_VOTE_REPLY:
	case RAFT_MSG_PREVOTE:
	case RAFT_MSG_PREVOTE_REPLY:
		/* the term asked for, not always mine; a refusal has mine */
		CHECK(m->term > 0 || m->reject);
		break;
	case RAFT_MSG_READ: /* meant for whoever leads, in whatever term */
		m->term = r->c.asker_confirms ? r->term : 0;
		break;
	default:
		m->term = r->term;
	}
	CHECK(m->to != r->c.id || q == &r->after);
	CHECK(q->count < q->cap);
	q->slot[q->count++] = *m;
}

/* Queued appends with entries at or past from name a log that is gone. */
void output_drop_appends(struct raft *r, uint64_t from)
{
	uint32_t i, n = 0;

	for (i = 0; i < r->out.count; i++) {
		const struct raft_msg *m = &r->out.slot[i];

		if (m->type == RAFT_MSG_APPEND && m->entry_count > 0 &&
		    m->index + m->entry_count >= from)
			continue;
		r->out.slot[n++] = *m;
	}
	r->out.count = n;
}

void output_keep_snapshots(struct raft *r)
{
	uint32_t i, n = 0;

	for (i = 0; i < r->out.count; i++) {
		struct raft_msg *m = &r->out.slot[i];
		const struct progress *p = progress_of(r, m->to);

		if (m->type == RAFT_MSG_SNAPSHOT) {
			if (!p || p->flow != RAFT_FLOW_SNAPSHOT)
				continue;
			m->snapshot = &p->snapshot;
		}
		r->out.slot[n++] = *m;
	}
	r->out.count = n;
}

void output_limit_acks(struct raft *r, uint64_t index)
{
	uint32_t i;

	for (i = 0; i < r->after.count; i++) {
		struct raft_msg *m = &r->after.slot[i];

		if (m->type == RAFT_MSG_APPEND_REPLY && !m->reject &&
		    m->index > index)
			m->index = index;
	}
}

void output_grant(struct raft *r, uint64_t context, uint64_t index)
{
	CHECK(r->grant_count < 2 * r->c.reads_max);
	r->grant[r->grant_count++] =
		(struct raft_grant){ .context = context, .index = index };
}

static struct raft_hard_state hard_state(const struct raft *r)
{
	return (struct raft_hard_state){ .term = r->term,
					 .vote = r->vote,
					 .commit = r->log.commit };
}

static bool hard_equal(const struct raft_hard_state *a,
		       const struct raft_hard_state *b)
{
	return a->term == b->term && a->vote == b->vote &&
	       a->commit == b->commit;
}

static bool soft_changed(const struct raft *r)
{
	return r->role != r->prev_role || r->leader != r->prev_leader;
}

static bool has_to_apply(const struct raft *r)
{
	const struct log *l = &r->log;

	return !l->applying_paused && !l->has_snapshot &&
	       l->applying < log_appliable(r);
}

static bool has_waiting_append(const struct raft *r)
{
	uint32_t i;

	for (i = 0; r->role == RAFT_LEADER && i < r->conf.count; i++) {
		if (r->peer[i].more)
			return true;
	}
	return false;
}

static bool has_waiting_round(const struct raft *r)
{
	return r->role == RAFT_LEADER && r->read_count > 0 &&
	       r->read[r->read_count - 1].round > r->round_sent;
}

bool raft_has_ready(const struct raft *r)
{
	const struct log *l = &r->log;
	struct raft_hard_state hard = hard_state(r);

	return soft_changed(r) || !hard_equal(&hard, &r->prev_hard) ||
	       (l->has_snapshot && !l->snapshot_in_progress) ||
	       r->out.count > 0 || r->after.count > 0 ||
	       l->in_progress <= l->last || has_to_apply(r) ||
	       r->grant_count > 0 || has_waiting_append(r) ||
	       has_waiting_round(r);
}

static void take_state(struct raft *r, struct raft_ready *out)
{
	struct raft_hard_state hard = hard_state(r);

	out->soft_changed = soft_changed(r);
	out->role = r->role;
	out->leader = r->leader;
	r->prev_role = r->role;
	r->prev_leader = r->leader;
	out->hard_changed = !hard_equal(&hard, &r->prev_hard);
	out->hard = hard;
	out->must_sync = r->log.in_progress <= r->log.last ||
			 hard.vote != r->prev_hard.vote ||
			 hard.term != r->prev_hard.term;
	r->prev_hard = hard;
}

static void take_log(struct raft *r, struct raft_ready *out)
{
	struct log *l = &r->log;

	out->point.term = r->term;
	/*
	 * The whole log's end, not only of what is new: after a change of term
	 * earlier points no longer count, so this one must speak for them. If
	 * the disk has nothing to do, nothing new can be said.
	 */
	if (l->offset <= l->last && (l->in_progress <= l->last ||
				     out->hard_changed || r->after.count > 0)) {
		out->point.index = l->last;
		out->point.log_term = log_term_or_0(r, l->last);
		out->has_point = true;
	}
	out->persist_from = l->in_progress;
	out->persist_to = l->last;
	l->in_progress = l->last + 1;
	if (l->has_snapshot && !l->snapshot_in_progress) {
		r->ready_snapshot = l->snapshot;
		out->snapshot = &r->ready_snapshot;
		out->point.snapshot_index = l->snapshot.index;
		out->has_point = true;
		out->must_sync = true;
		l->snapshot_in_progress = true;
	}
}

static void take_apply(struct raft *r, struct raft_ready *out)
{
	struct log *l = &r->log;
	uint64_t limit = r->c.apply_bytes_max, bytes = 0;
	uint64_t to = log_appliable(r);
	uint32_t n;

	out->apply_from = 1;
	out->apply_to = 0;
	if (!has_to_apply(r))
		return;
	if (limit != RAFT_NO_LIMIT) {
		CHECK(l->applying_bytes < limit);
		n = r->c.view.fit(r->c.view.ctx, l->applying + 1, to,
				  limit - l->applying_bytes, &bytes);
		CHECK(n > 0);
		l->applying_bytes += bytes;
		l->applying_paused =
			l->applying_bytes >= limit || l->applying + n < to;
		to = l->applying + n;
	}
	out->apply_from = l->applying + 1;
	out->apply_to = to;
	l->applying = to;
	CHECK(l->applying <= l->commit);
}

static void swap_queue(struct msg_queue *q, struct raft_msg **other,
		       const struct raft_msg **msgs, uint32_t *count)
{
	struct raft_msg *full = q->slot;

	q->slot = *other;
	*other = full;
	*msgs = full;
	*count = q->count;
	q->count = 0;
}

void raft_ready(struct raft *r, struct raft_ready *out)
{
	struct raft_grant *grants = r->grant;

	CHECK(r->own_count == 0);
	memset(out, 0, sizeof(*out));
	(void)start_read_round(r); /* none due: nothing to do */
	pump_appends(r);
	take_state(r, out);
	take_log(r, out);
	take_apply(r, out);
	swap_queue(&r->out, &r->ready_msgs, &out->msgs, &out->msg_count);
	swap_queue(&r->after, &r->ready_after, &out->after_msgs,
		   &out->after_count);
	r->grant = r->ready_grants;
	r->ready_grants = grants;
	out->grants = grants;
	out->grant_count = r->grant_count;
	r->grant_count = 0;
}
