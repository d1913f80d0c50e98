/*
 * store/store.h - the one interface that both front ends see.
 *
 * Joins consensus and engine. Writes are asynchronous (request + completion),
 * because they wait for a quorum's disks; reads are a barrier, which may have
 * to wait, and then plain calls that answer from this node's memory and files.
 * A front end can be written by reading this page alone.
 *
 * Keys are 1 to STORE_KEY_BYTES_MAX bytes and possible file paths; together
 * they form one tree (docs/architecture.md, "The rules of keys"). A key that
 * ends in '/' is an explicit directory with an empty value. Keys that begin
 * with a NUL byte are the store's own and cannot be named from outside.
 *
 * Revision (rev): the Raft index of a key's last change; it orders the changes
 * of one partition. With one partition, the default, that is all changes.
 *
 * Threads: "any" means any thread at any time between store_new and
 * store_free. "core" is the one thread that calls store_step. Completions run
 * on the core thread (or inside store_free), never inside the call that made
 * the request; they must not block and may make new requests.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/seed.h"
#include "store/token.h"

enum {
	STORE_KEY_BYTES_MAX = 4095,
	STORE_COMPONENT_BYTES_MAX = 255,
	STORE_INLINE_BYTES_MAX = 64 << 10, /* larger values lie in chunks    */
	STORE_CHUNK_BYTES = 64 << 10,
	STORE_TXN_OPS_MAX = 128,       /* conditions + operations        */
	STORE_TXN_BYTES_MAX = 1 << 20, /* keys and values of all of them */
	STORE_EVENT_VALUE_BYTES_MAX = 64 << 10,
	STORE_WATCH_QUEUE_BYTES_MAX = 1 << 20,
	STORE_QUEUE_MAX = 65536, /* writes waiting: then ERR_FULL  */
	STORE_CURSOR_BYTES_MAX = 1024,
};

struct store;
struct engine;
struct net;
struct diary;

enum {
	STORE_NAME_BYTES_MAX = 64,
	STORE_ADDRESS_BYTES_MAX = 280,
	STORE_TAG_BYTES_MAX = 64,
};

/* One node of the cluster, as the member map in partition 0 has it. */
struct store_member {
	uint64_t id; /* never used again for another                         */
	char name[STORE_NAME_BYTES_MAX];
	char peer[STORE_ADDRESS_BYTES_MAX]; /* "host:port"; "": none         */
	char http[STORE_ADDRESS_BYTES_MAX];
	bool stays_learner; /* is not to be promoted                         */
};

struct store_options {
	struct engine *engine; /* open; outlives the store                   */
	struct clock *clock;
	struct seed *seed;
	const char *node_name;
	uint32_t partitions;
	uint64_t max_value_bytes;     /* at most 4 GiB - 1                    */
	uint64_t watch_history_bytes; /* of changes kept for watches; younger
				     ones than 10 min up to 4 times as many  */
	uint64_t staging_idle_ms;     /* an upload idle this long is collected;
				     0: 10 minutes                           */
	/*
	 * The cluster. net NULL: this node is and stays alone. members: of an
	 * empty engine directory the founders, the same list on each of them
	 * (joining false), or, joining, whom to listen to until a snapshot
	 * brings the member map. Copied. Ignored when the directory has a
	 * state.
	 */
	struct net *net;
	const struct store_member *members;
	uint32_t member_count;
	bool joining;
	struct store_member self; /* id as engine_identity; addresses as
				     configured now: the map follows them     */
	uint64_t heartbeat_ms, election_ms; /* 0: 100, 1000                   */
	uint64_t append_bytes_max;  /* entries in one message, one always; 0:
				      1 MiB                                   */
	uint64_t commit_timeout_ms; /* a write's outcome is unknown then; 0:
				       5000                                  */
	struct diary *diary; /* of elections, members, links; outlives it;
				NULL: none is kept                           */
	/* A request waits and the core thread may sleep: wake it. Any thread. */
	void (*wake)(void *ctx);
	void *wake_ctx;
};

/*
 * Make the store over an open engine; it serves after the first store_step
 * has returned OK. Errors: ERR_NOMEM, ERR_CORRUPT (the store's own records).
 */
MUST_CHECK enum err store_new(const struct store_options *o, struct store **s);

/*
 * Every waiting request is completed: reads and undecided writes with
 * ERR_CLOSED (nothing was done). Watches end. No front end may be inside or
 * hold a value. NULL is accepted. Thread: core.
 */
void store_free(struct store *s);

