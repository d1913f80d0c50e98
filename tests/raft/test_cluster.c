/*
 * tests/raft/test_cluster.c - groups under random faults, hundreds of seeds.
 *
 * One seed decides everything: options, faults, membership changes, order. The
 * oracle of tests/lib/raft_group.h watches every step; at the end all faults
 * stop and the group must heal. SEED=n runs that one seed, SEEDS=n so many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "tests/lib/raft_group.h"

enum { STEPS = 12000, TICK_NS = 10 * 1000 * 1000, HEAL_TICKS = 3000 };

struct chaos {
	struct rg g;
	bool cut[RG_NODES_MAX + 1][RG_NODES_MAX + 1]; /* from, to */
	bool paused[RG_NODES_MAX + 1];
	uint64_t ticked[RG_NODES_MAX + 1];
	uint32_t loss_percent, twice_percent;
	bool churn, crashes;
};

static uint64_t below(struct chaos *c, uint64_t n)
{
	return seed_below(&c->g.seed, n);
}

static struct rg_node *any_up(struct chaos *c)
{
	struct rg_node *n = &c->g.node[1 + below(c, c->g.o.nodes)];

	return n->raft && !c->paused[n->id] ? n : NULL;
}

static struct rg_node *some_leader(struct chaos *c)
{
	struct rg_node *n = any_up(c);

	return n && n->role == RAFT_LEADER ? n : NULL;
}

/* Time goes on; every clock has its own speed. */
static void pass_time(struct chaos *c)
{
	uint64_t id;

	c->g.now_ns += TICK_NS / 2;
	for (id = 1; id <= c->g.o.nodes; id++) {
		struct rg_node *n = &c->g.node[id];
		uint64_t due = rg_now(n) / TICK_NS;

		if (!n->raft || c->paused[id]) {
			c->ticked[id] = due; /* ticks are not made up for */
			continue;
		}
		for (; c->ticked[id] < due; c->ticked[id]++)
			rg_tick(n);
	}
}

static void deliver_some(struct chaos *c)
{
	uint32_t i;
	struct raft_msg *m;

	if (c->g.pool_count == 0)
		return;
	/* mostly old ones first, sometimes any */
	i = (uint32_t)below(
		c, below(c, 4) && c->g.pool_count > 8 ? 8 : c->g.pool_count);
	m = &c->g.pool[i].m;
	if (c->cut[m->from][m->to] || c->paused[m->to] ||
	    below(c, 100) < c->loss_percent)
		rg_drop(&c->g, i);
	else
		rg_deliver(&c->g, i, below(c, 100) < c->twice_percent);
}

static void change_members(struct chaos *c)
{
	static const enum raft_transition transitions[] = {
		RAFT_AUTO, RAFT_AUTO, RAFT_IMPLICIT, RAFT_EXPLICIT
	};
	struct rg_node *n = some_leader(c);
	struct raft_change change = { 0 };
	uint32_t i;

	if (!n)
		return;
	change.transition = transitions[below(c, 4)];
	change.count = (uint32_t)below(c, 4);
	if (change.count == 0)
		change.transition = RAFT_AUTO;
	for (i = 0; i < change.count; i++) {
		change.item[i].op = (enum raft_change_op)below(c, 3);
		change.item[i].id = 1 + below(c, c->g.o.nodes);
	}
	(void)rg_change(n, &change);
}

static void crash_or_restart(struct chaos *c)
{
	struct rg_node *n = &c->g.node[1 + below(c, c->g.o.nodes)];

	if (!n->raft)
		rg_restart(n);
	else if (below(c, 3) == 0)
		rg_crash(n, (uint32_t)below(c, n->batch_count + 1));
}

static void change_links(struct chaos *c)
{
	uint64_t a, b, kind = below(c, 4);

	memset(c->cut, 0, sizeof(c->cut));
	if (kind == 0)
		return; /* all whole */
	for (a = 1; a <= c->g.o.nodes; a++) {
		for (b = 1; b <= c->g.o.nodes; b++) {
			if (kind == 1) /* two halves */
				c->cut[a][b] = (a + c->g.step) % 2 !=
					       (b + c->g.step) % 2;
			else if (kind == 2) /* one node alone */
				c->cut[a][b] = (a == c->g.step % 5 + 1) !=
					       (b == c->g.step % 5 + 1);
			else /* any link, one way */
				c->cut[a][b] = below(c, 4) == 0;
		}
	}
}

