/*
 * node/mount_path.c - walking to a mount point by descriptors.
 *
 *	/        srv          raftcask
 *	root's,  root's,      parent and name are kept: mount(2) goes to
 *	O_PATH   O_PATH       /proc/self/fd/DIR, umount2(2) to
 *	                      /proc/self/fd/PARENT/NAME, neither by the path
 */
#include "node/mount_path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/process.h"

enum {
	DEAD_MAX = 64,	 /* detached in one call                          */
	DEPTH_MAX = 256, /* of the data directory                          */
	OPTION_BYTES = 256,
	ASK_S = 10, /* a mount that lives answers sooner, or hangs */
	LOOK_MS = 10,
	HUNG_LOOKS = 10,  /* a daemon that ends, so often, hangs           */
	ENDED_LOOKS = 100 /* and has ended by then, without its mount      */
};

/* Where the data directory is; st_ino 0: nowhere. */
struct place {
	dev_t dev;
	ino_t ino;
};

static bool is_at(const struct place *p, const struct stat *st)
{
	return p->ino && p->dev == st->st_dev && p->ino == st->st_ino;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static enum err err_of(int number)
{
	return number == ENOENT || number == ENODEV  ? ERR_NOT_FOUND
	       : number == EACCES || number == EPERM ? ERR_PERMISSION
						     : ERR_IO;
}

static enum err refuse(struct buf *why, const char *path, const char *reason)
{
	(void)!buf_addf(why, "%s: %s\n", path, reason);
	return ERR_INVALID;
}

static enum err fail(struct buf *why, const char *path, const char *what)
{
	enum err err = err_of(errno);

	(void)!buf_addf(why, "%s: %s: %s\n", path, what, strerror(errno));
	return err;
}

/* The next component of *p, which then stands behind it. 0: there is none. */
static size_t next_component(const char **p, const char **from)
{
	*p += strspn(*p, "/");
	*from = *p;
	*p += strcspn(*p, "/");
	return (size_t)(*p - *from);
}

static bool is_last(const char *p)
{
	return p[strspn(p, "/")] == '\0';
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Only root may put another directory in the place of one in this one. */
static bool is_roots(const struct stat *st)
{
	if (st->st_uid != 0)
		return false;
	return !(st->st_mode & (S_IWGRP | S_IWOTH)) || (st->st_mode & S_ISVTX);
}

static enum err step_into(struct mount_path *m, const char *path,
			  struct buf *why)
{
	int fd = openat(m->parent, m->name,
			O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
		return refuse(why, path,
			      "has a symbolic link or no directory in it");
	if (fd < 0)
		return fail(why, path, "cannot be opened");
	close_fd(&m->parent);
	m->parent = fd;
	return OK;
}

static enum err check_parent(const struct mount_path *m, const char *path,
			     const struct place *data, struct buf *why)
{
	struct stat st;

	if (fstat(m->parent, &st))
		return fail(why, path, "cannot be looked at");
	if (!is_roots(&st))
		return refuse(why, path,
			      "others than root may write to a directory "
			      "above it");
	if (is_at(data, &st))
		return refuse(why, path, "lies in the data directory");
	return OK;
}

/* To the directory above path: m->parent and m->name. */
static enum err walk(const char *path, const struct place *data,
		     struct mount_path *m, struct buf *why)
{
	const char *p = path, *from;
	enum err err = OK;
	size_t n;

	m->parent = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (m->parent < 0)
		return fail(why, "/", "cannot be opened");
	while (!err) {
		n = next_component(&p, &from);
		if (n == 0)
			return refuse(why, path, "is no mount point");
		if (n >= sizeof(m->name))
			return refuse(why, path, "has a name that is too long");
		memcpy(m->name, from, n);
		m->name[n] = '\0';
		if (is_dots(m->name))
			return refuse(why, path, "has . or .. in it");
		err = check_parent(m, path, data, why);
		if (!err && is_last(p))
			return OK;
		if (!err)
			err = step_into(m, path, why);
	}
	return err;
}

static enum err check_empty(int dir, const char *path, struct buf *why)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;
	bool empty = true;
	DIR *d;

	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		enum err err = fail(why, path, "cannot be read");

		close_fd(&fd);
		return err;
	}
	while (empty && (e = readdir(d)))
		empty = is_dots(e->d_name);
	closedir(d);
	return empty ? OK : refuse(why, path, "is not empty");
}

/* Whether data_dir is dir or lies below it, by the way up to the root. */
static enum err check_not_above(const struct stat *dir, const char *path,
				const char *data_dir, struct buf *why)
{
	int fd = open(data_dir, O_PATH | O_DIRECTORY | O_CLOEXEC), up;
	struct stat st, below = { 0 };
	enum err err = OK;

	for (int i = 0; !err && fd >= 0 && i < DEPTH_MAX; i++) {
		if (fstat(fd, &st) || (i && st.st_dev == below.st_dev &&
				       st.st_ino == below.st_ino))
			break; /* the root is above itself */
		if (st.st_dev == dir->st_dev && st.st_ino == dir->st_ino)
			err = refuse(why, path,
				     "is or contains the data directory");
		below = st;
		up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		close_fd(&fd);
		fd = up;
	}
	close_fd(&fd);
	return err;
}

static enum err open_dir(const char *path, const char *data_dir,
			 struct mount_path *m, struct buf *why)
{
	struct stat st;
	enum err err;

	if (mkdirat(m->parent, m->name, 0755) && errno != EEXIST)
		return fail(why, path, "cannot be made");
	m->dir = openat(m->parent, m->name,
			O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (m->dir < 0 && (errno == ELOOP || errno == ENOTDIR))
		return refuse(why, path, "is no directory");
	if (m->dir < 0)
		return fail(why, path, "cannot be opened");
	if (fstat(m->dir, &st))
		return fail(why, path, "cannot be looked at");
	err = check_not_above(&st, path, data_dir, why);
	return err ? err : check_empty(m->dir, path, why);
}

enum err mount_path_open(const char *path, const char *data_dir,
			 struct mount_path *m, struct buf *why)
{
	struct place data = { 0 };
	struct stat st;
	enum err err;

	*m = (struct mount_path){ .parent = -1, .dir = -1 };
	if (path[0] != '/')
		return refuse(why, path, "is not an absolute path");
	if (!stat(data_dir, &st))
		data = (struct place){ .dev = st.st_dev, .ino = st.st_ino };
	err = walk(path, &data, m, why);
	if (!err)
		err = open_dir(path, data_dir, m, why);
	if (err)
		mount_path_close(m);
	return err;
}

void mount_path_close(struct mount_path *m)
{
	close_fd(&m->dir);
	close_fd(&m->parent);
}

enum err mount_path_mount(const struct mount_path *m, uid_t uid, gid_t gid,
			  bool allow_other, int *out, struct buf *why)
{
	char options[OPTION_BYTES], target[64];
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	enum err err;

	if (fd < 0)
		return fail(why, "/dev/fuse", "cannot be opened");
	snprintf(target, sizeof(target), "/proc/self/fd/%d", m->dir);
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=%u,group_id=%u,"
		 "default_permissions%s",
		 fd, (unsigned)uid, (unsigned)gid,
		 allow_other ? ",allow_other" : "");
	if (mount(MOUNT_PATH_SOURCE, target, MOUNT_PATH_TYPE,
		  MS_NOSUID | MS_NODEV, options)) {
		err = fail(why, m->name, "cannot be mounted over");
		close_fd(&fd);
		return err;
	}
	*out = fd;
	return OK;
}

enum err mount_path_detach(const struct mount_path *m)
{
	char target[64 + sizeof(m->name)];

	snprintf(target, sizeof(target), "/proc/self/fd/%d/%s", m->parent,
		 m->name);
	return umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) ? ERR_IO : OK;
}

