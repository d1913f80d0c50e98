/*
 * tests/httpd/test_guard.c - proves httpd/guard.c: pages of other sites, and
 * names that are not this machine's.
 */
#include "tests/httpd/server_fixture.h"

static void start_with(const char *origin, bool tokens)
{
	struct httpd_options o = fixture_options();

	o.access.guard_host = true;
	o.access.allow_origin = origin;
	o.access.tokens = tokens;
	fixture_start_with(o);
}

static int start(void **state)
{
	start_with("https://app.example.com", false);
	return 0;
}

static int start_closed(void **state)
{
	start_with("", false);
	return 0;
}

static int start_tokens(void **state)
{
	start_with("", true);
	return 0;
}

static int start_open(void **state)
{
	start_with("*", false);
	return 0;
}

/* A request with these header lines and no Host of the client's own. */
static int say(const char *line, const char *headers)
{
	static char got[8192];
	char request[1024];
	int fd = client_connect(fixture.port), status = 0;
	size_t n = 0;
	ssize_t more;

	snprintf(request, sizeof(request),
		 "%s HTTP/1.1\r\n%sConnection: close\r\nContent-Length: 0\r\n"
		 "\r\n",
		 line, headers);
	assert_true(client_send(fd, request, strlen(request)));
	while ((more = client_read(fd, got + n, sizeof(got) - 1 - n,
				   CLIENT_WAIT_MS)) > 0)
		n += (size_t)more;
	got[n] = 0;
	close(fd);
	sscanf(got, "HTTP/1.1 %d", &status);
	return status;
}

static void foreign_pages_get_nothing(void **state)
{
	static const char *const origins[] = {
		"http://evil.example",
		"https://evil.example:8080",
		"null",
		"http://t.evil.example",
		"http://127.0.0.1:1",
		"file://",
		"https://app.example.com.evil.example",
		"https://xapp.example.com",
		"http://app.example.com",
		"https://app.example.com:444",
		"",
		"app.example.com",
	};
	char headers[256];

	for (size_t i = 0; i < sizeof(origins) / sizeof(origins[0]); i++) {
		snprintf(headers, sizeof(headers), "Origin: %s\r\n",
			 origins[i]);
		ask("GET", "/k", headers, NULL);
		expect_error(403, "foreign_origin");
		expect_no_header("Access-Control-Allow-Origin");
		ask("PUT", "/k", headers, "x");
		expect_error(403, "foreign_origin");
		ask("OPTIONS", "/k", headers, NULL);
		expect_error(403, "foreign_origin");
	}
	assert_int_equal(fixture.store->count, 0);
	ask("GET", "/_/metrics", "", NULL);
	assert_non_null(strstr((char *)fixture.a.body.p,
			       "refused_total{reason=\"origin\"} 36\n"));
}

static void the_node_s_own_pages_may(void **state)
{
	ask("PUT", "/k", "Origin: http://t\r\n", "x");
	expect_status(201);
	expect_no_header("Access-Control-Allow-Origin");
	ask("GET", "/k", "Origin: https://T\r\n", NULL);
	expect_status(200);
}

static void an_allowed_page_may_and_is_told(void **state)
{
	const char *origin = "Origin: https://app.example.com\r\n";

	ask("PUT", "/k", origin, "x");
	expect_status(201);
	expect_header("Access-Control-Allow-Origin", "https://app.example.com");
	expect_header("Vary", "Origin");
	ask("GET", "/missing", origin, NULL);
	expect_error(404, "not_found");
	expect_header("Access-Control-Allow-Origin", "https://app.example.com");
	assert_non_null(strstr(
		answer_header(&fixture.a, "Access-Control-Expose-Headers"),
		"ETag"));
}

