/*
 * tests/httpd/test_hostile.c - clients that smuggle, drip, vanish, pile up or
 * never read, and a store that is in trouble: each gets its answer or its
 * end, in bounded time, and nobody else notices.
 */
#include "tests/httpd/server_fixture.h"

#include <sys/resource.h>

static void send_raw(const char *text)
{
	answer_done(&fixture.a);
	client_raw(fixture.port, text, strlen(text), false, &fixture.a);
}

static void doubtful_framing_is_refused_and_closed(void **state)
{
	const char *bad[] = {
		"PUT /f HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n"
		"Content-Length: 1\r\n\r\nx",
		"PUT /f HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n"
		"Content-Length: 40\r\n\r\nx",
		"PUT /f HTTP/1.1\r\nHost: t\r\nContent-Length: 6\r\n"
		"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
		"PUT /f HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n"
		"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
		"PUT /f HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked"
		"\r\n\r\n1\r\nx\r\n0\r\n\r\n",
		"PUT /f HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: identity\r\n"
		"\r\nx",
		"PUT /f HTTP/1.1\r\nHost: t\r\nContent-Length : 1\r\n\r\nx",
		"PUT /f HTTP/1.1\r\nHost: t\r\nContent-Length: +1\r\n\r\nx",
		"PUT /f HTTP/1.1\r\nHost: t\r\nContent-Length: 0x1\r\n\r\nx",
		"PUT /f HTTP/1.1\r\nHost: t\r\nContent-Length: 1, 1\r\n\r\nx",
		"PUT /f HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\nx",
		"PUT /f HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n"
		"\r\nzz\r\nx\r\n0\r\n\r\n",
		"PUT /f HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n"
		"\r\n1\r\nxx\r\n0\r\n\r\n",
		"PUT /f HTTP/1.1\r\nContent-Length: 1\r\n\r\nx",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		send_raw(bad[i]);
		if (fixture.a.status != 400 || !fixture.a.closed)
			fail_msg("case %zu: %d, closed %d", i, fixture.a.status,
				 fixture.a.closed);
	}
	ask("GET", "/f", "", NULL);
	expect_status(404);
}

#define HEAD(text)                                                             \
	{                                                                      \
		(text), sizeof(text) - 1,                                      \
	}

/* What libmicrohttpd cuts short, joins or takes for the end of the head. */
static void a_head_that_can_be_read_in_two_ways_is_refused(void **state)
{
	static const struct {
		const char *text;
		size_t n;
	} bad[] = {
		HEAD("GET /a\0b HTTP/1.1\r\nHost: t\r\n\r\n"),
		HEAD("GET\0 /f HTTP/1.1\r\nHost: t\r\n\r\n"),
		HEAD("GET  /f HTTP/1.1\r\nHost: t\r\n\r\n"),
		HEAD("GET /f HTTP/1.1\r\nHost: t\0x\r\nA: b\r\n\r\n"),
		HEAD("GET /f HTTP/1.1\r\nHost: t\0\r\nA: b\r\n\r\n"),
		HEAD("GET /f HTTP/1.1\r\nHost: t\0\r\n\r\n"),
		HEAD("GET /f HTTP/1.1\r\nHost: t\0: x\r\n\r\n"),
		HEAD("GET /f HTTP/1.1\nHost: t\0x\n\n"),
		HEAD("GET /f HTTP/1.1\r\nHost: t\r\n\0A: b\r\n"
		     "GET /_/health HTTP/1.1\r\nHost: t\r\n\r\n"),
		HEAD("GET /f HTTP/1.1\r\nHost: t\r\n\0\r\n\r\n"),
		HEAD("GET /f HTTP/1.0\r\n\0A: b\r\n\r\n"),
		HEAD("GET /f HTTP/1.1\r\nHost: t\r\n: b\r\n"
		     "GET /_/health HTTP/1.1\r\nHost: t\r\n\r\n"),
		HEAD("GET /f HTTP/1.1\r\n: b\r\nHost: t\r\n\r\n"),
		HEAD("GET /f HTTP/1.1\r\nHost: t\r\nA: b\r\n c\r\n\r\n"),
		HEAD("GET /f HTTP/1.1\r\nHost: t\r\nA: b\r\n c\r\n"
		     "B: d\r\n\r\n"),
		HEAD("GET /f HTTP/1.1\r\nHost: t\r\nA: b\rC: d\r\n\r\n"),
		HEAD("GET /f HTTP/1.1\r\nHost: t\r\nHost: t\r\n\r\n"),
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		client_raw(fixture.port, bad[i].text, bad[i].n, false,
			   &fixture.a);
		if (fixture.a.status != 400 || !fixture.a.closed)
			fail_msg("case %zu: %d, closed %d", i, fixture.a.status,
				 fixture.a.closed);
		expect_error(400, "bad_request");
		answer_done(&fixture.a);
	}
}

