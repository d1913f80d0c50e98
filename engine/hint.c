/*
 * engine/hint.c - hint files.
 *
 * Opening a directory must not read values: ten million keys are to be there
 * in seconds. So a hint is what a run looks like in memory (run_item.h),
 * written down; loading one is a read, a checksum and one pass that proves
 * every item in bounds and in order, and the run then points at the bytes.
 *
 *  off  size  hint file, format 1, little-endian
 *    0     4  crc32c of bytes 4..end of file
 *    4     4  magic "RCHT"
 *    8     4  format version
 *   12     4  partition count
 *   16     4  id of the data file
 *   20     4  zero
 *   24     8  salt of the data file
 *   32     8  data_bytes, written bytes of the data file
 *   40     8  last_sequence, of its last frame; 0 for a merged file
 *   48     8  length of this file
 *   56     4  crc32c of bytes 4..56 and of the partition table
 *   60     4  zero
 *   64     -  partition table, then the runs in table order
 *
 *  off  size  entry of the partition table
 *    0     2  partition
 *    2     6  zero
 *    8     8  first_index
 *   16     8  last_index
 *   24     8  last_term
 *   32     8  last_stamp_ns
 *   40     8  config_version
 *   48     8  config_loc
 *   56     8  base term of the run
 *   64     8  item count
 *   72     8  pool bytes
 *   80     8  kept_bytes
 *   88     8  span count
 *
 *  a run: the spans, 24 bytes each (first, last, term: the live entries of a
 *  log segment, ascending); the packed items, 32 bytes each, ascending by (key, version
 *  descending); the key pool, keys in item order without gaps; zeros, at
 *  least 8, to the next multiple of 8.
 *
 * The checksum stands alone at the beginning so that a writer can stream the
 * file and fill it in last. Header and table have one of their own for who
 * wants only them. Every later format keeps bytes 0..12.
 */
#include "engine/hint.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "engine/loc.h"
#include "engine/run_item.h"

enum {
	HINT_MAGIC = 0x54484352, /* "RCHT" */
	HINT_HEADER_BYTES = 64,
	HINT_PARTITION_BYTES = 96,
	HINT_WRITE_BYTES = 1 << 18,
	HINT_PATH_MAX = 4096,
};
#define HINT_BYTES_MAX (1ull << 36)
_Static_assert(sizeof(struct hint_span) == 24, "hint format 1");

/* A run's section; its last 8 zeros let a search read past the last key. */
static uint64_t run_disk_bytes(uint64_t span_count, uint64_t item_count,
			       uint64_t keys_bytes)
{
	return span_count * sizeof(struct hint_span) +
	       item_count * sizeof(struct packed_item) +
	       ((keys_bytes + RUN_POOL_TAIL_BYTES + 7) & ~7ull);
}

/* -------------------------------------------------------------- write ---- */

struct writer {
	struct vfs_file *f;
	struct buf out;
	uint64_t off; /* of the file, where out begins */
	uint32_t crc; /* over bytes 4..off             */
};

static enum err flush(struct writer *w)
{
	uint64_t skip = w->off == 0 ? 4 : 0;
	enum err err;

	err = vfs_pwrite(w->f, w->out.p, w->out.n, w->off);
	if (err)
		return err;
	w->crc = crc32c(w->crc, w->out.p + skip, w->out.n - skip);
	w->off += w->out.n;
	w->out.n = 0;
	return OK;
}

/* Room for n more bytes (at most a key's and its tail) and where they go. */
static enum err writer_room(struct writer *w, size_t n, uint8_t **at)
{
	enum err err = OK;

	if (w->out.n + n > HINT_WRITE_BYTES)
		err = flush(w);
	if (err)
		return err;
	CHECK(w->out.n + n <= w->out.cap);
	*at = w->out.p + w->out.n;
	w->out.n += n;
	return OK;
}

static uint64_t run_pool_bytes(const struct run *run)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < run->count; i++)
		sum += packed_pool_bytes(&run->items[i]);
	return sum;
}

