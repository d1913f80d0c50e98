/*
 * tests/store/test_files.c - files and directories as the store keeps them:
 * made, removed, changed, linked, looked at, beside plain keys.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "store/file.h"
#include "tests/lib/store_rig.h"

static struct store_rig rig;

static void set_up(uint32_t partitions)
{
	store_rig_init(&rig, 1, partitions);
}

static struct bytes text(const char *s)
{
	return s ? bytes_str(s) : bytes_of(NULL, 0);
}

/* Make path as a mount does; its number, or 0 and *err. */
static enum err make(const char *path, uint32_t mode, const char *data,
		     uint64_t *ino)
{
	struct store_file_op op = {
		.kind = STORE_FILE_CREATE,
		.flags = STORE_FILE_POSIX,
		.path = bytes_str(path),
		.mode = mode,
		.fields = STORE_HAS_MODE | STORE_HAS_UID | STORE_HAS_GID,
		.uid = 1000,
		.gid = 100,
		.data = text(data),
	};
	enum err err = store_rig_file(&rig, &op);

	if (!err && ino)
		*ino = op.found_ino;
	return err;
}

static enum err unlink_path(const char *path, uint32_t flags)
{
	struct store_file_op op = { .kind = STORE_FILE_REMOVE,
				    .flags = STORE_FILE_POSIX | flags,
				    .path = bytes_str(path) };

	return store_rig_file(&rig, &op);
}

static enum err rmdir_path(const char *path)
{
	return unlink_path(path, STORE_FILE_DIRECTORY);
}

static enum err link_path(const char *path, const char *path2)
{
	struct store_file_op op = { .kind = STORE_FILE_LINK,
				    .flags = STORE_FILE_POSIX,
				    .path = bytes_str(path),
				    .path2 = bytes_str(path2) };

	return store_rig_file(&rig, &op);
}

static enum err chmod_path(const char *path, uint64_t ino, uint32_t mode)
{
	struct store_file_op op = { .kind = STORE_FILE_SET,
				    .flags = STORE_FILE_POSIX,
				    .path = text(path),
				    .ino = ino,
				    .set = STORE_SET_MODE,
				    .mode = mode };

	return store_rig_file(&rig, &op);
}

static enum err xattr(const char *path, const char *name, const char *value,
		      uint32_t flags)
{
	struct store_file_op op = { .kind = STORE_FILE_XATTR,
				    .flags = STORE_FILE_POSIX | flags,
				    .path = text(path),
				    .name = bytes_str(name),
				    .data = text(value) };

	return store_rig_file(&rig, &op);
}

static struct store_file look(const char *path)
{
	struct store_file f;

	assert_int_equal(store_file_stat(rig.store, text(path), &f), OK);
	return f;
}

static enum err stat_err(const char *path)
{
	struct store_file f;

	return store_file_stat(rig.store, bytes_str(path), &f);
}

static size_t attr_bytes(const char *key)
{
	struct store_value *v;
	size_t n;

	assert_int_equal(store_get(rig.store, bytes_str(key), &v), OK);
	n = store_value_attrs(v).n;
	store_value_done(v);
	return n;
}

/* ------------------------------------------------------------- numbers --- */

static void a_new_key_has_a_number_without_bytes(void **state)
{
	uint64_t ino;

	set_up(1);
	assert_int_equal(store_rig_put(&rig, "a", "1", NULL), OK);
	assert_int_equal(attr_bytes("a"), 0);
	ino = look("a").ino;
	assert_true(ino > STORE_ROOT_INO);
	assert_int_equal(store_rig_put(&rig, "b", "1", NULL), OK);
	assert_true(look("b").ino != ino);
	/* replaced, it keeps it: a few bytes */
	for (int i = 0; i < 3; i++) {
		assert_int_equal(store_rig_put(&rig, "a", "22", NULL), OK);
		assert_true(look("a").ino == ino);
		assert_in_range(attr_bytes("a"), 1, 7);
	}
	assert_int_equal(look("a").mode, S_IFREG);
	assert_int_equal(look("a").fields, 0);
	assert_int_equal(look("a").bytes, 2);
	/* gone and there again it is another */
	assert_int_equal(store_rig_del(&rig, "a", NULL), OK);
	assert_int_equal(store_rig_put(&rig, "a", "3", NULL), OK);
	assert_true(look("a").ino != ino);
	ino = look("a").ino;
	store_rig_stop(&rig);
	store_rig_start(&rig);
	assert_true(look("a").ino == ino);
	store_rig_done(&rig);
}

struct waiting {
	struct store_write w;
	struct store_op op;
	bool done;
};

static void note_done(struct store_write *w)
{
	struct waiting *x = w->user;

	x->done = true;
}

