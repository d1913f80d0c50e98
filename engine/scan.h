/*
 * engine/scan.h - what one log segment holds, before anyone judges it.
 *
 * First of the two looks at a segment that has no hint: all checksums are
 * verified, but only a summary is kept, because which entries are alive is
 * known only when the whole stream was seen. A scan knows one file; what a
 * gap means is for load.c.
 */
#ifndef ENGINE_SCAN_H
#define ENGINE_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine_internal.h"
#include "engine/run.h"
#include "engine/walk.h"

enum scan_event_kind {
	SCAN_RUN,   /* frames first..last, each sound and one up             */
	SCAN_GAP,   /* no frame begins in off..off+bytes                     */
	SCAN_BAD,   /* frame first: records in off..off+bytes are unreadable */
	SCAN_VALUE, /* frame first: the record at off has a bad value        */
};

struct scan_event {
	enum scan_event_kind kind;
	uint64_t off, bytes;
	uint64_t first, last; /* sequences */
};

/* Entries first..last of one term, as they follow each other in the file. */
struct scan_span {
	uint16_t partition;
	bool settled; /* in frames that need no commit */
	bool again;   /* copies of what stood there     */
	uint64_t first, last, term;
	uint64_t sequence; /* of the last frame that added to it */
};

/* The last hard-state record of a partition. */
struct scan_state {
	bool found, damaged;
	struct engine_hard_state hs;
};

enum { SCAN_MARKS_MAX = 8 };

struct scan_mark {
	uint64_t sequence, off;
};

/* What one data file contributes to one partition. */
struct part_run {
	struct run *run; /* owned, NULL: none */
	uint64_t last_index, last_stamp_ns;
	uint64_t client_records; /* of entries above the commit */
	uint64_t mark_bytes;	 /* since the last mark         */
	bool marked;
};

struct scan {
	enum err err;
	struct scan_event *events;
	uint32_t event_count, event_cap;
	struct scan_span *spans;
	uint32_t span_count, span_cap;
	struct scan_state *states; /* per partition */
	/*
	 * Per partition, what the records add up to if all of them turn out to
	 * be alive and committed, as nearly always; runs are sorted.
	 */
	struct part_run *parts;
	uint32_t partition_count;
	uint64_t first_sequence, last_sequence; /* sound headers; 0: none    */
	uint64_t claim; /* highest synced_sequence of any frame              */
	uint64_t last_record_sequence; /* of frames that hold records        */
	uint64_t end_off; /* behind the last frame                           */
	bool healed; /* there are frames FRAME_HEALED: look twice            */
	bool torn_header; /* at end_off lies what was to be the next frame   */
	/* Frames without records behind the last with; too many: overflow.  */
	struct scan_mark marks[SCAN_MARKS_MAX];
	uint32_t mark_count;
};

/*
 * Look through df, to the frame limit (UINT64_MAX: to the end). s->err tells:
 * OK, ERR_IO, ERR_NOMEM. Damage is an event, not an error. Thread: any.
 */
void scan_segment(struct engine *e, struct datafile *df, uint64_t limit,
		  struct scan *s);

/* Free what a scan holds; s is empty afterwards. */
void scan_done(struct scan *s);

/* True: a record that says something of a key. */
bool scan_has_key(const struct record *r);

/* Add what a walk found, a record with a key, to *run, made if NULL. ERR_NOMEM. */
MUST_CHECK enum err scan_add_item(struct run **run, const struct datafile *df,
				  const struct walk_item *it);

/* Tell the sparse index of df (engine/marks.h) of an entry now and then. */
void scan_mark_entry(struct datafile *df, struct part_run *part,
		     const struct walk_item *it);

/* The sequence of the frame at the head of df; 0: none there. ERR_NOMEM. */
uint64_t scan_first_sequence(struct datafile *df);

#endif
