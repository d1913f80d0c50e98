/*
 * store/pending.c - the overlay of appended but unapplied changes.
 *
 * A skip list (Pugh 1990): a batch holds at most some thousand keys, they come
 * in any order and leave all at once, and a successor query is needed for the
 * tree rules. A prefix deletion marks the nodes it covers as absent and leaves
 * a range behind for the keys that only the key directory knows; a state set
 * later lies in a node, and a node is asked before the ranges, so the order of
 * entries is kept without comparing indexes.
 */
#include <stdlib.h>

#include "base/check.h"
#include "store/pending.h"

void pending_init(struct pending *p)
{
	*p = (struct pending){ .random = 0x9e3779b9 };
}

/*
 * Attributes lie in the state itself when they are few, else on the heap. A
 * state that is remembered in the undo list is copied whole; its view of its
 * own bytes is right again when it is back in its node.
 */
static bool attrs_on_heap(const struct pending_state *state)
{
	return state->attrs.n > PENDING_SMALL_BYTES;
}

static void free_attrs(struct pending_state *state)
{
	if (attrs_on_heap(state))
		free((void *)(uintptr_t)state->attrs.p);
}

static void free_node(struct pending_node *node)
{
	free_attrs(&node->state);
	free(node);
}

static void drop_nodes(struct pending *p)
{
	struct pending_node *node = p->head[0];

	while (node) {
		struct pending_node *next = node->next[0];

		free_node(node);
		node = next;
	}
	memset(p->head, 0, sizeof(p->head));
}

void pending_done(struct pending *p)
{
	pending_keep(p);
	drop_nodes(p);
	for (uint32_t i = 0; i < p->range_count; i++)
		free(p->ranges[i]);
	free(p->ranges);
	free(p->undo);
	pending_init(p);
}

struct bytes pending_key(const struct pending_node *node)
{
	return bytes_of(&node->next[node->levels], node->key_bytes);
}

/*
 * The links that lead to the first node >= key, one a level; answers that
 * node. The head is an array of links like a node's own.
 */
static struct pending_node *find(struct pending *p, struct bytes key,
				 struct pending_node ***links)
{
	struct pending_node **at = p->head;

	for (int level = PENDING_LEVELS - 1; level >= 0; level--) {
		while (at[level] &&
		       bytes_compare(pending_key(at[level]), key) < 0)
			at = at[level]->next;
		links[level] = &at[level];
	}
	return at[0];
}

const struct pending_node *pending_seek(const struct pending *p,
					struct bytes key)
{
	struct pending_node *const *at = p->head;
	struct pending_node *node;

	if (!p->head[0])
		return NULL;
	for (int level = PENDING_LEVELS - 1; level >= 0; level--) {
		while (at[level] &&
		       bytes_compare(pending_key(at[level]), key) < 0)
			at = at[level]->next;
	}
	node = at[0];
	while (node && !node->set)
		node = node->next[0];
	return node;
}

const struct pending_node *pending_next(const struct pending_node *node)
{
	do
		node = node->next[0];
	while (node && !node->set);
	return node;
}

const struct pending_state *pending_get(const struct pending *p,
					struct bytes key)
{
	const struct pending_node *node = pending_seek(p, key);

	if (!node || !bytes_equal(pending_key(node), key))
		return NULL;
	return &node->state;
}

const struct pending_range *pending_covering(const struct pending *p,
					     struct bytes key)
{
	for (uint32_t i = 0; i < p->range_count; i++) {
		const struct pending_range *r = p->ranges[i];

		if (bytes_begins(key, bytes_of(r->prefix, r->prefix_bytes)))
			return r;
	}
	return NULL;
}

static uint8_t draw_levels(struct pending *p)
{
	uint8_t levels = 1;

	p->random ^= p->random << 13;
	p->random ^= p->random >> 17;
	p->random ^= p->random << 5;
	for (uint32_t r = p->random; levels < PENDING_LEVELS && !(r & 3);
	     r >>= 2)
		levels++;
	return levels;
}

static enum err remember(struct pending *p, struct pending_node *node)
{
	if (p->undo_count == p->undo_cap) {
		uint32_t cap = p->undo_cap ? 2 * p->undo_cap : 64;
		void *undo = realloc(p->undo, cap * sizeof(*p->undo));

		if (!undo)
			return ERR_NOMEM;
		p->undo = undo;
		p->undo_cap = cap;
	}
	p->undo[p->undo_count++] = (struct pending_undo){
		.node = node,
		.state = node->state,
		.set = node->set,
	};
	return OK;
}

