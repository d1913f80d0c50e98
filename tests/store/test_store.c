/*
 * tests/store/test_store.c - puts, gets, deletes, conditions, the tree rules,
 * transactions and prefix deletions of one store, one rule a test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/store_rig.h"

static struct store_rig rig;

static int setup(void **state)
{
	store_rig_init(&rig, 1, 1);
	return 0;
}

static int setup_four(void **state)
{
	store_rig_init(&rig, 1, 4);
	return 0;
}

static int teardown(void **state)
{
	store_rig_done(&rig);
	return 0;
}

static enum err put(const char *key, const char *value)
{
	return store_rig_put(&rig, key, value, NULL);
}

static enum err del(const char *key)
{
	return store_rig_del(&rig, key, NULL);
}

static void a_put_is_read_back_and_survives_power_loss(void **state)
{
	uint64_t rev;

	assert_int_equal(store_rig_put(&rig, "a", "1", &rev), OK);
	store_rig_expect(&rig, "a", "1");
	assert_int_equal(store_rig_put(&rig, "a/", "", NULL), ERR_NOT_DIR);
	store_rig_crash(&rig);
	store_rig_expect(&rig, "a", "1");
	assert_int_equal(put("a", "2"), OK);
	store_rig_expect(&rig, "a", "2");
	assert_true(store_revision(rig.store, 0) > rev);
}

/* A record with attributes, as a mount will write them, behind the store's
 * back; the store is started over it. */
static void write_with_attrs(const char *key, const char *attrs)
{
	struct engine_partition_info info;
	struct engine_record record = { .type = RECORD_PUT,
					.key = bytes_str(key),
					.attrs = bytes_str(attrs),
					.value = bytes_str("old") };
	struct engine_entry entry = { .records = &record, .record_count = 1 };

	engine_partition_info(rig.engine, 0, &info);
	entry.index = info.last_index + 1;
	entry.term = info.last_term;
	entry.stamp_ns = info.last_stamp_ns + 1;
	assert_int_equal(engine_append(rig.engine, &entry), OK);
	assert_int_equal(engine_sync(rig.engine), OK);
	store_rig_stop(&rig);
	store_rig_start(&rig);
}

static void expect_attrs(const char *key, const char *attrs)
{
	struct store_value *v;

	assert_int_equal(store_get(rig.store, bytes_str(key), &v), OK);
	assert_true(bytes_equal(store_value_attrs(v), bytes_str(attrs)));
	store_value_done(v);
}

static void count_done(struct store_write *w)
{
	assert_int_equal(w->err, OK);
	(*(int *)w->user)++;
}

/* Number 5, mode 0600. */
#define SOME_ATTRS "\1\1\5\3\201\3"

static void a_replaced_key_keeps_its_attributes(void **state)
{
	static uint8_t large[300000];
	struct store_op ops[2] = { { .kind = STORE_PUT,
				     .key = bytes_str("a"),
				     .value = bytes_str("txn") },
				   { .kind = STORE_PUT,
				     .key = bytes_str("b"),
				     .value = bytes_str("new") } };
	struct store_write w = { .then_ops = ops, .then_count = 2 };
	struct store_write both[2];
	int done = 0;

	write_with_attrs("a", SOME_ATTRS);
	expect_attrs("a", SOME_ATTRS);
	assert_int_equal(put("a", "1"), OK);
	store_rig_expect(&rig, "a", "1");
	expect_attrs("a", SOME_ATTRS);
	assert_int_equal(store_rig_write(&rig, &w), OK);
	store_rig_expect(&rig, "a", "txn");
	expect_attrs("a", SOME_ATTRS);
	expect_attrs("b", "");
	assert_int_equal(store_rig_upload(&rig, bytes_str("a"),
					  bytes_of(large, sizeof(large)),
					  100000, NULL),
			 OK);
	expect_attrs("a", SOME_ATTRS);
	/* Twice in one batch: nobody waits. */
	for (int i = 0; i < 2; i++) {
		both[i] = (struct store_write){ .then_ops = ops,
						.then_count = 1,
						.done = count_done,
						.user = &done };
		assert_int_equal(store_write(rig.store, &both[i]), OK);
	}
	while (done < 2)
		assert_int_equal(store_rig_step(&rig), OK);
	expect_attrs("a", SOME_ATTRS);
	store_rig_crash(&rig);
	expect_attrs("a", SOME_ATTRS);
	assert_int_equal(del("a"), OK);
	assert_int_equal(put("a", "2"), OK);
	expect_attrs("a", "");
}

