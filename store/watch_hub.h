/*
 * store/watch_hub.h - the history of changes, and the watches on it: what
 * watch.c and history.c share. Everything here is guarded by hub->lock.
 */
#ifndef STORE_WATCH_HUB_H
#define STORE_WATCH_HUB_H

#include <pthread.h>

#include "store/store_internal.h"

enum {
	BUCKETS = 4096,
	BLOCK_BYTES = 256 << 10,
};

_Static_assert(BLOCK_BYTES > STORE_EVENT_VALUE_BYTES_MAX + (8 << 10),
	       "a block holds the largest event");

struct block {
	uint8_t *p;
	uint64_t last_ns; /* when its newest event came */
};

struct position {
	uint64_t index;
	uint32_t number;
};

/* An event in the ring; then key and value; padded to 8. bytes 0: a gap. */
struct event_head {
	uint32_t bytes; /* with head and padding */
	uint8_t kind;
	uint8_t has_value;
	uint16_t partition;
	uint32_t key_bytes, number;
	uint64_t index;
	uint64_t value_bytes; /* of the value, kept here or not */
};

struct watch_list {
	struct store_watch *first;
};

struct watch_hub {
	struct store *s;
	pthread_mutex_t lock;
	pthread_cond_t notified;
	struct block *blocks; /* used in turns */
	uint8_t *spare;
	uint64_t block_count, wanted_bytes, head, tail;
	uint32_t partitions;
	uint64_t instance;
	struct position *floors, *lasts; /* one for each partition */
	struct watch_list exact[BUCKETS], prefix;
	uint32_t count;
	uint32_t holders; /* watches, and the store while it lives */
	bool closed;
	struct store_watch *due; /* to be notified */
	pthread_t notifier;
	struct store_watch *notifying;
};

struct store_watch {
	struct watch_hub *hub;
	struct store_watch *next, **link; /* in its list */
	struct store_watch *due_next;
	bool is_due, exact, idle, cut;
	bool lost; /* a state was installed over what it had seen */
	uint32_t bucket;
	uint64_t at;	       /* place in the ring, when not idle */
	uint64_t counted_from; /* changes from here on count as piled up */
	uint64_t piled_bytes;
	void (*notify)(void *user);
	void *user;
	struct position *after; /* one for each partition */
	struct buf event;	/* key and value last given out */
	struct bytes prefix;	/* in room */
	uint8_t room[];
};

/* ERR_NOMEM: nothing is held. hub->s is set. */
MUST_CHECK enum err history_init(struct watch_hub *hub);
void history_done(struct watch_hub *hub);

/* The event at off, which history_normal answered and is below the tail. */
struct event_head *history_at(struct watch_hub *hub, uint64_t off);

/* Skip the gap at a block's end, if off (below the tail) points at one. */
uint64_t history_normal(struct watch_hub *hub, uint64_t off);

/*
 * Room for n bytes in one piece at the tail, which moves past any gap. Forgets
 * what is too old or too much and raises the floors. The caller adds n to the
 * tail.
 */
uint8_t *history_room(struct watch_hub *hub, uint64_t n);

/* Whether an event, a gap or the tail begins at off, within [head, tail]. */
bool history_is_edge(struct watch_hub *hub, uint64_t off);

#endif
