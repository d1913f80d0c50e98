/*
 * httpd/request.c - waiting without a thread, and letting go.
 *
 * server.h draws the handshake. Here it is in code; everything else in httpd/
 * only arms, parks and is run again.
 */
#include "httpd/request.h"

#include <stdlib.h>

#include "base/check.h"
#include "httpd/auth.h"
#include "httpd/trace.h"
#include "httpd/txn.h"

enum { RAW_BYTES = 256 };

static const uint64_t ns_per_ms = 1000000;

struct request *request_new(struct conn *c, const char *target)
{
	size_t n = strlen(target), room = n > RAW_BYTES ? n : RAW_BYTES;
	struct request *r = c->spare;

	if (r && r->raw_room >= n) {
		room = r->raw_room;
		c->spare = NULL;
	} else {
		r = malloc(sizeof(*r) + room);
	}
	if (!r)
		return NULL;
	memset(r, 0, sizeof(*r));
	r->raw_room = room;
	r->h = c->h;
	r->loop = c->loop;
	r->conn = c;
	r->mhd = c->mhd;
	r->refs = 1;
	r->method = METHOD_OTHER;
	r->start_ns = httpd_now(c->h);
	r->raw_at = target;
	r->raw_n = n;
	memcpy(r->raw, target, n);
	return r;
}

static void release(struct request *r)
{
	CHECK(!r->watch);
	store_upload_close(r->upload);
	store_value_done(r->pinned);
	store_value_done(r->result.value);
	txn_free(r->txn);
	free(r->change);
	free(r->file_op);
	buf_done(&r->body);
	buf_done(&r->decoded);
	buf_done(&r->stream);
}

/* Let go; the last one releases everything. Thread: any. */
static void unref(struct request *r)
{
	int old = atomic_fetch_sub(&r->refs, 1);

	CHECK(old >= 1);
	if (old == 1) {
		release(r);
		free(r);
	}
}

/* The connection ended while r was offered: the store may still have it. */
static void stop_offering(struct request *r)
{
	r->offered = false;
	r->loop->offered--;
	if (atomic_exchange(&r->wait, WAIT_NONE) == WAIT_OFFERED)
		atomic_fetch_sub(&r->h->parked, 1);
}

void request_end(struct request *r)
{
	struct httpd *h = r->h;
	struct conn *c = r->conn;

	if (r->offered)
		stop_offering(r);
	if (r->queued)
		r->loop->sending--;
	r->loop->progress = true;
	if (r->watch) {
		store_watch_close(r->watch);
		r->watch = NULL;
		atomic_fetch_sub_explicit(&h->stats.watches, 1,
					  memory_order_relaxed);
	}
	/* It lasts as long as somebody looks: that is no time of a request. */
	if (r->status && r->is_monitor)
		stats_add(&h->stats.requests[METHOD_GET][2], 1);
	else if (r->status)
		stats_finish(&h->stats, r->method, r->status,
			     httpd_now(h) - r->start_ns);
	monitor_end(r);
	trace_end(r);
	auth_end(r);
	if (r->memory_bytes)
		atomic_fetch_sub(&h->memory_bytes, r->memory_bytes);
	r->memory_bytes = 0;
	pthread_mutex_lock(&c->lock);
	c->req = NULL;
	pthread_mutex_unlock(&c->lock);
	atomic_store(&c->stage, STAGE_IDLE);
	atomic_store(&c->deadline_ns,
		     httpd_now(h) + h->o.idle_timeout_ms * ns_per_ms);
	if (c->spare || atomic_load(&r->refs) > 1) {
		unref(r);
		return;
	}
	release(r); /* nobody else has it: the next request will */
	c->spare = r;
}

void request_arm(struct request *r)
{
	CHECK(!r->late);
	atomic_store(&r->wait, WAIT_ARMED);
	atomic_fetch_add(&r->refs, 1);
}

void request_disarm(struct request *r)
{
	atomic_store(&r->wait, WAIT_NONE);
	unref(r);
}

void request_arm_watch(struct request *r)
{
	atomic_store(&r->wait, WAIT_ARMED);
}

/*
 * The wait of a request, which was was, is over; it may be gone by now. The
 * stopping server waits for parked to be 0: touch it last.
 */
static void end_wait(struct httpd *h, struct loop *l, struct request *r,
		     int was)
{
	if (was == WAIT_PARKED)
		loop_resume(l, r);
	else if (was == WAIT_OFFERED)
		loop_wake(l);
	else
		return;
	atomic_fetch_sub(&h->parked, 1);
}

void request_notify(struct request *r)
{
	struct httpd *h = r->h;
	struct loop *l = r->loop;

	end_wait(h, l, r, atomic_exchange(&r->wait, WAIT_DONE));
}

bool request_wake_late(struct request *r)
{
	int was = atomic_load(&r->wait);

	do
		if (was != WAIT_PARKED && was != WAIT_OFFERED)
			return false;
	while (!atomic_compare_exchange_weak(&r->wait, &was, WAIT_LATE));
	end_wait(r->h, r->loop, r, was);
	return true;
}

