/*
 * tests/raftscript/text.c - how entries, messages and states are shown.
 *
 * The forms are those of the interaction tests of etcd-io/raft, so that a
 * scenario written for one can be compared line by line with the other.
 */
#include <stdio.h>

#include "base/check.h"
#include "tests/raftscript/env.h"

const char *role_name(enum raft_role role)
{
	switch (role) {
	case RAFT_FOLLOWER:
		return "StateFollower";
	case RAFT_PRE_CANDIDATE:
		return "StatePreCandidate";
	case RAFT_CANDIDATE:
		return "StateCandidate";
	case RAFT_LEADER:
		return "StateLeader";
	}
	return "?";
}

static const char *const raft_type_names[RAFT_MSG_TYPE_MAX] = {
	[RAFT_MSG_APPEND] = "MsgApp",
	[RAFT_MSG_APPEND_REPLY] = "MsgAppResp",
	[RAFT_MSG_PREVOTE] = "MsgPreVote",
	[RAFT_MSG_PREVOTE_REPLY] = "MsgPreVoteResp",
	[RAFT_MSG_VOTE] = "MsgVote",
	[RAFT_MSG_VOTE_REPLY] = "MsgVoteResp",
	[RAFT_MSG_HEARTBEAT] = "MsgHeartbeat",
	[RAFT_MSG_HEARTBEAT_REPLY] = "MsgHeartbeatResp",
	[RAFT_MSG_SNAPSHOT] = "MsgSnap",
	[RAFT_MSG_TIMEOUT_NOW] = "MsgTimeoutNow",
	[RAFT_MSG_READ] = "MsgReadIndex",
	[RAFT_MSG_READ_REPLY] = "MsgReadIndexResp",
	[RAFT_MSG_TRANSFER] = "MsgTransferLeader",
};

const char *type_name(const struct message *m)
{
	switch (m->type) {
	case TYPE_RAFT:
		return raft_type_names[m->raft.type];
	case TYPE_PROPOSAL:
		return "MsgProp";
	case TYPE_STORE:
		return "MsgStorageAppend";
	case TYPE_STORE_DONE:
		return "MsgStorageAppendResp";
	case TYPE_APPLY:
		return "MsgStorageApply";
	case TYPE_APPLY_DONE:
		return "MsgStorageApplyResp";
	}
	return "?";
}

/* Also of what only the original's messages are called. */
bool is_type_name(const char *name)
{
	static const char *const others[] = {
		"MsgHup",	    "MsgBeat",
		"MsgProp",	    "MsgUnreachable",
		"MsgSnapStatus",    "MsgCheckQuorum",
		"MsgStorageAppend", "MsgStorageAppendResp",
		"MsgStorageApply",  "MsgStorageApplyResp",
		"MsgForgetLeader",
	};
	size_t i;

	for (i = 1; i < RAFT_MSG_TYPE_MAX; i++) {
		if (strcmp(name, raft_type_names[i]) == 0)
			return true;
	}
	for (i = 0; i < sizeof(others) / sizeof(*others); i++) {
		if (strcmp(name, others[i]) == 0)
			return true;
	}
	return false;
}

static void quote(struct env *env, const char *p, size_t n)
{
	static const char letters[] = "abtnvfr"; /* 7 to 13 */
	size_t i;

	out_text(env, " \"");
	for (i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p[i];

		if (c == '"' || c == '\\')
			out_text(env, "\\%c", c);
		else if (c >= 7 && c <= 13)
			out_text(env, "\\%c", letters[c - 7]);
		else if (c < ' ' || c == 127)
			out_text(env, "\\x%02x", c);
		else
			out_text(env, "%c", c);
	}
	out_text(env, "\"");
}

static char op_letter(enum raft_change_op op)
{
	switch (op) {
	case RAFT_ADD_VOTER:
		return 'v';
	case RAFT_ADD_LEARNER:
		return 'l';
	case RAFT_REMOVE:
		return 'r';
	case RAFT_UPDATE:
		return 'u';
	}
	return '?';
}

