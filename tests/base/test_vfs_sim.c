/*
 * tests/base/test_vfs_sim.c - the simulated disk keeps what it promised to
 * keep, loses what it may lose, and fails exactly when told to.
 */
#include "base/vfs_sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/guard.h"
#include "tests/lib/fail_alloc.h"

enum { CAPACITY = 1 << 20, TRIES = 200 };

struct fixture {
	struct vfs_sim *sim;
	struct vfs *v;
};

static void open_disk(struct fixture *x, uint64_t seed)
{
	assert_int_equal(vfs_sim_new(seed, CAPACITY, &x->sim), OK);
	x->v = vfs_sim_vfs(x->sim);
}

static void put_file(struct vfs *v, const char *path, const char *text,
		     bool sync)
{
	struct vfs_file *f;

	assert_int_equal(
		vfs_open(v, path, VFS_WRITE | VFS_CREATE | VFS_TRUNC, &f), OK);
	assert_int_equal(vfs_pwrite(f, text, strlen(text), 0), OK);
	if (sync)
		assert_int_equal(vfs_sync(f), OK);
	vfs_close(f);
}

/* The content of path as a string; "" also when it is absent. */
static const char *content(struct vfs *v, const char *path)
{
	static char text[4096];
	struct buf b = BUF_INIT;
	enum err err = vfs_read_all(v, path, sizeof(text) - 1, &b);

	memset(text, 0, sizeof(text));
	if (!err && b.n)
		memcpy(text, b.p, b.n);
	buf_done(&b);
	return err ? "(absent)" : text;
}

static void synced_data_and_names_survive_every_crash(void **state)
{
	for (uint64_t seed = 0; seed < TRIES; seed++) {
		struct fixture x;

		open_disk(&x, seed);
		assert_int_equal(vfs_mkdir(x.v, "d"), OK);
		assert_int_equal(vfs_sync_dir(x.v, "."), OK);
		put_file(x.v, "d/a", "kept", true);
		assert_int_equal(vfs_sync_dir(x.v, "d"), OK);
		put_file(x.v, "d/b", "in doubt", false);
		vfs_sim_crash(x.sim);
		assert_string_equal(content(x.v, "d/a"), "kept");
		vfs_sim_crash_hard(x.sim);
		assert_string_equal(content(x.v, "d/a"), "kept");
		vfs_sim_free(x.sim);
	}
}

static void a_name_without_a_directory_sync_may_be_lost(void **state)
{
	int kept = 0, lost = 0;

	for (uint64_t seed = 0; seed < TRIES; seed++) {
		struct fixture x;

		open_disk(&x, seed);
		put_file(x.v, "a", "text", true);
		vfs_sim_crash(x.sim);
		if (strcmp(content(x.v, "a"), "text") == 0)
			kept++;
		else
			lost++;
		vfs_sim_free(x.sim);
	}
	assert_true(kept > 0);
	assert_true(lost > 0);
}

static void an_unsynced_write_is_lost_whole_torn_or_zero(void **state)
{
	enum { SECTORS = 4, BYTES = SECTORS * VFS_SIM_SECTOR_BYTES };
	int lost = 0, whole = 0, torn = 0, zero = 0;
	uint8_t data[BYTES];

	memset(data, 0xee, sizeof(data));
	for (uint64_t seed = 0; seed < TRIES; seed++) {
		struct buf b = BUF_INIT;
		struct vfs_file *f;
		struct fixture x;
		int present = 0;

		open_disk(&x, seed);
		put_file(x.v, "a", "", true);
		assert_int_equal(vfs_sync_dir(x.v, "/"), OK);
		assert_int_equal(vfs_open(x.v, "a", VFS_WRITE, &f), OK);
		assert_int_equal(vfs_pwrite(f, data, BYTES, 0), OK);
		vfs_sim_crash(x.sim);
		vfs_close(f);
		assert_int_equal(vfs_read_all(x.v, "a", BYTES, &b), OK);
		for (size_t i = 0; i < b.n; i++) {
			present += b.p[i] == 0xee;
			/* A sector is there or not, never half. */
			assert_int_equal(b.p[i], b.p[i - i % 512]);
		}
		lost += b.n == 0;
		zero += b.n && !present;
		whole += present == BYTES;
		torn += present && present < BYTES;
		buf_done(&b);
		vfs_sim_free(x.sim);
	}
	assert_true(lost > 0);
	assert_true(whole > 0);
	assert_true(torn > 0);
	assert_true(zero > 0);
}

