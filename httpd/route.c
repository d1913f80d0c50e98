/*
 * httpd/route.c - from a raw request to the handler that answers it.
 *
 * libmicrohttpd parses the framing leniently: it takes two Content-Length
 * fields, Transfer-Encoding beside Content-Length, a space before a colon,
 * and a NUL anywhere in the head. Two parsers that disagree on where a
 * request ends is how requests are smuggled, so each of these is refused
 * here and the connection closed.
 */
#include <stdio.h>
#include <strings.h>

#include "httpd/auth.h"
#include "httpd/guard.h"
#include "httpd/handlers.h"
#include "httpd/reply.h"
#include "httpd/request.h"

static enum method method_of(const char *text)
{
	static const char *const names[] = { "GET", "HEAD", "PUT", "POST",
					     "DELETE" };

	for (int i = 0; i < METHOD_OTHER; i++)
		if (strcmp(text, names[i]) == 0)
			return (enum method)i;
	return METHOD_OTHER;
}

struct collected {
	struct request *r;
	uint32_t length_count, encoding_count, host_count;
	const char *request_id;
	const char *end; /* of the text before the next field, in its head   */
	const char *why; /* the first thing wrong, or NULL                   */
	bool framing;	 /* and it puts the framing in doubt                 */
};

static void object(struct collected *c, const char *why, bool framing)
{
	if (!c->why)
		c->why = why;
	c->framing = c->framing || framing;
}

static void take_length(struct collected *c, const char *value)
{
	struct fields *f = &c->r->f;

	f->has_length = true;
	if (c->length_count++)
		object(c, "two Content-Length fields", true);
	if (target_parse_u64(bytes_str(value), &f->content_bytes))
		object(c, "Content-Length is no number", true);
}

static void take_encoding(struct collected *c, const char *value)
{
	c->r->f.is_chunked = true;
	if (c->encoding_count++ || strcasecmp(value, "chunked") != 0)
		object(c, "the only Transfer-Encoding is chunked", true);
}

static void take_tags(struct collected *c, struct field_tags *tags,
		      const char *value)
{
	if (tags->given || field_parse_tags(value, tags))
		object(c, "a condition field that is no list of tags", false);
}

/* Who asks, and from where. */
static void take_who(struct collected *c, const char *name, const char *value)
{
	struct fields *f = &c->r->f;

	if (strcasecmp(name, "Authorization") == 0) {
		f->many_authorizations = f->authorization != NULL;
		f->authorization = value;
	} else if (strcasecmp(name, "Host") == 0) {
		if (c->host_count++)
			object(c, "two Host fields", true);
		f->host = value;
	} else if (strcasecmp(name, "Origin") == 0) {
		f->origin = value;
	} else if (strcasecmp(name, "Sec-Fetch-Site") == 0) {
		f->fetch_site = value;
	} else if (strcasecmp(name, "Sec-Fetch-Mode") == 0) {
		f->fetch_mode = value;
	} else if (strcasecmp(name, "Access-Control-Request-Method") == 0) {
		f->wants_method = true;
	}
}

static void take_field(struct collected *c, const char *name, const char *value)
{
	struct fields *f = &c->r->f;

	if (strcasecmp(name, "Content-Length") == 0)
		take_length(c, value);
	else if (strcasecmp(name, "Transfer-Encoding") == 0)
		take_encoding(c, value);
	else if (strcasecmp(name, "Content-Type") == 0)
		f->content_type = value;
	else if (strcasecmp(name, "Accept") == 0)
		f->accept = value;
	else if (strcasecmp(name, "If-Match") == 0)
		take_tags(c, &f->if_match, value);
	else if (strcasecmp(name, "If-None-Match") == 0)
		take_tags(c, &f->if_none_match, value);
	else if (strcasecmp(name, "If-Range") == 0)
		f->if_range = value;
	else if (strcasecmp(name, "Range") == 0)
		f->range = value;
	else if (strcasecmp(name, "Expect") == 0)
		f->expects_continue = strcasecmp(value, "100-continue") == 0;
	else if (strcasecmp(name, "Last-Event-ID") == 0)
		f->last_event_id = value;
	else if (strcasecmp(name, "X-Request-Id") == 0)
		c->request_id = value;
	else
		take_who(c, name, value);
}