/* Puts of one key that are decided in one batch: none waits for another. */
static void puts_in_one_batch_keep_the_number(void **state)
{
	enum { PUTS = 8 };
	struct waiting x[PUTS];
	uint64_t rev = 0;

	set_up(1);
	for (int i = 0; i < PUTS; i++) {
		x[i] = (struct waiting){
			.op = { .kind = STORE_PUT,
				.key = bytes_str("k"),
				.value = bytes_str("value") },
			.w = { .then_count = 1, .done = note_done },
		};
		x[i].w.then_ops = &x[i].op;
		x[i].w.user = &x[i];
		assert_int_equal(store_write(rig.store, &x[i].w), OK);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(store_rig_step(&rig), OK);
	for (int i = 0; i < PUTS; i++) {
		assert_true(x[i].done);
		assert_int_equal(x[i].w.err, OK);
		assert_true(i == 0 || x[i].w.revision == rev + 1);
		rev = x[i].w.revision;
	}
	assert_true(look("k").ino == x[0].w.revision << 12);
	assert_in_range(attr_bytes("k"), 1, 7);
	store_rig_done(&rig);
}

static void keys_of_a_transaction_have_their_own_numbers(void **state)
{
	struct store_op ops[3] = { { STORE_PUT, bytes_str("x"), { 0 }, 0 },
				   { STORE_PUT, bytes_str("y"), { 0 }, 0 },
				   { STORE_PUT, bytes_str("z/"), { 0 }, 0 } };
	struct store_write w = { .then_ops = ops, .then_count = 3 };
	uint64_t x, y, z;

	set_up(1);
	assert_int_equal(store_rig_write(&rig, &w), OK);
	x = look("x").ino;
	y = look("y").ino;
	z = look("z").ino;
	assert_true(x != y && y != z && x != z);
	assert_int_equal(look("z").mode, S_IFDIR);
	store_rig_done(&rig);
}

static void an_implicit_directory_keeps_its_number(void **state)
{
	uint64_t ino;

	set_up(1);
	assert_int_equal(store_rig_put(&rig, "d/k", "1", NULL), OK);
	ino = look("d").ino;
	assert_true(look("d").implicit);
	assert_true(look("d").mtime_ns == 0);
	assert_true(ino >> 63);
	/* by a file made in it, by its own key, by a new mode */
	assert_int_equal(make("d/f", S_IFREG | 0644, "x", NULL), OK);
	assert_false(look("d").implicit);
	assert_true(look("d").mtime_ns > 0);
	assert_true(look("d").ino == ino);
	assert_int_equal(store_rig_put(&rig, "e/k", "1", NULL), OK);
	ino = look("e").ino;
	assert_int_equal(store_rig_put(&rig, "e/", "", NULL), OK);
	assert_false(look("e").implicit);
	assert_true(look("e").ino == ino);
	assert_int_equal(store_rig_put(&rig, "f/k", "1", NULL), OK);
	ino = look("f").ino;
	assert_int_equal(chmod_path("f", ino, 0700), OK);
	assert_true(look("f").ino == ino);
	assert_int_equal(look("f").mode, S_IFDIR | 0700);
	store_rig_done(&rig);
}

/* ------------------------------------------------------- make and remove -- */

static void what_is_made_is_what_was_asked_for(void **state)
{
	struct store_file_op dev = { .kind = STORE_FILE_CREATE,
				     .flags = STORE_FILE_POSIX,
				     .path = bytes_str("dev"),
				     .mode = S_IFBLK | 0600,
				     .fields = STORE_HAS_MODE,
				     .rdev = 0x803 };
	struct store_file f;
	uint64_t ino = 0;

	set_up(1);
	assert_int_equal(make("f", S_IFREG | 04755, "data", &ino), OK);
	f = look("f");
	assert_true(f.ino == ino);
	assert_int_equal(f.mode, S_IFREG | 04755);
	assert_int_equal(f.fields, 7);
	assert_int_equal(f.uid, 1000);
	assert_int_equal(f.gid, 100);
	assert_int_equal(f.nlink, 1);
	assert_int_equal(f.bytes, 4);
	assert_true(f.mtime_ns > 0);
	assert_true(f.mtime_ns == f.ctime_ns && f.mtime_ns == f.atime_ns);
	store_rig_expect(&rig, "f", "data");
	assert_int_equal(make("d", S_IFDIR | 0711, NULL, NULL), OK);
	assert_int_equal(look("d").mode, S_IFDIR | 0711);
	store_rig_expect(&rig, "d/", "");
	assert_int_equal(make("d/l", S_IFLNK | 0777, "to/where", NULL), OK);
	assert_int_equal(look("d/l").mode, S_IFLNK | 0777);
	assert_int_equal(look("d/l").bytes, 8);
	store_rig_expect(&rig, "d/l", "to/where");
	assert_int_equal(make("p", S_IFIFO | 0600, NULL, NULL), OK);
	assert_int_equal(look("p").mode, S_IFIFO | 0600);
	assert_int_equal(make("s", S_IFSOCK | 0600, NULL, NULL), OK);
	assert_int_equal(look("s").mode, S_IFSOCK | 0600);
	assert_int_equal(store_rig_file(&rig, &dev), OK);
	assert_int_equal(look("dev").mode, S_IFBLK | 0600);
	assert_int_equal(look("dev").rdev, 0x803);
	assert_int_equal(look("dev").fields, STORE_HAS_MODE);
	store_rig_done(&rig);
}

static void a_large_file_is_made_in_chunks(void **state)
{
	static char big[300000];
	uint64_t ino = 0;

	set_up(1);
	memset(big, 'b', sizeof(big) - 1);
	assert_int_equal(make("big", S_IFREG | 0600, big, &ino), OK);
	store_rig_expect(&rig, "big", big);
	assert_int_equal(look("big").bytes, sizeof(big) - 1);
	assert_int_equal(chmod_path("big", ino, 0400), OK);
	store_rig_expect(&rig, "big", big);
	assert_int_equal(look("big").mode, S_IFREG | 0400);
	assert_int_equal(unlink_path("big", 0), OK);
	store_rig_expect(&rig, "big", NULL);
	store_rig_done(&rig);
}

static void what_is_there_is_not_made(void **state)
{
	set_up(1);
	assert_int_equal(make("f", S_IFREG, NULL, NULL), OK);
	assert_int_equal(make("d", S_IFDIR, NULL, NULL), OK);
	assert_int_equal(store_rig_put(&rig, "i/k", "1", NULL), OK);
	assert_int_equal(make("f", S_IFREG, NULL, NULL), ERR_EXISTS);
	assert_int_equal(make("f", S_IFDIR, NULL, NULL), ERR_EXISTS);
	assert_int_equal(make("d", S_IFREG, NULL, NULL), ERR_EXISTS);
	assert_int_equal(make("d", S_IFDIR, NULL, NULL), ERR_EXISTS);
	assert_int_equal(make("i", S_IFREG, NULL, NULL), ERR_EXISTS);
	assert_int_equal(make("i", S_IFDIR, NULL, NULL), ERR_EXISTS);
	assert_int_equal(make("f/x", S_IFREG, NULL, NULL), ERR_NOT_DIR);
	assert_int_equal(make("n/x", S_IFREG, NULL, NULL), ERR_NOT_FOUND);
	assert_int_equal(stat_err("n/x"), ERR_NOT_FOUND);
	assert_int_equal(stat_err("f/x"), ERR_NOT_DIR);
	assert_int_equal(stat_err("f/"), ERR_BAD_KEY);
	assert_int_equal(stat_err(".."), ERR_BAD_KEY);
	store_rig_done(&rig);
}

static void only_what_was_meant_is_removed(void **state)
{
	struct store_file_op op = { .kind = STORE_FILE_REMOVE,
				    .flags = STORE_FILE_POSIX,
				    .path = bytes_str("d/f") };
	uint64_t dir = 0, ino = 0;

	set_up(1);
	assert_int_equal(make("d", S_IFDIR | 0755, NULL, &dir), OK);
	assert_int_equal(make("d/f", S_IFREG | 0644, "x", &ino), OK);
	assert_int_equal(unlink_path("d", 0), ERR_IS_DIR);
	assert_int_equal(rmdir_path("d/f"), ERR_NOT_DIR);
	assert_int_equal(rmdir_path("d"), ERR_NOT_EMPTY);
	assert_int_equal(unlink_path("x", 0), ERR_NOT_FOUND);
	assert_int_equal(unlink_path("d/f/x", 0), ERR_NOT_DIR);
	op.ino = ino + 1;
	assert_int_equal(store_rig_file(&rig, &op), ERR_STALE);
	op.ino = ino;
	op.dir_ino = dir + 1;
	assert_int_equal(store_rig_file(&rig, &op), ERR_STALE);
	op.dir_ino = dir;
	assert_int_equal(store_rig_file(&rig, &op), OK);
	assert_true(op.found_ino == ino);
	assert_int_equal(stat_err("d/f"), ERR_NOT_FOUND);
	assert_int_equal(rmdir_path("d"), OK);
	assert_int_equal(stat_err("d"), ERR_NOT_FOUND);
	store_rig_done(&rig);
}

static void the_last_child_leaves_its_directory(void **state)
{
	uint64_t ino;

	set_up(1);
	assert_int_equal(store_rig_put(&rig, "d/e/k", "1", NULL), OK);
	assert_int_equal(rmdir_path("d/e"), ERR_NOT_EMPTY);
	ino = look("d/e").ino;
	assert_int_equal(unlink_path("d/e/k", 0), OK);
	assert_true(look("d/e").ino == ino);
	assert_false(look("d/e").implicit);
	assert_true(look("d").implicit);
	assert_int_equal(rmdir_path("d/e"), OK);
	assert_int_equal(rmdir_path("d"), OK);
	/* over HTTP nothing stays */
	assert_int_equal(store_rig_put(&rig, "d/e/k", "1", NULL), OK);
	assert_int_equal(store_rig_del(&rig, "d/e/k", NULL), OK);
	assert_int_equal(stat_err("d"), ERR_NOT_FOUND);
	store_rig_done(&rig);
}

static void the_root_is_always_there(void **state)
{
	struct store_file f;

	for (uint32_t partitions = 1; partitions <= 4; partitions += 3) {
		set_up(partitions);
		f = look("");
		assert_true(f.ino == STORE_ROOT_INO);
		assert_int_equal(f.mode, S_IFDIR);
		assert_true(f.implicit);
		assert_int_equal(chmod_path("", STORE_ROOT_INO, 01777), OK);
		for (int i = 0; i < 6; i++) {
			char name[2] = { (char)('a' + i), 0 };
			uint64_t before = look("").mtime_ns;

			store_rig_pass(&rig, 5);
			assert_int_equal(make(name, S_IFREG, NULL, NULL), OK);
			f = look("");
			assert_true(f.mtime_ns >= before + 5000000);
			assert_true(f.mtime_ns == f.ctime_ns);
		}
		assert_true(f.ino == STORE_ROOT_INO);
		assert_int_equal(f.mode, S_IFDIR | 01777);
		assert_int_equal(xattr("", "user.r", "v", 0), OK);
		assert_true(look("").has_xattrs);
		store_rig_done(&rig);
	}
}

/* ---------------------------------------------------------------- times --- */

static void a_file_made_earlier_dates_its_directory(void **state)
{
	struct store_file_op op = {
		.kind = STORE_FILE_CREATE,
		.flags = STORE_FILE_POSIX,
		.path = bytes_str("d/f"),
		.mode = S_IFREG | 0644,
	};
	struct store_file was;

	set_up(1);
	assert_int_equal(make("d", S_IFDIR | 0755, NULL, NULL), OK);
	was = look("d");
	op.mtime_ns = was.mtime_ns + 5;
	store_rig_pass(&rig, 10);
	assert_int_equal(store_rig_file(&rig, &op), OK);
	assert_true(look("d/f").mtime_ns == op.mtime_ns);
	assert_true(look("d/f").ctime_ns == op.mtime_ns);
	assert_true(look("d").mtime_ns == op.mtime_ns);
	assert_true(look("d").ctime_ns == op.mtime_ns);
	/* handed in late: the directory's time does not go back */
	op.path = bytes_str("d/g");
	op.mtime_ns -= 2;
	assert_int_equal(store_rig_file(&rig, &op), OK);
	assert_true(look("d/g").mtime_ns == op.mtime_ns);
	assert_true(look("d").mtime_ns == op.mtime_ns + 2);
	/* but it does from a time that was set; data have the entry's time */
	op.kind = STORE_FILE_WRITE;
	op.flags |= STORE_FILE_MAKE;
	op.path = bytes_str("d/h");
	op.data = bytes_str("x");
	op.mtime_ns -= 2000000000;
	assert_int_equal(store_rig_file(&rig, &op), OK);
	assert_true(look("d").mtime_ns == op.mtime_ns);
	assert_true(look("d/h").mtime_ns > was.mtime_ns);
	store_rig_done(&rig);
}

static void times_change_as_they_should(void **state)
{
	struct store_file_op set = {
		.kind = STORE_FILE_SET,
		.flags = STORE_FILE_POSIX,
		.path = bytes_str("d/f"),
		.set = STORE_SET_ATIME | STORE_SET_MTIME,
		.atime_ns = 1,
		.mtime_ns = 2,
	};
	struct store_file made, f, dir;

	set_up(1);
	assert_int_equal(make("d", S_IFDIR | 0755, NULL, NULL), OK);
	dir = look("d");
	store_rig_pass(&rig, 10);
	assert_int_equal(make("d/f", S_IFREG | 0644, "x", NULL), OK);
	made = look("d/f");
	assert_true(look("d").mtime_ns == made.mtime_ns);
	assert_true(look("d").ctime_ns > dir.ctime_ns);
	store_rig_pass(&rig, 10);
	assert_int_equal(chmod_path("d/f", 0, 0600), OK);
	f = look("d/f");
	assert_true(f.mtime_ns == made.mtime_ns);
	assert_true(f.atime_ns == made.atime_ns);
	assert_true(f.ctime_ns > made.ctime_ns);
	store_rig_pass(&rig, 10);
	assert_int_equal(store_rig_file(&rig, &set), OK);
	assert_true(look("d/f").ctime_ns > f.ctime_ns);
	f = look("d/f");
	assert_true(f.atime_ns == 1 && f.mtime_ns == 2);
	/* an HTTP write is a change of the data, nothing else of it changes */
	store_rig_pass(&rig, 10);
	assert_int_equal(store_rig_put(&rig, "d/f", "new", NULL), OK);
	assert_true(look("d/f").mtime_ns > f.ctime_ns);
	assert_true(look("d/f").ctime_ns == look("d/f").mtime_ns);
	assert_true(look("d/f").atime_ns == 1);
	assert_int_equal(look("d/f").mode, S_IFREG | 0600);
	assert_int_equal(look("d/f").uid, 1000);
	set.set = STORE_SET_ATIME_NOW;
	store_rig_pass(&rig, 10);
	f = look("d/f");
	assert_int_equal(store_rig_file(&rig, &set), OK);
	assert_true(look("d/f").mtime_ns == f.mtime_ns);
	assert_true(look("d/f").atime_ns == look("d/f").ctime_ns);
	assert_true(look("d/f").atime_ns > f.ctime_ns);
	/* an atime that nobody set stays when the mtime is set */
	assert_int_equal(make("g", S_IFREG | 0644, "x", NULL), OK);
	made = look("g");
	set.path = bytes_str("g");
	set.set = STORE_SET_MTIME;
	assert_int_equal(store_rig_file(&rig, &set), OK);
	assert_true(look("g").mtime_ns == 2);
	assert_true(look("g").atime_ns == made.atime_ns);
	store_rig_expect(&rig, "d/f", "new");
	store_rig_done(&rig);
}

/* What GET shows as Last-Modified. */
static void a_value_has_the_time_that_was_set(void **state)
{
	struct store_file_op set = {
		.kind = STORE_FILE_SET,
		.path = bytes_str("f"),
		.set = STORE_SET_MTIME,
		.mtime_ns = 1234567890000000000,
	};
	struct store_value *v;

	set_up(1);
	assert_int_equal(store_rig_put(&rig, "f", "1", NULL), OK);
	assert_int_equal(store_rig_file(&rig, &set), OK);
	assert_int_equal(link_path("f", "g"), OK);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(
			store_get(rig.store, bytes_str(i ? "f" : "g"), &v), OK);
		assert_true(store_value_info(v)->mtime_ns == set.mtime_ns);
		store_value_done(v);
	}
	assert_int_equal(store_rig_put(&rig, "f", "2", NULL), OK);
	assert_int_equal(store_get(rig.store, bytes_str("g"), &v), OK);
	assert_true(store_value_info(v)->mtime_ns == look("f").mtime_ns);
	assert_true(store_value_info(v)->mtime_ns != set.mtime_ns);
	store_value_done(v);
	store_rig_done(&rig);
}

