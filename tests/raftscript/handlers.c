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

/* The spellings of the original; what is neither is false. */
static bool to_bool(const char *text)
{
	static const char *const yes[] = {
		"1", "t", "T", "true", "TRUE", "True"
	};

	for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++)
		if (strcmp(text, yes[i]) == 0)
			return true;
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
static uint32_t node_args(struct env *env, const struct command *c,
			  struct node **nodes, bool all_if_none)
{
	uint32_t n = 0;
	int i;

	for (i = 0; i < c->arg_count; i++) {
		struct node *x = find_node(env, c->arg[i].key);

		if (c->arg[i].value_count == 0 && x && n < NODES_MAX)
			nodes[n++] = x;
	}
	if (n > 0 || !all_if_none)
		return n;
	for (; n < env->node_count; n++)
		nodes[n] = env->node[n];
	return n;
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

static const char *node_option(struct env *env, struct raft_config *config,
			       struct snap *snap, bool *async,
			       const struct arg *a)
{
	const char *v = a->value_count ? a->value[0] : "";
	uint64_t number = 0;

	(void)to_number(v, &number); /* those that are numbers */
	if (strcmp(a->key, "voters") == 0)
		return add_members(&snap->meta.conf, a, RAFT_VOTER);
	if (strcmp(a->key, "learners") == 0)
		return add_members(&snap->meta.conf, a, RAFT_LEARNER);
	if (strcmp(a->key, "inflight") == 0) {
		config->inflight_max = (uint32_t)number;
	} else if (strcmp(a->key, "index") == 0) {
		snap->meta.index = number;
	} else if (strcmp(a->key, "content") == 0) {
		snap->data = arena_string(&env->arena, v, strlen(v));
		snap->data_bytes = strlen(v);
	} else if (strcmp(a->key, "async-storage-writes") == 0) {
		*async = to_bool(v);
		config->apply_unpersisted = !*async;
	} else if (strcmp(a->key, "prevote") == 0) {
		config->prevote = to_bool(v);
	} else if (strcmp(a->key, "checkquorum") == 0) {
		config->check_quorum = to_bool(v);
	} else if (strcmp(a->key, "max-committed-size-per-ready") == 0) {
		config->apply_bytes_max = number;
	} else if (strcmp(a->key, "max-size-per-msg") == 0) {
		config->append_bytes_max = number;
	} else if (strcmp(a->key, "disable-conf-change-validation") == 0) {
		config->unchecked_changes = to_bool(v);
	} else if (strcmp(a->key, "step-down-on-removal") == 0) {
		config->step_down_on_removal = to_bool(v);
	} else if (strcmp(a->key, "read-only") == 0) {
		if (strcmp(v, "lease-based") == 0)
			config->read_mode = RAFT_READ_LEASE;
		else if (strcmp(v, "safe") != 0)
			return wrong(env, "invalid read-only option \"%s\"", v);
	}
	return NULL;
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
	config.apply_unpersisted = true;
	if (c->arg_count == 0 || !to_number(c->arg[0].key, &n))
		return "how many?";
	for (i = 1; i < c->arg_count && !err; i++)
		err = node_option(env, &config, snap, &async, &c->arg[i]);
	if (err)
		return err;
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

static const char *cmd_deliver_msgs(struct env *env, const struct command *c)
{
	const char *type = value_of(c, "type");
	struct recipient r[2 * ARGS_MAX];
	uint32_t count = 0, n = 0, k;
	int i, v;

	for (i = 0; i < c->arg_count; i++) {
		const struct arg *a = &c->arg[i];

		if (a->value_count == 0) {
			r[count].drop = false;
			if (!to_number(a->key, &r[count++].id))
				return "bad recipient";
		}
		for (v = 0; strcmp(a->key, "drop") == 0 && v < a->value_count &&
			    count < ARGS_MAX;
		     v++) {
			r[count].drop = true;
			if (!to_number(a->value[v], &r[count++].id))
				return "bad recipient";
		}
	}
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
	uint32_t n = node_args(env, c, nodes, true);
	const char *level = value_of(c, "log-level");
	int before = env->level;
	const char *err;

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
	uint32_t i, n = node_args(env, c, nodes, false);
	const char *err = NULL;

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

	if (!n || c->arg_count != 2)
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
	if (v1 && to_bool(v1)) {
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
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(c->name, commands[i].name) == 0)
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
