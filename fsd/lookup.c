/*
 * fsd/lookup.c - what a name means, and what it is like.
 *
 * What the store says and what the table says is joined without a lock over
 * both: if an entry was applied in between, the store is asked once more. Such
 * an entry has also left an item for the teller, which the kernel handles after
 * this answer, because it holds the directory until it has it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "fsd/internal.h"

/* Attributes with what is deferred of node; the table is locked. */
static bool overlay(struct fsd *f, struct node *node, struct stat *st)
{
	if (!node->defer)
		return false;
	if (node->defer->kind == DEFER_CREATE)
		answer_deferred(f, node->defer, st);
	if (node->defer->drops_setid)
		st->st_mode = answer_dropped_setid(st->st_mode);
	st->st_size = 0;
	st->st_blocks = 0;
	st->st_mtim = st->st_ctim = time_of(node->defer->made_ns);
	return true;
}

/* The kernel will have been told st. The table is locked. */
static void note_told(struct node *node, const struct stat *st)
{
	node->has_setid =
		S_ISREG(st->st_mode) && st->st_mode & (S_ISUID | S_ISGID);
}

/*
 * The newest file that is deferred in a directory was made at made_ns, 0: there
 * is none.
 */
static void overlay_children(struct stat *st, uint64_t made_ns)
{
	if (!made_ns)
		return;
	st->st_mtim = time_of(store_dir_time(ns_of(st->st_mtim), made_ns));
	st->st_ctim = time_of(store_dir_time(ns_of(st->st_ctim), made_ns));
}

static uint64_t links_of(struct call *c, struct node *node, struct bytes path,
			 const struct store_file *file)
{
	if (!S_ISDIR(file->mode))
		return file->nlink;
	if (file->implicit && path.n)
		return 1;
	return 2 + subdirs_of(c->f, node, path);
}

/* A deferred creation is seen by this mount. The table is locked. */
static bool find_deferred(struct call *c, struct node *parent,
			  struct bytes name, struct fuse_entry_param *e)
{
	struct node *node = table_child(&c->f->table, parent, name);

	if (!node || !node->defer || node->defer->kind != DEFER_CREATE ||
	    node->defer->hidden)
		return false;
	memset(e, 0, sizeof(*e));
	overlay(c->f, node, &e->attr);
	note_told(node, &e->attr);
	e->ino = node->id;
	table_looked_up(node);
	return true;
}

/*
 * A directory that nobody made, so numbered by its path, stays the kernel's
 * same one when a directory above it was renamed. The table is locked.
 */
static void renumber(struct fsd *f, struct node *parent, struct bytes name,
		     uint64_t ino)
{
	struct node *node = table_child(&f->table, parent, name);

	if (!node || !node->is_dir || !(node->ino >> 63) || node->ino == ino ||
	    table_ino(&f->table, ino))
		return;
	table_set_ino(&f->table, node, ino);
	/* Listings that the kernel keeps show the old one. */
	tell(f, TELL_INODE, parent->id, NULL, bytes_of(NULL, 0), 0, 0);
}

static enum err find_entry(struct call *c, struct bytes name,
			   struct fuse_entry_param *e)
{
	struct node *parent = c->at.node;
	struct bytes path = buf_bytes(&c->path);
	struct fsd *f = c->f;
	struct table *t = &f->table;
	struct store_file file;
	struct node *node = NULL;
	uint64_t seq, made_ns = 0;
	enum err err = OK;
	bool found, settled = false;

	for (int i = 0; i < 3 && !settled && !err; i++) {
		table_lock(t);
		found = find_deferred(c, parent, name, e);
		table_unlock(t);
		if (found)
			return OK;
		seq = atomic_load(&f->seq);
		err = store_file_stat(f->store, path, &file);
		if (err)
			return err;
		table_lock(t);
		settled = seq == atomic_load(&f->seq) || i == 2;
		if (settled && S_ISDIR(file.mode))
			renumber(f, parent, name, file.ino);
		if (settled)
			err = table_enter(t, parent, name, file.ino, &node);
		if (settled && !err) {
			node->is_dir = S_ISDIR(file.mode);
			made_ns = defer_made_ns(f, node);
			table_looked_up(node);
		}
		table_unlock(t);
	}
	if (err)
		return err;
	memset(e, 0, sizeof(*e));
	answer_stat(f, &file, links_of(c, node, path, &file), &e->attr);
	overlay_children(&e->attr, made_ns);
	e->ino = node->id;
	e->attr_timeout = e->entry_timeout = answer_timeout(c);
	table_lock(t);
	if (overlay(f, node, &e->attr) || defer_undated(f, node, UINT64_MAX))
		e->attr_timeout = 0;
	note_told(node, &e->attr);
	table_unlock(t);
	return OK;
}

/* c->path becomes that of name in c->at's directory. */
static enum err name_path(struct call *c, struct bytes name)
{
	enum err err = OK;

