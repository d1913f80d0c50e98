/*
 * engine/engine.h - the one-write engine: a shared log that is the store.
 *
 * Owns every file under its directory. Knows nothing of consensus, HTTP or
 * FUSE. A put has two halves that stand apart: append (the record goes to the
 * log) and settle (the key directory is pointed at it). Consensus comes
 * between them; the embedded calls at the end put them together again.
 * Bytes: docs/format.md. Path of a put and of a get: docs/architecture.md.
 *
 * Threads. One writer at a time calls the append half and settle (in the
 * daemon the core thread; the embedded calls take turns by themselves). Any
 * thread reads. One keeper at a time calls engine_keep (a thread of node/, or
 * the simulator). The engine makes no thread.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/seed.h"
#include "base/vfs.h"
#include "engine/loc.h"
#include "engine/record.h"

enum {
	ENGINE_KEY_BYTES_MAX = RECORD_KEY_BYTES_MAX,
	ENGINE_VALUE_BYTES_MAX = RECORD_VALUE_BYTES_MAX,
	ENGINE_ENTRY_BYTES_MAX = 24 << 20, /* all records of one entry       */
	ENGINE_PARTITIONS_MAX = 4096,
	ENGINE_SEGMENT_BYTES_MIN = 256 << 10,
};

struct engine;

enum engine_read_mode { ENGINE_READ_MMAP, ENGINE_READ_PREAD };

enum engine_sync_mode {
	ENGINE_SYNC_ALWAYS,   /* engine_sync returns after fdatasync         */
	ENGINE_SYNC_INTERVAL, /* writes; fdatasync at most every interval    */
	ENGINE_SYNC_NEVER,    /* writes; the kernel decides                  */
};

/* When files are merged: storage.merge of conf/raftcask.conf. */
struct engine_merge_options {
	uint32_t window_start_min, window_end_min; /* local minutes of day;
				     equal: always                           */
	double dead_ratio;	   /* of a file's bytes, 0..1            */
	uint64_t dead_bytes;	   /* of one file                        */
	uint64_t small_file_bytes; /* merged files below it are joined   */
	uint64_t rate_bytes_per_s; /* 0: unlimited                       */
};

struct engine_options {
	struct vfs *vfs;
	struct clock *clock;
	struct seed *seed; /* salts and ids; used only inside calls          */
	const char *dir;   /* created when absent                            */
	uint32_t partitions;
	uint64_t node_id; /* of a new directory; 0: 1, a first node's        */
	uint8_t cluster_id[16];	 /* of a new directory; all 0: a random one  */
	uint64_t segment_bytes;	 /* log segment, at least ..._BYTES_MIN      */
	uint64_t min_free_bytes; /* below it puts are refused: ERR_NOSPC     */
	/*
	 * Other nodes have the same partitions: what is damaged can be fetched
	 * from them (engine/replica.h), so nothing settles without its bytes,
	 * and the words for damage name no offline repair.
	 */
	bool has_peers;
	enum engine_read_mode read_mode;
	enum engine_sync_mode sync_mode;
	uint64_t sync_interval_ms;
	struct engine_merge_options merge;
	/*
	 * Run fn(arg, 0..n-1), perhaps on several threads, and return when all
	 * are done; NULL: the engine loops itself. Used while opening.
	 */
	void (*parallel)(void (*fn)(void *arg, uint32_t i), void *arg,
			 uint32_t n);
	/* Minute of the local day, for the merge window; NULL: 0. */
	uint32_t (*minute_of_day)(void);
	struct diary *diary; /* of merges, damage, disk; outlives it; NULL:
				none is kept                             */
};

/* Fill o with the defaults of the configuration file (256M segments ...). */
void engine_options_default(struct engine_options *o);

