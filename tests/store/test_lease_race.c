/*
 * tests/store/test_lease_race.c - what the core publishes for readers' threads
 * while a lease is prolonged, lost and won again, with real threads and clocks.
 * The test plays both peers; `make tsan` runs it too.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/net.h"
#include "base/vfs_sim.h"
#include "engine/engine.h"
#include "store/store_internal.h"
#include "store/wire.h"

enum { READERS = 3, WRITES = 400, SENT_MAX = 4096 };

static struct net net;
static struct vfs_sim *disk;
static struct seed seed;
static struct engine *engine;
static struct store *store;
static struct raft_msg sent[SENT_MAX];
static uint32_t sent_count;
static atomic_bool over;
static _Atomic uint64_t acked, answered, stale;

static enum err on_send(struct net *n, uint64_t to, const struct bytes *parts,
			uint32_t part_count)
{
	static struct raft_snapshot snapshot;
	struct bytes in = parts[0];
	struct item item;

	while (to == 2 && item_next(&in, &item) == OK) {
		struct raft_msg m;

		if (item.kind != ITEM_RAFT || sent_count == SENT_MAX ||
		    wire_msg_decode(&item.body, &m, &snapshot))
			continue;
		sent[sent_count++] = m;
	}
	return OK;
}

static enum err on_peer(struct net *n, uint64_t id, const char *address)
{
	return OK;
}

static bool on_is_up(struct net *n, uint64_t id)
{
	return true;
}

static void receive(const struct raft_msg *m)
{
	struct buf b = BUF_INIT;
	size_t at;

	assert_int_equal(item_begin(&b, ITEM_RAFT, 0, &at), OK);
	assert_int_equal(wire_msg_encode(&b, m), OK);
	assert_int_equal(item_end(&b, at), OK);
	assert_int_equal(store_receive(store, 2, buf_bytes(&b)), OK);
	buf_done(&b);
}

/* Node 2 agrees with everything. */
static void answer(const struct raft_msg *m)
{
	struct raft_msg r = { .term = m->term };

	switch (m->type) {
	case RAFT_MSG_PREVOTE:
		r.type = RAFT_MSG_PREVOTE_REPLY;
		break;
	case RAFT_MSG_VOTE:
		r.type = RAFT_MSG_VOTE_REPLY;
		break;
	case RAFT_MSG_APPEND:
		r.type = RAFT_MSG_APPEND_REPLY;
		r.index = m->index + m->entry_count;
		break;
	case RAFT_MSG_HEARTBEAT:
		r.type = RAFT_MSG_HEARTBEAT_REPLY;
		r.context = m->context;
		r.stamp_ns = m->stamp_ns;
		break;
	default:
		return;
	}
	receive(&r);
}

static void round_of_core(bool with_peer)
{
	const struct timespec ms = { .tv_nsec = 500000 };
	uint64_t wait_ms;
	uint32_t n;

	assert_int_equal(store_step(store, &wait_ms), OK);
	n = sent_count;
	for (uint32_t i = 0; i < n && with_peer; i++)
		answer(&sent[i]);
	memmove(sent, sent + n, (sent_count - n) * sizeof(*sent));
	sent_count -= n;
	nanosleep(&ms, NULL);
}

static void ignore(struct store_barrier *b, enum err err)
{
	free(b);
}

static uint64_t value_now(void)
{
	struct store_value *v;
	struct bytes piece;
	char text[24] = "";

	if (store_get(store, bytes_str("k"), &v))
		return 0;
	if (store_value_read(v, 0, &piece) == OK && piece.n < sizeof(text))
		memcpy(text, piece.p, piece.n);
	store_value_done(v);
	return strtoull(text, NULL, 10);
}

static void *read_on(void *unused)
{
	while (!atomic_load(&over)) {
		struct store_barrier *b = calloc(1, sizeof(*b));
		uint64_t floor = atomic_load(&acked), value;
		struct store_partition_status status;
		enum err err;

		b->done = ignore;
		err = store_barrier(store, 0, STORE_LEASE, b);
		if (err != ERR_PENDING)
			free(b);
		value = value_now();
		if (err == OK && store_lease_holds(store, 0)) {
			atomic_fetch_add(&answered, 1);
			atomic_fetch_add(&stale, value < floor);
		}
		store_partition_status(store, 0, &status);
		(void)store_ready(store);
		(void)store_readiness(store);
		sched_yield();
	}
	return NULL;
}

static void set_done(struct store_write *w)
{
	*(bool *)w->user = true;
}

static void write_number(uint64_t number)
{
	char text[24];
	bool done = false;
	struct store_op op = { .kind = STORE_PUT, .key = bytes_str("k") };
	struct store_write w = { .then_ops = &op,
				 .then_count = 1,
				 .done = set_done,
				 .user = &done };

	snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	op.value = bytes_str(text);
	assert_int_equal(store_write(store, &w), OK);
	while (!done)
		round_of_core(true);
	if (!w.err)
		atomic_store(&acked, number);
}

static void open_all(void)
{
	static const struct store_member members[3] = {
		{ .id = 1, .name = "n1", .peer = "h1:1" },
		{ .id = 2, .name = "n2", .peer = "h2:1" },
		{ .id = 3, .name = "n3", .peer = "h3:1" },
	};
	struct engine_options eo;
	struct store_options so = {
		.clock = clock_os(),
		.seed = &seed,
		.node_name = "n1",
		.partitions = 1,
		.max_value_bytes = 1 << 20,
		.watch_history_bytes = 1 << 20,
		.net = &net,
		.members = members,
		.member_count = 3,
		.self = members[0],
		.heartbeat_ms = 10,
		.election_ms = 60,
	};
	struct buf why = BUF_INIT;

	net = (struct net){ .send = on_send,
			    .peer = on_peer,
			    .is_up = on_is_up };
	seed_init(&seed, 1);
	assert_int_equal(vfs_sim_new(1, 64 << 20, &disk), OK);
	engine_options_default(&eo);
	eo.vfs = vfs_sim_vfs(disk);
	eo.clock = clock_os();
	eo.seed = &seed;
	eo.dir = "data";
	eo.node_id = 1;
	eo.segment_bytes = 4 << 20;
	eo.min_free_bytes = 0;
	assert_int_equal(engine_open(&eo, &engine, &why), OK);
	so.engine = engine;
	assert_int_equal(store_new(&so, &store), OK);
}

static void lease_reads_race_with_the_core_and_are_never_stale(void **state)
{
	pthread_t reader[READERS];

	open_all();
	round_of_core(true);
	for (int i = 0; i < READERS; i++)
		assert_int_equal(
			pthread_create(&reader[i], NULL, read_on, NULL), 0);
	for (uint64_t number = 1; number <= WRITES; number++) {
		write_number(number);
		/* now and then the peers are silent until the lease is over */
		for (int i = 0; number % 100 == 0 && i < 300; i++)
			round_of_core(false);
	}
	atomic_store(&over, true);
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_join(reader[i], NULL), 0);
	assert_true(acked > WRITES / 2);
	assert_true(answered > 100);
	assert_int_equal(stale, 0);
	store_free(store);
	engine_close(engine);
	vfs_sim_free(disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			lease_reads_race_with_the_core_and_are_never_stale),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
