/*
 * httpd/key.c - one key: read, write, delete, under conditions.
 *
 * Everything that can be refused from the headers alone is refused before a
 * byte of the body is taken. Conditions go to the store with the write: they
 * are decided where the log is appended, never here.
 */
#include <json-c/json.h>
#include <strings.h>

#include "httpd/auth.h"
#include "httpd/handlers.h"
#include "httpd/json.h"
#include "httpd/reply.h"
#include "httpd/request.h"

enum { ATTEMPTS_MAX = 8 };

static bool is_json(const char *content_type)
{
	static const char name[] = "application/json";
	const char *rest;

	if (strncasecmp(content_type, name, sizeof(name) - 1) != 0)
		return false;
	rest = content_type + sizeof(name) - 1;
	return !*rest || *rest == ';' || *rest == ' ' || *rest == '\t';
}

/*
 * If-Match as one condition of the store. Of several tags the one that the
 * key has now is asked for; key_written tries again should another of them
 * have come true meanwhile.
 */
static uint64_t wanted_rev(struct request *r)
{
	const struct field_tags *t = &r->f.if_match;
	struct store_info info;

	if (store_stat(r->h->o.store, r->key, &info) == OK &&
	    field_tags_have(t, info.rev, true))
		return info.rev;
	for (uint32_t i = 0; i < t->count; i++)
		if (!(t->weak >> i & 1))
			return t->revs[i];
	return UINT64_MAX; /* weak tags only: no revision matches */
}

static uint32_t set_conditions(struct request *r)
{
	uint32_t n = 0;

	if (r->f.if_match.given && r->f.if_match.any)
		r->conditions[n++] =
			(struct store_condition){ .kind = STORE_IF_EXISTS,
						  .key = r->key };
	else if (r->f.if_match.given)
		r->conditions[n++] =
			(struct store_condition){ .kind = STORE_IF_REV,
						  .key = r->key,
						  .rev = wanted_rev(r) };
	if (r->f.if_none_match.given)
		r->conditions[n++] =
			(struct store_condition){ .kind = STORE_IF_ABSENT,
						  .key = r->key };
	return n;
}

/* Thread: the store's. */
static void write_done(struct store_write *w)
{
	request_done(w->user);
}

static enum MHD_Result key_written(struct request *r);
static bool may(struct request *r);

static enum MHD_Result submit(struct request *r)
{
	struct store_write *w = &r->write;
	enum err err;

	if (!may(r)) /* once more before another try */
		return auth_refuse(r);
	*w = (struct store_write){
		.conditions = r->conditions,
		.condition_count = set_conditions(r),
		.then_ops = &r->op,
		.then_count = 1,
		.upload = r->upload,
		.done = write_done,
		.user = r,
		.gather = loop_gathers(r->loop),
		.results = &r->result,
	};
	request_arm(r);
	err = store_write(r->h->o.store, w);
	if (err) {
		request_disarm(r);
		return reply_error(r, err);
	}
	return request_park(r, STAGE_RUNNING, request_commit_timeout_ns(r),
			    key_written);
}

static bool another_tag_matches(const struct request *r)
{
	return r->f.if_match.given && !r->f.if_match.any &&
	       !r->f.if_none_match.given && r->write.rev_now &&
	       r->write.rev_now != r->conditions[0].rev &&
	       r->attempts < ATTEMPTS_MAX &&
	       field_tags_have(&r->f.if_match, r->write.rev_now, true);
}

static enum MHD_Result answer_written(struct request *r)
{
	if (r->op.kind == STORE_DELETE) {
		r->show_etag = r->result.existed;
		r->etag_rev = r->write.revision;
		return reply_text(r, 200, "{\"success\":true}");
	}
	r->show_etag = true;
	r->etag_rev = r->result.rev;
	r->rev = r->result.rev;
	if (r->take == body_take_json)
		return reply_text(r, 200, "{\"success\":true}");
	return reply_empty(r, r->result.existed ? 204 : 201);
}

static enum MHD_Result key_written(struct request *r)
{
	struct store_write *w = &r->write;

	if (!request_woken(r))
		return reply_error(r, ERR_UNKNOWN);
	if (w->err == ERR_PRECONDITION && another_tag_matches(r)) {
		r->attempts++;
		return submit(r);
	}
	if (w->revision) {
		r->show_rev = true;
		r->rev = w->revision;
	}
	if (w->err == ERR_PRECONDITION && w->rev_now) {
		r->show_etag = true;
		r->etag_rev = w->rev_now;
	}
	return w->err ? reply_error(r, w->err) : answer_written(r);
}

static enum MHD_Result put_value(struct request *r)
{
	struct store_info info;

	if (!may(r)) /* the body may have taken its time */
		return auth_refuse(r);
	if (store_stat(r->h->o.store, r->key, &info) == OK &&
	    (info.is_special || info.is_link))
		return reply_problem(r, 409, "not_a_regular_file",
				     "a link, device or pipe; not written");
	r->op = (struct store_op){ .kind = STORE_PUT,
				   .key = r->key,
				   .value = r->upload ? bytes_of(NULL, 0)
						      : r->value,
				   .ttl_ns = r->q.ttl_ns };
	return submit(r);
}

static enum MHD_Result put_raw(struct request *r)
{
	r->value = buf_bytes(&r->body);
	return put_value(r);
}

static enum MHD_Result bad_json(struct request *r, const char *message)
{
	return reply_problem(r, 400, "bad_request", message);
}

