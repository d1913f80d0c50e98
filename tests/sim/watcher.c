/*
 * tests/sim/watcher.c - one watch of everything on each node.
 *
 * What a watch tells follows from the entries: each change of a user's key that
 * took effect, in the order of its partition, once. So each event is compared
 * with the next one that must come, and when a watch has nothing more to tell,
 * nothing of what its node has applied may be missing.
 *
 * Once a node serves, a watch is opened there. It goes on from the last event
 * of some other node's watch where it can: nothing may be lost or told twice on
 * the way. It begins anew where a snapshot was installed or where its node does
 * not remember so much.
 */
#include <stdlib.h>

#include "base/check.h"
#include "engine/replica.h"
#include "store/keyrules.h"
#include "tests/sim/sim.h"

/* What has been told of a partition: of entry index so many events. */
struct place {
	uint64_t index;
	uint32_t number;
};

/* What must be told of one entry. */
struct expected {
	enum store_event_kind kind;
	uint32_t key;
};

struct watcher {
	struct store_watch *w;
	struct place at[SIM_PARTITIONS_MAX], id_at[SIM_PARTITIONS_MAX];
	char id[STORE_CURSOR_BYTES_MAX]; /* empty: none was told yet         */
	uint64_t applied[SIM_PARTITIONS_MAX];
};

struct watchers {
	struct watcher of[CLUSTER_NODES_MAX + 1];
	struct expected *list; /* of entry `index` of `partition`            */
	uint32_t count, cap, partition;
	uint64_t index;
};

/* --------------------------------------------------------------- expected - */

static void expect(struct watchers *ws, enum store_event_kind kind, uint32_t k)
{
	if (ws->count == ws->cap) {
		ws->cap = ws->cap ? 2 * ws->cap : 64;
		ws->list = realloc(ws->list, ws->cap * sizeof(*ws->list));
		CHECK(ws->list);
	}
	ws->list[ws->count++] = (struct expected){ .kind = kind, .key = k };
}

static const struct sim_model *sorted_by;

static int by_key(const void *a, const void *b)
{
	const struct expected *x = a, *y = b;

	return bytes_compare(sorted_by->keys[x->key].key,
			     sorted_by->keys[y->key].key);
}

/* All keys below a prefix go, in their order. */
static void expect_prefix(struct watchers *ws, const struct sim_model *m,
			  struct bytes prefix, uint64_t version)
{
	uint32_t first = ws->count;

	for (uint32_t k = 0; k < m->key_count; k++)
		if (key_is_user(m->keys[k].key) &&
		    bytes_begins(m->keys[k].key, prefix) &&
		    model_before(m, k, version))
			expect(ws, STORE_EVENT_DELETE, k);
	sorted_by = m;
	if (ws->count > first)
		qsort(ws->list + first, ws->count - first, sizeof(*ws->list),
		      by_key);
}

static void expect_record(struct watchers *ws, const struct sim_model *m,
			  const struct sim_record *r, uint64_t version)
{
	struct bytes key = m->keys[r->key].key;

	if (!key_is_user(key))
		return;
	switch ((enum record_type)r->type) {
	case RECORD_PUT:
		expect(ws, STORE_EVENT_PUT, r->key);
		return;
	case RECORD_DELETE:
	case RECORD_EXPIRE:
		if (model_before(m, r->key, version))
			expect(ws,
			       r->type == RECORD_DELETE ? STORE_EVENT_DELETE
							: STORE_EVENT_EXPIRE,
			       r->key);
		return;
	case RECORD_DELETE_PREFIX:
		expect_prefix(ws, m, key, version);
		return;
	default:
		return;
	}
}

static void expect_entry(struct sim *s, uint32_t p, uint64_t index)
{
	const struct sim_model *m = &s->oracle.partition[p].model;
	const struct sim_entry *e = oracle_entry(s, p, index);
	struct watchers *ws = s->watchers;

	if (ws->index == index && ws->partition == p)
		return;
	ws->index = index;
	ws->partition = p;
	ws->count = 0;
	for (uint32_t i = 0; e && i < e->record_count; i++)
		expect_record(ws, m, &e->records[i], version_pack(index, i));
}

/* The next event of p, which *at is moved before; NULL: none up to applied. */
static const struct expected *next_expected(struct sim *s, uint32_t p,
					    struct place *at, uint64_t applied)
{
	while (at->index <= applied) {
		expect_entry(s, p, at->index);
		if (at->number < s->watchers->count)
			return &s->watchers->list[at->number];
		*at = (struct place){ .index = at->index + 1 };
	}
	return NULL;
}

/* ------------------------------------------------------------------ events - */

