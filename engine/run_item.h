/*
 * engine/run_item.h - the packed item of a run, in memory and in hint files.
 *
 * Private to run.c and hint.c: a hint is loaded by pointing a run at its
 * bytes, so the layout in memory is the layout on disk.
 *
 *  off  size  packed item, little-endian, 8-aligned
 *    0     8  version
 *    8     8  loc
 *   16     4  key_off      of the key in the run's key pool
 *   20     4  value_bytes  logical
 *   24     8  packed:  63..42 disk_bytes / 8
 *                      41..29 key_bytes
 *                      28..13 attr_bytes
 *                      12..5  zero
 *                       4     an own term follows the key
 *                       3     an expiry follows the key (before the term)
 *                       2..0  type
 *
 * The pool holds the keys one behind the other. Behind a key come, when its
 * item says so, its expiry (8 bytes) and its term (8 bytes; without it the
 * term is the run's base term). The item of an empty key (a range tombstone
 * over everything) owns at least one pool byte, so that offsets tell the
 * order of adding.
 */
#ifndef ENGINE_RUN_ITEM_H
#define ENGINE_RUN_ITEM_H

#include <stdint.h>

#include "engine/record.h"
#include "engine/run.h"

struct packed_item {
	uint64_t version;
	uint64_t loc;
	uint32_t key_off;
	uint32_t value_bytes;
	uint64_t packed;
};
_Static_assert(sizeof(struct packed_item) == 32, "hint format 1");

enum {
	PACKED_TYPE_MASK = 7,
	PACKED_EXPIRY = 8,
	PACKED_TERM = 16,
	PACKED_ZERO_MASK = 0x1fe0,
	PACKED_ATTR_SHIFT = 13,
	PACKED_KEY_SHIFT = 29,
	PACKED_DISK_SHIFT = 42,
	RUN_POOL_TAIL_BYTES = 8, /* readable behind the pool's last byte     */
};
_Static_assert(RECORD_TYPE_MAX - 1 <= PACKED_TYPE_MASK, "3 bits of type");
_Static_assert(RECORD_KEY_BYTES_MAX < 1 << 13, "13 bits of key length");

#define RUN_POOL_BYTES_MAX 0xffffffffull

struct run {
	struct packed_item *items;
	uint64_t count, item_cap;
	uint8_t *keys; /* the pool, with RUN_POOL_TAIL_BYTES of room behind  */
	uint64_t keys_bytes, keys_cap;
	uint64_t base_term;
	bool sorted;
	bool borrowed; /* items and keys lie in a hint's buffer              */
};

static inline uint32_t packed_key_bytes(const struct packed_item *it)
{
	return it->packed >> PACKED_KEY_SHIFT & 0x1fff;
}

static inline unsigned packed_type(const struct packed_item *it)
{
	return it->packed & PACKED_TYPE_MASK;
}

/* Bytes of the pool that belong to the item. */
static inline uint32_t packed_pool_bytes(const struct packed_item *it)
{
	uint32_t n = packed_key_bytes(it);

	n += it->packed & PACKED_EXPIRY ? 8 : 0;
	n += it->packed & PACKED_TERM ? 8 : 0;
	return n ? n : 1;
}

static inline struct bytes packed_key(const struct run *run,
				      const struct packed_item *it)
{
	return bytes_of(run->keys + it->key_off, packed_key_bytes(it));
}

#endif
