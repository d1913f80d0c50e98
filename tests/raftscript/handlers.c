/*
 * tests/raftscript/handlers.c - the commands of a script.
 *
 * Those of etcd-io/raft's interaction tests, and beyond them: tick, restart,
 * read-index, set-missing, report-snapshot.
 */
#include "tests/raftscript/handlers.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/check.h"

bool to_number(const char *text, uint64_t *v)
{
	char *end;

	*v = strtoull(text, &end, 10);
	return *text && *end == 0;
}

/* The spellings of the original. False: it is none of them. */
static bool to_bool(const char *text, bool *v)
{
	static const char *const words[] = { "0",     "1",    "f",     "t",
					     "F",     "T",    "false", "true",
					     "FALSE", "TRUE", "False", "True" };

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		*v = i % 2;
		if (strcmp(text, words[i]) == 0)
			return true;
	}
	return false;
}

/* What is wrong, with the word that is; lives as long as env. */
static const char *wrong(struct env *env, const char *what, const char *word)
{
	size_t n = strlen(what) + strlen(word) + 8;
	char *text = arena_alloc(&env->arena, n);

	snprintf(text, n, what, word);
	return text;
}

struct node *find_node(struct env *env, const char *text)
{
	uint64_t id;

	if (!to_number(text, &id) || id == 0 || id > env->node_count)
		return NULL;
	return env->node[id - 1];
}

/* The node named by the i-th argument. */
struct node *node_arg(struct env *env, const struct command *c, int i)
{
	return i < c->arg_count ? find_node(env, c->arg[i].key) : NULL;
}

const char *value_of(const struct command *c, const char *key)
{
	int i;

	for (i = 0; i < c->arg_count; i++) {
		if (strcmp(c->arg[i].key, key) == 0 && c->arg[i].value_count)
			return c->arg[i].value[0];
	}
	return NULL;
}

/* Nodes given by plain arguments; all when there are none. */
static const char *node_args(struct env *env, const struct command *c,
			     struct node **nodes, uint32_t *count,
			     bool all_if_none)
{
	uint32_t n = 0;
	int i;

	for (i = 0; i < c->arg_count; i++) {
		struct node *x = find_node(env, c->arg[i].key);

		if (c->arg[i].value_count > 0)
			continue;
		if (!x || n == NODES_MAX)
			return "no such node";
		nodes[n++] = x;
	}
	for (; n == 0 && all_if_none && *count < env->node_count; ++*count)
		nodes[*count] = env->node[*count];
	if (n > 0)
		*count = n;
	return NULL;
}

/* Run f and indent what it writes by two blanks. */
static const char *indented(struct node *n, const char *(*f)(struct node *))
{
	struct env *env = n->env;
	struct buf before = env->out, text;
	const char *err, *p, *end;

	env->out = BUF_INIT;
	err = f(n);
	text = env->out;
	env->out = before;
	p = (const char *)text.p;
	end = p + text.n;
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t len = nl ? (size_t)(nl - p) : (size_t)(end - p);

		CHECK(buf_addf(&env->out, "  %.*s\n", (int)len, p) == OK);
		p += len + 1;
	}
	buf_done(&text);
	return err;
}

/* ---------------------------------------------------------- add-nodes ---- */

static const char *add_members(struct raft_conf *conf, const struct arg *a,
			       uint8_t role)
{
	uint64_t id;
	int i;

	for (i = 0; i < a->value_count; i++) {
		if (!to_number(a->value[i], &id) ||
		    raft_conf_add(conf, id, role))
			return "bad member";
	}
	return NULL;
}

static const char *read_mode_option(struct env *env, struct raft_config *config,
				    const char *v)
{
	if (strcmp(v, "lease-based") == 0)
		config->read_mode = RAFT_READ_LEASE;
	else if (strcmp(v, "safe") == 0)
		config->read_mode = RAFT_READ_INDEX;
	else
		return wrong(env, "invalid read-only option \"%s\"", v);
	return NULL;
}

