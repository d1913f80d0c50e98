/*
 * httpd/watch.c - GET /KEY?watch: an answer when the key changes.
 *
 * The watch only says when; what is answered is read afresh, so several
 * changes in a row show as the last of them. What happened before the
 * store's history cannot be known: then the present state is the answer.
 */
#include "httpd/auth.h"
#include "httpd/handlers.h"
#include "httpd/reply.h"
#include "httpd/request.h"

static enum MHD_Result next_change(struct request *r);

static void close_watch(struct request *r)
{
	store_watch_close(r->watch);
	r->watch = NULL;
	atomic_fetch_sub_explicit(&r->h->stats.watches, 1,
				  memory_order_relaxed);
}

static enum MHD_Result watch_woken(struct request *r)
{
	bool changed = request_woken(r);

	r->late = false; /* nothing was lent to the store */
	if (!auth_allows(r, STORE_RIGHT_READ, r->key)) {
		close_watch(r);
		return auth_refuse(r);
	}
	/* Woken early: the tokens have changed, and this one still counts. */
	if (changed ||
	    (httpd_now(r->h) < r->watch_deadline_ns &&
	     !atomic_load(&r->conn->gone) && !atomic_load(&r->h->stopping)))
		return next_change(r);
	close_watch(r);
	if (atomic_load(&r->h->stopping))
		return reply_error(r, ERR_CLOSED);
	r->rev = store_revision(r->h->o.store,
				store_partition_of(r->h->o.store, r->key));
	r->show_rev = true;
	return reply_empty(r, 204);
}

static enum MHD_Result next_change(struct request *r)
{
	struct store_event event;
	uint64_t now = httpd_now(r->h);
	enum err err;

	request_arm_watch(r);
	err = store_watch_next(r->watch, &event);
	if (err == ERR_PENDING)
		return request_park(r, STAGE_WATCHING,
				    now < r->watch_deadline_ns
					    ? r->watch_deadline_ns - now
					    : 0,
				    watch_woken);
	close_watch(r);
	atomic_store(&r->wait, WAIT_NONE);
	if (err == OK || err == ERR_COMPACTED || err == ERR_FULL)
		return value_answer(r);
	return reply_error(r, err);
}

/* Thread: the store's. */
static void notify(void *user)
{
	request_notify(user);
}

static enum MHD_Result open_watch(struct request *r)
{
	enum err err;

	request_arm_watch(r);
	err = store_watch_open(r->h->o.store, r->key, true, r->q.after, notify,
			       r, &r->watch);
	if (err) {
		atomic_store(&r->wait, WAIT_NONE);
		r->watch = NULL;
	}
	if (err == ERR_COMPACTED)
		return value_answer(r);
	if (err)
		return reply_error(r, err);
	stats_add(&r->h->stats.watches, 1);
	return next_change(r);
}

static enum MHD_Result start_watch(struct request *r)
{
	uint64_t wait_ns = r->q.wait_ns;

	if (!r->q.has_wait)
		wait_ns = WATCH_WAIT_DEFAULT_S * 1000000000ull;
	if (wait_ns > WATCH_WAIT_MAX_S * 1000000000ull)
		wait_ns = WATCH_WAIT_MAX_S * 1000000000ull;
	r->watch_deadline_ns = httpd_now(r->h) + wait_ns;
	stats_add(&r->h->stats.cmd_get, 1);
	return read_when_fresh(
		r, (int32_t)store_partition_of(r->h->o.store, r->key),
		open_watch);
}

enum MHD_Result watch_begin(struct request *r)
{
	uint64_t rev;

	if (r->q.has_after && target_parse_u64(r->q.after, &rev))
		return reply_problem(r, 400, "bad_request",
				     "after is a revision");
	r->run = start_watch;
	return MHD_YES;
}
