/*
 * engine/install_commit.c - putting an installed state in force.
 *
 *   1  term and vote, if new, go to the log; the log is synced: everything of
 *      the partition that stands in it now has a frame before `sequence`
 *   2  one manifest: the partition's files are the new ones, its base is
 *      (index, term), its reset is `sequence`
 *   3  key directory, expiries, tail, terms and counters are exchanged
 *   4  the commit index goes to the log
 *
 * A crash before the rename of 2 leaves the old state whole, and files that
 * the next open removes; after it the new one, and old files likewise. The
 * sync must come first: what is not proved synced is copied by the next open
 * behind itself, to frames with other numbers, and dead records would pass the
 * reset (engine/load.c takes the reset for a proof). The commit index must
 * come last: recorded before the switch it would let a restart settle the old
 * log, which may be another leader's, up to it.
 *
 * When storing the manifest fails and it cannot be established that the old
 * one is in force, appending is over: what is appended after the reset would
 * be read on top of the wrong state.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "engine/install.h"
#include "engine/readback.h"
#include "engine/unsettled.h"

static struct partition *partition_of(const struct engine_install *in)
{
	return &in->e->partitions[in->partition];
}

/* ------------------------------------------------------------- manifest -- */

static enum err make_manifest(const struct engine_install *in,
			      struct manifest *next)
{
	struct manifest_partition *mp;
	struct manifest_file *files;
	enum err err = manifest_copy(&in->e->manifest, next);

	if (err)
		return err;
	files = calloc(in->file_count, sizeof(*files));
	if (!files) {
		manifest_done(next);
		return ERR_NOMEM;
	}
	for (uint32_t i = 0; i < in->file_count; i++) {
		const struct datafile *df = in->files[i];

		files[i] = (struct manifest_file){
			.id = df->id,
			.salt = df->salt,
			.bytes = df->bytes,
			.min_index = df->min_index,
			.max_index = df->max_index,
		};
	}
	mp = &next->partitions[in->partition];
	free(mp->merged);
	*mp = (struct manifest_partition){
		.base_index = in->index,
		.base_term = in->term,
		.reset_sequence = in->e->log.sequence,
		.exact_index = in->index,
		.last_stamp_ns = in->stamp_ns,
		.merged = files,
		.merged_count = in->file_count,
	};
	return OK;
}

/* Storing it failed: is the old manifest the one that is there? */
static bool old_is_there(const struct engine_install *in)
{
	struct engine *e = in->e;
	const struct manifest_partition *old =
		&e->manifest.partitions[in->partition];
	const struct manifest_partition *mp;
	struct manifest found;
	bool same;

	if (manifest_load(e->o.vfs, e->dir, &found))
		return false;
	mp = &found.partitions[in->partition];
	same = found.partition_count == e->manifest.partition_count &&
	       mp->base_index == old->base_index &&
	       mp->reset_sequence == old->reset_sequence;
	manifest_done(&found);
	return same;
}

static enum err store_manifest(struct engine_install *in,
			       const struct manifest *next)
{
	struct engine *e = in->e;
	enum err err = manifest_store(e->o.vfs, e->dir, next);

	if (!err || old_is_there(in) ||
	    !manifest_store(e->o.vfs, e->dir, &e->manifest))
		return err;
	in->in_doubt = true;
	log_poison(&e->log, "install", err);
	return ERR_IO;
}

/* ------------------------------------------------------------- exchange -- */

/* Room for what goes, so that the switch itself needs none. */
static enum err new_replaced(const struct engine_install *in,
			     struct replaced **out)
{
	struct engine *e = in->e;
	const struct manifest_partition *mp =
		&e->manifest.partitions[in->partition];
	struct replaced *r;

	r = calloc(1, sizeof(*r) + mp->merged_count * sizeof(r->files[0]));
	if (!r)
		return ERR_NOMEM;
	r->partition = in->partition;
	r->file_count = mp->merged_count;
	for (uint32_t i = 0; i < mp->merged_count; i++) {
		r->files[i] = engine_file(e, mp->merged[i].id);
		CHECK(r->files[i]); /* what the manifest lists is open */
	}
	*out = r;
	return OK;
}

/*
 * The new manifest is in force. Readers go from the old directory to the new
 * one at the store of its pointer; the count of installs is raised before, for
 * a merge that must not take one for the other. keep_lock held.
 */
