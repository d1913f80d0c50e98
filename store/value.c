/*
 * store/value.c - reading one value.
 *
 * Three shapes: the bytes lie in the key's record (pinned), in chunk records
 * that the record names (all of them pinned before the first byte is given
 * out, so that a later change of the key cannot mix in), or in memory of the
 * value's own (a transaction that reads what it has just put).
 *
 * Each chunk is verified when it is read.
 */
#include <stdlib.h>

#include "base/check.h"
#include "store/hidden.h"
#include "store/keyrules.h"
#include "store/store_internal.h"

enum { RACES_MAX = 1000 };

struct store_value {
	struct store_info info;
	struct engine_value record; /* pinned */
	uint64_t chunk_bytes;	    /* 0: not chunked */
	uint32_t chunk_count;
	struct engine_pin *chunks;
	struct engine *engine; /* with chunks */
	uint64_t content_id;
	struct engine_value piece; /* the chunk read last */
	uint8_t *copy;		   /* of a value that is not in a file yet */
};

void store_value_done(struct store_value *v)
{
	if (!v)
		return;
	engine_value_done(&v->piece);
	for (uint32_t i = 0; i < v->chunk_count; i++)
		engine_pin_done(&v->chunks[i]);
	free(v->chunks);
	engine_value_done(&v->record);
	free(v->copy);
	free(v);
}

enum err value_of_bytes(struct bytes data, uint64_t rev, struct store_value **v)
{
	struct store_value *value = calloc(1, sizeof(*value));

	if (!value)
		return ERR_NOMEM;
	value->copy = malloc(data.n + 1);
	if (!value->copy) {
		free(value);
		return ERR_NOMEM;
	}
	if (data.n > 0)
		memcpy(value->copy, data.p, data.n);
	value->info.rev = rev;
	value->info.bytes = data.n;
	value->record.value = bytes_of(value->copy, data.n);
	*v = value;
	return OK;
}

/* Pin every chunk. ERR_NOT_FOUND: the content went meanwhile. */
static enum err pin_chunks(struct store *s, uint32_t partition,
			   struct store_value *v, uint64_t content_id)
{
	uint64_t count = (v->info.bytes + v->chunk_bytes - 1) / v->chunk_bytes;

	if (count > UINT32_MAX / sizeof(*v->chunks))
		return ERR_CORRUPT;
	v->chunks = calloc(count + 1, sizeof(*v->chunks));
	if (!v->chunks)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < count; i++) {
		uint8_t room[CHUNK_KEY_BYTES];
		enum err err;

		err = engine_pin(s->engine, (uint16_t)partition,
				 chunk_key(room, content_id, i), &v->chunks[i]);
		if (err)
			return err;
		v->chunk_count = i + 1;
	}
	return OK;
}

static enum err open_content(struct store *s, uint32_t partition,
			     struct store_value *v)
{
	const uint8_t *named = v->record.value.p;

	if (v->record.value.n != RECORD_CONTENT_BYTES)
		return ERR_CORRUPT;
	v->info.bytes = get_u64(named + 8);
	v->chunk_bytes = get_u64(named + 16);
	if (v->chunk_bytes == 0)
		return ERR_CORRUPT;
	v->engine = s->engine;
	v->content_id = get_u64(named);
	return pin_chunks(s, partition, v, v->content_id);
}

static void fill_info(struct store *s, uint32_t partition, struct bytes key,
		      struct store_value *v)
{
	const struct engine_value *r = &v->record;
	unsigned flags = loc_flags(r->loc);

	v->info.rev = version_index(r->version);
	v->info.mtime_ns = r->mtime_ns;
	v->info.is_dir = key_is_dir(key);
	v->info.is_link = flags & LOC_LINK;
	v->info.is_special = flags & LOC_SPECIAL;
	if (flags & LOC_EXPIRES && r->expiry_ns) {
		uint64_t now_ns = log_clock_ns(s, &s->partitions[partition]);

		v->info.has_ttl = true;
		v->info.ttl_ns =
			r->expiry_ns > now_ns ? r->expiry_ns - now_ns : 0;
	}
}

