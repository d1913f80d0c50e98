/*
 * httpd/guard.c - see guard.h.
 *
 * Host is looked at where nothing else keeps a page out: on a loopback address
 * without tokens. A name that only exists on this machine or in this network
 * (an address, a name without a dot, localhost) cannot be a page's.
 */
#include "httpd/guard.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/listen.h"
#include "httpd/reply.h"

enum { HOST_BYTES_MAX = 256 };

/* ----------------------------------------------------------------- Origin */

/* What follows "://", or NULL. */
static const char *authority_of(const char *origin)
{
	const char *at = strstr(origin, "://");

	return at ? at + 3 : NULL;
}

static bool is_own(const struct request *r)
{
	const char *authority = authority_of(r->f.origin);

	/*
	 * What comes over plain HTTP anyone on the way can have written. (The
	 * other way round it may be a proxy that speaks HTTPS for this node.)
	 */
	if (r->h->is_secure &&
	    strncasecmp(r->f.origin, "http:", strlen("http:")) == 0)
		return false;
	return authority && r->f.host && strcasecmp(authority, r->f.host) == 0;
}

static bool is_allowed(struct request *r)
{
	struct httpd *h = r->h;
	bool allowed;

	if (!*r->f.origin)
		return false;
	pthread_mutex_lock(&h->lock);
	allowed = strcmp(h->allow_origin, "*") == 0 ||
		  strcasecmp(h->allow_origin, r->f.origin) == 0;
	pthread_mutex_unlock(&h->lock);
	return allowed;
}

/* A page elsewhere loads it as an image, a script or the like. */
static bool is_embedded(const struct request *r)
{
	return r->f.fetch_site && strcmp(r->f.fetch_site, "cross-site") == 0 &&
	       !(r->f.fetch_mode && strcmp(r->f.fetch_mode, "navigate") == 0);
}

/* ------------------------------------------------------------------- Host */

/* Copy host without its port and brackets. False: it is too long. */
static bool take_host(const char *text, char host[HOST_BYTES_MAX])
{
	size_t n = strlen(text);
	const char *colon = strrchr(text, ':');

	if (text[0] == '[') {
		text++;
		n = strcspn(text, "]");
	} else if (colon && strchr(text, ':') == colon) {
		n = (size_t)(colon - text);
	}
	while (n && text[n - 1] == '.')
		n--;
	if (n >= HOST_BYTES_MAX)
		return false;
	memcpy(host, text, n);
	host[n] = 0;
	return true;
}

static bool is_local_name(const char *host)
{
	static const char localhost[] = ".localhost";
	size_t n = strlen(host), tail = sizeof(localhost) - 1;
	struct in6_addr address;

	return !strchr(host, '.') || inet_pton(AF_INET, host, &address) == 1 ||
	       inet_pton(AF_INET6, host, &address) == 1 ||
	       (n > tail && strcasecmp(host + n - tail, localhost) == 0);
}

static bool is_name_of(const char *text, const char *host)
{
	char name[HOST_BYTES_MAX];

	return take_host(text, name) && strcasecmp(name, host) == 0;
}

/* A name that the operator has written down. */
static bool is_our_name(struct httpd *h, const char *host)
{
	const char *authority;
	bool ours;

	if (is_name_of(h->first_address, host))
		return true;
	pthread_mutex_lock(&h->lock);
	authority = authority_of(h->allow_origin);
	ours = authority && is_name_of(authority, host);
	pthread_mutex_unlock(&h->lock);
	return ours;
}

static bool is_rebound(struct request *r)
{
	char host[HOST_BYTES_MAX];

	if (!r->f.host || !atomic_load(&r->h->guards_host) ||
	    atomic_load(&r->h->wants_tokens))
		return false;
	if (!take_host(r->f.host, host))
		return true;
	return !is_local_name(host) && !is_our_name(r->h, host) &&
	       listen_is_loopback(r->conn->fd);
}

/* ---------------------------------------------------------------- answers */

enum MHD_Result guard_begin(struct request *r)
{
	if (r->f.origin && !is_own(r)) {
		r->is_foreign = is_allowed(r);
		if (!r->is_foreign) {
			stats_add(&r->h->stats.refused_origins, 1);
			return reply_problem(r, 403, "foreign_origin",
					     "pages of that origin may not "
					     "call: security.allow_origin");
		}
	} else if (!r->f.origin && is_embedded(r)) {
		stats_add(&r->h->stats.refused_origins, 1);
		return reply_problem(r, 403, "foreign_origin",
				     "other sites' pages may not load this");
	}
	if (!is_rebound(r))
		return MHD_YES;
	stats_add(&r->h->stats.refused_hosts, 1);
	return reply_problem(r, 403, "foreign_host",
			     "this node has no such name: use localhost, or "
			     "name it in security.allow_origin");
}

bool guard_is_preflight(const struct request *r)
{
	return r->is_foreign && r->is_options && r->f.wants_method;
}

enum MHD_Result guard_preflight(struct request *r)
{
	struct MHD_Response *resp = MHD_create_response_from_buffer(
		0, NULL, MHD_RESPMEM_PERSISTENT);

	reply_header(&resp, "Access-Control-Allow-Methods",
		     "GET, HEAD, PUT, POST, DELETE");
	reply_header(&resp, "Access-Control-Allow-Headers",
		     "Authorization, Content-Type, If-Match, If-None-Match, "
		     "If-Range, Range, Last-Event-ID, X-Request-Id");
	reply_header(&resp, "Access-Control-Max-Age", "600");
	return reply_send(r, 204, resp, 0);
}

void guard_headers(struct request *r, struct MHD_Response **resp)
{
	if (!r->is_foreign)
		return;
	reply_header(resp, "Access-Control-Allow-Origin", r->f.origin);
	reply_header(resp, "Vary", "Origin");
	reply_header(resp, "Access-Control-Expose-Headers",
		     "ETag, X-Raftcask-Revision, X-Raftcask-TTL, "
		     "X-Request-Id, Content-Range, Retry-After");
}
