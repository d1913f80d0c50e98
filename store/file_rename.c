/*
 * store/file_rename.c - RENAME: a file, or a directory with all below it.
 *
 * One entry, whatever moves:
 *
 *    put "\0v"              what it meant, for observers
 *    deletions              of what moves away, and of what is replaced
 *    puts                   of what moves, under its new key
 *    put                    of the directories, as a mount wants it
 *
 * Keys keep numbers, attributes, times and expiry; only the file or directory
 * renamed itself has a new ctime. Values above the inline bound stay where
 * they are: the new record names the same content. So what is moved is first
 * gathered (struct move), while the view still has it, then taken away, then
 * put: an exchange needs that order.
 *
 * A directory that is or was implicit has the hash of its path for a number. It
 * gets one of its own, for keys may make its old path a directory again; if a
 * mount renames it, a record too. No record of this entry has the number of its
 * place, so these are free to be given.
 */
#include <stdlib.h>
#include <sys/stat.h>

#include "base/check.h"
#include "store/file_internal.h"
#include "store/hidden.h"
#include "store/keyrules.h"

enum {
	MEANING_BYTES = 8,
	MEANING_FORMAT = 1,
	MEANING_MOVE = 1,
	MEANING_EXCHANGE = 2,
	RECORDS_MAX = 60000, /* of the entry; the engine takes a few more */
};

/* A key that gets another name. */
struct move {
	struct file_record record;
	struct bytes old_key;
	uint64_t ino;
	bool linked;
};

/* One side: what is at a path and where it goes; in exchange there are two. */
struct side {
	struct file_node n;
	struct file_node dir; /* that it lies in                             */
	struct bytes to;      /* path that it gets                           */
	struct bytes to_key;
	struct buf keys; /* below a directory and its own: u16 bytes, key    */
	struct buf moves;
	struct side *other;
};

struct rename {
	struct file_decision *d;
	struct side from, to;
	bool exchange;
	uint64_t bytes, keys; /* so far */
	uint32_t numbers;     /* given */
};

/* --------------------------------------------------------------- meaning - */

static enum err add_meaning(struct rename *r)
{
	struct bytes from = r->from.n.key, to = r->from.to_key;
	struct file_record out = { .r = { .type = RECORD_PUT,
					  .key = meaning_key() } };
	size_t n = MEANING_BYTES + from.n + to.n;
	uint8_t *p = entry_room(&r->d->s->entry, n);

	if (!p)
		return ERR_NOMEM;
	memset(p, 0, MEANING_BYTES);
	p[0] = MEANING_FORMAT;
	p[1] = r->exchange ? MEANING_EXCHANGE : MEANING_MOVE;
	put_u16(p + 2, (uint16_t)from.n);
	put_u16(p + 4, (uint16_t)to.n);
	memcpy(p + MEANING_BYTES, from.p, from.n);
	memcpy(p + MEANING_BYTES + from.n, to.p, to.n);
	out.r.value = bytes_of(p, n);
	out.becomes.bytes = n;
	return file_record_add(r->d, &out);
}

bool file_meaning_decode(struct bytes value, struct store_seen *seen)
{
	const uint8_t *p = value.p;
	size_t from, to;

	if (value.n < MEANING_BYTES || p[0] != MEANING_FORMAT ||
	    (p[1] != MEANING_MOVE && p[1] != MEANING_EXCHANGE))
		return false;
	from = get_u16(p + 2);
	to = get_u16(p + 4);
	if (from + to != value.n - MEANING_BYTES)
		return false;
	*seen = (struct store_seen){
		.kind = p[1] == MEANING_MOVE ? STORE_SEEN_MOVE
					     : STORE_SEEN_EXCHANGE,
		.key = bytes_of(p + MEANING_BYTES, from),
		.to = bytes_of(p + MEANING_BYTES + from, to),
	};
	return true;
}

/* --------------------------------------------------------------- finding - */

static bool is_absent(enum err err)
{
	return err == ERR_NOT_FOUND;
}

static enum err find_sides(struct rename *r)
{
	struct file_decision *d = r->d;
	const struct store_file_op *op = d->op;
	enum err err = file_find(&d->view, op->path, &r->from.n);

