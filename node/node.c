/*
 * node/node.c - the start ladder and its unwinding.
 *
 *   engine_open     lock, recovery; all processors read at once
 *   store_new       over the open engine
 *   core thread     first store_step: from here on the store serves
 *   keeper thread   segments, hints, merges
 *   httpd_start     last: a port that answers means a node that serves
 *
 * node_stop goes down the same ladder: requests end while the core thread
 * still completes them, then the store, then the files. What a rung needs
 * lies above it, so each can assume that the ones before it work.
 */
#include "node/node.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/check.h"
#include "base/log.h"
#include "engine/engine.h"
#include "httpd/httpd.h"
#include "node/parallel.h"
#include "store/store.h"

enum {
	IDLE_MS = 10,	     /* without a batch: the last frame is proved    */
	ROUND_MS_MAX = 1000, /* the core thread shows that it lives          */
	KEEP_MS_MAX = 100,   /* a requested merge starts within this         */
	RETRY_MS = 1000,     /* after background work failed                 */
	OWN_FILES_MAX = 512, /* descriptors beside those of connections      */
	LISTEN_TEXT_BYTES = CONF_HOST_BYTES_MAX + 16,
	PAGE_BYTES = 4096, /* the engine wants segments of whole pages       */
};

struct node {
	struct engine *engine;
	struct store *store;
	struct httpd *httpd;
	struct seed engine_seed, store_seed;
	struct wake *trouble;
	struct wake core_wake, keeper_wake;
	pthread_t core, keeper;
	_Atomic bool core_stop, keeper_stop, failed;
	_Atomic uint64_t beat;
	pthread_mutex_t lock; /* of the two below */
	struct engine_merge_options merge;
	bool merge_changed;
	uint32_t listen_count;
	char listen[CONF_LISTEN_MAX][LISTEN_TEXT_BYTES];
	char host[CONF_LISTEN_MAX][LISTEN_TEXT_BYTES];
};

/* -------------------------------------------------------------- threads -- */

static void wake_core(void *ctx)
{
	wake_up(ctx);
}

/* Sleep until there is work or wait_ms are over; prove the tail meanwhile. */
static void core_rest(struct node *n, uint64_t wait_ms)
{
	if (wait_ms > ROUND_MS_MAX)
		wait_ms = ROUND_MS_MAX;
	if (wait_ms > IDLE_MS) {
		if (wake_wait(&n->core_wake, IDLE_MS))
			return;
		engine_idle(n->engine);
		wait_ms -= IDLE_MS;
	}
	if (wait_ms)
		wake_wait(&n->core_wake, wait_ms);
}

static void *core_main(void *arg)
{
	struct node *n = arg;
	uint64_t wait_ms;
	enum err err;

	while (!atomic_load(&n->core_stop)) {
		atomic_fetch_add(&n->beat, 1);
		err = store_step(n->store, &wait_ms);
		if (err) {
			log_error("node", "store_failed err=\"%s\"",
				  err_text(err));
			atomic_store(&n->failed, true);
			wake_up(n->trouble);
			return NULL;
		}
		core_rest(n, wait_ms);
	}
	return NULL;
}

/* The engine's merge settings belong to the keeper thread. */
static void take_merge_options(struct node *n)
{
	pthread_mutex_lock(&n->lock);
	if (n->merge_changed)
		engine_set_merge_options(n->engine, &n->merge);
	n->merge_changed = false;
	pthread_mutex_unlock(&n->lock);
}

static void *keeper_main(void *arg)
{
	struct node *n = arg;
	uint64_t wait_ms;

	while (!atomic_load(&n->keeper_stop)) {
		take_merge_options(n);
		wait_ms = KEEP_MS_MAX;
		if (engine_keep(n->engine, &wait_ms))
			wait_ms = RETRY_MS; /* it has been logged inside */
		else if (wait_ms > KEEP_MS_MAX)
			wait_ms = KEEP_MS_MAX;
		if (wait_ms)
			wake_wait(&n->keeper_wake, wait_ms);
	}
	return NULL;
}

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

static enum err open_engine(struct node *n, const struct conf *c,
			    struct buf *why)
{
	struct engine_options o;
	struct buf below = BUF_INIT;
	enum err err;

	engine_options_default(&o);
	o.vfs = vfs_os();
	o.clock = clock_os();
	o.seed = &n->engine_seed;
	o.dir = c->data_dir;
	o.partitions = c->partitions;
	o.segment_bytes = c->file_bytes_max / PAGE_BYTES * PAGE_BYTES;
	o.min_free_bytes = c->min_free_bytes;
	o.read_mode = c->read == CONF_READ_MMAP ? ENGINE_READ_MMAP
						: ENGINE_READ_PREAD;
	o.sync_mode = sync_mode(c);
	o.sync_interval_ms = c->sync_interval_ms;
	o.merge = merge_options(c);
	o.parallel = parallel_run;
	o.minute_of_day = minute_of_day;
	err = engine_open(&o, &n->engine, &below);
	if (err == ERR_BUSY)
		(void)!buf_addf(why,
				"data directory %s is in use by another "
				"process\n",
				c->data_dir);
	else if (err == ERR_INVALID)
		(void)!(conf_where(c, "cluster.partitions", why) ||
			buf_addf(why, "%.*s\n", (int)below.n,
				 (const char *)below.p));
	else if (err)
		explain(why, "data directory", c->data_dir, err, &below);
	buf_done(&below);
	return err;
}

