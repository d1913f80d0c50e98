/*
 * base/seed.c - xoshiro256** 1.0 (Blackman and Vigna 2018).
 *
 * 256 bits of state, period 2^256 - 1, passes every published statistical
 * test; not for secrets. splitmix64 spreads the seeding number over the state,
 * which must not be all zero: four consecutive splitmix64 outputs never are.
 */
#include "base/seed.h"

#include "base/check.h"

static uint64_t splitmix(uint64_t *x)
{
	uint64_t z = (*x += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint64_t rotate_left(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

void seed_init(struct seed *s, uint64_t n)
{
	for (int i = 0; i < 4; i++)
		s->s[i] = splitmix(&n);
}

uint64_t seed_next(struct seed *s)
{
	uint64_t result = rotate_left(s->s[1] * 5, 7) * 9;
	uint64_t t = s->s[1] << 17;

	s->s[2] ^= s->s[0];
	s->s[3] ^= s->s[1];
	s->s[1] ^= s->s[2];
	s->s[0] ^= s->s[3];
	s->s[2] ^= t;
	s->s[3] = rotate_left(s->s[3], 45);
	return result;
}

/*
 * Lemire's multiplication, with rejection of the few values that would make
 * the low results more frequent.
 */
uint64_t seed_below(struct seed *s, uint64_t bound)
{
	unsigned __int128 m;
	uint64_t floor;

	CHECK(bound >= 1);
	floor = -bound % bound;
	do
		m = (unsigned __int128)seed_next(s) * bound;
	while ((uint64_t)m < floor);
	return (uint64_t)(m >> 64);
}
