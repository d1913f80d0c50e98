/*
 * store/ring.c - which partition a key lies in.
 *
 * The first path component of a key (all of it, without a slash) hashes to one
 * of 2^16 slots; a table says which partition a slot belongs to. The table is
 * written once, into partition 0, when the store is made, and read at every
 * later start, so that a change of how it is filled moves no key. It is filled
 * by rendezvous hashing (Thaler and Ravishankar 1998): each slot goes to the
 * partition whose hash with it is highest, which moves the least when a
 * partition is added.
 *
 * The hash is part of the format: FNV-1a over the component, then the
 * finaliser of splitmix64. With one partition there is no table.
 */
#include <stdlib.h>

#include "store/hidden.h"
#include "store/keyrules.h"
#include "store/store_internal.h"

static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9;
	x ^= x >> 27;
	x *= 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* Which slot the top component of a key falls into. */
static uint32_t ring_slot(struct bytes key)
{
	struct bytes top = key_top(key);
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < top.n; i++)
		h = (h ^ top.p[i]) * 0x100000001b3;
	return (uint32_t)(mix(h) & (RING_SLOTS - 1));
}

static uint16_t fill_slot(uint32_t slot, uint32_t partitions)
{
	uint64_t best = 0;
	uint32_t owner = 0;

	for (uint32_t p = 0; p < partitions; p++) {
		uint64_t h = mix(mix(slot + 1) ^ mix((uint64_t)p + 1) << 1);

		if (h > best) {
			best = h;
			owner = p;
		}
	}
	return (uint16_t)owner;
}

enum err ring_found(struct store *s)
{
	size_t n = RING_SLOTS * sizeof(uint16_t);
	struct engine_record *r;
	struct engine_info info;
	uint8_t *slots;

	if (s->partition_count == 1 ||
	    engine_peek(s->engine, 0, ring_key(), &info) == OK)
		return OK;
	slots = entry_room(&s->entry, n);
	r = entry_record(&s->entry);
	if (!slots || !r)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < RING_SLOTS; i++)
		put_u16(slots + 2 * i, fill_slot(i, s->partition_count));
	r->type = RECORD_PUT;
	r->key = ring_key();
	r->value = bytes_of(slots, n);
	return OK;
}

static enum err read_table(struct store *s, uint16_t *slots)
{
	struct engine_value v;
	enum err err;

	err = engine_get(s->engine, 0, ring_key(), ENGINE_VERIFY, &v);
	if (err)
		return err;
	if (v.value.n != RING_SLOTS * sizeof(*slots))
		err = ERR_CORRUPT;
	else
		memcpy(slots, v.value.p, v.value.n);
	engine_value_done(&v);
	for (uint32_t i = 0; i < RING_SLOTS && !err; i++) {
		if (slots[i] >= s->partition_count)
			err = ERR_CORRUPT;
	}
	return err;
}

enum err ring_read(struct store *s)
{
	uint16_t *slots;
	enum err err;

	if (s->partition_count == 1 || s->slots)
		return OK;
	slots = malloc(RING_SLOTS * sizeof(*slots));
	if (!slots)
		return ERR_NOMEM;
	err = read_table(s, slots);
	if (err)
		free(slots);
	else
		s->slots = slots;
	return err;
}

uint32_t store_partition_of(const struct store *s, struct bytes key)
{
	return s->slots ? s->slots[ring_slot(key)] : 0;
}
