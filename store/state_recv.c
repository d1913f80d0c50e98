/*
 * store/state_recv.c - a partition's state arrives in chunks and is installed.
 *
 *   BEGIN      core   asks raft whether it is of use       TAKING
 *   RECORDS    core   into the ring, in order
 *              mover  ring -> engine_install_add; what it took is acknowledged
 *   END        mover  counts, engine_install_finish        whole
 *   round      core   group_install, state_installed, DONE
 *   given up   mover  engine_install_abort                 CLEARING -> FREE
 *
 * The ring holds the chunks [taken, wanted). What comes in another order than
 * by number, or finds the ring full, is dropped, and asked for again when the
 * ring has run dry. A chunk that is there already is harmless, a stream that
 * is unknown is asked for from its beginning, which a sender that has got
 * further takes for what it is: this end was restarted.
 *
 * There is one install a partition. A stream of a later term, or of the same
 * term and no older snapshot, takes the place of an earlier one.
 *
 * Nothing here trusts the sender: what its records may be is checked one by
 * one before the engine sees them, what they replace is decided by raft alone.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "engine/replica.h"
#include "store/state_internal.h"

enum {
	ASK_AGAIN_MS = 200, /* not more often about a gap */
	HELD_MS = 250,	    /* then another try to put it in force */
};

enum incoming_state { FREE, TAKING, CLEARING };

struct incoming {
	enum incoming_state state; /* of the core; lock to change */
	uint64_t from, id, term, stamp_ns, clock_ns;
	uint16_t partition;
	struct raft_snapshot snapshot;
	/* core */
	uint64_t since_ns, heard_ns, told_ns, asked_ns;
	uint64_t held_ns; /* raft has it, the engine lacks room: since then */
	uint64_t bytes;
	uint32_t told; /* what the sender knows to be taken */
	/* lock */
	bool cleared; /* CLEARING: nothing is held any more */
	bool whole;   /* finished: to be installed */
	bool busy;    /* the mover has a chunk in its hands */
	uint32_t taken, wanted;
	uint64_t held_bytes;
	enum err err;
	/* mover; core once whole or cleared */
	struct engine_install *install;
	uint64_t records;
	struct state_slot ring[STATE_AHEAD];
};

struct state_receiving {
	pthread_mutex_t lock;
	uint32_t turn; /* mover */
	struct incoming streams[STATE_STREAMS_MAX];
};

static uint64_t now_of(struct store *s)
{
	return clock_mono_ns(s->o.clock);
}

static bool is_over(uint64_t now_ns, uint64_t from_ns, uint64_t ms)
{
	return now_ns - from_ns >= ms * 1000000;
}

static struct state_slot *slot_of(struct incoming *in, uint32_t number)
{
	return &in->ring[number % STATE_AHEAD];
}

/* ---------------------------------------------------------------- mover -- */

static enum err take_records(struct incoming *in, const struct state_chunk *c)
{
	struct bytes payload = c->payload;
	struct record r;
	uint32_t n = 0;
	enum err err;

	while (!(err = state_record_next(&payload, in->id, &r))) {
		if (!state_record_fits(&r, in->partition, &in->snapshot))
			return ERR_INVALID;
		err = engine_install_add(in->install, &r);
		if (err)
			return err;
		n++;
	}
	if (err != ERR_NOT_FOUND)
		return err;
	in->records += n;
	return n == c->records ? OK : ERR_INVALID;
}

/* Take over one chunk. *whole: it was the last, all is there and synced. */
static enum err take_chunk(struct store *s, struct incoming *in,
			   struct bytes bytes, bool *whole)
{
	struct state_chunk c;
	enum err err = OK;

	if (!in->install)
		err = engine_install_open(s->engine, in->partition,
					  in->snapshot.index, in->snapshot.term,
					  &in->install);
	if (!err)
		err = state_chunk_decode(bytes, &c);
	if (err)
		return err;
	if (c.kind == STATE_RECORDS)
		return take_records(in, &c);
	CHECK(c.kind == STATE_END);
	if (c.record_count != in->records)
		return ERR_INVALID;
	engine_install_stamp(in->install, in->stamp_ns);
	err = engine_install_finish(in->install);
	*whole = !err;
	return err;
}

/* Entered and left with the lock. */
static void move_one(struct store *s, struct incoming *in)
{
	struct state_slot *slot = slot_of(in, in->taken);
	bool whole = false;
	enum err err;

	in->busy = true;
	pthread_mutex_unlock(&s->receiving->lock);
	err = take_chunk(s, in, buf_bytes(&slot->chunk), &whole);
	pthread_mutex_lock(&s->receiving->lock);
	in->busy = false;
	in->held_bytes -= slot->chunk.n;
	state_slot_empty(slot);
	in->taken++;
	in->err = err;
	in->whole = whole;
}

