/*
 * engine/hint.h - hint files: the run of one data file, so that opening a
 * directory need not read values. Bytes: docs/format.md.
 *
 * A hint of a log segment is written only when all its entries are settled,
 * and has one run per partition; a hint of a merged file has one run. It
 * names the data file's id, salt and length: one that does not fit is
 * ignored, the data file is scanned instead and the hint is written again.
 */
#ifndef ENGINE_HINT_H
#define ENGINE_HINT_H

#include <stdint.h>

#include "base/vfs.h"
#include "engine/run.h"

/* Entries first..last of one term that are part of the log. */
struct hint_span {
	uint64_t first, last, term;
};

/* What a hint says about one partition of its file, beside the run. */
struct hint_partition {
	uint16_t partition;
	uint64_t first_index, last_index; /* entries in the file; 0,0: none  */
	uint64_t last_term;
	uint64_t last_stamp_ns;
	uint64_t config_version, config_loc; /* newest CONFIG; 0,0: none     */
	uint64_t kept_bytes; /* of records that are no PUT: tombstones ...   */
	struct run *run;
	/*
	 * Log: the terms of its live entries, ascending. Without them nobody
	 * could tell later which records of the segment were overwritten.
	 */
	const struct hint_span *spans;
	uint32_t span_count;
};

/* The identity of the data file the hint belongs to. */
struct hint_file {
	uint32_t file_id;
	uint64_t salt;
	/*
	 * Length of the data file: allocated (log) or exact (merged). 0 in a
	 * question: not known, not compared.
	 */
	uint64_t data_bytes;
	/*
	 * Of its last frame; 0 in merged files, and in a question: not
	 * known, not compared.
	 */
	uint64_t last_sequence;
};

/*
 * Write the hint at path atomically (tmp, sync, rename; the caller syncs the
 * directory). Every run is sorted, parts ascend by partition. Any error: path
 * is as before. ERR_TOO_LARGE: over 4 GiB of keys in one run.
 */
MUST_CHECK enum err hint_write(struct vfs *vfs, const char *path,
			       const struct hint_file *file,
			       const struct hint_partition *parts,
			       uint32_t part_count);

struct hint;

enum { HINT_FORMAT_VERSION = 1, HINT_PARTITIONS_MAX = 65536 };

/*
 * Decode a whole hint file. The bytes of data are taken over (*data becomes
 * BUF_INIT) on OK, else they stay the caller's. Errors as hint_load.
 */
MUST_CHECK enum err hint_decode(struct buf *data, const struct hint_file *file,
				struct hint **hint);

/*
 * Load and verify a hint. The runs belong to *hint.
 * ERR_NOT_FOUND: none there. ERR_CORRUPT: bytes damaged, or the file is not
 * about *file (pass what the data file says): scan instead. ERR_VERSION.
 */
MUST_CHECK enum err hint_load(struct vfs *vfs, const char *path,
			      const struct hint_file *file, struct hint **hint);

/*
 * Only the table of a hint: what hint_partition says, without run and spans.
 * Reads header and table, which have a checksum of their own, so it tells
 * nothing of the items. *parts is released with free(). Errors as hint_load.
 */
MUST_CHECK enum err hint_load_table(struct vfs *vfs, const char *path,
				    const struct hint_file *file,
				    struct hint_file *found,
				    struct hint_partition **parts,
				    uint32_t *part_count);

/* What the hint says of its data file. Valid as long as hint. */
const struct hint_file *hint_identity(const struct hint *hint);

/* How many partitions it has, and the i-th of them, i below the count. Valid
 * as long as hint. */
uint32_t hint_partition_count(const struct hint *hint);
const struct hint_partition *hint_partition(const struct hint *hint,
					    uint32_t i);

/* NULL is accepted. */
void hint_free(struct hint *hint);

#endif
