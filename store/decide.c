/*
 * store/decide.c - from a request to an outcome.
 *
 * Conditions and tree rules are decided here, in the one thread that appends,
 * against everything appended so far; the log gets unconditional puts and
 * deletes only. Operations of one write are evaluated one after the other on
 * the pending overlay, so each sees those before it; a refusal takes the
 * overlay back and appends nothing.
 *
 * An outcome that needs bytes that are not applied yet (a value condition, a
 * GET, the value of a file that loses one of several names) waits until they
 * are: ERR_PENDING ends the batch in front of it. Everything else is known from
 * the overlay.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "store/content_change.h"
#include "store/file_internal.h"
#include "store/hidden.h"

struct decision {
	struct file_decision f; /* op NULL */
	struct store_write *w;
	const struct store_op *ops;
	uint32_t op_count;
	struct store_upload *upload; /* whose commit this is */
};

enum err content_id_of(struct store *s, struct partition *p, struct bytes key,
		       const struct key_state *state, uint64_t *id)
{
	struct engine_value v;
	enum err err;

	CHECK(!(state->flags & LOC_INODE));
	if (state->pending) {
		*id = state->content_id;
		return OK;
	}
	err = engine_get(s->engine, p->id, key, ENGINE_VERIFY, &v);
	if (err)
		return err;
	if (v.value.n != RECORD_CONTENT_BYTES)
		err = ERR_CORRUPT;
	else
		*id = get_u64(v.value.p);
	engine_value_done(&v);
	return err;
}

/* Delete the chunks of a value that is about to go. */
static enum err drop_old_content(struct decision *d, struct bytes key,
				 const struct key_state *state)
{
	uint64_t id;
	enum err err;

	if (!state->present || !(state->flags & LOC_CONTENT))
		return OK;
	err = content_id_of(d->f.s, d->f.p, key, state, &id);
	if (err == ERR_NOMEM)
		return err;
	if (err) {
		/* Damage must not keep a key from being replaced; its chunks
		 * are lost space. */
		log_warn("store", "content_unknown partition=%u error=%s",
			 (unsigned)d->f.p->id, err_text(err));
		return OK;
	}
	return entry_drop_content(&d->f.s->entry, id);
}

/* ---------------------------------------------------------- conditions --- */

static enum err compare_value(struct decision *d,
			      const struct store_condition *c,
			      const struct key_state *state, bool *met)
{
	struct store_value *v;
	uint64_t off = 0;
	enum err err;

	*met = false;
	if (!state->present || state->bytes != c->value.n)
		return OK;
	if (state->pending)
		return ERR_PENDING;
	err = value_get(d->f.s, d->f.p->id, c->key, &v);
	if (err)
		return err == ERR_IO ? ERR_CORRUPT : err;
	*met = true;
	while (*met && off < c->value.n) {
		struct bytes piece;

		err = store_value_read(v, off, &piece);
		if (err)
			break;
		*met = piece.n <= c->value.n - off &&
		       memcmp(piece.p, c->value.p + off, piece.n) == 0;
		off += piece.n;
	}
	store_value_done(v);
	return err == ERR_IO ? ERR_CORRUPT : err;
}

static enum err check_condition(struct decision *d,
				const struct store_condition *c, bool *met,
				uint64_t *rev)
{
	struct key_state state;

	view_get(&d->f.view, c->key, &state);
	*rev = state.rev;
	switch (c->kind) {
	case STORE_IF_REV:
		*met = state.present && state.rev == c->rev;
		return OK;
	case STORE_IF_EXISTS:
		*met = state.present;
		return OK;
	case STORE_IF_ABSENT:
		*met = !state.present;
		return OK;
	case STORE_IF_VALUE:
		return compare_value(d, c, &state, met);
	}
	return ERR_INVALID;
}

/* All conditions; on an unmet one *rev is what its key has. */
static enum err check_conditions(struct decision *d, bool *met, uint64_t *rev)
{
	*met = true;
	for (uint32_t i = 0; i < d->w->condition_count && *met; i++) {
		enum err err =
			check_condition(d, &d->w->conditions[i], met, rev);

		if (err)
			return err;
	}
	return OK;
}

/* ---------------------------------------------------------- operations --- */

/* A value too large for one record, in the same entry as its key. */
static enum err put_in_chunks(struct decision *d, struct engine_record *put,
			      struct bytes value, struct pending_state *becomes)
{
	struct entry_builder *b = &d->f.s->entry;
	uint64_t id = file_new_content(&d->f);
	uint8_t *named = entry_room(b, RECORD_CONTENT_BYTES);

