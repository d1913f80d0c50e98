/*
 * store/decide_prefix.c - the deletion of all keys that begin with a prefix.
 *
 * One record hides them all. What it cannot hide is put beside it: the chunks
 * of large values, and what a file with several names is to the names that it
 * keeps.
 *
 *    -prefix*                               the keys
 *    -"\0l" ino *, -"\0i" ino, -content     all names of a file are below it
 *    -"\0l" ino name.., inode, other names  some are
 *    -"\0c" id *                            the contents of the rest
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "store/content.h"
#include "store/file_internal.h"
#include "store/hidden.h"
#include "store/keyrules.h"

/* What a walk below a prefix found, to be put into records. */
struct prefix_walk {
	uint64_t keys;
	bool first_bytes[256];
	struct buf contents; /* content ids, u64 each */
	struct buf inodes;   /* numbers of files with several names, u64 each */
	struct buf unread;   /* keys whose record names either: u32, key */
};

/* Add key, with its length before it. */
static enum err add_key(struct buf *b, struct bytes key)
{
	uint32_t n = (uint32_t)key.n;
	enum err err = buf_add(b, &n, sizeof(n));

	return err ? err : buf_add(b, key.p, key.n);
}

static bool next_key(const struct buf *b, size_t *off, struct bytes *key)
{
	if (*off >= b->n)
		return false;
	*key = bytes_of(b->p + *off + 4, get_u32(b->p + *off));
	*off += 4 + key->n;
	return true;
}

static enum err walk_prefix(struct view *view, struct bytes prefix,
			    struct prefix_walk *out)
{
	struct view_iter it;
	struct key_state state;
	struct bytes key;
	enum err err = OK;

	view_begin(view, prefix, &it);
	while (!err && view_next(&it, &key, &state)) {
		if (!key_is_user(key))
			continue;
		out->keys++;
		out->first_bytes[key.p[0]] = true;
		if (!(state.flags & LOC_CONTENT))
			continue;
		if (state.pending)
			err = buf_add(state.flags & LOC_INODE ? &out->inodes
							      : &out->contents,
				      &state.content_id, 8);
		else
			err = add_key(&out->unread, key);
	}
	view_end(&it);
	return err;
}

/* What the record of key names, which is applied. */
static enum err read_name(struct store *s, struct partition *p,
			  struct bytes key, struct prefix_walk *walk)
{
	struct engine_value v;
	struct content_ref ref;
	enum err err = engine_get(s->engine, p->id, key, ENGINE_VERIFY, &v);

	if (err)
		return err;
	err = content_ref_decode(v.value, &ref);
	if (!err)
		err = buf_add(ref.chunk_bytes ? &walk->contents : &walk->inodes,
			      &ref.id, 8);
	engine_value_done(&v);
	return err;
}

/* Read the records found, without the key directory's lock. */
static enum err read_names(struct store *s, struct partition *p,
			   struct prefix_walk *walk)
{
	struct bytes key;
	size_t off = 0;

	while (next_key(&walk->unread, &off, &key)) {
		enum err err = read_name(s, p, key, walk);

		if (err == ERR_NOMEM)
			return err;
		if (err)
			log_warn("store",
				 "content_unknown partition=%u error=%s",
				 (unsigned)p->id, err_text(err));
	}
	return OK;
}

static enum err add_prefix_record(struct store *s, struct partition *p,
				  struct bytes prefix)
{
	struct engine_record *r = entry_record(&s->entry);

	if (!r)
		return ERR_NOMEM;
	r->type = RECORD_DELETE_PREFIX;
	r->key = prefix;
	return pending_set_prefix(&p->pending, prefix, p->last_index + 1);
}

/*
 * The records of one partition's share. An empty prefix stands for all user
 * keys: one record for each first byte that occurs, for a record with an empty
 * prefix would take the store's own keys along.
 */
static enum err prefix_records(struct store *s, struct partition *p,
			       struct bytes prefix,
			       const struct prefix_walk *walk)
{
	enum err err = OK;

	if (prefix.n > 0)
		return add_prefix_record(s, p, prefix);
	for (unsigned byte = 1; byte < 256 && !err; byte++) {
		uint8_t *room;

		if (!walk->first_bytes[byte])
			continue;
		room = entry_room(&s->entry, 1);
		if (!room)
			return ERR_NOMEM;
		*room = (uint8_t)byte;
		err = add_prefix_record(s, p, bytes_of(room, 1));
	}
	return err;
}

static enum err drop_names(struct file_decision *d, uint64_t ino,
			   struct bytes prefix, const struct buf *names,
			   uint32_t *kept)
{
	struct bytes name;
	size_t off = 0;
	enum err err = OK;

	*kept = 0;
	while (!err && file_names_next(names, &off, &name)) {
		if (bytes_begins(name, prefix))
			err = file_drop_name(d, ino, name);
		else
			++*kept;
	}
	return err;
}

