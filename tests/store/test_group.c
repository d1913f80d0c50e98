/*
 * tests/store/test_group.c - several stores, one cluster: consensus as the
 * store drives it (store/group.c, request.c, barrier.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "store/store_internal.h"
#include "store/wire.h"
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

static void set_flag(struct store_write *w)
{
	*(bool *)w->user = true;
}

/* Hand w in without waiting for it. */
static void begin_write(uint64_t id, struct store_write *w, bool *done)
{
	*done = false;
	w->done = set_flag;
	w->user = done;
	assert_int_equal(store_write(cluster_node(&rig, id)->store, w), OK);
}

static uint64_t sent_by(uint64_t id)
{
	return count_of(&cluster_node(&rig, id)->store->messages_sent);
}

static uint64_t new_leader(uint64_t old)
{
	for (int i = 0; i < 200; i++) {
		uint64_t leader = cluster_leader(&rig, 0);

		if (leader && leader != old)
			return leader;
		cluster_run(&rig, 100);
	}
	fail_msg("no other leader");
	return 0;
}

/* It wrote on, alone; nobody ever sees that, and its client is told. */
static void what_a_deposed_leader_appended_alone_is_gone(void **state)
{
	struct store_op op = { .kind = STORE_PUT,
			       .key = bytes_str("k"),
			       .value = bytes_str("lost") };
	struct store_write w = { .then_ops = &op, .then_count = 1 };
	uint64_t old, leader;
	bool done;

	begin(3, 1, 3);
	old = cluster_wait_leader(&rig, 10000);
	assert_int_equal(cluster_put(&rig, old, "k", "1", NULL), OK);
	cluster_isolate(&rig, old);
	begin_write(old, &w, &done);
	leader = new_leader(old);
	assert_int_equal(cluster_put(&rig, leader, "k", "2", NULL), OK);
	cluster_run(&rig, 8000);
	assert_true(done);
	assert_int_equal(w.err, ERR_UNKNOWN);
	cluster_heal_all(&rig);
	cluster_expect_same(&rig, 10000);
	for (uint64_t id = 1; id <= 3; id++)
		cluster_expect(&rig, id, "k", "2", 5000);
	cluster_done(&rig);
}

/* Its state may be old: "k is there" is not its to say. */
static void a_deposed_leader_refuses_nothing(void **state)
{
	struct store_condition absent = { .kind = STORE_IF_ABSENT,
					  .key = bytes_str("k") };
	struct store_op op = { .kind = STORE_PUT,
			       .key = bytes_str("k"),
			       .value = bytes_str("2") };
	struct store_write w = { .conditions = &absent,
				 .condition_count = 1,
				 .then_ops = &op,
				 .then_count = 1 };
	uint64_t old;
	bool done;

	begin(3, 1, 4);
	old = cluster_wait_leader(&rig, 10000);
	assert_int_equal(cluster_put(&rig, old, "k", "1", NULL), OK);
	cluster_isolate(&rig, old);
	begin_write(old, &w, &done);
	cluster_run(&rig, 500);
	assert_false(done);
	cluster_run(&rig, 15000);
	assert_true(done);
	assert_int_equal(w.err, ERR_NO_LEADER);
	cluster_done(&rig);
}

static void a_lease_is_served_without_asking_and_ends_by_itself(void **state)
{
	struct store_barrier b = { 0 };
	struct buf value = BUF_INIT;
	struct store *s;
	uint64_t leader;

	begin(3, 1, 5);
	leader = cluster_wait_leader(&rig, 10000);
	assert_int_equal(cluster_put(&rig, leader, "k", "1", NULL), OK);
	cluster_run(&rig, 500);
	s = cluster_node(&rig, leader)->store;
	assert_int_equal(store_barrier(s, 0, STORE_LEASE, &b), OK);
	assert_true(store_lease_holds(s, 0));
	assert_false(store_lease_holds(
		cluster_node(&rig, leader % 3 + 1)->store, 0));
	cluster_isolate(&rig, leader);
	cluster_run(&rig, 1000); /* an election timeout, the least */
	assert_false(store_lease_holds(s, 0));
	assert_int_equal(cluster_get(&rig, leader, "k", STORE_LEASE, &value),
			 ERR_NO_LEADER);
	buf_done(&value);
	cluster_done(&rig);
}

static void count_barrier(struct store_barrier *b, enum err err)
{
	assert_int_equal(err, OK);
	++*(int *)b->user;
}

/* As begin, with a way of at least 10 ms there and back. */
static struct store *begin_far_apart(uint64_t seed, uint64_t *leader)
{
	struct cluster_options o;

