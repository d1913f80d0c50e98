/*
 * httpd/server.c - the server: connections, their deadlines, start and stop.
 *
 * libmicrohttpd calls in for everything that happens on a connection:
 *
 *	on_connection   accepted, closed
 *	on_target       a request line has been read: a request is made
 *	on_request      headers in; each piece of the body; the end of it; and
 *			again whenever a suspended connection was resumed
 *	on_completed    the answer is out, or the connection is gone
 *
 * One thread of ours walks the connections ten times a second and ends what
 * is overdue: a wait (the request is run again and finds it is late), a body
 * that drips, an answer that nobody reads, a header that never ends.
 */
#include "httpd/httpd.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/listen.h"
#include "base/log.h"
#include "httpd/auth.h"
#include "httpd/handlers.h"
#include "httpd/reply.h"
#include "httpd/request.h"
#include "httpd/secure.h"
#include "store/report.h"

enum {
	SWEEP_MS = 100,
	LOOK_SWEEPS = 10,
	CONNECTIONS_MAX = 1 << 24,
	SPARE_CONNECTIONS = 1024, /* over the limit, but told so             */
	OVER_LIMIT_MS = 5000,
	GRACE_MS = 2000, /* between being told and being cut                 */
	CONNECTION_MEMORY_BYTES = 16 << 10, /* zeroed after each request     */
};

static const uint64_t ns_per_ms = 1000000;

/* ----------------------------------------------------- connections ------ */

static void link_conn(struct httpd *h, struct conn *c)
{
	uint32_t max;

	pthread_mutex_lock(&h->lock);
	c->next = h->conns;
	if (c->next)
		c->next->prev = c;
	h->conns = c;
	h->conn_count++;
	max = atomic_load(&h->max_connections);
	c->over_limit = h->conn_count > max;
	/* Of those over the limit only so many are told. */
	if (h->conn_count > (uint64_t)max + SPARE_CONNECTIONS)
		shutdown(c->fd, SHUT_RDWR);
	if (h->conn_count == 1)
		pthread_cond_signal(&h->tick);
	pthread_mutex_unlock(&h->lock);
}

static void open_conn(struct loop *l, struct MHD_Connection *mhd,
		      void **context)
{
	const union MHD_ConnectionInfo *info;
	struct conn *c = calloc(1, sizeof(*c));
	struct httpd *h = l->h;
	uint64_t ms = h->o.idle_timeout_ms;

	*context = c;
	if (!c)
		return; /* on_target gives up on the connection */
	c->h = h;
	c->loop = l;
	c->mhd = mhd;
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	c->fd = info->connect_fd;
	pthread_mutex_init(&c->lock, NULL);
	secure_begin(c);
	/* Before it is linked: from then on its deadline is looked at. */
	atomic_store(&c->deadline_ns, httpd_now(h) + ms * ns_per_ms);
	link_conn(h, c);
	if (c->over_limit) {
		stats_add(&h->stats.refused_connections, 1);
		atomic_store(&c->deadline_ns,
			     httpd_now(h) + OVER_LIMIT_MS * ns_per_ms);
	}
	stats_add(&h->stats.total_connections, 1);
	stats_add(&h->stats.curr_connections, 1);
}

static void close_conn(struct httpd *h, struct conn *c)
{
	if (!c)
		return;
	CHECK(!c->req);
	pthread_mutex_lock(&h->lock);
	if (c->prev)
		c->prev->next = c->next;
	else
		h->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	h->conn_count--;
	pthread_mutex_unlock(&h->lock);
	atomic_fetch_sub_explicit(&h->stats.curr_connections, 1,
				  memory_order_relaxed);
	secure_end(c);
	pthread_mutex_destroy(&c->lock);
	free(c->spare);
	free(c);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct loop *l = cls;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		l->connections++;
		open_conn(l, mhd, context);
	} else {
		l->connections--;
		close_conn(l->h, *context);
	}
}

