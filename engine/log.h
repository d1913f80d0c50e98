/*
 * engine/log.h - the writer: frames appended to segments, in one stream.
 *
 * Owns the open frame in memory, the active segment and the sequence numbers.
 * Knows records only as bytes. Records are encoded straight into the open
 * frame; readers of what is not yet written are served from there.
 *
 * Threads: one writer at a time. log_ready_put is for the keeper.
 */
#ifndef ENGINE_LOG_H
#define ENGINE_LOG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/datafile.h"

enum {
	LOG_FRAME_BYTES = 256 << 10, /* a frame is written when it is so full */
	LOG_ZERO_BYTES = 1 << 20,    /* zeros are written ahead in such steps */
	LOG_ALLOCATE_BYTES = 4 << 20,
	LOG_DIRECT_BYTES = 64 << 10, /* frames so large need no zeros before  */
	LOG_EARLY_BYTES = 512 << 10, /* the disk begins with these at once    */
};

struct engine;

struct log {
	struct engine *e;
	struct datafile *active;
	_Atomic(struct datafile *) ready; /* listed behind active, empty    */
	uint64_t off;	       /* of the open frame in active               */
	struct tail_buf *open; /* its memory; NULL: no frame is open        */
	struct tail_buf *last; /* the frame written last, still in memory   */
	uint64_t fill;	       /* bytes in it, frame header included        */
	uint32_t records, flags;
	_Atomic uint64_t
		sequence; /* of the open or next frame                     */
	_Atomic uint64_t synced_sequence;
	_Atomic uint64_t used_sequence; /* of the newest frame with a record */
	uint64_t claimed_sequence;
	uint64_t zero_off; /* below it the segment holds no hole            */
	uint64_t allocated_off;
	bool heads_due; /* hard states are still to come at active's head    */
	bool syncing;	/* between log_sync_begin and log_sync_end           */
	uint8_t *zeros; /* LOG_ZERO_BYTES of them, once they were needed     */
	/* The segment in use, once its head is there: those before are sealed */
	_Atomic uint32_t active_id;
	_Atomic bool switch_wanted; /* a merge waits for the active segment */
	_Atomic bool poisoned;
	pthread_mutex_t free_lock; /* of the lists below                    */
	struct tail_buf *free_bufs, *free_large;
	uint32_t free_count, free_large_count;
	_Atomic uint64_t frames, syncs, sync_ns, bytes_appended;
};

/* Caller's memory. The first frame goes to off of active. */
void log_begin(struct log *l, struct engine *e, struct datafile *active,
	       uint64_t off, uint64_t sequence);

/* Release memory; nothing is written. No reader inside. */
void log_done(struct log *l);

/*
 * Room for the bytes of one entry's records in the open frame: *p, which will
 * stand at offset *off of *df. Opens a frame, writes the full one, switches
 * the segment as needed. use_reserve: the last part of the disk may be used.
 * ERR_NOSPC, ERR_NOMEM: nothing was changed that matters. ERR_IO: poisoned.
 */
MUST_CHECK enum err log_reserve(struct log *l, uint64_t bytes, bool use_reserve,
				uint8_t **p, uint64_t *off,
				struct datafile **df);

/* What was reserved last is filled: bytes of records. flags are added. */
void log_commit(struct log *l, uint64_t bytes, uint32_t records,
		uint32_t flags);

/* Write the open frame, if any. ERR_IO: poisoned. */
MUST_CHECK enum err log_write(struct log *l);

/* Append an empty frame that says what is durable, and write it. */
MUST_CHECK enum err log_mark(struct log *l);

/*
 * The records at off of df, when they are still in memory: up to *bytes of
 * them are readable. NULL: they are only in the file. Thread: writer.
 */
const uint8_t *log_memory(const struct log *l, const struct datafile *df,
			  uint64_t off, uint64_t *bytes);

/*
 * Make what was written durable. begin tells what to sync and up to where;
 * the caller calls vfs_sync without a lock and reports the result to end.
 * Between the two no other sync may begin and no segment may be switched.
 */
struct log_sync {
	struct datafile *df;
	uint64_t sequence; /* of the last frame that this covers */
};
/* Note what a sync that begins now will cover. */
void log_sync_begin(struct log *l, struct log_sync *s);
/* Report the result. ERR_IO: poisoned, nothing of it is acknowledged. */
MUST_CHECK enum err log_sync_end(struct log *l, const struct log_sync *s,
				 enum err result, uint64_t took_ns);

/* The three of it in one. */
MUST_CHECK enum err log_sync(struct log *l);

/* Would an entry of bytes need another segment? */
bool log_needs_switch(const struct log *l, uint64_t bytes, bool use_reserve);

/* No write succeeds from now on. Logs once. */
void log_poison(struct log *l, const char *what, enum err why);

#endif
