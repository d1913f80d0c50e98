/*
 * engine/offline.c - check, dump and rebuild-hints of a closed directory.
 *
 * A check walks every listed file as an open does, but goes on to the end and
 * tells every place. In the log a bad or missing frame is damage when a sound
 * frame claims that it was durable; otherwise it is the torn end of the last
 * write before a crash, which was never acknowledged.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "engine/engine.h"
#include "engine/hint.h"
#include "engine/offline_internal.h"
#include "engine/state.h"

enum { LINE_BYTES = 512, KEEP_IDLE_MS = 1000 };

void offline_sayf(struct offline_dir *d, const char *fmt, ...)
{
	char line[LINE_BYTES];
	va_list ap;

	if (!d->say)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	d->say(d->ctx, line);
}

enum err offline_enter(struct offline_dir *d, struct vfs *vfs, const char *dir,
		       offline_say_fn *say, void *ctx)
{
	char path[DATAFILE_PATH_BYTES];
	enum err err;

	*d = (struct offline_dir){
		.vfs = vfs, .dir = dir, .say = say, .ctx = ctx
	};
	d->owner = (struct datafile_owner){ .vfs = vfs, .dir = dir };
	snprintf(path, sizeof(path), "%s/LOCK", dir);
	err = vfs_lock(vfs, path, &d->lock);
	if (err) {
		d->lock = NULL;
		return err;
	}
	err = manifest_load(vfs, dir, &d->manifest);
	if (err == ERR_NOT_FOUND || err == ERR_CORRUPT) {
		offline_sayf(d, "%s/MANIFEST: %s", dir,
			     err == ERR_CORRUPT ? "damaged" : "missing");
		return ERR_CORRUPT;
	}
	if (err)
		return err;
	d->has_manifest = true;
	memcpy(d->owner.cluster_id, d->manifest.cluster_id, 16);
	d->owner.node_id = d->manifest.node_id;
	return OK;
}

void offline_leave(struct offline_dir *d)
{
	if (d->has_manifest)
		manifest_done(&d->manifest);
	vfs_close(d->lock);
	*d = (struct offline_dir){ 0 };
}

/* ---------------------------------------------------------------- look --- */

void offline_found_done(struct offline_found *found)
{
	free(found->damages);
	*found = (struct offline_found){ 0 };
}

bool offline_is_torn(const struct offline_found *found,
		     const struct offline_damage *x)
{
	return x->kind == DATAFILE_LOG && x->sequence > found->proven;
}

static enum err add_damage(struct offline_found *found,
			   const struct offline_damage *x)
{
	if (found->count == found->cap) {
		uint32_t cap = found->cap ? found->cap * 2 : 16;
		struct offline_damage *p;

		p = realloc(found->damages, cap * sizeof(*p));
		if (!p)
			return ERR_NOMEM;
		found->damages = p;
		found->cap = cap;
	}
	found->damages[found->count++] = *x;
	return OK;
}

/* A place that missing frames leave, unless there is none or it is told. */
static enum err add_place(struct offline_found *found, uint32_t file_id,
			  uint64_t off, uint64_t bytes)
{
	struct offline_damage x = { .file_id = file_id,
				    .kind = DATAFILE_LOG,
				    .off = off,
				    .bytes = bytes,
				    .sequence = found->expected };

	for (uint32_t i = 0; i < found->count; i++) {
		const struct offline_damage *y = &found->damages[i];

		if (y->file_id == file_id && y->off == off && y->bytes == bytes)
			return OK;
	}
	return file_id ? add_damage(found, &x) : OK;
}

/*
 * Frames are missing before the one at off. An open blames one of these: the
 * last bytes that are no frame, or where the stream broke off first, or that
 * frame. To let it pass all must be given up, also those that lie in sound
 * files before the one that is hit.
 */
static enum err add_missing(struct offline_found *found, uint32_t file_id,
			    uint64_t off)
{
	enum err err = add_place(found, found->tail_file, found->tail_off,
				 found->tail_bytes);

	if (!err)
		err = add_place(found, found->gap_file, found->gap_off,
				found->gap_bytes);
	if (!err)
		err = add_place(found, found->end_file, found->end_off,
				found->end_bytes);
	return err ? err : add_place(found, file_id, off, 0);
}

/* A frame of the log: is it the one that follows? */
static enum err see_frame(struct offline_found *found, struct datafile *df,
			  const struct walk_item *it)
{
	const struct frame *f = &it->frame;
	enum err err = OK;

	if (f->synced_sequence > found->proven)
		found->proven = f->synced_sequence;
	if (f->sequence != found->expected)
		err = add_missing(found, df->id, it->off);
	found->expected = f->sequence + 1;
	found->end_file = found->gap_file = found->tail_file = 0;
	return err;
}

