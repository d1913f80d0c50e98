/*
 * tests/store/test_members.c - nodes come and go in a cluster that serves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "raft/raft.h"
#include "store/wire.h"
#include "tests/lib/cluster_rig.h"

static struct cluster c;

static void begin(uint32_t founders, uint32_t partitions, uint64_t seed)
{
	struct cluster_options o;
	const char *given = getenv("SEED");

	cluster_options_default(&o, founders, partitions,
				given ? strtoull(given, NULL, 0) : seed);
	cluster_init(&c, &o);
	cluster_start_all(&c);
	cluster_wait_leader(&c, 10000);
}

static int teardown(void **state)
{
	cluster_done(&c);
	return 0;
}

/* -------------------------------------------------------------- asking --- */

static uint64_t leader(void)
{
	return cluster_wait_leader(&c, 20000);
}

static enum err change(uint64_t through, enum store_change_kind kind,
		       const char *name, uint64_t *id)
{
	struct store_change ch = { .kind = kind };
	enum err err;

	snprintf(ch.member.name, sizeof(ch.member.name), "%s", name);
	err = cluster_change(&c, through, &ch);
	if (id)
		*id = ch.id;
	return err;
}

/* Again as long as it is told to come again. */
static void must(enum store_change_kind kind, const char *name)
{
	enum err err = ERR_BUSY;

	for (int i = 0; i < 200 && err; i++) {
		err = change(leader(), kind, name, NULL);
		if (err)
			cluster_run(&c, 50);
	}
	assert_int_equal(err, OK);
}

static uint32_t members(uint64_t node, struct store_member_status *list)
{
	return store_members(cluster_node(&c, node)->store, list,
			     RAFT_MEMBERS_MAX);
}

/* What node says of member id: v voter, l learner, + leaving, - not there. */
static char role(uint64_t node, uint64_t id)
{
	struct store_member_status list[RAFT_MEMBERS_MAX];
	uint32_t n = members(node, list);

	for (uint32_t i = 0; i < n; i++) {
		if (list[i].member.id == id)
			return list[i].leaving	 ? '+'
			       : list[i].learner ? 'l'
						 : 'v';
	}
	return '-';
}

struct wanted {
	const char *roles; /* of ids 1.. */
};

static bool is_as_wanted(void *ctx)
{
	const struct wanted *w = ctx;
	uint64_t at = cluster_leader(&c, 0);

	for (size_t i = 0; at && w->roles[i]; i++) {
		if (role(at, i + 1) != w->roles[i])
			return false;
	}
	return at != 0;
}

/* The leader says so of ids 1.., within ms. */
static void expect_roles(const char *roles, uint64_t ms)
{
	struct wanted w = { roles };
	char now[RAFT_MEMBERS_MAX + 1] = "";

	if (cluster_wait(&c, is_as_wanted, &w, ms))
		return;
	for (size_t i = 0; roles[i] && cluster_leader(&c, 0); i++)
		now[i] = role(cluster_leader(&c, 0), i + 1);
	fail_msg("members are %s, not %s", now, roles);
}

static void put_some(int from, int to)
{
	char key[32];

	for (int i = from; i < to; i++) {
		snprintf(key, sizeof(key), "key%d/x", i);
		cluster_must_put(&c, key, key, 20000);
	}
}

static void expect_some(uint64_t node, int from, int to)
{
	char key[32];

	for (int i = from; i < to; i++) {
		snprintf(key, sizeof(key), "key%d/x", i);
		cluster_expect(&c, node, key, key, 20000);
	}
}

static uint64_t follower(void)
{
	return leader() % 3 + 1;
}

/* --------------------------------------------------------------- removal - */

static void founders_are_voters_on_every_node(void **state)
{
	begin(3, 2, 1);
	cluster_run(&c, 1000);
	for (uint64_t at = 1; at <= 3; at++) {
		for (uint64_t id = 1; id <= 3; id++)
			assert_int_equal(role(at, id), 'v');
		assert_int_equal(role(at, 4), '-');
		assert_int_equal(store_standing(cluster_node(&c, at)->store, 3),
				 STORE_MEMBER);
		assert_int_equal(store_standing(cluster_node(&c, at)->store, 4),
				 STORE_UNKNOWN);
		assert_int_equal(store_readiness(cluster_node(&c, at)->store),
				 STORE_READY);
	}
}

