/*
 * engine/load_state.c - the second look: from a judged stream to a state.
 *
 * Terms say which records of the log are alive; hard state says how far they
 * are committed. What is committed becomes runs and is merged, with the hints
 * and the merged files, into the key directories; what is not lies in the
 * tails until consensus decides.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "engine/frame.h"
#include "engine/load.h"
#include "engine/state.h"
#include "engine/unsettled.h"
#include "engine/walk.h"

/* -------------------------------------------------------------- terms ---- */

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/*
 * Entries of one term stand next in the stream, in df. What of them lies below
 * the end of the log so far are copies: df lists them.
 */
static enum err add_entries(struct load *l, struct datafile *df,
			    uint16_t partition, const struct hint_span *s,
			    bool again)
{
	struct terms *t = &l->e->partitions[partition].terms;
	uint64_t first = max_u64(s->first, t->floor + 1), last = s->last,
		 cut = 0;
	enum err err;

	if (first > last)
		return OK;
	if (last > t->last_index)
		last = t->last_index;
	err = terms_add(t, first, s->last, s->term, again, &cut);
	if (cut)
		last = cut - 1;
	if (err || first > last)
		return err;
	return again_add(l->e, df, partition, first, last);
}

static enum err add_span(struct load *l, struct datafile *df,
			 const struct scan_span *s)
{
	const struct manifest_partition *mp =
		&l->e->manifest.partitions[s->partition];
	struct hint_span span = { s->first, s->last, s->term };

	if (s->sequence < mp->reset_sequence || s->last <= mp->base_index)
		return OK;
	if (s->settled)
		l->commit[s->partition] =
			max_u64(l->commit[s->partition], s->last);
	return add_entries(l, df, s->partition, &span, s->again);
}

/* The live entries of a segment that has a hint. */
static enum err add_hinted(struct load *l, struct load_segment *s)
{
	for (uint32_t k = 0; k < hint_partition_count(s->hint); k++) {
		const struct hint_partition *h = hint_partition(s->hint, k);
		enum err err = OK;

		if (h->partition >= l->e->o.partitions)
			return ERR_CORRUPT;
		if (load_hint_is_dead(&l->e->manifest, h))
			continue;
		for (uint32_t i = 0; !err && i < h->span_count; i++)
			err = add_entries(l, s->df, h->partition, &h->spans[i],
					  true);
		if (err)
			return err;
		if (h->last_index > l->commit[h->partition])
			l->commit[h->partition] = h->last_index;
	}
	return OK;
}

enum err load_terms(struct load *l)
{
	struct engine *e = l->e;
	enum err err = OK;

	for (uint32_t i = 0; i < e->o.partitions; i++) {
		const struct manifest_partition *mp =
			&e->manifest.partitions[i];
		struct partition *p = &e->partitions[i];

		p->base_index = mp->base_index;
		p->base_term = mp->base_term;
		p->reset_sequence = mp->reset_sequence;
		p->last_stamp_ns = mp->last_stamp_ns;
		terms_reset(&p->terms, mp->base_index, mp->base_term);
		l->commit[i] = mp->base_index;
	}
	for (uint32_t i = 0; !err && i < l->log_count; i++) {
		struct load_segment *s = &l->log[i];

		again_clear(s->df);
		if (s->hint)
			err = add_hinted(l, s);
		for (uint32_t k = 0; !err && k < s->scan.span_count; k++)
			err = add_span(l, s->df, &s->scan.spans[k]);
	}
	return err;
}

/* --------------------------------------------------------- hard state ---- */

