/*
 * store/file_node.c - what is at a path: decided state or applied state.
 *
 *    path            the file whose key it is
 *      LOC_INODE     its record names an inode: "\0i" ino has the rest
 *    path "/"        the explicit directory
 *    path "/" ...    the implicit directory, its number the path's hash
 *    ""              the root; "\0d" when it has attributes
 *
 * Over the applied state, from any thread, records change while they are
 * looked at. An entry puts an inode's record before those of its names and
 * takes it away after them, so a name that is there has an inode at least as
 * new; whatever else does not fit together is looked at again.
 */
#include <stdlib.h>
#include <sys/stat.h>

#include "base/check.h"
#include "store/content.h"
#include "store/file_internal.h"
#include "store/hidden.h"
#include "store/keyrules.h"

enum { RACES_MAX = 1000 };

uint64_t file_ino_of(const struct view *v, uint64_t version)
{
	return file_ino(v, version_index(version),
			(uint32_t)version & (STORE_INO_BLOCK - 1));
}

uint64_t file_implicit_ino(struct bytes path)
{
	uint64_t hash = 0xcbf29ce484222325; /* 64-bit FNV-1a, mixed */

	for (size_t i = 0; i < path.n; i++)
		hash = (hash ^ path.p[i]) * 0x100000001b3;
	hash = (hash ^ hash >> 30) * 0xbf58476d1ce4e5b9;
	hash = (hash ^ hash >> 27) * 0x94d049bb133111eb;
	return (hash ^ hash >> 31) | 1ull << 63;
}

struct view file_view_applied(struct store *s, uint32_t partition)
{
	static const struct pending nothing;

	return (struct view){ .engine = s->engine,
			      .pending = &nothing,
			      .partition = (uint16_t)partition,
			      .partitions = s->partition_count };
}

struct bytes file_parent_path(struct bytes path)
{
	size_t n = path.n;

	while (n > 0 && path.p[n - 1] != '/')
		n--;
	return bytes_of(path.p, n > 0 ? n - 1 : 0);
}

uint32_t file_type(const struct file_node *n)
{
	if (n->is_dir)
		return S_IFDIR;
	if (n->attrs.has & ATTRS_TYPE && n->attrs.type)
		return n->attrs.type << 12;
	return n->flags & LOC_LINK ? S_IFLNK : S_IFREG;
}

uint32_t file_links(const struct file_node *n)
{
	return n->attrs.has & ATTRS_NAMES ? n->attrs.names : 1;
}

void file_node_done(struct file_node *n)
{
	engine_value_done(&n->held);
	free(n->copy);
	n->copy = NULL;
}

/* --------------------------------------------------------------- records - */

/* A record as found, in the overlay or in a file. */
struct found {
	bool pending;
	uint64_t version;
	unsigned flags;
	uint64_t bytes, expiry_ns, mtime_ns;
	uint64_t content_id, content_shape;
	struct bytes attrs;
	struct engine_value held; /* attrs lie in it, unless pending */
};

static void from_pending(const struct key_state *state, struct found *f)
{
	f->pending = true;
	f->version = state->version;
	f->flags = state->flags;
	f->bytes = state->bytes;
	f->expiry_ns = state->expiry_ns;
	f->mtime_ns = state->mtime_ns;
	f->content_id = state->content_id;
	f->content_shape = state->content_shape;
	f->attrs = state->attrs;
}

static enum err from_file(const struct view *v, struct bytes key,
			  const struct key_state *state, struct found *f)
{
	bool named = state->flags & LOC_CONTENT;
	enum err err;

	err = engine_get(v->engine, v->partition, key,
			 named ? ENGINE_VERIFY : ENGINE_HEAD, &f->held);
	if (err)
		return err == ERR_NOT_FOUND ? ERR_BUSY : err;
	f->version = f->held.version;
	f->flags = loc_flags(f->held.loc);
	f->bytes = state->bytes;
	f->expiry_ns = f->held.expiry_ns;
	f->mtime_ns = f->held.mtime_ns;
	f->attrs = f->held.attrs;
	if (f->version != state->version)
		err = ERR_BUSY;
	else if (named && f->held.value.n != RECORD_CONTENT_BYTES)
		err = ERR_CORRUPT;
	if (!err && named) {
		f->content_id = get_u64(f->held.value.p);
		f->bytes = get_u64(f->held.value.p + 8);
		f->content_shape = get_u64(f->held.value.p + 16);
	}
	if (err)
		engine_value_done(&f->held);
	return err;
}

