/*
 * httpd/reply.c - putting an answer on its way.
 *
 * libmicrohttpd takes an answer before a body has begun (and then closes the
 * connection) or after it has ended, never in between. A refusal that comes
 * in between is written straight to the socket; then the sending side is shut
 * and what still arrives is thrown away for a while, because closing with
 * unread bytes would reset the connection and the client would never see why.
 */
#include "httpd/reply.h"

#include <stdio.h>
#include <stdlib.h>

#include "httpd/guard.h"
#include "httpd/json.h"
#include "httpd/request.h"
#include "httpd/secure.h"
#include "httpd/trace.h"

enum { SWALLOW_BYTES_MAX = 64 << 10, LINGER_MS = 10000 };

void reply_header(struct MHD_Response **resp, const char *name,
		  const char *value)
{
	if (!*resp || MHD_add_response_header(*resp, name, value) == MHD_YES)
		return;
	MHD_destroy_response(*resp);
	*resp = NULL;
}

/* Decimal to text, for headers on the hot path. */
static char *put_decimal(char *end, uint64_t v)
{
	do
		*--end = (char)('0' + v % 10);
	while (v /= 10);
	return end;
}

enum MHD_Result reply_send(struct request *r, unsigned status,
			   struct MHD_Response *resp, uint64_t bytes)
{
	enum MHD_Result result;
	char text[32], *p;

	if (r->show_rev) {
		text[31] = 0;
		p = put_decimal(text + 31, r->rev);
		reply_header(&resp, "X-Raftcask-Revision", p);
	}
	if (r->show_etag) {
		text[31] = 0;
		text[30] = '"';
		p = put_decimal(text + 30, r->etag_rev);
		*--p = '"';
		reply_header(&resp, "ETag", p);
	}
	reply_header(&resp, "X-Request-Id", r->id);
	guard_headers(r, &resp);
	if (r->close ||
	    atomic_load_explicit(&r->h->stopping, memory_order_relaxed))
		reply_header(&resp, "Connection", "close");
	if (!resp)
		return MHD_NO;
	r->status = status;
	stats_add(&r->h->stats.bytes_written, bytes);
	request_stage(r, STAGE_SENDING, request_transfer_ns(r, bytes));
	result = MHD_queue_response(r->mhd, status, resp);
	MHD_destroy_response(resp);
	if (result == MHD_YES) {
		r->queued = true;
		r->loop->sending++;
		r->loop->progress = true;
	}
	return result;
}

enum MHD_Result reply_json(struct request *r, unsigned status, struct buf *b)
{
	size_t n = b->n;
	struct MHD_Response *resp;

	resp = MHD_create_response_from_buffer(n, b->p, MHD_RESPMEM_MUST_FREE);
	if (resp)
		*b = BUF_INIT;
	reply_header(&resp, "Content-Type", "application/json");
	return reply_send(r, status, resp, n);
}

enum MHD_Result reply_text(struct request *r, unsigned status, const char *json)
{
	size_t n = strlen(json);
	struct MHD_Response *resp;

	resp = MHD_create_response_from_buffer(n, (void *)json,
					       MHD_RESPMEM_PERSISTENT);
	reply_header(&resp, "Content-Type", "application/json");
	return reply_send(r, status, resp, n);
}

enum MHD_Result reply_empty(struct request *r, unsigned status)
{
	return reply_send(r, status,
			  MHD_create_response_from_buffer(
				  0, NULL, MHD_RESPMEM_PERSISTENT),
			  0);
}

/* Request ids may hold quotes; codes and messages are our own. */
static enum err add_problem(const struct request *r, struct buf *b)
{
	enum err err;

	err = buf_addf(b,
		       "{\"success\":false,%s\"error\":{\"code\":\"%s\","
		       "\"message\":\"%s\",\"request_id\":",
		       r->unknown ? "\"outcome\":\"unknown\"," : "",
		       r->problem.code, r->problem.message);
	if (!err)
		err = json_add_string(b, bytes_str(r->id));
	if (!err)
		err = buf_add(b, "}}", 2);
	return err;
}

