/*
 * store/watch.c - the history of changes and those who watch it.
 *
 * Every applied change of a user's key is copied into one ring of bytes, as
 * engine_settle tells it (history.c). A watch that has read all that concerns
 * it is idle and holds no place; a change that concerns it wakes it and is its
 * place. A watch that lets too much pile up is cut, one whose place was
 * forgotten is told ERR_COMPACTED.
 *
 * A position in one partition is (index, number of the change within the
 * entry): each event has a name of its own. The floor of a partition is the
 * last position that is no longer in the ring; what was applied before the
 * start never was.
 *
 * Cursors: "17" (after all of entry 17), "17.2", with several partitions
 * "v17.2,5.0,..." (one position each), and beyond VECTOR_MAX partitions
 * "s<instance>.<offset>", which names a place in this process's ring only.
 *
 * Exact watches are found by the hash of their key, prefix watches are asked
 * one after the other.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "store/keyrules.h"
#include "store/watch_hub.h"

enum {
	WATCHES_MAX = 65536,
	VECTOR_MAX = 24,
	SCAN_STEPS = 256,
};

static bool is_after(struct position a, struct position b)
{
	return a.index > b.index || (a.index == b.index && a.number > b.number);
}

static uint32_t bucket_of_key(struct bytes key)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < key.n; i++)
		h = (h ^ key.p[i]) * 0x100000001b3;
	return (uint32_t)(h >> 40) % BUCKETS;
}

/* -------------------------------------------------------------- watches -- */

static void list_insert(struct watch_list *l, struct store_watch *w)
{
	w->next = l->first;
	w->link = &l->first;
	if (w->next)
		w->next->link = &w->next;
	l->first = w;
}

static void list_remove(struct store_watch *w)
{
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
}

static void make_due(struct watch_hub *hub, struct store_watch *w)
{
	if (w->is_due)
		return;
	w->is_due = true;
	w->due_next = hub->due;
	hub->due = w;
}

static bool concerns(const struct store_watch *w, struct bytes key)
{
	return w->exact ? bytes_equal(key, w->prefix)
			: bytes_begins(key, w->prefix);
}

/*
 * An idle watch has seen all that came before: lasts. A cursor may lie ahead
 * of that (it was another node's, which had applied more): it stays.
 */
static void skip_seen(struct watch_hub *hub, struct store_watch *w)
{
	for (uint32_t i = 0; i < hub->partitions; i++) {
		if (is_after(hub->lasts[i], w->after[i]))
			w->after[i] = hub->lasts[i];
	}
}

/* The event at off, of n bytes, concerns w. */
static void tell(struct watch_hub *hub, struct store_watch *w, uint64_t off,
		 uint64_t n)
{
	if (w->cut)
		return;
	if (w->idle) {
		w->idle = false;
		w->at = off;
		w->piled_bytes = 0;
		w->counted_from = off;
		skip_seen(hub, w);
		make_due(hub, w);
	}
	w->piled_bytes += n;
	if (w->piled_bytes > STORE_WATCH_QUEUE_BYTES_MAX)
		w->cut = true;
}

static void tell_all(struct watch_hub *hub, struct bytes key, uint64_t off,
		     uint64_t n)
{
	struct store_watch *w;

	if (hub->count == 0)
		return;
	for (w = hub->exact[bucket_of_key(key)].first; w; w = w->next) {
		if (concerns(w, key))
			tell(hub, w, off, n);
	}
	for (w = hub->prefix.first; w; w = w->next) {
		if (concerns(w, key))
			tell(hub, w, off, n);
	}
}

/* The change as an event's head; false: it is none for users. */
static bool describe(const struct engine_applied *a, struct event_head *h)
{
	const struct record *r = a->record;

	if (!key_is_user(r->key))
		return false;
	*h = (struct event_head){ .partition = r->partition,
				  .key_bytes = (uint32_t)r->key.n,
				  .index = r->index };
	switch (r->type) {
	case RECORD_PUT:
		h->kind = STORE_EVENT_PUT;
		h->value_bytes = r->value.n;
		if (r->flags & LOC_CONTENT && r->value.n >= 16)
			h->value_bytes = get_u64(r->value.p + 8);
		else
			h->has_value =
				r->value.n <= STORE_EVENT_VALUE_BYTES_MAX;
		return true;
	case RECORD_DELETE:
		h->kind = STORE_EVENT_DELETE;
		return a->had_old;
	case RECORD_EXPIRE:
		h->kind = STORE_EVENT_EXPIRE;
		return a->had_old;
	default:
		return false;
	}
}

