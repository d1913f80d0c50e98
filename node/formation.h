/*
 * node/formation.h - how nodes become a cluster, and how one joins it.
 *
 * FORMING. All nodes of cluster.members must be there and empty. Each asks all
 * others, again and again, what they are (a struct report):
 *
 *            the first of the list                the others
 *    empty     all others empty, same list          the first is prepared
 *                | draws the cluster id               | takes its cluster id
 *    prepared  all others prepared                  anyone has formed
 *                |                                    |
 *    formed    starts                               starts
 *
 * Each arrow is one replacement of the file "cluster" (node/identity.h), so a
 * node may crash anywhere and goes on from there. The cluster has formed when
 * the first has written "formed": from then on every founder is prepared, and
 * none can be taken for a new node. The node id is the place in the list.
 * A first that lost its disk before that takes over the id that others are
 * prepared for.
 *
 * JOINING. An empty node that meets one of a formed cluster claims the id that
 * the member map has for its name, with a random number that it has written
 * down before. The claim is decided by consensus, so no id is ever had by two
 * disks. Until an operator has said `members add` or `members replace` there
 * is nothing to claim, and the node waits.
 *
 * formation_judge is the whole decision, without disk or network.
 * Thread: core, all calls.
 */
#ifndef NODE_FORMATION_H
#define NODE_FORMATION_H

#include "base/clock.h"
#include "base/seed.h"
#include "node/identity.h"
#include "node/link.h"

/* What a node says about itself. */
struct report {
	char name[STORE_NAME_BYTES_MAX];
	enum identity_state state; /* NONE, CLAIMING: empty                  */
	uint32_t partitions;
	uint8_t cluster_id[16];
	uint64_t node_id;
	struct roster roster; /* its cluster.members; or the member map      */
};

enum claim_result {
	CLAIM_GRANTED = 1,
	CLAIM_PENDING, /* ask again                                         */
	CLAIM_UNKNOWN, /* no member of that name: `members add`             */
	CLAIM_TAKEN,   /* another disk has that id: `members replace`       */
	CLAIM_REFUSED, /* who was asked cannot decide now                   */
};

/* The answer to a claim. report: of the cluster; node_id: the one granted. */
struct claimed {
	enum claim_result result;
	struct report report;
};

struct question {
	bool is_claim;
	char name[STORE_NAME_BYTES_MAX]; /* who claims                       */
	uint64_t claim;
};

/* Bodies of QUESTION and ANSWER. Encoders: ERR_NOMEM; others ERR_INVALID. */
MUST_CHECK enum err question_encode(const struct question *q, struct buf *b);
MUST_CHECK enum err question_decode(struct bytes in, struct question *q);
MUST_CHECK enum err report_encode(const struct report *r, struct buf *b);
MUST_CHECK enum err report_decode(struct bytes in, struct report *r);
MUST_CHECK enum err claimed_encode(const struct claimed *c, struct buf *b);
MUST_CHECK enum err claimed_decode(struct bytes in, struct claimed *c);

enum formation_action {
	FORMATION_WAIT,
	FORMATION_PREPARE, /* with cluster_id; all zero: draw one            */
	FORMATION_FORM,
	FORMATION_CLAIM,  /* of node `at` in the list                         */
	FORMATION_REFUSE, /* the configuration is wrong: exit                */
};

/* What a node knows when it decides. */
struct formation_view {
	const char *name;
	const struct identity *identity;
	const struct roster *roster; /* cluster.members                      */
	uint32_t partitions;
	const struct report *report[ROSTER_MAX]; /* by place; NULL: silent   */
	const char *silence[ROSTER_MAX];	 /* why; or NULL             */
};

struct formation_decision {
	enum formation_action action;
	uint8_t cluster_id[16];
	uint32_t at;
	const char *key; /* REFUSE: which setting is wrong                   */
};

/*
 * What to do next. why gets a sentence for the operator: what it waits for, or
 * what is wrong. ERR_NOMEM.
 */
MUST_CHECK enum err formation_judge(const struct formation_view *v,
				    struct formation_decision *d,
				    struct buf *why);

/* Is it prepared, by this list? If not, it counts as empty. */
bool formation_is_prepared(const struct identity *id, const struct roster *r,
			   uint32_t partitions);

struct formation;

struct formation_options {
	struct vfs *vfs;
	struct clock *clock;
	struct seed *seed;
	struct links *links;
	const char *dir, *name;
	const struct identity *identity; /* as loaded; copied                */
	const struct roster *roster;	 /* copied; names this node          */
	uint32_t partitions;
	bool partitions_given; /* by the operator: a join must agree         */
	uint64_t ask_ms;       /* how often each is asked; 0: 200            */
};

/* ERR_NOMEM. */
MUST_CHECK enum err formation_new(const struct formation_options *o,
				  struct formation **f);

/* After the links are closed, or when nothing is asked. NULL is accepted. */
void formation_free(struct formation *f);

/*
 * Go on. OK: *done: identity is FORMED or JOINING and on disk. *wait_ms: call
 * again then, or when something has arrived. why: replaced by what it waits
 * for. ERR_INVALID: the configuration is wrong, why says how. Others: the
 * directory cannot be written.
 */
MUST_CHECK enum err formation_step(struct formation *f, bool *done,
				   uint64_t *wait_ms, struct buf *why);

/* After ERR_INVALID: which setting is wrong, such as "cluster.members". */
const char *formation_key(const struct formation *f);

/* Who this node has become, or is on the way to. Valid until _free. */
const struct identity *formation_identity(const struct formation *f);

/* This node's report while it waits, as the answer to a question. */
MUST_CHECK enum err formation_answer(struct formation *f, struct bytes question,
				     struct buf *answer);

#endif
