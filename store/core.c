/*
 * store/core.c - the core thread's round: decide, append, commit, settle,
 * complete.
 *
 *    any thread          core thread
 *    store_write --> queue --> waiting --> decide + append --> decided
 *                                               |
 *                                           engine_sync      one for all
 *                                               |
 *                                            commit          own quorum
 *                                               |
 *                                          engine_settle     per partition
 *                                               |
 *                                           complete         in order
 *
 * This node is each partition's only voter, so what its own disk has synced is
 * committed; append, commit and settle are steps of their own so that
 * replication fits between them. Requests are answered in the order in which
 * they were decided, refusals too: a refusal was decided on entries of the
 * same batch, and must not be told before those are durable.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "store/keyrules.h"
#include "store/store_internal.h"

enum {
	BATCH_WRITES_MAX = 4096,
	BATCH_BYTES_MAX = 4 << 20,
	IDLE_NS = 10 * 1000 * 1000,
	IDLE_MS = 10,
	SAVE_COMMIT_EVERY = 1024,	     /* entries */
	SAVE_COMMIT_NS = 1000 * 1000 * 1000, /* or time, when there are any */
	SETTLE_RETRY_MS = 10,
};

static uint32_t bucket_of(uint64_t ns)
{
	uint64_t us = ns / 1000;
	uint32_t bucket = us ? 64 - (uint32_t)__builtin_clzll(us) : 0;

	return bucket < STORE_BUCKETS ? bucket : STORE_BUCKETS - 1;
}

/* ----------------------------------------------------------- completing -- */

static void complete(struct store *s, struct store_queued *q, enum err err)
{
	uint64_t ns = clock_mono_ns(s->o.clock) - q->since_ns;
	struct store_write *w;

	atomic_fetch_sub(&s->queue_count, 1);
	switch ((enum request_kind)q->kind) {
	case REQUEST_WRITE:
		w = (struct store_write *)((char *)q -
					   offsetof(struct store_write,
						    queued));
		if (err)
			w->err = err;
		count_up(&s->commit_count, 1);
		count_up(&s->commit_ns_total, ns);
		count_up(&s->commit_buckets[bucket_of(ns)], 1);
		w->done(w);
		return;
	case REQUEST_STAGE:
		upload_complete(upload_of(q), err);
		return;
	case REQUEST_ABANDON:
		upload_free(upload_of(q));
		return;
	}
}

static void complete_list(struct store *s, struct request_list *l, enum err err)
{
	struct store_queued *q;

	while ((q = list_take(l)))
		complete(s, q, err);
}

/* The log cannot be trusted any more: nothing of the batch is known. */
static enum err poison(struct store *s)
{
	if (!s->dead)
		log_error("store", "log_poisoned action=stop");
	s->dead = true;
	atomic_store(&s->closing, true);
	complete_list(s, &s->decided, ERR_UNKNOWN);
	queue_take(s);
	complete_list(s, &s->waiting, ERR_CLOSED);
	return ERR_IO;
}

/* ------------------------------------------------------------ starting --- */

/* A one-member group elects itself: a new term, its vote, its no-op. */
static enum err begin_term(struct store *s, struct partition *p)
{
	struct engine_partition_info info;
	uint64_t node_id, index;
	uint8_t cluster_id[16];
	struct engine_hard_state hs;
	struct engine_record *r;

	engine_identity(s->engine, cluster_id, &node_id);
	engine_partition_info(s->engine, p->id, &info);
	p->term = info.hard_state.term + 1;
	if (info.last_term >= p->term)
		p->term = info.last_term + 1;
	p->last_index = info.last_index;
	p->committed_index = info.applied_index;
	p->saved_commit = info.hard_state.commit;
	p->last_stamp_ns = info.last_stamp_ns;
	atomic_store_explicit(&p->clock_offset_ns,
			      info.last_stamp_ns - clock_boot_ns(s->o.clock),
			      memory_order_relaxed);
	hs = (struct engine_hard_state){ .term = p->term,
					 .vote = node_id,
					 .commit = info.hard_state.commit };
	if (engine_set_hard_state(s->engine, p->id, &hs) != OK)
		return ERR_IO;
	entry_begin(&s->entry);
	r = entry_record(&s->entry);
	if (!r)
		return ERR_NOMEM;
	r->type = RECORD_NOOP;
	return entry_append(s, p, &index);
}

static enum err settle_quietly(struct store *s)
{
	enum err err = engine_sync(s->engine);

	for (uint32_t i = 0; i < s->partition_count && !err; i++) {
		struct partition *p = &s->partitions[i];

		p->committed_index = p->last_index;
		err = engine_settle(s->engine, p->id, p->last_index, NULL,
				    NULL);
		if (err)
			break;
		p->touched = false;
		pending_applied(&p->pending, p->last_index);
		atomic_store(&p->committed_shown, p->committed_index);
	}
	s->appended = false;
	return err;
}