/* Take "value" and "encoding" out of tree into r->value. NULL: done. */
static const char *take_members(struct request *r, struct json_object *tree,
				enum err *err)
{
	struct json_object *value, *encoding;
	struct bytes text;

	if (!json_object_is_type(tree, json_type_object))
		return "the body must be a JSON object";
	if (!json_object_object_get_ex(tree, "value", &value) ||
	    !json_object_is_type(value, json_type_string))
		return "the body needs a \\\"value\\\" that is a string";
	text = bytes_of(json_object_get_string(value),
			(size_t)json_object_get_string_len(value));
	if (!json_object_object_get_ex(tree, "encoding", &encoding)) {
		*err = buf_add(&r->decoded, text.p, text.n);
		return NULL;
	}
	if (!json_object_is_type(encoding, json_type_string) ||
	    strcmp(json_object_get_string(encoding), "base64") != 0)
		return "the only \\\"encoding\\\" is \\\"base64\\\"";
	*err = json_decode_base64(text, &r->decoded);
	if (*err == ERR_INVALID)
		return "the value is not base64";
	return NULL;
}

static enum MHD_Result put_json(struct request *r)
{
	struct json_object *tree;
	const char *why;
	enum err err;

	if (!json_plain_value(buf_bytes(&r->body), &r->value)) {
		err = json_parse(buf_bytes(&r->body), &tree);
		if (err == ERR_INVALID)
			return bad_json(r, "the body is not strict JSON");
		if (err)
			return reply_error(r, err);
		why = take_members(r, tree, &err);
		json_object_put(tree);
		if (why)
			return bad_json(r, why);
		if (err)
			return reply_error(r, err);
		r->value = buf_bytes(&r->decoded);
	}
	if (r->value.n > HTTPD_JSON_VALUE_BYTES_MAX)
		return reply_problem(r, 413, "value_too_large",
				     "a value over 1 MiB: PUT it raw instead");
	if (r->value.n > atomic_load(&r->h->max_value_bytes))
		return reply_problem(r, 413, "value_too_large",
				     "the value is over max_value_size");
	if (r->value.n > STORE_INLINE_BYTES_MAX)
		return body_stage_value(r, put_value);
	return put_value(r);
}

static enum MHD_Result delete_key(struct request *r)
{
	stats_add(&r->h->stats.cmd_delete, 1);
	r->op = (struct store_op){ .kind = STORE_DELETE, .key = r->key };
	return submit(r);
}

static enum MHD_Result get_key(struct request *r)
{
	stats_add(&r->h->stats.cmd_get, 1);
	return read_when_fresh(
		r, (int32_t)store_partition_of(r->h->o.store, r->key),
		value_answer);
}

static enum MHD_Result begin_put(struct request *r, bool json)
{
	uint64_t max = json ? JSON_BODY_BYTES_MAX
			    : atomic_load(&r->h->max_value_bytes);

	if (!r->f.has_length && !r->f.is_chunked &&
	    r->key.p[r->key.n - 1] != '/')
		return reply_problem(r, 411, "length_required",
				     "a body needs Content-Length or chunked "
				     "encoding");
	if (r->f.content_bytes > max)
		return reply_problem(
			r, 413, "value_too_large",
			json ? "a JSON body this large: PUT the value raw "
			       "instead"
			     : "the value is over max_value_size");
	stats_add(&r->h->stats.cmd_set, 1);
	r->take = json ? body_take_json : body_take_raw;
	r->run = json ? put_json : put_raw;
	return MHD_YES;
}

/* Of If-None-Match a write understands only `*`. */
static bool has_bad_condition(const struct request *r)
{
	return r->f.if_none_match.given && !r->f.if_none_match.any;
}

static enum MHD_Result begin_write(struct request *r)
{
	const char *type = r->f.content_type;

	if (has_bad_condition(r))
		return reply_problem(r, 400, "bad_request",
				     "If-None-Match of a write can only be *");
	if (r->method == METHOD_DELETE) {
		r->run = delete_key;
		return MHD_YES;
	}
	if (r->method == METHOD_PUT)
		return begin_put(r, type && is_json(type));
	if (type && !is_json(type))
		return reply_problem(r, 400, "bad_request",
				     "POST takes application/json; use PUT "
				     "for raw bytes");
	return begin_put(r, true);
}

static bool may(struct request *r)
{
	switch (r->method) {
	case METHOD_GET:
	case METHOD_HEAD:
		return auth_allows(r, STORE_RIGHT_READ, r->key);
	case METHOD_PUT:
	case METHOD_POST:
	case METHOD_DELETE:
		return auth_allows(r, STORE_RIGHT_WRITE, r->key);
	case METHOD_OTHER:
		break;
	}
	return auth_is_known(r);
}

enum MHD_Result key_begin(struct request *r)
{
	enum err err = store_key_check(r->key);

	/* Before anything is said of the key. */
	if (!may(r))
		return auth_refuse(r);
	if (err)
		return reply_error(r, err);
	if (r->q.append)
		return append_begin(r);
	switch (r->method) {
	case METHOD_GET:
	case METHOD_HEAD:
		if (r->q.watch)
			return watch_begin(r);
		r->run = get_key;
		return MHD_YES;
	case METHOD_PUT:
	case METHOD_POST:
	case METHOD_DELETE:
		return begin_write(r);
	case METHOD_OTHER:
		break;
	}
	return reply_not_allowed(r, "GET, HEAD, PUT, POST, DELETE");
}
