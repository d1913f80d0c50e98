/*
 * tests/lib/linear.h - is a history of operations linearizable?
 *
 * A history says of each operation when it was asked, when it was answered and
 * what the answer was. It is linearizable (Herlihy & Wing 1990) if each
 * operation can be given one moment between the two at which it took effect
 * all at once, so that the answers are those of one map from keys to values.
 *
 * The search is that of Wing & Gong 1993 with Lowe's improvements (2017):
 * what was tried is remembered, and operations of unknown outcome are placed
 * only just before something that needs them. Keys that no operation joins are
 * judged apart. An operation that changes nothing and fits now is placed at
 * once, which never closes a way. Of two equal situations the one that used up
 * fewer unknown operations is the better one.
 *
 * An UNKNOWN operation takes effect at one moment after it was asked, or never;
 * with an end, not after that.
 * What surely did not happen is not to be added.
 *
 * One thread.
 */
#ifndef TESTS_LIB_LINEAR_H
#define TESTS_LIB_LINEAR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum linear_kind {
	LINEAR_ABSENT,
	LINEAR_EXISTS, /* of conditions and sights only: some value           */
	LINEAR_VALUE,
	LINEAR_SIZE,   /* of conditions and sights only: that many bytes; 0
			  if there is no value                               */
	LINEAR_APPEND, /* of changes only: what was there, then value         */
	LINEAR_COPY,   /* of changes only: what `from` had just before, if
			  only nothing                                       */
};

/* A key and what is asked, seen or made of it. */
struct linear_item {
	struct bytes key;
	enum linear_kind kind;
	struct bytes value; /* VALUE, APPEND                                 */
	struct bytes from;  /* COPY                                          */
	uint64_t size;	    /* SIZE                                          */
};

enum linear_outcome {
	LINEAR_DONE,	/* its conditions were met, its changes made         */
	LINEAR_REFUSED, /* some condition was not met, nothing changed       */
	LINEAR_UNKNOWN, /* it may be done, now, later or never               */
};

/* Views are copied. Sights are of the moment just before the changes. */
struct linear_op {
	uint32_t client;
	uint64_t start_ns, end_ns; /* of an UNKNOWN one: 0, or by when it has
				      happened if it happens at all          */
	enum linear_outcome outcome;
	const struct linear_item *conditions, *sights, *changes;
	uint32_t condition_count, sight_count, change_count;
	bool delete_prefix; /* changes: every key that begins with prefix    */
	struct bytes prefix;
	/*
	 * A change to a key with a time to live: from start_ns on the value may
	 * go by itself, as long as it is the key's.
	 */
	bool expires;
};

struct linear;

/* An empty history. */
struct linear *linear_new(void);
void linear_free(struct linear *l);

/* Add one operation; in any order of time. */
void linear_add(struct linear *l, const struct linear_op *op);

enum linear_verdict {
	LINEAR_YES,
	LINEAR_NO,
	LINEAR_UNDECIDED, /* the search was given up                         */
};

/*
 * Judge what was added; tries_max: steps of the search at most for each group
 * of keys. Otherwise than YES a sentence is appended to why (may be NULL): the
 * key and the operations that found no place.
 */
enum linear_verdict linear_check(struct linear *l, uint64_t tries_max,
				 struct buf *why);

/* Operations and keys that were added. */
uint64_t linear_op_count(const struct linear *l);
uint64_t linear_key_count(const struct linear *l);

/*
 * Add the operation that a line of JSON tells of, as build/linear reads it:
 *
 *    {"client":1,"op":"put","key":"k","value":"v","ok":true,
 *     "start_ns":10,"end_ns":20}
 *
 * op       put, get, delete, cas, append, rename, delete_prefix, txn
 * key      of delete_prefix: the prefix
 * value    put, cas: the new one (cas: null deletes); get: what was seen,
 *          null: absent
 * expect   cas: the value asked for; null: absent
 * existed  put, delete, optional: whether the key was there before
 * size     append, optional: how many bytes the value has now
 * to       rename: the new name; key is the old one, of something that is there
 * ttl_ns   put, optional: above 0: it expires
 * if, gets, puts   txn: arrays of {"key":..,"value":..|null}; in if and gets
 *          "exists":true|false or "size":N may take the place of value, in
 *          puts "append":.. or "from":.. (the key that it is copied from)
 * ok       true; "unknown"; "refused" (cas, txn: conditions were not met; for
 *          cas false means the same); false: it surely did not happen, and the
 *          line is skipped, as is a get that is not true
 * late     false, of one that is unknown: it happened by end_ns or never will
 * stale    true: a get that need not be fresh: skipped
 *
 * Other fields are ignored. False: not such a line; why is told.
 */
bool linear_add_json(struct linear *l, const char *line, struct buf *why);

#endif