static void a_mount_keeps_an_expiry(void **state)
{
	struct store_info info;

	set_up(1);
	assert_int_equal(store_rig_put_bytes(&rig, bytes_str("k"),
					     bytes_str("v"), 1000000000, NULL),
			 OK);
	assert_int_equal(chmod_path("k", 0, 0600), OK);
	assert_int_equal(store_stat(rig.store, bytes_str("k"), &info), OK);
	assert_true(info.has_ttl);
	store_rig_pass(&rig, 500);
	assert_int_equal(store_rig_step(&rig), OK);
	store_rig_expect(&rig, "k", "v");
	store_rig_pass(&rig, 700);
	for (int i = 0; i < 3; i++)
		assert_int_equal(store_rig_step(&rig), OK);
	store_rig_expect(&rig, "k", NULL);
	store_rig_done(&rig);
}

/* ----------------------------------------------------------------- xattr -- */

static void expect_xattr(const char *path, const char *name, const char *value)
{
	struct buf b = BUF_INIT;
	enum err err = store_xattr_get(rig.store, bytes_str(path), 0,
				       bytes_str(name), &b);

	assert_int_equal(err, value ? OK : ERR_NO_ATTR);
	if (value)
		assert_true(bytes_equal(buf_bytes(&b), bytes_str(value)));
	buf_done(&b);
}

