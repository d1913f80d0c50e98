/* tests/engine/test_hint.c - proves engine/hint.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/seed.h"
#include "engine/hint.h"
#include "engine/loc.h"
#include "engine/record.h"

struct place {
	char dir[32];
	char path[64];
};

static int make_place(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	strcpy(p->dir, "/tmp/raftcask-hint-XXXXXX");
	if (!mkdtemp(p->dir))
		return -1;
	snprintf(p->path, sizeof(p->path), "%s/f.hint", p->dir);
	*state = p;
	return 0;
}

static int remove_place(void **state)
{
	struct place *p = *state;

	unlink(p->path);
	rmdir(p->dir);
	free(p);
	return 0;
}

static const struct hint_file the_file = {
	.file_id = 5,
	.salt = 0x1122334455667788,
	.data_bytes = 4096,
	.last_sequence = 77,
};

static void add(struct run *run, const char *key, uint64_t index, uint64_t term,
		uint64_t expiry_ns, uint8_t type)
{
	struct run_item it = {
		.key = bytes_str(key),
		.version = version_pack(index, 2),
		.loc = loc_pack(5, index * 8, expiry_ns ? LOC_EXPIRES : 0),
		.term = term,
		.expiry_ns = expiry_ns,
		.value_bytes = 300,
		.disk_bytes = 368,
		.attr_bytes = 3,
		.type = type,
	};

	assert_int_equal(run_add(run, &it), OK);
}

static const struct hint_span the_span = { 3, 9, 4 };

/* Two partitions, the second without a key; added out of order. */
static void small_parts(struct hint_partition parts[2])
{
	for (int i = 0; i < 2; i++) {
		parts[i] = (struct hint_partition){
			.partition = 1 + i,
			.first_index = 3,
			.last_index = 9,
			.last_term = 4,
			.last_stamp_ns = 1000,
			.config_version = version_pack(5, 0),
			.config_loc = loc_pack(5, 512, 0),
			.kept_bytes = 400,
			.spans = &the_span,
			.span_count = 1,
		};
		assert_int_equal(run_new(&parts[i].run), OK);
	}
	add(parts[0].run, "bb", 4, 4, 0x55, RECORD_PUT);
	add(parts[0].run, "a", 3, 2, 0, RECORD_DELETE);
	add(parts[0].run, "", 9, 4, 0, RECORD_DELETE_PREFIX);
	for (int i = 0; i < 2; i++)
		run_sort(parts[i].run);
}

static void write_small(const struct place *p)
{
	struct hint_partition parts[2];

	small_parts(parts);
	assert_int_equal(hint_write(vfs_os(), p->path, &the_file, parts, 2),
			 OK);
	for (int i = 0; i < 2; i++)
		run_free(parts[i].run);
}

static void read_bytes(const struct place *p, struct buf *b)
{
	*b = BUF_INIT;
	assert_int_equal(vfs_read_all(vfs_os(), p->path, 1 << 20, b), OK);
}

static void what_was_written_is_loaded(void **state)
{
	const struct place *p = *state;
	const struct hint_partition *part;
	struct run_item it;
	struct hint *h;

	write_small(p);
	assert_int_equal(hint_load(vfs_os(), p->path, &the_file, &h), OK);
	assert_int_equal(hint_partition_count(h), 2);
	part = hint_partition(h, 0);
	assert_int_equal(part->partition, 1);
	assert_int_equal(part->first_index, 3);
	assert_int_equal(part->last_index, 9);
	assert_int_equal(part->last_term, 4);
	assert_int_equal(part->last_stamp_ns, 1000);
	assert_true(part->config_version == version_pack(5, 0));
	assert_true(part->config_loc == loc_pack(5, 512, 0));
	assert_int_equal(part->kept_bytes, 400);
	assert_int_equal(part->span_count, 1);
	assert_int_equal(part->spans[0].first, 3);
	assert_int_equal(part->spans[0].last, 9);
	assert_int_equal(part->spans[0].term, 4);
	assert_int_equal(run_count(part->run), 3);
	run_item(part->run, 0, &it);
	assert_int_equal(it.key.n, 0);
	assert_int_equal(it.type, RECORD_DELETE_PREFIX);
	assert_int_equal(it.term, 4);
	run_item(part->run, 1, &it);
	assert_true(bytes_equal(it.key, bytes_str("a")));
	assert_int_equal(it.term, 2);
	assert_int_equal(it.expiry_ns, 0);
	run_item(part->run, 2, &it);
	assert_true(bytes_equal(it.key, bytes_str("bb")));
	assert_int_equal(it.expiry_ns, 0x55);
	assert_int_equal(it.value_bytes, 300);
	assert_int_equal(it.disk_bytes, 368);
	assert_int_equal(run_count(hint_partition(h, 1)->run), 0);
	hint_free(h);
}