static void status_tells_who_is_up_and_how_far(void **state)
{
	struct store_member_status list[RAFT_MEMBERS_MAX];
	uint64_t down;

	begin(3, 1, 2);
	put_some(0, 20);
	cluster_run(&c, 1000);
	assert_int_equal(members(leader(), list), 3);
	for (int i = 0; i < 3; i++) {
		assert_true(list[i].up);
		assert_int_equal(list[i].lag, 0);
		assert_true(list[i].match >= 20);
		assert_true(list[i].last_contact_ms < 1000);
	}
	down = follower();
	cluster_kill(&c, down);
	put_some(20, 30);
	cluster_run(&c, 5000);
	assert_int_equal(members(leader(), list), 3);
	assert_false(list[down - 1].up);
	assert_true(list[down - 1].lag >= 10);
	assert_true(list[down - 1].last_contact_ms >= 4000);
}

static void a_follower_shows_what_the_leader_knows(void **state)
{
	struct store_member_status at_leader[RAFT_MEMBERS_MAX];
	struct store_member_status list[RAFT_MEMBERS_MAX];
	uint64_t down, asked;

	begin(3, 1, 31);
	put_some(0, 20);
	down = follower();
	asked = 6 - leader() - down;
	cluster_kill(&c, down);
	put_some(20, 30);
	cluster_run(&c, 2500);
	assert_int_equal(members(leader(), at_leader), 3);
	assert_int_equal(members(asked, list), 3);
	assert_true(list[down - 1].lag >= 10);
	for (int i = 0; i < 3; i++) {
		assert_true(list[i].progress_known);
		assert_int_equal(list[i].match, at_leader[i].match);
		assert_int_equal(list[i].lag, at_leader[i].lag);
	}
	/* Nobody leads: what was told once is not shown for ever. */
	cluster_kill(&c, leader());
	cluster_run(&c, 8000);
	assert_int_equal(members(asked, list), 3);
	for (int i = 0; i < 3; i++)
		assert_false(list[i].progress_known);
}

static void what_is_told_malformed_changes_nothing(void **state)
{
	struct store_member_status list[RAFT_MEMBERS_MAX];
	static const uint8_t body[] = {
		5, 0, 0, 0, 0, 0, 0, 0, /* last index 5                      */
		1, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, /* match 6   */
	};
	const size_t sizes[] = { 0, 7, 8 + 15, sizeof(body) };
	uint64_t at;

	begin(3, 1, 32);
	put_some(0, 20);
	cluster_run(&c, 2500);
	at = follower();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct buf b = BUF_INIT;
		size_t start;

		assert_int_equal(item_begin(&b, ITEM_PROGRESS, 0, &start), OK);
		assert_int_equal(buf_add(&b, body, sizes[i]), OK);
		assert_int_equal(item_end(&b, start), OK);
		assert_int_equal(store_receive(cluster_node(&c, at)->store,
					       leader(), buf_bytes(&b)),
				 OK);
		buf_done(&b);
		cluster_run(&c, 300);
		assert_int_equal(members(at, list), 3);
		assert_true(list[0].progress_known);
		assert_true(list[0].match >= 20);
	}
}

static void removed_follower_is_forgotten(void **state)
{
	uint64_t gone;

	begin(3, 3, 3);
	put_some(0, 10);
	gone = follower();
	must(STORE_MEMBER_REMOVE, cluster_node(&c, gone)->name);
	cluster_node(&c, gone)->removed = true;
	expect_roles(gone == 1 ? "-vv" : gone == 2 ? "v-v" : "vv-", 20000);
	put_some(10, 20);
	assert_int_equal(
		store_standing(cluster_node(&c, leader())->store, gone),
		STORE_REMOVED);
	assert_int_equal(change(leader(), STORE_MEMBER_REMOVE,
				cluster_node(&c, gone)->name, NULL),
			 ERR_NOT_FOUND);
	cluster_run(&c, 5000);
	assert_int_equal(store_readiness(cluster_node(&c, gone)->store),
			 STORE_DISMISSED);
	cluster_kill(&c, gone);
	cluster_expect_same(&c, 20000);
}