static void *on_target(void *cls, const char *target,
		       struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info;
	struct request *r;
	struct conn *c;

	loop_stirs(cls);
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	c = info->socket_context;
	if (!c)
		return NULL;
	r = request_new(c, target);
	if (!r)
		return NULL;
	request_stage(r, STAGE_RUNNING, request_timeout_ns(r));
	pthread_mutex_lock(&c->lock);
	c->req = r;
	pthread_mutex_unlock(&c->lock);
	return r;
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **context,
			 enum MHD_RequestTerminationCode code)
{
	struct request *r = *context;

	(void)cls;
	(void)mhd;
	(void)code;
	*context = NULL;
	if (!r)
		return;
	if (r->phase == PHASE_BODY && !r->status &&
	    atomic_load(&r->conn->timed_out)) {
		r->problem =
			(struct problem){ 408, "request_timeout",
					  "the request took too long", NULL };
		reply_past_body(r);
	}
	request_end(r);
}

/* -------------------------------------------------------- requests ------ */

static enum MHD_Result take_piece(struct request *r, const char *data,
				  size_t *n)
{
	size_t bytes = *n;

	*n = 0;
	r->body_bytes += bytes;
	stats_add(&r->h->stats.bytes_read, bytes);
	atomic_store(&r->conn->deadline_ns,
		     r->start_ns + request_transfer_ns(r, r->body_bytes));
	if (r->take)
		return r->take(r, data, bytes);
	return r->body_bytes > JSON_BODY_BYTES_MAX ? MHD_NO : MHD_YES;
}

static enum MHD_Result go_on(struct request *r, const char *data, size_t *n)
{
	enum MHD_Result result;
	enum err err;

	/* Once late, what the store may still say is of no interest. */
	if (!r->late && request_is_waiting(r)) {
		err = body_resumed(r);
		atomic_store(&r->conn->stage, STAGE_RECEIVING);
		result = err ? reply_error(r, err) : MHD_YES;
		if (result != MHD_YES)
			return result;
	}
	if (r->phase == PHASE_LINGER) {
		/* Said already; this end only hears the rest out. */
		if (!*n)
			return MHD_NO;
		*n = 0;
		return MHD_YES;
	}
	if (*n)
		return take_piece(r, data, n);
	r->phase = PHASE_RUN;
	return r->run(r);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd,
				  const char *url, const char *method,
				  const char *version, const char *data,
				  size_t *n, void **context)
{
	struct request *r = *context;

	loop_stirs(cls);
	(void)mhd;
	(void)url;
	if (!r)
		return MHD_NO;
	/*
	 * Of a chunked body libmicrohttpd offers the next chunk at once, also
	 * to a connection that was just suspended; left alone, it comes back
	 * after the resume. To go on although the wait is over already would
	 * let it be resumed twice.
	 */
	if (r->suspended)
		return MHD_YES;
	switch (r->phase) {
	case PHASE_NEW:
		return route_begin(r, method, version);
	case PHASE_BODY:
	case PHASE_LINGER:
		return go_on(r, data, n);
	case PHASE_RUN:
		return request_still_waits(r) ? MHD_YES : r->run(r);
	}
	return MHD_NO;
}

/* ------------------------------------------------------- deadlines ------ */

/* Run the request of c again, late, if it waits. c->lock is held. */
static bool wake_late(struct conn *c)
{
	return c->req && request_wake_late(c->req);
}

static void cut(struct conn *c, int how)
{
	if (!atomic_exchange(&c->timed_out, true)) {
		stats_add(&c->h->stats.requests_timed_out, 1);
		c->cut_at_ns = httpd_now(c->h);
	}
	shutdown(c->fd, how);
}

/*
 * Bytes wait unread: the client has spoken and it is the server that is late.
 * One that drips its header is read as it drips, and has none waiting.
 */
