/*
 * node/wake.h - one thread sleeps, any thread wakes it.
 *
 * A flag for "asleep" besides the wake itself, so that waking a thread that is
 * awake is two memory accesses and no system call: a busy core thread is woken
 * by every request. A wake is never lost: one that comes before the sleep ends
 * that sleep at once.
 *
 * The sleep is a futex; for a thread that also waits for sockets it is an
 * eventfd that is watched beside them.
 */
#ifndef NODE_WAKE_H
#define NODE_WAKE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct wake {
	_Atomic uint32_t pending; /* the futex word: 1 after a wake */
	_Atomic uint32_t asleep;
	int fd; /* an eventfd, or -1: futex */
};

/* For wake_wait. Caller's memory, nothing to release. */
void wake_init(struct wake *w);

/*
 * For a poller: watch w->fd edge-triggered for input, never read it, and sleep
 * between wake_begin and wake_end. ERR_IO: no descriptor. wake_close it.
 */
MUST_CHECK enum err wake_open(struct wake *w);
void wake_close(struct wake *w);

/* End the present or the next sleep. Thread: any. */
void wake_up(struct wake *w);

/*
 * Sleep until woken or until timeout_ms have passed. True: woken.
 * Thread: one at a time.
 */
bool wake_wait(struct wake *w, uint64_t timeout_ms);

/*
 * wake_begin: true: a wake is pending, do not sleep. wake_end, in any case:
 * true: a wake came since the last wake_end. Thread: one at a time.
 */
bool wake_begin(struct wake *w);
bool wake_end(struct wake *w);

#endif
