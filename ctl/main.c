/*
 * ctl/main.c - raftcask: the command line, the table of verbs, and nothing
 * else. Options that every verb has are taken wherever they stand.
 */
#include <curl/curl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/process.h"
#include "ctl/args.h"
#include "ctl/ctl.h"
#include "ctl/secure.h"
#include "ctl/text.h"

static const struct ctl_verb verbs[] = {
	{ "get", "KEY", "print the value of KEY, byte for byte", verb_get },
	{ "put", "KEY VALUE | KEY - | KEY @FILE",
	  "store a value, from the line, standard input or a file\n"
	  "  --ttl T         let it expire after T (ms s m h d)\n"
	  "  --if-absent     only if there is no such key\n"
	  "  --if-rev REV    only if its revision is REV",
	  verb_put },
	{ "del", "KEY... | --prefix P",
	  "delete keys; a key that is not there is no error\n"
	  "  --prefix P      all keys that begin with P, at once\n"
	  "  --if-rev REV    only if its revision is REV",
	  verb_del },
	{ "ls", "[PREFIX]",
	  "list keys\n"
	  "  --long, -l      revision and size before each key\n"
	  "  --delimiter D   fold what follows D, as a directory does with /\n"
	  "  --start K       from K on; --end K: up to, without, K\n"
	  "  --reverse       last key first\n"
	  "  --limit N       at most N keys",
	  verb_ls },
	{ "stat", "KEY", "print revision, size, time and TTL of KEY",
	  verb_stat },
	{ "cas", "KEY REV VALUE",
	  "store a value if KEY's revision is REV; 0: if there is no KEY",
	  verb_cas },
	{ "append", "KEY VALUE | KEY - | KEY @FILE",
	  "add to the end of a value, or make it\n"
	  "  Up to 1 MiB at once. Done once: what may have been done is not sent\n"
	  "  again",
	  verb_append },
	{ "rename", "FROM TO",
	  "give a key, or a directory with all below it, another name\n"
	  "  --no-replace    not if TO is there; else a value takes the place\n"
	  "                  of a value, a directory that of an empty one",
	  verb_rename },
	{ "watch", "KEY | --prefix P",
	  "print changes as they happen\n"
	  "  --after ID      resume after an event's id or a revision\n"
	  "  --count N       end after N events",
	  verb_watch },
	{ "txn", "[FILE]",
	  "do a JSON transaction from FILE or standard input\n"
	  "  {\"if\":[{\"key\":\"a\",\"rev\":7}],"
	  "\"then\":[{\"put\":\"a\",\"value\":\"y\"}],\"else\":[]}",
	  verb_txn },
	{ "status", "", "print how the node and its cluster are", verb_status },
	{ "top", "[-n COUNT] [-d TIME]",
	  "show the cluster, live: roles, lag, rates, latencies, disks\n"
	  "  -n COUNT        end after COUNT pictures; one when standard output\n"
	  "                  is no terminal\n"
	  "  -d TIME         from one to the next, default 1s\n"
	  "  P50 and P99 are of commits meanwhile; DEAD is the share of the\n"
	  "  files' bytes that a merge would drop. q ends, + and - change -d",
	  verb_top },
	{ "members",
	  "[list] | add NAME PEER [HTTP] |\n"
	  "       raftcask members {remove|promote|replace} NAME",
	  "show or change who belongs to the cluster\n"
	  "  list            who is there, and how far behind\n"
	  "  add             a node at PEER (host:port), clients at HTTP; it\n"
	  "                  votes as soon as it has caught up\n"
	  "    --learner     it never votes, until it is promoted\n"
	  "  remove          NAME leaves for good\n"
	  "  promote         a learner that was to stay one may vote\n"
	  "  replace         NAME has lost its disk: it comes back empty\n"
	  "    --force       also if it is up, with its disk: put it out\n"
	  "  --wait          stay until it has caught up, or has left",
	  verb_members },
	{ "transfer", "NAME", "let NAME lead every partition", verb_transfer },
	{ "token",
	  "[list] | add NAME --prefix P --rights R | remove NAME |\n"
	  "       raftcask token init --data-dir DIR [--name NAME]",
	  "show or change who may do what\n"
	  "  list            names, rights and prefixes\n"
	  "  add             a token for keys that begin with P (\"\": all);\n"
	  "                  R is r (read), rw (write too) or admin (tokens\n"
	  "                  below P too; with all keys: members, merge, backup)\n"
	  "  remove          NAME lets nobody in any more\n"
	  "  init            offline: the first administrator's token; also\n"
	  "                  when all are lost",
	  verb_token },
	{ "merge", "",
	  "give back the space of dead records now\n"
	  "  --wait          stay until it is done",
	  verb_merge },
	{ "export", "[PREFIX]",
	  "print keys and values as lines of JSON\n"
	  "  {\"key\":\"a\",\"value\":\"v\",\"rev\":7}; what is not UTF-8 is base64 and\n"
	  "  says so in \"encoding\" and \"value_encoding\"; \"ttl\" are the seconds\n"
	  "  left. Not one moment, as a backup is, and without what only a\n"
	  "  mount knows of files (modes, owners, links)",
	  verb_export },
	{ "import", "[FILE]",
	  "put what export printed, from FILE or standard input\n"
	  "  Other members of a line are ignored. When a line is refused it says\n"
	  "  which; all before it are in. Twice does no harm\n"
	  "  --from LINE     begin there",
	  verb_import },
	{ "backup", "FILE | -",
	  "write all keys and values, as of one moment, to a file\n"
	  "  FILE appears when all of it is there and verified; - is standard\n"
	  "  output. Writes go on meanwhile. Any node gives it\n"
	  "  --stale         what that node has, without asking the others:\n"
	  "                  also when no majority is left",
	  verb_backup },
	{ "restore", "FILE | - --data-dir DIR | --check FILE",
	  "offline: make a node's directory from a backup\n"
	  "  DIR             is empty or absent; a daemon started on it is a new\n"
	  "                  cluster of one, to which `members add` adds others.\n"
	  "                  Revisions go on far above the backup's; watches of\n"
	  "                  the old cluster cannot be resumed\n"
	  "  --name NAME     of the node, default n1; later the daemon's own\n"
	  "  --max-file-size SIZE  as storage.max_file_size, default 256M\n"
	  "  --check         only verify the backup",
	  verb_restore },
	{ "recover", "--data-dir DIR [--force-new-cluster]",
	  "offline: go on from one member, the majority is lost for good\n"
	  "  says what this member has and what may be lost\n"
	  "  --force-new-cluster  make a new cluster of one of it, with an id\n"
	  "                  and revisions of its own. Everything in its log\n"
	  "                  counts, committed or not. The old files stay in\n"
	  "                  DIR/cluster-ID; it needs room for both. Afterwards\n"
	  "                  start it, empty the other members and add them\n"
	  "                  again by `members add`. Never while a majority can\n"
	  "                  still come back: `members replace` loses nothing",
	  verb_recover },
	{ "bench", "[-sz=1K] [-n=1000] [-t=W]",
	  "put load on the nodes and print rate and latencies\n"
	  "  -sz=BYTES       size of a value (K M G)\n"
	  "  -n=N            requests in all\n"
	  "  -t=W|R|RW|D     write, read, both in turn, delete\n"
	  "  -conns=N        connections at once, default 1, spread over all -e\n"
	  "  -keys=N         keys bench/0 to bench/N-1, default -n\n"
	  "  -dist=seq|uniform|zipf  keys in turn, at random, or few of them\n"
	  "                  often (exponent 0.99)\n"
	  "  -addr=URL       the node, instead of -e\n"
	  "  -threads=N      of this client; default half the processors\n"
	  "  --verify        compare every value read with what was written, and\n"
	  "                  read all keys back at the end\n"
	  "  --json          as JSON",
	  verb_bench },
	{ "check", "--data-dir DIR", "offline: verify every checksum",
	  verb_check },
	{ "dump", "--data-dir DIR", "offline: print every record", verb_dump },
	{ "rebuild-hints", "--data-dir DIR",
	  "offline: write every hint file anew", verb_rebuild_hints },
	{ "repair", "--data-dir DIR",
	  "offline: say what is lost in a directory that does not open\n"
	  "  --accept-loss   give that up and make it open again\n"
	  "  --force         with --accept-loss, a member of a cluster too: after\n"
	  "                  it the whole cluster may lose acknowledged writes.\n"
	  "                  For disaster recovery only: `members replace` loses\n"
	  "                  nothing",
	  verb_repair },
};

