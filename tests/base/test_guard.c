/*
 * tests/base/test_guard.c - a page that cannot be read costs one error, not
 * the process; a SIGBUS that is nobody's still kills.
 */
#include "base/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/vfs.h"
#include "tests/lib/tmpdir.h"

enum { PAGE = 4096, BYTES = 4 * PAGE };

struct fixture {
	char *dir;
	char path[256];
	struct vfs_file *f;
	const uint8_t *map;
	uint8_t data[BYTES];
};

static int map_file(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));

	if (!x)
		return -1;
	x->dir = tmpdir_make();
	snprintf(x->path, sizeof(x->path), "%s/file", x->dir);
	for (size_t i = 0; i < BYTES; i++)
		x->data[i] = (uint8_t)(i * 31);
	if (vfs_open(vfs_os(), x->path, VFS_WRITE | VFS_CREATE, &x->f) ||
	    vfs_pwrite(x->f, x->data, BYTES, 0) ||
	    vfs_map(x->f, BYTES, &x->map))
		return -1;
	*state = x;
	return 0;
}

static int unmap_file(void **state)
{
	struct fixture *x = *state;

	vfs_unmap(x->f, x->map, BYTES);
	vfs_close(x->f);
	tmpdir_remove(x->dir);
	free(x);
	return 0;
}

/* Every guarded read of what lies behind page 1, where the file ends now. */
static void read_past_the_cut(const struct fixture *x)
{
	uint8_t *back = malloc(BYTES);
	uint32_t sum = 77;

	assert_non_null(back);
	assert_int_equal(guard_copy(back, x->map, PAGE), OK);
	assert_int_equal(guard_copy(back, x->map, PAGE + 1), ERR_CORRUPT);
	assert_int_equal(guard_copy(back, x->map + BYTES - 1, 1), ERR_CORRUPT);
	assert_int_equal(guard_crc32c(0, x->map, BYTES, &sum), ERR_CORRUPT);
	assert_int_equal(
		guard_crc32c_copy(0, back, x->map + 5, BYTES - 5, &sum),
		ERR_CORRUPT);
	assert_int_equal(sum, 77);
	assert_int_equal(guard_crc32c_copy(0, back, x->map, PAGE, &sum), OK);
	assert_int_equal(sum, crc32c(0, x->data, PAGE));
	assert_memory_equal(back, x->data, PAGE);
	free(back);
}

static void good_pages_read_as_without_a_guard(void **state)
{
	struct fixture *x = *state;
	uint8_t *back = malloc(BYTES);
	uint32_t sum;

	assert_non_null(back);
	guard_install();
	assert_int_equal(guard_copy(back, x->map, BYTES), OK);
	assert_memory_equal(back, x->data, BYTES);
	assert_int_equal(guard_crc32c(3, x->map, BYTES, &sum), OK);
	assert_int_equal(sum, crc32c(3, x->data, BYTES));
	assert_int_equal(guard_copy(back, x->map, 0), OK);
	free(back);
}

static void a_truncated_mapping_is_corrupt_again_and_again(void **state)
{
	struct fixture *x = *state;

	guard_install();
	assert_int_equal(vfs_truncate(x->f, PAGE), OK);
	for (int i = 0; i < 1000; i++)
		read_past_the_cut(x);
	/* The file grows again: the pages are back. */
	assert_int_equal(vfs_pwrite(x->f, x->data, BYTES, 0), OK);
	assert_memory_equal(x->map, x->data, BYTES);
}

static void *hammer(void *arg)
{
	for (int i = 0; i < 300; i++)
		read_past_the_cut(arg);
	return NULL;
}

static void every_thread_has_its_own_guard(void **state)
{
	struct fixture *x = *state;
	pthread_t threads[4];

	guard_install();
	assert_int_equal(vfs_truncate(x->f, PAGE), OK);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hammer, x),
				 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
}

/* How a child ends that installs the guard and then does this. */
static int end_of_child(void (*what)(struct fixture *), struct fixture *x)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		guard_install();
		what(x);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void touch_unguarded(struct fixture *x)
{
	volatile uint8_t byte = x->map[2 * PAGE];

	(void)byte;
}

/* The guard is for what is read; a destination that faults is a bug. */
static void fault_in_the_destination(struct fixture *x)
{
	uint8_t *map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			    open(x->path, O_RDWR), 0);

	_exit(guard_copy(map + 2 * PAGE, x->data, 10) == OK);
}

static void send_to_self(struct fixture *x)
{
	kill(getpid(), SIGBUS);
}

static void a_sigbus_that_is_nobodys_kills_the_process(void **state)
{
	struct fixture *x = *state;
	void (*const ways[])(struct fixture *) = { touch_unguarded,
						   fault_in_the_destination,
						   send_to_self };
	int status;

	assert_int_equal(vfs_truncate(x->f, PAGE), OK);
	for (int i = 0; i < 3; i++) {
		status = end_of_child(ways[i], x);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGBUS);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, map_file, unmap_file)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(good_pages_read_as_without_a_guard),
		TEST(a_truncated_mapping_is_corrupt_again_and_again),
		TEST(every_thread_has_its_own_guard),
		TEST(a_sigbus_that_is_nobodys_kills_the_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
