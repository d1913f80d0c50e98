/*
 * tests/store/test_members_plan.c - which change comes next, and that the
 * steps lead where the map wants, never through a group without a quorum.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/seed.h"
#include "store/members_plan.h"

enum { IDS = 16 };

static struct members ms;
static struct raft_conf conf;
static bool up[IDS], caught_up[IDS], elsewhere[IDS];
static struct plan_facts facts;

static bool is_up(void *ctx, uint64_t id)
{
	return up[id];
}

static bool is_caught_up(void *ctx, uint64_t id)
{
	return caught_up[id];
}

static bool is_elsewhere(void *ctx, uint64_t id)
{
	return elsewhere[id];
}

/* Voters 1..n, all in the map, all up; node 1 leads. */
static void begin(uint32_t n)
{
	ms = (struct members){ .next_id = n + 1 };
	conf = (struct raft_conf){ 0 };
	facts = (struct plan_facts){ .self = 1,
				     .is_up = is_up,
				     .is_caught_up = is_caught_up };
	for (uint32_t id = 0; id < IDS; id++)
		up[id] = caught_up[id] = true;
	for (uint32_t id = 1; id <= n; id++) {
		ms.list[ms.count++] = (struct member){ .m.id = id };
		assert_int_equal(raft_conf_add(&conf, id, RAFT_VOTER), OK);
	}
}

static struct member *of(uint64_t id)
{
	for (uint32_t i = 0; i < ms.count; i++) {
		if (ms.list[i].m.id == id)
			return &ms.list[i];
	}
	return NULL;
}

static uint64_t add(uint64_t replaces)
{
	uint64_t id = ms.next_id++;

	ms.list[ms.count++] =
		(struct member){ .m.id = id, .replaces = replaces };
	if (replaces)
		of(replaces)->leaving = true;
	return id;
}

static void leave_joint(void)
{
	const struct raft_change none = { .transition = RAFT_AUTO };

	if (raft_conf_is_joint(&conf))
		assert_int_equal(raft_conf_change(&conf, &none, &conf), OK);
}

/* Take the next step; what it was, as text. */
static const char *step(void)
{
	static char text[128];
	static const char *const ops[] = { "voter", "learner", "remove" };
	struct raft_change change;
	enum plan_step s = members_plan(&ms, &conf, &facts, &change);
	int n = 0;

	if (s == PLAN_DONE)
		return "done";
	if (s == PLAN_WAIT)
		return "wait";
	for (uint32_t i = 0; i < change.count; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%s%s %lu",
			      i			    ? " + "
			      : s == PLAN_HAND_OVER ? "hand over, "
						    : "",
			      ops[change.item[i].op], change.item[i].id);
	assert_int_equal(raft_conf_change(&conf, &change, &conf), OK);
	leave_joint();
	return text;
}

static void what_is_as_wanted_stays(void **state)
{
	begin(3);
	assert_string_equal(step(), "done");
}

static void new_member_learns_before_it_votes(void **state)
{
	begin(3);
	add(0);
	caught_up[4] = false;
	assert_string_equal(step(), "learner 4");
	assert_string_equal(step(), "wait");
	caught_up[4] = true;
	assert_string_equal(step(), "voter 4");
	assert_string_equal(step(), "done");
}

static void who_stays_a_learner_is_not_promoted(void **state)
{
	begin(3);
	of(add(0))->m.stays_learner = true;
	assert_string_equal(step(), "learner 4");
	assert_string_equal(step(), "done");
	of(4)->m.stays_learner = false;
	assert_string_equal(step(), "voter 4");
}

static void dead_learner_waits(void **state)
{
	begin(3);
	add(0);
	up[4] = false;
	assert_string_equal(step(), "learner 4");
	assert_string_equal(step(), "wait");
	of(4)->leaving = true;
	assert_string_equal(step(), "remove 4");
	assert_string_equal(step(), "done");
}

static void dead_voter_is_exchanged_in_one_step(void **state)
{
	begin(3);
	up[3] = false;
	add(3);
	caught_up[4] = false;
	assert_string_equal(step(), "learner 4");
	assert_string_equal(step(), "wait"); /* 3 is kept until then */
	caught_up[4] = true;
	assert_string_equal(step(), "voter 4 + remove 3");
	assert_string_equal(step(), "done");
}

