/*
 * tests/httpd/test_server.c - each row of the HTTP interface over real
 * sockets, with a store in memory beneath.
 */
#include "tests/httpd/server_fixture.h"

#include <json-c/json.h>

static void the_three_calls_of_the_seed(void **state)
{
	ask("POST", "/outspace", JSON_TYPE, "{\"value\":\"outof file\"}");
	expect_status(200);
	expect_body("{\"success\":true}");
	expect_header("Content-Type", "application/json");
	expect_header("ETag", "\"1\"");
	expect_header("X-Raftcask-Revision", "1");
	ask("GET", "/outspace", "", NULL);
	expect_status(200);
	expect_body("{\"value\":\"outof file\"}");
	expect_header("Content-Type", "application/json");
	ask("DELETE", "/outspace", "", NULL);
	expect_status(200);
	expect_body("{\"success\":true}");
	ask("DELETE", "/outspace", "", NULL);
	expect_status(200);
	expect_body("{\"success\":true}");
	ask("GET", "/outspace", "", NULL);
	expect_error(404, "not_found");
	expect_no_header("ETag");
	expect_header("X-Raftcask-Revision", "3");
}

static void content_types_choose_the_dialect(void **state)
{
	ask("POST", "/a", "", "{\"value\":\"1\"}");
	expect_status(200);
	ask("PUT", "/a", JSON_TYPE, "{\"value\":\"2\"}");
	expect_status(200);
	expect_body("{\"success\":true}");
	ask("PUT", "/a", "Content-Type: application/JSON; charset=utf-8\r\n",
	    "{\"value\":\"3\"}");
	expect_status(200);
	ask("PUT", "/a", "", "{\"value\":\"4\"}");
	expect_status(204);
	ask("GET", "/a?raw", "", NULL);
	expect_body("{\"value\":\"4\"}");
	ask("PUT", "/b", "Content-Type: text/plain\r\n", "raw");
	expect_status(201);
	ask("POST", "/a", "Content-Type: text/plain\r\n", "{\"value\":\"5\"}");
	expect_error(400, "bad_request");
}

static void empty_values_are_stored(void **state)
{
	ask("POST", "/e", "", "{\"value\":\"\"}");
	expect_status(200);
	ask("GET", "/e", "", NULL);
	expect_body("{\"value\":\"\"}");
	ask("PUT", "/e", "Content-Length: 0\r\n", NULL);
	expect_status(204);
	ask("GET", "/e?raw", "", NULL);
	expect_status(200);
	expect_header("Content-Length", "0");
}

static void bytes_that_are_no_text_come_as_base64(void **state)
{
	ask("POST", "/b", "", "{\"value\":\"/wA=\",\"encoding\":\"base64\"}");
	expect_status(200);
	ask("GET", "/b", "", NULL);
	expect_body("{\"value\":\"/wA=\",\"encoding\":\"base64\"}");
	ask("GET", "/b", "Accept: application/octet-stream\r\n", NULL);
	assert_int_equal(fixture.a.body.n, 2);
	assert_memory_equal(fixture.a.body.p, "\xff\0", 2);
	expect_header("Content-Type", "application/octet-stream");
	expect_header("X-Content-Type-Options", "nosniff");
	ask("POST", "/b", "", "{\"value\":\"/w\",\"encoding\":\"base64\"}");
	expect_error(400, "bad_request");
	ask("POST", "/b", "", "{\"value\":\"v\",\"encoding\":\"hex\"}");
	expect_error(400, "bad_request");
}

static void bad_json_stores_nothing(void **state)
{
	const char *bad[] = { "",
			      "{}",
			      "{\"value\":1}",
			      "{\"value\":null}",
			      "[\"value\"]",
			      "{\"value\":\"a\",\"value\":\"b\"}",
			      "{\"value\":\"\\ud800\"}",
			      "{\"value\":\"\t\"}",
			      "{\"value\":\"\xff\"}",
			      "{\"value\":NaN}",
			      "{\"value\":\"a\"} x",
			      "{\"value\":\"a\"" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ask("POST", "/j", "", bad[i]);
		expect_error(400, "bad_request");
	}
	ask("GET", "/j", "", NULL);
	expect_status(404);
	ask("POST", "/j", "", " {\"more\":[1], \"value\" : \"a\\u0000\\n\" } ");
	expect_status(200);
	ask("GET", "/j", "", NULL);
	expect_body("{\"value\":\"a\\u0000\\n\"}");
}

