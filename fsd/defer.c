/*
 * fsd/defer.c - creates and truncations that wait for the first write.
 *
 * `echo v > key` is to be one entry, so that no other reader ever sees an empty
 * value in between: O_CREAT without O_EXCL and O_TRUNC are kept back and joined
 * with the first write. Without one they are committed at fsync, at whatever
 * depends on them, at close, or after FSD_DEFER_MS.
 *
 *   open ---> deferred --- WRITE carries it -----> gone
 *                 |   '--- own call carries it --'   |
 *                 '--- failed: again with the next   '- waiters go on
 *
 * If a write that carries it fails because nobody could take it (EIO), or with
 * an outcome that is not known, that was its last attempt of its own accord:
 * the program is told that nothing happened, so the key must not be found empty
 * when there is a leader again. It goes with a later write, or fsync; or with
 * the last close it is forgotten.
 *
 * One call at a time carries it; who needs the outcome waits in its list. Of a
 * create whose name has come to be meanwhile, the other file is taken if the
 * caller may open it so, as if the open had come a moment later.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "fsd/internal.h"

void defer_add(struct fsd *f, struct defer *d)
{
	d->serial = ++f->defer_serial;
	d->made_ns = clock_wall_ns(f->clock);
	d->born_ns = fsd_now(f);
	d->due_ns = d->born_ns + FSD_DEFER_MS * 1000000ull;
	if (!f->defers)
		f->defers_last = &f->defers;
	d->next = NULL;
	d->back = f->defers_last;
	*f->defers_last = d;
	f->defers_last = &d->next;
	table_ref(d->node);
	if (d->parent)
		table_ref(d->parent);
	d->node->defer = d;
	call_wake_ticker(f);
}

struct node *defer_undated(struct fsd *f, const struct node *dir,
			   uint64_t by_ns)
{
	struct defer *d = dir->is_dir ? f->defers : NULL;

	while (d && (d->parent != dir || d->dated || d->born_ns > by_ns))
		d = d->next;
	return d ? d->node : NULL;
}

uint64_t defer_made_ns(struct fsd *f, const struct node *dir)
{
	uint64_t ns = 0;

	for (struct defer *d = dir->is_dir ? f->defers : NULL; d; d = d->next)
		if (d->parent == dir && d->dated && d->made_ns > ns)
			ns = d->made_ns;
	return ns;
}

/* Take node's out; who waited comes to waiters. The table is locked. */
static void drop(struct fsd *f, struct node *node, struct call_list *waiters)
{
	struct defer *d = node->defer;

	*d->back = d->next;
	if (d->next)
		d->next->back = d->back;
	else
		f->defers_last = d->back;
	node->defer = NULL;
	*waiters = d->waiters;
	if (waiters->first == NULL)
		waiters->last = &waiters->first;
	if (d->parent)
		table_unref(&f->table, d->parent);
	table_unref(&f->table, node);
	free(d);
}

/* Who waited goes on, with what became of it. */
static void resume(struct call_list *waiters, enum err err)
{
	struct call *c;

	while ((c = call_pop(waiters))) {
		c->waited = err;
		c->run(c);
	}
}

static void set_create(struct call *c, const struct defer *d)
{
	struct store_file_op *op = &c->op;

	table_ref(d->parent);
	table_unref(&c->f->table, c->at.node); /* d holds it too */
	c->at.node = d->parent;
	c->at.has_name = true;
	c->at.n = d->n;
	memcpy(c->at.name, d->name, d->n);
	op->flags |= STORE_FILE_POSIX;
	op->ino = op->new_ino = d->node->ino;
	op->mode = S_IFREG | d->mode;
	op->uid = d->uid;
	op->gid = d->gid;
	op->fields = STORE_HAS_MODE | STORE_HAS_UID | STORE_HAS_GID;
	op->mtime_ns = d->dated ? d->made_ns : 0;
}

/* On a node alone with the time that is shown until then. */
static void set_cut(struct call *c, const struct defer *d)
{
	struct store_file_op *op = &c->op;

	op->kind = STORE_FILE_SET;
	op->set = STORE_SET_BYTES;
	op->flags |= STORE_FILE_CUT;
	op->off = 0;
	op->mtime_ns = atomic_load(&c->f->alone) ? d->made_ns : 0;
}

