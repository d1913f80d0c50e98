/*
 * tests/engine/test_install.c - proves engine/install*.c, keep_replaced.c and
 * what the rest of the engine makes of a reset: an installed state is the
 * sender's and nothing else, whatever was there and goes on beside it.
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
#include "tests/lib/install_world.h"
#include "tests/lib/tmpdir.h"

/* ---------------------------------------------------------------- state -- */

static void an_installed_state_is_the_senders(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 4; seed++) {
		struct engine_partition_info info;
		struct world from, to;
		struct install_state st;

		install_sender(&from, INSTALL_SEED + seed,
			       (uint32_t)(150 + 40 * seed));
		install_take_state(&from, &st);
		install_receiver(&to, seed);
		assert_int_equal(install_state(&to, &st), OK);
		install_adopt(&to, &from, st.index);
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
		install_go_on(&to);
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
		struct install_state st;

		install_sender(&from, INSTALL_SEED, 160);
		install_take_state(&from, &st);
		install_receiver(&to, seed);
		assert_true(to.parts[0].count < st.index);
		assert_true(to.parts[0].count + INSTALL_TAIL > st.index);
		assert_int_equal(install_build(&to, &st, &in), OK);
		assert_int_equal(install_commit(&to, in, seed % 8 < 4), OK);
		install_adopt(&to, &from, st.index);
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
		install_go_on(&to);
		world_done(&to);
		world_done(&from);
		buf_done(&st.records);
	}
}

static void an_empty_directory_takes_a_state(void **state)
{
	struct world from, to;
	struct install_state st;

	(void)state;
	install_sender(&from, INSTALL_SEED, 100);
	install_take_state(&from, &st);
	world_init(&to, 5, 1);
	world_reopen(&to);
	assert_int_equal(install_state(&to, &st), OK);
	install_adopt(&to, &from, st.index);
	install_go_on(&to);
	world_done(&to);
	world_done(&from);
	buf_done(&st.records);
}

/* No key, no tombstone: the state of an index all the same. */
static void an_empty_state_removes_everything(void **state)
{
	struct install_state st = { .records = BUF_INIT,
				    .index = 5000,
				    .term = 200,
				    .stamp_ns = 1000000 };
	struct world_op noop = { RECORD_NOOP, 0, 0 };
	struct world to;

	(void)state;
	install_receiver(&to, 9);
	assert_int_equal(install_state(&to, &st), OK);
	free(to.parts[0].ops);
	to.parts[0].ops = malloc(6000 * sizeof(noop));
	assert_non_null(to.parts[0].ops);
	for (int i = 0; i < 5000; i++)
		to.parts[0].ops[i] = noop;
	to.parts[0].count = to.parts[0].acked = 5000;
	to.parts[0].cap = 6000;
	install_go_on(&to);
	world_done(&to);
}

static void what_is_not_newer_is_refused(void **state)
{
	struct engine_install *in, *second;
	struct world from, to;
	struct install_state st;

	(void)state;
	install_sender(&from, INSTALL_SEED, 150);
	install_take_state(&from, &st);
	install_receiver(&to, 6);
	assert_int_equal(install_state(&to, &st), OK);
	install_adopt(&to, &from, st.index);
	assert_int_equal(install_build(&to, &st, &in), OK);
	assert_int_equal(engine_install_open(to.e, 0, st.index + 9, 1, &second),
			 ERR_BUSY);
	assert_int_equal(install_commit(&to, in, true), ERR_INVALID);
	world_check(&to);
	assert_int_equal(engine_install_open(to.e, 0, st.index + 9, 1, &second),
			 OK);
	engine_install_abort(second);
	engine_install_abort(NULL);
	install_go_on(&to);
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
	uint8_t *want = malloc(INSTALL_VALUE_BYTES);
	struct engine_install *in;
	struct engine_value v;
	struct engine_info info;
	struct engine_iter it;
	struct world from, to;
	struct bytes found;
	struct install_state st;
	uint32_t seen = 0;
	uint64_t index;
	char key[16];

	(void)state;
	assert_non_null(want);
	install_sender(&from, INSTALL_SEED, 150);
	install_take_state(&from, &st);
	world_init(&to, 9, 1);
	world_reopen(&to);
	install_churn(&to, 0, WORLD_KEYS, 60);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(world_merge(&to), OK);
		install_change(&to, 0, RECORD_PUT, 3);
	}
	assert_int_equal(install_build(&to, &st, &in), OK);
	engine_install_abort(in);
	assert_int_equal(vfs_list(to.o.vfs, "data", count_name, before), OK);
	assert_int_equal(engine_get(to.e, 0, bytes_of(key, world_key(2, key)),
				    ENGINE_VERIFY, &v),
			 OK);
	index = version_index(v.version);
	assert_int_equal(install_build(&to, &st, &in), OK);
	engine_iter_begin(to.e, 0, &it);
	assert_true(engine_iter_seek(&it, bytes_str(""), &found, &info));
	assert_int_equal(install_commit(&to, in, true), OK);
	for (int i = 0; i < 50; i++)
		assert_int_equal(world_keep(&to, 10), OK);
	do
		seen++;
	while (engine_iter_next(&it, &found, &info));
	assert_int_equal(seen, WORLD_KEYS);
	engine_iter_end(&it);
	install_adopt(&to, &from, st.index);
	world_check(&to);
	assert_int_equal(vfs_list(to.o.vfs, "data", count_name, held), OK);
	world_value(0, index, INSTALL_VALUE_BYTES, want);
	assert_true(bytes_equal(v.value, bytes_of(want, INSTALL_VALUE_BYTES)));
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
	struct install_state st;

	(void)state;
	install_sender(&from, INSTALL_SEED, 150);
	install_take_state(&from, &st);
	install_receiver(&to, 10);
	assert_int_equal(install_state(&to, &st), OK);
	install_adopt(&to, &from, st.index);
	install_churn(&to, 1, 30, 60);
	assert_int_equal(world_merge(&to), OK);
	s = install_stats(&to);
	world_reopen(&to);
	assert_int_equal(install_stats(&to).live_bytes, s.live_bytes);
	assert_int_equal(install_stats(&to).keys, s.keys);
	assert_true(s.merged_bytes + s.log_bytes < s.live_bytes + (4u << 20));
	world_done(&to);
	world_done(&from);
	buf_done(&st.records);
}

