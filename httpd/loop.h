/*
 * httpd/loop.h - a thread that drives libmicrohttpd.
 *
 * The library's own threads are not used: its suspend and resume cost a PUT
 * or a linearizable GET two epoll_ctl, a write to an eventfd and a recv that
 * finds nothing (docs/decisions/0020-http-loop.md). Here a thread runs the
 * daemons that it was given, one for each address, and sleeps in the library's
 * epoll_wait or in poll(2).
 *
 * A request that waits for the store has its connection either
 *
 *	offered    left with the library, which calls the handler again at
 *	           every turn; the handler says each time that it still waits.
 *	           Cheap for a short time and for few, and a turn can no longer
 *	           tell whether another one would do anything.
 *	suspended  taken out of the library until it is resumed: for what waits
 *	           long, for TLS, and while a client reads slowly.
 *
 * Threads: loop_wake and loop_resume any; start and stop the one that owns the
 * server; everything else is called by the loop's own thread.
 */
#ifndef HTTPD_LOOP_H
#define HTTPD_LOOP_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "httpd/httpd.h"

struct request;

struct loop {
	struct httpd *h;
	struct MHD_Daemon *daemons[HTTPD_LISTEN_MAX];
	int epoll_fds[HTTPD_LISTEN_MAX];
	uint32_t daemon_count;
	int wake_fd;
	pthread_t thread;
	bool has_thread;
	_Atomic bool stop;
	/* The loop says that it may sleep; wakers, that it may not. */
	_Atomic bool asleep, pending;
	_Atomic(struct request *) resumed; /* to be resumed: a stack         */
	/* The thread's own. */
	uint64_t turn_ns;	/* when the turn, or what woke it, began     */
	uint64_t hold_until_ns; /* until then nobody is offered              */
	_Atomic uint32_t offered; /* requests that are offered at every turn */
	uint32_t connections; /* open, or not yet cleaned away               */
	uint32_t sending;     /* answers queued and not out yet            */
	uint32_t gathered;    /* requests that wait for store_go           */
	bool progress;	      /* the turn did more than offer              */
	bool slept; /* in the library, which has not called back since        */
	bool quiesced;
	_Atomic uint64_t turns; /* so far                                    */
};

/* A loop without daemons and without a thread. ERR_IO: no descriptor left. */
MUST_CHECK enum err loop_init(struct loop *l, struct httpd *h);

/*
 * Run the daemons that are there, which are external (without threads of the
 * library) and use epoll; at least one. ERR_NOMEM: no thread. ERR_IO: no room
 * for another descriptor in an epoll.
 */
MUST_CHECK enum err loop_start(struct loop *l);

/*
 * End the thread and stop the daemons; what is resumed but not run yet is
 * closed. No request may be waiting. Listening sockets stay open.
 */
void loop_stop(struct loop *l);

/* Something that an offered request waits for is there. Thread: any. */
void loop_wake(struct loop *l);

/*
 * Resume the connection of r, which is suspended; r may be gone afterwards.
 * Thread: any.
 */
void loop_resume(struct loop *l, struct request *r);

/* The library calls back: a turn has begun, if it has not before. */
void loop_stirs(struct loop *l);

/*
 * Whether a request that is handed to the store may wait for the others of its
 * turn, at the end of which store_go is called.
 */
bool loop_gathers(struct loop *l);

/* Whether a request that begins to wait, or waits since at_ns, is offered. */
bool loop_offers(const struct loop *l, uint64_t at_ns);

#endif