static void a_deleted_key_is_gone_and_stays_gone(void **state)
{
	bool existed;

	assert_int_equal(put("a", "1"), OK);
	assert_int_equal(store_rig_del(&rig, "a", &existed), OK);
	assert_true(existed);
	assert_int_equal(store_rig_del(&rig, "a", &existed), OK);
	assert_false(existed);
	store_rig_expect(&rig, "a", NULL);
	store_rig_crash(&rig);
	store_rig_expect(&rig, "a", NULL);
}

static void deleting_an_absent_key_appends_nothing(void **state)
{
	uint64_t before = store_revision(rig.store, 0);

	assert_int_equal(del("nothing"), OK);
	assert_int_equal(store_revision(rig.store, 0), before);
}

static void impossible_keys_are_refused_at_once(void **state)
{
	static const char *const bad[] = {
		"", "/", "/a", "a//b", ".", "..", "a/..", "a/./b", "../a", "a//"
	};
	char *longest = malloc(5000);
	struct store_value *v;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(put(bad[i], "x"), ERR_BAD_KEY);
		assert_int_equal(store_get(rig.store, bytes_str(bad[i]), &v),
				 ERR_BAD_KEY);
	}
	assert_int_equal(store_key_check(bytes_of("a\0b", 3)), ERR_BAD_KEY);
	assert_int_equal(store_key_check(bytes_of("\0r", 2)), ERR_BAD_KEY);
	for (int i = 0; i < 5000; i++)
		longest[i] = i % 256 == 255 ? '/' : 'x';
	assert_int_equal(store_key_check(bytes_of(longest, 4095)), OK);
	assert_int_equal(store_key_check(bytes_of(longest, 4096)),
			 ERR_KEY_TOO_LONG);
	assert_int_equal(store_key_check(bytes_of(longest, 255)), OK);
	longest[255] = 'x';
	assert_int_equal(store_key_check(bytes_of(longest, 256)), ERR_BAD_KEY);
	assert_int_equal(store_key_check(bytes_str("...")), OK);
	assert_int_equal(store_key_check(bytes_str("a\n%\xff/.b/")), OK);
	free(longest);
}

static void nothing_lies_below_a_file(void **state)
{
	assert_int_equal(put("a", "1"), OK);
	assert_int_equal(put("a/b", "1"), ERR_NOT_DIR);
	assert_int_equal(put("a/b/c", "1"), ERR_NOT_DIR);
	assert_int_equal(put("a/", ""), ERR_NOT_DIR);
	assert_int_equal(put("ab", "1"), OK);
	assert_int_equal(del("a/b"), OK);
	assert_int_equal(del("a"), OK);
	assert_int_equal(put("a/b", "1"), OK);
}

static void a_directory_is_no_file(void **state)
{
	assert_int_equal(put("a/b", "1"), OK);
	assert_int_equal(put("a", "1"), ERR_IS_DIR);
	assert_int_equal(del("a"), ERR_IS_DIR);
	assert_int_equal(del("a/"), ERR_NOT_EMPTY);
	assert_int_equal(put("a/", ""), OK);
	assert_int_equal(put("a/", "x"), ERR_INVALID);
	assert_int_equal(del("a/"), ERR_NOT_EMPTY);
	assert_int_equal(del("a/b"), OK);
	assert_int_equal(put("a", "1"), ERR_IS_DIR);
	assert_int_equal(del("a"), ERR_IS_DIR);
	assert_int_equal(del("a/"), OK);
	assert_int_equal(put("a", "1"), OK);
}

