/*
 * tests/engine/test_keydir.c - the key directory against a plain model, its
 * inner order, its accounting and its failures.
 *
 * The model is a sorted universe of keys with what each one should hold. This
 * program compiles its own copy of the sources that allocate, with the calls
 * replaced by ones that can fail; the library's copies are then not linked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static long allocs_left = -1; /* calls that succeed; negative: all */

static int alloc_fails(void)
{
	if (allocs_left < 0)
		return 0;
	if (allocs_left == 0)
		return 1;
	allocs_left--;
	return 0;
}

static void *fail_calloc(size_t n, size_t size)
{
	return alloc_fails() ? NULL : calloc(n, size);
}

static void *fail_malloc(size_t n)
{
	return alloc_fails() ? NULL : malloc(n);
}

static void *fail_realloc(void *p, size_t n)
{
	return alloc_fails() ? NULL : realloc(p, n);
}

static void *fail_aligned_alloc(size_t align, size_t n)
{
	return alloc_fails() ? NULL : aligned_alloc(align, n);
}

#define calloc	      fail_calloc
#define malloc	      fail_malloc
#define realloc	      fail_realloc
#define aligned_alloc fail_aligned_alloc
#include "base/epoch.c"
#include "engine/keydir.c"
#include "engine/keydir_arena.c"
#undef calloc
#undef malloc
#undef realloc
#undef aligned_alloc

#include "base/seed.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SLOW 1
#endif
#endif

enum {
	UNIVERSE = 1200,
#if defined(SLOW)
	OPERATIONS = 4000,
	FAIL_OPERATIONS = 1000,
	MANY_KEYS = 100000,
	MANY_KEY_BYTES = 46, /* the last chunks weigh more */
#elif defined(DEBUG)
	OPERATIONS = 8000,
	FAIL_OPERATIONS = 6000,
	MANY_KEYS = 500000,
	MANY_KEY_BYTES = 40,
#else
	OPERATIONS = 60000,
	FAIL_OPERATIONS = 6000,
	MANY_KEYS = 1000000,
	MANY_KEY_BYTES = 40,
#endif
};

struct item {
	uint8_t *p;
	size_t n;
	uint64_t version; /* 0: absent */
	uint64_t loc;
};

struct model {
	struct item items[UNIVERSE];
	unsigned count; /* of items; distinct and sorted */
	struct epoch *e;
	struct keydir *kd;
	uint64_t last_version;
	uint64_t present;
};

static uint64_t seed_number;

static struct bytes item_key(const struct item *it)
{
	return bytes_of(it->p, it->n);
}

/* --- universes of keys --------------------------------------------------- */

static size_t key_random(struct seed *s, uint8_t *k, unsigned i)
{
	put_u64(k, seed_next(s));
	put_u64(k + 8, seed_next(s));
	return 16;
}

static size_t key_long_prefix(struct seed *s, uint8_t *k, unsigned i)
{
	return (size_t)sprintf((char *)k, "%s%08u",
			       "a/directory/with/a/rather/long/name/and/more/",
			       i * 7);
}

/* Keys that begin others, of the bytes that padding could be mistaken for. */
static size_t key_nested(struct seed *s, uint8_t *k, unsigned i)
{
	static const uint8_t bytes[] = { 0x00, 0x00, 0x01, 0xff, 'a' };
	size_t n = 1 + seed_below(s, 10);

	for (size_t j = 0; j < n; j++)
		k[j] = bytes[seed_below(s, sizeof(bytes))];
	return n;
}

static size_t key_any_length(struct seed *s, uint8_t *k, unsigned i)
{
	size_t n = 1 + seed_below(s, i % 4 ? 40 : KEYDIR_KEY_BYTES_MAX);

	memset(k, (int)seed_below(s, 3) * 0x7f, n);
	k[seed_below(s, n)] = (uint8_t)seed_next(s);
	k[n - 1] = (uint8_t)seed_next(s);
	return n;
}

/* Groups whose common prefix ends around what a node keeps inline. */
static size_t key_grouped(struct seed *s, uint8_t *k, unsigned i)
{
	static const unsigned lengths[] = { 3, 7, 8, 9, 39, 40, 41, 300 };
	unsigned g = i % 8, n = lengths[g];

	memset(k, 'p', n);
	k[0] = (uint8_t)('a' + (g > 3 ? 1 : g));
	return n + (size_t)sprintf((char *)k + n, "%u", i);
}

