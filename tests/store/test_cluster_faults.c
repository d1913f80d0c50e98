/*
 * tests/store/test_cluster_faults.c - faults that a cluster must survive, each
 * on its own; tests/sim mixes them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/wire.h"
#include "tests/lib/cluster_rig.h"
#include "tests/lib/fail_alloc.h"

enum {
	MS = 1000000,
	PROBES_MAX = 4096,
	AT_ONCE = 500, /* requests */
	DAY_MS = 24 * 3600 * 1000,
};

static struct cluster c;

static void begin(uint32_t founders, uint32_t partitions, uint64_t seed)
{
	struct cluster_options o;
	const char *given = getenv("SEED");

	cluster_options_default(&o, founders, partitions,
				given ? strtoull(given, NULL, 0) : seed);
	cluster_init(&c, &o);
	cluster_start_all(&c);
	cluster_wait_leader(&c, 20000);
	cluster_run(&c, 500); /* all have applied what there is */
}

static int teardown(void **state)
{
	cluster_done(&c);
	return 0;
}

static uint64_t leader(void)
{
	return cluster_wait_leader(&c, 20000);
}

static uint64_t term_of(uint64_t id)
{
	struct store_partition_status st;

	store_partition_status(cluster_node(&c, id)->store, 0, &st);
	return st.term;
}

static void cut_both_ways(uint64_t a, uint64_t b)
{
	cluster_cut(&c, a, b);
	cluster_cut(&c, b, a);
}

/* ----------------------------------------------------------------- alarm - */

static uint64_t last_index(uint64_t id)
{
	struct engine_partition_info info;

	engine_partition_info(cluster_node(&c, id)->engine, 0, &info);
	return info.last_index;
}

/* Node `to` is told by `from`, as a leader, that entry 2 has another term. */
static void contradict(uint64_t to, uint64_t from)
{
	struct engine_record noop = { .type = RECORD_NOOP };
	struct engine_entry entry = { .term = term_of(to) + 1,
				      .stamp_ns = 1000,
				      .records = &noop,
				      .record_count = 1 };
	struct raft_msg m = { .type = RAFT_MSG_APPEND,
			      .term = term_of(to) + 1,
			      .index = 1,
			      .log_term = 1,
			      .commit = 2,
			      .entry_count = 1 };
	struct buf b = BUF_INIT;
	size_t at;

	assert_int_equal(item_begin(&b, ITEM_RAFT, 0, &at), OK);
	assert_int_equal(wire_msg_encode(&b, &m), OK);
	assert_int_equal(wire_entry_encode(&b, &entry), OK);
	assert_int_equal(item_end(&b, at), OK);
	(void)cluster_awake(&c, to);
	assert_int_equal(
		store_receive(cluster_node(&c, to)->store, from, buf_bytes(&b)),
		OK);
	cluster_node(&c, to)->core_due = c.now_ns;
	buf_done(&b);
}

static void check_alarm(uint64_t victim, uint64_t from)
{
	struct cluster_node *n = cluster_node(&c, victim);
	struct buf value = BUF_INIT;
	uint64_t last;

	cluster_must_put(&c, "k", "1", 10000);
	cluster_expect_same(&c, 10000);
	last = last_index(victim);
	contradict(victim, from);
	cluster_run(&c, 300);
	assert_false(store_ready(n->store));
	assert_int_equal(store_readiness(n->store), STORE_LEADERLESS);
	assert_int_equal(last_index(victim), last);
	/* Whoever asks it is told, in a bounded time; what it has is shown. */
	assert_int_equal(cluster_put(&c, victim, "k", "lost", NULL),
			 ERR_NO_LEADER);
	assert_int_equal(
		cluster_get(&c, victim, "k", STORE_LINEARIZABLE, &value),
		ERR_NO_LEADER);
	assert_int_equal(cluster_get(&c, victim, "k", STORE_LEASE, &value),
			 ERR_NO_LEADER);
	assert_int_equal(cluster_get(&c, victim, "k", STORE_STALE, &value), OK);
	assert_true(bytes_equal(buf_bytes(&value), bytes_str("1")));
	buf_done(&value);
}

