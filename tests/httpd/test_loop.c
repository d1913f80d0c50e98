/*
 * tests/httpd/test_loop.c - the thread that drives libmicrohttpd: who waits a
 * short time, who waits long, who leaves while he waits, and that nobody's
 * waiting keeps a processor busy.
 */
#include "tests/httpd/server_fixture.h"

#include <unistd.h>

#include "httpd/server.h"

enum { PATIENCE_MS = 20000, BIG = 8 << 20 };

static uint32_t parked(void)
{
	return atomic_load(&fixture.httpd->parked);
}

static uint32_t offered(void)
{
	return atomic_load(&fixture.httpd->loops[0].offered);
}

static uint64_t turns(void)
{
	return atomic_load(&fixture.httpd->loops[0].turns);
}

static int open_values(void)
{
	int n;

	pthread_mutex_lock(&fixture.store->lock);
	n = fixture.store->open_values;
	pthread_mutex_unlock(&fixture.store->lock);
	return n;
}

#define await(condition)                                                       \
	do {                                                                   \
		for (int i_ = 0; !(condition) && i_ < PATIENCE_MS; i_++)       \
			usleep(1000);                                          \
		assert_true(condition);                                        \
	} while (0)

static int start(void **state)
{
	struct httpd_options o = fixture_options();

	o.commit_timeout_ms = 30000;
	o.request_timeout_ms = 30000;
	fixture_start_with(o);
	return 0;
}

static void send_text(int fd, const char *text)
{
	assert_true(client_send(fd, text, strlen(text)));
}

static int begin_put(const char *key)
{
	int fd = client_connect(fixture.port);
	char text[128];

	snprintf(text, sizeof(text),
		 "PUT /%s HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nv",
		 key);
	send_text(fd, text);
	return fd;
}

static void expect_answer(int fd, int status)
{
	answer_done(&fixture.a);
	client_answer(fd, false, &fixture.a);
	expect_status(status);
}

static void who_waits_long_is_suspended(void **state)
{
	int fd;

	knob(silent, true);
	fd = begin_put("a");
	await(parked() == 1);
	await(offered() == 0);
	assert_int_equal(parked(), 1);
	knob(silent, false);
	expect_answer(fd, 201);
	close(fd);
	await(parked() == 0);
}

static void waiting_costs_no_turns(void **state)
{
	uint64_t before;
	int fd;

	knob(silent, true);
	fd = begin_put("a");
	await(parked() == 1);
	before = turns();
	await(offered() == 0);
	usleep(300 * 1000);
	/* One each few ms while it is offered, then none. */
	assert_true(turns() - before < 40);
	knob(silent, false);
	expect_answer(fd, 201);
	close(fd);
}

/* Its answer fills the socket and stays there. */
static int begin_big_get(void)
{
	int fd = client_connect(fixture.port);

	send_text(fd, "GET /big?raw HTTP/1.1\r\nHost: t\r\n\r\n");
	return fd;
}

static void a_slow_reader_makes_nobody_turn(void **state)
{
	char *big = calloc(1, BIG);
	uint64_t before;
	int slow, fd;

	client_request(fixture.port, "PUT", "/big", "", big, BIG, &fixture.a);
	expect_status(201);
	slow = begin_big_get();
	/* Until the socket is full the answer itself takes turns. */
	await(open_values() == 1);
	do {
		before = turns();
		usleep(50 * 1000);
	} while (turns() - before > 10);
	knob(silent, true);
	before = turns();
	fd = begin_put("a");
	await(parked() == 1);
	await(offered() == 0);
	usleep(300 * 1000);
	assert_true(turns() - before < 60);
	knob(silent, false);
	expect_answer(fd, 201);
	close(fd);
	/* Whoever reads in the end has all of it. */
	answer_done(&fixture.a);
	client_answer(slow, false, &fixture.a);
	expect_status(200);
	assert_int_equal(fixture.a.body.n, BIG);
	close(slow);
	free(big);
}

static void who_leaves_while_waiting_is_let_go(void **state)
{
	struct linger hard = { .l_onoff = 1, .l_linger = 0 };

	for (int i = 0; i < 20; i++) {
		int fd;

		knob(silent, true);
		fd = begin_put("a");
		await(parked() == 1);
		/* Reset: seen at once while it is offered. */
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		close(fd);
		if (i % 2)
			await(offered() == 0);
		knob(silent, false);
		await(parked() == 0);
		await(offered() == 0);
	}
	/* What was asked for has happened all the same. */
	ask("GET", "/a?raw", "", NULL);
	expect_status(200);
	expect_body("v");
}

static bool has_uploads(void)
{
	bool has;

	pthread_mutex_lock(&fixture.store->lock);
	has = fixture.store->uploads != NULL;
	pthread_mutex_unlock(&fixture.store->lock);
	return has;
}

/*
 * The wait is over while the connection is being suspended: the loop, which
 * then resumes it itself, must not go to sleep over it.
 */
