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
#include "tests/lib/store_rig.h"

enum { STEPS = 400, SEEDS = 10, BATCH_MAX = 6, BIG = 150000 };

static const char *const paths[] = { "a",   "b",     "d",     "d/a",  "d/b",
				     "d/e", "d/e/a", "d/e/b", "d/e2", "f/x",
				     "f",   "f/y/z", "f/y" };
enum { PATHS = sizeof(paths) / sizeof(paths[0]) };

struct inode {
	uint32_t type, mode, names;
	bool has_mode, has_xattr;
	uint8_t fill, xattr;
	uint32_t bytes;
	uint64_t ino; /* 0: not seen yet */
};

struct model {
	struct inode inodes[4096];
	uint32_t inode_count;
	int at[PATHS]; /* inode, or -1 */
};

static struct store_rig rig;
static struct model model;
static struct seed chance;
static uint64_t seed_now;
static uint8_t fills[256][BIG];

static uint32_t draw(uint32_t below)
{
	return (uint32_t)seed_below(&chance, below);
}

static bool is_below(int path, int dir)
{
	size_t n = strlen(paths[dir]);

	return strncmp(paths[path], paths[dir], n) == 0 &&
	       paths[path][n] == '/';
}

static struct inode *inode_at(int path)
{
	return path >= 0 && model.at[path] >= 0 ? &model.inodes[model.at[path]]
						: NULL;
}

static bool has_children(int dir)
{
	for (int i = 0; i < PATHS; i++) {
		if (is_below(i, dir) && model.at[i] >= 0)
			return true;
	}
	return false;
}

static bool is_dir(int path)
{
	struct inode *n = inode_at(path);

	return n ? S_ISDIR(n->type) : has_children(path);
}

static bool exists(int path)
{
	return model.at[path] >= 0 || has_children(path);
}

static bool under_a_file(int path)
{
	for (int i = 0; i < PATHS; i++) {
		if (is_below(path, i) && inode_at(i) && !is_dir(i))
			return true;
	}
	return false;
}

/* -1: the root; -2: none of the paths. */
static int parent_of(int path)
{
	const char *slash = strrchr(paths[path], '/');

	if (!slash)
		return -1;
	for (int i = 0; i < PATHS; i++) {
		if (strlen(paths[i]) == (size_t)(slash - paths[path]) &&
		    strncmp(paths[i], paths[path], strlen(paths[i])) == 0)
			return i;
	}
	return -2;
}

static int new_inode(uint32_t type)
{
	struct inode *n = &model.inodes[model.inode_count];

	assert_true(model.inode_count < 4096);
	*n = (struct inode){ .type = type, .names = 1 };
	return (int)model.inode_count++;
}

/* A change through the mount makes the directory explicit. */
static void touch(int dir)
{
	if (dir < 0 || inode_at(dir))
		return;
	model.at[dir] = new_inode(S_IFDIR);
	inode_at(dir)->ino = file_implicit_ino(bytes_str(paths[dir]));
}

static void drop(int path)
{
	inode_at(path)->names--;
	model.at[path] = -1;
}

/* ------------------------------------------------------------ operations - */

enum kind {
	CREATE,
	REMOVE,
	LINK,
	CHMOD,
	XATTR,
	PUT,
	PUT_DIR,
	DELETE,
	DELETE_PREFIX,
	KINDS
};

struct job {
	enum kind kind;
	int path, path2;
	uint32_t type, mode, bytes, flags;
	uint8_t fill;
	enum err expected, err;
	bool done;
	struct store_file_op file;
	struct store_op op;
	struct store_write write;
	char key[32], value[2];
};

static enum err check_parent(int path)
{
	int dir = parent_of(path);

	if (under_a_file(path))
		return ERR_NOT_DIR;
	return dir >= 0 && !exists(dir) ? ERR_NOT_FOUND : OK;
}

static enum err model_create(const struct job *j)
{
	enum err err = exists(j->path) ? ERR_EXISTS : check_parent(j->path);
	struct inode *n;

