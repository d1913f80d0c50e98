/*
 * fsd/data.c - reading, writing and shaping the bytes of files.
 *
 * A read is answered by the thread that took it, from this node's files: open
 * has made sure that they are fresh. A write is one change of the store, which
 * brings along what is deferred of its file. What a removed file is asked goes
 * to its orphan, also when it was removed while the change was on its way.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fsd/internal.h"

/* The node that c is about, wherever its place is by now. */
static struct node *subject(struct call *c)
{
	return c->deferred ? c->deferred : c->at.node;
}

/* Its orphan, if it was removed. It lives as long as the node. */
static struct orphan *orphan_of(struct call *c)
{
	struct orphan *o;

	table_lock(&c->f->table);
	o = subject(c)->gone ? subject(c)->orphan : NULL;
	table_unlock(&c->f->table);
	return o;
}

/* The change found no file where one was: it was removed, or renamed. */
static bool is_lost(enum err err)
{
	return err == ERR_STALE || err == ERR_NOT_FOUND || err == ERR_NOT_DIR;
}

/* -------------------------------------------------------------------- read */

/* Nothing is to be read of what is to be made or cut. */
static bool is_empty_yet(struct call *c)
{
	bool empty;

	table_lock(&c->f->table);
	empty = c->at.node->defer != NULL;
	table_unlock(&c->f->table);
	return empty;
}

static enum err read_some(struct call *c, uint64_t off, void *dst, size_t n,
			  size_t *got)
{
	struct orphan *o;
	enum err err = OK;

	for (int i = 0; i <= FSD_STALE_TRIES; i++) {
		(void)moves_begin(c->f);
		*got = 0;
		if (is_empty_yet(c))
			return OK;
		o = orphan_of(c);
		if (o)
			return orphan_read(o, off, dst, n, got);
		err = call_paths(c);
		if (!err)
			err = store_file_read(c->f->store, buf_bytes(&c->path),
					      c->at.node->ino, off, dst, n,
					      got);
		if (!is_lost(err))
			break;
	}
	return err == ERR_NOT_FOUND ? ERR_STALE : err;
}

void op_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
	     struct fuse_file_info *fi)
{
	struct call *c = call_new(fuse_req_userdata(req), req, id, NULL);
	char *dst = c ? malloc(size) : NULL;
	size_t got = 0;
	enum err err;

	if (!c)
		return;
	err = dst ? read_some(c, (uint64_t)off, dst, size, &got) : ERR_NOMEM;
	if (err) {
		call_answer(c, err);
	} else {
		fuse_reply_buf(req, dst, got);
		call_free(c);
	}
	free(dst);
}

/* ------------------------------------------------------------------- write */

/* The kernel's pages may hold the content as it is after the change. */
static void note_revision(struct call *c)
{
	struct node *node = subject(c);

	table_lock(&c->f->table);
	if (node->cached_rev && c->op.revision)
		node->cached_rev = c->op.revision;
	table_unlock(&c->f->table);
}

static void write_orphan(struct call *c, struct orphan *o)
{
	enum err err =
		orphan_write(c->f, o, c->op.off,
			     c->op.flags & STORE_FILE_APPEND, c->op.data);

	if (err)
		call_say(c, err);
	else
		fuse_reply_write(c->req, c->size);
	c->req = NULL;
}

/* The kernel put appended bytes where it believed the end to be. */
static void check_append(struct call *c)
{
	if (c->op.flags & STORE_FILE_APPEND && c->op.found_off != c->op.off)
		tell(c->f, TELL_INODE, subject(c)->id, NULL, bytes_of(NULL, 0),
		     0, 0);
}

/* An appending or direct write; of others the kernel knows. */
static void check_setid(struct call *c)
{
	struct node *node = subject(c);
	bool tells;

	if (!(c->op.flags & STORE_FILE_DROP_SETID))
		return;
	table_lock(&c->f->table);
	tells = node->has_setid;
	table_unlock(&c->f->table);
	if (tells)
		tell(c->f, TELL_ATTR, node->id, NULL, bytes_of(NULL, 0), 0, 0);
}

static bool written(struct call *c, enum err err)
{
	struct orphan *o;

	if (c->carries && defer_carried(c, &err))
		return false;
	o = is_lost(err) ? orphan_of(c) : NULL;
	if (o) {
		write_orphan(c, o);
	} else if (err) {
		call_say(c, err);
	} else {
		note_revision(c);
		check_append(c);
		check_setid(c);
		fuse_reply_write(c->req, c->size);
		c->req = NULL;
	}
	return true;
}

static void write_run(struct call *c)
{
	struct orphan *o = orphan_of(c);

	if (o) {
		write_orphan(c, o);
		call_free(c);
		return;
	}
	if (c->waited && call_is_late(c, FSD_LEADER_MS)) {
		defer_spoil(c->f, c->at.node, c->waited);
		call_answer(c, c->waited);
		return;
	}
	if (defer_carry(c))
		call_change(c);
}

