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
	bool again = r->flags & RECORD_AGAIN;
	struct scan_span *last = NULL;
	void *spans = s->spans;
	enum err err;

	for (uint32_t i = s->span_count; i > 0 && i + 8 > s->span_count; i--)
		if (s->spans[i - 1].partition == r->partition) {
			last = &s->spans[i - 1];
			break;
		}
	if (last && last->last + 1 == r->index && last->term == r->term &&
	    last->settled == settled && last->again == again &&
	    (last->sequence >= reset || it->frame.sequence < reset)) {
		last->last = r->index;
		last->sequence = it->frame.sequence;
		return OK;
	}
	err = reserve_item(&spans, s->span_count, &s->span_cap,
			   sizeof(*s->spans));
	s->spans = spans;
	if (!err)
		s->spans[s->span_count++] = (struct scan_span){
			r->partition,	   settled,  again,
			r->index,	   r->index, r->term,
			it->frame.sequence
		};
	return err;
}

static bool is_tombstone(uint8_t type)
{
	return type == RECORD_DELETE || type == RECORD_EXPIRE ||
	       type == RECORD_DELETE_PREFIX;
}

/* The others never enter a run. */
bool scan_has_key(const struct record *r)
{
	return r->type == RECORD_PUT || is_tombstone(r->type);
}

enum err scan_add_item(struct run **run, const struct datafile *df,
		       const struct walk_item *it)
{
	const struct record *r = &it->record;
	unsigned flags = record_loc_flags(r);
	struct run_item item = { .key = r->key,
				 .version = version_pack(r->index, r->position),
				 .term = r->term,
				 .expiry_ns = r->expiry_ns,
				 .value_bytes = record_logical_bytes(r),
				 .disk_bytes = (uint32_t)it->bytes,
				 .attr_bytes = (uint16_t)r->attrs.n,
				 .type = r->type };
	enum err err;

	if (it->state == RECORD_BAD_VALUE)
		flags |= LOC_DAMAGED;
	item.loc = loc_pack(df->id, it->off, flags);
	if (!*run) {
		err = run_new(run);
		if (err)
			return err;
	}
	return run_add(*run, &item);
}

void scan_mark_entry(struct datafile *df, struct part_run *part,
		     const struct walk_item *it)
{
	const struct record *r = &it->record;

	part->mark_bytes += it->bytes;
	if (r->position || (part->marked && part->mark_bytes < MARK_BYTES &&
			    !(r->flags & RECORD_AGAIN)))
		return;
	part->marked = true;
	part->mark_bytes = 0;
	marks_add(&df->marks, r->partition, r->index, it->off,
		  r->flags & RECORD_AGAIN);
}

/* Count r in, as if it were alive and committed. */
static enum err see_part(struct scan *s, struct datafile *df,
			 const struct walk_item *it)
{
	const struct record *r = &it->record;
	struct part_run *part = &s->parts[r->partition];

	scan_mark_entry(df, part, it);
	if (r->index >= part->last_index) {
		part->last_index = r->index;
		part->last_stamp_ns = r->stamp_ns;
	}
	return scan_has_key(r) ? scan_add_item(&part->run, df, it) : OK;
}

static enum err see_record(struct engine *e, struct datafile *df,
			   struct scan *s, const struct walk_item *it)
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
	} else if (it->frame.flags & FRAME_HEALED) {
		s->healed = true;
		atomic_store(&df->healed, true);
	} else if (r->position == 0) {
		enum err err = see_entry(e, s, it);

		if (err)
			return err;
	}
	if (r->type != RECORD_HARD_STATE && !(it->frame.flags & FRAME_HEALED)) {
		enum err err = see_part(s, df, it);

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

static enum err see_item(struct engine *e, struct datafile *df, struct scan *s,
			 const struct walk_item *it)
{
	switch (it->kind) {
	case WALK_FRAME:
		return see_frame(s, it);
	case WALK_RECORD:
		return see_record(e, df, s, it);
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
	marks_done(&df->marks);
	s->states = calloc(e->o.partitions, sizeof(*s->states));
	s->parts = calloc(e->o.partitions, sizeof(*s->parts));
	s->partition_count = e->o.partitions;
	err = s->states && s->parts ? walk_new(df, 0, &w) : ERR_NOMEM;
	if (err) {
		s->err = err;
		return;
	}
	do {
		err = walk_next(w, &it);
		if (!err && past_limit(s, &it, limit))
			break;
		if (!err)
			err = see_item(e, df, s, &it);
	} while (!err);
	walk_free(w);
	/* What cannot be read is no proof that nothing was there. */
	if (!err && limit == UINT64_MAX &&
	    atomic_load(&df->unreadable_off) >= s->end_off)
		err = add_event(s, SCAN_BAD, atomic_load(&df->unreadable_off),
				FILE_HEADER_BYTES, 0);
	if (!err && limit == UINT64_MAX)
		s->torn_header = is_torn_header(df, s);
	for (uint32_t p = 0; !err && p < s->partition_count; p++)
		if (s->parts[p].run)
			run_sort(s->parts[p].run);
	s->err = err;
}

void scan_done(struct scan *s)
{
	for (uint32_t p = 0; s->parts && p < s->partition_count; p++)
		run_free(s->parts[p].run);
	free(s->parts);
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
