/*
 * httpd/target.h - the request target: path, query, and what stands in them.
 *
 * libmicrohttpd's own decoding cuts a path at %00 and turns every + into a
 * space, so the raw target is kept and taken apart here. Pure functions.
 */
#ifndef HTTPD_TARGET_H
#define HTTPD_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/*
 * Decode %XX in place; with plus also '+' to a space (form convention of
 * queries). *n becomes the decoded length. ERR_INVALID: a bad escape; p is
 * then half decoded.
 */
MUST_CHECK enum err target_decode(uint8_t *p, size_t *n, bool plus);

/*
 * Split a raw target (origin form, or absolute form whose scheme and host
 * are skipped) into the path after its first slash and the query after '?'.
 * A fragment is refused. Views into raw. ERR_INVALID: neither form, or a
 * byte that must not stand there (space, control).
 */
MUST_CHECK enum err target_split(struct bytes raw, struct bytes *path,
				 struct bytes *query);

enum target_consistency {
	TARGET_LINEARIZABLE,
	TARGET_LEASE,
	TARGET_STALE,
};

/* The parameters that raftcask knows; unknown names are ignored. */
struct target_query {
	bool raw, watch, reverse, values, all, append, force;
	bool has_after, has_prefix, has_limit, has_wait;
	enum target_consistency consistency;
	uint64_t ttl_ns;  /* 0: none                                         */
	uint64_t wait_ns; /* with has_wait; 0: not at all                    */
	uint32_t limit;
	struct bytes after, prefix, start, end, delimiter;
};

/*
 * Decode text in place and fill q, whose views point into it. ERR_INVALID:
 * *why names the parameter (static text): bad escape, a value that cannot be
 * parsed, a known name twice.
 */
MUST_CHECK enum err target_parse_query(uint8_t *text, size_t n,
				       struct target_query *q,
				       const char **why);

/*
 * "30s", "250ms", "1.5h", "7d", or a bare number of seconds. ERR_INVALID:
 * anything else, zero, or over a hundred years.
 */
MUST_CHECK enum err target_parse_span(struct bytes text, uint64_t *ns);

/* Decimal digits only, no overflow. ERR_INVALID otherwise. */
MUST_CHECK enum err target_parse_u64(struct bytes text, uint64_t *value);

#endif
