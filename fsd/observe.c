/*
 * fsd/observe.c - the table and the kernel's caches follow what is applied,
 * whoever asked for it.
 *
 * before: what is about to be replaced or removed can still be read, so files
 * that somebody has open are kept (fsd/orphan.c). after: names mean what they
 * mean now, and items for the teller are made, of which those of this mount's
 * own changes are dropped again (fsd/tell.c).
 *
 * Runs on the core thread, for every entry: what the table does not know costs
 * a few look-ups.
 */
#include <stdlib.h>
#include <string.h>

#include "fsd/internal.h"

enum { MOVE_WAIT_MS = 2000 };

struct seen_at {
	struct fsd *f;
	uint32_t partition;
	uint64_t rev;
	bool told;
};

/* Nodes below a prefix, each with a reference. */
struct node_list {
	struct table *table;
	struct bytes prefix;
	struct node **node;
	size_t n, cap;
};

static bool is_below(struct bytes path, struct bytes dir)
{
	return bytes_begins(path, dir) &&
	       (path.n == dir.n || path.p[dir.n] == '/');
}

static bool is_move(const struct store_seen *seen)
{
	return seen->kind == STORE_SEEN_MOVE ||
	       seen->kind == STORE_SEEN_EXCHANGE;
}

/*
 * Is key a part of what the entry moved? That comes first in it; a large
 * directory is tens of thousands of events behind it.
 */
static bool is_moved(struct bytes key, const struct store_seen *seen,
		     uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (!is_move(&seen[i]))
			break;
		if (is_below(path_of(key), path_of(seen[i].key)) ||
		    is_below(path_of(key), path_of(seen[i].to)))
			return true;
	}
	return false;
}

/* The node of path, with a reference; NULL: not known. */
static struct node *take_node(struct fsd *f, struct bytes path)
{
	struct bytes rest;
	struct node *node;

	table_lock(&f->table);
	node = table_walk(&f->table, path, &rest);
	if (rest.n || node->gone || node->is_root)
		node = NULL;
	if (node)
		table_ref(node);
	table_unlock(&f->table);
	return node;
}

static void give_node(struct fsd *f, struct node *node)
{
	table_lock(&f->table);
	table_unref(&f->table, node);
	table_unlock(&f->table);
}

/* ------------------------------------------------------------------- moves */

/*
 * A rename begins to be applied, or an entry behind which a file with several
 * names may have none. It may be said twice: the entry is tried once more.
 */
static void set_moving(struct fsd *f, bool moving)
{
	pthread_mutex_lock(&f->move_lock);
	f->mover = pthread_self();
	if ((atomic_load(&f->moves) & 1) != moving)
		atomic_fetch_add(&f->moves, 1);
	pthread_cond_broadcast(&f->moved);
	pthread_mutex_unlock(&f->move_lock);
}

uint32_t moves_begin(struct fsd *f)
{
	uint32_t moves = atomic_load(&f->moves);
	uint64_t until_ns;
	struct timespec until;
	int late = 0;

	if (!(moves & 1))
		return moves;
	until_ns = fsd_now(f) + MOVE_WAIT_MS * 1000000ull;
	until.tv_sec = (time_t)(until_ns / 1000000000u);
	until.tv_nsec = (long)(until_ns % 1000000000u);
	pthread_mutex_lock(&f->move_lock);
	while ((moves = atomic_load(&f->moves)) & 1 && !late &&
	       !pthread_equal(f->mover, pthread_self()))
		late = pthread_cond_timedwait(&f->moved, &f->move_lock, &until);
	pthread_mutex_unlock(&f->move_lock);
	return moves;
}

bool moves_passed(struct fsd *f, uint32_t moves)
{
	return atomic_load(&f->moves) != moves;
}

/* ------------------------------------------------------------------ before */

/* Somebody has it open, and no name of it is known. The table is locked. */
static bool is_open_unnamed(const struct node *node)
{
	return node->is_unnamed && node->opens && !node->gone && !node->orphan;
}

/*
 * A node of path's file that somebody has open, of which only names are known
 * that are gone by now: of a file with several names, or that was to be made
 * when it came to be. With a reference, or NULL.
 */
static struct node *take_unnamed(struct fsd *f, struct bytes path)
{
	struct store_file file;
	struct node *node;
	uint32_t count;

	table_lock(&f->table);
	count = f->table.unnamed;
	table_unlock(&f->table);
	if (!count || store_file_stat(f->store, path, &file))
		return NULL;
	table_lock(&f->table);
	node = table_ino(&f->table, file.ino);
	while (node && !is_open_unnamed(node))
		node = table_twin(node);
	if (node)
		table_ref(node);
	table_unlock(&f->table);
	return node;
}

