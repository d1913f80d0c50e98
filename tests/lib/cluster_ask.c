/*
 * tests/lib/cluster_ask.c - requests to a simulated cluster, and its states.
 *
 * Each request is handed to a node's store as a front end would, then virtual
 * time runs until it is answered. A node that goes down answers all its
 * requests from inside store_free.
 */
#include "tests/lib/cluster_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum {
	PATIENCE_MS = 60000, /* a store must answer by then whatever happens */
	TRY_MS = 50,
};

static void fail_at(struct cluster *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void fail_at(struct cluster *c, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	cluster_hold(c, false, text);
}

/* ------------------------------------------------------------- requests -- */

static void run_until(struct cluster *c, const bool *done)
{
	uint64_t until = c->now_ns + PATIENCE_MS * 1000000ull;

	while (!*done && cluster_step(c, until))
		;
	cluster_hold(c, *done, "a request was never answered");
}

static void set_write_done(struct store_write *w)
{
	*(bool *)w->user = true;
}

enum err cluster_write(struct cluster *c, uint64_t id, struct store_write *w)
{
	struct cluster_node *n = cluster_node(c, id);
	bool done = false;
	enum err err;

	if (!cluster_runs(c, id))
		return ERR_CLOSED;
	(void)cluster_awake(c, id); /* its clocks are right */
	w->done = set_write_done;
	w->user = &done;
	err = store_write(n->store, w);
	if (err)
		return err;
	run_until(c, &done);
	return w->err;
}

static void set_file_done(struct store_file_op *op)
{
	*(bool *)op->user = true;
}

enum err cluster_file(struct cluster *c, uint64_t id, struct store_file_op *op)
{
	struct cluster_node *n = cluster_node(c, id);
	bool done = false;
	enum err err;

	if (!cluster_runs(c, id))
		return ERR_CLOSED;
	(void)cluster_awake(c, id);
	op->done = set_file_done;
	op->user = &done;
	err = store_file_change(n->store, op);
	if (err)
		return err;
	run_until(c, &done);
	return op->err;
}

enum err cluster_put(struct cluster *c, uint64_t id, const char *key,
		     const char *value, uint64_t *rev)
{
	struct store_op op = { .kind = STORE_PUT,
			       .key = bytes_str(key),
			       .value = bytes_str(value) };
	struct store_result result = { 0 };
	struct store_write w = { .then_ops = &op,
				 .then_count = 1,
				 .results = &result };
	enum err err = cluster_write(c, id, &w);

	if (!err && rev)
		*rev = result.rev;
	return err;
}

enum err cluster_del(struct cluster *c, uint64_t id, const char *key,
		     bool *existed)
{
	struct store_op op = { .kind = STORE_DELETE, .key = bytes_str(key) };
	struct store_result result = { 0 };
	struct store_write w = { .then_ops = &op,
				 .then_count = 1,
				 .results = &result };
	enum err err = cluster_write(c, id, &w);

	if (!err && existed)
		*existed = result.existed;
	return err;
}

struct barrier_wait {
	bool done;
	enum err err;
};

static void set_barrier_done(struct store_barrier *b, enum err err)
{
	struct barrier_wait *w = b->user;

	w->done = true;
	w->err = err;
}

static enum err read_value(struct store *s, struct bytes key, struct buf *b)
{
	struct store_value *v;
	uint64_t off = 0, bytes;
	enum err err = store_get(s, key, &v);

	if (err)
		return err;
	bytes = store_value_info(v)->bytes;
	while (off < bytes && !err) {
		struct bytes piece;

		err = store_value_read(v, off, &piece);
		if (!err)
			err = buf_add(b, piece.p, piece.n);
		if (!err)
			off += piece.n;
	}
	store_value_done(v);
	return err;
}

enum err cluster_get(struct cluster *c, uint64_t id, const char *key,
		     enum store_consistency consistency, struct buf *b)
{
	struct cluster_node *n = cluster_node(c, id);
	struct barrier_wait wait = { 0 };
	struct store_barrier barrier = { .done = set_barrier_done,
					 .user = &wait };
	struct bytes k = bytes_str(key);
	int32_t partition;
	enum err err;

	if (!cluster_runs(c, id))
		return ERR_CLOSED;
	(void)cluster_awake(c, id);
	partition = (int32_t)store_partition_of(n->store, k);
	err = store_barrier(n->store, partition, consistency, &barrier);
	if (err == ERR_PENDING) {
		run_until(c, &wait.done);
		err = wait.err;
	}
	if (err || !n->store)
		return err ? err : ERR_CLOSED;
	(void)cluster_awake(c, id);
	err = read_value(n->store, k, b);
	if (consistency == STORE_LEASE &&
	    !store_lease_holds(n->store, partition))
		return ERR_NO_LEADER;
	return err;
}

static void set_change_done(struct store_change *change)
{
	*(bool *)change->user = true;
}

enum err cluster_change(struct cluster *c, uint64_t id,
			struct store_change *change)
{
	struct cluster_node *n = cluster_node(c, id);
	bool done = false;
	enum err err;

	if (!n->store)
		return ERR_CLOSED;
	change->done = set_change_done;
	change->user = &done;
	err = store_change(n->store, change);
	if (err)
		return err;
	run_until(c, &done);
	return change->err;
}

void cluster_must_put(struct cluster *c, const char *key, const char *value,
		      uint64_t ms)
{
	uint64_t until = c->now_ns + ms * 1000000, id = 0;
	enum err err = ERR_CLOSED;

	while (c->now_ns < until) {
		id = id % c->count + 1;
		if (!cluster_runs(c, id) || c->node[id].removed) {
			cluster_run(c, 1);
			continue;
		}
		err = cluster_put(c, id, key, value, NULL);
		if (!err)
			return;
		cluster_run(c, TRY_MS);
	}
	fail_at(c, "no put of %s within %llu ms: %s", key,
		(unsigned long long)ms, err_text(err));
}

void cluster_expect(struct cluster *c, uint64_t id, const char *key,
		    const char *value, uint64_t ms)
{
	uint64_t until = c->now_ns + ms * 1000000;
	struct buf b = BUF_INIT;
	enum err err;

	do {
		b.n = 0;
		err = cluster_get(c, id, key, STORE_LINEARIZABLE, &b);
		if (err == OK || err == ERR_NOT_FOUND)
			break;
		cluster_run(c, TRY_MS);
	} while (c->now_ns < until);
	if (value ? err || !bytes_equal(buf_bytes(&b), bytes_str(value))
		  : err != ERR_NOT_FOUND)
		fail_at(c, "%s through n%llu is %s %.*s, not %s", key,
			(unsigned long long)id, err_text(err),
			b.n < 40 ? (int)b.n : 40, b.n ? (char *)b.p : "",
			value ? value : "absent");
	buf_done(&b);
}

/* --------------------------------------------------------------- leaders -- */

uint64_t cluster_leader(struct cluster *c, uint32_t partition)
{
	uint64_t leader = 0, term = 0;

	for (uint64_t id = 1; id <= c->count; id++) {
		struct store_partition_status s;

		if (!cluster_runs(c, id))
			continue;
		store_partition_status(c->node[id].store, partition, &s);
		if (s.role != STORE_LEADER || s.term <= term)
			continue;
		leader = id;
		term = s.term;
	}
	return leader;
}

static bool all_led(void *ctx)
{
	struct cluster *c = ctx;

	for (uint32_t p = 0; p < c->o.partitions; p++) {
		uint64_t id = cluster_leader(c, p);

		if (!id || !store_ready(c->node[id].store))
			return false;
	}
	return true;
}

bool cluster_wait(struct cluster *c, bool (*cond)(void *ctx), void *ctx,
		  uint64_t ms)
{
	uint64_t until = c->now_ns + ms * 1000000;

	while (!cond(ctx))
		if (!cluster_step(c, until))
			return cond(ctx);
	return true;
}

uint64_t cluster_wait_leader(struct cluster *c, uint64_t ms)
{
	cluster_hold(c, cluster_wait(c, all_led, c, ms),
		     "not every partition has a leader");
	return cluster_leader(c, 0);
}

/* ---------------------------------------------------------------- states -- */

static uint64_t mix(uint64_t h, uint64_t v)
{
	h ^= v;
	h *= 0x9e3779b97f4a7c15;
	return h ^ h >> 29;
}

static uint64_t mix_bytes(uint64_t h, struct bytes b)
{
	uint64_t word;
	size_t i = 0;

	h = mix(h, b.n);
	for (; i + 8 <= b.n; i += 8)
		h = mix(h, get_u64(b.p + i));
	word = 0;
	for (; i < b.n; i++)
		word = word << 8 | b.p[i];
	return mix(h, word);
}

/* One key: the key itself is read before the next step, values after. */
struct seen_key {
	uint64_t version;
	uint32_t key_at, key_bytes;
};

struct seen {
	struct seen_key *v;
	uint32_t count, cap;
	struct buf keys;
};

static void note_key(struct seen *s, struct bytes key, uint64_t version)
{
	if (s->count == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 256;
		s->v = realloc(s->v, s->cap * sizeof(*s->v));
		assert_non_null(s->v);
	}
	s->v[s->count++] = (struct seen_key){ .version = version,
					      .key_at = (uint32_t)s->keys.n,
					      .key_bytes = (uint32_t)key.n };
	assert_int_equal(buf_add(&s->keys, key.p, key.n), OK);
}

static void walk_keys(struct engine *e, uint16_t partition, struct seen *s)
{
	struct engine_iter it;
	struct engine_info info;
	struct bytes key;
	bool more;

	engine_iter_begin(e, partition, &it);
	more = engine_iter_seek(&it, bytes_str(""), &key, &info);
	for (; more; more = engine_iter_next(&it, &key, &info))
		note_key(s, key, info.version);
	engine_iter_end(&it);
}

static void seen_done(struct seen *s)
{
	free(s->v);
	buf_done(&s->keys);
}

static struct bytes seen_key(const struct seen *s, uint32_t i)
{
	return bytes_of(s->keys.p + s->v[i].key_at, s->v[i].key_bytes);
}

static enum err hash_key(struct engine *e, uint16_t partition, struct bytes key,
			 uint64_t *hash)
{
	struct engine_value v;
	enum err err = engine_get(e, partition, key, ENGINE_VERIFY, &v);
	uint64_t h = *hash;

	if (err)
		return err;
	h = mix_bytes(h, key);
	h = mix_bytes(h, v.attrs);
	h = mix_bytes(h, v.value);
	h = mix(h, v.version);
	h = mix(h, v.expiry_ns);
	h = mix(h, v.mtime_ns);
	*hash = h;
	engine_value_done(&v);
	return OK;
}

enum err cluster_state(struct cluster *c, uint64_t id, uint32_t partition,
		       struct cluster_state *state)
{
	struct cluster_node *n = cluster_node(c, id);
	struct seen s = { 0 };
	enum err err = OK;

	if (!n->store)
		return ERR_CLOSED;
	*state = (struct cluster_state){
		.applied = engine_applied_index(n->engine, (uint16_t)partition),
	};
	walk_keys(n->engine, (uint16_t)partition, &s);
	state->keys = s.count;
	for (uint32_t i = 0; i < s.count && !err; i++)
		err = hash_key(n->engine, (uint16_t)partition, seen_key(&s, i),
			       &state->hash);
	seen_done(&s);
	return err;
}

/* The first key that two nodes know differently, as words. */
static void tell_difference(struct cluster *c, uint64_t a, uint64_t b,
			    uint32_t partition, struct buf *why)
{
	uint16_t p = (uint16_t)partition;
	struct seen sa = { 0 }, sb = { 0 };
	uint32_t i = 0;

	walk_keys(c->node[a].engine, p, &sa);
	walk_keys(c->node[b].engine, p, &sb);
	for (; i < sa.count && i < sb.count; i++) {
		uint64_t ha = 0, hb = 0;
		struct bytes ka = seen_key(&sa, i), kb = seen_key(&sb, i);
		enum err ea = hash_key(c->node[a].engine, p, ka, &ha);
		enum err eb = hash_key(c->node[b].engine, p, kb, &hb);

		if (ea != eb || ha != hb) {
			(void)!buf_addf(
				why,
				"; n%llu: \"%.*s\" %llu, n%llu: "
				"\"%.*s\" %llu",
				(unsigned long long)a, (int)ka.n, ka.p,
				(unsigned long long)(sa.v[i].version >> 16),
				(unsigned long long)b, (int)kb.n, kb.p,
				(unsigned long long)(sb.v[i].version >> 16));
			break;
		}
	}
	if (i == sa.count || i == sb.count)
		(void)!buf_addf(why, "; n%llu has %u keys, n%llu %u",
				(unsigned long long)a, sa.count,
				(unsigned long long)b, sb.count);
	seen_done(&sa);
	seen_done(&sb);
}

static bool same_partition(struct cluster *c, uint32_t p, struct buf *why)
{
	struct cluster_state first = { 0 }, s;
	uint64_t first_id = 0;
	struct buf none = BUF_INIT;
	bool same = true;

	for (uint64_t id = 1; id <= c->count && same; id++) {
		enum err err;

		if (!cluster_runs(c, id) || c->node[id].removed)
			continue;
		err = cluster_state(c, id, p, &s);
		if (!first_id) {
			first = s;
			first_id = id;
		}
		same = !err && s.applied == first.applied &&
		       s.keys == first.keys && s.hash == first.hash;
		if (same)
			continue;
		(void)!buf_addf(why ? why : &none,
				"partition %u: n%llu (%s) has applied %llu, "
				"n%llu %llu",
				p, (unsigned long long)id, err_text(err),
				(unsigned long long)s.applied,
				(unsigned long long)first_id,
				(unsigned long long)first.applied);
		tell_difference(c, first_id, id, p, why ? why : &none);
	}
	buf_done(&none);
	return same;
}

bool cluster_same(struct cluster *c, struct buf *why)
{
	for (uint32_t p = 0; p < c->o.partitions; p++)
		if (!same_partition(c, p, why))
			return false;
	return true;
}

void cluster_expect_same(struct cluster *c, uint64_t ms)
{
	uint64_t until = c->now_ns + ms * 1000000;
	struct buf why = BUF_INIT;
	bool same = cluster_same(c, NULL);

	while (!same && c->now_ns < until) {
		cluster_run(c, TRY_MS);
		same = cluster_same(c, NULL);
	}
	if (!same) {
		(void)!cluster_same(c, &why);
		fail_at(c, "states differ: %.*s", (int)why.n,
			why.n ? (char *)why.p : "");
	}
	buf_done(&why);
}
