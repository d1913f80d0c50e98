/*
 * store/upload.c - values that come in pieces, and stagings.
 *
 * Pieces gather in one of the upload's two buffers. Above
 * STORE_INLINE_BYTES_MAX, each time STAGE_BYTES are together, it goes to the
 * core thread, which appends them as chunk records under a content id that no
 * key names yet, with a marker (the staging); meanwhile the owner fills the
 * other, and waits only when that is full as well. The write that names the
 * upload is one small entry: the last chunks, the key's record that names the
 * content, the marker's deletion. An upload that ends below STAGE_BYTES needs
 * no staging at all.
 *
 *    add ... add --STAGE--> entry(marker, chunks) ... --> done
 *    store_write            entry(last chunks, key -> content, -marker)
 *    close without a commit entry(-marker, -chunks)
 *
 * Who leads the partition knows its stagings: the table is read from the
 * markers when an office begins. A piece may be staged twice, by two leaders:
 * the same bytes under the same content. A first piece, which opens the
 * content, then leaves a staging behind that is collected.
 *
 * A staging that nothing happened to for staging_idle_ms of log clock is
 * collected by an entry, whoever left it behind; a piece or a commit that
 * comes after that finds the upload dead with ERR_NO_LEADER.
 */
#include <stdlib.h>

#include "base/check.h"
#include "store/content_change.h"
#include "store/hidden.h"
#include "store/upload.h"

enum {
	STAGING_LOOK_NS = 100 * 1000 * 1000,
	STAGING_WAIT_MS_MAX = 1000,
};

struct store_upload *upload_of(struct store_queued *q)
{
	return (struct store_upload *)((char *)q -
				       offsetof(struct store_upload, queued));
}

struct bytes upload_key(const struct store_upload *u)
{
	return u->key;
}

bool upload_is_of(const struct store_upload *u, const struct store *s)
{
	return u->s == s;
}

enum err upload_outcome(const struct store_upload *u)
{
	return (enum err)atomic_load(&u->outcome);
}

uint64_t store_upload_bytes(const struct store_upload *u)
{
	return u->bytes;
}

enum err store_upload_open(struct store *s, struct bytes key,
			   void (*done)(void *user, enum err err), void *user,
			   struct store_upload **out)
{
	enum err err = store_key_check(key);
	struct store_upload *u;

	if (err)
		return err;
	if (!atomic_load_explicit(&s->started, memory_order_acquire))
		return ERR_STARTING;
	u = calloc(1, sizeof(*u) + key.n);
	if (!u)
		return ERR_NOMEM;
	u->s = s;
	u->done = done;
	u->user = user;
	u->key = bytes_of(memcpy(u + 1, key.p, key.n), key.n);
	u->queued.partition = store_partition_of(s, key);
	count_up(&s->uploads, 1);
	count_up(&s->uploads_open, 1);
	*out = u;
	return OK;
}

/* What was added is what core has next. */
static enum err hand_over(struct store_upload *u)
{
	struct buf empty = u->buf;
	enum err err;

	if (u->buf.n > 0) { /* the end, of a commit that was refused */
		err = buf_add(&u->buf, u->more.p, u->more.n);
		if (err)
			return err;
	} else {
		u->buf = u->more;
		u->more = empty;
	}
	u->more.n = 0;
	return OK;
}

/* All but whole chunks stays with the owner. */
static enum err take_piece(struct store_upload *u)
{
	size_t rest, whole;
	enum err err = hand_over(u);

	if (err)
		return err;
	rest = u->buf.n % STORE_CHUNK_BYTES;
	whole = u->buf.n - rest;
	err = buf_add(&u->more, u->buf.p + whole, rest);
	if (!err)
		u->buf.n = whole;
	return err;
}

/* The owner has enough for a piece, and nothing is being staged. */
static enum err begin_piece(struct store_upload *u)
{
	enum err err = take_piece(u);

