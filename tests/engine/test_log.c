/*
 * tests/engine/test_log.c - proves engine/log.c: the ends of segments, what a
 * full disk does there, and switching while others sync.
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
#include "engine/datafile.h"
#include "engine/engine_internal.h"
#include "engine/frame.h"
#include "engine/walk.h"
#include "tests/lib/engine_world.h"
#include "tests/lib/tmpdir.h"

enum { SEGMENT_BYTES = 1 << 20 };

/* ------------------------------------------------- the end of a segment -- */

/* A delete whose record has that many bytes on disk. */
static void append_delete(struct world *w, uint64_t index, uint64_t bytes)
{
	static uint8_t key[RECORD_KEY_BYTES_MAX];
	struct engine_record r = {
		.type = RECORD_DELETE,
		.key = bytes_of(key, bytes - RECORD_HEADER_BYTES),
	};
	struct engine_entry entry = { .index = index,
				      .term = 1,
				      .stamp_ns = index,
				      .records = &r,
				      .record_count = 1 };

	assert_int_equal(engine_append(w->e, &entry), OK);
}

/*
 * Deletes may use a segment to its last byte. A full frame of them ends 1,024
 * bytes before it, and the next delete needs 1,536.
 */
static void a_frame_that_does_not_fit_goes_to_the_next_segment(void **state)
{
	const uint64_t frame = 256 << 10, next = 968;
	uint64_t off = FILE_HEADER_BYTES, index = 0, fill;
	struct engine_stats s;
	struct world w;

	(void)state;
	world_init(&w, 1, 1);
	assert_int_equal(world_open(&w), OK);
	while (off < SEGMENT_BYTES - frame - 1024) {
		append_delete(&w, ++index, 72);
		assert_int_equal(engine_write(w.e), OK);
		off += FRAME_ALIGN_BYTES;
	}
	fill = FRAME_HEADER_BYTES;
	while (fill + 80 + 72 <= frame - 504) {
		append_delete(&w, ++index, 80);
		fill += 80;
	}
	append_delete(&w, ++index, frame - 504 - fill);
	append_delete(&w, ++index, next);
	assert_int_equal(engine_sync(w.e), OK);
	engine_stats(w.e, &s);
	assert_int_equal(s.files, 2);
	w.parts[0].acked = index;
	world_close(&w);
	assert_int_equal(world_open(&w), OK);
	assert_int_equal(engine_applied_index(w.e, 0), index);
	world_done(&w);
}

/* --------------------------------------------------------- a full disk --- */

enum { VALUE_BYTES = 200000 };

static struct engine_stats stats_of(struct world *w)
{
	struct engine_stats s;

	engine_stats(w->e, &s);
	return s;
}

static enum err put(struct world *w, uint64_t i)
{
	struct world_op op = { RECORD_PUT, (uint8_t)(i % WORLD_KEYS),
			       VALUE_BYTES };

	return world_change(w, 0, op, true);
}

static uint64_t disk_free(struct world *w)
{
	uint64_t bytes;

	assert_int_equal(vfs_free_bytes(w->o.vfs, "data", &bytes), OK);
	return bytes;
}

/*
 * A segment that was ended early has holes behind its last frame. Used again
 * on a full disk it refuses puts like any other and poisons nothing.
 */
static void a_recycled_segment_has_its_blocks(void **state)
{
	enum err err = OK;
	struct world w;
	struct vfs_file *f;
	uint64_t n = 0;

	(void)state;
	world_init(&w, 2, 1);
	w.o.segment_bytes = 16 << 20; /* more than is allocated at once */
	world_reopen(&w);
	/* Ended early: at the next step after a request, with dead bytes. */
	for (int i = 0; i < 4; i++)
		assert_int_equal(put(&w, 0), OK);
	engine_merge_request(w.e);
	assert_int_equal(world_keep(&w, 1), OK);
	w.clock.mono += 10000000000;
	assert_int_equal(put(&w, 0), OK);
	assert_int_equal(world_merge(&w), OK);
	assert_true(stats_of(&w).merges > 0);
	/* The active one beyond its half: the old one is made ready. */
	while (n++ < 45) {
		assert_int_equal(put(&w, n), OK);
		assert_int_equal(world_keep(&w, 100), OK);
	}
	assert_int_equal(vfs_open(w.o.vfs, "data/00000001.log", VFS_READ, &f),
			 ERR_NOT_FOUND);
	while (n++ < 85) /* and into it */
		assert_int_equal(put(&w, n), OK);
	vfs_sim_set_capacity(w.sim, (256 << 20) - disk_free(&w) + 100000);
	for (n = 0; !err && n < 200; n++)
		err = put(&w, n);
	assert_int_equal(err, ERR_NOSPC);
	assert_false(stats_of(&w).poisoned);
	vfs_sim_set_capacity(w.sim, 256 << 20);
	w.clock.mono += 10000000000;
	assert_int_equal(put(&w, 1), OK);
	world_reopen(&w);
	world_done(&w);
}

