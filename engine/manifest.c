/*
 * engine/manifest.c - the bytes of MANIFEST, and how it is switched.
 *
 *  off  size  manifest, format 1, little-endian
 *    0     4  crc32c of bytes 4..end of file
 *    4     4  magic "RCMF"
 *    8     4  format version
 *   12     4  zero
 *   16    16  cluster id
 *   32     8  node id
 *   40     4  next_file_id
 *   44     4  partition count
 *   48     4  log segment count
 *   52     4  loss count
 *   56     8  log_floor_sequence, first frame of the first log segment
 *   64     8  extra_bytes
 *   72     8  length of this file
 *   80     -  log segments, losses, partitions, extra
 *
 *  off  size  file (a log segment, or a merged file of a partition)
 *    0     4  id
 *    4     4  zero
 *    8     8  salt
 *   16     8  bytes
 *   24     8  min_index
 *   32     8  max_index
 *
 *  off  size  loss
 *    0     4  file id
 *    4     4  zero
 *    8     8  offset
 *   16     8  bytes
 *
 *  off  size  partition, followed by its merged files
 *    0     8  base_index
 *    8     8  base_term
 *   16     8  reset_sequence
 *   24     8  exact_index
 *   32     8  last_stamp_ns
 *   40     4  merged file count
 *   44     4  zero
 *
 * A switch writes MANIFEST.tmp, syncs it, renames it over MANIFEST and syncs
 * the directory: a crash leaves the old one or the new one, whole. Every later
 * format keeps bytes 0..12.
 */
#include "engine/manifest.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/crc32c.h"

enum {
	MANIFEST_MAGIC = 0x464d4352, /* "RCMF" */
	HEADER_BYTES = 80,
	FILE_BYTES = 40,
	LOSS_BYTES = 24,
	PARTITION_BYTES = 48,
	PATH_BYTES_MAX = 4096,
};
#define MANIFEST_BYTES_MAX (1ull << 30)

static void *alloc_array(uint64_t count, size_t item_bytes)
{
	return calloc(count ? count : 1, item_bytes);
}

enum err manifest_init(struct manifest *m, uint32_t partition_count)
{
	*m = (struct manifest){ .extra = BUF_INIT };
	m->partitions = alloc_array(partition_count, sizeof(*m->partitions));
	if (!m->partitions)
		return ERR_NOMEM;
	m->partition_count = partition_count;
	m->next_file_id = 1;
	return OK;
}

void manifest_done(struct manifest *m)
{
	if (!m)
		return;
	for (uint32_t i = 0; m->partitions && i < m->partition_count; i++)
		free(m->partitions[i].merged);
	free(m->partitions);
	free(m->log);
	free(m->losses);
	buf_done(&m->extra);
	*m = (struct manifest){ .extra = BUF_INIT };
}

static enum err copy_array(const void *from, uint32_t count, size_t item_bytes,
			   void *to)
{
	void *p = alloc_array(count, item_bytes);

	if (!p)
		return ERR_NOMEM;
	if (count)
		memcpy(p, from, count * item_bytes);
	memcpy(to, &p, sizeof(p));
	return OK;
}

enum err manifest_copy(const struct manifest *m, struct manifest *copy)
{
	struct manifest c = *m;
	enum err err;

	c.log = NULL;
	c.losses = NULL;
	c.extra = BUF_INIT;
	err = copy_array(m->partitions, m->partition_count,
			 sizeof(*m->partitions), &c.partitions);
	if (err)
		return err;
	for (uint32_t i = 0; i < c.partition_count; i++)
		c.partitions[i].merged = NULL;
	for (uint32_t i = 0; !err && i < c.partition_count; i++)
		err = copy_array(
			m->partitions[i].merged, m->partitions[i].merged_count,
			sizeof(struct manifest_file), &c.partitions[i].merged);
	if (!err)
		err = copy_array(m->log, m->log_count, sizeof(*m->log), &c.log);
	if (!err)
		err = copy_array(m->losses, m->loss_count, sizeof(*m->losses),
				 &c.losses);
	if (!err)
		err = buf_add(&c.extra, m->extra.p, m->extra.n);
	if (err) {
		manifest_done(&c);
		return err;
	}
	*copy = c;
	return OK;
}

bool manifest_is_lost(const struct manifest_loss *losses, uint32_t count,
		      uint32_t file_id, uint64_t off, uint64_t bytes)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct manifest_loss *l = &losses[i];

		if (l->file_id == file_id && l->off <= off &&
		    off + bytes <= l->off + l->bytes)
			return true;
	}
	return false;
}