static const char *number_option(struct env *env, struct raft_config *config,
				 struct snap *snap, const char *key,
				 const char *v)
{
	uint64_t number;

	if (strcmp(key, "inflight") != 0 && strcmp(key, "index") != 0 &&
	    strcmp(key, "max-committed-size-per-ready") != 0 &&
	    strcmp(key, "max-size-per-msg") != 0)
		return wrong(env, "unknown option %s", key);
	if (!to_number(v, &number))
		return wrong(env, "no number: %s", v);
	if (strcmp(key, "inflight") == 0)
		config->inflight_max = (uint32_t)number;
	else if (strcmp(key, "index") == 0)
		snap->meta.index = number;
	else if (strcmp(key, "max-committed-size-per-ready") == 0)
		config->apply_bytes_max = number;
	else
		config->append_bytes_max = number;
	return NULL;
}

static const char *node_option(struct env *env, struct raft_config *config,
			       struct snap *snap, bool *async,
			       const struct arg *a)
{
	const char *v = a->value_count ? a->value[0] : "";
	const struct {
		const char *key;
		bool *on;
	} switches[] = {
		{ "async-storage-writes", async },
		{ "prevote", &config->prevote },
		{ "checkquorum", &config->check_quorum },
		{ "disable-conf-change-validation",
		  &config->unchecked_changes },
		{ "step-down-on-removal", &config->step_down_on_removal },
	};
	size_t i;

	for (i = 0; i < sizeof(switches) / sizeof(*switches); i++) {
		if (strcmp(a->key, switches[i].key) != 0)
			continue;
		return to_bool(v, switches[i].on)
			       ? NULL
			       : wrong(env, "neither true nor false: %s", v);
	}
	if (strcmp(a->key, "voters") == 0)
		return add_members(&snap->meta.conf, a, RAFT_VOTER);
	if (strcmp(a->key, "learners") == 0)
		return add_members(&snap->meta.conf, a, RAFT_LEARNER);
	if (strcmp(a->key, "read-only") == 0)
		return read_mode_option(env, config, v);
	if (strcmp(a->key, "content") == 0) {
		snap->data = arena_string(&env->arena, v, strlen(v));
		snap->data_bytes = strlen(v);
		return NULL;
	}
	return number_option(env, config, snap, a->key, v);
}

static const char *cmd_add_nodes(struct env *env, const struct command *c)
{
	struct snap *snap = arena_alloc(&env->arena, sizeof(*snap));
	struct raft_config config;
	const char *err = NULL;
	bool async = false;
	uint64_t n;
	int i;

	raft_config_default(&config);
	config.election_ticks = 3;
	config.members_max = RAFT_MEMBERS_MAX;
	config.out_max = 1 << 14;
	config.inflight_max = 1 << 12;
	config.inflight_bytes_max = RAFT_NO_LIMIT;
	config.append_bytes_max = RAFT_NO_LIMIT;
	config.uncommitted_bytes_max = RAFT_NO_LIMIT;
	config.prevote = false;
	config.check_quorum = false;
	config.restart_guard = false;
	config.step_down_on_removal = false;
	if (c->arg_count == 0 || !to_number(c->arg[0].key, &n))
		return "how many?";
	for (i = 1; i < c->arg_count && !err; i++)
		err = node_option(env, &config, snap, &async, &c->arg[i]);
	if (err)
		return err;
	config.apply_unpersisted = !async;
	if (snap->meta.conf.count > 0 || snap->meta.index > 0 ||
	    snap->data_bytes > 0) {
		if (snap->meta.index <= 1)
			return "index must be specified as > 1 due to "
			       "bootstrap";
		snap->meta.term = 1;
	}
	for (; n > 0 && !err; n--)
		err = node_create(env, &config, snap, async);
	return err;
}

/* ------------------------------------------------------------ messages --- */

struct recipient {
	uint64_t id;
	bool drop;
};

static bool is_local(const struct message *m)
{
	return m->from == m->to || m->from >= APPLY_THREAD ||
	       m->to >= APPLY_THREAD;
}

static bool is_chosen(const struct message *m, const struct recipient *r,
		      const char *type)
{
	return m->to == r->id && !(r->drop && is_local(m)) &&
	       (!type || strcmp(type, type_name(m)) == 0);
}

static bool has_messages(struct env *env, uint64_t id)
{
	struct recipient r = { .id = id };
	uint32_t i;

	for (i = 0; i < env->in_flight.count; i++) {
		if (is_chosen(env->in_flight.at[i], &r, NULL))
			return true;
	}
	return false;
}

