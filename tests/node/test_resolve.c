/*
 * Names that a silent name server makes hang hold up no other name, nor the
 * end; who asks for the same name shares the answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/resolve.h"

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool released;	    /* hanging names are answered               */
	int hanging, asked; /* threads inside; names asked for, ever    */
	int woken;
} world = { .lock = PTHREAD_MUTEX_INITIALIZER,
	    .changed = PTHREAD_COND_INITIALIZER };

/* In place of the C library's: *.hangs hangs, *.many has many addresses. */
int getaddrinfo(const char *host, const char *port,
		const struct addrinfo *hints, struct addrinfo **list)
{
	int (*real)(const char *, const char *, const struct addrinfo *,
		    struct addrinfo **);
	struct addrinfo **end = list;
	int r, count = strstr(host, ".many") ? 20 : 1;
	char number[32];

	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (hints->ai_flags & AI_NUMERICHOST)
		return real(host, port, hints, list);
	pthread_mutex_lock(&world.lock);
	world.asked++;
	world.hanging++;
	pthread_cond_broadcast(&world.changed);
	while (strstr(host, ".hangs") && !world.released)
		pthread_cond_wait(&world.changed, &world.lock);
	world.hanging--;
	pthread_cond_broadcast(&world.changed);
	pthread_mutex_unlock(&world.lock);
	if (strstr(host, ".none"))
		return EAI_NONAME;
	for (int i = 0; i < count; i++) {
		snprintf(number, sizeof(number), "127.0.0.%d", i + 1);
		r = real(number, port, hints, end);
		if (r)
			return r;
		while (*end)
			end = &(*end)->ai_next;
	}
	return 0;
}

static void on_wake(void *ctx)
{
	pthread_mutex_lock(&world.lock);
	world.woken++;
	pthread_cond_broadcast(&world.changed);
	pthread_mutex_unlock(&world.lock);
}

/* Wait for the next answer; a test that waits in vain is ended from outside. */
static struct resolved next_answer(struct resolver *r)
{
	struct resolved a;
	int woken;

	for (;;) {
		pthread_mutex_lock(&world.lock);
		woken = world.woken;
		pthread_mutex_unlock(&world.lock);
		if (resolve_take(r, &a))
			return a;
		pthread_mutex_lock(&world.lock);
		while (world.woken == woken)
			pthread_cond_wait(&world.changed, &world.lock);
		pthread_mutex_unlock(&world.lock);
	}
}

static void wait_hanging(int count)
{
	pthread_mutex_lock(&world.lock);
	while (world.hanging != count)
		pthread_cond_wait(&world.changed, &world.lock);
	pthread_mutex_unlock(&world.lock);
}

static void release(void)
{
	pthread_mutex_lock(&world.lock);
	world.released = true;
	pthread_cond_broadcast(&world.changed);
	pthread_mutex_unlock(&world.lock);
}

static struct resolver *new_resolver(void)
{
	struct resolver *r;

	world.released = false;
	world.asked = world.woken = 0;
	assert_int_equal(resolver_new(on_wake, NULL, &r), OK);
	return r;
}

static enum err ask(struct resolver *r, const char *address, uint64_t token)
{
	struct resolved a;

	return resolve(r, address, token, &a);
}

static void a_number_is_answered_at_once(void **state)
{
	struct resolver *r = new_resolver();
	struct resolved a;

	assert_int_equal(resolve(r, "127.0.0.1:80", 5, &a), OK);
	assert_int_equal(a.count, 1);
	assert_int_equal(a.token, 5);
	assert_int_equal(resolve(r, "[::1]:80", 5, &a), OK);
	assert_int_equal(a.at[0].address.ss_family, AF_INET6);
	assert_int_equal(resolve(r, "no-port", 5, &a), ERR_INVALID);
	assert_int_equal(world.asked, 0);
	resolver_free(r);
}

static void a_hanging_name_holds_up_no_other(void **state)
{
	struct resolver *r = new_resolver();
	struct resolved a;

	assert_int_equal(ask(r, "a.hangs:1", 1), ERR_PENDING);
	assert_int_equal(ask(r, "b.hangs:1", 2), ERR_PENDING);
	wait_hanging(2);
	assert_int_equal(ask(r, "quick:1", 3), ERR_PENDING);
	assert_int_equal(ask(r, "x.none:1", 4), ERR_PENDING);
	for (int i = 0; i < 2; i++) {
		a = next_answer(r);
		assert_in_range(a.token, 3, 4);
		assert_int_equal(a.count, a.token == 3 ? 1 : 0);
	}
	release();
	for (int i = 0; i < 2; i++)
		assert_in_range(next_answer(r).token, 1, 2);
	resolver_free(r);
}

static void who_asks_the_same_shares_the_answer(void **state)
{
	struct resolver *r = new_resolver();
	uint64_t tokens = 0;

	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(ask(r, "a.hangs:1", i), ERR_PENDING);
	wait_hanging(1);
	release();
	for (int i = 0; i < 10; i++) {
		struct resolved a = next_answer(r);

		assert_int_equal(a.count, 1);
		tokens |= 1ull << a.token;
	}
	assert_int_equal(tokens, (1 << 10) - 1);
	assert_int_equal(world.asked, 1);
	resolver_free(r);
}

static void more_names_than_threads_wait_their_turn(void **state)
{
	struct resolver *r = new_resolver();
	char address[32];

	for (unsigned i = 0; i < RESOLVE_WAITING_MAX; i++) {
		snprintf(address, sizeof(address), "n%u.hangs:1", i);
		assert_int_equal(ask(r, address, i), ERR_PENDING);
	}
	assert_int_equal(ask(r, "one-more:1", 0), ERR_FULL);
	wait_hanging(RESOLVE_THREADS_MAX);
	release();
	for (int i = 0; i < RESOLVE_WAITING_MAX; i++)
		(void)next_answer(r);
	assert_int_equal(ask(r, "one-more:1", 0), ERR_PENDING);
	assert_int_equal(next_answer(r).count, 1);
	resolver_free(r);
}

static void the_end_waits_for_nobody(void **state)
{
	struct resolver *r = new_resolver();
	int woken;

	assert_int_equal(ask(r, "a.hangs:1", 1), ERR_PENDING);
	assert_int_equal(ask(r, "a.hangs:1", 2), ERR_PENDING);
	assert_int_equal(ask(r, "b.hangs:1", 3), ERR_PENDING);
	wait_hanging(2);
	resolver_free(r); /* returns although both hang */
	woken = world.woken;
	release();
	wait_hanging(0);
	assert_int_equal(world.woken, woken);
}

static void all_addresses_of_a_name_up_to_a_bound(void **state)
{
	struct resolver *r = new_resolver();
	struct sockaddr_in in;
	struct resolved a;

	assert_int_equal(ask(r, "x.many:77", 1), ERR_PENDING);
	a = next_answer(r);
	assert_int_equal(a.count, RESOLVE_ADDRESSES_MAX);
	for (uint32_t i = 0; i < a.count; i++) {
		memcpy(&in, &a.at[i].address, sizeof(in));
		assert_int_equal(ntohl(in.sin_addr.s_addr), 0x7f000001 + i);
		assert_int_equal(ntohs(in.sin_port), 77);
	}
	resolver_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_number_is_answered_at_once),
		cmocka_unit_test(a_hanging_name_holds_up_no_other),
		cmocka_unit_test(who_asks_the_same_shares_the_answer),
		cmocka_unit_test(more_names_than_threads_wait_their_turn),
		cmocka_unit_test(the_end_waits_for_nobody),
		cmocka_unit_test(all_addresses_of_a_name_up_to_a_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
