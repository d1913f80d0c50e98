/*
 * tests/store/test_attrs.c - attributes as bytes: exactly these, and no others
 * are taken.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/seed.h"
#include "store/attrs.h"

enum { ROOM = 4096 };

static struct bytes encode(const struct attrs *a, uint8_t *room)
{
	size_t n = attrs_bytes(a);

	assert_true(n <= ROOM);
	assert_int_equal(attrs_encode(a, room), n);
	return bytes_of(room, n);
}

static void a_number_takes_seven_bytes(void **state)
{
	static const uint8_t golden[] = { 1, 1, 0x80, 0x80, 0xa4, 0xe8, 0x03 };
	struct attrs a = { .has = ATTRS_INO, .ino = 1000000ull << 10 }, b;
	uint8_t room[ROOM];
	struct bytes e = encode(&a, room);

	assert_int_equal(e.n, sizeof(golden));
	assert_memory_equal(e.p, golden, sizeof(golden));
	assert_int_equal(attrs_decode(e, &b), OK);
	assert_int_equal(b.has, ATTRS_INO);
	assert_true(b.ino == a.ino);
}

static void nothing_takes_no_bytes(void **state)
{
	struct attrs a = { 0 };

	assert_int_equal(attrs_bytes(&a), 0);
	assert_int_equal(attrs_encode(&a, NULL), 0);
	assert_int_equal(attrs_decode(bytes_of(NULL, 0), &a), OK);
	assert_int_equal(a.has, 0);
}

static void all_fields_have_their_bytes(void **state)
{
	static const uint8_t xattrs[] = { 6,   2,   0,	 'u', 's', 'e',
					  'r', '.', 'a', 'v', 'w' };
	static const uint8_t golden[] = {
		1,    1,    127,  2,	6,   3,	   0x81, 8, 4, 0, 5,   0xff,
		0xff, 0xff, 0xff, 0x0f, 6,   0x83, 2,	 7, 3, 8, 1,   9,
		2,    10,   3,	  11,	4,   12,   11,	 6, 2, 0, 'u', 's',
		'e',  'r',  '.',  'a',	'v', 'w',  200,	 1, 9,
	};
	static const uint8_t unknown[] = { 200, 1, 9 };
	struct attrs a = {
		.has = 0x1ffe,
		.ino = 127,
		.type = 6,
		.permissions = 02000,
		.gid = UINT32_MAX,
		.rdev = 259,
		.names = 3,
		.atime_ns = 1,
		.mtime_ns = 2,
		.ctime_ns = 3,
		.chunks = 4,
		.xattrs = { xattrs, sizeof(xattrs) },
		.unknown = { unknown, sizeof(unknown) },
	}, b;
	struct bytes name, value;
	uint8_t room[ROOM];
	size_t off = 0;
	struct bytes e = encode(&a, room);

	assert_int_equal(e.n, sizeof(golden));
	assert_memory_equal(e.p, golden, sizeof(golden));
	assert_int_equal(attrs_decode(e, &b), OK);
	assert_int_equal(b.has, a.has);
	assert_int_equal(b.permissions, 02000);
	assert_int_equal(b.gid, UINT32_MAX);
	assert_true(attrs_xattr_next(b.xattrs, &off, &name, &value));
	assert_true(bytes_equal(name, bytes_str("user.a")));
	assert_true(bytes_equal(value, bytes_str("vw")));
	assert_false(attrs_xattr_next(b.xattrs, &off, &name, &value));
	assert_true(bytes_equal(b.unknown, bytes_of(unknown, 3)));
	/* no beginning of it is whole but those that end with a field */
	for (size_t n = 1; n < e.n; n++) {
		struct bytes cut = bytes_of(malloc(n), n);

		memcpy((uint8_t *)(uintptr_t)cut.p, e.p, n);
		if (attrs_decode(cut, &b) == OK)
			assert_int_equal(attrs_bytes(&b), n == 1 ? 0 : n);
		free((void *)(uintptr_t)cut.p);
	}
}

static void refuse(const void *p, size_t n)
{
	struct attrs a;

	assert_int_equal(attrs_decode(bytes_of(p, n), &a), ERR_CORRUPT);
	assert_int_equal(a.has, 0);
}

static void malformed_bytes_are_refused(void **state)
{
	refuse("\2", 1);		      /* another format */
	refuse("\1\1", 2);		      /* no number */
	refuse("\1\1\200", 3);		      /* half a number */
	refuse("\1\1\201\0", 4);	      /* not the shortest */
	refuse("\1\1\0", 3);		      /* inode 0 */
	refuse("\1\2\1\1\5", 5);	      /* falling tags */
	refuse("\1\1\5\1\5", 5);	      /* twice */
	refuse("\1\0\5", 3);		      /* tag 0 */
	refuse("\1\2\20", 3);		      /* type 16 */
	refuse("\1\3\0", 3);		      /* permissions - 1 */
	refuse("\1\3\202\40", 4);	      /* permissions 010001 */
	refuse("\1\4\200\200\200\200\20", 7); /* uid above 32 bits */
	refuse("\1\1\377\377\377\377\377\377\377\377\377\2", 12);
	refuse("\1\14\0", 3);		 /* no attribute at all */
	refuse("\1\14\3\0\0\0", 6);	 /* without a name */
	refuse("\1\14\4\1\1\0a", 7);	 /* a value too short */
	refuse("\1\14\6\1\0\0a\1\0", 9); /* something left over */
	refuse("\1\15\5a", 4);		 /* unknown, cut */
}

/* Whatever random bytes are taken as, encoding gives the very same bytes. */
static void what_is_taken_is_kept(void **state)
{
	struct seed seed;
	uint32_t taken = 0;

	seed_init(&seed, 77);
	for (int i = 0; i < 400000; i++) {
		uint8_t raw[24], room[ROOM];
		size_t n = 1 + seed_below(&seed, sizeof(raw));
		struct attrs a;
		uint8_t tag = 0;

		raw[0] = 1;
		for (size_t j = 1; j < n; j++)
			raw[j] = (uint8_t)seed_below(&seed, 256) & 0x1f;
		for (size_t j = 1; j < n; j += 2) /* tags that often rise */
			raw[j] = tag += 1 + (uint8_t)seed_below(&seed, 3);
		if (attrs_decode(bytes_of(raw, n), &a) != OK)
			continue;
		taken++;
		if (n == 1)
			continue;
		assert_true(bytes_equal(encode(&a, room), bytes_of(raw, n)));
	}
	assert_true(taken > 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_number_takes_seven_bytes),
		cmocka_unit_test(nothing_takes_no_bytes),
		cmocka_unit_test(all_fields_have_their_bytes),
		cmocka_unit_test(malformed_bytes_are_refused),
		cmocka_unit_test(what_is_taken_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
