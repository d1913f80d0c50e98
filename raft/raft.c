/*
 * raft/raft.c - one group's state machine: made, stepped, shown.
 *
 * raft_step() decides by the message's term first (paper 5.1: a higher one
 * makes a follower of anybody, a lower one is out of date), then by role. The
 * rest of the protocol lies in the files that are named after what they do.
 */
#include <stdlib.h>

#include "raft/core.h"

/* Far above any index or term that can be reached; sums do not overflow. */
#define NUMBER_MAX (UINT64_MAX >> 2)

void raft_config_default(struct raft_config *c)
{
	memset(c, 0, sizeof(*c));
	c->first_index = 1;
	c->election_ticks = 10;
	c->heartbeat_ticks = 1;
	c->members_max = 9;
	c->out_max = 128;
	c->reads_max = 64;
	c->inflight_max = 64;
	c->inflight_bytes_max = 8 << 20;
	c->append_bytes_max = 1 << 20;
	c->uncommitted_bytes_max = 64 << 20;
	c->apply_bytes_max = RAFT_NO_LIMIT;
	c->prevote = true;
	c->check_quorum = true;
	c->restart_guard = true;
	c->step_down_on_removal = true;
	c->read_mode = RAFT_READ_INDEX;
}

static bool log_is_sound(const struct raft_config *c)
{
	if (c->first_index == 0 || c->last_index >= NUMBER_MAX ||
	    c->term >= NUMBER_MAX || c->last_index + 1 < c->first_index)
		return false;
	if (c->last_index + 1 == c->first_index && c->last_term != c->base_term)
		return false;
	return c->base_term <= c->last_term &&
	       c->applied + 1 >= c->first_index && c->applied <= c->last_index;
}

static bool config_is_sound(const struct raft_config *c)
{
	if (c->id == RAFT_NOBODY || c->heartbeat_ticks == 0 ||
	    c->election_ticks <= c->heartbeat_ticks)
		return false;
	if (c->members_max == 0 || c->members_max > RAFT_MEMBERS_MAX ||
	    c->out_max == 0 || c->reads_max == 0 || c->inflight_max == 0 ||
	    c->inflight_bytes_max == 0 || c->apply_bytes_max == 0)
		return false;
	if (c->read_mode == RAFT_READ_LEASE && !c->check_quorum)
		return false;
	if (!c->view.term || !c->view.fit || !c->view.has_change ||
	    !c->view.snapshot)
		return false;
	return raft_conf_check(&c->conf) == OK &&
	       c->conf.count <= c->members_max && log_is_sound(c);
}

static enum err queue_new(struct msg_queue *q, struct raft_msg **other,
			  uint32_t cap)
{
	q->cap = cap;
	q->slot = calloc(cap, sizeof(*q->slot));
	*other = calloc(cap, sizeof(**other));
	return q->slot && *other ? OK : ERR_NOMEM;
}

static enum err reserve_memory(struct raft *r)
{
	const struct raft_config *c = &r->c;
	uint32_t i;

	r->reserve = 4 * c->members_max + c->reads_max + 8;
	if (queue_new(&r->out, &r->ready_msgs, c->out_max + 2 * r->reserve) ||
	    queue_new(&r->after, &r->ready_after, c->out_max + 16))
		return ERR_NOMEM;
	r->read = calloc(c->reads_max, sizeof(*r->read));
	r->grant = calloc(2 * c->reads_max, sizeof(*r->grant));
	r->ready_grants = calloc(2 * c->reads_max, sizeof(*r->grant));
	r->peer = calloc(c->members_max, sizeof(*r->peer));
	r->peer_spare = calloc(c->members_max, sizeof(*r->peer));
	r->inflight_slots = calloc(2 * (size_t)c->members_max * c->inflight_max,
				   sizeof(*r->inflight_slots));
	if (!r->read || !r->grant || !r->ready_grants || !r->peer ||
	    !r->peer_spare || !r->inflight_slots)
		return ERR_NOMEM;
	for (i = 0; i < c->members_max; i++) {
		struct inflight *slot =
			r->inflight_slots + 2 * (size_t)i * c->inflight_max;

		r->peer[i].inflights.slot = slot;
		r->peer_spare[i].inflights.slot = slot + c->inflight_max;
	}
	return OK;
}

enum err raft_new(const struct raft_config *c, struct raft **out)
{
	struct raft *r;

	if (!config_is_sound(c))
		return ERR_INVALID;
	r = calloc(1, sizeof(*r));
	if (!r)
		return ERR_NOMEM;
	r->c = *c;
	if (reserve_memory(r)) {
		raft_free(r);
		return ERR_NOMEM;
	}
	seed_init(&r->seed, c->seed);
	r->term = c->term;
	r->vote = c->vote;
	if (c->restart_guard)
		r->guard_ticks = c->election_ticks;
	log_init(r);
	restore_conf(r, &c->conf);
	become_follower(r, r->term, RAFT_NOBODY);
	r->prev_hard = (struct raft_hard_state){ .term = r->term,
						 .vote = r->vote,
						 .commit = r->log.commit };
	r->prev_role = r->role;
	r->prev_leader = r->leader;
	*out = r;
	return OK;
}

