/*
 * engine/engine_internal.h - struct engine, for the files of engine/ only.
 *
 * Locks, in the order in which they may be taken:
 *   write_lock   the writer's role among embedded callers; partitions' fields
 *   keep_lock    manifest, merged lists; held over disk I/O of a switch
 *   keydir_lock  of one partition; never over disk I/O
 *   terms_lock, free_lock, stats_lock   leaves, for a few instructions
 * The daemon's one writer needs no write_lock. fdatasync runs under no lock.
 */
#ifndef ENGINE_ENGINE_INTERNAL_H
#define ENGINE_ENGINE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/diary.h"
#include "base/epoch.h"
#include "engine/damage.h"
#include "engine/datafile.h"
#include "engine/engine.h"
#include "engine/expiry.h"
#include "engine/keydir.h"
#include "engine/log.h"
#include "engine/manifest.h"
#include "engine/replica.h"
#include "engine/tail.h"

struct partition {
	/*
	 * Exchanged by an install: load it once for each look, the writer as
	 * it likes, a reader in the epoch section in which it is used.
	 */
	_Atomic(struct keydir *) kd;
	struct expiry expiry;
	struct terms terms; /* of the whole log known                        */
	struct tail tail;   /* entries above applied_index                   */
	_Atomic uint64_t settling_index; /* applied, or about to be          */
	_Atomic uint64_t applied_index;
	_Atomic uint64_t base_index, base_term;
	_Atomic uint64_t reset_sequence; /* frames before it are dead        */
	_Atomic uint32_t installs;	 /* snapshots put in force           */
	_Atomic bool installing;	 /* one is being built               */
	_Atomic uint64_t
		keep_index; /* entries from it on are wanted by a peer */
	uint64_t last_term; /* terms.last_index is the last index            */
	_Atomic uint64_t synced_index;
	_Atomic uint64_t written_index; /* entries up to it are in the file  */
	bool touched; /* in the list of partitions appended to since a sync  */
	uint32_t mark_file;  /* the segment of the last mark, and the bytes   */
	uint64_t mark_bytes; /* of this partition since                      */
	uint64_t missing; /* lowest unsettled entry without its bytes; 0     */
	uint64_t last_stamp_ns;
	uint64_t client_entries;
	bool has_hard_state;
	struct engine_hard_state hard_state; /* as appended                  */
};

/*
 * What an install took out of force, for the keeper to clean up: the old key
 * directory is looked through, so that the log segments know what of theirs
 * died with it, then it waits for its last reader; old files are removed.
 */
struct replaced {
	struct replaced *next;
	uint16_t partition;
	bool files_gone, drained, retired;
	_Atomic bool unseen; /* no reader can find the directory any more    */
	struct keydir *kd;
	struct keydir_iter at; /* where the looking through stands           */
	bool begun;
	struct expiry expiry;
	uint32_t file_count;
	struct datafile *files[];
};

enum { FILE_TABLE_TOP = 4096, FILE_TABLE_LEAF = 4096 };

struct file_leaf {
	_Atomic(struct datafile *) files[FILE_TABLE_LEAF];
};

struct engine {
	struct engine_options o;
	_Atomic uint64_t min_free_bytes; /* any                              */
	_Atomic bool min_free_changed;	 /* look at the disk again           */
	char *dir;
	struct datafile_owner owner;
	struct vfs_file *lock_file;
	struct epoch *readers;
	struct partition *partitions;
	_Atomic(struct file_leaf *) files[FILE_TABLE_TOP];

	pthread_mutex_t write_lock;
	struct log log;
	uint16_t *touched; /* partitions with appends since the last sync    */
	uint32_t touched_count;
	bool state_dirty; /* a term or vote is not yet in the state file     */
	struct vfs_file *state_file;
	uint64_t state_sequence;
	uint64_t end_sequence; /* what the end mark claims                   */
	struct settled *settled; /* room for the changes of one entry        */
	uint32_t settled_cap;
	struct buf removed_keys; /* of a DELETE_PREFIX, for its callbacks    */
	struct buf settle_buf;	 /* records read back from a file            */
	uint64_t last_sync_ns; /* interval mode                              */
	uint64_t tail_keep;    /* entries a tail remembers once settled  */
	struct damage damage;  /* damage.c                               */
	struct readback *readback; /* readback.c                             */
	struct engine_log_entry carried; /* unsettled.c                      */

	pthread_mutex_t terms_lock; /* of every partition's terms, to change */
	pthread_mutex_t keep_lock;
	struct manifest manifest;
	struct replaced *replaced; /* newest first; not yet the keeper's     */

	/* embedded group commit: embed.c, under write_lock */
	bool sync_running;
	uint64_t sync_done; /* frames up to it are durable                   */
	struct sync_waiter *waiters, *waiters_tail;

	_Atomic bool out_of_space;
	uint64_t space_checked_ns; /* writer */
	_Atomic bool merge_requested;
	_Atomic bool sync_wanted;  /* a merge waits for a real sync           */
	_Atomic bool carry_wanted; /* some datafile's carry is set           */

