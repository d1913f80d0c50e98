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
 * GET, the attributes of a key that is replaced) waits until they are:
 * ERR_PENDING ends the batch in front of it. Everything else is known from the
 * overlay.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "store/hidden.h"
#include "store/keyrules.h"
#include "store/store_internal.h"

struct decision {
	struct store *s;
	struct partition *p;
	struct store_write *w;
	struct view view;
	const struct store_op *ops;
	uint32_t op_count;
	uint32_t contents;	     /* opened in this entry so far */
	struct store_upload *upload; /* whose commit this is */
};

enum err content_id_of(struct store *s, struct partition *p, struct bytes key,
		       const struct key_state *state, uint64_t *id)
{
	struct engine_value v;
	enum err err;

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
	err = content_id_of(d->s, d->p, key, state, &id);
	if (err == ERR_NOMEM)
		return err;
	if (err) {
		/* Damage must not keep a key from being replaced; its chunks
		 * are lost space. */
		log_warn("store", "content_unknown partition=%u error=%s",
			 (unsigned)d->p->id, err_text(err));
		return OK;
	}
	return entry_drop_content(&d->s->entry, id);
}

/* A key that is replaced keeps the attributes of its record. */
static enum err keep_attrs(struct decision *d, struct bytes key,
			   const struct key_state *state,
			   struct engine_record *put)
{
	struct engine_value v;
	uint8_t *room;
	enum err err;

	if (!state->present || !state->attr_bytes)
		return OK;
	if (state->pending) {
		put->attrs = state->attrs;
		return OK;
	}
	err = engine_get(d->s->engine, d->p->id, key, ENGINE_HEAD, &v);
	if (err == ERR_NOMEM)
		return err;
	if (err) { /* as with its content: a damaged key can be replaced */
		log_warn("store", "attributes_lost partition=%u error=%s",
			 (unsigned)d->p->id, err_text(err));
		return OK;
	}
	room = entry_room(&d->s->entry, v.attrs.n);
	if (room) {
		memcpy(room, v.attrs.p, v.attrs.n);
		put->attrs = bytes_of(room, v.attrs.n);
	}
	engine_value_done(&v);
	return room ? OK : ERR_NOMEM;
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
	err = value_get(d->s, d->p->id, c->key, &v);
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

	view_get(&d->view, c->key, &state);
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
	struct entry_builder *b = &d->s->entry;
	uint64_t id = version_pack(becomes->index, d->contents++);
	uint8_t *named = entry_room(b, RECORD_CONTENT_BYTES);

	if (!named)
		return ERR_NOMEM;
	content_encode(named, id, value.n, STORE_CHUNK_BYTES);
	put->flags |= LOC_CONTENT;
	put->value = bytes_of(named, RECORD_CONTENT_BYTES);
	becomes->content_id = id;
	becomes->content_shape = STORE_CHUNK_BYTES;
	return entry_chunks(b, id, 0, value);
}

static enum err decide_put(struct decision *d, uint32_t i)
{
	const struct store_op *op = &d->ops[i];
	struct entry_builder *b = &d->s->entry;
	struct key_state state;
	struct pending_state becomes = {
		.present = true,
		.index = d->p->last_index + 1,
		.bytes = op->value.n,
	};
	struct engine_record put = { .type = RECORD_PUT,
				     .key = op->key,
				     .value = op->value };
	struct engine_record *r;
	enum err err;

	view_get(&d->view, op->key, &state);
	err = tree_check_put(&d->view, op->key, &state);
	if (err)
		return err;
	err = drop_old_content(d, op->key, &state);
	if (!err)
		err = keep_attrs(d, op->key, &state, &put);
	if (err)
		return err;
	becomes.attrs = put.attrs;
	becomes.mtime_ns = entry_mtime(d->s);
	if (op->ttl_ns) {
		put.flags |= LOC_EXPIRES;
		put.expiry_ns = log_clock_ns(d->s, d->p) + op->ttl_ns;
	}
	if (d->upload && i == 0)
		err = upload_commit_records(d->s, d->p, d->upload, &put,
					    &becomes);
	else if (op->value.n > STORE_INLINE_BYTES_MAX)
		err = put_in_chunks(d, &put, op->value, &becomes);
	if (err)
		return err;
	r = entry_record(b);
	if (!r)
		return ERR_NOMEM;
	*r = put;
	becomes.flags = put.flags;
	becomes.expiry_ns = put.expiry_ns;
	becomes.position = (uint16_t)(b->count - 1);
	err = pending_set(&d->p->pending, op->key, &becomes);
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
	struct engine_record *r;
	enum err err;

