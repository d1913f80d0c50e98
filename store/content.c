/*
 * store/content.c - reading contents (store/content.h).
 */
#include <stdlib.h>

#include "base/check.h"
#include "store/content.h"
#include "store/hidden.h"

enum {
	/* A walk over more than that lets go of the lock in between. */
	WALK_STEPS_MAX = 1024,
	/* So many pieces are read from the disk before they are wanted. */
	AHEAD_MIN = 16,
	AHEAD_MAX = 32,
};

enum err content_ref_decode(struct bytes value, struct content_ref *ref)
{
	if (value.n != RECORD_CONTENT_BYTES)
		return ERR_CORRUPT;
	*ref = (struct content_ref){
		.id = get_u64(value.p),
		.bytes = get_u64(value.p + 8),
		.chunk_bytes = get_u32(value.p + 16),
		.flags = get_u32(value.p + 20),
	};
	if (ref->chunk_bytes == 0)
		return OK;
	/* The chunks' numbers and the extents' bounds are made for one size. */
	if (ref->chunk_bytes != STORE_CHUNK_BYTES ||
	    ref->flags & ~(uint32_t)CONTENT_SPARSE || ref->bytes > UINT32_MAX)
		return ERR_CORRUPT;
	return OK;
}

void content_ref_encode(uint8_t dst[RECORD_CONTENT_BYTES],
			const struct content_ref *ref)
{
	put_u64(dst, ref->id);
	put_u64(dst + 8, ref->bytes);
	put_u32(dst + 16, ref->chunk_bytes);
	put_u32(dst + 20, ref->flags);
}

/* ------------------------------------------------------------- holding --- */

void content_pins_done(struct content_pins *pins)
{
	for (uint32_t i = 0; i < pins->count; i++)
		engine_pin_done(&pins->pieces[i].pin);
	if (pins->pieces != pins->few)
		free(pins->pieces);
	pins->pieces = pins->few;
	pins->count = 0;
}

/* Make room for one more. */
static enum err reserve_piece(struct content_pins *pins)
{
	uint32_t cap = 2 * pins->cap;
	struct content_piece *pieces;

	if (pins->count < pins->cap)
		return OK;
	pieces = malloc(cap * sizeof(*pieces));
	if (!pieces)
		return ERR_NOMEM;
	memcpy(pieces, pins->pieces, pins->count * sizeof(*pieces));
	if (pins->pieces != pins->few)
		free(pins->pieces);
	pins->pieces = pieces;
	pins->cap = cap;
	return OK;
}

static enum err pin_dense(struct content_pins *pins, uint32_t end)
{
	for (uint32_t i = pins->first; i < end; i++) {
		struct content_piece *piece;
		uint8_t room[CHUNK_KEY_BYTES];
		enum err err = reserve_piece(pins);

		if (err)
			return err;
		piece = &pins->pieces[pins->count];
		*piece = (struct content_piece){ .chunk = i };
		err = engine_pin(pins->engine, pins->partition,
				 chunk_key(room, pins->ref.id, i), &piece->pin);
		if (err)
			return err;
		piece->bytes = piece->pin.value_bytes;
		pins->count++;
	}
	return OK;
}

/* What the walk has found. */
static enum err pin_found(struct content_pins *pins, struct bytes key,
			  const struct engine_info *info)
{
	struct content_piece *piece;
	enum err err = reserve_piece(pins);

	if (err)
		return err;
	piece = &pins->pieces[pins->count];
	*piece = (struct content_piece){
		.chunk = chunk_number(key),
		.bytes = info->value_bytes,
	};
	if (key.n == EXTENT_KEY_BYTES) {
		piece->extent = true;
		extent_bounds(key, &piece->begin, &piece->bytes);
	} else if (key.n != CHUNK_KEY_BYTES) {
		return ERR_CORRUPT;
	}
	if (piece->begin + piece->bytes > STORE_CHUNK_BYTES)
		return ERR_CORRUPT;
	err = engine_pin_found(pins->engine, pins->partition, key, info,
			       &piece->pin);
	if (!err)
		pins->count++;
	return err;
}

