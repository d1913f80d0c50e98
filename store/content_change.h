/*
 * store/content_change.h - the records that change bytes of a content.
 *
 * Decided like everything else: nothing is read that is not applied, the
 * records go to the entry that is made, what they make of chunks and extents
 * to the overlay, so that the next decision sees it. Who calls writes the
 * record that names the content in the same entry.
 *
 * Bytes logged for bytes written: a piece that covers all data of its chunk
 * replaces the chunk; any other becomes an extent, so it costs its own bytes.
 * A chunk with more than CONTENT_EXTENTS_FEW extents that hold as many bytes
 * as its record, or with more than CONTENT_EXTENTS_MAX, is written anew with
 * the next piece that goes to it: at most as much again as was written there.
 *
 * Errors: ERR_NOMEM; ERR_PENDING where said. Afterwards the caller takes back
 * what was added. Thread: core.
 */
#ifndef STORE_CONTENT_CHANGE_H
#define STORE_CONTENT_CHANGE_H

#include "store/content.h"
#include "store/store_internal.h"

enum { CONTENT_EXTENTS_FEW = 16, CONTENT_EXTENTS_MAX = 1024 };

struct content_change {
	struct store *s;
	struct partition *p;
	uint64_t index;		/* of the entry that is made                 */
	struct content_ref ref; /* as it is; afterwards as it becomes        */
	uint64_t chunks;	/* that are there; with CONTENT_SPARSE only  */
};

/*
 * data at off, which may lie behind the end: then there is a hole. data is
 * borrowed until the entry is appended. ERR_PENDING: a chunk has gathered too
 * much that is not applied yet.
 */
MUST_CHECK enum err content_write(struct content_change *c, uint64_t off,
				  struct bytes data);

/* off .. off + n, as far as there are bytes, read as zeros; whole chunks go. */
MUST_CHECK enum err content_zero(struct content_change *c, uint64_t off,
				 uint64_t n);

/* The value ends at bytes, above 0: cut off, or with a hole added. */
MUST_CHECK enum err content_resize(struct content_change *c, uint64_t bytes);

/*
 * The entry puts chunks from `first` on that hold n bytes of content id: the
 * overlay is to know of them. For those who put chunks by themselves.
 */
MUST_CHECK enum err content_note_chunks(struct partition *p, uint64_t index,
					uint64_t content_id, uint32_t first,
					uint64_t n);

#endif