static void attributes_are_set_and_removed(void **state)
{
	struct buf names = BUF_INIT;
	struct store_file before;

	set_up(1);
	assert_int_equal(store_rig_put(&rig, "f", "value", NULL), OK);
	before = look("f");
	assert_false(before.has_xattrs);
	assert_int_equal(xattr("f", "user.a", "1", 0), OK);
	assert_int_equal(xattr("f", "user.b", "", 0), OK);
	assert_int_equal(xattr("f", "user.c", "3", 0), OK);
	assert_int_equal(xattr("f", "user.b", "new", STORE_FILE_XATTR_REPLACE),
			 OK);
	assert_int_equal(xattr("f", "user.b", "x", STORE_FILE_XATTR_CREATE),
			 ERR_EXISTS);
	assert_int_equal(xattr("f", "user.x", "x", STORE_FILE_XATTR_REPLACE),
			 ERR_NO_ATTR);
	assert_int_equal(xattr("f", "user.x", NULL, STORE_FILE_XATTR_REMOVE),
			 ERR_NO_ATTR);
	assert_int_equal(xattr("n", "user.x", "x", 0), ERR_NOT_FOUND);
	expect_xattr("f", "user.a", "1");
	expect_xattr("f", "user.b", "new");
	expect_xattr("f", "user.x", NULL);
	assert_int_equal(store_xattr_list(rig.store, bytes_str("f"), 0, &names),
			 OK);
	assert_int_equal(names.n, 21);
	assert_memory_equal(names.p, "user.a\0user.c\0user.b", 21);
	buf_done(&names);
	/* they, the number and the value are there whoever writes */
	assert_int_equal(store_rig_put(&rig, "f", "other", NULL), OK);
	assert_true(look("f").ino == before.ino);
	assert_true(look("f").has_xattrs);
	expect_xattr("f", "user.b", "new");
	assert_int_equal(xattr("f", "user.a", NULL, STORE_FILE_XATTR_REMOVE),
			 OK);
	assert_int_equal(xattr("f", "user.b", NULL, STORE_FILE_XATTR_REMOVE),
			 OK);
	assert_int_equal(xattr("f", "user.c", NULL, STORE_FILE_XATTR_REMOVE),
			 OK);
	assert_false(look("f").has_xattrs);
	store_rig_expect(&rig, "f", "other");
	store_rig_done(&rig);
}

