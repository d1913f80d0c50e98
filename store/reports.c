/*
 * store/reports.c - see report.h and reports.h.
 *
 * One slot a member: what it told, and when it last asked. All of it lies under
 * one lock that is held for a copy of a report at most. The core looks at three
 * words in a round when nobody watches.
 */
#include "store/reports.h"

#include <stdlib.h>

#include "base/net.h"
#include "store/members.h"
#include "store/members_internal.h"

static const uint64_t ns_per_ms = 1000000;

struct slot {
	uint64_t id; /* 0: free                                              */
	uint64_t told_ns, asked_ns; /* monotonic clock; 0: never             */
	struct buf report;
};

struct reports {
	_Atomic uint64_t want_until_ns;	 /* somebody here looks              */
	_Atomic uint64_t asked_until_ns; /* somebody elsewhere does          */
	_Atomic bool posted;  /* own is newer than what was sent              */
	uint64_t next_ask_ns; /* core                                        */
	pthread_mutex_t lock; /* of what follows                             */
	struct slot slots[MEMBERS_MAX];
	struct buf own;
	void (*wake)(void *ctx);
	void *wake_ctx;
};

enum err reports_new(struct store *s)
{
	struct reports *rs = calloc(1, sizeof(*rs));

	if (!rs)
		return ERR_NOMEM;
	pthread_mutex_init(&rs->lock, NULL);
	s->reports = rs;
	return OK;
}

void reports_free(struct store *s)
{
	struct reports *rs = s->reports;

	if (!rs)
		return;
	for (uint32_t i = 0; i < MEMBERS_MAX; i++)
		buf_done(&rs->slots[i].report);
	buf_done(&rs->own);
	pthread_mutex_destroy(&rs->lock);
	free(rs);
	s->reports = NULL;
}

/* -------------------------------------------------------------- any thread */

void store_reports_want(struct store *s)
{
	uint64_t now_ns = clock_mono_ns(s->o.clock);

	if (!s->o.net)
		return;
	atomic_store(&s->reports->want_until_ns,
		     now_ns + STORE_REPORT_WISH_MS * ns_per_ms);
	queue_wake(s);
}

bool store_report_is_wanted(struct store *s)
{
	return count_of(&s->reports->asked_until_ns) >
	       clock_mono_ns(s->o.clock);
}

void store_report_on_wish(struct store *s, void (*wake)(void *ctx), void *ctx)
{
	struct reports *rs = s->reports;

	pthread_mutex_lock(&rs->lock);
	rs->wake = wake;
	rs->wake_ctx = ctx;
	pthread_mutex_unlock(&rs->lock);
}

enum err store_report_post(struct store *s, struct bytes report)
{
	struct reports *rs = s->reports;
	struct buf b = BUF_INIT;
	enum err err;

	if (report.n > STORE_REPORT_BYTES_MAX)
		return ERR_TOO_LARGE;
	err = buf_add(&b, report.p, report.n);
	if (err)
		return err;
	pthread_mutex_lock(&rs->lock);
	buf_done(&rs->own);
	rs->own = b;
	pthread_mutex_unlock(&rs->lock);
	atomic_store(&rs->posted, true);
	queue_wake(s);
	return OK;
}

enum err store_reports_each(struct store *s,
			    enum err (*fn)(void *ctx, uint64_t id,
					   uint64_t age_ms,
					   struct bytes report),
			    void *ctx)
{
	struct reports *rs = s->reports;
	uint64_t now_ns = clock_mono_ns(s->o.clock);
	enum err err = OK;

	pthread_mutex_lock(&rs->lock);
	for (uint32_t i = 0; i < MEMBERS_MAX && !err; i++) {
		const struct slot *slot = &rs->slots[i];
		uint64_t age_ns = 0;

		if (!slot->told_ns)
			continue;
		if (now_ns > slot->told_ns)
			age_ns = now_ns - slot->told_ns;
		err = fn(ctx, slot->id, age_ns / ns_per_ms,
			 buf_bytes(&slot->report));
	}
	pthread_mutex_unlock(&rs->lock);
	return err;
}

/* -------------------------------------------------------------------- core */

/* The slot of a member; of nobody else. The lock is held. */
static struct slot *find_slot(struct store *s, uint64_t id)
{
	struct reports *rs = s->reports;
	struct slot *empty = NULL;