static void keys_are_the_decoded_path(void **state)
{
	ask("PUT", "/a/b%20c+d%2Be", "", "1");
	expect_status(201);
	ask("GET", "/a/b%20c%2bd+e?raw", "", NULL);
	expect_body("1");
	ask("GET", "/_/kv/a/b%20c+d+e?raw", "", NULL);
	expect_body("1");
	ask("PUT", "/_/kv/_/x", "", "2");
	expect_status(201);
	ask("GET", "/_/kv/_/x?raw", "", NULL);
	expect_body("2");
	ask("GET", "/_/x", "", NULL);
	expect_error(404, "not_found");
	ask("GET", "/%5f/kv/_/x?raw", "", NULL);
	expect_body("2");
	ask("DELETE", "/_/kv/_/x", "", NULL);
	ask("PUT", "/_", "", "3");
	expect_status(201);
	ask("GET", "http://any.host/_?raw", "", NULL);
	expect_body("3");
	ask("PUT", "/\xc3\xa9%ff", "", "4");
	expect_status(201);
	ask("GET", "/%c3%a9%FF?raw", "", NULL);
	expect_body("4");
}

static void bad_keys_are_refused(void **state)
{
	const char *bad[] = { "/a%00b", "/%00",	   "/a%zz", "/a%2", "/a//b",
			      "//a",	"/a/../b", "/.",    "/a/.", "/_/kv/" };
	char longest[4200] = "/";

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ask("GET", bad[i], "", NULL);
		expect_error(400, "bad_key");
		ask("PUT", bad[i], "", "x");
		expect_error(400, "bad_key");
	}
	memset(longest + 1, 'k', 256);
	ask("PUT", longest, "", "x");
	expect_error(400, "bad_key");
	longest[256] = 0;
	ask("PUT", longest, "", "x");
	expect_status(201);
	for (size_t i = 1; i <= 4096; i++)
		longest[i] = i % 200 ? 'k' : '/';
	ask("PUT", longest, "", "x");
	expect_error(414, "key_too_long");
	longest[4096] = 0;
	ask("PUT", longest, "", "x");
	expect_status(201);
}

/* Every byte of it escaped, and 3 KiB of header fields beside it. */
static void the_longest_key_fits_into_a_head(void **state)
{
	enum { KEY_BYTES = 4095, PAD = 3 << 10 };
	struct buf target = BUF_INIT, head = BUF_INIT;

	assert_int_equal(buf_addf(&target, "/"), OK);
	for (int i = 1; i <= KEY_BYTES; i++)
		assert_int_equal(buf_addf(&target, i % 200 ? "%%c3" : "/"), OK);
	assert_int_equal(buf_addf(&head, "X-Pad: %0*d\r\n", PAD, 1), OK);
	assert_int_equal(buf_add(&target, "", 1), OK);
	assert_int_equal(buf_add(&head, "", 1), OK);
	ask("PUT", (char *)target.p, (char *)head.p, "x");
	expect_status(201);
	ask("GET", (char *)target.p, (char *)head.p, NULL);
	expect_status(200);
	buf_done(&target);
	buf_done(&head);
}

static void large_values_stream_both_ways(void **state)
{
	size_t n = 5000000;
	char *big = malloc(n);

	for (size_t i = 0; i < n; i++)
		big[i] = (char)(i * 31 >> 3);
	client_request(fixture.port, "PUT", "/big", "", big, n, &fixture.a);
	expect_status(201);
	ask("GET", "/big?raw", "", NULL);
	expect_status(200);
	assert_int_equal(fixture.a.body.n, n);
	assert_memory_equal(fixture.a.body.p, big, n);
	ask("GET", "/big", "", NULL);
	expect_error(413, "value_too_large");
	assert_non_null(strstr((char *)fixture.a.body.p, "?raw"));
	ask("GET", "/big?raw", "Range: bytes=65530-65549\r\n", NULL);
	expect_status(206);
	assert_memory_equal(fixture.a.body.p, big + 65530, 20);
	ask("HEAD", "/big?raw", "", NULL);
	expect_status(200);
	expect_header("Content-Length", "5000000");
	free(big);
}

