/*
 * tests/base/test_diary.c - proves base/diary.c: the last entries, in order,
 * and many partitions that do the same are one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/diary.h"

static struct clock_sim now;
static struct diary *d;
static struct diary_entry got[DIARY_ENTRIES_MAX + 1];

static int begin(void **state)
{
	clock_sim_init(&now, 1000000000);
	assert_int_equal(diary_new(&now.clock, &d), OK);
	return 0;
}

static int end(void **state)
{
	diary_free(d);
	return 0;
}

static void a_new_one_is_empty(void **state)
{
	assert_int_equal(diary_last(d, got, 10), 0);
	assert_int_equal(diary_last(NULL, got, 10), 0);
	diary_note(NULL, DIARY_STARTED, DIARY_NO_PARTITION, 0, 0, 0);
}

static void entries_come_back_oldest_first(void **state)
{
	diary_note(d, DIARY_STARTED, DIARY_NO_PARTITION, 0, 0, 0);
	now.wall += 5;
	diary_note(d, DIARY_PEER_DOWN, DIARY_NO_PARTITION, 3, 0, 0);
	diary_note(d, DIARY_LEADS, 0, 1, 7, 0);
	assert_int_equal(diary_last(d, got, 10), 3);
	assert_int_equal(got[0].kind, DIARY_STARTED);
	assert_int_equal(got[1].kind, DIARY_PEER_DOWN);
	assert_int_equal(got[1].subject, 3);
	assert_int_equal(got[1].wall_ns, got[0].wall_ns + 5);
	assert_int_equal(got[2].a, 7);
	for (int i = 0; i < 3; i++)
		assert_int_equal(got[i].number, i + 1);
	/* with little room: the newest */
	assert_int_equal(diary_last(d, got, 1), 1);
	assert_int_equal(got[0].kind, DIARY_LEADS);
}

static void the_oldest_give_way(void **state)
{
	for (uint64_t i = 0; i < 3 * DIARY_ENTRIES_MAX + 5; i++)
		diary_note(d, DIARY_MERGE_DONE, DIARY_NO_PARTITION, 0, i, 0);
	assert_int_equal(diary_last(d, got, DIARY_ENTRIES_MAX + 1),
			 DIARY_ENTRIES_MAX);
	for (uint64_t i = 0; i < DIARY_ENTRIES_MAX; i++)
		assert_int_equal(got[i].a, 2 * DIARY_ENTRIES_MAX + 5 + i);
}

static void partitions_that_do_the_same_are_one(void **state)
{
	for (uint16_t p = 0; p < 1000; p++) {
		now.wall += 1000;
		diary_note(d, DIARY_LEADS, p, 1, 4, 0);
	}
	assert_int_equal(diary_last(d, got, 10), 1);
	assert_int_equal(got[0].count, 1000);
	assert_int_equal(got[0].partition, 0);
	/* another term, the same partition again, and later: not the same */
	diary_note(d, DIARY_LEADS, 5, 1, 5, 0);
	diary_note(d, DIARY_LEADS, 5, 1, 5, 0);
	now.wall += DIARY_FOLD_NS + 1;
	diary_note(d, DIARY_LEADS, 6, 1, 5, 0);
	assert_int_equal(diary_last(d, got, 10), 4);
}

static void two_kinds_in_turns_fold_too(void **state)
{
	for (uint16_t p = 0; p < 50; p++) {
		diary_note(d, DIARY_STEPPED_DOWN, p, 0, 4, 0);
		diary_note(d, DIARY_LEADS, p, 0, 5, 0);
	}
	assert_int_equal(diary_last(d, got, 10), 2);
	assert_int_equal(got[0].count, 50);
	assert_int_equal(got[1].count, 50);
}

static void what_is_about_the_node_is_never_folded(void **state)
{
	diary_note(d, DIARY_PEER_UP, DIARY_NO_PARTITION, 2, 0, 0);
	diary_note(d, DIARY_PEER_UP, DIARY_NO_PARTITION, 2, 0, 0);
	assert_int_equal(diary_last(d, got, 10), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_new_one_is_empty, begin, end),
		cmocka_unit_test_setup_teardown(entries_come_back_oldest_first,
						begin, end),
		cmocka_unit_test_setup_teardown(the_oldest_give_way, begin,
						end),
		cmocka_unit_test_setup_teardown(
			partitions_that_do_the_same_are_one, begin, end),
		cmocka_unit_test_setup_teardown(two_kinds_in_turns_fold_too,
						begin, end),
		cmocka_unit_test_setup_teardown(
			what_is_about_the_node_is_never_folded, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
