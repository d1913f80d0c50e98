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
	if (end) {
		*end = 0;
		s->next = end + 1;
	} else {
		s->next = line + strlen(line);
	}
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

/* "(a,b c)" or "a" -> values. Cuts the text in place. */
static void split_values(struct arg *a, char *text)
{
	size_t n = strlen(text);
	char *save = NULL, *p;

	if (text[0] == '(' && n > 1 && text[n - 1] == ')') {
		text[n - 1] = 0;
		text++;
		for (p = strtok_r(text, ", ", &save);
		     p && a->value_count < VALUES_MAX;
		     p = strtok_r(NULL, ", ", &save))
			a->value[a->value_count++] = p;
	} else {
		a->value[a->value_count++] = text;
	}
}

/* Words end at spaces outside of brackets. */
static char *next_word(char **text)
{
	char *p = *text + strspn(*text, " \t\r"), *word = p;
	int depth = 0;

	if (*p == 0)
		return NULL;
	for (; *p && (depth > 0 || !strchr(" \t\r", *p)); p++)
		depth += (*p == '(') - (*p == ')');
	if (*p)
		*p++ = 0;
	*text = p;
	return word;
}

static void split_command(struct command *c, char *line)
{
	char *word = next_word(&line);

	c->name = word;
	while ((word = next_word(&line)) && c->arg_count < ARGS_MAX) {
		struct arg *a = &c->arg[c->arg_count++];
		char *eq = strchr(word, '=');

		a->key = word;
		if (!eq)
			continue;
		*eq = 0;
		split_values(a, eq + 1);
	}
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

bool script_next(struct script *s, struct command *c)
{
	char *line;

	memset(c, 0, sizeof(*c));
	s->copied.n = 0;
	do {
		line = take_line(s, true);
		if (!line)
			return false;
	} while (is_blank(line) || line[0] == '#');
	c->line = s->line;
	split_command(c, line);
	while ((line = take_line(s, true)) && !is_separator(line)) {
		add(&c->input, line, strlen(line));
		add(&c->input, "\n", 1);
	}
	terminate(&c->input);
	read_expected(s, c);
	return true;
}

void command_done(struct command *c)
{
	buf_done(&c->input);
	buf_done(&c->expected);
}

void script_emit(struct buf *to, const char *actual)
{
	bool twice = actual[0] == '\n' || strstr(actual, "\n\n");

	if (twice)
		add(to, "----\n", 5);
	add(to, actual, strlen(actual));
	if (twice)
		add(to, "----\n----\n", 10);
	add(to, "\n", 1);
}
