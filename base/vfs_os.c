/*
 * base/vfs_os.c - the system's disk.
 *
 * Thin: one system call a function, looped over EINTR and short counts. Here
 * errno ends and enum err begins. A failed fdatasync is returned, never
 * retried: the kernel marks the pages clean after the first failure, so a
 * second call would say OK about bytes that never reached the disk.
 *
 * Locks are open-file-description locks: they go away with the descriptor or
 * the process, whatever way it ends, and exclude a second open of the same
 * process as well.
 */
#include "base/vfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/log.h"

enum {
	FILE_MODE = 0640,
	DIR_MODE = 0750,
	IOV_AT_ONCE = 64, /* pieces handed to one pwritev(2) */
};

struct os_file {
	struct vfs_file file;
	int fd;
};

static int fd_of(struct vfs_file *f)
{
	return ((struct os_file *)f)->fd;
}

/* The one place where errno becomes an enum err. */
static enum err translate(int e)
{
	switch (e) {
	case ENOENT:
		return ERR_NOT_FOUND;
	case EEXIST:
		return ERR_EXISTS;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return ERR_NOSPC;
	case EPERM:
	case EACCES:
	case EROFS:
		return ERR_PERMISSION;
	case ENOMEM:
		return ERR_NOMEM;
	case EBUSY:
	case EAGAIN:
		return ERR_BUSY;
	default:
		return ERR_IO;
	}
}

static enum err fail(const char *call, const char *path, int e)
{
	char text[128];

	log_debug("vfs", "failed call=%s path=%s errno=%d text=\"%s\"", call,
		  path, e, strerror_r(e, text, sizeof(text)));
	return translate(e);
}

/* Descriptors carry no name; /proc/PID/fd tells it to who wants it. */
static enum err fail_fd(const char *call, int fd, int e)
{
	char name[32];

	snprintf(name, sizeof(name), "fd:%d", fd);
	return fail(call, name, e);
}

static void os_close(struct vfs_file *f)
{
	int fd = fd_of(f);

	/* After EINTR Linux has closed the descriptor all the same. */
	if (close(fd) && errno != EINTR)
		log_warn("vfs", "close_failed fd=%d errno=%d", fd, errno);
	free(f);
}

static enum err os_pread(struct vfs_file *f, void *p, size_t n, uint64_t off,
			 size_t *got)
{
	size_t done = 0;
	ssize_t rc;

	while (done < n) {
		rc = pread(fd_of(f), (char *)p + done, n - done,
			   (off_t)(off + done));
		if (rc == 0)
			break;
		if (rc > 0)
			done += (size_t)rc;
		else if (errno != EINTR)
			return fail_fd("pread", fd_of(f), errno);
	}
	*got = done;
	return OK;
}

/* Drop n written bytes from the front of iov[0..count-1]; the new count. */
static int advance_iov(struct iovec *iov, int count, size_t n)
{
	int skip = 0;

	while (skip < count && n >= iov[skip].iov_len)
		n -= iov[skip++].iov_len;
	memmove(iov, iov + skip, (size_t)(count - skip) * sizeof(*iov));
	count -= skip;
	if (count) {
		iov[0].iov_base = (char *)iov[0].iov_base + n;
		iov[0].iov_len -= n;
	}
	return count;
}

static enum err os_pwritev(struct vfs_file *f, const struct iovec *iov,
			   int iov_count, uint64_t off)
{
	struct iovec part[IOV_AT_ONCE];
	int taken = 0, count = 0, more;
	ssize_t rc;

	for (;;) {
		more = iov_count - taken;
		if (more > IOV_AT_ONCE - count)
			more = IOV_AT_ONCE - count;
		if (more > 0)
			memcpy(part + count, iov + taken,
			       (size_t)more * sizeof(*iov));
		taken += more;
		count = advance_iov(part, count + more, 0);
		if (count == 0 && taken == iov_count)
			return OK;
		if (count == 0)
			continue;
		rc = pwritev(fd_of(f), part, count, (off_t)off);
		if (rc < 0 && errno == EINTR)
			continue;
		if (rc <= 0)
			return fail_fd("pwritev", fd_of(f),
				       rc < 0 ? errno : ENOSPC);
		off += (uint64_t)rc;
		count = advance_iov(part, count, (size_t)rc);
	}
}

static enum err os_sync(struct vfs_file *f)
{
	if (fdatasync(fd_of(f)))
		return fail_fd("fdatasync", fd_of(f), errno);
	return OK;
}

static enum err os_size(struct vfs_file *f, uint64_t *bytes)
{
	struct stat st;

	if (fstat(fd_of(f), &st))
		return fail_fd("fstat", fd_of(f), errno);
	*bytes = (uint64_t)st.st_size;
	return OK;
}

static enum err os_data_from(struct vfs_file *f, uint64_t off, uint64_t *data)
{
	off_t at = lseek(fd_of(f), (off_t)off, SEEK_DATA);

	if (at >= 0)
		*data = (uint64_t)at;
	else if (errno == ENXIO)
		return os_size(f, data);
	else
		*data = off;
	return OK;
}

static void os_will_need(struct vfs_file *f, uint64_t off, uint64_t bytes)
{
	/* Advice: whoever gives none is none the worse. */
	(void)!posix_fadvise(fd_of(f), (off_t)off, (off_t)bytes,
			     POSIX_FADV_WILLNEED);
}

