/*
 * conf/check.c - the rules between settings, and what this build cannot do.
 *
 * The schema is complete from the first release on, so that files stay valid
 * as functions arrive; the table `lacks` says which settings ask for a
 * function that is not there yet. Asking for one is refused where going on
 * without it would be a lie (a mount, a member, a certificate), and warned
 * about where nothing depends on it. When a function arrives its rows go.
 */
#include "conf/schema.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

struct lack {
	const char *key;
	bool refuse;
	const char *why;
};

#define NO_CLUSTER "has no effect: this version runs single nodes only"
#define NO_MOUNT   "has no effect: this version has no mount"
#define NO_TLS	   "this version has no TLS"
#define NO_AUTH	   "this version has no authentication"

static const struct lack lacks[] = {
	{ "cluster.listen", false, NO_CLUSTER },
	{ "cluster.heartbeat", false, NO_CLUSTER },
	{ "cluster.election_timeout", false, NO_CLUSTER },
	{ "mount.path", true, "this version has no mount" },
	{ "mount.allow_other", false, NO_MOUNT },
	{ "mount.uid", false, NO_MOUNT },
	{ "mount.gid", false, NO_MOUNT },
	{ "mount.file_mode", false, NO_MOUNT },
	{ "mount.dir_mode", false, NO_MOUNT },
	{ "security.tls_cert", true, NO_TLS },
	{ "security.tls_key", true, NO_TLS },
	{ "security.tls_ca", true, NO_TLS },
	{ "security.peer_cert", true, NO_TLS },
	{ "security.peer_key", true, NO_TLS },
	{ "security.peer_ca", true, NO_TLS },
	{ "security.cluster_secret_file", true, NO_AUTH },
	{ "security.tokens", true, NO_AUTH },
	{ "security.allow_origin", true,
	  "this version has no cross-origin access" },
};

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

static void check_lacks(struct checker *k, const struct conf *defaults)
{
	struct buf is = BUF_INIT, was = BUF_INIT;

	for (size_t i = 0; i < sizeof(lacks) / sizeof(lacks[0]); i++) {
		const struct conf_key *key = schema_find(lacks[i].key);

		CHECK(key);
		is.n = was.n = 0;
		if (value_format(k->c, key, &is) ||
		    value_format(defaults, key, &was)) {
			k->err = ERR_NOMEM;
			break;
		}
		if (!bytes_equal(buf_bytes(&is), buf_bytes(&was)))
			say(k, lacks[i].refuse, key->name, "%s", lacks[i].why);
	}
	buf_done(&was);
	buf_done(&is);
}

static void check_members(struct checker *k)
{
	const struct conf_members *m = &k->c->members;

	if (m->count == 0)
		return;
	if (m->count > 1)
		say(k, true, "cluster.members",
		    "%u members: this version runs single nodes only",
		    m->count);
	for (uint32_t i = 0; i < m->count; i++) {
		if (strcmp(m->member[i].name, k->c->node_name) == 0)
			return;
	}
	say(k, true, "cluster.members", "does not name this node, %s",
	    k->c->node_name);
}

bool conf_addr_is_loopback(const struct conf_addr *a)
{
	struct in6_addr v6;
	struct in_addr v4;

	if (inet_pton(AF_INET, a->host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	if (inet_pton(AF_INET6, a->host, &v6) == 1)
		return IN6_IS_ADDR_LOOPBACK(&v6);
	return strcmp(a->host, "localhost") == 0;
}

static void check_listen(struct checker *k)
{
	const struct conf_addrs *list = &k->c->http_listen;

	for (uint32_t i = 0; i < list->count; i++) {
		if (conf_addr_is_loopback(&list->addr[i]))
			continue;
		say(k, !k->c->insecure, "http.listen",
		    k->c->insecure
			    ? "%s is not a loopback address: anyone who "
			      "reaches it reads and writes every key"
			    : "%s is not a loopback address: that needs "
			      "authentication and TLS, which this version "
			      "does not have, or security.insecure = true",
		    list->addr[i].host);
	}
}

enum err conf_check(const struct conf *c, struct buf *errors,
		    struct buf *warnings)
{
	struct checker k = { .c = c, .errors = errors, .warnings = warnings };
	struct conf *defaults;
	enum err err = conf_new(&defaults);

	if (err)
		return err;
	check_lacks(&k, defaults);
	conf_free(defaults);
	check_members(&k);
	check_listen(&k);
	if (c->election_timeout_ms < 2 * c->heartbeat_ms)
		say(&k, true, "cluster.election_timeout",
		    "must be at least twice cluster.heartbeat");
	if (c->sync != CONF_SYNC_ALWAYS)
		say(&k, false, "storage.sync",
		    "writes are acknowledged before they are on the disk: a "
		    "power cut loses them");
	return k.err;
}
