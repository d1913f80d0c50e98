/*
 * engine/datafile.c - data files: names, header, mapping, reading.
 *
 * A file is made under a temporary name, its header synced, then renamed and
 * the directory synced: a final name always has a whole header behind it.
 */
#include "engine/datafile.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/guard.h"
#include "base/log.h"
#include "engine/loc.h"

enum { ZERO_STEP_BYTES = 1 << 20 };

_Static_assert(FILE_HEADER_BYTES == 512, "frames begin at the next boundary");

void datafile_name(enum datafile_kind kind, uint32_t id,
		   char name[DATAFILE_NAME_BYTES])
{
	snprintf(name, DATAFILE_NAME_BYTES, "%08x.%s", id,
		 kind == DATAFILE_LOG ? "log" : "dat");
}

void datafile_path(const struct datafile_owner *o, enum datafile_kind kind,
		   uint32_t id, const char *suffix,
		   char path[DATAFILE_PATH_BYTES])
{
	char name[DATAFILE_NAME_BYTES];

	datafile_name(kind, id, name);
	snprintf(path, DATAFILE_PATH_BYTES, "%s/%s%s", o->dir, name, suffix);
}

static void encode_header(uint8_t h[FILE_HEADER_BYTES],
			  const struct datafile_owner *o,
			  enum datafile_kind kind, uint32_t id,
			  uint16_t partition, uint64_t salt)
{
	memset(h, 0, FILE_HEADER_BYTES);
	put_u32(h + 4, DATAFILE_MAGIC);
	put_u16(h + 8, DATAFILE_FORMAT_VERSION);
	put_u16(h + 10, (uint16_t)kind);
	put_u32(h + 12, id);
	memcpy(h + 16, o->cluster_id, 16);
	put_u64(h + 32, o->node_id);
	put_u64(h + 40, salt);
	put_u32(h + 48, partition);
	put_u32(h, crc32c(0, h + 4, FILE_HEADER_BYTES - 4));
}

uint32_t datafile_seed(const struct datafile_owner *o, enum datafile_kind kind,
		       uint32_t id, uint16_t partition, uint64_t salt)
{
	uint8_t h[FILE_HEADER_BYTES];

	encode_header(h, o, kind, id, partition, salt);
	return crc32c(0, h + 4, 60);
}

/* Judge a header that was read; *damaged: not to be trusted at all. */
static enum err check_header(const uint8_t h[FILE_HEADER_BYTES],
			     const struct datafile *df, bool *damaged)
{
	uint8_t want[FILE_HEADER_BYTES];

	*damaged = get_u32(h) != crc32c(0, h + 4, FILE_HEADER_BYTES - 4) ||
		   get_u32(h + 4) != DATAFILE_MAGIC;
	if (*damaged)
		return OK;
	if (get_u16(h + 8) > DATAFILE_FORMAT_VERSION)
		return ERR_VERSION;
	encode_header(want, df->owner, df->kind, df->id, df->partition,
		      df->salt);
	return memcmp(h, want, FILE_HEADER_BYTES) == 0 ? OK : ERR_FOREIGN;
}

static enum err new_datafile(const struct datafile_owner *o,
			     enum datafile_kind kind, uint32_t id,
			     uint16_t partition, uint64_t salt, uint64_t bytes,
			     struct datafile **out)
{
	struct datafile *df = calloc(1, sizeof(*df));

	if (!df)
		return ERR_NOMEM;
	df->owner = o;
	df->kind = kind;
	df->id = id;
	df->partition = partition;
	df->salt = salt;
	df->seed = datafile_seed(o, kind, id, partition, salt);
	df->bytes = bytes;
	*out = df;
	return OK;
}

static enum err map_file(struct datafile *df)
{
	enum err err;

	if (!df->owner->map)
		return OK;
	err = vfs_map(df->f, df->bytes, &df->map);
	if (!err)
		df->map_bytes = df->bytes;
	return err;
}

static enum err fill_zeros(struct vfs_file *f, uint64_t off, uint64_t end)
{
	uint8_t *zeros = calloc(1, ZERO_STEP_BYTES);
	enum err err = zeros ? OK : ERR_NOMEM;

	while (!err && off < end) {
		uint64_t n = end - off;

		if (n > ZERO_STEP_BYTES)
			n = ZERO_STEP_BYTES;
		err = vfs_pwrite(f, zeros, n, off);
		off += n;
	}
	free(zeros);
	return err;
}

/*
 * Length, header, zeros, sync; the file has its .tmp name. One that was used
 * before gets all its blocks: it may have been ended early, and no hole may
 * meet a full disk in the middle of a frame.
 */
static enum err prepare_log(struct datafile *df, bool zero, bool recycled)
{
	uint8_t h[FILE_HEADER_BYTES];
	enum err err;

	err = vfs_truncate(df->f, df->bytes);
	if (!err && recycled)
		err = vfs_allocate(df->f, df->bytes);
	if (err)
		return err;
	encode_header(h, df->owner, df->kind, df->id, 0, df->salt);
	err = vfs_pwrite(df->f, h, sizeof(h), 0);
	if (!err && zero)
		err = fill_zeros(df->f, FILE_HEADER_BYTES, df->bytes);
	if (!err)
		err = vfs_sync(df->f);
	return err;
}

