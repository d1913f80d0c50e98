/*
 * store/queue.c - how requests of any thread reach the core thread.
 *
 * A stack that producers push with one compare-and-swap and the core takes
 * whole with one exchange, then turns round: the batch of a group commit comes
 * over in one step, and no lock is ever held across it. A producer wakes the
 * core only when the core said that it may sleep; the store to `asleep` and
 * the look at the queue (core) and the push and the look at `asleep`
 * (producer) are sequentially consistent, so one of the two sees the other.
 */
#include "base/check.h"
#include "store/store_internal.h"

void list_init(struct request_list *l)
{
	l->head = NULL;
	l->tail = &l->head;
}

void list_add(struct request_list *l, struct store_queued *q)
{
	q->next = NULL;
	*l->tail = q;
	l->tail = &q->next;
}

struct store_queued *list_take(struct request_list *l)
{
	struct store_queued *q = l->head;

	if (!q)
		return NULL;
	l->head = q->next;
	if (!l->head)
		l->tail = &l->head;
	q->next = NULL;
	return q;
}

void queue_wake(struct store *s)
{
	if (atomic_load(&s->asleep) && atomic_exchange(&s->asleep, false) &&
	    s->o.wake)
		s->o.wake(s->o.wake_ctx);
}

void queue_wake_for(struct store *s, bool gather)
{
	if (gather)
		atomic_store(&s->go_wanted, true);
	else
		queue_wake(s);
}

void store_go(struct store *s)
{
	if (atomic_load(&s->go_wanted) &&
	    atomic_exchange(&s->go_wanted, false) && !queue_is_empty(s))
		queue_wake(s);
}

/* What may wait while another batch of its partition is under way. */
static bool is_small(const struct store_queued *q, enum request_kind kind)
{
	return kind == REQUEST_FILE ||
	       (kind == REQUEST_WRITE && !write_of(q)->delete_prefix);
}

enum err queue_push(struct store *s, struct store_queued *q,
		    enum request_kind kind)
{
	struct partition *partition;
	struct store_queued *head;
	bool small, gather;

	if (atomic_load_explicit(&s->closing, memory_order_relaxed))
		return ERR_CLOSED;
	if (!atomic_load_explicit(&s->started, memory_order_acquire))
		return ERR_STARTING;
	if (atomic_fetch_add(&s->queue_count, 1) >= STORE_QUEUE_MAX &&
	    kind != REQUEST_STAGE && kind != REQUEST_ABANDON) {
		atomic_fetch_sub(&s->queue_count, 1);
		return ERR_FULL;
	}
	q->kind = (uint8_t)kind;
	q->no_forward = false;
	q->since_ns = clock_mono_ns(s->o.clock);
	/* Once it is in the queue it may be over, and gone. */
	small = is_small(q, kind);
	gather = kind == REQUEST_WRITE && write_of(q)->gather;
	partition = &s->partitions[q->partition];
	head = atomic_load_explicit(&s->queue, memory_order_relaxed);
	do
		q->next = head;
	while (!atomic_compare_exchange_weak(&s->queue, &head, q));
	if (!small || !atomic_load(&partition->gathering))
		queue_wake_for(s, gather);
	return OK;
}

void queue_take(struct store *s, struct request_list *l)
{
	struct store_queued *q = atomic_exchange(&s->queue, NULL);
	struct store_queued *oldest = NULL;
	uint64_t count = 0;

	while (q) {
		struct store_queued *next = q->next;

		q->next = oldest;
		oldest = q;
		q = next;
		count++;
	}
	while (oldest) {
		struct store_queued *next = oldest->next;

		list_add(l, oldest);
		oldest = next;
	}
	CHECK(atomic_load(&s->queue_count) >= count);
}

bool queue_is_empty(struct store *s)
{
	return atomic_load(&s->queue) == NULL &&
	       atomic_load(&s->barriers) == NULL;
}
