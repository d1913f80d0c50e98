/*
 * store/file_data.c - decisions that change a file's bytes: write, append,
 * truncate, allocate.
 *
 * A small file stays in its record: while it has at most
 * STORE_FILE_INLINE_BYTES_MAX bytes, and rewriting it costs at most about
 * three times what is written. Beyond that it becomes a content, chunks and
 * extents under an id of their own (store/content_change.h), and then only
 * truncation makes it small again. Values that HTTP has put lie in their
 * records up to STORE_INLINE_BYTES_MAX; the first write moves them.
 */
#include <sys/stat.h>

#include "base/check.h"
#include "store/content_change.h"
#include "store/file_internal.h"

enum {
	RECORD_BYTES_ABOUT = 170, /* of a record beside its value            */
	GAP_BYTES_MAX = 4096,	  /* zeros that are written, not left out    */
};

/* ------------------------------------------------------------- contents -- */

static struct content_change change_of_node(struct file_decision *d,
					    const struct file_node *n)
{
	bool known = n->attrs.has & ATTRS_CHUNKS;

	return (struct content_change){
		.s = d->s,
		.p = d->p,
		.index = d->index,
		.ref = { .id = n->content_id,
			 .bytes = n->bytes,
			 .chunk_bytes = n->chunk_bytes,
			 .flags = n->content_flags },
		.chunks = known ? n->attrs.chunks : 0,
	};
}

static void take_change(struct file_node *n, const struct content_change *c)
{
	n->bytes = c->ref.bytes;
	n->content_flags = c->ref.flags;
	n->attrs.has &= ~(uint32_t)ATTRS_CHUNKS;
	n->attrs.chunks = 0;
	if (c->ref.flags & CONTENT_SPARSE) {
		n->attrs.has |= ATTRS_CHUNKS;
		n->attrs.chunks = c->chunks;
	}
}

/* n has no bytes from now on. */
static enum err empty(struct file_decision *d, struct file_node *n)
{
	enum err err = file_drop_content(d, n);

	n->flags &= ~(unsigned)LOC_CONTENT;
	n->attrs.has &= ~(uint32_t)ATTRS_CHUNKS;
	n->bytes = 0;
	n->value = bytes_of(NULL, 0);
	n->has_value = true;
	return err;
}

/* n, whose value was in its record, has an empty content from now on. */
static void begin_content(struct file_decision *d, struct file_node *n)
{
	n->flags |= LOC_CONTENT;
	n->content_id = file_new_content(d);
	n->chunk_bytes = STORE_CHUNK_BYTES;
	n->content_flags = 0;
	n->bytes = 0;
	n->has_value = false;
}

static enum err write_content(struct file_decision *d, struct file_node *n,
			      uint64_t off, struct bytes data)
{
	struct content_change c = change_of_node(d, n);
	enum err err = content_write(&c, off, data);

	take_change(n, &c);
	return err;
}

/* --------------------------------------------------------- in the record - */

/* data over the loaded value of n, zeros between them; in the entry's room. */
static enum err join(struct file_decision *d, const struct file_node *n,
		     uint64_t off, struct bytes data, struct bytes *joined)
{
	uint64_t end = off + data.n, bytes = end > n->bytes ? end : n->bytes;
	uint8_t *room = entry_room(&d->s->entry, bytes);

	if (!room)
		return ERR_NOMEM;
	if (n->value.n > 0)
		memcpy(room, n->value.p, n->value.n);
	if (bytes > n->value.n)
		memset(room + n->value.n, 0, bytes - n->value.n);
	if (data.n > 0)
		memcpy(room + off, data.p, data.n);
	*joined = bytes_of(room, bytes);
	return OK;
}

static bool fits_record(uint64_t bytes, uint64_t written)
{
	return bytes <= STORE_FILE_INLINE_BYTES_MAX &&
	       bytes <= 3 * (written + RECORD_BYTES_ABOUT);
}

/* The value is in the record and stays there. */
static enum err write_record(struct file_decision *d, struct file_node *n,
			     uint64_t off, struct bytes data)
{
	enum err err = OK;

	if (off > 0 || data.n < n->bytes) {
		err = file_node_value(d, n);
		if (!err)
			err = join(d, n, off, data, &data);
	}
	if (err)
		return err;
	n->value = data;
	n->has_value = true;
	n->bytes = data.n;
	return OK;
}

/* The value is in the record and does not stay there. */
static enum err leave_record(struct file_decision *d, struct file_node *n,
			     uint64_t off, struct bytes data)
{
	struct bytes old = { 0 };
	enum err err = OK;

	if (off > 0 || data.n < n->bytes) {
		err = file_node_value(d, n);
		old = n->value;
	}
	if (!err && old.n > 0 && off <= old.n + GAP_BYTES_MAX) {
		err = join(d, n, off, data, &data);
		old.n = 0;
		off = 0;
	}
	if (err)
		return err;
	begin_content(d, n);
	if (old.n > 0)
		err = write_content(d, n, 0, old);
	return err ? err : write_content(d, n, off, data);
}

/* Put data, at least one byte, at off. ERR_TOO_LARGE; as file_node_value. */
static enum err write_data(struct file_decision *d, struct file_node *n,
			   uint64_t off, struct bytes data)
{
	uint64_t bytes = off + data.n > n->bytes ? off + data.n : n->bytes;

	if (off + data.n > d->s->max_value_bytes)
		return ERR_TOO_LARGE;
	if (n->flags & LOC_CONTENT)
		return write_content(d, n, off, data);
	if (fits_record(bytes, data.n))
		return write_record(d, n, off, data);
	return leave_record(d, n, off, data);
}

/* ----------------------------------------------------------------- size -- */

