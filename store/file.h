/*
 * store/file.h - keys as files: what a mount needs beyond store/store.h.
 *
 * PATHS. A path is a key without a trailing slash; the empty path is the root.
 * It names, in this order, the file whose key it is, the explicit directory
 * (key: path + "/"), or the implicit directory that exists because some key
 * begins with path + "/". The tree rules see to it that it is only one of them.
 *
 * IDENTITY. Every key has an inode number, given where its creation is decided,
 * over HTTP too, and kept until its last name goes. Numbers of a partition are
 *
 *    63       62..12                                     11..0
 *    0        index of entry * partitions + partition    number within it
 *    1        hash of the path: an implicit directory, which has no record
 *
 * so none is ever used twice. The root is STORE_ROOT_INO. A node that must know
 * a number before the creation is decided takes it from a block of
 * STORE_INO_BLOCK that it has reserved.
 *
 * RECORDS. Attributes lie in the record of the key (store/attrs.h). A file with
 * several names has an inode record under a hidden key, which its names'
 * records only name; every change of it writes all of them, so revision, size
 * and watches of each name need no second look.
 *
 * Everything here is decided by the leader like any write, atomic, one log
 * entry, exactly once. Threads as in store/store.h.
 */
#ifndef STORE_FILE_H
#define STORE_FILE_H

#include "store/store.h"

enum {
	/*
	 * A path may be longer than a key over HTTP, so that the longest path
	 * that a program can name is one also below a directory of the mount.
	 * Only the mount reaches such a file.
	 */
	STORE_PATH_BYTES_MAX = STORE_KEY_BYTES_MAX + 245,
	STORE_FILE_WRITE_BYTES_MAX = 1 << 20, /* of one STORE_FILE_WRITE     */
	STORE_FILE_INLINE_BYTES_MAX = 4096,   /* larger: chunks, so that neither
					       a small write nor an attribute
					       rewrites the whole value      */
	STORE_FILE_ATTR_BYTES_MAX = 32 << 10, /* all attributes of a key     */
	STORE_FILE_LINKS_MAX = 1000,
	STORE_RENAME_KEYS_MAX = 32768, /* below a directory that is renamed  */
	STORE_RENAME_BYTES_MAX = 16 << 20, /* of keys, attributes and inline
					      values below it                */
	STORE_INO_BLOCK = 4096,
	STORE_ROOT_INO = 1,
};

/* Which of mode, uid, gid somebody has set; else the mount's defaults hold. */
enum store_file_fields {
	STORE_HAS_MODE = 1, /* permission bits; the type is always known     */
	STORE_HAS_UID = 2,
	STORE_HAS_GID = 4,
};

struct store_file {
	uint64_t ino, rev;
	uint64_t bytes;	       /* size; of a symbolic link: of its target    */
	uint64_t stored_bytes; /* without holes                              */
	uint32_t nlink;	       /* names; of directories 1: see store_subdirs */
	uint32_t fields;       /* enum store_file_fields                     */
	uint32_t mode;	       /* S_IFMT and 07777 as in <sys/stat.h>        */
	uint32_t uid, gid;
	uint64_t rdev; /* of device nodes                                    */
	uint64_t atime_ns, mtime_ns, ctime_ns; /* wall clock                 */
	bool implicit;	 /* a directory without a record: no times           */
	bool has_xattrs; /* user.* and the like                              */
};

/*
 * What path is now. The root is always there. Takes no lock for a file or an
 * explicit directory.
 * ERR_NOT_FOUND; ERR_NOT_DIR: something on the way is a file; ERR_BAD_KEY,
 * ERR_KEY_TOO_LONG; ERR_CORRUPT, ERR_IO, ERR_NOMEM. Thread: any.
 */
MUST_CHECK enum err store_file_stat(struct store *s, struct bytes path,
				    struct store_file *file);

/*
 * The same for the file that had number ino when path was its name: of a file
 * with several names found although path is another's by now.
 * ERR_STALE: path is not (any more) ino. Others as store_file_stat.
 */
MUST_CHECK enum err store_file_stat_ino(struct store *s, struct bytes path,
					uint64_t ino, struct store_file *file);

/*
 * A name that the file has now which had number ino when path was its name:
 * path, or, of a file with several names, another one. Appended to name.
 * Errors as store_file_stat_ino. Thread: any.
 */
MUST_CHECK enum err store_file_name(struct store *s, struct bytes path,
				    uint64_t ino, struct buf *name);

/*
 * Directories directly below the directory path; a seek each, so keep the
 * number and ask again only after a change. Thread: any.
 */
MUST_CHECK enum err store_subdirs(struct store *s, struct bytes path,
				  uint64_t *count);

