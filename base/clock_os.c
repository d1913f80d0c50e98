/*
 * base/clock_os.c - the system's clocks.
 *
 * CLOCK_MONOTONIC and CLOCK_REALTIME are answered by the vDSO without a system
 * call; CLOCK_BOOTTIME too on kernels since 5.3. None of them can fail with a
 * constant clock id, so there is no error to hand on.
 */
#include "base/clock.h"

#include <time.h>

#include "base/check.h"

static uint64_t read_clock(clockid_t id)
{
	struct timespec ts;
	int rc = clock_gettime(id, &ts);

	CHECK(rc == 0);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t os_mono_ns(struct clock *c)
{
	(void)c;
	return read_clock(CLOCK_MONOTONIC);
}

static uint64_t os_boot_ns(struct clock *c)
{
	(void)c;
	return read_clock(CLOCK_BOOTTIME);
}

static uint64_t os_wall_ns(struct clock *c)
{
	(void)c;
	return read_clock(CLOCK_REALTIME);
}

struct clock *clock_os(void)
{
	/* Never written: the functions take it as non-const for the sim's sake.
	 */
	static struct clock os = {
		.mono_ns = os_mono_ns,
		.boot_ns = os_boot_ns,
		.wall_ns = os_wall_ns,
	};

	return &os;
}
