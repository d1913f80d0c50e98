/*
 * Any bytes may lie in a data directory, under right checksums too: the file
 * "state", a log segment, a merged file, MANIFEST. Opening answers; what opens
 * can be read, written, merged and closed; the offline tools answer as well.
 *
 * An input patches a small directory: again and again a byte that says which
 * file and whether its checksums are put right, two of offset, one of length,
 * and that many bytes.
 *
 * Decodes: engine/frame.c engine/state.c engine/scan.c engine/walk.c
 * Decodes in part: engine/load.c engine/load_state.c engine/datafile.c
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/vfs_sim.h"
#include "engine/datafile.h"
#include "engine/engine.h"
#include "engine/frame.h"
#include "engine/offline.h"
#include "engine/state.h"

enum { SLOT_BYTES = 512, FILE_MAX = 64 << 10, STEPS = 400, FEW_STEPS = 40 };

enum { STATE, LOG, MERGED, MANIFEST, FILES };

/* The newest of each kind. */
static char names[FILES][64] = { "data/state", "", "", "data/MANIFEST" };

struct image {
	uint8_t p[FILE_MAX];
	size_t n;
	bool is_read, mend;
};

struct world {
	struct vfs_sim *sim;
	struct clock_sim clock;
	struct seed seed;
	struct engine_options o;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void quiet(void *ctx, const char *line)
{
}

static void look(void *ctx, const char *file, uint64_t off,
		 enum record_state state, const struct record *r)
{
	uint32_t *sum = ctx;

	if (!r)
		return; /* nothing is known of it */
	if (state == RECORD_OK)
		*sum = crc32c(*sum, r->value.p, r->value.n);
	*sum = crc32c(*sum, r->key.p, r->key.n);
}

static void world_init(struct world *w)
{
	clock_sim_init(&w->clock, 1000000000);
	seed_init(&w->seed, 1);
	engine_options_default(&w->o);
	w->o.vfs = vfs_sim_vfs(w->sim);
	w->o.clock = &w->clock.clock;
	w->o.seed = &w->seed;
	w->o.dir = "data";
	w->o.partitions = 2;
	w->o.segment_bytes = ENGINE_SEGMENT_BYTES_MIN;
	w->o.min_free_bytes = 0;
	w->o.merge.rate_bytes_per_s = 0;
}

static enum err put(struct engine *e, uint16_t partition, uint64_t index,
		    uint8_t type, const char *key, size_t bytes)
{
	static uint8_t value[4096];
	struct engine_record r = { .type = type,
				   .key = bytes_str(key),
				   .value = bytes_of(value, bytes) };
	struct engine_entry entry = { .partition = partition,
				      .index = index,
				      .term = 1 + index / 4,
				      .stamp_ns = index,
				      .records = &r,
				      .record_count = 1 };

	return engine_append(e, &entry);
}

static void keep(struct engine *e, struct world *w, int steps)
{
	uint64_t wait_ms = 0;

	engine_merge_request(e);
	w->clock.mono += 10000000000;
	for (int i = 0, idle = 0; i < steps && idle < 4; i++) {
		engine_idle(e);
		if (engine_keep(e, &wait_ms))
			return;
		idle += wait_ms >= 1000;
		w->clock.mono += (wait_ms + 1) * 1000000;
	}
}

static enum err take_name(void *ctx, const char *name)
{
	const char *end = strchr(name, '.');
	int file = end && strcmp(end, ".log") == 0   ? LOG
		   : end && strcmp(end, ".dat") == 0 ? MERGED
						     : FILES;

	if (file < FILES && strcmp(name, names[file] + 5) > 0)
		snprintf(names[file], sizeof(names[file]), "data/%s", name);
	return OK;
}

/* A few entries in a merged file, and a few in the log behind it. */
static struct vfs_sim *directory(void)
{
	static struct world w;
	struct engine_hard_state hs = { .term = 1, .vote = 1 };
	struct buf why = BUF_INIT;
	struct engine *e;