/* Nothing but one byte, at every length: every head ties. */
static size_t key_runs(struct seed *s, uint8_t *k, unsigned i)
{
	size_t n = 1 + i / 2;

	memset(k, i % 2 ? 0xff : 0x00, n);
	return n;
}

typedef size_t make_key(struct seed *s, uint8_t *k, unsigned i);

static make_key *const makers[] = { key_random,	    key_long_prefix, key_nested,
				    key_any_length, key_grouped,     key_runs };

static int compare_items(const void *a, const void *b)
{
	return bytes_compare(item_key(a), item_key(b));
}

static struct model *new_model(make_key *make, struct seed *s)
{
	struct model *m = calloc(1, sizeof(*m));
	uint8_t k[KEYDIR_KEY_BYTES_MAX];
	unsigned n = 0;

	assert_non_null(m);
	for (unsigned i = 0; i < UNIVERSE; i++) {
		struct item *it = &m->items[i];

		it->n = make(s, k, i);
		it->p = malloc(it->n);
		assert_non_null(it->p);
		memcpy(it->p, k, it->n);
	}
	qsort(m->items, UNIVERSE, sizeof(m->items[0]), compare_items);
	for (unsigned i = 0; i < UNIVERSE; i++) {
		if (n && !compare_items(&m->items[n - 1], &m->items[i]))
			free(m->items[i].p);
		else
			m->items[n++] = m->items[i];
	}
	m->count = n;
	assert_int_equal(epoch_new(&m->e), OK);
	assert_int_equal(keydir_new(m->e, &m->kd), OK);
	return m;
}

static void free_model(struct model *m)
{
	keydir_free(m->kd);
	epoch_free(m->e);
	for (unsigned i = 0; i < m->count; i++)
		free(m->items[i].p);
	free(m);
}

/* --- the tree's own order ------------------------------------------------ */

struct walk {
	const struct keydir *kd;
	uint64_t entries;
	uint64_t node_units, key_units;
	uint32_t last_leaf;
	struct bytes last_key;
};

static void check_node(const struct walk *w, const struct node *n)
{
	for (unsigned i = node_first(n); i < n->count; i++) {
		struct bytes key = node_key(w->kd, n, i);

		assert_true(key.n >= n->prefix_bytes);
		for (unsigned j = 0;
		     j < n->prefix_bytes && j < NODE_PREFIX_BYTES; j++)
			assert_int_equal(key.p[j],
					 n->prefix[j / 8] >> (56 - j % 8 * 8) &
						 0xff);
		assert_memory_equal(key.p, node_key(w->kd, n, node_first(n)).p,
				    n->prefix_bytes);
		assert_int_equal(
			n->heads[i],
			(uint32_t)(node_word(key, n->prefix_bytes) >> 32));
		if (i > node_first(n))
			assert_true(bytes_compare(node_key(w->kd, n, i - 1),
						  key) < 0);
	}
}

static void walk_leaf(struct walk *w, uint32_t ref, const struct node *n)
{
	assert_int_equal(n->prev, w->last_leaf);
	if (w->last_leaf)
		assert_int_equal(node_at(w->kd, w->last_leaf)->next, ref);
	w->last_leaf = ref;
	for (unsigned i = 0; i < n->count; i++) {
		struct bytes key = node_key(w->kd, n, i);

		assert_true(!w->entries || bytes_compare(w->last_key, key) < 0);
		w->last_key = key;
		w->entries++;
		w->key_units += entry_units(key.n);
	}
}

