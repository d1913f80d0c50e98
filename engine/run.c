/*
 * engine/run.c - runs in memory: adding, ordering, k-way merging.
 *
 * A run keeps 32 bytes an item in one array and the keys in one growing pool
 * (run_item.h), so a million items cost two allocations and 32 MB beside the
 * keys. Sorting looks at eight bytes of each key, those behind what all keys
 * of the run have in common, and at the pool only when they are equal.
 *
 * Merging walks all runs at once in key order with a heap of cursors. A range
 * tombstone stands at the place of its prefix, which is before every key that
 * begins with it; the walk keeps the prefixes that the current key begins
 * with on a stack, each with the highest version of it and of those below:
 *
 *	key        stack after it             hides
 *	a/   @9    a/:9                       a/... below 9
 *	a/b  @7    a/:9                       hidden itself: dead
 *	a/b/ @12   a/:9 a/b/:12               a/b/... below 12
 *	a/c  @10   a/:9                       live
 *	b    @3    (empty)                    live
 *
 * So one pass over the items suffices, whatever file a tombstone lies in.
 */
#include "engine/run.h"

#include <stdlib.h>

#include "base/check.h"
#include "engine/loc.h"
#include "engine/run_item.h"

enum {
	ITEM_CAP_MIN = 64,
	KEYS_CAP_MIN = 4096,
	GATHER_AHEAD = 8, /* items whose memory is asked for in advance      */
};

enum err run_new(struct run **run)
{
	struct run *r = calloc(1, sizeof(*r));

	if (!r)
		return ERR_NOMEM;
	*run = r;
	return OK;
}

void run_free(struct run *run)
{
	if (!run)
		return;
	if (!run->borrowed) {
		free(run->items);
		free(run->keys);
	}
	free(run);
}

static enum err reserve_item(struct run *run)
{
	uint64_t cap = run->item_cap ? run->item_cap * 2 : ITEM_CAP_MIN;
	struct packed_item *items;

	if (run->count < run->item_cap)
		return OK;
	items = realloc(run->items, cap * sizeof(*items));
	if (!items)
		return ERR_NOMEM;
	run->items = items;
	run->item_cap = cap;
	return OK;
}

static enum err reserve_keys(struct run *run, uint64_t extra)
{
	uint64_t cap = run->keys_cap ? run->keys_cap : KEYS_CAP_MIN;
	uint64_t need = run->keys_bytes + extra + RUN_POOL_TAIL_BYTES;
	uint8_t *keys;

	if (run->keys_bytes + extra > RUN_POOL_BYTES_MAX)
		return ERR_NOMEM;
	if (need <= run->keys_cap)
		return OK;
	while (cap < need)
		cap *= 2;
	keys = realloc(run->keys, cap);
	if (!keys)
		return ERR_NOMEM;
	run->keys = keys;
	run->keys_cap = cap;
	return OK;
}

enum err run_add(struct run *run, const struct run_item *item)
{
	struct packed_item p;
	uint32_t pool_bytes;
	uint8_t *at;
	enum err err;

	CHECK(!run->sorted && !run->borrowed);
	CHECK(item->key.n <= RECORD_KEY_BYTES_MAX);
	CHECK(item->type > 0 && item->type < RECORD_TYPE_MAX);
	CHECK(item->disk_bytes % 8 == 0 && item->disk_bytes >> 3 < 1u << 22);

	err = reserve_item(run);
	if (err)
		return err;
	if (run->count == 0)
		run->base_term = item->term;
	p = (struct packed_item){
		.version = item->version,
		.loc = item->loc,
		.key_off = run->keys_bytes,
		.value_bytes = item->value_bytes,
		.packed = (uint64_t)(item->disk_bytes >> 3)
				  << PACKED_DISK_SHIFT |
			  (uint64_t)item->key.n << PACKED_KEY_SHIFT |
			  (uint64_t)item->attr_bytes << PACKED_ATTR_SHIFT |
			  item->type,
	};
	if (item->expiry_ns)
		p.packed |= PACKED_EXPIRY;
	if (item->term != run->base_term)
		p.packed |= PACKED_TERM;
	pool_bytes = packed_pool_bytes(&p);
	err = reserve_keys(run, pool_bytes);
	if (err)
		return err;
	at = run->keys + run->keys_bytes;
	at[0] = 0;
	if (item->key.n)
		memcpy(at, item->key.p, item->key.n);
	at += item->key.n;
	if (p.packed & PACKED_EXPIRY) {
		put_u64(at, item->expiry_ns);
		at += 8;
	}
	if (p.packed & PACKED_TERM)
		put_u64(at, item->term);
	run->keys_bytes += pool_bytes;
	memset(run->keys + run->keys_bytes, 0, RUN_POOL_TAIL_BYTES);
	run->items[run->count++] = p;
	return OK;
}

