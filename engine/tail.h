/*
 * engine/tail.h - what of a partition's log is not settled, and its terms.
 *
 * Two small structures of one partition. struct terms tells the term of any
 * index of the log (a term changes rarely, so it is a list of steps); it
 * decides which of two entries at one index is alive, by Raft's own rule: a
 * record (i, t) kills what stands at i and after it only if the entry at i has
 * another term. struct tail tells where each entry above the applied index
 * lies, and the newest below it as long as there is room: a peer that is a
 * little behind asks for those. Neither locks: thread writer.
 */
#ifndef ENGINE_TAIL_H
#define ENGINE_TAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct term_step {
	/* Up to the next step's first_index - 1. Term 0: not known (yet).    */
	uint64_t first_index, term;
};

struct terms {
	struct term_step *steps;
	uint32_t count, cap;
	uint64_t last_index; /* of the log; 0: empty */
	uint64_t floor;	     /* entries up to it are settled, never replaced */
	uint64_t floor_term; /* of the entry at floor; 0: none or unknown    */
};

/* What is known of the log below and at floor: last_index is floor. */
void terms_reset(struct terms *t, uint64_t floor, uint64_t floor_term);
/* A copy of t in *copy, uninitialised before; terms_done frees it. ERR_NOMEM. */
MUST_CHECK enum err terms_copy(const struct terms *t, struct terms *copy);
/* Free the steps; t is empty afterwards. */
void terms_done(struct terms *t);

/* The term of the entry at index >= floor; 0: unknown or past last_index. */
uint64_t terms_at(const struct terms *t, uint64_t index);

/*
 * Entries first..last of one term stand next in the stream. Those up to floor
 * change nothing. An entry with the same term as the one that stands at its
 * index changes nothing either; with another term it ends the log there.
 * first may lie behind last_index + 1: what is between is not known.
 * again: they are copies of what stood there when they were written, so one
 * at an index whose entry is not known fills the gap and kills nothing; one
 * that is no copy ends the log there.
 * *cut: the first index that was killed, 0 when none.
 * ERR_NOMEM, ERR_CORRUPT (a term of 0): unchanged.
 */
MUST_CHECK enum err terms_add(struct terms *t, uint64_t first, uint64_t last,
			      uint64_t term, bool again, uint64_t *cut);

/* The log ends before first, which lies above floor. */
void terms_cut(struct terms *t, uint64_t first);

/* True: a record (index, term) found in the log is part of it. */
bool terms_live(const struct terms *t, uint64_t index, uint64_t term);

/* True: all of the records (first..last, term) are part of it. */
bool terms_live_range(const struct terms *t, uint64_t first, uint64_t last,
		      uint64_t term);

struct tail_entry {
	uint64_t term;
	uint64_t loc; /* of its first record, flags 0              */
	uint64_t stamp_ns;
	uint32_t bytes;	  /* of all its records                        */
	uint32_t records; /* 0: a gap, no entry is there         */
};

/* A ring of the entries first_index .. first_index + count - 1. */
struct tail {
	struct tail_entry *ring;
	uint64_t cap; /* a power of two, or 0 */
	uint64_t first_index, count;
};

/* Free the ring; t is empty afterwards. */
void tail_done(struct tail *t);

/*
 * Room for one more entry. Entries up to settled are only remembered: they
 * make room once the ring holds keep entries. ERR_NOMEM: unchanged.
 */
MUST_CHECK enum err tail_reserve(struct tail *t, uint64_t settled,
				 uint64_t keep);

/* Make an empty tail one gap from first to last. ERR_NOMEM. */
MUST_CHECK enum err tail_gap(struct tail *t, uint64_t first, uint64_t last);

/* Put e at index: at most one behind the last. Room was reserved. */
void tail_set(struct tail *t, uint64_t index, const struct tail_entry *e);

/* Forget the entries from index on. */
void tail_cut(struct tail *t, uint64_t index);

/* The entry at index, or NULL (a gap too). Valid until the next change. */
const struct tail_entry *tail_at(const struct tail *t, uint64_t index);

#endif
