/*
 * store/observer.c - telling a mount what changes, and waiting for it.
 *
 * Before an entry is applied its records are turned into a list of changes,
 * which `before` and `after` get; its keys are views into the records. The
 * list has room for every record of an entry; without memory for that it says
 * RESET, which is always true enough.
 *
 * An entry for which `after` said so is remembered for OBSERVER_HOLD_MS or
 * until store_observed has passed it; a request that made it and is completed
 * meanwhile waits in its partition's list. Requests behind it do not.
 *
 * store_observed, on another thread, only raises a number and wakes the core
 * if something is held. It may come before the request is: the calls are
 * counted, and the core does not go to sleep over one that it has not seen.
 */
#include <stdlib.h>

#include "store/file_internal.h"
#include "store/hidden.h"
#include "store/keyrules.h"
#include "store/observer.h"

#define HOLD_NS (OBSERVER_HOLD_MS * 1000000ull)

/* An entry whose requests' answers are held. */
struct held_entry {
	uint64_t rev, since_ns;
};

struct observed_partition {
	_Atomic uint64_t observed;  /* any */
	struct held_entry *entries; /* by rising rev                         */
	uint32_t entry_count, entry_cap;
	struct request_list held;
};

struct observing {
	struct store_observer to;
	bool on;
	bool lost; /* no memory for what follows: RESET is told instead      */
	struct store_seen *seen; /* of the entry being applied               */
	uint32_t seen_count, seen_cap;
	uint32_t held_count; /* requests, of all partitions                  */
	atomic_bool holding; /* held_count > 0; any                          */
	_Atomic uint64_t calls; /* of store_observed; any                    */
	uint64_t calls_seen;
	struct observed_partition partitions[];
};

enum err observing_new(struct store *s)
{
	struct observing *o = calloc(
		1, sizeof(*o) + s->partition_count * sizeof(o->partitions[0]));

	if (!o)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < s->partition_count; i++)
		list_init(&o->partitions[i].held);
	s->observing = o;
	return OK;
}

void observing_free(struct store *s)
{
	struct observing *o = s->observing;

	if (!o)
		return;
	CHECK(o->held_count == 0);
	for (uint32_t i = 0; i < s->partition_count; i++)
		free(o->partitions[i].entries);
	free(o->seen);
	free(o);
	s->observing = NULL;
}

void store_observe(struct store *s, const struct store_observer *to)
{
	struct observing *o = s->observing;

	o->on = to != NULL;
	o->to = to ? *to : (struct store_observer){ 0 };
	for (uint32_t i = 0; i < s->partition_count && !to; i++)
		o->partitions[i].entry_count = 0;
	observer_round(s);
}

/* ------------------------------------------------------- what is changed -- */

static bool reserve_seen(struct observing *o, uint32_t count)
{
	void *seen;

	if (count <= o->seen_cap)
		return true;
	seen = realloc(o->seen, count * sizeof(*o->seen));
	if (!seen)
		return false;
	o->seen = seen;
	o->seen_cap = count;
	return true;
}

/* The number that r gives the key it puts; 0: it cannot be told. */
static uint64_t ino_of(struct store *s, const struct record *r)
{
	struct view v = file_view_applied(s, r->partition);
	struct attrs a;

	if (r->flags & LOC_INODE)
		return r->value.n == RECORD_CONTENT_BYTES ? get_u64(r->value.p)
							  : 0;
	if (attrs_decode(r->attrs, &a))
		return 0;
	if (a.has & ATTRS_INO)
		return a.ino;
	return file_ino_of(&v, version_pack(r->index, r->position));
}

