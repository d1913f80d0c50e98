/*
 * engine/walk.c - every record of one file in the order of its bytes.
 *
 * Reads ahead in large pieces into one buffer and decodes there. Behind a
 * damaged record the walk looks for the next one at every multiple of 8; in
 * the log behind a damaged frame header for the next frame at every multiple
 * of FRAME_ALIGN_BYTES. Both carry checksums that begin with the file's salt,
 * so what was found is what was written, not a value that looks like it.
 */
#include "engine/walk.h"

#include <stdlib.h>

#include "base/check.h"

enum {
	WALK_AHEAD_BYTES = 1 << 20,
	WALK_SECTOR_BYTES = 512,
	WALK_NEED_BYTES = 8 << 20, /* the disk is asked for so much ahead    */
};

struct walk {
	struct datafile *df;
	uint64_t last_sequence;
	uint64_t off;	   /* of the next thing to look at               */
	uint64_t body_end; /* of the frame, or of the merged file        */
	uint64_t next_off; /* of the next frame                          */
	uint64_t end;	   /* of the file                                */
	struct frame frame;
	uint64_t seen_sequence; /* of the last frame told                */
	bool sealed;		/* last_sequence is known to be there    */
	bool in_body, ended;
	struct buf buf; /* bytes buf_off.. of the file                   */
	uint64_t buf_off;
	uint64_t asked; /* of the disk, up to there                     */
};

enum err walk_new(struct datafile *df, uint64_t last_sequence, struct walk **w)
{
	struct walk *n = calloc(1, sizeof(*n));

	if (!n)
		return ERR_NOMEM;
	n->df = df;
	n->last_sequence = last_sequence;
	n->sealed = last_sequence != 0;
	n->off = FILE_HEADER_BYTES;
	n->end = df->bytes;
	if (atomic_load(&df->written) < n->end)
		n->end = atomic_load(&df->written);
	if (df->kind == DATAFILE_LOG && df->max_index &&
	    (!last_sequence || df->max_index < last_sequence))
		n->last_sequence = df->max_index;
	if (df->kind == DATAFILE_MERGED) {
		n->in_body = true;
		n->body_end = n->next_off = n->end;
	}
	*w = n;
	return OK;
}

void walk_free(struct walk *w)
{
	if (!w)
		return;
	buf_done(&w->buf);
	free(w);
}

/* Sector by sector; what cannot be read is zero, which no checksum fits. */
static enum err read_sectors(struct walk *w, uint64_t off, uint64_t n)
{
	enum err err = OK, first = OK;
	bool any = false;

	for (uint64_t at = 0; at < n; at += WALK_SECTOR_BYTES) {
		uint64_t left = n - at;

		if (left > WALK_SECTOR_BYTES)
			left = WALK_SECTOR_BYTES;
		err = datafile_read(w->df, off + at, left, w->buf.p + at);
		if (err && err != ERR_CORRUPT && err != ERR_IO)
			return err;
		if (err == ERR_IO && !first)
			first = err;
		if (err)
			memset(w->buf.p + at, 0, left);
		any = any || !err;
	}
	return any ? OK : first;
}

/* Keep the disk busy with what comes next. */
static void ask_ahead(struct walk *w, uint64_t off)
{
	uint64_t from = w->asked > off ? w->asked : off;
	uint64_t to = off + 2 * WALK_NEED_BYTES;

	if (to > w->end)
		to = w->end;
	if (from >= to || (to < w->end && to - from < WALK_NEED_BYTES))
		return;
	vfs_will_need(w->df->f, from, to - from);
	w->asked = to;
}

/*
 * Let *p be n readable bytes at off; fewer (*n) at the end of the file. Valid
 * until the next call.
 */
static enum err window(struct walk *w, uint64_t off, uint64_t *n,
		       const uint8_t **p)
{
	uint64_t ahead = *n > WALK_AHEAD_BYTES ? *n : WALK_AHEAD_BYTES;
	enum err err;

	if (off + *n > w->end)
		*n = off < w->end ? w->end - off : 0;
	if (off >= w->buf_off && off + *n <= w->buf_off + w->buf.n) {
		*p = w->buf.p + (off - w->buf_off);
		return OK;
	}
	if (off + ahead > w->end)
		ahead = w->end - off;
	ask_ahead(w, off);
	w->buf.n = 0;
	err = buf_reserve(&w->buf, ahead);
	if (err)
		return err;
	err = datafile_read(w->df, off, ahead, w->buf.p);
	if (err == ERR_CORRUPT || err == ERR_IO)
		err = read_sectors(w, off, ahead);
	if (err)
		return err;
	w->buf.n = ahead;
	w->buf_off = off;
	*p = w->buf.p;
	return OK;
}

/* Is a record at off, whose header and key are sound? *item is set if so. */
static enum err try_record(struct walk *w, uint64_t off, bool verify_value,
			   bool *found, struct walk_item *item)
{
	uint64_t n = RECORD_HEADER_BYTES, room = w->body_end - off;
	const uint8_t *p;
	enum err err;

	*found = false;
	if (room < RECORD_HEADER_BYTES)
		return OK;
	err = window(w, off, &n, &p);
	if (err || n < RECORD_HEADER_BYTES || get_u16(p + 8) != RECORD_MAGIC)
		return err;
	n = record_bytes(get_u16(p + 56), get_u16(p + 58), get_u32(p + 60));
	if (n > room || get_u32(p + 60) > RECORD_VALUE_BYTES_MAX)
		return OK;
	err = window(w, off, &n, &p);
	if (err)
		return err;
	item->state = record_decode(p, n, w->df->seed, verify_value,
				    &item->record, &item->bytes);
	*found = item->state != RECORD_BAD_HEADER;
	item->kind = WALK_RECORD;
	item->off = off;
	item->frame = w->frame;
	return OK;
}

