/*
 * node/mount_path.h - where root may mount for a daemon that it trusts little.
 *
 * The path comes from root's configuration, but who may write to one of its
 * directories could lead the mount elsewhere by a symbolic link, between the
 * look and the deed. So a path is walked directory by directory, by
 * descriptors, and every parent must be root's alone. Thread: any.
 */
#ifndef NODE_MOUNT_PATH_H
#define NODE_MOUNT_PATH_H

#include <sys/types.h>

#include "base/bytes.h"

/* How the kernel lists a mount of raftcask: subtype, and as its source. */
#define MOUNT_PATH_TYPE	  "fuse.raftcask"
#define MOUNT_PATH_SOURCE "raftcask"

/*
 * A directory that has been looked at. A component of a path fits into name.
 * Both are -1 when it is closed.
 */
struct mount_path {
	int parent; /* O_PATH of the directory above                         */
	int dir;    /* O_PATH of the directory itself                        */
	char name[256];
};

/*
 * Walk to path; its last directory is made (0755) if it is missing. Refused,
 * with a sentence in why and nothing open: a path that is relative, has "." or
 * "..", a symbolic link or something that is no directory; a parent that others
 * than root may write to; a directory that is not empty; data_dir itself, one
 * in it, or one that contains it. A data_dir that does not exist contains
 * nothing. The look calls no file system served by a dead daemon: detach first.
 *
 * ERR_INVALID (refused), ERR_PERMISSION, ERR_IO
 */
MUST_CHECK enum err mount_path_open(const char *path, const char *data_dir,
				    struct mount_path *m, struct buf *why);

/* Close what is open; the directory stays. */
void mount_path_close(struct mount_path *m);

/*
 * Mount there; *fd is the descriptor of /dev/fuse behind it, the caller's, and
 * requests come from it at once. uid and gid are the daemon's. nosuid, nodev;
 * the kernel checks permissions; allow_other: users other than uid may enter.
 * ERR_NOT_FOUND (no /dev/fuse), ERR_PERMISSION, ERR_IO: why gets a sentence.
 */
MUST_CHECK enum err mount_path_mount(const struct mount_path *m, uid_t uid,
				     gid_t gid, bool allow_other, int *fd,
				     struct buf *why);

/* Detach what is mounted there; who is inside stays inside. ERR_IO. */
MUST_CHECK enum err mount_path_detach(const struct mount_path *m);

/*
 * Detach every mount of raftcask for uid whose daemon has gone (ENOTCONN), that
 * mount_path_open's rules about parents let root reach; *count of them. A mount
 * whose daemon lives but does not answer within 10 s stays. Forks: no other
 * thread may be there. ERR_IO: there is no mountinfo.
 */
MUST_CHECK enum err mount_path_detach_dead(uid_t uid, unsigned *count);

/*
 * The daemon of data_dir was killed, and hangs in the kernel for 100 ms, with
 * who waits in its mount at path: end that mount, if it is one of raftcask for
 * uid that mount_path_open's rules about parents let root reach. Who waits in
 * it gets ECONNABORTED or ENOTCONN, and the daemon can end, which is waited for
 * (1 s). Of a daemon that lives, or has ended, nothing is done.
 */
void mount_path_end_hung(const char *path, const char *data_dir, uid_t uid);

#endif
