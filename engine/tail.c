/*
 * engine/tail.c - terms of the log, locations of what is not settled.
 */
#include "engine/tail.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

void terms_reset(struct terms *t, uint64_t floor, uint64_t floor_term)
{
	t->count = 0;
	t->floor = floor;
	t->floor_term = floor_term;
	t->last_index = floor;
}

enum err terms_copy(const struct terms *t, struct terms *copy)
{
	struct terms c = *t;

	c.cap = c.count;
	c.steps = NULL;
	if (c.count > 0) {
		c.steps = malloc(c.count * sizeof(*c.steps));
		if (!c.steps)
			return ERR_NOMEM;
		memcpy(c.steps, t->steps, c.count * sizeof(*c.steps));
	}
	*copy = c;
	return OK;
}

void terms_done(struct terms *t)
{
	free(t->steps);
	*t = (struct terms){ 0 };
}

/* The step that holds index, or -1 when index lies before the first. */
static int64_t find_step(const struct terms *t, uint64_t index)
{
	int64_t lo = 0, hi = t->count;

	while (lo < hi) {
		int64_t mid = (lo + hi) / 2;

		if (t->steps[mid].first_index <= index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo - 1;
}

uint64_t terms_at(const struct terms *t, uint64_t index)
{
	int64_t i;

	if (index > t->last_index)
		return 0;
	if (index == t->floor)
		return t->floor_term;
	i = find_step(t, index);
	return i < 0 ? 0 : t->steps[i].term;
}

/* Room for n more steps. */
static enum err reserve_steps(struct terms *t, uint32_t n)
{
	uint32_t cap = t->cap ? t->cap * 2 : 8;
	struct term_step *steps;

	if (t->count + n <= t->cap)
		return OK;
	steps = realloc(t->steps, cap * sizeof(*steps));
	if (!steps)
		return ERR_NOMEM;
	t->steps = steps;
	t->cap = cap;
	return OK;
}

/* The last index of step i. */
static uint64_t step_end(const struct terms *t, int64_t i)
{
	return i + 1 < (int64_t)t->count ? t->steps[i + 1].first_index - 1
					 : t->last_index;
}

static void insert_step(struct terms *t, int64_t at, uint64_t first,
			uint64_t term)
{
	memmove(&t->steps[at + 1], &t->steps[at],
		(size_t)(t->count - at) * sizeof(*t->steps));
	t->steps[at] = (struct term_step){ first, term };
	t->count++;
}

/* Steps i and i + 1 become one if they are of one term. */
static void join_step(struct terms *t, int64_t i)
{
	if (i < 0 || i + 1 >= (int64_t)t->count ||
	    t->steps[i].term != t->steps[i + 1].term)
		return;
	memmove(&t->steps[i + 1], &t->steps[i + 2],
		(size_t)(t->count - i - 2) * sizeof(*t->steps));
	t->count--;
}

/* first..last lie within step i, whose term is unknown. Two steps of room. */
static void fill_gap(struct terms *t, int64_t i, uint64_t first, uint64_t last,
		     uint64_t term)
{
	if (last < step_end(t, i))
		insert_step(t, i + 1, last + 1, 0);
	if (t->steps[i].first_index < first)
		insert_step(t, ++i, first, term);
	else
		t->steps[i].term = term;
	join_step(t, i);
	join_step(t, i - 1);
}

/* Over what stands of first..last; true: the log ends at *first. */
static bool meet_standing(struct terms *t, uint64_t *first, uint64_t last,
			  uint64_t term, bool again)
{
	while (*first <= last && *first <= t->last_index) {
		int64_t i = find_step(t, *first);
		uint64_t end = step_end(t, i);

		CHECK(i >= 0);
		if (end > last)
			end = last;
		if (t->steps[i].term == 0 && again)
			fill_gap(t, i, *first, end, term);
		else if (t->steps[i].term != term)
			return true;
		*first = end + 1;
	}
	return false;
}

static void add_step(struct terms *t, uint64_t first, uint64_t last,
		     uint64_t term)
{
	CHECK(first == t->last_index + 1);
	if (t->count == 0 || t->steps[t->count - 1].term != term)
		t->steps[t->count++] = (struct term_step){ first, term };
	t->last_index = last;
}

void terms_cut(struct terms *t, uint64_t first)
{
	CHECK(first > t->floor);
	t->last_index = first - 1;
	while (t->count && t->steps[t->count - 1].first_index >= first)
		t->count--;
}

enum err terms_add(struct terms *t, uint64_t first, uint64_t last,
		   uint64_t term, bool again, uint64_t *cut)
{
	/* A gap and a step behind it; or each gap met becomes two or three. */
	enum err err = reserve_steps(t, 4);

	CHECK(first <= last);
	if (term == 0)
		return ERR_CORRUPT;
	if (err)
		return err;
	*cut = 0;
	if (first <= t->floor)
		first = t->floor + 1;
	if (first > last)
		return OK;
	if (first > t->last_index + 1)
		add_step(t, t->last_index + 1, first - 1, 0);
	if (meet_standing(t, &first, last, term, again)) {
		*cut = first;
		terms_cut(t, first);
	}
	if (first <= last)
		add_step(t, first, last, term);
	return OK;
}

bool terms_live(const struct terms *t, uint64_t index, uint64_t term)
{
	if (index <= t->floor)
		return true;
	return index <= t->last_index && terms_at(t, index) == term;
}

bool terms_live_range(const struct terms *t, uint64_t first, uint64_t last,
		      uint64_t term)
{
	int64_t i;

	if (last <= t->floor)
		return true;
	if (first <= t->floor)
		first = t->floor + 1;
	i = find_step(t, first);
	if (last > t->last_index || i < 0 || t->steps[i].term != term)
		return false;
	return i + 1 == (int64_t)t->count || t->steps[i + 1].first_index > last;
}

void tail_done(struct tail *t)
{
	free(t->ring);
	*t = (struct tail){ 0 };
}

static enum err grow(struct tail *t)
{
	uint64_t cap = t->cap ? t->cap * 2 : 64;
	struct tail_entry *ring = malloc(cap * sizeof(*ring));

	if (!ring)
		return ERR_NOMEM;
	for (uint64_t i = t->first_index; i < t->first_index + t->count; i++)
		ring[i & (cap - 1)] = t->ring[i & (t->cap - 1)];
	free(t->ring);
	t->ring = ring;
	t->cap = cap;
	return OK;
}

enum err tail_reserve(struct tail *t, uint64_t settled, uint64_t keep)
{
	if (t->count < t->cap)
		return OK;
	if (t->count && t->cap >= keep && t->first_index <= settled) {
		t->first_index++;
		t->count--;
		return OK;
	}
	return grow(t);
}

enum err tail_gap(struct tail *t, uint64_t first, uint64_t last)
{
	uint64_t cap = 64;

	CHECK(t->count == 0);
	while (cap < last - first + 1)
		cap *= 2;
	free(t->ring);
	t->cap = 0;
	t->ring = calloc(cap, sizeof(*t->ring));
	if (!t->ring)
		return ERR_NOMEM;
	t->cap = cap;
	t->first_index = first;
	t->count = last - first + 1;
	return OK;
}

void tail_set(struct tail *t, uint64_t index, const struct tail_entry *e)
{
	if (t->count == 0)
		t->first_index = index;
	CHECK(index >= t->first_index);
	CHECK(index <= t->first_index + t->count);
	if (index == t->first_index + t->count) {
		CHECK(t->count < t->cap);
		t->count++;
	}
	t->ring[index & (t->cap - 1)] = *e;
}

void tail_cut(struct tail *t, uint64_t index)
{
	if (index <= t->first_index)
		t->count = 0;
	else if (index < t->first_index + t->count)
		t->count = index - t->first_index;
}

const struct tail_entry *tail_at(const struct tail *t, uint64_t index)
{
	const struct tail_entry *e;

	if (index < t->first_index || index - t->first_index >= t->count)
		return NULL;
	e = &t->ring[index & (t->cap - 1)];
	return e->records ? e : NULL;
}