static int order_of(const void *left, const void *right)
{
	const struct content_piece *a = left, *b = right;

	if (a->chunk != b->chunk)
		return a->chunk < b->chunk ? -1 : 1;
	return (a->pin.version > b->pin.version) -
	       (a->pin.version < b->pin.version);
}

/*
 * Walk under the lock from *from on; after WALK_STEPS_MAX, if bounded, *from
 * is where to go on. *from_bytes 0: it was the end.
 */
static enum err walk_some(struct content_pins *pins, struct engine_iter *it,
			  uint32_t end, bool bounded,
			  uint8_t from[EXTENT_KEY_BYTES], size_t *from_bytes)
{
	uint8_t room[CHUNK_KEY_BYTES];
	struct bytes prefix = chunk_prefix(room, pins->ref.id), key;
	struct engine_info info;
	enum err err = OK;
	bool more;

	more = engine_iter_seek(it, bytes_of(from, *from_bytes), &key, &info);
	*from_bytes = 0;
	for (int steps = 0; more && !err; steps++) {
		if (!bytes_begins(key, prefix) || key.n < CHUNK_KEY_BYTES ||
		    chunk_number(key) >= end)
			break;
		if (bounded && steps >= WALK_STEPS_MAX &&
		    key.n <= EXTENT_KEY_BYTES) {
			*from_bytes = key.n;
			memcpy(from, key.p, key.n);
			break;
		}
		err = pin_found(pins, key, &info);
		if (!err)
			more = engine_iter_next(it, &key, &info);
	}
	return err;
}

static enum err pin_sparse(struct content_pins *pins, uint32_t end,
			   struct engine_iter *lock)
{
	struct engine_iter own;
	uint8_t from[EXTENT_KEY_BYTES];
	size_t from_bytes;
	enum err err = OK;

	from_bytes = chunk_key(from, pins->ref.id, pins->first).n;
	if (lock)
		err = walk_some(pins, lock, end, false, from, &from_bytes);
	while (!err && from_bytes > 0) {
		engine_iter_begin(pins->engine, pins->partition, &own);
		err = walk_some(pins, &own, end, true, from, &from_bytes);
		engine_iter_end(&own);
	}
	if (!err && pins->count > 1)
		qsort(pins->pieces, pins->count, sizeof(*pins->pieces),
		      order_of);
	return err;
}

enum err content_pin(struct engine *e, uint16_t partition,
		     const struct content_ref *ref, uint32_t first,
		     uint32_t end, struct engine_iter *lock,
		     struct content_pins *pins)
{
	enum err err;

	CHECK(ref->chunk_bytes == STORE_CHUNK_BYTES);
	pins->engine = e;
	pins->partition = partition;
	pins->ref = *ref;
	pins->first = first;
	pins->count = 0;
	pins->ahead = 0;
	pins->cap = CONTENT_PIECES_FEW;
	pins->pieces = pins->few;
	err = ref->flags & CONTENT_SPARSE ? pin_sparse(pins, end, lock)
					  : pin_dense(pins, end);
	if (err)
		content_pins_done(pins);
	return err;
}

bool content_is_still(struct engine *e, uint16_t partition, struct bytes key,
		      uint64_t version, const struct engine_iter *lock)
{
	struct engine_iter own;
	struct engine_info now;
	enum err err;

	/* Entries are applied whole under the lock that a walk takes. */
	if (!lock)
		engine_iter_begin(e, partition, &own);
	err = engine_peek(e, partition, key, &now);
	if (!lock)
		engine_iter_end(&own);
	return !err && now.version == version;
}

/* ------------------------------------------------------------- reading --- */

