/*
 * store/write.c - what is checked of a write before it is queued.
 *
 * On the caller's thread, so that the core thread meets only requests that are
 * well formed: possible keys, sizes within limits, no key written twice, all
 * keys in one partition.
 */
#include "store/keyrules.h"
#include "store/upload.h"

struct checked {
	const struct store *s;
	bool has_partition;
	uint32_t partition;
	uint64_t bytes;
};

static enum err check_key(struct checked *c, struct bytes key)
{
	enum err err = store_key_check(key);
	uint32_t partition;

	if (err)
		return err;
	partition = store_partition_of(c->s, key);
	if (c->has_partition && c->partition != partition)
		return ERR_CROSS_PART;
	c->has_partition = true;
	c->partition = partition;
	c->bytes += key.n;
	return OK;
}

static bool writes_key_twice(const struct store_op *ops, uint32_t count)
{
	for (uint32_t i = 1; i < count; i++) {
		for (uint32_t j = 0; j < i && ops[i].kind != STORE_GET; j++) {
			if (ops[j].kind != STORE_GET &&
			    bytes_equal(ops[i].key, ops[j].key))
				return true;
		}
	}
	return false;
}

static enum err check_ops(struct checked *c, const struct store_op *ops,
			  uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		enum err err = check_key(c, ops[i].key);

		if (err)
			return err;
		if (ops[i].kind != STORE_PUT)
			continue;
		if (ops[i].value.n > c->s->max_value_bytes)
			return ERR_TOO_LARGE;
		if (ops[i].value.n > 0 && key_is_dir(ops[i].key))
			return ERR_INVALID;
		c->bytes += ops[i].value.n;
	}
	return writes_key_twice(ops, count) ? ERR_DUPLICATE : OK;
}

static enum err check_upload(const struct store *s, const struct store_write *w)
{
	const struct store_op *op = w->then_ops;

	/* Alone: a GET beside it would wait for bytes that come with it. */
	if (w->then_count != 1 || op->kind != STORE_PUT || op->value.n > 0 ||
	    !upload_is_of(w->upload, s) ||
	    !bytes_equal(op->key, upload_key(w->upload)))
		return ERR_INVALID;
	if (key_is_dir(op->key) && store_upload_bytes(w->upload) > 0)
		return ERR_INVALID;
	return upload_outcome(w->upload);
}

static enum err check_prefix(struct store *s, struct store_write *w)
{
	if (w->prefix.n > STORE_KEY_BYTES_MAX)
		return ERR_KEY_TOO_LONG;
	if (w->prefix.n > 0 && memchr(w->prefix.p, 0, w->prefix.n))
		return ERR_BAD_KEY;
	if (w->condition_count || w->then_count || w->else_count || w->upload)
		return ERR_INVALID;
	/* Without a slash in it: all of them, a part each (request.c). */
	w->queued.partition = 0;
	if (w->prefix.n > 0 && memchr(w->prefix.p, '/', w->prefix.n))
		w->queued.partition = store_partition_of(s, w->prefix);
	return OK;
}

static enum err check_ordinary(struct store *s, struct store_write *w)
{
	struct checked c = { .s = s };
	uint64_t ops =
		(uint64_t)w->condition_count + w->then_count + w->else_count;
	enum err err = OK;

	if (ops > STORE_TXN_OPS_MAX)
		return ERR_TOO_LARGE;
	for (uint32_t i = 0; i < w->condition_count && !err; i++) {
		err = check_key(&c, w->conditions[i].key);
		if (w->conditions[i].kind == STORE_IF_VALUE)
			c.bytes += w->conditions[i].value.n;
	}
	if (!err)
		err = check_ops(&c, w->then_ops, w->then_count);
	if (!err)
		err = check_ops(&c, w->else_ops, w->else_count);
	if (!err && w->upload)
		err = check_upload(s, w);
	/* One plain write may be a little above 1 MiB: the key is beside it. */
	if (!err && c.bytes > STORE_TXN_BYTES_MAX + STORE_KEY_BYTES_MAX)
		err = ERR_TOO_LARGE;
	if (!err && w->is_txn && c.bytes > STORE_TXN_BYTES_MAX)
		err = ERR_TOO_LARGE;
	w->queued.partition = c.partition;
	return err;
}

static uint32_t results_room(const struct store_write *w)
{
	if (!w->results)
		return 0;
	return w->then_count > w->else_count ? w->then_count : w->else_count;
}

void results_clear(struct store_write *w)
{
	for (uint32_t i = 0; i < results_room(w); i++)
		w->results[i] = (struct store_result){ 0 };
}

void results_drop(struct store_write *w)
{
	for (uint32_t i = 0; i < results_room(w); i++)
		store_value_done(w->results[i].value);
	results_clear(w);
}

enum err write_check(struct store *s, struct store_write *w)
{
	return w->delete_prefix ? check_prefix(s, w) : check_ordinary(s, w);
}

enum err store_write(struct store *s, struct store_write *w)
{
	enum err err;

	if (!atomic_load_explicit(&s->started, memory_order_acquire))
		return atomic_load(&s->closing) ? ERR_CLOSED : ERR_STARTING;
	err = write_check(s, w);
	if (err)
		return err;
	if (w->upload)
		return upload_commit(w->upload, w);
	return queue_push(s, &w->queued, REQUEST_WRITE);
}
