/*
 * tests/lib/replica_rig.h - an engine on a simulated disk whose entries can
 * be told from their partition, index and term alone.
 */
#ifndef TESTS_LIB_REPLICA_RIG_H
#define TESTS_LIB_REPLICA_RIG_H

#include "base/vfs_sim.h"
#include "engine/replica.h"

enum { RIG_RECORDS_MAX = 4, RIG_VALUE_BYTES_MAX = 4096 };

struct rig {
	struct vfs_sim *sim;
	struct clock_sim clock;
	struct seed seed;
	struct engine_options o;
	struct engine *e; /* NULL: closed */
	struct engine_log_entry le;
};

/* An entry with room for its bytes; entry views into it. */
struct rig_entry {
	struct engine_entry entry;
	struct engine_record records[RIG_RECORDS_MAX];
	char keys[RIG_RECORDS_MAX][24];
	uint8_t value[RIG_VALUE_BYTES_MAX];
};

/* A rig with segments of 1 MiB, opened. */
void rig_init(struct rig *r, uint32_t partitions);
void rig_done(struct rig *r);
enum rig_stop {
	RIG_CLOSE, /* a clean stop                              */
	RIG_KILL,  /* the process dies, what was written stays  */
	RIG_CRASH, /* the machine loses power                   */
};

/* Stop and open again. */
void rig_reopen(struct rig *r, enum rig_stop how);

/* The entry as it always is: some puts, a delete or a no-op. */
void rig_make(uint16_t partition, uint64_t index, uint64_t term,
	      struct rig_entry *x);
void rig_append(struct rig *r, uint16_t partition, uint64_t index,
		uint64_t term);
void rig_sync(struct rig *r);
void rig_settle(struct rig *r, uint16_t partition, uint64_t index);
struct engine_partition_info rig_info(struct rig *r, uint16_t partition);

/* The entry reads back as it was made. */
void rig_expect(struct rig *r, uint16_t partition, uint64_t index,
		uint64_t term);
/* Read it: the error. */
enum err rig_read(struct rig *r, uint16_t partition, uint64_t index);

/* Merge what can be merged. */
void rig_merge(struct rig *r);
/* Keeper and writer take turns for a while. */
void rig_keep(struct rig *r, uint32_t rounds);

#endif
