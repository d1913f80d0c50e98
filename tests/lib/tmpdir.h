/*
 * tests/lib/tmpdir.h - a private directory on the real disk.
 *
 * Threads: any.
 */
#ifndef TESTS_LIB_TMPDIR_H
#define TESTS_LIB_TMPDIR_H

/*
 * Make an empty directory below $TMPDIR or /tmp. The path is the caller's,
 * until tmpdir_remove(). Aborts when that is impossible: no test can go on.
 */
char *tmpdir_make(void);

/* Remove the directory with all that is in it and free path. NULL is fine. */
void tmpdir_remove(char *path);

#endif
