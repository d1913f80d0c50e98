/*
 * tests/httpd/test_auth.c - proves httpd/auth.c and httpd/tokens.c: who may do
 * what, whatever the request looks like.
 */
#include "tests/httpd/server_fixture.h"

#include "base/secret.h"

static char secret[MEM_TOKENS][SECRET_TEXT_BYTES];

/* Make a token whose text is secret[i]. */
static void add_token(int i, const char *name, enum store_right right,
		      const char *prefix)
{
	struct store_token t = { .right = right, .prefix = bytes_str(prefix) };

	snprintf(t.name, sizeof(t.name), "%s", name);
	assert_int_equal(secret_make(secret[i]), OK);
	assert_int_equal(secret_hash(bytes_str(secret[i]), t.hash), OK);
	pthread_mutex_lock(&fixture.store->lock);
	assert_int_equal(mem_add_token(fixture.store, &t), OK);
	pthread_mutex_unlock(&fixture.store->lock);
}

static void remove_token(const char *name)
{
	struct store_token t = { .right = STORE_RIGHT_READ };

	snprintf(t.name, sizeof(t.name), "%s", name);
	pthread_mutex_lock(&fixture.store->lock);
	assert_int_equal(mem_remove_token(fixture.store, &t), OK);
	pthread_mutex_unlock(&fixture.store->lock);
}

enum { ADMIN, READER, WRITER, ALL_READER, SMALL_ADMIN };

static int start(void **state)
{
	struct httpd_options o = fixture_options();

	o.access.tokens = true;
	o.request_timeout_ms = 5000;
	fixture_start_with(o);
	add_token(ADMIN, "admin", STORE_RIGHT_ADMIN, "");
	add_token(READER, "reader", STORE_RIGHT_READ, "app/");
	add_token(WRITER, "writer", STORE_RIGHT_WRITE, "app/");
	add_token(ALL_READER, "all", STORE_RIGHT_READ, "");
	add_token(SMALL_ADMIN, "small", STORE_RIGHT_ADMIN, "app/");
	return 0;
}

/* Ask with token i. */
static void ask_as(int i, const char *method, const char *target,
		   const char *body)
{
	char headers[256];

	snprintf(headers, sizeof(headers),
		 "Authorization: Bearer %s\r\nContent-Type: "
		 "application/json\r\n",
		 secret[i]);
	ask(method, target, headers, body);
}

#define VALUE "{\"value\":\"v\"}"

static void put(const char *target)
{
	ask_as(ADMIN, "POST", target, VALUE);
	expect_status(200);
}

static uint64_t revision(void)
{
	uint64_t rev;

	pthread_mutex_lock(&fixture.store->lock);
	rev = fixture.store->rev;
	pthread_mutex_unlock(&fixture.store->lock);
	return rev;
}

/* The body without its request id. */
static void copy_body(char *to)
{
	char *id;

	snprintf(to, 512, "%s", (char *)fixture.a.body.p);
	id = strstr(to, "request_id");
	if (id)
		*id = 0;
}