/* ------------------------------------------------------------ the dead --- */

/* mountinfo writes blanks, tabs, line feeds and backslashes in octal. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *p = text; *p; to++) {
		if (p[0] == '\\' && p[1] && p[2] && p[3]) {
			*to = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 |
				     (p[3] - '0'));
			p += 4;
		} else {
			*to = *p++;
		}
	}
	*to = '\0';
}

/* A mount of raftcask, by a line of mountinfo. */
struct mounted {
	char *point; /* in the line */
	unsigned uid, gid;
};

/*
 * The line is: id parent dev root POINT options... - TYPE source SUPER, where
 * SUPER has rw,user_id=U,group_id=G,... False: not one of raftcask.
 */
static bool mounted_of(char *line, struct mounted *m)
{
	char *rest, *owner, type[64];

	m->point = line;
	for (int i = 0; m->point && i < 4; i++) {
		m->point = strchr(m->point, ' ');
		m->point = m->point ? m->point + 1 : NULL;
	}
	rest = m->point ? strstr(m->point, " - ") : NULL;
	if (!rest || sscanf(rest, " - %63s", type) != 1 ||
	    strcmp(type, MOUNT_PATH_TYPE) != 0)
		return false;
	owner = strrchr(rest, ' ');
	owner = owner ? strstr(owner, "user_id=") : NULL;
	if (!owner ||
	    sscanf(owner, "user_id=%u,group_id=%u", &m->uid, &m->gid) != 2)
		return false;
	m->point[strcspn(m->point, " ")] = '\0';
	unescape(m->point);
	return true;
}

