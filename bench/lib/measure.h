/*
 * bench/lib/measure.h - clocks, keys and directories of the benchmarks.
 *
 * One thread.
 */
#ifndef BENCH_LIB_MEASURE_H
#define BENCH_LIB_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Monotonic time in ns. */
uint64_t now_ns(void);

/* A new empty directory for one store, below $BENCH_DIR or build/bench. */
void bench_dir_new(char *dir, unsigned bytes);

/* Remove it with all that is in it. */
void bench_dir_remove(const char *dir);

/* Bytes of the files in dir, as ls would add them up; log: only *.log. */
uint64_t bench_dir_bytes(const char *dir);

/* Resident memory of this process, in bytes. */
uint64_t resident_bytes(void);

/* A 16-byte key that ends in its number: "key-000000000042". */
void bench_key(char key[17], uint64_t number);

/* n bytes, a multiple of 8, that do not compress; the same in every run. */
void bench_fill(void *p, size_t n);

struct bench_part {
	const char *name;
	void (*run)(void);
};

/*
 * A program's main: run the parts that argv names, in that order, or all.
 * *quick: --quick is there, false before. Log lines below a warning are left
 * out. A part that there is not ends the program with 2.
 */
void bench_run(int argc, char **argv, const struct bench_part *parts,
	       size_t count, bool *quick);

#endif
