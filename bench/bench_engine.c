/*
 * bench/bench_engine.c - the engine beside its peers, in one run.
 *
 *	bench_engine [--quick] [get] [one] [put] [sync]
 *
 * get      random copying gets of 100,000 warm keys, 128 B to 32 KiB
 * one      the same key again and again (the seed's own benchmark)
 * put      unsynced puts
 * sync     durable puts, 1 and 64 threads
 * No names: all of them. --quick: a tenth of the keys, fewer rounds. Figures
 * go where bench/lib/emit.h puts them.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/seed.h"
#include "bench/lib/emit.h"
#include "bench/lib/kv.h"
#include "bench/lib/measure.h"
#include "engine/engine.h"

static const size_t sizes[] = { 128,  256,  512,   1024, 2048,
				4096, 8192, 16384, 32768 };
enum { SIZES = sizeof(sizes) / sizeof(*sizes), KINDS_MAX = 12 };

static bool quick;
static uint8_t value[65536];

struct column {
	const struct kv_kind *kind;
	struct kv *kv;
	char dir[256];
};

static uint64_t keys_for(size_t value_bytes)
{
	uint64_t n = (256u << 20) / value_bytes;

	n = n < 100000 ? n : 100000;
	return quick ? n / 10 : n;
}

static void open_column(struct column *c, const struct kv_kind *kind,
			size_t value_bytes, uint64_t key_count)
{
	memset(c, 0, sizeof(*c));
	c->kind = kind;
	bench_dir_new(c->dir, sizeof(c->dir));
	c->kv = kind->open(c->dir, value_bytes, key_count);
	if (!c->kv)
		exit(1);
}

static void close_column(struct column *c)
{
	c->kind->close(c->kv);
	bench_dir_remove(c->dir);
}

static void fill_column(struct column *c, size_t value_bytes, uint64_t n)
{
	char key[17];

	for (uint64_t i = 0; i < n; i++) {
		bench_key(key, i);
		memcpy(value, key, 16);
		if (!c->kind->put(c->kv, key, 16, value, value_bytes, false))
			exit(1);
	}
	c->kind->settle(c->kv);
}

/* One round of random gets; every value is checked to be the key's own. */
static double get_round(struct column *c, size_t value_bytes, uint64_t n,
			uint64_t ops, uint64_t seed_number)
{
	static uint8_t got[65536];
	char(*keys)[17] = malloc(ops * sizeof(*keys));
	struct seed seed;
	uint64_t start, ns;

	seed_init(&seed, seed_number);
	for (uint64_t i = 0; i < ops; i++)
		bench_key(keys[i], seed_below(&seed, n));
	start = now_ns();
	for (uint64_t i = 0; i < ops; i++)
		if (c->kind->get(c->kv, keys[i], 16, got, sizeof(got)) !=
		    value_bytes) {
			fprintf(stderr, "bench: %s: get failed\n",
				c->kind->name);
			exit(1);
		}
	ns = now_ns() - start;
	if (c->kind != &kv_engine_pinned && memcmp(got, keys[ops - 1], 16)) {
		fprintf(stderr, "bench: %s: wrong value\n", c->kind->name);
		exit(1);
	}
	free(keys);
	return (double)ns / (double)ops;
}

static void bench_get(bool one_key)
{
	static const struct kv_kind *const kinds[] = {
		&kv_engine_mmap,
		&kv_engine_pinned,
		&kv_engine_verified,
		&kv_engine_pread,
		&kv_engine_pread_verified,
		&kv_bare_copy,
		&kv_bare_copy_crc,
		&kv_bare_pread,
		&kv_lmdb,
		&kv_leveldb,
		&kv_rocksdb,
	};
	enum { N = sizeof(kinds) / sizeof(*kinds) };
	const char *table = one_key ? "one" : "get";
	struct column c[N];
	int rounds = quick ? 3 : 7;

	emit_table(table,
		   one_key ? "get, one key again and again"
			   : "get, random warm keys",
		   "value bytes", "line");
	for (int s = 0; s < SIZES; s++) {
		uint64_t keys = one_key ? 1 : keys_for(sizes[s]);
		uint64_t ops = quick ? 20000 : 200000;

		for (int k = 0; k < N; k++) {
			open_column(&c[k], kinds[k], sizes[s], keys);
			fill_column(&c[k], sizes[s], keys);
			get_round(&c[k], sizes[s], keys, ops, 99);
		}
		for (int r = 0; r < rounds; r++)
			for (int k = 0; k < N; k++)
				emit_figure_at(table, sizes[s], kinds[k]->name,
					       "time", "ns", r,
					       get_round(&c[k], sizes[s], keys,
							 ops, (uint64_t)r));
		for (int k = 0; k < N; k++)
			close_column(&c[k]);
	}
}

