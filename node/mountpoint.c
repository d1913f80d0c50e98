/*
 * node/mountpoint.c - what must hold of a directory before keys are mounted
 * over it, so that nothing of the user's is hidden: it is empty, nothing else
 * is mounted there, and neither it nor the data directory lies in the other.
 *
 * A daemon that was killed leaves its mount behind, and every access to it
 * fails with ENOTCONN: that is how it is known. Unless it hangs: its teller
 * makes the kernel forget a name in a directory, which somebody holds who waits
 * for an answer of the daemon. Neither ends, nor does the process, until the
 * connection is aborted, and nobody else will do that.
 */
#include "node/mountpoint.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/process.h"

extern char **environ;

enum { ENDING_LOOK_MS = 10, ENDING_LOOKS = 10, ENDING_LOOKS_MAX = 500 };

#define SAY(why, ...) (void)!buf_addf(why, __VA_ARGS__)

/* Who is not root asks the helper that libfuse mounts with. */
static bool ask_helper(const char *path)
{
	char name[] = "fusermount3", u[] = "-u", z[] = "-z", q[] = "-q";
	char *copy = strdup(path);
	char *argv[] = { name, u, z, q, copy, NULL };
	int status = -1;
	pid_t pid;

	if (copy && !posix_spawnp(&pid, name, NULL, NULL, argv, environ))
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	free(copy);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void mountpoint_detach(const char *path, bool abort)
{
	if (!umount2(path, MNT_DETACH | (abort ? MNT_FORCE : 0)))
		return;
	if (errno == EPERM && ask_helper(path))
		return;
	log_warn("mount", "not_detached errno=%d", errno);
}

static bool is_stale(int error)
{
	return error == ENOTCONN || error == ECONNABORTED;
}

/* Only what is mounted has another device than its parent. */
static bool is_mounted(const char *path, const struct stat *st)
{
	char parent[PATH_MAX];
	struct stat up;

	snprintf(parent, sizeof(parent), "%s/..", path);
	return !stat(parent, &up) && up.st_dev != st->st_dev;
}

static bool is_empty(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *d;
	int count = 0;

	if (!dir)
		return false;
	while ((d = readdir(dir)))
		count += strcmp(d->d_name, ".") && strcmp(d->d_name, "..");
	closedir(dir);
	return !count;
}

/* Is path dir, or below it? Both are absolute, without links. */
static bool is_within(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(path, dir, n) == 0 &&
	       (path[n] == 0 || path[n] == '/' || strcmp(dir, "/") == 0);
}

static bool is_apart(const char *path, const char *data_dir, struct buf *why)
{
	char a[PATH_MAX], b[PATH_MAX];

	/* One that is not there yet holds nothing that could be hidden. */
	if (!realpath(path, a) || !realpath(data_dir, b))
		return true;
	if (!is_within(a, b) && !is_within(b, a))
		return true;
	SAY(why, "%s and the data directory %s lie in each other\n", path,
	    data_dir);
	return false;
}

/*
 * stat, and whether there is anybody behind it: what a dead mount's attributes
 * were the kernel remembers for a while, what lies in it only its daemon knows.
 */
static int ask(const char *path, struct stat *st)
{
	DIR *dir;

	if (stat(path, st))
		return errno;
	dir = opendir(path);
	if (!dir)
		return is_stale(errno) ? errno : 0;
	closedir(dir);
	return 0;
}

/* Whoever asks meanwhile must not see the end of it as an error. */
static int look(const char *path, struct stat *st)
{
	int error = ask(path, st);

	for (int i = 0; i < 8 && is_stale(error); i++) {
		log_info("mount", "stale_mount_detached");
		mountpoint_detach(path, false);
		error = ask(path, st);
	}
	if (error == ENOENT && !mkdir(path, 0755))
		error = ask(path, st);
	return error;
}

/*
 * Who had the data directory was killed and cannot end: the end of its mount is
 * that of what it hangs in. Only then is its lock free.
 */
static void end_hung(const char *path, const char *data_dir)
{
	char lock[PATH_MAX];

	snprintf(lock, sizeof(lock), "%s/LOCK", data_dir);
	for (int i = 0; process_of_file_is_ending(lock); i++) {
		if (i == ENDING_LOOKS) {
			log_info("mount", "hung_mount_ended");
			mountpoint_detach(path, true);
		}
		if (i == ENDING_LOOKS_MAX)
			return; /* the lock will tell */
		(void)!poll(NULL, 0, ENDING_LOOK_MS);
	}
}

bool mountpoint_prepare(const char *path, const char *data_dir, struct buf *why)
{
	struct stat st;
	int error;

	end_hung(path, data_dir);
	error = look(path, &st);
	if (error) {
		SAY(why, "%s: %s\n", path, strerror(error));
		return false;
	}
	if (!S_ISDIR(st.st_mode)) {
		SAY(why, "%s is not a directory\n", path);
		return false;
	}
	if (!is_apart(path, data_dir, why))
		return false;
	if (is_mounted(path, &st)) {
		SAY(why, "something is mounted at %s already\n", path);
		return false;
	}
	if (!is_empty(path)) {
		SAY(why, "%s is not empty: what is in it would be hidden\n",
		    path);
		return false;
	}
	return true;
}
