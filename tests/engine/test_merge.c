/*
 * tests/engine/test_merge.c - proves engine/merge*.c and engine/keep*.c: what
 * merge leaves is what was there, whatever breaks while it runs.
 */
#include <setjmp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "engine/offline.h"
#include "tests/lib/engine_world.h"
#include "tests/lib/fail_alloc.h"
#include "tests/lib/tmpdir.h"

enum { VALUE_BYTES = 24000 };

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

static void put(struct world *w, uint16_t partition, uint8_t key)
{
	struct world_op op = { RECORD_PUT, key, VALUE_BYTES };

	assert_int_equal(world_change(w, partition, op, true), OK);
}

static void del(struct world *w, uint16_t partition, uint8_t key, uint8_t type)
{
	struct world_op op = { type, key, 0 };

	assert_int_equal(world_change(w, partition, op, true), OK);
}

/* Fill segments with values that later ones of the same keys make dead. */
static void churn(struct world *w, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		put(w, (uint16_t)(i % w->o.partitions),
		    (uint8_t)(i % WORLD_KEYS));
}

static struct engine_stats stats_of(struct world *w)
{
	struct engine_stats s;

	engine_stats(w->e, &s);
	return s;
}

/* Two generations of files, tombstones of every kind among them. */
static void build(struct world *w, uint64_t seed, uint32_t partitions)
{
	world_init(w, seed, partitions);
	world_reopen(w);
	churn(w, 70);
	assert_int_equal(world_merge(w), OK);
	del(w, 0, 4, RECORD_DELETE);
	del(w, 0, 8, RECORD_EXPIRE);
	del(w, 0, 1, RECORD_DELETE_PREFIX);
	del(w, 0, 0, RECORD_NOOP);
	del(w, 0, 0, RECORD_CONFIG);
	churn(w, 30);
	del(w, 0, 12, RECORD_DELETE);
	churn(w, 30);
	put(w, 0, 4);
	world_check(w);
}

static void what_is_live_survives_and_what_is_dead_goes(void **state)
{
	struct engine_stats before, after;
	struct world w;

	world_init(&w, 1, 2);
	world_reopen(&w);
	churn(&w, 200);
	before = stats_of(&w);
	assert_int_equal(world_merge(&w), OK);
	world_check(&w);
	churn(&w, 2);
	assert_int_equal(world_merge(&w), OK);
	after = stats_of(&w);
	assert_true(after.merges >= 1);
	assert_true(after.live_bytes >= 48 * VALUE_BYTES);
	assert_true(after.live_bytes < before.live_bytes + 64 * VALUE_BYTES);
	assert_true(after.merged_bytes + after.log_bytes <
		    before.log_bytes * 3 / 4);
	world_check(&w);
	world_reopen(&w);
	assert_int_equal(stats_of(&w).live_bytes, after.live_bytes);
	world_done(&w);
}

static void deletes_stay_deleted_through_partial_merges(void **state)
{
	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct world w;

		build(&w, seed, 1 + seed % 3);
		for (int round = 0; round < 3; round++) {
			del(&w, 0, (uint8_t)(round * 4 + 2), RECORD_DELETE);
			churn(&w, 50);
			assert_int_equal(world_keep(&w, 300), OK);
			world_check(&w);
			if (round == 1)
				world_reopen(&w);
			assert_int_equal(world_merge(&w), OK);
			world_check(&w);
			world_reopen(&w);
		}
		world_done(&w);
	}
}

/* Nothing is left of keys that are gone and of what made them go. */
static void tombstones_go_when_nothing_older_is_left(void **state)
{
	struct engine_stats s;
	struct world w;

	world_init(&w, 3, 1);
	world_reopen(&w);
	churn(&w, 60);
	assert_int_equal(world_merge(&w), OK);
	for (uint8_t k = 0; k < WORLD_KEYS; k++)
		del(&w, 0, k, RECORD_DELETE);
	del(&w, 0, 1, RECORD_DELETE_PREFIX);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(world_merge(&w), OK);
		del(&w, 0, 0, RECORD_NOOP);
	}
	assert_int_equal(world_merge(&w), OK);
	s = stats_of(&w);
	assert_int_equal(s.keys, 0);
	assert_int_equal(s.merged_bytes, 0);
	world_reopen(&w);
	assert_int_equal(stats_of(&w).keys, 0);
	world_done(&w);
}