static void leader_removes_itself(void **state)
{
	uint64_t gone;

	begin(3, 3, 4);
	put_some(0, 10);
	gone = leader();
	assert_int_equal(change(gone, STORE_MEMBER_REMOVE,
				cluster_node(&c, gone)->name, NULL),
			 OK);
	cluster_node(&c, gone)->removed = true;
	expect_roles(gone == 1 ? "-vv" : gone == 2 ? "v-v" : "vv-", 30000);
	assert_int_not_equal(leader(), gone);
	put_some(10, 20);
	expect_some(leader(), 0, 20);
}

static void the_last_voter_stays(void **state)
{
	begin(1, 1, 5);
	assert_int_equal(change(1, STORE_MEMBER_REMOVE, "n1", NULL),
			 ERR_INVALID);
	put_some(0, 3);
}

static void removal_down_to_one_works_and_then_stops(void **state)
{
	begin(2, 2, 6);
	must(STORE_MEMBER_REMOVE, "n2");
	cluster_node(&c, 2)->removed = true;
	expect_roles("v-", 30000);
	assert_int_equal(change(1, STORE_MEMBER_REMOVE, "n1", NULL),
			 ERR_INVALID);
	cluster_kill(&c, 2);
	put_some(0, 5);
}

static void removal_that_would_cost_the_quorum_is_refused(void **state)
{
	uint64_t down, other;

	begin(3, 1, 7);
	down = follower();
	other = 6 - leader() - down;
	cluster_kill(&c, down);
	cluster_run(&c, 4000);
	assert_int_equal(change(leader(), STORE_MEMBER_REMOVE,
				cluster_node(&c, other)->name, NULL),
			 ERR_PRECONDITION);
	/* The dead one may go. */
	must(STORE_MEMBER_REMOVE, cluster_node(&c, down)->name);
	cluster_node(&c, down)->removed = true;
	expect_roles(down == 1 ? "-vv" : down == 2 ? "v-v" : "vv-", 20000);
	put_some(0, 5);
}

static void changes_at_once_are_put_in_order(void **state)
{
	struct store_change first = { .kind = STORE_MEMBER_REMOVE };
	enum err err;

	begin(5, 2, 8);
	snprintf(first.member.name, sizeof(first.member.name), "n4");
	err = cluster_change(&c, leader(), &first);
	assert_int_equal(err, OK);
	must(STORE_MEMBER_REMOVE, "n5");
	cluster_node(&c, 4)->removed = true;
	cluster_node(&c, 5)->removed = true;
	expect_roles("vvv--", 60000);
	put_some(0, 5);
}

/* ---------------------------------------------------------- refusals ----- */

static void unknown_names_are_not_found(void **state)
{
	begin(3, 1, 9);
	assert_int_equal(change(leader(), STORE_MEMBER_REMOVE, "nx", NULL),
			 ERR_NOT_FOUND);
	assert_int_equal(change(leader(), STORE_MEMBER_PROMOTE, "nx", NULL),
			 ERR_NOT_FOUND);
	assert_int_equal(change(leader(), STORE_MEMBER_REPLACE, "nx", NULL),
			 ERR_NOT_FOUND);
	assert_int_equal(change(leader(), STORE_TRANSFER, "nx", NULL),
			 ERR_NOT_FOUND);
}

static void names_and_addresses_are_had_once(void **state)
{
	struct store_change ch = { .kind = STORE_MEMBER_ADD };

	begin(3, 1, 10);
	snprintf(ch.member.name, sizeof(ch.member.name), "n2");
	snprintf(ch.member.peer, sizeof(ch.member.peer), "x:1");
	assert_int_equal(cluster_change(&c, leader(), &ch), ERR_EXISTS);
	snprintf(ch.member.name, sizeof(ch.member.name), "n9");
	snprintf(ch.member.peer, sizeof(ch.member.peer), "%s",
		 cluster_node(&c, 2)->address);
	assert_int_equal(cluster_change(&c, leader(), &ch), ERR_EXISTS);
	ch.member.peer[0] = 0;
	assert_int_equal(cluster_change(&c, leader(), &ch), ERR_INVALID);
}

/* ---------------------------------------------------------- leadership --- */

static bool leads_all(void *ctx)
{
	uint64_t id = *(uint64_t *)ctx;

	for (uint32_t p = 0; p < c.o.partitions; p++) {
		if (cluster_leader(&c, p) != id)
			return false;
	}
	return true;
}

