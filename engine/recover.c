/*
 * engine/recover.c - after a crash: give the unproven a place that is proven.
 *
 * What stands behind the last frame known to be synced may exist only in the
 * page cache, whose write to the disk may have failed unseen. So before
 * anything is answered from it, it is copied to a fresh segment and synced.
 * The copies keep partition, index and term, so they replace what they copy
 * and kill nothing.
 *
 *      before  | A: 1 .. 40 (proven) 41 42 [torn] | B: empty |
 *      after   | A: 1 .. 40, ends here            | F: 41 42 mark |
 *
 * F is whole and synced before the manifest names it; the same switch says
 * where A ends and drops B. A crash before the switch changes nothing, F is
 * then a leftover without a name in the manifest.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "engine/frame.h"
#include "engine/load.h"
#include "engine/walk.h"

/* The fresh segments while they are written. */
struct copy {
	struct load *l;
	struct datafile *df;
	uint64_t off, sequence;
	uint64_t source; /* of the frame copied last */
	struct manifest_file files[8];
	uint32_t count;
	struct buf buf; /* the frame being made */
	uint32_t records, flags;
};

static enum err end_file(struct copy *c)
{
	if (!c->df)
		return OK;
	return vfs_sync(c->df->f);
}

static enum err begin_file(struct copy *c, uint64_t frame_total)
{
	struct engine *e = c->l->e;
	uint64_t bytes = e->o.segment_bytes;
	struct manifest_file *m = &c->files[c->count];
	enum err err = end_file(c);

	if (err)
		return err;
	datafile_close(c->df);
	c->df = NULL;
	if (c->count == sizeof(c->files) / sizeof(c->files[0]))
		return ERR_NOSPC;
	if (bytes < FILE_HEADER_BYTES + frame_total + FRAME_ALIGN_BYTES)
		bytes = FILE_HEADER_BYTES + frame_total + FRAME_ALIGN_BYTES;
	*m = (struct manifest_file){ .id = engine_next_file_id(e),
				     .salt = seed_next(e->o.seed),
				     .bytes = bytes };
	err = datafile_create_log(&e->owner, m->id, m->salt, bytes, false, NULL,
				  &c->df);
	if (err)
		return err;
	c->count++;
	c->off = FILE_HEADER_BYTES;
	return OK;
}

/* Write the frame in c->buf, whose records were encoded for c->df. */
static enum err put_frame(struct copy *c, uint64_t synced)
{
	uint64_t total = frame_bytes(c->buf.n - FRAME_HEADER_BYTES);
	struct frame f = { .sequence = c->sequence,
			   .synced_sequence = synced,
			   .file_off = c->off,
			   .body_bytes = c->buf.n - FRAME_HEADER_BYTES,
			   .record_count = c->records,
			   .flags = c->flags };
	enum err err = buf_reserve(&c->buf, FRAME_ALIGN_BYTES);

	if (err)
		return err;
	memset(c->buf.p + c->buf.n, 0, total - c->buf.n);
	frame_encode(c->buf.p, c->df->seed, &f);
	err = vfs_pwrite(c->df->f, c->buf.p, total, c->off);
	c->off += total;
	c->sequence++;
	return err;
}

/* Start a frame that will be total bytes long. */
static enum err start_frame(struct copy *c, uint64_t total, uint32_t flags)
{
	enum err err;

	if (!c->df || c->off + total > c->df->bytes) {
		err = begin_file(c, total);
		if (err)
			return err;
	}
	c->buf.n = 0;
	err = buf_reserve(&c->buf, total);
	c->buf.n = FRAME_HEADER_BYTES;
	c->records = 0;
	c->flags = flags;
	return err;
}

static enum err copy_record(struct copy *c, const struct record *r)
{
	uint64_t bytes = record_bytes(r->key.n, r->attrs.n, r->value.n);
	enum err err = buf_reserve(&c->buf, bytes + FRAME_ALIGN_BYTES);

	if (err)
		return err;
	c->buf.n += record_encode(c->buf.p + c->buf.n, c->df->seed, r);
	c->records++;
	return OK;
}

/* The head of the fresh segment: every partition's hard state. */
static enum err copy_hard_states(struct copy *c)
{
	struct engine *e = c->l->e;
	uint64_t n = e->o.partitions * record_bytes(0, 0, 24);
	enum err err = start_frame(c, frame_bytes(n), 0);

	for (uint32_t i = 0; !err && i < e->o.partitions; i++) {
		const struct partition *p = &e->partitions[i];
		uint8_t v[24];
		struct record r = { .type = RECORD_HARD_STATE,
				    .flags = RECORD_LAST,
				    .partition = (uint16_t)i,
				    .value = { v, sizeof(v) } };

		if (!p->has_hard_state)
			continue;
		put_u64(v, p->hard_state.term);
		put_u64(v + 8, p->hard_state.vote);
		put_u64(v + 16, p->hard_state.commit);
		err = copy_record(c, &r);
	}
	if (!err)
		err = put_frame(c, c->sequence - 1);
	return err;
}

