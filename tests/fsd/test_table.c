/*
 * tests/fsd/test_table.c - nodes and names: what the kernel may rely on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/seed.h"
#include "fsd/table.h"
#include "tests/lib/fail_alloc.h"

static struct table t;
static uint64_t dropped;

static void count_drop(void *ctx, struct node *node)
{
	dropped++;
}

static int set_up(void **state)
{
	dropped = 0;
	assert_int_equal(table_init(&t, 1, count_drop, NULL), OK);
	table_lock(&t);
	return 0;
}

static int tear_down(void **state)
{
	table_unlock(&t);
	table_done(&t);
	return 0;
}

static struct bytes b(const char *s)
{
	return bytes_str(s);
}

/* parent/name is ino, looked up once. */
static struct node *enter(struct node *parent, const char *name, uint64_t ino)
{
	struct node *n;

	assert_int_equal(table_enter(&t, parent, b(name), ino, &n), OK);
	table_looked_up(n);
	return n;
}

static struct node *enter_dir(struct node *parent, const char *name,
			      uint64_t ino)
{
	struct node *n = enter(parent, name, ino);

	n->is_dir = true;
	return n;
}

static void path_is(struct node *n, const char *want)
{
	struct buf path = BUF_INIT;

	assert_int_equal(table_path(&t, n, &path), OK);
	assert_true(bytes_equal(buf_bytes(&path), b(want)));
	buf_done(&path);
}

static void one_file_is_one_node_by_all_its_names(void **state)
{
	struct node *a = enter(t.root, "a", 7);

	assert_ptr_equal(enter(t.root, "b", 7), a);
	assert_ptr_equal(enter(t.root, "a", 7), a);
	assert_int_equal(a->lookups, 3);
	assert_ptr_not_equal(enter(t.root, "c", 8), a);
	table_remove(&t, t.root, b("b"));
	path_is(a, "a");
	assert_null(table_child(&t, t.root, b("b")));
	assert_ptr_equal(table_node(&t, a->id), a);
}

static void a_moved_directory_takes_all_below_along(void **state)
{
	struct node *d = enter_dir(t.root, "d", 2);
	struct node *e = enter_dir(d, "e", 3);
	struct node *f = enter(e, "f", 4);

	path_is(f, "d/e/f");
	assert_int_equal(table_move(&t, t.root, b("d"), t.root, b("x")), OK);
	path_is(f, "x/e/f");
	assert_int_equal(table_move(&t, d, b("e"), t.root, b("e2")), OK);
	path_is(f, "e2/f");
	path_is(t.root, "");
}

static void who_had_the_name_keeps_its_old_path(void **state)
{
	struct node *a = enter(t.root, "a", 2), *c = enter(t.root, "c", 3);
	struct buf path = BUF_INIT;

	assert_int_equal(table_move(&t, t.root, b("c"), t.root, b("a")), OK);
	path_is(c, "a");
	path_is(a, "a");
	assert_null(a->names);
	assert_ptr_equal(table_child(&t, t.root, b("a")), c);
	assert_ptr_equal(table_ino(&t, 2), a);
	buf_done(&path);
}

static void a_move_between_names_of_one_file_changes_nothing(void **state)
{
	struct node *a = enter(t.root, "a", 2);

	enter(t.root, "b", 2);
	assert_int_equal(table_move(&t, t.root, b("a"), t.root, b("b")), OK);
	assert_ptr_equal(table_child(&t, t.root, b("a")), a);
	assert_ptr_equal(table_child(&t, t.root, b("b")), a);
}

static void exchange_swaps_also_with_the_unknown(void **state)
{
	struct node *d = enter_dir(t.root, "d", 2), *f = enter(d, "f", 3);
	struct node *g = enter(t.root, "g", 4);

	assert_int_equal(table_exchange(&t, t.root, b("d"), t.root, b("g")),
			 OK);
	path_is(f, "g/f");
	path_is(g, "d");
	assert_int_equal(table_exchange(&t, t.root, b("g"), NULL, b("")), OK);
	assert_null(table_child(&t, t.root, b("g")));
	assert_null(d->names);
}

static void a_node_lives_while_it_is_needed(void **state)
{
	struct node *d = enter_dir(t.root, "d", 2), *f = enter(d, "f", 3);
	uint64_t id = d->id, file = f->id;

	table_forget(&t, d, 1); /* the name below still needs it */
	assert_ptr_equal(table_node(&t, id), d);
	table_ref(f);
	table_forget(&t, f, 1);
	assert_ptr_equal(table_node(&t, file), f);
	table_unref(&t, f);
	assert_null(table_node(&t, file));
	assert_null(table_node(&t, id));
	assert_int_equal(dropped, 2);
	assert_int_equal(t.node_count, 1);
	assert_int_equal(t.name_count, 0);
	assert_true(enter(t.root, "d", 2)->id > id); /* never used again */
}

static void more_forgotten_than_looked_up_is_taken_for_all(void **state)
{
	struct node *f = enter(t.root, "f", 3);

	table_forget(&t, f, 1000);
	assert_int_equal(t.node_count, 1);
	table_forget(&t, t.root, 1000);
	assert_int_equal(t.node_count, 1);
}

