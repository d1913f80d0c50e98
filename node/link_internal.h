/*
 * node/link_internal.h - what the files of the links share.
 *
 *   link.c         table of peers, epoll, timers, the net
 *   link_conn.c    one connection: frames in, frames out, its end
 *   link_greet.c   who is on the other end
 *
 * A connection that ends is put aside (conn_end) and freed at the end of
 * links_wait: until then views into it and pointers to it stay valid.
 */
#ifndef NODE_LINK_INTERNAL_H
#define NODE_LINK_INTERNAL_H

#include <stdatomic.h>

#include "node/chan.h"
#include "node/link.h"
#include "node/link_wire.h"
#include "node/resolve.h"

enum {
	GREET_MS = 5000,   /* from the first packet to READY                 */
	CONNECT_MS = 2000, /* an address, while there are others to try     */
	ACCEPT_AGAIN_MS = 100, /* after there was no descriptor for one     */
	ASK_MS = 5000,	  /* a question and its answer                      */
	STALL_MS = 30000, /* half a frame and no more of it                 */
	LINGER_MS = 1000, /* so that a refusal gets there                   */
	BACKOFF_MIN_MS = 20,
	BACKOFF_MAX_MS = 2000,
	REFUSED_MS = 5000, /* until one who was refused comes back           */
	SAY_AGAIN_MS = 600000, /* the same refusal is logged again           */
	SAID_MAX = 64,
	READ_BYTES = 128 << 10, /* one read                                  */
	KEEP_BYTES = 1 << 20,	/* of a receive buffer that is empty         */
};

static const uint64_t ns_per_ms = 1000000;

enum conn_kind { CONN_DIALLED, CONN_ASKING, CONN_ACCEPTED };

enum conn_stage {
	CONN_RESOLVING, /* the name of the other end                        */
	CONN_CONNECTING,
	CONN_SECURING, /* TLS                                              */
	CONN_GREETING, /* dialled: for WELCOME; accepted: for HELLO        */
	CONN_PROVING,  /* dialled: for READY; accepted: for PROOF          */
	CONN_UP,
	CONN_LINGERING, /* refused; reads to nowhere until the end          */
	CONN_DEAD,
};

struct peer {
	uint64_t id;
	char address[NET_ADDRESS_BYTES_MAX];
	struct conn *out; /* dialled, in any stage; NULL: waits for retry_ns */
	struct conn *in;  /* accepted and up                                 */
	uint64_t retry_ns, backoff_ms;
	uint32_t turn; /* with which of its name's addresses a dial begins   */
	bool told_up, lost; /* what the store was told; and broke since      */
	uint64_t said_at_ns;
	char said[CHAN_WHY_BYTES]; /* the failure that was logged last       */
};

struct conn {
	struct conn *prev, *next;
	struct links *l;
	enum conn_kind kind;
	enum conn_stage stage;
	bool again;	/* has bytes that epoll will not tell of             */
	bool stranger;	/* accepted, and counted as not let in               */
	bool polls_out; /* epoll asks for output too                         */
	struct chan chan;
	struct buf in; /* received, from in_off on unread                   */
	size_t in_off;
	uint64_t deadline_ns; /* 0: none                                     */
	uint64_t token;
	char address[NET_ADDRESS_BYTES_MAX]; /* dialled, or where from       */
	struct resolved to; /* dialled: addresses that are still to be tried */
	struct link_hello hello; /* dialled: ours; accepted: theirs          */
	struct buf transcript;	 /* bodies of HELLO and WELCOME              */
	uint64_t peer_id;	 /* of the other end, once it is proved      */
	char peer_name[LINK_NAME_BYTES_MAX];
	bool proved; /* the other end has shown who it is                    */
	/* CONN_ASKING */
	struct buf question;
	void (*answered)(void *ctx, enum err err, struct bytes answer);
	void *ctx;
};

/* A refusal that was logged. */
struct said {
	uint64_t hash, at_ns;
};

struct links {
	struct net net;
	struct links_options o;
	struct buf secret;
	struct chan_tls *tls;
	struct resolver *resolver;
	struct wake wake;
	int epoll, listener;
	uint64_t accept_ns; /* not listening until then; 0: it is            */
	uint16_t port;
	bool identified;
	uint8_t cluster_id[16];
	uint64_t id;
	uint64_t now_ns;
	uint64_t timer_ns; /* nothing is due before it                       */
	uint64_t standing_ns; /* look again whether all are members          */
	uint64_t next_token;
	struct peer *peers;
	uint32_t peer_count;
	struct conn *conns, *dead;
	uint32_t stranger_count, ask_count;
	bool again; /* some conn has `again`                                 */
	bool changed; /* a link was made or broke                            */
	bool busy;    /* something happened in this links_wait               */
	enum err err; /* of receive                                          */
	struct buf scratch; /* of a frame that is put together               */
	struct said said[SAID_MAX];
	uint32_t said_next;
	struct links_counts {
		_Atomic uint64_t messages_sent, bytes_sent;
		_Atomic uint64_t messages_received, bytes_received;
		_Atomic uint64_t messages_dropped;
		_Atomic uint64_t dials, accepts, refused, malformed;
		_Atomic uint64_t accept_failures;
	} counts; /* written by core, read by any                            */
};

static inline void links_count(_Atomic uint64_t *counter, uint64_t n)
{
	uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);

	/* One thread writes: no need to lock the bus. */
	atomic_store_explicit(counter, old + n, memory_order_relaxed);
}

/* ------------------------------------------------------------- link.c ---- */

/* The peer with that id, or NULL. */
struct peer *peer_of(struct links *l, uint64_t id);

/* Something is due at ns. */
void links_timer(struct links *l, uint64_t ns);

/* True: what was said about it was not said lately; it is now. */
bool links_say(struct links *l, const char *whom, const char *what);

/* --------------------------------------------------------- link_conn.c --- */

/* A connection without a socket yet, in the list. NULL: no memory. */
struct conn *conn_new(struct links *l, enum conn_kind kind);

/* Give it fd, watch it. On error fd is closed and c has ended. */
void conn_attach(struct conn *c, int fd);

/*
 * Dial what a says, one address after the other until one answers. On failure
 * c has ended.
 */
void conn_dial(struct conn *c, const struct resolved *a);

/* End it now: its peer dials again later, its question is answered by why. */
void conn_end(struct conn *c, const char *why);

/* It was refused: as conn_end, and the peer comes back much later. */
void conn_end_refused(struct conn *c, const char *why);

/* Something happened on its socket (epoll's events), or it has `again`. */
void conn_event(struct conn *c, uint32_t events);

/* Its deadline has passed. */
void conn_overdue(struct conn *c);

/* Send one frame with this body. False: c has ended. */
bool conn_send(struct conn *c, enum link_kind kind, struct bytes body);

/* Ask epoll for output if there is any. */
void conn_poll(struct conn *c);

/* Free what has ended. */
void conns_bury(struct links *l);

/* -------------------------------------------------------- link_greet.c --- */

/* The stream stands: a dialler says HELLO. */
void greet_begin(struct conn *c);

/* A frame before CONN_UP. */
void greet_frame(struct conn *c, enum link_kind kind, struct bytes body);

/* Tell the other end why, log it, and let go of c. */
void greet_refuse(struct conn *c, enum link_refusal code, const char *why);

#endif