static enum err write_run(struct writer *w, const struct hint_partition *hp,
			  uint64_t keys_bytes)
{
	const struct run *run = hp->run;
	uint64_t end = run_disk_bytes(0, run->count, keys_bytes);
	uint64_t key_off = 0;
	enum err err = OK;
	uint8_t *at;

	CHECK(run->sorted);
	for (uint32_t i = 0; i < hp->span_count; i++) {
		err = writer_room(w, sizeof(*hp->spans), &at);
		if (err)
			return err;
		memcpy(at, &hp->spans[i], sizeof(*hp->spans));
	}
	for (uint64_t i = 0; i < run->count; i++) {
		struct packed_item it = run->items[i];

		err = writer_room(w, sizeof(it), &at);
		if (err)
			return err;
		it.key_off = key_off;
		key_off += packed_pool_bytes(&it);
		memcpy(at, &it, sizeof(it));
	}
	CHECK(key_off == keys_bytes);
	for (uint64_t i = 0; i < run->count; i++) {
		uint32_t n = packed_pool_bytes(&run->items[i]);

		err = writer_room(w, n, &at);
		if (err)
			return err;
		memcpy(at, run->keys + run->items[i].key_off, n);
	}
	end -= run->count * sizeof(struct packed_item) + keys_bytes;
	err = writer_room(w, end, &at);
	if (!err)
		memset(at, 0, end);
	return err;
}

static void write_table(struct writer *w, const struct hint_file *file,
			const struct hint_partition *parts, uint32_t part_count,
			const uint64_t *keys_bytes)
{
	uint64_t table_bytes = (uint64_t)part_count * HINT_PARTITION_BYTES;
	uint64_t end = HINT_HEADER_BYTES + table_bytes;
	uint8_t *header = w->out.p, *at = header;
	uint32_t crc;

	for (uint32_t i = 0; i < part_count; i++)
		end += run_disk_bytes(parts[i].span_count, parts[i].run->count,
				      keys_bytes[i]);
	w->out.n = HINT_HEADER_BYTES + table_bytes;
	memset(at, 0, w->out.n);
	put_u32(at + 4, HINT_MAGIC);
	put_u32(at + 8, HINT_FORMAT_VERSION);
	put_u32(at + 12, part_count);
	put_u32(at + 16, file->file_id);
	put_u64(at + 24, file->salt);
	put_u64(at + 32, file->data_bytes);
	put_u64(at + 40, file->last_sequence);
	put_u64(at + 48, end);
	at += HINT_HEADER_BYTES;
	for (uint32_t i = 0; i < part_count; i++, at += HINT_PARTITION_BYTES) {
		const struct hint_partition *p = &parts[i];

		put_u64(at, p->partition);
		put_u64(at + 8, p->first_index);
		put_u64(at + 16, p->last_index);
		put_u64(at + 24, p->last_term);
		put_u64(at + 32, p->last_stamp_ns);
		put_u64(at + 40, p->config_version);
		put_u64(at + 48, p->config_loc);
		put_u64(at + 56, p->run->base_term);
		put_u64(at + 64, p->run->count);
		put_u64(at + 72, keys_bytes[i]);
		put_u64(at + 80, p->kept_bytes);
		put_u64(at + 88, p->span_count);
	}
	crc = crc32c(0, header + 4, 52);
	put_u32(header + 56,
		crc32c(crc, header + HINT_HEADER_BYTES, table_bytes));
}

static enum err write_all(struct writer *w, const struct hint_file *file,
			  const struct hint_partition *parts,
			  uint32_t part_count, uint64_t *keys_bytes)
{
	uint8_t crc[4];
	enum err err = OK;

	for (uint32_t i = 0; i < part_count; i++) {
		CHECK(!i || parts[i].partition > parts[i - 1].partition);
		keys_bytes[i] = run_pool_bytes(parts[i].run);
		if (keys_bytes[i] > RUN_POOL_BYTES_MAX)
			return ERR_TOO_LARGE;
	}
	write_table(w, file, parts, part_count, keys_bytes);
	for (uint32_t i = 0; !err && i < part_count; i++)
		err = write_run(w, &parts[i], keys_bytes[i]);
	if (!err)
		err = flush(w);
	if (err)
		return err;
	put_u32(crc, w->crc);
	err = vfs_pwrite(w->f, crc, sizeof(crc), 0);
	if (err)
		return err;
	return vfs_sync(w->f);
}

