/*
 * httpd/server.h - inside httpd/: the server, its connections, its requests.
 *
 * A request lives from its request line to its last byte. It may outlive its
 * connection: a write that was answered with 504 is still the store's, so a
 * request counts its references, and whoever lets go last releases it.
 *
 * How a request waits without a thread:
 *
 *	loop's thread           store's thread        deadline thread
 *	wait = ARMED
 *	ask the store ........> completes
 *	suspend                 wait := DONE
 *	ARMED -> PARKED         was PARKED: resume    PARKED -> LATE: resume
 *	(DONE already: resume)
 *	... resumed: DONE or LATE decides the answer
 *
 * Whichever side comes second resumes the connection, exactly once. Where it
 * is not suspended but offered (loop.h), OFFERED stands for PARKED, and to
 * wake the loop for to resume; from OFFERED the loop may go on to PARKED.
 *
 * Lock order: httpd.lock, conn.lock, then libmicrohttpd's own.
 */
#ifndef HTTPD_SERVER_H
#define HTTPD_SERVER_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/seed.h"
#include "httpd/field.h"
#include "httpd/httpd.h"
#include "httpd/loop.h"
#include "httpd/monitor.h"
#include "httpd/stats.h"
#include "httpd/target.h"
#include "httpd/tls.h"
#include "store/store.h"

enum {
	/* JSON may spell a byte as six, base64 needs less. */
	JSON_BODY_BYTES_MAX = 6 * HTTPD_JSON_VALUE_BYTES_MAX + (64 << 10),
	LIST_LIMIT_DEFAULT = 1000,
	LIST_LIMIT_MAX = 10000,
	LIST_BYTES_MAX = 4 << 20,
	/* Bodies and answers held in memory, all requests together. */
	MEMORY_BYTES_MAX = 256 << 20,
	SLOW_BYTES_PER_S = 16 << 10, /* a body slower than this is cut       */
	HEARTBEAT_MS = 15000,
	WATCH_WAIT_DEFAULT_S = 60,
	WATCH_WAIT_MAX_S = 3600,
};

enum method {
	METHOD_GET,
	METHOD_HEAD,
	METHOD_PUT,
	METHOD_POST,
	METHOD_DELETE,
	METHOD_OTHER
};

/* What a connection is doing, for the deadline thread. */
enum stage {
	STAGE_IDLE,	 /* between requests                                  */
	STAGE_RECEIVING, /* a body comes in                                  */
	STAGE_RUNNING,	 /* headers come in, or it waits for the store       */
	STAGE_WATCHING,	 /* waits for a change of a key                      */
	STAGE_SENDING,
	STAGE_STREAMING,  /* server-sent events                               */
	STAGE_MONITORING, /* likewise: waits for the next figures            */
};

struct request;

struct conn {
	struct httpd *h;
	struct loop *loop;
	struct MHD_Connection *mhd;
	int fd;
	bool over_limit;
	bool secured;		  /* the TLS handshake is over               */
	gnutls_session_t session; /* libmicrohttpd's; NULL: plain            */
	struct tls *tls;	  /* that session uses it                    */
	_Atomic uint64_t deadline_ns;
	_Atomic int stage;	/* enum stage                                */
	_Atomic bool timed_out; /* the deadline thread gave up on it         */
	_Atomic bool gone;	/* the client has closed its side            */
	bool warned;		/* these three: the deadline thread's        */
	uint64_t cut_at_ns;	/* when it was first told to end             */
	uint64_t ended_at_ns;	/* its deadline when its end was first seen  */
	pthread_mutex_t lock;	/* guards req and every park                 */
	struct request *req;
	struct request *spare; /* memory for the next one                    */
	struct conn *prev, *next; /* guarded by httpd.lock                   */
};

/* How many lines of a kind the log takes; guarded by httpd.lock. */
struct trace_budget {
	uint64_t since_ns, said, silent;
};

struct httpd {
	struct httpd_options o; /* strings owned; listen is not kept         */
	char *first_address;
	bool is_secure;	 /* HTTPS, on every address                          */
	struct tls *tls; /* for new connections; guarded by lock             */
	_Atomic uint64_t max_value_bytes;
	_Atomic uint32_t max_connections;
	_Atomic bool wants_tokens, guards_host;
	_Atomic uint64_t access_version; /* of what httpd_set_access said    */
	struct trace_budget trace_refused, trace_failed;
	uint64_t swept_version; /* the deadline thread's            */
	char allow_origin[HTTPD_ORIGIN_BYTES_MAX]; /* guarded by lock        */
	_Atomic bool serving;  /* there is a store, and it may be asked      */
	const char *hold_code; /* guarded by lock, as is the next            */
	char hold_reason[1024];
	_Atomic bool stopping; /* no new requests                            */
	_Atomic bool closing;  /* no new parks; for good                      */
	_Atomic uint64_t memory_bytes;
	_Atomic uint32_t parked; /* wait, and nobody has woken them yet      */
	_Atomic uint64_t next_id;
	uint32_t id_salt;
	uint64_t start_ns;
	struct stats stats;
	struct loop *loops;
	uint32_t loop_count;
	struct monitor monitor;
	int listen_fds[HTTPD_LISTEN_MAX];
	uint16_t ports[HTTPD_LISTEN_MAX];
	uint32_t listen_count;
	pthread_mutex_t lock;
	pthread_cond_t tick;
	struct conn *conns;
	uint32_t conn_count;
	uint64_t sweep_count;
	pthread_t deadline_thread;
	bool has_deadline_thread, deadline_stop;
};

