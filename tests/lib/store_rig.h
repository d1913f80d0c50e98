/*
 * tests/lib/store_rig.h - a store on a simulated disk and clock, driven by
 * hand: what the tests of store/ share. Every call fails the test when the
 * rig itself breaks.
 */
#ifndef TESTS_LIB_STORE_RIG_H
#define TESTS_LIB_STORE_RIG_H

#include "base/clock.h"
#include "base/vfs_sim.h"
#include "engine/engine.h"
#include "store/file.h"

struct store_rig {
	struct vfs_sim *disk;
	struct clock_sim clock;
	struct seed seed;
	struct engine *engine;
	struct store *store;
	const char *dir;
	uint32_t partitions;
	uint64_t max_value_bytes, watch_history_bytes, staging_idle_ms;
	uint64_t segment_bytes;
	enum engine_read_mode read_mode;
	uint32_t wakes; /* how often the store asked to be woken */
};

/* Set up with a fresh disk of 256 MiB and an open store. */
void store_rig_init(struct store_rig *r, uint64_t seed, uint32_t partitions);
void store_rig_done(struct store_rig *r);

/* Open engine and store over what the disk holds; the first step is made. */
void store_rig_start(struct store_rig *r);
/* As store_rig_start, but the error is the caller's. */
enum err store_rig_try_start(struct store_rig *r);

/* Close both (nothing if they are). */
void store_rig_stop(struct store_rig *r);

/* Lose power (what was not synced is at chance's mercy) and start again. */
void store_rig_crash(struct store_rig *r);

/* One step; what store_step answered. */
enum err store_rig_step(struct store_rig *r);

/* Let ms pass on all clocks. */
void store_rig_pass(struct store_rig *r, uint64_t ms);

/* Hand w in and step until it is done; w->err or the immediate error. */
enum err store_rig_write(struct store_rig *r, struct store_write *w);

/* The same of a file operation. */
enum err store_rig_file(struct store_rig *r, struct store_file_op *op);

/* One operation; rev may be NULL. */
enum err store_rig_put(struct store_rig *r, const char *key, const char *value,
		       uint64_t *rev);
enum err store_rig_put_bytes(struct store_rig *r, struct bytes key,
			     struct bytes value, uint64_t ttl_ns,
			     uint64_t *rev);
enum err store_rig_del(struct store_rig *r, const char *key, bool *existed);
enum err store_rig_del_prefix(struct store_rig *r, const char *prefix,
			      uint64_t *deleted);

/* Upload value in pieces of piece bytes and commit it; the write's error. */
enum err store_rig_upload(struct store_rig *r, struct bytes key,
			  struct bytes value, size_t piece, uint64_t *rev);

/* Append the whole value of key to b. */
enum err store_rig_read(struct store_rig *r, struct bytes key, struct buf *b);

/* The test fails unless key has exactly this value (NULL: is absent). */
void store_rig_expect(struct store_rig *r, const char *key, const char *value);

/*
 * Append the listing to b as "key " words, folded prefixes in brackets, page
 * after page; NULL fields of *list mean none. Fails the test on an error.
 */
void store_rig_list(struct store_rig *r, const struct store_list *list,
		    struct buf *b);

#endif
