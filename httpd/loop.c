/*
 * httpd/loop.c - see loop.h.
 *
 *	take what was resumed -> a turn of each daemon -> sleep, or go on
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
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "httpd/server.h"

enum {
	OFFER_MS = 5,	   /* nothing at all happened meanwhile              */
	OFFER_MS_MAX = 50, /* then a request is suspended                    */
	HOLD_MS = 100,	   /* a slow reader is one for a while               */
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

static void turn(struct loop *l)
{
	atomic_store(&l->pending, false);
	resume_all(l);
	if (atomic_load_explicit(&l->h->stopping, memory_order_relaxed))
		quiesce(l);
	l->turn_ns = httpd_now(l->h);
	atomic_fetch_add_explicit(&l->turns, 1, memory_order_relaxed);
	l->progress = false;
	for (uint32_t i = 0; i < l->daemon_count; i++)
		MHD_run(l->daemons[i]);
	if (l->gathered)
		store_go(l->h->o.store);
	l->gathered = 0;
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

static void rest(struct loop *l, int wait_ms)
{
	struct pollfd fds[HTTPD_LISTEN_MAX + 1];
	uint64_t count;
	nfds_t n = 0;
	ssize_t got;
	int ready;

	for (; n < l->daemon_count; n++) {
		const union MHD_DaemonInfo *info = MHD_get_daemon_info(
			l->daemons[n], MHD_DAEMON_INFO_EPOLL_FD);

		fds[n] = (struct pollfd){ .fd = info->epoll_fd,
					  .events = POLLIN };
	}
	fds[n++] = (struct pollfd){ .fd = l->wake_fd, .events = POLLIN };
	atomic_store(&l->asleep, true);
	if (atomic_load(&l->pending)) {
		atomic_store(&l->asleep, false);
		return;
	}
	ready = poll(fds, n, wait_ms);
	atomic_store(&l->asleep, false);
	if (ready > 0 && fds[n - 1].revents) {
		got = read(l->wake_fd, &count, sizeof(count));
		(void)got; /* there or not, a turn follows */
	}
}

static void *loop_main(void *arg)
{
	struct loop *l = arg;
	sigset_t set;
	int wait_ms;

	/* The library would raise it where it sends files. */
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	while (!atomic_load(&l->stop)) {
		turn(l);
		wait_ms = choose_wait_ms(l);
		if (wait_ms)
			rest(l, wait_ms);
	}
	return NULL;
}

/* --------------------------------------------------------- start, stop --- */

enum err loop_start(struct loop *l)
{
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
	if (l->wake_fd >= 0)
		close(l->wake_fd);
}