/* node, which path is, goes if it is not ino. It is given; was it kept? */
static bool replace(struct fsd *f, struct node *node, struct bytes path,
		    uint64_t ino)
{
	bool replaced, kept;

	table_lock(&f->table);
	replaced = node->ino != ino;
	table_unlock(&f->table);
	if (replaced)
		orphan_make(f, node, path);
	table_lock(&f->table);
	kept = node->orphan != NULL;
	table_unref(&f->table, node);
	table_unlock(&f->table);
	return kept;
}

/* What is called so becomes another file, ino, or none (0). */
static void before_replace(struct fsd *f, struct bytes key, uint64_t ino)
{
	struct bytes path = path_of(key);
	struct node *node = take_node(f, path);
	bool more = true;

	if (node)
		(void)replace(f, node, path, ino);
	while (more && (node = take_unnamed(f, path)))
		more = replace(f, node, path, ino);
}

/* Without memory it is not listed. */
static void add_node(struct node_list *l, struct node *node)
{
	struct node **more;

	if (l->n == l->cap) {
		more = realloc(l->node, (l->cap * 2 + 16) * sizeof(*more));
		if (!more)
			return;
		l->node = more;
		l->cap = l->cap * 2 + 16;
	}
	l->node[l->n++] = node;
	table_ref(node);
}

/* Its path begins with the prefix. */
static void add_below(void *ctx, struct node *node)
{
	struct node_list *l = ctx;
	struct buf path = BUF_INIT;

	if (node->is_root || node->gone || !node->names)
		return;
	if (!table_path(l->table, node, &path) &&
	    bytes_begins(buf_bytes(&path), l->prefix))
		add_node(l, node);
	buf_done(&path);
}

static void add_unnamed(void *ctx, struct node *node)
{
	if (is_open_unnamed(node))
		add_node(ctx, node);
}

static void add_open(void *ctx, struct node *node)
{
	if (node->opens && !node->is_dir && !node->gone)
		add_node(ctx, node);
}

static void list_nodes(struct fsd *f, struct bytes prefix, struct node_list *l,
		       void (*add)(void *ctx, struct node *node))
{
	memset(l, 0, sizeof(*l));
	l->table = &f->table;
	l->prefix = prefix;
	table_lock(&f->table);
	table_each_node(&f->table, add, l);
	table_unlock(&f->table);
}

static void done_nodes(struct fsd *f, struct node_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		give_node(f, l->node[i]);
	free(l->node);
}

/* A name that node has now; path is emptied first. Errors of store_file_name. */
static enum err name_now(struct fsd *f, struct node *node, struct buf *path)
{
	struct buf known = BUF_INIT;
	uint64_t ino;
	enum err err;

	path->n = 0;
	table_lock(&f->table);
	err = table_path(&f->table, node, &known);
	ino = node->ino;
	table_unlock(&f->table);
	if (!err)
		err = store_file_name(f->store, buf_bytes(&known), ino, path);
	buf_done(&known);
	return err;
}

/* Of what has several names those below prefix may be all of them. */
static void before_prefix(struct fsd *f, struct bytes prefix)
{
	struct node_list l;
	struct buf path = BUF_INIT;
	struct store_file file;

	list_nodes(f, prefix, &l, add_below);
	for (size_t i = 0; i < l.n; i++) {
		enum err err;

		path.n = 0;
		table_lock(&f->table);
		err = table_path(&f->table, l.node[i], &path);
		table_unlock(&f->table);
		if (!err)
			orphan_make(f, l.node[i], buf_bytes(&path));
	}
	done_nodes(f, &l);
	list_nodes(f, prefix, &l, add_unnamed);
	for (size_t i = 0; i < l.n; i++)
		if (!name_now(f, l.node[i], &path) &&
		    !store_file_stat(f->store, buf_bytes(&path), &file) &&
		    (file.nlink > 1 || bytes_begins(buf_bytes(&path), prefix)))
			orphan_make(f, l.node[i], buf_bytes(&path));
	buf_done(&path);
	done_nodes(f, &l);
}

static void before_reset(struct fsd *f)
{
	struct node_list l;
	struct buf path = BUF_INIT;

	list_nodes(f, bytes_of(NULL, 0), &l, add_open);
	for (size_t i = 0; i < l.n; i++)
		if (!name_now(f, l.node[i], &path))
			orphan_keep(f, l.node[i], buf_bytes(&path));
	buf_done(&path);
	done_nodes(f, &l);
}