/* A merge carries a lost value on, marked as such. */
static enum record_state state_of(const struct walk_item *it)
{
	return it->state == RECORD_OK && it->record.flags & LOC_DAMAGED
		       ? RECORD_BAD_VALUE
		       : it->state;
}

static enum err see_item(struct offline_found *found, struct datafile *df,
			 const struct walk_item *it)
{
	struct offline_damage x = { .file_id = df->id,
				    .kind = df->kind,
				    .off = it->off,
				    .bytes = it->bytes,
				    .sequence = it->frame.sequence };

	switch (it->kind) {
	case WALK_FRAME:
		return see_frame(found, df, it);
	case WALK_RECORD:
		found->report.records++;
		x.value = true;
		return state_of(it) == RECORD_OK ? OK : add_damage(found, &x);
	case WALK_DAMAGE:
		if (df->kind == DATAFILE_MERGED || it->frame.sequence)
			return add_damage(found, &x);
		found->gap_file = df->id; /* counts when a frame is missing */
		found->gap_off = it->off;
		found->gap_bytes = it->bytes;
		break;
	case WALK_END:
		break;
	}
	found->end_file = df->id;
	found->end_off = it->off;
	found->end_bytes = it->bytes;
	if (df->kind == DATAFILE_LOG && !found->tail_file) {
		found->tail_file = df->id;
		found->tail_off = it->off;
		found->tail_bytes = df->bytes - it->off;
	}
	return OK;
}

static enum err look_at(struct offline_found *found, struct datafile *df)
{
	struct walk_item it = { .kind = WALK_FRAME };
	struct walk *w;
	enum err err = walk_new(df, 0, &w);

	if (err)
		return err;
	while (!err && it.kind != WALK_END) {
		err = walk_next(w, &it);
		if (!err)
			err = see_item(found, df, &it);
	}
	walk_free(w);
	found->report.files++;
	found->report.bytes += df->bytes;
	return err;
}

static void check_hint(struct offline_dir *d, struct offline_found *found,
		       const struct datafile *df)
{
	struct hint_file ask = { .file_id = df->id,
				 .salt = df->salt,
				 .data_bytes = df->bytes };
	char path[DATAFILE_PATH_BYTES];
	struct hint *hint;
	enum err err;

	datafile_path(&d->owner, df->kind, df->id, ".hint", path);
	err = hint_load(d->vfs, path, &ask, &hint);
	if (!err)
		hint_free(hint);
	if (err != ERR_CORRUPT && err != ERR_IO)
		return;
	found->report.damaged++;
	offline_sayf(d,
		     "%s: damaged (costs nothing: rebuild-hints writes it "
		     "anew)",
		     path);
}

static enum err look_at_file(struct offline_dir *d, struct offline_found *found,
			     enum datafile_kind kind, uint16_t partition,
			     const struct manifest_file *m)
{
	char name[DATAFILE_NAME_BYTES];
	struct datafile *df;
	enum err err;

	datafile_name(kind, m->id, name);
	err = datafile_open(&d->owner, kind, partition, m, &df);
	if (err == ERR_NOT_FOUND || err == ERR_FOREIGN || err == ERR_CORRUPT) {
		found->missing_files++;
		found->report.damaged++;
		offline_sayf(d, "%s/%s: %s", d->dir, name,
			     err == ERR_NOT_FOUND ? "listed and missing"
			     : err == ERR_FOREIGN ? "belongs elsewhere"
						  : "shorter than listed");
		return OK;
	}
	if (err)
		return err;
	if (df->header_damaged) {
		found->report.damaged++;
		offline_sayf(d,
			     "%s/%s: damaged header (the file is read all "
			     "the same)",
			     d->dir, name);
	}
	check_hint(d, found, df);
	err = look_at(found, df);
	datafile_close(df);
	return err;
}

