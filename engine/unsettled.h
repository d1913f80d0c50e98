/*
 * engine/unsettled.h - which log segments still hold what is not settled.
 *
 * A sealed segment may be hinted and merged once no tail points into it. Each
 * segment counts the bytes of unsettled entries in it; a tail is changed only
 * through these calls, so that the counts are right. What left a segment other
 * than by being settled (copied to the end of the log, or overwritten) counts
 * as gone only when the frame that did it is durable.
 *
 * Copies of an earlier entry (RECORD_AGAIN) break the rule that a later segment
 * has higher indices, by which a merge knows what its new base covers. So a
 * segment lists the copies in it that may one day be the only ones.
 *
 * Private to engine/. Thread: writer, or opening; what says so: any.
 */
#ifndef ENGINE_UNSETTLED_H
#define ENGINE_UNSETTLED_H

#include "engine/engine_internal.h"

/* tail_set, for an entry above applied. t lies in df. */
void unsettled_set(struct engine *e, struct partition *p, uint64_t index,
		   const struct tail_entry *t, struct datafile *df);

/* tail_cut. */
void unsettled_cut(struct engine *e, struct partition *p, uint64_t index);

/* An entry of bytes in df was settled. */
static inline void unsettled_done(struct datafile *df, uint64_t bytes)
{
	uint64_t n = atomic_load_explicit(&df->unsettled_bytes,
					  memory_order_relaxed);

	atomic_store_explicit(&df->unsettled_bytes, n - bytes,
			      memory_order_release);
}

/* No tail needs the sealed segment df, whatever happens. Thread: any. */
bool unsettled_none(struct engine *e, struct datafile *df);

/* ---------------------------------------------------------- copies ------ */

/* df holds copies of the entries first..last. ERR_NOMEM. */
MUST_CHECK enum err again_add(struct engine *e, struct datafile *df,
			      uint16_t partition, uint64_t first,
			      uint64_t last);

/* Forget the copies listed for df. */
void again_clear(struct datafile *df);

/*
 * The lowest listed index above the partition's base; UINT64_MAX: none.
 * Thread: any.
 */
uint64_t again_lowest(struct engine *e, struct datafile *df,
		      uint16_t partition);

/* Does df list any? Thread: any. */
bool again_any(struct engine *e, struct datafile *df);

/* ----------------------------------------------------------- carry ------ */

/*
 * Append again, a bounded piece at a time, what is unsettled in segments that
 * the keeper wants to be rid of (df->carry). Errors only postpone it.
 */
void carry_step(struct engine *e);

#endif
