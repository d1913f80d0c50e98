/*
 * tests/store/test_rename.c - RENAME: what a name takes along, what is refused,
 * its bounds, and who hears of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/lib/store_rig.h"

static struct store_rig rig;

static enum err act(struct store_file_op *op)
{
	store_rig_pass(&rig, 1000); /* every change has a time of its own */
	return store_rig_file(&rig, op);
}

static enum err mv(const char *from, const char *to, uint32_t flags)
{
	struct store_file_op op = { .kind = STORE_FILE_RENAME,
				    .flags = flags,
				    .path = bytes_str(from),
				    .path2 = bytes_str(to) };

	return act(&op);
}

static enum err make(const char *path, uint32_t mode, const char *data)
{
	struct store_file_op op = { .kind = STORE_FILE_CREATE,
				    .mode = mode,
				    .fields = STORE_HAS_MODE,
				    .path = bytes_str(path),
				    .data = bytes_str(data) };

	return act(&op);
}

static enum err ln(const char *from, const char *to)
{
	struct store_file_op op = { .kind = STORE_FILE_LINK,
				    .path = bytes_str(from),
				    .path2 = bytes_str(to) };

	return act(&op);
}

static enum err put(const char *key, const char *value)
{
	return store_rig_put(&rig, key, value, NULL);
}

static struct store_file stat_of(const char *path)
{
	struct store_file file;
	enum err err = store_file_stat(rig.store, bytes_str(path), &file);

	if (err)
		fail_msg("%s: %s", path, err_text(err));
	return file;
}

static void expect_absent(const char *path)
{
	struct store_file file;

	assert_int_equal(store_file_stat(rig.store, bytes_str(path), &file),
			 ERR_NOT_FOUND);
}

static void expect_keys(const char *want)
{
	struct store_list list = { .limit = 100, .bytes_max = 1 << 20 };
	struct buf b = BUF_INIT;

	store_rig_list(&rig, &list, &b);
	if (!bytes_equal(buf_bytes(&b), bytes_str(want)))
		fail_msg("keys \"%.*s\", not \"%s\"", (int)b.n,
			 b.n ? (const char *)b.p : "", want);
	buf_done(&b);
}

/* ------------------------------------------------------- what goes along -- */

static void set_xattr(const char *path)
{
	struct store_file_op op = { .kind = STORE_FILE_XATTR,
				    .path = bytes_str(path),
				    .name = bytes_str("user.colour"),
				    .data = bytes_str("red") };

	assert_int_equal(act(&op), OK);
}

static void expect_xattr(const char *path)
{
	struct buf b = BUF_INIT;

	assert_int_equal(store_xattr_get(rig.store, bytes_str(path), 0,
					 bytes_str("user.colour"), &b),
			 OK);
	assert_true(bytes_equal(buf_bytes(&b), bytes_str("red")));
	buf_done(&b);
}

static void a_file_keeps_all_but_ctime(void **state)
{
	struct store_file was, is;

	assert_int_equal(make("a", S_IFREG | 0640, "value"), OK);
	set_xattr("a");
	was = stat_of("a");
	assert_int_equal(mv("a", "b", 0), OK);
	is = stat_of("b");
	assert_true(is.ctime_ns > was.ctime_ns && is.rev > was.rev);
	was.ctime_ns = is.ctime_ns;
	was.rev = is.rev;
	assert_memory_equal(&was, &is, sizeof(is));
	expect_xattr("b");
	store_rig_expect(&rig, "b", "value");
	expect_keys("b ");
	store_rig_crash(&rig);
	assert_int_equal(stat_of("b").ino, was.ino);
	expect_xattr("b");
}