/* c carries d from now on. The table is locked. */
static void take(struct call *c, struct defer *d)
{
	struct store_file_op *op = &c->op;
	bool writes = op->kind == STORE_FILE_WRITE;

	d->busy = true;
	c->carries = true;
	if (d->drops_setid && d->kind == DEFER_TRUNCATE)
		op->flags |= STORE_FILE_DROP_SETID;
	else if (d->drops_setid)
		d->mode = answer_dropped_setid(d->mode);
	c->deferred = d->node;
	table_ref(d->node);
	if (d->kind == DEFER_CREATE) {
		set_create(c, d);
		if (writes)
			op->flags |= STORE_FILE_MAKE;
		else
			op->kind = STORE_FILE_CREATE;
	} else if (writes) {
		op->flags |= STORE_FILE_TRUNCATE;
	} else {
		set_cut(c, d);
	}
}

bool defer_carry(struct call *c)
{
	struct table *t = &c->f->table;
	struct defer *d;
	bool go = true;

	table_lock(t);
	d = c->at.node->defer;
	if (d && d->busy) {
		call_push(&d->waiters, c);
		go = false;
	} else if (d) {
		take(c, d);
	}
	table_unlock(t);
	return go;
}

/* ------------------------------------------- the name is there already --- */

static bool is_in_group(struct call *c, const struct defer *d, gid_t gid)
{
	gid_t groups[FSD_GROUPS_MAX];
	int n = 0;

	if (c->req)
		n = fuse_req_getgroups(c->req, FSD_GROUPS_MAX, groups);
	n = n > FSD_GROUPS_MAX ? FSD_GROUPS_MAX : n;
	for (int i = 0; i < n; i++)
		if (groups[i] == gid)
			return true;
	return d->caller_gid == gid;
}

/* What an open of d's kind wants of a file, as bits of others. */
static mode_t wanted(const struct defer *d)
{
	mode_t bits = d->truncates ? S_IWOTH : 0;

	if (d->access != O_WRONLY)
		bits |= S_IROTH;
	if (d->access != O_RDONLY)
		bits |= S_IWOTH;
	return bits;
}

static bool may_open(struct call *c, const struct defer *d,
		     const struct store_file *file)
{
	mode_t bits = wanted(d), mode;
	struct stat st;

	answer_stat(c->f, file, 0, &st);
	mode = st.st_mode;
	if (!d->caller_uid)
		return true;
	if (d->caller_uid == st.st_uid)
		mode >>= 6;
	else if (is_in_group(c, d, st.st_gid))
		mode >>= 3;
	return (mode & bits) == bits;
}

/* c's operation is about the file that node has become. The table is locked. */
static void retarget(struct call *c, const struct defer *d)
{
	struct store_file_op *op = &c->op;
	bool writes = op->kind == STORE_FILE_WRITE;

	table_ref(c->deferred);
	table_unref(&c->f->table, c->at.node);
	c->at.node = c->deferred;
	c->at.has_name = false;
	op->flags &= ~(uint32_t)(STORE_FILE_POSIX | STORE_FILE_MAKE);
	op->dir_ino = op->new_ino = 0;
	op->fields = 0;
	if (d->truncates && writes)
		op->flags |= STORE_FILE_TRUNCATE;
	if (d->truncates && !writes)
		set_cut(c, d);
}

/*
 * The kernel has times of the directory that are not so. To be told makes it
 * ask for the mode too, at every step into the directory.
 */
static void tell_parent(struct fsd *f, struct node *parent)
{
	uint64_t id;

	table_lock(&f->table);
	id = parent->id;
	table_unlock(&f->table);
	tell(f, TELL_ATTR, id, NULL, bytes_of(NULL, 0), 0, 0);
}

/*
 * The name of c's creation means a file that is not ours: take that. True: c
 * goes on.
 */
