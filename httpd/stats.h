/*
 * httpd/stats.h - what the HTTP front end counts.
 *
 * Counters are relaxed atomics: any thread adds, a reader sees each one right
 * but not all at one instant.
 */
#ifndef HTTPD_STATS_H
#define HTTPD_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/bytes.h"

enum { STATS_BUCKETS = 16, STATS_SLOW_NS = 100000000, STATS_METHODS = 6 };

struct stats {
	_Atomic uint64_t cmd_get, cmd_set, cmd_delete;
	_Atomic uint64_t get_hits, get_misses;
	_Atomic uint64_t curr_connections, total_connections;
	_Atomic uint64_t refused_connections;
	_Atomic uint64_t bytes_read, bytes_written; /* of bodies             */
	_Atomic uint64_t slow_cmd;
	_Atomic uint64_t responses_cut; /* damage found after the headers  */
	_Atomic uint64_t requests_timed_out;
	/* By what was missing: a token, a right, an origin, a name.         */
	_Atomic uint64_t refused_tokens, refused_rights;
	_Atomic uint64_t refused_origins, refused_hosts;
	_Atomic uint64_t tls_failures; /* handshakes that came to nothing    */
	_Atomic uint64_t watches; /* long polls and streams open now        */
	/* Finished requests by method and class of status (1xx .. 5xx). */
	_Atomic uint64_t requests[STATS_METHODS][6];
	/* Time from request line to last byte, by upper bound, see stats.c. */
	_Atomic uint64_t duration_buckets[STATS_BUCKETS];
	_Atomic uint64_t duration_ns_total, duration_count;
};

static inline void stats_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline uint64_t stats_get(_Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Count one finished request: its method (enum method), status, duration. */
void stats_finish(struct stats *s, unsigned method, unsigned status,
		  uint64_t ns);

/* The upper bound in seconds of bucket i; the last one has none (+Inf). */
double stats_bucket_seconds(unsigned i);

/* Append {"cmd_get":..,..}, the names of the seeds; items: keys held. */
MUST_CHECK enum err stats_add_json(struct stats *s, uint64_t items,
				   uint64_t items_total, struct buf *b);

/* Largest resident size of this process so far, in KiB. */
uint64_t stats_maxrss_kib(void);

#endif
