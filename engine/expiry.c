/*
 * engine/expiry.c - a binary heap of keys by the time they expire.
 */
#include "engine/expiry.h"

#include <stdlib.h>

#include "base/check.h"

void expiry_done(struct expiry *x)
{
	for (uint64_t i = 0; i < x->count; i++)
		free(x->heap[i]);
	free(x->heap);
	*x = (struct expiry){ 0 };
}

enum err expiry_add(struct expiry *x, struct bytes key, uint64_t version,
		    uint64_t expiry_ns)
{
	struct expiry_item *item;
	uint64_t i;

	if (x->count == x->cap) {
		uint64_t cap = x->cap ? x->cap * 2 : 64;
		void *heap = realloc(x->heap, cap * sizeof(*x->heap));

		if (!heap)
			return ERR_NOMEM;
		x->heap = heap;
		x->cap = cap;
	}
	item = malloc(sizeof(*item) + key.n);
	if (!item)
		return ERR_NOMEM;
	item->expiry_ns = expiry_ns;
	item->version = version;
	item->key_bytes = (uint32_t)key.n;
	memcpy(item->key, key.p, key.n);
	for (i = x->count++; i > 0; i = (i - 1) / 2) {
		struct expiry_item *up = x->heap[(i - 1) / 2];

		if (up->expiry_ns <= expiry_ns)
			break;
		x->heap[i] = up;
	}
	x->heap[i] = item;
	return OK;
}

const struct expiry_item *expiry_first(const struct expiry *x)
{
	return x->count ? x->heap[0] : NULL;
}

/* Put item where it belongs at i or below, i being free. */
static void sink(struct expiry *x, uint64_t i, struct expiry_item *item)
{
	uint64_t child;

	while ((child = 2 * i + 1) < x->count) {
		if (child + 1 < x->count &&
		    x->heap[child + 1]->expiry_ns < x->heap[child]->expiry_ns)
			child++;
		if (item->expiry_ns <= x->heap[child]->expiry_ns)
			break;
		x->heap[i] = x->heap[child];
		i = child;
	}
	x->heap[i] = item;
}

void expiry_pop(struct expiry *x)
{
	CHECK(x->count > 0);
	free(x->heap[0]);
	x->count--;
	if (x->count)
		sink(x, 0, x->heap[x->count]);
}

void expiry_sweep(struct expiry *x,
		  bool (*fn)(void *ctx, const struct expiry_item *item),
		  void *ctx)
{
	uint64_t kept = 0;

	for (uint64_t i = 0; i < x->count; i++) {
		if (fn(ctx, x->heap[i]))
			x->heap[kept++] = x->heap[i];
		else
			free(x->heap[i]);
	}
	x->count = kept;
	for (uint64_t i = kept / 2; i-- > 0;)
		sink(x, i, x->heap[i]);
}

/* What is due is a tree at the top of the heap; its depth is the heap's. */
static bool visit_due(const struct expiry *x, uint64_t i, uint64_t now_ns,
		      bool (*fn)(void *ctx, const struct expiry_item *item),
		      void *ctx)
{
	if (i >= x->count || x->heap[i]->expiry_ns > now_ns)
		return true;
	return fn(ctx, x->heap[i]) &&
	       visit_due(x, 2 * i + 1, now_ns, fn, ctx) &&
	       visit_due(x, 2 * i + 2, now_ns, fn, ctx);
}

void expiry_due(const struct expiry *x, uint64_t now_ns,
		bool (*fn)(void *ctx, const struct expiry_item *item),
		void *ctx)
{
	(void)visit_due(x, 0, now_ns, fn, ctx); /* only says: went on or not */
}