/* A name alone changes nothing of what lies below it. */
static void below_a_directory_nothing_changes(void **state)
{
	struct store_file dir, file, sub;

	assert_int_equal(make("d", S_IFDIR | 0700, ""), OK);
	assert_int_equal(make("d/s", S_IFDIR | 0711, ""), OK);
	assert_int_equal(make("d/s/f", S_IFREG | 0600, "value"), OK);
	assert_int_equal(put("d/http", "1"), OK);
	set_xattr("d/s/f");
	dir = stat_of("d");
	sub = stat_of("d/s");
	file = stat_of("d/s/f");
	assert_int_equal(mv("d", "e", 0), OK);
	assert_int_equal(stat_of("e").ino, dir.ino);
	assert_int_equal(stat_of("e").mtime_ns, dir.mtime_ns);
	assert_true(stat_of("e").ctime_ns > dir.ctime_ns);
	sub.rev = file.rev = stat_of("e").rev;
	assert_memory_equal(&(struct store_file[]){ stat_of("e/s") }, &sub,
			    sizeof(sub));
	assert_memory_equal(&(struct store_file[]){ stat_of("e/s/f") }, &file,
			    sizeof(file));
	expect_xattr("e/s/f");
	expect_keys("e/ e/http e/s/ e/s/f ");
	expect_absent("d");
}

static uint64_t ttl_of(const char *key)
{
	struct store_value *v;
	uint64_t ttl_ns;

	assert_int_equal(store_get(rig.store, bytes_str(key), &v), OK);
	assert_true(store_value_info(v)->has_ttl);
	ttl_ns = store_value_info(v)->ttl_ns;
	store_value_done(v);
	return ttl_ns;
}

static void expiry_goes_along(void **state)
{
	assert_int_equal(store_rig_put_bytes(&rig, bytes_str("d/t"),
					     bytes_str("v"), 60000000000, NULL),
			 OK);
	assert_int_equal(mv("d/t", "d/u", 0), OK);
	assert_int_equal(mv("d", "e", 0), OK);
	assert_in_range(ttl_of("e/u"), 50000000000, 59000000000);
	store_rig_pass(&rig, 60000);
	assert_int_equal(store_rig_step(&rig), OK);
	expect_absent("e/u");
}

/* Values that lie in chunks are not written again. */
static void large_values_stay_where_they_are(void **state)
{
	static uint8_t big[600000];
	struct store_storage_status was, is;
	struct buf got = BUF_INIT;

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 7 + i / 251);
	assert_int_equal(store_rig_upload(&rig, bytes_str("d/big"),
					  bytes_of(big, sizeof(big)), 65536,
					  NULL),
			 OK);
	store_storage_status(rig.store, &was);
	assert_int_equal(mv("d", "e", 0), OK);
	assert_int_equal(mv("e/big", "f", 0), OK);
	store_storage_status(rig.store, &is);
	assert_true(is.bytes_appended - was.bytes_appended < 10000);
	assert_int_equal(store_rig_read(&rig, bytes_str("f"), &got), OK);
	assert_true(bytes_equal(buf_bytes(&got), bytes_of(big, sizeof(big))));
	buf_done(&got);
	/* What is replaced gives its chunks back. */
	assert_int_equal(put("small", "s"), OK);
	assert_int_equal(mv("small", "f", 0), OK);
	store_storage_status(rig.store, &is);
	assert_true(is.live_bytes < 10000);
}

/* --------------------------------------------------------------- refused -- */

static void what_cannot_be_replaced(void **state)
{
	assert_int_equal(put("f", "1"), OK);
	assert_int_equal(put("d/x", "2"), OK);
	assert_int_equal(make("empty", S_IFDIR | 0755, ""), OK);
	assert_int_equal(mv("none", "b", 0), ERR_NOT_FOUND);
	assert_int_equal(mv("f/x", "b", 0), ERR_NOT_DIR);
	assert_int_equal(mv("f", "d", 0), ERR_IS_DIR);
	assert_int_equal(mv("f", "d/x/y", 0), ERR_NOT_DIR);
	assert_int_equal(mv("d", "f", 0), ERR_NOT_DIR);
	assert_int_equal(mv("empty", "d", 0), ERR_NOT_EMPTY);
	assert_int_equal(mv("d/x", "d", 0), ERR_IS_DIR);
	assert_int_equal(mv("f", "d/x", STORE_FILE_NOREPLACE), ERR_EXISTS);
	assert_int_equal(mv("f", "f", STORE_FILE_NOREPLACE), ERR_EXISTS);
	assert_int_equal(mv("f", "g", STORE_FILE_EXCHANGE), ERR_NOT_FOUND);
	assert_int_equal(mv("f", "no/g", STORE_FILE_POSIX), ERR_NOT_FOUND);
	expect_keys("d/x empty/ f ");
	assert_int_equal(mv("d", "empty", 0), OK);
	assert_int_equal(mv("f", "no/g", 0), OK);
	expect_keys("empty/x no/g ");
}

