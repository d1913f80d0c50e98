/*
 * tests/engine/test_heal.c - what is damaged is known, and is put back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "engine/engine_internal.h"
#include "tests/lib/replica_rig.h"

/* Entries whose first record is a put with a value, and no-ops' neighbours. */
static bool has_value(uint64_t index)
{
	struct rig_entry x;

	rig_make(0, index, 1, &x);
	return x.records[0].type == RECORD_PUT && x.records[0].value.n > 0;
}

static uint64_t next_with_value(uint64_t index)
{
	while (!has_value(index))
		index++;
	return index;
}

static void fill(struct rig *r, uint64_t first, uint64_t last)
{
	for (uint64_t i = first; i <= last; i++)
		rig_append(r, 0, i, 1);
	rig_sync(r);
}

static void flip(struct rig *r, uint64_t loc, uint64_t at)
{
	struct datafile *df = engine_file(r->e, loc_file_id(loc));
	char name[DATAFILE_NAME_BYTES], path[64];

	datafile_name(df->kind, df->id, name);
	snprintf(path, sizeof(path), "data/%s", name);
	assert_int_equal(vfs_sim_flip(r->sim, path, loc_off(loc) + at, 4), OK);
}

/* The value's first byte in the first record of an entry as rig_make says. */
static uint64_t value_at(uint64_t index)
{
	struct rig_entry x;

	rig_make(0, index, 1, &x);
	return RECORD_HEADER_BYTES + x.records[0].key.n + x.records[0].attrs.n;
}

/* Spoil the value of an entry that is not settled. */
static void spoil_entry(struct rig *r, uint64_t index)
{
	const struct tail_entry *t = tail_at(&r->e->partitions[0].tail, index);

	assert_non_null(t);
	flip(r, t->loc, value_at(index));
}

static struct bytes key_of(uint64_t index, struct rig_entry *x)
{
	rig_make(0, index, 1, x);
	return x->records[0].key;
}

/* Spoil the value that the first key of the entry has. */
static void spoil_key(struct rig *r, uint64_t index)
{
	struct engine_info info;
	struct rig_entry x;

	assert_int_equal(engine_peek(r->e, 0, key_of(index, &x), &info), OK);
	assert_int_equal(version_index(info.version), index);
	flip(r, info.loc, value_at(index));
}

static enum err get(struct rig *r, uint64_t index)
{
	struct engine_value v;
	struct rig_entry x;
	enum err err =
		engine_get(r->e, 0, key_of(index, &x), ENGINE_VERIFY, &v);

	if (err)
		return err;
	assert_int_equal(version_index(v.version), index);
	assert_true(bytes_equal(v.value, x.records[0].value));
	assert_true(bytes_equal(v.attrs, x.records[0].attrs));
	engine_value_done(&v);
	return OK;
}

static void heal_entry(struct rig *r, uint64_t index, uint64_t term,
		       enum err want)
{
	struct rig_entry x;

	rig_make(0, index, term, &x);
	assert_int_equal(engine_heal_entry(r->e, &x.entry), want);
}

/* The first record of the entry as a peer would send it. */
static struct record record_of(uint64_t index, struct rig_entry *x)
{
	rig_make(0, index, 1, x);
	return (struct record){ .type = RECORD_PUT,
				.partition = 0,
				.index = index,
				.term = 1,
				.stamp_ns = x->entry.stamp_ns,
				.mtime_ns = x->entry.mtime_ns,
				.key = x->records[0].key,
				.attrs = x->records[0].attrs,
				.value = x->records[0].value };
}

static enum err heal_key(struct rig *r, uint64_t index)
{
	struct rig_entry x;
	struct record record = record_of(index, &x);

	return engine_heal_record(r->e, &record);
}

static void rig_with_peers(struct rig *r)
{
	rig_init(r, 1);
	r->o.has_peers = true;
	rig_reopen(r, RIG_CLOSE);
}

/* ------------------------------------------------------------- entries --- */