/*
 * A mount without allow_other tells anybody but its owner, root too, that all
 * is well; so its owner is who asks.
 */
static bool is_dead(int dir, const struct mounted *m)
{
	struct statfs fs;
	pid_t child = fork();
	int status;

	if (child == 0) {
		alarm(ASK_S);
		if (setresgid(m->gid, m->gid, m->gid) ||
		    setresuid(m->uid, m->uid, m->uid))
			_exit(0);
		_exit(fstatfs(dir, &fs) && errno == ENOTCONN);
	}
	return child > 0 && waitpid(child, &status, 0) == child &&
	       WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

static bool detach_if_dead(const struct mounted *mounted)
{
	struct mount_path m = { .parent = -1, .dir = -1 };
	struct place nowhere = { 0 };
	struct buf why = BUF_INIT;
	bool done = false;

	if (!walk(mounted->point, &nowhere, &m, &why))
		m.dir = openat(m.parent, m.name,
			       O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (m.dir >= 0 && is_dead(m.dir, mounted))
		done = !mount_path_detach(&m);
	mount_path_close(&m);
	buf_done(&why);
	return done;
}

/* Detach the first dead one. False: there is none. */
static bool detach_one(uid_t uid, bool *listed)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	struct mounted mounted;
	char *line = NULL;
	bool done = false;
	size_t room = 0;

	*listed = f != NULL;
	while (f && !done && getline(&line, &room, f) > 0) {
		line[strcspn(line, "\n")] = '\0';
		done = mounted_of(line, &mounted) && mounted.uid == uid &&
		       detach_if_dead(&mounted);
	}
	free(line);
	if (f)
		fclose(f);
	return done;
}

enum err mount_path_detach_dead(uid_t uid, unsigned *count)
{
	unsigned n = 0;
	bool listed;

	/* The list changes with each: it is read again. */
	while (detach_one(uid, &listed) && n < DEAD_MAX)
		n++;
	if (!listed)
		return ERR_IO;
	*count = n;
	return OK;
}

/* ------------------------------------------------------------ the hung --- */

static bool is_same_path(const char *point, const char *path)
{
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		n--;
	return strlen(point) == n && strncmp(point, path, n) == 0;
}

/* Whoever waits in it gets an error, and so does the daemon's last thread. */
static void abort_mount(const char *point)
{
	struct mount_path m = { .parent = -1, .dir = -1 };
	char target[64 + sizeof(m.name)];
	struct place nowhere = { 0 };
	struct buf why = BUF_INIT;

	if (!walk(point, &nowhere, &m, &why)) {
		snprintf(target, sizeof(target), "/proc/self/fd/%d/%s",
			 m.parent, m.name);
		(void)umount2(target, MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW);
	}
	mount_path_close(&m);
	buf_done(&why);
}

static void abort_mount_of(const char *path, uid_t uid)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	struct mounted mounted;
	char *line = NULL;
	bool found = false;
	size_t room = 0;

	while (f && !found && getline(&line, &room, f) > 0)
		found = mounted_of(line, &mounted) && mounted.uid == uid &&
			is_same_path(mounted.point, path);
	if (f)
		fclose(f);
	if (found)
		abort_mount(mounted.point);
	free(line);
}

void mount_path_end_hung(const char *path, const char *data_dir, uid_t uid)
{
	char lock[PATH_MAX];

	snprintf(lock, sizeof(lock), "%s/LOCK", data_dir);
	for (int i = 0; process_of_file_is_ending(lock); i++) {
		if (i == HUNG_LOOKS)
			abort_mount_of(path, uid);
		if (i == ENDED_LOOKS)
			return;
		(void)!poll(NULL, 0, LOOK_MS);
	}
}
