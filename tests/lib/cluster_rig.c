/*
 * tests/lib/cluster_rig.c - nodes, network and time of a simulated cluster.
 *
 * What is due next is the earliest of: each node's core step, keeper step,
 * mover step and idle call, the first message of the heap, the next link that
 * is to change. Equal times are taken in that order, nodes by id, messages in
 * the order in which they were sent: nothing depends on an address.
 */
#include "tests/lib/cluster_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum {
	LINK_UP_NS = 5 * 1000 * 1000,
	LINK_SILENT_NS = 1000 * 1000 * 1000,
	LINK_QUEUE_BYTES_MAX = 64 << 20,
	GATHER_NS = 20 * 1000, /* a step follows what arrived by then       */
	IDLE_NS = 10 * 1000 * 1000,
	KEEP_NS_MAX = 100 * 1000 * 1000,
	KEEP_RETRY_NS = 1000 * 1000 * 1000,
	START_NS = 1000 * 1000 * 1000,
};

struct cluster_message {
	uint64_t due_ns, seq, from, to;
	uint8_t *p;
	size_t n;
};

/* ----------------------------------------------------------------- words -- */

static void broken(struct cluster *c, const char *what)
{
	char text[512];

	snprintf(text, sizeof(text), "SEED=%llu at %llu.%06llu ms: %s",
		 (unsigned long long)c->o.seed,
		 (unsigned long long)(c->now_ns / 1000000),
		 (unsigned long long)(c->now_ns % 1000000), what);
	if (c->hooks.fail)
		(c->hooks.fail)(c->hooks.ctx, text);
	fail_msg("%s", text);
}

void cluster_hold(struct cluster *c, bool cond, const char *what)
{
	if (!cond)
		broken(c, what);
}

void cluster_trace(struct cluster *c, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	if (!c->hooks.trace)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	c->hooks.trace(c->hooks.ctx, line);
}

/* ------------------------------------------------------------------ time -- */

/* Bring the node's clocks to now. */
static void move_clock(struct cluster_node *n)
{
	uint64_t now = n->c->now_ns, d = now - n->clock_seen, awake = d;
	double rate = (double)n->rate_ppb / 1e9;

	if (n->asleep_until > n->clock_seen)
		awake = now > n->asleep_until ? now - n->asleep_until : 0;
	n->clock.mono += awake + (uint64_t)(int64_t)((double)awake * rate);
	d += (uint64_t)(int64_t)((double)d * rate);
	n->clock.boot += d;
	n->clock.wall += d;
	n->clock_seen = now;
}

/* When the node's own clock will have moved by ns. */
static uint64_t after(const struct cluster_node *n, uint64_t ns)
{
	double rate = 1.0 + (double)n->rate_ppb / 1e9;

	return n->c->now_ns + (uint64_t)((double)ns / rate) + 1;
}

