/*
 * tests/store/test_outbox.c - items become one message per peer, and memory
 * does not grow with the peers that come and go.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/net.h"
#include "store/group_internal.h"

enum { ITEM_BYTES = 1 << 20, PEERS = 200 };

static uint64_t sent_to, messages;
static size_t sent_bytes;

static enum err net_send(struct net *n, uint64_t to, const struct bytes *parts,
			 uint32_t part_count)
{
	assert_int_equal(part_count, 1);
	sent_to = to;
	sent_bytes = parts[0].n;
	messages++;
	return OK;
}

static struct net net = { .send = net_send };

/* An item of n bytes to a peer. */
static void say(struct store *s, uint64_t to, size_t n)
{
	struct buf *b = outbox_begin(s, to, ITEM_RAFT, 0);
	uint8_t *bytes = calloc(1, n);

	assert_non_null(b);
	assert_non_null(bytes);
	assert_int_equal(buf_add(b, bytes, n), OK);
	outbox_end(s);
	free(bytes);
}

static size_t held(const struct groups *g)
{
	size_t n = 0;

	for (uint32_t i = 0; i < g->peer_count; i++)
		n += g->peers[i].buf.cap;
	for (uint32_t i = 0; i < g->outbox_spare_count; i++)
		n += g->outbox_spares[i].cap;
	return n;
}

static void peers_that_have_gone_leave_no_memory(void **state)
{
	static struct groups g;
	static struct store s;
	size_t first;

	s.groups = &g;
	s.o.net = &net;
	say(&s, 1, ITEM_BYTES);
	outbox_flush(&s);
	first = held(&g);
	for (uint64_t id = 2; id <= PEERS; id++) {
		say(&s, id, ITEM_BYTES);
		outbox_flush(&s);
		assert_int_equal(sent_to, id);
	}
	assert_int_equal(messages, PEERS);
	assert_true(held(&g) <= first);
	outbox_free(&s);
}

static void items_of_a_round_leave_together(void **state)
{
	static struct groups g;
	static struct store s;

	s.groups = &g;
	s.o.net = &net;
	messages = 0;
	for (int round = 1; round <= 3; round++) {
		for (int i = 0; i < 10; i++)
			for (uint64_t id = 1; id <= 4; id++)
				say(&s, id, 100);
		assert_int_equal(messages, 4 * (round - 1));
		outbox_flush(&s);
		assert_int_equal(messages, 4 * round);
		assert_true(sent_bytes >= 1000);
	}
	say(&s, 5, 10);
	assert_non_null(outbox_begin(&s, 5, ITEM_RAFT, 0));
	outbox_drop(&s);
	outbox_flush(&s);
	assert_int_equal(sent_to, 5);
	assert_true(sent_bytes < 100);
	outbox_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peers_that_have_gone_leave_no_memory),
		cmocka_unit_test(items_of_a_round_leave_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