static bool has_spoken(const struct conn *c)
{
	char byte;

	return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

/* c->lock is held, its deadline has passed. */
static void end_overdue(struct conn *c, uint64_t now)
{
	atomic_store(&c->deadline_ns, now + GRACE_MS * ns_per_ms);
	switch (atomic_load(&c->stage)) {
	case STAGE_IDLE:
		if (!has_spoken(c))
			shutdown(c->fd, SHUT_RDWR);
		return;
	case STAGE_RECEIVING:
		/*
		 * libmicrohttpd sees the end; on_completed says 408. What it
		 * still finds in the socket brings the old deadline back.
		 */
		if (!atomic_load(&c->timed_out))
			cut(c, SHUT_RD);
		else if (now - c->cut_at_ns >= GRACE_MS * ns_per_ms)
			cut(c, SHUT_RDWR);
		return;
	case STAGE_SENDING:
		cut(c, SHUT_RDWR);
		return;
	case STAGE_STREAMING:
	case STAGE_MONITORING:
		wake_late(c); /* a heartbeat is due */
		return;
	default:
		if (wake_late(c))
			c->warned = false;
		else if (c->warned)
			cut(c, SHUT_RDWR);
		else
			c->warned = true;
	}
}

/* While stopping: nothing new, nothing that only waits. c->lock is held. */
static void end_waiting(struct conn *c)
{
	switch (atomic_load(&c->stage)) {
	case STAGE_IDLE:
		shutdown(c->fd, SHUT_RDWR);
		return;
	case STAGE_STREAMING:
	case STAGE_MONITORING:
	case STAGE_WATCHING:
		wake_late(c);
		return;
	default:
		if (atomic_load(&c->h->closing))
			wake_late(c);
	}
}

/*
 * libmicrohttpd takes a short read for the end of what there is; when the
 * client's FIN came along with the last bytes it never looks again, and at a
 * suspended connection it does not look at all. Seen twice a second apart,
 * with nobody working on the connection, it is over. Who waits for a change
 * and has closed only the sending side is answered now, not later.
 * c->lock is held.
 */
static void look_for_end(struct conn *c)
{
	int stage = atomic_load(&c->stage);
	uint64_t deadline_ns = atomic_load(&c->deadline_ns);
	bool waits = stage == STAGE_WATCHING || stage == STAGE_STREAMING ||
		     stage == STAGE_MONITORING;
	bool over;

	if (!waits && stage != STAGE_IDLE && stage != STAGE_RECEIVING)
		return;
	over = secure_is_ended(c);
	if (over && c->ended_at_ns == deadline_ns) {
		atomic_store(&c->gone, true);
		if (waits)
			wake_late(c);
		else
			shutdown(c->fd, SHUT_RDWR);
	}
	c->ended_at_ns = over ? deadline_ns : 0;
}

/* Wake those that wait in a stage of the set (1 << stage). h->lock is held. */
static void wake_stages(struct httpd *h, unsigned stages)
{
	for (struct conn *c = h->conns; c; c = c->next) {
		if (!(stages & 1u << atomic_load(&c->stage)))
			continue;
		pthread_mutex_lock(&c->lock);
		wake_late(c);
		pthread_mutex_unlock(&c->lock);
	}
}

/* Who waits asks again whether it may: at once, not when it has news. */
static void look_at_rights(struct httpd *h)
{
	uint64_t version = auth_version(h);

	if (version == h->swept_version)
		return;
	h->swept_version = version;
	wake_stages(h, 1u << STAGE_WATCHING | 1u << STAGE_STREAMING |
			       1u << STAGE_MONITORING);
}

static void sweep(struct httpd *h)
{
	bool look = h->sweep_count++ % LOOK_SWEEPS == 0;
	uint64_t now = httpd_now(h);
	bool stopping = atomic_load(&h->stopping);

	look_at_rights(h);
	for (struct conn *c = h->conns; c; c = c->next) {
		bool overdue =
			now >= atomic_load_explicit(&c->deadline_ns,
						    memory_order_relaxed);

		if (!overdue && !stopping && !look)
			continue;
		pthread_mutex_lock(&c->lock);
		if (look)
			look_for_end(c);
		if (stopping)
			end_waiting(c);
		/* It may have moved on since it was looked at. */
		if (now >= atomic_load(&c->deadline_ns))
			end_overdue(c, now);
		pthread_mutex_unlock(&c->lock);
	}
}

/* Wait for a signal or ms. h->lock is held. */
static void nap(struct httpd *h, uint64_t ms)
{
	uint64_t at = httpd_now(h) + ms * ns_per_ms;
	struct timespec until = { .tv_sec = (time_t)(at / 1000000000),
				  .tv_nsec = (long)(at % 1000000000) };

	pthread_cond_clockwait(&h->tick, &h->lock, CLOCK_MONOTONIC, &until);
}

static void *watch_deadlines(void *arg)
{
	struct httpd *h = arg;

	bool collects, news;

	pthread_mutex_lock(&h->lock);
	while (!h->deadline_stop) {
		pthread_mutex_unlock(&h->lock);
		collects = monitor_round(h, &news);
		pthread_mutex_lock(&h->lock);
		if (news)
			wake_stages(h, 1u << STAGE_MONITORING);
		if (!h->conns && !collects && !h->deadline_stop) {
			pthread_cond_wait(&h->tick, &h->lock);
			continue;
		}
		sweep(h);
		nap(h, SWEEP_MS);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

/*
 * Another member asks for this node's report; the store's core thread, which
 * waits for nobody: a signal that is missed comes again in a second.
 */
static void on_wish(void *ctx)
{
	struct httpd *h = ctx;

	pthread_cond_signal(&h->tick);
}

/* ---------------------------------------------------- start and stop ---- */

/* Keys are decoded in target.c; libmicrohttpd shall leave text alone. */
static size_t leave_escapes(void *cls, struct MHD_Connection *c, char *text)
{
	(void)cls;
	(void)c;
	return strlen(text);
}

static uint32_t thread_count(const struct httpd_options *o)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	if (o->threads)
		return o->threads;
	/* The store's own threads need processors too. */
	return n >= 16 ? 4 : n >= 4 ? 2 : 1;
}

static enum err start_daemon(struct httpd *h, struct loop *l, uint32_t i)
{
	uint32_t limit = CONNECTIONS_MAX; /* ours may change: link_conn      */
	unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME;
	struct MHD_Daemon *daemon;
	struct MHD_OptionItem tls[SECURE_OPTIONS] = { { MHD_OPTION_END, 0,
							NULL } };

	if (h->is_secure) {
		flags |= MHD_USE_TLS;
		secure_options(tls);
	}
	daemon = MHD_start_daemon(
		flags, 0, NULL, NULL, on_request, l, MHD_OPTION_LISTEN_SOCKET,
		h->listen_fds[i], MHD_OPTION_CONNECTION_LIMIT, limit,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)CONNECTION_MEMORY_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned)(h->o.idle_timeout_ms / 1000 + 1),
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK,
		leave_escapes, NULL, MHD_OPTION_URI_LOG_CALLBACK, on_target, l,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, l,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, l,
		MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_ARRAY, tls,
		MHD_OPTION_END);
	if (!daemon)
		return ERR_IO;
	l->daemons[l->daemon_count++] = daemon;
	return OK;
}

