/*
 * tests/engine/test_engine.c - the two halves apart, as consensus uses them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/vfs_sim.h"
#include "engine/engine_internal.h"

struct disk {
	struct vfs_sim *sim;
	struct clock_sim clock;
	struct seed seed;
	struct engine_options o;
	struct engine *e;
};

static void disk_init(struct disk *d, uint32_t partitions)
{
	*d = (struct disk){ 0 };
	assert_int_equal(vfs_sim_new(5, 64 << 20, &d->sim), OK);
	clock_sim_init(&d->clock, 1000);
	seed_init(&d->seed, 42);
	engine_options_default(&d->o);
	d->o.vfs = vfs_sim_vfs(d->sim);
	d->o.clock = &d->clock.clock;
	d->o.seed = &d->seed;
	d->o.dir = "data";
	d->o.segment_bytes = 1 << 20;
	d->o.min_free_bytes = 0;
	d->o.partitions = partitions;
	assert_int_equal(engine_open(&d->o, &d->e, NULL), OK);
}

static void reopen(struct disk *d)
{
	engine_close(d->e);
	d->e = NULL;
	assert_int_equal(engine_open(&d->o, &d->e, NULL), OK);
}

static void crash_and_reopen(struct disk *d)
{
	vfs_sim_kill(d->sim);
	engine_close(d->e);
	d->e = NULL;
	assert_int_equal(engine_open(&d->o, &d->e, NULL), OK);
}

static void disk_done(struct disk *d)
{
	engine_close(d->e);
	vfs_sim_free(d->sim);
}

/* Entry index of term puts key "kINDEX" with the value "tTERM". */
static void append(struct disk *d, uint16_t partition, uint64_t index,
		   uint64_t term)
{
	char key[16], value[16];
	struct engine_record r = { .type = RECORD_PUT };
	struct engine_entry entry = { .partition = partition,
				      .index = index,
				      .term = term,
				      .stamp_ns = index * 10,
				      .records = &r,
				      .record_count = 1 };

	snprintf(key, sizeof(key), "k%llu", (unsigned long long)index);
	snprintf(value, sizeof(value), "t%llu", (unsigned long long)term);
	r.key = bytes_str(key);
	r.value = bytes_str(value);
	assert_int_equal(engine_append(d->e, &entry), OK);
}

static void expect(struct disk *d, uint16_t partition, uint64_t index,
		   uint64_t term)
{
	struct engine_value v;
	char key[16], value[16];
	enum err err;

	snprintf(key, sizeof(key), "k%llu", (unsigned long long)index);
	snprintf(value, sizeof(value), "t%llu", (unsigned long long)term);
	err = engine_get(d->e, partition, bytes_str(key), ENGINE_VERIFY, &v);
	assert_int_equal(err, term ? OK : ERR_NOT_FOUND);
	if (!err) {
		assert_true(bytes_equal(v.value, bytes_str(value)));
		assert_int_equal(version_index(v.version), index);
		engine_value_done(&v);
	}
}

static struct engine_partition_info info_of(struct disk *d, uint16_t partition)
{
	struct engine_partition_info info;

	engine_partition_info(d->e, partition, &info);
	return info;
}

static void reads_see_an_entry_only_when_it_is_settled(void **state)
{
	struct engine_partition_info info;
	struct disk d;

	(void)state;
	disk_init(&d, 1);
	append(&d, 0, 1, 1);
	append(&d, 0, 2, 1);
	expect(&d, 0, 1, 0);
	info = info_of(&d, 0);
	assert_int_equal(info.last_index, 2);
	assert_int_equal(info.synced_index, 0);
	assert_int_equal(info.applied_index, 0);
	assert_int_equal(engine_sync(d.e), OK);
	assert_int_equal(info_of(&d, 0).synced_index, 2);
	assert_int_equal(engine_settle(d.e, 0, 1, NULL, NULL), OK);
	expect(&d, 0, 1, 1);
	expect(&d, 0, 2, 0);
	assert_int_equal(engine_applied_index(d.e, 0), 1);
	disk_done(&d);
}