/* Many writes in one batch: the rules see what is pending. */
struct batch {
	struct store_op ops[8];
	struct store_write writes[8];
	int order[8], done_count;
};

static struct batch batch;

static void note_order(struct store_write *w)
{
	batch.order[batch.done_count++] = (int)(w - batch.writes);
}

static void batch_run(int n)
{
	batch.done_count = 0;
	for (int i = 0; i < n; i++) {
		struct store_write *w = &batch.writes[i];

		if (!w->delete_prefix) {
			w->then_ops = &batch.ops[i];
			w->then_count = 1;
		}
		w->done = note_order;
		assert_int_equal(store_write(rig.store, w), OK);
	}
	assert_int_equal(store_rig_step(&rig), OK);
	assert_int_equal(batch.done_count, n);
	for (int i = 0; i < n; i++)
		assert_int_equal(batch.order[i], i);
}

static void rules_see_what_is_pending_in_the_same_batch(void **state)
{
	batch = (struct batch){ .ops = {
					{ .kind = STORE_PUT,
					  .key = bytes_str("d/x") },
					{ .kind = STORE_PUT,
					  .key = bytes_str("d") },
					{ .kind = STORE_DELETE,
					  .key = bytes_str("d/x") },
					{ .kind = STORE_PUT,
					  .key = bytes_str("d") },
					{ .kind = STORE_PUT,
					  .key = bytes_str("d/y") },
					{ .kind = STORE_DELETE,
					  .key = bytes_str("d") },
					{ .kind = STORE_PUT,
					  .key = bytes_str("d/y") },
				} };
	batch_run(7);
	assert_int_equal(batch.writes[0].err, OK);
	assert_int_equal(batch.writes[1].err, ERR_IS_DIR);
	assert_int_equal(batch.writes[2].err, OK);
	assert_int_equal(batch.writes[3].err, OK);
	assert_int_equal(batch.writes[4].err, ERR_NOT_DIR);
	assert_int_equal(batch.writes[5].err, OK);
	assert_int_equal(batch.writes[6].err, OK);
	store_rig_expect(&rig, "d", NULL);
	store_rig_expect(&rig, "d/y", "");
}

static void
a_prefix_deletion_hides_what_came_before_it_in_the_batch(void **state)
{
	assert_int_equal(put("p/0", "old"), OK);
	batch = (struct batch){ .ops = {
					{ .kind = STORE_PUT,
					  .key = bytes_str("p/1") },
					{ 0 },
					{ .kind = STORE_PUT,
					  .key = bytes_str("p") },
					{ .kind = STORE_DELETE,
					  .key = bytes_str("p") },
					{ .kind = STORE_PUT,
					  .key = bytes_str("p/2") },
				} };
	batch.writes[1].delete_prefix = true;
	batch.writes[1].prefix = bytes_str("p/");
	batch_run(5);
	for (int i = 0; i < 5; i++)
		assert_int_equal(batch.writes[i].err, OK);
	assert_int_equal(batch.writes[1].deleted, 2);
	store_rig_expect(&rig, "p/0", NULL);
	store_rig_expect(&rig, "p/1", NULL);
	store_rig_expect(&rig, "p/2", "");
	store_rig_crash(&rig);
	store_rig_expect(&rig, "p/0", NULL);
	store_rig_expect(&rig, "p/2", "");
}

/* ----------------------------------------------------------- conditions -- */

static enum err put_if(enum store_condition_kind kind, uint64_t rev,
		       const char *value, uint64_t *rev_now)
{
	struct store_condition c = { .kind = kind,
				     .key = bytes_str("k"),
				     .rev = rev };
	struct store_op op = { .kind = STORE_PUT,
			       .key = bytes_str("k"),
			       .value = bytes_str("new") };
	struct store_write w = { .conditions = &c,
				 .condition_count = 1,
				 .then_ops = &op,
				 .then_count = 1 };
	enum err err;

	if (value)
		c.value = bytes_str(value);
	err = store_rig_write(&rig, &w);
	*rev_now = w.rev_now;
	return err;
}

