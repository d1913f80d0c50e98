/*
 * store/rescue.h - the state that one node of a lost cluster still holds.
 *
 * For the day when no majority is left. Everything that the log of this node
 * says counts, whether it is known to be committed or not: what was
 * acknowledged is likely to be among it, and nobody is left who could say what
 * was not. Nothing is settled, so the directory says the same afterwards as
 * before; opening it does what a start of the daemon does (a torn tail is cut,
 * what is not proved synced is copied).
 *
 * Not thread safe. Blocks on disk.
 */
#ifndef STORE_RESCUE_H
#define STORE_RESCUE_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/seed.h"
#include "base/vfs.h"
#include "engine/record.h"
#include "store/backup_reader.h"
#include "store/store.h"

enum { RESCUE_MEMBERS_MAX = 64, RESCUE_DAMAGED_MAX = 256 };

struct rescue;

/* One partition, as this node has it. */
struct rescue_part {
	uint64_t term;
	uint64_t commit; /* entries up to it are known to be committed       */
	uint64_t last;	 /* and so far goes what is kept                     */
	uint64_t lost;	 /* the first entry of the log whose bytes are gone:
			    it and all behind it is not kept; 0: none        */
};

/* A key whose value is damaged here: it is not kept. */
struct rescue_damaged {
	uint16_t partition;
	size_t key_bytes;
	uint8_t key[RECORD_KEY_BYTES_MAX];
};

struct rescue_options {
	struct vfs *vfs;
	struct clock *clock;
	struct seed *seed;
	const char *dir;
};

/*
 * Open the directory of a stopped node. why: on error a sentence for people.
 * ERR_BUSY: a daemon has it. ERR_CORRUPT: it does not open; `raftcask repair`
 * says what that is about. ERR_NOT_FOUND: there is none. Others as
 * engine_open.
 */
MUST_CHECK enum err rescue_open(const struct rescue_options *o,
				struct rescue **r, struct buf *why);

/* NULL is accepted. */
void rescue_close(struct rescue *r);

/* How many partitions, and one of them; as backup heads say it, too. */
uint32_t rescue_partitions(const struct rescue *r);
const struct rescue_part *rescue_part(const struct rescue *r, uint32_t i);
const struct backup_part *rescue_parts(const struct rescue *r);

/* This node's id; its cluster's, 16 bytes. */
uint64_t rescue_identity(const struct rescue *r, uint8_t cluster_id[16]);

/* The members as of the last entry known to be committed; how many. */
uint32_t rescue_members(struct rescue *r,
			struct store_member list[RESCUE_MEMBERS_MAX]);

/*
 * Call add for every record of the state, once, in no order. An error from it
 * ends it and is returned. Records of damaged values are left out; afterwards
 * rescue_damaged tells which. *records: how many came. ERR_IO, ERR_NOMEM.
 */
MUST_CHECK enum err rescue_read(struct rescue *r,
				enum err (*add)(void *ctx,
						const struct record *rec),
				void *ctx, uint64_t *records);

/*
 * The damaged keys that rescue_read met: at most RESCUE_DAMAGED_MAX to list;
 * how many places there were in all.
 */
uint64_t rescue_damaged(struct rescue *r, struct rescue_damaged *list,
			uint32_t *count);

#endif
