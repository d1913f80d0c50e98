/*
 * store/group_internal.h - what group*.c, outbox.c, barrier.c, request.c and
 * core.c share: the driver's own side of store/group.h.
 *
 *   core.c         the round
 *   request.c      writes: which wait, which are decided, which are over
 *   barrier.c      reads: read indices, the lease
 *   group.c        readies: messages, disk, applying
 *   group_time.c   ticks, hand-over, what waits too long
 *   group_start.c  founding, starting and ending of groups
 *   group_install.c  a whole state arrives
 *   group_peer.c   raft's messages from and to other nodes
 *   group_log.c    what raft sees of the log; entries kept for sending
 *   group_trace.c  log lines
 *   outbox.c       one message per peer
 *
 * Thread: core, unless a function says otherwise.
 */
#ifndef STORE_GROUP_INTERNAL_H
#define STORE_GROUP_INTERNAL_H

#include "engine/replica.h"
#include "store/group.h"
#include "store/members.h"
#include "store/state.h"

enum { OUTBOX_SPARES_MAX = RAFT_MEMBERS_MAX };

struct outbox_peer {
	uint64_t id;
	struct buf buf; /* items that wait; no memory without any            */
};

/* A membership change that was settled and is to be told to raft. */
struct applied_change {
	uint64_t index;
	struct raft_change change;
};

/* Where an encoded entry lies in the ring of struct entry_cache. */
struct cache_slot {
	uint64_t index; /* 0: none */
	uint64_t at;	/* offset that only grows */
	uint32_t bytes;
};

struct entry_cache {
	uint8_t *ring; /* NULL: nobody to send to yet */
	uint64_t tail; /* ever written */
	struct buf entry;
};

/* Of all groups together. */
struct groups {
	struct outbox_peer *peers;
	uint32_t peer_count;
	struct buf
		outbox_spares[OUTBOX_SPARES_MAX]; /* empty, but for memory  */
	uint32_t outbox_spare_count;
	struct outbox_peer *open; /* of the item that was begun              */
	size_t open_at;
	struct entry_cache cache;
	struct engine_log_entry log_entry;
	struct wire_entry wire_entry;
	uint64_t *terms;    /* of the entries of an append that arrived      */
	uint32_t *offsets;  /* and where each begins                         */
	uint32_t entry_cap; /* of the two above                              */
	struct applied_change *changes;
	uint32_t change_count, change_cap;
	uint64_t stamp_ns; /* of the record applied last                     */
	uint64_t tell_ns;  /* when groups_tell has something to do, or 0     */
	uint64_t context;  /* of reads; begins at random                     */
	struct read_batch *spare;
	struct store_barrier *all_next; /* wait for all partitions           */
	struct read_all *all;		/* of these, those that were asked   */
	uint32_t spare_count;
	uint32_t slow_syncs;
	uint64_t ticks;
	uint32_t hand_over_ticks; /* left of handing leaderships over         */
	bool failed; /* the log is poisoned                                  */
};

/* --------------------------------------------------------- life ---------- */

/* Memory for the groups, none of them alive. ERR_NOMEM. */
MUST_CHECK enum err groups_new(struct store *s);
/* All of it goes. */
void groups_free(struct store *s);

/*
 * Found what an empty directory is to hold, make each partition's raft from
 * what the log has; groups of one elect themselves. ERR_IO, ERR_CORRUPT,
 * ERR_NOMEM: the store cannot start.
 */
MUST_CHECK enum err groups_start(struct store *s);

/* ------------------------------------------------------- the round ------- */

/*
 * A membership change is about to stand at index `before` of p's log: put the
 * commit index, below that, into the log first. Errors as
 * engine_set_hard_state; the change must not be appended then.
 */
MUST_CHECK enum err group_save_commit(struct partition *p, uint64_t before);

/* p has something to do. */
void group_touch(struct partition *p);

/* Raft may be given an input now, and was told of all that was appended. */
bool group_open(struct partition *p);
/* Take the ready that is due: messages go into the outbox, the rest waits. */
void group_take_ready(struct partition *p);
/* After each input. */
void group_fed(struct partition *p);

