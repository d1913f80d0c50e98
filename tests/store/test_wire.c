/*
 * tests/store/test_wire.c - what nodes send each other: the bytes are pinned,
 * everything comes back, nothing malformed passes, counts are never believed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/seed.h"
#include "store/wire.h"
#include "tests/lib/fail_alloc.h"

static const struct engine_record records[] = {
	{ .type = RECORD_PUT,
	  .flags = LOC_EXPIRES,
	  .expiry_ns = 0x1122334455667788,
	  .key = { (const uint8_t *)"key", 3 },
	  .attrs = { (const uint8_t *)"at", 2 },
	  .value = { (const uint8_t *)"value!", 6 } },
	{ .type = RECORD_DELETE, .key = { (const uint8_t *)"gone/123", 8 } },
};

static const struct engine_entry entry = {
	.term = 0x0102030405060708,
	.stamp_ns = 0x1112131415161718,
	.mtime_ns = 0x2122232425262728,
	.records = records,
	.record_count = 2,
};

/* One message: a heartbeat for partition 5, then an append of one entry. */
/* clang-format off */
static const uint8_t golden[] = {
	/* item: kind 1, partition 5, 40 bytes */
	1, 0, 5, 0, 40, 0, 0, 0,
	/* HEARTBEAT; term, commit, context, stamp */
	7, 0, 0x69, 0, 0, 0, 0, 0,
	9, 0, 0, 0, 0, 0, 0, 0,
	77, 0, 0, 0, 0, 0, 0, 0,
	3, 0, 0, 0, 0, 0, 0, 0,
	0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
	/* item: kind 1, partition 5, 152 bytes */
	1, 0, 5, 0, 152, 0, 0, 0,
	/* APPEND; term, index, log term, commit, entry bytes; one entry */
	1, 0, 0x8f, 0, 1, 0, 0, 0,
	9, 0, 0, 0, 0, 0, 0, 0,
	76, 0, 0, 0, 0, 0, 0, 0,
	8, 0, 0, 0, 0, 0, 0, 0,
	75, 0, 0, 0, 0, 0, 0, 0,
	152, 0, 0, 0, 0, 0, 0, 0,
	/* its term, stamp, mtime; 2 records, 72 bytes */
	0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01,
	0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,
	0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21,
	2, 0, 0, 0, 72, 0, 0, 0,
	/* PUT with an expiry */
	1, 2, 3, 0, 2, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0,
	0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
	'k', 'e', 'y', 'a', 't', 'v', 'a', 'l', 'u', 'e', '!', 0, 0, 0, 0, 0,
	/* DELETE */
	2, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0,
	'g', 'o', 'n', 'e', '/', '1', '2', '3',
};

/* A SNAPSHOT: term; index 10, term 8; three members, joint, left by itself. */
static const uint8_t golden_snapshot[] = {
	9, 0, 1, 0, 0, 0, 0, 0,
	9, 0, 0, 0, 0, 0, 0, 0,
	10, 0, 0, 0, 0, 0, 0, 0,
	8, 0, 0, 0, 0, 0, 0, 0,
	3, 0, 0, 0, 1, 0, 0, 0,
	1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
	2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
	0x99, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0,
};

/* A change: explicit; learner 4, voter 3 goes. */
static const uint8_t golden_change[] = {
	2, 0, 0, 0, 2, 0, 0, 0,
	4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
	3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
};
/* clang-format on */

static const struct raft_msg heartbeat = {
	.type = RAFT_MSG_HEARTBEAT,
	.term = 9,
	.commit = 77,
	.context = 3,
	.stamp_ns = 0x1122334455667788,
};

static const struct raft_msg append = {
	.type = RAFT_MSG_APPEND,
	.term = 9,
	.index = 76,
	.log_term = 8,
	.commit = 75,
	.entry_count = 1,
	.entry_bytes = 152,
};

static struct raft_snapshot make_snapshot(void)
{
	struct raft_snapshot s = { .index = 10, .term = 8 };

