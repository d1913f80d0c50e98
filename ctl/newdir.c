/*
 * ctl/newdir.c - see newdir.h.
 */
#include "ctl/newdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE_BYTES = 256 };

static const char restore_marker[] = "raftcask restore: not finished\n";
/* and behind it the name of the directory for the old files */
static const char replace_marker[] = "raftcask recover: not finished, ";

static bool say_errno(const char *path, const char *name)
{
	ctl_say("%s%s%s: %s", path, *name ? "/" : "", name, strerror(errno));
	return false;
}

static bool join(char out[PATH_MAX], const char *dir, const char *name)
{
	if (snprintf(out, PATH_MAX, "%s/%s", dir, name) < PATH_MAX)
		return true;
	errno = ENAMETOOLONG;
	return say_errno(dir, name);
}

static bool sync_directory(const char *path)
{
	if (!vfs_sync_dir(vfs_os(), path))
		return true;
	ctl_say("%s: cannot be synced", path);
	return false;
}

/* Call fn for each name in dir but "." and ".."; false ends it. */
static bool each_name(const char *dir,
		      bool (*fn)(void *ctx, const char *dir, const char *name),
		      void *ctx)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	bool ok = true;

	if (!d)
		return say_errno(dir, "");
	while (ok && (e = readdir(d))) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			ok = fn(ctx, dir, e->d_name);
	}
	closedir(d);
	return ok;
}

/* ----------------------------------------------------------------- begin - */

/* The first line of path/MANIFEST, or "". */
static void manifest_line(const char *path, char line[LINE_BYTES])
{
	char name[PATH_MAX];
	FILE *f = join(name, path, "MANIFEST") ? fopen(name, "rb") : NULL;

	line[0] = 0;
	if (f && !fgets(line, LINE_BYTES, f))
		line[0] = 0;
	if (f)
		fclose(f);
}

static bool is_restoring(const char *path)
{
	char line[LINE_BYTES];

	manifest_line(path, line);
	return strcmp(line, restore_marker) == 0;
}

/* With a marker there, everything is what a broken-off call has left. */
static bool look(void *ctx, const char *dir, const char *name)
{
	bool *other = ctx;

	(void)dir;
	*other |= strcmp(name, "LOCK") != 0 && strcmp(name, "lost+found") != 0;
	return true;
}

static bool is_empty(const char *path)
{
	bool other = false;

	if (!each_name(path, look, &other))
		return false;
	if (!other || is_restoring(path))
		return true;
	ctl_say("%s is not empty: nothing was changed", path);
	return false;
}

static bool remove_name(void *ctx, const char *dir, const char *name)
{
	char path[PATH_MAX];

	(void)ctx;
	if (strcmp(name, "LOCK") == 0 || strcmp(name, "MANIFEST") == 0 ||
	    strcmp(name, "lost+found") == 0 || !join(path, dir, name))
		return true;
	if (unlink(path) && errno != EISDIR)
		return say_errno(dir, name);
	return true;
}

/* d->work and all in it. */
static bool clear_work(struct newdir *d)
{
	char path[PATH_MAX];
	struct stat st;

	if (stat(d->work, &st))
		return true;
	if (!each_name(d->work, remove_name, NULL))
		return false;
	if (join(path, d->work, "MANIFEST"))
		unlink(path);
	if (join(path, d->work, "LOCK"))
		unlink(path);
	return rmdir(d->work) == 0 || say_errno(d->work, "");
}

/* Everything in d goes, the marker at the end; d itself and LOCK stay. */
static bool clear(struct newdir *d)
{
	char path[PATH_MAX];

	if (!clear_work(d) || !each_name(d->path, remove_name, NULL) ||
	    !join(path, d->path, "MANIFEST"))
		return false;
	return unlink(path) == 0 || errno == ENOENT ||
	       say_errno(d->path, "MANIFEST");
}

