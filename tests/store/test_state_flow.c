/*
 * tests/store/test_state_flow.c - proves store/state_send.c and state_recv.c by
 * themselves: two nodes with real rafts, between them a network that may lose,
 * repeat, reorder and cut; engines and groups are stand-ins that count.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "engine/replica.h"
#include "engine/snapshot.h"
#include "store/group_internal.h"
#include "store/state_internal.h"

enum {
	PARTITIONS_MAX = 16,
	INDEX = 1000, /* of the sender's state at first */
	TERM = 3,
	MESSAGES_MAX = 4096,
	ROUND_MS = 10,
};

/* ------------------------------------------------------ a false engine --- */

struct item_of_state {
	uint64_t key, version;
	uint32_t value_bytes;
};

/* A partition's state: the items key 0..count-1, made from a number. */
struct content {
	uint64_t index;
	uint32_t count, value_bytes;
	uint64_t salt;
};

struct engine {
	struct content parts[PARTITIONS_MAX];
	uint32_t pictures, pictures_open, pictures_open_max; /* locked */
	uint32_t installs, installs_open, aborts, commits;
	enum err read_err, add_err, finish_err;
	uint64_t bad_record; /* 1: every first one is of another partition, 2:
				above the index, 3: damaged */
};

static pthread_mutex_t engine_lock = PTHREAD_MUTEX_INITIALIZER;

struct engine_snapshot {
	struct engine *e;
	uint16_t partition;
	struct content content;
	uint32_t next;
	uint8_t key[8];
	struct buf value;
};

struct engine_install {
	struct engine *e;
	uint16_t partition;
	struct content got; /* value_bytes, salt: of the first record */
	uint64_t index, term, stamp_ns;
	bool finished, *seen;
	uint32_t seen_cap;
};

static void count_open(uint32_t *open, uint32_t *most, int by)
{
	pthread_mutex_lock(&engine_lock);
	*open += (uint32_t)by;
	if (most && *open > *most)
		*most = *open;
	pthread_mutex_unlock(&engine_lock);
}

uint64_t engine_applied_index(struct engine *e, uint16_t partition)
{
	return e->parts[partition].index;
}

enum err engine_snapshot_open_partition(struct engine *e, uint16_t partition,
					struct engine_snapshot **out)
{
	struct engine_snapshot *s = calloc(1, sizeof(*s));

	if (!s)
		return ERR_NOMEM;
	s->e = e;
	s->partition = partition;
	s->content = e->parts[partition];
	e->pictures++;
	count_open(&e->pictures_open, &e->pictures_open_max, 1);
	*out = s;
	return OK;
}

uint64_t engine_snapshot_index(const struct engine_snapshot *s,
			       uint16_t partition)
{
	return s->content.index;
}

uint64_t engine_snapshot_stamp_ns(const struct engine_snapshot *s,
				  uint16_t partition)
{
	return s->content.index * 10;
}

void engine_snapshot_close(struct engine_snapshot *s)
{
	if (!s)
		return;
	count_open(&s->e->pictures_open, NULL, -1);
	buf_done(&s->value);
	free(s);
}

static uint8_t value_byte(uint64_t salt, uint64_t key)
{
	return (uint8_t)((salt * 31 + key) * 0x9e3779b97f4a7c15 >> 56);
}

enum err engine_snapshot_next(struct engine_snapshot *s, struct record *r)
{
	uint32_t n = s->content.value_bytes;

	if (s->e->read_err)
		return s->e->read_err;
	if (s->next == s->content.count)
		return ERR_NOT_FOUND;
	s->value.n = 0;
	if (buf_reserve(&s->value, n + 8))
		return ERR_NOMEM;
	put_be64(s->key, s->next);
	memset(s->value.p, value_byte(s->content.salt, s->next), n);
	*r = (struct record){ .type = RECORD_PUT,
			      .partition = s->partition,
			      .index = 1 + s->next % s->content.index,
			      .term = 1,
			      .flags = RECORD_LAST | 64, /* of files */
			      .key = bytes_of(s->key, 8),
			      .value = bytes_of(s->value.p, n) };
	s->next++;
	if (s->e->bad_record == 1)
		r->partition++;
	if (s->e->bad_record == 2)
		r->index = s->content.index + 1;
	if (s->e->bad_record == 3)
		r->flags |= LOC_DAMAGED;
	return OK;
}

enum err engine_install_open(struct engine *e, uint16_t partition,
			     uint64_t index, uint64_t term,
			     struct engine_install **out)
{
	struct engine_install *in = calloc(1, sizeof(*in));

