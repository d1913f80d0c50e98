/*
 * engine/readback.h - private to engine/: reading the log back for peers.
 *
 * Recent entries have their place in the tail. An older one is looked for in
 * the segments from a mark on; what is met on the way is remembered in a
 * window, for a peer that asks for one asks for the next.
 */
#ifndef ENGINE_READBACK_H
#define ENGINE_READBACK_H

#include "engine/engine_internal.h"
#include "engine/replica.h"

enum {
	READBACK_WINDOWS = 8, /* peers that read old entries at a time      */
	READBACK_ENTRIES = 256,
	/* Settled entries that the tails remember: of one, of all together. */
	READBACK_TAIL_MAX = 8192,
	READBACK_TAIL_MIN = 64,
	READBACK_TAILS_MAX = 1 << 20,
};

/* How many settled entries each of so many tails remembers. */
uint64_t readback_tail_keep(uint32_t partitions);

/*
 * Where the entry lies: recent, or looked for in the segments. *t is copied.
 * ERR_NOT_FOUND: no readable record of it is there. ERR_IO, ERR_NOMEM.
 */
MUST_CHECK enum err readback_find(struct engine *e, uint16_t partition,
				  uint64_t index, struct tail_entry *t);

/*
 * Read the entry that t points at into le and decode it. ERR_CORRUPT: its
 * bytes are damaged, or are not this entry; *df_off tells nothing then.
 */
MUST_CHECK enum err readback_read(struct engine *e, uint16_t partition,
				  uint64_t index, const struct tail_entry *t,
				  struct engine_log_entry *le);

/* Places remembered for the partition from index on are no more true. */
void readback_forget(struct engine *e, uint16_t partition);

/* Free the windows. */
void readback_done(struct engine *e);

#endif
