/*
 * What the client does to keys, values and times on their way in and out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/seed.h"

/* Programs are not in the library: the file under test comes whole. */
#include "ctl/text.c"

static void keys_are_escaped_so_that_any_byte_gets_through(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "a/b-c_d.e~f", "a/b-c_d.e~f" },
		{ "a b?c#d%e&f+g", "a%20b%3Fc%23d%25e%26f%2Bg" },
		{ "\xc3\xa9\xff\x01", "%C3%A9%FF%01" },
		{ "..", ".." },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf b = BUF_INIT;

		assert_int_equal(text_add_escaped(&b, bytes_str(cases[i].in)),
				 OK);
		assert_int_equal(buf_add(&b, "", 1), OK);
		assert_string_equal(b.p, cases[i].out);
		buf_done(&b);
	}
}

static void utf8_is_told_from_other_bytes(void **state)
{
	static const char *const good[] = { "",
					    "a",
					    "\xc3\xa9",
					    "\xe2\x82\xac",
					    "\xf0\x9f\x98\x80",
					    "\xf4\x8f\xbf\xbf" };
	static const char *const bad[] = { "\xff",	   "\xc3",
					   "\xc0\x80",	   "\xe0\x80\x80",
					   "\xed\xa0\x80", "\xf4\x90\x80\x80",
					   "a\x80",	   "\xf8\x88\x80" };

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(text_is_utf8(bytes_str(good[i])));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(text_is_utf8(bytes_str(bad[i])));
	assert_false(text_is_utf8(bytes_of("a\0b", 3)));
}

static void any_bytes_come_back_from_json(void **state)
{
	const char *env = getenv("SEED");
	uint64_t number = env ? strtoull(env, NULL, 0) : 77;
	struct seed s;

	print_message("SEED=%llu\n", (unsigned long long)number);
	seed_init(&s, number);
	for (int i = 0; i < 2000; i++) {
		struct json_object *obj = json_object_new_object();
		struct buf back = BUF_INIT;
		uint8_t in[40];
		size_t n = seed_below(&s, sizeof(in));

		for (size_t j = 0; j < n; j++)
			in[j] = (uint8_t)(i % 2 ? seed_next(&s)
						: seed_below(&s, 128));
		assert_true(text_add_json(obj, "v", "e", bytes_of(in, n)));
		assert_true(text_from_json(obj, "v", "e", &back));
		assert_int_equal(back.n, n);
		if (n)
			assert_memory_equal(back.p, in, n);
		buf_done(&back);
		json_object_put(obj);
	}
}

static void bad_base64_is_refused(void **state)
{
	struct buf b = BUF_INIT;

	assert_int_equal(text_add_unbase64(&b, "a*bc", 4), ERR_INVALID);
	assert_int_equal(text_add_unbase64(&b, "a\0bc", 4), ERR_INVALID);
	buf_done(&b);
}

static void times_have_units(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = { { "250ms", 250 },	{ "30", 30000 },   { "30s", 30000 },
		     { "1.5m", 90000 }, { "2h", 7200000 }, { "1d", 86400000 } };
	static const char *const bad[] = { "",	  "s",	 "-1s", "5x",	"1 s",
					   "inf", "nan", "0",	"1e99d" };
	uint64_t ms;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(text_parse_span(good[i].text, &ms), OK);
		assert_int_equal(ms, good[i].ms);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(text_parse_span(bad[i], &ms), ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			keys_are_escaped_so_that_any_byte_gets_through),
		cmocka_unit_test(utf8_is_told_from_other_bytes),
		cmocka_unit_test(any_bytes_come_back_from_json),
		cmocka_unit_test(bad_base64_is_refused),
		cmocka_unit_test(times_have_units),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
