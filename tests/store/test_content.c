/*
 * tests/store/test_content.c - files that are written in the middle, cut,
 * punched and appended to, against a plain byte array.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/content_change.h"
#include "store/file_internal.h"
#include "store/hidden.h"
#include "tests/lib/store_rig.h"

enum {
	FILES = 3,
	SIZE_MAX_TRIED = 1200000,
	STEPS = 250,
	SEEDS = 6,
	BATCH = 6,
	MIB = 1 << 20,
};

struct plain {
	bool present;
	uint64_t n;
	uint8_t *p; /* SIZE_MAX_TRIED; zeros behind n */
};

static const char *const names[FILES] = { "a", "b/c", "d" };
static struct store_rig rig;
static struct plain files[FILES], before[FILES];
static struct seed chance;
static uint64_t seed_now;
static bool deletes_nothing;

static uint64_t draw(uint64_t below)
{
	return seed_below(&chance, below);
}

/* ------------------------------------------------------------- the array - */

static void plain_resize(struct plain *f, uint64_t n)
{
	if (n < f->n)
		memset(f->p + n, 0, f->n - n);
	f->n = n;
}

static void plain_write(struct plain *f, uint64_t off, struct bytes data)
{
	if (data.n > 0)
		memcpy(f->p + off, data.p, data.n);
	if (data.n > 0 && off + data.n > f->n)
		f->n = off + data.n;
}

static void plain_remove(struct plain *f)
{
	plain_resize(f, 0);
	f->present = false;
}

static void remember(void)
{
	for (int i = 0; i < FILES; i++) {
		memcpy(before[i].p, files[i].p, SIZE_MAX_TRIED);
		before[i].n = files[i].n;
		before[i].present = files[i].present;
	}
}

static void go_back(void)
{
	for (int i = 0; i < FILES; i++) {
		memcpy(files[i].p, before[i].p, SIZE_MAX_TRIED);
		files[i].n = before[i].n;
		files[i].present = before[i].present;
	}
}

/* ---------------------------------------------------------------- checks - */

static bool whole_is_same(const struct plain *f, const char *name)
{
	struct buf b = BUF_INIT;
	enum err err = store_rig_read(&rig, bytes_str(name), &b);
	bool same;

	if (f->present)
		same = err == OK &&
		       bytes_equal(buf_bytes(&b), bytes_of(f->p, f->n));
	else
		same = err == ERR_NOT_FOUND;
	buf_done(&b);
	return same;
}

static bool range_is_same(const struct plain *f, const char *name, uint64_t off,
			  size_t n)
{
	uint8_t *dst = malloc(n + 1);
	size_t got = 0, want = 0;
	enum err err = store_file_read(rig.store, bytes_str(name), 0, off, dst,
				       n, &got);
	bool same;

	if (f->present && off < f->n)
		want = n < f->n - off ? n : (size_t)(f->n - off);
	same = f->present ? err == OK && got == want &&
				    memcmp(dst, f->p + off, want) == 0
			  : err == ERR_NOT_FOUND;
	free(dst);
	return same;
}

static bool is_zero(const uint8_t *p, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		if (p[i])
			return false;
	}
	return true;
}

/* From data to hole to data: what is left out is zeros. */
static bool seeks_are_right(const struct plain *f, const char *name)
{
	struct bytes path = bytes_str(name);
	uint64_t at = 0, data, hole;

	while (at < f->n) {
		enum err err =
			store_file_seek(rig.store, path, 0, at, false, &data);

		if (err == ERR_NOT_FOUND)
			return is_zero(f->p + at, f->n - at);
		if (err || data < at || data >= f->n ||
		    !is_zero(f->p + at, data - at))
			return false;
		err = store_file_seek(rig.store, path, 0, data, true, &hole);
		if (err || hole <= data || hole > f->n)
			return false;
		at = hole;
	}
	return store_file_seek(rig.store, path, 0, f->n, true, &hole) ==
	       ERR_NOT_FOUND;
}

static uint64_t chunks_of(uint64_t content_id, uint64_t *records)
{
	uint8_t room[CHUNK_KEY_BYTES];
	struct bytes prefix = chunk_prefix(room, content_id), key;
	uint64_t chunks = 0, last = UINT64_MAX;
	struct engine_iter it;
	bool more;

	*records = 0;
	engine_iter_begin(rig.engine, 0, &it);
	more = engine_iter_seek(&it, prefix, &key, NULL);
	for (; more && bytes_begins(key, prefix); ++*records) {
		chunks += chunk_number(key) != last;
		last = chunk_number(key);
		more = engine_iter_next(&it, &key, NULL);
	}
	engine_iter_end(&it);
	return chunks;
}

