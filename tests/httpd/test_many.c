/*
 * tests/httpd/test_many.c - ten thousand connections at once: each is served,
 * kept, and served again; one more than the limit is told so.
 */
#include "tests/httpd/server_fixture.h"

#include <sys/resource.h>

enum { WANTED = 10000, SPARE_FILES = 200 };

static int fds[WANTED];
static int count;

/* As many as the process may have open, both ends of each being ours. */
static int start(void **state)
{
	struct httpd_options o = fixture_options();
	struct rlimit files;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	count = WANTED;
	if (files.rlim_cur < 2 * WANTED + SPARE_FILES)
		count = ((int)files.rlim_cur - SPARE_FILES) / 2;
	o.max_connections = (uint32_t)count;
	o.idle_timeout_ms = 60000;
	o.request_timeout_ms = 30000;
	fixture_start_with(o);
	return 0;
}

static void ask_all(const char *target)
{
	char text[128];

	snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: t\r\n\r\n",
		 target);
	for (int i = 0; i < count; i++)
		assert_true(client_send(fds[i], text, strlen(text)));
}

static void expect_all(int status)
{
	char part[1024];

	for (int i = 0; i < count; i++) {
		ssize_t got =
			client_read(fds[i], part, sizeof(part) - 1, 20000);

		if (got < 12 || atoi(part + 9) != status)
			fail_msg("connection %d of %d: %.*s", i, count,
				 got > 0 ? (int)got : 0, part);
	}
}

static void ten_thousand_connections_are_served(void **state)
{
	if (count < 100)
		skip();
	ask("PUT", "/k", "", "v");
	usleep(100000);
	for (int i = 0; i < count; i++)
		fds[i] = client_connect(fixture.port);
	ask_all("/k?raw");
	expect_all(200);
	ask("GET", "/k", "", NULL);
	expect_error(503, "too_many_connections");
	ask_all("/missing");
	expect_all(404);
	for (int i = 0; i < count; i++)
		close(fds[i]);
	for (int i = 0; i < 100; i++) {
		usleep(50000);
		ask("GET", "/k?raw", "", NULL);
		if (fixture.a.status == 200)
			break;
	}
	expect_body("v");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			ten_thousand_connections_are_served, start,
			fixture_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
