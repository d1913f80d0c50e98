/* tests/lib/fuse_server.c - requests of <linux/fuse.h>, one at a time. */
#include "tests/lib/fuse_server.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"

struct fuse_server {
	int fd;
	pthread_t thread;
	_Atomic bool stop;
};

static void answer(int fd, uint64_t unique, int error, const void *p, size_t n)
{
	struct fuse_out_header h = { .len = (uint32_t)(sizeof(h) + n),
				     .error = error,
				     .unique = unique };
	struct iovec v[2] = { { &h, sizeof(h) }, { (void *)p, n } };

	/* A request that was interrupted takes no answer. */
	(void)!writev(fd, v, n ? 2 : 1);
}

static void serve_one(int fd, const uint8_t *bytes)
{
	struct fuse_in_header in;
	struct fuse_init_out init = { .major = FUSE_KERNEL_VERSION,
				      .minor = 31,
				      .max_write = 4096 };
	struct fuse_statfs_out statfs = { .st = { .bsize = 512 } };
	struct fuse_attr_out attr = {
		.attr = { .ino = 1, .mode = S_IFDIR | 0755, .nlink = 2 }
	};

	memcpy(&in, bytes, sizeof(in));
	switch (in.opcode) {
	case FUSE_INIT:
		answer(fd, in.unique, 0, &init, sizeof(init));
		break;
	case FUSE_STATFS:
		answer(fd, in.unique, 0, &statfs, sizeof(statfs));
		break;
	case FUSE_GETATTR:
		answer(fd, in.unique, 0, &attr, sizeof(attr));
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		break;
	default:
		answer(fd, in.unique, -ENOSYS, NULL, 0);
	}
}

static void *server_main(void *arg)
{
	struct fuse_server *s = arg;
	static _Thread_local uint8_t bytes[64 << 10];
	struct pollfd p = { .fd = s->fd, .events = POLLIN };

	while (!atomic_load(&s->stop)) {
		if (poll(&p, 1, 20) <= 0)
			continue;
		if (read(s->fd, bytes, sizeof(bytes)) > 0)
			serve_one(s->fd, bytes);
		else if (errno == ENODEV) /* unmounted */
			break;
	}
	return NULL;
}

struct fuse_server *fuse_server_start(int fd)
{
	struct fuse_server *s = calloc(1, sizeof(*s));

	CHECK(s);
	s->fd = fd;
	CHECK(pthread_create(&s->thread, NULL, server_main, s) == 0);
	return s;
}

void fuse_server_stop(struct fuse_server *s)
{
	atomic_store(&s->stop, true);
	pthread_join(s->thread, NULL);
	close(s->fd);
	free(s);
}
