/*
 * tests/sim/run.c - one run: faults and clients, then peace.
 *
 *    start      founders with empty disks
 *    run_ms     clients ask, faults strike, every step is looked at
 *    the end    all faults off; within HEAL_MS every member runs, has applied
 *               the same and holds the same; every key is read through every
 *               node; each state is compared with the model; the history is
 *               judged
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/store_internal.h"
#include "tests/sim/sim.h"

enum {
	COMPARE_STEPS = 1000,
	FOLLOW_MS = 500,
	HEAL_MS = 120000,
	TRIES_MAX = 3000000, /* some seconds; nearly all need a few thousand */
};

/* ------------------------------------------------------------- small ones  */

void sim_mix(struct sim *s, uint64_t v)
{
	s->hash = (s->hash ^ v) * 0x9e3779b97f4a7c15;
	s->hash ^= s->hash >> 29;
}

uint64_t sim_draw(struct sim *s, uint64_t below)
{
	return seed_below(&s->chance, below);
}

bool sim_chance(struct sim *s, uint32_t permille)
{
	return sim_draw(s, 1000) < permille;
}

uint64_t sim_busy(const struct sim *s, uint64_t at)
{
	uint64_t busy = s->plan.busy_ms * SIM_MS;
	uint64_t turn = busy + s->plan.quiet_ms * SIM_MS;

	if (s->ending || at % turn < busy || at < s->storm_until)
		return at;
	return at - at % turn + turn + (at - s->c.now_ns);
}

uint64_t sim_about(struct sim *s, uint64_t mean)
{
	uint64_t part = sim_draw(s, 4) ? 10 : 30;

	return mean / 10 + sim_draw(s, mean * part / 10 + 1);
}

uint64_t sim_any_node(struct sim *s)
{
	uint64_t ids[CLUSTER_NODES_MAX];
	uint32_t count = 0;

	for (uint64_t id = 1; id <= s->c.count; id++)
		if (cluster_awake(&s->c, id) && !s->c.node[id].removed)
			ids[count++] = id;
	return count ? ids[sim_draw(s, count)] : 0;
}

static void print_line(struct sim *s, const char *line)
{
	printf("%9llu.%06llu %s\n", (unsigned long long)(s->c.now_ns / SIM_MS),
	       (unsigned long long)(s->c.now_ns % SIM_MS), line);
}

void sim_trace(struct sim *s, const char *fmt, ...)
{
	char line[700];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	sim_mix(s, model_hash(bytes_str(line)));
	if (s->trace)
		print_line(s, line);
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
	char line[1000];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	printf("SEED=%llu FAILED at %llu ms, after %llu steps: %s\n",
	       (unsigned long long)s->plan.seed,
	       (unsigned long long)(s->c.now_ns / SIM_MS),
	       (unsigned long long)s->c.counts.steps, line);
	fflush(stdout);
	_Exit(1);
}

/* ------------------------------------------------------------------ hooks  */

static void on_trace(void *ctx, const char *line)
{
	sim_trace(ctx, "%s", line);
}

static void on_fail(void *ctx, const char *why)
{
	sim_fail(ctx, "%s", why);
}

static void on_down(void *ctx, struct cluster_node *n)
{
	struct sim *s = ctx;

	clients_node_down(s, n);
	watchers_down(s, n);
	if (n->store && cluster_leader(&s->c, 0) == n->id)
		clients_hurry(s, 0); /* they wait for who leads next */
}

static void compare_sometimes(struct sim *s, struct cluster_node *n)
{
	if (s->c.counts.steps - s->steps_compared < COMPARE_STEPS)
		return;
	s->steps_compared = s->c.counts.steps;
	oracle_compare(s, n, s->damaged[n->id]);
}

static void on_call(void *ctx, struct cluster_node *n, enum cluster_call call)
{
	struct sim *s = ctx;

	sim_mix(s, s->c.now_ns << 8 ^ n->id << 4 ^ (uint64_t)call);
	if (!n->store) {
		if (n->died == ERR_CLOSED)
			s->count[SIM_crashes_in_a_call]++;
		strike_died(s, n->id);
		if (call != CLUSTER_START)
			fault_restart_later(s, n->id);
		return;
	}
	if (call == CLUSTER_START) {
		oracle_started(s, n);
		watchers_started(s, n);
		oracle_compare(s, n, s->damaged[n->id]);
		return;
	}
	oracle_look(s, n);
	watchers_look(s, n);
	if (call == CLUSTER_STEP)
		compare_sometimes(s, n);
}

/* -------------------------------------------------------------------- run  */

