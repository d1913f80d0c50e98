/*
 * store/state.c - what sending and receiving a state have in common, and the
 * mover's round.
 */
#include "store/state_internal.h"

void state_say(struct store *s, uint64_t to, uint16_t partition,
	       const struct state_chunk *c)
{
	struct buf *b = outbox_begin(s, to, ITEM_STATE, partition);

	if (!b)
		return;
	if (state_chunk_encode(b, c))
		outbox_drop(s);
	else
		outbox_end(s);
}

void state_answer(struct store *s, uint64_t to, uint16_t partition,
		  enum state_reply_kind kind, uint64_t stream, uint32_t next)
{
	struct state_reply r = { .kind = kind, .stream = stream, .next = next };
	struct buf *b = outbox_begin(s, to, ITEM_STATE_REPLY, partition);

	if (!b)
		return;
	if (state_reply_encode(b, &r))
		outbox_drop(s);
	else
		outbox_end(s);
}

enum err state_start(struct store *s)
{
	enum err err = state_send_start(s);

	if (err)
		return err;
	err = state_recv_start(s);
	if (err)
		state_send_stop(s);
	return err;
}

enum err state_round(struct store *s)
{
	state_send_round(s);
	return state_recv_round(s);
}

uint64_t state_wait_ms(struct store *s)
{
	return state_send_busy(s) || state_recv_busy(s) ? STATE_TICK_MS
							: UINT64_MAX;
}

void state_stop(struct store *s)
{
	state_send_stop(s);
	state_recv_stop(s);
}

void store_move(struct store *s, uint64_t *wait_ms)
{
	bool moved = state_send_move(s);

	moved |= state_recv_move(s);
	moved |= repair_move(s);
	*wait_ms = STATE_IDLE_MS;
	if (state_send_busy(s) || state_recv_busy(s))
		*wait_ms = STATE_BUSY_MS;
	if (moved)
		*wait_ms = 0;
}
