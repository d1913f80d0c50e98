/*
 * tests/engine/test_snapshot.c - proves engine/snapshot.c: what is handed out
 * makes up the state, whatever is written and merged meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "engine/replica.h"
#include "engine/loc.h"
#include "engine/snapshot.h"
#include "tests/lib/engine_world.h"
#include "tests/lib/fail_alloc.h"

enum { VALUE_BYTES = 6000 };

static void change(struct world *w, uint8_t type, uint8_t key)
{
	struct world_op op = { type, key,
			       type == RECORD_PUT ? VALUE_BYTES : 0 };

	assert_int_equal(world_change(w, 0, op, true), OK);
}

/* An entry that another leader's overwrites, in a batch of its own. */
static void overwritten(struct world *w, uint8_t type, uint8_t key)
{
	struct engine_record r = { .type = type };
	struct engine_entry entry = { .index = w->parts[0].count + 1,
				      .term = 1000,
				      .records = &r,
				      .record_count = 1 };
	char text[16];

	r.key = bytes_of(text, world_key(key, text));
	if (type == RECORD_DELETE_PREFIX)
		r.key.n = 3;
	assert_int_equal(engine_append(w->e, &entry), OK);
	assert_int_equal(engine_sync(w->e), OK);
	change(w, RECORD_NOOP, 0);
}

/* What a reader that keeps the highest version of each key ends with. */
struct picture {
	uint64_t version[WORLD_KEYS];
	uint8_t type[WORLD_KEYS];
	uint64_t prefix[WORLD_DIRS]; /* newest range tombstone */
};

static void see(struct picture *p, const struct record *r)
{
	uint64_t version = version_pack(r->index, r->position);
	uint64_t *prefix = &p->prefix[r->key.p[1] - '0'];
	uint32_t k;

	if (r->type == RECORD_DELETE_PREFIX) {
		*prefix = version > *prefix ? version : *prefix;
		return;
	}
	k = (uint32_t)(r->key.p[3] - '0') * 10 + (r->key.p[4] - '0');
	if (version <= p->version[k])
		return;
	p->version[k] = version;
	p->type[k] = r->type;
}

static uint64_t index_of(const struct picture *p, uint32_t k)
{
	if (p->type[k] != RECORD_PUT ||
	    p->version[k] < p->prefix[k % WORLD_DIRS])
		return 0;
	return version_index(p->version[k]);
}

static uint64_t index_now(struct world *w, uint32_t k)
{
	struct engine_info info;
	char key[16];

	if (engine_peek(w->e, 0, bytes_of(key, world_key((uint8_t)k, key)),
			&info))
		return 0;
	return version_index(info.version);
}

static void what_is_handed_out_is_the_state(void **state)
{
	(void)state;
	for (uint32_t at = 0; at < 400; at += 40) {
		uint64_t want[WORLD_KEYS];
		struct picture got = { 0 };
		struct engine_snapshot *s;
		struct world w;
		struct record r;
		uint32_t n = 0;
		enum err err;

		world_init(&w, at + 1, 1);
		world_reopen(&w);
		for (uint32_t i = 0; i < 200; i++) {
			change(&w, RECORD_PUT, (uint8_t)(i * 7 % WORLD_KEYS));
			if (i % 50 == 30)
				change(&w, RECORD_DELETE, (uint8_t)(i % 40));
			if (i % 50 == 40)
				overwritten(&w, RECORD_DELETE, 5);
			if (i == 150)
				change(&w, RECORD_DELETE_PREFIX, 1);
			if (i == 160)
				overwritten(&w, RECORD_DELETE_PREFIX, 2);
			if (i == 100 && at % 80)
				assert_int_equal(world_merge(&w), OK);
		}
		for (uint32_t k = 0; k < WORLD_KEYS; k++)
			want[k] = index_now(&w, k);
		assert_int_equal(
			at % 120 ? engine_snapshot_open(w.e, &s)
				 : engine_snapshot_open_partition(w.e, 0, &s),
			OK);
		assert_int_equal(engine_snapshot_index(s, 0), w.parts[0].count);
		while (!(err = engine_snapshot_next(s, &r))) {
			see(&got, &r);
			if (++n % 8 == 0 && n < at) {
				change(&w, RECORD_PUT, (uint8_t)(n % 48));
				change(&w, RECORD_DELETE, (uint8_t)(n % 44));
			}
			if (n == at / 2)
				assert_int_equal(world_merge(&w), OK);
		}
		assert_int_equal(err, ERR_NOT_FOUND);
		for (uint32_t k = 0; k < WORLD_KEYS; k++)
			if (index_of(&got, k) != want[k])
				fail_msg("at %u: key %u is of entry %llu, not "
					 "%llu",
					 at, k,
					 (unsigned long long)index_of(&got, k),
					 (unsigned long long)want[k]);
		engine_snapshot_close(s);
		world_done(&w);
	}
}