/*
 * One round: take what waits, decide it, append, sync, settle, complete; let
 * keys expire, collect stale uploads. *wait_ms: call again after so long at
 * the latest, or at the next wake (UINT64_MAX: only then).
 * ERR_IO: the log is poisoned, everything unanswered was completed with
 * ERR_UNKNOWN or ERR_CLOSED: stop the node. Thread: core.
 */
MUST_CHECK enum err store_step(struct store *s, uint64_t *wait_ms);

/*
 * A message from node `from` arrived (base/net.h); read during the call only.
 * Malformed ones are counted and dropped. Call store_step soon afterwards.
 * ERR_IO: as store_step. Thread: core.
 */
MUST_CHECK enum err store_receive(struct store *s, uint64_t from,
				  struct bytes message);

/* The link to a peer was made or broke. Thread: core. */
void store_link(struct store *s, uint64_t peer, bool up);

/*
 * One bounded step of moving state between nodes: reads snapshots from this
 * node's files, writes those that arrive. *wait_ms: nothing will be due for so
 * long. Blocks on disk. Thread: mover (one at a time; in the simulator any
 * moment between other calls).
 */
void store_move(struct store *s, uint64_t *wait_ms);

/*
 * Hand the leadership of every group over to others, before this node stops or
 * because its disk stalls. Call store_step until store_leads is false or
 * patience ends. Thread: core.
 */
void store_hand_over(struct store *s);
bool store_leads(struct store *s);

/* Another max_value_bytes for what comes from now on. Thread: any. */
void store_set_max_value(struct store *s, uint64_t bytes);

/* ERR_BAD_KEY or ERR_KEY_TOO_LONG, if key cannot be one. Thread: any. */
MUST_CHECK enum err store_key_check(struct bytes key);

/* The partition that key (or a prefix with a slash in it) lies in. */
uint32_t store_partition_of(const struct store *s, struct bytes key);

/* --------------------------------------------------------------- read ---- */

enum store_consistency { STORE_LINEARIZABLE, STORE_LEASE, STORE_STALE };

enum { STORE_ALL_PARTITIONS = -1 };

struct store_barrier {
	void (*done)(struct store_barrier *b, enum err err); /* set by caller */
	void *user;
	bool gather; /* store_go will be called: it wakes nobody before      */
	struct store_barrier *next; /* private, like what follows */
	int32_t partition;
};

/*
 * Wait until reads from this node's state are as fresh as consistency asks,
 * for one partition or STORE_ALL_PARTITIONS.
 * OK: read now, done is not called. ERR_PENDING: done will be called once,
 * with OK, ERR_NO_LEADER or ERR_CLOSED; b stays the store's until then.
 * ERR_NO_LEADER, ERR_STARTING: refused at once. Thread: any.
 */
MUST_CHECK enum err store_barrier(struct store *s, int32_t partition,
				  enum store_consistency consistency,
				  struct store_barrier *b);

/*
 * A STORE_LEASE read asks again after it took its value: false means that the
 * lease may have run out meanwhile and the value must not be given out.
 */
bool store_lease_holds(struct store *s, int32_t partition);

struct store_info {
	uint64_t rev;
	uint64_t bytes;	   /* size of the value                              */
	uint64_t mtime_ns; /* wall clock; only from store_value_info         */
	bool has_ttl;
	uint64_t ttl_ns; /* left; only from store_value_info                 */
	bool is_dir;	 /* explicit directory: the key ends in '/'          */
	bool is_link, is_special;
};

struct store_value;

/*
 * Pin the value of key as it is now: every byte that store_value_read gives
 * belongs to this revision, whatever is written meanwhile.
 * Thread: any; one thread at a time uses *v.
 * ERR_NOT_FOUND, ERR_CORRUPT, ERR_IO, ERR_NOMEM, ERR_BAD_KEY
 */
MUST_CHECK enum err store_get(struct store *s, struct bytes key,
			      struct store_value **v);

/* Release it. NULL is accepted. Thread: any. */
void store_value_done(struct store_value *v);

/* Size, revision, times of a pinned value. Valid until store_value_done. */
const struct store_info *store_value_info(const struct store_value *v);

/* The attributes of the key's record, undecoded. Valid until done. */
struct bytes store_value_attrs(const struct store_value *v);

/*
 * A view of the value from off on, verified: at least 1 byte when off is
 * below its size (a chunk's rest, the whole of an inline value), valid until
 * the next call on v. ERR_CORRUPT, ERR_IO: nothing of this piece is shown.
 */