/* All keys below ref are at least low and below high (NULL: no bound). */
static void walk_node(struct walk *w, uint32_t ref, unsigned level,
		      const struct bytes *low, const struct bytes *high)
{
	const struct node *n = node_at(w->kd, ref);

	assert_int_equal(n->level, level);
	assert_int_equal(n->version % 2, 0);
	assert_true(n->count > 0 || ref == w->kd->root);
	assert_true(n->count <= NODE_SLOTS);
	w->node_units += node_units(level);
	check_node(w, n);
	for (unsigned i = node_first(n); i < n->count; i++) {
		struct bytes key = node_key(w->kd, n, i);

		assert_true(!low || bytes_compare(*low, key) <= 0);
		assert_true(!high || bytes_compare(key, *high) < 0);
	}
	if (level == 0) {
		walk_leaf(w, ref, n);
		return;
	}
	for (unsigned i = 0; i < n->count; i++) {
		struct bytes from, to;

		if (i > 0) {
			from = node_key(w->kd, n, i);
			w->key_units += sep_units(from.n);
		}
		if (i + 1 < n->count)
			to = node_key(w->kd, n, i + 1);
		walk_node(w, n->children[i], level - 1, i ? &from : low,
			  i + 1 < n->count ? &to : high);
	}
}

/* Walk everything; every block in use is one that the walk met. */
static void check_tree(struct epoch *e, struct keydir *kd)
{
	struct walk w = { .kd = kd };

	epoch_collect(e);
	keydir_lock(kd);
	walk_node(&w, kd->root, node_at(kd, kd->root)->level, NULL, NULL);
	assert_int_equal(w.last_leaf, kd->last);
	assert_int_equal(node_at(kd, kd->last)->next, 0);
	assert_int_equal(w.entries, keydir_count(kd));
	assert_int_equal(w.node_units * 8, arena_used_bytes(kd->nodes));
	assert_int_equal(w.key_units * 8, arena_used_bytes(kd->keys));
	assert_true(keydir_memory_bytes(kd) > (w.node_units + w.key_units) * 8);
	keydir_unlock(kd);
}

/* --- operations on both -------------------------------------------------- */

static void check_entry(const struct keydir_entry *en, const struct item *it)
{
	if (!it) {
		assert_null(en);
		return;
	}
	assert_non_null(en);
	assert_true(
		bytes_equal(bytes_of(en->key, en->key_bytes), item_key(it)));
	assert_int_equal(en->version, it->version);
	assert_int_equal(en->loc, it->loc);
	assert_int_equal(en->value_bytes, (uint32_t)it->version * 3);
	assert_int_equal(en->attr_bytes, (uint16_t)it->version);
}

static void check_old(const struct keydir_change *c, const struct item *it)
{
	assert_int_equal(c->had_old, it->version != 0);
	if (c->had_old) {
		assert_int_equal(c->old.version, it->version);
		assert_int_equal(c->old.loc, it->loc);
		assert_int_equal(c->old.key_bytes, it->n);
	}
}

static enum err do_put(struct model *m, struct item *it, uint64_t version,
		       uint64_t loc)
{
	struct keydir_change c;
	enum err err;

	err = keydir_put(m->kd, item_key(it), version, loc,
			 (uint32_t)version * 3, (uint16_t)version, &c);
	if (err)
		return err;
	check_old(&c, it);
	assert_int_equal(c.changed, version > it->version);
	if (c.changed) {
		m->present += it->version == 0;
		it->version = version;
		it->loc = loc;
	}
	return OK;
}

static void do_del(struct model *m, struct item *it, uint64_t version)
{
	struct keydir_change c;

	keydir_del(m->kd, item_key(it), version, &c);
	check_old(&c, it);
	assert_int_equal(c.changed, it->version && it->version < version);
	if (c.changed) {
		it->version = 0;
		m->present--;
	}
}

static enum err do_move(struct model *m, struct item *it, bool right)
{
	uint64_t from = right ? it->loc : it->loc + 1;
	bool moved;
	enum err err;

	err = keydir_move(m->kd, item_key(it), it->version, from, from + 77,
			  &moved);
	if (err)
		return err;
	assert_int_equal(moved, right && it->version);
	if (moved)
		it->loc = from + 77;
	return OK;
}

/* The nearest present item from i on, in steps of by; NULL: none. */
static struct item *present_from(struct model *m, int i, int by)
{
	for (; i >= 0 && i < (int)m->count; i += by)
		if (m->items[i].version)
			return &m->items[i];
	return NULL;
}

