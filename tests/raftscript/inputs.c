/*
 * tests/raftscript/inputs.c - the commands that show a node or give it one
 * input.
 */
#include <stdlib.h>

#include "base/check.h"
#include "tests/raftscript/handlers.h"

/* ------------------------------------------------------------- showing --- */

static const char *show_log(struct node *n)
{
	uint64_t i;

	if (n->disk.last < n->disk.first) {
		out_text(n->env,
			 "log is empty: first index=%llu, last "
			 "index=%llu",
			 (unsigned long long)n->disk.first,
			 (unsigned long long)n->disk.last);
		return NULL;
	}
	for (i = n->disk.first; i <= n->disk.last; i++) {
		text_entry(n->env, entries_get(&n->disk, i));
		out_text(n->env, "\n");
	}
	return NULL;
}

const char *cmd_raft_log(struct env *env, const struct command *c)
{
	struct node *n = node_arg(env, c, 0);

	return n ? show_log(n) : "no such node";
}

const char *cmd_raft_state(struct env *env, const struct command *c)
{
	uint32_t i;

	for (i = 0; i < env->node_count; i++) {
		struct node *n = env->node[i];
		uint8_t role = raft_conf_role(raft_conf(n->raft), n->id);
		struct raft_status s;

		raft_status(n->raft, &s);
		out_text(env, "%llu: %s %s Term:%llu Lead:%llu\n",
			 (unsigned long long)s.id, role_name(s.role),
			 role & (RAFT_VOTER | RAFT_VOTER_OUT) ? "(Voter)"
							      : "(Non-Voter)",
			 (unsigned long long)s.term,
			 (unsigned long long)s.leader);
	}
	return NULL;
}

const char *cmd_status(struct env *env, const struct command *c)
{
	struct node *n = node_arg(env, c, 0);
	struct raft_status s;
	uint32_t i;

	if (!n)
		return "no such node";
	raft_status(n->raft, &s);
	for (i = 0; s.role == RAFT_LEADER && i < s.member_count; i++) {
		struct buf text = BUF_INIT;
		struct raft_progress p;

		raft_progress_at(n->raft, i, &p);
		text_progress(&text, &p);
		out_text(env, "%llu: %.*s\n", (unsigned long long)p.id,
			 (int)text.n, (char *)text.p);
		buf_done(&text);
	}
	return NULL;
}

/* -------------------------------------------------------------- inputs --- */

const char *cmd_campaign(struct env *env, const struct command *c)
{
	struct node *n = node_arg(env, c, 0);

	if (!n)
		return "no such node";
	if (raft_campaign(n->raft))
		return "full";
	node_after_input(n);
	return NULL;
}

static const char *tick(struct node *n, uint64_t ticks)
{
	if (!n)
		return "no such node";
	for (; ticks > 0; ticks--) {
		if (raft_tick(n->raft))
			return "full";
		node_after_input(n);
	}
	return NULL;
}

const char *cmd_tick(struct env *env, const struct command *c)
{
	uint64_t ticks = 1;

	if (c->arg_count > 1 && !to_number(c->arg[1].key, &ticks))
		return "usage: tick <id> [ticks]";
	return tick(node_arg(env, c, 0), ticks);
}

const char *cmd_tick_election(struct env *env, const struct command *c)
{
	struct node *n = node_arg(env, c, 0);

	return tick(n, n ? n->config.election_ticks : 0);
}

const char *cmd_tick_heartbeat(struct env *env, const struct command *c)
{
	struct node *n = node_arg(env, c, 0);

	return tick(n, n ? n->config.heartbeat_ticks : 0);
}

const char *cmd_set_timeout(struct env *env, const struct command *c)
{
	struct node *n = node_arg(env, c, 0);
	const char *v = value_of(c, "timeout");
	uint64_t ticks;

	if (!n || !v || !to_number(v, &ticks) || ticks == 0)
		return "usage: set-randomized-election-timeout <id> timeout=N";
	raft_set_election_timeout(n->raft, (uint32_t)ticks);
	return NULL;
}

const char *cmd_transfer(struct env *env, const struct command *c)
{
	const char *from = value_of(c, "from"), *to = value_of(c, "to");
	struct node *n = from ? find_node(env, from) : NULL;
	uint64_t id;

	if (!n || !to || !to_number(to, &id))
		return "usage: transfer-leadership from=ID to=ID";
	if (raft_transfer(n->raft, id) == ERR_FULL)
		return "full";
	node_after_input(n); /* events have told how it went */
	return NULL;
}

