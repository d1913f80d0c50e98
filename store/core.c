/*
 * store/core.c - the core thread's round, and the life of a store.
 *
 *    any thread          core thread
 *    store_write --> queue --> waiting --> decide + append --> decided
 *    store_barrier -> stack -> read index                        |
 *    peers' messages ------> raft                                |
 *                              |                                 |
 *                              v                                 |
 *                     send, sync once for all, send              |
 *                              |                                 |
 *                        engine_settle  per partition            |
 *                              |                                 v
 *                              '----------------------------> complete
 *
 * Every partition is a raft group; group.c drives them. A group of one goes
 * the same way without anyone to send to: what its own disk has is committed.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "store/forward.h"
#include "store/group_internal.h"
#include "store/observer.h"
#include "store/reports.h"
#include "store/state.h"
#include "store/tokens.h"

enum {
	IDLE_NS = 10 * 1000 * 1000,
	IDLE_MS = 10,
};

/* The log cannot be trusted any more: nothing of the batch is known. */
static enum err poison(struct store *s)
{
	if (!s->dead)
		log_error("store", "log_poisoned action=stop");
	s->dead = true;
	atomic_store(&s->closing, true);
	forward_stop(s);
	observer_stop(s);
	requests_stop(s);
	reads_stop(s, ERR_CLOSED);
	return ERR_IO;
}

/* ------------------------------------------------------------ starting --- */

/* Partition 0 says where keys lie: nothing is served before it is there. */
static enum err try_to_serve(struct store *s)
{
	enum err err;

	if (engine_applied_index(s->engine, 0) == 0)
		return OK;
	err = members_load(s);
	if (!err)
		tokens_refresh(s);
	if (!err)
		atomic_store_explicit(&s->started, true, memory_order_release);
	return err;
}

static enum err start(struct store *s)
{
	enum err err = groups_start(s);

	if (!err && engine_applied_index(s->engine, 0) == 0)
		err = members_load(s); /* joining: whom to listen to */
	if (!err)
		err = try_to_serve(s);
	if (err) {
		log_error("store", "start_failed error=%s", err_text(err));
		s->dead = true;
	}
	return err;
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

static void shorten(uint64_t *wait_ms, uint64_t ms)
{
	if (ms < *wait_ms)
		*wait_ms = ms;
}

static uint64_t choose_wait(struct store *s)
{
	uint64_t wait_ms = groups_wait_ms(s);

	shorten(&wait_ms, expire_wait_ms(s));
	shorten(&wait_ms, staging_wait_ms(s));
	shorten(&wait_ms, state_wait_ms(s));
	shorten(&wait_ms, repair_wait_ms(s));
	shorten(&wait_ms, members_wait_ms(s));
	shorten(&wait_ms, forward_wait_ms(s));
	shorten(&wait_ms, observer_wait_ms(s));
	shorten(&wait_ms, reports_wait_ms(s));
	if (!s->idle_told)
		shorten(&wait_ms, IDLE_MS);
	/* Sleep only when the queue is empty after having said so. */
	atomic_store(&s->asleep, true);
	if (wait_ms == 0 || !queue_is_empty(s) || observer_is_due(s)) {
		atomic_store(&s->asleep, false);
		wait_ms = 0;
	}
	return wait_ms;
}

static enum err run_round(struct store *s)
{
	enum err err;

	s->retry = false;
	requests_take(s);
	reads_take(s);
	groups_tick(s);
	groups_tell(s);
	err = expire_due(s);
	if (!err)
		err = staging_collect(s);
	if (!err)
		err = requests_decide(s);
	if (!err)
		err = members_round(s);
	tokens_refresh(s);
	if (!err)
		err = state_round(s);
	if (!err)
		err = repair_round(s);
	if (!err)
		err = groups_run(s);
	if (!err && !atomic_load_explicit(&s->started, memory_order_relaxed))
		err = try_to_serve(s);
	if (err)
		return err;
	forward_round(s);
	observer_round(s);
	reports_round(s);
	members_tell(s);
	outbox_flush(s);
	watch_notify(s->hub);
	tell_idle(s);
	return OK;
}

enum err store_step(struct store *s, uint64_t *wait_ms)
{
	enum err err;