static void write_at(struct vfs_file *f, const char *text, uint64_t off)
{
	assert_int_equal(vfs_pwrite(f, text, strlen(text), off), OK);
}

/* Writes over each other, what they hid, cuts, growth, a failed sync. */
static void a_hard_crash_brings_back_what_was_synced(void **state)
{
	for (int kind = 0; kind < 5; kind++) {
		struct vfs_file *f;
		struct fixture x;

		open_disk(&x, 1);
		put_file(x.v, "a", "0123456789", true);
		assert_int_equal(vfs_sync_dir(x.v, "."), OK);
		assert_int_equal(vfs_open(x.v, "a", VFS_WRITE, &f), OK);
		write_at(f, "abc", 2);
		write_at(f, "DEFGH", 4);
		write_at(f, "behind the end", 8);
		if (kind == 1)
			assert_int_equal(vfs_truncate(f, 3), OK);
		if (kind == 2)
			assert_int_equal(vfs_allocate(f, 5000), OK);
		if (kind == 3) {
			vfs_sim_fail(x.sim, VFS_SIM_SYNC, 1, ERR_IO, false);
			assert_int_equal(vfs_sync(f), ERR_IO);
		}
		if (kind == 4) {
			assert_int_equal(vfs_sim_flip(x.sim, "a", 1, 1), OK);
			assert_int_equal(vfs_sim_flip(x.sim, "a", 1, 1), OK);
		}
		write_at(f, "z", 5);
		vfs_sim_crash_hard(x.sim);
		vfs_close(f);
		assert_string_equal(content(x.v, "a"), "0123456789");
		vfs_sim_free(x.sim);
	}
}

static void what_is_synced_after_a_failed_sync_is_kept(void **state)
{
	struct vfs_file *f;
	struct fixture x;

	open_disk(&x, 1);
	put_file(x.v, "a", "0123456789", true);
	assert_int_equal(vfs_sync_dir(x.v, "."), OK);
	assert_int_equal(vfs_open(x.v, "a", VFS_WRITE, &f), OK);
	write_at(f, "lost", 0);
	vfs_sim_fail(x.sim, VFS_SIM_SYNC, 1, ERR_IO, false);
	assert_int_equal(vfs_sync(f), ERR_IO);
	write_at(f, "kept", 3);
	assert_int_equal(vfs_sync(f), OK);
	write_at(f, "gone", 6);
	vfs_sim_crash_hard(x.sim);
	vfs_close(f);
	assert_string_equal(content(x.v, "a"), "012kept789");
	vfs_sim_free(x.sim);
}

static void a_hard_crash_keeps_nothing_unsynced(void **state)
{
	struct fixture x;

	open_disk(&x, 1);
	put_file(x.v, "a", "old", true);
	assert_int_equal(vfs_sync_dir(x.v, "."), OK);
	put_file(x.v, "a", "new text", false);
	put_file(x.v, "b", "b", true);
	vfs_sim_crash_hard(x.sim);
	assert_string_equal(content(x.v, "a"), "old");
	assert_string_equal(content(x.v, "b"), "(absent)");
	vfs_sim_free(x.sim);
}

static void a_rename_to_another_directory_is_here_or_there(void **state)
{
	int here = 0, there = 0;

	for (uint64_t seed = 0; seed < TRIES; seed++) {
		struct fixture x;

		open_disk(&x, seed);
		assert_int_equal(vfs_mkdir(x.v, "d"), OK);
		put_file(x.v, "a", "file", true);
		assert_int_equal(vfs_sync_dir(x.v, "."), OK);
		assert_int_equal(vfs_rename(x.v, "d", "d/e"), ERR_INVALID);
		assert_int_equal(vfs_rename(x.v, "a", "d/a"), OK);
		assert_string_equal(content(x.v, "a"), "(absent)");
		assert_string_equal(content(x.v, "d/a"), "file");
		if (seed % 4 == 0)
			assert_int_equal(vfs_sync_dir(x.v, "d"), OK);
		vfs_sim_crash(x.sim);
		if (strcmp(content(x.v, "a"), "file") == 0) {
			assert_string_equal(content(x.v, "d/a"), "(absent)");
			assert_true(seed % 4 != 0);
			here++;
		} else {
			assert_string_equal(content(x.v, "d/a"), "file");
			there++;
		}
		vfs_sim_free(x.sim);
	}
	assert_true(here > TRIES / 8 && there > TRIES / 8);
}

