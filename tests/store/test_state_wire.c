/*
 * tests/store/test_state_wire.c - proves store/state_wire.c: the bytes of
 * chunks, replies, questions and answers; everything else is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/seed.h"
#include "store/state_wire.h"
#include "tests/lib/fail_alloc.h"

#define STREAM UINT64_C(0x0102030405060708)

/* clang-format off */
static const uint8_t golden_begin[] = {
	0x38, 0x24, 0x8d, 0xd0, 1, 0, 0, 0,
	8, 7, 6, 5, 4, 3, 2, 1,
	0, 0, 0, 0, 0, 0, 0, 0,
	9, 0, 0, 0, 0, 0, 0, 0,		/* the sender's term */
	0x10, 0x27, 0, 0, 0, 0, 0, 0,		/* index 10000 */
	7, 0, 0, 0, 0, 0, 0, 0,			/* of term 7 */
	0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,
	0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21,
	1, 0, 0, 0, 0, 0, 0, 0,			/* one member: 5, voter */
	5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
};

static const uint8_t golden_end[] = {
	0x96, 0x1e, 0x88, 0xba, 3, 0, 0, 0,
	8, 7, 6, 5, 4, 3, 2, 1,
	3, 0, 0, 0, 0, 0, 0, 0,
	0x40, 0xe2, 1, 0, 0, 0, 0, 0,		/* 123456 records */
};

static const uint8_t golden_records[] = {
	0x8c, 0x3a, 0x1d, 0x72, 2, 0, 0, 0,
	8, 7, 6, 5, 4, 3, 2, 1,
	2, 0, 0, 0, 1, 0, 0, 0,
	/* a record as in a file: checksums, magic, PUT, partition, position */
	0xc4, 0x55, 0xb9, 0xa0, 0x2d, 0x33, 0x6a, 0xbf,
	0x43, 0x52, 1, 0, 4, 0, 2, 0,
	11, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0,
	12, 0, 0, 0, 0, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 2, 0, 5, 0, 0, 0,
	'k', 'e', 'y', 'a', 't', 'v', 'a', 'l', 'u', 'e', 0, 0, 0, 0, 0, 0,
};

static const uint8_t golden_gone[] = {
	0x0e, 0x1b, 0xc9, 0xcb, 4, 0, 0, 0,
	8, 7, 6, 5, 4, 3, 2, 1,
	0, 0, 0, 0, 0, 0, 0, 0,
};

static const uint8_t golden_reply[] = {
	8, 7, 6, 5, 4, 3, 2, 1, 17, 0, 0, 0, 2, 0, 0, 0,
};

static const uint8_t golden_fetch_entry[] = {
	1, 0, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1,
	0x10, 0x27, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0,
};

static const uint8_t golden_fetch_record[] = {
	2, 0, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1,
	2, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 'c', 'h', 'u', 'n', 'k',
};

static const uint8_t golden_fetched[] = {
	2, 1, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1,
};
/* clang-format on */

static const struct record record = {
	.type = RECORD_PUT,
	.partition = 4,
	.position = 2,
	.index = 11,
	.term = 6,
	.stamp_ns = 12,
	.mtime_ns = 13,
	.key = { (const uint8_t *)"key", 3 },
	.attrs = { (const uint8_t *)"at", 2 },
	.value = { (const uint8_t *)"value", 5 },
};

static struct state_chunk make_begin(void)
{
	struct state_chunk c = { .kind = STATE_BEGIN,
				 .stream = STREAM,
				 .term = 9,
				 .stamp_ns = 0x1112131415161718,
				 .clock_ns = 0x2122232425262728,
				 .snapshot = { .index = 10000, .term = 7 } };

	assert_int_equal(raft_conf_add(&c.snapshot.conf, 5, RAFT_VOTER), OK);
	return c;
}

static void expect_bytes(const struct buf *b, const uint8_t *golden, size_t n)
{
	assert_int_equal(b->n, n);
	assert_memory_equal(b->p, golden, n);
}

static void make_records(struct buf *b)
{
	assert_int_equal(state_records_begin(b), OK);
	assert_int_equal(state_records_add(b, STREAM, &record), OK);
	state_records_end(b, STREAM, 2, 1);
}

static void bytes_of_chunks_are_pinned(void **state)
{
	struct state_chunk c = make_begin();
	struct buf b = BUF_INIT;

	assert_int_equal(state_chunk_encode(&b, &c), OK);
	expect_bytes(&b, golden_begin, sizeof(golden_begin));
	b.n = 0;
	c = (struct state_chunk){ .kind = STATE_END,
				  .stream = STREAM,
				  .number = 3,
				  .record_count = 123456 };
	assert_int_equal(state_chunk_encode(&b, &c), OK);
	expect_bytes(&b, golden_end, sizeof(golden_end));
	b.n = 0;
	c = (struct state_chunk){ .kind = STATE_GONE, .stream = STREAM };
	assert_int_equal(state_chunk_encode(&b, &c), OK);
	expect_bytes(&b, golden_gone, sizeof(golden_gone));
	make_records(&b);
	expect_bytes(&b, golden_records, sizeof(golden_records));
	buf_done(&b);
}