static enum err find(const char *name, struct file_node *n)
{
	struct view view = file_view_applied(rig.store, 0);

	return file_find(&view, bytes_str(name), n);
}

/* What the attributes say of it, and what is left of other contents. */
static bool chunks_are_right(void)
{
	uint64_t of_files = 0, of_all = 0, records;
	struct engine_iter it;
	struct bytes key;
	bool more, right = true;

	for (int i = 0; i < FILES; i++) {
		struct file_node n;
		enum err err = find(names[i], &n);
		uint64_t there;

		if (!err && n.flags & LOC_CONTENT) {
			there = chunks_of(n.content_id, &records);
			right &= there == (n.content_flags & CONTENT_SPARSE
						   ? n.attrs.chunks
						   : content_chunks(n.bytes));
			of_files += records;
		}
		file_node_done(&n);
	}
	engine_iter_begin(rig.engine, 0, &it);
	more = engine_iter_seek(&it, bytes_of("\0c", 2), &key, NULL);
	for (; more && bytes_begins(key, bytes_of("\0c", 2)); of_all++)
		more = engine_iter_next(&it, &key, NULL);
	engine_iter_end(&it);
	return right && of_all == of_files;
}

static bool is_same(const struct plain *all)
{
	for (int i = 0; i < FILES; i++) {
		if (!whole_is_same(&all[i], names[i]))
			return false;
	}
	return true;
}

static void check_count(void)
{
	struct store_partition_status status;
	uint64_t keys = 0;

	for (int i = 0; i < FILES; i++)
		keys += files[i].present;
	store_partition_status(rig.store, 0, &status);
	assert_int_equal(status.keys, keys);
}

static void check(void)
{
	for (int i = 0; i < FILES; i++) {
		const struct plain *f = &files[i];

		for (int k = 0; k < 3; k++)
			assert_true(range_is_same(f, names[i], draw(f->n + 100),
						  draw(200000)));
		assert_true(whole_is_same(f, names[i]));
		if (f->present)
			assert_true(seeks_are_right(f, names[i]));
	}
	check_count();
	assert_true(chunks_are_right());
}

/* ------------------------------------------------------------ operations - */

struct attempt {
	struct store_file_op op;
	struct store_op put;
	struct store_result result;
	struct store_write write;
	enum err want, err, got;
	bool is_write, done;
	uint8_t *data;
};

static void set_done(struct store_file_op *op)
{
	struct attempt *a = op->user;

	a->got = op->err;
	a->done = true;
}

static void set_write_done(struct store_write *w)
{
	struct attempt *a = w->user;

	a->got = w->err;
	a->done = true;
}

static struct bytes draw_data(struct attempt *a, size_t n)
{
	uint8_t fill = (uint8_t)(1 + draw(255));

	a->data = malloc(n + 1);
	for (size_t i = 0; i < n; i++)
		a->data[i] = (uint8_t)(fill + i % 7);
	return bytes_of(a->data, n);
}

static size_t draw_bytes(void)
{
	switch (draw(6)) {
	case 0:
		return 4096;
	case 1:
		return STORE_CHUNK_BYTES;
	case 2:
		return (size_t)draw(200000);
	case 3:
		return (size_t)draw(6000);
	default:
		return 1 + (size_t)draw(100);
	}
}

static uint64_t draw_off(const struct plain *f, size_t n)
{
	uint64_t off;

	switch (draw(5)) {
	case 0:
		off = f->n;
		break;
	case 1:
		off = draw(12) * STORE_CHUNK_BYTES;
		break;
	case 2:
		off = draw(200) * 4096;
		break;
	case 3:
		off = draw(2 * f->n + 10);
		break;
	default:
		off = draw(f->n + 1);
	}
	return off + n > SIZE_MAX_TRIED ? 0 : off;
}