/* A partition's own: nothing of the others, its log clock known. */
static void a_partition_is_handed_out_alone(void **state)
{
	struct engine_snapshot *s;
	struct world w;
	struct record r;
	uint32_t n = 0;
	enum err err;

	(void)state;
	world_init(&w, 3, 3);
	world_reopen(&w);
	for (uint32_t i = 0; i < 120; i++) {
		struct world_op op = { RECORD_PUT, (uint8_t)(i % WORLD_KEYS),
				       VALUE_BYTES };

		assert_int_equal(world_change(&w, (uint16_t)(i % 3), op, true),
				 OK);
	}
	assert_int_equal(world_merge(&w), OK);
	assert_int_equal(engine_snapshot_open_partition(w.e, 2, &s), OK);
	assert_int_equal(engine_snapshot_index(s, 2), 40);
	assert_int_equal(engine_snapshot_stamp_ns(s, 2), 40);
	while (!(err = engine_snapshot_next(s, &r))) {
		assert_int_equal(r.partition, 2);
		n++;
	}
	assert_int_equal(err, ERR_NOT_FOUND);
	assert_true(n >= 16);
	engine_snapshot_close(s);
	world_done(&w);
}

struct midway {
	struct world *w;
	struct engine_snapshot *s;
};

/* The directory shows the entry, the applied index not yet. */
static void merge_midway(void *ctx, const struct engine_applied *a)
{
	struct midway *m = ctx;

	(void)a;
	assert_int_equal(world_merge(m->w), OK);
	assert_int_equal(engine_snapshot_open(m->w->e, &m->s), OK);
}

/*
 * A merge that judges by the directory drops what the entry being settled
 * replaces; a picture taken then must have that entry.
 */
static void a_merge_while_an_entry_is_settled_loses_no_key(void **state)
{
	struct midway m = { 0 };
	struct world_op op = { RECORD_PUT, 7, VALUE_BYTES };
	uint64_t want[WORLD_KEYS], merges;
	struct picture got = { 0 };
	struct engine_stats stats;
	struct world w;
	struct record r;
	enum err err;

	(void)state;
	world_init(&w, 5, 1);
	world_reopen(&w);
	for (uint32_t i = 0; i < 400; i++)
		change(&w, RECORD_PUT,
		       i < 48 ? (uint8_t)i : (uint8_t)(i * 3 % 48));
	engine_stats(w.e, &stats);
	merges = stats.merges;
	assert_int_equal(world_change(&w, 0, op, false), OK);
	assert_int_equal(engine_sync(w.e), OK);
	m.w = &w;
	assert_int_equal(
		engine_settle(w.e, 0, w.parts[0].count, merge_midway, &m), OK);
	engine_stats(w.e, &stats);
	assert_true(stats.merges > merges);
	for (uint32_t k = 0; k < WORLD_KEYS; k++)
		want[k] = index_now(&w, k);
	while (!(err = engine_snapshot_next(m.s, &r)))
		see(&got, &r);
	assert_int_equal(err, ERR_NOT_FOUND);
	for (uint32_t k = 0; k < WORLD_KEYS; k++)
		assert_int_equal(index_of(&got, k), want[k]);
	engine_snapshot_close(m.s);
	world_done(&w);
}

/* A picture of what no file holds yet would be one with holes. */
static void what_is_not_written_yet_is_not_in_the_picture(void **state)
{
	struct world_op op = { RECORD_PUT, 7, VALUE_BYTES };
	struct picture got = { 0 };
	struct engine_snapshot *s;
	struct world w;
	struct record r;
	uint64_t want;
	enum err err;

	(void)state;
	world_init(&w, 11, 1);
	world_reopen(&w);
	for (uint32_t i = 0; i < 20; i++)
		change(&w, RECORD_PUT, (uint8_t)i);
	want = index_now(&w, 7);
	assert_int_equal(world_change(&w, 0, op, false), OK);
	assert_int_equal(engine_settle(w.e, 0, w.parts[0].count, NULL, NULL),
			 OK);
	assert_int_equal(index_now(&w, 7), w.parts[0].count);
	assert_int_equal(engine_snapshot_open(w.e, &s), OK);
	assert_int_equal(engine_snapshot_index(s, 0), w.parts[0].count - 1);
	while (!(err = engine_snapshot_next(s, &r)))
		see(&got, &r);
	assert_int_equal(err, ERR_NOT_FOUND);
	assert_int_equal(index_of(&got, 7), want);
	engine_snapshot_close(s);
	assert_int_equal(engine_write(w.e), OK);
	assert_int_equal(engine_snapshot_open(w.e, &s), OK);
	assert_int_equal(engine_snapshot_index(s, 0), w.parts[0].count);
	engine_snapshot_close(s);
	world_done(&w);
}

