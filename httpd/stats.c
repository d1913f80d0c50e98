/*
 * httpd/stats.c - counters, and the one histogram.
 *
 * Buckets grow by two to five from 50 us to 10 s, so that both a read from
 * memory and a write that waits for a disk in trouble fall into the middle.
 */
#include "httpd/stats.h"

#include <sys/resource.h>

static const uint32_t bounds_us[STATS_BUCKETS - 1] = {
	50,    100,   250,    500,    1000,    2500,	5000,	  10000,
	25000, 50000, 100000, 250000, 1000000, 2500000, 10000000,
};

void stats_finish(struct stats *s, unsigned method, unsigned status,
		  uint64_t ns)
{
	unsigned class = status / 100, bucket = 0;

	if (class > 5)
		class = 0;
	if (method >= STATS_METHODS)
		method = STATS_METHODS - 1;
	while (bucket < STATS_BUCKETS - 1 && ns > bounds_us[bucket] * 1000ull)
		bucket++;
	stats_add(&s->requests[method][class], 1);
	stats_add(&s->duration_buckets[bucket], 1);
	stats_add(&s->duration_ns_total, ns);
	stats_add(&s->duration_count, 1);
	if (ns >= STATS_SLOW_NS)
		stats_add(&s->slow_cmd, 1);
}

double stats_bucket_seconds(unsigned i)
{
	return bounds_us[i] / 1e6;
}

uint64_t stats_maxrss_kib(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage))
		return 0;
	return (uint64_t)usage.ru_maxrss;
}

enum err stats_add_json(struct stats *s, uint64_t items, uint64_t items_total,
			struct buf *b)
{
	return buf_addf(
		b,
		"{\"cmd_get\":%lu,\"cmd_set\":%lu,\"cmd_delete\":%lu,"
		"\"get_hits\":%lu,\"get_misses\":%lu,"
		"\"curr_connections\":%lu,\"total_connections\":%lu,"
		"\"bytes_read\":%lu,\"bytes_written\":%lu,\"slow_cmd\":%lu,"
		"\"rusage_maxrss\":%lu,\"curr_items\":%lu,\"total_items\":%lu}",
		stats_get(&s->cmd_get), stats_get(&s->cmd_set),
		stats_get(&s->cmd_delete), stats_get(&s->get_hits),
		stats_get(&s->get_misses), stats_get(&s->curr_connections),
		stats_get(&s->total_connections), stats_get(&s->bytes_read),
		stats_get(&s->bytes_written), stats_get(&s->slow_cmd),
		stats_maxrss_kib(), items, items_total);
}
