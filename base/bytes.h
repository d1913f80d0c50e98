/*
 * base/bytes.h - borrowed views, owned buffers, little-endian fields.
 *
 * struct bytes borrows: whoever hands one out says until when it is valid.
 * struct buf owns: it grows on the heap and is released with buf_done().
 * Threads: none of it locks; a buf belongs to one thread at a time.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

struct bytes {
	const uint8_t *p; /* may be NULL when n is 0 */
	size_t n;
};

static inline struct bytes bytes_of(const void *p, size_t n)
{
	return (struct bytes){ .p = p, .n = n };
}

static inline struct bytes bytes_str(const char *s)
{
	return (struct bytes){ .p = (const uint8_t *)s, .n = strlen(s) };
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Order as unsigned bytes, a prefix before what it begins: <0, 0 or >0. */
static inline int bytes_compare(struct bytes a, struct bytes b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;

	return c ? c : (a.n > b.n) - (a.n < b.n);
}

static inline bool bytes_begins(struct bytes a, struct bytes prefix)
{
	return a.n >= prefix.n &&
	       (prefix.n == 0 || memcmp(a.p, prefix.p, prefix.n) == 0);
}

struct buf {
	uint8_t *p;
	size_t n;   /* bytes in use   */
	size_t cap; /* bytes reserved */
};

#define BUF_INIT ((struct buf){ 0 })

static inline struct bytes buf_bytes(const struct buf *b)
{
	return (struct bytes){ .p = b->p, .n = b->n };
}

/* Make room for extra more bytes. ERR_NOMEM: b is unchanged. */
MUST_CHECK enum err buf_reserve(struct buf *b, size_t extra);

/* Append n bytes copied from p (which must not lie in b). ERR_NOMEM: same. */
MUST_CHECK enum err buf_add(struct buf *b, const void *p, size_t n);

/* Append printf-formatted text, without a final NUL. ERR_NOMEM: unchanged. */
MUST_CHECK enum err buf_addf(struct buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Release the memory and make b BUF_INIT again. NULL is accepted. */
void buf_done(struct buf *b);

/* Little-endian fields at any alignment. */
static inline void put_u16(void *p, uint16_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void put_u32(void *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void put_u64(void *p, uint64_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline uint16_t get_u16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t get_u32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t get_u64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Big-endian, for keys whose byte order must be the number's order. */
static inline void put_be64(void *p, uint64_t v)
{
	put_u64(p, __builtin_bswap64(v));
}

static inline uint64_t get_be64(const void *p)
{
	return __builtin_bswap64(get_u64(p));
}

static inline void put_be32(void *p, uint32_t v)
{
	put_u32(p, __builtin_bswap32(v));
}

static inline uint32_t get_be32(const void *p)
{
	return __builtin_bswap32(get_u32(p));
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "raftcask's on-disk integers are read in place");

#endif
