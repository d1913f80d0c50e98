/*
 * node/mount.h - the mount of a running node: where it goes, its threads, its
 * end. What it does is fsd/fsd.h.
 */
#ifndef NODE_MOUNT_H
#define NODE_MOUNT_H

#include "node/node.h"

struct mount;
struct store;

/*
 * Can the keys be mounted where the configuration says? A mount that its daemon
 * has left behind is detached; a directory that is missing is made.
 * NODE_CONFIG: not a directory, not empty, a mount point, or one of it and the
 * data directory lies in the other; an owner that there is not. why: as
 * node_start. Nothing to do without mount.path; where a helper mounts
 * (node/mount_fd.h), the place is its care. Thread: main, before the node opens
 * its files, and again by mount_start.
 */
enum node_exit mount_check(const struct conf *c, struct buf *why);

/*
 * Mount, and start the threads. *m NULL: no mount is configured. fd: -1, or a
 * descriptor of /dev/fuse that a helper has mounted; it is the mount's then.
 * NODE_CONFIG as mount_check; NODE_RUNTIME: it cannot be mounted. Thread: core,
 * or main before there is a core thread.
 */
enum node_exit mount_start(const struct conf *c, struct store *store,
			   uint32_t partitions, int fd, struct mount **m,
			   struct buf *why);

/*
 * End it: what is under way may finish (for 3 s, unless failed), the directory
 * is what it was before, the threads are gone. The core thread goes on, unless
 * it has failed. A mount that a helper made is not taken off its directory,
 * which this process may not: it is dead once the descriptor is closed, and the
 * helper's to detach. If a thread then hangs in the kernel, which nobody here
 * can end, the process ends: NODE_RUNTIME. NULL is accepted. Thread: main.
 */
void mount_stop(struct mount *m, bool failed);

/* The core thread has ended: let go of the store. NULL is accepted. */
void mount_close(struct mount *m);

/* After store_free. NULL is accepted. */
void mount_free(struct mount *m);

/* Append its figures, as httpd_options.metrics. ERR_NOMEM. Thread: any. */
MUST_CHECK enum err mount_figures(struct mount *m, struct buf *b);

#endif