static bool adopt(struct call *c, enum err *err)
{
	struct fsd *f = c->f;
	struct call_list waiters = { 0 };
	struct store_file file;
	struct defer *d;
	bool goes = false;

	*err = store_file_stat(f->store, c->op.path, &file);
	if (!*err && !S_ISREG(file.mode))
		*err = S_ISDIR(file.mode) ? ERR_IS_DIR : ERR_NOT_FILE;
	tell_parent(f, c->at.node); /* it has got no new file after all */
	table_lock(&f->table);
	d = c->deferred->defer;
	if (!*err && !may_open(c, d, &file))
		*err = ERR_PERMISSION;
	if (!*err) {
		goes = c->op.kind == STORE_FILE_WRITE || d->truncates;
		table_set_ino(&f->table, c->deferred, file.ino);
		if (d->truncates && d->caller_uid)
			c->op.flags |= STORE_FILE_DROP_SETID;
		retarget(c, d);
	}
	if (!*err && d->truncates) {
		d->kind = DEFER_TRUNCATE;
	} else {
		c->carries = false;
		drop(f, c->deferred, &waiters);
	}
	table_unlock(&f->table);
	resume(&waiters, *err);
	if (goes)
		call_change(c);
	return goes;
}

/*
 * A truncation that its carrier did not bring about before the file was
 * removed: the orphan is cut, if it is not by now.
 */
static void cut_orphan(struct call *c, bool failed)
{
	struct fsd *f = c->f;
	struct node *node = c->deferred;
	struct orphan *o = NULL;

	table_lock(&f->table);
	if (failed && node->gone && node->defer->kind == DEFER_TRUNCATE)
		o = node->orphan;
	table_unlock(&f->table);
	if (o && orphan_bytes(o))
		(void)!orphan_cut(f, o, 0); /* of what was not kept: nothing */
}

/*
 * Not what is wrong with the write itself (EFBIG), nor a full disk: then the
 * file is there, and empty, as on any disk.
 */
static bool spoils(enum err err)
{
	int e = answer_errno(err);

	return e == EIO || e == ETIMEDOUT;
}

void defer_spoil(struct fsd *f, struct node *node, enum err err)
{
	table_lock(&f->table);
	if (node->defer && spoils(err))
		node->defer->spoiled = true;
	table_unlock(&f->table);
}

bool defer_carried(struct call *c, enum err *err)
{
	struct fsd *f = c->f;
	struct call_list waiters = { 0 };
	struct defer *d;
	bool gone, undated;

	if (*err == ERR_EXISTS && c->op.flags & STORE_FILE_POSIX)
		return adopt(c, err);
	cut_orphan(c, *err != OK);
	table_lock(&f->table);
	d = c->deferred->defer;
	gone = c->deferred->gone;
	undated = !d->dated;
	if (!*err || gone) {
		drop(f, c->deferred, &waiters);
	} else {
		d->busy = false;
		if (c->op.kind == STORE_FILE_WRITE && spoils(*err))
			d->spoiled = true;
		waiters = d->waiters;
		if (!waiters.first)
			waiters.last = &waiters.first;
		d->waiters = (struct call_list){ 0 };
	}
	c->carries = false;
	table_unlock(&f->table);
	if (!*err && c->at.has_name && undated)
		tell_parent(f, c->at.node);
	resume(&waiters, gone ? OK : *err);
	return false;
}

/* ------------------------------------------------------- of its own accord */

/* Who has it open may still write to it, which carries it. */
static bool keep(struct call *c, enum err err)
{
	struct fsd *f = c->f;
	struct defer *d;
	bool kept;

	table_lock(&f->table);
	d = c->deferred->defer;
	kept = c->deferred->opens > 0 && !atomic_load(&f->ending);
	kept = kept || c->deferred->gone; /* fsd/orphan.c has it */
	if (!c->deferred->gone)
		c->deferred->lost = err;
	if (d && kept)
		d->due_ns = fsd_now(f) + FSD_AGAIN_MS * 1000000ull;
	table_unlock(&f->table);
	return kept;
}

/*
 * It is not to be done: what the kernel has of it is not so. d is free; the
 * table is locked, and is unlocked.
 */
static void give_up(struct fsd *f, struct defer *d, enum err err)
{
	struct call_list waiters = { 0 };
	struct node *node = d->node, *parent = d->parent;
	struct bytes name = bytes_of(d->name, d->n);
	bool creates = d->kind == DEFER_CREATE;

	log_warn("mount", "deferred_lost err=\"%s\"", err_text(err));
	if (creates) {
		tell(f, TELL_ENTRY, 0, parent, name, 0, 0);
		tell(f, TELL_ATTR, parent->id, NULL, bytes_of(NULL, 0), 0, 0);
	}
	tell(f, TELL_INODE, node->id, NULL, bytes_of(NULL, 0), 0, 0);
	if (creates && table_child(&f->table, parent, name) == node) {
		node->gone = true;
		table_remove(&f->table, parent, name);
	}
	drop(f, node, &waiters);
	table_unlock(&f->table);
	resume(&waiters, err);
}

