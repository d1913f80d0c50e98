/*
 * base/diary.c - see diary.h.
 */
#include "base/diary.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"

enum { FOLD_LOOK = 4 }; /* entries back: two kinds may come in turns         */

struct diary {
	struct clock *clock;
	pthread_mutex_t lock;
	uint64_t number; /* of the last entry; 0: none yet                   */
	struct diary_entry ring[DIARY_ENTRIES_MAX];
};

enum err diary_new(struct clock *clock, struct diary **out)
{
	struct diary *d = calloc(1, sizeof(*d));

	if (!d)
		return ERR_NOMEM;
	d->clock = clock;
	pthread_mutex_init(&d->lock, NULL);
	*out = d;
	return OK;
}

void diary_free(struct diary *d)
{
	if (!d)
		return;
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static struct diary_entry *entry_at(struct diary *d, uint64_t number)
{
	return &d->ring[number % DIARY_ENTRIES_MAX];
}

/* One of the last that says the same of another partition, or NULL. */
static struct diary_entry *find_same(struct diary *d,
				     const struct diary_entry *e)
{
	for (uint64_t i = 0; i < FOLD_LOOK && i < d->number; i++) {
		struct diary_entry *was = entry_at(d, d->number - i);

		if (was->wall_ns + DIARY_FOLD_NS < e->wall_ns ||
		    was->wall_ns > e->wall_ns)
			return NULL;
		if (was->kind == e->kind && was->subject == e->subject &&
		    was->a == e->a && was->b == e->b &&
		    was->partition != DIARY_NO_PARTITION &&
		    was->partition != e->partition)
			return was;
	}
	return NULL;
}

void diary_note(struct diary *d, enum diary_kind kind, uint16_t partition,
		uint64_t subject, uint64_t a, uint64_t b)
{
	struct diary_entry e = { .subject = subject,
				 .a = a,
				 .b = b,
				 .kind = (uint16_t)kind,
				 .partition = partition,
				 .count = 1 };
	struct diary_entry *same = NULL;

	CHECK(kind > 0 && kind < DIARY_KIND_END);
	if (!d)
		return;
	e.wall_ns = clock_wall_ns(d->clock);
	pthread_mutex_lock(&d->lock);
	if (partition != DIARY_NO_PARTITION)
		same = find_same(d, &e);
	if (same) {
		same->count++;
	} else {
		e.number = ++d->number;
		*entry_at(d, e.number) = e;
	}
	pthread_mutex_unlock(&d->lock);
}

uint32_t diary_last(struct diary *d, struct diary_entry *out, uint32_t cap)
{
	uint32_t n = DIARY_ENTRIES_MAX;

	if (!d)
		return 0;
	pthread_mutex_lock(&d->lock);
	if (n > d->number)
		n = (uint32_t)d->number;
	if (n > cap)
		n = cap;
	for (uint32_t i = 0; i < n; i++)
		out[i] = *entry_at(d, d->number - n + 1 + i);
	pthread_mutex_unlock(&d->lock);
	return n;
}
