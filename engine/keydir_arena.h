/*
 * engine/keydir_arena.h - blocks of memory named by 32-bit references.
 *
 * A reference is a chunk number and an offset in units of 8 bytes, so that the
 * key directory's nodes hold 4 bytes where a pointer takes 8. Chunks grow with
 * the arena from 4 KiB to 1 MiB; a chunk goes back to the heap when its last
 * block does. At most 32 GiB an arena.
 *
 * Threads: arena_at from any. arena_retire's second half runs on whatever
 * thread collects the epoch. All else: one thread at a time, the owner's lock.
 */
#ifndef ENGINE_KEYDIR_ARENA_H
#define ENGINE_KEYDIR_ARENA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/epoch.h"
#include "base/err.h"

enum {
	ARENA_UNIT_BYTES = 8,
	ARENA_UNITS_MIN = 2,
	ARENA_UNITS_MAX = 560, /* the largest entry: 24 + 4352 bytes */
	ARENA_CHUNK_UNITS_MAX = (1 << 17),
	ARENA_CHUNKS_MAX = (1 << 15),
};

struct arena_chunk;

struct arena {
	/*
	 * Chunk number -> memory. Replaced by a larger copy when full; the old
	 * ones are kept, since readers may still use them (together they are
	 * smaller than the present one).
	 */
	uint8_t **table;

	/* All below: the owner's. */
	struct epoch *readers;
	struct arena_chunk *chunks; /* as many as the table has room for */
	uint32_t chunk_room;
	uint32_t chunk_count; /* numbers ever used                       */
	uint32_t chunk_free;  /* list of unused numbers below that, or none */
	uint32_t current;     /* the chunk being filled, or none         */
	uint32_t align_units; /* every block is a multiple of this       */
	uint8_t **old_tables; /* linked through their last element       */
	uint64_t retired;     /* blocks handed to arena_retire           */
	uint64_t used_units;
	uint32_t lists[ARENA_UNITS_MAX + 1]; /* free blocks by size      */
	uint64_t list_map[(ARENA_UNITS_MAX + 64) / 64];

	/* Any thread's, atomically. */
	uint64_t held_bytes;
	uint32_t returned;     /* list of retired blocks that are free now */
	int64_t returned_left; /* see arena_free                           */
};

/*
 * An empty arena whose blocks are aligned to align_bytes, a power of two from
 * 8 to 64; sizes are multiples of it. readers is kept. ERR_NOMEM: none made.
 */
MUST_CHECK enum err arena_new(struct epoch *readers, unsigned align_bytes,
			      struct arena **a);

/*
 * Release a and all its blocks; if some are still waiting in the epoch, when
 * the last of them comes back. NULL is accepted.
 */
void arena_free(struct arena *a);

/*
 * A block of at least units * 8 bytes, content undefined; 0 is never a
 * reference. units: ARENA_UNITS_MIN..ARENA_UNITS_MAX. ERR_NOMEM: no change.
 */
MUST_CHECK enum err arena_alloc(struct arena *a, uint32_t units, uint32_t *ref);

/* Take back a block of that many units that no reader has ever seen. */
void arena_release(struct arena *a, uint32_t ref, uint32_t units);

/*
 * Take back a block once no reader can see it. When the epoch has no memory
 * to remember it, the block stays out of use until arena_free.
 */
void arena_retire(struct arena *a, uint32_t ref, uint32_t units);

/* Put what readers have let go of back to use, freeing emptied chunks. */
void arena_harvest(struct arena *a);

/* Bytes taken from the heap. Thread: any. */
uint64_t arena_held_bytes(const struct arena *a);

/* Bytes in blocks that are in use or wait for readers. */
uint64_t arena_used_bytes(const struct arena *a);

/*
 * The memory of ref, which must be a block that the caller may see: it holds
 * the lock or is in an epoch section and got ref with an acquiring load.
 */
static inline void *arena_at(const struct arena *a, uint32_t ref)
{
	uint8_t **table = __atomic_load_n(&a->table, __ATOMIC_ACQUIRE);
	uint8_t *chunk = __atomic_load_n(&table[ref >> 17], __ATOMIC_RELAXED);

	return chunk +
	       (uint64_t)(ref & (ARENA_CHUNK_UNITS_MAX - 1)) * ARENA_UNIT_BYTES;
}

#endif
