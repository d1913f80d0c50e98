/*
 * ctl/bench_curl.c - the same load over https, one thread a connection: the
 * cost of TLS is curl's to pay, and its figures are of both.
 */
#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/bench.h"
#include "ctl/secure.h"

enum { THREADS_MAX = 1024 };

struct asker {
	struct bench_worker work;
	uint32_t number;
	pthread_t thread;
	CURL *curl;
	struct curl_slist *headers;
	struct bench_job job;
	size_t sent;
	struct buf body;
};

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
	struct asker *a = ctx;

	return buf_add(&a->body, p, size * n) ? 0 : size * n;
}

/* From the stamp, then from the rest. */
static size_t on_read(char *p, size_t size, size_t count, void *ctx)
{
	struct asker *a = ctx;
	const struct bytes *v = a->job.value;
	bool second = a->sent >= v[0].n;
	size_t off = second ? a->sent - v[0].n : a->sent;
	size_t n = v[second].n - off;

	if (n > size * count)
		n = size * count;
	if (n)
		memcpy(p, v[second].p + off, n);
	a->sent += n;
	return n;
}

static void ask(struct asker *a)
{
	const struct ctl *c = a->work.b->c;
	const char *endpoint =
		c->endpoint[a->number % (uint32_t)c->endpoint_count];
	const struct bench_job *j = &a->job;
	uint64_t from = clock_mono_ns(clock_os());
	size_t n = strlen(endpoint);
	char url[1024];
	long status = 0;
	CURLcode code;

	while (n && endpoint[n - 1] == '/')
		n--;
	snprintf(url, sizeof(url), "%.*s%s", (int)n, endpoint, j->path);
	a->body.n = a->sent = 0;
	curl_easy_setopt(a->curl, CURLOPT_URL, url);
	curl_easy_setopt(a->curl, CURLOPT_HTTPGET, 1L);
	if (j->method[0] == 'P') {
		curl_easy_setopt(a->curl, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(a->curl, CURLOPT_INFILESIZE_LARGE,
				 (curl_off_t)(j->value[0].n + j->value[1].n));
	}
	curl_easy_setopt(a->curl, CURLOPT_CUSTOMREQUEST, j->method);
	code = curl_easy_perform(a->curl);
	if (!code)
		curl_easy_getinfo(a->curl, CURLINFO_RESPONSE_CODE, &status);
	bench_done(&a->work, j, clock_mono_ns(clock_os()) - from, status,
		   buf_bytes(&a->body), code ? curl_easy_strerror(code) : NULL);
}

static void *run(void *arg)
{
	struct asker *a = arg;

	while (bench_take(&a->work, &a->job))
		ask(a);
	return NULL;
}

static bool add_header(struct asker *a, const char *line)
{
	struct curl_slist *more = curl_slist_append(a->headers, line);

	if (more)
		a->headers = more;
	return more != NULL;
}

static bool asker_init(struct asker *a, struct bench *b, uint32_t number)
{
	const char *who = secure_header(&b->c->secure);

	a->work.b = b;
	a->number = number;
	a->curl = curl_easy_init();
	if (!a->curl || seed_init_os(&a->work.seed) ||
	    !add_header(a, "Content-Type: application/octet-stream") ||
	    !add_header(a, "Expect:") || (who && !add_header(a, who)) ||
	    !secure_apply(&b->c->secure, a->curl))
		return false;
	curl_easy_setopt(a->curl, CURLOPT_HTTPHEADER, a->headers);
	curl_easy_setopt(a->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(a->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(a->curl, CURLOPT_TIMEOUT_MS, (long)b->c->timeout_ms);
	curl_easy_setopt(a->curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(a->curl, CURLOPT_WRITEDATA, a);
	curl_easy_setopt(a->curl, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(a->curl, CURLOPT_READDATA, a);
	return true;
}

static void asker_done(struct asker *a)
{
	curl_slist_free_all(a->headers);
	curl_easy_cleanup(a->curl);
	buf_done(&a->body);
}

bool bench_run_curl(struct bench *b, struct histogram *took)
{
	uint32_t n = (uint32_t)b->conns, started = 0;
	struct asker *all;
	bool ok = n <= THREADS_MAX;

	if (!ok) {
		ctl_say("over https at most %d connections", THREADS_MAX);
		return false;
	}
	all = calloc(n, sizeof(*all));
	for (uint32_t i = 0; i < n && all && ok; i++)
		ok = asker_init(&all[i], b, i);
	for (uint32_t i = 0; i < n && all && ok; i++) {
		ok = pthread_create(&all[i].thread, NULL, run, &all[i]) == 0;
		started += ok;
	}
	if (!ok || !all)
		ctl_say("out of memory or threads");
	if (!ok)
		atomic_store(&b->stop, true);
	for (uint32_t i = 0; i < started; i++)
		pthread_join(all[i].thread, NULL);
	for (uint32_t i = 0; i < n && all; i++) {
		histogram_join(took, &all[i].work.took);
		if (ok && all[i].work.word[0])
			ctl_say("%s", all[i].work.word);
		asker_done(&all[i]);
	}
	ok = ok && all;
	free(all);
	return ok;
}