static enum err copy_text(const char **text)
{
	*text = strdup(*text ? *text : "");
	return *text ? OK : ERR_NOMEM;
}

static void set_defaults(struct httpd_options *o)
{
	if (!o->max_connections)
		o->max_connections = 4096;
	if (!o->request_timeout_ms)
		o->request_timeout_ms = 30000;
	if (!o->commit_timeout_ms)
		o->commit_timeout_ms = 10000;
	if (!o->idle_timeout_ms)
		o->idle_timeout_ms = 60000;
	if (!o->drain_timeout_ms)
		o->drain_timeout_ms = 5000;
}

static struct httpd *new_httpd(const struct httpd_options *o)
{
	struct httpd *h = calloc(1, sizeof(*h));
	struct seed seed;
	enum err err;

	if (!h)
		return NULL;
	h->o = *o;
	h->o.listen = NULL;
	h->is_secure = o->tls != NULL;
	if (o->tls)
		h->tls = tls_ref(o->tls);
	h->o.access = (struct httpd_access){ 0 };
	set_defaults(&h->o);
	for (int i = 0; i < HTTPD_LISTEN_MAX; i++)
		h->listen_fds[i] = -1;
	h->max_value_bytes = o->max_value_bytes;
	h->max_connections = h->o.max_connections;
	seed_init(&seed, o->seed);
	h->id_salt = (uint32_t)seed_next(&seed);
	h->start_ns = httpd_now(h);
	h->serving = o->store != NULL;
	h->hold_code = "starting";
	snprintf(h->hold_reason, sizeof(h->hold_reason), "starting");
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->tick, NULL);
	monitor_init(&h->monitor);
	httpd_set_access(h, &o->access);
	err = copy_text(&h->o.node_name);
	if (copy_text(&h->o.cluster_id))
		err = ERR_NOMEM;
	if (copy_text(&h->o.version))
		err = ERR_NOMEM;
	if (!err)
		return h;
	free((char *)h->o.node_name);
	free((char *)h->o.cluster_id);
	free((char *)h->o.version);
	tls_unref(h->tls);
	free(h);
	return NULL;
}

