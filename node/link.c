/*
 * node/link.c - the table of peers, the epoll in which the core thread sleeps,
 * and the seam to the store.
 *
 * Links that were made or broke are told at the beginning and at the end of
 * links_wait, never from inside a send: the store is in the middle of
 * something then.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/listen.h"
#include "base/log.h"
#include "node/link_internal.h"

enum {
	EVENTS_MAX = 64,
	ACCEPTS_MAX = 16, /* in one round                                    */
	QUEUE_BYTES_DEFAULT = 48 << 20,
	SILENCE_MS_DEFAULT = 10000,
	STANDING_MS = 1000,
};

/* Marks among the pointers that epoll carries. */
static char mark_listener, mark_wake;

/* ---------------------------------------------------------- small help --- */

struct peer *peer_of(struct links *l, uint64_t id)
{
	for (uint32_t i = 0; id && i < l->peer_count; i++) {
		if (l->peers[i].id == id)
			return &l->peers[i];
	}
	return NULL;
}

void links_timer(struct links *l, uint64_t ns)
{
	if (ns < l->timer_ns)
		l->timer_ns = ns;
}

static uint64_t hash_text(uint64_t hash, const char *s)
{
	for (; *s; s++) /* FNV-1a */
		hash = (hash ^ (uint8_t)*s) * 0x100000001b3ull;
	return hash;
}

bool links_say(struct links *l, const char *whom, const char *what)
{
	uint64_t hash = hash_text(0xcbf29ce484222325ull, what);
	struct said *s;

	/* The port of who dials is another each time. */
	for (size_t n = 0; whom[n] && whom + n != strrchr(whom, ':'); n++)
		hash = (hash ^ (uint8_t)whom[n]) * 0x100000001b3ull;
	for (int i = 0; i < SAID_MAX; i++) {
		s = &l->said[i];
		if (s->hash == hash && s->at_ns &&
		    l->now_ns - s->at_ns < SAY_AGAIN_MS * ns_per_ms)
			return false;
	}
	s = &l->said[l->said_next++ % SAID_MAX];
	*s = (struct said){ .hash = hash, .at_ns = l->now_ns };
	return true;
}

/* --------------------------------------------------------------- the net - */

static struct links *links_of(struct net *n)
{
	return (struct links *)((char *)n - offsetof(struct links, net));
}

static enum err send_frame(struct links *l, struct conn *c, struct iovec *iov,
			   int iov_count)
{
	bool torn;
	enum err err = chan_send(&c->chan, iov, iov_count, &torn);

	if (err == ERR_CLOSED || torn) {
		conn_end(c, torn ? err_text(err) : c->chan.why);
		return err;
	}
	if (!err)
		conn_poll(c);
	return err;
}

/* Header, parts and padding as pieces; many parts are copied into one. */
static enum err lay_out(struct links *l, const struct bytes *parts,
			uint32_t part_count, struct iovec *iov, int *iov_count)
{
	int n = 1;

	l->scratch.n = 0;
	if (part_count <= CHAN_IOV_MAX - 2) {
		for (uint32_t i = 0; i < part_count; i++)
			iov[n++] = (struct iovec){
				.iov_base = (void *)(uintptr_t)parts[i].p,
				.iov_len = parts[i].n,
			};
		*iov_count = n;
		return OK;
	}
	for (uint32_t i = 0; i < part_count; i++) {
		enum err err = buf_add(&l->scratch, parts[i].p, parts[i].n);

		if (err)
			return err;
	}
	iov[n++] = (struct iovec){ .iov_base = l->scratch.p,
				   .iov_len = l->scratch.n };
	*iov_count = n;
	return OK;
}

