/*
 * engine/merge_internal.h - struct merge, for merge*.c only.
 *
 *   COPY      walk the inputs, write live records       (merge_copy.c)
 *   SEAL      sync outputs, write their hints           (merge_copy.c)
 *   BARRIER   wait until what judged records dead is durable
 *   SWITCH    one manifest replaces inputs by outputs   (merge.c)
 *   RELOCATE  point the key directory at the outputs
 *   REMOVE    take the inputs out of the file table
 */
#ifndef ENGINE_MERGE_INTERNAL_H
#define ENGINE_MERGE_INTERNAL_H

#include "engine/engine_internal.h"
#include "engine/hint.h"
#include "engine/merge.h"
#include "engine/output.h"
#include "engine/walk.h"

enum {
	MERGE_PASS_PARTITIONS = 64, /* outputs open at a time               */
	MERGE_STEP_BYTES = 1 << 20,
	MERGE_STEP_ITEMS = 4096,
};

enum merge_phase {
	PHASE_COPY,
	PHASE_SEAL,
	PHASE_BARRIER,
	PHASE_SWITCH,
	PHASE_RELOCATE,
	PHASE_REMOVE,
	PHASE_DONE,
};

struct input {
	struct datafile *df; /* pinned */
	uint64_t last_sequence;
	struct merge_last *lasts;
	uint32_t last_count;
	uint64_t copied_bytes; /* of live records, as df->live_bytes counts  */
	bool gone;	       /* not for this merge to remove               */
};

struct sealed {
	struct datafile *df;
	uint64_t kept_bytes;
	bool listed; /* in manifest and file table; then pinned */
};

/* What the merge knows of one partition. */
struct merge_part {
	bool seen;	   /* has records or files in the inputs              */
	uint32_t installs; /* of the partition, when the merge began         */
	bool overtaken;	   /* by an install, when the manifest was switched  */
	uint64_t older_min;  /* lowest index in merged files that stay        */
	uint64_t dead_index; /* log records up to it are dead                */
	uint64_t exact_index; /* by no newer entry was a record found dead   */
	/* Above it are copies in segments that stay: no base covers them. */
	uint64_t limit_index;
	uint64_t base_index, base_term, stamp_ns; /* from the log inputs     */
	uint64_t config_index; /* newest CONFIG of the inputs ...            */
	struct buf config;     /* ... encoded with seed 0                    */
	struct output output;
};

struct merge {
	struct engine *e;
	struct input *inputs;
	uint32_t input_count, log_count;
	struct merge_part *parts; /* all partitions                          */
	struct sealed *outputs;
	uint32_t output_count, output_cap;
	enum merge_phase phase;
	uint32_t pass;	/* partitions pass * MERGE_PASS_PARTITIONS and on     */
	uint32_t input; /* being walked                                      */
	struct walk *walk;
	uint32_t seal; /* partition next to be sealed                        */
	uint64_t barrier_sequence; /* of the newest frame begun then         */
	struct manifest_loss *losses;
	uint32_t loss_count;
	uint32_t waits;
	uint32_t relocate; /* output being relocated                         */
	struct hint *hint;
	uint64_t relocate_item;
	uint64_t moved_bytes;
	bool in_doubt; /* the disk may hold the new manifest                 */
	struct datafile *bad;
	struct buf other; /* a record read from elsewhere                    */
};

/* One bounded piece of COPY and SEAL; the phase moves on by itself. */
MUST_CHECK enum err merge_copy_step(struct merge *m);
MUST_CHECK enum err merge_seal_step(struct merge *m);

/* Whether df is one of the inputs. */
bool merge_has_input(const struct merge *m, uint32_t file_id);

#endif