static void do_walks(struct model *m, int i, struct seed *s)
{
	const struct keydir_entry *en;
	struct keydir_iter it;
	struct item *want;

	en = keydir_seek(m->kd, item_key(&m->items[i]), &it);
	want = present_from(m, i, 1);
	for (int n = (int)seed_below(s, 100); n >= 0 && want; n--) {
		check_entry(en, want);
		want = present_from(m, (int)(want - m->items) + 1, 1);
		en = keydir_next(&it);
	}
	check_entry(en, want);
	en = keydir_seek_before(m->kd, item_key(&m->items[i]), &it);
	want = present_from(m, i - 1, -1);
	for (int n = (int)seed_below(s, 100); n >= 0 && want; n--) {
		check_entry(en, want);
		want = present_from(m, (int)(want - m->items) - 1, -1);
		en = keydir_prev(&it);
	}
	check_entry(en, want);
	en = keydir_seek_before(m->kd, bytes_of(NULL, 0), &it);
	check_entry(en, present_from(m, (int)m->count - 1, -1));
	en = keydir_seek(m->kd, bytes_of(NULL, 0), &it);
	check_entry(en, present_from(m, 0, 1));
}

static void do_append(struct model *m)
{
	struct item *last = present_from(m, (int)m->count - 1, -1);
	struct item *it = last ? last + 1 : m->items;

	if (it == m->items + m->count)
		return;
	it->version = ++m->last_version;
	it->loc = it->version * 11;
	m->present++;
	assert_int_equal(keydir_append(m->kd, item_key(it), it->version,
				       it->loc, (uint32_t)it->version * 3,
				       (uint16_t)it->version),
			 OK);
}

static void do_operation(struct model *m, struct seed *s, unsigned del_percent)
{
	int i = (int)seed_below(s, m->count);
	struct item *it = &m->items[i];
	unsigned dice = (unsigned)seed_below(s, 100);
	uint64_t version = ++m->last_version;

	if (seed_below(s, 8) == 0) /* an old one, for the guard */
		version = 1 + seed_below(s, version);
	if (dice < del_percent)
		do_del(m, it, version);
	else if (dice < 80)
		assert_int_equal(do_put(m, it, version, version * 5), OK);
	else if (dice < 85)
		assert_int_equal(do_move(m, it, seed_below(s, 2)), OK);
	else if (dice < 87)
		do_walks(m, i, s);
	else if (dice < 89)
		do_append(m);
	else
		check_entry(keydir_get(m->kd, item_key(it)),
			    it->version ? it : NULL);
}

static void check_all(struct model *m)
{
	check_tree(m->e, m->kd);
	assert_int_equal(keydir_count(m->kd), m->present);
	epoch_enter(m->e);
	for (unsigned i = 0; i < m->count; i++)
		check_entry(keydir_get(m->kd, item_key(&m->items[i])),
			    m->items[i].version ? &m->items[i] : NULL);
	epoch_exit(m->e);
}

static void every_operation_does_what_the_model_does(void **state)
{
	for (unsigned d = 0; d < sizeof(makers) / sizeof(makers[0]); d++) {
		struct seed s;
		struct model *m;

		seed_init(&s, seed_number + d);
		m = new_model(makers[d], &s);
		for (unsigned i = 0; i < OPERATIONS; i++) {
			/* Fill, thin out, fill again, and so on. */
			do_operation(m, &s, i / 3000 % 2 ? 70 : 15);
			if (i % 1000 == 0)
				check_all(m);
		}
		check_all(m);
		for (unsigned i = 0; i < m->count; i++)
			do_del(m, &m->items[i], UINT64_MAX);
		check_all(m);
		assert_int_equal(m->present, 0);
		free_model(m);
	}
}

static void an_older_or_equal_version_changes_nothing(void **state)
{
	struct keydir_change c;
	struct epoch *e;
	struct keydir *kd;
	struct bytes k = bytes_str("k");

	assert_int_equal(epoch_new(&e), OK);
	assert_int_equal(keydir_new(e, &kd), OK);
	assert_int_equal(keydir_put(kd, k, 5, 50, 1, 2, &c), OK);
	assert_true(c.changed && !c.had_old);
	assert_int_equal(keydir_put(kd, k, 5, 51, 1, 2, &c), OK);
	assert_true(!c.changed && c.had_old);
	assert_int_equal(keydir_put(kd, k, 4, 52, 1, 2, &c), OK);
	assert_true(!c.changed && c.had_old);
	keydir_del(kd, k, 5, &c);
	assert_true(!c.changed && c.had_old && c.old.loc == 50);
	keydir_del(kd, k, 6, &c);
	assert_true(c.changed && c.had_old && c.old.value_bytes == 1);
	keydir_del(kd, k, 7, &c);
	assert_true(!c.changed && !c.had_old);
	keydir_free(kd);
	epoch_free(e);
	keydir_free(NULL);
}