	assert_int_equal(raft_conf_add(&s.conf, 0x99, RAFT_LEARNER), OK);
	assert_int_equal(raft_conf_add(&s.conf, 2, RAFT_VOTER_OUT), OK);
	assert_int_equal(raft_conf_add(&s.conf, 1, RAFT_VOTER), OK);
	s.conf.auto_leave = true;
	return s;
}

static struct raft_change make_change(void)
{
	return (struct raft_change){
		.transition = RAFT_EXPLICIT,
		.count = 2,
		.item = { { RAFT_ADD_LEARNER, 4 }, { RAFT_REMOVE, 3 } },
	};
}

static void make_message(struct buf *b)
{
	size_t at;

	assert_int_equal(item_begin(b, ITEM_RAFT, 5, &at), OK);
	assert_int_equal(wire_msg_encode(b, &heartbeat), OK);
	assert_int_equal(item_end(b, at), OK);
	assert_int_equal(item_begin(b, ITEM_RAFT, 5, &at), OK);
	assert_int_equal(wire_msg_encode(b, &append), OK);
	assert_int_equal(wire_entry_encode(b, &entry), OK);
	assert_int_equal(item_end(b, at), OK);
}

static void expect_bytes(const struct buf *b, const uint8_t *want, size_t n)
{
	for (size_t i = 0; i < b->n && i < n; i++)
		if (b->p[i] != want[i])
			fail_msg("byte %zu is %02x, not %02x", i, b->p[i],
				 want[i]);
	assert_int_equal(b->n, n);
}

static void golden_bytes(void **state)
{
	struct raft_snapshot s = make_snapshot();
	struct raft_change c = make_change();
	struct raft_msg m = { .type = RAFT_MSG_SNAPSHOT,
			      .term = 9,
			      .snapshot = &s };
	struct buf b = BUF_INIT;

	make_message(&b);
	expect_bytes(&b, golden, sizeof(golden));
	b.n = 0;
	assert_int_equal(wire_msg_encode(&b, &m), OK);
	expect_bytes(&b, golden_snapshot, sizeof(golden_snapshot));
	b.n = 0;
	assert_int_equal(wire_change_encode(&b, &c), OK);
	expect_bytes(&b, golden_change, sizeof(golden_change));
	buf_done(&b);
}

static void expect_same_msg(const struct raft_msg *a, const struct raft_msg *b)
{
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->reject, b->reject);
	assert_int_equal(a->force, b->force);
	assert_true(a->term == b->term && a->index == b->index);
	assert_true(a->log_term == b->log_term && a->commit == b->commit);
	assert_true(a->hint == b->hint && a->context == b->context);
	assert_true(a->stamp_ns == b->stamp_ns);
	assert_int_equal(a->entry_count, b->entry_count);
	assert_true(a->entry_bytes == b->entry_bytes);
}

static void expect_same_entry(const struct engine_entry *a,
			      const struct engine_entry *b)
{
	assert_true(a->term == b->term && a->stamp_ns == b->stamp_ns);
	assert_true(a->mtime_ns == b->mtime_ns);
	assert_int_equal(a->record_count, b->record_count);
	for (uint32_t i = 0; i < a->record_count; i++) {
		const struct engine_record *x = &a->records[i];
		const struct engine_record *y = &b->records[i];

		assert_int_equal(x->type, y->type);
		assert_int_equal(x->flags, y->flags);
		assert_true(x->expiry_ns == y->expiry_ns);
		assert_true(bytes_equal(x->key, y->key));
		assert_true(bytes_equal(x->attrs, y->attrs));
		assert_true(bytes_equal(x->value, y->value));
	}
}

