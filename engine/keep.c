/*
 * engine/keep.c - background work, one bounded step a call.
 *
 * In this order, the first that has something to do:
 *   files whose last reader has left are unlinked or become spares
 *   a segment is made ready before the writer needs it
 *   a merge that runs goes on, as fast as the configured rate allows
 *   a hint is written for a sealed segment whose entries are all settled
 *   once a second, on request, while many segments wait, and on the way
 *   through many files: is there something worth merging?
 *
 * An error leaves the old state in force; the work is tried again later.
 */
#include "engine/keep.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "engine/keep_internal.h"
#include "engine/trigger.h"
#include "engine/unsettled.h"

enum { WAIT_BARRIER_MS = 5, BACKLOG_SEGMENTS = 4 * TRIGGER_INPUTS };

/* -------------------------------------------------------------- survey --- */

static void forget_files(struct keep_file *files, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		free(files[i].lasts);
	free(files);
}

/* Move what was known of the file with that id to f. */
static void carry_over(struct keep *k, struct keep_file *f, uint32_t *hint)
{
	for (uint32_t n = 0; n < k->file_count; n++) {
		struct keep_file *old = &k->files[(*hint + n) % k->file_count];

		if (old->id != f->id)
			continue;
		*f = *old;
		old->lasts = NULL;
		*hint = (uint32_t)(old - k->files) + 1;
		return;
	}
}

static uint32_t sealed_count(const struct manifest *m, uint32_t active_id)
{
	for (uint32_t i = 0; i < m->log_count; i++)
		if (m->log[i].id == active_id)
			return i;
	return 0;
}

static uint32_t merged_count(const struct manifest *m)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < m->partition_count; i++)
		n += m->partitions[i].merged_count;
	return n;
}

/* List sealed segments and merged files anew. keep_lock held. */
static enum err survey_locked(struct engine *e)
{
	const struct manifest *m = &e->manifest;
	struct keep *k = e->keep;
	uint32_t sealed = sealed_count(m, engine_active_id(e));
	uint32_t count = sealed + merged_count(m), n = 0, hint = 0;
	struct keep_file *files = calloc(count + 1, sizeof(*files));

	if (!files)
		return ERR_NOMEM;
	for (; n < sealed; n++) {
		files[n] =
			(struct keep_file){ .id = m->log[n].id, .log = true };
		carry_over(k, &files[n], &hint);
	}
	for (uint32_t p = 0; p < m->partition_count; p++) {
		const struct manifest_partition *mp = &m->partitions[p];

		for (uint32_t i = 0; i < mp->merged_count; i++, n++) {
			files[n] = (struct keep_file){
				.id = mp->merged[i].id,
				.partition = (uint16_t)p,
			};
			carry_over(k, &files[n], &hint);
		}
	}
	CHECK(n == count);
	forget_files(k->files, k->file_count);
	k->files = files;
	k->file_count = count;
	return OK;
}

static enum err survey(struct engine *e)
{
	enum err err;

	pthread_mutex_lock(&e->keep_lock);
	err = survey_locked(e);
	pthread_mutex_unlock(&e->keep_lock);
	return err;
}

/* --------------------------------------------------------------- hints --- */

/* What the list said is no more; without memory: forget, look again later. */
static void survey_anew(struct engine *e)
{
	struct keep *k = e->keep;

	if (survey(e)) {
		forget_files(k->files, k->file_count);
		k->files = NULL;
		k->file_count = 0;
	}
}

static struct keep_file *find_file(struct keep *k, uint32_t id)
{
	for (uint32_t i = 0; i < k->file_count; i++)
		if (k->files[i].id == id)
			return &k->files[i];
	return NULL;
}

/* Sealed log segments behind the i-th file. */
static uint32_t sealed_behind(const struct keep *k, uint32_t i)
{
	uint32_t n = 0;

	for (uint32_t j = i + 1; j < k->file_count && k->files[j].log; j++)
		n++;
	return n;
}

/*
 * Entries that wait for consensus keep the segment. When it lies far behind
 * and they are few, the writer is asked to append them again.
 */
