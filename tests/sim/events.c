/*
 * tests/sim/events.c - the product's log lines end here, not on stderr.
 *
 * This log_line stands in for base/log_os.c's. What the product says of itself
 * is counted for the coverage, and shown with virtual time when tracing.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "tests/sim/sim.h"

struct sim *sim_now;

static const struct {
	const char *area, *event;
	enum sim_counter counter;
} counted[] = {
	{ "engine", "torn_tail_cut", SIM_torn_tails },
	{ "engine", "merge_done", SIM_merges },
	{ "engine", "segment_recycled", SIM_recycled_segments },
	{ "store", "healed", SIM_repairs },
};

void log_set_level(enum log_level level)
{
}

static void count_copies(struct sim *s, const char *text)
{
	const char *at = strstr(text, "copied=");

	if (at && at[7] != '0')
		s->count[SIM_recovery_copies]++;
}

void log_line(enum log_level level, const char *area, const char *fmt, ...)
{
	static const char words[][6] = { "error", "warn", "info", "debug" };
	struct sim *s = sim_now;
	char text[512];
	va_list ap;

	if (!s)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < sizeof(counted) / sizeof(*counted); i++) {
		size_t n = strlen(counted[i].event);

		if (strcmp(area, counted[i].area) == 0 &&
		    strncmp(text, counted[i].event, n) == 0)
			s->count[counted[i].counter]++;
	}
	if (strncmp(text, "recovered ", 10) == 0)
		count_copies(s, text);
	sim_trace(s, "  %s %s %s", words[level], area, text);
}