static bool committed(struct call *c, enum err err)
{
	struct defer *d;

	if (c->carries && defer_carried(c, &err))
		return false;
	if (!err || keep(c, err))
		return true;
	table_lock(&c->f->table);
	d = c->deferred->defer;
	if (d && !d->busy)
		give_up(c->f, d, err);
	else
		table_unlock(&c->f->table);
	return true;
}

/* Commit d, which is free; the table is locked, and is unlocked. */
static void commit(struct fsd *f, struct defer *d)
{
	struct node *node = d->node;
	struct call *c;

	table_ref(node);
	d->busy = true;
	table_unlock(&f->table);
	c = call_own(f, node);
	table_lock(&f->table);
	d->busy = false;
	if (c) {
		c->op.kind = STORE_FILE_SET;
		c->finish = committed;
		take(c, d);
	}
	table_unref(&f->table, node);
	table_unlock(&f->table);
	if (c)
		call_change(c);
}

void defer_removed(struct fsd *f, struct node *node)
{
	struct defer *d = node->defer;
	struct call_list waiters;

	/* Who carries it finds the file gone and comes to defer_carried. */
	if (d && !d->busy && !d->waiters.first)
		drop(f, node, &waiters);
}

void defer_close(struct fsd *f, const struct handle *h)
{
	struct node *node = h->node;
	struct defer *d;
	bool last;

	table_lock(&f->table);
	d = node->defer;
	last = node->opens == 1;
	if (!d || d->busy ||
	    (!last && (d->spoiled || d->serial != h->deferred)))
		table_unlock(&f->table);
	else if (d->spoiled)
		give_up(f, d, ERR_IO);
	else
		commit(f, d);
}

/* The next to be committed, NULL: none now; *due: when. The table is locked. */
static struct defer *next_due(struct fsd *f, uint64_t now, uint64_t *due)
{
	bool all = atomic_load(&f->stopping);

	*due = UINT64_MAX;
	for (struct defer *d = f->defers; d; d = d->next) {
		if (d->busy || d->spoiled || d->tried_ns == now)
			continue;
		if (all || d->due_ns <= now)
			return d;
		*due = d->due_ns < *due ? d->due_ns : *due;
	}
	return NULL;
}

uint64_t defer_tick(struct fsd *f)
{
	uint64_t now = fsd_now(f), due;
	struct defer *d;

	for (;;) {
		table_lock(&f->table);
		d = next_due(f, now, &due);
		if (!d)
			break;
		d->tried_ns = now; /* once in a tick, whatever comes of it */
		commit(f, d);
	}
	table_unlock(&f->table);
	return due;
}

/* ------------------------------------------------------------------ settle */

static void settle_one(struct call *c);

/* The next that c has to wait for; the table is locked. */
static struct defer *next_of(struct call *c)
{
	struct defer *d;

	if (c->deferred)
		return c->deferred->defer;
	for (d = c->f->defers; d && d->born_ns > c->began_ns; d = d->next)
		;
	return d;
}

/* Wait for one, and come again. */
static void settle_one(struct call *c)
{
	struct fsd *f = c->f;
	struct node *node;
	struct defer *d;

	table_lock(&f->table);
	d = c->waited ? NULL : next_of(c);
	if (d) {
		c->run = settle_one;
		node = d->node;
		table_ref(node);
		call_push(&d->waiters, c);
		/* c may be over and gone from here on */
		if (!d->busy)
			commit(f, d);
		else
			table_unlock(&f->table);
		table_lock(&f->table);
		table_unref(&f->table, node);
		table_unlock(&f->table);
		return;
	}
	if (c->deferred)
		table_unref(&f->table, c->deferred);
	c->deferred = NULL;
	table_unlock(&f->table);
	c->then(c);
}

void defer_settle(struct call *c, struct node *node,
		  void (*then)(struct call *c))
{
	struct fsd *f = c->f;

	c->then = then;
	c->waited = OK;
	if (node) {
		table_lock(&f->table);
		table_ref(node);
		c->deferred = node;
		table_unlock(&f->table);
	}
	settle_one(c);
}
