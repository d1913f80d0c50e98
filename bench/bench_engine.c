/*
 * bench/bench_engine.c - the engine beside its peers, in one run.
 *
 *	bench_engine [--quick] [get] [one] [put] [sync] [memory] [amplify]
 *		     [restart]
 *
 * get      random copying gets of 100,000 warm keys, 128 B to 32 KiB
 * one      the same key again and again (the seed's own benchmark)
 * put      unsynced puts
 * sync     durable puts, 1 and 64 threads
 * memory   bytes of memory a key beyond the key, 10 million 16-byte keys
 * amplify  bytes written to the log per byte of user data
 * restart  opening 10 million keys from hints, and by scanning the log
 *
 * No names: all of them. --quick: a tenth of the keys, fewer rounds.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/guard.h"
#include "base/log.h"
#include "base/seed.h"
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
	struct samples samples;
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

static void print_head(const char *title, const struct kv_kind *const *kinds,
		       int kind_count)
{
	printf("\n%s\n%8s", title, "value");
	for (int k = 0; k < kind_count; k++)
		printf(" %18s", kinds[k]->name);
	printf("\n");
}

static void print_row(size_t value_bytes, struct column *c, int n, double unit)
{
	printf("%8zu", value_bytes);
	for (int k = 0; k < n; k++)
		printf(" %11.1f +-%3.0f%%",
		       samples_median(&c[k].samples) / unit,
		       100 * samples_spread(&c[k].samples));
	printf("\n");
	fflush(stdout);
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
	struct column c[N];
	int rounds = quick ? 3 : 7;

	print_head(one_key ? "get, one key, ns" : "get, random warm keys, ns",
		   kinds, N);
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
				samples_add(&c[k].samples,
					    get_round(&c[k], sizes[s], keys,
						      ops, (uint64_t)r));
		print_row(sizes[s], c, N, 1);
		for (int k = 0; k < N; k++)
			close_column(&c[k]);
	}
}

static void bench_put(void)
{
	static const struct kv_kind *const kinds[] = { &kv_engine_mmap,
						       &kv_leveldb, &kv_rocksdb,
						       &kv_lmdb };
	enum { N = sizeof(kinds) / sizeof(*kinds) };
	struct column c[N];
	int rounds = quick ? 3 : 5;

	print_head("put, unsynced, new random keys, us", kinds, N);
	for (int s = 0; s < SIZES; s++) {
		uint64_t ops = keys_for(sizes[s]) / 2;

		for (int k = 0; k < N; k++)
			open_column(&c[k], kinds[k], sizes[s], ops);
		for (int r = 0; r < rounds; r++) {
			for (int k = 0; k < N; k++) {
				struct seed seed;
				char key[17];
				uint64_t start;

				seed_init(&seed, (uint64_t)r);
				start = now_ns();
				for (uint64_t i = 0; i < ops; i++) {
					bench_key(key,
						  seed_below(&seed, 1u << 30));
					if (!kinds[k]->put(c[k].kv, key, 16,
							   value, sizes[s],
							   false))
						exit(1);
				}
				samples_add(&c[k].samples,
					    (double)(now_ns() - start) /
						    (double)ops);
			}
		}
		print_row(sizes[s], c, N, 1000);
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

static void bench_sync(void)
{
	static const struct kv_kind *const kinds[] = {
		&kv_engine_mmap, &kv_bare_overwrite, &kv_bare_append,
		&kv_leveldb,	 &kv_rocksdb,	     &kv_lmdb,
	};
	enum { N = sizeof(kinds) / sizeof(*kinds) };
	static const size_t put_sizes[] = { 128, 1024, 4096, 32768 };
	static const int threads[] = { 1, 64 };
	int rounds = quick ? 3 : 7;

	for (int t = 0; t < 2; t++) {
		char title[80];

		snprintf(title, sizeof(title),
			 "put, durable, %d thread(s), us a put", threads[t]);
		print_head(title, kinds, N);
		for (int s = 0; s < 4; s++) {
			struct column c[N];
			uint64_t ops = quick ? 100 : 400;

			for (int k = 0; k < N; k++)
				open_column(&c[k], kinds[k], put_sizes[s], 1);
			for (int r = 0; r < rounds; r++)
				for (int k = 0; k < N; k++)
					if (kinds[k]->threads ||
					    threads[t] == 1)
						samples_add(
							&c[k].samples,
							1e9 / sync_round(
								      &c[k],
								      put_sizes
									      [s],
								      threads[t],
								      ops));
			print_row(put_sizes[s], c, N, 1000);
			for (int k = 0; k < N; k++)
				close_column(&c[k]);
		}
	}
}

/* ------------------------------------------- figures of the engine alone --- */