/* False: users see nothing of r. */
static bool describe(struct store *s, const struct record *r,
		     struct store_seen *seen)
{
	*seen = (struct store_seen){ .key = r->key };
	if (r->type == RECORD_PUT && bytes_equal(r->key, root_key())) {
		seen->kind = STORE_SEEN_PUT;
		seen->key = (struct bytes){ 0 };
		seen->ino = STORE_ROOT_INO;
		return true;
	}
	if (r->type == RECORD_PUT && bytes_equal(r->key, meaning_key()))
		return file_meaning_decode(r->value, seen);
	if (!key_is_user(r->key))
		return false;
	switch (r->type) {
	case RECORD_PUT:
		seen->kind = STORE_SEEN_PUT;
		seen->ino = ino_of(s, r);
		return true;
	case RECORD_DELETE:
	case RECORD_EXPIRE:
		seen->kind = STORE_SEEN_DELETE;
		return true;
	case RECORD_DELETE_PREFIX:
		seen->kind = STORE_SEEN_DELETE_PREFIX;
		return true;
	default:
		return false;
	}
}

/* --------------------------------------------------------------- telling -- */

static void begin_seen(struct observing *o, uint32_t count)
{
	o->seen_count = 0;
	o->lost = !reserve_seen(o, count);
}

static const struct store_seen *seen_list(struct observing *o, uint32_t *count)
{
	static const struct store_seen reset = { .kind = STORE_SEEN_RESET };

	*count = o->lost ? 1 : o->seen_count;
	return o->lost ? &reset : o->seen;
}

static void tell_before(struct observing *o, uint32_t partition, uint64_t rev)
{
	uint32_t count;
	const struct store_seen *seen = seen_list(o, &count);

	if (count > 0 && o->to.before)
		o->to.before(o->to.ctx, partition, rev, seen, count);
}

/* Forget entries that are observed, or held for too long. */
static void trim(struct store *s, struct observed_partition *op)
{
	uint64_t observed = atomic_load(&op->observed);
	uint64_t now_ns = clock_mono_ns(s->o.clock);
	uint32_t n = 0;

	while (n < op->entry_count &&
	       (op->entries[n].rev <= observed ||
		now_ns - op->entries[n].since_ns >= HOLD_NS))
		n++;
	if (n == 0)
		return;
	op->entry_count -= n;
	memmove(op->entries, op->entries + n,
		op->entry_count * sizeof(*op->entries));
}

/* Without memory for it the entry is not held: it would not be for long. */
static void hold_entry(struct store *s, struct observed_partition *op,
		       uint64_t rev)
{
	if (op->entry_count == op->entry_cap) {
		uint32_t cap = op->entry_cap ? 2 * op->entry_cap : 64;
		void *entries =
			realloc(op->entries, cap * sizeof(*op->entries));

		if (!entries)
			return;
		op->entries = entries;
		op->entry_cap = cap;
	}
	op->entries[op->entry_count++] = (struct held_entry){
		.rev = rev,
		.since_ns = clock_mono_ns(s->o.clock),
	};
}

static void tell_after(struct store *s, uint32_t partition, uint64_t rev)
{
	struct observing *o = s->observing;
	uint32_t count;
	const struct store_seen *seen = seen_list(o, &count);

	if (count == 0 || !o->to.after ||
	    !o->to.after(o->to.ctx, partition, rev, seen, count))
		return;
	trim(s, &o->partitions[partition]);
	hold_entry(s, &o->partitions[partition], rev);
}

static void on_before(void *ctx, const struct record *r, uint32_t number,
		      uint32_t count)
{
	struct store *s = ctx;
	struct observing *o = s->observing;

	if (number == 0)
		begin_seen(o, count);
	if (!o->lost && describe(s, r, &o->seen[o->seen_count]))
		o->seen_count++;
	if (number == count - 1)
		tell_before(o, r->partition, r->index);
}

static void on_after(void *ctx, uint16_t partition, uint64_t index)
{
	struct store *s = ctx;

	tell_after(s, partition, index);
}

void observer_join(struct store *s, struct engine_settler *to)
{
	if (!s->observing->on)
		return;
	to->before = on_before;
	to->after = on_after;
}