static void ask_carry(struct engine *e, uint32_t i, struct datafile *df)
{
	uint64_t bytes = atomic_load(&df->unsettled_bytes);

	if (bytes == 0 || bytes > df->bytes / 4)
		return;
	if (sealed_behind(e->keep, i) < KEEP_CARRY_BEHIND &&
	    !atomic_load(&e->out_of_space))
		return;
	atomic_store(&df->carry, true);
	atomic_store(&e->carry_wanted, true);
}

/* Go on with the hint under way. */
static enum err hint_step(struct engine *e)
{
	struct keep *k = e->keep;
	struct keep_file *f = find_file(k, keep_hint_file_id(k->hint));
	bool done = false;
	enum err err;

	CHECK(f);
	err = keep_hint_step(e, k->hint, f, &done);
	if (err)
		f->retry_ns =
			clock_mono_ns(e->o.clock) + KEEP_RETRY_MS * 1000000ull;
	if (err || done) {
		keep_hint_end(k->hint);
		k->hint = NULL;
	}
	return err;
}

/* Begin the next hint that can be written; *busy: something was done. */
static enum err next_hint(struct engine *e, bool *busy)
{
	struct keep *k = e->keep;
	uint64_t now = clock_mono_ns(e->o.clock);

	for (uint32_t i = 0; i < k->file_count; i++) {
		struct keep_file *f = &k->files[i];
		struct datafile *df = engine_file(e, f->id);
		bool was_looked = f->looked;
		enum err err;

		if (f->hinted || f->unmergeable || f->unhintable ||
		    now < f->retry_ns)
			continue;
		CHECK(df);
		*busy = true;
		if (!was_looked) {
			err = keep_hint_look(e, f, df);
			if (err || f->hinted)
				return err;
		}
		if (f->log && !unsettled_none(e, df)) {
			f->retry_ns = now + KEEP_SURVEY_MS * 1000000ull;
			ask_carry(e, i, df);
			continue;
		}
		return keep_hint_begin(
			e, df, f->log ? atomic_load(&df->last_sequence) : 0,
			&k->hint);
	}
	*busy = false;
	return OK;
}

/* --------------------------------------------------------------- merge --- */

/* Would the base that a merge of f sets kill a copy listed for df? */
static bool reaches(struct engine *e, const struct keep_file *f,
		    struct datafile *df)
{
	for (uint32_t i = 0; i < f->last_count; i++)
		if (again_lowest(e, df, f->lasts[i].partition) <=
		    f->lasts[i].index)
			return true;
	return false;
}

/* Where in the stream a segment stands that lists copies. */
struct copies {
	uint32_t position;
	struct datafile *df;
};

/*
 * All segments that list copies, the writer's too, and those sealed since the
 * last survey. Only the keeper takes segments out of the list.
 */
static enum err find_copies(struct engine *e, struct copies **out, uint32_t *n)
{
	const struct manifest *m = &e->manifest;
	struct copies *list;

	*n = 0;
	pthread_mutex_lock(&e->keep_lock);
	list = calloc(m->log_count + 1, sizeof(*list));
	for (uint32_t i = 0; list && i < m->log_count; i++) {
		struct datafile *df = engine_file(e, m->log[i].id);

		CHECK(df); /* what the manifest lists is open */
		if (again_any(e, df))
			list[(*n)++] = (struct copies){ i, df };
	}
	pthread_mutex_unlock(&e->keep_lock);
	*out = list;
	return list ? OK : ERR_NOMEM;
}

/*
 * With how many first segments the i-th is merged; with more than are known
 * to be sealed: not yet.
 */
static uint32_t log_reach(struct engine *e, uint32_t i,
			  const struct copies *copies, uint32_t n)
{
	uint32_t reach = i + 1;

	for (uint32_t k = 0; k < n; k++)
		if (copies[k].position >= reach &&
		    reaches(e, &e->keep->files[i], copies[k].df))
			reach = copies[k].position + 1;
	return reach;
}

/* A live peer lacks entries in the i-th file, and it is not too far behind. */
static bool kept_for_peer(struct engine *e, uint32_t i)
{
	const struct keep *k = e->keep;
	const struct keep_file *f = &k->files[i];

	if (sealed_behind(k, i) >= KEEP_FOR_PEERS ||
	    atomic_load(&e->out_of_space))
		return false;
	for (uint32_t n = 0; n < f->last_count; n++)
		if (f->lasts[n].index >=
		    atomic_load(
			    &e->partitions[f->lasts[n].partition].keep_index))
			return true;
	return false;
}

