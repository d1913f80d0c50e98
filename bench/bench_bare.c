/*
 * bench/bench_bare.c - the least that a replicated PUT can cost.
 *
 *	bench_bare PORT DIR
 *
 * libmicrohttpd, one group-commit thread and two replica processes that append
 * and sync what they are sent: no consensus, no index, one batch in flight. A
 * PUT is answered when this process's file and one replica's are synced. GET
 * answers 200 from memory, after a round through the committing thread and one
 * replica when the path begins with /round (a read index, bare).
 */
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	REPLICAS = 2,
	VALUE_BYTES_MAX = 4096,
	BATCH_BYTES_MAX = 4 << 20,
	FILE_BYTES = 256 << 20,
};

struct request {
	struct request *next;
	struct MHD_Connection *connection;
	size_t bytes;
	bool is_put, done;
	uint8_t value[VALUE_BYTES_MAX];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static struct request *head, **tail = &head;
static int replica[REPLICAS];
static struct MHD_Response *answer_ok;

static void die(const char *what)
{
	fprintf(stderr, "bench_bare: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void all_io(int fd, void *p, size_t n, bool out)
{
	for (size_t done = 0; done < n;) {
		ssize_t rc = out ? write(fd, (char *)p + done, n - done)
				 : read(fd, (char *)p + done, n - done);

		if (rc <= 0 && errno != EINTR)
			exit(0);
		if (rc > 0)
			done += (size_t)rc;
	}
}

/* A file whose blocks are written, as a recycled segment's are. */
static int zero_filled(const char *dir, int number)
{
	static uint8_t zeros[1 << 20];
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/bare-%d.log", dir, number);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0)
		die(path);
	for (int i = 0; i < FILE_BYTES >> 20; i++)
		all_io(fd, zeros, sizeof(zeros), true);
	if (fsync(fd))
		die("fsync");
	return fd;
}

static void append_synced(int fd, const uint8_t *p, uint32_t n, off_t *off)
{
	if (*off + n > FILE_BYTES)
		*off = 0;
	if (pwrite(fd, p, n, *off) != (ssize_t)n || fdatasync(fd))
		die("append");
	*off += n;
}

/* length, bytes -> one byte when they are durable; length 0: at once. */
static void run_replica(int sock, const char *dir, int number)
{
	uint8_t *batch = malloc(BATCH_BYTES_MAX);
	int fd = zero_filled(dir, number);
	off_t off = 0;
	uint32_t n;

	for (;;) {
		all_io(sock, &n, sizeof(n), false);
		all_io(sock, batch, n, false);
		if (n)
			append_synced(fd, batch, n, &off);
		all_io(sock, batch, 1, true);
	}
}

static int start_replica(const char *dir, int number)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int s = socket(AF_INET, SOCK_STREAM, 0), mine, theirs, on = 1;

	if (bind(s, (struct sockaddr *)&a, len) || listen(s, 1) ||
	    getsockname(s, (struct sockaddr *)&a, &len))
		die("listen");
	mine = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(mine, (struct sockaddr *)&a, len))
		die("connect");
	theirs = accept(s, NULL, NULL);
	close(s);
	setsockopt(mine, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(theirs, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (fork() == 0) {
		close(mine);
		run_replica(theirs, dir, number);
	}
	close(theirs);
	return mine;
}

static void *commit_main(void *arg)
{
	static uint8_t batch[BATCH_BYTES_MAX];
	int fd = zero_filled(arg, 0);
	off_t off = 0;
	int owed = 0; /* answers of the slower replica for earlier batches */

	for (;;) {
		struct request *r, *next;
		uint32_t n = 0;
		uint8_t byte;

		pthread_mutex_lock(&lock);
		while (!head)
			pthread_cond_wait(&work, &lock);
		r = head;
		head = NULL;
		tail = &head;
		pthread_mutex_unlock(&lock);
		for (struct request *q = r; q; q = q->next) {
			if (q->is_put && n + q->bytes <= BATCH_BYTES_MAX) {
				memcpy(batch + n, q->value, q->bytes);
				n += (uint32_t)q->bytes;
			}
		}
		for (int i = 0; i < REPLICAS; i++) {
			all_io(replica[i], &n, sizeof(n), true);
			all_io(replica[i], batch, n, true);
		}
		if (n)
			append_synced(fd, batch, n, &off);
		all_io(replica[0], &byte, 1, false);
		owed++;
		while (owed && recv(replica[1], &byte, 1,
				    owed > 64 ? 0 : MSG_DONTWAIT) == 1)
			owed--;
		for (; r; r = next) {
			next = r->next;
			r->done = true;
			MHD_resume_connection(r->connection);
		}
	}
	return NULL;
}

static enum MHD_Result answer(void *cls, struct MHD_Connection *c,
			      const char *url, const char *method,
			      const char *version, const char *body,
			      size_t *body_bytes, void **state)
{
	struct request *r = *state;

	if (!r) {
		*state = calloc(1, sizeof(*r));
		return *state ? MHD_YES : MHD_NO;
	}
	if (*body_bytes) {
		size_t n = *body_bytes;

		if (n > sizeof(r->value) - r->bytes)
			return MHD_NO;
		memcpy(r->value + r->bytes, body, n);
		r->bytes += n;
		*body_bytes = 0;
		return MHD_YES;
	}
	r->is_put = !strcmp(method, "PUT");
	if (r->done || (!r->is_put && strncmp(url, "/round", 6)))
		return MHD_queue_response(c, r->is_put ? 204 : 200, answer_ok);
	r->connection = c;
	r->next = NULL;
	MHD_suspend_connection(c);
	pthread_mutex_lock(&lock);
	if (!head)
		pthread_cond_signal(&work);
	*tail = r;
	tail = &r->next;
	pthread_mutex_unlock(&lock);
	return MHD_YES;
}

static void completed(void *cls, struct MHD_Connection *c, void **state,
		      enum MHD_RequestTerminationCode code)
{
	free(*state);
}

int main(int argc, char **argv)
{
	struct MHD_Daemon *d;
	pthread_t commit;

	if (argc != 3)
		return 2;
	for (int i = 0; i < REPLICAS; i++)
		replica[i] = start_replica(argv[2], i + 1);
	answer_ok = MHD_create_response_from_buffer(0, (void *)"",
						    MHD_RESPMEM_PERSISTENT);
	if (pthread_create(&commit, NULL, commit_main, argv[2]))
		die("thread");
	d = MHD_start_daemon(
		MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME,
		(unsigned short)atoi(argv[1]), NULL, NULL, answer, NULL,
		MHD_OPTION_CONNECTION_LIMIT, 4096, MHD_OPTION_NOTIFY_COMPLETED,
		completed, NULL, MHD_OPTION_END);
	if (!d)
		die("listen");
	pause();
	return 0;
}