/* A file that could not be finished must not keep blocks of a full disk. */
static void remove_made(const struct datafile_owner *o, const char *path)
{
	enum err err = vfs_unlink(o->vfs, path);

	if (err && err != ERR_NOT_FOUND)
		log_warn("engine", "leftover_stays path=%s reason=%s", path,
			 err_text(err));
}

enum err datafile_create_log(const struct datafile_owner *o, uint32_t id,
			     uint64_t salt, uint64_t bytes, bool zero,
			     const char *from, struct datafile **out)
{
	char tmp[DATAFILE_PATH_BYTES], path[DATAFILE_PATH_BYTES];
	unsigned flags = VFS_WRITE | VFS_CREATE;
	struct datafile *df;
	enum err err;

	CHECK(bytes % FILE_HEADER_BYTES == 0);
	CHECK(bytes <= LOC_OFFSET_MAX);
	datafile_path(o, DATAFILE_LOG, id, ".tmp", tmp);
	datafile_path(o, DATAFILE_LOG, id, "", path);
	err = new_datafile(o, DATAFILE_LOG, id, 0, salt, bytes, &df);
	if (err)
		return err;
	if (from)
		err = vfs_rename(o->vfs, from, tmp);
	else
		flags |= VFS_TRUNC;
	if (!err)
		err = vfs_open(o->vfs, tmp, flags, &df->f);
	if (!err)
		err = prepare_log(df, zero, from != NULL);
	if (!err)
		err = vfs_rename(o->vfs, tmp, path);
	if (!err)
		err = vfs_sync_dir(o->vfs, o->dir);
	if (!err)
		err = map_file(df);
	if (err)
		goto out_close;
	atomic_store(&df->written, FILE_HEADER_BYTES);
	df->marked = true;
	df->zero_off = zero || from ? bytes : FILE_HEADER_BYTES;
	*out = df;
	return OK;
out_close:
	datafile_close(df);
	remove_made(o, tmp);
	remove_made(o, path);
	return err;
}

enum err datafile_open(const struct datafile_owner *o, enum datafile_kind kind,
		       uint16_t partition, const struct manifest_file *m,
		       struct datafile **out)
{
	char path[DATAFILE_PATH_BYTES];
	uint8_t h[FILE_HEADER_BYTES] = { 0 };
	unsigned flags = kind == DATAFILE_LOG ? VFS_WRITE : VFS_READ;
	struct datafile *df;
	uint64_t bytes;
	size_t got;
	enum err err;

	err = new_datafile(o, kind, m->id, partition, m->salt, m->bytes, &df);
	if (err)
		return err;
	datafile_path(o, kind, m->id, "", path);
	err = vfs_open(o->vfs, path, flags, &df->f);
	if (!err)
		err = vfs_pread(df->f, h, sizeof(h), 0, &got);
	if (!err)
		err = check_header(h, df, &df->header_damaged);
	if (!err)
		err = vfs_size(df->f, &bytes);
	if (!err && bytes < m->bytes)
		err = ERR_CORRUPT;
	if (!err)
		err = map_file(df);
	if (err)
		goto out_close;
	df->min_index = m->min_index;
	df->max_index = m->max_index;
	atomic_store(&df->written, m->bytes);
	df->zero_off = FILE_HEADER_BYTES;
	*out = df;
	return OK;
out_close:
	datafile_close(df);
	return err;
}

void datafile_close(struct datafile *df)
{
	if (!df)
		return;
	if (df->map)
		vfs_unmap(df->f, df->map, df->map_bytes);
	vfs_close(df->f);
	marks_done(&df->marks);
	free(df->again);
	free(df);
}

enum err datafile_read(struct datafile *df, uint64_t off, uint64_t n,
		       uint8_t *dst)
{
	size_t got = 0;
	enum err err;

	if (off > df->bytes || n > df->bytes - off)
		return ERR_CORRUPT;
	err = df->map ? guard_copy(dst, df->map + off, n) : ERR_IO;
	if (err) { /* a hole in a full tmpfs can be read, but not mapped */
		err = vfs_pread(df->f, dst, n, off, &got);
		if (!err && got < n)
			err = ERR_CORRUPT;
	}
	if (err && n <= FILE_HEADER_BYTES &&
	    off > atomic_load(&df->unreadable_off))
		atomic_store(&df->unreadable_off, off);
	return err;
}

/* The length that an unproved header claims, or the header's if senseless. */
static uint64_t claimed_bytes(const uint8_t *h)
{
	return record_bytes(get_u16(h + 56), get_u16(h + 58), get_u32(h + 60));
}

enum err datafile_read_record(struct datafile *df, uint64_t off,
			      uint64_t size_hint, struct buf *buf,
			      enum record_state *state, struct record *r)
{
	uint64_t bytes = size_hint ? size_hint : RECORD_HEADER_BYTES;
	enum err err;

