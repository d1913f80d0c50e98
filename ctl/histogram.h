/*
 * ctl/histogram.h - how long things took, to 1.6 % and in little memory.
 *
 * A duration falls into one of 64 steps of its power of two. Thread: one at a
 * time for each histogram.
 */
#ifndef CTL_HISTOGRAM_H
#define CTL_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_STEPS = 64, HISTOGRAM_BUCKETS = 59 * HISTOGRAM_STEPS };

/* Zeroed: empty. */
struct histogram {
	uint64_t n[HISTOGRAM_BUCKETS];
	uint64_t count, sum_ns, max_ns;
};

/* One more. */
void histogram_add(struct histogram *h, uint64_t ns);

/* All of other, too. */
void histogram_join(struct histogram *h, const struct histogram *other);

/* What share (0..1) of them did not take longer than; 0: there are none. */
uint64_t histogram_share_ns(const struct histogram *h, double share);

#endif