static void a_contradicted_follower_serves_nothing_and_cuts_nothing(void **s)
{
	uint64_t victim;

	begin(3, 1, 1);
	victim = leader() % 3 + 1;
	check_alarm(victim, victim % 3 + 1);
	/* The others go on, and it may come back with what it has. */
	cluster_node(&c, victim)->removed = true;
	cluster_must_put(&c, "k", "2", 10000);
	cluster_node(&c, victim)->removed = false;
	cluster_kill(&c, victim);
	cluster_start(&c, victim);
	cluster_expect(&c, victim, "k", "2", 10000);
	cluster_expect_same(&c, 10000);
}

static void a_contradicted_leader_is_replaced(void **state)
{
	uint64_t victim;

	begin(3, 1, 2);
	victim = leader();
	check_alarm(victim, victim % 3 + 1);
	cluster_node(&c, victim)->removed = true;
	cluster_run(&c, 5000);
	for (uint64_t id = 1; id <= 3; id++) {
		if (id != victim)
			cluster_expect(&c, id, "k", "1", 10000);
	}
	cluster_must_put(&c, "k", "2", 10000);
}

/* What waits already when it happens is let go too. */
static void what_waits_at_a_contradicted_node_is_told(void **state)
{
	struct store_op op = { .kind = STORE_PUT,
			       .key = bytes_str("w"),
			       .value = bytes_str("1") };
	struct store_write w = { .then_ops = &op, .then_count = 1 };
	uint64_t victim;

	begin(3, 1, 3);
	victim = leader();
	cluster_isolate(&c, victim);
	contradict(victim, victim % 3 + 1);
	/* decided or not, it ends: cluster_write waits for the answer */
	assert_int_not_equal(cluster_write(&c, victim, &w), OK);
	cluster_heal_all(&c);
	cluster_kill(&c, victim);
	cluster_start(&c, victim);
	cluster_expect_same(&c, 20000);
}

/* ---------------------------------------------------------- stale reads -- */

/* One read under way: what had been acknowledged when it began. */
struct probe {
	struct store_barrier barrier;
	uint64_t node, floor;
	enum store_consistency consistency;
	bool waits;
};

static struct {
	struct probe probe[PROBES_MAX];
	uint32_t count, answered, at_once;
	uint64_t acked;
} reads;

static void look(struct probe *p)
{
	struct store *s = cluster_node(&c, p->node)->store;
	const struct store_info *info;
	struct store_value *v;
	struct bytes piece;
	char text[24] = "";
	uint64_t number;

	assert_int_equal(store_get(s, bytes_str("k"), &v), OK);
	info = store_value_info(v);
	assert_true(info->bytes < sizeof(text));
	assert_int_equal(store_value_read(v, 0, &piece), OK);
	memcpy(text, piece.p, piece.n);
	store_value_done(v);
	number = strtoull(text, NULL, 10);
	if (p->consistency == STORE_LEASE && !store_lease_holds(s, 0))
		return; /* must not be given out */
	reads.answered++;
	if (number < p->floor)
		fail_msg("n%llu answers %llu (%s) when %llu was acknowledged",
			 (unsigned long long)p->node,
			 (unsigned long long)number,
			 p->consistency == STORE_LEASE ? "lease" : "read index",
			 (unsigned long long)p->floor);
}

static void on_barrier(struct store_barrier *b, enum err err)
{
	struct probe *p = b->user;

	p->waits = false;
	if (!err)
		look(p);
}

