/*
 * tests/store/test_files_faults.c - file operations when memory fails or bytes
 * are damaged, and readers on other threads while files change.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "store/file.h"
#include "tests/lib/fail_alloc.h"
#include "tests/lib/store_rig.h"

static struct store_rig rig;

/* ---------------------------------------------------------------- memory - */

static char many[100];

static const struct store_file_op ops[] = {
	{ .kind = STORE_FILE_CREATE,
	  .path = { (const uint8_t *)"d/f", 3 },
	  .mode = S_IFREG | 0600,
	  .fields = STORE_HAS_MODE,
	  .data = { (const uint8_t *)"data", 4 } },
	{ .kind = STORE_FILE_XATTR,
	  .path = { (const uint8_t *)"d/f", 3 },
	  .name = { (const uint8_t *)"user.x", 6 },
	  .data = { (const uint8_t *)many, sizeof(many) } },
	{ .kind = STORE_FILE_SET,
	  .path = { (const uint8_t *)"d/f", 3 },
	  .set = STORE_SET_MODE,
	  .mode = 0640 },
	{ .kind = STORE_FILE_LINK,
	  .path = { (const uint8_t *)"d/f", 3 },
	  .path2 = { (const uint8_t *)"d/g", 3 } },
	{ .kind = STORE_FILE_SET,
	  .path = { (const uint8_t *)"d/g", 3 },
	  .set = STORE_SET_UID,
	  .uid = 7 },
	{ .kind = STORE_FILE_REMOVE, .path = { (const uint8_t *)"d/f", 3 } },
	{ .kind = STORE_FILE_REMOVE, .path = { (const uint8_t *)"d/g", 3 } },
	{ .kind = STORE_FILE_REMOVE,
	  .path = { (const uint8_t *)"d", 1 },
	  .flags = STORE_FILE_DIRECTORY },
};

/* Everything that can be seen of the tree, as text. */
static void picture(struct buf *b)
{
	static const char *const paths[] = { "", "d", "d/f", "d/g" };

	for (int i = 0; i < 4; i++) {
		struct store_file f;
		enum err err =
			store_file_stat(rig.store, bytes_str(paths[i]), &f);

		assert_int_equal(buf_addf(b, "%s ", err_text(err)), OK);
		if (err)
			continue;
		assert_int_equal(
			buf_addf(b, "%llx %o %u %u %llu %llu %d ",
				 (unsigned long long)f.ino, f.mode, f.nlink,
				 f.uid, (unsigned long long)f.bytes,
				 (unsigned long long)f.mtime_ns, f.has_xattrs),
			OK);
	}
}

static void every_allocation_may_fail_under_an_operation(void **state)
{
	uint64_t failed = 0;

	store_rig_init(&rig, 3, 1);
	assert_int_equal(store_rig_put(&rig, "d/", "", NULL), OK);
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		struct buf before = BUF_INIT, after = BUF_INIT;

		picture(&before);
		for (uint64_t nth = 1;; nth++) {
			struct store_file_op op = ops[i];
			enum err err;

			op.flags |= STORE_FILE_POSIX;
			fail_alloc_at(nth, false);
			err = store_rig_file(&rig, &op);
			if (!fail_alloc_off()) {
				assert_int_equal(err, OK);
				break;
			}
			failed++;
			if (err == OK)
				break; /* what failed could wait */
			after.n = 0;
			if (err == ERR_UNKNOWN) {
				/* The simulated disk allocates too. */
				store_rig_crash(&rig);
				picture(&after);
				if (!bytes_equal(buf_bytes(&before),
						 buf_bytes(&after)))
					break;
				continue;
			}
			assert_int_equal(err, ERR_NOMEM);
			picture(&after);
			assert_true(bytes_equal(buf_bytes(&before),
						buf_bytes(&after)));
			assert_true(nth < 1000);
		}
		buf_done(&before);
		buf_done(&after);
	}
	assert_true(failed > 20);
	store_rig_done(&rig);
}

