/*
 * ctl/bench_http.c - a load generator that costs little: plain HTTP/1.1 over
 * kept connections, one request at a time on each.
 *
 *   IDLE      bench_take -> WRITING
 *   WRITING   head and value leave -> READING
 *   READING   head, then Content-Length bytes: bench_done -> IDLE
 *
 * A thread has its share of the connections in one epoll; a thread with one
 * connection blocks in recv(2) instead, which spares it a call each time. What
 * breaks counts as failed and is connected anew. Of HTTP it understands what
 * the daemon sends: no chunked bodies, no interim answers.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctl/bench.h"
#include "ctl/secure.h"

enum {
	HEAD_BYTES = 1024,
	ANSWER_BYTES = 16 << 10, /* read at once                             */
	EVENTS_MAX = 256,
	TICK_MS = 100, /* deadlines are looked at                            */
	REST_MS = 100, /* before a broken connection is made again           */
};

/* A node. */
struct target {
	char host[256], port[16], head[SECURE_TOKEN_BYTES_MAX + 400];
	struct sockaddr_storage address;
	socklen_t address_bytes;
};

enum conn_state { RESTING, IDLE, WRITING, READING };

struct conn {
	int fd; /* -1: not connected                                         */
	enum conn_state state;
	const struct target *to;
	uint64_t begun_ns; /* of the request; or of the rest                 */
	struct bench_job job;
	char head[HEAD_BYTES];
	size_t head_bytes, sent;
	struct buf in;
	size_t body_at, body_bytes; /* body_at 0: the head is not all there  */
	long status;
	bool close_after;
};

struct runner {
	struct bench_worker work;
	const struct target *targets;
	int target_count;
	uint32_t first, count; /* its connections, by number                 */
	uint64_t timeout_ns;
	pthread_t thread;
	struct conn *conns;
	int epoll;
	bool blocks; /* one connection: recv(2) waits                    */
	uint64_t heard_ns; /* the last answer                                */
	uint32_t busy;	 /* connections with a request                       */
	bool is_drained; /* there is no more work                            */
};

/* --------------------------------------------------------------- targets - */

/* "http://host:port/" into its parts. */
static bool take_target(const struct ctl *c, const char *url, struct target *t)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
	const char *at = strstr(url, "://"), *colon, *who;
	size_t n;
	int code;

	at = at ? at + 3 : url;
	n = strcspn(at, "/");
	colon = memrchr(at, ':', n);
	if (colon && memchr(colon, ']', n - (size_t)(colon - at)))
		colon = NULL; /* of an IPv6 address */
	snprintf(t->host, sizeof(t->host), "%.*s",
		 (int)(colon ? (size_t)(colon - at) : n), at);
	snprintf(t->port, sizeof(t->port), "%.*s",
		 colon ? (int)(n - (size_t)(colon - at) - 1) : 2,
		 colon ? colon + 1 : "80");
	if (t->host[0] == '[') {
		memmove(t->host, t->host + 1, strlen(t->host));
		t->host[strcspn(t->host, "]")] = 0;
	}
	who = secure_header(&c->secure);
	snprintf(t->head, sizeof(t->head), "Host: %.*s\r\n%s%s", (int)n, at,
		 who ? who : "", who ? "\r\n" : "");
	code = getaddrinfo(t->host, t->port, &hints, &found);
	if (code) {
		ctl_say("%s: %s", url, gai_strerror(code));
		return false;
	}
	memcpy(&t->address, found->ai_addr, found->ai_addrlen);
	t->address_bytes = found->ai_addrlen;
	freeaddrinfo(found);
	return true;
}

/* ----------------------------------------------------------- connections - */

static void conn_close(struct conn *k)
{
	if (k->fd >= 0)
		close(k->fd);
	k->fd = -1;
}

