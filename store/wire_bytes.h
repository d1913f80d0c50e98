/*
 * store/wire_bytes.h - what the encoders and decoders of messages share.
 *
 * Everything on the wire begins at a multiple of 8; what fills up is zero.
 * Thread: any; pure functions.
 */
#ifndef STORE_WIRE_BYTES_H
#define STORE_WIRE_BYTES_H

#include <stdbool.h>

#include "base/bytes.h"

/* n bytes with their padding. */
static inline size_t wire_padded(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

static inline bool wire_is_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i])
			return false;
	}
	return true;
}

/* Room for n bytes at the end of b, zeroed and counted in; NULL: none. */
static inline uint8_t *wire_extend(struct buf *b, size_t n)
{
	if (buf_reserve(b, n))
		return NULL;
	if (n > 0)
		memset(b->p + b->n, 0, n);
	b->n += n;
	return b->p + b->n - n;
}

/* Take n bytes and their padding off *in; NULL: not there, or not zero. */
static inline const uint8_t *wire_take(struct bytes *in, size_t n)
{
	const uint8_t *p = in->p;
	size_t padded = wire_padded(n);

	if (padded < n || padded > in->n || !wire_is_zero(p + n, padded - n))
		return NULL;
	in->p += padded;
	in->n -= padded;
	return p;
}

#endif
