/*
 * httpd/monitor.h - GET /_/monitor: the page, and the figures that it shows.
 *
 * The page is text in the program (httpd/monitor/). What it shows is one JSON
 * object a second, made once for all who look and kept in one shared piece of
 * memory; each stream sends the newest when it has sent the one before, so a
 * slow reader misses some and holds at most one. Nobody looks, and no other
 * node asks for this one's report: nothing is collected.
 */
#ifndef HTTPD_MONITOR_H
#define HTTPD_MONITOR_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum {
	MONITOR_STREAMS_MAX = 16, /* over it: 429                            */
	MONITOR_EVERY_MS = 1000,
	MONITOR_READ_MS = 30000, /* a stream that takes longer for one is cut */
};

struct httpd;
struct monitor_text;
struct report;
struct request;

/* What the server keeps for it. */
struct monitor {
	_Atomic uint32_t streams;
	_Atomic uint64_t number; /* of the newest; 0: none yet               */
	uint64_t next_ns;	 /* the deadline thread's, like what follows */
	bool looked_at;
	pthread_mutex_t lock; /* a leaf: of newest                           */
	struct monitor_text *newest;
};

/* Caller's memory, zeroed. */
void monitor_init(struct monitor *m);

/* No stream is left. */
void monitor_done(struct monitor *m);

/*
 * Collect what is due. True: call again within MONITOR_EVERY_MS; false: there
 * is nobody to collect for. *news: wake the streams. It may wait for the
 * disk. Thread: the deadline thread, no lock held.
 */
bool monitor_round(struct httpd *h, bool *news);

/* GET /_/monitor, GET /_/monitor/events. Thread: the connection's. */
enum MHD_Result monitor_page(struct request *r);
enum MHD_Result monitor_events(struct request *r);

/* The connection is done with r: let go of what it was sent from. */
void monitor_end(struct request *r);

#endif
