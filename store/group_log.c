/*
 * store/group_log.c - the log as raft sees it, and entries kept for sending.
 *
 * THE CACHE. An entry that a leader appends is encoded once, into a ring of
 * bytes that all partitions share, and copied from there into the message of
 * each peer. The ring overwrites its oldest; a slot knows by its offset, which
 * only grows, whether its bytes are still there. Each partition finds its
 * newest entries in a table of slots by index. What is not in the ring any
 * more, for a peer that lags, is read back from the log. A group without other
 * members keeps nothing.
 */
#include <stdlib.h>

#include "base/check.h"
#include "store/group_internal.h"
#include "store/state.h"

enum {
	CACHE_BYTES = 32 << 20,
	CACHE_SLOTS = 1024, /* of a partition; a power of two */
};

/* ----------------------------------------------------------------- view -- */

static enum err view_term(void *ctx, uint64_t index, uint64_t *term)
{
	const struct partition *p = ctx;

	return engine_term_at(p->s->engine, p->id, index, term);
}

static uint32_t view_fit(void *ctx, uint64_t from, uint64_t to,
			 uint64_t bytes_max, uint64_t *bytes)
{
	const struct partition *p = ctx;

	to = repair_readable_to(p->s, p, from, to);
	return engine_log_fit(p->s->engine, p->id, from, to, bytes_max, bytes);
}

/*
 * Also true for some entries that are none: who has entries to apply among
 * which there may be a change only applies them before it stands for election.
 */
static bool view_has_change(void *ctx, uint64_t from, uint64_t to)
{
	const struct partition *p = ctx;

	(void)to;
	return from <= p->changes_to;
}

static enum err view_snapshot(void *ctx, struct raft_snapshot *snapshot)
{
	struct partition *p = ctx;

	return state_offer(p->s, p, snapshot);
}

struct raft_log_view group_log_view(struct partition *p)
{
	return (struct raft_log_view){ .ctx = p,
				       .term = view_term,
				       .fit = view_fit,
				       .has_change = view_has_change,
				       .snapshot = view_snapshot };
}

/* ---------------------------------------------------------------- cache -- */

static struct cache_slot *slot_of(struct partition *p, uint64_t index)
{
	return &p->cache[index & (CACHE_SLOTS - 1)];
}

/* Room for n bytes in one piece, or NULL. */
static uint8_t *ring_room(struct entry_cache *c, size_t n, uint64_t *at)
{
	uint64_t rest;

	if (n > CACHE_BYTES / 4)
		return NULL;
	if (!c->ring)
		c->ring = malloc(CACHE_BYTES);
	if (!c->ring)
		return NULL;
	rest = CACHE_BYTES - c->tail % CACHE_BYTES;
	if (rest < n)
		c->tail += rest;
	*at = c->tail;
	c->tail += n;
	return c->ring + *at % CACHE_BYTES;
}

void cache_put(struct store *s, struct partition *p,
	       const struct engine_entry *entry)
{
	struct entry_cache *c = &s->groups->cache;
	struct cache_slot *slot;
	uint8_t *room;

	if (!p->cache && group_has_others(p))
		p->cache = calloc(CACHE_SLOTS, sizeof(*p->cache));
	if (!p->cache)
		return;
	slot = slot_of(p, entry->index);
	slot->index = 0; /* whatever stood there is no longer in the log */
	if (!p->office_index || !group_has_others(p))
		return;
	c->entry.n = 0;
	if (wire_entry_encode(&c->entry, entry))
		return;
	room = ring_room(c, c->entry.n, &slot->at);
	if (!room)
		return;
	memcpy(room, c->entry.p, c->entry.n);
	slot->bytes = (uint32_t)c->entry.n;
	slot->index = entry->index;
}

void cache_forget(struct partition *p)
{
	free(p->cache);
	p->cache = NULL;
}

enum err cache_encode(struct store *s, struct partition *p, uint64_t index,
		      struct buf *b)
{
	const struct entry_cache *c = &s->groups->cache;
	struct engine_log_entry *le = &s->groups->log_entry;
	const struct cache_slot *slot;
	enum err err;

	slot = p->cache ? slot_of(p, index) : NULL;
	if (slot && slot->index == index && slot->at + CACHE_BYTES >= c->tail)
		return buf_add(b, c->ring + slot->at % CACHE_BYTES,
			       slot->bytes);
	err = engine_log_read(s->engine, p->id, index, le);
	return err ? err : wire_entry_encode(b, &le->entry);
}
