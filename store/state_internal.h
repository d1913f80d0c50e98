/*
 * store/state_internal.h - what the files that move state share.
 *
 * A stream has two ends that work alike: the core thread takes part in
 * messages, the mover in files, and a ring of chunks lies between them. Fields
 * marked "lock" are guarded by the lock of their side; a slot of the ring
 * belongs to the mover or the core by the numbers that the lock guards, so its
 * bytes are touched without it. What blocks is done by the mover, so a stream
 * that the core gives up is only marked, and the mover clears it away.
 *
 * Memory: STATE_STREAMS_MAX streams at each end, each of STATE_AHEAD chunks
 * and about STATE_HELD_BYTES_MAX, more only where one record is larger.
 */
#ifndef STORE_STATE_INTERNAL_H
#define STORE_STATE_INTERNAL_H

#include "store/state.h"
#include "store/state_wire.h"

enum {
	STATE_STREAMS_MAX = 8,
	STATE_AHEAD = 8,
	STATE_CHUNK_BYTES = 256 << 10,
	STATE_HELD_BYTES_MAX = 2 << 20,
	STATE_TELL_MS = 1000,	/* a receiver says so often that it is there  */
	STATE_AGAIN_MS = 2000,	/* no word for so long: send again            */
	STATE_QUIET_MS = 30000, /* no word for so long: give it up          */
	STATE_STALL_MS = 600000, /* words, but no progress                   */
	STATE_TICK_MS = 100,
	STATE_BUSY_MS = 5, /* the mover's pause while streams are under way  */
	STATE_IDLE_MS = 50,
};

_Static_assert(STATE_AHEAD *STATE_CHUNK_BYTES <= STATE_HELD_BYTES_MAX,
	       "a full ring of usual chunks is within the bound");

/* One chunk in a ring; its memory is used again unless it grew large. */
struct state_slot {
	struct buf chunk;
};

static inline void state_slot_empty(struct state_slot *slot)
{
	if (slot->chunk.cap > 2 * STATE_CHUNK_BYTES)
		buf_done(&slot->chunk);
	slot->chunk.n = 0;
}

/* The mover made something that the core waits for. */
static inline void state_wake(struct store *s)
{
	if (s->o.wake)
		s->o.wake(s->o.wake_ctx);
}

/* Send a chunk that holds no records, or a reply; lost if there is no room. */
void state_say(struct store *s, uint64_t to, uint16_t partition,
	       const struct state_chunk *c);
void state_answer(struct store *s, uint64_t to, uint16_t partition,
		  enum state_reply_kind kind, uint64_t stream, uint32_t next);

/* The two sides' shares in state_start, _round, _wait_ms, _stop. */
MUST_CHECK enum err state_send_start(struct store *s);
void state_send_round(struct store *s);
bool state_send_busy(struct store *s);
void state_send_stop(struct store *s);
MUST_CHECK enum err state_recv_start(struct store *s);
MUST_CHECK enum err state_recv_round(struct store *s);
bool state_recv_busy(struct store *s);
void state_recv_stop(struct store *s);

/*
 * A state of p that was received is in force: everything that was derived from
 * the one before is made anew (store/state_reload.c). clock_ns: the log clock
 * that came with it. ERR_IO, ERR_NOMEM, ERR_CORRUPT: it cannot be.
 */
MUST_CHECK enum err state_installed(struct store *s, struct partition *p,
				    uint64_t clock_ns);

/* Mover's share of store/repair.c. */
bool repair_move(struct store *s);

#endif
