/*
 * tests/httpd/test_members.c - members over HTTP: shown, changed, refused;
 * and what /_/ready says of a node that cannot serve.
 */
#include "tests/httpd/server_fixture.h"

#define N1 "{\"name\":\"n1\",\"id\":1,\"peer\":\"a:1\",\"http\":\"127.0.0.1:"
#define REST                                                                   \
	"\",\"role\":\"voter\",\"up\":true,\"match\":9,\"lag\":0,"             \
	"\"last_contact_ms\":0},"                                              \
	"{\"name\":\"n2\",\"id\":2,\"peer\":\"b:1\",\"http\":\"b:2\","         \
	"\"role\":\"voter\",\"up\":true,\"match\":7,\"lag\":2,"                \
	"\"last_contact_ms\":12},"                                             \
	"{\"name\":\"n3\",\"id\":3,\"peer\":\"c:1\",\"http\":\"c:2\","         \
	"\"role\":\"learner\",\"up\":false,\"match\":null,\"lag\":null,"       \
	"\"last_contact_ms\":null,\"leaving\":true,"                           \
	"\"stays_learner\":true}]}"

static void members_are_shown(void **state)
{
	char want[1024];

	snprintf(want, sizeof(want), "{\"members\":[" N1 "%u" REST,
		 fixture.port);
	ask("GET", "/_/members", "", NULL);
	expect_status(200);
	expect_header("Content-Type", "application/json");
	expect_body(want);
	ask("HEAD", "/_/members", "", NULL);
	expect_status(200);
}

static void member_is_added(void **state)
{
	const struct store_member *m = &fixture.store->last_change.member;

	ask("POST", "/_/members", "",
	    "{\"name\":\"n4\",\"peer\":\"d:1\",\"http\":\"d:2\"}");
	expect_status(200);
	expect_body("{\"success\":true,\"id\":4}");
	assert_int_equal(fixture.store->last_change.kind, STORE_MEMBER_ADD);
	assert_string_equal(m->name, "n4");
	assert_string_equal(m->peer, "d:1");
	assert_string_equal(m->http, "d:2");
	assert_false(m->stays_learner);
	ask("POST", "/_/members", JSON_TYPE,
	    "{\"name\":\"n5\",\"peer\":\"d:1\",\"learner\":true}");
	expect_status(200);
	assert_true(m->stays_learner);
	assert_string_equal(m->http, "");
}

static void malformed_additions_are_refused(void **state)
{
	static const char *const bodies[] = {
		"",
		"{",
		"[]",
		"{}",
		"{\"name\":\"n4\"}",
		"{\"peer\":\"d:1\"}",
		"{\"name\":4,\"peer\":\"d:1\"}",
		"{\"name\":\"n4\",\"peer\":\"d:1\",\"http\":7}",
		"{\"name\":\"n4\",\"peer\":\"d:1\",\"learner\":\"yes\"}",
		"{\"name\":\"n4\",\"peer\":\"d:1\",\"voter\":true}",
		"{\"name\":\"n4\",\"peer\":\"d:1\",\"name\":\"n5\"}",
		"{\"name\":\"n\\u00004\",\"peer\":\"d:1\"}",
		"{\"name\":\"0123456789012345678901234567890123456789"
		"012345678901234567890123\",\"peer\":\"d:1\"}",
		"{\"name\":\"a b\",\"peer\":\"d:1\"}",
	};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		ask("POST", "/_/members", "", bodies[i]);
		expect_error(400, "bad_request");
	}
}

static void members_are_named_in_the_path(void **state)
{
	const struct {
		const char *method, *target;
		enum store_change_kind kind;
	} cases[] = {
		{ "DELETE", "/_/members/n2", STORE_MEMBER_REMOVE },
		{ "POST", "/_/members/n2/promote", STORE_MEMBER_PROMOTE },
		{ "POST", "/_/members/n%32/replace", STORE_MEMBER_REPLACE },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ask(cases[i].method, cases[i].target, "", NULL);
		expect_status(200);
		expect_body("{\"success\":true,\"id\":4}");
		assert_int_equal(fixture.store->last_change.kind,
				 cases[i].kind);
		assert_string_equal(fixture.store->last_change.member.name,
				    "n2");
	}
	ask("DELETE", "/_/members/", "", NULL);
	expect_error(404, "not_found");
	ask("DELETE",
	    "/_/members/01234567890123456789012345678901234567890123456789"
	    "01234567890123",
	    "", NULL);
	expect_error(404, "not_found");
	ask("GET", "/_/membersx", "", NULL);
	expect_error(404, "not_found");
}

static void leadership_is_handed_over(void **state)
{
	ask("POST", "/_/transfer", "", "{\"to\":\"n2\"}");
	expect_status(200);
	assert_int_equal(fixture.store->last_change.kind, STORE_TRANSFER);
	assert_string_equal(fixture.store->last_change.member.name, "n2");
	ask("POST", "/_/transfer", "", "{\"to\":2}");
	expect_error(400, "bad_request");
	ask("POST", "/_/transfer", "", "{}");
	expect_error(400, "bad_request");
	knob(change_err, ERR_INVALID);
	ask("POST", "/_/transfer", "", "{\"to\":\"n3\"}");
	expect_error(409, "not_a_voter");
}