static void draw_write(struct plain *f, struct attempt *a)
{
	size_t n = draw_bytes();
	uint64_t off = draw_off(f, n);

	a->op.kind = STORE_FILE_WRITE;
	a->op.flags = STORE_FILE_MAKE;
	a->op.data = draw_data(a, n);
	a->op.off = off;
	if (draw(8) == 0) {
		a->op.flags |= STORE_FILE_TRUNCATE;
		plain_resize(f, 0);
	}
	if (draw(3) == 0 && f->n + n < SIZE_MAX_TRIED) {
		a->op.flags |= STORE_FILE_APPEND;
		off = f->n;
	}
	f->present = true;
	plain_write(f, off, a->op.data);
}

static void draw_allocate(struct plain *f, struct attempt *a)
{
	uint64_t n = 1 + draw_bytes(), off = draw_off(f, n);
	uint64_t rest = off < f->n ? f->n - off : 0;

	a->op.kind = STORE_FILE_ALLOCATE;
	a->op.off = off;
	a->op.length = n;
	if (draw(4) == 0)
		a->op.flags |= STORE_FILE_KEEP_SIZE;
	if (draw(3))
		a->op.flags |= draw(2) ? STORE_FILE_PUNCH : STORE_FILE_ZERO;
	if (!f->present) {
		a->want = ERR_NOT_FOUND;
		return;
	}
	if (a->op.flags & (STORE_FILE_PUNCH | STORE_FILE_ZERO))
		memset(f->p + off, 0, n < rest ? n : rest);
	if (!(a->op.flags & (STORE_FILE_KEEP_SIZE | STORE_FILE_PUNCH)) &&
	    off + n > f->n)
		f->n = off + n;
}

static void draw_set_bytes(struct plain *f, struct attempt *a)
{
	a->op.kind = STORE_FILE_SET;
	a->op.set = STORE_SET_BYTES;
	a->op.off = draw(6) ? draw_off(f, 0) : 0;
	if (!f->present)
		a->want = ERR_NOT_FOUND;
	else
		plain_resize(f, a->op.off);
}

static void draw_http(struct plain *f, const char *name, struct attempt *a)
{
	a->is_write = true;
	a->put = (struct store_op){ .key = bytes_str(name) };
	if (draw(3) == 0 && !deletes_nothing) {
		a->put.kind = STORE_DELETE;
		plain_remove(f);
	} else {
		a->put.kind = STORE_PUT;
		a->put.value = draw_data(a, draw_bytes());
		plain_resize(f, 0);
		plain_write(f, 0, a->put.value);
		f->present = true;
	}
	a->write = (struct store_write){ .then_ops = &a->put,
					 .then_count = 1,
					 .results = &a->result,
					 .done = set_write_done,
					 .user = a };
}

static void draw_change(struct plain *f, const char *name, struct attempt *a)
{
	*a = (struct attempt){
		.op = { .path = bytes_str(name), .done = set_done, .user = a }
	};
	switch (draw(10)) {
	case 0:
		draw_http(f, name, a);
		break;
	case 1:
	case 2:
		draw_allocate(f, a);
		break;
	case 3:
	case 4:
		draw_set_bytes(f, a);
		break;
	default:
		draw_write(f, a);
	}
}

static void draw_attempt(struct attempt *a)
{
	int i = (int)draw(FILES);

	draw_change(&files[i], names[i], a);
}

static void submit(struct attempt *a)
{
	a->err = a->is_write ? store_write(rig.store, &a->write)
			     : store_file_change(rig.store, &a->op);
	if (a->err)
		a->done = true;
}

/* Several at once, so that all but the first meet what is not applied. */
static void do_batch(void)
{
	struct attempt tries[BATCH];
	int n = 1 + (int)draw(BATCH);

	for (int i = 0; i < n; i++) {
		draw_attempt(&tries[i]);
		submit(&tries[i]);
		assert_int_equal(tries[i].err, OK);
	}
	for (int i = 0; i < n; i++) {
		while (!tries[i].done)
			assert_int_equal(store_rig_step(&rig), OK);
		assert_int_equal(tries[i].got, tries[i].want);
		free(tries[i].data);
	}
}

static void crash_inside(void)
{
	struct attempt a;
	bool same;

	remember();
	vfs_sim_power_off(rig.disk, VFS_SIM_CHANGES, 1 + draw(4), draw(2));
	draw_attempt(&a);
	submit(&a);
	while (!a.done) {
		if (store_rig_step(&rig)) {
			store_rig_stop(&rig);
			break;
		}
	}
	store_rig_crash(&rig);
	same = is_same(files);
	if (a.done && !a.err && !a.got)
		assert_true(same);
	if (!same) {
		go_back();
		assert_true(is_same(files));
	}
	free(a.data);
}

