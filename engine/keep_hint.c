/*
 * engine/keep_hint.c - writing the hint of a file that has none.
 *
 * A sealed log segment is walked once; each partition in it gets a run of the
 * settled records that are part of its log. While a tail points into it, it is
 * not known what will be settled of it, so the hint waits. A merged file whose
 * hint was lost gets it back the same way.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "engine/keep_internal.h"
#include "engine/walk.h"

struct hint_job {
	struct datafile *df;
	uint64_t last_sequence; /* asked for; 0: unknown                     */
	uint64_t seen_sequence;
	struct walk *walk;
	struct hint_partition **parts; /* by partition, NULL: not in here    */
	struct spans {
		struct hint_span *list;
		uint32_t count, cap;
	} * spans; /* by partition                                          */
	uint64_t installs; /* into all partitions when the walk began        */
	uint32_t part_count, partitions;
	bool damaged;
	bool healed; /* holds records that a hint cannot tell: it gets none  */
};

uint32_t keep_hint_file_id(const struct hint_job *job)
{
	return job->df->id;
}

void keep_hint_end(struct hint_job *job)
{
	if (!job)
		return;
	for (uint32_t i = 0; job->parts && i < job->partitions; i++) {
		if (!job->parts[i])
			continue;
		run_free(job->parts[i]->run);
		free(job->parts[i]);
	}
	for (uint32_t i = 0; job->spans && i < job->partitions; i++)
		free(job->spans[i].list);
	free(job->spans);
	walk_free(job->walk);
	free(job->parts);
	free(job);
}

/* How many snapshots were installed since the start. */
static uint64_t count_installs(struct engine *e)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < e->o.partitions; i++)
		n += atomic_load(&e->partitions[i].installs);
	return n;
}

enum err keep_hint_begin(struct engine *e, struct datafile *df,
			 uint64_t last_sequence, struct hint_job **out)
{
	struct hint_job *job = calloc(1, sizeof(*job));
	enum err err = ERR_NOMEM;

	if (!job)
		return ERR_NOMEM;
	job->df = df;
	job->last_sequence = last_sequence;
	job->partitions = e->o.partitions;
	job->parts = calloc(e->o.partitions, sizeof(struct hint_partition *));
	job->spans = calloc(e->o.partitions, sizeof(*job->spans));
	job->installs = count_installs(e);
	if (job->parts && job->spans)
		err = walk_new(df, last_sequence, &job->walk);
	if (err) {
		keep_hint_end(job);
		return err;
	}
	*out = job;
	return OK;
}

/* ---------------------------------------------------------------- look --- */

static void set_lasts(struct keep_file *f, struct merge_last *lasts, uint32_t n)
{
	free(f->lasts);
	f->lasts = lasts;
	f->last_count = n;
}

static void hint_path(const struct datafile *df, char *path)
{
	datafile_path(df->owner, df->kind, df->id, ".hint", path);
}

enum err keep_hint_look(struct engine *e, struct keep_file *f,
			struct datafile *df)
{
	struct hint_file ask = { .file_id = df->id,
				 .salt = df->salt,
				 .data_bytes = df->bytes };
	char path[DATAFILE_PATH_BYTES];
	struct hint_partition *parts;
	struct merge_last *lasts;
	struct hint_file found;
	uint32_t count;
	enum err err;

	/* One from before the writer went on in the segment does not fit. */
	if (df->kind == DATAFILE_LOG)
		ask.last_sequence = atomic_load(&df->last_sequence);
	f->looked = true;
	f->hinted = false;
	hint_path(df, path);
	err = hint_load_table(e->o.vfs, path, &ask, &found, &parts, &count);
	if (err == ERR_NOMEM || err == ERR_IO)
		return err;
	if (err)
		return OK;
	if (df->kind == DATAFILE_LOG && df->max_index &&
	    found.last_sequence > df->max_index) {
		free(parts); /* from before a recovery ended it earlier */
		return OK;
	}
	lasts = calloc(count ? count : 1, sizeof(*lasts));
	if (!lasts) {
		free(parts);
		return ERR_NOMEM;
	}
	f->kept_bytes = 0;
	for (uint32_t i = 0; i < count; i++) {
		lasts[i].partition = parts[i].partition;
		lasts[i].index = parts[i].last_index;
		f->kept_bytes += parts[i].kept_bytes;
	}
	set_lasts(f, lasts, count);
	f->last_sequence = found.last_sequence;
	f->hinted = true;
	free(parts);
	return OK;
}

