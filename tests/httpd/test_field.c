/*
 * tests/httpd/test_field.c - entity tags, ranges, Accept, dates.
 */
#include "httpd/field.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>
#include <time.h>

#include "base/seed.h"

static void tags_are_revisions(void **state)
{
	struct field_tags t;

	assert_int_equal(field_parse_tags("\"7\"", &t), OK);
	assert_true(field_tags_have(&t, 7, true));
	assert_false(field_tags_have(&t, 8, true));
	assert_int_equal(field_parse_tags(" \"7\" , \"9\",W/\"11\"", &t), OK);
	assert_int_equal(t.count, 3);
	assert_true(field_tags_have(&t, 9, true));
	assert_int_equal(field_parse_tags("*", &t), OK);
	assert_true(field_tags_have(&t, 1, true));
}

static void weak_tags_never_match_strongly(void **state)
{
	struct field_tags t;

	assert_int_equal(field_parse_tags("W/\"7\"", &t), OK);
	assert_false(field_tags_have(&t, 7, true));
	assert_true(field_tags_have(&t, 7, false));
}

static void foreign_tags_match_nothing(void **state)
{
	const char *foreign[] = { "\"abc\"", "\"\"", "\"007\"", "\"-1\"",
				  "\"99999999999999999999\"" };
	struct field_tags t;

	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		assert_int_equal(field_parse_tags(foreign[i], &t), OK);
		assert_false(field_tags_have(&t, 7, false));
		assert_false(field_tags_have(&t, 0, false));
	}
}

static void what_is_no_tag_is_refused(void **state)
{
	const char *bad[] = { "",	 "7",		"\"7",
			      "7\"",	 "\"7\"x",	"*,\"7\"",
			      "w/\"7\"", "\"7\" \"8\"", "\"a b\"" };
	struct field_tags t;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(field_parse_tags(bad[i], &t), ERR_INVALID);
}

static void too_many_tags_are_refused(void **state)
{
	char text[4 * (FIELD_TAGS_MAX + 1) + 1] = "";
	struct field_tags t;

	for (int i = 0; i < FIELD_TAGS_MAX; i++)
		strcat(text, "\"1\",");
	assert_int_equal(field_parse_tags(text, &t), OK);
	strcat(text, "\"1\"");
	assert_int_equal(field_parse_tags(text, &t), ERR_INVALID);
}

static void ranges_follow_rfc_9110(void **state)
{
	const struct {
		const char *text;
		enum field_range_result result;
		uint64_t first, count;
	} cases[] = {
		{ "bytes=0-0", FIELD_RANGE_PART, 0, 1 },
		{ "bytes=0-", FIELD_RANGE_PART, 0, 100 },
		{ "bytes=10-19", FIELD_RANGE_PART, 10, 10 },
		{ "bytes=10-1000", FIELD_RANGE_PART, 10, 90 },
		{ "bytes=-1", FIELD_RANGE_PART, 99, 1 },
		{ "bytes=-1000", FIELD_RANGE_PART, 0, 100 },
		{ "bytes=99-", FIELD_RANGE_PART, 99, 1 },
		{ "bytes=10-99999999999999999999999", FIELD_RANGE_PART, 10,
		  90 },
		{ "bytes=100-", FIELD_RANGE_UNSATISFIABLE, 0, 0 },
		{ "bytes=-0", FIELD_RANGE_UNSATISFIABLE, 0, 0 },
		{ "bytes=2-1", FIELD_RANGE_WHOLE, 0, 0 },
		{ "bytes=-", FIELD_RANGE_WHOLE, 0, 0 },
		{ "bytes=a-b", FIELD_RANGE_WHOLE, 0, 0 },
		{ "bytes=1-2,4-5", FIELD_RANGE_WHOLE, 0, 0 },
		{ "lines=1-2", FIELD_RANGE_WHOLE, 0, 0 },
		{ "bytes", FIELD_RANGE_WHOLE, 0, 0 },
		{ NULL, FIELD_RANGE_WHOLE, 0, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t first = 0, count = 0;

		assert_int_equal(
			field_parse_range(cases[i].text, 100, &first, &count),
			cases[i].result);
		assert_int_equal(first, cases[i].first);
		assert_int_equal(count, cases[i].count);
	}
}

static void an_empty_value_has_no_range(void **state)
{
	uint64_t first, count;

	assert_int_equal(field_parse_range("bytes=0-", 0, &first, &count),
			 FIELD_RANGE_UNSATISFIABLE);
	assert_int_equal(field_parse_range("bytes=-5", 0, &first, &count),
			 FIELD_RANGE_UNSATISFIABLE);
}

static void lists_are_split_at_commas(void **state)
{
	const char *raw = "application/octet-stream";

	assert_true(field_lists(raw, raw));
	assert_true(
		field_lists("text/html, Application/Octet-Stream;q=0.5", raw));
	assert_false(field_lists("application/octet-stream;q=0", raw));
	assert_false(field_lists("application/octet-stream; q=0.00", raw));
	assert_true(field_lists("application/octet-stream; q=0.01", raw));
	assert_false(field_lists("application/octet-streams", raw));
	assert_false(field_lists("*/*", raw));
	assert_false(field_lists(NULL, raw));
}

static void dates_are_what_the_c_library_says(void **state)
{
	const char *from = getenv("SEED");
	uint64_t number = from ? strtoull(from, NULL, 0) : 12;
	char ours[30], theirs[64];
	struct seed seed;

	field_format_date(784111777ull * 1000000000, ours);
	assert_string_equal(ours, "Sun, 06 Nov 1994 08:49:37 GMT");
	seed_init(&seed, number);
	for (int i = 0; i < 20000; i++) {
		time_t t = (time_t)seed_below(&seed, 16725225600ull);
		struct tm tm;

		field_format_date((uint64_t)t * 1000000000, ours);
		gmtime_r(&t, &tm);
		strftime(theirs, sizeof(theirs), "%a, %d %b %Y %H:%M:%S GMT",
			 &tm);
		if (strcmp(ours, theirs) != 0)
			fail_msg("SEED=%lu: %s is not %s", number, ours,
				 theirs);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tags_are_revisions),
		cmocka_unit_test(weak_tags_never_match_strongly),
		cmocka_unit_test(foreign_tags_match_nothing),
		cmocka_unit_test(what_is_no_tag_is_refused),
		cmocka_unit_test(too_many_tags_are_refused),
		cmocka_unit_test(ranges_follow_rfc_9110),
		cmocka_unit_test(an_empty_value_has_no_range),
		cmocka_unit_test(lists_are_split_at_commas),
		cmocka_unit_test(dates_are_what_the_c_library_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
