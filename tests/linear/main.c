/*
 * tests/linear/main.c - judge a history in a file.
 *
 *    build/linear [-n TRIES] FILE      "-": standard input
 *
 * One operation a line, as tests/lib/linear.h (linear_add_json) says; empty
 * lines are skipped. Prints one line of verdict, and if it is bad the
 * operations that found no place.
 *
 * Exit status: 0 linearizable, 1 not, 2 undecided after TRIES (default ten
 * million) steps for one group of keys, 64 usage, 65 a malformed line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/linear.h"

enum { EXIT_USAGE = 64, EXIT_DATA = 65 };

static int read_all(FILE *f, struct linear *l)
{
	char *line = NULL;
	size_t cap = 0;
	uint64_t number = 0;
	int status = 0;

	while (!status && getline(&line, &cap, f) >= 0) {
		struct buf why = BUF_INIT;

		number++;
		if (line[strspn(line, " \t\r\n")] &&
		    !linear_add_json(l, line, &why)) {
			fprintf(stderr, "line %llu: %.*s\n",
				(unsigned long long)number, (int)why.n,
				(const char *)why.p);
			status = EXIT_DATA;
		}
		buf_done(&why);
	}
	free(line);
	return status;
}

int main(int argc, char **argv)
{
	static const char *const words[] = { "linearizable", "not linearizable",
					     "undecided" };
	uint64_t tries_max = 10000000;
	struct linear *l = linear_new();
	struct buf why = BUF_INIT;
	int opt, status;
	FILE *f;

	while ((opt = getopt(argc, argv, "n:")) == 'n')
		tries_max = strtoull(optarg, NULL, 10);
	if (opt != -1 || optind + 1 != argc) {
		fprintf(stderr, "usage: linear [-n TRIES] FILE\n");
		return EXIT_USAGE;
	}
	f = strcmp(argv[optind], "-") ? fopen(argv[optind], "r") : stdin;
	if (!f) {
		perror(argv[optind]);
		return EXIT_USAGE;
	}
	status = read_all(f, l);
	fclose(f);
	if (!status) {
		status = (int)linear_check(l, tries_max, &why);
		printf("%s: %llu operations on %llu keys\n", words[status],
		       (unsigned long long)linear_op_count(l),
		       (unsigned long long)linear_key_count(l));
		if (why.n)
			printf("%.*s\n", (int)why.n, (const char *)why.p);
	}
	buf_done(&why);
	linear_free(l);
	return status;
}