	if (!err) {
		atomic_store(&u->phase, UPLOAD_STAGING);
		err = queue_push(u->s, &u->queued, REQUEST_STAGE);
		if (err)
			atomic_store(&u->phase, UPLOAD_OWNED);
	}
	if (err)
		atomic_store(&u->outcome, (int)err);
	return err;
}

/*
 * True: a piece is being staged, and core will find that phase. False: it is
 * over, the upload is the owner's.
 */
static bool change_phase(struct store_upload *u, enum upload_phase to)
{
	int staging = UPLOAD_STAGING;

	return atomic_compare_exchange_strong(&u->phase, &staging, (int)to);
}

/* With so much together the owner hands it over. */
static size_t stage_bytes(const struct store_upload *u)
{
	if (u->bytes < UPLOAD_WIDE_BYTES ||
	    atomic_load(&u->s->uploads_open) > UPLOADS_WIDE_MAX)
		return UPLOAD_STAGE_BYTES;
	return UPLOAD_WIDE_BYTES;
}

enum err store_upload_add(struct store_upload *u, const void *p, size_t n)
{
	enum err err = upload_outcome(u);

	if (err)
		return err;
	CHECK(!u->committed);
	if (n > u->s->max_value_bytes - u->bytes)
		err = ERR_TOO_LARGE;
	else
		err = buf_add(&u->more, p, n);
	if (err) {
		atomic_store(&u->outcome, (int)err);
		return err;
	}
	u->bytes += n;
	if (u->more.n < stage_bytes(u))
		return OK;
	if (change_phase(u, UPLOAD_AWAITED))
		return ERR_PENDING;
	err = upload_outcome(u);
	return err ? err : begin_piece(u);
}

enum err upload_commit(struct store_upload *u, struct store_write *w)
{
	enum err err;

	u->commit = w;
	for (;;) {
		if (change_phase(u, UPLOAD_COMMITTING))
			return OK;
		err = upload_outcome(u);
		if (!err && u->buf.n + u->more.n < UPLOAD_STAGE_BYTES)
			break;
		if (!err)
			err = begin_piece(u); /* too much for one entry */
		if (err)
			return err;
	}
	err = hand_over(u);
	return err ? err : queue_push(u->s, &w->queued, REQUEST_WRITE);
}

static void free_upload(struct store_upload *u)
{
	count_up(&u->s->uploads_open, (uint64_t)-1);
	buf_done(&u->buf);
	buf_done(&u->more);
	free(u);
}

void store_upload_close(struct store_upload *u)
{
	if (!u || change_phase(u, UPLOAD_CLOSED))
		return;
	CHECK(atomic_load(&u->phase) == UPLOAD_OWNED);
	if (u->content_id && !u->committed) {
		buf_done(&u->buf);
		buf_done(&u->more);
		if (queue_push(u->s, &u->queued, REQUEST_ABANDON) == OK)
			return; /* core frees it */
	}
	free_upload(u);
}

size_t upload_piece_bytes(const struct store_upload *u)
{
	size_t whole = u->buf.n - u->buf.n % STORE_CHUNK_BYTES;

	return whole < UPLOAD_PIECE_BYTES_MAX ? whole : UPLOAD_PIECE_BYTES_MAX;
}

/*
 * A leader was lost under a piece: the next one may go on with it, for a piece
 * that is staged again under the same content changes nothing.
 */
static bool may_go_on(const struct store_upload *u, enum err err)
{
	struct store *s = u->s;
	uint64_t ns = clock_mono_ns(s->o.clock) - u->queued.since_ns;

	return (err == ERR_NO_LEADER || err == ERR_UNKNOWN) &&
	       upload_outcome(u) == OK && !atomic_load(&s->closing) &&
	       ns < s->o.commit_timeout_ms * 1000000;
}

/* What was staged of the buffer. */
static void drop_staged(struct store_upload *u)
{
	size_t n = u->staged_bytes;

	CHECK(n > 0 && n <= u->buf.n);
	u->staged_bytes = 0;
	u->content_id = u->piece_id;
	u->chunks += (uint32_t)(n / STORE_CHUNK_BYTES);
	if (u->buf.n > n)
		memmove(u->buf.p, u->buf.p + n, u->buf.n - n);
	u->buf.n -= n;
}

