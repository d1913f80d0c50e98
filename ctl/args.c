/*
 * ctl/args.c - see args.h.
 */
#include "ctl/args.h"

#include <string.h>

#include "ctl/ctl.h"

/* The option that word names; *joined is what follows '=', or NULL. */
static const struct args_option *find_option(const struct args_option *options,
					     const char *word,
					     const char **joined)
{
	const char *equal = word[0] == '-' ? strchr(word, '=') : NULL;
	size_t n = equal ? (size_t)(equal - word) : strlen(word);

	*joined = equal ? equal + 1 : NULL;
	for (; options->name; options++) {
		if (strlen(options->name) == n &&
		    memcmp(options->name, word, n) == 0)
			return options;
		if (options->alias && strcmp(options->alias, word) == 0)
			return options;
	}
	return NULL;
}

static bool store_value(const struct args_option *o, const char *value)
{
	if (o->value) {
		*o->value = value;
		return true;
	}
	if (*o->count == o->count_max) {
		ctl_say("%s: given too often", o->name);
		return false;
	}
	o->values[(*o->count)++] = value;
	return true;
}

bool args_take(int *argc, char **argv, const struct args_option *options,
	       bool strict)
{
	int kept = 0, i;

	for (i = 0; i < *argc && strcmp(argv[i], "--") != 0; i++) {
		const char *joined;
		const struct args_option *o =
			find_option(options, argv[i], &joined);

		if (!o && strict && strncmp(argv[i], "--", 2) == 0) {
			ctl_say("unknown option %s", argv[i]);
			return false;
		}
		if (!o) {
			argv[kept++] = argv[i];
		} else if (o->set) {
			*o->set = true;
		} else if (!joined && i + 1 == *argc) {
			ctl_say("%s needs a value", o->name);
			return false;
		} else if (!store_value(o, joined ? joined : argv[++i])) {
			return false;
		}
	}
	if (strict && i < *argc)
		i++;
	while (i < *argc)
		argv[kept++] = argv[i++];
	*argc = kept;
	return true;
}
