/*
 * tests/store/test_observer.c - what a mount hears of changes, and answers
 * that wait for it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/store_rig.h"

static struct store_rig rig;

/* What was told, as text: one line an entry. */
static struct {
	struct buf before, after;
	bool hold;
	uint64_t last_rev, last_ino;
	char look[16]; /* a key whose value is told beside each */
} heard;

static void add_seen(struct buf *b, const struct store_seen *seen)
{
	static const char *const words[] = {
		[STORE_SEEN_PUT] = "put",
		[STORE_SEEN_DELETE] = "delete",
		[STORE_SEEN_DELETE_PREFIX] = "below",
		[STORE_SEEN_MOVE] = "move",
		[STORE_SEEN_EXCHANGE] = "exchange",
		[STORE_SEEN_RESET] = "reset",
	};

	assert_int_equal(buf_addf(b, "%s %.*s ", words[seen->kind],
				  (int)seen->key.n,
				  seen->key.n ? (const char *)seen->key.p : ""),
			 OK);
	if (seen->to.n > 0)
		assert_int_equal(buf_addf(b, "to %.*s ", (int)seen->to.n,
					  (const char *)seen->to.p),
				 OK);
}

static void add_value(struct buf *b)
{
	struct buf value = BUF_INIT;
	enum err err;

	if (!heard.look[0])
		return;
	err = store_rig_read(&rig, bytes_str(heard.look), &value);
	assert_int_equal(buf_addf(b, "(%.*s) ", (int)value.n,
				  err ? "" : (const char *)value.p),
			 OK);
	buf_done(&value);
}

static void before(void *ctx, uint32_t partition, uint64_t rev,
		   const struct store_seen *seen, uint32_t count)
{
	assert_ptr_equal(ctx, &heard);
	assert_true(store_revision(rig.store, partition) < rev);
	for (uint32_t i = 0; i < count; i++)
		add_seen(&heard.before, &seen[i]);
	add_value(&heard.before);
}

static bool after(void *ctx, uint32_t partition, uint64_t rev,
		  const struct store_seen *seen, uint32_t count)
{
	assert_ptr_equal(ctx, &heard);
	assert_int_equal(store_revision(rig.store, partition), rev);
	for (uint32_t i = 0; i < count; i++) {
		add_seen(&heard.after, &seen[i]);
		heard.last_ino = seen[i].ino;
	}
	add_value(&heard.after);
	heard.last_rev = rev;
	return heard.hold;
}

static const struct store_observer observer = { .before = before,
						.after = after,
						.ctx = &heard };

static void expect_text(struct buf *b, const char *want)
{
	if (!bytes_equal(buf_bytes(b), bytes_str(want)))
		fail_msg("heard \"%.*s\", not \"%s\"", (int)b->n,
			 b->n ? (const char *)b->p : "", want);
	b->n = 0;
}

static void expect_both(const char *want)
{
	expect_text(&heard.before, want);
	expect_text(&heard.after, want);
}

/* -------------------------------------------------------------- telling -- */

static void changes_are_told_entry_by_entry(void **state)
{
	struct store_op ops[] = {
		{ .kind = STORE_PUT, .key = bytes_str("d/a") },
		{ .kind = STORE_PUT, .key = bytes_str("d/b") },
		{ .kind = STORE_DELETE, .key = bytes_str("k") },
		{ .kind = STORE_GET, .key = bytes_str("d/a") },
	};
	struct store_write w = { .then_ops = ops,
				 .then_count = 4,
				 .is_txn = true };
	uint64_t rev;

	assert_int_equal(store_rig_put(&rig, "k", "1", &rev), OK);
	expect_both("put k ");
	assert_int_equal(heard.last_rev, rev);
	assert_true(heard.last_ino != 0);
	assert_int_equal(store_rig_write(&rig, &w), OK);
	expect_both("put d/a put d/b delete k ");
	assert_int_equal(store_rig_del_prefix(&rig, "d/", NULL), OK);
	expect_both("below d/ ");
	assert_int_equal(store_rig_del(&rig, "none", NULL), OK);
	expect_both("");
}

static void before_reads_what_was_and_after_what_is(void **state)
{
	strcpy(heard.look, "k");
	assert_int_equal(store_rig_put(&rig, "k", "old", NULL), OK);
	expect_text(&heard.before, "put k () ");
	expect_text(&heard.after, "put k (old) ");
	assert_int_equal(store_rig_put(&rig, "k", "new", NULL), OK);
	expect_text(&heard.before, "put k (old) ");
	expect_text(&heard.after, "put k (new) ");
	assert_int_equal(store_rig_del(&rig, "k", NULL), OK);
	expect_text(&heard.before, "delete k (new) ");
	expect_text(&heard.after, "delete k () ");
}

/* Chunks and markers of an upload, and reservations, are nobody's keys. */
static void the_stores_own_keys_are_not_told(void **state)
{
	static uint8_t big[3 << 20];
	struct store_file_op op = { .kind = STORE_FILE_RESERVE };

	assert_int_equal(store_rig_upload(&rig, bytes_str("big"),
					  bytes_of(big, sizeof(big)), 100000,
					  NULL),
			 OK);
	expect_both("put big ");
	assert_int_equal(store_rig_file(&rig, &op), OK);
	expect_both("");
}

static void what_expires_is_told(void **state)
{
	assert_int_equal(store_rig_put_bytes(&rig, bytes_str("t"),
					     bytes_str("v"), 1000000, NULL),
			 OK);
	expect_both("put t ");
	store_rig_pass(&rig, 200);
	assert_int_equal(store_rig_step(&rig), OK);
	expect_both("delete t ");
}

