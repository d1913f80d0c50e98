/*
 * raft/election.c - roles and how they change.
 *
 *              timeout            majority of       majority of
 *              (thesis 9.6)       pre-votes         votes
 *   FOLLOWER ------> PRE_CANDIDATE -----> CANDIDATE -----> LEADER
 *      ^                  |                   |              |
 *      +------------------+-------------------+--------------+
 *        a leader of this term, or any higher term, or no quorum
 *
 * Without pre-vote, and when the leader itself asks (thesis 3.10), the second
 * state is skipped.
 */
#include "raft/core.h"

/* Different for each node, so that seldom two stand at once (paper 5.2). */
static void reset_election_timeout(struct raft *r)
{
	r->election_timeout =
		r->c.election_ticks +
		(uint32_t)seed_below(&r->seed, r->c.election_ticks);
}

/* Everything that belongs to one term and one role starts anew. */
static void reset(struct raft *r, uint64_t term)
{
	uint32_t i;

	CHECK(term >= r->term);
	if (r->term != term) {
		r->term = term;
		r->vote = RAFT_NOBODY; /* paper 5.1 */
		r->timeout_now_sent = false;
	}
	r->leader = RAFT_NOBODY;
	r->election_elapsed = 0;
	r->heartbeat_elapsed = 0;
	reset_election_timeout(r);
	r->transferee = RAFT_NOBODY;
	for (i = 0; i < r->conf.count; i++) {
		struct progress *p = &r->peer[i];
		struct inflights in = p->inflights;

		inflights_reset(&in);
		*p = (struct progress){ .id = p->id,
					.next = r->log.last + 1,
					.learner = p->learner,
					.inflights = in };
		if (p->id == r->c.id)
			p->match = log_durable(r, r->log.last);
	}
	output_keep_snapshots(r); /* none: nobody waits for one any more */
	r->pending_change = 0;
	r->uncommitted_bytes = 0;
	r->read_count = 0;
	r->round_sent = 0;
}

void become_follower(struct raft *r, uint64_t term, uint64_t leader)
{
	reset(r, term);
	r->leader = leader;
	r->role = RAFT_FOLLOWER;
	TRACE(r, .kind = RAFT_EV_ROLE, .a = r->term);
}

static void become_candidate(struct raft *r)
{
	CHECK(r->role != RAFT_LEADER);
	reset(r, r->term + 1);
	r->vote = r->c.id;
	r->role = RAFT_CANDIDATE;
	TRACE(r, .kind = RAFT_EV_ROLE, .a = r->term);
}

static void clear_votes(struct raft *r)
{
	uint32_t i;

	for (i = 0; i < r->conf.count; i++)
		r->peer[i].vote = VOTE_NONE;
}

/* Neither term nor vote change: nothing is at stake yet (thesis 9.6). */
static void become_pre_candidate(struct raft *r)
{
	CHECK(r->role != RAFT_LEADER);
	clear_votes(r);
	r->leader = RAFT_NOBODY;
	r->role = RAFT_PRE_CANDIDATE;
	TRACE(r, .kind = RAFT_EV_ROLE, .a = r->term);
}

/* A candidate that is a member has won: it leads, with a no-op of its own. */
static void become_leader(struct raft *r)
{
	struct progress *me = progress_find(r, r->c.id);

	CHECK(r->role == RAFT_CANDIDATE);
	CHECK(me != NULL);
	reset(r, r->term);
	r->leader = r->c.id;
	r->role = RAFT_LEADER;
	me->flow = RAFT_FLOW_REPLICATE;
	me->next = r->log.last + 1;
	me->active = true;
	/*
	 * There may be a membership change among the entries of earlier terms.
	 * No new one until all of them are committed and applied here: that is
	 * what keeps leaders of different terms from changing the membership
	 * side by side (thesis 4.1 and its erratum of 2015).
	 */
	r->pending_change = r->log.last;
	/* the no-op by which earlier terms' entries get committed: paper 8 */
	append_own(r, false);
	TRACE(r, .kind = RAFT_EV_ROLE, .a = r->term);
	acknowledge_own_log(r);
}