void raft_free(struct raft *r)
{
	if (!r)
		return;
	free(r->out.slot);
	free(r->ready_msgs);
	free(r->after.slot);
	free(r->ready_after);
	free(r->read);
	free(r->grant);
	free(r->ready_grants);
	free(r->peer);
	free(r->peer_spare);
	free(r->inflight_slots);
	free(r);
}

static bool append_is_sound(const struct raft_msg *m)
{
	uint64_t term = m->log_term;
	uint32_t i;

	if (m->entry_count > 0 && !m->entry_terms)
		return false;
	for (i = 0; i < m->entry_count; i++) {
		if (m->entry_terms[i] < term || m->entry_terms[i] == 0)
			return false;
		term = m->entry_terms[i];
	}
	return term <= m->term;
}

static bool snapshot_is_sound(const struct raft *r, const struct raft_msg *m)
{
	const struct raft_snapshot *s = m->snapshot;

	return s && s->index > 0 && s->index < NUMBER_MAX && s->term > 0 &&
	       s->term <= m->term && raft_conf_check(&s->conf) == OK &&
	       s->conf.count <= r->c.members_max;
}

static bool is_reply(enum raft_msg_type type)
{
	return type == RAFT_MSG_APPEND_REPLY || type == RAFT_MSG_VOTE_REPLY ||
	       type == RAFT_MSG_PREVOTE_REPLY ||
	       type == RAFT_MSG_HEARTBEAT_REPLY || type == RAFT_MSG_READ_REPLY;
}

/* From the one that leads in m->term, by its own claim. */
static bool is_from_leader(const struct raft_msg *m)
{
	return m->type == RAFT_MSG_APPEND || m->type == RAFT_MSG_HEARTBEAT ||
	       m->type == RAFT_MSG_SNAPSHOT;
}

static bool is_sound(const struct raft *r, const struct raft_msg *m)
{
	if (m->type < RAFT_MSG_APPEND || m->type >= RAFT_MSG_TYPE_MAX ||
	    m->from == RAFT_NOBODY || m->to != r->c.id)
		return false;
	if (m->from == r->c.id && m->type != RAFT_MSG_APPEND_REPLY &&
	    m->type != RAFT_MSG_VOTE_REPLY && m->type != RAFT_MSG_PREVOTE_REPLY)
		return false;
	/* a node that never took part refuses pre-votes in term 0 */
	if (m->term == 0 && m->type != RAFT_MSG_READ &&
	    !(m->type == RAFT_MSG_PREVOTE_REPLY && m->reject))
		return false;
	if (m->term >= NUMBER_MAX || m->index >= NUMBER_MAX ||
	    m->commit >= NUMBER_MAX || m->hint >= NUMBER_MAX ||
	    m->log_term >= NUMBER_MAX)
		return false;
	if (m->type == RAFT_MSG_APPEND)
		return append_is_sound(m);
	if (m->type == RAFT_MSG_SNAPSHOT)
		return snapshot_is_sound(r, m);
	return true;
}

static void trace_leased(const struct raft *r, const struct raft_msg *m)
{
	TRACE(r, .kind = RAFT_EV_VOTE_IN_LEASE, .peer = m->from, .msg = m->type,
	      .a = m->log_term, .b = m->index, .c = r->vote,
	      .d = r->c.election_ticks - r->election_elapsed);
}

/* False: the message goes no further. */
static bool take_higher_term(struct raft *r, const struct raft_msg *m)
{
	bool asks = m->type == RAFT_MSG_VOTE || m->type == RAFT_MSG_PREVOTE;

	if (asks && !m->force && is_voter_leased(r)) {
		trace_leased(r, m);
		return false;
	}
	if (m->type == RAFT_MSG_PREVOTE)
		return true; /* only asks what if: thesis 9.6 */
	if (m->type == RAFT_MSG_PREVOTE_REPLY && !m->reject)
		return true; /* carries the term that was asked for */
	TRACE(r, .kind = RAFT_EV_HIGHER_TERM, .peer = m->from, .msg = m->type,
	      .a = m->term);
	become_follower(r, m->term, is_from_leader(m) ? m->from : RAFT_NOBODY);
	return true;
}

static void answer_lower_term(struct raft *r, const struct raft_msg *m)
{
	struct raft_msg answer = { .type = RAFT_MSG_APPEND_REPLY,
				   .to = m->from };

	if ((r->c.check_quorum || r->c.prevote) &&
	    (m->type == RAFT_MSG_APPEND || m->type == RAFT_MSG_HEARTBEAT)) {
		/*
		 * A leader behind in term, perhaps the only one: our own
		 * campaign might be refused for ever by those who hear it. It
		 * must learn the term from us and step down.
		 */
		output_send(r, &answer);
	} else if (m->type == RAFT_MSG_PREVOTE) {
		refuse_vote(r, m);
	} else {
		TRACE(r, .kind = RAFT_EV_LOWER_TERM, .peer = m->from,
		      .msg = m->type, .a = m->term);
	}
}

