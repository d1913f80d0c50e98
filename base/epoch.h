/*
 * base/epoch.h - memory that lock-free readers may still look at.
 *
 * Epoch-based reclamation (Fraser 2004, section 5.2.3). A reader brackets its
 * look with epoch_enter/epoch_exit; what a writer unlinked it hands to
 * epoch_retire, and it is released once every reader that could see it has
 * left. A reader must not block, sleep or do I/O inside.
 */
#ifndef BASE_EPOCH_H
#define BASE_EPOCH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { EPOCH_THREADS_MAX = 256 };

struct epoch;

/* A new domain. ERR_NOMEM: none made. */
MUST_CHECK enum err epoch_new(struct epoch **e);

/* No reader may be inside; runs every pending release. NULL is accepted. */
void epoch_free(struct epoch *e);

/*
 * Enter and leave a read section; not nested. The thread gets a slot of its
 * own at its first call and gives it back when it ends; with more than
 * EPOCH_THREADS_MAX live threads the call spins until one ends.
 * Thread: any.
 */
void epoch_enter(struct epoch *e);
void epoch_exit(struct epoch *e);

/*
 * Call fn(ctx, ref) once no reader that entered before now is left. fn runs
 * inside a later epoch_retire, epoch_collect or epoch_free, on that thread.
 * Thread: any (one at a time by an inner lock). ERR_NOMEM: fn will not run;
 * the caller may leak the memory but must not release it at once.
 */
MUST_CHECK enum err epoch_retire(struct epoch *e,
				 void (*fn)(void *ctx, uint64_t ref), void *ctx,
				 uint64_t ref);

/* Release what can be released now. Never blocks on readers. Thread: any. */
void epoch_collect(struct epoch *e);

#endif