static void chunked_bodies_are_taken(void **state)
{
	const char text[] = "PUT /c HTTP/1.1\r\nHost: t\r\n"
			    "Transfer-Encoding: chunked\r\n\r\n"
			    "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";

	client_raw(fixture.port, text, sizeof(text) - 1, false, &fixture.a);
	expect_status(201);
	ask("GET", "/c?raw", "", NULL);
	expect_body("abcde");
}

/* libmicrohttpd offers chunk after chunk of what it has read, suspended or
 * not. */
static void many_small_chunks_wait_for_the_store(void **state)
{
	enum { CHUNKS = 5000, EACH = 1000 };
	size_t room = 200 + CHUNKS * (EACH + 16), n;
	char *text = malloc(room);

	for (int round = 0; round < 5; round++) {
		n = (size_t)sprintf(text,
				    "PUT /c%d HTTP/1.1\r\nHost: t\r\n"
				    "Transfer-Encoding: chunked\r\n\r\n",
				    round);
		for (int i = 0; i < CHUNKS; i++) {
			n += (size_t)sprintf(text + n, "%x\r\n", EACH);
			memset(text + n, 'a' + i % 26, EACH);
			n += EACH;
			n += (size_t)sprintf(text + n, "\r\n");
		}
		n += (size_t)sprintf(text + n, "0\r\n\r\n");
		answer_done(&fixture.a);
		client_raw(fixture.port, text, n, false, &fixture.a);
		expect_status(201);
	}
	ask("GET", "/c4?raw", "", NULL);
	expect_status(200);
	assert_int_equal(fixture.a.body.n, CHUNKS * EACH);
	for (int i = 0; i < CHUNKS * EACH; i++)
		assert_int_equal(fixture.a.body.p[i], 'a' + i / EACH % 26);
	free(text);
}

static void json_values_end_at_one_mebibyte(void **state)
{
	size_t n = HTTPD_JSON_VALUE_BYTES_MAX;
	char *text = malloc(n + 100);
	size_t head = (size_t)sprintf(text, "{\"value\":\"");

	memset(text + head, 'v', n + 1);
	strcpy(text + head + n, "\"}");
	ask("POST", "/m", "", text);
	expect_status(200);
	ask("GET", "/m", "", NULL);
	expect_status(200);
	assert_int_equal(fixture.a.body.n, n + 12);
	strcpy(text + head + n, "v\"}");
	ask("POST", "/m", "", text);
	expect_error(413, "value_too_large");
	assert_non_null(strstr((char *)fixture.a.body.p, "PUT"));
	free(text);
}

static void the_size_limit_is_kept(void **state)
{
	size_t n = (8 << 20) + 1;
	char *big = calloc(1, n + 200);
	size_t head;

	client_request(fixture.port, "PUT", "/x", "", big, n - 1, &fixture.a);
	expect_status(201);
	answer_done(&fixture.a);
	client_request(fixture.port, "PUT", "/x", "", big, n, &fixture.a);
	expect_error(413, "value_too_large");
	/* Nobody knows how much comes: found out on the way. */
	head = (size_t)sprintf(big,
			       "PUT /y HTTP/1.1\r\nHost: t\r\n"
			       "Transfer-Encoding: chunked\r\n\r\n%zx\r\n",
			       n);
	answer_done(&fixture.a);
	client_raw(fixture.port, big, head + n, false, &fixture.a);
	expect_error(413, "value_too_large");
	ask("GET", "/y", "", NULL);
	expect_status(404);
	httpd_set_limits(fixture.httpd, 10, 100);
	ask("PUT", "/z", "", "12345678901");
	expect_error(413, "value_too_large");
	ask("POST", "/z", "", "{\"value\":\"12345678901\"}");
	expect_error(413, "value_too_large");
	ask("PUT", "/z", "", "1234567890");
	expect_status(201);
	free(big);
}