static void drop_from_page_cache(const char *dir)
{
	char path[512];

	for (unsigned id = 0; id < 256; id++) {
		int fd;

		snprintf(path, sizeof(path), "%s/%08x.log", dir, id);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			continue;
		if (fdatasync(fd) == 0)
			posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		close(fd);
	}
}

/* As the daemon does: files are looked at on as many threads as processors. */
struct share {
	pthread_t thread;
	void (*fn)(void *arg, uint32_t i);
	void *arg;
	uint32_t n;
	_Atomic uint32_t *next;
};

static void *take_shares(void *arg)
{
	struct share *s = arg;
	uint32_t i;

	while ((i = atomic_fetch_add(s->next, 1)) < s->n)
		s->fn(s->arg, i);
	return NULL;
}

static void run_parallel(void (*fn)(void *arg, uint32_t i), void *arg,
			 uint32_t n)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	_Atomic uint32_t next = 0;
	struct share s[64];
	int threads = processors < 64 ? (int)processors : 64;

	for (int i = 0; i < threads; i++) {
		s[i] = (struct share){
			.fn = fn, .arg = arg, .n = n, .next = &next
		};
		if (pthread_create(&s[i].thread, NULL, take_shares, &s[i]))
			exit(1);
	}
	for (int i = 0; i < threads; i++)
		pthread_join(s[i].thread, NULL);
}

static struct engine *open_engine(const char *dir, struct seed *seed)
{
	struct engine_options o;
	struct engine *e;
	struct buf why = BUF_INIT;

	engine_options_default(&o);
	seed_init(seed, 1);
	o.vfs = vfs_os();
	o.clock = clock_os();
	o.seed = seed;
	o.dir = dir;
	o.partitions = 1;
	o.parallel = run_parallel;
	if (engine_open(&o, &e, &why)) {
		fprintf(stderr, "bench: %.*s\n", (int)why.n,
			(const char *)why.p);
		exit(1);
	}
	return e;
}

static void fill_engine(struct engine *e, uint64_t n, size_t value_bytes)
{
	char key[17];

	for (uint64_t i = 0; i < n; i++) {
		/* a bijection of 0..2^40-1, so that keys come in no order */
		bench_key(key, i * 0x9e3779b97f4a7c15ull >> 24);
		if (engine_put(e, 0, bytes_of(key, 16),
			       bytes_of(value, value_bytes), false))
			exit(1);
	}
	if (engine_flush(e))
		exit(1);
}

static void keep_all(struct engine *e)
{
	uint64_t wait_ms = 0;

	for (int i = 0; i < 100000 && wait_ms == 0; i++)
		if (engine_keep(e, &wait_ms))
			exit(1);
}

static void bench_memory(void)
{
	uint64_t n = quick ? 1000000 : 10000000;
	struct engine_stats stats;
	struct seed seed;
	char dir[256];
	struct engine *e;

	bench_dir_new(dir, sizeof(dir));
	e = open_engine(dir, &seed);
	fill_engine(e, n, 8);
	engine_stats(e, &stats);
	printf("\nmemory, %llu keys of 16 bytes in random order: %.1f bytes a "
	       "key beyond the key (key directory's own account)\n",
	       (unsigned long long)stats.keys,
	       (double)stats.keydir_bytes / (double)stats.keys - 16);
	engine_close(e);
	bench_dir_remove(dir);
}