static void submit(struct store_upload *u, enum request_kind kind)
{
	u->queued.kind = (uint8_t)kind;
	u->queued.since_ns = clock_mono_ns(u->s->o.clock);
	core_submit(u->s, &u->queued);
}

/* Its owner left while a piece was staged. */
static void close_behind(struct store_upload *u)
{
	if (u->content_id && !atomic_load(&u->s->closing))
		submit(u, REQUEST_ABANDON);
	else
		free_upload(u);
}

/* Its owner has handed in the commit while a piece was staged. */
static void commit_behind(struct store_upload *u, enum err err)
{
	struct store_write *w = u->commit;

	if (!err && u->more.n >= UPLOAD_STAGE_BYTES) {
		err = take_piece(u);
		atomic_store(&u->outcome, (int)err);
		if (!err) {
			submit(u, REQUEST_STAGE);
			return;
		}
	}
	atomic_store(&u->phase, UPLOAD_OWNED);
	if (!err)
		err = hand_over(u);
	if (!err)
		err = queue_push(u->s, &w->queued, REQUEST_WRITE);
	if (!err)
		return;
	w->err = err;
	w->done(w);
}

/* Its owner waits: for room if all is well. */
static void go_on(struct store_upload *u, enum err err)
{
	if (!err) {
		err = take_piece(u);
		atomic_store(&u->outcome, (int)err);
	}
	atomic_store(&u->phase, err ? UPLOAD_OWNED : UPLOAD_STAGING);
	if (!err)
		submit(u, REQUEST_STAGE);
	u->done(u->user, err);
}

/* All that core had is staged, or the upload has failed. */
static void piece_over(struct store_upload *u, enum err err)
{
	int phase = UPLOAD_STAGING;

	if (atomic_compare_exchange_strong(&u->phase, &phase, UPLOAD_OWNED))
		return;
	switch ((enum upload_phase)phase) {
	case UPLOAD_AWAITED:
		go_on(u, err);
		return;
	case UPLOAD_COMMITTING:
		commit_behind(u, err);
		return;
	case UPLOAD_CLOSED:
		close_behind(u);
		return;
	case UPLOAD_OWNED:
	case UPLOAD_STAGING:
		break;
	}
	CHECK(phase == UPLOAD_AWAITED);
}

void upload_complete(struct store_upload *u, enum err err)
{
	if (upload_outcome(u))
		err = upload_outcome(u);
	if (u->queued.no_forward) { /* another node's */
		u->done(u->user, err);
		return;
	}
	if (u->queued.kind == REQUEST_ABANDON) {
		free_upload(u);
		return;
	}
	if (may_go_on(u, err) && atomic_load(&u->phase) != UPLOAD_CLOSED) {
		core_submit(u->s, &u->queued);
		return;
	}
	if (err == ERR_UNKNOWN) /* staged bytes alone change nothing */
		err = ERR_NO_LEADER;
	if (err) {
		atomic_store(&u->outcome, (int)err);
	} else {
		drop_staged(u);
		if (upload_piece_bytes(u) > 0) {
			submit(u, REQUEST_STAGE);
			return;
		}
	}
	piece_over(u, err);
}

/* ------------------------------------------------------------- stagings -- */

static struct staging **find_staging(struct partition *p, uint64_t id)
{
	struct staging **at = &p->stagings;

	while (*at && (*at)->content_id != id)
		at = &(*at)->next;
	return at;
}

static enum err add_staging(struct partition *p, uint64_t id,
			    uint64_t active_ns)
{
	struct staging *g = malloc(sizeof(*g));

	if (!g)
		return ERR_NOMEM;
	*g = (struct staging){ .next = p->stagings,
			       .content_id = id,
			       .active_ns = active_ns };
	p->stagings = g;
	return OK;
}

