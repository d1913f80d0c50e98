/*
 * engine/read.c - the path of a get: directory, file table, bytes.
 *
 * A reader takes no lock and waits for nobody. Inside an epoch section it
 * looks the key up, finds the file by number and pins it; what it found
 * can't be freed before it leaves, and a pinned file is not removed. The
 * bytes are touched after that: in the mapping, by one pread, or, when the
 * record is not yet written, in the writer's frame in memory.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/guard.h"
#include "engine/engine_internal.h"

enum { NEXT_BYTES_MAX = 16 << 10 }; /* between records read together */

/* What a lookup found, copied out of the epoch section. */
struct found {
	uint64_t version, loc, off, bytes; /* of the whole record on disk */
	uint32_t key_bytes, attr_bytes, value_bytes;
	struct datafile *df; /* pinned                               */
	uint8_t *fresh;	     /* malloc'ed copy of a record not written */
};

static struct partition *get_partition(struct engine *e, uint16_t partition)
{
	CHECK(partition < e->o.partitions);
	return &e->partitions[partition];
}

static void fill_info(const struct keydir_entry *k, struct engine_info *info)
{
	info->version = k->version;
	info->loc = k->loc;
	info->value_bytes = k->value_bytes;
	info->attr_bytes = k->attr_bytes;
}

enum err engine_peek(struct engine *e, uint16_t partition, struct bytes key,
		     struct engine_info *info)
{
	struct partition *p = get_partition(e, partition);
	const struct keydir_entry *k;
	enum err err = ERR_NOT_FOUND;

	epoch_enter(e->readers);
	k = keydir_get(partition_keydir(p), key);
	if (k) {
		fill_info(k, info);
		err = OK;
	}
	epoch_exit(e->readers);
	return err;
}

/*
 * The record's bytes when they are not yet in the file: in the epoch section,
 * so that the frame's memory stays. NULL: they are in the file.
 */
static const uint8_t *unwritten(struct datafile *df, uint64_t off, uint64_t n)
{
	for (;;) {
		const struct tail_buf *b;

		if (off + n <=
		    atomic_load_explicit(&df->written, memory_order_acquire))
			return NULL;
		b = atomic_load_explicit(&df->tail, memory_order_acquire);
		if (b && off >= b->file_off && off + n <= b->file_off + b->cap)
			return b->p + (off - b->file_off);
	}
}

/* Bytes that are wrong, or that the disk does not give: the key needs help. */
static bool is_damage(enum err err)
{
	return err == ERR_CORRUPT || err == ERR_IO;
}

static void note_damage(struct engine *e, const struct found *f,
			uint16_t partition, struct bytes key)
{
	engine_note_corrupt(e, f->df, f->off, 1);
	damage_note_key(e, partition, f->version, key);
}

static void fill_found(struct found *f, struct bytes key,
		       const struct engine_info *info)
{
	f->version = info->version;
	f->loc = info->loc;
	f->off = loc_off(info->loc);
	f->key_bytes = (uint32_t)key.n;
	f->attr_bytes = info->attr_bytes;
	f->value_bytes = loc_flags(info->loc) & LOC_CONTENT
				 ? RECORD_CONTENT_BYTES
				 : info->value_bytes;
	f->bytes = record_bytes(f->key_bytes, f->attr_bytes, f->value_bytes);
	f->fresh = NULL;
}

/*
 * Pin the file of f, which the caller found in this epoch section; a record
 * not yet written is copied.
 */
static enum err hold(struct engine *e, struct found *f, uint16_t partition,
		     struct bytes key)
{
	const uint8_t *fresh;

	if (f->df->map) /* begin the one wait for memory that is left */
		__builtin_prefetch(f->df->map + f->off);
	if (f->loc & LOC_DAMAGED) {
		note_damage(e, f, partition, key);
		return ERR_CORRUPT;
	}
	fresh = unwritten(f->df, f->off, f->bytes);
	if (fresh) {
		f->fresh = malloc(f->bytes);
		if (!f->fresh)
			return ERR_NOMEM;
		memcpy(f->fresh, fresh, f->bytes);
	}
	datafile_pin(f->df);
	return OK;
}