static void a_stranger_learns_nothing(void **state)
{
	static const struct {
		const char *method, *target, *body;
	} asked[] = {
		{ "GET", "/there", NULL },
		{ "GET", "/missing", NULL },
		{ "HEAD", "/there", NULL },
		{ "GET", "/there?raw", NULL },
		{ "GET", "/there?consistency=stale", NULL },
		{ "GET", "/there?watch&wait=1ms", NULL },
		{ "GET", "/a//b", NULL },
		{ "GET", "/a/../there", NULL },
		{ "PUT", "/there", "x" },
		{ "POST", "/there", VALUE },
		{ "DELETE", "/there", NULL },
		{ "BREW", "/there", NULL },
		{ "OPTIONS", "/there", NULL },
		{ "GET", "/_/kv/there", NULL },
		{ "GET", "/%5f/kv/there", NULL },
		{ "GET", "/", NULL },
		{ "GET", "/_/kv?prefix=t", NULL },
		{ "DELETE", "/_/kv?prefix=t", NULL },
		{ "DELETE", "/_/kv?all=1", NULL },
		{ "POST", "/_/txn", "{\"then\":[{\"get\":\"there\"}]}" },
		{ "POST", "/_/txn", "{}" },
		{ "POST", "/_/txn", "no json" },
		{ "GET", "/_/watch", NULL },
		{ "GET", "/_/watch?prefix=t", NULL },
		{ "GET", "/_/status", NULL },
		{ "GET", "/_/metrics", NULL },
		{ "GET", "/_/members", NULL },
		{ "POST", "/_/members", "{}" },
		{ "DELETE", "/_/members/n2", NULL },
		{ "POST", "/_/members/n2/replace", "" },
		{ "POST", "/_/transfer", "{\"to\":\"n2\"}" },
		{ "POST", "/_/merge", "" },
		{ "GET", "/_/snapshot", NULL },
		{ "GET", "/_/tokens", NULL },
		{ "POST", "/_/tokens", "{}" },
		{ "DELETE", "/_/tokens/admin", NULL },
		{ "GET", "/_/nothing", NULL },
		{ "GET", "/_/", NULL },
	};
	static const char *const shown[] = {
		"",
		"Authorization: Bearer\r\n",
		"Authorization: Bearer \r\n",
		"Authorization: Basic YTpi\r\n",
		"Authorization: Bearer rct_"
		"0123456789abcdef0123456789abcdef"
		"0123456789abcdef0123456789abcdef\r\n",
	};
	char first[512], body[512];
	uint64_t rev, refused = 0;

	put("/there");
	rev = revision();
	for (size_t k = 0; k < sizeof(shown) / sizeof(shown[0]); k++) {
		first[0] = 0;
		for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
			ask(asked[i].method, asked[i].target, shown[k],
			    asked[i].body);
			if (fixture.a.status != 401)
				fail_msg("%s %s: %d", asked[i].method,
					 asked[i].target, fixture.a.status);
			expect_header("WWW-Authenticate", "Bearer");
			expect_no_header("ETag");
			expect_no_header("X-Raftcask-Revision");
			expect_no_header("Allow");
			refused++;
			if (strcmp(asked[i].method, "HEAD") == 0)
				continue;
			copy_body(body);
			if (!first[0])
				memcpy(first, body, sizeof(first));
			assert_string_equal(body, first);
		}
	}
	assert_int_equal(revision(), rev);
	ask("GET", "/_/health", "", NULL);
	expect_status(200);
	ask("GET", "/_/ready", "", NULL);
	expect_status(200);
	snprintf(body, sizeof(body),
		 "raftcask_http_refused_total{reason=\"token\"} %lu\n",
		 refused);
	ask_as(ADMIN, "GET", "/_/metrics", NULL);
	assert_non_null(strstr((char *)fixture.a.body.p, body));
}

static void two_tokens_or_a_torn_one_are_none(void **state)
{
	char headers[512];

	put("/there");
	snprintf(headers, sizeof(headers),
		 "Authorization: Bearer %s\r\nAuthorization: Bearer %s\r\n",
		 secret[ADMIN], secret[ADMIN]);
	ask("GET", "/there", headers, NULL);
	expect_error(401, "unauthorized");
	snprintf(headers, sizeof(headers), "Authorization: Bearer %.67s\r\n",
		 secret[ADMIN]);
	ask("GET", "/there", headers, NULL);
	expect_error(401, "unauthorized");
	snprintf(headers, sizeof(headers), "Authorization: Bearer %s0\r\n",
		 secret[ADMIN]);
	ask("GET", "/there", headers, NULL);
	expect_error(401, "unauthorized");
	snprintf(headers, sizeof(headers), "Authorization: bEARER  %s\r\n",
		 secret[ADMIN]);
	ask("GET", "/there", headers, NULL);
	expect_status(200);
	snprintf(headers, sizeof(headers), "X: y\r\n");
	ask("GET", "/there?token=x", headers, NULL);
	expect_error(401, "unauthorized");
}

