/*
 * node/link.h - the links to the other nodes: base/net.h over sockets.
 *
 * Each node dials every peer and sends on the connection that it dialled; what
 * it accepted it only reads (and answers questions on). All sockets and the
 * wake of the core thread hang on one epoll, in which the core thread sleeps,
 * so that a message costs no hand-off between threads.
 *
 * Who is on the other end is settled by a greeting (node/link_wire.h): version,
 * cluster, node id, name; with a cluster secret both prove that they know it,
 * with TLS both show a certificate of the authority. Whoever is refused is told
 * why, both ends log it once, and the dialler comes back slowly. A stranger
 * can take no more than a small buffer, a few seconds and one of
 * LINKS_STRANGERS_MAX places.
 *
 * Thread: core, unless a function says otherwise. Callbacks run inside
 * links_wait; they may use the net, links_ask and links_answer.
 */
#ifndef NODE_LINK_H
#define NODE_LINK_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/net.h"
#include "base/seed.h"
#include "node/wake.h"

enum {
	LINKS_PEERS_MAX = 256,
	LINKS_ASKS_MAX = 256,
	LINKS_STRANGERS_MAX = 64, /* accepted, and not from a peer's end     */
	LINKS_SECRET_BYTES_MIN = 16,
	LINKS_SECRET_BYTES_MAX = 4096,
};

struct links;

/* What is known of a node id; store_standing and its like. */
enum links_standing { LINKS_MEMBER, LINKS_REMOVED, LINKS_UNKNOWN };

struct chan_tls;

struct links_options {
	const char *listen;  /* "host:port"; port 0: any free one             */
	const char *name;    /* of this node; outlives the links              */
	const char *address; /* where others reach this node; NULL: unknown  */
	struct clock *clock; /* a real one                                   */
	struct seed *seed;
	bool loopback_only; /* listen turns out to be another: ERR_PERMISSION */
	const char *tls_cert, *tls_key, *tls_ca; /* files; all or none       */
	struct bytes secret; /* copied; empty: none                          */
	uint64_t queue_bytes_max; /* to one peer; 0: 48 MiB                  */
	uint64_t silence_ms;	  /* a peer that acknowledges nothing for so
				     long is gone; 0: 10 s                   */
	/* A message; read during the call. An error ends links_wait with it. */
	enum err (*receive)(void *ctx, uint64_t from, struct bytes message);
	/* The link to a peer was made or broke. */
	void (*link)(void *ctx, uint64_t peer, bool up);
	/*
	 * Is node id a member? Asked for everyone who wants to send here. A
	 * member that is no peer yet (this node's member map is behind) gets a
	 * link back to where it says that it listens.
	 */
	enum links_standing (*standing)(void *ctx, uint64_t id);
	/* A member of this cluster says that this node was removed from it. */
	void (*removed)(void *ctx, const char *by);
	/* Append the answer to a question (node/formation.h). */
	enum err (*question)(void *ctx, struct bytes question,
			     struct buf *answer);
	void *ctx;
};

/*
 * Listen; until links_identify only questions are let in. why: on error a
 * sentence for the operator is appended. ERR_INVALID (an address, a file, a
 * secret too short), ERR_BUSY, ERR_PERMISSION, ERR_IO, ERR_NOMEM.
 */
MUST_CHECK enum err links_open(const struct links_options *o, struct links **l,
			       struct buf *why);

/*
 * Another identity for links that are made from now on, of those that were
 * opened with one; takes t over. Thread: core.
 */
void links_set_tls(struct links *l, struct chan_tls *t);

/* Close everything; no callback runs any more. NULL is accepted. */
void links_close(struct links *l);

/* The port that is listened on. Thread: any. */
uint16_t links_port(const struct links *l);

/* Who this node is: from now on links are made and let in. */
void links_identify(struct links *l, const uint8_t cluster_id[16], uint64_t id);

/* The seam that the store sends through. Valid until links_close. */
struct net *links_net(struct links *l);

/*
 * Ask whoever listens at address. answered is called once, in a later
 * links_wait (or in links_close with ERR_CLOSED): OK and the answer, or an
 * error and in `answer` text for people, why there is none. Views during the
 * call. ERR_FULL, ERR_NOMEM, ERR_INVALID: it will not be called.
 */
MUST_CHECK enum err
links_ask(struct links *l, const char *address, struct bytes question,
	  void (*answered)(void *ctx, enum err err, struct bytes answer),
	  void *ctx);

/* End the present or the next links_wait. Thread: any. */
void links_wake(struct links *l);

/*
 * Sleep until something happens, until links_wake, or for timeout_ms; hand
 * over what has arrived, a bounded share of it. *idle: nothing happened.
 * Errors: those of receive.
 */
MUST_CHECK enum err links_wait(struct links *l, uint64_t timeout_ms,
			       bool *idle);

struct links_stats {
	uint64_t messages_sent, bytes_sent, messages_received, bytes_received;
	uint64_t messages_dropped; /* ERR_FULL, ERR_CLOSED                   */
	uint64_t dials, accepts, refused, malformed;
	uint64_t accept_failures; /* no descriptor, no memory                */
};

/*
 * Counters since links_open, each right, not all of one instant.
 * Thread: any.
 */
void links_stats(struct links *l, struct links_stats *s);

#endif