static uint64_t after_wait(const struct cluster_node *n, uint64_t wait_ms)
{
	return wait_ms > UINT32_MAX ? CLUSTER_NEVER
				    : after(n, wait_ms * 1000000);
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* From when on the node's core thread can do something. */
static uint64_t free_at(const struct cluster_node *n)
{
	return later(n->paused_until, n->busy_until);
}

static void core_due(struct cluster_node *n, uint64_t at)
{
	n->core_due = earlier(n->core_due, at);
}

/* ----------------------------------------------------------------- heap --- */

static bool sooner(const struct cluster_message *a,
		   const struct cluster_message *b)
{
	return a->due_ns < b->due_ns ||
	       (a->due_ns == b->due_ns && a->seq < b->seq);
}

/* Room for one more message. False: a test made the allocation fail. */
static bool heap_reserve(struct cluster *c)
{
	uint32_t cap = c->heap_cap ? 2 * c->heap_cap : 256;
	void *heap;

	if (c->heap_count < c->heap_cap)
		return true;
	heap = realloc(c->heap, cap * sizeof(*c->heap));
	if (!heap)
		return false;
	c->heap = heap;
	c->heap_cap = cap;
	return true;
}

static void heap_push(struct cluster *c, struct cluster_message m)
{
	uint32_t i = c->heap_count++;

	while (i > 0 && sooner(&m, &c->heap[(i - 1) / 2])) {
		c->heap[i] = c->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	c->heap[i] = m;
}

static struct cluster_message heap_pop(struct cluster *c)
{
	struct cluster_message top = c->heap[0];
	struct cluster_message m = c->heap[--c->heap_count];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < c->heap_count) {
		if (child + 1 < c->heap_count &&
		    sooner(&c->heap[child + 1], &c->heap[child]))
			child++;
		if (!sooner(&c->heap[child], &m))
			break;
		c->heap[i] = c->heap[child];
		i = child;
	}
	c->heap[i] = m;
	return top;
}

/* --------------------------------------------------------------- network -- */

static bool is_off(const struct cluster_node *n)
{
	return n->off_at && vfs_sim_calls(n->disk, n->off_mask) >= n->off_at;
}

static struct cluster_node *node_of(struct cluster *c, uint64_t id)
{
	return id && id <= c->count && c->node[id].disk ? &c->node[id] : NULL;
}

/* Could a link from a to b stand now, and would a notice if not? */
static bool stands(struct cluster *c, uint64_t a, uint64_t b)
{
	const struct cluster_node *na = &c->node[a], *nb = &c->node[b];

	if (!na->store || !nb->store || !na->knows[b])
		return false;
	return !(c->link[a][b].cut && c->link[b][a].cut);
}

/* Something changed: plan what is to be told. */
static void look_at_link(struct cluster *c, uint64_t a, uint64_t b)
{
	struct cluster_link *l = &c->link[a][b];
	bool both_run = c->node[a].store && c->node[b].store;

	if (stands(c, a, b) == l->up) {
		l->flip_at = CLUSTER_NEVER;
		return;
	}
	if (l->flip_at != CLUSTER_NEVER)
		return;
	l->flip_at =
		c->now_ns + (l->up && both_run ? LINK_SILENT_NS : LINK_UP_NS);
	c->links_due = earlier(c->links_due, l->flip_at);
}

static void look_at_links(struct cluster *c, uint64_t id)
{
	for (uint64_t i = 1; i <= c->count; i++) {
		look_at_link(c, id, i);
		look_at_link(c, i, id);
	}
}

static uint64_t choose_due(struct cluster *c, struct cluster_link *l)
{
	const struct cluster_weather *w = &c->o.weather;
	uint64_t due = c->now_ns + w->delay_min_ns;

	if (w->delay_max_ns > w->delay_min_ns)
		due += seed_below(&c->seed, w->delay_max_ns - w->delay_min_ns);
	if (w->reorder_permille &&
	    seed_below(&c->seed, 1000) < w->reorder_permille)
		return due + seed_below(&c->seed, 20 * w->delay_max_ns + 1);
	l->last_at = due = later(due, l->last_at);
	return due;
}

/* p, of malloc, goes with the message; NULL: there was no memory for it. */
static void put_on_way(struct cluster *c, struct cluster_link *l, uint64_t from,
		       uint64_t to, uint8_t *p, size_t n)
{
	struct cluster_message m = { .due_ns = choose_due(c, l),
				     .seq = ++c->message_seq,
				     .from = from,
				     .to = to,
				     .p = p,
				     .n = n };

	if (!m.p || !heap_reserve(c)) {
		c->counts.lost++;
		free(m.p);
		return;
	}
	l->queued += n;
	heap_push(c, m);
}

static size_t sum_of(const struct bytes *parts, uint32_t part_count)
{
	size_t n = 0;

	for (uint32_t i = 0; i < part_count; i++)
		n += parts[i].n;
	return n;
}

/* The parts in one piece, of malloc; NULL: a test made it fail. */
static uint8_t *joined(const struct bytes *parts, uint32_t part_count, size_t n)
{
	uint8_t *p = malloc(n + 1);
	size_t at = 0;

	for (uint32_t i = 0; p && i < part_count; i++) {
		if (parts[i].n)
			memcpy(p + at, parts[i].p, parts[i].n);
		at += parts[i].n;
	}
	return p;
}

static bool happens(struct cluster *c, uint32_t permille)
{
	return permille && seed_below(&c->seed, 1000) < permille;
}

static enum err net_send(struct net *net, uint64_t to,
			 const struct bytes *parts, uint32_t part_count)
{
	struct cluster_node *n = (struct cluster_node *)net;
	struct cluster *c = n->c;
	size_t n_bytes = sum_of(parts, part_count);
	struct cluster_link *l;
	uint8_t *p;

	if (!node_of(c, to) || !n->knows[to] || !c->link[n->id][to].up)
		return ERR_CLOSED;
	l = &c->link[n->id][to];
	cluster_hold(c, n_bytes <= NET_MESSAGE_BYTES_MAX,
		     "a message is too large");
	if (l->queued + n_bytes > LINK_QUEUE_BYTES_MAX)
		return ERR_FULL;
	p = joined(parts, part_count, n_bytes);
	if (!p)
		return ERR_NOMEM;
	c->counts.sent++;
	c->counts.bytes_sent += n_bytes;
	if (l->cut || is_off(n) || happens(c, c->o.weather.loss_permille)) {
		c->counts.lost++;
		free(p);
		return OK;
	}
	put_on_way(c, l, n->id, to, p, n_bytes);
	if (happens(c, c->o.weather.repeat_permille)) {
		c->counts.repeated++;
		put_on_way(c, l, n->id, to, joined(parts, part_count, n_bytes),
			   n_bytes);
	}
	return OK;
}

static enum err net_peer(struct net *net, uint64_t id, const char *address)
{
	struct cluster_node *n = (struct cluster_node *)net;
	struct cluster *c = n->c;

	if (id == 0 || id > CLUSTER_NODES_MAX)
		return ERR_FULL;
	if (id == n->id || n->knows[id] == !!address)
		return OK;
	n->knows[id] = !!address;
	cluster_trace(c, "n%llu peer n%llu %s", (unsigned long long)n->id,
		      (unsigned long long)id, address ? address : "dropped");
	if (!address) /* who drops a link need not be told */
		c->link[n->id][id].up = false;
	look_at_link(c, n->id, id);
	return OK;
}

static bool net_is_up(struct net *net, uint64_t id)
{
	struct cluster_node *n = (struct cluster_node *)net;

	return id && id <= n->c->count && n->c->link[n->id][id].up;
}

void cluster_cut(struct cluster *c, uint64_t a, uint64_t b)
{
	if (!c->link[a][b].cut)
		cluster_trace(c, "cut n%llu->n%llu", (unsigned long long)a,
			      (unsigned long long)b);
	c->link[a][b].cut = true;
	look_at_link(c, a, b);
	look_at_link(c, b, a);
}

void cluster_heal(struct cluster *c, uint64_t a, uint64_t b)
{
	if (c->link[a][b].cut)
		cluster_trace(c, "heal n%llu->n%llu", (unsigned long long)a,
			      (unsigned long long)b);
	c->link[a][b].cut = false;
	look_at_link(c, a, b);
	look_at_link(c, b, a);
}

void cluster_isolate(struct cluster *c, uint64_t id)
{
	for (uint64_t i = 1; i <= c->count; i++) {
		if (i == id)
			continue;
		cluster_cut(c, id, i);
		cluster_cut(c, i, id);
	}
}

void cluster_heal_all(struct cluster *c)
{
	for (uint64_t i = 1; i <= c->count; i++)
		for (uint64_t j = 1; j <= c->count; j++)
			cluster_heal(c, i, j);
}

/* Drop what is on the way between a and b. */
static void lose_messages(struct cluster *c, uint64_t a, uint64_t b)
{
	uint32_t count = c->heap_count, kept = 0;

	c->heap_count = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct cluster_message m = c->heap[i];

		if (m.from == a && m.to == b) {
			free(m.p);
			continue;
		}
		c->heap[kept++] = m;
	}
	for (uint32_t i = 0; i < kept; i++)
		heap_push(c, c->heap[i]); /* slot i is free by then */
	c->link[a][b].queued = 0;
}