static void seldom(struct chaos *c)
{
	struct rg_node *n = any_up(c);

	switch (below(c, 8)) {
	case 0:
		change_links(c);
		break;
	case 1:
	case 2:
		if (c->crashes)
			crash_or_restart(c);
		break;
	case 3:
		if (c->churn)
			change_members(c);
		break;
	case 4:
		if (n && n->applied > 2)
			rg_compact(n, n->applied - below(c, 3));
		break;
	case 5:
		if (n && below(c, 3) == 0)
			rg_transfer(n, 1 + below(c, c->g.o.nodes));
		break;
	case 6:
		if (n && below(c, 10) == 0)
			rg_campaign(n);
		break;
	default:
		if (n)
			c->paused[n->id] = below(c, 3) == 0;
		else
			memset(c->paused, 0, sizeof(c->paused));
	}
}

static void one_step(struct chaos *c)
{
	struct rg_node *n;

	c->g.step++;
	switch (below(c, 16)) {
	case 0:
		pass_time(c);
		break;
	case 1:
	case 2:
	case 3:
		n = any_up(c);
		if (n)
			(void)rg_sync(n); /* nothing to write is fine */
		break;
	case 4:
		n = some_leader(c);
		if (n && c->g.committed_last < 1500)
			(void)rg_propose(n); /* may be refused */
		break;
	case 5:
		n = any_up(c);
		if (n)
			(void)rg_read(n); /* may be refused */
		break;
	case 6:
		if (below(c, 4) == 0)
			seldom(c);
		break;
	default:
		deliver_some(c);
	}
}

/* Which features are on is chance too: bugs hide behind one another. */
static void choose(struct chaos *c, struct rg_options *o, struct seed *s)
{
	static const uint32_t sizes[] = { 1, 2, 3, 3, 3, 5, 5, 7 };
	struct raft_config *k = &o->config;

	rg_options_default(o, sizes[seed_below(s, 8)]);
	o->nodes = o->voters + (uint32_t)seed_below(s, 3);
	k->heartbeat_ticks = 2 + (uint32_t)seed_below(s, 3);
	k->prevote = seed_below(s, 4) != 0;
	k->check_quorum = seed_below(s, 4) != 0;
	k->apply_unpersisted = seed_below(s, 2) != 0;
	k->inflight_max = 1 + (uint32_t)seed_below(s, 8);
	k->append_bytes_max = 100 * seed_below(s, 6);
	k->inflight_bytes_max = 100 + 100 * seed_below(s, 20);
	k->out_max = 1 + (uint32_t)seed_below(s, 16);
	k->reads_max = 4 + (uint32_t)seed_below(s, 60);
	k->apply_bytes_max = seed_below(s, 2) ? 300 : RAFT_NO_LIMIT;
	if (k->check_quorum && seed_below(s, 2)) {
		k->read_mode = RAFT_READ_LEASE;
		k->restart_guard = true;
		k->lease_ns =
			(k->election_ticks - 1) * (uint64_t)TICK_NS * 8 / 10;
	}
	c->loss_percent = (uint32_t)seed_below(s, 3) * 10;
	c->twice_percent = (uint32_t)seed_below(s, 3) * 10;
	c->churn = seed_below(s, 2) != 0;
	c->crashes = seed_below(s, 4) != 0;
}

/* Everybody who belongs to the group has applied all that its leader has. */
static bool is_healed(struct chaos *c)
{
	struct rg_node *l = rg_leader(&c->g);
	const struct raft_conf *conf;
	uint32_t i;

	if (!l || rg_commit(l) != rg_last(l))
		return false;
	conf = raft_conf(l->raft);
	for (i = 0; i < conf->count; i++) {
		if (c->g.node[conf->id[i]].applied != rg_last(l))
			return false;
	}
	return true;
}

/* Is id a member in the eyes of any other node? */
static bool is_needed(struct chaos *c, uint64_t id)
{
	uint64_t k;

	for (k = 1; k <= c->g.o.nodes; k++) {
		if (k != id && c->g.node[k].raft &&
		    raft_conf_role(raft_conf(c->g.node[k].raft), id))
			return true;
	}
	return c->g.o.nodes == 1;
}

