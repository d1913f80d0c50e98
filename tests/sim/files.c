/*
 * tests/sim/files.c - clients that use the store as files.
 *
 * A few of them, each with one operation under way at a time, through any node:
 *
 *    loggers   append lines of their own to logs that all share
 *    a mover   renames a directory to and fro, or a file
 *    a writer  writes into the middle of a file, cuts it, punches holes
 *
 * What is the mover's and the writer's own is nobody else's, so each answer can
 * be foretold. After one whose outcome is unknown they begin with another
 * directory or file; the old one must still be whole at the end. Of the logs
 * every line is there exactly once where its answer said, at most once if the
 * outcome was unknown, and not at all if nothing was to happen.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "tests/sim/sim.h"

enum {
	ACTORS = 4,
	MOVER = 2,
	WRITER = 3,
	LOGS = 2,
	NAME_BYTES = 40,
	LINE_BYTES = 40,
	BLOB_BYTES = 300 << 10,
	WRITE_BYTES = 9000,
	THINK_MS = 400,
	ANSWER_MS_MAX = 60000,
};

enum told { TOLD_DONE, TOLD_NOTHING, TOLD_UNKNOWN };

/* A line of a log. */
struct line {
	char text[LINE_BYTES];
	uint32_t log;
	uint64_t off;
	enum told told;
};

struct actor {
	struct files *f;
	uint32_t number;
	bool busy, done;
	uint64_t due, asked_ns, node, starts;
	struct store_file_op op;
	char path[NAME_BYTES], path2[NAME_BYTES];
	uint8_t data[WRITE_BYTES];
	/* mover, writer: what they work on */
	uint32_t generation;
	bool made;
	uint32_t at;	/* mover: which name it has                         */
	uint64_t bytes; /* writer                                           */
	uint8_t blob[BLOB_BYTES];
};

struct files {
	struct sim *s;
	struct seed chance; /* of its own: others draw what they drew        */
	struct line *lines;
	uint32_t line_count, line_cap;
	struct actor actor[ACTORS];
};

static uint64_t draw(struct files *f, uint64_t below)
{
	return seed_below(&f->chance, below);
}

static struct store *store_of(struct actor *a)
{
	return a->f->s->c.node[a->node].store;
}

static void think(struct actor *a)
{
	struct sim *s = a->f->s;

	a->due = s->c.now_ns + SIM_MS * (1 + draw(a->f, 2 * THINK_MS));
	a->due = sim_busy(s, a->due);
}

/* --------------------------------------------------------------- asking -- */

static void op_done(struct store_file_op *op)
{
	struct actor *a = op->user;

	a->done = true;
	a->due = a->f->s->c.now_ns;
}

static void set_op(struct actor *a, enum store_file_kind kind, uint32_t flags)
{
	a->op = (struct store_file_op){ .kind = kind,
					.flags = flags,
					.path = bytes_str(a->path),
					.done = op_done,
					.user = a };
}

static void set_append(struct actor *a)
{
	struct files *f = a->f;
	struct line *l;

	if (f->line_count == f->line_cap) {
		f->line_cap = f->line_cap ? 2 * f->line_cap : 256;
		f->lines = realloc(f->lines, f->line_cap * sizeof(*f->lines));
		CHECK(f->lines);
	}
	l = &f->lines[f->line_count++];
	*l = (struct line){ .log = (uint32_t)draw(f, LOGS),
			    .told = TOLD_UNKNOWN };
	snprintf(l->text, sizeof(l->text), "<%u:%u:%0*d>", a->number,
		 f->line_count, (int)draw(f, 16) + 1, 0);
	snprintf(a->path, sizeof(a->path), "logs%u/all", l->log);
	memcpy(a->data, l->text, strlen(l->text));
	set_op(a, STORE_FILE_WRITE, STORE_FILE_APPEND | STORE_FILE_MAKE);
	a->op.data = bytes_of(a->data, strlen(l->text));
	a->bytes = f->line_count - 1; /* which line it is */
}

static void name_of_move(const struct actor *a, uint32_t generation,
			 uint32_t at, bool file, char *name)
{
	bool alone = (a->f->s->plan.seed + generation) % 2;

	snprintf(name, NAME_BYTES, "move%u/%s%s", generation, at ? "b" : "a",
		 file && !alone ? "/f" : "");
}