/* Is it this node's place to lead? */
static bool is_promotable(const struct raft *r)
{
	const struct progress *me = progress_of(r, r->c.id);

	return me && !me->learner && !r->log.has_snapshot && !r->missing;
}

/*
 * Has a leader been heard within the shortest election timeout? Then votes
 * are refused (thesis 4.2.3, 6.4.1), except when the leader wants it.
 */
bool is_voter_leased(const struct raft *r)
{
	if (!r->c.check_quorum)
		return false;
	if (r->guard_ticks > 0)
		return true;
	return r->leader != RAFT_NOBODY &&
	       r->election_elapsed < r->c.election_ticks;
}

static void ask_for_votes(struct raft *r, enum raft_msg_type type,
			  uint64_t term, bool forced)
{
	uint64_t last_term = log_term_or_0(r, r->log.last);
	uint32_t i;

	for (i = 0; i < r->conf.count; i++) {
		struct raft_msg m = { .type = type,
				      .to = r->conf.id[i],
				      .term = term,
				      .index = r->log.last,
				      .log_term = last_term,
				      .force = forced };

		if (!conf_is_voter(&r->conf, m.to))
			continue;
		if (m.to == r->c.id) {
			/* its own vote counts once it is durable */
			m = (struct raft_msg){
				.type = type == RAFT_MSG_VOTE
						? RAFT_MSG_VOTE_REPLY
						: RAFT_MSG_PREVOTE_REPLY,
				.to = r->c.id,
				.term = term,
			};
		} else {
			TRACE(r, .kind = RAFT_EV_ASK_VOTE, .peer = m.to,
			      .msg = type, .a = last_term, .b = r->log.last);
		}
		output_send(r, &m);
	}
}

static void stand_for_election(struct raft *r, bool forced)
{
	become_candidate(r);
	ask_for_votes(r, RAFT_MSG_VOTE, r->term, forced);
}

/* forced: the leader hands over, no pre-vote needed (thesis 3.10). */
void start_election(struct raft *r, bool forced)
{
	const struct log *l = &r->log;

	if (r->role == RAFT_LEADER) {
		TRACE(r, .kind = RAFT_EV_ALREADY_LEADER);
		return;
	}
	if (!is_promotable(r)) {
		TRACE(r, .kind = RAFT_EV_UNPROMOTABLE);
		return;
	}
	/*
	 * A change takes effect when applied. Whoever stands must know the
	 * newest committed configuration, else it counts the wrong voters.
	 */
	if (l->applied < l->commit &&
	    r->c.view.has_change(r->c.view.ctx, l->applied + 1, l->commit)) {
		TRACE(r, .kind = RAFT_EV_CHANGES_UNAPPLIED);
		return;
	}
	TRACE(r, .kind = RAFT_EV_ELECTION, .a = r->term);
	if (r->c.prevote && !forced) {
		become_pre_candidate(r);
		ask_for_votes(r, RAFT_MSG_PREVOTE, r->term + 1, false);
	} else {
		stand_for_election(r, forced);
	}
}

static void count_votes(const struct raft *r, enum raft_msg_type type)
{
	uint64_t granted = 0, refused = 0;
	uint32_t i;

	for (i = 0; i < r->conf.count; i++) {
		if (r->peer[i].learner)
			continue;
		granted += r->peer[i].vote == VOTE_GRANTED;
		refused += r->peer[i].vote == VOTE_REFUSED;
	}
	TRACE(r, .kind = RAFT_EV_VOTE_TALLY, .msg = type, .a = granted,
	      .b = refused);
}

/*
 * A candidate elected by others alone, whose own term and vote the disk does
 * not have yet, must not lead: after a power loss it would stand in the same
 * term again, get the same votes again, and write other entries under the same
 * index and term (thesis 3.8).
 */
static bool own_vote_is_durable(const struct raft *r)
{
	const struct progress *me = progress_of(r, r->c.id);

	return !me || me->vote == VOTE_GRANTED;
}

