/*
 * httpd/trace.h - what the log says of requests, each line with their id.
 *
 * Never keys or values: a path only where it is the system's.
 */
#ifndef HTTPD_TRACE_H
#define HTTPD_TRACE_H

#include "httpd/server.h"

enum { TRACE_ID_BYTES = 128 + 1, TRACE_LINES_MAX = 10 /* of a kind, in 1 s */ };

/*
 * The request's id as a field of a log line: what would break the line is a
 * '?'. Returns text.
 */
const char *trace_id(const struct request *r, char text[TRACE_ID_BYTES]);

/* The same, cut to what the store takes along (store_change.tag). */
void trace_tag(const struct request *r, char tag[STORE_TAG_BYTES_MAX]);

/*
 * r is about to be refused or fails with r->problem: 401, 403 and 5xx but 503
 * get a line, if there were not too many lately; those are counted.
 */
void trace_problem(struct request *r);

/* r is over: a line for what changes the cluster, and for all at debug. */
void trace_end(struct request *r);

#endif
