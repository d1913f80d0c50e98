/*
 * store/file_set.c - attributes change: SET and XATTR.
 */
#include "base/check.h"
#include "store/file_internal.h"

static void set_owner(const struct store_file_op *op, struct attrs *a)
{
	if (op->set & STORE_SET_MODE) {
		a->has |= ATTRS_PERMISSIONS;
		a->permissions = op->mode & 07777;
	}
	if (op->set & STORE_SET_UID) {
		a->has |= ATTRS_UID;
		a->uid = op->uid;
	}
	if (op->set & STORE_SET_GID) {
		a->has |= ATTRS_GID;
		a->gid = op->gid;
	}
}

/* An atime that nobody set is as the mtime: it stays when that is set. */
static void set_times(struct file_decision *d, struct attrs *a)
{
	const struct store_file_op *op = d->op;
	uint64_t now_ns = entry_mtime(d->s);

	if (!(a->has & ATTRS_ATIME)) {
		a->has |= ATTRS_ATIME;
		a->atime_ns = a->has & ATTRS_MTIME ? a->mtime_ns : now_ns;
	}
	if (op->set & STORE_SET_ATIME)
		a->atime_ns = op->atime_ns;
	if (op->set & STORE_SET_ATIME_NOW)
		a->atime_ns = now_ns;
	if (op->set & STORE_SET_MTIME) {
		a->has |= ATTRS_MTIME;
		a->mtime_ns = op->mtime_ns;
	}
	if (op->set & STORE_SET_MTIME_NOW)
		a->has &= ~(uint32_t)ATTRS_MTIME;
}

/*
 * The file was cut at at_ns, by the caller's clock; 0: by that of the entry. A
 * change that was made since then has the later time.
 */
static void set_cut(struct file_node *n, uint64_t at_ns)
{
	const struct attrs *a = &n->attrs;
	uint64_t was = a->has & ATTRS_MTIME ? a->mtime_ns : n->mtime_ns;

	file_note_data(n);
	if (!at_ns)
		return;
	n->attrs.has |= ATTRS_MTIME | ATTRS_CTIME;
	n->attrs.mtime_ns = n->attrs.ctime_ns = store_dir_time(was, at_ns);
}

static enum err set(struct file_decision *d, struct file_node *n)
{
	const uint32_t times = STORE_SET_ATIME | STORE_SET_ATIME_NOW |
			       STORE_SET_MTIME | STORE_SET_MTIME_NOW;
	struct store_file_op *op = d->op;
	enum err err = file_find_ino(&d->view, op->path, op->ino, n);

	if (!err && op->dir_ino)
		err = file_check_dir(d, op->path, op->dir_ino);
	if (err)
		return err;
	file_note_change(n);
	if (op->set & STORE_SET_BYTES)
		err = file_set_bytes(d, n);
	if (!err)
		err = file_node_value(d, n);
	if (err)
		return err;
	set_owner(op, &n->attrs);
	if (op->flags & STORE_FILE_CUT)
		set_cut(n, op->mtime_ns);
	if (op->set & times)
		set_times(d, &n->attrs);
	file_drop_setid(op, n);
	err = file_node_put(d, n);
	op->found_ino = n->ino;
	op->bytes = n->bytes;
	return err;
}

enum err decide_file_set(struct file_decision *d)
{
	struct file_node n = { 0 };
	enum err err = set(d, &n);

	file_node_done(&n);
	return err;
}

/* --------------------------------------------------- extended attributes -- */

bool file_xattr_find(const struct file_node *n, struct bytes name,
		     struct bytes *value)
{
	struct bytes at;
	size_t off = 0;

	if (!(n->attrs.has & ATTRS_XATTRS))
		return false;
	while (attrs_xattr_next(n->attrs.xattrs, &off, &at, value)) {
		if (bytes_equal(at, name))
			return true;
	}
	return false;
}

static enum err check_xattr(const struct file_decision *d, bool there)
{
	uint32_t flags = d->op->flags;

	if (there && flags & STORE_FILE_XATTR_CREATE)
		return ERR_EXISTS;
	if (!there &&
	    flags & (STORE_FILE_XATTR_REPLACE | STORE_FILE_XATTR_REMOVE))
		return ERR_NO_ATTR;
	if (d->op->data.n > STORE_FILE_ATTR_BYTES_MAX)
		return ERR_NOSPC;
	return OK;
}

/* All attributes but the op's, which comes last, if it is to be there. */
static enum err replace_xattr(struct file_decision *d, struct file_node *n)
{
	const struct store_file_op *op = d->op;
	struct bytes from = n->attrs.xattrs, name, value;
	uint8_t *room, *at;
	size_t off = 0, begin = 0;

	room = entry_room(&d->s->entry, from.n + ATTRS_XATTR_HEAD_BYTES +
						op->name.n + op->data.n);
	if (!room)
		return ERR_NOMEM;
	at = room;
	while (attrs_xattr_next(from, &off, &name, &value)) {
		if (!bytes_equal(name, op->name)) {
			memcpy(at, from.p + begin, off - begin);
			at += off - begin;
		}
		begin = off;
	}
	if (!(op->flags & STORE_FILE_XATTR_REMOVE))
		at += attrs_xattr_put(at, op->name, op->data);
	n->attrs.xattrs = bytes_of(room, (size_t)(at - room));
	n->attrs.has |= ATTRS_XATTRS;
	if (at == room)
		n->attrs.has &= ~(uint32_t)ATTRS_XATTRS;
	return OK;
}

static enum err set_xattr(struct file_decision *d, struct file_node *n)
{
	struct store_file_op *op = d->op;
	struct bytes value;
	enum err err = file_find_ino(&d->view, op->path, op->ino, n);

	if (!err)
		err = check_xattr(d, file_xattr_find(n, op->name, &value));
	if (!err)
		err = file_node_value(d, n);
	if (!err)
		err = replace_xattr(d, n);
	if (err)
		return err;
	file_note_change(n);
	err = file_node_put(d, n);
	op->found_ino = n->ino;
	op->bytes = n->bytes;
	return err;
}

enum err decide_file_xattr(struct file_decision *d)
{
	struct file_node n = { 0 };
	enum err err = set_xattr(d, &n);

	file_node_done(&n);
	return err;
}