/*
 * libmicrohttpd cuts the head into strings where it lies: what ends a line
 * becomes NULs, and a value ends at the first of them. So a field begins one
 * (LF) or two (CRLF) bytes behind the end of the one before, unless that had a
 * NUL of its own, and was cut there, or a folded line, which it loses. A line
 * that begins with a NUL even ends the head: see ends_early. From 1.0 on the
 * library refuses both itself.
 */
static bool is_cut(const char *end, const char *next)
{
	return MHD_VERSION < 0x01000000 &&
	       (next <= end || next > end + 2 || *end || next[-1]);
}

static enum MHD_Result on_field(void *cls, enum MHD_ValueKind kind,
				const char *name, size_t name_n,
				const char *value, size_t value_n)
{
	struct collected *c = cls;

	(void)kind;
	if (is_cut(c->end, name))
		object(c, "a NUL or a folded line in a field", true);
	c->end = value + value_n;
	if (memchr(value, '\r', value_n))
		object(c, "a lone carriage return in a field", true);
	if (name_n == 0)
		object(c, "a field without a name", true);
	/* The first letters of the few that matter. */
	switch (*name | 0x20) {
	case 'c':
	case 't':
	case 'a':
	case 'i':
	case 'r':
	case 'e':
	case 'l':
	case 'x':
	case 'h':
	case 'o':
	case 's':
		take_field(c, name, value ? value : "");
		break;
	default:
		break;
	}
	for (; *name; name++)
		if ((uint8_t)*name <= ' ' || *name == 0x7f)
			object(c, "a space in a field name", true);
	return MHD_YES;
}

/* Take the client's id if it is printable and short, else make one. */
static void set_request_id(struct request *r, const char *given)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = given ? strlen(given) : 0;
	uint64_t v;

	for (size_t i = 0; i < n; i++)
		if ((uint8_t)given[i] < ' ' || (uint8_t)given[i] > '~')
			n = 0;
	if (n && n <= HTTPD_REQUEST_ID_BYTES_MAX) {
		memcpy(r->id, given, n + 1);
		return;
	}
	v = (uint64_t)r->h->id_salt << 32 |
	    (uint32_t)atomic_fetch_add_explicit(&r->h->next_id, 1,
						memory_order_relaxed);
	for (int i = 15; i >= 0; i--, v >>= 4)
		r->id[i] = digits[v & 15];
	r->id[16] = 0;
}

/*
 * libmicrohttpd cuts the request line into strings in place: method, NUL,
 * target, NUL, version. What ended before that NUL had one of its own, or more
 * than one space behind it.
 */
static bool has_inner_nul(const struct request *r, const char *method,
			  const char *version)
{
	return version != r->raw_at + r->raw_n + 1 ||
	       r->raw_at != method + strlen(method) + 1;
}

/*
 * The head, bytes long with its empty line, went on behind end: two line ends
 * have no more than four bytes.
 */
static bool ends_early(const char *end, const char *head, size_t bytes)
{
	size_t rest = bytes - (size_t)(end - head);

	if (MHD_VERSION >= 0x01000000)
		return false;
	if (end < head || (size_t)(end - head) > bytes || rest > 4)
		return true;
	while (rest && !end[rest - 1])
		rest--;
	return rest > 0;
}

static enum MHD_Result bad_request(struct request *r, const char *why)
{
	return reply_problem(r, 400, "bad_request", why);
}

static enum MHD_Result only(struct request *r, bool get, bool post,
			    enum MHD_Result (*run)(struct request *r))
{
	bool is_get = r->method == METHOD_GET || r->method == METHOD_HEAD;

	if (!(get && is_get) && !(post && r->method == METHOD_POST))
		return reply_not_allowed(r, post ? "POST" : "GET, HEAD");
	r->run = run;
	return MHD_YES;
}

