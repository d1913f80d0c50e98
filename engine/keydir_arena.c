/*
 * engine/keydir_arena.c - chunks, size-class free lists, blocks in limbo.
 *
 *	reference   31 ......... 17  16 ............ 0
 *	            chunk number     offset / 8 bytes
 *
 * A chunk is filled from its start; a block that comes back is linked into
 * the list of its exact size, through its own memory, both ways, so that all
 * blocks of a chunk can be unlinked when the chunk has none left in use. When
 * the present chunk is full, its rest becomes a free block, and before another
 * chunk is taken a larger free block is split. Blocks are not joined again:
 * keys of a few sizes come and go, and emptied chunks are given back whole.
 *
 * A retired block travels: arena_retire -> epoch -> give_back (any thread,
 * pushes it on `returned`) -> arena_harvest (the owner) -> free list.
 */
#include "engine/keydir_arena.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

enum {
	CHUNK_UNITS_MIN = 512, /* 4 KiB */
	CHUNK_ALIGN_BYTES = 64,
	FIRST_TABLE_ROOM = 16,
	HEAP_OVERHEAD_BYTES = 64, /* of malloc and alignment, per chunk */
};

#define NO_CHUNK UINT32_MAX

struct arena_chunk {
	uint32_t units;	     /* 0: the number is not in use            */
	uint32_t filled;     /* units handed out from the start        */
	uint32_t used_units; /* in blocks that are in use or in limbo  */
	uint32_t next_free;  /* when not in use: the next such number  */
};

/* What a free block says of itself. */
struct free_block {
	uint32_t next, prev; /* in its list; 0: none */
	uint32_t units;
};
_Static_assert(sizeof(struct free_block) <= ARENA_UNITS_MIN * ARENA_UNIT_BYTES,
	       "the smallest block has room to be a free one");

static struct free_block *free_at(const struct arena *a, uint32_t ref)
{
	return arena_at(a, ref);
}

static struct arena_chunk *chunk_of(const struct arena *a, uint32_t ref)
{
	CHECK(ref >> 17 < a->chunk_count);
	return &a->chunks[ref >> 17];
}

static void link_free(struct arena *a, uint32_t ref, uint32_t units)
{
	struct free_block *b = free_at(a, ref);

	b->next = a->lists[units];
	b->prev = 0;
	b->units = units;
	if (b->next)
		free_at(a, b->next)->prev = ref;
	a->lists[units] = ref;
	a->list_map[units / 64] |= UINT64_C(1) << units % 64;
}

static void unlink_free(struct arena *a, uint32_t ref)
{
	struct free_block *b = free_at(a, ref);
	uint32_t units = b->units;

	if (b->next)
		free_at(a, b->next)->prev = b->prev;
	if (b->prev)
		free_at(a, b->prev)->next = b->next;
	else
		a->lists[units] = b->next;
	if (!a->lists[units])
		a->list_map[units / 64] &= ~(UINT64_C(1) << units % 64);
}

/* The smallest size from units up that has a free block, or 0. */
static uint32_t find_size(const struct arena *a, uint32_t units)
{
	uint32_t w = units / 64;
	uint64_t bits = a->list_map[w] & ~UINT64_C(0) << units % 64;

	while (!bits) {
		if (++w == sizeof(a->list_map) / sizeof(a->list_map[0]))
			return 0;
		bits = a->list_map[w];
	}
	return w * 64 + (uint32_t)__builtin_ctzll(bits);
}

/* Unit 0 of chunk 0 is never handed out: no reference is 0. */
static uint32_t first_unit(const struct arena *a, uint32_t chunk)
{
	return chunk == 0 ? a->align_units : 0;
}

static uint64_t heap_bytes(uint32_t units)
{
	return (uint64_t)units * ARENA_UNIT_BYTES;
}

static void add_held(struct arena *a, int64_t bytes)
{
	__atomic_store_n(&a->held_bytes, a->held_bytes + (uint64_t)bytes,
			 __ATOMIC_RELAXED);
}

static enum err grow_table(struct arena *a)
{
	uint32_t room = a->chunk_room ? a->chunk_room * 2 : FIRST_TABLE_ROOM;
	uint8_t **table = calloc(room + 1, sizeof(*table));
	struct arena_chunk *chunks;

	if (!table)
		return ERR_NOMEM;
	chunks = realloc(a->chunks, room * sizeof(*chunks));
	if (!chunks) {
		free(table);
		return ERR_NOMEM;
	}
	a->chunks = chunks;
	if (a->table) {
		memcpy(table, a->table, a->chunk_room * sizeof(*table));
		a->table[a->chunk_room] = (uint8_t *)a->old_tables;
		a->old_tables = a->table;
	}
	add_held(a, (int64_t)((room + 1) * sizeof(*table) +
			      (room - a->chunk_room) * sizeof(*chunks)));
	a->chunk_room = room;
	__atomic_store_n(&a->table, table, __ATOMIC_RELEASE);
	return OK;
}

