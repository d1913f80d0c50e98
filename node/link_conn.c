/*
 * node/link_conn.c - one connection: its socket, its frames, its end.
 *
 * Input is read in large pieces and cut into frames where it lies. A frame
 * that does not fit makes the buffer grow as its bytes come in, never on the
 * word of its length: a stranger who announces much has to send it, and may
 * not before he is known.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "node/link_internal.h"

enum { KEEPALIVE_IDLE_S = 10, KEEPALIVE_EVERY_S = 3, KEEPALIVE_COUNT = 3 };

/* ------------------------------------------------------- begin and end --- */

struct conn *conn_new(struct links *l, enum conn_kind kind)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->l = l;
	c->kind = kind;
	c->stage = CONN_RESOLVING;
	c->chan.fd = -1;
	c->token = ++l->next_token;
	c->next = l->conns;
	if (c->next)
		c->next->prev = c;
	l->conns = c;
	c->stranger = kind == CONN_ACCEPTED;
	if (c->stranger)
		l->stranger_count++;
	if (kind == CONN_ASKING)
		l->ask_count++;
	c->deadline_ns = l->now_ns + GREET_MS * ns_per_ms;
	links_timer(l, c->deadline_ns);
	return c;
}

static void set_socket_options(const struct links *l, int fd)
{
	int on = 1, idle = KEEPALIVE_IDLE_S, every = KEEPALIVE_EVERY_S,
	    count = KEEPALIVE_COUNT;
	unsigned silence_ms = (unsigned)l->o.silence_ms;

	/* None of them is vital: a socket without is only slower to notice. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms,
		   sizeof(silence_ms));
}

void conn_poll(struct conn *c)
{
	bool out = c->stage == CONN_CONNECTING || chan_wants_output(&c->chan);
	struct epoll_event e = { .events = EPOLLIN | (out ? EPOLLOUT : 0),
				 .data.ptr = c };

	if (out == c->polls_out || c->stage == CONN_DEAD)
		return;
	c->polls_out = out;
	if (epoll_ctl(c->l->epoll, EPOLL_CTL_MOD, c->chan.fd, &e))
		conn_end(c, strerror(errno));
}

void conn_attach(struct conn *c, int fd)
{
	struct links *l = c->l;
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT, .data.ptr = c };
	enum err err;

	set_socket_options(l, fd);
	err = chan_open(&c->chan, fd, l->tls, c->kind != CONN_ACCEPTED);
	if (err) {
		close(fd);
		conn_end(c, err_text(err));
		return;
	}
	c->polls_out = true;
	if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e)) {
		conn_end(c, strerror(errno));
		return;
	}
	c->stage = c->kind == CONN_ACCEPTED ? CONN_SECURING : CONN_CONNECTING;
}

/* Begin with one address. False: that failed at once, chan.why says how. */
static bool dial_one(struct conn *c, const struct resolved_address *at)
{
	struct links *l = c->l;
	int fd = socket(at->address.ss_family,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	links_count(&l->counts.dials, 1);
	if (fd >= 0 && (!connect(fd, (const struct sockaddr *)&at->address,
				 at->address_bytes) ||
			errno == EINPROGRESS)) {
		conn_attach(c, fd);
		return true;
	}
	snprintf(c->chan.why, sizeof(c->chan.why), "%s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return false;
}

/*
 * Dial what is left in c->to. The last address has the time that is left of
 * the greeting's.
 */
static void dial_next(struct conn *c)
{
	struct links *l = c->l;

	while (c->to.count > 0) {
		struct resolved_address at = c->to.at[0];

		c->to.count--;
		memmove(c->to.at, c->to.at + 1, c->to.count * sizeof(at));
		if (!dial_one(c, &at))
			continue;
		c->deadline_ns =
			l->now_ns +
			(c->to.count ? CONNECT_MS : GREET_MS) * ns_per_ms;
		links_timer(l, c->deadline_ns);
		return;
	}
	conn_end(c, c->chan.why);
}

/* It did not get through to an address: why; to the next one. */
static void dial_failed(struct conn *c, const char *why)
{
	if (!c->to.count) {
		conn_end(c, why);
		return;
	}
	chan_close(&c->chan);
	snprintf(c->chan.why, sizeof(c->chan.why), "%s", why);
	dial_next(c);
}

void conn_dial(struct conn *c, const struct resolved *a)
{
	struct peer *p = peer_of(c->l, c->peer_id);
	uint32_t first = p && a->count ? p->turn % a->count : 0;

	if (!a->count) {
		conn_end(c, "no such host");
		return;
	}
	for (uint32_t i = 0; i < a->count; i++)
		c->to.at[i] = a->at[(first + i) % a->count];
	c->to.count = a->count;
	dial_next(c);
}

/* When to dial again, and a word in the log if it is a new one. */
static void lose_dialled(struct conn *c, const char *why, uint64_t least_ms)
{
	struct links *l = c->l;
	struct peer *p = peer_of(l, c->peer_id);
	uint64_t ms;

	if (!p || p->out != c)
		return;
	p->out = NULL;
	if (c->stage == CONN_UP) {
		p->lost = true;
		l->changed = true;
		p->backoff_ms = BACKOFF_MIN_MS;
		log_info("link", "down peer=%s id=%llu reason=\"%s\"",
			 c->peer_name, (unsigned long long)p->id, why);
	} else if (strcmp(why, p->said) != 0 ||
		   l->now_ns - p->said_at_ns > SAY_AGAIN_MS * ns_per_ms) {
		log_info("link", "unreachable id=%llu address=%s reason=\"%s\"",
			 (unsigned long long)p->id, p->address, why);
		snprintf(p->said, sizeof(p->said), "%s", why);
		p->said_at_ns = l->now_ns;
	}
	/* Somebody else listens there, perhaps: next time another one first. */
	if (c->stage > CONN_CONNECTING && c->stage != CONN_UP)
		p->turn++;
	ms = p->backoff_ms > least_ms ? p->backoff_ms : least_ms;
	ms = ms / 2 + seed_below(l->o.seed, ms / 2 + 1);
	p->retry_ns = l->now_ns + ms * ns_per_ms;
	links_timer(l, p->retry_ns);
	p->backoff_ms *= 2;
	if (p->backoff_ms > BACKOFF_MAX_MS)
		p->backoff_ms = BACKOFF_MAX_MS;
}

static void end(struct conn *c, const char *why, uint64_t least_ms)
{
	struct links *l = c->l;
	struct peer *p;

	if (c->stage == CONN_DEAD)
		return;
	if (c->kind == CONN_DIALLED)
		lose_dialled(c, why, least_ms);
	p = peer_of(l, c->peer_id);
	if (p && p->in == c)
		p->in = NULL;
	if (c->stranger)
		l->stranger_count--;
	if (c->kind == CONN_ASKING)
		l->ask_count--;
	if (why != c->chan.why)
		snprintf(c->chan.why, sizeof(c->chan.why), "%s", why);
	c->stage = CONN_DEAD;
	chan_close(&c->chan);
	if (c->prev)
		c->prev->next = c->next;
	else
		l->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	c->next = l->dead;
	l->dead = c;
}

void conn_end(struct conn *c, const char *why)
{
	end(c, why, 0);
}

void conn_end_refused(struct conn *c, const char *why)
{
	end(c, why, REFUSED_MS);
}

void conn_overdue(struct conn *c)
{
	switch (c->stage) {
	case CONN_RESOLVING:
		conn_end(c, "the name was not resolved in time");
		return;
	case CONN_CONNECTING:
		dial_failed(c, "no answer");
		return;
	case CONN_UP:
		conn_end(c, c->kind == CONN_ASKING ? "no answer to a question"
						   : "half a frame and no "
						     "more of it");
		return;
	default:
		conn_end(c, "the greeting took too long");
	}
}

void conns_bury(struct links *l)
{
	struct conn *c;

	while ((c = l->dead)) {
		l->dead = c->next;
		if (c->answered)
			c->answered(c->ctx, ERR_CLOSED, bytes_str(c->chan.why));
		buf_done(&c->in);
		buf_done(&c->transcript);
		buf_done(&c->question);
		free(c);
	}
}

/* -------------------------------------------------------------- output --- */

bool conn_send(struct conn *c, enum link_kind kind, struct bytes body)
{
	static const uint8_t zeros[8];
	uint8_t header[LINK_HEADER_BYTES];
	struct iovec iov[3] = {
		{ .iov_base = header, .iov_len = sizeof(header) },
		{ .iov_base = (void *)(uintptr_t)body.p, .iov_len = body.n },
		{ .iov_base = (void *)(uintptr_t)zeros,
		  .iov_len =
			  link_frame_bytes(body.n) - sizeof(header) - body.n },
	};
	bool torn;
	enum err err;

	link_header_encode(header, kind, (uint32_t)body.n,
			   crc32c(0, body.p, body.n));
	err = chan_send(&c->chan, iov, 3, &torn);
	if (err) {
		conn_end(c, err == ERR_CLOSED ? c->chan.why : err_text(err));
		return false;
	}
	conn_poll(c);
	return c->stage != CONN_DEAD;
}

/* --------------------------------------------------------------- input --- */

static void answer_question(struct conn *c, struct bytes body)
{
	struct links *l = c->l;
	struct buf answer = BUF_INIT;
	enum err err = l->o.question(l->o.ctx, body, &answer);

	if (err)
		conn_end(c, "the question cannot be answered");
	else
		(void)conn_send(c, LINK_ANSWER, buf_bytes(&answer));
	buf_done(&answer);
}

static void take_answer(struct conn *c, struct bytes body)
{
	void (*answered)(void *ctx, enum err err, struct bytes answer) =
		c->answered;

	c->answered = NULL;
	if (answered)
		answered(c->ctx, OK, body);
	conn_end(c, "answered");
}

static void take_message(struct conn *c, struct bytes body)
{
	struct links *l = c->l;
	enum err err;

	links_count(&l->counts.messages_received, 1);
	links_count(&l->counts.bytes_received, body.n);
	err = l->o.receive(l->o.ctx, c->peer_id, body);
	if (err && !l->err)
		l->err = err;
}

static void take_frame(struct conn *c, enum link_kind kind, struct bytes body)
{
	c->l->busy = true;
	if (c->stage == CONN_LINGERING)
		return;
	if (c->stage != CONN_UP || kind == LINK_REFUSAL)
		greet_frame(c, kind, body);
	else if (kind == LINK_MESSAGE && c->kind == CONN_ACCEPTED &&
		 c->hello.purpose == LINK_FOR_MESSAGES)
		take_message(c, body);
	else if (kind == LINK_QUESTION && c->kind == CONN_ACCEPTED &&
		 c->hello.purpose == LINK_FOR_QUESTIONS)
		answer_question(c, body);
	else if (kind == LINK_ANSWER && c->kind == CONN_ASKING)
		take_answer(c, body);
	else
		greet_refuse(c, LINK_REFUSED_MALFORMED,
			     "a frame that does not belong here");
}

static uint32_t body_bytes_max(const struct conn *c)
{
	if (c->stage != CONN_UP)
		return LINK_GREETING_BYTES_MAX;
	return c->kind == CONN_ACCEPTED && c->hello.purpose == LINK_FOR_MESSAGES
		       ? NET_MESSAGE_BYTES_MAX
		       : LINK_QUESTION_BYTES_MAX;
}

/* One frame from what was received. ERR_PENDING: it is not there yet. */
static enum err next_frame(struct conn *c, struct link_header *h,
			   struct bytes *body)
{
	const uint8_t *p = c->in.p + c->in_off;
	size_t n = c->in.n - c->in_off, frame_bytes;
	enum err err;

	if (n < LINK_HEADER_BYTES)
		return ERR_PENDING;
	err = link_header_decode(p, h);
	if (err)
		return err;
	if (h->body_bytes > body_bytes_max(c))
		return ERR_TOO_LARGE;
	frame_bytes = link_frame_bytes(h->body_bytes);
	if (n < frame_bytes)
		return ERR_PENDING;
	*body = bytes_of(p + LINK_HEADER_BYTES, h->body_bytes);
	if (crc32c(0, body->p, body->n) != h->body_crc)
		return ERR_CORRUPT;
	c->in_off += frame_bytes;
	return OK;
}

static void take_frames(struct conn *c)
{
	struct link_header h;
	struct bytes body;
	enum err err = OK;

	while (c->stage != CONN_DEAD && !err) {
		err = next_frame(c, &h, &body);
		if (!err)
			take_frame(c, h.kind, body);
	}
	if (c->stage == CONN_DEAD || c->stage == CONN_LINGERING)
		return;
	if (err == ERR_VERSION)
		greet_refuse(c, LINK_REFUSED_VERSION,
			     "speaks another version of the protocol");
	else if (err != ERR_PENDING)
		greet_refuse(c, LINK_REFUSED_MALFORMED,
			     "not a frame of this protocol, or damaged");
}

/* What is left of the buffer goes to its front; half a frame must go on. */
static void tidy(struct conn *c)
{
	size_t n = c->in.n - c->in_off;
	uint64_t stall_ns = c->l->now_ns + STALL_MS * ns_per_ms;

	if (c->in_off && n)
		memmove(c->in.p, c->in.p + c->in_off, n);
	c->in.n = n;
	c->in_off = 0;
	if (!n && c->in.cap > KEEP_BYTES)
		buf_done(&c->in);
	if (c->stage != CONN_UP || c->kind != CONN_ACCEPTED ||
	    c->hello.purpose != LINK_FOR_MESSAGES)
		return; /* who asks has its time */
	c->deadline_ns = n ? stall_ns : 0;
	if (n)
		links_timer(c->l, stall_ns);
}

static enum err make_room(struct conn *c)
{
	size_t want =
		c->stage == CONN_UP ? READ_BYTES : LINK_GREETING_BYTES_MAX;
	struct link_header h;
	size_t need;

	if (c->in.n >= LINK_HEADER_BYTES && !link_header_decode(c->in.p, &h)) {
		/* The rest of a large frame, no more than was sent so far. */
		need = link_frame_bytes(h.body_bytes) - c->in.n;
		if (need > want)
			want = need < c->in.n ? need : c->in.n;
	}
	return c->in.cap - c->in.n >= want ? OK : buf_reserve(&c->in, want);
}

static void read_some(struct conn *c)
{
	size_t got = 0, total = 0;
	enum err err = OK;

	while (!err && c->stage != CONN_DEAD && total < READ_BYTES) {
		err = make_room(c);
		if (!err)
			err = chan_recv(&c->chan, c->in.p + c->in.n,
					c->in.cap - c->in.n, &got);
		if (err)
			break;
		c->in.n += got;
		total += got;
		take_frames(c);
		if (c->stage == CONN_LINGERING)
			c->in_off = c->in.n;
		tidy(c);
		if (!c->chan.session)
			break; /* the poll tells of what is left */
	}
	if (c->stage == CONN_DEAD)
		return;
	if (err && err != ERR_PENDING) {
		conn_end(c, err == ERR_CLOSED ? c->chan.why : err_text(err));
		return;
	}
	c->again = chan_holds_bytes(&c->chan);
	c->l->again |= c->again;
}

/* --------------------------------------------------------------- events -- */

/* The connection stands, or not. False: it does not. */
static bool connected(struct conn *c)
{
	int error = 0;
	socklen_t n = sizeof(error);

	if (getsockopt(c->chan.fd, SOL_SOCKET, SO_ERROR, &error, &n) || error) {
		dial_failed(c, strerror(error));
		return false;
	}
	c->deadline_ns = c->l->now_ns + GREET_MS * ns_per_ms;
	links_timer(c->l, c->deadline_ns);
	c->stage = CONN_SECURING;
	return true;
}

static void secure(struct conn *c)
{
	enum err err = chan_secure(&c->chan);

	if (err == ERR_PENDING) {
		conn_poll(c);
		return;
	}
	if (!err) {
		c->stage = CONN_GREETING;
		greet_begin(c);
		return;
	}
	if (c->kind == CONN_ACCEPTED) {
		links_count(&c->l->counts.refused, 1);
		if (links_say(c->l, c->address, c->chan.why))
			log_warn("link", "refused from=%s reason=\"%s\"",
				 c->address, c->chan.why);
	}
	conn_end_refused(c, c->chan.why);
}

void conn_event(struct conn *c, uint32_t events)
{
	if (c->stage == CONN_CONNECTING) {
		if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) ||
		    !connected(c))
			return;
	}
	if (c->stage == CONN_SECURING) {
		secure(c);
		events |= EPOLLIN; /* TLS may hold what came behind it */
	}
	if (c->stage == CONN_DEAD || c->stage == CONN_SECURING)
		return;
	if (events & EPOLLOUT && chan_flush(&c->chan) == ERR_CLOSED) {
		conn_end(c, c->chan.why);
		return;
	}
	if (c->again || events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		read_some(c);
	if (c->stage != CONN_DEAD)
		conn_poll(c);
}
