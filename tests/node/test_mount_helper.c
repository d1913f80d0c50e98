/*
 * The helper as systemd runs it, beside a process that plays the daemon: this
 * one. Runs in a mount table of its own; needs root.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/mount_fd.h"
#include "tests/lib/fuse_server.h"
#include "tests/lib/tmpdir.h"

static char *dir;
static char helper[512], run[64], conf[256], said[256];
static bool ready;

static int own_mounts(void **state)
{
	const char *build = getenv("BUILD");
	char cwd[256];

	dir = tmpdir_make();
	if (!getcwd(cwd, sizeof(cwd)))
		return -1;
	build = build ? build : "build";
	snprintf(helper, sizeof(helper), "%s%s%s/raftcask-mount-helper",
		 build[0] == '/' ? "" : cwd, build[0] == '/' ? "" : "/", build);
	snprintf(run, sizeof(run), "%s/run", dir);
	snprintf(conf, sizeof(conf), "%s/conf", dir);
	snprintf(said, sizeof(said), "%s/said", dir);
	ready = geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0 &&
		!unshare(CLONE_NEWNS) &&
		!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
		!mount("tmpfs", "/mnt", "tmpfs", 0, "mode=0755") &&
		!mkdir(run, 0755);
	if (!ready)
		print_message("skipped: root, /dev/fuse and a mount table are "
			      "needed\n");
	return 0;
}

static int remove_dir(void **state)
{
	tmpdir_remove(dir);
	return 0;
}

/* The configuration that mounts at path. */
static void configure(const char *path)
{
	FILE *f = fopen(conf, "w");

	assert_non_null(f);
	fprintf(f,
		"node: { data_dir = \"/mnt/data\"; };\n"
		"mount: { path = \"%s\"; };\n",
		path);
	assert_int_equal(fclose(f), 0);
}

static pid_t start(const char *verb, pid_t daemon)
{
	char pid[32];
	pid_t child;
	int out;

	snprintf(pid, sizeof(pid), "%d", (int)daemon);
	child = fork();
	assert_true(child >= 0);
	if (child > 0)
		return child;
	setenv("RUNTIME_DIRECTORY", run, 1);
	setenv("MAINPID", pid, 1);
	out = open(said, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	dup2(out, 2);
	execl(helper, helper, "--config", conf, verb, (char *)NULL);
	_exit(127);
}

static int end_of(pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* What it wrote has text in it. */
static void it_said(const char *text)
{
	char got[1024];
	FILE *f = fopen(said, "r");
	size_t n = fread(got, 1, sizeof(got) - 1, f);

	fclose(f);
	got[n] = '\0';
	if (!strstr(got, text))
		fail_msg("\"%s\" is not in \"%s\"", text, got);
}

static void wait_for_it(struct mount_fd *m, int *fd)
{
	char path[MOUNT_FD_PATH_BYTES];

	snprintf(path, sizeof(path), "%s/mount.sock", run);
	assert_int_equal(mount_fd_listen(path, m), OK);
	configure("/mnt/keys");
	*fd = -1;
}

/* By the list: a mount that nobody serves yet would not answer. */
static bool is_mounted(void)
{
	FILE *f = fopen("/proc/self/mountinfo", "r");
	char line[4096];
	bool found = false;

	while (fgets(line, sizeof(line), f))
		found = found || strstr(line, " /mnt/keys ");
	fclose(f);
	return found;
}

static void a_mount_is_passed_served_and_taken_away(void **state)
{
	struct fuse_server *s;
	struct mount_fd m;
	struct stat st;
	pid_t child;
	int fd;

	if (!ready)
		skip();
	wait_for_it(&m, &fd);
	for (int round = 0; round < 2; round++) {
		child = start("mount", getpid());
		assert_int_equal(mount_fd_receive(&m, 10000, &fd), OK);
		s = fuse_server_start(fd);
		mount_fd_answer(&m, NULL);
		assert_int_equal(end_of(child), 0);
		it_said("");
		assert_true(is_mounted());
		assert_int_equal(stat("/mnt/keys", &st), 0);
		assert_int_equal(st.st_ino, 1);

		/* As at a crash: the next start replaces what is dead. */
		fuse_server_stop(s);
		assert_int_equal(stat("/mnt/keys", &st), -1);
		assert_int_equal(errno, ENOTCONN);
	}
	assert_int_equal(end_of(start("unmount", 0)), 0);
	assert_false(is_mounted());
	assert_int_equal(end_of(start("unmount", 0)), 0);
	mount_fd_close(&m);
}

static void a_mount_that_is_not_served_is_undone(void **state)
{
	struct mount_fd m;
	pid_t child;
	int fd;

	if (!ready)
		skip();
	wait_for_it(&m, &fd);
	child = start("mount", getpid());
	assert_int_equal(mount_fd_receive(&m, 10000, &fd), OK);
	assert_true(is_mounted());
	mount_fd_answer(&m, "no memory for it");
	assert_int_equal(end_of(child), 1);
	it_said("the daemon: no memory for it\n");
	assert_false(is_mounted());
	close(fd);
	mount_fd_close(&m);
}

static void nothing_is_mounted_for_others_or_in_wrong_places(void **state)
{
	struct mount_fd m;
	int fd;

	if (!ready)
		skip();
	wait_for_it(&m, &fd);
	assert_int_equal(end_of(start("mount", getpid() + 1)), 1);
	it_said("not to the daemon");
	configure("/mnt");
	assert_int_equal(end_of(start("mount", getpid())), 1);
	it_said("not empty");
	configure("/mnt/data");
	assert_int_equal(mkdir("/mnt/data", 0755), 0);
	assert_int_equal(end_of(start("mount", getpid())), 1);
	it_said("data directory");
	configure("relative");
	assert_int_equal(end_of(start("mount", getpid())), 1);
	it_said("not an absolute path");
	mount_fd_close(&m);
	configure("/mnt/keys");
	assert_int_equal(end_of(start("mount", getpid())), 1);
	it_said("no daemon waits there");
	assert_false(is_mounted());
}

static void without_a_path_there_is_nothing_to_do(void **state)
{
	if (!ready)
		skip();
	configure("");
	assert_int_equal(end_of(start("mount", getpid())), 0);
	it_said("");
}

static void faults_of_the_call_have_their_exit_codes(void **state)
{
	if (!ready)
		skip();
	configure("/mnt/keys\"; wrong = \"");
	assert_int_equal(end_of(start("mount", getpid())), 78);
	it_said("mount.wrong");
	/* A dead mount goes away all the same. */
	assert_int_equal(end_of(start("unmount", 0)), 0);
	assert_int_equal(end_of(start("remount", 0)), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mount_is_passed_served_and_taken_away),
		cmocka_unit_test(a_mount_that_is_not_served_is_undone),
		cmocka_unit_test(
			nothing_is_mounted_for_others_or_in_wrong_places),
		cmocka_unit_test(without_a_path_there_is_nothing_to_do),
		cmocka_unit_test(faults_of_the_call_have_their_exit_codes),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, own_mounts, remove_dir);
}