/* ----------------------------------------------------------------- nodes -- */

static void note_wake(void *ctx)
{
	struct cluster_node *n = ctx;

	core_due(n, n->c->now_ns);
}

void cluster_options_default(struct cluster_options *o, uint32_t founders,
			     uint32_t partitions, uint64_t seed)
{
	struct engine_options eo;

	engine_options_default(&eo);
	*o = (struct cluster_options){
		.seed = seed,
		.founders = founders,
		.partitions = partitions,
		.disk_bytes = 256 << 20,
		.segment_bytes = 1 << 20,
		.max_value_bytes = 64 << 20,
		.watch_history_bytes = 1 << 20,
		.step_ns = 200000,
		.merge = eo.merge,
		.weather = { .delay_min_ns = 1000000, .delay_max_ns = 3000000 },
	};
	o->merge.rate_bytes_per_s = 0;
}

static void make_node(struct cluster *c, uint64_t id)
{
	struct cluster_node *n = &c->node[id];
	uint64_t seed = c->o.seed * 1000003 + id;

	*n = (struct cluster_node){
		.net = { .send = net_send,
			 .peer = net_peer,
			 .is_up = net_is_up },
		.c = c,
		.id = id,
		.clock_seen = c->now_ns,
	};
	snprintf(n->name, sizeof(n->name), "n%llu", (unsigned long long)id);
	snprintf(n->address, sizeof(n->address), "n%llu:7000",
		 (unsigned long long)id);
	assert_int_equal(vfs_sim_new(seed, c->o.disk_bytes, &n->disk), OK);
	seed_init(&n->seed, seed ^ 0x5eed);
	clock_sim_init(&n->clock, START_NS * (1 + id) + c->now_ns);
}