static void leadership_is_handed_over_whole(void **state)
{
	begin(3, 4, 11);
	for (uint64_t to = 1; to <= 3; to++) {
		/* Asked of any node. */
		assert_int_equal(change(to % 3 + 1, STORE_TRANSFER,
					cluster_node(&c, to)->name, NULL),
				 OK);
		cluster_run(&c, 200);
		assert_true(leads_all(&to));
		put_some(0, 5);
	}
}

static void transfer_to_a_dead_node_ends_unknown(void **state)
{
	uint64_t down;

	begin(3, 2, 12);
	down = follower();
	cluster_kill(&c, down);
	assert_int_equal(change(leader(), STORE_TRANSFER,
				cluster_node(&c, down)->name, NULL),
			 ERR_UNKNOWN);
	put_some(0, 5);
}

static uint32_t led_by(uint64_t id)
{
	uint32_t n = 0;

	for (uint32_t p = 0; p < c.o.partitions; p++)
		n += cluster_leader(&c, p) == id;
	return n;
}

static bool are_spread(void *ctx)
{
	return led_by(1) == 3 && led_by(2) == 3 && led_by(3) == 3;
}

static void leaders_spread_over_the_nodes(void **state)
{
	begin(3, 9, 13);
	assert_int_equal(change(1, STORE_TRANSFER, "n2", NULL), OK);
	assert_int_equal(led_by(2), 9);
	cluster_run(&c, 10000); /* an operator's wish is not undone at once */
	assert_int_equal(led_by(2), 9);
	assert_true(cluster_wait(&c, are_spread, NULL, 60000));
	cluster_run(&c, 60000); /* and it stays so */
	assert_true(are_spread(NULL));
}

static void one_group_stays_where_it_is(void **state)
{
	begin(3, 1, 14);
	assert_int_equal(change(1, STORE_TRANSFER, "n3", NULL), OK);
	cluster_run(&c, 120000);
	assert_int_equal(leader(), 3);
}

/* ---------------------------------------------------------------- joining */

/* Node id comes into being and is added through the leader; not started. */
static void add_node(uint64_t id, bool stays_learner)
{
	struct cluster_node *n = cluster_new_node(&c, id);
	enum err err = ERR_BUSY;

	for (int i = 0; i < 200 && err; i++) {
		struct store_change ch = { .kind = STORE_MEMBER_ADD };

		snprintf(ch.member.name, sizeof(ch.member.name), "%s", n->name);
		snprintf(ch.member.peer, sizeof(ch.member.peer), "%s",
			 n->address);
		ch.member.stays_learner = stays_learner;
		err = cluster_change(&c, leader(), &ch);
		if (!err)
			assert_int_equal(ch.id, id);
		else
			cluster_run(&c, 50);
	}
	assert_int_equal(err, OK);
}

static void new_node_learns_then_votes(void **state)
{
	begin(3, 3, 20);
	put_some(0, 100);
	add_node(4, false);
	expect_roles("vvvl", 10000);
	cluster_run(&c, 5000); /* it is not there: it does not vote */
	expect_roles("vvvl", 0);
	cluster_start(&c, 4);
	expect_roles("vvvv", 30000);
	put_some(100, 120);
	expect_some(4, 0, 120);
	cluster_expect_same(&c, 20000);
}

static void one_node_grows_to_three_and_outlives_its_founder(void **state)
{
	begin(1, 2, 21);
	put_some(0, 50);
	for (uint64_t id = 2; id <= 3; id++) {
		add_node(id, false);
		cluster_start(&c, id);
	}
	expect_roles("vvv", 30000);
	put_some(50, 60);
	cluster_kill(&c, 1);
	put_some(60, 70);
	expect_some(leader(), 0, 70);
}

static void learner_that_is_to_stay_one_stays(void **state)
{
	begin(3, 1, 22);
	put_some(0, 10);
	add_node(4, true);
	cluster_start(&c, 4);
	cluster_run(&c, 20000);
	expect_roles("vvvl", 0);
	expect_some(4, 0, 10);
	must(STORE_MEMBER_PROMOTE, "n4");
	expect_roles("vvvv", 20000);
}