	if (w.sim)
		return w.sim;
	log_set_level(LOG_ERROR);
	CHECK(vfs_sim_new(1, 64 << 20, &w.sim) == OK);
	world_init(&w);
	CHECK(engine_open(&w.o, &e, &why) == OK);
	for (uint64_t i = 1; i <= 9; i++) {
		CHECK(put(e, 0, i, RECORD_PUT, i % 2 ? "a" : "b", 20 * i) ==
		      OK);
		hs.term = 1 + i / 4;
		CHECK(engine_set_hard_state(e, 0, &hs) == OK);
		CHECK(engine_sync(e) == OK);
		CHECK(engine_settle(e, 0, i, NULL, NULL) == OK);
		if (i == 5)
			keep(e, &w, STEPS);
	}
	CHECK(put(e, 0, 10, RECORD_DELETE, "a", 0) == OK);
	CHECK(put(e, 0, 11, RECORD_DELETE_PREFIX, "b", 0) == OK);
	CHECK(put(e, 1, 1, RECORD_NOOP, "", 0) == OK);
	CHECK(put(e, 1, 2, RECORD_PUT, "c", 700) == OK);
	CHECK(engine_sync(e) == OK);
	engine_close(e);
	CHECK(vfs_list(w.o.vfs, "data", take_name, NULL) == OK);
	CHECK(names[LOG][0]);
	CHECK(names[MERGED][0]);
	return w.sim;
}

static void read_image(struct vfs *vfs, int file, struct image *m)
{
	struct vfs_file *f;

	CHECK(vfs_open(vfs, names[file], VFS_READ, &f) == OK);
	CHECK(vfs_pread(f, m->p, FILE_MAX, 0, &m->n) == OK);
	vfs_close(f);
	m->is_read = true;
}

/* Of the record at off the sums; its bytes, or 0 when it ends past n. */
static size_t mend_record(struct image *m, size_t off, size_t n, uint32_t seed)
{
	uint8_t *p = m->p + off;
	size_t head, value;
	uint32_t crc;

	if (n < RECORD_HEADER_BYTES || get_u16(p + 8) != RECORD_MAGIC)
		return 0;
	head = RECORD_HEADER_BYTES + get_u16(p + 56) + get_u16(p + 58);
	value = get_u32(p + 60);
	if (head + value > n)
		return 0;
	crc = crc32c(seed, p + 8, head - 8);
	put_u32(p, crc);
	put_u32(p + 4, crc32c(crc, p + head, value));
	return (head + value + 7) & ~(size_t)7;
}

static void mend_records(struct image *m, size_t off, size_t end, uint32_t seed)
{
	size_t n = 1;

	for (; n && off < end; off += n)
		n = mend_record(m, off, end - off, seed);
}

static uint32_t mend_header(struct image *m)
{
	put_u32(m->p, crc32c(0, m->p + 4, FILE_HEADER_BYTES - 4));
	return crc32c(0, m->p + 4, 60);
}

static void mend_log(struct image *m)
{
	uint32_t seed = mend_header(m);

	for (size_t off = FILE_HEADER_BYTES;
	     off + FRAME_HEADER_BYTES <= m->n;) {
		uint8_t *p = m->p + off;
		uint64_t body = get_u64(p + 32);

		if (get_u32(p + 4) == FRAME_MAGIC) {
			put_u64(p + 24, off);
			put_u32(p, crc32c(seed, p + 4, FRAME_HEADER_BYTES - 4));
		}
		if (get_u32(p + 4) != FRAME_MAGIC || body > m->n - off) {
			off += FRAME_ALIGN_BYTES;
			continue;
		}
		off += FRAME_HEADER_BYTES;
		mend_records(m, off, off + body < m->n ? off + body : m->n,
			     seed);
		off += frame_bytes(body) - FRAME_HEADER_BYTES;
	}
}

static void mend_state(struct image *m)
{
	for (size_t at = 0; at < 2 * SLOT_BYTES && at + SLOT_BYTES <= m->n;
	     at += SLOT_BYTES)
		put_u32(m->p + at, crc32c(0, m->p + at + 4, SLOT_BYTES - 4));
	if (m->n >= 2 * SLOT_BYTES + 64)
		put_u32(m->p + 2 * SLOT_BYTES,
			crc32c(0, m->p + 2 * SLOT_BYTES + 4, 60));
}

static void mend(int file, struct image *m)
{
	if (m->n < FILE_HEADER_BYTES && file != MANIFEST)
		return;
	if (file == STATE)
		mend_state(m);
	else if (file == LOG)
		mend_log(m);
	else if (file == MERGED)
		mend_records(m, FILE_HEADER_BYTES, m->n, mend_header(m));
	else
		put_u32(m->p, crc32c(0, m->p + 4, m->n - 4));
}

static void write_image(struct vfs *vfs, int file, struct image *m)
{
	struct vfs_file *f;

	if (m->mend)
		mend(file, m);
	CHECK(vfs_open(vfs, names[file], VFS_WRITE, &f) == OK);
	CHECK(vfs_pwrite(f, m->p, m->n, 0) == OK);
	CHECK(vfs_sync(f) == OK);
	vfs_close(f);
}

/* What opened is used: everything is read, something is added. */
static void use(struct engine *e, struct world *w)
{
	struct engine_partition_info info;
	struct engine_value v;
	struct engine_iter it;
	struct engine_info ki;
	struct bytes key;

	for (uint16_t p = 0; p < w->o.partitions; p++) {
		engine_partition_info(e, p, &info);
		if (engine_settle(e, p, info.last_index, NULL, NULL))
			return;
		engine_iter_begin(e, p, &it);
		for (bool more =
			     engine_iter_seek(&it, bytes_str(""), &key, &ki);
		     more; more = engine_iter_next(&it, &key, &ki))
			CHECK(ki.version > 0);
		engine_iter_end(&it);
		if (engine_get(e, p, bytes_str("a"), ENGINE_VERIFY, &v) == OK)
			engine_value_done(&v);
		if (put(e, p, info.last_index + 1, RECORD_PUT, "new", 9) ||
		    engine_sync(e) ||
		    engine_settle(e, p, info.last_index + 1, NULL, NULL))
			return;
		CHECK(!engine_get(e, p, bytes_str("new"), ENGINE_VERIFY, &v));
		CHECK(v.value.n == 9);
		engine_value_done(&v);
	}
	keep(e, w, FEW_STEPS);
}

static void open_and_use(struct world *w)
{
	struct offline_report report = { 0 };
	struct buf why = BUF_INIT;
	uint32_t sum = 0;
	struct engine *e;

	if (offline_check(w->o.vfs, "data", quiet, NULL, &report) == OK &&
	    offline_dump(w->o.vfs, "data", look, &sum) == OK)
		CHECK(report.files > 0 || report.records == 0);
	if (engine_open(&w->o, &e, &why)) {
		CHECK(why.n > 0);
		if (offline_repair(w->o.vfs, "data", true, quiet, NULL) ||
		    engine_open(&w->o, &e, &why))
			goto out;
	}
	use(e, w);
	engine_close(e);
out:
	buf_done(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct image images[FILES];
	struct world w = { 0 };

	CHECK(vfs_sim_clone(directory(), 1, &w.sim) == OK);
	world_init(&w);
	for (int i = 0; i < FILES; i++)
		images[i].is_read = images[i].mend = false;
	while (n > 4) {
		int file = data[0] % FILES;
		struct image *m = &images[file];
		size_t off = get_u16(data + 1), bytes = data[3];

		if (!m->is_read)
			read_image(w.o.vfs, file, m);
		m->mend = data[0] / FILES % 4 > 0;
		if (bytes > n - 4)
			bytes = n - 4;
		if (off + bytes <= m->n)
			memcpy(m->p + off, data + 4, bytes);
		data += 4 + bytes;
		n -= 4 + bytes;
	}
	for (int i = 0; i < FILES; i++)
		if (images[i].is_read)
			write_image(w.o.vfs, i, &images[i]);
	open_and_use(&w);
	vfs_sim_free(w.sim);
	return 0;
}
