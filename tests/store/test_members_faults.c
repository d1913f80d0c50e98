/*
 * tests/store/test_members_faults.c - membership changes and what goes wrong
 * beside them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "raft/raft.h"
#include "store/store_internal.h"
#include "tests/lib/cluster_rig.h"

enum { READS_BEFORE = 16, READS_MAX = 512 };

static struct cluster c;

static void begin(uint32_t founders, uint64_t seed)
{
	struct cluster_options o;
	const char *given = getenv("SEED");

	cluster_options_default(&o, founders, 1,
				given ? strtoull(given, NULL, 0) : seed);
	cluster_init(&c, &o);
	cluster_start_all(&c);
	cluster_wait_leader(&c, 20000);
	cluster_run(&c, 500);
}

static int teardown(void **state)
{
	cluster_done(&c);
	return 0;
}

static uint64_t leader(void)
{
	return cluster_wait_leader(&c, 20000);
}

static uint64_t term_of(uint64_t id)
{
	struct store_partition_status st;

	store_partition_status(cluster_node(&c, id)->store, 0, &st);
	return st.term;
}

static enum err ask(uint64_t through, enum store_change_kind kind,
		    const char *name)
{
	struct store_change ch = { .kind = kind };

	snprintf(ch.member.name, sizeof(ch.member.name), "%s", name);
	if (kind == STORE_MEMBER_ADD)
		snprintf(ch.member.peer, sizeof(ch.member.peer), "%s:1", name);
	return cluster_change(&c, through, &ch);
}

static void must(enum store_change_kind kind, const char *name)
{
	enum err err = ERR_BUSY;

	for (int i = 0; i < 200 && err; i++) {
		err = ask(leader(), kind, name);
		if (err)
			cluster_run(&c, 50);
	}
	assert_int_equal(err, OK);
}

/* v voter, l learner, + leaving, - not there; as node sees ids 1..n. */
static void roles_at(uint64_t node, uint32_t n, char *roles)
{
	struct store_member_status list[RAFT_MEMBERS_MAX];
	uint32_t count = store_members(cluster_node(&c, node)->store, list,
				       RAFT_MEMBERS_MAX);

	memset(roles, '-', n);
	roles[n] = 0;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t id = list[i].member.id;

		if (id <= n)
			roles[id - 1] = list[i].leaving	  ? '+'
					: list[i].learner ? 'l'
							  : 'v';
	}
}

static bool all_see(const char *roles)
{
	uint32_t n = (uint32_t)strlen(roles);
	char seen[CLUSTER_NODES_MAX + 1];

	for (uint64_t id = 1; id <= c.count; id++) {
		if (!cluster_runs(&c, id) || cluster_node(&c, id)->removed)
			continue;
		roles_at(id, n, seen);
		if (strcmp(seen, roles))
			return false;
	}
	return true;
}

/* Every running member sees the same. */
static void expect_roles(const char *roles, uint64_t ms)
{
	uint64_t until_ns = c.now_ns + ms * 1000000;

	while (!all_see(roles) && c.now_ns < until_ns)
		cluster_run(&c, 50);
	for (uint64_t id = 1; id <= c.count && !all_see(roles); id++) {
		char seen[CLUSTER_NODES_MAX + 1];

		roles_at(id, (uint32_t)strlen(roles), seen);
		print_error("n%llu sees %s\n", (unsigned long long)id, seen);
	}
	assert_true(all_see(roles));
}

static uint64_t other_leader(uint64_t old)
{
	for (int i = 0; i < 300; i++) {
		uint64_t now = cluster_leader(&c, 0);

		if (now && now != old &&
		    store_ready(cluster_node(&c, now)->store))
			return now;
		cluster_run(&c, 100);
	}
	fail_msg("no other leader");
	return 0;
}

/* ------------------------------------------------- leaders in two terms -- */

/*
 * The leader wants a change and is cut off `ms` later, when the others may have
 * nothing, the wish or the change of it; the next one is asked for another.
 */