/* ns a put of ops new keys, unsynced. */
static double put_round(struct column *c, size_t value_bytes, uint64_t ops,
			uint64_t seed_number)
{
	struct seed seed;
	uint64_t start;
	char key[17];

	seed_init(&seed, seed_number);
	start = now_ns();
	for (uint64_t i = 0; i < ops; i++) {
		bench_key(key, seed_below(&seed, 1u << 30));
		if (!c->kind->put(c->kv, key, 16, value, value_bytes, false))
			exit(1);
	}
	return (double)(now_ns() - start) / (double)ops;
}

static void bench_put(void)
{
	static const struct kv_kind *const kinds[] = { &kv_engine_mmap,
						       &kv_leveldb, &kv_rocksdb,
						       &kv_lmdb };
	enum { N = sizeof(kinds) / sizeof(*kinds) };
	struct column c[N];
	int rounds = quick ? 3 : 5;

	emit_table("put", "put, unsynced, new random keys", "value bytes",
		   "line");
	emit_note("put", "The peers hand each put to the kernel; raftcask "
			 "gathers a frame first, which a kill loses.");
	for (int s = 0; s < SIZES; s++) {
		uint64_t ops = keys_for(sizes[s]) / 2;

		for (int k = 0; k < N; k++)
			open_column(&c[k], kinds[k], sizes[s], ops);
		for (int r = 0; r < rounds; r++)
			for (int k = 0; k < N; k++)
				emit_figure_at("put", sizes[s], kinds[k]->name,
					       "time", "us", r,
					       put_round(&c[k], sizes[s], ops,
							 (uint64_t)r) /
						       1000);
		for (int k = 0; k < N; k++)
			close_column(&c[k]);
	}
}

struct writer {
	pthread_t thread;
	struct column *c;
	size_t value_bytes;
	uint64_t first, ops;
};

static void *write_synced(void *arg)
{
	struct writer *w = arg;
	char key[17];

	for (uint64_t i = 0; i < w->ops; i++) {
		bench_key(key, w->first + i);
		if (!w->c->kind->put(w->c->kv, key, 16, value, w->value_bytes,
				     true))
			exit(1);
	}
	return NULL;
}

/* Durable puts a second by threads writers together. */
static double sync_round(struct column *c, size_t value_bytes, int threads,
			 uint64_t ops)
{
	struct writer w[64];
	uint64_t start = now_ns();

	for (int t = 0; t < threads; t++) {
		w[t] = (struct writer){ .c = c,
					.value_bytes = value_bytes,
					.first = (uint64_t)t << 24,
					.ops = ops };
		if (threads > 1 &&
		    pthread_create(&w[t].thread, NULL, write_synced, &w[t]))
			exit(1);
	}
	if (threads == 1)
		write_synced(&w[0]);
	for (int t = 0; threads > 1 && t < threads; t++)
		pthread_join(w[t].thread, NULL);
	return (double)(ops * (uint64_t)threads) * 1e9 /
	       (double)(now_ns() - start);
}

/* One case of durable puts: every kind that can, in turns. */
static void sync_case(const char *table, size_t value_bytes, int threads)
{
	static const struct kv_kind *const kinds[] = {
		&kv_engine_mmap, &kv_leveldb,	     &kv_rocksdb,
		&kv_lmdb,	 &kv_bare_overwrite, &kv_bare_append,
	};
	/* the bare ones stand last, and write on one thread only */
	int n = threads > 1 ? 4 : 6;
	struct column c[6];
	uint64_t ops = quick ? 100 : 400;
	int rounds = quick ? 3 : 7;
	double rate;

	for (int k = 0; k < n; k++)
		open_column(&c[k], kinds[k], value_bytes, 1);
	for (int r = 0; r < rounds; r++) {
		for (int k = 0; k < n; k++) {
			rate = sync_round(&c[k], value_bytes, threads, ops);
			emit_figure_at(table, value_bytes, kinds[k]->name,
				       "time", "us", r, 1e6 / rate);
		}
		if (threads == 1)
			continue;
		/* what group commit brings: one thread, the same files */
		rate = sync_round(&c[0], value_bytes, 1, ops);
		emit_figure_at(table, value_bytes, "one thread", "time", "us",
			       r, 1e6 / rate);
	}
	for (int k = 0; k < n; k++)
		close_column(&c[k]);
}

static void bench_sync(void)
{
	static const size_t put_sizes[] = { 128, 1024, 4096, 32768 };

	emit_table("sync", "put, durable, one thread", "value bytes", "line");
	for (int s = 0; s < 4; s++)
		sync_case("sync", put_sizes[s], 1);
	emit_table("sync64", "put, durable, 64 threads, time a put",
		   "value bytes", "line");
	for (int s = 0; s < 4; s++)
		sync_case("sync64", put_sizes[s], 64);
}

static void bench_get_many(void)
{
	bench_get(false);
}

static void bench_get_one(void)
{
	bench_get(true);
}

int main(int argc, char **argv)
{
	static const struct bench_part parts[] = {
		{ "get", bench_get_many },
		{ "one", bench_get_one },
		{ "put", bench_put },
		{ "sync", bench_sync },
	};

	bench_fill(value, sizeof(value));
	bench_run(argc, argv, parts, sizeof(parts) / sizeof(*parts), &quick);
	return 0;
}
