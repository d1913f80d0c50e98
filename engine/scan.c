/*
 * engine/scan.c - one pass over a log segment that has no hint.
 */
#include "engine/scan.h"

#include <stdlib.h>

#include "base/check.h"
#include "engine/frame.h"
#include "engine/walk.h"

/* Room for one more of size bytes each; *items may move. */
static enum err reserve_item(void **items, uint32_t count, uint32_t *cap,
			     size_t size)
{
	uint32_t n = *cap ? *cap * 2 : 16;
	void *p;

	if (count < *cap)
		return OK;
	p = realloc(*items, n * size);
	if (!p)
		return ERR_NOMEM;
	*items = p;
	*cap = n;
	return OK;
}

static enum err add_event(struct scan *s, enum scan_event_kind kind,
			  uint64_t off, uint64_t bytes, uint64_t sequence)
{
	void *events = s->events;
	enum err err = reserve_item(&events, s->event_count, &s->event_cap,
				    sizeof(*s->events));

	s->events = events;
	if (err)
		return err;
	CHECK(s->events);
	s->events[s->event_count++] =
		(struct scan_event){ kind, off, bytes, sequence, sequence };
	return OK;
}

static enum err see_frame(struct scan *s, const struct walk_item *it)
{
	const struct frame *f = &it->frame;
	struct scan_event *last =
		s->event_count ? &s->events[s->event_count - 1] : NULL;

	if (!s->first_sequence)
		s->first_sequence = f->sequence;
	s->last_sequence = f->sequence;
	s->end_off = it->off + it->bytes;
	if (f->synced_sequence > s->claim)
		s->claim = f->synced_sequence;
	if (f->record_count) {
		s->last_record_sequence = f->sequence;
		s->mark_count = 0;
	}
	if (s->mark_count < SCAN_MARKS_MAX)
		s->marks[s->mark_count] =
			(struct scan_mark){ f->sequence, s->end_off };
	s->mark_count++;
	if (last && last->kind == SCAN_RUN && last->last + 1 == f->sequence) {
		last->last = f->sequence;
		last->bytes = s->end_off - last->off;
		return OK;
	}
	return add_event(s, SCAN_RUN, it->off, it->bytes, f->sequence);
}

static enum err see_entry(struct engine *e, struct scan *s,
			  const struct walk_item *it)
{
	const struct record *r = &it->record;
	uint64_t reset = e->manifest.partitions[r->partition].reset_sequence;
	bool settled = it->frame.flags & FRAME_SETTLED;
	struct scan_span *last = NULL;
	void *spans = s->spans;
	enum err err;

	for (uint32_t i = s->span_count; i > 0 && i + 8 > s->span_count; i--)
		if (s->spans[i - 1].partition == r->partition) {
			last = &s->spans[i - 1];
			break;
		}
	if (last && last->last + 1 == r->index && last->term == r->term &&
	    last->settled == settled &&
	    (last->sequence >= reset || it->frame.sequence < reset)) {
		last->last = r->index;
		last->sequence = it->frame.sequence;
		return OK;
	}
	err = reserve_item(&spans, s->span_count, &s->span_cap,
			   sizeof(*s->spans));
	s->spans = spans;
	if (!err)
		s->spans[s->span_count++] =
			(struct scan_span){ r->partition, settled,
					    r->index,	  r->index,
					    r->term,	  it->frame.sequence };
	return err;
}

static enum err see_record(struct engine *e, struct scan *s,
			   const struct walk_item *it)
{
	const struct record *r = &it->record;
	bool bad = it->state == RECORD_BAD_VALUE;

	if (r->partition >= e->o.partitions)
		return add_event(s, SCAN_BAD, it->off, it->bytes,
				 it->frame.sequence);
	if (r->type == RECORD_HARD_STATE) {
		struct scan_state *st = &s->states[r->partition];

		st->found = true;
		st->damaged = bad || r->value.n < 24;
		if (!st->damaged)
			st->hs = (struct engine_hard_state){
				get_u64(r->value.p), get_u64(r->value.p + 8),
				get_u64(r->value.p + 16)
			};
	} else if (r->position == 0) {
		enum err err = see_entry(e, s, it);

		if (err)
			return err;
	}
	if (!bad)
		return OK;
	return add_event(s, SCAN_VALUE, it->off, it->bytes, it->frame.sequence);
}

/* Is what lies at end_off the beginning of the frame that was to follow? */
static bool is_torn_header(struct datafile *df, const struct scan *s)
{
	uint8_t h[FRAME_HEADER_BYTES];

	if (datafile_read(df, s->end_off, sizeof(h), h))
		return false;
	return get_u32(h + 4) == FRAME_MAGIC && s->last_sequence &&
	       get_u64(h + 8) == s->last_sequence + 1 &&
	       get_u64(h + 24) == s->end_off;
}

static enum err see_item(struct engine *e, struct scan *s,
			 const struct walk_item *it)
{
	switch (it->kind) {
	case WALK_FRAME:
		return see_frame(s, it);
	case WALK_RECORD:
		return see_record(e, s, it);
	case WALK_DAMAGE:
		return add_event(s, it->frame.sequence ? SCAN_BAD : SCAN_GAP,
				 it->off, it->bytes, it->frame.sequence);
	case WALK_END:
		break;
	}
	return OK;
}

/* True at the first thing that does not belong to the frames up to limit. */
static bool past_limit(const struct scan *s, const struct walk_item *it,
		       uint64_t limit)
{
	switch (it->kind) {
	case WALK_FRAME:
		return it->frame.sequence > limit;
	case WALK_RECORD:
		return false;
	case WALK_DAMAGE:
		return !it->frame.sequence && s->last_sequence >= limit;
	case WALK_END:
		break;
	}
	return true;
}

void scan_segment(struct engine *e, struct datafile *df, uint64_t limit,
		  struct scan *s)
{
	struct walk_item it;
	struct walk *w;
	enum err err;

	*s = (struct scan){ .end_off = FILE_HEADER_BYTES };
	s->states = calloc(e->o.partitions, sizeof(*s->states));
	err = s->states ? walk_new(df, 0, &w) : ERR_NOMEM;
	if (err) {
		s->err = err;
		return;
	}
	do {
		err = walk_next(w, &it);
		if (!err && past_limit(s, &it, limit))
			break;
		if (!err)
			err = see_item(e, s, &it);
	} while (!err);
	walk_free(w);
	/* What cannot be read is no proof that nothing was there. */
	if (!err && limit == UINT64_MAX &&
	    atomic_load(&df->unreadable_off) >= s->end_off)
		err = add_event(s, SCAN_BAD, atomic_load(&df->unreadable_off),
				FILE_HEADER_BYTES, 0);
	if (!err && limit == UINT64_MAX)
		s->torn_header = is_torn_header(df, s);
	s->err = err;
}

void scan_done(struct scan *s)
{
	free(s->events);
	free(s->spans);
	free(s->states);
	*s = (struct scan){ 0 };
}

uint64_t scan_first_sequence(struct datafile *df)
{
	uint8_t h[FRAME_HEADER_BYTES];
	struct frame f;

	if (datafile_read(df, FILE_HEADER_BYTES, sizeof(h), h))
		return 0;
	if (!frame_decode(h, df->seed, FILE_HEADER_BYTES, df->bytes, &f))
		return 0;
	return f.sequence;
}
