/*
 * node/node.h - one running node: engine, store, threads, HTTP.
 *
 * Owns the order of starting and stopping and every thread that is not
 * libmicrohttpd's. Threads: main starts, stops and reloads; the core thread
 * drives store_step and is the engine's writer; the keeper thread drives
 * engine_keep. docs/architecture.md has the picture.
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
 * Start a node by a checked configuration, which is only read during the
 * call. It serves when this returns NODE_OK. Otherwise a sentence for the
 * operator is appended to why, everything is released, and the result is
 * NODE_BUSY or NODE_RUNTIME. trouble is woken if the node fails later.
 */
enum node_exit node_start(const struct conf *c, struct wake *trouble,
			  struct node **n, struct buf *why);

/*
 * Stop cleanly: drain HTTP, finish what the store has begun, sync, close.
 * NULL is accepted.
 */
void node_stop(struct node *n);

/* Take over those settings of c that a running node can. */
void node_reload(struct node *n, const struct conf *c);

/* True once the node can no longer serve (the log failed): stop it. */
bool node_failed(const struct node *n);

/* Counts up while the core thread makes rounds; at least once in 2 s. */
uint64_t node_beat(const struct node *n);

/* Append the URLs that are served, space-separated. ERR_NOMEM. */
MUST_CHECK enum err node_urls(const struct node *n, struct buf *out);

#endif
