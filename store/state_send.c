/*
 * store/state_send.c - a picture of a partition, cut into chunks and sent.
 *
 *   state_offer     OFFERED  the picture is pinned, raft knows its index
 *   state_send      SENDING  raft named the peer
 *                            mover: picture -> ring      core: ring -> outbox
 *   state_replied            what is taken leaves the ring
 *   DONE, HAVE      the peer is that far: raft_snapshot_sent(true)
 *   REFUSED, error  raft_snapshot_sent(false); a pause, then raft asks again
 *   given up        CLEARING the mover closes the picture -> FREE
 *
 * The ring holds the chunks [first, first + count), all of them unacknowledged;
 * of these the ones below next_send were sent at least once. A word from the
 * receiver that it lacks something, or silence, sets next_send back to first.
 * The picture is closed as soon as the last record was read.
 *
 * A stream is given up when this node does not lead in the term in which it
 * was begun, or when raft does not wait for this snapshot any more. The other
 * way round, a peer that raft waits for without a stream under way is told to
 * raft as failed (look_after), whatever became of the stream.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "engine/snapshot.h"
#include "store/group_internal.h"
#include "store/state_internal.h"

enum {
	OFFER_MS = 2000, /* a picture that no message asked for           */
	LOOK_MS = 500,
	PAUSE_MS = 1000,	/* after a stream failed                  */
	PAUSE_DAMAGE_MS = 5000, /* after the picture could not be read    */
	DAMAGED_MAX = 3,	/* then another one is to lead            */
};

enum sending_state { FREE, OFFERED, SENDING, CLEARING };

struct sending {
	enum sending_state state; /* of the core; lock to change */
	uint64_t id, to, term, stamp_ns, clock_ns;
	uint16_t partition;
	struct raft_snapshot snapshot;
	/* core */
	uint64_t since_ns, heard_ns, sent_ns, progress_ns;
	uint64_t bytes_sent;
	uint32_t next_send;
	/* lock */
	bool cleared; /* CLEARING: nothing is held any more */
	bool read_all;
	enum err err; /* the picture could not be read */
	uint32_t first, count;
	uint64_t held_bytes;
	/* mover; core while it is not SENDING */
	struct engine_snapshot *picture;
	uint64_t records;
	struct state_slot ring[STATE_AHEAD];
};

/* Nothing of a partition is offered before. */
struct sending_pause {
	uint64_t until_ns;
	uint32_t damaged; /* pictures, one after the other */
};

struct state_sending {
	pthread_mutex_t lock;
	uint32_t turn; /* mover */
	uint64_t looked_ns;
	struct sending streams[STATE_STREAMS_MAX];
	struct sending_pause pauses[]; /* of each partition                  */
};

static uint64_t now_of(struct store *s)
{
	return clock_mono_ns(s->o.clock);
}

static bool is_over(uint64_t now_ns, uint64_t from_ns, uint64_t ms)
{
	return now_ns - from_ns >= ms * 1000000;
}

static struct state_slot *slot_of(struct sending *st, uint32_t number)
{
	return &st->ring[number % STATE_AHEAD];
}

/* ---------------------------------------------------------------- mover -- */

/* Fill the slot with chunk number: records until it is full, or the end. */
static enum err read_chunk(struct sending *st, uint32_t number, bool *end)
{
	struct buf *b = &slot_of(st, number)->chunk;
	enum err err = state_records_begin(b);
	uint32_t records = 0;
	struct record r = { 0 };

	while (!err && b->n < STATE_CHUNK_BYTES) {
		err = engine_snapshot_next(st->picture, &r);
		r.flags &= 63; /* the others say how it lay in its file */
		if (!err &&
		    !state_record_fits(&r, st->partition, &st->snapshot))
			err = ERR_CORRUPT; /* known to be damaged, say */
		if (!err)
			err = state_records_add(b, st->id, &r);
		if (!err)
			records++;
	}
	if (err && err != ERR_NOT_FOUND)
		return err;
	*end = err == ERR_NOT_FOUND && records == 0;
	st->records += records;
	if (!*end) {
		state_records_end(b, st->id, number, records);
		return OK;
	}
	b->n = 0;
	return state_chunk_encode(
		b, &(struct state_chunk){ .kind = STATE_END,
					  .stream = st->id,
					  .number = number,
					  .record_count = st->records });
}

