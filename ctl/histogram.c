/*
 * ctl/histogram.c - see histogram.h.
 *
 * Below 64 each nanosecond has a bucket; above, the six bits behind the
 * highest one choose the step.
 */
#include "ctl/histogram.h"

static uint32_t bucket_of(uint64_t ns)
{
	int shift;

	if (ns < HISTOGRAM_STEPS)
		return (uint32_t)ns;
	shift = 63 - __builtin_clzll(ns) - 6;
	return (uint32_t)((shift + 1) * HISTOGRAM_STEPS) +
	       (uint32_t)(ns >> shift & (HISTOGRAM_STEPS - 1));
}

/* The largest duration that falls into bucket. */
static uint64_t end_of(uint32_t bucket)
{
	uint32_t shift = bucket / HISTOGRAM_STEPS;
	uint64_t step = bucket % HISTOGRAM_STEPS;

	if (shift == 0)
		return step;
	return ((HISTOGRAM_STEPS + step + 1) << (shift - 1)) - 1;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
	h->n[bucket_of(ns)]++;
	h->count++;
	h->sum_ns += ns;
	if (ns > h->max_ns)
		h->max_ns = ns;
}

void histogram_join(struct histogram *h, const struct histogram *other)
{
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		h->n[i] += other->n[i];
	h->count += other->count;
	h->sum_ns += other->sum_ns;
	if (other->max_ns > h->max_ns)
		h->max_ns = other->max_ns;
}

uint64_t histogram_share_ns(const struct histogram *h, double share)
{
	uint64_t wanted = (uint64_t)(share * (double)h->count), seen = 0;

	if (wanted < 1)
		wanted = 1;
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS && h->count; i++) {
		seen += h->n[i];
		if (seen >= wanted)
			return end_of(i) < h->max_ns ? end_of(i) : h->max_ns;
	}
	return h->max_ns;
}
