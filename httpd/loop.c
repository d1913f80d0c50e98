/*
 * httpd/loop.c - see loop.h.
 *
 *	take what was resumed -> sleep, or not -> a turn of each daemon
 *
 * The thread is woken by an eventfd in the first daemon's own epoll, with no
 * pointer beside it: such an event ends the library's epoll_wait and is passed
 * over (it calls it its shutdown signal). So a loop with one daemon and nobody
 * offered sleeps where the library looks for events, which is one system call;
 * else it sleeps in a poll of the epoll descriptors first. The eventfd is edge
 * triggered and never read.
 *
 * The library takes 128 events at a time, and when it got exactly so many it
 * waits for more, as long as it was told to, before it looks at them. With as
 * many connections as that could come true for, the loop sleeps in the poll.
 *
 * When to go on without sleeping: the library knows (MHD_get_timeout) unless
 * requests are offered, for these it always calls due. Then
 *
 *	answers were queued or sent         another turn, the rest goes out
 *	answers are stuck at slow readers   hold: whoever waits is suspended,
 *	                                    and the library knows again
 *	else                                sleep, for OFFER_MS at most
 *
 * What else could be due without a sign of it (a header that just filled the
 * buffer of one recv) is done by the next turn, which comes after OFFER_MS at
 * the latest.
 */
#include "httpd/loop.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "httpd/server.h"

enum {
	OFFER_MS = 5,	   /* nothing at all happened meanwhile              */
	OFFER_MS_MAX = 50, /* then a request is suspended                    */
	HOLD_MS = 100,	   /* a slow reader is one for a while               */
	INSIDE_MAX = 100,  /* connections, of 128 events less what else wakes */
};

/*
 * Requests of one turn that are begun together. More would be a little cheaper
 * and keep the first one waiting.
 */
enum { GATHER_MAX = 32 };

static const uint64_t ns_per_ms = 1000000;

enum err loop_init(struct loop *l, struct httpd *h)
{
	*l = (struct loop){ .h = h };
	l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return l->wake_fd < 0 ? ERR_IO : OK;
}

/* ----------------------------------------------------------- any thread -- */

/*
 * The loop says "asleep" and then looks at "pending"; here it is the other way
 * round. In the one total order of these four at least one sees the other.
 */
void loop_wake(struct loop *l)
{
	uint64_t one = 1;
	ssize_t n;

	atomic_store(&l->pending, true);
	if (!atomic_load(&l->asleep) || !atomic_exchange(&l->asleep, false))
		return;
	n = write(l->wake_fd, &one, sizeof(one));
	(void)n; /* it can only say that it was written before */
}

void loop_resume(struct loop *l, struct request *r)
{
	struct request *head = atomic_load(&l->resumed);

	do
		r->next_resumed = head;
	while (!atomic_compare_exchange_weak(&l->resumed, &head, r));
	loop_wake(l);
}

/* ------------------------------------------------------ the loop's own --- */

void loop_stirs(struct loop *l)
{
	if (!l->slept)
		return;
	l->slept = false;
	atomic_store(&l->asleep, false);
	l->turn_ns = httpd_now(l->h);
}

bool loop_offers(const struct loop *l, uint64_t at_ns)
{
	return !l->h->is_secure && l->turn_ns >= l->hold_until_ns &&
	       l->turn_ns - at_ns < OFFER_MS_MAX * ns_per_ms;
}

bool loop_gathers(struct loop *l)
{
	/* Each so many-th takes the others along. */
	return ++l->gathered % GATHER_MAX != 0;
}

/*
 * Just before a turn, in which the library looks at what was resumed: it would
 * not count it as a reason not to sleep.
 */
static void resume_all(struct loop *l)
{
	struct request *r = atomic_exchange(&l->resumed, NULL);

	while (r) {
		struct request *next = r->next_resumed;

		r->suspended = false;
		MHD_resume_connection(r->mhd);
		r = next;
	}
}

static void quiesce(struct loop *l)
{
	if (l->quiesced)
		return;
	l->quiesced = true;
	for (uint32_t i = 0; i < l->daemon_count; i++)
		MHD_quiesce_daemon(l->daemons[i]);
}