/* Look key up and hold what is found. */
static enum err find(struct engine *e, struct partition *p, struct bytes key,
		     struct found *f)
{
	const struct keydir_entry *k;
	struct engine_info info;
	enum err err;

	epoch_enter(e->readers);
	do {
		k = keydir_get(partition_keydir(p), key);
		if (!k) {
			epoch_exit(e->readers);
			return ERR_NOT_FOUND;
		}
		fill_info(k, &info);
		fill_found(f, key, &info);
		f->df = engine_file(e, loc_file_id(f->loc));
	} while (!f->df); /* moved by a merge, or replaced: look again */
	err = hold(e, f, (uint16_t)(p - e->partitions), key);
	epoch_exit(e->readers);
	return err;
}

/* Is the header at h the one of the record that was looked up? */
static bool header_fits(const uint8_t *h, const struct found *f,
			uint16_t partition, struct bytes key)
{
	if (get_u16(h + 8) != RECORD_MAGIC || h[10] != RECORD_PUT ||
	    get_u16(h + 12) != partition)
		return false;
	if (version_pack(get_u64(h + 16), get_u16(h + 14)) != f->version)
		return false;
	if (get_u16(h + 56) != f->key_bytes ||
	    get_u16(h + 58) != f->attr_bytes ||
	    get_u32(h + 60) != f->value_bytes)
		return false;
	return key.n == f->key_bytes &&
	       memcmp(h + RECORD_HEADER_BYTES, key.p, key.n) == 0;
}

/* Bytes of the record before its value. */
static uint32_t prefix_bytes(const struct found *f)
{
	return RECORD_HEADER_BYTES + f->key_bytes + f->attr_bytes;
}

/* Verify a record in plain memory; head_only: what lies before its value. */
static bool verify_plain(const uint8_t *rec, const struct found *f,
			 uint16_t partition, struct bytes key, bool head_only)
{
	uint32_t n = prefix_bytes(f), crc;

	if (!header_fits(rec, f, partition, key))
		return false;
	crc = crc32c(f->df->seed, rec + 8, n - 8);
	if (crc != get_u32(rec))
		return false;
	return head_only ||
	       crc32c(crc, rec + n, f->value_bytes) == get_u32(rec + 4);
}

enum { PREFIX_STACK_BYTES = RECORD_HEADER_BYTES + RECORD_KEY_BYTES_MAX };

/*
 * Verify what lies before the value of a mapped record, through a copy, for a
 * page may be unreadable. The value's checksum goes on from crc_so_far.
 */
static enum err verify_mapped_head(const uint8_t *rec, const struct found *f,
				   uint16_t partition, struct bytes key,
				   uint8_t h[RECORD_HEADER_BYTES],
				   uint32_t *crc_so_far)
{
	uint8_t head[PREFIX_STACK_BYTES];
	uint32_t n = RECORD_HEADER_BYTES + f->key_bytes, crc;
	enum err err = guard_copy(head, rec, n);

	if (err)
		return err;
	if (!header_fits(head, f, partition, key))
		return ERR_CORRUPT;
	crc = crc32c(f->df->seed, head + 8, n - 8);
	if (f->attr_bytes)
		err = guard_crc32c(crc, rec + n, f->attr_bytes, &crc);
	if (err)
		return err;
	if (crc != get_u32(head))
		return ERR_CORRUPT;
	memcpy(h, head, RECORD_HEADER_BYTES);
	*crc_so_far = crc;
	return OK;
}

/* All of a mapped record; the value where it lies, or copied to dst. */
static enum err verify_mapped(const uint8_t *rec, const struct found *f,
			      uint16_t partition, struct bytes key,
			      uint8_t h[RECORD_HEADER_BYTES], void *dst)
{
	const uint8_t *value = rec + prefix_bytes(f);
	uint32_t crc;
	enum err err = verify_mapped_head(rec, f, partition, key, h, &crc);

	if (err)
		return err;
	if (dst)
		err = guard_crc32c_copy(crc, dst, value, f->value_bytes, &crc);
	else
		err = guard_crc32c(crc, value, f->value_bytes, &crc);
	if (!err && crc != get_u32(h + 4))
		err = ERR_CORRUPT;
	return err;
}