void cluster_init(struct cluster *c, const struct cluster_options *o)
{
	*c = (struct cluster){ .o = *o, .links_due = CLUSTER_NEVER };
	assert_in_range(o->founders, 1, CLUSTER_NODES_MAX);
	seed_init(&c->seed, o->seed);
	for (int i = 0; i <= CLUSTER_NODES_MAX; i++)
		for (int j = 0; j <= CLUSTER_NODES_MAX; j++)
			c->link[i][j].flip_at = CLUSTER_NEVER;
	c->count = o->founders;
	for (uint64_t id = 1; id <= c->count; id++)
		make_node(c, id);
}

struct cluster_node *cluster_new_node(struct cluster *c, uint64_t id)
{
	cluster_hold(c, id > c->count, "a node's id is used again");
	cluster_hold(c, id <= CLUSTER_NODES_MAX, "too many nodes");
	c->count = (uint32_t)id;
	make_node(c, id);
	c->node[id].joining = true;
	return &c->node[id];
}

struct cluster_node *cluster_node(struct cluster *c, uint64_t id)
{
	struct cluster_node *n = node_of(c, id);

	cluster_hold(c, n != NULL, "no such node");
	return n;
}

bool cluster_runs(struct cluster *c, uint64_t id)
{
	struct cluster_node *n = node_of(c, id);

	return n && n->store;
}

/* Close what is open; the disk is as the calls before made it. */
static void close_node(struct cluster_node *n)
{
	struct cluster *c = n->c;

	if (n->store && c->hooks.down)
		c->hooks.down(c->hooks.ctx, n);
	store_free(n->store);
	n->store = NULL;
	engine_close(n->engine);
	n->engine = NULL;
	n->core_due = n->idle_due = n->keep_due = n->move_due = CLUSTER_NEVER;
	if (is_off(n))
		vfs_sim_crash(n->disk);
	vfs_sim_power_off(n->disk, 0, 0, false);
	n->off_at = 0;
	for (uint64_t i = 1; i <= CLUSTER_NODES_MAX; i++) {
		n->knows[i] = false;
		c->link[n->id][i].up = false;
		c->link[n->id][i].last_at = 0;
	}
	look_at_links(c, n->id);
}

