/*
 * store/file_change.c - what is checked of a file operation before it is
 * queued: on the caller's thread, and again where a forwarded one arrives, so
 * that the core thread meets only operations that are well formed.
 */
#include <sys/stat.h>

#include "store/file_decide.h"
#include "store/keyrules.h"

enum { XATTR_NAME_BYTES_MAX = 255, SET_ALL = 2 * STORE_SET_MTIME_NOW - 1 };

static uint32_t flags_of_kind(enum store_file_kind kind)
{
	switch (kind) {
	case STORE_FILE_CREATE:
	case STORE_FILE_LINK:
		return STORE_FILE_POSIX;
	case STORE_FILE_SET:
		return STORE_FILE_POSIX | STORE_FILE_DROP_SETID |
		       STORE_FILE_CUT;
	case STORE_FILE_REMOVE:
		return STORE_FILE_POSIX | STORE_FILE_DIRECTORY;
	case STORE_FILE_RENAME:
		return STORE_FILE_POSIX | STORE_FILE_NOREPLACE |
		       STORE_FILE_EXCHANGE;
	case STORE_FILE_WRITE:
		return STORE_FILE_POSIX | STORE_FILE_APPEND | STORE_FILE_MAKE |
		       STORE_FILE_TRUNCATE | STORE_FILE_DROP_SETID;
	case STORE_FILE_ALLOCATE:
		return STORE_FILE_POSIX | STORE_FILE_KEEP_SIZE |
		       STORE_FILE_PUNCH | STORE_FILE_ZERO |
		       STORE_FILE_DROP_SETID;
	case STORE_FILE_XATTR:
		return STORE_FILE_POSIX | STORE_FILE_XATTR_CREATE |
		       STORE_FILE_XATTR_REPLACE | STORE_FILE_XATTR_REMOVE;
	case STORE_FILE_RESERVE:
		break;
	}
	return 0;
}

/* Operations on the root: it has attributes, but neither name nor data. */
static bool may_be_root(enum store_file_kind kind)
{
	return kind == STORE_FILE_SET || kind == STORE_FILE_XATTR ||
	       kind == STORE_FILE_RESERVE;
}

static enum err check_paths(struct store *s, struct store_file_op *op)
{
	bool two = op->kind == STORE_FILE_RENAME || op->kind == STORE_FILE_LINK;
	enum err err = OK;

	op->queued.partition = 0;
	if (!two && op->path2.n > 0)
		return ERR_INVALID;
	if (op->path.n == 0 && may_be_root(op->kind))
		return OK;
	err = path_check(op->path);
	if (!err && two)
		err = path_check(op->path2);
	if (err)
		return err;
	op->queued.partition = store_partition_of(s, op->path);
	if (two && op->queued.partition != store_partition_of(s, op->path2))
		return ERR_CROSS_PART;
	return OK;
}

static bool is_below(struct bytes path, struct bytes dir)
{
	return bytes_begins(path, dir) && path.n > dir.n &&
	       path.p[dir.n] == '/';
}

static enum err check_create(const struct store_file_op *op)
{
	switch (op->mode & S_IFMT) {
	case 0:
	case S_IFREG:
		return OK;
	case S_IFLNK:
		if (op->data.n == 0 || memchr(op->data.p, 0, op->data.n))
			return ERR_INVALID;
		return op->data.n > STORE_KEY_BYTES_MAX ? ERR_TOO_LARGE : OK;
	case S_IFDIR:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		return op->data.n > 0 ? ERR_INVALID : OK;
	default:
		return ERR_INVALID;
	}
}

static enum err check_rename(const struct store_file_op *op)
{
	uint32_t both = STORE_FILE_NOREPLACE | STORE_FILE_EXCHANGE;

	if ((op->flags & both) == both || is_below(op->path2, op->path))
		return ERR_INVALID;
	if (op->flags & STORE_FILE_EXCHANGE && is_below(op->path, op->path2))
		return ERR_INVALID;
	return OK;
}

