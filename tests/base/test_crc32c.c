/*
 * tests/base/test_crc32c.c - the published check values, and hardware and
 * portable code giving the same for every length and alignment that takes
 * another path.
 */
#include "base/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/seed.h"

enum { BIG = 40000 };

/* The definition, a bit at a time: independent of every table. */
static uint32_t by_the_book(uint32_t crc, const uint8_t *p, size_t n)
{
	crc = ~crc;
	while (n--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

static uint8_t *random_bytes(size_t n)
{
	uint8_t *p = malloc(n);
	struct seed s;

	assert_non_null(p);
	seed_init(&s, 7);
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)seed_next(&s);
	return p;
}

/* RFC 3720, B.4, and the usual check value. */
static void check_values_are_the_published_ones(void **state)
{
	uint8_t b[32];

	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
	assert_int_equal(crc32c_portable(0, "123456789", 9), 0xe3069283u);
	assert_int_equal(crc32c(0, "", 0), 0);
	memset(b, 0, 32);
	assert_int_equal(crc32c(0, b, 32), 0x8a9136aau);
	memset(b, 0xff, 32);
	assert_int_equal(crc32c(0, b, 32), 0x62a8ab43u);
	for (int i = 0; i < 32; i++)
		b[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, b, 32), 0x46dd794eu);
}

static void portable_follows_the_definition(void **state)
{
	uint8_t *p = random_bytes(600);

	for (size_t n = 0; n <= 560; n++)
		for (size_t off = 0; off < 8; off++)
			assert_int_equal(crc32c_portable(5, p + off, n),
					 by_the_book(5, p + off, n));
	free(p);
}

static void hardware_equals_portable_at_every_length(void **state)
{
	uint8_t *p = random_bytes(BIG);

	for (size_t n = 0; n <= 3400; n++)
		for (size_t off = 0; off < 8; off += n < 300 ? 1 : 7)
			assert_int_equal(crc32c(9, p + off, n),
					 crc32c_portable(9, p + off, n));
	for (size_t n = 3400; n <= BIG - 8; n += 419)
		assert_int_equal(crc32c(0, p + n % 8, n),
				 crc32c_portable(0, p + n % 8, n));
	free(p);
}

static void a_sum_continues_where_it_stopped(void **state)
{
	uint8_t *p = random_bytes(5000);
	uint32_t whole = crc32c(0, p, 5000);

	for (size_t cut = 0; cut <= 5000; cut += 13)
		assert_int_equal(crc32c(crc32c(0, p, cut), p + cut, 5000 - cut),
				 whole);
	free(p);
}

static void copy_sums_and_copies_exactly_its_bytes(void **state)
{
	uint8_t *p = random_bytes(BIG), *d = malloc(BIG + 16);

	assert_non_null(d);
	for (size_t n = 0; n <= BIG - 16; n += n < 3400 ? 1 : 419) {
		size_t off = n % 8;

		memset(d, 0x5a, n + 16);
		assert_int_equal(crc32c_copy(3, d + off, p + off / 2, n),
				 crc32c_portable(3, p + off / 2, n));
		assert_memory_equal(d + off, p + off / 2, n);
		for (size_t i = 0; i < off; i++)
			assert_int_equal(d[i], 0x5a);
		for (size_t i = off + n; i < n + 16; i++)
			assert_int_equal(d[i], 0x5a);
	}
	free(d);
	free(p);
}

static void a_flipped_bit_is_always_seen(void **state)
{
	uint8_t *p = random_bytes(512);
	uint32_t good = crc32c(0, p, 512);

	for (size_t bit = 0; bit < 512 * 8; bit++) {
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_not_equal(crc32c(0, p, 512), good);
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_values_are_the_published_ones),
		cmocka_unit_test(portable_follows_the_definition),
		cmocka_unit_test(hardware_equals_portable_at_every_length),
		cmocka_unit_test(a_sum_continues_where_it_stopped),
		cmocka_unit_test(copy_sums_and_copies_exactly_its_bytes),
		cmocka_unit_test(a_flipped_bit_is_always_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
