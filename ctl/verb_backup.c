/*
 * ctl/verb_backup.c - backup and restore: the state of a cluster in one file.
 *
 * backup verifies the stream while it writes it down: what it leaves under the
 * name it was given is whole. restore verifies again, byte by byte, before
 * anything counts. The format is drawn in store/backup.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/guard.h"
#include "base/log.h"
#include "ctl/args.h"
#include "ctl/ctl.h"
#include "ctl/http.h"
#include "ctl/newdir.h"
#include "ctl/progress.h"
#include "ctl/text.h"
#include "store/backup_reader.h"
#include "store/restore.h"

/* ------------------------------------------------------------- what is in - */

static void say_bad_stream(enum err err, const char *name, uint64_t bytes)
{
	switch (err) {
	case ERR_INVALID:
		ctl_say("%s is not a backup", name);
		break;
	case ERR_VERSION:
		ctl_say("%s was written by a newer version", name);
		break;
	case ERR_CORRUPT:
		ctl_say("%s is damaged or cut short after byte %" PRIu64, name,
			bytes);
		break;
	default:
		ctl_say("%s: %s", name, err_text(err));
		break;
	}
}

static struct json_object *describe(const struct backup_reader *r)
{
	const struct backup_head *h = backup_reader_head(r);
	struct json_object *o = json_object_new_object();
	struct json_object *list = json_object_new_array();
	char id[33];

	text_hex(h->cluster_id, id);
	json_object_object_add(o, "bytes",
			       json_object_new_uint64(backup_reader_bytes(r)));
	json_object_object_add(
		o, "records", json_object_new_uint64(backup_reader_records(r)));
	json_object_object_add(o, "cluster", json_object_new_string(id));
	json_object_object_add(o, "node", json_object_new_uint64(h->node_id));
	json_object_object_add(o, "begun_s",
			       json_object_new_uint64(h->wall_ns / 1000000000));
	for (uint32_t i = 0; i < h->partitions; i++)
		json_object_array_add(
			list, json_object_new_uint64(h->parts[i].index));
	json_object_object_add(o, "revisions", list);
	return o;
}

/* "1.2 GiB, 3456 records, at revision 789" */
static void say_summary(FILE *to, const char *what,
			const struct backup_reader *r)
{
	const struct backup_head *h = backup_reader_head(r);
	char amount[PROGRESS_TEXT_BYTES];

	progress_amount(PROGRESS_BYTES, (double)backup_reader_bytes(r), amount);
	fprintf(to, "%s %s, %" PRIu64 " records, ", what, amount,
		backup_reader_records(r));
	if (h->partitions == 1)
		fprintf(to, "revision %" PRIu64 "\n", h->parts[0].index);
	else
		fprintf(to, "%u partitions\n", h->partitions);
}

/* ----------------------------------------------------------------- backup - */

struct backup {
	const char *name; /* of the file; "-"                                */
	int fd;
	bool is_stdout;
	bool stale;
	struct backup_reader *reader;
	struct progress progress;
	enum err err;  /* of the stream                                      */
	int write_err; /* errno                                              */
	uint64_t written;
};

/* The unfinished file, for a signal's handler. */
static char part_path[PATH_MAX];

static void die_tidily(int number)
{
	unlink(part_path);
	_exit(128 + number);
}

static bool write_all(struct backup *b, struct bytes in)
{
	while (in.n) {
		ssize_t n = write(b->fd, in.p, in.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			b->write_err = errno;
			return false;
		}
		b->written += (uint64_t)n;
		in = bytes_of(in.p + n, in.n - (size_t)n);
	}
	return true;
}

static bool take_piece(void *ctx, struct bytes piece)
{
	struct backup *b = ctx;

	b->err = backup_reader_feed(b->reader, piece);
	if (b->err || !write_all(b, piece))
		return false;
	progress_to(&b->progress, backup_reader_bytes(b->reader));
	return true;
}

/* About as many bytes as will come; 0: not known. */
static uint64_t estimate(const struct ctl *c)
{
	struct json_object *root = http_peek(c, "/_/status"), *storage, *live;
	uint64_t bytes = 0;

	if (root && json_object_object_get_ex(root, "storage", &storage) &&
	    json_object_object_get_ex(storage, "live_bytes", &live))
		bytes = json_object_get_uint64(live);
	json_object_put(root);
	return bytes;
}

