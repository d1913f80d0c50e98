/*
 * engine/merge.c - merge: the order of its steps, and the switch.
 *
 *   outputs written, synced, renamed; hints written; directory synced
 *   barrier: everything appended when the last record was judged is durable
 *   one manifest: outputs in, inputs out, base of each partition raised
 *   key directory: each key from where it was to its output
 *   inputs out of the file table; the keeper removes them when nobody reads
 *
 * A crash before the manifest's rename leaves the inputs in force and outputs
 * that the next open removes; after it the outputs, and inputs that the next
 * open removes. The barrier: a record is judged dead because of a newer one,
 * which may still be only in memory. Were the inputs gone and the newer one
 * lost, an older version in a third file would show again. For the same reason
 * the manifest says up to where entries were settled then (exact_index): that
 * they are committed may be written nowhere else yet, and at a lower index the
 * outputs lack what was current there.
 *
 * When storing the manifest fails it is not known which of the two the disk
 * holds. The old one is stored again; only when that succeeds may the outputs
 * be removed, else both sets stay until the next open knows.
 */
#include "engine/merge.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "engine/merge_internal.h"
#include "engine/unsettled.h"

enum { MERGE_WAITS_MAX = 1000 };

/* ------------------------------------------------------------ new, free -- */

/* Does the manifest list all merged files among the inputs? */
static bool inputs_are_listed(const struct merge *m)
{
	const struct manifest *mf = &m->e->manifest;
	uint32_t listed = m->log_count;

	for (uint32_t i = 0; i < mf->partition_count; i++)
		for (uint32_t k = 0; k < mf->partitions[i].merged_count; k++)
			listed += merge_has_input(
				m, mf->partitions[i].merged[k].id);
	return listed == m->input_count;
}

/* Copies in df, which stays, must not come to lie below a base. */
static void limit_bases(struct merge *m, struct datafile *df)
{
	CHECK(df); /* what the manifest lists is open */
	if (!again_any(m->e, df))
		return;
	for (uint32_t i = 0; i < m->e->o.partitions; i++) {
		uint64_t lowest = again_lowest(m->e, df, (uint16_t)i);

		if (lowest <= m->parts[i].limit_index)
			m->parts[i].limit_index = lowest - 1;
	}
}

/* What stays of each partition decides which tombstones may go. */
static enum err look_around(struct merge *m)
{
	const struct manifest *mf = &m->e->manifest;

	for (uint32_t i = 0; i < mf->partition_count; i++) {
		const struct manifest_partition *mp = &mf->partitions[i];
		struct merge_part *p = &m->parts[i];

		p->older_min = UINT64_MAX;
		p->limit_index = UINT64_MAX;
		p->dead_index = mp->base_index;
		p->installs = atomic_load(&m->e->partitions[i].installs);
		for (uint32_t k = 0; k < mp->merged_count; k++) {
			const struct manifest_file *f = &mp->merged[k];

			if (merge_has_input(m, f->id))
				p->seen = true;
			else if (f->min_index < p->older_min)
				p->older_min = f->min_index;
		}
	}
	for (uint32_t i = m->log_count; i < mf->log_count; i++) {
		struct datafile *df = engine_file(m->e, mf->log[i].id);

		limit_bases(m, df);
		/* What it healed is older than any tombstone may be. */
		for (uint32_t k = 0;
		     atomic_load(&df->healed) && k < mf->partition_count; k++)
			m->parts[k].older_min = 0;
	}
	m->losses = calloc(mf->loss_count + 1, sizeof(*m->losses));
	if (!m->losses)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < mf->loss_count; i++)
		m->losses[i] = mf->losses[i];
	m->loss_count = mf->loss_count;
	for (uint32_t i = 0; i < m->log_count; i++)
		CHECK(mf->log[i].id == m->inputs[i].df->id);
	return OK;
}

static enum err copy_lasts(struct input *in, const struct merge_input *from)
{
	size_t bytes = from->last_count * sizeof(*from->lasts);

	in->lasts = malloc(bytes + 1);
	if (!in->lasts)
		return ERR_NOMEM;
	if (bytes)
		memcpy(in->lasts, from->lasts, bytes);
	in->last_count = from->last_count;
	return OK;
}

static void free_lasts(struct merge *m)
{
	for (uint32_t i = 0; m->inputs && i < m->input_count; i++)
		free(m->inputs[i].lasts);
}

