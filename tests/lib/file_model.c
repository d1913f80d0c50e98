/*
 * tests/lib/file_model.c - see file_model.h.
 */
#include "tests/lib/file_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "store/file_internal.h"

struct file_model file_model;

/* MODEL_BIG bytes that tell where they come from. */
const uint8_t *file_model_data(uint8_t which)
{
	static uint8_t pattern[MODEL_BIG + 256];
	static bool made;

	for (uint32_t i = 0; i < sizeof(pattern) && !made; i++)
		pattern[i] = (uint8_t)(i * 7 + i / 256 * 13);
	made = true;
	return pattern + which;
}

bool file_model_is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return n == 0 || (strncmp(path, dir, n) == 0 && path[n] == '/');
}

static struct model_name *name_at(const char *path)
{
	for (int i = 0; i < file_model.name_count; i++) {
		if (strcmp(file_model.names[i].path, path) == 0)
			return &file_model.names[i];
	}
	return NULL;
}

struct model_inode *file_model_inode(const char *path)
{
	struct model_name *n = name_at(path);

	return n ? &file_model.inodes[n->inode] : NULL;
}

static bool has_children(const char *dir)
{
	for (int i = 0; i < file_model.name_count; i++) {
		if (file_model_is_below(file_model.names[i].path, dir))
			return true;
	}
	return false;
}

bool file_model_is_dir(const char *path)
{
	struct model_inode *n = file_model_inode(path);

	return n ? S_ISDIR(n->type) : has_children(path);
}

bool file_model_exists(const char *path)
{
	return path[0] == 0 || name_at(path) || has_children(path);
}

static bool under_a_file(const char *path)
{
	for (int i = 0; i < file_model.name_count; i++) {
		if (file_model_is_below(path, file_model.names[i].path) &&
		    !file_model_is_dir(file_model.names[i].path))
			return true;
	}
	return false;
}

static const char *parent_of(const char *path, char dir[MODEL_PATH_BYTES])
{
	const char *slash = strrchr(path, '/');

	snprintf(dir, MODEL_PATH_BYTES, "%.*s", slash ? (int)(slash - path) : 0,
		 path);
	return dir;
}

static void add_name(const char *path, int inode)
{
	struct model_name *n = &file_model.names[file_model.name_count++];

	assert_true(file_model.name_count < MODEL_NAMES_MAX);
	snprintf(n->path, sizeof(n->path), "%s", path);
	n->inode = inode;
}

static struct model_inode *add_inode(const char *path, uint32_t type)
{
	struct model_inode *n = &file_model.inodes[file_model.inode_count];

	assert_true(file_model.inode_count < MODEL_INODES_MAX);
	*n = (struct model_inode){ .type = type, .names = 1 };
	add_name(path, file_model.inode_count++);
	return n;
}

/* A change through the mount makes the directory explicit. */
static void touch(const char *dir)
{
	if (dir[0] && !file_model_inode(dir))
		add_inode(dir, S_IFDIR)->ino =
			file_implicit_ino(bytes_str(dir));
}

static void touch_parent(const char *path)
{
	char dir[MODEL_PATH_BYTES];

	touch(parent_of(path, dir));
}

static void drop(const char *path)
{
	struct model_name *at = name_at(path);
	struct model_inode *n = &file_model.inodes[at->inode];

	if (--n->names == 0) {
		free(n->data);
		n->data = NULL;
	}
	*at = file_model.names[--file_model.name_count];
}

/* n becomes as long as bytes, with zeros. */
static void resize(struct model_inode *n, uint32_t bytes)
{
	assert_true(bytes <= MODEL_BYTES_MAX);
	if (!n->data)
		n->data = malloc(MODEL_BYTES_MAX);
	assert_non_null(n->data);
	if (bytes > n->bytes)
		memset(n->data + n->bytes, 0, bytes - n->bytes);
	n->bytes = bytes;
}

static void set_data(struct model_inode *n, const void *data, uint32_t bytes)
{
	resize(n, bytes);
	memcpy(n->data, data, bytes);
}

static enum err check_parent(const char *path)
{
	char dir[MODEL_PATH_BYTES];

	if (under_a_file(path))
		return ERR_NOT_DIR;
	return file_model_exists(parent_of(path, dir)) ? OK : ERR_NOT_FOUND;
}

static enum err model_create(const struct file_job *j)
{
	enum err err =
		file_model_exists(j->path) ? ERR_EXISTS : check_parent(j->path);
	struct model_inode *n;

