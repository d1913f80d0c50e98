/*
 * engine/replica.h - what a partition needs to be one of several copies.
 *
 * Reading the log back for peers, replacing a partition's whole state by a
 * snapshot, and putting back bytes that were found damaged. The rules are those
 * of docs/format.md: base and reset in the manifest; a record appended again
 * with the same index and term replaces that one location and nothing else.
 */
#ifndef ENGINE_REPLICA_H
#define ENGINE_REPLICA_H

#include "engine/engine.h"

struct engine_snapshot;

/* ---------------------------------------------------------- the log ------ */

/*
 * The first entry of partition that can be read back; last_index + 1 when
 * there is none. Entries below it lie in merged files only, or are covered by
 * the base. Rises when a merge takes log segments; then it is told by
 * engine_partition_info too. Thread: writer.
 */
uint64_t engine_first_index(struct engine *e, uint16_t partition);

/*
 * Term of the entry at index: base_index and everything from first_index - 1
 * to last_index. ERR_COMPACTED below, ERR_NOT_FOUND above, ERR_CORRUPT in a
 * gap that damage left (engine_missing). Thread: writer.
 */
MUST_CHECK enum err engine_term_at(struct engine *e, uint16_t partition,
				   uint64_t index, uint64_t *term);

/*
 * Log clock of the entry at index, in ns: applied_index and everything above
 * it. 0: past last_index, or a gap that damage left. Touches no disk. Thread:
 * writer.
 */
uint64_t engine_stamp_at(struct engine *e, uint16_t partition, uint64_t index);

/*
 * How many of the entries from..to, in order, fit into bytes_max (bytes of
 * their records); at least one if `from` is there, 0 if it is gone or damaged.
 * *bytes is their sum. Touches no disk for recent entries. Thread: writer.
 */
uint32_t engine_log_fit(struct engine *e, uint16_t partition, uint64_t from,
			uint64_t to, uint64_t bytes_max, uint64_t *bytes);

/* An entry read back. The caller zeroes it once and reuses it. */
struct engine_log_entry {
	struct engine_entry entry;     /* views valid until the next read    */
	struct engine_record *records; /* owned: what entry.records points to */
	uint32_t record_cap;
	struct buf bytes; /* owned: what the records' views point into       */
};

/* Free what a read left behind. */
void engine_log_entry_done(struct engine_log_entry *le);

/*
 * Read the entry at index, whole and verified, also one that is in the open
 * batch and was not written yet. Thread: writer.
 *
 * ERR_COMPACTED  below first_index
 * ERR_NOT_FOUND  above last_index
 * ERR_CORRUPT    its bytes are damaged here, or a sector cannot be read: fetch
 *                them from a peer
 * ERR_NOMEM
 */
MUST_CHECK enum err engine_log_read(struct engine *e, uint16_t partition,
				    uint64_t index,
				    struct engine_log_entry *le);

/*
 * Entries at or above index are still wanted by a peer: merges leave the log
 * segments that hold them alone, but never more than the four newest sealed
 * ones (a lagging peer must not pin the disk). UINT64_MAX: nobody waits (the
 * start). Thread: writer.
 */
void engine_log_keep(struct engine *e, uint16_t partition, uint64_t index);

/* ---------------------------------------------------------- damage ------- */

/*
 * The lowest index above the base whose bytes are known to be lost on this
 * node and that is not settled (from recovery, or met when settling); 0: none.
 * Thread: writer.
 */
uint64_t engine_missing(struct engine *e, uint16_t partition);

/*
 * Put back the entry at entry->index, whose term is as it stands in the log
 * (ERR_INVALID if not); where damage left a gap, the term given is taken. It is
 * appended to the open batch, and engine_missing moves on at once. Entries that
 * are settled already: every key that still points into the old copy points to
 * the new one once this is durable and engine_heal_settle was called; at or
 * below the base as engine_heal_record for each put that is in force.
 * Errors as engine_append. Thread: writer.
 */
MUST_CHECK enum err engine_heal_entry(struct engine *e,
				      const struct engine_entry *entry);

/*
 * Put back one settled record (a PUT): the key's version must still be
 * (r->index, r->position), else ERR_NOT_FOUND and nothing happens. ERR_INVALID:
 * its term or lengths are not those known here. As above.
 */