/* state's attributes may lie in the node's own state. */
static void set_state(struct pending_node *node,
		      const struct pending_state *state, uint8_t *heap)
{
	struct pending_state becomes = *state;

	if (heap) {
		becomes.attrs.p = heap;
	} else if (state->attrs.n > 0) {
		memcpy(becomes.small, state->attrs.p, state->attrs.n);
		becomes.attrs.p = node->state.small;
	}
	node->state = becomes;
	node->set = true;
}

enum err pending_set(struct pending *p, struct bytes key,
		     const struct pending_state *state)
{
	struct pending_node **links[PENDING_LEVELS];
	struct pending_node *node = find(p, key, links);
	uint8_t *heap = NULL;
	enum err err;

	CHECK(state->index > 0);
	if (!node || !bytes_equal(pending_key(node), key)) {
		uint8_t levels = draw_levels(p);

		CHECK(levels >= 1 && levels <= PENDING_LEVELS);
		node = malloc(sizeof(*node) + levels * sizeof(node->next[0]) +
			      key.n);
		if (!node)
			return ERR_NOMEM;
		*node = (struct pending_node){ .levels = levels,
					       .key_bytes = (uint16_t)key.n };
		memcpy(&node->next[levels], key.p, key.n);
		for (int i = 0; i < levels; i++) {
			node->next[i] = *links[i];
			*links[i] = node;
		}
	}
	if (attrs_on_heap(state)) {
		heap = malloc(state->attrs.n);
		if (!heap)
			return ERR_NOMEM;
		memcpy(heap, state->attrs.p, state->attrs.n);
	}
	err = remember(p, node);
	if (err) {
		free(heap);
		return err;
	}
	set_state(node, state, heap);
	if (state->index > p->last_index)
		p->last_index = state->index;
	return OK;
}

static enum err add_range(struct pending *p, struct bytes prefix,
			  uint64_t index)
{
	struct pending_range *r;

	if (p->range_count == p->range_cap) {
		uint32_t cap = p->range_cap ? 2 * p->range_cap : 8;
		void *ranges = realloc(p->ranges, cap * sizeof(*p->ranges));

		if (!ranges)
			return ERR_NOMEM;
		p->ranges = ranges;
		p->range_cap = cap;
	}
	r = malloc(sizeof(*r) + prefix.n);
	if (!r)
		return ERR_NOMEM;
	r->index = index;
	r->prefix_bytes = prefix.n;
	memcpy(r->prefix, prefix.p, prefix.n);
	p->ranges[p->range_count++] = r;
	return OK;
}

enum err pending_set_prefix(struct pending *p, struct bytes prefix,
			    uint64_t index)
{
	struct pending_node **links[PENDING_LEVELS];
	struct pending_node *node;
	enum err err;

	CHECK(index > 0);
	CHECK(prefix.n > 0);
	err = add_range(p, prefix, index);
	if (err)
		return err;
	node = find(p, prefix, links);
	for (; node && bytes_begins(pending_key(node), prefix);
	     node = node->next[0]) {
		err = remember(p, node);
		if (err)
			return err;
		node->state = (struct pending_state){ .index = index };
		node->set = true;
	}
	if (index > p->last_index)
		p->last_index = index;
	return OK;
}

void pending_keep(struct pending *p)
{
	while (p->undo_count > 0)
		free_attrs(&p->undo[--p->undo_count].state);
	p->range_kept = p->range_count;
}

void pending_rollback(struct pending *p)
{
	while (p->undo_count > 0) {
		struct pending_undo *u = &p->undo[--p->undo_count];

		free_attrs(&u->node->state);
		u->node->state = u->state;
		u->node->set = u->set;
	}
	while (p->range_count > p->range_kept)
		free(p->ranges[--p->range_count]);
}

static void drop_ranges(struct pending *p, uint64_t index)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < p->range_count; i++) {
		if (p->ranges[i]->index > index)
			p->ranges[kept++] = p->ranges[i];
		else
			free(p->ranges[i]);
	}
	p->range_count = kept;
	p->range_kept = kept;
}

void pending_applied(struct pending *p, uint64_t index)
{
	struct pending_node **at[PENDING_LEVELS] = { NULL };
	struct pending_node *node;

	CHECK(p->undo_count == 0);
	drop_ranges(p, index);
	if (index >= p->last_index) {
		drop_nodes(p);
		return;
	}
	for (int i = 0; i < PENDING_LEVELS; i++)
		at[i] = &p->head[i];
	for (node = p->head[0]; node;) {
		struct pending_node *next = node->next[0];
		bool drop = !node->set || node->state.index <= index;

		CHECK(node->levels >= 1 && node->levels <= PENDING_LEVELS);

		for (int i = 0; i < node->levels; i++) {
			if (drop)
				*at[i] = node->next[i];
			else
				at[i] = &node->next[i];
		}
		if (drop)
			free_node(node);
		node = next;
	}
}
