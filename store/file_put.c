/*
 * store/file_put.c - a file back into records.
 *
 * A file with one name is one record. With several:
 *
 *    put "\0i" ino      attributes, value (or a content's name)
 *    put each name      LOC_INODE | LOC_CONTENT, the inode's number and size
 *
 * in this order, for a reader between two of them must find an inode at least
 * as new as the name. All names are written at each change: revision, size,
 * conditions and watches of a key need its own record only.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "store/file_internal.h"
#include "store/hidden.h"
#include "store/keyrules.h"

/* A view of bytes that lives as long as the entry. n 0: {NULL, 0}. */
static enum err keep_bytes(struct file_decision *d, struct bytes from,
			   struct bytes *kept)
{
	uint8_t *room = entry_room(&d->s->entry, from.n);

	if (!room)
		return ERR_NOMEM;
	if (from.n > 0)
		memcpy(room, from.p, from.n);
	*kept = bytes_of(room, from.n);
	return OK;
}

/* Add r, and what it makes of its key, which is the entry's, to the overlay. */
enum err file_record_add(struct file_decision *d,
			 const struct file_record *record)
{
	const struct engine_record *r = &record->r;
	struct pending_state becomes = record->becomes;
	struct entry_builder *b = &d->s->entry;
	struct engine_record *to = entry_record(b);

	if (!to)
		return ERR_NOMEM;
	CHECK(r->type == RECORD_PUT);
	*to = *r;
	becomes.present = true;
	becomes.position = (uint16_t)(b->count - 1);
	becomes.flags = r->flags | (r->expiry_ns ? LOC_EXPIRES : 0);
	becomes.index = d->index;
	becomes.expiry_ns = r->expiry_ns;
	becomes.mtime_ns = entry_mtime(d->s);
	becomes.attrs = r->attrs;
	return pending_set(&d->p->pending, r->key, &becomes);
}

enum err file_add_delete(struct file_decision *d, struct bytes key,
			 uint8_t type)
{
	const struct pending_state gone = { .index = d->index };
	struct engine_record *r = entry_record(&d->s->entry);
	struct bytes kept;
	enum err err = r ? keep_bytes(d, key, &kept) : ERR_NOMEM;

	if (err)
		return err;
	r->type = type;
	r->key = kept;
	return pending_set(&d->p->pending, kept, &gone);
}

/* ---------------------------------------------------------------- value -- */

/* The value is in the entry that is being made, or in one not applied yet. */
static enum err pending_value(struct file_decision *d, struct file_node *n)
{
	uint32_t position = (uint32_t)n->version & ENTRY_POSITION_MAX;

	if (version_index(n->version) != d->index)
		return ERR_PENDING;
	CHECK(position < d->s->entry.count);
	n->value = d->s->entry.records[position].value;
	CHECK(n->value.n == n->bytes);
	n->has_value = true;
	return OK;
}

enum err file_node_value(struct file_decision *d, struct file_node *n)
{
	uint8_t room[INODE_KEY_BYTES];
	struct bytes key = n->linked ? inode_key(room, n->ino) : n->key;
	struct engine_value v;
	enum err err;

	if (n->is_dir || n->flags & LOC_CONTENT || n->has_value)
		return OK;
	if (n->bytes == 0) {
		n->has_value = true;
		return OK;
	}
	if (n->pending)
		return pending_value(d, n);
	err = engine_get(d->s->engine, d->p->id, key, ENGINE_VERIFY, &v);
	if (err)
		return err == ERR_IO ? ERR_CORRUPT : err;
	err = v.value.n == n->bytes ? keep_bytes(d, v.value, &n->value)
				    : ERR_CORRUPT;
	n->has_value = !err;
	engine_value_done(&v);
	return err;
}

void file_note_data(struct file_node *n)
{
	n->attrs.has &= ~(ATTRS_MTIME | ATTRS_CTIME);
}

void file_note_change(struct file_node *n)
{
	if (!(n->attrs.has & ATTRS_MTIME) && n->mtime_ns) {
		n->attrs.has |= ATTRS_MTIME;
		n->attrs.mtime_ns = n->mtime_ns;
	}
	n->attrs.has &= ~(uint32_t)ATTRS_CTIME;
}

