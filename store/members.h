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

/* Room for the map. ERR_NOMEM. */
MUST_CHECK enum err members_new(struct store *s);
/* Free it. A store without one is fine. */
void members_free(struct store *s);

/*
 * Add to s->entry what p's founding entry holds: the membership "\0g" of all
 * founders (store_options.members; without any: this node alone) as voters; in
 * partition 0 the member map and the slot table too. Also for a partition of
 * the time before there were memberships, which has none of it. Deterministic:
 * the same bytes on every founder. ERR_NOMEM, ERR_FULL.
 */
MUST_CHECK enum err members_found(struct store *s, struct partition *p);

/*
 * Add to s->entry the record "\0g" that goes with a change of p's membership:
 * change, and what the membership in force becomes by it. Raft's own entry that
 * leaves a joint configuration carries the empty change. ERR_NOMEM;
 * ERR_INVALID, ERR_FULL: as raft_conf_change.
 */
MUST_CHECK enum err members_conf_record(struct store *s, struct partition *p,
					const struct raft_conf *conf,
					const struct raft_change *change);

/* p's applied membership. ERR_NOT_FOUND: none yet. ERR_CORRUPT, ERR_IO. */
MUST_CHECK enum err members_conf_load(struct store *s, struct partition *p,
				      struct raft_conf *conf);

/*
 * Read the map, and the slot table if that is not known yet, from partition 0
 * and tell the net. At start, after installs. Without a map yet the members of
 * the options stand for it. A damaged record is left out and asked for again
 * later. ERR_IO, ERR_NOMEM, ERR_CORRUPT (the slot table).
 */
MUST_CHECK enum err members_load(struct store *s);

/* A record of partition 0 was applied: if it is of the map, note that. */
void members_applied(struct store *s, const struct engine_applied *a);

/*
 * Is c well formed? What store_change asks before it queues c, and what is
 * asked of one that another node sent. ERR_INVALID, ERR_PERMISSION.
 */
MUST_CHECK enum err change_check(const struct store *s,
				 const struct store_change *c);

/* Decide a struct store_change; as decide_write (store_internal.h). */
MUST_CHECK enum err decide_change(struct store *s, struct store_change *c);

/*
 * Take over a STORE_TRANSFER, on whatever node it was asked: each group's raft
 * is told, which passes it on to the leader; it is completed when the member
 * leads all groups or time is up.
 */
void members_transfer(struct store *s, struct store_change *c);

/*
 * Once a round: as partition 0's leader tell the others how far each member is,
 * about once a second, for whoever asks one of them.
 */
void members_tell(struct store *s);

/* An ITEM_PROGRESS. */
void members_told(struct store *s, uint64_t from, const struct item *item);

/* A message from node id arrived. */
void members_heard(struct store *s, uint64_t id);

/* The name of id, or "", to name of cap bytes. Thread: any. */
void members_name(struct store *s, uint64_t id, char *name, size_t cap);

/* Once a round: reconcile groups that this node leads. ERR_IO as decide. */
MUST_CHECK enum err members_round(struct store *s);
/* Until members_round has something to do; UINT64_MAX: nothing known. */
uint64_t members_wait_ms(struct store *s);

/*
 * The member with that id, or with that name and not leaving; NULL: none.
 * Valid until the map changes.
 */
const struct store_member *member_by_id(struct store *s, uint64_t id);
const struct store_member *member_by_name(struct store *s, const char *name);

/* Is id on its way out, or gone? False for ids that were never given yet. */
bool member_is_leaving(struct store *s, uint64_t id);

#endif
