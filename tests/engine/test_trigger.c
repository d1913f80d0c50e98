/* tests/engine/test_trigger.c - proves engine/trigger.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/trigger.h"

static const struct engine_merge_options options = {
	.window_start_min = 60,
	.window_end_min = 120,
	.dead_ratio = 0.5,
	.dead_bytes = 1000,
	.small_file_bytes = 50,
};

#define LOG(reach_, bytes_, live_)                                             \
	{                                                                      \
		.log = true, .ready = true, .log_reach = reach_,               \
		.bytes = bytes_, .live_bytes = live_                           \
	}
#define BUSY_LOG(reach_)                                                       \
	{                                                                      \
		.log = true, .log_reach = reach_, .bytes = 100,                \
	}
#define DAT(part_, bytes_, live_, kept_)                                       \
	{                                                                      \
		.ready = true, .partition = part_, .bytes = bytes_,            \
		.live_bytes = live_, .kept_bytes = kept_                       \
	}

struct row {
	const char *must_hold;
	uint32_t minute;
	bool requested, pressed;
	uint64_t room_bytes;
	uint32_t count;
	struct trigger_file files[6];
	const char *picks;
};

static const struct row rows[] = {
	{ "nothing to do for nothing", 60, 0, 0, ~0ull, 0, { { 0 } }, "" },
	{ "all live stays",
	  60,
	  0,
	  0,
	  ~0ull,
	  2,
	  { LOG(1, 100, 100), DAT(0, 100, 100, 0) },
	  ".." },
	{ "half dead is due",
	  60,
	  0,
	  0,
	  ~0ull,
	  2,
	  { LOG(1, 100, 50), DAT(0, 100, 50, 0) },
	  "xx" },
	{ "less than the ratio is not",
	  60,
	  0,
	  0,
	  ~0ull,
	  2,
	  { LOG(1, 100, 51), DAT(0, 100, 51, 0) },
	  ".." },
	{ "dead bytes count by themselves",
	  60,
	  0,
	  0,
	  ~0ull,
	  2,
	  { LOG(1, 9000, 8000), DAT(0, 9000, 8000, 0) },
	  "xx" },
	{ "outside the window nothing",
	  120,
	  0,
	  0,
	  ~0ull,
	  1,
	  { LOG(1, 100, 0) },
	  "." },
	{ "a request ignores window and ratio",
	  120,
	  1,
	  0,
	  ~0ull,
	  3,
	  { LOG(1, 100, 99), DAT(0, 100, 99, 0), DAT(0, 100, 100, 0) },
	  "xx." },
	{ "log segments before a due one come along",
	  60,
	  0,
	  0,
	  ~0ull,
	  3,
	  { LOG(1, 100, 100), LOG(2, 100, 10), LOG(3, 100, 100) },
	  "xx." },
	{ "a segment that is not ready ends the prefix",
	  60,
	  0,
	  0,
	  ~0ull,
	  3,
	  { LOG(1, 100, 100), BUSY_LOG(2), LOG(3, 100, 0) },
	  "..." },
	{ "the due part before it is merged",
	  60,
	  0,
	  0,
	  ~0ull,
	  3,
	  { LOG(1, 100, 0), BUSY_LOG(2), LOG(3, 100, 0) },
	  "x.." },
	{ "what reaches further takes more along",
	  60,
	  0,
	  0,
	  ~0ull,
	  3,
	  { LOG(3, 100, 0), LOG(2, 100, 100), LOG(3, 100, 100) },
	  "xxx" },
	{ "what reaches too far waits",
	  60,
	  0,
	  0,
	  ~0ull,
	  3,
	  { LOG(3, 100, 0), LOG(2, 100, 100), BUSY_LOG(3) },
	  "..." },
	{ "four small files are joined",
	  60,
	  0,
	  0,
	  ~0ull,
	  5,
	  { DAT(1, 40, 40, 0), DAT(1, 40, 40, 0), DAT(1, 40, 40, 0),
	    DAT(1, 40, 40, 0), DAT(1, 400, 400, 0) },
	  "xxxx." },
	{ "three are not, of other partitions neither",
	  60,
	  0,
	  0,
	  ~0ull,
	  5,
	  { DAT(1, 40, 40, 0), DAT(1, 40, 40, 0), DAT(1, 40, 40, 0),
	    DAT(2, 40, 40, 0), DAT(2, 400, 400, 0) },
	  "....." },
	{ "two are on request",
	  0,
	  1,
	  0,
	  ~0ull,
	  3,
	  { DAT(1, 40, 40, 0), DAT(1, 40, 40, 0), DAT(2, 40, 40, 0) },
	  "xx." },
	{ "tombstones that must stay are no gain alone",
	  60,
	  0,
	  0,
	  ~0ull,
	  2,
	  { DAT(1, 100, 60, 40), DAT(1, 100, 100, 0) },
	  ".." },
	{ "with enough of them the whole partition goes",
	  60,
	  0,
	  0,
	  ~0ull,
	  3,
	  { DAT(1, 100, 0, 100), DAT(1, 100, 100, 0), DAT(2, 100, 100, 0) },
	  "xx." },
	{ "but only when there is room for all of it",
	  60,
	  0,
	  0,
	  150,
	  2,
	  { DAT(1, 100, 0, 100), DAT(1, 100, 100, 0) },
	  ".." },
	{ "tombstones in the log are gain",
	  60,
	  0,
	  0,
	  ~0ull,
	  1,
	  { { .log = true,
	      .ready = true,
	      .log_reach = 1,
	      .bytes = 100,
	      .live_bytes = 20,
	      .kept_bytes = 80 } },
	  "x" },
	{ "no room, no merge",
	  60,
	  0,
	  0,
	  49,
	  2,
	  { LOG(1, 100, 50), DAT(0, 100, 50, 0) },
	  ".." },
	{ "room for the first only",
	  60,
	  0,
	  0,
	  60,
	  2,
	  { LOG(1, 100, 50), DAT(0, 100, 50, 0) },
	  "x." },
	{ "a full disk merges the best at any hour",
	  0,
	  0,
	  1,
	  80,
	  3,
	  { DAT(0, 100, 90, 0), DAT(0, 100, 70, 0), DAT(0, 100, 80, 0) },
	  ".x." },
	{ "a full disk without gain does nothing",
	  0,
	  0,
	  1,
	  80,
	  1,
	  { DAT(0, 100, 50, 50) },
	  "." },
};

static void the_table_holds(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		struct trigger_now now = {
			.options = &options,
			.minute_of_day = r->minute,
			.requested = r->requested,
			.pressed = r->pressed,
			.room_bytes = r->room_bytes,
		};
		char picks[8] = { 0 };
		bool pick[6], any;

		any = trigger_pick(&now, r->files, r->count, pick);
		for (uint32_t k = 0; k < r->count; k++)
			picks[k] = pick[k] ? 'x' : '.';
		if (strcmp(picks, r->picks) != 0)
			fail_msg("%s: picked %s, not %s", r->must_hold, picks,
				 r->picks);
		assert_int_equal(any, strchr(r->picks, 'x') != NULL);
	}
}

enum { MANY = 24 };

/* count files from *f on, each a log segment, or of partition. */
static void add(struct trigger_file **f, int count, int partition,
		uint64_t live_bytes, uint64_t kept_bytes)
{
	for (int i = 0; i < count; i++)
		*(*f)++ = (struct trigger_file){
			.log = partition < 0,
			.ready = true,
			.partition = partition < 0 ? 0 : (uint16_t)partition,
			.log_reach = 1,
			.bytes = 100,
			.live_bytes = live_bytes,
			.kept_bytes = kept_bytes,
		};
}

