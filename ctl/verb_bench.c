/*
 * ctl/verb_bench.c - load from this client: how many requests a second the
 * nodes answer, and how long one takes.
 *
 * Every connection takes the next request until -n are done, so a slow answer
 * holds back its own connection only. -t W writes, R reads, RW does both in
 * turn, D deletes; keys are bench/0 to bench/(keys-1). R and D work on what an
 * earlier W left. With --verify every value read is compared, and after W, RW
 * and D all keys are read back. The client costs processor time too: on one
 * machine the figures are of both, and cpu_us says how much it was.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctl/args.h"
#include "ctl/bench.h"
#include "ctl/ctl.h"
#include "ctl/text.h"

#define REQUESTS_MAX 100000000000ull

struct report {
	struct histogram took;
	uint64_t ns, cpu_ns;
	uint64_t checked, lost; /* read back; of these not there             */
};

/* Digits with K, M or G. False: none, or over max. */
static bool parse_number(const char *text, uint64_t max, uint64_t *n)
{
	return !text_parse_bytes(text, n) && *n >= 1 && *n <= max;
}

/* ------------------------------------------------------------------ load - */

static uint64_t cpu_ns(void)
{
	struct rusage u;

	if (getrusage(RUSAGE_SELF, &u))
		return 0;
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000 +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
}

static bool run_load(struct bench *b, struct histogram *took)
{
	if (strncmp(b->c->endpoint[0], "https:", 6) == 0)
		return bench_run_curl(b, took);
	return bench_run_http(b, took);
}

static bool measure(struct bench *b, struct report *r)
{
	uint64_t cpu = cpu_ns(), from = clock_mono_ns(clock_os());

	if (!run_load(b, &r->took))
		return false;
	r->ns = clock_mono_ns(clock_os()) - from;
	r->cpu_ns = cpu_ns() - cpu;
	return true;
}

/* Read every key that was written or deleted back. */
static bool read_back(struct bench *b, struct report *r)
{
	static struct histogram unused;
	uint64_t missing = atomic_load(&b->missing), keys = b->keys;
	bool ok;

	b->is_check = true;
	b->want_gone = b->type[0] == 'D';
	if (b->dist == BENCH_SEQ && keys > b->requests)
		b->keys = b->requests;
	atomic_store(&b->next, 0);
	ok = run_load(b, &unused);
	r->checked = b->keys;
	r->lost = atomic_load(&b->missing) - missing;
	atomic_store(&b->missing, missing);
	b->keys = keys;
	return ok;
}

/* ---------------------------------------------------------------- report - */

static double share_ms(const struct report *r, double share)
{
	return (double)histogram_share_ns(&r->took, share) / 1e6;
}

static void print_report(const struct bench *b, const struct report *r,
			 bool json)
{
	double n = r->took.count ? (double)r->took.count : 1;
	double rate = n * 1e9 / (double)(r->ns ? r->ns : 1);
	double bytes = rate * (double)b->value_bytes;

	printf(json ? "{\"type\":\"%s\",\"requests\":%" PRIu64
		      ",\"conns\":%" PRIu64 ",\"bytes\":%" PRIu64
		      ",\"failed\":%" PRIu64 ",\"missing\":%" PRIu64
		      ",\"rate\":%.1f,\"mib_per_s\":%.2f,\"mean_ms\":%.3f,"
		      "\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,"
		      "\"max_ms\":%.3f,\"cpu_us\":%.2f"
		    : "type %s\nrequests %" PRIu64 "\nconns %" PRIu64
		      "\nbytes %" PRIu64 "\nfailed %" PRIu64
		      "\nmissing %" PRIu64 "\nrate %.1f/s\nvalues %.2f MiB/s\n"
		      "mean %.3f ms\np50 %.3f ms\np99 %.3f ms\np999 %.3f ms\n"
		      "max %.3f ms\ncpu %.2f us a request\n",
	       b->type, r->took.count, b->conns, b->value_bytes,
	       atomic_load(&b->failed), atomic_load(&b->missing), rate,
	       bytes / (1 << 20), (double)r->took.sum_ns / n / 1e6,
	       share_ms(r, 0.5), share_ms(r, 0.99), share_ms(r, 0.999),
	       (double)r->took.max_ns / 1e6, (double)r->cpu_ns / n / 1e3);
	if (b->verify)
		printf(json ? ",\"wrong\":%" PRIu64 ",\"read_back\":%" PRIu64
			      ",\"not_there\":%" PRIu64
			    : "wrong %" PRIu64 "\nread_back %" PRIu64
			      "\nnot_there %" PRIu64 "\n",
		       atomic_load(&b->wrong), r->checked, r->lost);
	if (json)
		puts("}");
}

