/*
 * store/backup_reader.h - reading a backup stream, in pieces of any size.
 *
 * The format is drawn in store/backup.c. Every byte is verified: the head and
 * each block by the chain of checksums, each record by its own, the number of
 * records by the end. Nothing is handed out before it was verified; but only
 * after backup_reader_end has said OK is it known that nothing is missing.
 *
 * Knows no engine and no network. Thread: one at a time for each reader.
 */
#ifndef STORE_BACKUP_READER_H
#define STORE_BACKUP_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "engine/record.h"

struct backup_reader;

/* What a backup says of one partition. */
struct backup_part {
	uint64_t index;	   /* it is the state after this entry               */
	uint64_t clock_ns; /* log clock when the backup began                */
};

struct backup_head {
	uint32_t partitions;
	uint8_t cluster_id[16];
	uint64_t node_id;
	uint64_t wall_ns;		 /* when it was begun                */
	const struct backup_part *parts; /* of each partition                */
};

/*
 * Called from backup_reader_feed; an error ends it and is returned. Either may
 * be NULL. head comes once, before any record; views are valid during the
 * call.
 */
struct backup_events {
	enum err (*head)(void *ctx, const struct backup_head *h);
	enum err (*record)(void *ctx, const struct record *r);
	void *ctx;
};

/* Begin. ERR_NOMEM. */
MUST_CHECK enum err backup_reader_new(const struct backup_events *events,
				      struct backup_reader **r);

/* Free it. NULL is accepted. */
void backup_reader_free(struct backup_reader *r);

/*
 * The next bytes of the stream, as they come. After an error: free it.
 * ERR_INVALID  these are no bytes of a backup
 * ERR_VERSION  of a newer format
 * ERR_CORRUPT  they are not as they were written
 * ERR_NOMEM, and whatever an event answered
 */
MUST_CHECK enum err backup_reader_feed(struct backup_reader *r,
				       struct bytes in);

/* The stream is over. ERR_CORRUPT: it was cut. */
MUST_CHECK enum err backup_reader_end(const struct backup_reader *r);

/* Bytes and records verified so far. */
uint64_t backup_reader_bytes(const struct backup_reader *r);
uint64_t backup_reader_records(const struct backup_reader *r);

/* What the head said; NULL as long as it has not come. Valid until free. */
const struct backup_head *backup_reader_head(const struct backup_reader *r);

#endif