static void an_unsettled_tail_waits_through_a_restart(void **state)
{
	struct engine_hard_state hs = { .term = 3, .vote = 9, .commit = 2 };
	struct engine_partition_info info;
	struct disk d;

	(void)state;
	disk_init(&d, 2);
	for (uint64_t i = 1; i <= 5; i++)
		append(&d, 1, i, 3);
	assert_int_equal(engine_set_hard_state(d.e, 1, &hs), OK);
	assert_int_equal(engine_sync(d.e), OK);
	for (int i = 0; i < 3; i++) {
		if (i == 1)
			crash_and_reopen(&d);
		else
			reopen(&d);
		info = info_of(&d, 1);
		assert_int_equal(info.last_index, 5);
		assert_int_equal(info.last_term, 3);
		assert_int_equal(info.last_stamp_ns, 50);
		assert_int_equal(info.applied_index, 2);
		assert_int_equal(info.hard_state.term, 3);
		assert_int_equal(info.hard_state.vote, 9);
		assert_int_equal(info_of(&d, 0).last_index, 0);
		expect(&d, 1, 2, 3);
		expect(&d, 1, 3, 0);
	}
	assert_int_equal(engine_settle(d.e, 1, 5, NULL, NULL), OK);
	expect(&d, 1, 5, 3);
	reopen(&d);
	assert_int_equal(info_of(&d, 1).applied_index, 5);
	expect(&d, 1, 5, 3);
	disk_done(&d);
}

static void an_entry_of_another_term_ends_the_log_there(void **state)
{
	struct engine_partition_info info;
	struct disk d;

	(void)state;
	disk_init(&d, 1);
	for (uint64_t i = 1; i <= 6; i++)
		append(&d, 0, i, 1);
	assert_int_equal(engine_sync(d.e), OK);
	assert_int_equal(engine_settle(d.e, 0, 2, NULL, NULL), OK);
	append(&d, 0, 4, 2);
	info = info_of(&d, 0);
	assert_int_equal(info.last_index, 4);
	assert_int_equal(info.last_term, 2);
	assert_int_equal(info.synced_index, 3);
	assert_int_equal(engine_sync(d.e), OK);
	reopen(&d);
	info = info_of(&d, 0);
	assert_int_equal(info.last_index, 4);
	assert_int_equal(info.last_term, 2);
	assert_int_equal(engine_settle(d.e, 0, 4, NULL, NULL), OK);
	expect(&d, 0, 3, 1);
	expect(&d, 0, 4, 2);
	expect(&d, 0, 5, 0);
	reopen(&d);
	expect(&d, 0, 3, 1);
	expect(&d, 0, 4, 2);
	expect(&d, 0, 5, 0);
	disk_done(&d);
}

static void an_entry_of_the_same_term_kills_nothing(void **state)
{
	struct disk d;

	(void)state;
	disk_init(&d, 1);
	for (uint64_t i = 1; i <= 6; i++)
		append(&d, 0, i, 1);
	append(&d, 0, 3, 1);
	assert_int_equal(info_of(&d, 0).last_index, 6);
	assert_int_equal(engine_sync(d.e), OK);
	crash_and_reopen(&d);
	assert_int_equal(info_of(&d, 0).last_index, 6);
	assert_int_equal(engine_settle(d.e, 0, 6, NULL, NULL), OK);
	for (uint64_t i = 1; i <= 6; i++)
		expect(&d, 0, i, 1);
	disk_done(&d);
}

struct told {
	uint32_t count;
	uint64_t removed;
	char keys[16][16];
};

static void note_applied(void *ctx, const struct engine_applied *a)
{
	struct told *t = ctx;

	memcpy(t->keys[t->count], a->record->key.p, a->record->key.n);
	t->keys[t->count][a->record->key.n] = 0;
	t->count++;
	t->removed = a->removed;
}

