/*
 * tests/engine/test_record.c - records and frame headers: the bytes that are
 * promised, and what decoding says of damaged ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/seed.h"
#include "base/vfs_sim.h"
#include "engine/datafile.h"
#include "engine/frame.h"
#include "engine/record.h"

enum { SEED = 0x12345678 };

/* Computed from the drawings by another program. */
#define GOLDEN_RECORD                                                          \
	"103b08238758d8b743520182030001004d000000000000000500000000000000"     \
	"e803000000000000d007000000000000b80b0000000000000300020005000000"     \
	"6b6579617476616c7565000000000000"
#define GOLDEN_FRAME                                                           \
	"378899ae5246524d090000000000000007000000000000000004000000000000"     \
	"5000000000000000010000000200000000000000000000000000000000000000"
/* The same with RECORD_AGAIN, and with FRAME_HEALED. */
#define GOLDEN_AGAIN                                                           \
	"8d42cffe16611236435201c2030001004d000000000000000500000000000000"     \
	"e803000000000000d007000000000000b80b0000000000000300020005000000"     \
	"6b6579617476616c7565000000000000"
#define GOLDEN_HEALED                                                          \
	"c35696735246524d090000000000000007000000000000000004000000000000"     \
	"5000000000000000010000000600000000000000000000000000000000000000"
#define GOLDEN_HEADER                                                          \
	"cb1ee23f5243534b010001001f00000030313233343536373839616263646566"     \
	"2211000000000000990000000000000000000000000000000000000000000000"

static const struct record sample = {
	.type = RECORD_PUT,
	.flags = RECORD_LAST | 2,
	.partition = 3,
	.position = 1,
	.index = 77,
	.term = 5,
	.stamp_ns = 1000,
	.mtime_ns = 2000,
	.expiry_ns = 3000,
	.key = { (const uint8_t *)"key", 3 },
	.attrs = { (const uint8_t *)"at", 2 },
	.value = { (const uint8_t *)"value", 5 },
};

static void hex(const uint8_t *p, size_t n, char *text)
{
	for (size_t i = 0; i < n; i++)
		snprintf(text + 2 * i, 3, "%02x", p[i]);
}

static void record_bytes_are_golden(void **state)
{
	uint8_t b[80];
	char text[161];

	(void)state;
	assert_int_equal(record_encode(b, SEED, &sample), 80);
	hex(b, sizeof(b), text);
	assert_string_equal(text, GOLDEN_RECORD);
}

static void frame_bytes_are_golden(void **state)
{
	struct frame f = { .sequence = 9,
			   .synced_sequence = 7,
			   .file_off = 1024,
			   .body_bytes = 80,
			   .record_count = 1,
			   .flags = FRAME_SETTLED };
	uint8_t b[64];
	char text[129];

	(void)state;
	frame_encode(b, SEED, &f);
	hex(b, sizeof(b), text);
	assert_string_equal(text, GOLDEN_FRAME);
}

/* What an old version wrote means the same to a new one. */
static void flags_of_copies_and_healed_frames_are_golden(void **state)
{
	struct record again = sample, got;
	struct frame f = { .sequence = 9,
			   .synced_sequence = 7,
			   .file_off = 1024,
			   .body_bytes = 80,
			   .record_count = 1,
			   .flags = FRAME_SETTLED | FRAME_HEALED };
	uint8_t b[80];
	char text[161];
	uint64_t n;

	(void)state;
	again.flags |= RECORD_AGAIN;
	assert_int_equal(again.flags, 128 + 64 + 2);
	assert_int_equal(record_encode(b, SEED, &again), 80);
	hex(b, 80, text);
	assert_string_equal(text, GOLDEN_AGAIN);
	assert_int_equal(record_decode(b, 80, SEED, true, &got, &n), RECORD_OK);
	assert_int_equal(got.flags, again.flags);
	assert_int_equal(f.flags, 2 + 4);
	frame_encode(b, SEED, &f);
	hex(b, 64, text);
	assert_string_equal(text, GOLDEN_HEALED);
	f.flags = 0;
	assert_true(frame_decode(b, SEED, 1024, 4096, &f));
	assert_int_equal(f.flags, FRAME_SETTLED | FRAME_HEALED);
}

static void file_header_is_golden(void **state)
{
	struct datafile_owner o = { .dir = "d", .node_id = 0x1122 };
	struct datafile *df;
	struct vfs_sim *sim;
	struct buf b = BUF_INIT;
	char text[129];

	(void)state;
	memcpy(o.cluster_id, "0123456789abcdef", 16);
	assert_int_equal(vfs_sim_new(1, 1 << 20, &sim), OK);
	o.vfs = vfs_sim_vfs(sim);
	assert_int_equal(vfs_mkdir(o.vfs, "d"), OK);
	assert_int_equal(
		datafile_create_log(&o, 31, 0x99, 8192, true, NULL, &df), OK);
	datafile_close(df);
	assert_int_equal(vfs_read_all(o.vfs, "d/0000001f.log", 8192, &b), OK);
	assert_int_equal(b.n, 8192);
	hex(b.p, 64, text);
	assert_string_equal(text, GOLDEN_HEADER);
	for (size_t i = 64; i < b.n; i++)
		assert_int_equal(b.p[i], 0);
	buf_done(&b);
	vfs_sim_free(sim);
}