/*
 * Open the directory: lock it, read the manifest, load hints, scan what has
 * none, cut a torn tail, copy what is not proved synced to a fresh segment
 * and sync it. Afterwards the state is: every entry up to applied_index of
 * each partition is settled, the ones after it lie in the tail.
 *
 * why: on error a sentence for the operator is appended: which file, which
 * offset, what to run and what it would lose.
 *
 * ERR_BUSY     another process has it open
 * ERR_CORRUPT  damage that hides which keys are hit; nothing was changed
 * ERR_FOREIGN  a file belongs to another node, cluster or place
 * ERR_VERSION  a newer format
 * ERR_INVALID  another number of partitions than the directory was made with
 * ERR_IO, ERR_NOSPC, ERR_NOMEM, ERR_PERMISSION
 */
MUST_CHECK enum err engine_open(const struct engine_options *o,
				struct engine **e, struct buf *why);

/*
 * Stop: append a synced mark and release everything. Pins must have been
 * released. Errors are logged. NULL is accepted. No other thread inside.
 */
void engine_close(struct engine *e);

/* ------------------------------------------------------------- append ---- */

struct engine_record {
	uint8_t type;  /* enum record_type, entries only (not HARD_STATE)    */
	uint8_t flags; /* loc.h, 0..63                                       */
	uint64_t expiry_ns;
	struct bytes key, attrs, value; /* copied before the call returns    */
};

struct engine_entry {
	uint16_t partition;
	uint64_t index, term;
	uint64_t stamp_ns, mtime_ns;
	const struct engine_record *records; /* at least one                 */
	uint32_t record_count;
};

/*
 * Append one entry to the open batch. index is last_index + 1, or at most
 * last_index and above applied_index: then the entries from it on are dead if
 * their term at index differs, else only this one location is replaced.
 * Durability: none until engine_sync. Reads do not see it until settled.
 * Thread: writer.
 *
 * ERR_NOSPC      nothing was appended; later calls may succeed. An entry made
 *                only of deletes, no-ops and configs may use the reserve; so
 *                may one of deletes and puts of 1 KiB together, whose values
 *                are empty (or of 64 bytes, of keys that begin with NUL).
 * ERR_TOO_LARGE  over ENGINE_ENTRY_BYTES_MAX or ENTRY_POSITION_MAX records
 * ERR_IO         the log is poisoned: every later write fails, stop the node
 * ERR_NOMEM      nothing was appended
 */
MUST_CHECK enum err engine_append(struct engine *e,
				  const struct engine_entry *entry);

/* Raft's durable state of one partition. vote: 0 is nobody. */
struct engine_hard_state {
	uint64_t term, vote, commit;
};

/*
 * Append a hard-state record to the open batch. Durable with engine_sync;
 * a changed term or vote is then in two places. Errors as engine_append.
 * Thread: writer.
 */
MUST_CHECK enum err engine_set_hard_state(struct engine *e, uint16_t partition,
					  const struct engine_hard_state *hs);

/*
 * Write the open batch to the file without waiting for the disk. Survives the
 * process, not the machine. Errors as engine_append. Thread: writer.
 */
MUST_CHECK enum err engine_write(struct engine *e);

/*
 * Write the open batch and make everything appended before durable (as far as
 * sync_mode says so). One fdatasync for all partitions. On ERR_IO nothing of
 * the batch may be acknowledged and the log is poisoned. Thread: writer.
 */
MUST_CHECK enum err engine_sync(struct engine *e);

/*
 * Call after 10 ms without a batch, and now and then while idle: an unsynced
 * mark proves the last frame, and a merge that waits for the writer gets its
 * segment ended or its sync. Cheap when there is nothing to do. Thread: writer.
 */
void engine_idle(struct engine *e);

/* ------------------------------------------------------------- settle ---- */

/* One record as it is applied. Views are valid during the callback. */
struct engine_applied {
	const struct record *record;
	bool had_old; /* the key existed; old_version is its version         */
	uint64_t old_version;
	uint64_t removed; /* DELETE_PREFIX: keys removed                     */
};

typedef void engine_applied_fn(void *ctx, const struct engine_applied *a);

