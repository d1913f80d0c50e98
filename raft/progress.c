/*
 * raft/progress.c - what the leader knows of each member's log.
 *
 *   PROBE      the end of its log is not known: one append at a time, until
 *              an answer tells (paper 5.3, nextIndex walks back)
 *   REPLICATE  known: appends follow each other without waiting for answers
 *              (pipelining, thesis 10.2.2), as many as the inflight limits
 *              allow
 *   SNAPSHOT   it needs entries that are gone: nothing until the snapshot is
 *              there (paper 7)
 *
 * match: it holds everything up to there. next: the first entry to send.
 * Between them is what is on the way. Always match < next.
 */
#include "raft/core.h"

void inflights_reset(struct inflights *in)
{
	in->start = 0;
	in->count = 0;
	in->bytes = 0;
}

bool inflights_full(const struct raft *r, const struct inflights *in)
{
	return in->count == r->c.inflight_max ||
	       in->bytes >= r->c.inflight_bytes_max;
}

/* An append up to index is on its way; in is not full by count. */
static void inflights_add(const struct raft *r, struct inflights *in,
			  uint64_t index, uint64_t bytes)
{
	CHECK(in->count < r->c.inflight_max);
	in->slot[(in->start + in->count) % r->c.inflight_max] =
		(struct inflight){ .index = index, .bytes = bytes };
	in->count++;
	in->bytes += bytes;
}

/* Answers acknowledge everything up to index: a lost one is made good. */
void inflights_free_to(const struct raft *r, struct inflights *in,
		       uint64_t index)
{
	while (in->count > 0 && in->slot[in->start].index <= index) {
		CHECK(in->bytes >= in->slot[in->start].bytes);
		in->bytes -= in->slot[in->start].bytes;
		in->start = (in->start + 1) % r->c.inflight_max;
		in->count--;
	}
}

const struct progress *progress_of(const struct raft *r, uint64_t id)
{
	uint32_t i;

	for (i = 0; i < r->conf.count; i++) {
		if (r->peer[i].id == id)
			return &r->peer[i];
	}
	return NULL;
}

struct progress *progress_find(struct raft *r, uint64_t id)
{
	uint32_t i;

	for (i = 0; i < r->conf.count; i++) {
		if (r->peer[i].id == id)
			return &r->peer[i];
	}
	return NULL;
}

bool progress_paused(const struct progress *p)
{
	return p->flow == RAFT_FLOW_SNAPSHOT || p->paused;
}

static void enter_flow(struct progress *p, enum raft_flow flow)
{
	p->flow = flow;
	p->paused = false;
	p->more = false;
	p->pending_snapshot = 0;
	inflights_reset(&p->inflights);
}

static void lower_sent_commit(struct progress *p)
{
	CHECK(p->match < p->next);
	if (p->sent_commit > p->next - 1)
		p->sent_commit = p->next - 1;
}

void progress_become_probe(struct progress *p)
{
	uint64_t from = p->match;

	/* the snapshot that was sent is where its log begins now */
	if (p->flow == RAFT_FLOW_SNAPSHOT && p->pending_snapshot > from)
		from = p->pending_snapshot;
	enter_flow(p, RAFT_FLOW_PROBE);
	p->next = from + 1;
	lower_sent_commit(p);
}

void progress_become_replicate(struct progress *p)
{
	enter_flow(p, RAFT_FLOW_REPLICATE);
	p->next = p->match + 1;
}

void progress_become_snapshot(struct progress *p, uint64_t index)
{
	enter_flow(p, RAFT_FLOW_SNAPSHOT);
	p->pending_snapshot = index;
	p->next = index + 1;
	p->sent_commit = index;
}

void progress_sent(const struct raft *r, struct progress *p, uint32_t n,
		   uint64_t bytes)
{
	CHECK(p->flow != RAFT_FLOW_SNAPSHOT);
	if (p->flow == RAFT_FLOW_PROBE) {
		p->paused = p->paused || n > 0;
		return;
	}
	if (n > 0) {
		p->next += n; /* optimistic: it will arrive */
		inflights_add(r, &p->inflights, p->next - 1, bytes);
	}
	/* the last one that fits is the probe that ends the pause */
	p->paused = inflights_full(r, &p->inflights);
}

bool progress_can_bump_commit(const struct progress *p, uint64_t commit)
{
	return commit > p->sent_commit && p->sent_commit < p->next - 1;
}

bool progress_update(struct progress *p, uint64_t index)
{
	if (index <= p->match)
		return false;
	p->match = index;
	if (p->next < index + 1)
		p->next = index + 1;
	p->paused = false;
	return true;
}

/*
 * It refused the append after index rejected; the logs may match at hint.
 * False: an old answer, nothing to do. match never falls: it was durable.
 */
bool progress_decrease(struct progress *p, uint64_t rejected, uint64_t hint)
{
	if (p->flow == RAFT_FLOW_REPLICATE) {
		if (rejected <= p->match)
			return false;
		p->next = p->match + 1;
		lower_sent_commit(p);
		return true;
	}
	if (p->next - 1 != rejected)
		return false;
	p->next = rejected < hint + 1 ? rejected : hint + 1;
	if (p->next < p->match + 1)
		p->next = p->match + 1;
	p->paused = false;
	lower_sent_commit(p);
	return true;
}
