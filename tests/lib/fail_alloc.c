/*
 * tests/lib/fail_alloc.c - the wrapped allocators.
 *
 * The linker turns every malloc in the objects it links into __wrap_malloc,
 * and __real_malloc into the C library's (or the sanitizer's).
 */
#include "tests/lib/fail_alloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

/* What the linker's --wrap makes of the names; no header has them. */
void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
int __real_posix_memalign(void **p, size_t align, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
int __wrap_posix_memalign(void **p, size_t align, size_t n);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);

static _Atomic uint64_t calls;
static _Atomic uint64_t fail_from; /* the call that fails; 0: none */
static atomic_bool fail_forever, struck;

void fail_alloc_at(uint64_t nth, bool forever)
{
	atomic_store(&struck, false);
	atomic_store(&fail_forever, forever);
	atomic_store(&fail_from, nth ? atomic_load(&calls) + nth : 0);
}

bool fail_alloc_off(void)
{
	atomic_store(&fail_from, 0);
	return atomic_exchange(&struck, false);
}

uint64_t fail_alloc_calls(void)
{
	return atomic_load(&calls);
}

static bool must_fail(void)
{
	uint64_t call = atomic_fetch_add(&calls, 1) + 1;
	uint64_t from = atomic_load(&fail_from);

	if (!from || call < from)
		return false;
	if (call > from && !atomic_load(&fail_forever))
		return false;
	atomic_store(&struck, true);
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t n)
{
	return must_fail() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t count, size_t n)
{
	return must_fail() ? NULL : __real_calloc(count, n);
}

void *__wrap_realloc(void *p, size_t n)
{
	return must_fail() ? NULL : __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
	return must_fail() ? NULL : __real_aligned_alloc(align, n);
}

int __wrap_posix_memalign(void **p, size_t align, size_t n)
{
	return must_fail() ? ENOMEM : __real_posix_memalign(p, align, n);
}

char *__wrap_strdup(const char *s)
{
	return __wrap_strndup(s, strlen(s));
}

char *__wrap_strndup(const char *s, size_t n)
{
	size_t bytes = strnlen(s, n);
	char *p = __wrap_malloc(bytes + 1);

	if (!p)
		return NULL;
	memcpy(p, s, bytes);
	p[bytes] = '\0';
	return p;
}