static void nothing_settles_without_its_bytes(void **state)
{
	uint64_t bad = next_with_value(20), bad2 = next_with_value(bad + 1);
	struct engine_partition_info info;
	struct rig r;

	(void)state;
	rig_with_peers(&r);
	fill(&r, 1, 40);
	spoil_entry(&r, bad);
	spoil_entry(&r, bad2);
	rig_reopen(&r, RIG_CLOSE);
	assert_int_equal(engine_missing(r.e, 0), bad);
	assert_int_equal(engine_settle(r.e, 0, 40, NULL, NULL), ERR_CORRUPT);
	assert_int_equal(engine_applied_index(r.e, 0), bad - 1);
	assert_int_equal(engine_missing(r.e, 0), bad);
	assert_int_equal(rig_read(&r, 0, bad), ERR_CORRUPT);
	heal_entry(&r, bad, 2, ERR_INVALID);
	heal_entry(&r, bad, 1, OK);
	assert_int_not_equal(engine_missing(r.e, 0), bad);
	rig_sync(&r);
	assert_int_equal(engine_settle(r.e, 0, 40, NULL, NULL), ERR_CORRUPT);
	assert_int_equal(engine_applied_index(r.e, 0), bad2 - 1);
	heal_entry(&r, bad2, 1, OK);
	assert_int_equal(engine_missing(r.e, 0), 0);
	rig_sync(&r);
	rig_settle(&r, 0, 40);
	for (int again = 0; again < 3; again++) {
		info = rig_info(&r, 0);
		assert_true(info.last_index >= 40);
		assert_int_equal(engine_missing(r.e, 0), 0);
		for (uint64_t i = 1; i <= 40; i++)
			rig_expect(&r, 0, i, 1);
		rig_reopen(&r, again == 1 ? RIG_CLOSE : RIG_KILL);
	}
	rig_done(&r);
}

static void damage_met_when_settling_is_missing(void **state)
{
	struct rig r;
	uint64_t bad = next_with_value(5);

	(void)state;
	rig_with_peers(&r);
	fill(&r, 1, 200); /* out of the frames in memory */
	fill(&r, 201, 201);
	fill(&r, 202, 202);
	spoil_entry(&r, bad);
	assert_int_equal(engine_missing(r.e, 0), 0);
	assert_int_equal(engine_settle(r.e, 0, 202, NULL, NULL), ERR_CORRUPT);
	assert_int_equal(engine_missing(r.e, 0), bad);
	assert_int_equal(engine_applied_index(r.e, 0), bad - 1);
	heal_entry(&r, bad, 1, OK);
	rig_sync(&r);
	rig_settle(&r, 0, 202);
	rig_done(&r);
}

static void an_overwritten_entry_is_missed_no_more(void **state)
{
	uint64_t bad = next_with_value(20);
	struct rig r;

	(void)state;
	rig_with_peers(&r);
	fill(&r, 1, 40);
	spoil_entry(&r, bad);
	rig_reopen(&r, RIG_CLOSE);
	assert_int_equal(engine_missing(r.e, 0), bad);
	rig_append(&r, 0, bad - 2, 3);
	assert_int_equal(engine_missing(r.e, 0), 0);
	rig_sync(&r);
	rig_settle(&r, 0, bad - 2);
	rig_done(&r);
}

static void without_peers_the_rest_is_served(void **state)
{
	uint64_t bad = next_with_value(20);
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	fill(&r, 1, 40);
	spoil_entry(&r, bad);
	rig_reopen(&r, RIG_CLOSE);
	assert_int_equal(engine_missing(r.e, 0), 0);
	rig_settle(&r, 0, 40);
	assert_int_equal(get(&r, bad), ERR_CORRUPT);
	assert_int_equal(get(&r, next_with_value(bad + 1)), OK);
	rig_done(&r);
}

static void a_settled_entry_heals_its_keys(void **state)
{
	uint64_t bad = next_with_value(12);
	struct rig r;

	(void)state;
	rig_with_peers(&r);
	fill(&r, 1, 45);
	fill(&r, 46, 46);
	fill(&r, 47, 47);
	rig_settle(&r, 0, 47);
	spoil_key(&r, bad);
	assert_int_equal(get(&r, bad), ERR_CORRUPT);
	heal_entry(&r, bad, 1, OK);
	assert_int_equal(get(&r, bad), ERR_CORRUPT);
	rig_sync(&r);
	assert_int_equal(engine_heal_settle(r.e), OK);
	for (int again = 0; again < 3; again++) {
		assert_int_equal(get(&r, bad), OK);
		for (uint64_t i = 1; i <= 47; i++)
			rig_expect(&r, 0, i, 1);
		rig_reopen(&r, again ? RIG_KILL : RIG_CLOSE);
	}
	rig_merge(&r);
	assert_int_equal(get(&r, bad), OK);
	rig_done(&r);
}

static void an_entry_on_a_bad_sector_is_damaged_too(void **state)
{
	uint64_t bad = next_with_value(30);
	const struct tail_entry *t;
	char name[DATAFILE_NAME_BYTES], path[64];
	struct datafile *df;
	struct rig r;

	rig_with_peers(&r);
	r.o.read_mode = ENGINE_READ_PREAD; /* no mapping, no SIGBUS */
	fill(&r, 1, 47);
	rig_reopen(&r, RIG_CLOSE); /* out of memory, into this mode */
	t = tail_at(&r.e->partitions[0].tail, bad);
	assert_non_null(t);
	df = engine_file(r.e, loc_file_id(t->loc));
	datafile_name(df->kind, df->id, name);
	snprintf(path, sizeof(path), "data/%s", name);
	assert_int_equal(vfs_sim_bad_sector(r.sim, path, loc_off(t->loc)), OK);
	assert_int_equal(rig_read(&r, 0, bad), ERR_CORRUPT);
	rig_done(&r);
}

