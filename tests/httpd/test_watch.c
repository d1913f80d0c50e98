/*
 * tests/httpd/test_watch.c - long polls and event streams: what they show,
 * when they end, a thousand of them, and a server that stops under them.
 */
#include "tests/httpd/server_fixture.h"

#include <sys/resource.h>

static int ask_later(const char *target, const char *headers)
{
	struct buf b = BUF_INIT;
	int fd = client_connect(fixture.port);

	assert_int_equal(buf_addf(&b, "GET %s HTTP/1.1\r\nHost: t\r\n%s\r\n",
				  target, headers),
			 OK);
	client_send(fd, b.p, b.n);
	buf_done(&b);
	return fd;
}

static void take_answer(int fd)
{
	answer_done(&fixture.a);
	client_answer(fd, false, &fixture.a);
	close(fd);
}

static void wait_for_watches(int n)
{
	int open = -1;

	for (int i = 0; open != n && i < 500; i++) {
		usleep(10000);
		pthread_mutex_lock(&fixture.store->lock);
		open = fixture.store->open_watches;
		pthread_mutex_unlock(&fixture.store->lock);
	}
	assert_int_equal(open, n);
}

static void a_change_ends_the_wait(void **state)
{
	int fd;

	ask("PUT", "/k", "", "1");
	fd = ask_later("/k?watch&wait=10s", "");
	wait_for_watches(1);
	ask("PUT", "/k", "", "2");
	take_answer(fd);
	expect_status(200);
	expect_body("{\"value\":\"2\"}");
	expect_header("ETag", "\"2\"");
}

static void a_delete_ends_the_wait_with_404(void **state)
{
	int fd;

	ask("PUT", "/k", "", "1");
	fd = ask_later("/k?watch&after=1&wait=10s", "");
	wait_for_watches(1);
	ask("PUT", "/other", "", "1");
	ask("DELETE", "/k", "", NULL);
	take_answer(fd);
	expect_error(404, "not_found");
	expect_header("X-Raftcask-Revision", "3");
}

static void a_wait_of_zero_only_asks(void **state)
{
	ask("PUT", "/k", "", "1");
	ask("GET", "/k?watch&after=1&wait=0", "", NULL);
	expect_status(204);
	ask("GET", "/k?watch&after=0&wait=0", "", NULL);
	expect_status(200);
	ask("GET", "/k?watch&after=1&wait=0ms", "", NULL);
	expect_status(204);
	ask("GET", "/k?watch&after=0&wait=-1", "", NULL);
	expect_error(400, "bad_request");
}

static void a_client_that_left_is_not_waited_for(void **state)
{
	int poll_fd = ask_later("/k?watch&wait=60s", "");
	int stream_fd = ask_later("/_/watch?prefix=k", "");

	wait_for_watches(2);
	close(poll_fd);
	close(stream_fd);
	wait_for_watches(0);
}

static void a_missing_key_is_waited_for(void **state)
{
	int fd = ask_later("/k?watch&wait=10s&raw", "");

	wait_for_watches(1);
	ask("PUT", "/k", "", "here");
	take_answer(fd);
	expect_status(200);
	expect_body("here");
}

static void a_change_in_the_past_answers_at_once(void **state)
{
	ask("PUT", "/k", "", "1");
	ask("PUT", "/k", "", "2");
	ask("GET", "/k?watch&after=1", "", NULL);
	expect_body("{\"value\":\"2\"}");
	ask("GET", "/k?watch&after=2&wait=100ms", "", NULL);
	expect_status(204);
	expect_header("X-Raftcask-Revision", "2");
	knob(floor, 2);
	ask("GET", "/k?watch&after=1", "", NULL);
	expect_status(200);
	ask("GET", "/k?watch&after=x", "", NULL);
	expect_error(400, "bad_request");
}

static void events_come_with_ids_to_resume_from(void **state)
{
	struct buf b = BUF_INIT;
	int fd = ask_later("/_/watch?prefix=a/", "Accept: text/event-stream"
						 "\r\n");

	expect_in_stream(fd, &b, "text/event-stream");
	expect_in_stream(fd, &b, ": raftcask\n\n");
	ask("PUT", "/b", "", "no");
	ask("PUT", "/a/1", "", "x\ny");
	expect_in_stream(fd, &b,
			 "id: 2\nevent: put\ndata: {\"key\":\"a/1\",\"rev\":2,"
			 "\"value\":\"x\\ny\"}\n\n");
	ask("DELETE", "/a/1", "", NULL);
	expect_in_stream(fd, &b,
			 "id: 3\nevent: delete\ndata: {\"key\":\"a/1\","
			 "\"rev\":3}\n\n");
	assert_null(strstr((char *)b.p, "\"b\""));
	close(fd);
	b.n = 0;
	fd = ask_later("/_/watch?prefix=a/&after=1", "Last-Event-ID: 2\r\n");
	expect_in_stream(fd, &b, "id: 3\n");
	assert_null(strstr((char *)b.p, "id: 2\n"));
	close(fd);
	b.n = 0;
	fd = ask_later("/_/watch?after=1", "");
	expect_in_stream(fd, &b, "id: 2\n");
	expect_in_stream(fd, &b, "id: 3\n");
	close(fd);
	buf_done(&b);
}