/* How many of the files from first on are picked, one behind the other. */
static uint32_t picked(const struct trigger_file *files,
		       const struct trigger_file *end, uint32_t first)
{
	struct trigger_now now = {
		.options = &options,
		.minute_of_day = 60,
		.room_bytes = UINT64_MAX,
	};
	uint32_t count = (uint32_t)(end - files), n = 0;
	bool pick[MANY];

	assert_true(count <= MANY);
	assert_true(trigger_pick(&now, files, count, pick));
	while (first + n < count && pick[first + n])
		n++;
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(pick[i], i >= first && i < first + n);
	return n;
}

static void a_merge_takes_a_few_of_many(void **state)
{
	struct trigger_file f[MANY], *end = f;

	add(&end, 20, -1, 10, 0);
	assert_int_equal(picked(f, end, 0), TRIGGER_INPUTS);
	f[2].log_reach = 11; /* one that has to come along */
	assert_int_equal(picked(f, end, 0), 11);

	end = f; /* the first due one lies far behind */
	add(&end, 12, -1, 100, 0);
	add(&end, 8, -1, 10, 0);
	assert_int_equal(picked(f, end, 0), 13);

	end = f;
	add(&end, 2, 0, 100, 0);
	add(&end, 10, 1, 10, 0);
	add(&end, 10, 2, 10, 0);
	assert_int_equal(picked(f, end, 2), TRIGGER_INPUTS);

	end = f; /* partitions are begun while there are fewer */
	add(&end, 7, 0, 10, 0);
	add(&end, 10, 1, 10, 0);
	assert_int_equal(picked(f, end, 0), 7 + TRIGGER_INPUTS);
}

static void a_whole_partition_is_not_divided(void **state)
{
	struct trigger_file f[MANY], *end = f;

	add(&end, 20, 0, 10, 40);
	assert_int_equal(picked(f, end, 0), 20);
}

static void the_window_may_pass_midnight(void **state)
{
	struct engine_merge_options o = { .window_start_min = 23 * 60,
					  .window_end_min = 60 };

	assert_true(trigger_in_window(&o, 23 * 60));
	assert_true(trigger_in_window(&o, 0));
	assert_true(trigger_in_window(&o, 59));
	assert_false(trigger_in_window(&o, 60));
	assert_false(trigger_in_window(&o, 12 * 60));
	o.window_start_min = 0;
	o.window_end_min = 24 * 60;
	assert_true(trigger_in_window(&o, 0));
	assert_true(trigger_in_window(&o, 24 * 60 - 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_holds),
		cmocka_unit_test(a_merge_takes_a_few_of_many),
		cmocka_unit_test(a_whole_partition_is_not_divided),
		cmocka_unit_test(the_window_may_pass_midnight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