static enum err value_try(struct store *s, uint32_t partition, struct bytes key,
			  struct store_value **out)
{
	struct store_value *v = calloc(1, sizeof(*v));
	enum err err;

	if (!v)
		return ERR_NOMEM;
	err = engine_get(s->engine, (uint16_t)partition, key, ENGINE_VERIFY,
			 &v->record);
	if (err) {
		free(v);
		return err;
	}
	v->info.bytes = v->record.value.n;
	if (loc_flags(v->record.loc) & LOC_CONTENT)
		err = open_content(s, partition, v);
	if (err) {
		uint64_t version = v->record.version;
		struct engine_info now;

		store_value_done(v);
		if (err != ERR_NOT_FOUND)
			return err;
		/* A chunk was not there: because the key was changed under
		 * our eyes, or because it is lost. */
		err = engine_peek(s->engine, (uint16_t)partition, key, &now);
		if (err)
			return err;
		return now.version == version ? ERR_CORRUPT : ERR_BUSY;
	}
	fill_info(s, partition, key, v);
	*out = v;
	return OK;
}

enum err value_get(struct store *s, uint32_t partition, struct bytes key,
		   struct store_value **v)
{
	enum err err = ERR_BUSY;

	for (int i = 0; i < RACES_MAX && err == ERR_BUSY; i++)
		err = value_try(s, partition, key, v);
	return err == ERR_BUSY ? ERR_IO : err;
}

enum err store_get(struct store *s, struct bytes key, struct store_value **v)
{
	enum err err = store_key_check(key);

	if (err)
		return err == ERR_KEY_TOO_LONG ? ERR_BAD_KEY : err;
	return value_get(s, store_partition_of(s, key), key, v);
}

const struct store_info *store_value_info(const struct store_value *v)
{
	return &v->info;
}

struct bytes store_value_attrs(const struct store_value *v)
{
	return v->record.attrs;
}

static enum err read_chunk(struct store_value *v, uint64_t off,
			   struct bytes *piece)
{
	uint64_t number = off / v->chunk_bytes, begin = off % v->chunk_bytes;
	uint64_t rest = v->info.bytes - number * v->chunk_bytes;
	uint8_t room[CHUNK_KEY_BYTES];
	enum err err;

	CHECK(number < v->chunk_count);
	engine_value_done(&v->piece);
	err = engine_pin_get(v->engine, &v->chunks[number],
			     chunk_key(room, v->content_id, (uint32_t)number),
			     ENGINE_VERIFY, &v->piece);
	if (err)
		return err;
	/* Every chunk but the last is whole. */
	if (v->piece.value.n != (rest < v->chunk_bytes ? rest : v->chunk_bytes))
		return ERR_CORRUPT;
	*piece = bytes_of(v->piece.value.p + begin, v->piece.value.n - begin);
	return OK;
}

enum err store_value_read(struct store_value *v, uint64_t off,
			  struct bytes *piece)
{
	if (off >= v->info.bytes) {
		*piece = bytes_of(NULL, 0);
		return OK;
	}
	if (v->chunk_bytes)
		return read_chunk(v, off, piece);
	*piece = bytes_of(v->record.value.p + off, v->record.value.n - off);
	return OK;
}

enum err store_stat(struct store *s, struct bytes key, struct store_info *info)
{
	enum err err = store_key_check(key);
	struct engine_info known;
	unsigned flags;

	if (err)
		return err == ERR_KEY_TOO_LONG ? ERR_BAD_KEY : err;
	err = engine_peek(s->engine, (uint16_t)store_partition_of(s, key), key,
			  &known);
	if (err)
		return err;
	flags = loc_flags(known.loc);
	*info = (struct store_info){
		.rev = version_index(known.version),
		.bytes = known.value_bytes,
		.has_ttl = flags & LOC_EXPIRES,
		.is_dir = key_is_dir(key),
		.is_link = flags & LOC_LINK,
		.is_special = flags & LOC_SPECIAL,
	};
	return OK;
}

uint64_t store_revision(struct store *s, uint32_t partition)
{
	CHECK(partition < s->partition_count);
	return engine_applied_index(s->engine, (uint16_t)partition);
}
