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

/*
 * A node that is no voter any more tells with its refusal what is committed.
 * The candidate may stand by an outdated configuration only because it has not
 * heard that the change, which its log holds, is committed; if it needs the
 * vote of a removed node whose log is longer, neither of the two could ever
 * lead. (A voter with the longer log stands itself.)
 */
void refuse_vote(struct raft *r, const struct raft_msg *m)
{
	struct raft_msg answer = {
		.type = m->type == RAFT_MSG_VOTE ? RAFT_MSG_VOTE_REPLY
						 : RAFT_MSG_PREVOTE_REPLY,
		.to = m->from,
		.term = r->term,
		.reject = true,
	};

	if (!conf_is_voter(&r->conf, r->c.id)) {
		answer.index = r->log.commit;
		answer.log_term = log_term_or_0(r, r->log.commit);
	}
	TRACE(r, .kind = RAFT_EV_VOTE_REFUSED, .peer = m->from, .msg = m->type,
	      .a = m->log_term, .b = m->index, .c = r->vote);
	output_send(r, &answer);
}

void recv_vote(struct raft *r, const struct raft_msg *m)
{
	struct raft_msg answer = { .to = m->from, .term = m->term };

	CHECK(m->type == RAFT_MSG_PREVOTE || m->term == r->term);
	if (!may_vote(r, m) || !is_up_to_date(r, m)) {
		refuse_vote(r, m);
		return;
	}
	/*
	 * The term is the one asked for: a pre-candidate's is ahead of ours,
	 * and it ignores answers of old terms.
	 */
	answer.type = m->type == RAFT_MSG_VOTE ? RAFT_MSG_VOTE_REPLY
					       : RAFT_MSG_PREVOTE_REPLY;
	TRACE(r, .kind = RAFT_EV_VOTE_CAST, .peer = m->from, .msg = m->type,
	      .a = m->log_term, .b = m->index, .c = r->vote);
	output_send(r, &answer);
	if (m->type == RAFT_MSG_VOTE) {
		r->election_elapsed = 0;
		r->vote = m->from;
	}
}
