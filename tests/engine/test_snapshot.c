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
#include "engine/loc.h"
#include "engine/snapshot.h"
#include "tests/lib/engine_world.h"

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
		assert_int_equal(engine_snapshot_open(w.e, &s), OK);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_handed_out_is_the_state),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