static void set_up(struct sim *s)
{
	struct cluster_options o;

	cluster_options_default(&o, s->plan.founders, s->plan.partitions,
				s->plan.seed);
	o.max_value_bytes = 8 << 20;
	o.staging_idle_ms = 5000;
	o.disk_bytes = 64 << 20;
	o.commit_timeout_ms = 3000;
	o.heartbeat_ms = 100 + sim_draw(s, 150);
	o.election_ms = (4 + sim_draw(s, 7)) * o.heartbeat_ms;
	o.append_bytes_max = s->plan.append_bytes_max;
	o.read_mode = sim_draw(s, 2) ? ENGINE_READ_MMAP : ENGINE_READ_PREAD;
	o.merge.dead_ratio = 0.3;
	o.segment_bytes = s->plan.segment_bytes;
	o.merge.dead_bytes = o.segment_bytes / 2;
	o.merge.small_file_bytes = o.segment_bytes / 8;
	cluster_init(&s->c, &o);
	s->c.hooks = (struct cluster_hooks){ .ctx = s,
					     .after = on_call,
					     .down = on_down,
					     .trace = on_trace,
					     .fail = on_fail };
	s->history = linear_new();
	clients_start(s);
	files_start(s);
	probes_start(s);
	cluster_start_all(&s->c);
	s->next_fault = s->c.now_ns + 2000 * SIM_MS;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Until time `until`: what is due, in the cluster or outside. */
static void run_to(struct sim *s, uint64_t until)
{
	uint64_t follow = s->c.now_ns;

	while (s->c.now_ns < until) {
		uint64_t due = earlier(clients_due(s), faults_due(s));

		due = earlier(earlier(due, follow), files_due(s));
		due = earlier(due, until);
		if (due > s->c.now_ns && cluster_step(&s->c, due))
			continue;
		clients_run(s);
		files_run(s);
		faults_run(s);
		if (follow <= s->c.now_ns) {
			admin_follow(s);
			follow = s->c.now_ns + FOLLOW_MS * SIM_MS;
		}
	}
}

static bool is_healed(struct sim *s, struct buf *why)
{
	for (uint64_t id = 1; id <= s->c.count; id++) {
		struct cluster_node *n = &s->c.node[id];

		if (!n->disk || n->removed || n->store)
			continue;
		if (why)
			(void)!buf_addf(why, "n%llu is down",
					(unsigned long long)id);
		return false;
	}
	if (!clients_idle(s) || !files_idle(s)) {
		if (why)
			(void)!buf_addf(why, "a client waits");
		return false;
	}
	if (!admin_idle(s, why))
		return false;
	for (uint32_t p = 0; p < s->plan.partitions; p++) {
		if (cluster_leader(&s->c, p))
			continue;
		if (why)
			(void)!buf_addf(why, "partition %u has no leader", p);
		return false;
	}
	return cluster_same(&s->c, why);
}

/* What each node knows of each group, for whoever looks at a failure. */
static void print_group(struct cluster_node *n, uint32_t p)
{
	const struct raft_conf *conf;
	struct raft_status st;

	if (!n->store->partitions[p].raft)
		return;
	raft_status(n->store->partitions[p].raft, &st);
	conf = raft_conf(n->store->partitions[p].raft);
	printf("  n%llu partition %u: role %d term %llu vote %llu leader %llu "
	       "last %llu/%llu commit %llu applied %llu missing %llu%s members",
	       (unsigned long long)n->id, p, (int)st.role,
	       (unsigned long long)st.term, (unsigned long long)st.vote,
	       (unsigned long long)st.leader, (unsigned long long)st.last_term,
	       (unsigned long long)st.last_index, (unsigned long long)st.commit,
	       (unsigned long long)st.applied, (unsigned long long)st.missing,
	       n->store->partitions[p].broken ? " broken" : "");
	for (uint32_t i = 0; i < conf->count; i++)
		printf(" %llu:%u", (unsigned long long)conf->id[i],
		       conf->role[i]);
	printf("\n");
}

static void print_groups(struct sim *s)
{
	for (uint64_t id = 1; id <= s->c.count; id++) {
		struct cluster_node *n = &s->c.node[id];

		if (!n->disk)
			continue;
		printf("n%llu %s%s%s\n", (unsigned long long)id,
		       n->store ? "runs" : "is down",
		       n->removed ? ", removed" : "",
		       s->damaged[id] ? ", damaged" : "");
		for (uint32_t p = 0; n->store && p < s->plan.partitions; p++)
			print_group(n, p);
	}
}

static void heal(struct sim *s)
{
	uint64_t until = s->c.now_ns + HEAL_MS * SIM_MS;
	struct buf why = BUF_INIT;

	sim_trace(s, "all faults off");
	faults_end(s);
	run_to(s, s->c.now_ns + 5000 * SIM_MS);
	while (!is_healed(s, NULL) && s->c.now_ns < until)
		run_to(s, s->c.now_ns + 1000 * SIM_MS);
	if (!is_healed(s, &why)) {
		print_groups(s);
		sim_fail(s, "not healed %u ms after all faults were off: %.*s",
			 HEAL_MS, (int)why.n, why.n ? (const char *)why.p : "");
	}
	for (uint64_t id = 1; id <= s->c.count; id++) {
		if (!cluster_runs(&s->c, id) || s->c.node[id].removed)
			continue;
		oracle_compare(s, &s->c.node[id], false);
		clients_read_all(s, id);
		files_check(s, id);
	}
}

static void judge(struct sim *s)
{
	struct buf why = BUF_INIT;
	enum linear_verdict v = linear_check(s->history, TRIES_MAX, &why);

	if (v == LINEAR_NO) {
		printf("%.*s\n", (int)why.n, (const char *)why.p);
		sim_fail(s, "the history is not linearizable");
	}
	if (v == LINEAR_UNDECIDED) {
		sim_trace(s, "the judge gave up");
		s->undecided = true;
	}
	buf_done(&why);
}

void sim_run(struct sim *s, uint64_t seed, bool trace)
{
	*s = (struct sim){ .trace = trace };
	sim_now = s;
	sim_plan(seed, &s->plan);
	seed_init(&s->chance, seed);
	if (trace)
		for (int f = 0; f < FAULT_COUNT; f++)
			if (s->plan.faults[f])
				print_line(s,
					   sim_fault_name((enum sim_fault)f));
	set_up(s);
	run_to(s, s->plan.run_ms * SIM_MS);
	heal(s);
	judge(s);
	s->count[SIM_lost_messages] = s->c.counts.lost;
	sim_mix(s, s->c.counts.delivered);
	clients_done(s);
	files_done(s);
	watchers_done(s);
	oracle_done(s);
	linear_free(s->history);
	s->history = NULL;
}
