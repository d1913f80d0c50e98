/*
 * store/value.c - reading values, whole ones and ranges.
 *
 * Four shapes: the bytes lie in the key's record (pinned); in chunk records
 * that the record names (all of them held before the first byte is given out,
 * so that a later change of the key cannot mix in); either of these in an inode
 * record, which the key's names; or in memory of the value's own (a transaction
 * that reads what it has just put).
 *
 * A range is read without holding the rest, and, where the value has no holes,
 * straight into the caller's memory.
 */
#include <stdlib.h>

#include "base/check.h"
#include "store/attrs.h"
#include "store/content.h"
#include "store/hidden.h"
#include "store/keyrules.h"
#include "store/value.h"

struct store_value {
	struct store_info info;
	struct value_source source; /* pinned */
	struct content_pins *pins;  /* NULL: not chunked                    */
	struct engine_value piece;  /* the chunk read last */
	uint8_t *room;		    /* for chunks that are put together */
	uint8_t *copy;		    /* of a value that is not in a file yet */
};

/* ------------------------------------------------------------- sources --- */

void value_source_done(struct value_source *src)
{
	engine_value_done(&src->record);
	engine_value_done(&src->inode);
}

/* Follow a record that only names an inode. */
static enum err open_inode(struct store *s, uint32_t partition,
			   struct value_source *src)
{
	struct content_ref ref;
	uint8_t room[INODE_KEY_BYTES];
	enum err err = content_ref_decode(src->record.value, &ref);

	if (!err && ref.chunk_bytes != 0)
		err = ERR_CORRUPT;
	if (err)
		return err;
	src->ino = ref.id;
	return engine_get(s->engine, (uint16_t)partition,
			  inode_key(room, ref.id), ENGINE_VERIFY, &src->inode);
}

bool value_source_is_still(struct store *s, uint32_t partition,
			   struct bytes key, const struct value_source *src,
			   const struct engine_iter *lock)
{
	uint8_t room[INODE_KEY_BYTES];

	if (src->record.version &&
	    !content_is_still(s->engine, (uint16_t)partition, key,
			      src->record.version, lock))
		return false;
	return !src->inode.version ||
	       content_is_still(s->engine, (uint16_t)partition,
				inode_key(room, src->ino), src->inode.version,
				lock);
}

enum err value_source_error(struct store *s, uint32_t partition,
			    struct bytes key, const struct value_source *src,
			    enum err err)
{
	if (err != ERR_NOT_FOUND && err != ERR_CORRUPT)
		return err;
	return value_source_is_still(s, partition, key, src, NULL) ? ERR_CORRUPT
								   : ERR_BUSY;
}

enum err value_source_open(struct store *s, uint32_t partition,
			   struct bytes key, struct value_source *src)
{
	enum err err;

	*src = (struct value_source){ 0 };
	err = engine_get(s->engine, (uint16_t)partition, key, ENGINE_VERIFY,
			 &src->record);
	if (err)
		return err;
	if (loc_flags(src->record.loc) & LOC_INODE)
		err = open_inode(s, partition, src);
	if (err) {
		err = value_source_error(s, partition, key, src, err);
		value_source_done(src);
	}
	return err;
}

enum err value_source_ref(const struct value_source *src,
			  struct content_ref *ref)
{
	enum err err = content_ref_decode(value_source_data(src)->value, ref);

	return !err && ref->chunk_bytes == 0 ? ERR_CORRUPT : err;
}

enum err value_source_pin(struct store *s, uint32_t partition, struct bytes key,
			  const struct value_source *src,
			  const struct content_ref *ref, uint32_t first,
			  uint32_t end, bool patient, struct content_pins *pins)
{
	struct engine_iter it, *lock = patient ? &it : NULL;
	enum err err = ERR_BUSY;

	if (!patient) {
		err = content_pin(s->engine, (uint16_t)partition, ref, first,
				  end, NULL, pins);
		if (err)
			return value_source_error(s, partition, key, src, err);
		if (value_source_is_still(s, partition, key, src, NULL))
			return OK;
		content_pins_done(pins);
		return ERR_BUSY;
	}
	engine_iter_begin(s->engine, (uint16_t)partition, lock);
	if (value_source_is_still(s, partition, key, src, lock))
		err = content_pin(s->engine, (uint16_t)partition, ref, first,
				  end, lock, pins);
	engine_iter_end(lock);
	return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
}

