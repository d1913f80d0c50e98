/*
 * engine/load.c - the first look at a directory: what the stream proves.
 *
 * Frames are numbered without a gap over all segments, and each says up to
 * where the stream was durable when it was made. So a number that is missing,
 * or a frame that is bad, is one of two things. If any sound frame anywhere
 * claims it as synced, it was acknowledged: that is damage, and it is never
 * cut. If none does, nothing after it can have been acknowledged either: that
 * is the torn end of the last write before a crash, and the stream ends there.
 *
 *      ... | 41 | 42 | 43 (claims 41) | 44 (bad) | 45 |
 *                  ^proven up to 41      ^cut here: 44 and 45 never counted
 *                     42, 43: sound but unproven, copied before the start
 */
#include "engine/load.h"

#include "engine/state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"

void load_say(struct load *l, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (l->why && buf_add(l->why, text, strlen(text)))
		log_error("engine", "open_failed %s", text);
}

void load_say_repair(struct load *l)
{
	if (!l->e->o.has_peers)
		load_say(l,
			 "; `raftcask repair --data-dir %s` says what would be "
			 "lost",
			 l->e->dir);
}

void load_parallel(struct load *l, void (*fn)(void *arg, uint32_t i),
		   uint32_t n)
{
	if (l->e->o.parallel && n > 1) {
		l->e->o.parallel(fn, l, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		fn(l, i);
}

/* -------------------------------------------------------------- files ---- */

static void say_file(struct load *l, enum datafile_kind kind, uint32_t id,
		     enum err err)
{
	char name[DATAFILE_NAME_BYTES];

	datafile_name(kind, id, name);
	switch (err) {
	case ERR_NOT_FOUND:
		load_say(l, "%s/%s is listed in MANIFEST and missing",
			 l->e->dir, name);
		break;
	case ERR_FOREIGN:
		load_say(l,
			 "%s/%s belongs to another node, cluster or place; "
			 "put the right file back",
			 l->e->dir, name);
		break;
	case ERR_VERSION:
		load_say(l, "%s/%s was written by a newer version", l->e->dir,
			 name);
		return;
	case ERR_CORRUPT:
		load_say(l, "%s/%s is shorter than MANIFEST says", l->e->dir,
			 name);
		break;
	default:
		load_say(l, "%s/%s: %s", l->e->dir, name, err_text(err));
		return;
	}
	load_say_repair(l);
}

static enum err open_file(struct load *l, enum datafile_kind kind,
			  uint16_t partition, const struct manifest_file *m,
			  struct datafile **df)
{
	struct engine *e = l->e;
	enum err err;

	*df = engine_file(e, m->id);
	if (*df)
		return OK;
	err = datafile_open(&e->owner, kind, partition, m, df);
	if (err) {
		say_file(l, kind, m->id, err);
		return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
	}
	err = engine_file_add(e, *df);
	if (err)
		datafile_close(*df);
	else if ((*df)->header_damaged)
		engine_note_corrupt(e, *df, 0, 0);
	return err;
}

enum err load_files(struct load *l)
{
	const struct manifest *m = &l->e->manifest;
	uint32_t n = 0, at = 0;
	enum err err = OK;

	for (uint32_t p = 0; p < m->partition_count; p++)
		n += m->partitions[p].merged_count;
	l->log = calloc(m->log_count + 1, sizeof(*l->log));
	l->merged = calloc(n + 1, sizeof(*l->merged));
	l->commit = calloc(m->partition_count, sizeof(*l->commit));
	if (!l->log || !l->merged || !l->commit)
		return ERR_NOMEM;
	l->log_count = m->log_count;
	l->merged_count = n;
	for (uint32_t i = 0; !err && i < m->log_count; i++) {
		err = open_file(l, DATAFILE_LOG, 0, &m->log[i], &l->log[i].df);
		l->log[i].limit =
			m->log[i].max_index ? m->log[i].max_index : UINT64_MAX;
	}
	for (uint32_t p = 0; p < m->partition_count; p++) {
		const struct manifest_partition *mp = &m->partitions[p];

		for (uint32_t i = 0; !err && i < mp->merged_count; i++)
			err = open_file(l, DATAFILE_MERGED, (uint16_t)p,
					&mp->merged[i], &l->merged[at++].df);
	}
	return err;
}

/* --------------------------------------------------------------- scan ---- */

enum err load_try_hint(struct engine *e, struct datafile *df,
		       uint64_t data_bytes, struct hint **hint)
{
	struct hint_file q = { .file_id = df->id,
			       .salt = df->salt,
			       .data_bytes = data_bytes };
	char path[DATAFILE_PATH_BYTES];
	enum err err;

	datafile_path(&e->owner, df->kind, df->id, ".hint", path);
	err = hint_load(e->o.vfs, path, &q, hint);
	if (!err)
		return OK;
	*hint = NULL;
	if (err == ERR_NOMEM)
		return err;
	if (err != ERR_NOT_FOUND)
		log_warn("engine", "hint_ignored file=%08x reason=%s", df->id,
			 err_text(err));
	return OK;
}

/* The sequence at the head of the stream behind segment i; 0: none. */
static uint64_t head_behind(const struct load *l, uint32_t i)
{
	while (++i < l->log_count)
		if (l->log[i].head_sequence)
			return l->log[i].head_sequence;
	return 0;
}

bool load_hint_is_dead(const struct manifest *m, const struct hint_partition *h)
{
	return h->last_index <= m->partitions[h->partition].base_index;
}

/*
 * Is the hint older than what was decided since? A merge may have raised a base
 * over some of the entries that it names; a recovery may have ended the segment
 * before its last frame and copied that elsewhere, or let the writer go on in
 * it.
 */
static bool hint_outlived(const struct manifest *m, uint64_t limit,
			  const struct hint *hint)
{
	if (hint_identity(hint)->last_sequence > limit)
		return true;
	for (uint32_t i = 0; i < hint_partition_count(hint); i++) {
		const struct hint_partition *h = hint_partition(hint, i);

		if (h->partition >= m->partition_count)
			return true;
		if (h->first_index &&
		    h->first_index <= m->partitions[h->partition].base_index &&
		    !load_hint_is_dead(m, h))
			return true;
	}
	return false;
}

/* Hints serve a prefix of the log that ends before the last frames. */
static enum err load_log_hints(struct load *l)
{
	uint32_t last = 0;

	for (uint32_t i = 0; i < l->log_count; i++) {
		l->log[i].head_sequence = scan_first_sequence(l->log[i].df);
		if (l->log[i].head_sequence)
			last = i;
	}
	for (uint32_t i = 0; i < last; i++) {
		struct load_segment *s = &l->log[i];
		enum err err =
			load_try_hint(l->e, s->df, s->df->bytes, &s->hint);

		if (err)
			return err;
		if (s->hint &&
		    (hint_identity(s->hint)->last_sequence + 1 !=
			     head_behind(l, i) ||
		     hint_outlived(&l->e->manifest, s->limit, s->hint))) {
			hint_free(s->hint);
			s->hint = NULL;
		}
		if (!s->hint)
			break;
		atomic_store(&s->df->last_sequence,
			     hint_identity(s->hint)->last_sequence);
	}
	return OK;
}

static void scan_one(void *arg, uint32_t i)
{
	struct load *l = arg;
	struct load_segment *s = &l->log[i];

	if (!s->hint)
		scan_segment(l->e, s->df, s->limit, &s->scan);
}

static enum err scan_all(struct load *l)
{
	load_parallel(l, scan_one, l->log_count);
	for (uint32_t i = 0; i < l->log_count; i++) {
		struct load_segment *s = &l->log[i];

		if (s->hint)
			continue;
		if (s->scan.err) {
			say_file(l, DATAFILE_LOG, s->df->id, s->scan.err);
			return s->scan.err;
		}
		atomic_store(&s->df->last_sequence, s->scan.last_sequence);
	}
	return OK;
}

enum err load_scan(struct load *l)
{
	enum err err = load_log_hints(l);

	return err ? err : scan_all(l);
}

bool load_hints_hide_state(const struct load *l)
{
	bool hinted = false;

	for (uint32_t i = 0; i < l->log_count; i++) {
		hinted |= l->log[i].hint != NULL;
		if (!l->log[i].hint && l->log[i].scan.first_sequence &&
		    l->log[i].scan.first_sequence <= l->kept)
			return false;
	}
	return hinted;
}

enum err load_scan_hinted(struct load *l)
{
	for (uint32_t i = 0; i < l->log_count; i++) {
		struct load_segment *s = &l->log[i];

		hint_free(s->hint);
		s->hint = NULL;
		scan_done(&s->scan);
	}
	return scan_all(l);
}

enum err load_rescan(struct load *l, uint64_t limit)
{
	for (uint32_t i = 0; i < l->log_count; i++) {
		struct load_segment *s = &l->log[i];

		if (s->limit > limit)
			s->limit = limit;
		scan_done(&s->scan);
	}
	return scan_all(l);
}

/* -------------------------------------------------------------- judge ---- */

enum err load_say_damage(struct load *l, const struct datafile *df,
			 uint64_t off, uint64_t bytes)
{
	const struct manifest *m = &l->e->manifest;
	char name[DATAFILE_NAME_BYTES];

	if (manifest_is_lost(m->losses, m->loss_count, df->id, off, bytes))
		return OK;
	datafile_name(df->kind, df->id, name);
	load_say(l,
		 "%s/%s is damaged at offset %llu (%llu bytes) and the keys "
		 "there are unknown",
		 l->e->dir, name, (unsigned long long)off,
		 (unsigned long long)bytes);
	load_say_repair(l);
	return ERR_CORRUPT;
}

/* Where the walk along the stream stands. */
struct judge {
	uint64_t expected; /* sequence of the next frame                     */
	bool gap;	   /* bytes without a frame since the last one, at:  */
	uint32_t gap_segment;
	uint64_t gap_off, gap_bytes;
	bool ended;
};

/* The stream ends before sequence: what follows was never acknowledged. */
static void end_stream(struct load *l, struct judge *j, uint32_t segment,
		       uint64_t off, uint64_t bytes)
{
	j->ended = true;
	l->clean = false;
	l->cut = true;
	l->cut_segment = segment;
	l->cut_off = off;
	l->cut_bytes = bytes;
}

/* Frames j->expected .. next-1 are nowhere. */
static enum err judge_missing(struct load *l, struct judge *j, uint32_t i,
			      const struct scan_event *ev)
{
	uint32_t segment = j->gap ? j->gap_segment : i;
	uint64_t off = j->gap ? j->gap_off : ev->off;
	uint64_t bytes = j->gap ? j->gap_bytes : 0;

	if (j->expected > l->proven) {
		end_stream(l, j, segment, off, bytes);
		return OK;
	}
	return load_say_damage(l, l->log[segment].df, off, bytes);
}

static enum err judge_event(struct load *l, struct judge *j, uint32_t i,
			    const struct scan_event *ev)
{
	struct datafile *df = l->log[i].df;
	enum err err = OK;

	switch (ev->kind) {
	case SCAN_GAP:
		j->gap = true;
		j->gap_segment = i;
		j->gap_off = ev->off;
		j->gap_bytes = ev->bytes;
		return OK;
	case SCAN_RUN:
		if (ev->first < j->expected) {
			load_say(l,
				 "%s/%08x.log holds frame %llu where %llu "
				 "follows: the files are not of one moment",
				 l->e->dir, df->id,
				 (unsigned long long)ev->first,
				 (unsigned long long)j->expected);
			return ERR_CORRUPT;
		}
		if (ev->first > j->expected)
			err = judge_missing(l, j, i, ev);
		if (err || j->ended)
			return err;
		j->expected = ev->last + 1;
		j->gap = false;
		return OK;
	case SCAN_BAD:
	case SCAN_VALUE:
		if (ev->first > l->proven) {
			j->expected = ev->first;
			end_stream(l, j, i, ev->off, ev->bytes);
			return OK;
		}
		if (ev->kind == SCAN_BAD)
			return load_say_damage(l, df, ev->off, ev->bytes);
		engine_note_corrupt(l->e, df, ev->off, 1);
		return OK;
	}
	return OK;
}

/* Where the writer goes on, if what is unproven are marks at one end. */
static void find_end(struct load *l)
{
	uint64_t floor = l->e->manifest.log_floor_sequence;
	uint32_t last = 0;
	const struct scan *s;

	for (uint32_t i = 0; i < l->log_count; i++) {
		if (l->log[i].scan.last_record_sequence > l->proven)
			l->clean = false;
		if (l->log[i].hint || l->log[i].scan.last_sequence)
			last = i;
	}
	if (!l->clean || l->log_count == 0)
		return;
	s = &l->log[last].scan;
	l->active = last;
	l->clean = !l->log[last].hint && !l->log[last].df->max_index;
	if (s->last_sequence == l->proven || l->proven + 1 == floor) {
		l->active_off = s->last_sequence == l->proven
					? s->end_off
					: FILE_HEADER_BYTES;
		if (s->torn_header && s->last_sequence == l->proven) {
			l->cut = true;
			l->cut_segment = last;
			l->cut_off = s->end_off;
			l->cut_bytes = FILE_HEADER_BYTES;
		}
		return;
	}
	for (uint32_t i = 0; i < s->mark_count && i < SCAN_MARKS_MAX; i++)
		if (s->marks[i].sequence == l->proven) {
			l->active_off = s->marks[i].off;
			return;
		}
	l->clean = false;
}

enum err load_judge(struct load *l)
{
	struct engine *e = l->e;
	struct judge j = { .expected = e->manifest.log_floor_sequence };
	enum err err =
		state_end_read(e->o.vfs, e->dir, &e->manifest, &l->proven);

	if (err) {
		load_say(l, "%s/state: %s", e->dir, err_text(err));
		return err;
	}
	if (l->proven < j.expected)
		l->proven = j.expected - 1;
	/* An install syncs all before its reset: the manifest proves that. */
	for (uint32_t i = 0; i < e->manifest.partition_count; i++)
		if (e->manifest.partitions[i].reset_sequence > l->proven + 1)
			l->proven =
				e->manifest.partitions[i].reset_sequence - 1;
	l->clean = true;
	for (uint32_t i = 0; i < l->log_count; i++) {
		const struct load_segment *s = &l->log[i];
		uint64_t claim = s->hint ? hint_identity(s->hint)->last_sequence
					 : s->scan.claim;

		if (claim > l->proven)
			l->proven = claim;
	}
	for (uint32_t i = 0; i < l->log_count && !j.ended; i++) {
		const struct load_segment *s = &l->log[i];

		if (s->hint) {
			j.expected = hint_identity(s->hint)->last_sequence + 1;
			continue;
		}
		for (uint32_t k = 0; k < s->scan.event_count && !j.ended; k++) {
			err = judge_event(l, &j, i, &s->scan.events[k]);
			if (err)
				return err;
		}
		if (!j.gap && !j.ended) {
			j.gap = true;
			j.gap_segment = i;
			j.gap_off = s->scan.end_off;
			j.gap_bytes = s->df->bytes - s->scan.end_off;
		}
	}
	l->kept = j.expected - 1;
	if (!j.ended && l->kept < l->proven) {
		char name[DATAFILE_NAME_BYTES] = "the log";

		if (j.gap)
			datafile_name(DATAFILE_LOG,
				      l->log[j.gap_segment].df->id, name);
		load_say(l,
			 "%s/%s: frames %llu to %llu were synced and are gone "
			 "from offset %llu on",
			 e->dir, name, (unsigned long long)j.expected,
			 (unsigned long long)l->proven,
			 (unsigned long long)(j.gap ? j.gap_off : 0));
		load_say_repair(l);
		return ERR_CORRUPT;
	}
	find_end(l);
	return OK;
}

void load_done(struct load *l)
{
	for (uint32_t i = 0; l->log && i < l->log_count; i++) {
		struct load_segment *s = &l->log[i];

		for (uint32_t p = 0; s->parts && p < l->e->o.partitions; p++)
			if (!s->hint)
				run_free(s->parts[p].run);
		free(s->parts);
		free(s->tail);
		hint_free(s->hint);
		scan_done(&s->scan);
	}
	for (uint32_t i = 0; l->merged && i < l->merged_count; i++) {
		hint_free(l->merged[i].hint);
		run_free(l->merged[i].run);
	}
	free(l->log);
	free(l->merged);
	free(l->commit);
	*l = (struct load){ .e = l->e, .why = l->why };
}