static void conditions_of_writes(void **state)
{
	ask("PUT", "/k", "If-Match: *\r\n", "v");
	expect_error(412, "precondition_failed");
	expect_no_header("ETag");
	ask("PUT", "/k", "If-None-Match: *\r\n", "v");
	expect_status(201);
	expect_header("ETag", "\"1\"");
	ask("PUT", "/k", "If-None-Match: *\r\n", "w");
	expect_error(412, "precondition_failed");
	expect_header("ETag", "\"1\"");
	ask("PUT", "/k", "If-Match: \"9\"\r\n", "w");
	expect_error(412, "precondition_failed");
	ask("PUT", "/k", "If-Match: W/\"1\"\r\n", "w");
	expect_error(412, "precondition_failed");
	ask("PUT", "/k", "If-Match: \"abc\"\r\n", "w");
	expect_error(412, "precondition_failed");
	ask("PUT", "/k", "If-Match: \"9\", \"1\"\r\n", "w");
	expect_status(204);
	expect_header("ETag", "\"2\"");
	ask("DELETE", "/k", "If-Match: \"1\"\r\n", NULL);
	expect_error(412, "precondition_failed");
	expect_header("ETag", "\"2\"");
	ask("POST", "/k", "If-Match: \"2\"\r\n", "{\"value\":\"x\"}");
	expect_status(200);
	ask("DELETE", "/k", "If-Match: \"3\"\r\n", NULL);
	expect_status(200);
	ask("PUT", "/k", "If-Match: 3\r\n", "w");
	expect_error(400, "bad_request");
	ask("PUT", "/k", "If-None-Match: \"3\"\r\n", "w");
	expect_error(400, "bad_request");
}

static void conditions_of_reads(void **state)
{
	ask("PUT", "/k", "", "v");
	ask("GET", "/k", "If-None-Match: \"1\"\r\n", NULL);
	expect_status(304);
	expect_header("ETag", "\"1\"");
	ask("GET", "/k", "If-None-Match: W/\"1\"\r\n", NULL);
	expect_status(304);
	ask("GET", "/k", "If-None-Match: \"2\"\r\n", NULL);
	expect_status(200);
	ask("GET", "/k", "If-None-Match: *\r\n", NULL);
	expect_status(304);
	ask("GET", "/k", "If-Match: \"2\"\r\n", NULL);
	expect_error(412, "precondition_failed");
	ask("HEAD", "/k", "", NULL);
	expect_status(200);
	expect_header("Content-Length", "13");
	expect_header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT");
}

static void ranges_of_raw_values(void **state)
{
	ask("PUT", "/r", "", "0123456789");
	ask("GET", "/r?raw", "Range: bytes=2-4\r\n", NULL);
	expect_status(206);
	expect_body("234");
	expect_header("Content-Range", "bytes 2-4/10");
	ask("GET", "/r?raw", "Range: bytes=-3\r\n", NULL);
	expect_body("789");
	ask("GET", "/r?raw", "Range: bytes=7-\r\n", NULL);
	expect_body("789");
	ask("GET", "/r?raw", "Range: bytes=10-\r\n", NULL);
	expect_error(416, "range_not_satisfiable");
	expect_header("Content-Range", "bytes */10");
	ask("GET", "/r?raw", "Range: bytes=0-1,3-4\r\n", NULL);
	expect_status(200);
	expect_body("0123456789");
	ask("GET", "/r?raw", "Range: bytes=0-1\r\nIf-Range: \"1\"\r\n", NULL);
	expect_status(206);
	ask("GET", "/r?raw", "Range: bytes=0-1\r\nIf-Range: \"9\"\r\n", NULL);
	expect_status(200);
	ask("GET", "/r", "Range: bytes=0-1\r\n", NULL);
	expect_status(200);
	expect_body("{\"value\":\"0123456789\"}");
}