/* A lost value is not passed on as a good one, merged or not. */
static void a_lost_value_is_not_handed_out(void **state)
{
	struct engine_snapshot *s;
	struct engine_info info;
	struct world w;
	struct record r;
	char key[16], path[64];
	enum err err;

	(void)state;
	world_init(&w, 6, 1);
	world_reopen(&w);
	for (uint32_t i = 0; i < 400; i++)
		change(&w, RECORD_PUT, (uint8_t)(i < 48 ? i : 10 + i % 38));
	assert_int_equal(
		engine_peek(w.e, 0, bytes_of(key, world_key(5, key)), &info),
		OK);
	snprintf(path, sizeof(path), "data/%08x.log", loc_file_id(info.loc));
	assert_int_equal(vfs_sim_flip(w.sim, path, loc_off(info.loc) + 500, 4),
			 OK);
	for (int merged = 0; merged < 2; merged++) {
		assert_int_equal(engine_snapshot_open_partition(w.e, 0, &s),
				 OK);
		while (!(err = engine_snapshot_next(s, &r)))
			;
		assert_int_equal(err, ERR_CORRUPT);
		engine_snapshot_close(s);
		if (!merged)
			assert_int_equal(world_merge(&w), OK);
	}
	world_done(&w);
}

/* Nor is what lies behind a header that cannot be read left out in silence. */
static void a_damaged_header_ends_it(void **state)
{
	struct engine_snapshot *s;
	struct engine_info info;
	struct world w;
	struct record r;
	char key[16], path[64];
	enum err err;

	(void)state;
	world_init(&w, 7, 1);
	world_reopen(&w);
	for (uint32_t i = 0; i < 60; i++)
		change(&w, RECORD_PUT, (uint8_t)(i % WORLD_KEYS));
	assert_int_equal(
		engine_peek(w.e, 0, bytes_of(key, world_key(5, key)), &info),
		OK);
	snprintf(path, sizeof(path), "data/%08x.log", loc_file_id(info.loc));
	assert_int_equal(vfs_sim_flip(w.sim, path, loc_off(info.loc) + 20, 4),
			 OK);
	assert_int_equal(engine_snapshot_open(w.e, &s), OK);
	while (!(err = engine_snapshot_next(s, &r)))
		;
	assert_int_equal(err, ERR_CORRUPT);
	engine_snapshot_close(s);
	world_done(&w);
}

/* All of it, taken and read through; the first error. */
static enum err pass_through(struct world *w, bool one_partition)
{
	struct engine_snapshot *s = NULL;
	struct record r;
	enum err err = one_partition
			       ? engine_snapshot_open_partition(w->e, 0, &s)
			       : engine_snapshot_open(w->e, &s);

	while (!err)
		err = engine_snapshot_next(s, &r);
	engine_snapshot_close(s);
	return err == ERR_NOT_FOUND ? OK : err;
}

static enum err count_name(void *ctx, const char *name)
{
	++*(uint32_t *)ctx;
	return OK;
}

static uint32_t names(struct world *w)
{
	uint32_t n = 0;

	assert_int_equal(vfs_list(w->o.vfs, "data", count_name, &n), OK);
	return n;
}

/* A file that stayed pinned would neither be recycled nor unlinked. */
static void whatever_allocation_fails_no_file_is_held(void **state)
{
	uint64_t tries = 0;
	uint32_t before;
	struct world w;

	(void)state;
	world_init(&w, 8, 2);
	world_reopen(&w);
	for (uint32_t i = 0; i < 300; i++)
		change(&w, RECORD_PUT, (uint8_t)(i * 5 % WORLD_KEYS));
	assert_int_equal(world_merge(&w), OK);
	before = names(&w);
	for (int one = 0; one < 2; one++) {
		for (uint64_t nth = 1;; nth++, tries++) {
			enum err err;

			fail_alloc_at(nth, false);
			err = pass_through(&w, one);
			if (!fail_alloc_off()) {
				assert_int_equal(err, OK);
				break;
			}
			assert_int_equal(err, ERR_NOMEM);
		}
	}
	assert_true(tries >= 8);
	for (uint32_t i = 0; i < 300; i++)
		change(&w, RECORD_PUT, (uint8_t)(i * 5 % WORLD_KEYS));
	assert_int_equal(world_merge(&w), OK);
	assert_true(names(&w) <= before + 1);
	world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_handed_out_is_the_state),
		cmocka_unit_test(a_partition_is_handed_out_alone),
		cmocka_unit_test(
			a_merge_while_an_entry_is_settled_loses_no_key),
		cmocka_unit_test(what_is_not_written_yet_is_not_in_the_picture),
		cmocka_unit_test(a_lost_value_is_not_handed_out),
		cmocka_unit_test(a_damaged_header_ends_it),
		cmocka_unit_test(whatever_allocation_fails_no_file_is_held),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
