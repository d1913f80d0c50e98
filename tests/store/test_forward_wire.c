/*
 * tests/store/test_forward_wire.c - requests, answers and the record of the
 * window, byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/forward_internal.h"

static struct store store = { .o = { .max_value_bytes = 64 << 20 } };

static const struct store_condition condition = {
	.kind = STORE_IF_REV,
	.key = { (const uint8_t *)"a", 1 },
	.rev = 7,
};
static const struct store_op ops[] = {
	{ .kind = STORE_PUT,
	  .key = { (const uint8_t *)"a", 1 },
	  .value = { (const uint8_t *)"value", 5 },
	  .ttl_ns = 9 },
	{ .kind = STORE_DELETE, .key = { (const uint8_t *)"dir/b", 5 } },
};
static const struct request_head head = {
	.incarnation = 0x0102030405060708,
	.sequence = 5000,
	.floor = 4999,
	.term = 3,
	.kind = REQUEST_WRITE,
	.again = true,
};

/* clang-format off */
static const uint8_t golden_request[] = {
	8, 7, 6, 5, 4, 3, 2, 1,
	0x88, 0x13, 0, 0, 0, 0, 0, 0,
	0x87, 0x13, 0, 0, 0, 0, 0, 0,
	3, 0, 0, 0, 0, 0, 0, 0,
	1, 1, 0, 0, 0, 0, 0, 0,
	/* a transaction that wants results: 1 condition, 2 operations */
	9, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 1, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0,
	'a', 0, 0, 0, 0, 0, 0, 0,
	0, 0, 1, 0, 5, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0,
	'a', 'v', 'a', 'l', 'u', 'e', 0, 0,
	1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	'd', 'i', 'r', '/', 'b', 0, 0, 0,
};

static const uint8_t golden_answer[] = {
	8, 7, 6, 5, 4, 3, 2, 1,
	0x88, 0x13, 0, 0, 0, 0, 0, 0,
	3, 0, 0, 0, 0, 0, 0, 0,
	66, 0, 0, 0, 0, 0, 0, 0,
	1, 0, 1, 1, 0, 0, 0, 0,
	/* revision 66, conditions met, 2 results */
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	66, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0,
	1, 0, 0, 0, 0, 0, 0, 0, 66, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
};

static const uint8_t golden_window[] = {
	8, 7, 6, 5, 4, 3, 2, 1,
	0x88, 0x13, 0, 0, 0, 0, 0, 0,
	1, 1, 2, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0,
	1,
};

static const uint8_t golden_window_key[] = {
	0, 'f', 0, 0, 0, 0, 0, 0, 0, 2, 0x03, 0x88,
};
/* clang-format on */

static void expect_bytes(struct bytes b, const uint8_t *want, size_t n)
{
	for (size_t i = 0; i < b.n && i < n; i++)
		if (b.p[i] != want[i])
			fail_msg("byte %zu is %02x, not %02x", i, b.p[i],
				 want[i]);
	assert_int_equal(b.n, n);
}

static void fill(struct proxy *x, struct store_result *results)
{
	*x = (struct proxy){ .s = &store, .node = 2, .head = head };
	x->write = (struct store_write){ .conditions = &condition,
					 .condition_count = 1,
					 .then_ops = ops,
					 .then_count = 2,
					 .is_txn = true,
					 .results = results,
					 .succeeded = true,
					 .revision = 66 };
	x->write.queued.kind = REQUEST_WRITE;
	results[0] = (struct store_result){ .existed = true, .rev = 66 };
	results[1] = (struct store_result){ 0 };
}

static void golden_bytes(void **state)
{
	static const struct answer_head answer = {
		.incarnation = 0x0102030405060708,
		.sequence = 5000,
		.term = 3,
		.index = 66,
		.status = ANSWER_DONE,
		.kind = REQUEST_WRITE,
		.appended = true,
	};
	struct entry_builder e = { 0 };
	struct store_result results[2];
	struct buf b = BUF_INIT;
	struct proxy x;

	fill(&x, results);
	assert_int_equal(request_encode(&b, &head, &x.write.queued), OK);
	expect_bytes(buf_bytes(&b), golden_request, sizeof(golden_request));
	b.n = 0;
	assert_int_equal(answer_encode(&b, &answer, &x), OK);
	expect_bytes(buf_bytes(&b), golden_answer, sizeof(golden_answer));
	assert_int_equal(window_encode(&e, &x), OK);
	assert_int_equal(e.count, 1);
	expect_bytes(e.records[0].key, golden_window_key,
		     sizeof(golden_window_key));
	expect_bytes(e.records[0].value, golden_window, sizeof(golden_window));
	buf_done(&b);
	entry_done(&e);
}