static void keep(void)
{
	uint64_t wait_ms;

	engine_merge_request(rig.engine);
	for (uint64_t i = draw(60); i > 0; i--)
		assert_int_equal(engine_keep(rig.engine, &wait_ms), OK);
}

/* Everything below "b/", or all. */
static void delete_prefix(void)
{
	bool all = draw(4) == 0;
	uint64_t deleted, want = 0;

	for (int i = 0; i < FILES; i++) {
		if (!all && names[i][0] != 'b')
			continue;
		want += files[i].present;
		plain_remove(&files[i]);
	}
	assert_int_equal(store_rig_del_prefix(&rig, all ? "" : "b/", &deleted),
			 OK);
	assert_int_equal(deleted, want);
}

static void change_node(void)
{
	switch (draw(13)) {
	case 12:
		delete_prefix();
		break;
	case 0:
		store_rig_stop(&rig);
		store_rig_start(&rig);
		break;
	case 1:
		store_rig_crash(&rig);
		break;
	case 2:
		crash_inside();
		break;
	case 3:
	case 4:
	case 5:
		keep();
		break;
	default:
		break;
	}
}

static void run_seed(void)
{
	seed_init(&chance, seed_now);
	store_rig_init(&rig, seed_now, 1);
	store_rig_stop(&rig);
	rig.segment_bytes = 1 << 20;
	rig.read_mode = seed_now % 2 ? ENGINE_READ_PREAD : ENGINE_READ_MMAP;
	store_rig_start(&rig);
	for (int i = 0; i < FILES; i++) {
		files[i] = (struct plain){ .p = calloc(1, SIZE_MAX_TRIED) };
		before[i] = (struct plain){ .p = calloc(1, SIZE_MAX_TRIED) };
	}
	for (int i = 0; i < STEPS; i++) {
		do_batch();
		check();
		change_node();
		check();
	}
	for (int i = 0; i < FILES; i++) {
		free(files[i].p);
		free(before[i].p);
	}
	store_rig_done(&rig);
}

static void files_are_as_the_array(void **state)
{
	const char *text = getenv("SEED");
	uint64_t first = text ? strtoull(text, NULL, 10) : 1;
	uint64_t last = text ? first : SEEDS;

	for (seed_now = first; seed_now <= last; seed_now++)
		run_seed();
	seed_now = 0;
}

/* ---------------------------------------------------- one thing at a time - */

static enum err write_at(const char *name, uint64_t off, struct bytes data,
			 uint32_t flags)
{
	struct store_file_op op = { .kind = STORE_FILE_WRITE,
				    .flags = STORE_FILE_MAKE | flags,
				    .path = bytes_str(name),
				    .off = off,
				    .data = data };

	return store_rig_file(&rig, &op);
}

static enum err punch(const char *name, uint64_t off, uint64_t n)
{
	struct store_file_op op = { .kind = STORE_FILE_ALLOCATE,
				    .flags = STORE_FILE_PUNCH,
				    .path = bytes_str(name),
				    .off = off,
				    .length = n };

	return store_rig_file(&rig, &op);
}

static enum err set_bytes(const char *name, uint64_t bytes)
{
	struct store_file_op op = { .kind = STORE_FILE_SET,
				    .set = STORE_SET_BYTES,
				    .path = bytes_str(name),
				    .off = bytes };

	return store_rig_file(&rig, &op);
}

/* Chunks and records that the content of name has. */
static uint64_t count(const char *name, uint64_t *records)
{
	struct file_node n;
	uint64_t chunks;

	assert_int_equal(find(name, &n), OK);
	assert_true(n.flags & LOC_CONTENT);
	chunks = chunks_of(n.content_id, records);
	assert_int_equal(chunks, n.content_flags & CONTENT_SPARSE
					 ? n.attrs.chunks
					 : content_chunks(n.bytes));
	file_node_done(&n);
	return chunks;
}

static uint64_t bytes_logged(void)
{
	struct engine_stats stats;

	engine_stats(rig.engine, &stats);
	return stats.bytes_appended;
}

static int begin(void **state)
{
	store_rig_init(&rig, 3, 1);
	seed_init(&chance, 3);
	files[0] = (struct plain){ .present = true,
				   .p = calloc(1, SIZE_MAX_TRIED) };
	return 0;
}

static int end(void **state)
{
	deletes_nothing = false;
	free(files[0].p);
	store_rig_done(&rig);
	return 0;
}

