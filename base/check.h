/*
 * base/check.h - assertions that stay on.
 *
 * CHECK() is for what the program's own logic promises; it stays in release
 * builds, because a store that goes on after a broken invariant destroys data.
 * DCHECK() is for walks too dear for release; it is on when DEBUG is defined
 * (asan, tsan and fuzz flavours). Bytes from disk, a peer, HTTP or the kernel
 * are input: they are never CHECKed, bad input is an error.
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

/* Print file:line and the condition to stderr, then abort(). Thread: any. */
_Noreturn void check_failed(const char *file, int line, const char *what);

#define CHECK(cond)                                                            \
	do {                                                                   \
		if (__builtin_expect(!(cond), 0))                              \
			check_failed(__FILE__, __LINE__, #cond);               \
	} while (0)

#ifdef DEBUG
#define DCHECK(cond) CHECK(cond)
#else
#define DCHECK(cond)                                                           \
	do {                                                                   \
		if (0)                                                         \
			(void)(cond);                                          \
	} while (0)
#endif

#endif
