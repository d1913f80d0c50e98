/*
 * ctl/args.h - options among arguments.
 *
 * Not getopt: a value may be "-5" and options may stand before or after the
 * arguments, so only known names, and words that begin with "--", are options;
 * all after a bare "--" are arguments.
 */
#ifndef CTL_ARGS_H
#define CTL_ARGS_H

#include <stdbool.h>

struct args_option {
	const char *name;    /* "--ttl"; NULL ends the table                  */
	const char *alias;   /* "-l" or NULL                                  */
	bool *set;	     /* an option without a value; or                 */
	const char **value;  /* one with; or                                  */
	const char **values; /* one that repeats: room for count_max, and    */
	int *count;
	int count_max;
};

/*
 * Take the options out of argv; what remains stays in order and *argc counts
 * it. strict: an unknown word with "--" is a fault and the bare "--" goes.
 * False: a fault, which has been said.
 */
bool args_take(int *argc, char **argv, const struct args_option *options,
	       bool strict);

#endif
