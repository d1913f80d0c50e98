/*
 * store/forward_internal.h - what the files of forwarding share.
 *
 *    forward.c         the asking node: window of requests, sending, answers
 *    forward_leader.c  the deciding node: proxies, what was seen, the record
 *                      "\0f" of an entry
 *    forward_codec.c   requests as bytes
 *    forward_file.c    file operations among them
 *    forward_answer.c  answers and the record "\0f" as bytes
 *
 * Thread: core.
 */
#ifndef STORE_FORWARD_INTERNAL_H
#define STORE_FORWARD_INTERNAL_H

#include "store/file_decide.h"
#include "store/forward.h"
#include "store/upload.h"

enum {
	FORWARD_VALUES_BYTES_MAX = 16 << 20, /* GETs of one transaction      */
	FORWARD_ORIGINS_MAX = 64,	     /* asking nodes                 */
	FORWARD_PAST_MAX = 16,		     /* incarnations remembered      */
	FORWARD_HEAD_BYTES = 40,	     /* of requests and answers      */
};

/* ------------------------------------------------------------ requests --- */

struct request_head {
	uint64_t incarnation, sequence;
	uint64_t floor; /* every sequence below it is over                  */
	uint64_t term;	/* of the leader that may decide it                 */
	uint8_t kind;	/* enum request_kind                                */
	bool again;	/* a copy sent before may have been decided         */
};

/*
 * A request that another node sent, as this node decides it. Everything it
 * points at lies in bytes or in room.
 */
struct proxy {
	struct proxy *next; /* free list                                    */
	struct store *s;
	uint64_t node;
	uint16_t partition;
	struct request_head head;
	bool only_known; /* decided in this term: the window or nothing     */
	bool known;	 /* answered from the window: write etc. say how    */
	uint64_t known_index;
	struct store_write write;
	struct store_change change;
	struct store_file_op file;
	struct store_upload upload; /* STAGE, ABANDON, a write's            */
	struct store_condition *conditions;
	struct store_op *ops;
	struct store_result *results;
	uint32_t room; /* of each of the three                             */
	struct buf bytes;
};

/* The kind of a request on the wire, and back; false: unknown. */
uint8_t request_kind_to_wire(enum request_kind kind);
bool request_kind_from_wire(uint8_t wire, uint8_t *kind);

/* Append head and body of q. ERR_NOMEM: b holds garbage at its end. */
MUST_CHECK enum err request_encode(struct buf *b,
				   const struct request_head *head,
				   const struct store_queued *q);

/* Take the head off *in. ERR_INVALID. */
MUST_CHECK enum err request_head_decode(struct bytes *in,
					struct request_head *head);

/*
 * Turn the body in x->bytes into the request of x->head.kind: form and limits
 * are checked, not yet what it names. ERR_INVALID, ERR_NOMEM.
 */
MUST_CHECK enum err request_decode(struct proxy *x);

/* The body of a file operation. ERR_NOMEM: b holds garbage at its end. */
MUST_CHECK enum err file_encode(struct buf *b, const struct store_file_op *op);
/* Take it off *in; op's views point into it. ERR_INVALID. */
MUST_CHECK enum err file_decode(struct bytes *in, struct store_file_op *op);

/* ------------------------------------------------------------- answers --- */

enum answer_status {
	ANSWER_DONE = 1, /* decided; what follows is the result              */
	ANSWER_NOT_HERE, /* this copy was not and will not be decided        */
	ANSWER_LOST,	 /* decided, but what became of it is not known      */
	ANSWER_STATUS_MAX
};

struct answer_head {
	uint64_t incarnation, sequence, term;
	uint64_t index; /* the asking node must have applied it             */
	uint8_t status, err, kind;
	bool appended; /* an entry holds it; else a refusal or a mere answer */
};

/*
 * Append head and, of DONE, the result in x. ERR_NOMEM; ERR_CORRUPT: the value
 * of a GET cannot be read; ERR_TOO_LARGE: more than FORWARD_VALUES_BYTES_MAX.
 */
MUST_CHECK enum err answer_encode(struct buf *b, const struct answer_head *head,
				  const struct proxy *x);

/* ERR_INVALID. */
MUST_CHECK enum err answer_head_decode(struct bytes *in,
				       struct answer_head *head);

/*
 * Put the result in *in into q's request. ERR_INVALID, ERR_NOMEM: q has no
 * values of GETs.
 */
MUST_CHECK enum err answer_decode(struct bytes in,
				  const struct answer_head *head,
				  struct store_queued *q);

/* ---------------------------------------------------- the record "\0f" --- */

/* What the record of x's slot says once its entry is applied. ERR_NOMEM. */
MUST_CHECK enum err window_encode(struct entry_builder *b,
				  const struct proxy *x);

enum window_match {
	WINDOW_NEW,    /* not of this request, or of one before it           */
	WINDOW_SAME,   /* x now has the result                               */
	WINDOW_LOST,   /* the same, but the values of its GETs are gone      */
	WINDOW_PASSED, /* the slot has gone on: below the window             */
	WINDOW_BAD,    /* not a record of this kind                          */
};

/* Compare the value of the record with x, and take the result over. */
enum window_match window_decode(struct bytes value, uint64_t version,
				struct proxy *x);

/* ------------------------------------------------------- the two sides --- */

enum asked_state {
	ASKED_TO_SEND,
	ASKED_SENT,
	ASKED_ANSWERED, /* waits until index is applied here                 */
};

/* A request of this node that another one decides. */
struct asked {
	struct store_queued *q; /* NULL: the slot is free                    */
	uint64_t sequence;
	uint64_t sent_term, sent_ns;
	uint64_t index;	   /* of the answer                                  */
	uint32_t doubtful; /* copies sent that may have been decided         */
	uint32_t copies;   /* of them for sent_term                          */
	uint8_t state;
	uint8_t err;  /* of the answer                                       */
	bool dropped; /* the state may have forgotten a copy: forward_dropped */
};

struct leader_side;

struct forward {
	uint64_t incarnation;
	uint64_t floor, next;	  /* sequences under way: floor..next - 1     */
	struct asked *asked;	  /* FORWARD_WINDOW of them; NULL: no net     */
	struct request_list held; /* found no slot                            */
	uint32_t answered;	  /* slots in ASKED_ANSWERED                  */
	bool look;		  /* at all of them in the next round         */
	bool lost;		  /* what was sent may be lost: send it again */
	uint64_t looked_ns;
	struct buf to_self;
	struct leader_side *leader;
};

/* The deciding side's memory. ERR_NOMEM. */
MUST_CHECK enum err leader_side_new(struct leader_side **out);
void leader_side_free(struct leader_side *ls);

#endif
