/*
 * store/members.h - who belongs to the cluster, and making the groups follow.
 *
 * The member map is applied state of partition 0: hidden keys "\0m" id be64 ->
 * name, addresses, what is wanted of it (voter, learner, gone), and "\0n" ->
 * the next id. It is changed by requests like any other write. Each group's
 * leader compares its raft configuration with the map once in a while and
 * proposes the one change that is next: add a learner, promote a learner that
 * has caught up in this group, remove who is to go. A member's map entry is
 * deleted when no group has it any more; its id is never used again.
 *
 * The links follow the map (struct net.peer): partition 0's applied state on
 * every node, whatever it leads.
 * Thread: core, unless a function says otherwise.
 */
#ifndef STORE_MEMBERS_H
#define STORE_MEMBERS_H

#include "store/group.h"

/*
 * Add to s->entry what p's founding entry holds: the membership "\0g" of all
 * founders as voters; in partition 0 the member map and the slot table too.
 * Deterministic: the same bytes on every founder. ERR_NOMEM.
 */
MUST_CHECK enum err members_found(struct store *s, struct partition *p);

/* Read the map from partition 0 and tell the net. At start, after installs. */
MUST_CHECK enum err members_load(struct store *s);

/* Decide a struct store_change; as decide_write (store_internal.h). */
MUST_CHECK enum err decide_change(struct store *s, struct store_change *c);

/* Once a round: reconcile groups that this node leads. ERR_IO as decide. */
MUST_CHECK enum err members_round(struct store *s);
/* Until members_round has something to do; UINT64_MAX: nothing known. */
uint64_t members_wait_ms(struct store *s);

/* The member with that id or name, or NULL. Valid until the map changes. */
const struct store_member *member_by_id(struct store *s, uint64_t id);
const struct store_member *member_by_name(struct store *s, const char *name);

/* Free what the map took. NULL maps are fine. */
void members_stop(struct store *s);

#endif
