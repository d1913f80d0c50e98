/*
 * bench/bench_grow.c - what grows with the number of keys, and with time.
 *
 *	bench_grow [--quick] [keys] [amplify]
 *
 * keys     1,000 to 10 million keys of 16 bytes, 128-byte values: get, put,
 *          memory a key, start from hints and by scanning the log, both cold
 * amplify  bytes written for each byte of user data: before any merge, and
 *          with merges going on while half of the data is dead
 *
 * No names: all of them. --quick: up to a million keys. Figures go where
 * bench/lib/emit.h puts them.
 */
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/seed.h"
#include "bench/lib/emit.h"
#include "bench/lib/kv.h"
#include "bench/lib/measure.h"
#include "engine/engine.h"

enum { VALUE_BYTES = 128, SEGMENTS_MAX = 4096 };

static bool quick;
static uint8_t value[65536];

static void die(const char *what)
{
	fprintf(stderr, "bench: %s\n", what);
	exit(1);
}

/* ------------------------------------------------------------- helpers --- */

static void drop_from_page_cache(const char *dir)
{
	char path[512];

	for (unsigned id = 0; id < SEGMENTS_MAX; id++) {
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

/* Seconds to read every byte of the log segments by pread, from the disk. */
static double read_seconds(const char *dir)
{
	static uint8_t block[1 << 20];
	uint64_t start = now_ns();
	char path[512];

	for (unsigned id = 0; id < SEGMENTS_MAX; id++) {
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

static void remove_hints(const char *dir)
{
	char path[512];

	for (unsigned id = 0; id < SEGMENTS_MAX; id++) {
		snprintf(path, sizeof(path), "%s/%08x.log.hint", dir, id);
		unlink(path);
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
			die("no thread");
	}
	for (int i = 0; i < threads; i++)
		pthread_join(s[i].thread, NULL);
}

/* With a clock of one's own: what is half dead is merged, at any rate. */
static struct engine *open_engine(const char *dir, struct seed *seed,
				  struct clock_sim *merging,
				  uint64_t segment_bytes)
{
	struct engine_options o;
	struct engine *e;
	struct buf why = BUF_INIT;

	engine_options_default(&o);
	seed_init(seed, 1);
	o.vfs = vfs_os();
	o.clock = merging ? &merging->clock : clock_os();
	o.seed = seed;
	o.dir = dir;
	o.partitions = 1;
	o.parallel = run_parallel;
	if (merging) {
		o.segment_bytes = segment_bytes;
		o.merge.rate_bytes_per_s = 0;
		o.merge.dead_ratio = 0.5;
		o.merge.dead_bytes = UINT64_MAX;
		o.merge.small_file_bytes = segment_bytes / 8;
	}
	if (engine_open(&o, &e, &why)) {
		fprintf(stderr, "bench: %.*s\n", (int)why.n,
			(const char *)why.p);
		exit(1);
	}
	return e;
}

/* A bijection of 0..2^40-1 cut to the key, so that keys come in no order. */
static void scattered_key(char key[17], uint64_t i)
{
	bench_key(key, i * 0x9e3779b97f4a7c15ull >> 24);
}

static void put_scattered(struct engine *e, uint64_t i, size_t value_bytes)
{
	char key[17];

	scattered_key(key, i);
	if (engine_put(e, 0, bytes_of(key, 16), bytes_of(value, value_bytes),
		       false))
		die("put failed");
}

/* Background work until nothing is due; bounded, for it may go on for ever. */
static void keep_all(struct engine *e)
{
	uint64_t wait_ms = 0;

	for (int i = 0; i < 100000 && wait_ms == 0; i++)
		if (engine_keep(e, &wait_ms))
			die("background work failed");
}

/* Anonymous memory of this process: what is mapped from files is the disk's. */
static uint64_t anonymous_bytes(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	unsigned long long kib = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %llu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib << 10;
}

/* ---------------------------------------------------------------- keys --- */

/* ns a get of random keys by one of the n that are there. */
static double get_ns(const struct kv_kind *kind, struct kv *kv, uint64_t n,
		     uint64_t round)
{
	enum { OPS = 200000 };
	static char keys[OPS][17];
	static uint8_t got[VALUE_BYTES];
	struct seed seed;
	uint64_t start;

	seed_init(&seed, round);
	for (int i = 0; i < OPS; i++)
		bench_key(keys[i], seed_below(&seed, n));
	start = now_ns();
	for (int i = 0; i < OPS; i++)
		if (kind->get(kv, keys[i], 16, got, sizeof(got)) != VALUE_BYTES)
			die("get failed");
	return (double)(now_ns() - start) / OPS;
}

static void grow_gets(uint64_t n)
{
	static const struct kv_kind *const kinds[] = { &kv_engine_mmap,
						       &kv_bare_copy,
						       &kv_lmdb };
	enum { N = sizeof(kinds) / sizeof(*kinds), PEER_KEYS_MAX = 1000000 };
	struct kv *kv[N] = { 0 };
	char dir[N][256], key[17];
	uint64_t start;

	for (int k = 0; k < N; k++) {
		if (kinds[k] == &kv_lmdb && n > PEER_KEYS_MAX)
			continue;
		bench_dir_new(dir[k], sizeof(dir[k]));
		kv[k] = kinds[k]->open(dir[k], VALUE_BYTES, n);
		if (!kv[k])
			exit(1);
		start = now_ns();
		for (uint64_t i = 0; i < n; i++) {
			bench_key(key, i);
			if (!kinds[k]->put(kv[k], key, 16, value, VALUE_BYTES,
					   false))
				die("put failed");
		}
		emit_figure_at("keys", n, kinds[k]->name, "put in order", "ns",
			       0, (double)(now_ns() - start) / (double)n);
		kinds[k]->settle(kv[k]);
		get_ns(kinds[k], kv[k], n, 99);
	}
	for (uint64_t r = 0; r < 3; r++)
		for (int k = 0; k < N; k++)
			if (kv[k])
				emit_figure_at("keys", n, kinds[k]->name, "get",
					       "ns", (int)r,
					       get_ns(kinds[k], kv[k], n, r));
	for (int k = 0; k < N; k++) {
		if (!kv[k])
			continue;
		kinds[k]->close(kv[k]);
		bench_dir_remove(dir[k]);
	}
}

static double open_seconds(const char *dir, uint64_t keys_expected)
{
	struct engine_stats stats;
	struct seed seed;
	uint64_t start = now_ns(), ns;
	struct engine *e = open_engine(dir, &seed, NULL, 0);

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

static void grow_restart(const char *dir, uint64_t n, uint64_t keys)
{
	int rounds = n > 1000000 ? 1 : 3;

	for (int r = 0; r < rounds; r++) {
		drop_from_page_cache(dir);
		emit_figure_at("restart", n, "raftcask from hints", "time", "s",
			       r, open_seconds(dir, keys));
	}
	remove_hints(dir);
	for (int r = 0; r < rounds; r++) {
		drop_from_page_cache(dir);
		emit_figure_at("restart", n, "reading the files", "time", "s",
			       r, read_seconds(dir));
		drop_from_page_cache(dir);
		emit_figure_at("restart", n, "raftcask by scanning", "time",
			       "s", r, open_seconds(dir, keys));
		remove_hints(dir);
	}
}

static void grow_memory(uint64_t n)
{
	struct engine_stats stats;
	uint64_t before, start;
	struct seed seed;
	char dir[256];
	struct engine *e;

	bench_dir_new(dir, sizeof(dir));
	malloc_trim(0);
	before = anonymous_bytes();
	e = open_engine(dir, &seed, NULL, 0);
	start = now_ns();
	for (uint64_t i = 0; i < n; i++)
		put_scattered(e, i, VALUE_BYTES);
	emit_figure_at("keys", n, "raftcask", "put in no order", "ns", 0,
		       (double)(now_ns() - start) / (double)n);
	if (engine_flush(e))
		die("flush failed");
	engine_stats(e, &stats);
	emit_figure_at("memory", n, "raftcask", "key directory",
		       "B a key beyond the key", 0,
		       (double)stats.keydir_bytes / (double)stats.keys - 16);
	emit_figure_at("memory", n, "raftcask", "process",
		       "B a key, anonymous, all told", 0,
		       (double)(anonymous_bytes() - before) /
			       (double)stats.keys);
	keep_all(e);
	engine_close(e);
	grow_restart(dir, n, stats.keys);
	bench_dir_remove(dir);
}

static void bench_keys(void)
{
	uint64_t most = quick ? 1000000 : 10000000;

	emit_table("keys", "128-byte values", "keys", "line");
	emit_table("memory", "memory, 16-byte keys put in no order", "keys",
		   "line");
	emit_table("restart", "start of the engine, cold", "keys", "line");
	emit_note("keys", "bare copy has no index: how far it rises is the "
			  "processor's caches and page tables.");
	emit_note("keys", "LMDB is measured up to a million keys.");
	for (uint64_t n = 1000; n <= most; n *= 10) {
		grow_gets(n);
		grow_memory(n);
	}
}

/* ------------------------------------------------------------- amplify --- */

static void amplify_append(size_t value_bytes)
{
	uint64_t n = (64u << 20) / value_bytes;
	struct engine_stats stats;
	struct seed seed;
	char dir[256];
	struct engine *e;

	bench_dir_new(dir, sizeof(dir));
	e = open_engine(dir, &seed, NULL, 0);
	for (uint64_t i = 0; i < n; i++)
		put_scattered(e, i, value_bytes);
	if (engine_flush(e))
		die("flush failed");
	engine_stats(e, &stats);
	emit_figure_at("amplify", value_bytes, "raftcask", "written",
		       "B a byte of key and value", 0,
		       (double)stats.bytes_appended /
			       (double)(n * (value_bytes + 16)));
	engine_close(e);
	bench_dir_remove(dir);
}

/*
 * n keys are overwritten at random, until user data of six times their size
 * has been written; the second half counts, when old files and new ones are as
 * dead as they stay. The keeper looks for work once a second: one passes with
 * each quarter of a segment, however fast the disk is.
 */
static void amplify_merged(size_t value_bytes)
{
	enum { TIMES = 6 };
	uint64_t n = (quick ? 24u << 20 : 96u << 20) / value_bytes;
	struct engine_stats before = { 0 }, after;
	uint64_t user_bytes = 0, since_keep = 0;
	uint64_t segment_bytes = quick ? 4u << 20 : 16u << 20;
	struct seed seed, keys;
	struct clock_sim clock;
	char dir[256];
	struct engine *e;

	clock_sim_init(&clock, 1000000000);
	bench_dir_new(dir, sizeof(dir));
	e = open_engine(dir, &seed, &clock, segment_bytes);
	seed_init(&keys, 3);
	for (uint64_t i = 0; i < n * (TIMES + 1); i++) {
		put_scattered(e, i < n ? i : seed_below(&keys, n), value_bytes);
		if (i >= n * (TIMES + 1) / 2)
			user_bytes += value_bytes + 16;
		since_keep += value_bytes;
		if (since_keep >= segment_bytes / 4) {
			since_keep = 0;
			clock.mono += 1000000000;
			if (engine_flush(e))
				die("flush failed");
			keep_all(e);
		}
		if (i == n * (TIMES + 1) / 2)
			engine_stats(e, &before);
	}
	if (engine_flush(e))
		die("flush failed");
	engine_stats(e, &after);
	if (after.merges == before.merges)
		die("no merge happened");
	emit_figure_at("amplify", value_bytes, "raftcask, merging", "written",
		       "B a byte of key and value", 0,
		       (double)(after.bytes_appended - before.bytes_appended +
				after.merge_bytes_written -
				before.merge_bytes_written) /
			       (double)user_bytes);
	emit_figure_at("amplify", value_bytes, "raftcask, merging", "kept",
		       "B a byte of live data", 0,
		       (double)(after.log_bytes + after.merged_bytes) /
			       (double)(n * (value_bytes + 16)));
	engine_close(e);
	bench_dir_remove(dir);
}

static void bench_amplify(void)
{
	static const size_t sizes[] = { 128, 1024, 4096, 32768 };

	emit_table("amplify", "bytes written, batched puts", "value bytes",
		   "line");
	emit_note("amplify", "Merging: random overwrites for ever, files of "
			     "which half is dead are merged. Hints, 32 bytes "
			     "and the key for each record, do not count.");
	for (int s = 0; s < 4; s++) {
		amplify_append(sizes[s]);
		amplify_merged(sizes[s]);
	}
}

int main(int argc, char **argv)
{
	static const struct bench_part parts[] = {
		{ "keys", bench_keys },
		{ "amplify", bench_amplify },
	};

	bench_fill(value, sizeof(value));
	bench_run(argc, argv, parts, sizeof(parts) / sizeof(*parts), &quick);
	return 0;
}