/* clang-format off */
static const uint8_t golden[] = {
	/* header */
	0x19, 0xed, 0x71, 0xae, 'R', 'C', 'H', 'T', 1, 0, 0, 0, 1, 0, 0, 0,
	5, 0, 0, 0, 0, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
	0, 16, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0,
	56, 1, 0, 0, 0, 0, 0, 0, 0x0e, 0x6f, 0xb8, 0x97, 0, 0, 0, 0,
	/* partition 1: entries 3..9, last term 4, stamp 1000 */
	1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0,
	9, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0,
	0xe8, 3, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0,
	0, 0, 2, 0, 0, 5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0,
	3, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0,
	0x90, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
	/* span: entries 3..9 of term 4 */
	3, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0,
	4, 0, 0, 0, 0, 0, 0, 0,
	/* item "": version (9, 2), offset 72, pool 0, 300 bytes, prefix */
	2, 0, 9, 0, 0, 0, 0, 0, 0, 0x48, 0, 0, 0, 5, 0, 0,
	0, 0, 0, 0, 0x2c, 1, 0, 0, 0x03, 0x60, 0, 0, 0, 0xb8, 0, 0,
	/* item "a": version (3, 2), offset 24, pool 1, own term, delete */
	2, 0, 3, 0, 0, 0, 0, 0, 0, 0x18, 0, 0, 0, 5, 0, 0,
	1, 0, 0, 0, 0x2c, 1, 0, 0, 0x12, 0x60, 0, 0x20, 0, 0xb8, 0, 0,
	/* item "bb": version (4, 2), offset 32, pool 10, expiry, put */
	2, 0, 4, 0, 0, 0, 0, 0, 2, 0x20, 0, 0, 0, 5, 0, 0,
	10, 0, 0, 0, 0x2c, 1, 0, 0, 0x09, 0x60, 0, 0x40, 0, 0xb8, 0, 0,
	/* pool: one byte, "a" and term 2, "bb" and expiry; zeros */
	0, 'a', 2, 0, 0, 0, 0, 0, 0, 0, 'b', 'b', 0x55, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
};
/* clang-format on */

static void golden_bytes(void **state)
{
	const struct place *p = *state;
	struct hint_partition parts[2];
	struct buf b;

	small_parts(parts);
	assert_int_equal(hint_write(vfs_os(), p->path, &the_file, parts, 1),
			 OK);
	for (int i = 0; i < 2; i++)
		run_free(parts[i].run);
	read_bytes(p, &b);
	assert_int_equal(b.n, sizeof(golden));
	for (size_t i = 0; i < b.n; i++)
		if (b.p[i] != golden[i])
			fail_msg("byte %zu is %02x, not %02x", i, b.p[i],
				 golden[i]);
	buf_done(&b);
}

static enum err decode(const struct buf *b, size_t n)
{
	struct hint *h = NULL;
	struct buf copy = BUF_INIT;
	enum err err;

	assert_int_equal(buf_add(&copy, b->p, n), OK);
	err = hint_decode(&copy, &the_file, &h);
	if (!err)
		assert_null(copy.p);
	buf_done(&copy);
	hint_free(h);
	return err;
}

static void every_flipped_bit_and_every_cut_is_found(void **state)
{
	const struct place *p = *state;
	struct buf b;

	write_small(p);
	read_bytes(p, &b);
	assert_int_equal(decode(&b, b.n), OK);
	for (size_t i = 0; i < b.n; i++) {
		for (int bit = 0; bit < 8; bit++) {
			b.p[i] ^= 1 << bit;
			assert_int_equal(decode(&b, b.n), ERR_CORRUPT);
			b.p[i] ^= 1 << bit;
		}
		assert_int_equal(decode(&b, i), ERR_CORRUPT);
	}
	buf_done(&b);
}

/* Both checksums anew. */
static void reseal(struct buf *b)
{
	uint64_t table_bytes = 96ull * get_u32(b->p + 12);

	if (table_bytes <= b->n - 64)
		put_u32(b->p + 56, crc32c(crc32c(0, b->p + 4, 52), b->p + 64,
					  table_bytes));
	put_u32(b->p, crc32c(0, b->p + 4, b->n - 4));
}

/* A right checksum over wrong bytes: the pass over the items is the guard. */
static void wrong_bytes_with_a_right_checksum_do_no_harm(void **state)
{
	const struct place *p = *state;
	struct seed s;
	struct buf b;

	write_small(p);
	read_bytes(p, &b);
	seed_init(&s, 1);
	for (size_t i = 4; i < b.n; i++) {
		uint8_t old = b.p[i];
		enum err err;

		for (int turn = 0; turn < 8; turn++) {
			b.p[i] = seed_next(&s);
			reseal(&b);
			err = decode(&b, b.n);
			assert_true(err == OK || err == ERR_CORRUPT ||
				    err == ERR_VERSION);
		}
		b.p[i] = old;
	}
	buf_done(&b);
}

