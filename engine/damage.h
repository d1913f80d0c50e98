/*
 * engine/damage.h - what is known to be damaged, and what was put back.
 *
 * Private to engine/. Two kinds: entries that are not settled (their place in
 * the tail is a gap, or is marked LOC_DAMAGED), and settled keys, which any
 * thread may meet and which wait here for engine_damaged_take.
 */
#ifndef ENGINE_DAMAGE_H
#define ENGINE_DAMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "engine/loc.h"

enum { DAMAGE_KEYS_MAX = 256 /* known and not yet taken; more are dropped */ };

struct engine;
struct partition;
struct engine_damaged;

/* A settled record that was appended again and is not pointed at yet. */
struct heal {
	uint64_t version, loc, bytes;
	uint32_t key_bytes;
	uint16_t partition;
	uint8_t *key; /* owned */
};

struct damage {
	struct engine_damaged *keys[DAMAGE_KEYS_MAX]; /* stats_lock */
	uint32_t key_count;
	struct heal *heals; /* writer */
	uint32_t heal_count, heal_cap;
};

/* A settled key cannot be read here. Thread: any. */
void damage_note_key(struct engine *e, uint16_t partition, uint64_t version,
		     struct bytes key);

/* The bytes of the unsettled entry at index cannot be read. Thread: writer. */
void damage_note_entry(struct partition *p, uint64_t index);

/* Look for the lowest such entry again. Thread: writer, or opening. */
void damage_find_missing(struct partition *p);

/* Free what is remembered. */
void damage_done(struct engine *e);

#endif
