/*
 * raft/commit.c - when an entry is committed, and what follows from it.
 */
#include "raft/core.h"

/*
 * Count replicas, but only for an entry of the leader's own term: one of an
 * earlier term may be held by a majority and still be overwritten (paper
 * 5.4.2, figure 8). Earlier entries are committed along with it. True: moved.
 */
bool advance_commit(struct raft *r)
{
	uint64_t index = quorum_match(r);
	uint64_t before = r->log.commit;

	CHECK(r->role == RAFT_LEADER);
	if (index <= before || index > r->log.last)
		return false;
	if (!log_matches(r, index, r->term))
		return false;
	log_commit_to(r, index);
	CHECK(r->log.commit > before);
	return true;
}

/* Does the leader know which entries are committed? Paper 8, thesis 6.4. */
bool committed_in_term(const struct raft *r)
{
	return log_term_or_0(r, r->log.commit) == r->term;
}

static void release_bytes(struct raft *r, uint64_t from, uint64_t to)
{
	struct log *l = &r->log;
	uint64_t bytes = 0;

	if (r->uncommitted_bytes == 0 && r->c.apply_bytes_max == RAFT_NO_LIMIT)
		return;
	(void)r->c.view.fit(r->c.view.ctx, from, to, RAFT_NO_LIMIT, &bytes);
	r->uncommitted_bytes -=
		bytes < r->uncommitted_bytes ? bytes : r->uncommitted_bytes;
	l->applying_bytes -=
		bytes < l->applying_bytes ? bytes : l->applying_bytes;
}

void raft_applied(struct raft *r, uint64_t index)
{
	struct log *l = &r->log;

	CHECK(r->own_count == 0);
	CHECK(index <= l->applying);
	CHECK(index >= l->applied);
	if (index > l->applied)
		release_bytes(r, l->applied + 1, index);
	l->applied = index;
	if (l->applied == l->applying)
		l->applying_bytes = 0;
	l->applying_paused = l->applying_bytes >= r->c.apply_bytes_max;
	leave_joint_if_due(r);
}

static void snapshot_applied(struct raft *r, uint64_t index)
{
	struct log *l = &r->log;

	if (!l->has_snapshot || l->snapshot.index != index)
		return;
	log_snapshot_installed(r, index);
	CHECK(index <= l->commit);
	if (l->applied < index)
		l->applied = index;
	if (l->applying < index)
		l->applying = index;
	l->applying_bytes = 0;
	l->applying_paused = false;
}

/*
 * The disk answers. A point taken in an earlier term may speak of entries that
 * were truncated and of others written over them since, in any order: it says
 * nothing about the log as it is now. Each new term brings a new point. A
 * snapshot is committed state and stays true in any term.
 */
void raft_persisted(struct raft *r, const struct raft_point *p)
{
	CHECK(p->term <= r->term);
	if (p->index > 0) {
		if (p->term < r->term)
			TRACE(r, .kind = RAFT_EV_LATE_PERSIST, .a = p->term);
		else
			log_persisted(r, p->index, p->log_term);
	}
	if (p->snapshot_index > 0)
		snapshot_applied(r, p->snapshot_index);
}

void raft_set_missing(struct raft *r, uint64_t index)
{
	struct progress *me;
	uint64_t to;

	CHECK(r->own_count == 0);
	if (index == r->missing)
		return;
	r->missing = index;
	me = progress_find(r, r->c.id);
	if (r->role != RAFT_LEADER || !me)
		return;
	if (index == 0) { /* all there again: count them */
		acknowledge_own_log(r);
		return;
	}
	if (me->match >= index) {
		me->match = index - 1;
		me->next = r->log.last + 1;
	}
	to = raft_successor(r);
	if (to != RAFT_NOBODY)
		lead_transfer(r, to);
}