void watch_publish(struct watch_hub *hub, const struct engine_applied *a)
{
	const struct record *r = a->record;
	struct position *last;
	struct event_head h;
	uint64_t value_bytes, n;
	uint8_t *p;

	if (!describe(a, &h))
		return;
	value_bytes = h.has_value ? r->value.n : 0;
	n = (sizeof(h) + h.key_bytes + value_bytes + 7) & ~7ull;
	h.bytes = (uint32_t)n;
	pthread_mutex_lock(&hub->lock);
	last = &hub->lasts[h.partition];
	h.number = last->index == h.index ? last->number + 1 : 0;
	p = history_room(hub, n);
	memcpy(p, &h, sizeof(h));
	memcpy(p + sizeof(h), r->key.p, r->key.n);
	if (value_bytes > 0)
		memcpy(p + sizeof(h) + r->key.n, r->value.p, value_bytes);
	hub->tail += n;
	tell_all(hub, r->key, hub->tail - n, n);
	*last = (struct position){ h.index, h.number };
	pthread_mutex_unlock(&hub->lock);
}

void watch_notify(struct watch_hub *hub)
{
	struct store_watch *w;

	pthread_mutex_lock(&hub->lock);
	while ((w = hub->due)) {
		hub->due = w->due_next;
		w->is_due = false;
		hub->notifying = w;
		hub->notifier = pthread_self();
		pthread_mutex_unlock(&hub->lock);
		w->notify(w->user);
		pthread_mutex_lock(&hub->lock);
		hub->notifying = NULL;
		pthread_cond_broadcast(&hub->notified);
	}
	pthread_mutex_unlock(&hub->lock);
}

/* ------------------------------------------------------------ life of hub */

static void hub_free(struct watch_hub *hub)
{
	pthread_mutex_destroy(&hub->lock);
	pthread_cond_destroy(&hub->notified);
	history_done(hub);
	free(hub->floors);
	free(hub->lasts);
	free(hub);
}

enum err watch_hub_new(struct store *s, struct watch_hub **out)
{
	struct watch_hub *hub = calloc(1, sizeof(*hub));

	if (!hub)
		return ERR_NOMEM;
	pthread_mutex_init(&hub->lock, NULL);
	pthread_cond_init(&hub->notified, NULL);
	hub->s = s;
	hub->partitions = s->partition_count;
	hub->instance = s->o.seed ? seed_next(s->o.seed) : 0;
	hub->holders = 1;
	hub->floors = calloc(hub->partitions, sizeof(*hub->floors));
	hub->lasts = calloc(hub->partitions, sizeof(*hub->lasts));
	if (history_init(hub) || !hub->floors || !hub->lasts) {
		hub_free(hub);
		return ERR_NOMEM;
	}
	*out = hub;
	return OK;
}

void watch_hub_floor(struct watch_hub *hub, uint32_t partition, uint64_t index,
		     uint32_t number)
{
	pthread_mutex_lock(&hub->lock);
	hub->floors[partition] = (struct position){ index, number };
	hub->lasts[partition] = (struct position){ index, number };
	pthread_mutex_unlock(&hub->lock);
}

static void due_list(struct watch_hub *hub, struct watch_list *l)
{
	for (struct store_watch *w = l->first; w; w = w->next) {
		if (w->idle)
			make_due(hub, w);
		w->idle = false;
	}
}

void watch_hub_close(struct watch_hub *hub)
{
	bool last;

	pthread_mutex_lock(&hub->lock);
	hub->closed = true;
	for (uint32_t i = 0; i < BUCKETS; i++)
		due_list(hub, &hub->exact[i]);
	due_list(hub, &hub->prefix);
	pthread_mutex_unlock(&hub->lock);
	watch_notify(hub);
	pthread_mutex_lock(&hub->lock);
	last = --hub->holders == 0;
	pthread_mutex_unlock(&hub->lock);
	if (last)
		hub_free(hub);
}

