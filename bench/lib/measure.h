/*
 * bench/lib/measure.h - rounds, medians and ratios.
 *
 * These machines are noisy: every figure is the median of several rounds in
 * which all candidates take turns, and what is compared is a ratio of two
 * medians of the same run. One thread.
 */
#ifndef BENCH_LIB_MEASURE_H
#define BENCH_LIB_MEASURE_H

#include <stdint.h>

enum { MEASURE_ROUNDS_MAX = 15 };

struct samples {
	double v[MEASURE_ROUNDS_MAX];
	int n;
};

/* Monotonic time in ns. */
uint64_t now_ns(void);

/* Keep one figure of a round; beyond MEASURE_ROUNDS_MAX it is dropped. */
void samples_add(struct samples *s, double v);

/* The middle value; 0 when empty. */
double samples_median(const struct samples *s);

/* Half the distance between the quartiles, as a share of the median. */
double samples_spread(const struct samples *s);

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

#endif