void text_entry(struct env *env, const struct entry *e)
{
	static const char *const names[] = { "EntryNormal", "EntryConfChange",
					     "EntryConfChangeV2" };
	uint32_t i;

	out_text(env, "%llu/%llu %s", (unsigned long long)e->term,
		 (unsigned long long)e->index, names[e->type]);
	if (e->type == ENTRY_NORMAL)
		quote(env, e->data, e->data_bytes);
	for (i = 0; e->type != ENTRY_NORMAL && i < e->change.count; i++)
		out_text(env, " %c%llu", op_letter(e->change.item[i].op),
			 (unsigned long long)e->change.item[i].id);
}

static void id_list(struct env *env, const struct raft_conf *c, uint8_t role)
{
	const char *gap = "";
	uint32_t i;

	out_text(env, "[");
	for (i = 0; i < c->count; i++) {
		if (!(c->role[i] & role))
			continue;
		out_text(env, "%s%llu", gap, (unsigned long long)c->id[i]);
		gap = " ";
	}
	out_text(env, "]");
}

void text_snapshot(struct env *env, const struct raft_snapshot *s)
{
	out_text(env, "Index:%llu Term:%llu ConfState:Voters:",
		 (unsigned long long)s->index, (unsigned long long)s->term);
	id_list(env, &s->conf, RAFT_VOTER);
	out_text(env, " VotersOutgoing:");
	id_list(env, &s->conf, RAFT_VOTER_OUT);
	out_text(env, " Learners:");
	id_list(env, &s->conf, RAFT_LEARNER);
	out_text(env, " LearnersNext:");
	id_list(env, &s->conf, RAFT_LEARNER_NEXT);
	out_text(env, " AutoLeave:%s", s->conf.auto_leave ? "true" : "false");
}

void text_hard_state(struct env *env, const struct raft_hard_state *h)
{
	out_text(env, "Term:%llu", (unsigned long long)h->term);
	if (h->vote)
		out_text(env, " Vote:%llu", (unsigned long long)h->vote);
	out_text(env, " Commit:%llu", (unsigned long long)h->commit);
}

static void target(struct env *env, uint64_t id)
{
	if (id == RAFT_NOBODY)
		out_text(env, "None");
	else if (id == APPEND_THREAD)
		out_text(env, "AppendThread");
	else if (id == APPLY_THREAD)
		out_text(env, "ApplyThread");
	else
		out_text(env, "%llx", (unsigned long long)id);
}

static void message_entries(struct env *env, const char *indent,
			    const struct message *m)
{
	uint32_t i;

	if (m->entry_count == 0)
		return;
	out_text(env, " Entries:[");
	for (i = 0; i < m->entry_count; i++) {
		if (m->entry_count > 1)
			out_text(env, "\n%s  ", indent);
		text_entry(env, m->entries[i]);
	}
	if (m->entry_count > 1)
		out_text(env, "\n%s", indent);
	out_text(env, "]");
}

/* What a refused vote tells of the log is not in the form to be kept to. */
static bool shows_log(const struct message *m)
{
	return m->type != TYPE_RAFT || (m->raft.type != RAFT_MSG_VOTE_REPLY &&
					m->raft.type != RAFT_MSG_PREVOTE_REPLY);
}

