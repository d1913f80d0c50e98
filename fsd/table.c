/*
 * fsd/table.c - three hash tables with chains: nodes by number, nodes by inode
 * number, names by directory and component. They double when they hold as many
 * entries as slots; where memory for that lacks, chains grow instead.
 */
#include "fsd/table.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

enum { SLOTS_MIN = 256, SLOTS_MAX = 1 << 24 };

static uint32_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ull;
	return (uint32_t)(x ^ x >> 33);
}

/* FNV-1a, which is enough for names, over the directory's number. */
static uint32_t hash_name(const struct node *parent, struct bytes name)
{
	uint64_t h = 0xcbf29ce484222325ull ^ parent->id;

	for (size_t i = 0; i < name.n; i++)
		h = (h ^ name.p[i]) * 0x100000001b3ull;
	return mix(h);
}

/* -------------------------------------------------------------- the hashes */

static void grow_nodes(struct table *t)
{
	uint32_t slots = t->node_slots * 2;
	struct node **by_id, **by_ino;

	if (t->node_count < t->node_slots || slots > SLOTS_MAX)
		return;
	by_id = calloc(slots, sizeof(struct node *));
	by_ino = calloc(slots, sizeof(struct node *));
	if (!by_id || !by_ino) {
		free(by_id);
		free(by_ino);
		return;
	}
	for (uint32_t i = 0; i < t->node_slots; i++) {
		struct node *n, *next;

		for (n = t->by_id[i]; n; n = next) {
			struct node **slot = &by_id[mix(n->id) & (slots - 1)];

			next = n->next_id;
			n->next_id = *slot;
			*slot = n;
		}
		for (n = t->by_ino[i]; n; n = next) {
			struct node **slot = &by_ino[mix(n->ino) & (slots - 1)];

			next = n->next_ino;
			n->next_ino = *slot;
			*slot = n;
		}
	}
	free(t->by_id);
	free(t->by_ino);
	t->by_id = by_id;
	t->by_ino = by_ino;
	t->node_slots = slots;
}

static void grow_names(struct table *t)
{
	uint32_t slots = t->name_slots * 2;
	struct name **by_name;

	if (t->name_count < t->name_slots || slots > SLOTS_MAX)
		return;
	by_name = calloc(slots, sizeof(struct name *));
	if (!by_name)
		return;
	for (uint32_t i = 0; i < t->name_slots; i++) {
		struct name *n, *next;

		for (n = t->by_name[i]; n; n = next) {
			struct name **slot = &by_name[n->hash & (slots - 1)];

			next = n->next;
			n->next = *slot;
			*slot = n;
		}
	}
	free(t->by_name);
	t->by_name = by_name;
	t->name_slots = slots;
}

static struct node **ino_slot(struct table *t, uint64_t ino)
{
	return &t->by_ino[mix(ino) & (t->node_slots - 1)];
}

static void unhash_ino(struct table *t, struct node *node)
{
	struct node **p = ino_slot(t, node->ino);

	while (*p && *p != node)
		p = &(*p)->next_ino;
	if (*p)
		*p = node->next_ino;
	node->next_ino = NULL;
}

static void hash_ino(struct table *t, struct node *node)
{
	struct node **slot = ino_slot(t, node->ino);

	node->next_ino = *slot;
	*slot = node;
}

/* Where the pointer to that name stands; *it is NULL if there is none. */
static struct name **find_name(struct table *t, const struct node *parent,
			       struct bytes name)
{
	uint32_t hash = hash_name(parent, name);
	struct name **p = &t->by_name[hash & (t->name_slots - 1)];

	while (*p && ((*p)->hash != hash || (*p)->parent != parent ||
		      !bytes_equal(bytes_of((*p)->p, (*p)->n), name)))
		p = &(*p)->next;
	return p;
}

/* ------------------------------------------------------- nodes, their life */

static struct node *new_node(struct table *t, uint64_t ino)
{
	struct node *n = calloc(1, sizeof(*n));
	struct node **slot;

