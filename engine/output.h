/*
 * engine/output.h - a merged file being made, together with its hint.
 *
 * What merge writes, and what an installed snapshot is built of: records of
 * one partition in any order in a file of their own, the hint beside it.
 * Private to engine/. Thread: one at a time for each output.
 */
#ifndef ENGINE_OUTPUT_H
#define ENGINE_OUTPUT_H

#include "engine/engine_internal.h"
#include "engine/run.h"

enum { OUTPUT_RUN_ITEMS_MAX = 4 << 20 };

/* The caller's memory, zeroed: not open. */
struct output {
	struct engine *e;
	struct datafile_maker *maker; /* NULL: not open                      */
	uint32_t file_id;
	struct run *run;
	uint64_t kept_bytes; /* of records that are no PUT                   */
	uint64_t config_version, config_loc;
	uint64_t first_index, last_index, last_term, last_stamp_ns;
};

/* Begin a file of partition. Takes keep_lock. ERR_NOSPC, ERR_IO, ERR_NOMEM. */
MUST_CHECK enum err output_open(struct engine *e, uint16_t partition,
				struct output *o);

/* Would r make the open file larger than a segment, or its run too long? */
bool output_is_full(const struct output *o, const struct record *r);

/* Append r (its flags without RECORD_LAST). After an error: abandon. */
MUST_CHECK enum err output_add(struct output *o, const struct record *r);

/*
 * Finish file and hint: both are synced and have their names. o is closed,
 * whatever the result; on an error nothing of it is left.
 */
MUST_CHECK enum err output_seal(struct output *o, struct datafile **df);

/* Give up what is open. */
void output_abandon(struct output *o);

/* Unlink a sealed file that no manifest lists, and its hint; close it. */
void output_remove(struct engine *e, struct datafile *df);

#endif
