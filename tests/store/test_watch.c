/*
 * tests/store/test_watch.c - watches: what they see, from where, until when;
 * and keys that expire.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/store_internal.h"
#include "tests/lib/store_rig.h"

static struct store_rig rig;

static int setup(void **state)
{
	store_rig_init(&rig, 9, 1);
	return 0;
}

static int setup_four(void **state)
{
	store_rig_init(&rig, 9, 4);
	return 0;
}

static int setup_many(void **state)
{
	store_rig_init(&rig, 9, 40);
	return 0;
}

static int teardown(void **state)
{
	store_rig_done(&rig);
	return 0;
}

static void note(void *user)
{
	(*(int *)user)++;
}

static void put(const char *key, const char *value)
{
	assert_int_equal(store_rig_put(&rig, key, value, NULL), OK);
}

static struct store_watch *watch(const char *prefix, bool exact,
				 const char *after, int *notes)
{
	struct store_watch *w;

	assert_int_equal(store_watch_open(rig.store, bytes_str(prefix), exact,
					  bytes_str(after), note, notes, &w),
			 OK);
	return w;
}

/* The next event must be this one; its id is copied out if asked. */
static void expect(struct store_watch *w, enum store_event_kind kind,
		   const char *key, const char *value, char *id)
{
	struct store_event *e = malloc(sizeof(*e));

	assert_int_equal(store_watch_next(w, e), OK);
	assert_int_equal(e->kind, kind);
	assert_true(bytes_equal(e->key, bytes_str(key)));
	if (kind == STORE_EVENT_PUT) {
		assert_true(e->has_value);
		assert_true(bytes_equal(e->value, bytes_str(value)));
	}
	if (id)
		memcpy(id, e->id, sizeof(e->id));
	free(e);
}

static void expect_end(struct store_watch *w, enum err err)
{
	struct store_event *e = malloc(sizeof(*e));

	assert_int_equal(store_watch_next(w, e), err);
	free(e);
}

