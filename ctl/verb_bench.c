/*
 * ctl/verb_bench.c - load from this client: how many requests a second a node
 * answers, and how long one takes.
 *
 * One thread and one connection for each of -conns; each takes the next
 * request number until -n are done. -t W writes, R reads, RW does both in
 * turn, D deletes; keys are bench/0 to bench/(keys-1). R and D work on what an
 * earlier W left. The client costs processor time too: on one machine the
 * figures are of both.
 */
#include <curl/curl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/seed.h"
#include "ctl/args.h"
#include "ctl/ctl.h"
#include "ctl/text.h"

enum {
	BENCH_CONNS_MAX = 1024,
	BENCH_VALUE_BYTES_MAX = 64 << 20,
	BENCH_REQUESTS_MAX = 100000000,
};

struct bench {
	const struct ctl *c;
	uint64_t value_bytes, requests, conns, keys;
	const char *type; /* "W", "R", "RW" or "D" */
	bool uniform;	  /* random keys; else in turn */
	char *value;
	uint64_t *took_ns; /* by request */
	_Atomic uint64_t next, failed, missing;
};

/* Digits with K, M or G. False: none, or over max. */
static bool parse_number(const char *text, uint64_t max, uint64_t *n)
{
	return !text_parse_bytes(text, n) && *n >= 1 && *n <= max;
}

static size_t drop_body(char *p, size_t size, size_t n, void *ctx)
{
	return size * n;
}

static const char *method_of(const struct bench *b, uint64_t i)
{
	if (strcmp(b->type, "RW") == 0)
		return i % 2 ? "GET" : "PUT";
	return b->type[0] == 'W' ? "PUT" : b->type[0] == 'R' ? "GET" : "DELETE";
}

static void ask(struct bench *b, CURL *curl, const char *method, uint64_t key)
{
	const char *endpoint = b->c->endpoint[0];
	bool put = method[0] == 'P';
	char url[1024];
	long status = 0;

	snprintf(url, sizeof(url), "%s%s/_/kv/bench/%" PRIu64 "?raw",
		 strstr(endpoint, "://") ? "" : "http://", endpoint, key);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
	if (put) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
				 (curl_off_t)b->value_bytes);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, b->value);
	}
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	if (curl_easy_perform(curl) == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (status == 404)
		atomic_fetch_add(&b->missing, 1);
	else if (status / 100 != 2)
		atomic_fetch_add(&b->failed, 1);
}

static void *load(void *arg)
{
	struct bench *b = arg;
	struct curl_slist *headers = NULL;
	CURL *curl = curl_easy_init();
	struct seed seed;
	uint64_t i;

	headers = curl_slist_append(headers,
				    "Content-Type: application/octet-stream");
	if (!curl || !headers || seed_init_os(&seed)) {
		atomic_fetch_add(&b->failed, 1);
		goto out;
	}
	headers = curl_slist_append(headers, "Expect:");
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)b->c->timeout_ms);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop_body);
	while ((i = atomic_fetch_add(&b->next, 1)) < b->requests) {
		uint64_t from = clock_mono_ns(clock_os());

		ask(b, curl, method_of(b, i),
		    b->uniform ? seed_below(&seed, b->keys) : i % b->keys);
		b->took_ns[i] = clock_mono_ns(clock_os()) - from;
	}
out:
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	return NULL;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static double share_ms(const struct bench *b, double share)
{
	uint64_t i = (uint64_t)((double)(b->requests - 1) * share);

	return (double)b->took_ns[i] / 1e6;
}

