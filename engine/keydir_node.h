/*
 * engine/keydir_node.h - the nodes of the key directory's B+tree.
 *
 * Private to engine/keydir*.c and their tests. A leaf's slots name entries; an
 * inner node's slot i >= 1 names the separator before its child i: the child
 * holds keys from that separator on. Slot 0 of an inner node has no separator.
 *
 * All keys of a node begin with its prefix; heads[i] is the four bytes after
 * it, as a big-endian number padded with zero bytes, so that most searches
 * compare integers of one array and look at one key at the end.
 *
 * Threads: node_bound, node_find, node_version and node_same from any in an
 * epoch section; what they answer counts only if node_same says so after.
 * The rest: the directory's lock holder, between node_begin and node_end, or
 * on a node that is not yet in the tree.
 */
#ifndef ENGINE_KEYDIR_NODE_H
#define ENGINE_KEYDIR_NODE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "engine/keydir.h"
#include "engine/keydir_arena.h"

enum {
	NODE_SLOTS = 64,
	NODE_PREFIX_WORDS = 5,
	NODE_PREFIX_BYTES = NODE_PREFIX_WORDS * 8, /* of it kept inline */
	NODE_DEPTH_MAX = 16,
};

struct node {
	uint64_t version; /* odd: being changed, or no longer in the tree */
	uint16_t count;	  /* slots in use                                 */
	uint16_t level;	  /* 0: leaf. Never changes.                      */
	uint16_t prefix_bytes;
	uint16_t last_slot;  /* where the latest insert went                */
	uint32_t next, prev; /* leaves: neighbours, for the lock holder     */
	uint64_t prefix[NODE_PREFIX_WORDS]; /* big-endian, zeroes after it */
	uint32_t heads[NODE_SLOTS];
	uint32_t keys[NODE_SLOTS];
	uint32_t children[]; /* inner: NODE_SLOTS of them */
};
_Static_assert(sizeof(struct node) == 576, "memory bound per key");

/* A separator's bytes, in the arena of the keys. */
struct node_sep {
	uint16_t key_bytes;
	uint8_t key[];
};

struct keydir {
	struct arena *nodes, *keys;
	uint32_t root; /* a node; atomic */
	uint32_t last; /* the last leaf; the lock holder's */
	uint64_t count;
	uint32_t pins; /* any thread's, atomically */
	pthread_mutex_t lock;
};

static inline struct node *node_at(const struct keydir *kd, uint32_t ref)
{
	return arena_at(kd->nodes, ref);
}

static inline const struct keydir_entry *entry_at(const struct keydir *kd,
						  uint32_t ref)
{
	return arena_at(kd->keys, ref);
}

/* The first slot that has a key. */
static inline unsigned node_first(const struct node *n)
{
	return n->level ? 1 : 0;
}

static inline uint32_t node_units(unsigned level)
{
	return (sizeof(struct node) +
		(level ? NODE_SLOTS * sizeof(uint32_t) : 0)) /
	       ARENA_UNIT_BYTES;
}

static inline uint32_t entry_units(size_t key_bytes)
{
	return (uint32_t)((sizeof(struct keydir_entry) + key_bytes +
			   ARENA_UNIT_BYTES - 1) /
			  ARENA_UNIT_BYTES);
}

static inline uint32_t sep_units(size_t key_bytes)
{
	uint32_t units = (uint32_t)((sizeof(struct node_sep) + key_bytes +
				     ARENA_UNIT_BYTES - 1) /
				    ARENA_UNIT_BYTES);

	return units < ARENA_UNITS_MIN ? ARENA_UNITS_MIN : units;
}

/* The key that a slot of n with this key reference holds. */
static inline struct bytes node_key_at(const struct keydir *kd,
				       const struct node *n, uint32_t ref)
{
	const void *p = arena_at(kd->keys, ref);

	if (n->level) {
		const struct node_sep *s = p;

		return bytes_of(s->key, s->key_bytes);
	} else {
		const struct keydir_entry *e = p;

		return bytes_of(e->key, e->key_bytes);
	}
}

/* The key of slot i, for the lock holder. */
static inline struct bytes node_key(const struct keydir *kd,
				    const struct node *n, unsigned i)
{
	return node_key_at(kd, n, n->keys[i]);
}

/* For a reader: the version to compare with afterwards; odd: start again. */
static inline uint64_t node_version(const struct node *n)
{
	return __atomic_load_n(&n->version, __ATOMIC_ACQUIRE);
}

/* Whether all that was read of n since node_version holds together. */
static inline bool node_same(const struct node *n, uint64_t version)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&n->version, __ATOMIC_RELAXED) == version;
}

/* Ask for a node's lines at once instead of one after the other. */
static inline void node_prefetch(const struct node *n)
{
	for (size_t off = 0; off < sizeof(*n); off += 64)
		__builtin_prefetch((const char *)n + off);
}

static inline void node_begin(struct node *n)
{
	__atomic_store_n(&n->version, n->version + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static inline void node_end(struct node *n)
{
	__atomic_store_n(&n->version, n->version + 1, __ATOMIC_RELEASE);
}

/* Up to 8 bytes of key from off on, as a number, zeroes after its end. */
uint64_t node_word(struct bytes key, size_t off);

/* The head of key in a node with a prefix of that many bytes. */
static inline uint32_t node_head(struct bytes key, size_t prefix_bytes)
{
	if (__builtin_expect(key.n >= prefix_bytes + 4, 1))
		return get_be32(key.p + prefix_bytes);
	return (uint32_t)(node_word(key, prefix_bytes) >> 32);
}

/*
 * The first slot whose key is not below key (n's count if none), *equal when
 * it is key itself.
 */
unsigned node_bound(const struct keydir *kd, const struct node *n,
		    struct bytes key, bool *equal);

/* The entry of key in leaf n, or NULL. */
const struct keydir_entry *node_find(const struct keydir *kd,
				     const struct node *n, struct bytes key);

/* Make n an empty node of that level. */
void node_init(struct node *n, unsigned level);

/* Put a key (its reference too) and an inner node's child at slot i. */
void node_insert(const struct keydir *kd, struct node *n, unsigned i,
		 struct bytes key, uint32_t key_ref, uint32_t child);

/* Take slot i out. */
void node_remove(struct node *n, unsigned i);

/* Let slot i name another block with the same key. */
static inline void node_replace(struct node *n, unsigned i, uint32_t key_ref)
{
	__atomic_store_n(&n->keys[i], key_ref, __ATOMIC_RELEASE);
}

/*
 * Move the slots from i on to the new node right. Of inner nodes the answer is
 * the separator that stood there: it is now the one between the two.
 */
uint32_t node_split(const struct keydir *kd, struct node *n, unsigned i,
		    struct node *right);

/* Append all of right; sep: the separator between the two inner nodes. */
void node_join(const struct keydir *kd, struct node *n,
	       const struct node *right, uint32_t sep);

#endif
