/*
 * tests/store/test_upload.c - values in pieces: staged, committed, replaced,
 * given up, collected, pinned while they are read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/store_rig.h"

static struct store_rig rig;

static int setup(void **state)
{
	store_rig_init(&rig, 7, 1);
	return 0;
}

static int teardown(void **state)
{
	store_rig_done(&rig);
	return 0;
}

static struct bytes make_value(size_t n, uint64_t seed)
{
	uint8_t *p = malloc(n + 8);
	struct seed s;

	seed_init(&s, seed);
	for (size_t i = 0; i < n; i += 8)
		put_u64(p + i, seed_next(&s));
	return bytes_of(p, n);
}

static void free_value(struct bytes v)
{
	free((void *)(uintptr_t)v.p);
}

static void expect_stored(const char *key, struct bytes want)
{
	struct buf b = BUF_INIT;

	assert_int_equal(store_rig_read(&rig, bytes_str(key), &b), OK);
	assert_int_equal(b.n, want.n);
	assert_true(bytes_equal(buf_bytes(&b), want));
	buf_done(&b);
}

/* Keys in the engine, hidden ones too. */
static uint64_t engine_keys(void)
{
	struct engine_partition_info info;

	engine_partition_info(rig.engine, 0, &info);
	return info.keys - 3; /* "\0g", "\0m..", "\0n" */
}

static uint64_t user_keys(void)
{
	struct store_partition_status status;

	store_partition_status(rig.store, 0, &status);
	return status.keys;
}

static const size_t sizes[] = { 0,
				1,
				STORE_INLINE_BYTES_MAX,
				STORE_INLINE_BYTES_MAX + 1,
				2 * STORE_CHUNK_BYTES,
				8 * STORE_CHUNK_BYTES - 1,
				8 * STORE_CHUNK_BYTES,
				8 * STORE_CHUNK_BYTES + 1,
				(13 << 20) + 1,
				3 << 20 };

static void every_size_comes_back_whole(void **state)
{
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		for (size_t piece = 10000; piece < 4000000; piece *= 19) {
			struct bytes v = make_value(sizes[i], i);
			struct store_info info;

			assert_int_equal(store_rig_upload(&rig, bytes_str("k"),
							  v, piece, NULL),
					 OK);
			expect_stored("k", v);
			assert_int_equal(
				store_stat(rig.store, bytes_str("k"), &info),
				OK);
			assert_int_equal(info.bytes, v.n);
			free_value(v);
		}
	}
	assert_int_equal(user_keys(), 1);
	assert_int_equal(engine_keys(), 1 + 48);
	assert_int_equal(store_rig_del(&rig, "k", NULL), OK);
	assert_int_equal(engine_keys(), 0);
	assert_int_equal(user_keys(), 0);
}

static void a_large_put_in_one_piece_is_chunked_too(void **state)
{
	struct bytes v = make_value(700000, 1);

	assert_int_equal(store_rig_put_bytes(&rig, bytes_str("k"), v, 0, NULL),
			 OK);
	expect_stored("k", v);
	store_rig_crash(&rig);
	expect_stored("k", v);
	assert_int_equal(store_rig_put(&rig, "k", "small", NULL), OK);
	store_rig_expect(&rig, "k", "small");
	assert_int_equal(engine_keys(), 1);
	free_value(v);
}

static void contents_go_with_prefix_deletions(void **state)
{
	struct bytes v = make_value(1 << 20, 1);
	uint64_t deleted;

	for (int i = 0; i < 3; i++) {
		char key[8] = "p/0";

		key[2] += (char)i;
		assert_int_equal(
			store_rig_upload(&rig, bytes_str(key), v, 100000, NULL),
			OK);
	}
	assert_int_equal(engine_keys(), 3 + 3 * 16);
	assert_int_equal(store_rig_del_prefix(&rig, "", &deleted), OK);
	assert_int_equal(deleted, 3);
	assert_int_equal(engine_keys(), 0);
	free_value(v);
}

static void a_pinned_value_is_never_mixed_with_a_later_one(void **state)
{
	struct bytes one = make_value(1 << 20, 1), two = make_value(1 << 20, 2);
	struct store_value *v;
	struct buf b = BUF_INIT;

	assert_int_equal(
		store_rig_upload(&rig, bytes_str("k"), one, 65536, NULL), OK);
	assert_int_equal(store_get(rig.store, bytes_str("k"), &v), OK);
	assert_int_equal(
		store_rig_upload(&rig, bytes_str("k"), two, 65536, NULL), OK);
	for (uint64_t off = 0; off < one.n;) {
		struct bytes piece;

		assert_int_equal(store_value_read(v, off, &piece), OK);
		assert_int_equal(buf_add(&b, piece.p, piece.n), OK);
		off += piece.n;
	}
	store_value_done(v);
	assert_true(bytes_equal(buf_bytes(&b), one));
	expect_stored("k", two);
	buf_done(&b);
	free_value(one);
	free_value(two);
}

