/*
 * engine/walk.h - every record of one file in the order of its bytes.
 *
 * Used by merge, hint writing and the offline tools. Goes on behind damage
 * and says where it was. Knows one file; what a gap means (a torn tail, a
 * loss) is for the caller, who knows the stream.
 */
#ifndef ENGINE_WALK_H
#define ENGINE_WALK_H

#include <stdint.h>

#include "engine/datafile.h"
#include "engine/frame.h"
#include "engine/record.h"

enum walk_kind {
	WALK_FRAME,  /* log: the frame whose records come next               */
	WALK_RECORD, /* state RECORD_OK or RECORD_BAD_VALUE                  */
	WALK_DAMAGE, /* off..off+bytes: nothing there can be trusted         */
	WALK_END,    /* log: no frame from off to the end of the file        */
};

struct walk_item {
	enum walk_kind kind;
	uint64_t off, bytes;
	struct frame frame; /* WALK_FRAME, and of the record's frame         */
	enum record_state state;
	struct record record; /* views are valid until the next step         */
};

struct walk;

/*
 * Begin at the file's first byte behind its header. df is borrowed.
 * last_sequence: of a sealed log segment the last frame; the walk stops behind
 * it, and tells damage when it is not there. 0: walk to the end.
 * Frames above the limit that the manifest sets (df->max_index of a log
 * segment) do not count and are not told. ERR_NOMEM.
 */
MUST_CHECK enum err walk_new(struct datafile *df, uint64_t last_sequence,
			     struct walk **w);

/*
 * Go on at the record at off of a log segment, which must begin one.
 * ERR_CORRUPT: no sound frame holds it; the walk is where it was.
 */
MUST_CHECK enum err walk_seek(struct walk *w, uint64_t off);

/* NULL is accepted. */
void walk_free(struct walk *w);

/*
 * The next item; after WALK_END again WALK_END. Sectors that cannot be read
 * are damage; ERR_IO: nothing around the place can be read. ERR_NOMEM.
 */
MUST_CHECK enum err walk_next(struct walk *w, struct walk_item *item);

#endif
