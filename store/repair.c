/*
 * store/repair.c - damaged bytes are fetched from peers.
 *
 *   asker   wanted: what is damaged here   --FETCH-->   asked: what others ask
 *           heal, sync, settle           <--FETCHED--   entry: read by the core
 *                                                       record: by the mover
 *
 * An entry is wanted because engine_missing names it (its bytes were lost
 * before they were settled; until all such are back raft is told, and the group
 * does not campaign), or because it was met when a peer was to get it. A record
 * is wanted because a read, a merge or a scan found it damaged: whoever it was,
 * engine_damaged_take tells. Chunks of large values are records like others.
 *
 * Peers are asked in turn, each a second long; when all have been asked in
 * vain it is tried again later, at longer and longer intervals. A peer that is
 * behind, ahead or damaged itself says "not here". What comes back is taken
 * only if it is what was asked for: an entry of the term that the log here has
 * at its index, a record of the version that the key directory has.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "base/net.h"
#include "store/group_internal.h"
#include "store/state_internal.h"

enum {
	WANTED_MAX = 64,
	ASKED_MAX = 64,
	TAKE_MAX = 8, /* damaged keys taken from the engine at a time */
	LOOK_MS = 100,
	LOOK_IDLE_MS = 1000,
	ANSWER_MS = 1000,
	PAUSE_MS = 2000, /* after all peers were asked in vain: times rounds */
	PAUSES_MAX = 30,
};

/* Damaged here. */
struct wanted {
	bool used;
	bool missing; /* engine_missing named it */
	enum fetch_kind kind;
	uint16_t partition;
	uint64_t what; /* index or version */
	struct buf key;
	uint64_t ticket, peer; /* ticket 0: nobody is being asked */
	uint64_t due_ns;       /* the answer is overdue, or: ask then */
	uint32_t turn, tried, rounds;
};

/* Asked by a peer: the mover looks it up. */
struct asked {
	bool used, done; /* lock */
	uint16_t partition;
	uint64_t from, ticket, version;
	struct buf key, answer;
};

struct repair {
	pthread_mutex_t lock;
	struct wanted wanted[WANTED_MAX];
	struct asked asked[ASKED_MAX];
	uint32_t wanted_count; /* used ones: a round with none looks at none */
	_Atomic uint32_t asked_count;
	struct engine_damaged taken[TAKE_MAX];
	struct engine_log_entry read;
	struct wire_entry entry;
	uint64_t looked_ns;
	bool healed; /* appended, not settled */
	enum err err;
};

static uint64_t now_of(struct store *s)
{
	return clock_mono_ns(s->o.clock);
}

static uint64_t after_ms(struct store *s, uint64_t ms)
{
	return now_of(s) + ms * 1000000;
}

/* --------------------------------------------------------------- wanted -- */

static void forget(struct repair *r, struct wanted *x)
{
	CHECK(x->used);
	CHECK(r->wanted_count > 0);
	r->wanted_count--;
	x->key.n = 0;
	*x = (struct wanted){ .key = x->key };
}

/* The item for this, a new one if there is room; NULL: there is none. */
static struct wanted *want(struct store *s, enum fetch_kind kind,
			   uint16_t partition, uint64_t what, struct bytes key)
{
	struct wanted *empty = NULL;

	for (uint32_t i = 0; i < WANTED_MAX; i++) {
		struct wanted *x = &s->repair->wanted[i];

		if (!x->used)
			empty = x;
		else if (x->kind == kind && x->partition == partition &&
			 x->what == what &&
			 bytes_equal(buf_bytes(&x->key), key))
			return x;
	}
	if (!empty || buf_add(&empty->key, key.p, key.n))
		return NULL;
	empty->used = true;
	s->repair->wanted_count++;
	empty->kind = kind;
	empty->partition = partition;
	empty->what = what;
	empty->due_ns = now_of(s);
	log_warn("store", "damaged partition=%u %s=%llu action=fetch",
		 partition, kind == FETCH_ENTRY ? "entry" : "version",
		 (unsigned long long)what);
	return empty;
}