/* The newest record of the log, or what the second place says instead. */
static enum err choose_state(struct load *l, uint32_t i,
			     const struct scan_state *log,
			     const struct state_place *place)
{
	struct partition *p = &l->e->partitions[i];
	const struct engine_hard_state *second =
		place->slots ? &place->states[i] : NULL;

	if (log && log->damaged && !place->sure) {
		load_say(l,
			 "%s: term and vote of partition %u are damaged in "
			 "both places; ",
			 l->e->dir, i);
		if (l->e->o.has_peers)
			load_say(l, "this node may have voted: put a fresh one "
				    "in its place with `raftcask members "
				    "replace`");
		else
			load_say(l,
				 "`raftcask repair --data-dir %s "
				 "--accept-loss` begins a new term",
				 l->e->dir);
		return ERR_CORRUPT;
	}
	p->has_hard_state = log || (second && second->term);
	p->hard_state = (struct engine_hard_state){ 0 };
	if (log && !log->damaged)
		p->hard_state = log->hs;
	if (second &&
	    (second->term > p->hard_state.term ||
	     (second->term == p->hard_state.term && !p->hard_state.vote))) {
		p->hard_state.term = second->term;
		p->hard_state.vote = second->vote;
	}
	return OK;
}

enum err load_hard_state(struct load *l)
{
	struct engine *e = l->e;
	struct state_place place;
	enum err err = state_read(e, &place);

	if (err) {
		load_say(l, "%s/state: %s", e->dir, err_text(err));
		return err;
	}
	for (uint32_t p = 0; !err && p < e->o.partitions; p++) {
		const struct scan_state *newest = NULL;

		for (uint32_t i = 0; i < l->log_count; i++)
			if (!l->log[i].hint && l->log[i].scan.states[p].found)
				newest = &l->log[i].scan.states[p];
		err = choose_state(l, p, newest, &place);
	}
	if (!err) {
		e->state_sequence = place.sequence;
		e->state_dirty = !place.sure;
		if (e->state_dirty && place.present)
			log_warn("engine", "state_file_rewritten slots=%u",
				 place.slots);
	}
	free(place.states);
	return err;
}

/* --------------------------------------------------------- second look --- */

static struct part_run *part_of(struct load_segment *s, uint16_t partition)
{
	return &s->parts[partition];
}

/* A record above the commit: the first of its entry, or one more of it. */
static enum err add_tail(struct load *l, struct load_segment *s,
			 const struct walk_item *it)
{
	bool lost = l->e->o.has_peers && it->state == RECORD_BAD_VALUE;
	const struct record *r = &it->record;
	struct tail_found *t;

	if (r->position > 0) {
		t = s->tail_count ? &s->tail[s->tail_count - 1] : NULL;
		if (!t || t->partition != r->partition || t->index != r->index)
			return ERR_CORRUPT;
		t->entry.bytes += (uint32_t)it->bytes;
		t->entry.records++;
		if (lost)
			t->entry.loc |= LOC_DAMAGED;
		return OK;
	}
	if (s->tail_count == s->tail_cap) {
		uint32_t cap = s->tail_cap ? s->tail_cap * 2 : 64;
		void *tail = realloc(s->tail, cap * sizeof(*s->tail));

		if (!tail)
			return ERR_NOMEM;
		s->tail = tail;
		s->tail_cap = cap;
	}
	s->tail[s->tail_count++] = (struct tail_found){
		.partition = r->partition,
		.index = r->index,
		.entry = { .term = r->term,
			   .loc = loc_pack(s->df->id, it->off,
					   lost ? LOC_DAMAGED : 0),
			   .stamp_ns = r->stamp_ns,
			   .bytes = (uint32_t)it->bytes,
			   .records = 1 }
	};
	return OK;
}

/* The bytes of a settled key, wherever the base is (engine/heal.c). */
static enum err take_healed(struct load *l, struct load_segment *s,
			    const struct walk_item *it)
{
	const struct record *r = &it->record;
	const struct manifest_partition *mp =
		&l->e->manifest.partitions[r->partition];

	if (it->frame.sequence < mp->reset_sequence || !scan_has_key(r) ||
	    r->index > l->commit[r->partition])
		return OK;
	return scan_add_item(&part_of(s, r->partition)->run, s->df, it);
}