/* ------------------------------------------------------------- encode ---- */

static uint8_t *encode_file(uint8_t *at, const struct manifest_file *f)
{
	put_u32(at, f->id);
	put_u32(at + 4, 0);
	put_u64(at + 8, f->salt);
	put_u64(at + 16, f->bytes);
	put_u64(at + 24, f->min_index);
	put_u64(at + 32, f->max_index);
	return at + FILE_BYTES;
}

static uint8_t *encode_partition(uint8_t *at,
				 const struct manifest_partition *p)
{
	put_u64(at, p->base_index);
	put_u64(at + 8, p->base_term);
	put_u64(at + 16, p->reset_sequence);
	put_u64(at + 24, p->exact_index);
	put_u64(at + 32, p->last_stamp_ns);
	put_u32(at + 40, p->merged_count);
	put_u32(at + 44, 0);
	at += PARTITION_BYTES;
	for (uint32_t i = 0; i < p->merged_count; i++)
		at = encode_file(at, &p->merged[i]);
	return at;
}

static uint64_t encoded_bytes(const struct manifest *m)
{
	uint64_t n = HEADER_BYTES + m->extra.n;

	n += (uint64_t)m->log_count * FILE_BYTES;
	n += (uint64_t)m->loss_count * LOSS_BYTES;
	n += (uint64_t)m->partition_count * PARTITION_BYTES;
	for (uint32_t i = 0; i < m->partition_count; i++)
		n += (uint64_t)m->partitions[i].merged_count * FILE_BYTES;
	return n;
}

enum err manifest_encode(const struct manifest *m, struct buf *b)
{
	uint64_t n = encoded_bytes(m);
	uint8_t *start, *at;
	enum err err;

	err = buf_reserve(b, n);
	if (err)
		return err;
	start = b->p + b->n;
	memset(start, 0, HEADER_BYTES);
	put_u32(start + 4, MANIFEST_MAGIC);
	put_u32(start + 8, MANIFEST_FORMAT_VERSION);
	memcpy(start + 16, m->cluster_id, sizeof(m->cluster_id));
	put_u64(start + 32, m->node_id);
	put_u32(start + 40, m->next_file_id);
	put_u32(start + 44, m->partition_count);
	put_u32(start + 48, m->log_count);
	put_u32(start + 52, m->loss_count);
	put_u64(start + 56, m->log_floor_sequence);
	put_u64(start + 64, m->extra.n);
	put_u64(start + 72, n);
	at = start + HEADER_BYTES;
	for (uint32_t i = 0; i < m->log_count; i++)
		at = encode_file(at, &m->log[i]);
	for (uint32_t i = 0; i < m->loss_count; i++) {
		put_u32(at, m->losses[i].file_id);
		put_u32(at + 4, 0);
		put_u64(at + 8, m->losses[i].off);
		put_u64(at + 16, m->losses[i].bytes);
		at += LOSS_BYTES;
	}
	for (uint32_t i = 0; i < m->partition_count; i++)
		at = encode_partition(at, &m->partitions[i]);
	if (m->extra.n)
		memcpy(at, m->extra.p, m->extra.n);
	CHECK((uint64_t)(at - start) + m->extra.n == n);
	put_u32(start, crc32c(0, start + 4, n - 4));
	b->n += n;
	return OK;
}

/* ------------------------------------------------------------- decode ---- */

/* What is left to decode. */
struct reader {
	struct bytes left;
};

/* The next n bytes; NULL: fewer are left. */
static const uint8_t *take(struct reader *r, uint64_t n)
{
	const uint8_t *p = r->left.p;

	if (n > r->left.n)
		return NULL;
	r->left.p += n;
	r->left.n -= n;
	return p;
}

static enum err take_files(struct reader *r, uint32_t count,
			   struct manifest_file **files)
{
	const uint8_t *at = take(r, (uint64_t)count * FILE_BYTES);
	struct manifest_file *f;

	if (!at)
		return ERR_CORRUPT;
	f = alloc_array(count, sizeof(*f));
	if (!f)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < count; i++, at += FILE_BYTES) {
		f[i] = (struct manifest_file){
			.id = get_u32(at),
			.salt = get_u64(at + 8),
			.bytes = get_u64(at + 16),
			.min_index = get_u64(at + 24),
			.max_index = get_u64(at + 32),
		};
	}
	*files = f;
	return OK;
}

