/*
 * engine/manifest.h - the one file that says which files count.
 *
 * Replaced atomically (tmp, sync, rename, sync directory); never patched. A
 * file that is not listed is a leftover of a crash and is removed; a file that
 * is listed and missing is damage. A damaged manifest is never replaced by an
 * older one. Bytes: docs/format.md.
 */
#ifndef ENGINE_MANIFEST_H
#define ENGINE_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/vfs.h"

enum { MANIFEST_FORMAT_VERSION = 1 };

struct manifest_file {
	uint32_t id;
	uint64_t salt;
	uint64_t bytes;	    /* merged: exact length; log: allocated length    */
	uint64_t min_index; /* merged: over all records; log: 0              */
	uint64_t max_index;
};

struct manifest_partition {
	uint64_t base_index, base_term; /* log records at or below are dead  */
	uint64_t reset_sequence; /* log frames before this one are dead      */
	/*
	 * Entries up to it were settled when the files were made: they count
	 * as committed, and below it the files are not the whole state.
	 */
	uint64_t exact_index;
	uint64_t last_stamp_ns; /* log clock at base                        */
	struct manifest_file *merged;
	uint32_t merged_count;
};

/* A range of a log segment whose loss an operator accepted (repair). */
struct manifest_loss {
	uint32_t file_id;
	uint64_t off, bytes;
};

/* Is off..off+bytes of the file within a loss that was accepted? */
bool manifest_is_lost(const struct manifest_loss *losses, uint32_t count,
		      uint32_t file_id, uint64_t off, uint64_t bytes);

struct manifest {
	uint8_t cluster_id[16];
	uint64_t node_id;
	uint32_t next_file_id;
	uint32_t partition_count;
	struct manifest_partition *partitions;
	struct manifest_file *log; /* in stream order; the last may be empty */
	uint32_t log_count;
	struct manifest_loss *losses;
	uint32_t loss_count;
	uint64_t log_floor_sequence; /* first frame of log[0]                */
	struct buf extra; /* opaque to the engine: node's formation state    */
};

/* An empty manifest with partition_count partitions. ERR_NOMEM. */
MUST_CHECK enum err manifest_init(struct manifest *m, uint32_t partition_count);

/* Release what m points at. NULL is accepted. */
void manifest_done(struct manifest *m);

/* Deep copy into *copy (uninitialised before). ERR_NOMEM: nothing made. */
MUST_CHECK enum err manifest_copy(const struct manifest *m,
				  struct manifest *copy);

/* ERR_NOMEM. The bytes of m appended to b. */
MUST_CHECK enum err manifest_encode(const struct manifest *m, struct buf *b);

/* ERR_CORRUPT, ERR_VERSION, ERR_NOMEM: *m is not set. */
MUST_CHECK enum err manifest_decode(struct bytes data, struct manifest *m);

/* Load dir/MANIFEST. ERR_NOT_FOUND: a new directory. Errors as decode. */
MUST_CHECK enum err manifest_load(struct vfs *vfs, const char *dir,
				  struct manifest *m);

/* Switch to m. On error dir/MANIFEST is the old one or m, whole. */
MUST_CHECK enum err manifest_store(struct vfs *vfs, const char *dir,
				   const struct manifest *m);

#endif