static void rights_end_where_the_prefix_ends(void **state)
{
	static const char *const outside[] = {
		"/secret",
		"/app",
		"/ap",
		"/appx",
		"/_/kv/secret",
		"/_/kv/app",
		"/%5F/kv/secret",
		"/_%2Fkv/secret",
		"/%73ecret",
		"/app%00/",
		"/_/kv/_/kv/app/a",
		"/_/kv//app/a",
		"//app/a",
		"/./app/a",
		"/x/../app/a",
		"http://x/secret",
		"http://x/_/kv/secret",
		"/App/a",
		"/secret?prefix=app/",
		"/secret?x=/app/",
	};
	char want[512], body[512];
	uint64_t rev;

	put("/secret");
	put("/app/a");
	rev = revision();
	ask_as(WRITER, "GET", "/missing", NULL);
	expect_error(403, "forbidden");
	copy_body(want);
	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		static const char *const methods[] = { "GET", "POST",
						       "DELETE" };

		for (int k = 0; k < 3; k++) {
			ask_as(WRITER, methods[k], outside[i],
			       k == 1 ? VALUE : NULL);
			copy_body(body);
			if (fixture.a.status != 403 || strcmp(body, want) != 0)
				fail_msg("%s %s: %d %s", methods[k], outside[i],
					 fixture.a.status, body);
		}
	}
	assert_int_equal(revision(), rev);
	/* What only looks as if it led out is no key, and stays inside. */
	ask_as(WRITER, "GET", "/app/../secret", NULL);
	expect_error(400, "bad_key");
	ask_as(WRITER, "GET", "/app/%2e%2e/secret", NULL);
	expect_error(400, "bad_key");
	ask_as(WRITER, "GET", "/app%2f..%2fsecret", NULL);
	expect_error(400, "bad_key");
	/* Inside, by every name. */
	ask_as(WRITER, "GET", "/app/a", NULL);
	expect_status(200);
	ask_as(WRITER, "GET", "/app%2Fa", NULL);
	expect_status(200);
	ask_as(WRITER, "GET", "/_/kv/app/a", NULL);
	expect_status(200);
	ask_as(WRITER, "POST", "/app/b", VALUE);
	expect_status(200);
	ask_as(WRITER, "DELETE", "/app/b", NULL);
	expect_status(200);
}

static void reading_is_not_writing(void **state)
{
	uint64_t rev;

	put("/app/a");
	rev = revision();
	ask_as(READER, "GET", "/app/a", NULL);
	expect_status(200);
	ask_as(READER, "HEAD", "/app/missing", NULL);
	expect_status(404);
	ask_as(READER, "GET", "/_/kv?prefix=app/", NULL);
	expect_status(200);
	ask_as(READER, "POST", "/app/a", VALUE);
	expect_error(403, "forbidden");
	ask_as(READER, "DELETE", "/app/a", NULL);
	expect_error(403, "forbidden");
	ask_as(READER, "DELETE", "/_/kv?prefix=app/", NULL);
	expect_error(403, "forbidden");
	ask_as(READER, "POST", "/_/txn",
	       "{\"then\":[{\"put\":\"app/a\",\"value\":\"x\"}]}");
	expect_error(403, "forbidden");
	assert_int_equal(revision(), rev);
	ask_as(READER, "POST", "/_/txn",
	       "{\"if\":[{\"key\":\"app/a\",\"exists\":true}],"
	       "\"then\":[{\"get\":\"app/a\"}]}");
	expect_status(200);
}

static void lists_and_watches_stay_inside(void **state)
{
	static const char *const outside[] = {
		"/",
		"/_/kv",
		"/_/kv?prefix=",
		"/_/kv?prefix=ap",
		"/_/kv?prefix=app",
		"/_/kv?start=app/&end=app0",
		"/_/kv?prefix=secret&start=app/&end=app0",
		"/_/kv?prefix=%61pp",
		"/_/kv?after=YXBwL2E",
		"/_/watch",
		"/_/watch?prefix=app",
		"/_/watch?after=1",
		"/_/kv?prefix=APP/",
	};

	put("/app/a");
	put("/secret");
	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		ask_as(READER, "GET", outside[i], NULL);
		if (fixture.a.status != 403)
			fail_msg("%s: %d", outside[i], fixture.a.status);
	}
	ask_as(WRITER, "DELETE", "/_/kv?prefix=app", NULL);
	expect_error(403, "forbidden");
	ask_as(WRITER, "DELETE", "/_/kv?all=1", NULL);
	expect_error(403, "forbidden");
	ask_as(READER, "GET", "/_/kv?prefix=app/", NULL);
	expect_status(200);
	ask_as(READER, "GET", "/_/kv?prefix=app/a", NULL);
	expect_status(200);
	ask_as(ALL_READER, "GET", "/", NULL);
	expect_status(200);
	/* A bound that points out of the prefix leads nowhere. */
	ask_as(READER, "GET", "/_/kv?prefix=app/&start=secret", NULL);
	expect_status(200);
	assert_null(strstr((char *)fixture.a.body.p, "secret"));
	ask_as(READER, "GET", "/_/kv?prefix=app/&end=z&reverse=1", NULL);
	assert_null(strstr((char *)fixture.a.body.p, "secret"));
}

