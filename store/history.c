/*
 * store/history.c - the bytes of past changes.
 *
 * One ring of bytes whose offsets only ever grow; it holds [head, tail), in
 * blocks that come and go: what is over the wanted size goes once it is ten
 * minutes old, or when HISTORY_TIMES_MAX times that size is full. An event
 * lies in one block, and each block begins with one; what is left at a block's
 * end is a gap. One block is always in reserve, so that a change can be told
 * without any memory to be had: at the price of the oldest ones.
 */
#include <stdlib.h>

#include "base/check.h"
#include "store/watch_hub.h"

enum { HISTORY_TIMES_MAX = 4 };

static const uint64_t history_ns_min = 600 * 1000000000ull;

enum err history_init(struct watch_hub *hub)
{
	hub->wanted_bytes = hub->s->o.watch_history_bytes;
	hub->block_count =
		hub->wanted_bytes / BLOCK_BYTES * HISTORY_TIMES_MAX + 2;
	hub->blocks = calloc(hub->block_count, sizeof(*hub->blocks));
	hub->spare = malloc(BLOCK_BYTES);
	if (hub->blocks && hub->spare)
		return OK;
	history_done(hub);
	return ERR_NOMEM;
}

void history_done(struct watch_hub *hub)
{
	for (uint64_t i = 0; hub->blocks && i < hub->block_count; i++)
		free(hub->blocks[i].p);
	free(hub->blocks);
	free(hub->spare);
	hub->blocks = NULL;
	hub->spare = NULL;
}

static struct block *block_of(struct watch_hub *hub, uint64_t off)
{
	return &hub->blocks[off / BLOCK_BYTES % hub->block_count];
}

struct event_head *history_at(struct watch_hub *hub, uint64_t off)
{
	return (struct event_head *)(block_of(hub, off)->p + off % BLOCK_BYTES);
}

uint64_t history_normal(struct watch_hub *hub, uint64_t off)
{
	uint64_t rest = BLOCK_BYTES - off % BLOCK_BYTES;

	if (rest < sizeof(struct event_head) ||
	    history_at(hub, off)->bytes == 0)
		return off + rest;
	return off;
}

static void free_block(struct watch_hub *hub, struct block *b)
{
	if (hub->spare)
		free(b->p);
	else
		hub->spare = b->p;
	b->p = NULL;
}

/* Forget one event; there is one. */
static void drop_oldest(struct watch_hub *hub)
{
	uint64_t from = hub->head, off = history_normal(hub, from);

	CHECK(from < hub->tail);
	if (off < hub->tail) {
		struct event_head *h = history_at(hub, off);

		/* an install may have raised it above what is still here */
		if (h->index >= hub->floors[h->partition].index)
			hub->floors[h->partition] =
				(struct position){ h->index, h->number };
		off += h->bytes;
	}
	hub->head = off;
	from -= from % BLOCK_BYTES;
	for (; from + BLOCK_BYTES <= off; from += BLOCK_BYTES)
		free_block(hub, block_of(hub, from));
}

/* A block at the tail. Without memory the oldest one is taken. */
static void add_block(struct watch_hub *hub)
{
	struct block *b = block_of(hub, hub->tail);

	while (hub->tail / BLOCK_BYTES - hub->head / BLOCK_BYTES >=
	       hub->block_count)
		drop_oldest(hub);
	CHECK(!b->p);
	b->p = hub->spare ? hub->spare : malloc(BLOCK_BYTES);
	if (b->p && b->p != hub->spare)
		return;
	while (!hub->spare)
		drop_oldest(hub);
	b->p = hub->spare;
	hub->spare = NULL;
}

uint8_t *history_room(struct watch_hub *hub, uint64_t n)
{
	uint64_t now_ns = clock_mono_ns(hub->s->o.clock);
	uint64_t rest = BLOCK_BYTES - hub->tail % BLOCK_BYTES;

	CHECK(n <= BLOCK_BYTES);
	if (rest < n) {
		if (rest >= sizeof(struct event_head))
			history_at(hub, hub->tail)->bytes = 0;
		hub->tail += rest;
	}
	if (hub->tail % BLOCK_BYTES == 0)
		add_block(hub);
	while (hub->head < hub->tail &&
	       hub->tail + n - hub->head > hub->wanted_bytes &&
	       now_ns - block_of(hub, hub->head)->last_ns > history_ns_min)
		drop_oldest(hub);
	block_of(hub, hub->tail)->last_ns = now_ns;
	return block_of(hub, hub->tail)->p + hub->tail % BLOCK_BYTES;
}

bool history_is_edge(struct watch_hub *hub, uint64_t off)
{
	uint64_t at = off - off % BLOCK_BYTES;

	if (off == hub->tail)
		return true;
	while (at < off) {
		uint64_t event = history_normal(hub, at);

		if (event != at)
			return false;
		at += history_at(hub, at)->bytes;
	}
	return at == off;
}
