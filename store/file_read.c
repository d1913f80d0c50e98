/*
 * store/file_read.c - ranges of files, for whoever reads a file in pieces.
 *
 * A range of a value without holes is copied straight from its chunks into the
 * caller's memory, checked on the way; then the record that names them must
 * still be the same. Only who loses that race a few times, or reads a value
 * with holes, holds records first.
 */
#include "base/check.h"
#include "store/file_internal.h"
#include "store/hidden.h"
#include "store/keyrules.h"
#include "store/value.h"

enum { SEEK_STEPS_MAX = 1024 };

/* A file found, for one call. */
struct reading {
	struct store *s;
	uint32_t partition;
	struct bytes path;
	uint64_t ino;
	bool patient;
	struct value_source src;
};

/* Has the record of path the number that is asked for? */
static bool has_number(const struct reading *r)
{
	const struct engine_value *record = &r->src.record;
	struct view view = file_view_applied(r->s, r->partition);
	struct attrs a;

	if (!r->ino)
		return true;
	if (loc_flags(record->loc) & LOC_INODE)
		return r->src.ino == r->ino;
	if (attrs_decode(record->attrs, &a))
		return false;
	return r->ino == (a.has & ATTRS_INO
				  ? a.ino
				  : file_ino_of(&view, record->version));
}

/* path is not simply the file's name: find out what it is. */
static enum err open_otherwise(struct reading *r)
{
	struct view view = file_view_applied(r->s, r->partition);
	uint8_t room[INODE_KEY_BYTES];
	struct file_node n;
	bool linked, is_dir;
	enum err err;

	err = file_find_ino(&view, r->path, r->ino, &n);
	linked = n.linked;
	is_dir = n.is_dir;
	file_node_done(&n);
	if (err)
		return err;
	if (is_dir)
		return ERR_IS_DIR;
	if (!linked || !r->ino)
		return ERR_BUSY; /* it came while we looked */
	r->src = (struct value_source){ .ino = r->ino };
	err = engine_get(r->s->engine, (uint16_t)r->partition,
			 inode_key(room, r->ino), ENGINE_VERIFY, &r->src.inode);
	return err == ERR_NOT_FOUND ? ERR_BUSY : err;
}

static enum err open_reading(struct reading *r)
{
	enum err err = ERR_NOT_FOUND;

	if (r->path.n > 0)
		err = value_source_open(r->s, r->partition, r->path, &r->src);
	if (!err && has_number(r))
		return OK;
	if (!err)
		value_source_done(&r->src);
	if (err && err != ERR_NOT_FOUND)
		return err;
	return open_otherwise(r);
}

static enum err begin_reading(struct store *s, struct bytes path, uint64_t ino,
			      struct reading *r)
{
	enum err err = path.n > 0 ? path_check(path) : OK;

	*r = (struct reading){ .s = s, .path = path, .ino = ino };
	if (!err && path.n > 0)
		r->partition = store_partition_of(s, path);
	return err;
}

/* Run fn until it does not lose a race. */
static enum err try_until(struct reading *r,
			  enum err (*fn)(struct reading *r, void *ctx),
			  void *ctx)
{
	enum err err = ERR_BUSY;

	for (int i = 0; i < VALUE_RACES_MAX && err == ERR_BUSY; i++) {
		r->patient = i >= VALUE_RACES_FEW;
		err = open_reading(r);
		if (err)
			continue;
		err = fn(r, ctx);
		value_source_done(&r->src);
	}
	return err == ERR_BUSY ? ERR_IO : err;
}

/* ---------------------------------------------------------------- ranges - */

struct range {
	uint64_t off;
	void *dst;
	size_t n;
};

static enum err read_dense(struct reading *r, const struct content_ref *ref,
			   const struct range *range)
{
	enum err err;

	err = content_copy_dense(r->s->engine, (uint16_t)r->partition, ref,
				 range->off, range->dst, range->n);
	if (err)
		return value_source_error(r->s, r->partition, r->path, &r->src,
					  err);
	return value_source_is_still(r->s, r->partition, r->path, &r->src, NULL)
		       ? OK
		       : ERR_BUSY;
}

static enum err read_content(struct reading *r, struct range *range)
{
	struct content_ref ref;
	struct content_pins pins;
	enum err err = value_source_ref(&r->src, &ref);