	if (!in)
		return ERR_NOMEM;
	in->e = e;
	in->partition = partition;
	in->index = index;
	in->term = term;
	e->installs++;
	count_open(&e->installs_open, NULL, 1);
	*out = in;
	return OK;
}

enum err engine_install_add(struct engine_install *in, const struct record *r)
{
	uint64_t key = get_be64(r->key.p);

	if (in->e->add_err)
		return in->e->add_err;
	assert_int_equal(r->key.n, 8);
	assert_true(r->index >= 1 && r->index <= in->index);
	assert_int_equal(r->partition, in->partition);
	if (key >= in->seen_cap) {
		uint32_t cap = in->seen_cap ? 2 * in->seen_cap : 1024;
		bool *seen;

		assert_true(key < cap);
		seen = realloc(in->seen, cap);
		if (!seen)
			return ERR_NOMEM;
		memset(seen + in->seen_cap, 0, cap - in->seen_cap);
		in->seen = seen;
		in->seen_cap = cap;
	}
	assert_false(in->seen[key]); /* each record exactly once */
	in->seen[key] = true;
	if (key == 0 && r->value.n > 0) {
		in->got.salt = r->value.p[0];
		in->got.value_bytes = (uint32_t)r->value.n;
	}
	in->got.count++;
	return OK;
}

void engine_install_stamp(struct engine_install *in, uint64_t stamp_ns)
{
	in->stamp_ns = stamp_ns;
}

enum err engine_install_finish(struct engine_install *in)
{
	assert_int_equal(in->stamp_ns, in->index * 10);
	in->finished = true;
	return in->e->finish_err;
}

static void install_free(struct engine_install *in)
{
	count_open(&in->e->installs_open, NULL, -1);
	free(in->seen);
	free(in);
}

void engine_install_abort(struct engine_install *in)
{
	if (!in)
		return;
	in->e->aborts++;
	install_free(in);
}

/* ---------------------------------------------------------------- world -- */

struct message {
	uint64_t from, to;
	enum item_kind kind; /* ITEM_RAFT: raft is set, not bytes */
	uint16_t partition;
	struct buf bytes;
	struct raft_msg raft;
	uint64_t terms[64];
	struct raft_snapshot snapshot;
};

struct node {
	uint64_t id;
	struct store s;
	struct engine e;
	struct partition parts[PARTITIONS_MAX];
	struct buf out; /* the item under way */
	uint64_t out_to;
	enum item_kind out_kind;
	uint16_t out_partition;
	uint64_t budget; /* of the outbox in this round */
	bool mover_stands;
	_Atomic uint32_t wakes;
	uint32_t reloads;
	bool is_raft_muted;
};

static struct world {
	struct clock_sim clock;
	struct seed seed;
	struct node nodes[3]; /* 1, 2 */
	struct message *queue[MESSAGES_MAX];
	uint32_t queued;
	bool cut;
	uint32_t loss, repeat, reorder; /* per mille */
	uint64_t budget;
	uint32_t partitions;
	uint64_t begins, gones;
	bool threads;
} w;

static struct node *node_of(struct store *s)
{
	return s == &w.nodes[1].s ? &w.nodes[1] : &w.nodes[2];
}

static bool chance(uint32_t per_mille)
{
	return per_mille && seed_below(&w.seed, 1000) < per_mille;
}

static void message_free(struct message *m)
{
	buf_done(&m->bytes);
	free(m);
}

static void put_message(struct message *m)
{
	if (w.cut || chance(w.loss) || w.queued == MESSAGES_MAX) {
		message_free(m);
		return;
	}
	w.queue[w.queued++] = m;
	if (w.queued > 1 && chance(w.reorder)) {
		struct message *last = w.queue[w.queued - 2];

		w.queue[w.queued - 2] = m;
		w.queue[w.queued - 1] = last;
	}
}

/* ----------------------------------------------------- a false group ----- */

uint64_t log_clock_ns(struct store *s, const struct partition *p)
{
	return 77;
}

struct buf *outbox_begin(struct store *s, uint64_t to, enum item_kind kind,
			 uint16_t partition)
{
	struct node *n = node_of(s);

	if (n->budget == 0)
		return NULL;
	n->out_to = to;
	n->out_kind = kind;
	n->out_partition = partition;
	n->out.n = 0;
	return &n->out;
}

static struct message *message_new(struct node *n)
{
	struct message *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->from = n->id;
	m->to = n->out_to;
	m->kind = n->out_kind;
	m->partition = n->out_partition;
	assert_int_equal(buf_add(&m->bytes, n->out.p, n->out.n), OK);
	return m;
}

