/*
 * The words of a progress bar: it fits its line, says what it knows, and never
 * looks finished before it is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Programs are not in the library: the file under test comes whole. */
#include "ctl/progress.c"

#define SECOND 1000000000ull

static void amounts_have_fitting_units(void **state)
{
	static const struct {
		enum progress_unit unit;
		double n;
		const char *text;
	} cases[] = {
		{ PROGRESS_BYTES, 0, "0 B" },
		{ PROGRESS_BYTES, 1023, "1023 B" },
		{ PROGRESS_BYTES, 1536, "1.5 KiB" },
		{ PROGRESS_BYTES, 5.0 * (1 << 30), "5.0 GiB" },
		{ PROGRESS_COUNT, 1234567, "1234567" },
	};
	char text[PROGRESS_TEXT_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(
			progress_amount(cases[i].unit, cases[i].n, text),
			cases[i].text);
}

static void a_bar_tells_share_rate_and_time_left(void **state)
{
	struct progress p = { .what = "backup",
			      .unit = PROGRESS_BYTES,
			      .total = 100 << 20,
			      .done = 50 << 20,
			      .begun_ns = SECOND };
	char text[160];

	(void)state;
	progress_text(&p, 6 * SECOND, true, text, 80);
	assert_non_null(strstr(text, "backup"));
	assert_non_null(strstr(text, " 50%"));
	assert_non_null(strstr(text, "###"));
	assert_non_null(strstr(text, "10.0 MiB/s"));
	assert_non_null(strstr(text, "0:05 left"));
	/* A long name costs the bar cells, not the end of the line. */
	p.what = "something long";
	progress_text(&p, 6 * SECOND, true, text, 80);
	assert_non_null(strstr(text, "-]"));
	assert_non_null(strstr(text, "0:05 left"));
	p.what = "backup";
	progress_text(&p, 6 * SECOND, false, text, 160);
	assert_string_equal(text, "backup   50.0 MiB of 100.0 MiB, "
				  "10.0 MiB/s, 0:05 left");
	p.total = 1ull << 50; /* hours and days, in a narrow window */
	for (unsigned width = 20; width <= 160; width++) {
		progress_text(&p, 6 * SECOND, true, text, width);
		assert_true(strlen(text) < width);
	}
}

/* The total is an estimate: more may come, and it is not over before. */
static void it_never_looks_finished(void **state)
{
	struct progress p = { .what = "backup",
			      .unit = PROGRESS_COUNT,
			      .total = 100,
			      .done = 250 };
	char text[160];

	(void)state;
	progress_text(&p, SECOND, true, text, 80);
	assert_non_null(strstr(text, " 99%"));
	assert_null(strstr(text, "left"));
	p.total = 0;
	progress_text(&p, SECOND, true, text, 80);
	assert_null(strchr(text, '%'));
	p.done = 0;
	progress_text(&p, 0, true, text, 80); /* no time has passed */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(amounts_have_fitting_units),
		cmocka_unit_test(a_bar_tells_share_rate_and_time_left),
		cmocka_unit_test(it_never_looks_finished),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