/* A reader's thread of node id asks now, whatever its core thread does. */
static void probe(uint64_t id, enum store_consistency consistency)
{
	struct probe *p = &reads.probe[reads.count % PROBES_MAX];
	enum err err;

	if (!cluster_runs(&c, id))
		return;
	cluster_clock_jump(&c, id, 0, 0, 0); /* it is not the core's clock */
	reads.count++;
	if (p->waits)
		return;
	*p = (struct probe){ .node = id,
			     .floor = reads.acked,
			     .consistency = consistency,
			     .barrier = { .done = on_barrier, .user = p } };
	err = store_barrier(cluster_node(&c, id)->store, 0, consistency,
			    &p->barrier);
	p->waits = err == ERR_PENDING;
	if (!err) {
		reads.at_once++;
		look(p);
	}
}

static bool seen_flag;

static void set_seen(struct store_write *w)
{
	seen_flag = true;
}

/* Write for ms through nodes that run, asking every node all the while. */
static void write_and_read(uint64_t ms, uint64_t but_not)
{
	uint64_t until_ns = c.now_ns + ms * MS, id = 0, next = reads.acked;

	while (c.now_ns < until_ns) {
		char text[24];
		struct store_op op = { .kind = STORE_PUT,
				       .key = bytes_str("k") };
		struct store_write w = { .then_ops = &op,
					 .then_count = 1,
					 .done = set_seen };

		snprintf(text, sizeof(text), "%llu",
			 (unsigned long long)++next);
		op.value = bytes_str(text);
		do
			id = id % c.count + 1;
		while (id == but_not);
		seen_flag = false;
		assert_int_equal(store_write(cluster_node(&c, id)->store, &w),
				 OK);
		do {
			for (uint64_t n = 1; n <= c.count; n++)
				probe(n,
				      n % 2 ? STORE_LEASE : STORE_LINEARIZABLE);
			for (uint64_t n = 1; n <= c.count; n++)
				probe(n, STORE_LEASE);
			cluster_run(&c, 5);
		} while (!seen_flag);
		if (!w.err)
			reads.acked = next;
	}
}

static void begin_reads(uint64_t seed)
{
	begin(3, 1, seed);
	memset(&reads, 0, sizeof(reads));
	cluster_must_put(&c, "k", "0", 10000);
	write_and_read(500, 0);
	assert_true(reads.at_once > 0); /* there are leases at all */
}

static void a_paused_leader_answers_nothing_stale(void **state)
{
	static const uint64_t pauses[] = { 100,	 400,  800,  1000,
					   1200, 2000, 5000, 10000 };

	begin_reads(10);
	for (size_t i = 0; i < sizeof(pauses) / sizeof(*pauses); i++) {
		uint64_t old = leader();

		cluster_pause(&c, old, pauses[i]);
		write_and_read(pauses[i] + 500, old);
		if (pauses[i] >= 5000)
			assert_int_not_equal(leader(), old);
	}
	assert_true(reads.acked > 100);
	assert_true(reads.answered > 100);
}

static void clocks_that_jump_make_no_read_stale(void **state)
{
	begin_reads(11);
	for (int i = 0; i < 12; i++) {
		uint64_t old = leader();
		int64_t wall = (i % 2 ? -1 : 1) * (int64_t)DAY_MS * MS;

		cluster_clock_jump(&c, old, 0, 0, wall);
		if (i % 3 == 1) /* the machine slept */
			cluster_clock_stop(&c, old, 3000);
		if (i % 3 == 2)
			cluster_clock_jump(&c, old % 3 + 1, 0, 0, wall);
		if (i % 4 == 3)
			cluster_isolate(&c, old);
		write_and_read(2500, i % 4 == 3 ? old : 0);
		cluster_heal_all(&c);
		write_and_read(500, 0);
	}
	assert_true(reads.answered > 100);
}

static void set_changed(struct store_change *ch)
{
	*(bool *)ch->user = true;
}