MUST_CHECK enum err store_value_read(struct store_value *v, uint64_t off,
				     struct bytes *piece);

/*
 * What is known of key without touching the disk: rev, bytes, kind.
 * ERR_NOT_FOUND, ERR_BAD_KEY. Thread: any.
 */
MUST_CHECK enum err store_stat(struct store *s, struct bytes key,
			       struct store_info *info);

/* The revision up to which this node has applied partition. Thread: any. */
uint64_t store_revision(struct store *s, uint32_t partition);

struct store_list {
	/* in; views valid during the call */
	struct bytes prefix, start, end; /* start <= key < end; empty: open  */
	struct bytes after;	/* a cursor from next; empty: from the edge  */
	struct bytes delimiter; /* fold what follows it; empty: none         */
	uint32_t limit;		/* keys + prefixes, at least 1               */
	uint64_t bytes_max;	/* stop when keys and values exceed it       */
	bool reverse;
	bool values; /* also read each value up to STORE_INLINE_BYTES_MAX    */
	/* out */
	bool more;
	struct buf next;     /* cursor, when more; released by the caller    */
	struct buf revision; /* text: a number with one partition, else an
				opaque string; released by the caller        */
};

struct store_list_item {
	struct bytes key; /* or the folded prefix, with its delimiter        */
	bool is_prefix;
	struct store_info info;
	enum err value_err; /* with values: OK, ERR_TOO_LARGE, ERR_CORRUPT.. */
	struct bytes value;
};

/*
 * One page in key order, a moment's picture of each partition. Views in items
 * are valid during the callback; an error from it ends the page and is
 * returned. ERR_INVALID: a cursor that is none. ERR_NOMEM. Thread: any.
 */
MUST_CHECK enum err store_list(struct store *s, struct store_list *list,
			       enum err (*item)(void *ctx,
						const struct store_list_item *),
			       void *ctx);

/* -------------------------------------------------------------- write ---- */

enum store_condition_kind {
	STORE_IF_REV, /* exists and its rev is rev                         */
	STORE_IF_EXISTS,
	STORE_IF_ABSENT,
	STORE_IF_VALUE, /* exists and its value is value                     */
};

struct store_condition {
	enum store_condition_kind kind;
	struct bytes key;
	uint64_t rev;
	struct bytes value;
};

/*
 * A PUT of a key that is there keeps the attributes of its record; a key that
 * was deleted and comes again begins without.
 */
enum store_op_kind { STORE_PUT, STORE_DELETE, STORE_GET };

struct store_op {
	enum store_op_kind kind;
	struct bytes key, value;
	uint64_t ttl_ns; /* PUT; 0: no expiry (an old one is cleared)        */
};

struct store_result {
	bool existed; /* the key was there before                            */
	uint64_t rev; /* PUT: the new one; GET: the key's                    */
	bool found;   /* GET                                                 */
	struct store_value *value; /* GET and found; released by the caller  */
};

struct store_upload;

/* Private to the store: what waits in its queue. */
struct store_queued {
	struct store_queued *next;
	uint64_t since_ns;
	uint64_t index; /* of its last entry, else what it was decided on    */
	uint64_t term;	/* in which it was decided                           */
	uint32_t partition;
	uint32_t entries; /* that it appended                                */
	uint8_t kind;
	bool no_forward; /* another node sent it here                        */
};

/*
 * One atomic write. Everything it points at stays valid until done is called.
 * Kinds: conditions + operations (a plain PUT or DELETE is one operation, its
 * If-Match one condition); a prefix deletion; the commit of an upload.
 */
struct store_write {
	/* in */
	const struct store_condition *conditions;
	uint32_t condition_count;
	const struct store_op *then_ops, *else_ops;
	uint32_t then_count, else_count;
	bool is_txn;	     /* unmet conditions choose else_ops; otherwise they
				are the error ERR_PRECONDITION               */
	bool delete_prefix;  /* instead of operations                        */
	struct bytes prefix; /* no slash in it: atomic only per partition    */
	struct store_upload *upload; /* the value of the one then_op, a PUT  */
	void (*done)(struct store_write *w);
	void *user;
	bool gather; /* as in store_barrier                                  */
	/* out, set before done */
	enum err err;
	bool succeeded;	    /* conditions were met                           */
	uint64_t revision;  /* of this write, or what it was decided on      */
	uint64_t rev_now;   /* ERR_PRECONDITION: of the key; 0: absent       */
	uint32_t failed_op; /* which operation a refusal is about            */
	uint64_t deleted;   /* delete_prefix: keys deleted                   */
	bool atomic;	    /* delete_prefix: one partition only             */
	struct store_result *results; /* caller's array with room for the
					 larger of then_count, else_count    */
	struct store_queued queued;   /* private */
};

