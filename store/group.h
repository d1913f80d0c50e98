/*
 * store/group.h - the driver that joins one partition's raft and the engine.
 *
 * raft/ says what to send, persist and apply; engine/ has the bytes. A group
 * moves them in the order that raft/raft.h prescribes. All groups of the node
 * share one batch, one sync and one message per peer and round:
 *
 *   inputs      group_receive (peers), group_tick (clock), decide (clients)
 *   groups_send      readies taken; hard state and own entries appended;
 *                    messages into the outbox; outbox flushed
 *   engine_sync      one, only if some ready must have it
 *   groups_synced    after_msgs into the outbox, raft_persisted
 *   groups_apply     engine_settle, membership changes, raft_applied, waiters
 *                    completed, read grants served; until nothing is left
 *
 * The membership of the group is the value of the hidden key "\0g" (change and
 * result, store/wire.h), so it survives merges and travels in snapshots. A
 * group's founding entry (index 1, term 1, the same bytes on every founder)
 * puts it there; partition 0's also has the slot table and the member map.
 *
 * A leader decides requests only after it has applied the no-op of its term:
 * the overlay (store/pending.h) then holds nothing but its own entries. When
 * it steps down the overlay is emptied.
 *
 * Thread: core, unless a function says otherwise.
 */
#ifndef STORE_GROUP_H
#define STORE_GROUP_H

#include "store/store_internal.h"
#include "store/wire.h"

struct engine_install;

/* ------------------------------------------------------------ outbox ----- */

/*
 * Begin an item for node `to`: NULL: no memory, or the peer's share of this
 * round is full; the item is then lost, as on a lossy net. Append the body to
 * the buffer, then outbox_end; outbox_drop takes the item back.
 */
struct buf *outbox_begin(struct store *s, uint64_t to, enum item_kind kind,
			 uint16_t partition);
/* The item is complete; or take it back. */
void outbox_end(struct store *s);
void outbox_drop(struct store *s);
/* Hand what gathered for each peer to the net, as one message each. */
void outbox_flush(struct store *s);

/* ------------------------------------------------------------- groups ---- */

/* True: this node leads p and may decide requests now. */
bool group_can_decide(const struct partition *p);

/* Who leads p as far as is known; RAFT_NOBODY. */
uint64_t group_leader(const struct partition *p);

/*
 * The entry that s->entry holds becomes the next of p: index and term from
 * raft, appended to the log, told to raft, kept for sending to peers.
 * change: the membership change it carries, or NULL. Errors as entry_append;
 * ERR_NO_LEADER, ERR_BUSY, ERR_FULL as raft_proposable.
 */
MUST_CHECK enum err group_propose(struct store *s, struct partition *p,
				  const struct raft_change *change,
				  uint64_t *index);

/*
 * Somebody at that member waits for what p has committed: tell it in this
 * round, not with the next entries. Nothing where p is not led.
 */
void group_tell(struct partition *p, uint64_t member);

/*
 * A state for p arrived whole (store/state_recv.c): step raft, commit it. in is
 * freed. ERR_BUSY: room or memory is short; in is kept, the group stands still:
 * call again with the same arguments. ERR_IO: the log is poisoned.
 */
MUST_CHECK enum err group_install(struct store *s, struct partition *p,
				  uint64_t from, uint64_t term,
				  const struct raft_snapshot *snapshot,
				  struct engine_install *in);

/* A membership change became part of p's applied state (store/members.c). */
void members_changed(struct store *s, struct partition *p);

#endif
