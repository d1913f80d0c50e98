/*
 * store/state.h - a partition's state on its way between nodes.
 *
 * SNAPSHOTS. When raft wants to send one (its view asks state_offer, then a
 * SNAPSHOT message comes out), the sender pins an exact picture of the
 * partition at its applied index C (engine_snapshot_open_partition) together
 * with the membership at C. The mover reads it and cuts it into numbered,
 * checksummed chunks; a few are under way at a time, the receiver acknowledges
 * what its mover has taken. A receiver that was interrupted asks for the chunk
 * that it lacks; a sender that no longer has the picture says so and raft
 * starts again. Writes go on meanwhile at both ends. The receiver builds the
 * state beside its own (engine_install_*) and puts it in force in one step.
 *
 * DAMAGE. What a read, a merge, a scan or the recovery found damaged is fetched
 * from a peer: an entry by (partition, index, term), a record by (partition,
 * key, version). A peer answers only from bytes that it has verified. Until
 * all is back the group does not campaign and is not counted as persisted
 * (raft_set_missing).
 *
 * The core's share never blocks on a disk; the mover's (store_move) may. They
 * meet in bounded queues under one lock each.
 * Thread: core, unless a function says otherwise.
 */
#ifndef STORE_STATE_H
#define STORE_STATE_H

#include "store/group.h"

/* ---------------------------------------------------------- sending ------ */

/*
 * raft_log_view.snapshot: the newest picture of p that can be sent now: one
 * that is held already if it still fits, else a new one. ERR_BUSY: not now.
 */
MUST_CHECK enum err state_offer(struct store *s, struct partition *p,
				struct raft_snapshot *snapshot);

/* raft's SNAPSHOT message m came out of a ready: begin to stream to m->to. */
void state_send(struct store *s, struct partition *p, const struct raft_msg *m);

/* Bytes sent so far of the states that are on their way to id; 0: none is. */
uint64_t state_sent_bytes(struct store *s, uint64_t id);

/* An ITEM_STATE_REPLY from a receiver. */
void state_replied(struct store *s, uint64_t from, const struct item *item);

/* -------------------------------------------------------- receiving ------ */

/* An ITEM_STATE. The last one ends in group_install, in a later round. */
void state_receive(struct store *s, uint64_t from, const struct item *item);

/* ----------------------------------------------------------- damage ------ */

/*
 * The entry at index, in the log of p, was found damaged when it was read for
 * a peer: fetch it. What is not settled yet is found without being told.
 */
void repair_want(struct store *s, struct partition *p, uint64_t index);

/*
 * Of the entries from..to of p, those before the first that is damaged here
 * and that no peer could help with: where they end. from - 1: there are none.
 */
uint64_t repair_readable_to(const struct store *s, const struct partition *p,
			    uint64_t from, uint64_t to);

/* An ITEM_FETCH, an ITEM_FETCHED. */
void repair_asked(struct store *s, uint64_t from, const struct item *item);
void repair_answered(struct store *s, uint64_t from, const struct item *item);

/* --------------------------------------------------------- all of it ----- */

/* Before any of the above. ERR_NOMEM: nothing is held. */
MUST_CHECK enum err state_start(struct store *s);
MUST_CHECK enum err repair_start(struct store *s);

/*
 * Once a round, outside of raft's calls: send what the mover read, install
 * what it built, time out. ERR_IO: stop the node.
 */
MUST_CHECK enum err state_round(struct store *s);
MUST_CHECK enum err repair_round(struct store *s);
/* Until a round is due; the mover wakes the core (store_options.wake) too. */
uint64_t state_wait_ms(struct store *s);
uint64_t repair_wait_ms(struct store *s);

/* The mover's share, of which store_move is made; true: there was something
 * to do. Thread: mover. */
bool state_send_move(struct store *s);
bool state_recv_move(struct store *s);

/* The store stops. The mover is not inside and will not be. Also before
 * a start. */
void state_stop(struct store *s);
void repair_stop(struct store *s);

#endif
