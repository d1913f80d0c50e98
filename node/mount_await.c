/* node/mount_await.c - a thread that receives one descriptor. */
#include "node/mount_await.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "node/mount_fd.h"

enum {
	SLICE_MS = 200, /* how long a stop waits for the thread at most      */
	HOLD_MS = 5000, /* the helper waits for core so long                 */
	WARN_MS =
		30000, /* without a helper the unit is not as it was shipped */
};

struct mount_await {
	struct mount_fd socket;
	void (*wake)(void *ctx);
	void *ctx;
	pthread_t thread;
	struct wake answered_wake;
	_Atomic bool stop, ready, answered;
	pthread_mutex_t lock; /* of what follows, and of the answer          */
	int fd;		      /* received and not taken, or -1               */
	bool closed;	      /* nothing can be taken any more               */
};

static uint64_t now_ms(void)
{
	return clock_mono_ns(clock_os()) / 1000000;
}

/* The lock is held. */
static void answer(struct mount_await *a, const char *fault)
{
	if (!atomic_exchange(&a->answered, true))
		mount_fd_answer(&a->socket, fault);
}

static enum err receive(struct mount_await *a, int *fd)
{
	uint64_t warn_ms = now_ms() + WARN_MS;
	enum err err = ERR_PENDING;

	while (err == ERR_PENDING && !atomic_load(&a->stop)) {
		err = mount_fd_receive(&a->socket, SLICE_MS, fd);
		if (err == ERR_PENDING && now_ms() >= warn_ms) {
			log_warn("mount", "no_helper_came socket=\"%s\"",
				 a->socket.path);
			warn_ms = UINT64_MAX;
		}
	}
	return err;
}

static void *await_main(void *arg)
{
	struct mount_await *a = arg;
	uint64_t until_ms;
	enum err err;
	int fd;

	err = receive(a, &fd);
	if (err) {
		if (err != ERR_PENDING)
			log_error("mount", "not_received err=\"%s\"",
				  err_text(err));
		return NULL;
	}
	pthread_mutex_lock(&a->lock);
	a->fd = fd;
	pthread_mutex_unlock(&a->lock);
	atomic_store(&a->ready, true);
	a->wake(a->ctx);
	until_ms = now_ms() + HOLD_MS;
	while (!atomic_load(&a->answered) && !atomic_load(&a->stop) &&
	       now_ms() < until_ms)
		wake_wait(&a->answered_wake, SLICE_MS);
	pthread_mutex_lock(&a->lock);
	if (!atomic_load(&a->answered) && !atomic_load(&a->stop)) {
		log_info("mount",
			 "held reason=\"the node does not serve yet\"");
		answer(a, NULL);
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

enum node_exit mount_await_start(const struct conf *c, void (*wake)(void *ctx),
				 void *ctx, struct mount_await **out,
				 struct buf *why)
{
	char path[MOUNT_FD_PATH_BYTES];
	struct mount_await *a;
	enum err err;

	if (!c->mount_path[0] || !mount_fd_helper(path))
		return NODE_OK;
	a = calloc(1, sizeof(*a));
	if (!a) {
		(void)!buf_addf(why, "out of memory\n");
		return NODE_RUNTIME;
	}
	a->wake = wake;
	a->ctx = ctx;
	a->fd = -1;
	wake_init(&a->answered_wake);
	pthread_mutex_init(&a->lock, NULL);
	err = mount_fd_listen(path, &a->socket);
	if (!err && pthread_create(&a->thread, NULL, await_main, a))
		err = ERR_NOMEM;
	if (err) {
		(void)!buf_addf(why, "%s: %s\n", path, err_text(err));
		mount_fd_close(&a->socket);
		mount_await_free(a);
		return NODE_RUNTIME;
	}
	*out = a;
	return NODE_OK;
}

bool mount_await_ready(const struct mount_await *a)
{
	return a && atomic_load(&a->ready);
}

int mount_await_begin(struct mount_await *a)
{
	int fd = -1;

	pthread_mutex_lock(&a->lock);
	atomic_store(&a->ready, false);
	if (!a->closed) {
		fd = a->fd;
		a->fd = -1;
	}
	if (fd < 0)
		pthread_mutex_unlock(&a->lock);
	return fd; /* else mount_await_end unlocks */
}

void mount_await_end(struct mount_await *a, const char *fault)
{
	answer(a, fault);
	pthread_mutex_unlock(&a->lock);
	wake_up(&a->answered_wake);
}

void mount_await_stop(struct mount_await *a)
{
	if (!a)
		return;
	atomic_store(&a->stop, true);
	wake_up(&a->answered_wake);
	pthread_mutex_lock(&a->lock);
	a->closed = true;
	if (a->fd >= 0)
		close(a->fd); /* a helper that waits sees the end of the socket */
	a->fd = -1;
	pthread_mutex_unlock(&a->lock);
	pthread_join(a->thread, NULL);
	if (a->fd >= 0)
		close(a->fd); /* it came at the last moment */
	mount_fd_close(&a->socket);
}

void mount_await_free(struct mount_await *a)
{
	if (!a)
		return;
	pthread_mutex_destroy(&a->lock);
	free(a);
}