static void set_move(struct actor *a)
{
	if (!a->made) {
		name_of_move(a, a->generation, 0, true, a->path);
		set_op(a, STORE_FILE_CREATE, 0);
		a->op.mode = 0100644;
		a->op.data = bytes_str(a->path);
		return;
	}
	name_of_move(a, a->generation, a->at, false, a->path);
	name_of_move(a, a->generation, 1 - a->at, false, a->path2);
	set_op(a, STORE_FILE_RENAME,
	       draw(a->f, 2) ? STORE_FILE_NOREPLACE : STORE_FILE_POSIX);
	a->op.path2 = bytes_str(a->path2);
}

static void set_write(struct actor *a)
{
	uint64_t off = draw(a->f, BLOB_BYTES - WRITE_BYTES);
	uint64_t n = 1 + draw(a->f, draw(a->f, 3) ? 100 : WRITE_BYTES);

	snprintf(a->path, sizeof(a->path), "blob%u", a->generation);
	set_op(a, STORE_FILE_WRITE, STORE_FILE_MAKE);
	a->op.off = draw(a->f, 2) && a->bytes ? draw(a->f, a->bytes) : off;
	if (a->op.off > BLOB_BYTES - n)
		a->op.off = BLOB_BYTES - n;
	switch (draw(a->f, 8)) {
	case 0:
		if (!a->made)
			break;
		a->op.kind = STORE_FILE_SET;
		a->op.flags = 0;
		a->op.set = STORE_SET_BYTES;
		return;
	case 1:
		if (!a->made)
			break;
		a->op.kind = STORE_FILE_ALLOCATE;
		a->op.flags = STORE_FILE_PUNCH;
		a->op.length = n * 10;
		return;
	default:
		break;
	}
	for (uint64_t i = 0; i < n; i++)
		a->data[i] = (uint8_t)draw(a->f, 256);
	a->op.data = bytes_of(a->data, n);
}

static void ask(struct actor *a)
{
	struct sim *s = a->f->s;
	enum err err;

	a->node = sim_any_node(s);
	if (!a->node || !cluster_awake(&s->c, a->node)) {
		think(a);
		return;
	}
	if (a->number < MOVER)
		set_append(a);
	else if (a->number == MOVER)
		set_move(a);
	else
		set_write(a);
	a->starts = s->c.node[a->node].starts;
	a->asked_ns = s->c.now_ns;
	a->done = false;
	a->busy = true;
	a->due = CLUSTER_NEVER;
	err = store_file_change(store_of(a), &a->op);
	if (!err)
		return;
	if (err != ERR_FULL && err != ERR_STARTING && err != ERR_CLOSED)
		sim_fail(s, "store_file_change: %s", err_text(err));
	if (a->number < MOVER)
		a->f->line_count--;
	a->busy = false;
	think(a);
}

/* -------------------------------------------------------------- answers -- */

static enum told judge(struct actor *a)
{
	struct sim *s = a->f->s;

	switch (a->op.err) {
	case OK:
		return TOLD_DONE;
	case ERR_UNKNOWN:
		s->count[SIM_unknown_outcomes]++;
		return TOLD_UNKNOWN;
	case ERR_NO_LEADER:
	case ERR_CLOSED:
	case ERR_NOSPC:
	case ERR_FULL:
	case ERR_BUSY:
	case ERR_STARTING:
		return TOLD_NOTHING;
	case ERR_CORRUPT:
		if (s->plan.victims)
			return TOLD_NOTHING;
		/* fall through */
	default:
		sim_fail(s, "file client %u: kind %d of %s %s: %s", a->number,
			 (int)a->op.kind, a->path, a->path2,
			 err_text(a->op.err));
	}
}

/* Another directory or file: of this one the state is not known. */
static void begin_anew(struct actor *a)
{
	a->generation++;
	a->made = false;
	a->at = 0;
	a->bytes = 0;
	memset(a->blob, 0, sizeof(a->blob));
}

static void expect_stat(struct actor *a, const char *path, enum err want)
{
	struct store_file file;
	enum err err = store_file_stat(store_of(a), bytes_str(path), &file);

	if (err != want &&
	    !((err == ERR_CORRUPT || err == ERR_IO) && a->f->s->plan.victims))
		sim_fail(a->f->s, "file client %u: after entry %llu %s is: %s",
			 a->number, (unsigned long long)a->op.revision, path,
			 err_text(err));
}

