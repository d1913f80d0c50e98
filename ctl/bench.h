/*
 * ctl/bench.h - load on a cluster: what is asked, and what came of it.
 *
 *   verb_bench.c    the command line, phases, the report
 *   bench_work.c    which request is next, what a value looks like
 *   bench_http.c    many connections on few threads, plain HTTP
 *   bench_curl.c    one thread a connection, for https
 *
 * A driver takes work with bench_take, makes the exchange and hands the outcome
 * to bench_done. Threads: any number of drivers' threads.
 */
#ifndef CTL_BENCH_H
#define CTL_BENCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/seed.h"
#include "ctl/ctl.h"
#include "ctl/histogram.h"

enum {
	BENCH_CONNS_MAX = 20000,
	BENCH_VALUE_BYTES_MAX = 64 << 20,
	BENCH_STAMP_BYTES = 16, /* in front of each value, cut to its size   */
	BENCH_SLIDE_BYTES = 4096,
	BENCH_PATH_BYTES = 64,
};

enum bench_dist { BENCH_SEQ, BENCH_UNIFORM, BENCH_ZIPF };

/* Constants of the zipf distribution over `keys` keys. */
struct bench_zipf {
	double x1, n, s;
};

struct bench {
	const struct ctl *c;
	uint64_t value_bytes, requests, conns, keys;
	uint32_t threads;
	const char *type; /* "W", "R", "RW" or "D" */
	enum bench_dist dist;
	struct bench_zipf zipf;
	bool verify;
	bool is_check;	/* reading back: every key once, in turn             */
	bool want_gone; /* and none may be there                             */
	uint8_t *bytes; /* what values are cut out of                        */
	_Atomic uint64_t next, failed, missing, wrong;
	_Atomic bool stop;
};

/* What one thread of a driver has of its own. */
struct bench_worker {
	struct bench *b;
	struct seed seed;
	struct histogram took;
	char word[96]; /* the first thing that went wrong here               */
};

/* One request. */
struct bench_job {
	const char *method;
	uint64_t key;
	char path[BENCH_PATH_BYTES];
	uint8_t stamp[BENCH_STAMP_BYTES];
	struct bytes value[2]; /* of a PUT: its parts; also what a GET gives */
};

/* The distribution's constants and the values' bytes. ERR_NOMEM. */
MUST_CHECK enum err bench_prepare(struct bench *b);

/* The next request. False: all are taken. */
bool bench_take(struct bench_worker *w, struct bench_job *j);

/*
 * It took so long and brought that. status 0: no answer came, and why says
 * why not (or NULL). body is read only if it is a GET's and b->verify.
 */
void bench_done(struct bench_worker *w, const struct bench_job *j,
		uint64_t took_ns, long status, struct bytes body,
		const char *why);

/*
 * Make all requests of b; what they took is added to took. False: it could not
 * begin; it has been said why.
 */
bool bench_run_http(struct bench *b, struct histogram *took);
bool bench_run_curl(struct bench *b, struct histogram *took);

#endif
