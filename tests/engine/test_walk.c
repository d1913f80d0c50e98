/*
 * tests/engine/test_walk.c - proves engine/walk.c: what a walk over a damaged
 * file tells, and that those who walk take it for what it is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "engine/engine_internal.h"
#include "engine/walk.h"
#include "tests/lib/engine_world.h"

enum { VALUE_BYTES = 24000, KEY = 5 };

static void change(struct world *w, uint8_t type, uint8_t key)
{
	struct world_op op = { type, key,
			       type == RECORD_PUT ? VALUE_BYTES : 0 };

	assert_int_equal(world_change(w, 0, op, true), OK);
}

static void flip(struct world *w, uint32_t id, uint64_t off)
{
	char path[64];

	snprintf(path, sizeof(path), "data/%08x.log", id);
	assert_int_equal(vfs_sim_flip(w->sim, path, off, 1), OK);
}

/*
 * A merged file has every key. A segment worth merging ends with a delete;
 * it is sealed, and then the header of that last frame decays.
 */
static uint32_t build(struct world *w)
{
	uint64_t last_off;
	uint32_t id;

	world_init(w, 4, 1);
	world_reopen(w);
	for (uint8_t k = 0; k < WORLD_KEYS; k++)
		change(w, RECORD_PUT, k);
	change(w, RECORD_PUT, 0);
	assert_int_equal(world_merge(w), OK);
	change(w, RECORD_NOOP, 0);
	for (int i = 0; i < 20; i++)
		change(w, RECORD_PUT, (uint8_t)(i % 2));
	id = engine_active_id(w->e);
	last_off = atomic_load(&engine_file(w->e, id)->written);
	change(w, RECORD_DELETE, KEY);
	assert_int_equal(engine_active_id(w->e), id);
	atomic_store(&w->e->log.switch_wanted, true);
	change(w, RECORD_PUT, 1);
	assert_int_not_equal(engine_active_id(w->e), id);
	flip(w, id, last_off + 8);
	return id;
}

static void a_sealed_segment_without_its_last_frame_is_damaged(void **state)
{
	struct walk_item it;
	struct datafile *df;
	struct walk *walk;
	bool damage = false;
	struct world w;
	uint32_t id;

	(void)state;
	id = build(&w);
	df = engine_file(w.e, id);
	assert_int_equal(walk_new(df, atomic_load(&df->last_sequence), &walk),
			 OK);
	do {
		assert_int_equal(walk_next(walk, &it), OK);
		damage |= it.kind == WALK_DAMAGE;
	} while (it.kind != WALK_END);
	assert_true(damage);
	walk_free(walk);
	world_done(&w);
}

/* The delete is not forgotten: the segment stays, and a start refuses. */
static void a_lost_delete_at_a_segment_end_is_never_merged_away(void **state)
{
	struct engine_stats s;
	enum err err = OK;
	struct world w;
	uint32_t id;

	(void)state;
	id = build(&w);
	for (int i = 0; i < 4; i++) {
		change(&w, RECORD_PUT, 1);
		err = world_merge(&w);
		if (err)
			assert_int_equal(err, ERR_CORRUPT);
	}
	assert_non_null(engine_file(w.e, id));
	world_check(&w);
	engine_stats(w.e, &s);
	world_close(&w);
	assert_int_equal(world_open(&w), ERR_CORRUPT);
	world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_sealed_segment_without_its_last_frame_is_damaged),
		cmocka_unit_test(
			a_lost_delete_at_a_segment_end_is_never_merged_away),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
