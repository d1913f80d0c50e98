/*
 * store/members_internal.h - what the files members*.c share.
 *
 *   members_map.c     the map: its records, reading it, telling the net
 *   members_change.c  requests: decided on the map, or handed to the rafts
 *   members_plan.c    which change a group needs next; a pure function
 *   members.c         making the groups follow the map; spreading leaders
 *   members_tell.c    how far each member is, told to those who do not lead
 *   members_show.c    who was heard of, and what status shows of it all
 *
 * A value of the map, key "\0m" id be64, little-endian:
 *
 *  off  size
 *    0     1  format        MEMBER_FORMAT
 *    1     1  flags         enum member_flags
 *    2     1  name_bytes    1..63
 *    3     1  zero
 *    4     2  peer_bytes    0..279
 *    6     2  http_bytes    0..279
 *    8     8  replaces      the member whose place it takes; 0: none
 *   16     8  claim         what the disk that has this id showed; 0: no disk
 *                           has it yet (store_change.claim)
 *   24     -  name, peer, http
 *
 * "\0n" holds the next id as u64.
 */
#ifndef STORE_MEMBERS_INTERNAL_H
#define STORE_MEMBERS_INTERNAL_H

#include "store/members.h"

enum {
	MEMBERS_MAX = RAFT_MEMBERS_MAX,
	MEMBER_FORMAT = 1,
	MEMBER_CLAIM_FOUNDER = 1,
};

enum member_flags {
	MEMBER_STAYS_LEARNER = 1,
	MEMBER_LEAVING = 2,
	MEMBER_FLAGS_ALL = 3,
};

struct member {
	struct store_member m;
	bool leaving;
	bool unread; /* its record is damaged, and nobody else has it        */
	uint64_t replaces, claim;
};

/* A learner on its way: when it has had the log up to target (thesis 4.2.1). */
struct learner_care {
	uint64_t id, target_index, since_ns;
	bool is_caught_up;
};

enum { LEARNERS_AT_ONCE_MAX = 4 };

/* What a leader remembers of one group; void in another term. */
struct group_care {
	uint64_t term, led_since_ns;
	uint64_t hand_over_ns; /* when it last tried to                      */
	uint32_t hand_overs;
	struct learner_care learners[LEARNERS_AT_ONCE_MAX];
};

/* When a node was last heard of. Written by core, read by any. */
struct heard {
	_Atomic uint64_t id, ns;
};

/* What partition 0's leader has told, or tells itself. */
struct told {
	uint64_t from, ns; /* 0: nobody has told anything                    */
	uint64_t last_index;
	uint32_t count;
	struct {
		uint64_t id, match;
	} rows[MEMBERS_MAX];
};

/*
 * Group 0's leader asks all groups for their present state before it lets go of
 * who leaves: its own copy of one may be older than that member's time in it.
 */
struct leave_proof {
	struct store_barrier barrier;
	bool asking;
	uint64_t asked[2 * MEMBERS_MAX]; /* who left when it was asked      */
	uint32_t asked_count;
	uint64_t known[2 * MEMBERS_MAX]; /* answered: these groups show all  */
	uint32_t known_count;
};

/* What other threads are shown; under lock. */
struct members_shown {
	pthread_mutex_t lock;
	struct store_member_status list[MEMBERS_MAX];
	uint32_t count;
	uint64_t next_id;
	uint64_t strays[MEMBERS_MAX];
	uint32_t stray_count;
	bool damaged;
	bool leads; /* this node leads partition 0: it hears all members    */
};

struct members {
	struct store_member founders[MEMBERS_MAX]; /* the options' list      */
	struct member list[MEMBERS_MAX]; /* by id                            */
	uint32_t count;
	uint64_t next_id; /* 0: there is no map yet; list is the options'   */
	bool changed;	  /* the map in the engine is newer                  */
	bool damaged;	  /* list lacks a record that cannot be read now     */
	bool warned;	  /* of the damage                                   */
	bool retry;	  /* read it again after a while                     */
	bool look;	  /* a group has another membership                  */
	uint64_t looked_ns;
	uint64_t peers[MEMBERS_MAX]; /* that the net was told of             */
	uint32_t peer_count;
	/* Not in the map, and in a group as far as this node has applied it. */
	uint64_t strays[MEMBERS_MAX];
	uint32_t stray_count;
	uint64_t pending_index, pending_term; /* last change of the map      */
	struct group_care *care;	      /* for each partition          */
	uint64_t next_look_ns, shown_ns, moved_ns;
	bool leads_any; /* at the last look                                  */
	struct leave_proof proof;

	struct store_change *transfer; /* under way                          */
	uint64_t transfer_asked_ns;
	bool transfer_sent; /* some leader was asked                         */

	struct store_change update; /* of this node's own entry              */
	bool updating;
	uint64_t update_after_ns;

	uint64_t tell_ns; /* when members_tell last did                      */
	struct told told;

	struct heard heard[MEMBERS_MAX];
	struct members_shown shown;
};

/* Append the value of m to b. ERR_NOMEM. */
MUST_CHECK enum err member_encode(struct buf *b, const struct member *m);

/* Read one; m->m.id is the caller's to set. ERR_CORRUPT, ERR_VERSION. */
MUST_CHECK enum err member_decode(struct bytes value, struct member *m);

/* Is that a possible name, and are the addresses "host:port" (or empty)? */
bool member_is_sound(const struct store_member *m);

/* Add m's record, or the record of the next id, to s->entry. ERR_NOMEM. */
MUST_CHECK enum err member_record(struct store *s, const struct member *m);
MUST_CHECK enum err next_id_record(struct store *s, uint64_t next_id);

/* Read the map again if it changed or could not be read; at most now and then. */
MUST_CHECK enum err members_refresh(struct store *s);

/*
 * Append what s->entry holds, a change of the map, to partition 0. Until it is
 * applied members_is_pending is true. As entry_append.
 */
MUST_CHECK enum err members_propose(struct store *s, uint64_t *index);
bool members_is_pending(struct store *s);

/* Go on with the transfer that is under way, if there is one. */
void members_transfer_round(struct store *s);
/* The store stops: what came of it is not known. */
void members_transfer_end(struct store *s);
/* See that the map has this node's name and addresses as they are now. */
void members_update_round(struct store *s);

/* Is it likely that id lives: heard of within two election timeouts? */
bool members_is_up(struct store *s, uint64_t id);

/*
 * Is id there without a doubt: its link stands, and it was heard of within an
 * election timeout?
 */
bool members_is_here(struct store *s, uint64_t id);

/* The last entry that id has confirmed to this node, which leads p. */
uint64_t members_match(struct partition *p, uint64_t id,
		       const struct raft_status *status);

/*
 * What partition 0's leader told, if it still leads as far as is known here and
 * has told it lately; else NULL. Valid until the next round.
 */
const struct told *members_told_lately(struct store *s);

/* Copy what status shows. */
void members_publish(struct store *s);

/* The election timeout, its default filled in. */
uint64_t members_election_ns(const struct store *s);

/* The member with that id; or with that name, not counting who leaves. */
struct member *member_find(struct store *s, uint64_t id);
struct member *member_find_name(struct store *s, const char *name);

#endif