/*
 * Keys that a DELETE_PREFIX removes are told one by one in key order before it
 * itself: with the record's fields, the key removed, type RECORD_DELETE,
 * had_old true. Then the DELETE_PREFIX itself, had_old false, removed set.
 */
/*
 * Point the key directory at the entries up to index (at most last_index), in
 * order; afterwards readers see them. fn may be NULL. Thread: writer.
 * ERR_CORRUPT with has_peers: the next entry is engine_missing; after
 * engine_heal_entry it goes on. Without: the header of a record is bad; where
 * only a value is, its key is settled and answers ERR_CORRUPT.
 * ERR_NOMEM, ERR_IO. All: settled up to applied_index, see info.
 */
MUST_CHECK enum err engine_settle(struct engine *e, uint16_t partition,
				  uint64_t index, engine_applied_fn *fn,
				  void *ctx);

/* Who wants to know more of settling. Each may be NULL. Thread: writer. */
struct engine_settler {
	void *ctx;
	engine_applied_fn *applied;
	/*
	 * Record `number` of the `count` that the next entry has, one after the
	 * other before anything of it is applied: what they replace can still
	 * be read. Views are valid until `after` of the entry. Once more from
	 * the first, when the entry could not be applied and is tried again.
	 */
	void (*before)(void *ctx, const struct record *r, uint32_t number,
		       uint32_t count);
	/* The entry is applied: readers and engine_applied_index see it. */
	void (*after)(void *ctx, uint16_t partition, uint64_t index);
};

/* As engine_settle, telling more. */
MUST_CHECK enum err engine_settle_told(struct engine *e, uint16_t partition,
				       uint64_t index,
				       const struct engine_settler *to);

struct engine_partition_info {
	uint64_t base_index, base_term;
	uint64_t first_index; /* of the log; last_index + 1: it is empty     */
	uint64_t last_index, last_term; /* of the log, durable or not        */
	uint64_t synced_index;		/* entries up to it are durable      */
	uint64_t applied_index;
	uint64_t last_stamp_ns; /* log clock of the last entry              */
	uint64_t keys;		/* settled, of every kind                   */
	/*
	 * 0: no file holds a client's write, which is a put or delete of a
	 * key that does not begin with NUL. Else some number above it.
	 */
	uint64_t client_entries;
	struct engine_hard_state hard_state;
};

/* Thread: writer. */
void engine_partition_info(struct engine *e, uint16_t partition,
			   struct engine_partition_info *info);

/* --------------------------------------------------------------- read ---- */

/* What the key directory knows without touching the disk. */
struct engine_info {
	uint64_t version;
	uint64_t loc;	      /* loc_flags() of it are of interest           */
	uint32_t value_bytes; /* logical                                     */
	uint16_t attr_bytes;
};

/* ERR_NOT_FOUND. Thread: any; takes no lock, waits for nobody. */
MUST_CHECK enum err engine_peek(struct engine *e, uint16_t partition,
				struct bytes key, struct engine_info *info);

/* Applied index, readable by any thread: what a read now is at least as new as. */
uint64_t engine_applied_index(struct engine *e, uint16_t partition);

struct engine_value {
	struct bytes value, attrs; /* valid until engine_value_done          */
	uint64_t version, loc;
	/* these with ENGINE_VERIFY or ENGINE_HEAD only: */
	uint64_t term, mtime_ns, stamp_ns, expiry_ns;
	void *pin;   /* private: the file held                               */
	void *owned; /* private: memory held (pread mode)                    */
};

enum engine_get_flags {
	ENGINE_VERIFY = 1, /* check both checksums; the default everywhere   */
	/*
	 * Without ENGINE_VERIFY: check and read header, key and attributes
	 * only; value is empty, and its damage goes unnoticed.
	 */
	ENGINE_HEAD = 2,
};