/* Is the next segment made of zeros, once frames of bytes half filled one? */
static bool next_is_zeroed(uint32_t bytes)
{
	struct world_op op = { RECORD_PUT, 1, bytes };
	enum err zeros, next;
	struct vfs_file *f;
	struct world w;

	world_init(&w, 3, 1);
	world_reopen(&w);
	assert_int_equal(world_keep(&w, 1), OK);
	while (atomic_load(&w.e->log.bytes_appended) < 600 << 10) {
		op.key++;
		op.key %= WORLD_KEYS;
		assert_int_equal(world_change(&w, 0, op, true), OK);
	}
	assert_int_equal(world_keep(&w, 1), OK);
	zeros = vfs_open(w.o.vfs, "data/spare-0.tmp", VFS_READ, &f);
	if (!zeros)
		vfs_close(f);
	assert_int_equal(world_keep(&w, 100), OK);
	next = vfs_open(w.o.vfs, "data/00000002.log", VFS_READ, &f);
	assert_int_equal(next, OK);
	vfs_close(f);
	world_done(&w);
	return zeros == OK;
}

/* Zeros before large frames would only take the disk from them. */
static void only_small_frames_get_zeros(void **state)
{
	(void)state;
	assert_true(next_is_zeroed(1000));
	assert_true(next_is_zeroed(30000));
	assert_false(next_is_zeroed(70000));
	assert_false(next_is_zeroed(200000));
}

/* Partitions whose hard state stands in the segment with that id. */
static uint32_t hard_states_in(struct world *w, uint32_t id)
{
	struct walk_item it;
	struct walk *walk;
	uint32_t n = 0;

	assert_int_equal(walk_new(engine_file(w->e, id), 0, &walk), OK);
	do {
		assert_int_equal(walk_next(walk, &it), OK);
		n += it.kind == WALK_RECORD &&
		     it.record.type == RECORD_HARD_STATE;
	} while (it.kind != WALK_END);
	walk_free(walk);
	return n;
}

/*
 * The head of a segment may find the disk full. The segment is the next one
 * all the same, and its hard states come before anything else in it: those in
 * the segments before go when these are merged.
 */
static void hard_states_follow_when_there_is_room_again(void **state)
{
	struct engine_hard_state hs = { .term = 7, .vote = 3 };
	enum err err = OK;
	struct world w;
	uint32_t refused = 0;

	(void)state;
	for (uint64_t nth = 1; nth <= 4; nth++) {
		world_init(&w, nth, 2);
		world_reopen(&w);
		assert_int_equal(engine_set_hard_state(w.e, 1, &hs), OK);
		while (engine_active_id(w.e) == 1 &&
		       !log_needs_switch(&w.e->log, VALUE_BYTES + 1000, false))
			assert_int_equal(put(&w, 1), OK);
		vfs_sim_fail(w.sim, VFS_SIM_ALLOCATE, nth, ERR_NOSPC, false);
		err = put(&w, 1);
		vfs_sim_fail(w.sim, VFS_SIM_ALLOCATE, 0, OK, false);
		refused += err == ERR_NOSPC;
		if (err)
			assert_int_equal(err, ERR_NOSPC);
		assert_int_equal(put(&w, 2), OK);
		assert_int_not_equal(engine_active_id(w.e), 1);
		assert_true(hard_states_in(&w, engine_active_id(w.e)) >= 2);
		world_reopen(&w);
		world_done(&w);
	}
	assert_true(refused >= 2); /* the new file, and its head */
}

/* ------------------------------------------------- switching and syncing - */