static void before(void *ctx, uint32_t partition, uint64_t rev,
		   const struct store_seen *seen, uint32_t count)
{
	struct fsd *f = ctx;
	struct node *node;
	uint64_t ino;

	subdirs_before(f, seen, count);
	if (is_move(&seen[0]))
		set_moving(f, true);
	for (uint32_t i = 0; i < count; i++) {
		switch (seen[i].kind) {
		case STORE_SEEN_PUT:
			if (seen[i].ino && !is_moved(seen[i].key, seen, i))
				before_replace(f, seen[i].key, seen[i].ino);
			break;
		case STORE_SEEN_DELETE:
			if (!is_moved(seen[i].key, seen, i))
				before_replace(f, seen[i].key, 0);
			break;
		case STORE_SEEN_MOVE:
			node = take_node(f, path_of(seen[i].key));
			ino = node ? node->ino : 0;
			before_replace(f, seen[i].to, ino);
			if (node)
				give_node(f, node);
			break;
		case STORE_SEEN_DELETE_PREFIX:
			if (!is_moved(seen[i].key, seen, i))
				before_prefix(f, seen[i].key);
			break;
		case STORE_SEEN_RESET:
			before_reset(f);
			break;
		case STORE_SEEN_EXCHANGE:
			break;
		}
	}
	if (f->leaving)
		set_moving(f, true);
}

/* ------------------------------------------------------------------- after */

static void say(struct seen_at *at, enum tell_kind kind, uint64_t id,
		const struct node *parent, struct bytes name)
{
	tell(at->f, kind, id, parent, name, at->partition, at->rev);
	at->told = true;
}

static void say_entry(struct seen_at *at, const struct node *parent,
		      struct bytes name)
{
	say(at, TELL_ENTRY, 0, parent, name);
}

/* Who has node open sees that it has lost a name. */
static void say_unnamed(struct seen_at *at, const struct node *node)
{
	if (node)
		say(at, TELL_ATTR, node->id, NULL, bytes_of(NULL, 0));
}

/*
 * The directory name, which is not known, has perhaps come to be in dir. The
 * table is locked.
 */
static void say_unknown(struct seen_at *at, struct node *dir, struct bytes name)
{
	subdirs_forget(dir);
	say_entry(at, dir, name);
	say(at, TELL_ATTR, dir->id, NULL, bytes_of(NULL, 0));
}

/*
 * The directory of path, and path's last name. NULL: it is not known; then the
 * kernel may believe that the first unknown name on the way means nothing. The
 * table is locked.
 */
static struct node *walk_to(struct seen_at *at, struct bytes path,
			    struct bytes *name, bool appears)
{
	struct table *t = &at->f->table;
	struct node *dir = t->root, *child;
	struct bytes rest = path;

	for (;;) {
		struct bytes after;

		*name = path_component(rest, &after);
		if (!after.n)
			return dir;
		child = table_child(t, dir, *name);
		if (!child) {
			if (appears)
				say_unknown(at, dir, *name);
			return NULL;
		}
		dir = child;
		rest = after;
	}
}

/*
 * The directory name in dir, known or from now on. Both with a reference; dir's
 * is given. path is the directory's. NULL: no memory, or there is no such
 * thing.
 */
static struct node *enter_dir(struct seen_at *at, struct node *dir,
			      struct bytes name, struct bytes path)
{
	struct fsd *f = at->f;
	struct node *child;
	struct store_file file;
	enum err err = OK;

	table_lock(&f->table);
	child = table_child(&f->table, dir, name);
	if (!child) {
		table_unlock(&f->table);
		err = store_file_stat(f->store, path, &file);
		if (!err && !S_ISDIR(file.mode))
			err = ERR_NOT_DIR;
		table_lock(&f->table);
		child = table_child(&f->table, dir, name);
		if (!child && !err) {
			say_unknown(at, dir, name);
			err = table_enter(&f->table, dir, name, file.ino,
					  &child);
		}
	}
	if (!err && child) {
		child->is_dir = true;
		table_ref(child);
	}
	table_unref(&f->table, dir);
	table_unlock(&f->table);
	return err ? NULL : child;
}

/*
 * Who has a file open follows it into directories that nobody has looked at:
 * let all that path lies in be known. The last, with a reference; NULL: not
 * possible.
 */
static struct node *enter_dirs(struct seen_at *at, struct bytes path)
{
	struct fsd *f = at->f;
	struct node *dir = f->table.root;
	struct bytes rest = path, name;

	table_lock(&f->table);
	table_ref(dir);
	table_unlock(&f->table);
	for (name = path_component(rest, &rest); dir && rest.n;
	     name = path_component(rest, &rest))
		dir = enter_dir(
			at, dir, name,
			bytes_of(path.p, (size_t)(name.p - path.p) + name.n));
	return dir;
}