static enum MHD_Result route_list(struct request *r, bool is_root)
{
	if (r->method == METHOD_GET || r->method == METHOD_HEAD)
		return list_begin(r);
	if (r->method == METHOD_DELETE && !is_root)
		return list_delete_begin(r);
	return reply_not_allowed(r,
				 is_root ? "GET, HEAD" : "GET, HEAD, DELETE");
}

static enum MHD_Result
route_begin_of(struct request *r, bool post,
	       enum MHD_Result (*begin)(struct request *))
{
	enum MHD_Result result = only(r, !post, post, NULL);

	if (result != MHD_YES || r->problem.status)
		return result;
	return begin(r);
}

/*
 * What a system path needs when tokens are asked for. Where keys are named the
 * handler asks for the right to them; what is not said here is an
 * administrator's.
 */
enum need {
	NEED_ADMIN, /* of every key                                          */
	NEED_TOKEN, /* any, or the handler asks for more                     */
	NEED_NOTHING,
};

static bool is_met(struct request *r, enum need need)
{
	switch (need) {
	case NEED_ADMIN:
		return auth_allows(r, STORE_RIGHT_ADMIN, bytes_of(NULL, 0));
	case NEED_TOKEN:
		return auth_is_known(r);
	case NEED_NOTHING:
		break;
	}
	return true;
}

/* path: after "_/". */
static enum MHD_Result route_system(struct request *r, struct bytes path)
{
	static const struct {
		const char *path;
		bool post;
		enum need need;
		enum MHD_Result (*run)(struct request *r);
		enum MHD_Result (*begin)(struct request *r);
	} routes[] = {
		{ "txn", true, NEED_TOKEN, NULL, txn_begin },
		{ "rename", true, NEED_TOKEN, NULL, rename_begin },
		{ "transfer", true, NEED_ADMIN, NULL, transfer_begin },
		{ "watch", false, NEED_TOKEN, NULL, events_begin },
		{ "snapshot", false, NEED_ADMIN, NULL, backup_begin },
		{ "merge", true, NEED_ADMIN, system_merge, NULL },
		{ "monitor", false, NEED_NOTHING, monitor_page, NULL },
		{ "monitor/events", false, NEED_TOKEN, monitor_events, NULL },
		{ "status", false, NEED_TOKEN, system_status, NULL },
		{ "health", false, NEED_NOTHING, system_health, NULL },
		{ "ready", false, NEED_NOTHING, system_ready, NULL },
		{ "metrics", false, NEED_TOKEN, metrics_answer, NULL },
	};
	const struct bytes members = bytes_str("members");
	const struct bytes tokens = bytes_str("tokens");
	bool gets = r->method == METHOD_GET || r->method == METHOD_HEAD;

	if (bytes_begins(path, bytes_str("kv/"))) {
		r->key = bytes_of(path.p + 3, path.n - 3);
		return key_begin(r);
	}
	if (bytes_equal(path, bytes_str("kv")))
		return route_list(r, false);
	if (bytes_begins(path, tokens) &&
	    (path.n == tokens.n || path.p[tokens.n] == '/')) {
		r->audit = "tokens";
		r->is_change = !gets;
		return tokens_begin(
			r, bytes_of(path.p + tokens.n, path.n - tokens.n));
	}
	if (bytes_begins(path, members) &&
	    (path.n == members.n || path.p[members.n] == '/')) {
		r->audit = "members";
		r->is_change = !gets;
		return members_begin(
			r, bytes_of(path.p + members.n, path.n - members.n));
	}
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if (!bytes_equal(path, bytes_str(routes[i].path)))
			continue;
		r->audit = routes[i].path;
		r->is_change = routes[i].need == NEED_ADMIN;
		if (!is_met(r, routes[i].need))
			return auth_refuse(r);
		if (routes[i].begin)
			return route_begin_of(r, routes[i].post,
					      routes[i].begin);
		return only(r, !routes[i].post, routes[i].post, routes[i].run);
	}
	if (!auth_is_known(r))
		return auth_refuse(r);
	return reply_problem(r, 404, "not_found",
			     "no such system path; keys that begin with _/ "
			     "are under /_/kv/");
}

