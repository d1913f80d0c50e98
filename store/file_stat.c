/*
 * store/file_stat.c - what is known of a file without its data: from the
 * applied state, on any thread.
 */
#include "base/check.h"
#include "store/content.h"
#include "store/file_internal.h"
#include "store/keyrules.h"

enum { SUBDIRS_STEPS_MAX = 4096 }; /* with the key directory locked */

static enum err check_path(struct bytes path)
{
	return path.n > 0 ? path_check(path) : OK;
}

static enum err find(struct store *s, struct bytes path, uint64_t ino,
		     struct file_node *n)
{
	struct view v;
	enum err err = check_path(path);

	if (err)
		return err;
	v = file_view_applied(s, path.n > 0 ? store_partition_of(s, path) : 0);
	return file_find_ino(&v, path, ino, n);
}

/* ------------------------------------------------------------------ stat -- */

static void fill(const struct file_node *n, struct store_file *f)
{
	const struct attrs *a = &n->attrs;

	*f = (struct store_file){
		.ino = n->ino,
		.rev = n->rev,
		.bytes = n->bytes,
		.stored_bytes = n->bytes,
		.nlink = file_links(n),
		.mode = file_type(n) | a->permissions,
		.uid = a->uid,
		.gid = a->gid,
		.rdev = a->rdev,
		.implicit = n->implicit,
		.has_xattrs = a->has & ATTRS_XATTRS,
	};
	/* The last chunk, and any that was written in part, may be shorter. */
	if (n->content_flags & CONTENT_SPARSE && a->has & ATTRS_CHUNKS &&
	    a->chunks < n->bytes / n->chunk_bytes + 1)
		f->stored_bytes = a->chunks * n->chunk_bytes;
	if (f->stored_bytes > n->bytes)
		f->stored_bytes = n->bytes;
	if (a->has & ATTRS_PERMISSIONS)
		f->fields |= STORE_HAS_MODE;
	if (a->has & ATTRS_UID)
		f->fields |= STORE_HAS_UID;
	if (a->has & ATTRS_GID)
		f->fields |= STORE_HAS_GID;
	f->mtime_ns = a->has & ATTRS_MTIME ? a->mtime_ns : n->mtime_ns;
	f->ctime_ns = a->has & ATTRS_CTIME ? a->ctime_ns : n->mtime_ns;
	f->atime_ns = a->has & ATTRS_ATIME ? a->atime_ns : f->mtime_ns;
}

/* The root changes with what lies in any partition. */
static enum err add_root_times(struct store *s, struct store_file *f)
{
	for (uint32_t i = 1; i < s->partition_count; i++) {
		struct view v = file_view_applied(s, i);
		struct store_file share;
		struct file_node n;
		enum err err = file_find(&v, bytes_of(NULL, 0), &n);

		if (!err)
			fill(&n, &share);
		file_node_done(&n);
		if (err)
			return err;
		if (n.implicit)
			continue;
		f->implicit = false;
		if (share.mtime_ns > f->mtime_ns)
			f->mtime_ns = share.mtime_ns;
		if (share.ctime_ns > f->ctime_ns)
			f->ctime_ns = share.ctime_ns;
	}
	return OK;
}

enum err store_file_stat_ino(struct store *s, struct bytes path, uint64_t ino,
			     struct store_file *file)
{
	struct store_file found;
	struct file_node n = { 0 };
	enum err err = find(s, path, ino, &n);

	if (!err)
		fill(&n, &found);
	file_node_done(&n);
	if (!err && path.n == 0)
		err = add_root_times(s, &found);
	if (!err)
		*file = found;
	return err;
}

enum err store_file_stat(struct store *s, struct bytes path,
			 struct store_file *file)
{
	return store_file_stat_ino(s, path, 0, file);
}

enum err store_file_name(struct store *s, struct bytes path, uint64_t ino,
			 struct buf *name)
{
	struct file_node n = { 0 };
	enum err err = find(s, path, ino, &n);

	if (!err)
		err = buf_add(name, n.path.p, n.path.n);
	file_node_done(&n);
	return err;
}

/* --------------------------------------------------------------- subdirs -- */