/* Make the next chunk of st. Entered and left with the lock. */
static void move_one(struct state_sending *all, struct sending *st)
{
	uint32_t number = st->first + st->count;
	bool end = false;
	enum err err;

	pthread_mutex_unlock(&all->lock);
	err = read_chunk(st, number, &end);
	if (err || end) {
		engine_snapshot_close(st->picture);
		st->picture = NULL;
	}
	pthread_mutex_lock(&all->lock);
	st->err = err;
	st->read_all = err || end;
	if (!err) {
		st->count++;
		st->held_bytes += slot_of(st, number)->chunk.n;
	}
}

static void clear_one(struct state_sending *all, struct sending *st)
{
	pthread_mutex_unlock(&all->lock);
	engine_snapshot_close(st->picture);
	st->picture = NULL;
	for (uint32_t i = 0; i < STATE_AHEAD; i++)
		buf_done(&st->ring[i].chunk);
	pthread_mutex_lock(&all->lock);
	st->cleared = true;
}

static bool wants_move(const struct sending *st)
{
	if (st->state == CLEARING)
		return !st->cleared;
	return st->state == SENDING && !st->read_all &&
	       st->count < STATE_AHEAD && st->held_bytes < STATE_HELD_BYTES_MAX;
}

bool state_send_move(struct store *s)
{
	struct state_sending *all = s->sending;
	bool moved = false;

	pthread_mutex_lock(&all->lock);
	for (uint32_t i = 0; i < STATE_STREAMS_MAX && !moved; i++) {
		struct sending *st =
			&all->streams[all->turn++ % STATE_STREAMS_MAX];

		moved = wants_move(st);
		if (moved && st->state == CLEARING)
			clear_one(all, st);
		else if (moved)
			move_one(all, st);
	}
	pthread_mutex_unlock(&all->lock);
	if (moved)
		state_wake(s);
	return moved;
}

/* ---------------------------------------------------- beginning and end -- */

static void set_state(struct store *s, struct sending *st,
		      enum sending_state state)
{
	pthread_mutex_lock(&s->sending->lock);
	st->state = state;
	pthread_mutex_unlock(&s->sending->lock);
}

/* Lost if raft takes nothing now: look_after tells it again. */
static void tell_raft(struct partition *p, uint64_t to, bool ok)
{
	if (!group_open(p))
		return;
	raft_snapshot_sent(p->raft, to, ok);
	group_fed(p);
}

/* The stream ends here: ok says what raft is told; why is for the log. */
static void finish(struct store *s, struct sending *st, bool ok,
		   const char *why)
{
	struct partition *p = &s->partitions[st->partition];
	uint64_t now_ns = now_of(s);

	log_info("store",
		 "snapshot_sent partition=%u to=%llu index=%llu bytes=%llu "
		 "ms=%llu result=%s",
		 p->id, (unsigned long long)st->to,
		 (unsigned long long)st->snapshot.index,
		 (unsigned long long)st->bytes_sent,
		 (unsigned long long)(now_ns - st->since_ns) / 1000000, why);
	tell_raft(p, st->to, ok);
	if (!ok)
		s->sending->pauses[p->id].until_ns =
			now_ns + PAUSE_MS * 1000000ull;
	else
		s->sending->pauses[p->id].damaged = 0;
	set_state(s, st, CLEARING);
}

static void say_gone(struct store *s, uint64_t to, uint16_t partition,
		     uint64_t id)
{
	state_say(s, to, partition,
		  &(struct state_chunk){ .kind = STATE_GONE, .stream = id });
}

static void give_up(struct store *s, struct sending *st, const char *why)
{
	say_gone(s, st->to, st->partition, st->id);
	finish(s, st, false, why);
}

static struct sending *find_free(struct store *s)
{
	struct sending *found = NULL;

