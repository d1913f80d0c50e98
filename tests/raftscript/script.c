/*
 * tests/raftscript/script.c - reading and writing scripts.
 */
#include "tests/raftscript/script.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

static void add(struct buf *b, const char *p, size_t n)
{
	CHECK(buf_add(b, p, n) == OK);
}

static void terminate(struct buf *b)
{
	add(b, "", 1);
	b->n--;
}

bool script_open(struct script *s, const char *path)
{
	FILE *f = fopen(path, "r");
	struct buf b = BUF_INIT;
	char chunk[4096];
	size_t n;

	memset(s, 0, sizeof(*s));
	if (!f) {
		perror(path);
		return false;
	}
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		add(&b, chunk, n);
	fclose(f);
	terminate(&b);
	s->text = (char *)b.p;
	s->next = s->text;
	return true;
}

void script_close(struct script *s)
{
	while (s->subtest_count > 0)
		free(s->subtest[--s->subtest_count]);
	free(s->text);
	buf_done(&s->copied);
}

/* The next line without its end, cut out of the text; NULL: no more. */
static char *take_line(struct script *s, bool copy)
{
	char *line = s->next, *end;

	if (*line == 0)
		return NULL;
	s->line++;
	end = strchr(line, '\n');
	s->next = end ? end + 1 : line + strlen(line);
	if (end)
		*end = 0;
	else
		end = s->next;
	if (end > line && end[-1] == '\r')
		end[-1] = 0;
	if (copy) {
		add(&s->copied, line, strlen(line));
		add(&s->copied, "\n", 1);
	}
	return line;
}

static bool is_blank(const char *line)
{
	return line[strspn(line, " \t\r")] == 0;
}

/* "(a,b c)" or "a" -> values. Cuts the text in place. False: too many. */
static bool split_values(struct arg *a, char *text)
{
	size_t n = strlen(text);
	char *save = NULL, *p;

	if (text[0] != '(' || text[n - 1] != ')') {
		a->value[a->value_count++] = text;
		return true;
	}
	text[n - 1] = 0;
	for (p = strtok_r(text + 1, ", ", &save); p;
	     p = strtok_r(NULL, ", ", &save)) {
		if (a->value_count == VALUES_MAX)
			return false;
		a->value[a->value_count++] = p;
	}
	if (a->value_count == 0)
		a->value[a->value_count++] = text + 1;
	return true;
}

/*
 * Words end at spaces, but in a list of values, which begins behind a '='. Sets
 * *open where such a list does not end.
 */
static char *next_word(char **text, bool *open)
{
	char *p = *text + strspn(*text, " \t"), *word = p;
	int depth = 0;

	if (*p == 0)
		return NULL;
	for (; *p && (depth > 0 || *p != ' '); p++) {
		if (*p == '(' && (depth > 0 || (p > word && p[-1] == '=')))
			depth++;
		else if (*p == ')' && depth > 0)
			depth--;
	}
	*open = depth > 0;
	if (*p)
		*p++ = 0;
	*text = p;
	return word;
}

static void split_command(struct command *c, char *line)
{
	bool open = false;
	char *word;

	c->name = next_word(&line, &open);
	while ((word = next_word(&line, &open))) {
		struct arg *a = &c->arg[c->arg_count];
		char *eq = strchr(word, '=');

		if (open || c->arg_count == ARGS_MAX) {
			c->malformed = true;
			return;
		}
		c->arg_count++;
		a->key = word;
		if (!eq)
			continue;
		*eq = 0;
		if (!split_values(a, eq + 1))
			c->malformed = true;
	}
}

/* The command that begins with line, with the lines on which it goes on. */
static void join_lines(struct script *s, struct command *c, const char *line)
{
	bool more = true;

	while (line && more) {
		size_t n = strlen(line);

		while (n > 0 && strchr(" \t", line[n - 1]))
			n--;
		more = n > 0 && line[n - 1] == '\\';
		add(&c->text, line, more ? n - 1 : n);
		add(&c->text, " ", more ? 1 : 0);
		if (more)
			line = take_line(s, true);
	}
	terminate(&c->text);
}

