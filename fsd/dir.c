/*
 * fsd/dir.c - listings.
 *
 * The names of a directory are taken down when it is read from the start: what
 * comes and goes meanwhile does not disturb, and rewinding looks anew. What
 * each name is now is asked when it is shown; who is gone by then is left out.
 *
 * The cookie of an entry is a hash of its name, and entries are listed in the
 * order of their cookies. So a cookie means the same in every listing of the
 * directory, older or newer; the kernel, which keeps listings, goes on with
 * one handle where another began.
 *
 *   0  ->  "."  ->  1  ->  ".."  ->  2  ->  names, by hash  ->  the last's hash
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/internal.h"

enum { PAGE = 1000, FIRST = 2 };

struct dir_entry {
	uint64_t cookie;
	size_t off; /* in names                                          */
};

struct dir {
	struct buf names; /* each with its NUL                               */
	struct dir_entry *entry;
	size_t count, cap;
	size_t prefix_bytes; /* of a key before the name                     */
	bool loaded;
};

void dir_free(struct dir *d)
{
	if (!d)
		return;
	buf_done(&d->names);
	free(d->entry);
	free(d);
}

/* -------------------------------------------------------------------- load */

/* FNV-1a, mixed, above FIRST and within what an off_t holds. */
static uint64_t cookie_of(struct bytes name)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < name.n; i++)
		h = (h ^ name.p[i]) * 0x100000001b3ull;
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdull;
	h ^= h >> 29;
	h &= INT64_MAX >> 1;
	return h > FIRST ? h : h + FIRST + 1;
}

static enum err add_name(struct dir *d, struct bytes name)
{
	struct dir_entry *entry;
	enum err err;

	if (d->count == d->cap) {
		entry = realloc(d->entry, (d->cap * 2 + 64) * sizeof(*entry));
		if (!entry)
			return ERR_NOMEM;
		d->entry = entry;
		d->cap = d->cap * 2 + 64;
	}
	err = buf_reserve(&d->names, name.n + 1);
	if (!err)
		err = buf_add(&d->names, name.p, name.n);
	if (!err)
		err = buf_add(&d->names, "", 1);
	if (!err)
		d->entry[d->count++] =
			(struct dir_entry){ .cookie = cookie_of(name),
					    .off = d->names.n - name.n - 1 };
	return err;
}

static enum err take_item(void *ctx, const struct store_list_item *item)
{
	struct dir *d = ctx;
	struct bytes key = item->key;

	if (key.n && key.p[key.n - 1] == '/')
		key.n--;
	if (key.n <= d->prefix_bytes)
		return OK; /* the directory itself */
	return add_name(
		d, bytes_of(key.p + d->prefix_bytes, key.n - d->prefix_bytes));
}

static enum err load_names(struct fsd *f, struct dir *d, struct bytes prefix)
{
	struct store_list list = { .prefix = prefix,
				   .delimiter = bytes_str("/"),
				   .limit = PAGE,
				   .bytes_max = UINT64_MAX };
	struct buf after = BUF_INIT;
	enum err err;

	d->prefix_bytes = prefix.n;
	do {
		list.after = buf_bytes(&after);
		list.more = false;
		list.next = list.revision = BUF_INIT;
		err = store_list(f->store, &list, take_item, d);
		buf_done(&after);
		after = list.next;
		buf_done(&list.revision);
	} while (!err && list.more);
	buf_done(&after);
	return err;
}

/* What is deferred here belongs to the listing. The table is locked. */
static enum err load_deferred(struct call *c, struct dir *d)
{
	enum err err = OK;

	for (struct defer *x = c->f->defers; x && !err; x = x->next)
		if (x->kind == DEFER_CREATE && x->parent == c->at.node &&
		    !x->hidden)
			err = add_name(d, bytes_of(x->name, x->n));
	return err;
}

static int compare_entries(const void *a, const void *b, void *names)
{
	const struct dir_entry *x = a, *y = b;

	if (x->cookie != y->cookie)
		return x->cookie < y->cookie ? -1 : 1;
	return strcmp((char *)names + x->off, (char *)names + y->off);
}

