/*
 * bench/bench_mount.c - one figure about a mounted directory.
 *
 *	bench_mount fill PORT PREFIX COUNT       keys over HTTP
 *	bench_mount fill-files DIR COUNT         the same as files
 *	bench_mount put PORT KEY COUNT BYTES     us each, one connection
 *	bench_mount create DIR COUNT WRITERS     files/s: create, write, close
 *	bench_mount check DIR COUNT              fails unless all of them are there
 *	bench_mount open DIR COUNT TIMES         open + read + close, each/s
 *	bench_mount stat DIR COUNT TIMES         stats/s
 *	bench_mount list DIR COUNT               ms: readdir, lstat of each
 *	bench_mount rename DIR COUNT             renames/s
 *	bench_mount append FILE COUNT BYTES      us each
 *	bench_mount echo DIR NAMES COUNT         us each: O_TRUNC, write, close
 *	bench_mount write FILE MB PIECE          MB/s, with fsync
 *	bench_mount log FILE MB PIECE            MB/s, fdatasync after each piece
 *	bench_mount read FILE MB                 MB/s, not cached, then cached
 *
 * DIR has files f0, f1, ... of 1 KiB, whose content says which they are; every
 * byte that is read is compared. One line on standard output: the figure, or
 * figures. Exit status 1, and a word why, when anything is not as it should be.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/lib/measure.h"

enum {
	FILE_BYTES = 1024,
	FILL_CONNECTIONS = 16,
	THREADS_MAX = 64,
	PATH_BYTES = 4096,
};

static void die(const char *what)
{
	fprintf(stderr, "bench_mount: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void wrong(const char *what)
{
	fprintf(stderr, "bench_mount: %s\n", what);
	exit(1);
}

static double each_per_s(uint64_t from_ns, uint64_t n)
{
	return (double)n * 1e9 / (double)(now_ns() - from_ns);
}

static double us_each(uint64_t from_ns, uint64_t n)
{
	return (double)(now_ns() - from_ns) / 1e3 / (double)n;
}

static void content_of(char *p, size_t n, uint64_t number)
{
	memset(p, 'a' + (int)(number % 26), n);
	memcpy(p, &number, n < sizeof(number) ? n : sizeof(number));
}

static void file_path(char *path, const char *dir, uint64_t number)
{
	snprintf(path, PATH_BYTES, "%s/f%llu", dir, (unsigned long long)number);
}

static void write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t got = write(fd, p, n);

		if (got <= 0)
			die("write");
		p += got;
		n -= (size_t)got;
	}
}

/* ------------------------------------------------------------------- HTTP */

static int http_open(const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)atoi(port)) };
	int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)))
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

/* One PUT. Its answer, 201 or 204, has no body. */
static void http_put(int fd, const char *key, const char *body, size_t n)
{
	char text[PATH_BYTES + 65536], *end = NULL;
	size_t have = 0;
	int head = snprintf(text, PATH_BYTES,
			    "PUT /%s HTTP/1.1\r\nHost: b\r\nContent-Type: "
			    "application/octet-stream\r\n"
			    "Content-Length: %zu\r\n\r\n",
			    key, n);

	if (n > 65536)
		wrong("body too long");
	memcpy(text + head, body, n);
	write_all(fd, text, (size_t)head + n);
	while (!end) {
		ssize_t got = read(fd, text + have, PATH_BYTES - have - 1);

		if (got <= 0)
			die("PUT");
		have += (size_t)got;
		text[have] = 0;
		end = strstr(text, "\r\n\r\n");
	}
	if (strncmp(text + 8, " 20", 3) != 0)
		wrong("PUT was refused");
}

static double put(const char *port, const char *key, uint64_t count,
		  size_t bytes)
{
	char body[65536];
	int fd = http_open(port);
	uint64_t from;

	memset(body, 'p', sizeof(body));
	from = now_ns();
	for (uint64_t i = 0; i < count; i++)
		http_put(fd, key, body, bytes);
	close(fd);
	return us_each(from, count);
}

/* ---------------------------------------------------------------- in files */

struct work {
	const char *dir, *port;
	uint64_t count;
	_Atomic uint64_t next;
};