static void os_will_sync(struct vfs_file *f, uint64_t off, uint64_t bytes)
{
	/* What it reports is reported by the sync as well. */
	(void)!sync_file_range(fd_of(f), (off_t)off, (off_t)bytes,
			       SYNC_FILE_RANGE_WRITE);
}

static enum err os_truncate(struct vfs_file *f, uint64_t bytes)
{
	while (ftruncate(fd_of(f), (off_t)bytes))
		if (errno != EINTR)
			return fail_fd("ftruncate", fd_of(f), errno);
	return OK;
}

static enum err os_allocate(struct vfs_file *f, uint64_t bytes)
{
	int e;

	do
		e = fallocate(fd_of(f), 0, 0, (off_t)bytes) ? errno : 0;
	while (e == EINTR);
	/* File systems without fallocate: the C library writes zeros. */
	if (e == EOPNOTSUPP)
		e = posix_fallocate(fd_of(f), 0, (off_t)bytes);
	return e ? fail_fd("fallocate", fd_of(f), e) : OK;
}

static enum err os_map(struct vfs_file *f, uint64_t bytes, const uint8_t **p)
{
	void *at = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd_of(f), 0);

	if (at == MAP_FAILED)
		return fail_fd("mmap", fd_of(f), errno);
	*p = at;
	return OK;
}

static void os_unmap(struct vfs_file *f, const uint8_t *p, uint64_t bytes)
{
	if (munmap((void *)(uintptr_t)p, bytes))
		log_warn("vfs", "munmap_failed fd=%d errno=%d", fd_of(f),
			 errno);
}

static const struct vfs_file_ops os_file_ops = {
	.close = os_close,
	.pread = os_pread,
	.pwritev = os_pwritev,
	.sync = os_sync,
	.size = os_size,
	.data_from = os_data_from,
	.will_need = os_will_need,
	.will_sync = os_will_sync,
	.truncate = os_truncate,
	.allocate = os_allocate,
	.map = os_map,
	.unmap = os_unmap,
};

static enum err os_open(struct vfs *v, const char *path, unsigned flags,
			struct vfs_file **f)
{
	struct os_file *of = malloc(sizeof(*of));
	int mode = flags & VFS_WRITE ? O_RDWR : O_RDONLY;
	int e;

	if (!of)
		return ERR_NOMEM;
	if (flags & VFS_CREATE)
		mode |= O_CREAT;
	if (flags & VFS_EXCL)
		mode |= O_EXCL;
	if (flags & VFS_TRUNC)
		mode |= O_TRUNC;
	do
		of->fd = open(path, mode | O_CLOEXEC, FILE_MODE);
	while (of->fd < 0 && errno == EINTR);
	if (of->fd < 0) {
		e = errno;
		free(of);
		return fail("open", path, e);
	}
	of->file.ops = &os_file_ops;
	*f = &of->file;
	return OK;
}

static enum err os_rename(struct vfs *v, const char *from, const char *to)
{
	return rename(from, to) ? fail("rename", from, errno) : OK;
}

static enum err os_unlink(struct vfs *v, const char *path)
{
	return unlink(path) ? fail("unlink", path, errno) : OK;
}

static enum err os_mkdir(struct vfs *v, const char *path)
{
	return mkdir(path, DIR_MODE) ? fail("mkdir", path, errno) : OK;
}

static enum err os_sync_dir(struct vfs *v, const char *path)
{
	enum err err = OK;
	int fd;

	do
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return fail("open", path, errno);
	if (fsync(fd))
		err = fail("fsync", path, errno);
	close(fd);
	return err;
}

static enum err os_list(struct vfs *v, const char *path,
			enum err (*fn)(void *ctx, const char *name), void *ctx)
{
	DIR *dir = opendir(path);
	struct dirent *d;
	enum err err = OK;

	if (!dir)
		return fail("opendir", path, errno);
	while (!err) {
		errno = 0;
		d = readdir(dir);
		if (!d && errno)
			err = fail("readdir", path, errno);
		if (!d)
			break;
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			err = fn(ctx, d->d_name);
	}
	closedir(dir);
	return err;
}

static enum err os_free_bytes(struct vfs *v, const char *dir,
			      uint64_t *free_bytes)
{
	struct statvfs st;
	int rc;

	do
		rc = statvfs(dir, &st);
	while (rc && errno == EINTR);
	if (rc)
		return fail("statvfs", dir, errno);
	*free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
	return OK;
}

static enum err os_lock(struct vfs *v, const char *path, struct vfs_file **f)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct vfs_file *file;
	enum err err;
	int e;

	err = os_open(v, path, VFS_WRITE | VFS_CREATE, &file);
	if (err)
		return err;
	if (fcntl(fd_of(file), F_OFD_SETLK, &whole)) {
		e = errno;
		os_close(file);
		return fail("lock", path, e);
	}
	*f = file;
	return OK;
}

struct vfs *vfs_os(void)
{
	static const struct vfs_ops ops = {
		.open = os_open,
		.rename = os_rename,
		.unlink = os_unlink,
		.mkdir = os_mkdir,
		.sync_dir = os_sync_dir,
		.list = os_list,
		.free_bytes = os_free_bytes,
		.lock = os_lock,
	};
	static struct vfs os = { .ops = &ops };

	return &os;
}
