/*
 * tests/base/test_vfs_os.c - the real disk keeps the contract of base/vfs.h.
 */
#include "base/vfs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/fail_alloc.h"
#include "tests/lib/tmpdir.h"

struct fixture {
	char *dir;
	char path[256], other[256];
};

static int make_dir(void **state)
{
	struct fixture *x = malloc(sizeof(*x));

	if (!x)
		return -1;
	x->dir = tmpdir_make();
	snprintf(x->path, sizeof(x->path), "%s/file", x->dir);
	snprintf(x->other, sizeof(x->other), "%s/other", x->dir);
	*state = x;
	return 0;
}

static int remove_dir(void **state)
{
	struct fixture *x = *state;

	tmpdir_remove(x->dir);
	free(x);
	return 0;
}

static struct vfs_file *open_new(const char *path)
{
	struct vfs_file *f;

	assert_int_equal(vfs_open(vfs_os(), path, VFS_WRITE | VFS_CREATE, &f),
			 OK);
	return f;
}

static void open_flags_mean_what_they_say(void **state)
{
	struct fixture *x = *state;
	struct vfs_file *f;
	struct stat st;
	uint64_t n;

	umask(0);
	assert_int_equal(vfs_open(vfs_os(), x->path, VFS_WRITE, &f),
			 ERR_NOT_FOUND);
	f = open_new(x->path);
	assert_int_equal(vfs_pwrite(f, "abc", 3, 0), OK);
	vfs_close(f);
	assert_int_equal(stat(x->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(vfs_open(vfs_os(), x->path,
				  VFS_WRITE | VFS_CREATE | VFS_EXCL, &f),
			 ERR_EXISTS);
	assert_int_equal(vfs_open(vfs_os(), x->path, VFS_WRITE | VFS_TRUNC, &f),
			 OK);
	assert_int_equal(vfs_size(f, &n), OK);
	assert_int_equal(n, 0);
	vfs_close(f);
	vfs_close(NULL);
	assert_int_equal(vfs_open(vfs_os(), x->path, VFS_READ, &f), OK);
	assert_int_equal(vfs_pwrite(f, "abc", 3, 0), ERR_IO);
	vfs_close(f);
	fail_alloc_at(1, false);
	assert_int_equal(vfs_open(vfs_os(), x->path, VFS_READ, &f), ERR_NOMEM);
	assert_true(fail_alloc_off());
}

static void many_pieces_are_written_in_order(void **state)
{
	enum { PIECES = 1000 };
	struct fixture *x = *state;
	struct iovec iov[PIECES];
	uint8_t data[PIECES * 3], back[PIECES * 3 + 10];
	struct vfs_file *f = open_new(x->path);
	size_t at = 0, got;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	for (int i = 0; i < PIECES; i++) {
		iov[i].iov_base = data + at;
		iov[i].iov_len = (size_t)i % 4;
		at += (size_t)i % 4;
	}
	assert_int_equal(vfs_pwritev(f, iov, PIECES, 5), OK);
	assert_int_equal(vfs_pread(f, back, sizeof(back), 5, &got), OK);
	assert_int_equal(got, at);
	assert_memory_equal(back, data, at);
	assert_int_equal(vfs_pread(f, back, 10, 1 << 20, &got), OK);
	assert_int_equal(got, 0);
	assert_int_equal(vfs_pwritev(f, iov, 0, 0), OK);
	assert_int_equal(vfs_sync(f), OK);
	vfs_close(f);
}

static void a_limit_in_the_middle_of_a_write_is_nospc(void **state)
{
	struct rlimit old, small;
	struct fixture *x = *state;
	struct vfs_file *f = open_new(x->path);
	char data[8192] = { 0 };
	enum err err;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = 4096;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	/* The first pwritev comes back short, the second with EFBIG. */
	err = vfs_pwrite(f, data, sizeof(data), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(err, ERR_NOSPC);
	vfs_close(f);
}

static void sizes_are_cut_extended_and_reserved(void **state)
{
	struct fixture *x = *state;
	struct vfs_file *f = open_new(x->path);
	char back[4] = "xxx";
	size_t got;
	uint64_t n;

	assert_int_equal(vfs_pwrite(f, "abc", 3, 0), OK);
	assert_int_equal(vfs_truncate(f, 1), OK);
	assert_int_equal(vfs_allocate(f, 10000), OK);
	assert_int_equal(vfs_size(f, &n), OK);
	assert_int_equal(n, 10000);
	assert_int_equal(vfs_pread(f, back, 3, 0, &got), OK);
	assert_memory_equal(back, "a\0\0", 3);
	assert_int_equal(vfs_allocate(f, 100), OK);
	assert_int_equal(vfs_size(f, &n), OK);
	assert_int_equal(n, 10000);
	vfs_close(f);
}

/* Whoever skips to data_from must skip nothing but zeros. */
static void space_never_written_is_known_without_reading(void **state)
{
	struct fixture *x = *state;
	struct vfs_file *f = open_new(x->path);
	uint64_t data;

	assert_int_equal(vfs_allocate(f, 1 << 20), OK);
	assert_int_equal(vfs_pwrite(f, "x", 1, 700000), OK);
	for (uint64_t off = 0; off <= 700000; off += 50000) {
		assert_int_equal(vfs_data_from(f, off, &data), OK);
		assert_in_range(data, off, 700000);
	}
	assert_int_equal(vfs_data_from(f, 700000, &data), OK);
	assert_int_equal(data, 700000);
	assert_int_equal(vfs_data_from(f, 800000, &data), OK);
	assert_in_range(data, 800000, 1 << 20);
	assert_int_equal(vfs_data_from(f, 1 << 20, &data), OK);
	assert_int_equal(data, 1 << 20);
	vfs_close(f);
}

static void a_mapping_shows_later_writes(void **state)
{
	struct fixture *x = *state;
	struct vfs_file *f = open_new(x->path);
	const uint8_t *map;

	assert_int_equal(vfs_truncate(f, 8192), OK);
	assert_int_equal(vfs_map(f, 8192, &map), OK);
	assert_int_equal(vfs_pwrite(f, "later", 5, 5000), OK);
	assert_memory_equal(map + 5000, "later", 5);
	vfs_unmap(f, map, 8192);
	vfs_close(f);
}

/* What another process gets when it asks for the lock. */
static enum err lock_elsewhere(const char *path)
{
	struct vfs_file *f;
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit((int)vfs_lock(vfs_os(), path, &f));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return (enum err)WEXITSTATUS(status);
}

static void a_lock_excludes_other_processes_and_this_one(void **state)
{
	struct fixture *x = *state;
	struct vfs_file *f, *again;

	/* The child that got it has ended, and with it its lock. */
	assert_int_equal(lock_elsewhere(x->path), OK);
	assert_int_equal(vfs_lock(vfs_os(), x->path, &f), OK);
	assert_int_equal(lock_elsewhere(x->path), ERR_BUSY);
	assert_int_equal(vfs_lock(vfs_os(), x->path, &again), ERR_BUSY);
	vfs_close(f);
	assert_int_equal(lock_elsewhere(x->path), OK);
}

static void read_all_keeps_its_limit(void **state)
{
	struct fixture *x = *state;
	struct vfs_file *f = open_new(x->path);
	struct buf b = BUF_INIT;

	assert_int_equal(vfs_pwrite(f, "12345", 5, 0), OK);
	vfs_close(f);
	assert_int_equal(buf_add(&b, ">", 1), OK);
	assert_int_equal(vfs_read_all(vfs_os(), x->path, 4, &b), ERR_TOO_LARGE);
	assert_int_equal(vfs_read_all(vfs_os(), x->other, 4, &b),
			 ERR_NOT_FOUND);
	assert_int_equal(b.n, 1);
	assert_int_equal(vfs_read_all(vfs_os(), x->path, 5, &b), OK);
	assert_true(bytes_equal(buf_bytes(&b), bytes_str(">12345")));
	buf_done(&b);
}

static void replace_and_read_all_survive_every_failing_allocation(void **state)
{
	struct fixture *x = *state;
	enum err err = ERR_NOMEM;

	for (uint64_t nth = 1; err; nth++) {
		struct buf b = BUF_INIT;

		fail_alloc_at(nth, false);
		err = vfs_replace(vfs_os(), x->dir, x->path, bytes_str("new"));
		if (!err)
			err = vfs_read_all(vfs_os(), x->path, 100, &b);
		assert_int_equal(fail_alloc_off() ? ERR_NOMEM : OK, err);
		assert_true(b.n == (err ? 0 : 3));
		buf_done(&b);
	}
}

static enum err note_name(void *ctx, const char *name)
{
	char *names = ctx;

	strcat(strcat(names, name), " ");
	return strcmp(name, "other") == 0 ? ERR_CLOSED : OK;
}

static void names_come_and_go(void **state)
{
	struct fixture *x = *state;
	char names[256] = "";
	uint64_t n;

	assert_int_equal(vfs_replace(vfs_os(), x->dir, x->path, bytes_str("1")),
			 OK);
	assert_int_equal(vfs_list(vfs_os(), x->dir, note_name, names), OK);
	assert_string_equal(names, "file ");
	assert_int_equal(vfs_rename(vfs_os(), x->path, x->other), OK);
	assert_int_equal(vfs_list(vfs_os(), x->dir, note_name, names),
			 ERR_CLOSED);
	assert_int_equal(vfs_unlink(vfs_os(), x->path), ERR_NOT_FOUND);
	assert_int_equal(vfs_mkdir(vfs_os(), x->path), OK);
	assert_int_equal(vfs_mkdir(vfs_os(), x->path), ERR_EXISTS);
	assert_int_equal(vfs_sync_dir(vfs_os(), x->path), OK);
	assert_int_equal(vfs_sync_dir(vfs_os(), x->dir), OK);
	assert_int_equal(vfs_unlink(vfs_os(), x->other), OK);
	assert_int_equal(vfs_list(vfs_os(), x->other, note_name, names),
			 ERR_NOT_FOUND);
	assert_int_equal(vfs_free_bytes(vfs_os(), x->dir, &n), OK);
	assert_true(n > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(open_flags_mean_what_they_say),
		TEST(many_pieces_are_written_in_order),
		TEST(a_limit_in_the_middle_of_a_write_is_nospc),
		TEST(sizes_are_cut_extended_and_reserved),
		TEST(space_never_written_is_known_without_reading),
		TEST(a_mapping_shows_later_writes),
		TEST(a_lock_excludes_other_processes_and_this_one),
		TEST(read_all_keeps_its_limit),
		TEST(replace_and_read_all_survive_every_failing_allocation),
		TEST(names_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