static void a_message_comes_back(void **state)
{
	struct bytes in = bytes_of(golden, sizeof(golden));
	struct raft_snapshot snapshot;
	struct wire_entry we = { 0 };
	struct raft_msg m;
	struct item item;

	assert_int_equal(item_next(&in, &item), OK);
	assert_int_equal(item.kind, ITEM_RAFT);
	assert_int_equal(item.partition, 5);
	assert_int_equal(wire_msg_decode(&item.body, &m, &snapshot), OK);
	expect_same_msg(&m, &heartbeat);
	assert_int_equal(item.body.n, 0);
	assert_int_equal(item_next(&in, &item), OK);
	assert_int_equal(wire_msg_decode(&item.body, &m, &snapshot), OK);
	expect_same_msg(&m, &append);
	assert_int_equal(wire_entry_decode(&item.body, &we), OK);
	expect_same_entry(&we.entry, &entry);
	assert_int_equal(item.body.n, 0);
	assert_int_equal(item_next(&in, &item), ERR_NOT_FOUND);
	wire_entry_done(&we);
}

static void a_snapshot_and_a_change_come_back(void **state)
{
	struct bytes in = bytes_of(golden_snapshot, sizeof(golden_snapshot));
	struct raft_snapshot want = make_snapshot(), got;
	struct raft_change change = make_change(), back;
	struct raft_msg m;

	assert_int_equal(wire_msg_decode(&in, &m, &got), OK);
	assert_ptr_equal(m.snapshot, &got);
	assert_true(got.index == 10 && got.term == 8);
	assert_int_equal(got.conf.count, 3);
	assert_true(got.conf.auto_leave);
	for (uint32_t i = 0; i < 3; i++) {
		assert_true(got.conf.id[i] == want.conf.id[i]);
		assert_int_equal(got.conf.role[i], want.conf.role[i]);
	}
	in = bytes_of(golden_change, sizeof(golden_change));
	assert_int_equal(wire_change_decode(&in, &back), OK);
	assert_int_equal(back.transition, change.transition);
	assert_int_equal(back.count, 2);
	assert_true(back.item[0].id == 4 && back.item[1].id == 3);
	assert_int_equal(back.item[0].op, RAFT_ADD_LEARNER);
	assert_int_equal(back.item[1].op, RAFT_REMOVE);
}

/* An empty change (leave the joint configuration) and an empty membership. */
static void empty_tables_come_back(void **state)
{
	struct raft_change change = { .transition = RAFT_AUTO };
	struct raft_conf conf = { 0 };
	struct buf b = BUF_INIT;
	struct bytes in;

	assert_int_equal(wire_change_encode(&b, &change), OK);
	assert_int_equal(wire_conf_encode(&b, &conf), OK);
	in = buf_bytes(&b);
	change.count = conf.count = 7;
	assert_int_equal(wire_change_decode(&in, &change), OK);
	assert_int_equal(wire_conf_decode(&in, &conf), OK);
	assert_int_equal(change.count, 0);
	assert_int_equal(conf.count, 0);
	assert_int_equal(in.n, 0);
	buf_done(&b);
}

static uint64_t some_number(struct seed *seed)
{
	switch (seed_next(seed) % 3) {
	case 0:
		return 0;
	case 1:
		return seed_next(seed) % 1000;
	}
	return seed_next(seed) >> 17;
}

static struct raft_msg random_msg(struct seed *seed)
{
	return (struct raft_msg){
		.type = 1 + seed_next(seed) % (RAFT_MSG_TYPE_MAX - 1),
		.reject = seed_next(seed) & 1,
		.force = seed_next(seed) & 1,
		.term = some_number(seed),
		.index = some_number(seed),
		.log_term = some_number(seed),
		.commit = some_number(seed),
		.hint = some_number(seed),
		.context = some_number(seed),
		.stamp_ns = some_number(seed),
		.entry_bytes = some_number(seed),
	};
}

static uint64_t seed_of_run(void)
{
	const char *text = getenv("SEED");

	return text ? strtoull(text, NULL, 10) : 20261;
}

