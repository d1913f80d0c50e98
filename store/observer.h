/*
 * store/observer.h - store/file.h's observer, as the core knows it.
 *
 * Thread: core, unless a function says otherwise.
 */
#ifndef STORE_OBSERVER_H
#define STORE_OBSERVER_H

#include "store/file.h"
#include "store/store_internal.h"

enum { OBSERVER_HOLD_MS = 1000 };

struct observing;

/* Memory for it, nobody observes. ERR_NOMEM. */
MUST_CHECK enum err observing_new(struct store *s);
/* After observer_stop. */
void observing_free(struct store *s);

/* Entries are about to be settled: let `to`, whose ctx is s, tell us of them. */
void observer_join(struct store *s, struct engine_settler *to);

/* A whole state of index is about to take p's place; has taken it. */
void observer_before_reset(struct store *s, struct partition *p,
			   uint64_t index);
void observer_after_reset(struct store *s, struct partition *p, uint64_t index);

/*
 * q is done and applied, and would now be completed with OK. True: it is held
 * and completed here later.
 */
bool observer_holds(struct store *s, struct store_queued *q);

/* Complete what need not be held any more. Once a round. */
void observer_round(struct store *s);
/* Until observer_round has something to do; UINT64_MAX: nothing is held. */
uint64_t observer_wait_ms(struct store *s);
/* store_observed was called since the last round, and something is held. */
bool observer_is_due(struct store *s);
/* Complete all that is held: it is done. */
void observer_stop(struct store *s);

#endif
