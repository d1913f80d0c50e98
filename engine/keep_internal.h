/*
 * engine/keep_internal.h - the keeper's state, for keep*.c only.
 *
 * One piece of work at a time: a hint being written, or a merge; beside it
 * the next segment and files that wait for their last reader.
 */
#ifndef ENGINE_KEEP_INTERNAL_H
#define ENGINE_KEEP_INTERNAL_H

#include "engine/engine_internal.h"
#include "engine/hint.h"
#include "engine/merge.h"

enum {
	KEEP_SPARES_MAX = 2,
	KEEP_STEP_BYTES = 4 << 20,
	KEEP_SURVEY_MS = 1000,
	KEEP_RETRY_MS = 5000,
	KEEP_FOR_PEERS = 4, /* sealed segments that a lagging peer may hold  */
	KEEP_CARRY_BEHIND = 2, /* so many behind: its unsettled are carried  */
};

/* What is known of one listed file, beside what its datafile says. */
struct keep_file {
	uint32_t id;
	uint16_t partition;
	bool log;
	bool looked;	  /* its hint's table was asked for                  */
	bool walked;	  /* it was read; what follows is known without      */
	bool hinted;	  /* it has a hint that fits                         */
	bool unmergeable; /* something in it is unreadable                   */
	bool unhintable;  /* it was read; it gets no hint                    */
	uint64_t last_sequence;
	uint64_t kept_bytes;
	uint64_t retry_ns; /* no new attempt at its hint before              */
	/* Highest settled index of each partition in it. */
	struct merge_last *lasts;
	uint32_t last_count;
};

/* Out of the file table, waiting for its last reader. */
struct keep_retired {
	struct datafile *df;
};

struct hint_job;

struct keep {
	struct keep_file *files; /* sealed log in stream order, then merged  */
	uint32_t file_count;
	uint64_t survey_ns; /* when to look at the list again                */
	struct hint_job *hint;
	struct merge *merge;
	uint64_t merge_from_bytes; /* merge_bytes_written when it began      */
	uint32_t merge_inputs; /* files that will be retired when it is done */
	struct keep_retired *retired;
	uint32_t retired_count, retired_cap;
	struct replaced *replaced; /* oldest first                           */
	uint32_t spares[KEEP_SPARES_MAX]; /* file ids, unlisted log segments */
	uint32_t spare_count;
	struct vfs_file *fresh; /* a segment being filled with zeros         */
	uint64_t fresh_bytes;
	bool fresh_whole;
	struct datafile *unoffered; /* listed, the writer had one already    */
	/* The segment being written, and the log's counters at its begin. */
	uint32_t counted_id;
	uint64_t counted_frames, counted_bytes;
	uint64_t segment_retry_ns;
	bool requested;
	uint32_t request_below; /* files with a lower id are meant           */
	uint64_t paced_ns;	/* the merge rests until then                */
	uint64_t merge_retry_ns;
	/* Files looked at since a merge was considered, and until it is. */
	uint32_t looks, looks_wanted;
	enum err told; /* last error logged, so that it is logged once       */
};

/* ---------------------------------------------------- keep_segment.c ---- */

/*
 * Towards a segment that is ready before the writer needs it. *busy: there
 * is more to do at once.
 */
MUST_CHECK enum err keep_segment_step(struct engine *e, bool *busy);

/* Close files whose last reader has left; recycle or unlink them. */
void keep_retire_step(struct engine *e);

/*
 * Room to retire count files more, beside those of a merge under way.
 * ERR_NOMEM. Then take df, which is out of the file table.
 */
MUST_CHECK enum err keep_retire_reserve(struct keep *k, uint32_t count);
void keep_retire(struct keep *k, struct datafile *df);

/* At close: remove fresh and spare segments, close the retired files. */
void keep_segment_done(struct engine *e);

/* --------------------------------------------------- keep_replaced.c ---- */

/*
 * Clean up behind installs. *gone: files left the manifest and the file table
 * since the list of files was made. *busy: there is more to do at once, and no
 * merge may go on before it is done. ERR_NOMEM: call again.
 */
MUST_CHECK enum err keep_replaced_step(struct engine *e, bool *busy,
				       bool *gone);

/* ------------------------------------------------------- keep_hint.c ---- */

/* Read the table of f's hint, if it has one that fits. */
MUST_CHECK enum err keep_hint_look(struct engine *e, struct keep_file *f,
				   struct datafile *df);

/* Begin to walk df for its hint. ERR_NOMEM. */
MUST_CHECK enum err keep_hint_begin(struct engine *e, struct datafile *df,
				    uint64_t last_sequence,
				    struct hint_job **job);

/*
 * One bounded step. *done: f says what was found, and the hint was written if
 * nothing unsettled or unreadable is in the file. Errors end the job.
 */
MUST_CHECK enum err keep_hint_step(struct engine *e, struct hint_job *job,
				   struct keep_file *f, bool *done);

/* The id of the data file that job walks. */
uint32_t keep_hint_file_id(const struct hint_job *job);

/* Release the job, finished or given up. NULL is accepted. */
void keep_hint_end(struct hint_job *job);

#endif