static bool write_marker(const struct newdir *d, const char *text)
{
	char path[PATH_MAX];
	enum err err;

	if (!join(path, d->path, "MANIFEST"))
		return false;
	err = vfs_replace(vfs_os(), d->path, path, bytes_str(text));
	if (err)
		ctl_say("%s: %s", path, err_text(err));
	return !err;
}

static enum ctl_exit lock(struct newdir *d)
{
	char path[PATH_MAX];
	enum err err;

	if (!join(path, d->path, "LOCK"))
		return CTL_RUNTIME;
	err = vfs_lock(vfs_os(), path, &d->lock);
	if (!err)
		return CTL_OK;
	ctl_say(err == ERR_BUSY ? "%s is in use by another process" : "%s: %s",
		d->path, err_text(err));
	return err == ERR_BUSY ? CTL_BUSY : CTL_RUNTIME;
}

static bool set_paths(struct newdir *d, const char *path)
{
	memset(d, 0, sizeof(*d));
	if (snprintf(d->path, sizeof(d->path), "%s", path) >=
	    (int)sizeof(d->path)) {
		errno = ENAMETOOLONG;
		return say_errno(path, "");
	}
	return join(d->work, d->path, "restoring");
}

enum ctl_exit newdir_begin(struct newdir *d, const char *path)
{
	enum ctl_exit result;

	if (!set_paths(d, path))
		return CTL_RUNTIME;
	d->made = mkdir(path, 0750) == 0;
	if (!d->made && errno != EEXIST) {
		say_errno(path, "");
		return CTL_RUNTIME;
	}
	if (!d->made && !is_empty(path))
		return CTL_RUNTIME;
	result = lock(d);
	if (result)
		return result;
	if (clear(d) && write_marker(d, restore_marker)) {
		if (mkdir(d->work, 0750) == 0)
			return CTL_OK;
		say_errno(d->work, "");
	}
	newdir_discard(d);
	return CTL_RUNTIME;
}

/* --------------------------------------------------------------- publish - */

/* In d->work: the old files are out of the way. */
static const char old_moved[] = "old-moved";

/* Root makes files for whoever owns the directory: the daemon's user. */
static bool give_away(const struct newdir *d, const char *path)
{
	struct stat st;

	if (geteuid() != 0 || stat(d->path, &st) || st.st_uid == 0)
		return true;
	return lchown(path, st.st_uid, st.st_gid) == 0 || say_errno(path, "");
}

static bool move_up(void *ctx, const char *dir, const char *name)
{
	struct newdir *d = ctx;
	char from[PATH_MAX], to[PATH_MAX];

	if (strcmp(name, "LOCK") == 0 || strcmp(name, "MANIFEST") == 0 ||
	    strcmp(name, old_moved) == 0)
		return true;
	if (!join(from, dir, name) || !join(to, d->path, name) ||
	    !give_away(d, from))
		return false;
	return rename(from, to) == 0 || say_errno(dir, name);
}

static bool move_manifest(struct newdir *d)
{
	char from[PATH_MAX], to[PATH_MAX];

	if (!join(from, d->work, "MANIFEST") ||
	    !join(to, d->path, "MANIFEST") || !give_away(d, from))
		return false;
	return rename(from, to) == 0 || say_errno(d->work, "MANIFEST");
}

/* The directory's own name; who may not read its parent did not make it. */
static void sync_parent(const char *dir)
{
	char path[PATH_MAX];

	if (join(path, dir, ".."))
		(void)!vfs_sync_dir(vfs_os(), path);
}

static bool move_all_up(struct newdir *d)
{
	return each_name(d->work, move_up, d) && sync_directory(d->path) &&
	       sync_directory(d->work) && move_manifest(d);
}

/* It is in force. */
static enum ctl_exit tidy_up(struct newdir *d)
{
	char path[PATH_MAX];

	if (join(path, d->work, "LOCK"))
		unlink(path);
	if (join(path, d->work, old_moved))
		unlink(path);
	if (join(path, d->path, "LOCK"))
		(void)give_away(d, path);
	rmdir(d->work);
	if (!sync_directory(d->path))
		return CTL_RUNTIME;
	sync_parent(d->path);
	vfs_close(d->lock);
	d->lock = NULL;
	return CTL_OK;
}

