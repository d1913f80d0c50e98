/*
 * tests/lib/cluster_rig.h - several nodes in one process, driven by hand.
 *
 * A node is engine + store, each on a disk (base/vfs_sim.h) and a clock of its
 * own; between them lies a network that delays, loses, repeats and cuts. No
 * thread, no system clock, no chance but the seed: the same calls give the
 * same run, bit for bit.
 *
 *    cluster_init        nodes 1..founders exist, their disks empty, all down
 *    cluster_start_all   open them
 *    cluster_run         let virtual time pass: messages arrive, steps are made
 *    cluster_put ..      a request through one node, waited for in virtual time
 *    cluster_crash ..    what goes wrong
 *    cluster_expect_same all states equal
 *    cluster_done
 *
 * TIME. now_ns counts from the start; only cluster_run, cluster_step and the
 * waiting calls move it, to the next thing that is due. Each node's clock runs
 * at its own rate beside it. A step of a node takes step_ns during which its
 * core thread is not free; what arrives meanwhile waits.
 *
 * NETWORK. A link from a to b stands while both run and a was told of b
 * (struct net.peer); it is up (is_up, store_link) a little later. Cut both
 * ways it is seen to be down after a second; cut one way nobody is told. Of one
 * link messages arrive in order, unless `reorder_permille` says otherwise.
 *
 * A call that cannot work (a bad id, a node that is down) fails the test, and
 * so does whatever the rig finds broken, through the hook `fail` if it is set,
 * else through cmocka.
 */
#ifndef TESTS_LIB_CLUSTER_RIG_H
#define TESTS_LIB_CLUSTER_RIG_H

#include "base/clock.h"
#include "base/net.h"
#include "base/seed.h"
#include "base/vfs_sim.h"
#include "engine/engine.h"
#include "store/file.h"

enum {
	CLUSTER_NODES_MAX = 15, /* ids 1.. that ever exist                   */
	CLUSTER_KEYS_MAX = 1 << 16,
};

#define CLUSTER_NEVER UINT64_MAX

/* What the network does to a message. */
struct cluster_weather {
	uint64_t delay_min_ns, delay_max_ns;
	uint32_t loss_permille, repeat_permille, reorder_permille;
};

struct cluster_options {
	uint64_t seed;
	uint32_t founders, partitions;
	uint64_t disk_bytes, segment_bytes;
	uint64_t max_value_bytes, watch_history_bytes, staging_idle_ms;
	uint64_t heartbeat_ms, election_ms, commit_timeout_ms; /* 0: store's */
	uint64_t append_bytes_max; /* 0: store's                              */
	uint64_t min_free_bytes;
	uint64_t step_ns; /* what a step of the core thread takes            */
	enum engine_read_mode read_mode;
	struct engine_merge_options merge;
	struct cluster_weather weather;
};

/* Calls into a node, as the hook `after` names them. */
enum cluster_call {
	CLUSTER_START,
	CLUSTER_STEP,
	CLUSTER_RECEIVE,
	CLUSTER_LINK,
	CLUSTER_KEEP,
	CLUSTER_MOVE,
	CLUSTER_IDLE,
};

struct cluster;

struct cluster_node {
	struct net net; /* first: the store hands it back                    */
	struct cluster *c;
	uint64_t id;
	char name[24], address[40];
	bool joining; /* its directory begins without founders               */
	bool removed; /* is to be no member: not compared, not asked         */
	struct vfs_sim *disk;
	struct clock_sim clock;
	struct seed seed;
	int64_t rate_ppb;    /* its clock against now_ns                      */
	uint64_t clock_seen; /* now_ns up to which its clock was moved        */
	struct engine *engine;
	struct store *store; /* NULL: down                                   */
	enum err died;	     /* why it went down by itself; OK: it did not   */
	uint64_t starts, paused_until, busy_until;
	uint64_t asleep_until; /* its monotonic clock stands still till then  */
	uint64_t core_due, idle_due, keep_due, move_due;
	uint64_t off_at;   /* the disk call at which power fails; 0: none     */
	unsigned off_mask; /* of these kinds                                  */
	bool knows[CLUSTER_NODES_MAX + 1];
};