static void a_walk_says_how_far_it_came(void **state)
{
	struct node *d = enter_dir(t.root, "d", 2), *e = enter_dir(d, "e", 3);
	struct bytes rest;

	assert_ptr_equal(table_walk(&t, b("d/e"), &rest), e);
	assert_int_equal(rest.n, 0);
	assert_ptr_equal(table_walk(&t, b("d/x/y"), &rest), d);
	assert_true(bytes_equal(rest, b("x/y")));
	assert_ptr_equal(table_walk(&t, b(""), &rest), t.root);
}

static void a_path_has_a_bound(void **state)
{
	char name[TABLE_NAME_BYTES_MAX + 1] = "";
	struct node *n = t.root;
	struct buf path = BUF_INIT;

	memset(name, 'n', TABLE_NAME_BYTES_MAX);
	for (uint64_t i = 0; i < 15; i++)
		n = enter_dir(n, name, 10 + i);
	n = enter_dir(n, name, 100);
	name[TABLE_PATH_BYTES_MAX - 4096] = 0; /* 4095 of 16 names + 1 + 244 */
	n = enter_dir(n, name, 101);
	assert_int_equal(table_path(&t, n, &path), OK);
	assert_int_equal(path.n, TABLE_PATH_BYTES_MAX);
	path.n = 0;
	n = enter(n, "x", 102);
	assert_int_equal(table_path(&t, n, &path), ERR_KEY_TOO_LONG);
	assert_int_equal(path.n, 0);
	buf_done(&path);
}

static void a_directory_found_elsewhere_is_where_it_was_found(void **state)
{
	struct node *d = enter_dir(t.root, "d", 2);

	assert_ptr_equal(enter(t.root, "e", 2), d);
	path_is(d, "e");
	assert_null(table_child(&t, t.root, b("d")));
}

static void without_memory_nothing_has_changed(void **state)
{
	struct node *a = enter(t.root, "a", 2), *n;

	for (int i = 0; i < 3; i++) {
		enum err err;

		fail_alloc_at((uint64_t)i + 1, false);
		err = table_enter(&t, t.root, b("b"), 3, &n);
		if (!fail_alloc_off()) {
			assert_int_equal(err, OK);
			table_looked_up(n);
			table_forget(&t, n, 1);
			assert_true(i > 0);
			continue;
		}
		assert_int_equal(err, ERR_NOMEM);
		assert_int_equal(t.node_count, 2);
		assert_int_equal(t.name_count, 1);
		path_is(a, "a");
	}
}

/* What the table must say after any operations: a name means one number. */
enum { DIRS = 4, NAMES = 6, STEPS = 20000 };

static void random_operations_keep_to_the_model(void **state)
{
	uint64_t want[DIRS][NAMES] = { 0 }, next = 100;
	struct node *dir[DIRS];
	struct seed s;
	char name[8];

	seed_init(&s, 7);
	for (uint64_t i = 0; i < DIRS; i++) {
		snprintf(name, sizeof(name), "dir%d", (int)i);
		dir[i] = enter_dir(t.root, name, 10 + i);
	}
	for (int step = 0; step < STEPS; step++) {
		uint64_t d = seed_below(&s, DIRS), n = seed_below(&s, NAMES);
		uint64_t d2 = seed_below(&s, DIRS), n2 = seed_below(&s, NAMES);
		char to[8];
		uint64_t x;

		snprintf(name, sizeof(name), "n%d", (int)n);
		snprintf(to, sizeof(to), "n%d", (int)n2);
		switch (seed_below(&s, 4)) {
		case 0:
			x = want[d2][n2] && seed_below(&s, 2) ? want[d2][n2]
							      : next++;
			enter(dir[d], name, x);
			want[d][n] = x;
			break;
		case 1:
			table_remove(&t, dir[d], b(name));
			want[d][n] = 0;
			break;
		case 2:
			assert_int_equal(
				table_move(&t, dir[d], b(name), dir[d2], b(to)),
				OK);
			if (d == d2 && n == n2)
				break;
			if (want[d][n] && want[d][n] == want[d2][n2])
				break;
			want[d2][n2] = want[d][n];
			want[d][n] = 0;
			break;
		default:
			if (d == d2 && n == n2)
				break;
			assert_int_equal(table_exchange(&t, dir[d], b(name),
							dir[d2], b(to)),
					 OK);
			x = want[d][n];
			want[d][n] = want[d2][n2];
			want[d2][n2] = x;
		}
		for (d = 0; d < DIRS; d++)
			for (n = 0; n < NAMES; n++) {
				struct node *got;

				snprintf(name, sizeof(name), "n%d", (int)n);
				got = table_child(&t, dir[d], b(name));
				assert_int_equal(got ? got->ino : 0,
						 want[d][n]);
			}
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_file_is_one_node_by_all_its_names),
		TEST(a_moved_directory_takes_all_below_along),
		TEST(who_had_the_name_keeps_its_old_path),
		TEST(a_move_between_names_of_one_file_changes_nothing),
		TEST(exchange_swaps_also_with_the_unknown),
		TEST(a_node_lives_while_it_is_needed),
		TEST(more_forgotten_than_looked_up_is_taken_for_all),
		TEST(a_walk_says_how_far_it_came),
		TEST(a_path_has_a_bound),
		TEST(a_directory_found_elsewhere_is_where_it_was_found),
		TEST(without_memory_nothing_has_changed),
		TEST(random_operations_keep_to_the_model),
	};

	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