	if (err)
		return err;
	if (range->off >= ref.bytes)
		range->n = 0;
	else if (range->n > ref.bytes - range->off)
		range->n = (size_t)(ref.bytes - range->off);
	if (range->n == 0)
		return OK;
	if (!(ref.flags & CONTENT_SPARSE) && !r->patient)
		return read_dense(r, &ref, range);
	err = value_source_pin(r->s, r->partition, r->path, &r->src, &ref,
			       (uint32_t)(range->off / STORE_CHUNK_BYTES),
			       content_chunks(range->off + range->n),
			       r->patient, &pins);
	if (err)
		return err;
	err = content_copy(&pins, range->off, range->dst, range->n);
	content_pins_done(&pins);
	return err;
}

static enum err read_range(struct reading *r, void *ctx)
{
	const struct engine_value *data = value_source_data(&r->src);
	const struct range *asked = ctx;
	struct range range = *asked;
	enum err err = OK;

	if (loc_flags(data->loc) & LOC_CONTENT) {
		err = read_content(r, &range);
	} else {
		if (range.off >= data->value.n)
			range.n = 0;
		else if (range.n > data->value.n - range.off)
			range.n = data->value.n - (size_t)range.off;
		if (range.n > 0)
			memcpy(range.dst, data->value.p + range.off, range.n);
	}
	if (!err)
		((struct range *)ctx)->n = range.n;
	return err;
}

enum err store_file_read(struct store *s, struct bytes path, uint64_t ino,
			 uint64_t off, void *dst, size_t n, size_t *got)
{
	struct range range = { .off = off, .dst = dst, .n = n };
	struct reading r;
	enum err err = begin_reading(s, path, ino, &r);

	if (!err)
		err = try_until(&r, read_range, &range);
	if (!err)
		*got = range.n;
	return err;
}

/* ------------------------------------------------------------------ seek - */

struct seek {
	uint64_t off, found;
	bool hole;
};

/*
 * The first chunk from *number on that is there (hole false) or is not, looked
 * for in SEEK_STEPS_MAX steps. False: go on from *number.
 */
static bool find_chunk(struct engine_iter *it, uint64_t id, uint64_t end,
		       bool hole, uint64_t *number)
{
	uint8_t room[CHUNK_KEY_BYTES], prefix[CHUNK_KEY_BYTES];
	struct bytes of_content = chunk_prefix(prefix, id), key;
	struct engine_info info;

	for (int steps = 0; *number < end && steps < SEEK_STEPS_MAX; steps++) {
		bool found = engine_iter_seek(
			it, chunk_key(room, id, (uint32_t)*number), &key,
			&info);

		found = found && bytes_begins(key, of_content);
		if (!hole) {
			*number = found ? chunk_number(key) : end;
			return true;
		}
		if (!found || chunk_number(key) != *number)
			return true;
		++*number;
	}
	return *number >= end;
}

static enum err seek_sparse(struct reading *r, const struct content_ref *ref,
			    struct seek *seek)
{
	uint64_t number = seek->off / STORE_CHUNK_BYTES, at;
	uint64_t end = content_chunks(ref->bytes);
	struct engine_iter it;
	bool done = false;

	while (!done) {
		engine_iter_begin(r->s->engine, (uint16_t)r->partition, &it);
		done = find_chunk(&it, ref->id, end, seek->hole, &number);
		engine_iter_end(&it);
	}
	if (!value_source_is_still(r->s, r->partition, r->path, &r->src, NULL))
		return ERR_BUSY;
	at = number * STORE_CHUNK_BYTES;
	if (at < seek->off)
		at = seek->off;
	if (at > ref->bytes)
		at = ref->bytes;
	if (!seek->hole && at >= ref->bytes)
		return ERR_NOT_FOUND;
	seek->found = at;
	return OK;
}

static enum err seek_value(struct reading *r, void *ctx)
{
	const struct engine_value *data = value_source_data(&r->src);
	uint64_t bytes = data->value.n;
	struct content_ref ref = { 0 };
	struct seek *seek = ctx;

	if (loc_flags(data->loc) & LOC_CONTENT) {
		enum err err = value_source_ref(&r->src, &ref);

		if (err)
			return err;
		bytes = ref.bytes;
	}
	if (seek->off >= bytes)
		return ERR_NOT_FOUND;
	if (ref.flags & CONTENT_SPARSE)
		return seek_sparse(r, &ref, seek);
	seek->found = seek->hole ? bytes : seek->off;
	return OK;
}

enum err store_file_seek(struct store *s, struct bytes path, uint64_t ino,
			 uint64_t off, bool hole, uint64_t *found)
{
	struct seek seek = { .off = off, .hole = hole };
	struct reading r;
	enum err err = begin_reading(s, path, ino, &r);

	if (!err)
		err = try_until(&r, seek_value, &seek);
	if (!err)
		*found = seek.found;
	return err;
}