	cluster_options_default(&o, 3, 1, seed);
	o.weather.delay_min_ns = 5000000;
	o.weather.delay_max_ns = 6000000;
	cluster_init(&rig, &o);
	cluster_start_all(&rig);
	*leader = cluster_wait_leader(&rig, 10000);
	assert_int_equal(cluster_put(&rig, *leader, "k", "0", NULL), OK);
	/* right behind a heartbeat: the next is far away */
	for (uint64_t was = sent_by(*leader); sent_by(*leader) < was + 4;)
		cluster_run(&rig, 1);
	cluster_run(&rig, 20);
	return cluster_node(&rig, *leader)->store;
}

static void reads_gather_while_a_question_is_under_way(void **state)
{
	struct store_barrier b[6];
	uint64_t leader, before;
	struct store *s = begin_far_apart(11, &leader);
	int done = 0;

	before = sent_by(leader);
	for (int i = 0; i < 6; i++) {
		b[i] = (struct store_barrier){ .done = count_barrier,
					       .user = &done };
		assert_int_equal(store_barrier(s, 0, STORE_LINEARIZABLE, &b[i]),
				 ERR_PENDING);
		cluster_run(&rig, 1);
	}
	assert_int_equal(sent_by(leader), before + 2); /* to two members */
	cluster_run(&rig, 15);
	assert_int_equal(sent_by(leader), before + 4);
	cluster_run(&rig, 20);
	assert_int_equal(done, 6);
	assert_int_equal(sent_by(leader), before + 4);
	cluster_done(&rig);
}

static void writes_gather_while_a_batch_is_under_way(void **state)
{
	struct store_op op = { .kind = STORE_PUT,
			       .key = bytes_str("k"),
			       .value = bytes_str("1") };
	struct store_write w[6];
	uint64_t leader, before;
	bool done[6];

	begin_far_apart(12, &leader);
	before = sent_by(leader);
	for (int i = 0; i < 6; i++) {
		w[i] = (struct store_write){ .then_ops = &op, .then_count = 1 };
		begin_write(leader, &w[i], &done[i]);
		cluster_run(&rig, 1);
	}
	assert_int_equal(sent_by(leader), before + 2);
	cluster_run(&rig, 40);
	for (int i = 0; i < 6; i++) {
		assert_true(done[i]);
		assert_int_equal(w[i].err, OK);
	}
	/* the second batch tells of the first, a word of its own of the second */
	assert_int_equal(sent_by(leader), before + 6);
	cluster_done(&rig);
}

/* Heartbeats come ten times a second. */
static void followers_hear_of_a_commit_though_nothing_follows(void **state)
{
	struct buf b = BUF_INIT;
	uint64_t leader;

	begin(3, 1, 13);
	leader = cluster_wait_leader(&rig, 10000);
	for (int i = 0; i < 10; i++) {
		char value[2] = { (char)('a' + i), 0 };

		assert_int_equal(cluster_put(&rig, leader, "k", value, NULL),
				 OK);
		cluster_run(&rig, 12);
		for (uint64_t id = 1; id <= 3; id++) {
			b.n = 0;
			assert_int_equal(
				cluster_get(&rig, id, "k", STORE_STALE, &b),
				OK);
			assert_int_equal(b.p[0], value[0]);
		}
	}
	buf_done(&b);
	cluster_done(&rig);
}

static void all_partitions_are_waited_for(void **state)
{
	char key[8];

	begin(3, 8, 6);
	cluster_wait_leader(&rig, 20000);
	for (int i = 0; i < 40; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		cluster_must_put(&rig, key, "v", 20000);
	}
	for (uint64_t id = 1; id <= 3; id++) {
		for (int i = 0; i < 40; i++) {
			snprintf(key, sizeof(key), "k%d", i);
			cluster_expect(&rig, id, key, "v", 5000);
		}
	}
	cluster_expect_same(&rig, 10000);
	cluster_done(&rig);
}

static void a_follower_that_was_away_catches_up(void **state)
{
	uint64_t leader, away;
	char key[16];

	begin(3, 1, 7);
	leader = cluster_wait_leader(&rig, 10000);
	away = leader % 3 + 1;
	cluster_crash(&rig, away);
	for (int i = 0; i < 300; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		cluster_must_put(&rig, key, "v", 20000);
	}
	cluster_start(&rig, away);
	cluster_expect(&rig, away, "k299", "v", 10000);
	cluster_expect_same(&rig, 10000);
	cluster_done(&rig);
}

static void all_nodes_restart_and_know_what_was_acknowledged(void **state)
{
	begin(3, 4, 8);
	cluster_must_put(&rig, "a", "1", 20000);
	cluster_must_put(&rig, "b", "2", 20000);
	for (uint64_t id = 1; id <= 3; id++)
		cluster_crash(&rig, id);
	cluster_run(&rig, 1000);
	for (uint64_t id = 1; id <= 3; id++)
		cluster_start(&rig, id);
	cluster_wait_leader(&rig, 20000);
	for (uint64_t id = 1; id <= 3; id++) {
		cluster_expect(&rig, id, "a", "1", 10000);
		cluster_expect(&rig, id, "b", "2", 10000);
	}
	cluster_done(&rig);
}

