/*
 * httpd/reply.h - answers: the common headers, errors, refusals.
 *
 * Thread: the connection's, for all of it.
 */
#ifndef HTTPD_REPLY_H
#define HTTPD_REPLY_H

#include "httpd/server.h"

/*
 * Queue resp (may be NULL: out of memory) with the headers every answer has,
 * and let go of it. bytes: of its body, for the deadline; a stream says 0.
 */
enum MHD_Result reply_send(struct request *r, unsigned status,
			   struct MHD_Response *resp, uint64_t bytes);

/* Add a header; a failure shows as NULL, which reply_send understands. */
void reply_header(struct MHD_Response **resp, const char *name,
		  const char *value);

/* JSON text in b, whose memory is taken over (b is empty afterwards). */
enum MHD_Result reply_json(struct request *r, unsigned status, struct buf *b);

/* Static JSON text. */
enum MHD_Result reply_text(struct request *r, unsigned status,
			   const char *json);

/* No body: 201, 204, 304. */
enum MHD_Result reply_empty(struct request *r, unsigned status);

/*
 * Answer with an error. Before the body is complete the rest of it is thrown
 * away first if that is little; else the answer goes out at once and the
 * connection is closed behind it. Returns what the access handler returns.
 */
enum MHD_Result reply_problem(struct request *r, unsigned status,
			      const char *code, const char *message);

/* The same for an error of the store; see error.c for the translation. */
enum MHD_Result reply_error(struct request *r, enum err err);

/* 405 with Allow. */
enum MHD_Result reply_not_allowed(struct request *r, const char *allow);

/*
 * Write the answer to r->problem straight to the socket, past libmicrohttpd,
 * which cannot answer in the middle of a body; the connection must end then.
 */
void reply_past_body(struct request *r);

/* The one translation of the tree's errors to HTTP. */
struct problem error_problem(enum err err);

/* The words after the status code, such as "Not Found". */
const char *error_reason(unsigned status);

#endif