/* The machine goes down as it stands. */
static void lose_power(struct cluster_node *n)
{
	vfs_sim_power_off(n->disk, VFS_SIM_ALL, 1, false);
	n->off_at = 0; /* what comes next is the crash itself */
	close_node(n);
	vfs_sim_crash(n->disk);
}

/* After a call: is it still alive? */
static void look_after(struct cluster_node *n, enum cluster_call call,
		       enum err err)
{
	struct cluster *c = n->c;

	if (is_off(n)) {
		n->died = ERR_CLOSED;
		cluster_trace(c, "n%llu loses power",
			      (unsigned long long)n->id);
		lose_power(n);
	} else if (err) {
		n->died = err;
		cluster_trace(c, "n%llu stops itself: %s",
			      (unsigned long long)n->id, err_text(err));
		close_node(n);
	}
	if (c->hooks.after)
		c->hooks.after(c->hooks.ctx, n, call);
}

static enum err open_engine(struct cluster_node *n)
{
	const struct cluster_options *o = &n->c->o;
	struct engine_options eo;
	struct buf why = BUF_INIT;
	enum err err;

	engine_options_default(&eo);
	eo.vfs = vfs_sim_vfs(n->disk);
	eo.clock = &n->clock.clock;
	eo.seed = &n->seed;
	eo.dir = "data";
	eo.node_id = n->id;
	put_u64(eo.cluster_id, o->seed);
	eo.cluster_id[15] = 1;
	eo.has_peers = o->founders > 1 || n->id > o->founders;
	eo.partitions = o->partitions;
	eo.segment_bytes = o->segment_bytes;
	eo.min_free_bytes = o->min_free_bytes;
	eo.read_mode = o->read_mode;
	eo.merge = o->merge;
	err = engine_open(&eo, &n->engine, &why);
	if (err) {
		n->engine = NULL;
		cluster_trace(n->c, "n%llu does not open: %s: %.*s",
			      (unsigned long long)n->id, err_text(err),
			      (int)why.n, why.n ? (const char *)why.p : "");
	}
	buf_done(&why);
	return err;
}

static struct store_member member_of(const struct cluster_node *n)
{
	struct store_member m = { .id = n->id };

	snprintf(m.name, sizeof(m.name), "%s", n->name);
	snprintf(m.peer, sizeof(m.peer), "%s", n->address);
	return m;
}

/* Whom an empty directory is told of: the founders, or who there is. */
static uint32_t list_members(struct cluster_node *n, struct store_member *out)
{
	struct cluster *c = n->c;
	uint32_t count = 0, last = n->joining ? c->count : c->o.founders;

	for (uint64_t id = 1; id <= last; id++) {
		struct cluster_node *m = node_of(c, id);

		if (m && (!n->joining || (!m->removed && m != n)))
			out[count++] = member_of(m);
	}
	return count;
}

static enum err open_store(struct cluster_node *n)
{
	struct cluster *c = n->c;
	struct store_member members[CLUSTER_NODES_MAX];
	struct store_options so = {
		.engine = n->engine,
		.clock = &n->clock.clock,
		.seed = &n->seed,
		.node_name = n->name,
		.partitions = c->o.partitions,
		.max_value_bytes = c->o.max_value_bytes,
		.watch_history_bytes = c->o.watch_history_bytes,
		.staging_idle_ms = c->o.staging_idle_ms,
		.net = &n->net,
		.members = members,
		.member_count = list_members(n, members),
		.joining = n->joining,
		.self = member_of(n),
		.heartbeat_ms = c->o.heartbeat_ms,
		.election_ms = c->o.election_ms,
		.append_bytes_max = c->o.append_bytes_max,
		.commit_timeout_ms = c->o.commit_timeout_ms,
		.wake = note_wake,
		.wake_ctx = n,
	};
	uint64_t wait_ms;
	enum err err;

	err = store_new(&so, &n->store);
	if (err) {
		n->store = NULL;
		return err;
	}
	err = store_step(n->store, &wait_ms);
	if (!err)
		n->core_due = after_wait(n, wait_ms);
	return err;
}

enum err cluster_try_start(struct cluster *c, uint64_t id)
{
	struct cluster_node *n = cluster_node(c, id);
	enum err err;

