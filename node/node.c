/*
 * node/node.c - the start ladder and its unwinding.
 *
 *   cluster_begin   what the directory is, where the node belongs; links
 *   engine_open     lock, recovery; all processors read at once
 *   store_new       over the open engine; the first step
 *   core thread     drives the store
 *   workers         keeper: segments, hints, merges; mover: snapshots
 *   mount           the keys as files, if so configured
 *   httpd_start     last: a port that answers means a node that serves
 *
 * A node that has to wait for its cluster starts HTTP and the core thread
 * before it has a store; the core thread climbs the rest when the time has
 * come (node_bring_up).
 *
 * node_stop goes down the same ladder: leadership is handed over, requests end
 * while the core thread still completes them, then the store, then the files.
 * What a rung needs lies above it, so each can assume that the ones before it
 * work.
 */
#include "node/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/check.h"
#include "base/log.h"
#include "node/chan.h"
#include "node/node_internal.h"
#include "node/parallel.h"
#include "httpd/tls.h"

enum {
	OWN_FILES_MAX = 512, /* descriptors beside those of connections      */
	PAGE_BYTES = 4096,   /* the engine wants segments of whole pages     */
	HAND_OVER_MS_MIN = 1500,
	HAND_OVER_MS_MAX = 5000,
};

/* -------------------------------------------------------------- options -- */

static uint32_t minute_of_day(void)
{
	time_t now = (time_t)(clock_wall_ns(clock_os()) / 1000000000u);
	struct tm tm;

	if (!localtime_r(&now, &tm))
		return 0;
	return (uint32_t)(tm.tm_hour * 60 + tm.tm_min);
}

static struct engine_merge_options merge_options(const struct conf *c)
{
	struct conf_window w = c->merge_window;

	if (w.start_min == 0 && w.end_min == 24 * 60)
		w.end_min = 0;
	return (struct engine_merge_options){
		.window_start_min = w.start_min,
		.window_end_min = w.end_min,
		.dead_ratio = c->merge_dead_ratio,
		.dead_bytes = c->merge_dead_bytes,
		.small_file_bytes = c->merge_small_bytes,
		.rate_bytes_per_s = c->merge_rate_bytes,
	};
}

static enum engine_sync_mode sync_mode(const struct conf *c)
{
	switch ((enum conf_sync)c->sync) {
	case CONF_SYNC_ALWAYS:
		return ENGINE_SYNC_ALWAYS;
	case CONF_SYNC_INTERVAL:
		return ENGINE_SYNC_INTERVAL;
	case CONF_SYNC_NEVER:
		return ENGINE_SYNC_NEVER;
	}
	return ENGINE_SYNC_ALWAYS;
}

static void format_listen(struct node *n, const struct conf_addrs *list)
{
	for (uint32_t i = 0; i < list->count; i++) {
		const struct conf_addr *a = &list->addr[i];
		const char *form = strchr(a->host, ':') ? "[%s]" : "%s";

		snprintf(n->host[i], sizeof(n->host[i]), form, a->host);
		form = strchr(a->host, ':') ? "[%s]:%u" : "%s:%u";
		snprintf(n->listen[i], sizeof(n->listen[i]), form, a->host,
			 a->port);
	}
	n->listen_count = list->count;
}

/* Every connection and file is a descriptor; ask for as many as allowed. */
static void raise_file_limit(const struct conf *c)
{
	rlim_t want = (rlim_t)c->http_connections_max + OWN_FILES_MAX;
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r))
		return;
	r.rlim_cur = r.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &r))
		log_warn("node", "file_limit_unchanged");
	if (r.rlim_max != RLIM_INFINITY && r.rlim_max < want)
		log_warn("node",
			 "file_limit_low have=%llu want=%llu "
			 "hint=\"raise LimitNOFILE or lower "
			 "http.max_connections\"",
			 (unsigned long long)r.rlim_max,
			 (unsigned long long)want);
}

/* --------------------------------------------------------------- ladder -- */

