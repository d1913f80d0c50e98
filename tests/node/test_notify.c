/*
 * What the service manager hears: the messages by themselves, and those of a
 * real daemon from its start to its stop. $BUILD has the daemon.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "node/notify.h"
#include "tests/lib/tmpdir.h"

static void the_manager_is_told_by_one_datagram(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char *dir = tmpdir_make(), got[64];
	ssize_t n;
	int fd;

	unsetenv("NOTIFY_SOCKET");
	notify_send("READY=1"); /* nobody listens: nothing happens */
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/notify", dir);
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	setenv("NOTIFY_SOCKET", addr.sun_path, 1);
	notify_send("READY=1");
	n = recv(fd, got, sizeof(got), 0);
	assert_int_equal(n, 7);
	assert_memory_equal(got, "READY=1", 7);
	notify_reloading(5000000);
	n = recv(fd, got, sizeof(got), 0);
	assert_int_equal(n, 31);
	assert_memory_equal(got, "RELOADING=1\nMONOTONIC_USEC=5000", 31);
	unsetenv("NOTIFY_SOCKET");
	close(fd);
	tmpdir_remove(dir);
}

static void the_watchdog_is_fed_twice_in_its_time(void **state)
{
	char pid[32];

	unsetenv("WATCHDOG_PID");
	unsetenv("WATCHDOG_USEC");
	assert_int_equal(notify_watchdog_ms(), 0);
	setenv("WATCHDOG_USEC", "30000000", 1);
	assert_int_equal(notify_watchdog_ms(), 15000);
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(notify_watchdog_ms(), 0);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	assert_int_equal(notify_watchdog_ms(), 15000);
}

/* A socket to hear on, named in $NOTIFY_SOCKET; a minute of patience. */
static int listen_in(const char *dir)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = 60 };
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	assert_true(fd >= 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/notify", dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
				    sizeof(patience)),
			 0);
	setenv("NOTIFY_SOCKET", addr.sun_path, 1);
	return fd;
}

/* The next message that begins with want arrives. */
static void hears(int fd, const char *want)
{
	char got[256];
	ssize_t n;

	do {
		n = recv(fd, got, sizeof(got), 0);
		if (n < 0)
			fail_msg("%s was not heard", want);
	} while ((size_t)n < strlen(want) ||
		 memcmp(got, want, strlen(want)) != 0);
}

static pid_t start_daemon(const char *dir)
{
	const char *build = getenv("BUILD");
	char program[512], data[128];
	pid_t pid;

	snprintf(program, sizeof(program), "%s/raftcaskd",
		 build ? build : "build");
	snprintf(data, sizeof(data), "%s/data", dir);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		execl(program, program, "--config", "/dev/null", "--data-dir",
		      data, "--http", "127.0.0.1:0", "--log-level", "error",
		      (char *)NULL);
		_exit(127);
	}
	return pid;
}

static void a_daemon_tells_its_manager_how_it_is(void **state)
{
	char *dir = tmpdir_make();
	int fd = listen_in(dir), status;
	pid_t pid;

	unsetenv("WATCHDOG_PID");
	setenv("WATCHDOG_USEC", "400000", 1);
	pid = start_daemon(dir);
	hears(fd, "READY=1");
	hears(fd, "WATCHDOG=1");
	assert_int_equal(kill(pid, SIGHUP), 0);
	hears(fd, "RELOADING=1\nMONOTONIC_USEC=");
	hears(fd, "READY=1");
	hears(fd, "WATCHDOG=1");
	assert_int_equal(kill(pid, SIGTERM), 0);
	hears(fd, "STOPPING=1");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(fd);
	tmpdir_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_manager_is_told_by_one_datagram),
		cmocka_unit_test(the_watchdog_is_fed_twice_in_its_time),
		cmocka_unit_test(a_daemon_tells_its_manager_how_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