	c->path.n = 0;
	table_lock(&c->f->table);
	err = table_path(&c->f->table, c->at.node, &c->path);
	table_unlock(&c->f->table);
	if (!err && c->path.n)
		err = buf_add(&c->path, "/", 1);
	if (!err)
		err = buf_add(&c->path, name.p, name.n);
	if (!err && c->path.n > TABLE_PATH_BYTES_MAX)
		err = ERR_KEY_TOO_LONG;
	return err == ERR_NOT_FOUND ? ERR_STALE : err;
}

enum err entry_find(struct call *c, struct bytes name,
		    struct fuse_entry_param *e)
{
	struct fsd *f = c->f;
	enum err err = ERR_STALE;
	bool passed = true;

	for (int i = 0; i < FSD_MOVES_MAX && passed; i++) {
		uint32_t moves = moves_begin(f);

		err = name_path(c, name);
		if (!err)
			err = find_entry(c, name, e);
		passed = moves_passed(f, moves);
		if (passed && !err && i + 1 < FSD_MOVES_MAX)
			entry_untake(f, e->ino);
	}
	return err;
}

void entry_untake(struct fsd *f, uint64_t id)
{
	struct node *node;

	table_lock(&f->table);
	node = table_node(&f->table, id);
	if (node)
		table_forget(&f->table, node, 1);
	table_unlock(&f->table);
}

static void reply_entry(struct call *c, const struct fuse_entry_param *e)
{
	if (fuse_reply_entry(c->req, e) && e->ino)
		entry_untake(c->f, e->ino);
	c->req = NULL;
}

bool entry_answer(struct call *c, enum err err)
{
	struct fuse_entry_param e;

	if (!err)
		err = entry_find(c, place_name(&c->at), &e);
	if (err)
		call_say(c, err);
	else
		reply_entry(c, &e);
	return true;
}

/* ------------------------------------------------------------------ lookup */

static void lookup_run(struct call *c)
{
	struct fuse_entry_param e;
	enum err err = entry_find(c, place_name(&c->at), &e);

	if (!err || err == ERR_NOT_FOUND)
		proof_looked(c, err ? 0 : e.ino);
	if (err == ERR_NOT_FOUND && answer_timeout(c) > 0) {
		memset(&e, 0, sizeof(e));
		e.entry_timeout = FSD_NEGATIVE_S;
		err = OK;
	}
	if (err)
		call_say(c, err);
	else
		reply_entry(c, &e);
	call_free(c);
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct call *c = call_new(fuse_req_userdata(req), req, parent, name);

	if (!c)
		return;
	c->rests = REST_CHECKED;
	c->run = lookup_run;
	call_fresh(c);
}

static void forget(struct fsd *f, uint64_t id, uint64_t n)
{
	struct node *node = table_node(&f->table, id);

	if (node)
		table_forget(&f->table, node, n);
}

void op_forget(fuse_req_t req, fuse_ino_t id, uint64_t n)
{
	struct fsd *f = fuse_req_userdata(req);

	table_lock(&f->table);
	forget(f, id, n);
	table_unlock(&f->table);
	fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count,
		     struct fuse_forget_data *forgets)
{
	struct fsd *f = fuse_req_userdata(req);

	table_lock(&f->table);
	for (size_t i = 0; i < count; i++)
		forget(f, forgets[i].ino, forgets[i].nlookup);
	table_unlock(&f->table);
	fuse_reply_none(req);
}

/* ----------------------------------------------------------------- getattr */

/* Found without the store: deferred, or removed. The table is not locked. */
static bool attr_here(struct call *c, struct stat *st)
{
	struct fsd *f = c->f;
	struct node *node = c->at.node;
	struct orphan *o;
	bool here = false;

	table_lock(&f->table);
	if (node->defer && node->defer->kind == DEFER_CREATE)
		here = overlay(f, node, st);
	o = !here && node->gone ? node->orphan : NULL;
	table_unlock(&f->table);
	if (o) /* it lives as long as the node */
		orphan_attr(f, o, st);
	return here || o;
}

/*
 * A directory that nobody made has a number by its path; it gets another one
 * when it is renamed.
 */
static enum err stat_node(struct call *c, struct store_file *file)
{
	struct fsd *f = c->f;
	struct node *node = c->at.node;
	struct bytes path = buf_bytes(&c->path);
	uint64_t ino = node->ino;
	enum err err;
	bool named;

	if (node->is_root)
		return store_file_stat(f->store, path, file);
	err = store_file_stat_ino(f->store, path, ino, file);
	table_lock(&f->table);
	named = node->names != NULL; /* else another may be made there */
	table_unlock(&f->table);
	if (err != ERR_STALE || !node->is_dir || !(ino >> 63) || !named)
		return err;
	err = store_file_stat(f->store, path, file);
	if (err || !S_ISDIR(file->mode))
		return err ? err : ERR_STALE;
	table_lock(&f->table);
	table_set_ino(&f->table, node, file->ino);
	if (node->names)
		tell(f, TELL_INODE, node->names->parent->id, NULL,
		     bytes_of(NULL, 0), 0, 0);
	table_unlock(&f->table);
	return OK;
}

