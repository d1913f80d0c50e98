/*
 * base/vfs.c - what is the same on every disk.
 *
 * vfs_replace is the classic atomic switch. Drawn with what a crash leaves:
 *
 *     write path.tmp     old content, perhaps a part of path.tmp
 *     sync path.tmp      old content, path.tmp whole
 *     rename             old or new content, never a mixture
 *     sync dir           new content
 */
#include "base/vfs.h"

enum err vfs_read_all(struct vfs *v, const char *path, uint64_t bytes_max,
		      struct buf *b)
{
	struct vfs_file *f;
	uint64_t bytes;
	size_t got;
	enum err err;

	err = vfs_open(v, path, VFS_READ, &f);
	if (err)
		return err;
	err = vfs_size(f, &bytes);
	if (err)
		goto out_close;
	err = ERR_TOO_LARGE;
	if (bytes > bytes_max)
		goto out_close;
	err = OK;
	if (bytes == 0) /* b may have no memory to point into */
		goto out_close;
	err = buf_reserve(b, bytes);
	if (err)
		goto out_close;
	err = vfs_pread(f, b->p + b->n, bytes, 0, &got);
	if (err)
		goto out_close;
	b->n += got;
out_close:
	vfs_close(f);
	return err;
}

enum err vfs_replace(struct vfs *v, const char *dir, const char *path,
		     struct bytes data)
{
	struct buf tmp = BUF_INIT;
	struct vfs_file *f;
	enum err err;

	err = buf_addf(&tmp, "%s.tmp", path);
	if (err)
		return err;
	err = vfs_open(v, (const char *)tmp.p,
		       VFS_WRITE | VFS_CREATE | VFS_TRUNC, &f);
	if (err)
		goto out_tmp;
	err = vfs_pwrite(f, data.p, data.n, 0);
	if (!err)
		err = vfs_sync(f);
	vfs_close(f);
	if (err)
		goto out_tmp;
	err = vfs_rename(v, (const char *)tmp.p, path);
	if (err)
		goto out_tmp;
	err = vfs_sync_dir(v, dir);
out_tmp:
	buf_done(&tmp);
	return err;
}
