/*
 * engine/keydir.c - the key directory: descending, splitting, merging.
 *
 *	         inner         [ -  "f"  "p" ]        separators, as short as
 *	                        |    |    |           tells the children apart
 *	leaves   [a c dd] <-> [f g] <-> [p q z]       entries; linked both ways
 *
 * Readers descend with optimistic lock coupling: take a node's version, find
 * the child, take the child's version, and see that the node's has not moved;
 * an odd version, or one that moved, starts again at the root. A writer (one,
 * by the lock) makes the versions of all nodes of one step odd first, changes
 * them, and makes them even; a node that leaves the tree stays odd. Replacing
 * an entry is one store and needs no version.
 *
 * A change first gets all the memory it may need, so running out of it leaves
 * everything as it was. A full leaf splits in the middle; at its end or start
 * when keys come in ascending or descending order, so that it stays full. A
 * node with fewer than NODE_MERGE_BELOW slots joins a neighbour under the same
 * parent if both then fit into NODE_JOINED_MAX; an empty one always leaves.
 */
#include "engine/keydir.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "engine/keydir_node.h"

enum {
	NODE_MERGE_BELOW = 16,
	NODE_JOINED_MAX = 48,
	SPINS_BEFORE_YIELD = 64,
};

/* The way from the root to a leaf; i is the child taken, or the leaf's slot. */
struct step {
	struct node *n;
	uint32_t ref;
	unsigned i;
};

struct path {
	struct step steps[NODE_DEPTH_MAX];
	unsigned depth;
};

/* What a split may need, taken beforehand. */
struct reserve {
	uint32_t leaf, sep, sep_units;
	uint32_t inner[NODE_DEPTH_MAX];
	unsigned inner_count;
};

/* What an entry is made of. */
struct value {
	uint64_t version, loc;
	uint32_t value_bytes;
	uint16_t attr_bytes;
};

/* --- readers ----------------------------------------------------------- */

/* One try at finding key. False: a writer was in the way. */
static bool try_get(const struct keydir *kd, struct bytes key,
		    const struct keydir_entry **e)
{
	uint32_t ref = __atomic_load_n(&kd->root, __ATOMIC_ACQUIRE);
	const struct node *n = node_at(kd, ref), *child;
	uint64_t version = node_version(n), child_version;

	if (version & 1 || __atomic_load_n(&kd->root, __ATOMIC_RELAXED) != ref)
		return false;
	while (__atomic_load_n(&n->level, __ATOMIC_RELAXED) > 0) {
		bool equal;
		unsigned i = node_bound(kd, n, key, &equal);

		i -= equal ? 0 : 1;
		if (i >= __atomic_load_n(&n->count, __ATOMIC_ACQUIRE))
			return false;
		child = node_at(
			kd, __atomic_load_n(&n->children[i], __ATOMIC_ACQUIRE));
		node_prefetch(child);
		child_version = node_version(child);
		if (child_version & 1 || !node_same(n, version))
			return false;
		n = child;
		version = child_version;
	}
	*e = node_find(kd, n, key);
	return node_same(n, version);
}

const struct keydir_entry *keydir_get(struct keydir *kd, struct bytes key)
{
	const struct keydir_entry *e;
	unsigned spins = 0;

	while (!try_get(kd, key, &e))
		if (++spins % SPINS_BEFORE_YIELD == 0)
			sched_yield(); /* the writer lost its processor */
	return e;
}

/* --- the lock holder's way down ---------------------------------------- */

/* To the leaf and slot of key; true when it is there. */
static bool descend(const struct keydir *kd, struct bytes key, struct path *p)
{
	uint32_t ref = kd->root;
	bool equal;

	for (p->depth = 0;; p->depth++) {
		struct step *s = &p->steps[p->depth];

		CHECK(p->depth < NODE_DEPTH_MAX);
		s->ref = ref;
		s->n = node_at(kd, ref);
		s->i = node_bound(kd, s->n, key, &equal);
		if (s->n->level == 0)
			break;
		s->i -= equal ? 0 : 1;
		ref = s->n->children[s->i];
	}
	p->depth++;
	return equal;
}

