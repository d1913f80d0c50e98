/*
 * httpd/tokens.c - tokens: shown, made, removed.
 *
 *	GET    /_/tokens
 *	POST   /_/tokens        {"name":"app","prefix":"app/","rights":"rw"}
 *	DELETE /_/tokens/NAME
 *
 * The secret is drawn here and told once, in the answer to POST; only its hash
 * is stored. An administrator of a prefix sees, makes and removes tokens below
 * it, as if there were no others.
 */
#include <json-c/json.h>
#include <stdlib.h>

#include "base/secret.h"
#include "httpd/auth.h"
#include "httpd/handlers.h"
#include "httpd/json.h"
#include "httpd/reply.h"
#include "httpd/request.h"

_Static_assert((int)SECRET_HASH_BYTES == (int)STORE_TOKEN_HASH_BYTES,
	       "the store keeps what is hashed here");

static const char *const right_names[] = { "", "r", "rw", "admin" };

/* Below what the one who asks is an administrator. */
static struct bytes scope_of(const struct request *r)
{
	return r->token ? r->token->prefix : bytes_of(NULL, 0);
}

static bool is_admin(struct request *r)
{
	return auth_is_known(r) &&
	       auth_allows(r, STORE_RIGHT_ADMIN, scope_of(r));
}

/* --------------------------------------------------------------- showing - */

struct shown {
	struct buf b;
	struct bytes scope;
};

static enum err add_token(void *ctx, const struct store_token *t)
{
	struct shown *shown = ctx;
	struct buf *b = &shown->b;
	bool first = b->p[b->n - 1] == '[';
	enum err err;

	if (!bytes_begins(t->prefix, shown->scope))
		return OK;
	err = buf_addf(b, "%s{\"name\":\"%s\",", first ? "" : ",", t->name);
	if (!err)
		err = json_add_member(b, "prefix", "encoding", t->prefix);
	if (!err)
		err = buf_addf(b, ",\"rights\":\"%s\"}", right_names[t->right]);
	return err;
}

static enum MHD_Result show_now(struct request *r)
{
	struct shown shown = { .b = BUF_INIT, .scope = scope_of(r) };
	enum err err;

	if (!is_admin(r))
		return auth_refuse(r);
	err = buf_addf(&shown.b, "{\"tokens\":[");
	if (!err)
		err = store_tokens_each(r->h->o.store, add_token, &shown);
	if (!err)
		err = buf_addf(&shown.b, "]}");
	if (!err)
		return reply_json(r, 200, &shown.b);
	buf_done(&shown.b);
	return reply_error(r, err);
}

static enum MHD_Result show_tokens(struct request *r)
{
	return read_when_fresh(r, 0, show_now);
}

/* -------------------------------------------------------------- changing - */

static enum MHD_Result refuse(struct request *r, enum err err)
{
	switch (err) {
	case ERR_NOT_FOUND:
		return reply_problem(r, 404, "not_found", "no such token");
	case ERR_EXISTS:
		return reply_problem(r, 409, "token_exists",
				     "there is a token of that name");
	case ERR_FULL:
		return reply_problem(r, 409, "too_many_tokens",
				     "there are as many tokens as there can "
				     "be");
	case ERR_BUSY:
		return reply_problem(r, 503, "change_in_progress",
				     "an earlier change is under way; nothing "
				     "was done");
	default:
		return reply_error(r, err);
	}
}

static enum MHD_Result answer_added(struct request *r)
{
	struct buf b = BUF_INIT;

	if (buf_addf(&b,
		     "{\"success\":true,\"name\":\"%s\",\"token\":\"%.*s\"}",
		     r->change->token.name, (int)r->decoded.n,
		     (char *)r->decoded.p)) {
		buf_done(&b);
		return reply_error(r, ERR_UNKNOWN); /* it is there: say so */
	}
	return reply_json(r, 200, &b);
}

static enum MHD_Result change_over(struct request *r)
{
	if (!request_woken(r))
		return reply_error(r, ERR_UNKNOWN);
	if (r->change->err)
		return refuse(r, r->change->err);
	if (r->change->kind == STORE_TOKEN_ADD)
		return answer_added(r);
	return reply_text(r, 200, "{\"success\":true}");
}

static enum MHD_Result submit(struct request *r)
{
	enum err err = request_change(r);

	if (err) {
		if (err == ERR_INVALID)
			return reply_problem(
				r, 400, "bad_request",
				"a name is of at most 63 letters, digits and "
				". _ -, a prefix has at most 1024 bytes");
		return reply_error(r, err);
	}
	return request_park(r, STAGE_RUNNING, request_commit_timeout_ns(r),
			    change_over);
}

static enum MHD_Result remove_token(struct request *r)
{
	if (!is_admin(r))
		return auth_refuse(r);
	/* The token of this request may go, its prefix must not. */
	if (buf_add(&r->decoded, scope_of(r).p, scope_of(r).n))
		return reply_error(r, ERR_NOMEM);
	r->change->token.prefix = buf_bytes(&r->decoded);
	return submit(r);
}

/* ---------------------------------------------------------------- bodies - */