/*
 * Nodes of the file ino that do not have the name that was put. Where there are
 * two the kernel has two inodes: of a change through one it does not know that
 * it is one of the other. The table is locked.
 */
static void say_others(struct seen_at *at, uint64_t ino)
{
	struct node *node = ino ? table_ino(&at->f->table, ino) : NULL;
	bool twins = node && table_twin(node);

	for (; node; node = table_twin(node)) {
		if (twins)
			tell(at->f, TELL_INODE, node->id, NULL,
			     bytes_of(NULL, 0), 0, 0);
		else if (node->is_unnamed)
			say(at, TELL_INODE, node->id, NULL, bytes_of(NULL, 0));
	}
}

/* The table is locked. */
static void after_put(struct seen_at *at, struct bytes key, uint64_t ino,
		      bool is_new_dir)
{
	struct table *t = &at->f->table;
	struct bytes path = path_of(key), name;
	struct node *dir, *node;

	say_others(at, ino);
	if (!path.n) {
		say(at, TELL_ATTR, t->root->id, NULL, bytes_of(NULL, 0));
		return;
	}
	dir = walk_to(at, path, &name, true);
	if (!dir)
		return;
	node = table_child(t, dir, name);
	if (node && (node->ino == ino || !ino)) {
		if (is_new_dir)
			subdirs_forget(dir);
		say(at, node->is_dir ? TELL_ATTR : TELL_INODE, node->id, dir,
		    name);
		return;
	}
	if (node && node->defer && node->defer->kind == DEFER_CREATE)
		node->defer->hidden = true;
	say_entry(at, dir, name);
	/* Its number in a listing; of this the kernel knows nothing. */
	if (node && node->is_dir)
		tell(at->f, TELL_INODE, dir->id, NULL, bytes_of(NULL, 0), 0, 0);
	if (path.n != key.n) {
		if (is_new_dir && !node)
			subdirs_count(dir, true);
		else
			subdirs_forget(dir);
		say(at, TELL_ATTR, dir->id, NULL, bytes_of(NULL, 0));
	}
	say_unnamed(at, node);
	if (node)
		table_remove(t, dir, name);
}

/*
 * path, a directory or a file, means nothing any more; was_dir: it is known to
 * have been a directory before the entry. The table is locked.
 */
static void after_gone(struct seen_at *at, struct bytes path, bool is_dir,
		       bool was_dir)
{
	struct bytes name;
	struct node *dir = path.n ? walk_to(at, path, &name, false) : NULL;
	struct node *node;

	if (!dir)
		return;
	node = table_child(&at->f->table, dir, name);
	if (node && node->defer && node->defer->kind == DEFER_CREATE &&
	    !node->gone) {
		subdirs_forget(dir);
		return;
	}
	if (was_dir)
		subdirs_count(dir, false);
	else if (is_dir)
		subdirs_forget(dir);
	say_entry(at, dir, name);
	if (!node || node->is_dir)
		say(at, TELL_ATTR, dir->id, NULL, bytes_of(NULL, 0));
	say_unnamed(at, node);
	if (node && node->is_dir)
		orphan_dir(at->f, node);
	if (node)
		table_remove(&at->f->table, dir, name);
}

/*
 * What lies on the way to path may be gone with it: directories that were there
 * only because of it. Locks the table.
 */
static void after_delete(struct seen_at *at, struct bytes path, bool is_dir,
			 bool was_dir)
{
	struct fsd *f = at->f;
	struct store_file file;
	enum err err = OK;

	while (path.n) {
		err = store_file_stat(f->store, path, &file);
		if (err != ERR_NOT_FOUND && err != ERR_NOT_DIR)
			return;
		table_lock(&f->table);
		after_gone(at, path, is_dir, was_dir);
		table_unlock(&f->table);
		is_dir = true;
		was_dir = false;
		while (path.n && path.p[path.n - 1] != '/')
			path.n--;
		path = path_of(path);
	}
}

static void after_prefix(struct seen_at *at, struct bytes prefix)
{
	struct fsd *f = at->f;
	struct node_list l;
	struct buf path = BUF_INIT;

	list_nodes(f, prefix, &l, add_below);
	for (size_t i = 0; i < l.n; i++) {
		path.n = 0;
		table_lock(&f->table);
		if (!table_path(&f->table, l.node[i], &path))
			after_gone(at, buf_bytes(&path), l.node[i]->is_dir,
				   false);
		table_unlock(&f->table);
	}
	buf_done(&path);
	done_nodes(f, &l);
	after_delete(at, path_of(prefix), true, false);
}