/*
 * A delete in a merged file that stays must not hide nothing: the file with
 * the older value is not an input of the merge that has the delete.
 */
static void a_delete_racing_a_merge_wins(void **state)
{
	for (uint32_t at = 0; at < 40; at += 3) {
		struct world w;

		build(&w, 11, 1);
		engine_merge_request(w.e);
		w.clock.mono += 10000000000;
		assert_int_equal(world_keep(&w, at), OK);
		del(&w, 0, 5, RECORD_DELETE);
		del(&w, 0, 3, RECORD_DELETE_PREFIX);
		put(&w, 0, 7);
		assert_int_equal(world_keep(&w, 10000), OK);
		world_check(&w);
		world_reopen(&w);
		assert_int_equal(world_merge(&w), OK);
		world_reopen(&w);
		world_done(&w);
	}
}

/*
 * A tombstone that another leader's entry overwrote never happened, also when
 * the segment that has both was hinted and the node restarted since.
 */
static void an_overwritten_tombstone_never_hides(void **state)
{
	struct engine_record r = { .type = RECORD_DELETE };
	struct engine_entry dead = { .term = 99,
				     .records = &r,
				     .record_count = 1 };
	struct world w;
	char key[16];

	for (int restart = 0; restart < 2; restart++) {
		world_init(&w, 61, 1);
		world_reopen(&w);
		churn(&w, 60);
		assert_int_equal(world_merge(&w), OK);
		dead.index = w.parts[0].count + 1;
		r.key = bytes_of(key, world_key(13, key));
		assert_int_equal(engine_append(w.e, &dead), OK);
		assert_int_equal(engine_sync(w.e), OK);
		del(&w, 0, 0, RECORD_NOOP);
		churn(&w, 60);
		w.clock.mono += 10000000000;
		assert_int_equal(world_keep(&w, 1000), OK);
		if (restart)
			world_reopen(&w);
		for (int i = 0; i < 3; i++) {
			churn(&w, 12);
			assert_int_equal(world_merge(&w), OK);
			world_check(&w);
			world_reopen(&w);
		}
		world_done(&w);
	}
}

/* ------------------------------------------------------------- threads --- */

enum { RACE_KEYS = 64, RACE_MS = 1200, RACE_VALUE_BYTES = 3000 };

struct race {
	struct engine *e;
	struct seed seed;
	_Atomic bool stop;
	_Atomic uint64_t puts, gets, absent;
};

static void *race_put(void *arg)
{
	struct race *r = arg;
	uint8_t value[RACE_VALUE_BYTES];
	struct seed s;

	seed_init(&s, 1);
	while (!atomic_load(&r->stop)) {
		uint8_t key = (uint8_t)seed_below(&s, RACE_KEYS);

		memset(value, key, sizeof(value));
		if (seed_below(&s, 5) == 0)
			assert_int_equal(
				engine_del(r->e, 0, bytes_of(&key, 1), false),
				OK);
		else
			assert_int_equal(
				engine_put(r->e, 0, bytes_of(&key, 1),
					   bytes_of(value, sizeof(value)),
					   seed_below(&s, 8) == 0),
				OK);
		engine_idle(r->e); /* as the daemon's writer does */
		atomic_fetch_add(&r->puts, 1);
	}
	return NULL;
}

static void *race_get(void *arg)
{
	struct race *r = arg;
	struct seed s;

	seed_init(&s, 2);
	while (!atomic_load(&r->stop)) {
		uint8_t key = (uint8_t)seed_below(&s, RACE_KEYS);
		struct engine_value v;
		enum err err = engine_get(r->e, 0, bytes_of(&key, 1),
					  ENGINE_VERIFY, &v);

		if (err == ERR_NOT_FOUND) {
			atomic_fetch_add(&r->absent, 1);
			continue;
		}
		assert_int_equal(err, OK);
		assert_int_equal(v.value.n, RACE_VALUE_BYTES);
		assert_int_equal(v.value.p[0], key);
		assert_int_equal(v.value.p[RACE_VALUE_BYTES - 1], key);
		engine_value_done(&v);
		atomic_fetch_add(&r->gets, 1);
	}
	return NULL;
}

