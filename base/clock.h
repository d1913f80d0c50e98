/*
 * base/clock.h - the seam to time.
 *
 * Everything below node/ takes a struct clock and never asks the system.
 * The real one is clock_os(); the simulated one is set by hand. Thread: any
 * for clock_os(); a sim clock belongs to the thread that drives it.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

struct clock {
	uint64_t (*mono_ns)(struct clock *c); /* deadlines, CLOCK_MONOTONIC */
	uint64_t (*boot_ns)(struct clock *c); /* spans that count suspend   */
	uint64_t (*wall_ns)(struct clock *c); /* for mtime only             */
};

static inline uint64_t clock_mono_ns(struct clock *c)
{
	return c->mono_ns(c);
}

static inline uint64_t clock_boot_ns(struct clock *c)
{
	return c->boot_ns(c);
}

static inline uint64_t clock_wall_ns(struct clock *c)
{
	return c->wall_ns(c);
}

/* The system's clocks. Static, never freed. */
struct clock *clock_os(void);

/* A clock that stands still until someone writes its fields. */
struct clock_sim {
	struct clock clock;
	uint64_t mono, boot, wall; /* ns */
};

/* Set up c with all three times at start_ns. Caller's memory. */
void clock_sim_init(struct clock_sim *c, uint64_t start_ns);

#endif