static enum err send_message(struct links *l, uint64_t to,
			     const struct bytes *parts, uint32_t part_count)
{
	static const uint8_t zeros[8];
	struct peer *p = peer_of(l, to);
	struct iovec iov[CHAN_IOV_MAX];
	uint8_t header[LINK_HEADER_BYTES];
	uint32_t crc = 0;
	size_t body = 0, frame, waiting;
	int count;
	enum err err;

	if (!p || !p->out || p->out->stage != CONN_UP)
		return ERR_CLOSED;
	for (uint32_t i = 0; i < part_count; i++) {
		crc = crc32c(crc, parts[i].p, parts[i].n);
		body += parts[i].n;
	}
	if (body > NET_MESSAGE_BYTES_MAX)
		return ERR_TOO_LARGE;
	frame = link_frame_bytes(body);
	waiting = chan_waiting(&p->out->chan);
	if (waiting && waiting + frame > l->o.queue_bytes_max)
		return ERR_FULL;
	err = lay_out(l, parts, part_count, iov, &count);
	if (err)
		return err;
	link_header_encode(header, LINK_MESSAGE, (uint32_t)body, crc);
	iov[0] =
		(struct iovec){ .iov_base = header, .iov_len = sizeof(header) };
	iov[count++] = (struct iovec){
		.iov_base = (void *)(uintptr_t)zeros,
		.iov_len = frame - sizeof(header) - body,
	};
	err = send_frame(l, p->out, iov, count);
	if (err)
		return err;
	links_count(&l->counts.messages_sent, 1);
	links_count(&l->counts.bytes_sent, frame);
	return OK;
}

static enum err net_send(struct net *n, uint64_t to, const struct bytes *parts,
			 uint32_t part_count)
{
	struct links *l = links_of(n);
	enum err err = send_message(l, to, parts, part_count);

	if (err)
		links_count(&l->counts.messages_dropped, 1);
	return err;
}

static void drop_peer(struct links *l, struct peer *p)
{
	if (p->out)
		conn_end(p->out, "no peer any more");
	if (p->in && l->o.standing(l->o.ctx, p->id) == LINKS_REMOVED)
		greet_refuse(p->in, LINK_REFUSED_REMOVED,
			     "that node was removed from the cluster");
	*p = l->peers[--l->peer_count];
}

static enum err net_peer(struct net *n, uint64_t id, const char *address)
{
	struct links *l = links_of(n);
	struct peer *p = peer_of(l, id);

	if (!address) {
		if (p)
			drop_peer(l, p);
		return OK;
	}
	if (strlen(address) >= NET_ADDRESS_BYTES_MAX)
		return ERR_INVALID;
	if (p && strcmp(p->address, address) == 0)
		return OK;
	if (!p) {
		if (l->peer_count == LINKS_PEERS_MAX)
			return ERR_FULL;
		p = &l->peers[l->peer_count++];
		*p = (struct peer){ .id = id };
	} else if (p->out) {
		conn_end(p->out, "it has another address now");
	}
	snprintf(p->address, sizeof(p->address), "%s", address);
	p->backoff_ms = BACKOFF_MIN_MS;
	p->retry_ns = l->now_ns;
	links_timer(l, 0);
	return OK;
}

static bool net_is_up(struct net *n, uint64_t id)
{
	struct peer *p = peer_of(links_of(n), id);

	return p && p->out && p->out->stage == CONN_UP;
}

struct net *links_net(struct links *l)
{
	return &l->net;
}

/* --------------------------------------------------------------- dialling  */

/* Resolve and dial c; what fails ends c. */
static void go_dialling(struct conn *c)
{
	struct resolved a;
	enum err err = resolve(c->l->resolver, c->address, c->token, &a);

	if (!err)
		conn_dial(c, &a);
	else if (err != ERR_PENDING)
		conn_end(c,
			 err == ERR_INVALID ? "not an address" : err_text(err));
}

static void dial_peer(struct links *l, struct peer *p)
{
	struct conn *c = conn_new(l, CONN_DIALLED);

	if (!c) {
		p->retry_ns = l->now_ns + BACKOFF_MAX_MS * ns_per_ms;
		links_timer(l, p->retry_ns);
		return;
	}
	c->peer_id = p->id;
	snprintf(c->address, sizeof(c->address), "%s", p->address);
	p->out = c;
	go_dialling(c);
}