static void refusals_say_what_is_wrong(void **state)
{
	const struct {
		enum err err;
		int status;
		const char *code;
	} cases[] = {
		{ ERR_NOT_FOUND, 404, "not_found" },
		{ ERR_EXISTS, 409, "member_exists" },
		{ ERR_INVALID, 409, "last_voter" },
		{ ERR_PRECONDITION, 409, "quorum_at_risk" },
		{ ERR_FULL, 409, "too_many_members" },
		{ ERR_BUSY, 503, "change_in_progress" },
		{ ERR_NO_LEADER, 503, "no_leader" },
		{ ERR_UNKNOWN, 504, "commit_timeout" },
		{ ERR_CLOSED, 503, "stopping" },
	};
	char code[64];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		knob(change_err, cases[i].err);
		ask("DELETE", "/_/members/n2", "", NULL);
		expect_status(cases[i].status);
		snprintf(code, sizeof(code), "\"code\":\"%s\"", cases[i].code);
		assert_non_null(strstr((char *)fixture.a.body.p, code));
		if (cases[i].status == 503)
			expect_header("Retry-After", "1");
		else
			expect_no_header("Retry-After");
	}
	knob(change_err, ERR_INVALID);
	ask("POST", "/_/members/n1/replace", "", NULL);
	expect_error(409, "member_leads");
	knob(change_err, ERR_PRECONDITION);
	ask("POST", "/_/members/n2/replace", "", NULL);
	expect_error(409, "member_is_up");
	assert_false(fixture.store->last_change.force);
	ask("POST", "/_/members/n2/replace?force=1", "", NULL);
	expect_error(409, "quorum_at_risk");
	knob(change_err, OK);
	ask("POST", "/_/members/n2/replace?force=1", "", NULL);
	expect_status(200);
	assert_true(fixture.store->last_change.force);
	ask("POST", "/_/members/n2/promote?force=1", "", NULL);
	assert_false(fixture.store->last_change.force);
}

static void change_that_never_ends_is_unknown(void **state)
{
	knob(silent, true);
	ask("DELETE", "/_/members/n2", "", NULL);
	expect_error(504, "commit_timeout");
	assert_non_null(
		strstr((char *)fixture.a.body.p, "\"outcome\":\"unknown\""));
}

static void ready_says_why_not(void **state)
{
	const struct {
		enum store_readiness why;
		const char *code;
	} cases[] = {
		{ STORE_STARTING, "\"starting\"" },
		{ STORE_LEADERLESS, "\"no_leader\"" },
		{ STORE_OUTSIDE, "\"not_a_member\"" },
		{ STORE_DISMISSED, "\"removed\"" },
		{ STORE_STOPPING, "\"stopping\"" },
	};

	ask("GET", "/_/ready", "", NULL);
	expect_status(200);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		knob(unready, cases[i].why);
		ask("GET", "/_/ready", "", NULL);
		expect_status(503);
		expect_header("Retry-After", "1");
		assert_non_null(
			strstr((char *)fixture.a.body.p, cases[i].code));
	}
}

static void expect_line(const char *line)
{
	if (!strstr((char *)fixture.a.body.p, line))
		fail_msg("no line %s in: %s", line, (char *)fixture.a.body.p);
}

static void metrics_tell_of_the_cluster(void **state)
{
	ask("GET", "/_/metrics", "", NULL);
	expect_status(200);
	expect_line("\nraftcask_role{partition=\"0\",role=\"leader\"} 1\n");
	expect_line("\nraftcask_role{partition=\"0\",role=\"learner\"} 0\n");
	expect_line("\nraftcask_has_leader{partition=\"0\"} 1\n");
	expect_line("\nraftcask_leader_changes_total{partition=\"0\"} 5\n");
	expect_line("\nraftcask_member_up{member=\"n3\",id=\"3\"} 0\n");
	expect_line("\nraftcask_member_is_voter{member=\"n2\",id=\"2\"} 1\n");
	expect_line("\nraftcask_member_lag_entries{member=\"n2\",id=\"2\"} "
		    "2\n");
	expect_line("\nraftcask_member_last_contact_seconds{member=\"n2\","
		    "id=\"2\"} 0.012");
	assert_null(strstr((char *)fixture.a.body.p,
			   "last_contact_seconds{member=\"n3\""));
}

int main(void)
{
#define server_test(f)                                                         \
	cmocka_unit_test_setup_teardown(f, fixture_start, fixture_stop)
	const struct CMUnitTest tests[] = {
		server_test(members_are_shown),
		server_test(member_is_added),
		server_test(malformed_additions_are_refused),
		server_test(members_are_named_in_the_path),
		server_test(leadership_is_handed_over),
		server_test(refusals_say_what_is_wrong),
		server_test(change_that_never_ends_is_unknown),
		server_test(ready_says_why_not),
		server_test(metrics_tell_of_the_cluster),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