static enum err raise_alarm(const struct raft *r, const struct raft_msg *m)
{
	TRACE(r, .kind = RAFT_EV_ALARM, .peer = m->from, .msg = m->type,
	      .a = m->index);
	return ERR_CORRUPT;
}

static enum err step_leader(struct raft *r, const struct raft_msg *m)
{
	switch (m->type) {
	case RAFT_MSG_APPEND_REPLY:
		/* nobody can hold more than the leader: paper 5.3 */
		if (!m->reject && m->index > r->log.last)
			return raise_alarm(r, m);
		recv_append_reply(r, m);
		return OK;
	case RAFT_MSG_HEARTBEAT_REPLY:
		recv_heartbeat_reply(r, m);
		return OK;
	case RAFT_MSG_APPEND:
	case RAFT_MSG_HEARTBEAT:
	case RAFT_MSG_SNAPSHOT:
		/* election safety (paper 5.2) is broken somewhere */
		return raise_alarm(r, m);
	default:
		return OK; /* old votes and the like */
	}
}

static enum err step_from_leader(struct raft *r, const struct raft_msg *m,
				 struct raft_accepted *accepted)
{
	if (r->role != RAFT_FOLLOWER) {
		become_follower(r, m->term, m->from); /* paper 5.2 */
	} else {
		r->election_elapsed = 0;
		r->leader = m->from;
	}
	if (m->type == RAFT_MSG_APPEND)
		return recv_append(r, m, accepted);
	if (m->type == RAFT_MSG_HEARTBEAT)
		return recv_heartbeat(r, m);
	return recv_snapshot(r, m, accepted);
}

static enum err step_other(struct raft *r, const struct raft_msg *m,
			   struct raft_accepted *accepted)
{
	if (is_from_leader(m))
		return step_from_leader(r, m, accepted);
	switch (m->type) {
	case RAFT_MSG_TIMEOUT_NOW:
		recv_timeout_now(r, m);
		break;
	case RAFT_MSG_VOTE_REPLY:
	case RAFT_MSG_PREVOTE_REPLY:
		if (r->role != RAFT_FOLLOWER)
			recv_vote_reply(r, m);
		break;
	case RAFT_MSG_READ_REPLY:
		if (r->role == RAFT_FOLLOWER)
			recv_read_reply(r, m);
		break;
	default:
		break;
	}
	return OK;
}

enum err raft_step(struct raft *r, const struct raft_msg *m,
		   struct raft_accepted *accepted)
{
	CHECK(r->own_count == 0);
	*accepted = (struct raft_accepted){ 0 };
	if (!is_sound(r, m))
		return ERR_INVALID;
	if (is_reply(m->type) && !progress_of(r, m->from))
		return ERR_FOREIGN;
	if (!output_has_room(r))
		return ERR_FULL;
	if (m->type == RAFT_MSG_READ)
		return recv_read(r, m);
	if (m->term > r->term) {
		if (!take_higher_term(r, m))
			return OK;
	} else if (m->term < r->term) {
		answer_lower_term(r, m);
		return OK;
	}
	if (m->type == RAFT_MSG_VOTE || m->type == RAFT_MSG_PREVOTE) {
		recv_vote(r, m);
		return OK;
	}
	if (m->type == RAFT_MSG_TRANSFER)
		return recv_transfer(r, m);
	if (r->role == RAFT_LEADER)
		return step_leader(r, m);
	return step_other(r, m, accepted);
}

void raft_status(const struct raft *r, struct raft_status *s)
{
	const struct log *l = &r->log;

	*s = (struct raft_status){
		.id = r->c.id,
		.term = r->term,
		.vote = r->vote,
		.leader = r->leader,
		.transferee = r->transferee,
		.role = r->role,
		.first_index = l->first,
		.last_index = l->last,
		.last_term = log_term_or_0(r, l->last),
		.commit = l->commit,
		.applying = l->applying,
		.applied = l->applied,
		.unpersisted = l->offset,
		.handed_out = l->in_progress,
		.pending_change = r->pending_change,
		.missing = r->missing,
		.snapshot_pending = l->has_snapshot,
		.election_elapsed = r->election_elapsed,
		.election_timeout = r->election_timeout,
		.member_count = r->conf.count,
		.queued = r->out.count,
	};
}

const struct raft_conf *raft_conf(const struct raft *r)
{
	return &r->conf;
}

void raft_progress_at(const struct raft *r, uint32_t i, struct raft_progress *p)
{
	const struct progress *x = &r->peer[i];

	CHECK(i < r->conf.count);
	*p = (struct raft_progress){
		.id = x->id,
		.flow = x->flow,
		.match = x->match,
		.next = x->next,
		.pending_snapshot = x->pending_snapshot,
		.learner = x->learner,
		.paused = progress_paused(x),
		.active = x->active,
		.inflight = x->inflights.count,
		.inflight_full = inflights_full(r, &x->inflights),
	};
}

bool raft_progress_of(const struct raft *r, uint64_t id,
		      struct raft_progress *p)
{
	const struct progress *x = progress_of(r, id);

	if (!x)
		return false;
	raft_progress_at(r, (uint32_t)(x - r->peer), p);
	return true;
}