static void every_kind_of_message_comes_back(void **state)
{
	uint64_t number = seed_of_run();
	struct buf b = BUF_INIT;
	struct seed seed;

	print_message("SEED=%llu\n", (unsigned long long)number);
	seed_init(&seed, number);
	for (int i = 0; i < 5000; i++) {
		struct raft_msg m = random_msg(&seed), back;
		struct raft_snapshot s = make_snapshot(), got;
		struct bytes in;

		if (m.type == RAFT_MSG_SNAPSHOT)
			m.snapshot = &s;
		b.n = 0;
		assert_int_equal(wire_msg_encode(&b, &m), OK);
		assert_int_equal(b.n % 8, 0);
		in = buf_bytes(&b);
		assert_int_equal(wire_msg_decode(&in, &back, &got), OK);
		assert_int_equal(in.n, 0);
		expect_same_msg(&back, &m);
	}
	buf_done(&b);
}

static void random_entries_come_back(void **state)
{
	static uint8_t noise[70000];
	struct engine_record made[40];
	struct wire_entry we = { 0 };
	struct buf b = BUF_INIT;
	struct seed seed;

	seed_init(&seed, seed_of_run());
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)seed_next(&seed);
	for (int round = 0; round < 300; round++) {
		struct engine_entry e = { .term = some_number(&seed),
					  .records = made };
		struct bytes in;

		e.record_count = 1 + (uint32_t)(seed_next(&seed) % 40);
		for (uint32_t i = 0; i < e.record_count; i++) {
			made[i] = (struct engine_record){
				.type = RECORD_PUT,
				.key = { noise, 1 + seed_next(&seed) % 4352 },
				.attrs = { noise, seed_next(&seed) % 65536 },
				.value = { noise, seed_next(&seed) % 70000 },
			};
			if (seed_next(&seed) & 1) {
				made[i].flags = LOC_EXPIRES | LOC_LINK;
				made[i].expiry_ns = 1 + seed_next(&seed) / 2;
			}
		}
		b.n = 0;
		assert_int_equal(wire_entry_encode(&b, &e), OK);
		assert_int_equal(b.n % 8, 0);
		in = buf_bytes(&b);
		assert_int_equal(wire_entry_decode(&in, &we), OK);
		assert_int_equal(in.n, 0);
		expect_same_entry(&we.entry, &e);
	}
	buf_done(&b);
	wire_entry_done(&we);
}

/* What a reader took for damaged here must not tell peers that it is. */
static void what_is_known_damaged_here_is_not_told(void **state)
{
	struct engine_record r = { .type = RECORD_PUT,
				   .flags = LOC_DAMAGED | LOC_LINK,
				   .key = bytes_str("k") };
	struct engine_entry e = { .term = 1, .records = &r, .record_count = 1 };
	struct wire_entry we = { 0 };
	struct buf b = BUF_INIT;
	struct bytes in;

	assert_int_equal(wire_entry_encode(&b, &e), OK);
	in = buf_bytes(&b);
	assert_int_equal(wire_entry_decode(&in, &we), OK);
	assert_int_equal(we.records[0].flags, LOC_LINK);
	buf_done(&b);
	wire_entry_done(&we);
}

/* ------------------------------------------------------- hostile bytes --- */

static enum err decode_msg(const uint8_t *p, size_t n)
{
	struct bytes in = bytes_of(p, n);
	struct raft_snapshot snapshot;
	struct raft_msg m;
	enum err err = wire_msg_decode(&in, &m, &snapshot);

	if (err) {
		assert_ptr_equal(in.p, p);
		assert_int_equal(in.n, n);
	}
	return err;
}

static enum err decode_entry(const uint8_t *p, size_t n)
{
	struct bytes in = bytes_of(p, n);
	struct wire_entry we = { 0 };
	enum err err = wire_entry_decode(&in, &we);

	if (err) {
		assert_ptr_equal(in.p, p);
		assert_int_equal(in.n, n);
	}
	wire_entry_done(&we);
	return err;
}

/* A copy of exactly n bytes: reading past it is a fault under asan. */
static uint8_t *copy_of(const uint8_t *p, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);

	assert_non_null(copy);
	memcpy(copy, p, n);
	return copy;
}

