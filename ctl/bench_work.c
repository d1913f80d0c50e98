/*
 * ctl/bench_work.c - see bench.h.
 *
 * The value of a key depends on key and size alone: a stamp with the key's
 * number, then a piece of random bytes that begins somewhere else for each key.
 * So who reads knows what must come, whoever wrote it, and making a value
 * copies nothing.
 *
 * zipf: rank k is chosen in proportion to k^-0.99, by rejection-inversion
 * (Hoermann and Derflinger 1996), which needs no table; ranks are spread over
 * the keys, so that the hot ones are no neighbours.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/bench.h"

#define ZIPF_EXPONENT 0.99
#define SPREAD	      2654435761u /* a prime */

/* ------------------------------------------------------------------ keys - */

/* The integral of x^-s, and its inverse. */
static double integral(double x)
{
	double l = log(x), t = (1 - ZIPF_EXPONENT) * l;

	return (fabs(t) > 1e-8 ? expm1(t) / t : 1 + t / 2) * l;
}

static double integral_inverse(double y)
{
	double t = y * (1 - ZIPF_EXPONENT);

	if (t < -1)
		t = -1;
	return exp((fabs(t) > 1e-8 ? log1p(t) / t : 1 - t / 2) * y);
}

static double density(double x)
{
	return exp(-ZIPF_EXPONENT * log(x));
}

static void prepare_zipf(struct bench *b)
{
	b->zipf.x1 = integral(1.5) - 1;
	b->zipf.n = integral((double)b->keys + 0.5);
	b->zipf.s = 2 - integral_inverse(integral(2.5) - density(2));
}

/* 0 up to, without, 1. */
static double random_share(struct seed *seed)
{
	return (double)(seed_next(seed) >> 11) / 9007199254740992.0;
}

/* A rank from 1 to keys. */
static uint64_t zipf_rank(const struct bench *b, struct seed *seed)
{
	for (;;) {
		double u = b->zipf.n +
			   random_share(seed) * (b->zipf.x1 - b->zipf.n);
		double x = integral_inverse(u), k = floor(x + 0.5);

		if (k < 1)
			k = 1;
		if (k > (double)b->keys)
			k = (double)b->keys;
		if (k - x <= b->zipf.s || u >= integral(k + 0.5) - density(k))
			return (uint64_t)k;
	}
}

static uint64_t choose_key(struct bench_worker *w, uint64_t i)
{
	struct bench *b = w->b;

	if (b->is_check)
		return i;
	switch (b->dist) {
	case BENCH_SEQ:
		break;
	case BENCH_UNIFORM:
		return seed_below(&w->seed, b->keys);
	case BENCH_ZIPF:
		return (zipf_rank(b, &w->seed) - 1) * SPREAD % b->keys;
	}
	return i % b->keys;
}

/* ---------------------------------------------------------------- values - */

enum err bench_prepare(struct bench *b)
{
	size_t n = b->value_bytes + BENCH_SLIDE_BYTES + 8;
	struct seed seed;

	prepare_zipf(b);
	b->bytes = malloc(n);
	if (!b->bytes)
		return ERR_NOMEM;
	seed_init(&seed, 1);
	for (size_t i = 0; i + 8 <= n; i += 8)
		put_u64(b->bytes + i, seed_next(&seed));
	return OK;
}

static void make_stamp(uint8_t *stamp, uint64_t key, uint64_t value_bytes)
{
	put_u64(stamp, key);
	put_u64(stamp + 8, key * 0x9e3779b97f4a7c15 ^ value_bytes);
}

static void make_value(const struct bench *b, struct bench_job *j)
{
	size_t n = b->value_bytes, stamp = sizeof(j->stamp);

	make_stamp(j->stamp, j->key, n);
	if (stamp > n)
		stamp = n;
	j->value[0] = bytes_of(j->stamp, stamp);
	j->value[1] =
		bytes_of(b->bytes + j->key * 64 % BENCH_SLIDE_BYTES, n - stamp);
}

static bool is_size_known(const struct bench *b)
{
	return strcmp(b->type, "R") == 0 ||
	       (strcmp(b->type, "W") == 0 && b->dist == BENCH_SEQ);
}

/*
 * What this run would have written; or, where a key may be left from an earlier
 * run with another size, what that one would have: as far as it can be told.
 */
static bool is_value(const struct bench *b, const struct bench_job *j,
		     struct bytes body)
{
	uint8_t stamp[BENCH_STAMP_BYTES];
	size_t stamp_bytes = sizeof(stamp), n;

	if (body.n != b->value_bytes && is_size_known(b))
		return false;
	if (stamp_bytes > body.n)
		stamp_bytes = body.n;
	make_stamp(stamp, j->key, body.n);
	n = body.n - stamp_bytes;
	if (n > b->value_bytes)
		n = b->value_bytes;
	return bytes_equal(bytes_of(body.p, stamp_bytes),
			   bytes_of(stamp, stamp_bytes)) &&
	       bytes_equal(
		       bytes_of(body.p + stamp_bytes, n),
		       bytes_of(b->bytes + j->key * 64 % BENCH_SLIDE_BYTES, n));
}

/* ------------------------------------------------------------------ work - */

static const char *method_of(const struct bench *b, uint64_t i)
{
	if (b->is_check)
		return "GET";
	if (strcmp(b->type, "RW") == 0)
		return i % 2 ? "GET" : "PUT";
	return b->type[0] == 'W' ? "PUT" : b->type[0] == 'R' ? "GET" : "DELETE";
}

bool bench_take(struct bench_worker *w, struct bench_job *j)
{
	struct bench *b = w->b;
	uint64_t i;

	if (atomic_load_explicit(&b->stop, memory_order_relaxed))
		return false;
	i = atomic_fetch_add_explicit(&b->next, 1, memory_order_relaxed);
	if (i >= (b->is_check ? b->keys : b->requests))
		return false;
	j->method = method_of(b, i);
	j->key = choose_key(w, i);
	snprintf(j->path, sizeof(j->path), "/_/kv/bench/%" PRIu64 "%s", j->key,
		 j->method[0] == 'D' ? "" : "?raw");
	make_value(b, j);
	return true;
}

static void note(struct bench_worker *w, _Atomic uint64_t *count,
		 const char *why, long status)
{
	atomic_fetch_add(count, 1);
	if (w->word[0])
		return;
	if (why)
		snprintf(w->word, sizeof(w->word), "%s", why);
	else
		snprintf(w->word, sizeof(w->word), "a node answered %ld",
			 status);
}

void bench_done(struct bench_worker *w, const struct bench_job *j,
		uint64_t took_ns, long status, struct bytes body,
		const char *why)
{
	struct bench *b = w->b;
	bool read = j->method[0] == 'G';

	histogram_add(&w->took, took_ns);
	if (status == 404 && read)
		atomic_fetch_add(&b->missing, 1);
	else if (status / 100 != 2)
		note(w, &b->failed, why, status);
	else if (read && b->verify && (b->want_gone || !is_value(b, j, body)))
		note(w, &b->wrong, "a value is not what was written", status);
}