/*
 * Up to n bytes from off on to dst, all of one revision, each verified; *got
 * is less than n only at the end of the file. ino 0: whatever path is.
 * Pins only what the range needs. Any size of file.
 * ERR_NOT_FOUND, ERR_STALE, ERR_IS_DIR, ERR_CORRUPT, ERR_IO, ERR_NOMEM: dst
 * holds garbage. Thread: any.
 */
MUST_CHECK enum err store_file_read(struct store *s, struct bytes path,
				    uint64_t ino, uint64_t off, void *dst,
				    size_t n, size_t *got);

/*
 * The first data (hole false) or hole at or after off, as SEEK_DATA and
 * SEEK_HOLE; the end of the file is a hole. ERR_NOT_FOUND: off is at or behind
 * the end, or no data follows. Others as store_file_read.
 */
MUST_CHECK enum err store_file_seek(struct store *s, struct bytes path,
				    uint64_t ino, uint64_t off, bool hole,
				    uint64_t *found);

/*
 * The value of an extended attribute, appended to value; or the names, each
 * with its NUL, appended to names. ERR_NO_ATTR. Others as store_file_stat_ino.
 */
MUST_CHECK enum err store_xattr_get(struct store *s, struct bytes path,
				    uint64_t ino, struct bytes name,
				    struct buf *value);
MUST_CHECK enum err store_xattr_list(struct store *s, struct bytes path,
				     uint64_t ino, struct buf *names);

/* -------------------------------------------------------------- changes --- */

enum store_file_kind {
	/*
	 * Make path, with mode (type and permissions), uid, gid, rdev; data: a
	 * symbolic link's target or a file's first bytes. There already:
	 * ERR_EXISTS.
	 */
	STORE_FILE_CREATE,
	/* Unlink, or remove the empty directory (STORE_FILE_DIRECTORY). */
	STORE_FILE_REMOVE,
	/*
	 * path becomes path2, of a directory with all below it. A file replaces
	 * a file, a directory an empty directory. Both names of one file:
	 * nothing happens. Numbers stay, but that of a directory which is or
	 * was implicit is new; found_ino is that of path2 afterwards.
	 */
	STORE_FILE_RENAME,
	/* path2 becomes another name of the file path. */
	STORE_FILE_LINK,
	/* Change what `set` says. */
	STORE_FILE_SET,
	/* Put data at off; holes before it read as zeros. */
	STORE_FILE_WRITE,
	/* fallocate: bytes off .. off + length. */
	STORE_FILE_ALLOCATE,
	/* Set the attribute name to data, or remove it. */
	STORE_FILE_XATTR,
	/* STORE_INO_BLOCK numbers from ino on are the caller's. Only path. */
	STORE_FILE_RESERVE,
};

enum store_file_flags {
	/*
	 * As a mount does it: the parent directory must be there (a missing
	 * one is ERR_NOT_FOUND), gets new times and becomes explicit; it stays
	 * when its last child goes. Without: as HTTP does it.
	 */
	STORE_FILE_POSIX = 1,
	STORE_FILE_DIRECTORY = 2,   /* REMOVE: rmdir; else unlink             */
	STORE_FILE_NOREPLACE = 4,   /* RENAME: path2 there: ERR_EXISTS        */
	STORE_FILE_EXCHANGE = 8,    /* RENAME: both must be there             */
	STORE_FILE_APPEND = 16,	    /* WRITE: at the end, wherever it is      */
	STORE_FILE_MAKE = 32,	    /* WRITE: path absent: CREATE it first; it
				      is there and not ino: ERR_EXISTS       */
	STORE_FILE_TRUNCATE = 64,   /* WRITE: what was there goes first       */
	STORE_FILE_KEEP_SIZE = 128, /* ALLOCATE                              */
	STORE_FILE_PUNCH = 256,	    /* ALLOCATE: a hole, keeps the size      */
	STORE_FILE_ZERO = 512,	    /* ALLOCATE: zeros                       */
	STORE_FILE_XATTR_CREATE = 1024,	 /* there already: ERR_EXISTS         */
	STORE_FILE_XATTR_REPLACE = 2048, /* not there: ERR_NO_ATTR           */
	STORE_FILE_XATTR_REMOVE = 4096,
	STORE_FILE_DROP_SETID = 8192, /* SET, WRITE, ALLOCATE: set-id bits go,
				       as POSIX wants it when others than
				       root change the data               */
	STORE_FILE_CUT = 16384, /* SET of bytes: as O_TRUNC does it: the times
				 change also where the size does not      */
};

enum store_file_set {
	STORE_SET_MODE = 1, /* permission bits only */
	STORE_SET_UID = 2,
	STORE_SET_GID = 4,
	STORE_SET_BYTES = 8, /* truncate or extend to `off`                  */
	STORE_SET_ATIME = 16,
	STORE_SET_MTIME = 32,
	STORE_SET_ATIME_NOW = 64, /* the time of the entry                   */
	STORE_SET_MTIME_NOW = 128,
};