enum err file_drop_content(struct file_decision *d, const struct file_node *n)
{
	if (!(n->flags & LOC_CONTENT))
		return OK;
	return entry_drop_content(&d->s->entry, n->content_id);
}

/* The value's part of a record, and what the overlay keeps of it. */
static enum err set_value(struct file_decision *d, const struct file_node *n,
			  struct file_record *out)
{
	struct engine_record *r = &out->r;
	struct pending_state *becomes = &out->becomes;
	uint64_t shape = n->chunk_bytes | (uint64_t)n->content_flags << 32;
	uint8_t *named;

	r->flags = (uint8_t)(n->flags & (LOC_CONTENT | LOC_LINK | LOC_SPECIAL));
	becomes->bytes = n->bytes;
	if (!(n->flags & LOC_CONTENT)) {
		CHECK(n->is_dir || n->has_value);
		CHECK(n->value.n == n->bytes);
		r->value = n->value;
		return OK;
	}
	CHECK(n->chunk_bytes > 0);
	named = entry_room(&d->s->entry, RECORD_CONTENT_BYTES);
	if (!named)
		return ERR_NOMEM;
	content_encode(named, n->content_id, n->bytes, shape);
	r->value = bytes_of(named, RECORD_CONTENT_BYTES);
	becomes->content_id = n->content_id;
	becomes->content_shape = shape;
	return OK;
}

/* ----------------------------------------------------------- attributes -- */

/*
 * The number of a new file is that of its record's place: nothing to store,
 * but only so many places of an entry have one.
 */
static enum err give_number(struct file_decision *d, struct file_node *n)
{
	uint32_t position = d->s->entry.count;

	if (n->ino) {
		n->attrs.has |= ATTRS_INO;
		n->attrs.ino = n->ino;
		return OK;
	}
	if (position >= STORE_INO_BLOCK)
		return ERR_TOO_LARGE;
	n->ino = file_ino_of(&d->view, version_pack(d->index, position));
	n->attrs.has &= ~(uint32_t)ATTRS_INO;
	return OK;
}

static enum err encode_attrs(struct file_decision *d, const struct attrs *a,
			     struct bytes *encoded)
{
	size_t n = attrs_bytes(a);
	uint8_t *room;

	if (n > STORE_FILE_ATTR_BYTES_MAX)
		return ERR_NOSPC;
	if (n == 0)
		return OK;
	room = entry_room(&d->s->entry, n);
	if (!room)
		return ERR_NOMEM;
	*encoded = bytes_of(room, attrs_encode(a, room));
	CHECK(encoded->n == n);
	return OK;
}

/* --------------------------------------------------------- several names -- */

enum err file_names(struct file_decision *d, uint64_t ino, struct buf *names)
{
	uint8_t room[NAMES_PREFIX_BYTES];
	struct bytes prefix = names_prefix(room, ino), key;
	struct key_state state;
	struct view_iter it;
	enum err err = OK;

	view_begin(&d->view, prefix, &it);
	while (!err && view_next(&it, &key, &state)) {
		uint16_t n = (uint16_t)(key.n - prefix.n);

		err = buf_add(names, &n, sizeof(n));
		if (!err)
			err = buf_add(names, key.p + prefix.n, n);
	}
	view_end(&it);
	return err;
}

bool file_names_next(const struct buf *names, size_t *off, struct bytes *name)
{
	if (*off >= names->n)
		return false;
	*name = bytes_of(names->p + *off + 2, get_u16(names->p + *off));
	*off += 2 + name->n;
	return true;
}

/* When the name key of a file with several expires; 0: never. */
static enum err expiry_of_name(struct file_decision *d, struct bytes key,
			       uint64_t *expiry_ns)
{
	struct key_state state;
	struct engine_value v;
	enum err err;

	*expiry_ns = 0;
	view_get(&d->view, key, &state);
	if (!state.present || !(state.flags & LOC_EXPIRES))
		return OK;
	if (state.pending) {
		*expiry_ns = state.expiry_ns;
		return OK;
	}
	err = engine_get(d->s->engine, d->p->id, key, ENGINE_HEAD, &v);
	if (err)
		return err;
	*expiry_ns = v.expiry_ns;
	engine_value_done(&v);
	return OK;
}