/*
 * Pin the value of key. In mmap mode the views point into the mapping; no
 * byte of the value is touched without ENGINE_VERIFY. Release with
 * engine_value_done, soon: a pinned file is not recycled.
 * Thread: any; takes no lock.
 *
 * ERR_NOT_FOUND  no such key
 * ERR_CORRUPT    the bytes are damaged; never other bytes, never older ones
 * ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum err engine_get(struct engine *e, uint16_t partition,
			       struct bytes key, unsigned flags,
			       struct engine_value *v);

/* Release a pinned value; v is empty afterwards. Empty v is accepted. */
void engine_value_done(struct engine_value *v);

/* A record held where it lies. Private. */
struct engine_pin {
	uint64_t version, loc, bytes;
	uint32_t key_bytes, attr_bytes, value_bytes;
	uint16_t partition;
	void *file, *fresh;
};

/*
 * Hold the record of key, without touching its bytes: read it with
 * engine_pin_get as often as wanted, whatever is written or merged meanwhile.
 * Release with engine_pin_done. Errors as engine_get. Thread: any; no lock.
 */
MUST_CHECK enum err engine_pin(struct engine *e, uint16_t partition,
			       struct bytes key, struct engine_pin *pin);

/* The value pinned; key as it was given to engine_pin. As engine_get. */
MUST_CHECK enum err engine_pin_get(struct engine *e,
				   const struct engine_pin *pin,
				   struct bytes key, unsigned flags,
				   struct engine_value *v);

/* b's record lies behind a's in the same file, and as good as next to it. */
bool engine_pin_is_next(const struct engine_pin *a, const struct engine_pin *b);

/*
 * A hint that all from a's record to the end of b's, which is a or comes after
 * it by steps of engine_pin_is_next, is read soon.
 */
void engine_pin_will_need(const struct engine_pin *a,
			  const struct engine_pin *b);

/* Let it go; values read through it stay valid. Empty pin is accepted. */
void engine_pin_done(struct engine_pin *pin);

/*
 * Copy the value of key to dst. *n is its size, also with ERR_TOO_LARGE when
 * it is above cap (dst untouched). Errors as engine_get. Thread: any.
 */
MUST_CHECK enum err engine_copy(struct engine *e, uint16_t partition,
				struct bytes key, unsigned flags, void *dst,
				size_t cap, size_t *n);

/*
 * An ordered walk over one partition, one consistent picture from begin to
 * end: settling waits meanwhile, so keep it short (at most some thousand
 * steps). Keys are valid until the next step. Thread: any.
 */
struct engine_iter {
	struct keydir *kd;
	void *leaf;
	int slot;
};

/* Begin a walk: takes the partition's lock until engine_iter_end. */
void engine_iter_begin(struct engine *e, uint16_t partition,
		       struct engine_iter *it);
/* First key >= key. False: none. */
bool engine_iter_seek(struct engine_iter *it, struct bytes key,
		      struct bytes *found, struct engine_info *info);
/* Last key < key; key.p NULL: the last of all. False: none. */
bool engine_iter_seek_before(struct engine_iter *it, struct bytes key,
			     struct bytes *found, struct engine_info *info);
/* The neighbour of the last found key, upwards. False: none. */
bool engine_iter_next(struct engine_iter *it, struct bytes *found,
		      struct engine_info *info);
/* The same, downwards. */
bool engine_iter_prev(struct engine_iter *it, struct bytes *found,
		      struct engine_info *info);
/*
 * Hold the record of a key as the walk has just told it (key and info), before
 * the next step; as engine_pin. What one walk holds is one picture.
 * ERR_BUSY: a whole state was installed meanwhile: walk anew.
 */
MUST_CHECK enum err engine_pin_found(struct engine *e, uint16_t partition,
				     struct bytes key,
				     const struct engine_info *info,
				     struct engine_pin *pin);
/* End the walk and release the lock. */
void engine_iter_end(struct engine_iter *it);

/*
 * The key that expires next: true and *expiry_ns (log clock), its version and
 * the key (copied to key, ENGINE_KEY_BYTES_MAX bytes of room, length in
 * *key_bytes). False: no key has an expiry. Thread: writer.
 */