uint64_t watch_count(struct watch_hub *hub)
{
	uint64_t count;

	pthread_mutex_lock(&hub->lock);
	count = hub->count;
	pthread_mutex_unlock(&hub->lock);
	return count;
}

/* --------------------------------------------------------------- cursors - */

static bool parse_number(const char **at, uint64_t *n)
{
	const char *p = *at;
	uint64_t value = 0;

	if (*p < '0' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		if (value > (UINT64_MAX - 9) / 10)
			return false;
		value = value * 10 + (uint64_t)(*p - '0');
	}
	*at = p;
	*n = value;
	return true;
}

/* "17" or "17.2". */
static bool parse_position(const char **at, struct position *pos)
{
	uint64_t number = UINT32_MAX;

	if (!parse_number(at, &pos->index))
		return false;
	if (**at == '.') {
		(*at)++;
		if (!parse_number(at, &number) || number > UINT32_MAX)
			return false;
	}
	pos->number = (uint32_t)number;
	return true;
}

/* "v1.0,2.0,..": one position for each partition. */
static bool parse_vector(struct watch_hub *hub, const char *at,
			 struct position *after)
{
	for (uint32_t i = 0; i < hub->partitions; i++) {
		if (!parse_position(&at, &after[i]))
			return false;
		if (*at != (i + 1 < hub->partitions ? ',' : '\0'))
			return false;
		at++;
	}
	return true;
}

/* "s<instance>.<offset>". ERR_COMPACTED: of another life of the process. */
static enum err parse_place(struct watch_hub *hub, const char *at,
			    struct store_watch *w)
{
	uint64_t instance, off;

	if (!parse_number(&at, &instance) || *at++ != '.' ||
	    !parse_number(&at, &off) || *at)
		return ERR_INVALID;
	if (instance != hub->instance >> 1 || off < hub->head)
		return ERR_COMPACTED;
	if (off > hub->tail || !history_is_edge(hub, off))
		return ERR_INVALID;
	w->at = off;
	memset(w->after, 0, hub->partitions * sizeof(*w->after));
	return OK;
}

/* The one partition that w can hear of, or STORE_ALL_PARTITIONS. */
static int64_t partition_watched(struct watch_hub *hub, struct store_watch *w)
{
	if (hub->partitions == 1)
		return 0;
	if (w->exact ||
	    (w->prefix.n > 0 && memchr(w->prefix.p, '/', w->prefix.n)))
		return store_partition_of(hub->s, w->prefix);
	return STORE_ALL_PARTITIONS;
}

static void lose_list(struct watch_hub *hub, struct watch_list *l,
		      uint32_t partition)
{
	for (struct store_watch *w = l->first; w; w = w->next) {
		int64_t watched = partition_watched(hub, w);

		if (watched != STORE_ALL_PARTITIONS && watched != partition)
			continue;
		if (w->idle)
			make_due(hub, w);
		w->idle = false;
		w->lost = true;
	}
}

void watch_hub_reset(struct watch_hub *hub, uint32_t partition, uint64_t index)
{
	pthread_mutex_lock(&hub->lock);
	hub->floors[partition] = (struct position){ index, UINT32_MAX };
	hub->lasts[partition] = (struct position){ index, UINT32_MAX };
	hub->instance += 2; /* places told before name nothing any more */
	for (uint32_t i = 0; i < BUCKETS; i++)
		lose_list(hub, &hub->exact[i], partition);
	lose_list(hub, &hub->prefix, partition);
	pthread_mutex_unlock(&hub->lock);
}

