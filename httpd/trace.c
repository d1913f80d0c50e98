/*
 * httpd/trace.c - see trace.h.
 */
#include "httpd/trace.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/log.h"

static const uint64_t ns_per_s = 1000000000;

const char *trace_id(const struct request *r, char text[TRACE_ID_BYTES])
{
	size_t i;

	for (i = 0; r->id[i]; i++) {
		char c = r->id[i];

		text[i] =
			c <= ' ' || c > '~' || c == '"' || c == '\\' ? '?' : c;
	}
	text[i] = 0;
	return text;
}

void trace_tag(const struct request *r, char tag[STORE_TAG_BYTES_MAX])
{
	char id[TRACE_ID_BYTES];

	snprintf(tag, STORE_TAG_BYTES_MAX, "%.*s", STORE_TAG_BYTES_MAX - 1,
		 trace_id(r, id));
}

/* True: say it. *silent: how many lines were left out before. */
static bool may_say(struct httpd *h, struct trace_budget *b, uint64_t *silent)
{
	uint64_t now = httpd_now(h);
	bool says;

	pthread_mutex_lock(&h->lock);
	if (now - b->since_ns >= ns_per_s) {
		b->since_ns = now;
		b->said = 0;
	}
	says = b->said < TRACE_LINES_MAX;
	*silent = b->silent;
	b->said += says;
	b->silent = says ? 0 : b->silent + 1;
	pthread_mutex_unlock(&h->lock);
	return says;
}

/* The client's address, without a port. */
static const char *peer_of(const struct request *r, char text[INET6_ADDRSTRLEN])
{
	struct sockaddr_storage a = { 0 };
	socklen_t n = sizeof(a);
	const void *address = &((struct sockaddr_in *)&a)->sin_addr;

	snprintf(text, INET6_ADDRSTRLEN, "-");
	if (getpeername(r->conn->fd, (struct sockaddr *)&a, &n))
		return text;
	if (a.ss_family == AF_INET6)
		address = &((struct sockaddr_in6 *)&a)->sin6_addr;
	inet_ntop(a.ss_family, address, text, INET6_ADDRSTRLEN);
	return text;
}

static const char *token_of(const struct request *r)
{
	return r->token ? r->token->name : "-";
}

void trace_problem(struct request *r)
{
	unsigned status = r->problem.status;
	bool refused = status == 401 || status == 403;
	struct trace_budget *budget = &r->h->trace_failed;
	char id[TRACE_ID_BYTES], peer[INET6_ADDRSTRLEN];
	uint64_t silent;

	/* 503: every client asks again until it is over. */
	if (!refused && (status < 500 || status == 503))
		return;
	if (refused)
		budget = &r->h->trace_refused;
	if (!may_say(r->h, budget, &silent))
		return;
	log_line(refused ? LOG_INFO : LOG_WARN, "http",
		 "%s status=%u code=%s peer=%s token=%s request=\"%s\" "
		 "unsaid=%llu",
		 refused ? "refused" : "failed", status, r->problem.code,
		 peer_of(r, peer), token_of(r), trace_id(r, id),
		 (unsigned long long)silent);
}

void trace_end(struct request *r)
{
	static const char *const methods[] = { "GET",  "HEAD",	 "PUT",
					       "POST", "DELETE", "other" };
	char id[TRACE_ID_BYTES], peer[INET6_ADDRSTRLEN];
	enum log_level level = r->is_change ? LOG_INFO : LOG_DEBUG;

	if (!r->status || !log_is_on(level))
		return;
	log_line(level, "http",
		 "%s what=%s method=%s status=%u us=%llu peer=%s token=%s "
		 "request=\"%s\"",
		 r->is_change ? "change" : "request",
		 r->audit ? r->audit : "key", methods[r->method], r->status,
		 (unsigned long long)((httpd_now(r->h) - r->start_ns) / 1000),
		 peer_of(r, peer), token_of(r), trace_id(r, id));
}
