/*
 * store/content_change.c - writing into contents (store/content_change.h).
 *
 * What is there of a chunk is known without the disk: of a content that is not
 * sparse from its size, else from a walk over the keys of the chunk.
 */
#include "base/check.h"
#include "base/log.h"
#include "store/content_change.h"
#include "store/hidden.h"

enum {
	SPANS_MAX = 64,
	COVERED_MAX = 16,   /* extents that one piece takes away            */
	BLOCK_CHUNKS = 256, /* of one prefix deletion                       */
	BLOCK_PREFIX_BYTES = CHUNK_KEY_BYTES - 1,
};

struct span {
	uint32_t begin, end;
};

/* What is known of one chunk. */
struct chunk_view {
	bool there;    /* has any record                                   */
	bool has_base; /* has a record of its own                          */
	bool pending;  /* one of them is not applied yet                   */
	uint32_t base_bytes;
	uint32_t end; /* zeros from here on                               */
	uint32_t extents;
	uint64_t extent_bytes;
	struct span spans[SPANS_MAX]; /* the first extents, by begin         */
};

static struct view view_to_change(const struct content_change *c)
{
	return view_of(c->s, c->p);
}

static bool is_sparse(const struct content_change *c)
{
	return c->ref.flags & CONTENT_SPARSE;
}

static void make_sparse(struct content_change *c)
{
	if (is_sparse(c))
		return;
	c->ref.flags |= CONTENT_SPARSE;
	c->chunks = content_chunks(c->ref.bytes);
}

static void see_record(struct chunk_view *chunk, struct bytes key,
		       const struct key_state *state)
{
	uint32_t begin = 0, n = (uint32_t)state->bytes;

	chunk->there = true;
	chunk->pending |= state->pending;
	if (key.n == EXTENT_KEY_BYTES) {
		extent_bounds(key, &begin, &n);
		if (chunk->extents < SPANS_MAX)
			chunk->spans[chunk->extents] =
				(struct span){ begin, begin + n };
		chunk->extents++;
		chunk->extent_bytes += n;
	} else {
		chunk->has_base = true;
		chunk->base_bytes = n;
	}
	if (begin + n > chunk->end)
		chunk->end = begin + n;
	/* More is damage, for whoever reads it to find. */
	if (chunk->end > STORE_CHUNK_BYTES)
		chunk->end = STORE_CHUNK_BYTES;
}

/* Behind the value's end everything reads as zeros, whatever lies there. */
static void clip_to_value(const struct content_change *c, uint32_t number,
			  struct chunk_view *chunk)
{
	uint64_t begin = (uint64_t)number * STORE_CHUNK_BYTES;

	if (begin >= c->ref.bytes)
		chunk->end = 0;
	else if (c->ref.bytes - begin < chunk->end)
		chunk->end = (uint32_t)(c->ref.bytes - begin);
}

static void look_at_chunk(const struct content_change *c, uint32_t number,
			  struct chunk_view *chunk)
{
	struct view view = view_to_change(c);
	uint8_t room[CHUNK_KEY_BYTES];
	struct key_state state;
	struct view_iter it;
	struct bytes key;

	chunk->there = chunk->has_base = chunk->pending = false;
	chunk->base_bytes = chunk->end = chunk->extents = 0;
	chunk->extent_bytes = 0;
	if (!is_sparse(c)) {
		uint64_t begin = (uint64_t)number * STORE_CHUNK_BYTES;

		if (begin >= c->ref.bytes)
			return;
		chunk->there = chunk->has_base = true;
		chunk->end = STORE_CHUNK_BYTES;
		clip_to_value(c, number, chunk);
		chunk->base_bytes = chunk->end;
		return;
	}
	view_begin(&view, chunk_key(room, c->ref.id, number), &it);
	while (view_next(&it, &key, &state))
		see_record(chunk, key, &state);
	view_end(&it);
	clip_to_value(c, number, chunk);
}

/* ------------------------------------------------------------- records --- */

static enum err put_record(struct content_change *c, struct bytes key,
			   struct bytes value)
{
	struct engine_record *r = entry_record(&c->s->entry);
	struct pending_state becomes = { .present = true,
					 .index = c->index,
					 .bytes = value.n };

	if (!r)
		return ERR_NOMEM;
	r->type = RECORD_PUT;
	r->key = key;
	r->value = value;
	return pending_set(&c->p->pending, key, &becomes);
}

static enum err put_chunk(struct content_change *c, uint32_t number,
			  struct bytes value)
{
	uint8_t *key = entry_room(&c->s->entry, CHUNK_KEY_BYTES);

	if (!key)
		return ERR_NOMEM;
	return put_record(c, chunk_key(key, c->ref.id, number), value);
}