void repair_want(struct store *s, struct partition *p, uint64_t index)
{
	(void)want(s, FETCH_ENTRY, p->id, index, bytes_of(NULL, 0));
}

uint64_t repair_readable_to(const struct store *s, const struct partition *p,
			    uint64_t from, uint64_t to)
{
	if (!s->repair || !s->repair->wanted_count)
		return to;
	for (uint32_t i = 0; i < WANTED_MAX; i++) {
		const struct wanted *x = &s->repair->wanted[i];

		if (x->used && x->kind == FETCH_ENTRY && x->rounds > 0 &&
		    x->partition == p->id && x->what >= from && x->what <= to)
			to = x->what - 1;
	}
	return to;
}

/* Tell raft what is missing, and want it. */
static void look_at_log(struct store *s, struct partition *p)
{
	uint64_t index = engine_missing(s->engine, p->id);
	struct raft_status status;
	struct wanted *x;

	raft_status(p->raft, &status);
	if (index != status.missing && group_open(p)) {
		raft_set_missing(p->raft, index);
		group_fed(p);
		if (!index)
			log_info("store", "log_whole partition=%u", p->id);
	}
	if (!index)
		return;
	x = want(s, FETCH_ENTRY, p->id, index, bytes_of(NULL, 0));
	if (x)
		x->missing = true;
}

/* What does not fit now stays with the engine. */
static void look_at_records(struct store *s)
{
	struct repair *r = s->repair;
	uint32_t room = WANTED_MAX - r->wanted_count, n;

	if (room > TAKE_MAX)
		room = TAKE_MAX;
	n = room ? engine_damaged_take(s->engine, r->taken, room) : 0;
	for (uint32_t i = 0; i < n; i++) {
		const struct engine_damaged *d = &r->taken[i];

		(void)want(s, FETCH_RECORD, d->partition, d->version,
			   bytes_of(d->key, d->key_bytes));
	}
}

static void look(struct store *s)
{
	uint64_t now_ns = now_of(s);

	if (s->repair->looked_ns &&
	    now_ns - s->repair->looked_ns < LOOK_MS * 1000000ull)
		return;
	s->repair->looked_ns = now_ns;
	for (uint32_t i = 0; i < s->partition_count; i++) {
		if (s->partitions[i].raft)
			look_at_log(s, &s->partitions[i]);
	}
	look_at_records(s);
}

/* --------------------------------------------------------------- asking -- */

/* Is it still damaged, as far as can be told without reading it? */
static bool is_wanted(struct store *s, const struct wanted *x)
{
	struct engine_info info;

	if (x->kind == FETCH_RECORD)
		return engine_peek(s->engine, x->partition, buf_bytes(&x->key),
				   &info) == OK &&
		       info.version == x->what;
	if (x->missing)
		return engine_missing(s->engine, x->partition) == x->what;
	return x->what >= engine_first_index(s->engine, x->partition);
}

static bool is_up(struct store *s, uint64_t peer)
{
	return !s->o.net || s->o.net->is_up(s->o.net, peer);
}

/* The next peer of the group whose turn it is; RAFT_NOBODY: all were asked. */
static uint64_t next_peer(struct store *s, struct wanted *x)
{
	const struct raft *raft = s->partitions[x->partition].raft;
	const struct raft_conf *conf = raft_conf(raft);
	struct raft_status status;

	raft_status(raft, &status);
	while (x->tried < conf->count) {
		uint64_t peer = conf->id[x->turn++ % conf->count];

		x->tried++;
		if (peer != status.id && is_up(s, peer))
			return peer;
	}
	return RAFT_NOBODY;
}