static void two_leaders_change(enum store_change_kind first,
			       enum store_change_kind second, uint64_t ms)
{
	char name[2][8] = { "n6", "n7" };
	uint64_t old, now;
	enum err err;

	begin(5, 100 + ms);
	old = leader();
	if (first == STORE_MEMBER_REMOVE)
		snprintf(name[0], 8, "n%u", (unsigned)(old % 5 + 1));
	err = ask(old, first, name[0]);
	assert_int_equal(err, OK);
	cluster_run(&c, ms);
	cluster_isolate(&c, old);
	now = other_leader(old);
	if (second == STORE_MEMBER_REMOVE)
		snprintf(name[1], 8, "n%u", (unsigned)(old == 1 ? 5 : old - 1));
	for (int i = 0; i < 400; i++) {
		err = ask(now, second, name[1]);
		if (!err || err == ERR_PRECONDITION)
			break;
		cluster_run(&c, 50);
		now = other_leader(old);
	}
	assert_int_equal(err, OK);
	cluster_must_put(&c, "a", "1", 20000);
	cluster_heal_all(&c);
	for (int i = 0; i < 2; i++) {
		if ((i ? second : first) == STORE_MEMBER_REMOVE)
			cluster_node(&c, (uint64_t)(name[i][1] - '0'))
				->removed = true;
	}
	cluster_run(&c, 10000);
	cluster_must_put(&c, "b", "2", 20000);
	cluster_expect_same(&c, 20000);
	cluster_expect(&c, leader(), "a", "1", 10000);
}

static void changes_of_two_leaders_end_in_one_membership(void **state)
{
	static const enum store_change_kind kinds[][2] = {
		{ STORE_MEMBER_ADD, STORE_MEMBER_REMOVE },
		{ STORE_MEMBER_REMOVE, STORE_MEMBER_ADD },
		{ STORE_MEMBER_ADD, STORE_MEMBER_ADD },
		{ STORE_MEMBER_REMOVE, STORE_MEMBER_REMOVE },
	};

	for (int k = 0; k < 4; k++) {
		for (uint64_t ms = 0; ms <= 8; ms += 2) {
			char roles[8] = "vvvvv--", seen[8];

			two_leaders_change(kinds[k][0], kinds[k][1], ms);
			for (uint64_t id = 1; id <= 5; id++) {
				if (cluster_node(&c, id)->removed)
					roles[id - 1] = '-';
			}
			roles_at(leader(), 7, seen);
			memcpy(roles + 5, seen + 5, 2); /* learners or none */
			expect_roles(roles, 20000);
			if (k < 3 || ms < 8)
				cluster_done(&c);
		}
	}
}

/* -------------------------------------------------------- who is removed - */

static struct {
	struct store_barrier barrier[READS_MAX];
	uint32_t asked, told, well;
} reads;

static void on_told(struct store_barrier *b, enum err err)
{
	reads.told++;
	reads.well += err == OK;
}

static void set_changed(struct store_change *ch)
{
	*(bool *)ch->user = true;
}

static void ask_read(struct cluster_node *n)
{
	struct store_barrier *b = &reads.barrier[reads.asked++];
	enum err err;

	b->done = on_told;
	(void)cluster_awake(&c, n->id);
	err = store_barrier(n->store, 0, STORE_LINEARIZABLE, b);
	if (err != ERR_PENDING)
		on_told(b, err);
	cluster_run(&c, 1 + reads.asked / 10);
}