/* To the end of the last leaf. */
static void descend_last(const struct keydir *kd, struct path *p)
{
	uint32_t ref = kd->root;

	for (p->depth = 0;; p->depth++) {
		struct step *s = &p->steps[p->depth];

		CHECK(p->depth < NODE_DEPTH_MAX);
		s->ref = ref;
		s->n = node_at(kd, ref);
		s->i = s->n->count;
		if (s->n->level == 0)
			break;
		s->i--;
		ref = s->n->children[s->i];
	}
	p->depth++;
}

/* --- entries ----------------------------------------------------------- */

static enum err make_entry(struct keydir *kd, struct bytes key,
			   const struct value *v, uint32_t *ref)
{
	struct keydir_entry *e;
	enum err err = arena_alloc(kd->keys, entry_units(key.n), ref);

	if (err)
		return err;
	e = arena_at(kd->keys, *ref);
	e->version = v->version;
	e->loc = v->loc;
	e->value_bytes = v->value_bytes;
	e->attr_bytes = v->attr_bytes;
	e->key_bytes = (uint16_t)key.n;
	memcpy(e->key, key.p, key.n);
	return OK;
}

static void retire_entry(struct keydir *kd, uint32_t ref)
{
	arena_retire(kd->keys, ref, entry_units(entry_at(kd, ref)->key_bytes));
}

static void retire_sep(struct keydir *kd, uint32_t ref)
{
	const struct node_sep *s = arena_at(kd->keys, ref);

	arena_retire(kd->keys, ref, sep_units(s->key_bytes));
}

static void retire_node(struct keydir *kd, uint32_t ref)
{
	arena_retire(kd->nodes, ref, node_units(node_at(kd, ref)->level));
}

static void add_count(struct keydir *kd, int64_t n)
{
	__atomic_store_n(&kd->count, kd->count + (uint64_t)n, __ATOMIC_RELAXED);
}

/* --- splitting --------------------------------------------------------- */

static void release_reserve(struct keydir *kd, struct reserve *r)
{
	if (r->leaf)
		arena_release(kd->nodes, r->leaf, node_units(0));
	if (r->sep)
		arena_release(kd->keys, r->sep, r->sep_units);
	while (r->inner_count > 0)
		arena_release(kd->nodes, r->inner[--r->inner_count],
			      node_units(1));
}

/*
 * Make the separator: the shortest beginning of right that is above left, the
 * keys on its two sides.
 */
static enum err reserve_sep(struct keydir *kd, struct reserve *r,
			    struct bytes left, struct bytes right)
{
	struct node_sep *s;
	size_t n = 0;
	enum err err;

	while (n < left.n && left.p[n] == right.p[n])
		n++;
	n++;
	CHECK(n <= right.n);
	r->sep_units = sep_units(n);
	err = arena_alloc(kd->keys, r->sep_units, &r->sep);
	if (err)
		return err;
	s = arena_at(kd->keys, r->sep);
	s->key_bytes = (uint16_t)n;
	memcpy(s->key, right.p, n);
	return OK;
}

/* Get all that splitting the leaf of p before slot at may need. */
static enum err reserve_split(struct keydir *kd, const struct path *p,
			      struct bytes left, struct bytes right,
			      struct reserve *r)
{
	unsigned need = 0, d = p->depth - 1;
	enum err err;

	while (d > 0 && p->steps[d - 1].n->count == NODE_SLOTS) {
		need++;
		d--;
	}
	if (d == 0)
		need++; /* a new root */
	memset(r, 0, sizeof(*r));
	err = reserve_sep(kd, r, left, right);
	if (err)
		return err;
	err = arena_alloc(kd->nodes, node_units(0), &r->leaf);
	if (err)
		goto out_release;
	for (; r->inner_count < need; r->inner_count++) {
		err = arena_alloc(kd->nodes, node_units(1),
				  &r->inner[r->inner_count]);
		if (err)
			goto out_release;
	}
	return OK;
out_release:
	release_reserve(kd, r);
	return err;
}