static void bytes_of_replies_and_questions_are_pinned(void **state)
{
	struct state_reply reply = { .kind = STATE_AGAIN,
				     .stream = STREAM,
				     .next = 17 };
	struct fetch f = {
		.kind = FETCH_ENTRY, .ticket = STREAM, .index = 10000, .term = 7
	};
	struct buf b = BUF_INIT;

	assert_int_equal(state_reply_encode(&b, &reply), OK);
	expect_bytes(&b, golden_reply, sizeof(golden_reply));
	b.n = 0;
	assert_int_equal(fetch_encode(&b, &f), OK);
	expect_bytes(&b, golden_fetch_entry, sizeof(golden_fetch_entry));
	b.n = 0;
	f = (struct fetch){ .kind = FETCH_RECORD,
			    .ticket = STREAM,
			    .version = version_pack(11, 2),
			    .key = bytes_of("\0chunk", 6) };
	assert_int_equal(fetch_encode(&b, &f), OK);
	expect_bytes(&b, golden_fetch_record, sizeof(golden_fetch_record));
	b.n = 0;
	assert_int_equal(fetched_begin(&b, FETCH_RECORD, STREAM, true), OK);
	expect_bytes(&b, golden_fetched, sizeof(golden_fetched));
	buf_done(&b);
}

static void what_was_encoded_comes_back(void **state)
{
	struct state_chunk c = make_begin(), got;
	struct buf b = BUF_INIT;
	struct record r;

	assert_int_equal(state_chunk_encode(&b, &c), OK);
	assert_int_equal(state_chunk_decode(buf_bytes(&b), &got), OK);
	assert_int_equal(got.kind, STATE_BEGIN);
	assert_true(got.stream == STREAM && got.term == 9);
	assert_int_equal(got.number, 0);
	assert_int_equal(got.stamp_ns, c.stamp_ns);
	assert_int_equal(got.clock_ns, c.clock_ns);
	assert_int_equal(got.snapshot.index, 10000);
	assert_int_equal(got.snapshot.term, 7);
	assert_int_equal(got.snapshot.conf.count, 1);
	assert_int_equal(got.snapshot.conf.id[0], 5);
	make_records(&b);
	assert_int_equal(state_chunk_decode(buf_bytes(&b), &got), OK);
	assert_int_equal(got.kind, STATE_RECORDS);
	assert_int_equal(got.number, 2);
	assert_int_equal(got.records, 1);
	assert_int_equal(state_record_next(&got.payload, STREAM, &r), OK);
	assert_int_equal(r.index, 11);
	assert_int_equal(r.term, 6);
	assert_int_equal(r.position, 2);
	assert_true(bytes_equal(r.key, record.key));
	assert_true(bytes_equal(r.attrs, record.attrs));
	assert_true(bytes_equal(r.value, record.value));
	assert_int_equal(state_record_next(&got.payload, STREAM, &r),
			 ERR_NOT_FOUND);
	buf_done(&b);
}

static void a_record_of_another_stream_does_not_pass(void **state)
{
	struct state_chunk got;
	struct buf b = BUF_INIT;
	struct record r;

	make_records(&b);
	assert_int_equal(state_chunk_decode(buf_bytes(&b), &got), OK);
	assert_int_equal(state_record_next(&got.payload, STREAM + 1, &r),
			 ERR_INVALID);
	buf_done(&b);
}

static void answers_come_back(void **state)
{
	struct buf b = BUF_INIT;
	struct fetched f;
	struct record r;

	assert_int_equal(fetched_begin(&b, FETCH_RECORD, 5, true), OK);
	assert_int_equal(fetched_record_encode(&b, &record), OK);
	assert_int_equal(fetched_decode(buf_bytes(&b), &f), OK);
	assert_true(f.found && f.kind == FETCH_RECORD && f.ticket == 5);
	assert_int_equal(fetched_record(f.payload, &r), OK);
	assert_true(bytes_equal(r.value, record.value));
	f.payload.n -= 8;
	assert_int_equal(fetched_record(f.payload, &r), ERR_INVALID);
	b.n = 0;
	assert_int_equal(fetched_begin(&b, FETCH_ENTRY, 6, false), OK);
	assert_int_equal(fetched_decode(buf_bytes(&b), &f), OK);
	assert_false(f.found);
	b.p[1] = 1; /* found, and nothing there */
	assert_int_equal(fetched_decode(buf_bytes(&b), &f), ERR_INVALID);
	buf_done(&b);
}

static void chunk_is_refused(struct buf *b, bool mend)
{
	struct state_chunk got;

	if (mend && b->n >= 4)
		put_u32(b->p, crc32c(0, b->p + 4, b->n - 4));
	assert_int_equal(state_chunk_decode(buf_bytes(b), &got), ERR_INVALID);
}

