/*
 * base/check.c - where a broken invariant ends.
 *
 * The message goes straight to stderr, not through the log: the log may be
 * what is broken, and abort() leaves a core with the stack that got here.
 */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: broken invariant: %s\n", file, line, what);
	abort();
}