/* Blocking until it is connected; that is not what is measured. */
static bool conn_open(struct runner *r, struct conn *k)
{
	struct timeval timeout = {
		.tv_sec = (time_t)(r->timeout_ns / 1000000000),
		.tv_usec = (suseconds_t)(r->timeout_ns / 1000 % 1000000)
	};
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = k };
	int one = 1;

	k->in.n = 0;
	k->fd = socket(k->to->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (k->fd < 0)
		return false;
	setsockopt(k->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(k->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(k->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(k->fd, (const struct sockaddr *)&k->to->address,
		    k->to->address_bytes) == 0 &&
	    (r->blocks ||
	     (fcntl(k->fd, F_SETFL, O_NONBLOCK) == 0 &&
	      epoll_ctl(r->epoll, EPOLL_CTL_ADD, k->fd, &e) == 0))) {
		k->state = IDLE;
		return true;
	}
	conn_close(k);
	return false;
}

static void want_write(struct runner *r, struct conn *k, bool want)
{
	struct epoll_event e = { .events = EPOLLIN | (want ? EPOLLOUT : 0),
				 .data.ptr = k };

	if (!r->blocks)
		(void)epoll_ctl(r->epoll, EPOLL_CTL_MOD, k->fd, &e);
}

/* The request has come to nothing. */
static void conn_fail(struct runner *r, struct conn *k, const char *why)
{
	uint64_t now_ns = clock_mono_ns(clock_os());

	if (k->state == WRITING || k->state == READING) {
		bench_done(&r->work, &k->job, now_ns - k->begun_ns, 0,
			   bytes_of(NULL, 0), why);
		r->busy--;
	}
	conn_close(k);
	k->state = RESTING;
	k->begun_ns = now_ns;
}

/* --------------------------------------------------------------- writing - */

/* What is left of head and value; how many pieces. */
static int pieces_left(struct conn *k, struct iovec iov[3])
{
	const bool has_value = k->job.method[0] == 'P';
	const struct bytes all[3] = {
		bytes_of(k->head, k->head_bytes),
		has_value ? k->job.value[0] : bytes_of(NULL, 0),
		has_value ? k->job.value[1] : bytes_of(NULL, 0)
	};
	size_t skip = k->sent;
	int n = 0;

	for (int i = 0; i < 3; i++) {
		size_t cut = skip < all[i].n ? skip : all[i].n;

		skip -= cut;
		if (all[i].n > cut)
			iov[n++] = (struct iovec){
				.iov_base = (void *)(uintptr_t)(all[i].p + cut),
				.iov_len = all[i].n - cut
			};
	}
	return n;
}

static void conn_write(struct runner *r, struct conn *k)
{
	bool had_to_wait = k->sent > 0;
	struct iovec iov[3];
	struct msghdr m = { .msg_iov = iov };

	while ((m.msg_iovlen = (size_t)pieces_left(k, iov)) > 0) {
		ssize_t n = sendmsg(k->fd, &m, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN && !r->blocks) {
			want_write(r, k, true);
			return;
		}
		if (n < 0) {
			conn_fail(r, k, strerror(errno));
			return;
		}
		k->sent += (size_t)n;
	}
	if (had_to_wait)
		want_write(r, k, false);
	k->state = READING;
}

/* The next request, if there is one. */
static void conn_begin(struct runner *r, struct conn *k)
{
	struct bench_job *j = &k->job;

	if (!bench_take(&r->work, j)) {
		r->is_drained = true;
		return;
	}
	k->head_bytes = (size_t)snprintf(k->head, sizeof(k->head),
					 "%s %s HTTP/1.1\r\n%s", j->method,
					 j->path, k->to->head);
	if (j->method[0] == 'P')
		k->head_bytes += (size_t)snprintf(
			k->head + k->head_bytes,
			sizeof(k->head) - k->head_bytes,
			"Content-Type: application/octet-stream\r\n"
			"Content-Length: %zu\r\n",
			j->value[0].n + j->value[1].n);
	memcpy(k->head + k->head_bytes, "\r\n", 2);
	k->head_bytes += 2;
	k->sent = 0;
	k->in.n = k->body_at = k->body_bytes = 0;
	k->close_after = false;
	k->state = WRITING;
	k->begun_ns = clock_mono_ns(clock_os());
	r->busy++;
	conn_write(r, k);
}

/* --------------------------------------------------------------- reading - */

static void take_field(struct conn *k, const char *line)
{
	if (strncasecmp(line, "Content-Length:", 15) == 0)
		k->body_bytes = strtoull(line + 15, NULL, 10);
	else if (strncasecmp(line, "Connection: close", 17) == 0)
		k->close_after = true;
}

/* NULL, or what is wrong with the head of the answer, which is all there. */
static const char *take_head(struct conn *k, char *end)
{
	char *line = (char *)k->in.p;

	*end = 0;
	if (strncmp(line, "HTTP/1.1 ", 9) != 0)
		return "the answer is not HTTP/1.1";
	k->status = strtol(line + 9, NULL, 10);
	if (k->status < 200)
		return "an interim answer";
	for (line = strstr(line, "\r\n"); line; line = strstr(line, "\r\n")) {
		line += 2;
		if (strncasecmp(line, "Transfer-Encoding:", 18) == 0)
			return "a chunked answer";
		take_field(k, line);
	}
	k->body_at = (size_t)(end - (char *)k->in.p) + 4;
	return NULL;
}

static void conn_answered(struct runner *r, struct conn *k)
{
	bench_done(&r->work, &k->job, clock_mono_ns(clock_os()) - k->begun_ns,
		   k->status, bytes_of(k->in.p + k->body_at, k->body_bytes),
		   NULL);
	r->busy--;
	r->heard_ns = clock_mono_ns(clock_os());
	k->state = IDLE;
	if (k->close_after)
		conn_fail(r, k, NULL);
}

static void look_at_answer(struct runner *r, struct conn *k)
{
	char *end = k->body_at ? NULL : memmem(k->in.p, k->in.n, "\r\n\r\n", 4);
	const char *why = end ? take_head(k, end) : NULL;

	if (!why && !k->body_at && k->in.n >= ANSWER_BYTES)
		why = "the answer's head is too long";
	if (why)
		conn_fail(r, k, why);
	else if (k->body_at && k->in.n - k->body_at >= k->body_bytes)
		conn_answered(r, k);
}

static void conn_read(struct runner *r, struct conn *k)
{
	size_t room = ANSWER_BYTES;
	ssize_t n;

	if (k->body_at && k->body_at + k->body_bytes - k->in.n > room)
		room = k->body_at + k->body_bytes - k->in.n;
	if (buf_reserve(&k->in, room)) {
		conn_fail(r, k, "out of memory");
		return;
	}
	n = recv(k->fd, k->in.p + k->in.n, room, 0);
	if (n < 0 && (errno == EINTR || (errno == EAGAIN && !r->blocks)))
		return;
	if (n <= 0 || k->state != READING) {
		conn_fail(r, k,
			  n == 0	    ? "the connection was closed"
			  : errno == EAGAIN ? "no answer in time"
					    : strerror(errno));
		return;
	}
	k->in.n += (size_t)n;
	look_at_answer(r, k);
}

/* --------------------------------------------------------------- threads - */

/* Nobody has answered for longer than one answer may take. */
static void give_up_if_dead(struct runner *r, uint64_t now_ns)
{
	if (now_ns - r->heard_ns < r->timeout_ns + 1000000000)
		return;
	atomic_store(&r->work.b->stop, true);
	r->is_drained = true;
}

/* Whatever can be begun is begun. */
static void begin_all(struct runner *r, uint64_t now_ns)
{
	for (uint32_t i = 0; i < r->count && !r->is_drained; i++) {
		struct conn *k = &r->conns[i];

		if (k->state == RESTING &&
		    now_ns - k->begun_ns > REST_MS * 1000000ull &&
		    !conn_open(r, k))
			k->begun_ns = now_ns;
		while (k->state == IDLE && !r->is_drained)
			conn_begin(r, k); /* once, unless it fails at once */
	}
}

static void fail_overdue(struct runner *r, uint64_t now_ns)
{
	for (uint32_t i = 0; i < r->count; i++) {
		struct conn *k = &r->conns[i];

		if ((k->state == WRITING || k->state == READING) &&
		    now_ns - k->begun_ns > r->timeout_ns)
			conn_fail(r, k, "no answer in time");
	}
}

static void run_many(struct runner *r)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t ticked_ns = clock_mono_ns(clock_os());

	begin_all(r, ticked_ns);
	while (r->busy || !r->is_drained) {
		int n = epoll_wait(r->epoll, events, EVENTS_MAX, TICK_MS);
		uint64_t now_ns;

		for (int i = 0; i < n; i++) {
			struct conn *k = events[i].data.ptr;

			if (k->state == WRITING)
				conn_write(r, k);
			else if (k->fd >= 0)
				conn_read(r, k);
			if (k->state == IDLE && !r->is_drained)
				conn_begin(r, k);
		}
		now_ns = clock_mono_ns(clock_os());
		if (now_ns - ticked_ns < TICK_MS * 1000000ull)
			continue;
		ticked_ns = now_ns;
		fail_overdue(r, now_ns);
		give_up_if_dead(r, now_ns);
		begin_all(r, now_ns);
	}
}

static void run_one(struct runner *r)
{
	const struct timespec rest = { .tv_nsec = REST_MS * 1000000 };
	struct conn *k = &r->conns[0];

	while (!r->is_drained) {
		if (k->state == RESTING) {
			nanosleep(&rest, NULL);
			give_up_if_dead(r, clock_mono_ns(clock_os()));
			(void)conn_open(r, k);
		}
		if (k->state == IDLE)
			conn_begin(r, k);
		while (k->state == READING)
			conn_read(r, k);
	}
}

static void *run(void *arg)
{
	struct runner *r = arg;

	r->heard_ns = clock_mono_ns(clock_os());
	if (r->blocks)
		run_one(r);
	else
		run_many(r);
	return NULL;
}

static void runner_done(struct runner *r)
{
	for (uint32_t i = 0; i < r->count && r->conns; i++) {
		conn_close(&r->conns[i]);
		buf_done(&r->conns[i].in);
	}
	free(r->conns);
	if (r->epoll >= 0)
		close(r->epoll);
}

/* Connected, before the clock starts. */
static bool runner_init(struct runner *r)
{
	r->epoll = epoll_create1(EPOLL_CLOEXEC);
	r->conns = calloc(r->count, sizeof(*r->conns));
	r->blocks = r->count == 1;
	if (r->epoll < 0 || !r->conns || seed_init_os(&r->work.seed)) {
		ctl_say("out of memory, descriptors or entropy");
		return false;
	}
	for (uint32_t i = 0; i < r->count; i++)
		r->conns[i].fd = -1;
	for (uint32_t i = 0; i < r->count; i++) {
		struct conn *k = &r->conns[i];

		k->to = &r->targets[(r->first + i) % (uint32_t)r->target_count];
		if (!conn_open(r, k)) {
			ctl_say("%s:%s: %s", k->to->host, k->to->port,
				strerror(errno));
			return false;
		}
	}
	return true;
}

static bool start_all(struct bench *b, struct runner *all, uint32_t n,
		      const struct target *targets, int target_count)
{
	uint32_t first = 0, started = 0;
	bool ok = true;

	for (uint32_t i = 0; i < n; i++) {
		struct runner *r = &all[i];

		r->epoll = -1;
		r->work.b = b;
		r->targets = targets;
		r->target_count = target_count;
		r->timeout_ns = b->c->timeout_ms * 1000000;
		r->first = first;
		r->count = (uint32_t)(b->conns / n + (i < b->conns % n));
		first += r->count;
		ok = ok && runner_init(r);
	}
	for (uint32_t i = 0; i < n && ok; i++) {
		ok = pthread_create(&all[i].thread, NULL, run, &all[i]) == 0;
		started += ok;
		if (!ok)
			ctl_say("a thread cannot be made");
	}
	if (!ok)
		atomic_store(&b->stop, true);
	for (uint32_t i = 0; i < started; i++)
		pthread_join(all[i].thread, NULL);
	return ok;
}

static bool take_targets(const struct bench *b, struct target *targets)
{
	bool ok = true;

	for (int i = 0; i < b->c->endpoint_count && ok; i++)
		ok = take_target(b->c, b->c->endpoint[i], &targets[i]);
	return ok;
}

bool bench_run_http(struct bench *b, struct histogram *took)
{
	static struct target targets[CTL_ENDPOINTS_MAX];
	uint32_t n = b->threads < b->conns ? b->threads : (uint32_t)b->conns;
	struct runner *all = calloc(n, sizeof(*all));
	bool ok = all != NULL;

	if (!ok)
		ctl_say("out of memory");
	ok = ok && take_targets(b, targets) &&
	     start_all(b, all, n, targets, b->c->endpoint_count);
	for (uint32_t i = 0; i < n && all; i++) {
		histogram_join(took, &all[i].work.took);
		if (ok && all[i].work.word[0])
			ctl_say("%s", all[i].work.word);
		runner_done(&all[i]);
	}
	free(all);
	return ok;
}