static void a_range_tombstone_tells_each_key(void **state)
{
	struct engine_record put[3] = {
		{ .type = RECORD_PUT, .key = bytes_str("a/1") },
		{ .type = RECORD_PUT, .key = bytes_str("a/2") },
		{ .type = RECORD_PUT, .key = bytes_str("b") },
	};
	struct engine_record del = { .type = RECORD_DELETE_PREFIX,
				     .key = bytes_str("a/") };
	struct engine_entry entry = {
		.index = 1, .term = 1, .records = put, .record_count = 3
	};
	struct engine_info info;
	struct told told = { 0 };
	struct disk d;

	(void)state;
	disk_init(&d, 1);
	assert_int_equal(engine_append(d.e, &entry), OK);
	assert_int_equal(engine_settle(d.e, 0, 1, NULL, NULL), OK);
	entry.index = 2;
	entry.records = &del;
	entry.record_count = 1;
	assert_int_equal(engine_append(d.e, &entry), OK);
	assert_int_equal(engine_sync(d.e), OK);
	assert_int_equal(engine_settle(d.e, 0, 2, note_applied, &told), OK);
	assert_int_equal(told.count, 3);
	assert_string_equal(told.keys[0], "a/1");
	assert_string_equal(told.keys[1], "a/2");
	assert_string_equal(told.keys[2], "a/");
	assert_int_equal(told.removed, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(engine_peek(d.e, 0, bytes_str("a/1"), &info),
				 ERR_NOT_FOUND);
		assert_int_equal(engine_peek(d.e, 0, bytes_str("b"), &info),
				 OK);
		assert_int_equal(info.version, version_pack(1, 2));
		reopen(&d);
	}
	disk_done(&d);
}

static void the_next_expiry_is_the_earliest_live_one(void **state)
{
	uint64_t expiry_ns, version;
	uint8_t key[ENGINE_KEY_BYTES_MAX];
	size_t n;
	struct disk d;

	(void)state;
	disk_init(&d, 1);
	assert_false(engine_next_expiry(d.e, 0, &expiry_ns, &version, key, &n));
	for (uint64_t i = 1; i <= 4; i++) {
		static const char *keys[] = { "", "x", "y", "x", "z" };
		struct engine_record r = { .type = RECORD_PUT,
					   .key = bytes_str(keys[i]),
					   .expiry_ns = 1000 - i * 100 };
		struct engine_entry entry = {
			.index = i, .term = 1, .records = &r, .record_count = 1
		};

		if (i == 4)
			r.expiry_ns = 0;
		if (i == 3)
			r.expiry_ns = 5000;
		assert_int_equal(engine_append(d.e, &entry), OK);
	}
	assert_int_equal(engine_settle(d.e, 0, 4, NULL, NULL), OK);
	for (int i = 0; i < 2; i++) {
		assert_true(engine_next_expiry(d.e, 0, &expiry_ns, &version,
					       key, &n));
		assert_int_equal(expiry_ns, 800);
		assert_int_equal(version, version_pack(2, 0));
		assert_true(bytes_equal(bytes_of(key, n), bytes_str("y")));
		reopen(&d);
	}
	disk_done(&d);
}

/* ------------------------------------------------------- hard state ------ */

/* Where the last hard-state value lies in the log, found by its term. */
static uint64_t find_term(struct disk *d, uint64_t term)
{
	struct buf b = BUF_INIT;
	uint64_t off = 0;

	assert_int_equal(
		vfs_read_all(d->o.vfs, "data/00000001.log", 2 << 20, &b), OK);
	for (uint64_t i = 512; i + 8 < 16384; i += 8)
		if (get_u64(b.p + i) == term)
			off = i;
	buf_done(&b);
	assert_int_not_equal(off, 0);
	return off;
}

static void vote_twice(struct disk *d)
{
	struct engine_hard_state hs = { .term = 7001, .vote = 11 };

	assert_int_equal(engine_set_hard_state(d->e, 0, &hs), OK);
	assert_int_equal(engine_sync(d->e), OK);
	hs.term = 7002;
	hs.vote = 12;
	assert_int_equal(engine_set_hard_state(d->e, 0, &hs), OK);
	assert_int_equal(engine_sync(d->e), OK);
	engine_close(d->e);
	d->e = NULL;
}