static void items_out_of_order_are_refused(void **state)
{
	const struct place *p = *state;
	struct hint_partition parts[2];
	struct buf b;
	uint8_t *items;

	small_parts(parts);
	run_free(parts[0].run);
	assert_int_equal(run_new(&parts[0].run), OK);
	add(parts[0].run, "a", 3, 4, 0, RECORD_PUT);
	add(parts[0].run, "a", 2, 4, 0, RECORD_PUT);
	run_sort(parts[0].run);
	assert_int_equal(hint_write(vfs_os(), p->path, &the_file, parts, 1),
			 OK);
	for (int i = 0; i < 2; i++)
		run_free(parts[i].run);
	read_bytes(p, &b);
	items = b.p + 64 + 96 + 24;
	put_u64(items + 32, version_pack(3, 2)); /* twice the same version */
	reseal(&b);
	assert_int_equal(decode(&b, b.n), ERR_CORRUPT);
	buf_done(&b);
}

static void a_newer_format_is_named_so(void **state)
{
	const struct place *p = *state;
	struct buf b;

	write_small(p);
	read_bytes(p, &b);
	put_u32(b.p + 8, HINT_FORMAT_VERSION + 1);
	reseal(&b);
	assert_int_equal(decode(&b, b.n), ERR_VERSION);
	buf_done(&b);
}

static void the_hint_of_another_file_is_refused(void **state)
{
	const struct place *p = *state;
	struct hint_file other[4] = { the_file, the_file, the_file, the_file };
	struct hint *h;

	write_small(p);
	other[0].file_id++;
	other[1].salt++;
	other[2].data_bytes += 8;
	other[3].last_sequence++;
	for (int i = 0; i < 4; i++)
		assert_int_equal(hint_load(vfs_os(), p->path, &other[i], &h),
				 ERR_CORRUPT);
	unlink(p->path);
	assert_int_equal(hint_load(vfs_os(), p->path, &the_file, &h),
			 ERR_NOT_FOUND);
}

static void a_hint_larger_than_the_write_buffer_is_whole(void **state)
{
	enum { COUNT = 30000 };
	const struct place *p = *state;
	struct hint_partition part = { .partition = 0 };
	struct run_item a, z;
	struct hint *h;
	struct seed s;

	seed_init(&s, 3);
	assert_int_equal(run_new(&part.run), OK);
	for (uint32_t i = 0; i < COUNT; i++) {
		char key[64];

		snprintf(key, sizeof(key), "%0*llu",
			 (int)(1 + seed_below(&s, 40)),
			 (unsigned long long)seed_next(&s));
		add(part.run, key, i + 1, 1 + seed_below(&s, 2),
		    seed_below(&s, 2), RECORD_PUT);
	}
	run_sort(part.run);
	assert_int_equal(hint_write(vfs_os(), p->path, &the_file, &part, 1),
			 OK);
	assert_int_equal(hint_load(vfs_os(), p->path, &the_file, &h), OK);
	assert_int_equal(run_count(hint_partition(h, 0)->run),
			 run_count(part.run));
	for (uint64_t i = 0; i < run_count(part.run); i++) {
		run_item(part.run, i, &a);
		run_item(hint_partition(h, 0)->run, i, &z);
		assert_true(bytes_equal(a.key, z.key));
		assert_true(a.version == z.version && a.term == z.term);
		assert_true(a.expiry_ns == z.expiry_ns && a.loc == z.loc);
	}
	hint_free(h);
	run_free(part.run);
}

static void the_table_can_be_read_alone(void **state)
{
	const struct place *p = *state;
	struct hint_file ask = the_file, found;
	struct hint_partition *parts;
	uint32_t count;

	write_small(p);
	ask.data_bytes = ask.last_sequence = 0;
	assert_int_equal(hint_load_table(vfs_os(), p->path, &ask, &found,
					 &parts, &count),
			 OK);
	assert_int_equal(count, 2);
	assert_int_equal(found.data_bytes, 4096);
	assert_int_equal(found.last_sequence, 77);
	assert_int_equal(parts[1].partition, 2);
	assert_int_equal(parts[1].last_index, 9);
	assert_null(parts[1].run);
	free(parts);
	ask.salt++;
	assert_int_equal(hint_load_table(vfs_os(), p->path, &ask, &found,
					 &parts, &count),
			 ERR_CORRUPT);
	assert_int_equal(truncate(p->path, 100), 0);
	assert_int_equal(hint_load_table(vfs_os(), p->path, &the_file, &found,
					 &parts, &count),
			 ERR_CORRUPT);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make_place, remove_place)
	const struct CMUnitTest tests[] = {
		T(what_was_written_is_loaded),
		T(golden_bytes),
		T(every_flipped_bit_and_every_cut_is_found),
		T(wrong_bytes_with_a_right_checksum_do_no_harm),
		T(items_out_of_order_are_refused),
		T(a_newer_format_is_named_so),
		T(the_table_can_be_read_alone),
		T(the_hint_of_another_file_is_refused),
		T(a_hint_larger_than_the_write_buffer_is_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
