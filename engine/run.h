/*
 * engine/run.h - a run: what one file says about the keys of one partition.
 *
 * A run is an array of items ascending by (key, version descending). Hint
 * files are runs on disk; a scanned segment becomes a run in memory; opening
 * a directory is a k-way merge of runs into an empty keydir, in which the
 * highest version of a key wins and tombstones and range tombstones hide what
 * is older, whatever the order of the files.
 */
#ifndef ENGINE_RUN_H
#define ENGINE_RUN_H

#include <stdint.h>

#include "base/bytes.h"
#include "engine/keydir.h"

struct run_item {
	struct bytes key; /* borrowed from the run */
	uint64_t version;
	uint64_t loc;
	uint64_t term;
	uint64_t expiry_ns;
	uint32_t value_bytes; /* logical: as in struct keydir_entry */
	uint32_t disk_bytes;  /* length of the record in its file   */
	uint16_t attr_bytes;
	uint8_t type; /* PUT, DELETE, EXPIRE or DELETE_PREFIX */
};

struct run;

/* An empty run in memory. ERR_NOMEM. */
MUST_CHECK enum err run_new(struct run **run);

/* NULL is accepted; items borrowed from it become invalid. */
void run_free(struct run *run);

/* Add one item in any order; the key is copied. ERR_NOMEM: not added. */
MUST_CHECK enum err run_add(struct run *run, const struct run_item *item);

/*
 * Order the items; the same key with the same version (a recovery copy, an
 * entry carried forward) keeps only the one added last. Call once, after the
 * last run_add.
 */
void run_sort(struct run *run);

/* Number of items, and the i-th (valid until run_free). */
uint64_t run_count(const struct run *run);
void run_item(const struct run *run, uint64_t i, struct run_item *item);

/* Called for every item that is not the live state of its key. */
typedef void run_dead_fn(void *ctx, const struct run_item *item);

/*
 * Called for every live key in ascending order (an item with type PUT) and
 * for each DELETE/EXPIRE/DELETE_PREFIX that is the newest of its kind.
 */
typedef enum err run_live_fn(void *ctx, const struct run_item *item);

/*
 * Merge runs (each sorted) to the state they describe. A range tombstone
 * hides exactly the items below its version whose keys begin with its key.
 * Equal (key, version) in several runs: the run later in the array wins.
 * ERR_NOMEM, or what live returned: the walk ended there.
 */
MUST_CHECK enum err run_merge(struct run *const *runs, uint32_t run_count,
			      run_live_fn *live, run_dead_fn *dead, void *ctx);

#endif