static void conditions_are_met_or_refuse_with_the_current_revision(void **state)
{
	uint64_t rev, now;

	assert_int_equal(put_if(STORE_IF_EXISTS, 0, NULL, &now),
			 ERR_PRECONDITION);
	assert_int_equal(now, 0);
	assert_int_equal(put_if(STORE_IF_REV, 1, NULL, &now), ERR_PRECONDITION);
	assert_int_equal(put_if(STORE_IF_ABSENT, 0, NULL, &now), OK);
	assert_int_equal(store_rig_put(&rig, "k", "v", &rev), OK);
	assert_int_equal(put_if(STORE_IF_ABSENT, 0, NULL, &now),
			 ERR_PRECONDITION);
	assert_int_equal(now, rev);
	assert_int_equal(put_if(STORE_IF_REV, rev - 1, NULL, &now),
			 ERR_PRECONDITION);
	assert_int_equal(now, rev);
	assert_int_equal(put_if(STORE_IF_VALUE, 0, "w", &now),
			 ERR_PRECONDITION);
	assert_int_equal(put_if(STORE_IF_VALUE, 0, "vv", &now),
			 ERR_PRECONDITION);
	store_rig_expect(&rig, "k", "v");
	assert_int_equal(put_if(STORE_IF_VALUE, 0, "v", &now), OK);
	store_rig_expect(&rig, "k", "new");
	assert_int_equal(store_rig_put(&rig, "k", "v", &rev), OK);
	assert_int_equal(put_if(STORE_IF_REV, rev, NULL, &now), OK);
	assert_int_equal(put_if(STORE_IF_EXISTS, 0, NULL, &now), OK);
}

static void of_many_conditional_writes_in_a_batch_one_wins(void **state)
{
	struct store_condition c = { .kind = STORE_IF_ABSENT,
				     .key = bytes_str("k") };

	batch = (struct batch){ 0 };
	for (int i = 0; i < 8; i++) {
		batch.ops[i] = (struct store_op){ .kind = STORE_PUT,
						  .key = bytes_str("k") };
		batch.writes[i].conditions = &c;
		batch.writes[i].condition_count = 1;
	}
	batch_run(8);
	assert_int_equal(batch.writes[0].err, OK);
	for (int i = 1; i < 8; i++) {
		assert_int_equal(batch.writes[i].err, ERR_PRECONDITION);
		assert_int_equal(batch.writes[i].rev_now,
				 batch.writes[0].revision);
	}
}

static void a_value_condition_on_a_pending_value_waits_for_it(void **state)
{
	struct store_condition c = { .kind = STORE_IF_VALUE,
				     .key = bytes_str("k"),
				     .value = bytes_str("1") };
	struct store_op ops[2] = {
		{ .kind = STORE_PUT,
		  .key = bytes_str("k"),
		  .value = bytes_str("1") },
		{ .kind = STORE_PUT,
		  .key = bytes_str("k"),
		  .value = bytes_str("2") },
	};
	struct store_write w = { .then_ops = &ops[0], .then_count = 1 };
	struct store_write cas = { .conditions = &c,
				   .condition_count = 1,
				   .then_ops = &ops[1],
				   .then_count = 1 };

	batch = (struct batch){ 0 };
	w.done = note_order;
	assert_int_equal(store_write(rig.store, &w), OK);
	assert_int_equal(store_rig_write(&rig, &cas), OK);
	store_rig_expect(&rig, "k", "2");
}

/* --------------------------------------------------------- transactions -- */

static void a_txn_is_all_or_nothing(void **state)
{
	struct store_op ops[3] = {
		{ .kind = STORE_PUT, .key = bytes_str("t/a") },
		{ .kind = STORE_DELETE, .key = bytes_str("gone") },
		{ .kind = STORE_PUT, .key = bytes_str("f/below") },
	};
	struct store_write w = { .is_txn = true,
				 .then_ops = ops,
				 .then_count = 3 };

	assert_int_equal(put("f", "file"), OK);
	assert_int_equal(put("gone", "still here"), OK);
	assert_int_equal(store_rig_write(&rig, &w), ERR_NOT_DIR);
	assert_int_equal(w.failed_op, 2);
	store_rig_expect(&rig, "t/a", NULL);
	store_rig_expect(&rig, "gone", "still here");
	assert_int_equal(put("t", "no directory was left"), OK);
	assert_int_equal(del("t"), OK);
	assert_int_equal(del("f"), OK);
	assert_int_equal(store_rig_write(&rig, &w), OK);
	store_rig_expect(&rig, "t/a", "");
	store_rig_expect(&rig, "gone", NULL);
	store_rig_expect(&rig, "f/below", "");
}