enum err hint_write(struct vfs *vfs, const char *path,
		    const struct hint_file *file,
		    const struct hint_partition *parts, uint32_t part_count)
{
	struct writer w = { .out = BUF_INIT };
	char tmp[HINT_PATH_MAX];
	uint64_t *keys_bytes;
	enum err err;
	int n;

	CHECK(part_count <= HINT_PARTITIONS_MAX);
	n = snprintf(tmp, sizeof(tmp), "%s.tmp", path);
	CHECK(n > 0 && (size_t)n < sizeof(tmp));
	keys_bytes = calloc(part_count ? part_count : 1, sizeof(*keys_bytes));
	if (!keys_bytes)
		return ERR_NOMEM;
	err = buf_reserve(&w.out,
			  HINT_WRITE_BYTES + HINT_HEADER_BYTES +
				  (size_t)part_count * HINT_PARTITION_BYTES);
	if (err)
		goto out_keys;
	err = vfs_open(vfs, tmp, VFS_WRITE | VFS_CREATE | VFS_TRUNC, &w.f);
	if (err)
		goto out_buf;
	err = write_all(&w, file, parts, part_count, keys_bytes);
	vfs_close(w.f);
	if (!err)
		err = vfs_rename(vfs, tmp, path);
	if (err && vfs_unlink(vfs, tmp))
		log_debug("engine", "hint_tmp_left path=%s", tmp);
out_buf:
	buf_done(&w.out);
out_keys:
	free(keys_bytes);
	return err;
}

/* --------------------------------------------------------------- load ---- */

struct hint {
	struct hint_file file;
	struct buf data;
	struct hint_partition *parts;
	uint32_t part_count;
};

void hint_free(struct hint *hint)
{
	if (!hint)
		return;
	for (uint32_t i = 0; i < hint->part_count; i++)
		run_free(hint->parts[i].run);
	free(hint->parts);
	buf_done(&hint->data);
	free(hint);
}

const struct hint_file *hint_identity(const struct hint *hint)
{
	return &hint->file;
}

uint32_t hint_partition_count(const struct hint *hint)
{
	return hint->part_count;
}

const struct hint_partition *hint_partition(const struct hint *hint, uint32_t i)
{
	CHECK(i < hint->part_count);
	return &hint->parts[i];
}

static bool type_has_item(unsigned type)
{
	return type == RECORD_PUT || type == RECORD_DELETE ||
	       type == RECORD_EXPIRE || type == RECORD_DELETE_PREFIX;
}

/*
 * Prove the run: each key where the one before it ends, within the pool, and
 * all in order. What comes after trusts it.
 */
static bool run_is_sound(const struct run *run, uint32_t file_id)
{
	uint64_t key_off = 0, version = 0;
	struct bytes last = { 0 };

	for (uint64_t i = 0; i < run->count; i++) {
		const struct packed_item *it = &run->items[i];
		struct bytes key = packed_key(run, it);
		uint32_t pool_bytes = packed_pool_bytes(it);
		int c;

		if (it->key_off != key_off ||
		    key_off + pool_bytes > run->keys_bytes ||
		    key.n > RECORD_KEY_BYTES_MAX ||
		    it->packed & PACKED_ZERO_MASK ||
		    !type_has_item(packed_type(it)) ||
		    loc_file_id(it->loc) != file_id)
			return false;
		c = i ? bytes_compare(last, key) : -1;
		if (c > 0 || (c == 0 && it->version >= version))
			return false;
		last = key;
		version = it->version;
		key_off += pool_bytes;
	}
	return key_off == run->keys_bytes;
}

/* Spans ascend and do not overlap. */
static bool spans_are_sound(const struct hint_span *spans, uint64_t count)
{
	uint64_t last = 0;

	for (uint64_t i = 0; i < count; i++) {
		if (spans[i].first <= last || spans[i].last < spans[i].first)
			return false;
		last = spans[i].last;
	}
	return true;
}

