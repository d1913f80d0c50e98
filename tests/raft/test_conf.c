/*
 * tests/raft/test_conf.c - membership as data, without any node.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/seed.h"
#include "raft/raft.h"

/* "v1 v2 l3" -> change; auto unless said otherwise */
static struct raft_change change_of(const char *text)
{
	struct raft_change c = { 0 };

	for (; *text; text++) {
		if (*text == ' ')
			continue;
		c.item[c.count].op = *text == 'v'   ? RAFT_ADD_VOTER
				     : *text == 'l' ? RAFT_ADD_LEARNER
				     : *text == 'r' ? RAFT_REMOVE
						    : RAFT_UPDATE;
		c.item[c.count++].id = (uint64_t)(*++text - '0');
	}
	return c;
}

static struct raft_conf voters(uint64_t n)
{
	struct raft_conf c = { 0 };
	uint64_t i;

	for (i = 1; i <= n; i++)
		assert_int_equal(raft_conf_add(&c, i, RAFT_VOTER), OK);
	return c;
}

static enum err apply(struct raft_conf *c, const char *text)
{
	struct raft_change change = change_of(text);

	return raft_conf_change(c, &change, c);
}

static void one_voter_changes_without_joint(void **state)
{
	struct raft_conf c = voters(3);

	assert_int_equal(apply(&c, "v4"), OK);
	assert_false(raft_conf_is_joint(&c));
	assert_int_equal(raft_conf_role(&c, 4), RAFT_VOTER);
	assert_int_equal(apply(&c, "r2"), OK);
	assert_int_equal(raft_conf_role(&c, 2), 0);
	assert_int_equal(c.count, 3);
	assert_int_equal(apply(&c, "u1"), OK);
	assert_int_equal(apply(&c, "r9"), OK); /* not there: nothing */
	assert_int_equal(c.count, 3);
}

static void several_changes_go_through_a_joint_configuration(void **state)
{
	struct raft_conf c = voters(3);

	assert_int_equal(apply(&c, "v4 r1"), OK);
	assert_true(raft_conf_is_joint(&c));
	assert_true(c.auto_leave);
	assert_int_equal(raft_conf_role(&c, 1), RAFT_VOTER_OUT);
	assert_int_equal(raft_conf_role(&c, 2), RAFT_VOTER | RAFT_VOTER_OUT);
	assert_int_equal(raft_conf_role(&c, 4), RAFT_VOTER);
	/* nothing but leaving fits now */
	assert_int_equal(apply(&c, "v5"), ERR_INVALID);
	assert_int_equal(apply(&c, "v5 v6"), ERR_INVALID);
	assert_int_equal(apply(&c, ""), OK);
	assert_false(raft_conf_is_joint(&c));
	assert_false(c.auto_leave);
	assert_int_equal(raft_conf_role(&c, 1), 0);
	assert_int_equal(apply(&c, ""), ERR_INVALID);
}

static void demoted_voter_is_learner_only_after_leaving(void **state)
{
	struct raft_conf c = voters(3);

	assert_int_equal(apply(&c, "l3 v4"), OK);
	assert_int_equal(raft_conf_role(&c, 3),
			 RAFT_VOTER_OUT | RAFT_LEARNER_NEXT);
	assert_int_equal(apply(&c, ""), OK);
	assert_int_equal(raft_conf_role(&c, 3), RAFT_LEARNER);
	assert_int_equal(apply(&c, "v3"), OK);
	assert_int_equal(raft_conf_role(&c, 3), RAFT_VOTER);
}

static void explicit_joint_is_not_left_by_itself(void **state)
{
	struct raft_change change = change_of("l2");
	struct raft_conf c = voters(3);

	change.transition = RAFT_EXPLICIT;
	assert_int_equal(raft_conf_change(&c, &change, &c), OK);
	assert_true(raft_conf_is_joint(&c));
	assert_false(c.auto_leave);
}

static void last_voter_is_not_removed(void **state)
{
	struct raft_conf c = voters(1), before = c;

	assert_int_equal(apply(&c, "r1"), ERR_INVALID);
	assert_int_equal(apply(&c, "l1"), ERR_INVALID);
	assert_int_equal(apply(&c, "r1 l2"), ERR_INVALID);
	assert_memory_equal(&c, &before, sizeof(c));
	assert_int_equal(apply(&c, "r1 v2"), OK);
}