static void a_txn_sees_its_own_earlier_operations(void **state)
{
	struct store_op ops[4] = {
		{ .kind = STORE_DELETE, .key = bytes_str("x") },
		{ .kind = STORE_PUT,
		  .key = bytes_str("x/y"),
		  .value = bytes_str("in") },
		{ .kind = STORE_GET, .key = bytes_str("x/y") },
		{ .kind = STORE_GET, .key = bytes_str("x") },
	};
	struct store_result results[4];
	struct store_write w = { .is_txn = true,
				 .then_ops = ops,
				 .then_count = 4,
				 .results = results };
	struct bytes piece;

	assert_int_equal(put("x", "file"), OK);
	assert_int_equal(store_rig_write(&rig, &w), OK);
	assert_true(results[0].existed);
	assert_false(results[1].existed);
	assert_true(results[2].found);
	assert_int_equal(results[2].rev, w.revision);
	assert_int_equal(store_value_read(results[2].value, 0, &piece), OK);
	assert_true(bytes_equal(piece, bytes_str("in")));
	assert_false(results[3].found);
	store_value_done(results[2].value);
}

static void unmet_conditions_choose_else(void **state)
{
	struct store_condition c[2] = {
		{ .kind = STORE_IF_ABSENT, .key = bytes_str("n") },
		{ .kind = STORE_IF_EXISTS, .key = bytes_str("k") },
	};
	struct store_op then_op = { .kind = STORE_PUT, .key = bytes_str("n") };
	struct store_op else_op = { .kind = STORE_GET, .key = bytes_str("k") };
	struct store_result result = { 0 };
	struct store_write w = { .is_txn = true,
				 .conditions = c,
				 .condition_count = 2,
				 .then_ops = &then_op,
				 .then_count = 1,
				 .else_ops = &else_op,
				 .else_count = 1,
				 .results = &result };

	assert_int_equal(store_rig_write(&rig, &w), OK);
	assert_false(w.succeeded);
	assert_false(result.found);
	store_rig_expect(&rig, "n", NULL);
	assert_int_equal(put("k", "1"), OK);
	assert_int_equal(store_rig_write(&rig, &w), OK);
	assert_true(w.succeeded);
	store_rig_expect(&rig, "n", "");
	assert_int_equal(store_rig_write(&rig, &w), OK);
	assert_false(w.succeeded);
	assert_true(result.found);
	store_value_done(result.value);
}

static void malformed_txns_are_refused_at_once(void **state)
{
	struct store_op twice[2] = {
		{ .kind = STORE_PUT, .key = bytes_str("a") },
		{ .kind = STORE_DELETE, .key = bytes_str("a") },
	};
	struct store_op many[129];
	struct store_write w = { .is_txn = true,
				 .then_ops = twice,
				 .then_count = 2 };
	char *big = calloc(1, STORE_TXN_BYTES_MAX);

	assert_int_equal(store_rig_write(&rig, &w), ERR_DUPLICATE);
	for (int i = 0; i < 129; i++)
		many[i] = (struct store_op){ .kind = STORE_GET,
					     .key = bytes_str("a") };
	w.then_ops = many;
	w.then_count = 129;
	assert_int_equal(store_rig_write(&rig, &w), ERR_TOO_LARGE);
	twice[1].key = bytes_str("b");
	twice[0].value = bytes_of(big, STORE_TXN_BYTES_MAX - 1);
	w.then_ops = twice;
	w.then_count = 2;
	assert_int_equal(store_rig_write(&rig, &w), ERR_TOO_LARGE);
	twice[0].value.n--;
	assert_int_equal(store_rig_write(&rig, &w), OK);
	free(big);
}

