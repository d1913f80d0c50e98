/*
 * engine/keydir_node.c - searching and changing one node.
 *
 *	keys in a leaf       prefix "user:00", 7 bytes    heads
 *	  user:0012                                       "12\0\0"
 *	  user:001234                                     "1234"
 *	  user:00124                                      "124\0"
 *
 * Heads keep the order of the keys: a smaller head is a smaller key. Equal
 * heads (one key ends within the four bytes where the other has zero bytes, or
 * both go on) leave it to the keys. The prefix is what the first and last key
 * have in common; an insert that does not have it shortens it, and it is
 * looked for again whenever the number of keys reaches a power of two, after a
 * split and after a join, so the cost per insert is bounded. Only the first
 * NODE_PREFIX_BYTES of it are kept in the node; the rest is compared with the
 * first key.
 *
 * Readers look while a writer writes: every field is stored and loaded
 * atomically, and a reader first loads count: whatever a slot below it held
 * then or holds later is a block that the reader's epoch keeps alive.
 */
#include "engine/keydir_node.h"

#include "base/check.h"

#define LOAD(p)	    __atomic_load_n(&(p), __ATOMIC_RELAXED)
#define STORE(p, v) __atomic_store_n(&(p), (v), __ATOMIC_RELAXED)

/* A reference must be seen after what it names; an index after its slots. */
#define LOAD_REF(p)	__atomic_load_n(&(p), __ATOMIC_ACQUIRE)
#define STORE_REF(p, v) __atomic_store_n(&(p), (v), __ATOMIC_RELEASE)

uint64_t node_word(struct bytes key, size_t off)
{
	uint64_t w = 0;
	size_t n;

	if (off >= key.n)
		return 0;
	n = key.n - off;
	if (n >= 8)
		return get_be64(key.p + off);
	for (size_t i = 0; i < n; i++)
		w |= (uint64_t)key.p[off + i] << (56 - 8 * i);
	return w;
}

/* The first n bytes of a word, the others zero. n: 1..8. */
static uint64_t cut_word(uint64_t w, size_t n)
{
	return w & ~UINT64_C(0) << (64 - 8 * n);
}

/* Compare the part of the prefix that is not kept inline. */
static int compare_prefix_rest(const struct keydir *kd, const struct node *n,
			       struct bytes key, size_t prefix_bytes)
{
	uint32_t ref = LOAD_REF(n->keys[node_first(n)]);
	struct bytes first = node_key_at(kd, n, ref);

	if (first.n > prefix_bytes)
		first.n = prefix_bytes;
	if (first.n < NODE_PREFIX_BYTES || key.n < NODE_PREFIX_BYTES)
		return 0; /* only while n changes, and then not relied on */
	if (key.n > prefix_bytes)
		key.n = prefix_bytes;
	first.p += NODE_PREFIX_BYTES;
	first.n -= NODE_PREFIX_BYTES;
	key.p += NODE_PREFIX_BYTES;
	key.n -= NODE_PREFIX_BYTES;
	return bytes_compare(key, first);
}

/* 0: key begins with the prefix; else how it compares with all keys of n. */
static inline int compare_prefix(const struct keydir *kd, const struct node *n,
				 struct bytes key, size_t prefix_bytes)
{
	size_t off = 0;

	for (; off < prefix_bytes && off < NODE_PREFIX_BYTES; off += 8) {
		size_t part = prefix_bytes - off;
		uint64_t want = LOAD(n->prefix[off / 8]);
		uint64_t have =
			cut_word(node_word(key, off), part < 8 ? part : 8);

		if (have != want)
			return have < want ? -1 : 1;
	}
	if (key.n < prefix_bytes && key.n < NODE_PREFIX_BYTES)
		return -1;
	if (prefix_bytes > NODE_PREFIX_BYTES)
		return compare_prefix_rest(kd, n, key, prefix_bytes);
	return 0;
}