struct asking_clock {
	struct clock clock;
	struct world *w;
};

static uint64_t still(struct clock *c)
{
	(void)c; /* time does not matter here */
	return 1000000000;
}

/* The keeper asks for another segment just before a record is appended. */
static uint64_t ask_meanwhile(struct clock *c)
{
	struct asking_clock *a = (struct asking_clock *)c;
	uint64_t wait_ms;

	engine_merge_request(a->w->e);
	for (int i = 0; i < 5; i++)
		assert_int_equal(engine_keep(a->w->e, &wait_ms), OK);
	return 1;
}

static void no_segment_is_switched_under_a_running_sync(void **state)
{
	struct asking_clock clock = { { still, still, still }, NULL };
	struct log_sync s;
	struct engine *e;
	struct world w;

	(void)state;
	world_init(&w, 5, 1);
	w.o.clock = &clock.clock;
	clock.w = &w;
	assert_int_equal(world_open(&w), OK);
	e = w.e;
	for (int i = 0; i < 3; i++)
		assert_int_equal(
			engine_put(e, 0, bytes_str("k"), bytes_str("v"), true),
			OK);
	/* Another thread is where lead_sync has let the lock go. */
	pthread_mutex_lock(&e->write_lock);
	e->sync_running = true;
	log_sync_begin(&e->log, &s);
	pthread_mutex_unlock(&e->write_lock);
	clock.clock.wall_ns = ask_meanwhile;
	assert_int_equal(
		engine_put(e, 0, bytes_str("k"), bytes_str("w"), false), OK);
	clock.clock.wall_ns = still;
	assert_true(atomic_load(&e->log.switch_wanted));
	assert_int_equal(engine_active_id(e), 1);
	pthread_mutex_lock(&e->write_lock);
	assert_int_equal(log_sync_end(&e->log, &s, OK, 0), OK);
	e->sync_running = false;
	pthread_mutex_unlock(&e->write_lock);
	assert_int_equal(engine_put(e, 0, bytes_str("k"), bytes_str("x"), true),
			 OK);
	assert_int_not_equal(engine_active_id(e), 1);
	world_done(&w);
}

/* ------------------------------------------------------------ the proof -- */

static uint64_t put_and_close(struct world *w)
{
	uint64_t last_off;

	for (uint64_t i = 0; i < 3; i++)
		assert_int_equal(put(w, i), OK);
	last_off = atomic_load(&engine_file(w->e, 1)->written);
	assert_int_equal(put(w, 9), OK);
	world_close(w);
	return last_off;
}

/* What was acknowledged has its proof, also while a restart is under way. */
static void a_restart_keeps_the_proof_of_the_last_frame(void **state)
{
	(void)state;
	for (int keep = 0; keep < 2; keep++) {
		struct world w;
		uint64_t off;

		world_init(&w, 7, 1);
		assert_int_equal(world_open(&w), OK);
		off = put_and_close(&w);
		assert_int_equal(world_open(&w), OK);
		if (keep) {
			world_close(&w);
		} else {
			vfs_sim_crash_hard(w.sim);
			engine_close(w.e);
			w.e = NULL;
		}
		assert_int_equal(
			vfs_sim_flip(w.sim, "data/00000001.log", off + 8, 1),
			OK);
		assert_int_equal(world_open(&w), ERR_CORRUPT);
		world_done(&w);
	}
}

static void a_clean_close_needs_no_recovery(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 8, 1);
	assert_int_equal(world_open(&w), OK);
	(void)put_and_close(&w); /* where does not matter */
	for (int i = 0; i < 20; i++) {
		assert_int_equal(world_open(&w), OK);
		assert_int_equal(w.e->manifest.log_count, 1);
		assert_int_equal(engine_active_id(w.e), 1);
		world_close(&w);
	}
	world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_frame_that_does_not_fit_goes_to_the_next_segment),
		cmocka_unit_test(a_recycled_segment_has_its_blocks),
		cmocka_unit_test(hard_states_follow_when_there_is_room_again),
		cmocka_unit_test(only_small_frames_get_zeros),
		cmocka_unit_test(a_restart_keeps_the_proof_of_the_last_frame),
		cmocka_unit_test(a_clean_close_needs_no_recovery),
		cmocka_unit_test(no_segment_is_switched_under_a_running_sync),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
