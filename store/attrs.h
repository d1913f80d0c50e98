/*
 * store/attrs.h - the attributes of a key, as they lie in its record.
 *
 *    0    1  format   1
 *    1    -  fields, by rising tag, each once:
 *              tag u8, then a varint (LEB128, at most 10 bytes), or
 *              tag u8, then a varint n and n bytes
 *
 *    tag  1  ino                  2  type (mode >> 12; 0 or absent: a file or,
 *         3  permission bits + 1                     by its key, a directory)
 *         4  uid                  5  gid
 *         6  rdev                 7  names (absent: 1)
 *         8  atime ns             9  mtime ns      10  ctime ns
 *        11  chunks stored, of a value with holes
 *        12  extended attributes: for each name_bytes u8, value_bytes u16,
 *            name, value
 *
 * What costs no bytes is the ordinary case. An absent ino is the number that
 * the record's own version gives (file_ino_of), so a new key has no attributes
 * and one that was replaced only its number. An absent mtime or ctime is the
 * record's own (mtime_ns of engine/record.h), an absent atime is as mtime: a
 * change of the data writes none. Tags above 12 are unknown, all of the second
 * form, kept as they are and written back. Pure; thread: any.
 */
#ifndef STORE_ATTRS_H
#define STORE_ATTRS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum {
	ATTRS_INO = 1 << 1,
	ATTRS_TYPE = 1 << 2,
	ATTRS_PERMISSIONS = 1 << 3,
	ATTRS_UID = 1 << 4,
	ATTRS_GID = 1 << 5,
	ATTRS_RDEV = 1 << 6,
	ATTRS_NAMES = 1 << 7,
	ATTRS_ATIME = 1 << 8,
	ATTRS_MTIME = 1 << 9,
	ATTRS_CTIME = 1 << 10,
	ATTRS_CHUNKS = 1 << 11,
	ATTRS_XATTRS = 1 << 12,
};

enum {
	ATTRS_FIXED_BYTES_MAX = 160, /* of all but xattrs and unknown tags  */
	ATTRS_XATTR_HEAD_BYTES = 3,
};

struct attrs {
	uint32_t has;  /* ATTRS_*: which of the following are there           */
	uint32_t type; /* S_IFMT bits >> 12                                  */
	uint32_t permissions, uid, gid, names;
	uint64_t ino, rdev, chunks;
	uint64_t atime_ns, mtime_ns, ctime_ns;
	struct bytes xattrs;  /* as encoded; a view into what was decoded    */
	struct bytes unknown; /* encoded fields with higher tags; likewise   */
};

/* ERR_CORRUPT: not a well-formed encoding. No bytes: nothing is there. */
MUST_CHECK enum err attrs_decode(struct bytes encoded, struct attrs *a);

/* Bytes that encoding takes; 0 when nothing is there. */
size_t attrs_bytes(const struct attrs *a);

/* Write them to dst (room for attrs_bytes). Returns the bytes written. */
size_t attrs_encode(const struct attrs *a, uint8_t *dst);

/* The next extended attribute; *off 0 at first. False: no more. */
bool attrs_xattr_next(struct bytes xattrs, size_t *off, struct bytes *name,
		      struct bytes *value);

/* Write one to dst (room for head, name, value). Returns the bytes written. */
size_t attrs_xattr_put(uint8_t *dst, struct bytes name, struct bytes value);

#endif
