/*
 * engine/marks.h - a sparse index of one log segment: entry -> offset.
 *
 * Not every entry has a mark: of each partition the first in the segment and
 * then one for each MARK_BYTES of its own records, so a segment of 256 MiB has
 * some thousand. The entry wanted lies at the mark with the highest index not
 * above its own, or behind it. An entry that was appended again, out of order,
 * has an exact mark, which says nothing about what lies behind it.
 *
 * Lost memory only costs time: marks are then further apart. Private to
 * engine/. Thread: writer, or the one that loads the segment.
 */
#ifndef ENGINE_MARKS_H
#define ENGINE_MARKS_H

#include <stdbool.h>
#include <stdint.h>

enum {
	MARK_BYTES = 64 << 10,
	MARKS_MAX = 32768, /* in one segment: 512 KiB */
};

struct mark {
	uint64_t index;
	uint32_t place; /* offset / 8 of the entry's first record */
	uint16_t partition;
	bool exact;
};
_Static_assert(sizeof(struct mark) == 16, "memory bound");

struct marks {
	struct mark *list;
	uint32_t count, cap;
};

/* Free the list; m is empty afterwards. */
void marks_done(struct marks *m);

/* The entry (partition, index) lies at off. Beyond MARKS_MAX it is dropped. */
void marks_add(struct marks *m, uint16_t partition, uint64_t index,
	       uint64_t off, bool exact);

/* Where to begin to look for the entry. False: no mark is of use. */
bool marks_find(const struct marks *m, uint16_t partition, uint64_t index,
		uint64_t *off);

#endif
