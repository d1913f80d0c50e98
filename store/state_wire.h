/*
 * store/state_wire.h - the bodies of the items that carry state and repairs.
 *
 * ITEM_STATE, sender to receiver, a chunk of a stream:
 *
 *  off  size
 *    0     4  crc      crc32c(0, bytes 4 to the end of the body)
 *    4     1  kind     enum state_kind
 *    5     3  zero
 *    8     8  stream   the sender's random number for it, not 0
 *   16     4  number   from 0, which is BEGIN; GONE has none: 0
 *   20     4  records  in this chunk
 *   24     -  BEGIN    term u64 (the sender's), index u64, term at index u64,
 *                      log clock at index u64, log clock now u64,
 *                      membership (store/wire.h)
 *             RECORDS  records (engine/record.h), file seed state_seed(stream)
 *             END      records of the whole stream u64
 *             GONE     nothing: the sender gave the stream up
 *
 * ITEM_STATE_REPLY, back:
 *
 *    0     8  stream
 *    8     4  next     every chunk below it is taken
 *   12     1  kind     enum state_reply_kind
 *   13     3  zero
 *
 * ITEM_FETCH, a question for damaged bytes, and ITEM_FETCHED:
 *
 *    0     1  kind     enum fetch_kind
 *    1     7  zero                        1  found, then 6 zero
 *    8     8  ticket   the asker's number for it, comes back in the answer
 *   16     8  what     ENTRY: index; RECORD: version (engine/loc.h)
 *   24     8  term     ENTRY: of it, 0: unknown; RECORD: 0
 *   32     -  RECORD: the key
 *
 *    the answer's bytes from 16 on, when found:
 *             ENTRY: the entry (wire_entry_encode); RECORD: a record, seed 0
 *
 * Every decoder answers ERR_INVALID to anything else. Golden bytes:
 * tests/store/test_state_wire.c. Thread: any; pure functions.
 */
#ifndef STORE_STATE_WIRE_H
#define STORE_STATE_WIRE_H

#include "store/wire.h"

enum {
	STATE_HEADER_BYTES = 24,
	STATE_BEGIN_BYTES = STATE_HEADER_BYTES + 40, /* without membership   */
	STATE_REPLY_BYTES = 16,
	FETCH_HEADER_BYTES = 32,
	FETCHED_HEADER_BYTES = 16,
};

enum state_kind {
	STATE_BEGIN = 1,
	STATE_RECORDS = 2,
	STATE_END = 3,
	STATE_GONE = 4,
	STATE_KIND_MAX
};

struct state_chunk {
	enum state_kind kind;
	uint64_t stream;
	uint32_t number;
	uint32_t records;      /* RECORDS                                   */
	struct bytes payload;  /* RECORDS: view into the input              */
	uint64_t record_count; /* END                                       */
	uint64_t term;	       /* BEGIN, as the rest                        */
	uint64_t stamp_ns;     /* log clock at the index, in ns */
	uint64_t clock_ns;     /* when the picture was taken */
	struct raft_snapshot snapshot;
};

/*
 * Append c, which is not RECORDS, to b. ERR_NOMEM: b is as it was.
 */
MUST_CHECK enum err state_chunk_encode(struct buf *b,
				       const struct state_chunk *c);

/*
 * RECORDS: empty b and leave room for the header; add records; fill the header
 * in. ERR_NOMEM: b is of no use.
 */
MUST_CHECK enum err state_records_begin(struct buf *b);
MUST_CHECK enum err state_records_add(struct buf *b, uint64_t stream,
				      const struct record *r);
void state_records_end(struct buf *b, uint64_t stream, uint32_t number,
		       uint32_t records);

/* Take a chunk apart. ERR_INVALID; a wrong checksum is that too. */
MUST_CHECK enum err state_chunk_decode(struct bytes in, struct state_chunk *c);

/*
 * Take the next record off *payload, verified; views point into it.
 * ERR_NOT_FOUND: the end. ERR_INVALID.
 */
MUST_CHECK enum err state_record_next(struct bytes *payload, uint64_t stream,
				      struct record *r);

/*
 * Can r be part of the state that snapshot names, of partition? Its type, its
 * index and term, the shape of key and value.
 */
bool state_record_fits(const struct record *r, uint16_t partition,
		       const struct raft_snapshot *snapshot);

enum state_reply_kind {
	STATE_TAKEN = 1, /* go on; also said now and then while it is quiet  */
	STATE_AGAIN = 2, /* send again from next; 0: the stream is unknown   */
	STATE_DONE = 3,	 /* the state is in force                            */
	STATE_HAVE = 4,	 /* of no use: the receiver is that far already      */
	STATE_REFUSED = 5, /* it cannot be taken now                         */
	STATE_REPLY_KIND_MAX
};

struct state_reply {
	enum state_reply_kind kind;
	uint64_t stream;
	uint32_t next;
};

/* Append r to b, ERR_NOMEM; take it apart, ERR_INVALID. */
MUST_CHECK enum err state_reply_encode(struct buf *b,
				       const struct state_reply *r);
MUST_CHECK enum err state_reply_decode(struct bytes in, struct state_reply *r);

enum fetch_kind { FETCH_ENTRY = 1, FETCH_RECORD = 2, FETCH_KIND_MAX };

struct fetch {
	enum fetch_kind kind;
	uint64_t ticket;
	uint64_t index, term; /* ENTRY                                       */
	uint64_t version;     /* RECORD                                      */
	struct bytes key;     /* RECORD: view into the input                 */
};

/* Append f to b, ERR_NOMEM; take it apart, ERR_INVALID. */
MUST_CHECK enum err fetch_encode(struct buf *b, const struct fetch *f);
MUST_CHECK enum err fetch_decode(struct bytes in, struct fetch *f);

struct fetched {
	enum fetch_kind kind;
	uint64_t ticket;
	bool found;
	struct bytes payload; /* entry or record, undecoded; view            */
};

/* The head of an answer; what was found follows it, appended by the caller. */
MUST_CHECK enum err fetched_begin(struct buf *b, enum fetch_kind kind,
				  uint64_t ticket, bool found);
MUST_CHECK enum err fetched_decode(struct bytes in, struct fetched *f);

/* The one record that is all of payload, verified, seed 0. ERR_INVALID. */
MUST_CHECK enum err fetched_record(struct bytes payload, struct record *r);
MUST_CHECK enum err fetched_record_encode(struct buf *b,
					  const struct record *r);

#endif
