/*
 * node/mount_await.h - waiting for the mount that root's helper brings.
 *
 * Under systemd the helper comes after READY=1 (node/mount_fd.h), while only
 * the core thread may put a mount over the store: a thread of its own receives
 * the descriptor and wakes core, which takes it. A node that waits for its
 * cluster takes it late, for the helper too late; so after some seconds the
 * helper is told that all is well, and who looks into the mount waits as the
 * node does.
 */
#ifndef NODE_MOUNT_AWAIT_H
#define NODE_MOUNT_AWAIT_H

#include "node/node.h"

struct mount_await;

/*
 * Listen, and wait on a thread. *a NULL: there is no helper (mount_fd_helper),
 * or no mount.path. wake(ctx) is called, by that thread, once there is
 * something to take. NODE_RUNTIME: why gets a sentence. Thread: main, before
 * READY=1.
 */
enum node_exit mount_await_start(const struct conf *c, void (*wake)(void *ctx),
				 void *ctx, struct mount_await **a,
				 struct buf *why);

/* There is something to take. Cheap; NULL is accepted. Thread: any. */
bool mount_await_ready(const struct mount_await *a);

/*
 * Take the descriptor, the caller's from then on. -1: there is none (any more).
 * Otherwise mount_await_stop waits until mount_await_end. Thread: core.
 */
int mount_await_begin(struct mount_await *a);

/* It is served, or (fault) it is not: the helper is told, if it still waits. */
void mount_await_end(struct mount_await *a, const char *fault);

/*
 * Wait no longer; nothing can be taken from then on. NULL is accepted; a is
 * gone only with mount_await_free, after the core thread. Thread: main.
 */
void mount_await_stop(struct mount_await *a);

/* NULL is accepted. */
void mount_await_free(struct mount_await *a);

#endif