/* why gets: what failed, and the error; a sentence from below may follow. */
static void explain(struct buf *why, const char *what, const char *name,
		    enum err err, const struct buf *below)
{
	/* Without memory for words the exit code still tells. */
	if (below->n)
		(void)!buf_addf(why, "%s %s: %.*s\n", what, name, (int)below->n,
				(const char *)below->p);
	else
		(void)!buf_addf(why, "%s %s: %s\n", what, name, err_text(err));
}

static void engine_options_of(struct node *n, struct engine_options *o)
{
	const struct conf *c = n->conf;
	const struct identity *id = &n->cluster.identity;

	engine_options_default(o);
	o->vfs = vfs_os();
	o->clock = clock_os();
	o->seed = &n->engine_seed;
	o->dir = c->data_dir;
	o->partitions = cluster_partitions(n);
	o->node_id = id->node_id;
	memcpy(o->cluster_id, id->cluster_id, 16);
	o->has_peers = id->roster.count > 1;
	o->segment_bytes = c->file_bytes_max / PAGE_BYTES * PAGE_BYTES;
	o->min_free_bytes = c->min_free_bytes;
	o->read_mode = c->read == CONF_READ_MMAP ? ENGINE_READ_MMAP
						 : ENGINE_READ_PREAD;
	o->sync_mode = sync_mode(c);
	o->sync_interval_ms = c->sync_interval_ms;
	o->merge = merge_options(c);
	o->parallel = parallel_run;
	o->minute_of_day = minute_of_day;
	o->diary = n->diary;
}

/* below gets a sentence. A member without a manifest never gets a new one. */
static enum err try_engine(struct node *n, struct buf *below)
{
	const char *dir = n->conf->data_dir;
	struct engine_options o;
	bool has = true;
	enum err err = OK;

	if (cluster_can_wait(n))
		err = identity_has_engine(vfs_os(), dir, &has);
	if (!has) {
		(void)!buf_addf(below, "%s/MANIFEST is missing", dir);
		err = ERR_CORRUPT;
	}
	if (err)
		return err;
	engine_options_of(n, &o);
	cluster_unlock(n); /* the engine locks it itself */
	return engine_open(&o, &n->engine, below);
}

static enum node_exit refuse(struct node *n, enum err err,
			     const struct buf *below, struct buf *why)
{
	const char *dir = n->conf->data_dir;

	if (err == ERR_BUSY)
		(void)!buf_addf(why,
				"data directory %s is in use by another "
				"process\n",
				dir);
	else if (err == ERR_INVALID)
		(void)!(conf_where(n->conf, "cluster.partitions", why) ||
			buf_addf(why, "%.*s\n", (int)below->n,
				 (const char *)below->p));
	else if (err)
		explain(why, "data directory", dir, err, below);
	return !err		    ? NODE_OK
	       : err == ERR_BUSY    ? NODE_BUSY
	       : err == ERR_INVALID ? NODE_CONFIG
				    : NODE_RUNTIME;
}

enum node_exit node_open_engine(struct node *n, struct buf *why)
{
	struct buf below = BUF_INIT;
	enum err err = try_engine(n, &below);
	enum node_exit result;

	if ((err == ERR_CORRUPT || err == ERR_FOREIGN) && cluster_can_wait(n)) {
		cluster_unlock(n);
		result = cluster_hurt(n, &below, why);
	} else {
		result = refuse(n, err, &below, why);
	}
	buf_done(&below);
	return result;
}

static enum err open_store(struct node *n, struct buf *why)
{
	const struct conf *c = n->conf;
	const struct cluster *k = &n->cluster;
	struct store_options o = {
		.engine = n->engine,
		.clock = clock_os(),
		.diary = n->diary,
		.seed = &n->store_seed,
		.node_name = c->node_name,
		.partitions = cluster_partitions(n),
		.max_value_bytes = c->http_value_bytes_max,
		.watch_history_bytes = c->watch_history_bytes,
		.heartbeat_ms = c->heartbeat_ms,
		.election_ms = c->election_timeout_ms,
		.wake = threads_wake_core,
		.wake_ctx = n,
	};
	struct buf below = BUF_INIT;
	uint64_t wait_ms;
	enum err err;