void ctl_say(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("raftcask: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

enum ctl_exit ctl_usage(const struct ctl *c)
{
	fprintf(stderr, "usage: raftcask %s%s%s\n", c->verb->name,
		*c->verb->arguments ? " " : "", c->verb->arguments);
	return CTL_USAGE;
}

enum ctl_exit ctl_flush(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return CTL_OK;
	ctl_say("standard output cannot be written");
	return CTL_RUNTIME;
}

static enum ctl_exit say_help(const struct ctl_verb *verb)
{
	if (verb) {
		printf("usage: raftcask %s%s%s\n%s\n", verb->name,
		       *verb->arguments ? " " : "", verb->arguments,
		       verb->help);
		return ctl_flush();
	}
	puts("usage: raftcask [options] VERB ...\n");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		printf("  %-14s %.*s\n", verbs[i].name,
		       (int)strcspn(verbs[i].help, "\n"), verbs[i].help);
	puts("\n"
	     "  -e URL          a node to ask; repeat for more, which are asked\n"
	     "                  when it fails; default $RAFTCASK_URL or\n"
	     "                  http://127.0.0.1:8080. What may have been done is\n"
	     "                  sent again only if twice is as once\n"
	     "  -o json|plain   form of the output\n"
	     "  --timeout T     wait so long (ms s m h d; default 30s)\n"
	     "  --token T       say who is asking: a token or @FILE; default\n"
	     "                  $RAFTCASK_TOKEN\n"
	     "  --cacert FILE   who vouches for nodes at https://; default\n"
	     "                  $RAFTCASK_CACERT, else the system's list\n"
	     "  --cert FILE, --key FILE  the certificate to show; default\n"
	     "                  $RAFTCASK_CERT, $RAFTCASK_KEY\n"
	     "  --version, --help\n"
	     "\n"
	     "raftcask VERB --help says more about a verb; -- ends options.\n"
	     "Exit: 0 ok, 1 failed, 2 usage, 4 not found, 75 data "
	     "directory in use.");
	return ctl_flush();
}

static const struct ctl_verb *find_verb(const char *name)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	}
	return NULL;
}

