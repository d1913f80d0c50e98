/*
 * engine/readback.c - where an old entry of the log lies.
 *
 *   tail      every entry above applied, and the newest below   (tail.h)
 *   window    what an earlier search met on its way
 *   marks     the newest segment with a mark at or before the entry, walked
 *             from there; then the ones before it
 *   all       every segment from its beginning, for what no mark leads to: an
 *             entry appended again, in a segment whose marks are from a hint
 *
 * Whatever is found is the entry if partition, index and term fit: by Raft's
 * own rule there is only one entry of that term at that index.
 */
#include "engine/readback.h"

#include <stdlib.h>

#include "base/check.h"
#include "engine/hint.h"
#include "engine/walk.h"

enum { AHEAD_BYTES = 4 << 20 /* walked on behind the entry wanted */ };

/* Entries first .. first + count - 1 of one partition. */
struct window {
	uint16_t partition;
	bool absent; /* entry first was looked for and is nowhere */
	uint32_t count;
	uint64_t first, used;
	struct tail_entry entries[READBACK_ENTRIES];
};

struct readback {
	struct window windows[READBACK_WINDOWS];
	uint64_t clock; /* of use */
	uint32_t *ids;	/* segments, in stream order */
	uint32_t id_count;
};

uint64_t readback_tail_keep(uint32_t partitions)
{
	uint64_t n = READBACK_TAILS_MAX / partitions;

	if (n > READBACK_TAIL_MAX)
		return READBACK_TAIL_MAX;
	return n < READBACK_TAIL_MIN ? READBACK_TAIL_MIN : n;
}

void readback_done(struct engine *e)
{
	if (!e->readback)
		return;
	free(e->readback->ids);
	free(e->readback);
	e->readback = NULL;
}

void readback_forget(struct engine *e, uint16_t partition)
{
	struct readback *b = e->readback;

	for (uint32_t i = 0; b && i < READBACK_WINDOWS; i++)
		if (b->windows[i].partition == partition)
			b->windows[i].count = b->windows[i].used = 0;
}

/* ------------------------------------------------------------- windows --- */

static struct window *find_window(struct readback *b, uint16_t partition,
				  uint64_t index)
{
	for (uint32_t i = 0; i < READBACK_WINDOWS; i++) {
		struct window *w = &b->windows[i];

		if (w->used && w->partition == partition && index >= w->first &&
		    index - w->first < w->count)
			return w;
	}
	return NULL;
}

/* The window that ends before index, else the one not used for longest. */
static struct window *take_window(struct readback *b, uint16_t partition,
				  uint64_t index, uint64_t *from)
{
	struct window *oldest = &b->windows[0];

	*from = 0;
	for (uint32_t i = 0; i < READBACK_WINDOWS; i++) {
		struct window *w = &b->windows[i];

		if (w->used && w->count && !w->absent &&
		    w->partition == partition && w->first + w->count == index) {
			*from = w->entries[w->count - 1].loc;
			return w;
		}
		if (w->used < oldest->used)
			oldest = w;
	}
	return oldest;
}

/* -------------------------------------------------------------- gather --- */

struct gather {
	struct engine *e;
	struct window *w;
	uint16_t partition;
	uint64_t want; /* index of the next entry */
	bool inside;   /* the last entry of w lacks records yet */
};

