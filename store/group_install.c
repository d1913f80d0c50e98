/*
 * store/group_install.c - a partition's whole state takes the log's place.
 *
 * Called between rounds, when the state has arrived whole and lies beside the
 * one in force. Raft judges whether it is still of use; if so, its ready asks
 * for the install and is taken at once. The hard state of that ready goes into
 * the directory only together with the new state: its commit index may be the
 * snapshot's, and saved before it, a crash would settle the old, perhaps
 * divergent, log up to there.
 *
 * When room or memory is short the ready is held: raft has the snapshot for
 * taken, the engine has not. The group stands still until it is, as if the
 * disk were slow.
 */
#include "base/check.h"
#include "base/log.h"
#include "store/group_internal.h"
#include "store/observer.h"

/* The log begins behind the snapshot; nothing of what was there counts. */
static void begin_anew(struct store *s, struct partition *p, uint64_t index)
{
	p->saved = p->hard;
	p->saved_at_ns = clock_mono_ns(s->o.clock);
	p->hard_due = false;
	p->last_index = index;
	p->apply_to = index;
	p->conf_index = index;
	p->changes_to = index;
	p->unapplied_bytes = 0;
	p->expiry_known = false;
	p->apply_stuck = false;
	cache_forget(p);
	pending_done(&p->pending);
	reads_publish(p);
	status_publish(p);
	groups_watch_time(s);
	members_changed(s, p);
}

static enum err commit_install(struct store *s, struct partition *p,
			       struct engine_install *in)
{
	const struct engine_hard_state hs = { .term = p->hard.term,
					      .vote = p->hard.vote,
					      .commit = p->hard.commit };
	uint64_t index = p->ready.snapshot->index;
	enum err err;

	if (!p->installing)
		observer_before_reset(s, p, index);
	err = engine_install_commit(in, &hs);
	if (err == ERR_NOSPC || err == ERR_NOMEM) {
		if (!p->installing)
			log_warn("store", "install_waits partition=%u error=%s",
				 (unsigned)p->id, err_text(err));
		p->installing = in;
		return ERR_BUSY;
	}
	p->installing = NULL;
	if (err == ERR_IO)
		return err;
	if (err) {
		/* raft holds it for installed, the engine does not */
		log_error("store", "install_refused partition=%u error=%s",
			  (unsigned)p->id, err_text(err));
		group_break(p);
		return OK;
	}
	begin_anew(s, p, index);
	group_touch(p);
	observer_after_reset(s, p, index);
	return OK;
}

/* What raft says to m. False: the snapshot is of no use, or not now. */
static bool take_snapshot(struct store *s, struct partition *p,
			  const struct raft_msg *m)
{
	struct raft_accepted accepted;
	enum err err;

	if (!group_open(p) || p->has_ready)
		return false;
	err = raft_step(p->raft, m, &accepted);
	if (err == ERR_CORRUPT)
		group_break(p);
	if (err)
		return false;
	group_fed(p);
	return accepted.snapshot;
}

enum err group_install(struct store *s, struct partition *p, uint64_t from,
		       uint64_t term, const struct raft_snapshot *snapshot,
		       struct engine_install *in)
{
	const struct raft_msg m = { .type = RAFT_MSG_SNAPSHOT,
				    .to = s->self_id,
				    .from = from,
				    .term = term,
				    .snapshot = snapshot };
	enum err err;

	if (p->installing) {
		CHECK(p->installing == in);
		return commit_install(s, p, in);
	}
	err = groups_run(s); /* what is under way comes first */
	if (err || !take_snapshot(s, p, &m)) {
		engine_install_abort(in);
		return err;
	}
	CHECK(!p->own_due);
	group_take_ready(p);
	CHECK(p->ready.snapshot);
	return commit_install(s, p, in);
}