/*
 * By cookie; what was deferred may have been applied meanwhile, then it is
 * there twice. Two names of one hash get two cookies.
 */
static void put_in_order(struct dir *d)
{
	struct dir_entry *e = d->entry;
	size_t kept = 0;

	if (!d->count)
		return;
	qsort_r(e, d->count, sizeof(*e), compare_entries, d->names.p);
	for (size_t i = 0; i < d->count; i++)
		if (!kept || compare_entries(&e[i], &e[kept - 1], d->names.p))
			e[kept++] = e[i];
	d->count = kept;
	for (size_t i = 1; i < kept; i++)
		if (e[i].cookie <= e[i - 1].cookie)
			e[i].cookie = e[i - 1].cookie + 1;
}

/* The first entry behind cookie. */
static size_t entry_after(const struct dir *d, uint64_t cookie)
{
	size_t low = 0, high = d->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (d->entry[middle].cookie <= cookie)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static enum err load_once(struct call *c, struct dir *d)
{
	struct fsd *f = c->f;
	enum err err = call_paths(c);

	d->count = d->names.n = 0;
	table_lock(&f->table);
	if (c->at.node->gone) /* what is called so by now is another */
		err = ERR_STALE;
	if (!err)
		err = load_deferred(c, d);
	table_unlock(&f->table);
	if (!err && c->path.n)
		err = buf_add(&c->path, "/", 1);
	if (!err)
		err = load_names(f, d, buf_bytes(&c->path));
	if (!err)
		put_in_order(d);
	d->loaded = !err;
	return err;
}

/* While a directory is renamed parts of it are nowhere. */
static enum err load(struct call *c, struct dir *d)
{
	enum err err = ERR_STALE;
	bool passed = true;

	for (int i = 0; i < FSD_MOVES_MAX && passed; i++) {
		uint32_t moves = moves_begin(c->f);

		err = load_once(c, d);
		passed = moves_passed(c->f, moves);
	}
	return err;
}

/* -------------------------------------------------------------------- open */

static void opendir_run(struct call *c)
{
	struct fsd *f = c->f;
	struct handle *h = handle_new(f, c->at.node, c->fi.flags);
	struct stat st;
	enum err err = ERR_NOMEM;

	if (h)
		h->dir = calloc(1, sizeof(*h->dir));
	if (h && h->dir)
		err = node_attr(c, &st);
	if (err) {
		if (h)
			handle_free(f, h);
		call_answer(c, err);
		return;
	}
	c->fi.fh = (uintptr_t)h;
	/* A listing is kept as long as names are. */
	c->fi.cache_readdir = c->fi.keep_cache = answer_timeout(c) > 0;
	if (fuse_reply_open(c->req, &c->fi))
		handle_free(f, h);
	call_free(c);
}

void op_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct call *c = call_new(fuse_req_userdata(req), req, id, NULL);

	if (!c)
		return;
	c->fi = *fi;
	c->rests = REST_CHECKED;
	c->run = opendir_run;
	call_fresh(c);
}

void op_releasedir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct handle *h = (struct handle *)(uintptr_t)fi->fh;

	handle_free(fuse_req_userdata(req), h);
	fuse_reply_err(req, 0);
}

static void synced(struct call *c)
{
	call_answer(c, c->waited);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t id, int datasync,
		 struct fuse_file_info *fi)
{
	struct call *c = call_new(fuse_req_userdata(req), req, id, NULL);

	if (c)
		defer_settle(c, NULL, synced);
}

/* -------------------------------------------------------------------- read */

struct page {
	struct call *c;
	char *p;
	size_t n, size;
	bool plus;
};

/* False: it does not fit. */
static bool put_entry(struct page *page, const char *name,
		      const struct fuse_entry_param *e, off_t next)
{
	size_t left = page->size - page->n, n;

	if (page->plus)
		n = fuse_add_direntry_plus(page->c->req, page->p + page->n,
					   left, name, e, next);
	else
		n = fuse_add_direntry(page->c->req, page->p + page->n, left,
				      name, &e->attr, next);
	if (n > left)
		return false;
	page->n += n;
	return true;
}