/*
 * Hand a write to the store. OK: done will be called exactly once. Otherwise
 * it will not, and nothing was done:
 *
 * ERR_BAD_KEY, ERR_KEY_TOO_LONG, ERR_TOO_LARGE (value or txn over a limit),
 * ERR_DUPLICATE (a key written twice), ERR_CROSS_PART, ERR_INVALID (a value
 * for a directory key), ERR_FULL (queue), ERR_STARTING, ERR_CLOSED
 *
 * w->err afterwards: OK, ERR_PRECONDITION, ERR_NOT_DIR, ERR_IS_DIR,
 * ERR_NOT_EMPTY (refusals: nothing changed), ERR_NOSPC, ERR_NO_LEADER,
 * ERR_CLOSED, ERR_CORRUPT (STORE_IF_VALUE or GET of damaged bytes; nothing
 * was done), ERR_NOMEM (nothing was done), ERR_UNKNOWN (it may or may not
 * happen). Thread: any.
 */
MUST_CHECK enum err store_write(struct store *s, struct store_write *w);

/*
 * Whoever hands in several requests one after the other sets gather in each
 * and calls this after the last: they are begun together, with one sync and
 * one question to the other nodes. What others hand in meanwhile may take them
 * along earlier. Thread: any.
 */
void store_go(struct store *s);

/* ------------------------------------------------------------- upload ---- */

/*
 * A value that comes in pieces. Up to STORE_INLINE_BYTES_MAX it is kept in
 * memory; more is staged as chunks in the log, invisible until a store_write
 * that names the upload commits it with one small entry. About 8 MiB of it are
 * held in memory at most, 2 MiB when many are open. An upload belongs to one
 * thread at a time.
 *
 * done: called (core thread) when, after an ERR_PENDING, there is room for
 * more, with OK or the error that ends the upload.
 */
MUST_CHECK enum err store_upload_open(struct store *s, struct bytes key,
				      void (*done)(void *user, enum err err),
				      void *user, struct store_upload **u);

/*
 * Add n bytes (copied). OK: go on. ERR_PENDING: taken; wait for done before
 * the next call. ERR_TOO_LARGE: over max_value_bytes. ERR_NOSPC,
 * ERR_NO_LEADER, ERR_NOMEM, ERR_CLOSED: the upload is dead: close it.
 */
MUST_CHECK enum err store_upload_add(struct store_upload *u, const void *p,
				     size_t n);

/* Bytes added so far. */
uint64_t store_upload_bytes(const struct store_upload *u);

/*
 * Give the upload up, or, after the write that named it has completed
 * (whatever came of it), release its memory; what was committed stays. Not
 * while done or a commit is awaited; before store_free. NULL is accepted.
 */
void store_upload_close(struct store_upload *u);

/* -------------------------------------------------------------- watch ---- */

enum store_event_kind {
	STORE_EVENT_PUT,
	STORE_EVENT_DELETE,
	STORE_EVENT_EXPIRE,
};

struct store_event {
	enum store_event_kind kind;
	struct bytes key;
	uint64_t rev;
	uint64_t bytes; /* size of the value                                 */
	bool has_value; /* put of at most STORE_EVENT_VALUE_BYTES_MAX        */
	struct bytes value;
	char id[STORE_CURSOR_BYTES_MAX]; /* resume point just after it       */
};

struct store_watch;

/*
 * Watch keys that begin with prefix (exact: the one key). after: a revision
 * ("17") or an id from an event; empty: from now on. notify is called (core
 * thread) when store_watch_next has something after it had nothing.
 * ERR_COMPACTED: changes after it are no longer known. ERR_INVALID: not a
 * cursor. ERR_FULL: too many watches. ERR_NOMEM. Thread: any.
 */
MUST_CHECK enum err store_watch_open(struct store *s, struct bytes prefix,
				     bool exact, struct bytes after,
				     void (*notify)(void *user), void *user,
				     struct store_watch **w);

/*
 * The next change in order. OK: *event, views valid until the next call on w.
 * ERR_PENDING: nothing now, notify will come. ERR_COMPACTED: the watcher fell
 * behind the history. ERR_FULL: it let more than
 * STORE_WATCH_QUEUE_BYTES_MAX pile up. ERR_CLOSED: the store stops.
 * Thread: any, one at a time for each watch.
 */
