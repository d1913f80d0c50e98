/*
 * bench/bench_passthrough.c - a directory mounted once more: the least that a
 * mount through libfuse costs, to hold ours against.
 *
 *	bench_passthrough SOURCE MOUNTPOINT
 *
 * Built as libfuse's example passthrough_hp is: the low-level API, an O_PATH
 * descriptor for each file that the kernel knows, one table of them, entries
 * and attributes cached for a day, pages and listings kept, writeback cache,
 * splice, the library's own loop and threads. Only what the benchmark asks for,
 * which it shares with nothing of the product. Ends with SIGTERM or when
 * unmounted.
 */
#define FUSE_USE_VERSION 312
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { SLOTS = 1 << 16, FD_PATH_BYTES = 64, DAY_S = 86400 };

struct inode {
	struct inode *next; /* of its slot */
	dev_t dev;
	ino_t ino;
	int fd; /* O_PATH */
	uint64_t lookups;
};

struct dir {
	DIR *stream;
	off_t off;
	pthread_mutex_t lock;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of slots */
static struct inode *slots[SLOTS];
static struct inode root;

static struct inode *inode_of(fuse_ino_t id)
{
	return id == FUSE_ROOT_ID ? &root : (struct inode *)(uintptr_t)id;
}

static int fd_of(fuse_ino_t id)
{
	return inode_of(id)->fd;
}

/* The way to open, or change, what an O_PATH descriptor stands for. */
static void fd_path(char path[FD_PATH_BYTES], fuse_ino_t id)
{
	snprintf(path, FD_PATH_BYTES, "/proc/self/fd/%d", fd_of(id));
}

static void reply(fuse_req_t req, int rc)
{
	fuse_reply_err(req, rc < 0 ? errno : 0);
}

/* ------------------------------------------------------------------ lookup */

static struct inode **slot_of(dev_t dev, ino_t ino)
{
	return &slots[(ino * 0x9e3779b97f4a7c15ull ^ dev) >> 16 & (SLOTS - 1)];
}

/* The inode of fd, which is used up. 0 or an errno. */
static int take(int fd, struct fuse_entry_param *e)
{
	struct inode **slot = slot_of(e->attr.st_dev, e->attr.st_ino), *i;

	pthread_mutex_lock(&lock);
	for (i = *slot; i; i = i->next)
		if (i->ino == e->attr.st_ino && i->dev == e->attr.st_dev)
			break;
	if (i) {
		close(fd);
	} else {
		i = calloc(1, sizeof(*i));
		if (i) {
			i->dev = e->attr.st_dev;
			i->ino = e->attr.st_ino;
			i->fd = fd;
			i->next = *slot;
			*slot = i;
		}
	}
	if (i)
		i->lookups++;
	pthread_mutex_unlock(&lock);
	e->ino = (uintptr_t)i;
	return i ? 0 : ENOMEM;
}

static int find(fuse_ino_t parent, const char *name, struct fuse_entry_param *e)
{
	int fd = openat(fd_of(parent), name, O_PATH | O_NOFOLLOW);

	memset(e, 0, sizeof(*e));
	e->attr_timeout = e->entry_timeout = DAY_S;
	if (fd < 0)
		return errno;
	if (fstatat(fd, "", &e->attr, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) {
		close(fd);
		return errno;
	}
	return take(fd, e);
}

static void forget_one(fuse_ino_t id, uint64_t n)
{
	struct inode *i = inode_of(id), **p;

	if (i == &root)
		return;
	pthread_mutex_lock(&lock);
	i->lookups -= n < i->lookups ? n : i->lookups;
	if (i->lookups == 0) {
		for (p = slot_of(i->dev, i->ino); *p != i;)
			p = &(*p)->next;
		*p = i->next;
	} else {
		i = NULL;
	}
	pthread_mutex_unlock(&lock);
	if (i)
		close(i->fd);
	free(i);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e;
	int err = find(parent, name, &e);

	if (err && err != ENOENT)
		fuse_reply_err(req, err);
	else
		fuse_reply_entry(req, &e); /* number 0: there is none */
}

static void op_forget(fuse_req_t req, fuse_ino_t id, uint64_t n)
{
	forget_one(id, n);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count,
			    struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget_one(forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

/* -------------------------------------------------------------- attributes */

static void op_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct stat st;

	if (fstatat(fd_of(id), "", &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		fuse_reply_err(req, errno);
	else
		fuse_reply_attr(req, &st, DAY_S);
}

static int set_times(const char *path, const struct stat *attr, int set)
{
	struct timespec t[2] = { { .tv_nsec = UTIME_OMIT },
				 { .tv_nsec = UTIME_OMIT } };

	if (set & FUSE_SET_ATTR_ATIME_NOW)
		t[0].tv_nsec = UTIME_NOW;
	else if (set & FUSE_SET_ATTR_ATIME)
		t[0] = attr->st_atim;
	if (set & FUSE_SET_ATTR_MTIME_NOW)
		t[1].tv_nsec = UTIME_NOW;
	else if (set & FUSE_SET_ATTR_MTIME)
		t[1] = attr->st_mtim;
	return utimensat(AT_FDCWD, path, t, 0);
}

static void op_setattr(fuse_req_t req, fuse_ino_t id, struct stat *attr,
		       int set, struct fuse_file_info *fi)
{
	const int times = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME |
			  FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW;
	uid_t uid = set & FUSE_SET_ATTR_UID ? attr->st_uid : (uid_t)-1;
	gid_t gid = set & FUSE_SET_ATTR_GID ? attr->st_gid : (gid_t)-1;
	char path[FD_PATH_BYTES];
	int rc = 0;

	fd_path(path, id);
	if (set & FUSE_SET_ATTR_MODE)
		rc = chmod(path, attr->st_mode);
	if (!rc && set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		rc = chown(path, uid, gid);
	if (!rc && set & FUSE_SET_ATTR_SIZE)
		rc = truncate(path, attr->st_size);
	if (!rc && set & times)
		rc = set_times(path, attr, set);
	if (rc)
		fuse_reply_err(req, errno);
	else
		op_getattr(req, id, fi);
}

/* The kernel asks for security.capability before it writes. */
static void op_getxattr(fuse_req_t req, fuse_ino_t id, const char *name,
			size_t size)
{
	char path[FD_PATH_BYTES], value[4096];
	ssize_t n;

	fd_path(path, id);
	n = getxattr(path, name, value, size < sizeof(value) ? size : 4096);
	if (n < 0)
		fuse_reply_err(req, errno);
	else if (size)
		fuse_reply_buf(req, value, (size_t)n);
	else
		fuse_reply_xattr(req, (size_t)n);
}

static void op_statfs(fuse_req_t req, fuse_ino_t id)
{
	struct statvfs st;

	if (fstatvfs(fd_of(id), &st))
		fuse_reply_err(req, errno);
	else
		fuse_reply_statfs(req, &st);
}

/* ------------------------------------------------------------------- names */

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
		     mode_t mode)
{
	if (mkdirat(fd_of(parent), name, mode))
		fuse_reply_err(req, errno);
	else
		op_lookup(req, parent, name);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply(req, unlinkat(fd_of(parent), name, 0));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply(req, unlinkat(fd_of(parent), name, AT_REMOVEDIR));
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
		      fuse_ino_t to, const char *to_name, unsigned flags)
{
	if (flags)
		fuse_reply_err(req, EINVAL);
	else
		reply(req, renameat(fd_of(parent), name, fd_of(to), to_name));
}

/* ------------------------------------------------------------------- files */

/* With a writeback cache the kernel reads what is only written, and appends. */
static int wanted_flags(int flags)
{
	if ((flags & O_ACCMODE) == O_WRONLY)
		flags = (flags & ~O_ACCMODE) | O_RDWR;
	return flags & ~(O_APPEND | O_NOFOLLOW);
}

static void op_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	char path[FD_PATH_BYTES];
	int fd;

	fd_path(path, id);
	fd = open(path, wanted_flags(fi->flags));
	if (fd < 0) {
		fuse_reply_err(req, errno);
		return;
	}
	fi->fh = (uint64_t)fd;
	fi->keep_cache = 1;
	fuse_reply_open(req, fi);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name,
		      mode_t mode, struct fuse_file_info *fi)
{
	struct fuse_entry_param e;
	int err, fd = openat(fd_of(parent), name,
			     wanted_flags(fi->flags) | O_CREAT, mode);

	if (fd < 0) {
		fuse_reply_err(req, errno);
		return;
	}
	err = find(parent, name, &e);
	if (err) {
		close(fd);
		fuse_reply_err(req, err);
		return;
	}
	fi->fh = (uint64_t)fd;
	fuse_reply_create(req, &e, fi);
}

static void op_flush(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	reply(req, close(dup((int)fi->fh)));
}

static void op_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	close((int)fi->fh);
	fuse_reply_err(req, 0);
}

static void op_fsync(fuse_req_t req, fuse_ino_t id, int datasync,
		     struct fuse_file_info *fi)
{
	reply(req, datasync ? fdatasync((int)fi->fh) : fsync((int)fi->fh));
}

static void op_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct fuse_bufvec v = FUSE_BUFVEC_INIT(size);

	v.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	v.buf[0].fd = (int)fi->fh;
	v.buf[0].pos = off;
	fuse_reply_data(req, &v, 0);
}

static void op_write_buf(fuse_req_t req, fuse_ino_t id, struct fuse_bufvec *in,
			 off_t off, struct fuse_file_info *fi)
{
	struct fuse_bufvec v = FUSE_BUFVEC_INIT(fuse_buf_size(in));
	ssize_t n;

	v.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	v.buf[0].fd = (int)fi->fh;
	v.buf[0].pos = off;
	n = fuse_buf_copy(&v, in, 0);
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else
		fuse_reply_write(req, (size_t)n);
}

/* ---------------------------------------------------------------- listings */

static void op_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct dir *d = calloc(1, sizeof(*d));
	int fd = d ? openat(fd_of(id), ".", O_RDONLY | O_DIRECTORY) : -1;

	if (fd >= 0)
		d->stream = fdopendir(fd);
	if (!d || !d->stream) {
		fuse_reply_err(req, errno);
		free(d);
		return;
	}
	pthread_mutex_init(&d->lock, NULL);
	fi->fh = (uintptr_t)d;
	fi->keep_cache = 1;
	fi->cache_readdir = 1;
	fuse_reply_open(req, fi);
}

/* Bytes that it takes; more than left: it was not added. 0: left out. */
static size_t add_entry(fuse_req_t req, fuse_ino_t id, char *p, size_t left,
			const struct dirent *de, bool plus)
{
	struct fuse_entry_param e;
	size_t n;

	if (!plus) {
		memset(&e, 0, sizeof(e));
		e.attr.st_ino = de->d_ino;
		e.attr.st_mode = (mode_t)de->d_type << 12;
		return fuse_add_direntry(req, p, left, de->d_name, &e.attr,
					 de->d_off);
	}
	if (find(id, de->d_name, &e))
		return 0;
	n = fuse_add_direntry_plus(req, p, left, de->d_name, &e, de->d_off);
	if (n > left)
		forget_one(e.ino, 1);
	return n;
}

static void list(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		 struct fuse_file_info *fi, bool plus)
{
	struct dir *d = (struct dir *)(uintptr_t)fi->fh;
	char *p = malloc(size);
	struct dirent *de;
	size_t n = 0, more;

	if (!p) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	pthread_mutex_lock(&d->lock);
	if (off != d->off)
		seekdir(d->stream, off);
	while ((de = readdir(d->stream))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		more = add_entry(req, id, p + n, size - n, de, plus);
		if (more > size - n)
			break;
		n += more;
		d->off = de->d_off;
	}
	if (de)
		d->off = -1; /* the next one looks for its place */
	pthread_mutex_unlock(&d->lock);
	fuse_reply_buf(req, p, n);
	free(p);
}

static void op_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	list(req, id, size, off, fi, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size,
			   off_t off, struct fuse_file_info *fi)
{
	list(req, id, size, off, fi, true);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t id,
			  struct fuse_file_info *fi)
{
	struct dir *d = (struct dir *)(uintptr_t)fi->fh;