static enum err take_losses(struct reader *r, struct manifest *m,
			    uint32_t count)
{
	const uint8_t *at = take(r, (uint64_t)count * LOSS_BYTES);

	if (!at)
		return ERR_CORRUPT;
	m->losses = alloc_array(count, sizeof(*m->losses));
	if (!m->losses)
		return ERR_NOMEM;
	m->loss_count = count;
	for (uint32_t i = 0; i < count; i++, at += LOSS_BYTES) {
		m->losses[i].file_id = get_u32(at);
		m->losses[i].off = get_u64(at + 8);
		m->losses[i].bytes = get_u64(at + 16);
	}
	return OK;
}

static enum err take_partition(struct reader *r, struct manifest_partition *p)
{
	const uint8_t *at = take(r, PARTITION_BYTES);
	uint32_t count;
	enum err err;

	if (!at)
		return ERR_CORRUPT;
	p->base_index = get_u64(at);
	p->base_term = get_u64(at + 8);
	p->reset_sequence = get_u64(at + 16);
	p->exact_index = get_u64(at + 24);
	p->last_stamp_ns = get_u64(at + 32);
	count = get_u32(at + 40);
	err = take_files(r, count, &p->merged);
	if (!err)
		p->merged_count = count;
	return err;
}

static enum err take_lists(struct reader *r, struct manifest *m,
			   uint32_t log_count, uint32_t loss_count,
			   uint64_t extra_bytes)
{
	const uint8_t *extra;
	enum err err;

	err = take_files(r, log_count, &m->log);
	if (err)
		return err;
	m->log_count = log_count;
	err = take_losses(r, m, loss_count);
	for (uint32_t i = 0; !err && i < m->partition_count; i++)
		err = take_partition(r, &m->partitions[i]);
	if (err)
		return err;
	extra = take(r, extra_bytes);
	if (!extra || r->left.n)
		return ERR_CORRUPT;
	return buf_add(&m->extra, extra, extra_bytes);
}

enum err manifest_decode(struct bytes data, struct manifest *m)
{
	struct reader r = { .left = data };
	const uint8_t *at = take(&r, HEADER_BYTES);
	struct manifest d;
	uint32_t partition_count;
	enum err err;

	if (!at || get_u32(at + 4) != MANIFEST_MAGIC ||
	    get_u32(at) != crc32c(0, at + 4, data.n - 4))
		return ERR_CORRUPT;
	if (get_u32(at + 8) > MANIFEST_FORMAT_VERSION)
		return ERR_VERSION;
	partition_count = get_u32(at + 44);
	if (get_u32(at + 8) != MANIFEST_FORMAT_VERSION ||
	    get_u64(at + 72) != data.n ||
	    partition_count > r.left.n / PARTITION_BYTES)
		return ERR_CORRUPT;
	err = manifest_init(&d, partition_count);
	if (err)
		return err;
	memcpy(d.cluster_id, at + 16, sizeof(d.cluster_id));
	d.node_id = get_u64(at + 32);
	d.next_file_id = get_u32(at + 40);
	d.log_floor_sequence = get_u64(at + 56);
	err = take_lists(&r, &d, get_u32(at + 48), get_u32(at + 52),
			 get_u64(at + 64));
	if (err) {
		manifest_done(&d);
		return err;
	}
	*m = d;
	return OK;
}

/* --------------------------------------------------------------- file ---- */

static void manifest_path(char path[PATH_BYTES_MAX], const char *dir)
{
	int n = snprintf(path, PATH_BYTES_MAX, "%s/MANIFEST", dir);

	CHECK(n > 0 && n < PATH_BYTES_MAX);
}

enum err manifest_load(struct vfs *vfs, const char *dir, struct manifest *m)
{
	char path[PATH_BYTES_MAX];
	struct buf data = BUF_INIT;
	enum err err;

	manifest_path(path, dir);
	err = vfs_read_all(vfs, path, MANIFEST_BYTES_MAX, &data);
	if (err == ERR_TOO_LARGE)
		err = ERR_CORRUPT;
	if (!err)
		err = manifest_decode(buf_bytes(&data), m);
	buf_done(&data);
	return err;
}

enum err manifest_store(struct vfs *vfs, const char *dir,
			const struct manifest *m)
{
	char path[PATH_BYTES_MAX];
	struct buf data = BUF_INIT;
	enum err err;

	manifest_path(path, dir);
	err = manifest_encode(m, &data);
	if (!err)
		err = vfs_replace(vfs, dir, path, buf_bytes(&data));
	buf_done(&data);
	return err;
}