static void a_rename_is_old_or_new_never_both_nor_none(void **state)
{
	int old = 0, new = 0;

	for (uint64_t seed = 0; seed < TRIES; seed++) {
		struct fixture x;

		open_disk(&x, seed);
		put_file(x.v, "a", "old", true);
		put_file(x.v, "a.tmp", "new", true);
		assert_int_equal(vfs_sync_dir(x.v, "."), OK);
		assert_int_equal(vfs_rename(x.v, "a.tmp", "a"), OK);
		assert_string_equal(content(x.v, "a"), "new");
		vfs_sim_crash(x.sim);
		if (strcmp(content(x.v, "a"), "old") == 0) {
			assert_string_equal(content(x.v, "a.tmp"), "new");
			old++;
		} else {
			assert_string_equal(content(x.v, "a"), "new");
			assert_string_equal(content(x.v, "a.tmp"), "(absent)");
			new ++;
		}
		vfs_sim_free(x.sim);
	}
	assert_true(old > 0);
	assert_true(new > 0);
}

static void an_unlink_may_come_back_until_the_directory_is_synced(void **state)
{
	int back = 0;

	for (uint64_t seed = 0; seed < TRIES; seed++) {
		struct fixture x;

		open_disk(&x, seed);
		put_file(x.v, "a", "text", true);
		assert_int_equal(vfs_sync_dir(x.v, "."), OK);
		assert_int_equal(vfs_unlink(x.v, "a"), OK);
		assert_string_equal(content(x.v, "a"), "(absent)");
		if (seed % 2)
			assert_int_equal(vfs_sync_dir(x.v, "."), OK);
		vfs_sim_crash(x.sim);
		if (strcmp(content(x.v, "a"), "text") == 0) {
			assert_int_equal(seed % 2, 0);
			back++;
		}
		vfs_sim_free(x.sim);
	}
	assert_true(back > 0);
}

static void kill_keeps_everything_and_frees_the_lock(void **state)
{
	struct vfs_file *f, *lock, *other;
	struct fixture x;
	size_t got;
	char c;

	open_disk(&x, 1);
	put_file(x.v, "a", "text", false);
	assert_int_equal(vfs_open(x.v, "a", VFS_WRITE, &f), OK);
	assert_int_equal(vfs_lock(x.v, "lock", &lock), OK);
	assert_int_equal(vfs_lock(x.v, "lock", &other), ERR_BUSY);
	vfs_sim_kill(x.sim);
	assert_int_equal(vfs_pread(f, &c, 1, 0, &got), ERR_IO);
	assert_int_equal(vfs_pwrite(f, "x", 1, 0), ERR_IO);
	assert_int_equal(vfs_sync(f), ERR_IO);
	vfs_close(f);
	assert_int_equal(vfs_lock(x.v, "lock", &other), OK);
	vfs_close(lock);
	assert_int_equal(vfs_lock(x.v, "lock", &lock), ERR_BUSY);
	vfs_close(other);
	assert_int_equal(vfs_lock(x.v, "lock", &other), OK);
	vfs_close(other);
	assert_string_equal(content(x.v, "a"), "text");
	vfs_sim_free(x.sim);
}

static void a_fault_strikes_the_nth_call_of_its_kind_only(void **state)
{
	struct vfs_file *f;
	struct fixture x;

	open_disk(&x, 1);
	put_file(x.v, "a", "0", true);
	assert_int_equal(vfs_open(x.v, "a", VFS_WRITE, &f), OK);
	vfs_sim_fail(x.sim, VFS_SIM_WRITE, 3, ERR_NOSPC, false);
	for (int i = 1; i <= 5; i++) {
		assert_int_equal(vfs_pwrite(f, "1", 1, 0),
				 i == 3 ? ERR_NOSPC : OK);
		assert_int_equal(vfs_sync(f), OK);
	}
	vfs_sim_fail(x.sim, VFS_SIM_WRITE | VFS_SIM_SYNC, 2, ERR_IO, true);
	assert_int_equal(vfs_pwrite(f, "1", 1, 0), OK);
	assert_int_equal(vfs_sync(f), ERR_IO);
	assert_int_equal(vfs_pwrite(f, "1", 1, 0), ERR_IO);
	assert_int_equal(vfs_unlink(x.v, "a"), OK);
	vfs_sim_fail(x.sim, VFS_SIM_WRITE, 0, OK, false);
	assert_int_equal(vfs_pwrite(f, "1", 1, 0), OK);
	vfs_close(f);
	vfs_sim_free(x.sim);
}

