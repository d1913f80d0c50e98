/*
 * tests/base/test_vfs_same.c - what programs see of the simulated disk is what
 * they see of the real one: random calls on both, the same answers;
 * mappings made at open follow all that is written later.
 *
 * SEED= in the environment replays one run.
 */
#include "base/vfs_sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/tmpdir.h"

enum { DISKS = 2, FILES = 4, BYTES_MAX = 20000, STEPS = 400, RUNS = 20 };

struct fixture {
	struct seed seed;
	struct vfs *v[DISKS];
	const char *dir[DISKS];
	struct vfs_file *open[FILES][DISKS];
	const uint8_t *map[FILES][DISKS]; /* made at open, of BYTES_MAX */
	uint8_t data[BYTES_MAX], back[DISKS][BYTES_MAX];
};

static uint64_t below(struct fixture *x, uint64_t n)
{
	return seed_below(&x->seed, n);
}

/* The path of file number i on a disk. */
static const char *path_of(const struct fixture *x, int disk, uint64_t i)
{
	static char paths[4][256];
	static int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/f%d", x->dir[disk], (int)i);
	return path;
}

static void same(const enum err *err)
{
	assert_string_equal(err_text(err[0]), err_text(err[1]));
}

static void close_slot(struct fixture *x, uint64_t slot)
{
	for (int d = 0; d < DISKS; d++) {
		if (x->open[slot][d])
			vfs_unmap(x->open[slot][d], x->map[slot][d], BYTES_MAX);
		vfs_close(x->open[slot][d]);
		x->open[slot][d] = NULL;
	}
}

static void step_names(struct fixture *x)
{
	uint64_t slot = below(x, FILES), to = below(x, FILES);
	unsigned flags = VFS_WRITE | (below(x, 2) ? VFS_CREATE : 0);
	uint64_t what = below(x, 8);
	enum err err[DISKS];

	flags |= below(x, 4) == 0 ? VFS_TRUNC : 0;
	flags |= flags & VFS_CREATE && below(x, 4) == 0 ? VFS_EXCL : 0;
	if (what >= 2)
		close_slot(x, slot);
	for (int d = 0; d < DISKS; d++) {
		if (what == 0)
			err[d] = vfs_unlink(x->v[d], path_of(x, d, to));
		else if (what == 1)
			err[d] = vfs_rename(x->v[d], path_of(x, d, slot),
					    path_of(x, d, to));
		else
			err[d] = vfs_open(x->v[d], path_of(x, d, to), flags,
					  &x->open[slot][d]);
	}
	same(err);
	for (int d = 0; d < DISKS && what >= 2 && !err[0]; d++)
		assert_int_equal(
			vfs_map(x->open[slot][d], BYTES_MAX, &x->map[slot][d]),
			OK);
}

static void step_content(struct fixture *x)
{
	uint64_t slot = below(x, FILES);
	uint64_t off = below(x, BYTES_MAX / 2), n = below(x, BYTES_MAX / 2);
	uint64_t what = below(x, 6);
	enum err err[DISKS];

	if (!x->open[slot][0])
		return;
	for (uint64_t i = 0; i < n; i++)
		x->data[i] = (uint8_t)seed_next(&x->seed);
	for (int d = 0; d < DISKS; d++) {
		struct vfs_file *f = x->open[slot][d];

		if (what == 0)
			err[d] = vfs_truncate(f, off);
		else if (what == 1)
			err[d] = vfs_allocate(f, off + 1);
		else
			err[d] = vfs_pwrite(f, x->data, n, off);
	}
	same(err);
}

/* What vfs_data_from skips is zero on either disk, whatever each can tell. */
static void check_skip(struct vfs_file *f, const uint8_t *content, uint64_t n)
{
	uint64_t data;

	for (uint64_t off = 0; off < n; off += n / 3 + 1) {
		assert_int_equal(vfs_data_from(f, off, &data), OK);
		assert_in_range(data, off, n);
		for (uint64_t i = off; i < data; i++)
			assert_int_equal(content[i], 0);
	}
}

/* Handle and mapping show the same on both disks. */
static void compare_slot(struct fixture *x, uint64_t slot)
{
	size_t got[DISKS];
	uint64_t size[DISKS];

	if (!x->open[slot][0])
		return;
	for (int d = 0; d < DISKS; d++) {
		struct vfs_file *f = x->open[slot][d];

		assert_int_equal(vfs_size(f, &size[d]), OK);
		assert_int_equal(
			vfs_pread(f, x->back[d], BYTES_MAX, 0, &got[d]), OK);
		assert_int_equal(got[d], size[d]);
	}
	assert_int_equal(size[0], size[1]);
	if (!size[0])
		return;
	for (int d = 0; d < DISKS; d++)
		check_skip(x->open[slot][d], x->back[d], size[d]);
	assert_memory_equal(x->back[0], x->back[1], size[0]);
	for (int d = 0; d < DISKS; d++)
		assert_memory_equal(x->map[slot][d], x->back[0], size[d]);
}

static enum err add_name(void *ctx, const char *name)
{
	*(unsigned *)ctx |= 1u << (name[1] - '0');
	return OK;
}

static void compare_names(struct fixture *x)
{
	unsigned names[DISKS] = { 0 };

	for (int d = 0; d < DISKS; d++)
		assert_int_equal(
			vfs_list(x->v[d], x->dir[d], add_name, &names[d]), OK);
	assert_int_equal(names[0], names[1]);
}

static void run_seed(uint64_t n)
{
	struct fixture *x = calloc(1, sizeof(*x));
	char *dir = tmpdir_make();
	struct vfs_sim *sim;

	assert_non_null(x);
	assert_int_equal(vfs_sim_new(n, 1 << 20, &sim), OK);
	seed_init(&x->seed, n);
	x->v[0] = vfs_os();
	x->v[1] = vfs_sim_vfs(sim);
	x->dir[0] = dir;
	x->dir[1] = "d";
	assert_int_equal(vfs_mkdir(x->v[1], "d"), OK);
	for (int step = 0; step < STEPS; step++) {
		if (below(x, 3) == 0)
			step_names(x);
		else
			step_content(x);
		compare_slot(x, below(x, FILES));
		compare_names(x);
	}
	for (uint64_t slot = 0; slot < FILES; slot++)
		close_slot(x, slot);
	vfs_sim_free(sim);
	tmpdir_remove(dir);
	free(x);
}

static void both_disks_give_the_same_answers(void **state)
{
	const char *given = getenv("SEED");
	uint64_t first = given ? strtoull(given, NULL, 0) : 1;

	for (uint64_t n = first; n < first + (given ? 1 : RUNS); n++) {
		print_message("SEED=%llu\n", (unsigned long long)n);
		run_seed(n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_disks_give_the_same_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
