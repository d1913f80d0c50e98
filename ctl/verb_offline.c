/*
 * ctl/verb_offline.c - check, dump, rebuild-hints, repair: a data directory
 * that no daemon has open, by engine/offline.h. Lines for people go to
 * stdout; damage makes the exit code 1.
 *
 * A member of a cluster is not repaired: what it gives up it has acknowledged,
 * and with a shorter log it would vote for leaders who lack it.
 *
 * Root does all this with the rights of whoever owns the directory: what is
 * made there is the daemon's to read and write, and no name that the daemon's
 * user put there leads root elsewhere.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/guard.h"
#include "base/vfs.h"
#include "ctl/args.h"
#include "ctl/ctl.h"
#include "ctl/text.h"
#include "engine/offline.h"
#include "node/identity.h"

/* With -o json each line for people is an object: {"line":".."}. */
static void say_line(void *ctx, const char *line)
{
	const struct ctl *c = ctx;
	struct json_object *o;

	if (!c->json) {
		puts(line);
		return;
	}
	o = json_object_new_object();
	text_add_json(o, "line", "encoding", bytes_str(line));
	text_print_json(o);
}

/* Consent that repair asks for. */
struct consent {
	bool accept_loss, force;
};

static bool is_node_file(const char *name)
{
	size_t n = strlen(name);

	return strcmp(name, "MANIFEST") == 0 || strcmp(name, "state") == 0 ||
	       strcmp(name, "cluster") == 0 ||
	       (n > 4 && (strcmp(name + n - 4, ".log") == 0 ||
			  strcmp(name + n - 4, ".dat") == 0));
}

/* Nothing of a node is there. What cannot be read is for others to say. */
static bool is_no_node(const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	bool found = false;

	if (!d)
		return false;
	while (!found && (e = readdir(d)))
		found = is_node_file(e->d_name);
	closedir(d);
	return !found;
}

/* Not where the owner cannot go, and so runs no daemon. */
static bool become_owner(const char *dir)
{
	struct stat st;

	if (geteuid() != 0 || stat(dir, &st) || st.st_uid == 0)
		return true;
	if (setegid(st.st_gid) || seteuid(st.st_uid))
		return false;
	if (faccessat(AT_FDCWD, dir, R_OK | W_OK | X_OK, AT_EACCESS) == 0)
		return true;
	return seteuid(0) == 0 && setegid(0) == 0;
}

/* Take --data-dir (and consent, where it is allowed). */
static enum ctl_exit take_dir(struct ctl *c, int argc, char **argv,
			      const char **dir, struct consent *consent)
{
	struct consent given = { false, false };
	const struct args_option options[] = {
		{ .name = "--data-dir", .value = dir },
		{ .name = consent ? "--accept-loss" : NULL,
		  .set = &given.accept_loss },
		{ .name = "--force", .set = &given.force },
		{ .name = NULL },
	};

	*dir = NULL;
	if (!args_take(&argc, argv, options, true) || argc || !*dir)
		return ctl_usage(c);
	if (given.force && !given.accept_loss)
		return ctl_usage(c);
	if (is_no_node(*dir)) {
		ctl_say("%s: no files of a node are there", *dir);
		return CTL_RUNTIME;
	}
	if (!become_owner(*dir)) {
		ctl_say("%s: its owner's rights cannot be taken", *dir);
		return CTL_RUNTIME;
	}
	if (consent)
		*consent = given;
	guard_install();
	return CTL_OK;
}

/* What an error means for the directory as a whole. */
static enum ctl_exit judge(enum err err, const char *dir)
{
	if (!err)
		return ctl_flush();
	if (err == ERR_BUSY) {
		ctl_say("%s is in use by another process", dir);
		return CTL_BUSY;
	}
	ctl_say("%s: %s", dir, err_text(err));
	return CTL_RUNTIME;
}

enum ctl_exit verb_check(struct ctl *c, int argc, char **argv)
{
	struct offline_report report = { 0 };
	const char *dir;
	enum ctl_exit taken = take_dir(c, argc, argv, &dir, NULL);
	enum err err;

	if (taken)
		return taken;
	err = offline_check(vfs_os(), dir, say_line, c, &report);
	if (!err)
		printf(c->json ? "{\"files\":%" PRIu64 ",\"records\":%" PRIu64
				 ",\"bytes\":%" PRIu64 ",\"damaged\":%" PRIu64
				 ",\"torn\":%" PRIu64 "}\n"
			       : "files %" PRIu64 "\nrecords %" PRIu64
				 "\nbytes %" PRIu64 "\ndamaged %" PRIu64
				 "\ntorn %" PRIu64 "\n",
		       report.files, report.records, report.bytes,
		       report.damaged, report.torn);
	if (!err && report.damaged)
		err = ERR_CORRUPT;
	return judge(err, dir);
}

static const char *type_name(const struct record *r)
{
	switch ((enum record_type)r->type) {
	case RECORD_PUT:
		return "put";
	case RECORD_DELETE:
		return "delete";
	case RECORD_DELETE_PREFIX:
		return "delete-prefix";
	case RECORD_NOOP:
		return "noop";
	case RECORD_CONFIG:
		return "config";
	case RECORD_HARD_STATE:
		return "hard-state";
	case RECORD_EXPIRE:
		return "expire";
	case RECORD_TYPE_MAX:
		break;
	}
	return "unknown";
}