/* From the one endpoint of c. *again: another node may do better. */
static enum ctl_exit stream(const struct ctl *c, struct backup *b, bool *again)
{
	const struct backup_events none = { .ctx = NULL };
	const struct http_request r = {
		.method = "GET",
		.path = b->stale ? "/_/snapshot?consistency=stale"
				 : "/_/snapshot",
		.sink = take_piece,
		.sink_ctx = b,
	};
	struct http_answer a;
	enum ctl_exit result;

	*again = true;
	backup_reader_free(b->reader);
	b->reader = NULL;
	b->err = backup_reader_new(&none, &b->reader);
	if (b->err)
		return CTL_RUNTIME;
	progress_begin(&b->progress, "backup", PROGRESS_BYTES, estimate(c));
	result = http_call(c, &r, &a);
	progress_end(&b->progress);
	if (result)
		return result;
	result = http_judge(&a);
	if (!result && !b->err && !b->write_err)
		b->err = backup_reader_end(b->reader);
	http_answer_done(&a);
	if (b->write_err) {
		*again = false;
		ctl_say("%s: %s", b->name, strerror(b->write_err));
		return CTL_RUNTIME;
	}
	if (b->err)
		say_bad_stream(b->err, c->endpoint[0],
			       backup_reader_bytes(b->reader));
	return b->err ? CTL_RUNTIME : result;
}

static bool rewind_file(struct backup *b)
{
	if (b->written == 0)
		return true;
	b->written = 0;
	return !b->is_stdout && ftruncate(b->fd, 0) == 0 &&
	       lseek(b->fd, 0, SEEK_SET) == 0;
}

/* One node after the other until one has given all of it. */
static enum ctl_exit stream_any(const struct ctl *c, struct backup *b)
{
	enum ctl_exit result = CTL_RUNTIME;
	bool again = true;

	for (int i = 0; i < c->endpoint_count && again; i++) {
		struct ctl one = *c;

		one.endpoint[0] = c->endpoint[i];
		one.endpoint_count = 1;
		result = stream(&one, b, &again);
		if (!result || !rewind_file(b))
			break;
	}
	return result;
}

static bool open_part(struct backup *b)
{
	struct sigaction die = { .sa_handler = die_tidily };
	struct stat st;

	/* The whole backup takes the name's place: a device would be gone. */
	if (stat(b->name, &st) == 0 && !S_ISREG(st.st_mode)) {
		ctl_say("%s is no regular file: \"backup -\" writes to "
			"standard output",
			b->name);
		return false;
	}
	if (snprintf(part_path, sizeof(part_path), "%s.XXXXXX", b->name) >=
	    (int)sizeof(part_path)) {
		ctl_say("%s: the name is too long", b->name);
		return false;
	}
	b->fd = mkstemp(part_path);
	if (b->fd < 0) {
		ctl_say("%s: %s", b->name, strerror(errno));
		return false;
	}
	sigaction(SIGINT, &die, NULL);
	sigaction(SIGTERM, &die, NULL);
	sigaction(SIGHUP, &die, NULL);
	return true;
}

/* The directory that holds path. */
static void sync_directory_of(const char *path)
{
	char dir[PATH_MAX];
	char *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (!slash)
		snprintf(dir, sizeof(dir), ".");
	else
		slash[slash == dir] = 0;
	(void)!vfs_sync_dir(vfs_os(), dir);
}

static enum ctl_exit name_part(struct backup *b)
{
	if (fsync(b->fd) || rename(part_path, b->name)) {
		ctl_say("%s: %s", b->name, strerror(errno));
		return CTL_RUNTIME;
	}
	sync_directory_of(b->name);
	return CTL_OK;
}

static void show_backup(const struct ctl *c, const struct backup *b)
{
	struct json_object *o;

	if (!c->json) {
		say_summary(b->is_stdout ? stderr : stdout, "backup of",
			    b->reader);
		return;
	}
	o = describe(b->reader);
	json_object_object_add(o, "file", json_object_new_string(b->name));
	if (b->is_stdout) {
		fprintf(stderr, "%s\n",
			json_object_to_json_string_ext(o,
						       JSON_C_TO_STRING_PLAIN));
		json_object_put(o);
	} else {
		text_print_json(o);
	}
}