/* It is done, hence to be seen, on the node that said so. */
static void moved(struct actor *a, bool alive)
{
	char name[NAME_BYTES];

	if (a->op.kind == STORE_FILE_CREATE) {
		a->made = true;
		return;
	}
	a->at = 1 - a->at;
	a->f->s->count[SIM_renames]++;
	if (!alive)
		return;
	name_of_move(a, a->generation, a->at, true, name);
	expect_stat(a, name, OK);
	name_of_move(a, a->generation, 1 - a->at, true, name);
	expect_stat(a, name, ERR_NOT_FOUND);
}

static void follow_write(struct actor *a)
{
	uint64_t off = a->op.off, n = a->op.data.n;

	switch (a->op.kind) {
	case STORE_FILE_SET:
		if (off < a->bytes)
			memset(a->blob + off, 0, a->bytes - off);
		a->bytes = off;
		return;
	case STORE_FILE_ALLOCATE:
		n = a->op.length;
		if (off >= a->bytes)
			return;
		memset(a->blob + off, 0,
		       n < a->bytes - off ? n : a->bytes - off);
		return;
	default:
		memcpy(a->blob + off, a->data, n);
		if (off + n > a->bytes)
			a->bytes = off + n;
		a->made = true;
		return;
	}
}

/* The whole file through store is what was written. */
static void expect_blob(struct actor *a, struct store *store, bool damage_ok)
{
	static uint8_t got[BLOB_BYTES + 1];
	char path[NAME_BYTES];
	size_t n;
	enum err err;

	snprintf(path, sizeof(path), "blob%u", a->generation);
	err = store_file_read(store, bytes_str(path), 0, 0, got, sizeof(got),
			      &n);
	if ((err == ERR_CORRUPT || err == ERR_IO) && damage_ok)
		return;
	if (err || n != a->bytes || memcmp(got, a->blob, n) != 0)
		sim_fail(a->f->s,
			 "%s: %s, %zu bytes, of %llu that were written", path,
			 err_text(err), n, (unsigned long long)a->bytes);
}

static void answered(struct actor *a)
{
	struct sim *s = a->f->s;
	struct cluster_node *n = &s->c.node[a->node];
	bool alive = n->store && n->starts == a->starts;
	enum told told = judge(a);

	a->busy = false;
	think(a);
	sim_trace(s,
		  "file client %u: kind %d of %s %s through n%llu: %s rev %llu",
		  a->number, (int)a->op.kind, a->path, a->path2,
		  (unsigned long long)a->node, err_text(a->op.err),
		  (unsigned long long)a->op.revision);
	sim_mix(s, (uint64_t)a->op.err << 56 ^ a->op.revision);
	s->count[SIM_file_changes] += told == TOLD_DONE;
	if (a->number < MOVER) {
		struct line *l = &a->f->lines[a->bytes];

		l->told = told;
		l->off = a->op.found_off;
		return;
	}
	if (told == TOLD_UNKNOWN)
		begin_anew(a);
	if (told != TOLD_DONE)
		return;
	if (a->number == MOVER) {
		moved(a, alive);
		return;
	}
	follow_write(a);
	if (alive && draw(a->f, 4) == 0)
		expect_blob(a, n->store, s->plan.victims != 0);
}

/* ------------------------------------------------------------------ round  */

void files_start(struct sim *s)
{
	struct files *f;

	if (!s->plan.files)
		return;
	f = calloc(1, sizeof(*f));
	CHECK(f);
	f->s = s;
	seed_init(&f->chance, s->plan.seed ^ 0xf11e5);
	for (uint32_t i = 0; i < ACTORS; i++) {
		f->actor[i].f = f;
		f->actor[i].number = i;
		think(&f->actor[i]);
	}
	s->files = f;
}

uint64_t files_due(struct sim *s)
{
	uint64_t due = CLUSTER_NEVER;

	for (uint32_t i = 0; s->files && i < ACTORS; i++) {
		const struct actor *a = &s->files->actor[i];

		if ((!s->ending || a->busy) && a->due < due)
			due = a->due;
	}
	return due;
}

