/*
 * fsd/answer.c - the store's words in the kernel's.
 *
 * EIO always means that nothing happened, and nothing will; ETIMEDOUT that the
 * outcome is not known.
 */
#include <errno.h>
#include <string.h>

#include "fsd/internal.h"

enum { DIR_BYTES = 4096 };

int answer_errno(enum err err)
{
	switch (err) {
	case OK:
		return 0;
	case ERR_NOMEM:
		return ENOMEM;
	case ERR_NOSPC:
		return ENOSPC;
	case ERR_NOT_FOUND:
		return ENOENT;
	case ERR_EXISTS:
		return EEXIST;
	case ERR_INVALID:
	case ERR_BAD_KEY:
	case ERR_DUPLICATE:
	case ERR_NOT_FILE:
		return EINVAL;
	case ERR_KEY_TOO_LONG:
		return ENAMETOOLONG;
	case ERR_TOO_LARGE:
		return EFBIG;
	case ERR_NOT_DIR:
		return ENOTDIR;
	case ERR_IS_DIR:
		return EISDIR;
	case ERR_NOT_EMPTY:
		return ENOTEMPTY;
	case ERR_CROSS_PART:
		return EXDEV;
	case ERR_UNKNOWN:
		return ETIMEDOUT;
	case ERR_BUSY:
		return EBUSY;
	case ERR_PERMISSION:
		return EACCES;
	case ERR_PRECONDITION:
	case ERR_STALE:
		return ESTALE;
	case ERR_NO_ATTR:
		return ENODATA;
	case ERR_LINKS_MAX:
		return EMLINK;
	case ERR_IO:
	case ERR_CORRUPT:
	case ERR_NO_LEADER:
	case ERR_STARTING:
	case ERR_COMPACTED:
	case ERR_FULL:
	case ERR_VERSION:
	case ERR_FOREIGN:
	case ERR_CLOSED:
	case ERR_PENDING:
	case ERR_MAX:
		return EIO;
	}
	return EIO;
}

struct timespec time_of(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000u),
				  .tv_nsec = (long)(ns % 1000000000u) };
}

uint64_t ns_of(struct timespec t)
{
	const uint64_t last_s = UINT64_MAX / 1000000000u - 1;

	if (t.tv_sec < 0)
		return 0;
	if ((uint64_t)t.tv_sec > last_s)
		return last_s * 1000000000u;
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void answer_stat(const struct fsd *f, const struct store_file *file,
		 uint64_t subdirs, struct stat *st)
{
	bool is_dir = S_ISDIR(file->mode);
	uint32_t mode = is_dir ? f->o.dir_mode : f->o.file_mode;

	memset(st, 0, sizeof(*st));
	if (file->fields & STORE_HAS_MODE)
		mode = file->mode & 07777;
	st->st_mode = (file->mode & S_IFMT) | (mode & 07777);
	st->st_ino = file->ino;
	st->st_nlink = is_dir ? (nlink_t)subdirs : (nlink_t)file->nlink;
	st->st_uid = file->fields & STORE_HAS_UID ? file->uid : f->o.uid;
	st->st_gid = file->fields & STORE_HAS_GID ? file->gid : f->o.gid;
	st->st_rdev = (dev_t)file->rdev;
	/* A directory has the size that disks give it: programs test for it. */
	st->st_size = is_dir ? DIR_BYTES : (off_t)file->bytes;
	st->st_blksize = 4096;
	st->st_blocks = (blkcnt_t)((file->stored_bytes + 511) / 512);
	st->st_atim = time_of(file->atime_ns);
	st->st_mtim = time_of(file->mtime_ns);
	st->st_ctim = time_of(file->ctime_ns);
}

void answer_deferred(const struct fsd *f, const struct defer *d,
		     struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_mode = S_IFREG | (d->mode & 07777);
	st->st_ino = d->node->ino;
	st->st_nlink = 1;
	st->st_uid = d->uid;
	st->st_gid = d->gid;
	st->st_blksize = 4096;
	st->st_atim = st->st_mtim = st->st_ctim = time_of(d->made_ns);
}

mode_t answer_dropped_setid(mode_t mode)
{
	return mode & ~(mode_t)(mode & S_IXGRP ? S_ISUID | S_ISGID : S_ISUID);
}

double answer_timeout(const struct call *c)
{
	return c->fresh && atomic_load(&c->f->alone) ? FSD_LONG_S : 0;
}