static enum err take_record(struct load *l, struct load_segment *s,
			    const struct walk_item *it)
{
	struct engine *e = l->e;
	const struct record *r = &it->record;
	const struct manifest_partition *mp;
	struct part_run *part;

	if (r->type == RECORD_HARD_STATE || r->partition >= e->o.partitions)
		return OK;
	mp = &e->manifest.partitions[r->partition];
	if (it->frame.flags & FRAME_HEALED)
		return take_healed(l, s, it);
	if (r->index <= mp->base_index ||
	    it->frame.sequence < mp->reset_sequence ||
	    !terms_live(&e->partitions[r->partition].terms, r->index, r->term))
		return OK;
	part = part_of(s, r->partition);
	scan_mark_entry(s->df, part, it);
	if (r->index > l->commit[r->partition]) {
		part->client_records +=
			scan_has_key(r) && is_client_key(r->key);
		return add_tail(l, s, it);
	}
	if (r->index >= part->last_index) {
		part->last_index = r->index;
		part->last_stamp_ns = r->stamp_ns;
	}
	if (!scan_has_key(r))
		return OK;
	return scan_add_item(&part->run, s->df, it);
}

static enum err look_scanned(struct load *l, struct load_segment *s)
{
	struct walk_item it;
	struct walk *w;
	enum err err = walk_new(s->df, s->scan.last_sequence, &w);

	if (err)
		return err;
	marks_done(&s->df->marks);
	s->df->marked = true;
	do {
		err = walk_next(w, &it);
		if (!err && it.kind == WALK_RECORD)
			err = take_record(l, s, &it);
	} while (!err && it.kind != WALK_END);
	walk_free(w);
	for (uint32_t p = 0; !err && p < l->e->o.partitions; p++)
		if (s->parts[p].run)
			run_sort(s->parts[p].run);
	return err;
}

static void look_hinted(const struct load *l, struct load_segment *s)
{
	for (uint32_t i = 0; i < hint_partition_count(s->hint); i++) {
		const struct hint_partition *h = hint_partition(s->hint, i);

		if (load_hint_is_dead(&l->e->manifest, h))
			continue;
		*part_of(s, h->partition) =
			(struct part_run){ .run = h->run,
					   .last_index = h->last_index,
					   .last_stamp_ns = h->last_stamp_ns };
	}
}

/* Is every entry that the scan saw part of the settled state? */
static bool all_settled(const struct load *l, const struct scan *s)
{
	struct engine *e = l->e;

	for (uint32_t i = 0; i < s->event_count; i++)
		if (s->events[i].kind == SCAN_BAD)
			return false;
	if (s->healed)
		return false;
	for (uint32_t i = 0; i < s->span_count; i++) {
		const struct scan_span *span = &s->spans[i];
		const struct manifest_partition *mp =
			&e->manifest.partitions[span->partition];

		if (span->first <= mp->base_index ||
		    span->sequence < mp->reset_sequence ||
		    span->last > l->commit[span->partition] ||
		    !terms_live_range(&e->partitions[span->partition].terms,
				      span->first, span->last, span->term))
			return false;
	}
	return true;
}

static void look_segment(void *arg, uint32_t i)
{
	struct load *l = arg;
	struct load_segment *s = &l->log[i];

	if (!s->hint && s->scan.last_sequence && all_settled(l, &s->scan)) {
		s->parts = s->scan.parts;
		s->scan.parts = NULL;
		s->df->marked = true;
		return;
	}
	s->parts = calloc(l->e->o.partitions, sizeof(*s->parts));
	if (!s->parts)
		s->err = ERR_NOMEM;
	else if (s->hint)
		look_hinted(l, s);
	else if (s->scan.last_sequence)
		s->err = look_scanned(l, s);
}

static enum err scan_merged(struct load *l, struct load_merged *m)
{
	struct walk_item it;
	struct walk *w;
	enum err err = walk_new(m->df, 0, &w);

	if (err)
		return err;
	for (;;) {
		err = walk_next(w, &it);
		if (err || it.kind == WALK_END)
			break;
		if (it.kind == WALK_DAMAGE)
			err = load_say_damage(l, m->df, it.off, it.bytes);
		else if (it.kind == WALK_RECORD && it.state == RECORD_BAD_VALUE)
			engine_note_corrupt(l->e, m->df, it.off, 1);
		if (!err && it.kind == WALK_RECORD && scan_has_key(&it.record))
			err = scan_add_item(&m->run, m->df, &it);
		if (err)
			break;
	}
	walk_free(w);
	if (!err && m->run)
		run_sort(m->run);
	return err;
}