uint64_t run_count(const struct run *run)
{
	return run->count;
}

void run_item(const struct run *run, uint64_t i, struct run_item *item)
{
	const struct packed_item *p;
	const uint8_t *behind;

	CHECK(i < run->count);
	p = &run->items[i];
	item->key = packed_key(run, p);
	item->version = p->version;
	item->loc = p->loc;
	item->value_bytes = p->value_bytes;
	item->disk_bytes = (uint32_t)(p->packed >> PACKED_DISK_SHIFT) << 3;
	item->attr_bytes = p->packed >> PACKED_ATTR_SHIFT & 0xffff;
	item->type = packed_type(p);
	item->expiry_ns = 0;
	item->term = run->base_term;
	behind = item->key.p + item->key.n;
	if (p->packed & PACKED_EXPIRY) {
		item->expiry_ns = get_u64(behind);
		behind += 8;
	}
	if (p->packed & PACKED_TERM)
		item->term = get_u64(behind);
}

/* --------------------------------------------------------------- sort ---- */

/* Length of what a and b have in common at their beginning. */
static size_t common_bytes(struct bytes a, struct bytes b)
{
	size_t n = a.n < b.n ? a.n : b.n, i = 0;

	while (i < n && a.p[i] == b.p[i])
		i++;
	return i;
}

/*
 * The eight bytes of key from skip on as a number that orders as they do.
 * Zeros stand for what is missing, so equal numbers say nothing yet. May read
 * up to eight bytes behind the key: the pool's tail is readable.
 */
static uint64_t key_number(struct bytes key, size_t skip)
{
	size_t n = key.n - skip;

	if (n >= 8)
		return get_be64(key.p + skip);
	if (n == 0)
		return 0;
	return get_be64(key.p + skip) & ~0ull << (64 - 8 * n);
}

/* Key ascending, version descending, added last first. */
static int compare_items(const void *a, const void *b, void *ctx)
{
	const struct packed_item *x = a, *y = b;
	const struct run *run = ctx;
	int c = bytes_compare(packed_key(run, x), packed_key(run, y));

	if (c)
		return c;
	if (x->version != y->version)
		return x->version > y->version ? -1 : 1;
	return (x->key_off < y->key_off) - (x->key_off > y->key_off);
}

struct sort_ref {
	uint64_t number;
	uint64_t i;
};

static int compare_refs(const void *a, const void *b, void *ctx)
{
	const struct sort_ref *x = a, *y = b;
	const struct run *run = ctx;

	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return compare_items(&run->items[x->i], &run->items[y->i], ctx);
}

/* Put items into the order of refs, in place; moves each item once. */
static void apply_order(struct packed_item *items, struct sort_ref *refs,
			uint64_t count)
{
	for (uint64_t start = 0; start < count; start++) {
		struct packed_item held = items[start];
		uint64_t to = start;

		while (refs[to].i != start) {
			uint64_t from = refs[to].i;

			items[to] = items[from];
			refs[to].i = to;
			to = from;
		}
		items[to] = held;
		refs[to].i = to;
	}
}

/*
 * Items and keys into the order of refs, in memory of their own: whoever walks
 * the run then reads both from front to back, not all over the pool. False: no
 * memory, nothing changed.
 */