enum { ENTRY_OFF = 48 + 8 + 48, ENTRY_BYTES = 32 + 72 };

static void what_is_cut_short_is_refused(void **state)
{
	const uint8_t *e = golden + ENTRY_OFF;

	for (size_t n = 0; n < ENTRY_BYTES; n++) {
		uint8_t *p = copy_of(e, n);

		assert_int_equal(decode_entry(p, n), ERR_INVALID);
		free(p);
	}
	assert_int_equal(decode_entry(e, ENTRY_BYTES), OK);
	for (size_t n = 0; n < sizeof(golden_snapshot); n++) {
		uint8_t *p = copy_of(golden_snapshot, n);

		assert_int_equal(decode_msg(p, n), ERR_INVALID);
		free(p);
	}
	for (size_t n = 0; n < sizeof(golden_change); n++) {
		uint8_t *p = copy_of(golden_change, n);
		struct bytes in = bytes_of(p, n);
		struct raft_change change;

		assert_int_equal(wire_change_decode(&in, &change), ERR_INVALID);
		free(p);
	}
	for (size_t n = 1; n < 48; n++) {
		uint8_t *p = copy_of(golden, n);
		struct bytes in = bytes_of(p, n);
		struct item item;

		assert_int_equal(item_next(&in, &item), ERR_INVALID);
		assert_int_equal(in.n, n);
		free(p);
	}
}

struct patch {
	size_t off;
	uint8_t value;
};

static void each_malformed_entry_is_refused(void **state)
{
	static const struct patch patches[] = {
		{ 24, 0 },	/* no records                              */
		{ 24, 3 },	/* more records than there are             */
		{ 24, 1 },	/* fewer                                   */
		{ 26, 255 },	/* very many records                       */
		{ 28, 71 },	/* a length that is no multiple of 8       */
		{ 28, 64 },	/* less than the records need              */
		{ 31, 255 },	/* a length past everything                */
		{ 32, 0 },	/* record type 0                           */
		{ 32, 6 },	/* a hard state                            */
		{ 32, 8 },	/* a type of tomorrow                      */
		{ 33, 0 },	/* an expiry without its flag              */
		{ 33, 2 | 64 }, /* a flag of tomorrow                      */
		{ 33, 2 | 4 },	/* damaged                                 */
		{ 33, 2 | 1 },	/* a content that is not 24 bytes          */
		{ 34, 200 },	/* a key past the end                      */
		{ 35, 17 },	/* a key over 4352 bytes                   */
		{ 36, 200 },	/* attributes past the end                 */
		{ 38, 1 },	/* what is zero                            */
		{ 40, 255 },	/* a value past the end                    */
		{ 43, 255 },	/* a value of 4 GiB                        */
		{ 44, 1 },	/* what is zero                            */
		{ 67, 1 },	/* padding                                 */
		{ 74, 0 },	/* a deletion without a key, and bytes over */
		{ 73, 2 },	/* the flag of an expiry that is not there */
	};

	for (size_t i = 0; i < sizeof(patches) / sizeof(*patches); i++) {
		uint8_t *p = copy_of(golden + ENTRY_OFF, ENTRY_BYTES);

		assert_true(p[patches[i].off] != patches[i].value);
		p[patches[i].off] = patches[i].value;
		if (decode_entry(p, ENTRY_BYTES) != ERR_INVALID)
			fail_msg("patch %zu at %zu passed", i, patches[i].off);
		free(p);
	}
}