static bool is_below(const char *name, const char *outer)
{
	size_t n = strlen(outer);

	return strncmp(name, outer, n) == 0 && name[n] == '/';
}

/* "subtest NAME" and "subtest end [NAME]" have neither input nor output. */
static void enter_or_leave_subtest(struct script *s, const struct command *c)
{
	const char *name = c->arg_count > 0 ? c->arg[0].key : "";
	int n = s->subtest_count;
	const char *outer = n > 0 ? s->subtest[n - 1] : NULL;

	if (strcmp(name, "end") == 0) {
		s->bad = !outer || c->arg_count > 2 ||
			 (c->arg_count == 2 &&
			  strcmp(c->arg[1].key, outer) != 0);
		if (!s->bad)
			free(s->subtest[--s->subtest_count]);
	} else {
		s->bad = c->arg_count != 1 || n == SUBTESTS_MAX ||
			 (outer && !is_below(name, outer));
		if (!s->bad) {
			s->subtest[n] = strdup(name);
			CHECK(s->subtest[n] != NULL);
			s->subtest_count++;
		}
	}
	if (s->bad)
		printf("line %d: no subtest can begin or end like this\n",
		       c->line);
}

static bool is_separator(const char *line)
{
	return strcmp(line, "----") == 0;
}

static void read_expected(struct script *s, struct command *c)
{
	char *line = take_line(s, false);
	bool twice = line && is_separator(line);

	if (twice)
		line = take_line(s, false);
	while (line) {
		if (!twice && is_blank(line))
			break;
		if (twice && is_separator(line)) {
			line = take_line(s, false);
			if (!line || is_separator(line))
				break;
			add(&c->expected, "----\n", 5);
		}
		add(&c->expected, line, strlen(line));
		add(&c->expected, "\n", 1);
		line = take_line(s, false);
	}
	if (twice && line && *s->next == '\n')
		(void)take_line(s, false); /* the empty line that follows */
	terminate(&c->expected);
}

/* The next line with a command, split. False: no more. */
static bool read_command(struct script *s, struct command *c)
{
	char *line;

	memset(c, 0, sizeof(*c));
	while (!c->name) {
		line = take_line(s, true);
		if (!line)
			return false;
		if (line[strspn(line, " \t")] == '#')
			continue;
		c->line = s->line;
		c->text.n = 0;
		join_lines(s, c, line);
		split_command(c, (char *)c->text.p);
	}
	return true;
}

bool script_next(struct script *s, struct command *c)
{
	char *line;

	s->copied.n = 0;
	while (read_command(s, c) && strcmp(c->name, "subtest") == 0) {
		enter_or_leave_subtest(s, c);
		buf_done(&c->text);
		if (s->bad)
			return false;
	}
	if (!c->name) {
		s->bad = s->subtest_count > 0;
		if (s->bad)
			printf("subtest %s has no end\n",
			       s->subtest[s->subtest_count - 1]);
		return false;
	}
	while ((line = take_line(s, true)) && !is_separator(line)) {
		add(&c->input, line, strlen(line));
		add(&c->input, "\n", 1);
	}
	if (!line)
		add(&s->copied, "----\n", 5);
	terminate(&c->input);
	read_expected(s, c);
	return true;
}

void command_done(struct command *c)
{
	buf_done(&c->text);
	buf_done(&c->input);
	buf_done(&c->expected);
}

static bool has_blank_line(const char *text)
{
	const char *line = text;

	while (line && *line) {
		if (line[strspn(line, " \t")] == '\n')
			return true;
		line = strchr(line, '\n');
		if (line)
			line++;
	}
	return false;
}

void script_emit(struct buf *to, const char *actual)
{
	bool twice = has_blank_line(actual);

	if (twice)
		add(to, "----\n", 5);
	add(to, actual, strlen(actual));
	if (twice)
		add(to, "----\n----\n", 10);
	add(to, "\n", 1);
}
