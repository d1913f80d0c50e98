/*
 * engine/expiry.h - which key of a partition expires next.
 *
 * A heap by time. It is told of every record with an expiry and never of
 * changes: the caller skips what no longer has that version. Thread: writer.
 */
#ifndef ENGINE_EXPIRY_H
#define ENGINE_EXPIRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

struct expiry_item {
	uint64_t expiry_ns, version;
	uint32_t key_bytes;
	uint8_t key[];
};

struct expiry {
	struct expiry_item **heap;
	uint64_t count, cap;
};

/* Free all items; x is empty afterwards. */
void expiry_done(struct expiry *x);

/* ERR_NOMEM: not added. */
MUST_CHECK enum err expiry_add(struct expiry *x, struct bytes key,
			       uint64_t version, uint64_t expiry_ns);

/* The item that is due first, or NULL. Valid until the next change. */
const struct expiry_item *expiry_first(const struct expiry *x);

/* Drop the first; there is one. */
void expiry_pop(struct expiry *x);

/*
 * Drop every item for which fn says false: those of versions that are gone,
 * when a key that is written often has left many of them behind.
 */
void expiry_sweep(struct expiry *x,
		  bool (*fn)(void *ctx, const struct expiry_item *item),
		  void *ctx);

/*
 * Call fn for items due at or before now_ns, in no order, until it answers
 * false or there are no more. fn must not change *x.
 */
void expiry_due(const struct expiry *x, uint64_t now_ns,
		bool (*fn)(void *ctx, const struct expiry_item *item),
		void *ctx);

#endif
