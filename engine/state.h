/*
 * engine/state.h - the second place of term and vote, and of the log's end:
 * the file "state".
 *
 * Two slots, written in turn, so that a torn write leaves the other. The log
 * is the first place and is always synced before a slot is written: a slot
 * is never newer than the log.
 *
 *  off  size  slot, little-endian, at 0 and at the slot's length
 *    0     4  crc32c(0, bytes 4..end of slot)
 *    4     4  magic           STATE_MAGIC
 *    8     4  format          STATE_FORMAT_VERSION
 *   12     4  partition_count
 *   16     8  sequence        counts writes from 1; the higher slot is newer
 *   24     8  node_id
 *   32    16  cluster_id
 *   48    16  zero
 *   64     -  per partition: term u64, vote u64; zeros to 512 bytes
 *
 *  off  size  end mark, at twice the slot's length
 *    0     4  crc32c(0, bytes 4..64)
 *    4     4  magic           STATE_END_MAGIC
 *    8     8  node_id
 *   16    16  cluster_id
 *   32     8  sequence        frames of the log up to it are synced
 *   40    24  zero
 *
 * The end mark says what no frame behind can say when the end of the log
 * itself is gone: that there was more. It is written, unsynced, whenever the
 * log comes to rest, and synced by a clean stop; one that is torn or missing
 * claims nothing.
 */
#ifndef ENGINE_STATE_H
#define ENGINE_STATE_H

#include <stdint.h>

#include "engine/engine_internal.h"

enum {
	STATE_MAGIC = 0x54535352,
	STATE_END_MAGIC = 0x454e4452,
	STATE_FORMAT_VERSION = 1,
};

struct state_place {
	bool present;	/* the file exists                                  */
	uint32_t slots; /* that are whole, 0..2                             */
	/*
	 * No newer slot than the newest found can have been there: both are
	 * whole, or one is and the other was never written.
	 */
	bool sure;
	uint64_t sequence;
	struct engine_hard_state *states; /* per partition, if slots > 0    */
};

/*
 * Read dir/state. Damage is no error: see *s. ERR_VERSION, ERR_FOREIGN,
 * ERR_IO, ERR_NOMEM. s->states is freed by the caller.
 */
MUST_CHECK enum err state_read(struct engine *e, struct state_place *s);

/*
 * Open dir/state for writing (created when absent); sequence is the highest
 * one found. ERR_IO, ERR_NOSPC, ERR_PERMISSION.
 */
MUST_CHECK enum err state_open(struct engine *e, uint64_t sequence);

/* Write all partitions' term and vote to the next slot and sync it. */
MUST_CHECK enum err state_write(struct engine *e);

/*
 * How far the log of the directory with this manifest was synced, or 0 when
 * the end mark is missing, torn or unreadable. ERR_NOMEM, ERR_PERMISSION.
 */
MUST_CHECK enum err state_end_read(struct vfs *vfs, const char *dir,
				   const struct manifest *m,
				   uint64_t *sequence);

/* Frames up to sequence are synced; sync: this mark too. Thread: writer. */
MUST_CHECK enum err state_end_write(struct engine *e, uint64_t sequence,
				    bool sync);

/* The operator gave up the end of the log: claim nothing more. */
MUST_CHECK enum err state_end_wipe(struct vfs *vfs, const char *dir,
				   const struct manifest *m);

#endif