static void ttl_goes_in_and_comes_out(void **state)
{
	ask("PUT", "/t?ttl=29731ms", "", "v");
	expect_status(201);
	ask("GET", "/t", "", NULL);
	expect_header("X-Raftcask-TTL", "29.731");
	ask("POST", "/t?ttl=30", "", "{\"value\":\"v\"}");
	ask("GET", "/t", "", NULL);
	expect_header("X-Raftcask-TTL", "30.000");
	ask("PUT", "/t", "", "v");
	ask("GET", "/t", "", NULL);
	expect_no_header("X-Raftcask-TTL");
	ask("PUT", "/t?ttl=soon", "", "v");
	expect_error(400, "bad_request");
}

static void the_tree_rules_are_conflicts(void **state)
{
	ask("PUT", "/a", "", "v");
	ask("PUT", "/a/b", "", "v");
	expect_error(409, "not_a_directory");
	ask("DELETE", "/a", "", NULL);
	ask("PUT", "/a/b", "", "v");
	expect_status(201);
	ask("PUT", "/a", "", "v");
	expect_error(409, "is_a_directory");
	ask("DELETE", "/a", "", NULL);
	expect_error(409, "is_a_directory");
}

static void special_files_are_not_values(void **state)
{
	ask("PUT", "/s", "", "target");
	knob(items[0].is_link, true);
	ask("GET", "/s", "", NULL);
	expect_error(409, "not_a_regular_file");
	ask("GET", "/s?raw", "", NULL);
	expect_body("target");
	ask("PUT", "/s", "", "x");
	expect_error(409, "not_a_regular_file");
	knob(items[0].is_special, true);
	ask("GET", "/s?raw", "", NULL);
	expect_error(409, "not_a_regular_file");
}