void outbox_end(struct store *s)
{
	struct node *n = node_of(s);

	n->budget -= n->out.n < n->budget ? n->out.n : n->budget;
	if (n->out_kind == ITEM_STATE && n->out.p[4] == STATE_BEGIN)
		w.begins++;
	if (n->out_kind == ITEM_STATE && n->out.p[4] == STATE_GONE)
		w.gones++;
	put_message(message_new(n));
	if (chance(w.repeat))
		put_message(message_new(n));
}

void outbox_drop(struct store *s)
{
}

bool group_open(struct partition *p)
{
	return true;
}

void group_fed(struct partition *p)
{
}

bool repair_move(struct store *s)
{
	return false;
}

enum err state_installed(struct store *s, struct partition *p,
			 uint64_t clock_ns)
{
	assert_int_equal(clock_ns, 77);
	node_of(s)->reloads++;
	return OK;
}

enum err group_install(struct store *s, struct partition *p, uint64_t from,
		       uint64_t term, const struct raft_snapshot *snapshot,
		       struct engine_install *in)
{
	struct raft_msg m = { .type = RAFT_MSG_SNAPSHOT,
			      .from = from,
			      .to = node_of(s)->id,
			      .term = term,
			      .snapshot = snapshot };
	struct raft_accepted accepted;
	enum err err = raft_step(p->raft, &m, &accepted);

	assert_true(in->finished);
	assert_int_equal(in->index, snapshot->index);
	if (err || !accepted.snapshot) {
		engine_install_abort(in);
		return err;
	}
	in->e->parts[p->id] = in->got;
	in->e->parts[p->id].index = in->index;
	in->e->commits++;
	install_free(in);
	return OK;
}

/* ----------------------------------------------------- driving the rafts - */

static void send_raft(struct node *n, struct partition *p,
		      const struct raft_msg *msg)
{
	struct message *m;

	if (msg->type == RAFT_MSG_SNAPSHOT) {
		state_send(&n->s, p, msg);
		return;
	}
	if (msg->to > 2 || (n->is_raft_muted && msg->to != n->id))
		return;
	m = calloc(1, sizeof(*m));
	assert_non_null(m);
	m->kind = ITEM_RAFT;
	m->from = n->id;
	m->to = msg->to;
	m->partition = p->id;
	m->raft = *msg;
	assert_true(msg->entry_count <= 64);
	for (uint32_t i = 0; i < msg->entry_count; i++)
		assert_int_equal(
			raft_term_at(p->raft, msg->index + 1 + i, &m->terms[i]),
			OK);
	m->raft.entry_terms = m->terms;
	put_message(m);
}

static void pump_raft(struct node *n, struct partition *p)
{
	struct raft_ready ready;
	struct raft_own own;
	struct raft_accepted accepted;

	while (raft_take_own(p->raft, &own))
		;
	while (raft_has_ready(p->raft)) {
		raft_ready(p->raft, &ready);
		for (uint32_t i = 0; i < ready.msg_count; i++)
			send_raft(n, p, &ready.msgs[i]);
		for (uint32_t i = 0; i < ready.after_count; i++) {
			if (ready.after_msgs[i].to != n->id)
				send_raft(n, p, &ready.after_msgs[i]);
			else
				assert_int_equal(raft_step(p->raft,
							   &ready.after_msgs[i],
							   &accepted),
						 OK);
			while (raft_take_own(p->raft, &own))
				;
		}
		if (ready.has_point)
			raft_persisted(p->raft, &ready.point);
		if (ready.apply_from <= ready.apply_to) {
			n->e.parts[p->id].index = ready.apply_to;
			raft_applied(p->raft, ready.apply_to);
		}
		while (raft_take_own(p->raft, &own))
			;
	}
}

static enum err view_term(void *ctx, uint64_t index, uint64_t *term)
{
	return ERR_COMPACTED;
}

static uint32_t view_fit(void *ctx, uint64_t from, uint64_t to,
			 uint64_t bytes_max, uint64_t *bytes)
{
	uint32_t n = (uint32_t)(to - from + 1);

	if (from <= INDEX)
		return 0;
	*bytes = 100 * n;
	return n > 64 ? 64 : n;
}

static bool view_has_change(void *ctx, uint64_t from, uint64_t to)
{
	return false;
}

static enum err view_snapshot(void *ctx, struct raft_snapshot *snapshot)
{
	struct partition *p = ctx;
	struct node *n = p >= w.nodes[2].parts ? &w.nodes[2] : &w.nodes[1];

	return state_offer(&n->s, p, snapshot);
}