bool engine_next_expiry(struct engine *e, uint16_t partition,
			uint64_t *expiry_ns, uint64_t *version, uint8_t *key,
			size_t *key_bytes);

/*
 * Call fn for each key that expires at or before now_ns, in no order, until it
 * answers false. Views are valid during the call; fn may append, not settle.
 * Thread: writer.
 */
void engine_due(struct engine *e, uint16_t partition, uint64_t now_ns,
		bool (*fn)(void *ctx, struct bytes key, uint64_t version),
		void *ctx);

/* --------------------------------------------------------- background ---- */

/*
 * One bounded step of background work: ready the next segment, write hints,
 * merge a piece, recycle or unlink files nobody reads. *wait_ms is how long
 * nothing will be due (0: call again). Errors leave the old state in force
 * and are retried later. Blocks on disk. Thread: keeper.
 * ERR_IO, ERR_NOSPC, ERR_NOMEM, ERR_CORRUPT: logged once inside.
 */
MUST_CHECK enum err engine_keep(struct engine *e, uint64_t *wait_ms);

/* Ask the keeper to merge everything that has dead bytes, now. Any thread. */
void engine_merge_request(struct engine *e);

/* Merge by these settings from now on (copied). Thread: keeper. */
void engine_set_merge_options(struct engine *e,
			      const struct engine_merge_options *merge);

/* Free bytes of the disk; 0 when that cannot be known. Thread: any. */
uint64_t engine_free_bytes(struct engine *e);

/* Refuse puts below another free space from now on. Thread: any. */
void engine_set_min_free(struct engine *e, uint64_t bytes);

struct engine_corrupt {
	char file[64];
	uint64_t off;
	uint64_t keys;
};

enum { ENGINE_CORRUPT_MAX = 64 };

struct engine_stats {
	uint64_t keys, live_bytes, dead_bytes;
	uint64_t files, log_bytes, merged_bytes;
	uint64_t frames, syncs, sync_ns_total, bytes_appended;
	uint64_t merges, merge_bytes_read, merge_bytes_written;
	bool merge_running;
	bool out_of_space;
	bool poisoned;
	uint64_t keydir_bytes;
	uint64_t cut_count; /* torn tails cut at the last open; the last one: */
	char cut_file[64];
	uint64_t cut_off, cut_bytes;
	uint32_t corrupt_count; /* damaged places known, at most ..._MAX     */
	struct engine_corrupt corrupt[ENGINE_CORRUPT_MAX];
};

/* A moment's truth. Thread: any. */
void engine_stats(struct engine *e, struct engine_stats *s);

/* One data file, for status. */
struct engine_file_info {
	uint32_t id;
	uint16_t partition;  /* of a merged file                              */
	bool merged;	     /* else a log segment                            */
	bool active;	     /* the segment that is written                   */
	uint64_t bytes;	     /* of records, its header included               */
	uint64_t live_bytes; /* of them, what a key needs or consensus wants */
};

/*
 * Fill up to cap: log segments, newest first, then merged files by partition.
 * How many there are. Thread: any.
 */
uint32_t engine_list_files(struct engine *e, struct engine_file_info *out,
			   uint32_t cap);

/* Identity of the directory, for status. id: 16 bytes. Thread: any. */
void engine_identity(const struct engine *e, uint8_t cluster_id[16],
		     uint64_t *node_id);

/* ----------------------------------------------------------- embedded ---- */

/*
 * A plain Bitcask without consensus: append and settle in one call, the index
 * counted up by the engine. Any number of threads; their synced writes share
 * one fdatasync. Never mix with the append half on one engine.
 *
 * sync false: buffered, durable at the next synced call or engine_flush.
 * Errors as engine_append; on ERR_IO the engine is poisoned.
 */
MUST_CHECK enum err engine_put(struct engine *e, uint16_t partition,
			       struct bytes key, struct bytes value, bool sync);
MUST_CHECK enum err engine_del(struct engine *e, uint16_t partition,
			       struct bytes key, bool sync);
MUST_CHECK enum err engine_flush(struct engine *e);

#endif
