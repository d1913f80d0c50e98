/*
 * bench/bench_seeds.c - raft-kv's table of its Bitcask, measured here.
 *
 *	bench_seeds [--quick]
 *
 * One key got again and again, by file and by mapping, and puts, durable by
 * file and not durable by mapping, at the sizes of the table. Its own figures,
 * of an Apple M1 as published, stand beside: another machine, so only their
 * order of magnitude says something. Figures go where bench/lib/emit.h puts
 * them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "bench/lib/emit.h"
#include "bench/lib/kv.h"
#include "bench/lib/measure.h"

struct row {
	size_t value_bytes;
	double get_file_ns, get_map_ns, put_file_us, put_map_us; /* 0: none */
};

/* Its synced puts took 3.7 to 4.4 ms at every size: the best of that. */
static const struct row published[] = {
	{ 128, 1729, 134, 3700, 23 },	  { 256, 0, 157, 3700, 0 },
	{ 512, 0, 210, 3700, 0 },	  { 1024, 1917, 338, 3700, 83 },
	{ 2048, 0, 562, 3700, 0 },	  { 4096, 2563, 1013, 3700, 97 },
	{ 8192, 0, 1909, 3700, 0 },	  { 16384, 0, 3581, 3700, 0 },
	{ 32768, 9438, 7392, 3700, 124 },
};

static const char *const seed = "raft-kv, its figures";
static uint8_t value[32768];

static double gets(const struct kv_kind *kind, struct kv *kv, uint64_t ops)
{
	static uint8_t got[sizeof(value)];
	uint64_t start = now_ns();
	char key[17];

	bench_key(key, 1);
	for (uint64_t i = 0; i < ops; i++)
		if (kind->get(kv, key, 16, got, sizeof(got)) == 0)
			exit(1);
	return (double)(now_ns() - start) / (double)ops;
}

static double puts_of(const struct kv_kind *kind, struct kv *kv,
		      size_t value_bytes, bool sync, uint64_t ops)
{
	uint64_t start = now_ns();
	char key[17];

	for (uint64_t i = 0; i < ops; i++) {
		bench_key(key, i);
		if (!kind->put(kv, key, 16, value, value_bytes, sync))
			exit(1);
	}
	return (double)(now_ns() - start) / (double)ops / 1000;
}

static void emit_seed(const char *table, size_t x, const char *unit, int round,
		      double v)
{
	if (v > 0)
		emit_figure_at(table, x, seed, "time", unit, round, v);
}

static void measure(const struct row *row, bool quick, bool map)
{
	const struct kv_kind *kind = map ? &kv_engine_mmap : &kv_engine_pread;
	const char *get = map ? "raftkv-get-mmap" : "raftkv-get-file";
	const char *put = map ? "raftkv-put-mmap" : "raftkv-put-file";
	uint64_t put_ops = quick ? 50 : 300;
	struct kv *kv;
	char dir[256];
	double v;

	if (map)
		put_ops = (quick ? 16u << 20 : 64u << 20) / row->value_bytes;
	bench_dir_new(dir, sizeof(dir));
	kv = kind->open(dir, row->value_bytes, put_ops);
	if (!kv)
		exit(1);
	for (int r = 0; r < (quick ? 3 : 5); r++) {
		v = puts_of(kind, kv, row->value_bytes, !map, put_ops);
		emit_figure_at(put, row->value_bytes, "raftcask", "time", "us",
			       r, v);
		emit_seed(put, row->value_bytes, "us", r,
			  map ? row->put_map_us : row->put_file_us);
		kind->settle(kv);
		v = gets(kind, kv, quick ? 20000 : 200000);
		emit_figure_at(get, row->value_bytes, "raftcask", "time", "ns",
			       r, v);
		emit_seed(get, row->value_bytes, "ns", r,
			  map ? row->get_map_ns : row->get_file_ns);
	}
	kind->close(kv);
	bench_dir_remove(dir);
}

int main(int argc, char **argv)
{
	bool quick = argc > 1 && !strcmp(argv[1], "--quick");

	log_set_level(LOG_WARN);
	memset(value, 'v', sizeof(value));
	emit_table("raftkv-get-file", "raft-kv's table: Get, file I/O",
		   "value bytes", "line");
	emit_table("raftkv-put-file", "raft-kv's table: Put, synced",
		   "value bytes", "line");
	emit_table("raftkv-get-mmap", "raft-kv's table: Get, mmap",
		   "value bytes", "line");
	emit_table("raftkv-put-mmap", "raft-kv's table: Put, mmap, not durable",
		   "value bytes", "line");
	emit_note("raftkv-get-file",
		  "The seed's figures are those it published, of an Apple M1.");
	for (size_t i = 0; i < sizeof(published) / sizeof(*published); i++) {
		measure(&published[i], quick, false);
		measure(&published[i], quick, true);
	}
	return 0;
}
