/*
 * tests/store/test_model.c - the store against a plain model in memory.
 *
 * Random puts, deletes, conditions, transactions, prefix deletions, uploads,
 * time, restarts and power losses; after each the store must hold exactly what
 * the model holds. A write during which the power fails may or may not have
 * happened; nothing else may differ.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "tests/lib/store_rig.h"

enum { KEYS = 40, STEPS = 150, SEEDS = 12, BIG = 200000 };

struct cell {
	bool present;
	uint8_t fill;
	uint32_t bytes;
	uint64_t expiry_ms; /* of the model's clock; 0: never */
};

struct model {
	struct cell cells[KEYS];
	uint64_t now_ms;
};

static struct store_rig rig;
static struct model model;
static struct seed chance;
static uint64_t seed_now;
static char names[KEYS][24];
static uint8_t big[BIG];

/* Two letters deep in several shapes, so that the tree rules come up. */
static void name_keys(void)
{
	static const char *const shapes[] = { "%c", "%c/x", "%c/y/z", "%c/",
					      "%cb" };

	for (int i = 0; i < KEYS; i++)
		snprintf(names[i], sizeof(names[i]), shapes[i % 5],
			 'a' + i / 5);
}

static uint64_t draw(uint64_t below)
{
	return seed_below(&chance, below);
}

static bool under(const char *key, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(key, dir, n) == 0 && key[n] == '/';
}

static bool is_dir(const char *key)
{
	return key[strlen(key) - 1] == '/';
}

static enum err model_put(struct model *m, int k, struct cell value)
{
	for (int i = 0; i < KEYS && !m->cells[k].present; i++) {
		if (!m->cells[i].present)
			continue;
		if (under(names[k], names[i]) && !is_dir(names[i]))
			return ERR_NOT_DIR;
	}
	for (int i = 0; i < KEYS && !m->cells[k].present; i++) {
		if (m->cells[i].present && !is_dir(names[k]) &&
		    under(names[i], names[k]))
			return ERR_IS_DIR;
	}
	m->cells[k] = value;
	m->cells[k].present = true;
	return OK;
}

static enum err model_del(struct model *m, int k)
{
	size_t n = strlen(names[k]);

	for (int i = 0; i < KEYS; i++) {
		if (!m->cells[i].present || i == k)
			continue;
		if (is_dir(names[k]) && strncmp(names[i], names[k], n) == 0)
			return ERR_NOT_EMPTY;
		if (!m->cells[k].present && !is_dir(names[k]) &&
		    under(names[i], names[k]))
			return ERR_IS_DIR;
	}
	m->cells[k].present = false;
	return OK;
}

static uint64_t model_del_prefix(struct model *m, const char *prefix)
{
	uint64_t deleted = 0;

	for (int i = 0; i < KEYS; i++) {
		if (!m->cells[i].present ||
		    strncmp(names[i], prefix, strlen(prefix)) != 0)
			continue;
		m->cells[i].present = false;
		deleted++;
	}
	return deleted;
}

static void model_expire(struct model *m)
{
	for (int i = 0; i < KEYS; i++) {
		struct cell *c = &m->cells[i];

		if (c->present && c->expiry_ms && c->expiry_ms <= m->now_ms)
			c->present = false;
	}
}

/* ---------------------------------------------------------------- checks - */

static bool holds(const struct cell *c, int k)
{
	struct buf b = BUF_INIT;
	enum err err = store_rig_read(&rig, bytes_str(names[k]), &b);
	bool same;

	same = c->present ? err == OK && b.n == c->bytes : err == ERR_NOT_FOUND;
	for (size_t i = 0; same && i < b.n; i++)
		same = b.p[i] == c->fill;
	buf_done(&b);
	return same;
}

static bool is_as(const struct model *m)
{
	for (int k = 0; k < KEYS; k++) {
		if (!holds(&m->cells[k], k))
			return false;
	}
	return true;
}