	for (int i = 0; i < 2; i++) {
		buf->n = 0;
		err = buf_reserve(buf, bytes);
		if (!err)
			err = datafile_read(df, off, bytes, buf->p);
		if (err == ERR_CORRUPT) {
			*state = RECORD_BAD_HEADER;
			return OK;
		}
		if (err)
			return err;
		buf->n = bytes;
		if (i == 0 && claimed_bytes(buf->p) > bytes &&
		    get_u32(buf->p + 60) <= RECORD_VALUE_BYTES_MAX)
			bytes = claimed_bytes(buf->p);
		else
			break;
	}
	*state = record_decode(buf->p, buf->n, df->seed, true, r, &bytes);
	return OK;
}

/* ------------------------------------------------------ merged files ---- */

enum { MAKER_BUF_BYTES = 256 << 10 };

struct datafile_maker {
	struct datafile *df;
	struct buf buf;	  /* not yet written */
	uint64_t written; /* file length so far, without buf */
};

enum err datafile_make(const struct datafile_owner *o, uint32_t id,
		       uint64_t salt, uint16_t partition,
		       struct datafile_maker **out)
{
	struct datafile_maker *m = calloc(1, sizeof(*m));
	char tmp[DATAFILE_PATH_BYTES];
	enum err err;

	if (!m)
		return ERR_NOMEM;
	err = new_datafile(o, DATAFILE_MERGED, id, partition, salt, 0, &m->df);
	if (err)
		goto out_free;
	datafile_path(o, DATAFILE_MERGED, id, ".tmp", tmp);
	err = buf_reserve(&m->buf, MAKER_BUF_BYTES);
	if (!err)
		err = vfs_open(o->vfs, tmp, VFS_WRITE | VFS_CREATE | VFS_TRUNC,
			       &m->df->f);
	if (err)
		goto out_free;
	encode_header(m->buf.p, o, DATAFILE_MERGED, id, partition, salt);
	m->buf.n = FILE_HEADER_BYTES;
	m->df->min_index = UINT64_MAX;
	*out = m;
	return OK;
out_free:
	datafile_close(m->df);
	buf_done(&m->buf);
	free(m);
	return err;
}

static enum err flush_maker(struct datafile_maker *m)
{
	enum err err;

	if (m->buf.n == 0)
		return OK;
	err = vfs_pwrite(m->df->f, m->buf.p, m->buf.n, m->written);
	if (err)
		return err;
	m->written += m->buf.n;
	m->buf.n = 0;
	return OK;
}

enum err datafile_make_add(struct datafile_maker *m, const struct record *r,
			   uint64_t *off)
{
	uint64_t bytes = record_bytes(r->key.n, r->attrs.n, r->value.n);
	uint64_t at = m->written + m->buf.n;
	enum err err;

	if (at + bytes > LOC_OFFSET_MAX)
		return ERR_TOO_LARGE;
	if (m->buf.n + bytes > MAKER_BUF_BYTES) {
		err = flush_maker(m);
		if (err)
			return err;
	}
	err = buf_reserve(&m->buf, bytes);
	if (err)
		return err;
	m->buf.n += record_encode(m->buf.p + m->buf.n, m->df->seed, r);
	if (r->index < m->df->min_index)
		m->df->min_index = r->index;
	if (r->index > m->df->max_index)
		m->df->max_index = r->index;
	*off = at;
	return OK;
}

uint64_t datafile_make_bytes(const struct datafile_maker *m)
{
	return m->written + m->buf.n;
}

enum err datafile_make_seal(struct datafile_maker *m, struct datafile **out)
{
	char tmp[DATAFILE_PATH_BYTES], path[DATAFILE_PATH_BYTES];
	struct datafile *df = m->df;
	enum err err = flush_maker(m);

	datafile_path(df->owner, df->kind, df->id, ".tmp", tmp);
	datafile_path(df->owner, df->kind, df->id, "", path);
	if (df->min_index == UINT64_MAX)
		df->min_index = 0;
	df->bytes = m->written;
	if (!err)
		err = vfs_sync(df->f);
	if (!err)
		err = vfs_rename(df->owner->vfs, tmp, path);
	if (!err)
		err = vfs_sync_dir(df->owner->vfs, df->owner->dir);
	if (!err)
		err = map_file(df);
	if (err) {
		datafile_make_abandon(m);
		return err;
	}
	atomic_store(&df->written, df->bytes);
	buf_done(&m->buf);
	free(m);
	*out = df;
	return OK;
}

void datafile_make_abandon(struct datafile_maker *m)
{
	char tmp[DATAFILE_PATH_BYTES];
	enum err err;

	if (!m)
		return;
	datafile_path(m->df->owner, m->df->kind, m->df->id, ".tmp", tmp);
	err = vfs_unlink(m->df->owner->vfs, tmp);
	if (err && err != ERR_NOT_FOUND)
		log_warn("engine", "leftover_stays file=%08x.dat.tmp reason=%s",
			 m->df->id, err_text(err));
	datafile_close(m->df);
	buf_done(&m->buf);
	free(m);
}
