/*
 * store/hidden.h - the store's own keys, which begin with a NUL byte.
 *
 *   "\0c" content id be64  chunk number be32   STORE_CHUNK_BYTES of a content
 *   "\0c" content id be64                      prefix of all its chunks
 *   "\0s" content id be64                      staging marker: not committed
 *   "\0c" content id be64  chunk number be32  begin be16  length - 1 be16
 *                                              bytes written over that chunk
 *   "\0d"                                      attributes of the root directory
 *   "\0i" ino be64                             a file with several names
 *   "\0l" ino be64  key                        one of its names
 *   "\0o" node id be64                         a block of inode numbers taken
 *   "\0v"                                      the last rename: what it meant
 *   "\0f" node id be64  slot be16              window of forwarded requests
 *   "\0f" node id be64                         prefix of a node's window
 *   "\0g"                                      membership of the group
 *   "\0m" member id be64                       member map, partition 0 only
 *   "\0n"                                      next member id, partition 0
 *   "\0r"                                      slot table, partition 0 only
 *   "\0t" name                                 a token, partition 0 only
 *
 * A content id is the index of the entry that opened the content, shifted by
 * 16 bits, plus its number among the contents of that entry: unique in its
 * partition and never used again. Listings, watches, counts and prefix
 * deletions never see these keys.
 */
#ifndef STORE_HIDDEN_H
#define STORE_HIDDEN_H

#include "base/bytes.h"

enum {
	HIDDEN_NUMBERED_BYTES = 10,
	CHUNK_PREFIX_BYTES = HIDDEN_NUMBERED_BYTES,
	CHUNK_KEY_BYTES = 14,
	EXTENT_KEY_BYTES = 18,
	MARKER_KEY_BYTES = HIDDEN_NUMBERED_BYTES,
	MEMBER_KEY_BYTES = HIDDEN_NUMBERED_BYTES,
	RESERVED_KEY_BYTES = HIDDEN_NUMBERED_BYTES,
	WINDOW_PREFIX_BYTES = HIDDEN_NUMBERED_BYTES,
	WINDOW_KEY_BYTES = 12,
	INODE_KEY_BYTES = HIDDEN_NUMBERED_BYTES,
	NAMES_PREFIX_BYTES = HIDDEN_NUMBERED_BYTES, /* a name's key: and it */
	TOKEN_KEY_BYTES_MAX = 66,
};

/* NUL, a letter, a number: how most of these keys begin. */
static inline struct bytes hidden_numbered(uint8_t dst[HIDDEN_NUMBERED_BYTES],
					   char letter, uint64_t number)
{
	dst[0] = 0;
	dst[1] = (uint8_t)letter;
	put_be64(dst + 2, number);
	return bytes_of(dst, HIDDEN_NUMBERED_BYTES);
}

static inline struct bytes chunk_prefix(uint8_t dst[CHUNK_KEY_BYTES],
					uint64_t content_id)
{
	return hidden_numbered(dst, 'c', content_id);
}

static inline struct bytes chunk_key(uint8_t dst[CHUNK_KEY_BYTES],
				     uint64_t content_id, uint32_t number)
{
	chunk_prefix(dst, content_id);
	put_be32(dst + CHUNK_PREFIX_BYTES, number);
	return bytes_of(dst, CHUNK_KEY_BYTES);
}

/* Bytes begin .. begin + n of a chunk; n from 1 to STORE_CHUNK_BYTES. */
static inline struct bytes extent_key(uint8_t dst[EXTENT_KEY_BYTES],
				      uint64_t content_id, uint32_t number,
				      uint32_t begin, uint32_t n)
{
	chunk_key(dst, content_id, number);
	dst[14] = (uint8_t)(begin >> 8);
	dst[15] = (uint8_t)begin;
	dst[16] = (uint8_t)((n - 1) >> 8);
	dst[17] = (uint8_t)(n - 1);
	return bytes_of(dst, EXTENT_KEY_BYTES);
}

static inline void extent_bounds(struct bytes key, uint32_t *begin, uint32_t *n)
{
	*begin = (uint32_t)key.p[14] << 8 | key.p[15];
	*n = ((uint32_t)key.p[16] << 8 | key.p[17]) + 1;
}

static inline uint32_t chunk_number(struct bytes key)
{
	return get_be32(key.p + CHUNK_PREFIX_BYTES);
}

static inline struct bytes marker_key(uint8_t dst[MARKER_KEY_BYTES],
				      uint64_t content_id)
{
	return hidden_numbered(dst, 's', content_id);
}

static inline struct bytes marker_prefix(void)
{
	return bytes_of("\0s", 2);
}

static inline struct bytes reserved_key(uint8_t dst[RESERVED_KEY_BYTES],
					uint64_t node_id)
{
	return hidden_numbered(dst, 'o', node_id);
}

static inline struct bytes window_prefix(uint8_t dst[WINDOW_KEY_BYTES],
					 uint64_t node_id)
{
	return hidden_numbered(dst, 'f', node_id);
}

static inline struct bytes window_key(uint8_t dst[WINDOW_KEY_BYTES],
				      uint64_t node_id, uint16_t slot)
{
	window_prefix(dst, node_id);
	dst[10] = (uint8_t)(slot >> 8);
	dst[11] = (uint8_t)slot;
	return bytes_of(dst, WINDOW_KEY_BYTES);
}

static inline struct bytes root_key(void)
{
	return bytes_of("\0d", 2);
}

static inline struct bytes inode_key(uint8_t dst[INODE_KEY_BYTES], uint64_t ino)
{
	return hidden_numbered(dst, 'i', ino);
}

static inline struct bytes names_prefix(uint8_t dst[NAMES_PREFIX_BYTES],
					uint64_t ino)
{
	return hidden_numbered(dst, 'l', ino);
}

static inline struct bytes meaning_key(void)
{
	return bytes_of("\0v", 2);
}

static inline struct bytes ring_key(void)
{
	return bytes_of("\0r", 2);
}

static inline struct bytes conf_key(void)
{
	return bytes_of("\0g", 2);
}

static inline struct bytes member_prefix(void)
{
	return bytes_of("\0m", 2);
}

static inline struct bytes member_key(uint8_t dst[MEMBER_KEY_BYTES],
				      uint64_t id)
{
	return hidden_numbered(dst, 'm', id);
}

static inline struct bytes next_id_key(void)
{
	return bytes_of("\0n", 2);
}

static inline struct bytes token_prefix(void)
{
	return bytes_of("\0t", 2);
}

/* name: less than 64 bytes. */
static inline struct bytes token_key(uint8_t dst[TOKEN_KEY_BYTES_MAX],
				     const char *name)
{
	size_t n = strlen(name);

	dst[0] = 0;
	dst[1] = 't';
	memcpy(dst + 2, name, n);
	return bytes_of(dst, n + 2);
}

/*
 * The value of a record that names a content (engine/record.h). shape: bytes
 * of a chunk, in its upper half flags. With LOC_INODE: an inode's number, the
 * size of its value, and 0.
 */
static inline void content_encode(uint8_t dst[24], uint64_t content_id,
				  uint64_t bytes, uint64_t shape)
{
	put_u64(dst, content_id);
	put_u64(dst + 8, bytes);
	put_u64(dst + 16, shape);
}

#endif