static void replacement_taken_back_lets_the_old_one_go(void **state)
{
	begin(3);
	up[3] = up[4] = false;
	add(3);
	assert_string_equal(step(), "learner 4");
	assert_string_equal(step(), "wait");
	of(4)->leaving = true;
	assert_string_equal(step(), "remove 4");
	assert_string_equal(step(), "remove 3");
	assert_string_equal(step(), "done");
}

static void replacement_replaced_again(void **state)
{
	begin(3);
	up[3] = up[4] = false;
	add(3);
	assert_string_equal(step(), "learner 4");
	add(4); /* as 5: its disk is lost too */
	assert_string_equal(step(), "remove 4");
	assert_string_equal(step(), "learner 5");
	assert_string_equal(step(), "remove 3");
	assert_string_equal(step(), "voter 5");
	assert_string_equal(step(), "done");
}

/* Outside it a node hears of no change, and may lead another group. */
static void group_0_lets_go_last(void **state)
{
	begin(4);
	memset(elsewhere, 0, sizeof(elsewhere));
	facts.is_elsewhere = is_elsewhere;
	elsewhere[2] = elsewhere[3] = true;
	of(2)->leaving = true;
	add(3);
	assert_string_equal(step(), "learner 5");
	assert_string_equal(step(), "wait");
	elsewhere[2] = false;
	assert_string_equal(step(), "remove 2");
	assert_string_equal(step(), "wait");
	elsewhere[3] = false;
	assert_string_equal(step(), "voter 5 + remove 3");
	assert_string_equal(step(), "done");
	elsewhere[6] = true;
	assert_int_equal(add(0), 6);
	of(6)->m.stays_learner = true;
	assert_string_equal(step(), "learner 6");
	of(6)->leaving = true;
	assert_string_equal(step(), "wait");
	elsewhere[6] = false;
	assert_string_equal(step(), "remove 6");
}

static void removal_that_costs_the_quorum_waits(void **state)
{
	begin(3);
	up[3] = false;
	of(2)->leaving = true;
	assert_string_equal(step(), "wait");
	up[3] = true;
	assert_string_equal(step(), "remove 2");
	assert_string_equal(step(), "done");
}

static void one_of_three_stays_until_the_learner_votes(void **state)
{
	begin(3);
	add(0);
	caught_up[4] = false;
	assert_string_equal(step(), "learner 4");
	of(2)->leaving = true;
	assert_string_equal(step(), "wait");
	up[4] = false; /* who may never vote keeps nobody */
	assert_string_equal(step(), "remove 2");
	begin(3);
	add(0);
	caught_up[4] = false;
	assert_string_equal(step(), "learner 4");
	of(2)->leaving = true;
	up[2] = false; /* the dead one is of no use */
	assert_string_equal(step(), "remove 2");
	begin(3);
	add(0);
	of(2)->leaving = true;
	assert_string_equal(step(), "learner 4");
	assert_string_equal(step(), "voter 4");
	assert_string_equal(step(), "remove 2");
	assert_string_equal(step(), "done");
}

static void dead_voter_goes_before_a_live_one(void **state)
{
	begin(4);
	up[4] = false;
	of(2)->leaving = of(4)->leaving = true;
	assert_string_equal(step(), "remove 2");
	assert_string_equal(step(), "remove 4");
	begin(3);
	up[3] = false;
	of(2)->leaving = of(3)->leaving = true;
	assert_string_equal(step(), "remove 3");
	assert_string_equal(step(), "remove 2");
	assert_string_equal(step(), "done");
}

static void promotion_that_costs_the_quorum_waits(void **state)
{
	begin(3);
	add(0);
	assert_string_equal(step(), "learner 4");
	up[2] = up[3] = false; /* no quorum: but who knows it yet? */
	assert_string_equal(step(), "wait");
}

static void leader_goes_last_and_hands_over(void **state)
{
	begin(3);
	of(1)->leaving = of(2)->leaving = true;
	assert_string_equal(step(), "remove 2");
	assert_string_equal(step(), "hand over, remove 1");
}

static void last_voter_stays(void **state)
{
	begin(2);
	of(1)->leaving = of(2)->leaving = true;
	assert_string_equal(step(), "remove 2");
	assert_string_equal(step(), "wait");
	assert_int_equal(conf.count, 1);
}

static void who_is_not_in_the_map_goes_unless_the_map_is_behind(void **state)
{
	begin(3);
	ms.count--; /* 3 is forgotten */
	assert_string_equal(step(), "remove 3");
	begin(3);
	ms.count--;
	ms.next_id = 3; /* 3 was not given yet by this map */
	assert_string_equal(step(), "done");
	begin(3);
	ms.count--;
	ms.damaged = true; /* it may be there */
	assert_string_equal(step(), "done");
}