	if (k->links) {
		o.net = links_net(k->links);
		o.members = k->identity.roster.member;
		o.member_count = k->identity.roster.count;
		o.joining = k->identity.joined;
		o.self = k->self;
	}
	err = store_new(&o, &n->store);
	/* The first step here, so that HTTP never starts before the store. */
	if (!err)
		err = store_step(n->store, &wait_ms);
	if (err)
		explain(why, "store in", c->data_dir, err, &below);
	return err;
}

static void cluster_text(const struct node *n, char text[33], uint64_t *node_id)
{
	uint8_t cluster_id[16];

	engine_identity(n->engine, cluster_id, node_id);
	for (int i = 0; i < 16; i++)
		snprintf(text + 2 * i, 3, "%02x", cluster_id[i]);
}

/* Let HTTP have the store. ERR_NOMEM. */
static enum err attach_http(struct node *n)
{
	char text[33];
	uint64_t node_id;
	enum err err;

	cluster_text(n, text, &node_id);
	err = httpd_attach(n->httpd, n->store, text, node_id);
	if (!err)
		atomic_store(&n->serving, true);
	return err;
}

static struct httpd_access access_of(const struct conf *c)
{
	return (struct httpd_access){ .tokens = c->tokens,
				      .guard_host = true,
				      .allow_origin = c->allow_origin };
}

static enum node_exit start_http(struct node *n, struct buf *why)
{
	const struct conf *c = n->conf;
	const char *listen[CONF_LISTEN_MAX];
	char text[33] = "";
	struct buf below = BUF_INIT;
	struct httpd_options o = {
		.listen = listen,
		.listen_count = n->listen_count,
		.max_value_bytes = c->http_value_bytes_max,
		.max_connections = c->http_connections_max,
		.store = n->store,
		.clock = clock_os(),
		.diary = n->diary,
		.seed = seed_next(&n->store_seed),
		.node_name = c->node_name,
		.cluster_id = text,
		.version = RAFTCASK_VERSION,
		.loopback_only = !conf_http_is_guarded(c) && !c->insecure,
		.tls = n->tls,
		.access = access_of(c),
		.metrics = node_figures,
		.metrics_ctx = n,
	};
	enum err err;

	for (uint32_t i = 0; i < n->listen_count; i++)
		listen[i] = n->listen[i];
	if (n->engine)
		cluster_text(n, text, &o.node_id);
	err = httpd_start(&o, &n->httpd, &below);
	if (err)
		explain(why, "http.listen", n->listen[0], err, &below);
	else
		atomic_store(&n->serving, n->store != NULL);
	buf_done(&below);
	if (err == ERR_PERMISSION && o.loopback_only)
		return NODE_CONFIG;
	return err ? NODE_RUNTIME : NODE_OK;
}

static void log_opened(struct node *n)
{
	struct engine_stats s;

	engine_stats(n->engine, &s);
	log_info("node", "opened keys=%llu files=%llu live_bytes=%llu",
		 (unsigned long long)s.keys, (unsigned long long)s.files,
		 (unsigned long long)s.live_bytes);
	diary_note(n->diary, DIARY_STARTED, DIARY_NO_PARTITION, 0, 0, 0);
}

/*
 * The files open, but what the store keeps in them for itself (membership,
 * members, slots) cannot be read: as if they did not.
 */
static enum node_exit hurt_inside(struct node *n, struct buf *why)
{
	struct buf below = BUF_INIT;
	enum node_exit result;

	store_free(n->store);
	n->store = NULL;
	engine_close(n->engine);
	n->engine = NULL;
	(void)!buf_addf(&below, "%s: the store's own records are damaged",
			n->conf->data_dir);
	result = cluster_hurt(n, &below, why);
	buf_done(&below);
	return result;
}

/* Who can wait says who it is only when its store is sound. */
static enum node_exit open_all(struct node *n, struct buf *why)
{
	enum node_exit result = node_open_engine(n, why);
	struct buf below = BUF_INIT;
	enum err err = OK;

