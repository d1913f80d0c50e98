/*
 * tests/raftscript/handlers.h - the commands of a script.
 */
#ifndef TESTS_RAFTSCRIPT_HANDLERS_H
#define TESTS_RAFTSCRIPT_HANDLERS_H

#include "tests/raftscript/env.h"
#include "tests/raftscript/script.h"

/* Run c; its output is env->out, valid until the next call. */
const char *env_handle(struct env *env, const struct command *c);

/* Of the arguments: a decimal number, a node by id, by position, a value. */
bool to_number(const char *text, uint64_t *v);
struct node *find_node(struct env *env, const char *text);
struct node *node_arg(struct env *env, const struct command *c, int i);
const char *value_of(const struct command *c, const char *key);

/* inputs.c; each returns what went wrong, or NULL. */
const char *cmd_raft_log(struct env *env, const struct command *c);
const char *cmd_raft_state(struct env *env, const struct command *c);
const char *cmd_status(struct env *env, const struct command *c);
const char *cmd_campaign(struct env *env, const struct command *c);
const char *cmd_tick(struct env *env, const struct command *c);
const char *cmd_tick_election(struct env *env, const struct command *c);
const char *cmd_tick_heartbeat(struct env *env, const struct command *c);
const char *cmd_set_timeout(struct env *env, const struct command *c);
const char *cmd_transfer(struct env *env, const struct command *c);
const char *cmd_forget_leader(struct env *env, const struct command *c);
const char *cmd_unreachable(struct env *env, const struct command *c);
const char *cmd_compact(struct env *env, const struct command *c);
const char *cmd_send_snapshot(struct env *env, const struct command *c);
const char *cmd_report_snapshot(struct env *env, const struct command *c);
const char *cmd_restart(struct env *env, const struct command *c);
const char *cmd_read_index(struct env *env, const struct command *c);
const char *cmd_set_missing(struct env *env, const struct command *c);

#endif