/* One step of copy_segment; *open: a frame is being made. */
static enum err copy_item(struct copy *c, const struct walk_item *it,
			  bool *open)
{
	struct load *l = c->l;
	enum err err = OK;

	if (*open && it->kind != WALK_RECORD) {
		err = put_frame(c, l->proven);
		*open = false;
	}
	if (err)
		return err;
	switch (it->kind) {
	case WALK_FRAME:
		if (it->frame.sequence <= l->proven)
			return OK;
		if (it->frame.sequence != ++c->source)
			return ERR_IO;
		*open = it->frame.record_count > 0;
		return *open ? start_frame(c, it->bytes, it->frame.flags) : OK;
	case WALK_RECORD:
		if (it->frame.sequence <= l->proven)
			return OK;
		return it->state == RECORD_OK ? copy_record(c, &it->record)
					      : ERR_IO;
	case WALK_DAMAGE:
		return it->frame.sequence > l->proven ? ERR_IO : OK;
	case WALK_END:
		break;
	}
	return OK;
}

/*
 * Copy the frames of one segment above proven, up to kept. The scan saw them
 * sound; what reads otherwise now is a failing disk.
 */
static enum err copy_segment(struct copy *c, const struct load_segment *s)
{
	struct walk_item it;
	bool open = false;
	struct walk *w;
	enum err err = walk_new(s->df, 0, &w);

	if (err)
		return err;
	do {
		err = walk_next(w, &it);
		if (!err && it.kind == WALK_FRAME &&
		    it.frame.sequence > c->l->kept)
			it.kind = WALK_END;
		if (!err)
			err = copy_item(c, &it, &open);
	} while (!err && it.kind != WALK_END);
	walk_free(w);
	return err;
}

/* Copies, then a mark that says they are synced. */
static enum err write_copies(struct copy *c)
{
	struct load *l = c->l;
	uint64_t synced;
	enum err err = copy_hard_states(c);

	for (uint32_t i = 0; !err && i < l->log_count; i++)
		if (!l->log[i].hint && l->log[i].scan.last_sequence > l->proven)
			err = copy_segment(c, &l->log[i]);
	if (!err && c->source != l->kept)
		err = ERR_IO;
	if (!err)
		err = end_file(c);
	synced = c->sequence - 1;
	if (!err)
		err = start_frame(c, FRAME_ALIGN_BYTES, FRAME_MARK);
	if (!err)
		err = put_frame(c, synced);
	if (!err)
		err = end_file(c);
	return err;
}

/* The list of segments as it will be: *drop gets the ids that leave it. */
static enum err switch_list(struct copy *c, uint32_t *drop, uint32_t *drops)
{
	struct load *l = c->l;
	struct engine *e = l->e;
	struct manifest next;
	struct manifest_file *log;
	uint32_t n = 0;
	enum err err = manifest_copy(&e->manifest, &next);

	if (err)
		return err;
	log = calloc(l->log_count + c->count, sizeof(*log));
	if (!log) {
		manifest_done(&next);
		return ERR_NOMEM;
	}
	for (uint32_t i = 0; i < l->log_count; i++) {
		const struct load_segment *s = &l->log[i];

		if (!s->hint && (!s->scan.first_sequence ||
				 s->scan.first_sequence > l->proven)) {
			drop[(*drops)++] = s->df->id;
			continue;
		}
		log[n] = next.log[i];
		if (!s->hint && s->scan.last_sequence >= l->proven)
			log[n].max_index = l->proven;
		n++;
	}
	memcpy(log + n, c->files, c->count * sizeof(*log));
	free(next.log);
	next.log = log;
	next.log_count = n + c->count;
	next.next_file_id = e->manifest.next_file_id;
	err = manifest_store(e->o.vfs, e->dir, &next);
	if (err) {
		manifest_done(&next);
		return err;
	}
	manifest_done(&e->manifest);
	e->manifest = next;
	return OK;
}

static void remove_dropped(struct load *l, uint32_t id)
{
	struct engine *e = l->e;
	struct datafile *df = engine_file(e, id);
	char path[DATAFILE_PATH_BYTES];
	enum err err;

	engine_file_unlist(e, df);
	datafile_close(df);
	datafile_path(&e->owner, DATAFILE_LOG, id, "", path);
	err = vfs_unlink(e->o.vfs, path);
	if (err)
		log_warn("engine", "leftover_stays file=%08x.log reason=%s", id,
			 err_text(err));
}

enum err load_recover(struct load *l)
{
	struct copy c = { .l = l,
			  .sequence = l->proven + 1,
			  .source = l->proven };
	uint32_t *drop = calloc(l->log_count + 1, sizeof(*drop));
	uint32_t drops = 0;
	enum err err;

	if (!drop)
		return ERR_NOMEM;
	err = write_copies(&c);
	datafile_close(c.df);
	if (!err)
		err = switch_list(&c, drop, &drops);
	if (err) {
		load_say(l, "%s: copying the end of the log: %s", l->e->dir,
			 err_text(err));
		goto out;
	}
	log_info("engine", "recovered proven=%llu copied=%llu",
		 (unsigned long long)l->proven,
		 (unsigned long long)(l->kept - l->proven));
	for (uint32_t i = 0; i < l->log_count; i++) {
		struct datafile *df = l->log[i].df;

		if (!l->log[i].hint &&
		    l->log[i].scan.last_sequence >= l->proven)
			df->max_index = l->proven;
		l->log[i].df = NULL;
	}
	for (uint32_t i = 0; i < drops; i++)
		remove_dropped(l, drop[i]);
out:
	buf_done(&c.buf);
	free(drop);
	return err;
}