struct subdirs {
	uint8_t at[FILE_KEY_ROOM]; /* where the next look begins */
	size_t n;
	size_t prefix_bytes; /* of at: the directory's */
	uint64_t count;
};

/*
 * Is key, below the directory, in a subdirectory? Then the next look is behind
 * all of that one.
 */
static bool note_subdir(struct subdirs *x, struct bytes key)
{
	const uint8_t *rest = key.p + x->prefix_bytes;
	const uint8_t *slash = memchr(rest, '/', key.n - x->prefix_bytes);

	if (!slash)
		return false;
	x->count++;
	x->n = prefix_successor(bytes_of(key.p, (size_t)(slash - key.p) + 1),
				x->at);
	return true;
}

/* The next look is behind key. */
static void note_file(struct subdirs *x, struct bytes key)
{
	memcpy(x->at, key.p, key.n);
	x->at[key.n] = 0;
	x->n = key.n + 1;
}

/*
 * Some steps under one lock: from file to file, over a subdirectory in one.
 * False: that was all.
 */
static bool some_subdirs(const struct view *v, struct bytes prefix,
			 struct subdirs *x)
{
	struct engine_iter it;
	struct engine_info info;
	struct bytes key;
	bool more;

	engine_iter_begin(v->engine, v->partition, &it);
	more = engine_iter_seek(&it, bytes_of(x->at, x->n), &key, &info);
	for (int i = 1; more && bytes_begins(key, prefix); i++) {
		bool over = note_subdir(x, key);

		if (i == SUBDIRS_STEPS_MAX) {
			if (!over)
				note_file(x, key);
			break;
		}
		if (over)
			more = engine_iter_seek(&it, bytes_of(x->at, x->n),
						&key, &info);
		else
			more = engine_iter_next(&it, &key, &info);
	}
	more = more && bytes_begins(key, prefix);
	engine_iter_end(&it);
	return more;
}

static uint64_t count_subdirs(const struct view *v, struct bytes prefix)
{
	struct subdirs x = { .prefix_bytes = prefix.n, .n = prefix.n + 1 };

	/* Behind the directory's own key, and behind the hidden ones. */
	memcpy(x.at, prefix.p, prefix.n);
	x.at[prefix.n] = 1;
	while (some_subdirs(v, prefix, &x))
		;
	return x.count;
}

enum err store_subdirs(struct store *s, struct bytes path, uint64_t *count)
{
	uint8_t prefix[FILE_KEY_ROOM];
	uint32_t from = 0, to = s->partition_count;
	enum err err = check_path(path);

	if (err)
		return err;
	memcpy(prefix, path.n > 0 ? path.p : prefix, path.n);
	prefix[path.n] = '/';
	if (path.n > 0) {
		from = store_partition_of(s, path);
		to = from + 1;
	}
	*count = 0;
	for (uint32_t i = from; i < to; i++) {
		struct view v = file_view_applied(s, i);

		*count += count_subdirs(
			&v, bytes_of(prefix, path.n > 0 ? path.n + 1 : 0));
	}
	return OK;
}

/* --------------------------------------------------- extended attributes -- */

enum err store_xattr_get(struct store *s, struct bytes path, uint64_t ino,
			 struct bytes name, struct buf *value)
{
	struct file_node n = { 0 };
	struct bytes found;
	enum err err = find(s, path, ino, &n);

	if (!err && !file_xattr_find(&n, name, &found))
		err = ERR_NO_ATTR;
	if (!err)
		err = buf_add(value, found.p, found.n);
	file_node_done(&n);
	return err;
}

enum err store_xattr_list(struct store *s, struct bytes path, uint64_t ino,
			  struct buf *names)
{
	struct file_node n = { 0 };
	struct bytes name, value;
	size_t off = 0, before = names->n;
	enum err err = find(s, path, ino, &n);

	while (!err && attrs_xattr_next(n.attrs.xattrs, &off, &name, &value)) {
		err = buf_add(names, name.p, name.n);
		if (!err)
			err = buf_add(names, "", 1);
	}
	if (err)
		names->n = before;
	file_node_done(&n);
	return err;
}