	if (!n)
		return NULL;
	grow_nodes(t);
	n->id = t->next_id++;
	n->ino = ino;
	slot = &t->by_id[mix(n->id) & (t->node_slots - 1)];
	n->next_id = *slot;
	*slot = n;
	hash_ino(t, n);
	t->node_count++;
	return n;
}

static void release(struct table *t, struct node *node);

static void count_unnamed(struct table *t, struct node *node, bool unnamed)
{
	if (unnamed && !node->is_unnamed)
		t->unnamed++;
	if (!unnamed && node->is_unnamed)
		t->unnamed--;
	node->is_unnamed = unnamed;
}

/* Take name n out; slot points at it. Its directory may go with it. */
static void drop_name(struct table *t, struct name **slot)
{
	struct name *n = *slot, **p;
	struct node *parent;

	CHECK(n);
	p = &n->node->names;
	parent = n->parent;
	while (*p != n)
		p = &(*p)->next_of_node;
	*p = n->next_of_node;
	*slot = n->next;
	t->name_count--;
	free(n);
	table_unref(t, parent);
}

static void free_node(struct table *t, struct node *node)
{
	struct node **p = &t->by_id[mix(node->id) & (t->node_slots - 1)];

	while (node->names) {
		struct name *n = node->names;

		drop_name(t, find_name(t, n->parent, bytes_of(n->p, n->n)));
	}
	while (*p != node)
		p = &(*p)->next_id;
	*p = node->next_id;
	unhash_ino(t, node);
	count_unnamed(t, node, false);
	t->node_count--;
	if (t->drop)
		t->drop(t->ctx, node);
	free(node->ghost);
	free(node);
}

/* Free it if nobody needs it any more. */
static void release(struct table *t, struct node *node)
{
	if (!node->lookups && !node->refs && !node->is_root)
		free_node(t, node);
}

void table_ref(struct node *node)
{
	node->refs++;
}

void table_unref(struct table *t, struct node *node)
{
	CHECK(node->refs > 0);
	node->refs--;
	release(t, node);
}

void table_looked_up(struct node *node)
{
	node->lookups++;
}

void table_forget(struct table *t, struct node *node, uint64_t n)
{
	node->lookups -= n < node->lookups ? n : node->lookups;
	release(t, node);
}

/* ------------------------------------------------------------------- paths */

struct bytes path_component(struct bytes path, struct bytes *rest)
{
	const uint8_t *slash = memchr(path.p, '/', path.n);
	size_t n = slash ? (size_t)(slash - path.p) : path.n;

	*rest = bytes_of(path.p + n, path.n - n);
	if (slash)
		*rest = bytes_of(slash + 1, path.n - n - 1);
	return bytes_of(path.p, n);
}

/* Bytes of the path of node; SIZE_MAX: it has none. */
static size_t path_bytes(const struct node *node)
{
	size_t n = 0;

	for (; !node->is_root; node = node->names->parent) {
		if (!node->names)
			return node->ghost ? n + node->ghost_bytes : SIZE_MAX;
		n += node->names->n;
		if (!node->names->parent->is_root)
			n++;
	}
	return n;
}

enum err table_path(struct table *t, const struct node *node, struct buf *path)
{
	size_t n = path_bytes(node);
	uint8_t *end;
	enum err err;

	if (n == SIZE_MAX)
		return ERR_NOT_FOUND;
	if (n > TABLE_PATH_BYTES_MAX)
		return ERR_KEY_TOO_LONG;
	err = buf_reserve(path, n);
	if (err)
		return err;
	path->n += n;
	end = path->p + path->n;
	for (; !node->is_root; node = node->names->parent) {
		const struct name *m = node->names;

		if (!m) {
			if (node->ghost_bytes)
				memcpy(end - node->ghost_bytes, node->ghost,
				       node->ghost_bytes);
			break;
		}
		end -= m->n;
		memcpy(end, m->p, m->n);
		if (!m->parent->is_root)
			*--end = '/';
	}
	return OK;
}

struct node *table_walk(struct table *t, struct bytes path, struct bytes *rest)
{
	struct node *node = t->root, *child;

	*rest = path;
	while (rest->n) {
		struct bytes after, name = path_component(*rest, &after);

		child = table_child(t, node, name);
		if (!child)
			break;
		node = child;
		*rest = after;
	}
	return node;
}