enum err links_ask(struct links *l, const char *address, struct bytes question,
		   void (*answered)(void *ctx, enum err err,
				    struct bytes answer),
		   void *ctx)
{
	struct conn *c;

	if (strlen(address) >= NET_ADDRESS_BYTES_MAX ||
	    question.n > LINK_QUESTION_BYTES_MAX)
		return ERR_INVALID;
	if (l->ask_count == LINKS_ASKS_MAX)
		return ERR_FULL;
	c = conn_new(l, CONN_ASKING);
	if (!c)
		return ERR_NOMEM;
	if (buf_add(&c->question, question.p, question.n)) {
		conn_end(c, err_text(ERR_NOMEM));
		return ERR_NOMEM; /* nobody is told: answered is not set */
	}
	c->answered = answered;
	c->ctx = ctx;
	snprintf(c->address, sizeof(c->address), "%s", address);
	go_dialling(c);
	links_timer(l, 0);
	return OK;
}

static void take_resolved(struct links *l)
{
	struct resolved a;

	while (resolve_take(l->resolver, &a)) {
		for (struct conn *c = l->conns; c; c = c->next) {
			if (c->token != a.token || c->stage != CONN_RESOLVING)
				continue;
			conn_dial(c, &a);
			break;
		}
	}
}

/* -------------------------------------------------------------- accepting  */

