/*
 * tests/httpd/client.h - a blunt HTTP client: raw bytes out, raw bytes in.
 */
#ifndef TESTS_HTTPD_CLIENT_H
#define TESTS_HTTPD_CLIENT_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/check.h"

enum { CLIENT_WAIT_MS = 20000 };

static inline int client_connect(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	CHECK(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	return fd;
}

/* False: the other side closed. */
static inline bool client_send(int fd, const void *p, size_t n)
{
	while (n) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		p = (const char *)p + sent;
		n -= (size_t)sent;
	}
	return true;
}

/* Read once, up to n bytes; 0 at the end; -1 after wait_ms of silence. */
static inline ssize_t client_read(int fd, void *p, size_t n, int wait_ms)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	ssize_t got;

	if (poll(&poll_fd, 1, wait_ms) != 1)
		return -1;
	got = recv(fd, p, n, 0);
	return got < 0 ? 0 : got;
}

struct answer {
	int status;
	bool closed;	 /* by the other side after it                       */
	bool complete;	 /* as long as it said                               */
	struct buf head; /* NUL-terminated                                   */
	struct buf body; /* NUL-terminated, dechunked                        */
};

static inline void answer_done(struct answer *a)
{
	buf_done(&a->head);
	buf_done(&a->body);
	*a = (struct answer){ 0 };
}

/* The value of a header in a static buffer, or NULL. */
static inline const char *answer_header(const struct answer *a,
					const char *name)
{
	static char value[512];
	const char *line = (const char *)a->head.p;
	size_t n = strlen(name);

	while (line && *line) {
		if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
			line += n + 1;
			line += strspn(line, " ");
			snprintf(value, sizeof(value), "%.*s",
				 (int)strcspn(line, "\r\n"), line);
			return value;
		}
		line = strchr(line, '\n');
		if (line)
			line++;
	}
	return NULL;
}

static inline bool client_byte(int fd, char *c)
{
	return client_read(fd, c, 1, CLIENT_WAIT_MS) == 1;
}

static inline bool client_line(int fd, struct buf *b)
{
	char c;

	do {
		if (!client_byte(fd, &c))
			return false;
		CHECK(buf_add(b, &c, 1) == OK);
	} while (c != '\n');
	return true;
}

static inline bool client_exactly(int fd, size_t n, struct buf *b)
{
	char part[65536];

	while (n) {
		ssize_t got = client_read(fd, part,
					  n < sizeof(part) ? n : sizeof(part),
					  CLIENT_WAIT_MS);

		if (got <= 0)
			return false;
		CHECK(buf_add(b, part, (size_t)got) == OK);
		n -= (size_t)got;
	}
	return true;
}

static inline bool client_chunks(int fd, struct buf *body)
{
	struct buf line = BUF_INIT;
	bool good = true;

	for (;;) {
		size_t n;

		line.n = 0;
		good = client_line(fd, &line) && buf_add(&line, "", 1) == OK;
		if (!good)
			break;
		n = strtoull((char *)line.p, NULL, 16);
		good = client_exactly(fd, n, body);
		line.n = 0;
		good = good && client_line(fd, &line);
		if (!good || n == 0)
			break;
	}
	buf_done(&line);
	return good;
}

/* Read a status line and headers; 1xx are skipped. False: none came. */
static inline bool client_head(int fd, struct answer *a)
{
	size_t start;

	do {
		a->head.n = 0;
		do {
			start = a->head.n;
			if (!client_line(fd, &a->head))
				return false;
		} while (a->head.n - start > 2);
		CHECK(buf_add(&a->head, "", 1) == OK);
		if (sscanf((char *)a->head.p, "HTTP/1.%*d %d", &a->status) != 1)
			return false;
	} while (a->status < 200);
	return true;
}

static inline void client_answer(int fd, bool is_head, struct answer *a)
{
	const char *text;

	*a = (struct answer){ 0 };
	a->complete = client_head(fd, a);
	if (a->complete && !is_head && a->status != 204 && a->status != 304) {
		text = answer_header(a, "Transfer-Encoding");
		if (text) {
			a->complete = client_chunks(fd, &a->body);
		} else {
			text = answer_header(a, "Content-Length");
			a->complete =
				text &&
				client_exactly(fd, strtoull(text, NULL, 10),
					       &a->body);
		}
	}
	CHECK(buf_add(&a->body, "", 1) == OK);
	a->body.n--;
}

/* One request on a connection of its own, which is closed then. */
static inline void client_raw(uint16_t port, const void *p, size_t n,
			      bool is_head, struct answer *a)
{
	int fd = client_connect(port);
	const char *text;
	char rest[512];
	ssize_t got;

	client_send(fd, p, n);
	client_answer(fd, is_head, a);
	text = answer_header(a, "Connection");
	/* libmicrohttpd repeats itself in some of its own refusals. */
	do
		got = client_read(fd, rest, sizeof(rest), text ? 2000 : 0);
	while (got > 0);
	a->closed = got == 0;
	close(fd);
}

/* METHOD target, extra header lines ("A: b\r\n"), body of n bytes. */
static inline void client_request(uint16_t port, const char *method,
				  const char *target, const char *headers,
				  const void *body, size_t n, struct answer *a)
{
	struct buf b = BUF_INIT;

	CHECK(buf_addf(&b, "%s %s HTTP/1.1\r\nHost: t\r\n%s", method, target,
		       headers) == OK);
	if (body)
		CHECK(buf_addf(&b, "Content-Length: %zu\r\n", n) == OK);
	CHECK(buf_add(&b, "\r\n", 2) == OK);
	if (n)
		CHECK(buf_add(&b, body, n) == OK);
	client_raw(port, b.p, b.n, strcmp(method, "HEAD") == 0, a);
	buf_done(&b);
}

#endif
