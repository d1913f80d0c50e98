/*
 * httpd/request.h - the life of a request: made, waiting, woken, ended.
 */
#ifndef HTTPD_REQUEST_H
#define HTTPD_REQUEST_H

#include "httpd/server.h"

/* A new request with one reference; NULL: out of memory. Copies target. */
struct request *request_new(struct conn *c, const char *target);

/*
 * The connection is done with r: close its watch, give memory back to the
 * server, count it, let go. Thread: the connection's.
 */
void request_end(struct request *r);

/*
 * Before a call to the store that may complete on another thread: takes a
 * reference for the completion. Undone by request_disarm when the store says
 * that it will not complete. Thread: the connection's.
 */
void request_arm(struct request *r);
void request_disarm(struct request *r);

/*
 * Arm r and hand r->change, filled in by the caller, to the store; then park.
 * Errors as store_change: nothing was done, r is not armed. Thread: the
 * connection's.
 */
MUST_CHECK enum err request_change(struct request *r);

/* The store's completion: wake r, drop the reference. Thread: any. */
void request_done(struct request *r);

/* A watch has something: wake r, no reference involved. Thread: any. */
void request_notify(struct request *r);

/* Before asking a watch for its next event. */
void request_arm_watch(struct request *r);

/*
 * Wait until woken or until timeout_ns from now; then run is called. Only from
 * the access handler. If it was woken already, run is called now.
 */
enum MHD_Result request_park(struct request *r, enum stage stage,
			     uint64_t timeout_ns,
			     enum MHD_Result (*run)(struct request *r));

/*
 * Of a request that the library calls again: true if it is only offered and
 * still waits; there is nothing to run. Thread: the connection's.
 */
bool request_still_waits(struct request *r);

/* Run r again, late, if it waits. Holding r->conn->lock. Thread: any. */
bool request_wake_late(struct request *r);

/*
 * Suspend without a continuation: from a content reader, or from the access
 * handler in the middle of a body. False: not suspended, the wait is over.
 */
bool request_suspend(struct request *r, enum stage stage, uint64_t timeout_ns);

/* Whether a wait was begun and its end not yet taken note of. */
bool request_is_waiting(struct request *r);

/*
 * First thing in run: true if the wait ended as hoped; false: too late, and
 * what was lent to the store stays lent (r->late is set).
 */
bool request_woken(struct request *r);

/* Say what the connection does now and until when it may. */
void request_stage(struct request *r, enum stage stage, uint64_t timeout_ns);

/*
 * Take n bytes from the server's budget for bodies and answers in memory;
 * given back at the end of r. ERR_FULL: too much is held already.
 */
MUST_CHECK enum err request_take_memory(struct request *r, uint64_t n);

/* The time limits of the options in ns. */
uint64_t request_timeout_ns(const struct request *r);
uint64_t request_commit_timeout_ns(const struct request *r);

/* Time enough to move bytes at SLOW_BYTES_PER_S besides the usual limit. */
uint64_t request_transfer_ns(const struct request *r, uint64_t bytes);

#endif
