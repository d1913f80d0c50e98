/*
 * store/wire.h - the bytes that nodes send each other, little-endian.
 *
 * A message (base/net.h) is a run of items, each 8-aligned:
 *
 *  off  size
 *    0     1  kind        enum item_kind
 *    1     1  zero
 *    2     2  partition
 *    4     4  body_bytes  without padding
 *    8     -  body, zeros to the next multiple of 8
 *
 * The link below has a checksum of its own; what comes out of here is still
 * never trusted: every decoder answers ERR_INVALID to anything malformed.
 * Drawings: docs/format-wire.md. Golden bytes: tests/store/test_wire.c.
 * Thread: any; pure functions.
 */
#ifndef STORE_WIRE_H
#define STORE_WIRE_H

#include "engine/engine.h"
#include "raft/raft.h"

enum item_kind {
	ITEM_RAFT = 1,	  /* a raft_msg, an APPEND with its entries        */
	ITEM_REQUEST = 2, /* forwarded to the leader: store/forward.h      */
	ITEM_ANSWER = 3,  /* and its result                                */
	ITEM_STATE = 4,	  /* snapshot transfer: store/state_send.c         */
	ITEM_STATE_REPLY = 5,
	ITEM_FETCH = 6, /* damaged bytes: store/repair.c                 */
	ITEM_FETCHED = 7,
	ITEM_REPORT_WANTED = 8, /* figures for people: store/report.h         */
	ITEM_REPORT = 9,
	ITEM_PROGRESS = 10, /* how far each member is: store/members_tell.c  */
	ITEM_KIND_MAX
};

enum {
	ITEM_HEADER_BYTES = 8,
	ITEM_BODY_BYTES_MAX = 28 << 20, /* an APPEND with the largest entry   */
};

struct item {
	uint8_t kind;
	uint16_t partition;
	struct bytes body;
};

/*
 * Take the next item off *message. ERR_NOT_FOUND: the end. ERR_INVALID. An
 * unknown kind is not an error: the caller skips it.
 */
MUST_CHECK enum err item_next(struct bytes *message, struct item *item);

/* Begin an item at the end of b; *at is what item_end wants. ERR_NOMEM. */
MUST_CHECK enum err item_begin(struct buf *b, enum item_kind kind,
			       uint16_t partition, size_t *at);
/*
 * Its body is complete: fix the length, pad. ERR_NOMEM, ERR_TOO_LARGE (over
 * ITEM_BODY_BYTES_MAX): cut b back to at.
 */
MUST_CHECK enum err item_end(struct buf *b, size_t at);

/*
 * Append e in its form on the wire (no index: it follows from the place). e is
 * one that engine_append took. ERR_NOMEM: b is unchanged.
 */
MUST_CHECK enum err wire_entry_encode(struct buf *b,
				      const struct engine_entry *e);

/* Room that decoding an entry needs; zero it once and reuse it. */
struct wire_entry {
	struct engine_entry entry; /* views into the input                   */
	struct engine_record *records;
	uint32_t record_cap;
};

/* Free the room. */
void wire_entry_done(struct wire_entry *we);

/*
 * Take one entry off *in; views point into it. index and partition are the
 * caller's to set. What it accepts engine_append does not refuse for its form.
 * ERR_INVALID, ERR_NOMEM: *in is unchanged.
 */
MUST_CHECK enum err wire_entry_decode(struct bytes *in, struct wire_entry *we);

/*
 * The fields of m. Entries of an APPEND follow it, encoded by the caller with
 * wire_entry_encode: exactly m->entry_count. A SNAPSHOT carries m->snapshot.
 * ERR_NOMEM: b is unchanged.
 */
MUST_CHECK enum err wire_msg_encode(struct buf *b, const struct raft_msg *m);

/*
 * Decode what wire_msg_encode made; *in is left at the entries. m->from and
 * m->to are set by the caller. m->snapshot points to *snapshot if there is one.
 * entry_terms are the caller's to fill while decoding the entries; entry_count
 * is at most what the bytes left can hold. ERR_INVALID: *in is unchanged.
 */
MUST_CHECK enum err wire_msg_decode(struct bytes *in, struct raft_msg *m,
				    struct raft_snapshot *snapshot);

/*
 * A membership as bytes: raft_conf and raft_change (hidden key "\0g"). Encoders
 * answer ERR_NOMEM, b unchanged; decoders ERR_INVALID, *in unchanged, also for
 * what raft_conf_check refuses. Whether a change fits is raft's to say.
 */
MUST_CHECK enum err wire_conf_encode(struct buf *b, const struct raft_conf *c);
MUST_CHECK enum err wire_conf_decode(struct bytes *in, struct raft_conf *c);
MUST_CHECK enum err wire_change_encode(struct buf *b,
				       const struct raft_change *change);
MUST_CHECK enum err wire_change_decode(struct bytes *in,
				       struct raft_change *change);

#endif
