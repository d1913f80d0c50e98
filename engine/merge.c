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
 * lost, an older version in a third file would show again.
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

enum { MERGE_WAITS_MAX = 1000 };

/* ------------------------------------------------------------ new, free -- */

/* What stays of each partition decides which tombstones may go. */
static enum err look_around(struct merge *m)
{
	const struct manifest *mf = &m->e->manifest;

	for (uint32_t i = 0; i < mf->partition_count; i++) {
		const struct manifest_partition *mp = &mf->partitions[i];
		struct merge_part *p = &m->parts[i];

		p->older_min = UINT64_MAX;
		p->dead_index = mp->base_index;
		p->reset_sequence = mp->reset_sequence;
		for (uint32_t k = 0; k < mp->merged_count; k++) {
			const struct manifest_file *f = &mp->merged[k];

			if (merge_has_input(m, f->id))
				p->seen = true;
			else if (f->min_index < p->older_min)
				p->older_min = f->min_index;
		}
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
	for (uint32_t i = 0; i < input_count; i++) {
		m->inputs[i].df = inputs[i].df;
		m->inputs[i].last_sequence = inputs[i].last_sequence;
		if (inputs[i].df->kind == DATAFILE_LOG) {
			CHECK(i == m->log_count);
			m->log_count++;
		}
	}
	m->input_count = input_count;
	pthread_mutex_lock(&e->keep_lock);
	err = look_around(m);
	pthread_mutex_unlock(&e->keep_lock);
	if (err)
		goto out_free;
	*out = m;
	return OK;
out_free:
	free(m->losses);
	free(m->parts);
	free(m->inputs);
	free(m);
	return err;
}

static void remove_output(struct merge *m, struct datafile *df)
{
	static const char *const suffix[] = { ".hint", "" };
	char path[DATAFILE_PATH_BYTES];

	for (int i = 0; i < 2; i++) {
		enum err err;

		datafile_path(df->owner, df->kind, df->id, suffix[i], path);
		err = vfs_unlink(m->e->o.vfs, path);
		if (err && err != ERR_NOT_FOUND)
			log_warn("engine", "leftover_stays path=%s reason=%s",
				 path, err_text(err));
	}
}

void merge_free(struct merge *m)
{
	if (!m)
		return;
	for (uint32_t i = 0; i < m->e->o.partitions; i++) {
		datafile_make_abandon(m->parts[i].maker);
		run_free(m->parts[i].run);
		buf_done(&m->parts[i].config);
	}
	for (uint32_t i = 0; i < m->output_count; i++) {
		if (m->outputs[i].listed)
			continue;
		if (!m->in_doubt)
			remove_output(m, m->outputs[i].df);
		datafile_close(m->outputs[i].df);
	}
	walk_free(m->walk);
	hint_free(m->hint);
	buf_done(&m->other);
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
 * Every byte that the key directory uses of an input was copied. The count of
 * a record that dies meanwhile is lowered a moment later, so look again.
 */
static bool all_copied(const struct merge *m)
{
	for (uint32_t i = 0; i < m->input_count; i++)
		if (atomic_load(&m->inputs[i].df->live_bytes) >
		    m->inputs[i].copied_bytes)
			return false;
	return true;
}

static enum err barrier_step(struct merge *m, enum merge_state *state)
{
	if (!all_durable(m)) {
		*state = MERGE_WAIT;
		return OK;
	}
	if (all_copied(m)) {
		m->phase = PHASE_SWITCH;
		return OK;
	}
	*state = MERGE_WAIT;
	if (++m->waits < MERGE_WAITS_MAX)
		return OK;
	for (uint32_t i = 0; i < m->input_count; i++)
		if (atomic_load(&m->inputs[i].df->live_bytes) >
		    m->inputs[i].copied_bytes)
			m->bad = m->inputs[i].df;
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

		if (!p->seen)
			continue;
		if (p->base_index > mp->base_index) {
			mp->base_index = p->base_index;
			mp->base_term = p->base_term;
			mp->last_stamp_ns = p->stamp_ns;
		}
		err = list_outputs(m, i, mp);
	}
	if (err)
		manifest_done(next);
	return err;
}

/* Out of the file table at once: nobody can have found it yet. */
static void unlist_output(struct engine *e, uint32_t id)
{
	struct file_leaf *leaf = atomic_load(&e->files[id / FILE_TABLE_LEAF]);

	atomic_store(&leaf->files[id % FILE_TABLE_LEAF], NULL);
}

static void raise_bases(struct merge *m)
{
	for (uint32_t i = 0; i < m->e->o.partitions; i++) {
		const struct manifest_partition *mp =
			&m->e->manifest.partitions[i];
		struct partition *p = &m->e->partitions[i];

		if (!m->parts[i].seen)
			continue;
		atomic_store(&p->base_term, mp->base_term);
		atomic_store(&p->base_index, mp->base_index);
	}
}

static enum err switch_locked(struct merge *m)
{
	struct engine *e = m->e;
	struct manifest next;
	uint32_t listed = 0;
	enum err err;

	err = make_manifest(m, &next);
	if (err)
		return err;
	for (; !err && listed < m->output_count; listed += !err)
		err = engine_file_add(e, m->outputs[listed].df);
	if (!err) {
		err = manifest_store(e->o.vfs, e->dir, &next);
		m->in_doubt = err != OK;
	}
	if (err) {
		while (listed > 0)
			unlist_output(e, m->outputs[--listed].df->id);
		if (m->in_doubt &&
		    !manifest_store(e->o.vfs, e->dir, &e->manifest))
			m->in_doubt = false;
		manifest_done(&next);
		return err;
	}
	for (uint32_t i = 0; i < m->output_count; i++)
		m->outputs[i].listed = true;
	manifest_done(&e->manifest);
	e->manifest = next;
	raise_bases(m);
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
	if (!m->hint) {
		m->relocate_item = 0;
		return load_output_hint(m, df);
	}
	run = hint_partition(m->hint, 0)->run;
	kd = m->e->partitions[df->partition].kd;
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

static void remove_inputs(struct merge *m)
{
	pthread_mutex_lock(&m->e->keep_lock);
	for (uint32_t i = 0; i < m->input_count; i++) {
		engine_forget_corrupt(m->e, m->inputs[i].df);
		engine_file_remove(m->e, m->inputs[i].df);
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

struct datafile *merge_input(const struct merge *m, uint32_t i)
{
	return i < m->input_count ? m->inputs[i].df : NULL;
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
