/*
 * store/restore.h - an engine directory made of records, as a new cluster of
 * one node.
 *
 * The records are a state: those of a backup, or of a directory whose cluster
 * is lost. Keys, values, attributes, revisions, times and what is left of a
 * TTL become as they were. What belonged to the old cluster does not: its
 * members, its window of forwarded requests, its terms. The new one has an id
 * of its own, and its log begins RESTORE_LEAP above the state's: no revision
 * that the old cluster may have given after it is given again, an ETag or a
 * watch's cursor of there never means something else here.
 *
 * Not thread safe. Blocks on disk.
 */
#ifndef STORE_RESTORE_H
#define STORE_RESTORE_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/seed.h"
#include "base/vfs.h"
#include "engine/record.h"
#include "store/backup_reader.h"

/* More than the old cluster writes while nobody looks; 127 restores fit. */
#define RESTORE_LEAP (1ull << 32)
/* Inode numbers of 4096 partitions have room for indexes up to this. */
#define RESTORE_INDEX_MAX ((1ull << 39) - 1)

struct restore_options {
	struct vfs *vfs;
	struct clock *clock;
	struct seed *seed;
	const char *dir;	/* empty; it is not removed on errors         */
	const char *node_name;	/* of the one node; its id is 1               */
	uint64_t segment_bytes; /* 0: the default                            */
	uint32_t partitions;
	const struct backup_part *parts; /* read by restore_begin only       */
};

struct restore;

/*
 * Open the directory. why: on error a sentence for people is appended.
 * ERR_INVALID   no possible name; too many partitions
 * ERR_TOO_LARGE revisions are used up
 * ERR_BUSY, ERR_IO, ERR_NOSPC, ERR_NOMEM, ERR_PERMISSION
 */
MUST_CHECK enum err restore_begin(const struct restore_options *o,
				  struct restore **r, struct buf *why);

/*
 * One record of the state, in any order; of each key the highest version
 * counts. Copied. ERR_INVALID: it cannot be one. ERR_NOSPC, ERR_IO, ERR_NOMEM.
 * After an error: restore_end.
 */
MUST_CHECK enum err restore_add(struct restore *r, const struct record *rec);

/*
 * All are there: make the state durable and the directory one that a node can
 * be started on. Then, or after an error: restore_end.
 * ERR_CORRUPT: what the store itself needs is not among the records.
 * ERR_NOSPC, ERR_IO, ERR_NOMEM.
 */
MUST_CHECK enum err restore_commit(struct restore *r);

/* Release everything. NULL is accepted. */
void restore_end(struct restore *r);

/* The new cluster's id, 16 bytes. */
void restore_cluster_id(const struct restore *r, uint8_t id[16]);

/* Keys of users in the new state; after restore_commit. */
uint64_t restore_keys(const struct restore *r);

#endif
