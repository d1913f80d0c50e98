/*
 * tests/engine/test_install.c - proves engine/install*.c, keep_replaced.c and
 * what the rest of the engine makes of a reset: an installed state is the
 * sender's and nothing else, whatever was there and whatever breaks.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "engine/offline.h"
#include "engine/replica.h"
#include "engine/snapshot.h"
#include "tests/lib/engine_world.h"
#include "tests/lib/fail_alloc.h"
#include "tests/lib/tmpdir.h"

enum { VALUE_BYTES = 20000, TAIL_TERM = 77, SENDER_SEED = 900 };

/* One thread each, so a thread checker learns nothing from all of them. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
enum { FAULT_STEP = 17 };
#else
enum { FAULT_STEP = 1 };
#endif
#else
enum { FAULT_STEP = 1 };
#endif

static void change(struct world *w, uint16_t partition, uint8_t type,
		   uint8_t key)
{
	struct world_op op = { type, key,
			       type == RECORD_PUT ? VALUE_BYTES : 0 };

	assert_int_equal(world_change(w, partition, op, true), OK);
}

static void churn(struct world *w, uint32_t first_key, uint32_t keys,
		  uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		change(w, (uint16_t)(i % w->o.partitions), RECORD_PUT,
		       (uint8_t)(first_key + i % keys));
}

/* Entries of partition 0 that another leader's will have replaced. */
static void diverge(struct world *w, uint32_t n)
{
	uint64_t at = w->parts[0].count;
	char key[16];

	for (uint32_t i = 0; i < n; i++) {
		struct engine_record r = { .type = RECORD_PUT };
		struct engine_entry entry = { .index = at + 1 + i,
					      .term = TAIL_TERM,
					      .stamp_ns = at + 1 + i,
					      .records = &r,
					      .record_count = 1 };
		uint8_t value[100] = { 0 };

		r.key = bytes_of(key,
				 world_key((uint8_t)(i * 5 % WORLD_KEYS), key));
		r.value = bytes_of(value, sizeof(value));
		if (i % 7 == 3)
			r = (struct engine_record){ .type = RECORD_DELETE,
						    .key = r.key };
		assert_int_equal(engine_append(w->e, &entry), OK);
	}
	assert_int_equal(engine_sync(w->e), OK);
}

/* A sender: tombstones of every kind, some of it merged, some in the log. */
static void build_sender(struct world *w, uint64_t seed, uint32_t entries)
{
	world_init(w, seed, 1);
	world_reopen(w);
	for (uint32_t i = 0; i < entries; i++) {
		change(w, 0, RECORD_PUT, (uint8_t)(i * 7 % 40));
		if (i % 9 == 4)
			change(w, 0, RECORD_DELETE, (uint8_t)(i % 40));
		if (i == entries / 3)
			change(w, 0, RECORD_DELETE_PREFIX, 1);
		if (i == entries / 2)
			assert_int_equal(world_merge(w), OK);
		if (i == entries * 2 / 3)
			change(w, 0, RECORD_EXPIRE, 8);
	}
	change(w, 0, RECORD_NOOP, 0);
}

/* Everything that is of the receiver alone: other keys, other partitions. */
static void build_receiver(struct world *w, uint64_t seed)
{
	world_init(w, seed, 3);
	world_reopen(w);
	churn(w, 0, WORLD_KEYS, 60);
	assert_int_equal(world_merge(w), OK);
	change(w, 0, RECORD_DELETE, 3);
	churn(w, 4, 44, 80);
	change(w, 0, RECORD_DELETE_PREFIX, 2);
	diverge(w, 400);
}

/* As above, all settled: much of it lies in segments that can be merged. */
static void build_settled(struct world *w, uint64_t seed)
{
	world_init(w, seed, 3);
	world_reopen(w);
	churn(w, 0, WORLD_KEYS, 60);
	assert_int_equal(world_merge(w), OK);
	change(w, 0, RECORD_DELETE, 3);
	churn(w, 4, 44, 190);
}

/* What w's partition 0 holds from now on, by the model. */
static void adopt(struct world *w, const struct world *from, uint64_t index)
{
	struct world_part *p = &w->parts[0];

	free(p->ops);
	p->ops = malloc((index + 1) * sizeof(*p->ops));
	assert_non_null(p->ops);
	memcpy(p->ops, from->parts[0].ops, index * sizeof(*p->ops));
	p->count = p->acked = index;
	p->cap = index + 1;
}

/* Records of the sender's state, read once. */
struct state {
	struct buf records; /* encoded with seed 0, one behind the other    */
	uint64_t index, term, stamp_ns;
};

static void take_state(struct world *from, struct state *st)
{
	struct engine_partition_info info;
	struct engine_snapshot *s;
	struct record r;
	enum err err;

	*st = (struct state){ .records = BUF_INIT };
	assert_int_equal(engine_snapshot_open_partition(from->e, 0, &s), OK);
	st->index = engine_snapshot_index(s, 0);
	st->stamp_ns = engine_snapshot_stamp_ns(s, 0);
	engine_partition_info(from->e, 0, &info);
	assert_int_equal(st->index, info.last_index);
	st->term = info.last_term;
	while (!(err = engine_snapshot_next(s, &r))) {
		uint64_t n = record_bytes(r.key.n, r.attrs.n, r.value.n);

		assert_true(r.index <= st->index);
		assert_int_equal(buf_reserve(&st->records, n), OK);
		st->records.n +=
			record_encode(st->records.p + st->records.n, 0, &r);
	}
	assert_int_equal(err, ERR_NOT_FOUND);
	engine_snapshot_close(s);
}