static void what_was_encoded_is_decoded(void **state)
{
	uint8_t b[80];
	struct record r;
	uint64_t n;

	(void)state;
	record_encode(b, SEED, &sample);
	assert_int_equal(record_decode(b, sizeof(b), SEED, true, &r, &n),
			 RECORD_OK);
	assert_int_equal(n, 80);
	assert_int_equal(r.type, sample.type);
	assert_int_equal(r.flags, sample.flags);
	assert_int_equal(r.partition, 3);
	assert_int_equal(r.position, 1);
	assert_int_equal(r.index, 77);
	assert_int_equal(r.term, 5);
	assert_int_equal(r.stamp_ns, 1000);
	assert_int_equal(r.mtime_ns, 2000);
	assert_int_equal(r.expiry_ns, 3000);
	assert_true(bytes_equal(r.key, sample.key));
	assert_true(bytes_equal(r.attrs, sample.attrs));
	assert_true(bytes_equal(r.value, sample.value));
}

static void each_flipped_bit_is_told_apart(void **state)
{
	(void)state;
	for (int bit = 0; bit < 80 * 8; bit++) {
		enum record_state want = RECORD_BAD_HEADER, got;
		uint8_t b[80];
		struct record r;
		uint64_t n;
		int at = bit / 8;

		record_encode(b, SEED, &sample);
		b[at] ^= (uint8_t)(1 << bit % 8);
		if ((at >= 4 && at < 8) || (at >= 69 && at < 74))
			want = RECORD_BAD_VALUE;
		if (at >= 74)
			want = RECORD_OK; /* padding */
		got = record_decode(b, sizeof(b), SEED, true, &r, &n);
		assert_int_equal(got, want);
		if (got != RECORD_BAD_HEADER)
			assert_true(bytes_equal(r.key, sample.key));
	}
}

static void another_seed_or_a_short_buffer_never_passes(void **state)
{
	uint8_t b[80];
	struct record r;
	uint64_t n;

	(void)state;
	record_encode(b, SEED, &sample);
	assert_int_equal(record_decode(b, 80, SEED + 1, true, &r, &n),
			 RECORD_BAD_HEADER);
	for (uint64_t i = 0; i < 80; i++) {
		uint8_t *exact = malloc(i + 1);

		memcpy(exact, b, i);
		assert_int_equal(record_decode(exact, i, SEED, true, &r, &n),
				 RECORD_BAD_HEADER);
		free(exact);
	}
}

static void random_bytes_never_decode(void **state)
{
	struct seed s;
	uint8_t b[256];

	(void)state;
	seed_init(&s, 99);
	for (int i = 0; i < 20000; i++) {
		struct record r;
		struct frame f;
		uint64_t n;

		for (size_t k = 0; k < sizeof(b); k += 8)
			put_u64(b + k, seed_next(&s));
		put_u16(b + 8, RECORD_MAGIC);
		assert_int_equal(
			record_decode(b, sizeof(b), SEED, true, &r, &n),
			RECORD_BAD_HEADER);
		put_u32(b + 4, FRAME_MAGIC);
		assert_false(frame_decode(b, SEED, 512, 1 << 20, &f));
	}
}

static void a_frame_passes_only_at_its_own_offset(void **state)
{
	struct frame f = { .sequence = 1, .file_off = 512, .body_bytes = 600 };
	struct frame got;
	uint8_t b[64];

	(void)state;
	frame_encode(b, SEED, &f);
	assert_true(frame_decode(b, SEED, 512, 4096, &got));
	assert_int_equal(got.body_bytes, 600);
	assert_false(frame_decode(b, SEED, 1024, 4096, &got));
	assert_false(frame_decode(b, SEED, 512, 1535, &got));
	assert_false(frame_decode(b, SEED + 1, 512, 4096, &got));
	for (int bit = 0; bit < 64 * 8; bit++) {
		b[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(frame_decode(b, SEED, 512, 4096, &got));
		b[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(record_bytes_are_golden),
		cmocka_unit_test(frame_bytes_are_golden),
		cmocka_unit_test(flags_of_copies_and_healed_frames_are_golden),
		cmocka_unit_test(file_header_is_golden),
		cmocka_unit_test(what_was_encoded_is_decoded),
		cmocka_unit_test(each_flipped_bit_is_told_apart),
		cmocka_unit_test(another_seed_or_a_short_buffer_never_passes),
		cmocka_unit_test(random_bytes_never_decode),
		cmocka_unit_test(a_frame_passes_only_at_its_own_offset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
