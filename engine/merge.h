/*
 * engine/merge.h - merge, which is compaction: some files into fewer.
 *
 * Inputs are the first segments of the log, or merged files of partitions, or
 * both; outputs are merged files with hints, about segment_bytes each. Every
 * live record is copied with its version, term, stamps and attributes; what
 * the key directory does not point at stays behind. Private to engine/.
 *
 * Thread: keeper. An aborted merge never touched its inputs.
 */
#ifndef ENGINE_MERGE_H
#define ENGINE_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/datafile.h"

struct engine;
struct merge;

/* Up to index the entries of a partition in a segment count. */
struct merge_last {
	uint64_t index;
	uint16_t partition;
};

/* One input. Log segments come first, in stream order, from the first on. */
struct merge_input {
	struct datafile *df;
	uint64_t last_sequence; /* log: of its last frame, 0 unknown         */
	/*
	 * Log: by partition, ascending, what was settled in it. What is above
	 * was appended again elsewhere, and is not looked at here.
	 */
	const struct merge_last *lasts;
	uint32_t last_count;
};

/*
 * Begin. inputs are copied, their files pinned until merge_free. All entries
 * of the log segments are settled, and no other segment holds entries at or
 * below theirs that readers use. A partition for which a snapshot is installed
 * meanwhile is left out of what this merge changes.
 * ERR_NOMEM. ERR_BUSY: a merged file among them is listed no more.
 */
MUST_CHECK enum err merge_new(struct engine *e,
			      const struct merge_input *inputs,
			      uint32_t input_count, struct merge **m);

enum merge_state {
	MERGE_MORE, /* call again                                           */
	MERGE_WAIT, /* the writer has to sync first; call again later       */
	MERGE_DONE, /* the inputs are out of manifest and file table        */
};

/*
 * One bounded step; *moved_bytes is what it read and wrote. An error before
 * the switch ends the merge: call merge_free. After the switch it does not:
 * call again later. ERR_CORRUPT: *bad is an input that cannot be merged
 * because something in it is unreadable. ERR_NOSPC, ERR_IO, ERR_NOMEM.
 */
MUST_CHECK enum err merge_step(struct merge *m, uint64_t *moved_bytes,
			       enum merge_state *state, struct datafile **bad);

/* True: the manifest names the outputs; only going on is possible. */
bool merge_switched(const struct merge *m);

/*
 * The i-th input, for the caller to close after MERGE_DONE; NULL: an install
 * took it from the partition before the merge could. False: no more.
 */
bool merge_input(const struct merge *m, uint32_t i, struct datafile **df);

/* The i-th output and the bytes of its tombstones. False: no more. */
bool merge_output(const struct merge *m, uint32_t i, uint32_t *file_id,
		  uint64_t *kept_bytes);

/*
 * Release. Before the switch: outputs are removed, everything is as it was.
 * After it only when MERGE_DONE was told, or when the engine closes: then the
 * next open removes the inputs. NULL is accepted.
 */
void merge_free(struct merge *m);

#endif