static void match(struct sim *s, struct cluster_node *n,
		  const struct store_event *ev)
{
	struct watcher *w = &s->watchers->of[n->id];
	uint32_t p = store_partition_of(n->store, ev->key);
	const struct sim_model *m = &s->oracle.partition[p].model;
	const struct expected *x = next_expected(s, p, &w->at[p], m->applied);

	if (!x || ev->rev != w->at[p].index || ev->kind != x->kind ||
	    !bytes_equal(ev->key, m->keys[x->key].key))
		sim_fail(s,
			 "n%llu partition %u: a watch tells \"%.*s\" of %llu, "
			 "event %d; next is \"%.*s\" of %llu, event %d",
			 (unsigned long long)n->id, p, (int)ev->key.n,
			 (const char *)ev->key.p, (unsigned long long)ev->rev,
			 (int)ev->kind, x ? (int)m->keys[x->key].key.n : 0,
			 x ? (const char *)m->keys[x->key].key.p : "",
			 (unsigned long long)w->at[p].index,
			 x ? (int)x->kind : -1);
	w->at[p].number++;
	memcpy(w->id, ev->id, sizeof(w->id));
	memcpy(w->id_at, w->at, sizeof(w->id_at));
	s->count[SIM_watch_events]++;
}

static void noted(void *user)
{
}

/* From the last event of another's watch, or from now on. */
static void begin(struct sim *s, struct cluster_node *n)
{
	struct watchers *ws = s->watchers;
	struct watcher *w = &ws->of[n->id];
	const struct watcher *from = &ws->of[1 + sim_draw(s, s->c.count)];
	struct bytes all = bytes_of(NULL, 0);
	enum err err = ERR_NOT_FOUND;

	if (from->id[0])
		err = store_watch_open(n->store, all, false,
				       bytes_str(from->id), noted, NULL, &w->w);
	if (!err) {
		memmove(w->at, from->id_at, sizeof(w->at));
		s->count[SIM_watch_resumes]++;
		return;
	}
	err = store_watch_open(n->store, all, false, all, noted, NULL, &w->w);
	CHECK(!err);
	for (uint32_t p = 0; p < s->plan.partitions; p++)
		w->at[p] = (struct place){
			.index =
				engine_applied_index(n->engine, (uint16_t)p) + 1
		};
}

/* Has anything been applied? And is all of it known to the model? */
static bool has_news(struct sim *s, struct cluster_node *n)
{
	struct watcher *w = &s->watchers->of[n->id];
	bool news = false, known = true;

	for (uint32_t p = 0; p < s->plan.partitions; p++) {
		uint64_t now = engine_applied_index(n->engine, (uint16_t)p);

		news |= now != w->applied[p];
		known &= now <= s->oracle.partition[p].model.applied;
	}
	return news && known;
}

static void nothing_is_missing(struct sim *s, struct cluster_node *n)
{
	struct watcher *w = &s->watchers->of[n->id];

	for (uint32_t p = 0; p < s->plan.partitions; p++) {
		const struct sim_model *m = &s->oracle.partition[p].model;
		const struct expected *x;

		w->applied[p] = engine_applied_index(n->engine, (uint16_t)p);
		x = next_expected(s, p, &w->at[p], w->applied[p]);
		if (x)
			sim_fail(s,
				 "n%llu partition %u: no watch was told of "
				 "\"%.*s\" of %llu",
				 (unsigned long long)n->id, p,
				 (int)m->keys[x->key].key.n,
				 (const char *)m->keys[x->key].key.p,
				 (unsigned long long)w->at[p].index);
	}
}

void watchers_look(struct sim *s, struct cluster_node *n)
{
	struct watcher *w = &s->watchers->of[n->id];
	struct store_event ev;
	enum err err;

	if (!w->w && store_ready(n->store))
		begin(s, n);
	if (!w->w || !has_news(s, n))
		return;
	do {
		err = store_watch_next(w->w, &ev);
		if (!err)
			match(s, n, &ev);
	} while (!err);
	if (err == ERR_PENDING) {
		nothing_is_missing(s, n);
		return;
	}
	store_watch_close(w->w); /* a snapshot came, or too much at once */
	w->w = NULL;		 /* opened again after the next call */
}

void watchers_started(struct sim *s, struct cluster_node *n)
{
	if (!s->watchers)
		s->watchers = calloc(1, sizeof(*s->watchers));
	CHECK(s->watchers);
	memset(s->watchers->of[n->id].applied, 0,
	       sizeof(s->watchers->of[n->id].applied));
}

void watchers_down(struct sim *s, struct cluster_node *n)
{
	if (!s->watchers)
		return;
	store_watch_close(s->watchers->of[n->id].w);
	s->watchers->of[n->id].w = NULL;
}

void watchers_done(struct sim *s)
{
	for (uint64_t id = 1; s->watchers && id <= CLUSTER_NODES_MAX; id++)
		store_watch_close(s->watchers->of[id].w);
	if (s->watchers)
		free(s->watchers->list);
	free(s->watchers);
	s->watchers = NULL;
}