static void other_methods_are_told_what_is_allowed(void **state)
{
	const struct {
		const char *method, *target, *allow;
	} cases[] = {
		{ "PATCH", "/k", "GET, HEAD, PUT, POST, DELETE" },
		{ "OPTIONS", "/k", "GET, HEAD, PUT, POST, DELETE" },
		{ "get", "/k", "GET, HEAD, PUT, POST, DELETE" },
		{ "PUT", "/", "GET, HEAD" },
		{ "DELETE", "/", "GET, HEAD" },
		{ "PUT", "/_/kv", "GET, HEAD, DELETE" },
		{ "GET", "/_/txn", "POST" },
		{ "GET", "/_/merge", "POST" },
		{ "POST", "/_/status", "GET, HEAD" },
		{ "DELETE", "/_/watch", "GET, HEAD" },
		{ "PUT", "/_/members", "GET, HEAD, POST" },
		{ "GET", "/_/members/n2", "DELETE" },
		{ "GET", "/_/members/n2/promote", "POST" },
		{ "DELETE", "/_/members/n2/replace", "POST" },
		{ "GET", "/_/transfer", "POST" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ask(cases[i].method, cases[i].target, "", NULL);
		expect_error(405, "method_not_allowed");
		expect_header("Allow", cases[i].allow);
	}
}

static void parameters_are_checked(void **state)
{
	ask("GET", "/k?consistency=eventual", "", NULL);
	expect_error(400, "bad_request");
	ask("GET", "/k?unknown=1&consistency=stale", "", NULL);
	expect_status(404);
	ask("GET", "/k?consistency=lease", "", NULL);
	expect_status(404);
	ask("GET", "/_/kv?limit=0", "", NULL);
	expect_error(400, "bad_request");
	ask("PUT", "/k", "", NULL);
	expect_error(411, "length_required");
	ask("PUT", "/k/", "", NULL);
	expect_status(201);
	ask("POST", "/_/txn", "", NULL);
	expect_error(411, "length_required");
	ask("POST", "/_/rename", "", NULL);
	expect_error(411, "length_required");
	ask("POST", "/_/members", "", NULL);
	expect_error(411, "length_required");
	ask("POST", "/_/transfer", "", NULL);
	expect_error(411, "length_required");
	ask("POST", "/_/tokens", "", NULL);
	expect_error(411, "length_required");
}

static int barriers_of_a_get(const char *target, enum err barrier)
{
	int before, after;

	knob(barrier_err, barrier);
	before = fixture.store->barriers_asked;
	ask("GET", target, "", NULL);
	expect_status(200);
	after = fixture.store->barriers_asked;
	return after - before;
}

/*
 * No lease holds in this store. Where one let the read through it must be asked
 * for again; where a read index did, as on a follower, that is enough.
 */
static void a_lease_read_asks_for_one_read_index(void **state)
{
	ask("PUT", "/k", "", "v");
	expect_status(201);
	assert_int_equal(barriers_of_a_get("/k", OK), 1);
	assert_int_equal(barriers_of_a_get("/k?consistency=lease", OK), 2);
	assert_int_equal(barriers_of_a_get("/k?consistency=lease", ERR_PENDING),
			 1);
	assert_int_equal(
		barriers_of_a_get("/_/kv?consistency=lease", ERR_PENDING), 1);
}

static void request_ids_are_returned(void **state)
{
	char line[400];

	ask("GET", "/k", "X-Request-Id: my \"id\"\r\n", NULL);
	expect_header("X-Request-Id", "my \"id\"");
	assert_non_null(strstr((char *)fixture.a.body.p,
			       "\"request_id\":\"my \\\"id\\\"\""));
	ask("GET", "/k", "", NULL);
	assert_int_equal(strlen(answer_header(&fixture.a, "X-Request-Id")), 16);
	sprintf(line, "X-Request-Id: %0129d\r\n", 7);
	ask("GET", "/k", line, NULL);
	assert_int_equal(strlen(answer_header(&fixture.a, "X-Request-Id")), 16);
}

static void listings_come_in_pages(void **state)
{
	ask("PUT", "/a", "", "1");
	ask("PUT", "/b/x", "", "22");
	ask("PUT", "/b/y", "", "3");
	ask("PUT", "/c%ff", "", "4%");
	ask("GET", "/_/kv", "", NULL);
	expect_body("{\"keys\":[{\"key\":\"a\",\"rev\":1,\"size\":1},"
		    "{\"key\":\"b/x\",\"rev\":2,\"size\":2},"
		    "{\"key\":\"b/y\",\"rev\":3,\"size\":1},"
		    "{\"key\":\"Y/8=\",\"encoding\":\"base64\",\"rev\":4,"
		    "\"size\":2}],\"prefixes\":[],\"more\":false,"
		    "\"next\":null,\"revision\":4}");
	ask("GET", "/?delimiter=/&limit=2", "", NULL);
	expect_body("{\"keys\":[{\"key\":\"a\",\"rev\":1,\"size\":1}],"
		    "\"prefixes\":[\"b/\"],\"more\":true,\"next\":\"b/x\","
		    "\"revision\":4}");
	ask("GET", "/_/kv?prefix=b/&values=1&reverse=1", "", NULL);
	expect_body("{\"keys\":[{\"key\":\"b/y\",\"rev\":3,\"size\":1,"
		    "\"value\":\"3\"},{\"key\":\"b/x\",\"rev\":2,\"size\":2,"
		    "\"value\":\"22\"}],\"prefixes\":[],\"more\":false,"
		    "\"next\":null,\"revision\":4}");
	ask("GET", "/_/kv?start=b&end=b/y", "", NULL);
	assert_non_null(strstr((char *)fixture.a.body.p, "b/x"));
	assert_null(strstr((char *)fixture.a.body.p, "b/y"));
}

static void a_prefix_is_deleted_at_once(void **state)
{
	ask("PUT", "/p/1", "", "1");
	ask("PUT", "/p/2", "", "1");
	ask("PUT", "/q", "", "1");
	ask("DELETE", "/_/kv?prefix=p/", "", NULL);
	expect_status(200);
	expect_body("{\"deleted\":2}");
	ask("DELETE", "/_/kv", "", NULL);
	expect_error(400, "bad_request");
	ask("DELETE", "/_/kv?prefix=", "", NULL);
	expect_error(400, "bad_request");
	ask("DELETE", "/_/kv?all=1", "", NULL);
	expect_body("{\"deleted\":1}");
}

static void batches_choose_by_their_conditions(void **state)
{
	const char *batch =
		"{\"if\":[{\"key\":\"a\",\"exists\":false}],"
		"\"then\":[{\"put\":\"a\",\"value\":\"y\"},{\"delete\":\"b\"},"
		"{\"get\":\"c\"}],\"else\":[{\"get\":\"a\"}]}";

	ask("POST", "/_/txn", JSON_TYPE, batch);
	expect_status(200);
	expect_body("{\"succeeded\":true,\"revision\":1,\"results\":["
		    "{\"rev\":1},{\"deleted\":false},null]}");
	ask("POST", "/_/txn", JSON_TYPE, batch);
	expect_body("{\"succeeded\":false,\"revision\":2,\"results\":["
		    "{\"key\":\"a\",\"rev\":1,\"value\":\"y\"}]}");
	ask("POST", "/_/txn", "",
	    "{\"if\":[{\"key\":\"a\",\"rev\":1},{\"key\":\"a\",\"value\":\"eQ=="
	    "\",\"value_encoding\":\"base64\"}],\"then\":[{\"put\":\"/w==\","
	    "\"encoding\":\"base64\",\"value\":\"x\",\"ttl\":\"30s\"}]}");
	expect_status(200);
	ask("GET", "/%ff", "", NULL);
	expect_body("{\"value\":\"x\"}");
	expect_header("X-Raftcask-TTL", "30.000");
}

static void bad_batches_are_refused_whole(void **state)
{
	const char *bad[] = {
		"[]",
		"{\"than\":[]}",
		"{\"if\":{}}",
		"{\"if\":[{\"key\":\"a\"}]}",
		"{\"if\":[{\"key\":\"a\",\"rev\":1,\"exists\":true}]}",
		"{\"if\":[{\"key\":\"a\",\"rev\":-1}]}",
		"{\"if\":[{\"key\":\"a\",\"rev\":\"1\"}]}",
		"{\"if\":[{\"key\":\"a\",\"revision\":1}]}",
		"{\"then\":[{\"put\":\"a\"}]}",
		"{\"then\":[{\"put\":\"a\",\"value\":1}]}",
		"{\"then\":[{\"put\":\"a\",\"value\":\"v\",\"ttl\":\"x\"}]}",
		"{\"then\":[{\"delete\":\"a\",\"value\":\"v\"}]}",
		"{\"then\":[{\"get\":1}]}",
		"{\"then\":[{}]}",
	};
	char *many = malloc(200 * 20);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ask("POST", "/_/txn", "", bad[i]);
		expect_error(400, "bad_request");
	}
	ask("POST", "/_/txn", "",
	    "{\"then\":[{\"put\":\"a/../b\","
	    "\"value\":\"\"}]}");
	expect_error(400, "bad_key");
	ask("POST", "/_/txn", "",
	    "{\"then\":[{\"delete\":\"a\"},{\"put\":\"a\",\"value\":\"\"}]}");
	expect_error(400, "duplicate_key");
	strcpy(many, "{\"then\":[");
	for (int i = 0; i < 129; i++)
		sprintf(many + strlen(many), "%s{\"get\":\"%d\"}", i ? "," : "",
			i);
	strcat(many, "]}");
	ask("POST", "/_/txn", "", many);
	expect_error(413, "value_too_large");
	free(many);
	assert_int_equal(store_revision(fixture.store, 0), 0);
}

