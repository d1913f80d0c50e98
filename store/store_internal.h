/*
 * store/store_internal.h - what the files of store/ share.
 *
 * Fields without a note belong to the core thread. Lock order: key directory
 * (inside the engine) before the watch hub's lock.
 *
 * The path of a write: write.c, queue.c, core.c (the round), request.c (which
 * requests wait for what), decide.c, entry.c, group*.c (consensus).
 */
#ifndef STORE_STORE_INTERNAL_H
#define STORE_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/diary.h"
#include "engine/engine.h"
#include "raft/raft.h"
#include "store/pending.h"
#include "store/store.h"
#include "store/view.h"

enum { RING_SLOTS = 1 << 16 };

enum request_kind {
	REQUEST_WRITE,	 /* struct store_write                               */
	REQUEST_STAGE,	 /* struct store_upload: a piece to be staged        */
	REQUEST_ABANDON, /* struct store_upload: closed without a commit     */
	REQUEST_CHANGE,	 /* struct store_change                              */
	REQUEST_FILE,	 /* struct store_file_op                             */
};

/* A first-in first-out list of requests. */
struct request_list {
	struct store_queued *head, **tail;
};

/* A staging of chunks that no key names yet. */
struct staging {
	struct staging *next;
	uint64_t content_id;
	uint64_t active_ns; /* log clock of its last change                  */
};

/* What a node may answer reads with at once; see barrier.c. */
enum freshness {
	FRESH_ASK,   /* nothing without a read index                         */
	FRESH_LEASE, /* while the lease holds and all committed is applied   */
	FRESH_ALONE, /* everything: no other node can know of newer changes  */
};

struct cache_slot;
struct read_batch;

struct partition {
	uint16_t id;
	bool expiry_known;
	struct store *s;

	/* consensus: group*.c */
	struct raft *raft;
	bool active;	/* is in s->active                                   */
	bool broken;	/* contradicted committed state: serves nothing      */
	bool deciding;	/* leads, and has applied the no-op of its term      */
	bool own_due;	/* own is not in the log yet: raft gets no input     */
	bool has_ready; /* ready was taken and waits for the disk            */
	bool hard_due;	/* its hard state is not in the log yet              */
	bool ack_due;	/* ack waits until a ready was taken                 */
	struct engine_install *installing; /* waits for room or memory       */
	bool found_again; /* its membership was lost with a file             */
	bool cut;	  /* an append did not go into the log last time     */
	bool apply_stuck; /* could not be applied; later                     */
	enum raft_role role;   /* as of the last ready, like leader and term */
	uint64_t leader, term; /* RAFT_NOBODY: unknown                       */
	struct raft_own own;
	struct raft_ready ready;
	struct raft_msg ack; /* of its own log, if raft had no room: ack_due */
	struct raft_hard_state hard, saved; /* newest; as the log holds it   */
	uint64_t saved_at_ns;
	uint64_t last_index;   /* of the log                                 */
	uint32_t proposed;     /* its last entries: raft was not told yet    */
	uint64_t apply_to;     /* raft said: apply                           */
	uint64_t untold_ns;    /* since when others could be told a commit   */
	uint64_t office_index; /* of its no-op; 0: this node does not lead   */
	uint64_t office_term;
	uint64_t conf_index; /* of the newest applied membership change   */
	uint64_t changes_to; /* above it no entry is a membership change  */
	uint64_t unapplied_bytes; /* of entries decided here, about          */
	uint64_t unapplied_to;	  /* when it is applied that is 0 again      */
	struct cache_slot *cache; /* entries encoded for peers, or NULL      */
	_Atomic int fresh;	  /* enum freshness; any                     */
	_Atomic uint64_t lease_end_ns;	  /* boot clock; any                 */
	_Atomic uint64_t committed_shown; /* any                             */
	_Atomic bool led; /* has a leader and serves; for status; any        */
	_Atomic uint64_t term_shown, leader_shown, leader_changes; /* any    */
	_Atomic int role_shown; /* enum store_role; any                      */

	/* requests: request.c, reads: barrier.c */
	struct request_list waiting; /* undecided                            */
	struct request_list decided; /* wait until their entry is applied    */
	uint64_t blocked_to; /* decide nothing before that is applied        */
	struct read_batch *reads, *reads_open;
	atomic_bool reading;   /* a read index is asked for; any          */
	atomic_bool gathering; /* what was decided last is under way; any */

	uint64_t last_stamp_ns; /* of the entry at last_index                */
	_Atomic uint64_t clock_offset_ns; /* log clock - boot clock; any     */
	_Atomic uint64_t keys_shown;	  /* of users, for status; any       */
	struct pending pending;
	uint64_t expiry_ns; /* the next; UINT64_MAX: none                    */
	struct staging *stagings;
};

