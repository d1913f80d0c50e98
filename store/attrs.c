/*
 * store/attrs.c - attributes of a key: tagged fields in varints.
 *
 * Decoding is strict (rising tags, shortest varints, nothing left over), so
 * that what is decoded and encoded again is the same bytes. Numbers from disk
 * and from peers come through here: nothing is taken on trust.
 */
#include "base/check.h"
#include "store/attrs.h"

enum {
	FORMAT = 1,
	TAG_XATTRS = 12, /* it and all above: a length and bytes            */
	TYPE_MAX = 15,
	PERMISSIONS_MAX = 07777,
	VARINT_BYTES_MAX = 10,
};

static bool take_varint(struct bytes *in, uint64_t *v)
{
	*v = 0;
	for (unsigned i = 0; i < VARINT_BYTES_MAX && i < in->n; i++) {
		uint8_t byte = in->p[i];

		if (i == VARINT_BYTES_MAX - 1 && byte > 1)
			return false;
		*v |= (uint64_t)(byte & 127) << 7 * i;
		if (byte & 128)
			continue;
		*in = bytes_of(in->p + i + 1, in->n - i - 1);
		return i == 0 || byte != 0; /* the shortest form only */
	}
	return false;
}

static size_t varint_bytes(uint64_t v)
{
	size_t n = 1;

	while (v >>= 7)
		n++;
	return n;
}

static uint8_t *put_varint(uint8_t *dst, uint64_t v)
{
	for (; v > 127; v >>= 7)
		*dst++ = (uint8_t)(v | 128);
	*dst++ = (uint8_t)v;
	return dst;
}

/* ------------------------------------------------------------- decoding -- */

static bool fits32(uint64_t v, uint64_t max, uint32_t *field)
{
	*field = (uint32_t)v;
	return v <= max;
}

static bool set_number(struct attrs *a, unsigned tag, uint64_t v)
{
	a->has |= 1u << tag;
	switch (1u << tag) {
	case ATTRS_INO:
		a->ino = v;
		return v != 0;
	case ATTRS_TYPE:
		return fits32(v, TYPE_MAX, &a->type);
	case ATTRS_PERMISSIONS:
		return v > 0 && fits32(v - 1, PERMISSIONS_MAX, &a->permissions);
	case ATTRS_UID:
		return fits32(v, UINT32_MAX, &a->uid);
	case ATTRS_GID:
		return fits32(v, UINT32_MAX, &a->gid);
	case ATTRS_RDEV:
		a->rdev = v;
		return true;
	case ATTRS_NAMES:
		return fits32(v, UINT32_MAX, &a->names);
	case ATTRS_ATIME:
		a->atime_ns = v;
		return true;
	case ATTRS_MTIME:
		a->mtime_ns = v;
		return true;
	case ATTRS_CTIME:
		a->ctime_ns = v;
		return true;
	case ATTRS_CHUNKS:
		a->chunks = v;
		return true;
	}
	return false;
}

bool attrs_xattr_next(struct bytes xattrs, size_t *off, struct bytes *name,
		      struct bytes *value)
{
	const uint8_t *p = xattrs.p + *off;
	size_t left = xattrs.n - *off, n;

	CHECK(*off <= xattrs.n);
	if (left < ATTRS_XATTR_HEAD_BYTES)
		return false;
	n = (size_t)p[0] + get_u16(p + 1);
	if (n > left - ATTRS_XATTR_HEAD_BYTES)
		return false;
	*name = bytes_of(p + ATTRS_XATTR_HEAD_BYTES, p[0]);
	*value = bytes_of(p + ATTRS_XATTR_HEAD_BYTES + p[0], get_u16(p + 1));
	*off += ATTRS_XATTR_HEAD_BYTES + n;
	return true;
}

static bool xattrs_ok(struct bytes xattrs)
{
	struct bytes name, value;
	size_t off = 0;

	while (attrs_xattr_next(xattrs, &off, &name, &value)) {
		if (name.n == 0)
			return false;
	}
	return off == xattrs.n && xattrs.n > 0;
}

/* A field with a length, from its tag on; its bytes with tag and length. */
static bool take_bytes(struct bytes *in, struct bytes *field, struct bytes *all)
{
	const uint8_t *begin = in->p;
	uint64_t n;

	*in = bytes_of(in->p + 1, in->n - 1);
	if (!take_varint(in, &n) || n > in->n)
		return false;
	*field = bytes_of(in->p, n);
	*in = bytes_of(in->p + n, in->n - n);
	*all = bytes_of(begin, (size_t)(in->p - begin));
	return true;
}