static void attributes_have_a_bound(void **state)
{
	static char value[STORE_FILE_ATTR_BYTES_MAX - 31];

	set_up(1);
	memset(value, 'v', sizeof(value) - 1);
	assert_int_equal(make("f", S_IFREG, "x", NULL), OK);
	assert_int_equal(xattr("f", "user.a", value, 0), OK);
	expect_xattr("f", "user.a", value);
	assert_int_equal(xattr("f", "user.b", "more", 0), ERR_NOSPC);
	assert_int_equal(xattr("f", "user.a", value + 100, 0), OK);
	assert_int_equal(xattr("f", "user.b", "more", 0), OK);
	store_rig_stop(&rig);
	store_rig_start(&rig);
	expect_xattr("f", "user.a", value + 100);
	expect_xattr("f", "user.b", "more");
	store_rig_expect(&rig, "f", "x");
	store_rig_done(&rig);
}

/* ----------------------------------------------------------------- links -- */

static void expect_same(const char *a, const char *b, uint32_t nlink)
{
	struct store_file x = look(a), y = look(b);

	assert_true(x.ino == y.ino);
	assert_true(x.rev == y.rev);
	assert_true(x.bytes == y.bytes);
	assert_true(x.mtime_ns == y.mtime_ns && x.ctime_ns == y.ctime_ns);
	assert_int_equal(x.mode, y.mode);
	assert_int_equal(x.nlink, nlink);
	assert_int_equal(y.nlink, nlink);
}

static uint64_t rev_of(const char *key)
{
	struct store_info info;

	assert_int_equal(store_stat(rig.store, bytes_str(key), &info), OK);
	return info.rev;
}

/* path was a name of the file ino; now, NULL: it is none, and no other is. */
static void expect_name(const char *path, uint64_t ino, const char *now)
{
	struct buf name = BUF_INIT;
	enum err err = store_file_name(rig.store, bytes_str(path), ino, &name);

	assert_int_equal(err, now ? OK : ERR_STALE);
	assert_true(bytes_equal(buf_bytes(&name), bytes_str(now ? now : "")));
	buf_done(&name);
}