static void create_one(const char *dir, uint64_t number)
{
	char path[PATH_BYTES], p[FILE_BYTES];
	int fd;

	file_path(path, dir, number);
	content_of(p, sizeof(p), number);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0)
		die(path);
	write_all(fd, p, sizeof(p));
	if (close(fd))
		die("close");
}

static void *run_create(void *arg)
{
	struct work *w = arg;
	uint64_t i;

	while ((i = atomic_fetch_add(&w->next, 1)) < w->count)
		create_one(w->dir, i);
	return NULL;
}

static void *run_fill(void *arg)
{
	struct work *w = arg;
	char key[PATH_BYTES], p[FILE_BYTES];
	int fd = http_open(w->port);
	uint64_t i;

	while ((i = atomic_fetch_add(&w->next, 1)) < w->count) {
		file_path(key, w->dir, i);
		content_of(p, sizeof(p), i);
		http_put(fd, key, p, sizeof(p));
	}
	close(fd);
	return NULL;
}

static void run(void *(*body)(void *), struct work *w, int threads)
{
	pthread_t t[THREADS_MAX];

	if (threads < 1 || threads > THREADS_MAX)
		wrong("how many threads?");
	for (int i = 0; i < threads; i++)
		if (pthread_create(&t[i], NULL, body, w))
			wrong("no thread");
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
}

static double create(const char *dir, uint64_t count, int writers)
{
	struct work w = { .dir = dir, .count = count };
	uint64_t from = now_ns();

	run(run_create, &w, writers);
	return each_per_s(from, count);
}

static void read_one(const char *dir, uint64_t number)
{
	char path[PATH_BYTES], p[FILE_BYTES + 1], wanted[FILE_BYTES];
	int fd;

	file_path(path, dir, number);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		die(path);
	if (read(fd, p, sizeof(p)) != FILE_BYTES)
		wrong("a file has another size");
	close(fd);
	content_of(wanted, sizeof(wanted), number);
	if (memcmp(p, wanted, sizeof(wanted)) != 0)
		wrong("a file has another content");
}

static double open_each(const char *dir, uint64_t count, uint64_t times)
{
	uint64_t from = now_ns();

	for (uint64_t i = 0; i < times; i++)
		read_one(dir, i % count);
	return each_per_s(from, times);
}

static double stat_each(const char *dir, uint64_t count, uint64_t times)
{
	char path[PATH_BYTES];
	struct stat st;
	uint64_t from = now_ns();

	for (uint64_t i = 0; i < times; i++) {
		file_path(path, dir, i % count);
		if (stat(path, &st))
			die(path);
		if (st.st_size != FILE_BYTES)
			wrong("stat shows another size");
	}
	return each_per_s(from, times);
}

static double list(const char *dir, uint64_t count)
{
	char path[PATH_BYTES];
	uint64_t from = now_ns(), seen = 0;
	struct dirent *e;
	struct stat st;
	DIR *d = opendir(dir);

	if (!d)
		die(dir);
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (lstat(path, &st))
			die(path);
		seen++;
	}
	closedir(d);
	if (seen != count)
		wrong("the listing has another number of entries");
	return (double)(now_ns() - from) / 1e6;
}

static double rename_each(const char *dir, uint64_t count)
{
	char from_path[PATH_BYTES], to_path[PATH_BYTES];
	uint64_t from = now_ns();

	for (uint64_t i = 0; i < count; i++) {
		file_path(from_path, dir, i);
		snprintf(to_path, sizeof(to_path), "%s/g%llu", dir,
			 (unsigned long long)i);
		if (rename(from_path, to_path))
			die(from_path);
	}
	return each_per_s(from, count);
}

static double append(const char *path, uint64_t count, size_t bytes)
{
	char p[65536];
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
	uint64_t from;
	double us;

	if (fd < 0 || bytes > sizeof(p))
		die(path);
	memset(p, 'a', sizeof(p));
	write_all(fd, p, bytes); /* brings the creation along */
	from = now_ns();
	for (uint64_t i = 0; i < count; i++)
		write_all(fd, p, bytes);
	us = us_each(from, count);
	if (lseek(fd, 0, SEEK_END) % (off_t)bytes)
		wrong("the file has another size");
	close(fd);
	return us;
}