	pthread_mutex_lock(&s->sending->lock);
	for (uint32_t i = 0; i < STATE_STREAMS_MAX && !found; i++) {
		struct sending *st = &s->sending->streams[i];

		if (st->state == CLEARING && st->cleared)
			*st = (struct sending){ .state = FREE };
		if (st->state == FREE)
			found = st;
	}
	pthread_mutex_unlock(&s->sending->lock);
	return found;
}

enum err state_offer(struct store *s, struct partition *p,
		     struct raft_snapshot *snapshot)
{
	uint64_t now_ns = now_of(s);
	struct raft_status status;
	struct sending *st;
	enum err err;

	raft_status(p->raft, &status);
	/* While entries are being applied the membership is of another index */
	if (status.applied == 0 ||
	    status.applied != engine_applied_index(s->engine, p->id) ||
	    now_ns < s->sending->pauses[p->id].until_ns)
		return ERR_BUSY;
	st = find_free(s);
	if (!st)
		return ERR_BUSY;
	st->snapshot.index = status.applied;
	st->snapshot.conf = *raft_conf(p->raft);
	err = raft_term_at(p->raft, status.applied, &st->snapshot.term);
	if (!err)
		err = engine_snapshot_open_partition(s->engine, p->id,
						     &st->picture);
	if (err)
		return ERR_BUSY;
	CHECK(engine_snapshot_index(st->picture, p->id) == status.applied);
	st->partition = p->id;
	st->stamp_ns = engine_snapshot_stamp_ns(st->picture, p->id);
	st->clock_ns = log_clock_ns(s, p);
	st->since_ns = now_ns;
	set_state(s, st, OFFERED);
	*snapshot = st->snapshot;
	return OK;
}

/* BEGIN is the first chunk of the ring, made by the core. */
static enum err make_begin(struct sending *st)
{
	struct buf *b = &slot_of(st, 0)->chunk;
	enum err err = state_chunk_encode(
		b, &(struct state_chunk){ .kind = STATE_BEGIN,
					  .stream = st->id,
					  .term = st->term,
					  .stamp_ns = st->stamp_ns,
					  .clock_ns = st->clock_ns,
					  .snapshot = st->snapshot });

	st->first = 0;
	st->count = !err;
	st->held_bytes = b->n;
	return err;
}

void state_send(struct store *s, struct partition *p, const struct raft_msg *m)
{
	struct sending *st = NULL;

	for (uint32_t i = 0; i < STATE_STREAMS_MAX; i++) {
		struct sending *at = &s->sending->streams[i];

		if (at->state == OFFERED && at->partition == p->id &&
		    at->snapshot.index == m->snapshot->index)
			st = at;
	}
	if (!st)
		return; /* look_after tells raft */
	st->id = seed_next(s->o.seed) | 1;
	st->to = m->to;
	st->term = m->term;
	st->since_ns = now_of(s);
	st->heard_ns = st->sent_ns = st->progress_ns = st->since_ns;
	if (make_begin(st)) {
		set_state(s, st, CLEARING);
		return;
	}
	log_info("store", "snapshot_send partition=%u to=%llu index=%llu",
		 p->id, (unsigned long long)st->to,
		 (unsigned long long)st->snapshot.index);
	set_state(s, st, SENDING);
}

/* -------------------------------------------------------------- replies -- */

static struct sending *find_stream(struct store *s, uint64_t to, uint64_t id)
{
	for (uint32_t i = 0; i < STATE_STREAMS_MAX; i++) {
		struct sending *st = &s->sending->streams[i];

		if (st->state == SENDING && st->to == to && st->id == id)
			return st;
	}
	return NULL;
}

/* Everything below next is taken. False: that cannot be. */
static bool acknowledge(struct store *s, struct sending *st, uint32_t next)
{
	bool possible;

	pthread_mutex_lock(&s->sending->lock);
	possible = next <= st->first + st->count;
	while (possible && st->first < next) {
		struct state_slot *slot = slot_of(st, st->first);

		st->held_bytes -= slot->chunk.n;
		state_slot_empty(slot);
		st->first++;
		st->count--;
		st->progress_ns = now_of(s);
	}
	pthread_mutex_unlock(&s->sending->lock);
	if (st->next_send < st->first)
		st->next_send = st->first;
	return possible;
}

