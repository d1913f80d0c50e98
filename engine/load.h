/*
 * engine/load.h - opening a directory: judging the stream, building the state.
 *
 * Private to engine/. open.c calls these in order; every step either brings
 * the engine further or says why not. Thread: the opener, alone.
 */
#ifndef ENGINE_LOAD_H
#define ENGINE_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine_internal.h"
#include "engine/hint.h"
#include "engine/scan.h"

/* An entry above the commit, in stream order within its segment. */
struct tail_found {
	uint16_t partition;
	uint64_t index;
	struct tail_entry entry;
};

struct load_segment {
	struct datafile *df;
	struct hint *hint; /* NULL: scanned */
	struct scan scan;
	uint64_t head_sequence; /* of the frame at its head; 0: none         */
	uint64_t limit;		/* frames above it do not count              */
	struct part_run *parts; /* per partition, built in the second look   */
	struct tail_found *tail;
	uint32_t tail_count, tail_cap;
	enum err err;
};

struct load_merged {
	struct datafile *df;
	struct hint *hint;
	struct run *run; /* owned when there is no hint */
	enum err err;
};

struct load {
	struct engine *e;
	struct buf *why;
	struct load_segment *log;
	uint32_t log_count;
	struct load_merged *merged; /* of all partitions, in manifest order  */
	uint32_t merged_count;
	uint64_t *commit; /* per partition */
	uint64_t proven;  /* highest sequence known to have been synced      */
	uint64_t kept;	  /* highest sequence that counts                    */
	bool clean; /* the writer may go on behind the last frame            */
	uint32_t active;     /* index in log of the segment to go on in     */
	uint64_t active_off; /* where                                       */
	bool cut;	     /* something torn was found: where             */
	uint32_t cut_segment;
	uint64_t cut_off, cut_bytes;
};

/* Append a sentence to why, as far as memory goes. */
void load_say(struct load *l, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Without peers the way on is an offline repair: append the call for it. */
void load_say_repair(struct load *l);

/* Run fn for 0..n-1, in parallel if the options say how. */
void load_parallel(struct load *l, void (*fn)(void *arg, uint32_t i),
		   uint32_t n);

/*
 * The hint of df, or NULL when it has none that fits. ERR_NOMEM.
 */
MUST_CHECK enum err load_try_hint(struct engine *e, struct datafile *df,
				  uint64_t data_bytes, struct hint **hint);

/*
 * Bytes of df hide which keys are hit: OK if their loss was accepted, else
 * ERR_CORRUPT and a sentence in why.
 */
MUST_CHECK enum err load_say_damage(struct load *l, const struct datafile *df,
				    uint64_t off, uint64_t bytes);

/* Open every listed file that is not open yet; set up l->log, l->merged. */
MUST_CHECK enum err load_files(struct load *l);

/* Load hints, scan the rest. */
MUST_CHECK enum err load_scan(struct load *l);

/*
 * After load_judge: hints serve all of the log that counts, because the frame
 * at the head of what was scanned is torn. Hints know no hard state.
 */
bool load_hints_hide_state(const struct load *l);

/* Scan what has a hint too. Judge again afterwards. */
MUST_CHECK enum err load_scan_hinted(struct load *l);

/* Scan again, only up to sequence limit. */
MUST_CHECK enum err load_rescan(struct load *l, uint64_t limit);

/*
 * Walk the stream: what is proven, what is kept, where the writer goes on.
 * ERR_CORRUPT: damage that hides keys.
 */
MUST_CHECK enum err load_judge(struct load *l);

/*
 * Copy what is kept and not proven to a fresh segment, sync it, and switch
 * the manifest so that the stream ends there. l must be released and loaded
 * again afterwards.
 */
MUST_CHECK enum err load_recover(struct load *l);

/*
 * All that the hint of a log segment says of its partition is dead: a merge or
 * an install put the base above it.
 */
bool load_hint_is_dead(const struct manifest *m,
		       const struct hint_partition *h);

/* Terms, commit and hard state of every partition. */
MUST_CHECK enum err load_terms(struct load *l);
MUST_CHECK enum err load_hard_state(struct load *l);

/* Second look: key directories, tails, counters. */
MUST_CHECK enum err load_state(struct load *l);

/* Release everything l owns; open files stay in the engine's table. */
void load_done(struct load *l);

#endif