static void a_damaged_vote_is_never_replaced_by_an_older_one(void **state)
{
	(void)state;
	for (int places = 0; places < 4; places++) {
		struct engine_partition_info info;
		struct buf why = BUF_INIT;
		struct disk d;
		enum err err;

		disk_init(&d, 1);
		vote_twice(&d);
		if (places & 1)
			assert_int_equal(vfs_sim_flip(d.sim,
						      "data/00000001.log",
						      find_term(&d, 7002), 4),
					 OK);
		/* Sequences 1, 2, 3: the newest slot is the second. */
		if (places & 2)
			assert_int_equal(
				vfs_sim_flip(d.sim, "data/state", 512 + 64, 1),
				OK);
		err = engine_open(&d.o, &d.e, &why);
		if (places == 3) {
			assert_int_equal(err, ERR_CORRUPT);
			assert_true(why.n > 0);
		} else {
			assert_int_equal(err, OK);
			info = info_of(&d, 0);
			assert_int_equal(info.hard_state.term, 7002);
			assert_int_equal(info.hard_state.vote, 12);
			engine_close(d.e);
		}
		buf_done(&why);
		vfs_sim_free(d.sim);
	}
}

static void each_segment_begins_with_the_hard_state(void **state)
{
	static uint8_t value[300000];
	struct engine_hard_state hs = { .term = 5, .vote = 2 };
	struct engine_record r = { .type = RECORD_PUT,
				   .key = bytes_str("big"),
				   .value = bytes_of(value, sizeof(value)) };
	struct engine_entry entry = { .term = 5,
				      .records = &r,
				      .record_count = 1 };
	struct engine_stats s;
	struct disk d;

	(void)state;
	disk_init(&d, 3);
	assert_int_equal(engine_set_hard_state(d.e, 2, &hs), OK);
	for (entry.index = 1; entry.index < 12; entry.index++) {
		assert_int_equal(engine_append(d.e, &entry), OK);
		assert_int_equal(engine_sync(d.e), OK);
		assert_int_equal(engine_settle(d.e, 0, entry.index, NULL, NULL),
				 OK);
	}
	engine_stats(d.e, &s);
	assert_true(s.files > 2);
	crash_and_reopen(&d);
	assert_int_equal(info_of(&d, 2).hard_state.term, 5);
	assert_true(info_of(&d, 0).hard_state.commit >= 9);
	disk_done(&d);
}

/* While an entry is not settled its segment gets no hint: it may never be. */
static void a_segment_with_an_unsettled_entry_has_no_hint(void **state)
{
	static uint8_t value[300000];
	struct engine_record r = { .type = RECORD_PUT,
				   .key = bytes_str("big"),
				   .value = bytes_of(value, sizeof(value)) };
	struct engine_entry entry = { .term = 5,
				      .records = &r,
				      .record_count = 1 };
	uint64_t wait_ms;
	struct vfs_file *f;
	struct disk d;

	(void)state;
	disk_init(&d, 1);
	for (entry.index = 1; entry.index < 12; entry.index++) {
		assert_int_equal(engine_append(d.e, &entry), OK);
		assert_int_equal(engine_sync(d.e), OK);
	}
	assert_int_equal(engine_settle(d.e, 0, 2, NULL, NULL), OK);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(engine_keep(d.e, &wait_ms), OK);
		d.clock.mono += 1000000000;
	}
	assert_int_equal(
		vfs_open(d.o.vfs, "data/00000001.log.hint", VFS_READ, &f),
		ERR_NOT_FOUND);
	crash_and_reopen(&d);
	assert_true(info_of(&d, 0).applied_index <= 2);
	assert_int_equal(info_of(&d, 0).last_index, 11);
	disk_done(&d);
}

/* A key that is refreshed before it expires costs memory once. */
static void a_refreshed_expiry_is_remembered_once(void **state)
{
	struct engine_record r = { .type = RECORD_PUT };
	struct engine_entry entry = { .term = 1,
				      .records = &r,
				      .record_count = 1 };
	uint8_t key[ENGINE_KEY_BYTES_MAX];
	uint64_t expiry_ns, version;
	struct disk d;
	size_t n;
	char name[16];

	(void)state;
	disk_init(&d, 1);
	for (entry.index = 1; entry.index <= 20000; entry.index++) {
		snprintf(name, sizeof(name), "%llu",
			 (unsigned long long)entry.index % 7);
		r.key = bytes_str(name);
		r.expiry_ns = 1000000 + entry.index * 13 % 20011;
		assert_int_equal(engine_append(d.e, &entry), OK);
		assert_int_equal(engine_settle(d.e, 0, entry.index, NULL, NULL),
				 OK);
		assert_true(d.e->partitions[0].expiry.count <= 1024 + 2 * 7);
	}
	/* Of the last seven, the earliest. */
	assert_true(engine_next_expiry(d.e, 0, &expiry_ns, &version, key, &n));
	for (uint64_t i = 20000 - 6; i <= 20000; i++)
		assert_true(expiry_ns <= 1000000 + i * 13 % 20011);
	assert_true(version_index(version) > 20000 - 7);
	disk_done(&d);
}

