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

static enum err reserve_step(struct terms *t)
{
	uint32_t cap = t->cap ? t->cap * 2 : 8;
	struct term_step *steps;

	if (t->count < t->cap)
		return OK;
	steps = realloc(t->steps, cap * sizeof(*steps));
	if (!steps)
		return ERR_NOMEM;
	t->steps = steps;
	t->cap = cap;
	return OK;
}

/* Skip the part of first..last that stands already; true when cut. */
static bool skip_standing(struct terms *t, uint64_t *first, uint64_t last,
			  uint64_t term)
{
	while (*first <= last && *first <= t->last_index) {
		int64_t i = find_step(t, *first);
		uint64_t end = t->last_index;

		if (i + 1 < (int64_t)t->count)
			end = t->steps[i + 1].first_index - 1;
		if (i >= 0 && t->steps[i].term != term)
			return true;
		*first = (end < last ? end : last) + 1;
	}
	return false;
}

enum err terms_add(struct terms *t, uint64_t first, uint64_t last,
		   uint64_t term, uint64_t *cut)
{
	enum err err = reserve_step(t);

	CHECK(first <= last);
	if (err)
		return err;
	*cut = 0;
	if (first <= t->floor)
		first = t->floor + 1;
	if (first > last)
		return OK;
	if (skip_standing(t, &first, last, term)) {
		*cut = first;
		t->last_index = first - 1;
		while (t->count && t->steps[t->count - 1].first_index >= first)
			t->count--;
	}
	if (first > last)
		return OK;
	CHECK(first > t->last_index);
	if (t->count == 0 || t->steps[t->count - 1].term != term)
		t->steps[t->count++] = (struct term_step){ first, term };
	t->last_index = last;
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
	if (index < t->first_index || index - t->first_index >= t->count)
		return NULL;
	return &t->ring[index & (t->cap - 1)];
}
