/*
 * node/link_greet.c - who is on the other end; link_wire.h draws the course.
 *
 * The proofs are HMAC-SHA256 over both greetings, which hold a fresh nonce of
 * each side, with another label for each direction, so that none can be played
 * back or mirrored. That a node was removed is believed only from one who has
 * proved himself: it makes a node stop for good.
 */
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/log.h"
#include "node/link_internal.h"

static const char label_welcome[] = "raftcask link 1 welcome";
static const char label_proof[] = "raftcask link 1 proof";

/* --------------------------------------------------------------- proofs -- */

/* Zeros without a secret. False: the library failed. */
static bool make_mac(struct conn *c, const char *label,
		     uint8_t mac[LINK_MAC_BYTES])
{
	const struct buf *secret = &c->l->secret;
	gnutls_hmac_hd_t h;

	memset(mac, 0, LINK_MAC_BYTES);
	if (!secret->n)
		return true;
	if (gnutls_hmac_init(&h, GNUTLS_MAC_SHA256, secret->p, secret->n))
		return false;
	if (gnutls_hmac(h, label, strlen(label) + 1) ||
	    gnutls_hmac(h, c->transcript.p, c->transcript.n)) {
		gnutls_hmac_deinit(h, NULL);
		return false;
	}
	gnutls_hmac_deinit(h, mac);
	return true;
}

static bool is_mac(struct conn *c, const char *label, const uint8_t *theirs)
{
	uint8_t mac[LINK_MAC_BYTES];

	return make_mac(c, label, mac) &&
	       gnutls_memcmp(mac, theirs, LINK_MAC_BYTES) == 0;
}

/* Who this node is, to the other end of c. False: no entropy. */
static bool fill_hello(struct conn *c, enum link_purpose purpose, uint64_t to,
		       struct link_hello *hello)
{
	struct links *l = c->l;

	*hello = (struct link_hello){ .purpose = purpose,
				      .has_secret = l->secret.n > 0,
				      .to = to };
	if (l->identified) {
		memcpy(hello->cluster_id, l->cluster_id, 16);
		hello->from = l->id;
	}
	snprintf(hello->name, sizeof(hello->name), "%s", l->o.name);
	if (l->o.address)
		snprintf(hello->address, sizeof(hello->address), "%s",
			 l->o.address);
	return gnutls_rnd(GNUTLS_RND_NONCE, hello->nonce, LINK_NONCE_BYTES) ==
	       0;
}

/* ------------------------------------------------------------- refusals -- */

static void linger(struct conn *c, const char *why)
{
	struct peer *p = peer_of(c->l, c->peer_id);

	if (p && p->in == c)
		p->in = NULL;
	if (shutdown(c->chan.fd, SHUT_WR) || chan_waiting(&c->chan)) {
		conn_end_refused(c, why);
		return;
	}
	c->stage = CONN_LINGERING;
	c->deadline_ns = c->l->now_ns + LINGER_MS * ns_per_ms;
	links_timer(c->l, c->deadline_ns);
}

void greet_refuse(struct conn *c, enum link_refusal code, const char *why)
{
	struct links *l = c->l;
	struct buf body = BUF_INIT;
	const char *name = c->peer_name[0] ? c->peer_name : c->hello.name;
	bool sent = false;

	links_count(&l->counts.refused, 1);
	if (code == LINK_REFUSED_MALFORMED || code == LINK_REFUSED_VERSION)
		links_count(&l->counts.malformed, 1);
	if (c->kind == CONN_ACCEPTED && links_say(l, c->address, why))
		log_warn("link",
			 "refused from=%s name=%s id=%llu reason=\"%s\"",
			 c->address, name[0] ? name : "?",
			 (unsigned long long)c->hello.from, why);
	if (link_refusal_encode(&body, code, why) == OK)
		sent = conn_send(c, LINK_REFUSAL, buf_bytes(&body));
	buf_done(&body);
	if (c->stage == CONN_DEAD)
		return;
	if (c->kind != CONN_ACCEPTED || !sent)
		conn_end_refused(c, why);
	else
		linger(c, why);
}

/* The other end of a connection that this node dialled said no. */
static void take_refusal(struct conn *c, struct bytes body)
{
	struct links *l = c->l;
	enum link_refusal code;
	char text[LINK_REFUSAL_TEXT_BYTES];
	char why[CHAN_WHY_BYTES];

	if (link_refusal_decode(body, &code, text)) {
		conn_end_refused(c, "refused");
		return;
	}
	snprintf(why, sizeof(why), "refused by %.60s: %.80s",
		 c->peer_name[0] ? c->peer_name : c->address, text);
	if (c->kind == CONN_ACCEPTED) {
		if (links_say(l, c->address, why))
			log_warn("link", "refused from=%s reason=\"%s\"",
				 c->address, why);
		conn_end_refused(c, why);
		return;
	}
	if (code == LINK_REFUSED_REMOVED && c->kind == CONN_DIALLED &&
	    c->proved && l->o.removed)
		l->o.removed(l->o.ctx, c->peer_name);
	switch (code) {
	case LINK_REFUSED_UNKNOWN:
	case LINK_REFUSED_STARTING:
	case LINK_REFUSED_TARGET:
		conn_end(c, why); /* may be otherwise soon */
		return;
	default:
		conn_end_refused(c, why);
	}
}

