/*
 * tests/httpd/test_alloc.c - every allocation of a request's way, down to the
 * log, fails in turn: the request is answered or its connection closed, the
 * server lives, and nothing but an acknowledged write is there afterwards.
 *
 * Over the real store and the real disk; the client itself allocates nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "engine/engine.h"
#include "httpd/httpd.h"
#include "tests/httpd/client.h"
#include "tests/lib/fail_alloc.h"
#include "tests/lib/tmpdir.h"

#include <pthread.h>
#include <stdatomic.h>

struct node {
	char *dir;
	struct seed seed;
	struct engine *engine;
	struct store *store;
	struct httpd *httpd;
	pthread_t core;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool woken, stop;
	_Atomic int failed;
};

static struct node node;

static void wake(void *ctx)
{
	pthread_mutex_lock(&node.lock);
	node.woken = true;
	pthread_cond_signal(&node.wake);
	pthread_mutex_unlock(&node.lock);
}

static void *core(void *arg)
{
	uint64_t wait_ms;

	pthread_mutex_lock(&node.lock);
	while (!node.stop && !node.failed) {
		node.woken = false;
		pthread_mutex_unlock(&node.lock);
		node.failed = (int)store_step(node.store, &wait_ms);
		pthread_mutex_lock(&node.lock);
		if (!node.woken && !node.stop && wait_ms) {
			struct timespec t;

			clock_gettime(CLOCK_REALTIME, &t);
			t.tv_nsec += 10000000;
			t.tv_sec += t.tv_nsec / 1000000000;
			t.tv_nsec %= 1000000000;
			pthread_cond_timedwait(&node.wake, &node.lock, &t);
		}
	}
	pthread_mutex_unlock(&node.lock);
	return NULL;
}

static int start(void **state)
{
	static const char *const listen[] = { "127.0.0.1:0" };
	struct buf why = BUF_INIT;
	struct engine_options eo;
	struct store_options so = { 0 };
	struct httpd_options ho = { .listen = listen,
				    .listen_count = 1,
				    .max_value_bytes = 1 << 20,
				    .clock = clock_os(),
				    .drain_timeout_ms = 500 };

	node.dir = tmpdir_make();
	pthread_mutex_init(&node.lock, NULL);
	pthread_cond_init(&node.wake, NULL);
	seed_init(&node.seed, 1);
	engine_options_default(&eo);
	eo.vfs = vfs_os();
	eo.clock = clock_os();
	eo.seed = &node.seed;
	eo.dir = node.dir;
	eo.partitions = 1;
	eo.segment_bytes = 4 << 20;
	eo.min_free_bytes = 0;
	eo.sync_mode = ENGINE_SYNC_NEVER;
	assert_int_equal(engine_open(&eo, &node.engine, &why), OK);
	so.engine = node.engine;
	so.clock = clock_os();
	so.seed = &node.seed;
	so.node_name = "n1";
	so.partitions = 1;
	so.max_value_bytes = 1 << 20;
	so.watch_history_bytes = 1 << 20;
	so.wake = wake;
	assert_int_equal(store_new(&so, &node.store), OK);
	assert_int_equal(pthread_create(&node.core, NULL, core, NULL), 0);
	ho.store = node.store;
	for (int i = 0; i < 500 && !store_ready(node.store); i++)
		usleep(10000);
	assert_int_equal(httpd_start(&ho, &node.httpd, &why), OK);
	return 0;
}

static int stop(void **state)
{
	httpd_stop(node.httpd);
	pthread_mutex_lock(&node.lock);
	node.stop = true;
	pthread_cond_signal(&node.wake);
	pthread_mutex_unlock(&node.lock);
	pthread_join(node.core, NULL);
	store_free(node.store);
	engine_close(node.engine);
	tmpdir_remove(node.dir);
	return 0;
}

/* The status; 0: closed without an answer. */
static int ask(const char *text, char *answer, size_t room)
{
	int fd = client_connect(httpd_port(node.httpd, 0)), status = 0;
	ssize_t got;

	client_send(fd, text, strlen(text));
	got = client_read(fd, answer, room - 1, 20000);
	assert_true(got >= 0);
	answer[got] = 0;
	if (got > 12)
		status = atoi(answer + 9);
	close(fd);
	return status;
}

static const char *const requests[] = {
	"PUT /k HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nvalue",
	"GET /k HTTP/1.1\r\nHost: t\r\nX-Request-Id: i\r\n\r\n",
	"GET /k?raw HTTP/1.1\r\nHost: t\r\nRange: bytes=1-2\r\n\r\n",
	"GET /missing HTTP/1.1\r\nHost: t\r\n\r\n",
	"GET /_/kv?values=1 HTTP/1.1\r\nHost: t\r\n\r\n",
	"POST /j HTTP/1.1\r\nHost: t\r\nContent-Length: 36\r\n\r\n"
	"{\"value\":\"dg==\",\"encoding\":\"base64\"}",
	"POST /_/txn HTTP/1.1\r\nHost: t\r\nContent-Length: 66\r\n\r\n"
	"{\"if\":[{\"key\":\"x\",\"exists\":false}],\"then\":[{\"get\":\"k\"}],"
	"\"else\":[]}",
	"GET /k?watch&after=1&wait=10ms HTTP/1.1\r\nHost: t\r\n\r\n",
	"GET /_/status HTTP/1.1\r\nHost: t\r\n\r\n",
	"GET /_/metrics HTTP/1.1\r\nHost: t\r\n\r\n",
	"DELETE /_/kv?prefix=j HTTP/1.1\r\nHost: t\r\n\r\n",
};

static void every_allocation_may_fail(void **state)
{
	char answer[8192];
	int failures = 0;

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		for (uint64_t nth = 1;; nth++) {
			bool delivered;
			int status;

			fail_alloc_at(nth, false);
			status = ask(requests[i], answer, sizeof(answer));
			delivered = fail_alloc_off();
			if (status && status != 200 && status != 201 &&
			    status != 204 && status != 206 && status != 404 &&
			    status != 500 && status != 503)
				fail_msg("request %zu, allocation %lu: %s", i,
					 nth, answer);
			assert_int_equal(node.failed, OK);
			if (!delivered)
				break;
			failures++;
		}
	}
	assert_true(failures >= 50);
	assert_int_equal(ask(requests[0], answer, sizeof(answer)), 204);
	assert_int_equal(ask(requests[1], answer, sizeof(answer)), 200);
	assert_non_null(strstr(answer, "{\"value\":\"value\"}"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_allocation_may_fail,
						start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