enum err merge_new(struct engine *e, const struct merge_input *inputs,
		   uint32_t input_count, struct merge **out)
{
	struct merge *m = calloc(1, sizeof(*m));
	enum err err = ERR_NOMEM;

	if (!m)
		return ERR_NOMEM;
	m->e = e;
	m->inputs = calloc(input_count, sizeof(*m->inputs));
	m->parts = calloc(e->o.partitions, sizeof(*m->parts));
	if (!m->inputs || !m->parts)
		goto out_free;
	m->input_count = input_count;
	for (uint32_t i = 0; i < input_count; i++) {
		m->inputs[i].df = inputs[i].df;
		m->inputs[i].last_sequence = inputs[i].last_sequence;
		err = copy_lasts(&m->inputs[i], &inputs[i]);
		if (err)
			goto out_free;
		if (inputs[i].df->kind == DATAFILE_LOG) {
			CHECK(i == m->log_count);
			m->log_count++;
		}
	}
	pthread_mutex_lock(&e->keep_lock);
	err = inputs_are_listed(m) ? look_around(m) : ERR_BUSY;
	pthread_mutex_unlock(&e->keep_lock);
	if (err)
		goto out_free;
	for (uint32_t i = 0; i < input_count; i++)
		datafile_pin(m->inputs[i].df);
	*out = m;
	return OK;
out_free:
	free_lasts(m);
	free(m->losses);
	free(m->parts);
	free(m->inputs);
	free(m);
	return err;
}

/*
 * A snapshot was installed for the partition since the merge began: what it
 * had before is dead, and so is what this merge made of it. Exact under
 * keep_lock; else, once true, for good.
 */
static bool merge_is_overtaken(const struct merge *m, uint32_t partition)
{
	return atomic_load(&m->e->partitions[partition].installs) !=
	       m->parts[partition].installs;
}

void merge_free(struct merge *m)
{
	if (!m)
		return;
	for (uint32_t i = 0; i < m->e->o.partitions; i++) {
		output_abandon(&m->parts[i].output);
		buf_done(&m->parts[i].config);
	}
	for (uint32_t i = 0; i < m->output_count; i++) {
		if (m->outputs[i].listed)
			datafile_unpin(m->outputs[i].df);
		else if (m->in_doubt)
			datafile_close(m->outputs[i].df);
		else
			output_remove(m->e, m->outputs[i].df);
	}
	for (uint32_t i = 0; i < m->input_count; i++)
		datafile_unpin(m->inputs[i].df);
	walk_free(m->walk);
	hint_free(m->hint);
	buf_done(&m->other);
	free_lasts(m);
	free(m->losses);
	free(m->outputs);
	free(m->parts);
	free(m->inputs);
	free(m);
}

/* ------------------------------------------------------------- barrier --- */

/* Whatever sync_mode says: sync_wanted has the writer sync for once. */
static bool all_durable(struct merge *m)
{
	struct engine *e = m->e;

	if (atomic_load(&e->log.synced_sequence) >= m->barrier_sequence)
		return true;
	atomic_store(&e->sync_wanted, true);
	return false;
}

/*
 * An input that has bytes which the key directory uses and were not copied,
 * or NULL. The count of a record that dies meanwhile is lowered a moment later,
 * so look again.
 */
static struct datafile *not_copied(const struct merge *m)
{
	for (uint32_t i = 0; i < m->input_count; i++) {
		struct datafile *df = m->inputs[i].df;

		if (df->kind == DATAFILE_MERGED &&
		    merge_is_overtaken(m, df->partition))
			continue;
		if (atomic_load(&df->live_bytes) > m->inputs[i].copied_bytes)
			return df;
	}
	return NULL;
}

static enum err barrier_step(struct merge *m, enum merge_state *state)
{
	struct datafile *df;

	if (!all_durable(m)) {
		*state = MERGE_WAIT;
		return OK;
	}
	df = not_copied(m);
	if (!df) {
		m->phase = PHASE_SWITCH;
		return OK;
	}
	*state = MERGE_WAIT;
	if (++m->waits < MERGE_WAITS_MAX)
		return OK;
	m->bad = df;
	log_error("engine", "merge_lacks_records file=%08x", m->bad->id);
	return ERR_CORRUPT;
}

/* -------------------------------------------------------------- switch --- */

static void drop_losses(const struct merge *m, struct manifest *next)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < next->loss_count; i++)
		if (!merge_has_input(m, next->losses[i].file_id))
			next->losses[kept++] = next->losses[i];
	next->loss_count = kept;
}

/* The partition's list without inputs and with its outputs. */
static enum err list_outputs(const struct merge *m, uint32_t partition,
			     struct manifest_partition *mp)
{
	struct manifest_file *files;
	uint32_t n = 0;

	files = calloc(mp->merged_count + m->output_count + 1, sizeof(*files));
	if (!files)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < mp->merged_count; i++)
		if (!merge_has_input(m, mp->merged[i].id))
			files[n++] = mp->merged[i];
	for (uint32_t i = 0; i < m->output_count; i++) {
		const struct datafile *df = m->outputs[i].df;

		if (df->partition != partition)
			continue;
		files[n++] = (struct manifest_file){
			.id = df->id,
			.salt = df->salt,
			.bytes = df->bytes,
			.min_index = df->min_index,
			.max_index = df->max_index,
		};
	}
	free(mp->merged);
	mp->merged = files;
	mp->merged_count = n;
	return OK;
}

