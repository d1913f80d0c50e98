/*
 * tests/raft/test_limits.c - memory, full queues, bad input, determinism.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/fail_alloc.h"
#include "tests/lib/raft_group.h"

static enum err no_term(void *ctx, uint64_t index, uint64_t *term)
{
	return ERR_COMPACTED;
}

static uint32_t all_fit(void *ctx, uint64_t from, uint64_t to,
			uint64_t bytes_max, uint64_t *bytes)
{
	*bytes = to - from + 1;
	return (uint32_t)(to - from + 1);
}

static bool no_change(void *ctx, uint64_t from, uint64_t to)
{
	return false;
}

static enum err no_snapshot(void *ctx, struct raft_snapshot *s)
{
	return ERR_BUSY;
}

static struct raft_config three(void)
{
	struct raft_config c;
	uint64_t id;

	raft_config_default(&c);
	c.id = 1;
	c.restart_guard = false;
	c.prevote = false;
	c.view = (struct raft_log_view){ NULL, no_term, all_fit, no_change,
					 no_snapshot };
	for (id = 1; id <= 3; id++)
		assert_int_equal(raft_conf_add(&c.conf, id, RAFT_VOTER), OK);
	return c;
}

static void every_failing_allocation_is_told_and_leaks_nothing(void **state)
{
	struct raft_config c = three();
	struct raft *r;
	uint64_t nth;
	enum err err;

	for (nth = 1;; nth++) {
		fail_alloc_at(nth, false);
		err = raft_new(&c, &r);
		if (!fail_alloc_off())
			break;
		assert_int_equal(err, ERR_NOMEM);
	}
	assert_int_equal(err, OK);
	assert_true(nth > 5);
	raft_free(r);
	raft_free(NULL);
}

static void stepping_allocates_nothing(void **state)
{
	struct raft_config c = three();
	struct raft_accepted accepted;
	struct raft_ready rd;
	struct raft_own own;
	struct raft_msg m = { .to = 1, .from = 2, .term = 1 };
	struct raft *r;
	uint64_t before;

	assert_int_equal(raft_new(&c, &r), OK);
	before = fail_alloc_calls();
	assert_int_equal(raft_campaign(r), OK);
	raft_ready(r, &rd);
	assert_int_equal(raft_step(r, &rd.after_msgs[0], &accepted), OK);
	m.type = RAFT_MSG_VOTE_REPLY;
	assert_int_equal(raft_step(r, &m, &accepted), OK);
	assert_true(raft_take_own(r, &own));
	raft_ready(r, &rd);
	m.type = RAFT_MSG_APPEND_REPLY;
	m.index = 1;
	assert_int_equal(raft_step(r, &m, &accepted), OK);
	raft_ready(r, &rd);
	assert_int_equal(fail_alloc_calls(), before);
	raft_free(r);
}

static void senseless_configurations_are_refused(void **state)
{
	struct raft_config good = three(), c;
	struct raft *r;

#define REFUSED(change)                                                        \
	do {                                                                   \
		c = good;                                                      \
		change;                                                        \
		assert_int_equal(raft_new(&c, &r), ERR_INVALID);               \
	} while (0)
	REFUSED(c.id = 0);
	REFUSED(c.heartbeat_ticks = 0);
	REFUSED(c.election_ticks = c.heartbeat_ticks);
	REFUSED(c.members_max = 2);
	REFUSED(c.members_max = RAFT_MEMBERS_MAX + 1);
	REFUSED(c.inflight_max = 0);
	REFUSED(c.out_max = 0);
	REFUSED(c.first_index = 0);
	REFUSED(c.first_index = 5);
	REFUSED(c.last_index = 3; c.applied = 4; c.last_term = 1);
	REFUSED(c.last_term = 1);
	REFUSED(c.view.fit = NULL);
	REFUSED(c.read_mode = RAFT_READ_LEASE; c.check_quorum = false);
	REFUSED(c.conf.role[0] = 64);
#undef REFUSED
	/* a commit past the log's end: the unsynced end was lost */
	c = good;
	c.commit = 9;
	assert_int_equal(raft_new(&c, &r), OK);
	raft_free(r);
}

