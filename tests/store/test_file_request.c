/*
 * tests/store/test_file_request.c - file operations as requests: what is
 * refused before it is queued, and blocks of inode numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/lib/store_rig.h"

enum { MAX_VALUE = 8 << 20, NUMBERS = STORE_INO_BLOCK };

static struct store_rig rig;

static struct bytes text(const char *s)
{
	return s ? bytes_str(s) : (struct bytes){ 0 };
}

/* What store_file_change says of an operation that cannot be. */
struct impossible {
	enum err err;
	enum store_file_kind kind;
	const char *path, *path2, *name, *data;
	uint32_t flags, mode, set, fields;
	uint64_t off, length;
};

/* clang-format off */
static const struct impossible table[] = {
	{ ERR_BAD_KEY, STORE_FILE_CREATE, .path = "" },
	{ ERR_BAD_KEY, STORE_FILE_CREATE, .path = "a/" },
	{ ERR_BAD_KEY, STORE_FILE_CREATE, .path = "a/../b" },
	{ ERR_BAD_KEY, STORE_FILE_REMOVE, .path = "" },
	{ ERR_BAD_KEY, STORE_FILE_WRITE, .path = "" },
	{ ERR_BAD_KEY, STORE_FILE_RENAME, .path = "a", .path2 = "b/" },
	{ ERR_BAD_KEY, STORE_FILE_RENAME, .path = "a", .path2 = "" },
	{ ERR_INVALID, STORE_FILE_CREATE, .path = "a", .path2 = "b" },
	{ ERR_INVALID, STORE_FILE_CREATE, .path = "a", .mode = 0030000 },
	{ ERR_INVALID, STORE_FILE_CREATE, .path = "a", .mode = S_IFLNK },
	{ ERR_INVALID, STORE_FILE_CREATE, .path = "a", .mode = S_IFDIR,
	  .data = "x" },
	{ ERR_INVALID, STORE_FILE_CREATE, .path = "a", .mode = S_IFIFO,
	  .data = "x" },
	{ ERR_INVALID, STORE_FILE_CREATE, .path = "a", .name = "user.x" },
	{ ERR_INVALID, STORE_FILE_CREATE, .path = "a",
	  .flags = STORE_FILE_APPEND },
	{ ERR_INVALID, STORE_FILE_CREATE, .path = "a", .fields = 8 },
	{ ERR_INVALID, STORE_FILE_REMOVE, .path = "a", .data = "x" },
	{ ERR_INVALID, STORE_FILE_RENAME, .path = "a", .path2 = "a/b" },
	{ ERR_INVALID, STORE_FILE_RENAME, .path = "a/b", .path2 = "a",
	  .flags = STORE_FILE_EXCHANGE },
	{ ERR_INVALID, STORE_FILE_RENAME, .path = "a", .path2 = "b",
	  .flags = STORE_FILE_EXCHANGE | STORE_FILE_NOREPLACE },
	{ ERR_INVALID, STORE_FILE_SET, .path = "a", .set = 256 },
	{ ERR_TOO_LARGE, STORE_FILE_SET, .path = "a", .set = STORE_SET_BYTES,
	  .off = MAX_VALUE + 1 },
	{ ERR_TOO_LARGE, STORE_FILE_WRITE, .path = "a", .data = "xy",
	  .off = MAX_VALUE - 1 },
	{ ERR_TOO_LARGE, STORE_FILE_WRITE, .path = "a", .data = "xy",
	  .off = UINT64_MAX },
	{ ERR_INVALID, STORE_FILE_WRITE, .path = "a", .mode = S_IFDIR,
	  .flags = STORE_FILE_MAKE },
	{ ERR_INVALID, STORE_FILE_ALLOCATE, .path = "a" },
	{ ERR_TOO_LARGE, STORE_FILE_ALLOCATE, .path = "a", .off = 1,
	  .length = MAX_VALUE },
	{ ERR_INVALID, STORE_FILE_ALLOCATE, .path = "a", .length = UINT64_MAX,
	  .flags = STORE_FILE_PUNCH },
	{ ERR_INVALID, STORE_FILE_ALLOCATE, .path = "a", .length = 1,
	  .flags = STORE_FILE_PUNCH | STORE_FILE_ZERO },
	{ ERR_INVALID, STORE_FILE_XATTR, .path = "a" },
	{ ERR_INVALID, STORE_FILE_XATTR, .path = "a", .name = "user.x",
	  .flags = STORE_FILE_XATTR_CREATE | STORE_FILE_XATTR_REPLACE },
	{ ERR_INVALID, STORE_FILE_XATTR, .path = "a", .name = "user.x",
	  .data = "v", .flags = STORE_FILE_XATTR_REMOVE },
	{ ERR_INVALID, STORE_FILE_RESERVE, .flags = STORE_FILE_POSIX },
	{ ERR_INVALID, (enum store_file_kind)(STORE_FILE_RESERVE + 1),
	  .path = "a" },
};
/* clang-format on */

