/*
 * engine/snapshot.c - walking a pinned list of files up to an index.
 *
 * Under keep_lock the manifest stands still: no merge switches, no file is
 * removed. The applied indexes are read first, the files pinned after, so what
 * is applied lies in a pinned file. A log segment is read up to the bytes that
 * were written then; frames behind that are newer than the state wanted.
 *
 * A put is left out when the key directory shows another record for its key
 * that is older than the snapshot's index too: then that one is the state, or
 * was replaced since. Otherwise it is handed out, perhaps needlessly.
 */
#include <stdlib.h>

#include "base/check.h"
#include "engine/engine_internal.h"
#include "engine/snapshot.h"
#include "engine/walk.h"

struct snapshot_file {
	struct datafile *df; /* pinned */
	uint64_t end_off;    /* log: bytes behind it are not looked at */
};

struct engine_snapshot {
	struct engine *e;
	struct snapshot_file *files;
	uint32_t file_count, next_file;
	struct walk *walk; /* in files[next_file - 1] */
	uint32_t partition_count;
	uint64_t *applied, *base, *reset; /* one for each partition */
	struct manifest_loss *losses;
	uint32_t loss_count;
};

static enum err pin_file(struct engine_snapshot *s, uint32_t id)
{
	struct snapshot_file *f = &s->files[s->file_count];

	epoch_enter(s->e->readers);
	f->df = engine_file(s->e, id);
	if (f->df)
		datafile_pin(f->df);
	epoch_exit(s->e->readers);
	if (!f->df)
		return ERR_CORRUPT; /* listed but not open: known damage */
	f->end_off = f->df->kind == DATAFILE_LOG
			     ? atomic_load_explicit(&f->df->written,
						    memory_order_acquire)
			     : f->df->bytes;
	s->file_count++;
	return OK;
}

static enum err take_lists(struct engine_snapshot *s)
{
	const struct manifest *m = &s->e->manifest;
	uint32_t count = m->log_count;
	enum err err = OK;

	for (uint32_t p = 0; p < m->partition_count; p++)
		count += m->partitions[p].merged_count;
	s->files = calloc(count + 1, sizeof(*s->files));
	s->losses = calloc(m->loss_count + 1, sizeof(*s->losses));
	if (!s->files || !s->losses)
		return ERR_NOMEM;
	if (m->loss_count > 0)
		memcpy(s->losses, m->losses,
		       m->loss_count * sizeof(*m->losses));
	s->loss_count = m->loss_count;
	for (uint32_t p = 0; p < m->partition_count && !err; p++) {
		const struct manifest_partition *mp = &m->partitions[p];

		s->base[p] = mp->base_index;
		s->reset[p] = mp->reset_sequence;
		for (uint32_t i = 0; i < mp->merged_count && !err; i++)
			err = pin_file(s, mp->merged[i].id);
	}
	for (uint32_t i = 0; i < m->log_count && !err; i++)
		err = pin_file(s, m->log[i].id);
	return err;
}

enum err engine_snapshot_open(struct engine *e, struct engine_snapshot **out)
{
	struct engine_snapshot *s = calloc(1, sizeof(*s));
	uint32_t n = e->o.partitions;
	enum err err = ERR_NOMEM;

	if (!s)
		return ERR_NOMEM;
	s->e = e;
	s->partition_count = n;
	s->applied = calloc(n, sizeof(*s->applied));
	s->base = calloc(n, sizeof(*s->base));
	s->reset = calloc(n, sizeof(*s->reset));
	if (!s->applied || !s->base || !s->reset)
		goto out_snapshot;
	pthread_mutex_lock(&e->keep_lock);
	for (uint32_t p = 0; p < n; p++)
		s->applied[p] = engine_applied_index(e, (uint16_t)p);
	err = take_lists(s);
	pthread_mutex_unlock(&e->keep_lock);
	if (err)
		goto out_snapshot;
	*out = s;
	return OK;

out_snapshot:
	engine_snapshot_close(s);
	return err;
}

void engine_snapshot_close(struct engine_snapshot *s)
{
	if (!s)
		return;
	walk_free(s->walk);
	for (uint32_t i = 0; i < s->file_count; i++)
		datafile_unpin(s->files[i].df);
	free(s->files);
	free(s->losses);
	free(s->applied);
	free(s->base);
	free(s->reset);
	free(s);
}

uint64_t engine_snapshot_index(const struct engine_snapshot *s,
			       uint16_t partition)
{
	CHECK(partition < s->partition_count);
	return s->applied[partition];
}

/* Can the record be part of the state? */
static bool is_wanted(const struct engine_snapshot *s,
		      const struct datafile *df, const struct walk_item *item)
{
	const struct record *r = &item->record;
	struct engine_info now;

	if (r->partition >= s->partition_count ||
	    r->index > s->applied[r->partition])
		return false;
	if (df->kind == DATAFILE_LOG &&
	    (r->index <= s->base[r->partition] ||
	     item->frame.sequence < s->reset[r->partition] ||
	     !engine_record_live(s->e, r->partition, r->index, r->term)))
		return false;
	switch (r->type) {
	case RECORD_DELETE:
	case RECORD_EXPIRE:
	case RECORD_DELETE_PREFIX:
		return true;
	case RECORD_PUT:
		break;
	default:
		return false;
	}
	if (engine_peek(s->e, r->partition, r->key, &now) != OK)
		return true;
	return now.version == version_pack(r->index, r->position) ||
	       version_index(now.version) > s->applied[r->partition];
}

/* ERR_NOT_FOUND: the file has no more. */
static enum err next_in_file(struct engine_snapshot *s, struct record *r)
{
	const struct snapshot_file *f = &s->files[s->next_file - 1];

	for (;;) {
		struct walk_item item;
		enum err err = walk_next(s->walk, &item);

		if (err)
			return err;
		if (item.kind == WALK_END || item.off >= f->end_off)
			return ERR_NOT_FOUND;
		if (item.kind == WALK_FRAME)
			continue;
		if (item.kind == WALK_DAMAGE) {
			if (manifest_is_lost(s->losses, s->loss_count,
					     f->df->id, item.off, item.bytes))
				continue;
			return ERR_CORRUPT;
		}
		if (!is_wanted(s, f->df, &item))
			continue;
		if (item.state != RECORD_OK)
			return ERR_CORRUPT;
		*r = item.record;
		return OK;
	}
}

enum err engine_snapshot_next(struct engine_snapshot *s, struct record *r)
{
	for (;;) {
		enum err err = ERR_NOT_FOUND;

		if (s->walk)
			err = next_in_file(s, r);
		if (err != ERR_NOT_FOUND)
			return err;
		walk_free(s->walk);
		s->walk = NULL;
		if (s->next_file == s->file_count)
			return ERR_NOT_FOUND;
		err = walk_new(s->files[s->next_file].df, 0, &s->walk);
		if (err)
			return err;
		s->next_file++;
	}
}