/* One key outside, wherever it stands, and nothing of the batch happens. */
static void a_batch_needs_every_right(void **state)
{
	static const char *const bodies[] = {
		"{\"if\":[{\"key\":\"secret\",\"exists\":true}],"
		"\"then\":[{\"put\":\"app/n\",\"value\":\"x\"}]}",
		"{\"if\":[{\"key\":\"secret\",\"value\":\"v\"}]}",
		"{\"then\":[{\"put\":\"app/n\",\"value\":\"x\"},"
		"{\"get\":\"secret\"}]}",
		"{\"then\":[{\"put\":\"app/n\",\"value\":\"x\"},"
		"{\"delete\":\"secret\"}]}",
		"{\"then\":[{\"put\":\"app/n\",\"value\":\"x\"}],"
		"\"else\":[{\"get\":\"secret\"}]}",
		"{\"then\":[{\"put\":\"app/n\",\"value\":\"x\"}],"
		"\"else\":[{\"put\":\"secret\",\"value\":\"x\"}]}",
		"{\"then\":[{\"get\":\"c2VjcmV0\",\"encoding\":\"base64\"}]}",
		"{\"then\":[{\"get\":\"\\u0073ecret\"}]}",
		"{\"then\":[{\"get\":\"app\"}]}",
	};
	uint64_t rev;

	put("/secret");
	rev = revision();
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		ask_as(WRITER, "POST", "/_/txn", bodies[i]);
		if (fixture.a.status != 403)
			fail_msg("%s: %d", bodies[i], fixture.a.status);
	}
	assert_int_equal(revision(), rev);
	ask_as(WRITER, "POST", "/_/txn",
	       "{\"then\":[{\"put\":\"YXBwL24=\",\"encoding\":\"base64\","
	       "\"value\":\"x\"}]}");
	expect_status(200);
}

static void the_system_is_for_administrators(void **state)
{
	static const int others[] = { READER, WRITER, ALL_READER, SMALL_ADMIN };

	for (int i = 0; i < 4; i++) {
		ask_as(others[i], "POST", "/_/merge", "");
		expect_error(403, "forbidden");
		ask_as(others[i], "GET", "/_/snapshot", NULL);
		expect_error(403, "forbidden");
		ask_as(others[i], "POST", "/_/members", "{}");
		expect_error(403, "forbidden");
		ask_as(others[i], "DELETE", "/_/members/n2", NULL);
		expect_error(403, "forbidden");
		ask_as(others[i], "POST", "/_/members/n2/promote", "");
		expect_error(403, "forbidden");
		ask_as(others[i], "POST", "/_/transfer", "{\"to\":\"n2\"}");
		expect_error(403, "forbidden");
		ask_as(others[i], "GET", "/_/status", NULL);
		expect_status(200);
		ask_as(others[i], "GET", "/_/members", NULL);
		expect_status(200);
	}
	ask_as(READER, "GET", "/_/tokens", NULL);
	expect_error(403, "forbidden");
	ask_as(WRITER, "DELETE", "/_/tokens/reader", NULL);
	expect_error(403, "forbidden");
	ask_as(WRITER, "POST", "/_/tokens",
	       "{\"name\":\"x\",\"prefix\":\"app/\",\"rights\":\"rw\"}");
	expect_error(403, "forbidden");
	ask_as(ADMIN, "POST", "/_/merge", "");
	expect_status(200);
	ask_as(ADMIN, "GET", "/_/snapshot", NULL);
	expect_status(200);
}

/* The token in the last answer, as secret[i]. */
static void take_secret(int i)
{
	char *at = strstr((char *)fixture.a.body.p, "rct_");

	assert_non_null(at);
	snprintf(secret[i], SECRET_TEXT_BYTES, "%.68s", at);
}

