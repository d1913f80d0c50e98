/*
 * raft/transfer.c - handing leadership over (thesis 3.10).
 *
 * The leader stops taking proposals, brings the target's log up to its own,
 * and tells it to stand at once, past everybody's lease. If the target does
 * not take over within an election timeout, the leader goes on as before.
 */
#include "raft/core.h"

static void send_timeout_now(struct raft *r, uint64_t to)
{
	struct raft_msg m = { .type = RAFT_MSG_TIMEOUT_NOW, .to = to };

	r->timeout_now_sent = true;
	output_send(r, &m);
}

void abort_transfer(struct raft *r)
{
	r->transferee = RAFT_NOBODY;
}

void finish_transfer(struct raft *r, struct progress *p)
{
	CHECK(p->match == r->log.last);
	TRACE(r, .kind = RAFT_EV_TRANSFER_CAUGHT_UP, .peer = p->id);
	send_timeout_now(r, p->id);
}

enum err lead_transfer(struct raft *r, uint64_t to)
{
	struct progress *p = progress_find(r, to);

	CHECK(r->role == RAFT_LEADER);
	if (!p) {
		TRACE(r, .kind = RAFT_EV_NO_PROGRESS, .peer = to);
		return ERR_INVALID;
	}
	if (p->learner) {
		TRACE(r, .kind = RAFT_EV_TRANSFER_LEARNER, .peer = to);
		return ERR_INVALID;
	}
	if (r->transferee == to) {
		TRACE(r, .kind = RAFT_EV_TRANSFER_SAME, .peer = to);
		return OK;
	}
	if (r->transferee != RAFT_NOBODY) {
		uint64_t old = r->transferee;

		abort_transfer(r);
		TRACE(r, .kind = RAFT_EV_TRANSFER_ABORT, .peer = old);
	}
	if (to == r->c.id) {
		TRACE(r, .kind = RAFT_EV_TRANSFER_SELF);
		return OK;
	}
	TRACE(r, .kind = RAFT_EV_TRANSFER_START, .peer = to);
	r->election_elapsed = 0; /* an election timeout from now */
	r->transferee = to;
	if (p->match == r->log.last) {
		send_timeout_now(r, to);
		TRACE(r, .kind = RAFT_EV_TRANSFER_NOW, .peer = to);
	} else {
		send_append(r, p, true);
	}
	return OK;
}

enum err raft_transfer(struct raft *r, uint64_t to)
{
	struct raft_msg m = { .type = RAFT_MSG_TRANSFER,
			      .to = r->leader,
			      .hint = to };

	CHECK(r->own_count == 0);
	if (!output_has_room(r))
		return ERR_FULL;
	if (r->role == RAFT_LEADER)
		return lead_transfer(r, to);
	if (r->leader == RAFT_NOBODY || r->leader == r->c.id) {
		TRACE(r, .kind = RAFT_EV_NO_LEADER, .msg = RAFT_MSG_TRANSFER);
		return ERR_NO_LEADER;
	}
	output_send(r, &m);
	return OK;
}

enum err recv_transfer(struct raft *r, const struct raft_msg *m)
{
	if (r->role == RAFT_LEADER) {
		enum err err = lead_transfer(r, m->hint);

		return err == ERR_INVALID ? OK : err; /* not a voter: ignored */
	}
	TRACE(r, .kind = RAFT_EV_NO_LEADER, .msg = RAFT_MSG_TRANSFER);
	return ERR_NO_LEADER;
}

/* The leader wants this node to lead: no pre-vote, no waiting. */
void recv_timeout_now(struct raft *r, const struct raft_msg *m)
{
	if (r->role != RAFT_FOLLOWER) {
		TRACE(r, .kind = RAFT_EV_TIMEOUT_NOW_IGNORED, .peer = m->from);
		return;
	}
	TRACE(r, .kind = RAFT_EV_TIMEOUT_NOW, .peer = m->from);
	start_election(r, true);
}

uint64_t raft_successor(const struct raft *r)
{
	const struct progress *best = NULL;
	uint32_t i;

	if (r->role != RAFT_LEADER)
		return RAFT_NOBODY;
	for (i = 0; i < r->conf.count; i++) {
		const struct progress *p = &r->peer[i];

		if (p->id == r->c.id || !p->active ||
		    !(r->conf.role[i] & RAFT_VOTER))
			continue;
		if (!best || p->match > best->match)
			best = p;
	}
	return best ? best->id : RAFT_NOBODY;
}
