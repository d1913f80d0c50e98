/*
 * node/security.c - the files that TLS needs, and the first token.
 */
#include "base/log.h"
#include "httpd/tls.h"
#include "node/chan.h"
#include "node/first_token.h"
#include "node/link.h"
#include "node/node_internal.h"

enum { SOON_DAYS = 14, DAY_S = 24 * 3600 };

static void log_loaded(const char *path, const struct tls *tls, uint64_t now_s)
{
	uint64_t days = (tls_expires_s(tls) - now_s) / DAY_S;

	log_line(days < SOON_DAYS ? LOG_WARN : LOG_INFO, "node",
		 "certificate file=\"%s\" expires_in_days=%llu", path,
		 (unsigned long long)days);
}

/* Lines of one setting, each with where it was made. */
static enum err blame(const struct conf *c, const char *key, enum err err,
		      struct buf *below, struct buf *why)
{
	if (err == ERR_INVALID &&
	    (conf_where(c, key, why) ||
	     buf_addf(why, "%.*s\n", (int)below->n, (char *)below->p)))
		err = ERR_NOMEM;
	buf_done(below);
	return err;
}

/* 0: there is no certificate. */
static uint64_t expiry_of(const struct tls *tls)
{
	return tls ? tls_expires_s(tls) : 0;
}

enum err security_load(const struct conf *c, struct node *n, struct tls **out,
		       struct buf *why)
{
	uint64_t now_s = clock_wall_ns(clock_os()) / 1000000000;
	struct buf below = BUF_INIT;
	struct tls *peer = NULL, *tls = NULL;
	enum err err = OK;

	/* The links load theirs themselves; what is wrong is found here. */
	if (c->peer_cert[0])
		err = tls_load(vfs_os(), c->peer_cert, c->peer_key, c->peer_ca,
			       now_s, &peer, &below);
	if (err)
		return blame(c, "security.peer_cert", err, &below, why);
	if (peer && n)
		log_loaded(c->peer_cert, peer, now_s);
	if (n)
		atomic_store(&n->peer_expires_s, expiry_of(peer));
	tls_unref(peer);
	if (c->tls_cert[0])
		err = tls_load(vfs_os(), c->tls_cert, c->tls_key, c->tls_ca,
			       now_s, &tls, &below);
	if (err)
		return blame(c, "security.tls_cert", err, &below, why);
	if (tls && n)
		log_loaded(c->tls_cert, tls, now_s);
	if (n)
		atomic_store(&n->http_expires_s, expiry_of(tls));
	*out = tls;
	return OK;
}

/* ----------------------------------------------------------- first token - */

enum { AGAIN_MS = 1000 };

static void first_token_done(struct store_change *c)
{
	struct node *n = c->user;
	struct first_token *f = &n->first_token;
	enum err err = c->err;

	f->state = FIRST_TOKEN_WAITS;
	if (!err)
		err = first_token_drop(vfs_os(), n->conf->data_dir);
	if (err)
		return; /* again in a second; the same token once more */
	f->state = FIRST_TOKEN_NONE;
	log_warn("node", "token_installed name=%s rights=admin", c->token.name);
}

static void look_for_token(struct node *n)
{
	struct first_token *f = &n->first_token;
	enum err err =
		first_token_load(vfs_os(), n->conf->data_dir, &f->change.token);

	f->state = err ? FIRST_TOKEN_NONE : FIRST_TOKEN_WAITS;
	if (err && err != ERR_NOT_FOUND)
		log_error("node", "token_file_ignored dir=\"%s\" error=%s",
			  n->conf->data_dir, err_text(err));
}

/* What a reload has left for the links. */
static void take_peer_tls(struct node *n)
{
	struct chan_tls *t;

	pthread_mutex_lock(&n->lock);
	t = n->peer_tls;
	n->peer_tls = NULL;
	pthread_mutex_unlock(&n->lock);
	if (t)
		links_set_tls(n->cluster.links, t);
}

void security_round(struct node *n)
{
	struct first_token *f = &n->first_token;
	uint64_t now_ns = clock_mono_ns(clock_os());

	if (n->cluster.links)
		take_peer_tls(n);
	if (f->state == FIRST_TOKEN_UNKNOWN)
		look_for_token(n);
	if (f->state != FIRST_TOKEN_WAITS ||
	    (f->asked_ns && now_ns - f->asked_ns < AGAIN_MS * 1000000ull))
		return;
	f->asked_ns = now_ns;
	f->state = FIRST_TOKEN_ASKED;
	f->change.kind = STORE_TOKEN_SET;
	f->change.done = first_token_done;
	f->change.user = n;
	if (store_change(n->store, &f->change))
		f->state = FIRST_TOKEN_WAITS;
}