static void tokens_are_made_shown_and_removed(void **state)
{
	ask_as(ADMIN, "POST", "/_/tokens",
	       "{\"name\":\"n\",\"prefix\":\"x/\",\"rights\":\"rw\"}");
	expect_status(200);
	take_secret(10);
	ask_as(10, "POST", "/x/a", VALUE);
	expect_status(200);
	ask_as(10, "POST", "/y", VALUE);
	expect_error(403, "forbidden");
	ask_as(ADMIN, "GET", "/_/tokens", NULL);
	expect_status(200);
	expect_body("{\"tokens\":["
		    "{\"name\":\"admin\",\"prefix\":\"\",\"rights\":\"admin\"},"
		    "{\"name\":\"reader\",\"prefix\":\"app/\","
		    "\"rights\":\"r\"},"
		    "{\"name\":\"writer\",\"prefix\":\"app/\","
		    "\"rights\":\"rw\"},"
		    "{\"name\":\"all\",\"prefix\":\"\",\"rights\":\"r\"},"
		    "{\"name\":\"small\",\"prefix\":\"app/\","
		    "\"rights\":\"admin\"},"
		    "{\"name\":\"n\",\"prefix\":\"x/\",\"rights\":\"rw\"}]}");
	ask_as(ADMIN, "POST", "/_/tokens",
	       "{\"name\":\"n\",\"prefix\":\"y/\",\"rights\":\"r\"}");
	expect_error(409, "token_exists");
	ask_as(ADMIN, "DELETE", "/_/tokens/n", NULL);
	expect_status(200);
	ask_as(10, "POST", "/x/a", VALUE);
	expect_error(401, "unauthorized");
	ask_as(ADMIN, "DELETE", "/_/tokens/n", NULL);
	expect_error(404, "not_found");
	ask_as(ADMIN, "DELETE", "/_/tokens/no%20name", NULL);
	expect_error(404, "not_found");
	ask_as(ADMIN, "PUT", "/_/tokens/n", "x");
	expect_error(405, "method_not_allowed");
}

static void a_token_that_is_asked_for_wrongly_is_not_made(void **state)
{
	static const char *const bodies[] = {
		"",
		"[]",
		"{}",
		"{\"name\":\"n\",\"rights\":\"r\"}",
		"{\"prefix\":\"\",\"rights\":\"r\"}",
		"{\"name\":\"n\",\"prefix\":\"\"}",
		"{\"name\":\"n\",\"prefix\":\"\",\"rights\":\"\"}",
		"{\"name\":\"n\",\"prefix\":\"\",\"rights\":\"root\"}",
		"{\"name\":\"n\",\"prefix\":\"\",\"rights\":7}",
		"{\"name\":7,\"prefix\":\"\",\"rights\":\"r\"}",
		"{\"name\":\"n\",\"prefix\":[],\"rights\":\"r\"}",
		"{\"name\":\"n\",\"prefix\":\"\",\"rights\":\"r\",\"x\":1}",
		"{\"name\":\"n\",\"prefix\":\"!\",\"encoding\":\"base64\","
		"\"rights\":\"r\"}",
		"{\"name\":\"n\",\"prefix\":\"a\",\"encoding\":\"hex\","
		"\"rights\":\"r\"}",
		"{\"name\":\"n\\u0000\",\"prefix\":\"\",\"rights\":\"r\"}",
	};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		ask_as(ADMIN, "POST", "/_/tokens", bodies[i]);
		expect_error(400, "bad_request");
		assert_null(strstr((char *)fixture.a.body.p, "rct_"));
	}
	assert_null(mem_token_named(fixture.store, "n"));
}

