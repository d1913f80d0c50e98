/*
 * engine/trigger.h - which files are worth merging now.
 *
 * A pure function from figures to a choice: no file, clock or lock. The log
 * is merged only as a prefix of the stream, merged files of a partition in
 * any subset (engine/merge.h says why).
 */
#ifndef ENGINE_TRIGGER_H
#define ENGINE_TRIGGER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"

enum {
	TRIGGER_DAY_MINUTES = 24 * 60,
	TRIGGER_SMALL_FILES_MIN = 4, /* fewer are joined only on request    */
	TRIGGER_INPUTS = 8, /* log segments, merged files: about so many    */
};

/* One file as the decision sees it. */
struct trigger_file {
	bool log;
	/* Log: sealed, all its entries settled. Merged: not being read in. */
	bool ready;
	uint16_t partition; /* merged */
	/* Log: this segment is merged only with that many first segments.  */
	uint32_t log_reach;
	uint64_t bytes;	     /* of records and what lies between them       */
	uint64_t live_bytes; /* of records the key directory points at      */
	/* Of tombstones and configs: a merge of this file alone keeps them. */
	uint64_t kept_bytes;
};

struct trigger_now {
	const struct engine_merge_options *options;
	uint32_t minute_of_day;
	bool requested; /* everything with dead bytes, whatever the hour    */
	bool pressed;	/* the disk is full: what frees most, at any hour   */
	uint64_t room_bytes; /* what a merge may write before it frees      */
};

/* Whether minute lies in [start, end), which may pass midnight. */
bool trigger_in_window(const struct engine_merge_options *o, uint32_t minute);

/*
 * Choose among files[0..count): log segments first, in stream order, then
 * merged files, by partition. pick[i] tells; false: nothing is worth it. Ask
 * again after the merge: more may be due.
 */
bool trigger_pick(const struct trigger_now *now,
		  const struct trigger_file *files, uint32_t count, bool *pick);

#endif
