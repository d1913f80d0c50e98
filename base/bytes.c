/*
 * base/bytes.c - the growing buffer.
 *
 * Capacity doubles, so that n appended bytes cost O(n) copies in all; the
 * smallest is 64 bytes, below which malloc's own overhead rules.
 */
#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUF_CAP_MIN = 64 };

enum err buf_reserve(struct buf *b, size_t extra)
{
	size_t need, cap;
	uint8_t *p;

	if (extra <= b->cap - b->n)
		return OK;
	if (__builtin_add_overflow(b->n, extra, &need) || need > PTRDIFF_MAX)
		return ERR_NOMEM;
	cap = b->cap < BUF_CAP_MIN ? BUF_CAP_MIN : b->cap;
	while (cap < need)
		cap *= 2;
	p = realloc(b->p, cap);
	if (!p)
		return ERR_NOMEM;
	b->p = p;
	b->cap = cap;
	return OK;
}

enum err buf_add(struct buf *b, const void *p, size_t n)
{
	enum err err = buf_reserve(b, n);

	if (err)
		return err;
	if (n)
		memcpy(b->p + b->n, p, n);
	b->n += n;
	return OK;
}

/*
 * vsnprintf always writes a final NUL, so room for it is reserved too; it is
 * not counted and the next append overwrites it.
 */
enum err buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	enum err err;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return ERR_NOMEM;
	err = buf_reserve(b, (size_t)n + 1);
	if (err)
		return err;
	va_start(ap, fmt);
	vsnprintf((char *)b->p + b->n, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->n += (size_t)n;
	return OK;
}

void buf_done(struct buf *b)
{
	if (!b)
		return;
	free(b->p);
	*b = BUF_INIT;
}
