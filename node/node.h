/*
 * node/node.h - one running node: engine, store, threads, HTTP.
 *
 * Owns the order of starting and stopping and every thread that is not
 * libmicrohttpd's. Threads: main starts, stops and reloads; the core thread
 * drives store_step and the links to other nodes and is the engine's writer;
 * the keeper drives engine_keep, the mover store_move. docs/architecture.md
 * has the picture.
 */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "node/wake.h"

/* What the process answers to its parent; cli: "Exit codes". */
enum node_exit {
	NODE_OK = 0,
	NODE_RUNTIME = 1,
	NODE_USAGE = 2,
	NODE_BUSY = 75, /* the data directory is in use */
	NODE_CONFIG = 78,
};

struct node;

/*
 * Start a node by a checked configuration, which outlives it. NODE_OK: it
 * serves, or it waits for its cluster and says so over HTTP (node_serves).
 * Otherwise a sentence for the operator is appended to why, everything is
 * released, and the result is NODE_BUSY, NODE_CONFIG or NODE_RUNTIME. trouble
 * is woken when the node fails later, or begins to serve.
 */
enum node_exit node_start(const struct conf *c, struct wake *trouble,
			  struct node **n, struct buf *why);

/*
 * Stop cleanly: hand leadership over (a few seconds at most), drain HTTP,
 * finish what the store has begun, sync, close. NULL is accepted.
 */
void node_stop(struct node *n);

/*
 * Take over those settings of c that a running node can, the certificates'
 * files too. ERR_INVALID: why gets lines as conf_check makes them, and nothing
 * was changed. ERR_NOMEM likewise. Thread: main.
 */
MUST_CHECK enum err node_reload(struct node *n, const struct conf *c,
				struct buf *why);

/*
 * Are the files that c names (certificates, keys) what they should be? As
 * node_reload.
 */
MUST_CHECK enum err node_check_files(const struct conf *c, struct buf *why);

/* True once the node can no longer go on (node_result says more): stop it. */
bool node_failed(const struct node *n);

/* With what the process ends, once node_failed; NODE_OK before. */
enum node_exit node_result(const struct node *n);

/* False: it waits for its cluster, or was removed from it. */
bool node_serves(const struct node *n);

/* Counts up while the core thread makes rounds; at least once in 2 s. */
uint64_t node_beat(const struct node *n);

/* Append the URLs that are served, space-separated. ERR_NOMEM. */
MUST_CHECK enum err node_urls(const struct node *n, struct buf *out);

#endif