/*
 * An entry written again before it was settled counts in its second place. A
 * merge of the first segment raises the base over it, and takes it along.
 */
static void a_repeated_entry_survives_the_merge_of_its_first_place(void **state)
{
	struct engine_stats s;
	uint64_t wait_ms;
	struct disk d;

	(void)state;
	disk_init(&d, 1);
	for (uint64_t i = 1; i <= 3; i++)
		append(&d, 0, i, 1);
	assert_int_equal(engine_sync(d.e), OK);
	assert_int_equal(engine_settle(d.e, 0, 2, NULL, NULL), OK);
	atomic_store(&d.e->log.switch_wanted, true);
	append(&d, 0, 3, 1);
	assert_int_equal(engine_active_id(d.e), 2);
	assert_int_equal(engine_sync(d.e), OK);
	assert_int_equal(engine_settle(d.e, 0, 3, NULL, NULL), OK);
	engine_merge_request(d.e);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(engine_keep(d.e, &wait_ms), OK);
		d.clock.mono += 100000000;
	}
	engine_stats(d.e, &s);
	assert_int_equal(s.merges, 1);
	assert_null(engine_file(d.e, 1));
	for (int i = 0; i < 2; i++) {
		for (uint64_t k = 1; k <= 3; k++)
			expect(&d, 0, k, 1);
		crash_and_reopen(&d);
	}
	disk_done(&d);
}

/* Nor does what is at or below the base come back from a segment that stays. */
static void a_repeated_put_stays_deleted_after_a_merge(void **state)
{
	struct engine_record r = { .type = RECORD_DELETE,
				   .key = bytes_str("k1") };
	struct engine_entry entry = {
		.index = 2, .term = 1, .records = &r, .record_count = 1
	};
	uint64_t wait_ms;
	struct disk d;

	(void)state;
	disk_init(&d, 1);
	append(&d, 0, 1, 1);
	assert_int_equal(engine_append(d.e, &entry), OK);
	append(&d, 0, 3, 1);
	assert_int_equal(engine_sync(d.e), OK);
	atomic_store(&d.e->log.switch_wanted, true);
	append(&d, 0, 1, 1);
	assert_int_equal(engine_sync(d.e), OK);
	assert_int_equal(engine_settle(d.e, 0, 3, NULL, NULL), OK);
	engine_merge_request(d.e);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(engine_keep(d.e, &wait_ms), OK);
		d.clock.mono += 100000000;
	}
	assert_null(engine_file(d.e, 1));
	for (int i = 0; i < 2; i++) {
		expect(&d, 0, 1, 0);
		expect(&d, 0, 3, 1);
		crash_and_reopen(&d);
	}
	disk_done(&d);
}

static void write_key(struct disk *d, uint64_t *index, uint8_t type,
		      const char *key, uint32_t value_bytes)
{
	static uint8_t value[100000];
	struct engine_record r = { .type = type,
				   .key = bytes_str(key),
				   .value = bytes_of(value, value_bytes) };
	struct engine_entry entry = {
		.index = ++*index, .term = 1, .records = &r, .record_count = 1
	};

	assert_int_equal(engine_append(d->e, &entry), OK);
	assert_int_equal(engine_sync(d->e), OK);
	assert_int_equal(engine_settle(d->e, 0, *index, NULL, NULL), OK);
}

static uint64_t keep_all(struct disk *d)
{
	struct engine_stats s;
	uint64_t wait_ms;

	for (int i = 0; i < 200; i++) {
		assert_int_equal(engine_keep(d->e, &wait_ms), OK);
		engine_idle(d->e);
		d->clock.mono += 100000000;
	}
	engine_stats(d->e, &s);
	return s.merges;
}

/*
 * A directory is deleted and made again: its own key is newer than the range
 * tombstone, and what lay in it stays hidden all the same.
 */
