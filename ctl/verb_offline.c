/*
 * ctl/verb_offline.c - check, dump, rebuild-hints, repair: a data directory
 * that no daemon has open, by engine/offline.h. Lines for people go to
 * stdout; damage makes the exit code 1.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/guard.h"
#include "base/vfs.h"
#include "ctl/args.h"
#include "ctl/ctl.h"
#include "ctl/text.h"
#include "engine/offline.h"

static void say_line(void *ctx, const char *line)
{
	puts(line);
}

/* Take --data-dir (and --accept-loss, where it is allowed). */
static bool take_dir(struct ctl *c, int argc, char **argv, const char **dir,
		     bool *accept_loss)
{
	bool accept = false;
	const struct args_option options[] = {
		{ .name = "--data-dir", .value = dir },
		{ .name = accept_loss ? "--accept-loss" : NULL,
		  .set = &accept },
		{ .name = NULL },
	};

	*dir = NULL;
	if (!args_take(&argc, argv, options, true) || argc || !*dir) {
		ctl_usage(c);
		return false;
	}
	if (accept_loss)
		*accept_loss = accept;
	guard_install();
	return true;
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
	enum err err;

	if (!take_dir(c, argc, argv, &dir, NULL))
		return CTL_USAGE;
	err = offline_check(vfs_os(), dir, say_line, NULL, &report);
	if (!err)
		printf("files %" PRIu64 "\nrecords %" PRIu64 "\nbytes %" PRIu64
		       "\ndamaged %" PRIu64 "\ntorn %" PRIu64 "\n",
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

	if (!take_dir(c, argc, argv, &dir, NULL))
		return CTL_USAGE;
	return judge(offline_dump(vfs_os(), dir, dump_record, c), dir);
}

enum ctl_exit verb_rebuild_hints(struct ctl *c, int argc, char **argv)
{
	uint64_t count = 0;
	const char *dir;
	enum err err;

	if (!take_dir(c, argc, argv, &dir, NULL))
		return CTL_USAGE;
	err = offline_rebuild_hints(vfs_os(), dir, say_line, NULL, &count);
	if (!err)
		printf("hints %" PRIu64 "\n", count);
	return judge(err, dir);
}

enum ctl_exit verb_repair(struct ctl *c, int argc, char **argv)
{
	bool accept_loss;
	const char *dir;
	enum err err;

	if (!take_dir(c, argc, argv, &dir, &accept_loss))
		return CTL_USAGE;
	err = offline_repair(vfs_os(), dir, accept_loss, say_line, NULL);
	if (err == ERR_CORRUPT && !accept_loss) {
		fflush(stdout);
		ctl_say("nothing was changed; --accept-loss gives up what is "
			"listed above");
		return CTL_RUNTIME;
	}
	return judge(err, dir);
}