	if (result || n->cluster.damaged)
		return result;
	if (cluster_can_wait(n)) {
		n->cluster.self.id = n->cluster.identity.node_id;
		err = open_store(n, &below);
		if (err != ERR_CORRUPT && below.n > 0)
			(void)!buf_add(why, below.p, below.n);
		buf_done(&below);
	}
	if (err == ERR_CORRUPT)
		return hurt_inside(n, why);
	if (err || cluster_opened(n, why))
		return NODE_RUNTIME;
	return n->store || !open_store(n, why) ? NODE_OK : NODE_RUNTIME;
}

/* Even one whose threads could not be made is the node's, to be ended. */
static enum node_exit start_mount(struct node *n, int fd, struct buf *why)
{
	struct mount *m;
	enum node_exit result;

	result = mount_start(n->conf, n->store, cluster_partitions(n), fd, &m,
			     why);
	pthread_mutex_lock(&n->lock);
	n->mount = m;
	pthread_mutex_unlock(&n->lock);
	return result;
}

static enum node_exit bring_up(struct node *n, struct buf *why)
{
	enum identity_state state = n->cluster.identity.state;
	enum node_exit result;
	enum err err = OK;

	if (state == IDENTITY_FORMED || state == IDENTITY_JOINING)
		err = identity_clear_engine(vfs_os(), n->conf->data_dir);
	if (err) {
		(void)!buf_addf(why, "data directory %s: %s\n",
				n->conf->data_dir, err_text(err));
		return NODE_RUNTIME;
	}
	result = open_all(n, why);
	if (result || n->cluster.damaged)
		return result;
	log_opened(n);
	if (!threads_start_workers(n)) {
		(void)!buf_addf(why, "no thread can be made\n");
		return NODE_RUNTIME;
	}
	if (!n->await)
		result = start_mount(n, -1, why);
	if (result)
		return result;
	if (n->httpd && attach_http(n)) {
		(void)!buf_addf(why, "out of memory\n");
		return NODE_RUNTIME;
	}
	return NODE_OK;
}

enum node_exit node_bring_up(struct node *n, struct buf *why)
{
	enum node_exit result = bring_up(n, why);

	atomic_store(&n->brought_up, !n->cluster.damaged);
	return result;
}

bool node_climb(struct node *n)
{
	pthread_mutex_lock(&n->climb);
	if (!n->stopping)
		return true;
	pthread_mutex_unlock(&n->climb);
	return false;
}

void node_climbed(struct node *n)
{
	pthread_mutex_unlock(&n->climb);
}

void node_hold(struct node *n, const char *code, const char *reason)
{
	pthread_mutex_lock(&n->lock);
	if (n->httpd)
		httpd_hold(n->httpd, code, reason);
	pthread_mutex_unlock(&n->lock);
}

enum node_exit node_take_mount(struct node *n, struct buf *why)
{
	int fd = mount_await_begin(n->await);
	enum node_exit result;
	char fault[256];

	if (fd < 0)
		return NODE_OK;
	result = start_mount(n, fd, why);
	snprintf(fault, sizeof(fault), "%.*s", (int)why->n, (char *)why->p);
	mount_await_end(n->await, result ? fault : NULL);
	return result;
}

static void hold(struct node *n)
{
	char reason[CONF_PATH_BYTES_MAX + 1024];

	if (n->cluster.damaged) {
		snprintf(reason, sizeof(reason), "%.*s", (int)n->cluster.hurt.n,
			 (char *)n->cluster.hurt.p);
		httpd_hold(n->httpd, "starting", reason);
	}
	if (n->cluster.plan != PLAN_REMOVED)
		return;
	snprintf(reason, sizeof(reason),
		 "this node was removed from its cluster; empty %s to add it "
		 "again",
		 n->conf->data_dir);
	httpd_hold(n->httpd, "removed", reason);
	log_error("cluster", "removed reason=\"%s\"", reason);
}

/* From a chosen plan to a node that serves, or waits and says so. */
static enum node_exit start_service(struct node *n, struct buf *why)
{
	enum plan plan = n->cluster.plan;
	enum node_exit result = NODE_OK;

	if (plan == PLAN_SINGLE || plan == PLAN_RUN)
		result = node_bring_up(n, why);
	if (!result)
		result = start_http(n, why);
	if (result)
		return result;
	hold(n);
	if (!threads_start_core(n)) {
		(void)!buf_addf(why, "no thread can be made\n");
		return NODE_RUNTIME;
	}
	return NODE_OK;
}

