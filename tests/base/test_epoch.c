/*
 * tests/base/test_epoch.c - nothing is released while a reader that could see
 * it is inside; everything is, once they have left.
 */
#include "base/epoch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

enum { MANY = 5000, THREADS = 3, ROUNDS = 20000 };

static void count_release(void *ctx, uint64_t ref)
{
	__atomic_add_fetch((uint64_t *)ctx, ref, __ATOMIC_RELAXED);
}

static struct epoch *new_epoch(void)
{
	struct epoch *e;

	assert_int_equal(epoch_new(&e), OK);
	return e;
}

static void collect_releases_all_when_nobody_is_inside(void **state)
{
	struct epoch *e = new_epoch();
	uint64_t sum = 0;

	for (int i = 0; i < MANY; i++)
		assert_int_equal(epoch_retire(e, count_release, &sum, 1), OK);
	epoch_collect(e);
	assert_int_equal(sum, MANY);
	epoch_collect(e);
	assert_int_equal(sum, MANY);
	epoch_free(e);
}

static void retiring_alone_keeps_the_backlog_small(void **state)
{
	struct epoch *e = new_epoch();
	uint64_t sum = 0;

	for (int i = 0; i < MANY; i++) {
		assert_int_equal(epoch_retire(e, count_release, &sum, 1), OK);
		assert_true((uint64_t)i + 1 - sum <= 300);
	}
	epoch_free(e);
	assert_int_equal(sum, MANY);
}

static void nothing_is_released_while_a_reader_is_inside(void **state)
{
	struct epoch *e = new_epoch();
	uint64_t before = 0, during = 0;

	assert_int_equal(epoch_retire(e, count_release, &before, 1), OK);
	epoch_enter(e);
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(epoch_retire(e, count_release, &during, 1),
				 OK);
		if (i % 100 == 0)
			epoch_collect(e);
	}
	assert_int_equal(during, 0);
	epoch_exit(e);
	epoch_collect(e);
	assert_int_equal(before, 1);
	assert_int_equal(during, MANY);
	epoch_free(e);
}

static void free_runs_what_is_pending(void **state)
{
	struct epoch *e = new_epoch();
	uint64_t sum = 0;

	assert_int_equal(epoch_retire(e, count_release, &sum, 42), OK);
	assert_int_equal(sum, 0);
	epoch_free(e);
	assert_int_equal(sum, 42);
	epoch_free(NULL);
}

static void domains_do_not_wait_for_each_other(void **state)
{
	struct epoch *a = new_epoch(), *b = new_epoch();
	uint64_t sum = 0;

	epoch_enter(a);
	assert_int_equal(epoch_retire(b, count_release, &sum, 1), OK);
	epoch_collect(b);
	assert_int_equal(sum, 1);
	epoch_exit(a);
	epoch_free(a);
	epoch_free(b);
}

static void *enter_once(void *arg)
{
	epoch_enter(arg);
	epoch_exit(arg);
	return NULL;
}

static void a_thread_that_ends_gives_its_slot_back(void **state)
{
	struct epoch *e = new_epoch();
	uint64_t sum = 0;

	for (int i = 0; i < 2 * EPOCH_THREADS_MAX; i++) {
		pthread_t t;

		assert_int_equal(pthread_create(&t, NULL, enter_once, e), 0);
		assert_int_equal(pthread_join(t, NULL), 0);
	}
	assert_int_equal(epoch_retire(e, count_release, &sum, 1), OK);
	epoch_collect(e);
	assert_int_equal(sum, 1);
	epoch_free(e);
}

/* A published object that says whether it is alive. */
struct shared {
	struct epoch *e;
	uint64_t *object;
	bool stop;
};

static void poison(void *ctx, uint64_t ref)
{
	uint64_t *object = ctx;

	*object = 0;
	free(object);
}

static void *read_objects(void *arg)
{
	struct shared *s = arg;

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		uint64_t *object, first, second;

		epoch_enter(s->e);
		object = __atomic_load_n(&s->object, __ATOMIC_ACQUIRE);
		first = *object;
		second = *object;
		epoch_exit(s->e);
		if (first == 0 || first != second)
			return s; /* looked at released memory */
	}
	return NULL;
}

static uint64_t *new_object(uint64_t value)
{
	uint64_t *object = malloc(sizeof(*object));

	assert_non_null(object);
	*object = value;
	return object;
}

static void readers_never_see_released_memory(void **state)
{
	struct shared s = { .e = new_epoch(), .object = new_object(1) };
	pthread_t threads[THREADS];
	void *bad;

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, read_objects, &s), 0);
	for (uint64_t i = 2; i < ROUNDS; i++) {
		uint64_t *old = s.object;

		__atomic_store_n(&s.object, new_object(i), __ATOMIC_RELEASE);
		assert_int_equal(epoch_retire(s.e, poison, old, 0), OK);
	}
	__atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], &bad), 0);
		assert_null(bad);
	}
	assert_int_equal(epoch_retire(s.e, poison, s.object, 0), OK);
	epoch_free(s.e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(collect_releases_all_when_nobody_is_inside),
		cmocka_unit_test(retiring_alone_keeps_the_backlog_small),
		cmocka_unit_test(nothing_is_released_while_a_reader_is_inside),
		cmocka_unit_test(free_runs_what_is_pending),
		cmocka_unit_test(domains_do_not_wait_for_each_other),
		cmocka_unit_test(a_thread_that_ends_gives_its_slot_back),
		cmocka_unit_test(readers_never_see_released_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
