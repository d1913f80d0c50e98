/*
 * A daemon that does nothing but serve the mount that a helper passes: what a
 * unit's sandbox lets through is proved with it. Prints what it gets.
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "node/mount_fd.h"
#include "node/notify.h"
#include "tests/lib/fuse_server.h"

int main(void)
{
	char path[MOUNT_FD_PATH_BYTES];
	struct fuse_server *s;
	struct mount_fd m;
	sigset_t signals;
	int fd, signal;

	if (!mount_fd_helper(path) || mount_fd_listen(path, &m)) {
		fprintf(stderr, "no socket\n");
		return 1;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	notify_send("READY=1");
	if (mount_fd_receive(&m, 30000, &fd)) {
		fprintf(stderr, "no descriptor\n");
		return 1;
	}
	s = fuse_server_start(fd);
	mount_fd_answer(&m, NULL);
	fprintf(stderr, "serving the mount as uid %d\n", (int)getuid());
	sigwait(&signals, &signal);
	fuse_server_stop(s);
	mount_fd_close(&m);
	return 0;
}
