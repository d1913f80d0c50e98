/*
 * raft/recv_reply.c - followers answer the leader.
 */
#include "raft/core.h"

/*
 * A follower's log does not match at m->index. Its hint is the last entry that
 * may; this log says more: above the last entry whose term is not larger than
 * the hint's nothing can match, since terms never fall within a log. So at
 * most one probe for each term (paper 5.3, end).
 */
static void recv_refusal(struct raft *r, struct progress *p,
			 const struct raft_msg *m)
{
	uint64_t probe = m->hint, probe_term;

	TRACE(r, .kind = RAFT_EV_REJECTED, .peer = m->from, .a = m->index,
	      .b = m->hint, .c = m->log_term);
	if (m->log_term > 0)
		log_find_by_term(r, m->hint, m->log_term, &probe, &probe_term);
	if (!progress_decrease(p, m->index, probe))
		return;
	TRACE(r, .kind = RAFT_EV_DECREASED, .peer = m->from);
	if (p->flow == RAFT_FLOW_REPLICATE)
		progress_become_probe(p);
	/* nothing before it could be missing: it wants a configuration */
	if (m->index == 0)
		send_snapshot(r, p);
	else
		send_append(r, p, true);
}

static void resume_flow(struct raft *r, struct progress *p, uint64_t index)
{
	switch (p->flow) {
	case RAFT_FLOW_PROBE:
		progress_become_replicate(p);
		break;
	case RAFT_FLOW_SNAPSHOT:
		/* whichever snapshot it got: what follows is here */
		if (p->match + 1 < r->log.first)
			break;
		TRACE(r, .kind = RAFT_EV_SNAPSHOT_RECOVERED, .peer = p->id);
		progress_become_probe(p);
		progress_become_replicate(p);
		break;
	case RAFT_FLOW_REPLICATE:
		inflights_free_to(r, &p->inflights, index);
		break;
	}
}

void recv_append_reply(struct raft *r, const struct raft_msg *m)
{
	struct progress *p = progress_find(r, m->from);
	uint64_t index = m->index;

	CHECK(r->role == RAFT_LEADER);
	CHECK(index <= r->log.last || m->reject);
	if (!p) {
		TRACE(r, .kind = RAFT_EV_NO_PROGRESS, .peer = m->from);
		return;
	}
	p->active = true;
	if (m->reject) {
		recv_refusal(r, p, m);
		return;
	}
	if (p->id == r->c.id)
		index = log_durable(r, index);
	/* a probing peer that answers is found, though nothing is new */
	if (!progress_update(p, index) &&
	    !(p->match == index && p->flow == RAFT_FLOW_PROBE))
		return;
	resume_flow(r, p, index);
	if (advance_commit(r)) {
		release_early_reads(r);
		if (!r->c.lazy_commit)
			send_all_appends(r);
	}
	if (p->id != r->c.id && progress_can_bump_commit(p, r->log.commit) &&
	    (!r->c.lazy_commit || p->sent_commit < p->granted))
		send_append(r, p, true);
	if (p->id != r->c.id)
		send_waiting(r, p);
	if (p->id == r->transferee && p->match == r->log.last)
		finish_transfer(r, p);
}

void recv_heartbeat_reply(struct raft *r, const struct raft_msg *m)
{
	struct progress *p = progress_find(r, m->from);

	CHECK(r->role == RAFT_LEADER);
	if (!p) {
		TRACE(r, .kind = RAFT_EV_NO_PROGRESS, .peer = m->from);
		return;
	}
	p->active = true;
	p->paused = false;
	if (p->acked_ns < m->stamp_ns)
		p->acked_ns = m->stamp_ns;
	/*
	 * It is alive: if it is behind, say something. Should all appends on
	 * the way have been lost, the empty one draws the answer that tells.
	 */
	if (p->match < r->log.last || p->flow == RAFT_FLOW_PROBE)
		send_append(r, p, true);
	if (m->context > p->acked_round && m->context <= r->round_sent) {
		p->acked_round = m->context;
		confirm_reads(r);
	}
}