static void a_request_comes_back(void **state)
{
	struct bytes in = bytes_of(golden_request, sizeof(golden_request));
	struct proxy x = { .s = &store };
	const struct store_write *w = &x.write;

	assert_int_equal(request_head_decode(&in, &x.head), OK);
	assert_true(x.head.sequence == 5000 && x.head.floor == 4999);
	assert_true(x.head.term == 3 && x.head.again);
	assert_int_equal(buf_add(&x.bytes, in.p, in.n), OK);
	assert_int_equal(request_decode(&x), OK);
	assert_true(w->is_txn && w->results && !w->upload);
	assert_int_equal(w->condition_count, 1);
	assert_true(w->conditions[0].rev == 7);
	assert_int_equal(w->then_count, 2);
	assert_true(w->then_ops[0].ttl_ns == 9);
	assert_true(bytes_equal(w->then_ops[0].value, bytes_str("value")));
	assert_true(bytes_equal(w->then_ops[1].key, bytes_str("dir/b")));
	buf_done(&x.bytes);
	free(x.conditions);
	free(x.ops);
	free(x.results);
}

static void an_answer_and_a_record_come_back(void **state)
{
	struct bytes in = bytes_of(golden_answer, sizeof(golden_answer));
	struct bytes record = bytes_of(golden_window, sizeof(golden_window));
	struct store_result results[2];
	struct answer_head answer;
	struct proxy x;

	fill(&x, results);
	x.write.succeeded = false;
	x.write.revision = results[0].rev = 0;
	assert_int_equal(answer_head_decode(&in, &answer), OK);
	assert_int_equal(answer_decode(in, &answer, &x.write.queued), OK);
	assert_true(x.write.succeeded && x.write.revision == 66);
	assert_true(results[0].existed && results[0].rev == 66);
	fill(&x, results);
	results[0] = (struct store_result){ 0 };
	assert_int_equal(window_decode(record, version_pack(70, 3), &x),
			 WINDOW_SAME);
	assert_true(x.write.revision == 70 && results[0].rev == 70);
	assert_true(results[0].existed && !results[1].existed);
	x.head.sequence -= FORWARD_WINDOW;
	assert_int_equal(window_decode(record, 1, &x), WINDOW_PASSED);
	x.head.sequence += 2 * (uint64_t)FORWARD_WINDOW;
	assert_int_equal(window_decode(record, 1, &x), WINDOW_NEW);
	x.head.incarnation++;
	assert_int_equal(window_decode(record, 1, &x), WINDOW_NEW);
}

/* Wherever it is cut. */
static void what_is_malformed_is_refused(void **state)
{
	for (size_t n = 0; n < sizeof(golden_request); n++) {
		struct bytes in = bytes_of(golden_request, n);
		struct proxy x = { .s = &store };
		enum err err = request_head_decode(&in, &x.head);

		if (!err)
			err = buf_add(&x.bytes, in.p, in.n);
		if (!err)
			err = request_decode(&x);
		assert_int_equal(err, ERR_INVALID);
		buf_done(&x.bytes);
		free(x.conditions);
		free(x.ops);
		free(x.results);
	}
	for (size_t n = 0; n < sizeof(golden_answer); n++) {
		struct bytes in = bytes_of(golden_answer, n);
		struct store_result results[2];
		struct answer_head answer;
		struct proxy x;
		enum err err;

		fill(&x, results);
		err = answer_head_decode(&in, &answer);
		if (!err)
			err = answer_decode(in, &answer, &x.write.queued);
		assert_int_equal(err, ERR_INVALID);
	}
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(golden_bytes),
		T(a_request_comes_back),
		T(an_answer_and_a_record_come_back),
		T(what_is_malformed_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