	cluster_hold(c, !n->store, "a node is started twice");
	cluster_trace(c, "n%llu starts", (unsigned long long)id);
	move_clock(n);
	n->starts++;
	n->died = OK;
	n->paused_until = n->busy_until = 0;
	n->core_due = n->idle_due = n->move_due = CLUSTER_NEVER;
	n->keep_due = c->now_ns;
	err = open_engine(n);
	if (!err)
		err = open_store(n);
	look_after(n, CLUSTER_START, err);
	if (!n->store) {
		close_node(n);
		return err ? err : ERR_CLOSED;
	}
	n->move_due = c->now_ns;
	look_at_links(c, id);
	return OK;
}

void cluster_start(struct cluster *c, uint64_t id)
{
	enum err err = cluster_try_start(c, id);

	if (err) {
		char text[96];

		snprintf(text, sizeof(text), "n%llu does not start: %s",
			 (unsigned long long)id, err_text(err));
		broken(c, text);
	}
}

void cluster_start_all(struct cluster *c)
{
	for (uint64_t id = 1; id <= c->count; id++)
		if (node_of(c, id) && !c->node[id].store)
			cluster_start(c, id);
}

void cluster_stop(struct cluster *c, uint64_t id, uint64_t patience_ms)
{
	struct cluster_node *n = cluster_node(c, id);
	uint64_t until = c->now_ns + patience_ms * 1000000;

	if (n->store && patience_ms)
		store_hand_over(n->store);
	while (n->store && c->now_ns < until && store_leads(n->store))
		cluster_step(c, until);
	cluster_trace(c, "n%llu is stopped", (unsigned long long)id);
	close_node(n);
}

void cluster_crash(struct cluster *c, uint64_t id)
{
	cluster_trace(c, "n%llu crashes", (unsigned long long)id);
	lose_power(cluster_node(c, id));
}

void cluster_kill(struct cluster *c, uint64_t id)
{
	struct cluster_node *n = cluster_node(c, id);

	cluster_trace(c, "n%llu is killed", (unsigned long long)id);
	vfs_sim_power_off(n->disk, VFS_SIM_ALL, 1, false);
	n->off_at = 0;
	close_node(n);
	vfs_sim_kill(n->disk);
}

void cluster_crash_at(struct cluster *c, uint64_t id, unsigned mask,
		      uint64_t nth, bool after_it)
{
	struct cluster_node *n = cluster_node(c, id);

	n->off_mask = mask;
	n->off_at = vfs_sim_calls(n->disk, mask) + nth;
	vfs_sim_power_off(n->disk, mask, nth, after_it);
}

void cluster_wipe(struct cluster *c, uint64_t id)
{
	struct cluster_node *n = cluster_node(c, id);

	cluster_trace(c, "n%llu is wiped", (unsigned long long)id);
	close_node(n);
	vfs_sim_free(n->disk);
	assert_int_equal(
		vfs_sim_new(seed_next(&c->seed), c->o.disk_bytes, &n->disk),
		OK);
}

void cluster_done(struct cluster *c)
{
	for (uint64_t id = 1; id <= c->count; id++) {
		if (!node_of(c, id))
			continue;
		close_node(&c->node[id]);
		vfs_sim_free(c->node[id].disk);
	}
	while (c->heap_count)
		free(heap_pop(c).p);
	free(c->heap);
	*c = (struct cluster){ 0 };
}

bool cluster_awake(struct cluster *c, uint64_t id)
{
	if (!cluster_runs(c, id) || c->node[id].paused_until > c->now_ns)
		return false;
	move_clock(&c->node[id]);
	return true;
}

void cluster_pause(struct cluster *c, uint64_t id, uint64_t ms)
{
	struct cluster_node *n = cluster_node(c, id);

	cluster_trace(c, "n%llu pauses for %llu ms", (unsigned long long)id,
		      (unsigned long long)ms);
	n->paused_until = later(n->paused_until, c->now_ns + ms * 1000000);
}