static void a_cursor_ahead_of_this_node_is_waited_for(void **state)
{
	int notes = 0;
	char ahead[32], filler[1000];
	struct store_watch *w;
	uint64_t rev;

	memset(filler, 'f', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = 0;
	assert_int_equal(store_rig_put(&rig, "a", "0", &rev), OK);
	snprintf(ahead, sizeof(ahead), "%lu", rev + 2000);
	w = watch("a", true, ahead, &notes);
	for (int i = 0; i < 2000; i++) {
		expect_end(w, ERR_PENDING);
		put("a", filler);
	}
	expect_end(w, ERR_PENDING);
	put("a", "1");
	expect(w, STORE_EVENT_PUT, "a", "1", NULL);
	store_watch_close(w);
}

static void a_watch_is_told_once_and_sees_all_in_order(void **state)
{
	int notes = 0, exact_notes = 0;
	struct store_watch *w, *x;

	put("a", "before");
	w = watch("a", false, "", &notes);
	x = watch("a", true, "", &exact_notes);
	expect_end(w, ERR_PENDING);
	expect_end(x, ERR_PENDING);
	put("b", "1");
	assert_int_equal(notes, 0);
	put("a", "1");
	put("ab", "2");
	assert_int_equal(notes, 1);
	assert_int_equal(exact_notes, 1);
	assert_int_equal(store_rig_del(&rig, "a", NULL), OK);
	expect(w, STORE_EVENT_PUT, "a", "1", NULL);
	expect(w, STORE_EVENT_PUT, "ab", "2", NULL);
	expect(w, STORE_EVENT_DELETE, "a", NULL, NULL);
	expect_end(w, ERR_PENDING);
	expect(x, STORE_EVENT_PUT, "a", "1", NULL);
	expect(x, STORE_EVENT_DELETE, "a", NULL, NULL);
	expect_end(x, ERR_PENDING);
	assert_int_equal(store_rig_del(&rig, "a", NULL), OK);
	assert_int_equal(notes, 1);
	put("a", "3");
	assert_int_equal(notes, 2);
	store_watch_close(w);
	put("a", "4");
	assert_int_equal(notes, 2);
	store_watch_close(x);
}

static void every_event_of_a_txn_has_an_id_to_resume_from(void **state)
{
	struct store_op ops[3] = {
		{ .kind = STORE_PUT, .key = bytes_str("d/1") },
		{ .kind = STORE_PUT, .key = bytes_str("d/2") },
		{ .kind = STORE_PUT, .key = bytes_str("d/3") },
	};
	struct store_write t = { .is_txn = true,
				 .then_ops = ops,
				 .then_count = 3 };
	char(*ids)[STORE_CURSOR_BYTES_MAX] = malloc(6 * sizeof(*ids));
	static const char *const keys[] = { "d/1", "d/2", "d/3",
					    "d/1", "d/2", "d/3" };
	struct store_watch *w = watch("d/", false, "", &(int){ 0 });
	uint64_t deleted;

	assert_int_equal(store_rig_write(&rig, &t), OK);
	assert_int_equal(store_rig_del_prefix(&rig, "d/", &deleted), OK);
	assert_int_equal(deleted, 3);
	for (int i = 0; i < 6; i++)
		expect(w, i < 3 ? STORE_EVENT_PUT : STORE_EVENT_DELETE, keys[i],
		       "", ids[i]);
	expect_end(w, ERR_PENDING);
	store_watch_close(w);
	for (int i = 0; i < 6; i++) {
		int notes = 0;

		w = watch("d/", false, ids[i], &notes);
		for (int j = i + 1; j < 6; j++)
			expect(w, j < 3 ? STORE_EVENT_PUT : STORE_EVENT_DELETE,
			       keys[j], "", NULL);
		expect_end(w, ERR_PENDING);
		store_watch_close(w);
	}
	free(ids);
}

static void a_listing_names_the_place_to_watch_from(void **state)
{
	struct store_list l = { .limit = 1, .delimiter = bytes_str("/") };
	struct store_watch *w;
	struct buf b = BUF_INIT;
	int notes = 0;

	for (int i = 0; i < 20; i++) {
		char key[16];

		snprintf(key, sizeof(key), "k%d/x", i);
		put(key, "old");
	}
	store_rig_list(&rig, &l, &b);
	buf_done(&b);
	l.prefix = bytes_str("nothing");
	assert_int_equal(store_list(rig.store, &l, NULL, NULL), OK);
	put("k1/x", "new");
	put("k2/x", "new");
	assert_int_equal(buf_add(&l.revision, "", 1), OK);
	w = watch("", false, (char *)l.revision.p, &notes);
	expect(w, STORE_EVENT_PUT, "k1/x", "new", NULL);
	expect(w, STORE_EVENT_PUT, "k2/x", "new", NULL);
	expect_end(w, ERR_PENDING);
	store_watch_close(w);
	buf_done(&l.revision);
}

static enum err try_watch(const char *after)
{
	struct store_watch *w;
	int notes = 0;
	enum err err;

	err = store_watch_open(rig.store, bytes_str("k"), true,
			       bytes_str(after), note, &notes, &w);
	if (!err)
		store_watch_close(w);
	return err;
}

static void history_begins_with_what_was_applied_at_the_start(void **state)
{
	char text[32];
	uint64_t rev;

	put("k", "1");
	assert_int_equal(store_rig_put(&rig, "k", "2", &rev), OK);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)rev - 1);
	assert_int_equal(try_watch(text), OK);
	store_rig_stop(&rig);
	store_rig_start(&rig);
	assert_int_equal(try_watch(text), ERR_COMPACTED);
	snprintf(text, sizeof(text), "%llu",
		 (unsigned long long)store_revision(
			 rig.store,
			 store_partition_of(rig.store, bytes_str("k"))));
	assert_int_equal(try_watch(text), OK);
	assert_int_equal(try_watch("x"), ERR_INVALID);
	assert_int_equal(try_watch("1x"), ERR_INVALID);
	assert_int_equal(try_watch("1.2.3"), ERR_INVALID);
	assert_int_equal(try_watch("v1,"), ERR_INVALID);
	assert_int_equal(try_watch("s1"), ERR_INVALID);
	assert_int_equal(try_watch("99999999999999999999999"), ERR_INVALID);
}

