/*
 * engine/snapshot.c - walking a pinned list of files up to an index.
 *
 * Under keep_lock the manifest stands still: no merge switches, no file is
 * removed. So what is applied then lies in a pinned file: in a log segment, or
 * in a merged file that a merge listed, which has every record that the key
 * directory pointed at when the merge looked. Whatever a merge dropped was
 * replaced by a record at or below the index settled then; therefore the index
 * is that of the entry being settled, should one be. A log segment is read up
 * to the bytes that were written then; frames behind that are newer. What is
 * settled but not yet written is left out by an index below it: no merge that
 * dropped something for its sake has switched, for that waits until it is
 * synced.
 *
 * Base, reset and terms are copied: an install that comes later, or terms that
 * are forgotten, change nothing in what a snapshot takes for the log.
 *
 * A put is left out when the key directory shows another record for its key
 * that is older than the snapshot's index too: then that one is the state, or
 * was replaced since. Otherwise it is handed out, perhaps needlessly.
 */
#include <stdlib.h>

#include "base/check.h"
#include "engine/engine_internal.h"
#include "engine/replica.h"
#include "engine/snapshot.h"
#include "engine/walk.h"

struct snapshot_file {
	struct datafile *df; /* pinned */
	uint64_t end_off;    /* log: bytes behind it are not looked at */
};

/* What was true of a partition at the opening. */
struct snapshot_part {
	uint64_t index, base, reset, stamp_ns;
	struct terms terms;
};

struct engine_snapshot {
	struct engine *e;
	struct snapshot_file *files;
	uint32_t file_count, next_file;
	struct walk *walk; /* in files[next_file - 1] */
	uint32_t first_partition, partition_count;
	struct snapshot_part *parts; /* of first_partition and on */
	struct manifest_loss *losses;
	uint32_t loss_count;
};

/* NULL: the snapshot is not of that partition. */
static struct snapshot_part *find_part(const struct engine_snapshot *s,
				       uint32_t partition)
{
	if (partition < s->first_partition ||
	    partition - s->first_partition >= s->partition_count)
		return NULL;
	return &s->parts[partition - s->first_partition];
}

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

static enum err take_part(struct engine_snapshot *s, uint32_t partition)
{
	const struct manifest_partition *mp =
		&s->e->manifest.partitions[partition];
	struct partition *p = &s->e->partitions[partition];
	struct snapshot_part *part = find_part(s, partition);
	uint64_t written = atomic_load(&p->written_index);
	enum err err;

	CHECK(part);
	part->index = atomic_load(&p->settling_index);
	if (written < part->index)
		part->index = written;
	part->base = mp->base_index;
	part->reset = mp->reset_sequence;
	pthread_mutex_lock(&s->e->terms_lock);
	err = terms_copy(&p->terms, &part->terms);
	pthread_mutex_unlock(&s->e->terms_lock);
	for (uint32_t i = 0; i < mp->merged_count && !err; i++)
		err = pin_file(s, mp->merged[i].id);
	return err;
}

/* keep_lock held. */
static enum err take_lists(struct engine_snapshot *s)
{
	const struct manifest *m = &s->e->manifest;
	uint32_t end = s->first_partition + s->partition_count;
	uint32_t count = m->log_count;
	enum err err = OK;

	for (uint32_t p = s->first_partition; p < end; p++)
		count += m->partitions[p].merged_count;
	s->files = calloc(count + 1, sizeof(*s->files));
	s->losses = calloc(m->loss_count + 1, sizeof(*s->losses));
	if (!s->files || !s->losses)
		return ERR_NOMEM;
	if (m->loss_count > 0)
		memcpy(s->losses, m->losses,
		       m->loss_count * sizeof(*m->losses));
	s->loss_count = m->loss_count;
	for (uint32_t p = s->first_partition; p < end && !err; p++)
		err = take_part(s, p);
	for (uint32_t i = 0; i < m->log_count && !err; i++)
		err = pin_file(s, m->log[i].id);
	return err;
}

static enum err new_snapshot(struct engine *e, uint32_t first, uint32_t count,
			     struct engine_snapshot **out)
{
	struct engine_snapshot *s = calloc(1, sizeof(*s));

	if (!s)
		return ERR_NOMEM;
	s->e = e;
	s->first_partition = first;
	s->parts = calloc(count, sizeof(*s->parts));
	if (!s->parts) {
		free(s);
		return ERR_NOMEM;
	}
	s->partition_count = count;
	*out = s;
	return OK;
}

enum err engine_snapshot_open(struct engine *e, struct engine_snapshot **out)
{
	struct engine_snapshot *s;
	enum err err = new_snapshot(e, 0, e->o.partitions, &s);