void cluster_clock_rate(struct cluster *c, uint64_t id, int64_t ppb)
{
	struct cluster_node *n = cluster_node(c, id);

	move_clock(n);
	n->rate_ppb = ppb;
	if (n->store) /* what it waits for comes at another time now */
		n->core_due = c->now_ns;
}

void cluster_clock_jump(struct cluster *c, uint64_t id, uint64_t mono_ns,
			uint64_t boot_ns, int64_t wall_ns)
{
	struct cluster_node *n = cluster_node(c, id);

	cluster_trace(c, "n%llu clock jumps", (unsigned long long)id);
	move_clock(n);
	n->clock.mono += mono_ns;
	n->clock.boot += boot_ns;
	n->clock.wall += (uint64_t)wall_ns;
	if (n->store)
		n->core_due = c->now_ns;
}

void cluster_clock_stop(struct cluster *c, uint64_t id, uint64_t ms)
{
	struct cluster_node *n = cluster_node(c, id);

	move_clock(n);
	n->asleep_until = later(n->asleep_until, c->now_ns + ms * 1000000);
}

/* ---------------------------------------------------------------- events -- */

static void step_core(struct cluster_node *n)
{
	struct cluster *c = n->c;
	uint64_t wait_ms = 0;
	enum err err;

	move_clock(n);
	c->counts.steps++;
	n->core_due = CLUSTER_NEVER;
	err = store_step(n->store, &wait_ms);
	if (!err) {
		core_due(n, after_wait(n, wait_ms));
		n->idle_due = CLUSTER_NEVER;
		if (n->core_due > c->now_ns + IDLE_NS)
			n->idle_due = c->now_ns + IDLE_NS;
		n->busy_until = c->now_ns + c->o.step_ns;
	}
	look_after(n, CLUSTER_STEP, err);
}

static void step_keeper(struct cluster_node *n)
{
	struct cluster *c = n->c;
	uint64_t wait_ms = 0;
	enum err err;

	move_clock(n);
	err = engine_keep(n->engine, &wait_ms);
	n->keep_due = after_wait(n, wait_ms);
	n->keep_due = earlier(n->keep_due, c->now_ns + KEEP_NS_MAX);
	if (err) /* it goes on with the old state */
		n->keep_due = c->now_ns + KEEP_RETRY_NS;
	n->keep_due = later(n->keep_due, c->now_ns + c->o.step_ns);
	look_after(n, CLUSTER_KEEP, OK);
}

static void step_mover(struct cluster_node *n)
{
	uint64_t wait_ms = CLUSTER_NEVER;

	move_clock(n);
	store_move(n->store, &wait_ms);
	n->move_due =
		later(after_wait(n, wait_ms), n->c->now_ns + n->c->o.step_ns);
	look_after(n, CLUSTER_MOVE, OK);
}

static void step_idle(struct cluster_node *n)
{
	move_clock(n);
	n->idle_due = CLUSTER_NEVER;
	engine_idle(n->engine);
	look_after(n, CLUSTER_IDLE, OK);
}

static void deliver(struct cluster *c)
{
	struct cluster_message m = heap_pop(c);
	struct cluster_node *n = &c->node[m.to];
	enum err err;

	if (n->store && free_at(n) > c->now_ns) {
		m.due_ns = free_at(n); /* it waits in the socket */
		heap_push(c, m);
		return;
	}
	c->link[m.from][m.to].queued -=
		earlier(m.n, c->link[m.from][m.to].queued);
	if (!n->store || c->link[m.from][m.to].cut) {
		c->counts.lost++;
		free(m.p);
		return;
	}
	c->counts.delivered++;
	move_clock(n);
	err = store_receive(n->store, m.from, bytes_of(m.p, m.n));
	free(m.p);
	core_due(n, c->now_ns + GATHER_NS);
	look_after(n, CLUSTER_RECEIVE, err);
}

/*
 * Node a greets b and says where it listens: a node whose map is behind can
 * answer who is not in it yet.
 */