	if (!named)
		return ERR_NOMEM;
	content_encode(named, id, value.n, STORE_CHUNK_BYTES);
	put->flags |= LOC_CONTENT;
	put->value = bytes_of(named, RECORD_CONTENT_BYTES);
	becomes->content_id = id;
	becomes->content_shape = STORE_CHUNK_BYTES;
	if (content_note_chunks(d->f.p, becomes->index, id, 0, value.n))
		return ERR_NOMEM;
	return entry_chunks(b, id, 0, value);
}

/* Value and expiry of operation i, with the records of a large value. */
static enum err make_value(struct decision *d, uint32_t i,
			   struct engine_record *put,
			   struct pending_state *becomes)
{
	const struct store_op *op = &d->ops[i];

	if (op->ttl_ns)
		put->expiry_ns = log_clock_ns(d->f.s, d->f.p) + op->ttl_ns;
	if (d->upload && i == 0)
		return upload_commit_records(d->f.s, d->f.p, d->upload, put,
					     becomes);
	if (op->value.n > STORE_INLINE_BYTES_MAX)
		return put_in_chunks(d, put, op->value, becomes);
	return OK;
}

/* Write put as the data of the file with several names that state is. */
static enum err put_linked(struct decision *d, const struct engine_record *put,
			   const struct pending_state *becomes)
{
	struct file_node n = { 0 };
	enum err err = file_find(&d->f.view, put->key, &n);

	if (!err)
		err = file_drop_content(&d->f, &n);
	if (!err) {
		n.flags = put->flags & LOC_CONTENT;
		n.bytes = becomes->bytes;
		n.content_id = becomes->content_id;
		n.chunk_bytes = STORE_CHUNK_BYTES;
		n.content_flags = 0;
		n.value = put->value;
		n.has_value = true;
		n.expiry_ns = put->expiry_ns;
		n.attrs.has &= ~(uint32_t)ATTRS_CHUNKS;
		file_note_data(&n);
		err = file_node_put(&d->f, &n);
	}
	file_node_done(&n);
	return err;
}

static enum err put_plain(struct decision *d, const struct key_state *state,
			  struct engine_record *put,
			  struct pending_state *becomes)
{
	struct entry_builder *b = &d->f.s->entry;
	struct engine_record *r;
	enum err err;

	err = drop_old_content(d, put->key, state);
	if (!err)
		err = file_keep_attrs(&d->f, put->key, state, &put->attrs);
	if (err)
		return err;
	/* Its place is its number: docs/format-store.md. */
	if (put->attrs.n == 0 && b->count >= STORE_INO_BLOCK)
		return ERR_TOO_LARGE;
	r = entry_record(b);
	if (!r)
		return ERR_NOMEM;
	if (put->expiry_ns)
		put->flags |= LOC_EXPIRES;
	*r = *put;
	becomes->flags = put->flags;
	becomes->attrs = put->attrs;
	becomes->expiry_ns = put->expiry_ns;
	becomes->mtime_ns = entry_mtime(d->f.s);
	becomes->position = (uint16_t)(b->count - 1);
	return pending_set(&d->f.p->pending, put->key, becomes);
}

static enum err decide_put(struct decision *d, uint32_t i)
{
	const struct store_op *op = &d->ops[i];
	struct key_state state;
	struct pending_state becomes = {
		.present = true,
		.index = d->f.index,
		.bytes = op->value.n,
	};
	struct engine_record put = { .type = RECORD_PUT,
				     .key = op->key,
				     .value = op->value };
	enum err err;

	view_get(&d->f.view, op->key, &state);
	if (state.present && state.flags & (LOC_LINK | LOC_SPECIAL))
		return ERR_NOT_FILE;
	err = tree_check_put(&d->f.view, op->key, &state);
	if (!err)
		err = make_value(d, i, &put, &becomes);
	if (!err && state.flags & LOC_INODE)
		err = put_linked(d, &put, &becomes);
	else if (!err)
		err = put_plain(d, &state, &put, &becomes);
	if (err)
		return err;
	if (d->w->results) {
		d->w->results[i].existed = state.present;
		d->w->results[i].rev = becomes.index;
	}
	return OK;
}

static enum err decide_delete(struct decision *d, uint32_t i)
{
	const struct store_op *op = &d->ops[i];
	struct key_state state;
	enum err err;

