/*
 * engine/embed.c - a plain Bitcask: append and settle in one call.
 *
 * Any number of threads put; the log has one writer. A thread takes that role
 * under write_lock for the microsecond of its append. Who wants to be durable
 * and finds no sync running leads one: it writes the open frame and calls
 * fdatasync without the lock, so that the others fill the next frame
 * meanwhile and wait. When it is done it wakes all whom its sync covered and
 * hands the lead to the first that it did not cover.
 */
#include <semaphore.h>

#include "base/check.h"
#include "engine/engine_internal.h"
#include "engine/frame.h"
#include "engine/segment.h"

struct sync_waiter {
	struct sync_waiter *next;
	sem_t wake;
	uint64_t sequence; /* the frame to be durable; UINT64_MAX: the lead  */
	bool lead;	   /* woken to lead the next sync                    */
	enum err err;
};

/* Sleep until covered, or until it is this thread's turn to lead. */
static void wait_turn(struct engine *e, struct sync_waiter *w)
{
	w->next = NULL;
	w->lead = false;
	w->err = OK;
	sem_init(&w->wake, 0, 0);
	if (e->waiters_tail)
		e->waiters_tail->next = w;
	else
		e->waiters = w;
	e->waiters_tail = w;
	pthread_mutex_unlock(&e->write_lock);
	while (sem_wait(&w->wake))
		; /* a signal came in between */
	sem_destroy(&w->wake);
}

/* Take out those that are covered up to sequence, or all after an error. */
static struct sync_waiter *take_covered(struct engine *e, uint64_t sequence,
					enum err err)
{
	struct sync_waiter *list = e->waiters, *last = NULL;

	while (e->waiters && (err || e->waiters->sequence <= sequence)) {
		last = e->waiters;
		last->err = err;
		e->waiters = last->next;
	}
	if (!e->waiters)
		e->waiters_tail = NULL;
	if (!last)
		return NULL;
	last->next = NULL;
	return list;
}

/* Wake them; without the lock, for each wake-up is a system call. */
static void wake(struct sync_waiter *list)
{
	while (list) {
		struct sync_waiter *w = list;

		list = w->next; /* w is gone as soon as it is woken */
		sem_post(&w->wake);
	}
}

/* Give the lead to the first that waits, if any, and release the lock. */
static void pass_lead(struct engine *e)
{
	struct sync_waiter *w = e->waiters;

	CHECK(e->sync_running);
	e->sync_running = w != NULL;
	if (w) {
		e->waiters = w->next;
		if (!e->waiters)
			e->waiters_tail = NULL;
		w->lead = true;
		w->next = NULL;
	}
	pthread_mutex_unlock(&e->write_lock);
	wake(w);
}

/* Write and sync for all that wait. Lock and lead held; both released. */
static enum err lead_sync(struct engine *e)
{
	struct sync_waiter *covered;
	struct log_sync s = { 0 };
	uint64_t began;
	enum err err = log_write(&e->log);

	if (!err && e->o.sync_mode == ENGINE_SYNC_ALWAYS) {
		log_sync_begin(&e->log, &s);
		pthread_mutex_unlock(&e->write_lock);
		began = clock_mono_ns(e->o.clock);
		err = vfs_sync(s.df->f);
		began = clock_mono_ns(e->o.clock) - began;
		pthread_mutex_lock(&e->write_lock);
		err = log_sync_end(&e->log, &s, err, began);
		if (!err && e->log.sequence == s.sequence + 1)
			engine_synced(e);
	} else if (!err) {
		err = engine_sync(e);
		s.sequence = e->log.sequence - 1;
	}
	covered = take_covered(e, s.sequence, err);
	pass_lead(e);
	wake(covered);
	return err;
}

/*
 * Make frames up to sequence durable. Lock held on entry, released on return.
 */
static enum err sync_to(struct engine *e, uint64_t sequence, bool leading)
{
	struct sync_waiter w = { .sequence = sequence };

	if (!leading && e->sync_running) {
		wait_turn(e, &w);
		if (!w.lead)
			return w.err;
		pthread_mutex_lock(&e->write_lock);
	}
	e->sync_running = true;
	return lead_sync(e);
}

/* Become the only syncer: a segment may be switched. Lock held. */
static void take_lead(struct engine *e)
{
	struct sync_waiter w = { .sequence = UINT64_MAX };

	if (e->sync_running) {
		wait_turn(e, &w);
		pthread_mutex_lock(&e->write_lock);
	}
	e->sync_running = true;
}

/* Append and settle one record. Lock held; no sync runs if it must switch. */
static enum err append_one(struct engine *e, uint16_t partition,
			   const struct engine_record *r)
{
	struct partition *p = &e->partitions[partition];
	struct engine_entry entry = { .partition = partition,
				      .index = p->terms.last_index + 1,
				      .records = r,
				      .record_count = 1 };
	uint64_t applied = atomic_load(&p->applied_index);
	enum err err;

	entry.term = terms_at(&p->terms, entry.index - 1);
	if (entry.term == 0)
		entry.term = p->base_term ? p->base_term : 1;
	entry.mtime_ns = clock_wall_ns(e->o.clock);
	entry.stamp_ns = p->last_stamp_ns + 1;
	CHECK(applied + 1 == entry.index || p->tail.count > 0);
	err = engine_append_flags(e, &entry, FRAME_SETTLED);
	if (!err)
		err = engine_settle(e, partition, entry.index, NULL, NULL);
	return err;
}

static enum err write_one(struct engine *e, uint16_t partition,
			  const struct engine_record *r, bool sync)
{
	uint64_t bytes = record_bytes(r->key.n, r->attrs.n, r->value.n);
	bool leading = false;
	enum err err;

	CHECK(partition < e->o.partitions);
	pthread_mutex_lock(&e->write_lock);
	if (atomic_load(&e->log.switch_wanted) ||
	    log_needs_switch(&e->log, bytes, r->type != RECORD_PUT)) {
		take_lead(e);
		leading = true;
	}
	err = append_one(e, partition, r);
	if (!err && sync)
		return sync_to(e, e->log.sequence, leading);
	if (leading)
		pass_lead(e);
	else
		pthread_mutex_unlock(&e->write_lock);
	return err;
}

enum err engine_put(struct engine *e, uint16_t partition, struct bytes key,
		    struct bytes value, bool sync)
{
	struct engine_record r = { .type = RECORD_PUT,
				   .key = key,
				   .value = value };

	return write_one(e, partition, &r, sync);
}

enum err engine_del(struct engine *e, uint16_t partition, struct bytes key,
		    bool sync)
{
	struct engine_record r = { .type = RECORD_DELETE, .key = key };

	return write_one(e, partition, &r, sync);
}

enum err engine_flush(struct engine *e)
{
	pthread_mutex_lock(&e->write_lock);
	return sync_to(e, e->log.sequence, false);
}