static void stale_numbers_are_refused(void **state)
{
	struct store_file_op op = { .kind = STORE_FILE_RENAME,
				    .path = bytes_str("d/a"),
				    .path2 = bytes_str("e/b") };
	uint64_t *fields[] = { &op.ino, &op.ino2, &op.dir_ino, &op.dir2_ino };

	assert_int_equal(put("d/a", "1"), OK);
	assert_int_equal(put("e/b", "2"), OK);
	for (int i = 0; i < 4; i++) {
		*fields[i] = 77;
		assert_int_equal(act(&op), ERR_STALE);
		*fields[i] = 0;
	}
	op.ino = stat_of("d/a").ino;
	op.ino2 = stat_of("e/b").ino;
	op.dir_ino = stat_of("d").ino;
	op.dir2_ino = stat_of("e").ino;
	assert_int_equal(act(&op), OK);
	assert_int_equal(op.found_ino, op.ino);
	op.path = bytes_str("e/b");
	op.path2 = bytes_str("e/c");
	op.dir_ino = 0;
	assert_int_equal(act(&op), ERR_STALE); /* ino2: there is nothing */
}

static void nothing_happens_between_names_of_one_file(void **state)
{
	uint64_t rev;

	assert_int_equal(put("a", "1"), OK);
	assert_int_equal(ln("a", "b"), OK);
	rev = store_revision(rig.store, 0);
	assert_int_equal(mv("a", "b", 0), OK);
	assert_int_equal(mv("a", "b", STORE_FILE_EXCHANGE), OK);
	assert_int_equal(mv("a", "a", 0), OK);
	assert_int_equal(store_revision(rig.store, 0), rev);
	assert_int_equal(stat_of("a").nlink, 2);
}

static void the_bounds_are_kept(void **state)
{
	static char keys[128][16];
	static uint8_t value[60000];
	char longest[STORE_PATH_BYTES_MAX + 1];
	struct store_op ops[128];
	struct store_write w = { .then_ops = ops,
				 .then_count = 128,
				 .is_txn = true };

	for (int i = 0; i < 257; i++) {
		for (int j = 0; j < 128; j++) {
			snprintf(keys[j], sizeof(keys[j]), "many/%d",
				 i * 128 + j);
			ops[j] = (struct store_op){ .kind = STORE_PUT,
						    .key = bytes_str(keys[j]) };
		}
		if (i == 256)
			assert_int_equal(mv("many", "more", 0), OK);
		if (i < 256)
			assert_int_equal(store_rig_write(&rig, &w), OK);
	}
	assert_int_equal(put("more/one", ""), OK);
	assert_int_equal(mv("more", "many", 0), ERR_TOO_LARGE);
	for (int i = 0; i < 280; i++) {
		snprintf(keys[0], sizeof(keys[0]), "big/%d", i);
		assert_int_equal(
			store_rig_put_bytes(&rig, bytes_str(keys[0]),
					    bytes_of(value, sizeof(value)), 0,
					    NULL),
			OK);
	}
	assert_int_equal(mv("big", "x", 0), ERR_TOO_LARGE);
	for (int i = 0; i < 10; i++) {
		snprintf(keys[0], sizeof(keys[0]), "big/%d", i);
		assert_int_equal(store_rig_del(&rig, keys[0], NULL), OK);
	}
	assert_int_equal(mv("big", "x", 0), OK);
	assert_int_equal(stat_of("x/279").bytes, sizeof(value));
	expect_absent("big");
	memset(longest, 'x', sizeof(longest));
	for (size_t i = 200; i < sizeof(longest); i += 200)
		longest[i] = '/';
	longest[STORE_PATH_BYTES_MAX - 5] = 0;
	assert_int_equal(put("d/abcdefg", "1"), OK);
	assert_int_equal(mv("d", longest, 0), ERR_KEY_TOO_LONG);
	longest[STORE_PATH_BYTES_MAX - 15] = 0;
	assert_int_equal(mv("d", longest, 0), OK);
}