/* The record of the key name, which names the inode of n. */
static enum err name_record(struct file_decision *d, const struct file_node *n,
			    struct bytes name, struct file_record *out)
{
	uint8_t *named = entry_room(&d->s->entry, RECORD_CONTENT_BYTES);
	enum err err = named ? keep_bytes(d, name, &out->r.key) : ERR_NOMEM;

	if (err)
		return err;
	content_encode(named, n->ino, n->bytes, 0);
	out->r.type = RECORD_PUT;
	out->r.flags = (uint8_t)(LOC_INODE | LOC_CONTENT |
				 (n->flags & (LOC_LINK | LOC_SPECIAL)));
	out->r.value = bytes_of(named, RECORD_CONTENT_BYTES);
	out->becomes.bytes = n->bytes;
	out->becomes.content_id = n->ino;
	return OK;
}

static enum err put_name(struct file_decision *d, const struct file_node *n,
			 struct bytes name)
{
	struct file_record out = { 0 };
	enum err err = name_record(d, n, name, &out);

	if (err)
		return err;
	if (bytes_equal(name, n->key))
		out.r.expiry_ns = n->expiry_ns;
	else
		err = expiry_of_name(d, name, &out.r.expiry_ns);
	return err ? err : file_record_add(d, &out);
}

static enum err put_names(struct file_decision *d, const struct file_node *n)
{
	struct buf names = BUF_INIT;
	struct bytes name;
	size_t off = 0;
	enum err err = file_names(d, n->ino, &names);

	while (!err && file_names_next(&names, &off, &name))
		err = put_name(d, n, name);
	buf_done(&names);
	return err;
}

enum err file_add_name(struct file_decision *d, uint64_t ino, struct bytes name)
{
	struct file_record out = { .r = { .type = RECORD_PUT } };
	uint8_t *room = entry_room(&d->s->entry, NAMES_PREFIX_BYTES + name.n);

	if (!room)
		return ERR_NOMEM;
	names_prefix(room, ino);
	memcpy(room + NAMES_PREFIX_BYTES, name.p, name.n);
	out.r.key = bytes_of(room, NAMES_PREFIX_BYTES + name.n);
	return file_record_add(d, &out);
}

enum err file_drop_name(struct file_decision *d, uint64_t ino,
			struct bytes name)
{
	uint8_t room[NAMES_PREFIX_BYTES + RECORD_KEY_BYTES_MAX];

	CHECK(name.n + NAMES_PREFIX_BYTES <= RECORD_KEY_BYTES_MAX);
	names_prefix(room, ino);
	memcpy(room + NAMES_PREFIX_BYTES, name.p, name.n);
	return file_add_delete(d, bytes_of(room, NAMES_PREFIX_BYTES + name.n),
			       RECORD_DELETE);
}

/* ------------------------------------------------------------------ put -- */

/* The record that has attributes and value: the key's, or the inode's. */
static enum err value_record(struct file_decision *d, struct file_node *n,
			     struct bytes key, struct file_record *out)
{
	enum err err = keep_bytes(d, key, &out->r.key);

	out->r.type = RECORD_PUT;
	if (!err)
		err = set_value(d, n, out);
	if (!err)
		err = give_number(d, n);
	return err ? err : encode_attrs(d, &n->attrs, &out->r.attrs);
}

enum err file_node_record(struct file_decision *d, struct file_node *n,
			  struct bytes key, struct file_record *out)
{
	*out = (struct file_record){ .r = { .expiry_ns = n->expiry_ns } };
	CHECK(n->ino);
	return n->linked ? name_record(d, n, key, out)
			 : value_record(d, n, key, out);
}

static enum err put_record(struct file_decision *d, struct file_node *n,
			   struct bytes key, uint64_t expiry_ns)
{
	struct file_record out = { .r = { .expiry_ns = expiry_ns } };
	enum err err = value_record(d, n, key, &out);

	return err ? err : file_record_add(d, &out);
}

enum err file_node_put(struct file_decision *d, struct file_node *n)
{
	uint8_t room[INODE_KEY_BYTES];
	enum err err;

	CHECK(n->linked || n->key.n > 0);
	if (n->linked) {
		CHECK(n->ino);
		err = put_record(d, n, inode_key(room, n->ino), 0);
		if (!err)
			err = put_names(d, n);
	} else {
		err = put_record(d, n, n->key, n->expiry_ns);
	}
	if (err)
		return err;
	n->present = true;
	n->implicit = false;
	n->pending = true;
	n->rev = d->index;
	n->mtime_ns = entry_mtime(d->s);
	return OK;
}