/* Node 1 holds a state of INDEX and is the voter; node 2 a bare learner. */
static void start_raft(struct node *n, struct partition *p)
{
	struct raft_config c;

	raft_config_default(&c);
	c.id = n->id;
	c.seed = seed_next(&w.seed);
	c.view = (struct raft_log_view){ .ctx = p,
					 .term = view_term,
					 .fit = view_fit,
					 .has_change = view_has_change,
					 .snapshot = view_snapshot };
	if (n->id == 1) {
		c.term = TERM;
		c.first_index = INDEX + 1;
		c.base_term = TERM;
		c.last_index = c.applied = c.commit = INDEX;
		c.last_term = TERM;
		assert_int_equal(raft_conf_add(&c.conf, 1, RAFT_VOTER), OK);
		assert_int_equal(raft_conf_add(&c.conf, 2, RAFT_LEARNER), OK);
		n->e.parts[p->id].index = INDEX;
	} else {
		c.first_index = 1;
		n->e.parts[p->id] = (struct content){ 0 };
	}
	assert_int_equal(raft_new(&c, &p->raft), OK);
	if (n->id == 1) {
		assert_int_equal(raft_campaign(p->raft), OK);
		pump_raft(n, p);
	}
}

static void note_wake(void *ctx)
{
	struct node *n = ctx;

	n->wakes++;
}

static void start_node(uint64_t id)
{
	struct node *n = &w.nodes[id];

	n->id = id;
	n->s = (struct store){
		.o = { .clock = &w.clock.clock,
		       .seed = &w.seed,
		       .wake = note_wake,
		       .wake_ctx = n },
		.engine = &n->e,
		.partitions = n->parts,
		.partition_count = w.partitions,
	};
	assert_int_equal(state_start(&n->s), OK);
	for (uint32_t i = 0; i < w.partitions; i++) {
		n->parts[i] = (struct partition){ .id = (uint16_t)i };
		start_raft(n, &n->parts[i]);
	}
}

static void stop_node(uint64_t id)
{
	struct node *n = &w.nodes[id];

	state_stop(&n->s);
	for (uint32_t i = 0; i < w.partitions; i++)
		raft_free(n->parts[i].raft);
	buf_done(&n->out);
}

static void world_begin(uint64_t seed, uint32_t partitions, uint32_t count,
			uint32_t value_bytes)
{
	w = (struct world){ .partitions = partitions, .budget = 64 << 20 };
	seed_init(&w.seed, seed);
	clock_sim_init(&w.clock, 1000000000000);
	for (uint32_t i = 0; i < partitions; i++)
		w.nodes[1].e.parts[i] =
			(struct content){ .index = INDEX,
					  .count = count,
					  .value_bytes = value_bytes,
					  .salt = seed + i };
	start_node(1);
	start_node(2);
}

static void drop_messages(void)
{
	while (w.queued > 0)
		message_free(w.queue[--w.queued]);
}

static void world_end(void)
{
	stop_node(1);
	stop_node(2);
	drop_messages();
	for (int i = 1; i <= 2; i++) {
		assert_int_equal(w.nodes[i].e.pictures_open, 0);
		assert_int_equal(w.nodes[i].e.installs_open, 0);
	}
}

static void deliver(struct message *m)
{
	struct node *n = &w.nodes[m->to];
	struct item item = { .kind = (uint8_t)m->kind,
			     .partition = m->partition,
			     .body = buf_bytes(&m->bytes) };
	struct raft_accepted accepted;
	enum err err;

	switch (m->kind) {
	case ITEM_STATE:
		state_receive(&n->s, m->from, &item);
		break;
	case ITEM_STATE_REPLY:
		state_replied(&n->s, m->from, &item);
		break;
	case ITEM_RAFT:
		err = raft_step(n->parts[m->partition].raft, &m->raft,
				&accepted);
		assert_true(!err || err == ERR_FOREIGN || err == ERR_FULL);
		break;
	default:
		fail();
	}
	pump_raft(n, &n->parts[m->partition]);
	message_free(m);
}

/* 10 ms pass: ticks each 100 ms, messages, rounds, movers. */
static void round_of_all(void)
{
	struct message *now[MESSAGES_MAX];
	uint32_t count = w.queued;

	memcpy(now, w.queue, count * sizeof(now[0]));
	w.queued = 0;
	w.clock.mono += ROUND_MS * 1000000;
	w.clock.boot += ROUND_MS * 1000000;
	w.nodes[1].budget = w.nodes[2].budget = w.budget;
	for (uint32_t i = 0; i < count; i++)
		deliver(now[i]);
	for (int id = 1; id <= 2; id++) {
		struct node *n = &w.nodes[id];
		bool tick = w.clock.mono / 1000000 % 100 == 0;

		for (uint32_t p = 0; p < w.partitions; p++) {
			if (tick)
				assert_int_equal(raft_tick(n->parts[p].raft),
						 OK);
			pump_raft(n, &n->parts[p]);
		}
		assert_int_equal(state_round(&n->s), OK);
		for (uint32_t p = 0; p < w.partitions; p++)
			pump_raft(n, &n->parts[p]);
		for (int i = 0; i < 16 && !n->mover_stands && !w.threads; i++) {
			state_send_move(&n->s);
			state_recv_move(&n->s);
		}
	}
	if (w.threads)
		usleep(200);
}