	closedir(d->stream);
	free(d);
	fuse_reply_err(req, 0);
}

/* ------------------------------------------------------------- the session */

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	conn->want |= conn->capable &
		      (FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_WRITE |
		       FUSE_CAP_SPLICE_READ | FUSE_CAP_FLOCK_LOCKS);
}

static const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.getxattr = op_getxattr,
	.statfs = op_statfs,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.open = op_open,
	.create = op_create,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.read = op_read,
	.write_buf = op_write_buf,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
};

/* Each file that the kernel knows keeps a descriptor. */
static void more_descriptors(void)
{
	struct rlimit most = { 1 << 20, 1 << 20 }, is;

	if (!setrlimit(RLIMIT_NOFILE, &most) || getrlimit(RLIMIT_NOFILE, &is))
		return;
	is.rlim_cur = is.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &is); /* as many as there may be */
}

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	struct fuse_session *session;
	int rc = 1;

	if (argc != 3)
		return 2;
	more_descriptors();
	umask(0);
	root.fd = open(argv[1], O_PATH | O_DIRECTORY);
	if (root.fd < 0 || fuse_opt_add_arg(&args, argv[0]) ||
	    fuse_opt_add_arg(&args,
			     "-odefault_permissions,fsname=bench_passthrough"))
		return 1;
	session = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (session && !fuse_set_signal_handlers(session) &&
	    !fuse_session_mount(session, argv[2])) {
		rc = fuse_session_loop_mt(session, config) ? 1 : 0;
		fuse_session_unmount(session);
	}
	if (session)
		fuse_session_destroy(session);
	fuse_loop_cfg_destroy(config);
	fuse_opt_free_args(&args);
	return rc;
}
