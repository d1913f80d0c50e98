/*
 * raft/read_index.c - reads without a log entry (thesis 6.4).
 *
 * The leader notes its commit index, makes sure by a round of heartbeats that
 * it still led after the read was asked, and grants that index; the node that
 * asked waits until it has applied so far. Before the leader's no-op is
 * committed it does not know what is, so reads wait for that (paper 8).
 *
 * All reads that arrive between two readies share one round. Rounds are
 * numbered; a heartbeat's answer confirms its round and all before it, so a
 * lost answer costs nothing.
 *
 * Who asks from another node may be the round itself. When it asked it was in
 * the leader's term, so it had voted for nobody in a later one, nor has the
 * leader until now; if the two are a quorum, nobody had been elected in a later
 * term when it asked, and whatever was acknowledged by then the leader knows to
 * be committed. Its question may have been on the way for long: what came
 * afterwards it did not ask for.
 *
 * With a lease (6.4.1) no round is needed while a quorum has answered
 * heartbeats that are young enough: those voters refuse their vote to others
 * for an election timeout. A hand-over breaks that promise, so after a
 * TIMEOUT_NOW there is no lease in this term any more.
 */
#include "raft/core.h"

enum { ROUND_NONE_YET = 0 }; /* waits for the no-op */

static bool is_alone(const struct raft *r)
{
	return conf_voters(&r->conf, RAFT_VOTER) == 1 &&
	       !raft_conf_is_joint(&r->conf) &&
	       conf_is_voter(&r->conf, r->c.id);
}

uint64_t raft_lease_end(const struct raft *r)
{
	uint64_t since;

	if (!r->c.check_quorum || r->role != RAFT_LEADER)
		return 0;
	if (r->transferee != RAFT_NOBODY || r->timeout_now_sent)
		return 0;
	if (!conf_is_voter(&r->conf, r->c.id) || !committed_in_term(r))
		return 0;
	if (is_alone(r))
		return UINT64_MAX;
	since = quorum_stamp(r);
	return since > 0 ? since + r->c.lease_ns : 0;
}

bool raft_lease_holds(const struct raft *r, uint64_t now_ns)
{
	return r->c.read_mode == RAFT_READ_LEASE && now_ns < raft_lease_end(r);
}

static void grant(struct raft *r, const struct pending_read *read)
{
	struct raft_msg m = { .type = RAFT_MSG_READ_REPLY,
			      .to = read->from,
			      .context = read->context,
			      .index = read->index };

	struct progress *p;

	if (read->from == r->c.id) {
		output_grant(r, read->context, read->index);
		return;
	}
	output_send(r, &m);
	p = progress_find(r, read->from);
	if (!r->c.lazy_commit || !p)
		return;
	if (p->granted < read->index)
		p->granted = read->index;
	if (p->sent_commit < p->granted &&
	    progress_can_bump_commit(p, r->log.commit))
		send_append(r, p, true);
}

static enum err ask_leader(struct raft *r, uint64_t context)
{
	struct raft_msg m = { .type = RAFT_MSG_READ,
			      .to = r->leader,
			      .context = context };

	if (r->leader == RAFT_NOBODY) {
		TRACE(r, .kind = RAFT_EV_NO_LEADER, .msg = RAFT_MSG_READ);
		return ERR_NO_LEADER;
	}
	output_send(r, &m);
	return OK;
}

/* Does the question itself show that nobody else leads? term: the asker's. */
static bool asker_confirms(const struct raft *r, uint64_t from, uint64_t term)
{
	return r->c.asker_confirms && term == r->term && quorum_with(r, from);
}

static enum err lead_read(struct raft *r, uint64_t from, uint64_t context,
			  uint64_t term)
{
	struct pending_read read = { .from = from, .context = context };

	CHECK(r->role == RAFT_LEADER);
	if (r->read_count + r->grant_count >= r->c.reads_max)
		return ERR_FULL;
	if (committed_in_term(r)) {
		read.index = r->log.commit;
		read.round = r->round_sent + 1;
		if (is_alone(r) || asker_confirms(r, from, term) ||
		    raft_lease_holds(r, r->now_ns)) {
			grant(r, &read);
			return OK;
		}
	} else {
		read.round = ROUND_NONE_YET;
	}
	r->read[r->read_count++] = read;
	return OK;
}

enum err raft_read(struct raft *r, uint64_t context)
{
	CHECK(r->own_count == 0);
	if (!output_has_room(r))
		return ERR_FULL;
	if (r->role == RAFT_LEADER)
		return lead_read(r, r->c.id, context, 0);
	if (r->leader == r->c.id)
		return ERR_NO_LEADER;
	return ask_leader(r, context);
}

/* Not passed on a second time: the asker will hear who leads and ask again. */
enum err recv_read(struct raft *r, const struct raft_msg *m)
{
	if (r->role == RAFT_LEADER) {
		enum err err = lead_read(r, m->from, m->context, m->term);

		return err == ERR_FULL ? ERR_BUSY : err;
	}
	TRACE(r, .kind = RAFT_EV_NO_LEADER, .msg = RAFT_MSG_READ);
	return ERR_NO_LEADER;
}

void recv_read_reply(struct raft *r, const struct raft_msg *m)
{
	output_grant(r, m->context, m->index);
}

/* The no-op is committed: the reads that waited for it join the next round. */
void release_early_reads(struct raft *r)
{
	uint32_t i;

	if (r->read_count == 0 || !committed_in_term(r))
		return;
	for (i = 0; i < r->read_count; i++) {
		struct pending_read *read = &r->read[i];

		if (read->round != ROUND_NONE_YET)
			continue;
		read->index = r->log.commit;
		read->round = r->round_sent + 1;
	}
}

bool start_read_round(struct raft *r)
{
	if (r->role != RAFT_LEADER || r->read_count == 0 ||
	    r->read[r->read_count - 1].round <= r->round_sent)
		return false;
	r->round_sent = r->read[r->read_count - 1].round;
	send_heartbeats(r, r->round_sent);
	confirm_reads(r); /* a quorum of one needs no answer */
	return true;
}

void confirm_reads(struct raft *r)
{
	uint64_t round = quorum_round(r);
	uint32_t i, n = 0;

	if (round > r->round_sent)
		round = r->round_sent;
	while (n < r->read_count && r->read[n].round != ROUND_NONE_YET &&
	       r->read[n].round <= round) {
		grant(r, &r->read[n]);
		n++;
	}
	if (n == 0)
		return;
	r->read_count -= n;
	for (i = 0; i < r->read_count; i++)
		r->read[i] = r->read[i + n];
}

void raft_set_time(struct raft *r, uint64_t now_ns)
{
	CHECK(now_ns >= r->now_ns);
	r->now_ns = now_ns;
}
