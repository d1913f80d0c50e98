/*
 * raft/replication.c - the leader sends (paper 5.3, thesis 10.2).
 *
 * An append is made as soon as there is something to say and the peer's window
 * is open; it names a range of the log, the driver adds the bytes. Nothing
 * waits for the leader's own disk.
 */
#include "raft/core.h"

/*
 * How many entries go into the next append to p, at most up to the size limit;
 * false: they are gone, a snapshot must go.
 */
static bool measure(const struct raft *r, const struct progress *p, uint32_t *n,
		    uint64_t *bytes)
{
	uint64_t known = log_unclaimed(r);
	uint64_t want;

	*n = 0;
	*bytes = 0;
	if (p->next > r->log.last)
		return true;
	if (p->next <= known) {
		want = known - p->next + 1;
		*n = r->c.view.fit(r->c.view.ctx, p->next, known,
				   r->c.append_bytes_max, bytes);
		if (*n == 0)
			return false;
		CHECK(*n <= want);
		if (*n < want)
			return true;
	}
	*n += (uint32_t)(r->log.last - known); /* no-ops weigh nothing */
	return true;
}

bool send_append(struct raft *r, struct progress *p, bool even_empty)
{
	struct raft_msg m = { .type = RAFT_MSG_APPEND, .to = p->id };
	uint64_t prev_term;
	bool present = true;

	CHECK(p->id != r->c.id);
	CHECK(p->match < p->next);
	if (progress_paused(p))
		return false;
	if (r->out.count + r->reserve >= r->out.cap) {
		p->more = true;
		return false;
	}
	if (log_term(r, p->next - 1, &prev_term) || p->next < r->log.first)
		return send_snapshot(r, p);
	/* into a full window goes only the empty append that probes it */
	if (p->flow != RAFT_FLOW_REPLICATE || !inflights_full(r, &p->inflights))
		present = measure(r, p, &m.entry_count, &m.entry_bytes);
	if (!present)
		return send_snapshot(r, p);
	if (m.entry_count == 0 && !even_empty)
		return false;
	m.index = p->next - 1;
	m.log_term = prev_term;
	m.commit = r->log.commit;
	output_send(r, &m);
	progress_sent(r, p, m.entry_count, m.entry_bytes);
	p->sent_commit = m.commit;
	return true;
}

void send_all_appends(struct raft *r)
{
	uint32_t i;

	for (i = 0; i < r->conf.count; i++) {
		if (r->peer[i].id != r->c.id)
			send_append(r, &r->peer[i], true);
	}
}

void send_waiting(struct raft *r, struct progress *p)
{
	p->more = false;
	while (output_can_pump(r)) {
		if (!send_append(r, p, false))
			return;
	}
	p->more = !progress_paused(p) && p->next <= r->log.last;
}

void pump_appends(struct raft *r)
{
	uint32_t i;

	for (i = 0; r->role == RAFT_LEADER && i < r->conf.count; i++) {
		if (r->peer[i].more)
			send_waiting(r, &r->peer[i]);
	}
}

/*
 * Heartbeats carry no more of the commit index than the peer is known to hold:
 * unlike an append they prove nothing about its log.
 */
void send_heartbeats(struct raft *r, uint64_t round)
{
	uint32_t i;

	CHECK(r->role == RAFT_LEADER);
	for (i = 0; i < r->conf.count; i++) {
		struct progress *p = &r->peer[i];
		struct raft_msg m = { .type = RAFT_MSG_HEARTBEAT,
				      .to = p->id,
				      .context = round,
				      .stamp_ns = r->now_ns };

		if (p->id == r->c.id)
			continue;
		m.commit = p->match < r->log.commit ? p->match : r->log.commit;
		output_send(r, &m);
		p->sent_commit = m.commit;
	}
}

/*
 * The leader's own log counts like any other, once it is durable: an answer to
 * itself waits for the disk beside the others' (thesis 10.2.1).
 */
void acknowledge_own_log(struct raft *r)
{
	struct raft_msg m = { .type = RAFT_MSG_APPEND_REPLY,
			      .to = r->c.id,
			      .index = log_durable(r, r->log.last) };

	output_send(r, &m);
}

/* Raft's own entry; the driver is given it by raft_take_own. */
void append_own(struct raft *r, bool leave_joint)
{
	CHECK(r->role == RAFT_LEADER);
	CHECK(r->own_count < RAFT_OWN_MAX);
	log_extend(r, r->term, 1);
	r->own[r->own_count++] =
		(struct raft_own){ .index = r->log.last,
				   .term = r->term,
				   .leave_joint = leave_joint };
}

bool raft_take_own(struct raft *r, struct raft_own *own)
{
	uint32_t i;

	if (r->own_count == 0)
		return false;
	*own = r->own[0];
	r->own_count--;
	for (i = 0; i < r->own_count; i++)
		r->own[i] = r->own[i + 1];
	return true;
}

enum err raft_proposable(const struct raft *r, uint64_t bytes, uint64_t *index,
			 uint64_t *term)
{
	if (r->role != RAFT_LEADER || !progress_of(r, r->c.id))
		return ERR_NO_LEADER;
	if (r->transferee != RAFT_NOBODY) /* thesis 3.10, step 1 */
		return ERR_BUSY;
	if (!output_has_room(r))
		return ERR_FULL;
	/* one proposal of any size, if there is no other */
	if (r->uncommitted_bytes > 0 && bytes > 0 &&
	    r->uncommitted_bytes + bytes > r->c.uncommitted_bytes_max)
		return ERR_FULL;
	*index = r->log.last + 1;
	*term = r->term;
	return OK;
}

void raft_propose(struct raft *r, uint32_t n, uint64_t bytes)
{
	uint64_t index, term;

	CHECK(n > 0);
	CHECK(r->own_count == 0);
	CHECK(raft_proposable(r, bytes, &index, &term) == OK);
	r->uncommitted_bytes += bytes;
	log_extend(r, term, n);
	acknowledge_own_log(r);
	send_all_appends(r);
}

static bool is_untold(const struct raft *r, const struct progress *p)
{
	return p->id != r->c.id && !progress_paused(p) &&
	       progress_can_bump_commit(p, r->log.commit);
}

bool raft_commit_is_untold(const struct raft *r)
{
	uint32_t i;

	for (i = 0; r->role == RAFT_LEADER && i < r->conf.count; i++) {
		if (is_untold(r, &r->peer[i]))
			return true;
	}
	return false;
}

void raft_tell_commit(struct raft *r, uint64_t peer)
{
	uint32_t i;

	CHECK(r->own_count == 0);
	for (i = 0; r->role == RAFT_LEADER && i < r->conf.count; i++) {
		struct progress *p = &r->peer[i];

		if ((peer == RAFT_NOBODY || p->id == peer) && is_untold(r, p))
			send_append(r, p, true);
	}
}

void raft_unreachable(struct raft *r, uint64_t peer)
{
	struct progress *p = progress_find(r, peer);

	if (r->role != RAFT_LEADER || !p || peer == r->c.id)
		return;
	/* find out what is there before sending more */
	if (p->flow == RAFT_FLOW_REPLICATE)
		progress_become_probe(p);
	TRACE(r, .kind = RAFT_EV_UNREACHABLE, .peer = peer);
}