void observer_before_reset(struct store *s, struct partition *p, uint64_t index)
{
	struct observing *o = s->observing;

	o->lost = true;
	tell_before(o, p->id, index);
}

void observer_after_reset(struct store *s, struct partition *p, uint64_t index)
{
	s->observing->lost = true;
	tell_after(s, p->id, index);
}

/* ---------------------------------------------------------- held answers -- */

/* Is an entry that q made among those to be held? */
static bool must_hold(const struct observed_partition *op,
		      const struct store_queued *q)
{
	uint64_t entries = q->entries > 0 ? q->entries : 1;
	uint32_t low = 0, high = op->entry_count;

	while (low < high) { /* the first above q's */
		uint32_t mid = low + (high - low) / 2;

		if (op->entries[mid].rev > q->index)
			high = mid;
		else
			low = mid + 1;
	}
	return low > 0 && op->entries[low - 1].rev + entries > q->index;
}

static bool may_hold(const struct store_queued *q)
{
	return q->kind == REQUEST_WRITE ||
	       (q->kind == REQUEST_FILE && file_of(q)->may_hold);
}

bool observer_holds(struct store *s, struct store_queued *q)
{
	struct observing *o = s->observing;
	struct observed_partition *op = &o->partitions[q->partition];

	if (op->entry_count == 0 || !may_hold(q) || q->no_forward)
		return false;
	trim(s, op);
	if (!must_hold(op, q))
		return false;
	list_add(&op->held, q);
	o->held_count++;
	atomic_store(&o->holding, true);
	return true;
}

static void complete_passed(struct store *s, struct observed_partition *op)
{
	struct request_list all = op->held;
	struct store_queued *q;

	if (!all.head)
		return;
	list_init(&op->held);
	while ((q = list_take(&all))) {
		if (must_hold(op, q)) {
			list_add(&op->held, q);
			continue;
		}
		s->observing->held_count--;
		request_complete(s, q, OK);
	}
}

void observer_round(struct store *s)
{
	struct observing *o = s->observing;

	o->calls_seen = atomic_load(&o->calls);
	for (uint32_t i = 0; i < s->partition_count; i++) {
		struct observed_partition *op = &o->partitions[i];

		if (op->entry_count > 0)
			trim(s, op);
		complete_passed(s, op);
	}
	atomic_store(&o->holding, o->held_count > 0);
}

uint64_t observer_wait_ms(struct store *s)
{
	struct observing *o = s->observing;
	uint64_t now_ns = clock_mono_ns(s->o.clock), oldest_ns = now_ns;

	if (o->held_count == 0)
		return UINT64_MAX;
	for (uint32_t i = 0; i < s->partition_count; i++) {
		const struct observed_partition *op = &o->partitions[i];

		if (op->held.head && op->entry_count > 0 &&
		    op->entries[0].since_ns < oldest_ns)
			oldest_ns = op->entries[0].since_ns;
	}
	if (now_ns - oldest_ns >= HOLD_NS)
		return 0;
	return (HOLD_NS - (now_ns - oldest_ns)) / 1000000 + 1;
}

bool observer_is_due(struct store *s)
{
	struct observing *o = s->observing;

	return o->held_count > 0 && atomic_load(&o->calls) != o->calls_seen;
}

void observer_stop(struct store *s)
{
	struct observing *o = s->observing;

	for (uint32_t i = 0; o && i < s->partition_count; i++) {
		o->partitions[i].entry_count = 0;
		complete_passed(s, &o->partitions[i]);
	}
}

void store_observed(struct store *s, uint32_t partition, uint64_t rev)
{
	struct observing *o = s->observing;
	_Atomic uint64_t *observed = &o->partitions[partition].observed;
	uint64_t now = atomic_load(observed);

	while (now < rev && !atomic_compare_exchange_weak(observed, &now, rev))
		;
	atomic_fetch_add(&o->calls, 1);
	if (atomic_load(&o->holding))
		queue_wake(s);
}
