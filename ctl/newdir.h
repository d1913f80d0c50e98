/*
 * ctl/newdir.h - a data directory that comes into being all at once.
 *
 * The files are made in a directory below it, "restoring", and move up when
 * they are complete, MANIFEST last. Until then a MANIFEST that is none stands
 * there: whatever ends the work, a daemon refuses to start on what is half
 * done. The directory is locked against daemons meanwhile.
 */
#ifndef CTL_NEWDIR_H
#define CTL_NEWDIR_H

#include <limits.h>
#include <stddef.h>

#include "base/vfs.h"
#include "ctl/ctl.h"

struct newdir {
	char path[PATH_MAX - 64], work[PATH_MAX];
	struct vfs_file *lock;
	bool made; /* path was not there before                              */
};

/*
 * Begin at path, which must be absent or empty; what an earlier, broken-off
 * call left there is removed. Afterwards d->work is an empty directory.
 * CTL_BUSY: in use. Otherwise it has been said what is wrong, and nothing was
 * changed.
 */
enum ctl_exit newdir_begin(struct newdir *d, const char *path);

/* Everything in d->work is complete and durable: let it be path's. */
enum ctl_exit newdir_publish(struct newdir *d);

/* Leave path as newdir_begin found it. */
void newdir_discard(struct newdir *d);

/*
 * The same in a directory that has files: begin makes d->work below path and
 * touches nothing else; replace moves the files that are there to
 * path/aside and what is in d->work to their place. A replace that was broken
 * off is gone on with by another one after newdir_was_replacing.
 */
enum ctl_exit newdir_begin_beside(struct newdir *d, const char *path);
enum ctl_exit newdir_replace(struct newdir *d, const char *aside);

/* Give d->work up. */
void newdir_discard_beside(struct newdir *d);

/*
 * Was a replace at path broken off? Then d is set and aside, of room bytes, is
 * the name it had.
 */
bool newdir_was_replacing(struct newdir *d, const char *path, char *aside,
			  size_t room);

#endif
