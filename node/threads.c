/*
 * node/threads.c - the threads of a running node.
 *
 *   core     store_step and what arrives from other nodes; sleeps in the epoll
 *            of the links, or on a futex when there are none
 *   keeper   engine_keep: segments, hints, merges
 *   mover    store_move: snapshots to and from other nodes; with links only,
 *            and apart from the keeper, so that neither a long merge nor a
 *            long transfer holds up the other
 */
#include "base/check.h"
#include "base/log.h"
#include "node/node_internal.h"

enum {
	IDLE_MS = 10,	     /* without a batch: the last frame is proved    */
	ROUND_MS_MAX = 1000, /* the core thread shows that it lives          */
	KEEP_MS_MAX = 100,   /* a requested merge starts within this         */
	RETRY_MS = 1000,     /* after background work failed                 */
	MOVE_MS_MAX = 1000,
	HAND_OVER_AGAIN_MS = 300,
};

void threads_wake_core(void *ctx)
{
	struct node *n = ctx;

	if (n->cluster.links)
		links_wake(n->cluster.links);
	else
		wake_up(&n->core_wake);
}

/* True: something happened. */
static enum err sleep_core(struct node *n, uint64_t ms, bool *idle)
{
	if (n->cluster.links)
		return links_wait(n->cluster.links, ms, idle);
	*idle = !ms || !wake_wait(&n->core_wake, ms);
	return OK;
}

/* Sleep until there is work or wait_ms are over; prove the tail meanwhile. */
static enum err core_rest(struct node *n, uint64_t wait_ms)
{
	bool idle = true;
	enum err err = OK;

	if (wait_ms > ROUND_MS_MAX)
		wait_ms = ROUND_MS_MAX;
	if (wait_ms > IDLE_MS) {
		err = sleep_core(n, IDLE_MS, &idle);
		if (err || !idle)
			return err;
		engine_idle(n->engine);
		wait_ms -= IDLE_MS;
	}
	/* Even without a wait what has arrived is to be read. */
	if (wait_ms || n->cluster.links)
		err = sleep_core(n, wait_ms, &idle);
	return err;
}

static void fail(struct node *n, enum node_exit result)
{
	atomic_store(&n->result, result);
	atomic_store(&n->failed, true);
	wake_up(n->trouble);
}

/* False: it stops before there is a store. */
static bool become_part(struct node *n)
{
	struct buf why = BUF_INIT;
	enum node_exit result = NODE_OK;
	bool done = false;

	while (!done && !result && !atomic_load(&n->core_stop)) {
		atomic_fetch_add(&n->beat, 1);
		if (n->cluster.plan == PLAN_REMOVED)
			wake_wait(&n->core_wake, ROUND_MS_MAX);
		else
			result = cluster_wait(n, &done, &why);
	}
	if (done && !result) {
		done = node_climb(n);
		if (done) {
			result = node_bring_up(n, &why);
			node_climbed(n);
		}
	}
	if (result) {
		log_error("node", "stopped reason=\"%.*s\"",
			  why.n ? (int)why.n - 1 : 0, /* without its newline */
			  why.n ? (const char *)why.p : "");
		fail(n, result);
	} else if (done) {
		wake_up(n->trouble); /* main says that it is ready */
	}
	buf_done(&why);
	return done && !result;
}

/* While it is asked for: give leadership away, and say when it is gone. */
static void hand_over(struct node *n, uint64_t *again_ns)
{
	uint64_t now_ns = clock_mono_ns(clock_os());

	if (!store_leads(n->store)) {
		atomic_store(&n->leads, false);
		wake_up(&n->handed_wake);
	} else if (now_ns >= *again_ns) {
		store_hand_over(n->store);
		*again_ns = now_ns + HAND_OVER_AGAIN_MS * 1000000ull;
	}
}

/* False: the mount that was brought cannot be served; the node stops. */
static bool take_mount(struct node *n)
{
	struct buf why = BUF_INIT;
	enum node_exit result = NODE_OK;

	if (!node_climb(n))
		return true;
	result = node_take_mount(n, &why);
	node_climbed(n);
	if (result) {
		log_error("node", "stopped reason=\"%.*s\"",
			  why.n ? (int)why.n - 1 : 0,
			  why.n ? (const char *)why.p : "");
		fail(n, result);
	}
	buf_done(&why);
	return !result;
}

static void *core_main(void *arg)
{
	struct node *n = arg;
	uint64_t wait_ms, again_ns = 0;
	enum err err = OK;

	if (!n->store && !become_part(n))
		return NULL;
	while (!err && !atomic_load(&n->core_stop)) {
		atomic_fetch_add(&n->beat, 1);
		if (atomic_load(&n->hand_over))
			hand_over(n, &again_ns);
		if (mount_await_ready(n->await) && !take_mount(n))
			return NULL;
		err = store_step(n->store, &wait_ms);
		if (!err) {
			cluster_round(n);
			security_round(n);
		}
		if (!err)
			err = core_rest(n, wait_ms);
	}
	if (err) {
		log_error("node", "store_failed err=\"%s\"", err_text(err));
		fail(n, NODE_RUNTIME);
	}
	return NULL;
}

/*
 * What a reload has changed for engine and store, which may not have been
 * there then. The merge settings belong to the keeper thread.
 */
static void take_settings(struct node *n)
{
	pthread_mutex_lock(&n->lock);
	if (n->settings_changed) {
		engine_set_merge_options(n->engine, &n->merge);
		engine_set_min_free(n->engine, n->min_free_bytes);
		store_set_max_value(n->store, n->value_bytes_max);
	}
	n->settings_changed = false;
	pthread_mutex_unlock(&n->lock);
}

static void *keeper_main(void *arg)
{
	struct node *n = arg;
	uint64_t wait_ms;

	while (!atomic_load(&n->keeper_stop)) {
		take_settings(n);
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

static void *mover_main(void *arg)
{
	struct node *n = arg;
	uint64_t wait_ms;

	while (!atomic_load(&n->mover_stop)) {
		wait_ms = MOVE_MS_MAX;
		store_move(n->store, &wait_ms);
		if (wait_ms)
			wake_wait(&n->mover_wake, wait_ms < MOVE_MS_MAX
							  ? wait_ms
							  : MOVE_MS_MAX);
	}
	return NULL;
}

bool threads_start_core(struct node *n)
{
	n->has_core = !pthread_create(&n->core, NULL, core_main, n);
	return n->has_core;
}

bool threads_start_workers(struct node *n)
{
	n->has_keeper = !pthread_create(&n->keeper, NULL, keeper_main, n);
	if (!n->has_keeper)
		return false;
	if (!n->cluster.links)
		return true;
	n->has_mover = !pthread_create(&n->mover, NULL, mover_main, n);
	return n->has_mover;
}

static void join(pthread_t thread, bool *has)
{
	if (*has)
		pthread_join(thread, NULL);
	*has = false;
}

static void stop_core(struct node *n)
{
	atomic_store(&n->core_stop, true);
	threads_wake_core(n);
	join(n->core, &n->has_core);
}

void threads_stop(struct node *n)
{
	/* Core starts the other two when a node that waited is brought up. */
	if (!atomic_load(&n->brought_up))
		stop_core(n);
	atomic_store(&n->mover_stop, true);
	atomic_store(&n->keeper_stop, true);
	wake_up(&n->mover_wake);
	wake_up(&n->keeper_wake);
	join(n->mover, &n->has_mover);
	join(n->keeper, &n->has_keeper);
	stop_core(n);
}
