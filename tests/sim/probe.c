/*
 * tests/sim/probe.c - reads of nothing, in crowds, when it matters.
 *
 * A client's read shows a bug only if the one key that it reads has changed
 * just then. What a read rests on shows it always: who is answered must have
 * applied all that any node knew to be committed when the question was asked
 * (thesis 6.4). For a leader, if it still is one, knows of every commit of its
 * own term, and of those before by its no-op; and one that is none is not
 * confirmed. So whoever might be deceived is asked: around each change of
 * leader all nodes, the leader of before and those cut off with it too; also
 * one that stands still, which finds the question beside old messages.
 */
#include <stdlib.h>

#include "base/check.h"
#include "tests/sim/sim.h"

enum { PROBES_MAX = 64, CROWDS = 3 };

struct probe {
	struct store_barrier barrier;
	struct probes *of;
	bool asked;
	uint64_t node, starts, floor;
	uint32_t partition;
};

struct probes {
	struct sim *s;
	uint32_t due[SIM_PARTITIONS_MAX]; /* crowds that are to come         */
	struct probe probe[PROBES_MAX];
};

void probes_start(struct sim *s)
{
	s->probes = calloc(1, sizeof(*s->probes));
	CHECK(s->probes != NULL);
	s->probes->s = s;
}

void probes_done(struct sim *s)
{
	free(s->probes);
	s->probes = NULL;
}

static void answered(struct store_barrier *b, enum err err)
{
	struct probe *x = b->user;
	struct sim *s = x->of->s;
	const struct cluster_node *n = &s->c.node[x->node];
	uint64_t applied;

	x->asked = false;
	if (err || n->starts != x->starts)
		return;
	s->count[SIM_probes]++;
	applied = engine_applied_index(n->engine, (uint16_t)x->partition);
	if (applied < x->floor)
		sim_fail(s,
			 "n%llu may read partition %u at %llu, but %llu was "
			 "committed when that was asked",
			 (unsigned long long)x->node, x->partition,
			 (unsigned long long)applied,
			 (unsigned long long)x->floor);
}

void probes_ask_one(struct sim *s, uint64_t id, uint32_t partition)
{
	const struct cluster_node *n = &s->c.node[id];
	struct probe *x = NULL;

	for (uint32_t i = 0; i < PROBES_MAX && !x; i++)
		if (!s->probes->probe[i].asked)
			x = &s->probes->probe[i];
	if (!x)
		return;
	*x = (struct probe){
		.barrier = { .done = answered, .user = x },
		.of = s->probes,
		.asked = true,
		.node = id,
		.starts = n->starts,
		.partition = partition,
		.floor = s->oracle.partition[partition].committed_max,
	};
	/* at once: it is alone, and what is committed it may yet apply */
	if (store_barrier(n->store, (int32_t)partition, STORE_LINEARIZABLE,
			  &x->barrier) != ERR_PENDING)
		x->asked = false;
}

static void ask_all(struct sim *s, uint64_t partition, uint64_t unused)
{
	s->probes->due[partition]--;
	for (uint64_t id = 1; id <= s->c.count && !s->ending; id++)
		if (cluster_runs(&s->c, id) && !s->c.node[id].removed)
			probes_ask_one(s, id, (uint32_t)partition);
}

void probes_ask(struct sim *s, uint32_t partition)
{
	uint64_t ms = s->c.o.election_ms;

	if (s->probes->due[partition] > 0)
		return;
	s->probes->due[partition] = CROWDS;
	for (int i = 0; i < CROWDS; i++)
		sim_after(s, 1 + sim_draw(s, ms), ask_all, partition, 0);
}