/* --------------------------------------------------------------- remove -- */

static enum err drop_inode(struct file_decision *d, uint64_t ino)
{
	uint8_t room[INODE_KEY_BYTES];

	return file_add_delete(d, inode_key(room, ino), RECORD_DELETE);
}

enum err file_remove_inode(struct file_decision *d, const struct file_node *n)
{
	enum err err = file_drop_content(d, n);

	return err ? err : drop_inode(d, n->ino);
}

static enum err remove_linked(struct file_decision *d, struct file_node *n)
{
	uint32_t names = file_links(n);
	enum err err = file_drop_name(d, n->ino, n->key);

	if (err)
		return err;
	if (names > 1) {
		n->attrs.has |= ATTRS_NAMES;
		n->attrs.names = names - 1;
		file_note_change(n);
		return file_node_put(d, n);
	}
	return file_remove_inode(d, n);
}

enum err file_node_remove(struct file_decision *d, struct file_node *n,
			  uint8_t type)
{
	enum err err;

	CHECK(n->present && !n->implicit);
	CHECK(key_is_user(n->key));
	err = file_add_delete(d, n->key, type);
	if (!err)
		err = n->linked ? remove_linked(d, n) : file_drop_content(d, n);
	if (err)
		return err;
	n->present = false;
	n->pending = true;
	return OK;
}

/* --------------------------------------------- for who deals in keys ----- */

enum err file_remove_linked(struct file_decision *d, struct bytes key,
			    uint8_t type)
{
	struct file_node n = { 0 };
	enum err err = file_find(&d->view, key, &n);

	if (!err && file_links(&n) > 1)
		err = file_node_value(d, &n);
	if (!err) {
		err = file_node_remove(d, &n, type);
	} else if (err == ERR_CORRUPT && n.linked) {
		/* What is damaged stays as it is, but without this name. */
		log_warn("store", "inode_unknown partition=%u error=%s",
			 (unsigned)d->p->id, err_text(err));
		err = file_add_delete(d, key, type);
		if (!err)
			err = file_drop_name(d, n.ino, key);
	}
	file_node_done(&n);
	return err;
}

/* As they were, but for what a change of the data puts in their place. */
static enum err renew_attrs(struct file_decision *d, struct bytes before,
			    uint64_t version, struct bytes *attrs)
{
	struct attrs a;
	enum err err = attrs_decode(before, &a);

	if (err)
		return err;
	if (!(a.has & ATTRS_INO)) {
		a.has |= ATTRS_INO;
		a.ino = file_ino_of(&d->view, version);
	}
	a.has &= ~(ATTRS_MTIME | ATTRS_CTIME | ATTRS_CHUNKS);
	return encode_attrs(d, &a, attrs);
}

static enum err renew_from_file(struct file_decision *d, struct bytes key,
				struct bytes *attrs)
{
	struct engine_value v;
	enum err err = engine_get(d->s->engine, d->p->id, key, ENGINE_HEAD, &v);

	if (err)
		return err;
	err = renew_attrs(d, v.attrs, v.version, attrs);
	engine_value_done(&v);
	return err;
}

/* A directory that gets a key of its own keeps the number it had without. */
static enum err implicit_attrs(struct file_decision *d, struct bytes key,
			       struct bytes *attrs)
{
	struct attrs a = { .has = ATTRS_INO };

	if (!key_is_dir(key) || !tree_exists_under(&d->view, key))
		return OK;
	a.ino = file_implicit_ino(bytes_of(key.p, key.n - 1));
	return encode_attrs(d, &a, attrs);
}

enum err file_keep_attrs(struct file_decision *d, struct bytes key,
			 const struct key_state *state, struct bytes *attrs)
{
	enum err err;

	CHECK(!(state->flags & LOC_INODE));
	if (!state->present)
		return implicit_attrs(d, key, attrs);
	if (state->pending || state->attr_bytes == 0)
		err = renew_attrs(d, state->attrs, state->version, attrs);
	else
		err = renew_from_file(d, key, attrs);
	if (!err || err == ERR_NOMEM)
		return err;
	log_warn("store", "attributes_lost partition=%u error=%s",
		 (unsigned)d->p->id, err_text(err));
	return OK;
}