static void name_address(const struct sockaddr_storage *a, socklen_t n,
			 char *out, size_t out_bytes)
{
	char host[64], port[8];

	if (getnameinfo((const struct sockaddr *)a, n, host, sizeof(host), port,
			sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(out, out_bytes, "?");
	else
		snprintf(out, out_bytes,
			 a->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
			 port);
}

/* The stranger who has been here longest makes place. */
static void push_out_stranger(struct links *l)
{
	struct conn *oldest = NULL;

	for (struct conn *c = l->conns; c; c = c->next) {
		if (c->stranger)
			oldest = c; /* the list begins with the newest */
	}
	if (oldest)
		conn_end(oldest, "too many strangers");
}

/* The listener has its place in the epoll, and asks for events or not. */
static void listen_on(struct links *l, bool on)
{
	struct epoll_event e = { .events = on ? EPOLLIN : 0,
				 .data.ptr = &mark_listener };

	/* If that fails the next accept is what tells. */
	(void)epoll_ctl(l->epoll, EPOLL_CTL_MOD, l->listener, &e);
	l->accept_ns = on ? 0 : l->now_ns + ACCEPT_AGAIN_MS * ns_per_ms;
	if (!on)
		links_timer(l, l->accept_ns);
}

/*
 * No descriptor or no memory for who knocks: the poll would tell of him again
 * at once, and the core thread do nothing else.
 */
static void accept_failed(struct links *l, int error)
{
	if (error != EMFILE && error != ENFILE && error != ENOBUFS &&
	    error != ENOMEM)
		return; /* none there, or it has gone again */
	links_count(&l->counts.accept_failures, 1);
	if (links_say(l, "", strerror(error)))
		log_warn("link", "accept_failed reason=\"%s\" again_in_ms=%d",
			 strerror(error), ACCEPT_AGAIN_MS);
	listen_on(l, false);
}

static void accept_some(struct links *l)
{
	for (int i = 0; i < ACCEPTS_MAX; i++) {
		struct sockaddr_storage a = { 0 };
		socklen_t n = sizeof(a);
		struct conn *c;
		int fd = accept4(l->listener, (struct sockaddr *)&a, &n,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			accept_failed(l, errno);
			return;
		}
		if (l->stranger_count >= LINKS_STRANGERS_MAX)
			push_out_stranger(l);
		links_count(&l->counts.accepts, 1);
		c = conn_new(l, CONN_ACCEPTED);
		if (!c) {
			close(fd);
			return;
		}
		name_address(&a, n, c->address, sizeof(c->address));
		conn_attach(c, fd);
	}
}

/* ----------------------------------------------------------------- rounds  */

/* Whoever was removed since it was let in is told so. */
static void look_at_standing(struct links *l)
{
	if (l->now_ns < l->standing_ns)
		return;
	l->standing_ns = l->now_ns + STANDING_MS * ns_per_ms;
	for (struct conn *c = l->conns, *next; c; c = next) {
		next = c->next;
		if (c->kind == CONN_ACCEPTED && c->stage == CONN_UP &&
		    c->peer_id &&
		    l->o.standing(l->o.ctx, c->peer_id) == LINKS_REMOVED)
			greet_refuse(c, LINK_REFUSED_REMOVED,
				     "that node was removed from the cluster");
	}
}

static void run_timers(struct links *l)
{
	struct conn *c, *next;

	if (l->identified)
		look_at_standing(l);
	if (l->now_ns < l->timer_ns)
		return;
	l->timer_ns = UINT64_MAX;
	if (l->accept_ns && l->accept_ns <= l->now_ns)
		listen_on(l, true);
	else if (l->accept_ns)
		links_timer(l, l->accept_ns);
	for (c = l->conns; c; c = next) {
		next = c->next;
		if (c->deadline_ns && c->deadline_ns <= l->now_ns)
			conn_overdue(c);
		else if (c->deadline_ns)
			links_timer(l, c->deadline_ns);
	}
	for (uint32_t i = 0; l->identified && i < l->peer_count; i++) {
		struct peer *p = &l->peers[i];

		if (p->out)
			continue;
		if (p->retry_ns <= l->now_ns)
			dial_peer(l, p);
		else
			links_timer(l, p->retry_ns);
	}
}

/* A callback may change the table: begin again after each. */
static bool tell_one(struct links *l)
{
	for (uint32_t i = 0; i < l->peer_count; i++) {
		struct peer *p = &l->peers[i];
		bool up = p->out && p->out->stage == CONN_UP;

		if (p->told_up && p->lost) {
			p->told_up = p->lost = false;
			l->o.link(l->o.ctx, p->id, false);
			return true;
		}
		p->lost = false;
		if (up && !p->told_up) {
			p->told_up = true;
			l->o.link(l->o.ctx, p->id, true);
			return true;
		}
	}
	return false;
}

static void tell_changes(struct links *l)
{
	while (l->changed) {
		l->busy = true;
		l->changed = tell_one(l);
	}
}

static int wait_timeout_ms(struct links *l, uint64_t timeout_ms)
{
	uint64_t ms;

	if (l->again || l->dead)
		return 0;
	if (l->timer_ns != UINT64_MAX) {
		ms = l->timer_ns <= l->now_ns
			     ? 0
			     : (l->timer_ns - l->now_ns) / ns_per_ms + 1;
		if (ms < timeout_ms)
			timeout_ms = ms;
	}
	return timeout_ms > 60000 ? 60000 : (int)timeout_ms;
}

static void serve_again(struct links *l)
{
	struct conn *c, *next;

	if (!l->again)
		return;
	l->again = false;
	for (c = l->conns; c; c = next) {
		next = c->next;
		if (c->again && c->stage != CONN_DEAD)
			conn_event(c, 0);
	}
	/* One that was ended meanwhile may have led the walk astray. */
	for (c = l->conns; c; c = c->next)
		l->again |= c->again;
}

enum err links_wait(struct links *l, uint64_t timeout_ms, bool *idle)
{
	struct epoll_event events[EVENTS_MAX];
	enum err err;
	int n;

	l->busy = false;
	l->now_ns = clock_mono_ns(l->o.clock);
	run_timers(l);
	tell_changes(l);
	if (wake_begin(&l->wake) || l->busy)
		timeout_ms = 0;
	n = epoll_wait(l->epoll, events, EVENTS_MAX,
		       wait_timeout_ms(l, timeout_ms));
	if (wake_end(&l->wake))
		l->busy = true;
	l->now_ns = clock_mono_ns(l->o.clock);
	serve_again(l);
	for (int i = 0; i < n; i++) {
		struct conn *c = events[i].data.ptr;

		if (events[i].data.ptr == &mark_listener)
			accept_some(l);
		else if (events[i].data.ptr != &mark_wake &&
			 c->stage != CONN_DEAD)
			conn_event(c, events[i].events);
	}
	take_resolved(l);
	tell_changes(l);
	conns_bury(l);
	*idle = !l->busy;
	err = l->err;
	l->err = OK;
	return err;
}

void links_wake(struct links *l)
{
	wake_up(&l->wake);
}

void links_identify(struct links *l, const uint8_t cluster_id[16], uint64_t id)
{
	CHECK(id);
	memcpy(l->cluster_id, cluster_id, 16);
	l->id = id;
	l->identified = true;
	links_timer(l, 0);
}

/* ------------------------------------------------------------ open, close  */

static void wake_links(void *ctx)
{
	links_wake(ctx);
}

static enum err check_secret(struct links *l, struct buf *why)
{
	const struct bytes *s = &l->o.secret;

	if (!s->n)
		return OK;
	if (s->n < LINKS_SECRET_BYTES_MIN || s->n > LINKS_SECRET_BYTES_MAX) {
		(void)!buf_addf(why,
				"the cluster secret must have %d to %d bytes, "
				"not %zu",
				LINKS_SECRET_BYTES_MIN, LINKS_SECRET_BYTES_MAX,
				s->n);
		return ERR_INVALID;
	}
	return buf_add(&l->secret, s->p, s->n);
}

static enum err watch(struct links *l, int fd, uint32_t events, void *mark)
{
	struct epoll_event e = { .events = events, .data.ptr = mark };

	return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e) ? ERR_IO : OK;
}

static enum err open_all(struct links *l, struct buf *why)
{
	enum err err = check_secret(l, why);

	if (!err && l->o.tls_cert)
		err = chan_tls_new(l->o.tls_cert, l->o.tls_key, l->o.tls_ca,
				   &l->tls, why);
	if (!err)
		err = resolver_new(wake_links, l, &l->resolver);
	if (!err)
		err = wake_open(&l->wake);
	if (err)
		return err;
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll < 0)
		return ERR_IO;
	err = listen_open(l->o.listen, &l->listener, &l->port, why);
	if (!err && l->o.loopback_only && !listen_is_loopback(l->listener)) {
		(void)!buf_addf(why, "not a loopback address: that needs "
				     "security.peer_cert, peer_key and "
				     "peer_ca, or cluster_secret_file, or "
				     "security.insecure = true");
		err = ERR_PERMISSION;
	}
	if (!err)
		err = watch(l, l->listener, EPOLLIN, &mark_listener);
	if (!err)
		err = watch(l, l->wake.fd, EPOLLIN | EPOLLET, &mark_wake);
	return err;
}

