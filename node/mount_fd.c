/*
 * node/mount_fd.c - both ends of the socket on which a mount's descriptor
 * travels.
 *
 *  off  size  from the helper, one message, SOCK_SEQPACKET
 *    0     4  MOUNT_FD_MAGIC, little-endian; SCM_RIGHTS brings the descriptor
 *
 *  off  size  the answer
 *    0     1  0: the mount is served; 1: it is not
 *    1     -  then a sentence, without a NUL
 */
#include "node/mount_fd.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

enum {
	FUSE_MAJOR = 10,  /* of /dev/fuse: a misc device ...                  */
	FUSE_MINOR = 229, /* ... with a number of its own                    */
	BACKLOG = 4,
	SLOW_MS = 2000, /* who connects has this long for his message        */
	AGAIN_MS = 50,
};

static bool address_of(const char *path, struct sockaddr_un *a)
{
	size_t n = strlen(path);

	if (n == 0 || n >= sizeof(a->sun_path))
		return false;
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(a->sun_path, path, n);
	return true;
}

static enum err err_of(int number)
{
	switch (number) {
	case EACCES:
	case EPERM:
		return ERR_PERMISSION;
	case ENOENT:
	case ECONNREFUSED:
		return ERR_NOT_FOUND;
	default:
		return ERR_IO;
	}
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static uint64_t now_ms(void)
{
	return clock_mono_ns(clock_os()) / 1000000;
}

/* True: fd can be read before until_ms. */
static bool readable(int fd, uint64_t until_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t now;
	int n;

	do {
		now = now_ms();
		n = poll(&p, 1, now < until_ms ? (int)(until_ms - now) : 0);
	} while (n < 0 && errno == EINTR);
	return n > 0;
}

/* ----------------------------------------------------------- the daemon -- */

bool mount_fd_helper(char path[MOUNT_FD_PATH_BYTES])
{
	const char *wanted = getenv("RAFTCASK_MOUNT_HELPER");
	const char *dir = getenv("RUNTIME_DIRECTORY");
	int n;

	if (!wanted || strcmp(wanted, "1") != 0 || !dir || dir[0] != '/')
		return false;
	n = snprintf(path, MOUNT_FD_PATH_BYTES, "%s/mount.sock", dir);
	return n > 0 && n < MOUNT_FD_PATH_BYTES;
}

enum err mount_fd_listen(const char *path, struct mount_fd *m)
{
	struct sockaddr_un a;
	enum err err;

	*m = (struct mount_fd){ .listener = -1, .peer = -1 };
	if (!address_of(path, &a))
		return ERR_INVALID;
	m->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (m->listener < 0)
		return err_of(errno);
	unlink(path); /* of a daemon that was killed; bind tells of the rest */
	if (bind(m->listener, (struct sockaddr *)&a, sizeof(a)) ||
	    chmod(path, 0600) || listen(m->listener, BACKLOG)) {
		err = err_of(errno);
		close_fd(&m->listener);
		return err;
	}
	memcpy(m->path, path, strlen(path) + 1);
	return OK;
}

static bool is_fuse(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISCHR(st.st_mode) &&
	       st.st_rdev == makedev(FUSE_MAJOR, FUSE_MINOR);
}

static bool may_bring(int peer)
{
	struct ucred c;
	socklen_t n = sizeof(c);

	if (getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &c, &n))
		return false;
	return c.uid == 0 || c.uid == geteuid();
}

/* The first descriptor of a message; any others are closed. -1: none. */
static int take_descriptor(struct msghdr *msg)
{
	int found = -1;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(msg); h;
	     h = CMSG_NXTHDR(msg, h)) {
		size_t bytes = h->cmsg_len - CMSG_LEN(0);

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i + sizeof(int) <= bytes; i += sizeof(int)) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i, sizeof(fd));
			if (found < 0)
				found = fd;
			else
				close(fd);
		}
	}
	return found;
}

/* The message of a connection. -1: it was not one. */
static int take_message(int peer, uint64_t until_ms)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
	uint8_t bytes[4];
	struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	ssize_t n;
	int fd;

	if (!readable(peer, until_ms))
		return -1;
	n = recvmsg(peer, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return -1;
	fd = take_descriptor(&msg);
	if (n != sizeof(bytes) || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ||
	    get_u32(bytes) != MOUNT_FD_MAGIC || (fd >= 0 && !is_fuse(fd)))
		close_fd(&fd);
	return fd;
}

enum err mount_fd_receive(struct mount_fd *m, uint64_t timeout_ms, int *fd)
{
	uint64_t until_ms = now_ms() + timeout_ms, slow_ms;