/* Where a request is with its own text. */
enum phase {
	PHASE_NEW,    /* the request line has been seen                      */
	PHASE_BODY,   /* headers taken, the body comes in                    */
	PHASE_RUN,    /* all here: being answered                            */
	PHASE_LINGER, /* answered too early: the rest is thrown away         */
};

enum wait {
	WAIT_NONE,
	WAIT_ARMED,
	WAIT_OFFERED,
	WAIT_PARKED,
	WAIT_DONE,
	WAIT_LATE
};

/* The header fields that matter, views into the connection's memory. */
struct fields {
	const char *content_type, *accept, *range, *if_range;
	const char *last_event_id;
	const char *authorization, *origin, *host, *fetch_site, *fetch_mode;
	bool wants_method; /* Access-Control-Request-Method                  */
	bool many_authorizations;
	struct field_tags if_match, if_none_match;
	uint64_t content_bytes;
	bool has_length, is_chunked, expects_continue;
};

/* An answer of the error kind. Texts are static. */
struct problem {
	unsigned status;
	const char *code, *message;
	const char *allow; /* 405 */
};

struct txn;

struct request {
	struct httpd *h;
	struct loop *loop;
	struct conn *conn;
	struct MHD_Connection *mhd;
	_Atomic int refs;
	_Atomic int wait; /* enum wait                                       */
	bool offered;	  /* counted in loop.offered                         */
	bool suspended;	  /* until the loop resumes it                       */
	bool queued;	  /* counted in loop.sending                         */
	uint64_t offered_at_ns;
	struct request *next_resumed; /* loop.resumed                        */
	enum phase phase;
	enum method method;
	uint64_t start_ns;
	uint64_t body_bytes; /* received so far                              */
	uint64_t memory_bytes; /* taken from httpd.memory_bytes              */
	unsigned status;
	bool late;  /* the answer did not wait: what the store owns is lost   */
	bool close; /* the connection ends with this answer                  */
	bool is_options, is_foreign; /* guard.h                              */
	bool has_hash;
	uint8_t token_hash[STORE_TOKEN_HASH_BYTES];
	const struct store_token *token; /* NULL: none that counts; auth.h   */
	uint64_t token_version; /* when it was looked up; 0: never           */
	const char *audit; /* the system path; static; NULL: a key           */
	bool is_change;	   /* of the cluster, or a backup: always logged     */
	bool unknown; /* the answer says "outcome":"unknown"                 */
	struct problem problem; /* to be told once the body is in            */
	/* Shown on the answer. */
	bool show_etag, show_rev;
	uint64_t rev, etag_rev;
	char content_range[32]; /* 416                                      */
	char id[HTTPD_REQUEST_ID_BYTES_MAX + 1];
	/* The request as parsed. */
	size_t raw_n, raw_room;
	const char *raw_at; /* where libmicrohttpd had it                    */
	struct bytes path;  /* decoded, after the first slash                */
	struct bytes key;
	struct target_query q;
	struct fields f;
	/* Take a piece of the body; NULL: it is thrown away. */
	enum MHD_Result (*take)(struct request *r, const void *p, size_t n);
	/* Called when the body is complete, then whenever a wait is over. */
	enum MHD_Result (*run)(struct request *r);
	struct buf body;
	struct bytes value; /* to be stored: in body or decoded              */
	struct buf decoded;
	size_t fed_bytes;  /* of value, into upload                           */
	struct buf stream; /* formatted and not yet sent                     */
	size_t stream_off;
	uint64_t heartbeat_ns; /* when the next comment line is due          */
	struct store_upload *upload;
	enum err upload_err;
	struct store_barrier barrier;
	enum err barrier_err;
	enum MHD_Result (*answer)(struct request *r); /* after the barrier    */
	struct store_write write;
	struct store_condition conditions[2];
	struct store_op op;
	struct store_result result;
	struct store_value *pinned;
	struct store_watch *watch;
	struct monitor_text *shown; /* monitor.h; stream_off is in it        */
	uint64_t shown_number;
	bool is_monitor; /* it has a place among the streams                 */
	uint64_t watch_deadline_ns;
	uint32_t attempts; /* of a write whose If-Match names several tags   */
	struct txn *txn;
	struct store_change *change;
	struct store_file_op *file_op;
	uint8_t raw[]; /* the target, decoded in place                       */
};

/* Now, on the monotonic clock. */
static inline uint64_t httpd_now(struct httpd *h)
{
	return clock_mono_ns(h->o.clock);
}

#endif
