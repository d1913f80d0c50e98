/*
 * tests/sim/sim.h - the simulator: what its files share.
 *
 *    main.c     seeds, one process each; coverage and figures of all of them
 *    plan.c     what a seed makes of a run: sizes, workload, which faults
 *    run.c      the run itself: clients, faults, then all faults off
 *    client.c   clients, and the history that the judge of linear.h gets
 *    probe.c    crowds of reads around each change of leader
 *    files.c    clients that use the store as files
 *    watcher.c  what watches must tell
 *    fault.c    what goes wrong, and when it ends
 *    strike.c   what goes wrong at the worst moment
 *    admin.c    members come, go and are replaced
 *    oracle.c   what must hold after every step
 *    glance.c   whether a step has changed anything
 *    model.c    every partition's state as it follows from what was applied
 *    events.c   the product's log lines: counted, shown when tracing
 *
 * One struct sim a run; one thread; no chance but the plan's seed.
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "tests/lib/cluster_rig.h"
#include "tests/lib/linear.h"

enum {
	SIM_CLIENTS_MAX = 8,
	SIM_PARTITIONS_MAX = 8,
	SIM_TIMERS_MAX = 96,
	SIM_KEYS_MAX = 64,
	SIM_VALUE_BYTES_MAX = 400 << 10,
	SIM_OPERATORS = 3,
};

#define SIM_MS UINT64_C(1000000)

struct sim;

/* ------------------------------------------------------------- coverage -- */

/* What a run did; printed, and none may stay at zero over all of them. */
#define SIM_COUNTERS(X)                                                        \
	X(acked_writes)                                                        \
	X(refusals)                                                            \
	X(unknown_outcomes)                                                    \
	X(reads)                                                               \
	X(lease_reads)                                                         \
	X(stale_reads)                                                         \
	X(probes)                                                              \
	X(uploads)                                                             \
	X(prefix_deletes)                                                      \
	X(txns)                                                                \
	X(expired)                                                             \
	X(watch_events)                                                        \
	X(watch_resumes)                                                       \
	X(file_changes)                                                        \
	X(renames)                                                             \
	X(leader_changes)                                                      \
	X(transfers)                                                           \
	X(membership_changes)                                                  \
	X(replaced_members)                                                    \
	X(crashes)                                                             \
	X(crashes_in_a_call)                                                   \
	X(crashes_at_a_sync)                                                   \
	X(storms)                                                              \
	X(strikes)                                                             \
	X(joint_memberships)                                                   \
	X(changes_at_once)                                                     \
	X(torn_tails)                                                          \
	X(recovery_copies)                                                     \
	X(merges)                                                              \
	X(recycled_segments)                                                   \
	X(snapshot_installs)                                                   \
	X(damages)                                                             \
	X(repairs)                                                             \
	X(sync_failures)                                                       \
	X(full_disks)                                                          \
	X(pauses)                                                              \
	X(partitions)                                                          \
	X(clock_jumps)                                                         \
	X(lost_messages)                                                       \
	X(full_comparisons)

enum sim_counter {
#define X(name) SIM_##name,
	SIM_COUNTERS(X)
#undef X
		SIM_COUNTER_COUNT
};

/* ----------------------------------------------------------------- plan -- */

enum sim_fault {
	FAULT_CRASH,
	FAULT_CRASH_IN_CALL,
	FAULT_KILL,
	FAULT_STOP,
	FAULT_PAUSE,
	FAULT_SPLIT,
	FAULT_ONE_WAY,
	FAULT_ISOLATE_LEADER,
	FAULT_RESET,
	FAULT_WEATHER,
	FAULT_DISK_FULL,
	FAULT_SYNC,
	FAULT_NO_SPACE_ONCE,
	FAULT_FLIP,
	FAULT_BAD_SECTOR,
	FAULT_CLOCK_JUMP,
	FAULT_CLOCK_RATE,
	FAULT_SUSPEND,
	FAULT_MEMBER,
	FAULT_TRANSFER,
	FAULT_MERGE,
	FAULT_LONG_OUTAGE,
	FAULT_AT_SYNC,
	FAULT_STORM,
	FAULT_REPLACE,
	FAULT_AT_CHANGE,
	FAULT_HASTE,
	FAULT_COUNT
};

