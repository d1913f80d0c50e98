/*
 * tests/store/test_files_model.c - files against a plain model of a tree.
 *
 * Random operations of a mount and of HTTP clients on a few paths, handed in
 * several at a time so that they are decided on what is not applied yet; some
 * have many names. After each batch the store must show exactly what the model
 * has: kinds, numbers, names, modes, values, attributes, subdirectories.
 * Restarts and power losses in between. SEED=n replays one run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "store/file_internal.h"
#include "tests/lib/file_model.h"
#include "tests/lib/store_rig.h"

enum { STEPS = 400, SEEDS = 10, BATCH_MAX = 6 };

/* Where things are made; a rename makes more. */
static const char *const places[] = { "a",   "b",     "d",     "d/a",  "d/b",
				      "d/e", "d/e/a", "d/e/b", "d/e2", "f/x",
				      "f",   "f/y/z", "f/y" };
enum { PLACES = sizeof(places) / sizeof(places[0]) };

static struct store_rig rig;
static struct seed chance;
static uint64_t seed_now;

static uint32_t draw(uint32_t below)
{
	return (uint32_t)seed_below(&chance, below);
}

/* --------------------------------------------------------------- handing - */

static void file_done(struct store_file_op *op)
{
	struct file_job *j = op->user;

	j->err = op->err;
	j->done = true;
}

static void write_done(struct store_write *w)
{
	struct file_job *j = w->user;

	j->err = w->err;
	j->done = true;
}

static void set_create(const struct file_job *j, struct store_file_op *op)
{
	op->kind = STORE_FILE_CREATE;
	op->mode = j->mode | j->type;
	op->fields = STORE_HAS_MODE;
	if (S_ISREG(j->type))
		op->data = bytes_of(file_model_data(j->which), j->bytes);
	if (S_ISLNK(j->type))
		op->data = bytes_str("the/target");
}

static void hand_in_file(struct file_job *j)
{
	struct store_file_op *op = &j->file;

	*op = (struct store_file_op){
		.path = bytes_str(j->path),
		.flags = STORE_FILE_POSIX | j->flags,
		.done = file_done,
		.user = j,
	};
	switch (j->kind) {
	case JOB_CREATE:
		set_create(j, op);
		break;
	case JOB_REMOVE:
		op->kind = STORE_FILE_REMOVE;
		break;
	case JOB_LINK:
	case JOB_RENAME:
		op->kind = j->kind == JOB_LINK ? STORE_FILE_LINK
					       : STORE_FILE_RENAME;
		op->path2 = bytes_str(j->path2);
		break;
	case JOB_CHMOD:
		op->kind = STORE_FILE_SET;
		op->set = STORE_SET_MODE;
		op->mode = j->mode;
		break;
	case JOB_RESIZE:
		op->kind = STORE_FILE_SET;
		op->set = STORE_SET_BYTES;
		op->off = j->off;
		break;
	case JOB_WRITE:
		op->kind = STORE_FILE_WRITE;
		op->off = j->off;
		op->data = bytes_of(file_model_data(j->which), j->bytes);
		break;
	default:
		op->kind = STORE_FILE_XATTR;
		op->name = bytes_str("user.x");
		if (!(j->flags & STORE_FILE_XATTR_REMOVE))
			op->data = bytes_of(&j->which, 1);
	}
	assert_int_equal(store_file_change(rig.store, op), OK);
}

static void hand_in_write(struct file_job *j)
{
	struct store_write *w = &j->write;

	*w = (struct store_write){ .then_ops = &j->op,
				   .then_count = 1,
				   .done = write_done,
				   .user = j };
	j->op = (struct store_op){
		.kind = j->kind == JOB_DELETE ? STORE_DELETE : STORE_PUT,
		.key = bytes_str(j->key),
		.value = j->kind == JOB_PUT
				 ? bytes_of(file_model_data(j->which), j->bytes)
				 : bytes_of(NULL, 0),
	};
	if (j->kind == JOB_DELETE_PREFIX) {
		w->delete_prefix = true;
		w->prefix = j->op.key;
		w->then_ops = NULL;
		w->then_count = 0;
	}
	assert_int_equal(store_write(rig.store, w), OK);
}

/* --------------------------------------------------------------- drawing - */

static void draw_path(char path[MODEL_PATH_BYTES])
{
	if (file_model.name_count > 0 && draw(2))
		memcpy(path,
		       file_model.names[draw((uint32_t)file_model.name_count)]
			       .path,
		       MODEL_PATH_BYTES);
	else
		snprintf(path, MODEL_PATH_BYTES, "%s", places[draw(PLACES)]);
}

