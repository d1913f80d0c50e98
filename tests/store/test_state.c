/*
 * tests/store/test_state.c - a member that the log cannot help any more gets
 * the state: whole clusters on simulated disks and networks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "engine/replica.h"
#include "store/state_internal.h"
#include "tests/lib/cluster_rig.h"

enum { TXN_KEYS = 100, VALUE_BYTES = 600 };

static struct cluster rig;

static void begin(uint32_t nodes, uint32_t partitions, uint64_t seed)
{
	struct cluster_options o;

	cluster_options_default(&o, nodes, partitions, seed);
	cluster_init(&rig, &o);
	cluster_start_all(&rig);
	assert_true(cluster_wait_leader(&rig, 20000) > 0);
}

static uint64_t leader_of(uint32_t partition)
{
	uint64_t id = cluster_leader(&rig, partition);

	if (id)
		return id;
	cluster_wait_leader(&rig, 30000);
	return cluster_leader(&rig, partition);
}

static uint64_t leader(void)
{
	return leader_of(0);
}

static uint64_t leader_for(const char *dir)
{
	return leader_of(
		store_partition_of(rig.node[leader()].store, bytes_str(dir)));
}

struct puts {
	struct store_op ops[TXN_KEYS];
	struct store_result results[TXN_KEYS];
	char keys[TXN_KEYS][32];
	uint8_t value[VALUE_BYTES];
};

/* Some keys from first on below dir, one transaction through the leader. */
static enum err put_some(const char *dir, uint32_t first, uint32_t n,
			 uint32_t value_bytes, uint8_t tag, bool del)
{
	struct puts *p = calloc(1, sizeof(*p));
	struct store_write w = { .then_ops = p->ops,
				 .then_count = n,
				 .results = p->results };
	enum err err;

	memset(p->value, tag, sizeof(p->value));
	for (uint32_t i = 0; i < n; i++) {
		snprintf(p->keys[i], sizeof(p->keys[i]), "%s/%06u", dir,
			 first + i);
		p->ops[i].kind = del ? STORE_DELETE : STORE_PUT;
		p->ops[i].key = bytes_str(p->keys[i]);
		if (!del)
			p->ops[i].value = bytes_of(p->value, value_bytes);
	}
	err = cluster_write(&rig, leader_for(dir), &w);
	free(p);
	return err;
}

static void fill(const char *dir, uint32_t count, uint32_t value_bytes,
		 uint8_t tag)
{
	for (uint32_t i = 0; i < count;) {
		uint32_t n = count - i < TXN_KEYS ? count - i : TXN_KEYS;
		enum err err = put_some(dir, i, n, value_bytes, tag, false);

		if (!err)
			i += n;
		else
			cluster_run(&rig, 100);
	}
}

static uint64_t first_index(uint64_t id, uint16_t partition)
{
	return engine_first_index(rig.node[id].engine, partition);
}

/* The nodes but away forget their logs up to more than index. */
static void compact_beyond(uint64_t index, uint64_t away)
{
	for (int i = 0; i < 600; i++) {
		bool all = true;

		if (i % 20 == 0)
			fill("x/roll", 1200, VALUE_BYTES, (uint8_t)i);
		for (uint64_t id = 1; id <= rig.count; id++) {
			if (!cluster_runs(&rig, id) || id == away)
				continue;
			store_merge_request(rig.node[id].store);
			all &= first_index(id, 0) > index + 1;
		}
		if (all)
			return;
		cluster_run(&rig, 100);
	}
	fail_msg("logs were not compacted");
}

static uint64_t base_index(uint64_t id, uint16_t partition)
{
	struct engine_partition_info info;

	engine_partition_info(rig.node[id].engine, partition, &info);
	return info.base_index;
}

static uint64_t last_index(uint64_t id)
{
	struct engine_partition_info info;

	engine_partition_info(rig.node[id].engine, 0, &info);
	return info.last_index;
}

/* Node id is cut off, and its peers' logs go on without what it needs. */
static void leave_behind(uint64_t id)
{
	cluster_isolate(&rig, id);
	cluster_run(&rig, 3000);
	compact_beyond(last_index(id), id);
}

/* Let node id come back and run until a state is on its way to it. */
static void begin_to_catch_up(uint64_t id)
{
	uint64_t until_ns = rig.now_ns + 60000000000;

	cluster_heal_all(&rig);
	while (!state_recv_busy(rig.node[id].store) && rig.now_ns < until_ns)
		assert_true(cluster_step(&rig, until_ns));
	assert_true(state_recv_busy(rig.node[id].store));
}

static uint64_t a_follower(void)
{
	return leader() % rig.o.founders + 1;
}

