/*
 * tests/raftscript/main.c - build/raftscript, pure Raft nodes from a script.
 *
 *    raftscript FILE...            print each script with the outputs it gives
 *    raftscript --check FILE...    compare with the outputs in the files; say
 *                                  where they differ, exit 1 if any does
 *    raftscript --rewrite FILE...  put the outputs into the files
 *
 * Each file starts with no nodes. Commands: tests/raftscript/handlers.c.
 */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "tests/raftscript/handlers.h"

enum mode { MODE_PRINT, MODE_CHECK, MODE_REWRITE };

static void show_difference(const char *path, const struct command *c,
			    const char *actual)
{
	printf("%s:%d: %s\n--- expected\n%s--- actual\n%s\n", path, c->line,
	       c->name, (const char *)c->expected.p, actual);
}

static bool is_same(const struct command *c, const char *actual)
{
	return strcmp((const char *)c->expected.p, actual) == 0;
}

/* Put text into the file at path. */
static bool write_file(const char *path, const struct buf *text)
{
	FILE *f = fopen(path, "w");
	bool ok;

	if (!f) {
		perror(path);
		return false;
	}
	ok = fwrite(text->p, 1, text->n, f) == text->n;
	return fclose(f) == 0 && ok;
}

static void drop_last_newline(struct buf *b)
{
	if (b->n > 1 && b->p[b->n - 1] == '\n' && b->p[b->n - 2] == '\n')
		b->n--;
}

/* Run one file. False: it differs, or could not be read or written. */
static bool run_file(const char *path, enum mode mode)
{
	struct buf result = BUF_INIT;
	struct script s;
	struct command c;
	struct env env;
	bool same = true;

	if (!script_open(&s, path))
		return false;
	env_init(&env);
	while (script_next(&s, &c)) {
		const char *actual = env_handle(&env, &c);

		CHECK(buf_add(&result, s.copied.p, s.copied.n) == OK);
		script_emit(&result, actual);
		if (mode == MODE_CHECK && !is_same(&c, actual)) {
			show_difference(path, &c, actual);
			same = false;
		}
		command_done(&c);
	}
	CHECK(buf_add(&result, s.copied.p ? s.copied.p : (uint8_t *)"",
		      s.copied.n) == OK);
	drop_last_newline(&result);
	if (mode == MODE_PRINT)
		fwrite(result.p, 1, result.n, stdout);
	if (mode == MODE_REWRITE && !s.bad)
		same = write_file(path, &result);
	if (s.bad)
		same = false;
	buf_done(&result);
	command_done(&c);
	script_close(&s);
	env_done(&env);
	return same;
}

int main(int argc, char **argv)
{
	enum mode mode = MODE_PRINT;
	int i = 1, failed = 0;

	if (argc > 1 && strcmp(argv[1], "--check") == 0)
		mode = MODE_CHECK;
	if (argc > 1 && strcmp(argv[1], "--rewrite") == 0)
		mode = MODE_REWRITE;
	if (mode != MODE_PRINT)
		i++;
	if (i >= argc) {
		fprintf(stderr,
			"usage: raftscript [--check|--rewrite] FILE...\n");
		return 2;
	}
	for (; i < argc; i++)
		failed += !run_file(argv[i], mode);
	if (mode == MODE_CHECK && failed)
		printf("%d file(s) differ\n", failed);
	return failed ? 1 : 0;
}
