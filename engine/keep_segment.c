/*
 * engine/keep_segment.c - segments before their use and after it.
 *
 * The writer should never wait for a new segment, and overwriting a file that
 * holds no hole costs half of what growing one costs (docs/decisions.md). So
 * a segment that a merge set free is kept, at most two of them, and becomes
 * the next one under a fresh salt; without one a file is filled with zeros, in
 * pieces, once the active segment is half full. Frames that are written
 * without zeros before them (LOG_DIRECT_BYTES) gain nothing by that, and would
 * share the disk with as many zeros again: for those a file is only reserved.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "engine/keep_internal.h"

enum { FILL_BYTES = 1 << 20 };

static void fresh_path(const struct engine *e, char path[DATAFILE_PATH_BYTES])
{
	snprintf(path, DATAFILE_PATH_BYTES, "%s/spare-0.tmp", e->dir);
}

static void unlink_quietly(struct engine *e, const char *path)
{
	enum err err = vfs_unlink(e->o.vfs, path);

	if (err && err != ERR_NOT_FOUND)
		log_warn("engine", "leftover_stays path=%s reason=%s", path,
			 err_text(err));
}

/* ------------------------------------------------------------- retired --- */

enum err keep_retire_reserve(struct keep *k, uint32_t count)
{
	uint32_t need = k->retired_count + k->merge_inputs + count;
	struct keep_retired *r;

	if (need <= k->retired_cap)
		return OK;
	r = realloc(k->retired, need * sizeof(*r));
	if (!r)
		return ERR_NOMEM;
	k->retired = r;
	k->retired_cap = need;
	return OK;
}

void keep_retire(struct keep *k, struct datafile *df)
{
	CHECK(k->retired_count < k->retired_cap);
	k->retired[k->retired_count++].df = df;
}

static void release_file(struct engine *e, struct datafile *df)
{
	char path[DATAFILE_PATH_BYTES];
	struct keep *k = e->keep;
	bool recycle = df->kind == DATAFILE_LOG &&
		       df->bytes == e->o.segment_bytes &&
		       k->spare_count < KEEP_SPARES_MAX &&
		       !atomic_load(&e->out_of_space);

	datafile_path(df->owner, df->kind, df->id, ".hint", path);
	unlink_quietly(e, path);
	if (recycle) {
		k->spares[k->spare_count++] = df->id;
	} else {
		datafile_path(df->owner, df->kind, df->id, "", path);
		unlink_quietly(e, path);
	}
	datafile_close(df);
}

void keep_retire_step(struct engine *e)
{
	struct keep *k = e->keep;
	uint32_t kept = 0;

	if (k->retired_count == 0)
		return;
	epoch_collect(e->readers);
	for (uint32_t i = 0; i < k->retired_count; i++) {
		struct datafile *df = k->retired[i].df;

		if (datafile_idle(df))
			release_file(e, df);
		else
			k->retired[kept++].df = df;
	}
	k->retired_count = kept;
}

/* ---------------------------------------------------------------- next --- */

static bool active_half_full(struct engine *e)
{
	struct datafile *df;
	bool half;

	epoch_enter(e->readers);
	df = engine_file(e, engine_active_id(e));
	half = df && atomic_load(&df->written) > df->bytes / 2;
	epoch_exit(e->readers);
	return half;
}

/* Note where in the log's counters the active segment began. */
static void count_segment(struct engine *e)
{
	uint32_t id = engine_active_id(e);
	struct keep *k = e->keep;

	if (k->counted_id == id)
		return;
	k->counted_id = id;
	k->counted_frames = atomic_load(&e->log.frames);
	k->counted_bytes = atomic_load(&e->log.bytes_appended);
}

/* Do zeros help the frames that are being written? */
static bool frames_want_zeros(struct engine *e)
{
	const struct keep *k = e->keep;
	uint64_t frames = atomic_load(&e->log.frames) - k->counted_frames;
	uint64_t bytes = atomic_load(&e->log.bytes_appended) - k->counted_bytes;

	return frames == 0 || bytes / frames < LOG_DIRECT_BYTES;
}

/* Is there room to make a file ahead of its need? */
static bool room_for_fresh(struct engine *e)
{
	uint64_t bytes;

	if (e->o.sync_mode != ENGINE_SYNC_ALWAYS)
		return false;
	if (vfs_free_bytes(e->o.vfs, e->dir, &bytes))
		return false;
	return bytes > atomic_load(&e->min_free_bytes) + 2 * e->o.segment_bytes;
}