static enum err place_after(struct watch_hub *hub, struct store_watch *w,
			    const char *cursor)
{
	int64_t partition = partition_watched(hub, w);
	const char *at = cursor;

	if (*cursor == 's')
		return parse_place(hub, cursor + 1, w);
	if (*cursor == 'v') {
		if (!parse_vector(hub, cursor + 1, w->after))
			return ERR_INVALID;
	} else {
		if (partition == STORE_ALL_PARTITIONS ||
		    !parse_position(&at, &w->after[partition]) || *at)
			return ERR_INVALID;
	}
	for (uint32_t i = 0; i < hub->partitions; i++) {
		if (partition != STORE_ALL_PARTITIONS && i != partition)
			continue;
		if (is_after(hub->floors[i], w->after[i]))
			return ERR_COMPACTED;
	}
	w->at = hub->head;
	return OK;
}

/* Name the place after what w has seen. */
static void name_place(struct watch_hub *hub, const struct store_watch *w,
		       const struct event_head *h,
		       char id[STORE_CURSOR_BYTES_MAX])
{
	size_t n = 0;

	if (hub->partitions == 1) {
		snprintf(id, STORE_CURSOR_BYTES_MAX, "%llu.%u",
			 (unsigned long long)h->index, h->number);
		return;
	}
	if (hub->partitions > VECTOR_MAX) {
		snprintf(id, STORE_CURSOR_BYTES_MAX, "s%llu.%llu",
			 (unsigned long long)hub->instance >> 1,
			 (unsigned long long)w->at);
		return;
	}
	for (uint32_t i = 0; i < hub->partitions; i++)
		n += (size_t)snprintf(id + n, STORE_CURSOR_BYTES_MAX - n,
				      "%c%llu.%u", i ? ',' : 'v',
				      (unsigned long long)w->after[i].index,
				      w->after[i].number);
	CHECK(n < STORE_CURSOR_BYTES_MAX);
}

enum err watch_cursor_now(struct store *s, struct buf *text)
{
	struct watch_hub *hub = s->hub;
	enum err err = OK;

	if (hub->partitions == 1)
		return buf_addf(text, "%llu",
				(unsigned long long)store_revision(s, 0));
	pthread_mutex_lock(&hub->lock);
	if (hub->partitions > VECTOR_MAX)
		err = buf_addf(text, "s%llu.%llu",
			       (unsigned long long)hub->instance >> 1,
			       (unsigned long long)hub->tail);
	for (uint32_t i = 0;
	     hub->partitions <= VECTOR_MAX && i < hub->partitions && !err; i++)
		err = buf_addf(text, "%c%llu.%u", i ? ',' : 'v',
			       (unsigned long long)hub->lasts[i].index,
			       hub->lasts[i].number);
	pthread_mutex_unlock(&hub->lock);
	return err;
}

/* ------------------------------------------------------------- watching -- */

static void watch_free(struct store_watch *w)
{
	free(w->after);
	buf_done(&w->event);
	free(w);
}

enum err store_watch_open(struct store *s, struct bytes prefix, bool exact,
			  struct bytes after, void (*notify)(void *user),
			  void *user, struct store_watch **out)
{
	struct watch_hub *hub = s->hub;
	char cursor[STORE_CURSOR_BYTES_MAX];
	struct store_watch *w;
	enum err err = OK;

	if (!store_ready(s))
		return ERR_STARTING;
	if (prefix.n > STORE_KEY_BYTES_MAX || after.n >= sizeof(cursor) ||
	    (after.n > 0 && memchr(after.p, 0, after.n)))
		return ERR_INVALID;
	w = calloc(1, sizeof(*w) + prefix.n);
	if (!w)
		return ERR_NOMEM;
	w->after = calloc(hub->partitions, sizeof(*w->after));
	if (!w->after) {
		free(w);
		return ERR_NOMEM;
	}
	if (prefix.n > 0)
		memcpy(w->room, prefix.p, prefix.n);
	w->prefix = bytes_of(w->room, prefix.n);
	w->hub = hub;
	w->exact = exact;
	w->notify = notify;
	w->user = user;
	if (after.n > 0)
		memcpy(cursor, after.p, after.n);
	cursor[after.n] = 0;
	pthread_mutex_lock(&hub->lock);
	w->at = hub->tail;
	memcpy(w->after, hub->lasts, hub->partitions * sizeof(*w->after));
	if (after.n > 0)
		err = place_after(hub, w, cursor);
	if (!err && hub->count >= WATCHES_MAX)
		err = ERR_FULL;
	if (!err) {
		w->counted_from = hub->tail;
		list_insert(exact ? &hub->exact[bucket_of_key(prefix)]
				  : &hub->prefix,
			    w);
		hub->count++;
		hub->holders++;
	}
	pthread_mutex_unlock(&hub->lock);
	if (err) {
		watch_free(w);
		return err;
	}
	*out = w;
	return OK;
}