static void full_output_refuses_input_without_a_trace(void **state)
{
	struct raft_config c = three();
	struct raft_accepted accepted;
	struct raft_status before, after;
	struct raft_ready rd;
	struct raft_msg m = {
		.type = RAFT_MSG_VOTE, .to = 1, .from = 2, .term = 1
	};
	struct raft *r;
	enum err err = OK;
	int i;

	c.out_max = 8;
	c.check_quorum = false;
	assert_int_equal(raft_new(&c, &r), OK);
	for (i = 0; i < 1000 && !err; i++)
		err = raft_step(r, &m, &accepted);
	assert_int_equal(err, ERR_FULL);
	assert_true(i <= 16);
	raft_status(r, &before);
	m.term = 77;
	assert_int_equal(raft_step(r, &m, &accepted), ERR_FULL);
	assert_int_equal(raft_tick(r), ERR_FULL);
	assert_int_equal(raft_campaign(r), ERR_FULL);
	assert_int_equal(raft_read(r, 1), ERR_FULL);
	raft_status(r, &after);
	assert_int_equal(before.term, after.term);
	assert_int_equal(before.vote, after.vote);
	assert_int_equal(before.role, after.role);
	assert_int_equal(before.queued, after.queued);
	assert_int_equal(before.election_elapsed, after.election_elapsed);
	raft_ready(r, &rd);
	assert_int_equal(raft_step(r, &m, &accepted), OK);
	raft_free(r);
}

static void reads_are_bounded(void **state)
{
	struct rg_options o;
	struct rg_node *n;
	uint32_t i, taken = 0;
	struct rg g;

	rg_options_default(&o, 3);
	o.config.reads_max = 10;
	rg_init(&g, &o, 1);
	n = &g.node[1];
	rg_campaign(n);
	rg_settle(&g);
	assert_int_equal(n->role, RAFT_LEADER);
	while (g.pool_count)
		rg_drop(&g, 0);
	for (i = 0; i < 50; i++)
		taken += rg_read(n);
	assert_int_equal(taken, 10);
	rg_settle(&g);
	assert_int_equal(g.count.reads, 10);
	rg_done(&g);
}

static void malformed_messages_are_refused(void **state)
{
	const uint64_t falling[] = { 2, 1 }, rising[] = { 1, 9 };
	const struct raft_snapshot bad = { .index = 0, .term = 1 };
	struct raft_config c = three();
	struct raft_accepted accepted;
	struct raft_msg good = {
		.type = RAFT_MSG_APPEND, .to = 1, .from = 2, .term = 2
	};
	struct raft_msg m;
	struct raft *r;

	assert_int_equal(raft_new(&c, &r), OK);
#define REFUSED(change)                                                        \
	do {                                                                   \
		m = good;                                                      \
		change;                                                        \
		assert_int_equal(raft_step(r, &m, &accepted), ERR_INVALID);    \
	} while (0)
	REFUSED(m.type = 0);
	REFUSED(m.type = RAFT_MSG_TYPE_MAX);
	REFUSED(m.to = 2);
	REFUSED(m.from = 0);
	REFUSED(m.from = 1);
	REFUSED(m.term = 0);
	REFUSED(m.term = UINT64_MAX);
	REFUSED(m.index = UINT64_MAX);
	REFUSED(m.commit = UINT64_MAX);
	REFUSED(m.log_term = 3);
	REFUSED(m.entry_count = 2);
	REFUSED(m.entry_count = 2; m.entry_terms = falling);
	REFUSED(m.entry_count = 2; m.entry_terms = rising);
	REFUSED(m.type = RAFT_MSG_SNAPSHOT);
	REFUSED(m.type = RAFT_MSG_SNAPSHOT; m.snapshot = &bad);
#undef REFUSED
	m = good;
	m.type = RAFT_MSG_APPEND_REPLY;
	m.from = 9;
	assert_int_equal(raft_step(r, &m, &accepted), ERR_FOREIGN);
	raft_free(r);
}