struct sim_plan {
	uint64_t seed;
	uint32_t founders, partitions, clients, keys;
	uint64_t run_ms, think_ms, fault_ms; /* means                        */
	uint64_t busy_ms, quiet_ms; /* clients come and go in turns          */
	uint32_t value_bytes_max, big_permille, upload_permille;
	uint32_t loss_permille, repeat_permille, reorder_permille;
	bool faults[FAULT_COUNT];
	uint64_t victims; /* bit id: nodes whose disks may decay             */
	uint32_t read_percent, ttl_permille, prefix_permille;
	uint64_t append_bytes_max, segment_bytes;
	uint64_t drift_ppb; /* how far a clock may be from true time         */
	bool leases;
	bool files; /* some clients use files                                */
};

/* What the seed says. */
void sim_plan(uint64_t seed, struct sim_plan *p);
const char *sim_fault_name(enum sim_fault f);

/* ---------------------------------------------------------------- model -- */

/* One change as an entry carries it. Owned by the oracle. */
struct sim_record {
	uint8_t type;
	uint8_t flags;
	uint32_t key; /* number of the key in the model                      */
	uint64_t value_hash, expiry_ns;
	uint32_t value_bytes;
};

struct sim_entry {
	struct sim_entry *next; /* another term's at the same index          */
	uint64_t term, prev_term, hash, stamp_ns, mtime_ns;
	uint32_t record_count;
	struct sim_record records[];
};

/* A key's state from `version` on. */
struct sim_version {
	uint64_t version, value_hash, expiry_ns, mtime_ns;
	bool present;
};

struct sim_key {
	struct bytes key; /* owned                                           */
	struct sim_version *v;
	uint32_t count, cap;
};

struct sim_model {
	struct sim_key *keys;
	uint32_t key_count, key_cap;
	uint32_t *slots, slot_count;
	uint64_t applied, stamp_ns; /* the last entry, and its stamp         */
};

void model_done(struct sim_model *m);
/* The number of key, made if need be. */
uint32_t model_key(struct sim_model *m, struct bytes key);
/*
 * Apply the entry at index, which is the next. NULL, or what no leader may
 * append: a stamp that does not rise, a key that expires before its time.
 */
const char *model_apply(struct sim_model *m, uint64_t index,
			const struct sim_entry *e);
/* Was key k there just before that version? */
bool model_before(const struct sim_model *m, uint32_t k, uint64_t version);
/* The state of key k after entry index; NULL: absent. */
const struct sim_version *model_at(const struct sim_model *m, uint32_t k,
				   uint64_t index);
/* Number of key, or UINT32_MAX. */
uint32_t model_find(const struct sim_model *m, struct bytes key);
uint64_t model_hash(struct bytes b);
/* Another one, faster where there are many bytes. */
uint64_t model_value_hash(struct bytes b);

/* --------------------------------------------------------------- oracle -- */

/* What was seen last of one node's copy of a partition. */
struct sim_copy {
	uint64_t term, commit, applied, last_index, last_term, conf_index;
	bool leads;
	uint64_t *terms; /* of its entries, by index                         */
	bool clock_known;
	int64_t clock_ns; /* its log clock against its boot clock             */
	uint64_t terms_cap, first; /* known from first on                    */
	uint32_t installs;
};

/* The numbers of a log by which it shows that anything is new. */
struct sim_glance {
	uint64_t applied, last_index, last_term;
	uint32_t installs; /* states put in force since it was opened        */
};
void sim_glance(const struct engine *e, uint32_t p, struct sim_glance *g);

struct sim_partition {
	struct sim_entry **entries; /* by index                              */
	uint64_t *committed;	    /* term by index; 0: not yet             */
	uint64_t cap, committed_max, applied_max;
	uint64_t *leader_of; /* by term                                      */
	uint64_t leader_cap, term_max;
	struct sim_model model;
};