struct store_file_op {
	/* in; what is pointed at stays valid until done */
	enum store_file_kind kind;
	uint32_t flags, set;
	struct bytes path, path2;
	/*
	 * What path (path2) and the directories they lie in must still be; 0:
	 * whatever is there. Otherwise ERR_STALE. With a file of several names
	 * ino alone decides (SET, WRITE, ALLOCATE, XATTR).
	 */
	uint64_t ino, ino2, dir_ino, dir2_ino;
	uint64_t new_ino; /* CREATE, MAKE: reserved number; 0: the store's  */
	uint32_t mode, uid, gid;
	uint32_t fields; /* CREATE, MAKE: which of them are given          */
	uint64_t rdev;
	uint64_t atime_ns, mtime_ns; /* SET; mtime of CREATE, MAKE, CUT: when
				      the caller has done it (the wall clock of
				      the only member), 0: the time of the
				      entry                                  */
	uint64_t off, length;
	struct bytes name; /* of the extended attribute                      */
	struct bytes data; /* WRITE: at most STORE_FILE_WRITE_BYTES_MAX      */
	bool may_hold; /* an observer may hold the answer: not of a mount    */
	void (*done)(struct store_file_op *op); /* core thread               */
	void *user;
	/* out, set before done; this node has applied revision */
	enum err err;
	uint64_t revision;
	uint64_t found_ino; /* of path, as it is now                         */
	uint64_t found_off; /* APPEND: where data begins                     */
	uint64_t bytes;	    /* size now                                      */
	struct store_queued queued; /* private */
};

/*
 * Hand it in. OK: done will be called exactly once; otherwise it will not and
 * nothing was done: ERR_BAD_KEY, ERR_KEY_TOO_LONG, ERR_TOO_LARGE,
 * ERR_CROSS_PART, ERR_INVALID (impossible fields; a directory into itself),
 * ERR_FULL, ERR_STARTING, ERR_CLOSED.
 *
 * op->err: the refusals ERR_NOT_FOUND, ERR_EXISTS, ERR_NOT_DIR, ERR_IS_DIR,
 * ERR_NOT_EMPTY, ERR_STALE, ERR_NO_ATTR, ERR_NOT_FILE (data of a fifo, device
 * or link), ERR_LINKS_MAX; ERR_TOO_LARGE (max_value_bytes; a directory over
 * the bounds of a rename), ERR_NOSPC (disk; attributes over their bound); and
 * as store_write. Thread: any.
 */
MUST_CHECK enum err store_file_change(struct store *s,
				      struct store_file_op *op);

/*
 * The time that a directory gets by a file that was made in it at made_ns, if
 * it has had the time `was` so far: it does not go back for a change that was
 * handed in late, but does for a time that somebody has set in advance.
 */
static inline uint64_t store_dir_time(uint64_t was_ns, uint64_t made_ns)
{
	const uint64_t late_ns = 1000000000;

	return was_ns > made_ns && was_ns - made_ns < late_ns ? was_ns
							      : made_ns;
}

/* ------------------------------------------------------------- observer --- */

enum store_seen_kind {
	STORE_SEEN_PUT,
	STORE_SEEN_DELETE, /* or expired                                     */
	STORE_SEEN_DELETE_PREFIX,
	STORE_SEEN_MOVE,     /* key (and all below it) is called `to` now    */
	STORE_SEEN_EXCHANGE, /* key and `to` have changed places             */
	STORE_SEEN_RESET,    /* a whole state was installed: all may differ  */
};

/* One change. A MOVE or EXCHANGE is the first of its entry. */
struct store_seen {
	enum store_seen_kind kind;
	struct bytes key, to; /* keys: a directory's has its slash; of the
				 root's attributes it is empty               */
	uint64_t ino; /* PUT: what key is from now on; 0: unknown            */
};

/*
 * Hears of every applied change of users' keys, entry by entry. Thread: core;
 * must not block; may read the store.
 */
struct store_observer {
	/*
	 * The entry is not applied yet: what it replaces can still be read.
	 * Said again if memory was short and the entry is tried once more.
	 */
	void (*before)(void *ctx, uint32_t partition, uint64_t rev,
		       const struct store_seen *seen, uint32_t count);
	/*
	 * It is applied. True: answers to requests that made this entry (of
	 * file operations to those with may_hold) are held until
	 * store_observed, for at most 1 s.
	 */
	bool (*after)(void *ctx, uint32_t partition, uint64_t rev,
		      const struct store_seen *seen, uint32_t count);
	void *ctx;
};

/* From the next entry on. NULL: no more. Thread: core. */
void store_observe(struct store *s, const struct store_observer *o);

/* Answers of entries of partition up to rev need not be held. Thread: any. */
void store_observed(struct store *s, uint32_t partition, uint64_t rev);

#endif