static void clear_one(struct store *s, struct incoming *in)
{
	pthread_mutex_unlock(&s->receiving->lock);
	engine_install_abort(in->install);
	in->install = NULL;
	for (uint32_t i = 0; i < STATE_AHEAD; i++)
		buf_done(&in->ring[i].chunk);
	pthread_mutex_lock(&s->receiving->lock);
	in->cleared = true;
}

static bool wants_move(const struct incoming *in)
{
	if (in->state == CLEARING)
		return !in->cleared;
	return in->state == TAKING && !in->err && !in->whole &&
	       in->taken < in->wanted;
}

bool state_recv_move(struct store *s)
{
	struct state_receiving *all = s->receiving;
	bool moved = false;

	pthread_mutex_lock(&all->lock);
	for (uint32_t i = 0; i < STATE_STREAMS_MAX && !moved; i++) {
		struct incoming *in =
			&all->streams[all->turn++ % STATE_STREAMS_MAX];

		moved = wants_move(in);
		if (moved && in->state == CLEARING)
			clear_one(s, in);
		else if (moved)
			move_one(s, in);
	}
	pthread_mutex_unlock(&all->lock);
	if (moved)
		state_wake(s);
	return moved;
}

/* ------------------------------------------------------------ beginning -- */

static void set_state(struct store *s, struct incoming *in,
		      enum incoming_state state)
{
	pthread_mutex_lock(&s->receiving->lock);
	in->state = state;
	pthread_mutex_unlock(&s->receiving->lock);
}

/* Give the stream up; the mover clears it away. */
static void drop(struct store *s, struct incoming *in, const char *why)
{
	log_info("store",
		 "snapshot_dropped partition=%u from=%llu index=%llu reason=%s",
		 in->partition, (unsigned long long)in->from,
		 (unsigned long long)in->snapshot.index, why);
	set_state(s, in, CLEARING);
}

static struct incoming *find_free(struct store *s)
{
	struct incoming *found = NULL;

	pthread_mutex_lock(&s->receiving->lock);
	for (uint32_t i = 0; i < STATE_STREAMS_MAX; i++) {
		struct incoming *in = &s->receiving->streams[i];

		if (in->state == CLEARING && in->cleared)
			*in = (struct incoming){ .state = FREE };
		if (in->state == FREE && !found)
			found = in;
	}
	pthread_mutex_unlock(&s->receiving->lock);
	return found;
}

/* The stream of partition, one that is being cleared away too; or NULL. */
static struct incoming *find_partition(struct store *s, uint16_t partition)
{
	for (uint32_t i = 0; i < STATE_STREAMS_MAX; i++) {
		struct incoming *in = &s->receiving->streams[i];

		if (in->state != FREE && in->partition == partition)
			return in;
	}
	return NULL;
}

static struct incoming *find_stream(struct store *s, uint64_t from, uint64_t id)
{
	for (uint32_t i = 0; i < STATE_STREAMS_MAX; i++) {
		struct incoming *in = &s->receiving->streams[i];

		if (in->state == TAKING && in->from == from && in->id == id)
			return in;
	}
	return NULL;
}

/* Tell the sender how far its stream was taken. */
static void tell(struct store *s, struct incoming *in,
		 enum state_reply_kind kind)
{
	uint32_t next;

	pthread_mutex_lock(&s->receiving->lock);
	next = kind == STATE_AGAIN ? in->wanted : in->taken;
	pthread_mutex_unlock(&s->receiving->lock);
	in->told = next;
	in->told_ns = now_of(s);
	state_answer(s, in->from, in->partition, kind, in->id, next);
}

/* Would the state that c begins be of use to p? TAKEN, or what to answer. */
static enum state_reply_kind judge(struct store *s, uint64_t from,
				   const struct partition *p,
				   const struct state_chunk *c)
{
	struct incoming *in = find_partition(s, p->id);
	struct raft_status status;

	raft_status(p->raft, &status);
	if (c->term < status.term ||
	    (c->term == status.term && status.leader != RAFT_NOBODY &&
	     status.leader != from))
		return STATE_REFUSED;
	if (!raft_wants_snapshot(p->raft, c->snapshot.index))
		return STATE_HAVE;
	if (in && in->state != CLEARING &&
	    (in->held_ns || c->term < in->term ||
	     (c->term == in->term && c->snapshot.index < in->snapshot.index)))
		return STATE_REFUSED;
	return STATE_TAKEN;
}