static void joint_group_is_left_alone(void **state)
{
	struct raft_change change = { .transition = RAFT_IMPLICIT, .count = 1 };

	begin(3);
	change.item[0].op = RAFT_REMOVE;
	change.item[0].id = 3;
	assert_int_equal(raft_conf_change(&conf, &change, &conf), OK);
	add(0);
	assert_string_equal(step(), "wait");
}

/* ----------------------------------------------------------------- random */

static bool has_quorum(void)
{
	uint32_t voters;

	return plan_is_safe_without(&conf, &facts, NULL, 0, &voters);
}

/* The map changes at random; nodes die and come back. */
static void disturb(struct seed *seed)
{
	struct member *m = &ms.list[seed_below(seed, ms.count)];
	uint64_t id = 1 + seed_below(seed, IDS - 1);

	switch (seed_below(seed, 5)) {
	case 0:
		if (ms.next_id < IDS && ms.count < MEMBERS_MAX)
			add(0);
		break;
	case 1:
		if (ms.next_id < IDS && !m->leaving)
			add(m->m.id);
		break;
	case 2:
		m->leaving = true;
		break;
	case 3:
		up[id] = !up[id] || id == facts.self;
		break;
	default:
		caught_up[id] = !caught_up[id];
	}
}

static uint32_t staying(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < ms.count; i++)
		n += !ms.list[i].leaving;
	return n;
}

static void expect_as_wanted(uint64_t seed)
{
	for (uint32_t i = 0; i < ms.count; i++) {
		uint8_t role = raft_conf_role(&conf, ms.list[i].m.id);

		if (role != (ms.list[i].leaving ? 0 : RAFT_VOTER))
			fail_msg("SEED=%lu: member %lu has role %u", seed,
				 ms.list[i].m.id, role);
	}
}

static void run_random(uint64_t number)
{
	struct seed seed;
	const char *what;

	seed_init(&seed, number);
	begin(1 + (uint32_t)seed_below(&seed, 5));
	for (int i = 0; i < 60; i++) {
		disturb(&seed);
		if (!has_quorum())
			continue; /* nobody leads */
		step();
		if (!has_quorum())
			fail_msg("SEED=%lu: a step cost the quorum", number);
	}
	/* Peace: everyone lives. Some voter is to stay. */
	for (int i = 0; i < IDS; i++)
		up[i] = caught_up[i] = true;
	if (!staying())
		return;
	for (int i = 0; i < 100; i++) {
		what = step();
		if (strcmp(what, "done") == 0)
			break;
		/* The leader went: another one goes on. */
		for (uint32_t k = 0; k < conf.count; k++) {
			if (!(raft_conf_role(&conf, facts.self) & RAFT_VOTER))
				facts.self = conf.id[k];
		}
	}
	expect_as_wanted(number);
}

static void any_map_is_reached_and_the_quorum_never_lost(void **state)
{
	const char *given = getenv("SEED");

	if (given) {
		run_random(strtoull(given, NULL, 0));
		return;
	}
	for (uint64_t seed = 1; seed <= 20000; seed++)
		run_random(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_as_wanted_stays),
		cmocka_unit_test(new_member_learns_before_it_votes),
		cmocka_unit_test(who_stays_a_learner_is_not_promoted),
		cmocka_unit_test(dead_learner_waits),
		cmocka_unit_test(dead_voter_is_exchanged_in_one_step),
		cmocka_unit_test(replacement_taken_back_lets_the_old_one_go),
		cmocka_unit_test(replacement_replaced_again),
		cmocka_unit_test(group_0_lets_go_last),
		cmocka_unit_test(removal_that_costs_the_quorum_waits),
		cmocka_unit_test(one_of_three_stays_until_the_learner_votes),
		cmocka_unit_test(dead_voter_goes_before_a_live_one),
		cmocka_unit_test(promotion_that_costs_the_quorum_waits),
		cmocka_unit_test(leader_goes_last_and_hands_over),
		cmocka_unit_test(last_voter_stays),
		cmocka_unit_test(
			who_is_not_in_the_map_goes_unless_the_map_is_behind),
		cmocka_unit_test(joint_group_is_left_alone),
		cmocka_unit_test(any_map_is_reached_and_the_quorum_never_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