static void two_names_are_one_file(void **state)
{
	struct store_info info;
	uint64_t ino = 0, rev;

	set_up(1);
	assert_int_equal(make("a", S_IFREG | 0640, "data", &ino), OK);
	assert_int_equal(make("d", S_IFDIR | 0755, NULL, NULL), OK);
	assert_int_equal(link_path("a", "d/b"), OK);
	expect_same("a", "d/b", 2);
	assert_true(look("a").ino == ino);
	store_rig_expect(&rig, "d/b", "data");
	/* written over HTTP by one name, seen by the other */
	assert_int_equal(store_rig_put(&rig, "d/b", "longer data", &rev), OK);
	store_rig_expect(&rig, "a", "longer data");
	expect_same("a", "d/b", 2);
	assert_true(rev_of("a") == rev && rev_of("d/b") == rev);
	assert_int_equal(look("a").mode, S_IFREG | 0640);
	assert_int_equal(store_stat(rig.store, bytes_str("a"), &info), OK);
	assert_int_equal(info.bytes, 11);
	assert_int_equal(chmod_path("a", 0, 0600), OK);
	expect_same("a", "d/b", 2);
	assert_int_equal(xattr("d/b", "user.x", "y", 0), OK);
	expect_xattr("a", "user.x", "y");
	/* a third, and the first goes */
	assert_int_equal(link_path("d/b", "c"), OK);
	expect_same("a", "c", 3);
	assert_int_equal(unlink_path("a", 0), OK);
	assert_int_equal(stat_err("a"), ERR_NOT_FOUND);
	expect_same("d/b", "c", 2);
	store_rig_expect(&rig, "c", "longer data");
	store_rig_stop(&rig);
	store_rig_start(&rig);
	expect_same("d/b", "c", 2);
	/* another file takes the first name: nothing of the old one */
	assert_int_equal(store_rig_put(&rig, "a", "other", NULL), OK);
	assert_int_equal(store_rig_put(&rig, "c", "third", NULL), OK);
	store_rig_expect(&rig, "a", "other");
	store_rig_expect(&rig, "d/b", "third");
	expect_name("d/b", ino, "d/b");
	assert_int_equal(store_rig_del(&rig, "d/b", NULL), OK);
	expect_name("a", ino, "c");
	expect_name("d/b", ino, "c");
	assert_int_equal(look("c").nlink, 1);
	assert_true(look("c").ino == ino);
	store_rig_expect(&rig, "c", "third");
	assert_int_equal(store_rig_del(&rig, "c", NULL), OK);
	store_rig_expect(&rig, "c", NULL);
	expect_name("a", ino, NULL);
	store_rig_done(&rig);
}

static uint64_t all_keys(void)
{
	struct engine_partition_info info;

	engine_partition_info(rig.engine, 0, &info);
	return info.keys;
}

static void nothing_is_left_of_a_linked_file(void **state)
{
	static char big[200000];
	uint64_t before;

	set_up(1);
	memset(big, 'b', sizeof(big) - 1);
	assert_int_equal(make("x", S_IFREG, NULL, NULL), OK);
	before = all_keys(); /* with the root's */
	assert_int_equal(make("a", S_IFREG, big, NULL), OK);
	assert_int_equal(link_path("a", "b"), OK);
	assert_int_equal(link_path("a", "c"), OK);
	store_rig_expect(&rig, "c", big);
	assert_int_equal(store_rig_put(&rig, "b", big + 1, NULL), OK);
	store_rig_expect(&rig, "c", big + 1);
	assert_int_equal(unlink_path("a", 0), OK);
	assert_int_equal(store_rig_del(&rig, "b", NULL), OK);
	assert_int_equal(unlink_path("c", 0), OK);
	assert_true(all_keys() == before);
	/* the same by a prefix */
	assert_int_equal(make("d", S_IFDIR, NULL, NULL), OK);
	assert_int_equal(make("d/a", S_IFREG, big, NULL), OK);
	assert_int_equal(link_path("d/a", "d/b"), OK);
	assert_int_equal(link_path("d/a", "d/c"), OK);
	assert_int_equal(store_rig_del_prefix(&rig, "d/", NULL), OK);
	assert_true(all_keys() == before);
	store_rig_done(&rig);
}

static void a_prefix_takes_some_names(void **state)
{
	uint64_t deleted = 0, keys;

	set_up(1);
	assert_int_equal(make("keep", S_IFREG | 0600, "data", NULL), OK);
	keys = all_keys();
	assert_int_equal(make("d", S_IFDIR, NULL, NULL), OK);
	for (int i = 0; i < 20; i++) {
		char name[8];

		snprintf(name, sizeof(name), "d/%d", i);
		assert_int_equal(link_path("keep", name), OK);
	}
	assert_int_equal(make("d/o", S_IFREG | 0600, "other", NULL), OK);
	assert_int_equal(link_path("d/o", "o"), OK);
	assert_int_equal(look("keep").nlink, 21);
	assert_int_equal(store_rig_del_prefix(&rig, "d/1", &deleted), OK);
	assert_int_equal(deleted, 11);
	assert_int_equal(look("keep").nlink, 10);
	expect_same("keep", "d/0", 10);
	assert_int_equal(store_rig_del_prefix(&rig, "d/", &deleted), OK);
	assert_int_equal(look("keep").nlink, 1);
	assert_int_equal(look("o").nlink, 1);
	store_rig_expect(&rig, "keep", "data");
	store_rig_expect(&rig, "o", "other");
	store_rig_stop(&rig);
	store_rig_start(&rig);
	store_rig_expect(&rig, "keep", "data");
	store_rig_expect(&rig, "o", "other");
	assert_int_equal(store_rig_del_prefix(&rig, "", &deleted), OK);
	assert_int_equal(deleted, 2);
	assert_true(all_keys() < keys);
	store_rig_done(&rig);
}