/* value empty: zeros. */
static enum err put_extent(struct content_change *c, uint32_t number,
			   struct span at, struct bytes value)
{
	uint8_t *key = entry_room(&c->s->entry, EXTENT_KEY_BYTES);

	if (!key)
		return ERR_NOMEM;
	return put_record(
		c,
		extent_key(key, c->ref.id, number, at.begin, at.end - at.begin),
		value);
}

static enum err delete_key(struct content_change *c, struct bytes key)
{
	const struct pending_state gone = { .index = c->index };
	struct engine_record *r = entry_record(&c->s->entry);

	if (!r)
		return ERR_NOMEM;
	r->type = RECORD_DELETE;
	r->key = key;
	return pending_set(&c->p->pending, key, &gone);
}

static enum err delete_prefix(struct content_change *c, struct bytes prefix)
{
	struct engine_record *r = entry_record(&c->s->entry);

	if (!r)
		return ERR_NOMEM;
	r->type = RECORD_DELETE_PREFIX;
	r->key = prefix;
	return pending_set_prefix(&c->p->pending, prefix, c->index);
}

/* The chunk's own record, or, with extents, all that it has. */
static enum err delete_chunk(struct content_change *c, uint32_t number,
			     bool extents)
{
	uint8_t *room = entry_room(&c->s->entry, CHUNK_KEY_BYTES);
	struct bytes key;

	if (!room)
		return ERR_NOMEM;
	key = chunk_key(room, c->ref.id, number);
	return extents ? delete_prefix(c, key) : delete_key(c, key);
}

/* --------------------------------------------------------------- pieces -- */

/* Extents inside at, which one that is written now hides. */
static enum err delete_covered(struct content_change *c, uint32_t number,
			       const struct chunk_view *chunk, struct span at)
{
	uint32_t deleted = 0;

	for (uint32_t i = 0; i < chunk->extents && i < SPANS_MAX; i++) {
		struct span s = chunk->spans[i];
		bool same = s.begin == at.begin && s.end == at.end;
		uint8_t *key;
		enum err err;

		if (same || s.begin < at.begin || s.end > at.end ||
		    deleted == COVERED_MAX)
			continue;
		key = entry_room(&c->s->entry, EXTENT_KEY_BYTES);
		if (!key)
			return ERR_NOMEM;
		err = delete_key(c, extent_key(key, c->ref.id, number, s.begin,
					       s.end - s.begin));
		if (err)
			return err;
		deleted++;
	}
	return OK;
}

/* With at, do the extents hide the chunk's own record? */
static bool hides_base(const struct chunk_view *chunk, struct span at)
{
	uint32_t covered = 0;

	if (!chunk->has_base || chunk->extents > SPANS_MAX)
		return false;
	for (uint32_t i = 0; i <= chunk->extents; i++) {
		if (at.begin <= covered && at.end > covered)
			covered = at.end;
		if (i < chunk->extents && chunk->spans[i].begin <= covered &&
		    chunk->spans[i].end > covered)
			covered = chunk->spans[i].end;
	}
	return covered >= chunk->end;
}

static enum err add_extent(struct content_change *c, uint32_t number,
			   const struct chunk_view *chunk, struct span at,
			   struct bytes value)
{
	enum err err;

	make_sparse(c);
	err = delete_covered(c, number, chunk, at);
	if (!err && hides_base(chunk, at))
		err = delete_chunk(c, number, false);
	return err ? err : put_extent(c, number, at, value);
}

static bool has_gathered(const struct chunk_view *chunk, struct span at)
{
	uint64_t bytes = chunk->extent_bytes + (at.end - at.begin);

	if (chunk->extents + 1 > CONTENT_EXTENTS_MAX)
		return true;
	return chunk->extents + 1 > CONTENT_EXTENTS_FEW &&
	       bytes >= chunk->base_bytes;
}

/* The bytes of a chunk of which nothing is pending. */
static enum err read_chunk(struct content_change *c, uint32_t number,
			   uint8_t *dst, uint32_t n)
{
	struct content_ref ref = c->ref;
	struct content_pins pins;
	enum err err;

	ref.bytes = ((uint64_t)number + 1) * STORE_CHUNK_BYTES;
	err = content_pin(c->s->engine, c->p->id, &ref, number, number + 1,
			  NULL, &pins);
	if (err)
		return err;
	err = content_copy(&pins, (uint64_t)number * STORE_CHUNK_BYTES, dst, n);
	content_pins_done(&pins);
	return err;
}