static void what_falls_out_of_the_history_is_compacted(void **state)
{
	char *big = malloc(60001), text[32];
	struct store_watch *idle;
	uint64_t rev;
	int notes = 0;

	memset(big, 'x', 60000);
	big[60000] = 0;
	idle = watch("quiet", true, "", &notes);
	expect_end(idle, ERR_PENDING);
	assert_int_equal(store_rig_put(&rig, "k", "1", &rev), OK);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)rev - 1);
	for (int i = 0; i < 40; i++)
		put("other", big);
	/* Over the 1 MiB that is wanted, but young. */
	assert_int_equal(try_watch(text), OK);
	store_rig_pass(&rig, 11 * 60 * 1000);
	put("other", big);
	assert_int_equal(try_watch(text), ERR_COMPACTED);
	assert_int_equal(store_rig_put(&rig, "k", "1", &rev), OK);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)rev - 1);
	for (int i = 0; i < 80; i++)
		put("other", big);
	/* Young, but over four times as much. */
	assert_int_equal(try_watch(text), ERR_COMPACTED);
	put("quiet", "now");
	assert_int_equal(notes, 1);
	expect(idle, STORE_EVENT_PUT, "quiet", "now", NULL);
	expect_end(idle, ERR_PENDING);
	store_watch_close(idle);
	free(big);
}

static void a_made_up_place_is_no_cursor(void **state)
{
	char id[STORE_CURSOR_BYTES_MAX], forged[STORE_CURSOR_BYTES_MAX + 8];
	struct store_watch *w;
	unsigned long long off;
	int notes = 0;

	w = watch("", false, "", &notes);
	put("k", "1");
	expect(w, STORE_EVENT_PUT, "k", "1", id);
	put("k", "2");
	store_watch_close(w);
	off = strtoull(strchr(id, '.') + 1, NULL, 10);
	assert_int_equal(try_watch(id), OK);
	for (unsigned long long i = 1; i < 16; i++) {
		snprintf(forged, sizeof(forged), "%.*s.%llu",
			 (int)(strchr(id, '.') - id), id, off + i);
		assert_int_equal(try_watch(forged), ERR_INVALID);
		snprintf(forged, sizeof(forged), "%.*s.%llu",
			 (int)(strchr(id, '.') - id), id, off - i);
		assert_int_equal(try_watch(forged), ERR_INVALID);
	}
}

/* As if a state had been installed in place of the one that a key is in. */
static uint64_t reset(const char *key)
{
	uint32_t partition = store_partition_of(rig.store, bytes_str(key));
	uint64_t index = store_revision(rig.store, partition);

	watch_hub_reset(rig.store->hub, partition, index);
	watch_notify(rig.store->hub);
	return index;
}

static void open_with(const char *prefix, bool exact, const char *after,
		      enum err err)
{
	struct store_watch *w;
	int notes = 0;

	assert_int_equal(store_watch_open(rig.store, bytes_str(prefix), exact,
					  bytes_str(after), note, &notes, &w),
			 err);
	if (!err)
		store_watch_close(w);
}

static void an_installed_state_ends_the_watches_on_it(void **state)
{
	char id[STORE_CURSOR_BYTES_MAX], now[32];
	int notes = 0, other_notes = 0, exact_notes = 0;
	struct store_watch *w, *x, *other = NULL;
	const char *elsewhere = "b";
	uint64_t index;

	while (store_partition_count(rig.store) > 1 &&
	       store_partition_of(rig.store, bytes_str(elsewhere)) ==
		       store_partition_of(rig.store, bytes_str("a")))
		elsewhere = elsewhere[1] ? "cc" : "bb";
	w = watch("", false, "", &notes);
	x = watch("a", true, "", &exact_notes);
	if (store_partition_count(rig.store) > 1)
		other = watch(elsewhere, true, "", &other_notes);
	put("a", "1");
	expect(w, STORE_EVENT_PUT, "a", "1", id);
	expect_end(w, ERR_PENDING);
	notes = exact_notes = 0;
	index = reset("a");
	assert_int_equal(notes, 1); /* it was idle */
	expect_end(w, ERR_COMPACTED);
	expect_end(w, ERR_COMPACTED);
	expect_end(x, ERR_COMPACTED); /* what it had not read yet too */
	if (other)
		expect_end(other, ERR_PENDING);
	open_with("", false, id, ERR_COMPACTED);
	snprintf(now, sizeof(now), "%llu", (unsigned long long)index - 1);
	open_with("a", true, now, ERR_COMPACTED);
	snprintf(now, sizeof(now), "%llu", (unsigned long long)index);
	open_with("a", true, now, OK);
	put("a", "2");
	expect_end(w, ERR_COMPACTED);
	store_watch_close(w);
	store_watch_close(x);
	store_watch_close(other);
}