/* Each committed by itself, so each has a frame of its own. */
static void small_appends_cost_a_frame_and_gather(void **state)
{
	uint8_t line[64];
	uint64_t before_bytes, records;
	enum { LINES = 4000 };

	before_bytes = bytes_logged();
	for (int i = 0; i < LINES; i++) {
		memset(line, 'a' + i % 26, sizeof(line));
		assert_int_equal(write_at("a", 0, bytes_of(line, sizeof(line)),
					  STORE_FILE_APPEND),
				 OK);
		plain_write(&files[0], files[0].n,
			    bytes_of(line, sizeof(line)));
	}
	assert_true(whole_is_same(&files[0], "a"));
	assert_int_equal(count("a", &records),
			 content_chunks(sizeof(line) * LINES));
	assert_true(records < 4 * (CONTENT_EXTENTS_MAX / 2));
	print_message("64-byte appends: %.1f bytes logged for each\n",
		      (double)(bytes_logged() - before_bytes) /
			      (LINES * sizeof(line)));
	assert_true(bytes_logged() - before_bytes < 15 * LINES * sizeof(line));
}

static void writes_of_4k_cost_twice_their_bytes(void **state)
{
	enum { WRITES = 1500, PAGE = 4096, CHUNKS = 16 };
	uint8_t *page = malloc(MIB);
	uint64_t before_bytes, records;

	memset(page, 1, MIB);
	assert_int_equal(write_at("a", 0, bytes_of(page, MIB), 0), OK);
	plain_write(&files[0], 0, bytes_of(page, MIB));
	assert_int_equal(count("a", &records), CHUNKS);
	assert_int_equal(records, CHUNKS);
	before_bytes = bytes_logged();
	for (int i = 0; i < WRITES; i++) {
		uint64_t off = draw(MIB / PAGE) * PAGE;

		memset(page, i, PAGE);
		assert_int_equal(write_at("a", off, bytes_of(page, PAGE), 0),
				 OK);
		plain_write(&files[0], off, bytes_of(page, PAGE));
	}
	assert_true(whole_is_same(&files[0], "a"));
	assert_int_equal(count("a", &records), CHUNKS);
	/* A page written again replaces its extent; the last one hides the
	 * chunk's record. */
	assert_true(records <= CHUNKS * (CONTENT_EXTENTS_FEW + 1));
	print_message("4 KiB writes: %.2f bytes logged for each\n",
		      (double)(bytes_logged() - before_bytes) / WRITES / PAGE);
	assert_true(bytes_logged() - before_bytes < 2 * WRITES * PAGE);
	free(page);
}

/* Anywhere in one chunk, several before the first is applied. */
static void a_chunk_that_gathers_too_much_is_written_anew(void **state)
{
	enum { ROUNDS = 400, AT_ONCE = 20 };
	struct attempt *tries = calloc(AT_ONCE, sizeof(*tries));
	uint64_t records, most = 0;

	assert_int_equal(set_bytes("a", 0), ERR_NOT_FOUND);
	for (int i = 0; i < ROUNDS; i++) {
		for (int k = 0; k < AT_ONCE; k++) {
			struct attempt *a = &tries[k];
			size_t n = 1 + (size_t)draw(300);
			uint64_t off = draw(STORE_CHUNK_BYTES - n);

			*a = (struct attempt){ .op = { .kind = STORE_FILE_WRITE,
						       .flags = STORE_FILE_MAKE,
						       .path = bytes_str("a"),
						       .off = off,
						       .done = set_done,
						       .user = a } };
			a->op.data = draw_data(a, n);
			plain_write(&files[0], off, a->op.data);
			submit(a);
		}
		for (int k = 0; k < AT_ONCE; k++) {
			while (!tries[k].done)
				assert_int_equal(store_rig_step(&rig), OK);
			assert_int_equal(tries[k].got, OK);
			free(tries[k].data);
		}
		if (i % 10 == 0) {
			assert_true(whole_is_same(&files[0], "a"));
			assert_int_equal(count("a", &records), 1);
			most = records > most ? records : most;
		}
	}
	assert_true(most > CONTENT_EXTENTS_FEW);
	assert_true(most < CONTENT_EXTENTS_MAX + AT_ONCE);
	free(tries);
}