/* An install of st, up to and with finish. On an error none is left. */
static enum err build_install(struct world *w, const struct state *st,
			      struct engine_install **out)
{
	struct engine_install *in;
	uint64_t off = 0, bytes;
	struct record r;
	enum err err;

	err = engine_install_open(w->e, 0, st->index, st->term, &in);
	if (err)
		return err;
	for (; !err && off < st->records.n; off += bytes) {
		assert_int_equal(record_decode(st->records.p + off,
					       st->records.n - off, 0, true, &r,
					       &bytes),
				 RECORD_OK);
		err = engine_install_add(in, &r);
	}
	engine_install_stamp(in, st->stamp_ns);
	if (!err)
		err = engine_install_finish(in);
	if (err)
		engine_install_abort(in);
	else
		*out = in;
	return err;
}

/* new_term: the hard state changes with it, so that a frame is appended. */
static enum err commit(struct world *w, struct engine_install *in,
		       bool new_term)
{
	struct engine_partition_info info;
	struct engine_hard_state hs;

	engine_partition_info(w->e, 0, &info);
	hs = info.hard_state;
	if (new_term && hs.term < 500)
		hs = (struct engine_hard_state){ 500, 2, 0 };
	return engine_install_commit(in, &hs);
}

static enum err install(struct world *w, const struct state *st)
{
	struct engine_install *in;
	enum err err = build_install(w, st, &in);

	return err ? err : commit(w, in, true);
}

/* The log goes on behind the installed state, and everything holds. */
static void go_on(struct world *w)
{
	world_check(w);
	for (int i = 0; i < 3; i++) {
		churn(w, 1, 30, 12);
		change(w, 0, RECORD_DELETE, (uint8_t)(i * 4));
		world_check(w);
		world_reopen(w);
		churn(w, 1, 30, 40);
		assert_int_equal(world_merge(w), OK);
		world_check(w);
		world_reopen(w);
	}
}

static struct engine_stats stats_of(struct world *w)
{
	struct engine_stats s;

	engine_stats(w->e, &s);
	return s;
}

/* ---------------------------------------------------------------- state -- */

static void an_installed_state_is_the_senders(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 4; seed++) {
		struct engine_partition_info info;
		struct world from, to;
		struct state st;

		build_sender(&from, SENDER_SEED + seed,
			     (uint32_t)(150 + 40 * seed));
		take_state(&from, &st);
		build_receiver(&to, seed);
		assert_int_equal(install(&to, &st), OK);
		adopt(&to, &from, st.index);
		engine_partition_info(to.e, 0, &info);
		assert_int_equal(info.base_index, st.index);
		assert_int_equal(info.base_term, st.term);
		assert_int_equal(info.last_index, st.index);
		assert_int_equal(info.last_term, st.term);
		assert_int_equal(info.applied_index, st.index);
		assert_int_equal(info.synced_index, st.index);
		assert_int_equal(info.last_stamp_ns, st.stamp_ns);
		assert_int_equal(info.hard_state.term, 500);
		assert_int_equal(info.hard_state.vote, 2);
		assert_int_equal(info.hard_state.commit, st.index);
		if (seed % 2)
			world_reopen(&to);
		go_on(&to);
		world_done(&to);
		world_done(&from);
		buf_done(&st.records);
	}
}

/*
 * What was appended before the reset stays dead in segments that other
 * partitions keep: settled keys, tombstones and a divergent tail beyond the
 * installed index, through restarts, hints and merges. No frame follows the
 * reset in half of the runs: then the manifest alone proves what is before.
 */
static void nothing_of_the_old_log_comes_back(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 16; seed++) {
		struct engine_partition_info info;
		struct engine_install *in;
		struct world from, to;
		struct state st;

		build_sender(&from, SENDER_SEED, 160);
		take_state(&from, &st);
		build_receiver(&to, seed);
		assert_true(to.parts[0].count < st.index);
		assert_true(to.parts[0].count + 400 > st.index);
		assert_int_equal(build_install(&to, &st, &in), OK);
		assert_int_equal(commit(&to, in, seed % 8 < 4), OK);
		adopt(&to, &from, st.index);
		if (seed % 2)
			assert_int_equal(engine_sync(to.e), OK);
		if (seed % 4 >= 2)
			assert_int_equal(world_keep(&to, 2000), OK);
		if (seed > 8) {
			vfs_sim_crash_hard(to.sim);
			world_close(&to);
		}
		world_reopen(&to);
		engine_partition_info(to.e, 0, &info);
		assert_int_equal(info.last_index, st.index);
		assert_int_equal(info.last_term, st.term);
		if (seed % 8 < 4)
			assert_int_equal(info.hard_state.term, 500);
		go_on(&to);
		world_done(&to);
		world_done(&from);
		buf_done(&st.records);
	}
}