/* Remember where it was; without memory it is as one that never was. */
static void keep_ghost(struct table *t, struct node *node)
{
	struct buf path = BUF_INIT;

	free(node->ghost);
	node->ghost = NULL;
	node->ghost_bytes = 0;
	if (table_path(t, node, &path)) {
		buf_done(&path);
		return;
	}
	node->ghost = path.p;
	node->ghost_bytes = path.n;
}

/* ------------------------------------------------------------------- names */

/* The name that *slot points at goes; its node stays if somebody needs it. */
static void unbind(struct table *t, struct name **slot)
{
	struct name *n = *slot;
	struct node *node = n->node;

	if (node->names == n && !n->next_of_node)
		keep_ghost(t, node);
	drop_name(t, slot);
	if (!node->names && !node->gone)
		count_unnamed(t, node, true);
	release(t, node);
}

/* node gets the name too. ERR_NOMEM. */
static enum err bind(struct table *t, struct node *parent, struct bytes name,
		     struct node *node)
{
	struct name *n = malloc(sizeof(*n) + name.n), **slot;

	CHECK(name.n <= TABLE_NAME_BYTES_MAX);
	if (!n)
		return ERR_NOMEM;
	grow_names(t);
	n->parent = parent;
	n->node = node;
	n->n = (uint8_t)name.n;
	memcpy(n->p, name.p, name.n);
	n->hash = hash_name(parent, name);
	slot = &t->by_name[n->hash & (t->name_slots - 1)];
	n->next = *slot;
	*slot = n;
	n->next_of_node = node->names;
	node->names = n;
	count_unnamed(t, node, false);
	t->name_count++;
	table_ref(parent);
	free(node->ghost);
	node->ghost = NULL;
	node->ghost_bytes = 0;
	return OK;
}

enum err table_enter(struct table *t, struct node *parent, struct bytes name,
		     uint64_t ino, struct node **out)
{
	struct name **slot = find_name(t, parent, name);
	struct node *node;
	bool is_new = false;
	enum err err;

	if (*slot && (*slot)->node->ino == ino) {
		*out = (*slot)->node;
		return OK;
	}
	node = table_ino(t, ino);
	/* A directory has one name: where it is now is not where it was. */
	if (!node) {
		node = new_node(t, ino);
		is_new = true;
	}
	if (!node)
		return ERR_NOMEM;
	table_ref(node);
	table_ref(parent);
	if (node->is_dir && node->names)
		unbind(t, find_name(t, node->names->parent,
				    bytes_of(node->names->p, node->names->n)));
	table_remove(t, parent, name);
	err = bind(t, parent, name, node);
	table_unref(t, parent);
	if (err && is_new) {
		table_unref(t, node);
		return err;
	}
	node->refs--; /* as found: the caller takes it or leaves it */
	if (!err)
		*out = node;
	return err;
}

void table_remove(struct table *t, const struct node *parent, struct bytes name)
{
	struct name **slot = find_name(t, parent, name);

	if (*slot)
		unbind(t, slot);
}

enum err table_move(struct table *t, const struct node *from_parent,
		    struct bytes from, struct node *to_parent, struct bytes to)
{
	struct node *node = table_child(t, from_parent, from);
	enum err err = OK;

	if (!node) {
		if (to_parent)
			table_remove(t, to_parent, to);
		return OK;
	}
	if (to_parent && table_child(t, to_parent, to) == node)
		return OK; /* two names of one file stay */
	table_ref(node);
	if (to_parent)
		table_ref(to_parent);
	table_remove(t, from_parent, from);
	if (to_parent) {
		table_remove(t, to_parent, to);
		err = bind(t, to_parent, to, node);
		table_unref(t, to_parent);
	}
	table_unref(t, node);
	return err;
}

enum err table_exchange(struct table *t, struct node *a_parent, struct bytes a,
			struct node *b_parent, struct bytes b)
{
	struct node *x = a_parent ? table_child(t, a_parent, a) : NULL;
	struct node *y = b_parent ? table_child(t, b_parent, b) : NULL;
	enum err err = OK, err2 = OK;