/* All that it was asked before, meanwhile and afterwards gets an answer. */
static void reads_at_a_leader_that_removes_itself_end(void **state)
{
	struct store_change ch = { .kind = STORE_MEMBER_REMOVE,
				   .done = set_changed };
	struct cluster_node *n;
	bool done = false;

	begin(3, 10);
	memset(&reads, 0, sizeof(reads));
	n = cluster_node(&c, leader());
	while (reads.asked < READS_BEFORE)
		ask_read(n);
	ch.user = &done;
	snprintf(ch.member.name, sizeof(ch.member.name), "%s", n->name);
	assert_int_equal(store_change(n->store, &ch), OK);
	while (reads.asked < READS_MAX)
		ask_read(n);
	n->removed = true;
	cluster_run(&c, 10000);
	assert_true(done);
	assert_int_equal(ch.err, OK);
	assert_int_equal(reads.told, reads.asked);
	assert_true(reads.well >= READS_BEFORE);
	assert_true(reads.well < reads.told);
	assert_int_not_equal(leader(), n->id);
	cluster_must_put(&c, "k", "1", 10000);
}

/* It never heard that it was removed. */
static void a_removed_node_with_an_old_configuration_deposes_nobody(void **s)
{
	uint64_t gone, at, term;
	char roles[4] = "vvv";

	begin(3, 11);
	gone = leader() % 3 + 1;
	cluster_isolate(&c, gone);
	must(STORE_MEMBER_REMOVE, cluster_node(&c, gone)->name);
	cluster_node(&c, gone)->removed = true;
	roles[gone - 1] = '-';
	expect_roles(roles, 30000);
	cluster_run(&c, 5000); /* it stands for election again and again */
	at = leader();
	term = term_of(at);
	cluster_heal_all(&c);
	for (int i = 0; i < 20; i++) {
		cluster_run(&c, 1000);
		cluster_must_put(&c, "k", "1", 1000);
	}
	assert_int_equal(leader(), at);
	assert_int_equal(term_of(at), term);
	/* Started anew it has its old configuration still. */
	cluster_kill(&c, gone);
	cluster_start(&c, gone);
	cluster_run(&c, 20000);
	assert_int_equal(leader(), at);
	assert_int_equal(term_of(at), term);
	cluster_expect_same(&c, 10000);
}

static const struct raft *raft_at(uint64_t id)
{
	return cluster_node(&c, id)->store->partitions[0].raft;
}

static uint64_t pending_change(uint64_t id)
{
	struct raft_status st;

	raft_status(raft_at(id), &st);
	return st.pending_change;
}

static uint64_t last_index(uint64_t id)
{
	struct raft_status st;

	raft_status(raft_at(id), &st);
	return st.last_index;
}

/*
 * Whoever has the second change in its log goes by the first, also when it is
 * killed the moment it has it: with the membership before both it could be
 * elected by a majority that none of the newer ones meets.
 */
static void a_restart_brings_no_older_membership_back(void **state)
{
	for (int victim = 0; victim < 3; victim++) {
		uint64_t at, x, first, second;

		begin(3, 40 + (uint64_t)victim);
		at = leader();
		x = (at + (uint64_t)victim) % 3 + 1; /* at last the leader */
		(void)cluster_new_node(&c, 4);
		assert_int_equal(ask(at, STORE_MEMBER_ADD, "n4"), OK);
		cluster_start(&c, 4);
		for (first = 0; !first; cluster_step(&c, CLUSTER_NEVER))
			if (pending_change(at) > 2)
				first = pending_change(at);
		for (second = 0; !second; cluster_step(&c, CLUSTER_NEVER))
			if (pending_change(at) > first)
				second = pending_change(at);
		while (last_index(x) < second)
			cluster_step(&c, CLUSTER_NEVER);
		cluster_run(&c, 1); /* from memory to the disk */
		cluster_kill(&c, x);
		cluster_start(&c, x);
		assert_true(last_index(x) >= second);
		assert_int_not_equal(raft_conf_role(raft_conf(raft_at(x)), 4),
				     0);
		cluster_expect_same(&c, 20000);
		cluster_done(&c);
	}
	begin(3, 40);
}

static void lead(uint32_t partition, uint64_t id)
{
	for (int i = 0; i < 100 && cluster_leader(&c, partition) != id; i++) {
		(void)ask(id, STORE_TRANSFER, cluster_node(&c, id)->name);
		cluster_run(&c, 500);
	}
	assert_int_equal(cluster_leader(&c, partition), id);
}

