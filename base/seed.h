/*
 * base/seed.h - the seam to chance.
 *
 * A struct seed is a small deterministic generator (xoshiro256**, Blackman and
 * Vigna 2018, seeded by splitmix64). The daemon fills one from the system's
 * entropy; a simulation or test from a number that it prints.
 * Thread: a seed belongs to one thread at a time.
 */
#ifndef BASE_SEED_H
#define BASE_SEED_H

#include <stdint.h>

#include "base/err.h"

struct seed {
	uint64_t s[4];
};

/* Start the sequence that number n stands for. */
void seed_init(struct seed *s, uint64_t n);

/* Start from getrandom(2). ERR_IO: the system has no entropy to give. */
MUST_CHECK enum err seed_init_os(struct seed *s);

/* The next 64 bits. */
uint64_t seed_next(struct seed *s);

/* Uniform in 0..bound-1; bound is at least 1. */
uint64_t seed_below(struct seed *s, uint64_t bound);

#endif