static void ids_are_never_used_again(void **state)
{
	begin(3, 1, 23);
	add_node(4, false);
	cluster_start(&c, 4);
	expect_roles("vvvv", 30000);
	must(STORE_MEMBER_REMOVE, "n4");
	cluster_node(&c, 4)->removed = true;
	expect_roles("vvv-", 30000);
	cluster_kill(&c, 4);
	add_node(5, false);
	cluster_start(&c, 5);
	expect_roles("vvv-v", 30000);
}

static void nodes_that_join_together_all_vote_in_the_end(void **state)
{
	begin(3, 2, 24);
	put_some(0, 50);
	add_node(4, false);
	add_node(5, false);
	cluster_start(&c, 5);
	expect_roles("vvvlv", 30000); /* 4 does not keep 5 back */
	cluster_start(&c, 4);
	expect_roles("vvvvv", 30000);
	cluster_expect_same(&c, 20000);
}

static void dead_voter_is_replaced(void **state)
{
	uint64_t id;

	begin(3, 3, 25);
	put_some(0, 50);
	cluster_wipe(&c, 3);
	cluster_node(&c, 3)->removed = true;
	cluster_run(&c, 100); /* until its links are seen to be down */
	cluster_wait_leader(&c, 20000);
	assert_int_equal(change(leader(), STORE_MEMBER_REPLACE, "n3", &id), OK);
	assert_int_equal(id, 4);
	/* Said twice it is still the same. */
	cluster_run(&c, 500);
	assert_int_equal(change(leader(), STORE_MEMBER_REPLACE, "n3", &id), OK);
	assert_int_equal(id, 4);
	expect_roles("vv+l", 20000); /* the dead one is kept until then */
	snprintf(cluster_new_node(&c, 4)->name, 16, "n3");
	cluster_start(&c, 4);
	expect_roles("vv-v", 30000);
	put_some(50, 60);
	/* The new one carries the quorum. */
	cluster_kill(&c, leader() == 1 ? 2 : 1);
	put_some(60, 70);
	expect_some(4, 0, 70);
}

static void who_is_up_is_not_replaced_unless_forced(void **state)
{
	struct store_change ch = { .kind = STORE_MEMBER_REPLACE };
	uint64_t up, asked;

	begin(3, 2, 30);
	put_some(0, 10);
	up = follower();
	asked = 6 - leader() - up;
	snprintf(ch.member.name, sizeof(ch.member.name), "n%d", (int)up);
	assert_int_equal(cluster_change(&c, leader(), &ch), ERR_PRECONDITION);
	assert_int_equal(cluster_change(&c, asked, &ch), ERR_PRECONDITION);
	cluster_run(&c, 500);
	expect_roles("vvv", 1000);
	/* Its process has ended: that needs no patience. */
	cluster_kill(&c, up);
	cluster_run(&c, 100);
	assert_int_equal(cluster_change(&c, leader(), &ch), OK);
	assert_int_equal(ch.id, 4);
}

static void who_is_silent_may_be_replaced(void **state)
{
	struct store_change ch = { .kind = STORE_MEMBER_REPLACE };
	uint64_t other;

	begin(3, 1, 33);
	put_some(0, 10);
	other = follower();
	snprintf(ch.member.name, sizeof(ch.member.name), "n%d", (int)other);
	cluster_isolate(&c, other);
	cluster_run(&c, 5000);
	assert_int_equal(cluster_change(&c, leader(), &ch), OK);
}

static void force_puts_out_who_is_up(void **state)
{
	struct store_change ch = { .kind = STORE_MEMBER_REPLACE,
				   .force = true };
	uint64_t up, asked;

	begin(3, 1, 34);
	put_some(0, 10);
	up = follower();
	asked = 6 - leader() - up;
	snprintf(ch.member.name, sizeof(ch.member.name), "n%d", (int)up);
	/* Not where its vote is needed: it gives none from then on. */
	cluster_kill(&c, asked);
	cluster_run(&c, 5000);
	assert_int_equal(cluster_change(&c, leader(), &ch), ERR_PRECONDITION);
	cluster_start(&c, asked);
	cluster_run(&c, 5000);
	asked = 6 - leader() - up;
	/* Over the wire, too. */
	assert_int_equal(cluster_change(&c, asked, &ch), OK);
	assert_int_equal(ch.id, 4);
}

