/*
 * tests/httpd/test_target.c - decoding of paths and queries, by examples that
 * other servers got wrong, and by random bytes against an independent decoder.
 */
#include "httpd/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/seed.h"

static enum err decode(const char *text, bool plus, char *out, size_t *n)
{
	*n = strlen(text);
	memcpy(out, text, *n);
	return target_decode((uint8_t *)out, n, plus);
}

static void decode_gives_every_byte(void **state)
{
	char text[4], out[4];
	size_t n;

	for (unsigned i = 0; i < 256; i++) {
		snprintf(text, sizeof(text), i & 1 ? "%%%02x" : "%%%02X", i);
		assert_int_equal(decode(text, false, out, &n), OK);
		assert_int_equal(n, 1);
		assert_int_equal((uint8_t)out[0], i);
	}
}

static void decode_goes_past_an_encoded_nul(void **state)
{
	char out[16];
	size_t n;

	assert_int_equal(decode("a%00b", false, out, &n), OK);
	assert_int_equal(n, 3);
	assert_memory_equal(out, "a\0b", 3);
}

static void plus_is_a_space_in_the_query_only(void **state)
{
	char out[16];
	size_t n;

	assert_int_equal(decode("a+b%2Bc", false, out, &n), OK);
	assert_memory_equal(out, "a+b+c", 5);
	assert_int_equal(decode("a+b%2Bc", true, out, &n), OK);
	assert_memory_equal(out, "a b+c", 5);
}

static void bad_escapes_are_refused(void **state)
{
	const char *bad[] = { "%",   "%2",   "%zz", "%2g", "a%",
			      "a%2", "%%20", "%-1", "% 1" };
	char out[16];
	size_t n;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(decode(bad[i], false, out, &n), ERR_INVALID);
}

static void decode_undoes_random_escaping(void **state)
{
	const char *from = getenv("SEED");
	uint64_t number = from ? strtoull(from, NULL, 0) : 4711;
	uint8_t plain[64], text[256];
	struct seed seed;

	seed_init(&seed, number);
	for (int round = 0; round < 20000; round++) {
		size_t n = seed_below(&seed, sizeof(plain)), text_n = 0;

		for (size_t i = 0; i < n; i++) {
			plain[i] = (uint8_t)seed_next(&seed);
			if (plain[i] == '%' || seed_below(&seed, 2))
				text_n += (size_t)sprintf((char *)text + text_n,
							  "%%%02x", plain[i]);
			else
				text[text_n++] = plain[i];
		}
		if (target_decode(text, &text_n, false) || text_n != n ||
		    memcmp(text, plain, n) != 0)
			fail_msg("SEED=%lu round %d", number, round);
	}
}

static enum err split(const char *raw, struct bytes *path, struct bytes *query)
{
	return target_split(bytes_str(raw), path, query);
}

static void split_takes_origin_and_absolute_form(void **state)
{
	const struct {
		const char *raw, *path, *query;
	} good[] = {
		{ "/", "", "" },	  { "/a/b", "a/b", "" },
		{ "/a?", "a", "" },	  { "/a?x=?&y", "a", "x=?&y" },
		{ "//a", "/a", "" },	  { "http://h:80/a?b", "a", "b" },
		{ "HTTPS://h/", "", "" },
	};
	struct bytes path, query;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(split(good[i].raw, &path, &query), OK);
		assert_true(bytes_equal(path, bytes_str(good[i].path)));
		assert_true(bytes_equal(query, bytes_str(good[i].query)));
	}
}

static void split_refuses_what_is_no_target(void **state)
{
	const char *bad[] = { "",	  "a",	      "*",	 "http://h",
			      "http:///", "ftp://h/", "/a b",	 "/a\tb",
			      "/a#b",	  "/a\x7f",   "host:80", "?x" };
	struct bytes path, query;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(split(bad[i], &path, &query), ERR_INVALID);
}

