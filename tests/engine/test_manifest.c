/* tests/engine/test_manifest.c - proves engine/manifest.c. */
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
#include "engine/manifest.h"

/* Everything that can be in a manifest, each field with another number. */
static void fill(struct manifest *m)
{
	assert_int_equal(manifest_init(m, 2), OK);
	for (int i = 0; i < 16; i++)
		m->cluster_id[i] = 0xc0 + i;
	m->node_id = 0x0102030405060708;
	m->next_file_id = 9;
	m->log = calloc(2, sizeof(*m->log));
	m->log_count = 2;
	m->log[0] = (struct manifest_file){ 3, 0x33, 1 << 20, 0, 0 };
	m->log[1] = (struct manifest_file){ 4, 0x44, 1 << 20, 0, 0 };
	m->losses = calloc(1, sizeof(*m->losses));
	m->loss_count = 1;
	m->losses[0] = (struct manifest_loss){ 3, 512, 1024 };
	m->log_floor_sequence = 21;
	m->partitions[0] =
		(struct manifest_partition){ 10, 11, 12, 13, 14, NULL, 0 };
	m->partitions[1] =
		(struct manifest_partition){ 20, 21, 22, 23, 24, NULL, 1 };
	m->partitions[1].merged = calloc(1, sizeof(struct manifest_file));
	m->partitions[1].merged[0] =
		(struct manifest_file){ 7, 0x77, 4096, 1, 20 };
	assert_int_equal(buf_add(&m->extra, "node", 4), OK);
}

/* clang-format off */
static const uint8_t golden[] = {
	0x77, 0x5e, 0x88, 0xd8, 'R', 'C', 'M', 'F', 1, 0, 0, 0, 0, 0, 0, 0,
	0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7,
	0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf,
	8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 2, 0, 0, 0,
	2, 0, 0, 0, 1, 0, 0, 0, 21, 0, 0, 0, 0, 0, 0, 0,
	4, 0, 0, 0, 0, 0, 0, 0, 68, 1, 0, 0, 0, 0, 0, 0,
	/* log segment 3 */
	3, 0, 0, 0, 0, 0, 0, 0, 0x33, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0,
	/* log segment 4 */
	4, 0, 0, 0, 0, 0, 0, 0, 0x44, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0,
	/* loss */
	3, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0,
	0, 4, 0, 0, 0, 0, 0, 0,
	/* partition 0 */
	10, 0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0,
	12, 0, 0, 0, 0, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0,
	14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	/* partition 1 and its merged file */
	20, 0, 0, 0, 0, 0, 0, 0, 21, 0, 0, 0, 0, 0, 0, 0,
	22, 0, 0, 0, 0, 0, 0, 0, 23, 0, 0, 0, 0, 0, 0, 0,
	24, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
	7, 0, 0, 0, 0, 0, 0, 0, 0x77, 0, 0, 0, 0, 0, 0, 0,
	0, 0x10, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
	20, 0, 0, 0, 0, 0, 0, 0,
	'n', 'o', 'd', 'e',
};
/* clang-format on */

static void golden_bytes(void **state)
{
	struct manifest m;
	struct buf b = BUF_INIT;

	fill(&m);
	assert_int_equal(manifest_encode(&m, &b), OK);
	assert_int_equal(b.n, sizeof(golden));
	for (size_t i = 0; i < b.n; i++)
		if (b.p[i] != golden[i])
			fail_msg("byte %zu is %02x, not %02x", i, b.p[i],
				 golden[i]);
	buf_done(&b);
	manifest_done(&m);
}

static void assert_same(const struct manifest *a, const struct manifest *b)
{
	struct buf x = BUF_INIT, y = BUF_INIT;

	assert_int_equal(manifest_encode(a, &x), OK);
	assert_int_equal(manifest_encode(b, &y), OK);
	assert_true(bytes_equal(buf_bytes(&x), buf_bytes(&y)));
	buf_done(&x);
	buf_done(&y);
}