/* The old leader is cut off just when it has told another one to stand. */
static void a_transfer_makes_no_lease_read_stale(void **state)
{
	begin_reads(12);
	for (uint64_t ms = 1; ms <= 12; ms++) {
		uint64_t old = leader();
		bool done = false;
		struct store_change ch = { .kind = STORE_TRANSFER,
					   .done = set_changed,
					   .user = &done };

		snprintf(ch.member.name, sizeof(ch.member.name), "%s",
			 cluster_node(&c, old % 3 + 1)->name);
		assert_int_equal(
			store_change(cluster_node(&c, old)->store, &ch), OK);
		cluster_run(&c, ms);
		cluster_isolate(&c, old);
		write_and_read(900, old);
		cluster_heal_all(&c);
		write_and_read(2500, old);
		while (!done)
			cluster_run(&c, 100);
	}
	assert_true(reads.answered > 100);
}

/* --------------------------------------------------------------- refusals */

/* "k is there", which only this leader believes, is told to nobody. */
static void a_refusal_shows_nothing_that_never_committed(void **state)
{
	struct store_condition absent = { .kind = STORE_IF_ABSENT,
					  .key = bytes_str("k") };
	struct store_op put = { .kind = STORE_PUT,
				.key = bytes_str("k"),
				.value = bytes_str("1") };
	struct store_write first = { .then_ops = &put,
				     .then_count = 1,
				     .done = set_seen };
	struct store_write second = { .then_ops = &put,
				      .then_count = 1,
				      .conditions = &absent,
				      .condition_count = 1 };
	uint64_t old;
	enum err err;

	begin(3, 1, 20);
	old = leader();
	cluster_isolate(&c, old);
	assert_int_equal(store_write(cluster_node(&c, old)->store, &first), OK);
	cluster_run(&c, 20); /* it is appended, there */
	assert_true(last_index(old) > last_index(old % 3 + 1));
	seen_flag = false;
	err = cluster_write(&c, old, &second);
	assert_int_not_equal(err, ERR_PRECONDITION);
	assert_int_not_equal(err, OK);
	while (!seen_flag)
		cluster_run(&c, 100);
	assert_int_equal(first.err, ERR_UNKNOWN);
	cluster_heal_all(&c);
	cluster_expect_same(&c, 20000);
	cluster_expect(&c, old, "k", NULL, 10000);
}

/* ------------------------------------------------------------ partitions - */

/*
 * Five nodes. The leader sees only one of the others, which sees all: a
 * majority can do without the leader, and finds one that it keeps.
 */
static void five_nodes_partly_connected_settle_on_a_leader(void **state)
{
	uint64_t old, middle, term, now;

	begin(5, 1, 30);
	old = leader();
	middle = old % 5 + 1;
	for (uint64_t id = 1; id <= 5; id++) {
		if (id != old && id != middle)
			cut_both_ways(old, id);
	}
	cluster_run(&c, 8000);
	now = leader();
	assert_int_not_equal(now, old);
	term = term_of(now);
	cluster_must_put(&c, "k", "1", 10000);
	cluster_run(&c, 30000);
	assert_int_equal(term_of(now), term);
	assert_int_equal(leader(), now);
	cluster_heal_all(&c);
	cluster_run(&c, 5000);
	assert_int_equal(leader(), now);
	cluster_expect_same(&c, 20000);
}

/* One node does not see the leader; the others do, and keep it. */
static void a_leader_that_a_majority_sees_stays(void **state)
{
	for (uint32_t n = 3; n <= 5; n += 2) {
		uint64_t at, term;

		begin(n, 1, 33);
		at = leader();
		term = term_of(at);
		cut_both_ways(at, at % n + 1);
		cluster_run(&c, 30000);
		assert_int_equal(leader(), at);
		assert_int_equal(term_of(at), term);
		cluster_must_put(&c, "k", "1", 10000);
		if (n == 3)
			cluster_done(&c);
	}
}