/* Nodes that all others have seen removed are switched off at last. */
static void stop_strangers(struct chaos *c)
{
	uint64_t id;

	for (id = 1; id <= c->g.o.nodes; id++) {
		if (c->g.node[id].raft && !is_needed(c, id) &&
		    c->g.node[id].role != RAFT_LEADER)
			rg_crash(&c->g.node[id], 0);
	}
}

/* For the reader of a failure. */
static void show_group(struct chaos *c)
{
	uint64_t id;
	uint32_t i;

	for (id = 1; id <= c->g.o.nodes; id++) {
		struct rg_node *n = &c->g.node[id];
		struct raft_progress p;
		struct raft_status s;

		if (!n->raft)
			continue;
		raft_status(n->raft, &s);
		fprintf(stderr,
			"%d role %d term %d leader %d commit %d "
			"applied %d last %d/%d members",
			(int)id, s.role, (int)s.term, (int)s.leader,
			(int)s.commit, (int)s.applied, (int)s.last_term,
			(int)s.last_index);
		for (i = 0; i < s.member_count; i++) {
			raft_progress_at(n->raft, i, &p);
			fprintf(stderr, " %d:%d(flow %d match %d next %d%s%s)",
				(int)p.id, raft_conf(n->raft)->role[i], p.flow,
				(int)p.match, (int)p.next,
				p.paused ? " paused" : "",
				p.active ? "" : " silent");
		}
		fprintf(stderr, "\n");
	}
}

static void heal(struct chaos *c)
{
	uint64_t id, ticks;

	memset(c->cut, 0, sizeof(c->cut));
	memset(c->paused, 0, sizeof(c->paused));
	c->g.bulk_disk = true;
	for (id = 1; id <= c->g.o.nodes; id++) {
		if (!c->g.node[id].raft)
			rg_restart(&c->g.node[id]);
	}
	rg_settle(&c->g);
	for (ticks = 0; ticks < HEAL_TICKS && !is_healed(c); ticks++) {
		if (ticks % (HEAL_TICKS / 4) == HEAL_TICKS / 4 - 1)
			stop_strangers(c);
		pass_time(c);
		rg_settle(&c->g);
	}
	if (!is_healed(c))
		show_group(c);
	RG_HOLD(&c->g, is_healed(c));
}

static void run_seed(uint64_t number, struct rg_counts *total)
{
	struct chaos c = { 0 };
	struct rg_options o;
	struct seed s;
	uint64_t i;

	seed_init(&s, number);
	choose(&c, &o, &s);
	rg_init(&c.g, &o, number);
	for (i = 1; i <= o.nodes; i++)
		c.g.node[i].clock_permille =
			900 + 50 * (uint32_t)seed_below(&s, 5);
	for (i = 0; i < STEPS; i++)
		one_step(&c);
	heal(&c);
	RG_HOLD(&c.g, c.g.count.alarms == 0);
	for (i = 0; i < sizeof(*total) / sizeof(uint64_t); i++)
		((uint64_t *)total)[i] += ((uint64_t *)&c.g.count)[i];
	rg_done(&c.g);
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *v = getenv(name);

	return v && *v ? strtoull(v, NULL, 0) : otherwise;
}

static void groups_stay_safe_under_random_faults_and_heal(void **state)
{
	uint64_t first = from_environment("SEED", 1);
	uint64_t seeds = from_environment(
		"SEEDS", getenv("SEED") && *getenv("SEED") ? 1 : 300);
	struct rg_counts t = { 0 };
	uint64_t i;

	for (i = first; i < first + seeds; i++)
		run_seed(i, &t);
	print_message(
		"elections %llu committed %llu truncations %llu "
		"snapshots %llu changes %llu reads %llu leases %llu "
		"transfers %llu crashes %llu cuts %llu late acks %llu\n",
		(unsigned long long)t.elections,
		(unsigned long long)t.committed,
		(unsigned long long)t.truncations,
		(unsigned long long)t.snapshots, (unsigned long long)t.changes,
		(unsigned long long)t.reads, (unsigned long long)t.lease_reads,
		(unsigned long long)t.transfers, (unsigned long long)t.crashes,
		(unsigned long long)t.cuts, (unsigned long long)t.late_acks);
	if (seeds < 100)
		return;
	/* what never happened was not tested */
	assert_true(t.elections && t.committed && t.truncations);
	assert_true(t.snapshots && t.changes && t.reads && t.lease_reads);
	assert_true(t.transfers && t.crashes && t.cuts && t.late_acks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(groups_stay_safe_under_random_faults_and_heal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