/* A sixteenth of what is held, within the bounds, a power of two. */
static uint32_t next_chunk_units(const struct arena *a)
{
	uint64_t want = a->held_bytes / ARENA_UNIT_BYTES / 16;
	uint32_t units = CHUNK_UNITS_MIN;

	while (units < want && units < ARENA_CHUNK_UNITS_MAX)
		units *= 2;
	return units;
}

/* Make a new chunk the present one. */
static enum err add_chunk(struct arena *a, uint32_t units_needed)
{
	uint32_t units = next_chunk_units(a);
	uint32_t n = a->chunk_free;
	uint8_t *p;
	enum err err;

	while (units < units_needed + a->align_units)
		units *= 2;
	if (n == NO_CHUNK && a->chunk_count == ARENA_CHUNKS_MAX)
		return ERR_NOMEM;
	if (n == NO_CHUNK && a->chunk_count == a->chunk_room) {
		err = grow_table(a);
		if (err)
			return err;
	}
	/* The largest fill whole pages together with malloc's header. */
	if (units == ARENA_CHUNK_UNITS_MAX)
		units -= 2 * HEAP_OVERHEAD_BYTES / ARENA_UNIT_BYTES;
	p = aligned_alloc(CHUNK_ALIGN_BYTES, heap_bytes(units));
	if (!p)
		return ERR_NOMEM;
	if (n == NO_CHUNK)
		n = a->chunk_count++;
	else
		a->chunk_free = a->chunks[n].next_free;
	a->chunks[n] = (struct arena_chunk){ .units = units,
					     .filled = first_unit(a, n) };
	__atomic_store_n(&a->table[n], p, __ATOMIC_RELAXED);
	add_held(a, (int64_t)(heap_bytes(units) + HEAP_OVERHEAD_BYTES));
	a->current = n;
	return OK;
}

/* Unlink all blocks of a chunk that are all free. */
static void unlink_chunk(struct arena *a, uint32_t n)
{
	uint32_t unit = first_unit(a, n);

	while (unit < a->chunks[n].filled) {
		uint32_t ref = n << 17 | unit;

		unit += free_at(a, ref)->units;
		unlink_free(a, ref);
	}
	CHECK(unit == a->chunks[n].filled);
}

/* Nothing of chunk n is in use: empty it, give it back unless present. */
static void drop_chunk(struct arena *a, uint32_t n)
{
	struct arena_chunk *c = &a->chunks[n];

	CHECK(c->used_units == 0);
	unlink_chunk(a, n);
	if (n == a->current) {
		c->filled = first_unit(a, n);
		return;
	}
	free(a->table[n]);
	__atomic_store_n(&a->table[n], NULL, __ATOMIC_RELAXED);
	add_held(a, -(int64_t)(heap_bytes(c->units) + HEAP_OVERHEAD_BYTES));
	c->units = 0;
	c->next_free = a->chunk_free;
	a->chunk_free = n;
}

/* What is left of the present chunk becomes a free block. */
static void close_chunk(struct arena *a)
{
	uint32_t n = a->current;
	struct arena_chunk *c;
	uint32_t rest;

	if (n == NO_CHUNK)
		return;
	a->current = NO_CHUNK;
	c = &a->chunks[n];
	if (c->used_units == 0) {
		drop_chunk(a, n);
		return;
	}
	rest = c->units - c->filled;
	CHECK(rest <= ARENA_UNITS_MAX);
	if (rest >= ARENA_UNITS_MIN) {
		link_free(a, n << 17 | c->filled, rest);
		c->filled = c->units;
	}
}

static uint32_t take_listed(struct arena *a, uint32_t units)
{
	uint32_t ref = a->lists[units];

	unlink_free(a, ref);
	return ref;
}

/* From the rest of the present chunk, or 0. */
static uint32_t take_fresh(struct arena *a, uint32_t units)
{
	struct arena_chunk *c;
	uint32_t ref;

	if (a->current == NO_CHUNK)
		return 0;
	c = &a->chunks[a->current];
	if (c->units - c->filled < units)
		return 0;
	ref = a->current << 17 | c->filled;
	c->filled += units;
	return ref;
}

