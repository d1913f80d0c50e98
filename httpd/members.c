/*
 * httpd/members.c - the members of the cluster: shown, added, removed,
 * promoted, replaced; leadership handed over.
 *
 *	GET    /_/members
 *	POST   /_/members                {"name":"n4","peer":"h:1","http":"h:2",
 *					  "learner":false}
 *	DELETE /_/members/NAME
 *	POST   /_/members/NAME/promote
 *	POST   /_/members/NAME/replace[?force]
 *	POST   /_/transfer               {"to":"n2"}
 *
 * A success says that the change is decided and replicated. How it comes
 * about (catching up, promotion, removal from every group) is seen in
 * GET /_/members.
 */
#include <json-c/json.h>
#include <stdlib.h>

#include "httpd/auth.h"
#include "httpd/handlers.h"
#include "httpd/json.h"
#include "httpd/reply.h"
#include "httpd/request.h"

enum { MEMBERS_SHOWN_MAX = 64 };

/* --------------------------------------------------------------- showing - */

static enum err add_text(struct buf *b, const char *name, const char *text)
{
	enum err err = buf_addf(b, "\"%s\":", name);

	if (!err)
		err = json_add_string(b, bytes_str(text));
	return err ? err : buf_addf(b, ",");
}

static enum err add_member(struct httpd *h, struct buf *b,
			   const struct store_member_status *m)
{
	bool is_self = m->member.id == h->o.node_id;
	const char *http = m->member.http;
	enum err err;

	/* A node that was never told its address has one all the same. */
	if (is_self && !http[0])
		http = h->first_address;
	err = buf_addf(b, "{");
	if (!err)
		err = add_text(b, "name", m->member.name);
	if (!err)
		err = buf_addf(b, "\"id\":%lu,", m->member.id);
	if (!err)
		err = add_text(b, "peer", m->member.peer);
	if (!err)
		err = add_text(b, "http", http);
	if (!err)
		err = buf_addf(b, "\"role\":\"%s\",\"up\":%s,",
			       m->learner ? "learner" : "voter",
			       m->up ? "true" : "false");
	if (!err && m->progress_known)
		err = buf_addf(b, "\"match\":%lu,\"lag\":%lu,", m->match,
			       m->lag);
	else if (!err)
		err = buf_addf(b, "\"match\":null,\"lag\":null,");
	if (!err)
		err = buf_addf(b, "\"last_contact_ms\":");
	if (!err)
		err = m->last_contact_ms == UINT64_MAX
			      ? buf_addf(b, "null")
			      : buf_addf(b, "%lu", m->last_contact_ms);
	if (!err && m->state_bytes)
		err = buf_addf(b, ",\"state_bytes\":%lu", m->state_bytes);
	if (!err && m->leaving)
		err = buf_addf(b, ",\"leaving\":true");
	if (!err && m->member.stays_learner)
		err = buf_addf(b, ",\"stays_learner\":true");
	return err ? err : buf_addf(b, "}");
}

enum err members_add_json(struct httpd *h, struct buf *b)
{
	struct store_member_status *list =
		calloc(MEMBERS_SHOWN_MAX, sizeof(*list));
	enum err err = list ? buf_addf(b, "[") : ERR_NOMEM;
	uint32_t n;

	if (err)
		goto out;
	n = store_members(h->o.store, list, MEMBERS_SHOWN_MAX);
	if (n > MEMBERS_SHOWN_MAX)
		n = MEMBERS_SHOWN_MAX;
	for (uint32_t i = 0; i < n && !err; i++) {
		err = i ? buf_addf(b, ",") : OK;
		if (!err)
			err = add_member(h, b, &list[i]);
	}
	if (!err)
		err = buf_addf(b, "]");
out:
	free(list);
	return err;
}

static enum MHD_Result show_members(struct request *r)
{
	struct buf b = BUF_INIT;
	enum err err = buf_addf(&b, "{\"members\":");