static void writers_and_readers_go_on_beside_merges(void **state)
{
	char *dir = tmpdir_make();
	struct race r = { 0 };
	struct engine_options o;
	struct engine_stats s;
	struct buf why = BUF_INIT;
	pthread_t threads[3];
	uint64_t end, wait_ms;

	engine_options_default(&o);
	seed_init(&r.seed, 9);
	o.seed = &r.seed;
	o.dir = dir;
	o.segment_bytes = 1 << 20;
	o.min_free_bytes = 0;
	assert_int_equal(engine_open(&o, &r.e, &why), OK);
	assert_int_equal(pthread_create(&threads[0], NULL, race_put, &r), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, race_get, &r), 0);
	assert_int_equal(pthread_create(&threads[2], NULL, race_get, &r), 0);
	end = clock_mono_ns(o.clock) + RACE_MS * 1000000ull;
	while (clock_mono_ns(o.clock) < end) {
		engine_merge_request(r.e);
		assert_int_equal(engine_keep(r.e, &wait_ms), OK);
	}
	atomic_store(&r.stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	engine_stats(r.e, &s);
	print_message("puts %llu gets %llu merges %llu\n",
		      (unsigned long long)r.puts, (unsigned long long)r.gets,
		      (unsigned long long)s.merges);
	assert_true(s.merges > 0);
	engine_close(r.e);
	assert_int_equal(engine_open(&o, &r.e, &why), OK);
	engine_close(r.e);
	buf_done(&why);
	tmpdir_remove(dir);
}

/* ------------------------------------------------------------- crashes --- */

/* Lose power at the nth change of a recovery too, until one goes through. */
static void crash_in_recovery(const struct world *crashed, uint64_t n)
{
	for (uint64_t nth = 1 + n % 3;; nth += 3) {
		struct world w;
		enum err err;

		world_clone(crashed, n * 1000 + nth, &w);
		vfs_sim_power_off(w.sim, VFS_SIM_CHANGES, nth, nth % 2);
		err = world_open(&w);
		world_close(&w);
		vfs_sim_crash(w.sim);
		world_reopen(&w);
		world_done(&w);
		if (!err)
			break;
	}
}

static void power_lost_at_every_call_of_a_merge(void **state)
{
	struct world base;

	build(&base, 21, 2);
	world_close(&base);
	for (int after = 0; after < 2; after++) {
		for (uint64_t n = 1;; n += FAULT_STEP) {
			uint64_t calls;
			struct world w;
			bool over;

			world_clone(&base, n * 2 + after, &w);
			assert_int_equal(world_open(&w), OK);
			calls = vfs_sim_calls(w.sim, VFS_SIM_CHANGES);
			vfs_sim_power_off(w.sim, VFS_SIM_CHANGES, n, after);
			over = world_merge(&w) == OK &&
			       vfs_sim_calls(w.sim, VFS_SIM_CHANGES) - calls <
				       n;
			world_close(&w);
			if (n % 2)
				vfs_sim_crash(w.sim);
			else
				vfs_sim_crash_hard(w.sim);
			if (n % 3 == 0)
				crash_in_recovery(&w, n);
			world_reopen(&w);
			assert_int_equal(world_merge(&w), OK);
			world_reopen(&w);
			world_done(&w);
			if (over) {
				assert_true(n > 15);
				break;
			}
		}
	}
	world_done(&base);
}

static void every_failing_call_leaves_the_old_state_in_force(void **state)
{
	static const enum err errors[] = { ERR_NOSPC, ERR_IO };
	struct world base;

	build(&base, 22, 2);
	world_close(&base);
	for (int i = 0; i < 2; i++) {
		for (uint64_t n = 1;; n += FAULT_STEP) {
			uint64_t calls;
			struct world w;
			bool over;

			world_clone(&base, n, &w);
			assert_int_equal(world_open(&w), OK);
			calls = vfs_sim_calls(w.sim, VFS_SIM_ALL);
			vfs_sim_fail(w.sim, VFS_SIM_ALL, n, errors[i], false);
			(void)world_merge(&w);
			over = vfs_sim_calls(w.sim, VFS_SIM_ALL) - calls < n;
			vfs_sim_fail(w.sim, 0, 0, OK, false);
			world_check(&w);
			assert_int_equal(world_merge(&w), OK);
			world_check(&w);
			world_reopen(&w);
			world_done(&w);
			if (over)
				break;
		}
	}
	world_done(&base);
}

