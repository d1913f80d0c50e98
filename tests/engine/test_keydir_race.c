/*
 * tests/engine/test_keydir_race.c - readers of the key directory against a
 * writer: they always find what is always there, and never half an entry.
 * Worth most under the thread sanitizer.
 */
#include "engine/keydir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <pthread.h>

#include "base/epoch.h"
#include "base/seed.h"

enum {
#ifdef DEBUG
	RACE_CHANGES = 20000,
#else
	RACE_CHANGES = 300000,
#endif
	READERS = 2,
};

static uint64_t seed_number;

static struct bytes scattered_key(uint8_t *k, uint64_t n)
{
	put_u64(k, (n + 1) * UINT64_C(0x9e3779b97f4a7c15));
	put_u64(k + 8, n);
	return bytes_of(k, 16);
}

struct race {
	struct epoch *e;
	struct keydir *kd;
	bool stop;
	uint64_t seed;
	const char *bad;
};

enum { RACE_KEYS = 4096, RACE_STEP = 4 /* every 4th key is always there */ };

/* Half of the keys share a long prefix, half are nearly random. */
static struct bytes race_key(uint8_t *k, uint64_t i)
{
	if (i % 8 < 4)
		return scattered_key(k, i);
	return bytes_of(k, (size_t)sprintf((char *)k, "%s%06u",
					   "some/long/common/prefix/of/more/"
					   "than/forty/bytes/",
					   (unsigned)i));
}

static const char *look_once(struct race *r, uint64_t i)
{
	uint8_t k[80];
	struct bytes key = race_key(k, i);
	const struct keydir_entry *en;
	const char *bad = NULL;

	epoch_enter(r->e);
	en = keydir_get(r->kd, key);
	if (!en) {
		if (i % RACE_STEP == 0)
			bad = "a key that is always there was not found";
	} else if (!bytes_equal(bytes_of(en->key, en->key_bytes), key)) {
		bad = "an entry of another key";
	} else if (en->loc != en->version * 5 ||
		   en->value_bytes != (uint32_t)en->version) {
		bad = "a torn entry";
	}
	epoch_exit(r->e);
	return bad;
}

static void *read_race(void *arg)
{
	struct race *r = arg;
	struct seed s;

	seed_init(&s, __atomic_add_fetch(&r->seed, 1, __ATOMIC_RELAXED));
	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		const char *bad = look_once(r, seed_below(&s, RACE_KEYS));

		if (bad)
			__atomic_store_n(&r->bad, bad, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void race_put(struct race *r, uint64_t i, uint64_t version)
{
	struct keydir_change c;
	uint8_t k[80];

	keydir_lock(r->kd);
	assert_int_equal(keydir_put(r->kd, race_key(k, i), version, version * 5,
				    (uint32_t)version, 0, &c),
			 OK);
	keydir_unlock(r->kd);
}

/* In runs, so that leaves fill, split, empty and join again and again. */
static void write_race(struct race *r, struct seed *s)
{
	uint64_t version = 1;
	struct keydir_change c;
	uint8_t k[80];

	while (version < RACE_CHANGES) {
		uint64_t from = seed_below(s, RACE_KEYS);
		uint64_t n = 1 + seed_below(s, 600);
		bool del = seed_below(s, 2);

		for (uint64_t j = 0; j < n; j++) {
			uint64_t i = (from + j) % RACE_KEYS;

			version++;
			if (!del || i % RACE_STEP == 0) {
				race_put(r, i, version);
				continue;
			}
			keydir_lock(r->kd);
			keydir_del(r->kd, race_key(k, i), version, &c);
			keydir_unlock(r->kd);
		}
	}
}

/* Every key once, in order, as many as the count says. */
static void check_order(struct keydir *kd)
{
	const struct keydir_entry *en, *before = NULL;
	struct keydir_iter it;
	uint64_t n = 0;

	keydir_lock(kd);
	en = keydir_seek(kd, bytes_of(NULL, 0), &it);
	for (; en; en = keydir_next(&it)) {
		if (before)
			assert_true(bytes_compare(bytes_of(before->key,
							   before->key_bytes),
						  bytes_of(en->key,
							   en->key_bytes)) < 0);
		before = en;
		n++;
	}
	assert_int_equal(n, keydir_count(kd));
	keydir_unlock(kd);
}

static void readers_always_find_what_is_there(void **state)
{
	struct race r = { .seed = seed_number };
	pthread_t threads[READERS];
	struct seed s;

	seed_init(&s, seed_number);
	assert_int_equal(epoch_new(&r.e), OK);
	assert_int_equal(keydir_new(r.e, &r.kd), OK);
	for (uint64_t i = 0; i < RACE_KEYS; i += RACE_STEP)
		race_put(&r, i, 1);
	for (int i = 0; i < READERS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, read_race, &r), 0);
	write_race(&r, &s);
	__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	if (r.bad)
		fail_msg("%s", r.bad);
	check_order(r.kd);
	keydir_free(r.kd);
	epoch_free(r.e);
}

static int say_seed(void **state)
{
	printf("SEED=%llu\n", (unsigned long long)seed_number);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(readers_always_find_what_is_there),
	};
	const char *seed = getenv("SEED");
	struct seed s;

	if (seed) {
		seed_number = strtoull(seed, NULL, 10);
	} else {
		if (seed_init_os(&s))
			return 1;
		seed_number = seed_next(&s) >> 32;
	}
	return cmocka_run_group_tests(tests, say_seed, NULL);
}