/* The section at *off: spans and run of p, as the table's entry says. */
static enum err decode_run(struct hint *hint, uint32_t file_id,
			   const uint8_t *entry, uint64_t *off,
			   struct hint_partition *p)
{
	uint64_t count = get_u64(entry + 64), keys_bytes = get_u64(entry + 72);
	uint64_t span_count = get_u64(entry + 88);
	uint64_t left = hint->data.n - *off;
	struct run *run;
	enum err err;

	if (count > left / sizeof(struct packed_item) || keys_bytes > left ||
	    span_count > left / sizeof(struct hint_span) ||
	    span_count > UINT32_MAX || keys_bytes > RUN_POOL_BYTES_MAX ||
	    run_disk_bytes(span_count, count, keys_bytes) > left)
		return ERR_CORRUPT;
	p->spans = (const struct hint_span *)(hint->data.p + *off);
	p->span_count = (uint32_t)span_count;
	if (!spans_are_sound(p->spans, span_count))
		return ERR_CORRUPT;
	err = run_new(&run);
	if (err)
		return err;
	run->borrowed = run->sorted = true;
	run->items =
		(struct packed_item *)(hint->data.p + *off +
				       span_count * sizeof(struct hint_span));
	run->count = count;
	run->keys = (uint8_t *)(run->items + count);
	run->keys_bytes = keys_bytes;
	run->base_term = get_u64(entry + 56);
	if (!run_is_sound(run, file_id)) {
		run_free(run);
		return ERR_CORRUPT;
	}
	*off += run_disk_bytes(span_count, count, keys_bytes);
	p->run = run;
	return OK;
}

static void decode_entry(const uint8_t *at, struct hint_partition *p)
{
	p->partition = get_u16(at);
	p->first_index = get_u64(at + 8);
	p->last_index = get_u64(at + 16);
	p->last_term = get_u64(at + 24);
	p->last_stamp_ns = get_u64(at + 32);
	p->config_version = get_u64(at + 40);
	p->config_loc = get_u64(at + 48);
	p->kept_bytes = get_u64(at + 80);
}

static enum err decode_parts(struct hint *hint, uint32_t file_id,
			     uint32_t part_count)
{
	uint64_t off =
		HINT_HEADER_BYTES + (uint64_t)part_count * HINT_PARTITION_BYTES;
	enum err err;

	hint->parts = calloc(part_count ? part_count : 1, sizeof(*hint->parts));
	if (!hint->parts)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < part_count; i++) {
		const uint8_t *at = hint->data.p + HINT_HEADER_BYTES +
				    (uint64_t)i * HINT_PARTITION_BYTES;
		struct hint_partition *p = &hint->parts[i];

		err = decode_run(hint, file_id, at, &off, p);
		if (err)
			return err;
		hint->part_count = i + 1;
		decode_entry(at, p);
		if (i && p->partition <= p[-1].partition)
			return ERR_CORRUPT;
	}
	return off == hint->data.n ? OK : ERR_CORRUPT;
}

/* The header and table d, read alone or with all that follows. */
static enum err check_table(struct bytes d, const struct hint_file *file,
			    struct hint_file *found, uint32_t *part_count)
{
	uint64_t table_bytes;
	uint32_t crc;

