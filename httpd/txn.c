/*
 * httpd/txn.c - POST /_/txn: conditions, then one of two lists of operations.
 *
 *	{"if":   [{"key":"a","rev":7}, {"key":"a","exists":false},
 *		  {"key":"a","value":"x"}],
 *	 "then": [{"put":"a","value":"y","ttl":"30s"}, {"delete":"b"},
 *		  {"get":"c"}],
 *	 "else": [..]}
 *
 * As in a listing, "encoding":"base64" speaks of the key and
 * "value_encoding":"base64" of the value. A member that is not known here is
 * an error: a misspelt condition must not become no condition.
 */
#include "httpd/txn.h"

#include <json-c/json.h>
#include <stdlib.h>

#include "base/check.h"
#include "httpd/auth.h"
#include "httpd/handlers.h"
#include "httpd/json.h"
#include "httpd/reply.h"
#include "httpd/request.h"

enum {
	COUNT_EACH_BYTES = 64 << 10, /* smaller answers are not budgeted     */
	ANSWER_BYTES_MAX = 16 << 20, /* it is made in one piece              */
};

struct txn {
	struct json_object *tree; /* the strings live here ..                */
	struct buf decoded;	  /* .. or here; reserved once, never moved  */
	struct store_condition conditions[STORE_TXN_OPS_MAX];
	struct store_op then_ops[STORE_TXN_OPS_MAX];
	struct store_op else_ops[STORE_TXN_OPS_MAX];
	struct store_result results[STORE_TXN_OPS_MAX];
	uint32_t condition_count, then_count, else_count;
	const char *why; /* static text for a 400                            */
};

void txn_free(struct txn *t)
{
	if (!t)
		return;
	for (uint32_t i = 0; i < STORE_TXN_OPS_MAX; i++)
		store_value_done(t->results[i].value);
	json_object_put(t->tree);
	buf_done(&t->decoded);
	free(t);
}

static struct bytes string_of(struct json_object *o)
{
	return bytes_of(json_object_get_string(o),
			(size_t)json_object_get_string_len(o));
}

/* The string member `name`, decoded if the member `encoding` says base64. */
static enum err take_string(struct txn *t, struct json_object *o,
			    const char *name, const char *encoding,
			    struct bytes *text)
{
	struct json_object *value, *how;
	size_t start = t->decoded.n;
	const uint8_t *base = t->decoded.p;
	enum err err;

	if (!json_object_object_get_ex(o, name, &value) ||
	    !json_object_is_type(value, json_type_string))
		return ERR_INVALID;
	*text = string_of(value);
	if (!json_object_object_get_ex(o, encoding, &how))
		return OK;
	if (!json_object_is_type(how, json_type_string) ||
	    strcmp(json_object_get_string(how), "base64") != 0)
		return ERR_INVALID;
	err = json_decode_base64(*text, &t->decoded);
	if (err)
		return err;
	CHECK(t->decoded.p == base);
	*text = bytes_of(t->decoded.p + start, t->decoded.n - start);
	return OK;
}

static bool has(struct json_object *o, const char *name)
{
	return json_object_object_get_ex(o, name, NULL);
}

static enum err take_rev(struct json_object *o, uint64_t *rev)
{
	struct json_object *v;

	json_object_object_get_ex(o, "rev", &v);
	if (!json_object_is_type(v, json_type_int) ||
	    json_object_get_int64(v) < 0)
		return ERR_INVALID;
	*rev = json_object_get_uint64(v);
	return OK;
}

static enum err take_condition(struct txn *t, struct json_object *o,
			       struct store_condition *c)
{
	static const char *const names[] = { "key",   "encoding",
					     "rev",   "exists",
					     "value", "value_encoding",
					     NULL };
	struct json_object *v;
	enum err err;

	t->why = "a condition is {\\\"key\\\":..} with one of \\\"rev\\\", "
		 "\\\"exists\\\", \\\"value\\\"";
	if (!json_object_is_type(o, json_type_object) ||
	    !json_has_only(o, names) ||
	    has(o, "rev") + has(o, "exists") + has(o, "value") != 1)
		return ERR_INVALID;
	err = take_string(t, o, "key", "encoding", &c->key);
	if (err)
		return err;
	if (has(o, "rev")) {
		c->kind = STORE_IF_REV;
		return take_rev(o, &c->rev);
	}
	if (has(o, "value")) {
		c->kind = STORE_IF_VALUE;
		return take_string(t, o, "value", "value_encoding", &c->value);
	}
	json_object_object_get_ex(o, "exists", &v);
	if (!json_object_is_type(v, json_type_boolean))
		return ERR_INVALID;
	c->kind =
		json_object_get_boolean(v) ? STORE_IF_EXISTS : STORE_IF_ABSENT;
	return OK;
}

