/*
 * store/pending.h - what was appended and is not applied yet.
 *
 * An ordered overlay over the key directory of one partition: for each key
 * that an entry after the applied index writes, the state it will have, and
 * the prefixes that such entries delete. Decisions look here first (rule 4 of
 * docs/architecture.md: the log holds outcomes, not conditions).
 *
 * The changes of one write are made first and kept (pending_keep) once its
 * entry is appended, or taken back (pending_rollback).
 * Thread: core.
 */
#ifndef STORE_PENDING_H
#define STORE_PENDING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum { PENDING_LEVELS = 12, PENDING_SMALL_BYTES = 32 };

struct pending_state {
	bool present;
	uint16_t position;		    /* of its record in the entry */
	unsigned flags;			    /* enum loc_flags */
	uint64_t index;			    /* entry that set it */
	uint64_t bytes;			    /* of the value, logical */
	uint64_t content_id, content_shape; /* of a content reference */
	uint64_t expiry_ns, mtime_ns;
	/*
	 * The record's attributes. Given to pending_set they are copied; in a
	 * state of the overlay valid until that key is set again.
	 */
	struct bytes attrs;
	uint8_t small[PENDING_SMALL_BYTES]; /* private */
};

struct pending_node {
	struct pending_state state;
	bool set; /* false: taken back, as if it were not here */
	uint8_t levels;
	uint16_t key_bytes;
	struct pending_node *next[]; /* levels of them, then the key */
};

struct pending_undo {
	struct pending_node *node;
	struct pending_state state;
	bool set;
};

struct pending_range {
	uint64_t index;
	size_t prefix_bytes;
	uint8_t prefix[];
};

struct pending {
	struct pending_node *head[PENDING_LEVELS];
	uint64_t last_index; /* the highest that any state has */
	uint32_t random;
	struct pending_range **ranges;
	uint32_t range_count, range_cap, range_kept;
	struct pending_undo *undo;
	uint32_t undo_count, undo_cap;
};

/* An empty overlay in the caller's memory; holds no memory yet. */
void pending_init(struct pending *p);

/* Release everything. */
void pending_done(struct pending *p);

/* The state key will have, or NULL when no entry names it alone. */
const struct pending_state *pending_get(const struct pending *p,
					struct bytes key);

/* The prefix deletion that covers key, or NULL. A key's own state wins. */
const struct pending_range *pending_covering(const struct pending *p,
					     struct bytes key);

/* Key will have state. ERR_NOMEM: nothing changed. */
MUST_CHECK enum err pending_set(struct pending *p, struct bytes key,
				const struct pending_state *state);

/* All keys that begin with prefix will be gone. ERR_NOMEM: rollback. */
MUST_CHECK enum err pending_set_prefix(struct pending *p, struct bytes prefix,
				       uint64_t index);

/* The changes since the last keep or rollback stay; or are taken back. */
void pending_keep(struct pending *p);
void pending_rollback(struct pending *p);

/* Entries up to index are applied: forget what they set. */
void pending_applied(struct pending *p, uint64_t index);

/* In key order from the first key >= key; NULL: the end. */
const struct pending_node *pending_seek(const struct pending *p,
					struct bytes key);
const struct pending_node *pending_next(const struct pending_node *node);
struct bytes pending_key(const struct pending_node *node);

#endif
