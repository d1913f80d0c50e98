/*
 * httpd/file.c - what the mount can do and HTTP offers too.
 *
 *	POST /KEY?append     raw bytes            {"success":true,"rev":7,"size":9}
 *	POST /_/rename       {"from":"a","to":"b","noreplace":true}
 *
 * Both are decided where the log is appended: two appends never lie over each
 * other, and a directory moves whole or not at all.
 */
#include <json-c/json.h>
#include <stdlib.h>

#include "httpd/auth.h"
#include "httpd/handlers.h"
#include "httpd/json.h"
#include "httpd/reply.h"
#include "httpd/request.h"
#include "store/file.h"

/* Thread: the store's. */
static void file_done(struct store_file_op *op)
{
	request_done(op->user);
}

/* Of a directory everything below has the same beginning. */
static bool may(struct request *r)
{
	return auth_allows(r, STORE_RIGHT_WRITE, r->file_op->path) &&
	       auth_allows(r, STORE_RIGHT_WRITE,
			   r->file_op->kind == STORE_FILE_RENAME
				   ? r->file_op->path2
				   : r->file_op->path);
}

static enum MHD_Result submit(struct request *r,
			      enum MHD_Result (*over)(struct request *r))
{
	enum err err;

	if (!may(r))
		return auth_refuse(r);
	stats_add(&r->h->stats.cmd_set, 1);
	r->file_op->may_hold = true;
	r->file_op->done = file_done;
	r->file_op->user = r;
	request_arm(r);
	err = store_file_change(r->h->o.store, r->file_op);
	if (err) {
		request_disarm(r);
		return reply_error(r, err);
	}
	return request_park(r, STAGE_RUNNING, request_commit_timeout_ns(r),
			    over);
}

/* The operation, empty, or NULL: answered. */
static struct store_file_op *new_op(struct request *r,
				    enum store_file_kind kind)
{
	r->file_op = calloc(1, sizeof(*r->file_op));
	if (r->file_op)
		r->file_op->kind = kind;
	return r->file_op;
}

static enum MHD_Result answer_done(struct request *r, bool with_size)
{
	const struct store_file_op *op = r->file_op;
	struct buf b = BUF_INIT;
	enum err err;

	err = buf_addf(&b, "{\"success\":true,\"rev\":%lu", op->revision);
	if (!err && with_size)
		err = buf_addf(&b, ",\"size\":%lu", op->bytes);
	if (!err)
		err = buf_addf(&b, "}");
	if (err) {
		buf_done(&b);
		return reply_error(r, ERR_UNKNOWN);
	}
	return reply_json(r, 200, &b);
}

/* ---------------------------------------------------------------- append - */

static enum MHD_Result append_over(struct request *r)
{
	const struct store_file_op *op = r->file_op;

	if (!request_woken(r))
		return reply_error(r, ERR_UNKNOWN);
	r->show_rev = op->revision != 0;
	r->rev = op->revision;
	if (op->err)
		return reply_error(r, op->err);
	r->show_etag = true;
	r->etag_rev = op->revision;
	return answer_done(r, true);
}

static enum MHD_Result append_run(struct request *r)
{
	struct store_file_op *op = new_op(r, STORE_FILE_WRITE);

	if (!op)
		return reply_error(r, ERR_NOMEM);
	op->flags = STORE_FILE_APPEND | STORE_FILE_MAKE;
	op->path = r->key;
	op->data = buf_bytes(&r->body);
	return submit(r, append_over);
}

static enum MHD_Result too_much(struct request *r)
{
	return reply_problem(r, 413, "value_too_large",
			     "at most 1 MiB can be appended at a time");
}

static enum MHD_Result take_append(struct request *r, const void *p, size_t n)
{
	if (r->body.n + n > STORE_FILE_WRITE_BYTES_MAX)
		return too_much(r);
	return body_take_json(r, p, n);
}

