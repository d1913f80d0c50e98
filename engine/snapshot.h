/*
 * engine/snapshot.h - all records that make up a moment's state.
 *
 * Pins the files that are listed now and remembers how far each partition is
 * applied; afterwards every record that may belong to that state is handed
 * out, in the order of the files, while writes and merges go on. What is
 * provably dead is left out; what may be dead is not: whoever reads keeps, of
 * each key, the record with the highest version, tombstones included.
 *
 * Threads: one at a time for each snapshot; the writer and the keeper go on.
 */
#ifndef ENGINE_SNAPSHOT_H
#define ENGINE_SNAPSHOT_H

#include "engine/engine.h"

struct engine_snapshot;

/*
 * Of all partitions, each at its own index, which is the applied one, or, when
 * that stands only in the open batch, the last one written. Takes keep_lock.
 * ERR_NOMEM: nothing is held. Thread: any.
 */
MUST_CHECK enum err engine_snapshot_open(struct engine *e,
					 struct engine_snapshot **s);

/*
 * The index C up to which the snapshot holds partition, which is one of its
 * own: the records with an index of at most C say exactly what the state was
 * when C was the last entry applied; those above C are not handed out.
 */
uint64_t engine_snapshot_index(const struct engine_snapshot *s,
			       uint16_t partition);

/*
 * Log clock of the entry at that index; 0: not known. Known when opened by
 * engine_snapshot_open_partition.
 */
uint64_t engine_snapshot_stamp_ns(const struct engine_snapshot *s,
				  uint16_t partition);

/*
 * The next record: PUT, DELETE, EXPIRE or DELETE_PREFIX. *r is valid until the
 * next call. ERR_NOT_FOUND: there are no more.
 * ERR_CORRUPT: damage where a record of the state may lie, or a value of it
 * that is known to be lost: the snapshot is not whole, a further call goes on
 * behind that place. ERR_IO, ERR_NOMEM.
 */
MUST_CHECK enum err engine_snapshot_next(struct engine_snapshot *s,
					 struct record *r);

/* Let the files go. NULL is accepted. Thread: any. */
void engine_snapshot_close(struct engine_snapshot *s);

#endif