static void preflights_are_answered(void **state)
{
	const char *headers = "Origin: https://app.example.com\r\n"
			      "Access-Control-Request-Method: PUT\r\n"
			      "Access-Control-Request-Headers: if-match\r\n";

	ask("OPTIONS", "/k", headers, NULL);
	expect_status(204);
	expect_header("Access-Control-Allow-Origin", "https://app.example.com");
	assert_non_null(strstr(
		answer_header(&fixture.a, "Access-Control-Allow-Methods"),
		"PUT"));
	assert_non_null(strstr(
		answer_header(&fixture.a, "Access-Control-Allow-Headers"),
		"If-Match"));
	/* An OPTIONS that asks for nothing is a method like any other. */
	ask("OPTIONS", "/k", "Origin: https://app.example.com\r\n", NULL);
	expect_error(405, "method_not_allowed");
	ask("OPTIONS", "/k", "", NULL);
	expect_error(405, "method_not_allowed");
}

static void nothing_is_allowed_by_default(void **state)
{
	ask("GET", "/k", "Origin: https://app.example.com\r\n", NULL);
	expect_error(403, "foreign_origin");
	ask("GET", "/k", "Origin: \r\n", NULL);
	expect_error(403, "foreign_origin");
}

static void a_star_lets_all_in(void **state)
{
	ask("PUT", "/k", "Origin: http://evil.example\r\n", "x");
	expect_status(201);
	expect_header("Access-Control-Allow-Origin", "http://evil.example");
}

static void what_pages_embed_is_not_served(void **state)
{
	ask("GET", "/k",
	    "Sec-Fetch-Site: cross-site\r\n"
	    "Sec-Fetch-Mode: no-cors\r\n",
	    NULL);
	expect_error(403, "foreign_origin");
	ask("GET", "/k",
	    "Sec-Fetch-Site: cross-site\r\n"
	    "Sec-Fetch-Mode: navigate\r\n",
	    NULL);
	expect_error(404, "not_found");
	ask("GET", "/k", "Sec-Fetch-Site: none\r\n", NULL);
	expect_error(404, "not_found");
}

static void names_of_others_are_refused(void **state)
{
	static const char *const bad[] = {
		"Host: evil.example\r\n",
		"Host: evil.example:8080\r\n",
		"Host: 127.0.0.1.evil.example\r\n",
		"Host: localhost.evil.example\r\n",
		"Host: evil.example.\r\n",
		"Host: 1.2.3.4.5\r\n",
		"Host: app.example.com.evil\r\n",
	};
	static const char *const good[] = {
		"Host: localhost\r\n",
		"Host: localhost:8080\r\n",
		"Host: 127.0.0.1:8080\r\n",
		"Host: 10.1.2.3\r\n",
		"Host: [::1]:8080\r\n",
		"Host: [::1]\r\n",
		"Host: kv\r\n",
		"Host: kv.localhost:8080\r\n",
		"Host: app.example.com\r\n",
		"Host: APP.example.com:8080\r\n",
		"Host: localhost.\r\n",
		"Host: \r\n",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (say("GET /k", bad[i]) != 403 ||
		    say("PUT /k", bad[i]) != 403)
			fail_msg("%s", bad[i]);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		if (say("GET /k", good[i]) != 404)
			fail_msg("%s", good[i]);
	}
	/* As a page whose name was bound to this address would ask. */
	assert_int_equal(say("PUT /k", "Host: evil.example\r\n"
				       "Origin: http://evil.example\r\n"),
			 403);
	assert_int_equal(fixture.store->count, 0);
}

static void tokens_need_no_guard_of_names(void **state)
{
	assert_int_equal(say("GET /k", "Host: kv.example.com\r\n"), 401);
}

#define with(start, f) cmocka_unit_test_setup_teardown(f, start, fixture_stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with(start, foreign_pages_get_nothing),
		with(start, the_node_s_own_pages_may),
		with(start, an_allowed_page_may_and_is_told),
		with(start, preflights_are_answered),
		with(start_closed, nothing_is_allowed_by_default),
		with(start_open, a_star_lets_all_in),
		with(start_closed, what_pages_embed_is_not_served),
		with(start, names_of_others_are_refused),
		with(start_tokens, tokens_need_no_guard_of_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