/*
 * A commit index goes with the next entries; where none have followed for a
 * moment groups_tell sends it by itself. group_note_untold: after each round.
 */
void groups_tell(struct store *s);
void group_note_untold(struct partition *p);

/* p has something to do that it can do, or that holds it up. */
bool group_has_work(struct partition *p);
/* Held up until something else happens: memory, space, bytes from a peer. */
bool group_is_stuck(const struct partition *p);

/* More waits to be committed than is good; decide no more for now. */
bool group_is_full(struct partition *p);

/* Time passes: heartbeats, elections, everything that waits too long. */
void groups_tick(struct store *s);
uint64_t groups_wait_ms(struct store *s);

/*
 * Send, sync, apply until no group has anything to do, or for so long.
 * ERR_IO: the log is poisoned.
 */
MUST_CHECK enum err groups_run(struct store *s);

/* Ticks are needed from now on, if they were not before. */
void groups_watch_time(struct store *s);

/* True: p has members beside this node. */
bool group_has_others(const struct partition *p);

/* p is broken: serve nothing of it from here. */
void group_break(struct partition *p);

/* -------------------------------------------------------- the log -------- */

/* What raft may see of p's log. */
struct raft_log_view group_log_view(struct partition *p);

/* The entry just appended to p, kept encoded if there is someone to send to. */
void cache_put(struct store *s, struct partition *p,
	       const struct engine_entry *entry);

/* None of p's entries is kept any more. */
void cache_forget(struct partition *p);

/* Append entry index of p as it goes over the wire to b. */
MUST_CHECK enum err cache_encode(struct store *s, struct partition *p,
				 uint64_t index, struct buf *b);

/* ------------------------------------------------------ messages --------- */

/* An ITEM_RAFT from node from. ERR_INVALID: malformed. ERR_IO: poisoned. */
MUST_CHECK enum err group_receive(struct store *s, uint64_t from,
				  const struct item *item);

/* A message of a ready into the outbox. */
void group_send(struct partition *p, const struct raft_msg *m);

/* raft_config.trace; ctx is the partition. */
void group_trace(void *ctx, const struct raft *r, const struct raft_event *e);

/* Free the outbox. */
void outbox_free(struct store *s);

/* --------------------------------------------------------- reads --------- */

/* Spread the barriers that came over the partitions they are for. */
void reads_take(struct store *s);
/* Ask raft for what was gathered for p, unless a question is under way. */
void reads_ask(struct partition *p);
/* q appended nothing; answer it when that is sure to have been right. */
void reads_add_refusal(struct store *s, struct partition *p,
		       struct store_queued *q);
/* A grant came; leader or role changed; more is applied. */
void reads_granted(struct partition *p, uint64_t context, uint64_t index);
void reads_ask_again(struct partition *p);
void reads_applied(struct store *s, struct partition *p);
/* This node no longer leads p: refusals are void. */
void reads_leave_office(struct store *s, struct partition *p);
/* Give up what waited too long, repeat what may be lost. Now and then. */
void reads_expire(struct store *s, struct partition *p);
/* True: something waits in p. */
bool reads_wait(const struct partition *p);
/* True: a batch of p gathers that could be asked at once. */
bool reads_are_due(const struct partition *p);
/* Everything that waits gets err. */
void reads_stop(struct store *s, enum err err);
/* Free what was kept for reuse. */
void reads_free(struct store *s);
/* q was decided, which counts for nothing: where it is decided again. */
void request_again(struct store *s, struct store_queued *q);
/* Publish what reads of p may do at once. */
void reads_publish(struct partition *p);

/* Which of STORE_BUCKETS so many nanoseconds belong to. */
static inline uint32_t time_bucket(uint64_t ns)
{
	uint64_t us = ns / 1000;
	uint32_t bucket = us ? 64 - (uint32_t)__builtin_clzll(us) : 0;

	return bucket < STORE_BUCKETS ? bucket : STORE_BUCKETS - 1;
}

#endif
