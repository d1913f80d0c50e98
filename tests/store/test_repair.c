/*
 * tests/store/test_repair.c - bytes that decay on one member's disk come back
 * from the others: whole clusters on simulated disks and networks.
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
#include "store/hidden.h"
#include "tests/lib/cluster_rig.h"

enum { KEYS = 40, VALUE_BYTES = 3000 };

static struct cluster rig;

static void begin(uint32_t nodes, uint64_t seed, enum engine_read_mode mode)
{
	struct cluster_options o;

	cluster_options_default(&o, nodes, 1, seed);
	o.read_mode = mode;
	cluster_init(&rig, &o);
	cluster_start_all(&rig);
	assert_true(cluster_wait_leader(&rig, 20000) > 0);
}

static void name(uint32_t i, char key[16])
{
	snprintf(key, 16, "d/%04u", i);
}

static void put_keys(uint32_t count, char tag)
{
	char key[16], value[VALUE_BYTES + 1];

	for (uint32_t i = 0; i < count; i++) {
		name(i, key);
		memset(value, tag, VALUE_BYTES);
		value[VALUE_BYTES] = 0;
		snprintf(value, 16, "%u", i);
		cluster_must_put(&rig, key, value, 20000);
	}
}

static uint64_t leader(void)
{
	uint64_t id = cluster_leader(&rig, 0);

	return id ? id : cluster_wait_leader(&rig, 30000);
}

static uint64_t a_follower(void)
{
	return leader() % 3 + 1;
}

/* Where key's record lies on node id: the file, and the value's middle. */
static uint64_t place_of(uint64_t id, struct bytes key, char path[64],
			 bool *merged)
{
	struct engine_info info;
	struct vfs *vfs = vfs_sim_vfs(rig.node[id].disk);
	struct vfs_file *f;

	assert_int_equal(engine_peek(rig.node[id].engine, 0, key, &info), OK);
	*merged = false;
	snprintf(path, 64, "data/%08x.log", loc_file_id(info.loc));
	if (vfs_open(vfs, path, VFS_READ, &f) == OK) {
		vfs_close(f);
	} else {
		*merged = true;
		snprintf(path, 64, "data/%08x.dat", loc_file_id(info.loc));
	}
	return loc_off(info.loc) + RECORD_HEADER_BYTES + key.n +
	       info.attr_bytes + info.value_bytes / 2;
}

static void flip(uint64_t id, struct bytes key, bool *merged)
{
	char path[64];
	uint64_t off = place_of(id, key, path, merged);

	assert_int_equal(vfs_sim_flip(rig.node[id].disk, path, off, 8), OK);
}

/* What a read on node id itself says, however fresh; OK or the error. */
static enum err read_here(uint64_t id, const char *key)
{
	struct buf b = BUF_INIT;
	enum err err = cluster_get(&rig, id, key, STORE_STALE, &b);

	buf_done(&b);
	return err;
}

static enum err read_hidden(uint64_t id, struct bytes key)
{
	struct engine_value v;
	enum err err =
		engine_get(rig.node[id].engine, 0, key, ENGINE_VERIFY, &v);

	if (!err)
		engine_value_done(&v);
	return err;
}

static void merge_all(void)
{
	for (int i = 0; i < 100; i++) {
		for (uint64_t id = 1; id <= rig.count; id++)
			store_merge_request(rig.node[id].store);
		put_keys(5, (char)('a' + i % 26));
		cluster_run(&rig, 200);
	}
}

/* ---------------------------------------------------------------- tests -- */

static void read_and_heal(uint64_t id, bool want_merged)
{
	bool merged;
	char key[16];

	name(20, key);
	flip(id, bytes_str(key), &merged);
	assert_int_equal(merged, want_merged);
	assert_int_equal(read_here(id, key), ERR_CORRUPT);
	cluster_run(&rig, 3000);
	assert_int_equal(read_here(id, key), OK);
	cluster_expect_same(&rig, 20000);
	/* for good */
	cluster_crash(&rig, id);
	cluster_run(&rig, 500);
	cluster_start(&rig, id);
	cluster_expect_same(&rig, 60000);
	assert_int_equal(read_here(id, key), OK);
}

static void a_read_that_finds_damage_has_it_mended(void **state)
{
	for (int mode = ENGINE_READ_MMAP; mode <= ENGINE_READ_PREAD; mode++) {
		begin(3, 1, (enum engine_read_mode)mode);
		put_keys(KEYS, 'x');
		cluster_expect_same(&rig, 20000);
		read_and_heal(a_follower(), false);
		read_and_heal(leader(), false);
		cluster_done(&rig);
	}
}

static void damage_in_a_merged_file_is_mended(void **state)
{
	begin(3, 2, ENGINE_READ_MMAP);
	put_keys(KEYS, 'x');
	merge_all();
	cluster_expect_same(&rig, 20000);
	read_and_heal(a_follower(), true);
	cluster_done(&rig);
}

static void a_merge_that_finds_damage_has_it_mended(void **state)
{
	uint64_t id;
	bool merged;
	char key[16];

	begin(3, 3, ENGINE_READ_MMAP);
	put_keys(KEYS, 'x');
	cluster_expect_same(&rig, 20000);
	id = a_follower();
	name(20, key);
	flip(id, bytes_str(key), &merged);
	assert_false(merged);
	merge_all(); /* nobody reads it */
	cluster_run(&rig, 5000);
	assert_int_equal(read_here(id, key), OK);
	cluster_expect_same(&rig, 20000);
	cluster_done(&rig);
}