static void leadership_is_handed_over(void **state)
{
	uint64_t old;

	begin(3, 4, 9);
	old = cluster_wait_leader(&rig, 20000);
	cluster_must_put(&rig, "a", "1", 20000);
	cluster_stop(&rig, old, 5000);
	assert_int_not_equal(cluster_wait_leader(&rig, 300), old);
	cluster_must_put(&rig, "a", "2", 10000);
	cluster_done(&rig);
}

static void read_over(struct store_barrier *b, enum err err)
{
	assert_int_equal(err, OK);
	++*(int *)b->user;
}

static void begin_read(uint64_t id, struct store_barrier *b, int *over)
{
	*b = (struct store_barrier){ .done = read_over, .user = over };
	assert_int_equal(store_barrier(cluster_node(&rig, id)->store, 0,
				       STORE_LINEARIZABLE, b),
			 ERR_PENDING);
	cluster_node(&rig, id)->core_due = rig.now_ns;
	cluster_run(&rig, 0);
}

/* All answers come at once: what had to gather meanwhile is asked at once. */
static void a_read_behind_others_waits_for_no_tick(void **state)
{
	enum { COUNT = 6, PAUSE_MS = 10, LIMIT_MS = 30 };
	static struct store_barrier b[COUNT];
	uint64_t leader, follower;

	begin(3, 1, 11);
	leader = cluster_wait_leader(&rig, 10000);
	follower = leader % 3 + 1;
	assert_int_equal(cluster_put(&rig, leader, "k", "1", NULL), OK);
	for (int turn = 0; turn < 20; turn++) {
		uint64_t until_ns;
		int over = 0;

		cluster_run(&rig, 1007);
		until_ns = rig.now_ns + LIMIT_MS * UINT64_C(1000000);
		for (int i = 0; i < COUNT; i++) {
			begin_read(follower, &b[i], &over);
			cluster_node(&rig, follower)->busy_until = 0;
		}
		cluster_pause(&rig, follower, PAUSE_MS);
		while (over < COUNT && cluster_step(&rig, until_ns))
			;
		assert_int_equal(over, COUNT);
	}
	cluster_done(&rig);
}

/* Its log contradicts what it is told: it serves nothing, and says so. */
static void who_waits_for_a_broken_group_is_told(void **state)
{
	static const struct raft_msg m = { .type = RAFT_MSG_HEARTBEAT,
					   .term = 1000,
					   .commit = 1000000 };
	struct buf item = BUF_INIT, value = BUF_INIT;
	uint64_t leader, follower;
	size_t at;

	begin(3, 1, 12);
	leader = cluster_wait_leader(&rig, 10000);
	follower = leader % 3 + 1;
	assert_int_equal(item_begin(&item, ITEM_RAFT, 0, &at), OK);
	assert_int_equal(wire_msg_encode(&item, &m), OK);
	assert_int_equal(item_end(&item, at), OK);
	assert_int_equal(store_receive(cluster_node(&rig, follower)->store,
				       leader, buf_bytes(&item)),
			 OK);
	assert_int_equal(
		cluster_get(&rig, follower, "k", STORE_LINEARIZABLE, &value),
		ERR_NO_LEADER);
	assert_int_equal(cluster_put(&rig, follower, "k", "1", NULL),
			 ERR_NO_LEADER);
	buf_done(&item);
	buf_done(&value);
	cluster_done(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(three_nodes_elect_one_and_agree),
		cmocka_unit_test(nothing_is_committed_without_a_quorum),
		cmocka_unit_test(what_a_deposed_leader_appended_alone_is_gone),
		cmocka_unit_test(a_deposed_leader_refuses_nothing),
		cmocka_unit_test(
			a_lease_is_served_without_asking_and_ends_by_itself),
		cmocka_unit_test(reads_gather_while_a_question_is_under_way),
		cmocka_unit_test(writes_gather_while_a_batch_is_under_way),
		cmocka_unit_test(
			followers_hear_of_a_commit_though_nothing_follows),
		cmocka_unit_test(all_partitions_are_waited_for),
		cmocka_unit_test(a_follower_that_was_away_catches_up),
		cmocka_unit_test(
			all_nodes_restart_and_know_what_was_acknowledged),
		cmocka_unit_test(leadership_is_handed_over),
		cmocka_unit_test(a_read_behind_others_waits_for_no_tick),
		cmocka_unit_test(who_waits_for_a_broken_group_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
