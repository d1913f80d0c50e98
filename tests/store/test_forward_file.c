/*
 * tests/store/test_forward_file.c - file operations through a node that does
 * not lead: their bytes, and one effect and one answer each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/forward_internal.h"
#include "tests/lib/cluster_rig.h"

static struct store store = { .o = { .max_value_bytes = 64 << 20 } };
static struct cluster rig;

static const struct request_head head = { .incarnation = 0x77,
					  .sequence = 5000,
					  .floor = 4999,
					  .term = 3,
					  .kind = REQUEST_FILE };
static const struct store_file_op whole = {
	.kind = STORE_FILE_XATTR,
	.flags = STORE_FILE_XATTR_CREATE,
	.set = STORE_SET_GID,
	.fields = STORE_HAS_UID,
	.ino = 1,
	.ino2 = 2,
	.dir_ino = 3,
	.dir2_ino = 4,
	.new_ino = 5,
	.mode = 0100644,
	.uid = 1000,
	.gid = 1001,
	.rdev = 0x103,
	.atime_ns = 6,
	.mtime_ns = 7,
	.off = 8,
	.length = 9,
	.path = { (const uint8_t *)"a/b", 3 },
	.path2 = { (const uint8_t *)"c", 1 },
	.name = { (const uint8_t *)"user.x", 6 },
	.data = { (const uint8_t *)"value", 5 },
	.queued = { .kind = REQUEST_FILE },
};

/* clang-format off */
static const uint8_t golden_body[] = {
	7, 0, 6, 0,	0, 4, 0, 0,	4, 0, 0, 0,	2, 0, 0, 0,
	1, 0, 0, 0, 0, 0, 0, 0,		2, 0, 0, 0, 0, 0, 0, 0,
	3, 0, 0, 0, 0, 0, 0, 0,		4, 0, 0, 0, 0, 0, 0, 0,
	5, 0, 0, 0, 0, 0, 0, 0,
	0xa4, 0x81, 0, 0,	0xe8, 3, 0, 0,	0xe9, 3, 0, 0,	5, 0, 0, 0,
	3, 1, 0, 0, 0, 0, 0, 0,
	6, 0, 0, 0, 0, 0, 0, 0,		7, 0, 0, 0, 0, 0, 0, 0,
	8, 0, 0, 0, 0, 0, 0, 0,		9, 0, 0, 0, 0, 0, 0, 0,
	3, 0, 1, 0, 0, 0, 0, 0,
	'a', '/', 'b', 'c', 'u', 's', 'e', 'r', '.', 'x',
	'v', 'a', 'l', 'u', 'e', 0,
};
static const uint8_t golden_result[] = {
	66, 0, 0, 0, 0, 0, 0, 0,	67, 0, 0, 0, 0, 0, 0, 0,
	68, 0, 0, 0, 0, 0, 0, 0,	69, 0, 0, 0, 0, 0, 0, 0,
};
static const uint8_t golden_window[] = {
	0x77, 0, 0, 0, 0, 0, 0, 0,	0x88, 0x13, 0, 0, 0, 0, 0, 0,
	5, 0, 0, 0, 0, 0, 0, 0,		67, 0, 0, 0, 0, 0, 0, 0,
	68, 0, 0, 0, 0, 0, 0, 0,	69, 0, 0, 0, 0, 0, 0, 0,
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

static void golden_bytes(void **state)
{
	static const struct answer_head answer = { .status = ANSWER_DONE,
						   .kind = REQUEST_FILE };
	struct proxy x = { .s = &store, .node = 2, .head = head };
	struct entry_builder e = { 0 };
	struct buf b = BUF_INIT;

	assert_int_equal(request_encode(&b, &head, &whole.queued), OK);
	assert_int_equal(b.p[32], 5);
	expect_bytes(
		bytes_of(b.p + FORWARD_HEAD_BYTES, b.n - FORWARD_HEAD_BYTES),
		golden_body, sizeof(golden_body));
	b.n = 0;
	x.file = (struct store_file_op){
		.revision = 66, .found_ino = 67, .found_off = 68, .bytes = 69
	};
	assert_int_equal(answer_encode(&b, &answer, &x), OK);
	expect_bytes(
		bytes_of(b.p + FORWARD_HEAD_BYTES, b.n - FORWARD_HEAD_BYTES),
		golden_result, sizeof(golden_result));
	assert_int_equal(window_encode(&e, &x), OK);
	expect_bytes(e.records[0].value, golden_window, sizeof(golden_window));
	buf_done(&b);
	entry_done(&e);
}

static void a_request_comes_back(void **state)
{
	struct bytes in = bytes_of(golden_body, sizeof(golden_body));
	struct store_file_op op = { 0 };
	struct buf b = BUF_INIT;

	assert_int_equal(file_decode(&in, &op), OK);
	assert_int_equal(in.n, 0);
	assert_int_equal(op.kind, STORE_FILE_XATTR);
	assert_true(op.new_ino == 5 && op.dir2_ino == 4 && op.length == 9);
	assert_true(bytes_equal(op.path, bytes_str("a/b")));
	assert_true(bytes_equal(op.path2, bytes_str("c")));
	assert_true(bytes_equal(op.name, bytes_str("user.x")));
	assert_true(bytes_equal(op.data, bytes_str("value")));
	assert_int_equal(file_encode(&b, &op), OK);
	expect_bytes(buf_bytes(&b), golden_body, sizeof(golden_body));
	buf_done(&b);
	for (size_t n = 0; n < sizeof(golden_body); n++) {
		in = bytes_of(golden_body, n);
		assert_int_equal(file_decode(&in, &op), ERR_INVALID);
	}
}

static void a_result_comes_back(void **state)
{
	static const struct answer_head answer = { .status = ANSWER_DONE,
						   .err = ERR_EXISTS,
						   .kind = REQUEST_FILE };
	struct bytes in = bytes_of(golden_result, sizeof(golden_result));
	struct bytes record = bytes_of(golden_window, sizeof(golden_window));
	struct store_file_op op = { .queued = { .kind = REQUEST_FILE } };
	struct proxy x = { .s = &store, .node = 2, .head = head };

	assert_int_equal(answer_decode(in, &answer, &op.queued), OK);
	assert_int_equal(op.err, ERR_EXISTS);
	assert_true(op.revision == 66 && op.found_ino == 67);
	assert_true(op.found_off == 68 && op.bytes == 69);
	assert_int_equal(window_decode(record, version_pack(70, 1), &x),
			 WINDOW_SAME);
	assert_true(x.file.revision == 70 && x.file.found_ino == 67);
	assert_true(x.file.found_off == 68 && x.file.bytes == 69);
	record.n -= 8;
	assert_int_equal(window_decode(record, 1, &x), WINDOW_BAD);
}

/* -------------------------------------------------------------- cluster -- */

/*
 * A cluster of n nodes whose network loses and repeats messages; the leader.
 */
static uint64_t begin(uint32_t n, uint64_t seed, uint32_t loss_permille)
{
	struct cluster_options o;

	cluster_options_default(&o, n, 1, seed);
	o.weather.loss_permille = loss_permille;
	o.weather.repeat_permille = loss_permille;
	o.weather.reorder_permille = loss_permille;
	cluster_init(&rig, &o);
	cluster_start_all(&rig);
	return cluster_wait_leader(&rig, 20000);
}

/* Every node gets blocks that no other gets, each of an entry of its own. */
static void everybody_gets_blocks(uint32_t n, uint64_t seed)
{
	uint64_t given[60], count = 0;

	(void)begin(n, seed, 60);
	for (int i = 0; i < 60; i++) {
		struct store_file_op op = { .kind = STORE_FILE_RESERVE };
		uint64_t id = (uint64_t)i % n + 1;

		if (cluster_file(&rig, id, &op))
			continue; /* in this weather it may fail */
		assert_int_equal(op.found_ino, op.revision << 12);
		for (uint64_t j = 0; j < count; j++)
			assert_true(given[j] != op.found_ino);
		given[count++] = op.found_ino;
	}
	assert_true(count > 40);
	rig.o.weather.loss_permille = 0;
	rig.o.weather.reorder_permille = 0;
	cluster_expect_same(&rig, 20000);
	cluster_done(&rig);
}

static void two_nodes_get_blocks(void **state)
{
	everybody_gets_blocks(2, 51);
}

static void three_nodes_get_blocks(void **state)
{
	everybody_gets_blocks(3, 52);
}

/* What was asked for before the leader went is known to the next one. */
static void a_new_leader_decides(void **state)
{
	uint64_t leader = begin(3, 53, 0), id = leader % 3 + 1;
	struct store_file_op op = { .kind = STORE_FILE_RESERVE };
	uint64_t first;

	assert_int_equal(cluster_file(&rig, id, &op), OK);
	first = op.found_ino;
	cluster_crash(&rig, leader);
	op = (struct store_file_op){ .kind = STORE_FILE_RESERVE };
	assert_int_equal(cluster_file(&rig, id, &op), OK);
	assert_true(op.found_ino > first);
	cluster_start(&rig, leader);
	cluster_expect_same(&rig, 20000);
	cluster_done(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_bytes),
		cmocka_unit_test(a_request_comes_back),
		cmocka_unit_test(a_result_comes_back),
		cmocka_unit_test(two_nodes_get_blocks),
		cmocka_unit_test(three_nodes_get_blocks),
		cmocka_unit_test(a_new_leader_decides),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