static void describe(struct engine *e, const struct keep_file *f, uint32_t i,
		     struct trigger_file *t)
{
	struct keep *k = e->keep;
	struct datafile *df = engine_file(e, f->id);

	CHECK(df);
	*t = (struct trigger_file){
		.log = f->log,
		.ready = f->looked && !f->unmergeable,
		.partition = f->partition,
		.bytes = df->bytes - FILE_HEADER_BYTES,
		.live_bytes = atomic_load(&df->live_bytes),
		.kept_bytes = f->kept_bytes,
	};
	if (f->log && !((f->hinted || f->walked) && unsettled_none(e, df)))
		t->ready = false;
	if (f->log && kept_for_peer(e, i))
		t->ready = false;
	if (k->requested && f->id >= k->request_below)
		t->ready = false;
}

static uint64_t merge_room(struct engine *e, bool pressed)
{
	uint64_t bytes;

	if (vfs_free_bytes(e->o.vfs, e->dir, &bytes))
		return 0;
	if (pressed)
		return bytes / 2;
	return bytes > atomic_load(&e->min_free_bytes)
		       ? bytes - atomic_load(&e->min_free_bytes)
		       : 0;
}

static enum err start_merge(struct engine *e, const bool *pick)
{
	struct keep *k = e->keep;
	struct merge_input *inputs;
	uint32_t n = 0;
	enum err err;

	inputs = calloc(k->file_count, sizeof(*inputs));
	if (!inputs)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < k->file_count; i++)
		if (pick[i])
			inputs[n++] = (struct merge_input){
				.df = engine_file(e, k->files[i].id),
				.last_sequence = k->files[i].last_sequence,
				.lasts = k->files[i].lasts,
				.last_count = k->files[i].last_count,
			};
	err = keep_retire_reserve(k, n);
	if (!err)
		err = merge_new(e, inputs, n, &k->merge);
	free(inputs);
	if (err == ERR_BUSY)
		return OK; /* an install was faster: look at the list again */
	if (!err) {
		k->merge_inputs = n;
		atomic_store(&e->merge_running, true);
		k->merge_from_bytes = atomic_load(&e->merge_bytes_written);
		log_info("engine", "merge_start inputs=%u", n);
		diary_note(e->o.diary, DIARY_MERGE_BEGUN, DIARY_NO_PARTITION, 0,
			   n, 0);
	}
	return err;
}

/*
 * Ask the trigger; begin a merge when it picks something. all: every file that
 * can be is known, so that nothing picked is the end of what was requested.
 */
static enum err consider_merge(struct engine *e, bool all)
{
	struct keep *k = e->keep;
	bool pressed = atomic_load(&e->out_of_space);
	struct trigger_now now = {
		.options = &e->o.merge,
		.minute_of_day = e->o.minute_of_day ? e->o.minute_of_day() : 0,
		.requested = k->requested,
		.pressed = pressed,
		.room_bytes = merge_room(e, pressed),
	};
	struct trigger_file *files;
	struct copies *copies = NULL;
	uint32_t copy_count;
	bool *pick;
	enum err err = ERR_NOMEM;

	files = calloc(k->file_count + 1, sizeof(*files));
	pick = calloc(k->file_count + 1, sizeof(*pick));
	if (!files || !pick)
		goto out;
	err = find_copies(e, &copies, &copy_count);
	if (err)
		goto out;
	for (uint32_t i = 0; i < k->file_count; i++) {
		describe(e, &k->files[i], i, &files[i]);
		if (files[i].log)
			files[i].log_reach =
				log_reach(e, i, copies, copy_count);
	}
	if (trigger_pick(&now, files, k->file_count, pick))
		err = start_merge(e, pick);
	else if (all && !atomic_load(&e->log.switch_wanted))
		k->requested = false;
out:
	free(copies);
	free(pick);
	free(files);
	return err;
}

static void end_merge(struct engine *e)
{
	struct keep *k = e->keep;

	merge_free(k->merge);
	k->merge = NULL;
	k->merge_inputs = 0;
	atomic_store(&e->merge_running, false);
	k->survey_ns = 0;
}