	*wait_ms = 0;
	if (s->dead)
		return ERR_IO;
	if (!s->begun) {
		err = start(s);
		if (err)
			return err;
	}
	atomic_store(&s->asleep, false);
	err = run_round(s);
	if (err)
		return poison(s);
	*wait_ms = choose_wait(s);
	return OK;
}

/* ------------------------------------------------------------- messages -- */

static enum err dispatch(struct store *s, uint64_t from,
			 const struct item *item)
{
	switch ((enum item_kind)item->kind) {
	case ITEM_RAFT:
		return group_receive(s, from, item);
	case ITEM_STATE:
		state_receive(s, from, item);
		break;
	case ITEM_STATE_REPLY:
		state_replied(s, from, item);
		break;
	case ITEM_REQUEST:
		forward_receive(s, from, item);
		break;
	case ITEM_ANSWER:
		forward_answered(s, from, item);
		break;
	case ITEM_FETCH:
		repair_asked(s, from, item);
		break;
	case ITEM_FETCHED:
		repair_answered(s, from, item);
		break;
	case ITEM_REPORT_WANTED:
		reports_asked(s, from, item);
		break;
	case ITEM_REPORT:
		reports_receive(s, from, item);
		break;
	case ITEM_PROGRESS:
		members_told(s, from, item);
		break;
	case ITEM_KIND_MAX:
		break;
	}
	return OK; /* of a later version */
}

enum err store_receive(struct store *s, uint64_t from, struct bytes message)
{
	struct item item;
	enum err err;

	if (s->dead)
		return ERR_IO;
	if (!s->begun)
		return OK;
	count_up(&s->messages_received, 1);
	members_heard(s, from);
	while (!(err = item_next(&message, &item))) {
		err = dispatch(s, from, &item);
		if (err)
			break;
	}
	if (err == ERR_IO)
		return poison(s);
	if (err == ERR_INVALID)
		count_up(&s->messages_malformed, 1);
	return OK;
}

void store_link(struct store *s, uint64_t peer, bool up)
{
	forward_wake(s, up);
	diary_note(s->o.diary, up ? DIARY_PEER_UP : DIARY_PEER_DOWN,
		   DIARY_NO_PARTITION, peer, 0, 0);
	for (uint32_t i = 0; i < s->partition_count; i++) {
		struct partition *p = &s->partitions[i];

		if (up && p->leader == peer)
			reads_ask_again(p); /* the question may be lost */
		if (up || !group_open(p))
			continue;
		raft_unreachable(p->raft, peer);
		group_fed(p);
	}
}

/* -------------------------------------------------------- life of a store */

static void set_defaults(struct store *s)
{
	uint8_t cluster_id[16];

	if (!s->o.staging_idle_ms)
		s->o.staging_idle_ms = 10 * 60 * 1000;
	if (!s->o.heartbeat_ms)
		s->o.heartbeat_ms = 100;
	if (!s->o.election_ms)
		s->o.election_ms = 1000;
	if (!s->o.commit_timeout_ms)
		s->o.commit_timeout_ms = 5000;
	engine_identity(s->engine, cluster_id, &s->self_id);
	s->o.self.id = s->self_id;
	s->tick_ns = s->o.heartbeat_ms * 1000000;
}

enum err store_new(const struct store_options *o, struct store **out)
{
	struct store *s = calloc(1, sizeof(*s));
	enum err err = ERR_NOMEM;

	CHECK(o->partitions >= 1);
	CHECK(o->partitions <= ENGINE_PARTITIONS_MAX);
	if (!s)
		return ERR_NOMEM;
	s->o = *o;
	s->max_value_bytes = o->max_value_bytes;
	s->engine = o->engine;
	s->partition_count = o->partitions;
	set_defaults(s);
	s->partitions = calloc(o->partitions, sizeof(*s->partitions));
	if (!s->partitions)
		goto out_store;
	for (uint32_t i = 0; i < o->partitions; i++) {
		s->partitions[i].id = (uint16_t)i;
		pending_init(&s->partitions[i].pending);
	}
	err = groups_new(s);
	if (!err)
		err = members_new(s);
	if (!err)
		err = tokens_new(s);
	if (!err)
		err = reports_new(s);
	if (!err)
		err = forward_new(s);
	if (!err)
		err = observing_new(s);
	if (!err)
		err = state_start(s);
	if (!err)
		err = repair_start(s);
	if (!err)
		err = watch_hub_new(s, &s->hub);
	if (err)
		goto out_groups;
	*out = s;
	return OK;

out_groups:
	observing_free(s);
	forward_free(s);
	state_stop(s);
	repair_stop(s);
	reports_free(s);
	tokens_free(s);
	members_free(s);
	groups_free(s);
	free(s->partitions);
out_store:
	free(s);
	return err;
}

void store_set_max_value(struct store *s, uint64_t bytes)
{
	atomic_store(&s->max_value_bytes, bytes);
}

void store_free(struct store *s)
{
	if (!s)
		return;
	atomic_store(&s->closing, true);
	forward_stop(s);
	observer_stop(s);
	requests_stop(s);
	reads_stop(s, ERR_CLOSED);
	watch_hub_close(s->hub);
	state_stop(s);
	repair_stop(s);
	for (uint32_t i = 0; i < s->partition_count; i++) {
		pending_done(&s->partitions[i].pending);
		staging_free_all(&s->partitions[i]);
	}
	reports_free(s);
	tokens_free(s);
	members_free(s);
	forward_free(s);
	observing_free(s);
	groups_free(s);
	entry_done(&s->entry);
	free(s->slots);
	free(s->partitions);
	free(s);
}
