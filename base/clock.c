/*
 * base/clock.c - the clock that stands still.
 *
 * Simulations and tests write the fields; nothing moves between two writes,
 * so a run depends on its seed alone.
 */
#include "base/clock.h"

static uint64_t sim_mono_ns(struct clock *c)
{
	return ((struct clock_sim *)c)->mono;
}

static uint64_t sim_boot_ns(struct clock *c)
{
	return ((struct clock_sim *)c)->boot;
}

static uint64_t sim_wall_ns(struct clock *c)
{
	return ((struct clock_sim *)c)->wall;
}

void clock_sim_init(struct clock_sim *c, uint64_t start_ns)
{
	c->clock.mono_ns = sim_mono_ns;
	c->clock.boot_ns = sim_boot_ns;
	c->clock.wall_ns = sim_wall_ns;
	c->mono = start_ns;
	c->boot = start_ns;
	c->wall = start_ns;
}
