/*
 * ctl/http.h - one HTTP exchange with a node of the cluster.
 *
 * The endpoints are tried in turn, and again for a while, as long as nothing
 * can have happened: no connection, or 503, which by contract means that
 * nothing was done. A request whose outcome is not known (the connection broke,
 * 504, no answer in time) is sent again only if that is harmless: it reads, or
 * may_repeat says that doing it twice is as doing it once.
 *
 * Thread: main. Connections are kept from one exchange to the next.
 */
#ifndef CTL_HTTP_H
#define CTL_HTTP_H

#include <json-c/json.h>
#include <stdio.h>

#include "ctl/ctl.h"

enum {
	HTTP_HEADERS_MAX = 8,
	HTTP_BODY_BYTES_MAX = 256 << 20, /* of an answer held in memory      */
	HTTP_TEXT_BYTES_MAX = 192,
};

struct http_request {
	const char *method;
	const char *path; /* "/_/kv/a%20b?raw", escaped                      */
	const char *header[HTTP_HEADERS_MAX]; /* "Name: value"               */
	int header_count;
	struct bytes body; /* of a PUT or POST; or                           */
	FILE *body_file;   /* read to its end; sent once, never again        */
	bool endless;	   /* an answer that goes on: no timeout             */
	bool quiet;	   /* say nothing when it fails                      */
	bool may_repeat;   /* twice is as once; GET and HEAD may anyway      */
	/*
	 * Takes the body of a 2xx answer piece by piece; false ends the
	 * exchange. NULL: it is held in the answer.
	 */
	bool (*sink)(void *ctx, struct bytes piece);
	void *sink_ctx;
};

struct http_answer {
	long status; /* 0: none came */
	struct buf body;
	bool sink_ended; /* sink said false */
	bool repeated;	 /* an earlier try may have taken effect already     */
	uint64_t content_length;
	char etag[HTTP_TEXT_BYTES_MAX]; /* without quotes; empty: none       */
	char revision[HTTP_TEXT_BYTES_MAX];
	char ttl[HTTP_TEXT_BYTES_MAX];
	char modified[HTTP_TEXT_BYTES_MAX];
	char request_id[HTTP_TEXT_BYTES_MAX];
};

/*
 * Make the exchange, in at most c->timeout_ms. CTL_OK: an answer came whole,
 * whatever its status; release it with http_answer_done. Otherwise it has been
 * said why.
 */
enum ctl_exit http_call(const struct ctl *c, const struct http_request *r,
			struct http_answer *a);

/*
 * The object that GET path answers, or NULL, and nothing is said: for what is
 * good to know but can be done without. Released by the caller.
 */
struct json_object *http_peek(const struct ctl *c, const char *path);

/* The same; status is that of the answer, 0 if there was none. */
struct json_object *http_peek_status(const struct ctl *c, const char *path,
				     long *status);

/* Release what a holds. */
void http_answer_done(struct http_answer *a);

/*
 * CTL_OK for 2xx. Otherwise the server's message and request id are said, and
 * the result is CTL_NOT_FOUND for 404 or CTL_RUNTIME.
 */
enum ctl_exit http_judge(const struct http_answer *a);

#endif