MUST_CHECK enum err store_watch_next(struct store_watch *w,
				     struct store_event *event);

/* After it returns notify is not running and never will be. NULL: nothing. */
void store_watch_close(struct store_watch *w);

/* ------------------------------------------------------------- backup ---- */

struct store_backup;

/*
 * Begin a backup: the state of each partition at the revision it has now,
 * while writes go on. Holds files back from removal until done. How new that
 * is, the caller decides by a barrier. Format: docs/format-store.md, "Backup
 * stream". ERR_STARTING: this node has no state yet. ERR_NOMEM, ERR_IO,
 * ERR_CORRUPT. Thread: any.
 */
MUST_CHECK enum err store_backup_open(struct store *s, struct store_backup **b);

/*
 * Write up to cap (at least 64 KiB) bytes of the stream to dst. *n 0: the end.
 * ERR_CORRUPT: damage met; the stream must be cut so that it is not taken for
 * whole. Blocks on disk. Thread: any, one at a time.
 */
MUST_CHECK enum err store_backup_read(struct store_backup *b, void *dst,
				      size_t cap, size_t *n);

/* NULL is accepted. Thread: any. */
void store_backup_done(struct store_backup *b);

/* ------------------------------------------------------------- status ---- */

enum store_role {
	STORE_FOLLOWER,
	STORE_CANDIDATE,
	STORE_LEADER,
	STORE_LEARNER,
};

struct store_partition_status {
	uint32_t id;
	enum store_role role;
	uint64_t term, commit, applied, keys;
	uint64_t leader_changes; /* since the start                          */
	uint64_t
		leader_id; /* 0: none known                                    */
	char leader[64]; /* name; empty: none known                          */
};

/* Fill status for one partition. Thread: any. */
void store_partition_status(struct store *s, uint32_t partition,
			    struct store_partition_status *status);

/* A member and how it does, as this node sees it. */
struct store_member_status {
	struct store_member member;
	bool learner; /* in partition 0's group                              */
	bool leaving; /* removal under way                                   */
	bool up;      /* heard of lately (self: true)                        */
	/*
	 * Of partition 0, as its leader has it, which may be this node or
	 * has told it seconds ago; 0 where not known.
	 */
	bool progress_known;
	uint64_t match, lag;
	uint64_t state_bytes; /* sent so far of states that this node sends it,
			       instead of entries; 0: none             */
	uint64_t led_lag; /* entries of all groups that this node leads which
			     the member has not confirmed; 0 while
			     nobody looks (store/report.h)               */
	uint64_t last_contact_ms; /* UINT64_MAX: none since the start        */
};

/* Fill up to cap, by id; the number of members. Thread: any. */
uint32_t store_members(struct store *s, struct store_member_status *out,
		       uint32_t cap);

enum store_change_kind {
	STORE_MEMBER_ADD, /* a learner, promoted in every group when it has
			     caught up unless stays_learner                  */
	STORE_MEMBER_REMOVE,
	STORE_MEMBER_PROMOTE, /* stays_learner no more                       */
	STORE_MEMBER_REPLACE, /* its disk is lost: same name and addresses, a
				 new id; the old one is removed              */
	STORE_TRANSFER,	      /* leadership of all groups to name            */
	STORE_MEMBER_CLAIM,   /* an empty disk takes the id that name has,
				 if no other disk has it                     */
	STORE_TOKEN_ADD,      /* token                                       */
	STORE_TOKEN_SET,      /* the same, in place of one of that name      */
	STORE_TOKEN_REMOVE,   /* by name; its prefix begins with token.prefix */
	STORE_MEMBER_UPDATE,  /* private: a node has another name or address */
};

