/*
 * engine/marks.c - a sparse index of one log segment.
 */
#include "engine/marks.h"

#include <stdlib.h>

void marks_done(struct marks *m)
{
	free(m->list);
	*m = (struct marks){ 0 };
}

void marks_add(struct marks *m, uint16_t partition, uint64_t index,
	       uint64_t off, bool exact)
{
	if (m->count == m->cap) {
		uint32_t cap = m->cap ? m->cap * 2 : 64;
		struct mark *list;

		if (cap > MARKS_MAX)
			return;
		list = realloc(m->list, cap * sizeof(*list));
		if (!list)
			return;
		m->list = list;
		m->cap = cap;
	}
	m->list[m->count++] = (struct mark){ .index = index,
					     .place = (uint32_t)(off / 8),
					     .partition = partition,
					     .exact = exact };
}

bool marks_find(const struct marks *m, uint16_t partition, uint64_t index,
		uint64_t *off)
{
	const struct mark *best = NULL;

	for (uint32_t i = m->count; i > 0; i--) {
		const struct mark *k = &m->list[i - 1];

		if (k->partition != partition || k->index > index ||
		    (k->exact && k->index != index))
			continue;
		if (!best || k->index > best->index)
			best = k;
	}
	if (best)
		*off = (uint64_t)best->place * 8;
	return best;
}
