/*
 * engine/record.h - one record: the unit of log segments and merged files.
 *
 *  off  size  record header, little-endian, at an 8-aligned file offset
 *    0     4  header_crc   crc32c(file seed, bytes 8..64, key, attributes)
 *    4     4  value_crc    crc32c(header_crc, value)
 *    8     2  magic        RECORD_MAGIC
 *   10     1  type         enum record_type
 *   11     1  flags        loc.h flags 0..63; 64: its entry was appended again;
 *                        128: last record of its entry
 *   12     2  partition
 *   14     2  position     in its entry, from 0
 *   16     8  index        Raft index, from 1 (0: not an entry)
 *   24     8  term
 *   32     8  stamp_ns     log clock
 *   40     8  mtime_ns     wall clock of the deciding node
 *   48     8  expiry_ns    log clock; 0: never
 *   56     2  key_bytes
 *   58     2  attr_bytes
 *   60     4  value_bytes
 *   64     -  key, attributes, value, zeros to the next multiple of 8
 *
 * The file seed mixes in the file's identity and salt (engine/datafile.h), so
 * a record of another file, node, cluster or earlier use never passes.
 */
#ifndef ENGINE_RECORD_H
#define ENGINE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum {
	RECORD_HEADER_BYTES = 64,
	RECORD_MAGIC = 0x5243,
	RECORD_KEY_BYTES_MAX = 4352,
	RECORD_ATTR_BYTES_MAX = 65535,
	RECORD_VALUE_BYTES_MAX = 16 << 20,
};

enum record_type {
	RECORD_PUT = 1,
	RECORD_DELETE = 2,	  /* tombstone of one key                    */
	RECORD_DELETE_PREFIX = 3, /* range tombstone: key is the prefix      */
	RECORD_NOOP = 4,	  /* an entry that changes no key            */
	RECORD_CONFIG = 5,	  /* membership; value is raft's             */
	RECORD_HARD_STATE = 6,	  /* term, vote, commit; index 0             */
	RECORD_EXPIRE = 7,	  /* tombstone of one key, meaning: expired  */
	RECORD_TYPE_MAX
};

/* Flags of records in the log only. */
enum {
	RECORD_AGAIN = 64, /* a copy of an entry that stands; kills nothing  */
	RECORD_LAST = 128,
	RECORD_LOG_FLAGS = RECORD_AGAIN | RECORD_LAST,
};

/*
 * The value of a PUT with the flag LOC_CONTENT only names a content, whose
 * bytes lie in chunk records under hidden keys (docs/format.md):
 *
 *    0     8  content_id
 *    8     8  content_bytes  the logical size
 *   16     8  chunk_bytes
 *
 * Its value_bytes is RECORD_CONTENT_BYTES; key directory, runs and hints carry
 * the logical size in value_bytes instead, so the length on disk of such a
 * record is computed with RECORD_CONTENT_BYTES.
 */
enum { RECORD_CONTENT_BYTES = 24 };

struct record {
	uint8_t type;
	uint8_t flags; /* with RECORD_LOG_FLAGS */
	uint16_t partition;
	uint16_t position;
	uint64_t index;
	uint64_t term;
	uint64_t stamp_ns;
	uint64_t mtime_ns;
	uint64_t expiry_ns;
	struct bytes key;
	struct bytes attrs;
	struct bytes value;
};

/* What decoding found. Each keeps the fields of the better ones out. */
enum record_state {
	RECORD_OK,
	RECORD_BAD_VALUE,  /* header, key, attributes proved; value is not    */
	RECORD_BAD_HEADER, /* nothing can be trusted, the length neither     */
};

/* Bytes on disk of a record with these parts, padding included. */
static inline uint64_t record_bytes(uint64_t key_bytes, uint64_t attr_bytes,
				    uint64_t value_bytes)
{
	return (RECORD_HEADER_BYTES + key_bytes + attr_bytes + value_bytes +
		7) &
	       ~7ull;
}

/*
 * Encode r at dst, which has room for record_bytes(...) bytes.
 * value may lie anywhere. Returns the bytes written. Cannot fail: the caller
 * has checked the limits (CHECKed again here).
 */
uint64_t record_encode(uint8_t *dst, uint32_t file_seed,
		       const struct record *r);

/*
 * Decode the record at src (at most n bytes readable). On RECORD_OK and
 * RECORD_BAD_VALUE *r is set, its views point into src, and *bytes is the
 * length on disk. verify_value false: the value is not read.
 * Reads only src[0..n). src in a mapping: the caller guards (base/guard.h).
 */
enum record_state record_decode(const uint8_t *src, uint64_t n,
				uint32_t file_seed, bool verify_value,
				struct record *r, uint64_t *bytes);

#endif
