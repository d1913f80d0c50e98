/*
 * tests/lib/tmpdir.c - make and remove a private directory.
 */
#include "tests/lib/tmpdir.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

enum { DESCRIPTORS_MAX = 16 };

char *tmpdir_make(void)
{
	const char *parent = getenv("TMPDIR");
	char *path;
	int n = asprintf(&path, "%s/raftcask-test-XXXXXX",
			 parent && *parent ? parent : "/tmp");

	CHECK(n > 0);
	CHECK(mkdtemp(path));
	return path;
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	return remove(path);
}

void tmpdir_remove(char *path)
{
	if (!path)
		return;
	CHECK(nftw(path, remove_one, DESCRIPTORS_MAX, FTW_DEPTH | FTW_PHYS) ==
	      0);
	free(path);
}