static void see_record(struct gather *g, const struct datafile *df,
		       const struct walk_item *it)
{
	const struct record *r = &it->record;
	const struct terms *terms = &g->e->partitions[g->partition].terms;
	struct window *w = g->w;
	struct tail_entry *t;

	if (r->partition != g->partition || r->type == RECORD_HARD_STATE ||
	    it->frame.flags & FRAME_HEALED)
		return;
	if (it->state != RECORD_OK) { /* there may be a sound copy */
		g->inside = g->inside && r->index != g->want;
		return;
	}
	if (g->inside) {
		t = &w->entries[w->count];
		if (r->index != g->want || r->position != t->records) {
			g->inside = false;
			return;
		}
		t->bytes += (uint32_t)it->bytes;
		t->records++;
	} else {
		if (r->index != g->want || r->position != 0 ||
		    terms_at(terms, r->index) != r->term)
			return;
		t = &w->entries[w->count];
		*t = (struct tail_entry){ .term = r->term,
					  .loc = loc_pack(df->id, it->off, 0),
					  .stamp_ns = r->stamp_ns,
					  .bytes = (uint32_t)it->bytes,
					  .records = 1 };
	}
	g->inside = !(r->flags & RECORD_LAST);
	if (!g->inside) {
		w->count++;
		g->want++;
	}
}

/* Walk df from off (0: its beginning) and fill the window. */
static enum err gather(struct gather *g, struct datafile *df, uint64_t off)
{
	uint32_t active = engine_active_id(g->e);
	uint64_t last = df->id == active ? 0 : atomic_load(&df->last_sequence);
	uint64_t stop = UINT64_MAX;
	struct walk_item it = { .kind = WALK_FRAME };
	struct walk *w;
	enum err err;

	err = walk_new(df, last, &w);
	if (err)
		return err;
	if (off && walk_seek(w, off))
		stop = 0; /* the frame's header is damaged: nothing from here */
	g->inside = false;
	while (stop && g->w->count < READBACK_ENTRIES) {
		err = walk_next(w, &it);
		if (err || it.kind == WALK_END || it.off > stop)
			break;
		if (it.kind == WALK_RECORD)
			see_record(g, df, &it);
		else if (it.kind == WALK_DAMAGE)
			g->inside = false;
		if (g->w->count && stop == UINT64_MAX)
			stop = it.off + AHEAD_BYTES;
	}
	walk_free(w);
	return err;
}

/* ------------------------------------------------------------ segments --- */

/* Hold the file with that id; NULL: it is gone. */
static struct datafile *hold(struct engine *e, uint32_t id)
{
	struct datafile *df;

	epoch_enter(e->readers);
	df = engine_file(e, id);
	if (df)
		datafile_pin(df);
	epoch_exit(e->readers);
	return df;
}

static enum err list_segments(struct engine *e)
{
	struct readback *b = e->readback;
	enum err err = OK;
	uint32_t *ids;

	pthread_mutex_lock(&e->keep_lock);
	ids = realloc(b->ids, (e->manifest.log_count + 1) * sizeof(*ids));
	if (ids) {
		b->ids = ids;
		b->id_count = e->manifest.log_count;
		for (uint32_t i = 0; i < b->id_count; i++)
			ids[i] = e->manifest.log[i].id;
	} else {
		err = ERR_NOMEM;
	}
	pthread_mutex_unlock(&e->keep_lock);
	return err;
}

struct first_of {
	uint64_t off, index; /* off 0: nothing in this stretch */
};

/* Marks of one partition: the first entry in each stretch of the file. */
static enum err mark_run(struct datafile *df, const struct hint_partition *h,
			 uint64_t stretches)
{
	struct first_of *first = calloc(stretches, sizeof(*first));
	uint64_t highest = 0;

	if (!first)
		return ERR_NOMEM;
	for (uint64_t i = 0; i < run_count(h->run); i++) {
		struct run_item item;
		struct first_of *f;
		uint64_t off;

		run_item(h->run, i, &item);
		off = loc_off(item.loc);
		if (item.version & ENTRY_POSITION_MAX || off >= df->bytes)
			continue;
		f = &first[off * stretches / df->bytes];
		if (!f->off || off < f->off)
			*f = (struct first_of){ off,
						version_index(item.version) };
	}
	if (h->span_count)
		marks_add(&df->marks, h->partition, h->spans[0].first, 0,
			  false);
	for (uint64_t i = 0; i < stretches; i++) {
		if (first[i].index <= highest)
			continue; /* none, or one appended again */
		highest = first[i].index;
		marks_add(&df->marks, h->partition, highest, first[i].off,
			  false);
	}
	free(first);
	return OK;
}