	if (!err && op->ino && r->from.n.ino != op->ino)
		err = ERR_STALE;
	if (!err)
		err = file_find_parent(d, op->path, op->dir_ino, &r->from.dir);
	if (err)
		return err;
	err = file_find_parent(d, op->path2, op->dir2_ino, &r->to.dir);
	if (is_absent(err) && !(op->flags & STORE_FILE_POSIX) && !op->dir2_ino)
		err = OK;
	if (err)
		return err;
	err = file_find(&d->view, op->path2, &r->to.n);
	if (err && !is_absent(err))
		return err;
	return op->ino2 && r->to.n.ino != op->ino2 ? ERR_STALE : OK;
}

/* Both paths are one file: nothing is to be done. */
static bool is_same(const struct rename *r)
{
	const struct file_node *from = &r->from.n, *to = &r->to.n;

	return bytes_equal(from->path, to->path) ||
	       (from->linked && to->linked && from->ino == to->ino);
}

/* May the one replace the other? */
static enum err judge(struct rename *r)
{
	const struct file_node *from = &r->from.n, *to = &r->to.n;

	if (r->exchange)
		return to->present ? OK : ERR_NOT_FOUND;
	if (!to->present)
		return OK;
	if (r->d->op->flags & STORE_FILE_NOREPLACE)
		return ERR_EXISTS;
	if (is_same(r) || (!from->is_dir && !to->is_dir))
		return OK;
	if (!from->is_dir || !to->is_dir)
		return from->is_dir ? ERR_NOT_DIR : ERR_IS_DIR;
	if (to->implicit)
		return ERR_NOT_EMPTY;
	return tree_check_delete(&r->d->view, to->key,
				 &(struct key_state){ .present = true });
}

/* ------------------------------------------------------------- gathering - */

static enum err add_key(struct side *side, struct bytes key)
{
	uint16_t n = (uint16_t)key.n;
	enum err err = buf_add(&side->keys, &n, sizeof(n));

	return err ? err : buf_add(&side->keys, key.p, key.n);
}

/* The keys that move: without reading, for the key directory is locked. */
static enum err list_keys(struct rename *r, struct side *side)
{
	struct view_iter it;
	struct key_state state;
	struct bytes key;
	enum err err = OK;

	if (!side->n.is_dir)
		return side->n.linked ? OK : add_key(side, side->n.key);
	view_begin(&r->d->view, side->n.key, &it);
	while (!err && view_next(&it, &key, &state)) {
		r->bytes += key.n - side->n.key.n + side->to_key.n +
			    state.attr_bytes +
			    (state.flags & LOC_CONTENT ? 0 : state.bytes);
		if (++r->keys > STORE_RENAME_KEYS_MAX ||
		    r->bytes > STORE_RENAME_BYTES_MAX)
			err = ERR_TOO_LARGE;
		else
			err = add_key(side, key);
	}
	view_end(&it);
	return err;
}

/* Times that are the record's own must not become those of the new one. */
static void keep_times(struct file_node *n)
{
	if (!(n->attrs.has & ATTRS_MTIME)) {
		n->attrs.has |= ATTRS_MTIME;
		n->attrs.mtime_ns = n->mtime_ns;
	}
	if (!(n->attrs.has & ATTRS_CTIME)) {
		n->attrs.has |= ATTRS_CTIME;
		n->attrs.ctime_ns = n->mtime_ns;
	}
}

/* The name of what was called old_key before; in the entry's memory. */
static enum err new_key(struct rename *r, const struct side *side,
			struct bytes old_key, struct bytes *key)
{
	size_t rest = old_key.n - side->n.key.n;
	size_t n = side->to_key.n + rest;
	uint8_t *p;

	if (n > STORE_PATH_BYTES_MAX + 1)
		return ERR_KEY_TOO_LONG;
	p = entry_room(&r->d->s->entry, n);
	if (!p)
		return ERR_NOMEM;
	memcpy(p, side->to_key.p, side->to_key.n);
	if (rest > 0)
		memcpy(p + side->to_key.n, old_key.p + side->n.key.n, rest);
	*key = bytes_of(p, n);
	return OK;
}