static void spans_have_units(void **state)
{
	const struct {
		const char *text;
		uint64_t ns;
	} good[] = {
		{ "1", 1000000000ull },
		{ "30s", 30000000000ull },
		{ "250ms", 250000000ull },
		{ "2m", 120000000000ull },
		{ "1.5h", 5400000000000ull },
		{ "7d", 604800000000000ull },
		{ "0.001", 1000000ull },
		{ "36525d", 36525 * 86400000000000ull },
	};
	const char *bad[] = { "",
			      "s",
			      "-1",
			      "+1",
			      "1x",
			      "1 s",
			      "0",
			      "0s",
			      "1.",
			      ".5",
			      "1e3",
			      "1S",
			      "36526d",
			      "99999999999999999999",
			      "1.0000000001",
			      "1ms " };
	uint64_t ns;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(
			target_parse_span(bytes_str(good[i].text), &ns), OK);
		assert_int_equal(ns, good[i].ns);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(target_parse_span(bytes_str(bad[i]), &ns),
				 ERR_INVALID);
}

static void numbers_are_digits_and_fit(void **state)
{
	uint64_t v;

	assert_int_equal(
		target_parse_u64(bytes_str("18446744073709551615"), &v), OK);
	assert_int_equal(v, UINT64_MAX);
	assert_int_equal(
		target_parse_u64(bytes_str("18446744073709551616"), &v),
		ERR_INVALID);
	assert_int_equal(target_parse_u64(bytes_str(""), &v), ERR_INVALID);
	assert_int_equal(target_parse_u64(bytes_str("+1"), &v), ERR_INVALID);
	assert_int_equal(target_parse_u64(bytes_str(" 1"), &v), ERR_INVALID);
}

static enum err parse(const char *text, struct target_query *q, char *copy)
{
	const char *why;

	strcpy(copy, text);
	return target_parse_query((uint8_t *)copy, strlen(text), q, &why);
}

static void query_fills_what_it_knows(void **state)
{
	struct target_query q;
	char copy[256];

	assert_int_equal(
		parse("prefix=a%2Fb+c&limit=7&delimiter=/&reverse=1&"
		      "values&raw&ttl=2s&consistency=stale&nonsense=%41",
		      &q, copy),
		OK);
	assert_true(bytes_equal(q.prefix, bytes_str("a/b c")));
	assert_true(q.has_limit);
	assert_int_equal(q.limit, 7);
	assert_true(bytes_equal(q.delimiter, bytes_str("/")));
	assert_true(q.reverse && q.values && q.raw);
	assert_int_equal(q.ttl_ns, 2000000000ull);
	assert_int_equal(q.consistency, TARGET_STALE);
	assert_int_equal(parse("&&raw=0&", &q, copy), OK);
	assert_false(q.raw);
}

static void query_refuses_what_it_cannot_parse(void **state)
{
	const char *bad[] = { "limit=0",
			      "limit=x",
			      "limit=-1",
			      "ttl=never",
			      "ttl=0",
			      "ttl=",
			      "consistency=eventual",
			      "consistency=",
			      "raw=maybe",
			      "raw&raw",
			      "prefix=%zz",
			      "prefix=%00",
			      "x=%",
			      "wait=soon" };
	struct target_query q;
	char copy[256];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(parse(bad[i], &q, copy), ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decode_gives_every_byte),
		cmocka_unit_test(decode_goes_past_an_encoded_nul),
		cmocka_unit_test(plus_is_a_space_in_the_query_only),
		cmocka_unit_test(bad_escapes_are_refused),
		cmocka_unit_test(decode_undoes_random_escaping),
		cmocka_unit_test(split_takes_origin_and_absolute_form),
		cmocka_unit_test(split_refuses_what_is_no_target),
		cmocka_unit_test(spans_have_units),
		cmocka_unit_test(numbers_are_digits_and_fit),
		cmocka_unit_test(query_fills_what_it_knows),
		cmocka_unit_test(query_refuses_what_it_cannot_parse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