struct oracle {
	struct sim_partition partition[SIM_PARTITIONS_MAX];
	struct sim_copy copy[CLUSTER_NODES_MAX + 1][SIM_PARTITIONS_MAX];
	uint64_t looks;
};

/* A node was opened: what it knows is looked at anew. */
void oracle_started(struct sim *s, struct cluster_node *n);
/* After a call into n. */
void oracle_look(struct sim *s, struct cluster_node *n);
/* n's whole state against the model. damage_ok: bytes may be lost. */
void oracle_compare(struct sim *s, struct cluster_node *n, bool damage_ok);
/* The entry committed at index; NULL: not known. */
const struct sim_entry *oracle_entry(struct sim *s, uint32_t partition,
				     uint64_t index);
void oracle_done(struct sim *s);

/* -------------------------------------------------------------- clients -- */

struct client;

void clients_start(struct sim *s);
/* When the next client has something to do. */
uint64_t clients_due(struct sim *s);
void clients_run(struct sim *s);
/* Some client reads through id now, even if it is just about to wake. */
void clients_ask_lease(struct sim *s, uint64_t id);
/* Some ask soon: reads through any node; or writes through id, if not 0. */
void clients_hurry(struct sim *s, uint64_t id);
/* The node goes down: give up what must be given up before. */
void clients_node_down(struct sim *s, struct cluster_node *n);
/* No new requests; true: none is under way. */
void clients_stop(struct sim *s);
bool clients_idle(struct sim *s);
/* Every key once through node n, linearizable. */
void clients_read_all(struct sim *s, uint64_t id);
void clients_done(struct sim *s);

/* --------------------------------------------------------------- probes -- */

struct probes;

void probes_start(struct sim *s);
/* The partition has another leader: soon all nodes are asked, a few times. */
void probes_ask(struct sim *s, uint32_t partition);
/* Node id, which runs, is asked now. */
void probes_ask_one(struct sim *s, uint64_t id, uint32_t partition);
void probes_done(struct sim *s);

/* -------------------------------------------------------------- watches -- */

struct watchers;

void watchers_started(struct sim *s, struct cluster_node *n);
/* After a call into n: what its watch tells is what must come next. */
void watchers_look(struct sim *s, struct cluster_node *n);
void watchers_down(struct sim *s, struct cluster_node *n);
void watchers_done(struct sim *s);

/* ---------------------------------------------------------------- files -- */

struct files;

void files_start(struct sim *s);
/* When the next of them has something to do; do it; is none under way? */
uint64_t files_due(struct sim *s);
void files_run(struct sim *s);
bool files_idle(struct sim *s);
/* At the end, through node id: all is as the answers said. */
void files_check(struct sim *s, uint64_t id);
void files_done(struct sim *s);

/* --------------------------------------------------------------- faults -- */

/* Something that ends or is tried again later. */
struct sim_timer {
	uint64_t at;
	void (*fn)(struct sim *s, uint64_t a, uint64_t b);
	uint64_t a, b;
};

void sim_after(struct sim *s, uint64_t ms,
	       void (*fn)(struct sim *s, uint64_t a, uint64_t b), uint64_t a,
	       uint64_t b);
void sim_after_ns(struct sim *s, uint64_t ns,
		  void (*fn)(struct sim *s, uint64_t a, uint64_t b), uint64_t a,
		  uint64_t b);
uint64_t faults_due(struct sim *s);
void faults_run(struct sim *s);
/* Everything off; what is down is started again. */
void faults_end(struct sim *s);
/* Start node id in a while, again and again until it runs. */
void fault_restart_later(struct sim *s, uint64_t id);
void fault_restart_soon(struct sim *s, uint64_t id, uint64_t ms);

/* -------------------------------------------------------------- strikes -- */

