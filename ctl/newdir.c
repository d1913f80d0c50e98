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

static const char marker[] = "raftcask restore: not finished\n";

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

static bool is_marker(const char *path)
{
	char path_of[PATH_MAX], text[sizeof(marker)] = "";
	FILE *f;

	if (!join(path_of, path, "MANIFEST"))
		return false;
	f = fopen(path_of, "rb");
	if (!f)
		return false;
	if (!fgets(text, sizeof(text), f))
		text[0] = 0;
	fclose(f);
	return strcmp(text, marker) == 0;
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
	if (!other || is_marker(path))
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

/* Everything in d goes, the marker at the end; d itself and LOCK stay. */
static bool clear(struct newdir *d)
{
	char path[PATH_MAX];
	struct stat st;
	bool ok = true;

	if (stat(d->work, &st) == 0) {
		ok = each_name(d->work, remove_name, NULL);
		if (join(path, d->work, "MANIFEST"))
			unlink(path);
		if (join(path, d->work, "LOCK"))
			unlink(path);
		if (ok && rmdir(d->work))
			ok = say_errno(d->work, "");
	}
	ok = ok && each_name(d->path, remove_name, NULL);
	if (ok && join(path, d->path, "MANIFEST") && unlink(path) &&
	    errno != ENOENT)
		ok = say_errno(d->path, "MANIFEST");
	return ok;
}

static bool write_marker(const struct newdir *d)
{
	char path[PATH_MAX];
	enum err err;

	if (!join(path, d->path, "MANIFEST"))
		return false;
	err = vfs_replace(vfs_os(), d->path, path, bytes_str(marker));
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

enum ctl_exit newdir_begin(struct newdir *d, const char *path)
{
	enum ctl_exit result;

	memset(d, 0, sizeof(*d));
	if (snprintf(d->path, sizeof(d->path), "%s", path) >=
	    (int)sizeof(d->path)) {
		errno = ENAMETOOLONG;
		say_errno(path, "");
		return CTL_RUNTIME;
	}
	if (!join(d->work, d->path, "restoring"))
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
	if (clear(d) && write_marker(d)) {
		if (mkdir(d->work, 0750) == 0)
			return CTL_OK;
		say_errno(d->work, "");
	}
	newdir_discard(d);
	return CTL_RUNTIME;
}

/* --------------------------------------------------------------- publish - */

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

	if (strcmp(name, "LOCK") == 0 || strcmp(name, "MANIFEST") == 0)
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

enum ctl_exit newdir_publish(struct newdir *d)
{
	char path[PATH_MAX];

	if (!each_name(d->work, move_up, d) || !sync_directory(d->path) ||
	    !sync_directory(d->work) || !move_manifest(d)) {
		newdir_discard(d);
		return CTL_RUNTIME;
	}
	/* It is in force. */
	if (join(path, d->work, "LOCK"))
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
