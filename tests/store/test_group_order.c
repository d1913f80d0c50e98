/*
 * tests/store/test_group_order.c - one store of three, its peers played by the
 * test: what leaves before the disk is asked, and what only afterwards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/net.h"
#include "base/vfs_sim.h"
#include "engine/engine.h"
#include "store/store_internal.h"
#include "store/wire.h"

enum { SENT_MAX = 256, VALUES_MAX = 64 };

/* A raft message that left, and how many syncs there had been by then. */
struct sent {
	struct raft_msg m;
	uint64_t syncs;
};

static struct net net;
static struct vfs_sim *disk;
static struct clock_sim sim_clock;
static struct seed seed;
static struct engine *engine;
static struct store *store;
static struct sent sent[SENT_MAX];
static uint32_t sent_count;

static uint64_t sync_count(void)
{
	struct engine_stats st;

	engine_stats(engine, &st);
	return st.syncs;
}

static enum err on_send(struct net *n, uint64_t to, const struct bytes *parts,
			uint32_t part_count)
{
	struct bytes in = parts[0];
	struct item item;

	assert_int_equal(part_count, 1);
	while (item_next(&in, &item) == OK) {
		static struct raft_snapshot snapshot;
		struct raft_msg m;

		if (item.kind != ITEM_RAFT)
			continue;
		assert_int_equal(wire_msg_decode(&item.body, &m, &snapshot),
				 OK);
		m.to = to;
		m.from = 1;
		assert_true(sent_count < SENT_MAX);
		sent[sent_count++] =
			(struct sent){ .m = m, .syncs = sync_count() };
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

static void open_all(void)
{
	static const struct store_member members[3] = {
		{ .id = 1, .name = "n1", .peer = "h1:1" },
		{ .id = 2, .name = "n2", .peer = "h2:1" },
		{ .id = 3, .name = "n3", .peer = "h3:1" },
	};
	struct engine_options eo;
	struct store_options so = {
		.clock = &sim_clock.clock,
		.seed = &seed,
		.node_name = "n1",
		.partitions = 1,
		.max_value_bytes = 1 << 20,
		.watch_history_bytes = 1 << 20,
		.net = &net,
		.members = members,
		.member_count = 3,
		.self = members[0],
	};
	struct buf why = BUF_INIT;
	uint64_t wait_ms;

	engine_options_default(&eo);
	eo.vfs = vfs_sim_vfs(disk);
	eo.clock = &sim_clock.clock;
	eo.seed = &seed;
	eo.dir = "data";
	eo.node_id = 1;
	eo.segment_bytes = 4 << 20;
	eo.min_free_bytes = 0;
	assert_int_equal(engine_open(&eo, &engine, &why), OK);
	so.engine = engine;
	assert_int_equal(store_new(&so, &store), OK);
	assert_int_equal(store_step(store, &wait_ms), OK);
}

static void close_all(void)
{
	store_free(store);
	engine_close(engine);
}

static int set_up(void **state)
{
	net = (struct net){ .send = on_send,
			    .peer = on_peer,
			    .is_up = on_is_up };
	seed_init(&seed, 1);
	clock_sim_init(&sim_clock, 1000000000000);
	assert_int_equal(vfs_sim_new(1, 64 << 20, &disk), OK);
	sent_count = 0;
	open_all();
	return 0;
}

static int tear_down(void **state)
{
	close_all();
	vfs_sim_free(disk);
	return 0;
}

static void pass(uint64_t ms)
{
	sim_clock.mono += ms * 1000000;
	sim_clock.boot += ms * 1000000;
	sim_clock.wall += ms * 1000000;
}

static void step(void)
{
	uint64_t wait_ms;

	assert_int_equal(store_step(store, &wait_ms), OK);
}

/* m comes from a peer, with entries of one such record behind it. */
static void receive_records(const struct raft_msg *m, uint64_t entry_term,
			    struct engine_record record)
{
	struct engine_entry entry = { .term = entry_term,
				      .stamp_ns = 1000 + m->index,
				      .records = &record,
				      .record_count = 1 };
	struct buf b = BUF_INIT;
	size_t at;

	assert_int_equal(item_begin(&b, ITEM_RAFT, 0, &at), OK);
	assert_int_equal(wire_msg_encode(&b, m), OK);
	for (uint32_t i = 0; i < m->entry_count; i++)
		assert_int_equal(wire_entry_encode(&b, &entry), OK);
	assert_int_equal(item_end(&b, at), OK);
	assert_int_equal(store_receive(store, m->from, buf_bytes(&b)), OK);
	buf_done(&b);
}

/* m comes from a peer, with n no-op entries of m->term behind it. */
static void receive(const struct raft_msg *m, uint64_t entry_term)
{
	receive_records(m, entry_term,
			(struct engine_record){ .type = RECORD_NOOP });
}

/* The last message of that type to a node, or NULL. */
static const struct sent *last_sent(enum raft_msg_type type, uint64_t to)
{
	for (uint32_t i = sent_count; i > 0; i--) {
		if (sent[i - 1].m.type == type && sent[i - 1].m.to == to)
			return &sent[i - 1];
	}
	return NULL;
}

/* Let node 1 win an election; its no-op is appended, not committed. */
static void become_leader(void)
{
	const struct sent *ask;

	while (!last_sent(RAFT_MSG_PREVOTE, 2)) {
		pass(100);
		step();
	}
	ask = last_sent(RAFT_MSG_PREVOTE, 2);
	receive(&(struct raft_msg){ .type = RAFT_MSG_PREVOTE_REPLY,
				    .from = 2,
				    .term = ask->m.term },
		0);
	step();
	ask = last_sent(RAFT_MSG_VOTE, 2);
	assert_non_null(ask);
	receive(&(struct raft_msg){ .type = RAFT_MSG_VOTE_REPLY,
				    .from = 2,
				    .term = ask->m.term },
		0);
	step();
	assert_non_null(last_sent(RAFT_MSG_APPEND, 2));
}

/* Node 2 has all that was sent. */
static void acknowledge(void)
{
	const struct sent *a = last_sent(RAFT_MSG_APPEND, 2);

	receive(&(struct raft_msg){ .type = RAFT_MSG_APPEND_REPLY,
				    .from = 2,
				    .term = a->m.term,
				    .index = a->m.index + a->m.entry_count },
		0);
	step();
}

static void a_vote_is_durable_before_it_is_told(void **state)
{
	struct engine_partition_info info;
	uint64_t before = sync_count();
	const struct sent *answer;

	receive(&(struct raft_msg){ .type = RAFT_MSG_VOTE,
				    .from = 3,
				    .term = 7,
				    .index = 1,
				    .log_term = 1,
				    .force = true },
		0);
	assert_null(last_sent(RAFT_MSG_VOTE_REPLY, 3));
	step();
	answer = last_sent(RAFT_MSG_VOTE_REPLY, 3);
	assert_non_null(answer);
	assert_false(answer->m.reject);
	assert_true(answer->syncs > before);
	/* The same asked again after a power loss is granted, another not. */
	vfs_sim_power_off(disk, VFS_SIM_ALL, 1, false);
	close_all();
	vfs_sim_crash(disk);
	sent_count = 0;
	open_all();
	engine_partition_info(engine, 0, &info);
	assert_int_equal(info.hard_state.term, 7);
	assert_int_equal(info.hard_state.vote, 3);
	receive(&(struct raft_msg){ .type = RAFT_MSG_VOTE,
				    .from = 2,
				    .term = 7,
				    .index = 1,
				    .log_term = 1,
				    .force = true },
		0);
	step();
	answer = last_sent(RAFT_MSG_VOTE_REPLY, 2);
	assert_non_null(answer);
	assert_true(answer->m.reject);
	receive(&(struct raft_msg){ .type = RAFT_MSG_VOTE,
				    .from = 3,
				    .term = 7,
				    .index = 1,
				    .log_term = 1,
				    .force = true },
		0);
	step();
	answer = last_sent(RAFT_MSG_VOTE_REPLY, 3);
	assert_non_null(answer);
	assert_false(answer->m.reject);
}

static void entries_are_durable_before_they_are_acknowledged(void **state)
{
	struct raft_msg m = { .type = RAFT_MSG_APPEND,
			      .from = 2,
			      .term = 2,
			      .index = 1,
			      .log_term = 1,
			      .commit = 1,
			      .entry_count = 3 };
	uint64_t before;
	const struct sent *answer;

	before = sync_count();
	receive(&m, 2);
	assert_null(last_sent(RAFT_MSG_APPEND_REPLY, 2));
	step();
	answer = last_sent(RAFT_MSG_APPEND_REPLY, 2);
	assert_non_null(answer);
	assert_false(answer->m.reject);
	assert_int_equal(answer->m.index, 4);
	assert_true(answer->syncs > before);
	/* Nothing new is written for what is there already. */
	before = sync_count();
	receive(&m, 2);
	step();
	assert_int_equal(sync_count(), before);
	/* The commit index lets them be applied. */
	assert_int_equal(engine_applied_index(engine, 0), 1);
	m = (struct raft_msg){
		.type = RAFT_MSG_HEARTBEAT, .from = 2, .term = 2, .commit = 4
	};
	receive(&m, 2);
	step();
	assert_int_equal(engine_applied_index(engine, 0), 4);
}

static void set_flag(struct store_write *w)
{
	*(bool *)w->user = true;
}

static void a_leader_sends_before_its_own_disk_is_asked(void **state)
{
	struct store_op op = { .kind = STORE_PUT,
			       .key = bytes_str("k"),
			       .value = bytes_str("v") };
	struct store_result result = { 0 };
	bool done = false;
	struct store_write w = { .then_ops = &op,
				 .then_count = 1,
				 .results = &result,
				 .done = set_flag,
				 .user = &done };
	const struct sent *append;
	uint64_t before;

	become_leader();
	acknowledge();
	before = sync_count();
	sent_count = 0;
	assert_int_equal(store_write(store, &w), OK);
	step();
	append = last_sent(RAFT_MSG_APPEND, 2);
	assert_non_null(append);
	assert_int_equal(append->m.entry_count, 1);
	assert_int_equal(append->syncs, before);
	assert_int_equal(sync_count(), before + 1);
	assert_false(done); /* one disk of three is no quorum */
	acknowledge();
	assert_true(done);
	assert_int_equal(w.err, OK);
}

static void many_writes_of_a_round_are_one_append(void **state)
{
	struct store_op op[VALUES_MAX];
	struct store_write w[VALUES_MAX];
	char key[VALUES_MAX][8];
	bool done[VALUES_MAX] = { false };
	uint32_t appends = 0;

	become_leader();
	acknowledge();
	sent_count = 0;
	for (int i = 0; i < VALUES_MAX; i++) {
		snprintf(key[i], sizeof(key[i]), "k%d", i);
		op[i] = (struct store_op){ .kind = STORE_PUT,
					   .key = bytes_str(key[i]),
					   .value = bytes_str("v") };
		w[i] = (struct store_write){ .then_ops = &op[i],
					     .then_count = 1,
					     .done = set_flag,
					     .user = &done[i] };
		assert_int_equal(store_write(store, &w[i]), OK);
	}
	step();
	for (uint32_t i = 0; i < sent_count; i++)
		appends += sent[i].m.type == RAFT_MSG_APPEND &&
			   sent[i].m.entry_count > 0 && sent[i].m.to == 2;
	assert_int_equal(appends, 1);
	acknowledge();
	for (int i = 0; i < VALUES_MAX; i++)
		assert_true(done[i]);
}

/* A PUT of what must be absent: refused once "k" is there. */
static void a_refusal_waits_for_a_read_index(void **state)
{
	struct store_condition absent = { .kind = STORE_IF_EXISTS,
					  .key = bytes_str("k") };
	struct store_op op = { .kind = STORE_PUT,
			       .key = bytes_str("k"),
			       .value = bytes_str("v") };
	bool done = false;
	struct store_write w = { .conditions = &absent,
				 .condition_count = 1,
				 .then_ops = &op,
				 .then_count = 1,
				 .done = set_flag,
				 .user = &done };
	const struct sent *beat;

	become_leader();
	acknowledge();
	sent_count = 0;
	assert_int_equal(store_write(store, &w), OK);
	step();
	step();
	assert_false(done);
	beat = last_sent(RAFT_MSG_HEARTBEAT, 2);
	assert_non_null(beat);
	assert_true(beat->m.context > 0);
	receive(&(struct raft_msg){ .type = RAFT_MSG_HEARTBEAT_REPLY,
				    .from = 2,
				    .term = beat->m.term,
				    .context = beat->m.context,
				    .stamp_ns = beat->m.stamp_ns },
		0);
	step();
	assert_true(done);
	assert_int_equal(w.err, ERR_PRECONDITION);
}

static uint64_t stall_ns; /* each look at the clock takes so long */

static uint64_t stalled_mono_ns(struct clock *clock)
{
	sim_clock.mono += stall_ns;
	sim_clock.boot += stall_ns;
	return sim_clock.mono;
}

static void write_one(struct store_write *w, bool *done)
{
	static struct store_op op;

	op = (struct store_op){ .kind = STORE_PUT,
				.key = bytes_str("k"),
				.value = bytes_str("v") };
	*w = (struct store_write){
		.then_ops = &op, .then_count = 1, .done = set_flag, .user = done
	};
	assert_int_equal(store_write(store, w), OK);
	step();
	acknowledge();
	assert_true(*done);
}

/* Once may happen to any disk; again and again, and somebody else leads. */
static void a_leader_whose_disk_stalls_hands_over(void **state)
{
	struct store_write w;

	become_leader();
	acknowledge();
	sim_clock.clock.mono_ns = stalled_mono_ns;
	for (int i = 0; i < 3; i++) {
		bool done = false;

		assert_null(last_sent(RAFT_MSG_TIMEOUT_NOW, 2));
		stall_ns = 510000000; /* over half an election timeout */
		write_one(&w, &done);
		stall_ns = 0;
	}
	pass(100);
	step();
	assert_non_null(last_sent(RAFT_MSG_TIMEOUT_NOW, 2));
}

static void a_disk_that_is_slow_now_and_then_keeps_its_leader(void **state)
{
	struct store_write w;

	become_leader();
	acknowledge();
	sim_clock.clock.mono_ns = stalled_mono_ns;
	for (int i = 0; i < 12; i++) {
		bool done = false;

		stall_ns = i % 3 ? 510000000 : 0;
		write_one(&w, &done);
		stall_ns = 0;
		pass(10);
	}
	assert_null(last_sent(RAFT_MSG_TIMEOUT_NOW, 2));
}

/* ------------------------------------------------------------- log clock - */

enum { HOUR_MS = 3600 * 1000 };
#define SECOND_NS UINT64_C(1000000000)

/* The log clock of the entry at the end of the log. */
static uint64_t last_stamp_ns(void)
{
	struct engine_partition_info info;

	engine_partition_info(engine, 0, &info);
	return info.last_stamp_ns;
}

/* Puts have no room from now on, or have it again. */
static void fill_disk(bool full)
{
	engine_set_min_free(engine, full ? UINT64_MAX : 0);
}

/* A leader of that term says that all up to commit are committed. */
static void hear_leader(uint64_t term, uint64_t commit)
{
	receive(&(struct raft_msg){ .type = RAFT_MSG_HEARTBEAT,
				    .from = 3,
				    .term = term,
				    .commit = commit },
		term);
	step();
	assert_int_equal(engine_applied_index(engine, 0), commit);
}

/*
 * A leader's entry of an hour later than the log says is replaced, and its
 * replacement has no room: nothing of that hour is left but the memory. Who
 * stamped by it would let every key expire an hour early.
 */
static void a_stamp_that_was_cut_off_holds_no_clock_up(void **state)
{
	struct raft_msg m = { .type = RAFT_MSG_APPEND,
			      .from = 2,
			      .term = 2,
			      .index = 1,
			      .log_term = 1,
			      .commit = 1,
			      .entry_count = 2 };
	uint64_t term;

	receive(&m, 2);
	step();
	pass(HOUR_MS);
	become_leader();
	term = last_sent(RAFT_MSG_APPEND, 2)->m.term;
	assert_true(last_stamp_ns() >= 3600 * SECOND_NS);

	fill_disk(true);
	m = (struct raft_msg){ .type = RAFT_MSG_APPEND,
			       .from = 3,
			       .term = term + 1,
			       .index = 3,
			       .log_term = 2,
			       .commit = 3,
			       .entry_count = 1 };
	receive_records(&m, term + 1,
			(struct engine_record){ .type = RECORD_PUT,
						.key = bytes_str("k"),
						.value = bytes_str("v") });
	step();
	fill_disk(false);
	assert_int_equal(engine_applied_index(engine, 0), 3);
	sent_count = 0;
	become_leader();
	assert_int_equal(last_sent(RAFT_MSG_APPEND, 2)->m.index, 3);
	assert_in_range(last_stamp_ns(), 1001, 60 * SECOND_NS);
}

/* A leader stamped what then found no room: no entry has that stamp. */
static void a_stamp_that_found_no_room_holds_no_clock_up(void **state)
{
	static struct store_op op;
	static struct store_write w[2]; /* the second may wait to the end */
	static bool done[2];
	uint64_t term, stamp_ns;

	op = (struct store_op){ .kind = STORE_PUT,
				.key = bytes_str("k"),
				.value = bytes_str("v") };
	for (int i = 0; i < 2; i++)
		w[i] = (struct store_write){ .then_ops = &op,
					     .then_count = 1,
					     .done = set_flag,
					     .user = &done[i] };
	become_leader();
	acknowledge();
	term = last_sent(RAFT_MSG_APPEND, 2)->m.term;
	assert_int_equal(store_write(store, &w[0]), OK);
	step();
	stamp_ns = last_stamp_ns();
	pass(HOUR_MS);
	fill_disk(true);
	assert_int_equal(store_write(store, &w[1]), OK);
	step();
	assert_int_equal(last_stamp_ns(), stamp_ns);
	fill_disk(false);

	hear_leader(term + 1, 3);
	assert_true(done[0]);
	sent_count = 0;
	become_leader();
	assert_int_equal(last_sent(RAFT_MSG_APPEND, 2)->m.index, 3);
	assert_in_range(last_stamp_ns(), stamp_ns + 1,
			stamp_ns + 60 * SECOND_NS);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(a_vote_is_durable_before_it_is_told),
		T(entries_are_durable_before_they_are_acknowledged),
		T(a_leader_sends_before_its_own_disk_is_asked),
		T(many_writes_of_a_round_are_one_append),
		T(a_refusal_waits_for_a_read_index),
		T(a_leader_whose_disk_stalls_hands_over),
		T(a_disk_that_is_slow_now_and_then_keeps_its_leader),
		T(a_stamp_that_was_cut_off_holds_no_clock_up),
		T(a_stamp_that_found_no_room_holds_no_clock_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