const char *cmd_forget_leader(struct env *env, const struct command *c)
{
	struct node *n = node_arg(env, c, 0);
	enum err err;

	if (!n)
		return "no such node";
	err = raft_forget_leader(n->raft);
	CHECK(err == OK || err == ERR_INVALID); /* an event told why */
	return NULL;
}

const char *cmd_unreachable(struct env *env, const struct command *c)
{
	struct node *n = node_arg(env, c, 0), *to = node_arg(env, c, 1);
	struct raft_progress p;
	struct raft_status s;

	if (!n || !to)
		return "must specify exactly two node indexes: node on which "
		       "to report, and reported node";
	raft_status(n->raft, &s);
	if (s.role == RAFT_LEADER && !raft_progress_of(n->raft, to->id, &p))
		log_line(env, LEVEL_DEBUG,
			 "%llx no progress available for %llx",
			 (unsigned long long)n->id, (unsigned long long)to->id);
	raft_unreachable(n->raft, to->id);
	return NULL;
}

const char *cmd_compact(struct env *env, const struct command *c)
{
	struct node *n = node_arg(env, c, 0);
	struct raft_status s;
	uint64_t index, i;

	if (!n || c->arg_count < 2 || !to_number(c->arg[1].key, &index))
		return "usage: compact <id> <index>";
	if (index < n->disk.first)
		return "requested index is unavailable due to compaction";
	if (index > n->disk.last)
		return "requested index is past the end of the log";
	raft_status(n->raft, &s);
	if (index > s.applied)
		return "requested index is not applied";
	raft_compacted(n->raft, index + 1);
	if (n->log.first > n->gone.last + 1)
		entries_reset(&n->gone, n->log.first - 1, 0);
	for (i = n->log.first; i <= index; i++)
		entries_put(&n->gone, entries_get(&n->log, i));
	n->disk.base_term = entries_get(&n->disk, index)->term;
	n->log.base_term = n->disk.base_term;
	for (i = index + 1; i <= n->disk.last; i++)
		n->disk.at[i - index - 1] = entries_get(&n->disk, i);
	for (i = index + 1; i <= n->log.last; i++)
		n->log.at[i - index - 1] = entries_get(&n->log, i);
	n->disk.first = index + 1;
	n->log.first = index + 1;
	return show_log(n);
}

const char *cmd_send_snapshot(struct env *env, const struct command *c)
{
	struct node *n = node_arg(env, c, 0), *to = node_arg(env, c, 1);
	struct raft_status s;
	struct message *m;

	if (!n || !to)
		return "usage: send-snapshot <from> <to>";
	raft_status(n->raft, &s);
	m = message_new(env, TYPE_RAFT, n->id, to->id);
	m->term = s.term;
	m->raft = (struct raft_msg){ .type = RAFT_MSG_SNAPSHOT,
				     .from = n->id,
				     .to = to->id,
				     .term = s.term };
	m->snap = n->history[n->history_count - 1];
	messages_add(&env->in_flight, m);
	text_message(env, "", m);
	return NULL;
}

const char *cmd_report_snapshot(struct env *env, const struct command *c)
{
	struct node *n = node_arg(env, c, 0), *to = node_arg(env, c, 1);

	if (!n || !to || c->arg_count < 3)
		return "usage: report-snapshot <id> <peer> ok|failed";
	raft_snapshot_sent(n->raft, to->id, strcmp(c->arg[2].key, "ok") == 0);
	return NULL;
}

const char *cmd_restart(struct env *env, const struct command *c)
{
	struct node *n = node_arg(env, c, 0);

	if (!n)
		return "no such node";
	node_restart(n);
	return NULL;
}

const char *cmd_read_index(struct env *env, const struct command *c)
{
	struct node *n = node_arg(env, c, 0);
	uint64_t context;
	enum err err;

	if (!n || c->arg_count < 2 || !to_number(c->arg[1].key, &context))
		return "usage: read-index <id> <context>";
	err = raft_read(n->raft, context);
	return err == ERR_NO_LEADER ? "no leader" : err ? "full" : NULL;
}

const char *cmd_set_missing(struct env *env, const struct command *c)
{
	struct node *n = node_arg(env, c, 0);
	uint64_t index;

	if (!n || c->arg_count < 2 || !to_number(c->arg[1].key, &index))
		return "usage: set-missing <id> <index>";
	raft_set_missing(n->raft, index);
	node_after_input(n);
	return NULL;
}