/* ERR_NOT_FOUND; ERR_BUSY: it changed under our eyes. */
static enum err find_record(const struct view *v, struct bytes key,
			    struct found *f)
{
	struct key_state state;

	*f = (struct found){ 0 };
	view_get(v, key, &state);
	if (!state.present)
		return ERR_NOT_FOUND;
	if (!state.pending)
		return from_file(v, key, &state, f);
	from_pending(&state, f);
	return OK;
}

/* What a record says of attributes and value; it passes on to n. */
static enum err take_record(struct file_node *n, struct found *f)
{
	enum err err = attrs_decode(f->attrs, &n->attrs);

	file_node_done(n);
	n->held = f->held;
	n->pending = f->pending;
	n->version = f->version;
	n->flags = f->flags & (LOC_CONTENT | LOC_LINK | LOC_SPECIAL);
	n->bytes = f->bytes;
	n->mtime_ns = f->mtime_ns;
	n->content_id = f->content_id;
	n->chunk_bytes = (uint32_t)f->content_shape;
	n->content_flags = (uint32_t)(f->content_shape >> 32);
	if (err || !f->pending ||
	    (n->attrs.xattrs.n == 0 && n->attrs.unknown.n == 0))
		return err;
	/* The overlay's bytes go when the key is set again. */
	n->copy = malloc(f->attrs.n);
	if (!n->copy)
		return ERR_NOMEM;
	memcpy(n->copy, f->attrs.p, f->attrs.n);
	return attrs_decode(bytes_of(n->copy, f->attrs.n), &n->attrs);
}

/* The record of n's key names an inode, with this number. */
static enum err take_inode(const struct view *v, struct file_node *n,
			   uint64_t ino)
{
	uint8_t room[INODE_KEY_BYTES];
	struct found f;
	enum err err;

	n->linked = true;
	n->ino = ino;
	err = find_record(v, inode_key(room, ino), &f);
	if (err)
		return err;
	if (version_index(f.version) > n->rev)
		n->rev = version_index(f.version);
	return take_record(n, &f);
}

/* An inode is not there. True: its name still is as it was. */
static bool is_lost(const struct view *v, struct bytes name, uint64_t version)
{
	struct key_state state;

	view_get(v, name, &state);
	return state.version == version &&
	       (state.pending ||
		content_is_still(v->engine, v->partition, name, version, NULL));
}

/* n->key is set: fill the rest from its record. */
static enum err take_key(const struct view *v, struct file_node *n)
{
	struct found f;
	enum err err = find_record(v, n->key, &f);

	if (err)
		return err;
	n->rev = version_index(f.version);
	n->expiry_ns = f.flags & LOC_EXPIRES ? f.expiry_ns : 0;
	if (f.flags & LOC_INODE) {
		engine_value_done(&f.held);
		err = take_inode(v, n, f.content_id);
		if (err == ERR_NOT_FOUND)
			err = is_lost(v, n->key, f.version) ? ERR_CORRUPT
							    : ERR_BUSY;
		return err;
	}
	err = take_record(n, &f);
	n->ino = n->attrs.has & ATTRS_INO ? n->attrs.ino
					  : file_ino_of(v, f.version);
	return err;
}

/* ----------------------------------------------------------------- paths - */

static void begin(struct file_node *n, struct bytes path)
{
	CHECK(path.n < FILE_KEY_ROOM);
	memset(n, 0, offsetof(struct file_node, room));
	n->path = path;
	if (path.n > 0)
		memcpy(n->room, path.p, path.n);
	n->room[path.n] = '/';
}

static enum err find_root(const struct view *v, struct file_node *n)
{
	enum err err;