/* Who hears but is not heard, or is heard but hears nothing, deposes nobody. */
static void one_way_links_depose_nobody(void **state)
{
	uint64_t at, odd, term;

	begin(5, 1, 31);
	at = leader();
	odd = at % 5 + 1;
	term = term_of(at);
	for (uint64_t id = 1; id <= 5; id++) {
		if (id != odd)
			cluster_cut(&c, id, odd); /* it hears nobody */
	}
	cluster_run(&c, 20000);
	assert_int_equal(leader(), at);
	assert_int_equal(term_of(at), term);
	cluster_heal_all(&c);
	cluster_run(&c, 5000);
	assert_int_equal(leader(), at);
	assert_int_equal(term_of(at), term);
	for (uint64_t id = 1; id <= 5; id++) {
		if (id != odd)
			cluster_cut(&c, odd, id); /* nobody hears it */
	}
	cluster_run(&c, 20000);
	assert_int_equal(leader(), at);
	assert_int_equal(term_of(at), term);
	cluster_must_put(&c, "k", "1", 10000);
	cluster_heal_all(&c);
	cluster_expect_same(&c, 20000);
}

/* A leader that sends and does not hear steps down: another one can lead. */
static void a_leader_that_hears_nobody_steps_down(void **state)
{
	uint64_t old;

	begin(5, 1, 32);
	old = leader();
	for (uint64_t id = 1; id <= 5; id++) {
		if (id != old)
			cluster_cut(&c, id, old);
	}
	cluster_run(&c, 6000);
	assert_int_not_equal(leader(), old);
	cluster_must_put(&c, "k", "1", 20000);
}

/* ---------------------------------------------------------------- expiry - */

static void put_for_a_while(const char *key, uint64_t ttl_ms)
{
	struct store_op op = { .kind = STORE_PUT,
			       .key = bytes_str(key),
			       .value = bytes_str("v"),
			       .ttl_ns = ttl_ms * MS };
	struct store_write w = { .then_ops = &op, .then_count = 1 };

	assert_int_equal(cluster_write(&c, leader(), &w), OK);
}

static void expect_everywhere(const char *key, const char *value)
{
	for (uint64_t id = 1; id <= 3; id++)
		cluster_expect(&c, id, key, value, 10000);
}

static void wrong_wall_clocks_expire_nothing_and_bring_nothing_back(void **s)
{
	uint64_t from_ns;

	begin(3, 1, 40);
	put_for_a_while("short", 6000);
	put_for_a_while("long", 600000);
	from_ns = c.now_ns;
	for (uint64_t id = 1; id <= 3; id++)
		cluster_clock_jump(&c, id, 0, 0,
				   (id == 2 ? -400 : 400) * (int64_t)DAY_MS *
					   MS);
	/* Whoever leads, now and next, has a clock that is years off. */
	cluster_must_put(&c, "k", "1", 1000);
	cluster_kill(&c, leader());
	cluster_run(&c, 2500);
	for (uint64_t id = 1; id <= 3; id++) {
		if (!cluster_runs(&c, id))
			cluster_start(&c, id);
	}
	cluster_must_put(&c, "k", "2", 1000);
	assert_true(c.now_ns - from_ns < 5500ull * MS);
	expect_everywhere("short", "v");
	cluster_run(&c, 9000);
	expect_everywhere("short", NULL);
	expect_everywhere("long", "v");
	for (uint64_t id = 1; id <= 3; id++)
		cluster_crash(&c, id);
	cluster_start_all(&c);
	leader();
	expect_everywhere("short", NULL);
	expect_everywhere("long", "v");
	cluster_expect_same(&c, 10000);
}

/* ----------------------------------------------------------------- sizes - */

/* Directories of the longest names, as deep as a key may be. */
static void make_key(char *key, size_t n, char fill)
{
	memset(key, fill, n);
	for (size_t i = STORE_COMPONENT_BYTES_MAX; i < n - 1;
	     i += STORE_COMPONENT_BYTES_MAX + 1)
		key[i] = '/';
	key[n] = 0;
}