static uint32_t draw_flags(enum file_job_kind kind)
{
	static const uint32_t write[] = { 0,
					  0,
					  STORE_FILE_APPEND,
					  STORE_FILE_MAKE,
					  STORE_FILE_TRUNCATE,
					  STORE_FILE_MAKE | STORE_FILE_APPEND,
					  STORE_FILE_MAKE |
						  STORE_FILE_TRUNCATE };
	static const uint32_t rename[] = { 0, 0, STORE_FILE_NOREPLACE,
					   STORE_FILE_EXCHANGE };

	switch (kind) {
	case JOB_REMOVE:
		return draw(2) ? STORE_FILE_DIRECTORY : 0;
	case JOB_XATTR:
		return draw(3) ? 0 : STORE_FILE_XATTR_REMOVE;
	case JOB_WRITE:
		return write[draw(7)];
	case JOB_RENAME:
		return rename[draw(4)];
	default:
		return 0;
	}
}

/* A directory is not moved below itself, and no path gets too long. */
static bool is_possible(const struct file_job *j)
{
	if (j->kind != JOB_RENAME)
		return true;
	return !file_model_is_below(j->path2, j->path) &&
	       !file_model_is_below(j->path, j->path2) &&
	       strlen(j->path) < 20 && strlen(j->path2) < 12;
}

static void draw_job(struct file_job *j)
{
	static const uint32_t types[] = { S_IFREG, S_IFREG, S_IFDIR,
					  S_IFDIR, S_IFLNK, S_IFIFO };
	static const uint32_t sizes[] = { 0,	1,     100,	 4096,
					  5000, 70000, MODEL_BIG };

	do {
		*j = (struct file_job){
			.kind = draw(24) ? draw(JOB_DELETE_PREFIX)
					 : JOB_DELETE_PREFIX,
			.type = types[draw(6)],
			.mode = draw(010000),
			.bytes = sizes[draw(7)],
			.off = draw(2) ? sizes[draw(7)] : draw(MODEL_BIG),
			.which = (uint8_t)draw(256),
		};
		j->flags = draw_flags(j->kind);
		draw_path(j->path);
		draw_path(j->path2);
	} while (!is_possible(j));
	snprintf(j->key, sizeof(j->key), "%s%s", j->path,
		 j->kind == JOB_PUT_DIR ||
				 (j->kind == JOB_DELETE_PREFIX && draw(3) > 0)
			 ? "/"
			 : "");
}

/* ---------------------------------------------------------------- checks - */

static void check_value(const char *path, const struct model_inode *n)
{
	struct buf b = BUF_INIT;
	uint8_t piece[64];
	size_t got;

	assert_int_equal(store_rig_read(&rig, bytes_str(path), &b), OK);
	assert_int_equal(b.n, n->bytes);
	if (b.n > 0)
		assert_memory_equal(b.p, n->data, b.n);
	if (b.n > 0 && S_ISREG(n->type)) {
		size_t off = draw((uint32_t)b.n);

		assert_int_equal(store_file_read(rig.store, bytes_str(path), 0,
						 off, piece, sizeof(piece),
						 &got),
				 OK);
		assert_int_equal(got, b.n - off < 64 ? b.n - off : 64);
		assert_memory_equal(piece, n->data + off, got);
	}
	buf_done(&b);
}

static void check_xattr(const char *path, const struct model_inode *n)
{
	struct buf b = BUF_INIT;
	enum err err = store_xattr_get(rig.store, bytes_str(path), 0,
				       bytes_str("user.x"), &b);

	assert_int_equal(err, n->has_xattr ? OK : ERR_NO_ATTR);
	if (n->has_xattr)
		assert_true(b.n == 1 && b.p[0] == n->xattr);
	buf_done(&b);
}

/* Is this, of all names below dir, the first of its subdirectory? */
static bool is_new_subdir(const char *dir, int name)
{
	const char *path = file_model.names[name].path, *slash;
	size_t n = strlen(dir) + (dir[0] != 0);

	if (!file_model_is_below(path, dir))
		return false;
	slash = strchr(path + n, '/');
	if (!slash && !file_model_is_dir(path))
		return false;
	n = slash ? (size_t)(slash - path) : strlen(path);
	for (int i = 0; i < name; i++) {
		const char *other = file_model.names[i].path;

		if (strncmp(other, path, n) == 0 &&
		    (other[n] == 0 || other[n] == '/'))
			return false;
	}
	return true;
}