static void look_merged(void *arg, uint32_t i)
{
	struct load *l = arg;
	struct load_merged *m = &l->merged[i];

	m->err = load_try_hint(l->e, m->df, m->df->bytes, &m->hint);
	if (!m->err && !m->hint)
		m->err = scan_merged(l, m);
}

/* ---------------------------------------------------- key directories ---- */

struct filling {
	struct engine *e;
	struct partition *p;
};

static enum err fill_live(void *ctx, const struct run_item *item)
{
	struct filling *f = ctx;
	struct datafile *df;
	enum err err;

	f->p->client_entries += is_client_key(item->key);
	if (item->type != RECORD_PUT)
		return OK;
	df = engine_file(f->e, loc_file_id(item->loc));
	if (!df)
		return ERR_CORRUPT;
	if (item->loc & LOC_DAMAGED) {
		engine_note_corrupt(f->e, df, loc_off(item->loc), 1);
		damage_note_key(f->e, (uint16_t)(f->p - f->e->partitions),
				item->version, item->key);
	}
	err = keydir_append(f->p->kd, item->key, item->version, item->loc,
			    item->value_bytes, item->attr_bytes);
	if (!err && item->expiry_ns)
		err = expiry_add(&f->p->expiry, item->key, item->version,
				 item->expiry_ns);
	if (!err)
		atomic_fetch_add_explicit(&df->live_bytes, item->disk_bytes,
					  memory_order_relaxed);
	return err;
}

static void fill_dead(void *ctx, const struct run_item *item)
{
	struct filling *f = ctx;

	/* What is not counted alive is dead; but a client wrote it. */
	f->p->client_entries += is_client_key(item->key);
}

/* Collect the runs of one partition: merged files first, then the log. */
static uint32_t collect_runs(struct load *l, uint32_t partition,
			     struct run **runs)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < l->merged_count; i++) {
		struct load_merged *m = &l->merged[i];

		if (m->df->partition != partition)
			continue;
		if (m->hint && hint_partition_count(m->hint))
			runs[n++] = hint_partition(m->hint, 0)->run;
		else if (m->run)
			runs[n++] = m->run;
	}
	for (uint32_t i = 0; i < l->log_count; i++)
		if (l->log[i].parts[partition].run)
			runs[n++] = l->log[i].parts[partition].run;
	return n;
}

static enum err fill_partition(struct load *l, uint32_t i)
{
	struct partition *p = &l->e->partitions[i];
	struct filling f = { l->e, p };
	struct run **runs =
		calloc(l->merged_count + l->log_count + 1, sizeof(*runs));
	uint64_t stamp_index = 0;
	uint32_t n;
	enum err err;

	if (!runs)
		return ERR_NOMEM;
	n = collect_runs(l, i, runs);
	keydir_lock(p->kd);
	err = run_merge(runs, n, fill_live, fill_dead, &f);
	keydir_unlock(p->kd);
	free(runs);
	for (uint32_t k = 0; k < l->log_count; k++) {
		const struct part_run *part = &l->log[k].parts[i];

		if (part->last_index && part->last_index >= stamp_index) {
			stamp_index = part->last_index;
			p->last_stamp_ns = part->last_stamp_ns;
		}
		p->client_entries += part->client_records;
	}
	atomic_store(&p->settling_index, l->commit[i]);
	atomic_store(&p->applied_index, l->commit[i]);
	return err;
}

/* Entries that the log should have and no segment has. */
static enum err say_missing(struct load *l, uint32_t partition, uint64_t first)
{
	const struct partition *p = &l->e->partitions[partition];
	uint64_t last = first;