/* Say each place; what an operator accepted before is counted no more. */
static void tell(struct offline_dir *d, struct offline_found *found)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < found->count; i++) {
		const struct offline_damage *x = &found->damages[i];
		char name[DATAFILE_NAME_BYTES];
		bool torn = offline_is_torn(found, x);
		const char *what = torn	     ? "torn end of the last write, "
					       "never acknowledged"
				   : x->tail ? "synced writes from here on "
					       "are gone"
				   : x->value
					   ? "damaged value; its key answers "
					     "corrupt"
				   : x->bytes ? "damaged; the keys there are "
						"unknown"
					      : "frames before this are gone";

		if (manifest_is_lost(d->manifest.losses, d->manifest.loss_count,
				     x->file_id, x->off, x->bytes))
			continue;
		datafile_name(x->kind, x->file_id, name);
		offline_sayf(d, "%s/%s: offset %llu, %llu bytes: %s", d->dir,
			     name, (unsigned long long)x->off,
			     (unsigned long long)x->bytes, what);
		found->report.torn += torn;
		found->report.damaged += !torn;
		found->damages[kept++] = *x;
	}
	found->count = kept;
}

/* The log's second witness: does it end where it was last synced? */
static enum err look_at_end(struct offline_dir *d, struct offline_found *found)
{
	struct offline_damage x = { .file_id = found->tail_file,
				    .kind = DATAFILE_LOG,
				    .tail = true,
				    .off = found->tail_off,
				    .bytes = found->tail_bytes,
				    .sequence = found->expected };
	uint64_t end;
	enum err err = state_end_read(d->vfs, d->dir, &d->manifest, &end);

	if (!err && end > found->proven)
		found->proven = end;
	if (err || found->expected > found->proven)
		return err;
	if (found->tail_file)
		return add_damage(found, &x);
	/* No file is left that could have held it. */
	found->missing_files++;
	found->report.damaged++;
	offline_sayf(d, "%s: all of the log is gone", d->dir);
	return OK;
}

enum err offline_look(struct offline_dir *d, struct offline_found *found)
{
	const struct manifest *m = &d->manifest;
	enum err err = OK;

	*found = (struct offline_found){ .expected = m->log_floor_sequence };
	/* All before the reset of an install was synced: engine/load.c. */
	for (uint32_t p = 0; p < m->partition_count; p++)
		if (m->partitions[p].reset_sequence > found->proven + 1)
			found->proven = m->partitions[p].reset_sequence - 1;
	for (uint32_t i = 0; !err && i < m->log_count; i++)
		err = look_at_file(d, found, DATAFILE_LOG, 0, &m->log[i]);
	if (!err)
		err = look_at_end(d, found);
	for (uint32_t p = 0; !err && p < m->partition_count; p++) {
		const struct manifest_partition *mp = &m->partitions[p];

		for (uint32_t i = 0; !err && i < mp->merged_count; i++)
			err = look_at_file(d, found, DATAFILE_MERGED,
					   (uint16_t)p, &mp->merged[i]);
	}
	if (err) {
		offline_found_done(found);
		return err;
	}
	tell(d, found);
	return OK;
}

/* Terms and votes, of which there are two copies in the file `state`. */
static enum err check_states(struct offline_dir *d,
			     struct offline_report *report)
{
	uint32_t lost;
	enum err err = offline_states(d, false, &lost);

	report->damaged += lost;
	if (err != ERR_FOREIGN)
		return err;
	report->damaged++;
	offline_sayf(d, "%s/state: belongs elsewhere", d->dir);
	return OK;
}

enum err offline_check(struct vfs *vfs, const char *dir, offline_say_fn *say,
		       void *ctx, struct offline_report *report)
{
	struct offline_found found;
	struct offline_dir d;
	enum err err;

	err = offline_enter(&d, vfs, dir, say, ctx);
	if (!err)
		err = offline_look(&d, &found);
	if (!err) {
		*report = found.report;
		offline_found_done(&found);
		err = check_states(&d, report);
	}
	offline_leave(&d);
	return err;
}

/* ---------------------------------------------------------------- dump --- */

static enum err dump_file(struct offline_dir *d, enum datafile_kind kind,
			  uint16_t partition, const struct manifest_file *m,
			  offline_record_fn *fn, void *ctx)
{
	struct walk_item it = { .kind = WALK_FRAME };
	char name[DATAFILE_NAME_BYTES];
	struct datafile *df;
	struct walk *w;
	enum err err;

	datafile_name(kind, m->id, name);
	err = datafile_open(&d->owner, kind, partition, m, &df);
	if (err == ERR_NOT_FOUND || err == ERR_FOREIGN || err == ERR_CORRUPT) {
		fn(ctx, name, 0, RECORD_BAD_HEADER, NULL);
		return OK;
	}
	if (err)
		return err;
	err = walk_new(df, 0, &w);
	if (err)
		goto out_close;
	while (!err && it.kind != WALK_END) {
		err = walk_next(w, &it);
		if (!err && it.kind == WALK_RECORD)
			fn(ctx, name, it.off, state_of(&it), &it.record);
		else if (!err && it.kind == WALK_DAMAGE)
			fn(ctx, name, it.off, RECORD_BAD_HEADER, NULL);
	}
	walk_free(w);
out_close:
	datafile_close(df);
	return err;
}