/* A new root over the old one and right. */
static void grow_root(struct keydir *kd, struct reserve *r, uint32_t sep,
		      uint32_t right)
{
	uint32_t ref = r->inner[--r->inner_count];
	struct node *n = node_at(kd, ref);
	struct node_sep *s = arena_at(kd->keys, sep);

	node_init(n, node_at(kd, kd->root)->level + 1);
	node_insert(kd, n, 0, bytes_of(NULL, 0), 0, kd->root);
	node_insert(kd, n, 1, bytes_of(s->key, s->key_bytes), sep, right);
	__atomic_store_n(&kd->root, ref, __ATOMIC_RELEASE);
}

/* Split the full inner node n, adding child at slot i; what goes up is *sep. */
static void split_inner(struct keydir *kd, struct node *n, unsigned i,
			uint32_t child, uint32_t *sep, struct node *right)
{
	struct node_sep *s = arena_at(kd->keys, *sep);
	struct bytes key = bytes_of(s->key, s->key_bytes);
	uint32_t added = *sep;

	node_init(right, n->level);
	if (i == NODE_SLOTS) { /* ascending: n stays full */
		node_insert(kd, right, 0, bytes_of(NULL, 0), 0, child);
		return;
	}
	*sep = node_split(kd, n, NODE_SLOTS / 2, right);
	if (i <= NODE_SLOTS / 2)
		node_insert(kd, n, i, key, added, child);
	else
		node_insert(kd, right, i - NODE_SLOTS / 2, key, added, child);
}

/*
 * Hang the new node right, with its separator, under the parents of p. Their
 * versions are odd from before the leaf changed until after this.
 */
static void hang_node(struct keydir *kd, const struct path *p,
		      struct reserve *r, uint32_t right)
{
	uint32_t sep = r->sep;

	for (unsigned d = p->depth - 1; d > 0; d--) {
		const struct step *s = &p->steps[d - 1];
		const struct node_sep *k = arena_at(kd->keys, sep);
		uint32_t ref;

		if (s->n->count < NODE_SLOTS) {
			node_insert(kd, s->n, s->i + 1,
				    bytes_of(k->key, k->key_bytes), sep, right);
			return;
		}
		ref = r->inner[--r->inner_count];
		split_inner(kd, s->n, s->i + 1, right, &sep, node_at(kd, ref));
		right = ref;
	}
	grow_root(kd, r, sep, right);
}

/* The topmost step that splitting the leaf of p changes. */
static unsigned split_top(const struct path *p)
{
	unsigned d = p->depth - 1;

	while (d > 0 && p->steps[d].n->count == NODE_SLOTS)
		d--;
	return d;
}

/* Insert into a full leaf. ERR_NOMEM: nothing changed. */
static enum err insert_split(struct keydir *kd, const struct path *p,
			     struct bytes key, uint32_t entry)
{
	const struct step *s = &p->steps[p->depth - 1];
	struct node *n = s->n, *right;
	unsigned at = NODE_SLOTS / 2, top = split_top(p);
	bool ascending = s->i == NODE_SLOTS &&
			 (n->next == 0 || n->last_slot == NODE_SLOTS - 1);
	struct bytes left_key, right_key;
	struct reserve r;
	enum err err;

	if (ascending)
		at = NODE_SLOTS;
	else if (s->i == 0 && n->last_slot == 0)
		at = 0; /* descending */
	left_key = s->i == at && !ascending ? key : node_key(kd, n, at - 1);
	right_key = ascending ? key : node_key(kd, n, at);
	err = reserve_split(kd, p, left_key, right_key, &r);
	if (err)
		return err;
	for (unsigned d = top; d < p->depth; d++)
		node_begin(p->steps[d].n);
	right = node_at(kd, r.leaf);
	node_init(right, 0);
	if (!ascending)
		node_split(kd, n, at, right);
	if (s->i <= at && !ascending)
		node_insert(kd, n, s->i, key, entry, 0);
	else
		node_insert(kd, right, s->i - at, key, entry, 0);
	right->prev = s->ref;
	right->next = n->next;
	if (n->next)
		node_at(kd, n->next)->prev = r.leaf;
	else
		kd->last = r.leaf;
	n->next = r.leaf;
	hang_node(kd, p, &r, r.leaf);
	CHECK(r.inner_count == 0);
	for (unsigned d = top; d < p->depth; d++)
		node_end(p->steps[d].n);
	return OK;
}