/* ---------------------------------------------------------------- keys --- */

static void take_one(struct rig *r, uint64_t index)
{
	struct engine_damaged *d = calloc(2, sizeof(*d));
	struct rig_entry x;

	assert_non_null(d);
	assert_int_equal(engine_damaged_take(r->e, d, 2), 1);
	assert_int_equal(version_index(d[0].version), index);
	assert_true(bytes_equal(bytes_of(d[0].key, d[0].key_bytes),
				key_of(index, &x)));
	assert_int_equal(engine_damaged_take(r->e, d, 2), 0);
	free(d);
}

static void delete_key(struct rig *r, uint64_t index, uint64_t of)
{
	struct rig_entry x;
	struct engine_record del = { .type = RECORD_DELETE };
	struct engine_entry entry = {
		.index = index, .term = 1, .records = &del, .record_count = 1
	};

	del.key = key_of(of, &x);
	assert_int_equal(engine_append(r->e, &entry), OK);
	rig_sync(r);
	rig_settle(r, 0, index);
}

/* merged: the damaged record lies in a merged file, below the base. */
static void heals_a_key(bool merged)
{
	uint64_t bad = next_with_value(30), last = 1200;
	struct engine_stats stats;
	struct rig r;

	rig_with_peers(&r);
	fill(&r, 1, 47);
	rig_settle(&r, 0, 47);
	for (uint64_t i = 48; i <= last; i++) /* no-ops end the segment */
		assert_int_equal(
			engine_append(
				r.e,
				&(struct engine_entry){
					.index = i,
					.term = 1,
					.records =
						&(struct engine_record){
							.type = RECORD_NOOP },
					.record_count = 1 }),
			OK);
	rig_sync(&r);
	rig_settle(&r, 0, last);
	if (merged) {
		rig_merge(&r);
		assert_true(rig_info(&r, 0).base_index >= bad);
	}
	spoil_key(&r, bad);
	assert_int_equal(get(&r, bad), ERR_CORRUPT);
	assert_int_equal(get(&r, bad), ERR_CORRUPT);
	take_one(&r, bad);
	assert_int_equal(heal_key(&r, bad), OK);
	assert_int_equal(get(&r, bad), ERR_CORRUPT);
	rig_sync(&r);
	assert_int_equal(engine_heal_settle(r.e), OK);
	assert_int_equal(get(&r, bad), OK);
	engine_stats(r.e, &stats);
	assert_int_equal(stats.corrupt_count, 0);
	for (int again = 0; again < 4; again++) {
		rig_reopen(&r, again % 2 ? RIG_KILL : RIG_CLOSE);
		assert_int_equal(get(&r, bad), OK);
		if (again == 1)
			rig_merge(&r);
		assert_int_equal(get(&r, bad), OK);
	}
	rig_merge(&r);
	rig_reopen(&r, RIG_CLOSE);
	assert_int_equal(get(&r, bad), OK);
	rig_done(&r);
}

static void a_key_in_the_log_is_healed(void **state)
{
	(void)state;
	heals_a_key(false);
}

static void a_key_in_a_merged_file_is_healed(void **state)
{
	(void)state;
	heals_a_key(true);
}

static void a_healed_key_stays_deleted(void **state)
{
	uint64_t bad = next_with_value(30);

	(void)state;
	for (int when = 0; when < 3; when++) {
		struct rig r;

		rig_with_peers(&r);
		fill(&r, 1, 47);
		rig_settle(&r, 0, 47);
		rig_merge(&r);
		spoil_key(&r, bad);
		assert_int_equal(get(&r, bad), ERR_CORRUPT);
		assert_int_equal(heal_key(&r, bad), OK);
		if (when == 0) /* deleted before the copy is pointed at */
			delete_key(&r, 48, bad);
		rig_sync(&r);
		assert_int_equal(engine_heal_settle(r.e), OK);
		if (when == 1)
			delete_key(&r, 48, bad);
		if (when == 2) {
			rig_merge(&r);
			delete_key(&r, 48, bad);
		}
		for (int again = 0; again < 5; again++) {
			assert_int_equal(get(&r, bad), ERR_NOT_FOUND);
			if (again % 2)
				rig_merge(&r);
			assert_int_equal(get(&r, bad), ERR_NOT_FOUND);
			rig_reopen(&r, RIG_KILL);
			rig_settle(&r, 0, 48);
		}
		rig_done(&r);
	}
}

