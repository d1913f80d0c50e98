/*
 * raft/recv_append.c - the leader's entries and heartbeats, on a follower.
 *
 * Paper, figure 2, "AppendEntries RPC: receiver implementation". The answer
 * leaves when the entries are durable (thesis 3.8).
 */
#include "raft/core.h"

static enum err alarm_about(const struct raft *r, const struct raft_msg *m,
			    uint64_t index)
{
	TRACE(r, .kind = RAFT_EV_ALARM, .peer = m->from, .msg = m->type,
	      .a = index);
	return ERR_CORRUPT;
}

/*
 * Which of the message's entries is the first that is not in the log yet? None
 * of those that are committed, which were compared before.
 */
static uint32_t count_present(const struct raft *r, const struct raft_msg *m)
{
	uint32_t i;

	for (i = 0; i < m->entry_count; i++) {
		uint64_t index = m->index + 1 + i;

		if (index <= r->log.commit ||
		    log_matches(r, index, m->entry_terms[i]))
			continue;
		if (index <= r->log.last)
			TRACE(r, .kind = RAFT_EV_CONFLICT, .a = index,
			      .b = log_term_or_0(r, index),
			      .c = m->entry_terms[i]);
		break;
	}
	return i;
}

/*
 * Is there, at or below the commit index, another entry here than the leader
 * has? Every leader's log holds all committed entries (paper 5.4.3): one of
 * the two logs is damaged, or a vote was.
 */
static bool contradicts_committed(const struct raft *r,
				  const struct raft_msg *m, uint64_t *index)
{
	uint64_t term = m->log_term, mine;
	uint32_t i;

	for (i = 0; i <= m->entry_count; i++) {
		*index = m->index + i;
		if (*index > r->log.commit)
			return false;
		if (i > 0)
			term = m->entry_terms[i - 1];
		if (log_term(r, *index, &mine) == OK && mine != term)
			return true; /* else gone: long since applied */
	}
	return false;
}

static void acknowledge(struct raft *r, const struct raft_msg *m,
			uint64_t index)
{
	struct raft_msg answer = { .type = RAFT_MSG_APPEND_REPLY,
				   .to = m->from,
				   .index = log_durable(r, index) };

	output_send(r, &answer);
}

/* Step 2: no entry of that term there. Say where the logs may agree. */
static void refuse(struct raft *r, const struct raft_msg *m)
{
	struct raft_msg answer = { .type = RAFT_MSG_APPEND_REPLY,
				   .to = m->from,
				   .index = m->index,
				   .reject = true };
	uint64_t from = m->index < r->log.last ? m->index : r->log.last;

	TRACE(r, .kind = RAFT_EV_APPEND_REFUSED, .peer = m->from, .a = m->index,
	      .b = m->log_term, .c = log_term_or_0(r, m->index));
	log_find_by_term(r, from, m->log_term, &answer.hint, &answer.log_term);
	output_send(r, &answer);
}

enum err recv_append(struct raft *r, const struct raft_msg *m,
		     struct raft_accepted *accepted)
{
	uint64_t last_new = m->index + m->entry_count, commit, at;
	uint32_t present;

	CHECK(r->role == RAFT_FOLLOWER);
	if (contradicts_committed(r, m, &at))
		return alarm_about(r, m, at);
	/*
	 * Old: what is committed matches the leader's log anyway. But while
	 * bytes are missing this node is sent all behind them again and again,
	 * and must take what is new, or the two would never come to rest.
	 */
	if (m->index < r->log.commit &&
	    !(r->missing && log_matches(r, m->index, m->log_term))) {
		acknowledge(r, m, r->log.commit);
		return OK;
	}
	/*
	 * Without a configuration there is nothing that changes in the log
	 * could be applied to: it must come first, with a snapshot. Else a new
	 * node that is added at entry 8 would take itself for the only voter.
	 */
	if (r->conf.count == 0 || !log_matches(r, m->index, m->log_term)) {
		refuse(r, m);
		return OK;
	}
	present = count_present(r, m);
	if (present < m->entry_count) {
		uint64_t from = m->index + 1 + present;

		CHECK(from > r->log.commit);
		accepted->from = from;
		accepted->count = m->entry_count - present;
		log_replace(r, from, m->entry_terms + present, accepted->count);
	}
	/*
	 * Step 5. Only as far as this message proves the logs equal: what lies
	 * behind may be another leader's.
	 */
	commit = m->commit < last_new ? m->commit : last_new;
	log_commit_to(r, commit);
	acknowledge(r, m, last_new);
	return OK;
}

/*
 * The commit index in a heartbeat is at most what this node acknowledged. If
 * the log is shorter than that, it has lost what it had promised to keep.
 */
enum err recv_heartbeat(struct raft *r, const struct raft_msg *m)
{
	struct raft_msg answer = { .type = RAFT_MSG_HEARTBEAT_REPLY,
				   .to = m->from,
				   .context = m->context,
				   .stamp_ns = m->stamp_ns };

	CHECK(r->role == RAFT_FOLLOWER);
	if (m->commit > r->log.last)
		return alarm_about(r, m, m->commit);
	log_commit_to(r, m->commit);
	output_send(r, &answer);
	return OK;
}

void raft_cut(struct raft *r, uint64_t from)
{
	CHECK(r->role == RAFT_FOLLOWER);
	CHECK(from > 0);
	log_cut(r, from);
	output_limit_acks(r, from - 1);
}
