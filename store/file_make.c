/*
 * store/file_make.c - names come and go: CREATE, REMOVE, LINK.
 */
#include "base/check.h"
#include "store/file_internal.h"
#include "store/keyrules.h"

/* Nothing is there: not an error to who wants to make it. */
static bool is_absent(enum err err)
{
	return err == ERR_NOT_FOUND || err == ERR_NOT_DIR;
}

static void tell(struct file_decision *d, const struct file_node *n)
{
	d->op->found_ino = n->ino;
	d->op->bytes = n->bytes;
}

/* ---------------------------------------------------------------- create -- */

/* The first bytes of n, a new file, or the target of a link. */
static enum err set_first_bytes(struct file_decision *d, struct file_node *n)
{
	struct bytes data = d->op->data;

	n->bytes = data.n;
	if (data.n <= STORE_FILE_INLINE_BYTES_MAX) {
		n->value = data;
		return OK;
	}
	n->flags |= LOC_CONTENT;
	n->content_id = file_new_content(d);
	n->chunk_bytes = STORE_CHUNK_BYTES;
	return entry_chunks(&d->s->entry, n->content_id, 0, data);
}

static enum err create(struct file_decision *d, struct file_node *n,
		       struct file_node *parent)
{
	enum err err = file_find(&d->view, d->op->path, n);

	if (err && !is_absent(err))
		return err;
	err = file_make(d, err, n, parent);
	if (!err)
		err = set_first_bytes(d, n);
	if (!err)
		err = file_node_put(d, n);
	if (!err)
		err = file_touch(d, parent);
	if (!err)
		tell(d, n);
	return err;
}

enum err decide_file_create(struct file_decision *d)
{
	struct file_node n = { 0 }, parent = { 0 };
	enum err err = create(d, &n, &parent);

	file_node_done(&n);
	file_node_done(&parent);
	return err;
}

/* ---------------------------------------------------------------- remove -- */

static enum err check_remove(struct file_decision *d, const struct file_node *n)
{
	bool directory = d->op->flags & STORE_FILE_DIRECTORY;

	if (d->op->ino && d->op->ino != n->ino)
		return ERR_STALE;
	if (directory != n->is_dir)
		return directory ? ERR_NOT_DIR : ERR_IS_DIR;
	if (!directory)
		return OK;
	if (n->implicit)
		return ERR_NOT_EMPTY;
	return tree_check_delete(&d->view, n->key,
				 &(struct key_state){ .present = true });
}

static enum err remove_path(struct file_decision *d, struct file_node *n,
			    struct file_node *parent)
{
	enum err err = file_find(&d->view, d->op->path, n);

	if (!err)
		err = check_remove(d, n);
	if (!err)
		err = file_find_parent(d, d->op->path, d->op->dir_ino, parent);
	if (!err && file_links(n) > 1)
		err = file_node_value(d, n);
	if (!err)
		err = file_node_remove(d, n, RECORD_DELETE);
	if (!err)
		err = file_touch(d, parent);
	if (!err)
		tell(d, n);
	return err;
}

enum err decide_file_remove(struct file_decision *d)
{
	struct file_node n = { 0 }, parent = { 0 };
	enum err err = remove_path(d, &n, &parent);

	file_node_done(&n);
	file_node_done(&parent);
	return err;
}

/* ------------------------------------------------------------------ link -- */

/* May n get another name, path2? parent: the directory that it is to be in. */
static enum err check_link(struct file_decision *d, const struct file_node *n,
			   struct file_node *parent)
{
	struct file_node other;
	enum err err;

	if (n->is_dir)
		return ERR_IS_DIR;
	err = file_find(&d->view, d->op->path2, &other);
	file_node_done(&other);
	if (!err)
		return ERR_EXISTS;
	if (err != ERR_NOT_FOUND)
		return err;
	err = file_find_parent(d, d->op->path2, d->op->dir2_ino, parent);
	if (err == ERR_NOT_FOUND && !(d->op->flags & STORE_FILE_POSIX) &&
	    !d->op->dir2_ino)
		err = OK;
	if (!err && file_links(n) >= STORE_FILE_LINKS_MAX)
		err = ERR_LINKS_MAX;
	return err;
}

static enum err add_name(struct file_decision *d, struct file_node *n)
{
	enum err err = file_node_value(d, n);

	if (!err && !n->linked)
		err = file_add_name(d, n->ino, n->key);
	if (!err)
		err = file_add_name(d, n->ino, d->op->path2);
	if (err)
		return err;
	n->attrs.names = file_links(n) + 1;
	n->attrs.has |= ATTRS_NAMES;
	n->linked = true;
	file_note_change(n);
	return file_node_put(d, n);
}

static enum err link_path(struct file_decision *d, struct file_node *n,
			  struct file_node *parent)
{
	enum err err = file_find_ino(&d->view, d->op->path, d->op->ino, n);

	if (!err)
		err = check_link(d, n, parent);
	if (!err)
		err = add_name(d, n);
	if (!err && parent->present)
		err = file_touch(d, parent);
	if (!err)
		tell(d, n);
	return err;
}

enum err decide_file_link(struct file_decision *d)
{
	struct file_node n = { 0 }, parent = { 0 };
	enum err err = link_path(d, &n, &parent);

	file_node_done(&n);
	file_node_done(&parent);
	return err;
}
