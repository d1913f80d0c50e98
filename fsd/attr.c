/*
 * fsd/attr.c - modes, owners, times, sizes, and extended attributes.
 *
 * The kernel asks for security.capability before every write; nobody has any
 * here, which is said without looking. Access control lists are refused rather
 * than kept and ignored.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "fsd/internal.h"

/* ----------------------------------------------------------------- setattr */

static void fill_set(struct store_file_op *op, const struct stat *st,
		     int to_set)
{
	static const struct {
		int fuse;
		uint32_t store;
	} same[] = {
		{ FUSE_SET_ATTR_MODE, STORE_SET_MODE },
		{ FUSE_SET_ATTR_UID, STORE_SET_UID },
		{ FUSE_SET_ATTR_GID, STORE_SET_GID },
		{ FUSE_SET_ATTR_SIZE, STORE_SET_BYTES },
	};

	op->kind = STORE_FILE_SET;
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		if (to_set & same[i].fuse)
			op->set |= same[i].store;
	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		op->set |= STORE_SET_ATIME_NOW;
	else if (to_set & FUSE_SET_ATTR_ATIME)
		op->set |= STORE_SET_ATIME;
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		op->set |= STORE_SET_MTIME_NOW;
	else if (to_set & FUSE_SET_ATTR_MTIME)
		op->set |= STORE_SET_MTIME;
	op->mode = st->st_mode & 07777;
	op->uid = st->st_uid;
	op->gid = st->st_gid;
	op->off = (uint64_t)st->st_size;
	op->atime_ns = ns_of(st->st_atim);
	op->mtime_ns = ns_of(st->st_mtim);
}

static struct orphan *orphan_of(struct call *c)
{
	struct orphan *o;

	table_lock(&c->f->table);
	o = c->at.node->gone ? c->at.node->orphan : NULL;
	table_unlock(&c->f->table);
	return o;
}

static enum err set_orphan(struct call *c, struct orphan *o)
{
	enum err err = OK;

	if (c->op.set & STORE_SET_BYTES)
		err = orphan_cut(c->f, o, c->op.off);
	if (!err)
		orphan_set(c->f, o, &c->op);
	return err;
}

/* The kernel's pages stay good: it has cut them itself. */
static void note_revision(struct call *c)
{
	struct node *node = c->at.node;

	table_lock(&c->f->table);
	if (node->cached_rev && c->op.revision)
		node->cached_rev = c->op.revision;
	table_unlock(&c->f->table);
}

static bool attr_set(struct call *c, enum err err)
{
	bool lost =
		err == ERR_STALE || err == ERR_NOT_FOUND || err == ERR_NOT_DIR;
	struct orphan *o = lost ? orphan_of(c) : NULL;

	if (o)
		err = set_orphan(c, o);
	else if (!err)
		note_revision(c);
	if (err) {
		call_say(c, err == ERR_NOT_FOUND ? ERR_STALE : err);
		return true;
	}
	node_answer_attr(c);
	return false;
}

static void set_attr(struct call *c)
{
	struct orphan *o = orphan_of(c);

	if (!o && c->op.set)
		call_change(c);
	else if (attr_set(c, o ? ERR_STALE : OK))
		call_free(c);
}

/* What is deferred in a directory would change its times afterwards. */
static void settle(struct call *c, void (*then)(struct call *c))
{
	defer_settle(c, c->at.node->is_dir ? NULL : c->at.node, then);
}

void op_setattr(fuse_req_t req, fuse_ino_t id, struct stat *attr, int to_set,
		struct fuse_file_info *fi)
{
	struct fsd *f = fuse_req_userdata(req);
	struct call *c;

	if (!call_may_change(f, req))
		return;
	c = call_new(f, req, id, NULL);
	if (!c)
		return;
	fill_set(&c->op, attr, to_set);
	c->finish = attr_set;
	settle(c, set_attr);
}

/* ------------------------------------------------------ extended attributes */

static bool begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

/* 0, or the error that answers a request for name at once. */
static int xattr_refused(const char *name, bool changes)
{
	if (strcmp(name, "security.capability") == 0)
		return changes ? EOPNOTSUPP : ENODATA;
	if (begins(name, "user.") || begins(name, "trusted.") ||
	    begins(name, "security."))
		return 0;
	return EOPNOTSUPP;
}

