/*
 * store/forward.h - requests that this node cannot decide go to who can.
 *
 * Every request (a write, a piece of an upload, a membership change, a hand-
 * over) has a form on the wire. The leader runs it like one of its own and
 * sends the result back; the asking node answers its client when it has itself
 * applied the index of the result.
 *
 * EXACTLY ONCE (Ongaro's thesis 6.3). A forwarded request carries (node id,
 * incarnation, sequence). The entry that it becomes also puts the hidden key
 *
 *    "\0f" node be64, slot be16  ->  incarnation, sequence, result
 *
 * slot = sequence mod FORWARD_WINDOW. Thus the window is part of the state: in
 * snapshots, in merges, on whoever leads next. A request that is found there,
 * applied or pending, gets the stored result and is not run again; one whose
 * slot holds a higher sequence of the same incarnation, or any of a later
 * incarnation, is below the window and refused (ERR_UNKNOWN). A removed
 * member's keys are deleted with it. An incarnation is a random number above
 * the last one, drawn when the store starts.
 *
 * Retries: the asking node sends again when the leader changes and after a
 * time; it gives up at the request's deadline with ERR_UNKNOWN if it was ever
 * sent, else ERR_NO_LEADER. The same numbering protects a leader's own clients:
 * what it had appended when it lost its office is answered from the log, by
 * whether the entry at that index is still of that term.
 *
 * Thread: core.
 */
#ifndef STORE_FORWARD_H
#define STORE_FORWARD_H

#include "store/group.h"

enum { FORWARD_WINDOW = 4096 };

/* Send q, which this node cannot decide, to leader; it is this file's now. */
void forward_submit(struct store *s, struct store_queued *q);

/* An ITEM_REQUEST from node from: decide it here, or say who leads. */
void forward_receive(struct store *s, uint64_t from, const struct item *item);

/* An ITEM_ANSWER. */
void forward_answered(struct store *s, uint64_t from, const struct item *item);

/* Leaders or links changed, or time passed: send again, give up. */
void forward_round(struct store *s);
uint64_t forward_wait_ms(struct store *s);

/* The store stops: every forwarded request is completed. */
void forward_stop(struct store *s);

#endif