static void check_subdirs(const char *path)
{
	uint64_t count = 0, expected = 0;

	assert_int_equal(store_subdirs(rig.store, bytes_str(path), &count), OK);
	for (int i = 0; i < file_model.name_count; i++)
		expected += is_new_subdir(path, i);
	assert_int_equal(count, expected);
}

static void check_others(const char *path, const struct store_file *f)
{
	for (int i = 0; i < file_model.name_count; i++) {
		const char *other = file_model.names[i].path;
		struct store_file o;

		assert_int_equal(
			store_file_stat(rig.store, bytes_str(other), &o), OK);
		assert_int_equal(o.ino == f->ino,
				 file_model_inode(other) ==
					 file_model_inode(path));
	}
}

static void check_path(const char *path)
{
	struct model_inode *n = file_model_inode(path);
	struct store_file f;
	enum err err = store_file_stat(rig.store, bytes_str(path), &f);

	if (!file_model_exists(path)) {
		assert_int_equal(err, file_model_absence(path));
		return;
	}
	assert_int_equal(err, OK);
	if (file_model_is_dir(path))
		check_subdirs(path);
	assert_int_equal(f.implicit, !n);
	if (!n) {
		assert_true(f.ino == file_implicit_ino(bytes_str(path)));
		return;
	}
	if (!n->ino)
		n->ino = f.ino;
	assert_true(f.ino == n->ino);
	assert_int_equal(f.mode, n->type | n->mode);
	assert_int_equal(!!(f.fields & STORE_HAS_MODE), n->has_mode);
	assert_int_equal(f.nlink, n->names);
	assert_int_equal(f.bytes, n->bytes);
	assert_true(f.stored_bytes <= f.bytes);
	assert_int_equal(f.has_xattrs, n->has_xattr);
	check_xattr(path, n);
	if (!S_ISDIR(n->type))
		check_value(path, n);
	check_others(path, &f);
}

/* Files that nobody names any more have left nothing. */
static void check_rest(void)
{
	struct engine_partition_info info;
	uint64_t most = 8; /* the root, the store's own */

	for (int i = 0; i < file_model.name_count; i++) {
		struct model_inode *n =
			&file_model.inodes[file_model.names[i].inode];

		/* chunks, and extents over them: at most 17 each */
		most += 3 + 18 * (n->bytes / STORE_CHUNK_BYTES + 1);
	}
	engine_partition_info(rig.engine, 0, &info);
	assert_true(info.keys <= most);
}

static void check_all(void)
{
	for (int i = 0; i < PLACES; i++)
		check_path(places[i]);
	for (int i = 0; i < file_model.name_count; i++)
		check_path(file_model.names[i].path);
	check_subdirs("");
	check_rest();
}

static void run_batch(uint32_t count)
{
	struct file_job jobs[BATCH_MAX];
	bool all = false;

	for (uint32_t i = 0; i < count; i++) {
		draw_job(&jobs[i]);
		jobs[i].expected = file_model_run(&jobs[i]);
		if (jobs[i].kind < JOB_PUT)
			hand_in_file(&jobs[i]);
		else
			hand_in_write(&jobs[i]);
	}
	while (!all) {
		assert_int_equal(store_rig_step(&rig), OK);
		all = true;
		for (uint32_t i = 0; i < count; i++)
			all &= jobs[i].done;
	}
	for (uint32_t i = 0; i < count; i++) {
		if (jobs[i].err != jobs[i].expected)
			print_error(
				"seed %llu: kind %d of %s (%s): %s, not %s\n",
				(unsigned long long)seed_now, jobs[i].kind,
				jobs[i].path, jobs[i].path2,
				err_text(jobs[i].err),
				err_text(jobs[i].expected));
		assert_int_equal(jobs[i].err, jobs[i].expected);
	}
}

static void run_seed(uint64_t seed)
{
	seed_now = seed;
	seed_init(&chance, seed);
	file_model_reset();
	store_rig_init(&rig, seed, 1);
	rig.max_value_bytes = MODEL_BYTES_MAX;
	store_rig_stop(&rig);
	store_rig_start(&rig);
	for (int step = 0; step < STEPS; step++) {
		run_batch(1 + draw(BATCH_MAX));
		check_all();
		if (draw(50) == 0) {
			store_rig_stop(&rig);
			store_rig_start(&rig);
			check_all();
		} else if (draw(50) == 0) {
			store_rig_crash(&rig);
			check_all();
		}
	}
	store_rig_done(&rig);
}

static void files_are_as_in_the_model(void **state)
{
	const char *one = getenv("SEED");

	if (one) {
		run_seed(strtoull(one, NULL, 10));
		return;
	}
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run_seed(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_are_as_in_the_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