/* Point v into a whole record at rec. */
static void fill_value(struct engine_value *v, const struct found *f,
		       const uint8_t *rec)
{
	const uint8_t *attrs = rec + RECORD_HEADER_BYTES + f->key_bytes;

	v->attrs = bytes_of(attrs, f->attr_bytes);
	v->value = bytes_of(attrs + f->attr_bytes, f->value_bytes);
	v->version = f->version;
	v->loc = f->loc;
}

static void fill_times(struct engine_value *v, const uint8_t *h)
{
	v->term = get_u64(h + 24);
	v->stamp_ns = get_u64(h + 32);
	v->mtime_ns = get_u64(h + 40);
	v->expiry_ns = get_u64(h + 48);
}

/* The record's first bytes in memory of our own: fresh, or one pread. */
static enum err own_record(struct found *f, uint64_t bytes, uint8_t **rec)
{
	enum err err;

	if (f->fresh) {
		*rec = f->fresh;
		return OK;
	}
	*rec = malloc(bytes);
	if (!*rec)
		return ERR_NOMEM;
	err = datafile_read(f->df, f->off, bytes, *rec);
	if (err)
		free(*rec);
	return err;
}

static enum err get_mapped(struct engine *e, struct found *f,
			   uint16_t partition, struct bytes key, unsigned flags,
			   struct engine_value *v)
{
	const uint8_t *rec = f->df->map + f->off;
	uint8_t h[RECORD_HEADER_BYTES];
	uint32_t crc;
	enum err err;

	if (f->off + f->bytes > f->df->map_bytes)
		return ERR_CORRUPT;
	fill_value(v, f, rec);
	if (flags & ENGINE_VERIFY)
		err = verify_mapped(rec, f, partition, key, h, NULL);
	else if (flags & ENGINE_HEAD)
		err = verify_mapped_head(rec, f, partition, key, h, &crc);
	else
		return OK;
	if (!err)
		fill_times(v, h);
	return err;
}

static enum err get_owned(struct found *f, uint16_t partition, struct bytes key,
			  unsigned flags, struct engine_value *v)
{
	bool head_only = flags == ENGINE_HEAD;
	uint8_t *rec;
	enum err err;

	err = own_record(f, head_only ? prefix_bytes(f) : f->bytes, &rec);
	if (err)
		return err;
	v->owned = rec;
	fill_value(v, f, rec);
	if (!(flags & (ENGINE_VERIFY | ENGINE_HEAD)))
		return OK;
	fill_times(v, rec);
	if (verify_plain(rec, f, partition, key, head_only))
		return OK;
	free(rec);
	v->owned = NULL;
	return ERR_CORRUPT;
}

/* The value of what was found; its file's pin and f->fresh pass on to v. */
static enum err open_found(struct engine *e, struct found *f,
			   uint16_t partition, struct bytes key, unsigned flags,
			   struct engine_value *v)
{
	enum err err;

	*v = (struct engine_value){ 0 };
	if (f->df->map && !f->fresh)
		err = get_mapped(e, f, partition, key, flags, v);
	else
		err = get_owned(f, partition, key, flags, v);
	if (!err) {
		v->pin = f->df;
		if (flags == ENGINE_HEAD)
			v->value = bytes_of(NULL, 0);
		return OK;
	}
	if (is_damage(err))
		note_damage(e, f, partition, key);
	datafile_unpin(f->df);
	*v = (struct engine_value){ 0 };
	return err;
}

enum err engine_get(struct engine *e, uint16_t partition, struct bytes key,
		    unsigned flags, struct engine_value *v)
{
	struct found f;
	enum err err = find(e, get_partition(e, partition), key, &f);

	return err ? err : open_found(e, &f, partition, key, flags, v);
}

static void fill_pin(const struct found *f, uint16_t partition,
		     struct engine_pin *pin)
{
	*pin = (struct engine_pin){
		.version = f->version,
		.loc = f->loc,
		.bytes = f->bytes,
		.key_bytes = f->key_bytes,
		.attr_bytes = f->attr_bytes,
		.value_bytes = f->value_bytes,
		.partition = partition,
		.file = f->df,
		.fresh = f->fresh,
	};
}