/* ---------------------------------------------------------- whole values - */

void store_value_done(struct store_value *v)
{
	if (!v)
		return;
	engine_value_done(&v->piece);
	if (v->pins)
		content_pins_done(v->pins);
	free(v->pins);
	value_source_done(&v->source);
	free(v->room);
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
	value->source.record.value = bytes_of(value->copy, data.n);
	*v = value;
	return OK;
}

/* Hold every chunk. */
static enum err open_content(struct store *s, uint32_t partition,
			     struct bytes key, bool patient,
			     struct store_value *v)
{
	struct content_ref ref;
	enum err err;

	err = value_source_ref(&v->source, &ref);
	if (err)
		return err;
	v->info.bytes = ref.bytes;
	v->pins = calloc(1, sizeof(*v->pins));
	if (!v->pins)
		return ERR_NOMEM;
	err = value_source_pin(s, partition, key, &v->source, &ref, 0,
			       content_chunks(ref.bytes), patient, v->pins);
	if (!err)
		return OK;
	free(v->pins); /* it holds nothing */
	v->pins = NULL;
	return err;
}

/* Somebody may have set it; else it is when the record was written. */
static uint64_t mtime_of(const struct engine_value *data)
{
	struct attrs a;

	if (data->attrs.n > 0 && attrs_decode(data->attrs, &a) == OK &&
	    a.has & ATTRS_MTIME)
		return a.mtime_ns;
	return data->mtime_ns;
}

static void fill_info(struct store *s, uint32_t partition, struct bytes key,
		      struct store_value *v)
{
	const struct engine_value *r = &v->source.record;
	const struct engine_value *data = value_source_data(&v->source);
	unsigned flags = loc_flags(r->loc) | loc_flags(data->loc);

	v->info.rev = version_index(r->version > data->version ? r->version
							       : data->version);
	v->info.mtime_ns = mtime_of(data);
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
			  bool patient, struct store_value **out)
{
	struct store_value *v = calloc(1, sizeof(*v));
	const struct engine_value *data;
	enum err err;

	if (!v)
		return ERR_NOMEM;
	err = value_source_open(s, partition, key, &v->source);
	if (err) {
		free(v);
		return err;
	}
	data = value_source_data(&v->source);
	v->info.bytes = data->value.n;
	if (loc_flags(data->loc) & LOC_CONTENT)
		err = open_content(s, partition, key, patient, v);
	if (err) {
		store_value_done(v);
		return err;
	}
	fill_info(s, partition, key, v);
	*out = v;
	return OK;
}

enum err value_get(struct store *s, uint32_t partition, struct bytes key,
		   struct store_value **v)
{
	enum err err = ERR_BUSY;

	for (int i = 0; i < VALUE_RACES_MAX && err == ERR_BUSY; i++)
		err = value_try(s, partition, key, i >= VALUE_RACES_FEW, v);
	return err == ERR_BUSY ? ERR_IO : err;
}

enum err store_get(struct store *s, struct bytes key, struct store_value **v)
{
	enum err err = path_key_check(key);

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
	return value_source_data(&v->source)->attrs;
}

static enum err read_chunk(struct store_value *v, uint64_t off,
			   struct bytes *piece)
{
	uint32_t number = (uint32_t)(off / STORE_CHUNK_BYTES);
	uint32_t begin = (uint32_t)(off % STORE_CHUNK_BYTES);

	engine_value_done(&v->piece);
	if (!v->room && content_needs_room(v->pins, number)) {
		v->room = malloc(STORE_CHUNK_BYTES);
		if (!v->room)
			return ERR_NOMEM;
	}
	return content_view(v->pins, number, begin, &v->piece, v->room, piece);
}

enum err store_value_read(struct store_value *v, uint64_t off,
			  struct bytes *piece)
{
	struct bytes value;

	if (off >= v->info.bytes) {
		*piece = bytes_of(NULL, 0);
		return OK;
	}
	if (v->pins)
		return read_chunk(v, off, piece);
	value = value_source_data(&v->source)->value;
	*piece = bytes_of(value.p + off, value.n - off);
	return OK;
}

enum err store_stat(struct store *s, struct bytes key, struct store_info *info)
{
	enum err err = path_key_check(key);
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