static void calls_are_counted_by_kind(void **state)
{
	struct fixture x;

	open_disk(&x, 1);
	put_file(x.v, "a", "0", true);
	assert_int_equal(vfs_rename(x.v, "a", "b"), OK);
	assert_int_equal(vfs_sim_calls(x.sim, VFS_SIM_OPEN), 1);
	assert_int_equal(vfs_sim_calls(x.sim, VFS_SIM_CHANGES), 3);
	assert_int_equal(vfs_sim_calls(x.sim, VFS_SIM_ALL), 4);
	vfs_sim_free(x.sim);
}

static void data_of_a_failed_sync_is_lost_even_if_synced_again(void **state)
{
	struct vfs_file *f;
	struct fixture x;

	open_disk(&x, 1);
	put_file(x.v, "a", "old", true);
	assert_int_equal(vfs_sync_dir(x.v, "."), OK);
	assert_int_equal(vfs_open(x.v, "a", VFS_WRITE, &f), OK);
	assert_int_equal(vfs_pwrite(f, "new", 3, 0), OK);
	vfs_sim_fail(x.sim, VFS_SIM_SYNC, 1, ERR_IO, false);
	assert_int_equal(vfs_sync(f), ERR_IO);
	assert_int_equal(vfs_pwrite(f, "more", 4, 3), OK);
	assert_int_equal(vfs_sync(f), OK);
	assert_string_equal(content(x.v, "a"), "newmore");
	vfs_close(f);
	vfs_sim_crash(x.sim);
	assert_string_equal(content(x.v, "a"), "oldmore");
	vfs_sim_free(x.sim);
}

static void power_goes_just_before_or_just_after_a_call(void **state)
{
	for (int after = 0; after < 2; after++) {
		struct vfs_file *f;
		struct fixture x;
		uint64_t n;

		open_disk(&x, 1);
		put_file(x.v, "a", "old", true);
		assert_int_equal(vfs_sync_dir(x.v, "."), OK);
		assert_int_equal(vfs_open(x.v, "a", VFS_WRITE, &f), OK);
		assert_int_equal(vfs_pwrite(f, "new", 3, 0), OK);
		vfs_sim_power_off(x.sim, VFS_SIM_SYNC, 1, after);
		assert_int_equal(vfs_sync(f), ERR_IO);
		assert_int_equal(vfs_size(f, &n), ERR_IO);
		assert_int_equal(vfs_unlink(x.v, "a"), ERR_IO);
		vfs_sim_crash_hard(x.sim);
		vfs_close(f);
		assert_string_equal(content(x.v, "a"), after ? "new" : "old");
		vfs_sim_free(x.sim);
	}
}

static void a_full_disk_refuses_growth_and_recovers(void **state)
{
	struct vfs_file *f;
	struct fixture x;
	uint64_t free_bytes;
	uint8_t *big = calloc(1, CAPACITY);

	assert_non_null(big);
	open_disk(&x, 1);
	assert_int_equal(vfs_open(x.v, "a", VFS_WRITE | VFS_CREATE, &f), OK);
	assert_int_equal(vfs_allocate(f, CAPACITY - 4096), OK);
	assert_int_equal(vfs_free_bytes(x.v, ".", &free_bytes), OK);
	assert_int_equal(free_bytes, 4096);
	assert_int_equal(vfs_allocate(f, CAPACITY + 1), ERR_NOSPC);
	assert_int_equal(vfs_pwrite(f, big, CAPACITY, 1), ERR_NOSPC);
	assert_int_equal(vfs_pwrite(f, big, CAPACITY, 0), OK);
	vfs_sim_set_capacity(x.sim, 1000);
	assert_int_equal(vfs_pwrite(f, big, CAPACITY, 0), OK);
	put_file(x.v, "b", "", false);
	assert_int_equal(vfs_pwrite(f, big, 1, CAPACITY), ERR_NOSPC);
	vfs_sim_set_capacity(x.sim, CAPACITY);
	assert_int_equal(vfs_unlink(x.v, "a"), OK);
	assert_int_equal(vfs_free_bytes(x.v, ".", &free_bytes), OK);
	assert_int_equal(free_bytes, 0);
	vfs_close(f);
	assert_int_equal(vfs_free_bytes(x.v, ".", &free_bytes), OK);
	assert_int_equal(free_bytes, CAPACITY);
	free(big);
	vfs_sim_free(x.sim);
}

