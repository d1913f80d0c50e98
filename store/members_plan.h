/*
 * store/members_plan.h - which membership change a group needs next.
 *
 * A pure function of the member map, the group's configuration and what its
 * leader knows of the members. Called again and again, it leads any
 * configuration to what the map wants, one raft change at a time:
 *
 *    not in the group            add as a learner
 *    learner, caught up          promote; if it replaces a voter: exchange the
 *                                two in one joint change
 *    leaving or gone             remove
 *
 * What keeps a quorum: no change after which, of the voters, no majority is up.
 * Three voters of which one is dead: removing that one leaves two of two;
 * exchanging it leaves two of three throughout, in both halves. A dead voter
 * that is being replaced is kept until then: it still counts in favour of the
 * size of the quorum that the operator wants. A live one of the last three
 * stays while a learner that is up is to vote soon: of two voters none may
 * fail. The last voter is never removed.
 *
 * Group 0 lets go last: who is out of it does not hear of the map any more, and
 * if it led another group, nobody would change that one.
 */
#ifndef STORE_MEMBERS_PLAN_H
#define STORE_MEMBERS_PLAN_H

#include "store/members_internal.h"

/* What the leader knows. */
struct plan_facts {
	uint64_t self;
	void *ctx;
	bool (*is_up)(void *ctx, uint64_t id); /* heard lately; self: true   */
	bool (*is_caught_up)(void *ctx, uint64_t id);
	/* Group 0: still in another group? NULL: this is another one. */
	bool (*is_elsewhere)(void *ctx, uint64_t id);
};

enum plan_step {
	PLAN_DONE,	/* the group is as the map wants it                  */
	PLAN_WAIT,	/* not yet: someone must come up or catch up         */
	PLAN_CHANGE,	/* propose *change                                   */
	PLAN_HAND_OVER, /* *change removes this leader: better by another    */
};

/* The next step for a group with conf. *change is set with the last two. */
enum plan_step members_plan(const struct members *ms,
			    const struct raft_conf *conf,
			    const struct plan_facts *f,
			    struct raft_change *change);

/*
 * Of the voters of conf without those in the list of count ids: how many
 * there are, and whether a majority of them is up.
 */
bool plan_is_safe_without(const struct raft_conf *conf,
			  const struct plan_facts *f, const uint64_t *ids,
			  uint32_t count, uint32_t *voters);

#endif