enum MHD_Result append_begin(struct request *r)
{
	if (r->method != METHOD_POST)
		return reply_problem(r, 400, "bad_request",
				     "append is for POST");
	if (r->f.if_match.given || r->f.if_none_match.given || r->q.ttl_ns)
		return reply_problem(r, 400, "bad_request",
				     "append takes neither conditions nor ttl");
	if (!r->f.has_length && !r->f.is_chunked)
		return reply_problem(r, 411, "length_required",
				     "a body needs Content-Length or chunked "
				     "encoding");
	if (r->f.content_bytes > STORE_FILE_WRITE_BYTES_MAX)
		return too_much(r);
	r->take = take_append;
	r->run = append_run;
	return MHD_YES;
}

/* ---------------------------------------------------------------- rename - */

static enum MHD_Result rename_over(struct request *r)
{
	const struct store_file_op *op = r->file_op;

	if (!request_woken(r))
		return reply_error(r, ERR_UNKNOWN);
	r->show_rev = op->revision != 0;
	r->rev = op->revision;
	switch (op->err) {
	case OK:
		return answer_done(r, false);
	case ERR_INVALID:
		return reply_problem(r, 400, "bad_request",
				     "a directory cannot go into itself");
	case ERR_TOO_LARGE:
		return reply_problem(r, 413, "directory_too_large",
				     "more below it than one rename moves");
	default:
		return reply_error(r, op->err);
	}
}

/* The path called name, as it is or in base64; at the end of r->decoded. */
static enum err take_path(struct request *r, struct json_object *o,
			  const char *name)
{
	struct json_object *value, *how;
	struct bytes text;

	if (!json_object_object_get_ex(o, name, &value) ||
	    !json_object_is_type(value, json_type_string))
		return ERR_INVALID;
	text = bytes_of(json_object_get_string(value),
			(size_t)json_object_get_string_len(value));
	if (!json_object_object_get_ex(o, "encoding", &how))
		return buf_add(&r->decoded, text.p, text.n);
	if (!json_object_is_type(how, json_type_string) ||
	    strcmp(json_object_get_string(how), "base64") != 0)
		return ERR_INVALID;
	return json_decode_base64(text, &r->decoded);
}

static bool is_known(const char *name)
{
	static const char *const names[] = { "from", "to", "noreplace",
					     "encoding" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static enum err take_members(struct request *r, struct json_object *o,
			     struct store_file_op *op)
{
	struct json_object *v;
	size_t from_bytes;
	enum err err;

	if (!json_object_is_type(o, json_type_object))
		return ERR_INVALID;
	json_object_object_foreach(o, name, member)
	{
		(void)member;
		if (!is_known(name))
			return ERR_INVALID;
	}
	err = take_path(r, o, "from");
	from_bytes = r->decoded.n;
	if (!err)
		err = take_path(r, o, "to");
	if (err)
		return err;
	op->path = bytes_of(r->decoded.p, from_bytes);
	op->path2 =
		bytes_of(r->decoded.p + from_bytes, r->decoded.n - from_bytes);
	if (!json_object_object_get_ex(o, "noreplace", &v))
		return OK;
	if (json_object_get_boolean(v))
		op->flags |= STORE_FILE_NOREPLACE;
	return json_object_is_type(v, json_type_boolean) ? OK : ERR_INVALID;
}

static enum MHD_Result rename_run(struct request *r)
{
	struct store_file_op *op = new_op(r, STORE_FILE_RENAME);
	struct json_object *tree = NULL;
	enum err err = op ? json_parse(buf_bytes(&r->body), &tree) : ERR_NOMEM;

	if (!err)
		err = take_members(r, tree, op);
	json_object_put(tree);
	if (err == ERR_INVALID)
		return reply_problem(r, 400, "bad_request",
				     "the body is {\\\"from\\\":KEY,"
				     "\\\"to\\\":KEY}, perhaps with "
				     "\\\"noreplace\\\":true");
	return err ? reply_error(r, err) : submit(r, rename_over);
}

enum MHD_Result rename_begin(struct request *r)
{
	r->run = rename_run;
	return body_expect_json(r);
}