static void every_failing_allocation_leaves_the_old_state_in_force(void **state)
{
	struct world base;

	build(&base, 23, 1);
	world_close(&base);
	for (uint64_t n = 1;; n += FAULT_STEP) {
		struct world w;
		bool failed;

		world_clone(&base, n, &w);
		assert_int_equal(world_open(&w), OK);
		fail_alloc_at(n, false);
		(void)world_merge(&w);
		failed = fail_alloc_off();
		world_check(&w);
		assert_int_equal(world_merge(&w), OK);
		world_check(&w);
		world_reopen(&w);
		world_done(&w);
		if (!failed)
			break;
	}
	world_done(&base);
}

static void a_full_disk_aborts_the_merge_until_there_is_room(void **state)
{
	struct world w;
	uint64_t merges;

	build(&w, 24, 1);
	merges = stats_of(&w).merges;
	vfs_sim_set_capacity(w.sim, 1);
	(void)world_merge(&w);
	assert_int_equal(stats_of(&w).merges, merges);
	world_check(&w);
	vfs_sim_set_capacity(w.sim, 256 << 20);
	assert_int_equal(world_merge(&w), OK);
	assert_true(stats_of(&w).merges > merges);
	world_check(&w);
	world_done(&w);
}

/* ------------------------------------------------------------- readers --- */

static void readers_hold_their_bytes_while_the_file_goes(void **state)
{
	uint8_t *want = malloc(VALUE_BYTES);
	struct engine_value v;
	struct world w;
	uint64_t index;
	char key[16];

	assert_non_null(want);
	build(&w, 31, 1);
	put(&w, 0, 9);
	index = w.parts[0].count;
	churn(&w, 1);
	assert_int_equal(engine_get(w.e, 0, bytes_of(key, world_key(9, key)),
				    ENGINE_VERIFY, &v),
			 OK);
	del(&w, 0, 9, RECORD_DELETE);
	for (int i = 0; i < 3; i++) {
		churn(&w, 60);
		assert_int_equal(world_merge(&w), OK);
	}
	world_value(0, index, VALUE_BYTES, want);
	assert_true(bytes_equal(v.value, bytes_of(want, VALUE_BYTES)));
	engine_value_done(&v);
	assert_int_equal(world_merge(&w), OK);
	world_check(&w);
	world_done(&w);
	free(want);
}

static enum err count_name(void *ctx, const char *name)
{
	(void)name;
	(*(uint32_t *)ctx)++;
	return OK;
}

static void count_files(struct vfs *vfs, uint32_t *n)
{
	*n = 0;
	assert_int_equal(vfs_list(vfs, "data", count_name, n), OK);
}

static void a_thousand_merges_leak_no_file(void **state)
{
	uint32_t first = 0, last = 0;
	struct world w;

	world_init(&w, 41, 1);
	world_reopen(&w);
	churn(&w, 60);
	for (int i = 0; i < 1000; i++) {
		put(&w, 0, (uint8_t)(i % 4));
		assert_int_equal(world_merge(&w), OK);
		if (i == 10)
			count_files(w.o.vfs, &first);
	}
	count_files(w.o.vfs, &last);
	assert_true(stats_of(&w).merges >= 900);
	assert_true(last <= first + 4);
	world_check(&w);
	world_reopen(&w);
	world_done(&w);
}

/* -------------------------------------------------------------- damage --- */

/* The status names one damaged place, at loc. */
static enum err count_hint(void *ctx, const char *name)
{
	uint32_t *n = ctx;

	*n += strstr(name, ".hint") != NULL;
	return OK;
}

/* After many short lives: eighty segments, nearly all dead, and no hints. */
static void merges_begin_early_and_follow_each_other(void **state)
{
	uint32_t files, hints = 0;
	struct world w;

	world_init(&w, 5, 1);
	world_reopen(&w);
	churn(&w, 3500);
	world_reopen(&w);
	files = stats_of(&w).files;
	assert_true(files > 50);
	while (stats_of(&w).merges == 0)
		assert_int_equal(world_keep(&w, 1), OK);
	assert_int_equal(vfs_list(w.o.vfs, "data", count_hint, &hints), OK);
	assert_true(hints < files / 2); /* it waited for few of them */
	assert_int_equal(world_keep(&w, 1000000), OK);
	assert_true(stats_of(&w).merges > 2); /* within one second */
	assert_true(stats_of(&w).files < 40);
	world_check(&w);
	world_done(&w);
}

