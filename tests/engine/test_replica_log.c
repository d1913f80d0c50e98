/*
 * tests/engine/test_replica_log.c - the log read back for peers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "engine/readback.h"
#include "tests/lib/replica_rig.h"

static void fill(struct rig *r, uint16_t partition, uint64_t first,
		 uint64_t last, uint64_t term)
{
	for (uint64_t i = first; i <= last; i++)
		rig_append(r, partition, i, term);
}

static void fill_settled(struct rig *r, uint16_t partition, uint64_t first,
			 uint64_t last, uint64_t term)
{
	fill(r, partition, first, last, term);
	rig_sync(r);
	rig_settle(r, partition, last);
}

static void an_entry_in_the_open_batch_reads_back(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, 2);
	fill(&r, 1, 1, 5, 3);
	for (uint64_t i = 1; i <= 5; i++)
		rig_expect(&r, 1, i, 3);
	assert_int_equal(engine_write(r.e), OK);
	fill(&r, 1, 6, 9, 4);
	for (uint64_t i = 1; i <= 9; i++)
		rig_expect(&r, 1, i, i < 6 ? 3 : 4);
	assert_int_equal(rig_read(&r, 1, 10), ERR_NOT_FOUND);
	assert_int_equal(rig_read(&r, 0, 1), ERR_NOT_FOUND);
	assert_int_equal(engine_first_index(r.e, 1), 1);
	assert_int_equal(rig_info(&r, 1).first_index, 1);
	rig_done(&r);
}

static void what_was_overwritten_is_not_read(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	fill(&r, 0, 1, 20, 1);
	rig_sync(&r);
	fill(&r, 0, 11, 14, 2);
	rig_sync(&r);
	for (int again = 0; again < 2; again++) {
		for (uint64_t i = 1; i <= 14; i++)
			rig_expect(&r, 0, i, i < 11 ? 1 : 2);
		assert_int_equal(rig_read(&r, 0, 15), ERR_NOT_FOUND);
		rig_reopen(&r, again);
	}
	rig_done(&r);
}

/* Many segments, all read after a restart: by marks, hints and windows. */
static void settled_entries_read_back_after_restarts(void **state)
{
	enum { LAST = 2500 };
	const struct engine_merge_options never = { .dead_ratio = 2,
						    .dead_bytes = UINT64_MAX };
	struct rig r;

	(void)state;
	rig_init(&r, 3);
	r.o.merge = never;
	rig_reopen(&r, false);
	for (uint64_t i = 1; i <= LAST; i++) {
		fill(&r, 0, i, i, 1 + i / 1000);
		fill(&r, 2, i, i, 1 + i / 700);
		if (i % 50 == 0)
			rig_sync(&r);
	}
	rig_settle(&r, 0, LAST);
	rig_settle(&r, 2, LAST - 10);
	for (int round = 0; round < 4; round++) {
		assert_int_equal(engine_first_index(r.e, 0), 1);
		for (uint64_t i = 1; i <= LAST; i++)
			rig_expect(&r, 2, i, 1 + i / 700);
		for (uint64_t i = LAST; i >= 1; i -= i < 37 ? i : 37)
			rig_expect(&r, 0, i, 1 + i / 1000);
		if (round == 0) /* hints of what is settled */
			rig_keep(&r, 100);
		rig_reopen(&r, round == 1);
	}
	rig_done(&r);
}

static void more_than_the_tail_remembers_reads_back(void **state)
{
	enum { LAST = READBACK_TAIL_MAX + 600 };
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	for (uint64_t i = 1; i <= LAST; i += 200)
		fill_settled(&r, 0, i, i + 199, 1);
	assert_int_equal(r.e->partitions[0].tail.cap, READBACK_TAIL_MAX);
	for (uint64_t i = 1; i <= LAST; i += 3)
		rig_expect(&r, 0, i, 1);
	rig_done(&r);
}

static void a_merge_raises_the_first_index(void **state)
{
	struct engine_partition_info info;
	uint64_t term, first;
	struct rig r;

	(void)state;
	rig_init(&r, 2);
	fill_settled(&r, 0, 1, 1000, 7);
	fill_settled(&r, 1, 1, 3, 2);
	rig_merge(&r);
	fill_settled(&r, 0, 1001, 1100, 8);
	for (int round = 0; round < 2; round++) {
		info = rig_info(&r, 0);
		first = info.first_index;
		assert_true(first > 1);
		assert_int_equal(first, info.base_index + 1);
		assert_int_equal(rig_read(&r, 0, first - 1), ERR_COMPACTED);
		assert_int_equal(engine_term_at(r.e, 0, first - 1, &term), OK);
		assert_int_equal(term, first - 1 <= 1000 ? 7 : 8);
		assert_int_equal(engine_term_at(r.e, 0, first - 2, &term),
				 ERR_COMPACTED);
		assert_int_equal(engine_term_at(r.e, 0, 1101, &term),
				 ERR_NOT_FOUND);
		for (uint64_t i = first; i <= 1100; i++)
			rig_expect(&r, 0, i, i <= 1000 ? 7 : 8);
		rig_reopen(&r, round);
	}
	rig_done(&r);
}

static void what_fits_is_told_without_reading(void **state)
{
	uint64_t bytes, one, sum = 0;
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	fill_settled(&r, 0, 1, 50, 1);
	for (uint64_t i = 1; i <= 10; i++) {
		assert_int_equal(engine_log_fit(r.e, 0, i, i, 1, &one), 1);
		sum += one;
	}
	assert_int_equal(engine_log_fit(r.e, 0, 1, 50, sum, &bytes), 10);
	assert_int_equal(bytes, sum);
	assert_int_equal(engine_log_fit(r.e, 0, 1, 50, sum - 1, &bytes), 9);
	assert_int_equal(engine_log_fit(r.e, 0, 1, 4, UINT64_MAX, &bytes), 4);
	assert_int_equal(engine_log_fit(r.e, 0, 51, 60, 10, &bytes), 0);
	assert_int_equal(bytes, 0);
	rig_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_entry_in_the_open_batch_reads_back),
		cmocka_unit_test(what_was_overwritten_is_not_read),
		cmocka_unit_test(settled_entries_read_back_after_restarts),
		cmocka_unit_test(more_than_the_tail_remembers_reads_back),
		cmocka_unit_test(a_merge_raises_the_first_index),
		cmocka_unit_test(what_fits_is_told_without_reading),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
