/*
 * node/options.c - flags are settings: each names the key that it sets and is
 * checked by the schema, so that a flag and a file cannot differ in what they
 * accept.
 */
#include "node/options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

static const char usage_text[] =
	"usage: raftcaskd [options]\n"
	"Run one node of raftcask in the foreground.\n"
	"\n"
	"  --config FILE       read FILE, then conf.d/*.conf beside it\n"
	"                      (default " OPTIONS_DEFAULT_CONFIG
	", if it exists)\n"
	"  --check-config      say what is wrong with the configuration, exit\n"
	"  --print-config      print what holds and where it is from, exit\n"
	"  --data-dir DIR      keep data in DIR          (node.data_dir)\n"
	"  --http ADDR:PORT    serve HTTP there; repeat  (http.listen)\n"
	"  --mount DIR         mount the keys at DIR     (mount.path)\n"
	"  --name NAME         name of this node         (node.name)\n"
	"  --log-level L       error warn info debug     (log.level)\n"
	"  --version           print the version, exit\n"
	"  --help              print this, exit\n"
	"\n"
	"SIGTERM and SIGINT stop it cleanly, SIGHUP reloads the "
	"configuration.\n"
	"Exit: 0 ok, 1 runtime, 2 usage, 75 data directory in use, 78 "
	"configuration.\n";

enum flag {
	FLAG_CONFIG = 256,
	FLAG_CHECK,
	FLAG_PRINT,
	FLAG_VERSION,
	FLAG_HELP,
	FLAG_SETTING, /* and above: an index into flag_keys */
};

static const struct {
	const char *flag, *key;
} flag_keys[] = {
	{ "--data-dir", "node.data_dir" }, { "--http", "http.listen" },
	{ "--mount", "mount.path" },	   { "--name", "node.name" },
	{ "--log-level", "log.level" },
};

static const struct option long_options[] = {
	{ "config", required_argument, NULL, FLAG_CONFIG },
	{ "check-config", no_argument, NULL, FLAG_CHECK },
	{ "print-config", no_argument, NULL, FLAG_PRINT },
	{ "version", no_argument, NULL, FLAG_VERSION },
	{ "help", no_argument, NULL, FLAG_HELP },
	{ "data-dir", required_argument, NULL, FLAG_SETTING + 0 },
	{ "http", required_argument, NULL, FLAG_SETTING + 1 },
	{ "mount", required_argument, NULL, FLAG_SETTING + 2 },
	{ "name", required_argument, NULL, FLAG_SETTING + 3 },
	{ "log-level", required_argument, NULL, FLAG_SETTING + 4 },
	{ NULL, 0, NULL, 0 },
};

static enum options_mode bad_usage(const char *what, const char *arg)
{
	if (what)
		fprintf(stderr, "raftcaskd: %s: %s\n", what, arg);
	fprintf(stderr, "Try 'raftcaskd --help'.\n");
	return OPTIONS_BAD;
}

static bool add_setting(struct options *o, int i)
{
	if (o->setting_count == OPTIONS_SETTINGS_MAX)
		return false;
	o->setting[o->setting_count].flag = flag_keys[i].flag;
	o->setting[o->setting_count].key = flag_keys[i].key;
	o->setting[o->setting_count].text = optarg;
	o->setting_count++;
	return true;
}

enum options_mode options_parse(int argc, char **argv, struct options *o)
{
	enum options_mode mode = OPTIONS_RUN;
	int flag;

	memset(o, 0, sizeof(*o));
	while ((flag = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (flag) {
		case FLAG_CONFIG:
			o->config = optarg;
			break;
		case FLAG_CHECK:
			mode = OPTIONS_CHECK;
			break;
		case FLAG_PRINT:
			mode = OPTIONS_PRINT;
			break;
		case FLAG_VERSION:
			printf("raftcaskd %s\n", RAFTCASK_VERSION);
			return OPTIONS_EXIT;
		case FLAG_HELP:
			fputs(usage_text, stdout);
			return OPTIONS_EXIT;
		default:
			if (flag < FLAG_SETTING) /* getopt has said why */
				return bad_usage(NULL, NULL);
			if (!add_setting(o, flag - FLAG_SETTING))
				return bad_usage("too many flags", optarg);
		}
	}
	if (optind < argc)
		return bad_usage("unexpected argument", argv[optind]);
	return mode;
}

enum err options_load(const struct options *o, struct conf **out,
		      struct buf *errors)
{
	const char *path = o->config ? o->config : OPTIONS_DEFAULT_CONFIG;
	struct conf *c;
	enum err err, flag_err;

	err = conf_new(&c);
	if (err)
		return err;
	err = conf_load(c, vfs_os(), path, !o->config, errors);
	for (int i = 0; i < o->setting_count; i++) {
		flag_err =
			conf_set_flag(c, o->setting[i].flag, o->setting[i].key,
				      o->setting[i].text, errors);
		if (flag_err)
			err = flag_err;
	}
	if (err) {
		conf_free(c);
		return err;
	}
	*out = c;
	return OK;
}