static void a_directory_made_again_is_empty_after_a_merge(void **state)
{
	struct engine_info info;
	uint64_t index = 0, merges;
	struct disk d;
	char key[16];

	(void)state;
	disk_init(&d, 1);
	d.o.merge.small_file_bytes = 0; /* the old file is to stay */
	engine_set_merge_options(d.e, &d.o.merge);
	write_key(&d, &index, RECORD_PUT, "a/x", 10);
	for (int i = 0; i < 20; i++) {
		snprintf(key, sizeof(key), "b%d", i);
		write_key(&d, &index, RECORD_PUT, key, 100000);
	}
	write_key(&d, &index, RECORD_PUT, "b0", 100000);
	engine_merge_request(d.e);
	merges = keep_all(&d);
	assert_true(merges > 0);
	write_key(&d, &index, RECORD_DELETE_PREFIX, "a/", 0);
	write_key(&d, &index, RECORD_PUT, "a/", 0);
	for (int i = 0; i < 25; i++)
		write_key(&d, &index, RECORD_PUT, "churn", 100000);
	assert_true(keep_all(&d) > merges);
	reopen(&d);
	assert_int_equal(engine_peek(d.e, 0, bytes_str("a/"), &info), OK);
	assert_int_equal(engine_peek(d.e, 0, bytes_str("a/x"), &info),
			 ERR_NOT_FOUND);
	disk_done(&d);
}

/* Whatever file the record lies in, and whether or not it has a hint. */
static void an_expiry_survives_merges_and_restarts(void **state)
{
	static uint8_t value[100000];
	struct engine_record r = { .type = RECORD_PUT };
	struct engine_entry entry = { .term = 1,
				      .records = &r,
				      .record_count = 1 };
	uint8_t key[ENGINE_KEY_BYTES_MAX];
	uint64_t expiry_ns, version, wait_ms;
	struct engine_stats s;
	struct disk d;
	size_t n;

	(void)state;
	disk_init(&d, 1);
	r.value = bytes_of(value, sizeof(value));
	for (entry.index = 1; entry.index <= 30; entry.index++) {
		r.key = bytes_str(entry.index == 3 ? "lease" : "churn");
		r.expiry_ns = entry.index == 3 ? 777 : 0;
		assert_int_equal(engine_append(d.e, &entry), OK);
		assert_int_equal(engine_sync(d.e), OK);
		assert_int_equal(engine_settle(d.e, 0, entry.index, NULL, NULL),
				 OK);
	}
	for (int i = 0; i < 3; i++) {
		assert_true(engine_next_expiry(d.e, 0, &expiry_ns, &version,
					       key, &n));
		assert_int_equal(expiry_ns, 777);
		assert_int_equal(version, version_pack(3, 0));
		assert_true(bytes_equal(bytes_of(key, n), bytes_str("lease")));
		engine_merge_request(d.e);
		for (int k = 0; k < 100; k++) {
			assert_int_equal(engine_keep(d.e, &wait_ms), OK);
			engine_idle(d.e);
			d.clock.mono += 100000000;
		}
		engine_stats(d.e, &s);
		assert_true(s.merges > 0 || i > 0);
		if (i == 1)
			crash_and_reopen(&d);
		else
			reopen(&d);
	}
	disk_done(&d);
}

/* What the store keeps for itself does not make a directory a used one. */
static void hidden_keys_are_no_client_writes(void **state)
{
	struct engine_record r = { .type = RECORD_PUT };
	struct engine_entry entry = { .term = 1,
				      .records = &r,
				      .record_count = 1 };
	struct disk d;

	(void)state;
	disk_init(&d, 2);
	r.key = bytes_of("\0ring", 5);
	for (entry.index = 1; entry.index <= 3; entry.index++)
		assert_int_equal(engine_append(d.e, &entry), OK);
	assert_int_equal(engine_settle(d.e, 0, 2, NULL, NULL), OK);
	entry.partition = 1;
	entry.index = 1;
	r.key = bytes_str("a");
	assert_int_equal(engine_append(d.e, &entry), OK);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(info_of(&d, 0).client_entries, 0);
		assert_true(info_of(&d, 1).client_entries > 0);
		if (i == 1)
			assert_int_equal(engine_settle(d.e, 1, 1, NULL, NULL),
					 OK);
		reopen(&d);
	}
	disk_done(&d);
}