static void every_field_comes_back(void **state)
{
	struct manifest m;

	assert_int_equal(manifest_decode(bytes_of(golden, sizeof(golden)), &m),
			 OK);
	assert_int_equal(m.cluster_id[15], 0xcf);
	assert_true(m.node_id == 0x0102030405060708);
	assert_int_equal(m.next_file_id, 9);
	assert_int_equal(m.log_count, 2);
	assert_int_equal(m.log[1].id, 4);
	assert_int_equal(m.log[1].salt, 0x44);
	assert_int_equal(m.losses[0].off, 512);
	assert_int_equal(m.losses[0].bytes, 1024);
	assert_int_equal(m.log_floor_sequence, 21);
	assert_int_equal(m.partitions[0].base_index, 10);
	assert_int_equal(m.partitions[0].base_term, 11);
	assert_int_equal(m.partitions[0].reset_sequence, 12);
	assert_int_equal(m.partitions[0].exact_index, 13);
	assert_int_equal(m.partitions[0].last_stamp_ns, 14);
	assert_int_equal(m.partitions[1].merged[0].id, 7);
	assert_int_equal(m.partitions[1].merged[0].bytes, 4096);
	assert_int_equal(m.partitions[1].merged[0].min_index, 1);
	assert_int_equal(m.partitions[1].merged[0].max_index, 20);
	assert_true(bytes_equal(buf_bytes(&m.extra), bytes_str("node")));
	manifest_done(&m);
}

static void a_copy_is_deep(void **state)
{
	struct manifest m, c;

	fill(&m);
	assert_int_equal(manifest_copy(&m, &c), OK);
	assert_same(&m, &c);
	m.log[0].id = 99;
	m.partitions[1].merged[0].id = 99;
	m.losses[0].off = 99;
	m.extra.p[0] = 'x';
	manifest_done(&m);
	fill(&m);
	assert_same(&m, &c);
	manifest_done(&m);
	manifest_done(&c);
}

static void every_flipped_bit_and_every_cut_is_found(void **state)
{
	uint8_t b[sizeof(golden)];
	struct manifest m;

	memcpy(b, golden, sizeof(b));
	for (size_t i = 0; i < sizeof(b); i++) {
		for (int bit = 0; bit < 8; bit++) {
			b[i] ^= 1 << bit;
			assert_int_equal(
				manifest_decode(bytes_of(b, sizeof(b)), &m),
				ERR_CORRUPT);
			b[i] ^= 1 << bit;
		}
		assert_int_equal(manifest_decode(bytes_of(b, i), &m),
				 ERR_CORRUPT);
	}
}

static void wrong_bytes_with_a_right_checksum_do_no_harm(void **state)
{
	uint8_t b[sizeof(golden)];
	struct manifest m;
	struct seed s;

	seed_init(&s, 1);
	memcpy(b, golden, sizeof(b));
	for (size_t i = 4; i < sizeof(b); i++) {
		for (int turn = 0; turn < 8; turn++) {
			enum err err;

			b[i] = seed_next(&s);
			put_u32(b, crc32c(0, b + 4, sizeof(b) - 4));
			err = manifest_decode(bytes_of(b, sizeof(b)), &m);
			assert_true(err == OK || err == ERR_CORRUPT ||
				    err == ERR_VERSION);
			if (!err)
				manifest_done(&m);
		}
		b[i] = golden[i];
	}
}

static void a_newer_format_is_refused_as_such(void **state)
{
	uint8_t b[sizeof(golden)];
	struct manifest m;

	memcpy(b, golden, sizeof(b));
	put_u32(b + 8, MANIFEST_FORMAT_VERSION + 1);
	put_u32(b, crc32c(0, b + 4, sizeof(b) - 4));
	assert_int_equal(manifest_decode(bytes_of(b, sizeof(b)), &m),
			 ERR_VERSION);
}

static void what_is_stored_is_loaded(void **state)
{
	char dir[] = "/tmp/raftcask-manifest-XXXXXX", path[64];
	struct manifest m, got;

	assert_non_null(mkdtemp(dir));
	assert_int_equal(manifest_load(vfs_os(), dir, &got), ERR_NOT_FOUND);
	fill(&m);
	assert_int_equal(manifest_store(vfs_os(), dir, &m), OK);
	assert_int_equal(manifest_load(vfs_os(), dir, &got), OK);
	assert_same(&m, &got);
	manifest_done(&m);
	manifest_done(&got);
	snprintf(path, sizeof(path), "%s/MANIFEST", dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_bytes),
		cmocka_unit_test(every_field_comes_back),
		cmocka_unit_test(a_copy_is_deep),
		cmocka_unit_test(every_flipped_bit_and_every_cut_is_found),
		cmocka_unit_test(wrong_bytes_with_a_right_checksum_do_no_harm),
		cmocka_unit_test(a_newer_format_is_refused_as_such),
		cmocka_unit_test(what_is_stored_is_loaded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
