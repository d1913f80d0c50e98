/*
 * base/vfs.h - the seam to the disk.
 *
 * engine/, store/ and node/ reach files only through this. vfs_os() is the
 * real one; base/vfs_sim.h is a disk in memory that loses, reorders and tears
 * unsynced data, fails any call and fills up.
 *
 * Threads: any thread may use any file; two writers of one file keep to
 * different byte ranges. Paths are ordinary relative or absolute paths.
 * Errors: ERR_NOT_FOUND, ERR_EXISTS, ERR_NOSPC (also EDQUOT and EFBIG),
 * ERR_PERMISSION (also EROFS), ERR_NOMEM, ERR_BUSY, else ERR_IO; the errno
 * text is logged at debug level. EINTR is retried inside.
 */
#ifndef BASE_VFS_H
#define BASE_VFS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/bytes.h"
#include "base/err.h"

struct vfs;
struct vfs_file;

enum vfs_flags {
	VFS_READ = 0,	/* read only                                   */
	VFS_WRITE = 1,	/* read and write                              */
	VFS_CREATE = 2, /* with WRITE: create when absent              */
	VFS_EXCL = 4,	/* with CREATE: ERR_EXISTS when present        */
	VFS_TRUNC = 8,	/* with WRITE: cut to 0 bytes                  */
};

struct vfs_ops {
	enum err (*open)(struct vfs *, const char *path, unsigned flags,
			 struct vfs_file **);
	enum err (*rename)(struct vfs *, const char *from, const char *to);
	enum err (*unlink)(struct vfs *, const char *path);
	enum err (*mkdir)(struct vfs *, const char *path);
	enum err (*sync_dir)(struct vfs *, const char *path);
	enum err (*list)(struct vfs *, const char *dir,
			 enum err (*fn)(void *ctx, const char *name),
			 void *ctx);
	enum err (*free_bytes)(struct vfs *, const char *dir, uint64_t *free);
	enum err (*lock)(struct vfs *, const char *path, struct vfs_file **);
};

struct vfs_file_ops {
	void (*close)(struct vfs_file *);
	enum err (*pread)(struct vfs_file *, void *p, size_t n, uint64_t off,
			  size_t *got);
	enum err (*pwritev)(struct vfs_file *, const struct iovec *iov,
			    int iov_count, uint64_t off);
	enum err (*sync)(struct vfs_file *);
	enum err (*size)(struct vfs_file *, uint64_t *bytes);
	enum err (*data_from)(struct vfs_file *, uint64_t off, uint64_t *data);
	void (*will_need)(struct vfs_file *, uint64_t off, uint64_t bytes);
	void (*will_sync)(struct vfs_file *, uint64_t off, uint64_t bytes);
	enum err (*truncate)(struct vfs_file *, uint64_t bytes);
	enum err (*allocate)(struct vfs_file *, uint64_t bytes);
	enum err (*map)(struct vfs_file *, uint64_t bytes, const uint8_t **p);
	void (*unmap)(struct vfs_file *, const uint8_t *p, uint64_t bytes);
};

struct vfs {
	const struct vfs_ops *ops;
};

struct vfs_file {
	const struct vfs_file_ops *ops;
};

/* The system's disk. Static, never freed. */
struct vfs *vfs_os(void);

/* Open path; *f is released with vfs_close(). New files get mode 0640. */
static inline MUST_CHECK enum err vfs_open(struct vfs *v, const char *path,
					   unsigned flags, struct vfs_file **f)
{
	return v->ops->open(v, path, flags, f);
}

/* Close f; NULL is accepted. Errors of close(2) are logged: use vfs_sync. */
static inline void vfs_close(struct vfs_file *f)
{
	if (f)
		f->ops->close(f);
}

/*
 * Read up to n bytes at off; *got < n only at the end of the file. Never
 * returns OK with bytes that were not read.
 */
static inline MUST_CHECK enum err vfs_pread(struct vfs_file *f, void *p,
					    size_t n, uint64_t off, size_t *got)
{
	return f->ops->pread(f, p, n, off, got);
}

/*
 * Write all iov bytes at off, or fail: after an error any part of the range
 * may hold any mixture of old and new bytes. Not durable before vfs_sync.
 */
static inline MUST_CHECK enum err vfs_pwritev(struct vfs_file *f,
					      const struct iovec *iov,
					      int iov_count, uint64_t off)
{
	return f->ops->pwritev(f, iov, iov_count, off);
}

/* vfs_pwritev of one piece. */
static inline MUST_CHECK enum err vfs_pwrite(struct vfs_file *f, const void *p,
					     size_t n, uint64_t off)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)p, .iov_len = n };

	return f->ops->pwritev(f, &iov, 1, off);
}

/*
 * fdatasync. On OK every write that returned before is durable, and so is the
 * file's size. On any error the unsynced bytes are in doubt for ever: never
 * call it again on this file, close it and verify what the disk holds.
 */
