/*
 * tests/httpd/test_json.c - JSON is taken strictly, written correctly, and
 * the fast path never takes what the strict one would refuse.
 */
#include "httpd/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/seed.h"

static enum err parse(const char *text)
{
	struct json_object *o = NULL;
	enum err err = json_parse(bytes_str(text), &o);

	if (!err)
		json_object_put(o);
	return err;
}

static void good_json_is_taken(void **state)
{
	const char *good[] = {
		"{}",
		"[]",
		"null",
		" {\"a\" : [1, -0.5e+3, true] }\n",
		"\"\"",
		"0",
		"-0",
		"1.5",
		"\"\\ud83d\\ude00\"",
		"\"\\u0000\"",
		"{\"a\":{\"a\":1},\"b\":{\"a\":1}}",
		"\"\xf0\x9f\x98\x80\xc3\xa9\"",
		"\"\x7f\"",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (parse(good[i]))
			fail_msg("refused: %s", good[i]);
}

static void bad_json_is_refused(void **state)
{
	const char *bad[] = {
		"",
		" ",
		"{",
		"}",
		"[1,]",
		"{\"a\":1,}",
		"{a:1}",
		"{'a':1}",
		"nul",
		"True",
		"NaN",
		"-Infinity",
		"Infinity",
		"01",
		"1.",
		".5",
		"+1",
		"1e",
		"0x10",
		"\"a",
		"\"\t\"",
		"\"\n\"",
		"\"\\x\"",
		"\"\\u12\"",
		"\"\\u12g4\"",
		"\"\\ud800\"",
		"\"\\udc00\"",
		"\"\\ud800\\u0041\"",
		"\"\\ud800x\"",
		"{\"a\":1,\"a\":2}",
		"{\"a\":1,\"\\u0061\":2}",
		"[{\"b\":{\"c\":1,\"c\":1}}]",
		"{\"value\\u0000x\":\"v\"}",
		"{} {}",
		"{}x",
		"[1 2]",
		"{\"a\" 1}",
		"// c\n{}",
		"/**/{}",
		"\"\x80\"",
		"\"\xc0\xaf\"",
		"\"\xed\xa0\x80\"",
		"\"\xf4\x90\x80\x80\"",
		"\"\xe2\x82\"",
		"\xef\xbb\xbf{}",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (parse(bad[i]) != ERR_INVALID)
			fail_msg("taken: %s", bad[i]);
}

static void a_raw_nul_is_refused(void **state)
{
	struct json_object *o;

	assert_int_equal(json_parse(bytes_of("\"a\0b\"", 5), &o), ERR_INVALID);
	assert_int_equal(json_parse(bytes_of("{}\0", 3), &o), ERR_INVALID);
}

static void depth_ends_at_32(void **state)
{
	char text[128];

	for (int depth = 30; depth < 36; depth++) {
		memset(text, '[', (size_t)depth);
		memset(text + depth, ']', (size_t)depth);
		text[2 * depth] = 0;
		assert_int_equal(parse(text),
				 depth <= JSON_DEPTH_MAX ? OK : ERR_INVALID);
	}
}

static void the_deepest_levels_may_hold_scalars(void **state)
{
	char text[128];
	int depth = JSON_DEPTH_MAX - 1;

	memset(text, '[', (size_t)depth);
	text[depth] = '1';
	memset(text + depth + 1, ']', (size_t)depth);
	text[2 * depth + 1] = 0;
	assert_int_equal(parse(text), OK);
}

static void plain_values_need_no_tree(void **state)
{
	struct bytes v;

	assert_true(json_plain_value(bytes_str("{\"value\":\"v\"}"), &v));
	assert_true(bytes_equal(v, bytes_str("v")));
	assert_true(json_plain_value(
		bytes_str(
			" { \"value\" :\t\"\xc3\xa9 long enough to be read in "
			"words\" } \r\n"),
		&v));
	assert_true(bytes_equal(
		v, bytes_str("\xc3\xa9 long enough to be read in words")));
	assert_true(json_plain_value(bytes_str("{\"value\":\"\"}"), &v));
	assert_int_equal(v.n, 0);
	assert_false(json_plain_value(bytes_str("{\"value\":\"a\\n\"}"), &v));
	assert_false(json_plain_value(bytes_str("{\"value\":1}"), &v));
	assert_false(json_plain_value(bytes_str("{\"value\":\"v\"} x"), &v));
	assert_false(json_plain_value(
		bytes_str("{\"value\":\"v\",\"value\":\"w\"}"), &v));
	assert_false(json_plain_value(bytes_str("{\"value\":\"v"), &v));
	assert_false(json_plain_value(bytes_str("{\"value\":\"\xff\"}"), &v));
}

/* Whatever the fast path takes, the strict one takes with the same value. */
static void the_fast_path_agrees_with_the_strict_one(void **state)
{
	const char *from = getenv("SEED");
	uint64_t number = from ? strtoull(from, NULL, 0) : 99;
	static const char pieces[] = "{}\"value:\\ \tu0,\xc3\xa9\xff[]1\x01";
	struct seed seed;
	char text[64];
	int taken = 0;

	seed_init(&seed, number);
	for (int round = 0; round < 200000; round++) {
		size_t n = (size_t)sprintf(text, "{\"value\":\"ab\"}");
		struct json_object *o = NULL, *value;
		struct bytes v;

		for (uint64_t k = seed_below(&seed, 3); k > 0; k--)
			text[seed_below(&seed, n)] =
				pieces[seed_below(&seed, sizeof(pieces) - 1)];
		if (!json_plain_value(bytes_of(text, n), &v))
			continue;
		taken++;
		if (json_parse(bytes_of(text, n), &o) ||
		    !json_object_object_get_ex(o, "value", &value) ||
		    !bytes_equal(v, bytes_of(json_object_get_string(value),
					     (size_t)json_object_get_string_len(
						     value))))
			fail_msg("SEED=%lu round %d", number, round);
		json_object_put(o);
	}
	assert_true(taken > 1000);
}

static void strings_come_back_as_they_were(void **state)
{
	const char *from = getenv("SEED");
	uint64_t number = from ? strtoull(from, NULL, 0) : 5;
	struct seed seed;

	seed_init(&seed, number);
	for (int round = 0; round < 5000; round++) {
		uint8_t plain[64];
		size_t n = seed_below(&seed, sizeof(plain));
		struct buf b = BUF_INIT;
		struct json_object *o;

		for (size_t i = 0; i < n; i++)
			plain[i] = (uint8_t)seed_below(&seed, 128);
		assert_int_equal(json_add_string(&b, bytes_of(plain, n)), OK);
		if (json_parse(buf_bytes(&b), &o))
			fail_msg("SEED=%lu round %d", number, round);
		assert_int_equal(json_object_get_string_len(o), n);
		assert_memory_equal(json_object_get_string(o), plain, n);
		json_object_put(o);
		buf_done(&b);
	}
}

static void members_are_asked_for_strictly(void **state)
{
	static const char *const names[] = { "a", "n", "z", "long", NULL };
	static const char *const fewer[] = { "a", "n", "z", NULL };
	struct json_object *o;

	assert_int_equal(json_parse(bytes_str("{\"a\":\"xyz\",\"n\":1,"
					      "\"z\":\"x\\u0000y\","
					      "\"long\":\"1234\"}"),
				    &o),
			 OK);
	assert_true(json_has_only(o, names));
	assert_false(json_has_only(o, fewer));
	assert_string_equal(json_text(o, "a", 3), "xyz");
	assert_null(json_text(o, "a", 2));
	assert_null(json_text(o, "n", 9));
	assert_null(json_text(o, "z", 9));
	assert_null(json_text(o, "b", 9));
	assert_string_equal(json_text(o, "long", 4), "1234");
	json_object_put(o);
}

static void base64_goes_both_ways(void **state)
{
	const struct {
		const char *plain, *text;
	} cases[] = { { "", "\"\"" },
		      { "f", "\"Zg==\"" },
		      { "fo", "\"Zm8=\"" },
		      { "foo", "\"Zm9v\"" },
		      { "foob", "\"Zm9vYg==\"" } };
	struct buf b = BUF_INIT;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t n = strlen(cases[i].text);

		b.n = 0;
		assert_int_equal(json_add_base64(&b, bytes_str(cases[i].plain)),
				 OK);
		assert_true(
			bytes_equal(buf_bytes(&b), bytes_str(cases[i].text)));
		b.n = 0;
		assert_int_equal(
			json_decode_base64(bytes_of(cases[i].text + 1, n - 2),
					   &b),
			OK);
		assert_true(
			bytes_equal(buf_bytes(&b), bytes_str(cases[i].plain)));
	}
	buf_done(&b);
}

static void bad_base64_is_refused(void **state)
{
	const char *bad[] = { "Z",    "Zg",   "Zg=",   "Zh==",
			      "Zm9=", "====", "Z===",  "Zg==Zg==",
			      "Zm 9", "Zm-v", "Zm9v\n" };
	struct buf b = BUF_INIT;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (json_decode_base64(bytes_str(bad[i]), &b) != ERR_INVALID)
			fail_msg("taken: %s", bad[i]);
	assert_int_equal(b.n, 0);
	buf_done(&b);
}

static void bytes_that_are_no_text_are_shown_in_base64(void **state)
{
	struct buf b = BUF_INIT;

	assert_int_equal(json_add_member(&b, "value", "encoding",
					 bytes_of("\xff\x00", 2)),
			 OK);
	assert_true(bytes_equal(
		buf_bytes(&b),
		bytes_str("\"value\":\"/wA=\",\"encoding\":\"base64\"")));
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_json_is_taken),
		cmocka_unit_test(bad_json_is_refused),
		cmocka_unit_test(a_raw_nul_is_refused),
		cmocka_unit_test(depth_ends_at_32),
		cmocka_unit_test(the_deepest_levels_may_hold_scalars),
		cmocka_unit_test(plain_values_need_no_tree),
		cmocka_unit_test(the_fast_path_agrees_with_the_strict_one),
		cmocka_unit_test(strings_come_back_as_they_were),
		cmocka_unit_test(members_are_asked_for_strictly),
		cmocka_unit_test(base64_goes_both_ways),
		cmocka_unit_test(bad_base64_is_refused),
		cmocka_unit_test(bytes_that_are_no_text_are_shown_in_base64),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