	if (d.n < HINT_HEADER_BYTES || get_u32(d.p + 4) != HINT_MAGIC)
		return ERR_CORRUPT;
	if (get_u32(d.p + 8) > HINT_FORMAT_VERSION)
		return ERR_VERSION;
	*part_count = get_u32(d.p + 12);
	table_bytes = (uint64_t)*part_count * HINT_PARTITION_BYTES;
	if (*part_count > HINT_PARTITIONS_MAX ||
	    table_bytes > d.n - HINT_HEADER_BYTES)
		return ERR_CORRUPT;
	crc = crc32c(0, d.p + 4, 52);
	crc = crc32c(crc, d.p + HINT_HEADER_BYTES, table_bytes);
	*found = (struct hint_file){
		.file_id = get_u32(d.p + 16),
		.salt = get_u64(d.p + 24),
		.data_bytes = get_u64(d.p + 32),
		.last_sequence = get_u64(d.p + 40),
	};
	if (crc != get_u32(d.p + 56) ||
	    get_u32(d.p + 8) != HINT_FORMAT_VERSION ||
	    found->file_id != file->file_id || found->salt != file->salt ||
	    (file->data_bytes && found->data_bytes != file->data_bytes) ||
	    (file->last_sequence &&
	     found->last_sequence != file->last_sequence))
		return ERR_CORRUPT;
	return OK;
}

enum err hint_decode(struct buf *data, const struct hint_file *file,
		     struct hint **hint)
{
	struct bytes d = buf_bytes(data);
	struct hint_file found;
	uint32_t part_count;
	struct hint *h;
	enum err err;

	if (d.n < HINT_HEADER_BYTES || get_u32(d.p + 4) != HINT_MAGIC ||
	    get_u32(d.p) != crc32c(0, d.p + 4, d.n - 4))
		return ERR_CORRUPT;
	err = check_table(d, file, &found, &part_count);
	if (!err && get_u64(d.p + 48) != d.n)
		err = ERR_CORRUPT;
	if (err)
		return err;
	h = calloc(1, sizeof(*h));
	if (!h)
		return ERR_NOMEM;
	h->file = found;
	h->data = *data;
	err = decode_parts(h, file->file_id, part_count);
	if (err) {
		h->data = BUF_INIT;
		hint_free(h);
		return err;
	}
	*data = BUF_INIT;
	*hint = h;
	return OK;
}

enum err hint_load(struct vfs *vfs, const char *path,
		   const struct hint_file *file, struct hint **hint)
{
	struct buf data = BUF_INIT;
	enum err err;

	err = vfs_read_all(vfs, path, HINT_BYTES_MAX, &data);
	if (err == ERR_TOO_LARGE)
		err = ERR_CORRUPT;
	if (!err)
		err = hint_decode(&data, file, hint);
	buf_done(&data);
	return err;
}

/* Header and table, into b. */
static enum err read_head(struct vfs *vfs, const char *path, struct buf *b)
{
	struct vfs_file *f;
	size_t got = 0;
	enum err err;

	err = vfs_open(vfs, path, VFS_READ, &f);
	if (err)
		return err;
	err = buf_reserve(b, HINT_HEADER_BYTES);
	if (!err)
		err = vfs_pread(f, b->p, HINT_HEADER_BYTES, 0, &got);
	if (!err) {
		uint64_t n = get_u32(b->p + 12);

		err = ERR_CORRUPT;
		if (got == HINT_HEADER_BYTES && n <= HINT_PARTITIONS_MAX) {
			n = HINT_HEADER_BYTES + n * HINT_PARTITION_BYTES;
			err = buf_reserve(b, n);
			if (!err)
				err = vfs_pread(f, b->p, n, 0, &got);
		}
	}
	b->n = err ? 0 : got;
	vfs_close(f);
	return err;
}

enum err hint_load_table(struct vfs *vfs, const char *path,
			 const struct hint_file *file, struct hint_file *found,
			 struct hint_partition **parts, uint32_t *part_count)
{
	struct buf b = BUF_INIT;
	struct hint_file said;
	struct hint_partition *p;
	uint32_t count;
	enum err err;

	err = read_head(vfs, path, &b);
	if (!err)
		err = check_table(buf_bytes(&b), file, &said, &count);
	if (err)
		goto out;
	p = calloc(count ? count : 1, sizeof(*p));
	err = p ? OK : ERR_NOMEM;
	if (err)
		goto out;
	for (uint32_t i = 0; i < count; i++)
		decode_entry(b.p + HINT_HEADER_BYTES +
				     (size_t)i * HINT_PARTITION_BYTES,
			     &p[i]);
	*found = said;
	*parts = p;
	*part_count = count;
out:
	buf_done(&b);
	return err;
}
