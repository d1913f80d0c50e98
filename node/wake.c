/*
 * node/wake.c - see wake.h. The sleeper says "asleep" and then looks at
 * "pending"; the waker sets "pending" and then looks at "asleep". In the one
 * total order of these four at least one sees the other, and the kernel looks
 * at "pending" again before it lets the thread sleep (the eventfd remembers).
 */
#include "node/wake.h"

#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(_Atomic uint32_t) == 4, "a futex word");

void wake_init(struct wake *w)
{
	atomic_init(&w->pending, 0);
	atomic_init(&w->asleep, 0);
	w->fd = -1;
}

enum err wake_open(struct wake *w)
{
	wake_init(w);
	w->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return w->fd < 0 ? ERR_IO : OK;
}

void wake_close(struct wake *w)
{
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

void wake_up(struct wake *w)
{
	uint64_t one = 1;

	atomic_store(&w->pending, 1);
	if (!atomic_load(&w->asleep))
		return;
	if (w->fd < 0)
		syscall(SYS_futex, &w->pending, FUTEX_WAKE_PRIVATE, 1, NULL,
			NULL, 0);
	else /* a counter that is full has been seen long ago */
		(void)!write(w->fd, &one, sizeof(one));
}

bool wake_begin(struct wake *w)
{
	atomic_store(&w->asleep, 1);
	return atomic_load(&w->pending);
}

bool wake_end(struct wake *w)
{
	atomic_store(&w->asleep, 0);
	return atomic_exchange(&w->pending, 0) == 1;
}

bool wake_wait(struct wake *w, uint64_t timeout_ms)
{
	struct timespec ts = {
		.tv_sec = (time_t)(timeout_ms / 1000),
		.tv_nsec = (long)(timeout_ms % 1000) * 1000000,
	};

	if (!wake_begin(w))
		syscall(SYS_futex, &w->pending, FUTEX_WAIT_PRIVATE, 0, &ts,
			NULL, 0);
	return wake_end(w);
}