	if (err)
		return err;
	model.at[j->path] = new_inode(j->type);
	n = inode_at(j->path);
	n->mode = j->mode;
	n->has_mode = true;
	n->fill = j->fill;
	n->bytes = S_ISREG(j->type) ? j->bytes : S_ISLNK(j->type) ? 10 : 0;
	touch(parent_of(j->path));
	return OK;
}

static enum err absence(int path)
{
	return under_a_file(path) ? ERR_NOT_DIR : ERR_NOT_FOUND;
}

static enum err model_remove(const struct job *j)
{
	bool directory = j->flags & STORE_FILE_DIRECTORY;

	if (!exists(j->path))
		return absence(j->path);
	if (directory != is_dir(j->path))
		return directory ? ERR_NOT_DIR : ERR_IS_DIR;
	if (directory && has_children(j->path))
		return ERR_NOT_EMPTY;
	touch(parent_of(j->path));
	drop(j->path);
	return OK;
}

static enum err model_link(const struct job *j)
{
	enum err err;

	if (!exists(j->path))
		return absence(j->path);
	if (is_dir(j->path))
		return ERR_IS_DIR;
	err = exists(j->path2) ? ERR_EXISTS : check_parent(j->path2);
	if (err)
		return err;
	model.at[j->path2] = model.at[j->path];
	inode_at(j->path)->names++;
	touch(parent_of(j->path2));
	return OK;
}

static enum err model_chmod(const struct job *j)
{
	if (!exists(j->path))
		return absence(j->path);
	touch(j->path);
	inode_at(j->path)->mode = j->mode;
	inode_at(j->path)->has_mode = true;
	return OK;
}

static enum err model_xattr(const struct job *j)
{
	if (!exists(j->path))
		return absence(j->path);
	if (j->flags & STORE_FILE_XATTR_REMOVE &&
	    !(inode_at(j->path) && inode_at(j->path)->has_xattr))
		return ERR_NO_ATTR;
	touch(j->path);
	inode_at(j->path)->has_xattr = !(j->flags & STORE_FILE_XATTR_REMOVE);
	inode_at(j->path)->xattr = j->fill;
	return OK;
}

static enum err model_put(const struct job *j)
{
	struct inode *n = inode_at(j->path);

	if (is_dir(j->path))
		return ERR_IS_DIR;
	if (n && !S_ISREG(n->type))
		return ERR_NOT_FILE;
	if (!n && under_a_file(j->path))
		return ERR_NOT_DIR;
	if (!n) {
		model.at[j->path] = new_inode(S_IFREG);
		n = inode_at(j->path);
	}
	n->fill = j->fill;
	n->bytes = j->bytes;
	return OK;
}

static enum err model_put_dir(const struct job *j)
{
	struct inode *n = inode_at(j->path);

	if (n && S_ISDIR(n->type))
		return OK;
	if (n || under_a_file(j->path))
		return ERR_NOT_DIR;
	if (has_children(j->path))
		touch(j->path);
	else
		model.at[j->path] = new_inode(S_IFDIR);
	return OK;
}

/* The key of the file, not of the directory. */
static enum err model_delete(const struct job *j)
{
	if (is_dir(j->path))
		return ERR_IS_DIR;
	if (inode_at(j->path))
		drop(j->path);
	return OK;
}

static enum err model_delete_prefix(const struct job *j)
{
	for (int i = 0; i < PATHS; i++) {
		struct inode *n = inode_at(i);
		char key[32];

		if (!n)
			continue;
		snprintf(key, sizeof(key), "%s%s", paths[i],
			 S_ISDIR(n->type) ? "/" : "");
		if (strncmp(key, j->key, strlen(j->key)) == 0)
			drop(i);
	}
	return OK;
}

static enum err run_model(const struct job *j)
{
	static enum err (*const kinds[KINDS])(const struct job *) = {
		[CREATE] = model_create,
		[REMOVE] = model_remove,
		[LINK] = model_link,
		[CHMOD] = model_chmod,
		[XATTR] = model_xattr,
		[PUT] = model_put,
		[PUT_DIR] = model_put_dir,
		[DELETE] = model_delete,
		[DELETE_PREFIX] = model_delete_prefix,
	};