static void run_ms(uint64_t ms)
{
	for (uint64_t i = 0; i < ms; i += ROUND_MS)
		round_of_all();
}

static bool has_state(uint16_t partition)
{
	const struct content *a = &w.nodes[1].e.parts[partition];
	const struct content *b = &w.nodes[2].e.parts[partition];

	return b->index >= INDEX && b->count == a->count &&
	       b->value_bytes == a->value_bytes &&
	       (!b->count || !b->value_bytes ||
		b->salt == value_byte(a->salt, 0));
}

static bool all_have(void)
{
	for (uint32_t i = 0; i < w.partitions; i++) {
		if (!has_state((uint16_t)i))
			return false;
	}
	return true;
}

static void run_until_all_have(uint64_t ms)
{
	for (uint64_t i = 0; i < ms && !all_have(); i += ROUND_MS)
		round_of_all();
	assert_true(all_have());
}

/* Raft on node 1 sends entries again, and no picture is held. */
static void expect_settled(void)
{
	struct raft_progress progress;

	run_ms(1000);
	for (uint32_t i = 0; i < w.partitions; i++) {
		assert_true(raft_progress_of(w.nodes[1].parts[i].raft, 2,
					     &progress));
		assert_int_equal(progress.flow, RAFT_FLOW_REPLICATE);
		assert_true(progress.match > INDEX);
	}
	assert_int_equal(w.nodes[1].e.pictures_open, 0);
	assert_int_equal(w.nodes[2].e.installs_open, 0);
	assert_false(state_send_busy(&w.nodes[1].s));
	assert_false(state_recv_busy(&w.nodes[2].s));
}

/* Run until the receiver's engine was given records. */
static void run_into_the_middle(void)
{
	for (int i = 0; i < 1000 && w.nodes[2].e.installs_open == 0; i++)
		round_of_all();
	round_of_all();
	assert_int_equal(w.nodes[2].e.installs_open, 1);
	assert_int_equal(w.nodes[2].e.commits, 0);
}

/* ---------------------------------------------------------------- tests -- */

static void a_state_arrives_whole(void **state)
{
	static const struct {
		uint32_t count, value_bytes;
	} shapes[] = { { 0, 0 },      { 1, 0 },	      { 1, 10 },
		       { 20000, 20 }, { 700, 65536 }, { 3, 16 << 20 } };

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		world_begin(i + 1, 1, shapes[i].count, shapes[i].value_bytes);
		run_until_all_have(20000);
		expect_settled();
		assert_int_equal(w.begins, 1);
		assert_int_equal(w.nodes[2].reloads, 1);
		assert_int_equal(w.nodes[2].e.aborts, 0);
		world_end();
	}
}

static void a_bad_network_only_takes_longer(void **state)
{
	const char *text = getenv("SEED");
	uint64_t from = text ? strtoull(text, NULL, 10) : 1;

	for (uint64_t seed = from; seed < from + (text ? 1 : 40); seed++) {
		print_message("seed %llu\n", (unsigned long long)seed);
		world_begin(seed, 2, 3000, 1500);
		w.loss = (uint32_t)seed_below(&w.seed, 200);
		w.repeat = (uint32_t)seed_below(&w.seed, 200);
		w.reorder = (uint32_t)seed_below(&w.seed, 300);
		run_until_all_have(600000);
		w.loss = w.repeat = w.reorder = 0;
		run_ms(5000);
		expect_settled();
		world_end();
	}
}

static void a_broken_link_is_no_new_beginning(void **state)
{
	world_begin(1, 1, 300, 65536);
	run_into_the_middle();
	w.cut = true;
	drop_messages();
	run_ms(10000);
	w.cut = false;
	run_until_all_have(20000);
	expect_settled();
	assert_int_equal(w.nodes[1].e.pictures, 1);
	assert_int_equal(w.nodes[2].e.installs, 1);
	world_end();
}

static void a_link_that_stays_broken_lets_go_of_everything(void **state)
{
	world_begin(1, 1, 300, 65536);
	run_into_the_middle();
	w.cut = true;
	drop_messages();
	run_ms(STATE_QUIET_MS + 1000);
	assert_int_equal(w.nodes[1].e.pictures_open, 0);
	assert_int_equal(w.nodes[2].e.installs_open, 0);
	w.cut = false;
	run_until_all_have(60000);
	expect_settled();
	world_end();
}