/* ---------------------------------------------------------------- walk --- */

static enum err job_part(struct hint_job *job, uint16_t partition,
			 struct hint_partition **out)
{
	struct hint_partition *hp = job->parts[partition];
	enum err err;

	if (!hp) {
		hp = calloc(1, sizeof(*hp));
		if (!hp)
			return ERR_NOMEM;
		err = run_new(&hp->run);
		if (err) {
			free(hp);
			return err;
		}
		hp->partition = partition;
		job->parts[partition] = hp;
		job->part_count++;
	}
	*out = hp;
	return OK;
}

static enum err add_record(struct hint_job *job, struct hint_partition *hp,
			   const struct walk_item *it)
{
	const struct record *r = &it->record;
	unsigned damaged = it->state == RECORD_BAD_VALUE ? LOC_DAMAGED : 0;
	struct run_item item = {
		.key = r->key,
		.version = version_pack(r->index, r->position),
		.loc = loc_pack(job->df->id, it->off,
				record_loc_flags(r) | damaged),
		.term = r->term,
		.expiry_ns = r->expiry_ns,
		.value_bytes = record_logical_bytes(r),
		.disk_bytes = (uint32_t)it->bytes,
		.attr_bytes = (uint16_t)r->attrs.n,
		.type = r->type,
	};

	if (!hp->first_index || r->index < hp->first_index)
		hp->first_index = r->index;
	if (r->index >= hp->last_index) {
		hp->last_index = r->index;
		hp->last_term = r->term;
		hp->last_stamp_ns = r->stamp_ns;
	}
	if (r->type != RECORD_PUT)
		hp->kept_bytes += it->bytes;
	if (r->type == RECORD_CONFIG && item.version > hp->config_version) {
		hp->config_version = item.version;
		hp->config_loc = item.loc;
	}
	if (r->type == RECORD_NOOP || r->type == RECORD_CONFIG)
		return OK;
	return run_add(hp->run, &item);
}

/* Room for one more span, at position at. */
static enum err insert_span(struct spans *s, uint32_t at, uint64_t index,
			    uint64_t term)
{
	if (s->count == s->cap) {
		uint32_t cap = s->cap ? s->cap * 2 : 4;
		struct hint_span *list = realloc(s->list, cap * sizeof(*list));

		if (!list)
			return ERR_NOMEM;
		s->list = list;
		s->cap = cap;
	}
	CHECK(s->list);
	memmove(&s->list[at + 1], &s->list[at],
		(s->count - at) * sizeof(*s->list));
	s->list[at] = (struct hint_span){ index, index, term };
	s->count++;
	return OK;
}

/*
 * A live entry of the log stands at index. Mostly it is one up; one that was
 * appended again may come anywhere.
 */
static enum err add_span(struct spans *s, uint64_t index, uint64_t term)
{
	uint32_t at = s->count;
	struct hint_span *x;

	while (at > 0 && s->list[at - 1].first > index)
		at--;
	x = at > 0 ? &s->list[at - 1] : NULL;
	if (x && index <= x->last)
		return OK; /* one more record of it, or a copy */
	if (!x || index != x->last + 1 || term != x->term)
		return insert_span(s, at, index, term);
	x->last = index;
	if (at < s->count && x[1].first == index + 1 && x[1].term == term) {
		x->last = x[1].last;
		memmove(&x[1], &x[2], (--s->count - at) * sizeof(*x));
	}
	return OK;
}

static enum err see_record(struct engine *e, struct hint_job *job,
			   const struct walk_item *it)
{
	const struct record *r = &it->record;
	struct hint_partition *hp;
	enum err err;

	if (r->partition >= job->partitions) {
		job->damaged = true;
		return OK;
	}
	if (r->type == RECORD_HARD_STATE)
		return OK;
	if (it->frame.flags & FRAME_HEALED) {
		job->healed = true;
		return OK;
	}
	if (job->df->kind == DATAFILE_LOG) {
		struct partition *p = &e->partitions[r->partition];

		/* Above applied: dead, or carried to a later segment. */
		if (r->index <= atomic_load(&p->base_index) ||
		    r->index > atomic_load(&p->applied_index) ||
		    !engine_record_live(e, r->partition, r->index, r->term,
					it->frame.sequence))
			return OK;
	}
	err = job_part(job, r->partition, &hp);
	if (!err && job->df->kind == DATAFILE_LOG)
		err = add_span(&job->spans[r->partition], r->index, r->term);
	return err ? err : add_record(job, hp, it);
}