/* "ttl" as in the query of a PUT: "30s", or a number of seconds. */
static enum err take_ttl(struct json_object *o, uint64_t *ttl_ns)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, "ttl", &v))
		return OK;
	if (!json_object_is_type(v, json_type_string) &&
	    !json_object_is_type(v, json_type_int) &&
	    !json_object_is_type(v, json_type_double))
		return ERR_INVALID;
	return target_parse_span(bytes_str(json_object_get_string(v)), ttl_ns);
}

static enum err take_op(struct txn *t, struct json_object *o,
			struct store_op *op)
{
	static const char *const put_names[] = { "put",	  "encoding",
						 "value", "value_encoding",
						 "ttl",	  NULL };
	static const char *const delete_names[] = { "delete", "encoding",
						    NULL };
	static const char *const get_names[] = { "get", "encoding", NULL };
	enum err err;

	t->why = "an operation is {\\\"put\\\":KEY,\\\"value\\\":..}, "
		 "{\\\"delete\\\":KEY} or {\\\"get\\\":KEY}";
	if (!json_object_is_type(o, json_type_object))
		return ERR_INVALID;
	if (has(o, "delete") && json_has_only(o, delete_names)) {
		op->kind = STORE_DELETE;
		return take_string(t, o, "delete", "encoding", &op->key);
	}
	if (has(o, "get") && json_has_only(o, get_names)) {
		op->kind = STORE_GET;
		return take_string(t, o, "get", "encoding", &op->key);
	}
	if (!has(o, "put") || !json_has_only(o, put_names))
		return ERR_INVALID;
	op->kind = STORE_PUT;
	err = take_string(t, o, "put", "encoding", &op->key);
	if (!err)
		err = take_string(t, o, "value", "value_encoding", &op->value);
	if (!err)
		err = take_ttl(o, &op->ttl_ns);
	return err;
}

/* The array member `name`, absent or at most STORE_TXN_OPS_MAX long. */
static enum err take_array(struct txn *t, const char *name,
			   struct json_object **array, uint32_t *n)
{
	*n = 0;
	if (!json_object_object_get_ex(t->tree, name, array))
		return OK;
	t->why = "\\\"if\\\", \\\"then\\\" and \\\"else\\\" are arrays";
	if (!json_object_is_type(*array, json_type_array))
		return ERR_INVALID;
	if (json_object_array_length(*array) > STORE_TXN_OPS_MAX)
		return ERR_TOO_LARGE;
	*n = (uint32_t)json_object_array_length(*array);
	return OK;
}

static enum err take_ops(struct txn *t, const char *name, struct store_op *ops,
			 uint32_t *n)
{
	struct json_object *array;
	enum err err = take_array(t, name, &array, n);

	for (uint32_t i = 0; !err && i < *n; i++)
		err = take_op(t, json_object_array_get_idx(array, i), ops + i);
	return err;
}

static enum err parse_txn(struct txn *t, struct bytes body)
{
	static const char *const names[] = { "if", "then", "else", NULL };
	struct json_object *array;
	uint32_t more;
	enum err err;

	t->why = "the body is not strict JSON";
	err = json_parse(body, &t->tree);
	if (!err)
		err = buf_reserve(&t->decoded, body.n + 1024);
	if (err)
		return err;
	t->why = "the body is an object of \\\"if\\\", \\\"then\\\" and "
		 "\\\"else\\\"";
	if (!json_object_is_type(t->tree, json_type_object) ||
	    !json_has_only(t->tree, names))
		return ERR_INVALID;
	err = take_array(t, "if", &array, &t->condition_count);
	for (uint32_t i = 0; !err && i < t->condition_count; i++)
		err = take_condition(t, json_object_array_get_idx(array, i),
				     t->conditions + i);
	if (!err)
		err = take_ops(t, "then", t->then_ops, &t->then_count);
	if (!err)
		err = take_ops(t, "else", t->else_ops, &t->else_count);
	if (err)
		return err;
	more = t->then_count + t->else_count;
	return t->condition_count + more > STORE_TXN_OPS_MAX ? ERR_TOO_LARGE
							     : OK;
}

static enum err add_found(struct buf *b, const struct store_op *op,
			  struct store_result *result)
{
	const struct store_info *info = store_value_info(result->value);
	struct bytes piece = { 0 };
	struct buf value = BUF_INIT;
	enum err err;

	if (info->bytes > HTTPD_JSON_VALUE_BYTES_MAX)
		return ERR_TOO_LARGE;
	err = buf_add(b, "{", 1);
	if (!err)
		err = json_add_member(b, "key", "encoding", op->key);
	if (!err)
		err = buf_addf(b, ",\"rev\":%lu,", result->rev);
	while (!err && value.n < info->bytes) {
		err = store_value_read(result->value, value.n, &piece);
		if (!err)
			err = buf_add(&value, piece.p, piece.n);
	}
	if (!err)
		err = json_add_member(b, "value", "value_encoding",
				      buf_bytes(&value));
	if (!err)
		err = buf_add(b, "}", 1);
	buf_done(&value);
	return err;
}