static int order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void check_list(void)
{
	struct store_list l = { .limit = 1 + (uint32_t)draw(9),
				.reverse = draw(2) };
	const char *sorted[KEYS];
	struct buf want = BUF_INIT, got = BUF_INIT;
	uint64_t keys = 0;
	int n = 0;

	for (int i = 0; i < KEYS; i++) {
		if (model.cells[i].present)
			sorted[n++] = names[i];
	}
	qsort(sorted, (size_t)n, sizeof(*sorted), order);
	for (int i = 0; i < n; i++)
		assert_int_equal(buf_addf(&want, "%s ",
					  sorted[l.reverse ? n - 1 - i : i]),
				 OK);
	store_rig_list(&rig, &l, &got);
	if (!bytes_equal(buf_bytes(&want), buf_bytes(&got)))
		fail_msg("listed %.*s, not %.*s", (int)got.n, got.p,
			 (int)want.n, want.p);
	buf_done(&want);
	buf_done(&got);
	for (uint32_t p = 0; p < rig.partitions; p++) {
		struct store_partition_status status;

		store_partition_status(rig.store, p, &status);
		keys += status.keys;
	}
	assert_int_equal(keys, n);
}

/* -------------------------------------------------------------- backups -- */

/* The newest that a backup said of each key, and of the prefixes of all. */
struct restored {
	uint64_t version, bytes;
	bool present;
};

static void replay(struct restored *keys, const struct record *r)
{
	uint64_t version = version_pack(r->index, r->position);

	for (int k = 0; k < KEYS; k++) {
		struct bytes key = bytes_str(names[k]);
		bool hit = r->type == RECORD_DELETE_PREFIX
				   ? bytes_begins(key, r->key)
				   : bytes_equal(key, r->key);

		if (!hit || keys[k].version >= version ||
		    store_partition_of(rig.store, key) != r->partition)
			continue;
		keys[k].version = version;
		keys[k].present = r->type == RECORD_PUT;
		keys[k].bytes = r->flags & LOC_CONTENT ? get_u64(r->value.p + 8)
						       : r->value.n;
	}
}

/* The records of a whole stream, every checksum looked at. */
static void join_blocks(const struct buf *stream, struct buf *records)
{
	size_t off = 48 + 16 * (size_t)rig.partitions;
	uint32_t crc = crc32c(0, stream->p + 4, off - 4);

	assert_int_equal(crc, get_u32(stream->p));
	for (;;) {
		uint32_t n = get_u32(stream->p + off);

		crc = crc32c(crc, stream->p + off + 8, n ? n : 8);
		assert_int_equal(crc, get_u32(stream->p + off + 4));
		if (n == 0)
			break;
		assert_int_equal(buf_add(records, stream->p + off + 8, n), OK);
		off += 8 + n;
		assert_true(off + 16 <= stream->n);
	}
	assert_int_equal(off + 16, stream->n);
}

static void read_backup(struct buf *stream)
{
	struct store_backup *b;
	uint8_t *room = malloc(64 << 10);
	size_t n = 1;

	assert_int_equal(store_backup_open(rig.store, &b), OK);
	while (n > 0) {
		assert_int_equal(store_backup_read(b, room, 64 << 10, &n), OK);
		assert_int_equal(buf_add(stream, room, n), OK);
	}
	store_backup_done(b);
	free(room);
}

static void check_backup(void)
{
	struct restored keys[KEYS] = { 0 };
	struct buf stream = BUF_INIT, records = BUF_INIT;

	read_backup(&stream);
	join_blocks(&stream, &records);
	for (size_t off = 0; off < records.n;) {
		struct record r;
		uint64_t bytes;

		assert_int_equal(record_decode(records.p + off, records.n - off,
					       get_u32(stream.p), true, &r,
					       &bytes),
				 RECORD_OK);
		replay(keys, &r);
		off += bytes;
	}
	for (int k = 0; k < KEYS; k++) {
		assert_int_equal(keys[k].present, model.cells[k].present);
		if (keys[k].present)
			assert_int_equal(keys[k].bytes, model.cells[k].bytes);
	}
	buf_done(&stream);
	buf_done(&records);
}

/* ------------------------------------------------------------ operations - */

static struct cell draw_cell(int k)
{
	struct cell c = { .fill = (uint8_t)draw(256) };

	if (is_dir(names[k]))
		return c;
	c.bytes = draw(10) == 0 ? (uint32_t)draw(BIG) : (uint32_t)draw(200);
	return c;
}

static struct bytes bytes_of_cell(const struct cell *c)
{
	memset(big, c->fill, c->bytes);
	return bytes_of(big, c->bytes);
}