static void remove_staging(struct partition *p, uint64_t id)
{
	struct staging **at = find_staging(p, id);
	struct staging *g = *at;

	if (!g)
		return;
	*at = g->next;
	free(g);
}

void staging_free_all(struct partition *p)
{
	while (p->stagings)
		remove_staging(p, p->stagings->content_id);
}

enum err staging_load(struct store *s, struct partition *p)
{
	struct engine_iter it;
	struct engine_info info;
	struct bytes key;
	enum err err = OK;
	bool more;

	engine_iter_begin(s->engine, p->id, &it);
	more = engine_iter_seek(&it, marker_prefix(), &key, &info);
	while (more && !err && bytes_begins(key, marker_prefix()) &&
	       key.n == MARKER_KEY_BYTES) {
		err = add_staging(p, get_be64(key.p + 2), 0);
		more = engine_iter_next(&it, &key, &info);
	}
	engine_iter_end(&it);
	for (struct staging *g = p->stagings; g && !err; g = g->next) {
		uint8_t room[MARKER_KEY_BYTES];
		struct engine_value v;

		err = engine_get(s->engine, p->id,
				 marker_key(room, g->content_id), ENGINE_VERIFY,
				 &v);
		if (err == ERR_CORRUPT) { /* its age is lost: begin anew */
			g->active_ns = log_clock_ns(s, p);
			err = OK;
			continue;
		}
		if (err)
			break;
		g->active_ns = v.stamp_ns;
		engine_value_done(&v);
	}
	return err;
}

/* Delete a staging's marker and chunks. Anything but ERR_IO: try later. */
static enum err collect_one(struct store *s, struct partition *p, uint64_t id)
{
	uint64_t index;
	enum err err;

	entry_begin(&s->entry);
	err = entry_marker(&s->entry, id, false);
	if (!err)
		err = entry_drop_content(&s->entry, id);
	if (!err)
		err = entry_append(s, p, &index);
	if (!err)
		remove_staging(p, id);
	return err;
}

static struct staging *find_idle(struct store *s, struct partition *p)
{
	uint64_t now_ns = log_clock_ns(s, p);
	uint64_t idle_ns = s->o.staging_idle_ms * 1000000;
	struct staging *g = p->stagings;

	while (g && (now_ns < g->active_ns || now_ns - g->active_ns < idle_ns))
		g = g->next;
	return g;
}

enum err staging_collect(struct store *s)
{
	uint64_t now_ns = clock_boot_ns(s->o.clock);

	if (s->staging_looked_ns &&
	    now_ns - s->staging_looked_ns < STAGING_LOOK_NS)
		return OK;
	s->staging_looked_ns = now_ns;
	for (uint32_t i = 0; i < s->partition_count; i++) {
		struct partition *p = &s->partitions[i];
		struct staging *g;

		while ((g = find_idle(s, p))) {
			enum err err = collect_one(s, p, g->content_id);

			if (err == ERR_IO)
				return err;
			if (err)
				break;
		}
	}
	return OK;
}

uint64_t staging_wait_ms(struct store *s)
{
	for (uint32_t i = 0; i < s->partition_count; i++) {
		if (s->partitions[i].stagings)
			return STAGING_WAIT_MS_MAX;
	}
	return UINT64_MAX;
}

/* ----------------------------------------------- on the core's thread ---- */

/* One entry: the marker, and data under the content from chunk first on. */
static enum err stage_piece(struct store *s, struct partition *p,
			    const struct store_upload *u, uint32_t first,
			    struct bytes data)
{
	uint64_t index;
	enum err err;

	entry_begin(&s->entry);
	err = entry_marker(&s->entry, u->piece_id, true);
	if (!err)
		err = entry_chunks(&s->entry, u->piece_id, first, data);
	if (!err)
		err = entry_append(s, p, &index);
	return err;
}

/*
 * All whole chunks of the buffer, an entry for each piece, or as many as there
 * is room for: then the rest is a request of its own, and told why.
 */
