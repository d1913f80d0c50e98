/*
 * Sleeping and waking, and work spread over threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <poll.h>
#include <pthread.h>

#include <cmocka.h>

#include "base/clock.h"

#include "node/parallel.h"
#include "node/wake.h"

enum { ROUNDS = 20000, WAKERS = 3 };

static void a_wake_before_the_sleep_ends_it(void **state)
{
	struct wake w;

	wake_init(&w);
	wake_up(&w);
	wake_up(&w);
	assert_true(wake_wait(&w, 60000));
	assert_false(wake_wait(&w, 1));
}

static void without_a_wake_the_time_runs_out(void **state)
{
	uint64_t from = clock_mono_ns(clock_os());
	struct wake w;

	wake_init(&w);
	assert_false(wake_wait(&w, 30));
	assert_true(clock_mono_ns(clock_os()) - from >= 29000000);
}

struct rally {
	struct wake w;
	_Atomic uint64_t sent;
	_Atomic bool done;
};

static void *send_many(void *arg)
{
	struct rally *r = arg;

	for (int i = 0; i < ROUNDS; i++) {
		atomic_fetch_add(&r->sent, 1);
		wake_up(&r->w);
	}
	return NULL;
}

/*
 * The sleeper sleeps only when it has seen all that was sent: with a wake lost
 * it would sleep out its minute.
 */
static void no_wake_is_lost_between_threads(void **state)
{
	uint64_t from = clock_mono_ns(clock_os()), seen = 0;
	pthread_t thread[WAKERS];
	struct rally r = { .sent = 0 };

	wake_init(&r.w);
	for (int i = 0; i < WAKERS; i++)
		assert_int_equal(
			pthread_create(&thread[i], NULL, send_many, &r), 0);
	while (seen < (uint64_t)ROUNDS * WAKERS) {
		uint64_t now = atomic_load(&r.sent);

		if (now == seen)
			wake_wait(&r.w, 60000);
		seen = now;
	}
	for (int i = 0; i < WAKERS; i++)
		pthread_join(thread[i], NULL);
	assert_true(clock_mono_ns(clock_os()) - from < 50000000000u);
}

static void a_poller_is_woken_like_a_sleeper(void **state)
{
	struct pollfd p = { .events = POLLIN };
	struct wake w;

	assert_int_equal(wake_open(&w), OK);
	p.fd = w.fd;
	wake_up(&w); /* awake: only the flag */
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_true(wake_begin(&w));
	assert_true(wake_end(&w));
	assert_false(wake_begin(&w));
	wake_up(&w); /* asleep: the descriptor too */
	assert_int_equal(poll(&p, 1, 0), 1);
	assert_true(wake_end(&w));
	assert_false(wake_begin(&w));
	assert_false(wake_end(&w));
	wake_close(&w);
}

static void count_one(void *arg, uint32_t i)
{
	_Atomic uint32_t *counts = arg;

	atomic_fetch_add(&counts[i], 1);
}

static void every_part_of_a_job_is_done_once(void **state)
{
	static _Atomic uint32_t counts[1000];

	parallel_run(count_one, counts, 0);
	parallel_run(count_one, counts, 1);
	parallel_run(count_one, counts, 1000);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(counts[i], i ? 1 : 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wake_before_the_sleep_ends_it),
		cmocka_unit_test(without_a_wake_the_time_runs_out),
		cmocka_unit_test(no_wake_is_lost_between_threads),
		cmocka_unit_test(a_poller_is_woken_like_a_sleeper),
		cmocka_unit_test(every_part_of_a_job_is_done_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
