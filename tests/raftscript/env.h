/*
 * tests/raftscript/env.h - a group of pure Raft nodes that a script drives.
 *
 * Each node is a struct raft, the log it believes in (entries in memory), the
 * log its simulated disk holds, and a state machine that strings all payloads
 * together. Messages in flight lie in one queue until the script delivers or
 * drops them. Everything allocated lives in an arena and goes with the env.
 */
#ifndef TESTS_RAFTSCRIPT_ENV_H
#define TESTS_RAFTSCRIPT_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "raft/raft.h"

/* An allocation that is freed with all others of the arena. */
struct arena {
	struct arena_block *blocks;
};

void *arena_alloc(struct arena *a, size_t n);
char *arena_string(struct arena *a, const char *p, size_t n);
void arena_free(struct arena *a);

enum entry_type { ENTRY_NORMAL, ENTRY_CHANGE_V1, ENTRY_CHANGE_V2 };

/* Immutable once made; shared by logs and messages. */
struct entry {
	uint64_t term, index;
	enum entry_type type;
	const char *data;
	size_t data_bytes;
	struct raft_change change;
	bool own;     /* raft made it                                        */
	bool refused; /* a change, before                                    */
};

struct snap {
	struct raft_snapshot meta;
	const char *data;
	size_t data_bytes;
};

/* Entries first..last; at[i] is entry first + i. */
struct entries {
	uint64_t first, last, base_term;
	const struct entry **at;
	size_t cap;
};

void entries_put(struct entries *l, const struct entry *e);
void entries_reset(struct entries *l, uint64_t index, uint64_t term);
const struct entry *entries_get(const struct entries *l, uint64_t index);

/* Types that are not raft's own: what the script's storage threads speak. */
enum script_type {
	TYPE_RAFT,
	TYPE_PROPOSAL,
	TYPE_STORE,
	TYPE_STORE_DONE,
	TYPE_APPLY,
	TYPE_APPLY_DONE,
};

#define APPEND_THREAD UINT64_MAX
#define APPLY_THREAD  (UINT64_MAX - 1)

struct message {
	enum script_type type;
	uint64_t to, from, term, vote; /* as shown                           */
	struct raft_msg raft;	       /* TYPE_RAFT, and numbers of others   */
	const struct entry **entries;
	uint32_t entry_count;
	const struct snap *snap;
	struct raft_point point; /* TYPE_STORE_DONE                          */
	bool has_hard;		 /* TYPE_STORE                               */
	struct raft_hard_state hard;
	struct message **response;
	uint32_t response_count;
};

struct messages {
	struct message **at;
	uint32_t count, cap;
};

struct env;

struct node {
	struct env *env;
	uint64_t id;
	struct raft *raft;
	struct raft_config config;
	bool async; /* disk and state machine answer by messages             */
	struct entries log, disk;
	struct entries gone; /* compacted; a message may name them still     */
	struct raft_hard_state hard, shown_hard;
	const struct snap **history; /* state after each applied entry       */
	uint32_t history_count, history_cap;
	struct messages store_work, apply_work;
	struct messages proposals; /* to be forwarded with the next ready    */
	uint32_t *proposal_pos;
	const struct message *arriving; /* while it is stepped               */
};

enum { NODES_MAX = 64 };

struct env {
	struct arena arena;
	struct node *node[NODES_MAX];
	uint32_t node_count;
	struct messages in_flight;
	struct buf out;
	int level; /* 0 debug, 1 info, 2 warn, 3 error, 4 fatal, 5 none      */
};

enum {
	LEVEL_DEBUG,
	LEVEL_INFO,
	LEVEL_WARN,
	LEVEL_ERROR,
	LEVEL_FATAL,
	LEVEL_NONE
};

/* env.c: nodes, what they do */
void env_init(struct env *env);
void env_done(struct env *env);
void out_text(struct env *env, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void messages_add(struct messages *q, struct message *m);
struct message *message_new(struct env *env, enum script_type type,
			    uint64_t from, uint64_t to);
const char *node_create(struct env *env, struct raft_config *config,
			const struct snap *snap, bool async);
void node_restart(struct node *n);
const char *node_propose(struct node *n, const struct entry *draft);
const char *node_step(struct node *n, struct message *m);
void node_after_input(struct node *n);
bool node_has_ready(struct node *n);

/* ready.c: what a ready asks for */
const char *node_process_ready(struct node *n);
const char *node_process_store(struct node *n);
const char *node_process_apply(struct node *n);

/* text.c: how things are shown */
const char *role_name(enum raft_role role);
const char *type_name(const struct message *m);
bool is_type_name(const char *name);
void text_entry(struct env *env, const struct entry *e);
void text_message(struct env *env, const char *indent, const struct message *m);
void text_snapshot(struct env *env, const struct raft_snapshot *s);
void text_hard_state(struct env *env, const struct raft_hard_state *h);
void text_conf(struct buf *b, const struct raft_conf *c);
void text_progress(struct buf *b, const struct raft_progress *p);
void text_change(struct buf *b, const struct raft_change *c);

/* words.c: events as log lines */
void log_line(struct env *env, int level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void dropped_words(struct env *env, const struct raft_status *s);
void words_of_event(void *ctx, const struct raft *r,
		    const struct raft_event *e);

#endif