/* Memory of the records of one entry while it is put together. */
struct scratch_block {
	struct scratch_block *next;
	size_t used, cap;
	uint8_t p[];
};

struct scratch {
	struct scratch_block *blocks;
};

struct entry_builder {
	struct engine_record *records;
	uint32_t count, cap;
	uint64_t bytes;
	uint64_t mtime_ns; /* 0: not asked for yet                           */
	struct scratch scratch;
};

struct groups;
struct watch_hub;
struct members;
struct reports;
struct observing;

struct store {
	struct store_options o;
	struct engine *engine;
	struct partition *partitions;
	uint32_t partition_count;
	uint64_t self_id;
	uint16_t *slots; /* RING_SLOTS of them; NULL: one partition. Const   */

	_Atomic(struct store_queued *) queue; /* newest first; any         */
	_Atomic(struct store_barrier *) barriers; /* newest first; any       */
	_Atomic uint64_t queue_count; /* any                       */
	atomic_bool asleep;	      /* any                       */
	atomic_bool go_wanted;	      /* any: store_go has to wake */
	atomic_bool started, closing; /* any                       */

	bool begun;	  /* groups exist                                    */
	bool dead;	  /* the log is poisoned                             */
	bool sync_wanted; /* the open batch has something to wait for        */
	bool retry;	  /* no memory or space for something: soon again    */
	uint64_t batch_bytes;
	struct entry_builder entry;
	uint64_t expiry_looked_ns, staging_looked_ns, last_batch_ns;
	bool idle_told;

	/* partitions that have something to do */
	struct partition **active;
	uint32_t active_count;
	bool ticking; /* some group needs ticks                              */
	uint64_t tick_ns, next_tick_ns; /* monotonic clock                   */
	struct groups *groups;
	struct forward *forward;
	struct store_queued *forwarding; /* of another node, being decided  */

	struct watch_hub *hub;
	struct state_sending *sending;	   /* state_send.c */
	struct state_receiving *receiving; /* state_recv.c */
	struct repair *repair;		   /* repair.c */
	struct observing *observing;	   /* observer.h */
	_Atomic uint64_t max_value_bytes;  /* any                             */
	struct members *members; /* store/members.h                          */
	struct tokens *tokens;	 /* store/tokens.h                           */
	struct reports *reports; /* store/reports.h                          */

	/* statistics; written by core unless noted, read by any */
	_Atomic uint64_t writes, write_batches, refusals, expired;
	_Atomic uint64_t uploads;      /* any */
	_Atomic uint64_t uploads_open; /* any */
	_Atomic uint64_t messages_sent, messages_received;
	_Atomic uint64_t messages_lost, messages_malformed;
	_Atomic uint64_t repairs_asked, repairs_healed, repairs_failed;
	_Atomic uint64_t commit_count, commit_ns_total;
	_Atomic uint64_t commit_buckets[STORE_BUCKETS];
	_Atomic uint64_t sync_buckets[STORE_BUCKETS];
};

/* ------------------------------------------------------------- queue ----- */

/*
 * Hand a request to the core thread. ERR_STARTING, ERR_CLOSED, ERR_FULL: it
 * was not taken. Thread: any.
 */
MUST_CHECK enum err queue_push(struct store *s, struct store_queued *q,
			       enum request_kind kind);

/* The core thread may sleep: wake it. Thread: any. */
void queue_wake(struct store *s);

/* The same at once, or when store_go is called. Thread: any. */
void queue_wake_for(struct store *s, bool gather);

/* Take everything that waits, oldest first, to the end of l. */
void queue_take(struct store *s, struct request_list *l);

/* True: nothing was pushed since it was taken. */
bool queue_is_empty(struct store *s);

/* Make l empty; add at its end; take from its head (NULL: empty). */
void list_init(struct request_list *l);
void list_add(struct request_list *l, struct store_queued *q);
struct store_queued *list_take(struct request_list *l);

/* ------------------------------------------------------------- entry ----- */

/* The wall clock of the entry that is made: the same to its end. */
uint64_t entry_mtime(struct store *s);

/* Begin an entry; the memory of the one before is used again. */
void entry_begin(struct entry_builder *b);

/* Release that memory. */
void entry_done(struct entry_builder *b);

/* A zeroed record to fill, or NULL: no memory. Valid until the next one. */
struct engine_record *entry_record(struct entry_builder *b);

/* n bytes that live as long as the entry, or NULL. */
uint8_t *entry_room(struct entry_builder *b, size_t n);

