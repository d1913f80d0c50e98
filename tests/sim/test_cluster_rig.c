/*
 * tests/sim/test_cluster_rig.c - the simulated cluster itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/lib/cluster_rig.h"

static struct cluster rig;

static void begin(uint32_t founders, uint64_t seed)
{
	struct cluster_options o;

	cluster_options_default(&o, founders, 1, seed);
	cluster_init(&rig, &o);
	cluster_start_all(&rig);
}

static void one_node_answers_what_was_put(void **state)
{
	begin(1, 1);
	assert_int_equal(cluster_wait_leader(&rig, 10000), 1);
	cluster_must_put(&rig, "a/b", "value", 1000);
	cluster_expect(&rig, 1, "a/b", "value", 1000);
	cluster_expect(&rig, 1, "a/c", NULL, 1000);
	assert_int_equal(cluster_del(&rig, 1, "a/b", NULL), OK);
	cluster_expect(&rig, 1, "a/b", NULL, 1000);
	assert_true(cluster_same(&rig, NULL));
	cluster_done(&rig);
}

static void what_was_acknowledged_survives_a_crash(void **state)
{
	begin(1, 2);
	cluster_must_put(&rig, "k", "1", 10000);
	cluster_crash(&rig, 1);
	assert_int_equal(cluster_put(&rig, 1, "k", "2", NULL), ERR_CLOSED);
	cluster_run(&rig, 1000);
	cluster_start(&rig, 1);
	cluster_expect(&rig, 1, "k", "1", 10000);
	cluster_done(&rig);
}

static void power_fails_at_the_call_that_was_named(void **state)
{
	begin(1, 3);
	cluster_must_put(&rig, "k", "1", 10000);
	cluster_crash_at(&rig, 1, VFS_SIM_SYNC, 1, false);
	assert_int_equal(cluster_put(&rig, 1, "k", "2", NULL), ERR_UNKNOWN);
	assert_false(cluster_runs(&rig, 1));
	assert_int_equal(rig.node[1].died, ERR_CLOSED);
	cluster_start(&rig, 1);
	cluster_must_put(&rig, "k", "3", 10000);
	cluster_expect(&rig, 1, "k", "3", 10000);
	cluster_done(&rig);
}

static void time_follows_each_clocks_rate(void **state)
{
	uint64_t before;

	begin(1, 4);
	cluster_clock_rate(&rig, 1, 500000000);
	before = rig.node[1].clock.mono;
	cluster_run(&rig, 1000);
	cluster_clock_rate(&rig, 1, 0);
	assert_int_equal(rig.now_ns, 1000000000);
	/* each step rounds down */
	assert_in_range(rig.node[1].clock.mono - before, 1499999900,
			1500000000);
	cluster_done(&rig);
}

static void a_majority_goes_on_without_its_leader(void **state)
{
	uint64_t old, leader;

	begin(3, 5);
	old = cluster_wait_leader(&rig, 20000);
	cluster_must_put(&rig, "k", "1", 10000);
	cluster_crash(&rig, old);
	leader = cluster_wait_leader(&rig, 20000);
	assert_int_not_equal(leader, old);
	cluster_must_put(&rig, "k", "2", 10000);
	cluster_start(&rig, old);
	cluster_expect(&rig, old, "k", "2", 20000);
	cluster_expect_same(&rig, 20000);
	cluster_done(&rig);
}

static void who_is_cut_off_acknowledges_nothing(void **state)
{
	uint64_t old;
	enum err err;

	begin(3, 6);
	old = cluster_wait_leader(&rig, 20000);
	cluster_must_put(&rig, "k", "1", 10000);
	cluster_isolate(&rig, old);
	err = cluster_put(&rig, old, "k", "2", NULL);
	assert_true(err == ERR_UNKNOWN || err == ERR_NO_LEADER);
	cluster_heal_all(&rig);
	cluster_must_put(&rig, "k", "3", 30000);
	cluster_expect(&rig, old, "k", "3", 30000);
	cluster_expect_same(&rig, 20000);
	cluster_done(&rig);
}

/* Everything that a run shows, in one number. */
static uint64_t run_hash(uint64_t seed)
{
	uint64_t hash;

	begin(3, seed);
	rig.o.weather.loss_permille = 50;
	rig.o.weather.reorder_permille = 50;
	for (int i = 0; i < 20; i++) {
		char value[16];

		snprintf(value, sizeof(value), "%d", i);
		cluster_must_put(&rig, "k", value, 60000);
		if (i % 7 == 3) {
			uint64_t id = cluster_leader(&rig, 0);

			cluster_crash(&rig, id ? id : 1);
			cluster_run(&rig, 100);
			cluster_start_all(&rig);
		}
	}
	hash = rig.now_ns ^ rig.counts.sent << 20 ^ rig.counts.lost << 40 ^
	       rig.counts.bytes_sent;
	cluster_done(&rig);
	return hash;
}

static void the_same_seed_gives_the_same_run(void **state)
{
	uint64_t hash = run_hash(7);

	assert_true(run_hash(7) == hash);
	assert_true(run_hash(8) != hash);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_node_answers_what_was_put),
		cmocka_unit_test(what_was_acknowledged_survives_a_crash),
		cmocka_unit_test(power_fails_at_the_call_that_was_named),
		cmocka_unit_test(time_follows_each_clocks_rate),
		cmocka_unit_test(a_majority_goes_on_without_its_leader),
		cmocka_unit_test(who_is_cut_off_acknowledges_nothing),
		cmocka_unit_test(the_same_seed_gives_the_same_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