static void change_goes_on_under_the_next_leader(void **state)
{
	begin(3, 2, 26);
	put_some(0, 50);
	add_node(4, false);
	cluster_start(&c, 4);
	for (int i = 0; i < 5; i++) {
		uint64_t at = leader();

		cluster_kill(&c, at);
		cluster_wait_leader(&c, 20000);
		cluster_start(&c, at);
		cluster_run(&c, 300);
	}
	expect_roles("vvvv", 60000);
	put_some(50, 60);
	cluster_expect_same(&c, 20000);
}

static void claim_is_for_one_disk(void **state)
{
	struct store_change ch = { .kind = STORE_MEMBER_CLAIM };

	begin(3, 1, 27);
	add_node(4, false);
	cluster_run(&c, 500);
	snprintf(ch.member.name, sizeof(ch.member.name), "n4");
	ch.claim = 1;
	assert_int_equal(cluster_change(&c, leader(), &ch), ERR_INVALID);
	ch.claim = 77;
	assert_int_equal(cluster_change(&c, follower(), &ch), OK);
	assert_int_equal(ch.id, 4);
	cluster_run(&c, 500);
	assert_int_equal(cluster_change(&c, leader(), &ch), OK);
	ch.claim = 78;
	assert_int_equal(cluster_change(&c, leader(), &ch), ERR_EXISTS);
	snprintf(ch.member.name, sizeof(ch.member.name), "n1");
	assert_int_equal(cluster_change(&c, leader(), &ch), ERR_EXISTS);
	snprintf(ch.member.name, sizeof(ch.member.name), "n9");
	assert_int_equal(cluster_change(&c, leader(), &ch), ERR_NOT_FOUND);
	/* Its disk is lost: another id, and nobody has that. */
	assert_int_equal(change(leader(), STORE_MEMBER_REPLACE, "n4", &ch.id),
			 OK);
	assert_int_equal(ch.id, 5);
	cluster_run(&c, 2000);
	snprintf(ch.member.name, sizeof(ch.member.name), "n4");
	assert_int_equal(cluster_change(&c, leader(), &ch), OK);
	assert_int_equal(ch.id, 5);
}

static bool has_address(void *ctx)
{
	struct store_member_status list[RAFT_MEMBERS_MAX];

	members(leader(), list);
	return strcmp(list[2].member.peer, (char *)ctx) == 0;
}

static void moved_node_is_known_at_its_new_address(void **state)
{
	struct cluster_node *n;
	char address[32] = "moved:7";

	begin(3, 1, 28);
	n = cluster_node(&c, 3);
	cluster_kill(&c, 3);
	snprintf(n->address, sizeof(n->address), "%s", address);
	cluster_start(&c, 3);
	assert_true(cluster_wait(&c, has_address, address, 20000));
	put_some(0, 3);
}

int main(void)
{
#define members_test(f) cmocka_unit_test_teardown(f, teardown)
	const struct CMUnitTest tests[] = {
		members_test(founders_are_voters_on_every_node),
		members_test(status_tells_who_is_up_and_how_far),
		members_test(a_follower_shows_what_the_leader_knows),
		members_test(what_is_told_malformed_changes_nothing),
		members_test(removed_follower_is_forgotten),
		members_test(leader_removes_itself),
		members_test(the_last_voter_stays),
		members_test(removal_down_to_one_works_and_then_stops),
		members_test(removal_that_would_cost_the_quorum_is_refused),
		members_test(changes_at_once_are_put_in_order),
		members_test(unknown_names_are_not_found),
		members_test(names_and_addresses_are_had_once),
		members_test(leadership_is_handed_over_whole),
		members_test(transfer_to_a_dead_node_ends_unknown),
		members_test(leaders_spread_over_the_nodes),
		members_test(one_group_stays_where_it_is),
		members_test(new_node_learns_then_votes),
		members_test(one_node_grows_to_three_and_outlives_its_founder),
		members_test(learner_that_is_to_stay_one_stays),
		members_test(ids_are_never_used_again),
		members_test(nodes_that_join_together_all_vote_in_the_end),
		members_test(dead_voter_is_replaced),
		members_test(who_is_up_is_not_replaced_unless_forced),
		members_test(who_is_silent_may_be_replaced),
		members_test(force_puts_out_who_is_up),
		members_test(change_goes_on_under_the_next_leader),
		members_test(claim_is_for_one_disk),
		members_test(moved_node_is_known_at_its_new_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