/* ----------------------------------------------------------- as a mount --- */

static void a_mount_keeps_directories_standing(void **state)
{
	struct store_file from, to, moved;

	assert_int_equal(put("a/sub/f", "1"), OK);
	assert_int_equal(put("b/g", "2"), OK);
	from = stat_of("a");
	to = stat_of("b");
	moved = stat_of("a/sub");
	assert_true(from.implicit && to.implicit && moved.implicit);
	assert_int_equal(mv("a/sub", "b/sub", STORE_FILE_POSIX), OK);
	expect_keys("a/ b/ b/g b/sub/ b/sub/f ");
	/* Those that stay keep their numbers, what went has a new one. */
	assert_int_equal(stat_of("a").ino, from.ino);
	assert_int_equal(stat_of("b").ino, to.ino);
	assert_true(stat_of("b/sub").ino != moved.ino);
	assert_true(stat_of("a").mtime_ns > 0 && !stat_of("a").implicit);
	moved = stat_of("b/sub");
	assert_int_equal(mv("b", "c", 0), OK);
	assert_int_equal(stat_of("c/sub").ino, moved.ino);
	/* The old path may be a directory again, and is another one. */
	assert_int_equal(put("b/again", "1"), OK);
	assert_int_equal(stat_of("b").ino, to.ino);
	assert_true(stat_of("c").ino != to.ino);
}

static void over_http_nothing_stays_behind(void **state)
{
	assert_int_equal(put("a/f", "1"), OK);
	assert_int_equal(mv("a/f", "b/c/f", 0), OK);
	expect_keys("b/c/f ");
	assert_int_equal(mv("b", "a", 0), OK);
	expect_keys("a/c/f ");
}

static void the_times_of_both_directories_change(void **state)
{
	struct store_file a, b;

	assert_int_equal(make("a", S_IFDIR | 0755, ""), OK);
	assert_int_equal(make("b", S_IFDIR | 0755, ""), OK);
	assert_int_equal(make("a/f", S_IFREG | 0644, "1"), OK);
	a = stat_of("a");
	b = stat_of("b");
	assert_int_equal(mv("a/f", "b/f", STORE_FILE_POSIX), OK);
	assert_true(stat_of("a").mtime_ns > a.mtime_ns);
	assert_true(stat_of("b").mtime_ns > b.mtime_ns);
	assert_int_equal(stat_of("a").mtime_ns, stat_of("b").mtime_ns);
	a = stat_of("a");
	assert_int_equal(mv("b/f", "b/g", STORE_FILE_POSIX), OK);
	assert_int_equal(stat_of("a").mtime_ns, a.mtime_ns);
}

/* Names of one file below both directories of an exchange, and one of them. */
static void links_follow_an_exchange(void **state)
{
	assert_int_equal(put("f", "one"), OK);
	assert_int_equal(ln("f", "d/g"), OK);
	assert_int_equal(ln("f", "e/h"), OK);
	assert_int_equal(mv("f", "d", STORE_FILE_EXCHANGE), OK);
	expect_keys("d e/h f/g ");
	assert_int_equal(stat_of("d").nlink, 3);
	assert_int_equal(mv("f", "e", STORE_FILE_EXCHANGE), OK);
	expect_keys("d e/g f/h ");
	assert_int_equal(put("f/h", "two"), OK);
	store_rig_expect(&rig, "d", "two");
	store_rig_expect(&rig, "e/g", "two");
	assert_int_equal(store_rig_del(&rig, "d", NULL), OK);
	assert_int_equal(stat_of("e/g").nlink, 2);
}

/* ------------------------------------------------------------ who hears --- */

static struct buf heard;

