/*
 * store/forward.h - requests that this node cannot decide go to who can.
 *
 * Every request (a write, a file operation, a piece of an upload, a membership
 * change) has a form on the wire. The leader runs it like one of its own and
 * sends the result back; the asking node answers its client when it has itself
 * applied the index of the result.
 *
 * EXACTLY ONCE (Ongaro's thesis 6.3). A forwarded request carries (node id,
 * incarnation, sequence) and the term of the leader that it is for; only that
 * leader in that term decides it. The entry that it becomes also puts the
 * hidden key
 *
 *    "\0f" node be64, slot be16  ->  incarnation, sequence, result
 *
 * slot = sequence mod FORWARD_WINDOW. Thus the window is part of the state: in
 * snapshots, in merges, on whoever leads next. A copy of a request that is
 * found there gets the stored result and is not run again; one whose slot holds
 * a higher sequence is below the window and refused. A node has at most
 * FORWARD_WINDOW requests under way, so that is never one that it waits for.
 * A removed member's keys are deleted with it. An incarnation is a random
 * number, drawn when the store starts: requests of an earlier one nobody waits
 * for, and the term they are for runs out.
 *
 * Refusals are not in the log (store/forward_leader.c says why that is right).
 *
 * Retries: the asking node sends again when the leader changes and after a
 * time; it gives up at the request's deadline with ERR_UNKNOWN if a copy may
 * have been decided, else ERR_NO_LEADER.
 *
 * Thread: core.
 */
#ifndef STORE_FORWARD_H
#define STORE_FORWARD_H

#include "store/group.h"

enum { FORWARD_WINDOW = 4096 };

/* Memory for both sides. ERR_NOMEM. */
MUST_CHECK enum err forward_new(struct store *s);
/* After forward_stop, and after all that came from other nodes is over. */
void forward_free(struct store *s);

/*
 * This node cannot decide q, which is one of its own clients' (no_forward is
 * false): it goes to who can, now or when there is one. From here it is this
 * file's until request_complete, or until core_submit, when this node leads.
 */
void forward_submit(struct store *s, struct store_queued *q);

/* An ITEM_REQUEST from node from: decide it here, or say that we cannot. */
void forward_receive(struct store *s, uint64_t from, const struct item *item);

/* An ITEM_ANSWER. */
void forward_answered(struct store *s, uint64_t from, const struct item *item);

/*
 * Directly before a request with no_forward is decided. False: it must not be:
 * it is not for this term, or the state has its result already. Complete it
 * with *err.
 */
bool forward_may_decide(struct store *s, struct store_queued *q, enum err *err);

/*
 * Add to s->entry, the first entry of the request s->forwarding, the record of
 * the window, and forget s->forwarding. ERR_NOMEM; ERR_TOO_LARGE: more bytes
 * were read than an answer may have. The entry must then not be appended.
 */
MUST_CHECK enum err forward_record(struct store *s, struct partition *p);

/* The node whose request is being decided: this one or who forwarded it. */
uint64_t forward_asker(struct store *s);

/*
 * A leader, a term or a link changed: look at everything in the next round.
 * lost: a link was made, what was sent before may be lost.
 */
void forward_wake(struct store *s, bool lost);

/*
 * The entry at index of p, applied just now, dropped what the state knew of
 * this node's requests. A second copy of one that was decided before would be
 * decided again.
 */
void forward_dropped(struct store *s, struct partition *p, uint64_t index);

/* Once a round, after requests were completed: send again, complete, give up. */
void forward_round(struct store *s);
/* Until forward_round has something to do; UINT64_MAX: nothing under way. */
uint64_t forward_wait_ms(struct store *s);

/* The store stops: every request under way elsewhere is completed. */
void forward_stop(struct store *s);

#endif
