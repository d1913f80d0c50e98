/*
 * engine/log.c - the writer: one stream of frames over many segments.
 *
 * The open frame is memory (a tail buffer) that stands for the bytes from off
 * on in the active segment. Records are encoded into it where they will lie,
 * so their location is known before they are written, and a reader that comes
 * in between finds them there. When it is full, or someone wants it on the
 * file, its header is filled in and it goes out with one write.
 *
 *      active segment
 *      | header | frame | frame | open frame (memory) | zeros ... | hole ... |
 *                               ^off                    ^zero_off  ^allocated
 *
 * Overwriting zeros is the cheapest durable write on a journalling file
 * system: no extent changes hands. So small frames find zeros written ahead;
 * blocks are allocated ahead of both, so that a full disk refuses an entry
 * before it is accepted and never in the middle of a frame.
 */
#include "engine/log.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "engine/engine_internal.h"
#include "engine/frame.h"
#include "engine/segment.h"

enum {
	FREE_BUFS_MAX = 16, /* readers let go of several at once */
	/*
	 * For the entries of a file that is written by 1 MiB. New memory for
	 * each costs more than encoding it: every page of it is a fault.
	 */
	LARGE_BUF_BYTES = (1 << 20) + (64 << 10),
	FREE_LARGE_MAX = 2,
	PUT_RESERVE_BYTES = 64 << 10, /* of allocated space puts leave alone */
};

_Static_assert(LOG_FRAME_BYTES % FRAME_ALIGN_BYTES == 0, "padding has room");

void log_begin(struct log *l, struct engine *e, struct datafile *active,
	       uint64_t off, uint64_t sequence)
{
	CHECK(off % FRAME_ALIGN_BYTES == 0);
	*l = (struct log){ .e = e, .active = active, .off = off };
	l->sequence = sequence;
	l->synced_sequence = sequence - 1;
	l->used_sequence = sequence - 1;
	l->claimed_sequence = sequence - 1;
	l->zero_off = active->zero_off > off ? active->zero_off : off;
	l->allocated_off = l->zero_off;
	atomic_store(&active->written, off);
	/* What a scan saw behind off is no frame of the stream any more. */
	atomic_store(&active->last_sequence,
		     off > FILE_HEADER_BYTES ? sequence - 1 : 0);
	atomic_store(&l->active_id, active->id);
	pthread_mutex_init(&l->free_lock, NULL);
}

static void free_buf(struct tail_buf *b)
{
	if (b)
		free(b->p);
	free(b);
}

static void free_list(struct tail_buf *b)
{
	while (b) {
		struct tail_buf *next = b->next_free;

		free_buf(b);
		b = next;
	}
}

void log_done(struct log *l)
{
	if (!l->e) /* never begun */
		return;
	free_buf(l->open);
	free_buf(l->last);
	free_list(l->free_bufs);
	free_list(l->free_large);
	free(l->zeros);
	pthread_mutex_destroy(&l->free_lock);
	*l = (struct log){ 0 };
}

void log_poison(struct log *l, const char *what, enum err why)
{
	if (!atomic_exchange(&l->poisoned, true))
		log_error("engine", "log_poisoned call=%s reason=%s file=%08x",
			  what, err_text(why), l->active->id);
}

static bool keep_buf(struct tail_buf **list, uint32_t *count, uint32_t max,
		     struct tail_buf *b)
{
	if (*count >= max)
		return false;
	b->next_free = *list;
	*list = b;
	(*count)++;
	return true;
}

/* No reader can see the buffer any more: keep a few for the next frames. */
static void buf_unseen(void *ctx, uint64_t ref)
{
	struct log *l = ctx;
	struct tail_buf *b = (struct tail_buf *)(uintptr_t)ref;
	bool kept = false;

	pthread_mutex_lock(&l->free_lock);
	if (b->room == LOG_FRAME_BYTES)
		kept = keep_buf(&l->free_bufs, &l->free_count, FREE_BUFS_MAX,
				b);
	else if (b->room == LARGE_BUF_BYTES)
		kept = keep_buf(&l->free_large, &l->free_large_count,
				FREE_LARGE_MAX, b);
	pthread_mutex_unlock(&l->free_lock);
	if (!kept)
		free_buf(b);
}