/* A change of the cluster; as struct store_write. */
struct store_change {
	enum store_change_kind kind;
	struct store_member member; /* ADD: all but id; else name only       */
	struct store_token token; /* TOKEN_..; prefix lives until done       */
	char tag[STORE_TAG_BYTES_MAX]; /* for log lines: whose wish it is    */
	uint64_t claim; /* CLAIM: a random number above 1 that the disk keeps */
	bool force;	/* REPLACE: also of one that is up                   */
	void (*done)(struct store_change *c);
	void *user;
	/*
	 * out. OK means that it is decided and replicated; catching up and
	 * promotion show in store_members. A TRANSFER: that the member leads
	 * every group. What is so already is OK too, but for an ADD and for
	 * tokens.
	 *
	 * ERR_NOT_FOUND     no such member, or token
	 * ERR_EXISTS        name or address taken; id claimed by another disk
	 * ERR_INVALID       the last voter cannot go; a learner cannot lead; a
	 *                   leader has not lost its disk
	 * ERR_PRECONDITION  of those who would remain no majority is up; what
	 *                   is to be replaced is up, and nobody forces it, or
	 *                   its vote is needed
	 * ERR_BUSY          an earlier change is not applied yet
	 * ERR_FULL          as many members, or tokens, as there can be
	 * or as a write
	 */
	enum err err;
	uint64_t id; /* the member's                                         */
	struct store_queued queued; /* private */
};

/*
 * OK: done will be called once. ERR_INVALID: no possible name, address or
 * claim. ERR_PERMISSION: this node has no links to others (no net). Others as
 * store_write. Thread: any.
 */
MUST_CHECK enum err store_change(struct store *s, struct store_change *c);

enum store_standing {
	STORE_MEMBER,
	STORE_REMOVED, /* was one, or its id was given and taken back        */
	STORE_UNKNOWN, /* the map here may be behind, or a group here is     */
};

/* What id is by this node's map. Thread: any. */
enum store_standing store_standing(struct store *s, uint64_t id);

/* Partitions 0..count-1. Thread: any. */
uint32_t store_partition_count(const struct store *s);

/* True when linearizable requests can be served now. Thread: any. */
bool store_ready(struct store *s);

enum store_readiness {
	STORE_READY,
	STORE_STARTING,
	STORE_LEADERLESS, /* a partition has no leader known here            */
	STORE_OUTSIDE,	  /* not a member yet                                */
	STORE_DISMISSED,  /* a member no more                                */
	STORE_STOPPING,
};

/* What store_ready says, and why not. Thread: any. */
enum store_readiness store_readiness(struct store *s);

enum { STORE_BUCKETS = 32 };

struct store_stats {
	uint64_t writes, write_batches, refusals, expired;
	uint64_t watches, uploads;
	/* damaged bytes: peers asked, mended, in vain for now */
	uint64_t repairs_asked, repairs_healed, repairs_failed;
	uint64_t commit_count, commit_ns_total; /* handed in -> completed    */
	/* [i]: took 2^(i-1) to 2^i us; [0]: less than 1                     */
	uint64_t commit_buckets[STORE_BUCKETS];
	uint64_t sync_buckets[STORE_BUCKETS]; /* likewise, of each sync    */
};

/* Counters since start. Thread: any. */
void store_stats(struct store *s, struct store_stats *stats);

enum {
	STORE_CORRUPT_MAX = 64,
	STORE_FILE_NAME_BYTES = 64,
	STORE_FILES_AT_ONCE = 64,
};

struct store_corrupt {
	char file[STORE_FILE_NAME_BYTES];
	uint64_t off, keys;
};

/* What the engine under the store holds and has done since it was opened. */
struct store_storage_status {
	uint64_t keys, live_bytes, dead_bytes;
	uint64_t files, log_bytes, merged_bytes, keydir_bytes;
	uint64_t disk_free_bytes; /* 0: not known                            */
	uint64_t frames, syncs, sync_ns_total, bytes_appended;
	uint64_t merges, merge_bytes_read, merge_bytes_written;
	bool merge_running, out_of_space, poisoned;
	uint64_t cut_count; /* torn tails cut at the start; the last one:     */
	char cut_file[STORE_FILE_NAME_BYTES];
	uint64_t cut_off, cut_bytes;
	uint32_t corrupt_count; /* damaged places known                      */
	struct store_corrupt corrupt[STORE_CORRUPT_MAX];
};

/* A moment's truth; *status is filled whole. Thread: any. */
void store_storage_status(struct store *s, struct store_storage_status *status);

struct store_file_info {
	char name[STORE_FILE_NAME_BYTES];
	uint32_t partition;  /* of a merged file                              */
	bool merged, active; /* else a log segment; it is being written      */
	uint64_t bytes, live_bytes;
};

/*
 * Fill up to cap and STORE_FILES_AT_ONCE: log segments, newest first, then
 * merged files. How many files there are. Thread: any.
 */
uint32_t store_list_files(struct store *s, struct store_file_info *out,
			  uint32_t cap);

/* Ask for a merge of everything that has dead bytes, soon. Thread: any. */
void store_merge_request(struct store *s);

#endif