static void do_put(struct model *next, enum err *want, enum err *got)
{
	int k = (int)draw(KEYS);
	struct cell c = draw_cell(k);
	uint64_t ttl_ms = draw(4) == 0 ? 1000 + draw(100000) : 0;
	struct bytes value = bytes_of_cell(&c);

	if (draw(5) == 0) {
		*want = model_put(next, k, c);
		*got = store_rig_upload(&rig, bytes_str(names[k]), value,
					1 + draw(100000) + c.bytes / 50, NULL);
		return;
	}
	/* An empty value looks like the one before it: after a power loss
	 * inside this put nobody could say which of the two is there. */
	if (c.bytes == 0)
		ttl_ms = 0;
	if (ttl_ms)
		c.expiry_ms = next->now_ms + ttl_ms;
	*want = model_put(next, k, c);
	*got = store_rig_put_bytes(&rig, bytes_str(names[k]), value,
				   ttl_ms * 1000000, NULL);
}

static void do_del(struct model *next, enum err *want, enum err *got)
{
	int k = (int)draw(KEYS);

	*want = model_del(next, k);
	*got = store_rig_del(&rig, names[k], NULL);
}

static void do_del_prefix(struct model *next, enum err *want, enum err *got)
{
	static const char *const prefixes[] = { "a",  "b/", "c/y", "",
						"d/", "e",  "f/x" };
	const char *prefix = prefixes[draw(7)];
	uint64_t deleted = 0, expected = model_del_prefix(next, prefix);

	*want = OK;
	*got = store_rig_del_prefix(&rig, prefix, &deleted);
	if (!*got)
		assert_int_equal(deleted, expected);
}

/* Up to five different keys below one letter, with a condition. */
static void do_txn(struct model *next, enum err *want, enum err *got)
{
	struct store_op ops[5];
	static uint8_t values[5][200];
	int letter = (int)draw(KEYS / 5), first = (int)draw(5);
	int if_key = letter * 5 + (int)draw(4), count = 1 + (int)draw(4);
	struct store_condition c = { .kind = draw(2) ? STORE_IF_ABSENT
						     : STORE_IF_EXISTS,
				     .key = bytes_str(names[if_key]) };
	struct store_write w = { .is_txn = draw(2),
				 .conditions = &c,
				 .condition_count = 1,
				 .then_ops = ops };
	struct model tried = *next;

	*want = OK;
	for (int i = 0; i < count; i++) {
		int k = letter * 5 + (first + i) % 5;
		struct cell cell = { .fill = (uint8_t)draw(256) };
		enum err err;

		if (k % 5 == 4) /* the one in another partition */
			continue;
		cell.bytes = is_dir(names[k]) ? 0 : (uint32_t)draw(200);
		memset(values[w.then_count], cell.fill, cell.bytes);
		ops[w.then_count] = (struct store_op){
			.kind = draw(3) ? STORE_PUT : STORE_DELETE,
			.key = bytes_str(names[k]),
			.value = bytes_of(values[w.then_count], cell.bytes),
		};
		if (ops[w.then_count].kind == STORE_PUT)
			err = model_put(&tried, k, cell);
		else
			err = model_del(&tried, k);
		if (err && !*want)
			*want = err;
		w.then_count++;
	}
	if (next->cells[if_key].present != (c.kind == STORE_IF_EXISTS))
		*want = w.is_txn ? OK : ERR_PRECONDITION;
	else if (!*want)
		*next = tried;
	*got = store_rig_write(&rig, &w);
}

static void do_one(struct model *next, enum err *want, enum err *got)
{
	switch (draw(8)) {
	case 0:
		do_del_prefix(next, want, got);
		break;
	case 1:
	case 2:
		do_del(next, want, got);
		break;
	case 3:
	case 4:
		do_txn(next, want, got);
		break;
	default:
		do_put(next, want, got);
	}
}

static uint64_t boot_ms(void)
{
	return rig.clock.boot / 1000000;
}

static void pass_time(void)
{
	store_rig_pass(&rig, draw(40000));
	for (int i = 0; i < 3; i++)
		assert_int_equal(store_rig_step(&rig), OK);
	model.now_ms = boot_ms();
	model_expire(&model);
}

/* Milliseconds that key k has left by the store's own word. */
static uint64_t ttl_left_ms(int k)
{
	struct store_value *v;
	uint64_t left_ms;

	assert_int_equal(store_get(rig.store, bytes_str(names[k]), &v), OK);
	assert_true(store_value_info(v)->has_ttl);
	left_ms = store_value_info(v)->ttl_ns / 1000000;
	store_value_done(v);
	return left_ms;
}

