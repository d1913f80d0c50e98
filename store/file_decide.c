/*
 * store/file_decide.c - from a file operation to an outcome.
 *
 * What is common to all kinds: an entry is begun, the kind's own function
 * fills it, and it is appended or taken back. RESERVE is here too: the numbers
 * reserved are those that its entry could give away, hence it gives none, and
 * the record that it leaves is there only because an entry must have one.
 */
#include "store/file_internal.h"
#include "store/forward.h"
#include "store/hidden.h"

static enum err decide_reserve(struct file_decision *d)
{
	struct engine_record *r = entry_record(&d->s->entry);
	uint8_t *key = entry_room(&d->s->entry, RESERVED_KEY_BYTES);

	if (!r || !key)
		return ERR_NOMEM;
	r->type = RECORD_PUT;
	r->key = reserved_key(key, forward_asker(d->s));
	d->op->found_ino = file_ino(&d->view, d->index, 0);
	return OK;
}

static enum err decide_kind(struct file_decision *d)
{
	switch (d->op->kind) {
	case STORE_FILE_RESERVE:
		return decide_reserve(d);
	case STORE_FILE_WRITE:
		return decide_file_write(d);
	case STORE_FILE_ALLOCATE:
		return decide_file_allocate(d);
	case STORE_FILE_RENAME:
		return decide_file_rename(d);
	case STORE_FILE_CREATE:
		return decide_file_create(d);
	case STORE_FILE_REMOVE:
		return decide_file_remove(d);
	case STORE_FILE_LINK:
		return decide_file_link(d);
	case STORE_FILE_SET:
		return decide_file_set(d);
	case STORE_FILE_XATTR:
		return decide_file_xattr(d);
	}
	return ERR_INVALID;
}

enum err decide_file(struct store *s, struct store_file_op *op)
{
	struct partition *p = &s->partitions[op->queued.partition];
	struct file_decision d = { .s = s,
				   .p = p,
				   .op = op,
				   .view = view_of(s, p),
				   .index = p->last_index + 1 };
	enum err err;

	op->err = OK;
	op->found_ino = op->found_off = op->bytes = 0;
	op->queued.index = 0;
	entry_begin(&s->entry);
	err = decide_kind(&d);
	if (err)
		pending_rollback(&p->pending);
	else if (s->entry.count > 0)
		err = entry_append(s, p, &op->queued.index);
	op->revision = p->last_index;
	if (err == ERR_PENDING || err == ERR_IO)
		return err;
	op->err = err;
	if (err)
		count_up(&s->refusals, 1);
	return OK;
}
