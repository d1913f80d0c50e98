/*
 * engine/keep_replaced.c - what an install left behind.
 *
 *   files      the partition's old merged files leave the file table; they are
 *              unlinked when their last reader has left
 *   drain      the old key directory is walked: each log segment learns which
 *              of its bytes died with it, so that merges see them as dead
 *   free       the old directory, when no reader and no walk is in it
 *
 * The first two come before any merge goes on: a merge waits until all live
 * bytes of its inputs are copied, and nobody copies what died here.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "engine/keep.h"
#include "engine/keep_internal.h"

enum { DRAIN_STEP_KEYS = 16384 };

/* Take what the writer left, behind what is there. */
static void take_new(struct engine *e)
{
	struct replaced *list, *r, **end = &e->keep->replaced;

	pthread_mutex_lock(&e->keep_lock);
	list = e->replaced;
	e->replaced = NULL;
	pthread_mutex_unlock(&e->keep_lock);
	while (*end)
		end = &(*end)->next;
	while ((r = list)) { /* newest first */
		list = r->next;
		r->next = *end;
		*end = r;
	}
}

/* The partition's log begins anew: what it had in sealed segments is dead. */
static void forget_lasts(struct keep *k, uint16_t partition)
{
	for (uint32_t i = 0; i < k->file_count; i++) {
		struct keep_file *f = &k->files[i];
		uint32_t kept = 0;

		for (uint32_t n = 0; n < f->last_count; n++)
			if (f->lasts[n].partition != partition)
				f->lasts[kept++] = f->lasts[n];
		f->last_count = kept;
	}
}

static enum err remove_files(struct engine *e, struct replaced *r)
{
	struct keep *k = e->keep;
	enum err err = keep_retire_reserve(k, r->file_count);

	if (err)
		return err;
	pthread_mutex_lock(&e->keep_lock);
	for (uint32_t i = 0; i < r->file_count; i++) {
		engine_forget_corrupt(e, r->files[i]);
		engine_file_remove(e, r->files[i]);
	}
	pthread_mutex_unlock(&e->keep_lock);
	for (uint32_t i = 0; i < r->file_count; i++)
		keep_retire(k, r->files[i]);
	forget_lasts(k, r->partition);
	r->files_gone = true;
	return OK;
}

/* Nobody changes the old directory any more, so the walk may rest. */
static void drain_some(struct engine *e, struct replaced *r)
{
	const struct keydir_entry *k;

	k = r->begun ? keydir_next(&r->at)
		     : keydir_seek(r->kd, bytes_of(NULL, 0), &r->at);
	r->begun = true;
	for (uint32_t n = 1; k; n++) {
		struct datafile *df = engine_file(e, loc_file_id(k->loc));

		if (df)
			atomic_fetch_sub(&df->live_bytes, entry_disk_bytes(k));
		if (n == DRAIN_STEP_KEYS)
			return;
		k = keydir_next(&r->at);
	}
	r->drained = true;
}

static void directory_unseen(void *ctx, uint64_t ref)
{
	(void)ref; /* the directory is all there is to tell */
	atomic_store_explicit(&((struct replaced *)ctx)->unseen, true,
			      memory_order_release);
}

static void free_replaced(struct replaced *r)
{
	keydir_free(r->kd);
	expiry_done(&r->expiry);
	free(r);
}

/* True: r is gone. */
static bool let_go(struct engine *e, struct replaced *r)
{
	if (!r->retired)
		r->retired = !epoch_retire(e->readers, directory_unseen, r, 0);
	epoch_collect(e->readers);
	if (!atomic_load_explicit(&r->unseen, memory_order_acquire) ||
	    keydir_is_pinned(r->kd))
		return false;
	free_replaced(r);
	return true;
}

enum err keep_replaced_step(struct engine *e, bool *busy, bool *gone)
{
	struct keep *k = e->keep;
	enum err err = OK;

	*busy = false;
	take_new(e);
	for (struct replaced **at = &k->replaced; !err && *at;) {
		struct replaced *r = *at, *next = r->next;

		if (!r->files_gone) {
			err = remove_files(e, r);
			*gone |= err == OK;
		} else if (!r->drained) {
			drain_some(e, r);
		} else if (let_go(e, r)) {
			*at = next;
			continue;
		}
		*busy |= !r->drained;
		at = &r->next;
	}
	return err;
}

void keep_replaced_free(struct replaced *list)
{
	struct replaced *r;

	while ((r = list)) {
		list = r->next;
		free_replaced(r);
	}
}