static void begin(struct store *s, uint64_t from, struct partition *p,
		  const struct state_chunk *c)
{
	struct incoming *in = find_stream(s, from, c->stream), *old;
	enum state_reply_kind answer;

	if (in && in->partition == p->id) {
		tell(s, in, STATE_TAKEN); /* it comes a second time */
		return;
	}
	answer = judge(s, from, p, c);
	if (answer != STATE_TAKEN) {
		state_answer(s, from, p->id, answer, c->stream, 0);
		return;
	}
	in = find_free(s); /* also frees what was cleared away */
	old = find_partition(s, p->id);
	if (old && old->state != CLEARING)
		drop(s, old, "replaced");
	if (old || !in) { /* wait: it is sent again */
		state_answer(s, from, p->id, STATE_TAKEN, c->stream, 0);
		return;
	}
	in->from = from;
	in->id = c->stream;
	in->term = c->term;
	in->stamp_ns = c->stamp_ns;
	in->clock_ns = c->clock_ns;
	in->partition = p->id;
	in->snapshot = c->snapshot;
	in->since_ns = in->heard_ns = now_of(s);
	in->taken = in->wanted = 1;
	set_state(s, in, TAKING);
	log_info("store", "snapshot_receive partition=%u from=%llu index=%llu",
		 p->id, (unsigned long long)from,
		 (unsigned long long)c->snapshot.index);
	tell(s, in, STATE_TAKEN);
}

/* --------------------------------------------------------------- chunks -- */

/* Into the ring, if it is the next one and there is room. */
static bool accept(struct store *s, struct incoming *in, uint32_t number,
		   struct bytes bytes)
{
	struct state_slot *slot = slot_of(in, number);
	bool fits;

	pthread_mutex_lock(&s->receiving->lock);
	fits = number == in->wanted && in->wanted - in->taken < STATE_AHEAD &&
	       in->held_bytes < STATE_HELD_BYTES_MAX;
	pthread_mutex_unlock(&s->receiving->lock);
	if (!fits || buf_add(&slot->chunk, bytes.p, bytes.n))
		return false;
	pthread_mutex_lock(&s->receiving->lock);
	in->wanted++;
	in->held_bytes += bytes.n;
	pthread_mutex_unlock(&s->receiving->lock);
	in->bytes += bytes.n;
	return true;
}

static void take(struct store *s, uint64_t from, struct partition *p,
		 const struct state_chunk *c, struct bytes bytes)
{
	struct incoming *in = find_stream(s, from, c->stream);
	uint64_t now_ns = now_of(s);

	if (!in || in->partition != p->id) {
		state_answer(s, from, p->id, STATE_AGAIN, c->stream, 0);
		return;
	}
	in->heard_ns = now_ns;
	if (accept(s, in, c->number, bytes))
		return;
	if (c->number < in->wanted) {
		tell(s, in, STATE_TAKEN);
	} else if (c->number > in->wanted &&
		   is_over(now_ns, in->asked_ns, ASK_AGAIN_MS)) {
		in->asked_ns = now_ns;
		tell(s, in, STATE_AGAIN);
	}
}

void state_receive(struct store *s, uint64_t from, const struct item *item)
{
	struct state_chunk c;
	struct partition *p;
	struct incoming *in;

	if (item->partition >= s->partition_count ||
	    state_chunk_decode(item->body, &c))
		return;
	p = &s->partitions[item->partition];
	if (!p->raft || p->broken)
		return;
	switch (c.kind) {
	case STATE_BEGIN:
		begin(s, from, p, &c);
		return;
	case STATE_RECORDS:
	case STATE_END:
		take(s, from, p, &c, item->body);
		return;
	case STATE_GONE:
		in = find_stream(s, from, c.stream);
		if (in)
			drop(s, in, "sender_gone");
		return;
	case STATE_KIND_MAX:
		return;
	}
}

/* ---------------------------------------------------------------- round -- */

/*
 * The whole state is there. Whether it takes the place of the one in force is
 * raft's to say; that it did shows in the applied index.
 */
static enum err install(struct store *s, struct incoming *in)
{
	struct partition *p = &s->partitions[in->partition];
	uint64_t before = engine_applied_index(s->engine, p->id);
	struct engine_install *built = in->install;
	bool taken;
	enum err err;