static void greet(struct cluster *c, uint64_t a, uint64_t b)
{
	struct cluster_node *nb = &c->node[b];

	if (nb->knows[a] || !nb->store ||
	    store_standing(nb->store, a) != STORE_UNKNOWN)
		return;
	nb->knows[a] = true;
	cluster_trace(c, "n%llu learns of n%llu", (unsigned long long)b,
		      (unsigned long long)a);
	look_at_link(c, b, a);
}

static void flip_links(struct cluster *c)
{
	c->links_due = CLUSTER_NEVER;
	for (uint64_t a = 1; a <= c->count; a++) {
		for (uint64_t b = 1; b <= c->count; b++) {
			struct cluster_link *l = &c->link[a][b];

			if (l->flip_at > c->now_ns) {
				c->links_due =
					earlier(c->links_due, l->flip_at);
				continue;
			}
			l->flip_at = CLUSTER_NEVER;
			if (stands(c, a, b) == l->up || !c->node[a].store)
				continue;
			l->up = !l->up;
			if (l->up)
				greet(c, a, b);
			else
				lose_messages(c, a, b);
			cluster_trace(
				c, "n%llu->n%llu is %s", (unsigned long long)a,
				(unsigned long long)b, l->up ? "up" : "down");
			move_clock(&c->node[a]);
			store_link(c->node[a].store, b, l->up);
			core_due(&c->node[a], c->now_ns);
			look_after(&c->node[a], CLUSTER_LINK, OK);
		}
	}
}

void cluster_reset_link(struct cluster *c, uint64_t a, uint64_t b)
{
	lose_messages(c, a, b);
	if (!c->link[a][b].up || !c->node[a].store)
		return;
	cluster_trace(c, "reset n%llu->n%llu", (unsigned long long)a,
		      (unsigned long long)b);
	c->link[a][b].up = false;
	move_clock(&c->node[a]);
	store_link(c->node[a].store, b, false);
	core_due(&c->node[a], c->now_ns);
	look_after(&c->node[a], CLUSTER_LINK, OK);
	look_at_link(c, a, b);
}

struct due {
	uint64_t at;
	struct cluster_node *n;
	void (*fn)(struct cluster_node *n);
};

static void consider(struct due *d, struct cluster_node *n, uint64_t at,
		     void (*fn)(struct cluster_node *n))
{
	if (at < d->at)
		*d = (struct due){ .at = at, .n = n, .fn = fn };
}

static struct due find_due(struct cluster *c)
{
	struct due d = { .at = CLUSTER_NEVER };

	for (uint64_t id = 1; id <= c->count; id++) {
		struct cluster_node *n = &c->node[id];

		if (!n->store)
			continue;
		if (n->core_due != CLUSTER_NEVER)
			consider(&d, n, later(n->core_due, free_at(n)),
				 step_core);
		if (n->idle_due != CLUSTER_NEVER)
			consider(&d, n, later(n->idle_due, free_at(n)),
				 step_idle);
		consider(&d, n, later(n->keep_due, n->paused_until),
			 step_keeper);
		if (n->move_due != CLUSTER_NEVER)
			consider(&d, n, later(n->move_due, n->paused_until),
				 step_mover);
	}
	return d;
}

/* Who wakes from a pause finds its messages first, or what is due first. */
static bool wakes_first(const struct due *d, uint64_t at)
{
	return d->at == at && d->n->paused_until == at && (at >> 4 & 1);
}

bool cluster_step(struct cluster *c, uint64_t until_ns)
{
	struct due d = find_due(c);
	uint64_t message = c->heap_count ? c->heap[0].due_ns : CLUSTER_NEVER;
	uint64_t at = earlier(earlier(d.at, message), c->links_due);

	if (at > until_ns) {
		c->now_ns = later(c->now_ns, until_ns);
		return false;
	}
	c->now_ns = later(c->now_ns, at);
	if (c->links_due == at)
		flip_links(c);
	else if (message == at && !wakes_first(&d, at))
		deliver(c);
	else
		d.fn(d.n);
	return true;
}

void cluster_run(struct cluster *c, uint64_t ms)
{
	uint64_t until = c->now_ns + ms * 1000000;

	while (cluster_step(c, until))
		;
}