/* Records of a content; each ERR_NOMEM. */
MUST_CHECK enum err entry_chunks(struct entry_builder *b, uint64_t content_id,
				 uint32_t first, struct bytes data);
MUST_CHECK enum err entry_drop_content(struct entry_builder *b,
				       uint64_t content_id);
MUST_CHECK enum err entry_marker(struct entry_builder *b, uint64_t content_id,
				 bool put);

/*
 * Append the entry that s->entry holds to partition p, which this node leads
 * (group_propose). OK: the pending changes are kept; otherwise they are taken
 * back. ERR_IO: the log is poisoned. Others: nothing was appended.
 */
MUST_CHECK enum err entry_append(struct store *s, struct partition *p,
				 uint64_t *index);

/*
 * Put the entry that s->entry holds at index of p's log. Raft says which index
 * and term, and is told by the caller. Errors as engine_append.
 */
MUST_CHECK enum err entry_append_at(struct store *s, struct partition *p,
				    uint64_t index, uint64_t term);

/*
 * Append an entry that the leader sent, as index of p, in place of what may
 * stand there. Errors as engine_append.
 */
MUST_CHECK enum err entry_take_over(struct store *s, struct partition *p,
				    uint64_t index,
				    const struct engine_entry *from);

/* ---------------------------------------------------------- requests ----- */

/*
 * A request for partition q->partition that did not come through the queue:
 * decided here like any other, or, with no_forward, completed with
 * ERR_NO_LEADER where this node cannot. kind and since_ns are set.
 */
void core_submit(struct store *s, struct store_queued *q);

/* q is over. err: what became of it, unless the request itself says more. */
void request_complete(struct store *s, struct store_queued *q, enum err err);

/* What q is over with is applied: complete it, unless an observer holds it. */
void request_settled(struct store *s, struct store_queued *q);

/* Route what came through the queue to its partition. */
void requests_take(struct store *s);

/* Decide what waits in the active partitions. ERR_IO as decide_write. */
MUST_CHECK enum err requests_decide(struct store *s);

/* True: requests wait in p that could be decided at once. */
bool requests_are_due(struct partition *p);

/* More of p is applied: complete what waited for it. */
void requests_applied(struct store *s, struct partition *p);

/* This node no longer leads p: what it refused is to be decided anew. */
void requests_leave_office(struct store *s, struct partition *p);

/* Give up what waited too long. Now and then. */
void requests_expire(struct store *s, struct partition *p);

/* The store ends: all that is undecided gets ERR_CLOSED, the rest unknown. */
void requests_stop(struct store *s);

/* ------------------------------------------------------------- parts ----- */

/*
 * Decide one write and append what it changes. OK: decided, w->err and the
 * rest are set, it is answered once committed. ERR_PENDING: it needs bytes
 * that are not applied yet; nothing was done, ask again after the settle.
 * ERR_IO: the log is poisoned; w is not decided.
 */
MUST_CHECK enum err decide_write(struct store *s, struct store_write *w);

/* As store_write, without handing it in; sets w->queued.partition. */
MUST_CHECK enum err write_check(struct store *s, struct store_write *w);

/* The results of w are fresh memory of the caller: make them empty. */
void results_clear(struct store_write *w);
/* Release what the GETs of w found, and make them empty. */
void results_drop(struct store_write *w);

/* A prefix deletion's share in w's partition. Errors as decide_write. */
MUST_CHECK enum err decide_delete_prefix(struct store *s,
					 struct store_write *w);

/*
 * The content id that the record of key, as the view knows it, names.
 * ERR_CORRUPT, ERR_IO, ERR_NOMEM: it cannot be read.
 */
MUST_CHECK enum err content_id_of(struct store *s, struct partition *p,
				  struct bytes key,
				  const struct key_state *state, uint64_t *id);

/* Stage what the upload holds, or collect an abandoned one; as decide_write. */
MUST_CHECK enum err upload_stage(struct store *s, struct store_upload *u);
MUST_CHECK enum err upload_abandon(struct store *s, struct store_upload *u);

/* The upload that was queued as q. */
struct store_upload *upload_of(struct store_queued *q);

/*
 * The request of u that was under way is over with err: the next piece goes in,
 * or u->done is called; an abandoned upload is released.
 */
void upload_complete(struct store_upload *u, enum err err);

/* The error that has ended u for good; OK: none. Thread: any. */
enum err upload_outcome(const struct store_upload *u);

/* Add the records that make u the value of key; *state is what key becomes. */
MUST_CHECK enum err upload_commit_records(struct store *s, struct partition *p,
					  struct store_upload *u,
					  struct engine_record *put,
					  struct pending_state *state);