/* ---------------------------------------------------------------- tests -- */

static void a_follower_that_was_away_gets_the_state(void **state)
{
	uint64_t away;

	begin(3, 1, 1);
	fill("d", 500, VALUE_BYTES, 1);
	cluster_must_put(&rig, "gone", "1", 10000);
	cluster_expect_same(&rig, 20000);
	away = a_follower();
	leave_behind(away);
	fill("d", 300, VALUE_BYTES, 2);
	assert_int_equal(cluster_del(&rig, leader(), "gone", NULL), OK);
	compact_beyond(last_index(away), away);
	cluster_must_put(&rig, "after", "2", 10000);
	begin_to_catch_up(away);
	cluster_expect_same(&rig, 60000);
	assert_true(base_index(away, 0) > 0);
	cluster_expect(&rig, away, "after", "2", 20000);
	cluster_expect(&rig, away, "gone", NULL, 20000);
	/* and it goes on, also after a restart */
	fill("d", 100, VALUE_BYTES, 3);
	cluster_crash(&rig, away);
	cluster_run(&rig, 1000);
	cluster_start(&rig, away);
	cluster_expect_same(&rig, 60000);
	cluster_done(&rig);
}

enum { FILE_BYTES = 400000 };

/* Random bytes anywhere in the file "x/f", now and then a hole. */
static void change_file(struct seed *chance, uint8_t *plain, int count)
{
	static uint8_t data[90000];

	for (int i = 0; i < count; i++) {
		size_t n = 1 + seed_below(chance, i % 9 ? 500 : sizeof(data));
		uint64_t off = seed_below(chance, FILE_BYTES - n);
		struct store_file_op op = { .kind = STORE_FILE_WRITE,
					    .flags = STORE_FILE_MAKE,
					    .path = bytes_str("x/f"),
					    .off = off,
					    .data = bytes_of(data, n) };

		memset(data, i % 255 + 1, n);
		if (i % 5 == 4) {
			op.kind = STORE_FILE_ALLOCATE;
			op.flags = STORE_FILE_ZERO;
			op.data.n = 0;
			op.length = n;
			memset(data, 0, n);
		}
		while (cluster_file(&rig, leader(), &op))
			cluster_run(&rig, 100);
		memcpy(plain + off, data, n);
	}
}

static void expect_file(uint64_t id, const uint8_t *plain)
{
	static uint8_t got[FILE_BYTES];
	size_t n = 0;

	assert_int_equal(store_file_read(rig.node[id].store, bytes_str("x/f"),
					 0, 0, got, FILE_BYTES, &n),
			 OK);
	while (n < FILE_BYTES)
		got[n++] = 0;
	assert_memory_equal(got, plain, FILE_BYTES);
}

static void files_with_extents_and_holes_arrive(void **state)
{
	uint8_t *plain = calloc(1, FILE_BYTES);
	struct seed chance;
	uint64_t away;

	begin(3, 1, 12);
	seed_init(&chance, 12);
	change_file(&chance, plain, 100);
	away = a_follower();
	leave_behind(away);
	change_file(&chance, plain, 200);
	compact_beyond(last_index(away), away);
	change_file(&chance, plain, 50);
	begin_to_catch_up(away);
	change_file(&chance, plain, 50);
	cluster_expect_same(&rig, 60000);
	assert_true(base_index(away, 0) > 0);
	for (uint64_t id = 1; id <= rig.count; id++)
		expect_file(id, plain);
	cluster_done(&rig);
	free(plain);
}

static void writes_go_on_meanwhile(void **state)
{
	uint64_t away;

	begin(3, 1, 2);
	fill("d", 2000, VALUE_BYTES, 1);
	away = a_follower();
	leave_behind(away);
	begin_to_catch_up(away);
	for (uint8_t i = 0; i < 20; i++)
		fill("d", 300, VALUE_BYTES, i);
	cluster_expect_same(&rig, 60000);
	assert_true(base_index(away, 0) > 0);
	cluster_done(&rig);
}

static void a_leader_lost_in_the_middle_is_replaced(void **state)
{
	for (uint64_t ms = 1; ms <= 31; ms += 5) {
		uint64_t away, old;

		begin(3, 1, 100 + ms);
		fill("d", 3000, VALUE_BYTES, 1);
		away = a_follower();
		leave_behind(away);
		old = leader();
		begin_to_catch_up(away);
		cluster_run(&rig, ms);
		cluster_isolate(&rig, old);
		cluster_run(&rig, 5000);
		cluster_must_put(&rig, "new", "1", 60000);
		cluster_heal_all(&rig);
		cluster_expect_same(&rig, 120000);
		assert_true(base_index(away, 0) > 0);
		cluster_done(&rig);
	}
}