static void an_empty_directory_takes_a_state(void **state)
{
	struct world from, to;
	struct state st;

	(void)state;
	build_sender(&from, SENDER_SEED, 100);
	take_state(&from, &st);
	world_init(&to, 5, 1);
	world_reopen(&to);
	assert_int_equal(install(&to, &st), OK);
	adopt(&to, &from, st.index);
	go_on(&to);
	world_done(&to);
	world_done(&from);
	buf_done(&st.records);
}

/* No key, no tombstone: the state of an index all the same. */
static void an_empty_state_removes_everything(void **state)
{
	struct state st = { .records = BUF_INIT,
			    .index = 5000,
			    .term = 200,
			    .stamp_ns = 1000000 };
	struct world_op noop = { RECORD_NOOP, 0, 0 };
	struct world to;

	(void)state;
	build_receiver(&to, 9);
	assert_int_equal(install(&to, &st), OK);
	free(to.parts[0].ops);
	to.parts[0].ops = malloc(6000 * sizeof(noop));
	assert_non_null(to.parts[0].ops);
	for (int i = 0; i < 5000; i++)
		to.parts[0].ops[i] = noop;
	to.parts[0].count = to.parts[0].acked = 5000;
	to.parts[0].cap = 6000;
	go_on(&to);
	world_done(&to);
}

static void what_is_not_newer_is_refused(void **state)
{
	struct engine_install *in, *second;
	struct world from, to;
	struct state st;

	(void)state;
	build_sender(&from, SENDER_SEED, 150);
	take_state(&from, &st);
	build_receiver(&to, 6);
	assert_int_equal(install(&to, &st), OK);
	adopt(&to, &from, st.index);
	assert_int_equal(build_install(&to, &st, &in), OK);
	assert_int_equal(engine_install_open(to.e, 0, st.index + 9, 1, &second),
			 ERR_BUSY);
	assert_int_equal(commit(&to, in, true), ERR_INVALID);
	world_check(&to);
	assert_int_equal(engine_install_open(to.e, 0, st.index + 9, 1, &second),
			 OK);
	engine_install_abort(second);
	engine_install_abort(NULL);
	go_on(&to);
	world_done(&to);
	world_done(&from);
	buf_done(&st.records);
}

static void records_that_belong_elsewhere_are_refused(void **state)
{
	static const struct record good = { .type = RECORD_PUT,
					    .index = 5,
					    .term = 1,
					    .key = { (const uint8_t *)"k",
						     1 } };
	struct engine_install *in;
	struct world w;
	struct record r;

	(void)state;
	world_init(&w, 7, 2);
	world_reopen(&w);
	assert_int_equal(engine_install_open(w.e, 0, 0, 1, &in), ERR_INVALID);
	assert_int_equal(engine_install_open(w.e, 0, 10, 2, &in), OK);
	assert_int_equal(engine_install_add(in, &good), OK);
	for (int i = 0; i < 7; i++) {
		r = good;
		if (i == 0)
			r.partition = 1;
		if (i == 1)
			r.index = 11;
		if (i == 2)
			r.index = 0;
		if (i == 3)
			r.key.n = 0;
		if (i == 4)
			r.type = RECORD_CONFIG;
		if (i == 5)
			r.flags = LOC_CONTENT;
		if (i == 6)
			r.type = 200;
		assert_int_equal(engine_install_add(in, &r), ERR_INVALID);
	}
	engine_install_abort(in);
	world_done(&w);
}

