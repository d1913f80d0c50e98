/*
 * tests/lib/raft_group.h - a group of Raft nodes in memory, and an oracle.
 *
 * Nodes with a log, a disk that loses what was not synced, and a state machine
 * that is a hash over all applied entries. Messages lie in one pool until the
 * test delivers, repeats or drops them; a disk's batch is durable when the
 * test says so. With every step the oracle checks what must never happen:
 *
 *   election safety       two leaders of one term          (paper 5.2)
 *   log matching          one (index, term), two entries or predecessors (5.3)
 *   leader completeness   a leader lacks a committed entry (5.4.3)
 *   state machine safety  two entries applied at one index (5.4.3)
 *   linearizable reads    a grant below what was applied when it was asked (8)
 *
 * A violation prints the seed and the step and fails the test.
 */
#ifndef TESTS_LIB_RAFT_GROUP_H
#define TESTS_LIB_RAFT_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/seed.h"
#include "raft/raft.h"

enum {
	RG_NODES_MAX = 9,
	RG_SETTLE_MAX = 20000, /* messages that rg_settle delivers at most */
};

struct rg_entry {
	uint64_t term, payload;
	uint32_t change; /* in rg.changes; 0: none                           */
};

/* By absolute index; entries below first are gone. */
struct rg_log {
	uint64_t first, base_term, last;
	struct rg_entry *e;
	uint64_t cap;
};

struct rg_snapshot {
	struct raft_snapshot meta;
	uint64_t hash;
};

struct rg_msg {
	struct raft_msg m;
	struct rg_entry *entries;
	struct rg_snapshot snapshot;
};

/* What one ready gave to the disk. */
struct rg_batch {
	bool has_hard, has_snapshot;
	struct raft_hard_state hard;
	uint64_t from, to;
	struct rg_entry *entries;
	struct rg_snapshot snapshot;
	struct rg_msg *after;
	uint32_t after_count;
	bool has_point;
	struct raft_point point;
};

struct rg;

struct rg_node {
	struct rg *g;
	uint64_t id;
	struct raft *raft; /* NULL: down                                     */
	struct rg_log mem, disk;
	struct raft_hard_state hard; /* durable                              */
	struct rg_snapshot snap;     /* durable; where the state starts      */
	struct rg_snapshot incoming; /* taken over, not yet durable          */
	uint32_t clock_permille;     /* how fast its clock goes              */
	uint64_t applied, hash;
	struct rg_batch *batch; /* not durable yet, oldest first             */
	uint32_t batch_count;
	uint64_t apply_from, apply_to; /* handed out, not yet applied        */
	enum raft_role role;
	bool alarm;
	bool wants_snapshot; /* raft asked for one                           */
};

struct rg_options {
	uint32_t nodes; /* that exist; members are the first `voters`     */
	uint32_t voters;
	struct raft_config config; /* id, log and view are filled in         */
};

struct rg_read {
	uint64_t node, least; /* at least this index must be granted         */
};

/* What has happened; all zero at the start. */
struct rg_counts {
	uint64_t elections, committed, truncations, snapshots, changes, reads,
		lease_reads, transfers, crashes, cuts, late_acks, alarms;
};

struct rg_identity {
	uint64_t index, term, payload, prev_term;
};

struct rg_committed {
	uint64_t term, payload, hash, applied_in;
};

struct rg {
	struct rg_options o;
	uint64_t seed_number, step, now_ns;
	struct seed seed;
	struct rg_node node[RG_NODES_MAX + 1]; /* by id                      */
	struct rg_msg *pool;
	uint32_t pool_count, pool_cap;
	struct raft_change *changes;
	uint32_t change_count;
	struct rg_read *reads;
	uint64_t read_count;
	uint64_t *leader_of;
	uint64_t leader_of_cap;
	struct rg_identity *identity;
	uint64_t identity_cap, identity_count;
	struct rg_committed *committed;
	uint64_t committed_cap, committed_last;
	uint64_t next_payload;
	bool bulk_disk; /* batches are durable at once                       */
	struct rg_counts count;
};

/* Defaults for a group of that many voters and no other nodes. */
void rg_options_default(struct rg_options *o, uint32_t voters);

/* All nodes up, followers of term 0, logs empty. */
void rg_init(struct rg *g, const struct rg_options *o, uint64_t seed);
void rg_done(struct rg *g);

/* Fails the test, naming the seed, if cond does not hold. */
void rg_hold(struct rg *g, bool cond, const char *what, int line);
#define RG_HOLD(g, cond) rg_hold(g, cond, #cond, __LINE__)

/* Inputs. Each ends with everything a ready asks for but the disk's work. */
void rg_tick(struct rg_node *n);
void rg_campaign(struct rg_node *n);
/* False: refused. */
bool rg_propose(struct rg_node *n);
bool rg_change(struct rg_node *n, const struct raft_change *change);
bool rg_read(struct rg_node *n);
void rg_transfer(struct rg_node *n, uint64_t to);
/* The oldest batch becomes durable and is acknowledged. False: none. */
bool rg_sync(struct rg_node *n);
/* Power loss: of the batches the first `kept` got durable, unacknowledged. */
void rg_crash(struct rg_node *n, uint32_t kept);
void rg_restart(struct rg_node *n);
/* Entries up to index, applied and durable, make place for a snapshot. */
void rg_compact(struct rg_node *n, uint64_t index);

/* Deliver pool[i] (again if keep), or drop it. */
void rg_deliver(struct rg *g, uint32_t i, bool keep);
void rg_drop(struct rg *g, uint32_t i);
/* Deliver and sync everywhere until nothing is left, or RG_SETTLE_MAX. */
void rg_settle(struct rg *g);
/* The node's own clock. */
uint64_t rg_now(const struct rg_node *n);

/* The leader of the highest term that is up, or NULL. */
struct rg_node *rg_leader(struct rg *g);
uint64_t rg_last(const struct rg_node *n);
uint64_t rg_commit(const struct rg_node *n);
uint64_t rg_term(const struct rg_node *n);

#endif