static void an_entry_larger_than_a_segment_gets_its_own(void **state)
{
	static uint8_t value[3 << 20];
	struct engine_value v;
	struct disk d;

	(void)state;
	disk_init(&d, 1);
	for (int i = 0; i < 3; i++) {
		memset(value, i, sizeof(value));
		assert_int_equal(engine_put(d.e, 0, bytes_str("big"),
					    bytes_of(value, sizeof(value)),
					    i != 1),
				 OK);
		assert_int_equal(engine_put(d.e, 0, bytes_str("small"),
					    bytes_str("x"), false),
				 OK);
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(
			engine_get(d.e, 0, bytes_str("big"), ENGINE_VERIFY, &v),
			OK);
		assert_true(
			bytes_equal(v.value, bytes_of(value, sizeof(value))));
		engine_value_done(&v);
		reopen(&d);
	}
	disk_done(&d);
}

static void limits_are_errors(void **state)
{
	static uint8_t big[ENGINE_KEY_BYTES_MAX + 1];
	struct disk d;

	(void)state;
	disk_init(&d, 1);
	assert_int_equal(engine_put(d.e, 0, bytes_of(big, sizeof(big)),
				    bytes_str(""), false),
			 ERR_KEY_TOO_LONG);
	assert_int_equal(
		engine_put(d.e, 0, bytes_str(""), bytes_str(""), false),
		ERR_BAD_KEY);
	assert_int_equal(engine_put(d.e, 0, bytes_str("k"),
				    bytes_of(big, ENGINE_VALUE_BYTES_MAX + 1),
				    false),
			 ERR_TOO_LARGE);
	assert_int_equal(info_of(&d, 0).last_index, 0);
	disk_done(&d);
}

/* What JSON clients print must survive a double: no random 64 bits. */
static void a_new_directory_has_the_ids_it_was_given(void **state)
{
	uint8_t cluster_id[16];
	struct disk d;
	uint64_t id;

	disk_init(&d, 1);
	engine_identity(d.e, cluster_id, &id);
	assert_true(id == 1);
	disk_done(&d);

	disk_init(&d, 1);
	engine_close(d.e);
	d.o.dir = "other";
	d.o.node_id = 7;
	memcpy(d.o.cluster_id, "of all the nodes", 16);
	assert_int_equal(engine_open(&d.o, &d.e, NULL), OK);
	d.o.node_id = 9; /* of new directories only */
	d.o.cluster_id[0] = 'O';
	reopen(&d);
	engine_identity(d.e, cluster_id, &id);
	assert_true(id == 7);
	assert_memory_equal(cluster_id, "of all the nodes", 16);
	disk_done(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_see_an_entry_only_when_it_is_settled),
		cmocka_unit_test(an_unsettled_tail_waits_through_a_restart),
		cmocka_unit_test(an_entry_of_another_term_ends_the_log_there),
		cmocka_unit_test(an_entry_of_the_same_term_kills_nothing),
		cmocka_unit_test(a_range_tombstone_tells_each_key),
		cmocka_unit_test(the_next_expiry_is_the_earliest_live_one),
		cmocka_unit_test(
			a_damaged_vote_is_never_replaced_by_an_older_one),
		cmocka_unit_test(each_segment_begins_with_the_hard_state),
		cmocka_unit_test(a_segment_with_an_unsettled_entry_has_no_hint),
		cmocka_unit_test(a_refreshed_expiry_is_remembered_once),
		cmocka_unit_test(
			a_repeated_entry_survives_the_merge_of_its_first_place),
		cmocka_unit_test(a_repeated_put_stays_deleted_after_a_merge),
		cmocka_unit_test(a_directory_made_again_is_empty_after_a_merge),
		cmocka_unit_test(an_expiry_survives_merges_and_restarts),
		cmocka_unit_test(hidden_keys_are_no_client_writes),
		cmocka_unit_test(an_entry_larger_than_a_segment_gets_its_own),
		cmocka_unit_test(limits_are_errors),
		cmocka_unit_test(a_new_directory_has_the_ids_it_was_given),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