/* Order, versions, positions, tombstones, expiry, flags, attributes. */
static void records_keep_what_they_are_in_any_order(void **state)
{
	struct record r[] = {
		{ .type = RECORD_PUT, .index = 9, .term = 3 },
		{ .type = RECORD_PUT, .index = 4, .term = 2 },
		{ .type = RECORD_PUT, .index = 7, .position = 2, .term = 3 },
		{ .type = RECORD_PUT, .index = 7, .position = 1, .term = 3 },
		{ .type = RECORD_DELETE, .index = 8, .term = 3 },
		{ .type = RECORD_PUT, .index = 6, .term = 3 },
		{ .type = RECORD_DELETE_PREFIX, .index = 5, .term = 3 },
		{ .type = RECORD_PUT, .index = 3, .term = 1 },
		{ .type = RECORD_PUT, .index = 5, .position = 1, .term = 3 },
		{ .type = RECORD_PUT, .index = 6, .position = 1, .term = 3 },
	};
	static const char *const keys[] = { "a", "a",  "b",   "b",   "c",
					    "c", "d/", "d/1", "d/2", "\0hid" };
	struct engine_hard_state hs = { .term = 3 };
	uint64_t expiry_ns, version;
	uint8_t key[ENGINE_KEY_BYTES_MAX];
	struct engine_install *in;
	struct engine_value v;
	struct engine_info info;
	struct world w;
	size_t n;

	(void)state;
	world_init(&w, 8, 1);
	world_reopen(&w);
	assert_int_equal(engine_install_open(w.e, 0, 9, 3, &in), OK);
	for (uint32_t i = 0; i < 10; i++) {
		r[i].key = bytes_of(keys[i], i == 9 ? 4 : strlen(keys[i]));
		r[i].stamp_ns = 100 + r[i].index;
		r[i].mtime_ns = 50;
		r[i].attrs = bytes_str("attrs");
		r[i].value = bytes_of(keys[i], 1);
		r[i].flags = i == 2 ? LOC_LINK | RECORD_LAST : 0;
		if (i == 0 || i == 1)
			r[i].expiry_ns = 1000 * (i + 1);
		assert_int_equal(engine_install_add(in, &r[i]), OK);
	}
	engine_install_stamp(in, 50); /* lower than what came: no matter */
	assert_int_equal(engine_install_finish(in), OK);
	assert_int_equal(engine_install_commit(in, &hs), OK);
	for (int round = 0; round < 2; round++) {
		struct engine_partition_info part;

		engine_partition_info(w.e, 0, &part);
		assert_int_equal(part.keys, 4);
		assert_int_equal(part.last_stamp_ns, 109);
		assert_int_equal(part.client_entries, 9);
		assert_int_equal(engine_peek(w.e, 0, bytes_str("a"), &info),
				 OK);
		assert_int_equal(info.version, version_pack(9, 0));
		assert_true(info.loc & LOC_EXPIRES);
		assert_int_equal(
			engine_get(w.e, 0, bytes_str("b"), ENGINE_VERIFY, &v),
			OK);
		assert_int_equal(v.version, version_pack(7, 2));
		assert_true(v.loc & LOC_LINK);
		assert_true(bytes_equal(v.attrs, bytes_str("attrs")));
		assert_int_equal(v.mtime_ns, 50);
		engine_value_done(&v);
		assert_int_equal(engine_peek(w.e, 0, bytes_str("c"), &info),
				 ERR_NOT_FOUND);
		assert_int_equal(engine_peek(w.e, 0, bytes_str("d/1"), &info),
				 ERR_NOT_FOUND);
		assert_int_equal(engine_peek(w.e, 0, bytes_str("d/2"), &info),
				 OK);
		assert_int_equal(
			engine_peek(w.e, 0, bytes_of("\0hid", 4), &info), OK);
		assert_true(engine_next_expiry(w.e, 0, &expiry_ns, &version,
					       key, &n));
		assert_int_equal(expiry_ns, 1000);
		assert_int_equal(version, version_pack(9, 0));
		world_close(&w);
		assert_int_equal(world_open(&w), OK);
	}
	world_done(&w);
}

static enum err count_name(void *ctx, const char *name)
{
	uint32_t *n = ctx;

	n[strstr(name, ".dat") && !strstr(name, ".hint")]++;
	return OK;
}

/* Old files go when nobody reads them; nothing is left of an aborted one. */
static void old_files_go_with_their_last_reader(void **state)
{
	uint32_t before[2] = { 0 }, held[2] = { 0 }, after[2] = { 0 };
	uint8_t *want = malloc(VALUE_BYTES);
	struct engine_install *in;
	struct engine_value v;
	struct engine_info info;
	struct engine_iter it;
	struct world from, to;
	struct bytes found;
	struct state st;
	uint32_t seen = 0;
	uint64_t index;
	char key[16];

	(void)state;
	assert_non_null(want);
	build_sender(&from, SENDER_SEED, 150);
	take_state(&from, &st);
	world_init(&to, 9, 1);
	world_reopen(&to);
	churn(&to, 0, WORLD_KEYS, 60);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(world_merge(&to), OK);
		change(&to, 0, RECORD_PUT, 3);
	}
	assert_int_equal(build_install(&to, &st, &in), OK);
	engine_install_abort(in);
	assert_int_equal(vfs_list(to.o.vfs, "data", count_name, before), OK);
	assert_int_equal(engine_get(to.e, 0, bytes_of(key, world_key(2, key)),
				    ENGINE_VERIFY, &v),
			 OK);
	index = version_index(v.version);
	assert_int_equal(build_install(&to, &st, &in), OK);
	engine_iter_begin(to.e, 0, &it);
	assert_true(engine_iter_seek(&it, bytes_str(""), &found, &info));
	assert_int_equal(commit(&to, in, true), OK);
	for (int i = 0; i < 50; i++)
		assert_int_equal(world_keep(&to, 10), OK);
	do
		seen++;
	while (engine_iter_next(&it, &found, &info));
	assert_int_equal(seen, WORLD_KEYS);
	engine_iter_end(&it);
	adopt(&to, &from, st.index);
	world_check(&to);
	assert_int_equal(vfs_list(to.o.vfs, "data", count_name, held), OK);
	world_value(0, index, VALUE_BYTES, want);
	assert_true(bytes_equal(v.value, bytes_of(want, VALUE_BYTES)));
	engine_value_done(&v);
	for (int i = 0; i < 50; i++)
		assert_int_equal(world_keep(&to, 10), OK);
	assert_int_equal(vfs_list(to.o.vfs, "data", count_name, after), OK);
	assert_true(after[1] < held[1]);
	world_done(&to);
	world_done(&from);
	buf_done(&st.records);
	free(want);
}