static void an_administrator_of_a_prefix_stays_below_it(void **state)
{
	ask_as(SMALL_ADMIN, "GET", "/_/tokens", NULL);
	expect_status(200);
	assert_null(strstr((char *)fixture.a.body.p, "\"all\""));
	assert_non_null(strstr((char *)fixture.a.body.p, "\"writer\""));
	ask_as(SMALL_ADMIN, "POST", "/_/tokens",
	       "{\"name\":\"s\",\"prefix\":\"\",\"rights\":\"r\"}");
	expect_error(403, "forbidden");
	ask_as(SMALL_ADMIN, "POST", "/_/tokens",
	       "{\"name\":\"s\",\"prefix\":\"app\",\"rights\":\"r\"}");
	expect_error(403, "forbidden");
	ask_as(SMALL_ADMIN, "POST", "/_/tokens",
	       "{\"name\":\"s\",\"prefix\":\"app/s/\",\"rights\":\"rw\"}");
	expect_status(200);
	/* One that it may not see is not there. */
	ask_as(SMALL_ADMIN, "DELETE", "/_/tokens/all", NULL);
	expect_error(404, "not_found");
	ask_as(SMALL_ADMIN, "DELETE", "/_/tokens/none", NULL);
	expect_error(404, "not_found");
	ask_as(SMALL_ADMIN, "DELETE", "/_/tokens/writer", NULL);
	expect_status(200);
	ask_as(SMALL_ADMIN, "DELETE", "/_/tokens/small", NULL);
	expect_status(200);
	ask_as(SMALL_ADMIN, "GET", "/_/tokens", NULL);
	expect_error(401, "unauthorized");
}

/* Open a connection, ask, read the head of the answer if there is to be one. */
static int open_as(int i, const char *target, const char *text)
{
	char request[512], got[2048];
	size_t n = 0;
	int fd = client_connect(fixture.port);

	snprintf(request, sizeof(request),
		 "GET %s HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer %s\r\n"
		 "\r\n",
		 target, secret[i]);
	assert_true(client_send(fd, request, strlen(request)));
	got[0] = 0;
	while (text && !strstr(got, text)) {
		ssize_t more = client_read(fd, got + n, sizeof(got) - 1 - n,
					   CLIENT_WAIT_MS);

		assert_true(more > 0);
		n += (size_t)more;
		got[n] = 0;
	}
	return fd;
}

/* Read to the end; false: it does not come soon. */
static bool ends(int fd, char *got, size_t room)
{
	size_t n = 0;
	ssize_t more;

	do {
		more = client_read(fd, got + n, room - 1 - n, 5000);
		if (more > 0)
			n += (size_t)more;
	} while (more > 0);
	got[n] = 0;
	close(fd);
	return more == 0;
}

static void wait_watches(int count)
{
	int n = -1;

	for (int i = 0; i < 500 && n != count; i++) {
		pthread_mutex_lock(&fixture.store->lock);
		n = fixture.store->open_watches;
		pthread_mutex_unlock(&fixture.store->lock);
		usleep(10000);
	}
	assert_int_equal(n, count);
}

static void a_removed_token_sees_nothing_more(void **state)
{
	int stream, other, poll;
	char got[4096];

	put("/app/a");
	stream = open_as(READER, "/_/watch?prefix=app/", ": raftcask");
	other = open_as(ALL_READER, "/_/watch?prefix=app/", ": raftcask");
	poll = open_as(READER, "/app/a?watch&wait=60s", NULL);
	wait_watches(3);
	remove_token("reader");
	/* It ends by itself, without an event and long before a heartbeat. */
	assert_true(ends(stream, got, sizeof(got)));
	wait_watches(1);
	assert_true(client_read(poll, got, sizeof(got) - 1, 5000) > 0);
	assert_memory_equal(got, "HTTP/1.1 401", 12);
	close(poll);
	/* Who still may goes on. */
	put("/app/a");
	got[0] = 0;
	for (size_t n = 0; !strstr(got, "event: put");) {
		ssize_t more = client_read(other, got + n, sizeof(got) - 1 - n,
					   CLIENT_WAIT_MS);

		assert_true(more > 0);
		n += (size_t)more;
		got[n] = 0;
	}
	close(other);
}

static void a_poll_outlives_the_change_of_another_token(void **state)
{
	char got[4096];
	int poll;

	put("/app/a");
	poll = open_as(READER, "/app/a?watch&wait=60s", NULL);
	wait_watches(1);
	remove_token("writer");
	assert_int_equal(client_read(poll, got, sizeof(got), 700), -1);
	put("/app/a");
	assert_true(client_read(poll, got, sizeof(got) - 1, 5000) > 0);
	assert_memory_equal(got, "HTTP/1.1 200", 12);
	close(poll);
}