	if (!err)
		err = members_add_json(r->h, &b);
	if (!err)
		err = buf_addf(&b, "}");
	if (err) {
		buf_done(&b);
		return reply_error(r, err);
	}
	return reply_json(r, 200, &b);
}

/* -------------------------------------------------------------- changing - */

static enum MHD_Result refuse_invalid(struct request *r)
{
	switch (r->change->kind) {
	case STORE_MEMBER_REMOVE:
		return reply_problem(r, 409, "last_voter",
				     "the last voter cannot be removed");
	case STORE_TRANSFER:
		return reply_problem(r, 409, "not_a_voter",
				     "a learner cannot lead");
	case STORE_MEMBER_REPLACE:
		return reply_problem(r, 409, "member_leads",
				     "it leads: it has not lost its disk");
	case STORE_MEMBER_ADD:
	case STORE_MEMBER_PROMOTE:
	case STORE_MEMBER_CLAIM:
	case STORE_MEMBER_UPDATE:
	case STORE_TOKEN_ADD:
	case STORE_TOKEN_SET:
	case STORE_TOKEN_REMOVE:
		break;
	}
	return reply_error(r, ERR_INVALID);
}

/* The store has said no, or does not know. */
static enum MHD_Result refuse(struct request *r, enum err err)
{
	switch (err) {
	case ERR_NOT_FOUND:
		return reply_problem(r, 404, "not_found", "no such member");
	case ERR_EXISTS:
		return reply_problem(r, 409, "member_exists",
				     "the name or an address is taken");
	case ERR_INVALID:
		return refuse_invalid(r);
	case ERR_PRECONDITION:
		if (r->change->kind == STORE_MEMBER_REPLACE &&
		    !r->change->force)
			return reply_problem(r, 409, "member_is_up",
					     "it is up, with its disk: stop it "
					     "first, or force it (--force, "
					     "?force=1)");
		return reply_problem(r, 409, "quorum_at_risk",
				     "of the voters that would remain no "
				     "majority is up");
	case ERR_BUSY:
		return reply_problem(r, 503, "change_in_progress",
				     "an earlier change is under way; nothing "
				     "was done");
	case ERR_FULL:
		return reply_problem(r, 409, "too_many_members",
				     "there are as many members as there can "
				     "be");
	case ERR_PERMISSION:
		return reply_problem(r, 409, "not_clustered",
				     "cluster.listen is not set: this node "
				     "can have no other members");
	default:
		return reply_error(r, err);
	}
}

static enum MHD_Result change_over(struct request *r)
{
	const struct store_change *c = r->change;
	struct buf b = BUF_INIT;
	enum err err;

	if (!request_woken(r))
		return reply_error(r, ERR_UNKNOWN);
	if (c->err)
		return refuse(r, c->err);
	err = buf_addf(&b, "{\"success\":true,\"id\":%lu}", c->id);
	if (err)
		return reply_text(r, 200, "{\"success\":true}");
	return reply_json(r, 200, &b);
}

static enum MHD_Result submit(struct request *r)
{
	enum err err = request_change(r);

	if (err) {
		if (err == ERR_INVALID)
			return reply_problem(
				r, 400, "bad_request",
				"a name is of letters, digits and . _ -, an "
				"address is host:port");
		return err == ERR_PERMISSION ? refuse(r, err)
					     : reply_error(r, err);
	}
	return request_park(r, STAGE_RUNNING, request_commit_timeout_ns(r),
			    change_over);
}

/* ---------------------------------------------------------------- bodies - */

/* The string member name of o, with a NUL, to to. False: it will not do. */
static bool take_text(struct json_object *o, const char *name, char *to,
		      size_t cap, bool required)
{
	const char *text = json_text(o, name, cap - 1);

	if (!text)
		return !required && !json_object_object_get_ex(o, name, NULL);
	memcpy(to, text, strlen(text) + 1);
	return true;
}