static enum err give_number(struct rename *r, struct file_node *n)
{
	if (r->numbers == STORE_INO_BLOCK)
		return ERR_TOO_LARGE;
	n->ino = file_ino_of(&r->d->view,
			     version_pack(r->d->index, r->numbers++));
	return OK;
}

static enum err add_move(struct rename *r, struct side *side,
			 struct file_node *n, struct bytes old_key)
{
	struct move m = { .old_key = old_key,
			  .ino = n->ino,
			  .linked = n->linked };
	struct bytes key;
	enum err err = new_key(r, side, old_key, &key);

	if (!err && file_ino_is_hash(n->ino))
		err = give_number(r, n);
	if (!err && !n->linked)
		err = file_node_value(r->d, n);
	if (err)
		return err;
	if (bytes_equal(old_key, side->n.key))
		file_note_change(n);
	else
		keep_times(n);
	err = file_node_record(r->d, n, key, &m.record);
	return err ? err : buf_add(&side->moves, &m, sizeof(m));
}

static enum err gather_key(struct rename *r, struct side *side,
			   struct bytes key)
{
	struct bytes path = bytes_of(key.p, key.n - key_is_dir(key));
	struct file_node n;
	enum err err = file_find(&r->d->view, path, &n);

	CHECK(err || bytes_equal(n.key, key));
	if (!err)
		err = add_move(r, side, &n, key);
	if (!err && bytes_equal(key, side->n.key))
		side->n.ino = n.ino;
	file_node_done(&n);
	return err;
}

/* A directory without a record gets one. */
static enum err gather_implicit(struct rename *r, struct side *side)
{
	struct move m = { 0 };
	enum err err = give_number(r, &side->n);

	if (!err)
		err = file_node_record(r->d, &side->n, side->to_key, &m.record);
	return err ? err : buf_add(&side->moves, &m, sizeof(m));
}

static enum err gather(struct rename *r, struct side *side)
{
	enum err err = list_keys(r, side);

	if (!err && side->n.linked)
		err = file_node_value(r->d, &side->n);
	if (!err && side->n.implicit && r->d->op->flags & STORE_FILE_POSIX)
		err = gather_implicit(r, side);
	for (size_t off = 0; !err && off < side->keys.n;) {
		size_t n = get_u16(side->keys.p + off);

		err = gather_key(r, side, bytes_of(side->keys.p + off + 2, n));
		off += 2 + n;
	}
	return err;
}

/* -------------------------------------------------------------- emitting - */

static enum err delete_prefix(struct rename *r, struct bytes prefix)
{
	struct engine_record *record = entry_record(&r->d->s->entry);
	uint8_t *key = entry_room(&r->d->s->entry, prefix.n);

	if (!record || !key)
		return ERR_NOMEM;
	memcpy(key, prefix.p, prefix.n);
	record->type = RECORD_DELETE_PREFIX;
	record->key = bytes_of(key, prefix.n);
	return pending_set_prefix(&r->d->p->pending, prefix, r->d->index);
}

/* What moves leaves its name, unless what comes in exchange has it too. */
static enum err take_away(struct rename *r, struct side *side)
{
	if (side->n.is_dir)
		return delete_prefix(r, side->n.key);
	if (r->exchange && !side->other->n.is_dir)
		return OK;
	return file_add_delete(r->d, side->n.key, RECORD_DELETE);
}

/* What is at the new path goes. Of a plain file the new record is enough. */
static enum err replace(struct rename *r)
{
	struct file_node *n = &r->to.n;
	enum err err;

	if (!n->present || n->is_dir != r->from.n.is_dir)
		return OK;
	if (!n->is_dir && !n->linked)
		return file_drop_content(r->d, n);
	err = file_node_value(r->d, n);
	return err ? err : file_node_remove(r->d, n, RECORD_DELETE);
}

static enum err put_move(struct rename *r, const struct move *m)
{
	enum err err = OK;