static enum err resize_record(struct file_decision *d, struct file_node *n,
			      uint64_t bytes)
{
	struct content_change c;
	enum err err = file_node_value(d, n);

	if (err)
		return err;
	if (bytes <= n->bytes) {
		n->value.n = bytes;
		n->bytes = bytes;
		return OK;
	}
	if (bytes <= STORE_FILE_INLINE_BYTES_MAX)
		return write_record(d, n, bytes, bytes_of(NULL, 0));
	err = leave_record(d, n, 0, n->value);
	c = change_of_node(d, n);
	if (!err)
		err = content_resize(&c, bytes);
	take_change(n, &c);
	return err;
}

static enum err resize(struct file_decision *d, struct file_node *n,
		       uint64_t bytes)
{
	struct content_change c;
	enum err err;

	if (bytes > d->s->max_value_bytes)
		return ERR_TOO_LARGE;
	if (bytes == n->bytes)
		return OK;
	if (bytes == 0)
		return empty(d, n);
	if (!(n->flags & LOC_CONTENT))
		return resize_record(d, n, bytes);
	c = change_of_node(d, n);
	err = content_resize(&c, bytes);
	take_change(n, &c);
	return err;
}

static enum err zero(struct file_decision *d, struct file_node *n, uint64_t off,
		     uint64_t length)
{
	struct content_change c;
	uint8_t *zeros;
	enum err err;

	if (off >= n->bytes)
		return OK;
	if (length > n->bytes - off)
		length = n->bytes - off;
	if (!(n->flags & LOC_CONTENT)) {
		zeros = entry_room(&d->s->entry, length);
		if (!zeros)
			return ERR_NOMEM;
		memset(zeros, 0, length);
		return write_record(d, n, off, bytes_of(zeros, length));
	}
	c = change_of_node(d, n);
	err = content_zero(&c, off, length);
	take_change(n, &c);
	return err;
}

/* ------------------------------------------------------------ operations - */

static enum err check_data(const struct file_node *n)
{
	if (n->is_dir)
		return ERR_IS_DIR;
	return file_type(n) == S_IFREG ? OK : ERR_NOT_FILE;
}

void file_drop_setid(const struct store_file_op *op, struct file_node *n)
{
	uint32_t drop = S_ISUID;

	if (!(op->flags & STORE_FILE_DROP_SETID))
		return;
	/* Without the right to execute it means something else. */
	if (n->attrs.permissions & S_IXGRP)
		drop |= S_ISGID;
	n->attrs.permissions &= ~drop;
}

enum err file_set_bytes(struct file_decision *d, struct file_node *n)
{
	uint64_t before = n->bytes;
	enum err err = check_data(n);

	if (!err)
		err = resize(d, n, d->op->off);
	if (!err && n->bytes != before)
		file_note_data(n);
	return err;
}

/* Find the file to write, or with STORE_FILE_MAKE begin it. */
static enum err find_or_make(struct file_decision *d, struct file_node *n,
			     struct file_node *parent, bool *made)
{
	const struct store_file_op *op = d->op;
	enum err err;

	*made = false;
	if (!(op->flags & STORE_FILE_MAKE))
		return file_find_ino(&d->view, op->path, op->ino, n);
	err = file_find(&d->view, op->path, n);
	if (!err)
		return op->ino && n->ino != op->ino ? ERR_EXISTS : OK;
	*made = true;
	return file_make(d, err, n, parent);
}

static enum err write_file(struct file_decision *d, struct file_node *n,
			   bool made)
{
	struct store_file_op *op = d->op;
	bool truncate = op->flags & STORE_FILE_TRUNCATE && !made;
	enum err err = check_data(n);

	if (!err && truncate)
		err = empty(d, n);
	if (err)
		return err;
	op->found_off = op->flags & STORE_FILE_APPEND ? n->bytes : op->off;
	if (op->data.n > 0)
		err = write_data(d, n, op->found_off, op->data);
	else if (!made && !truncate)
		return OK;
	if (err)
		return err;
	file_note_data(n);
	file_drop_setid(op, n);
	return file_node_put(d, n);
}

enum err decide_file_write(struct file_decision *d)
{
	struct file_node n = { .present = false }, parent = n;
	bool made;
	enum err err = find_or_make(d, &n, &parent, &made);

	if (!err)
		err = write_file(d, &n, made);
	if (!err && made)
		err = file_touch(d, &parent);
	d->op->found_ino = n.ino;
	d->op->bytes = n.bytes;
	file_node_done(&n);
	file_node_done(&parent);
	return err;
}

static enum err allocate(struct file_decision *d, struct file_node *n)
{
	const struct store_file_op *op = d->op;
	bool keep = op->flags & (STORE_FILE_KEEP_SIZE | STORE_FILE_PUNCH);
	bool clear = op->flags & (STORE_FILE_PUNCH | STORE_FILE_ZERO);
	enum err err = OK;

	if (clear)
		err = zero(d, n, op->off, op->length);
	if (!err && !keep && op->off + op->length > n->bytes)
		err = resize(d, n, op->off + op->length);
	return err;
}

enum err decide_file_allocate(struct file_decision *d)
{
	struct file_node n;
	enum err err = file_find_ino(&d->view, d->op->path, d->op->ino, &n);
	uint32_t clear = d->op->flags & (STORE_FILE_PUNCH | STORE_FILE_ZERO);
	uint64_t before = n.bytes;

	if (!err)
		err = check_data(&n);
	if (!err)
		err = allocate(d, &n);
	if (!err && (clear || n.bytes != before)) {
		file_note_data(&n);
		file_drop_setid(d->op, &n);
		err = file_node_value(d, &n);
		if (!err)
			err = file_node_put(d, &n);
	}
	d->op->found_ino = n.ino;
	d->op->bytes = n.bytes;
	file_node_done(&n);
	return err;
}
