/*
 * fsd/open.c - open, create, close, fsync.
 *
 * A handle keeps its node, and makes the observer keep the content when the
 * last name goes. It is counted before the store is asked whether the file is
 * still there; so either the removal sees the handle or the open sees that the
 * file is gone: with one that nobody has kept it ends as ESTALE, and the kernel
 * looks the name up again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/internal.h"

struct handle *handle_new(struct fsd *f, struct node *node, int flags)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->node = node;
	h->flags = flags;
	table_lock(&f->table);
	table_ref(node);
	node->opens++;
	h->next = f->handles;
	h->back = &f->handles;
	if (h->next)
		h->next->back = &h->next;
	f->handles = h;
	table_unlock(&f->table);
	return h;
}

void handle_free(struct fsd *f, struct handle *h)
{
	table_lock(&f->table);
	*h->back = h->next;
	if (h->next)
		h->next->back = h->back;
	h->node->opens--;
	table_unref(&f->table, h->node);
	table_unlock(&f->table);
	dir_free(h->dir);
	free(h);
}

static void set_fi(struct fuse_file_info *fi, struct handle *h)
{
	fi->fh = (uintptr_t)h;
	/* The kernel would cache what is appended at its own offset. */
	fi->direct_io = (h->flags & O_APPEND) != 0;
}

/* -------------------------------------------------------------------- open */

/*
 * O_TRUNC waits for the first write; the serial of what waits. d is used up.
 * The table is locked.
 */
static uint64_t defer_truncation(struct fsd *f, struct node *node,
				 struct defer *d, bool drops_setid)
{
	if (node->defer) { /* it has nothing yet, or will have nothing */
		free(d);
	} else {
		d->kind = DEFER_TRUNCATE;
		d->node = node;
		defer_add(f, d);
	}
	node->defer->drops_setid |= drops_setid;
	return node->defer->serial;
}

/* What the kernel may keep of the content from before. The table is locked. */
static bool keeps_cache(struct node *node, uint64_t rev)
{
	bool keeps = node->cached_rev == rev && rev;

	node->cached_rev = rev;
	return keeps;
}

/* The file is there, and the one that the kernel means. */
static enum err look(struct call *c, struct store_file *file)
{
	struct node *node = c->at.node;
	enum err err = OK;
	bool here, kept;

	for (int i = 0; i <= FSD_STALE_TRIES; i++) {
		(void)moves_begin(c->f);
		table_lock(&c->f->table);
		here = node->gone || node->defer;
		kept = !node->gone ||
		       (node->orphan && orphan_can_open(node->orphan));
		table_unlock(&c->f->table);
		memset(file, 0, sizeof(*file));
		if (here)
			return kept ? OK : ERR_STALE;
		err = call_paths(c);
		if (!err)
			err = store_file_stat_ino(c->f->store,
						  buf_bytes(&c->path),
						  node->ino, file);
		if (err != ERR_STALE && err != ERR_NOT_FOUND)
			break;
	}
	return err == ERR_NOT_FOUND || err == ERR_NOT_DIR ? ERR_STALE : err;
}

static void open_run(struct call *c)
{
	struct fsd *f = c->f;
	struct node *node = c->at.node;
	bool truncates = c->fi.flags & O_TRUNC, tells;
	bool drops_setid = truncates && fuse_req_ctx(c->req)->uid;
	struct handle *h = handle_new(f, node, c->fi.flags);
	struct defer *d = truncates ? calloc(1, sizeof(*d)) : NULL;
	struct orphan *cut;
	struct store_file file;
	enum err err = h && (d || !truncates) ? OK : ERR_NOMEM;

	if (!err)
		err = look(c, &file);
	if (!err && file.ino && !S_ISREG(file.mode))
		err = ERR_NOT_FILE;
	if (err) {
		free(d);
		if (h)
			handle_free(f, h);
		call_answer(c, err);
		return;
	}
	set_fi(&c->fi, h);
	table_lock(&f->table);
	tells = drops_setid && node->has_setid;
	cut = truncates && node->gone ? node->orphan : NULL;
	if (file.ino)
		c->fi.keep_cache = keeps_cache(node, file.rev);
	if (truncates && !node->gone)
		h->deferred = defer_truncation(f, node, d, drops_setid);
	else
		free(d);
	table_unlock(&f->table);
	if (cut) /* the kernel has noted that it is empty */
		err = orphan_cut(f, cut, 0);
	if (err) {
		handle_free(f, h);
		call_answer(c, err);
		return;
	}
	if (tells) /* the kernel leaves them to who truncates */
		tell(f, TELL_ATTR, node->id, NULL, bytes_of(NULL, 0), 0, 0);
	if (fuse_reply_open(c->req, &c->fi))
		handle_free(f, h);
	call_free(c);
}

void op_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct fsd *f = fuse_req_userdata(req);
	bool writes =
		(fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC;
	struct call *c;

	if (writes && !call_may_change(f, req))
		return;
	c = call_new(f, req, id, NULL);
	if (!c)
		return;
	c->fi = *fi;
	c->rests = REST_CHECKED;
	c->run = open_run;
	call_fresh(c);
}

/* ------------------------------------------------------------------ create */

static void reply_create(struct call *c, struct fuse_entry_param *e,
			 struct handle *h)
{
	struct fsd *f = c->f;