static void deliver_one(struct env *env, struct message *m, bool drop)
{
	const char *err = NULL;

	out_text(env, "%s", drop ? "dropped: " : "");
	text_message(env, "", m);
	out_text(env, "\n");
	if (drop)
		return;
	if (m->to == 0 || m->to > env->node_count)
		err = "no such node";
	else
		err = node_step(env->node[m->to - 1], m);
	if (err)
		out_text(env, "%s\n", err);
}

/* Deliver to, or drop for, one recipient; returns how many. */
static uint32_t deliver(struct env *env, const struct recipient *r,
			const char *type)
{
	struct messages chosen = { 0 };
	uint32_t i, rest = 0, n;

	for (i = 0; i < env->in_flight.count; i++) {
		struct message *m = env->in_flight.at[i];

		if (is_chosen(m, r, type))
			messages_add(&chosen, m);
		else
			env->in_flight.at[rest++] = m;
	}
	env->in_flight.count = rest;
	for (i = 0; i < chosen.count; i++)
		deliver_one(env, chosen.at[i], r->drop);
	n = chosen.count;
	free(chosen.at);
	return n;
}

enum { RECIPIENTS_MAX = 2 * NODES_MAX };

/* To r, which has *count already; nobody comes twice. */
static const char *add_recipient(struct env *env, struct recipient *r,
				 uint32_t *count, const char *id, bool drop)
{
	uint32_t i;

	if (*count == RECIPIENTS_MAX || !to_number(id, &r[*count].id))
		return wrong(env, "bad recipient %s", id);
	for (i = 0; i < *count && drop; i++) {
		if (r[i].id == r[*count].id)
			return wrong(env,
				     "can't both deliver and drop msgs to %s",
				     id);
	}
	r[(*count)++].drop = drop;
	return NULL;
}

static const char *cmd_deliver_msgs(struct env *env, const struct command *c)
{
	const char *type = value_of(c, "type"), *err = NULL;
	struct recipient r[RECIPIENTS_MAX];
	uint32_t count = 0, n = 0, k;
	int i, v;

	if (type && !is_type_name(type))
		return wrong(env, "unknown message type %s", type);
	for (i = 0; i < c->arg_count && !err; i++) {
		const struct arg *a = &c->arg[i];

		if (a->value_count == 0)
			err = add_recipient(env, r, &count, a->key, false);
		else if (strcmp(a->key, "drop") != 0 &&
			 strcmp(a->key, "type") != 0)
			err = wrong(env, "unknown option %s", a->key);
		for (v = 0;
		     strcmp(a->key, "drop") == 0 && !err && v < a->value_count;
		     v++)
			err = add_recipient(env, r, &count, a->value[v], true);
	}
	if (err)
		return err;
	for (k = 0; k < count; k++)
		n += deliver(env, &r[k], type);
	if (n == 0)
		out_text(env, "no messages\n");
	return NULL;
}

static const char *deliver_all_to(struct node *n)
{
	struct recipient r = { .id = n->id };

	(void)deliver(n->env, &r, NULL); /* how many does not matter */
	return NULL;
}

/* ----------------------------------------------------------- stabilize --- */

enum { ROUNDS_MAX = 2000 };

static int parse_level(const char *name)
{
	static const char *const names[] = { "debug", "info",  "warn",
					     "error", "fatal", "none" };
	int i;

	for (i = 0; i < 6; i++) {
		if (strcasecmp(name, names[i]) == 0)
			return i;
	}
	return -1;
}

static const char *bad_level =
	"log levels must be either of [DEBUG INFO WARN ERROR FATAL NONE]";

static const char *run_work(struct node *n, struct messages *work,
			    const char *what, const char *(*f)(struct node *),
			    bool *done)
{
	const char *err = NULL;

	if (work->count == 0)
		return NULL;
	*done = false;
	out_text(n->env, "> %llu processing %s thread\n",
		 (unsigned long long)n->id, what);
	while (work->count > 0 && !err)
		err = indented(n, f);
	return err;
}