	view_get(&d->f.view, op->key, &state);
	err = tree_check_delete(&d->f.view, op->key, &state);
	if (err)
		return err;
	if (d->w->results)
		d->w->results[i].existed = state.present;
	if (!state.present)
		return OK;
	if (state.flags & LOC_INODE)
		return file_remove_linked(&d->f, op->key, RECORD_DELETE);
	err = drop_old_content(d, op->key, &state);
	if (err)
		return err;
	return file_add_delete(&d->f, op->key, RECORD_DELETE);
}

/* The write of the same transaction, before operation i, that set key. */
static const struct store_op *own_put(struct decision *d, uint32_t i)
{
	for (uint32_t j = 0; j < i; j++) {
		if (d->ops[j].kind == STORE_PUT &&
		    bytes_equal(d->ops[j].key, d->ops[i].key))
			return &d->ops[j];
	}
	return NULL;
}

static enum err decide_get(struct decision *d, uint32_t i)
{
	struct bytes key = d->ops[i].key;
	struct key_state state;
	struct store_value *v = NULL;
	enum err err;

	view_get(&d->f.view, key, &state);
	if (!state.present || !d->w->results)
		return OK;
	/* Another of its names is in this transaction, or this one was. */
	if (state.flags & LOC_INODE && state.rev == d->f.index)
		return ERR_DUPLICATE;
	if (state.pending) {
		const struct store_op *own = own_put(d, i);

		if (!own || (d->upload && own == d->ops))
			return ERR_PENDING;
		err = value_of_bytes(own->value, state.rev, &v);
	} else {
		err = value_get(d->f.s, d->f.p->id, key, &v);
	}
	if (err)
		return err == ERR_IO ? ERR_CORRUPT : err;
	d->w->results[i].existed = true;
	d->w->results[i].found = true;
	d->w->results[i].rev = state.rev;
	d->w->results[i].value = v;
	return OK;
}

static enum err decide_ops(struct decision *d, uint32_t *failed_op)
{
	for (uint32_t i = 0; i < d->op_count; i++) {
		enum err err = OK;

		switch (d->ops[i].kind) {
		case STORE_PUT:
			err = decide_put(d, i);
			break;
		case STORE_DELETE:
			err = decide_delete(d, i);
			break;
		case STORE_GET:
			err = decide_get(d, i);
			break;
		}
		if (err) {
			*failed_op = i;
			return err;
		}
	}
	return OK;
}

static void drop_results(struct decision *d)
{
	for (uint32_t i = 0; d->w->results && i < d->op_count; i++) {
		store_value_done(d->w->results[i].value);
		d->w->results[i] = (struct store_result){ 0 };
	}
}

/* Choose the operations: OK with d->ops set, or the refusal. */
static enum err choose_ops(struct decision *d)
{
	struct store_write *w = d->w;
	uint64_t rev = 0;
	enum err err;

	err = check_conditions(d, &w->succeeded, &rev);
	if (err)
		return err;
	if (w->succeeded) {
		d->ops = w->then_ops;
		d->op_count = w->then_count;
		d->upload = w->upload;
	} else if (w->is_txn) {
		d->ops = w->else_ops;
		d->op_count = w->else_count;
	} else {
		w->rev_now = rev;
		return ERR_PRECONDITION;
	}
	return OK;
}

enum err decide_write(struct store *s, struct store_write *w)
{
	struct partition *p = &s->partitions[w->queued.partition];
	struct decision d = { .f = { .s = s,
				     .p = p,
				     .view = view_of(s, p),
				     .index = p->last_index + 1 },
			      .w = w };
	enum err err;

	w->err = OK;
	w->failed_op = 0;
	w->rev_now = 0;
	results_clear(w);
	w->queued.index = 0;
	entry_begin(&s->entry);
	err = choose_ops(&d);
	if (!err && d.upload)
		err = upload_outcome(d.upload);
	if (!err)
		err = decide_ops(&d, &w->failed_op);
	if (err)
		pending_rollback(&p->pending);
	else if (s->entry.count > 0)
		err = entry_append(s, p, &w->queued.index);
	w->revision = p->last_index;
	if (err) {
		drop_results(&d);
		if (err == ERR_PENDING || err == ERR_IO)
			return err;
		w->err = err;
		count_up(&s->refusals, 1);
	} else if (d.upload) {
		upload_committed(p, d.upload);
	}
	return OK;
}