/* From a larger free block, whose rest stays a free block, or 0. */
static uint32_t take_split(struct arena *a, uint32_t units)
{
	uint32_t least = a->align_units > ARENA_UNITS_MIN ? a->align_units
							  : ARENA_UNITS_MIN;
	uint32_t size, ref;

	if (units + least > ARENA_UNITS_MAX)
		return 0;
	size = find_size(a, units + least);
	if (!size)
		return 0;
	ref = take_listed(a, size);
	link_free(a, ref + units, size - units);
	return ref;
}

/* The epoch's callback: push the block for the owner to find. */
static void give_back(void *ctx, uint64_t ref_units)
{
	struct arena *a = ctx;
	uint32_t ref = (uint32_t)ref_units;
	struct free_block *b = free_at(a, ref);

	b->units = (uint32_t)(ref_units >> 32);
	b->next = __atomic_load_n(&a->returned, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&a->returned, &b->next, ref, true,
					    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		;
	if (__atomic_add_fetch(&a->returned_left, 1, __ATOMIC_ACQ_REL) == 0)
		arena_free(a);
}

enum err arena_new(struct epoch *readers, unsigned align_bytes,
		   struct arena **out)
{
	struct arena *a = calloc(1, sizeof(*a));

	CHECK(align_bytes % ARENA_UNIT_BYTES == 0);
	CHECK(align_bytes <= CHUNK_ALIGN_BYTES);
	if (!a)
		return ERR_NOMEM;
	a->readers = readers;
	a->chunk_free = NO_CHUNK;
	a->current = NO_CHUNK;
	a->align_units = align_bytes / ARENA_UNIT_BYTES;
	add_held(a, sizeof(*a));
	*out = a;
	return OK;
}

/*
 * While the arena lives, returned_left counts up the blocks that came back;
 * taking off those that were retired makes it minus the number still to come,
 * and whoever brings it to 0 (the owner here, or the last give_back) frees.
 */
void arena_free(struct arena *a)
{
	uint8_t **table;

	if (!a)
		return;
	if (a->retired) {
		int64_t retired = (int64_t)a->retired;

		a->retired = 0;
		if (__atomic_sub_fetch(&a->returned_left, retired,
				       __ATOMIC_ACQ_REL) != 0)
			return;
	}
	for (uint32_t i = 0; i < a->chunk_count; i++)
		free(a->table[i]);
	while ((table = a->old_tables)) {
		a->chunk_room /= 2; /* each table doubled the one before */
		a->old_tables = (uint8_t **)table[a->chunk_room];
		free(table);
	}
	free(a->table);
	free(a->chunks);
	free(a);
}

enum err arena_alloc(struct arena *a, uint32_t units, uint32_t *out)
{
	uint32_t ref;
	enum err err;

	CHECK(units >= ARENA_UNITS_MIN && units <= ARENA_UNITS_MAX);
	DCHECK(units % a->align_units == 0);
	if (!a->lists[units])
		arena_harvest(a);
	if (a->lists[units]) {
		ref = take_listed(a, units);
	} else if (!(ref = take_fresh(a, units)) &&
		   !(ref = take_split(a, units))) {
		close_chunk(a);
		err = add_chunk(a, units);
		if (err)
			return err;
		ref = take_fresh(a, units);
	}
	CHECK(ref != 0);
	chunk_of(a, ref)->used_units += units;
	a->used_units += units;
	*out = ref;
	return OK;
}

void arena_release(struct arena *a, uint32_t ref, uint32_t units)
{
	struct arena_chunk *c = chunk_of(a, ref);

	CHECK(c->used_units >= units);
	c->used_units -= units;
	a->used_units -= units;
	link_free(a, ref, units);
	if (c->used_units == 0)
		drop_chunk(a, ref >> 17);
}

void arena_retire(struct arena *a, uint32_t ref, uint32_t units)
{
	a->retired++;
	/* Without memory to remember it the block is lost until arena_free. */
	if (epoch_retire(a->readers, give_back, a, (uint64_t)units << 32 | ref))
		a->retired--;
}

void arena_harvest(struct arena *a)
{
	uint32_t ref;

	if (!__atomic_load_n(&a->returned, __ATOMIC_RELAXED))
		return;
	ref = __atomic_exchange_n(&a->returned, 0, __ATOMIC_ACQUIRE);
	while (ref) {
		struct free_block *b = free_at(a, ref);
		uint32_t next = b->next;

		arena_release(a, ref, b->units);
		ref = next;
	}
}

uint64_t arena_held_bytes(const struct arena *a)
{
	return __atomic_load_n(&a->held_bytes, __ATOMIC_RELAXED);
}

uint64_t arena_used_bytes(const struct arena *a)
{
	return a->used_units * ARENA_UNIT_BYTES;
}
