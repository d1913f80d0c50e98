/*
 * tests/store/test_restore.c - a backup is read to its last byte, and what is
 * made of it is the state it was taken of, in a cluster of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "store/rescue.h"
#include "store/restore.h"
#include "store/store_internal.h"
#include "tests/lib/store_rig.h"

enum { BIG_BYTES = 300000, ROOM_BYTES = 64 << 10 };

static struct store_rig rig;
static uint8_t big[BIG_BYTES];

/* --------------------------------------------------------------- helpers - */

static void take_backup(struct buf *b)
{
	struct store_backup *backup;
	uint8_t *room = malloc(ROOM_BYTES);
	size_t n = 1;

	assert_int_equal(store_backup_open(rig.store, &backup), OK);
	while (n > 0) {
		assert_int_equal(
			store_backup_read(backup, room, ROOM_BYTES, &n), OK);
		assert_int_equal(buf_add(b, room, n), OK);
	}
	store_backup_done(backup);
	free(room);
}

static void write_at(uint64_t off, struct bytes data)
{
	struct store_file_op op = { .kind = STORE_FILE_WRITE,
				    .flags = STORE_FILE_MAKE,
				    .path = bytes_str("pieces"),
				    .off = off,
				    .data = data };

	assert_int_equal(store_rig_file(&rig, &op), OK);
}

/* Chunks, extents over each other, zeros, a hole, chunks that went. */
static void fill_pieces(void)
{
	struct store_file_op cut = { .kind = STORE_FILE_SET,
				     .set = STORE_SET_BYTES,
				     .path = bytes_str("pieces"),
				     .off = 900000 };
	struct store_file_op punch = { .kind = STORE_FILE_ALLOCATE,
				       .flags = STORE_FILE_PUNCH,
				       .path = bytes_str("pieces"),
				       .off = 1000,
				       .length = 100 };

	write_at(0, bytes_of(big, BIG_BYTES));
	write_at(70000, bytes_of(big, 500));
	write_at(69900, bytes_of(big + 1000, 300));
	write_at(800000, bytes_of(big, BIG_BYTES));
	assert_int_equal(store_rig_file(&rig, &punch), OK);
	write_at(1050, bytes_of(big, 20));
	assert_int_equal(store_rig_file(&rig, &cut), OK);
}

/* Everything that a state can have: large, gone, hidden by a prefix, timed. */
static void fill(void)
{
	char key[32], value[32];

	for (size_t i = 0; i < BIG_BYTES; i++)
		big[i] = (uint8_t)(i * 31 ^ i >> 8);
	for (int i = 0; i < 300; i++) {
		snprintf(key, sizeof(key), "d%d/k%d", i % 7, i);
		snprintf(value, sizeof(value), "value %d", i * i);
		assert_int_equal(store_rig_put(&rig, key, value, NULL), OK);
	}
	assert_int_equal(store_rig_del(&rig, "d1/k1", NULL), OK);
	assert_int_equal(store_rig_del_prefix(&rig, "d2/", NULL), OK);
	assert_int_equal(store_rig_put(&rig, "d2/again", "back", NULL), OK);
	assert_int_equal(store_rig_put(&rig, "empty/dir/", "", NULL), OK);
	assert_int_equal(store_rig_upload(&rig, bytes_str("big"),
					  bytes_of(big, BIG_BYTES), 65536,
					  NULL),
			 OK);
	fill_pieces();
	assert_int_equal(store_rig_put_bytes(&rig, bytes_str("timed"),
					     bytes_str("t"), 60000000000, NULL),
			 OK);
}

struct shown {
	struct buf text;
};

static enum err show_item(void *ctx, const struct store_list_item *i)
{
	struct shown *s = ctx;
	struct buf value = BUF_INIT;

	store_rig_read(&rig, i->key, &value);
	assert_int_equal(buf_addf(&s->text, "%.*s rev=%llu bytes=%llu crc=%u\n",
				  (int)i->key.n, (const char *)i->key.p,
				  (unsigned long long)i->info.rev,
				  (unsigned long long)i->info.bytes,
				  crc32c(0, value.p, value.n)),
			 OK);
	buf_done(&value);
	return OK;
}

/* Every key with its revision, size and a checksum of its value. */
static struct buf show_state(void)
{
	struct shown s = { BUF_INIT };
	struct store_list list = { .limit = 100000, .bytes_max = 1 << 30 };

	assert_int_equal(store_list(rig.store, &list, show_item, &s), OK);
	assert_false(list.more);
	buf_done(&list.next);
	buf_done(&list.revision);
	assert_int_equal(buf_add(&s.text, "", 1), OK);
	return s.text;
}

struct making {
	const char *dir, *name;
	struct restore *restore;
};

