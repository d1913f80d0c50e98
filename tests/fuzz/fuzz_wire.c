/*
 * Any bytes may come over a link: every decoder answers, reads nothing beyond
 * its input, and what it accepts is encoded to the same bytes again. The first
 * byte chooses where in a message the input stands.
 *
 * Decodes: store/wire.c
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "store/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void expect_same(const struct buf *b, const uint8_t *from,
			const uint8_t *to)
{
	CHECK(bytes_equal(buf_bytes(b), bytes_of(from, (size_t)(to - from))));
}

static void try_entries(struct bytes in)
{
	struct wire_entry we = { 0 };
	struct buf b = BUF_INIT;
	const uint8_t *from = in.p;

	while (wire_entry_decode(&in, &we) == OK) {
		CHECK(!wire_entry_encode(&b, &we.entry));
		expect_same(&b, from, in.p);
		from = in.p;
		b.n = 0;
	}
	wire_entry_done(&we);
	buf_done(&b);
}

static void try_msg(struct bytes in)
{
	struct raft_snapshot snapshot;
	struct buf b = BUF_INIT;
	const uint8_t *from = in.p;
	struct raft_msg m;

	if (wire_msg_decode(&in, &m, &snapshot))
		return;
	CHECK(m.entry_count <= in.n);
	CHECK(!wire_msg_encode(&b, &m));
	expect_same(&b, from, in.p);
	buf_done(&b);
	try_entries(in);
}

static void try_conf(struct bytes in)
{
	struct buf b = BUF_INIT;
	const uint8_t *from = in.p;
	struct raft_conf conf;

	if (wire_conf_decode(&in, &conf))
		return;
	CHECK(!raft_conf_check(&conf));
	CHECK(!wire_conf_encode(&b, &conf));
	expect_same(&b, from, in.p);
	buf_done(&b);
}

static void try_change(struct bytes in)
{
	struct buf b = BUF_INIT;
	const uint8_t *from = in.p;
	struct raft_change change;

	if (wire_change_decode(&in, &change))
		return;
	CHECK(!wire_change_encode(&b, &change));
	expect_same(&b, from, in.p);
	buf_done(&b);
}

static void try_message(struct bytes in)
{
	struct buf b = BUF_INIT;
	const uint8_t *from = in.p;
	struct item item;
	size_t at;

	while (item_next(&in, &item) == OK) {
		if (item.kind < ITEM_KIND_MAX) {
			CHECK(!item_begin(&b, (enum item_kind)item.kind,
					  item.partition, &at));
			CHECK(!buf_add(&b, item.body.p, item.body.n));
			CHECK(!item_end(&b, at));
			expect_same(&b, from, in.p);
			b.n = 0;
		}
		from = in.p;
		if (item.kind == ITEM_RAFT)
			try_msg(item.body);
	}
	buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct bytes in = bytes_of(data + 1, n - 1);

	if (n == 0)
		return 0;
	switch (data[0] % 5) {
	case 0:
		try_message(in);
		break;
	case 1:
		try_msg(in);
		break;
	case 2:
		try_entries(in);
		break;
	case 3:
		try_conf(in);
		break;
	case 4:
		try_change(in);
		break;
	}
	return 0;
}