static const char *stabilize(struct env *env, struct node **nodes, uint32_t n)
{
	const char *err = NULL;
	bool done = false;
	uint32_t i, rounds = 0;

	while (!done && !err) {
		if (++rounds > ROUNDS_MAX)
			return "does not come to rest";
		done = true;
		for (i = 0; i < n && !err; i++) {
			if (!node_has_ready(nodes[i]))
				continue;
			out_text(env, "> %llu handling Ready\n",
				 (unsigned long long)nodes[i]->id);
			err = indented(nodes[i], node_process_ready);
			done = false;
		}
		for (i = 0; i < n && !err; i++) {
			if (!has_messages(env, nodes[i]->id))
				continue;
			out_text(env, "> %llu receiving messages\n",
				 (unsigned long long)nodes[i]->id);
			err = indented(nodes[i], deliver_all_to);
			done = false;
		}
		for (i = 0; i < n && !err; i++)
			err = run_work(nodes[i], &nodes[i]->store_work,
				       "append", node_process_store, &done);
		for (i = 0; i < n && !err; i++)
			err = run_work(nodes[i], &nodes[i]->apply_work, "apply",
				       node_process_apply, &done);
	}
	return err;
}

static const char *cmd_stabilize(struct env *env, const struct command *c)
{
	struct node *nodes[NODES_MAX];
	const char *level = value_of(c, "log-level"), *err;
	int before = env->level;
	uint32_t n = 0;

	err = node_args(env, c, nodes, &n, true);
	if (err)
		return err;
	if (level) {
		if (parse_level(level) < 0)
			return bad_level;
		env->level = parse_level(level);
	}
	err = stabilize(env, nodes, n);
	env->level = before;
	return err;
}

static const char *cmd_log_level(struct env *env, const struct command *c)
{
	int level = c->arg_count ? parse_level(c->arg[0].key) : -1;

	if (level < 0)
		return bad_level;
	env->level = level;
	return NULL;
}

/* process-ready, process-append-thread, process-apply-thread */
static const char *for_nodes(struct env *env, const struct command *c,
			     const char *what, const char *(*f)(struct node *))
{
	struct node *nodes[NODES_MAX];
	uint32_t i, n = 0;
	const char *err = node_args(env, c, nodes, &n, false);

	if (err)
		return err;
	if (n == 1)
		return f(nodes[0]);
	for (i = 0; i < n && !err; i++) {
		out_text(env, "> %llu %s\n", (unsigned long long)nodes[i]->id,
			 what);
		err = indented(nodes[i], f);
	}
	return err;
}

static const char *cmd_process_ready(struct env *env, const struct command *c)
{
	return for_nodes(env, c, "handling Ready", node_process_ready);
}

static const char *cmd_process_append_thread(struct env *env,
					     const struct command *c)
{
	return for_nodes(env, c, "processing append thread",
			 node_process_store);
}

static const char *cmd_process_apply_thread(struct env *env,
					    const struct command *c)
{
	return for_nodes(env, c, "processing apply thread", node_process_apply);
}

/* ----------------------------------------------------------- proposals --- */

static const char *cmd_propose(struct env *env, const struct command *c)
{
	struct entry *draft = arena_alloc(&env->arena, sizeof(*draft));
	struct node *n = node_arg(env, c, 0);

	if (!n || c->arg_count != 2 || c->arg[1].value_count > 0)
		return "usage: propose <id> <data>";
	draft->data_bytes = strlen(c->arg[1].key);
	draft->data =
		arena_string(&env->arena, c->arg[1].key, draft->data_bytes);
	return node_propose(n, draft);
}

static const char *parse_changes(struct env *env, struct raft_change *change,
				 char *text)
{
	char *save = NULL, *p;

	for (p = strtok_r(text, " \n", &save); p;
	     p = strtok_r(NULL, " \n", &save)) {
		enum raft_change_op op;

		if (strlen(p) < 2)
			return wrong(env, "unknown token %s", p);
		switch (p[0]) {
		case 'v':
			op = RAFT_ADD_VOTER;
			break;
		case 'l':
			op = RAFT_ADD_LEARNER;
			break;
		case 'r':
			op = RAFT_REMOVE;
			break;
		case 'u':
			op = RAFT_UPDATE;
			break;
		default:
			return wrong(env, "unknown input: %s", p);
		}
		if (change->count == RAFT_CHANGES_MAX ||
		    !to_number(p + 1, &change->item[change->count].id))
			return wrong(env,
				     "strconv.ParseUint: parsing \"%s\": "
				     "invalid syntax",
				     p + 1);
		change->item[change->count++].op = op;
	}
	return NULL;
}