/* The names of one file that are below the prefix are gone. */
static enum err rest_of_file(struct file_decision *d, struct file_node *n,
			     uint32_t kept)
{
	enum err err;

	if (kept == 0)
		return file_remove_inode(d, n);
	err = file_node_value(d, n);
	if (err)
		return err;
	n->attrs.has |= ATTRS_NAMES;
	n->attrs.names = kept;
	file_note_change(n);
	return file_node_put(d, n);
}

static enum err drop_linked(struct file_decision *d, uint64_t ino,
			    struct bytes prefix)
{
	struct buf names = BUF_INIT;
	struct file_node n;
	uint32_t kept = 0;
	enum err err = file_names(d, ino, &names);

	if (!err)
		err = drop_names(d, ino, prefix, &names, &kept);
	buf_done(&names);
	if (err)
		return err;
	err = file_find_inode(&d->view, ino, &n);
	if (!err)
		err = rest_of_file(d, &n, kept);
	file_node_done(&n);
	if (err != ERR_CORRUPT && err != ERR_NOT_FOUND)
		return err;
	/* What is damaged must not keep the rest from being deleted. */
	log_warn("store", "inode_unknown partition=%u error=%s",
		 (unsigned)d->p->id, err_text(err));
	return OK;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = get_u64(a), y = get_u64(b);

	return (x > y) - (x < y);
}

/* The files of which names went, each once. */
static enum err drop_all_linked(struct file_decision *d, struct bytes prefix,
				const struct buf *inodes)
{
	size_t count = inodes->n / 8;
	enum err err = OK;

	if (count > 1)
		qsort(inodes->p, count, 8, by_number);
	for (size_t i = 0; i < count && !err; i++) {
		uint64_t ino = get_u64(inodes->p + 8 * i);

		if (i == 0 || ino != get_u64(inodes->p + 8 * (i - 1)))
			err = drop_linked(d, ino, prefix);
	}
	return err;
}

enum { CONTENTS_PER_ENTRY = 32768 };

/*
 * The chunks of the values that went, in entries of their own when they are
 * very many. They lie in the same batch, hence in the same frame: a crash
 * keeps all of it or nothing.
 */
static enum err drop_contents(struct store *s, struct partition *p,
			      const struct prefix_walk *walk, uint64_t *index)
{
	size_t count = walk->contents.n / 8;
	enum err err = OK;

	for (size_t i = 0; i < count && !err; i++) {
		uint64_t id = get_u64(walk->contents.p + 8 * i);

		if (s->entry.count >= CONTENTS_PER_ENTRY) {
			err = entry_append(s, p, index);
			if (err)
				return err;
			entry_begin(&s->entry);
		}
		err = entry_drop_content(&s->entry, id);
	}
	if (err) {
		pending_rollback(&p->pending);
		return err;
	}
	return entry_append(s, p, index);
}

static enum err make_records(struct store *s, struct partition *p,
			     struct store_write *w,
			     const struct prefix_walk *walk)
{
	struct file_decision d = { .s = s,
				   .p = p,
				   .view = view_of(s, p),
				   .index = p->last_index + 1 };
	enum err err;

	entry_begin(&s->entry);
	err = prefix_records(s, p, w->prefix, walk);
	if (!err)
		err = drop_all_linked(&d, w->prefix, &walk->inodes);
	if (err)
		pending_rollback(&p->pending);
	return err;
}

static enum err delete_in_partition(struct store *s, struct partition *p,
				    struct store_write *w)
{
	struct view view = view_of(s, p);
	struct prefix_walk walk = { 0 };
	enum err err;

	err = walk_prefix(&view, w->prefix, &walk);
	if (!err)
		err = read_names(s, p, &walk);
	if (!err && walk.keys > 0) {
		w->deleted = walk.keys; /* forwarded, it is in the entry */
		err = make_records(s, p, w, &walk);
		if (!err)
			err = drop_contents(s, p, &walk, &w->queued.index);
	}
	if (err)
		w->deleted = 0;
	buf_done(&walk.contents);
	buf_done(&walk.inodes);
	buf_done(&walk.unread);
	return err;
}

enum err decide_delete_prefix(struct store *s, struct store_write *w)
{
	struct partition *p = &s->partitions[w->queued.partition];
	uint64_t before = p->last_index;
	enum err err;

	w->deleted = 0;
	w->succeeded = true;
	w->atomic = true;
	err = delete_in_partition(s, p, w);
	w->revision = p->last_index;
	if (err == ERR_IO || err == ERR_PENDING)
		return err;
	/* With a share done already the whole is neither done nor undone. */
	if (err && p->last_index > before)
		err = ERR_UNKNOWN;
	w->err = err;
	return OK;
}