/* Chunks go by blocks of 256 and one by one; what stays is counted. */
static void many_chunks_are_cut_and_punched(void **state)
{
	static const uint64_t cuts[] = { 900, 600, 511, 300, 256, 255, 2 };
	uint8_t byte = 7;
	uint64_t records, chunks = 0, found;

	for (uint64_t i = 0; i < 1000; i += 1 + i % 3, chunks++)
		assert_int_equal(write_at("a",
					  i * STORE_CHUNK_BYTES + i % 2 * 9,
					  bytes_of(&byte, 1), 0),
				 OK);
	assert_int_equal(count("a", &records), chunks);
	assert_int_equal(
		punch("a", 700 * STORE_CHUNK_BYTES + 1, 50 * STORE_CHUNK_BYTES),
		OK);
	assert_true(count("a", &records) < chunks);
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		assert_int_equal(
			set_bytes("a", cuts[i] * STORE_CHUNK_BYTES + 5), OK);
		assert_true(count("a", &records) <= cuts[i] + 1);
	}
	assert_int_equal(
		store_file_seek(rig.store, bytes_str("a"), 0, 10, true, &found),
		OK);
	assert_int_equal(found, 2 * STORE_CHUNK_BYTES);
	assert_int_equal(set_bytes("a", 0), OK);
	assert_true(chunks_are_right());
	store_rig_expect(&rig, "a", "");
}

static void whole_chunks_go_by_few_records(void **state)
{
	uint8_t *data = calloc(1, MIB);
	uint64_t records, before_bytes;

	for (uint64_t i = 0; i < 40; i++)
		assert_int_equal(write_at("a", i * MIB, bytes_of(data, MIB), 0),
				 OK);
	assert_int_equal(count("a", &records), 640);
	before_bytes = bytes_logged();
	assert_int_equal(set_bytes("a", 256 * STORE_CHUNK_BYTES), OK);
	assert_int_equal(count("a", &records), 256);
	assert_true(bytes_logged() - before_bytes <= 1024);
	assert_int_equal(punch("a", 0, 255 * STORE_CHUNK_BYTES), OK);
	assert_int_equal(count("a", &records), 1);
	free(data);
}

static void a_hole_costs_nothing_and_ends_at_the_limit(void **state)
{
	uint64_t far = rig.max_value_bytes - 10, found, records;
	uint8_t got[20];
	size_t n;

	assert_int_equal(write_at("a", far, bytes_str("0123456789"), 0), OK);
	assert_int_equal(count("a", &records), 1);
	assert_int_equal(
		store_file_seek(rig.store, bytes_str("a"), 0, 0, false, &found),
		OK);
	assert_int_equal(found, far - far % STORE_CHUNK_BYTES);
	assert_int_equal(store_file_read(rig.store, bytes_str("a"), 0, far - 10,
					 got, 20, &n),
			 OK);
	assert_int_equal(n, 20);
	assert_memory_equal(got,
			    "\0\0\0\0\0\0\0\0\0\0"
			    "0123456789",
			    20);
	assert_int_equal(write_at("a", 0, bytes_str("x"), STORE_FILE_APPEND),
			 ERR_TOO_LARGE);
	assert_int_equal(write_at("a", far + 1, bytes_str("0123456789"), 0),
			 ERR_TOO_LARGE);
	assert_int_equal(set_bytes("a", rig.max_value_bytes + 1),
			 ERR_TOO_LARGE);
}

static void small_files_stay_in_their_record(void **state)
{
	uint8_t big[5000] = { 1 };
	struct file_node n;

	assert_int_equal(write_at("a", 0, bytes_of(big, 4096), 0), OK);
	assert_int_equal(find("a", &n), OK);
	assert_false(n.flags & LOC_CONTENT);
	file_node_done(&n);
	assert_int_equal(write_at("a", 4000, bytes_of(big, 4), 0), OK);
	assert_int_equal(find("a", &n), OK);
	assert_true(n.flags & LOC_CONTENT); /* 4 KiB anew for 4 bytes: no */
	file_node_done(&n);
	assert_int_equal(
		write_at("a", 0, bytes_of(big, 4000), STORE_FILE_TRUNCATE), OK);
	assert_int_equal(find("a", &n), OK);
	assert_false(n.flags & LOC_CONTENT);
	assert_false(n.attrs.has & ATTRS_CHUNKS);
	file_node_done(&n);
	assert_int_equal(write_at("a", 0, bytes_of(big, 5000), 0), OK);
	assert_int_equal(find("a", &n), OK);
	assert_true(n.flags & LOC_CONTENT);
	file_node_done(&n);
	assert_true(range_is_same(
		&(struct plain){ .present = true, .n = 5000, .p = big }, "a",
		10, 6000));
}