/* What a segment loses by an install its figures know: a merge takes it. */
static void segments_know_what_died(void **state)
{
	struct engine_stats s;
	struct world from, to;
	struct state st;

	(void)state;
	build_sender(&from, SENDER_SEED, 150);
	take_state(&from, &st);
	build_receiver(&to, 10);
	assert_int_equal(install(&to, &st), OK);
	adopt(&to, &from, st.index);
	churn(&to, 1, 30, 60);
	assert_int_equal(world_merge(&to), OK);
	s = stats_of(&to);
	world_reopen(&to);
	assert_int_equal(stats_of(&to).live_bytes, s.live_bytes);
	assert_int_equal(stats_of(&to).keys, s.keys);
	assert_true(s.merged_bytes + s.log_bytes < s.live_bytes + (4u << 20));
	world_done(&to);
	world_done(&from);
	buf_done(&st.records);
}

/* An install at any moment of a merge or of the writing of a hint. */
static void an_install_overtakes_a_merge(void **state)
{
	struct world from, base;
	struct state st;
	bool over = false, was_running = false;

	(void)state;
	build_sender(&from, SENDER_SEED, 150);
	take_state(&from, &st);
	build_settled(&base, 11);
	world_close(&base);
	for (uint32_t at = 0; !over; at++) {
		struct world to;
		uint64_t merges;

		world_clone(&base, at, &to);
		assert_int_equal(world_open(&to), OK);
		merges = stats_of(&to).merges;
		engine_merge_request(to.e);
		to.clock.mono += 10000000000;
		assert_int_equal(world_keep(&to, at), OK);
		over = stats_of(&to).merges > merges;
		was_running |= stats_of(&to).merge_running;
		assert_int_equal(install(&to, &st), OK);
		adopt(&to, &from, st.index);
		assert_int_equal(world_keep(&to, 10000), OK);
		world_check(&to);
		world_reopen(&to);
		go_on(&to);
		world_done(&to);
	}
	assert_true(was_running);
	world_done(&base);
	world_done(&from);
	buf_done(&st.records);
}

/* -------------------------------------------------------------- threads -- */

enum { RACE_KEYS = 64, RACE_MS = 1200, RACE_VALUE_BYTES = 9000 };

struct race {
	struct engine *e;
	struct seed seed;
	_Atomic bool stop;
	_Atomic uint64_t gets, walks;
};

/* All bytes of a value are its generation, and that only grows. */
static void *race_get(void *arg)
{
	struct race *r = arg;
	uint8_t newest[RACE_KEYS] = { 0 };
	struct seed s;

	seed_init(&s, 2);
	while (!atomic_load(&r->stop)) {
		uint8_t key = (uint8_t)seed_below(&s, RACE_KEYS);
		struct engine_value v;

		assert_int_equal(engine_get(r->e, 0, bytes_of(&key, 1),
					    ENGINE_VERIFY, &v),
				 OK);
		assert_int_equal(v.value.n, RACE_VALUE_BYTES);
		assert_true(v.value.p[0] >= newest[key]);
		newest[key] = v.value.p[0];
		for (uint32_t i = 0; i < RACE_VALUE_BYTES; i += 1000)
			assert_int_equal(v.value.p[i], v.value.p[0]);
		engine_value_done(&v);
		atomic_fetch_add(&r->gets, 1);
	}
	return NULL;
}

static void *race_walk(void *arg)
{
	struct race *r = arg;

	while (!atomic_load(&r->stop)) {
		struct engine_info info;
		struct engine_iter it;
		struct bytes found;
		uint32_t n = 0;
		bool more;

		engine_iter_begin(r->e, 0, &it);
		more = engine_iter_seek(&it, bytes_str(""), &found, &info);
		for (; more; more = engine_iter_next(&it, &found, &info))
			assert_int_equal(found.p[0], n++);
		engine_iter_end(&it);
		assert_int_equal(n, RACE_KEYS);
		atomic_fetch_add(&r->walks, 1);
	}
	return NULL;
}

static void *race_keep(void *arg)
{
	struct race *r = arg;
	uint64_t wait_ms;

	while (!atomic_load(&r->stop)) {
		engine_merge_request(r->e);
		assert_int_equal(engine_keep(r->e, &wait_ms), OK);
	}
	return NULL;
}

/* Install generation g above what is there, then write some of it again. */
static void race_install(struct race *r, uint8_t g)
{
	uint64_t index = engine_applied_index(r->e, 0) + RACE_KEYS;
	struct engine_hard_state hs = { .term = 1 };
	struct engine_install *in;
	uint8_t value[RACE_VALUE_BYTES];

	memset(value, g, sizeof(value));
	assert_int_equal(engine_install_open(r->e, 0, index, 1, &in), OK);
	for (uint8_t k = 0; k < RACE_KEYS; k++) {
		struct record rec = { .type = RECORD_PUT,
				      .index = index - k,
				      .term = 1,
				      .key = bytes_of(&k, 1),
				      .value = bytes_of(value, sizeof(value)) };

		assert_int_equal(engine_install_add(in, &rec), OK);
	}
	assert_int_equal(engine_install_finish(in), OK);
	assert_int_equal(engine_install_commit(in, &hs), OK);
	for (uint8_t k = 0; k < RACE_KEYS; k += 2) {
		struct engine_record rec = { .type = RECORD_PUT,
					     .key = bytes_of(&k, 1),
					     .value = bytes_of(value,
							       sizeof(value)) };
		struct engine_entry entry = { .index = ++index,
					      .term = 1,
					      .records = &rec,
					      .record_count = 1 };

		assert_int_equal(engine_append(r->e, &entry), OK);
	}
	assert_int_equal(engine_sync(r->e), OK);
	assert_int_equal(engine_settle(r->e, 0, index, NULL, NULL), OK);
}

