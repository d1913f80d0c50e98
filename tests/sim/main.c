/*
 * tests/sim/main.c - run seeds, add up what they did.
 *
 *    build/sim [-s FIRST] [-n COUNT] [-j JOBS] [-t] [-q] [-v]
 *
 * -t traces (one seed), -v prints the hash of each. The seeds run in worker
 * processes, so that one that breaks an assertion is told like any other; a
 * worker takes many, because memory that was once touched is cheap. A failed
 * seed prints why and how to run it again.
 *
 * Over a hundred seeds or more no counter may be zero, and some must not be
 * zero in about half of them: of n seeds in n/2 - sqrt(n), twice the deviation
 * of chance. -q leaves that out.
 * Exit status: 0 all is well, 1 not.
 */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/guard.h"
#include "tests/sim/sim.h"

enum { JOBS_MAX = 16, WORKER_SEEDS_MAX = 50, NONE_SEEDS_MIN = 100 };

/* What a run tells of itself through a pipe. */
struct report {
	bool undecided; /* the judge gave up on its history                  */
	uint64_t seed, hash, virtual_ms, real_ms, operations, steps, messages;
	uint64_t count[SIM_COUNTER_COUNT];
};

struct worker {
	pid_t pid; /* 0: there is none                                       */
	int fd;
	unsigned left; /* seeds that it has yet to tell of                   */
};

struct totals {
	struct report sum;
	uint64_t seeds, failed, undecided;
	bool verbose;
	uint64_t seeds_with[SIM_COUNTER_COUNT];
};

static const char *const names[] = {
#define X(name) #name,
	SIM_COUNTERS(X)
#undef X
};

/* Must happen in every other seed at least. */
static const enum sim_counter frequent[] = {
	SIM_merges,	     SIM_snapshot_installs, SIM_repairs,
	SIM_recovery_copies, SIM_recycled_segments,
};

static uint64_t real_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct sim sim;

static void run_one(uint64_t seed, bool trace, struct report *r)
{
	uint64_t from = real_ms();

	*r = (struct report){ .seed = seed };
	sim_run(&sim, seed, trace);
	r->hash = sim.hash;
	r->undecided = sim.undecided;
	r->virtual_ms = sim.c.now_ns / SIM_MS;
	r->operations = sim.count[SIM_acked_writes] + sim.count[SIM_reads];
	r->steps = sim.c.counts.steps;
	r->messages = sim.c.counts.sent;
	memcpy(r->count, sim.count, sizeof(r->count));
	cluster_done(&sim.c);
	probes_done(&sim);
	r->real_ms = real_ms() - from;
}

static void print_hash(const struct report *r)
{
	printf("SEED=%llu hash %016llx\n", (unsigned long long)r->seed,
	       (unsigned long long)r->hash);
}

/* A process for seed, seed + step and so on, for a while. */
static void start_worker(struct worker *w, uint64_t seed, uint64_t step)
{
	int fd[2];

	fflush(stdout);
	if (pipe(fd)) {
		perror("pipe");
		exit(1);
	}
	w->left = WORKER_SEEDS_MAX;
	w->fd = fd[0];
	w->pid = fork();
	if (w->pid == 0) {
		struct report r;

		close(fd[0]);
		for (unsigned i = 0; i < WORKER_SEEDS_MAX; i++) {
			run_one(seed + i * step, false, &r);
			if (write(fd[1], &r, sizeof(r)) != (ssize_t)sizeof(r))
				_Exit(1);
		}
		_Exit(0);
	}
	close(fd[1]);
	if (w->pid < 0) {
		perror("fork");
		exit(1);
	}
}

/* How the worker ended, if it does not end by itself: at once. */
static int end_worker(struct worker *w)
{
	int status = 0;

	if (!w->pid)
		return 0;
	close(w->fd);
	if (w->left)
		kill(w->pid, SIGTERM);
	waitpid(w->pid, &status, 0);
	w->pid = 0;
	return status;
}

static void add_up(struct totals *t, const struct report *r)
{
	t->sum.virtual_ms += r->virtual_ms;
	t->sum.real_ms += r->real_ms;
	t->sum.operations += r->operations;
	t->sum.steps += r->steps;
	t->undecided += r->undecided;
	t->sum.messages += r->messages;
	for (int i = 0; i < SIM_COUNTER_COUNT; i++) {
		t->sum.count[i] += r->count[i];
		t->seeds_with[i] += r->count[i] > 0;
	}
}