static void a_flip_is_durable_and_seen_everywhere(void **state)
{
	const uint8_t *map;
	struct vfs_file *f;
	struct fixture x;

	open_disk(&x, 1);
	put_file(x.v, "a", "abc", true);
	assert_int_equal(vfs_sync_dir(x.v, "."), OK);
	assert_int_equal(vfs_open(x.v, "a", VFS_READ, &f), OK);
	assert_int_equal(vfs_map(f, 3, &map), OK);
	assert_int_equal(vfs_sim_flip(x.sim, "a", 1, 1), OK);
	assert_int_equal(vfs_sim_flip(x.sim, "a", 3, 1), ERR_INVALID);
	assert_int_equal(vfs_sim_flip(x.sim, "b", 0, 1), ERR_NOT_FOUND);
	assert_memory_equal(map, "acc", 3);
	vfs_unmap(f, map, 3);
	vfs_close(f);
	vfs_sim_crash_hard(x.sim);
	assert_string_equal(content(x.v, "a"), "acc");
	vfs_sim_free(x.sim);
}

static void a_bad_sector_reads_as_an_error_until_rewritten(void **state)
{
	uint8_t data[4 * 512], back[4 * 512];
	struct vfs_file *f;
	const uint8_t *map;
	struct fixture x;
	size_t got;

	memset(data, 7, sizeof(data));
	guard_install(); /* cmocka has taken SIGBUS for itself */
	open_disk(&x, 1);
	assert_int_equal(vfs_open(x.v, "a", VFS_WRITE | VFS_CREATE, &f), OK);
	assert_int_equal(vfs_pwrite(f, data, sizeof(data), 0), OK);
	assert_int_equal(vfs_map(f, sizeof(data), &map), OK);
	assert_int_equal(vfs_sim_bad_sector(x.sim, "a", 600), OK);
	assert_int_equal(vfs_pread(f, back, 512, 0, &got), OK);
	assert_int_equal(vfs_pread(f, back, 513, 0, &got), ERR_IO);
	assert_int_equal(vfs_pread(f, back, 10, 1023, &got), ERR_IO);
	assert_int_equal(vfs_pread(f, back, 10, 1024, &got), OK);
	assert_int_equal(guard_copy(back, map, 2048), ERR_CORRUPT);
	assert_int_equal(vfs_pwrite(f, data, 100, 600), OK);
	assert_int_equal(vfs_pread(f, back, 2048, 0, &got), ERR_IO);
	assert_int_equal(vfs_pwrite(f, data, 512, 512), OK);
	assert_int_equal(vfs_pread(f, back, 2048, 0, &got), OK);
	assert_int_equal(guard_copy(back, map, 2048), OK);
	assert_memory_equal(back, data, 2048);
	vfs_unmap(f, map, sizeof(data));
	vfs_close(f);
	vfs_sim_free(x.sim);
}

static void a_mapping_follows_writes_and_breaks_past_the_end(void **state)
{
	enum { BYTES = 5 * 4096 };
	uint8_t byte, page[4096];
	struct vfs_file *f;
	const uint8_t *map;
	struct fixture x;

	memset(page, 9, sizeof(page));
	guard_install(); /* cmocka has taken SIGBUS for itself */
	open_disk(&x, 1);
	assert_int_equal(vfs_open(x.v, "a", VFS_WRITE | VFS_CREATE, &f), OK);
	assert_int_equal(vfs_pwrite(f, "ab", 2, 0), OK);
	assert_int_equal(vfs_map(f, BYTES, &map), OK);
	assert_memory_equal(map, "ab\0\0", 4);
	assert_int_equal(guard_copy(&byte, map + 4096, 1), ERR_CORRUPT);
	assert_int_equal(vfs_pwrite(f, page, 4096, 6000), OK);
	assert_int_equal(map[5999], 0);
	assert_int_equal(map[6000], 9);
	assert_int_equal(map[10095], 9);
	assert_int_equal(guard_copy(&byte, map + 3 * 4096, 1), ERR_CORRUPT);
	assert_int_equal(vfs_allocate(f, BYTES), OK);
	assert_int_equal(guard_copy(&byte, map + 3 * 4096, 1), OK);
	assert_int_equal(byte, 0);
	assert_int_equal(vfs_truncate(f, 6001), OK);
	assert_int_equal(map[6000], 9);
	assert_int_equal(map[6001], 0);
	assert_int_equal(guard_copy(&byte, map + 2 * 4096, 1), ERR_CORRUPT);
	vfs_unmap(f, map, BYTES);
	vfs_close(f);
	vfs_sim_free(x.sim);
}