static inline MUST_CHECK enum err vfs_sync(struct vfs_file *f)
{
	return f->ops->sync(f);
}

/* The file's length in bytes. */
static inline MUST_CHECK enum err vfs_size(struct vfs_file *f, uint64_t *bytes)
{
	return f->ops->size(f, bytes);
}

/*
 * The first offset from off on that may hold anything but zeros; the file's
 * length if there is none. Space that was reserved and never written need not
 * be read to know what is in it. A disk that cannot tell answers off itself.
 */
static inline MUST_CHECK enum err vfs_data_from(struct vfs_file *f,
						uint64_t off, uint64_t *data)
{
	return f->ops->data_from(f, off, data);
}

/* A hint that these bytes will be read soon, so that the disk begins now. */
static inline void vfs_will_need(struct vfs_file *f, uint64_t off,
				 uint64_t bytes)
{
	f->ops->will_need(f, off, bytes);
}

/*
 * A hint that vfs_sync follows, so that the disk begins with these bytes now.
 * Promises nothing about them.
 */
static inline void vfs_will_sync(struct vfs_file *f, uint64_t off,
				 uint64_t bytes)
{
	f->ops->will_sync(f, off, bytes);
}

/* Cut or extend (with zeros) to bytes. */
static inline MUST_CHECK enum err vfs_truncate(struct vfs_file *f,
					       uint64_t bytes)
{
	return f->ops->truncate(f, bytes);
}

/* Reserve disk blocks so that the file is bytes long, new bytes zero. */
static inline MUST_CHECK enum err vfs_allocate(struct vfs_file *f,
					       uint64_t bytes)
{
	return f->ops->allocate(f, bytes);
}

/*
 * Map the first bytes of f read-only and shared; later pwritev's show in it.
 * Touching a page whose sector is bad, or past the end of a file that was cut,
 * raises SIGBUS: read through base/guard.h. Unmap before closing f.
 */
static inline MUST_CHECK enum err vfs_map(struct vfs_file *f, uint64_t bytes,
					  const uint8_t **p)
{
	return f->ops->map(f, bytes, p);
}

static inline void vfs_unmap(struct vfs_file *f, const uint8_t *p,
			     uint64_t bytes)
{
	f->ops->unmap(f, p, bytes);
}

/*
 * Rename, replacing to. Durable after vfs_sync_dir; a file (not a directory)
 * may go to another directory, which is durable after a sync of both.
 */
static inline MUST_CHECK enum err vfs_rename(struct vfs *v, const char *from,
					     const char *to)
{
	return v->ops->rename(v, from, to);
}

/* Remove a file. ERR_NOT_FOUND when absent. Durable after vfs_sync_dir. */
static inline MUST_CHECK enum err vfs_unlink(struct vfs *v, const char *path)
{
	return v->ops->unlink(v, path);
}

/* Make a directory (mode 0750). ERR_EXISTS when anything has the name. */
static inline MUST_CHECK enum err vfs_mkdir(struct vfs *v, const char *path)
{
	return v->ops->mkdir(v, path);
}

/* Make creations, renames and unlinks in directory path durable. */
static inline MUST_CHECK enum err vfs_sync_dir(struct vfs *v, const char *path)
{
	return v->ops->sync_dir(v, path);
}

/*
 * Call fn once for each name in dir (not "." and ".."), in no order; an error
 * from fn ends the listing and is returned.
 */
static inline MUST_CHECK enum err
vfs_list(struct vfs *v, const char *dir,
	 enum err (*fn)(void *ctx, const char *name), void *ctx)
{
	return v->ops->list(v, dir, fn, ctx);
}

/* Bytes an unprivileged process can still write on dir's file system. */
static inline MUST_CHECK enum err vfs_free_bytes(struct vfs *v, const char *dir,
						 uint64_t *free_bytes)
{
	return v->ops->free_bytes(v, dir, free_bytes);
}

/*
 * Create path when absent and lock it for this process; held until *f is
 * closed or the process ends. ERR_BUSY: someone else holds it.
 */
static inline MUST_CHECK enum err vfs_lock(struct vfs *v, const char *path,
					   struct vfs_file **f)
{
	return v->ops->lock(v, path, f);
}

/*
 * Read the whole file into b (appended). ERR_TOO_LARGE: over bytes_max, b
 * unchanged; ERR_NOT_FOUND and the other errors likewise.
 */
MUST_CHECK enum err vfs_read_all(struct vfs *v, const char *path,
				 uint64_t bytes_max, struct buf *b);

/*
 * Replace path by data atomically and durably: write path.tmp, sync, rename,
 * sync dir. On error path holds its old content and path.tmp may remain.
 */
MUST_CHECK enum err vfs_replace(struct vfs *v, const char *dir,
				const char *path, struct bytes data);

#endif