enum err offline_dump(struct vfs *vfs, const char *dir, offline_record_fn *fn,
		      void *ctx)
{
	struct offline_dir d;
	enum err err = offline_enter(&d, vfs, dir, NULL, NULL);
	const struct manifest *m = &d.manifest;

	for (uint32_t p = 0; !err && p < m->partition_count; p++) {
		const struct manifest_partition *mp = &m->partitions[p];

		for (uint32_t i = 0; !err && i < mp->merged_count; i++)
			err = dump_file(&d, DATAFILE_MERGED, (uint16_t)p,
					&mp->merged[i], fn, ctx);
	}
	for (uint32_t i = 0; !err && i < m->log_count; i++)
		err = dump_file(&d, DATAFILE_LOG, 0, &m->log[i], fn, ctx);
	offline_leave(&d);
	return err;
}

/* --------------------------------------------------------------- hints --- */

static enum err count_hint(void *ctx, const char *name)
{
	size_t n = strlen(name);

	if (n > 5 && strcmp(name + n - 5, ".hint") == 0)
		++*(uint64_t *)ctx;
	return OK;
}

static enum err unlink_hint(struct offline_dir *d, enum datafile_kind kind,
			    uint32_t id)
{
	char path[DATAFILE_PATH_BYTES];
	enum err err;

	datafile_path(&d->owner, kind, id, ".hint", path);
	err = vfs_unlink(d->vfs, path);
	return err == ERR_NOT_FOUND ? OK : err;
}

/* Without them the next open scans, and the keeper writes them anew. */
static enum err unlink_hints(struct offline_dir *d)
{
	const struct manifest *m = &d->manifest;
	enum err err = OK;

	for (uint32_t i = 0; !err && i < m->log_count; i++)
		err = unlink_hint(d, DATAFILE_LOG, m->log[i].id);
	for (uint32_t p = 0; p < m->partition_count; p++) {
		const struct manifest_partition *mp = &m->partitions[p];

		for (uint32_t i = 0; !err && i < mp->merged_count; i++)
			err = unlink_hint(d, DATAFILE_MERGED, mp->merged[i].id);
	}
	return err ? err : vfs_sync_dir(d->vfs, d->dir);
}

/* Options under which a keeper does nothing but write hints. */
static enum err hint_options(const struct offline_dir *d, struct seed *seed,
			     struct engine_options *o)
{
	const struct manifest *m = &d->manifest;

	engine_options_default(o);
	o->vfs = d->vfs;
	o->dir = d->dir;
	o->seed = seed;
	o->partitions = m->partition_count;
	o->min_free_bytes = 0;
	o->sync_mode = ENGINE_SYNC_NEVER;
	o->merge.dead_ratio = 2;
	o->merge.dead_bytes = UINT64_MAX;
	o->merge.small_file_bytes = 0;
	if (m->log_count && m->log[0].bytes >= ENGINE_SEGMENT_BYTES_MIN &&
	    m->log[0].bytes % 4096 == 0)
		o->segment_bytes = m->log[0].bytes;
	return seed_init_os(seed);
}

enum err offline_rebuild_hints(struct vfs *vfs, const char *dir,
			       offline_say_fn *say, void *ctx, uint64_t *count)
{
	uint64_t hints = 0;
	struct buf why = BUF_INIT;
	struct engine_options o;
	struct engine *e = NULL;
	struct offline_dir d;
	struct seed seed;
	uint64_t wait_ms = 0;
	enum err err;

	err = offline_enter(&d, vfs, dir, say, ctx);
	if (!err)
		err = hint_options(&d, &seed, &o);
	if (!err)
		err = unlink_hints(&d);
	if (err)
		goto out;
	vfs_close(d.lock); /* the engine takes it */
	d.lock = NULL;
	err = engine_open(&o, &e, &why);
	if (err)
		offline_sayf(&d, "%.*s", (int)why.n, (const char *)why.p);
	while (!err && wait_ms < KEEP_IDLE_MS)
		err = engine_keep(e, &wait_ms);
	engine_close(e);
	if (!err)
		err = vfs_list(vfs, dir, count_hint, &hints);
	if (!err)
		*count = hints;
out:
	buf_done(&why);
	offline_leave(&d);
	return err;
}
