/*
 * raft/membership.c - switching configurations (paper 6, thesis 4).
 *
 * A change takes effect when its entry is applied, not when it is appended as
 * in the thesis. What makes that safe:
 *  - a change is committed by the configuration before it, on every replica;
 *  - no second change is proposed until the first is applied on the leader
 *    (pending_change), and a new leader waits for all entries it inherited:
 *    leaders of two terms cannot change the same configuration side by side
 *    (thesis 4.1, erratum 2015): of their two entries at most one commits, for
 *    both need a majority of the configuration that both started from;
 *  - a node with a committed change that it has not applied does not stand for
 *    election (election.c);
 *  - whoever has a change in its log knows that the one before it is committed:
 *    the message that brought it said so, and the driver made that durable
 *    first (raft.h). So of the memberships by which a candidate and the voters
 *    of later entries go, one follows the other, and their majorities meet. A
 *    node that came back with an older one could be elected by members that
 *    were removed long ago.
 *
 * Adding a voter: first as a learner, promoted when it has caught up (thesis
 * 4.2.1); when that is, the driver sees from raft_progress_of.
 */
#include "raft/core.h"

static void move_peer(struct raft *r, struct progress *to, uint64_t id,
		      struct inflight *slots)
{
	const struct progress *old = progress_of(r, id);
	uint64_t last = r->log.last;
	uint32_t n = r->c.inflight_max;

	if (old) {
		struct inflight *from = old->inflights.slot;

		*to = *old;
		if (from != slots)
			memcpy(slots, from, n * sizeof(*slots));
	} else {
		/*
		 * Probed at the end of the log; counted as heard lately, or
		 * the leader would step down before it could answer.
		 */
		*to = (struct progress){ .id = id,
					 .next = last > 0 ? last : 1,
					 .active = true };
	}
	to->inflights.slot = slots;
}

/*
 * Build the table of peers for conf beside the old one, then swap. The two
 * tables own one half of inflight_slots each.
 */
static void rebuild_peers(struct raft *r, const struct raft_conf *conf,
			  bool keep)
{
	struct progress *old = r->peer;
	uint32_t i;

	CHECK(conf->count <= r->c.members_max);
	if (!keep)
		r->conf.count = 0;
	for (i = 0; i < conf->count; i++) {
		struct progress *p = &r->peer_spare[i];

		move_peer(r, p, conf->id[i], p->inflights.slot);
		p->learner = (conf->role[i] & RAFT_LEARNER) != 0;
	}
	r->peer = r->peer_spare;
	r->peer_spare = old;
	r->conf = *conf;
	output_keep_snapshots(r);
	TRACE(r, .kind = RAFT_EV_CONF);
}

/* A snapshot's configuration: nothing is known of anyone. */
void restore_conf(struct raft *r, const struct raft_conf *conf)
{
	rebuild_peers(r, conf, false);
}

static void probe_new_members(struct raft *r)
{
	uint32_t i;

	for (i = 0; i < r->conf.count; i++) {
		if (r->peer[i].id != r->c.id)
			send_append(r, &r->peer[i], false);
	}
}

/*
 * conf, of at most r->c.members_max, is in force; what is known of members in
 * both stays. A leader commits, sends or steps down as follows from it.
 */
static void switch_conf(struct raft *r, const struct raft_conf *conf)
{
	uint8_t mine;

	rebuild_peers(r, conf, true);
	mine = raft_conf_role(&r->conf, r->c.id);
	if (r->role != RAFT_LEADER)
		return;
	if (mine == 0 || (mine & RAFT_LEARNER)) {
		/* it has committed its own removal: thesis 4.2.2 */
		if (r->c.step_down_on_removal)
			become_follower(r, r->term, RAFT_NOBODY);
		return;
	}
	/* a smaller quorum may have been reached already */
	if (advance_commit(r)) {
		release_early_reads(r);
		send_all_appends(r);
	} else {
		probe_new_members(r);
	}
	if (r->transferee != RAFT_NOBODY &&
	    !conf_is_voter(&r->conf, r->transferee))
		abort_transfer(r);
}

enum err raft_apply_conf(struct raft *r, const struct raft_change *change)
{
	struct raft_conf conf;
	enum err err = raft_conf_change(&r->conf, change, &conf);

	CHECK(r->own_count == 0);
	if (err)
		return err;
	if (conf.count > r->c.members_max)
		return ERR_FULL;
	switch_conf(r, &conf);
	return OK;
}

enum raft_refusal raft_change_refusal(const struct raft *r,
				      const struct raft_change *change)
{
	bool joint = raft_conf_is_joint(&r->conf);
	bool leaves = change->count == 0;
	struct raft_conf conf;

	if (r->c.unchecked_changes)
		return RAFT_CHANGE_OK;
	if (r->pending_change > r->log.applied)
		return RAFT_CHANGE_PENDING;
	if (joint && !leaves)
		return RAFT_CHANGE_JOINT;
	if (!joint && leaves)
		return RAFT_CHANGE_NOT_JOINT;
	if (raft_conf_change(&r->conf, change, &conf) ||
	    conf.count > r->c.members_max)
		return RAFT_CHANGE_MISFIT;
	return RAFT_CHANGE_OK;
}

void raft_propose_change(struct raft *r, const struct raft_change *change,
			 uint64_t bytes)
{
	CHECK(raft_change_refusal(r, change) == RAFT_CHANGE_OK);
	r->pending_change = r->log.last + 1;
	raft_propose(r, 1, bytes);
}

/*
 * In a joint configuration that leaves by itself, once the entry that entered
 * it is applied, the leader proposes the change back (thesis 4.3). During a
 * transfer it does not: it, or the next leader, tries again at the next entry.
 */
void leave_joint_if_due(struct raft *r)
{
	uint64_t index, term;

	if (!r->conf.auto_leave || r->role != RAFT_LEADER ||
	    r->log.applied < r->pending_change)
		return;
	if (raft_proposable(r, 0, &index, &term)) {
		TRACE(r, .kind = RAFT_EV_LEAVE_JOINT_NOT);
		return;
	}
	r->pending_change = index;
	append_own(r, true);
	acknowledge_own_log(r);
	send_all_appends(r);
	TRACE(r, .kind = RAFT_EV_LEAVE_JOINT);
}