/* As the library has it; -1: for ever. */
static int library_wait_ms(const struct loop *l)
{
	MHD_UNSIGNED_LONG_LONG ms, least = INT32_MAX;
	bool found = false;

	for (uint32_t i = 0; i < l->daemon_count; i++) {
		if (MHD_get_timeout(l->daemons[i], &ms) != MHD_YES)
			continue;
		found = true;
		if (ms < least)
			least = ms;
	}
	return found ? (int)least : -1;
}

static int choose_wait_ms(struct loop *l)
{
	if (!l->offered)
		return library_wait_ms(l);
	if (!l->sending)
		return OFFER_MS;
	if (!l->progress)
		l->hold_until_ns = l->turn_ns + HOLD_MS * ns_per_ms;
	return 0;
}

/* True: asleep, until woken; false: something has come since the last turn. */
static bool fall_asleep(struct loop *l)
{
	atomic_store(&l->asleep, true);
	if (!atomic_load(&l->pending))
		return true;
	atomic_store(&l->asleep, false);
	return false;
}

/* Until any of the daemons has something to do. */
static void rest(struct loop *l, int wait_ms)
{
	struct pollfd fds[HTTPD_LISTEN_MAX];
	nfds_t n = 0;

	for (; n < l->daemon_count; n++)
		fds[n] = (struct pollfd){ .fd = l->epoll_fds[n],
					  .events = POLLIN };
	if (!fall_asleep(l))
		return;
	poll(fds, n, wait_ms);
	atomic_store(&l->asleep, false);
}

/* Sleep inside the only daemon until it has something to do, and do it. */
static void sleep_and_run(struct loop *l)
{
	l->slept = fall_asleep(l);
	MHD_run_wait(l->daemons[0], l->slept ? -1 : 0);
	l->slept = false;
	atomic_store(&l->asleep, false);
}

static bool may_sleep_inside(const struct loop *l)
{
	return l->daemon_count == 1 && !l->offered &&
	       l->connections < INSIDE_MAX;
}

static void turn(struct loop *l, int wait_ms)
{
	bool inside = wait_ms && may_sleep_inside(l);

	if (wait_ms && !inside)
		rest(l, wait_ms);
	atomic_store(&l->pending, false);
	resume_all(l);
	if (atomic_load_explicit(&l->h->stopping, memory_order_relaxed))
		quiesce(l);
	l->turn_ns = httpd_now(l->h);
	atomic_fetch_add_explicit(&l->turns, 1, memory_order_relaxed);
	l->progress = false;
	if (inside && !atomic_load(&l->stop))
		sleep_and_run(l);
	else
		for (uint32_t i = 0; i < l->daemon_count; i++)
			MHD_run(l->daemons[i]);
	if (l->gathered)
		store_go(l->h->o.store);
	l->gathered = 0;
}

static void *loop_main(void *arg)
{
	struct loop *l = arg;
	sigset_t set;

	/* The library would raise it where it sends files. */
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	while (!atomic_load(&l->stop))
		turn(l, choose_wait_ms(l));
	return NULL;
}

/* --------------------------------------------------------- start, stop --- */

/* What wakes the loop wakes the first daemon's epoll. */
static enum err join_epolls(struct loop *l)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLET,
				 .data.ptr = NULL };

	for (uint32_t i = 0; i < l->daemon_count; i++) {
		const union MHD_DaemonInfo *info = MHD_get_daemon_info(
			l->daemons[i], MHD_DAEMON_INFO_EPOLL_FD);

		l->epoll_fds[i] = info->epoll_fd;
	}
	return epoll_ctl(l->epoll_fds[0], EPOLL_CTL_ADD, l->wake_fd, &e)
		       ? ERR_IO
		       : OK;
}

enum err loop_start(struct loop *l)
{
	enum err err = join_epolls(l);

	if (err)
		return err;
	l->has_thread = !pthread_create(&l->thread, NULL, loop_main, l);
	return l->has_thread ? OK : ERR_NOMEM;
}

void loop_stop(struct loop *l)
{
	atomic_store(&l->stop, true);
	if (l->has_thread) {
		loop_wake(l);
		pthread_join(l->thread, NULL);
	}
	resume_all(l);
	quiesce(l); /* or the library would close the listening sockets */
	for (uint32_t i = 0; i < l->daemon_count; i++)
		MHD_stop_daemon(l->daemons[i]);
	CHECK(l->offered == 0);
	CHECK(l->connections == 0);
	if (l->wake_fd >= 0)
		close(l->wake_fd);
}