	return kinds[j->kind](j);
}

/* --------------------------------------------------------------- handing - */

static void file_done(struct store_file_op *op)
{
	struct job *j = op->user;

	j->err = op->err;
	j->done = true;
}

static void write_done(struct store_write *w)
{
	struct job *j = w->user;

	j->err = w->err;
	j->done = true;
}

static void hand_in_file(struct job *j)
{
	struct store_file_op *op = &j->file;

	*op = (struct store_file_op){
		.path = bytes_str(paths[j->path]),
		.flags = STORE_FILE_POSIX | j->flags,
		.mode = j->mode,
		.done = file_done,
		.user = j,
	};
	switch (j->kind) {
	case CREATE:
		op->kind = STORE_FILE_CREATE;
		op->mode |= j->type;
		op->fields = STORE_HAS_MODE;
		op->data = S_ISREG(j->type) ? bytes_of(fills[j->fill], j->bytes)
			   : S_ISLNK(j->type) ? bytes_str("the/target")
					      : bytes_of(NULL, 0);
		break;
	case REMOVE:
		op->kind = STORE_FILE_REMOVE;
		break;
	case LINK:
		op->kind = STORE_FILE_LINK;
		op->path2 = bytes_str(paths[j->path2]);
		break;
	case CHMOD:
		op->kind = STORE_FILE_SET;
		op->set = STORE_SET_MODE;
		break;
	default:
		op->kind = STORE_FILE_XATTR;
		op->name = bytes_str("user.x");
		j->value[0] = (char)j->fill;
		if (!(j->flags & STORE_FILE_XATTR_REMOVE))
			op->data = bytes_of(j->value, 1);
	}
	assert_int_equal(store_file_change(rig.store, op), OK);
}

static void hand_in_write(struct job *j)
{
	struct store_write *w = &j->write;

	*w = (struct store_write){ .then_ops = &j->op,
				   .then_count = 1,
				   .done = write_done,
				   .user = j };
	j->op = (struct store_op){
		.kind = j->kind == DELETE ? STORE_DELETE : STORE_PUT,
		.key = bytes_str(j->key),
		.value = j->kind == PUT ? bytes_of(fills[j->fill], j->bytes)
					: bytes_of(NULL, 0),
	};
	if (j->kind == DELETE_PREFIX) {
		w->delete_prefix = true;
		w->prefix = j->op.key;
		w->then_ops = NULL;
		w->then_count = 0;
	}
	assert_int_equal(store_write(rig.store, w), OK);
}

static void draw_job(struct job *j)
{
	static const uint32_t types[] = { S_IFREG, S_IFREG, S_IFDIR,
					  S_IFDIR, S_IFLNK, S_IFIFO };
	static const uint32_t sizes[] = { 0, 1, 100, 4096, 5000, BIG };

	*j = (struct job){
		.kind = draw(20) == 0 ? DELETE_PREFIX : draw(DELETE_PREFIX),
		.path = (int)draw(PATHS),
		.path2 = (int)draw(PATHS),
		.type = types[draw(6)],
		.mode = draw(010000),
		.bytes = sizes[draw(6)],
		.fill = (uint8_t)draw(256),
	};
	if (j->kind == REMOVE && draw(2))
		j->flags = STORE_FILE_DIRECTORY;
	if (j->kind == XATTR && draw(3) == 0)
		j->flags = STORE_FILE_XATTR_REMOVE;
	snprintf(j->key, sizeof(j->key), "%s%s", paths[j->path],
		 j->kind == PUT_DIR || (j->kind == DELETE_PREFIX && draw(3) > 0)
			 ? "/"
			 : "");
}

/* ---------------------------------------------------------------- checks - */

static void check_value(int path, const struct inode *n)
{
	struct buf b = BUF_INIT;

	assert_int_equal(store_rig_read(&rig, bytes_str(paths[path]), &b), OK);
	assert_int_equal(b.n, n->bytes);
	if (S_ISREG(n->type) && b.n > 0)
		assert_memory_equal(b.p, fills[n->fill], b.n);
	if (S_ISLNK(n->type))
		assert_memory_equal(b.p, "the/target", 10);
	buf_done(&b);
}