static struct node *new_node(const struct conf *c, struct wake *trouble)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	if (diary_new(clock_os(), &n->diary)) {
		free(n);
		return NULL;
	}
	n->conf = c;
	n->trouble = trouble;
	wake_init(&n->core_wake);
	wake_init(&n->keeper_wake);
	wake_init(&n->mover_wake);
	wake_init(&n->handed_wake);
	pthread_mutex_init(&n->lock, NULL);
	pthread_mutex_init(&n->climb, NULL);
	format_listen(n, &c->http_listen);
	return n;
}

/* The core thread may still want to say why it does not serve. */
static void stop_http(struct node *n)
{
	struct httpd *h;

	pthread_mutex_lock(&n->lock);
	h = n->httpd;
	n->httpd = NULL;
	pthread_mutex_unlock(&n->lock);
	httpd_stop(h);
}

/* Down the ladder from wherever it was left. */
static void unwind(struct node *n)
{
	stop_http(n);
	mount_await_stop(n->await);
	mount_stop(n->mount, !n->has_core || node_failed(n));
	threads_stop(n);
	mount_close(n->mount);
	store_free(n->store);
	mount_free(n->mount);
	mount_await_free(n->await);
	cluster_end(n);
	engine_close(n->engine);
	diary_free(n->diary);
	tls_unref(n->tls);
	chan_tls_free(n->peer_tls);
	pthread_mutex_destroy(&n->lock);
	pthread_mutex_destroy(&n->climb);
	free(n);
}

enum node_exit node_start(const struct conf *c, struct wake *trouble,
			  struct node **out, struct buf *why)
{
	struct node *n = new_node(c, trouble);
	enum node_exit result = NODE_RUNTIME;

	if (!n) {
		(void)!buf_addf(why, "out of memory\n");
		return NODE_RUNTIME;
	}
	raise_file_limit(c);
	if (security_load(c, n, &n->tls, why)) {
		unwind(n);
		return NODE_CONFIG;
	}
	if (seed_init_os(&n->engine_seed) || seed_init_os(&n->store_seed)) {
		(void)!buf_addf(why, "the system has no entropy\n");
	} else {
		result = mount_check(c, why);
		if (!result)
			result = cluster_begin(n, why);
		if (!result)
			result = mount_await_start(c, threads_wake_core, n,
						   &n->await, why);
		if (!result)
			result = start_service(n, why);
	}
	if (result) {
		unwind(n);
		return result;
	}
	*out = n;
	return NODE_OK;
}

/* Give leadership away while requests are still served; for a while. */
static void give_up_leadership(struct node *n)
{
	uint64_t ms = 2 * n->conf->election_timeout_ms, until_ns;

	if (!n->has_core || !n->cluster.links || !n->store || node_failed(n) ||
	    store_members(n->store, NULL, 0) < 2)
		return;
	ms = ms < HAND_OVER_MS_MIN ? HAND_OVER_MS_MIN : ms;
	ms = ms > HAND_OVER_MS_MAX ? HAND_OVER_MS_MAX : ms;
	until_ns = clock_mono_ns(clock_os()) + ms * 1000000;
	atomic_store(&n->leads, true);
	atomic_store(&n->hand_over, true);
	threads_wake_core(n);
	while (atomic_load(&n->leads) && clock_mono_ns(clock_os()) < until_ns)
		wake_wait(&n->handed_wake, 100);
	log_info("node", "handed_over done=%d", !atomic_load(&n->leads));
}

void node_stop(struct node *n)
{
	if (!n)
		return;
	/* From here on the core thread climbs no further rung. */
	pthread_mutex_lock(&n->climb);
	n->stopping = true;
	pthread_mutex_unlock(&n->climb);
	if (atomic_load(&n->brought_up))
		give_up_leadership(n);
	unwind(n);
}

/* What begins or ends here begins or ends with the process. */
static enum err only_at_start(const struct conf *c, const char *key,
			      const char *what, struct buf *why)
{
	if (conf_where(c, key, why) ||
	    buf_addf(why, "%s, only at a start\n", what))
		return ERR_NOMEM;
	return ERR_INVALID;
}

