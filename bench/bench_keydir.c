/*
 * bench/bench_keydir.c - the key directory alone: ns per call, bytes per key.
 *
 * usage: bench_keydir [KEYS_IN_MILLIONS]   (default 10; 0: small tables only)
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/seed.h"
#include "engine/keydir.h"

enum { KEY_BYTES = 16, SMALL_KEYS = 100000, LOOKS = 4000000 };

static uint64_t mix(uint64_t i)
{
	i = (i ^ (i >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	i = (i ^ (i >> 27)) * UINT64_C(0x94d049bb133111eb);
	return i ^ (i >> 31);
}

static struct bytes random_key(uint8_t *k, uint64_t i)
{
	put_u64(k, mix(i + 1));
	put_u64(k + 8, mix(~i));
	return bytes_of(k, KEY_BYTES);
}

static struct bytes rising_key(uint8_t *k, uint64_t i)
{
	char text[KEY_BYTES + 1];

	snprintf(text, sizeof(text), "key:%012llu", (unsigned long long)i);
	memcpy(k, text, KEY_BYTES);
	return bytes_of(k, KEY_BYTES);
}

static void report(const char *what, uint64_t start_ns, uint64_t n)
{
	uint64_t ns = clock_mono_ns(clock_os()) - start_ns;

	printf("%-34s %8.1f ns  (%.2f s)\n", what, (double)ns / (double)n,
	       (double)ns / 1e9);
}

static void put(struct keydir *kd, struct bytes key, uint64_t version)
{
	struct keydir_change c;

	keydir_lock(kd);
	CHECK(keydir_put(kd, key, version, version, 128, 0, &c) == OK);
	CHECK(c.changed);
	keydir_unlock(kd);
}

static void look(struct epoch *e, struct keydir *kd, const char *what,
		 struct bytes (*make)(uint8_t *, uint64_t), uint64_t keys)
{
	struct seed s;
	uint64_t start, *order = malloc(LOOKS * sizeof(*order));
	uint8_t *k = malloc((size_t)LOOKS * KEY_BYTES);

	CHECK(order && k);
	seed_init(&s, 7);
	for (unsigned i = 0; i < LOOKS; i++)
		make(k + (size_t)i * KEY_BYTES, seed_below(&s, keys));
	start = clock_mono_ns(clock_os());
	for (unsigned i = 0; i < LOOKS; i++) {
		const struct keydir_entry *en;

		epoch_enter(e);
		en = keydir_get(kd,
				bytes_of(k + (size_t)i * KEY_BYTES, KEY_BYTES));
		CHECK(en != NULL && en->value_bytes == 128);
		epoch_exit(e);
	}
	report(what, start, LOOKS);
	free(order);
	free(k);
}

static void small(struct bytes (*make)(uint8_t *, uint64_t), const char *name)
{
	struct epoch *e;
	struct keydir *kd;
	struct seed s;
	uint8_t k[KEY_BYTES];
	uint64_t start;

	printf("-- %s, %d keys\n", name, SMALL_KEYS);
	CHECK(epoch_new(&e) == OK);
	CHECK(keydir_new(e, &kd) == OK);
	start = clock_mono_ns(clock_os());
	for (uint64_t i = 0; i < SMALL_KEYS; i++)
		put(kd, make(k, i), 1);
	report("put new", start, SMALL_KEYS);
	look(e, kd, "get", make, SMALL_KEYS);
	seed_init(&s, 3);
	start = clock_mono_ns(clock_os());
	for (uint64_t i = 0; i < LOOKS / 4; i++)
		put(kd, make(k, seed_below(&s, SMALL_KEYS)), i + 2);
	report("put existing", start, LOOKS / 4);
	look(e, kd, "get after replacing", make, SMALL_KEYS);
	start = clock_mono_ns(clock_os());
	for (uint64_t i = 0; i < SMALL_KEYS; i++) {
		struct keydir_change c;

		keydir_lock(kd);
		keydir_del(kd, make(k, i), UINT64_MAX, &c);
		keydir_unlock(kd);
		CHECK(c.changed);
	}
	report("del", start, SMALL_KEYS);
	keydir_free(kd);
	epoch_free(e);
}

static void big(uint64_t keys, bool append)
{
	struct epoch *e;
	struct keydir *kd;
	uint8_t k[KEY_BYTES] = { 0 };
	uint64_t start;

	printf("-- %s, %llu keys\n", append ? "append rising" : "put random",
	       (unsigned long long)keys);
	CHECK(epoch_new(&e) == OK);
	CHECK(keydir_new(e, &kd) == OK);
	start = clock_mono_ns(clock_os());
	keydir_lock(kd);
	for (uint64_t i = 0; i < keys; i++) {
		struct keydir_change c;

		if (append) {
			put_be64(k + 8, i);
			CHECK(keydir_append(kd, bytes_of(k, KEY_BYTES), 1, 1,
					    128, 0) == OK);
		} else {
			CHECK(keydir_put(kd, random_key(k, i), 1, 1, 128, 0,
					 &c) == OK);
		}
	}
	keydir_unlock(kd);
	report(append ? "append" : "put new", start, keys);
	printf("%-34s %8.2f B beyond the key\n", "memory per key",
	       (double)keydir_memory_bytes(kd) / (double)keys - KEY_BYTES);
	if (!append)
		look(e, kd, "get", random_key, keys);
	start = clock_mono_ns(clock_os());
	keydir_free(kd);
	epoch_free(e);
	report("free", start, keys);
}

int main(int argc, char **argv)
{
	uint64_t keys = 1000000 * (argc > 1 ? strtoull(argv[1], NULL, 10) : 10);

	small(random_key, "random 16-byte keys");
	small(rising_key, "decimal 16-byte keys");
	if (keys) {
		big(keys, false);
		big(keys, true);
	}
	return 0;
}