static void a_txn_across_partitions_is_refused(void **state)
{
	struct store_op ops[2] = {
		{ .kind = STORE_PUT, .key = bytes_str("d1/a") },
		{ .kind = STORE_PUT, .key = bytes_str("d1/b") },
	};
	struct store_write w = { .is_txn = true,
				 .then_ops = ops,
				 .then_count = 2 };
	char name[16];

	assert_int_equal(store_rig_write(&rig, &w), OK);
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "e%d/b", i);
		if (store_partition_of(rig.store, bytes_str(name)) !=
		    store_partition_of(rig.store, ops[0].key))
			break;
	}
	ops[1].key = bytes_str(name);
	assert_int_equal(store_rig_write(&rig, &w), ERR_CROSS_PART);
}

/* ------------------------------------------------------ prefix deletion -- */

static void a_prefix_deletion_counts_and_deletes_exactly(void **state)
{
	uint64_t deleted;

	assert_int_equal(put("p/a", "1"), OK);
	assert_int_equal(put("p/b/c", "1"), OK);
	assert_int_equal(put("p/b/d", "1"), OK);
	assert_int_equal(put("q", "1"), OK);
	assert_int_equal(store_rig_del_prefix(&rig, "p/b", &deleted), OK);
	assert_int_equal(deleted, 2);
	assert_int_equal(store_rig_del_prefix(&rig, "p/b", &deleted), OK);
	assert_int_equal(deleted, 0);
	store_rig_expect(&rig, "p/a", "1");
	store_rig_expect(&rig, "p/b/c", NULL);
	assert_int_equal(store_rig_del_prefix(&rig, "", &deleted), OK);
	assert_int_equal(deleted, 2);
	store_rig_expect(&rig, "q", NULL);
	store_rig_crash(&rig);
	store_rig_expect(&rig, "q", NULL);
	store_rig_expect(&rig, "p/b/c", NULL);
}

static void
all_partitions_are_listed_merged_and_deleted_each_for_itself(void **state)
{
	struct store_write w = { .delete_prefix = true };
	struct buf b = BUF_INIT;
	char name[16];

	for (int i = 0; i < 30; i++) {
		snprintf(name, sizeof(name), "k%02d", (i * 7) % 30);
		assert_int_equal(put(name, "1"), OK);
	}
	store_rig_list(&rig, &(struct store_list){ .limit = 7 }, &b);
	for (int i = 0; i < 30; i++) {
		snprintf(name, sizeof(name), "k%02d ", i);
		assert_memory_equal(b.p + 4 * i, name, 4);
	}
	assert_int_equal(b.n, 30 * 4);
	buf_done(&b);
	w.prefix = bytes_str("k1");
	assert_int_equal(store_rig_write(&rig, &w), OK);
	assert_int_equal(w.deleted, 10);
	assert_false(w.atomic);
	w.prefix = bytes_str("");
	assert_int_equal(store_rig_write(&rig, &w), OK);
	assert_int_equal(w.deleted, 20);
	store_rig_stop(&rig);
	store_rig_start(&rig);
	assert_int_equal(put("k00", "again"), OK);
	store_rig_expect(&rig, "k00", "again");
}

/* -------------------------------------------------------------- listing -- */

static void expect_list(const struct store_list *list, const char *want)
{
	struct buf b = BUF_INIT;

	for (uint32_t limit = 1; limit < 5; limit++) {
		struct store_list l = *list;

		l.limit = limit;
		b.n = 0;
		store_rig_list(&rig, &l, &b);
		assert_int_equal(buf_add(&b, "", 1), OK);
		assert_string_equal((char *)b.p, want);
	}
	buf_done(&b);
}