void files_run(struct sim *s)
{
	for (uint32_t i = 0; s->files && i < ACTORS; i++) {
		struct actor *a = &s->files->actor[i];

		if (a->due > s->c.now_ns)
			continue;
		if (a->busy && a->done)
			answered(a);
		else if (!a->busy && !s->ending)
			ask(a);
	}
}

bool files_idle(struct sim *s)
{
	for (uint32_t i = 0; s->files && i < ACTORS; i++) {
		const struct actor *a = &s->files->actor[i];

		if (!a->busy)
			continue;
		if (s->c.now_ns - a->asked_ns > ANSWER_MS_MAX * SIM_MS)
			sim_fail(s, "file client %u waited too long", i);
		return false;
	}
	return true;
}

/* ---------------------------------------------------------------- the end  */

static uint32_t times_in(struct bytes whole, const char *text)
{
	size_t n = strlen(text);
	uint32_t times = 0;

	for (size_t i = 0; i + n <= whole.n; i++)
		times += whole.p[i] == (uint8_t)text[0] &&
			 memcmp(whole.p + i, text, n) == 0;
	return times;
}

/* Bytes of the log that l accounts for. */
static uint64_t check_line(struct sim *s, struct bytes whole,
			   const struct line *l)
{
	uint32_t times = times_in(whole, l->text);
	size_t n = strlen(l->text);
	bool good = times <= 1;

	if (l->told == TOLD_NOTHING)
		good = times == 0;
	if (l->told == TOLD_DONE)
		good = times == 1 && l->off + n <= whole.n &&
		       memcmp(whole.p + l->off, l->text, n) == 0;
	if (!good)
		sim_fail(s, "logs%u: %s is there %u times, told %d at %llu",
			 l->log, l->text, times, (int)l->told,
			 (unsigned long long)l->off);
	return times * n;
}

static void check_log(struct files *f, struct store *store, uint32_t log)
{
	char path[NAME_BYTES];
	struct store_file file = { 0 };
	uint64_t sum = 0;
	uint8_t *whole;
	size_t n = 0;
	enum err err;

	snprintf(path, sizeof(path), "logs%u/all", log);
	err = store_file_stat(store, bytes_str(path), &file);
	whole = malloc(file.bytes + 1);
	CHECK(whole);
	if (!err)
		err = store_file_read(store, bytes_str(path), file.ino, 0,
				      whole, file.bytes + 1, &n);
	if (err && err != ERR_NOT_FOUND)
		sim_fail(f->s, "%s: %s", path, err_text(err));
	for (uint32_t i = 0; i < f->line_count; i++)
		if (f->lines[i].log == log)
			sum += check_line(f->s, bytes_of(whole, n),
					  &f->lines[i]);
	if (sum != n || n != file.bytes)
		sim_fail(f->s, "%s has %zu bytes, %llu are of lines", path, n,
			 (unsigned long long)sum);
	free(whole);
}

/* Each directory that was made has exactly one of its names, and its file. */
static void check_moves(struct actor *a, struct store *store)
{
	for (uint32_t g = 0; g <= a->generation; g++) {
		char name[NAME_BYTES], first[NAME_BYTES];
		uint32_t there = 0;

		name_of_move(a, g, 0, true, first);
		for (uint32_t at = 0; at < 2; at++) {
			struct store_file file;

			name_of_move(a, g, at, true, name);
			if (store_file_stat(store, bytes_str(name), &file))
				continue;
			there++;
			if (file.bytes != strlen(first))
				sim_fail(a->f->s, "%s has %llu bytes", name,
					 (unsigned long long)file.bytes);
		}
		if (g < a->generation ? there > 1 : there != a->made)
			sim_fail(a->f->s, "move%u is there %u times", g, there);
	}
}

void files_check(struct sim *s, uint64_t id)
{
	struct files *f = s->files;
	struct store *store = s->c.node[id].store;

	if (!f || !store || s->c.node[id].removed)
		return;
	for (uint32_t log = 0; log < LOGS; log++)
		check_log(f, store, log);
	check_moves(&f->actor[MOVER], store);
	if (f->actor[WRITER].made)
		expect_blob(&f->actor[WRITER], store, false);
}

void files_done(struct sim *s)
{
	if (!s->files)
		return;
	free(s->files->lines);
	free(s->files);
	s->files = NULL;
}