static const char *cmd_propose_conf_change(struct env *env,
					   const struct command *c)
{
	struct entry *draft = arena_alloc(&env->arena, sizeof(*draft));
	const char *transition = value_of(c, "transition");
	const char *v1 = value_of(c, "v1"), *err;
	struct node *n = node_arg(env, c, 0);
	bool is_v1 = false;
	char *text = arena_string(&env->arena, (char *)c->input.p, c->input.n);

	if (!n)
		return "usage: propose-conf-change <id>";
	draft->type = ENTRY_CHANGE_V2;
	if (!transition || strcmp(transition, "auto") == 0)
		draft->change.transition = RAFT_AUTO;
	else if (strcmp(transition, "implicit") == 0)
		draft->change.transition = RAFT_IMPLICIT;
	else if (strcmp(transition, "explicit") == 0)
		draft->change.transition = RAFT_EXPLICIT;
	else
		return wrong(env, "unknown transition %s", transition);
	err = parse_changes(env, &draft->change, text);
	if (err)
		return err;
	if (v1 && !to_bool(v1, &is_v1))
		return wrong(env, "neither true nor false: %s", v1);
	if (is_v1) {
		if (draft->change.count != 1 ||
		    draft->change.transition != RAFT_AUTO)
			return "v1 conf change can only have one operation "
			       "and no transition";
		draft->type = ENTRY_CHANGE_V1;
	}
	return node_propose(n, draft);
}

/* ------------------------------------------------------------- running --- */

static const char *cmd_breakpoint(struct env *env, const struct command *c)
{
	return NULL;
}

static const struct {
	const char *name;
	const char *(*run)(struct env *env, const struct command *c);
} commands[] = {
	{ "_breakpoint", cmd_breakpoint },
	{ "add-nodes", cmd_add_nodes },
	{ "campaign", cmd_campaign },
	{ "compact", cmd_compact },
	{ "deliver-msgs", cmd_deliver_msgs },
	{ "forget-leader", cmd_forget_leader },
	{ "log-level", cmd_log_level },
	{ "process-append-thread", cmd_process_append_thread },
	{ "process-apply-thread", cmd_process_apply_thread },
	{ "process-ready", cmd_process_ready },
	{ "propose", cmd_propose },
	{ "propose-conf-change", cmd_propose_conf_change },
	{ "raft-log", cmd_raft_log },
	{ "raft-state", cmd_raft_state },
	{ "read-index", cmd_read_index },
	{ "report-snapshot", cmd_report_snapshot },
	{ "report-unreachable", cmd_unreachable },
	{ "restart", cmd_restart },
	{ "send-snapshot", cmd_send_snapshot },
	{ "set-missing", cmd_set_missing },
	{ "set-randomized-election-timeout", cmd_set_timeout },
	{ "stabilize", cmd_stabilize },
	{ "status", cmd_status },
	{ "tick", cmd_tick },
	{ "tick-election", cmd_tick_election },
	{ "tick-heartbeat", cmd_tick_heartbeat },
	{ "transfer-leadership", cmd_transfer },
};

const char *env_handle(struct env *env, const struct command *c)
{
	const char *err = "unknown command";
	size_t i;

	env->out.n = 0;
	if (c->malformed)
		err = "cannot parse this line";
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (!c->malformed && strcmp(c->name, commands[i].name) == 0)
			err = commands[i].run(env, c);
	}
	/* an error is shown even when all else is silenced */
	if (err)
		CHECK(buf_add(&env->out, err, strlen(err)) == OK);
	if (env->out.n == 0)
		CHECK(buf_addf(&env->out, "ok") == OK);
	if (env->out.p[env->out.n - 1] != '\n')
		CHECK(buf_add(&env->out, "\n", 1) == OK);
	CHECK(buf_add(&env->out, "", 1) == OK);
	env->out.n--;
	return (const char *)env->out.p;
}