static enum err begin(void *ctx, const struct backup_head *h)
{
	struct making *m = ctx;
	struct buf why = BUF_INIT;
	const struct restore_options o = { .vfs = vfs_sim_vfs(rig.disk),
					   .clock = &rig.clock.clock,
					   .seed = &rig.seed,
					   .dir = m->dir,
					   .node_name = m->name,
					   .segment_bytes = 1 << 20,
					   .partitions = h->partitions,
					   .parts = h->parts };
	enum err err = restore_begin(&o, &m->restore, &why);

	buf_done(&why);
	return err;
}

static enum err add(void *ctx, const struct record *r)
{
	return restore_add(((struct making *)ctx)->restore, r);
}

/* Make dir of stream, fed in pieces. */
static enum err restore(struct bytes stream, const char *dir, size_t piece)
{
	struct making m = { .dir = dir, .name = "n1" };
	const struct backup_events events = { begin, add, &m };
	struct backup_reader *r;
	enum err err = OK;

	assert_int_equal(backup_reader_new(&events, &r), OK);
	while (!err && stream.n > 0) {
		size_t n = stream.n < piece ? stream.n : piece;

		err = backup_reader_feed(r, bytes_of(stream.p, n));
		stream = bytes_of(stream.p + n, stream.n - n);
	}
	if (!err)
		err = backup_reader_end(r);
	if (!err)
		err = restore_commit(m.restore);
	if (!err)
		assert_true(restore_keys(m.restore) > 200);
	restore_end(m.restore);
	backup_reader_free(r);
	return err;
}

/* Only read it. */
static enum err verify(struct bytes stream, size_t piece)
{
	const struct backup_events events = { .ctx = NULL };
	struct backup_reader *r;
	enum err err = OK;

	assert_int_equal(backup_reader_new(&events, &r), OK);
	while (!err && stream.n > 0) {
		size_t n = stream.n < piece ? stream.n : piece;

		err = backup_reader_feed(r, bytes_of(stream.p, n));
		stream = bytes_of(stream.p + n, stream.n - n);
	}
	if (!err)
		err = backup_reader_end(r);
	backup_reader_free(r);
	return err;
}

static void move_to(const char *dir)
{
	store_rig_stop(&rig);
	rig.dir = dir;
	store_rig_start(&rig);
}

/* ----------------------------------------------------------------- tests - */

static void what_is_restored_is_the_state(void **state)
{
	const uint32_t partitions[] = { 1, 5 };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct buf stream = BUF_INIT, before, after;
		uint8_t old_id[16], new_id[16];
		uint64_t node_id, rev, old_rev;

		store_rig_init(&rig, 21 + (uint64_t)i, partitions[i]);
		fill();
		assert_int_equal(store_rig_put(&rig, "last", "x", &old_rev),
				 OK);
		engine_identity(rig.engine, old_id, &node_id);
		before = show_state();
		take_backup(&stream);
		assert_int_equal(store_rig_put(&rig, "later", "x", NULL), OK);
		assert_int_equal(
			restore(buf_bytes(&stream), "new", i ? 7777 : 1), OK);
		move_to("new");
		after = show_state();
		assert_string_equal((char *)after.p, (char *)before.p);
		engine_identity(rig.engine, new_id, &node_id);
		assert_memory_not_equal(old_id, new_id, 16);
		assert_int_equal(node_id, 1);
		assert_int_equal(store_rig_put(&rig, "last", "y", &rev), OK);
		assert_true(rev > old_rev + 1000000);
		store_rig_crash(&rig);
		store_rig_expect(&rig, "last", "y");
		store_rig_expect(&rig, "d2/again", "back");
		store_rig_expect(&rig, "d2/k2", NULL);
		buf_done(&stream);
		buf_done(&before);
		buf_done(&after);
		store_rig_done(&rig);
	}
}

/* What was left of its time when the backup was made is left again. */
static void a_ttl_goes_on_where_it_stood(void **state)
{
	struct buf stream = BUF_INIT;
	struct store_value *v;

	(void)state;
	store_rig_init(&rig, 3, 1);
	fill();
	store_rig_pass(&rig, 20000);
	assert_int_equal(store_rig_put(&rig, "tick", "x", NULL), OK);
	take_backup(&stream);
	store_rig_pass(&rig, 3600000);
	assert_int_equal(restore(buf_bytes(&stream), "new", 4096), OK);
	move_to("new");
	assert_int_equal(store_get(rig.store, bytes_str("timed"), &v), OK);
	assert_true(store_value_info(v)->has_ttl);
	assert_in_range(store_value_info(v)->ttl_ns, 39000000000, 40000000000);
	store_value_done(v);
	store_rig_pass(&rig, 41000);
	for (int i = 0; i < 5; i++)
		assert_int_equal(store_rig_step(&rig), OK);
	store_rig_expect(&rig, "timed", NULL);
	buf_done(&stream);
	store_rig_done(&rig);
}