/* Add a key that is not there at the leaf and slot of p. */
static enum err insert_key(struct keydir *kd, const struct path *p,
			   struct bytes key, const struct value *v)
{
	const struct step *s = &p->steps[p->depth - 1];
	uint32_t entry;
	enum err err;

	err = make_entry(kd, key, v, &entry);
	if (err)
		return err;
	if (s->n->count == NODE_SLOTS) {
		err = insert_split(kd, p, key, entry);
		if (err) {
			arena_release(kd->keys, entry, entry_units(key.n));
			return err;
		}
	} else {
		node_begin(s->n);
		node_insert(kd, s->n, s->i, key, entry, 0);
		node_end(s->n);
	}
	add_count(kd, 1);
	return OK;
}

/* --- merging ----------------------------------------------------------- */

static void unlink_leaf(struct keydir *kd, const struct node *n)
{
	if (n->prev)
		node_at(kd, n->prev)->next = n->next;
	if (n->next)
		node_at(kd, n->next)->prev = n->prev;
	else
		kd->last = n->prev;
}

/*
 * Take child i and the separator before it out of parent (of child 0: the
 * separator after it, for then child 1 takes its range). sep_used: the
 * separator lives on in a joined node. parent's version is odd.
 */
static void remove_child(struct keydir *kd, struct node *parent, unsigned i,
			 bool sep_used)
{
	uint32_t sep = 0;

	if (parent->count > 1)
		sep = parent->keys[i ? i : 1];
	node_remove(parent, i);
	if (sep && !sep_used)
		retire_sep(kd, sep);
}

/* Join child i + 1 of parent into child i. */
static void join_children(struct keydir *kd, struct node *parent, unsigned i)
{
	uint32_t right_ref = parent->children[i + 1];
	struct node *n = node_at(kd, parent->children[i]);
	struct node *right = node_at(kd, right_ref);
	bool inner = n->level > 0;

	node_begin(parent);
	node_begin(n);
	node_begin(right); /* for good */
	node_join(kd, n, right, inner ? parent->keys[i + 1] : 0);
	if (!inner)
		unlink_leaf(kd, right);
	remove_child(kd, parent, i + 1, inner);
	node_end(n);
	node_end(parent);
	retire_node(kd, right_ref);
}

/*
 * The leaf of p is empty: take it out, with the parents that it leaves empty.
 * Answers the depth of the node that lost a child.
 */
static unsigned remove_empty(struct keydir *kd, const struct path *p)
{
	unsigned d = p->depth - 1;

	unlink_leaf(kd, p->steps[d].n);
	do {
		struct step top = p->steps[d - 1];

		node_begin(p->steps[d].n); /* for good */
		node_begin(top.n);
		remove_child(kd, top.n, top.i, false);
		node_end(top.n);
		retire_node(kd, p->steps[d].ref);
		d--;
	} while (p->steps[d].n->count == 0);
	return d;
}

/* Join the node at depth d with a neighbour if both are small enough. */
static bool try_join(struct keydir *kd, const struct path *p, unsigned d)
{
	struct node *parent = p->steps[d - 1].n;
	unsigned i = p->steps[d - 1].i, count = p->steps[d].n->count;
	unsigned beside;

	if (count >= NODE_MERGE_BELOW)
		return false;
	if (i + 1 < parent->count) {
		beside = node_at(kd, parent->children[i + 1])->count;
		if (count + beside <= NODE_JOINED_MAX) {
			join_children(kd, parent, i);
			return true;
		}
	}
	if (i > 0) {
		beside = node_at(kd, parent->children[i - 1])->count;
		if (count + beside <= NODE_JOINED_MAX) {
			join_children(kd, parent, i - 1);
			return true;
		}
	}
	return false;
}

/* The leaf of p has lost a key: keep the tree from becoming hollow. */
static void shrink(struct keydir *kd, const struct path *p)
{
	unsigned d = p->depth - 1;
	struct node *root;

	if (d > 0 && p->steps[d].n->count == 0)
		d = remove_empty(kd, p);
	while (d > 0 && try_join(kd, p, d))
		d--;
	while ((root = node_at(kd, kd->root))->level > 0 && root->count == 1) {
		uint32_t ref = kd->root;

		node_begin(root); /* for good */
		__atomic_store_n(&kd->root, root->children[0],
				 __ATOMIC_RELEASE);
		retire_node(kd, ref);
	}
}