	if (x)
		table_ref(x);
	if (y)
		table_ref(y);
	if (a_parent)
		table_ref(a_parent);
	if (b_parent)
		table_ref(b_parent);
	if (x)
		table_remove(t, a_parent, a);
	if (y)
		table_remove(t, b_parent, b);
	if (x && b_parent)
		err = bind(t, b_parent, b, x);
	if (y && a_parent)
		err2 = bind(t, a_parent, a, y);
	if (x)
		table_unref(t, x);
	if (y)
		table_unref(t, y);
	if (a_parent)
		table_unref(t, a_parent);
	if (b_parent)
		table_unref(t, b_parent);
	return err ? err : err2;
}

/* --------------------------------------------------------------- the rest */

struct node *table_node(struct table *t, uint64_t id)
{
	struct node *n = t->by_id[mix(id) & (t->node_slots - 1)];

	while (n && n->id != id)
		n = n->next_id;
	return n;
}

struct node *table_ino(struct table *t, uint64_t ino)
{
	struct node *n = *ino_slot(t, ino);

	while (n && (n->ino != ino || n->gone))
		n = n->next_ino;
	return n;
}

struct node *table_twin(const struct node *node)
{
	struct node *n = node->next_ino;

	while (n && (n->ino != node->ino || n->gone))
		n = n->next_ino;
	return n;
}

struct node *table_child(struct table *t, const struct node *parent,
			 struct bytes name)
{
	struct name *n = *find_name(t, parent, name);

	return n ? n->node : NULL;
}

void table_set_ino(struct table *t, struct node *node, uint64_t ino)
{
	unhash_ino(t, node);
	node->ino = ino;
	hash_ino(t, node);
}

void table_each_node(struct table *t, void (*fn)(void *ctx, struct node *node),
		     void *ctx)
{
	for (uint32_t i = 0; i < t->node_slots; i++)
		for (struct node *n = t->by_id[i]; n; n = n->next_id)
			fn(ctx, n);
}

void table_each_name(struct table *t, void (*fn)(void *ctx, struct name *name),
		     void *ctx)
{
	for (uint32_t i = 0; i < t->name_slots; i++)
		for (struct name *n = t->by_name[i]; n; n = n->next)
			fn(ctx, n);
}

void table_lock(struct table *t)
{
	pthread_mutex_lock(&t->lock);
}

void table_unlock(struct table *t)
{
	pthread_mutex_unlock(&t->lock);
}

enum err table_init(struct table *t, uint64_t root_ino,
		    void (*drop)(void *ctx, struct node *node), void *ctx)
{
	memset(t, 0, sizeof(*t));
	t->node_slots = t->name_slots = SLOTS_MIN;
	t->next_id = TABLE_ROOT_ID;
	t->by_id = calloc(SLOTS_MIN, sizeof(struct node *));
	t->by_ino = calloc(SLOTS_MIN, sizeof(struct node *));
	t->by_name = calloc(SLOTS_MIN, sizeof(struct name *));
	if (t->by_id && t->by_ino && t->by_name)
		t->root = new_node(t, root_ino);
	if (!t->root) {
		free(t->by_id);
		free(t->by_ino);
		free(t->by_name);
		return ERR_NOMEM;
	}
	t->root->is_root = t->root->is_dir = true;
	t->drop = drop;
	t->ctx = ctx;
	pthread_mutex_init(&t->lock, NULL);
	return OK;
}

void table_done(struct table *t)
{
	if (!t->root)
		return;
	for (uint32_t i = 0; i < t->name_slots; i++)
		while (t->by_name[i]) {
			struct name *n = t->by_name[i];

			t->by_name[i] = n->next;
			free(n);
		}
	for (uint32_t i = 0; i < t->node_slots; i++)
		while (t->by_id[i]) {
			struct node *n = t->by_id[i];

			t->by_id[i] = n->next_id;
			if (t->drop)
				t->drop(t->ctx, n);
			free(n->ghost);
			free(n);
		}
	free(t->by_id);
	free(t->by_ino);
	free(t->by_name);
	pthread_mutex_destroy(&t->lock);
	t->root = NULL;
}