	if (err)
		return err;
	pthread_mutex_lock(&e->keep_lock);
	err = take_lists(s);
	pthread_mutex_unlock(&e->keep_lock);
	if (err)
		engine_snapshot_close(s);
	else
		*out = s;
	return err;
}

enum err engine_snapshot_open_partition(struct engine *e, uint16_t partition,
					struct engine_snapshot **out)
{
	struct partition *p = &e->partitions[partition];
	struct engine_snapshot *s;
	enum err err;

	CHECK(partition < e->o.partitions);
	CHECK(p->settling_index == p->applied_index);
	err = engine_write(e); /* what is settled is in the file */
	if (!err)
		err = new_snapshot(e, partition, 1, &s);
	if (err)
		return err;
	if (pthread_mutex_trylock(&e->keep_lock) == 0) {
		err = take_lists(s);
		pthread_mutex_unlock(&e->keep_lock);
	} else {
		err = ERR_BUSY;
	}
	s->parts[0].stamp_ns = p->last_stamp_ns;
	if (err)
		engine_snapshot_close(s);
	else
		*out = s;
	return err;
}

void engine_snapshot_close(struct engine_snapshot *s)
{
	if (!s)
		return;
	walk_free(s->walk);
	for (uint32_t i = 0; i < s->file_count; i++)
		datafile_unpin(s->files[i].df);
	for (uint32_t i = 0; i < s->partition_count; i++)
		terms_done(&s->parts[i].terms);
	free(s->files);
	free(s->losses);
	free(s->parts);
	free(s);
}

uint64_t engine_snapshot_index(const struct engine_snapshot *s,
			       uint16_t partition)
{
	const struct snapshot_part *part = find_part(s, partition);

	CHECK(part);
	return part->index;
}

uint64_t engine_snapshot_stamp_ns(const struct engine_snapshot *s,
				  uint16_t partition)
{
	const struct snapshot_part *part = find_part(s, partition);

	CHECK(part);
	return part->stamp_ns;
}

/* Is a record of the log part of what the partition's log said? */
static bool is_of_log(const struct snapshot_part *part,
		      const struct walk_item *item)
{
	const struct record *r = &item->record;

	return r->index > part->base && item->frame.sequence >= part->reset &&
	       terms_live(&part->terms, r->index, r->term);
}

/* Bytes of a settled key (engine/heal.c): only as long as it is current. */
static bool is_current(const struct engine_snapshot *s,
		       const struct snapshot_part *part,
		       const struct walk_item *item)
{
	const struct record *r = &item->record;
	struct engine_info now;

	if (item->frame.sequence < part->reset || r->type != RECORD_PUT)
		return false;
	return engine_peek(s->e, r->partition, r->key, &now) == OK &&
	       now.version == version_pack(r->index, r->position);
}

/* Can the record be part of the state? */
static bool is_wanted(const struct engine_snapshot *s,
		      const struct datafile *df, const struct walk_item *item)
{
	const struct record *r = &item->record;
	const struct snapshot_part *part = find_part(s, r->partition);
	struct engine_info now;

	if (!part || r->index > part->index)
		return false;
	if (df->kind == DATAFILE_LOG && item->frame.flags & FRAME_HEALED)
		return is_current(s, part, item);
	if (df->kind == DATAFILE_LOG && !is_of_log(part, item))
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
	       version_index(now.version) > part->index;
}

static bool is_damaged(const struct walk_item *item)
{
	return item->state != RECORD_OK || item->record.flags & LOC_DAMAGED;
}

/* Does the snapshot reach the place where the key's record is sound? */
static bool is_healed(const struct engine_snapshot *s,
		      const struct datafile *df, const struct walk_item *item)
{
	const struct record *r = &item->record;
	struct engine_info now;

	if (engine_peek(s->e, r->partition, r->key, &now) != OK ||
	    now.version != version_pack(r->index, r->position) ||
	    now.loc & LOC_DAMAGED ||
	    (loc_file_id(now.loc) == df->id && loc_off(now.loc) == item->off))
		return false;
	for (uint32_t i = 0; i < s->file_count; i++)
		if (s->files[i].df->id == loc_file_id(now.loc))
			return loc_off(now.loc) < s->files[i].end_off;
	return false;
}

static bool is_lost(struct engine_snapshot *s, struct datafile *df,
		    const struct walk_item *item)
{
	const struct record *r = &item->record;

	if (!is_damaged(item))
		return false;
	engine_note_corrupt(s->e, df, item->off, 1);
	if (r->type == RECORD_PUT)
		damage_note_key(s->e, r->partition,
				version_pack(r->index, r->position), r->key);
	return true;
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
		if (is_damaged(&item) && is_healed(s, f->df, &item))
			continue; /* it comes, or came, from there */
		if (is_lost(s, f->df, &item))
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
		err = walk_new(s->files[s->next_file++].df, 0, &s->walk);
		if (err)
			return err;
	}
}
