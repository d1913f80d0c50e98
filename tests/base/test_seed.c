/*
 * tests/base/test_seed.c - the generator is the published one, the same number
 * always gives the same sequence, and bounds are kept evenly.
 */
#include "base/seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"

/* First outputs of the reference code from the state 1, 2, 3, 4. */
static void the_sequence_is_the_published_one(void **state)
{
	struct seed s = { { 1, 2, 3, 4 } };

	assert_int_equal(seed_next(&s), 11520);
	assert_int_equal(seed_next(&s), 0);
	assert_int_equal(seed_next(&s), 1509978240);
	assert_int_equal(seed_next(&s), 1215971899390074240);
}

static void a_number_stands_for_one_sequence(void **state)
{
	struct seed a, b, c;

	seed_init(&a, 42);
	seed_init(&b, 42);
	seed_init(&c, 43);
	/* The state is filled by splitmix64; this is its first output for 0. */
	for (int i = 0; i < 100; i++) {
		uint64_t x = seed_next(&a);

		assert_int_equal(x, seed_next(&b));
		assert_int_not_equal(x, seed_next(&c));
	}
	seed_init(&a, 0);
	assert_int_equal(a.s[0], 0xe220a8397b1dcdafu);
}

static void below_stays_below_and_reaches_all(void **state)
{
	uint64_t seen[7] = { 0 };
	struct seed s;

	seed_init(&s, 1);
	for (int i = 0; i < 70000; i++)
		seen[seed_below(&s, 7)]++;
	for (int i = 0; i < 7; i++)
		assert_in_range(seen[i], 9500, 10500);
	for (int i = 0; i < 100; i++)
		assert_int_equal(seed_below(&s, 1), 0);
	for (int i = 0; i < 1000; i++)
		assert_true(seed_below(&s, (1ull << 63) + 1) <= 1ull << 63);
}

static void the_system_gives_a_new_seed_each_time(void **state)
{
	struct seed a, b;

	assert_int_equal(seed_init_os(&a), OK);
	assert_int_equal(seed_init_os(&b), OK);
	assert_memory_not_equal(&a, &b, sizeof(a));
}

static void every_error_has_a_text(void **state)
{
	for (int e = 0; e < ERR_MAX; e++)
		assert_string_not_equal(err_text((enum err)e), "unknown error");
	assert_string_equal(err_text((enum err)9999), "unknown error");
}

static void a_simulated_clock_moves_only_by_hand(void **state)
{
	struct clock_sim c;

	clock_sim_init(&c, 5);
	assert_int_equal(clock_mono_ns(&c.clock), 5);
	c.boot += 10;
	assert_int_equal(clock_mono_ns(&c.clock), 5);
	assert_int_equal(clock_boot_ns(&c.clock), 15);
	assert_int_equal(clock_wall_ns(&c.clock), 5);
}

static void the_system_clock_does_not_go_back(void **state)
{
	struct clock *c = clock_os();
	uint64_t mono = clock_mono_ns(c), boot = clock_boot_ns(c);

	for (int i = 0; i < 1000; i++) {
		assert_true(clock_mono_ns(c) >= mono);
		mono = clock_mono_ns(c);
	}
	assert_true(clock_boot_ns(c) >= boot);
	/* After 2020, in ns. */
	assert_true(clock_wall_ns(c) > 1577836800ull * 1000000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sequence_is_the_published_one),
		cmocka_unit_test(a_number_stands_for_one_sequence),
		cmocka_unit_test(below_stays_below_and_reaches_all),
		cmocka_unit_test(the_system_gives_a_new_seed_each_time),
		cmocka_unit_test(every_error_has_a_text),
		cmocka_unit_test(a_simulated_clock_moves_only_by_hand),
		cmocka_unit_test(the_system_clock_does_not_go_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