static void check_xattr(int path, const struct inode *n)
{
	struct buf b = BUF_INIT;
	enum err err = store_xattr_get(rig.store, bytes_str(paths[path]), 0,
				       bytes_str("user.x"), &b);

	assert_int_equal(err, n->has_xattr ? OK : ERR_NO_ATTR);
	if (n->has_xattr)
		assert_true(b.n == 1 && b.p[0] == n->xattr);
	buf_done(&b);
}

static void check_subdirs(int path)
{
	uint64_t count = 0, expected = 0;
	enum err err = store_subdirs(
		rig.store,
		path < 0 ? bytes_of(NULL, 0) : bytes_str(paths[path]), &count);

	for (int i = 0; i < PATHS; i++)
		expected += parent_of(i) == path && is_dir(i);
	assert_int_equal(err, OK);
	assert_int_equal(count, expected);
}

static void check_path(int path)
{
	struct inode *n = inode_at(path);
	struct store_file f;
	enum err err = store_file_stat(rig.store, bytes_str(paths[path]), &f);

	if (!exists(path)) {
		assert_int_equal(err, absence(path));
		return;
	}
	assert_int_equal(err, OK);
	if (is_dir(path))
		check_subdirs(path);
	assert_int_equal(f.implicit, !n);
	if (!n) {
		assert_true(f.ino == file_implicit_ino(bytes_str(paths[path])));
		return;
	}
	if (!n->ino)
		n->ino = f.ino;
	assert_true(f.ino == n->ino);
	assert_int_equal(f.mode, n->type | n->mode);
	assert_int_equal(!!(f.fields & STORE_HAS_MODE), n->has_mode);
	assert_int_equal(f.nlink, n->names);
	assert_int_equal(f.bytes, n->bytes);
	assert_int_equal(f.has_xattrs, n->has_xattr);
	check_xattr(path, n);
	if (!S_ISDIR(n->type))
		check_value(path, n);
	for (int i = 0; i < path; i++) {
		struct store_file other;

		if (!inode_at(i))
			continue;
		assert_int_equal(
			store_file_stat(rig.store, bytes_str(paths[i]), &other),
			OK);
		assert_int_equal(other.ino == f.ino,
				 model.at[i] == model.at[path]);
		if (other.ino == f.ino)
			assert_true(other.rev == f.rev);
	}
}

/* Files that nobody names any more have left nothing. */
static void check_rest(void)
{
	struct engine_partition_info info;
	uint64_t most = 8; /* the root, the store's own */

	for (int i = 0; i < PATHS; i++) {
		struct inode *n = inode_at(i);

		if (n)
			most += 3 + n->bytes / STORE_CHUNK_BYTES + 1;
	}
	engine_partition_info(rig.engine, 0, &info);
	assert_true(info.keys <= most);
}

static void check_all(void)
{
	for (int i = 0; i < PATHS; i++)
		check_path(i);
	check_subdirs(-1);
	check_rest();
}

static void run_batch(uint32_t count)
{
	struct job jobs[BATCH_MAX];
	bool all = false;

	for (uint32_t i = 0; i < count; i++) {
		draw_job(&jobs[i]);
		jobs[i].expected = run_model(&jobs[i]);
		if (jobs[i].kind < PUT)
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
				paths[jobs[i].path], paths[jobs[i].path2],
				err_text(jobs[i].err),
				err_text(jobs[i].expected));
		assert_int_equal(jobs[i].err, jobs[i].expected);
	}
}

static void run_seed(uint64_t seed)
{
	seed_now = seed;
	seed_init(&chance, seed);
	model.inode_count = 0;
	for (int i = 0; i < PATHS; i++)
		model.at[i] = -1;
	store_rig_init(&rig, seed, 1);
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

	for (uint32_t i = 0; i < 256; i++)
		memset(fills[i], (int)i, BIG);
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