static void a_wait_that_ends_while_it_begins_is_not_lost(void **state)
{
	static char body[100000];
	struct conn *c;
	char head[128];
	int fd;

	knob(silent, true);
	fd = client_connect(fixture.port);
	snprintf(head, sizeof(head),
		 "PUT /a HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n",
		 sizeof(body));
	send_text(fd, head);
	await(atomic_load(&fixture.httpd->next_id) > 0);
	pthread_mutex_lock(&fixture.httpd->lock);
	c = fixture.httpd->conns;
	pthread_mutex_unlock(&fixture.httpd->lock);
	await(atomic_load(&c->stage) == STAGE_RECEIVING);
	pthread_mutex_lock(&c->lock);
	assert_true(client_send(fd, body, sizeof(body)));
	await(has_uploads());
	usleep(50 * 1000); /* it stands before the lock */
	knob(silent, false);
	await(atomic_load(&c->req->wait) == WAIT_DONE);
	pthread_mutex_unlock(&c->lock);
	expect_answer(fd, 201);
	close(fd);
}

static void many_wait_and_all_are_answered(void **state)
{
	int fds[100];
	char key[16];

	knob(barrier_err, ERR_PENDING);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 100; i++) {
			snprintf(key, sizeof(key), "k%d", i);
			fds[i] = begin_put(key);
		}
		for (int i = 0; i < 100; i++) {
			expect_answer(fds[i], round ? 204 : 201);
			send_text(fds[i], "GET /k1?raw HTTP/1.1\r\n"
					  "Host: t\r\n\r\n");
		}
		for (int i = 0; i < 100; i++) {
			expect_answer(fds[i], 200);
			expect_body("v");
			close(fds[i]);
		}
	}
	await(parked() == 0);
}

static void several_loops_share_the_addresses(void **state)
{
	int fds[64];
	char key[16];

	assert_int_equal(fixture.httpd->loop_count, 3);
	for (int i = 0; i < 64; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		fds[i] = begin_put(key);
	}
	for (int i = 0; i < 64; i++) {
		expect_answer(fds[i], 201);
		close(fds[i]);
	}
}

static int start_three(void **state)
{
	struct httpd_options o = fixture_options();

	o.threads = 3;
	fixture_start_with(o);
	return 0;
}

static int start_two_addresses(void **state)
{
	static const char *const listen[] = { "127.0.0.1:0", "127.0.0.1:0" };
	struct httpd_options o = fixture_options();

	o.listen = listen;
	o.listen_count = 2;
	o.commit_timeout_ms = 30000;
	o.request_timeout_ms = 30000;
	fixture_start_with(o);
	return 0;
}

/* Whichever daemon a request waits in, what ends the wait wakes the loop. */
static void a_loop_with_two_daemons_is_woken_for_both(void **state)
{
	for (uint32_t i = 0; i < 4; i++) {
		int fd;

		knob(silent, true);
		fixture.port = httpd_port(fixture.httpd, i % 2);
		fd = begin_put("a");
		await(parked() == 1);
		await(offered() == 0);
		knob(silent, false);
		expect_answer(fd, i ? 204 : 201);
		close(fd);
	}
}

static void nothing_to_do_costs_no_turns(void **state)
{
	int fd = client_connect(fixture.port);
	uint64_t before;

	send_text(fd, "GET /a HTTP/1.1\r\nHost: t\r\n\r\n");
	expect_answer(fd, 404);
	before = turns();
	usleep(200 * 1000);
	assert_true(turns() - before < 5);
	send_text(fd, "GET /a HTTP/1.1\r\nHost: t\r\n\r\n");
	expect_answer(fd, 404);
	close(fd);
}

static void who_waits_is_answered_when_the_server_stops(void **state)
{
	int fd;

	knob(silent, true);
	fd = begin_put("a");
	await(parked() == 1);
	httpd_stop(fixture.httpd);
	/* The outcome is open: it is the store's still. */
	expect_answer(fd, 504);
	close(fd);
	knob(silent, false);
}

static int stop_store(void **state)
{
	answer_done(&fixture.a);
	mem_store_free(fixture.store);
	return 0;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, start, fixture_stop)
	const struct CMUnitTest tests[] = {
		T(who_waits_long_is_suspended),
		T(waiting_costs_no_turns),
		T(a_slow_reader_makes_nobody_turn),
		T(who_leaves_while_waiting_is_let_go),
		T(a_wait_that_ends_while_it_begins_is_not_lost),
		T(many_wait_and_all_are_answered),
		T(nothing_to_do_costs_no_turns),
		cmocka_unit_test_setup_teardown(
			a_loop_with_two_daemons_is_woken_for_both,
			start_two_addresses, fixture_stop),
		cmocka_unit_test_setup_teardown(
			several_loops_share_the_addresses, start_three,
			fixture_stop),
		cmocka_unit_test_setup_teardown(
			who_waits_is_answered_when_the_server_stops, start,
			stop_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