void store_watch_close(struct store_watch *w)
{
	struct watch_hub *hub;
	bool last;

	if (!w)
		return;
	hub = w->hub;
	pthread_mutex_lock(&hub->lock);
	while (hub->notifying == w &&
	       !pthread_equal(hub->notifier, pthread_self()))
		pthread_cond_wait(&hub->notified, &hub->lock);
	if (w->is_due) {
		struct store_watch **at = &hub->due;

		while (*at != w)
			at = &(*at)->due_next;
		*at = w->due_next;
	}
	list_remove(w);
	hub->count--;
	last = --hub->holders == 0;
	pthread_mutex_unlock(&hub->lock);
	watch_free(w);
	if (last)
		hub_free(hub);
}

static enum err copy_event(struct watch_hub *hub, struct store_watch *w,
			   const struct event_head *h,
			   struct store_event *event)
{
	const uint8_t *p = (const uint8_t *)(h + 1);
	size_t n = h->key_bytes + (h->has_value ? h->value_bytes : 0);
	enum err err;

	w->event.n = 0;
	err = buf_add(&w->event, p, n);
	if (err)
		return err;
	event->kind = (enum store_event_kind)h->kind;
	event->key = bytes_of(w->event.p, h->key_bytes);
	event->rev = h->index;
	event->bytes = h->value_bytes;
	event->has_value = h->has_value;
	event->value = bytes_of(w->event.p + h->key_bytes, n - h->key_bytes);
	return OK;
}

/*
 * Look at the event at w->at and step over it. OK: it was for w. ERR_PENDING:
 * it was not. ERR_NOMEM: w has not moved.
 */
static enum err scan_one(struct watch_hub *hub, struct store_watch *w,
			 struct store_event *event)
{
	struct event_head *h = history_at(hub, w->at);
	struct position pos = { h->index, h->number };
	bool own = concerns(w, bytes_of(h + 1, h->key_bytes));
	bool wanted = own && is_after(pos, w->after[h->partition]);
	enum err err;

	if (wanted) {
		err = copy_event(hub, w, h, event);
		if (err)
			return err;
	}
	if (own && w->at >= w->counted_from) {
		CHECK(w->piled_bytes >= h->bytes);
		w->piled_bytes -= h->bytes;
	}
	if (is_after(pos, w->after[h->partition]))
		w->after[h->partition] = pos;
	w->at += h->bytes;
	if (!wanted)
		return ERR_PENDING;
	name_place(hub, w, h, event->id);
	return OK;
}

/* Some steps under the lock. ERR_BUSY: not at the end yet, go on. */
static enum err scan_some(struct watch_hub *hub, struct store_watch *w,
			  struct store_event *event)
{
	for (int i = 0; i < SCAN_STEPS; i++) {
		enum err err;

		if (hub->closed)
			return ERR_CLOSED;
		if (w->cut)
			return ERR_FULL;
		if (w->lost)
			return ERR_COMPACTED;
		if (w->idle)
			return ERR_PENDING;
		if (w->at < hub->head)
			return ERR_COMPACTED;
		if (w->at < hub->tail)
			w->at = history_normal(hub, w->at);
		if (w->at >= hub->tail) {
			w->idle = true;
			return ERR_PENDING;
		}
		err = scan_one(hub, w, event);
		if (err != ERR_PENDING)
			return err;
	}
	return ERR_BUSY;
}

enum err store_watch_next(struct store_watch *w, struct store_event *event)
{
	struct watch_hub *hub = w->hub;
	enum err err;

	do {
		pthread_mutex_lock(&hub->lock);
		err = scan_some(hub, w, event);
		pthread_mutex_unlock(&hub->lock);
	} while (err == ERR_BUSY);
	return err;
}