static void assert_named(struct world *w, uint64_t loc)
{
	struct engine_stats s = stats_of(w);
	char name[64];

	snprintf(name, sizeof(name), "%08x.dat", loc_file_id(loc));
	assert_int_equal(s.corrupt_count, 1);
	assert_string_equal(s.corrupt[0].file, name);
	assert_int_equal(s.corrupt[0].off, loc_off(loc));
}

static void be_silent(void *ctx, const char *line)
{
	(void)ctx; /* the report counts */
	(void)line;
}

static void damaged_values_stay_damaged(void **state)
{
	struct offline_report report;
	struct engine_value v;
	struct engine_info info;
	struct world w;
	char key[16], path[64];
	size_t n = world_key(47, key);

	world_init(&w, 51, 1);
	world_reopen(&w);
	churn(&w, 96);
	churn(&w, 47); /* key 47 lies in a segment that is sealed now */
	assert_int_equal(engine_peek(w.e, 0, bytes_of(key, n), &info), OK);
	snprintf(path, sizeof(path), "data/%08x.log", loc_file_id(info.loc));
	assert_int_equal(vfs_sim_flip(w.sim, path, loc_off(info.loc) + 1000, 4),
			 OK);
	assert_int_equal(
		engine_get(w.e, 0, bytes_of(key, n), ENGINE_VERIFY, &v),
		ERR_CORRUPT);
	assert_int_equal(world_merge(&w), OK);
	for (int i = 0; i < 2; i++) {
		struct engine_info moved;

		assert_int_equal(engine_peek(w.e, 0, bytes_of(key, n), &moved),
				 OK);
		assert_true(loc_file_id(moved.loc) != loc_file_id(info.loc));
		assert_true(moved.version == info.version);
		assert_named(&w, moved.loc);
		assert_int_equal(
			engine_get(w.e, 0, bytes_of(key, n), ENGINE_VERIFY, &v),
			ERR_CORRUPT);
		world_close(&w);
		assert_int_equal(offline_check(w.o.vfs, "data", be_silent, NULL,
					       &report),
				 OK);
		assert_int_equal(report.damaged, 1);
		assert_int_equal(world_open(&w), OK);
		assert_named(&w, moved.loc);
		world_close(&w);
		snprintf(path, sizeof(path), "data/%08x.dat.hint",
			 loc_file_id(moved.loc));
		assert_int_equal(vfs_unlink(w.o.vfs, path), OK);
		assert_int_equal(world_open(&w), OK);
		assert_named(&w, moved.loc);
		assert_int_equal(
			engine_get(w.e, 0, bytes_of(key, n), ENGINE_VERIFY, &v),
			ERR_CORRUPT);
		assert_int_equal(world_keep(&w, 1000), OK);
	}
	put(&w, 0, 47);
	world_check(&w);
	world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_live_survives_and_what_is_dead_goes),
		cmocka_unit_test(deletes_stay_deleted_through_partial_merges),
		cmocka_unit_test(tombstones_go_when_nothing_older_is_left),
		cmocka_unit_test(a_delete_racing_a_merge_wins),
		cmocka_unit_test(an_overwritten_tombstone_never_hides),
		cmocka_unit_test(writers_and_readers_go_on_beside_merges),
		cmocka_unit_test(power_lost_at_every_call_of_a_merge),
		cmocka_unit_test(
			every_failing_call_leaves_the_old_state_in_force),
		cmocka_unit_test(
			every_failing_allocation_leaves_the_old_state_in_force),
		cmocka_unit_test(
			a_full_disk_aborts_the_merge_until_there_is_room),
		cmocka_unit_test(readers_hold_their_bytes_while_the_file_goes),
		cmocka_unit_test(a_thousand_merges_leak_no_file),
		cmocka_unit_test(merges_begin_early_and_follow_each_other),
		cmocka_unit_test(damaged_values_stay_damaged),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