static void a_link_that_breaks_again_and_again_only_delays(void **state)
{
	uint64_t away;

	begin(3, 1, 3);
	fill("d", 6000, VALUE_BYTES, 1);
	away = a_follower();
	leave_behind(away);
	begin_to_catch_up(away);
	for (int i = 0; i < 10; i++) {
		cluster_run(&rig, 10);
		cluster_reset_link(&rig, leader(), away);
		cluster_reset_link(&rig, away, leader());
	}
	cluster_expect_same(&rig, 120000);
	assert_true(base_index(away, 0) > 0);
	assert_int_equal(engine_applied_index(rig.node[away].engine, 0),
			 last_index(leader()));
	cluster_done(&rig);
}

static void a_receiver_may_die_at_any_moment(void **state)
{
	const char *text = getenv("SEED");
	uint64_t from = text ? strtoull(text, NULL, 10) : 1;

	for (uint64_t seed = from; seed < from + (text ? 1 : 8); seed++) {
		struct seed chance;
		uint64_t away;

		print_message("seed %llu\n", (unsigned long long)seed);
		seed_init(&chance, seed);
		begin(3, 1, 1000 + seed);
		fill("d", 2000, VALUE_BYTES, 1);
		away = a_follower();
		leave_behind(away);
		begin_to_catch_up(away);
		for (int i = 0; i < 6; i++) {
			cluster_crash_at(&rig, away,
					 VFS_SIM_WRITE | VFS_SIM_SYNC |
						 VFS_SIM_RENAME,
					 1 + seed_below(&chance, 40),
					 seed_below(&chance, 2));
			cluster_run(&rig, 2000);
			if (cluster_runs(&rig, away))
				cluster_crash(&rig, away);
			cluster_start(&rig, away);
		}
		cluster_expect_same(&rig, 120000);
		assert_true(base_index(away, 0) > 0);
		cluster_done(&rig);
	}
}

/*
 * The disk is full when the state is to be put in force: the group waits for
 * room, in this process, and takes its state then.
 */
static void a_state_waits_for_room_to_be_put_in_force(void **state)
{
	uint32_t waited = 0;

	for (uint64_t nth = 1; nth <= 6; nth++) {
		struct partition *p;
		uint64_t away;

		begin(3, 1, 2000 + nth);
		fill("d", 300, VALUE_BYTES, 1);
		away = a_follower();
		leave_behind(away);
		begin_to_catch_up(away);
		p = &rig.node[away].store->partitions[0];
		vfs_sim_fail(rig.node[away].disk, VFS_SIM_RENAME, nth,
			     ERR_NOSPC, true);
		for (int i = 0; i < 40; i++) {
			cluster_run(&rig, 50);
			waited += p->installing != NULL;
		}
		assert_int_equal(
			cluster_put(&rig, leader_for("d"), "d/x", "1", NULL),
			OK);
		vfs_sim_fail(rig.node[away].disk, VFS_SIM_ALL, 0, OK, false);
		cluster_expect_same(&rig, 120000);
		assert_true(base_index(away, 0) > 0);
		assert_int_equal(rig.node[away].starts, 1);
		cluster_done(&rig);
	}
	assert_true(waited > 10);
}

static void every_partition_gets_its_state(void **state)
{
	uint64_t away;
	char dir[16];

	begin(3, 4, 4);
	for (int i = 0; i < 12; i++) {
		snprintf(dir, sizeof(dir), "d%d", i);
		fill(dir, 300, VALUE_BYTES, 1);
	}
	away = a_follower();
	cluster_isolate(&rig, away);
	cluster_run(&rig, 3000);
	for (int n = 0; n < 8; n++) {
		for (int i = 0; i < 12; i++) {
			snprintf(dir, sizeof(dir), "d%d", i);
			fill(dir, 300, VALUE_BYTES, (uint8_t)n);
		}
		for (uint64_t id = 1; id <= 3; id++)
			store_merge_request(rig.node[id].store);
		cluster_run(&rig, 1000);
	}
	cluster_heal_all(&rig);
	cluster_expect_same(&rig, 120000);
	assert_true(base_index(away, 1) + base_index(away, 2) +
			    base_index(away, 3) >
		    0);
	cluster_done(&rig);
}

static void a_hundred_thousand_keys_arrive(void **state)
{
	uint64_t away;

	begin(3, 1, 5);
	away = a_follower();
	cluster_isolate(&rig, away);
	cluster_run(&rig, 3000);
	fill("many", 100000, 8, 7);
	compact_beyond(last_index(away), away);
	begin_to_catch_up(away);
	cluster_expect_same(&rig, 120000);
	assert_true(base_index(away, 0) > 0);
	cluster_done(&rig);
}

