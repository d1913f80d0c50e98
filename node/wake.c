/*
 * node/wake.c - see wake.h. The sleeper says "asleep" and then looks at
 * "pending"; the waker sets "pending" and then looks at "asleep". In the one
 * total order of these four at least one sees the other, and the kernel looks
 * at "pending" again before it lets the thread sleep.
 */
#include "node/wake.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(_Atomic uint32_t) == 4, "a futex word");

void wake_init(struct wake *w)
{
	atomic_init(&w->pending, 0);
	atomic_init(&w->asleep, 0);
}

void wake_up(struct wake *w)
{
	atomic_store(&w->pending, 1);
	if (atomic_load(&w->asleep))
		syscall(SYS_futex, &w->pending, FUTEX_WAKE_PRIVATE, 1, NULL,
			NULL, 0);
}

bool wake_wait(struct wake *w, uint64_t timeout_ms)
{
	struct timespec ts = {
		.tv_sec = (time_t)(timeout_ms / 1000),
		.tv_nsec = (long)(timeout_ms % 1000) * 1000000,
	};

	atomic_store(&w->asleep, 1);
	if (!atomic_load(&w->pending))
		syscall(SYS_futex, &w->pending, FUTEX_WAIT_PRIVATE, 0, &ts,
			NULL, 0);
	atomic_store(&w->asleep, 0);
	return atomic_exchange(&w->pending, 0) == 1;
}