static void readers_and_merges_go_on_beside_installs(void **state)
{
	void *(*const fns[])(void *) = { race_get, race_walk, race_keep };
	char *dir = tmpdir_make();
	struct race r = { 0 };
	struct engine_options o;
	struct engine_stats s;
	struct buf why = BUF_INIT;
	pthread_t threads[3];
	uint64_t end;
	uint8_t g = 1;

	(void)state;
	engine_options_default(&o);
	seed_init(&r.seed, 9);
	o.seed = &r.seed;
	o.dir = dir;
	o.segment_bytes = 1 << 20;
	o.min_free_bytes = 0;
	assert_int_equal(engine_open(&o, &r.e, &why), OK);
	race_install(&r, g);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fns[i], &r),
				 0);
	end = clock_mono_ns(o.clock) + RACE_MS * 1000000ull;
	while (clock_mono_ns(o.clock) < end && g < 250)
		race_install(&r, ++g);
	atomic_store(&r.stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	engine_stats(r.e, &s);
	print_message("installs %u gets %llu walks %llu merges %llu\n", g,
		      (unsigned long long)r.gets, (unsigned long long)r.walks,
		      (unsigned long long)s.merges);
	assert_true(g > 2);
	assert_int_equal(s.keys, RACE_KEYS);
	engine_close(r.e);
	buf_done(&why);
	tmpdir_remove(dir);
}

/* -------------------------------------------------------------- crashes -- */

/*
 * After a crash: the old state whole or the new one. The model is the old
 * one's; which it is, the base tells.
 */
static void reopen_either(struct world *w, const struct world *from,
			  uint64_t index, bool committed)
{
	struct engine_partition_info info;
	struct buf why = BUF_INIT;
	enum err err;

	world_close(w);
	err = engine_open(&w->o, &w->e, &why);
	if (err)
		print_error("%.*s\n", (int)why.n, (const char *)why.p);
	assert_int_equal(err, OK);
	buf_done(&why);
	engine_partition_info(w->e, 0, &info);
	if (info.base_index == index) {
		adopt(w, from, index);
	} else {
		assert_false(committed);
		assert_int_equal(info.applied_index, w->parts[0].count);
		assert_int_equal(info.last_index, w->parts[0].count + 400);
	}
	world_check(w);
}

static void crash_in_recovery(const struct world *crashed,
			      const struct world *from, uint64_t index,
			      uint64_t n)
{
	for (uint64_t nth = 1 + n % 3;; nth += 3) {
		struct buf why = BUF_INIT;
		struct world w;
		enum err err;

		world_clone(crashed, n * 1000 + nth, &w);
		vfs_sim_power_off(w.sim, VFS_SIM_CHANGES, nth, nth % 2);
		err = engine_open(&w.o, &w.e, &why);
		buf_done(&why);
		if (err)
			w.e = NULL;
		world_close(&w);
		vfs_sim_crash(w.sim);
		reopen_either(&w, from, index, false);
		world_done(&w);
		if (!err)
			break;
	}
}

/* Commit what is applied, so that a restart applies as much. */
static void settle_commit(struct world *w)
{
	for (uint16_t i = 0; i < w->o.partitions; i++) {
		struct engine_hard_state hs = { 1, 1, w->parts[i].count };

		assert_int_equal(engine_set_hard_state(w->e, i, &hs), OK);
	}
	assert_int_equal(engine_sync(w->e), OK);
}

static void power_lost_at_every_call_of_an_install(void **state)
{
	struct world from, base;
	struct state st;

	(void)state;
	build_sender(&from, SENDER_SEED, 150);
	take_state(&from, &st);
	build_receiver(&base, 21);
	settle_commit(&base);
	for (int after = 0; after < 2; after++) {
		for (uint64_t n = 1;; n += FAULT_STEP) {
			struct engine_partition_info info;
			struct world w;
			enum err err;

			world_clone(&base, n * 2 + after, &w);
			reopen_either(&w, &from, st.index, false);
			vfs_sim_power_off(w.sim, VFS_SIM_CHANGES, n, after);
			err = install(&w, &st);
			if (!err)
				err = engine_sync(w.e);
			engine_partition_info(w.e, 0, &info);
			if (n % 2)
				vfs_sim_crash(w.sim);
			else
				vfs_sim_crash_hard(w.sim);
			world_close(&w);
			if (n % 3 == 0)
				crash_in_recovery(&w, &from, st.index, n);
			reopen_either(&w, &from, st.index,
				      info.base_index == st.index);
			if (!err)
				go_on(&w);
			world_done(&w);
			if (!err) {
				assert_true(n > 15);
				break;
			}
		}
	}
	world_done(&base);
	world_done(&from);
	buf_done(&st.records);
}