static enum err add_result(struct buf *b, const struct store_op *op,
			   struct store_result *result)
{
	switch (op->kind) {
	case STORE_PUT:
		return buf_addf(b, "{\"rev\":%lu}", result->rev);
	case STORE_DELETE:
		return buf_addf(b, "{\"deleted\":%s}",
				result->existed ? "true" : "false");
	case STORE_GET:
		break;
	}
	if (!result->found)
		return buf_addf(b, "null");
	return add_found(b, op, result);
}

static enum MHD_Result txn_answer(struct request *r)
{
	struct txn *t = r->txn;
	bool yes = r->write.succeeded;
	const struct store_op *ops = yes ? t->then_ops : t->else_ops;
	uint32_t n = yes ? t->then_count : t->else_count;
	struct buf b = BUF_INIT;
	size_t counted = 0;
	enum err err;

	err = buf_addf(&b, "{\"succeeded\":%s,\"revision\":%lu,\"results\":[",
		       yes ? "true" : "false", r->write.revision);
	for (uint32_t i = 0; !err && i < n; i++) {
		if (i)
			err = buf_add(&b, ",", 1);
		if (!err)
			err = add_result(&b, ops + i, t->results + i);
		if (!err && b.n - counted > COUNT_EACH_BYTES) {
			err = request_take_memory(r, b.n - counted);
			counted = b.n;
		}
		if (!err && b.n > ANSWER_BYTES_MAX)
			err = ERR_TOO_LARGE;
	}
	if (!err)
		err = buf_add(&b, "]}", 2);
	if (err) {
		/* The batch happened: only its results cannot be shown. */
		buf_done(&b);
		return reply_problem(r, 500, "results_not_shown",
				     "the batch was done, but what it read "
				     "cannot be shown");
	}
	return reply_json(r, 200, &b);
}

/* Thread: the store's. */
static void txn_done(struct store_write *w)
{
	request_done(w->user);
}

static enum MHD_Result txn_over(struct request *r)
{
	if (!request_woken(r))
		return reply_error(r, ERR_UNKNOWN);
	if (r->write.revision) {
		r->show_rev = true;
		r->rev = r->write.revision;
	}
	return r->write.err ? reply_error(r, r->write.err) : txn_answer(r);
}

static bool may_all(struct request *r, const struct store_op *ops, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		enum store_right right = ops[i].kind == STORE_GET
						 ? STORE_RIGHT_READ
						 : STORE_RIGHT_WRITE;

		if (!auth_allows(r, right, ops[i].key))
			return false;
	}
	return true;
}

/* Every key that it names, whichever list will be chosen: all or nothing. */
static bool may(struct request *r, const struct txn *t)
{
	for (uint32_t i = 0; i < t->condition_count; i++) {
		if (!auth_allows(r, STORE_RIGHT_READ, t->conditions[i].key))
			return false;
	}
	return may_all(r, t->then_ops, t->then_count) &&
	       may_all(r, t->else_ops, t->else_count) && auth_is_known(r);
}

static enum MHD_Result txn_run(struct request *r)
{
	struct txn *t = calloc(1, sizeof(*t));
	enum err err;

	r->txn = t;
	if (!t)
		return reply_error(r, ERR_NOMEM);
	err = parse_txn(t, buf_bytes(&r->body));
	if (err == ERR_INVALID)
		return reply_problem(r, 400, "bad_request", t->why);
	if (err == ERR_TOO_LARGE)
		return reply_problem(r, 413, "value_too_large",
				     "at most 128 conditions and operations");
	if (err)
		return reply_error(r, err);
	if (!may(r, t))
		return auth_refuse(r);
	stats_add(&r->h->stats.cmd_set, 1);
	r->write = (struct store_write){
		.is_txn = true,
		.conditions = t->conditions,
		.condition_count = t->condition_count,
		.then_ops = t->then_ops,
		.then_count = t->then_count,
		.else_ops = t->else_ops,
		.else_count = t->else_count,
		.results = t->results,
		.done = txn_done,
		.user = r,
	};
	request_arm(r);
	err = store_write(r->h->o.store, &r->write);
	if (err) {
		request_disarm(r);
		return reply_error(r, err);
	}
	return request_park(r, STAGE_RUNNING, request_commit_timeout_ns(r),
			    txn_over);
}

enum MHD_Result txn_begin(struct request *r)
{
	if (r->f.content_bytes > JSON_BODY_BYTES_MAX)
		return reply_problem(r, 413, "value_too_large",
				     "a batch has at most 1 MiB");
	r->run = txn_run;
	return body_expect_json(r);
}
