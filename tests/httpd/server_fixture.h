/*
 * tests/httpd/server_fixture.h - a front end over the store in memory, on a
 * free port, and short ways to ask it something.
 */
#ifndef TESTS_HTTPD_SERVER_FIXTURE_H
#define TESTS_HTTPD_SERVER_FIXTURE_H

#include <setjmp.h>
#include <stddef.h>
#include <stdarg.h>
#include <cmocka.h>

#include "httpd/httpd.h"
#include "tests/httpd/client.h"
#include "tests/httpd/mem_store.h"

struct fixture {
	struct store *store;
	struct httpd *httpd;
	uint16_t port;
	struct answer a; /* the last one */
};

static struct fixture fixture;

static struct httpd_options fixture_options(void)
{
	static const char *const listen[] = { "127.0.0.1:0" };

	return (struct httpd_options){ .listen = listen,
				       .listen_count = 1,
				       .max_value_bytes = 8 << 20,
				       .request_timeout_ms = 1500,
				       .commit_timeout_ms = 400,
				       .idle_timeout_ms = 1500,
				       .drain_timeout_ms = 1000,
				       .clock = clock_os(),
				       .node_name = "n1",
				       .node_id = 1,
				       .cluster_id = "c1",
				       .version = "0" };
}

static void fixture_start_with(struct httpd_options o)
{
	struct buf why = BUF_INIT;

	fixture.store = the_store = mem_store_new();
	o.store = fixture.store;
	assert_int_equal(httpd_start(&o, &fixture.httpd, &why), OK);
	fixture.port = httpd_port(fixture.httpd, 0);
}

static __attribute__((unused)) int fixture_start(void **state)
{
	fixture_start_with(fixture_options());
	return 0;
}

static int fixture_stop(void **state)
{
	answer_done(&fixture.a);
	httpd_stop(fixture.httpd);
	mem_store_free(fixture.store);
	return 0;
}

#define knob(name, value)                                                      \
	do {                                                                   \
		pthread_mutex_lock(&fixture.store->lock);                      \
		fixture.store->name = (value);                                 \
		pthread_cond_signal(&fixture.store->more);                     \
		pthread_mutex_unlock(&fixture.store->lock);                    \
	} while (0)

static __attribute__((unused)) void ask(const char *method, const char *target,
					const char *headers, const char *body)
{
	answer_done(&fixture.a);
	client_request(fixture.port, method, target, headers, body,
		       body ? strlen(body) : 0, &fixture.a);
}

#define expect_status(wanted)                                                  \
	do {                                                                   \
		if (fixture.a.status != (wanted))                              \
			fail_msg("status %d, not %d: %s%s", fixture.a.status,  \
				 (wanted), (char *)fixture.a.head.p,           \
				 (char *)fixture.a.body.p);                    \
		assert_true(fixture.a.complete);                               \
	} while (0)

#define expect_body(text) assert_string_equal((char *)fixture.a.body.p, text)

#define expect_header(name, text)                                              \
	do {                                                                   \
		const char *value_ = answer_header(&fixture.a, name);          \
		assert_non_null(value_);                                       \
		assert_string_equal(value_, text);                             \
	} while (0)

#define expect_no_header(name) assert_null(answer_header(&fixture.a, name))

/* The status, and the code of the error object. */
#define expect_error(wanted, code)                                             \
	do {                                                                   \
		expect_status(wanted);                                         \
		if (!strstr((char *)fixture.a.body.p,                          \
			    "\"code\":\"" code "\""))                          \
			fail_msg("not %s: %s", code,                           \
				 (char *)fixture.a.body.p);                    \
	} while (0)

#define JSON_TYPE "Content-Type: application/json\r\n"

/* Read on until text appears; what came is added to b. */
static inline void expect_in_stream(int fd, struct buf *b, const char *text)
{
	char part[4096];

	for (;;) {
		ssize_t got;

		assert_int_equal(buf_add(b, "", 1), OK);
		b->n--;
		if (strstr((char *)b->p, text))
			return;
		got = client_read(fd, part, sizeof(part), 10000);
		if (got <= 0)
			fail_msg("no %s in %s", text, (char *)b->p);
		assert_int_equal(buf_add(b, part, (size_t)got), OK);
	}
}

#endif
