/*
 * The socket on which a mount's descriptor travels: what passes, who is
 * refused, and that neither end waits for ever.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/mount_fd.h"
#include "tests/lib/tmpdir.h"

static char *dir;
static char path[MOUNT_FD_PATH_BYTES];
static struct mount_fd m;

static int set_up(void **state)
{
	dir = tmpdir_make();
	snprintf(path, sizeof(path), "%s/mount.sock", dir);
	return mount_fd_listen(path, &m);
}

static int tear_down(void **state)
{
	mount_fd_close(&m);
	tmpdir_remove(dir);
	return 0;
}

/* What a helper does on a thread of its own, and how that went. */
struct helper {
	int fd;
	uid_t uid;
	pid_t pid;
	enum err err;
	struct buf why;
	pthread_t thread;
};

static void *helper_main(void *arg)
{
	struct helper *h = arg;
	int sock;

	h->err = mount_fd_connect(path, h->uid, h->pid, 5000, &sock, &h->why);
	if (h->err)
		return NULL;
	h->err = mount_fd_hand_over(sock, h->fd, 5000, &h->why);
	close(sock);
	return NULL;
}

static void start(struct helper *h, int fd)
{
	*h = (struct helper){ .fd = fd, .uid = getuid(), .pid = getpid() };
	assert_int_equal(pthread_create(&h->thread, NULL, helper_main, h), 0);
}

static void finish(struct helper *h, enum err want, const char *text)
{
	pthread_join(h->thread, NULL);
	assert_int_equal(h->err, want);
	assert_int_equal(buf_add(&h->why, "", 1), OK);
	if (!strstr((char *)h->why.p, text))
		fail_msg("\"%s\" is not in \"%s\"", text, (char *)h->why.p);
	buf_done(&h->why);
}

static int fuse_or_skip(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		print_message("skipped: /dev/fuse cannot be opened\n");
		skip();
	}
	return fd;
}

static void a_descriptor_travels_and_is_answered(void **state)
{
	int fuse = fuse_or_skip(), got = -1;
	struct helper h;
	struct stat st;

	start(&h, fuse);
	assert_int_equal(mount_fd_receive(&m, 5000, &got), OK);
	assert_true(got >= 0 && got != fuse);
	assert_int_equal(fstat(got, &st), 0);
	assert_true(S_ISCHR(st.st_mode));
	assert_true(fcntl(got, F_GETFD) & FD_CLOEXEC);
	mount_fd_answer(&m, NULL);
	finish(&h, OK, "");
	close(got);

	/* Again, as after a reconfiguration; this time it is not served. */
	start(&h, fuse);
	assert_int_equal(mount_fd_receive(&m, 5000, &got), OK);
	mount_fd_answer(&m, "no\nmemory\x1b[2J");
	finish(&h, ERR_INVALID, "the daemon: no memory [2J\n");
	close(got);
	close(fuse);
}

static void what_is_no_fuse_descriptor_is_refused(void **state)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), got = -1;
	struct helper h;

	start(&h, null);
	assert_int_equal(mount_fd_receive(&m, 300, &got), ERR_PENDING);
	finish(&h, ERR_IO, "let go");
	assert_int_equal(got, -1);
	close(null);
}

static int connect_raw(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	memcpy(a.sun_path, path, strlen(path) + 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* n bytes with the descriptors given. False: the other end has gone. */
static bool send_raw(int sock, const void *p, size_t n, const int *fd,
		     size_t count)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))];
	struct iovec iov = { .iov_base = (void *)p, .iov_len = n };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	memset(control, 0, sizeof(control));
	if (count) {
		struct cmsghdr *c = (struct cmsghdr *)control;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), fd, count * sizeof(int));
	}
	return sendmsg(sock, &msg, MSG_NOSIGNAL) == (ssize_t)n;
}

static int open_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void malformed_messages_leave_nothing_and_the_wait_goes_on(void **state)
{
	int fuse = fuse_or_skip(), got = -1, before = open_descriptors();
	int many[6] = { fuse, fuse, fuse, fuse, fuse, fuse };
	int sock[5];
	struct helper h;

	for (int i = 0; i < 4; i++)
		sock[i] = connect_raw();
	assert_true(send_raw(sock[0], "RFM1", 4, NULL, 0));
	assert_true(send_raw(sock[1], "RFM2", 4, &fuse, 1));
	assert_true(send_raw(sock[2], "RFM1 and more", 13, &fuse, 1));
	assert_true(send_raw(sock[3], "RFM1", 4, many, 6));
	assert_int_equal(mount_fd_receive(&m, 200, &got), ERR_PENDING);
	for (int i = 0; i < 4; i++)
		close(sock[i]);
	assert_int_equal(open_descriptors(), before);

	start(&h, fuse);
	assert_int_equal(mount_fd_receive(&m, 5000, &got), OK);
	mount_fd_answer(&m, NULL);
	finish(&h, OK, "");
	close(got);
	close(fuse);
}

