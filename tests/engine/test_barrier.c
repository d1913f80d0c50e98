/*
 * tests/engine/test_barrier.c - proves what a merge waits for before its
 * inputs go: whatever made a record of theirs dead, and whatever else stood
 * only in them, is durable elsewhere.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "engine/engine_internal.h"
#include "tests/lib/engine_world.h"

enum { VALUE_BYTES = 24000, KEY = 5 };

static void change(struct world *w, uint8_t type, uint8_t key)
{
	struct world_op op = { type, key,
			       type == RECORD_PUT ? VALUE_BYTES : 0 };

	assert_int_equal(world_change(w, 0, op, true), OK);
}

static uint64_t merges_of(struct world *w)
{
	struct engine_stats s;

	engine_stats(w->e, &s);
	return s.merges;
}

static void keep(struct world *w, uint32_t rounds)
{
	for (uint32_t i = 0; i < rounds; i++) {
		w->clock.mono += 2000000000;
		assert_int_equal(world_keep(w, 2000), OK);
	}
}

/*
 * A merged file has every key; a segment that is worth merging deletes one,
 * and a put that is not synced brings it back.
 */
static uint64_t build(struct world *w, enum engine_sync_mode mode)
{
	uint64_t merges;

	world_init(w, 4, 1);
	w->o.sync_mode = mode;
	w->o.sync_interval_ms = 1000000000;
	world_reopen(w);
	for (uint8_t k = 0; k < WORLD_KEYS; k++)
		change(w, RECORD_PUT, k);
	change(w, RECORD_PUT, 0);
	assert_int_equal(world_merge(w), OK);
	for (int i = 0; i < 4; i++) {
		change(w, RECORD_NOOP, 0);
		engine_idle(w->e);
		keep(w, 3);
	}
	merges = merges_of(w);
	change(w, RECORD_DELETE, KEY);
	for (int i = 0; i < 60; i++)
		change(w, RECORD_PUT, (uint8_t)(i % 3));
	change(w, RECORD_PUT, KEY);
	return merges;
}

static void a_delete_outlives_a_lost_newer_put(void **state)
{
	static const enum engine_sync_mode modes[] = { ENGINE_SYNC_NEVER,
						       ENGINE_SYNC_INTERVAL };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct world w;

		(void)build(&w, modes[i]); /* how many does not matter */
		keep(&w, 5);
		w.parts[0].acked = 0; /* these modes promise an order only */
		vfs_sim_crash_hard(w.sim);
		world_reopen(&w);
		assert_true(w.parts[0].count > WORLD_KEYS);
		world_done(&w);
	}
}

/* It does not wait for ever: it asks the writer, who syncs at its next step. */
static void a_waiting_merge_has_the_writer_sync(void **state)
{
	struct world w;
	uint64_t before;

	(void)state;
	before = build(&w, ENGINE_SYNC_NEVER);
	for (int i = 0; i < 5; i++) {
		keep(&w, 1);
		engine_idle(w.e);
	}
	assert_true(merges_of(&w) > before);
	vfs_sim_crash_hard(w.sim);
	world_reopen(&w);
	world_done(&w);
}

/*
 * The only entry-less case: the segment that holds term and vote ends, and
 * nothing is written after it but the mark of an idle moment.
 */
static void hard_state_is_durable_before_its_segment_goes(void **state)
{
	struct engine_hard_state hs = { .term = 9, .vote = 2 };
	struct engine_partition_info info;
	struct world w;

	(void)state;
	world_init(&w, 6, 1);
	world_reopen(&w);
	assert_int_equal(engine_set_hard_state(w.e, 0, &hs), OK);
	for (int i = 0; i < 8; i++)
		change(&w, RECORD_PUT, 1);
	engine_merge_request(w.e);
	for (int i = 0; i < 6; i++) {
		w.clock.mono += 2000000000;
		assert_int_equal(world_keep(&w, 50), OK);
		engine_idle(w.e);
	}
	assert_true(merges_of(&w) > 0);
	vfs_sim_crash_hard(w.sim);
	engine_close(w.e);
	w.e = NULL;
	assert_int_equal(vfs_sim_flip(w.sim, "data/state", 0, 1), OK);
	assert_int_equal(vfs_sim_flip(w.sim, "data/state", 512, 1), OK);
	world_reopen(&w);
	engine_partition_info(w.e, 0, &info);
	assert_int_equal(info.hard_state.term, 9);
	assert_int_equal(info.hard_state.vote, 2);
	world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_delete_outlives_a_lost_newer_put),
		cmocka_unit_test(a_waiting_merge_has_the_writer_sync),
		cmocka_unit_test(hard_state_is_durable_before_its_segment_goes),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
