/*
 * raft/snapshot.c - state instead of entries (paper 7, thesis 5).
 *
 * The leader, when a follower needs entries that are gone, names a snapshot;
 * the driver streams it and tells how that went. The follower's raft hears of
 * it when it has all arrived, and decides whether it is still of use.
 */
#include "raft/core.h"

bool send_snapshot(struct raft *r, struct progress *p)
{
	struct raft_msg m = { .type = RAFT_MSG_SNAPSHOT,
			      .to = p->id,
			      .snapshot = &p->snapshot };

	CHECK(p->flow != RAFT_FLOW_SNAPSHOT);
	if (!p->active) {
		TRACE(r, .kind = RAFT_EV_SNAPSHOT_INACTIVE, .peer = p->id);
		return false;
	}
	if (r->c.view.snapshot(r->c.view.ctx, &p->snapshot)) {
		TRACE(r, .kind = RAFT_EV_SNAPSHOT_BUSY, .peer = p->id);
		return false;
	}
	CHECK(p->snapshot.index > 0);
	CHECK(p->snapshot.index <= r->log.commit);
	/* it has more: what cannot be read here is not committed yet */
	if (p->snapshot.index < p->match) {
		TRACE(r, .kind = RAFT_EV_SNAPSHOT_BUSY, .peer = p->id);
		return false;
	}
	CHECK(p->snapshot.index + 1 >= r->log.first);
	TRACE(r, .kind = RAFT_EV_SNAPSHOT_SEND, .peer = p->id,
	      .a = p->snapshot.index, .b = p->snapshot.term);
	progress_become_snapshot(p, p->snapshot.index);
	TRACE(r, .kind = RAFT_EV_SNAPSHOT_PAUSE, .peer = p->id);
	output_send(r, &m);
	return true;
}

void raft_snapshot_sent(struct raft *r, uint64_t peer, bool ok)
{
	struct progress *p = progress_find(r, peer);

	if (r->role != RAFT_LEADER || !p || p->flow != RAFT_FLOW_SNAPSHOT)
		return;
	if (!ok)
		p->pending_snapshot = 0; /* probe from match, not from it */
	progress_become_probe(p);
	TRACE(r,
	      .kind = ok ? RAFT_EV_SNAPSHOT_SUCCEEDED : RAFT_EV_SNAPSHOT_FAILED,
	      .peer = peer);
	/* its own answer, or the next heartbeat's, sets things going */
	p->paused = true;
}

/*
 * Take the snapshot over? Not if it is older than what is committed here: a
 * stale one never truncates (paper 7). Not if the log has its last entry
 * already: then all before it is equal, only the commit index is news.
 *
 * This node need not be a member in it: the snapshot may be older than the
 * change that added the node, which then follows in the log.
 */
static bool restore(struct raft *r, const struct raft_snapshot *s)
{
	if (s->index <= r->log.commit)
		return false;
	if (log_matches(r, s->index, s->term)) {
		TRACE(r, .kind = RAFT_EV_FAST_FORWARD, .a = s->index,
		      .b = s->term);
		log_commit_to(r, s->index);
		return false;
	}
	TRACE(r, .kind = RAFT_EV_RESTORE, .a = s->index, .b = s->term);
	log_restore(r, s);
	restore_conf(r, &s->conf); /* wins over any in the old log */
	TRACE(r, .kind = RAFT_EV_RESTORED, .a = s->index, .b = s->term);
	return true;
}

enum err recv_snapshot(struct raft *r, const struct raft_msg *m,
		       struct raft_accepted *accepted)
{
	const struct raft_snapshot *s = m->snapshot;
	struct raft_msg answer = { .type = RAFT_MSG_APPEND_REPLY,
				   .to = m->from };

	CHECK(r->role == RAFT_FOLLOWER);
	accepted->snapshot = restore(r, s);
	answer.index = accepted->snapshot ? r->log.last : r->log.commit;
	TRACE(r,
	      .kind = accepted->snapshot ? RAFT_EV_SNAPSHOT_TAKEN
					 : RAFT_EV_SNAPSHOT_IGNORED,
	      .a = s->index, .b = s->term);
	output_send(r, &answer);
	return OK;
}

bool raft_wants_snapshot(const struct raft *r, uint64_t index)
{
	return index > r->log.commit;
}
