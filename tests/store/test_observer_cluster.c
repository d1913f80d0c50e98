/*
 * tests/store/test_observer_cluster.c - what an observer hears on nodes that
 * do not lead.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/lib/cluster_rig.h"

static struct cluster rig;

static struct {
	uint32_t before, after, resets_before, resets_after;
	uint64_t last_rev;
	bool hold;
} heard;

static void before(void *ctx, uint32_t partition, uint64_t rev,
		   const struct store_seen *seen, uint32_t count)
{
	assert_true(count > 0);
	heard.before++;
	heard.resets_before += seen->kind == STORE_SEEN_RESET;
	assert_int_equal(heard.resets_after + (seen->kind == STORE_SEEN_RESET),
			 heard.resets_before);
}

static bool after(void *ctx, uint32_t partition, uint64_t rev,
		  const struct store_seen *seen, uint32_t count)
{
	assert_true(rev > heard.last_rev);
	heard.after++;
	heard.resets_after += seen->kind == STORE_SEEN_RESET;
	heard.last_rev = rev;
	return heard.hold;
}

static const struct store_observer observer = { .before = before,
						.after = after };

static uint64_t begin(uint32_t n, uint64_t seed)
{
	struct cluster_options o;

	cluster_options_default(&o, n, 1, seed);
	cluster_init(&rig, &o);
	cluster_start_all(&rig);
	memset(&heard, 0, sizeof(heard));
	return cluster_wait_leader(&rig, 20000);
}

/* Every node hears every change, the asking one holds the answer. */
static void a_follower_hears_and_holds(void **state)
{
	uint64_t id = begin(3, 61) % 3 + 1, ns, rev;

	store_observe(cluster_node(&rig, id)->store, &observer);
	assert_int_equal(cluster_put(&rig, id % 3 + 1, "k", "1", NULL), OK);
	cluster_run(&rig, 500);
	assert_int_equal(heard.after, 1);
	ns = rig.now_ns;
	assert_int_equal(cluster_put(&rig, id, "k", "2", NULL), OK);
	assert_true(rig.now_ns - ns < 50000000);
	heard.hold = true;
	ns = rig.now_ns;
	assert_int_equal(cluster_put(&rig, id, "k", "3", &rev), OK);
	assert_true(rig.now_ns - ns >= 1000000000);
	assert_int_equal(heard.last_rev, rev);
	assert_int_equal(heard.after, 3);
	assert_int_equal(heard.before, 3);
	assert_int_equal(heard.resets_after, 0);
	cluster_done(&rig);
}

/* A node that joins gets a whole state and hears that all is different. */
static void an_installed_state_is_a_reset(void **state)
{
	struct store_change ch = { .kind = STORE_MEMBER_ADD };
	struct cluster_node *n;

	(void)begin(1, 62);
	for (int i = 0; i < 50; i++)
		cluster_must_put(&rig, "k", "value", 5000);
	n = cluster_new_node(&rig, 2);
	snprintf(ch.member.name, sizeof(ch.member.name), "%s", n->name);
	snprintf(ch.member.peer, sizeof(ch.member.peer), "%s", n->address);
	assert_int_equal(cluster_change(&rig, 1, &ch), OK);
	cluster_start(&rig, 2);
	store_observe(n->store, &observer);
	cluster_expect(&rig, 2, "k", "value", 20000);
	assert_int_equal(heard.resets_before, 1);
	assert_int_equal(heard.resets_after, 1);
	assert_true(heard.last_rev > 50);
	cluster_must_put(&rig, "k", "more", 5000);
	cluster_expect(&rig, 2, "k", "more", 20000);
	assert_int_equal(heard.resets_after, 1);
	assert_true(heard.after > 1);
	cluster_done(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_follower_hears_and_holds),
		cmocka_unit_test(an_installed_state_is_a_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