void text_message(struct env *env, const char *indent, const struct message *m)
{
	bool log = shows_log(m);
	char deeper[32];
	uint32_t i;

	out_text(env, "%s", indent);
	target(env, m->from);
	out_text(env, "->");
	target(env, m->to);
	out_text(env, " %s Term:%llu Log:%llu/%llu", type_name(m),
		 (unsigned long long)m->term,
		 (unsigned long long)(log ? m->raft.log_term : 0),
		 (unsigned long long)(log ? m->raft.index : 0));
	if (m->raft.reject)
		out_text(env, " Rejected (Hint: %llu)",
			 (unsigned long long)m->raft.hint);
	if (m->raft.commit)
		out_text(env, " Commit:%llu",
			 (unsigned long long)m->raft.commit);
	if (m->vote)
		out_text(env, " Vote:%llu", (unsigned long long)m->vote);
	message_entries(env, indent, m);
	if (m->snap) {
		out_text(env, "\n%s  Snapshot: ", indent);
		text_snapshot(env, &m->snap->meta);
	}
	if (m->response_count == 0)
		return;
	snprintf(deeper, sizeof(deeper), "%s  ", indent);
	out_text(env, " Responses:[");
	for (i = 0; i < m->response_count; i++) {
		out_text(env, "\n");
		text_message(env, deeper, m->response[i]);
	}
	out_text(env, "\n%s]", indent);
}

static void id_set(struct buf *b, const struct raft_conf *c, uint8_t role)
{
	const char *gap = "";
	uint32_t i;

	CHECK(buf_addf(b, "(") == OK);
	for (i = 0; i < c->count; i++) {
		if (!(c->role[i] & role))
			continue;
		CHECK(buf_addf(b, "%s%llx", gap,
			       (unsigned long long)c->id[i]) == OK);
		gap = " ";
	}
	CHECK(buf_addf(b, ")") == OK);
}

static bool has_role(const struct raft_conf *c, uint8_t role)
{
	uint32_t i;

	for (i = 0; i < c->count; i++) {
		if (c->role[i] & role)
			return true;
	}
	return false;
}

void text_conf(struct buf *b, const struct raft_conf *c)
{
	CHECK(buf_addf(b, "voters=") == OK);
	id_set(b, c, RAFT_VOTER);
	if (has_role(c, RAFT_VOTER_OUT)) {
		CHECK(buf_addf(b, "&&") == OK);
		id_set(b, c, RAFT_VOTER_OUT);
	}
	if (has_role(c, RAFT_LEARNER)) {
		CHECK(buf_addf(b, " learners=") == OK);
		id_set(b, c, RAFT_LEARNER);
	}
	if (has_role(c, RAFT_LEARNER_NEXT)) {
		CHECK(buf_addf(b, " learners_next=") == OK);
		id_set(b, c, RAFT_LEARNER_NEXT);
	}
	if (c->auto_leave)
		CHECK(buf_addf(b, " autoleave") == OK);
}

void text_progress(struct buf *b, const struct raft_progress *p)
{
	static const char *const flows[] = { "StateProbe", "StateReplicate",
					     "StateSnapshot" };

	CHECK(buf_addf(b, "%s match=%llu next=%llu", flows[p->flow],
		       (unsigned long long)p->match,
		       (unsigned long long)p->next) == OK);
	if (p->learner)
		CHECK(buf_addf(b, " learner") == OK);
	if (p->paused)
		CHECK(buf_addf(b, " paused") == OK);
	if (p->pending_snapshot)
		CHECK(buf_addf(b, " pendingSnap=%llu",
			       (unsigned long long)p->pending_snapshot) == OK);
	if (!p->active)
		CHECK(buf_addf(b, " inactive") == OK);
	if (p->inflight)
		CHECK(buf_addf(b, " inflight=%u%s", p->inflight,
			       p->inflight_full ? "[full]" : "") == OK);
}

void text_change(struct buf *b, const struct raft_change *c)
{
	static const char *const transitions[] = { "Auto", "JointImplicit",
						   "JointExplicit" };
	static const char *const ops[] = { "AddNode", "AddLearnerNode",
					   "RemoveNode", "UpdateNode" };
	uint32_t i;

	CHECK(buf_addf(b, "transition:ConfChangeTransition%s",
		       transitions[c->transition]) == OK);
	for (i = 0; i < c->count; i++)
		CHECK(buf_addf(b, " changes:{type:ConfChange%s node_id:%llu}",
			       ops[c->item[i].op],
			       (unsigned long long)c->item[i].id) == OK);
}