enum err links_open(const struct links_options *o, struct links **out,
		    struct buf *why)
{
	struct links *l = calloc(1, sizeof(*l));
	enum err err;

	if (!l)
		return ERR_NOMEM;
	l->net = (struct net){ .send = net_send,
			       .peer = net_peer,
			       .is_up = net_is_up };
	l->o = *o;
	if (!l->o.queue_bytes_max)
		l->o.queue_bytes_max = QUEUE_BYTES_DEFAULT;
	if (!l->o.silence_ms)
		l->o.silence_ms = SILENCE_MS_DEFAULT;
	l->epoll = l->listener = -1;
	wake_init(&l->wake);
	l->timer_ns = UINT64_MAX;
	l->now_ns = clock_mono_ns(o->clock);
	l->peers = calloc(LINKS_PEERS_MAX, sizeof(*l->peers));
	err = l->peers ? open_all(l, why) : ERR_NOMEM;
	if (err) {
		if (!why->n)
			(void)!buf_addf(why, "%s", err_text(err));
		links_close(l);
		return err;
	}
	*out = l;
	return OK;
}

void links_set_tls(struct links *l, struct chan_tls *t)
{
	CHECK(l->tls);
	chan_tls_free(l->tls);
	l->tls = t;
}

void links_close(struct links *l)
{
	if (!l)
		return;
	l->peer_count = 0;
	while (l->conns)
		conn_end(l->conns, "this node stops");
	conns_bury(l);
	resolver_free(l->resolver);
	if (l->listener >= 0)
		close(l->listener);
	if (l->epoll >= 0)
		close(l->epoll);
	wake_close(&l->wake);
	chan_tls_free(l->tls);
	buf_done(&l->secret);
	buf_done(&l->scratch);
	free(l->peers);
	free(l);
}

uint16_t links_port(const struct links *l)
{
	return l->port;
}

void links_stats(struct links *l, struct links_stats *s)
{
	struct links_counts *k = &l->counts;

	*s = (struct links_stats){
		.messages_sent = k->messages_sent,
		.bytes_sent = k->bytes_sent,
		.messages_received = k->messages_received,
		.bytes_received = k->bytes_received,
		.messages_dropped = k->messages_dropped,
		.dials = k->dials,
		.accepts = k->accepts,
		.refused = k->refused,
		.malformed = k->malformed,
		.accept_failures = k->accept_failures,
	};
}