/* What a shell does for `echo v > name`. */
static double echo(const char *dir, uint64_t names, uint64_t count)
{
	char path[PATH_BYTES];
	uint64_t from = now_ns();

	for (uint64_t i = 0; i < count; i++) {
		int fd;

		file_path(path, dir, i % names);
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
		if (fd < 0)
			die(path);
		write_all(fd, "v\n", 2);
		if (close(fd))
			die("close");
	}
	return us_each(from, count);
}

/* ------------------------------------------------------------ large files */

static char *piece_of(size_t bytes)
{
	char *p = malloc(bytes);

	if (!p)
		die("malloc");
	for (size_t i = 0; i < bytes; i++)
		p[i] = (char)(i * 31 >> 3);
	return p;
}

static double write_large(const char *path, uint64_t mb, size_t piece,
			  bool syncs_each)
{
	char *p = piece_of(piece);
	uint64_t bytes = mb << 20, from = now_ns();
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0)
		die(path);
	for (uint64_t done = 0; done < bytes; done += piece) {
		write_all(fd, p, piece);
		if (syncs_each && fdatasync(fd))
			die("fdatasync");
	}
	if (fsync(fd) || close(fd))
		die("fsync");
	free(p);
	return (double)bytes * 1e3 / (double)(now_ns() - from);
}

static double read_large(const char *path, uint64_t mb)
{
	enum { PIECE = 1 << 20 };
	static char p[PIECE];
	uint64_t from = now_ns(), bytes = 0;
	int fd = open(path, O_RDONLY);
	ssize_t got;

	if (fd < 0)
		die(path);
	while ((got = read(fd, p, PIECE)) > 0)
		bytes += (uint64_t)got;
	if (got < 0 || bytes != mb << 20)
		wrong("a large file has another size");
	close(fd);
	return (double)bytes * 1e3 / (double)(now_ns() - from);
}

/* Once from the file system, once from the page cache. */
static void read_twice(const char *path, uint64_t mb)
{
	int fd = open(path, O_RDONLY);
	double fresh;

	if (fd < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
		die(path);
	close(fd);
	fresh = read_large(path, mb);
	(void)read_large(path, mb);
	printf("%.1f %.1f\n", fresh, read_large(path, mb));
}

/* -------------------------------------------------------------------- main */

static bool figure_of(const char *what, char **a, int n, double *v)
{
	uint64_t x = n > 1 ? strtoull(a[1], NULL, 10) : 0;
	uint64_t y = n > 2 ? strtoull(a[2], NULL, 10) : 0;
	struct work w = { .dir = n > 1 ? a[1] : NULL, .port = a[0] };

	if (!strcmp(what, "fill") && n == 3) {
		w.count = y;
		run(run_fill, &w, FILL_CONNECTIONS);
		*v = (double)y;
	} else if (!strcmp(what, "put") && n == 4) {
		*v = put(a[0], a[1], y, (size_t)atoi(a[3]));
	} else if (!strcmp(what, "fill-files") && n == 2) {
		*v = create(a[0], x, 1);
	} else if (!strcmp(what, "create") && n == 3) {
		*v = create(a[0], x, (int)y);
	} else if (!strcmp(what, "check") && n == 2) {
		*v = open_each(a[0], x, x);
	} else if (!strcmp(what, "open") && n == 3) {
		*v = open_each(a[0], x, y);
	} else if (!strcmp(what, "stat") && n == 3) {
		*v = stat_each(a[0], x, y);
	} else if (!strcmp(what, "list") && n == 2) {
		*v = list(a[0], x);
	} else if (!strcmp(what, "rename") && n == 2) {
		*v = rename_each(a[0], x);
	} else if (!strcmp(what, "append") && n == 3) {
		*v = append(a[0], x, (size_t)y);
	} else if (!strcmp(what, "echo") && n == 3) {
		*v = echo(a[0], x, y);
	} else if (!strcmp(what, "write") && n == 3) {
		*v = write_large(a[0], x, (size_t)y, false);
	} else if (!strcmp(what, "log") && n == 3) {
		*v = write_large(a[0], x, (size_t)y, true);
	} else {
		return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	double v;

	if (argc == 4 && !strcmp(argv[1], "read")) {
		read_twice(argv[2], strtoull(argv[3], NULL, 10));
		return 0;
	}
	if (argc < 4 || !figure_of(argv[1], argv + 2, argc - 2, &v))
		wrong("see the head of bench/bench_mount.c");
	printf("%.2f\n", v);
	return 0;
}