	if (err)
		return err;
	n = add_inode(j->path, j->type);
	n->mode = j->mode;
	n->has_mode = true;
	if (S_ISREG(j->type))
		set_data(n, file_model_data(j->which), j->bytes);
	if (S_ISLNK(j->type))
		set_data(n, "the/target", 10);
	touch_parent(j->path);
	return OK;
}

enum err file_model_absence(const char *path)
{
	return under_a_file(path) ? ERR_NOT_DIR : ERR_NOT_FOUND;
}

static enum err model_remove(const struct file_job *j)
{
	bool directory = j->flags & STORE_FILE_DIRECTORY;

	if (!file_model_exists(j->path))
		return file_model_absence(j->path);
	if (directory != file_model_is_dir(j->path))
		return directory ? ERR_NOT_DIR : ERR_IS_DIR;
	if (directory && has_children(j->path))
		return ERR_NOT_EMPTY;
	touch_parent(j->path);
	drop(j->path);
	return OK;
}

static enum err model_link(const struct file_job *j)
{
	enum err err;

	if (!file_model_exists(j->path))
		return file_model_absence(j->path);
	if (file_model_is_dir(j->path))
		return ERR_IS_DIR;
	err = file_model_exists(j->path2) ? ERR_EXISTS : check_parent(j->path2);
	if (err)
		return err;
	add_name(j->path2, name_at(j->path)->inode);
	file_model_inode(j->path)->names++;
	touch_parent(j->path2);
	return OK;
}

static enum err model_chmod(const struct file_job *j)
{
	if (!file_model_exists(j->path))
		return file_model_absence(j->path);
	touch(j->path);
	file_model_inode(j->path)->mode = j->mode;
	file_model_inode(j->path)->has_mode = true;
	return OK;
}

static enum err model_xattr(const struct file_job *j)
{
	if (!file_model_exists(j->path))
		return file_model_absence(j->path);
	if (j->flags & STORE_FILE_XATTR_REMOVE &&
	    !(file_model_inode(j->path) &&
	      file_model_inode(j->path)->has_xattr))
		return ERR_NO_ATTR;
	touch(j->path);
	file_model_inode(j->path)->has_xattr =
		!(j->flags & STORE_FILE_XATTR_REMOVE);
	file_model_inode(j->path)->xattr = j->which;
	return OK;
}

static enum err check_data(const char *path)
{
	if (file_model_is_dir(path))
		return ERR_IS_DIR;
	return S_ISREG(file_model_inode(path)->type) ? OK : ERR_NOT_FILE;
}

static enum err model_write(const struct file_job *j)
{
	enum err err = file_model_exists(j->path) ? check_data(j->path)
		       : j->flags & STORE_FILE_MAKE
			       ? check_parent(j->path)
			       : file_model_absence(j->path);
	struct model_inode *n = file_model_inode(j->path);
	uint32_t off = j->off;

	if (err)
		return err;
	if (!n) {
		n = add_inode(j->path, S_IFREG);
		touch_parent(j->path);
	}
	if (j->flags & STORE_FILE_TRUNCATE)
		n->bytes = 0;
	if (j->flags & STORE_FILE_APPEND)
		off = n->bytes;
	if (off + j->bytes > MODEL_BYTES_MAX)
		return ERR_TOO_LARGE;
	if (j->bytes > 0 && off + j->bytes > n->bytes)
		resize(n, off + j->bytes);
	if (j->bytes > 0)
		memcpy(n->data + off, file_model_data(j->which), j->bytes);
	return OK;
}

static enum err model_resize(const struct file_job *j)
{
	enum err err = file_model_exists(j->path) ? check_data(j->path)
						  : file_model_absence(j->path);

	if (!err)
		resize(file_model_inode(j->path), j->off);
	return err;
}

/* ---------------------------------------------------------------- rename - */

static enum err judge_rename(const struct file_job *j)
{
	bool exchange = j->flags & STORE_FILE_EXCHANGE;
	enum err err = file_model_exists(j->path) ? check_parent(j->path2)
						  : file_model_absence(j->path);
	bool dir = file_model_is_dir(j->path),
	     dir2 = file_model_is_dir(j->path2);

	if (err)
		return err;
	if (exchange)
		return file_model_exists(j->path2) ? OK : ERR_NOT_FOUND;
	if (!file_model_exists(j->path2))
		return OK;
	if (j->flags & STORE_FILE_NOREPLACE)
		return ERR_EXISTS;
	if (strcmp(j->path, j->path2) == 0 || (!dir && !dir2))
		return OK;
	if (dir != dir2)
		return dir ? ERR_NOT_DIR : ERR_IS_DIR;
	return has_children(j->path2) ? ERR_NOT_EMPTY : OK;
}

