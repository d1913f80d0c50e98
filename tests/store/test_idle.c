/*
 * tests/store/test_idle.c - a thousand partitions that nobody uses cost next to
 * nothing, counted in messages and elections instead of seconds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/log.h"
#include "tests/lib/cluster_rig.h"

enum { PARTITIONS = 1000, IDLE_S = 10 };

static struct cluster c;

/* Terms and syncs that all nodes have used so far. */
static void count(uint64_t *terms, uint64_t *syncs, uint64_t *changes)
{
	*terms = *syncs = *changes = 0;
	for (uint64_t id = 1; id <= 3; id++) {
		struct store_storage_status disk;

		store_storage_status(c.node[id].store, &disk);
		*syncs += disk.syncs;
		for (uint32_t p = 0; p < PARTITIONS; p++) {
			struct store_partition_status st;

			store_partition_status(c.node[id].store, p, &st);
			*terms += id == 1 ? st.term : 0;
			*changes += st.leader_changes;
		}
	}
}

/* Leaders are being spread over the nodes, a few at a time. */
static void wait_for_rest(void)
{
	uint64_t terms, syncs, before, changes = 0;

	for (int i = 0; i < 40; i++) {
		before = changes;
		cluster_run(&c, 4000);
		count(&terms, &syncs, &changes);
		if (changes == before)
			return;
	}
	fail_msg("leaders never come to rest");
}

static void idle_partitions_cost_next_to_nothing(void)
{
	uint64_t terms, syncs, changes, terms_after, syncs_after, changes_after;
	uint64_t sent, bytes, steps;

	wait_for_rest();
	count(&terms, &syncs, &changes);
	sent = c.counts.sent;
	bytes = c.counts.bytes_sent;
	steps = c.counts.steps;
	cluster_run(&c, IDLE_S * 1000);
	count(&terms_after, &syncs_after, &changes_after);
	print_message("in %d s: %llu messages, %llu KiB, %llu steps, "
		      "%llu syncs\n",
		      IDLE_S, (unsigned long long)(c.counts.sent - sent),
		      (unsigned long long)(c.counts.bytes_sent - bytes) / 1024,
		      (unsigned long long)(c.counts.steps - steps),
		      (unsigned long long)(syncs_after - syncs));
	assert_true(terms_after == terms);
	assert_true(changes_after == changes);
	/* A heartbeat of all groups is one message for each peer, and so is
	 * the answer: 10 a second for each pair and way. */
	assert_true(c.counts.sent - sent <= IDLE_S * 10 * 6 * 3);
	assert_true(c.counts.steps - steps <= IDLE_S * 10 * 3 * 8);
	assert_true(syncs_after - syncs <= IDLE_S * 3);
}

static void no_election_storm_after_a_restart(void)
{
	uint64_t terms, syncs, changes, terms_after;

	count(&terms, &syncs, &changes);
	for (uint64_t id = 1; id <= 3; id++)
		cluster_kill(&c, id);
	cluster_start_all(&c);
	cluster_wait_leader(&c, 20000);
	cluster_run(&c, 5000);
	count(&terms_after, &syncs, &changes);
	print_message("%llu elections\n",
		      (unsigned long long)(terms_after - terms));
	assert_true(terms_after - terms < PARTITIONS * 3 / 2);
}

static void a_thousand_idle_partitions(void **state)
{
	struct cluster_options o;

	cluster_options_default(&o, 3, PARTITIONS, 1);
	cluster_init(&c, &o);
	cluster_start_all(&c);
	cluster_wait_leader(&c, 60000);
	cluster_must_put(&c, "a/b", "1", 10000);
	idle_partitions_cost_next_to_nothing();
	no_election_storm_after_a_restart();
	for (uint64_t id = 1; id <= 3; id++)
		cluster_expect(&c, id, "a/b", "1", 10000);
	cluster_done(&c);
}

/* A new disk that nobody has added, or whose state is a while coming. */
static void who_waits_to_join_sleeps(void **state)
{
	struct cluster_options o;
	uint64_t steps;

	cluster_options_default(&o, 1, 1, 1);
	cluster_init(&c, &o);
	(void)cluster_new_node(&c, 2);
	cluster_start(&c, 2); /* the other one is down */
	cluster_run(&c, 1000);
	steps = c.counts.steps;
	cluster_run(&c, IDLE_S * 1000);
	assert_true(c.counts.steps - steps <= IDLE_S * 40);
	cluster_done(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_waits_to_join_sleeps),
		cmocka_unit_test(a_thousand_idle_partitions),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