MUST_CHECK enum err engine_heal_record(struct engine *e,
				       const struct record *r);

/*
 * After engine_sync: write and sync a mark that proves it, and point the key
 * directory at what was healed. ERR_NOSPC, ERR_NOMEM: what is left waits for
 * the next call; else as engine_sync. Thread: writer.
 */
MUST_CHECK enum err engine_heal_settle(struct engine *e);

/*
 * A settled key whose value was found damaged: by a read, a merge, a snapshot
 * or the open. At most 256 are remembered until they are taken.
 */
struct engine_damaged {
	uint16_t partition;
	uint64_t version;
	size_t key_bytes;
	uint8_t key[ENGINE_KEY_BYTES_MAX];
};

/*
 * Take up to cap damaged keys that became known since the last call; they are
 * told again by a later read if nobody heals them. Thread: writer.
 */
uint32_t engine_damaged_take(struct engine *e, struct engine_damaged *out,
			     uint32_t cap);

/* --------------------------------------------------------- snapshot ------ */

/*
 * As engine_snapshot_open (engine/snapshot.h), of one partition only: all
 * records that make up its state at exactly engine_applied_index now. Writes
 * the open batch if there is one; waits for nobody.
 * ERR_BUSY   files are being exchanged; ask again in a moment
 * ERR_NOMEM, ERR_IO as engine_append. Thread: writer.
 */
MUST_CHECK enum err engine_snapshot_open_partition(struct engine *e,
						   uint16_t partition,
						   struct engine_snapshot **s);

struct engine_install;

/*
 * Begin to build the state of partition as of entry (index, term) in files of
 * their own, beside the state in force. A crash before the commit leaves
 * nothing. One install a partition at a time (ERR_BUSY). Commit or abort it
 * before engine_close.
 * ERR_INVALID index or term 0. ERR_NOMEM. Thread: any one at a time for each
 * install (the mover).
 */
MUST_CHECK enum err engine_install_open(struct engine *e, uint16_t partition,
					uint64_t index, uint64_t term,
					struct engine_install **in);

/*
 * Add a record, in any order; of each key the highest version wins, tombstones
 * and range tombstones hide what is below them. Copied. Memory: 32 bytes and
 * the key for each record of the file being written, at most 4 million.
 * ERR_INVALID  no record of a state of this partition at index
 * ERR_NOSPC    also when less than min_free_bytes would be left
 * ERR_IO, ERR_NOMEM. After any: abort. Thread: mover.
 */
MUST_CHECK enum err engine_install_add(struct engine_install *in,
				       const struct record *r);

/*
 * The log clock of the entry at index, which may have left no record; else the
 * highest stamp of a record counts. Stamps given later are above it. Before
 * engine_install_finish. Thread: mover.
 */
void engine_install_stamp(struct engine_install *in, uint64_t stamp_ns);

/*
 * All are there: write the last file and its hint, sync, build the key
 * directory. Blocks long. Memory: the key directory being built, and while it
 * is built the hints of all files, about as much again. Errors as add.
 * Thread: mover.
 */
MUST_CHECK enum err engine_install_finish(struct engine_install *in);

/*
 * Put the state in force, after finish: one manifest switch sets the
 * partition's files, its base (index, term) and the stream position before
 * which its log is dead; the key directory is exchanged under the readers'
 * feet: values, pins and walks of the old one stay valid until they are done.
 * Afterwards last_index, applied_index and first_index - 1 are index, and all
 * of it is durable. A sync of the log, a manifest switch: no sync may be under
 * way. in is freed, unless room or memory is short.
 *
 * hs is the hard state from now on; its commit counts as at least index. Do
 * not append that commit by engine_set_hard_state before: a crash in between
 * would settle the old log up to it.
 *
 * ERR_INVALID  index is not above applied_index; nothing changed
 * ERR_NOSPC, ERR_NOMEM  nothing changed; in is as it was: commit or abort it
 * ERR_IO       as engine_append: stop the node. Thread: writer.
 */
MUST_CHECK enum err engine_install_commit(struct engine_install *in,
					  const struct engine_hard_state *hs);

/* Give it up; files removed. NULL is accepted. Thread: mover or writer. */
void engine_install_abort(struct engine_install *in);

#endif