/* The header of a record: nothing says which key to fetch. */
static void a_leader_that_cannot_read_its_state_lets_another_send(void **state)
{
	struct engine_info info;
	uint64_t away, old;
	char path[64];

	begin(3, 1, 7);
	fill("d", 500, VALUE_BYTES, 1);
	away = a_follower();
	leave_behind(away);
	old = leader();
	fill("e", 1, VALUE_BYTES, 1);
	assert_int_equal(engine_peek(rig.node[old].engine, 0,
				     bytes_str("e/000000"), &info),
			 OK);
	snprintf(path, sizeof(path), "data/%08x.log", loc_file_id(info.loc));
	assert_int_equal(vfs_sim_flip(rig.node[old].disk, path,
				      loc_off(info.loc) + 16, 1),
			 OK);
	fill("x/roll", 6000, VALUE_BYTES, 2); /* no memory has it any more */
	cluster_heal_all(&rig);
	cluster_run(&rig, 60000);
	assert_true(leader() != old);
	assert_true(base_index(away, 0) > 0);
	cluster_must_put(&rig, "after", "1", 20000);
	cluster_expect(&rig, away, "after", "1", 20000);
	cluster_done(&rig);
}

static void set_done(struct store_write *w)
{
	*(bool *)w->user = true;
}

/*
 * A write through a node that is then left behind: its entry is compacted away
 * before the node hears of it, and its client is answered all the same.
 */
static void a_waiter_on_a_compacted_entry_is_answered(void **state)
{
	struct store_op op = { .kind = STORE_PUT,
			       .key = bytes_str("w"),
			       .value = bytes_str("1") };
	struct store_result result = { 0 };
	bool done = false;
	struct store_write w = { .then_ops = &op,
				 .then_count = 1,
				 .results = &result,
				 .done = set_done,
				 .user = &done };
	struct cluster_options o;
	uint64_t away, at, other;

	cluster_options_default(&o, 3, 1, 8);
	o.commit_timeout_ms = 600000;
	cluster_init(&rig, &o);
	cluster_start_all(&rig);
	at = cluster_wait_leader(&rig, 20000);
	cluster_run(&rig, 500);
	away = at % 3 + 1;
	other = 6 - at - away;
	cluster_cut(&rig, at, away);
	cluster_cut(&rig, other, away);
	assert_int_equal(store_write(rig.node[away].store, &w), OK);
	cluster_run(&rig, 200);
	assert_false(done);
	cluster_expect(&rig, at, "w", "1", 10000);
	cluster_isolate(&rig, away);
	compact_beyond(last_index(away) + 3, away);
	assert_false(done);
	begin_to_catch_up(away);
	cluster_expect_same(&rig, 60000);
	cluster_run(&rig, 2000);
	assert_true(base_index(away, 0) >= result.rev);
	assert_true(done);
	assert_int_equal(w.err, OK);
	cluster_done(&rig);
}

static void watches_of_the_receiver_are_told(void **state)
{
	struct store_event *e = malloc(sizeof(*e));
	struct store_watch *w;
	uint64_t away;

	begin(3, 1, 6);
	fill("d", 100, VALUE_BYTES, 1);
	cluster_expect_same(&rig, 20000);
	away = a_follower();
	assert_int_equal(store_watch_open(rig.node[away].store, bytes_str("d"),
					  false, bytes_str(""),
					  (void (*)(void *))free, NULL, &w),
			 OK);
	leave_behind(away);
	begin_to_catch_up(away);
	cluster_expect_same(&rig, 60000);
	assert_int_equal(store_watch_next(w, e), ERR_COMPACTED);
	store_watch_close(w);
	free(e);
	cluster_done(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_follower_that_was_away_gets_the_state),
		cmocka_unit_test(files_with_extents_and_holes_arrive),
		cmocka_unit_test(writes_go_on_meanwhile),
		cmocka_unit_test(a_leader_lost_in_the_middle_is_replaced),
		cmocka_unit_test(
			a_link_that_breaks_again_and_again_only_delays),
		cmocka_unit_test(a_receiver_may_die_at_any_moment),
		cmocka_unit_test(a_state_waits_for_room_to_be_put_in_force),
		cmocka_unit_test(every_partition_gets_its_state),
		cmocka_unit_test(a_hundred_thousand_keys_arrive),
		cmocka_unit_test(
			a_leader_that_cannot_read_its_state_lets_another_send),
		cmocka_unit_test(a_waiter_on_a_compacted_entry_is_answered),
		cmocka_unit_test(watches_of_the_receiver_are_told),
	};

	log_set_level(getenv("LOUD") ? LOG_INFO : LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