/* ------------------------------------------------------------ accepting -- */

static bool refuse_sender(struct conn *c)
{
	const struct link_hello *h = &c->hello;
	struct links *l = c->l;
	char text[LINK_REFUSAL_TEXT_BYTES];

	if (h->has_secret != (l->secret.n > 0)) {
		greet_refuse(c, LINK_REFUSED_SECRET,
			     h->has_secret ? "has a cluster secret, this node "
					     "has none"
					   : "has no cluster secret");
		return true;
	}
	if (h->purpose == LINK_FOR_QUESTIONS)
		return false;
	if (!l->identified) {
		greet_refuse(c, LINK_REFUSED_STARTING,
			     "this node is not part of a cluster yet");
		return true;
	}
	if (memcmp(h->cluster_id, l->cluster_id, 16) != 0) {
		greet_refuse(c, LINK_REFUSED_CLUSTER, "of another cluster");
		return true;
	}
	if (h->to == l->id && h->from != l->id)
		return false;
	snprintf(text, sizeof(text), "this is node %llu (%s), not node %llu",
		 (unsigned long long)l->id, l->o.name,
		 (unsigned long long)h->to);
	greet_refuse(c, LINK_REFUSED_TARGET, text);
	return true;
}

static void take_hello(struct conn *c, struct bytes body)
{
	struct buf reply = BUF_INIT;
	struct link_hello mine;
	enum err err;

	if (link_hello_decode(body, &c->hello)) {
		greet_refuse(c, LINK_REFUSED_MALFORMED, "a malformed greeting");
		return;
	}
	snprintf(c->peer_name, sizeof(c->peer_name), "%s", c->hello.name);
	if (refuse_sender(c))
		return;
	if (!fill_hello(c, c->hello.purpose, c->hello.from, &mine)) {
		conn_end(c, "no entropy");
		return;
	}
	err = link_hello_encode(&reply, &mine);
	if (!err)
		err = buf_add(&c->transcript, body.p, body.n);
	if (!err)
		err = buf_add(&c->transcript, reply.p, reply.n);
	if (err || !make_mac(c, label_welcome, reply.p + LINK_HELLO_MAC_OFF)) {
		conn_end(c, err_text(err ? err : ERR_NOMEM));
	} else {
		c->stage = CONN_PROVING;
		(void)conn_send(c, LINK_WELCOME, buf_bytes(&reply));
	}
	buf_done(&reply);
}

/* True: refused, by what is known of its id. */
static bool refuse_stranger(struct conn *c)
{
	enum links_standing standing =
		c->l->o.standing(c->l->o.ctx, c->hello.from);

	switch (standing) {
	case LINKS_MEMBER:
		return false;
	case LINKS_REMOVED:
		greet_refuse(c, LINK_REFUSED_REMOVED,
			     "that node was removed from the cluster");
		return true;
	case LINKS_UNKNOWN:
		break;
	}
	greet_refuse(c, LINK_REFUSED_UNKNOWN, "no such member is known here");
	return true;
}

/* The new link from a peer takes the place of an old one. */
static void let_in(struct conn *c)
{
	struct links *l = c->l;
	struct peer *p;

	c->stage = CONN_UP;
	buf_done(&c->transcript);
	if (c->hello.purpose != LINK_FOR_MESSAGES) {
		c->deadline_ns = l->now_ns + ASK_MS * ns_per_ms;
		links_timer(l, c->deadline_ns);
		return;
	}
	c->deadline_ns = 0;
	c->peer_id = c->hello.from;
	p = peer_of(l, c->peer_id);
	if (!p && c->hello.address[0] &&
	    !l->net.peer(&l->net, c->peer_id, c->hello.address))
		p = peer_of(l, c->peer_id);
	if (!p)
		return; /* it can send, but is not answered: a stranger still */
	c->stranger = false;
	l->stranger_count--;
	if (p->in)
		conn_end(p->in, "the peer has dialled again");
	p->in = c;
	p->backoff_ms = BACKOFF_MIN_MS; /* it is there: dial it now */
	if (!p->out && p->retry_ns > l->now_ns) {
		p->retry_ns = l->now_ns;
		links_timer(l, p->retry_ns);
	}
}