enum err engine_pin(struct engine *e, uint16_t partition, struct bytes key,
		    struct engine_pin *pin)
{
	struct found f;
	enum err err = find(e, get_partition(e, partition), key, &f);

	if (!err)
		fill_pin(&f, partition, pin);
	return err;
}

enum err engine_pin_found(struct engine *e, uint16_t partition,
			  struct bytes key, const struct engine_info *info,
			  struct engine_pin *pin)
{
	struct found f;
	enum err err = ERR_BUSY;

	fill_found(&f, key, info);
	epoch_enter(e->readers);
	f.df = engine_file(e, loc_file_id(f.loc));
	if (f.df)
		err = hold(e, &f, partition, key);
	epoch_exit(e->readers);
	if (!err)
		fill_pin(&f, partition, pin);
	return err;
}

enum err engine_pin_get(struct engine *e, const struct engine_pin *pin,
			struct bytes key, unsigned flags,
			struct engine_value *v)
{
	struct found f = {
		.version = pin->version,
		.loc = pin->loc,
		.off = loc_off(pin->loc),
		.bytes = pin->bytes,
		.key_bytes = pin->key_bytes,
		.attr_bytes = pin->attr_bytes,
		.value_bytes = pin->value_bytes,
		.df = pin->file,
	};

	CHECK(f.df);
	if (pin->fresh) {
		f.fresh = malloc(f.bytes);
		if (!f.fresh)
			return ERR_NOMEM;
		memcpy(f.fresh, pin->fresh, f.bytes);
	}
	datafile_pin(f.df);
	return open_found(e, &f, pin->partition, key, flags, v);
}

bool engine_pin_is_next(const struct engine_pin *a, const struct engine_pin *b)
{
	uint64_t end = loc_off(a->loc) + a->bytes, begin = loc_off(b->loc);

	return a->file == b->file && begin >= end &&
	       begin - end <= NEXT_BYTES_MAX;
}

void engine_pin_will_need(const struct engine_pin *a,
			  const struct engine_pin *b)
{
	const struct datafile *df = a->file;
	uint64_t off = loc_off(a->loc);

	CHECK(a->file == b->file && loc_off(b->loc) >= off);
	vfs_will_need(df->f, off, loc_off(b->loc) + b->bytes - off);
}

void engine_pin_done(struct engine_pin *pin)
{
	if (pin->file)
		datafile_unpin(pin->file);
	free(pin->fresh);
	*pin = (struct engine_pin){ 0 };
}

void engine_value_done(struct engine_value *v)
{
	if (v->pin)
		datafile_unpin(v->pin);
	free(v->owned);
	*v = (struct engine_value){ 0 };
}

enum { COPY_STACK_BYTES = 8 << 10 };

/* Unverified: nothing but the value is read, into the caller's memory. */
static enum err copy_bare(const struct found *f, void *dst)
{
	const uint32_t n = prefix_bytes(f);

	if (f->fresh) {
		if (f->value_bytes)
			memcpy(dst, f->fresh + n, f->value_bytes);
		free(f->fresh);
		return OK;
	}
	return datafile_read(f->df, f->off + n, f->value_bytes, dst);
}

/* Verified: a small record in one read, a large value where it is wanted. */
static enum err copy_verified(struct found *f, uint16_t partition,
			      struct bytes key, uint8_t *dst)
{
	uint8_t small[COPY_STACK_BYTES], *rec = f->fresh ? f->fresh : small;
	uint32_t n = prefix_bytes(f), crc;
	bool whole = f->fresh || f->bytes <= sizeof(small);
	enum err err = OK;

	if (!whole && n > sizeof(small)) { /* attributes: never so many here */
		err = own_record(f, f->bytes, &rec);
		whole = true;
	} else if (!f->fresh) {
		err = datafile_read(f->df, f->off, whole ? f->bytes : n, rec);
	}
	if (err)
		return err;
	if (!header_fits(rec, f, partition, key))
		err = ERR_CORRUPT;
	crc = crc32c(f->df->seed, rec + 8, n - 8);
	if (!err && crc != get_u32(rec))
		err = ERR_CORRUPT;
	if (!err && !whole)
		err = datafile_read(f->df, f->off + n, f->value_bytes, dst);
	if (!err && whole)
		crc = crc32c_copy(crc, dst, rec + n, f->value_bytes);
	else if (!err)
		crc = crc32c(crc, dst, f->value_bytes);
	if (!err && crc != get_u32(rec + 4))
		err = ERR_CORRUPT;
	if (rec != small)
		free(rec);
	return err;
}