	if (!member_by_id(s, id))
		return NULL;
	for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
		if (rs->slots[i].id == id)
			return &rs->slots[i];
	}
	/* There are as many slots as members: some slot is of who has left. */
	for (uint32_t i = 0; i < MEMBERS_MAX && !empty; i++) {
		if (!rs->slots[i].id || !member_by_id(s, rs->slots[i].id))
			empty = &rs->slots[i];
	}
	if (!empty)
		return NULL;
	buf_done(&empty->report);
	*empty = (struct slot){ .id = id };
	return empty;
}

void reports_asked(struct store *s, uint64_t from, const struct item *item)
{
	struct reports *rs = s->reports;
	uint64_t now_ns = clock_mono_ns(s->o.clock);
	struct slot *slot;

	(void)item; /* its body is for later versions */
	pthread_mutex_lock(&rs->lock);
	slot = find_slot(s, from);
	if (slot) {
		slot->asked_ns = now_ns;
		atomic_store(&rs->asked_until_ns,
			     now_ns + STORE_REPORT_WISH_MS * ns_per_ms);
	}
	if (slot && rs->wake)
		rs->wake(rs->wake_ctx);
	pthread_mutex_unlock(&rs->lock);
}

void reports_receive(struct store *s, uint64_t from, const struct item *item)
{
	struct reports *rs = s->reports;
	struct slot *slot;

	/* Nobody here has asked for long: it is late, or was never wanted. */
	if (count_of(&rs->want_until_ns) < clock_mono_ns(s->o.clock) ||
	    item->body.n > STORE_REPORT_BYTES_MAX)
		return;
	pthread_mutex_lock(&rs->lock);
	slot = find_slot(s, from);
	if (slot) {
		slot->report.n = 0;
		if (buf_add(&slot->report, item->body.p, item->body.n))
			slot->told_ns = 0; /* no memory: none for now */
		else
			slot->told_ns = clock_mono_ns(s->o.clock);
	}
	pthread_mutex_unlock(&rs->lock);
}

static void send_to(struct store *s, uint64_t id, enum item_kind kind,
		    struct bytes body)
{
	struct buf *b = outbox_begin(s, id, kind, 0);

	if (!b)
		return;
	if (buf_add(b, body.p, body.n))
		outbox_drop(s);
	else
		outbox_end(s);
}

static void ask_all(struct store *s)
{
	for (uint32_t i = 0; i < s->members->count; i++) {
		uint64_t id = s->members->list[i].m.id;

		if (id != s->self_id)
			send_to(s, id, ITEM_REPORT_WANTED, bytes_of(NULL, 0));
	}
}

/* What was posted goes to those whose wish still holds. */
static void send_own(struct store *s, uint64_t now_ns)
{
	struct reports *rs = s->reports;

	pthread_mutex_lock(&rs->lock);
	for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
		const struct slot *slot = &rs->slots[i];

		if (slot->asked_ns &&
		    now_ns < slot->asked_ns + STORE_REPORT_WISH_MS * ns_per_ms)
			send_to(s, slot->id, ITEM_REPORT, buf_bytes(&rs->own));
	}
	pthread_mutex_unlock(&rs->lock);
}

void reports_round(struct store *s)
{
	struct reports *rs = s->reports;
	uint64_t want_ns = count_of(&rs->want_until_ns), now_ns;
	bool posted = atomic_load_explicit(&rs->posted, memory_order_relaxed);

	if (!s->o.net || (!want_ns && !posted))
		return;
	now_ns = clock_mono_ns(s->o.clock);
	if (now_ns < want_ns && now_ns >= rs->next_ask_ns) {
		ask_all(s);
		rs->next_ask_ns = now_ns + STORE_REPORT_EVERY_MS * ns_per_ms;
	}
	if (posted && atomic_exchange(&rs->posted, false))
		send_own(s, now_ns);
}

bool reports_are_due(struct store *s)
{
	uint64_t now_ns = clock_mono_ns(s->o.clock);

	return count_of(&s->reports->want_until_ns) > now_ns ||
	       count_of(&s->reports->asked_until_ns) > now_ns;
}

uint64_t reports_wait_ms(struct store *s)
{
	struct reports *rs = s->reports;
	uint64_t want_ns = count_of(&rs->want_until_ns), now_ns;

	if (!s->o.net)
		return UINT64_MAX;
	if (atomic_load_explicit(&rs->posted, memory_order_relaxed))
		return 0;
	if (!want_ns)
		return UINT64_MAX;
	now_ns = clock_mono_ns(s->o.clock);
	if (now_ns >= want_ns)
		return UINT64_MAX;
	if (now_ns >= rs->next_ask_ns)
		return 0;
	return (rs->next_ask_ns - now_ns) / ns_per_ms + 1;
}
