/*
 * tests/engine/test_install_faults.c - proves that an install that breaks
 * leaves the old state whole or the new one, and that one replaces a state
 * that was broken.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "engine/offline.h"
#include "tests/lib/fail_alloc.h"
#include "tests/lib/install_world.h"

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
		install_adopt(w, from, index);
	} else {
		assert_false(committed);
		assert_int_equal(info.applied_index, w->parts[0].count);
		assert_int_equal(info.last_index,
				 w->parts[0].count + INSTALL_TAIL);
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
	struct install_state st;

	(void)state;
	install_sender(&from, INSTALL_SEED, 150);
	install_take_state(&from, &st);
	install_receiver(&base, 21);
	settle_commit(&base);
	for (int after = 0; after < 2; after++) {
		for (uint64_t n = 1;; n += FAULT_STEP) {
			struct engine_partition_info info;
			struct world w;
			enum err err;

			world_clone(&base, n * 2 + after, &w);
			reopen_either(&w, &from, st.index, false);
			vfs_sim_power_off(w.sim, VFS_SIM_CHANGES, n, after);
			err = install_state(&w, &st);
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
				install_go_on(&w);
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
	struct install_state st;

	(void)state;
	install_sender(&from, INSTALL_SEED, 150);
	install_take_state(&from, &st);
	install_receiver(&base, 22);
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
			err = install_state(&w, &st);
			over = vfs_sim_calls(w.sim, VFS_SIM_ALL) - calls < n;
			vfs_sim_fail(w.sim, 0, 0, OK, false);
			engine_partition_info(w.e, 0, &info);
			assert_true(err || info.base_index == st.index);
			if (info.base_index == st.index)
				install_adopt(&w, &from, st.index);
			world_check(&w);
			if (err && !install_stats(&w).poisoned) {
				assert_true(info.base_index != st.index);
				assert_int_equal(install_state(&w, &st), OK);
				install_adopt(&w, &from, st.index);
				world_check(&w);
				if (n % 8 == 0)
					install_go_on(&w);
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
	struct install_state st;

	(void)state;
	install_sender(&from, INSTALL_SEED, 100);
	install_take_state(&from, &st);
	install_receiver(&base, 23);
	settle_commit(&base);
	for (uint64_t n = 1;; n += FAULT_STEP) {
		struct world w;
		bool failed;
		enum err err;

		world_clone(&base, n, &w);
		reopen_either(&w, &from, st.index, false);
		fail_alloc_at(n, false);
		err = install_state(&w, &st);
		failed = fail_alloc_off();
		if (install_stats(&w).poisoned) /* in the middle of a write */
			reopen_either(&w, &from, st.index, false);
		else
			assert_true(!err || err == ERR_NOMEM);
		if (err) {
			world_check(&w);
			assert_int_equal(install_state(&w, &st), OK);
		}
		install_adopt(&w, &from, st.index);
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

static enum err count_name(void *ctx, const char *name)
{
	uint32_t *n = ctx;

	n[strstr(name, ".dat") && !strstr(name, ".hint")]++;
	return OK;
}

static void a_full_disk_refuses_and_keeps_the_old_state(void **state)
{
	uint32_t before[2] = { 0 }, after[2] = { 0 };
	struct world from, to;
	struct install_state st;

	(void)state;
	install_sender(&from, INSTALL_SEED, 150);
	install_take_state(&from, &st);
	install_receiver(&to, 24);
	assert_int_equal(vfs_list(to.o.vfs, "data", count_name, before), OK);
	vfs_sim_set_capacity(to.sim, 1);
	assert_int_equal(install_state(&to, &st), ERR_NOSPC);
	world_check(&to);
	assert_int_equal(vfs_list(to.o.vfs, "data", count_name, after), OK);
	assert_int_equal(after[1], before[1]);
	vfs_sim_set_capacity(to.sim, 256 << 20);
	assert_int_equal(install_state(&to, &st), OK);
	install_adopt(&to, &from, st.index);
	install_go_on(&to);
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
	struct install_state st;
	char path[64];
	uint8_t mark[] = "this entry will be unreadable";
	struct engine_record r = { .type = RECORD_PUT,
				   .key = bytes_str("d0/00") };
	struct engine_entry entry = { .records = &r, .record_count = 1 };

	(void)state;
	install_sender(&from, INSTALL_SEED, 150);
	install_take_state(&from, &st);
	world_init(&to, 25, 1);
	world_reopen(&to);
	install_churn(&to, 0, 40, 30);
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
	assert_int_equal(install_state(&to, &st), OK);
	install_adopt(&to, &from, st.index);
	world_check(&to);
	install_churn(&to, 0, 40, 80);
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
	struct install_state st;
	struct vfs_file *f;
	char path[64];
	uint32_t id = 0;

	(void)state;
	install_sender(&from, INSTALL_SEED, 150);
	install_take_state(&from, &st);
	install_receiver(&to, 26);
	{
		struct engine_info at;
		char key[16];

		install_change(&to, 1, RECORD_PUT, 47);
		assert_int_equal(engine_peek(to.e, 1,
					     bytes_of(key, world_key(47, key)),
					     &at),
				 OK);
		id = loc_file_id(at.loc);
		assert_int_equal(install_state(&to, &st), OK);
		install_adopt(&to, &from, st.index);
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
	install_go_on(&to);
	world_done(&to);
	world_done(&from);
	buf_done(&st.records);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
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