static void send_fetch(struct store *s, struct wanted *x)
{
	struct fetch f = { .kind = x->kind, .ticket = x->ticket };
	struct buf *b;

	if (x->kind == FETCH_ENTRY) {
		f.index = x->what;
		if (engine_term_at(s->engine, x->partition, x->what, &f.term))
			f.term = 0;
	} else {
		f.version = x->what;
		f.key = buf_bytes(&x->key);
	}
	b = outbox_begin(s, x->peer, ITEM_FETCH, x->partition);
	if (!b)
		return; /* as if lost: the answer will be overdue */
	if (fetch_encode(b, &f))
		outbox_drop(s);
	else
		outbox_end(s);
}

static void ask(struct store *s, struct wanted *x)
{
	x->ticket = 0;
	if (!is_wanted(s, x)) {
		forget(s->repair, x);
		return;
	}
	x->peer = next_peer(s, x);
	if (x->peer == RAFT_NOBODY) {
		if (x->rounds < PAUSES_MAX)
			x->rounds++;
		x->tried = 0;
		x->due_ns = after_ms(s, (uint64_t)PAUSE_MS * x->rounds);
		count_up(&s->repairs_failed, 1);
		return;
	}
	x->ticket = seed_next(s->o.seed) | 1;
	x->due_ns = after_ms(s, ANSWER_MS);
	count_up(&s->repairs_asked, 1);
	send_fetch(s, x);
}

/* -------------------------------------------------------------- healing -- */

static enum err heal_entry(struct store *s, const struct wanted *x,
			   struct bytes payload)
{
	struct wire_entry *we = &s->repair->entry;
	uint64_t term;
	enum err err = wire_entry_decode(&payload, we);

	if (err)
		return err;
	we->entry.partition = x->partition;
	we->entry.index = x->what;
	if (payload.n > 0 ||
	    engine_term_at(s->engine, x->partition, x->what, &term) ||
	    term != we->entry.term)
		return ERR_INVALID;
	return engine_heal_entry(s->engine, &we->entry);
}

static enum err heal_record(struct store *s, const struct wanted *x,
			    struct bytes payload)
{
	const struct raft_snapshot any = { .index = VERSION_INDEX_MAX,
					   .term = UINT64_MAX };
	struct record r;
	enum err err = fetched_record(payload, &r);

	if (err)
		return err;
	if (r.type != RECORD_PUT ||
	    !state_record_fits(&r, x->partition, &any) ||
	    version_pack(r.index, r.position) != x->what ||
	    !bytes_equal(r.key, buf_bytes(&x->key)))
		return ERR_INVALID;
	return engine_heal_record(s->engine, &r);
}

static void healed(struct store *s, struct wanted *x)
{
	log_info("store", "healed partition=%u %s=%llu from=%llu", x->partition,
		 x->kind == FETCH_ENTRY ? "entry" : "version",
		 (unsigned long long)x->what, (unsigned long long)x->peer);
	diary_note(s->o.diary, DIARY_HEALED, x->partition, x->peer, 0, 0);
	count_up(&s->repairs_healed, 1);
	s->repair->healed = true;
	s->repair->looked_ns = 0; /* what is missing next? */
	forget(s->repair, x);
}

static struct wanted *find_wanted(struct store *s, uint64_t from,
				  const struct fetched *f, uint16_t partition)
{
	for (uint32_t i = 0; i < WANTED_MAX; i++) {
		struct wanted *x = &s->repair->wanted[i];

		if (x->used && x->ticket && x->ticket == f->ticket &&
		    x->peer == from && x->kind == f->kind &&
		    x->partition == partition)
			return x;
	}
	return NULL;
}

void repair_answered(struct store *s, uint64_t from, const struct item *item)
{
	struct fetched f;
	struct wanted *x;
	enum err err;

	if (fetched_decode(item->body, &f))
		return;
	x = find_wanted(s, from, &f, item->partition);
	if (!x)
		return;
	x->ticket = 0;
	x->due_ns = now_of(s);
	if (!f.found || !is_wanted(s, x))
		return; /* the next one is asked, or it is forgotten */
	err = x->kind == FETCH_ENTRY ? heal_entry(s, x, f.payload)
				     : heal_record(s, x, f.payload);
	switch (err) {
	case OK:
		healed(s, x);
		return;
	case ERR_IO:
		s->repair->err = err;
		return;
	case ERR_NOSPC:
	case ERR_NOMEM:
		x->due_ns = after_ms(s, PAUSE_MS);
		return;
	default:
		log_warn("store",
			 "repair_refused partition=%u from=%llu "
			 "error=%s",
			 x->partition, (unsigned long long)from, err_text(err));
		return;
	}
}