/* One of those that were kept, or NULL. */
static struct tail_buf *kept_buf(struct log *l, uint64_t room)
{
	bool large = room == LARGE_BUF_BYTES;
	struct tail_buf **list = large ? &l->free_large : &l->free_bufs, *b;

	if (!large && room != LOG_FRAME_BYTES)
		return NULL;
	pthread_mutex_lock(&l->free_lock);
	b = *list;
	if (b) {
		*list = b->next_free;
		if (large)
			l->free_large_count--;
		else
			l->free_count--;
	}
	pthread_mutex_unlock(&l->free_lock);
	return b;
}

static enum err get_buf(struct log *l, uint64_t bytes, struct tail_buf **out)
{
	uint64_t cap = frame_bytes(bytes), room;
	struct tail_buf *b;

	if (cap < LOG_FRAME_BYTES)
		cap = LOG_FRAME_BYTES;
	room = cap;
	if (cap > LOG_FRAME_BYTES && cap <= LARGE_BUF_BYTES)
		room = LARGE_BUF_BYTES;
	b = kept_buf(l, room);
	if (!b) {
		/* Rather one that readers have let go of than cold memory. */
		epoch_collect(l->e->readers);
		b = kept_buf(l, room);
	}
	if (!b) {
		b = calloc(1, sizeof(*b));
		if (!b)
			return ERR_NOMEM;
		b->p = malloc(room);
		b->room = room;
		if (!b->p) {
			free(b);
			return ERR_NOMEM;
		}
	}
	b->cap = cap;
	*out = b;
	return OK;
}

/* Nothing leads to *b any more; readers may still be looking at it. */
static void retire_buf(struct log *l, struct tail_buf **b)
{
	bool large;

	if (!*b)
		return;
	large = (*b)->room > LOG_FRAME_BYTES;
	/* On ERR_NOMEM the buffer leaks, as the contract of retire demands. */
	if (epoch_retire(l->e->readers, buf_unseen, l, (uint64_t)(uintptr_t)*b))
		log_warn("engine", "memory_leaked bytes=%llu",
			 (unsigned long long)(*b)->cap);
	*b = NULL;
	/* Left to itself it would wait for 63 others as large. */
	if (large)
		epoch_collect(l->e->readers);
}

static enum err open_frame(struct log *l, uint64_t bytes)
{
	struct tail_buf *b;
	enum err err = get_buf(l, bytes, &b);

	if (err)
		return err;
	b->file_off = l->off;
	l->open = b;
	l->fill = FRAME_HEADER_BYTES;
	l->records = 0;
	l->flags = 0;
	atomic_store_explicit(&l->active->tail, b, memory_order_release);
	retire_buf(l, &l->last);
	return OK;
}

/* Where frames of the segment must end. */
static uint64_t segment_limit(const struct datafile *df, bool use_reserve)
{
	return use_reserve ? df->bytes : df->bytes - df->bytes / 64;
}

/* The open frame must go out before an entry of bytes can come in. */
static bool frame_full(const struct log *l, uint64_t bytes)
{
	return l->open && l->records && l->fill + bytes > l->open->cap;
}

/* Where the frame that takes bytes more would end. */
static uint64_t frame_end(const struct log *l, uint64_t bytes)
{
	uint64_t fill = l->open ? l->fill - FRAME_HEADER_BYTES : 0;

	if (frame_full(l, bytes))
		return l->off + frame_bytes(fill) + frame_bytes(bytes);
	return l->off + frame_bytes(fill + bytes);
}

bool log_needs_switch(const struct log *l, uint64_t bytes, bool use_reserve)
{
	if (atomic_load_explicit(&l->switch_wanted, memory_order_relaxed) &&
	    !l->syncing && l->off > FILE_HEADER_BYTES)
		return true;
	return frame_end(l, bytes) > segment_limit(l->active, use_reserve);
}

/* Blocks for everything up to end, so that the write itself can't lack any. */
static enum err allocate_ahead(struct log *l, uint64_t end, bool use_reserve)
{
	uint64_t want = use_reserve ? end : end + PUT_RESERVE_BYTES;
	enum err err;