static bool gather_order(struct run *run, const struct sort_ref *refs)
{
	struct packed_item *items = malloc(run->count * sizeof(*items));
	uint8_t *keys = malloc(run->keys_bytes + RUN_POOL_TAIL_BYTES);
	uint32_t off = 0;

	if (!items || !keys) {
		free(items);
		free(keys);
		return false;
	}
	for (uint64_t i = 0; i < run->count; i++) {
		const struct packed_item *from = &run->items[refs[i].i];
		uint32_t n = packed_pool_bytes(from);

		if (i + 2 * GATHER_AHEAD < run->count)
			__builtin_prefetch(
				&run->items[refs[i + 2 * GATHER_AHEAD].i]);
		if (i + GATHER_AHEAD < run->count)
			__builtin_prefetch(
				run->keys +
				run->items[refs[i + GATHER_AHEAD].i].key_off);
		items[i] = *from;
		items[i].key_off = off;
		memcpy(keys + off, run->keys + from->key_off, n);
		off += n;
	}
	CHECK(off == run->keys_bytes);
	memset(keys + off, 0, RUN_POOL_TAIL_BYTES);
	free(run->items);
	free(run->keys);
	run->items = items;
	run->item_cap = run->count;
	run->keys = keys;
	run->keys_cap = off + RUN_POOL_TAIL_BYTES;
	return true;
}

static bool is_sorted(struct run *run)
{
	for (uint64_t i = 1; i < run->count; i++)
		if (compare_items(&run->items[i - 1], &run->items[i], run) > 0)
			return false;
	return true;
}

static void sort_items(struct run *run)
{
	struct sort_ref *refs;
	struct bytes first = packed_key(run, &run->items[0]);
	size_t skip = first.n;

	refs = malloc(run->count * sizeof(*refs));
	if (!refs) { /* slower, but cannot fail */
		qsort_r(run->items, run->count, sizeof(*run->items),
			compare_items, run);
		return;
	}
	for (uint64_t i = 1; i < run->count && skip; i++) {
		first.n = skip;
		skip = common_bytes(first, packed_key(run, &run->items[i]));
	}
	for (uint64_t i = 0; i < run->count; i++) {
		refs[i].i = i;
		refs[i].number =
			key_number(packed_key(run, &run->items[i]), skip);
	}
	qsort_r(refs, run->count, sizeof(*refs), compare_refs, run);
	if (!gather_order(run, refs))
		apply_order(run->items, refs, run->count);
	free(refs);
}

static bool same_state(const struct run *run, const struct packed_item *a,
		       const struct packed_item *b)
{
	return a->version == b->version &&
	       bytes_equal(packed_key(run, a), packed_key(run, b));
}

void run_sort(struct run *run)
{
	uint64_t kept = 0;

	CHECK(!run->sorted);
	run->sorted = true;
	if (run->count == 0)
		return;
	if (!is_sorted(run))
		sort_items(run);
	for (uint64_t i = 1; i < run->count; i++)
		if (!same_state(run, &run->items[kept], &run->items[i]))
			run->items[++kept] = run->items[i];
	run->count = kept + 1;
	DCHECK(is_sorted(run));
}

/* -------------------------------------------------------------- merge ---- */

/* Where the walk stands in one run. */
struct cursor {
	uint64_t number; /* of the current key behind what all have in common */
	const struct packed_item *item, *end;
	const struct run *run;
	uint32_t order; /* place in the caller's array                        */
};

struct prefix {
	struct bytes key;
	uint64_t version; /* highest of this one and of those below it        */
};

struct merge {
	struct cursor *heap;
	uint32_t heap_count;
	size_t skip;
	struct prefix *stack;
	uint32_t stack_count, stack_cap;
	struct bytes key; /* of the group being walked                        */
	bool in_group, has_live, has_prefix;
};

static bool cursor_before(const struct cursor *a, const struct cursor *b)
{
	int c;

	if (a->number != b->number)
		return a->number < b->number;
	c = bytes_compare(packed_key(a->run, a->item),
			  packed_key(b->run, b->item));
	if (c)
		return c < 0;
	if (a->item->version != b->item->version)
		return a->item->version > b->item->version;
	return a->order > b->order;
}

static void sift_down(struct merge *m, uint32_t i)
{
	struct cursor moved = m->heap[i];

	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= m->heap_count)
			break;
		if (child + 1 < m->heap_count &&
		    cursor_before(&m->heap[child + 1], &m->heap[child]))
			child++;
		if (!cursor_before(&m->heap[child], &moved))
			break;
		m->heap[i] = m->heap[child];
		i = child;
	}
	m->heap[i] = moved;
}

