/*
 * engine/segment.c - the table of open files, and new segments in it.
 *
 * A segment enters the stream when the manifest lists it, and it is listed
 * before the writer needs it: switching then costs no disk call but the sync
 * of the old one.
 */
#include "engine/segment.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "engine/engine_internal.h"

enum err engine_file_add(struct engine *e, struct datafile *df)
{
	uint32_t top = df->id / FILE_TABLE_LEAF;
	struct file_leaf *leaf = atomic_load(&e->files[top]);

	CHECK(df->id <= LOC_FILE_ID_MAX);
	if (!leaf) {
		leaf = calloc(1, sizeof(*leaf));
		if (!leaf)
			return ERR_NOMEM;
		atomic_store_explicit(&e->files[top], leaf,
				      memory_order_release);
	}
	atomic_store_explicit(&leaf->files[df->id % FILE_TABLE_LEAF], df,
			      memory_order_release);
	return OK;
}

void engine_file_unlist(struct engine *e, const struct datafile *df)
{
	struct file_leaf *leaf =
		atomic_load(&e->files[df->id / FILE_TABLE_LEAF]);

	CHECK(engine_file(e, df->id) == df);
	atomic_store(&leaf->files[df->id % FILE_TABLE_LEAF], NULL);
}

static void file_unseen(void *ctx, uint64_t ref)
{
	(void)ref; /* the file is all there is to tell */
	atomic_store_explicit(&((struct datafile *)ctx)->retired, true,
			      memory_order_release);
}

void engine_file_remove(struct engine *e, struct datafile *df)
{
	struct file_leaf *leaf =
		atomic_load(&e->files[df->id / FILE_TABLE_LEAF]);

	CHECK(engine_file(e, df->id) == df);
	atomic_store_explicit(&leaf->files[df->id % FILE_TABLE_LEAF], NULL,
			      memory_order_release);
	/* Without memory to retire it the file stays open until the end. */
	if (epoch_retire(e->readers, file_unseen, df, 0))
		log_warn("engine", "file_kept_open file=%08x reason=%s", df->id,
			 err_text(ERR_NOMEM));
}

uint32_t engine_next_file_id(struct engine *e)
{
	CHECK(e->manifest.next_file_id < LOC_FILE_ID_MAX);
	return e->manifest.next_file_id++;
}

/* Insert f into m's log behind the segment with that id (0: last). */
static enum err list_segment(struct manifest *m, const struct manifest_file *f,
			     uint32_t behind)
{
	struct manifest_file *log;
	uint32_t at = m->log_count;

	log = realloc(m->log, (m->log_count + 1) * sizeof(*log));
	if (!log)
		return ERR_NOMEM;
	m->log = log;
	for (uint32_t i = 0; behind && i < m->log_count; i++)
		if (log[i].id == behind)
			at = i + 1;
	memmove(log + at + 1, log + at, (m->log_count - at) * sizeof(*log));
	log[at] = *f;
	m->log_count++;
	return OK;
}

static enum err add_locked(struct engine *e, uint64_t bytes, bool zero,
			   const char *from, uint32_t behind,
			   struct datafile **out)
{
	uint32_t id = engine_next_file_id(e);
	struct manifest_file f = { .id = id,
				   .salt = seed_next(e->o.seed),
				   .bytes = bytes };
	struct datafile *df;
	struct manifest next;
	enum err err;

	err = datafile_create_log(&e->owner, id, f.salt, bytes, zero, from,
				  &df);
	if (err)
		return err;
	err = manifest_copy(&e->manifest, &next);
	if (err)
		goto out_close;
	err = list_segment(&next, &f, behind);
	if (!err)
		err = engine_file_add(e, df);
	if (err)
		goto out_next;
	err = manifest_store(e->o.vfs, e->dir, &next);
	if (err)
		goto out_remove;
	manifest_done(&e->manifest);
	e->manifest = next;
	*out = df;
	return OK;
out_remove:
	engine_file_unlist(e, df);
out_next:
	manifest_done(&next);
out_close:
	datafile_close(df);
	return err;
}

enum err engine_add_segment(struct engine *e, uint64_t bytes, bool zero,
			    const char *from, uint32_t behind,
			    struct datafile **df)
{
	enum err err;

	pthread_mutex_lock(&e->keep_lock);
	err = add_locked(e, bytes, zero, from, behind, df);
	pthread_mutex_unlock(&e->keep_lock);
	return err;
}

bool engine_offer_segment(struct engine *e, struct datafile *df)
{
	struct datafile *none = NULL;

	return atomic_compare_exchange_strong(&e->log.ready, &none, df);
}

bool engine_wants_segment(struct engine *e)
{
	return !atomic_load(&e->log.ready) && !atomic_load(&e->log.poisoned);
}

uint32_t engine_active_id(struct engine *e)
{
	return atomic_load(&e->log.active_id);
}

void engine_note_corrupt(struct engine *e, const struct datafile *df,
			 uint64_t off, uint64_t keys)
{
	char name[DATAFILE_NAME_BYTES];
	bool known = false;

	datafile_name(df->kind, df->id, name);
	pthread_mutex_lock(&e->stats_lock);
	for (uint32_t i = 0; i < e->corrupt_count && !known; i++)
		known = e->corrupt[i].off == off &&
			strcmp(e->corrupt[i].file, name) == 0;
	if (!known && e->corrupt_count < ENGINE_CORRUPT_MAX) {
		struct engine_corrupt *c = &e->corrupt[e->corrupt_count++];

		memcpy(c->file, name, sizeof(name));
		c->off = off;
		c->keys = keys;
	}
	pthread_mutex_unlock(&e->stats_lock);
	if (!known)
		log_error("engine", "damage file=%s off=%llu keys=%llu", name,
			  (unsigned long long)off, (unsigned long long)keys);
	if (!known)
		diary_note(e->o.diary, DIARY_DAMAGE, DIARY_NO_PARTITION, 0,
			   df->id, off);
}

void engine_forget_place(struct engine *e, const struct datafile *df,
			 uint64_t off)
{
	char name[DATAFILE_NAME_BYTES];
	uint32_t kept = 0;

	datafile_name(df->kind, df->id, name);
	pthread_mutex_lock(&e->stats_lock);
	for (uint32_t i = 0; i < e->corrupt_count; i++) {
		if (strcmp(e->corrupt[i].file, name) != 0 ||
		    e->corrupt[i].off != off)
			e->corrupt[kept++] = e->corrupt[i];
	}
	e->corrupt_count = kept;
	pthread_mutex_unlock(&e->stats_lock);
}

void engine_forget_corrupt(struct engine *e, const struct datafile *df)
{
	char name[DATAFILE_NAME_BYTES];
	uint32_t kept = 0;

	datafile_name(df->kind, df->id, name);
	pthread_mutex_lock(&e->stats_lock);
	for (uint32_t i = 0; i < e->corrupt_count; i++) {
		if (strcmp(e->corrupt[i].file, name) != 0)
			e->corrupt[kept++] = e->corrupt[i];
	}
	e->corrupt_count = kept;
	pthread_mutex_unlock(&e->stats_lock);
}