	close_fd(&m->peer);
	while (readable(m->listener, until_ms)) {
		m->peer = accept4(m->listener, NULL, NULL, SOCK_CLOEXEC);
		if (m->peer < 0 && errno != ECONNABORTED && errno != EINTR)
			return ERR_IO;
		if (m->peer < 0)
			continue;
		slow_ms = now_ms() + SLOW_MS;
		if (may_bring(m->peer))
			*fd = take_message(m->peer, slow_ms);
		else
			*fd = -1;
		if (*fd >= 0)
			return OK;
		log_warn("mount", "descriptor_refused");
		close_fd(&m->peer);
	}
	return ERR_PENDING;
}

void mount_fd_answer(struct mount_fd *m, const char *fault)
{
	char text[1 + MOUNT_FD_FAULT_BYTES];

	if (m->peer < 0)
		return;
	text[0] = fault ? 1 : 0;
	snprintf(text + 1, sizeof(text) - 1, "%s", fault ? fault : "");
	/* A helper that has gone finds out nothing, and needs nothing. */
	(void)!send(m->peer, text, 1 + strlen(text + 1), MSG_NOSIGNAL);
	close_fd(&m->peer);
}

void mount_fd_close(struct mount_fd *m)
{
	close_fd(&m->peer);
	if (m->listener < 0)
		return;
	close_fd(&m->listener);
	unlink(m->path);
}

/* ----------------------------------------------------------- the helper -- */

static enum err see_who_listens(int sock, const char *path, uid_t uid,
				pid_t pid, struct buf *why)
{
	struct ucred c;
	socklen_t n = sizeof(c);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &c, &n))
		return err_of(errno);
	if (c.uid == uid && (!pid || c.pid == pid))
		return OK;
	(void)!buf_addf(why,
			"%s belongs to process %d of uid %u, not to the "
			"daemon\n",
			path, (int)c.pid, (unsigned)c.uid);
	return ERR_PERMISSION;
}

enum err mount_fd_connect(const char *path, uid_t uid, pid_t pid,
			  uint64_t timeout_ms, int *sock, struct buf *why)
{
	uint64_t until_ms = now_ms() + timeout_ms;
	struct sockaddr_un a;
	enum err err;
	int fd;

	if (!address_of(path, &a))
		return ERR_INVALID;
	for (;;) {
		fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		if (fd < 0)
			return err_of(errno);
		if (!connect(fd, (struct sockaddr *)&a, sizeof(a)))
			break;
		err = err_of(errno);
		close_fd(&fd);
		if (err != ERR_NOT_FOUND || now_ms() >= until_ms) {
			(void)!buf_addf(why,
					"%s: no daemon waits there for a "
					"mount\n",
					path);
			return err;
		}
		poll(NULL, 0, AGAIN_MS);
	}
	err = see_who_listens(fd, path, uid, pid, why);
	if (err)
		close_fd(&fd);
	else
		*sock = fd;
	return err;
}

static enum err send_descriptor(int sock, int fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
	uint8_t bytes[4];
	struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *h = CMSG_FIRSTHDR(&msg);

	put_u32(bytes, MOUNT_FD_MAGIC);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &fd, sizeof(fd));
	return sendmsg(sock, &msg, MSG_NOSIGNAL) == sizeof(bytes) ? OK : ERR_IO;
}

enum err mount_fd_hand_over(int sock, int fd, uint64_t timeout_ms,
			    struct buf *why)
{
	char text[1 + MOUNT_FD_FAULT_BYTES];
	ssize_t n;

	if (send_descriptor(sock, fd)) {
		(void)!buf_addf(why, "the daemon does not take the mount\n");
		return ERR_IO;
	}
	if (!readable(sock, now_ms() + timeout_ms)) {
		(void)!buf_addf(why, "the daemon says nothing to the mount\n");
		return ERR_PENDING;
	}
	n = recv(sock, text, sizeof(text), MSG_DONTWAIT);
	if (n < 1) {
		(void)!buf_addf(why, "the daemon let go of the mount\n");
		return ERR_IO;
	}
	if (text[0] == 0)
		return OK;
	/* Words from a less trusted process: on one line, printable. */
	for (ssize_t i = 1; i < n; i++)
		if (text[i] < 0x20 || text[i] == 0x7f)
			text[i] = ' ';
	(void)!buf_addf(why, "the daemon: %.*s\n", (int)n - 1, text + 1);
	return ERR_INVALID;
}
