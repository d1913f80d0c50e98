/*
 * node/parallel.c - workers that take the next number until none is left.
 */
#include "node/parallel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { PARALLEL_THREADS_MAX = 64 };

struct job {
	void (*fn)(void *arg, uint32_t i);
	void *arg;
	uint32_t n;
	_Atomic uint32_t next;
};

static void *work(void *arg)
{
	struct job *job = arg;
	uint32_t i;

	while ((i = atomic_fetch_add(&job->next, 1)) < job->n)
		job->fn(job->arg, i);
	return NULL;
}

void parallel_run(void (*fn)(void *arg, uint32_t i), void *arg, uint32_t n)
{
	struct job job = { .fn = fn, .arg = arg, .n = n };
	pthread_t threads[PARALLEL_THREADS_MAX];
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	uint32_t made = 0;

	while (made + 1 < n && made + 1 < processors &&
	       made < PARALLEL_THREADS_MAX &&
	       pthread_create(&threads[made], NULL, work, &job) == 0)
		made++;
	work(&job);
	while (made)
		pthread_join(threads[--made], NULL);
}