/* New files for both kinds of TLS; *tls or *peer NULL: there is none. */
static enum err reload_files(struct node *n, const struct conf *c,
			     struct tls **tls, struct chan_tls **peer,
			     struct buf *why)
{
	enum err err;

	*peer = NULL;
	if (!n->tls != !c->tls_cert[0])
		return only_at_start(c, "security.tls_cert",
				     "HTTP becomes HTTPS, and back", why);
	if (!n->conf->peer_cert[0] != !c->peer_cert[0])
		return only_at_start(c, "security.peer_cert",
				     "links begin and end with TLS", why);
	err = security_load(c, n, tls, why);
	if (err || !c->peer_cert[0] || !n->cluster.links)
		return err;
	err = chan_tls_new(c->peer_cert, c->peer_key, c->peer_ca, peer, why);
	if (!err)
		return OK;
	tls_unref(*tls);
	if (err == ERR_INVALID && buf_addf(why, "\n"))
		err = ERR_NOMEM;
	return err;
}

/*
 * The addresses of c are those of the next start. What lets clients in now must
 * be enough for the addresses of now.
 */
static enum err check_exposure(const struct node *n, const struct conf *c,
			       struct buf *why)
{
	if (conf_http_is_guarded(c) || c->insecure || n->conf->insecure ||
	    httpd_is_on_loopback(n->httpd))
		return OK;
	if (conf_where(c, "http.listen", why) ||
	    buf_addf(why, "until the next start this node serves beyond "
			  "loopback: that needs security.tls_cert and "
			  "tls_key, and security.tokens = true or tls_ca, or "
			  "security.insecure = true\n"))
		return ERR_NOMEM;
	return ERR_INVALID;
}

static void use_files(struct node *n, struct tls *tls, struct chan_tls *peer)
{
	struct chan_tls *unused;

	if (tls) {
		httpd_set_tls(n->httpd, tls);
		tls_unref(n->tls);
		n->tls = tls;
	}
	if (!peer)
		return;
	pthread_mutex_lock(&n->lock);
	unused = n->peer_tls;
	n->peer_tls = peer;
	pthread_mutex_unlock(&n->lock);
	chan_tls_free(unused);
	threads_wake_core(n);
}

enum err node_check_files(const struct conf *c, struct buf *why)
{
	struct tls *tls;
	enum err err = security_load(c, NULL, &tls, why);

	if (!err)
		tls_unref(tls);
	return err;
}

enum err node_reload(struct node *n, const struct conf *c, struct buf *why)
{
	struct httpd_access access = access_of(c);
	struct chan_tls *peer;
	struct tls *tls;
	enum err err = check_exposure(n, c, why);

	if (!err)
		err = reload_files(n, c, &tls, &peer, why);
	if (err)
		return err;
	use_files(n, tls, peer);
	log_set_level((enum log_level)c->log_level);
	raise_file_limit(c);
	httpd_set_access(n->httpd, &access);
	httpd_set_limits(n->httpd, c->http_value_bytes_max,
			 c->http_connections_max);
	pthread_mutex_lock(&n->lock);
	n->merge = merge_options(c);
	n->value_bytes_max = c->http_value_bytes_max;
	n->min_free_bytes = c->min_free_bytes;
	n->settings_changed = true;
	pthread_mutex_unlock(&n->lock);
	wake_up(&n->keeper_wake);
	return OK;
}

bool node_failed(const struct node *n)
{
	return atomic_load(&n->failed);
}

bool node_serves(const struct node *n)
{
	return atomic_load(&n->serving);
}

enum node_exit node_result(const struct node *n)
{
	return (enum node_exit)atomic_load(&n->result);
}

uint64_t node_beat(const struct node *n)
{
	return atomic_load(&n->beat);
}

enum err node_urls(const struct node *n, struct buf *out)
{
	enum err err = OK;

	for (uint32_t i = 0; !err && i < n->listen_count; i++)
		err = buf_addf(out, "%s%s://%s:%u", i ? " " : "",
			       n->tls ? "https" : "http", n->host[i],
			       httpd_port(n->httpd, i));
	return err;
}