static void what_cannot_be_written_is_refused(void **state)
{
	struct store_file_op op = { .kind = STORE_FILE_WRITE,
				    .path = bytes_str("a"),
				    .data = bytes_str("x") };
	uint64_t found;
	uint8_t c;
	size_t n;

	assert_int_equal(store_rig_file(&rig, &op), ERR_NOT_FOUND);
	assert_int_equal(write_at("d/f", 0, bytes_str("x"), 0), OK);
	assert_int_equal(write_at("d", 0, bytes_str("x"), 0), ERR_IS_DIR);
	assert_int_equal(write_at("d/f/g", 0, bytes_str("x"), 0), ERR_NOT_DIR);
	assert_int_equal(write_at("d", 0, bytes_str("x"), STORE_FILE_POSIX),
			 ERR_IS_DIR);
	assert_int_equal(write_at("e/f", 0, bytes_str("x"), STORE_FILE_POSIX),
			 ERR_NOT_FOUND);
	assert_int_equal(punch("d", 0, 1), ERR_IS_DIR);
	assert_int_equal(
		store_file_read(rig.store, bytes_str("d"), 0, 0, &c, 1, &n),
		ERR_IS_DIR);
	assert_int_equal(
		store_file_read(rig.store, bytes_str(""), 0, 0, &c, 1, &n),
		ERR_IS_DIR);
	assert_int_equal(
		store_file_read(rig.store, bytes_str("d/f"), 99, 0, &c, 1, &n),
		ERR_STALE);
	assert_int_equal(store_file_seek(rig.store, bytes_str("d/f"), 0, 1,
					 true, &found),
			 ERR_NOT_FOUND);
	assert_int_equal(
		store_file_read(rig.store, bytes_str("d/"), 0, 0, &c, 1, &n),
		ERR_BAD_KEY);
}

static void a_write_makes_or_takes_what_it_says(void **state)
{
	struct store_file_op op = { .kind = STORE_FILE_WRITE,
				    .flags = STORE_FILE_MAKE,
				    .path = bytes_str("a"),
				    .new_ino = 77,
				    .mode = 0640,
				    .fields = STORE_HAS_MODE,
				    .data = bytes_str("one") };
	struct file_node n;

	assert_int_equal(store_rig_file(&rig, &op), OK);
	assert_int_equal(op.found_ino, 77);
	assert_int_equal(op.bytes, 3);
	op.flags |= STORE_FILE_APPEND;
	assert_int_equal(store_rig_file(&rig, &op), OK); /* whatever is there */
	assert_int_equal(op.found_ino, 77);
	assert_int_equal(op.found_off, 3);
	op.ino = 77;
	assert_int_equal(store_rig_file(&rig, &op), OK);
	assert_int_equal(op.bytes, 9);
	op.ino = 78;
	assert_int_equal(store_rig_file(&rig, &op), ERR_EXISTS);
	op.flags = 0;
	assert_int_equal(store_rig_file(&rig, &op), ERR_STALE);
	store_rig_expect(&rig, "a", "oneoneone");
	assert_int_equal(find("a", &n), OK);
	assert_int_equal(n.attrs.permissions, 0640);
	file_node_done(&n);
}

static void link_to(const char *name, const char *other)
{
	struct store_file_op op = { .kind = STORE_FILE_LINK,
				    .path = bytes_str(name),
				    .path2 = bytes_str(other) };

	assert_int_equal(store_rig_file(&rig, &op), OK);
}