static void put_bytes(uint64_t through, const char *key, struct bytes value)
{
	struct store_op op = { .kind = STORE_PUT,
			       .key = bytes_str(key),
			       .value = value };
	struct store_write w = { .then_ops = &op, .then_count = 1 };

	assert_int_equal(cluster_write(&c, through, &w), OK);
}

static void expect_bytes(const char *key, struct bytes value)
{
	for (uint64_t id = 1; id <= c.count; id++) {
		struct buf b = BUF_INIT;

		if (!cluster_runs(&c, id))
			continue;
		assert_int_equal(
			cluster_get(&c, id, key, STORE_LINEARIZABLE, &b), OK);
		assert_true(bytes_equal(buf_bytes(&b), value));
		buf_done(&b);
	}
}

static struct bytes noise(size_t n, uint64_t seed)
{
	struct seed from;
	uint8_t *p = malloc(n);

	assert_non_null(p);
	seed_init(&from, seed);
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)seed_next(&from);
	return bytes_of(p, n);
}

/* A transaction as large as one may be is one entry. */
static void put_largest_entry(uint64_t through, struct bytes value)
{
	static char keys[STORE_TXN_OPS_MAX][8];
	static struct store_op ops[STORE_TXN_OPS_MAX];
	struct store_write w = { .then_ops = ops, .is_txn = true };
	size_t used = 0;

	while (w.then_count < STORE_TXN_OPS_MAX) {
		uint32_t i = w.then_count;
		size_t left = STORE_TXN_BYTES_MAX - used;
		size_t n = left < STORE_INLINE_BYTES_MAX
				   ? left
				   : STORE_INLINE_BYTES_MAX;

		snprintf(keys[i], sizeof(keys[i]), "t/%03u", i);
		if (n <= 5)
			break;
		n -= 5;
		ops[i] = (struct store_op){ .kind = STORE_PUT,
					    .key = bytes_str(keys[i]),
					    .value = bytes_of(value.p + i, n) };
		used += 5 + n;
		w.then_count++;
	}
	assert_true(used > STORE_TXN_BYTES_MAX - 16);
	assert_int_equal(cluster_write(&c, through, &w), OK);
	expect_bytes("t/003", ops[3].value);
}

static void largest_and_smallest_reach_every_node(void **state)
{
	static char key[STORE_KEY_BYTES_MAX + 1];
	struct bytes large = noise(1 << 20, 7);
	uint64_t away;

	begin(3, 1, 50);
	away = leader() % 3 + 1;
	for (uint64_t id = 1; id <= 3; id++) {
		make_key(key, STORE_KEY_BYTES_MAX, (char)('a' + id));
		put_bytes(id, key, bytes_str(""));
		expect_bytes(key, bytes_str(""));
		put_bytes(id, key, bytes_of(large.p, STORE_INLINE_BYTES_MAX));
		expect_bytes(key, bytes_of(large.p, STORE_INLINE_BYTES_MAX));
		put_bytes(id, "x", bytes_of("", 0));
		expect_bytes("x", bytes_of("", 0));
		put_bytes(id, "x", large);
		expect_bytes("x", large);
		put_largest_entry(id, large);
	}
	cluster_kill(&c, away);
	put_largest_entry(leader(), bytes_of(large.p + 1000, large.n - 1000));
	cluster_start(&c, away);
	cluster_expect_same(&c, 20000);
	expect_bytes(key, bytes_of(large.p, STORE_INLINE_BYTES_MAX));
	free((void *)(uintptr_t)large.p);
}

static uint32_t left_to_do;

static void count_down(struct store_write *w)
{
	assert_int_equal(w->err, OK);
	left_to_do--;
}