/* The first slot of from..to-1 whose head is not below head, or to. */
static inline unsigned bound_head(const struct node *n, unsigned from,
				  unsigned to, uint32_t head)
{
	const uint32_t *base = n->heads + from;
	unsigned len = to - from;

	if (!len)
		return from;
	while (len > 1) {
		unsigned half = len / 2;

		/* Arithmetic: as a jump it would go wrong half of the time. */
		base += half & -(unsigned)(LOAD(base[half - 1]) < head);
		len -= half;
	}
	return (unsigned)(base - n->heads) + (LOAD(*base) < head);
}

/* The same by whole keys, among slots whose heads are equal. */
static unsigned bound_key(const struct keydir *kd, const struct node *n,
			  unsigned from, unsigned to, struct bytes key,
			  bool *equal)
{
	*equal = false;
	while (from < to) {
		unsigned mid = from + (to - from) / 2;
		uint32_t ref = LOAD_REF(n->keys[mid]);
		int c = bytes_compare(node_key_at(kd, n, ref), key);

		if (c == 0) {
			*equal = true;
			return mid;
		}
		if (c < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

/* The end of the run of slots from i on that have this head. */
static unsigned run_end(const struct node *n, unsigned i, unsigned count,
			uint32_t head)
{
	if (i + 1 == count || LOAD(n->heads[i + 1]) != head)
		return i + 1;
	return head == UINT32_MAX ? count : bound_head(n, i, count, head + 1);
}

unsigned node_bound(const struct keydir *kd, const struct node *n,
		    struct bytes key, bool *equal)
{
	unsigned count = LOAD_REF(n->count), first = node_first(n), i;
	size_t prefix_bytes = LOAD(n->prefix_bytes);
	uint32_t head;
	int c;

	*equal = false;
	if (count <= first)
		return count;
	c = compare_prefix(kd, n, key, prefix_bytes);
	if (c)
		return c < 0 ? first : count;
	head = node_head(key, prefix_bytes);
	i = bound_head(n, first, count, head);
	if (i == count || LOAD(n->heads[i]) != head)
		return i;
	return bound_key(kd, n, i, run_end(n, i, count, head), key, equal);
}

/*
 * No look at the prefix: a key that does not have it is not in the leaf, and
 * no entry will equal it.
 */
const struct keydir_entry *node_find(const struct keydir *kd,
				     const struct node *n, struct bytes key)
{
	unsigned count = LOAD_REF(n->count), i;
	uint32_t head = node_head(key, LOAD(n->prefix_bytes));
	const struct keydir_entry *e;
	bool equal;

	i = bound_head(n, 0, count, head);
	if (i == count || LOAD(n->heads[i]) != head)
		return NULL;
	e = entry_at(kd, LOAD_REF(n->keys[i]));
	if (e->key_bytes == key.n && memcmp(e->key, key.p, key.n) == 0)
		return e;
	i = bound_key(kd, n, i, run_end(n, i, count, head), key, &equal);
	return equal ? entry_at(kd, LOAD_REF(n->keys[i])) : NULL;
}

static size_t common_bytes(struct bytes a, struct bytes b)
{
	size_t n = a.n < b.n ? a.n : b.n, i = 0;

	while (i + 8 <= n && get_u64(a.p + i) == get_u64(b.p + i))
		i += 8;
	while (i < n && a.p[i] == b.p[i])
		i++;
	return i;
}

/* Find the prefix again; when it has changed, all heads. */
static void renew_prefix(const struct keydir *kd, struct node *n)
{
	unsigned first = node_first(n), count = n->count;
	struct bytes key;
	size_t bytes;

	if (count < first + 2) {
		bytes = 0;
	} else {
		key = node_key(kd, n, first);
		bytes = common_bytes(key, node_key(kd, n, count - 1));
	}
	if (bytes == n->prefix_bytes)
		return;
	STORE(n->prefix_bytes, (uint16_t)bytes);
	for (size_t off = 0; off < NODE_PREFIX_BYTES; off += 8) {
		size_t part = bytes > off ? bytes - off : 0;

		STORE(n->prefix[off / 8],
		      part ? cut_word(node_word(key, off), part < 8 ? part : 8)
			   : 0);
	}
	for (unsigned i = first; i < count; i++)
		STORE(n->heads[i], node_head(node_key(kd, n, i), bytes));
}

void node_init(struct node *n, unsigned level)
{
	CHECK(level < NODE_DEPTH_MAX);
	STORE(n->version, 0);
	STORE(n->count, 0);
	STORE(n->level, (uint16_t)level);
	STORE(n->prefix_bytes, 0);
	for (unsigned i = 0; i < NODE_PREFIX_WORDS; i++)
		STORE(n->prefix[i], 0);
	n->last_slot = 0;
	n->next = 0;
	n->prev = 0;
}

static void move_slot(struct node *to, unsigned i, const struct node *from,
		      unsigned j)
{
	STORE(to->heads[i], from->heads[j]);
	STORE_REF(to->keys[i], from->keys[j]);
	if (to->level)
		STORE_REF(to->children[i], from->children[j]);
}

void node_insert(const struct keydir *kd, struct node *n, unsigned i,
		 struct bytes key, uint32_t key_ref, uint32_t child)
{
	unsigned count = n->count, keys;
	bool fits = compare_prefix(kd, n, key, n->prefix_bytes) == 0;

	CHECK(count < NODE_SLOTS);
	CHECK(i <= count);
	for (unsigned j = count; j > i; j--)
		move_slot(n, j, n, j - 1);
	STORE(n->heads[i], key_ref ? node_head(key, n->prefix_bytes) : 0);
	STORE_REF(n->keys[i], key_ref);
	if (n->level)
		STORE_REF(n->children[i], child);
	STORE_REF(n->count, (uint16_t)(count + 1));
	n->last_slot = (uint16_t)i;
	keys = count + 1 - node_first(n);
	if (!fits || (keys & (keys - 1)) == 0)
		renew_prefix(kd, n);
}

void node_remove(struct node *n, unsigned i)
{
	unsigned count = n->count;

	CHECK(i < count);
	for (unsigned j = i; j + 1 < count; j++)
		move_slot(n, j, n, j + 1);
	STORE_REF(n->count, (uint16_t)(count - 1));
	if (n->level && i == 0)
		STORE(n->keys[0], 0);
	if (count - 1 <= node_first(n)) {
		STORE(n->prefix_bytes, 0);
		for (unsigned w = 0; w < NODE_PREFIX_WORDS; w++)
			STORE(n->prefix[w], 0);
	}
}

uint32_t node_split(const struct keydir *kd, struct node *n, unsigned i,
		    struct node *right)
{
	unsigned count = n->count;
	uint32_t sep = 0;

	CHECK(i < count && (i > 0 || n->level == 0));
	CHECK(right->count == 0 && right->level == n->level);
	for (unsigned j = i; j < count; j++)
		move_slot(right, j - i, n, j);
	STORE(right->prefix_bytes, n->prefix_bytes);
	for (unsigned w = 0; w < NODE_PREFIX_WORDS; w++)
		STORE(right->prefix[w], n->prefix[w]);
	if (n->level) {
		sep = n->keys[i];
		STORE(right->keys[0], 0);
	}
	STORE_REF(right->count, (uint16_t)(count - i));
	STORE_REF(n->count, (uint16_t)i);
	renew_prefix(kd, right);
	renew_prefix(kd, n);
	return sep;
}

/* Prefixes differ, so all heads are made anew from an empty prefix. */
void node_join(const struct keydir *kd, struct node *n,
	       const struct node *right, uint32_t sep)
{
	unsigned count = n->count, add = right->count;

	CHECK(count + add <= NODE_SLOTS);
	CHECK(n->level == right->level);
	for (unsigned j = 0; j < add; j++)
		move_slot(n, count + j, right, j);
	if (n->level && add > 0)
		STORE_REF(n->keys[count], sep);
	STORE_REF(n->count, (uint16_t)(count + add));
	STORE(n->prefix_bytes, UINT16_MAX);
	renew_prefix(kd, n);
}