static void put_in_force(struct engine_install *in, struct replaced *r)
{
	struct partition *p = partition_of(in);
	struct engine *e = in->e;
	uint64_t reset = e->manifest.partitions[in->partition].reset_sequence;

	r->kd = atomic_load(&p->kd);
	r->expiry = p->expiry;
	r->next = e->replaced;
	e->replaced = r;
	atomic_fetch_add(&p->installs, 1);
	atomic_store(&p->kd, in->kd);
	p->expiry = in->expiry;
	p->client_entries = in->client_entries;
	in->kd = NULL;
	in->expiry = (struct expiry){ 0 };
	in->file_count = 0; /* they are the table's now */
	/* The log begins anew here. */
	pthread_mutex_lock(&e->terms_lock);
	terms_reset(&p->terms, in->index, in->term);
	atomic_store(&p->reset_sequence, reset);
	pthread_mutex_unlock(&e->terms_lock);
	unsettled_cut(e, p, 1);
	p->missing = 0;
	tail_done(&p->tail);
	readback_forget(e, in->partition);
	p->synced_index = p->written_index = in->index;
	p->last_stamp_ns = in->stamp_ns;
	atomic_store(&p->base_term, in->term);
	atomic_store(&p->base_index, in->index);
	atomic_store(&p->settling_index, in->index);
	atomic_store(&p->applied_index, in->index);
}

static enum err switch_locked(struct engine_install *in)
{
	struct engine *e = in->e;
	struct manifest next;
	struct replaced *r;
	uint32_t listed = 0;
	enum err err;

	err = make_manifest(in, &next);
	if (err)
		return err;
	err = new_replaced(in, &r);
	if (err)
		goto out_manifest;
	for (; !err && listed < in->file_count; listed += !err)
		err = engine_file_add(e, in->files[listed]);
	if (!err)
		err = store_manifest(in, &next);
	if (err)
		goto out_files;
	manifest_done(&e->manifest);
	e->manifest = next;
	log_info("engine", "installed partition=%u index=%llu files=%u",
		 in->partition, (unsigned long long)in->index, in->file_count);
	put_in_force(in, r);
	return OK;
out_files:
	while (listed > 0)
		engine_file_unlist(e, in->files[--listed]);
	free(r);
out_manifest:
	manifest_done(&next);
	return err;
}

/* --------------------------------------------------------------- commit -- */

/* Everything appended so far is durable, and hs's term and vote with it. */
static enum err make_durable(struct engine_install *in,
			     const struct engine_hard_state *hs)
{
	struct engine *e = in->e;
	struct engine_hard_state now = partition_of(in)->hard_state;
	enum err err = OK;

	if (hs->term != now.term || hs->vote != now.vote) {
		now.term = hs->term;
		now.vote = hs->vote;
		err = engine_set_hard_state(e, in->partition, &now);
	}
	if (err)
		return err;
	atomic_store(&e->sync_wanted, true); /* whatever sync_mode says */
	return engine_sync(e);
}

/* The base says as much; so without room for it nothing is lost. */
static enum err record_commit(struct engine *e, uint16_t partition,
			      struct engine_hard_state hs)
{
	struct partition *p = &e->partitions[partition];
	uint64_t base = atomic_load(&p->base_index);
	enum err err;

	if (hs.commit < base)
		hs.commit = base;
	err = engine_set_hard_state(e, partition, &hs);
	if (err && atomic_load(&e->log.poisoned))
		return ERR_IO;
	p->hard_state.commit = hs.commit;
	return OK;
}

enum err engine_install_commit(struct engine_install *in,
			       const struct engine_hard_state *hs)
{
	uint64_t applied = atomic_load(&partition_of(in)->applied_index);
	uint16_t partition = in->partition;
	struct engine *e = in->e;
	enum err err = ERR_INVALID;

	CHECK(in->finished);
	if (in->index > applied) {
		err = make_durable(in, hs);
		if (!err) {
			pthread_mutex_lock(&e->keep_lock);
			err = switch_locked(in);
			pthread_mutex_unlock(&e->keep_lock);
		}
	}
	if (err == ERR_NOSPC || err == ERR_NOMEM)
		return err;
	if (!err)
		err = record_commit(e, partition, *hs);
	engine_install_abort(in); /* what was taken over is in it no more */
	return err;
}
