/*
 * node/wake.h - one thread sleeps, any thread wakes it.
 *
 * A futex with a flag for "asleep", so that waking a thread that is awake is
 * two memory accesses and no system call: a busy core thread is woken by
 * every request. A wake is never lost: one that comes before the sleep ends
 * that sleep at once.
 */
#ifndef NODE_WAKE_H
#define NODE_WAKE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct wake {
	_Atomic uint32_t pending; /* the futex word: 1 after a wake */
	_Atomic uint32_t asleep;
};

/* Both fields zero; caller's memory, nothing to release. */
void wake_init(struct wake *w);

/* End the present or the next wake_wait. Thread: any. */
void wake_up(struct wake *w);

/*
 * Sleep until woken or until timeout_ms have passed. True: woken.
 * Thread: one at a time.
 */
bool wake_wait(struct wake *w, uint64_t timeout_ms);

#endif