static void what_cannot_be_is_not_taken(void **state)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct impossible *t = &table[i];
		struct store_file_op op = { .kind = t->kind,
					    .path = text(t->path),
					    .path2 = text(t->path2),
					    .name = text(t->name),
					    .data = text(t->data),
					    .flags = t->flags,
					    .mode = t->mode,
					    .set = t->set,
					    .fields = t->fields,
					    .off = t->off,
					    .length = t->length };
		enum err err = store_file_change(rig.store, &op);

		if (err != t->err)
			fail_msg("row %zu: %s, not %s", i, err_text(err),
				 err_text(t->err));
	}
}

static void lengths_are_bounded(void **state)
{
	static uint8_t big[STORE_FILE_WRITE_BYTES_MAX + 1];
	static uint8_t longest[STORE_PATH_BYTES_MAX + 1];
	struct store_file_op op = { .kind = STORE_FILE_WRITE,
				    .path = bytes_str("a"),
				    .data = bytes_of(big, sizeof(big)) };

	assert_int_equal(store_file_change(rig.store, &op), ERR_TOO_LARGE);
	memset(longest, 'x', sizeof(longest));
	for (size_t i = 200; i < sizeof(longest); i += 200)
		longest[i] = '/';
	op = (struct store_file_op){ .kind = STORE_FILE_CREATE,
				     .mode = S_IFDIR,
				     .path = bytes_of(longest,
						      sizeof(longest)) };
	assert_int_equal(store_file_change(rig.store, &op), ERR_KEY_TOO_LONG);
	op = (struct store_file_op){ .kind = STORE_FILE_XATTR,
				     .path = bytes_str("a"),
				     .name = bytes_of(longest + 1, 200),
				     .data = bytes_of(big, 32769) };
	assert_int_equal(store_file_change(rig.store, &op), ERR_NOSPC);
	op.name = bytes_of(longest, 256);
	assert_int_equal(store_file_change(rig.store, &op), ERR_INVALID);
}

static uint64_t reserve(const char *path)
{
	struct store_file_op op = { .kind = STORE_FILE_RESERVE,
				    .path = bytes_str(path) };

	assert_int_equal(store_rig_file(&rig, &op), OK);
	assert_int_equal(op.found_ino % NUMBERS, 0);
	assert_true(op.revision > 0 && op.queued.entries == 1);
	return op.found_ino;
}

/* A block is nobody else's, after a crash and a restart too. */
static void blocks_of_numbers_are_never_given_twice(void **state)
{
	uint64_t last = 0;

	for (int i = 0; i < 12; i++) {
		uint64_t ino = reserve(i % 2 ? "some/path" : "");

		if (i > 0)
			assert_true(ino >= last + NUMBERS);
		last = ino;
		if (i == 4)
			store_rig_crash(&rig);
		if (i == 8) {
			store_rig_stop(&rig);
			store_rig_start(&rig);
		}
	}
}

/* The store's own records show nowhere. */
static void a_reservation_is_no_key(void **state)
{
	struct buf b = BUF_INIT;
	struct store_list list = { .limit = 10, .bytes_max = 1 << 20 };

	(void)reserve("");
	store_rig_list(&rig, &list, &b);
	assert_int_equal(b.n, 0);
	buf_done(&b);
}

static void numbers_name_their_partition(void **state)
{
	uint64_t seen = 0;

	for (int i = 0; i < 40; i++) {
		char path[8] = { 'k', (char)('a' + i % 26), (char)('a' + i) };
		uint32_t partition =
			store_partition_of(rig.store, bytes_str(path));

		assert_int_equal(reserve(path) / NUMBERS % 3, partition);
		seen |= 1ull << partition;
	}
	assert_int_equal(seen, 7);
}

static void keys_of_two_partitions(void **state)
{
	char path[4] = "xa", path2[4] = "ya";
	struct store_file_op op = { .kind = STORE_FILE_RENAME,
				    .path = bytes_str(path),
				    .path2 = bytes_str(path2) };

	while (store_partition_of(rig.store, op.path) ==
	       store_partition_of(rig.store, op.path2))
		path2[1]++;
	assert_int_equal(store_file_change(rig.store, &op), ERR_CROSS_PART);
}

static int set_up(void **state)
{
	store_rig_init(&rig, 31, 1);
	rig.max_value_bytes = MAX_VALUE;
	store_rig_stop(&rig);
	store_rig_start(&rig);
	return 0;
}

static int set_up_three(void **state)
{
	store_rig_init(&rig, 32, 3);
	return 0;
}

static int tear_down(void **state)
{
	store_rig_done(&rig);
	return 0;
}

#define UNIT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define THREE(test)                                                            \
	cmocka_unit_test_setup_teardown(test, set_up_three, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(what_cannot_be_is_not_taken),
		UNIT(lengths_are_bounded),
		UNIT(blocks_of_numbers_are_never_given_twice),
		UNIT(a_reservation_is_no_key),
		THREE(numbers_name_their_partition),
		THREE(keys_of_two_partitions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