/* ---------------------------------------------------------------- asked -- */

static void answer(struct store *s, uint64_t to, uint16_t partition,
		   struct bytes body)
{
	struct buf *b = outbox_begin(s, to, ITEM_FETCHED, partition);

	if (!b)
		return;
	if (buf_add(b, body.p, body.n))
		outbox_drop(s);
	else
		outbox_end(s);
}

static enum err encode_entry(struct store *s, const struct partition *p,
			     const struct fetch *f, struct buf *b)
{
	struct engine_log_entry *le = &s->repair->read;
	bool found;
	enum err err;

	/* Of an unknown term only what is committed can be meant. */
	found = (f->term != 0 ||
		 f->index <= engine_applied_index(s->engine, p->id)) &&
		engine_log_read(s->engine, p->id, f->index, le) == OK &&
		(f->term == 0 || le->entry.term == f->term);
	err = fetched_begin(b, FETCH_ENTRY, f->ticket, found);
	if (!err && found)
		err = wire_entry_encode(b, &le->entry);
	return err;
}

static void answer_entry(struct store *s, uint64_t from, struct partition *p,
			 const struct fetch *f)
{
	struct buf *b = outbox_begin(s, from, ITEM_FETCHED, p->id);

	if (!b)
		return;
	if (encode_entry(s, p, f, b))
		outbox_drop(s);
	else
		outbox_end(s);
}

/* Hand the question to the mover. With too many of them it is lost. */
static void queue_asked(struct store *s, uint64_t from, uint16_t partition,
			const struct fetch *f)
{
	struct repair *r = s->repair;
	struct asked *empty = NULL;

	pthread_mutex_lock(&r->lock);
	for (uint32_t i = 0; i < ASKED_MAX && !empty; i++) {
		if (!r->asked[i].used)
			empty = &r->asked[i];
	}
	pthread_mutex_unlock(&r->lock);
	if (!empty)
		return;
	empty->key.n = 0;
	if (buf_add(&empty->key, f->key.p, f->key.n))
		return;
	empty->from = from;
	empty->partition = partition;
	empty->ticket = f->ticket;
	empty->version = f->version;
	pthread_mutex_lock(&r->lock);
	empty->used = true;
	empty->done = false;
	atomic_fetch_add(&r->asked_count, 1);
	pthread_mutex_unlock(&r->lock);
}

void repair_asked(struct store *s, uint64_t from, const struct item *item)
{
	struct partition *p;
	struct fetch f;

	if (item->partition >= s->partition_count ||
	    fetch_decode(item->body, &f))
		return;
	p = &s->partitions[item->partition];
	if (f.kind == FETCH_ENTRY)
		answer_entry(s, from, p, &f);
	else
		queue_asked(s, from, p->id, &f);
}

/* The answer to one question. ERR_NOMEM: none. Mover. */
static enum err look_up(struct store *s, struct asked *a)
{
	struct engine_value v = { 0 };
	struct record r;
	bool found;
	enum err err;

	a->answer.n = 0;
	found = engine_get(s->engine, a->partition, buf_bytes(&a->key),
			   ENGINE_VERIFY, &v) == OK &&
		v.version == a->version;
	r = (struct record){ .type = RECORD_PUT };
	if (found)
		r = (struct record){
			.type = RECORD_PUT,
			.flags = loc_flags(v.loc) & 63,
			.partition = a->partition,
			.position = v.version & ENTRY_POSITION_MAX,
			.index = version_index(v.version),
			.term = v.term,
			.stamp_ns = v.stamp_ns,
			.mtime_ns = v.mtime_ns,
			.expiry_ns = v.expiry_ns,
			.key = buf_bytes(&a->key),
			.attrs = v.attrs,
			.value = v.value,
		};
	err = fetched_begin(&a->answer, FETCH_RECORD, a->ticket, found);
	if (!err && found)
		err = fetched_record_encode(&a->answer, &r);
	engine_value_done(&v);
	return err;
}

