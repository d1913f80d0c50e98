/*
 * tests/base/test_log.c - one line an event, cut and not split, with the
 * journal's priorities only when stderr is the journal's stream.
 */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
	int pipe[2], saved;
	char text[4096];
};

/* Let stderr be a pipe until captured() gives it back. */
static void capture(struct fixture *x)
{
	fflush(stderr);
	assert_int_equal(pipe(x->pipe), 0);
	x->saved = dup(2);
	assert_true(x->saved >= 0);
	assert_true(dup2(x->pipe[1], 2) == 2);
	close(x->pipe[1]);
}

/* What was written meanwhile. */
static const char *captured(struct fixture *x)
{
	size_t n = 0;
	ssize_t rc;

	dup2(x->saved, 2);
	close(x->saved);
	while ((rc = read(x->pipe[0], x->text + n, sizeof(x->text) - 1 - n)) >
	       0)
		n += (size_t)rc;
	close(x->pipe[0]);
	x->text[n] = '\0';
	return x->text;
}

static void a_line_has_time_level_area_event(void **state)
{
	struct fixture x;
	int year;
	char rest[64];

	unsetenv("JOURNAL_STREAM");
	capture(&x);
	errno = 7;
	log_warn("raft", "step_down term=%d", 7);
	assert_int_equal(errno, 7);
	captured(&x);
	assert_int_equal(sscanf(x.text,
				"%4d-%*2d-%*2dT%*2d:%*2d:%*6[0-9.]Z %63[^\n]",
				&year, rest),
			 2);
	assert_true(year >= 2020);
	assert_string_equal(rest, "warn raft step_down term=7");
	assert_int_equal(x.text[strlen(x.text) - 1], '\n');
}

static void the_journal_gets_a_priority_instead_of_a_time(void **state)
{
	struct fixture x;
	struct stat st;
	char stream[64];

	capture(&x);
	assert_int_equal(fstat(2, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu",
		 (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_error("disk", "full");
	log_info("node", "start");
	assert_string_equal(log_priority(LOG_WARN), "<4>");
	setenv("JOURNAL_STREAM", "1:1", 1);
	assert_string_equal(log_priority(LOG_ERROR), "");
	log_info("node", "elsewhere");
	unsetenv("JOURNAL_STREAM");
	captured(&x);
	assert_memory_equal(x.text, "<3>disk full\n<6>node start\n2", 28);
}

static void lines_above_the_level_are_dropped(void **state)
{
	struct fixture x;

	capture(&x);
	log_debug("a", "hidden");
	log_set_level(LOG_ERROR);
	log_warn("a", "hidden");
	log_set_level(LOG_DEBUG);
	log_debug("a", "shown");
	log_set_level(LOG_INFO);
	captured(&x);
	assert_null(strstr(x.text, "hidden"));
	assert_non_null(strstr(x.text, "debug a shown\n"));
}

static void a_long_line_is_cut_at_1_kib_with_its_newline(void **state)
{
	struct fixture x;

	capture(&x);
	log_info("a", "event text=%02000d", 1);
	captured(&x);
	assert_int_equal(strlen(x.text), 1024);
	assert_int_equal(x.text[1023], '\n');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_has_time_level_area_event),
		cmocka_unit_test(the_journal_gets_a_priority_instead_of_a_time),
		cmocka_unit_test(lines_above_the_level_are_dropped),
		cmocka_unit_test(a_long_line_is_cut_at_1_kib_with_its_newline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
