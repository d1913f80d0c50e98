/*
 * httpd/httpd.h - the HTTP front end: store/store.h spoken over sockets.
 *
 * Owns the listening sockets, the connections and the requests on them. Knows
 * nothing of consensus or files: everything it answers comes from the store.
 * What it answers is described in docs/http.md.
 *
 * Threads: httpd_start makes a few (they drive libmicrohttpd, and one watches
 * deadlines); no thread is ever parked for a request: a connection waits for
 * the store's completion.
 */
#ifndef HTTPD_HTTPD_H
#define HTTPD_HTTPD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "store/store.h"

enum {
	HTTPD_JSON_VALUE_BYTES_MAX = 1 << 20, /* larger ones go raw          */
	HTTPD_REQUEST_ID_BYTES_MAX = 128,
	HTTPD_LISTEN_MAX = 16,
	HTTPD_ORIGIN_BYTES_MAX = 256,
};

struct diary;
struct httpd;
struct tls;

/* Who may ask. */
struct httpd_access {
	bool tokens;		  /* clients show one (store/token.h)        */
	bool guard_host;	  /* refuse names of others on loopback      */
	const char *allow_origin; /* pages of it may call; "": none but this
				     node's own; "*": all; copied            */
};

struct httpd_options {
	const char *const *listen; /* "host:port", "[v6]:port", ":port"; port
				      0: any free one, see httpd_port        */
	uint32_t listen_count;	   /* 1..HTTPD_LISTEN_MAX                    */
	uint64_t max_value_bytes;
	uint32_t max_connections; /* over it: 503; 0: 4096                  */
	uint32_t threads;	  /* each serves all addresses; 0: by
				     processors                              */
	uint64_t request_timeout_ms; /* to receive or send; 0: 30 s, more for
					what is large and keeps moving       */
	uint64_t commit_timeout_ms;  /* a write or read barrier; 0: 10 s     */
	uint64_t idle_timeout_ms;    /* between requests; 0: 60 s            */
	uint64_t drain_timeout_ms;   /* of httpd_stop; 0: 5 s                */
	struct store *store; /* outlives the httpd; NULL: httpd_attach brings
				one later                                */
	struct clock *clock; /* a real one: threads sleep by it      */
	uint64_t seed;	     /* makes request ids differ by start    */
	const char *node_name, *cluster_id, *version; /* text, copied        */
	uint64_t node_id;
	struct httpd_access access;
	/*
	 * Append more families to /_/metrics, in Prometheus' text format; may
	 * be NULL. Thread: any.
	 */
	enum err (*metrics)(void *ctx, struct buf *b);
	void *metrics_ctx;
	bool loopback_only;  /* an address that turns out to be another is
			       ERR_PERMISSION                                */
	struct diary *diary; /* shown on the monitor page; outlives the httpd;
				NULL: none                               */
	struct tls *tls;     /* HTTPS with it on every address; NULL: HTTP. The
			    server takes a reference of its own             */
};

/*
 * Listen on every address and serve. why: on error a sentence for the
 * operator is appended.
 * ERR_INVALID (an address), ERR_BUSY (in use), ERR_PERMISSION (also:
 * loopback_only), ERR_IO,
 * ERR_NOMEM: nothing is left listening.
 */
MUST_CHECK enum err httpd_start(const struct httpd_options *o, struct httpd **h,
				struct buf *why);

/*
 * Stop accepting, end every watch, let what is under way finish for at most
 * drain_timeout_ms, answer the rest (503, or 504 where a write's outcome is
 * open), then stop. The store must go on stepping meanwhile, on another
 * thread. Afterwards the store may still complete writes that were answered
 * with 504: their memory is released then, at the latest by store_free.
 * NULL is accepted.
 */
void httpd_stop(struct httpd *h);

/*
 * The store is there, or is again: from now on requests go to it. What has to
 * be known of the node by then is told here; the text is copied. ERR_NOMEM:
 * nothing changed. Thread: any, but one at a time.
 */
MUST_CHECK enum err httpd_attach(struct httpd *h, struct store *store,
				 const char *cluster_id, uint64_t node_id);

/*
 * Serve nothing (more): /_/health answers 200, /_/ready 503 with code (which
 * lives for ever) and reason (copied; not shown where tokens are asked for),
 * everything else 503 `starting`. What is under way goes on: the store must
 * live. Without a store that is so from the start. Thread: any.
 */
void httpd_hold(struct httpd *h, const char *code, const char *reason);

/* The port that address i of the options is bound to. */
uint16_t httpd_port(const struct httpd *h, uint32_t i);

/* Do all addresses take connections of this machine only? */
bool httpd_is_on_loopback(const struct httpd *h);

/* New limits from a reloaded configuration; for what comes. Thread: any. */
void httpd_set_limits(struct httpd *h, uint64_t max_value_bytes,
		      uint32_t max_connections);

/*
 * Another rule for who may ask, from now on and for who waits. Thread: any.
 */
void httpd_set_access(struct httpd *h, const struct httpd_access *access);

/*
 * Another certificate for connections that come from now on; those that are
 * there go on with theirs. Only of a server that was started with one; takes
 * a reference of its own. Thread: any.
 */
void httpd_set_tls(struct httpd *h, struct tls *tls);

#endif