/* "." and "..": the kernel has looked up neither. */
static bool put_dots(struct page *page, uint64_t at)
{
	struct fuse_entry_param e;
	struct node *node = page->c->at.node;
	struct table *t = &page->c->f->table;

	memset(&e, 0, sizeof(e));
	e.attr.st_mode = S_IFDIR;
	table_lock(t);
	e.attr.st_ino = node->ino;
	if (at == 1 && node->names)
		e.attr.st_ino = node->names->parent->ino;
	table_unlock(t);
	return put_entry(page, at ? ".." : ".", &e, (off_t)at + 1);
}

static enum err path_to(struct call *c, struct bytes name)
{
	enum err err = call_paths(c);

	if (!err && c->path.n)
		err = buf_add(&c->path, "/", 1);
	return err ? err : buf_add(&c->path, name.p, name.n);
}

static enum err look(struct page *page, struct bytes name,
		     struct fuse_entry_param *e)
{
	struct call *c = page->c;
	struct fsd *f = c->f;
	struct store_file file;
	enum err err = ERR_STALE;
	bool passed = true;

	if (page->plus)
		return entry_find(c, name, e);
	memset(e, 0, sizeof(*e));
	for (int i = 0; i < FSD_MOVES_MAX && passed; i++) {
		uint32_t moves = moves_begin(f);

		err = path_to(c, name);
		if (!err)
			err = store_file_stat(f->store, buf_bytes(&c->path),
					      &file);
		passed = moves_passed(f, moves);
	}
	if (err == ERR_NOT_FOUND) {
		struct node *node;

		table_lock(&f->table);
		node = table_child(&f->table, c->at.node, name);
		if (node && node->defer) {
			e->attr.st_ino = node->ino;
			e->attr.st_mode = S_IFREG;
			err = OK;
		}
		table_unlock(&f->table);
		return err;
	}
	if (!err)
		answer_stat(f, &file, 1, &e->attr);
	return err;
}

static enum err put_names(struct page *page, struct dir *d, uint64_t cookie)
{
	struct call *c = page->c;
	struct fuse_entry_param e;
	enum err err = OK;

	for (size_t i = entry_after(d, cookie); !err && i < d->count; i++) {
		char *name = (char *)d->names.p + d->entry[i].off;

		err = look(page, bytes_str(name), &e);
		if (err == ERR_NOT_FOUND || err == ERR_NOT_DIR) {
			err = OK;
			continue;
		}
		if (!err &&
		    !put_entry(page, name, &e, (off_t)d->entry[i].cookie)) {
			if (page->plus)
				entry_untake(c->f, e.ino);
			break;
		}
	}
	return page->n ? OK : err;
}

static void read_dir(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		     struct fuse_file_info *fi, bool plus)
{
	struct handle *h = (struct handle *)(uintptr_t)fi->fh;
	struct call *c = call_new(fuse_req_userdata(req), req, id, NULL);
	struct page page = { .c = c, .size = size, .plus = plus };
	uint64_t at = (uint64_t)off;
	enum err err = OK;

	if (!c)
		return;
	page.p = malloc(size);
	if (!page.p)
		err = ERR_NOMEM;
	if (!err && (!at || !h->dir->loaded))
		err = load(c, h->dir);
	if (err == ERR_NOT_FOUND || err == ERR_STALE)
		err = OK; /* removed: it has no entries */
	for (; !err && at < FIRST; at++)
		if (!put_dots(&page, at))
			break;
	if (!err && at >= FIRST)
		err = put_names(&page, h->dir, at);
	if (err == ERR_STALE)
		err = OK;
	if (err)
		call_say(c, err);
	else
		fuse_reply_buf(req, page.p, page.n);
	free(page.p);
	call_free(c);
}

void op_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		struct fuse_file_info *fi)
{
	read_dir(req, id, size, off, fi, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	read_dir(req, id, size, off, fi, true);
}