static void too_many_members_are_refused(void **state)
{
	struct raft_conf c = voters(RAFT_MEMBERS_MAX);
	struct raft_change change = { .count = 1 };

	change.item[0].op = RAFT_ADD_LEARNER;
	change.item[0].id = 99;
	assert_int_equal(raft_conf_change(&c, &change, &c), ERR_FULL);
	assert_int_equal(raft_conf_add(&c, 99, RAFT_VOTER), ERR_FULL);
	assert_int_equal(raft_conf_add(&c, 0, RAFT_VOTER), ERR_INVALID);
	change.count = RAFT_CHANGES_MAX + 1;
	assert_int_equal(raft_conf_change(&c, &change, &c), ERR_INVALID);
}

static void malformed_configurations_are_found(void **state)
{
	struct raft_conf c = voters(3);

	assert_int_equal(raft_conf_check(&c), OK);
	c.id[1] = 1;
	assert_int_equal(raft_conf_check(&c), ERR_INVALID);
	c = voters(3);
	c.role[0] = RAFT_VOTER | RAFT_LEARNER;
	assert_int_equal(raft_conf_check(&c), ERR_INVALID);
	c.role[0] = 0;
	assert_int_equal(raft_conf_check(&c), ERR_INVALID);
	c.role[0] = RAFT_VOTER | RAFT_LEARNER_NEXT;
	assert_int_equal(raft_conf_check(&c), ERR_INVALID);
	c = voters(3);
	c.auto_leave = true;
	assert_int_equal(raft_conf_check(&c), ERR_INVALID);
	c.count = RAFT_MEMBERS_MAX + 1;
	assert_int_equal(raft_conf_check(&c), ERR_INVALID);
}

/* Do every majority of a and every majority of b share a node? By trying. */
static bool majorities_meet(const struct raft_conf *a,
			    const struct raft_conf *b)
{
	unsigned sa, sb, id, na = 0, nb = 0;
	bool meet = true;

	for (id = 1; id <= 6; id++) {
		na += (raft_conf_role(a, id) & RAFT_VOTER) != 0;
		nb += (raft_conf_role(b, id) & RAFT_VOTER) != 0;
	}
	for (sa = 0; sa < 64; sa++) {
		for (sb = 0; sb < 64; sb++) {
			unsigned ca = 0, cb = 0;

			for (id = 1; id <= 6; id++) {
				unsigned bit = 1u << (id - 1);

				ca += (sa & bit) &&
				      (raft_conf_role(a, id) & RAFT_VOTER);
				cb += (sb & bit) &&
				      (raft_conf_role(b, id) & RAFT_VOTER);
			}
			if (ca > na / 2 && cb > nb / 2 && !(sa & sb))
				meet = false;
		}
	}
	return meet;
}

static void simple_changes_keep_majorities_overlapping(void **state)
{
	struct raft_conf c = voters(3);
	struct seed s;
	int i;

	seed_init(&s, 7);
	for (i = 0; i < 300; i++) {
		struct raft_change change = { .count = 1 };
		struct raft_conf next;

		change.item[0].op = (enum raft_change_op)seed_below(&s, 3);
		change.item[0].id = 1 + seed_below(&s, 6);
		if (raft_conf_change(&c, &change, &next))
			continue;
		assert_true(majorities_meet(&c, &next));
		assert_int_equal(raft_conf_check(&next), OK);
		c = next;
	}
}

static void random_changes_keep_configurations_sound(void **state)
{
	struct raft_conf c = voters(3);
	struct seed s;
	int i;

	seed_init(&s, 8);
	for (i = 0; i < 20000; i++) {
		struct raft_change change = { 0 };
		uint32_t k;

		change.transition = (enum raft_transition)seed_below(&s, 3);
		change.count = (uint32_t)seed_below(&s, 5);
		for (k = 0; k < change.count; k++) {
			change.item[k].op =
				(enum raft_change_op)seed_below(&s, 4);
			change.item[k].id = seed_below(&s, 12);
		}
		if (raft_conf_change(&c, &change, &c) == OK)
			assert_int_equal(raft_conf_check(&c), OK);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_voter_changes_without_joint),
		cmocka_unit_test(
			several_changes_go_through_a_joint_configuration),
		cmocka_unit_test(demoted_voter_is_learner_only_after_leaving),
		cmocka_unit_test(explicit_joint_is_not_left_by_itself),
		cmocka_unit_test(last_voter_is_not_removed),
		cmocka_unit_test(too_many_members_are_refused),
		cmocka_unit_test(malformed_configurations_are_found),
		cmocka_unit_test(simple_changes_keep_majorities_overlapping),
		cmocka_unit_test(random_changes_keep_configurations_sound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
