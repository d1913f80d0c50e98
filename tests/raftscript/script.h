/*
 * tests/raftscript/script.h - scripts in datadriven form.
 *
 *    # a comment
 *    command arg key=value key=(v1,v2)
 *    input lines, perhaps
 *    ----
 *    expected output up to an empty line
 *
 * If the output itself has empty lines it stands between two pairs of "----".
 * A command line that ends with a backslash goes on in the next one. Commands
 * between "subtest NAME" and "subtest end" are run like all others.
 */
#ifndef TESTS_RAFTSCRIPT_SCRIPT_H
#define TESTS_RAFTSCRIPT_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"

enum { ARGS_MAX = 64, VALUES_MAX = 64, SUBTESTS_MAX = 16 };

struct arg {
	char *key;
	char *value[VALUES_MAX];
	int value_count; /* 0: no "=" */
};

struct command {
	int line;	 /* of the file, from 1 */
	struct buf text; /* what name and arguments point into */
	bool malformed;	 /* brackets do not close, or there is too much */
	char *name;
	struct arg arg[ARGS_MAX];
	int arg_count;
	struct buf input;    /* NUL-terminated */
	struct buf expected; /* NUL-terminated */
};

struct script {
	char *text, *next;
	int line;
	struct buf copied; /* what lies before the command: comments */
	char *subtest[SUBTESTS_MAX]; /* names, the innermost last */
	int subtest_count;
	bool bad; /* a subtest begins or ends where it may not */
};

/* Read the file. False: message printed to stderr. */
bool script_open(struct script *s, const char *path);
void script_close(struct script *s);

/*
 * The next command; s->copied is everything up to its "----", inclusive.
 * False: end of file, or s->bad, which was told; s->copied is the rest.
 */
bool script_next(struct script *s, struct command *c);
void command_done(struct command *c);

/* Append actual in the form that script_next reads back. */
void script_emit(struct buf *to, const char *actual);

#endif