static void every_failing_call_leaves_the_old_state_or_the_new(void **state)
{
	static const enum err errors[] = { ERR_NOSPC, ERR_IO };
	struct world from, base;
	struct state st;

	(void)state;
	build_sender(&from, SENDER_SEED, 150);
	take_state(&from, &st);
	build_receiver(&base, 22);
	settle_commit(&base);
	for (int i = 0; i < 4; i++) {
		for (uint64_t n = 1;; n += FAULT_STEP) {
			struct engine_partition_info info;
			struct world w;
			uint64_t calls;
			bool over;
			enum err err;

			world_clone(&base, n, &w);
			reopen_either(&w, &from, st.index, false);
			calls = vfs_sim_calls(w.sim, VFS_SIM_ALL);
			vfs_sim_fail(w.sim, VFS_SIM_ALL, n, errors[i / 2],
				     i % 2);
			err = install(&w, &st);
			over = vfs_sim_calls(w.sim, VFS_SIM_ALL) - calls < n;
			vfs_sim_fail(w.sim, 0, 0, OK, false);
			engine_partition_info(w.e, 0, &info);
			assert_true(err || info.base_index == st.index);
			if (info.base_index == st.index)
				adopt(&w, &from, st.index);
			world_check(&w);
			if (err && !stats_of(&w).poisoned) {
				assert_true(info.base_index != st.index);
				assert_int_equal(install(&w, &st), OK);
				adopt(&w, &from, st.index);
				world_check(&w);
				if (n % 8 == 0)
					go_on(&w);
			} else {
				reopen_either(&w, &from, st.index,
					      info.base_index == st.index);
			}
			world_done(&w);
			if (over)
				break;
		}
	}
	world_done(&base);
	world_done(&from);
	buf_done(&st.records);
}

static void every_failing_allocation_leaves_the_old_state(void **state)
{
	struct world from, base;
	struct state st;

	(void)state;
	build_sender(&from, SENDER_SEED, 100);
	take_state(&from, &st);
	build_receiver(&base, 23);
	settle_commit(&base);
	for (uint64_t n = 1;; n += FAULT_STEP) {
		struct world w;
		bool failed;
		enum err err;

		world_clone(&base, n, &w);
		reopen_either(&w, &from, st.index, false);
		fail_alloc_at(n, false);
		err = install(&w, &st);
		failed = fail_alloc_off();
		if (stats_of(&w).poisoned) /* in the middle of a write */
			reopen_either(&w, &from, st.index, false);
		else
			assert_true(!err || err == ERR_NOMEM);
		if (err) {
			world_check(&w);
			assert_int_equal(install(&w, &st), OK);
		}
		adopt(&w, &from, st.index);
		fail_alloc_at(n, false);
		(void)world_merge(&w);
		fail_alloc_off();
		world_check(&w);
		assert_int_equal(world_merge(&w), OK);
		world_check(&w);
		world_reopen(&w);
		world_done(&w);
		if (!failed)
			break;
	}
	world_done(&base);
	world_done(&from);
	buf_done(&st.records);
}

static void a_full_disk_refuses_and_keeps_the_old_state(void **state)
{
	uint32_t before[2] = { 0 }, after[2] = { 0 };
	struct world from, to;
	struct state st;

	(void)state;
	build_sender(&from, SENDER_SEED, 150);
	take_state(&from, &st);
	build_receiver(&to, 24);
	assert_int_equal(vfs_list(to.o.vfs, "data", count_name, before), OK);
	vfs_sim_set_capacity(to.sim, 1);
	assert_int_equal(install(&to, &st), ERR_NOSPC);
	world_check(&to);
	assert_int_equal(vfs_list(to.o.vfs, "data", count_name, after), OK);
	assert_int_equal(after[1], before[1]);
	vfs_sim_set_capacity(to.sim, 256 << 20);
	assert_int_equal(install(&to, &st), OK);
	adopt(&to, &from, st.index);
	go_on(&to);
	world_done(&to);
	world_done(&from);
	buf_done(&st.records);
}

/* --------------------------------------------------------------- damage -- */

static void be_silent(void *ctx, const char *line)
{
	(void)ctx; /* the report counts */
	(void)line;
}