struct piece_done {
	bool done;
	enum err err;
};

static void on_piece(void *user, enum err err)
{
	*(struct piece_done *)user = (struct piece_done){ true, err };
}

static struct store_upload *open_upload(struct piece_done *p)
{
	struct store_upload *u;

	*p = (struct piece_done){ 0 };
	assert_int_equal(
		store_upload_open(rig.store, bytes_str("k"), on_piece, p, &u),
		OK);
	return u;
}

static enum err add(struct store_upload *u, struct bytes v)
{
	return store_upload_add(u, v.p, v.n);
}

/* An upload with something staged. */
static struct store_upload *staged_upload(struct piece_done *p)
{
	struct bytes v = make_value(1 << 20, 3);
	struct store_upload *u = open_upload(p);

	assert_int_equal(add(u, v), OK);
	assert_int_equal(store_rig_step(&rig), OK);
	assert_false(p->done);
	free_value(v);
	return u;
}

static enum err commit(struct store_upload *u)
{
	struct store_op op = { .kind = STORE_PUT, .key = bytes_str("k") };
	struct store_write w = { .then_ops = &op,
				 .then_count = 1,
				 .upload = u };

	return store_rig_write(&rig, &w);
}

static void an_upload_given_up_leaves_nothing(void **state)
{
	struct piece_done p;
	struct store_upload *u = staged_upload(&p);

	assert_int_equal(engine_keys(), 17);
	assert_int_equal(user_keys(), 0);
	store_rig_expect(&rig, "k", NULL);
	store_upload_close(u);
	assert_int_equal(store_rig_step(&rig), OK);
	assert_int_equal(engine_keys(), 0);
}

static void a_refused_commit_can_be_tried_again(void **state)
{
	struct piece_done p;
	struct store_upload *u = staged_upload(&p);

	assert_int_equal(store_rig_put(&rig, "k/below", "", NULL), OK);
	assert_int_equal(commit(u), ERR_IS_DIR);
	assert_int_equal(store_rig_del(&rig, "k/below", NULL), OK);
	assert_int_equal(commit(u), OK);
	store_upload_close(u);
	assert_int_equal(store_rig_step(&rig), OK);
	assert_int_equal(engine_keys(), 17);
}

static void an_idle_upload_is_collected_and_its_commit_refused(void **state)
{
	struct piece_done p;
	struct store_upload *u = staged_upload(&p);

	store_rig_pass(&rig, 9 * 60 * 1000);
	assert_int_equal(store_rig_step(&rig), OK);
	assert_int_equal(engine_keys(), 17);
	store_rig_pass(&rig, 2 * 60 * 1000);
	assert_int_equal(store_rig_step(&rig), OK);
	assert_int_equal(engine_keys(), 0);
	assert_int_equal(commit(u), ERR_NO_LEADER);
	assert_int_equal(store_upload_add(u, "x", 1), ERR_NO_LEADER);
	store_upload_close(u);
	assert_int_equal(store_rig_step(&rig), OK);
}

static void what_a_crash_left_staged_is_collected(void **state)
{
	struct piece_done p;
	struct store_upload *u = staged_upload(&p);

	vfs_sim_power_off(rig.disk, VFS_SIM_ALL, 1, false);
	/* With the power gone nothing can be appended: only memory goes. */
	(void)store_rig_step(&rig);
	store_upload_close(u);
	store_rig_stop(&rig);
	vfs_sim_crash(rig.disk);
	store_rig_start(&rig);
	assert_int_equal(engine_keys(), 17);
	store_rig_pass(&rig, 11 * 60 * 1000);
	assert_int_equal(store_rig_step(&rig), OK);
	assert_int_equal(engine_keys(), 0);
}

/* While one piece is staged another is taken, and no third. */
static void a_piece_is_gathered_while_another_is_staged(void **state)
{
	struct bytes v = make_value(4 << 20, 5);
	struct bytes piece = bytes_of(v.p, 1 << 20);
	struct piece_done p;
	struct store_upload *u = open_upload(&p);

	assert_int_equal(add(u, piece), OK);
	piece.p += 1 << 20;
	assert_int_equal(add(u, piece), ERR_PENDING);
	assert_int_equal(engine_keys(), 0);
	assert_int_equal(store_rig_step(&rig), OK);
	assert_true(p.done);
	assert_int_equal(p.err, OK);
	piece.p += 1 << 20;
	piece.n = 700000;
	assert_int_equal(add(u, piece), OK);
	assert_int_equal(store_rig_step(&rig), OK);
	assert_int_equal(engine_keys(), 33);
	piece.p += piece.n;
	piece.n = (4 << 20) - (2 << 20) - 700000;
	assert_int_equal(add(u, piece), OK);
	assert_int_equal(commit(u), OK);
	store_upload_close(u);
	assert_int_equal(store_rig_step(&rig), OK);
	expect_stored("k", v);
	assert_int_equal(engine_keys(), 1 + 64);
	free_value(v);
}

