/*
 * node/options.h - the command line of raftcaskd, and the configuration that
 * it leads to.
 */
#ifndef NODE_OPTIONS_H
#define NODE_OPTIONS_H

#include <stdbool.h>

#include "conf/conf.h"

#define OPTIONS_DEFAULT_CONFIG "/etc/raftcask/raftcask.conf"

enum { OPTIONS_SETTINGS_MAX = 64 };

enum options_mode {
	OPTIONS_RUN,
	OPTIONS_CHECK, /* --check-config */
	OPTIONS_PRINT, /* --print-config */
	OPTIONS_EXIT,  /* --help, --version: it has been said */
	OPTIONS_BAD,   /* usage: it has been said             */
};

struct options {
	const char
		*config; /* NULL: the default place, where it may be absent */
	struct {
		const char *flag, *key, *text;
	} setting[OPTIONS_SETTINGS_MAX]; /* in the order they were given */
	int setting_count;
};

/*
 * Read the command line; texts point into argv. Says what is to be said for
 * OPTIONS_EXIT (stdout) and OPTIONS_BAD (stderr).
 */
enum options_mode options_parse(int argc, char **argv, struct options *o);

/*
 * Load files and flags into a new configuration. ERR_INVALID and the errors
 * of conf_load: errors has a line for each fault. ERR_NOMEM.
 */
MUST_CHECK enum err options_load(const struct options *o, struct conf **c,
				 struct buf *errors);

#endif
