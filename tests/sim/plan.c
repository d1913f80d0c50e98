/*
 * tests/sim/plan.c - what a seed makes of a run.
 *
 * Swarm testing (Groce and others 2012): each kind of fault is on or off for a
 * whole run, so that some runs are hit by one kind alone and hard.
 */
#include "tests/sim/sim.h"

/* Leases promise to be safe when no clock is 1 % faster than another. */
#define DRIFT_PROMISED_PPB UINT64_C(4900000)
#define DRIFT_WILD_PPB	   UINT64_C(200000000)

static const char *const fault_names[FAULT_COUNT] = {
	"crash",      "crash_in_call", "kill",	   "stop",   "pause",
	"split",      "one_way",       "isolate",  "reset",  "weather",
	"disk_full",  "sync",	       "no_space", "flip",   "bad_sector",
	"clock_jump", "clock_rate",    "suspend",  "member", "transfer",
	"merge",      "long_outage",   "at_sync",  "storm",  "replace",
	"at_change",  "haste",
};

const char *sim_fault_name(enum sim_fault f)
{
	return fault_names[f];
}

static uint32_t between(struct seed *s, uint32_t low, uint32_t high)
{
	return low + (uint32_t)seed_below(s, high - low + 1);
}

void sim_plan(uint64_t seed, struct sim_plan *p)
{
	struct seed s;

	seed_init(&s, seed ^ 0x91a2b3c4);
	*p = (struct sim_plan){ .seed = seed };
	p->founders = between(&s, 3, 7);
	if (p->founders == 6)
		p->founders = 3; /* the most usual one more often */
	p->partitions = seed_below(&s, 3) ? 1 : SIM_PARTITIONS_MAX;
	p->clients = between(&s, 2, SIM_CLIENTS_MAX);
	p->keys = between(&s, 12, SIM_KEYS_MAX);
	p->run_ms = between(&s, 80, 240) * 1000;
	p->think_ms = between(&s, 3, 30) * 50;
	p->busy_ms = between(&s, 40, 160) * 100;
	p->quiet_ms = between(&s, 40, 160) * 100;
	p->fault_ms = between(&s, 5, 50) * 100;
	p->value_bytes_max = seed_below(&s, 2) ? 8000 : 40000;
	p->big_permille = between(&s, 200, 600);
	p->upload_permille = between(&s, 0, 20);
	p->read_percent = between(&s, 15, 60);
	p->ttl_permille = seed_below(&s, 2) ? between(&s, 10, 100) : 0;
	p->prefix_permille = seed_below(&s, 2) ? between(&s, 5, 30) : 0;
	p->leases = seed_below(&s, 2);
	p->drift_ppb = p->leases ? DRIFT_PROMISED_PPB : DRIFT_WILD_PPB;
	for (int i = 0; i < FAULT_COUNT; i++)
		p->faults[i] = seed_below(&s, 2);
	p->faults[FAULT_MERGE] = seed_below(&s, 4) > 0;
	p->faults[FAULT_LONG_OUTAGE] = seed_below(&s, 4) > 0;
	p->faults[FAULT_FLIP] = seed_below(&s, 5) > 0;
	p->faults[FAULT_BAD_SECTOR] = seed_below(&s, 4) > 0;
	p->faults[FAULT_CRASH] = seed_below(&s, 4) > 0;
	/* one entry a message: what goes wrong between two entries shows */
	if (seed_below(&s, p->faults[FAULT_STORM] ? 3 : 6) == 0)
		p->append_bytes_max = 1 + seed_below(&s, 3000);
	else if (p->faults[FAULT_STORM] && seed_below(&s, 2))
		p->append_bytes_max = 1;
	if (seed_below(&s, 2))
		p->loss_permille = between(&s, 1, 300);
	if (seed_below(&s, 3) == 0)
		p->repeat_permille = between(&s, 1, 100);
	if (seed_below(&s, 3) == 0)
		p->reorder_permille = between(&s, 1, 100);
	/* Of every three copies two stay good. */
	for (uint32_t i = 0; i < p->founders / 3; i++)
		p->victims |= 1ull << between(&s, 1, p->founders);
	p->files = seed_below(&s, 3) == 0;
	/* As many files and merges, of fewer bytes: seven of eight times. */
	p->segment_bytes = 1 << 20;
	if (seed_below(&s, 8)) {
		p->segment_bytes /= 4;
		p->value_bytes_max /= 4;
	}
}