/*
 * The log clock stood still from its last stamp to the start: a key may have
 * more left than before, never less.
 */
static void ask_ttls_again(void)
{
	model.now_ms = boot_ms();
	for (int k = 0; k < KEYS; k++) {
		struct cell *c = &model.cells[k];
		uint64_t left_ms;

		if (!c->present || !c->expiry_ms)
			continue;
		left_ms = ttl_left_ms(k);
		assert_true(left_ms + 2 >= c->expiry_ms - model.now_ms);
		c->expiry_ms = model.now_ms + left_ms;
	}
}

/* Nothing may be due just while an operation runs: its clock ticks. */
static void avoid_the_moment(void)
{
	for (int k = 0; k < KEYS; k++) {
		struct cell *c = &model.cells[k];

		model.now_ms = boot_ms();
		if (!c->present || !c->expiry_ms ||
		    c->expiry_ms > model.now_ms + 500)
			continue;
		c->expiry_ms = 0;
		assert_int_equal(store_rig_put_bytes(&rig, bytes_str(names[k]),
						     bytes_of_cell(c), 0, NULL),
				 OK);
	}
	model.now_ms = boot_ms();
}

static void restart(void)
{
	switch (draw(3)) {
	case 0:
		store_rig_stop(&rig);
		store_rig_start(&rig);
		break;
	default:
		store_rig_crash(&rig);
	}
	assert_true(is_as(&model));
	ask_ttls_again();
}

/* Some background work: segments made ready, hints, merges. */
static void keep(void)
{
	uint64_t wait_ms = 0;

	if (draw(2))
		engine_merge_request(rig.engine);
	for (uint64_t i = draw(40); i > 0; i--)
		assert_int_equal(engine_keep(rig.engine, &wait_ms), OK);
	assert_true(is_as(&model));
}

/* The power fails during a write. */
static void crash_inside(void)
{
	struct model next = model;
	enum err want = OK, got = OK;

	vfs_sim_power_off(rig.disk, VFS_SIM_CHANGES, 1 + draw(4), draw(2));
	do_one(&next, &want, &got);
	store_rig_crash(&rig);
	if (got == OK && want == OK) {
		assert_true(is_as(&next));
		model = next;
	} else if (got == want && want != OK) {
		assert_true(is_as(&model));
	} else if (want == OK && is_as(&next)) {
		model = next;
	} else {
		assert_true(is_as(&model));
	}
	ask_ttls_again();
}

static void run_seed(uint32_t partitions)
{
	seed_init(&chance, seed_now);
	model = (struct model){ 0 };
	store_rig_init(&rig, seed_now, partitions);
	store_rig_stop(&rig);
	rig.segment_bytes = 1 << 20;
	rig.read_mode = seed_now % 2 ? ENGINE_READ_PREAD : ENGINE_READ_MMAP;
	store_rig_start(&rig);
	model.now_ms = boot_ms();
	for (int i = 0; i < STEPS; i++) {
		struct model next = model;
		enum err want = OK, got = OK;

		avoid_the_moment();
		next = model;
		do_one(&next, &want, &got);
		assert_int_equal(got, want);
		if (!want)
			model = next;
		switch (draw(20)) {
		case 0:
			restart();
			break;
		case 1:
			avoid_the_moment();
			crash_inside();
			break;
		case 2:
		case 3:
			pass_time();
			break;
		case 4:
			check_list();
			check_backup();
			break;
		case 5:
		case 6:
		case 7:
			keep();
		}
	}
	assert_true(is_as(&model));
	check_list();
	check_backup();
	store_rig_done(&rig);
}

static void the_store_is_as_the_model(void **state)
{
	const char *text = getenv("SEED");
	uint64_t first = text ? strtoull(text, NULL, 10) : 1;
	uint64_t last = text ? first : SEEDS;

	name_keys();
	for (seed_now = first; seed_now <= last; seed_now++) {
		run_seed(1);
		run_seed(4);
	}
	seed_now = 0;
}

static int tell_seed(void **state)
{
	if (seed_now)
		print_message("SEED=%llu\n", (unsigned long long)seed_now);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(the_store_is_as_the_model, tell_seed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
