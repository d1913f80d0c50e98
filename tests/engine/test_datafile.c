/*
 * tests/engine/test_datafile.c - a page that a mapping does not have is read
 * from the file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/guard.h"
#include "engine/datafile.h"
#include "tests/lib/tmpdir.h"

enum { BYTES = 8192, HALF = 4096 };

/*
 * A hole in a file of a full tmpfs is such a page: to read it through the
 * mapping takes a block that is not there, and the daemon gets SIGBUS. Taken
 * for damage it keeps a sound directory from opening.
 */
static void what_is_not_mapped_is_read(void **state)
{
	struct datafile df = { .bytes = BYTES };
	uint8_t want[BYTES], got[BYTES] = { 0 }, *map;
	char path[256], *dir = tmpdir_make();
	struct vfs_file *f;

	guard_install(); /* over what cmocka has installed */
	memset(want, 'x', sizeof(want));
	snprintf(path, sizeof(path), "%s/file", dir);
	assert_int_equal(vfs_open(vfs_os(), path, VFS_WRITE | VFS_CREATE, &f),
			 OK);
	assert_int_equal(vfs_pwrite(f, want, sizeof(want), 0), OK);
	/* The second half of the mapping lies behind the end of its file. */
	map = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, memfd_create("short", 0),
		   0);
	assert_true(map != MAP_FAILED);
	df.f = f;
	df.map = map;
	assert_int_equal(datafile_read(&df, HALF, 512, got), OK);
	assert_memory_equal(got, want, 512);
	assert_int_equal(datafile_read(&df, 0, BYTES, got), OK);
	assert_memory_equal(got, want, BYTES);
	assert_int_equal(df.unreadable_off, 0);
	/* What the file does not have either is damage. */
	assert_int_equal(vfs_truncate(f, HALF), OK);
	assert_int_equal(datafile_read(&df, HALF, 512, got), ERR_CORRUPT);
	assert_int_equal(df.unreadable_off, HALF);
	munmap(map, BYTES);
	vfs_close(f);
	tmpdir_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_mapped_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