static void listings_page_fold_and_turn_round(void **state)
{
	struct bytes slash = bytes_str("/");

	assert_int_equal(put("a", "1"), OK);
	assert_int_equal(put("b/x", "22"), OK);
	assert_int_equal(put("b/y/z", "1"), OK);
	assert_int_equal(put("b0", "1"), OK);
	assert_int_equal(put("e/", ""), OK);
	expect_list(&(struct store_list){ 0 }, "a b/x b/y/z b0 e/ ");
	expect_list(&(struct store_list){ .reverse = true },
		    "e/ b0 b/y/z b/x a ");
	expect_list(&(struct store_list){ .delimiter = slash },
		    "a [b/] b0 [e/] ");
	expect_list(&(struct store_list){ .delimiter = slash, .reverse = true },
		    "[e/] b0 [b/] a ");
	expect_list(&(struct store_list){ .delimiter = slash,
					  .prefix = bytes_str("b/") },
		    "b/x [b/y/] ");
	expect_list(&(struct store_list){ .prefix = bytes_str("b") },
		    "b/x b/y/z b0 ");
	expect_list(&(struct store_list){ .start = bytes_str("b/x"),
					  .end = bytes_str("b0") },
		    "b/x b/y/z ");
	expect_list(&(struct store_list){ .start = bytes_str("b/x"),
					  .end = bytes_str("b0"),
					  .reverse = true },
		    "b/y/z b/x ");
	expect_list(&(struct store_list){ .prefix = bytes_str("zz") }, "");
}

static enum err check_value(void *ctx, const struct store_list_item *item)
{
	int *n = ctx;

	(*n)++;
	assert_int_equal(item->value_err, OK);
	assert_int_equal(item->value.n, item->info.bytes);
	return OK;
}

static void a_listing_brings_values_and_stops_at_its_bytes(void **state)
{
	struct store_list l = { .limit = 100, .values = true };
	int n = 0;

	for (int i = 0; i < 10; i++) {
		char name[8];

		snprintf(name, sizeof(name), "k%d", i);
		assert_int_equal(put(name, "0123456789"), OK);
	}
	assert_int_equal(store_list(rig.store, &l, check_value, &n), OK);
	assert_int_equal(n, 10);
	assert_false(l.more);
	buf_done(&l.revision);
	l.bytes_max = 30;
	n = 0;
	assert_int_equal(store_list(rig.store, &l, check_value, &n), OK);
	assert_int_equal(n, 3);
	assert_true(l.more);
	buf_done(&l.revision);
	buf_done(&l.next);
	l.after = bytes_str("nonsense");
	assert_int_equal(store_list(rig.store, &l, check_value, &n),
			 ERR_INVALID);
}

int main(void)
{
#define T(f)  cmocka_unit_test_setup_teardown(f, setup, teardown)
#define T4(f) cmocka_unit_test_setup_teardown(f, setup_four, teardown)
	const struct CMUnitTest tests[] = {
		T(a_put_is_read_back_and_survives_power_loss),
		T(a_deleted_key_is_gone_and_stays_gone),
		T(a_replaced_key_keeps_its_attributes),
		T(deleting_an_absent_key_appends_nothing),
		T(impossible_keys_are_refused_at_once),
		T(nothing_lies_below_a_file),
		T(a_directory_is_no_file),
		T(rules_see_what_is_pending_in_the_same_batch),
		T(a_prefix_deletion_hides_what_came_before_it_in_the_batch),
		T(conditions_are_met_or_refuse_with_the_current_revision),
		T(of_many_conditional_writes_in_a_batch_one_wins),
		T(a_value_condition_on_a_pending_value_waits_for_it),
		T(a_txn_is_all_or_nothing),
		T(a_txn_sees_its_own_earlier_operations),
		T(unmet_conditions_choose_else),
		T(malformed_txns_are_refused_at_once),
		T4(a_txn_across_partitions_is_refused),
		T(a_prefix_deletion_counts_and_deletes_exactly),
		T4(a_prefix_deletion_counts_and_deletes_exactly),
		T4(all_partitions_are_listed_merged_and_deleted_each_for_itself),
		T(listings_page_fold_and_turn_round),
		T4(listings_page_fold_and_turn_round),
		T(a_listing_brings_values_and_stops_at_its_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
