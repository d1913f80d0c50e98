/*
 * store/view.c - the key directory and the pending overlay as one.
 *
 * For one key: its own pending state, else absent when a pending prefix
 * deletion covers it, else what the key directory says. For a walk: two sorted
 * sequences merged, in which the overlay's node of a key wins and covered keys
 * of the key directory are jumped over, a whole range at a time.
 */
#include "base/check.h"
#include "store/view.h"

size_t prefix_successor(struct bytes prefix, uint8_t *dst)
{
	size_t n = prefix.n;

	while (n > 0 && prefix.p[n - 1] == 0xff)
		n--;
	if (n == 0)
		return 0;
	memcpy(dst, prefix.p, n);
	dst[n - 1]++;
	return n;
}

static void state_of_pending(const struct pending_state *from,
			     struct key_state *state)
{
	*state = (struct key_state){
		.present = from->present,
		.pending = true,
		.flags = from->flags,
		.rev = from->present ? from->index : 0,
		.bytes = from->bytes,
		.version = version_pack(from->index, from->position),
		.attr_bytes = (uint16_t)from->attrs.n,
		.content_id = from->content_id,
		.content_shape = from->content_shape,
		.expiry_ns = from->expiry_ns,
		.mtime_ns = from->mtime_ns,
		.attrs = from->attrs,
	};
}

static void state_of_applied(const struct engine_info *from,
			     struct key_state *state)
{
	*state = (struct key_state){
		.present = true,
		.flags = loc_flags(from->loc),
		.rev = version_index(from->version),
		.bytes = from->value_bytes,
		.version = from->version,
		.attr_bytes = from->attr_bytes,
	};
}

void view_get(const struct view *v, struct bytes key, struct key_state *state)
{
	const struct pending_state *pending = pending_get(v->pending, key);
	struct engine_info info;
	enum err err;

	*state = (struct key_state){ 0 };
	if (pending) {
		state_of_pending(pending, state);
		return;
	}
	if (pending_covering(v->pending, key)) {
		state->pending = true;
		return;
	}
	err = engine_peek(v->engine, v->partition, key, &info);
	if (err)
		return; /* only ERR_NOT_FOUND: it touches no disk */
	state_of_applied(&info, state);
}

/* Jump over keys that a pending prefix deletion covers; stop at the prefix's
 * end. */
static void settle_applied(struct view_iter *it)
{
	const struct pending *pending = it->view->pending;

	while (it->applied) {
		const struct pending_range *r;
		size_t n;

		if (!bytes_begins(it->applied_key, it->prefix)) {
			it->applied = false;
			return;
		}
		r = pending_covering(pending, it->applied_key);
		if (!r)
			return;
		n = prefix_successor(bytes_of(r->prefix, r->prefix_bytes),
				     it->skip_to);
		it->applied =
			n > 0 &&
			engine_iter_seek(&it->it, bytes_of(it->skip_to, n),
					 &it->applied_key, &it->applied_info);
	}
}

void view_begin_from(const struct view *v, struct bytes prefix,
		     struct bytes from, struct view_iter *it)
{
	it->view = v;
	it->prefix = prefix;
	engine_iter_begin(v->engine, v->partition, &it->it);
	it->applied = engine_iter_seek(&it->it, from, &it->applied_key,
				       &it->applied_info);
	it->node = pending_seek(v->pending, from);
}

void view_begin(const struct view *v, struct bytes prefix, struct view_iter *it)
{
	view_begin_from(v, prefix, prefix, it);
}

static void step_applied(struct view_iter *it)
{
	it->applied =
		engine_iter_next(&it->it, &it->applied_key, &it->applied_info);
}

bool view_next(struct view_iter *it, struct bytes *key, struct key_state *state)
{
	for (;;) {
		struct bytes node_key = { 0 };
		bool has_node = false;
		int order;

		settle_applied(it);
		if (it->node) {
			node_key = pending_key(it->node);
			has_node = bytes_begins(node_key, it->prefix);
		}
		if (!has_node && !it->applied)
			return false;
		order = !has_node ? 1
			: !it->applied
				? -1
				: bytes_compare(node_key, it->applied_key);
		if (order > 0) {
			memcpy(it->key, it->applied_key.p, it->applied_key.n);
			*key = bytes_of(it->key, it->applied_key.n);
			state_of_applied(&it->applied_info, state);
			step_applied(it);
			return true;
		}
		if (order == 0)
			step_applied(it);
		state_of_pending(&it->node->state, state);
		*key = node_key;
		it->node = pending_next(it->node);
		if (state->present)
			return true;
	}
}

void view_end(struct view_iter *it)
{
	engine_iter_end(&it->it);
}