static void each_malformed_message_is_refused(void **state)
{
	static const struct patch patches[] = {
		{ 0, 0 },   { 0, RAFT_MSG_TYPE_MAX }, /* unknown type        */
		{ 1, 4 },			      /* unknown flag        */
		{ 2, 0 },			      /* a field not told of */
		{ 3, 1 },			      /* an unknown field    */
		{ 4, 1 },			      /* entries             */
		{ 8, 0 },			      /* a zero that is told */
		{ 23, 1 },			      /* index over 48 bits  */
		{ 32, 33 },			      /* too many members    */
		{ 32, 4 },			      /* more than there are */
		{ 36, 2 },			      /* auto_leave          */
		{ 37, 1 },			      /* what is zero        */
		{ 40, 0 },			      /* nobody              */
		{ 40, 2 },			      /* an id twice         */
		{ 40, 3 },			      /* ids out of order    */
		{ 48, 0 },  { 48, 16 },
		{ 48, 5 }, /* roles               */
		{ 55, 1 }, /* a role over 8 bits  */
		{ 64, 1 }, /* not joint, and left */
	};

	for (size_t i = 0; i < sizeof(patches) / sizeof(*patches); i++) {
		uint8_t *p = copy_of(golden_snapshot, sizeof(golden_snapshot));

		assert_true(p[patches[i].off] != patches[i].value);
		p[patches[i].off] = patches[i].value;
		if (decode_msg(p, sizeof(golden_snapshot)) != ERR_INVALID)
			fail_msg("patch %zu at %zu passed", i, patches[i].off);
		free(p);
	}
}

static void each_malformed_change_is_refused(void **state)
{
	static const struct patch patches[] = {
		{ 0, 33 }, { 0, 3 }, { 3, 1 },	{ 4, 3 },
		{ 5, 1 },  { 8, 0 }, { 16, 4 }, { 23, 1 },
	};

	for (size_t i = 0; i < sizeof(patches) / sizeof(*patches); i++) {
		uint8_t *p = copy_of(golden_change, sizeof(golden_change));
		struct bytes in = bytes_of(p, sizeof(golden_change));
		struct raft_change change;

		p[patches[i].off] = patches[i].value;
		if (wire_change_decode(&in, &change) != ERR_INVALID)
			fail_msg("patch %zu at %zu passed", i, patches[i].off);
		free(p);
	}
}

static void each_malformed_item_is_refused(void **state)
{
	static const struct patch patches[] = {
		{ 0, 0 },  /* no kind                                        */
		{ 1, 1 },  /* what is zero                                   */
		{ 3, 16 }, /* partition 4096 and more                        */
		{ 6, 1 },  /* longer than the message                        */
		{ 7, 2 },  /* over the limit                                 */
		{ 4, 39 }, /* padding that is not zero                       */
	};
	uint8_t *p;
	struct bytes in;
	struct item item;

	for (size_t i = 0; i < sizeof(patches) / sizeof(*patches); i++) {
		p = copy_of(golden, 48);
		p[47] = 1;
		p[patches[i].off] = patches[i].value;
		in = bytes_of(p, 48);
		if (item_next(&in, &item) != ERR_INVALID)
			fail_msg("patch %zu at %zu passed", i, patches[i].off);
		free(p);
	}
	p = copy_of(golden,
		    48); /* of a later version: for the caller to skip */
	p[0] = 200;
	in = bytes_of(p, 48);
	assert_int_equal(item_next(&in, &item), OK);
	assert_int_equal(item.kind, 200);
	assert_int_equal(in.n, 0);
	free(p);
}

/* The count alone would ask for megabytes; the bytes are not there. */
static void a_count_takes_no_memory_before_it_is_proved(void **state)
{
	uint8_t *p = copy_of(golden + ENTRY_OFF, ENTRY_BYTES);
	uint64_t calls = fail_alloc_calls();

	put_u32(p + 24, ENTRY_POSITION_MAX);
	assert_int_equal(decode_entry(p, ENTRY_BYTES), ERR_INVALID);
	put_u32(p + 24, UINT32_MAX);
	assert_int_equal(decode_entry(p, ENTRY_BYTES), ERR_INVALID);
	assert_true(fail_alloc_calls() == calls);
	free(p);
	p = copy_of(golden + 48 + 8, 48 + ENTRY_BYTES);
	put_u32(p + 4, 3);
	assert_int_equal(decode_msg(p, 48 + ENTRY_BYTES), ERR_INVALID);
	put_u32(p + 4, 1);
	assert_int_equal(decode_msg(p, 48 + ENTRY_BYTES), OK);
	free(p);
}