/* What is known of the outputs need not be read again. */
static void note_outputs(struct keep *k)
{
	uint64_t kept_bytes;
	uint32_t id;

	for (uint32_t i = 0; merge_output(k->merge, i, &id, &kept_bytes); i++) {
		struct keep_file *f = find_file(k, id);

		if (!f)
			continue;
		f->looked = f->hinted = true;
		f->kept_bytes = kept_bytes;
	}
}

/* Consider the next merge without waiting for a second to pass. */
static void merge_at_once(struct keep *k)
{
	k->merge_retry_ns = 0;
	k->looks = 0;
	k->looks_wanted = TRIGGER_INPUTS;
}

/* Do more segments wait than a life without kills lets gather? */
static bool has_backlog(const struct keep *k)
{
	return k->file_count > BACKLOG_SEGMENTS &&
	       k->files[BACKLOG_SEGMENTS].log;
}

/* The inputs wait for their readers. */
static void finish_merge(struct engine *e)
{
	struct keep *k = e->keep;
	struct datafile *df;
	bool of_log = false;

	for (uint32_t i = 0; merge_input(k->merge, i, &df); i++) {
		of_log |= df && df->kind == DATAFILE_LOG;
		if (df)
			keep_retire(k, df);
	}
	survey_anew(e);
	if (of_log && has_backlog(k))
		merge_at_once(k);
	note_outputs(k);
	atomic_fetch_add(&e->merges, 1);
	log_info("engine", "merge_done");
	diary_note(e->o.diary, DIARY_MERGE_DONE, DIARY_NO_PARTITION, 0,
		   atomic_load(&e->merge_bytes_written) - k->merge_from_bytes,
		   0);
	end_merge(e);
}

static void pace(struct engine *e, uint64_t moved_bytes)
{
	uint64_t rate = e->o.merge.rate_bytes_per_s;
	uint64_t now = clock_mono_ns(e->o.clock);
	struct keep *k = e->keep;

	if (rate == 0)
		return;
	if (k->paced_ns < now)
		k->paced_ns = now;
	k->paced_ns += (uint64_t)((double)moved_bytes * 1e9 / (double)rate);
}

static enum err merge_piece(struct engine *e, uint64_t *wait_ms)
{
	struct keep *k = e->keep;
	uint64_t now = clock_mono_ns(e->o.clock), moved_bytes;
	struct datafile *bad = NULL;
	enum merge_state state;
	enum err err;

	*wait_ms = 0;
	if (now < k->paced_ns) {
		*wait_ms = (k->paced_ns - now) / 1000000 + 1;
		return OK;
	}
	err = merge_step(k->merge, &moved_bytes, &state, &bad);
	pace(e, moved_bytes);
	if (err && !merge_switched(k->merge)) {
		struct keep_file *f = bad ? find_file(k, bad->id) : NULL;

		if (f)
			f->unmergeable = true;
		k->merge_retry_ns = now + KEEP_RETRY_MS * 1000000ull;
		diary_note(e->o.diary, DIARY_MERGE_FAILED, DIARY_NO_PARTITION,
			   0, 0, 0);
		end_merge(e);
		return err;
	}
	if (err)
		*wait_ms = KEEP_RETRY_MS;
	else if (state == MERGE_WAIT)
		*wait_ms = WAIT_BARRIER_MS;
	else if (state == MERGE_DONE)
		finish_merge(e);
	return err;
}

/* ---------------------------------------------------------------- keep --- */

static bool active_has_dead(struct engine *e)
{
	struct datafile *df;
	bool dead;

	epoch_enter(e->readers);
	df = engine_file(e, engine_active_id(e));
	dead = df && atomic_load(&df->written) - FILE_HEADER_BYTES >
			     atomic_load(&df->live_bytes);
	epoch_exit(e->readers);
	return dead;
}

static void take_request(struct engine *e)
{
	struct keep *k = e->keep;

	if (k->merge || !atomic_exchange(&e->merge_requested, false))
		return;
	pthread_mutex_lock(&e->keep_lock);
	k->request_below = e->manifest.next_file_id;
	pthread_mutex_unlock(&e->keep_lock);
	k->requested = true;
	if (active_has_dead(e)) /* it ends at the writer's next step */
		atomic_store(&e->log.switch_wanted, true);
	k->survey_ns = 0;
	merge_at_once(k);
}

/*
 * After a start each file is looked at before a merge is considered, which a
 * node that is killed often does not live to end: so a merge is considered also
 * when a few are known, twice as many, and so on.
 */