	/* what engine_stats tells; written by whoever owns the event */
	_Atomic uint64_t merges, merge_bytes_read, merge_bytes_written;
	_Atomic bool merge_running;
	pthread_mutex_t stats_lock;
	uint64_t cut_count, cut_off, cut_bytes;
	char cut_file[64];
	uint32_t corrupt_count;
	struct engine_corrupt corrupt[ENGINE_CORRUPT_MAX];

	struct keep *keep; /* background work's own state; keep.c            */
};

/* The key directory as it is now. Thread: any, in an epoch section. */
static inline struct keydir *partition_keydir(struct partition *p)
{
	return atomic_load_explicit(&p->kd, memory_order_acquire);
}

/* ----------------------------------------------------------- file table -- */

/* The open file with that id, or NULL. Thread: any, in an epoch section. */
static inline struct datafile *engine_file(struct engine *e, uint32_t id)
{
	struct file_leaf *leaf = atomic_load_explicit(
		&e->files[id / FILE_TABLE_LEAF], memory_order_acquire);

	if (!leaf)
		return NULL;
	return atomic_load_explicit(&leaf->files[id % FILE_TABLE_LEAF],
				    memory_order_acquire);
}

/*
 * Make df findable under its id. ERR_NOMEM. Thread: keep_lock held, or
 * opening.
 */
MUST_CHECK enum err engine_file_add(struct engine *e, struct datafile *df);

/* Take df out again when nobody can have found it yet. Thread: as add. */
void engine_file_unlist(struct engine *e, const struct datafile *df);

/*
 * Make df unfindable; datafile_idle() turns true when the last reader has
 * left. The caller then closes and removes or recycles it. Thread: keep_lock.
 */
void engine_file_remove(struct engine *e, struct datafile *df);

/* ------------------------------------------------------------- segments -- */

/* A number for a new file: counts up in the manifest. keep_lock held. */
uint32_t engine_next_file_id(struct engine *e);

/*
 * Make an empty log segment of bytes and list it in the manifest directly
 * behind the segment with id behind (0: last). zero, from: as
 * datafile_create_log. It is in the file table afterwards.
 * ERR_NOSPC, ERR_IO, ERR_NOMEM: nothing listed. Thread: takes keep_lock.
 */
MUST_CHECK enum err engine_add_segment(struct engine *e, uint64_t bytes,
				       bool zero, const char *from,
				       uint32_t behind, struct datafile **df);

/*
 * Hand the writer the segment it will switch to next (made by
 * engine_add_segment behind the last). False: it has one. Thread: keeper.
 */
bool engine_offer_segment(struct engine *e, struct datafile *df);

/* True: the writer has no next segment; the keeper should ready one. */
bool engine_wants_segment(struct engine *e);

/*
 * The id of the segment the writer is in. Segments listed before it are
 * sealed: complete, synced, never written again. Thread: any.
 */
uint32_t engine_active_id(struct engine *e);

/* --------------------------------------------------------------- opening - */

/*
 * True: a record (index, term) in the log's frame sequence is settled or will
 * be; false: it was overwritten by another leader's entry, or lies before the
 * partition's last reset. Holds for records up to applied_index.
 * Thread: any, takes terms_lock.
 */
bool engine_record_live(struct engine *e, uint16_t partition, uint64_t index,
			uint64_t term, uint64_t sequence);

/* Remember a damaged place for stats; logs it. Thread: any. */
void engine_note_corrupt(struct engine *e, const struct datafile *df,
			 uint64_t off, uint64_t keys);

/* The key that lay at off of df lies elsewhere now. Thread: any. */
void engine_forget_place(struct engine *e, const struct datafile *df,
			 uint64_t off);

/* The file is gone, and its damaged places with it. Thread: any. */
void engine_forget_corrupt(struct engine *e, const struct datafile *df);

/*
 * Record i of entry as it is written down: views into what entry points at.
 * engine.c. Thread: any.
 */
void engine_as_record(const struct engine_entry *entry, uint32_t i,
		      struct record *r);

/* Bytes on disk of the record that entry points at. */
static inline uint64_t entry_disk_bytes(const struct keydir_entry *k)
{
	uint64_t value_bytes = k->value_bytes;

	if (loc_flags(k->loc) & LOC_CONTENT)
		value_bytes = RECORD_CONTENT_BYTES;
	return record_bytes(k->key_bytes, k->attr_bytes, value_bytes);
}

/* The key directory's figures of a PUT: logical value bytes. */
static inline uint32_t record_logical_bytes(const struct record *r)
{
	uint64_t n = r->value.n;

	if (r->flags & LOC_CONTENT && n >= RECORD_CONTENT_BYTES)
		n = get_u64(r->value.p + 8);
	return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

/* Keys that begin with a NUL are the store's own; "" is a range tombstone's. */
static inline bool is_client_key(struct bytes key)
{
	return key.n == 0 || key.p[0] != 0;
}

/* The flags of a location that come from the record; only merge writes
 * LOC_DAMAGED into one. */
static inline unsigned record_loc_flags(const struct record *r)
{
	return r->flags & 63;
}

#endif
