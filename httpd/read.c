/*
 * httpd/read.c - the barrier before a read.
 *
 * A linearizable read must wait until this node is known to be up to date.
 * Mostly the store knows that already and the answer follows at once.
 */
#include "httpd/handlers.h"
#include "httpd/reply.h"
#include "httpd/request.h"

static enum store_consistency consistency_of(const struct request *r)
{
	switch (r->q.consistency) {
	case TARGET_LINEARIZABLE:
		return STORE_LINEARIZABLE;
	case TARGET_LEASE:
		return STORE_LEASE;
	case TARGET_STALE:
		return STORE_STALE;
	}
	return STORE_LINEARIZABLE;
}

/* Thread: the store's. */
static void barrier_done(struct store_barrier *b, enum err err)
{
	struct request *r = b->user;

	r->barrier_err = err;
	request_done(r);
}

static enum MHD_Result barrier_over(struct request *r)
{
	if (!request_woken(r))
		return reply_error(r, ERR_NO_LEADER);
	if (r->barrier_err)
		return reply_error(r, r->barrier_err);
	/* Whoever waited was answered by a read index: no lease can run out. */
	r->q.consistency = TARGET_LINEARIZABLE;
	return r->answer(r);
}

enum MHD_Result read_when_fresh(struct request *r, int32_t partition,
				enum MHD_Result (*answer)(struct request *r))
{
	enum err err;

	r->barrier.done = barrier_done;
	r->barrier.user = r;
	r->barrier.gather = loop_gathers(r->loop);
	r->answer = answer;
	request_arm(r);
	err = store_barrier(r->h->o.store, partition, consistency_of(r),
			    &r->barrier);
	if (err == ERR_PENDING)
		return request_park(r, STAGE_RUNNING,
				    request_commit_timeout_ns(r), barrier_over);
	request_disarm(r);
	return err ? reply_error(r, err) : answer(r);
}

int32_t read_partition_of_prefix(struct request *r, struct bytes prefix)
{
	if (prefix.n && memchr(prefix.p, '/', prefix.n))
		return (int32_t)store_partition_of(r->h->o.store, prefix);
	return STORE_ALL_PARTITIONS;
}

bool read_is_fresh(struct request *r, int32_t partition)
{
	if (r->q.consistency != TARGET_LEASE ||
	    store_lease_holds(r->h->o.store, partition))
		return true;
	r->q.consistency = TARGET_LINEARIZABLE;
	return false;
}