struct globals {
	const char *output, *timeout;
	bool help, version;
};

static bool apply_globals(struct ctl *c, const struct globals *g)
{
	static char urls[4096];
	const char *env = getenv("RAFTCASK_URL");

	if (g->output && strcmp(g->output, "json") != 0 &&
	    strcmp(g->output, "plain") != 0) {
		ctl_say("-o takes json or plain");
		return false;
	}
	c->json = g->output && g->output[0] == 'j';
	c->timeout_ms = 30000;
	if (g->timeout && text_parse_span(g->timeout, &c->timeout_ms)) {
		ctl_say("--timeout: \"%s\" is not a time: write 30s",
			g->timeout);
		return false;
	}
	if (c->endpoint_count == 0 && env && env[0]) {
		char *save, *url;

		snprintf(urls, sizeof(urls), "%s", env);
		for (url = strtok_r(urls, " ,", &save);
		     url && c->endpoint_count < CTL_ENDPOINTS_MAX;
		     url = strtok_r(NULL, " ,", &save))
			c->endpoint[c->endpoint_count++] = url;
	}
	if (c->endpoint_count == 0)
		c->endpoint[c->endpoint_count++] = "http://127.0.0.1:8080";
	return true;
}

int main(int argc, char **argv)
{
	struct ctl c = { .json = false };
	struct globals g = { .output = NULL };
	const struct args_option options[] = {
		{ .name = "--endpoint",
		  .alias = "-e",
		  .values = c.endpoint,
		  .count = &c.endpoint_count,
		  .count_max = CTL_ENDPOINTS_MAX },
		{ .name = "--output", .alias = "-o", .value = &g.output },
		{ .name = "--timeout", .value = &g.timeout },
		{ .name = "--cacert", .value = &c.secure.cacert },
		{ .name = "--cert", .value = &c.secure.cert },
		{ .name = "--key", .value = &c.secure.key },
		{ .name = "--token", .value = &c.secure.token },
		{ .name = "--help", .alias = "-h", .set = &g.help },
		{ .name = "--version", .set = &g.version },
		{ .name = NULL },
	};
	enum ctl_exit result;

	if (process_take_standard_files())
		return CTL_RUNTIME;
	argc--;
	argv++;
	if (!args_take(&argc, argv, options, false))
		return CTL_USAGE;
	if (g.version) {
		printf("raftcask %s\n", RAFTCASK_VERSION);
		return ctl_flush();
	}
	if (argc)
		c.verb = find_verb(argv[0]);
	if (argc && strcmp(argv[0], "help") == 0)
		return say_help(argc > 1 ? find_verb(argv[1]) : NULL);
	if (g.help)
		return say_help(c.verb);
	if (!apply_globals(&c, &g) || !secure_prepare(&c.secure))
		return CTL_USAGE;
	if (!c.verb) {
		if (argc)
			ctl_say("unknown verb %s", argv[0]);
		fprintf(stderr, "Try 'raftcask --help'.\n");
		return CTL_USAGE;
	}
	signal(SIGPIPE, SIG_IGN);
	if (curl_global_init(CURL_GLOBAL_DEFAULT)) {
		ctl_say("libcurl cannot start");
		return CTL_RUNTIME;
	}
	result = c.verb->run(&c, argc - 1, argv + 1);
	curl_global_cleanup();
	return result;
}