/* Take the report of seed; if there is none the worker died of it. */
static void finish(struct totals *t, struct worker *w, uint64_t seed)
{
	struct report r;
	ssize_t got = read(w->fd, &r, sizeof(r));
	int status;

	t->seeds++;
	if (got == (ssize_t)sizeof(r)) {
		add_up(t, &r);
		if (t->verbose)
			print_hash(&r);
		if (--w->left == 0)
			(void)end_worker(w);
		return;
	}
	w->left = 0;
	status = end_worker(w);
	t->failed++;
	if (WIFSIGNALED(status))
		printf("SEED=%llu died of signal %d\n",
		       (unsigned long long)seed, WTERMSIG(status));
	printf("  again, with a trace: make sim SEED=%llu TRACE=1\n",
	       (unsigned long long)seed);
	fflush(stdout);
}

static void run_all(struct totals *t, uint64_t first, uint64_t count,
		    unsigned jobs)
{
	struct worker worker[JOBS_MAX] = { 0 };

	if (jobs > count)
		jobs = (unsigned)count;
	for (unsigned i = 0; i < jobs; i++)
		start_worker(&worker[i], first + i, jobs);
	for (uint64_t i = 0; i < count; i++) {
		struct worker *w = &worker[i % jobs];

		finish(t, w, first + i);
		if (!w->pid && i + jobs < count)
			start_worker(w, first + i + jobs, jobs);
	}
	for (unsigned i = 0; i < jobs; i++)
		(void)end_worker(&worker[i]);
}

static bool is_frequent(int counter)
{
	for (size_t i = 0; i < sizeof(frequent) / sizeof(*frequent); i++)
		if ((int)frequent[i] == counter)
			return true;
	return false;
}

/* Counted in fewer seeds than half of them, and not by chance? */
static bool is_rare(uint64_t with, uint64_t seeds)
{
	uint64_t missing = seeds > 2 * with ? seeds - 2 * with : 0;

	return missing * missing > 4 * seeds;
}

/* False: something that should have been tried was not. */
static bool print_totals(const struct totals *t)
{
	uint64_t real = t->sum.real_ms ? t->sum.real_ms : 1;
	bool covered = true;

	printf("%llu seeds, %llu failed; %llu virtual s in %llu.%llu s: %llu "
	       "virtual s a second; %llu operations, %llu steps, %llu "
	       "messages\n",
	       (unsigned long long)t->seeds, (unsigned long long)t->failed,
	       (unsigned long long)(t->sum.virtual_ms / 1000),
	       (unsigned long long)(t->sum.real_ms / 1000),
	       (unsigned long long)(t->sum.real_ms % 1000 / 100),
	       (unsigned long long)(t->sum.virtual_ms / real),
	       (unsigned long long)t->sum.operations,
	       (unsigned long long)t->sum.steps,
	       (unsigned long long)t->sum.messages);
	if (t->undecided)
		printf("  the judge gave up on %llu histories\n",
		       (unsigned long long)t->undecided);
	for (int i = 0; i < SIM_COUNTER_COUNT; i++) {
		bool rare =
			is_frequent(i) && is_rare(t->seeds_with[i], t->seeds);
		bool none = t->sum.count[i] == 0 && t->seeds >= NONE_SEEDS_MIN;
		bool bad = rare || none;

		printf("  %-20s %10llu in %llu seeds%s\n", names[i],
		       (unsigned long long)t->sum.count[i],
		       (unsigned long long)t->seeds_with[i],
		       bad ? "  TOO FEW" : "");
		covered = covered && !bad;
	}
	return covered;
}

int main(int argc, char **argv)
{
	uint64_t first = 1, count = 1;
	struct totals t = { 0 };
	bool trace = false, quick = false, covered;
	unsigned jobs = 1;
	int opt;

	while ((opt = getopt(argc, argv, "s:n:j:tqv")) != -1) {
		switch (opt) {
		case 's':
			first = strtoull(optarg, NULL, 10);
			break;
		case 'n':
			count = strtoull(optarg, NULL, 10);
			break;
		case 'j':
			jobs = (unsigned)atoi(optarg);
			break;
		case 't':
			trace = true;
			break;
		case 'q':
			quick = true;
			break;
		case 'v':
			t.verbose = true;
			break;
		default:
			fprintf(stderr, "usage: sim [-s FIRST] [-n COUNT] "
					"[-j JOBS] [-t] [-q] [-v]\n");
			return 64;
		}
	}
	if (jobs < 1 || jobs > JOBS_MAX)
		jobs = 1;
	/* Values come and go: their pages stay. */
	mallopt(M_MMAP_MAX, 0);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	guard_install(); /* disks with bad sectors are mapped */
	if (trace || count == 1) {
		struct report r;

		run_one(first, trace, &r);
		print_hash(&r);
		add_up(&t, &r);
		t.seeds = 1;
		print_totals(&t);
		return 0;
	}
	run_all(&t, first, count, jobs);
	covered = print_totals(&t);
	return t.failed || (!quick && !covered);
}