/* What went wrong makes the exit code. */
static enum ctl_exit judge(const struct bench *b, const struct report *r)
{
	bool all_written = b->dist == BENCH_SEQ && b->type[0] == 'W';
	enum ctl_exit result = ctl_flush();

	if (atomic_load(&b->stop)) {
		ctl_say("given up: no node answers any more");
		result = CTL_RUNTIME;
	}
	if (atomic_load(&b->failed)) {
		ctl_say("%" PRIu64 " requests failed", atomic_load(&b->failed));
		result = CTL_RUNTIME;
	}
	if (atomic_load(&b->wrong)) {
		ctl_say("%" PRIu64 " values were not as written",
			atomic_load(&b->wrong));
		result = CTL_RUNTIME;
	}
	if (all_written && r->lost) {
		ctl_say("%" PRIu64 " of the keys written are not there",
			r->lost);
		result = CTL_RUNTIME;
	}
	return result;
}

/* ------------------------------------------------------------------ verb - */

static bool is_type(const char *type)
{
	return strcmp(type, "W") == 0 || strcmp(type, "R") == 0 ||
	       strcmp(type, "RW") == 0 || strcmp(type, "D") == 0;
}

static bool take_dist(const char *text, enum bench_dist *dist)
{
	static const char *const names[] = { "seq", "uniform", "zipf" };

	for (int i = 0; i < 3; i++) {
		if (strcmp(text, names[i]) == 0) {
			*dist = (enum bench_dist)i;
			return true;
		}
	}
	return false;
}

struct words {
	const char *bytes, *n, *conns, *keys, *dist, *addr, *threads;
};

static bool take_words(struct bench *b, const struct words *w)
{
	uint64_t threads;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	/* Few: the nodes need processors too, and one thread can do a lot. */
	b->threads = cpus > 2 ? (uint32_t)(cpus / 2) : 1;
	if (w->threads) {
		if (!parse_number(w->threads, 256, &threads))
			return false;
		b->threads = (uint32_t)threads;
	}
	return is_type(b->type) && take_dist(w->dist, &b->dist) &&
	       parse_number(w->bytes, BENCH_VALUE_BYTES_MAX, &b->value_bytes) &&
	       parse_number(w->n, REQUESTS_MAX, &b->requests) &&
	       parse_number(w->conns, BENCH_CONNS_MAX, &b->conns) &&
	       parse_number(w->keys ? w->keys : w->n, UINT32_MAX, &b->keys);
}

static enum ctl_exit run_bench(struct bench *b, bool json)
{
	static struct report r;

	if (bench_prepare(b)) {
		ctl_say("out of memory");
		return CTL_RUNTIME;
	}
	if (!measure(b, &r))
		return CTL_RUNTIME;
	if (b->verify && strcmp(b->type, "R") != 0 && !read_back(b, &r))
		return CTL_RUNTIME;
	print_report(b, &r, json);
	return judge(b, &r);
}

enum ctl_exit verb_bench(struct ctl *c, int argc, char **argv)
{
	struct words w = {
		.bytes = "1K", .n = "1000", .conns = "1", .dist = "seq"
	};
	struct bench b = { .c = c, .type = "W" };
	bool json = false;
	const struct args_option options[] = {
		{ .name = "-sz", .value = &w.bytes },
		{ .name = "-n", .value = &w.n },
		{ .name = "-t", .value = &b.type },
		{ .name = "-conns", .value = &w.conns },
		{ .name = "-keys", .value = &w.keys },
		{ .name = "-dist", .value = &w.dist },
		{ .name = "-addr", .value = &w.addr },
		{ .name = "-threads", .value = &w.threads },
		{ .name = "--verify", .set = &b.verify },
		{ .name = "--json", .set = &json },
		{ .name = NULL },
	};
	enum ctl_exit result;

	if (!args_take(&argc, argv, options, true) || argc ||
	    !take_words(&b, &w))
		return ctl_usage(c);
	if (w.addr) {
		c->endpoint[0] = w.addr;
		c->endpoint_count = 1;
	}
	result = run_bench(&b, json || c->json);
	free(b.bytes);
	return result;
}
