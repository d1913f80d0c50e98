/*
 * raft/recv_vote.c - someone asks for this node's vote.
 *
 * Granted to one candidate a term, again to the same one if it asks again
 * (paper 5.2, 5.4.1), and only if its log is at least as up to date as this
 * one. The answer leaves after term and vote are durable (thesis 3.8).
 *
 * A learner answers too: it may have been made a voter by a change that has
 * not reached it, and the candidate may need it.
 */
#include "raft/core.h"

/* Paper 5.4.1: the later last term wins, then the longer log. */
static bool is_up_to_date(const struct raft *r, const struct raft_msg *m)
{
	uint64_t last_term = log_term_or_0(r, r->log.last);

	return m->log_term > last_term ||
	       (m->log_term == last_term && m->index >= r->log.last);
}

static bool may_vote(const struct raft *r, const struct raft_msg *m)
{
	if (r->vote == m->from)
		return true;
	if (r->vote == RAFT_NOBODY && r->leader == RAFT_NOBODY)
		return true;
	/* a pre-vote binds nobody: thesis 9.6 */
	return m->type == RAFT_MSG_PREVOTE && m->term > r->term;
}

void recv_vote(struct raft *r, const struct raft_msg *m)
{
	struct raft_msg answer = { .to = m->from };
	bool granted = may_vote(r, m) && is_up_to_date(r, m);

	CHECK(m->type == RAFT_MSG_PREVOTE || m->term == r->term);
	answer.type = m->type == RAFT_MSG_VOTE ? RAFT_MSG_VOTE_REPLY
					       : RAFT_MSG_PREVOTE_REPLY;
	answer.reject = !granted;
	/*
	 * Granted, the term is the one asked for: a pre-candidate's is ahead
	 * of ours, and it ignores answers of old terms.
	 */
	answer.term = granted ? m->term : r->term;
	TRACE(r, .kind = granted ? RAFT_EV_VOTE_CAST : RAFT_EV_VOTE_REFUSED,
	      .peer = m->from, .msg = m->type, .a = m->log_term, .b = m->index,
	      .c = r->vote);
	output_send(r, &answer);
	if (granted && m->type == RAFT_MSG_VOTE) {
		r->election_elapsed = 0;
		r->vote = m->from;
	}
}