static void a_restarted_sender_says_that_it_is_gone(void **state)
{
	world_begin(1, 1, 300, 65536);
	run_into_the_middle();
	drop_messages();
	stop_node(1);
	start_node(1);
	run_until_all_have(20000);
	expect_settled();
	assert_int_equal(w.nodes[2].e.installs, 2);
	assert_int_equal(w.nodes[2].e.aborts, 1);
	world_end();
}

static void a_restarted_receiver_begins_anew(void **state)
{
	world_begin(1, 1, 300, 65536);
	run_into_the_middle();
	run_ms(50);
	drop_messages();
	stop_node(2);
	start_node(2);
	run_until_all_have(20000);
	expect_settled();
	assert_int_equal(w.nodes[1].e.pictures, 2);
	world_end();
}

static void lost_leadership_ends_the_stream(void **state)
{
	struct raft_msg m = { .type = RAFT_MSG_HEARTBEAT,
			      .from = 2,
			      .to = 1,
			      .term = TERM + 10 };
	struct raft_accepted accepted;

	world_begin(1, 1, 300, 65536);
	run_into_the_middle();
	w.nodes[1].is_raft_muted = true;
	assert_int_equal(raft_step(w.nodes[1].parts[0].raft, &m, &accepted),
			 OK);
	run_ms(100);
	assert_int_equal(w.nodes[1].e.pictures_open, 0);
	assert_int_equal(w.nodes[2].e.installs_open, 0);
	assert_int_equal(w.nodes[2].e.commits, 0);
	world_end();
}

static void a_later_term_ends_the_receiving(void **state)
{
	struct raft_msg m = { .type = RAFT_MSG_HEARTBEAT,
			      .from = 7,
			      .to = 2,
			      .term = TERM + 10 };
	struct raft_accepted accepted;

	world_begin(1, 1, 300, 65536);
	run_into_the_middle();
	assert_int_equal(raft_step(w.nodes[2].parts[0].raft, &m, &accepted),
			 OK);
	run_ms(30);
	assert_int_equal(w.nodes[2].e.installs_open, 0);
	assert_int_equal(w.nodes[2].e.commits, 0);
	world_end();
}

static void a_slow_receiver_costs_a_bounded_share(void **state)
{
	uint32_t in_flight = 0;
	uint64_t bytes = 0;

	world_begin(1, 1, 300, 65536);
	w.nodes[2].mover_stands = true;
	run_ms(20000);
	for (uint32_t i = 0; i < w.queued; i++) {
		in_flight++;
		bytes += w.queue[i]->bytes.n;
	}
	assert_true(in_flight <= 2 * STATE_AHEAD);
	assert_true(bytes <= 2ull * STATE_HELD_BYTES_MAX);
	assert_int_equal(w.nodes[1].e.pictures, 1);
	w.nodes[2].mover_stands = false;
	run_until_all_have(20000);
	expect_settled();
	assert_int_equal(w.nodes[1].e.pictures, 1);
	world_end();
}

static void a_receiver_that_never_gets_on_is_given_up(void **state)
{
	world_begin(1, 1, 300, 65536);
	w.nodes[2].mover_stands = true;
	run_ms(STATE_STALL_MS + 5000);
	assert_true(w.nodes[1].e.pictures > 1);
	world_end();
}

static void an_outbox_without_room_is_waited_for(void **state)
{
	world_begin(1, 1, 100, 65536);
	w.budget = 1;
	run_until_all_have(20000);
	w.budget = 64 << 20;
	expect_settled();
	assert_int_equal(w.nodes[1].e.pictures, 1);
	world_end();
}

static void many_streams_wait_for_each_other(void **state)
{
	world_begin(1, PARTITIONS_MAX, 40, 65536);
	run_until_all_have(60000);
	expect_settled();
	assert_true(w.nodes[1].e.pictures_open_max <= STATE_STREAMS_MAX);
	assert_int_equal(w.nodes[2].e.commits, PARTITIONS_MAX);
	world_end();
}

