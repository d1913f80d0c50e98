/*
 * tests/httpd/test_monitor.c - proves httpd/monitor.c and httpd/page.c: who
 * gets the page and the figures, how many, and what it costs when nobody looks.
 */
#include "tests/httpd/server_fixture.h"

#include <gnutls/crypto.h>
#include <json-c/json.h>

#include "base/secret.h"
#include "httpd/json.h"
#include "httpd/report.h"

static char secret[SECRET_TEXT_BYTES];

static int start_guarded(void **state)
{
	struct store_token t = { .name = "reader",
				 .right = STORE_RIGHT_READ,
				 .prefix = bytes_str("app/") };
	struct httpd_options o = fixture_options();

	o.access.tokens = true;
	fixture_start_with(o);
	assert_int_equal(secret_make(secret), OK);
	assert_int_equal(secret_hash(bytes_str(secret), t.hash), OK);
	pthread_mutex_lock(&fixture.store->lock);
	assert_int_equal(mem_add_token(fixture.store, &t), OK);
	pthread_mutex_unlock(&fixture.store->lock);
	return 0;
}

static int stop(void **state)
{
	for (int i = 0; i < 4; i++)
		buf_done(&mem_reports.of[i]);
	buf_done(&mem_reports.own);
	atomic_store(&mem_reports.wanted, false);
	return fixture_stop(state);
}

/* --------------------------------------------------------------- the page */

/* Append the policy's name for what lies between two marks of the body. */
static void add_hash(struct buf *b, const char *from, const char *to)
{
	const char *p = strstr((char *)fixture.a.body.p, from), *end;
	struct buf quoted = BUF_INIT;
	uint8_t hash[32];

	assert_non_null(p);
	p += strlen(from);
	end = strstr(p, to);
	assert_non_null(end);
	assert_int_equal(
		gnutls_hash_fast(GNUTLS_DIG_SHA256, p, (size_t)(end - p), hash),
		0);
	assert_int_equal(json_add_base64(&quoted, bytes_of(hash, 32)), OK);
	assert_int_equal(buf_addf(b, "'sha256-%.*s'", (int)quoted.n - 2,
				  (char *)quoted.p + 1),
			 OK);
	assert_int_equal(buf_add(b, "", 1), OK);
	buf_done(&quoted);
}

static void the_page_runs_only_its_own_script(void **state)
{
	struct buf hash = BUF_INIT;
	const char *policy;

	ask("GET", "/_/monitor", "", NULL);
	expect_status(200);
	expect_header("Content-Type", "text/html; charset=utf-8");
	expect_header("X-Frame-Options", "DENY");
	policy = answer_header(&fixture.a, "Content-Security-Policy");
	assert_non_null(policy);
	assert_non_null(strstr(policy, "default-src 'none'"));
	assert_null(strstr(policy, "unsafe"));
	assert_null(strstr(policy, "http"));
	add_hash(&hash, "<script>", "</script>");
	assert_non_null(strstr(policy, (char *)hash.p));
	hash.n = 0;
	add_hash(&hash, "<style>", "</style>");
	assert_non_null(strstr(policy, (char *)hash.p));
	buf_done(&hash);
	/* All of it is there, and nothing is fetched from elsewhere. */
	assert_non_null(strstr((char *)fixture.a.body.p, "</html>"));
	assert_null(strstr((char *)fixture.a.body.p, "@style@"));
	assert_null(strstr((char *)fixture.a.body.p, "@script@"));
	assert_null(strstr((char *)fixture.a.body.p, " src="));
	assert_null(strstr((char *)fixture.a.body.p, "@import"));
	assert_null(strstr((char *)fixture.a.body.p, "innerHTML"));
}

static void only_who_wants_html_gets_it_at_the_root(void **state)
{
	ask("GET", "/", "Accept: text/html,application/xml;q=0.9\r\n", NULL);
	expect_status(200);
	expect_header("Content-Type", "text/html; charset=utf-8");
	ask("GET", "/", "Accept: */*\r\n", NULL);
	expect_status(200);
	expect_header("Content-Type", "application/json");
	ask("GET", "/", "", NULL);
	expect_header("Content-Type", "application/json");
	ask("POST", "/_/monitor", JSON_TYPE, "{}");
	expect_error(405, "method_not_allowed");
	ask("HEAD", "/_/monitor", "", NULL);
	expect_status(200);
}