/* The pieces of one chunk: *count of them, oldest first. */
static const struct content_piece *pieces_of(const struct content_pins *pins,
					     uint32_t chunk, uint32_t *count)
{
	uint32_t low = 0, high = pins->count, n = 0;

	if (!(pins->ref.flags & CONTENT_SPARSE)) {
		CHECK(chunk - pins->first < pins->count);
		*count = 1;
		return &pins->pieces[chunk - pins->first];
	}
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (pins->pieces[middle].chunk < chunk)
			low = middle + 1;
		else
			high = middle;
	}
	while (low + n < pins->count && pins->pieces[low + n].chunk == chunk)
		n++;
	*count = n;
	return &pins->pieces[low];
}

/* What the chunk has of the value's bytes. */
static uint32_t bytes_of_chunk(const struct content_ref *ref, uint32_t chunk)
{
	uint64_t rest = ref->bytes - (uint64_t)chunk * STORE_CHUNK_BYTES;

	return rest < STORE_CHUNK_BYTES ? (uint32_t)rest : STORE_CHUNK_BYTES;
}

static enum err open_piece(const struct content_pins *pins,
			   const struct content_piece *piece,
			   struct engine_value *v)
{
	uint8_t room[EXTENT_KEY_BYTES];
	struct bytes key =
		piece->extent ? extent_key(room, pins->ref.id, piece->chunk,
					   piece->begin, piece->bytes)
			      : chunk_key(room, pins->ref.id, piece->chunk);
	enum err err;

	err = engine_pin_get(pins->engine, &piece->pin, key, ENGINE_VERIFY, v);
	if (err)
		return err;
	if (v->value.n == piece->bytes || (piece->extent && v->value.n == 0))
		return OK;
	engine_value_done(v);
	return ERR_CORRUPT;
}

/* Lay what piece says of begin .. begin + n of its chunk over dst. */
static enum err overlay(const struct content_pins *pins,
			const struct content_piece *piece, uint32_t begin,
			uint32_t n, uint8_t *dst)
{
	uint32_t from = piece->begin > begin ? piece->begin : begin;
	uint32_t to = piece->begin + piece->bytes;
	struct engine_value v;
	enum err err;

	if (to > begin + n)
		to = begin + n;
	if (from >= to)
		return OK;
	err = open_piece(pins, piece, &v);
	if (err)
		return err;
	if (v.value.n > 0)
		memcpy(dst + (from - begin), v.value.p + (from - piece->begin),
		       to - from);
	else
		memset(dst + (from - begin), 0, to - from);
	engine_value_done(&v);
	return OK;
}

/* Bytes begin .. begin + n of one chunk. */
static enum err copy_chunk(const struct content_pins *pins, uint32_t chunk,
			   uint32_t begin, uint32_t n, uint8_t *dst)
{
	uint32_t count;
	const struct content_piece *pieces = pieces_of(pins, chunk, &count);
	enum err err = OK;

	if (!(pins->ref.flags & CONTENT_SPARSE) &&
	    pieces->bytes != bytes_of_chunk(&pins->ref, chunk))
		return ERR_CORRUPT;
	if (count == 0 || pieces->begin > begin ||
	    pieces->begin + pieces->bytes < begin + n)
		memset(dst, 0, n);
	for (uint32_t i = 0; i < count && !err; i++)
		err = overlay(pins, &pieces[i], begin, n, dst);
	return err;
}

enum err content_copy(const struct content_pins *pins, uint64_t off, void *dst,
		      size_t n)
{
	enum err err = OK;

	CHECK(off + n <= pins->ref.bytes);
	for (size_t done = 0; done < n && !err;) {
		uint64_t at = off + done;
		uint32_t begin = (uint32_t)(at % STORE_CHUNK_BYTES);
		uint32_t part = STORE_CHUNK_BYTES - begin;

		if (part > n - done)
			part = (uint32_t)(n - done);
		err = copy_chunk(pins, (uint32_t)(at / STORE_CHUNK_BYTES),
				 begin, part, (uint8_t *)dst + done);
		done += part;
	}
	return err;
}

bool content_needs_room(const struct content_pins *pins, uint32_t chunk)
{
	uint32_t count;
	const struct content_piece *pieces = pieces_of(pins, chunk, &count);

	if (!(pins->ref.flags & CONTENT_SPARSE) || count == 0)
		return false;
	return count > 1 || pieces->extent ||
	       pieces->bytes < bytes_of_chunk(&pins->ref, chunk);
}