static void a_chunk_cut_or_changed_anywhere_is_refused(void **state)
{
	struct state_chunk c = make_begin();
	struct buf b = BUF_INIT;
	size_t n;

	assert_int_equal(state_chunk_encode(&b, &c), OK);
	n = b.n;
	for (b.n = 0; b.n < n; b.n++) {
		chunk_is_refused(&b, false);
		chunk_is_refused(&b, true);
	}
	b.n = 0;
	assert_int_equal(state_chunk_encode(&b, &c), OK);
	for (size_t bit = 0; bit < 8 * n; bit++) {
		b.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		chunk_is_refused(&b, false);
		b.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	buf_done(&b);
}

static void a_chunk_of_impossible_fields_is_refused(void **state)
{
	static const struct {
		size_t off;
		uint8_t value;
	} changes[] = {
		{ 4, 0 },  { 4, 2 }, { 4, 3 },	{ 4, 4 },
		{ 4, 5 },  { 5, 1 }, { 16, 1 }, { 20, 1 }, /* number, records */
		{ 24, 3 }, /* below the snapshot's term */
		{ 38, 1 }, /* index beyond 2^48 */
		{ 64, 2 }, /* more members than bytes */
		{ 72, 0 }, /* nobody */
	};
	struct state_chunk c = make_begin();
	struct buf b = BUF_INIT;

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		b.n = 0;
		assert_int_equal(state_chunk_encode(&b, &c), OK);
		assert_true(b.p[changes[i].off] != changes[i].value);
		b.p[changes[i].off] = changes[i].value;
		chunk_is_refused(&b, true);
	}
	b.n = 0;
	c.stream = 0;
	assert_int_equal(state_chunk_encode(&b, &c), OK);
	chunk_is_refused(&b, true);
	c = make_begin();
	c.snapshot.index = 0;
	b.n = 0;
	assert_int_equal(state_chunk_encode(&b, &c), OK);
	chunk_is_refused(&b, true);
	buf_done(&b);
}

static void other_malformed_bodies_are_refused(void **state)
{
	uint8_t p[FETCH_HEADER_BYTES + RECORD_KEY_BYTES_MAX + 1];
	struct state_reply reply;
	struct fetch f;

	memcpy(p, golden_reply, sizeof(golden_reply));
	assert_int_equal(state_reply_decode(bytes_of(p, 16), &reply), OK);
	assert_int_equal(state_reply_decode(bytes_of(p, 15), &reply),
			 ERR_INVALID);
	p[12] = STATE_REPLY_KIND_MAX;
	assert_int_equal(state_reply_decode(bytes_of(p, 16), &reply),
			 ERR_INVALID);
	p[12] = 1;
	p[13] = 1;
	assert_int_equal(state_reply_decode(bytes_of(p, 16), &reply),
			 ERR_INVALID);
	memset(p, 'x', sizeof(p));
	memcpy(p, golden_fetch_record, sizeof(golden_fetch_record));
	assert_int_equal(fetch_decode(bytes_of(p, sizeof(p) - 1), &f), OK);
	assert_int_equal(f.key.n, RECORD_KEY_BYTES_MAX);
	assert_int_equal(fetch_decode(bytes_of(p, sizeof(p)), &f), ERR_INVALID);
	assert_int_equal(fetch_decode(bytes_of(p, 32), &f), ERR_INVALID);
	assert_int_equal(fetch_decode(bytes_of(p, 31), &f), ERR_INVALID);
	p[0] = FETCH_ENTRY; /* has no key */
	assert_int_equal(fetch_decode(bytes_of(p, 40), &f), ERR_INVALID);
	memcpy(p, golden_fetch_entry, sizeof(golden_fetch_entry));
	assert_int_equal(fetch_decode(bytes_of(p, 32), &f), OK);
	memset(p + 16, 0, 8); /* entry 0 */
	assert_int_equal(fetch_decode(bytes_of(p, 32), &f), ERR_INVALID);
}

static void no_memory_leaves_what_was_there(void **state)
{
	struct state_chunk c = make_begin();
	struct buf b = BUF_INIT;

	for (uint64_t nth = 1;; nth++) {
		enum err err;

		buf_done(&b);
		fail_alloc_at(nth, false);
		err = state_chunk_encode(&b, &c);
		if (!fail_alloc_off())
			break;
		assert_int_equal(err, ERR_NOMEM);
		assert_int_equal(b.n, 0);
	}
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_of_chunks_are_pinned),
		cmocka_unit_test(bytes_of_replies_and_questions_are_pinned),
		cmocka_unit_test(what_was_encoded_comes_back),
		cmocka_unit_test(a_record_of_another_stream_does_not_pass),
		cmocka_unit_test(answers_come_back),
		cmocka_unit_test(a_chunk_cut_or_changed_anywhere_is_refused),
		cmocka_unit_test(a_chunk_of_impossible_fields_is_refused),
		cmocka_unit_test(other_malformed_bodies_are_refused),
		cmocka_unit_test(no_memory_leaves_what_was_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