/* Unusual, but there is one way only to read it. */
static void an_odd_head_is_taken(void **state)
{
	const char *odd[] = {
		"GET /f HTTP/1.1\nHost: t\n\n",
		"GET /f HTTP/1.1\r\nHost: t\n\r\n",
		"GET /f HTTP/1.1\nHost: t\r\nA: b\r\n\n",
		"GET /f HTTP/1.1\r\nHost: t \t \r\nA:\t b\r\n\r\n",
		"GET /f HTTP/1.1\r\nHost: t\r\nA:\r\nB:  \r\nC:\r\n\r\n",
		"GET /f HTTP/1.1\r\nHost: t\r\nCookie: a=b; c=\"d\"\r\n\r\n",
		"GET /f?x=y&z HTTP/1.1\r\nHost: t\r\nA: \xc3\xa4\r\n\r\n",
		"GET /f HTTP/1.0\r\n\r\n",
		"\r\nGET /f HTTP/1.0\n\n",
	};

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		send_raw(odd[i]);
		if (fixture.a.status != 404)
			fail_msg("case %zu: %d", i, fixture.a.status);
	}
}

static void senseless_requests_end(void **state)
{
	const char *bad[] = { "\r\n\r\n\r\n\r\n",
			      "GET\r\n\r\n",
			      "GET /a b HTTP/1.1\r\nHost: t\r\n\r\n",
			      "GET /a HTTP/3.0\r\n\r\n",
			      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
			      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int fd = client_connect(fixture.port);
		char part[512];

		client_send(fd, bad[i], strlen(bad[i]));
		shutdown(fd, SHUT_WR);
		while (client_read(fd, part, sizeof(part), 3000) > 0)
			;
		close(fd);
	}
	ask("GET", "/_/health", "", NULL);
	expect_status(200);
}

static void huge_headers_are_refused(void **state)
{
	char *text = malloc(100000);
	size_t n = (size_t)sprintf(text, "GET /a HTTP/1.1\r\nHost: t\r\nX: ");

	memset(text + n, 'x', 90000);
	client_raw(fixture.port, text, n + 90000, false, &fixture.a);
	assert_true(fixture.a.status == 431 || fixture.a.status == 0);
	answer_done(&fixture.a);
	n = (size_t)sprintf(text, "GET /");
	memset(text + n, 'k', 90000);
	client_raw(fixture.port, text, n + 90000, false, &fixture.a);
	assert_true(fixture.a.status == 414 || fixture.a.status == 0);
	free(text);
	ask("GET", "/_/health", "", NULL);
	expect_status(200);
}

static void expect_continue_is_refused_before_the_body(void **state)
{
	send_raw("PUT /x HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\n"
		 "Content-Length: 100000000\r\n\r\n");
	expect_error(413, "value_too_large");
	send_raw("PUT /a//b HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\n"
		 "Content-Length: 10\r\n\r\n");
	expect_error(400, "bad_key");
	assert_true(fixture.a.closed);
}

static void expect_continue_is_continued(void **state)
{
	int fd = client_connect(fixture.port);
	const char *head = "PUT /x HTTP/1.1\r\nHost: t\r\nExpect: "
			   "100-continue\r\nContent-Length: 2\r\n\r\n";
	char part[64] = "";

	client_send(fd, head, strlen(head));
	assert_true(client_read(fd, part, sizeof(part) - 1, 2000) > 0);
	assert_non_null(strstr(part, "100 Continue"));
	client_send(fd, "hi", 2);
	client_answer(fd, false, &fixture.a);
	expect_status(201);
	close(fd);
}

/* The answer is read although the body was never wanted. */
static void an_early_refusal_reaches_who_still_sends(void **state)
{
	size_t n = 40 << 20;
	char *big = calloc(1, n);

	client_request(fixture.port, "PUT", "/x", "", big, n, &fixture.a);
	free(big);
	expect_error(413, "value_too_large");
}

static void pipelined_requests_are_answered_in_order(void **state)
{
	const char *text = "PUT /p HTTP/1.1\r\nHost: t\r\nContent-Length: 1"
			   "\r\n\r\n1GET /p?raw HTTP/1.1\r\nHost: t\r\n\r\n"
			   "GET /a//b HTTP/1.1\r\nHost: t\r\n\r\n"
			   "DELETE /p HTTP/1.1\r\nHost: t\r\n\r\n"
			   "GET /p HTTP/1.1\r\nHost: t\r\n\r\n";
	const int wanted[] = { 201, 200, 400, 200, 404 };
	int fd = client_connect(fixture.port);

	client_send(fd, text, strlen(text));
	for (int i = 0; i < 5; i++) {
		client_answer(fd, false, &fixture.a);
		expect_status(wanted[i]);
		answer_done(&fixture.a);
	}
	close(fd);
}