enum ctl_exit verb_backup(struct ctl *c, int argc, char **argv)
{
	struct backup b = { .fd = STDOUT_FILENO };
	const struct args_option options[] = {
		{ .name = "--stale", .set = &b.stale },
		{ .name = NULL },
	};
	enum ctl_exit result;

	if (!args_take(&argc, argv, options, true) || argc != 1)
		return ctl_usage(c);
	b.name = argv[0];
	b.is_stdout = strcmp(b.name, "-") == 0;
	if (b.is_stdout && isatty(STDOUT_FILENO)) {
		ctl_say("a backup is no text for a terminal");
		return CTL_USAGE;
	}
	if (!b.is_stdout && !open_part(&b))
		return CTL_RUNTIME;
	result = stream_any(c, &b);
	if (!result && !b.is_stdout)
		result = name_part(&b);
	if (result && !b.is_stdout)
		unlink(part_path);
	if (!result)
		show_backup(c, &b);
	if (!b.is_stdout)
		close(b.fd);
	backup_reader_free(b.reader);
	return result ? result : ctl_flush();
}

/* ---------------------------------------------------------------- restore - */

enum { PAGE_BYTES = 4096, FILE_BYTES_MIN = 1 << 20 };
#define FILE_BYTES_MAX (4095ull << 20)

struct restoring {
	const char *name; /* of the file                                     */
	FILE *f;
	uint64_t file_bytes; /* 0: not known                                 */
	const char *node_name;
	uint64_t segment_bytes;
	bool check_only;
	struct newdir dir;
	struct seed seed;
	struct backup_reader *reader;
	struct restore *restore;
	struct buf why;
	uint64_t keys;	  /* of the new state                                 */
	char cluster[33]; /* the new cluster's id                            */
};

static volatile sig_atomic_t interrupted;

static void note_signal(int number)
{
	interrupted = number;
}

static enum err on_head(void *ctx, const struct backup_head *h)
{
	struct restoring *r = ctx;
	const struct restore_options o = {
		.vfs = vfs_os(),
		.clock = clock_os(),
		.seed = &r->seed,
		.dir = r->dir.work,
		.node_name = r->node_name,
		.segment_bytes = r->segment_bytes,
		.partitions = h->partitions,
		.parts = h->parts,
	};

	return r->check_only ? OK : restore_begin(&o, &r->restore, &r->why);
}

static enum err on_record(void *ctx, const struct record *rec)
{
	struct restoring *r = ctx;

	return r->check_only ? OK : restore_add(r->restore, rec);
}

static void say_restore_err(const struct restoring *r, enum err err)
{
	if (r->why.n)
		ctl_say("%.*s", (int)r->why.n, (const char *)r->why.p);
	else if (err == ERR_NOSPC || err == ERR_IO || err == ERR_PERMISSION)
		ctl_say("%s: %s", r->dir.path, err_text(err));
	else
		say_bad_stream(err, r->name, backup_reader_bytes(r->reader));
}

static enum ctl_exit read_stream(struct restoring *r)
{
	static uint8_t block[256 << 10];
	struct progress progress;
	enum err err = OK;
	size_t n = 1;

	progress_begin(&progress, r->check_only ? "check" : "restore",
		       PROGRESS_BYTES, r->file_bytes);
	while (!err && !interrupted && n > 0) {
		n = fread(block, 1, sizeof(block), r->f);
		err = backup_reader_feed(r->reader, bytes_of(block, n));
		progress_to(&progress, backup_reader_bytes(r->reader));
	}
	progress_end(&progress);
	if (interrupted) {
		ctl_say("interrupted: nothing was restored");
		return CTL_RUNTIME;
	}
	if (!err && ferror(r->f)) {
		ctl_say("%s cannot be read", r->name);
		return CTL_RUNTIME;
	}
	if (!err)
		err = backup_reader_end(r->reader);
	if (!err && !r->check_only)
		err = restore_commit(r->restore);
	if (err)
		say_restore_err(r, err);
	return err ? CTL_RUNTIME : CTL_OK;
}

