/*
 * node/node_internal.h - what the files of a running node share.
 *
 *   node.c       start ladder, stop, options
 *   security.c   certificates
 *   figures.c    what /_/metrics shows of the node
 *   threads.c    core, keeper, mover
 *   cluster.c    the node's place in a cluster, and its links
 */
#ifndef NODE_NODE_INTERNAL_H
#define NODE_NODE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/diary.h"
#include "engine/engine.h"
#include "httpd/httpd.h"
#include "node/formation.h"
#include "node/mount.h"
#include "node/mount_await.h"
#include "node/node.h"

enum {
	NODE_LISTEN_TEXT_BYTES = CONF_HOST_BYTES_MAX + 16,
};

/* What this node does with the directory that it found. */
enum plan {
	PLAN_SINGLE,  /* open it; no links                                   */
	PLAN_RUN,     /* open it (or make it, by identity), with links       */
	PLAN_FORM,    /* wait until there is a cluster to belong to; also of a
			 member whose files are damaged                      */
	PLAN_REMOVED, /* wait for ever                                       */
};

/* A claim that another node makes through this one, one at a time. */
struct claim_slot {
	struct store_change change;
	bool busy, decided;
	enum claim_result result;
};

struct cluster {
	enum plan plan;
	struct identity identity;
	struct roster roster; /* cluster.members, or what identity has       */
	struct store_member self;
	struct links *links; /* NULL: PLAN_SINGLE, PLAN_REMOVED              */
	struct formation *formation;
	struct claim_slot claim;
	struct store_member_status members[ROSTER_MAX]; /* room to ask into  */
	struct buf secret;
	struct vfs_file *lock; /* of the directory, before the engine has it */
	bool damaged;	 /* its files do not open: waits for a new id        */
	struct buf hurt; /* then: the sentence for the operator              */
	uint64_t looked_ns; /* whether this node is still alone              */
};

/* The token that waits in the directory to become one of the cluster. */
struct first_token {
	enum {
		FIRST_TOKEN_UNKNOWN,
		FIRST_TOKEN_WAITS,
		FIRST_TOKEN_ASKED,
		FIRST_TOKEN_NONE
	} state;
	struct store_change change;
	uint64_t asked_ns;
};

struct node {
	const struct conf *conf;
	struct engine *engine;
	struct store *store; /* core, until http has it                      */
	struct httpd *httpd; /* once core runs: lock, to use it there        */
	struct diary *diary; /* of all of them                               */
	struct mount *mount; /* lock; NULL: none is configured, or not yet   */
	struct mount_await *await; /* NULL: no helper brings the mount       */
	struct tls *tls; /* main; NULL: plain HTTP                           */
	_Atomic uint64_t http_expires_s, peer_expires_s; /* 0: none          */
	struct cluster cluster;
	struct first_token first_token; /* core                              */
	struct seed engine_seed, store_seed;
	struct wake *trouble;
	struct wake core_wake, keeper_wake, mover_wake, handed_wake;
	pthread_t core, keeper, mover;
	bool has_core, has_keeper, has_mover;
	_Atomic bool core_stop, keeper_stop, mover_stop, failed;
	_Atomic bool brought_up; /* node_bring_up is over, well or not       */
	_Atomic bool serving;	 /* the store is open and HTTP has it         */
	_Atomic bool hand_over, leads;
	_Atomic int result; /* enum node_exit, once failed                   */
	_Atomic uint64_t beat;
	pthread_mutex_t climb; /* held from rung to rung, outside of lock    */
	bool stopping;	       /* climb                                      */
	pthread_mutex_t lock;  /* of what a reload leaves: */
	struct chan_tls *peer_tls; /* on its way to the core thread          */
	struct engine_merge_options merge;
	uint64_t value_bytes_max, min_free_bytes;
	bool settings_changed;
	uint32_t listen_count;
	char listen[CONF_LISTEN_MAX][NODE_LISTEN_TEXT_BYTES];
	char host[CONF_LISTEN_MAX][NODE_LISTEN_TEXT_BYTES];
};

