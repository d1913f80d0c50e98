/*
 * tests/lib/fuse_server.h - the least that a kernel takes for a file system.
 *
 * A thread that answers INIT, STATFS and the attributes of an empty root on a
 * descriptor of /dev/fuse, and everything else with ENOSYS. No libfuse.
 * Threads: any; one server a descriptor.
 */
#ifndef TESTS_LIB_FUSE_SERVER_H
#define TESTS_LIB_FUSE_SERVER_H

struct fuse_server;

/* Serve fd, which becomes the server's. Aborts where that is impossible. */
struct fuse_server *fuse_server_start(int fd);

/* Close the descriptor, as a daemon does that dies: the mount is dead then. */
void fuse_server_stop(struct fuse_server *s);

#endif