void op_write(fuse_req_t req, fuse_ino_t id, const char *buf, size_t size,
	      off_t off, struct fuse_file_info *fi)
{
	struct fsd *f = fuse_req_userdata(req);
	struct call *c;

	if (!call_may_change(f, req))
		return;
	if (!size) {
		fuse_reply_write(req, 0);
		return;
	}
	c = call_new(f, req, id, NULL);
	if (!c)
		return;
	if (size >= FSD_TAKE_BYTES) {
		c->room = room_take();
	} else if (buf_add(&c->data, buf, size)) {
		call_answer(c, ERR_NOMEM);
		return;
	}
	c->size = size;
	c->op.kind = STORE_FILE_WRITE;
	c->op.off = (uint64_t)off;
	c->op.data = c->room ? bytes_of(buf, size) : buf_bytes(&c->data);
	/* What comes out of the page cache has its place. */
	if (fi->flags & O_APPEND && !fi->writepage)
		c->op.flags |= STORE_FILE_APPEND;
	/* Of what comes out of the page cache the kernel has seen to it. */
	if (fuse_req_ctx(req)->uid && !fi->writepage)
		c->op.flags |= STORE_FILE_DROP_SETID;
	c->finish = written;
	c->run = write_run;
	write_run(c);
}

/* --------------------------------------------------------------- fallocate */

static enum err shape_orphan(struct call *c, struct orphan *o)
{
	struct store_file_op *op = &c->op;
	uint64_t end = op->off + op->length, size = orphan_bytes(o);
	bool keeps = op->flags & (STORE_FILE_KEEP_SIZE | STORE_FILE_PUNCH);
	enum err err = OK;

	if (!keeps && end > size)
		err = orphan_cut(c->f, o, end);
	if (!err && op->flags & (STORE_FILE_PUNCH | STORE_FILE_ZERO))
		err = orphan_zero(c->f, o, op->off, op->length);
	return err;
}

static bool shaped(struct call *c, enum err err)
{
	struct orphan *o = is_lost(err) ? orphan_of(c) : NULL;

	if (o)
		err = shape_orphan(c, o);
	else if (!err)
		note_revision(c);
	call_say(c, err);
	return true;
}

static void shape(struct call *c)
{
	struct orphan *o = orphan_of(c);

	if (!o)
		call_change(c);
	else
		call_answer(c, shape_orphan(c, o));
}

void op_fallocate(fuse_req_t req, fuse_ino_t id, int mode, off_t off,
		  off_t length, struct fuse_file_info *fi)
{
	const int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE |
			  FALLOC_FL_ZERO_RANGE;
	struct fsd *f = fuse_req_userdata(req);
	struct call *c;

	if (mode & ~known) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	if (!call_may_change(f, req))
		return;
	c = call_new(f, req, id, NULL);
	if (!c)
		return;
	c->op.kind = STORE_FILE_ALLOCATE;
	c->op.off = (uint64_t)off;
	c->op.length = (uint64_t)length;
	if (mode & FALLOC_FL_KEEP_SIZE)
		c->op.flags |= STORE_FILE_KEEP_SIZE;
	if (mode & FALLOC_FL_PUNCH_HOLE)
		c->op.flags |= STORE_FILE_PUNCH;
	if (mode & FALLOC_FL_ZERO_RANGE)
		c->op.flags |= STORE_FILE_ZERO;
	c->finish = shaped;
	defer_settle(c, c->at.node, shape);
}

/* ------------------------------------------------------------------- lseek */

static enum err seek_orphan(struct orphan *o, uint64_t off, bool hole,
			    uint64_t *found)
{
	uint64_t size = orphan_bytes(o);

	*found = hole ? size : off;
	return off < size ? OK : ERR_NOT_FOUND;
}

static enum err seek(struct call *c, uint64_t off, bool hole, uint64_t *found)
{
	struct orphan *o;
	enum err err = OK;

	for (int i = 0; i <= FSD_STALE_TRIES; i++) {
		(void)moves_begin(c->f);
		if (is_empty_yet(c))
			return ERR_NOT_FOUND;
		o = orphan_of(c);
		if (o)
			return seek_orphan(o, off, hole, found);
		err = call_paths(c);
		if (!err)
			err = store_file_seek(c->f->store, buf_bytes(&c->path),
					      c->at.node->ino, off, hole,
					      found);
		if (err != ERR_STALE)
			break;
	}
	return err;
}

void op_lseek(fuse_req_t req, fuse_ino_t id, off_t off, int whence,
	      struct fuse_file_info *fi)
{
	struct call *c = call_new(fuse_req_userdata(req), req, id, NULL);
	uint64_t found;
	enum err err;

	if (!c)
		return;
	if (whence != SEEK_DATA && whence != SEEK_HOLE) {
		call_errno(c, EINVAL);
		return;
	}
	err = seek(c, (uint64_t)off, whence == SEEK_HOLE, &found);
	if (err == ERR_NOT_FOUND) {
		call_errno(c, ENXIO);
	} else if (err) {
		call_answer(c, err);
	} else {
		fuse_reply_lseek(req, (off_t)found);
		call_free(c);
	}
}