static void death_in_the_middle_of_an_upload_leaves_nothing(void **state)
{
	char head[] = "PUT /u HTTP/1.1\r\nHost: t\r\n"
		      "Content-Length: 1000000\r\n\r\n";
	char *part = calloc(1, 500000);
	int open = 1;

	for (int i = 0; i < 5; i++) {
		int fd = client_connect(fixture.port);

		client_send(fd, head, strlen(head));
		client_send(fd, part, i % 2 ? 500000 : 100);
		close(fd);
	}
	free(part);
	for (int i = 0; open && i < 200; i++) {
		usleep(20000);
		pthread_mutex_lock(&fixture.store->lock);
		open = fixture.store->open_uploads;
		pthread_mutex_unlock(&fixture.store->lock);
	}
	assert_int_equal(open, 0);
	ask("GET", "/u", "", NULL);
	expect_status(404);
}

static void a_dripping_body_is_timed_out(void **state)
{
	const char *head = "PUT /d HTTP/1.1\r\nHost: t\r\n"
			   "Content-Length: 1000\r\n\r\n";
	int fd = client_connect(fixture.port), drops = 0;

	client_send(fd, head, strlen(head));
	/* Slow enough to be overdue, and always with a byte under way. */
	while (drops < 900 && client_send(fd, "x", 1)) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		drops++;
		if (poll(&p, 1, 5) == 1)
			break;
	}
	assert_true(drops < 900);
	client_answer(fd, false, &fixture.a);
	expect_error(408, "request_timeout");
	close(fd);
}

static void a_dripping_header_is_cut(void **state)
{
	int fd = client_connect(fixture.port), drops = 0;
	char c;

	client_send(fd, "GET /", 5);
	while (drops < 100 && client_send(fd, "x", 1) &&
	       client_read(fd, &c, 1, 100) == -1)
		drops++;
	assert_true(drops < 60);
	close(fd);
	drops = 0;
	fd = client_connect(fixture.port);
	client_send(fd, "GET / HTTP/1.1\r\nX: ", 19);
	while (drops < 100 && client_send(fd, "x", 1) &&
	       client_read(fd, &c, 1, 100) == -1)
		drops++;
	assert_true(drops < 60);
	close(fd);
}

static void who_never_reads_is_cut_and_blocks_nobody(void **state)
{
	size_t n = 8 << 20;
	char *big = calloc(1, n);
	int fds[20], open = 1;

	client_request(fixture.port, "PUT", "/n", "", big, n, &fixture.a);
	expect_status(201);
	free(big);
	for (int i = 0; i < 20; i++) {
		const char *text = "GET /n?raw HTTP/1.1\r\nHost: t\r\n\r\n";

		fds[i] = client_connect(fixture.port);
		client_send(fds[i], text, strlen(text));
	}
	ask("GET", "/_/health", "", NULL);
	expect_status(200);
	/* Cut by inactivity or by the deadline, whichever comes first. */
	for (int i = 0; open && i < 200; i++) {
		usleep(50000);
		pthread_mutex_lock(&fixture.store->lock);
		open = fixture.store->open_values;
		pthread_mutex_unlock(&fixture.store->lock);
	}
	assert_int_equal(open, 0);
	for (int i = 0; i < 20; i++)
		close(fds[i]);
}

static void an_idle_connection_is_closed(void **state)
{
	int fd = client_connect(fixture.port);
	char c;

	assert_int_equal(client_read(fd, &c, 1, 6000), 0);
	close(fd);
}

static void a_write_that_never_commits_is_unknown(void **state)
{
	knob(silent, true);
	ask("PUT", "/w", "", "v");
	expect_error(504, "commit_timeout");
	assert_non_null(strstr((char *)fixture.a.body.p,
			       "{\"success\":false,\"outcome\":\"unknown\","));
	ask("DELETE", "/w", "", NULL);
	expect_error(504, "commit_timeout");
	ask("POST", "/_/txn", "", "{\"then\":[{\"get\":\"w\"}]}");
	expect_error(504, "commit_timeout");
	ask("DELETE", "/_/kv?prefix=w", "", NULL);
	expect_error(504, "commit_timeout");
	ask("GET", "/w?consistency=stale", "", NULL);
	expect_status(404);
	/* What was given up on completes behind the back. */
	knob(silent, false);
	ask("GET", "/_/health", "", NULL);
	expect_status(200);
}

static void a_read_that_never_gets_fresh_is_refused(void **state)
{
	knob(silent, true);
	knob(barrier_err, ERR_PENDING);
	ask("GET", "/w", "", NULL);
	expect_error(503, "no_leader");
	expect_header("Retry-After", "1");
	ask("GET", "/_/kv", "", NULL);
	expect_error(503, "no_leader");
	knob(silent, false);
	ask("GET", "/w", "", NULL);
	expect_status(404);
}

