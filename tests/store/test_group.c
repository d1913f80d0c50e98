/*
 * tests/store/test_group.c - several stores, one cluster: consensus as the
 * store drives it (store/group.c, request.c, barrier.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "tests/lib/cluster_rig.h"

static struct cluster rig;

static void begin(uint32_t founders, uint32_t partitions, uint64_t seed)
{
	struct cluster_options o;

	cluster_options_default(&o, founders, partitions, seed);
	cluster_init(&rig, &o);
	cluster_start_all(&rig);
}

static void three_nodes_elect_one_and_agree(void **state)
{
	uint64_t leader;

	begin(3, 1, 1);
	leader = cluster_wait_leader(&rig, 10000);
	assert_int_equal(cluster_put(&rig, leader, "a/b", "1", NULL), OK);
	assert_int_equal(cluster_put(&rig, leader, "a/c", "2", NULL), OK);
	for (uint64_t id = 1; id <= 3; id++) {
		cluster_expect(&rig, id, "a/b", "1", 5000);
		cluster_expect(&rig, id, "a/c", "2", 5000);
		cluster_expect(&rig, id, "a/d", NULL, 5000);
	}
	cluster_expect_same(&rig, 5000);
	cluster_done(&rig);
}

static void nothing_is_committed_without_a_quorum(void **state)
{
	struct buf b = BUF_INIT;
	uint64_t leader;

	begin(3, 1, 2);
	leader = cluster_wait_leader(&rig, 10000);
	assert_int_equal(cluster_put(&rig, leader, "k", "1", NULL), OK);
	cluster_isolate(&rig, leader);
	assert_int_equal(cluster_put(&rig, leader, "k", "2", NULL),
			 ERR_UNKNOWN);
	assert_int_equal(cluster_get(&rig, leader, "k", STORE_LINEARIZABLE, &b),
			 ERR_NO_LEADER);
	assert_int_equal(cluster_get(&rig, leader, "k", STORE_STALE, &b), OK);
	assert_int_equal(b.n, 1);
	assert_int_equal(b.p[0], '1');
	buf_done(&b);
	cluster_done(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(three_nodes_elect_one_and_agree),
		cmocka_unit_test(nothing_is_committed_without_a_quorum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
