/*
 * httpd/body.c - bodies that come in, and values on their way to the store.
 *
 * A JSON body is collected whole (it is limited). A raw body stays in memory
 * up to what the store keeps inline; beyond that it flows into an upload,
 * and the connection is suspended whenever the store has enough for now: a
 * client can send no faster than the disk writes.
 */
#include "httpd/handlers.h"
#include "httpd/reply.h"
#include "httpd/request.h"

enum { COUNT_FROM_BYTES = 16 << 10 }; /* smaller bodies are not budgeted */

static enum err keep(struct request *r, const void *p, size_t n)
{
	enum err err;

	if (r->body.n + n > COUNT_FROM_BYTES) {
		err = request_take_memory(r, n);
		if (err)
			return err;
	}
	return buf_add(&r->body, p, n);
}

enum MHD_Result body_take_json(struct request *r, const void *p, size_t n)
{
	enum err err;

	if (r->body.n + n > JSON_BODY_BYTES_MAX)
		return reply_problem(r, 413, "value_too_large",
				     "a JSON body this large: PUT the value "
				     "raw instead");
	err = keep(r, p, n);
	return err ? reply_error(r, err) : MHD_YES;
}

enum MHD_Result body_expect_json(struct request *r)
{
	if (!r->f.has_length && !r->f.is_chunked)
		return reply_problem(r, 411, "length_required",
				     "a body needs Content-Length or chunked "
				     "encoding");
	r->take = body_take_json;
	return MHD_YES;
}

/* Thread: the store's. */
static void piece_done(void *user, enum err err)
{
	struct request *r = user;

	r->upload_err = err;
	request_done(r);
}

/*
 * Add to the upload. ERR_PENDING: taken; the request has been armed and the
 * caller must suspend it.
 */
static enum err feed(struct request *r, const void *p, size_t n)
{
	enum err err;

	request_arm(r);
	err = store_upload_add(r->upload, p, n);
	if (err != ERR_PENDING)
		request_disarm(r);
	return err;
}

static enum err open_upload(struct request *r)
{
	return store_upload_open(r->h->o.store, r->key, piece_done, r,
				 &r->upload);
}

static enum MHD_Result too_large(struct request *r)
{
	return reply_problem(r, 413, "value_too_large",
			     "the value is over max_value_size");
}

enum MHD_Result body_take_raw(struct request *r, const void *p, size_t n)
{
	enum err err;

	if (r->body_bytes >
	    atomic_load_explicit(&r->h->max_value_bytes, memory_order_relaxed))
		return too_large(r);
	if (!r->upload) {
		err = keep(r, p, n);
		if (err)
			return reply_error(r, err);
		if (r->body.n <= STORE_INLINE_BYTES_MAX)
			return MHD_YES;
		err = open_upload(r);
		if (err)
			return reply_error(r, err);
		p = r->body.p;
		n = r->body.n;
	}
	err = feed(r, p, n);
	if (err == ERR_PENDING) {
		request_suspend(r, STAGE_RUNNING, request_commit_timeout_ns(r));
		return MHD_YES;
	}
	if (err == ERR_TOO_LARGE)
		return too_large(r);
	return err ? reply_error(r, err) : MHD_YES;
}

enum err body_resumed(struct request *r)
{
	if (!request_woken(r))
		return ERR_NO_LEADER; /* staged bytes alone change nothing */
	return r->upload_err == ERR_UNKNOWN ? ERR_NO_LEADER : r->upload_err;
}

static enum MHD_Result stage_more(struct request *r);

static enum MHD_Result stage_resumed(struct request *r)
{
	enum err err = body_resumed(r);

	return err ? reply_error(r, err) : stage_more(r);
}

static enum MHD_Result stage_more(struct request *r)
{
	enum err err;

	while (r->fed_bytes < r->value.n) {
		size_t n = r->value.n - r->fed_bytes;

		if (n > STORE_CHUNK_BYTES)
			n = STORE_CHUNK_BYTES;
		err = feed(r, r->value.p + r->fed_bytes, n);
		if (err && err != ERR_PENDING)
			return reply_error(r, err);
		r->fed_bytes += n;
		if (err == ERR_PENDING)
			return request_park(r, STAGE_RUNNING,
					    request_commit_timeout_ns(r),
					    stage_resumed);
	}
	return r->answer(r);
}

enum MHD_Result body_stage_value(struct request *r,
				 enum MHD_Result (*run)(struct request *r))
{
	enum err err = open_upload(r);

	if (err)
		return reply_error(r, err);
	r->answer = run;
	return stage_more(r);
}