static void a_clone_is_another_disk_with_the_same_doubts(void **state)
{
	struct vfs_sim *copy;
	struct fixture x;

	open_disk(&x, 1);
	assert_int_equal(vfs_mkdir(x.v, "d"), OK);
	assert_int_equal(vfs_sync_dir(x.v, "."), OK);
	put_file(x.v, "d/a", "old", true);
	assert_int_equal(vfs_sync_dir(x.v, "d"), OK);
	put_file(x.v, "d/a", "newer", false);
	assert_int_equal(vfs_sim_clone(x.sim, 5, &copy), OK);
	put_file(x.v, "d/a", "x", true);
	assert_string_equal(content(vfs_sim_vfs(copy), "d/a"), "newer");
	vfs_sim_crash_hard(copy);
	assert_string_equal(content(vfs_sim_vfs(copy), "d/a"), "old");
	assert_string_equal(content(x.v, "d/a"), "x");
	vfs_sim_free(copy);
	vfs_sim_free(x.sim);
}

static enum err count_name(void *ctx, const char *name)
{
	++*(int *)ctx;
	return strcmp(name, "stop") == 0 ? ERR_CLOSED : OK;
}

static void directories_list_their_own_names(void **state)
{
	struct vfs_file *f;
	struct fixture x;
	int n = 0;

	open_disk(&x, 1);
	assert_int_equal(vfs_mkdir(x.v, "d"), OK);
	assert_int_equal(vfs_mkdir(x.v, "d/"), ERR_EXISTS);
	assert_int_equal(vfs_mkdir(x.v, "no/d"), ERR_NOT_FOUND);
	put_file(x.v, "./d//a", "", false);
	put_file(x.v, "b", "", false);
	assert_int_equal(vfs_list(x.v, "d", count_name, &n), OK);
	assert_int_equal(n, 1);
	assert_int_equal(vfs_list(x.v, "e", count_name, &n), ERR_NOT_FOUND);
	put_file(x.v, "d/stop", "", false);
	assert_int_equal(vfs_list(x.v, "d", count_name, &n), ERR_CLOSED);
	assert_int_equal(
		vfs_open(x.v, "d/a", VFS_WRITE | VFS_CREATE | VFS_EXCL, &f),
		ERR_EXISTS);
	assert_int_equal(vfs_open(x.v, "d/c", VFS_READ, &f), ERR_NOT_FOUND);
	assert_int_equal(vfs_rename(x.v, "d/c", "d/e"), ERR_NOT_FOUND);
	assert_int_equal(vfs_unlink(x.v, "d/c"), ERR_NOT_FOUND);
	vfs_sim_free(x.sim);
}

static void replace_is_atomic_at_every_power_cut(void **state)
{
	for (uint64_t nth = 1;; nth++) {
		struct bytes new_text = bytes_str("the new text");
		struct fixture x;
		enum err err;

		open_disk(&x, nth);
		assert_int_equal(vfs_replace(x.v, ".", "m", bytes_str("old")),
				 OK);
		vfs_sim_power_off(x.sim, VFS_SIM_ALL, nth / 2 + 1, nth % 2);
		err = vfs_replace(x.v, ".", "m", new_text);
		vfs_sim_crash(x.sim);
		if (strcmp(content(x.v, "m"), "old") != 0)
			assert_string_equal(content(x.v, "m"), "the new text");
		else
			assert_int_not_equal(err, OK);
		vfs_sim_free(x.sim);
		if (!err)
			break;
		assert_true(nth < 100);
	}
}

/* Everything a program does with a disk, once. */
static enum err use_everything(struct vfs *v)
{
	const uint8_t *map;
	struct vfs_file *f;
	int names = 0;
	enum err err;

