/*
 * tests/httpd/test_file.c - POST /KEY?append and POST /_/rename.
 */
#include "tests/httpd/server_fixture.h"

static void an_append_says_rev_and_size(void **state)
{
	ask("POST", "/log?append", "", "one\n");
	expect_status(200);
	expect_body("{\"success\":true,\"rev\":1,\"size\":4}");
	expect_header("ETag", "\"1\"");
	expect_header("X-Raftcask-Revision", "1");
	ask("POST", "/_/kv/log?append=1",
	    "Content-Type: application/x-www-form-urlencoded\r\n", "{\"two");
	expect_body("{\"success\":true,\"rev\":2,\"size\":9}");
	ask("GET", "/log?raw", "", NULL);
	expect_body("one\n{\"two");
	assert_int_equal(fixture.store->last_file_op.flags,
			 STORE_FILE_APPEND | STORE_FILE_MAKE);
	assert_int_equal(fixture.store->last_file_op.kind, STORE_FILE_WRITE);
	assert_true(fixture.store->last_file_op.may_hold);
	/* Nothing is a value too. */
	ask("POST", "/log?append", "", "");
	expect_body("{\"success\":true,\"rev\":3,\"size\":9}");
}

static void what_cannot_be_appended(void **state)
{
	char *big = malloc((1 << 20) + 2);

	ask("PUT", "/k?append", "", "x");
	expect_error(400, "bad_request");
	ask("GET", "/k?append", "", NULL);
	expect_error(400, "bad_request");
	ask("POST", "/k?append", "If-Match: *\r\n", "x");
	expect_error(400, "bad_request");
	ask("POST", "/k?append&ttl=5s", "", "x");
	expect_error(400, "bad_request");
	ask("POST", "/a//b?append", "", "x");
	expect_error(400, "bad_key");
	memset(big, 'x', (1 << 20) + 1);
	big[(1 << 20) + 1] = 0;
	ask("POST", "/k?append", "", big);
	expect_error(413, "value_too_large");
	big[1 << 20] = 0;
	ask("POST", "/k?append", "", big);
	expect_status(200);
	free(big);
	knob(write_err, ERR_NOT_FILE);
	ask("POST", "/k?append", "", "x");
	expect_error(409, "not_a_regular_file");
	knob(write_err, ERR_UNKNOWN);
	ask("POST", "/k?append", "", "x");
	expect_error(504, "commit_timeout");
	knob(silent, true);
	ask("POST", "/k?append", "", "x");
	expect_error(504, "commit_timeout");
	knob(silent, false);
}

/* A body in chunks has no length to refuse it by. */
static void a_chunked_append_has_a_limit_too(void **state)
{
	struct buf b = BUF_INIT;

	assert_int_equal(buf_addf(&b, "POST /k?append HTTP/1.1\r\nHost: x\r\n"
				      "Transfer-Encoding: chunked\r\n\r\n"),
			 OK);
	for (int i = 0; i < 17; i++) {
		assert_int_equal(buf_addf(&b, "10000\r\n"), OK);
		assert_int_equal(buf_reserve(&b, 1 << 16), OK);
		memset(b.p + b.n, 'y', 1 << 16);
		b.n += 1 << 16;
		assert_int_equal(buf_addf(&b, "\r\n"), OK);
	}
	assert_int_equal(buf_addf(&b, "0\r\n\r\n"), OK);
	answer_done(&fixture.a);
	client_raw(fixture.port, b.p, b.n, false, &fixture.a);
	expect_error(413, "value_too_large");
	buf_done(&b);
}

static void a_rename_moves_the_key(void **state)
{
	ask("PUT", "/a", "", "v");
	ask("POST", "/_/rename", "", "{\"from\":\"a\",\"to\":\"d/b c\"}");
	expect_status(200);
	expect_body("{\"success\":true,\"rev\":2}");
	expect_header("X-Raftcask-Revision", "2");
	ask("GET", "/d/b%20c?raw", "", NULL);
	expect_body("v");
	ask("GET", "/a", "", NULL);
	expect_status(404);
	ask("POST", "/_/rename", "", "{\"from\":\"a\",\"to\":\"x\"}");
	expect_error(404, "not_found");
	ask("PUT", "/a", "", "w");
	ask("POST", "/_/rename", "",
	    "{\"from\":\"a\",\"to\":\"d/b c\",\"noreplace\":true}");
	expect_error(409, "exists");
	ask("POST", "/_/rename", "",
	    "{\"from\":\"a\",\"to\":\"d/b c\",\"noreplace\":false}");
	expect_status(200);
	ask("GET", "/d/b%20c?raw", "", NULL);
	expect_body("w");
	/* Keys that are no text. */
	ask("POST", "/_/rename", "",
	    "{\"from\":\"ZC9iIGM=\",\"to\":\"/w==\",\"encoding\":\"base64\"}");
	expect_status(200);
	ask("GET", "/%FF?raw", "", NULL);
	expect_body("w");
}

static void bad_renames_are_refused(void **state)
{
	static const char *const bodies[] = {
		"",
		"[]",
		"{\"from\":\"a\"}",
		"{\"to\":\"a\"}",
		"{\"from\":1,\"to\":\"b\"}",
		"{\"from\":\"a\",\"to\":\"b\",\"noreplace\":1}",
		"{\"from\":\"a\",\"to\":\"b\",\"no\":true}",
		"{\"from\":\"a\",\"to\":\"b\",\"encoding\":\"hex\"}",
		"{\"from\":\"a\",\"to\":\"!\",\"encoding\":\"base64\"}",
	};

	ask("PUT", "/a", "", "v");
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		ask("POST", "/_/rename", "", bodies[i]);
		expect_error(400, "bad_request");
	}
	ask("POST", "/_/rename", "", "{\"from\":\"a\",\"to\":\"b//c\"}");
	expect_error(400, "bad_key");
	ask("GET", "/_/rename", "", NULL);
	expect_error(405, "method_not_allowed");
	knob(write_err, ERR_TOO_LARGE);
	ask("POST", "/_/rename", "", "{\"from\":\"a\",\"to\":\"b\"}");
	expect_error(413, "directory_too_large");
	knob(write_err, ERR_CROSS_PART);
	ask("POST", "/_/rename", "", "{\"from\":\"a\",\"to\":\"b\"}");
	expect_error(400, "cross_partition");
	knob(write_err, OK);
	ask("GET", "/a?raw", "", NULL);
	expect_body("v");
}

#define UNIT(test)                                                             \
	cmocka_unit_test_setup_teardown(test, fixture_start, fixture_stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(an_append_says_rev_and_size),
		UNIT(what_cannot_be_appended),
		UNIT(a_chunked_append_has_a_limit_too),
		UNIT(a_rename_moves_the_key),
		UNIT(bad_renames_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