static void heap_step(struct merge *m)
{
	struct cursor *top = &m->heap[0];

	if (++top->item == top->end) {
		*top = m->heap[--m->heap_count];
	} else {
		top->number =
			key_number(packed_key(top->run, top->item), m->skip);
		if (top->end - top->item > GATHER_AHEAD)
			__builtin_prefetch(
				packed_key(top->run, top->item + GATHER_AHEAD)
					.p);
	}
	if (m->heap_count > 1)
		sift_down(m, 0);
}

/* Set up the heap over the runs that have items. */
static enum err heap_start(struct merge *m, struct run *const *runs,
			   uint32_t run_count)
{
	struct bytes first = { 0 };

	m->heap = calloc(run_count ? run_count : 1, sizeof(*m->heap));
	if (!m->heap)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < run_count; i++) {
		const struct run *r = runs[i];
		struct bytes a, z;

		CHECK(r->sorted);
		if (r->count == 0)
			continue;
		a = packed_key(r, &r->items[0]);
		z = packed_key(r, &r->items[r->count - 1]);
		if (m->heap_count == 0)
			first = a;
		first.n = common_bytes(first, a);
		first.n = common_bytes(first, z);
		m->heap[m->heap_count++] = (struct cursor){
			.item = r->items,
			.end = r->items + r->count,
			.run = r,
			.order = i,
		};
	}
	m->skip = first.n;
	for (uint32_t i = 0; i < m->heap_count; i++)
		m->heap[i].number = key_number(
			packed_key(m->heap[i].run, m->heap[i].item), m->skip);
	for (uint32_t i = m->heap_count / 2; i-- > 0;)
		sift_down(m, i);
	return OK;
}

static uint64_t hidden_below(const struct merge *m)
{
	return m->stack_count ? m->stack[m->stack_count - 1].version : 0;
}

static enum err push_prefix(struct merge *m, struct bytes key, uint64_t version)
{
	if (m->stack_count == m->stack_cap) {
		uint32_t cap = m->stack_cap ? m->stack_cap * 2 : 16;
		struct prefix *stack;

		stack = realloc(m->stack, cap * sizeof(*stack));
		if (!stack)
			return ERR_NOMEM;
		m->stack = stack;
		m->stack_cap = cap;
	}
	CHECK(version >= hidden_below(m));
	m->stack[m->stack_count++] =
		(struct prefix){ .key = key, .version = version };
	return OK;
}

static void enter_group(struct merge *m, struct bytes key)
{
	m->key = key;
	m->in_group = true;
	m->has_live = m->has_prefix = false;
	while (m->stack_count &&
	       !bytes_begins(key, m->stack[m->stack_count - 1].key))
		m->stack_count--;
}

/*
 * Judge one item. Within a group items come newest first, so a range
 * tombstone over exactly this key comes before what it hides.
 */
static enum err judge(struct merge *m, const struct packed_item *it, bool *live)
{
	bool ranged = packed_type(it) == RECORD_DELETE_PREFIX;
	bool *decided = ranged ? &m->has_prefix : &m->has_live;

	*live = !*decided && it->version > hidden_below(m);
	*decided = true;
	if (ranged && *live)
		return push_prefix(m, m->key, it->version);
	return OK;
}

enum err run_merge(struct run *const *runs, uint32_t run_count,
		   run_live_fn *live, run_dead_fn *dead, void *ctx)
{
	struct merge m = { 0 };
	enum err err;

	err = heap_start(&m, runs, run_count);
	while (!err && m.heap_count) {
		const struct cursor *top = &m.heap[0];
		struct bytes key = packed_key(top->run, top->item);
		struct run_item item;
		bool is_live;

		if (!m.in_group || !bytes_equal(key, m.key))
			enter_group(&m, key);
		err = judge(&m, top->item, &is_live);
		if (err)
			break;
		run_item(top->run, (uint64_t)(top->item - top->run->items),
			 &item);
		if (is_live)
			err = live(ctx, &item);
		else if (dead)
			dead(ctx, &item);
		heap_step(&m);
	}
	free(m.stack);
	free(m.heap);
	return err;
}