static void on_commit(struct store_write *w)
{
	*(bool *)w->user = true;
}

/* A commit that was handed in while a piece is staged. */
struct early_commit {
	struct store_op op;
	struct store_write w;
	struct piece_done p;
	bool done;
};

static void commit_early(struct early_commit *c, struct bytes v)
{
	*c = (struct early_commit){ .op = { .kind = STORE_PUT,
					    .key = bytes_str("k") } };
	c->w = (struct store_write){ .then_ops = &c->op,
				     .then_count = 1,
				     .done = on_commit,
				     .user = &c->done };
	c->w.upload = open_upload(&c->p);
	assert_int_equal(add(c->w.upload, v), OK);
	assert_int_equal(store_write(rig.store, &c->w), OK);
}

/* It comes behind the piece. */
static void a_commit_waits_for_the_piece_before_it(void **state)
{
	struct bytes v = make_value((1 << 20) + 5, 6);
	struct early_commit c;

	commit_early(&c, v);
	for (int i = 0; i < 100 && !c.done; i++)
		assert_int_equal(store_rig_step(&rig), OK);
	assert_true(c.done);
	assert_int_equal(c.w.err, OK);
	store_upload_close(c.w.upload);
	assert_int_equal(store_rig_step(&rig), OK);
	expect_stored("k", v);
	assert_int_equal(engine_keys(), 1 + 17);
	free_value(v);
}

static void an_upload_closed_under_a_piece_leaves_nothing(void **state)
{
	struct bytes v = make_value(1 << 20, 7);
	struct piece_done p;
	struct store_upload *u = open_upload(&p);

	assert_int_equal(add(u, v), OK);
	store_upload_close(u);
	for (int i = 0; i < 3; i++)
		assert_int_equal(store_rig_step(&rig), OK);
	assert_int_equal(engine_keys(), 0);
	assert_false(p.done);
	free_value(v);
}

/* The disk is gone under a piece: whoever comes next is told. */
static void a_piece_that_fails_fails_the_commit(void **state)
{
	struct bytes v = make_value(1 << 20, 8);
	struct early_commit c;

	commit_early(&c, v);
	vfs_sim_power_off(rig.disk, VFS_SIM_ALL, 1, false);
	assert_int_equal(store_rig_step(&rig), ERR_IO);
	assert_true(c.done);
	assert_int_not_equal(c.w.err, OK);
	store_upload_close(c.w.upload);
	store_rig_stop(&rig);
	vfs_sim_crash(rig.disk);
	store_rig_start(&rig);
	store_rig_expect(&rig, "k", NULL);
	free_value(v);
}

static void a_value_over_the_limit_is_refused(void **state)
{
	struct piece_done p;
	struct store_upload *u;
	char *chunk = calloc(1, 1 << 20);
	enum err err = OK;

	assert_int_equal(
		store_upload_open(rig.store, bytes_str("k"), on_piece, &p, &u),
		OK);
	for (int i = 0; i < 64; i++) {
		err = store_upload_add(u, chunk, 1 << 20);
		assert_int_equal(err, OK);
		assert_int_equal(store_rig_step(&rig), OK);
	}
	assert_int_equal(store_upload_add(u, chunk, 1), ERR_TOO_LARGE);
	assert_int_equal(commit(u), ERR_TOO_LARGE);
	store_upload_close(u);
	assert_int_equal(store_rig_step(&rig), OK);
	assert_int_equal(engine_keys(), 0);
	free(chunk);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(every_size_comes_back_whole),
		T(a_large_put_in_one_piece_is_chunked_too),
		T(contents_go_with_prefix_deletions),
		T(a_pinned_value_is_never_mixed_with_a_later_one),
		T(an_upload_given_up_leaves_nothing),
		T(a_refused_commit_can_be_tried_again),
		T(a_piece_is_gathered_while_another_is_staged),
		T(a_commit_waits_for_the_piece_before_it),
		T(an_upload_closed_under_a_piece_leaves_nothing),
		T(a_piece_that_fails_fails_the_commit),
		T(an_idle_upload_is_collected_and_its_commit_refused),
		T(what_a_crash_left_staged_is_collected),
		T(a_value_over_the_limit_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