static void report(struct bench *b, bool json, uint64_t ns)
{
	double rate = (double)b->requests * 1e9 / (double)(ns ? ns : 1);

	qsort(b->took_ns, b->requests, sizeof(b->took_ns[0]), compare_u64);
	printf(json ? "{\"type\":\"%s\",\"requests\":%" PRIu64
		      ",\"conns\":%" PRIu64 ",\"bytes\":%" PRIu64
		      ",\"failed\":%" PRIu64 ",\"missing\":%" PRIu64
		      ",\"rate\":%.1f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,"
		      "\"p999_ms\":%.3f}\n"
		    : "type %s\nrequests %" PRIu64 "\nconns %" PRIu64
		      "\nbytes %" PRIu64 "\nfailed %" PRIu64
		      "\nmissing %" PRIu64 "\nrate %.1f/s\np50 %.3f ms\n"
		      "p99 %.3f ms\np999 %.3f ms\n",
	       b->type, b->requests, b->conns, b->value_bytes,
	       atomic_load(&b->failed), atomic_load(&b->missing), rate,
	       share_ms(b, 0.5), share_ms(b, 0.99), share_ms(b, 0.999));
}

/* All threads, or as many as can be made; at least one. */
static bool run_load(struct bench *b, bool json)
{
	pthread_t thread[BENCH_CONNS_MAX];
	uint64_t from = clock_mono_ns(clock_os()), made = 0;

	while (made < b->conns &&
	       pthread_create(&thread[made], NULL, load, b) == 0)
		made++;
	for (uint64_t i = 0; i < made; i++)
		pthread_join(thread[i], NULL);
	if (made < b->conns) {
		ctl_say("only %" PRIu64 " threads can be made", made);
		return false;
	}
	report(b, json, clock_mono_ns(clock_os()) - from);
	return true;
}

static bool take_numbers(struct bench *b, const char *bytes, const char *n,
			 const char *conns, const char *keys)
{
	return parse_number(bytes, BENCH_VALUE_BYTES_MAX, &b->value_bytes) &&
	       parse_number(n, BENCH_REQUESTS_MAX, &b->requests) &&
	       parse_number(conns, BENCH_CONNS_MAX, &b->conns) &&
	       parse_number(keys ? keys : n, UINT32_MAX, &b->keys);
}

static bool is_type(const char *type)
{
	return strcmp(type, "W") == 0 || strcmp(type, "R") == 0 ||
	       strcmp(type, "RW") == 0 || strcmp(type, "D") == 0;
}

enum ctl_exit verb_bench(struct ctl *c, int argc, char **argv)
{
	const char *bytes = "1K", *n = "1000", *conns = "1", *keys = NULL;
	const char *dist = "seq", *addr = NULL;
	struct bench b = { .c = c, .type = "W" };
	bool json = false;
	const struct args_option options[] = {
		{ .name = "-sz", .value = &bytes },
		{ .name = "-n", .value = &n },
		{ .name = "-t", .value = &b.type },
		{ .name = "-conns", .value = &conns },
		{ .name = "-keys", .value = &keys },
		{ .name = "-dist", .value = &dist },
		{ .name = "-addr", .value = &addr },
		{ .name = "--json", .set = &json },
		{ .name = NULL },
	};
	enum ctl_exit result = CTL_RUNTIME;

	if (!args_take(&argc, argv, options, true) || argc ||
	    !is_type(b.type) || !take_numbers(&b, bytes, n, conns, keys) ||
	    (strcmp(dist, "seq") != 0 && strcmp(dist, "uniform") != 0))
		return ctl_usage(c);
	if (addr)
		c->endpoint[0] = addr;
	b.uniform = dist[0] == 'u';
	b.value = malloc(b.value_bytes);
	b.took_ns = calloc(b.requests, sizeof(b.took_ns[0]));
	if (!b.value || !b.took_ns) {
		ctl_say("out of memory");
		goto out;
	}
	memset(b.value, 'x', b.value_bytes);
	if (!run_load(&b, json || c->json))
		goto out;
	result = atomic_load(&b.failed) ? CTL_RUNTIME : ctl_flush();
	if (atomic_load(&b.failed))
		ctl_say("%" PRIu64 " requests failed", atomic_load(&b.failed));
out:
	free(b.took_ns);
	free(b.value);
	return result;
}
