/*
 * engine/segment.h - what the writer asks of the engine around it.
 *
 * Private to engine/. The calls the other way (files, segments) that the
 * background work needs too are in engine_internal.h. Thread: writer.
 */
#ifndef ENGINE_SEGMENT_H
#define ENGINE_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct datafile;
struct engine;
struct engine_entry;
struct tail_entry;

/* engine_append; flags are added to the frame's. */
MUST_CHECK enum err engine_append_flags(struct engine *e,
					const struct engine_entry *entry,
					uint32_t frame_flags);

/*
 * Append a copy of an entry of the log, with RECORD_AGAIN: nothing of the
 * partition changes yet. *t is where it lies, in *df. It may use the reserve.
 * Errors as engine_append.
 */
MUST_CHECK enum err engine_append_again(struct engine *e,
					const struct engine_entry *entry,
					struct tail_entry *t,
					struct datafile **df);

/* What was written is as durable as the configuration asks. */
void engine_synced(struct engine *e);

/* A frame went out: what was appended so far is written. */
void engine_frame_written(struct engine *e);

/* Bytes of records that engine_emit_hard_states appends. */
uint64_t engine_hard_states_bytes(const struct engine *e);

/*
 * Append the hard state of every partition again, so that the head of each
 * segment has it and older segments may go. Errors as log_reserve.
 */
MUST_CHECK enum err engine_emit_hard_states(struct engine *e);

/*
 * Refresh what is known of the free space. True: puts may be accepted.
 * Asks the file system at most every 100 ms, or when forced.
 */
bool engine_space_ok(struct engine *e, bool force);

#endif