/* Any bytes in a message's fields: an error or a step, never an abort. */
static void random_messages_reach_no_check(void **state)
{
	const char *from_env = getenv("SEED");
	uint64_t number = from_env ? strtoull(from_env, NULL, 0) : 1;
	struct raft_config c = three();
	struct raft_accepted accepted;
	struct raft_snapshot snap = { 0 };
	uint64_t terms[4];
	struct raft_ready rd;
	struct raft_own own;
	struct raft *r;
	struct seed s;
	int i;

	seed_init(&s, number);
	assert_int_equal(raft_new(&c, &r), OK);
	for (i = 0; i < 200000; i++) {
		struct raft_msg m = {
			.type = (enum raft_msg_type)seed_below(&s, 15),
			.reject = seed_below(&s, 2),
			.force = seed_below(&s, 2),
			.to = seed_below(&s, 40) ? 1 : 2,
			.from = seed_below(&s, 5),
			.term = 1 + (uint64_t)i / 500 + seed_below(&s, 3),
			.index = seed_below(&s, 6),
			.log_term = seed_below(&s, 3),
			.commit = seed_below(&s, 6),
			.hint = seed_below(&s, 6),
			.context = seed_below(&s, 6),
			.stamp_ns = seed_below(&s, 6),
			.entry_terms = terms,
			.entry_count = (uint32_t)seed_below(&s, 4)
		};
		uint32_t k;

		for (k = 0; k < 4; k++)
			terms[k] = m.log_term + k * seed_below(&s, 2);
		snap.index = seed_below(&s, 8);
		snap.term = seed_below(&s, 4);
		snap.conf = c.conf;
		snap.conf.role[seed_below(&s, 3)] = (uint8_t)seed_below(&s, 5);
		m.snapshot = seed_below(&s, 8) ? &snap : NULL;
		(void)!raft_step(r, &m, &accepted); /* any answer will do */
		while (raft_take_own(r, &own))
			;
		if (seed_below(&s, 10) == 0)
			(void)!raft_tick(r);
		while (raft_take_own(r, &own))
			;
		raft_ready(r, &rd);
		if (rd.has_point)
			raft_persisted(r, &rd.point);
		if (rd.apply_from <= rd.apply_to)
			raft_applied(r, rd.apply_to);
		while (raft_take_own(r, &own))
			;
	}
	raft_free(r);
}

/* Twice the same inputs: twice the same outputs, bit for bit. */
static void same_inputs_give_same_outputs(void **state)
{
	uint64_t hash[2] = { 0, 0 };
	int run;

	for (run = 0; run < 2; run++) {
		struct rg_options o;
		struct rg g;
		int i;

		rg_options_default(&o, 5);
		rg_init(&g, &o, 99);
		for (i = 0; i < 3000; i++) {
			struct rg_node *n = &g.node[1 + i % 5];

			rg_tick(n);
			if (i % 3 == 0 && n->role == RAFT_LEADER)
				(void)rg_propose(n); /* may be refused */
			(void)rg_sync(n); /* nothing to write is fine */
			if (g.pool_count)
				rg_deliver(&g,
					   (uint32_t)seed_below(&g.seed,
								g.pool_count),
					   i % 17 == 0);
			hash[run] = hash[run] * 31 + rg_term(n) * 7 +
				    rg_commit(n) + g.pool_count;
		}
		assert_true(g.committed_last > 3);
		rg_done(&g);
	}
	assert_true(hash[0] == hash[1]);
}

/* docs/testing.md, fault 20 */
static void idle_groups_cost_next_to_nothing(void **state)
{
	enum { GROUPS = 1000 };
	struct rg_options o;
	struct rg *g = calloc(GROUPS, sizeof(*g));
	uint64_t elections = 0;
	int i, k;

	assert_non_null(g);
	rg_options_default(&o, 1);
	o.config.prevote = true;
	for (i = 0; i < GROUPS; i++) {
		rg_init(&g[i], &o, (uint64_t)i);
		g[i].bulk_disk = true;
	}
	for (k = 0; k < 100; k++) {
		for (i = 0; i < GROUPS; i++)
			rg_tick(&g[i].node[1]);
	}
	for (i = 0; i < GROUPS; i++) {
		elections += g[i].count.elections;
		rg_done(&g[i]);
	}
	assert_int_equal(elections, GROUPS);
	free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			every_failing_allocation_is_told_and_leaks_nothing),
		cmocka_unit_test(stepping_allocates_nothing),
		cmocka_unit_test(senseless_configurations_are_refused),
		cmocka_unit_test(full_output_refuses_input_without_a_trace),
		cmocka_unit_test(reads_are_bounded),
		cmocka_unit_test(malformed_messages_are_refused),
		cmocka_unit_test(random_messages_reach_no_check),
		cmocka_unit_test(same_inputs_give_same_outputs),
		cmocka_unit_test(idle_groups_cost_next_to_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
