/*
 * tests/sim/test_cluster_rig.c - the simulated cluster itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_node_answers_what_was_put),
		cmocka_unit_test(what_was_acknowledged_survives_a_crash),
		cmocka_unit_test(power_fails_at_the_call_that_was_named),
		cmocka_unit_test(time_follows_each_clocks_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