static enum err open_store(struct node *n, const struct conf *c,
			   struct buf *why)
{
	const struct store_options o = {
		.engine = n->engine,
		.clock = clock_os(),
		.seed = &n->store_seed,
		.node_name = c->node_name,
		.partitions = c->partitions,
		.max_value_bytes = c->http_value_bytes_max,
		.watch_history_bytes = c->watch_history_bytes,
		.wake = wake_core,
		.wake_ctx = &n->core_wake,
	};
	struct buf below = BUF_INIT;
	uint64_t wait_ms;
	enum err err = store_new(&o, &n->store);

	/* The first step here, so that HTTP never starts before the store. */
	if (!err)
		err = store_step(n->store, &wait_ms);
	if (err)
		explain(why, "store in", c->data_dir, err, &below);
	return err;
}

static enum err start_http(struct node *n, const struct conf *c,
			   struct buf *why)
{
	const char *listen[CONF_LISTEN_MAX];
	char cluster_text[33];
	uint8_t cluster_id[16];
	struct buf below = BUF_INIT;
	struct httpd_options o = {
		.listen = listen,
		.listen_count = n->listen_count,
		.max_value_bytes = c->http_value_bytes_max,
		.max_connections = c->http_connections_max,
		.store = n->store,
		.clock = clock_os(),
		.seed = seed_next(&n->store_seed),
		.node_name = c->node_name,
		.cluster_id = cluster_text,
		.version = RAFTCASK_VERSION,
	};
	enum err err;

	for (uint32_t i = 0; i < n->listen_count; i++)
		listen[i] = n->listen[i];
	engine_identity(n->engine, cluster_id, &o.node_id);
	for (int i = 0; i < 16; i++)
		snprintf(cluster_text + 2 * i, 3, "%02x", cluster_id[i]);
	err = httpd_start(&o, &n->httpd, &below);
	if (err)
		explain(why, "http.listen", n->listen[0], err, &below);
	buf_done(&below);
	return err;
}

static void stop_thread(pthread_t thread, _Atomic bool *stop, struct wake *w)
{
	atomic_store(stop, true);
	wake_up(w);
	pthread_join(thread, NULL);
}

/* The threads and the front end, over an open store. */
static enum err start_service(struct node *n, const struct conf *c,
			      struct buf *why)
{
	enum err err = ERR_NOMEM;

	if (pthread_create(&n->core, NULL, core_main, n)) {
		(void)!buf_addf(why, "no thread can be made\n");
		return err;
	}
	if (pthread_create(&n->keeper, NULL, keeper_main, n)) {
		(void)!buf_addf(why, "no thread can be made\n");
		goto out_core;
	}
	err = start_http(n, c, why);
	if (err)
		goto out_keeper;
	return OK;
out_keeper:
	stop_thread(n->keeper, &n->keeper_stop, &n->keeper_wake);
out_core:
	stop_thread(n->core, &n->core_stop, &n->core_wake);
	return err;
}

static void log_opened(struct node *n)
{
	struct engine_stats s;

	engine_stats(n->engine, &s);
	log_info("node", "opened keys=%llu files=%llu live_bytes=%llu",
		 (unsigned long long)s.keys, (unsigned long long)s.files,
		 (unsigned long long)s.live_bytes);
}

enum node_exit node_start(const struct conf *c, struct wake *trouble,
			  struct node **out, struct buf *why)
{
	struct node *n = calloc(1, sizeof(*n));
	enum node_exit result = NODE_RUNTIME;
	enum err err;

	if (!n) {
		(void)!buf_addf(why, "out of memory\n");
		return NODE_RUNTIME;
	}
	n->trouble = trouble;
	wake_init(&n->core_wake);
	wake_init(&n->keeper_wake);
	pthread_mutex_init(&n->lock, NULL);
	format_listen(n, &c->http_listen);
	raise_file_limit(c);
	if (seed_init_os(&n->engine_seed) || seed_init_os(&n->store_seed)) {
		(void)!buf_addf(why, "the system has no entropy\n");
		goto out_node;
	}
	err = open_engine(n, c, why);
	if (err) {
		result = err == ERR_BUSY      ? NODE_BUSY
			 : err == ERR_INVALID ? NODE_CONFIG
					      : NODE_RUNTIME;
		goto out_node;
	}
	if (open_store(n, c, why))
		goto out_store;
	log_opened(n);
	if (start_service(n, c, why))
		goto out_store;
	*out = n;
	return NODE_OK;
out_store:
	store_free(n->store);
	engine_close(n->engine);
out_node:
	pthread_mutex_destroy(&n->lock);
	free(n);
	return result;
}

void node_stop(struct node *n)
{
	if (!n)
		return;
	httpd_stop(n->httpd);
	stop_thread(n->keeper, &n->keeper_stop, &n->keeper_wake);
	stop_thread(n->core, &n->core_stop, &n->core_wake);
	store_free(n->store);
	engine_close(n->engine);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

void node_reload(struct node *n, const struct conf *c)
{
	log_set_level((enum log_level)c->log_level);
	pthread_mutex_lock(&n->lock);
	n->merge = merge_options(c);
	n->merge_changed = true;
	pthread_mutex_unlock(&n->lock);
	wake_up(&n->keeper_wake);
}

bool node_failed(const struct node *n)
{
	return atomic_load(&n->failed);
}

uint64_t node_beat(const struct node *n)
{
	return atomic_load(&n->beat);
}

enum err node_urls(const struct node *n, struct buf *out)
{
	enum err err = OK;

	for (uint32_t i = 0; !err && i < n->listen_count; i++)
		err = buf_addf(out, "%shttp://%s:%u", i ? " " : "", n->host[i],
			       httpd_port(n->httpd, i));
	return err;
}