static void bench_amplify(void)
{
	static const size_t amplify_sizes[] = { 128, 1024, 4096, 32768 };

	printf("\nbytes appended to the log per byte of key and value, "
	       "batched puts\n");
	for (int s = 0; s < 4; s++) {
		uint64_t n = (64u << 20) / amplify_sizes[s];
		struct engine_stats stats;
		struct seed seed;
		char dir[256];
		struct engine *e;

		bench_dir_new(dir, sizeof(dir));
		e = open_engine(dir, &seed);
		fill_engine(e, n, amplify_sizes[s]);
		engine_stats(e, &stats);
		printf("%8zu %8.3f  (per byte of value alone: %.3f)\n",
		       amplify_sizes[s],
		       (double)stats.bytes_appended /
			       (double)(n * (amplify_sizes[s] + 16)),
		       (double)stats.bytes_appended /
			       (double)(n * amplify_sizes[s]));
		engine_close(e);
		bench_dir_remove(dir);
	}
}

static void remove_hints(const char *dir)
{
	char path[512];

	for (unsigned id = 0; id < 4096; id++) {
		snprintf(path, sizeof(path), "%s/%08x.log.hint", dir, id);
		unlink(path);
	}
}

static double open_seconds(const char *dir, uint64_t keys_expected)
{
	struct engine_stats stats;
	struct seed seed;
	uint64_t start = now_ns(), ns;
	struct engine *e = open_engine(dir, &seed);

	ns = now_ns() - start;
	engine_stats(e, &stats);
	if (stats.keys != keys_expected) {
		fprintf(stderr, "bench: %llu keys came back, not %llu\n",
			(unsigned long long)stats.keys,
			(unsigned long long)keys_expected);
		exit(1);
	}
	engine_close(e);
	return (double)ns / 1e9;
}

/* Seconds to read every byte of the log segments by pread, from the disk. */
static double read_seconds(const char *dir)
{
	static uint8_t block[1 << 20];
	uint64_t start = now_ns();
	char path[512];

	for (unsigned id = 0; id < 256; id++) {
		int fd;

		snprintf(path, sizeof(path), "%s/%08x.log", dir, id);
		fd = open(path, O_RDONLY);
		while (fd >= 0 && read(fd, block, sizeof(block)) > 0)
			;
		if (fd >= 0)
			close(fd);
	}
	return (double)(now_ns() - start) / 1e9;
}

static void bench_restart(void)
{
	uint64_t n = quick ? 1000000 : 10000000;
	struct engine_stats stats;
	struct seed seed;
	char dir[256];
	struct engine *e;
	double hints, scan, disk;

	bench_dir_new(dir, sizeof(dir));
	e = open_engine(dir, &seed);
	fill_engine(e, n, 128);
	keep_all(e);
	engine_stats(e, &stats);
	engine_close(e);
	drop_from_page_cache(dir);
	hints = open_seconds(dir, stats.keys);
	remove_hints(dir);
	drop_from_page_cache(dir);
	disk = read_seconds(dir);
	drop_from_page_cache(dir);
	scan = open_seconds(dir, stats.keys);
	printf("\nrestart, %llu keys of 16 bytes with 128-byte values, cold: "
	       "%.2f s from hints, %.2f s by scanning (%.0f%% of the disk's "
	       "speed: reading alone %.2f s)\n",
	       (unsigned long long)stats.keys, hints, scan, 100 * disk / scan,
	       disk);
	bench_dir_remove(dir);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} parts[] = {
		{ "put", bench_put },	      { "sync", bench_sync },
		{ "amplify", bench_amplify }, { "memory", bench_memory },
		{ "restart", bench_restart },
	};
	bool all = true;
	struct seed seed;

	guard_install();
	log_set_level(LOG_WARN);
	seed_init(&seed, 7);
	for (size_t i = 0; i < sizeof(value); i += 8)
		put_u64(value + i, seed_next(&seed));
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--quick"))
			quick = true;
		else
			all = false;
	}
	for (int i = all ? 0 : 1; i < (all ? 1 : argc); i++) {
		const char *name = all ? NULL : argv[i];

		if (!name || !strcmp(name, "get"))
			bench_get(false);
		if (!name || !strcmp(name, "one"))
			bench_get(true);
		for (size_t p = 0; p < sizeof(parts) / sizeof(*parts); p++)
			if (!name || !strcmp(name, parts[p].name))
				parts[p].run();
	}
	return 0;
}
