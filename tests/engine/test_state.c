/*
 * tests/engine/test_state.c - proves that term and vote are found in one of
 * their two places, or missed, and never replaced by older ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "engine/engine_internal.h"
#include "engine/frame.h"
#include "tests/lib/engine_world.h"

enum { VALUE_BYTES = 24000, SLOT_BYTES = 512 };

static void flip(struct world *w, const char *path, uint64_t off)
{
	assert_int_equal(vfs_sim_flip(w->sim, path, off, 1), OK);
}

static void vote(struct world *w, uint64_t term)
{
	struct engine_hard_state hs = { .term = term, .vote = 2 };

	assert_int_equal(engine_set_hard_state(w->e, 0, &hs), OK);
	assert_int_equal(engine_sync(w->e), OK);
}

static void die(struct world *w)
{
	vfs_sim_kill(w->sim);
	engine_close(w->e);
	w->e = NULL;
}

/*
 * Both newest places are damaged: in the log the record's value, in the file
 * the slot written last. What is left is the first slot of a new directory.
 */
static void the_first_slot_is_no_second_place_for_a_later_one(void **state)
{
	for (uint64_t votes = 1; votes <= 3; votes++) {
		struct world w;
		uint64_t off = FILE_HEADER_BYTES;

		(void)state;
		world_init(&w, 1, 1);
		assert_int_equal(world_open(&w), OK);
		for (uint64_t i = 1; i <= votes; i++) {
			off = w.e->log.off;
			vote(&w, i);
		}
		world_close(&w);
		flip(&w, "data/00000001.log",
		     off + FRAME_HEADER_BYTES + RECORD_HEADER_BYTES);
		assert_int_equal(world_open(&w), OK); /* the file has it */
		assert_int_equal(w.e->partitions[0].hard_state.term, votes);
		world_done(&w);
		world_init(&w, 1, 1);
		assert_int_equal(world_open(&w), OK);
		for (uint64_t i = 1; i <= votes; i++)
			vote(&w, i);
		world_close(&w);
		flip(&w, "data/00000001.log",
		     off + FRAME_HEADER_BYTES + RECORD_HEADER_BYTES);
		/* Slots are written in turn; the very first is at SLOT_BYTES. */
		flip(&w, "data/state", votes % 2 ? 64 : SLOT_BYTES + 64);
		assert_int_equal(world_open(&w), ERR_CORRUPT);
		world_done(&w);
	}
}

/*
 * The segment with the only record is served by its hint, which knows no hard
 * state, and the frame that repeats it at the head of the next is torn.
 */
static void a_hint_never_hides_the_hard_state(void **state)
{
	struct world_op op = { RECORD_PUT, 1, VALUE_BYTES };
	const uint8_t zeros[512] = { 0 };
	struct vfs_file *f;
	struct world w;

	(void)state;
	world_init(&w, 2, 1);
	assert_int_equal(world_open(&w), OK);
	vote(&w, 9);
	while (!log_needs_switch(&w.e->log, VALUE_BYTES + 1000, false))
		assert_int_equal(world_change(&w, 0, op, true), OK);
	assert_int_equal(world_change(&w, 0, op, false), OK);
	assert_int_equal(engine_write(w.e), OK);
	w.o.merge.dead_ratio = 1; /* hints only */
	w.o.merge.dead_bytes = UINT64_MAX;
	engine_set_merge_options(w.e, &w.o.merge);
	w.clock.mono += 2000000000;
	assert_int_equal(world_keep(&w, 1000), OK);
	die(&w);
	assert_int_equal(
		vfs_open(w.o.vfs, "data/00000001.log.hint", VFS_READ, &f), OK);
	vfs_close(f);
	assert_int_equal(vfs_open(w.o.vfs, "data/00000002.log", VFS_WRITE, &f),
			 OK);
	assert_int_equal(vfs_pwrite(f, zeros, sizeof(zeros), 2048), OK);
	vfs_close(f);
	flip(&w, "data/state", 0);
	flip(&w, "data/state", SLOT_BYTES);
	assert_int_equal(world_open(&w), OK);
	assert_int_equal(w.e->partitions[0].hard_state.term, 9);
	assert_int_equal(w.e->partitions[0].hard_state.vote, 2);
	world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			the_first_slot_is_no_second_place_for_a_later_one),
		cmocka_unit_test(a_hint_never_hides_the_hard_state),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