	if (r->d->s->entry.count > RECORDS_MAX)
		return ERR_TOO_LARGE;
	if (m->linked)
		err = file_drop_name(r->d, m->ino, m->old_key);
	if (!err && m->linked)
		err = file_add_name(r->d, m->ino, m->record.r.key);
	return err ? err : file_record_add(r->d, &m->record);
}

/* A file with other names: inode and all names are written. */
static enum err put_linked(struct rename *r, struct side *side)
{
	struct file_node *n = &side->n;
	enum err err = file_drop_name(r->d, n->ino, n->key);

	if (!err)
		err = file_add_name(r->d, n->ino, side->to_key);
	if (err)
		return err;
	n->key = side->to_key;
	file_note_change(n);
	return file_node_put(r->d, n);
}

static enum err put_side(struct rename *r, struct side *side)
{
	size_t count = side->moves.n / sizeof(struct move);
	const struct move *moves = (const struct move *)side->moves.p;
	enum err err = OK;

	for (size_t i = 0; i < count && !err; i++)
		err = put_move(r, &moves[i]);
	return err;
}

/*
 * First everything that has one name in this entry: who writes all names of an
 * inode must find them as they will be.
 */
static enum err put_sides(struct rename *r)
{
	enum err err = put_side(r, &r->from);

	if (!err && r->exchange)
		err = put_side(r, &r->to);
	if (!err && r->from.n.linked)
		err = put_linked(r, &r->from);
	if (!err && r->exchange && r->to.n.linked)
		err = put_linked(r, &r->to);
	return err;
}

static enum err touch_dirs(struct rename *r)
{
	enum err err = OK;

	if (r->from.dir.present)
		err = file_touch(r->d, &r->from.dir);
	if (err || !r->to.dir.present ||
	    bytes_equal(r->from.dir.key, r->to.dir.key))
		return err;
	return file_touch(r->d, &r->to.dir);
}

static enum err emit(struct rename *r)
{
	enum err err = add_meaning(r);

	if (!err)
		err = take_away(r, &r->from);
	if (!err)
		err = r->exchange ? take_away(r, &r->to) : replace(r);
	if (!err)
		err = put_sides(r);
	return err ? err : touch_dirs(r);
}

/* -------------------------------------------------------------- the whole */

/* The key of path when what n is lies there. */
static enum err key_at(struct rename *r, struct side *side, struct bytes path)
{
	size_t n = path.n + side->n.is_dir;
	uint8_t *p;

	if (n > STORE_PATH_BYTES_MAX + 1)
		return ERR_KEY_TOO_LONG;
	p = entry_room(&r->d->s->entry, n);
	if (!p)
		return ERR_NOMEM;
	memcpy(p, path.p, path.n);
	if (side->n.is_dir)
		p[path.n] = '/';
	side->to = path;
	side->to_key = bytes_of(p, n);
	return OK;
}

static enum err rename_path(struct rename *r)
{
	struct store_file_op *op = r->d->op;
	enum err err = find_sides(r);

	if (!err)
		err = judge(r);
	if (!err && !is_same(r)) {
		err = key_at(r, &r->from, op->path2);
		if (!err)
			err = gather(r, &r->from);
		if (!err && r->exchange)
			err = key_at(r, &r->to, op->path);
		if (!err && r->exchange)
			err = gather(r, &r->to);
		if (!err)
			err = emit(r);
	}
	op->found_ino = r->from.n.ino;
	op->bytes = r->from.n.bytes;
	return err;
}

static void side_done(struct side *side)
{
	file_node_done(&side->n);
	file_node_done(&side->dir);
	buf_done(&side->keys);
	buf_done(&side->moves);
}

enum err decide_file_rename(struct file_decision *d)
{
	struct rename *r = calloc(1, sizeof(*r));
	enum err err;

	if (!r)
		return ERR_NOMEM;
	r->d = d;
	r->exchange = d->op->flags & STORE_FILE_EXCHANGE;
	r->from.other = &r->to;
	r->to.other = &r->from;
	err = rename_path(r);
	side_done(&r->from);
	side_done(&r->to);
	free(r);
	return err;
}