static bool after(void *ctx, uint32_t partition, uint64_t rev,
		  const struct store_seen *seen, uint32_t count)
{
	static const char *const words[] = { "put",  "delete",	 "below",
					     "move", "exchange", "reset" };

	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(buf_addf(&heard, "%s %.*s%s%.*s ",
					  words[seen[i].kind],
					  (int)seen[i].key.n, seen[i].key.p,
					  seen[i].to.n ? ">" : "",
					  (int)seen[i].to.n, seen[i].to.p),
				 OK);
	return false;
}

static void expect_heard(const char *want)
{
	if (!bytes_equal(buf_bytes(&heard), bytes_str(want)))
		fail_msg("heard \"%.*s\", not \"%s\"", (int)heard.n, heard.p,
			 want);
	heard.n = 0;
}

static void an_observer_hears_what_it_meant(void **state)
{
	static const struct store_observer observer = { .after = after };

	assert_int_equal(put("a", "1"), OK);
	assert_int_equal(put("d/x", "1"), OK);
	store_observe(rig.store, &observer);
	assert_int_equal(mv("a", "b", 0), OK);
	expect_heard("move a>b delete a put b ");
	assert_int_equal(mv("d", "e", 0), OK);
	expect_heard("move d/>e/ below d/ put e/x ");
	assert_int_equal(mv("b", "e", STORE_FILE_EXCHANGE), OK);
	expect_heard("exchange b>e delete b below e/ put e put b/x ");
	assert_int_equal(put("f", "1"), OK);
	heard.n = 0;
	assert_int_equal(mv("e", "f", STORE_FILE_EXCHANGE), OK);
	expect_heard("exchange e>f put f put e ");
	buf_done(&heard);
}

static void ignore(void *user)
{
}

static void watches_hear_of_both_names(void **state)
{
	struct store_watch *w;
	struct store_event e;

	assert_int_equal(put("d/x", "one"), OK);
	assert_int_equal(put("d/y", "two"), OK);
	assert_int_equal(store_watch_open(rig.store, bytes_str(""), false,
					  bytes_str(""), ignore, NULL, &w),
			 OK);
	assert_int_equal(mv("d", "e", 0), OK);
	for (int i = 0; i < 4; i++) {
		static const char *const keys[] = { "d/x", "d/y", "e/x",
						    "e/y" };

		assert_int_equal(store_watch_next(w, &e), OK);
		assert_int_equal(e.kind,
				 i < 2 ? STORE_EVENT_DELETE : STORE_EVENT_PUT);
		assert_true(bytes_equal(e.key, bytes_str(keys[i])));
		if (i == 3)
			assert_true(bytes_equal(e.value, bytes_str("two")));
	}
	assert_int_equal(store_watch_next(w, &e), ERR_PENDING);
	store_watch_close(w);
}

static void the_number_of_keys_is_right(void **state)
{
	struct store_partition_status s;

	assert_int_equal(put("d/x", "1"), OK);
	assert_int_equal(put("d/y", "1"), OK);
	assert_int_equal(put("a", "1"), OK);
	assert_int_equal(mv("d", "e", 0), OK);
	assert_int_equal(mv("a", "e/x", 0), OK);
	store_partition_status(rig.store, 0, &s);
	assert_int_equal(s.keys, 2);
}

static int set_up(void **state)
{
	store_rig_init(&rig, 71, 1);
	return 0;
}

static int tear_down(void **state)
{
	store_rig_done(&rig);
	return 0;
}

#define UNIT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(a_file_keeps_all_but_ctime),
		UNIT(below_a_directory_nothing_changes),
		UNIT(expiry_goes_along),
		UNIT(large_values_stay_where_they_are),
		UNIT(what_cannot_be_replaced),
		UNIT(stale_numbers_are_refused),
		UNIT(nothing_happens_between_names_of_one_file),
		UNIT(the_bounds_are_kept),
		UNIT(a_mount_keeps_directories_standing),
		UNIT(over_http_nothing_stays_behind),
		UNIT(the_times_of_both_directories_change),
		UNIT(links_follow_an_exchange),
		UNIT(an_observer_hears_what_it_meant),
		UNIT(watches_hear_of_both_names),
		UNIT(the_number_of_keys_is_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