/* --- the interface ----------------------------------------------------- */

enum err keydir_new(struct epoch *readers, struct keydir **out)
{
	struct keydir *kd = calloc(1, sizeof(*kd));
	enum err err = ERR_NOMEM;

	if (!kd)
		return ERR_NOMEM;
	if (pthread_mutex_init(&kd->lock, NULL) != 0)
		goto out_free;
	err = arena_new(readers, 64, &kd->nodes);
	if (err)
		goto out_mutex;
	err = arena_new(readers, ARENA_UNIT_BYTES, &kd->keys);
	if (err)
		goto out_nodes;
	err = arena_alloc(kd->nodes, node_units(0), &kd->root);
	if (err)
		goto out_keys;
	kd->last = kd->root;
	node_init(node_at(kd, kd->root), 0);
	*out = kd;
	return OK;
out_keys:
	arena_free(kd->keys);
out_nodes:
	arena_free(kd->nodes);
out_mutex:
	pthread_mutex_destroy(&kd->lock);
out_free:
	free(kd);
	return err;
}

void keydir_free(struct keydir *kd)
{
	if (!kd)
		return;
	arena_free(kd->keys);
	arena_free(kd->nodes);
	pthread_mutex_destroy(&kd->lock);
	free(kd);
}

void keydir_pin(struct keydir *kd)
{
	__atomic_fetch_add(&kd->pins, 1, __ATOMIC_RELAXED);
}

void keydir_unpin(struct keydir *kd)
{
	__atomic_fetch_sub(&kd->pins, 1, __ATOMIC_RELEASE);
}

bool keydir_is_pinned(struct keydir *kd)
{
	return __atomic_load_n(&kd->pins, __ATOMIC_ACQUIRE) != 0;
}

void keydir_lock(struct keydir *kd)
{
	CHECK(pthread_mutex_lock(&kd->lock) == 0);
	arena_harvest(kd->keys);
	arena_harvest(kd->nodes);
}

void keydir_unlock(struct keydir *kd)
{
	CHECK(pthread_mutex_unlock(&kd->lock) == 0);
}

/* The entry at the leaf slot of p, and a copy of it in change. */
static uint32_t note_old(const struct keydir *kd, const struct path *p,
			 struct keydir_change *change)
{
	const struct step *s = &p->steps[p->depth - 1];
	const struct keydir_entry *e = entry_at(kd, s->n->keys[s->i]);

	change->had_old = true;
	memcpy(&change->old, e, sizeof(*e));
	return s->n->keys[s->i];
}

enum err keydir_put(struct keydir *kd, struct bytes key, uint64_t version,
		    uint64_t loc, uint32_t value_bytes, uint16_t attr_bytes,
		    struct keydir_change *change)
{
	struct value v = { version, loc, value_bytes, attr_bytes };
	struct keydir_change c = { 0 };
	const struct step *s;
	struct path p;
	uint32_t ref, old;
	enum err err;

	CHECK(key.n >= 1 && key.n <= KEYDIR_KEY_BYTES_MAX);
	if (!descend(kd, key, &p)) {
		err = insert_key(kd, &p, key, &v);
		if (err)
			return err;
		c.changed = true;
		*change = c;
		return OK;
	}
	old = note_old(kd, &p, &c);
	c.changed = c.old.version < version;
	if (c.changed) {
		err = make_entry(kd, key, &v, &ref);
		if (err)
			return err;
		s = &p.steps[p.depth - 1];
		node_replace(s->n, s->i, ref);
		retire_entry(kd, old);
	}
	*change = c;
	return OK;
}

void keydir_del(struct keydir *kd, struct bytes key, uint64_t version,
		struct keydir_change *change)
{
	const struct step *s;
	struct path p;
	uint32_t old;