static void nobody_waits_for_ever(void **state)
{
	struct helper h;
	int got = -1, null;

	/* The daemon for a helper, and for one that says nothing. */
	assert_int_equal(mount_fd_receive(&m, 20, &got), ERR_PENDING);
	null = connect_raw();
	assert_int_equal(mount_fd_receive(&m, 20, &got), ERR_PENDING);
	close(null);

	/* The helper for a daemon that is not there, or goes. */
	mount_fd_close(&m);
	assert_int_equal(access(path, F_OK), -1);
	h = (struct helper){ .uid = getuid() };
	h.err = mount_fd_connect(path, h.uid, 0, 100, &got, &h.why);
	assert_int_equal(h.err, ERR_NOT_FOUND);
	buf_done(&h.why);
	assert_int_equal(mount_fd_listen(path, &m), OK);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(mount_fd_connect(path, getuid(), 0, 100, &got, &h.why),
			 OK);
	assert_int_equal(mount_fd_hand_over(got, null, 50, &h.why),
			 ERR_PENDING);
	close(got);
	close(null);
	buf_done(&h.why);
}

static void the_helper_speaks_to_the_daemon_only(void **state)
{
	struct buf why = BUF_INIT;
	int sock = -1;

	assert_int_equal(
		mount_fd_connect(path, getuid() + 1, 0, 100, &sock, &why),
		ERR_PERMISSION);
	assert_int_equal(mount_fd_connect(path, getuid(), getpid() + 1, 100,
					  &sock, &why),
			 ERR_PERMISSION);
	assert_int_equal(sock, -1);
	buf_done(&why);
}

static void the_daemon_listens_to_root_and_itself_only(void **state)
{
	int fuse = fuse_or_skip(), got = -1, status;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(chmod(path, 0666), 0);
	pid = fork();
	if (pid == 0) {
		struct sockaddr_un a = { .sun_family = AF_UNIX };
		int sock = socket(AF_UNIX, SOCK_SEQPACKET, 0);

		memcpy(a.sun_path, path, strlen(path) + 1);
		if (setgid(65534) || setuid(65534) ||
		    connect(sock, (struct sockaddr *)&a, sizeof(a)))
			_exit(1);
		(void)!send_raw(sock, "RFM1", 4, &fuse, 1);
		_exit(0);
	}
	assert_int_equal(mount_fd_receive(&m, 500, &got), ERR_PENDING);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(fuse);
}

static void what_a_killed_daemon_left_is_replaced(void **state)
{
	struct mount_fd again;
	struct stat st;
	char text[200];

	assert_int_equal(mount_fd_listen(path, &again), OK);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	mount_fd_close(&again);
	assert_int_equal(stat(path, &st), -1);
	mount_fd_close(&again); /* once more is nothing */
	memset(text, 'x', sizeof(text));
	text[0] = '/';
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(mount_fd_listen(text, &again), ERR_INVALID);
	mount_fd_close(&again);
	assert_int_equal(mount_fd_listen("/nowhere/at/all", &again),
			 ERR_NOT_FOUND);
}

static void the_unit_says_whether_there_is_a_helper(void **state)
{
	char got[MOUNT_FD_PATH_BYTES], text[200];

	unsetenv("RAFTCASK_MOUNT_HELPER");
	setenv("RUNTIME_DIRECTORY", "/run/raftcask", 1);
	assert_false(mount_fd_helper(got));
	setenv("RAFTCASK_MOUNT_HELPER", "1", 1);
	assert_true(mount_fd_helper(got));
	assert_string_equal(got, "/run/raftcask/mount.sock");
	memset(text, 'x', sizeof(text));
	text[0] = '/';
	text[sizeof(text) - 1] = '\0';
	setenv("RUNTIME_DIRECTORY", text, 1);
	assert_false(mount_fd_helper(got));
	unsetenv("RUNTIME_DIRECTORY");
	assert_false(mount_fd_helper(got));
	unsetenv("RAFTCASK_MOUNT_HELPER");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_descriptor_travels_and_is_answered),
		CASE(what_is_no_fuse_descriptor_is_refused),
		CASE(malformed_messages_leave_nothing_and_the_wait_goes_on),
		CASE(nobody_waits_for_ever),
		CASE(the_helper_speaks_to_the_daemon_only),
		CASE(the_daemon_listens_to_root_and_itself_only),
		CASE(what_a_killed_daemon_left_is_replaced),
		CASE(the_unit_says_whether_there_is_a_helper),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
