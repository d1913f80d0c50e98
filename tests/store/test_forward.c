/*
 * tests/store/test_forward.c - requests through a node that does not lead: one
 * effect and one answer each, whatever becomes of messages and leaders.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/seed.h"
#include "store/forward.h"
#include "store/hidden.h"
#include "tests/lib/cluster_rig.h"

static struct cluster rig;

/* What the messages between two nodes must suffer; see tamper. */
static struct {
	uint64_t from, to;   /* of interest; 0: any */
	uint8_t drop;	     /* items of this kind are lost, 0: none          */
	uint32_t drop_count; /* so many messages with such items              */
	uint32_t seen;	     /* of them so far                                */
	uint8_t keep;	     /* the last item of this kind is kept           */
	struct buf kept;
	enum err (*send)(struct net *n, uint64_t to, const struct bytes *parts,
			 uint32_t part_count);
} tamper;

static bool has_item(struct bytes message, uint8_t kind)
{
	struct item item;

	while (item_next(&message, &item) == OK) {
		if (item.kind == kind)
			return true;
	}
	return false;
}

static void keep_item(struct bytes message)
{
	struct item item;
	size_t at;

	while (item_next(&message, &item) == OK) {
		if (item.kind != tamper.keep)
			continue;
		tamper.kept.n = 0;
		assert_int_equal(item_begin(&tamper.kept,
					    (enum item_kind)item.kind,
					    item.partition, &at),
				 OK);
		assert_int_equal(
			buf_add(&tamper.kept, item.body.p, item.body.n), OK);
		assert_int_equal(item_end(&tamper.kept, at), OK);
	}
}

static enum err tampered_send(struct net *net, uint64_t to,
			      const struct bytes *parts, uint32_t part_count)
{
	struct cluster_node *n = (struct cluster_node *)net;

	assert_int_equal(part_count, 1);
	if ((!tamper.from || tamper.from == n->id) &&
	    (!tamper.to || tamper.to == to)) {
		if (tamper.keep)
			keep_item(parts[0]);
		if (tamper.drop && has_item(parts[0], tamper.drop)) {
			tamper.seen++;
			if (tamper.seen <= tamper.drop_count)
				return OK;
		}
	}
	return tamper.send(net, to, parts, part_count);
}

/* A cluster of n nodes with a leader; the id of a node that follows. */
static uint64_t begin(uint32_t n, uint64_t seed)
{
	struct cluster_options o;
	uint64_t leader;

	cluster_options_default(&o, n, 1, seed);
	cluster_init(&rig, &o);
	cluster_start_all(&rig);
	buf_done(&tamper.kept);
	tamper.from = tamper.to = 0;
	tamper.drop = tamper.keep = 0;
	tamper.seen = tamper.drop_count = 0;
	tamper.send = rig.node[1].net.send;
	for (uint32_t i = 1; i <= n; i++)
		rig.node[i].net.send = tampered_send;
	leader = cluster_wait_leader(&rig, 20000);
	return leader % n + 1;
}

static void end(void)
{
	cluster_heal_all(&rig);
	tamper.drop = 0;
	cluster_expect_same(&rig, 60000);
	cluster_done(&rig);
	buf_done(&tamper.kept);
}

static void a_write_through_a_follower_is_seen_there_at_once(void **state)
{
	uint64_t follower = begin(3, 1), rev, last = 0;

	for (int i = 0; i < 50; i++) {
		char value[20];
		struct buf b = BUF_INIT;

		snprintf(value, sizeof(value), "v%d", i);
		assert_int_equal(cluster_put(&rig, follower, "k", value, &rev),
				 OK);
		assert_true(rev > last);
		last = rev;
		assert_int_equal(
			cluster_get(&rig, follower, "k", STORE_STALE, &b), OK);
		assert_true(bytes_equal(buf_bytes(&b), bytes_str(value)));
		buf_done(&b);
	}
	end();
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_write_through_a_follower_is_seen_there_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