void state_replied(struct store *s, uint64_t from, const struct item *item)
{
	struct state_reply r;
	struct sending *st;

	if (item->partition >= s->partition_count ||
	    state_reply_decode(item->body, &r))
		return;
	st = find_stream(s, from, r.stream);
	if (!st || st->partition != item->partition) {
		if (r.kind == STATE_TAKEN || r.kind == STATE_AGAIN)
			say_gone(s, from, item->partition, r.stream);
		return;
	}
	st->heard_ns = now_of(s);
	switch (r.kind) {
	case STATE_TAKEN:
		acknowledge(s, st, r.next);
		return;
	case STATE_AGAIN:
		if (r.next == 0 && st->first > 0)
			give_up(s, st, "receiver_lost");
		else if (acknowledge(s, st, r.next))
			st->next_send = st->first;
		return;
	case STATE_DONE:
	case STATE_HAVE:
		finish(s, st, true, r.kind == STATE_DONE ? "done" : "have");
		return;
	case STATE_REFUSED:
		finish(s, st, false, "refused");
		return;
	case STATE_REPLY_KIND_MAX:
		return;
	}
}

/* ---------------------------------------------------------------- round -- */

/* Does raft still wait for this stream? If not, the stream ends here. */
static bool is_wanted(struct store *s, struct sending *st)
{
	const struct partition *p = &s->partitions[st->partition];
	struct raft_progress progress;
	struct raft_status status;

	raft_status(p->raft, &status);
	if (status.role != RAFT_LEADER || status.term != st->term ||
	    p->broken) {
		give_up(s, st, "leader_no_more");
		return false;
	}
	if (!raft_progress_of(p->raft, st->to, &progress)) {
		give_up(s, st, "no_member");
		return false;
	}
	if (progress.flow == RAFT_FLOW_SNAPSHOT &&
	    progress.pending_snapshot == st->snapshot.index)
		return true;
	if (progress.match >= st->snapshot.index)
		finish(s, st, true, "done"); /* its raft was faster to say so */
	else
		give_up(s, st, "not_wanted");
	return false;
}

static void push_chunks(struct store *s, struct sending *st)
{
	uint32_t end;

	pthread_mutex_lock(&s->sending->lock);
	end = st->first + st->count;
	pthread_mutex_unlock(&s->sending->lock);
	while (st->next_send < end) {
		const struct buf *chunk = &slot_of(st, st->next_send)->chunk;
		struct buf *b =
			outbox_begin(s, st->to, ITEM_STATE, st->partition);

		if (!b)
			return;
		if (buf_add(b, chunk->p, chunk->n)) {
			outbox_drop(s);
			return;
		}
		outbox_end(s);
		st->next_send++;
		st->sent_ns = now_of(s);
		st->bytes_sent += chunk->n;
	}
}

/*
 * This node's files cannot be read to the end. Repair mends what it can, in
 * time; what it cannot leaves the peer waiting until another one leads.
 */
static void picture_failed(struct store *s, const struct sending *st,
			   enum err err)
{
	struct partition *p = &s->partitions[st->partition];
	struct sending_pause *pause = &s->sending->pauses[p->id];
	uint64_t to = raft_successor(p->raft);

	pause->until_ns = now_of(s) + PAUSE_DAMAGE_MS * 1000000ull;
	if ((err != ERR_CORRUPT && err != ERR_IO) ||
	    ++pause->damaged < DAMAGED_MAX)
		return;
	pause->damaged = 0;
	if (to == RAFT_NOBODY || to == st->to || !group_open(p))
		return;
	if (raft_transfer(p->raft, to) == OK)
		log_warn("store",
			 "hand_over partition=%u to=%llu "
			 "reason=damaged",
			 p->id, (unsigned long long)to);
	group_fed(p);
}

