/*
 * What bench asks for and how it counts: distributions, values, percentiles.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Programs are not in the library: the files under test come whole. */
#include "ctl/bench_work.c"
#include "ctl/histogram.c"

static void percentiles_are_within_two_percent(void **state)
{
	static struct histogram h, other;
	const double shares[] = { 0.01, 0.5, 0.9, 0.99, 0.999, 1 };

	(void)state;
	assert_int_equal(histogram_share_ns(&h, 0.5), 0);
	for (uint64_t i = 1; i <= 1000000; i++)
		histogram_add(i % 2 ? &h : &other, i * 1000);
	histogram_join(&h, &other);
	assert_int_equal(h.count, 1000000);
	assert_int_equal(h.max_ns, 1000000000);
	assert_int_equal(h.sum_ns, 500000500000000);
	for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
		double want = shares[i] * 1e9;
		double got = (double)histogram_share_ns(&h, shares[i]);

		assert_true(got >= want * 0.999);
		assert_true(got <= want * 1.017);
	}
}

/* The smallest, the largest, and every power of two with its neighbours. */
static void every_duration_has_a_place(void **state)
{
	uint32_t last = 0;

	(void)state;
	for (int bit = 0; bit < 64; bit++) {
		for (int d = -1; d <= 1; d++) {
			uint64_t ns = (1ull << bit) + (uint64_t)(int64_t)d;
			uint32_t bucket = bucket_of(ns);

			assert_true(bucket < HISTOGRAM_BUCKETS);
			assert_true(bucket >= last);
			assert_true(end_of(bucket) >= ns);
			if (bucket)
				assert_true(end_of(bucket - 1) < ns);
			if (d == 0)
				last = bucket;
		}
	}
	assert_int_equal(bucket_of(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void count_ranks(struct bench *b, uint64_t *ranks, uint64_t n)
{
	struct seed seed;

	seed_init(&seed, 5);
	assert_int_equal(bench_prepare(b), OK);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t rank = zipf_rank(b, &seed);

		assert_in_range(rank, 1, b->keys);
		ranks[rank - 1]++;
	}
	free(b->bytes);
}

/* In proportion to rank^-0.99, for few keys as for many. */
static void zipf_is_zipf(void **state)
{
	const uint64_t keys[] = { 1, 2, 10, 1000 };
	enum { DRAWS = 400000 };

	(void)state;
	for (int k = 0; k < 4; k++) {
		struct bench b = { .keys = keys[k], .value_bytes = 1 };
		uint64_t *ranks = calloc(keys[k], sizeof(*ranks));
		double sum = 0;

		count_ranks(&b, ranks, DRAWS);
		for (uint64_t i = 1; i <= keys[k]; i++)
			sum += pow((double)i, -ZIPF_EXPONENT);
		for (uint64_t i = 1; i <= keys[k]; i++) {
			double want =
				DRAWS * pow((double)i, -ZIPF_EXPONENT) / sum;
			double slack = 5 * sqrt(want) + 1;

			assert_true(fabs((double)ranks[i - 1] - want) < slack);
		}
		free(ranks);
	}
}

static void keys_follow_the_distribution(void **state)
{
	struct bench b = { .keys = 50, .requests = 20000, .value_bytes = 8 };
	struct bench_worker w = { .b = &b };
	const char *const types[] = { "W", "R", "RW", "D" };
	struct bench_job j;

	(void)state;
	seed_init(&w.seed, 3);
	assert_int_equal(bench_prepare(&b), OK);
	for (int dist = 0; dist < 3; dist++) {
		uint64_t seen[50] = { 0 }, most = 0, taken = 0;

		b.dist = (enum bench_dist)dist;
		b.type = types[dist];
		atomic_store(&b.next, 0);
		for (; bench_take(&w, &j); taken++) {
			assert_in_range(j.key, 0, 49);
			seen[j.key]++;
		}
		assert_int_equal(taken, b.requests);
		for (int i = 0; i < 50; i++) {
			assert_true(seen[i] > 0);
			most = seen[i] > most ? seen[i] : most;
		}
		if (dist == BENCH_SEQ)
			assert_int_equal(most, 400);
		if (dist == BENCH_UNIFORM)
			assert_in_range(most, 400, 520);
		if (dist == BENCH_ZIPF)
			assert_in_range(most, 4000, 5000);
	}
	free(b.bytes);
}

static struct bytes join(const struct bench_job *j, uint8_t *room)
{
	memcpy(room, j->value[0].p, j->value[0].n);
	memcpy(room + j->value[0].n, j->value[1].p, j->value[1].n);
	return bytes_of(room, j->value[0].n + j->value[1].n);
}

/* Of every size; and what is not as written is seen, to the bit. */
static void a_wrong_value_is_seen(void **state)
{
	const uint64_t sizes[] = { 1, 15, 16, 17, 1000, 100000 };
	uint8_t *room = malloc(100000);

	(void)state;
	for (int i = 0; i < 6; i++) {
		struct bench b = { .keys = 9,
				   .requests = 9,
				   .type = "W",
				   .value_bytes = sizes[i],
				   .verify = true };
		struct bench_worker w = { .b = &b };
		struct bench_job j;
		struct bytes value;

		assert_int_equal(bench_prepare(&b), OK);
		assert_true(bench_take(&w, &j));
		value = join(&j, room);
		assert_int_equal(value.n, sizes[i]);
		assert_true(is_value(&b, &j, value));
		for (uint64_t at = 0; at < sizes[i]; at += sizes[i] / 7 + 1) {
			room[at] ^= 4;
			assert_false(is_value(&b, &j, value));
			room[at] ^= 4;
		}
		assert_false(is_value(&b, &j, bytes_of(room, value.n - 1)));
		b.type = "RW"; /* another run's size will do, its bytes not */
		b.value_bytes = 5000;
		assert_true(is_value(&b, &j, value));
		if (sizes[i] > 16) {
			room[sizes[i] / 2] ^= sizes[i] < 5000;
			assert_int_equal(is_value(&b, &j, value),
					 sizes[i] >= 5000);
		}
		free(b.bytes);
	}
	free(room);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(percentiles_are_within_two_percent),
		cmocka_unit_test(every_duration_has_a_place),
		cmocka_unit_test(zipf_is_zipf),
		cmocka_unit_test(keys_follow_the_distribution),
		cmocka_unit_test(a_wrong_value_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