struct cluster_message;

struct cluster_link {
	bool cut; /* messages from a to b are lost                     */
	bool up;  /* as a has been told                                */
	uint64_t
		flip_at; /* a is told that it changed; CLUSTER_NEVER           */
	uint64_t
		last_at; /* the last message arrives                          */
	uint64_t queued; /* bytes on the way                                  */
};

/* All may be NULL. */
struct cluster_hooks {
	void *ctx;
	/* A call into n ended; n->store is NULL if it died of it. */
	void (*after)(void *ctx, struct cluster_node *n,
		      enum cluster_call call);
	/* n is about to go down; its engine may still be looked at. */
	void (*down)(void *ctx, struct cluster_node *n);
	/* One event of the run, as a line. */
	void (*trace)(void *ctx, const char *line);
	/* Must not return. */
	void (*fail)(void *ctx, const char *why);
};

struct cluster_counts {
	uint64_t steps, sent, delivered, lost, repeated, bytes_sent;
};

struct cluster {
	struct cluster_options o;
	struct cluster_hooks hooks;
	struct seed seed;
	uint64_t now_ns;
	uint32_t count; /* nodes 1..count exist                              */
	struct cluster_node node[CLUSTER_NODES_MAX + 1];
	struct cluster_link link[CLUSTER_NODES_MAX + 1][CLUSTER_NODES_MAX + 1];
	uint64_t links_due; /* the earliest flip_at                           */
	struct cluster_message *heap;
	uint32_t heap_count, heap_cap;
	uint64_t message_seq;
	struct cluster_counts counts;
};

/* Small segments, 1 to 3 ms on the way, no faults. */
void cluster_options_default(struct cluster_options *o, uint32_t founders,
			     uint32_t partitions, uint64_t seed);

/* The founders exist and are down. */
void cluster_init(struct cluster *c, const struct cluster_options *o);
/* Stop all, free everything. Nobody may wait for a request any more. */
void cluster_done(struct cluster *c);

/* ---------------------------------------------------------------- nodes -- */

/* Open node id over what its disk holds and make its first step. */
enum err cluster_try_start(struct cluster *c, uint64_t id);
void cluster_start(struct cluster *c, uint64_t id);
void cluster_start_all(struct cluster *c);

/* Close it in order; with patience it hands its leaderships over before. */
void cluster_stop(struct cluster *c, uint64_t id, uint64_t patience_ms);
/* The machine loses power: what was not synced is at chance's mercy. */
void cluster_crash(struct cluster *c, uint64_t id);
/* The process dies, the machine lives on: what was written stays. */
void cluster_kill(struct cluster *c, uint64_t id);
/* Lose power at the nth disk call of the kinds in mask from now (vfs_sim.h). */
void cluster_crash_at(struct cluster *c, uint64_t id, unsigned mask,
		      uint64_t nth, bool after_it);
/* Down, and its disk is empty: as if it had been exchanged. */
void cluster_wipe(struct cluster *c, uint64_t id);

/*
 * A node that is to join: its id is the member's (c->count + 1 at the least,
 * ids between stay unused), its disk empty, down. Start it when `add` is done.
 */
struct cluster_node *cluster_new_node(struct cluster *c, uint64_t id);

/* The node with that id, which exists. */
struct cluster_node *cluster_node(struct cluster *c, uint64_t id);
bool cluster_runs(struct cluster *c, uint64_t id);

/* It runs and is not paused. Its clocks are brought to now. */
bool cluster_awake(struct cluster *c, uint64_t id);
/* Its threads stand still for ms; its clocks run on. */
void cluster_pause(struct cluster *c, uint64_t id, uint64_t ms);
/* Its clock runs this much faster (parts per billion) from now on. */
void cluster_clock_rate(struct cluster *c, uint64_t id, int64_t ppb);
/* Its clocks jump; mono and boot forward only, wall by any amount. */
void cluster_clock_jump(struct cluster *c, uint64_t id, uint64_t mono_ns,
			uint64_t boot_ns, int64_t wall_ns);