/* --- memory -------------------------------------------------------------- */

static struct bytes number_key(uint8_t *k, uint64_t n)
{
	put_be64(k, 0);
	put_be64(k + 8, n);
	return bytes_of(k, 16);
}

static struct bytes scattered_key(uint8_t *k, uint64_t n)
{
	put_u64(k, (n + 1) * UINT64_C(0x9e3779b97f4a7c15));
	put_u64(k + 8, n);
	return bytes_of(k, 16);
}

static void fill(struct keydir *kd, uint64_t n, bool append)
{
	struct keydir_change c;
	uint8_t k[16];

	for (uint64_t i = 0; i < n; i++)
		assert_int_equal(
			append ? keydir_append(kd, number_key(k, i), 1, 1, 0, 0)
			       : keydir_put(kd, scattered_key(k, i), 1, 1, 0, 0,
					    &c),
			OK);
}

static void a_key_costs_at_most_forty_bytes_beyond_itself(void **state)
{
	for (int append = 0; append < 2; append++) {
		struct epoch *e;
		struct keydir *kd;

		assert_int_equal(epoch_new(&e), OK);
		assert_int_equal(keydir_new(e, &kd), OK);
		assert_true(keydir_memory_bytes(kd) < 20000);
		fill(kd, MANY_KEYS, append);
		assert_int_equal(keydir_count(kd), MANY_KEYS);
		assert_true(keydir_memory_bytes(kd) <=
			    (MANY_KEY_BYTES + 16) * (uint64_t)MANY_KEYS);
		check_tree(e, kd);
		keydir_free(kd);
		epoch_free(e);
	}
}

static void descending_keys_fill_leaves_too(void **state)
{
	struct keydir_change c;
	struct epoch *e;
	struct keydir *kd;
	uint8_t k[16];

	assert_int_equal(epoch_new(&e), OK);
	assert_int_equal(keydir_new(e, &kd), OK);
	for (uint64_t i = MANY_KEYS; i > 0; i--)
		assert_int_equal(
			keydir_put(kd, number_key(k, i), 1, 1, 0, 0, &c), OK);
	assert_true(keydir_memory_bytes(kd) <=
		    (MANY_KEY_BYTES + 16) * (uint64_t)MANY_KEYS);
	check_tree(e, kd);
	keydir_free(kd);
	epoch_free(e);
}

static void memory_comes_back_after_deleting(void **state)
{
	struct keydir_change c;
	struct epoch *e;
	struct keydir *kd;
	uint8_t k[16];

	assert_int_equal(epoch_new(&e), OK);
	assert_int_equal(keydir_new(e, &kd), OK);
	for (int round = 0; round < 3; round++) {
		fill(kd, MANY_KEYS / 2, false);
		assert_true(keydir_memory_bytes(kd) > 20 * MANY_KEYS);
		for (uint64_t i = 0; i < MANY_KEYS / 2; i++) {
			keydir_del(kd, scattered_key(k, i), 2, &c);
			assert_true(c.changed);
		}
		check_tree(e, kd);
		assert_int_equal(keydir_count(kd), 0);
		assert_true(keydir_memory_bytes(kd) < 3 << 20);
	}
	keydir_free(kd);
	epoch_free(e);
}

static void replacing_does_not_grow_the_memory(void **state)
{
	struct keydir_change c;
	struct epoch *e;
	struct keydir *kd;
	uint64_t before;
	uint8_t k[16];

	assert_int_equal(epoch_new(&e), OK);
	assert_int_equal(keydir_new(e, &kd), OK);
	fill(kd, 5000, false);
	before = keydir_memory_bytes(kd);
	for (uint64_t i = 0; i < 100000; i++)
		assert_int_equal(keydir_put(kd, scattered_key(k, i % 5000),
					    i + 2, 1, 0, 0, &c),
				 OK);
	assert_true(keydir_memory_bytes(kd) <= before + (128 << 10));
	check_tree(e, kd);
	keydir_free(kd);
	epoch_free(e);
}

