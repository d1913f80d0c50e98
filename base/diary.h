/*
 * base/diary.h - what happened to this node lately, for people who look.
 *
 * A ring of the last DIARY_ENTRIES_MAX entries in memory: elections, changes of
 * membership, merges and the like, a handful a day in a quiet cluster. It is
 * not the log: entries have a kind and numbers, no text, so that they can be
 * shown to anyone who may see the node's figures. Never keys or values.
 *
 * Where many partitions do the same within DIARY_FOLD_NS (a node starts and is
 * given a hundred of them to lead) they are one entry with a count.
 * Thread: any.
 */
#ifndef BASE_DIARY_H
#define BASE_DIARY_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/clock.h"

enum {
	DIARY_ENTRIES_MAX = 128,
	DIARY_NO_PARTITION = UINT16_MAX, /* it is about the node             */
};

#define DIARY_FOLD_NS 2000000000ull

/* Part of what nodes tell each other: numbers stay, new ones come last. */
enum diary_kind {
	DIARY_STARTED = 1,	/* this node serves                           */
	DIARY_LEADS = 2,	/* a: term                                    */
	DIARY_STEPPED_DOWN = 3, /* a: term                                    */
	DIARY_QUORUM_LOST = 4,	/* a leader that hears of no majority         */
	DIARY_TRANSFER = 5,	/* subject: who is to lead                    */
	DIARY_MEMBERS = 6,	/* a: voters, b: learners; told by the leader */
	DIARY_PEER_UP = 7,	/* subject: a member; the link stands         */
	DIARY_PEER_DOWN = 8,
	DIARY_MERGE_BEGUN = 9, /* a: files                                   */
	DIARY_MERGE_DONE = 10, /* a: bytes written                           */
	DIARY_MERGE_FAILED = 11,
	DIARY_STATE_SENT = 12,	/* a snapshot to subject, a: index            */
	DIARY_STATE_TAKEN = 13, /* a: index                                   */
	DIARY_DAMAGE = 14,	/* a: file, b: offset                         */
	DIARY_HEALED = 15,	/* subject: who had it                        */
	DIARY_DISK_FULL = 16,	/* writes are refused; a: bytes free          */
	DIARY_DISK_FREE = 17,	/* and no longer                              */
	DIARY_DISK_STALLS = 18, /* a: ms that a sync took                     */
	DIARY_MEMBER_GONE = 19, /* subject has left the cluster               */
	DIARY_KIND_END
};

struct diary_entry {
	uint64_t number; /* from 1, in order                                 */
	uint64_t wall_ns;
	uint64_t subject; /* id of a member; 0: nobody                       */
	uint64_t a, b;
	uint16_t kind; /* enum diary_kind                                    */
	uint16_t partition; /* the first of them, or DIARY_NO_PARTITION      */
	uint32_t count; /* partitions that it happened to, at least 1        */
};

struct diary;

/* An empty one; clock outlives it. ERR_NOMEM. */
MUST_CHECK enum err diary_new(struct clock *clock, struct diary **d);

/* NULL is accepted. */
void diary_free(struct diary *d);

/* Write an entry now; the oldest gives way. NULL: nobody keeps a diary. */
void diary_note(struct diary *d, enum diary_kind kind, uint16_t partition,
		uint64_t subject, uint64_t a, uint64_t b);

/*
 * Copy the last entries, oldest first, up to cap, to out; how many. NULL: 0.
 */
uint32_t diary_last(struct diary *d, struct diary_entry *out, uint32_t cap);

#endif
