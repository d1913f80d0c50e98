/*
 * ctl/ctl.h - the client: what every verb is given and must give back.
 *
 * One verb is one function in a verb_*.c file; ctl/main.c has the table. A
 * verb says what went wrong on stderr and returns the process's exit code.
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum ctl_exit {
	CTL_OK = 0,
	CTL_RUNTIME = 1,
	CTL_USAGE = 2,
	CTL_NOT_FOUND = 4, /* key or member not found */
	CTL_BUSY = 75,	   /* data directory in use */
};

enum { CTL_ENDPOINTS_MAX = 16 };

/* ctl/secure.h; NULL: not said. */
struct ctl_secure {
	const char *cacert, *cert, *key; /* files                            */
	const char *token;		 /* or "@FILE"                       */
};

struct ctl {
	const char *endpoint[CTL_ENDPOINTS_MAX];
	int endpoint_count;
	bool json; /* -o json */
	uint64_t timeout_ms;
	struct ctl_secure secure;
	const struct ctl_verb *verb; /* the one that runs */
};

struct ctl_verb {
	const char *name;
	const char *arguments; /* "KEY VALUE" */
	const char *help;      /* one sentence, then lines for options */
	enum ctl_exit (*run)(struct ctl *c, int argc, char **argv);
};

/* argv of a verb has only what follows its name. verb_key.c: */
enum ctl_exit verb_get(struct ctl *c, int argc, char **argv);
enum ctl_exit verb_put(struct ctl *c, int argc, char **argv);
enum ctl_exit verb_cas(struct ctl *c, int argc, char **argv);
enum ctl_exit verb_append(struct ctl *c, int argc, char **argv);
enum ctl_exit verb_rename(struct ctl *c, int argc, char **argv);
enum ctl_exit verb_del(struct ctl *c, int argc, char **argv);
enum ctl_exit verb_stat(struct ctl *c, int argc, char **argv);

/* verb_ls.c, verb_watch.c, verb_txn.c, verb_node.c: */
enum ctl_exit verb_ls(struct ctl *c, int argc, char **argv);
enum ctl_exit verb_watch(struct ctl *c, int argc, char **argv);
enum ctl_exit verb_txn(struct ctl *c, int argc, char **argv);
enum ctl_exit verb_status(struct ctl *c, int argc, char **argv);
enum ctl_exit verb_merge(struct ctl *c, int argc, char **argv);

/* verb_members.c: */
enum ctl_exit verb_members(struct ctl *c, int argc, char **argv);
enum ctl_exit verb_transfer(struct ctl *c, int argc, char **argv);

/* verb_token.c: */
enum ctl_exit verb_token(struct ctl *c, int argc, char **argv);
/* verb_top.c: */
enum ctl_exit verb_top(struct ctl *c, int argc, char **argv);

/* verb_bench.c: */
enum ctl_exit verb_bench(struct ctl *c, int argc, char **argv);

/* verb_export.c, verb_import.c: */
enum ctl_exit verb_export(struct ctl *c, int argc, char **argv);
enum ctl_exit verb_import(struct ctl *c, int argc, char **argv);

/* verb_backup.c: */
enum ctl_exit verb_backup(struct ctl *c, int argc, char **argv);
enum ctl_exit verb_restore(struct ctl *c, int argc, char **argv);

/* verb_recover.c: */
enum ctl_exit verb_recover(struct ctl *c, int argc, char **argv);

/* verb_offline.c, on a data directory that no daemon has open: */
enum ctl_exit verb_check(struct ctl *c, int argc, char **argv);
enum ctl_exit verb_dump(struct ctl *c, int argc, char **argv);
enum ctl_exit verb_rebuild_hints(struct ctl *c, int argc, char **argv);
enum ctl_exit verb_repair(struct ctl *c, int argc, char **argv);

/* Say "raftcask: ..." on stderr. */
void ctl_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Say how the running verb is called; CTL_USAGE. */
enum ctl_exit ctl_usage(const struct ctl *c);

/* Flush stdout; CTL_RUNTIME and a word when what was printed got lost. */
enum ctl_exit ctl_flush(void);

#endif