	if (want > l->active->bytes)
		want = l->active->bytes;
	if (want <= l->allocated_off)
		return OK;
	if (!use_reserve) {
		if (!engine_space_ok(l->e, true))
			return ERR_NOSPC;
		want = (want + LOG_ALLOCATE_BYTES - 1) / LOG_ALLOCATE_BYTES *
		       LOG_ALLOCATE_BYTES;
		if (want > l->active->bytes)
			want = l->active->bytes;
	}
	err = vfs_allocate(l->active->f, want);
	if (!err)
		l->allocated_off = want;
	return err;
}

/* Zeros behind a small frame; that it fails only costs speed later. */
static void zero_ahead(struct log *l, uint64_t end)
{
	uint64_t n = l->allocated_off > end ? l->allocated_off - end : 0;

	if (n > LOG_ZERO_BYTES)
		n = LOG_ZERO_BYTES;
	l->zero_off = end;
	if (n && !l->zeros)
		l->zeros = calloc(1, LOG_ZERO_BYTES);
	if (n && l->zeros && !vfs_pwrite(l->active->f, l->zeros, n, end))
		l->zero_off = end + n;
}

enum err log_write(struct log *l)
{
	uint64_t body, total, end;
	struct frame f;
	enum err err;

	if (atomic_load(&l->poisoned))
		return ERR_IO;
	if (!l->open || (l->records == 0 && !(l->flags & FRAME_MARK)))
		return OK;
	body = l->fill - FRAME_HEADER_BYTES;
	total = frame_bytes(body);
	end = l->off + total;
	CHECK(end <= l->active->bytes);
	CHECK(l->open->file_off == l->off);
	memset(l->open->p + l->fill, 0, total - l->fill);
	f = (struct frame){ .sequence = l->sequence,
			    .synced_sequence = l->synced_sequence,
			    .file_off = l->off,
			    .body_bytes = body,
			    .record_count = l->records,
			    .flags = l->flags };
	frame_encode(l->open->p, l->active->seed, &f);
	/* Not for a mark alone: a large frame may follow. */
	if (end > l->zero_off && l->records && total < LOG_DIRECT_BYTES)
		zero_ahead(l, end);
	err = vfs_pwrite(l->active->f, l->open->p, total, l->off);
	if (err) {
		log_poison(l, "write", err);
		return ERR_IO;
	}
	/* It writes them while the next frame of the batch is encoded. */
	if (total >= LOG_EARLY_BYTES)
		vfs_will_sync(l->active->f, l->off, total);
	if (end > l->zero_off)
		l->zero_off = end;
	atomic_store(&l->active->last_sequence, l->sequence);
	atomic_store_explicit(&l->active->written, end, memory_order_release);
	atomic_fetch_add_explicit(&l->frames, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&l->bytes_appended, total,
				  memory_order_relaxed);
	retire_buf(l, &l->last);
	l->last = l->open;
	l->open = NULL;
	l->claimed_sequence = l->synced_sequence;
	l->sequence++;
	l->off = end;
	engine_frame_written(l->e);
	return OK;
}

/* The segment that follows; made here when the keeper has none ready. */
static enum err next_segment(struct log *l, uint64_t bytes,
			     struct datafile **next)
{
	struct engine *e = l->e;
	uint64_t need = FILE_HEADER_BYTES + frame_bytes(bytes) +
			engine_hard_states_bytes(e) + FRAME_ALIGN_BYTES;
	uint64_t size = e->o.segment_bytes;
	struct datafile *df = atomic_exchange(&l->ready, NULL);

	need += need / 32;
	if (df && df->bytes >= need) {
		*next = df;
		return OK;
	}
	if (df)
		atomic_store(&l->ready, df);
	if (size < need)
		size = (need + 4095) & ~4095ull;
	return engine_add_segment(e, size, false, NULL, l->active->id, next);
}

static enum err switch_segment(struct log *l, uint64_t bytes)
{
	struct datafile *next;
	enum err err = next_segment(l, bytes, &next);

	if (err)
		return err;
	err = log_write(l);
	if (!err)
		err = log_sync(l);
	if (err)
		return err;
	atomic_store(&l->active->tail, NULL);
	retire_buf(l, &l->last);
	retire_buf(l, &l->open);
	l->active = next;
	l->off = FILE_HEADER_BYTES;
	l->zero_off = next->zero_off;
	l->allocated_off = next->zero_off;
	l->heads_due = true;
	atomic_store(&l->switch_wanted, false);
	return OK;
}