static enum err make_manifest(const struct merge *m, struct manifest *next)
{
	enum err err;

	err = manifest_copy(&m->e->manifest, next);
	if (err)
		return err;
	CHECK(next->log_count > m->log_count);
	for (uint32_t i = 0; i < m->log_count; i++)
		CHECK(next->log[i].id == m->inputs[i].df->id);
	next->log_count -= m->log_count;
	memmove(next->log, next->log + m->log_count,
		next->log_count * sizeof(*next->log));
	for (uint32_t i = 0; i < m->log_count; i++)
		if (m->inputs[i].last_sequence >= next->log_floor_sequence)
			next->log_floor_sequence =
				m->inputs[i].last_sequence + 1;
	drop_losses(m, next);
	for (uint32_t i = 0; !err && i < next->partition_count; i++) {
		struct manifest_partition *mp = &next->partitions[i];
		const struct merge_part *p = &m->parts[i];

		if (!p->seen || merge_is_overtaken(m, i))
			continue;
		if (p->base_index > mp->base_index) {
			mp->base_index = p->base_index;
			mp->base_term = p->base_term;
			mp->last_stamp_ns = p->stamp_ns;
		}
		if (p->exact_index > mp->exact_index)
			mp->exact_index = p->exact_index;
		err = list_outputs(m, i, mp);
	}
	if (err)
		manifest_done(next);
	return err;
}

static void raise_bases(struct merge *m)
{
	for (uint32_t i = 0; i < m->e->o.partitions; i++) {
		const struct manifest_partition *mp =
			&m->e->manifest.partitions[i];
		struct partition *p = &m->e->partitions[i];

		if (!m->parts[i].seen || merge_is_overtaken(m, i))
			continue;
		atomic_store(&p->base_term, mp->base_term);
		atomic_store(&p->base_index, mp->base_index);
	}
}

/* Outputs of a partition that was replaced meanwhile are listed nowhere. */
static enum err add_outputs(struct merge *m)
{
	enum err err = OK;

	for (uint32_t i = 0; !err && i < m->output_count; i++) {
		struct sealed *o = &m->outputs[i];

		if (merge_is_overtaken(m, o->df->partition))
			continue;
		err = engine_file_add(m->e, o->df);
		o->listed = err == OK;
		if (o->listed) /* an install may replace it before the end */
			datafile_pin(o->df);
	}
	return err;
}

static void unlist_outputs(struct merge *m)
{
	for (uint32_t i = 0; i < m->output_count; i++) {
		struct sealed *o = &m->outputs[i];

		if (!o->listed)
			continue;
		engine_file_unlist(m->e, o->df);
		datafile_unpin(o->df);
		o->listed = false;
	}
}

static enum err switch_locked(struct merge *m)
{
	struct engine *e = m->e;
	struct manifest next;
	enum err err;

	err = make_manifest(m, &next);
	if (err)
		return err;
	err = add_outputs(m);
	if (!err) {
		err = manifest_store(e->o.vfs, e->dir, &next);
		m->in_doubt = err != OK;
	}
	if (err) {
		unlist_outputs(m);
		if (m->in_doubt &&
		    !manifest_store(e->o.vfs, e->dir, &e->manifest))
			m->in_doubt = false;
		manifest_done(&next);
		return err;
	}
	manifest_done(&e->manifest);
	e->manifest = next;
	raise_bases(m);
	for (uint32_t i = 0; i < e->o.partitions; i++)
		m->parts[i].overtaken = merge_is_overtaken(m, i);
	return OK;
}

static enum err switch_step(struct merge *m)
{
	enum err err;

	pthread_mutex_lock(&m->e->keep_lock);
	err = switch_locked(m);
	pthread_mutex_unlock(&m->e->keep_lock);
	if (!err)
		m->phase = PHASE_RELOCATE;
	return err;
}

/* ------------------------------------------------------------ relocate --- */

static void count_moved(struct merge *m, uint64_t from, struct datafile *to,
			uint64_t bytes)
{
	struct datafile *df = engine_file(m->e, loc_file_id(from));

	CHECK(df);
	atomic_fetch_sub(&df->live_bytes, bytes);
	atomic_fetch_add(&to->live_bytes, bytes);
}

/* Point the key at the output, wherever the same version lay. Lock held. */
static enum err relocate_item(struct merge *m, struct keydir *kd,
			      struct datafile *to, const struct run_item *item)
{
	const struct keydir_entry *k = keydir_get(kd, item->key);
	uint64_t from;
	bool moved;
	enum err err;