static void the_stores_refusals_have_their_codes(void **state)
{
	knob(write_err, ERR_NO_LEADER);
	ask("PUT", "/w", "", "v");
	expect_error(503, "no_leader");
	expect_header("Retry-After", "1");
	knob(write_err, ERR_NOSPC);
	ask("PUT", "/w", "", "v");
	expect_error(507, "out_of_space");
	knob(write_err, ERR_UNKNOWN);
	ask("PUT", "/w", "", "v");
	expect_error(504, "commit_timeout");
	knob(write_err, ERR_FULL);
	ask("PUT", "/w", "", "v");
	expect_error(429, "too_many_requests");
	expect_header("Retry-After", "1");
	knob(write_err, ERR_CROSS_PART);
	ask("POST", "/_/txn", "", "{}");
	expect_error(400, "cross_partition");
}

static void trouble_during_an_upload_ends_it(void **state)
{
	size_t n = 6 << 20;
	char *big = calloc(1, n);

	knob(upload_err, ERR_NOSPC);
	client_request(fixture.port, "PUT", "/u", "", big, n, &fixture.a);
	expect_error(507, "out_of_space");
	knob(upload_err, OK);
	knob(silent, true);
	answer_done(&fixture.a);
	client_request(fixture.port, "PUT", "/u", "", big, n, &fixture.a);
	expect_error(503, "no_leader");
	knob(silent, false);
	answer_done(&fixture.a);
	client_request(fixture.port, "PUT", "/u", "", big, n, &fixture.a);
	expect_status(201);
	free(big);
}

static void damage_is_never_shown(void **state)
{
	size_t n = 1 << 20;
	char *big = calloc(1, n);

	client_request(fixture.port, "PUT", "/c", "", big, n, &fixture.a);
	expect_status(201);
	free(big);
	knob(corrupt_from, 0);
	ask("GET", "/c?raw", "", NULL);
	expect_error(500, "corrupt");
	knob(corrupt_from, 500000);
	ask("GET", "/c?raw", "", NULL);
	assert_int_equal(fixture.a.status, 200);
	assert_false(fixture.a.complete);
	assert_true(fixture.a.body.n <= 500000);
	ask("GET", "/c", "", NULL);
	expect_error(500, "corrupt");
	ask("GET", "/c?raw", "Range: bytes=0-9\r\n", NULL);
	expect_status(206);
	ask("GET", "/_/metrics", "", NULL);
	assert_non_null(strstr((char *)fixture.a.body.p,
			       "raftcask_http_responses_cut_total 1\n"));
}

static void over_the_connection_limit_is_told_so(void **state)
{
	int fds[10];

	usleep(50000);
	httpd_set_limits(fixture.httpd, 1 << 20, 10);
	for (int i = 0; i < 10; i++)
		fds[i] = client_connect(fixture.port);
	usleep(50000);
	ask("GET", "/_/health", "", NULL);
	expect_error(503, "too_many_connections");
	expect_header("Retry-After", "1");
	assert_true(fixture.a.closed);
	close(fds[0]);
	usleep(100000);
	ask("GET", "/_/health", "", NULL);
	expect_status(200);
	for (int i = 1; i < 10; i++)
		close(fds[i]);
}

int main(void)
{
#define hostile_test(f)                                                        \
	cmocka_unit_test_setup_teardown(f, fixture_start, fixture_stop)
	const struct CMUnitTest tests[] = {
		hostile_test(doubtful_framing_is_refused_and_closed),
		hostile_test(a_head_that_can_be_read_in_two_ways_is_refused),
		hostile_test(an_odd_head_is_taken),
		hostile_test(senseless_requests_end),
		hostile_test(huge_headers_are_refused),
		hostile_test(expect_continue_is_refused_before_the_body),
		hostile_test(expect_continue_is_continued),
		hostile_test(an_early_refusal_reaches_who_still_sends),
		hostile_test(pipelined_requests_are_answered_in_order),
		hostile_test(death_in_the_middle_of_an_upload_leaves_nothing),
		hostile_test(a_dripping_body_is_timed_out),
		hostile_test(a_dripping_header_is_cut),
		hostile_test(who_never_reads_is_cut_and_blocks_nobody),
		hostile_test(an_idle_connection_is_closed),
		hostile_test(a_write_that_never_commits_is_unknown),
		hostile_test(a_read_that_never_gets_fresh_is_refused),
		hostile_test(the_stores_refusals_have_their_codes),
		hostile_test(trouble_during_an_upload_ends_it),
		hostile_test(damage_is_never_shown),
		hostile_test(over_the_connection_limit_is_told_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