	set_fi(&c->fi, h);
	if (fuse_reply_create(c->req, e, &c->fi)) {
		handle_free(f, h);
		entry_untake(f, e->ino);
	}
	c->req = NULL;
}

static struct handle *handle_of(struct call *c, uint64_t id)
{
	struct fsd *f = c->f;
	struct node *node;

	table_lock(&f->table);
	node = table_node(&f->table, id);
	table_unlock(&f->table);
	/* Its lookup has just been counted, so it stays. */
	return node ? handle_new(f, node, c->fi.flags) : NULL;
}

static bool created(struct call *c, enum err err)
{
	struct fuse_entry_param e;
	struct handle *h = NULL;

	/* Somebody was faster; the kernel looks again, and opens. */
	if (err == ERR_EXISTS && !(c->fi.flags & O_EXCL))
		err = ERR_STALE;
	if (!err)
		err = entry_find(c, place_name(&c->at), &e);
	if (!err)
		h = handle_of(c, e.ino);
	if (!err && !h) {
		entry_untake(c->f, e.ino);
		err = ERR_NOMEM;
	}
	if (err)
		call_say(c, err);
	else
		reply_create(c, &e, h);
	return true;
}

static struct defer *new_creation(struct call *c)
{
	struct defer *d = calloc(1, sizeof(*d));
	const struct fuse_ctx *ctx = fuse_req_ctx(c->req);

	if (!d)
		return NULL;
	d->kind = DEFER_CREATE;
	d->parent = c->at.node;
	d->n = c->at.n;
	memcpy(d->name, c->at.name, c->at.n);
	d->mode = c->op.mode & 07777;
	d->uid = c->op.uid;
	d->gid = c->op.gid;
	d->caller_uid = ctx->uid;
	d->caller_gid = ctx->gid;
	d->access = c->fi.flags & O_ACCMODE;
	d->truncates = c->fi.flags & O_TRUNC;
	return d;
}

/*
 * Enter the file that is to be; the name means nothing yet. The table is
 * locked. ERR_EXISTS: it is deferred already.
 */
static enum err enter_creation(struct call *c, struct defer *d, uint64_t ino,
			       struct fuse_entry_param *e)
{
	struct table *t = &c->f->table;
	struct bytes name = place_name(&c->at);
	struct node *node = table_child(t, c->at.node, name);
	enum err err;

	if (node && node->defer)
		return ERR_EXISTS;
	err = table_enter(t, c->at.node, name, ino, &node);
	if (err)
		return err;
	d->node = node;
	/* One clock, and a directory that has times. */
	d->dated = atomic_load(&c->f->alone) && !(c->at.node->ino >> 63);
	table_looked_up(node);
	defer_add(c->f, d);
	memset(e, 0, sizeof(*e));
	answer_deferred(c->f, d, &e->attr);
	e->ino = node->id;
	return OK;
}

/* False: it cannot be deferred. */
static bool create_later(struct call *c)
{
	struct fsd *f = c->f;
	struct bytes path = buf_bytes(&c->path);
	uint64_t ino = ino_take(f, store_partition_of(f->store, path), path);
	struct fuse_entry_param e;
	struct store_file file;
	uint64_t serial = 0;
	struct handle *h;
	struct defer *d;
	enum err err;

	if (!ino)
		return false;
	err = store_file_stat(f->store, path, &file);
	d = err == ERR_NOT_FOUND ? new_creation(c) : NULL;
	if (!d)
		return false;
	table_lock(&f->table);
	err = enter_creation(c, d, ino, &e);
	if (!err)
		serial = d->serial;
	table_unlock(&f->table);
	if (err) {
		free(d);
		return false;
	}
	h = handle_of(c, e.ino);
	if (h) {
		h->deferred = serial;
		reply_create(c, &e, h);
	} else {
		entry_untake(f, e.ino);
		call_say(c, ERR_NOMEM);
	}
	call_free(c);
	return true;
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi)
{
	struct fsd *f = fuse_req_userdata(req);
	struct call *c;
	enum err err;

	if (!call_may_change(f, req))
		return;
	c = call_new(f, req, parent, name);
	if (!c)
		return;
	c->fi = *fi;
	c->op.kind = STORE_FILE_CREATE;
	c->op.flags = STORE_FILE_POSIX;
	c->finish = created;
	err = change_owner(c, S_IFREG | (mode & 07777));
	if (err)
		call_answer(c, err);
	else if (fi->flags & O_EXCL || !create_later(c))
		change_begin(c);
}

/* ---------------------------------------------------------- close, fsync - */

void op_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct fsd *f = fuse_req_userdata(req);
	struct handle *h = (struct handle *)(uintptr_t)fi->fh;

	defer_close(f, h);
	handle_free(f, h);
	fuse_reply_err(req, 0);
}

static void synced(struct call *c)
{
	struct fsd *f = c->f;
	enum err err = c->waited;

	table_lock(&f->table);
	if (!err)
		err = c->at.node->lost;
	c->at.node->lost = OK;
	table_unlock(&f->table);
	call_answer(c, err);
}

void op_fsync(fuse_req_t req, fuse_ino_t id, int datasync,
	      struct fuse_file_info *fi)
{
	struct call *c = call_new(fuse_req_userdata(req), req, id, NULL);

	if (c)
		defer_settle(c, c->at.node, synced);
}