void request_done(struct request *r)
{
	request_notify(r);
	unref(r);
}

/* Thread: the store's. */
static void change_done(struct store_change *c)
{
	request_done(c->user);
}

enum err request_change(struct request *r)
{
	enum err err;

	r->change->done = change_done;
	r->change->user = r;
	trace_tag(r, r->change->tag);
	request_arm(r);
	err = store_change(r->h->o.store, r->change);
	if (err)
		request_disarm(r);
	return err;
}

void request_stage(struct request *r, enum stage stage, uint64_t timeout_ns)
{
	atomic_store_explicit(&r->conn->deadline_ns,
			      httpd_now(r->h) + timeout_ns,
			      memory_order_relaxed);
	atomic_store_explicit(&r->conn->stage, stage, memory_order_relaxed);
}

/* Count r among those that wait; false: the server closes, it is late. */
static bool begin_wait(struct request *r)
{
	int armed = WAIT_ARMED;
	bool may;

	pthread_mutex_lock(&r->conn->lock);
	may = !atomic_load(&r->h->closing);
	if (may)
		atomic_fetch_add(&r->h->parked, 1);
	else
		atomic_compare_exchange_strong(&r->wait, &armed, WAIT_LATE);
	pthread_mutex_unlock(&r->conn->lock);
	return may;
}

/* Until the loop resumes it, which somebody asks for just once. */
static void suspend(struct request *r)
{
	CHECK(!r->suspended);
	r->suspended = true;
	MHD_suspend_connection(r->mhd);
}

/* Suspend unless the server closes; false: did not. */
static bool park(struct request *r)
{
	int armed = WAIT_ARMED;

	if (!begin_wait(r))
		return false;
	suspend(r);
	if (atomic_compare_exchange_strong(&r->wait, &armed, WAIT_PARKED))
		return true;
	/* Not the library's call alone: the loop would sleep over it. */
	loop_resume(r->loop, r);
	atomic_fetch_sub(&r->h->parked, 1);
	return true;
}

/* Let the library offer r; false: woken already, or the server closes. */
static bool offer(struct request *r)
{
	int armed = WAIT_ARMED;

	if (!begin_wait(r))
		return false;
	if (!atomic_compare_exchange_strong(&r->wait, &armed, WAIT_OFFERED)) {
		atomic_fetch_sub(&r->h->parked, 1);
		return false;
	}
	r->offered = true;
	r->offered_at_ns = r->loop->turn_ns;
	r->loop->offered++;
	return true;
}

enum MHD_Result request_park(struct request *r, enum stage stage,
			     uint64_t timeout_ns,
			     enum MHD_Result (*run)(struct request *r))
{
	bool waits;

	r->run = run;
	request_stage(r, stage, timeout_ns);
	if (atomic_load(&r->wait) == WAIT_DONE)
		return run(r);
	if (stage == STAGE_RUNNING && r->phase == PHASE_RUN &&
	    loop_offers(r->loop, r->loop->turn_ns))
		waits = offer(r);
	else
		waits = park(r);
	return waits ? MHD_YES : run(r);
}

bool request_still_waits(struct request *r)
{
	int offered = WAIT_OFFERED;

	if (!r->offered)
		return false;
	if (atomic_load(&r->wait) != WAIT_OFFERED) {
		r->offered = false;
		r->loop->offered--;
		return false;
	}
	if (loop_offers(r->loop, r->offered_at_ns))
		return true;
	r->offered = false;
	r->loop->offered--;
	suspend(r);
	if (!atomic_compare_exchange_strong(&r->wait, &offered, WAIT_PARKED))
		loop_resume(r->loop, r);
	return true;
}

bool request_suspend(struct request *r, enum stage stage, uint64_t timeout_ns)
{
	request_stage(r, stage, timeout_ns);
	if (atomic_load(&r->wait) == WAIT_DONE)
		return false;
	return park(r);
}

bool request_is_waiting(struct request *r)
{
	return atomic_load(&r->wait) != WAIT_NONE;
}

bool request_woken(struct request *r)
{
	int was = atomic_exchange(&r->wait, WAIT_NONE);

	CHECK(was == WAIT_DONE || was == WAIT_LATE);
	if (was == WAIT_LATE)
		r->late = true;
	return was == WAIT_DONE;
}

enum err request_take_memory(struct request *r, uint64_t n)
{
	uint64_t held = atomic_fetch_add(&r->h->memory_bytes, n);

	if (held + n > MEMORY_BYTES_MAX) {
		atomic_fetch_sub(&r->h->memory_bytes, n);
		return ERR_FULL;
	}
	r->memory_bytes += n;
	return OK;
}

uint64_t request_timeout_ns(const struct request *r)
{
	return r->h->o.request_timeout_ms * ns_per_ms;
}

uint64_t request_commit_timeout_ns(const struct request *r)
{
	return r->h->o.commit_timeout_ms * ns_per_ms;
}

uint64_t request_transfer_ns(const struct request *r, uint64_t bytes)
{
	return request_timeout_ns(r) +
	       bytes * (1000000000ull / SLOW_BYTES_PER_S);
}