/* The entry with those records was appended: u's content is staged no more. */
void upload_committed(struct partition *p, struct store_upload *u);

/* The write that names u was completed with err. */
void upload_commit_over(struct store_upload *u, enum err err);

/* The key that u was begun for, valid as long as u; is it an upload of s? */
struct bytes upload_key(const struct store_upload *u);
bool upload_is_of(const struct store_upload *u, const struct store *s);

/* Learn what was left staged. At start. ERR_NOMEM, ERR_IO, ERR_CORRUPT. */
MUST_CHECK enum err staging_load(struct store *s, struct partition *p);

/* Forget it. */
void staging_free_all(struct partition *p);

/* Collect what was idle too long. ERR_IO as decide_write. */
MUST_CHECK enum err staging_collect(struct store *s);

/* Milliseconds until there may be something to collect; UINT64_MAX: none. */
uint64_t staging_wait_ms(struct store *s);

/* Log clock of p now. Thread: any. */
uint64_t log_clock_ns(struct store *s, const struct partition *p);
/* A stamp for the next entry: the log clock, above the last one's stamp. */
uint64_t log_clock_stamp(struct store *s, struct partition *p);
/* The log of p ends at last_index again: what stood behind it is gone. */
void log_clock_cut(struct store *s, struct partition *p);
/* An entry with that stamp was applied here: p's log clock follows it. */
void log_clock_follow(struct store *s, struct partition *p, uint64_t stamp_ns);
/* Expire what is due. ERR_IO as decide_write. */
MUST_CHECK enum err expire_due(struct store *s);

/* Milliseconds until there may be something due; UINT64_MAX: nothing is. */
uint64_t expire_wait_ms(struct store *s);

/*
 * Load the slot table; ERR_NOT_FOUND: there is none yet. OK with one
 * partition.
 */
MUST_CHECK enum err ring_read(struct store *s);
/* Add the record of a new table to s->entry, unless there is one. ERR_NOMEM. */
MUST_CHECK enum err ring_found(struct store *s);

/* What status shows of p's role has changed. */
void status_publish(struct partition *p);

/* All keys of users in p, counted anew for status. At start, after installs. */
void count_keys(struct store *s, struct partition *p);

/* The value that bytes p..n make, as if read from the store (copied). */
MUST_CHECK enum err value_of_bytes(struct bytes data, uint64_t rev,
				   struct store_value **v);

/* store_get without the key check. */
MUST_CHECK enum err value_get(struct store *s, uint32_t partition,
			      struct bytes key, struct store_value **v);

/* ------------------------------------------------------------- watch ----- */

/* The history and watches of s, empty. ERR_NOMEM. */
MUST_CHECK enum err watch_hub_new(struct store *s, struct watch_hub **hub);
/* The store stops: wake every watch; the memory goes with the last of them. */
void watch_hub_close(struct watch_hub *hub);
/*
 * A state of index was installed: nothing before it is known any more. Every
 * watch that could hear of partition ends with ERR_COMPACTED.
 */
void watch_hub_reset(struct watch_hub *hub, uint32_t partition, uint64_t index);
/*
 * Where the history begins: after what is applied now, of which event number
 * was the last (UINT32_MAX: it is not known). At start.
 */
void watch_hub_floor(struct watch_hub *hub, uint32_t partition, uint64_t index,
		     uint32_t number);
/* One applied change, told by engine_settle. */
void watch_publish(struct watch_hub *hub, const struct engine_applied *a);
/* Run the notifications that publishing made due. No lock held. */
void watch_notify(struct watch_hub *hub);

/* Watches that there are. Thread: any. */
uint64_t watch_count(struct watch_hub *hub);

/* A cursor that names the state now (or a little before it), as text. */
MUST_CHECK enum err watch_cursor_now(struct store *s, struct buf *text);

static inline struct view view_of(struct store *s, struct partition *p)
{
	return (struct view){ .engine = s->engine,
			      .pending = &p->pending,
			      .partition = p->id,
			      .partitions = s->partition_count };
}

static inline struct store_write *write_of(const struct store_queued *q)
{
	return (struct store_write *)((uintptr_t)q -
				      offsetof(struct store_write, queued));
}

static inline struct store_change *change_of(const struct store_queued *q)
{
	return (struct store_change *)((uintptr_t)q -
				       offsetof(struct store_change, queued));
}

static inline void count_up(_Atomic uint64_t *counter, uint64_t by)
{
	atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

static inline uint64_t count_of(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)counter,
				    memory_order_relaxed);
}

#endif