static enum store_right right_of(const char *text)
{
	for (int i = STORE_RIGHT_READ; text && i <= STORE_RIGHT_ADMIN; i++) {
		if (strcmp(text, right_names[i]) == 0)
			return (enum store_right)i;
	}
	return STORE_RIGHT_NONE;
}

/* The prefix, which goes behind what r->decoded holds. */
static enum err take_prefix(struct request *r, struct json_object *o)
{
	struct json_object *how;
	const char *text = json_text(o, "prefix", 4096);
	size_t off = r->decoded.n;
	enum err err;

	if (!text)
		return ERR_INVALID;
	if (!json_object_object_get_ex(o, "encoding", &how))
		err = buf_add(&r->decoded, text, strlen(text));
	else if (json_object_is_type(how, json_type_string) &&
		 strcmp(json_object_get_string(how), "base64") == 0)
		err = json_decode_base64(bytes_str(text), &r->decoded);
	else
		err = ERR_INVALID;
	r->change->token.prefix =
		bytes_of(r->decoded.p + off, r->decoded.n - off);
	return err;
}

static enum err take_token(struct request *r, struct json_object *o)
{
	static const char *const names[] = { "name", "prefix", "encoding",
					     "rights", NULL };
	struct store_token *t = &r->change->token;
	const char *name;

	if (!json_object_is_type(o, json_type_object) ||
	    !json_has_only(o, names))
		return ERR_INVALID;
	name = json_text(o, "name", sizeof(t->name) - 1);
	t->right = right_of(json_text(o, "rights", 8));
	if (!name || t->right == STORE_RIGHT_NONE)
		return ERR_INVALID;
	memcpy(t->name, name, strlen(name) + 1);
	return take_prefix(r, o);
}

/* Its text becomes r->decoded up to the prefix, its hash the token's. */
static enum err draw_secret(struct request *r)
{
	char text[SECRET_TEXT_BYTES];
	struct bytes view;
	enum err err = buf_reserve(&r->decoded, 8192); /* it must not move */

	if (!err)
		err = secret_make(text);
	if (err)
		return err;
	view = bytes_of(text, sizeof(text) - 1);
	err = secret_hash(view, r->change->token.hash);
	if (!err)
		err = buf_add(&r->decoded, view.p, view.n);
	return err;
}

static enum MHD_Result add_run(struct request *r)
{
	struct json_object *tree = NULL;
	enum err err;

	if (!is_admin(r))
		return auth_refuse(r);
	err = draw_secret(r);
	if (!err)
		err = json_parse(buf_bytes(&r->body), &tree);
	if (!err)
		err = take_token(r, tree);
	json_object_put(tree);
	if (err == ERR_INVALID)
		return reply_problem(
			r, 400, "bad_request",
			"the body is {\\\"name\\\":..,\\\"prefix\\\":..,"
			"\\\"rights\\\":\\\"r\\\", \\\"rw\\\" or "
			"\\\"admin\\\"}");
	if (err)
		return reply_error(r, err);
	/* Nobody gives what he does not have. */
	if (!auth_allows(r, STORE_RIGHT_ADMIN, r->change->token.prefix))
		return auth_refuse(r);
	r->decoded.n = SECRET_TEXT_BYTES - 1;
	return submit(r);
}

/* --------------------------------------------------------------- routing - */

static enum MHD_Result begin_change(struct request *r,
				    enum store_change_kind kind,
				    enum MHD_Result (*run)(struct request *r))
{
	r->change = calloc(1, sizeof(*r->change));
	if (!r->change)
		return reply_error(r, ERR_NOMEM);
	r->change->kind = kind;
	r->run = run;
	return MHD_YES;
}

static enum MHD_Result begin_add(struct request *r)
{
	enum MHD_Result result = begin_change(r, STORE_TOKEN_ADD, add_run);

	return r->change ? body_expect_json(r) : result;
}

static enum MHD_Result begin_remove(struct request *r, struct bytes name)
{
	enum MHD_Result result =
		begin_change(r, STORE_TOKEN_REMOVE, remove_token);

	if (!r->change)
		return result;
	if (name.n == 0 || name.n >= sizeof(r->change->token.name) ||
	    memchr(name.p, 0, name.n))
		return refuse(r, ERR_NOT_FOUND);
	memcpy(r->change->token.name, name.p, name.n);
	if (!store_token_name_is_sound(r->change->token.name))
		return refuse(r, ERR_NOT_FOUND);
	return result;
}

enum MHD_Result tokens_begin(struct request *r, struct bytes path)
{
	bool gets = r->method == METHOD_GET || r->method == METHOD_HEAD;

	if (!is_admin(r))
		return auth_refuse(r);
	if (path.n == 0 && gets) {
		r->run = show_tokens;
		return MHD_YES;
	}
	if (path.n == 0)
		return r->method == METHOD_POST
			       ? begin_add(r)
			       : reply_not_allowed(r, "GET, HEAD, POST");
	if (r->method != METHOD_DELETE)
		return reply_not_allowed(r, "DELETE");
	return begin_remove(r, bytes_of(path.p + 1, path.n - 1));
}