enum ctl_exit newdir_publish(struct newdir *d)
{
	if (move_all_up(d))
		return tidy_up(d);
	newdir_discard(d);
	return CTL_RUNTIME;
}

void newdir_discard(struct newdir *d)
{
	char path[PATH_MAX];

	if (!d->lock)
		return;
	(void)clear(d);
	if (join(path, d->path, "LOCK"))
		unlink(path);
	vfs_close(d->lock);
	d->lock = NULL;
	if (d->made)
		rmdir(d->path);
}

/* --------------------------------------------------------------- replace - */

enum ctl_exit newdir_begin_beside(struct newdir *d, const char *path)
{
	if (!set_paths(d, path) || !clear_work(d))
		return CTL_RUNTIME;
	if (mkdir(d->work, 0750) == 0)
		return CTL_OK;
	say_errno(d->work, "");
	return CTL_RUNTIME;
}

void newdir_discard_beside(struct newdir *d)
{
	(void)clear_work(d);
}

bool newdir_was_replacing(struct newdir *d, const char *path, char *aside,
			  size_t room)
{
	size_t skip = strlen(replace_marker);
	char line[LINE_BYTES];

	if (!set_paths(d, path))
		return false;
	manifest_line(path, line);
	if (strncmp(line, replace_marker, skip) != 0)
		return false;
	line[strcspn(line, "\n")] = 0;
	snprintf(aside, room, "%s", line + skip);
	return aside[0] && !strchr(aside, '/');
}

static bool move_aside(void *ctx, const char *dir, const char *name)
{
	const char *aside = ctx;
	char from[PATH_MAX], to[PATH_MAX];
	struct stat st;

	if (!join(from, dir, name) || !join(to, aside, name))
		return false;
	if (strcmp(name, "LOCK") == 0 || strcmp(name, "MANIFEST") == 0)
		return true;
	if (lstat(from, &st))
		return say_errno(dir, name);
	return !S_ISREG(st.st_mode) || rename(from, to) == 0 ||
	       say_errno(dir, name);
}

/* The old MANIFEST has two names for a moment: there is always one. */
static bool keep_manifest(struct newdir *d, const char *aside,
			  const char *aside_name)
{
	char from[PATH_MAX], to[PATH_MAX], text[LINE_BYTES];

	manifest_line(d->path, text);
	if (strncmp(text, replace_marker, strlen(replace_marker)) == 0)
		return true;
	if (!join(from, d->path, "MANIFEST") || !join(to, aside, "MANIFEST"))
		return false;
	if (link(from, to) && errno != EEXIST)
		return say_errno(aside, "MANIFEST");
	snprintf(text, sizeof(text), "%s%s\n", replace_marker, aside_name);
	return sync_directory(aside) && write_marker(d, text);
}

static bool clear_the_way(struct newdir *d, const char *aside_name)
{
	char aside[PATH_MAX], done[PATH_MAX];
	struct stat st;

	if (!join(aside, d->path, aside_name) ||
	    !join(done, d->work, old_moved))
		return false;
	if (stat(done, &st) == 0)
		return true;
	if (mkdir(aside, 0750) && errno != EEXIST)
		return say_errno(aside, "");
	if (!keep_manifest(d, aside, aside_name) ||
	    !each_name(d->path, move_aside, aside) || !sync_directory(aside) ||
	    !sync_directory(d->path))
		return false;
	if (vfs_replace(vfs_os(), d->work, done, bytes_str("\n"))) {
		ctl_say("%s cannot be written", done);
		return false;
	}
	return true;
}

enum ctl_exit newdir_replace(struct newdir *d, const char *aside)
{
	enum ctl_exit result = lock(d);

	if (result)
		return result;
	if (clear_the_way(d, aside) && move_all_up(d))
		return tidy_up(d);
	ctl_say("%s is half done: run the same again", d->path);
	vfs_close(d->lock);
	d->lock = NULL;
	return CTL_RUNTIME;
}