	view_get(&d->view, op->key, &state);
	err = tree_check_delete(&d->view, op->key, &state);
	if (err)
		return err;
	if (d->w->results)
		d->w->results[i].existed = state.present;
	if (!state.present)
		return OK;
	err = drop_old_content(d, op->key, &state);
	if (err)
		return err;
	r = entry_record(&d->s->entry);
	if (!r)
		return ERR_NOMEM;
	r->type = RECORD_DELETE;
	r->key = op->key;
	return pending_set(
		&d->p->pending, op->key,
		&(struct pending_state){ .index = d->p->last_index + 1 });
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

	view_get(&d->view, key, &state);
	if (!state.present || !d->w->results)
		return OK;
	if (state.pending) {
		const struct store_op *own = own_put(d, i);

		if (!own || (d->upload && own == d->ops))
			return ERR_PENDING;
		err = value_of_bytes(own->value, state.rev, &v);
	} else {
		err = value_get(d->s, d->p->id, key, &v);
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
	struct decision d = { .s = s, .p = p, .w = w, .view = view_of(s, p) };
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

/* ------------------------------------------------------ prefix deletion -- */

/* What a walk below a prefix found, to be put into records. */
struct prefix_walk {
	uint64_t keys;
	bool first_bytes[256];
	struct buf contents; /* content ids, u64 each */
	struct buf unread;   /* keys whose record names the content: u32, key */
};

static enum err walk_prefix(struct view *view, struct bytes prefix,
			    struct prefix_walk *out)
{
	struct view_iter it;
	struct key_state state;
	struct bytes key;
	enum err err = OK;

	view_begin(view, prefix, &it);
	while (!err && view_next(&it, &key, &state)) {
		uint32_t n = (uint32_t)key.n;

		if (!key_is_user(key))
			continue;
		out->keys++;
		out->first_bytes[key.p[0]] = true;
		if (!(state.flags & LOC_CONTENT))
			continue;
		if (state.pending) {
			err = buf_add(&out->contents, &state.content_id, 8);
			continue;
		}
		err = buf_add(&out->unread, &n, sizeof(n));
		if (!err)
			err = buf_add(&out->unread, key.p, key.n);
	}
	view_end(&it);
	return err;
}

/* Read the records found, without the key directory's lock. */
static enum err read_contents(struct store *s, struct partition *p,
			      struct prefix_walk *walk)
{
	const struct key_state applied = { .present = true };

	for (size_t off = 0; off < walk->unread.n;) {
		size_t n = get_u32(walk->unread.p + off);
		struct bytes key = bytes_of(walk->unread.p + off + 4, n);
		uint64_t id;
		enum err err = content_id_of(s, p, key, &applied, &id);

		if (!err)
			err = buf_add(&walk->contents, &id, sizeof(id));
		if (err == ERR_NOMEM)
			return err;
		if (err)
			log_warn("store",
				 "content_unknown partition=%u error=%s",
				 (unsigned)p->id, err_text(err));
		off += 4 + n;
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

static enum err delete_in_partition(struct store *s, struct partition *p,
				    struct store_write *w)
{
	struct view view = view_of(s, p);
	struct prefix_walk walk = { .contents = BUF_INIT, .unread = BUF_INIT };
	enum err err;

	err = walk_prefix(&view, w->prefix, &walk);
	if (!err)
		err = read_contents(s, p, &walk);
	if (!err && walk.keys > 0) {
		w->deleted = walk.keys; /* forwarded, it is in the entry */
		entry_begin(&s->entry);
		err = prefix_records(s, p, w->prefix, &walk);
		if (err)
			pending_rollback(&p->pending);
		else
			err = drop_contents(s, p, &walk, &w->queued.index);
	}
	if (err)
		w->deleted = 0;
	buf_done(&walk.contents);
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
	if (err == ERR_IO)
		return err;
	/* With a share done already the whole is neither done nor undone. */
	if (err && p->last_index > before)
		err = ERR_UNKNOWN;
	w->err = err;
	return OK;
}