/*
 * Node 3 hears from who leads group 0 that 4 is gone, and from nobody that 4
 * left group 1. Should it have to stand there, it needs 4's vote: both may
 * talk to each other until node 3 has caught up.
 */
static void a_removed_node_is_heard_while_a_group_here_has_it(void **state)
{
	struct cluster_options o;

	cluster_options_default(&o, 4, 2, 30);
	cluster_init(&c, &o);
	cluster_start_all(&c);
	cluster_wait_leader(&c, 20000);
	lead(0, 1);
	/* leaders are spread: group 1 goes to node 2 */
	for (int i = 0; i < 200 && cluster_leader(&c, 1) != 2; i++)
		cluster_run(&c, 500);
	assert_int_equal(cluster_leader(&c, 0), 1);
	assert_int_equal(cluster_leader(&c, 1), 2);
	cluster_cut(&c, 2, 3);
	assert_int_equal(ask(1, STORE_MEMBER_REMOVE, "n4"), OK);
	cluster_run(&c, 600);
	assert_int_equal(store_standing(cluster_node(&c, 1)->store, 4),
			 STORE_REMOVED);
	assert_int_equal(store_standing(cluster_node(&c, 3)->store, 4),
			 STORE_UNKNOWN);
	assert_true(cluster_node(&c, 3)->knows[4]);
	assert_false(cluster_node(&c, 1)->knows[4]);
	cluster_kill(&c, 3);
	cluster_start(&c, 3);
	cluster_run(&c, 300);
	assert_int_equal(store_standing(cluster_node(&c, 3)->store, 4),
			 STORE_UNKNOWN);
	cluster_heal_all(&c);
	cluster_run(&c, 5000);
	assert_int_equal(store_standing(cluster_node(&c, 3)->store, 4),
			 STORE_REMOVED);
	assert_false(cluster_node(&c, 3)->knows[4]);
}

static void begin_groups(uint32_t founders, uint32_t groups, uint64_t seed)
{
	struct cluster_options o;

	cluster_options_default(&o, founders, groups, seed);
	cluster_init(&c, &o);
	cluster_start_all(&c);
	cluster_wait_leader(&c, 20000);
	lead(0, 1);
}

/* Leaders are spread: group g goes to id in the end. */
static void await_leader(uint32_t group, uint64_t id)
{
	for (int i = 0; i < 400 && cluster_leader(&c, group) != id; i++)
		cluster_run(&c, 500);
	assert_int_equal(cluster_leader(&c, group), id);
	assert_int_equal(cluster_leader(&c, 0), 1);
}

/*
 * Node 5 is in group 0 and not yet in group 1, whose leader it does not reach.
 * So it cannot know whether that leader, which is to go, has left group 1; let
 * go by group 0 it would hear of nothing any more, and lead group 1 for ever.
 */
static void who_is_in_no_group_yet_lets_nobody_go(void **state)
{
	begin_groups(4, 2, 31);
	await_leader(1, 2);
	cluster_cut(&c, 1, 2);
	(void)cluster_new_node(&c, 5);
	cluster_cut(&c, 5, 2);
	assert_int_equal(ask(1, STORE_MEMBER_ADD, "n5"), OK);
	cluster_start(&c, 5);
	for (int i = 0; i < 100; i++) {
		if (raft_conf_role(raft_conf(raft_at(1)), 5) == RAFT_VOTER)
			break;
		cluster_run(&c, 100);
	}
	assert_int_equal(raft_conf_role(raft_conf(raft_at(1)), 5), RAFT_VOTER);
	lead(0, 5);
	assert_int_equal(cluster_leader(&c, 1), 2);
	assert_int_equal(ask(5, STORE_MEMBER_REMOVE, "n2"), OK);
	cluster_run(&c, 3000);
	assert_int_equal(raft_conf_role(raft_conf(raft_at(5)), 2), RAFT_VOTER);
	cluster_heal_all(&c);
	cluster_node(&c, 2)->removed = true;
	expect_roles("v-vvv", 20000);
	cluster_expect_same(&c, 20000);
	assert_int_not_equal(cluster_leader(&c, 1), 2);
}