/* All keys but the store's own, which are few: those are walked. */
static void count_keys(struct store *s, struct partition *p)
{
	struct engine_partition_info info;
	struct engine_iter it;
	struct engine_info key_info;
	struct bytes key;
	uint64_t own = 0;
	bool more;

	engine_partition_info(s->engine, p->id, &info);
	engine_iter_begin(s->engine, p->id, &it);
	more = engine_iter_seek(&it, bytes_of("", 1), &key, &key_info);
	for (; more && !key_is_user(key); own++)
		more = engine_iter_next(&it, &key, &key_info);
	engine_iter_end(&it);
	CHECK(own <= info.keys);
	atomic_store(&p->keys_shown, info.keys - own);
}

static enum err start(struct store *s)
{
	enum err err = OK;

	for (uint32_t i = 0; i < s->partition_count && !err; i++)
		err = begin_term(s, &s->partitions[i]);
	if (!err)
		err = settle_quietly(s);
	if (!err)
		err = ring_make(s);
	if (!err && s->appended)
		err = settle_quietly(s);
	if (!err)
		err = ring_read(s);
	for (uint32_t i = 0; i < s->partition_count && !err; i++) {
		struct partition *p = &s->partitions[i];

		watch_hub_floor(s->hub, i, p->last_index);
		count_keys(s, p);
		err = staging_load(s, p);
	}
	if (err) {
		log_error("store", "start_failed error=%s", err_text(err));
		s->dead = true;
		return err;
	}
	atomic_store_explicit(&s->started, true, memory_order_release);
	return OK;
}

/* ------------------------------------------------------------- deciding -- */

static enum err decide_one(struct store *s, struct store_queued *q)
{
	struct store_write *w;

	switch ((enum request_kind)q->kind) {
	case REQUEST_STAGE:
		return upload_stage(s, upload_of(q));
	case REQUEST_ABANDON:
		return upload_abandon(s, upload_of(q));
	case REQUEST_WRITE:
		break;
	}
	w = (struct store_write *)((char *)q -
				   offsetof(struct store_write, queued));
	count_up(&s->writes, 1);
	return w->delete_prefix ? decide_delete_prefix(s, w)
				: decide_write(s, w);
}

static enum err decide_waiting(struct store *s)
{
	for (uint32_t n = 0; s->waiting.head && n < BATCH_WRITES_MAX &&
			     s->batch_bytes < BATCH_BYTES_MAX;
	     n++) {
		struct store_queued *q = s->waiting.head;
		enum err err = decide_one(s, q);

		if (err == ERR_PENDING) {
			CHECK(s->appended);
			break;
		}
		list_add(&s->decided, list_take(&s->waiting));
		if (err == ERR_IO)
			return err;
		CHECK(!err);
	}
	return OK;
}

/* ----------------------------------------------- append, commit, settle -- */

/* The commit index is saved now and then: it only shortens the next start. */
static enum err save_commit(struct store *s, struct partition *p)
{
	uint64_t now_ns = clock_mono_ns(s->o.clock), node_id;
	uint8_t cluster_id[16];
	struct engine_hard_state hs;
	enum err err;

	if (p->committed_index == p->saved_commit ||
	    (p->committed_index - p->saved_commit < SAVE_COMMIT_EVERY &&
	     now_ns - p->saved_at_ns < SAVE_COMMIT_NS))
		return OK;
	engine_identity(s->engine, cluster_id, &node_id);
	hs = (struct engine_hard_state){ .term = p->term,
					 .vote = node_id,
					 .commit = p->committed_index };
	err = engine_set_hard_state(s->engine, p->id, &hs);
	if (err == ERR_IO)
		return err;
	if (!err) { /* out of space or memory: another time */
		p->saved_commit = p->committed_index;
		p->saved_at_ns = now_ns;
	}
	return OK;
}

static enum err sync_batch(struct store *s)
{
	uint64_t from_ns, ns;
	enum err err;

	for (uint32_t i = 0; i < s->partition_count; i++) {
		struct partition *p = &s->partitions[i];

		if (!p->touched)
			continue;
		err = save_commit(s, p);
		if (err)
			return err;
	}
	from_ns = clock_mono_ns(s->o.clock);
	err = engine_sync(s->engine);
	if (err)
		return err;
	ns = clock_mono_ns(s->o.clock) - from_ns;
	count_up(&s->sync_buckets[bucket_of(ns)], 1);
	count_up(&s->write_batches, 1);
	s->appended = false;
	s->batch_bytes = 0;
	return OK;
}

/* One voter: what is synced here is committed. */
static void commit_batch(struct store *s)
{
	for (uint32_t i = 0; i < s->partition_count; i++) {
		struct partition *p = &s->partitions[i];

		if (!p->touched)
			continue;
		p->committed_index = p->last_index;
		atomic_store_explicit(&p->committed_shown, p->committed_index,
				      memory_order_relaxed);
	}
}

/* Keep the figure that status shows: keys of users, not the store's own. */
static void count_key(struct store *s, const struct engine_applied *a)
{
	struct partition *p = &s->partitions[a->record->partition];

	if (!key_is_user(a->record->key))
		return;
	if (a->record->type == RECORD_PUT && !a->had_old)
		count_up(&p->keys_shown, 1);
	else if (a->record->type != RECORD_PUT && a->had_old)
		count_up(&p->keys_shown, (uint64_t)-1);
}