/* A directory that nobody had made has a new number now. */
static void renumber(struct fsd *f, struct bytes path)
{
	struct node *node = take_node(f, path);
	struct store_file file;

	if (!node)
		return;
	if (node->is_dir && !store_file_stat(f->store, path, &file)) {
		table_lock(&f->table);
		table_set_ino(&f->table, node, file.ino);
		table_unlock(&f->table);
		/* Whom it lies in is in its own listing too. */
		tell(f, TELL_INODE, node->id, NULL, bytes_of(NULL, 0), 0, 0);
	}
	give_node(f, node);
}

/* What is known as `from`, and moved to `to`, stays known: so is where it lies. */
static struct node *follow(struct seen_at *at, struct bytes from,
			   struct bytes to)
{
	struct node *node = take_node(at->f, from), *dir = NULL;

	if (node) {
		dir = enter_dirs(at, to);
		give_node(at->f, node);
	}
	return dir;
}

static void after_move(struct seen_at *at, const struct store_seen *seen)
{
	struct table *t = &at->f->table;
	struct bytes from = path_of(seen->key), to = path_of(seen->to);
	struct bytes a, b;
	struct node *dir, *dir2, *to_dir, *from_dir = NULL;
	bool exchange = seen->kind == STORE_SEEN_EXCHANGE;
	bool is_dir = exchange || from.n < seen->key.n; /* either may be one */

	to_dir = follow(at, from, to);
	if (exchange)
		from_dir = follow(at, to, from);
	table_lock(t);
	dir = walk_to(at, from, &a, false);
	dir2 = walk_to(at, to, &b, true);
	if (dir && is_dir)
		subdirs_forget(dir);
	if (dir2 && is_dir)
		subdirs_forget(dir2);
	if (dir)
		say_entry(at, dir, a);
	if (dir2)
		say_entry(at, dir2, b);
	if (dir2 && seen->kind == STORE_SEEN_MOVE)
		say_unnamed(at, table_child(t, dir2, b));
	/* Without memory a name is lost, and found again when it is needed. */
	if (exchange)
		(void)table_exchange(t, dir, a, dir2, b);
	else if (dir)
		(void)table_move(t, dir, a, dir2, b);
	else if (dir2)
		table_remove(t, dir2, b);
	if (to_dir)
		table_unref(t, to_dir);
	if (from_dir)
		table_unref(t, from_dir);
	table_unlock(t);
	renumber(at->f, to);
	if (exchange)
		renumber(at->f, from);
	else
		after_delete(at, from, is_dir, false);
}

static void seen_deleted(struct seen_at *at, struct bytes key, bool was_dir)
{
	struct bytes path = path_of(key);

	after_delete(at, path, path.n < key.n, was_dir);
}

static bool after(void *ctx, uint32_t partition, uint64_t rev,
		  const struct store_seen *seen, uint32_t count)
{
	struct seen_at at = { .f = ctx, .partition = partition, .rev = rev };
	struct fsd *f = ctx;

	table_lock(&f->table);
	atomic_fetch_add(&f->seq, 1);
	table_unlock(&f->table);
	for (uint32_t i = 0; i < count; i++) {
		switch (seen[i].kind) {
		case STORE_SEEN_PUT:
			table_lock(&f->table);
			after_put(&at, seen[i].key, seen[i].ino,
				  subdirs_changed(f, i));
			table_unlock(&f->table);
			break;
		case STORE_SEEN_DELETE:
			if (!is_moved(seen[i].key, seen, i))
				seen_deleted(&at, seen[i].key,
					     subdirs_changed(f, i));
			break;
		case STORE_SEEN_DELETE_PREFIX:
			if (!is_moved(seen[i].key, seen, i))
				after_prefix(&at, seen[i].key);
			break;
		case STORE_SEEN_MOVE:
		case STORE_SEEN_EXCHANGE:
			after_move(&at, &seen[i]);
			break;
		case STORE_SEEN_RESET:
			tell_everything(f);
			break;
		}
	}
	subdirs_after(f);
	orphans_settle(f);
	if (atomic_load(&f->moves) & 1)
		set_moving(f, false);
	if (!at.told || !atomic_load(&f->alone))
		return false;
	tell(f, TELL_END, 0, NULL, bytes_of(NULL, 0), partition, rev);
	return true;
}

void observe_begin(struct fsd *f)
{
	const struct store_observer o = { .before = before,
					  .after = after,
					  .ctx = f };

	store_observe(f->store, &o);
}