static bool is_retryable(unsigned status)
{
	return status == 429 || status == 503;
}

static enum MHD_Result reply_refusal(struct request *r)
{
	struct buf b = BUF_INIT;
	struct MHD_Response *resp;
	size_t n;

	if (add_problem(r, &b)) {
		buf_done(&b);
		return MHD_NO;
	}
	n = b.n;
	resp = MHD_create_response_from_buffer(n, b.p, MHD_RESPMEM_MUST_FREE);
	if (!resp)
		buf_done(&b);
	reply_header(&resp, "Content-Type", "application/json");
	if (is_retryable(r->problem.status))
		reply_header(&resp, "Retry-After", "1");
	if (r->problem.status == 401)
		reply_header(&resp, "WWW-Authenticate", "Bearer");
	if (r->problem.status == 416)
		reply_header(&resp, "Content-Range", r->content_range);
	if (r->problem.allow)
		reply_header(&resp, "Allow", r->problem.allow);
	return reply_send(r, r->problem.status, resp, n);
}

void reply_past_body(struct request *r)
{
	struct buf body = BUF_INIT, b = BUF_INIT;
	enum err err;
	ssize_t sent;

	err = add_problem(r, &body);
	if (!err)
		err = buf_addf(
			&b,
			"HTTP/1.1 %u %s\r\nContent-Type: "
			"application/json\r\nContent-Length: %zu\r\n"
			"Connection: close\r\nX-Request-Id: %s\r\n%s%s\r\n",
			r->problem.status, error_reason(r->problem.status),
			body.n, r->id,
			is_retryable(r->problem.status) ? "Retry-After: 1\r\n"
							: "",
			r->problem.status == 401
				? "WWW-Authenticate: Bearer\r\n"
				: "");
	if (!err)
		err = buf_add(&b, body.p, body.n);
	if (!err) {
		/* A client that has no room for this gets only the close. */
		sent = secure_send(r->conn, b.p, b.n);
		(void)sent;
		r->status = r->problem.status;
	}
	buf_done(&body);
	buf_done(&b);
}

/* How much of the body is still to come; UINT64_MAX: nobody knows. */
static uint64_t body_left(const struct request *r)
{
	if (r->f.is_chunked)
		return UINT64_MAX;
	return r->f.content_bytes - r->body_bytes;
}

static enum MHD_Result refuse_early(struct request *r)
{
	uint64_t left = body_left(r);

	r->take = NULL;
	/* Said at once: the body never comes, or nobody knows where it ends. */
	if (r->phase == PHASE_NEW &&
	    (r->close || (r->f.expects_continue && left)))
		return reply_refusal(r);
	if (left <= SWALLOW_BYTES_MAX) {
		r->run = reply_refusal;
		return MHD_YES;
	}
	reply_past_body(r);
	secure_end_sending(r->conn);
	r->phase = PHASE_LINGER;
	request_stage(r, STAGE_SENDING, LINGER_MS * 1000000ull);
	return MHD_YES;
}

static enum MHD_Result tell(struct request *r, struct problem problem)
{
	r->problem = problem;
	trace_problem(r);
	if (r->phase == PHASE_RUN)
		return reply_refusal(r);
	return refuse_early(r);
}

enum MHD_Result reply_problem(struct request *r, unsigned status,
			      const char *code, const char *message)
{
	return tell(r, (struct problem){ status, code, message, NULL });
}

enum MHD_Result reply_error(struct request *r, enum err err)
{
	r->unknown = err == ERR_UNKNOWN;
	return tell(r, error_problem(err));
}

enum MHD_Result reply_not_allowed(struct request *r, const char *allow)
{
	return tell(r, (struct problem){ 405, "method_not_allowed",
					 "this method is not for this path",
					 allow });
}
