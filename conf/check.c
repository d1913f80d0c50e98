/*
 * conf/check.c - the rules between settings.
 */
#include "conf/schema.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

struct checker {
	const struct conf *c;
	struct buf *errors, *warnings;
	enum err err; /* ERR_INVALID once something was refused, ERR_NOMEM */
};

enum err conf_where(const struct conf *c, const char *key_name, struct buf *out)
{
	const struct conf_key *key = schema_find(key_name);
	const struct conf_origin *o;
	enum err err = OK;

	CHECK(key);
	o = &c->origin[key - conf_schema];
	if (o->name && o->line)
		err = buf_addf(out, "%s:%u: ", o->name, o->line);
	else if (o->name)
		err = buf_addf(out, "flag %s: ", o->name);
	return err ? err : buf_addf(out, "%s: ", key_name);
}

/* "file:line: key: text" or "flag --x: key: text" or "key: text". */
static void say(struct checker *k, bool refuse, const char *key_name,
		const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static void say(struct checker *k, bool refuse, const char *key_name,
		const char *fmt, ...)
{
	struct buf *to = refuse ? k->errors : k->warnings;
	char text[512];
	va_list ap;
	enum err err;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err = conf_where(k->c, key_name, to);
	if (!err)
		err = buf_addf(to, "%s\n", text);
	if (err)
		k->err = err;
	else if (refuse && !k->err)
		k->err = ERR_INVALID;
}

static void check_same_peer(struct checker *k, const struct conf_member *a,
			    const struct conf_member *b)
{
	if (a->peer.port == b->peer.port &&
	    strcmp(a->peer.host, b->peer.host) == 0)
		say(k, true, "cluster.members",
		    "%s and %s have the same peer address", a->name, b->name);
}

static void check_members(struct checker *k)
{
	const struct conf_members *m = &k->c->members;

	for (uint32_t i = 0; i < m->count; i++)
		for (uint32_t j = i + 1; j < m->count; j++)
			check_same_peer(k, &m->member[i], &m->member[j]);

	if (m->count == 0)
		return;
	if (m->count % 2 == 0)
		say(k, false, "cluster.members",
		    "%u members bear the loss of no more than %u do", m->count,
		    m->count - 1);
	for (uint32_t i = 0; i < m->count; i++) {
		if (strcmp(m->member[i].name, k->c->node_name) == 0)
			return;
	}
	say(k, true, "cluster.members", "does not name this node, %s",
	    k->c->node_name);
}

/* True for 127.0.0.0/8, ::1 and localhost. */
static bool addr_is_loopback(const struct conf_addr *a)
{
	struct in6_addr v6;
	struct in_addr v4;

	if (inet_pton(AF_INET, a->host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	if (inet_pton(AF_INET6, a->host, &v6) == 1)
		return IN6_IS_ADDR_LOOPBACK(&v6);
	return strcmp(a->host, "localhost") == 0;
}

bool conf_http_is_guarded(const struct conf *c)
{
	return c->tls_cert[0] && (c->tokens || c->tls_ca[0]);
}

bool conf_cluster_is_guarded(const struct conf *c)
{
	return c->peer_cert[0] || c->cluster_secret_file[0];
}

static void check_listen(struct checker *k)
{
	const struct conf_addrs *list = &k->c->http_listen;

	for (uint32_t i = 0; i < list->count; i++) {
		if (addr_is_loopback(&list->addr[i]) ||
		    conf_http_is_guarded(k->c))
			continue;
		say(k, !k->c->insecure, "http.listen",
		    k->c->insecure && k->c->tokens
			    ? "%s is not a loopback address: without TLS "
			      "anyone on the way can read the tokens"
		    : k->c->insecure
			    ? "%s is not a loopback address: anyone who "
			      "reaches it reads and writes every key"
			    : "%s is not a loopback address: that needs "
			      "security.tls_cert and tls_key, and "
			      "security.tokens = true or tls_ca, or "
			      "security.insecure = true",
		    list->addr[i].host);
	}
}

static bool was_set(const struct conf *c, const char *key_name)
{
	return c->origin[schema_find(key_name) - conf_schema].name != NULL;
}

/* All three, or none: half a certificate protects nothing. */
static void check_peer_tls(struct checker *k)
{
	const struct conf *c = k->c;
	uint32_t count = !!c->peer_cert[0] + !!c->peer_key[0] + !!c->peer_ca[0];

	/* The place is that of one which is there. */
	if (count != 0 && count != 3)
		say(k, true,
		    c->peer_cert[0]  ? "security.peer_cert"
		    : c->peer_key[0] ? "security.peer_key"
				     : "security.peer_ca",
		    "%s is missing: peer_cert, peer_key and peer_ca go "
		    "together",
		    !c->peer_cert[0]  ? "peer_cert"
		    : !c->peer_key[0] ? "peer_key"
				      : "peer_ca");
}

/* "scheme://host[:port]", as a browser says it, or "*". */
static bool is_origin(const char *text)
{
	const char *host = strstr(text, "://");
	size_t n;

	if (strcmp(text, "*") == 0)
		return true;
	if (!host || host == text)
		return false;
	n = strcspn(host + 3, "/?# ,");
	return n > 0 && host[3 + n] == '\0';
}

static void check_origin(struct checker *k)
{
	const char *origin = k->c->allow_origin;

	if (origin[0] && !is_origin(origin))
		say(k, true, "security.allow_origin",
		    "is an origin: write \"https://host\" or "
		    "\"https://host:port\", without a path");
	else if (strcmp(origin, "*") == 0 && !k->c->tokens)
		say(k, false, "security.allow_origin",
		    "\"*\" without tokens: any page that a browser on this "
		    "network shows reads and writes every key");
}

/* Certificate and key go together; an authority is of no use without. */
static void check_tls(struct checker *k)
{
	const struct conf *c = k->c;

	if (!c->tls_cert[0] != !c->tls_key[0])
		say(k, true,
		    c->tls_cert[0] ? "security.tls_cert" : "security.tls_key",
		    "%s is missing: tls_cert and tls_key go together",
		    c->tls_cert[0] ? "tls_key" : "tls_cert");
	else if (c->tls_ca[0] && !c->tls_cert[0])
		say(k, true, "security.tls_ca",
		    "has no effect without tls_cert and tls_key");
}

/* The address that the other members reach. */
static void check_cluster_listen(struct checker *k)
{
	const struct conf *c = k->c;
	const char *key = "cluster.listen";
	const struct conf_addr *a = &c->cluster_listen;

	for (uint32_t i = 0; i < c->members.count; i++) {
		if (was_set(c, "cluster.listen") ||
		    strcmp(c->members.member[i].name, c->node_name) != 0)
			continue;
		key = "cluster.members"; /* it listens where the list says */
		a = &c->members.member[i].peer;
	}
	if ((!was_set(c, "cluster.listen") && !c->members.count) ||
	    addr_is_loopback(a) || conf_cluster_is_guarded(c))
		return;
	say(k, !c->insecure, key,
	    c->insecure ? "%s is not a loopback address: anyone who reaches it "
			  "can take part in the cluster"
			: "%s is not a loopback address: that needs "
			  "security.peer_cert, peer_key and peer_ca, or "
			  "cluster_secret_file, or security.insecure = true",
	    a->host);
}

/* Clients are told an address of this node that only itself can reach. */
static void check_told_address(struct checker *k)
{
	const struct conf_members *m = &k->c->members;
	const struct conf_addrs *list = &k->c->http_listen;

	for (uint32_t i = 0; i < list->count; i++) {
		if (!addr_is_loopback(&list->addr[i]))
			return;
	}
	for (uint32_t i = 0; i < m->count; i++) {
		const struct conf_addr *told = &m->member[i].http;

		if (strcmp(m->member[i].name, k->c->node_name) != 0 ||
		    !told->host[0] || addr_is_loopback(told))
			continue;
		say(k, false, "http.listen",
		    "is of loopback addresses alone, while cluster.members "
		    "tells clients that this node serves at %s:%u",
		    told->host, told->port);
	}
}

/*
 * Heartbeats of an election timeout's length would depose every leader; less
 * than 10 ms is below what a busy disk or scheduler takes.
 */
static void check_times(struct checker *k)
{
	const struct conf *c = k->c;

	if (c->election_timeout_ms < 2 * c->heartbeat_ms)
		say(k, true, "cluster.election_timeout",
		    "must be at least twice cluster.heartbeat");
	else if (c->election_timeout_ms < 5 * c->heartbeat_ms)
		say(k, false, "cluster.election_timeout",
		    "less than five heartbeats: a short delay is taken for the "
		    "loss of the leader");
	if (c->heartbeat_ms < 10)
		say(k, false, "cluster.heartbeat",
		    "less than 10 ms: a slow disk is taken for a dead node");
}

enum err conf_check(const struct conf *c, struct buf *errors,
		    struct buf *warnings)
{
	struct checker k = { .c = c, .errors = errors, .warnings = warnings };

	check_members(&k);
	check_listen(&k);
	check_tls(&k);
	check_origin(&k);
	check_peer_tls(&k);
	check_cluster_listen(&k);
	check_told_address(&k);
	check_times(&k);
	if (c->sync != CONF_SYNC_ALWAYS)
		say(&k, false, "storage.sync",
		    "writes are acknowledged before they are on the disk: a "
		    "power cut loses them");
	return k.err;
}