static void every_allocation_may_fail_under_a_look(void **state)
{
	struct store_file_op op = ops[0], link = ops[3], attr = ops[1];
	struct store_file f;
	uint64_t failed = 0;

	store_rig_init(&rig, 3, 1);
	rig.read_mode = ENGINE_READ_PREAD;
	store_rig_stop(&rig);
	store_rig_start(&rig);
	assert_int_equal(store_rig_file(&rig, &op), OK);
	assert_int_equal(store_rig_file(&rig, &attr), OK);
	assert_int_equal(store_rig_file(&rig, &link), OK);
	for (uint64_t nth = 1;; nth++) {
		struct buf value = BUF_INIT;
		enum err err;

		fail_alloc_at(nth, false);
		err = store_file_stat(rig.store, bytes_str("d/g"), &f);
		if (!err)
			err = store_xattr_get(rig.store, bytes_str("d/g"), 0,
					      bytes_str("user.x"), &value);
		buf_done(&value);
		if (!fail_alloc_off()) {
			assert_int_equal(err, OK);
			break;
		}
		failed++;
		assert_int_equal(err, ERR_NOMEM);
	}
	assert_true(failed > 2);
	store_rig_done(&rig);
}

/* --------------------------------------------------------------- readers - */

enum { ROUNDS = 1500, READERS = 2 };

static atomic_bool stop;
static _Atomic uint64_t looks;

/* "a" is always there, with its number; so is the directory d. */
static void *look_all_the_time(void *arg)
{
	uint64_t ino = *(uint64_t *)arg;
	uintptr_t wrong = 0;

	while (!atomic_load(&stop)) {
		struct store_file f;
		uint64_t n;
		enum err err = store_file_stat(rig.store, bytes_str("a"), &f);

		wrong += err != OK || f.ino != ino || f.nlink < 1 ||
			 f.nlink > 4 || f.mode != (S_IFREG | 0600);
		err = store_file_stat(rig.store, bytes_str("d"), &f);
		wrong += err != OK || (f.mode & S_IFMT) != S_IFDIR;
		err = store_file_stat_ino(rig.store, bytes_str("d/1"), ino, &f);
		wrong += err != OK || f.ino != ino;
		err = store_file_stat(rig.store, bytes_str("d/2"), &f);
		wrong += err != OK && err != ERR_NOT_FOUND;
		err = store_subdirs(rig.store, bytes_of(NULL, 0), &n);
		wrong += err != OK || n != 1;
		atomic_fetch_add(&looks, 1);
	}
	return (void *)wrong;
}

static enum err change(enum store_file_kind kind, const char *path,
		       const char *path2, uint32_t mode)
{
	struct store_file_op op = { .kind = kind,
				    .flags = STORE_FILE_POSIX,
				    .path = bytes_str(path),
				    .mode = mode,
				    .fields = mode ? STORE_HAS_MODE : 0 };

	if (path2)
		op.path2 = bytes_str(path2);
	return store_rig_file(&rig, &op);
}

static void readers_see_whole_files_while_they_change(void **state)
{
	pthread_t threads[READERS];
	struct store_file f;

	store_rig_init(&rig, 5, 1);
	assert_int_equal(store_rig_put(&rig, "d/k", "1", NULL), OK);
	assert_int_equal(change(STORE_FILE_CREATE, "a", NULL, S_IFREG | 0600),
			 OK);
	assert_int_equal(change(STORE_FILE_LINK, "a", "b", 0), OK);
	assert_int_equal(store_file_stat(rig.store, bytes_str("a"), &f), OK);
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
						look_all_the_time, &f.ino),
				 0);
	for (int i = 0; i < ROUNDS; i++) {
		assert_int_equal(change(STORE_FILE_LINK, "a", "d/1", 0), OK);
		assert_int_equal(store_rig_put(&rig, "d/1", "x", NULL), OK);
		assert_int_equal(change(STORE_FILE_LINK, "d/1", "d/2", 0), OK);
		assert_int_equal(store_rig_del_prefix(&rig, "d/1", NULL), OK);
		assert_int_equal(change(STORE_FILE_REMOVE, "d/2", NULL, 0), OK);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++) {
		void *wrong;

		assert_int_equal(pthread_join(threads[i], &wrong), 0);
		assert_null(wrong);
	}
	assert_true(looks > 100);
	store_rig_done(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_may_fail_under_an_operation),
		cmocka_unit_test(every_allocation_may_fail_under_a_look),
		cmocka_unit_test(readers_see_whole_files_while_they_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
