/*
 * Whatever lies in the value or the attributes of one of the store's records:
 * it is refused, or it is encoded to the same bytes again; what it names lies
 * inside it. The first byte chooses what the input is.
 *
 * Decodes: store/attrs.c
 * Decodes in part: store/content.c store/members_map.c store/file_rename.c
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "store/attrs.h"
#include "store/content.h"
#include "store/file_internal.h"
#include "store/members_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void expect_inside(struct bytes part, struct bytes whole)
{
	if (part.n == 0)
		return;
	CHECK(part.p >= whole.p);
	CHECK(part.p + part.n <= whole.p + whole.n);
}

static void walk_xattrs(struct bytes xattrs)
{
	struct bytes name, value;
	size_t off = 0, again_n = 0;
	uint8_t *again = malloc(xattrs.n ? xattrs.n : 1);

	CHECK(again);
	while (attrs_xattr_next(xattrs, &off, &name, &value)) {
		expect_inside(name, xattrs);
		expect_inside(value, xattrs);
		again_n += attrs_xattr_put(again + again_n, name, value);
	}
	CHECK(again_n == xattrs.n);
	CHECK(memcmp(again, xattrs.p, xattrs.n) == 0);
	free(again);
}

static void try_attrs(struct bytes in)
{
	struct attrs a, b;
	uint8_t *again;
	size_t n;

	if (attrs_decode(in, &a))
		return;
	expect_inside(a.xattrs, in);
	expect_inside(a.unknown, in);
	if (a.has & ATTRS_XATTRS)
		walk_xattrs(a.xattrs);
	n = attrs_bytes(&a);
	CHECK(n <= in.n + 1); /* numbers may come in more bytes than needed */
	again = malloc(n + 1);
	CHECK(again);
	CHECK(attrs_encode(&a, again) == n);
	CHECK(attrs_decode(bytes_of(again, n), &b) == OK);
	CHECK(a.has == b.has);
	CHECK(bytes_equal(a.xattrs, b.xattrs));
	CHECK(bytes_equal(a.unknown, b.unknown));
	free(again);
}

static void try_content(struct bytes in)
{
	uint8_t again[RECORD_CONTENT_BYTES];
	struct content_ref ref;

	if (content_ref_decode(in, &ref))
		return;
	content_ref_encode(again, &ref);
	CHECK(bytes_equal(bytes_of(again, sizeof(again)), in));
}

static void try_member(struct bytes in)
{
	struct member m = { .m.id = 7 };
	struct buf b = BUF_INIT;

	if (member_decode(in, &m))
		return;
	CHECK(m.m.id == 7);
	if (!member_is_sound(&m.m))
		return;
	CHECK(member_encode(&b, &m) == OK);
	CHECK(bytes_equal(buf_bytes(&b), in));
	buf_done(&b);
}

static void try_meaning(struct bytes in)
{
	struct store_seen seen;

	if (!file_meaning_decode(in, &seen))
		return;
	expect_inside(seen.key, in);
	expect_inside(seen.to, in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	uint8_t *copy; /* so that one past it is seen */

	if (n == 0)
		return 0;
	copy = malloc(n > 1 ? n - 1 : 1);
	CHECK(copy);
	memcpy(copy, data + 1, n - 1);
	switch (data[0] % 4) {
	case 0:
		try_attrs(bytes_of(copy, n - 1));
		break;
	case 1:
		try_content(bytes_of(copy, n - 1));
		break;
	case 2:
		try_member(bytes_of(copy, n - 1));
		break;
	default:
		try_meaning(bytes_of(copy, n - 1));
	}
	free(copy);
	return 0;
}