static enum err step_body(struct walk *w, struct walk_item *item)
{
	uint64_t off = w->off;
	bool found;
	enum err err;

	err = try_record(w, off, true, &found, item);
	if (err)
		return err;
	if (found) {
		w->off = off + item->bytes;
		return OK;
	}
	do {
		off += 8;
		if (off >= w->body_end)
			break;
		err = try_record(w, off, false, &found, item);
		if (err)
			return err;
	} while (!found);
	if (off > w->body_end)
		off = w->body_end;
	*item = (struct walk_item){ .kind = WALK_DAMAGE,
				    .off = w->off,
				    .bytes = off - w->off,
				    .frame = w->frame };
	w->off = off;
	return OK;
}

static enum err try_frame(struct walk *w, uint64_t off, bool *found)
{
	uint64_t n = FRAME_HEADER_BYTES;
	const uint8_t *p;
	enum err err;

	*found = false;
	err = window(w, off, &n, &p);
	if (err || n < FRAME_HEADER_BYTES)
		return err;
	*found = frame_decode(p, w->df->seed, off, w->end, &w->frame);
	return OK;
}

/* Over space that was reserved and never written, without reading it. */
static enum err skip_unwritten(struct walk *w, uint64_t *off)
{
	uint64_t data;
	enum err err;

	if (*off >= w->end ||
	    (*off >= w->buf_off && *off < w->buf_off + w->buf.n))
		return OK;
	err = vfs_data_from(w->df->f, *off, &data);
	if (!err && data > *off)
		*off = data & ~(uint64_t)(FRAME_ALIGN_BYTES - 1);
	return err;
}

static enum err step_frame(struct walk *w, struct walk_item *item)
{
	uint64_t off = w->off;
	bool found = false;
	enum err err;

	while (off < w->end && !found) {
		err = try_frame(w, off, &found);
		if (err)
			return err;
		if (found && w->last_sequence &&
		    w->frame.sequence > w->last_sequence) {
			found = false;
			break;
		}
		if (found)
			break;
		off += FRAME_ALIGN_BYTES;
		err = skip_unwritten(w, &off);
		if (err)
			return err;
	}
	if (!found && w->sealed && w->seen_sequence < w->last_sequence &&
	    w->off < w->end) {
		*item = (struct walk_item){ .kind = WALK_DAMAGE,
					    .off = w->off,
					    .bytes = w->end - w->off };
		w->off = w->end;
		return OK;
	}
	if (!found || off > w->off) {
		*item = (struct walk_item){
			.kind = found ? WALK_DAMAGE : WALK_END,
			.off = w->off,
			.bytes = (found ? off : w->end) - w->off,
		};
		w->ended = !found;
		w->off = found ? off : w->off;
		return OK;
	}
	*item = (struct walk_item){ .kind = WALK_FRAME,
				    .off = off,
				    .bytes = frame_bytes(w->frame.body_bytes),
				    .frame = w->frame };
	w->off = off + FRAME_HEADER_BYTES;
	w->body_end = w->off + w->frame.body_bytes;
	w->next_off = off + item->bytes;
	w->seen_sequence = w->frame.sequence;
	w->in_body = true;
	return OK;
}

enum err walk_seek(struct walk *w, uint64_t off)
{
	uint64_t at = off & ~(uint64_t)(FRAME_ALIGN_BYTES - 1);
	struct frame f;

	CHECK(w->df->kind == DATAFILE_LOG);
	for (; at >= FILE_HEADER_BYTES && off < w->end;
	     at -= FRAME_ALIGN_BYTES) {
		uint8_t h[FRAME_HEADER_BYTES];

		if (datafile_read(w->df, at, sizeof(h), h) ||
		    !frame_decode(h, w->df->seed, at, w->end, &f))
			continue;
		if (off < at + FRAME_HEADER_BYTES ||
		    off >= at + FRAME_HEADER_BYTES + f.body_bytes)
			break;
		w->frame = f;
		w->off = off;
		w->body_end = at + FRAME_HEADER_BYTES + f.body_bytes;
		w->next_off = at + frame_bytes(f.body_bytes);
		w->seen_sequence = f.sequence;
		w->in_body = true;
		return OK;
	}
	return ERR_CORRUPT;
}

enum err walk_next(struct walk *w, struct walk_item *item)
{
	if (w->in_body && w->off >= w->body_end) {
		w->in_body = false;
		w->off = w->next_off;
		if (w->df->kind == DATAFILE_MERGED ||
		    (w->last_sequence && w->frame.sequence >= w->last_sequence))
			w->ended = true;
	}
	if (w->ended) {
		*item = (struct walk_item){ .kind = WALK_END,
					    .off = w->off,
					    .bytes = w->end > w->off
							     ? w->end - w->off
							     : 0 };
		return OK;
	}
	return w->in_body ? step_body(w, item) : step_frame(w, item);
}