static const char *state_name(enum record_state state)
{
	switch (state) {
	case RECORD_OK:
		return "ok";
	case RECORD_BAD_VALUE:
		return "bad-value";
	case RECORD_BAD_HEADER:
		return "bad-header";
	}
	return "unknown";
}

static void dump_json(const char *file, uint64_t off, enum record_state state,
		      const struct record *r)
{
	struct json_object *obj = json_object_new_object();

	json_object_object_add(obj, "file", json_object_new_string(file));
	json_object_object_add(obj, "offset", json_object_new_uint64(off));
	json_object_object_add(obj, "state",
			       json_object_new_string(state_name(state)));
	if (state != RECORD_BAD_HEADER) {
		json_object_object_add(obj, "type",
				       json_object_new_string(type_name(r)));
		json_object_object_add(obj, "partition",
				       json_object_new_int(r->partition));
		json_object_object_add(obj, "index",
				       json_object_new_uint64(r->index));
		json_object_object_add(obj, "position",
				       json_object_new_int(r->position));
		json_object_object_add(obj, "term",
				       json_object_new_uint64(r->term));
		json_object_object_add(obj, "flags",
				       json_object_new_int(r->flags));
		text_add_json(obj, "key", "encoding", r->key);
	}
	if (state == RECORD_OK && r->type == RECORD_PUT)
		text_add_json(obj, "value", "value_encoding", r->value);
	text_print_json(obj);
}

/* Keys may hold anything: what is not plain text is shown as \xNN. */
static void print_escaped(struct bytes in)
{
	for (size_t i = 0; i < in.n; i++) {
		if (in.p[i] < 0x20 || in.p[i] >= 0x7f || in.p[i] == '\\')
			printf("\\x%02x", in.p[i]);
		else
			putchar(in.p[i]);
	}
}

static void dump_record(void *ctx, const char *file, uint64_t off,
			enum record_state state, const struct record *r)
{
	const struct ctl *c = ctx;

	if (c->json) {
		dump_json(file, off, state, r);
		return;
	}
	printf("%s:%" PRIu64 " %s", file, off, state_name(state));
	if (state != RECORD_BAD_HEADER) {
		printf(" %s %u/%" PRIu64 ".%u term=%" PRIu64 " bytes=%zu ",
		       type_name(r), r->partition, r->index, r->position,
		       r->term, r->value.n);
		print_escaped(r->key);
	}
	putchar('\n');
}

enum ctl_exit verb_dump(struct ctl *c, int argc, char **argv)
{
	const char *dir;
	enum ctl_exit taken = take_dir(c, argc, argv, &dir, NULL);

	if (taken)
		return taken;
	return judge(offline_dump(vfs_os(), dir, dump_record, c), dir);
}

enum ctl_exit verb_rebuild_hints(struct ctl *c, int argc, char **argv)
{
	uint64_t count = 0;
	const char *dir;
	enum ctl_exit taken = take_dir(c, argc, argv, &dir, NULL);
	enum err err;

	if (taken)
		return taken;
	err = offline_rebuild_hints(vfs_os(), dir, say_line, c, &count);
	if (!err)
		printf(c->json ? "{\"hints\":%" PRIu64 "}\n"
			       : "hints %" PRIu64 "\n",
		       count);
	return judge(err, dir);
}

/*
 * Does dir belong to a member of a cluster of several, as far as can be known?
 * Then name is its name in `members replace`.
 */
static bool is_member(const char *dir, const char **name)
{
	static struct identity id;
	struct buf why = BUF_INIT;
	enum err err = identity_load(vfs_os(), dir, &id, &why);

	*name = "NAME";
	if (err == ERR_CORRUPT || err == ERR_VERSION)
		ctl_say("%.*s", (int)why.n, why.n ? (const char *)why.p : "");
	buf_done(&why);
	if (err)
		return err == ERR_CORRUPT || err == ERR_VERSION;
	for (uint32_t i = 0; i < id.roster.count; i++)
		if (id.roster.member[i].id == id.node_id)
			*name = id.roster.member[i].name;
	return identity_has_peers(&id);
}

enum ctl_exit verb_repair(struct ctl *c, int argc, char **argv)
{
	struct consent consent = { false, false };
	const char *dir, *name;
	enum ctl_exit taken = take_dir(c, argc, argv, &dir, &consent);
	bool member;
	enum err err;

	if (taken)
		return taken;
	member = is_member(dir, &name);
	if (member && consent.accept_loss && !consent.force) {
		ctl_say("%s is of a member of a cluster: what would be given "
			"up it has acknowledged, and with a shorter log it "
			"would vote for leaders who lack that too, so that "
			"committed writes of the whole cluster could be lost. "
			"Nothing was changed; start it, and run `raftcask "
			"members replace %s` on another member",
			dir, name);
		return CTL_RUNTIME;
	}
	err = offline_repair(vfs_os(), dir, consent.accept_loss, say_line, c);
	if (err != ERR_CORRUPT || consent.accept_loss)
		return judge(err, dir);
	fflush(stdout);
	if (member)
		ctl_say("nothing was changed; this is a member of a cluster, "
			"which has all of this: start it, and run `raftcask "
			"members replace %s` on another member",
			name);
	else
		ctl_say("nothing was changed; --accept-loss gives up what is "
			"listed above");
	return CTL_RUNTIME;
}