	memcpy(n->room, root_key().p, root_key().n);
	n->key = bytes_of(n->room, root_key().n);
	n->is_dir = true;
	err = take_key(v, n);
	n->implicit = err == ERR_NOT_FOUND;
	n->present = !err || n->implicit;
	n->ino = STORE_ROOT_INO;
	return n->implicit ? OK : err;
}

static enum err find_dir(const struct view *v, struct file_node *n)
{
	enum err err;

	n->key = bytes_of(n->room, n->path.n + 1);
	n->is_dir = true;
	err = take_key(v, n);
	if (err != ERR_NOT_FOUND) {
		n->present = !err;
		return err;
	}
	if (tree_exists_under(v, n->key)) {
		struct key_state state;

		view_get(v, n->key, &state);
		if (state.present)
			return ERR_BUSY; /* it has just got a record */
		n->present = true;
		n->implicit = true;
		n->ino = file_implicit_ino(n->path);
		return OK;
	}
	n->is_dir = false;
	n->key = bytes_of(NULL, 0);
	return tree_below_file(v, n->path) ? ERR_NOT_DIR : ERR_NOT_FOUND;
}

static enum err find_once(const struct view *v, struct bytes path,
			  struct file_node *n)
{
	enum err err;

	begin(n, path);
	if (path.n == 0)
		return find_root(v, n);
	n->key = bytes_of(n->room, path.n);
	err = take_key(v, n);
	if (err == ERR_NOT_FOUND)
		return find_dir(v, n);
	n->present = !err;
	return err;
}

enum err file_find(const struct view *v, struct bytes path, struct file_node *n)
{
	enum err err = find_once(v, path, n);

	for (int i = 0; i < RACES_MAX && err == ERR_BUSY; i++) {
		file_node_done(n);
		err = find_once(v, path, n);
	}
	return err == ERR_BUSY ? ERR_IO : err;
}

enum err file_find_inode(const struct view *v, uint64_t ino,
			 struct file_node *n)
{
	enum err err = ERR_BUSY;

	for (int i = 0; i < RACES_MAX && err == ERR_BUSY; i++) {
		begin(n, bytes_of(NULL, 0));
		err = take_inode(v, n, ino);
		n->present = !err;
	}
	return err == ERR_BUSY ? ERR_IO : err;
}

/* A name of the file with several names that has number ino. */
static enum err find_other_name(const struct view *v, uint64_t ino,
				struct file_node *n)
{
	uint8_t room[NAMES_PREFIX_BYTES], path[FILE_KEY_ROOM];
	struct bytes prefix = names_prefix(room, ino), key = { 0 };
	struct key_state state;
	struct view_iter it;
	size_t path_bytes = 0;
	bool found;
	enum err err;

	view_begin(v, prefix, &it);
	found = view_next(&it, &key, &state);
	if (found) {
		path_bytes = key.n - prefix.n;
		memcpy(path, key.p + prefix.n, path_bytes);
	}
	view_end(&it);
	if (!found)
		return ERR_STALE;
	err = file_find(v, bytes_of(path, path_bytes), n);
	n->path = bytes_of(n->room, path_bytes);
	if (err == ERR_NOT_FOUND || err == ERR_NOT_DIR ||
	    (!err && n->ino != ino))
		return ERR_BUSY;
	return err;
}

static bool is_gone(enum err err)
{
	return err == ERR_NOT_FOUND || err == ERR_NOT_DIR;
}

enum err file_find_ino(const struct view *v, struct bytes path, uint64_t ino,
		       struct file_node *n)
{
	enum err err = file_find(v, path, n);

	if (ino == 0 || (err && !is_gone(err)) || (!err && n->ino == ino))
		return err;
	err = ERR_BUSY;
	for (int i = 0; i < RACES_MAX && err == ERR_BUSY; i++) {
		file_node_done(n);
		err = find_other_name(v, ino, n);
	}
	if (err == ERR_STALE)
		begin(n, path);
	return err == ERR_BUSY ? ERR_IO : err;
}