static void show_restored(const struct ctl *c, const struct restoring *r)
{
	struct json_object *o;

	if (!c->json && r->check_only) {
		say_summary(stdout, "sound:", r->reader);
	} else if (!c->json) {
		say_summary(stdout, "restored", r->reader);
		printf("%" PRIu64 " keys in %s, new cluster %s\n", r->keys,
		       r->dir.path, r->cluster);
		if (backup_reader_head(r->reader)->partitions > 1)
			printf("set cluster.partitions = %u for its node\n",
			       backup_reader_head(r->reader)->partitions);
	} else {
		o = describe(r->reader);
		if (!r->check_only)
			json_object_object_add(o, "keys",
					       json_object_new_uint64(r->keys));
		if (!r->check_only)
			json_object_object_add(
				o, "new_cluster",
				json_object_new_string(r->cluster));
		text_print_json(o);
	}
}

/* Read it all; afterwards no file of the directory is open. */
static enum ctl_exit restore_stream(struct restoring *r)
{
	const struct backup_events events = { .head = on_head,
					      .record = on_record,
					      .ctx = r };
	enum ctl_exit result = CTL_RUNTIME;
	uint8_t cluster_id[16];

	if (seed_init_os(&r->seed) || backup_reader_new(&events, &r->reader))
		ctl_say("out of memory or of entropy");
	else
		result = read_stream(r);
	if (!result && !r->check_only) {
		restore_cluster_id(r->restore, cluster_id);
		text_hex(cluster_id, r->cluster);
		r->keys = restore_keys(r->restore);
	}
	restore_end(r->restore);
	r->restore = NULL;
	return result;
}

static bool open_file(struct restoring *r)
{
	struct stat st;

	if (strcmp(r->name, "-") == 0) {
		r->f = stdin;
		r->name = "standard input";
		return true;
	}
	r->f = fopen(r->name, "rb");
	if (!r->f) {
		ctl_say("%s: %s", r->name, strerror(errno));
		return false;
	}
	if (fstat(fileno(r->f), &st) == 0 && S_ISREG(st.st_mode))
		r->file_bytes = (uint64_t)st.st_size;
	return true;
}

/* Everything is made aside and counts at once, or not at all. */
static enum ctl_exit restore_to(struct restoring *r, const char *dir)
{
	struct sigaction note = { .sa_handler = note_signal };
	enum ctl_exit result = newdir_begin(&r->dir, dir);

	if (result)
		return result;
	sigaction(SIGINT, &note, NULL);
	sigaction(SIGTERM, &note, NULL);
	sigaction(SIGHUP, &note, NULL);
	guard_install();
	log_set_level(LOG_WARN);
	result = restore_stream(r);
	if (result)
		newdir_discard(&r->dir);
	else
		result = newdir_publish(&r->dir);
	return result;
}

enum ctl_exit verb_restore(struct ctl *c, int argc, char **argv)
{
	struct restoring r = { .node_name = "n1" };
	const char *dir = NULL, *segment = NULL;
	const struct args_option options[] = {
		{ .name = "--data-dir", .value = &dir },
		{ .name = "--name", .value = &r.node_name },
		{ .name = "--max-file-size", .value = &segment },
		{ .name = "--check", .set = &r.check_only },
		{ .name = NULL },
	};
	enum ctl_exit result;

	if (!args_take(&argc, argv, options, true) || argc != 1 ||
	    !dir != r.check_only)
		return ctl_usage(c);
	if (segment && (text_parse_bytes(segment, &r.segment_bytes) ||
			r.segment_bytes < FILE_BYTES_MIN ||
			r.segment_bytes > FILE_BYTES_MAX)) {
		ctl_say("--max-file-size: 1M to 4095M");
		return CTL_USAGE;
	}
	r.segment_bytes -= r.segment_bytes % PAGE_BYTES;
	r.name = argv[0];
	if (!open_file(&r))
		return CTL_RUNTIME;
	result = r.check_only ? restore_stream(&r) : restore_to(&r, dir);
	if (!result)
		show_restored(c, &r);
	backup_reader_free(r.reader);
	buf_done(&r.why);
	if (r.f != stdin)
		fclose(r.f);
	return result ? result : ctl_flush();
}