/* Its monotonic clock stands still for ms, as while a machine sleeps. */
void cluster_clock_stop(struct cluster *c, uint64_t id, uint64_t ms);

/* -------------------------------------------------------------- network -- */

/* Messages from a to b are lost from now on; or no longer. */
void cluster_cut(struct cluster *c, uint64_t a, uint64_t b);
void cluster_heal(struct cluster *c, uint64_t a, uint64_t b);
/* Cut id off from everyone, both ways. */
void cluster_isolate(struct cluster *c, uint64_t id);
void cluster_heal_all(struct cluster *c);
/* What is on the way from a to b is lost and the link made anew. */
void cluster_reset_link(struct cluster *c, uint64_t a, uint64_t b);

/* ----------------------------------------------------------------- time -- */

/*
 * Do the next thing that is due, at most at time until_ns. False: nothing was
 * due by then, and now_ns is until_ns.
 */
bool cluster_step(struct cluster *c, uint64_t until_ns);
void cluster_run(struct cluster *c, uint64_t ms);

/* ------------------------------------------------------------- requests -- */

/*
 * Hand w to node id and run until it is done; w->err or the immediate error.
 * ERR_CLOSED: the node is or went down.
 */
enum err cluster_write(struct cluster *c, uint64_t id, struct store_write *w);
/* The same of a file operation. */
enum err cluster_file(struct cluster *c, uint64_t id, struct store_file_op *op);
/* One operation through node id. rev and existed may be NULL. */
enum err cluster_put(struct cluster *c, uint64_t id, const char *key,
		     const char *value, uint64_t *rev);
enum err cluster_del(struct cluster *c, uint64_t id, const char *key,
		     bool *existed);
/* Barrier, then append the whole value to b. */
enum err cluster_get(struct cluster *c, uint64_t id, const char *key,
		     enum store_consistency consistency, struct buf *b);
/* A change of members or leaders through node id. */
enum err cluster_change(struct cluster *c, uint64_t id,
			struct store_change *change);

/* Put through any node that takes it, again and again; fails after ms. */
void cluster_must_put(struct cluster *c, const char *key, const char *value,
		      uint64_t ms);
/* A linearizable read through node id is value (NULL: absent), within ms. */
void cluster_expect(struct cluster *c, uint64_t id, const char *key,
		    const char *value, uint64_t ms);

/* The running node that leads partition in the highest term; 0: none. */
uint64_t cluster_leader(struct cluster *c, uint32_t partition);
/* Run until every partition has a leader that serves; fails after ms. */
uint64_t cluster_wait_leader(struct cluster *c, uint64_t ms);
/* Run until cond(ctx) is true; false: it was not within ms. */
bool cluster_wait(struct cluster *c, bool (*cond)(void *ctx), void *ctx,
		  uint64_t ms);

/* --------------------------------------------------------------- states -- */

/* What a node has applied of a partition, told in a few numbers. */
struct cluster_state {
	uint64_t applied, keys;
	uint64_t hash; /* keys, values, attributes, versions, expiries       */
};

/* The error of reading (ERR_CORRUPT: damaged bytes). */
enum err cluster_state(struct cluster *c, uint64_t id, uint32_t partition,
		       struct cluster_state *state);
/*
 * All running members have applied the same, and it is equal. Otherwise what
 * differs is appended to why (may be NULL).
 */
bool cluster_same(struct cluster *c, struct buf *why);
/* Run until that is so; fails after ms. */
void cluster_expect_same(struct cluster *c, uint64_t ms);

/* Fails the test if cond is false, naming seed and time. */
void cluster_hold(struct cluster *c, bool cond, const char *what);
/* A line for the trace hook. */
void cluster_trace(struct cluster *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