	while (last < p->terms.last_index && !tail_at(&p->tail, last + 1))
		last++;
	load_say(l, "%s: entries %llu to %llu of partition %u are missing",
		 l->e->dir, (unsigned long long)first, (unsigned long long)last,
		 partition);
	return ERR_CORRUPT;
}

/*
 * A node that is alone, and an entry of which nothing stands in the log: an
 * open comes so far only if its place was given up with consent. What lies
 * behind was not settled and cannot be without it, so the log ends before it.
 * (The next entry has a higher term and ends the log there for every later
 * open.)
 */
static bool cut_given_up(struct load *l, struct partition *p)
{
	if (!l->e->manifest.loss_count || tail_at(&p->tail, p->missing))
		return false;
	log_warn("engine", "given_up index=%llu last=%llu",
		 (unsigned long long)p->missing,
		 (unsigned long long)p->terms.last_index);
	unsettled_cut(l->e, p, p->missing);
	terms_cut(&p->terms, p->missing);
	p->missing = 0;
	return true;
}

/* They come in any order: some were appended again. */
static enum err fill_tails(struct load *l)
{
	struct engine *e = l->e;
	enum err err = OK;

	for (uint32_t i = 0; !err && i < e->o.partitions; i++) {
		struct partition *p = &e->partitions[i];

		if (p->terms.last_index > l->commit[i])
			err = tail_gap(&p->tail, l->commit[i] + 1,
				       p->terms.last_index);
	}
	for (uint32_t i = 0; !err && i < l->log_count; i++) {
		struct load_segment *s = &l->log[i];

		for (uint32_t k = 0; k < s->tail_count; k++) {
			const struct tail_found *t = &s->tail[k];

			unsettled_set(e, &e->partitions[t->partition], t->index,
				      &t->entry, s->df);
		}
	}
	for (uint32_t i = 0; !err && i < e->o.partitions; i++) {
		struct partition *p = &e->partitions[i];

		damage_find_missing(p);
		if (p->missing && !e->o.has_peers && !cut_given_up(l, p))
			err = say_missing(l, i, p->missing);
	}
	return err;
}

/* What a merge judged by was settled, so it is committed (engine/merge.c). */
static enum err cap_commits(struct load *l)
{
	for (uint32_t i = 0; i < l->e->o.partitions; i++) {
		const struct manifest_partition *mp =
			&l->e->manifest.partitions[i];
		struct partition *p = &l->e->partitions[i];

		if (mp->exact_index > p->terms.last_index) {
			load_say(l,
				 "%s: the log of partition %u ends at entry "
				 "%llu, and merged files were made with %llu",
				 l->e->dir, i,
				 (unsigned long long)p->terms.last_index,
				 (unsigned long long)mp->exact_index);
			load_say_repair(l);
			return ERR_CORRUPT;
		}
		l->commit[i] = max_u64(l->commit[i], mp->exact_index);
		l->commit[i] = max_u64(l->commit[i], p->hard_state.commit);
		if (l->commit[i] > p->terms.last_index)
			l->commit[i] = p->terms.last_index;
	}
	return OK;
}

enum err load_state(struct load *l)
{
	struct engine *e = l->e;
	enum err err = cap_commits(l);

	if (err)
		return err;
	load_parallel(l, look_segment, l->log_count);
	load_parallel(l, look_merged, l->merged_count);
	for (uint32_t i = 0; !err && i < l->log_count; i++)
		err = l->log[i].err;
	for (uint32_t i = 0; !err && i < l->merged_count; i++)
		err = l->merged[i].err;
	for (uint32_t i = 0; !err && i < e->o.partitions; i++)
		err = fill_partition(l, i);
	if (!err)
		err = fill_tails(l);
	for (uint32_t i = 0; i < l->log_count; i++)
		if (!l->log[i].hint && l->log[i].scan.last_sequence)
			atomic_store(&l->log[i].df->written,
				     l->log[i].scan.end_off);
	for (uint32_t i = 0; i < e->o.partitions; i++) {
		struct partition *p = &e->partitions[i];

		p->synced_index = p->written_index = p->terms.last_index;
	}
	return err;
}