static void serve(struct store *s, struct sending *st)
{
	uint64_t now_ns = now_of(s);
	enum err err;

	pthread_mutex_lock(&s->sending->lock);
	err = st->err;
	pthread_mutex_unlock(&s->sending->lock);
	if (!is_wanted(s, st))
		return;
	if (err) {
		give_up(s, st, err_text(err));
		picture_failed(s, st, err);
		return;
	}
	if (is_over(now_ns, st->heard_ns, STATE_QUIET_MS) ||
	    is_over(now_ns, st->progress_ns, STATE_STALL_MS)) {
		give_up(s, st, "timeout");
		return;
	}
	if (st->next_send > st->first &&
	    is_over(now_ns, st->heard_ns, STATE_AGAIN_MS) &&
	    is_over(now_ns, st->sent_ns, STATE_AGAIN_MS))
		st->next_send = st->first;
	push_chunks(s, st);
}

/* Is a stream of p under way to peer, or a picture offered for one? */
static bool has_stream(struct store *s, const struct partition *p,
		       uint64_t peer)
{
	for (uint32_t i = 0; i < STATE_STREAMS_MAX; i++) {
		const struct sending *st = &s->sending->streams[i];

		if (st->partition == p->id &&
		    (st->state == OFFERED ||
		     (st->state == SENDING && st->to == peer)))
			return true;
	}
	return false;
}

/* Whoever raft waits for in vain is told to it as failed. */
static void look_after(struct store *s, struct partition *p)
{
	struct raft_status status;
	struct raft_progress progress;

	if (!p->raft || p->broken)
		return;
	raft_status(p->raft, &status);
	if (status.role != RAFT_LEADER)
		return;
	for (uint32_t i = 0; i < status.member_count; i++) {
		raft_progress_at(p->raft, i, &progress);
		if (progress.flow == RAFT_FLOW_SNAPSHOT &&
		    !has_stream(s, p, progress.id))
			tell_raft(p, progress.id, false);
	}
}

void state_send_round(struct store *s)
{
	uint64_t now_ns = now_of(s);

	for (uint32_t i = 0; i < STATE_STREAMS_MAX; i++) {
		struct sending *st = &s->sending->streams[i];

		if (st->state == SENDING)
			serve(s, st);
		else if (st->state == OFFERED &&
			 is_over(now_ns, st->since_ns, OFFER_MS))
			set_state(s, st, CLEARING);
	}
	if (!is_over(now_ns, s->sending->looked_ns, LOOK_MS))
		return;
	s->sending->looked_ns = now_ns;
	for (uint32_t i = 0; i < s->partition_count; i++)
		look_after(s, &s->partitions[i]);
}

bool state_send_busy(struct store *s)
{
	bool busy = false;

	pthread_mutex_lock(&s->sending->lock);
	for (uint32_t i = 0; i < STATE_STREAMS_MAX; i++)
		busy |= s->sending->streams[i].state != FREE &&
			!s->sending->streams[i].cleared;
	pthread_mutex_unlock(&s->sending->lock);
	return busy;
}

/* ----------------------------------------------------------------- life -- */

enum err state_send_start(struct store *s)
{
	struct state_sending *all = calloc(
		1, sizeof(*all) + s->partition_count * sizeof(all->pauses[0]));

	if (!all)
		return ERR_NOMEM;
	pthread_mutex_init(&all->lock, NULL);
	s->sending = all;
	return OK;
}

void state_send_stop(struct store *s)
{
	if (!s->sending)
		return;
	for (uint32_t i = 0; i < STATE_STREAMS_MAX; i++) {
		struct sending *st = &s->sending->streams[i];

		engine_snapshot_close(st->picture);
		for (uint32_t k = 0; k < STATE_AHEAD; k++)
			buf_done(&st->ring[k].chunk);
	}
	pthread_mutex_destroy(&s->sending->lock);
	free(s->sending);
	s->sending = NULL;
}

uint64_t state_sent_bytes(struct store *s, uint64_t id)
{
	uint64_t bytes = 0;

	for (int i = 0; i < STATE_STREAMS_MAX; i++) {
		const struct sending *st = &s->sending->streams[i];

		if (st->state == SENDING && st->to == id)
			bytes += st->bytes_sent;
	}
	return bytes;
}