static enum err stage_pieces(struct store *s, struct partition *p,
			     struct store_upload *u)
{
	size_t whole = u->buf.n - u->buf.n % STORE_CHUNK_BYTES, n;
	enum err err = OK;

	for (u->staged_bytes = 0; u->staged_bytes < whole && !err;) {
		n = whole - u->staged_bytes;
		if (n > UPLOAD_PIECE_BYTES_MAX)
			n = UPLOAD_PIECE_BYTES_MAX;
		err = stage_piece(s, p, u,
				  u->chunks + (uint32_t)(u->staged_bytes /
							 STORE_CHUNK_BYTES),
				  bytes_of(u->buf.p + u->staged_bytes, n));
		if (!err)
			u->staged_bytes += n;
	}
	return u->staged_bytes > 0 && err != ERR_IO ? OK : err;
}

enum err upload_stage(struct store *s, struct store_upload *u)
{
	struct partition *p = &s->partitions[u->queued.partition];
	enum err err = upload_outcome(u);

	CHECK(upload_piece_bytes(u) > 0);
	if (err)
		return OK;
	u->piece_id = u->content_id;
	if (!u->content_id) {
		u->piece_id = version_pack(p->last_index + 1, 0);
		err = add_staging(p, u->piece_id, 0);
	} else if (!*find_staging(p, u->content_id)) {
		err = ERR_NO_LEADER; /* it was collected */
	}
	if (!err) {
		err = stage_pieces(s, p, u);
		if (err && !u->content_id)
			remove_staging(p, u->piece_id);
	}
	if (err == ERR_IO || err == ERR_PENDING)
		return err;
	if (err)
		atomic_store(&u->outcome, (int)err);
	else
		(*find_staging(p, u->piece_id))->active_ns = p->last_stamp_ns;
	return OK;
}

enum err upload_abandon(struct store *s, struct store_upload *u)
{
	struct partition *p = &s->partitions[u->queued.partition];
	enum err err = OK;

	/* Not there: collected before. Any error: the idle collection follows. */
	if (*find_staging(p, u->content_id))
		err = collect_one(s, p, u->content_id);
	return err == ERR_IO || err == ERR_PENDING ? err : OK;
}

enum err upload_commit_records(struct store *s, struct partition *p,
			       struct store_upload *u,
			       struct engine_record *put,
			       struct pending_state *state)
{
	struct entry_builder *b = &s->entry;
	uint64_t id = u->content_id;
	uint8_t *named;
	enum err err;

	state->bytes = u->bytes;
	if (u->bytes <= STORE_INLINE_BYTES_MAX) {
		put->value = buf_bytes(&u->buf);
		return OK;
	}
	CHECK(state->index == p->last_index + 1);
	if (id) {
		if (!*find_staging(p, id)) { /* it was collected */
			atomic_store(&u->outcome, ERR_NO_LEADER);
			return ERR_NO_LEADER;
		}
		err = entry_marker(b, id, false);
		if (err)
			return err;
	} else {
		/* Beside it at most 128 contents: no number is used twice. */
		id = version_pack(state->index, ENTRY_POSITION_MAX);
	}
	named = entry_room(b, RECORD_CONTENT_BYTES);
	if (!named)
		return ERR_NOMEM;
	content_encode(named, id, u->bytes, STORE_CHUNK_BYTES);
	put->flags |= LOC_CONTENT;
	put->value = bytes_of(named, RECORD_CONTENT_BYTES);
	state->content_id = id;
	state->content_shape = STORE_CHUNK_BYTES;
	err = content_note_chunks(p, state->index, id, u->chunks, u->buf.n);
	return err ? err : entry_chunks(b, id, u->chunks, buf_bytes(&u->buf));
}

void upload_committed(struct partition *p, struct store_upload *u)
{
	if (u->content_id)
		remove_staging(p, u->content_id);
}

void upload_commit_over(struct store_upload *u, enum err err)
{
	u->committed = !err;
}