static void what_is_there_already_is_not_taken(void **state)
{
	struct raft_msg m = {
		.type = RAFT_MSG_SNAPSHOT, .from = 1, .to = 2, .term = TERM + 1
	};
	struct raft_snapshot s = { .index = INDEX + 1, .term = TERM + 1 };
	struct raft_accepted accepted;
	struct partition *p;

	world_begin(1, 1, 300, 65536);
	run_into_the_middle();
	/* it got further by other means */
	p = &w.nodes[2].parts[0];
	m.snapshot = &s;
	assert_int_equal(raft_conf_add(&s.conf, 1, RAFT_VOTER), OK);
	assert_int_equal(raft_conf_add(&s.conf, 2, RAFT_LEARNER), OK);
	assert_int_equal(raft_step(p->raft, &m, &accepted), OK);
	assert_true(accepted.snapshot);
	w.nodes[2].e.parts[0] = (struct content){ .index = INDEX + 1 };
	pump_raft(&w.nodes[2], p);
	run_ms(1000);
	assert_int_equal(w.nodes[2].e.parts[0].index, INDEX + 1);
	assert_int_equal(w.nodes[2].e.commits, 0);
	expect_settled();
	world_end();
}

static void a_full_disk_refuses_and_takes_it_later(void **state)
{
	world_begin(1, 1, 300, 65536);
	w.nodes[2].e.add_err = ERR_NOSPC;
	run_ms(10000);
	assert_int_equal(w.nodes[2].e.commits, 0);
	assert_int_equal(w.nodes[2].e.installs_open, 0);
	assert_true(w.nodes[2].e.installs >= 3);
	assert_true(w.nodes[2].e.installs <= 10);
	w.nodes[2].e.add_err = OK;
	w.nodes[2].e.finish_err = ERR_IO;
	run_ms(5000);
	assert_int_equal(w.nodes[2].e.commits, 0);
	w.nodes[2].e.finish_err = OK;
	run_until_all_have(20000);
	expect_settled();
	world_end();
}

static void a_damaged_picture_is_not_sent(void **state)
{
	world_begin(1, 1, 300, 65536);
	w.nodes[1].e.read_err = ERR_CORRUPT;
	run_ms(20000);
	assert_int_equal(w.nodes[2].e.commits, 0);
	assert_true(w.nodes[1].e.pictures <= 5);
	w.nodes[1].e.read_err = OK;
	w.nodes[1].e.bad_record = 3;
	run_ms(20000);
	assert_int_equal(w.nodes[2].e.commits, 0);
	w.nodes[1].e.bad_record = 0;
	run_until_all_have(20000);
	expect_settled();
	world_end();
}

/* An offer that no message follows: raft forgot it. */
static void an_unused_picture_is_closed(void **state)
{
	struct raft_snapshot s;

	world_begin(1, 1, 300, 65536);
	w.cut = true; /* raft asks for none: the peer is silent */
	drop_messages();
	run_ms(100);
	assert_int_equal(state_offer(&w.nodes[1].s, &w.nodes[1].parts[0], &s),
			 OK);
	assert_int_equal(w.nodes[1].e.pictures_open, 1);
	run_ms(2500);
	assert_int_equal(w.nodes[1].e.pictures_open, 0);
	world_end();
}

/* Chunks of someone who makes them up, right checksums included. */
static void send_made_up(struct node *n, const struct record *r,
			 uint64_t stream, uint64_t index, uint32_t records)
{
	struct state_chunk begin = { .kind = STATE_BEGIN,
				     .stream = stream,
				     .term = TERM + 1,
				     .snapshot = { .index = index,
						   .term = TERM } };
	struct item item = { .kind = ITEM_STATE };
	struct buf b = BUF_INIT;

	assert_int_equal(raft_conf_add(&begin.snapshot.conf, 1, RAFT_VOTER),
			 OK);
	assert_int_equal(state_chunk_encode(&b, &begin), OK);
	item.body = buf_bytes(&b);
	state_receive(&n->s, 1, &item);
	assert_int_equal(state_records_begin(&b), OK);
	assert_int_equal(state_records_add(&b, stream, r), OK);
	state_records_end(&b, stream, 1, records);
	item.body = buf_bytes(&b);
	state_receive(&n->s, 1, &item);
	for (int i = 0; i < 4; i++)
		state_recv_move(&n->s);
	assert_int_equal(state_round(&n->s), OK);
	for (int i = 0; i < 4; i++)
		state_recv_move(&n->s);
	buf_done(&b);
}