/* One record in place of chunk, its extents and data at `at`. */
static enum err rewrite_chunk(struct content_change *c, uint32_t number,
			      const struct chunk_view *chunk, struct span at,
			      const uint8_t *data)
{
	uint32_t n = chunk->end > at.end ? chunk->end : at.end;
	uint8_t *room = entry_room(&c->s->entry, n);
	enum err err;

	CHECK(n <= STORE_CHUNK_BYTES);
	if (!room)
		return ERR_NOMEM;
	err = read_chunk(c, number, room, n);
	if (err == ERR_NOMEM)
		return err;
	if (err) {
		/* Damage of what is there must not keep it from being written
		 * over; it stays damage. */
		log_warn("store", "chunk_unread partition=%u error=%s",
			 (unsigned)c->p->id, err_text(err));
		return add_extent(c, number, chunk, at,
				  bytes_of(data, at.end - at.begin));
	}
	memcpy(room + at.begin, data, at.end - at.begin);
	err = delete_chunk(c, number, true);
	return err ? err : put_chunk(c, number, bytes_of(room, n));
}

/* data becomes all that the chunk has. */
static enum err replace_chunk(struct content_change *c, uint32_t number,
			      const struct chunk_view *chunk, struct bytes data)
{
	uint64_t end = (uint64_t)number * STORE_CHUNK_BYTES + data.n;
	enum err err = OK;

	if (data.n < STORE_CHUNK_BYTES && end < c->ref.bytes)
		make_sparse(c);
	if (chunk->extents > 0)
		err = delete_chunk(c, number, true);
	return err ? err : put_chunk(c, number, data);
}

static enum err write_piece(struct content_change *c, uint32_t number,
			    struct span at, const uint8_t *data)
{
	struct bytes value = bytes_of(data, at.end - at.begin);
	struct chunk_view chunk;
	enum err err;

	look_at_chunk(c, number, &chunk);
	if (at.begin == 0 && at.end >= chunk.end)
		err = replace_chunk(c, number, &chunk, value);
	else if (!has_gathered(&chunk, at))
		err = add_extent(c, number, &chunk, at, value);
	else if (!chunk.pending)
		err = rewrite_chunk(c, number, &chunk, at, data);
	else if (chunk.extents < CONTENT_EXTENTS_MAX)
		err = add_extent(c, number, &chunk, at, value);
	else
		err = ERR_PENDING;
	if (!err && is_sparse(c) && !chunk.there)
		c->chunks++;
	return err;
}

enum err content_write(struct content_change *c, uint64_t off,
		       struct bytes data)
{
	enum err err = OK;

	if (off > c->ref.bytes)
		make_sparse(c);
	for (size_t done = 0; done < data.n && !err;) {
		uint64_t from = off + done;
		uint32_t begin = (uint32_t)(from % STORE_CHUNK_BYTES);
		uint32_t n = STORE_CHUNK_BYTES - begin;

		if (n > data.n - done)
			n = (uint32_t)(data.n - done);
		err = write_piece(c, (uint32_t)(from / STORE_CHUNK_BYTES),
				  (struct span){ begin, begin + n },
				  data.p + done);
		done += n;
		if (from + n > c->ref.bytes)
			c->ref.bytes = from + n;
	}
	return err;
}

/* -------------------------------------------------------------- deletion - */

/* The first chunk from `from` on that is there, and whether with extents. */
static bool next_chunk(const struct content_change *c, uint32_t from,
		       uint32_t *number, bool *extents)
{
	struct view view = view_to_change(c);
	uint8_t room[CHUNK_KEY_BYTES], prefix[CHUNK_KEY_BYTES];
	struct key_state state;
	struct view_iter it;
	struct bytes key;
	bool found;

	if (!is_sparse(c)) {
		*number = from;
		*extents = false;
		return from < content_chunks(c->ref.bytes);
	}
	view_begin_from(&view, chunk_prefix(prefix, c->ref.id),
			chunk_key(room, c->ref.id, from), &it);
	found = view_next(&it, &key, &state);
	if (found) {
		*number = chunk_number(key);
		*extents = key.n == EXTENT_KEY_BYTES;
		if (!*extents && view_next(&it, &key, &state))
			*extents = chunk_number(key) == *number;
	}
	view_end(&it);
	return found;
}

/* How many chunks are there in first .. end - 1. */
static uint32_t count_chunks(const struct content_change *c, uint64_t first,
			     uint64_t end)
{
	uint32_t count = 0, number;
	bool extents;

	while (first < end &&
	       next_chunk(c, (uint32_t)first, &number, &extents) &&
	       number < end) {
		count++;
		first = (uint64_t)number + 1;
	}
	return count;
}

/*
 * The chunks number .. number + 255 by one record, if it is worth it; how many
 * were there.
 */