/*
 * Who reads piece i reads on. A mapping alone makes the disk work in steps of
 * 128 KiB, and whoever sends the bytes wait for each.
 */
static void read_ahead(struct content_pins *pins, uint32_t i)
{
	uint32_t from = pins->ahead > i ? pins->ahead : i, end, last;

	if (from == pins->count || from >= i + AHEAD_MIN)
		return;
	end = i + AHEAD_MAX < pins->count ? i + AHEAD_MAX : pins->count;
	pins->ahead = end;
	for (; from < end; from = last + 1) {
		const struct content_piece *piece = &pins->pieces[from];

		for (last = from; last + 1 < end; last++) {
			if (!engine_pin_is_next(&pins->pieces[last].pin,
						&pins->pieces[last + 1].pin))
				break;
		}
		engine_pin_will_need(&piece->pin, &pins->pieces[last].pin);
	}
}

enum err content_view(struct content_pins *pins, uint32_t chunk, uint32_t begin,
		      struct engine_value *held, uint8_t *room,
		      struct bytes *view)
{
	static const uint8_t zeros[STORE_CHUNK_BYTES];
	uint32_t n = bytes_of_chunk(&pins->ref, chunk), count;
	const struct content_piece *pieces = pieces_of(pins, chunk, &count);
	enum err err;

	CHECK(begin < n);
	if (count == 0) {
		*view = bytes_of(zeros, n - begin);
		return OK;
	}
	read_ahead(pins, (uint32_t)(pieces - pins->pieces));
	if (content_needs_room(pins, chunk)) {
		err = copy_chunk(pins, chunk, begin, n - begin, room);
		*view = bytes_of(room, n - begin);
		return err;
	}
	if (!(pins->ref.flags & CONTENT_SPARSE) && pieces->bytes != n)
		return ERR_CORRUPT;
	err = open_piece(pins, pieces, held);
	if (!err)
		*view = bytes_of(held->value.p + begin, n - begin);
	return err;
}

/* Bytes begin .. begin + n of a chunk that is there. */
static enum err copy_one_dense(struct engine *e, uint16_t partition,
			       const struct content_ref *ref, uint32_t chunk,
			       uint32_t begin, uint32_t n, uint8_t *dst)
{
	uint32_t whole = bytes_of_chunk(ref, chunk);
	uint8_t room[CHUNK_KEY_BYTES];
	struct bytes key = chunk_key(room, ref->id, chunk);
	struct engine_value v;
	size_t got;
	enum err err;

	if (n == whole) {
		err = engine_copy(e, partition, key, ENGINE_VERIFY, dst, n,
				  &got);
		if (err == ERR_TOO_LARGE)
			return ERR_CORRUPT;
		return err ? err : got == n ? OK : ERR_CORRUPT;
	}
	err = engine_get(e, partition, key, ENGINE_VERIFY, &v);
	if (err)
		return err;
	if (v.value.n == whole)
		memcpy(dst, v.value.p + begin, n);
	else
		err = ERR_CORRUPT;
	engine_value_done(&v);
	return err;
}

enum err content_copy_dense(struct engine *e, uint16_t partition,
			    const struct content_ref *ref, uint64_t off,
			    void *dst, size_t n)
{
	enum err err = OK;

	CHECK(!(ref->flags & CONTENT_SPARSE));
	CHECK(off + n <= ref->bytes);
	for (size_t done = 0; done < n && !err;) {
		uint64_t at = off + done;
		uint32_t begin = (uint32_t)(at % STORE_CHUNK_BYTES);
		uint32_t part = STORE_CHUNK_BYTES - begin;

		if (part > n - done)
			part = (uint32_t)(n - done);
		err = copy_one_dense(e, partition, ref,
				     (uint32_t)(at / STORE_CHUNK_BYTES), begin,
				     part, (uint8_t *)dst + done);
		done += part;
	}
	return err;
}