enum err engine_copy(struct engine *e, uint16_t partition, struct bytes key,
		     unsigned flags, void *dst, size_t cap, size_t *n)
{
	struct found f;
	uint8_t h[RECORD_HEADER_BYTES];
	enum err err = find(e, get_partition(e, partition), key, &f);

	if (err)
		return err;
	*n = f.value_bytes;
	if (f.value_bytes > cap) {
		free(f.fresh);
		err = ERR_TOO_LARGE;
	} else if (!f.df->map || f.fresh) {
		err = flags & ENGINE_VERIFY
			      ? copy_verified(&f, partition, key, dst)
			      : copy_bare(&f, dst);
	} else if (f.off + f.bytes > f.df->map_bytes) {
		err = ERR_CORRUPT;
	} else if (flags & ENGINE_VERIFY) {
		err = verify_mapped(f.df->map + f.off, &f, partition, key, h,
				    dst);
	} else {
		err = guard_copy(dst, f.df->map + f.off + prefix_bytes(&f),
				 f.value_bytes);
	}
	if (is_damage(err))
		note_damage(e, &f, partition, key);
	datafile_unpin(f.df);
	return err;
}

/* --------------------------------------------------------------- walks --- */

static bool tell(const struct keydir_entry *k, struct bytes *found,
		 struct engine_info *info)
{
	if (!k)
		return false;
	*found = bytes_of(k->key, k->key_bytes);
	if (info)
		fill_info(k, info);
	return true;
}

static struct keydir_iter inner_iter(const struct engine_iter *it)
{
	return (struct keydir_iter){ it->kd, it->leaf, it->slot };
}

static bool keep_iter(struct engine_iter *it, const struct keydir_iter *k,
		      const struct keydir_entry *entry, struct bytes *found,
		      struct engine_info *info)
{
	it->leaf = k->leaf;
	it->slot = k->slot;
	return tell(entry, found, info);
}

void engine_iter_begin(struct engine *e, uint16_t partition,
		       struct engine_iter *it)
{
	struct partition *p = get_partition(e, partition);

	*it = (struct engine_iter){ 0 };
	epoch_enter(e->readers);
	it->kd = partition_keydir(p);
	keydir_pin(it->kd); /* an install may exchange it before the lock */
	epoch_exit(e->readers);
	keydir_lock(it->kd);
}

bool engine_iter_seek(struct engine_iter *it, struct bytes key,
		      struct bytes *found, struct engine_info *info)
{
	struct keydir_iter k = inner_iter(it);
	const struct keydir_entry *entry = keydir_seek(it->kd, key, &k);

	return keep_iter(it, &k, entry, found, info);
}

bool engine_iter_seek_before(struct engine_iter *it, struct bytes key,
			     struct bytes *found, struct engine_info *info)
{
	struct keydir_iter k = inner_iter(it);
	const struct keydir_entry *entry = keydir_seek_before(it->kd, key, &k);

	return keep_iter(it, &k, entry, found, info);
}

bool engine_iter_next(struct engine_iter *it, struct bytes *found,
		      struct engine_info *info)
{
	struct keydir_iter k = inner_iter(it);
	const struct keydir_entry *entry = keydir_next(&k);

	return keep_iter(it, &k, entry, found, info);
}

bool engine_iter_prev(struct engine_iter *it, struct bytes *found,
		      struct engine_info *info)
{
	struct keydir_iter k = inner_iter(it);
	const struct keydir_entry *entry = keydir_prev(&k);

	return keep_iter(it, &k, entry, found, info);
}

void engine_iter_end(struct engine_iter *it)
{
	keydir_unlock(it->kd);
	keydir_unpin(it->kd);
	*it = (struct engine_iter){ 0 };
}