/* ---------------------------------------------------------------- write -- */

static enum err note_file(struct hint_job *job, struct keep_file *f)
{
	struct merge_last *lasts;
	uint32_t n = 0;

	lasts = calloc(job->part_count + 1, sizeof(*lasts));
	if (!lasts)
		return ERR_NOMEM;
	f->kept_bytes = 0;
	for (uint32_t i = 0; i < job->partitions; i++) {
		if (!job->parts[i])
			continue;
		f->kept_bytes += job->parts[i]->kept_bytes;
		lasts[n++] =
			(struct merge_last){ job->parts[i]->last_index, i };
	}
	set_lasts(f, lasts, n);
	if (job->df->kind == DATAFILE_LOG)
		f->last_sequence = job->seen_sequence;
	f->unmergeable = job->damaged;
	f->walked = true;
	return OK;
}

static enum err write_hint(struct engine *e, struct hint_job *job)
{
	struct hint_file file = { .file_id = job->df->id,
				  .salt = job->df->salt,
				  .data_bytes = job->df->bytes,
				  .last_sequence = job->seen_sequence };
	char path[DATAFILE_PATH_BYTES];
	struct hint_partition *parts;
	uint32_t n = 0;
	enum err err;

	parts = calloc(job->part_count + 1, sizeof(*parts));
	if (!parts)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < job->partitions; i++) {
		if (!job->parts[i])
			continue;
		run_sort(job->parts[i]->run);
		parts[n] = *job->parts[i];
		parts[n].spans = job->spans[i].list;
		parts[n++].span_count = job->spans[i].count;
	}
	CHECK(n == job->part_count);
	hint_path(job->df, path);
	err = hint_write(e->o.vfs, path, &file, parts, n);
	if (!err)
		err = vfs_sync_dir(e->o.vfs, e->dir);
	free(parts);
	return err;
}

static enum err finish(struct engine *e, struct hint_job *job,
		       struct keep_file *f)
{
	enum err err;

	/* What was live when the walk began may be dead now: walk again. */
	if (job->df->kind == DATAFILE_LOG && job->installs != count_installs(e))
		return OK;
	err = note_file(job, f);
	f->unhintable = job->healed;
	if (err || job->damaged || job->healed)
		return err;
	err = write_hint(e, job);
	if (!err)
		f->hinted = true;
	return err;
}

/* What an operator gave up must not keep the log from being merged. */
static bool loss_accepted(struct engine *e, const struct hint_job *job,
			  const struct walk_item *it)
{
	const struct manifest *m = &e->manifest;
	bool lost;

	pthread_mutex_lock(&e->keep_lock);
	lost = manifest_is_lost(m->losses, m->loss_count, job->df->id, it->off,
				it->bytes);
	pthread_mutex_unlock(&e->keep_lock);
	return lost;
}

enum err keep_hint_step(struct engine *e, struct hint_job *job,
			struct keep_file *f, bool *done)
{
	uint64_t seen_bytes = 0;
	struct walk_item it;
	enum err err = OK;

	*done = false;
	while (!err && seen_bytes < KEEP_STEP_BYTES) {
		err = walk_next(job->walk, &it);
		if (err)
			break;
		switch (it.kind) {
		case WALK_FRAME:
			job->seen_sequence = it.frame.sequence;
			seen_bytes += FRAME_ALIGN_BYTES;
			break;
		case WALK_RECORD:
			err = see_record(e, job, &it);
			seen_bytes += it.bytes;
			break;
		case WALK_DAMAGE:
			job->damaged |= !loss_accepted(e, job, &it);
			seen_bytes += it.bytes;
			break;
		case WALK_END:
			*done = true;
			return finish(e, job, f);
		}
	}
	return err;
}