static void notify(void *user)
{
	(void)user;
}

/* Also one that the old cluster gave after the backup. */
static void cursors_of_the_old_cluster_are_told_so(void **state)
{
	const char *const wanted[] = { "", "v" };
	struct buf stream = BUF_INIT, cursor = BUF_INIT;
	struct store_watch *w;

	(void)state;
	for (uint32_t i = 0; i < 2; i++) {
		store_rig_init(&rig, 4, i ? 3 : 1);
		fill();
		take_backup(&stream);
		for (int k = 0; k < 100; k++)
			assert_int_equal(
				store_rig_put(&rig, "later", "x", NULL), OK);
		assert_int_equal(watch_cursor_now(rig.store, &cursor), OK);
		assert_int_equal(cursor.p[0] == 'v', wanted[i][0] == 'v');
		assert_int_equal(restore(buf_bytes(&stream), "new", 4096), OK);
		move_to("new");
		assert_int_equal(store_watch_open(rig.store, bytes_str(""),
						  false, buf_bytes(&cursor),
						  notify, NULL, &w),
				 ERR_COMPACTED);
		cursor.n = 0;
		assert_int_equal(watch_cursor_now(rig.store, &cursor), OK);
		assert_int_equal(store_watch_open(rig.store, bytes_str(""),
						  false, buf_bytes(&cursor),
						  notify, NULL, &w),
				 OK);
		store_watch_close(w);
		stream.n = cursor.n = 0;
		store_rig_done(&rig);
	}
	buf_done(&stream);
	buf_done(&cursor);
}

static void every_flipped_bit_and_every_cut_is_found(void **state)
{
	struct buf stream = BUF_INIT;
	enum err err;

	(void)state;
	store_rig_init(&rig, 5, 2);
	for (int i = 0; i < 20; i++)
		assert_int_equal(store_rig_put(&rig, i % 2 ? "a" : "b",
					       "some value", NULL),
				 OK);
	take_backup(&stream);
	assert_int_equal(verify(buf_bytes(&stream), 4096), OK);
	for (size_t i = 0; i < stream.n; i++) {
		stream.p[i] ^= (uint8_t)(1 << i % 8);
		err = verify(buf_bytes(&stream), 4096);
		if (!err || (err == ERR_INVALID && i - 4 >= 4) ||
		    (err == ERR_VERSION && i - 8 >= 4))
			fail_msg("a bit of byte %zu: %s", i, err_text(err));
		stream.p[i] ^= (uint8_t)(1 << i % 8);
	}
	for (size_t n = 0; n < stream.n; n++) {
		err = verify(bytes_of(stream.p, n), 100);
		assert_int_equal(err, ERR_CORRUPT);
	}
	assert_int_equal(buf_add(&stream, "x", 1), OK);
	assert_int_equal(verify(buf_bytes(&stream), 4096), ERR_CORRUPT);
	assert_int_equal(verify(bytes_str("What is this? It is no backup, "
					  "though it is long enough."),
				4096),
			 ERR_INVALID);
	buf_done(&stream);
	store_rig_done(&rig);
}

/* Whatever call of the disk fails, there is an error, or all is there. */
static void every_failing_call_is_an_error(void **state)
{
	struct buf stream = BUF_INIT;
	char dir[32];
	uint64_t calls = 1, errors = 0;

	(void)state;
	store_rig_init(&rig, 6, 1);
	for (int i = 0; i < 250; i++) {
		snprintf(dir, sizeof(dir), "k%d", i);
		assert_int_equal(store_rig_put(&rig, dir, "v", NULL), OK);
	}
	take_backup(&stream);
	store_rig_stop(&rig);
	for (uint64_t n = 1; calls >= n; n++) {
		uint64_t from = vfs_sim_calls(rig.disk, VFS_SIM_ALL);
		enum err err;

		snprintf(dir, sizeof(dir), "new%llu", (unsigned long long)n);
		vfs_sim_fail(rig.disk, VFS_SIM_ALL, n, ERR_IO, false);
		err = restore(buf_bytes(&stream), dir, 4096);
		vfs_sim_fail(rig.disk, VFS_SIM_ALL, 0, OK, false);
		calls = err ? n + 1
			    : vfs_sim_calls(rig.disk, VFS_SIM_ALL) - from;
		errors += err != OK;
		if (err)
			continue;
		rig.dir = dir;
		store_rig_start(&rig);
		store_rig_expect(&rig, "k249", "v");
		store_rig_stop(&rig);
	}
	assert_true(errors > 20);
	buf_done(&stream);
	store_rig_done(&rig);
}

static enum err add_to(void *ctx, const struct record *r)
{
	return restore_add(ctx, r);
}