/* Every call fails at its n-th allocation, for all n, and changes nothing. */
static void a_failed_allocation_changes_nothing(void **state)
{
	struct seed s;
	struct model *m;
	unsigned failed = 0;

	seed_init(&s, seed_number);
	for (long n = 0;; n++) {
		struct epoch *e;
		struct keydir *kd;
		enum err err;

		assert_int_equal(epoch_new(&e), OK);
		allocs_left = n;
		err = keydir_new(e, &kd);
		allocs_left = -1;
		if (err == OK)
			keydir_free(kd);
		else
			assert_int_equal(err, ERR_NOMEM);
		epoch_free(e);
		if (err == OK)
			break;
	}
	m = new_model(key_any_length, &s);
	for (unsigned i = 0; i < FAIL_OPERATIONS; i++) {
		struct item *it = &m->items[seed_below(&s, m->count)];
		uint64_t version = ++m->last_version;
		bool move = seed_below(&s, 8) == 0;
		enum err err = ERR_NOMEM;

		for (long n = 0; err; n++) {
			allocs_left = n;
			err = move ? do_move(m, it, true)
				   : do_put(m, it, version, 9);
			allocs_left = -1;
			failed += err != OK;
			if (err)
				assert_int_equal(err, ERR_NOMEM);
			if (err && failed % 16 == 0)
				check_all(m);
		}
		if (seed_below(&s, 4) == 0)
			do_del(m, &m->items[seed_below(&s, m->count)],
			       UINT64_MAX);
	}
	assert_true(failed > 20);
	check_all(m);
	free_model(m);
}

static void deleting_needs_no_memory(void **state)
{
	struct keydir_change c;
	struct epoch *e;
	struct keydir *kd;
	uint8_t k[16];

	assert_int_equal(epoch_new(&e), OK);
	assert_int_equal(keydir_new(e, &kd), OK);
	fill(kd, 20000, false);
	epoch_enter(e); /* so that nothing retired can be used again */
	allocs_left = 0;
	for (uint64_t i = 0; i < 20000; i++) {
		keydir_del(kd, scattered_key(k, i), 2, &c);
		assert_true(c.changed);
	}
	allocs_left = -1;
	epoch_exit(e);
	assert_int_equal(keydir_count(kd), 0);
	fill(kd, 20000, false);
	assert_int_equal(keydir_count(kd), 20000);
	keydir_free(kd);
	epoch_free(e);
}

static void freeing_waits_for_nothing_and_leaks_nothing(void **state)
{
	struct keydir_change c;
	struct epoch *e;
	struct keydir *kd;
	uint8_t k[16];

	assert_int_equal(epoch_new(&e), OK);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(keydir_new(e, &kd), OK);
		fill(kd, 1000, false);
		for (uint64_t i = 0; i < 1000; i += 2)
			keydir_del(kd, scattered_key(k, i), 2, &c);
		epoch_enter(e); /* a reader, of some other directory */
		keydir_free(kd);
		epoch_exit(e);
	}
	epoch_collect(e);
	epoch_free(e);
}

static int say_seed(void **state)
{
	printf("SEED=%llu\n", (unsigned long long)seed_number);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_operation_does_what_the_model_does),
		cmocka_unit_test(an_older_or_equal_version_changes_nothing),
		cmocka_unit_test(a_key_costs_at_most_forty_bytes_beyond_itself),
		cmocka_unit_test(descending_keys_fill_leaves_too),
		cmocka_unit_test(memory_comes_back_after_deleting),
		cmocka_unit_test(replacing_does_not_grow_the_memory),
		cmocka_unit_test(a_failed_allocation_changes_nothing),
		cmocka_unit_test(deleting_needs_no_memory),
		cmocka_unit_test(freeing_waits_for_nothing_and_leaks_nothing),
	};
	const char *seed = getenv("SEED");
	struct seed s;

	if (seed) {
		seed_number = strtoull(seed, NULL, 10);
	} else {
		if (seed_init_os(&s))
			return 1;
		seed_number = seed_next(&s) >> 32;
	}
	return cmocka_run_group_tests(tests, say_seed, NULL);
}