/* ------------------------------------------------------------- node.c ---- */

/*
 * Open engine and store as cluster.identity says, start keeper and mover, and
 * give the store to HTTP if that is up; or wait: cluster.damaged. why: as
 * node_start. Thread: main
 * before the core thread is started, or core.
 */
enum node_exit node_bring_up(struct node *n, struct buf *why);

/*
 * The core thread goes up the ladder: bring_up and take_mount happen between
 * these two. False: the node stops, nothing may be begun that main does not
 * know of. Thread: core.
 */
bool node_climb(struct node *n);
void node_climbed(struct node *n);

/*
 * HTTP, if it is still there, says why this node does not serve: code as in
 * httpd_hold. Thread: core.
 */
void node_hold(struct node *n, const char *code, const char *reason);

/*
 * Open the engine in the data directory. NODE_OK: n->engine is set, or its
 * files are damaged and the node waits: cluster.damaged.
 */
enum node_exit node_open_engine(struct node *n, struct buf *why);

/*
 * Serve the mount that the helper has brought, if there is one to take. why: as
 * node_start. Thread: core, once there is a store.
 */
enum node_exit node_take_mount(struct node *n, struct buf *why);

/* --------------------------------------------------------- security.c ---- */

/*
 * Load what c says of HTTPS; *tls NULL: it says nothing. n: whose they will
 * be, which is logged and remembered; NULL: only look. ERR_INVALID: why gets
 * lines as conf_check makes them. ERR_NOMEM.
 */
MUST_CHECK enum err security_load(const struct conf *c, struct node *n,
				  struct tls **tls, struct buf *why);

/* Once a round: see to it that a first token is installed. Thread: core. */
void security_round(struct node *n);

/* ---------------------------------------------------------- figures.c ---- */

/* As httpd_options.metrics; ctx is the node. Any thread. */
MUST_CHECK enum err node_figures(void *ctx, struct buf *b);

/* ---------------------------------------------------------- threads.c ---- */

/* Start the core thread. False: no thread can be made. */
bool threads_start_core(struct node *n);

/* Start keeper and, with links, mover. False: no thread can be made. */
bool threads_start_workers(struct node *n);

/* Stop those that were started; core comes last. */
void threads_stop(struct node *n);

/* End core's sleep. Any thread; ctx is the node. */
void threads_wake_core(void *ctx);

/* ---------------------------------------------------------- cluster.c ---- */

/*
 * Read what the directory says, decide, and open the links. Waits up to two
 * seconds for a lock on the directory that a killed daemon has not let go of
 * yet. why: as node_start. Thread: main, before all others.
 */
enum node_exit cluster_begin(struct node *n, struct buf *why);

/*
 * One round of a node that waits. NODE_OK with *done: bring it up. Otherwise
 * an exit code, with why.
 */
enum node_exit cluster_wait(struct node *n, bool *done, struct buf *why);

/*
 * Can this member go on without its files, when it knows others to ask for a
 * new id?
 */
bool cluster_can_wait(const struct node *n);

/*
 * The engine's files are damaged, as below says: write that down and wait for
 * a new id instead of serving. why: as node_start. Thread: main.
 */
enum node_exit cluster_hurt(struct node *n, const struct buf *below,
			    struct buf *why);

/* Let go of the directory. Nothing if it is not held. */
void cluster_unlock(struct node *n);

/* How many: as said, else as the directory has them, else the default. */
uint32_t cluster_partitions(const struct node *n);

/* The engine directory is open: it is this node's for good. ERR_... */
MUST_CHECK enum err cluster_opened(struct node *n, struct buf *why);

/* Now and then while it serves. Thread: core. */
void cluster_round(struct node *n);

/* After all threads and the store. */
void cluster_end(struct node *n);

#endif