static void a_record_that_cannot_be_ends_the_stream(void **state)
{
	const struct record good = { .type = RECORD_PUT,
				     .index = 5,
				     .term = 1,
				     .key = bytes_of("\0\0\0\0\0\0\0\0", 8),
				     .value = bytes_of("v", 1) };
	struct record bad[9];

	for (int i = 0; i < 9; i++)
		bad[i] = good;
	bad[0].index = INDEX + 1;
	bad[1].index = 0;
	bad[2].partition = 1;
	bad[3].type = RECORD_HARD_STATE;
	bad[4].type = RECORD_NOOP;
	bad[5].key.n = 0;
	bad[6].term = TERM + 1;
	bad[7].flags = LOC_CONTENT;
	bad[8].flags = LOC_DAMAGED;
	world_begin(1, 1, 0, 0);
	w.cut = true;
	w.nodes[2].budget = 1 << 20;
	for (uint64_t i = 0; i < 9; i++) {
		send_made_up(&w.nodes[2], &bad[i], i + 1, INDEX, 1);
		assert_int_equal(w.nodes[2].e.installs, i + 1);
		assert_int_equal(w.nodes[2].e.aborts, i + 1);
	}
	send_made_up(&w.nodes[2], &good, 100, INDEX, 2); /* miscounted */
	assert_int_equal(w.nodes[2].e.aborts, 10);
	send_made_up(&w.nodes[2], &good, 101, INDEX, 1);
	assert_int_equal(w.nodes[2].e.aborts, 10);
	assert_int_equal(w.nodes[2].e.installs_open, 1);
	world_end();
}

/* Any bytes to both ends while a stream is under way. */
static void noise_does_no_harm(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		world_begin(seed, 1, 200, 20000);
		for (int i = 0; i < 400; i++) {
			struct item item = { .kind = ITEM_STATE };
			uint8_t noise[64];
			uint64_t n = seed_below(&w.seed, sizeof(noise));

			round_of_all();
			for (uint64_t k = 0; k < n; k++)
				noise[k] = (uint8_t)seed_below(&w.seed, 6);
			item.body = bytes_of(noise, n);
			if (n >= 4 && chance(700))
				put_u32(noise, crc32c(0, noise + 4, n - 4));
			if (n >= 16 && chance(500)) {
				item.kind = ITEM_STATE_REPLY;
				item.body.n = 16;
				memset(noise + 13, 0, 3);
			}
			item.partition = (uint16_t)seed_below(&w.seed, 3);
			state_receive(&w.nodes[2].s, 1, &item);
			state_replied(&w.nodes[1].s, 2, &item);
			state_receive(&w.nodes[1].s, 2, &item);
		}
		run_until_all_have(60000);
		world_end();
	}
}

/* Stops at any moment leave nothing behind (asan tells). */
static void a_stop_at_any_moment_frees_all(void **state)
{
	for (int rounds = 0; rounds < 60; rounds++) {
		world_begin((uint64_t)rounds + 1, 3, 100, 65536);
		run_ms((uint64_t)rounds * ROUND_MS);
		world_end();
	}
}

static _Atomic bool movers_stop;

static void *mover_main(void *arg)
{
	struct node *n = arg;
	uint64_t wait_ms;

	while (!movers_stop) {
		store_move(&n->s, &wait_ms);
		if (wait_ms)
			usleep(100);
	}
	return NULL;
}

static void movers_have_threads_of_their_own(void **state)
{
	pthread_t threads[2];

	world_begin(1, 4, 500, 20000);
	w.threads = true;
	movers_stop = false;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, mover_main,
						&w.nodes[i + 1]),
				 0);
	w.loss = 50;
	run_until_all_have(600000);
	w.loss = 0;
	run_ms(3000);
	movers_stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	w.threads = false;
	assert_true(w.nodes[1].wakes > 0);
	expect_settled();
	world_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_state_arrives_whole),
		cmocka_unit_test(a_bad_network_only_takes_longer),
		cmocka_unit_test(a_broken_link_is_no_new_beginning),
		cmocka_unit_test(
			a_link_that_stays_broken_lets_go_of_everything),
		cmocka_unit_test(a_restarted_sender_says_that_it_is_gone),
		cmocka_unit_test(a_restarted_receiver_begins_anew),
		cmocka_unit_test(lost_leadership_ends_the_stream),
		cmocka_unit_test(a_later_term_ends_the_receiving),
		cmocka_unit_test(a_slow_receiver_costs_a_bounded_share),
		cmocka_unit_test(a_receiver_that_never_gets_on_is_given_up),
		cmocka_unit_test(an_outbox_without_room_is_waited_for),
		cmocka_unit_test(many_streams_wait_for_each_other),
		cmocka_unit_test(what_is_there_already_is_not_taken),
		cmocka_unit_test(a_full_disk_refuses_and_takes_it_later),
		cmocka_unit_test(a_damaged_picture_is_not_sent),
		cmocka_unit_test(an_unused_picture_is_closed),
		cmocka_unit_test(a_record_that_cannot_be_ends_the_stream),
		cmocka_unit_test(noise_does_no_harm),
		cmocka_unit_test(a_stop_at_any_moment_frees_all),
		cmocka_unit_test(movers_have_threads_of_their_own),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