static void move_names(const char *from, const char *to)
{
	for (int i = 0; i < file_model.name_count; i++) {
		struct model_name *n = &file_model.names[i];
		char path[2 * MODEL_PATH_BYTES];

		if (strcmp(n->path, from) != 0 &&
		    !file_model_is_below(n->path, from))
			continue;
		snprintf(path, sizeof(path), "%s%s", to,
			 n->path + strlen(from));
		assert_true(strlen(path) < MODEL_PATH_BYTES);
		memcpy(n->path, path, strlen(path) + 1);
	}
}

/* What is renamed gets a record; one with a hash for its number another. */
static void make_explicit(const char *path)
{
	struct model_inode *n;

	touch(path);
	for (int i = 0; i < file_model.name_count; i++) {
		if (strcmp(file_model.names[i].path, path) != 0 &&
		    !file_model_is_below(file_model.names[i].path, path))
			continue;
		n = &file_model.inodes[file_model.names[i].inode];
		if (n->ino >> 63)
			n->ino = 0;
	}
}

static enum err model_rename(const struct file_job *j)
{
	enum err err = judge_rename(j);
	struct model_name *from, *to = name_at(j->path2);

	if (err)
		return err;
	from = name_at(j->path);
	if (strcmp(j->path, j->path2) == 0 ||
	    (from && to && from->inode == to->inode))
		return OK;
	touch_parent(j->path);
	touch_parent(j->path2);
	make_explicit(j->path);
	if (j->flags & STORE_FILE_EXCHANGE) {
		make_explicit(j->path2);
		move_names(j->path, "\1");
		move_names(j->path2, j->path);
		move_names("\1", j->path2);
		return OK;
	}
	if (to)
		drop(j->path2);
	move_names(j->path, j->path2);
	return OK;
}

/* ------------------------------------------------------------------ HTTP - */

static enum err model_put(const struct file_job *j)
{
	struct model_inode *n = file_model_inode(j->path);

	if (file_model_is_dir(j->path))
		return ERR_IS_DIR;
	if (n && !S_ISREG(n->type))
		return ERR_NOT_FILE;
	if (!n && under_a_file(j->path))
		return ERR_NOT_DIR;
	if (!n)
		n = add_inode(j->path, S_IFREG);
	set_data(n, file_model_data(j->which), j->bytes);
	return OK;
}

static enum err model_put_dir(const struct file_job *j)
{
	struct model_inode *n = file_model_inode(j->path);

	if (n && S_ISDIR(n->type))
		return OK;
	if (n || under_a_file(j->path))
		return ERR_NOT_DIR;
	if (has_children(j->path))
		touch(j->path);
	else
		add_inode(j->path, S_IFDIR);
	return OK;
}

/* The key of the file, not of the directory. */
static enum err model_delete(const struct file_job *j)
{
	if (file_model_is_dir(j->path))
		return ERR_IS_DIR;
	if (file_model_inode(j->path))
		drop(j->path);
	return OK;
}

static enum err model_delete_prefix(const struct file_job *j)
{
	for (int i = file_model.name_count - 1; i >= 0; i--) {
		const char *path = file_model.names[i].path;
		char key[MODEL_PATH_BYTES + 1];

		snprintf(key, sizeof(key), "%s%s", path,
			 file_model_is_dir(path) ? "/" : "");
		if (strncmp(key, j->key, strlen(j->key)) == 0)
			drop(path);
	}
	return OK;
}

enum err file_model_run(const struct file_job *j)
{
	static enum err (*const kinds[JOB_KINDS])(const struct file_job *) = {
		[JOB_CREATE] = model_create,
		[JOB_REMOVE] = model_remove,
		[JOB_LINK] = model_link,
		[JOB_CHMOD] = model_chmod,
		[JOB_XATTR] = model_xattr,
		[JOB_WRITE] = model_write,
		[JOB_RESIZE] = model_resize,
		[JOB_RENAME] = model_rename,
		[JOB_PUT] = model_put,
		[JOB_PUT_DIR] = model_put_dir,
		[JOB_DELETE] = model_delete,
		[JOB_DELETE_PREFIX] = model_delete_prefix,
	};

	return kinds[j->kind](j);
}

void file_model_reset(void)
{
	while (file_model.name_count > 0)
		drop(file_model.names[0].path);
	file_model.inode_count = 0;
}
