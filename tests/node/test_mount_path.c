/*
 * Where root mounts and where not, that a mount made that way works, and that a
 * dead one goes. Runs in a mount table of its own; needs root.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/mount_path.h"
#include "tests/lib/fuse_server.h"
#include "tests/lib/tmpdir.h"

enum { DAEMON_UID = 4711 };

static char *dir;
static bool ready;

/* The whole tree is root's, on a file system of its own. */
static int own_mounts(void **state)
{
	dir = tmpdir_make();
	ready = geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0 &&
		!unshare(CLONE_NEWNS) &&
		!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
		!mount("tmpfs", "/mnt", "tmpfs", 0, "mode=0755");
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

static int fresh(void **state)
{
	if (!ready)
		return 0;
	umount2("/mnt", MNT_DETACH);
	assert_int_equal(mount("tmpfs", "/mnt", "tmpfs", 0, "mode=0755"), 0);
	assert_int_equal(mkdir("/mnt/keys", 0755), 0);
	assert_int_equal(mkdir("/mnt/var", 0755), 0);
	assert_int_equal(mkdir("/mnt/var/data", 0700), 0);
	return 0;
}

static void refused(const char *path, const char *reason)
{
	struct buf why = BUF_INIT;
	struct mount_path m;
	int before = dup(0), after;

	assert_int_equal(mount_path_open(path, "/mnt/var/data", &m, &why),
			 ERR_INVALID);
	assert_int_equal(buf_add(&why, "", 1), OK);
	if (!strstr((char *)why.p, reason))
		fail_msg("%s: \"%s\" is not in \"%s\"", path, reason,
			 (char *)why.p);
	buf_done(&why);
	close(before);
	after = dup(0);
	assert_int_equal(after, before); /* nothing was left open */
	close(after);
	mount_path_close(&m);
}

static void doubtful_paths_are_refused(void **state)
{
	if (!ready)
		skip();
	refused("mnt/keys", "absolute");
	refused("", "absolute");
	refused("/", "no mount point");
	refused("///", "no mount point");
	refused("/mnt/../mnt/keys", ".. in it");
	refused("/mnt/./keys", ". or ..");
	assert_int_equal(close(creat("/mnt/file", 0644)), 0);
	refused("/mnt/file", "no directory");
	refused("/mnt/file/below", "no directory");
	assert_int_equal(symlink("keys", "/mnt/link"), 0);
	refused("/mnt/link", "no directory");
	refused("/mnt/link/below", "symbolic link");
	assert_int_equal(close(creat("/mnt/keys/file", 0644)), 0);
	refused("/mnt/keys", "not empty");
}

static void the_data_directory_is_never_mounted_over(void **state)
{
	if (!ready)
		skip();
	refused("/mnt/var/data", "data directory");
	refused("/mnt/var/data/", "data directory");
	refused("/mnt/var/data/below", "in the data directory");
	refused("/mnt/var", "contains the data directory");
	/* By another way to the same place. */
	assert_int_equal(mkdir("/mnt/other", 0755), 0);
	assert_int_equal(mount("/mnt/var", "/mnt/other", NULL, MS_BIND, NULL),
			 0);
	refused("/mnt/other/data", "data directory");
	refused("/mnt/other/data/x", "in the data directory");
	umount2("/mnt/other", MNT_DETACH);
}

static void a_parent_that_others_may_write_to_is_refused(void **state)
{
	struct buf why = BUF_INIT;
	struct mount_path m;

	if (!ready)
		skip();
	assert_int_equal(mkdir("/mnt/loose", 0755), 0);
	assert_int_equal(mkdir("/mnt/loose/keys", 0755), 0);
	assert_int_equal(chmod("/mnt/loose", 0777), 0);
	refused("/mnt/loose/keys", "others than root");
	assert_int_equal(chmod("/mnt/loose", 0775), 0);
	refused("/mnt/loose/keys", "others than root");
	assert_int_equal(chmod("/mnt/loose", 0755), 0);
	assert_int_equal(chown("/mnt/loose", DAEMON_UID, 0), 0);
	refused("/mnt/loose/keys", "others than root");
	refused("/mnt/loose/keys/deep", "others than root");
	/* As in /tmp: others' names cannot be exchanged there. */
	assert_int_equal(chown("/mnt/loose", 0, 0), 0);
	assert_int_equal(chmod("/mnt/loose", 01777), 0);
	assert_int_equal(
		mount_path_open("/mnt/loose/keys", "/mnt/var/data", &m, &why),
		OK);
	mount_path_close(&m);
	buf_done(&why);
}

static void mount_at(const char *path, int *fd)
{
	struct buf why = BUF_INIT;
	struct mount_path m;

	assert_int_equal(mount_path_open(path, "/mnt/var/data", &m, &why), OK);
	assert_int_equal(mount_path_mount(&m, DAEMON_UID, 4712, true, fd, &why),
			 OK);
	mount_path_close(&m);
	buf_done(&why);
}

static bool mountinfo_has(const char *text)
{
	FILE *f = fopen("/proc/self/mountinfo", "r");
	char line[4096];
	bool found = false;

	while (fgets(line, sizeof(line), f))
		found = found || strstr(line, text);
	fclose(f);
	return found;
}

static void a_mount_works_until_its_daemon_dies(void **state)
{
	struct fuse_server *s;
	unsigned count = 99;
	struct statfs fs;
	struct stat st;
	int fd;

	if (!ready)
		skip();
	/* A last directory that is missing is made. */
	mount_at("/mnt/new one", &fd);
	s = fuse_server_start(fd);
	assert_true(mountinfo_has("/mnt/new\\040one rw,nosuid,nodev,"));
	assert_true(mountinfo_has("fuse.raftcask raftcask rw,user_id=4711,"
				  "group_id=4712,default_permissions,"
				  "allow_other"));
	assert_int_equal(statfs("/mnt/new one", &fs), 0);
	assert_int_equal(fs.f_type, 0x65735546);
	assert_int_equal(stat("/mnt/new one", &st), 0);

	/* One that lives is left alone. */
	assert_int_equal(mount_path_detach_dead(DAEMON_UID, &count), OK);
	assert_int_equal(count, 0);
	fuse_server_stop(s);
	assert_int_equal(statfs("/mnt/new one", &fs), -1);
	assert_int_equal(errno, ENOTCONN);

	/* A dead one of somebody else too. */
	assert_int_equal(mount_path_detach_dead(DAEMON_UID + 1, &count), OK);
	assert_int_equal(count, 0);
	assert_int_equal(mount_path_detach_dead(DAEMON_UID, &count), OK);
	assert_int_equal(count, 1);
	assert_int_equal(stat("/mnt/new one", &st), 0);
	assert_false(mountinfo_has(" /mnt/new"));
}

/* Root itself may not enter them, and still sees that they are dead. */
static void every_dead_mount_goes_closed_ones_too(void **state)
{
	struct buf why = BUF_INIT;
	struct mount_path m;
	unsigned count = 0;
	int fd;

	if (!ready)
		skip();
	assert_int_equal(mount_path_open("/mnt/keys", "/nowhere", &m, &why),
			 OK);
	assert_int_equal(mount_path_mount(&m, DAEMON_UID, 0, false, &fd, &why),
			 OK);
	mount_path_close(&m);
	close(fd);
	mount_at("/mnt/more", &fd);
	close(fd);
	assert_int_equal(mount_path_detach_dead(DAEMON_UID, &count), OK);
	assert_int_equal(count, 2);
	assert_false(mountinfo_has(" /mnt/keys ") ||
		     mountinfo_has(" /mnt/more "));
	buf_done(&why);
}

static void a_mount_is_undone_by_its_place(void **state)
{
	struct buf why = BUF_INIT;
	struct mount_path m;
	int fd;

	if (!ready)
		skip();
	assert_int_equal(mount_path_open("/mnt/keys/", "/nowhere", &m, &why),
			 OK);
	assert_int_equal(mount_path_mount(&m, 0, 0, false, &fd, &why), OK);
	assert_true(mountinfo_has(" /mnt/keys "));
	assert_int_equal(mount_path_detach(&m), OK);
	assert_false(mountinfo_has(" /mnt/keys "));
	assert_int_equal(mount_path_detach(&m), ERR_IO);
	close(fd);
	mount_path_close(&m);
	buf_done(&why);
}

/* A child that has ended and is not waited for: its threads could hang. */
static pid_t zombie(void)
{
	pid_t pid = fork();
	char name[32], text[256], *p;
	FILE *f;

	if (!pid)
		_exit(0);
	snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
	do {
		f = fopen(name, "r");
		text[fread(text, 1, sizeof(text) - 1, f)] = 0;
		fclose(f);
		p = strrchr(text, ')');
	} while (!p || p[2] != 'Z');
	return pid;
}

static void write_lock(pid_t pid)
{
	FILE *f = fopen("/mnt/var/data/LOCK", "w");

	fprintf(f, "%d\n", (int)pid);
	fclose(f);
}

/* Nobody answers it; its exit status is the errno that it got. */
static pid_t waits_in(const char *path)
{
	pid_t pid = fork();
	struct stat st;

	if (!pid)
		_exit(stat(path, &st) ? errno : 0);
	return pid;
}

static void a_mount_that_hangs_with_its_daemon_is_ended(void **state)
{
	pid_t ended, waiting;
	int fd, status;

	if (!ready)
		skip();
	ended = zombie();
	mount_at("/mnt/keys", &fd);
	waiting = waits_in("/mnt/keys/name");
	/* Not of one that lives, or of somebody else's, or elsewhere. */
	write_lock(getpid());
	mount_path_end_hung("/mnt/keys", "/mnt/var/data", DAEMON_UID);
	write_lock(ended);
	mount_path_end_hung("/mnt/keys", "/mnt/var/data", DAEMON_UID + 1);
	mount_path_end_hung("/mnt/other", "/mnt/var/data", DAEMON_UID);
	assert_true(mountinfo_has(" /mnt/keys "));
	assert_int_equal(waitpid(waiting, &status, WNOHANG), 0);
	/* Nor by a file that is none. */
	assert_int_equal(rename("/mnt/var/data/LOCK", "/mnt/var/l"), 0);
	assert_int_equal(symlink("../l", "/mnt/var/data/LOCK"), 0);
	mount_path_end_hung("/mnt/keys", "/mnt/var/data", DAEMON_UID);
	assert_int_equal(unlink("/mnt/var/data/LOCK"), 0);
	assert_int_equal(mkfifo("/mnt/var/data/LOCK", 0600), 0);
	mount_path_end_hung("/mnt/keys", "/mnt/var/data", DAEMON_UID);
	assert_true(mountinfo_has(" /mnt/keys "));
	assert_int_equal(rename("/mnt/var/l", "/mnt/var/data/LOCK"), 0);

	mount_path_end_hung("/mnt/keys/", "/mnt/var/data", DAEMON_UID);
	assert_false(mountinfo_has(" /mnt/keys "));
	assert_int_equal(waitpid(waiting, &status, 0), waiting);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == ECONNABORTED ||
		    WEXITSTATUS(status) == ENOTCONN);
	assert_int_equal(waitpid(ended, &status, 0), ended);
	close(fd);
}

#define CASE(f) cmocka_unit_test_setup(f, fresh)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(doubtful_paths_are_refused),
		CASE(the_data_directory_is_never_mounted_over),
		CASE(a_parent_that_others_may_write_to_is_refused),
		CASE(a_mount_works_until_its_daemon_dies),
		CASE(every_dead_mount_goes_closed_ones_too),
		CASE(a_mount_that_hangs_with_its_daemon_is_ended),
		CASE(a_mount_is_undone_by_its_place),
	};

	return cmocka_run_group_tests(tests, own_mounts, remove_dir);
}