/* A candidate counts (paper 5.2). The first answer of each voter holds. */
void recv_vote_reply(struct raft *r, const struct raft_msg *m)
{
	struct progress *p = progress_find(r, m->from);
	enum raft_msg_type mine = r->role == RAFT_PRE_CANDIDATE
					  ? RAFT_MSG_PREVOTE_REPLY
					  : RAFT_MSG_VOTE_REPLY;

	CHECK(r->role == RAFT_CANDIDATE || r->role == RAFT_PRE_CANDIDATE);
	if (m->type != mine)
		return;
	TRACE(r, .kind = RAFT_EV_VOTE_GOT, .peer = m->from, .msg = m->type,
	      .a = !m->reject);
	/* committed is committed, whoever says so: see refuse_vote */
	if (m->reject && log_matches(r, m->index, m->log_term))
		log_commit_to(r, m->index);
	if (p && p->vote == VOTE_NONE)
		p->vote = m->reject ? VOTE_REFUSED : VOTE_GRANTED;
	count_votes(r, m->type);
	switch (quorum_votes(r)) {
	case QUORUM_WON:
		if (r->role == RAFT_PRE_CANDIDATE) {
			stand_for_election(r, false);
		} else if (!own_vote_is_durable(r)) {
			break; /* its answer is still to come */
		} else if (is_promotable(r)) {
			become_leader(r);
			send_all_appends(r);
		} else {
			become_follower(r, r->term, RAFT_NOBODY);
		}
		break;
	case QUORUM_LOST:
		become_follower(r, r->term, RAFT_NOBODY);
		break;
	case QUORUM_PENDING:
		break;
	}
}

enum err raft_campaign(struct raft *r)
{
	CHECK(r->own_count == 0);
	if (!output_has_room(r))
		return ERR_FULL;
	start_election(r, false);
	return OK;
}

static void tick_election(struct raft *r)
{
	r->election_elapsed++;
	if (is_promotable(r) && r->election_elapsed >= r->election_timeout) {
		r->election_elapsed = 0;
		start_election(r, false);
	}
}

/*
 * A leader that cannot reach a quorum for an election timeout steps down, so
 * that its clients look elsewhere (thesis 6.2).
 */
static void check_quorum(struct raft *r)
{
	uint32_t i;

	if (!quorum_active(r)) {
		TRACE(r, .kind = RAFT_EV_QUORUM_LOST);
		become_follower(r, r->term, RAFT_NOBODY);
	}
	for (i = 0; i < r->conf.count; i++) {
		if (r->peer[i].id != r->c.id)
			r->peer[i].active = false;
	}
}

static void tick_leader(struct raft *r)
{
	r->heartbeat_elapsed++;
	r->election_elapsed++;
	if (r->election_elapsed >= r->c.election_ticks) {
		r->election_elapsed = 0;
		if (r->c.check_quorum)
			check_quorum(r);
		if (r->role == RAFT_LEADER && r->transferee != RAFT_NOBODY)
			abort_transfer(r); /* thesis 3.10 */
	}
	if (r->role != RAFT_LEADER)
		return;
	if (r->heartbeat_elapsed >= r->c.heartbeat_ticks) {
		r->heartbeat_elapsed = 0;
		if (!start_read_round(r))
			send_heartbeats(r, r->read_count ? r->round_sent : 0);
	}
}

enum err raft_tick(struct raft *r)
{
	CHECK(r->own_count == 0);
	if (!output_has_room(r))
		return ERR_FULL;
	if (r->guard_ticks > 0)
		r->guard_ticks--;
	if (r->role == RAFT_LEADER)
		tick_leader(r);
	else
		tick_election(r);
	return OK;
}

void raft_set_election_timeout(struct raft *r, uint32_t ticks)
{
	CHECK(ticks > 0);
	r->election_timeout = ticks;
}

enum err raft_forget_leader(struct raft *r)
{
	CHECK(r->own_count == 0);
	if (r->role != RAFT_FOLLOWER)
		return OK;
	if (r->c.read_mode == RAFT_READ_LEASE) {
		TRACE(r, .kind = RAFT_EV_FORGET_REFUSED);
		return ERR_INVALID;
	}
	if (r->leader != RAFT_NOBODY) {
		TRACE(r, .kind = RAFT_EV_FORGET_LEADER, .peer = r->leader);
		r->leader = RAFT_NOBODY;
	}
	return OK;
}