/* One piece of zeros; The file is whole when full of them and synced. */
static enum err fill_fresh(struct engine *e)
{
	char path[DATAFILE_PATH_BYTES];
	struct keep *k = e->keep;
	uint64_t n = e->o.segment_bytes - k->fresh_bytes;
	uint8_t *zeros;
	enum err err = OK;

	fresh_path(e, path);
	if (!k->fresh) {
		k->fresh_bytes = 0;
		return vfs_open(e->o.vfs, path,
				VFS_WRITE | VFS_CREATE | VFS_TRUNC, &k->fresh);
	}
	if (n > FILL_BYTES)
		n = FILL_BYTES;
	zeros = calloc(1, n);
	if (!zeros)
		return ERR_NOMEM;
	err = vfs_pwrite(k->fresh, zeros, n, k->fresh_bytes);
	free(zeros);
	if (err)
		return err;
	k->fresh_bytes += n;
	if (k->fresh_bytes % KEEP_STEP_BYTES == 0 ||
	    k->fresh_bytes == e->o.segment_bytes)
		err = vfs_sync(k->fresh);
	if (!err && k->fresh_bytes == e->o.segment_bytes) {
		vfs_close(k->fresh);
		k->fresh = NULL;
		k->fresh_whole = true;
	}
	return err;
}

static void drop_fresh(struct engine *e)
{
	char path[DATAFILE_PATH_BYTES];
	struct keep *k = e->keep;

	if (!k->fresh && !k->fresh_whole)
		return;
	vfs_close(k->fresh);
	k->fresh = NULL;
	k->fresh_whole = false;
	fresh_path(e, path);
	unlink_quietly(e, path);
}

/*
 * List a segment made of the file at path, or of a new one (NULL), and hand it
 * to the writer.
 */
static enum err add_from(struct engine *e, const char *path)
{
	struct datafile *df;
	enum err err;

	err = engine_add_segment(e, e->o.segment_bytes, false, path, 0, &df);
	if (err) {
		/* Under whichever of its names: the next open removes it. */
		log_warn("engine", "segment_not_ready path=%s reason=%s",
			 path ? path : "new", err_text(err));
		return err;
	}
	if (!engine_offer_segment(e, df))
		e->keep->unoffered = df;
	return OK;
}

static enum err next_step(struct engine *e, bool *busy)
{
	char path[DATAFILE_PATH_BYTES];
	struct keep *k = e->keep;
	enum err err;

	if (k->spare_count > 0) {
		datafile_path(&e->owner, DATAFILE_LOG,
			      k->spares[--k->spare_count], "", path);
		err = add_from(e, path);
		if (!err)
			log_debug("engine", "segment_recycled");
		return err;
	}
	if (k->fresh_whole) {
		k->fresh_whole = false;
		fresh_path(e, path);
		return add_from(e, path);
	}
	if (!room_for_fresh(e)) {
		drop_fresh(e);
		return OK;
	}
	if (!frames_want_zeros(e)) {
		drop_fresh(e);
		return add_from(e, NULL);
	}
	err = fill_fresh(e);
	if (err)
		drop_fresh(e);
	*busy = !err;
	return err;
}

enum err keep_segment_step(struct engine *e, bool *busy)
{
	struct keep *k = e->keep;
	uint64_t now = clock_mono_ns(e->o.clock);
	enum err err;

	*busy = false;
	count_segment(e);
	if (!engine_wants_segment(e) || now < k->segment_retry_ns)
		return OK;
	if (k->unoffered) {
		if (engine_offer_segment(e, k->unoffered))
			k->unoffered = NULL;
		return OK;
	}
	if (!active_half_full(e))
		return OK;
	err = next_step(e, busy);
	if (err)
		k->segment_retry_ns = now + KEEP_RETRY_MS * 1000000ull;
	return err;
}

void keep_segment_done(struct engine *e)
{
	char path[DATAFILE_PATH_BYTES];
	struct keep *k = e->keep;

	drop_fresh(e);
	for (uint32_t i = 0; i < k->spare_count; i++) {
		datafile_path(&e->owner, DATAFILE_LOG, k->spares[i], "", path);
		unlink_quietly(e, path);
	}
	for (uint32_t i = 0; i < k->retired_count; i++)
		datafile_close(k->retired[i].df);
	free(k->retired);
}
