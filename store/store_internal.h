/*
 * store/store_internal.h - what the files of store/ share.
 *
 * Fields without a note belong to the core thread. Lock order: key directory
 * (inside the engine) before the watch hub's lock.
 */
#ifndef STORE_STORE_INTERNAL_H
#define STORE_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/engine.h"
#include "store/pending.h"
#include "store/store.h"
#include "store/view.h"

enum { RING_SLOTS = 1 << 16 };

enum request_kind {
	REQUEST_WRITE,	 /* struct store_write                               */
	REQUEST_STAGE,	 /* struct store_upload: a piece to be staged        */
	REQUEST_ABANDON, /* struct store_upload: closed without a commit     */
};

/* A first-in first-out list of requests. */
struct request_list {
	struct store_queued *head, **tail;
};

/* A staging of chunks that no key names yet. */
struct staging {
	struct staging *next;
	struct store_upload *owner; /* NULL after a restart                  */
	uint64_t content_id;
	uint64_t active_ns; /* log clock of its last change                  */
};

struct partition {
	uint16_t id;
	bool touched; /* has entries to be settled                           */
	bool expiry_known;
	uint64_t term;
	uint64_t last_index, committed_index;
	uint64_t saved_commit, saved_at_ns; /* as the hard state holds it    */
	uint64_t last_stamp_ns;
	_Atomic uint64_t clock_offset_ns; /* log clock - boot clock; any     */
	_Atomic uint64_t committed_shown; /* for status; any                 */
	_Atomic uint64_t keys_shown;	  /* of users, for status; any       */
	struct pending pending;
	uint64_t expiry_ns; /* the next; UINT64_MAX: none                    */
	struct staging *stagings;
	struct raft *raft;
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
	struct scratch scratch;
};

struct watch_hub;
struct members;

struct store {
	struct store_options o;
	struct engine *engine;
	struct partition *partitions;
	uint32_t partition_count;
	uint16_t *slots; /* RING_SLOTS of them; NULL: one partition. Const   */

	_Atomic(struct store_queued *) queue; /* newest first; any           */
	_Atomic uint64_t queue_count;	      /* any                         */
	atomic_bool asleep;		      /* any                         */
	atomic_bool started, closing;	      /* any                         */

	struct request_list waiting; /* taken from the queue, undecided      */
	struct request_list decided; /* wait for commit and settle           */
	bool appended;		     /* the open batch has something         */
	bool dead;		     /* the log is poisoned                  */
	uint64_t batch_bytes;
	struct entry_builder entry;
	uint64_t expiry_looked_ns, staging_looked_ns, last_batch_ns;
	bool idle_told;

	struct watch_hub *hub;
	struct state_sending *sending;	   /* state_send.c */
	struct state_receiving *receiving; /* state_recv.c */
	struct repair *repair;		   /* repair.c */
	struct members *members; /* store/members.h                          */

	/* statistics; written by core unless noted, read by any */
	_Atomic uint64_t writes, write_batches, refusals, expired;
	_Atomic uint64_t uploads; /* any */
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

/* Move everything that waits to s->waiting, oldest first. */
void queue_take(struct store *s);

/* True: nothing was pushed since queue_take. */
bool queue_is_empty(struct store *s);

/* Make l empty; add at its end; take from its head (NULL: empty). */
void list_init(struct request_list *l);
void list_add(struct request_list *l, struct store_queued *q);
struct store_queued *list_take(struct request_list *l);

/* ------------------------------------------------------------- entry ----- */

/* Begin an entry; the memory of the one before is used again. */
void entry_begin(struct entry_builder *b);
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
 * Append the entry that s->entry holds to partition p. OK: the pending
 * changes are kept; otherwise they are taken back. ERR_IO: the log is
 * poisoned. Others: nothing was appended.
 */
MUST_CHECK enum err entry_append(struct store *s, struct partition *p,
				 uint64_t *index);

/* ------------------------------------------------------------- parts ----- */

/*
 * Decide one write and append what it changes. OK: decided, w->err and the
 * rest are set, it is answered once committed. ERR_PENDING: it needs bytes
 * that are not applied yet; nothing was done, ask again after the settle.
 * ERR_IO: the log is poisoned; w is not decided.
 */
MUST_CHECK enum err decide_write(struct store *s, struct store_write *w);

/* decide.c's share in prefix deletions. Errors as decide_write. */
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
struct store_upload *upload_of(struct store_queued *q);
void upload_complete(struct store_upload *u, enum err err);
void upload_free(struct store_upload *u);
enum err upload_outcome(const struct store_upload *u);

/* Add the records that make u the value of key; *state is what key becomes. */
MUST_CHECK enum err upload_commit_records(struct store *s, struct partition *p,
					  struct store_upload *u,
					  struct engine_record *put,
					  struct pending_state *state);
void upload_committed(struct partition *p, struct store_upload *u);
struct bytes upload_key(const struct store_upload *u);
bool upload_is_of(const struct store_upload *u, const struct store *s);

/* Learn what was left staged. At start. ERR_NOMEM, ERR_IO, ERR_CORRUPT. */
MUST_CHECK enum err staging_load(struct store *s, struct partition *p);
void staging_free_all(struct partition *p);
/* Collect what was idle too long. ERR_IO as decide_write. */
MUST_CHECK enum err staging_collect(struct store *s);
uint64_t staging_wait_ms(struct store *s);

/* Log clock of p now. Thread: any. */
uint64_t log_clock_ns(struct store *s, const struct partition *p);
/* A stamp for the next entry: the log clock, above every stamp before. */
uint64_t log_clock_stamp(struct store *s, struct partition *p);
/* Expire what is due. ERR_IO as decide_write. */
MUST_CHECK enum err expire_due(struct store *s);
uint64_t expire_wait_ms(struct store *s);

/* Append an entry with the slot table, unless there is one. At start. */
MUST_CHECK enum err ring_make(struct store *s);
/* Load it; ERR_NOT_FOUND: there is none yet. OK with one partition. */
MUST_CHECK enum err ring_read(struct store *s);
/* Add the record of a new table to s->entry, unless there is one. ERR_NOMEM. */
MUST_CHECK enum err ring_found(struct store *s);
/* Which slot the top component of a key falls into. */
uint32_t ring_slot(struct bytes key);

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
/* Where the history begins: after what is applied now. At start. */
void watch_hub_floor(struct watch_hub *hub, uint32_t partition, uint64_t index);
/* One applied change, told by engine_settle. */
void watch_publish(struct watch_hub *hub, const struct engine_applied *a);
/* Run the notifications that publishing made due. No lock held. */
void watch_notify(struct watch_hub *hub);
uint64_t watch_count(struct watch_hub *hub);
/* A cursor that names the state now (or a little before it), as text. */
MUST_CHECK enum err watch_cursor_now(struct store *s, struct buf *text);

static inline struct view view_of(struct store *s, struct partition *p)
{
	return (struct view){ .engine = s->engine,
			      .pending = &p->pending,
			      .partition = p->id };
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