static bool take_add(struct json_object *o, struct store_member *m)
{
	static const char *const names[] = { "name", "peer", "http", "learner",
					     NULL };
	struct json_object *v;

	if (!json_has_only(o, names) ||
	    !take_text(o, "name", m->name, sizeof(m->name), true) ||
	    !take_text(o, "peer", m->peer, sizeof(m->peer), true) ||
	    !take_text(o, "http", m->http, sizeof(m->http), false))
		return false;
	if (!json_object_object_get_ex(o, "learner", &v))
		return true;
	m->stays_learner = json_object_get_boolean(v);
	return json_object_is_type(v, json_type_boolean);
}

static bool take_transfer(struct json_object *o, struct store_member *m)
{
	static const char *const names[] = { "to", NULL };

	return json_has_only(o, names) &&
	       take_text(o, "to", m->name, sizeof(m->name), true);
}

static enum MHD_Result run_with_body(struct request *r)
{
	bool adds = r->change->kind == STORE_MEMBER_ADD;
	struct json_object *tree = NULL;
	enum err err = json_parse(buf_bytes(&r->body), &tree);
	bool good = false;

	if (err == ERR_NOMEM)
		return reply_error(r, err);
	if (!err && json_object_is_type(tree, json_type_object))
		good = adds ? take_add(tree, &r->change->member)
			    : take_transfer(tree, &r->change->member);
	json_object_put(tree);
	if (!good)
		return reply_problem(
			r, 400, "bad_request",
			adds ? "the body is {\\\"name\\\":..,\\\"peer\\\":..,"
			       "\\\"http\\\":..}, perhaps with "
			       "\\\"learner\\\":true"
			     : "the body is {\\\"to\\\":NAME}");
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
	r->change->force = kind == STORE_MEMBER_REPLACE && r->q.force;
	r->run = run;
	return run == run_with_body ? body_expect_json(r) : MHD_YES;
}

enum MHD_Result transfer_begin(struct request *r)
{
	return begin_change(r, STORE_TRANSFER, run_with_body);
}

static enum MHD_Result begin_named(struct request *r, struct bytes name,
				   enum store_change_kind kind)
{
	enum MHD_Result result = begin_change(r, kind, submit);

	if (!r->change)
		return result;
	if (name.n == 0 || name.n >= sizeof(r->change->member.name))
		return refuse(r, ERR_NOT_FOUND);
	memcpy(r->change->member.name, name.p, name.n);
	return result;
}

/* Whether path ends in end, which is cut off. */
static bool cut_end(struct bytes *path, const char *end)
{
	size_t n = strlen(end);

	if (path->n < n || memcmp(path->p + path->n - n, end, n) != 0)
		return false;
	path->n -= n;
	return true;
}

enum MHD_Result members_begin(struct request *r, struct bytes path)
{
	bool gets = r->method == METHOD_GET || r->method == METHOD_HEAD;
	bool posts = r->method == METHOD_POST;

	if (path.n == 0 && gets
		    ? !auth_is_known(r)
		    : !auth_allows(r, STORE_RIGHT_ADMIN, bytes_of(NULL, 0)))
		return auth_refuse(r);
	if (path.n == 0 && posts)
		return begin_change(r, STORE_MEMBER_ADD, run_with_body);
	if (path.n == 0 && !gets)
		return reply_not_allowed(r, "GET, HEAD, POST");
	if (path.n == 0) {
		r->run = show_members;
		return MHD_YES;
	}
	path = bytes_of(path.p + 1, path.n - 1);
	if (cut_end(&path, "/promote"))
		return posts ? begin_named(r, path, STORE_MEMBER_PROMOTE)
			     : reply_not_allowed(r, "POST");
	if (cut_end(&path, "/replace"))
		return posts ? begin_named(r, path, STORE_MEMBER_REPLACE)
			     : reply_not_allowed(r, "POST");
	if (r->method != METHOD_DELETE)
		return reply_not_allowed(r, "DELETE");
	return begin_named(r, path, STORE_MEMBER_REMOVE);
}
