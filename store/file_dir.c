/*
 * store/file_dir.c - the directory that a file lies in.
 *
 * The root's record lies in partition 0; with several partitions each has one
 * of its own for the times of what it holds, and store_file_stat takes the
 * latest.
 */
#include <sys/stat.h>

#include "base/check.h"
#include "store/file_internal.h"
#include "store/keyrules.h"

enum err file_find_parent(struct file_decision *d, struct bytes path,
			  uint64_t dir_ino, struct file_node *parent)
{
	enum err err;

	CHECK(path.n > 0);
	err = file_find(&d->view, file_parent_path(path), parent);
	if (err)
		return err;
	if (!parent->is_dir)
		return ERR_NOT_DIR;
	return dir_ino && parent->ino != dir_ino ? ERR_STALE : OK;
}

enum err file_check_dir(struct file_decision *d, struct bytes path,
			uint64_t dir_ino)
{
	struct file_node parent;
	enum err err = file_find_parent(d, path, dir_ino, &parent);

	file_node_done(&parent);
	return err;
}

static bool makes_file(const struct store_file_op *op)
{
	return op->kind == STORE_FILE_CREATE || op->flags & STORE_FILE_MAKE;
}

/* A file has come to be in parent, by the caller's clock. */
static void note_made(struct file_node *parent, uint64_t made_ns)
{
	struct attrs *a = &parent->attrs;
	uint64_t mtime = a->has & ATTRS_MTIME ? a->mtime_ns : parent->mtime_ns;
	uint64_t ctime = a->has & ATTRS_CTIME ? a->ctime_ns : parent->mtime_ns;

	a->mtime_ns = store_dir_time(mtime, made_ns);
	a->ctime_ns = store_dir_time(ctime, made_ns);
	a->has |= ATTRS_MTIME | ATTRS_CTIME;
}

enum err file_touch(struct file_decision *d, struct file_node *parent)
{
	if (!d->op || !(d->op->flags & STORE_FILE_POSIX))
		return OK;
	CHECK(parent->is_dir);
	if (makes_file(d->op) && d->op->mtime_ns)
		note_made(parent, d->op->mtime_ns);
	else
		file_note_data(parent);
	return file_node_put(d, parent);
}

/* n, which is absent, becomes what op makes. */
static void set_from_op(struct file_node *n, const struct store_file_op *op)
{
	uint32_t type = op->mode & S_IFMT ? op->mode & S_IFMT : S_IFREG;

	n->is_dir = type == S_IFDIR;
	n->key = bytes_of(n->room, n->path.n + n->is_dir);
	n->has_value = true;
	n->ino = op->new_ino;
	if (op->mtime_ns) {
		n->attrs.has |= ATTRS_MTIME | ATTRS_CTIME;
		n->attrs.mtime_ns = n->attrs.ctime_ns = op->mtime_ns;
	}
	if (type == S_IFLNK)
		n->flags = LOC_LINK;
	else if (type != S_IFREG && type != S_IFDIR)
		n->flags = LOC_SPECIAL;
	if (type != S_IFREG && type != S_IFDIR) {
		n->attrs.has |= ATTRS_TYPE;
		n->attrs.type = type >> 12;
	}
	if (type == S_IFCHR || type == S_IFBLK) {
		n->attrs.has |= ATTRS_RDEV;
		n->attrs.rdev = op->rdev;
	}
	if (op->fields & STORE_HAS_MODE) {
		n->attrs.has |= ATTRS_PERMISSIONS;
		n->attrs.permissions = op->mode & 07777;
	}
	if (op->fields & STORE_HAS_UID) {
		n->attrs.has |= ATTRS_UID;
		n->attrs.uid = op->uid;
	}
	if (op->fields & STORE_HAS_GID) {
		n->attrs.has |= ATTRS_GID;
		n->attrs.gid = op->gid;
	}
}

enum err file_make(struct file_decision *d, enum err found, struct file_node *n,
		   struct file_node *parent)
{
	const struct store_file_op *op = d->op;
	enum err err;

	if (!found)
		return ERR_EXISTS;
	if (found != ERR_NOT_FOUND)
		return found;
	err = file_find_parent(d, n->path, op->dir_ino, parent);
	if (err == ERR_NOT_FOUND && !(op->flags & STORE_FILE_POSIX) &&
	    !op->dir_ino)
		err = OK;
	if (err)
		return err;
	set_from_op(n, op);
	return OK;
}