static struct call *xattr_change(fuse_req_t req, fuse_ino_t id,
				 const char *name)
{
	struct fsd *f = fuse_req_userdata(req);
	int e = xattr_refused(name, true);
	struct call *c;

	if (e) {
		fuse_reply_err(req, e);
		return NULL;
	}
	if (!call_may_change(f, req))
		return NULL;
	c = call_new(f, req, id, NULL);
	if (!c)
		return NULL;
	c->op.kind = STORE_FILE_XATTR;
	return c;
}

/* The name and the value lie one after the other in c->data. */
static void xattr_go(struct call *c, const char *name, const char *value,
		     size_t size)
{
	size_t n = strlen(name);

	if (buf_reserve(&c->data, n + size + 1) || buf_add(&c->data, name, n) ||
	    (size && buf_add(&c->data, value, size))) {
		call_answer(c, ERR_NOMEM);
		return;
	}
	c->op.name = bytes_of(c->data.p, n);
	c->op.data = bytes_of(c->data.p + n, size);
	settle(c, call_change);
}

void op_setxattr(fuse_req_t req, fuse_ino_t id, const char *name,
		 const char *value, size_t size, int flags)
{
	struct call *c = xattr_change(req, id, name);

	if (!c)
		return;
	if (flags & XATTR_CREATE)
		c->op.flags |= STORE_FILE_XATTR_CREATE;
	if (flags & XATTR_REPLACE)
		c->op.flags |= STORE_FILE_XATTR_REPLACE;
	xattr_go(c, name, value, size);
}

void op_removexattr(fuse_req_t req, fuse_ino_t id, const char *name)
{
	struct call *c = xattr_change(req, id, name);

	if (!c)
		return;
	c->op.flags |= STORE_FILE_XATTR_REMOVE;
	xattr_go(c, name, NULL, 0);
}

/* Answer with value, or its size when that is asked for; release c. */
static void xattr_reply(struct call *c, const struct buf *value, size_t size)
{
	if (!size)
		fuse_reply_xattr(c->req, value->n);
	else if (value->n > size)
		fuse_reply_err(c->req, ERANGE);
	else
		fuse_reply_buf(c->req, (const char *)value->p, value->n);
	call_free(c);
}

/* name NULL: the list of names. */
static enum err xattr_read(struct call *c, const char *name, struct buf *out)
{
	struct fsd *f = c->f;
	enum err err = OK;
	bool none;

	for (int i = 0; i <= FSD_STALE_TRIES; i++) {
		(void)moves_begin(f);
		table_lock(&f->table);
		none = c->at.node->gone ||
		       (c->at.node->defer &&
			c->at.node->defer->kind == DEFER_CREATE);
		table_unlock(&f->table);
		if (none)
			return name ? ERR_NO_ATTR : OK;
		out->n = 0;
		err = call_paths(c);
		if (!err && name)
			err = store_xattr_get(f->store, buf_bytes(&c->path),
					      c->at.node->ino, bytes_str(name),
					      out);
		else if (!err)
			err = store_xattr_list(f->store, buf_bytes(&c->path),
					       c->at.node->ino, out);
		if (err != ERR_STALE && err != ERR_NOT_FOUND)
			break;
	}
	return err == ERR_NOT_FOUND ? ERR_STALE : err;
}

void op_getxattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size)
{
	int e = xattr_refused(name, false);
	struct buf value = BUF_INIT;
	struct call *c;
	enum err err;

	if (e) {
		fuse_reply_err(req, e);
		return;
	}
	c = call_new(fuse_req_userdata(req), req, id, NULL);
	if (!c)
		return;
	err = xattr_read(c, name, &value);
	if (err)
		call_answer(c, err);
	else
		xattr_reply(c, &value, size);
	buf_done(&value);
}

/* Only root may know of trusted.* */
static void hide_trusted(struct buf *names)
{
	size_t kept = 0, n;

	for (size_t off = 0; off < names->n; off += n) {
		const char *name = (const char *)names->p + off;

		n = strlen(name) + 1;
		if (begins(name, "trusted."))
			continue;
		memmove(names->p + kept, name, n);
		kept += n;
	}
	names->n = kept;
}

void op_listxattr(fuse_req_t req, fuse_ino_t id, size_t size)
{
	struct call *c = call_new(fuse_req_userdata(req), req, id, NULL);
	struct buf names = BUF_INIT;
	enum err err;

	if (!c)
		return;
	err = xattr_read(c, NULL, &names);
	if (!err && fuse_req_ctx(req)->uid)
		hide_trusted(&names);
	if (err)
		call_answer(c, err);
	else
		xattr_reply(c, &names, size);
	buf_done(&names);
}
