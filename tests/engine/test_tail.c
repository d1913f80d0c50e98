/*
 * tests/engine/test_tail.c - terms, tail and expiry against plain models.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/seed.h"
#include "engine/expiry.h"
#include "engine/tail.h"

enum { INDEX_MAX = 400 };

static uint64_t test_seed(void)
{
	const char *text = getenv("SEED");

	return text ? strtoull(text, NULL, 0) : 77;
}

/* The conflict rule, one index at a time, over an array. */
static uint64_t model_add(uint64_t *terms, uint64_t *last, uint64_t floor,
			  uint64_t first, uint64_t end, uint64_t term,
			  bool again)
{
	uint64_t cut = 0;

	for (uint64_t i = *last + 1; i < first; i++)
		terms[ *last = i] = 0;
	for (uint64_t i = first; i <= end; i++) {
		if (i <= floor || (i <= *last && terms[i] == term))
			continue;
		if (i <= *last && terms[i] == 0 && again) {
			terms[i] = term;
			continue;
		}
		if (i <= *last && !cut)
			cut = i;
		terms[i] = term;
		*last = i;
	}
	return cut;
}

/* A range is alive when each of its records is. */
static void check_ranges(const struct terms *t, struct seed *s)
{
	for (int i = 0; i < 8; i++) {
		uint64_t first = 1 + seed_below(s, t->last_index + 2);
		uint64_t last = first + seed_below(s, 10);
		uint64_t term = 1 + seed_below(s, 3);
		bool live = true;

		for (uint64_t k = first; k <= last; k++)
			live = live && terms_live(t, k, term);
		assert_int_equal(terms_live_range(t, first, last, term), live);
	}
}

static void terms_follow_the_conflict_rule(void **state)
{
	struct seed s;

	(void)state;
	print_message("SEED=%llu\n", (unsigned long long)test_seed());
	seed_init(&s, test_seed());
	for (int round = 0; round < 200; round++) {
		uint64_t terms[INDEX_MAX + 50] = { 0 }, last, floor, cut;
		struct terms t = { 0 };

		floor = last = seed_below(&s, 5);
		terms_reset(&t, floor, 9);
		for (int step = 0; step < 60; step++) {
			uint64_t first = 1 + seed_below(&s, last + 3);
			uint64_t end = first + seed_below(&s, 12);
			uint64_t term = 1 + seed_below(&s, 3);
			bool again = seed_below(&s, 2);

			if (end >= INDEX_MAX)
				break;
			assert_int_equal(
				terms_add(&t, first, end, term, again, &cut),
				OK);
			assert_int_equal(cut,
					 model_add(terms, &last, floor, first,
						   end, term, again));
			assert_int_equal(t.last_index, last);
			for (uint64_t i = floor + 1; i <= last; i++)
				assert_int_equal(terms_at(&t, i), terms[i]);
			assert_int_equal(terms_at(&t, floor), 9);
			assert_int_equal(terms_at(&t, last + 1), 0);
			assert_true(terms_live(&t, floor, 99));
			check_ranges(&t, &s);
		}
		terms_done(&t);
	}
}

static void a_tail_is_a_queue_that_can_be_cut(void **state)
{
	struct tail t = { 0 };
	struct tail_entry e = { .records = 1 };

	(void)state;
	for (uint64_t i = 5; i < 305; i++) {
		e.term = i;
		assert_int_equal(tail_reserve(&t, 0, 0), OK);
		tail_set(&t, i, &e);
	}
	assert_int_equal(tail_at(&t, 5)->term, 5);
	e.term = 1;
	tail_set(&t, 200, &e);
	assert_int_equal(tail_at(&t, 200)->term, 1);
	assert_int_equal(tail_at(&t, 304)->term, 304);
	tail_cut(&t, 150);
	assert_null(tail_at(&t, 150));
	assert_int_equal(tail_at(&t, 149)->term, 149);
	tail_cut(&t, 5);
	assert_null(tail_at(&t, 5));
	assert_int_equal(tail_reserve(&t, 0, 0), OK);
	tail_set(&t, 105, &e);
	assert_int_equal(tail_at(&t, 105)->term, 1);
	tail_done(&t);
}

static void a_tail_remembers_a_bounded_number_of_settled_entries(void **state)
{
	struct tail t = { 0 };
	struct tail_entry e = { .records = 1 };

	(void)state;
	for (uint64_t i = 1; i <= 10000; i++) {
		e.term = i;
		assert_int_equal(tail_reserve(&t, i - 1, 256), OK);
		tail_set(&t, i, &e);
	}
	assert_int_equal(t.cap, 256);
	assert_null(tail_at(&t, 10000 - 256));
	assert_int_equal(tail_at(&t, 10000 - 255)->term, 10000 - 255);
	for (uint64_t i = 10001; i <= 11000; i++) { /* what is not settled */
		e.term = i;
		assert_int_equal(tail_reserve(&t, 10000, 256), OK);
		tail_set(&t, i, &e);
	}
	for (uint64_t i = 10001; i <= 11000; i++)
		assert_int_equal(tail_at(&t, i)->term, i);
	tail_done(&t);
}

static void expiries_come_in_order(void **state)
{
	struct expiry x = { 0 };
	struct seed s;
	uint64_t before = 0;

	(void)state;
	seed_init(&s, test_seed());
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(expiry_add(&x, bytes_str("key"), i,
					    seed_below(&s, 500)),
				 OK);
	for (uint64_t i = 0; i < 1000; i++) {
		const struct expiry_item *first = expiry_first(&x);

		assert_non_null(first);
		assert_true(first->expiry_ns >= before);
		before = first->expiry_ns;
		expiry_pop(&x);
	}
	assert_null(expiry_first(&x));
	expiry_done(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(terms_follow_the_conflict_rule),
		cmocka_unit_test(a_tail_is_a_queue_that_can_be_cut),
		cmocka_unit_test(
			a_tail_remembers_a_bounded_number_of_settled_entries),
		cmocka_unit_test(expiries_come_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