static void only_the_version_in_force_is_healed(void **state)
{
	uint64_t bad = next_with_value(30);
	struct rig_entry x;
	struct record record;
	struct rig r;

	(void)state;
	rig_with_peers(&r);
	fill(&r, 1, 47);
	rig_settle(&r, 0, 47);
	record = record_of(bad, &x);
	record.term = 9;
	assert_int_equal(engine_heal_record(r.e, &record), ERR_INVALID);
	record = record_of(bad, &x);
	record.position = 1;
	assert_int_equal(engine_heal_record(r.e, &record), ERR_NOT_FOUND);
	record = record_of(bad, &x);
	record.value.n--;
	assert_int_equal(engine_heal_record(r.e, &record), ERR_INVALID);
	record = record_of(bad, &x);
	record.type = RECORD_DELETE;
	assert_int_equal(engine_heal_record(r.e, &record), ERR_INVALID);
	rig_done(&r);
}

static void a_merge_tells_what_it_finds(void **state)
{
	uint64_t bad = next_with_value(30);
	struct rig r;

	(void)state;
	rig_with_peers(&r);
	fill(&r, 1, 47);
	rig_settle(&r, 0, 47);
	spoil_key(&r, bad);
	rig_merge(&r);
	take_one(&r, bad);
	assert_int_equal(get(&r, bad), ERR_CORRUPT); /* marked LOC_DAMAGED */
	take_one(&r, bad);
	rig_reopen(&r, RIG_CLOSE);
	take_one(&r, bad); /* the opening tells it too */
	assert_int_equal(heal_key(&r, bad), OK);
	rig_sync(&r);
	assert_int_equal(engine_heal_settle(r.e), OK);
	assert_int_equal(get(&r, bad), OK);
	rig_merge(&r);
	rig_reopen(&r, RIG_CLOSE);
	assert_int_equal(get(&r, bad), OK);
	rig_done(&r);
}

/* --------------------------------------------------------------- crash --- */

/* A heal of an entry and of a key, cut off by the nth call of the disk. */
static bool heal_until(struct rig *r, uint64_t entry, uint64_t key, uint64_t n)
{
	struct rig_entry x;
	struct record record = record_of(key, &x);
	enum err err;

	vfs_sim_power_off(r->sim, VFS_SIM_CHANGES, n, n % 2);
	err = engine_heal_record(r->e, &record);
	rig_make(0, entry, 1, &x);
	if (!err)
		err = engine_heal_entry(r->e, &x.entry);
	if (!err)
		err = engine_sync(r->e);
	if (!err)
		err = engine_heal_settle(r->e);
	return !err;
}

static void a_crash_in_a_heal_costs_nothing(void **state)
{
	uint64_t key = next_with_value(10), entry = next_with_value(50);
	bool done = false;

	(void)state;
	for (uint64_t n = 1; !done; n++) {
		struct engine_hard_state hs = { 1, 1, 47 };
		enum err err;
		struct rig r;

		rig_with_peers(&r);
		fill(&r, 1, 80);
		rig_settle(&r, 0, 47);
		assert_int_equal(engine_set_hard_state(r.e, 0, &hs), OK);
		rig_sync(&r);
		spoil_key(&r, key);
		spoil_entry(&r, entry);
		rig_reopen(&r, RIG_CLOSE);
		assert_int_equal(engine_missing(r.e, 0), entry);
		done = heal_until(&r, entry, key, n);
		rig_reopen(&r, RIG_CRASH);
		assert_int_equal(rig_info(&r, 0).last_index, 80);
		err = get(&r, key);
		assert_true(err == OK || err == ERR_CORRUPT);
		if (done)
			assert_int_equal(err, OK);
		for (uint64_t i = 1; i <= 80; i++)
			if (i != entry && i != key)
				rig_expect(&r, 0, i, 1);
		if (engine_missing(r.e, 0)) {
			assert_false(done);
			assert_int_equal(engine_missing(r.e, 0), entry);
			heal_entry(&r, entry, 1, OK);
			rig_sync(&r);
		}
		rig_settle(&r, 0, 80);
		rig_done(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_settles_without_its_bytes),
		cmocka_unit_test(damage_met_when_settling_is_missing),
		cmocka_unit_test(an_overwritten_entry_is_missed_no_more),
		cmocka_unit_test(without_peers_the_rest_is_served),
		cmocka_unit_test(a_settled_entry_heals_its_keys),
		cmocka_unit_test(an_entry_on_a_bad_sector_is_damaged_too),
		cmocka_unit_test(a_key_in_the_log_is_healed),
		cmocka_unit_test(a_key_in_a_merged_file_is_healed),
		cmocka_unit_test(a_healed_key_stays_deleted),
		cmocka_unit_test(only_the_version_in_force_is_healed),
		cmocka_unit_test(a_merge_tells_what_it_finds),
		cmocka_unit_test(a_crash_in_a_heal_costs_nothing),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