/* Power goes at the next sync, of several nodes at once. */
bool strike_at_sync(struct sim *s, uint64_t id);
/* The power of id has gone in a call. */
void strike_died(struct sim *s, uint64_t id);
/* For a while no leader lasts. */
bool strike_storm(struct sim *s, uint64_t id);
/* id leads a partition since now: is it struck? */
void strike_leader(struct sim *s, uint64_t id, uint32_t partition);
/* A follower of leader has got an entry of an earlier term. */
void strike_old_entry(struct sim *s, uint64_t leader, uint32_t partition,
		      uint64_t old_term);
/* id has applied a membership change: is someone struck? */
void strike_at_change(struct sim *s, uint64_t id, bool joint);

/* --------------------------------------------------------------- members - */

void admin_change(struct sim *s);
/* A sound node is exchanged, as for a new machine. */
void admin_exchange(struct sim *s);
void admin_transfer(struct sim *s);
void admin_transfer_to(struct sim *s, uint64_t id);
/* Node id's disk is lost for good. */
void admin_replace(struct sim *s, uint64_t id);
/* Nodes follow the member map: who is in it runs, who is not counts no more. */
void admin_follow(struct sim *s);
/* No change is under way, everyone has the role that was meant. */
bool admin_idle(struct sim *s, struct buf *why);

/* ------------------------------------------------------------------ sim -- */

struct admin {
	struct store_change change;
	bool busy, done_flag;
	uint64_t via, about; /* node asked; node it is about                 */
};

struct sim {
	struct sim_plan plan;
	struct cluster c;
	struct oracle oracle;
	struct linear *history;
	struct client *client;
	struct files *files; /* NULL: not in this run                         */
	struct watchers *watchers;
	struct probes *probes;
	struct admin admin[SIM_OPERATORS];
	uint64_t going_until[CLUSTER_NODES_MAX + 1]; /* asked to be removed   */
	struct seed chance;
	struct sim_timer timers[SIM_TIMERS_MAX];
	uint32_t timer_count;
	uint64_t next_fault, steps_compared;
	uint64_t amnesia; /* bit id: goes down at its next sync               */
	uint64_t muted_until, cut_off; /* cut_off: bit id                     */
	uint64_t storm_until, hot_until; /* hot: a leader has just changed    */
	uint64_t hot_node[2];		 /* the new one, the one before       */
	bool ending; /* all faults are off                                   */
	bool damaged[CLUSTER_NODES_MAX + 1]; /* its disk was harmed          */
	uint32_t failed_starts[CLUSTER_NODES_MAX + 1];
	uint64_t seen_as_of[CLUSTER_NODES_MAX + 1]; /* in the map, at index   */
	uint64_t map_as_of; /* the newest map that was acted upon            */
	uint32_t looks_without[CLUSTER_NODES_MAX + 1]; /* it in the map       */
	bool start_planned[CLUSTER_NODES_MAX + 1];
	uint64_t hash; /* of everything that happened                        */
	bool trace;
	bool undecided; /* the judge gave up                                  */
	uint64_t count[SIM_COUNTER_COUNT];
};

/* The run that is under way, for log lines. */
extern struct sim *sim_now;

/* Run one seed whole; exits the process with a message if anything broke. */
void sim_run(struct sim *s, uint64_t seed, bool trace);
/* The run is over: something does not hold. */
_Noreturn void sim_fail(struct sim *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A line of the trace, into the hash too. */
void sim_trace(struct sim *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Mix v into the run's hash. */
void sim_mix(struct sim *s, uint64_t v);
/* When somebody who would do something at time `at` does it. */
uint64_t sim_busy(const struct sim *s, uint64_t at);
/* 0..below-1, and true in permille of 1000 cases. */
uint64_t sim_draw(struct sim *s, uint64_t below);
bool sim_chance(struct sim *s, uint32_t permille);
/* About mean, from a tenth to three times. */
uint64_t sim_about(struct sim *s, uint64_t mean);
/* A running member drawn at random; 0: none. */
uint64_t sim_any_node(struct sim *s);

#endif