static void a_name_expires_by_itself(void **state)
{
	struct store_info info;

	set_up(1);
	assert_int_equal(make("a", S_IFREG | 0640, "data", NULL), OK);
	assert_int_equal(link_path("a", "b"), OK);
	assert_int_equal(store_rig_put_bytes(&rig, bytes_str("b"),
					     bytes_str("w"), 1000000000, NULL),
			 OK);
	assert_int_equal(chmod_path("a", 0, 0600), OK);
	assert_int_equal(store_stat(rig.store, bytes_str("a"), &info), OK);
	assert_false(info.has_ttl);
	assert_int_equal(store_stat(rig.store, bytes_str("b"), &info), OK);
	assert_true(info.has_ttl);
	store_rig_pass(&rig, 1200);
	for (int i = 0; i < 3; i++)
		assert_int_equal(store_rig_step(&rig), OK);
	store_rig_expect(&rig, "b", NULL);
	store_rig_expect(&rig, "a", "w");
	assert_int_equal(look("a").nlink, 1);
	store_rig_done(&rig);
}

static void conditions_know_all_names(void **state)
{
	struct store_op op = { .kind = STORE_PUT,
			       .key = bytes_str("a"),
			       .value = bytes_str("new") };
	struct store_condition c = { .kind = STORE_IF_REV,
				     .key = bytes_str("a") };
	struct store_write w = { .conditions = &c,
				 .condition_count = 1,
				 .then_ops = &op,
				 .then_count = 1 };

	set_up(1);
	assert_int_equal(make("a", S_IFREG | 0640, "data", NULL), OK);
	assert_int_equal(link_path("a", "b"), OK);
	c.rev = rev_of("a");
	assert_int_equal(store_rig_put(&rig, "b", "changed", NULL), OK);
	assert_int_equal(store_rig_write(&rig, &w), ERR_PRECONDITION);
	assert_true(w.rev_now == rev_of("b"));
	c.kind = STORE_IF_VALUE;
	c.value = bytes_str("changed");
	assert_int_equal(store_rig_write(&rig, &w), OK);
	store_rig_expect(&rig, "b", "new");
	store_rig_done(&rig);
}

static struct store_op op_of(enum store_op_kind kind, const char *key,
			     const char *value)
{
	return (struct store_op){ .kind = kind,
				  .key = bytes_str(key),
				  .value = text(value) };
}

/* One file by two of its names in one transaction. */
static void a_transaction_may_name_a_file_twice(void **state)
{
	struct store_result results[3];
	struct store_op ops[3] = { op_of(STORE_PUT, "a", "one"),
				   op_of(STORE_DELETE, "b", NULL),
				   op_of(STORE_PUT, "c", "two") };
	struct store_write w = { .then_ops = ops,
				 .then_count = 2,
				 .is_txn = true,
				 .results = results };
	uint64_t ino = 0;

	set_up(1);
	assert_int_equal(make("a", S_IFREG | 0640, "data", &ino), OK);
	assert_int_equal(link_path("a", "b"), OK);
	assert_int_equal(link_path("a", "c"), OK);
	assert_int_equal(store_rig_write(&rig, &w), OK);
	store_rig_expect(&rig, "a", "one");
	store_rig_expect(&rig, "b", NULL);
	store_rig_expect(&rig, "c", "one");
	expect_same("a", "c", 2);
	assert_int_equal(link_path("a", "b"), OK);
	w.then_count = 3;
	assert_int_equal(store_rig_write(&rig, &w), OK);
	store_rig_expect(&rig, "a", "two");
	expect_same("a", "c", 2);
	/* what it would read has not a place to be read from yet */
	ops[0] = op_of(STORE_PUT, "a", "three");
	ops[1] = op_of(STORE_GET, "c", NULL);
	w.then_count = 2;
	assert_int_equal(store_rig_write(&rig, &w), ERR_DUPLICATE);
	ops[0] = op_of(STORE_GET, "c", NULL);
	ops[1] = op_of(STORE_PUT, "a", "three");
	assert_int_equal(store_rig_write(&rig, &w), OK);
	assert_true(results[0].found);
	store_value_done(results[0].value);
	store_rig_expect(&rig, "c", "three");
	ops[0] = op_of(STORE_DELETE, "a", NULL);
	ops[1] = op_of(STORE_DELETE, "c", NULL);
	assert_int_equal(store_rig_write(&rig, &w), OK);
	assert_int_equal(stat_err("a"), ERR_NOT_FOUND);
	assert_int_equal(stat_err("c"), ERR_NOT_FOUND);
	store_rig_done(&rig);
}

static void links_have_their_limits(void **state)
{
	struct store_file_op op = { .kind = STORE_FILE_LINK,
				    .flags = STORE_FILE_POSIX,
				    .path = bytes_str("gone"),
				    .path2 = bytes_str("new") };
	uint64_t ino = 0;

	set_up(1);
	assert_int_equal(make("f", S_IFREG | 0640, "x", &ino), OK);
	assert_int_equal(make("d", S_IFDIR, NULL, NULL), OK);
	assert_int_equal(link_path("d", "e"), ERR_IS_DIR);
	assert_int_equal(link_path("n", "e"), ERR_NOT_FOUND);
	assert_int_equal(link_path("f", "d"), ERR_EXISTS);
	assert_int_equal(link_path("f", "f"), ERR_EXISTS);
	assert_int_equal(link_path("f", "n/f"), ERR_NOT_FOUND);
	assert_int_equal(link_path("f", "f/f"), ERR_NOT_DIR);
	for (int i = 2; i <= STORE_FILE_LINKS_MAX; i++) {
		char name[16];

		snprintf(name, sizeof(name), "d/%d", i);
		assert_int_equal(link_path("f", name), OK);
	}
	assert_int_equal(link_path("f", "more"), ERR_LINKS_MAX);
	assert_int_equal(look("d/77").nlink, STORE_FILE_LINKS_MAX);
	assert_int_equal(store_rig_put(&rig, "d/500", "y", NULL), OK);
	store_rig_expect(&rig, "d/1000", "y");
	/* by its number the file is found though the name is gone */
	assert_int_equal(store_rig_file(&rig, &op), ERR_NOT_FOUND);
	assert_int_equal(unlink_path("f", 0), OK);
	op.ino = ino;
	assert_int_equal(store_rig_file(&rig, &op), OK);
	store_rig_expect(&rig, "new", "y");
	assert_int_equal(chmod_path("f", ino, 0400), OK);
	assert_int_equal(look("new").mode, S_IFREG | 0400);
	assert_int_equal(chmod_path("f", ino + 1, 0400), ERR_STALE);
	store_rig_done(&rig);
}