	memset(change, 0, sizeof(*change));
	if (!descend(kd, key, &p))
		return;
	old = note_old(kd, &p, change);
	if (change->old.version >= version)
		return;
	change->changed = true;
	s = &p.steps[p.depth - 1];
	node_begin(s->n);
	node_remove(s->n, s->i);
	node_end(s->n);
	retire_entry(kd, old);
	add_count(kd, -1);
	if (s->n->count < NODE_MERGE_BELOW)
		shrink(kd, &p);
}

enum err keydir_move(struct keydir *kd, struct bytes key, uint64_t version,
		     uint64_t from, uint64_t to, bool *moved)
{
	struct keydir_change c;
	const struct step *s;
	struct value v;
	struct path p;
	uint32_t ref, old;
	enum err err;

	*moved = false;
	if (!descend(kd, key, &p))
		return OK;
	old = note_old(kd, &p, &c);
	if (c.old.version != version || c.old.loc != from)
		return OK;
	v = (struct value){ version, to, c.old.value_bytes, c.old.attr_bytes };
	err = make_entry(kd, key, &v, &ref);
	if (err)
		return err;
	s = &p.steps[p.depth - 1];
	node_replace(s->n, s->i, ref);
	retire_entry(kd, old);
	*moved = true;
	return OK;
}

enum err keydir_append(struct keydir *kd, struct bytes key, uint64_t version,
		       uint64_t loc, uint32_t value_bytes, uint16_t attr_bytes)
{
	struct value v = { version, loc, value_bytes, attr_bytes };
	struct node *last = node_at(kd, kd->last);
	struct path p;

	CHECK(key.n >= 1 && key.n <= KEYDIR_KEY_BYTES_MAX);
	if (last->count > 0)
		CHECK(bytes_compare(node_key(kd, last, last->count - 1u), key) <
		      0);
	if (last->count == NODE_SLOTS) {
		descend_last(kd, &p);
	} else { /* no parent will change */
		p.depth = 1;
		p.steps[0] = (struct step){ last, kd->last, last->count };
	}
	return insert_key(kd, &p, key, &v);
}

/* Set the iterator; slot may be one past either end of leaf. */
static const struct keydir_entry *settle_iter(struct keydir_iter *it,
					      struct keydir *kd,
					      struct node *leaf, int slot)
{
	if (slot < 0) {
		leaf = leaf->prev ? node_at(kd, leaf->prev) : NULL;
		slot = leaf ? leaf->count - 1 : 0;
	} else if (slot >= leaf->count) {
		leaf = leaf->next ? node_at(kd, leaf->next) : NULL;
		slot = 0;
	}
	*it = (struct keydir_iter){ .kd = kd, .leaf = leaf, .slot = slot };
	return leaf ? entry_at(kd, leaf->keys[slot]) : NULL;
}

const struct keydir_entry *keydir_seek(struct keydir *kd, struct bytes key,
				       struct keydir_iter *it)
{
	struct path p;

	(void)descend(kd, key, &p); /* the slot is right either way */
	return settle_iter(it, kd, p.steps[p.depth - 1].n,
			   (int)p.steps[p.depth - 1].i);
}

const struct keydir_entry *
keydir_seek_before(struct keydir *kd, struct bytes key, struct keydir_iter *it)
{
	struct path p;

	if (key.p)
		(void)descend(kd, key, &p); /* the slot is right either way */
	else
		descend_last(kd, &p);
	return settle_iter(it, kd, p.steps[p.depth - 1].n,
			   (int)p.steps[p.depth - 1].i - 1);
}

const struct keydir_entry *keydir_next(struct keydir_iter *it)
{
	return it->leaf ? settle_iter(it, it->kd, it->leaf, it->slot + 1)
			: NULL;
}

const struct keydir_entry *keydir_prev(struct keydir_iter *it)
{
	return it->leaf ? settle_iter(it, it->kd, it->leaf, it->slot - 1)
			: NULL;
}

uint64_t keydir_count(const struct keydir *kd)
{
	return __atomic_load_n(&kd->count, __ATOMIC_RELAXED);
}

uint64_t keydir_memory_bytes(const struct keydir *kd)
{
	return sizeof(*kd) + arena_held_bytes(kd->nodes) +
	       arena_held_bytes(kd->keys);
}
