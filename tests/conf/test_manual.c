/*
 * raftcask.conf(5) has every key of the schema with its default, says of each
 * whether a reload takes it over, and has no other. Read as it lies in docs/.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/conf.h"

enum { LINES_MAX = 2000, LINE_BYTES = 512 };

static char lines[LINES_MAX][LINE_BYTES];
static int line_count;

/* "\(dq" is how a manual's source writes a quote. */
static void unquote(char *text)
{
	char *p;

	while ((p = strstr(text, "\\(dq"))) {
		*p = '"';
		memmove(p + 1, p + 4, strlen(p + 4) + 1);
	}
}

static int read_manual(void **state)
{
	FILE *f = fopen("docs/man/raftcask.conf.5", "r");

	if (!f)
		return -1;
	while (line_count < LINES_MAX &&
	       fgets(lines[line_count], LINE_BYTES, f)) {
		lines[line_count][strcspn(lines[line_count], "\n")] = '\0';
		unquote(lines[line_count]);
		line_count++;
	}
	fclose(f);
	return 0;
}

/* The line of ".It Ic NAME = ...", or -1. */
static int find_key(const char *name)
{
	char begin[128];
	int n = snprintf(begin, sizeof(begin), ".It Ic %s = ", name);

	for (int i = 0; i < line_count; i++)
		if (strncmp(lines[i], begin, (size_t)n) == 0)
			return i;
	return -1;
}

static bool is_reloadable(int at)
{
	for (int i = at + 1; i < line_count; i++) {
		if (strncmp(lines[i], ".It", 3) == 0 ||
		    strncmp(lines[i], ".El", 3) == 0)
			return false;
		if (strcmp(lines[i], "Reloadable.") == 0)
			return true;
	}
	return false;
}

/* The default, as --print-config shows it: "name = text;". */
static void default_of(const struct buf *printed, const char *name, char *room,
		       size_t room_bytes)
{
	const char *last = strrchr(name, '.') + 1;
	char begin[128], group[64];
	const char *from = (const char *)printed->p, *p, *end;

	/* Group by group: path, level and listen are in several. */
	snprintf(begin, sizeof(begin), "%s", name);
	for (char *part = strtok(begin, ".");
	     part && part != begin + (last - name); part = strtok(NULL, ".")) {
		snprintf(group, sizeof(group), "%s: {", part);
		from = strstr(from, group);
		assert_non_null(from);
	}
	snprintf(begin, sizeof(begin), "\t%s = ", last);
	p = strstr(from, begin);
	assert_non_null(p);
	p += strlen(begin);
	end = strstr(p, ";  #");
	assert_non_null(end);
	assert_true((size_t)(end - p) < room_bytes);
	snprintf(room, room_bytes, "%.*s", (int)(end - p), p);
}

static void every_key_is_in_the_manual_with_its_default(void **state)
{
	struct buf printed = BUF_INIT;
	struct conf_key_info info;
	struct conf *c;
	char want[256];

	assert_int_equal(conf_new(&c), OK);
	assert_int_equal(conf_print(c, &printed), OK);
	assert_int_equal(buf_add(&printed, "", 1), OK);
	for (uint32_t i = 0; conf_key_info(i, &info); i++) {
		int at = find_key(info.name);

		if (at < 0)
			fail_msg("%s is not in raftcask.conf(5)", info.name);
		default_of(&printed, info.name, want, sizeof(want));
		assert_string_equal(strstr(lines[at], " = ") + 3, want);
		if (is_reloadable(at) != info.reloadable)
			fail_msg("%s: reloadable or not?", info.name);
	}
	buf_done(&printed);
	conf_free(c);
}

static bool is_key(const char *name)
{
	struct conf_key_info info;

	for (uint32_t i = 0; conf_key_info(i, &info); i++)
		if (strcmp(info.name, name) == 0)
			return true;
	return false;
}

static void the_manual_has_no_other_key(void **state)
{
	char name[128];
	int n = 0;

	for (int i = 0; i < line_count; i++) {
		if (sscanf(lines[i], ".It Ic %127[a-z_.] =", name) != 1)
			continue;
		n++;
		if (!is_key(name))
			fail_msg("%s is no key", name);
	}
	assert_true(n > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_key_is_in_the_manual_with_its_default),
		cmocka_unit_test(the_manual_has_no_other_key),
	};

	return cmocka_run_group_tests(tests, read_manual, NULL);
}