static bool merge_is_due_early(struct keep *k, uint64_t now)
{
	if (now < k->merge_retry_ns || k->looks < k->looks_wanted)
		return false;
	k->looks = 0;
	k->looks_wanted *= 2;
	return true;
}

/* Hints and merges, when none is under way. */
static enum err look_for_work(struct engine *e, uint64_t *wait_ms)
{
	struct keep *k = e->keep;
	uint64_t now = clock_mono_ns(e->o.clock);
	bool busy = false;
	enum err err;

	*wait_ms = 0;
	take_request(e);
	if (now >= k->survey_ns) {
		err = survey(e);
		if (err)
			return err;
		k->survey_ns = now + KEEP_SURVEY_MS * 1000000ull;
	} else if (k->survey_ns - now > KEEP_SURVEY_MS * 1000000ull) {
		k->survey_ns = now; /* a simulated clock may be set back */
	}
	if (merge_is_due_early(k, now)) {
		err = consider_merge(e, false);
		if (err || k->merge)
			return err;
	}
	err = next_hint(e, &busy);
	k->looks += busy;
	if (err || busy)
		return err;
	if (now >= k->merge_retry_ns) {
		k->merge_retry_ns = now + KEEP_SURVEY_MS * 1000000ull;
		err = consider_merge(e, true);
		if (err || k->merge)
			return err;
	}
	*wait_ms = KEEP_SURVEY_MS;
	return OK;
}

/* Clean up behind installs before anything relies on what they changed. */
static enum err replaced_step(struct engine *e, bool *busy)
{
	struct keep *k = e->keep;
	bool gone = false;
	enum err err;

	err = keep_replaced_step(e, busy, &gone);
	if (!gone)
		return err;
	survey_anew(e);
	if (k->hint && !find_file(k, keep_hint_file_id(k->hint))) {
		keep_hint_end(k->hint);
		k->hint = NULL;
	}
	return err;
}

static enum err keep_step(struct engine *e, uint64_t *wait_ms)
{
	struct keep *k = e->keep;
	bool busy;
	enum err err;

	*wait_ms = 0;
	keep_retire_step(e);
	err = replaced_step(e, &busy);
	if (!err && !busy)
		err = keep_segment_step(e, &busy);
	if (err || busy)
		return err;
	if (k->merge)
		return merge_piece(e, wait_ms);
	if (k->hint)
		return hint_step(e);
	return look_for_work(e, wait_ms);
}

enum err engine_keep(struct engine *e, uint64_t *wait_ms)
{
	enum err err;

	*wait_ms = KEEP_SURVEY_MS;
	if (atomic_load(&e->log.poisoned))
		return OK;
	if (!e->keep) {
		e->keep = calloc(1, sizeof(*e->keep));
		if (!e->keep)
			return ERR_NOMEM;
		merge_at_once(e->keep);
	}
	err = keep_step(e, wait_ms);
	if (err && *wait_ms < KEEP_SURVEY_MS)
		*wait_ms = KEEP_SURVEY_MS;
	if (err && err != e->keep->told)
		log_warn("engine", "keep_failed reason=%s", err_text(err));
	if (err || *wait_ms)
		e->keep->told = err;
	return err;
}

void engine_merge_request(struct engine *e)
{
	atomic_store(&e->merge_requested, true);
}

void engine_set_merge_options(struct engine *e,
			      const struct engine_merge_options *merge)
{
	CHECK(merge->dead_ratio >= 0);
	CHECK(merge->dead_ratio <= 1);
	e->o.merge = *merge;
}

uint64_t engine_free_bytes(struct engine *e)
{
	uint64_t bytes;

	return vfs_free_bytes(e->o.vfs, e->dir, &bytes) ? 0 : bytes;
}

void engine_set_min_free(struct engine *e, uint64_t bytes)
{
	if (atomic_exchange(&e->min_free_bytes, bytes) != bytes)
		atomic_store(&e->min_free_changed, true);
}

void keep_free(struct engine *e)
{
	struct keep *k = e->keep;

	if (!k)
		return;
	if (k->merge)
		end_merge(e);
	keep_hint_end(k->hint);
	keep_replaced_free(k->replaced);
	keep_segment_done(e);
	forget_files(k->files, k->file_count);
	free(k);
	e->keep = NULL;
}