	err = vfs_mkdir(v, "d");
	if (!err)
		err = vfs_sync_dir(v, ".");
	if (!err)
		err = vfs_replace(v, "d", "d/a", bytes_str("first"));
	if (!err)
		err = vfs_replace(v, "d", "d/a", bytes_str("second"));
	if (!err)
		err = vfs_list(v, "d", count_name, &names);
	if (!err)
		err = vfs_open(v, "d/b", VFS_WRITE | VFS_CREATE, &f);
	if (err)
		return err;
	err = vfs_allocate(f, 5000);
	if (!err)
		err = vfs_map(f, 5000, &map);
	if (!err) {
		err = vfs_pwrite(f, "third", 5, 100);
		vfs_unmap(f, map, 5000);
	}
	if (!err)
		err = vfs_sync(f);
	vfs_close(f);
	if (!err)
		err = vfs_unlink(v, "d/b");
	return err;
}

static void every_failing_allocation_is_an_error_and_no_damage(void **state)
{
	enum err err = ERR_NOMEM;

	for (uint64_t nth = 1; err; nth++) {
		struct vfs_sim *copy = NULL;
		const char *text;
		struct fixture x;

		open_disk(&x, nth);
		fail_alloc_at(nth, false);
		err = use_everything(x.v);
		if (!err)
			err = vfs_sim_clone(x.sim, 1, &copy);
		assert_int_equal(err, fail_alloc_off() ? ERR_NOMEM : OK);
		vfs_sim_crash(x.sim);
		text = content(x.v, "d/a");
		assert_true(strcmp(text, "second") == 0 ||
			    strcmp(text, "first") == 0 || err);
		vfs_sim_free(copy);
		vfs_sim_free(x.sim);
		assert_true(nth < 1000);
	}
}

static void every_failing_call_is_an_error_and_no_damage(void **state)
{
	enum err err = ERR_IO;

	for (uint64_t nth = 1; err; nth++) {
		struct fixture x;

		open_disk(&x, nth);
		vfs_sim_fail(x.sim, VFS_SIM_ALL, nth, ERR_IO, false);
		err = use_everything(x.v);
		assert_int_equal(err, nth <= vfs_sim_calls(x.sim, VFS_SIM_ALL)
					      ? ERR_IO
					      : OK);
		vfs_sim_crash(x.sim);
		vfs_sim_free(x.sim);
		assert_true(nth < 1000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(synced_data_and_names_survive_every_crash),
		cmocka_unit_test(a_name_without_a_directory_sync_may_be_lost),
		cmocka_unit_test(an_unsynced_write_is_lost_whole_torn_or_zero),
		cmocka_unit_test(a_hard_crash_keeps_nothing_unsynced),
		cmocka_unit_test(a_rename_is_old_or_new_never_both_nor_none),
		cmocka_unit_test(
			a_rename_to_another_directory_is_here_or_there),
		cmocka_unit_test(
			an_unlink_may_come_back_until_the_directory_is_synced),
		cmocka_unit_test(kill_keeps_everything_and_frees_the_lock),
		cmocka_unit_test(a_fault_strikes_the_nth_call_of_its_kind_only),
		cmocka_unit_test(calls_are_counted_by_kind),
		cmocka_unit_test(
			data_of_a_failed_sync_is_lost_even_if_synced_again),
		cmocka_unit_test(power_goes_just_before_or_just_after_a_call),
		cmocka_unit_test(a_hard_crash_brings_back_what_was_synced),
		cmocka_unit_test(what_is_synced_after_a_failed_sync_is_kept),
		cmocka_unit_test(a_full_disk_refuses_growth_and_recovers),
		cmocka_unit_test(a_flip_is_durable_and_seen_everywhere),
		cmocka_unit_test(
			a_bad_sector_reads_as_an_error_until_rewritten),
		cmocka_unit_test(
			a_mapping_follows_writes_and_breaks_past_the_end),
		cmocka_unit_test(a_clone_is_another_disk_with_the_same_doubts),
		cmocka_unit_test(directories_list_their_own_names),
		cmocka_unit_test(replace_is_atomic_at_every_power_cut),
		cmocka_unit_test(
			every_failing_allocation_is_an_error_and_no_damage),
		cmocka_unit_test(every_failing_call_is_an_error_and_no_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
