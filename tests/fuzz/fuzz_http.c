/*
 * Whatever a client sends: the server answers, or closes the connection, and
 * lets go of all that it held. The first byte chooses: raw bytes, or a request
 * of which the input is the path, the query or the body.
 *
 * Decodes in part: httpd/route.c httpd/request.c httpd/txn.c httpd/file.c
 * httpd/members.c httpd/tokens.c httpd/key.c httpd/list.c httpd/watch.c
 * httpd/guard.c httpd/body.c
 */
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/log.h"
#include "httpd/httpd.h"
#include "tests/httpd/client.h"
#include "tests/httpd/mem_store.h"

enum {
	INPUTS_EACH = 2000, /* that one server sees                          */
	QUIET_MS = 30,	    /* a watch does not end                          */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* What stands before the input, and behind it. */
static const struct shape {
	const char *before, *after;
	bool is_body;
} shapes[] = {
	{ "", "", false },
	{ "GET /", " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false },
	{ "GET /_/kv?", " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
	  false },
	{ "GET /_/watch?", " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
	  false },
	{ "PUT /k",
	  " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
	  "Content-Length: 1\r\n\r\nv",
	  false },
	{ "GET /k HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", "\r\n\r\n",
	  false },
	{ "POST /_/txn", "application/json", true },
	{ "POST /_/rename", "application/json", true },
	{ "PUT /_/kv/a/k", "application/json", true },
	{ "POST /_/members", "application/json", true },
	{ "POST /_/members/n2/replace", "application/json", true },
	{ "POST /_/tokens", "application/json", true },
	{ "POST /_/transfer", "application/json", true },
	{ "PUT /a/k", "text/plain", true },
	{ "POST /l?append", "text/plain", true },
};

enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static struct store *store;
static struct httpd *httpd;
static int inputs;

static void stop(void)
{
	if (!httpd)
		return;
	httpd_stop(httpd);
	mem_store_free(store);
	httpd = NULL;
}

static uint16_t start(void)
{
	static const char *const listen[] = { "127.0.0.1:0" };
	struct httpd_options o = { .listen = listen,
				   .listen_count = 1,
				   .max_value_bytes = 1 << 20,
				   .request_timeout_ms = 5000,
				   .commit_timeout_ms = 5000,
				   .idle_timeout_ms = 5000,
				   .drain_timeout_ms = 5000,
				   .clock = clock_os(),
				   .node_name = "n1",
				   .node_id = 1,
				   .cluster_id = "c1",
				   .version = "0" };
	struct buf why = BUF_INIT;

	if (httpd && inputs++ < INPUTS_EACH)
		return httpd_port(httpd, 0);
	stop();
	if (!inputs)
		CHECK(atexit(stop) == 0);
	inputs = 1;
	log_set_level(LOG_ERROR);
	o.store = store = the_store = mem_store_new();
	CHECK(httpd_start(&o, &httpd, &why) == OK);
	return httpd_port(httpd, 0);
}

static void make(const struct shape *s, struct bytes in, struct buf *b)
{
	CHECK(buf_add(b, s->before, strlen(s->before)) == OK);
	if (s->is_body)
		CHECK(buf_addf(b,
			       " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
			       "Content-Type: %s\r\nContent-Length: %zu"
			       "\r\n\r\n",
			       s->after, in.n) == OK);
	CHECK(buf_add(b, in.p, in.n) == OK);
	if (!s->is_body)
		CHECK(buf_add(b, s->after, strlen(s->after)) == OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct linger at_once = { .l_onoff = 1 };
	static char room[1 << 16];
	struct buf b = BUF_INIT;
	int fd;

	if (n == 0)
		return 0;
	make(&shapes[data[0] % SHAPES], bytes_of(data + 1, n - 1), &b);
	fd = client_connect(start());
	client_send(fd, b.p, b.n);
	shutdown(fd, SHUT_WR);
	while (client_read(fd, room, sizeof(room), QUIET_MS) > 0)
		;
	/* So that as many connections as there are ports are no limit. */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(fd);
	buf_done(&b);
	return 0;
}