static void links_and_pipes_have_several_names_too(void **state)
{
	set_up(1);
	assert_int_equal(make("l", S_IFLNK | 0777, "target", NULL), OK);
	assert_int_equal(make("p", S_IFIFO | 0600, NULL, NULL), OK);
	assert_int_equal(link_path("l", "l2"), OK);
	assert_int_equal(link_path("p", "p2"), OK);
	expect_same("l", "l2", 2);
	expect_same("p", "p2", 2);
	assert_int_equal(look("l2").mode, S_IFLNK | 0777);
	assert_int_equal(look("p2").mode, S_IFIFO | 0600);
	store_rig_expect(&rig, "l2", "target");
	for (int i = 0; i < 2; i++) {
		struct store_info info;

		assert_int_equal(
			store_stat(rig.store, bytes_str(i ? "l2" : "l"), &info),
			OK);
		assert_true(info.is_link);
		assert_int_equal(
			store_stat(rig.store, bytes_str(i ? "p2" : "p"), &info),
			OK);
		assert_true(info.is_special);
	}
	assert_int_equal(store_rig_put(&rig, "l2", "x", NULL), ERR_NOT_FILE);
	assert_int_equal(store_rig_put(&rig, "p2", "x", NULL), ERR_NOT_FILE);
	store_rig_done(&rig);
}

/* --------------------------------------------------------------- subdirs -- */

static void expect_subdirs(const char *path, uint64_t n)
{
	uint64_t count;

	assert_int_equal(store_subdirs(rig.store, text(path), &count), OK);
	assert_int_equal(count, n);
}

static void subdirectories_are_counted(void **state)
{
	for (uint32_t partitions = 1; partitions <= 4; partitions += 3) {
		set_up(partitions);
		expect_subdirs("", 0);
		assert_int_equal(make("a", S_IFDIR, NULL, NULL), OK);
		assert_int_equal(make("b", S_IFDIR, NULL, NULL), OK);
		assert_int_equal(store_rig_put(&rig, "c/k", "1", NULL), OK);
		assert_int_equal(store_rig_put(&rig, "d", "1", NULL), OK);
		expect_subdirs("", 3);
		expect_subdirs("a", 0);
		assert_int_equal(store_rig_put(&rig, "a/1/x/y", "1", NULL), OK);
		assert_int_equal(store_rig_put(&rig, "a/1/x/z", "1", NULL), OK);
		assert_int_equal(store_rig_put(&rig, "a/2", "1", NULL), OK);
		assert_int_equal(store_rig_put(&rig, "a/2.", "1", NULL), OK);
		assert_int_equal(store_rig_put(&rig, "a/3/", "", NULL), OK);
		assert_int_equal(store_rig_put(&rig, "a/3/4", "", NULL), OK);
		assert_int_equal(store_rig_put(&rig, "ab/3/4", "", NULL), OK);
		expect_subdirs("a", 2);
		expect_subdirs("a/1", 1);
		expect_subdirs("a/3", 0);
		expect_subdirs("d", 0);
		expect_subdirs("", 4);
		for (int i = 0; i < 9000 && partitions == 1; i++) {
			char key[16];

			snprintf(key, sizeof(key), "m/%d%s", i,
				 i % 1000 == 999 ? "/" : "");
			assert_int_equal(store_rig_put(&rig, key, "", NULL),
					 OK);
		}
		if (partitions == 1)
			expect_subdirs("m", 9);
		store_rig_done(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_key_has_a_number_without_bytes),
		cmocka_unit_test(puts_in_one_batch_keep_the_number),
		cmocka_unit_test(keys_of_a_transaction_have_their_own_numbers),
		cmocka_unit_test(an_implicit_directory_keeps_its_number),
		cmocka_unit_test(what_is_made_is_what_was_asked_for),
		cmocka_unit_test(a_large_file_is_made_in_chunks),
		cmocka_unit_test(what_is_there_is_not_made),
		cmocka_unit_test(only_what_was_meant_is_removed),
		cmocka_unit_test(the_last_child_leaves_its_directory),
		cmocka_unit_test(the_root_is_always_there),
		cmocka_unit_test(a_file_made_earlier_dates_its_directory),
		cmocka_unit_test(times_change_as_they_should),
		cmocka_unit_test(a_value_has_the_time_that_was_set),
		cmocka_unit_test(a_mount_keeps_an_expiry),
		cmocka_unit_test(attributes_are_set_and_removed),
		cmocka_unit_test(attributes_have_a_bound),
		cmocka_unit_test(two_names_are_one_file),
		cmocka_unit_test(nothing_is_left_of_a_linked_file),
		cmocka_unit_test(a_prefix_takes_some_names),
		cmocka_unit_test(a_name_expires_by_itself),
		cmocka_unit_test(conditions_know_all_names),
		cmocka_unit_test(a_transaction_may_name_a_file_twice),
		cmocka_unit_test(links_have_their_limits),
		cmocka_unit_test(links_and_pipes_have_several_names_too),
		cmocka_unit_test(subdirectories_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
