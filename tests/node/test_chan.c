/*
 * A queue to somebody slow: nothing is lost or out of order, and the bytes
 * that wait are not moved about for each one that is added.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/chan.h"

enum { MESSAGE_BYTES = 64 << 10, QUEUE_MESSAGES = 512, MORE_MESSAGES = 2000 };

/* In place of the C library's, for the code under test: counts. */
static uint64_t moved_bytes;

void *memmove(void *to, const void *from, size_t n)
{
	uint8_t *t = to;
	const uint8_t *f = from;

	moved_bytes += n;
	if (t < f)
		for (size_t i = 0; i < n; i++)
			t[i] = f[i];
	else
		for (size_t i = n; i-- > 0;)
			t[i] = f[i];
	return to;
}

static uint64_t read_bytes; /* and all of them were right */

/* Read up to n bytes: byte i of the stream is the number of its message. */
static void read_some(int fd, size_t n)
{
	static uint8_t p[MESSAGE_BYTES];
	ssize_t got;

	while (n > 0 &&
	       (got = read(fd, p, n < sizeof(p) ? n : sizeof(p))) > 0) {
		for (ssize_t i = 0; i < got; i++) {
			uint64_t at = read_bytes + (uint64_t)i;

			if (p[i] != (uint8_t)(at / MESSAGE_BYTES))
				fail_msg("byte %llu is wrong",
					 (unsigned long long)at);
		}
		read_bytes += (uint64_t)got;
		n -= (size_t)got;
	}
}

static void send_one(struct chan *c, uint64_t number)
{
	static uint8_t p[MESSAGE_BYTES];
	struct iovec iov = { .iov_base = p, .iov_len = sizeof(p) };
	bool torn;

	memset(p, (int)(uint8_t)number, sizeof(p));
	assert_int_equal(chan_send(c, &iov, 1, &torn), OK);
}

static void a_long_queue_is_not_moved_for_each_message(void **state)
{
	uint64_t n = 0, total;
	struct chan c;
	int fd[2];
	enum err err = ERR_PENDING;

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	assert_int_equal(chan_open(&c, fd[0], NULL, true), OK);
	while (n < QUEUE_MESSAGES)
		send_one(&c, n++);
	moved_bytes = 0;
	while (n < QUEUE_MESSAGES + MORE_MESSAGES) {
		read_some(fd[1], MESSAGE_BYTES);
		assert_int_equal(chan_flush(&c), ERR_PENDING);
		send_one(&c, n++);
	}
	/* About two bytes for each byte that went through. */
	assert_true(moved_bytes <= 3ull * MORE_MESSAGES * MESSAGE_BYTES);
	assert_true(c.out.cap <= 4ull * QUEUE_MESSAGES * MESSAGE_BYTES);
	total = n * MESSAGE_BYTES;
	while (read_bytes < total) {
		if (err == ERR_PENDING)
			err = chan_flush(&c);
		read_some(fd[1], 1 << 20);
	}
	assert_int_equal(chan_flush(&c), OK);
	assert_int_equal(chan_waiting(&c), 0);
	assert_true(c.out.cap <= CHAN_KEEP_BYTES);
	chan_close(&c);
	close(fd[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_long_queue_is_not_moved_for_each_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