/* 4 times 6 MiB of "\\u0001" is more than an answer may hold. */
static void what_a_batch_reads_is_limited(void **state)
{
	enum { GETS = 4, BYTES = 1 << 20 };
	struct buf batch = BUF_INIT;
	char *big = malloc(BYTES);

	memset(big, 1, BYTES);
	client_request(fixture.port, "PUT", "/z", "", big, BYTES, &fixture.a);
	expect_status(201);
	free(big);
	assert_int_equal(buf_addf(&batch, "{\"then\":[{\"put\":\"y\","
					  "\"value\":\"\"}"),
			 OK);
	for (int i = 0; i < GETS; i++)
		assert_int_equal(buf_addf(&batch, ",{\"get\":\"z\"}"), OK);
	assert_int_equal(buf_add(&batch, "]}", 3), OK);
	ask("POST", "/_/txn", "", (char *)batch.p);
	expect_error(500, "results_not_shown");
	buf_done(&batch);
	ask("GET", "/y", "", NULL);
	expect_status(200);
	ask("POST", "/_/txn", "", "{\"then\":[{\"get\":\"z\"}]}");
	expect_status(200);
}

static void system_pages_answer(void **state)
{
	struct json_object *o, *v;
	char address[64];

	ask("GET", "/_/health", "", NULL);
	expect_status(200);
	ask("GET", "/_/ready", "", NULL);
	expect_status(200);
	knob(unready, STORE_STARTING);
	ask("GET", "/_/ready", "", NULL);
	expect_error(503, "starting");
	expect_header("Retry-After", "1");
	ask("POST", "/_/merge", "", NULL);
	expect_body("{\"success\":true}");
	ask("GET", "/_/status", "", NULL);
	expect_status(200);
	o = json_tokener_parse((char *)fixture.a.body.p);
	assert_non_null(o);
	assert_true(json_object_object_get_ex(o, "members", &v));
	assert_int_equal(json_object_array_length(v), 3);
	v = json_object_array_get_idx(v, 0);
	assert_true(json_object_object_get_ex(v, "http", &v));
	snprintf(address, sizeof(address), "127.0.0.1:%u", fixture.port);
	assert_string_equal(json_object_get_string(v), address);
	assert_true(json_object_object_get_ex(o, "stats", &v));
	assert_true(json_object_object_get_ex(v, "rusage_maxrss", NULL));
	assert_true(json_object_object_get_ex(o, "storage", &v));
	assert_true(json_object_object_get_ex(v, "corrupt", &v));
	assert_int_equal(json_object_array_length(v), 1);
	json_object_put(o);
	ask("GET", "/_/metrics", "", NULL);
	expect_status(200);
	assert_non_null(strstr((char *)fixture.a.body.p,
			       "raftcask_commit_duration_seconds_bucket{le=\""
			       "0.000512\"} 0\n"));
	assert_non_null(strstr((char *)fixture.a.body.p,
			       "raftcask_commit_duration_seconds_bucket{le=\""
			       "0.001024\"} 1\n"));
	assert_non_null(strstr((char *)fixture.a.body.p,
			       "# TYPE raftcask_http_requests_total counter"));
	ask("HEAD", "/_/metrics", "", NULL);
	expect_status(200);
}