/*
 * Hard states before anything else in a segment. Without room for them they
 * stay due; until they are there the segment before does not count as sealed,
 * for it may hold the only ones.
 */
static enum err write_heads(struct log *l)
{
	enum err err;

	l->heads_due = false;
	err = engine_emit_hard_states(l->e);
	if (err) {
		l->heads_due = true;
		return err;
	}
	atomic_store(&l->active_id, l->active->id);
	return OK;
}

enum err log_reserve(struct log *l, uint64_t bytes, bool use_reserve,
		     uint8_t **p, uint64_t *off, struct datafile **df)
{
	enum err err;

	if (atomic_load(&l->poisoned))
		return ERR_IO;
	if (log_needs_switch(l, bytes, use_reserve)) {
		err = switch_segment(l, bytes);
		if (err)
			return err;
	}
	if (l->heads_due) {
		err = write_heads(l);
		if (err)
			return err;
	}
	if (frame_full(l, bytes)) {
		err = log_write(l);
		if (err)
			return err;
	}
	err = allocate_ahead(l, frame_end(l, bytes), use_reserve);
	if (err)
		return err;
	if (l->open && l->fill + bytes > l->open->cap) {
		CHECK(l->records == 0);
		atomic_store(&l->active->tail, NULL);
		retire_buf(l, &l->open);
	}
	if (!l->open) {
		err = open_frame(l, bytes);
		if (err)
			return err;
	}
	*p = l->open->p + l->fill;
	*off = l->off + l->fill;
	*df = l->active;
	return OK;
}

void log_commit(struct log *l, uint64_t bytes, uint32_t records, uint32_t flags)
{
	CHECK(l->open);
	CHECK(l->fill + bytes <= l->open->cap);
	l->fill += bytes;
	l->records += records;
	l->flags |= flags;
	atomic_store(&l->used_sequence, l->sequence);
}

enum err log_mark(struct log *l)
{
	uint64_t off;
	struct datafile *df;
	uint8_t *p;
	enum err err = log_write(l);

	if (!err)
		err = log_reserve(l, 0, true, &p, &off, &df);
	if (err)
		return err;
	l->flags |= FRAME_MARK;
	return log_write(l);
}

const uint8_t *log_memory(const struct log *l, const struct datafile *df,
			  uint64_t off, uint64_t *bytes)
{
	const struct tail_buf *bufs[2] = { l->open, l->last };

	if (df != l->active)
		return NULL;
	for (int i = 0; i < 2; i++) {
		const struct tail_buf *b = bufs[i];

		if (b && off >= b->file_off && off < b->file_off + b->cap) {
			if (i == 1 && off >= l->off)
				continue;
			*bytes = b->file_off + b->cap - off;
			return b->p + (off - b->file_off);
		}
	}
	return NULL;
}

void log_sync_begin(struct log *l, struct log_sync *s)
{
	CHECK(!l->syncing);
	l->syncing = true;
	s->df = l->active;
	s->sequence = l->sequence - 1;
}

enum err log_sync_end(struct log *l, const struct log_sync *s, enum err result,
		      uint64_t took_ns)
{
	CHECK(l->syncing);
	l->syncing = false;
	if (result) {
		log_poison(l, "sync", result);
		return ERR_IO;
	}
	if (atomic_load(&l->poisoned))
		return ERR_IO;
	CHECK(s->sequence >= l->synced_sequence);
	l->synced_sequence = s->sequence;
	atomic_fetch_add_explicit(&l->syncs, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&l->sync_ns, took_ns, memory_order_relaxed);
	return OK;
}

enum err log_sync(struct log *l)
{
	struct clock *clock = l->e->o.clock;
	struct log_sync s;
	uint64_t began;
	enum err err;

	if (l->synced_sequence == l->sequence - 1)
		return atomic_load(&l->poisoned) ? ERR_IO : OK;
	log_sync_begin(l, &s);
	began = clock_mono_ns(clock);
	err = vfs_sync(s.df->f);
	return log_sync_end(l, &s, err, clock_mono_ns(clock) - began);
}