bool repair_move(struct store *s)
{
	struct repair *r = s->repair;
	struct asked *a = NULL;
	enum err err;

	if (!r || !atomic_load(&r->asked_count))
		return false;
	pthread_mutex_lock(&r->lock);
	for (uint32_t i = 0; i < ASKED_MAX && !a; i++) {
		if (r->asked[i].used && !r->asked[i].done)
			a = &r->asked[i];
	}
	pthread_mutex_unlock(&r->lock);
	if (!a)
		return false;
	err = look_up(s, a);
	if (err)
		a->answer.n = 0;
	pthread_mutex_lock(&r->lock);
	a->done = true;
	pthread_mutex_unlock(&r->lock);
	state_wake(s);
	return true;
}

static void send_answers(struct store *s)
{
	struct repair *r = s->repair;

	if (!atomic_load(&r->asked_count))
		return;
	for (uint32_t i = 0; i < ASKED_MAX; i++) {
		struct asked *a = &r->asked[i];
		bool done;

		pthread_mutex_lock(&r->lock);
		done = a->used && a->done;
		pthread_mutex_unlock(&r->lock);
		if (!done)
			continue;
		if (a->answer.n > 0)
			answer(s, a->from, a->partition, buf_bytes(&a->answer));
		buf_done(&a->answer);
		pthread_mutex_lock(&r->lock);
		a->used = false;
		atomic_fetch_sub(&r->asked_count, 1);
		pthread_mutex_unlock(&r->lock);
	}
}

/* ---------------------------------------------------------------- round -- */

/* Seldom enough to have a sync of its own. */
static enum err settle_healed(struct store *s)
{
	enum err err;

	if (!s->repair->healed)
		return OK;
	err = engine_sync(s->engine);
	if (!err)
		err = engine_heal_settle(s->engine);
	if (err == ERR_NOMEM || err == ERR_NOSPC)
		return OK; /* again in the next round */
	if (!err)
		s->repair->healed = false;
	return err ? ERR_IO : OK;
}

enum err repair_round(struct store *s)
{
	struct repair *r = s->repair;
	uint64_t now_ns;
	enum err err;

	if (r->err)
		return r->err;
	err = settle_healed(s);
	if (err)
		return err;
	send_answers(s);
	look(s);
	now_ns = now_of(s);
	for (uint32_t i = 0; i < WANTED_MAX && r->wanted_count; i++) {
		struct wanted *x = &r->wanted[i];

		if (x->used && now_ns >= x->due_ns)
			ask(s, x);
	}
	return OK;
}

uint64_t repair_wait_ms(struct store *s)
{
	if (s->repair->wanted_count || s->repair->healed)
		return LOOK_MS;
	return s->o.net ? LOOK_IDLE_MS : UINT64_MAX;
}

enum err repair_start(struct store *s)
{
	struct repair *r = calloc(1, sizeof(*r));

	if (!r)
		return ERR_NOMEM;
	pthread_mutex_init(&r->lock, NULL);
	s->repair = r;
	return OK;
}

void repair_stop(struct store *s)
{
	struct repair *r = s->repair;

	if (!r)
		return;
	for (uint32_t i = 0; i < WANTED_MAX; i++)
		buf_done(&r->wanted[i].key);
	for (uint32_t i = 0; i < ASKED_MAX; i++) {
		buf_done(&r->asked[i].key);
		buf_done(&r->asked[i].answer);
	}
	engine_log_entry_done(&r->read);
	wire_entry_done(&r->entry);
	pthread_mutex_destroy(&r->lock);
	free(r);
	s->repair = NULL;
}