/* History begins anew with each start, if need be in the middle of an entry. */
static void half_an_entry_is_not_taken_for_all_of_it(void **state)
{
	struct store_op ops[2] = {
		{ .kind = STORE_PUT, .key = bytes_str("d/1") },
		{ .kind = STORE_PUT, .key = bytes_str("d/2") },
	};
	struct store_write t = { .is_txn = true,
				 .then_ops = ops,
				 .then_count = 2 };
	char ids[2][STORE_CURSOR_BYTES_MAX];
	struct store_watch *w = watch("d/", false, "", &(int){ 0 });

	assert_int_equal(store_rig_write(&rig, &t), OK);
	expect(w, STORE_EVENT_PUT, "d/1", "", ids[0]);
	expect(w, STORE_EVENT_PUT, "d/2", "", ids[1]);
	store_watch_close(w);
	store_rig_stop(&rig);
	store_rig_start(&rig);
	open_with("d/", false, ids[0], ERR_COMPACTED);
	w = watch("d/", false, ids[1], &(int){ 0 });
	expect_end(w, ERR_PENDING);
	store_watch_close(w);
}

static void what_is_forgotten_later_lowers_no_floor(void **state)
{
	char filler[3000], old[32];
	uint64_t rev;

	memset(filler, 'f', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = 0;
	for (int i = 0; i < 200; i++)
		put("a", filler);
	assert_int_equal(store_rig_put(&rig, "a", "last", &rev), OK);
	reset("a");
	snprintf(old, sizeof(old), "%llu", (unsigned long long)rev - 1);
	open_with("a", true, old, ERR_COMPACTED);
	/* the ring lets go of what is older than old, and stays above it */
	store_rig_pass(&rig, 700 * 1000);
	for (int i = 0; i < 200; i++) {
		put("a", filler);
		open_with("a", true, old, ERR_COMPACTED);
	}
}

static void a_slow_watch_is_cut(void **state)
{
	char *big = malloc(60001);
	struct store_watch *w;
	int notes = 0;

	memset(big, 'x', 60000);
	big[60000] = 0;
	w = watch("k", true, "", &notes);
	expect_end(w, ERR_PENDING);
	for (int i = 0; i < 20; i++)
		put("k", big);
	assert_int_equal(notes, 1);
	expect_end(w, ERR_FULL);
	store_watch_close(w);
	free(big);
}

static void a_value_too_large_for_an_event_is_left_out(void **state)
{
	char *big = calloc(1, 100000);
	struct store_event *e = malloc(sizeof(*e));
	struct store_watch *w;
	int notes = 0;

	w = watch("k", true, "", &notes);
	assert_int_equal(store_rig_upload(&rig, bytes_str("k"),
					  bytes_of(big, 100000), 50000, NULL),
			 OK);
	assert_int_equal(store_watch_next(w, e), OK);
	assert_false(e->has_value);
	assert_int_equal(e->bytes, 100000);
	expect_end(w, ERR_PENDING);
	store_watch_close(w);
	free(e);
	free(big);
}

static void watches_end_with_the_store(void **state)
{
	int notes = 0;
	struct store_watch *w = watch("", false, "", &notes);

	expect_end(w, ERR_PENDING);
	store_rig_stop(&rig);
	assert_int_equal(notes, 1);
	expect_end(w, ERR_CLOSED);
	store_watch_close(w);
}

/* --------------------------------------------------------------- expiry -- */

static uint64_t seconds(uint64_t n)
{
	return n * 1000000000;
}

static void a_key_expires_by_the_log_clock(void **state)
{
	struct store_value *v;
	struct store_watch *w;
	int notes = 0;

	assert_int_equal(store_rig_put_bytes(&rig, bytes_str("t/k"),
					     bytes_str("v"), seconds(30), NULL),
			 OK);
	w = watch("t", false, "", &notes);
	assert_int_equal(store_get(rig.store, bytes_str("t/k"), &v), OK);
	assert_true(store_value_info(v)->has_ttl);
	assert_true(store_value_info(v)->ttl_ns <= seconds(30));
	assert_true(store_value_info(v)->ttl_ns > seconds(29));
	store_value_done(v);
	store_rig_pass(&rig, 29900);
	assert_int_equal(store_rig_step(&rig), OK);
	store_rig_expect(&rig, "t/k", "v");
	assert_int_equal(store_rig_put(&rig, "t", "", NULL), ERR_IS_DIR);
	store_rig_pass(&rig, 101);
	assert_int_equal(store_rig_step(&rig), OK);
	store_rig_expect(&rig, "t/k", NULL);
	expect(w, STORE_EVENT_EXPIRE, "t/k", NULL, NULL);
	assert_int_equal(store_rig_put(&rig, "t", "", NULL), OK);
	store_watch_close(w);
}

static void a_plain_put_clears_the_ttl(void **state)
{
	assert_int_equal(store_rig_put_bytes(&rig, bytes_str("k"),
					     bytes_str("v"), seconds(1), NULL),
			 OK);
	put("k", "w");
	store_rig_pass(&rig, 5000);
	assert_int_equal(store_rig_step(&rig), OK);
	store_rig_expect(&rig, "k", "w");
}

static void a_wall_clock_that_jumps_expires_nothing(void **state)
{
	assert_int_equal(store_rig_put_bytes(&rig, bytes_str("k"),
					     bytes_str("v"), seconds(60), NULL),
			 OK);
	rig.clock.wall += seconds(1000000);
	assert_int_equal(store_rig_step(&rig), OK);
	store_rig_expect(&rig, "k", "v");
	rig.clock.wall = 0;
	store_rig_crash(&rig);
	store_rig_expect(&rig, "k", "v");
	store_rig_pass(&rig, 61000);
	assert_int_equal(store_rig_step(&rig), OK);
	store_rig_expect(&rig, "k", NULL);
}

static void many_keys_that_are_due_go_in_few_batches(void **state)
{
	struct store_stats before, after;

	for (int i = 0; i < 2000; i++) {
		char key[16];

		snprintf(key, sizeof(key), "e%d", i);
		assert_int_equal(store_rig_put_bytes(&rig, bytes_str(key),
						     bytes_str("v"),
						     seconds(60), NULL),
				 OK);
	}
	store_rig_pass(&rig, 70000);
	store_stats(rig.store, &before);
	for (int i = 0; i < 4; i++)
		assert_int_equal(store_rig_step(&rig), OK);
	store_stats(rig.store, &after);
	assert_int_equal(after.expired - before.expired, 2000);
	store_rig_expect(&rig, "e1999", NULL);
}

int main(void)
{
#define T(f)  cmocka_unit_test_setup_teardown(f, setup, teardown)
#define T4(f) cmocka_unit_test_setup_teardown(f, setup_four, teardown)
#define TM(f) cmocka_unit_test_setup_teardown(f, setup_many, teardown)
	const struct CMUnitTest tests[] = {
		T(a_cursor_ahead_of_this_node_is_waited_for),
		T(a_watch_is_told_once_and_sees_all_in_order),
		T4(a_watch_is_told_once_and_sees_all_in_order),
		T(every_event_of_a_txn_has_an_id_to_resume_from),
		T(half_an_entry_is_not_taken_for_all_of_it),
		T4(every_event_of_a_txn_has_an_id_to_resume_from),
		TM(every_event_of_a_txn_has_an_id_to_resume_from),
		T(a_listing_names_the_place_to_watch_from),
		T4(a_listing_names_the_place_to_watch_from),
		TM(a_listing_names_the_place_to_watch_from),
		TM(a_made_up_place_is_no_cursor),
		T(history_begins_with_what_was_applied_at_the_start),
		T4(history_begins_with_what_was_applied_at_the_start),
		T(what_falls_out_of_the_history_is_compacted),
		T4(what_falls_out_of_the_history_is_compacted),
		T(an_installed_state_ends_the_watches_on_it),
		T4(an_installed_state_ends_the_watches_on_it),
		TM(an_installed_state_ends_the_watches_on_it),
		T(what_is_forgotten_later_lowers_no_floor),
		T(a_slow_watch_is_cut),
		T(a_value_too_large_for_an_event_is_left_out),
		T(watches_end_with_the_store),
		T4(watches_end_with_the_store),
		T(a_key_expires_by_the_log_clock),
		T4(a_key_expires_by_the_log_clock),
		T(a_plain_put_clears_the_ttl),
		T(a_wall_clock_that_jumps_expires_nothing),
		T(many_keys_that_are_due_go_in_few_batches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