static void a_node_that_waits_has_the_page_and_no_figures(void **state)
{
	httpd_hold(fixture.httpd, "starting", "waits for n2");
	ask("GET", "/_/monitor", "", NULL);
	expect_status(200);
	ask("GET", "/", "Accept: text/html\r\n", NULL);
	expect_header("Content-Type", "text/html; charset=utf-8");
	ask("GET", "/_/monitor/events", "", NULL);
	expect_error(503, "starting");
}

/* ------------------------------------------------------------ the figures */

static int open_stream(const char *headers)
{
	char text[512];
	int fd = client_connect(fixture.port);

	snprintf(text, sizeof(text),
		 "GET /_/monitor/events HTTP/1.1\r\nHost: localhost\r\n%s\r\n",
		 headers);
	assert_true(client_send(fd, text, strlen(text)));
	return fd;
}

static void others_are_shown_by_their_reports(void **state)
{
	static struct report two;
	struct buf b = BUF_INIT;
	int fd;

	snprintf(two.version, sizeof(two.version), "7.7");
	two.figures[REPORT_KEYS] = 4242;
	pthread_mutex_lock(&mem_reports.lock);
	assert_int_equal(httpd_report_encode(&two, &mem_reports.of[2]), OK);
	mem_reports.age_ms[2] = 321;
	/* What cannot be read is shown as a node that says nothing. */
	assert_int_equal(buf_addf(&mem_reports.of[3], "rcr1 nonsense"), OK);
	pthread_mutex_unlock(&mem_reports.lock);
	ask("PUT", "/a", "", "1");
	fd = open_stream("");
	expect_in_stream(fd, &b, "Content-Type: text/event-stream");
	expect_in_stream(fd, &b, "\"number\":2");
	expect_in_stream(fd, &b, "event: figures\ndata: {\"number\":");
	expect_in_stream(fd, &b, "\"node\":\"n1\",\"cluster\":\"c1\"");
	expect_in_stream(fd, &b,
			 "\"report_age_ms\":321,\"report\":{\"version\":"
			 "\"7.7\"");
	expect_in_stream(fd, &b, "\"keys\":4242");
	expect_in_stream(fd, &b, "\"report_age_ms\":null,\"report\":null}]}");
	expect_in_stream(fd, &b, "[[\"00000001.log\",4096,1024,\"active\",0]]");
	assert_true(atomic_load(&mem_reports.asked) > 0);
	close(fd);
	buf_done(&b);
}

static void nothing_is_collected_for_nobody(void **state)
{
	uint32_t asked = atomic_load(&mem_reports.asked);
	uint32_t posted = atomic_load(&mem_reports.posted);

	ask("GET", "/_/monitor", "", NULL);
	usleep(300000);
	assert_int_equal(atomic_load(&mem_reports.asked), asked);
	assert_int_equal(atomic_load(&mem_reports.posted), posted);
}

static void wait_for_posts(uint32_t n)
{
	uint32_t from = atomic_load(&mem_reports.posted);

	for (int i = 0; atomic_load(&mem_reports.posted) - from < n; i++) {
		if (i > 2000)
			fail_msg("nothing is posted");
		usleep(10000);
	}
}

/* Nobody is connected here: the wish of another member is enough. */
static void who_is_asked_tells_the_other_member(void **state)
{
	static struct report own;

	atomic_store(&mem_reports.wanted, true);
	pthread_mutex_lock(&mem_reports.lock);
	assert_non_null(mem_reports.wake);
	mem_reports.wake(mem_reports.ctx);
	pthread_mutex_unlock(&mem_reports.lock);
	wait_for_posts(2);
	pthread_mutex_lock(&mem_reports.lock);
	assert_int_equal(httpd_report_decode(buf_bytes(&mem_reports.own), &own),
			 OK);
	pthread_mutex_unlock(&mem_reports.lock);
	assert_string_equal(own.version, "0");
	assert_true(own.figures[REPORT_RSS_BYTES] > 0);
	assert_true(own.figures[REPORT_THREADS] > 0);
	assert_int_equal(own.figures[REPORT_CORRUPT], 1);
	assert_int_equal(own.commit[10], 1);
}

enum { MANY = MONITOR_STREAMS_MAX };