static void the_backup_is_a_stream(void **state)
{
	ask("GET", "/_/snapshot", "", NULL);
	expect_status(200);
	assert_int_equal(fixture.a.body.n, MEM_BACKUP_BYTES);
	knob(corrupt_backup, 100000);
	ask("GET", "/_/snapshot", "", NULL);
	assert_int_equal(fixture.a.status, 200);
	assert_false(fixture.a.complete);
}

int main(void)
{
#define server_test(f)                                                         \
	cmocka_unit_test_setup_teardown(f, fixture_start, fixture_stop)
	const struct CMUnitTest tests[] = {
		server_test(the_three_calls_of_the_seed),
		server_test(content_types_choose_the_dialect),
		server_test(empty_values_are_stored),
		server_test(bytes_that_are_no_text_come_as_base64),
		server_test(bad_json_stores_nothing),
		server_test(keys_are_the_decoded_path),
		server_test(bad_keys_are_refused),
		server_test(the_longest_key_fits_into_a_head),
		server_test(large_values_stream_both_ways),
		server_test(chunked_bodies_are_taken),
		server_test(many_small_chunks_wait_for_the_store),
		server_test(json_values_end_at_one_mebibyte),
		server_test(the_size_limit_is_kept),
		server_test(conditions_of_writes),
		server_test(conditions_of_reads),
		server_test(ranges_of_raw_values),
		server_test(ttl_goes_in_and_comes_out),
		server_test(the_tree_rules_are_conflicts),
		server_test(special_files_are_not_values),
		server_test(other_methods_are_told_what_is_allowed),
		server_test(parameters_are_checked),
		server_test(a_lease_read_asks_for_one_read_index),
		server_test(request_ids_are_returned),
		server_test(listings_come_in_pages),
		server_test(a_prefix_is_deleted_at_once),
		server_test(batches_choose_by_their_conditions),
		server_test(bad_batches_are_refused_whole),
		server_test(what_a_batch_reads_is_limited),
		server_test(system_pages_answer),
		server_test(the_backup_is_a_stream),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