static enum err delete_block(struct content_change *c, uint32_t number,
			     uint32_t *count)
{
	uint8_t *room;

	*count = count_chunks(c, number, (uint64_t)number + BLOCK_CHUNKS);
	if (*count < 2) {
		*count = 0;
		return OK;
	}
	room = entry_room(&c->s->entry, CHUNK_KEY_BYTES);
	if (!room)
		return ERR_NOMEM;
	chunk_key(room, c->ref.id, number);
	return delete_prefix(c, bytes_of(room, BLOCK_PREFIX_BYTES));
}

/*
 * Chunks first .. end - 1 go. A content is never longer than UINT32_MAX bytes,
 * so no block ends behind the last number.
 */
static enum err delete_chunks(struct content_change *c, uint32_t first,
			      uint32_t end)
{
	uint32_t number;
	bool extents;
	enum err err = OK;

	while (!err && first < end && next_chunk(c, first, &number, &extents) &&
	       number < end) {
		uint32_t block = number - number % BLOCK_CHUNKS, count = 0;

		if (block >= first && end - block >= BLOCK_CHUNKS)
			err = delete_block(c, block, &count);
		first = count ? block + BLOCK_CHUNKS : number + 1;
		if (!err && !count) {
			count = 1;
			err = delete_chunk(c, number, extents);
		}
		if (is_sparse(c))
			c->chunks -= count;
	}
	return err;
}

/* Bytes at of one chunk read as zeros. */
static enum err zero_piece(struct content_change *c, uint32_t number,
			   struct span at)
{
	struct chunk_view chunk;

	look_at_chunk(c, number, &chunk);
	if (!chunk.there || at.begin >= chunk.end)
		return OK;
	if (at.end > chunk.end)
		at.end = chunk.end;
	if (at.begin > 0 || at.end < chunk.end)
		return add_extent(c, number, &chunk, at, bytes_of(NULL, 0));
	make_sparse(c);
	c->chunks--;
	return delete_chunk(c, number, chunk.extents > 0);
}

enum err content_zero(struct content_change *c, uint64_t off, uint64_t n)
{
	uint64_t bytes = c->ref.bytes, end;
	uint32_t first, last;
	enum err err;

	if (off >= bytes || n == 0)
		return OK;
	end = n < bytes - off ? off + n : bytes;
	make_sparse(c);
	first = (uint32_t)(off / STORE_CHUNK_BYTES);
	last = (uint32_t)((end - 1) / STORE_CHUNK_BYTES);
	for (uint32_t i = first; i <= last; i++) {
		uint64_t begin = (uint64_t)i * STORE_CHUNK_BYTES;
		struct span at = { 0, STORE_CHUNK_BYTES };

		if (i != first && i != last) {
			err = delete_chunks(c, i, last);
			if (err)
				return err;
			i = last - 1;
			continue;
		}
		if (i == first)
			at.begin = (uint32_t)(off - begin);
		if (i == last)
			at.end = (uint32_t)(end - begin);
		err = zero_piece(c, i, at);
		if (err)
			return err;
	}
	return OK;
}

static enum err cut(struct content_change *c, uint64_t bytes)
{
	uint32_t rest = (uint32_t)(bytes % STORE_CHUNK_BYTES);
	uint32_t chunks = content_chunks(c->ref.bytes);
	enum err err = OK;

	/* Up to a whole block, since behind the end there is nothing. */
	chunks += BLOCK_CHUNKS - 1 - (chunks - 1) % BLOCK_CHUNKS;
	if (rest > 0)
		err = zero_piece(c, (uint32_t)(bytes / STORE_CHUNK_BYTES),
				 (struct span){ rest, STORE_CHUNK_BYTES });
	if (!err)
		err = delete_chunks(c, content_chunks(bytes), chunks);
	c->ref.bytes = bytes;
	return err;
}

enum err content_resize(struct content_change *c, uint64_t bytes)
{
	CHECK(bytes > 0);
	if (bytes < c->ref.bytes)
		return cut(c, bytes);
	if (bytes > c->ref.bytes)
		make_sparse(c);
	c->ref.bytes = bytes;
	return OK;
}

enum err content_note_chunks(struct partition *p, uint64_t index,
			     uint64_t content_id, uint32_t first, uint64_t n)
{
	enum err err = OK;

	for (uint64_t off = 0; off < n && !err; off += STORE_CHUNK_BYTES) {
		struct pending_state becomes = { .present = true,
						 .index = index };
		uint8_t room[CHUNK_KEY_BYTES];

		becomes.bytes = n - off < STORE_CHUNK_BYTES ? n - off
							    : STORE_CHUNK_BYTES;
		err = pending_set(&p->pending,
				  chunk_key(room, content_id, first++),
				  &becomes);
	}
	return err;
}