static void nobody_is_told_after_the_end(void **state)
{
	store_observe(rig.store, NULL);
	assert_int_equal(store_rig_put(&rig, "k", "1", NULL), OK);
	expect_both("");
}

/* --------------------------------------------------------- held answers -- */

static uint32_t done_count;

static void count_done(struct store_write *w)
{
	assert_int_equal(w->err, OK);
	done_count++;
}

static struct store_op put_op;
static struct store_write put_write;

/* A put that is handed in and appended; not waited for. */
static void begin_put(const char *key)
{
	put_op = (struct store_op){ .kind = STORE_PUT, .key = bytes_str(key) };
	put_write = (struct store_write){ .then_ops = &put_op,
					  .then_count = 1,
					  .done = count_done };
	done_count = 0;
	assert_int_equal(store_write(rig.store, &put_write), OK);
	assert_int_equal(store_rig_step(&rig), OK);
}

static void an_answer_waits_until_it_is_observed(void **state)
{
	uint32_t wakes;

	heard.hold = true;
	begin_put("k");
	assert_int_equal(done_count, 0);
	store_observed(rig.store, 0, heard.last_rev - 1);
	assert_int_equal(store_rig_step(&rig), OK);
	assert_int_equal(done_count, 0);
	wakes = rig.wakes;
	store_observed(rig.store, 0, heard.last_rev);
	assert_int_equal(rig.wakes, wakes + 1);
	assert_int_equal(store_rig_step(&rig), OK);
	assert_int_equal(done_count, 1);
}

static void an_answer_waits_a_second_at_most(void **state)
{
	uint64_t wait_ms = 0;

	heard.hold = true;
	begin_put("k");
	assert_int_equal(store_step(rig.store, &wait_ms), OK);
	assert_in_range(wait_ms, 1, 1001);
	store_rig_pass(&rig, 998);
	assert_int_equal(store_rig_step(&rig), OK);
	assert_int_equal(done_count, 0);
	store_rig_pass(&rig, 3);
	assert_int_equal(store_rig_step(&rig), OK);
	assert_int_equal(done_count, 1);
}

/* The mount was faster than the core. */
static bool after_at_once(void *ctx, uint32_t partition, uint64_t rev,
			  const struct store_seen *seen, uint32_t count)
{
	store_observed(rig.store, partition, rev);
	return true;
}

static void what_is_observed_already_is_not_held(void **state)
{
	static const struct store_observer fast = { .after = after_at_once };

	store_observe(rig.store, &fast);
	begin_put("k");
	assert_int_equal(done_count, 1);
}

static void what_made_no_entry_and_files_do_not_wait(void **state)
{
	struct store_file_op op = { .kind = STORE_FILE_CREATE,
				    .path = bytes_str("file") };
	uint64_t ns;

	heard.hold = true;
	begin_put("k");
	ns = rig.clock.mono;
	assert_int_equal(store_rig_file(&rig, &op), OK);
	assert_int_equal(store_rig_del(&rig, "none", NULL), OK);
	assert_true(rig.clock.mono - ns < 10000000);
	assert_int_equal(done_count, 0);
	store_observed(rig.store, 0, heard.last_rev);
	assert_int_equal(store_rig_step(&rig), OK);
	assert_int_equal(done_count, 1);
}

/* The front end that is no mount says so. */
static void a_file_operation_may_wait_too(void **state)
{
	struct store_file_op op = { .kind = STORE_FILE_CREATE,
				    .path = bytes_str("file"),
				    .may_hold = true };
	uint64_t ns = rig.clock.mono;

	heard.hold = true;
	assert_int_equal(store_rig_file(&rig, &op), OK);
	assert_true(rig.clock.mono - ns >= 1000000000);
	heard.hold = false;
	op.path = bytes_str("file2");
	ns = rig.clock.mono;
	assert_int_equal(store_rig_file(&rig, &op), OK);
	assert_true(rig.clock.mono - ns < 10000000);
}

/* What another entry made waits for its own only. */
static void one_that_is_not_held_passes_one_that_is(void **state)
{
	heard.hold = true;
	begin_put("k");
	heard.hold = false;
	assert_int_equal(store_rig_put(&rig, "quick", "1", NULL), OK);
	assert_int_equal(done_count, 0);
	store_observe(rig.store, NULL);
	assert_int_equal(store_rig_step(&rig), OK);
	assert_int_equal(done_count, 1);
}

static void the_end_of_the_store_answers(void **state)
{
	heard.hold = true;
	begin_put("k");
	assert_int_equal(done_count, 0);
	store_rig_stop(&rig);
	assert_int_equal(done_count, 1);
	store_rig_start(&rig);
	store_rig_expect(&rig, "k", "");
}

static int set_up(void **state)
{
	store_rig_init(&rig, 41, 1);
	store_observe(rig.store, &observer);
	heard.hold = false;
	heard.look[0] = 0;
	return 0;
}

static int tear_down(void **state)
{
	store_rig_done(&rig);
	buf_done(&heard.before);
	buf_done(&heard.after);
	return 0;
}

#define UNIT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(changes_are_told_entry_by_entry),
		UNIT(before_reads_what_was_and_after_what_is),
		UNIT(the_stores_own_keys_are_not_told),
		UNIT(what_expires_is_told),
		UNIT(nobody_is_told_after_the_end),
		UNIT(an_answer_waits_until_it_is_observed),
		UNIT(an_answer_waits_a_second_at_most),
		UNIT(what_is_observed_already_is_not_held),
		UNIT(what_made_no_entry_and_files_do_not_wait),
		UNIT(a_file_operation_may_wait_too),
		UNIT(one_that_is_not_held_passes_one_that_is),
		UNIT(the_end_of_the_store_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