static void put_tiny(uint64_t through, uint32_t from, uint32_t n)
{
	static struct store_write w[AT_ONCE];
	static struct store_op op[AT_ONCE];
	static char key[AT_ONCE][12];

	left_to_do = n;
	(void)cluster_awake(&c, through);
	for (uint32_t i = 0; i < n; i++) {
		snprintf(key[i], sizeof(key[i]), "%u", (from + i) % 7000);
		op[i] = (struct store_op){ .kind = STORE_PUT,
					   .key = bytes_str(key[i]),
					   .value = bytes_str("v") };
		w[i] = (struct store_write){ .then_ops = &op[i],
					     .then_count = 1,
					     .done = count_down };
		assert_int_equal(
			store_write(cluster_node(&c, through)->store, &w[i]),
			OK);
	}
	while (left_to_do > 0)
		cluster_run(&c, 1);
}

/* ENTRIES=1000000 for as many as the promise names. */
static void very_many_tiny_entries_are_all_there(void **state)
{
	const char *given = getenv("ENTRIES");
	uint32_t n = given ? (uint32_t)atol(given) : 60000;
	uint64_t at, before;

	begin(3, 1, 51);
	at = leader();
	before = last_index(at);
	for (uint32_t i = 0; i < n; i += AT_ONCE)
		put_tiny(at, i, AT_ONCE);
	assert_true(last_index(at) >= before + n);
	cluster_expect_same(&c, 20000);
	cluster_kill(&c, at % 3 + 1);
	put_tiny(leader(), 0, AT_ONCE);
	cluster_start(&c, at % 3 + 1);
	cluster_expect_same(&c, 20000);
}

/* ---------------------------------------------------------------- memory - */

/* The simulated disk allocates too; a write that fails stops its node. */
static void start_who_stopped(void)
{
	for (uint64_t id = 1; id <= 3; id++) {
		if (!cluster_runs(&c, id))
			cluster_start(&c, id);
	}
}

/* Whatever allocation fails, nothing is lost or wrong, and it heals. */
static void a_cluster_outlives_every_failing_allocation(void **state)
{
	bool there[400] = { false };
	uint32_t failed = 0;
	char text[24];

	begin(3, 1, 60);
	for (uint64_t nth = 1; nth < 400; nth += 1 + nth / 20) {
		enum err err;

		snprintf(text, sizeof(text), "%llu", (unsigned long long)nth);
		fail_alloc_at(nth, false);
		err = cluster_put(&c, nth % 3 + 1, text, text, NULL);
		cluster_run(&c, 50);
		failed += fail_alloc_off();
		there[nth] = !err;
		assert_true(!err || err == ERR_NOMEM || err == ERR_UNKNOWN ||
			    err == ERR_CLOSED || err == ERR_NO_LEADER);
		start_who_stopped();
	}
	assert_true(failed > 10);
	cluster_must_put(&c, "after", "1", 10000);
	cluster_expect_same(&c, 20000);
	for (uint64_t nth = 1; nth < 400; nth++) {
		snprintf(text, sizeof(text), "%llu", (unsigned long long)nth);
		if (there[nth])
			cluster_expect(&c, nth % 3 + 1, text, text, 5000);
	}
}

#define FAULT(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAULT(a_contradicted_follower_serves_nothing_and_cuts_nothing),
		FAULT(a_contradicted_leader_is_replaced),
		FAULT(what_waits_at_a_contradicted_node_is_told),
		FAULT(a_paused_leader_answers_nothing_stale),
		FAULT(clocks_that_jump_make_no_read_stale),
		FAULT(a_transfer_makes_no_lease_read_stale),
		FAULT(a_refusal_shows_nothing_that_never_committed),
		FAULT(five_nodes_partly_connected_settle_on_a_leader),
		FAULT(a_leader_that_a_majority_sees_stays),
		FAULT(one_way_links_depose_nobody),
		FAULT(a_leader_that_hears_nobody_steps_down),
		FAULT(wrong_wall_clocks_expire_nothing_and_bring_nothing_back),
		FAULT(largest_and_smallest_reach_every_node),
		FAULT(very_many_tiny_entries_are_all_there),
		FAULT(a_cluster_outlives_every_failing_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