static void a_body_that_ends_after_its_token_changes_nothing(void **state)
{
	char request[512], got[1024];
	int fd = client_connect(fixture.port);
	uint64_t rev;

	put("/app/a");
	rev = revision();
	snprintf(request, sizeof(request),
		 "PUT /app/b HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer %s"
		 "\r\nContent-Length: 4\r\n\r\nab",
		 secret[WRITER]);
	assert_true(client_send(fd, request, strlen(request)));
	usleep(200000);
	remove_token("writer");
	assert_true(client_send(fd, "cd", 2));
	assert_true(client_read(fd, got, sizeof(got), 5000) > 0);
	assert_memory_equal(got, "HTTP/1.1 401", 12);
	close(fd);
	assert_int_equal(revision(), rev);
}

/* Ask, let the token go while the answer waits for freshness, read it. */
static void read_across_removal(int who, const char *name, const char *target)
{
	bool waits = false;
	char got[4096];
	int fd;

	knob(barrier_err, ERR_PENDING);
	knob(silent, true);
	fd = open_as(who, target, NULL);
	for (int i = 0; i < 500 && !waits; i++) {
		pthread_mutex_lock(&fixture.store->lock);
		waits = fixture.store->barriers != NULL;
		pthread_mutex_unlock(&fixture.store->lock);
		usleep(10000);
	}
	assert_true(waits);
	remove_token(name);
	knob(silent, false);
	assert_true(client_read(fd, got, sizeof(got) - 1, 5000) > 0);
	assert_memory_equal(got, "HTTP/1.1 401", 12);
	close(fd);
}

static void a_read_that_waited_is_as_new(void **state)
{
	put("/app/a");
	read_across_removal(READER, "reader", "/app/a");
	knob(barrier_err, OK);
	read_across_removal(ALL_READER, "all", "/_/kv?prefix=app/");
}

static void a_node_without_a_state_sends_nobody_away(void **state)
{
	put("/app/a");
	knob(tokens_unknown, true);
	ask("GET", "/app/a", "", NULL);
	expect_error(503, "starting");
	expect_header("Retry-After", "1");
	ask("GET", "/_/metrics", "", NULL);
	expect_error(503, "starting");
	knob(tokens_unknown, false);
	ask("GET", "/app/a", "", NULL);
	expect_error(401, "unauthorized");
}

/* That it was removed is said; of what names nodes and files, nothing. */
static void a_node_that_was_removed_says_so_to_strangers(void **state)
{
	httpd_hold(fixture.httpd, "removed", "empty /srv/secret first");
	ask("GET", "/_/ready", "", NULL);
	expect_error(503, "removed");
	expect_header("Retry-After", "1");
	assert_null(strstr((char *)fixture.a.body.p, "secret"));
	httpd_hold(fixture.httpd, "starting", "waits for n2");
	ask("GET", "/_/ready", "", NULL);
	expect_error(503, "starting");
	assert_null(strstr((char *)fixture.a.body.p, "n2"));
}

static void asking_for_tokens_begins_and_ends_at_once(void **state)
{
	struct httpd_access access = { .tokens = false };

	put("/there");
	httpd_set_access(fixture.httpd, &access);
	ask("GET", "/there", "", NULL);
	expect_status(200);
	access.tokens = true;
	httpd_set_access(fixture.httpd, &access);
	ask("GET", "/there", "", NULL);
	expect_error(401, "unauthorized");
}

#define with_tokens(f) cmocka_unit_test_setup_teardown(f, start, fixture_stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_tokens(a_stranger_learns_nothing),
		with_tokens(two_tokens_or_a_torn_one_are_none),
		with_tokens(rights_end_where_the_prefix_ends),
		with_tokens(reading_is_not_writing),
		with_tokens(lists_and_watches_stay_inside),
		with_tokens(a_batch_needs_every_right),
		with_tokens(the_system_is_for_administrators),
		with_tokens(tokens_are_made_shown_and_removed),
		with_tokens(a_token_that_is_asked_for_wrongly_is_not_made),
		with_tokens(an_administrator_of_a_prefix_stays_below_it),
		with_tokens(a_removed_token_sees_nothing_more),
		with_tokens(a_poll_outlives_the_change_of_another_token),
		with_tokens(a_body_that_ends_after_its_token_changes_nothing),
		with_tokens(a_read_that_waited_is_as_new),
		with_tokens(a_node_without_a_state_sends_nobody_away),
		with_tokens(a_node_that_was_removed_says_so_to_strangers),
		with_tokens(asking_for_tokens_begins_and_ends_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