/* A key whose newest value is bad is told, and no older one takes its place. */
static void a_damaged_value_is_told_and_left_out(void **state)
{
	struct rescue_damaged *damaged =
		calloc(RESCUE_DAMAGED_MAX, sizeof(*damaged));
	struct rescue_options o = { .clock = &rig.clock.clock,
				    .seed = &rig.seed,
				    .dir = "data" };
	struct restore_options to = { .clock = &rig.clock.clock,
				      .seed = &rig.seed,
				      .dir = "new",
				      .node_name = "n1",
				      .segment_bytes = 1 << 20 };
	struct buf why = BUF_INIT;
	struct engine_info info;
	struct rescue *rescue;
	struct restore *restore;
	uint64_t records;
	uint32_t count;
	char path[64];

	(void)state;
	store_rig_init(&rig, 8, 1);
	o.vfs = to.vfs = vfs_sim_vfs(rig.disk);
	assert_int_equal(store_rig_put(&rig, "good", "value", NULL), OK);
	assert_int_equal(store_rig_put(&rig, "bad", "older value", NULL), OK);
	assert_int_equal(store_rig_put(&rig, "bad", "newer value", NULL), OK);
	assert_int_equal(engine_peek(rig.engine, 0, bytes_str("bad"), &info),
			 OK);
	store_rig_stop(&rig);
	snprintf(path, sizeof(path), "data/%08x.log", loc_file_id(info.loc));
	assert_int_equal(vfs_sim_flip(rig.disk, path,
				      loc_off(info.loc) + RECORD_HEADER_BYTES +
					      5 + info.attr_bytes,
				      4),
			 OK);
	assert_int_equal(rescue_open(&o, &rescue, &why), OK);
	to.partitions = rescue_partitions(rescue);
	to.parts = rescue_parts(rescue);
	assert_int_equal(restore_begin(&to, &restore, &why), OK);
	assert_int_equal(rescue_read(rescue, add_to, restore, &records), OK);
	assert_int_equal(rescue_damaged(rescue, damaged, &count), 1);
	assert_int_equal(count, 1);
	assert_int_equal(damaged[0].key_bytes, 3);
	assert_memory_equal(damaged[0].key, "bad", 3);
	assert_int_equal(restore_commit(restore), OK);
	assert_int_equal(restore_keys(restore), 1);
	restore_end(restore);
	rescue_close(rescue);
	rig.dir = "new";
	store_rig_start(&rig);
	store_rig_expect(&rig, "good", "value");
	store_rig_expect(&rig, "bad", NULL);
	free(damaged);
	buf_done(&why);
	store_rig_done(&rig);
}

static void names_and_numbers_that_cannot_be_are_refused(void **state)
{
	struct backup_part part = { .index = 7 };
	struct restore_options o = { .clock = &rig.clock.clock,
				     .seed = &rig.seed,
				     .dir = "new",
				     .partitions = 1,
				     .parts = &part,
				     .segment_bytes = 1 << 20 };
	const char *const names[] = { "", "a b", "x/y" };
	struct record r = { .type = RECORD_PUT, .key = bytes_str("k") };
	struct buf why = BUF_INIT;
	struct restore *restore;

	(void)state;
	store_rig_init(&rig, 7, 1);
	o.vfs = vfs_sim_vfs(rig.disk);
	for (int i = 0; i < 3; i++) {
		o.node_name = names[i];
		assert_int_equal(restore_begin(&o, &restore, &why),
				 ERR_INVALID);
	}
	o.node_name = "n1";
	part.index = 1ull << 48;
	assert_int_equal(restore_begin(&o, &restore, &why), ERR_TOO_LARGE);
	o.partitions = 5000;
	assert_int_equal(restore_begin(&o, &restore, &why), ERR_INVALID);
	o.partitions = 1;
	part.index = 7;
	assert_int_equal(restore_begin(&o, &restore, &why), OK);
	r.index = 8;
	assert_int_equal(restore_add(restore, &r), ERR_INVALID);
	r.index = 7;
	r.partition = 1;
	assert_int_equal(restore_add(restore, &r), ERR_INVALID);
	restore_end(restore);
	buf_done(&why);
	store_rig_done(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_restored_is_the_state),
		cmocka_unit_test(a_ttl_goes_on_where_it_stood),
		cmocka_unit_test(cursors_of_the_old_cluster_are_told_so),
		cmocka_unit_test(every_flipped_bit_and_every_cut_is_found),
		cmocka_unit_test(every_failing_call_is_an_error),
		cmocka_unit_test(a_damaged_value_is_told_and_left_out),
		cmocka_unit_test(names_and_numbers_that_cannot_be_are_refused),
	};

	log_set_level(LOG_WARN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