/*
 * A tail that will never be settled keeps its segments from being merged; with
 * an install it is dead, and they are free, also when the partition rests.
 * The install comes at any step of the writing of their hints.
 */
static void a_dead_tail_pins_no_segment(void **state)
{
	struct world from;
	struct install_state st;

	(void)state;
	install_sender(&from, INSTALL_SEED, 160);
	install_take_state(&from, &st);
	for (uint32_t at = 0; at < 12; at++) {
		struct engine_stats after;
		struct world to;

		install_receiver(&to, 13);
		for (uint32_t i = 0; i < 200; i++)
			install_change(&to, 1 + i % 2, RECORD_PUT,
				       (uint8_t)(i % 8));
		to.clock.mono += 10000000000;
		assert_int_equal(world_keep(&to, at), OK);
		assert_int_equal(install_state(&to, &st), OK);
		install_adopt(&to, &from, st.index);
		assert_int_equal(world_keep(&to, 1000), OK);
		for (int i = 0; i < 2; i++) {
			install_change(&to, 1, RECORD_PUT, 1);
			assert_int_equal(world_merge(&to), OK);
		}
		after = install_stats(&to);
		assert_true(after.log_bytes < 2u << 20);
		world_check(&to);
		world_reopen(&to);
		install_go_on(&to);
		world_done(&to);
	}
	world_done(&from);
	buf_done(&st.records);
}

/*
 * A segment is walked for its hint in pieces. What was met before the install
 * may be dead, though entries with those indexes are settled at the end.
 */
static void a_hint_that_an_install_overtakes_is_begun_anew(void **state)
{
	struct install_state st;
	struct world from, to;

	(void)state;
	install_sender(&from, INSTALL_SEED, 160);
	install_take_state(&from, &st);
	for (uint32_t at = 0; at < 8; at++) {
		world_init(&to, 14, 3);
		to.o.segment_bytes = 8 << 20;
		install_receiver_in(&to);
		for (uint32_t i = 0; i < 450; i++)
			install_change(&to, 1 + i % 2, RECORD_PUT,
				       (uint8_t)(i % 8));
		to.clock.mono += 10000000000;
		assert_int_equal(world_keep(&to, at), OK);
		assert_int_equal(install_state(&to, &st), OK);
		install_adopt(&to, &from, st.index);
		for (uint32_t i = 0; i < INSTALL_TAIL; i++) {
			struct world_op op = { RECORD_PUT, (uint8_t)(i % 5),
					       100 };

			assert_int_equal(world_change(&to, 0, op, true), OK);
		}
		assert_int_equal(world_keep(&to, 1000), OK);
		world_reopen(&to);
		install_go_on(&to);
		world_done(&to);
	}
	world_done(&from);
	buf_done(&st.records);
}

/* An install at any moment of a merge or of the writing of a hint. */
static void an_install_overtakes_a_merge(void **state)
{
	struct world from, base;
	struct install_state st;
	bool over = false, was_running = false;

	(void)state;
	install_sender(&from, INSTALL_SEED, 150);
	install_take_state(&from, &st);
	install_receiver_settled(&base, 11);
	world_close(&base);
	for (uint32_t at = 0; !over; at++) {
		struct world to;
		uint64_t merges;

		world_clone(&base, at, &to);
		assert_int_equal(world_open(&to), OK);
		merges = install_stats(&to).merges;
		engine_merge_request(to.e);
		to.clock.mono += 10000000000;
		assert_int_equal(world_keep(&to, at), OK);
		over = install_stats(&to).merges > merges;
		was_running |= install_stats(&to).merge_running;
		assert_int_equal(install_state(&to, &st), OK);
		install_adopt(&to, &from, st.index);
		assert_int_equal(world_keep(&to, 10000), OK);
		world_check(&to);
		world_reopen(&to);
		install_go_on(&to);
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
		cmocka_unit_test(a_dead_tail_pins_no_segment),
		cmocka_unit_test(
			a_hint_that_an_install_overtakes_is_begun_anew),
		cmocka_unit_test(an_install_overtakes_a_merge),
		cmocka_unit_test(readers_and_merges_go_on_beside_installs),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