/* A segment that was loaded by its hint gets its marks when first needed. */
static enum err mark_segment(struct engine *e, struct datafile *df)
{
	struct hint_file ask = { .file_id = df->id,
				 .salt = df->salt,
				 .data_bytes = df->bytes,
				 .last_sequence =
					 atomic_load(&df->last_sequence) };
	char path[DATAFILE_PATH_BYTES];
	struct hint *hint;
	uint64_t stretches;
	enum err err;

	df->marked = true;
	datafile_path(df->owner, df->kind, df->id, ".hint", path);
	if (hint_load(e->o.vfs, path, &ask, &hint))
		return OK; /* without marks the whole file is walked */
	stretches = MARKS_MAX / 4 / (hint_partition_count(hint) + 1) + 1;
	if (stretches > df->bytes / MARK_BYTES + 1)
		stretches = df->bytes / MARK_BYTES + 1;
	err = OK;
	for (uint32_t i = 0; !err && i < hint_partition_count(hint); i++)
		err = mark_run(df, hint_partition(hint, i), stretches);
	hint_free(hint);
	return err;
}

/* Look in one segment; all: from its beginning, whatever the marks say. */
static enum err look_in(struct gather *g, uint32_t id, bool all)
{
	struct datafile *df = hold(g->e, id);
	uint64_t off = 0;
	enum err err = OK;

	if (!df)
		return OK;
	if (!df->marked)
		err = mark_segment(g->e, df);
	if (!err &&
	    (all || marks_find(&df->marks, g->partition, g->want, &off)))
		err = gather(g, df, off);
	datafile_unpin(df);
	return err;
}

static enum err look_everywhere(struct gather *g)
{
	struct readback *b = g->e->readback;
	enum err err;

	/* What is only in memory is too new to be asked for; but be sure. */
	err = log_write(&g->e->log);
	if (!err)
		err = list_segments(g->e);
	for (int all = 0; !err && all < 2; all++)
		for (uint32_t i = b->id_count; !err && i > 0; i--) {
			err = look_in(g, b->ids[i - 1], all);
			if (err || g->w->count)
				return err;
		}
	return err;
}

/* Fill a window that begins with the entry wanted. */
static enum err search(struct engine *e, uint16_t partition, uint64_t index,
		       struct window **out)
{
	struct gather g = { .e = e, .partition = partition, .want = index };
	struct datafile *df;
	uint64_t from;
	enum err err = OK;

	if (!e->readback)
		e->readback = calloc(1, sizeof(*e->readback));
	if (!e->readback)
		return ERR_NOMEM;
	g.w = take_window(e->readback, partition, index, &from);
	g.w->used = 0;
	g.w->count = 0;
	df = from ? hold(e, loc_file_id(from)) : NULL;
	if (df) {
		err = gather(&g, df, loc_off(from));
		datafile_unpin(df);
	}
	if (!err && !g.w->count)
		err = look_everywhere(&g);
	if (err)
		return err;
	g.w->partition = partition;
	g.w->first = index;
	g.w->absent = g.w->count == 0;
	g.w->count += g.w->absent;
	g.w->used = ++e->readback->clock;
	*out = g.w;
	return OK;
}

enum err readback_find(struct engine *e, uint16_t partition, uint64_t index,
		       struct tail_entry *t)
{
	const struct tail_entry *recent =
		tail_at(&e->partitions[partition].tail, index);
	struct window *w = NULL;
	enum err err = OK;

	if (recent) {
		*t = *recent;
		return OK;
	}
	if (e->readback)
		w = find_window(e->readback, partition, index);
	if (!w)
		err = search(e, partition, index, &w);
	if (err)
		return err;
	if (w->absent)
		return ERR_NOT_FOUND;
	w->used = ++e->readback->clock;
	*t = w->entries[index - w->first];
	return OK;
}