/*
 * Node 3 was down while 5 joined and came to lead group 4. It hears of that in
 * group 0, not in group 4, whose leader it does not reach: what it has of group
 * 4 is from before.
 */
static void who_lags_in_a_group_lets_nobody_go(void **state)
{
	begin_groups(4, 5, 32);
	cluster_kill(&c, 3);
	(void)cluster_new_node(&c, 5);
	must(STORE_MEMBER_ADD, "n5");
	cluster_start(&c, 5);
	expect_roles("vvvvv", 20000);
	await_leader(4, 5);
	cluster_cut(&c, 3, 5);
	cluster_start(&c, 3);
	expect_roles("vvvvv", 20000);
	lead(0, 3);
	assert_int_equal(cluster_leader(&c, 4), 5);
	assert_int_equal(ask(3, STORE_MEMBER_REMOVE, "n5"), OK);
	cluster_run(&c, 500);
	assert_int_equal(raft_conf_role(raft_conf(raft_at(3)), 5), RAFT_VOTER);
	cluster_heal_all(&c);
	cluster_node(&c, 5)->removed = true;
	expect_roles("vvvv-", 20000);
	cluster_expect_same(&c, 20000);
	assert_int_not_equal(cluster_leader(&c, 4), 5);
}

/* ----------------------------------------------------------------- asking */

static void a_change_may_be_asked_of_any_node(void **state)
{
	uint64_t at;

	begin(3, 20);
	at = leader();
	(void)cluster_new_node(&c, 4);
	assert_int_equal(ask(at % 3 + 1, STORE_MEMBER_ADD, "n4"), OK);
	cluster_start(&c, 4);
	expect_roles("vvvv", 30000);
	assert_int_equal(ask((at + 1) % 3 + 1, STORE_MEMBER_REMOVE, "n4"), OK);
	cluster_node(&c, 4)->removed = true;
	expect_roles("vvv-", 30000);
	assert_int_equal(ask(at % 3 + 1, STORE_MEMBER_REMOVE, "n4"),
			 ERR_NOT_FOUND);
}

static void a_full_map_refuses_and_has_room_again(void **state)
{
	char name[16];
	enum err err = OK;
	uint32_t n = 3;

	begin(3, 21);
	while (!err && n <= RAFT_MEMBERS_MAX) {
		snprintf(name, sizeof(name), "x%u", n + 1);
		for (int i = 0; i < 100; i++) {
			err = ask(leader(), STORE_MEMBER_ADD, name);
			if (err != ERR_BUSY)
				break;
			cluster_run(&c, 50);
		}
		n += !err;
	}
	assert_int_equal(err, ERR_FULL);
	assert_true(n > 10);
	cluster_run(&c, 3000);
	cluster_must_put(&c, "k", "1", 10000);
	must(STORE_MEMBER_REMOVE, "x4");
	cluster_run(&c, 3000);
	must(STORE_MEMBER_ADD, name);
	assert_int_equal(ask(leader(), STORE_MEMBER_ADD, "one_more"), ERR_FULL);
}

#define FAULT(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAULT(changes_of_two_leaders_end_in_one_membership),
		FAULT(reads_at_a_leader_that_removes_itself_end),
		FAULT(a_removed_node_with_an_old_configuration_deposes_nobody),
		FAULT(a_restart_brings_no_older_membership_back),
		FAULT(a_removed_node_is_heard_while_a_group_here_has_it),
		FAULT(who_is_in_no_group_yet_lets_nobody_go),
		FAULT(who_lags_in_a_group_lets_nobody_go),
		FAULT(a_change_may_be_asked_of_any_node),
		FAULT(a_full_map_refuses_and_has_room_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