	in->install = NULL;
	err = group_install(s, p, in->from, in->term, &in->snapshot, built);
	if (err == ERR_BUSY) {
		in->install = built;
		in->held_ns = now_of(s);
		return OK;
	}
	taken = before < in->snapshot.index &&
		engine_applied_index(s->engine, p->id) >= in->snapshot.index;
	if (!err && taken)
		err = state_installed(s, p, in->clock_ns);
	log_info("store",
		 "snapshot_received partition=%u from=%llu index=%llu "
		 "bytes=%llu records=%llu ms=%llu result=%s",
		 p->id, (unsigned long long)in->from,
		 (unsigned long long)in->snapshot.index,
		 (unsigned long long)in->bytes, (unsigned long long)in->records,
		 (unsigned long long)(now_of(s) - in->since_ns) / 1000000,
		 err	 ? err_text(err)
		 : taken ? "installed"
			 : "not_wanted");
	state_answer(s, in->from, p->id, err ? STATE_REFUSED : STATE_DONE,
		     in->id, 0);
	set_state(s, in, CLEARING);
	/* With half of it in force nothing goes on; else it is tried again. */
	return err && (taken || err == ERR_IO) ? ERR_IO : OK;
}

static void refuse(struct store *s, struct incoming *in, const char *why)
{
	state_answer(s, in->from, in->partition, STATE_REFUSED, in->id, 0);
	drop(s, in, why);
}

/* Is what has arrived so far still worth going on with? */
static bool is_of_use(struct store *s, struct incoming *in)
{
	const struct raft *raft = s->partitions[in->partition].raft;
	struct raft_status status;

	raft_status(raft, &status);
	if (status.term > in->term) {
		refuse(s, in, "later_term");
		return false;
	}
	if (!raft_wants_snapshot(raft, in->snapshot.index)) {
		state_answer(s, in->from, in->partition, STATE_HAVE, in->id, 0);
		drop(s, in, "caught_up");
		return false;
	}
	return true;
}

static enum err serve(struct store *s, struct incoming *in)
{
	uint64_t now_ns = now_of(s);
	bool whole, idle;
	uint32_t taken;
	enum err err;

	if (in->held_ns)
		return is_over(now_ns, in->held_ns, HELD_MS) ? install(s, in)
							     : OK;
	pthread_mutex_lock(&s->receiving->lock);
	err = in->err;
	whole = in->whole;
	taken = in->taken;
	idle = taken == in->wanted && !in->busy;
	pthread_mutex_unlock(&s->receiving->lock);
	if (err) {
		refuse(s, in, err_text(err));
		return OK;
	}
	if (!is_of_use(s, in))
		return OK;
	if (whole)
		return install(s, in);
	if (idle && is_over(now_ns, in->heard_ns, STATE_QUIET_MS)) {
		drop(s, in, "timeout");
		return OK;
	}
	if (taken != in->told)
		tell(s, in, STATE_TAKEN);
	else if (is_over(now_ns, in->told_ns, STATE_TELL_MS))
		tell(s, in,
		     idle && is_over(now_ns, in->heard_ns, STATE_TELL_MS)
			     ? STATE_AGAIN
			     : STATE_TAKEN);
	return OK;
}

enum err state_recv_round(struct store *s)
{
	enum err err = OK;

	for (uint32_t i = 0; i < STATE_STREAMS_MAX && !err; i++) {
		if (s->receiving->streams[i].state == TAKING)
			err = serve(s, &s->receiving->streams[i]);
	}
	return err;
}

bool state_recv_busy(struct store *s)
{
	bool busy = false;

	pthread_mutex_lock(&s->receiving->lock);
	for (uint32_t i = 0; i < STATE_STREAMS_MAX; i++)
		busy |= s->receiving->streams[i].state != FREE &&
			!s->receiving->streams[i].cleared;
	pthread_mutex_unlock(&s->receiving->lock);
	return busy;
}

/* ----------------------------------------------------------------- life -- */

enum err state_recv_start(struct store *s)
{
	struct state_receiving *all = calloc(1, sizeof(*all));

	if (!all)
		return ERR_NOMEM;
	pthread_mutex_init(&all->lock, NULL);
	s->receiving = all;
	return OK;
}

void state_recv_stop(struct store *s)
{
	if (!s->receiving)
		return;
	for (uint32_t i = 0; i < STATE_STREAMS_MAX; i++) {
		struct incoming *in = &s->receiving->streams[i];

		engine_install_abort(in->install);
		for (uint32_t k = 0; k < STATE_AHEAD; k++)
			buf_done(&in->ring[k].chunk);
	}
	pthread_mutex_destroy(&s->receiving->lock);
	free(s->receiving);
	s->receiving = NULL;
}