/* The largest entry that the engine takes fits into an item; one above not. */
static void the_largest_entry_fits(void **state)
{
	static uint8_t value[8 << 20];
	struct engine_record r[3] = {
		{ .type = RECORD_PUT, .key = bytes_str("a") },
		{ .type = RECORD_PUT, .key = bytes_str("b") },
		{ .type = RECORD_PUT, .key = bytes_str("c") },
	};
	struct engine_entry e = { .term = 1, .records = r, .record_count = 3 };
	struct wire_entry we = { 0 };
	struct buf b = BUF_INIT;
	struct bytes in;
	size_t at;

	for (int i = 0; i < 3; i++)
		r[i].value = bytes_of(value, sizeof(value) - 72);
	assert_int_equal(item_begin(&b, ITEM_RAFT, 0, &at), OK);
	assert_int_equal(wire_entry_encode(&b, &e), OK);
	assert_int_equal(item_end(&b, at), OK);
	in = bytes_of(b.p + ITEM_HEADER_BYTES, b.n - ITEM_HEADER_BYTES);
	assert_int_equal(wire_entry_decode(&in, &we), OK);
	r[0].value.n += 8;
	b.n = 0;
	assert_int_equal(wire_entry_encode(&b, &e), OK);
	in = buf_bytes(&b);
	assert_int_equal(wire_entry_decode(&in, &we), ERR_INVALID);
	wire_entry_done(&we);
	buf_done(&b);
}

static void an_item_over_the_limit_is_refused(void **state)
{
	struct buf b = BUF_INIT;
	size_t at;

	assert_int_equal(item_begin(&b, ITEM_STATE, 0, &at), OK);
	assert_int_equal(buf_reserve(&b, ITEM_BODY_BYTES_MAX + 8), OK);
	b.n += ITEM_BODY_BYTES_MAX;
	assert_int_equal(item_end(&b, at), OK);
	b.n++;
	assert_int_equal(item_end(&b, at), ERR_TOO_LARGE);
	buf_done(&b);
}

static void no_memory_leaves_everything_as_it_was(void **state)
{
	struct raft_snapshot s = make_snapshot();
	struct raft_msg m = { .type = RAFT_MSG_SNAPSHOT, .snapshot = &s };
	struct bytes in = bytes_of(golden + ENTRY_OFF, ENTRY_BYTES);
	struct wire_entry we = { 0 };

	for (uint64_t nth = 1;; nth++) {
		struct buf b = BUF_INIT;
		enum err err;

		fail_alloc_at(nth, false);
		err = wire_msg_encode(&b, &m);
		if (!fail_alloc_off()) {
			assert_int_equal(err, OK);
			buf_done(&b);
			break;
		}
		assert_int_equal(err, ERR_NOMEM);
		assert_int_equal(b.n, 0);
		buf_done(&b);
	}
	fail_alloc_at(1, false);
	assert_int_equal(wire_entry_decode(&in, &we), ERR_NOMEM);
	assert_true(fail_alloc_off());
	assert_int_equal(in.n, ENTRY_BYTES);
	assert_int_equal(wire_entry_decode(&in, &we), OK);
	wire_entry_done(&we);
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(golden_bytes),
		T(a_message_comes_back),
		T(a_snapshot_and_a_change_come_back),
		T(empty_tables_come_back),
		T(every_kind_of_message_comes_back),
		T(random_entries_come_back),
		T(what_is_known_damaged_here_is_not_told),
		T(what_is_cut_short_is_refused),
		T(each_malformed_entry_is_refused),
		T(each_malformed_message_is_refused),
		T(each_malformed_change_is_refused),
		T(each_malformed_item_is_refused),
		T(a_count_takes_no_memory_before_it_is_proved),
		T(the_largest_entry_fits),
		T(an_item_over_the_limit_is_refused),
		T(no_memory_leaves_everything_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