static void take_proof(struct conn *c, struct bytes body)
{
	if (body.n != LINK_MAC_BYTES || !is_mac(c, label_proof, body.p)) {
		greet_refuse(c, LINK_REFUSED_SECRET,
			     "does not know the cluster secret");
		return;
	}
	if (c->hello.purpose == LINK_FOR_MESSAGES && refuse_stranger(c))
		return;
	if (conn_send(c, LINK_READY, bytes_of(NULL, 0)))
		let_in(c);
}

/* -------------------------------------------------------------- dialling - */

void greet_begin(struct conn *c)
{
	struct buf body = BUF_INIT;

	if (c->kind == CONN_ACCEPTED)
		return; /* the dialler speaks first */
	if (!fill_hello(c,
			c->kind == CONN_ASKING ? LINK_FOR_QUESTIONS
					       : LINK_FOR_MESSAGES,
			c->peer_id, &c->hello)) {
		conn_end(c, "no entropy");
		return;
	}
	if (link_hello_encode(&body, &c->hello) ||
	    buf_add(&c->transcript, body.p, body.n))
		conn_end(c, err_text(ERR_NOMEM));
	else
		(void)conn_send(c, LINK_HELLO, buf_bytes(&body));
	buf_done(&body);
}

static bool refuse_acceptor(struct conn *c, const struct link_hello *theirs)
{
	char text[LINK_REFUSAL_TEXT_BYTES];

	if (theirs->has_secret != c->hello.has_secret) {
		greet_refuse(c, LINK_REFUSED_SECRET,
			     "one of the two has no cluster secret");
		return true;
	}
	if (c->kind == CONN_ASKING)
		return false;
	if (memcmp(theirs->cluster_id, c->l->cluster_id, 16) != 0) {
		greet_refuse(c, LINK_REFUSED_CLUSTER, "of another cluster");
		return true;
	}
	if (theirs->from == c->peer_id)
		return false;
	snprintf(text, sizeof(text), "that is node %llu (%s), not node %llu",
		 (unsigned long long)theirs->from, theirs->name,
		 (unsigned long long)c->peer_id);
	greet_refuse(c, LINK_REFUSED_TARGET, text);
	return true;
}

static void take_welcome(struct conn *c, struct bytes body)
{
	struct link_hello theirs;
	uint8_t mac[LINK_MAC_BYTES];
	size_t at = c->transcript.n;

	if (link_hello_decode(body, &theirs)) {
		greet_refuse(c, LINK_REFUSED_MALFORMED, "a malformed greeting");
		return;
	}
	if (refuse_acceptor(c, &theirs))
		return;
	if (buf_add(&c->transcript, body.p, body.n)) {
		conn_end(c, err_text(ERR_NOMEM));
		return;
	}
	memset(c->transcript.p + at + LINK_HELLO_MAC_OFF, 0, LINK_MAC_BYTES);
	if (!is_mac(c, label_welcome, theirs.mac)) {
		greet_refuse(c, LINK_REFUSED_SECRET,
			     "does not know the cluster secret");
		return;
	}
	snprintf(c->peer_name, sizeof(c->peer_name), "%s", theirs.name);
	c->proved = true;
	if (!make_mac(c, label_proof, mac)) {
		conn_end(c, err_text(ERR_NOMEM));
		return;
	}
	c->stage = CONN_PROVING;
	(void)conn_send(c, LINK_PROOF, bytes_of(mac, sizeof(mac)));
}

static void take_ready(struct conn *c)
{
	struct links *l = c->l;
	struct peer *p;

	c->stage = CONN_UP;
	buf_done(&c->transcript);
	if (c->kind == CONN_ASKING) {
		c->deadline_ns = l->now_ns + ASK_MS * ns_per_ms;
		links_timer(l, c->deadline_ns);
		(void)conn_send(c, LINK_QUESTION, buf_bytes(&c->question));
		return;
	}
	c->deadline_ns = 0;
	p = peer_of(l, c->peer_id);
	CHECK(p);
	CHECK(p->out == c);
	p->backoff_ms = BACKOFF_MIN_MS;
	p->said[0] = 0;
	l->changed = true;
	log_info("link", "up peer=%s id=%llu address=%s%s", c->peer_name,
		 (unsigned long long)p->id, p->address, l->tls ? " tls=1" : "");
}

void greet_frame(struct conn *c, enum link_kind kind, struct bytes body)
{
	bool accepted = c->kind == CONN_ACCEPTED;

	if (kind == LINK_REFUSAL)
		take_refusal(c, body);
	else if (accepted && c->stage == CONN_GREETING && kind == LINK_HELLO)
		take_hello(c, body);
	else if (accepted && c->stage == CONN_PROVING && kind == LINK_PROOF)
		take_proof(c, body);
	else if (!accepted && c->stage == CONN_GREETING && kind == LINK_WELCOME)
		take_welcome(c, body);
	else if (!accepted && c->stage == CONN_PROVING && kind == LINK_READY)
		take_ready(c);
	else
		greet_refuse(c, LINK_REFUSED_MALFORMED,
			     "a frame that does not belong here");
}