/* Whichever name a change comes by, HTTP's too, all show it. */
static void a_file_of_several_names_is_one(void **state)
{
	static const char *const both[] = { "x", "y/z" };
	struct plain *f = &files[0];
	struct attempt a;
	struct file_node n;
	uint64_t ino;

	deletes_nothing = true;
	assert_int_equal(write_at("x", 0, bytes_str("first"), 0), OK);
	plain_write(f, 0, bytes_str("first"));
	link_to("x", "y/z");
	assert_int_equal(find("x", &n), OK);
	ino = n.ino;
	file_node_done(&n);
	for (int i = 0; i < 400; i++) {
		draw_change(f, both[draw(2)], &a);
		submit(&a);
		while (!a.done)
			assert_int_equal(store_rig_step(&rig), OK);
		assert_int_equal(a.got, OK);
		free(a.data);
		for (int k = 0; k < 2; k++) {
			assert_true(whole_is_same(f, both[k]));
			assert_true(range_is_same(f, both[k], draw(f->n + 1),
						  draw(100000)));
			assert_true(seeks_are_right(f, both[k]));
		}
		if (i % 50 == 0)
			store_rig_crash(&rig);
		if (i % 20 == 0)
			keep();
	}
	assert_int_equal(store_rig_del(&rig, "x", NULL), OK);
	assert_true(whole_is_same(f, "y/z"));
	assert_int_equal(find("y/z", &n), OK);
	assert_int_equal(n.ino, ino);
	file_node_done(&n);
	assert_int_equal(store_rig_del(&rig, "y/z", NULL), OK);
	assert_true(chunks_are_right());
}

/* ------------------------------------------------------- readers beside -- */

enum { ONE_WRITE = 200000 };

struct reader {
	pthread_t thread;
	atomic_bool stop;
	uint64_t reads, mixed, errors;
};

static bool is_uniform(const uint8_t *p, size_t n)
{
	return n < 2 || memcmp(p, p + 1, n - 1) == 0;
}

static void *read_all_the_time(void *arg)
{
	struct reader *r = arg;
	uint8_t *room = malloc(ONE_WRITE);

	while (!atomic_load(&r->stop)) {
		size_t n = 0;
		uint64_t off = r->reads * 4099 % ONE_WRITE;
		enum err err = store_file_read(rig.store, bytes_str("a"), 0,
					       off, room, ONE_WRITE, &n);
		struct store_value *v;
		struct bytes first, last;

		r->errors += err || n != ONE_WRITE - off;
		r->mixed += !err && !is_uniform(room, n);
		r->reads++;
		if (r->reads % 4)
			continue;
		err = store_get(rig.store, bytes_str("a"), &v);
		r->errors += err != OK;
		if (err)
			continue;
		err = store_value_read(v, 0, &first);
		if (!err) {
			uint8_t byte = first.p[0];

			r->mixed += !is_uniform(first.p, first.n);
			err = store_value_read(v, ONE_WRITE - 1, &last);
			r->mixed += !err && last.p[0] != byte;
		}
		r->errors += err != OK;
		store_value_done(v);
	}
	free(room);
	return NULL;
}

static void readers_see_one_revision(void **state)
{
	uint8_t *data = calloc(1, ONE_WRITE);
	enum err err = OK;

	for (int way = 0; way < 3; way++) {
		struct reader r = { .reads = 0 };

		if (way == 1) /* from now on with extents */
			assert_int_equal(
				write_at("a", 70000, bytes_of(data, 100), 0),
				OK);
		assert_int_equal(write_at("a", 0, bytes_of(data, ONE_WRITE), 0),
				 OK);
		atomic_init(&r.stop, false);
		assert_int_equal(
			pthread_create(&r.thread, NULL, read_all_the_time, &r),
			0);
		for (int i = 0; i < 300 && !err; i++) {
			memset(data, i, ONE_WRITE);
			err = write_at("a", 0, bytes_of(data, ONE_WRITE),
				       way == 2 ? STORE_FILE_TRUNCATE : 0);
			if (i % 20 == 0)
				keep();
		}
		atomic_store(&r.stop, true);
		pthread_join(r.thread, NULL);
		assert_int_equal(err, OK);
		assert_int_equal(r.mixed, 0);
		assert_int_equal(r.errors, 0);
		assert_true(r.reads > 0);
	}
	free(data);
}

static int tell_seed(void **state)
{
	if (seed_now)
		print_message("SEED=%llu\n", (unsigned long long)seed_now);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(files_are_as_the_array, tell_seed),
		TEST(small_appends_cost_a_frame_and_gather),
		TEST(writes_of_4k_cost_twice_their_bytes),
		TEST(a_chunk_that_gathers_too_much_is_written_anew),
		TEST(many_chunks_are_cut_and_punched),
		TEST(whole_chunks_go_by_few_records),
		TEST(a_hole_costs_nothing_and_ends_at_the_limit),
		TEST(small_files_stay_in_their_record),
		TEST(what_cannot_be_written_is_refused),
		TEST(a_write_makes_or_takes_what_it_says),
		TEST(a_file_of_several_names_is_one),
		TEST(readers_see_one_revision),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