static bool decode_fields(struct bytes in, struct attrs *a)
{
	unsigned last = 0;

	while (in.n > 0) {
		unsigned tag = in.p[0];
		struct bytes field, all;
		uint64_t v;

		if (tag <= last)
			return false;
		last = tag;
		if (tag < TAG_XATTRS) {
			in = bytes_of(in.p + 1, in.n - 1);
			if (!take_varint(&in, &v) || !set_number(a, tag, v))
				return false;
			continue;
		}
		if (!take_bytes(&in, &field, &all))
			return false;
		if (tag == TAG_XATTRS) {
			a->has |= ATTRS_XATTRS;
			a->xattrs = field;
			if (!xattrs_ok(field))
				return false;
		} else if (a->unknown.n == 0) {
			a->unknown = all;
		} else {
			a->unknown.n += all.n; /* they lie side by side */
		}
	}
	return true;
}

enum err attrs_decode(struct bytes encoded, struct attrs *a)
{
	*a = (struct attrs){ 0 };
	if (encoded.n == 0)
		return OK;
	if (encoded.p[0] != FORMAT)
		return ERR_CORRUPT;
	if (!decode_fields(bytes_of(encoded.p + 1, encoded.n - 1), a)) {
		*a = (struct attrs){ 0 };
		return ERR_CORRUPT;
	}
	return OK;
}

/* ------------------------------------------------------------- encoding -- */

static uint64_t number_of(const struct attrs *a, unsigned tag)
{
	switch (1u << tag) {
	case ATTRS_INO:
		return a->ino;
	case ATTRS_TYPE:
		return a->type;
	case ATTRS_PERMISSIONS:
		return (uint64_t)a->permissions + 1;
	case ATTRS_UID:
		return a->uid;
	case ATTRS_GID:
		return a->gid;
	case ATTRS_RDEV:
		return a->rdev;
	case ATTRS_NAMES:
		return a->names;
	case ATTRS_ATIME:
		return a->atime_ns;
	case ATTRS_MTIME:
		return a->mtime_ns;
	case ATTRS_CTIME:
		return a->ctime_ns;
	default:
		return a->chunks;
	}
}

size_t attrs_bytes(const struct attrs *a)
{
	size_t n = 1;

	for (unsigned tag = 1; tag < TAG_XATTRS; tag++) {
		if (a->has & 1u << tag)
			n += 1 + varint_bytes(number_of(a, tag));
	}
	if (a->has & ATTRS_XATTRS)
		n += 1 + varint_bytes(a->xattrs.n) + a->xattrs.n;
	n += a->unknown.n;
	return n == 1 ? 0 : n;
}

size_t attrs_encode(const struct attrs *a, uint8_t *dst)
{
	uint8_t *at = dst;

	if (!a->has && a->unknown.n == 0)
		return 0;
	CHECK(!(a->has & ATTRS_INO) || a->ino != 0);
	CHECK(a->permissions <= PERMISSIONS_MAX);
	*at++ = FORMAT;
	for (unsigned tag = 1; tag < TAG_XATTRS; tag++) {
		if (!(a->has & 1u << tag))
			continue;
		*at++ = (uint8_t)tag;
		at = put_varint(at, number_of(a, tag));
	}
	if (a->has & ATTRS_XATTRS) {
		*at++ = TAG_XATTRS;
		at = put_varint(at, a->xattrs.n);
		memcpy(at, a->xattrs.p, a->xattrs.n);
		at += a->xattrs.n;
	}
	if (a->unknown.n > 0) {
		memcpy(at, a->unknown.p, a->unknown.n);
		at += a->unknown.n;
	}
	return (size_t)(at - dst);
}

size_t attrs_xattr_put(uint8_t *dst, struct bytes name, struct bytes value)
{
	CHECK(name.n >= 1 && name.n <= UINT8_MAX);
	CHECK(value.n <= UINT16_MAX);
	dst[0] = (uint8_t)name.n;
	put_u16(dst + 1, (uint16_t)value.n);
	memcpy(dst + ATTRS_XATTR_HEAD_BYTES, name.p, name.n);
	if (value.n > 0)
		memcpy(dst + ATTRS_XATTR_HEAD_BYTES + name.n, value.p, value.n);
	return ATTRS_XATTR_HEAD_BYTES + name.n + value.n;
}
