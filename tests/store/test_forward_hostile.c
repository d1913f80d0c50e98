/*
 * tests/store/test_forward_hostile.c - requests from other nodes that no node
 * of this version sends, and outcomes that must not sound better than they are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/forward_internal.h"
#include "tests/lib/cluster_rig.h"

static struct cluster rig;

static void begin(uint32_t partitions, uint64_t seed)
{
	struct cluster_options o;

	cluster_options_default(&o, 3, partitions, seed);
	cluster_init(&rig, &o);
	cluster_start_all(&rig);
	cluster_wait_leader(&rig, 20000);
	cluster_run(&rig, 500);
}

/* q reaches the leader of partition 0 as another node's request. */
static void send_request(const struct store_queued *q)
{
	uint64_t leader = cluster_wait_leader(&rig, 10000);
	struct store *s = cluster_node(&rig, leader)->store;
	struct request_head head = { .incarnation = 77,
				     .sequence = 1,
				     .floor = 1 };
	struct store_partition_status status;
	struct buf b = BUF_INIT;
	size_t at;

	store_partition_status(s, 0, &status);
	head.term = status.term;
	assert_int_equal(item_begin(&b, ITEM_REQUEST, 0, &at), OK);
	assert_int_equal(request_encode(&b, &head, q), OK);
	assert_int_equal(item_end(&b, at), OK);
	assert_int_equal(store_receive(s, leader % 3 + 1, buf_bytes(&b)), OK);
	buf_done(&b);
	cluster_node(&rig, leader)->core_due = rig.now_ns;
	cluster_run(&rig, 1000);
}

static void end(void)
{
	cluster_must_put(&rig, "after", "it", 10000);
	cluster_expect_same(&rig, 10000);
	cluster_done(&rig);
}

static void a_change_that_makes_no_sense_is_not_decided(void **state)
{
	struct store_change c = { .kind = STORE_MEMBER_ADD,
				  .queued.kind = REQUEST_CHANGE };
	uint64_t leader;

	begin(1, 1);
	leader = cluster_wait_leader(&rig, 10000);
	send_request(&c.queued);
	snprintf(c.member.name, sizeof(c.member.name), "n9");
	send_request(&c.queued); /* nobody could ever reach it */
	c.kind = STORE_MEMBER_CLAIM;
	snprintf(c.member.name, sizeof(c.member.name), "n1");
	send_request(&c.queued);
	assert_int_equal(
		store_members(cluster_node(&rig, leader)->store, NULL, 0), 3);
	end();
}

/* A GET of it would have to wait for bytes that come with its own entry. */
static void an_upload_is_committed_alone(void **state)
{
	struct store_op ops[2] = {
		{ .kind = STORE_PUT, .key = bytes_str("k") },
		{ .kind = STORE_GET, .key = bytes_str("k") },
	};
	struct store_result results[2] = { { 0 } };
	struct store_upload u = { .bytes = 3 };
	struct store_write w = { .then_ops = ops,
				 .then_count = 2,
				 .is_txn = true,
				 .results = results,
				 .upload = &u,
				 .queued.kind = REQUEST_WRITE };
	uint64_t leader;

	begin(1, 2);
	leader = cluster_wait_leader(&rig, 10000);
	assert_int_equal(buf_add(&u.buf, "abc", 3), OK);
	send_request(&w.queued);
	buf_done(&u.buf);
	cluster_expect(&rig, leader, "k", NULL, 5000);
	end();
}

static void set_flag(struct store_write *w)
{
	*(bool *)w->user = true;
}

/* Partitions 0 and 1 have different leaders; the node that leads none. */
static uint64_t begin_apart(void)
{
	for (uint64_t seed = 1; seed < 50; seed++) {
		uint64_t a, b;

		begin(2, seed);
		a = cluster_leader(&rig, 0);
		b = cluster_leader(&rig, 1);
		if (a != b)
			return 6 - a - b;
		cluster_done(&rig);
	}
	fail_msg("no seed gives two leaders");
	return 0;
}

/* One share may be done: "nothing happened" would be a lie. */
static void shares_of_which_one_is_doubtful_are_doubtful(void **state)
{
	struct store_write w = { .delete_prefix = true,
				 .prefix = bytes_str("k"),
				 .done = set_flag };
	uint64_t asker = begin_apart();
	bool done = false;

	cluster_kill(&rig, cluster_leader(&rig, 1));
	cluster_run(&rig, 50); /* its link is down, no other leads yet */
	cluster_cut(&rig, cluster_leader(&rig, 0), asker);
	w.user = &done;
	assert_int_equal(store_write(cluster_node(&rig, asker)->store, &w), OK);
	cluster_run(&rig, 15000);
	assert_true(done);
	assert_int_equal(w.err, ERR_UNKNOWN);
	cluster_done(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_change_that_makes_no_sense_is_not_decided),
		cmocka_unit_test(an_upload_is_committed_alone),
		cmocka_unit_test(shares_of_which_one_is_doubtful_are_doubtful),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