static void on_applied(void *ctx, const struct engine_applied *a)
{
	struct store *s = ctx;

	count_key(s, a);
	watch_publish(s->hub, a);
}

/* ERR_NOMEM: not all is settled, again later. ERR_IO: stop. */
static enum err settle_batch(struct store *s)
{
	for (uint32_t i = 0; i < s->partition_count; i++) {
		struct partition *p = &s->partitions[i];
		enum err err;

		if (!p->touched)
			continue;
		err = engine_settle(s->engine, p->id, p->committed_index,
				    on_applied, s);
		if (err == ERR_NOMEM)
			return err;
		if (err)
			return ERR_IO;
		pending_applied(&p->pending, p->committed_index);
		p->touched = false;
		p->expiry_known = false;
	}
	return OK;
}

static bool has_touched(const struct store *s)
{
	for (uint32_t i = 0; i < s->partition_count; i++) {
		if (s->partitions[i].touched)
			return true;
	}
	return false;
}

/* ---------------------------------------------------------------- round -- */

/* Nothing happened for a while: prove the last frame. */
static void tell_idle(struct store *s)
{
	if (s->idle_told ||
	    clock_mono_ns(s->o.clock) - s->last_batch_ns < IDLE_NS)
		return;
	s->idle_told = true;
	engine_idle(s->engine);
}

static uint64_t choose_wait(struct store *s)
{
	uint64_t wait_ms = expire_wait_ms(s), staging_ms = staging_wait_ms(s);

	if (!s->idle_told && IDLE_MS < wait_ms)
		wait_ms = IDLE_MS;
	if (staging_ms < wait_ms)
		wait_ms = staging_ms;
	/* Sleep only when the queue is empty after having said so. */
	atomic_store(&s->asleep, true);
	if (s->waiting.head || !queue_is_empty(s)) {
		atomic_store(&s->asleep, false);
		wait_ms = 0;
	}
	return wait_ms;
}

static enum err run_round(struct store *s, uint64_t *wait_ms)
{
	enum err err = OK;

	atomic_store(&s->asleep, false);
	queue_take(s);
	if (!has_touched(s)) { /* else a settle is still owed */
		err = expire_due(s);
		if (!err)
			err = staging_collect(s);
		if (!err)
			err = decide_waiting(s);
		if (err)
			return err;
		if (s->appended) {
			err = sync_batch(s);
			if (err)
				return err;
			commit_batch(s);
			s->last_batch_ns = clock_mono_ns(s->o.clock);
			s->idle_told = false;
		}
	}
	err = settle_batch(s);
	if (err == ERR_NOMEM) {
		*wait_ms = SETTLE_RETRY_MS;
		return OK;
	}
	if (err)
		return err;
	complete_list(s, &s->decided, OK);
	watch_notify(s->hub);
	tell_idle(s);
	*wait_ms = choose_wait(s);
	return OK;
}

enum err store_step(struct store *s, uint64_t *wait_ms)
{
	enum err err;

	*wait_ms = 0;
	if (s->dead)
		return ERR_IO;
	if (!atomic_load_explicit(&s->started, memory_order_relaxed)) {
		err = start(s);
		if (err)
			return err;
	}
	err = run_round(s, wait_ms);
	return err ? poison(s) : OK;
}

/* -------------------------------------------------------- life of a store */

enum err store_new(const struct store_options *o, struct store **out)
{
	struct store *s = calloc(1, sizeof(*s));
	enum err err = ERR_NOMEM;

	CHECK(o->partitions >= 1);
	CHECK(o->partitions <= ENGINE_PARTITIONS_MAX);
	if (!s)
		return ERR_NOMEM;
	s->o = *o;
	if (!s->o.staging_idle_ms)
		s->o.staging_idle_ms = 10 * 60 * 1000;
	s->engine = o->engine;
	s->partition_count = o->partitions;
	list_init(&s->waiting);
	list_init(&s->decided);
	s->partitions = calloc(o->partitions, sizeof(*s->partitions));
	if (!s->partitions)
		goto out_store;
	for (uint32_t i = 0; i < o->partitions; i++) {
		s->partitions[i].id = (uint16_t)i;
		pending_init(&s->partitions[i].pending);
	}
	err = watch_hub_new(s, &s->hub);
	if (err)
		goto out_partitions;
	*out = s;
	return OK;

out_partitions:
	free(s->partitions);
out_store:
	free(s);
	return err;
}

void store_free(struct store *s)
{
	if (!s)
		return;
	atomic_store(&s->closing, true);
	queue_take(s);
	/* Decided but not settled: durable, and the next start applies it. */
	complete_list(s, &s->decided, ERR_UNKNOWN);
	complete_list(s, &s->waiting, ERR_CLOSED);
	watch_hub_close(s->hub);
	for (uint32_t i = 0; i < s->partition_count; i++) {
		pending_done(&s->partitions[i].pending);
		staging_free_all(&s->partitions[i]);
	}
	entry_done(&s->entry);
	free(s->slots);
	free(s->partitions);
	free(s);
}