/* GET / by a person: what a program asks for does not name HTML. */
static bool is_browser(const struct request *r)
{
	return (r->method == METHOD_GET || r->method == METHOD_HEAD) &&
	       r->f.accept && field_lists(r->f.accept, "text/html");
}

static enum MHD_Result route_target(struct request *r)
{
	struct bytes path, query;
	const char *why = NULL;
	uint8_t *p;
	size_t n;

	if (target_split(bytes_of(r->raw, r->raw_n), &path, &query))
		return bad_request(r, "the request target is malformed");
	p = r->raw + (path.p - r->raw);
	n = path.n;
	if (target_decode(p, &n, false))
		return reply_problem(r, 400, "bad_key", "a bad percent escape");
	r->path = bytes_of(p, n);
	auth_begin(r);
	if (query.n && target_parse_query(r->raw + (query.p - r->raw), query.n,
					  &r->q, &why))
		return bad_request(r, "a query parameter cannot be parsed");
	if (n == 0 && is_browser(r))
		return only(r, true, false, monitor_page);
	if (n == 0)
		return route_list(r, true);
	if (bytes_begins(r->path, bytes_str("_/")))
		return route_system(r, bytes_of(p + 2, n - 2));
	r->key = r->path;
	return key_begin(r);
}

/* Without a store: only whether the process lives, and why it waits. */
static enum MHD_Result route_held(struct request *r)
{
	struct bytes path, query;

	if (target_split(bytes_of(r->raw, r->raw_n), &path, &query))
		return bad_request(r, "the request target is malformed");
	if (bytes_equal(path, bytes_str("_/health")))
		return only(r, true, false, system_health);
	if (bytes_equal(path, bytes_str("_/ready")))
		return only(r, true, false, system_ready);
	if (bytes_equal(path, bytes_str("_/monitor")) ||
	    (path.n == 0 && is_browser(r)))
		return only(r, true, false, monitor_page);
	return reply_error(r, ERR_STARTING);
}

static enum MHD_Result begin(struct request *r, const char *method,
			     const char *version, const struct collected *c)
{
	enum MHD_Result result;

	r->close = c->framing;
	if (has_inner_nul(r, method, version)) {
		r->close = true;
		return bad_request(r, "a NUL or two spaces in the "
				      "request line");
	}
	if (r->f.is_chunked && r->f.has_length) {
		r->close = true;
		return bad_request(r, "Transfer-Encoding beside "
				      "Content-Length");
	}
	if (c->why)
		return bad_request(r, c->why);
	result = guard_begin(r);
	if (result != MHD_YES || r->problem.status)
		return result;
	if (guard_is_preflight(r)) {
		r->run = guard_preflight;
		return MHD_YES;
	}
	if (atomic_load_explicit(&r->h->stopping, memory_order_relaxed))
		return reply_error(r, ERR_CLOSED);
	if (r->conn->over_limit) {
		r->close = true;
		return reply_problem(r, 503, "too_many_connections",
				     "over max_connections");
	}
	if (!atomic_load_explicit(&r->h->serving, memory_order_acquire))
		return route_held(r);
	return route_target(r);
}

enum MHD_Result route_begin(struct request *r, const char *method,
			    const char *version)
{
	struct collected c = { .r = r, .end = version + strlen(version) };
	const union MHD_ConnectionInfo *info;
	enum MHD_Result result;

	r->method = method_of(method);
	r->is_options = strcmp(method, "OPTIONS") == 0;
	MHD_get_connection_values_n(r->mhd, MHD_HEADER_KIND, on_field, &c);
	info = MHD_get_connection_info(r->mhd,
				       MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	if (ends_early(c.end, method, info->header_size))
		object(&c, "a NUL or a field without a name", true);
	set_request_id(r, c.request_id);
	/* By libmicrohttpd's reading, whatever we think of it. */
	if (r->f.is_chunked || r->f.content_bytes)
		request_stage(r, STAGE_RECEIVING, request_transfer_ns(r, 0));
	result = begin(r, method, version, &c);
	if (r->phase == PHASE_NEW)
		r->phase = PHASE_BODY;
	return result;
}