static void free_httpd(struct httpd *h)
{
	for (uint32_t i = 0; i < h->listen_count; i++)
		if (h->listen_fds[i] >= 0)
			close(h->listen_fds[i]);
	free(h->loops);
	free((char *)h->o.node_name);
	free((char *)h->o.cluster_id);
	free((char *)h->o.version);
	free(h->first_address);
	tls_unref(h->tls);
	monitor_done(&h->monitor);
	pthread_cond_destroy(&h->tick);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

/* What /_/status calls this node's address: with the port that was bound. */
static enum err name_address(struct httpd *h, const char *text)
{
	const char *colon = strrchr(text, ':');
	size_t host_n = colon ? (size_t)(colon - text) : strlen(text);
	size_t room = host_n + sizeof(":65535");

	h->first_address = malloc(room);
	if (!h->first_address)
		return ERR_NOMEM;
	snprintf(h->first_address, room, "%.*s:%u", (int)host_n, text,
		 h->ports[0]);
	return OK;
}

static enum err start_loop(struct httpd *h, struct loop *l)
{
	enum err err = loop_init(l, h);

	h->loop_count++;
	for (uint32_t i = 0; !err && i < h->listen_count; i++)
		err = start_daemon(h, l, i);
	return err ? err : loop_start(l);
}

static enum err start_threads(struct httpd *h, struct buf *why)
{
	uint32_t count = thread_count(&h->o);
	enum err err = OK;

	h->loops = calloc(count, sizeof(*h->loops));
	if (!h->loops)
		return ERR_NOMEM;
	if (pthread_create(&h->deadline_thread, NULL, watch_deadlines, h))
		return ERR_NOMEM;
	h->has_deadline_thread = true;
	for (uint32_t i = 0; !err && i < count; i++)
		err = start_loop(h, &h->loops[i]);
	if (err && buf_addf(why, "http: the server could not be started"))
		return ERR_NOMEM;
	return err;
}

/* A name may stand for anything; only what was bound tells. */
static enum err refuse_address(const char *address, struct buf *why)
{
	if (buf_addf(why,
		     "%s is not a loopback address: that needs TLS and "
		     "authentication, or security.insecure = true",
		     address))
		return ERR_NOMEM;
	return ERR_PERMISSION;
}

enum err httpd_start(const struct httpd_options *o, struct httpd **out,
		     struct buf *why)
{
	struct httpd *h;
	enum err err = OK;

	CHECK(o->listen_count >= 1);
	CHECK(o->listen_count <= HTTPD_LISTEN_MAX);
	h = new_httpd(o);
	if (!h)
		return ERR_NOMEM;
	for (uint32_t i = 0; !err && i < o->listen_count; i++) {
		err = listen_open(o->listen[i], &h->listen_fds[i], &h->ports[i],
				  why);
		h->listen_count = i + 1;
		if (!err && o->loopback_only &&
		    !listen_is_loopback(h->listen_fds[i]))
			err = refuse_address(o->listen[i], why);
	}
	if (!err)
		err = name_address(h, o->listen[0]);
	if (!err)
		err = start_threads(h, why);
	if (err) {
		httpd_stop(h);
		return err;
	}
	if (h->o.store)
		store_report_on_wish(h->o.store, on_wish, h);
	*out = h;
	return OK;
}

/* Until no request is under way, or for ms. */
static void drain(struct httpd *h, uint64_t ms)
{
	uint64_t until = httpd_now(h) + ms * ns_per_ms;

	pthread_mutex_lock(&h->lock);
	while (h->conns && httpd_now(h) < until) {
		sweep(h);
		nap(h, 10);
	}
	pthread_mutex_unlock(&h->lock);
}

/* From here on nothing is suspended, and what was is resumed. */
static void close_parks(struct httpd *h)
{
	atomic_store(&h->closing, true);
	pthread_mutex_lock(&h->lock);
	/* Whoever did not see it holds the lock; wait until it is parked. */
	for (struct conn *c = h->conns; c; c = c->next) {
		pthread_mutex_lock(&c->lock);
		pthread_mutex_unlock(&c->lock);
	}
	while (atomic_load(&h->parked)) {
		sweep(h);
		nap(h, 1);
	}
	pthread_mutex_unlock(&h->lock);
}

void httpd_stop(struct httpd *h)
{
	if (!h)
		return;
	if (h->o.store)
		store_report_on_wish(h->o.store, NULL, NULL);
	atomic_store(&h->stopping, true);
	for (uint32_t i = 0; i < h->loop_count; i++)
		loop_wake(&h->loops[i]); /* to stop listening */
	drain(h, h->o.drain_timeout_ms);
	close_parks(h);
	drain(h, GRACE_MS);
	pthread_mutex_lock(&h->lock);
	h->deadline_stop = true;
	pthread_cond_broadcast(&h->tick);
	pthread_mutex_unlock(&h->lock);
	if (h->has_deadline_thread)
		pthread_join(h->deadline_thread, NULL);
	for (uint32_t i = 0; i < h->loop_count; i++)
		loop_stop(&h->loops[i]);
	free_httpd(h);
}

enum err httpd_attach(struct httpd *h, struct store *store,
		      const char *cluster_id, uint64_t node_id)
{
	const char *text = cluster_id;

	CHECK(!atomic_load(&h->serving));
	if (copy_text(&text))
		return ERR_NOMEM;
	free((char *)h->o.cluster_id);
	h->o.cluster_id = text;
	h->o.node_id = node_id;
	h->o.store = store;
	store_report_on_wish(store, on_wish, h);
	atomic_store(&h->serving, true);
	return OK;
}

void httpd_hold(struct httpd *h, const char *code, const char *reason)
{
	pthread_mutex_lock(&h->lock);
	h->hold_code = code;
	snprintf(h->hold_reason, sizeof(h->hold_reason), "%s", reason);
	pthread_mutex_unlock(&h->lock);
	atomic_store(&h->serving, false);
}

uint16_t httpd_port(const struct httpd *h, uint32_t i)
{
	CHECK(i < h->listen_count);
	return h->ports[i];
}

bool httpd_is_on_loopback(const struct httpd *h)
{
	for (uint32_t i = 0; i < h->listen_count; i++) {
		if (!listen_is_loopback(h->listen_fds[i]))
			return false;
	}
	return true;
}

void httpd_set_limits(struct httpd *h, uint64_t max_value_bytes,
		      uint32_t max_connections)
{
	atomic_store(&h->max_value_bytes, max_value_bytes);
	atomic_store(&h->max_connections, max_connections);
}

void httpd_set_access(struct httpd *h, const struct httpd_access *access)
{
	pthread_mutex_lock(&h->lock);
	snprintf(h->allow_origin, sizeof(h->allow_origin), "%s",
		 access->allow_origin ? access->allow_origin : "");
	pthread_mutex_unlock(&h->lock);
	atomic_store(&h->guards_host, access->guard_host);
	atomic_store(&h->wants_tokens, access->tokens);
	atomic_fetch_add(&h->access_version, 1);
}

void httpd_set_tls(struct httpd *h, struct tls *tls)
{
	struct tls *old;

	CHECK(h->is_secure);
	tls_ref(tls);
	pthread_mutex_lock(&h->lock);
	old = h->tls;
	h->tls = tls;
	pthread_mutex_unlock(&h->lock);
	tls_unref(old);
}