/* A partition whose log cannot be applied any further is replaced whole. */
static void a_damaged_partition_is_replaced(void **state)
{
	struct offline_report report;
	struct engine_partition_info info;
	struct world from, to;
	struct state st;
	char path[64];
	uint8_t mark[] = "this entry will be unreadable";
	struct engine_record r = { .type = RECORD_PUT,
				   .key = bytes_str("d0/00") };
	struct engine_entry entry = { .records = &r, .record_count = 1 };

	(void)state;
	build_sender(&from, SENDER_SEED, 150);
	take_state(&from, &st);
	world_init(&to, 25, 1);
	world_reopen(&to);
	churn(&to, 0, 40, 30);
	r.value = bytes_of(mark, sizeof(mark));
	for (int i = 0; i < 3; i++) {
		entry.index = 31 + (uint64_t)i;
		entry.term = 1;
		assert_int_equal(engine_append(to.e, &entry), OK);
		assert_int_equal(engine_sync(to.e), OK);
	}
	engine_partition_info(to.e, 0, &info);
	assert_int_equal(info.applied_index, 30);
	{
		/* The frame of entry 31: 30 frames of its size lie before. */
		struct engine_info at;

		assert_int_equal(engine_settle(to.e, 0, 31, NULL, NULL), OK);
		assert_int_equal(engine_peek(to.e, 0, r.key, &at), OK);
		snprintf(path, sizeof(path), "data/%08x.log",
			 loc_file_id(at.loc));
		/* entry 32 stands one frame of 512 bytes later */
		assert_int_equal(vfs_sim_flip(to.sim, path,
					      loc_off(at.loc) + 512 + 20, 1),
				 OK);
	}
	assert_int_equal(engine_settle(to.e, 0, 33, NULL, NULL), ERR_CORRUPT);
	assert_int_equal(engine_applied_index(to.e, 0), 31);
	assert_int_equal(install(&to, &st), OK);
	adopt(&to, &from, st.index);
	world_check(&to);
	churn(&to, 0, 40, 80);
	assert_int_equal(world_merge(&to), OK);
	world_check(&to);
	world_close(&to);
	assert_int_equal(
		offline_check(to.o.vfs, "data", be_silent, NULL, &report), OK);
	assert_int_equal(report.damaged, 1);
	assert_int_equal(
		offline_repair(to.o.vfs, "data", true, be_silent, NULL), OK);
	world_reopen(&to);
	world_done(&to);
	world_done(&from);
	buf_done(&st.records);
}

/* The end of the log is lost, with it the proof of what the reset is after. */
static void repair_goes_on_when_the_log_ends_before_the_reset(void **state)
{
	struct offline_report report;
	struct world from, to;
	struct state st;
	struct vfs_file *f;
	char path[64];
	uint32_t id = 0;

	(void)state;
	build_sender(&from, SENDER_SEED, 150);
	take_state(&from, &st);
	build_receiver(&to, 26);
	{
		struct engine_info at;
		char key[16];

		change(&to, 1, RECORD_PUT, 47);
		assert_int_equal(engine_peek(to.e, 1,
					     bytes_of(key, world_key(47, key)),
					     &at),
				 OK);
		id = loc_file_id(at.loc);
		assert_int_equal(install(&to, &st), OK);
		adopt(&to, &from, st.index);
		world_close(&to);
		snprintf(path, sizeof(path), "data/%08x.log", id);
		assert_int_equal(vfs_open(to.o.vfs, path, VFS_WRITE, &f), OK);
		/* zeros over the last put of partition 1 and what follows */
		{
			uint8_t *zeros = calloc(1, 1 << 20);
			uint64_t off = loc_off(at.loc) & ~511ull;

			assert_non_null(zeros);
			assert_int_equal(
				vfs_pwrite(f, zeros, (1 << 20) - off, off), OK);
			assert_int_equal(vfs_sync(f), OK);
			free(zeros);
		}
		vfs_close(f);
	}
	assert_int_equal(
		offline_check(to.o.vfs, "data", be_silent, NULL, &report), OK);
	assert_true(report.damaged > 0);
	assert_int_equal(world_open(&to), ERR_CORRUPT);
	assert_int_equal(
		offline_repair(to.o.vfs, "data", true, be_silent, NULL), OK);
	assert_int_equal(world_open(&to), OK);
	to.parts[1].count--; /* the put that was given up */
	to.parts[1].acked = to.parts[1].count;
	world_check(&to);
	go_on(&to);
	world_done(&to);
	world_done(&from);
	buf_done(&st.records);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_installed_state_is_the_senders),
		cmocka_unit_test(nothing_of_the_old_log_comes_back),
		cmocka_unit_test(an_empty_directory_takes_a_state),
		cmocka_unit_test(an_empty_state_removes_everything),
		cmocka_unit_test(what_is_not_newer_is_refused),
		cmocka_unit_test(records_that_belong_elsewhere_are_refused),
		cmocka_unit_test(records_keep_what_they_are_in_any_order),
		cmocka_unit_test(old_files_go_with_their_last_reader),
		cmocka_unit_test(segments_know_what_died),
		cmocka_unit_test(an_install_overtakes_a_merge),
		cmocka_unit_test(readers_and_merges_go_on_beside_installs),
		cmocka_unit_test(power_lost_at_every_call_of_an_install),
		cmocka_unit_test(
			every_failing_call_leaves_the_old_state_or_the_new),
		cmocka_unit_test(every_failing_allocation_leaves_the_old_state),
		cmocka_unit_test(a_full_disk_refuses_and_keeps_the_old_state),
		cmocka_unit_test(a_damaged_partition_is_replaced),
		cmocka_unit_test(
			repair_goes_on_when_the_log_ends_before_the_reset),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