enum err node_attr(struct call *c, struct stat *st)
{
	struct fsd *f = c->f;
	struct node *node = c->at.node;
	struct store_file file;
	enum err err = OK;

	for (int i = 0; i <= FSD_STALE_TRIES; i++) {
		(void)moves_begin(f);
		if (attr_here(c, st))
			return OK;
		err = call_paths(c);
		if (!err)
			err = stat_node(c, &file);
		if (err != ERR_STALE && err != ERR_NOT_FOUND &&
		    err != ERR_NOT_DIR)
			break;
	}
	if (err == ERR_NOT_FOUND || err == ERR_NOT_DIR)
		err = ERR_STALE;
	if (err)
		return err;
	answer_stat(f, &file, links_of(c, node, buf_bytes(&c->path), &file),
		    st);
	if (node->is_root)
		st->st_ino = STORE_ROOT_INO;
	return OK;
}

void node_answer_attr(struct call *c)
{
	struct fsd *f = c->f;
	double timeout = answer_timeout(c);
	struct stat st;
	enum err err = OK;
	bool settled = false;
	uint64_t seq;

	for (int i = 0; i < 3 && !settled && !err; i++) {
		seq = atomic_load(&f->seq);
		err = node_attr(c, &st);
		if (err)
			break;
		table_lock(&f->table);
		settled = seq == atomic_load(&f->seq);
		if (overlay(f, c->at.node, &st) || c->at.node->gone)
			timeout = 0;
		overlay_children(&st, defer_made_ns(f, c->at.node));
		note_told(c->at.node, &st);
		table_unlock(&f->table);
	}
	if (err) {
		call_answer(c, err);
		return;
	}
	if (proof_is_void(c)) {
		call_fresh(c);
		return;
	}
	proof_checked(c);
	fuse_reply_attr(c->req, &st, settled ? timeout : 0);
	call_free(c);
}

/* Is c's node known to this mount alone: still to be made, or removed? */
static bool is_of_here(struct call *c)
{
	struct node *node = c->at.node;
	bool is;

	table_lock(&c->f->table);
	is = (node->defer && node->defer->kind == DEFER_CREATE) ||
	     (node->gone && node->orphan);
	table_unlock(&c->f->table);
	return is;
}

/*
 * What is deferred in a directory will change its times. Where it is not known
 * to what, it is committed before they are shown, unless that is known to take
 * long.
 */
static void getattr_run(struct call *c)
{
	struct fsd *f = c->f;
	struct node *child = NULL;

	if (!c->waited && !atomic_load(&f->blind)) {
		table_lock(&f->table);
		child = defer_undated(f, c->at.node, c->began_ns);
		if (child)
			table_ref(child);
		table_unlock(&f->table);
	}
	if (child) {
		defer_settle(c, child, getattr_run);
		/* c may be over and gone from here on */
		table_lock(&f->table);
		table_unref(&f->table, child);
		table_unlock(&f->table);
		return;
	}
	c->run = node_answer_attr;
	if (is_of_here(c)) {
		c->proof.partition = PROOF_NONE;
		node_answer_attr(c);
	} else {
		call_fresh(c);
	}
}

void op_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct call *c = call_new(fuse_req_userdata(req), req, id, NULL);

	if (!c)
		return;
	c->rests = REST_FOUND;
	getattr_run(c);
}

/* ---------------------------------------------------------------- readlink */

void op_readlink(fuse_req_t req, fuse_ino_t id)
{
	struct fsd *f = fuse_req_userdata(req);
	struct call *c = call_new(f, req, id, NULL);
	char target[TABLE_PATH_BYTES_MAX + 1];
	size_t got = 0;
	enum err err;

	if (!c)
		return;
	err = call_paths(c);
	if (!err)
		err = store_file_read(f->store, buf_bytes(&c->path),
				      c->at.node->ino, 0, target,
				      sizeof(target) - 1, &got);
	if (err) {
		call_answer(c, err);
		return;
	}
	target[got] = 0;
	fuse_reply_readlink(req, target);
	call_free(c);
}

/* ------------------------------------------------------------------ statfs */

void op_statfs(fuse_req_t req, fuse_ino_t id)
{
	struct fsd *f = fuse_req_userdata(req);
	struct store_storage_status *s = calloc(1, sizeof(*s));
	struct statvfs v = { .f_bsize = 4096,
			     .f_frsize = 4096,
			     .f_namemax = TABLE_NAME_BYTES_MAX };
	uint64_t free_bytes = 0;

	if (!s) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	store_storage_status(f->store, s);
	if (f->o.free_bytes)
		free_bytes = f->o.free_bytes(f->o.free_ctx);
	v.f_bfree = v.f_bavail = free_bytes / 4096;
	v.f_blocks = v.f_bfree + (s->log_bytes + s->merged_bytes + 4095) / 4096;
	v.f_files = s->keys + v.f_bfree;
	v.f_ffree = v.f_favail = v.f_bfree;
	fuse_reply_statfs(req, &v);
	free(s);
}