static enum err check_range(const struct store *s, uint64_t off, uint64_t n)
{
	uint64_t max = s->max_value_bytes;

	return off > max || n > max - off ? ERR_TOO_LARGE : OK;
}

static enum err check_write(const struct store *s,
			    const struct store_file_op *op)
{
	if (op->flags & STORE_FILE_MAKE) {
		uint32_t type = op->mode & S_IFMT;

		if (type != 0 && type != S_IFREG)
			return ERR_INVALID;
	}
	return check_range(s, op->flags & STORE_FILE_APPEND ? 0 : op->off,
			   op->data.n);
}

static enum err check_allocate(const struct store *s,
			       const struct store_file_op *op)
{
	uint32_t both = STORE_FILE_PUNCH | STORE_FILE_ZERO;

	if ((op->flags & both) == both || op->length == 0)
		return ERR_INVALID;
	if (op->flags & STORE_FILE_PUNCH) /* changes nothing behind the end */
		return op->off > INT64_MAX || op->length > INT64_MAX - op->off
			       ? ERR_INVALID
			       : OK;
	return check_range(s, op->off, op->length);
}

static enum err check_xattr(const struct store_file_op *op)
{
	uint32_t how = op->flags &
		       (STORE_FILE_XATTR_CREATE | STORE_FILE_XATTR_REPLACE |
			STORE_FILE_XATTR_REMOVE);

	if (op->name.n == 0 || op->name.n > XATTR_NAME_BYTES_MAX ||
	    memchr(op->name.p, 0, op->name.n) || (how & (how - 1)))
		return ERR_INVALID;
	if (how == STORE_FILE_XATTR_REMOVE && op->data.n > 0)
		return ERR_INVALID;
	return op->data.n > STORE_FILE_ATTR_BYTES_MAX ? ERR_NOSPC : OK;
}

static enum err check_kind(const struct store *s,
			   const struct store_file_op *op)
{
	switch (op->kind) {
	case STORE_FILE_CREATE:
		return check_create(op);
	case STORE_FILE_RENAME:
		return check_rename(op);
	case STORE_FILE_SET:
		if (op->set & STORE_SET_BYTES)
			return check_range(s, op->off, 0);
		return OK;
	case STORE_FILE_WRITE:
		return check_write(s, op);
	case STORE_FILE_ALLOCATE:
		return check_allocate(s, op);
	case STORE_FILE_XATTR:
		return check_xattr(op);
	case STORE_FILE_REMOVE:
	case STORE_FILE_LINK:
	case STORE_FILE_RESERVE:
		break;
	}
	return OK;
}

static bool has_data(enum store_file_kind kind)
{
	return kind == STORE_FILE_CREATE || kind == STORE_FILE_WRITE ||
	       kind == STORE_FILE_XATTR;
}

enum err file_check(struct store *s, struct store_file_op *op)
{
	uint32_t fields = STORE_HAS_MODE | STORE_HAS_UID | STORE_HAS_GID;
	enum err err;

	if (op->kind > STORE_FILE_RESERVE || op->set > SET_ALL ||
	    op->flags & ~flags_of_kind(op->kind) || op->fields & ~fields ||
	    (op->data.n > 0 && !has_data(op->kind)) ||
	    (op->name.n > 0 && op->kind != STORE_FILE_XATTR))
		return ERR_INVALID;
	if (op->data.n > STORE_FILE_WRITE_BYTES_MAX)
		return ERR_TOO_LARGE;
	err = check_paths(s, op);
	return err ? err : check_kind(s, op);
}

enum err store_file_change(struct store *s, struct store_file_op *op)
{
	enum err err;

	if (!atomic_load_explicit(&s->started, memory_order_acquire))
		return atomic_load(&s->closing) ? ERR_CLOSED : ERR_STARTING;
	err = file_check(s, op);
	if (err)
		return err;
	return queue_push(s, &op->queued, REQUEST_FILE);
}
