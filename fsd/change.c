/*
 * fsd/change.c - making, removing and renaming.
 *
 * Whether a name is there, a directory is empty or a rename possible is decided
 * where the log is written, so it is exact whatever other nodes do; permissions
 * are the kernel's (default_permissions). Here: the owner of what is new.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "fsd/internal.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE	 2
#endif

static struct bytes parent_of(struct bytes path)
{
	while (path.n && path.p[path.n - 1] != '/')
		path.n--;
	if (path.n)
		path.n--;
	return path;
}

/* A directory that hands its group on does so to directories with the bit. */
enum err change_owner(struct call *c, mode_t mode)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(c->req);
	struct fsd *f = c->f;
	struct store_file dir;
	struct stat st;
	enum err err = ERR_STALE;
	bool passed = true;

	for (int i = 0; i < FSD_MOVES_MAX && passed; i++) {
		uint32_t moves = moves_begin(f);

		err = call_paths(c);
		if (!err)
			err = store_file_stat(
				f->store, parent_of(buf_bytes(&c->path)), &dir);
		passed = moves_passed(f, moves);
	}
	if (err)
		return err;
	answer_stat(f, &dir, 0, &st);
	c->op.uid = ctx->uid;
	c->op.gid = ctx->gid;
	if (st.st_mode & S_ISGID) {
		c->op.gid = st.st_gid;
		if (S_ISDIR(mode))
			mode |= S_ISGID;
	}
	c->op.mode = mode;
	c->op.fields = STORE_HAS_MODE | STORE_HAS_UID | STORE_HAS_GID;
	return OK;
}

/* Does c's change depend on something deferred? The table is locked. */
static bool depends(struct call *c)
{
	struct table *t = &c->f->table;
	struct node *a = c->at.node, *b = c->to.node;

	if (!c->f->defers)
		return false;
	if (c->at.has_name)
		a = table_child(t, a, place_name(&c->at));
	if (b && c->to.has_name)
		b = table_child(t, b, place_name(&c->to));
	return (a && (a->is_dir || a->defer)) || (b && (b->is_dir || b->defer));
}

void change_begin(struct call *c)
{
	bool waits;

	table_lock(&c->f->table);
	waits = depends(c);
	table_unlock(&c->f->table);
	if (waits)
		defer_settle(c, NULL, call_change);
	else
		call_change(c);
}

static struct call *change_new(fuse_req_t req, uint64_t id, const char *name,
			       enum store_file_kind kind, uint32_t flags)
{
	struct fsd *f = fuse_req_userdata(req);
	struct call *c;

	if (!call_may_change(f, req))
		return NULL;
	c = call_new(f, req, id, name);
	if (!c)
		return NULL;
	c->op.kind = kind;
	c->op.flags = flags | STORE_FILE_POSIX;
	return c;
}

/* ------------------------------------------------------------------ make - */

static void make(struct call *c, mode_t mode)
{
	enum err err = change_owner(c, mode);

	c->finish = entry_answer;
	if (err)
		call_answer(c, err);
	else
		change_begin(c);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct call *c = change_new(req, parent, name, STORE_FILE_CREATE, 0);

	if (c)
		make(c, S_IFDIR | (mode & 07777));
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	      dev_t rdev)
{
	struct call *c = change_new(req, parent, name, STORE_FILE_CREATE, 0);

	if (!c)
		return;
	if (!(mode & S_IFMT))
		mode |= S_IFREG;
	if (S_ISCHR(mode) || S_ISBLK(mode))
		c->op.rdev = rdev;
	make(c, mode);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
		const char *name)
{
	struct call *c = change_new(req, parent, name, STORE_FILE_CREATE, 0);

	if (!c)
		return;
	if (buf_add(&c->data, target, strlen(target))) {
		call_answer(c, ERR_NOMEM);
		return;
	}
	c->op.data = buf_bytes(&c->data);
	make(c, S_IFLNK | 0777);
}

/* ---------------------------------------------------------- remove, rename */

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct call *c = change_new(req, parent, name, STORE_FILE_REMOVE, 0);

	if (c)
		change_begin(c);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct call *c = change_new(req, parent, name, STORE_FILE_REMOVE,
				    STORE_FILE_DIRECTORY);

	if (c)
		change_begin(c);
}

/* Too much for one entry: mv copies, as between file systems. */
static bool renamed(struct call *c, enum err err)
{
	call_say(c, err == ERR_TOO_LARGE ? ERR_CROSS_PART : err);
	return true;
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
	       fuse_ino_t new_parent, const char *new_name, unsigned flags)
{
	struct call *c;

	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	c = change_new(req, parent, name, STORE_FILE_RENAME, 0);
	if (!c || !call_second(c, new_parent, new_name))
		return;
	if (flags & RENAME_NOREPLACE)
		c->op.flags |= STORE_FILE_NOREPLACE;
	if (flags & RENAME_EXCHANGE)
		c->op.flags |= STORE_FILE_EXCHANGE;
	c->finish = renamed;
	change_begin(c);
}

/* -------------------------------------------------------------------- link */

/* The entry is that of the new name. */
static bool linked(struct call *c, enum err err)
{
	struct place at = c->at;

	c->at = c->to;
	c->to = at;
	c->to.has_name = false;
	return entry_answer(c, err);
}

void op_link(fuse_req_t req, fuse_ino_t id, fuse_ino_t new_parent,
	     const char *new_name)
{
	struct call *c = change_new(req, id, NULL, STORE_FILE_LINK, 0);

	if (!c || !call_second(c, new_parent, new_name))
		return;
	c->finish = linked;
	change_begin(c);
}
