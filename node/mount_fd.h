/*
 * node/mount_fd.h - how a mount reaches a daemon that may not mount.
 *
 * Under systemd the daemon has no rights and a mount table of its own: what it
 * mounted there nobody else would see. So a helper with root's rights
 * (node/mount_helper.c, ExecStartPost=+ of the unit) mounts, and passes the
 * descriptor of /dev/fuse that belongs to the mount:
 *
 *      daemon                                helper, root
 *      mount_fd_listen (mount.sock)
 *      READY=1
 *                                            mount_fd_connect: who listens
 *                                            mounts
 *      mount_fd_receive     <- "RFM1" + fd - mount_fd_hand_over
 *      serves the descriptor (fuse_session_mount(se, "/dev/fd/N"))
 *      mount_fd_answer      - 0 or a fault ->  ends; undoes the mount
 *
 * The service manager starts the helper only after READY=1 and calls the unit
 * started when the helper has ended, so `systemctl start` returns with the
 * mount in place. At the stop the daemon closes the descriptor, and
 * ExecStopPost= has the helper take the dead mount away.
 *
 * Neither trusts the other: the daemon takes descriptors of /dev/fuse only, and
 * from root (or itself, for tests) only; the helper reads where to mount from
 * root's configuration, never from the daemon.
 *
 * Threads: one at a time for each struct mount_fd.
 */
#ifndef NODE_MOUNT_FD_H
#define NODE_MOUNT_FD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/bytes.h"

enum {
	MOUNT_FD_PATH_BYTES = 108,  /* sun_path, the final NUL included       */
	MOUNT_FD_FAULT_BYTES = 512, /* of an answer, the final NUL included  */
	MOUNT_FD_MAGIC = 0x314d4652, /* "RFM1"                               */
};

/* The daemon's end. All -1 when it is closed. */
struct mount_fd {
	int listener, peer;
	char path[MOUNT_FD_PATH_BYTES];
};

/* ----------------------------------------------------------- the daemon -- */

/*
 * True: the unit has a helper ($RAFTCASK_MOUNT_HELPER is 1), so the daemon is
 * not to mount by itself; path gets $RUNTIME_DIRECTORY/mount.sock. False also
 * when the latter is missing or too long.
 */
bool mount_fd_helper(char path[MOUNT_FD_PATH_BYTES]);

/*
 * Listen at path; what is left there of an earlier daemon is replaced. To be
 * done before READY=1.
 * ERR_IO, ERR_PERMISSION, ERR_NOT_FOUND (no such directory), ERR_INVALID (too
 * long): *m is closed.
 */
MUST_CHECK enum err mount_fd_listen(const char *path, struct mount_fd *m);

/*
 * Wait at most timeout_ms for the helper. OK: *fd is the caller's, close-on-
 * exec, and the helper waits for mount_fd_answer. A connection of someone
 * else, or one that brings anything but a descriptor of /dev/fuse, is closed
 * and logged, and the wait goes on.
 *
 * ERR_PENDING  nobody came in time; call again, or close
 * ERR_IO       the socket failed
 */
MUST_CHECK enum err mount_fd_receive(struct mount_fd *m, uint64_t timeout_ms,
				     int *fd);

/*
 * Tell the helper how it went, once after each receive: NULL: the mount is
 * served. Otherwise a sentence; the helper then undoes the mount and fails, and
 * with it the unit. A helper that has gone is no error.
 */
void mount_fd_answer(struct mount_fd *m, const char *fault);

/* Close what is open and remove the socket. Closed already: nothing. */
void mount_fd_close(struct mount_fd *m);

/* ----------------------------------------------------------- the helper -- */

/*
 * Connect to path, and see that uid listens there, in process pid (0: any). It
 * may come a little later: tried again until timeout_ms are over.
 * ERR_NOT_FOUND: nobody listened; ERR_PERMISSION: somebody else does. why gets
 * a sentence.
 */
MUST_CHECK enum err mount_fd_connect(const char *path, uid_t uid, pid_t pid,
				     uint64_t timeout_ms, int *sock,
				     struct buf *why);

/*
 * Pass fd through sock and wait for the answer, timeout_ms at most. fd and sock
 * stay the caller's.
 * ERR_IO, ERR_PENDING (no answer in time), ERR_INVALID (the daemon refused):
 * why gets a sentence.
 */
MUST_CHECK enum err mount_fd_hand_over(int sock, int fd, uint64_t timeout_ms,
				       struct buf *why);

#endif