static void streams_are_limited_and_places_come_back(void **state)
{
	struct buf b[MANY] = { 0 };
	int fds[MANY];

	for (int i = 0; i < MANY; i++) {
		fds[i] = open_stream("");
		expect_in_stream(fds[i], &b[i], "event: figures");
	}
	ask("GET", "/_/monitor/events", "", NULL);
	expect_error(429, "too_many_requests");
	expect_header("Retry-After", "1");
	/* all of them go on */
	for (int i = 0; i < MANY; i++) {
		b[i].n = 0;
		expect_in_stream(fds[i], &b[i], "event: figures");
	}
	for (int i = 0; i < MANY; i++) {
		close(fds[i]);
		buf_done(&b[i]);
	}
	for (int i = 0;; i++) {
		struct buf again = BUF_INIT;
		int fd = open_stream("");

		expect_in_stream(fd, &again, "\r\n\r\n");
		if (strstr((char *)again.p, "200 OK")) {
			expect_in_stream(fd, &again, "event: figures");
			i = -1;
		}
		buf_done(&again);
		close(fd);
		if (i < 0)
			return;
		if (i > 500)
			fail_msg("no place comes back");
		usleep(20000);
	}
}

/* The figure behind name in the answer to /_/metrics. */
static uint64_t metric(const char *name)
{
	const char *at = strstr((char *)fixture.a.body.p, name);

	return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static void how_long_one_looks_is_no_time_of_a_request(void **state)
{
	struct buf b = BUF_INIT;
	int fd = open_stream("");
	uint64_t requests = 0, timed = 0;

	expect_in_stream(fd, &b, "event: figures");
	close(fd);
	buf_done(&b);
	for (int i = 0; requests == timed; i++) {
		if (i > 500)
			fail_msg("the stream is timed, or never ends");
		usleep(20000);
		ask("GET", "/_/metrics", "", NULL);
		requests = metric("raftcask_http_requests_total{method=\"GET\","
				  "code=\"2xx\"} ");
		timed = metric("raftcask_http_request_duration_seconds_count ");
	}
	assert_int_equal(requests, timed + 1);
}

static void a_server_that_stops_ends_its_streams(void **state)
{
	struct buf b = BUF_INIT;
	int fd = open_stream("");

	expect_in_stream(fd, &b, "event: figures");
	httpd_stop(fixture.httpd);
	fixture.httpd = NULL;
	assert_null(mem_reports.wake);
	expect_in_stream(fd, &b, "\r\n0\r\n\r\n");
	close(fd);
	buf_done(&b);
}

/* ------------------------------------------------------------------ rights */

static void the_page_needs_no_token_and_the_figures_do(void **state)
{
	char header[200];
	struct buf b = BUF_INIT;
	int fd;

	ask("GET", "/_/monitor", "", NULL);
	expect_status(200);
	ask("GET", "/", "Accept: text/html\r\n", NULL);
	expect_status(200);
	ask("GET", "/_/monitor/events", "", NULL);
	expect_error(401, "unauthorized");
	ask("GET", "/_/monitor/events", "Authorization: Bearer rct_00\r\n",
	    NULL);
	expect_error(401, "unauthorized");
	snprintf(header, sizeof(header), "Authorization: Bearer %s\r\n",
		 secret);
	fd = open_stream(header);
	expect_in_stream(fd, &b, "event: figures");
	close(fd);
	buf_done(&b);
}

static void a_token_that_goes_ends_its_stream(void **state)
{
	struct store_token t = { .name = "reader", .right = STORE_RIGHT_READ };
	struct buf b = BUF_INIT;
	char header[200];
	int fd;

	snprintf(header, sizeof(header), "Authorization: Bearer %s\r\n",
		 secret);
	fd = open_stream(header);
	expect_in_stream(fd, &b, "event: figures");
	pthread_mutex_lock(&fixture.store->lock);
	assert_int_equal(mem_remove_token(fixture.store, &t), OK);
	pthread_mutex_unlock(&fixture.store->lock);
	expect_in_stream(fd, &b, "\r\n0\r\n\r\n");
	close(fd);
	buf_done(&b);
}

#define T(name)	      cmocka_unit_test_setup_teardown(name, fixture_start, stop)
#define GUARDED(name) cmocka_unit_test_setup_teardown(name, start_guarded, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_page_runs_only_its_own_script),
		T(only_who_wants_html_gets_it_at_the_root),
		T(a_node_that_waits_has_the_page_and_no_figures),
		T(others_are_shown_by_their_reports),
		T(nothing_is_collected_for_nobody),
		T(who_is_asked_tells_the_other_member),
		T(streams_are_limited_and_places_come_back),
		T(how_long_one_looks_is_no_time_of_a_request),
		T(a_server_that_stops_ends_its_streams),
		GUARDED(the_page_needs_no_token_and_the_figures_do),
		GUARDED(a_token_that_goes_ends_its_stream),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