	if (!k || k->version != item->version || k->loc == item->loc)
		return OK;
	from = k->loc;
	err = keydir_move(kd, item->key, item->version, from, item->loc,
			  &moved);
	if (err)
		return err;
	CHECK(moved);
	count_moved(m, from, to, item->disk_bytes);
	if (item->loc & LOC_DAMAGED)
		engine_note_corrupt(m->e, to, loc_off(item->loc), 1);
	return OK;
}

static enum err load_output_hint(struct merge *m, const struct datafile *df)
{
	struct hint_file file = { .file_id = df->id,
				  .salt = df->salt,
				  .data_bytes = df->bytes };
	char path[DATAFILE_PATH_BYTES];

	datafile_path(df->owner, df->kind, df->id, ".hint", path);
	return hint_load(m->e->o.vfs, path, &file, &m->hint);
}

static enum err relocate_step(struct merge *m)
{
	struct datafile *df;
	const struct run *run;
	struct keydir *kd;
	enum err err = OK;
	uint64_t end;

	if (m->relocate == m->output_count) {
		m->phase = PHASE_REMOVE;
		return OK;
	}
	df = m->outputs[m->relocate].df;
	/* The directory before the count: an install raises that one first. */
	kd = atomic_load(&m->e->partitions[df->partition].kd);
	if (!m->outputs[m->relocate].listed ||
	    merge_is_overtaken(m, df->partition)) {
		hint_free(m->hint);
		m->hint = NULL;
		m->relocate++;
		return OK;
	}
	if (!m->hint) {
		m->relocate_item = 0;
		return load_output_hint(m, df);
	}
	run = hint_partition(m->hint, 0)->run;
	end = m->relocate_item + MERGE_STEP_ITEMS / 4;
	if (end > run_count(run))
		end = run_count(run);
	keydir_lock(kd);
	for (; !err && m->relocate_item < end; m->relocate_item += !err) {
		struct run_item item;

		run_item(run, m->relocate_item, &item);
		if (item.type == RECORD_PUT)
			err = relocate_item(m, kd, df, &item);
	}
	keydir_unlock(kd);
	if (err || m->relocate_item < run_count(run))
		return err;
	hint_free(m->hint);
	m->hint = NULL;
	m->relocate++;
	return OK;
}

/*
 * Did the switch take df out of the manifest? Else an install had done so
 * before it, and whoever cleans up behind that removes df.
 */
static bool is_ours(const struct merge *m, const struct datafile *df)
{
	return df->kind == DATAFILE_LOG || !m->parts[df->partition].overtaken;
}

static void remove_inputs(struct merge *m)
{
	pthread_mutex_lock(&m->e->keep_lock);
	for (uint32_t i = 0; i < m->input_count; i++) {
		struct input *in = &m->inputs[i];

		in->gone = !is_ours(m, in->df);
		if (in->gone)
			continue;
		engine_forget_corrupt(m->e, in->df);
		engine_file_remove(m->e, in->df);
	}
	pthread_mutex_unlock(&m->e->keep_lock);
	m->phase = PHASE_DONE;
}

/* ---------------------------------------------------------------- step --- */

enum err merge_step(struct merge *m, uint64_t *moved_bytes,
		    enum merge_state *state, struct datafile **bad)
{
	uint64_t began = m->moved_bytes;
	enum err err = OK;

	*state = MERGE_MORE;
	switch (m->phase) {
	case PHASE_COPY:
		err = merge_copy_step(m);
		break;
	case PHASE_SEAL:
		err = merge_seal_step(m);
		break;
	case PHASE_BARRIER:
		err = barrier_step(m, state);
		break;
	case PHASE_SWITCH:
		err = switch_step(m);
		break;
	case PHASE_RELOCATE:
		err = relocate_step(m);
		break;
	case PHASE_REMOVE:
		remove_inputs(m);
		break;
	case PHASE_DONE:
		break;
	}
	if (m->phase == PHASE_DONE)
		*state = MERGE_DONE;
	*moved_bytes = m->moved_bytes - began;
	*bad = m->bad;
	return err;
}

bool merge_switched(const struct merge *m)
{
	return m->phase > PHASE_SWITCH;
}

bool merge_input(const struct merge *m, uint32_t i, struct datafile **df)
{
	if (i >= m->input_count)
		return false;
	*df = m->inputs[i].gone ? NULL : m->inputs[i].df;
	return true;
}

bool merge_output(const struct merge *m, uint32_t i, uint32_t *file_id,
		  uint64_t *kept_bytes)
{
	if (i >= m->output_count)
		return false;
	*file_id = m->outputs[i].df->id;
	*kept_bytes = m->outputs[i].kept_bytes;
	return true;
}
