/*
 * bench/bench_hello.c - the ceiling: libmicrohttpd answering from memory.
 *
 *	bench_hello PORT THREADS
 *
 * A fixed small answer to every request, made as cheaply as the library
 * allows, with the same threads and limits as the daemon's front end.
 */
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum MHD_Result answer(void *cls, struct MHD_Connection *c,
			      const char *url, const char *method,
			      const char *version, const char *body,
			      size_t *body_bytes, void **request)
{
	static int seen;
	struct MHD_Response *r;
	enum MHD_Result ret;

	if (!*request) {
		*request = &seen;
		return MHD_YES;
	}
	if (*body_bytes) {
		*body_bytes = 0;
		return MHD_YES;
	}
	r = MHD_create_response_from_buffer(15, (void *)"{\"value\":\"abc\"}",
					    MHD_RESPMEM_PERSISTENT);
	ret = MHD_queue_response(c, 200, r);
	MHD_destroy_response(r);
	return ret;
}

int main(int argc, char **argv)
{
	struct MHD_Daemon *d;

	if (argc != 3)
		return 2;
	d = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD,
			     (unsigned short)atoi(argv[1]), NULL, NULL, answer,
			     NULL, MHD_OPTION_CONNECTION_LIMIT, 4096,
			     atoi(argv[2]) > 1 ? MHD_OPTION_THREAD_POOL_SIZE
					       : MHD_OPTION_END,
			     atoi(argv[2]), MHD_OPTION_END);
	if (!d) {
		fprintf(stderr, "bench_hello: cannot listen\n");
		return 1;
	}
	pause();
	return 0;
}