static void large_values_are_only_named(void **state)
{
	struct buf b = BUF_INIT;
	int fd = ask_later("/_/watch", "");
	char *big = calloc(1, 70000);

	expect_in_stream(fd, &b, ": raftcask");
	client_request(fixture.port, "PUT", "/big", "", big, 70000, &fixture.a);
	expect_in_stream(fd, &b, "{\"key\":\"big\",\"rev\":1,\"size\":70000}");
	close(fd);
	free(big);
	buf_done(&b);
}

static void compacted_history_is_410(void **state)
{
	knob(floor, 10);
	ask("GET", "/_/watch?after=3", "", NULL);
	expect_error(410, "compacted");
}

static void too_many_watches_are_429(void **state)
{
	knob(watches_max, 0);
	ask("GET", "/k?watch", "", NULL);
	expect_error(429, "too_many_requests");
	expect_header("Retry-After", "1");
	ask("GET", "/_/watch", "", NULL);
	expect_error(429, "too_many_requests");
}

enum { MANY = 1000 };

static void a_thousand_watches_see_one_change(void **state)
{
	static int fds[MANY];

	for (int i = 0; i < MANY; i++)
		fds[i] = ask_later("/k?watch&wait=30s", "");
	wait_for_watches(MANY);
	ask("GET", "/_/health", "", NULL);
	expect_status(200);
	ask("PUT", "/k", "", "now");
	expect_status(201);
	for (int i = 0; i < MANY; i++) {
		take_answer(fds[i]);
		expect_status(200);
		expect_body("{\"value\":\"now\"}");
	}
	wait_for_watches(0);
}

/* The fixture's end stops the server: this must not hang nor leak. */
static void a_stop_ends_what_waits(void **state)
{
	struct buf b = BUF_INIT;
	int poll_fd = ask_later("/k?watch&wait=60s", "");
	int stream_fd = ask_later("/_/watch", "");
	int idle_fd = client_connect(fixture.port);
	int write_fd;

	wait_for_watches(2);
	knob(silent, true);
	write_fd = ask_later("/k", "");
	take_answer(write_fd);
	expect_status(404);
	write_fd = client_connect(fixture.port);
	client_send(write_fd, "DELETE /k HTTP/1.1\r\nHost: t\r\n\r\n", 31);
	usleep(50000);
	httpd_stop(fixture.httpd);
	fixture.httpd = NULL;
	take_answer(poll_fd);
	expect_error(503, "stopping");
	take_answer(write_fd);
	expect_error(504, "commit_timeout");
	expect_in_stream(stream_fd, &b, "\r\n0\r\n\r\n");
	close(stream_fd);
	close(idle_fd);
	buf_done(&b);
	knob(silent, false);
}

static void nobody_listens_twice(void **state)
{
	struct httpd_options o = fixture_options();
	struct buf why = BUF_INIT;
	const char *listen[1];
	struct httpd *h;
	char address[32];

	snprintf(address, sizeof(address), "127.0.0.1:%u", fixture.port);
	listen[0] = address;
	o.listen = listen;
	o.store = fixture.store;
	assert_int_equal(httpd_start(&o, &h, &why), ERR_BUSY);
	assert_int_equal(buf_add(&why, "", 1), OK);
	assert_non_null(strstr((char *)why.p, address));
	listen[0] = "nonsense";
	assert_int_equal(httpd_start(&o, &h, &why), ERR_INVALID);
	listen[0] = "::1:80";
	assert_int_equal(httpd_start(&o, &h, &why), ERR_INVALID);
	buf_done(&why);
}

static void several_addresses_are_served(void **state)
{
	struct httpd_options o = fixture_options();
	static const char *const listen[] = { "127.0.0.1:0", "[::1]:0" };
	struct buf why = BUF_INIT;
	uint16_t old = fixture.port;
	struct httpd *h;

	o.listen = listen;
	o.listen_count = 2;
	o.threads = 2;
	o.store = fixture.store;
	if (httpd_start(&o, &h, &why) == ERR_INVALID) {
		buf_done(&why); /* a machine without IPv6 */
		skip();
	}
	fixture.port = httpd_port(h, 0);
	ask("PUT", "/k", "", "v");
	expect_status(201);
	assert_int_not_equal(httpd_port(h, 1), 0);
	fixture.port = old;
	ask("GET", "/k?raw", "", NULL);
	expect_body("v");
	httpd_stop(h);
}

int main(void)
{
#define watch_test(f)                                                          \
	cmocka_unit_test_setup_teardown(f, fixture_start, fixture_stop)
	const struct CMUnitTest tests[] = {
		watch_test(a_change_ends_the_wait),
		watch_test(a_delete_ends_the_wait_with_404),
		watch_test(a_wait_of_zero_only_asks),
		watch_test(a_client_that_left_is_not_waited_for),
		watch_test(a_missing_key_is_waited_for),
		watch_test(a_change_in_the_past_answers_at_once),
		watch_test(events_come_with_ids_to_resume_from),
		watch_test(large_values_are_only_named),
		watch_test(compacted_history_is_410),
		watch_test(too_many_watches_are_429),
		watch_test(a_thousand_watches_see_one_change),
		watch_test(a_stop_ends_what_waits),
		watch_test(nobody_listens_twice),
		watch_test(several_addresses_are_served),
	};
	struct rlimit files = { 4096, 4096 };

	setrlimit(RLIMIT_NOFILE, &files);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