static void chunks_of_large_values_are_mended(void **state)
{
	enum { BYTES = 300 << 10 };
	uint8_t *value = malloc(BYTES), chunk[CHUNK_KEY_BYTES];
	struct engine_iter it;
	struct engine_info info;
	struct bytes found, key = { 0 };
	uint64_t id;
	bool merged;

	/* as an upload leaves it: the store's own key of a chunk */
	begin(3, 4, ENGINE_READ_MMAP);
	memset(value, 'v', BYTES);
	for (int i = 0; i < 100 && key.n == 0; i++) {
		struct store_op op = { .kind = STORE_PUT,
				       .key = bytes_str("large"),
				       .value = bytes_of(value, BYTES) };
		struct store_result result = { 0 };
		struct store_write w = { .then_ops = &op,
					 .then_count = 1,
					 .results = &result };

		if (cluster_write(&rig, leader(), &w) != OK) {
			cluster_run(&rig, 100);
			continue;
		}
		engine_iter_begin(rig.node[leader()].engine, 0, &it);
		if (engine_iter_seek(&it, bytes_of("\0c", 2), &found, &info) &&
		    found.n == CHUNK_KEY_BYTES) {
			memcpy(chunk, found.p, found.n);
			key = bytes_of(chunk, found.n);
		}
		engine_iter_end(&it);
	}
	assert_int_equal(key.n, CHUNK_KEY_BYTES);
	cluster_expect_same(&rig, 20000);
	id = a_follower();
	flip(id, key, &merged);
	assert_int_equal(read_hidden(id, key), ERR_CORRUPT);
	cluster_run(&rig, 3000);
	assert_int_equal(read_hidden(id, key), OK);
	cluster_expect_same(&rig, 20000);
	free(value);
	cluster_done(&rig);
}

static void damage_of_different_records_on_every_node_is_mended(void **state)
{
	char key[16];
	bool merged;

	begin(3, 5, ENGINE_READ_MMAP);
	put_keys(KEYS, 'x');
	cluster_expect_same(&rig, 20000);
	for (uint32_t i = 0; i < KEYS; i++) {
		name(i, key);
		flip(1 + i % 3, bytes_str(key), &merged);
		assert_int_equal(read_here(1 + i % 3, key), ERR_CORRUPT);
	}
	cluster_run(&rig, 10000);
	for (uint32_t i = 0; i < KEYS; i++) {
		name(i, key);
		for (uint64_t id = 1; id <= 3; id++)
			assert_int_equal(read_here(id, key), OK);
	}
	cluster_expect_same(&rig, 20000);
	cluster_done(&rig);
}

/*
 * The last entries on a node that went down are in its log, not settled at the
 * next start before a leader commits them; one in the middle has decayed.
 */
static void an_entry_lost_before_it_was_settled_is_fetched(void **state)
{
	uint64_t id;
	char key[16];
	bool merged;

	begin(3, 6, ENGINE_READ_MMAP);
	put_keys(KEYS, 'x');
	cluster_expect_same(&rig, 20000);
	id = a_follower();
	put_keys(KEYS, 'y');
	cluster_expect_same(&rig, 20000);
	name(KEYS - 3, key);
	flip(id, bytes_str(key), &merged);
	assert_false(merged);
	cluster_crash(&rig, id);
	cluster_run(&rig, 1000);
	cluster_start(&rig, id);
	cluster_run(&rig, 10000);
	assert_int_equal(engine_missing(rig.node[id].engine, 0), 0);
	assert_int_equal(read_here(id, key), OK);
	cluster_expect_same(&rig, 60000);
	cluster_must_put(&rig, "after", "1", 20000);
	cluster_expect_same(&rig, 20000);
	cluster_done(&rig);
}

/* A leader whose log has decayed where a follower goes on reading. */
static void an_entry_met_when_it_is_to_be_sent_is_fetched(void **state)
{
	uint64_t lead, id;
	char key[16];
	bool merged;

	begin(3, 7, ENGINE_READ_MMAP);
	put_keys(KEYS, 'x');
	cluster_expect_same(&rig, 20000);
	lead = leader();
	id = lead % 3 + 1;
	cluster_crash(&rig, id);
	put_keys(KEYS, 'y');
	name(10, key);
	flip(lead, bytes_str(key), &merged);
	assert_false(merged);
	/* nothing is kept in memory over a restart */
	cluster_crash(&rig, lead);
	cluster_run(&rig, 200);
	cluster_start(&rig, lead);
	cluster_start(&rig, id);
	cluster_expect_same(&rig, 120000);
	assert_int_equal(read_here(lead, key), OK);
	assert_int_equal(read_here(id, key), OK);
	cluster_done(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_read_that_finds_damage_has_it_mended),
		cmocka_unit_test(damage_in_a_merged_file_is_mended),
		cmocka_unit_test(a_merge_that_finds_damage_has_it_mended),
		cmocka_unit_test(chunks_of_large_values_are_mended),
		cmocka_unit_test(
			damage_of_different_records_on_every_node_is_mended),
		cmocka_unit_test(
			an_entry_lost_before_it_was_settled_is_fetched),
		cmocka_unit_test(an_entry_met_when_it_is_to_be_sent_is_fetched),
	};

	log_set_level(getenv("LOUD") ? LOG_INFO : LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
