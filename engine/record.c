/*
 * engine/record.c - records: encode, and decode what may be anything.
 *
 * Two checksums divide what can be lost: the first covers header, key and
 * attributes, so that a record with a bad value still says which key is hit;
 * the second covers the value and is chained to the first, so that a good
 * value of another record never passes. See the drawing in record.h.
 */
#include "engine/record.h"

#include "base/check.h"
#include "base/crc32c.h"

uint64_t record_encode(uint8_t *dst, uint32_t file_seed, const struct record *r)
{
	uint64_t bytes = record_bytes(r->key.n, r->attrs.n, r->value.n);
	uint8_t *p = dst + RECORD_HEADER_BYTES;
	uint8_t *end = dst + bytes;
	uint32_t crc;

	CHECK(r->key.n <= RECORD_KEY_BYTES_MAX);
	CHECK(r->attrs.n <= RECORD_ATTR_BYTES_MAX);
	CHECK(r->value.n <= RECORD_VALUE_BYTES_MAX);
	CHECK(r->type > 0 && r->type < RECORD_TYPE_MAX);
	put_u16(dst + 8, RECORD_MAGIC);
	dst[10] = r->type;
	dst[11] = r->flags;
	put_u16(dst + 12, r->partition);
	put_u16(dst + 14, r->position);
	put_u64(dst + 16, r->index);
	put_u64(dst + 24, r->term);
	put_u64(dst + 32, r->stamp_ns);
	put_u64(dst + 40, r->mtime_ns);
	put_u64(dst + 48, r->expiry_ns);
	put_u16(dst + 56, (uint16_t)r->key.n);
	put_u16(dst + 58, (uint16_t)r->attrs.n);
	put_u32(dst + 60, (uint32_t)r->value.n);
	if (r->key.n)
		memcpy(p, r->key.p, r->key.n);
	p += r->key.n;
	if (r->attrs.n)
		memcpy(p, r->attrs.p, r->attrs.n);
	p += r->attrs.n;
	crc = crc32c(file_seed, dst + 8, (size_t)(p - dst) - 8);
	put_u32(dst, crc);
	if (r->value.n)
		crc = crc32c_copy(crc, p, r->value.p, r->value.n);
	put_u32(dst + 4, crc);
	p += r->value.n;
	while (p < end)
		*p++ = 0;
	return bytes;
}

/* A header whose checksum holds may still be one that no writer makes. */
static bool fields_possible(const struct record *r)
{
	if (r->type == 0 || r->type >= RECORD_TYPE_MAX)
		return false;
	if (r->key.n > RECORD_KEY_BYTES_MAX)
		return false;
	return r->value.n <= RECORD_VALUE_BYTES_MAX;
}

enum record_state record_decode(const uint8_t *src, uint64_t n,
				uint32_t file_seed, bool verify_value,
				struct record *r, uint64_t *bytes)
{
	struct record got;
	uint64_t length;
	const uint8_t *key = src + RECORD_HEADER_BYTES;
	uint32_t crc;

	if (n < RECORD_HEADER_BYTES || get_u16(src + 8) != RECORD_MAGIC)
		return RECORD_BAD_HEADER;
	got.type = src[10];
	got.flags = src[11];
	got.partition = get_u16(src + 12);
	got.position = get_u16(src + 14);
	got.index = get_u64(src + 16);
	got.term = get_u64(src + 24);
	got.stamp_ns = get_u64(src + 32);
	got.mtime_ns = get_u64(src + 40);
	got.expiry_ns = get_u64(src + 48);
	got.key = bytes_of(key, get_u16(src + 56));
	got.attrs = bytes_of(key + got.key.n, get_u16(src + 58));
	got.value = bytes_of(got.attrs.p + got.attrs.n, get_u32(src + 60));
	length = record_bytes(got.key.n, got.attrs.n, got.value.n);
	if (length > n || !fields_possible(&got))
		return RECORD_BAD_HEADER;
	crc = crc32c(file_seed, src + 8,
		     RECORD_HEADER_BYTES - 8 + got.key.n + got.attrs.n);
	if (crc != get_u32(src))
		return RECORD_BAD_HEADER;
	*r = got;
	*bytes = length;
	if (verify_value &&
	    crc32c(crc, got.value.p, got.value.n) != get_u32(src + 4))
		return RECORD_BAD_VALUE;
	return RECORD_OK;
}
