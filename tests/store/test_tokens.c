/*
 * tests/store/test_tokens.c - proves store/tokens.c: what is made on one node
 * counts on all of them, and stays.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/tokens.h"
#include "tests/lib/cluster_rig.h"

static struct cluster c;

static void begin(uint32_t founders)
{
	struct cluster_options o;

	cluster_options_default(&o, founders, 1, 7);
	cluster_init(&c, &o);
	cluster_start_all(&c);
	cluster_wait_leader(&c, 10000);
}

static int end(void **state)
{
	cluster_done(&c);
	return 0;
}

static struct store_token token(const char *name, const char *prefix)
{
	struct store_token t = { .right = STORE_RIGHT_WRITE,
				 .prefix = bytes_str(prefix) };

	snprintf(t.name, sizeof(t.name), "%s", name);
	snprintf((char *)t.hash, sizeof(t.hash), "%s#%s", name, prefix);
	return t;
}

static enum err change(uint64_t through, enum store_change_kind kind,
		       const struct store_token *t)
{
	struct store_change ch;
	enum err err = ERR_BUSY;

	for (int i = 0; i < 100 && (err == ERR_BUSY || err == ERR_NO_LEADER);
	     i++) {
		ch = (struct store_change){ .kind = kind, .token = *t };
		err = cluster_change(&c, through, &ch);
		if (err)
			cluster_run(&c, 20);
	}
	return err;
}

/* What node id says of t: its prefix in a static buffer, or NULL. */
static const char *found(uint64_t id, const struct store_token *t)
{
	static char text[STORE_TOKEN_PREFIX_BYTES_MAX + 1];
	struct store *s = cluster_node(&c, id)->store;
	const struct store_token *f = store_token_find(s, t->hash);

	if (!f)
		return NULL;
	assert_string_equal(f->name, t->name);
	assert_int_equal(f->right, t->right);
	memcpy(text, f->prefix.p ? (const char *)f->prefix.p : "", f->prefix.n);
	text[f->prefix.n] = 0;
	store_token_done(f);
	return text;
}

static void everywhere(const struct store_token *t, bool there)
{
	for (uint64_t id = 1; id <= 3; id++) {
		const char *prefix = found(id, t);

		if (!there)
			assert_null(prefix);
		else
			assert_non_null(prefix);
	}
}

static enum err count_one(void *ctx, const struct store_token *t)
{
	++*(int *)ctx;
	return OK;
}

static int count(uint64_t id)
{
	int n = 0;

	assert_int_equal(
		store_tokens_each(cluster_node(&c, id)->store, count_one, &n),
		OK);
	return n;
}

static void a_token_counts_on_every_node(void **state)
{
	struct store_token a = token("a", "x/"), b = token("b", "");
	uint64_t before;

	begin(3);
	before = store_tokens_version(cluster_node(&c, 2)->store);
	/* Through each node, whoever leads. */
	assert_int_equal(change(1, STORE_TOKEN_ADD, &a), OK);
	assert_string_equal(found(1, &a), "x/");
	assert_int_equal(change(2, STORE_TOKEN_ADD, &b), OK);
	assert_non_null(found(2, &b));
	cluster_run(&c, 500);
	everywhere(&a, true);
	everywhere(&b, true);
	assert_true(store_tokens_version(cluster_node(&c, 2)->store) > before);
	assert_int_equal(change(3, STORE_TOKEN_REMOVE, &a), OK);
	/* On the node that answers at once, on the others soon. */
	assert_null(found(3, &a));
	cluster_run(&c, 500);
	everywhere(&a, false);
	everywhere(&b, true);
	assert_int_equal(count(1), 1);
	cluster_expect_same(&c, 10000);
}

static void names_are_given_once(void **state)
{
	struct store_token a = token("a", "x/"), other = token("a", "y/");

	begin(3);
	assert_int_equal(change(1, STORE_TOKEN_REMOVE, &a), ERR_NOT_FOUND);
	assert_int_equal(change(1, STORE_TOKEN_ADD, &a), OK);
	assert_int_equal(change(2, STORE_TOKEN_ADD, &other), ERR_EXISTS);
	assert_int_equal(change(2, STORE_TOKEN_ADD, &a), ERR_EXISTS);
	assert_int_equal(change(3, STORE_TOKEN_SET, &other), OK);
	cluster_run(&c, 500);
	everywhere(&a, false);
	everywhere(&other, true);
}

/* A removal names the prefix below which it may remove. */
static void a_removal_stays_below_its_prefix(void **state)
{
	struct store_token a = token("a", "x/y/"), r = a;

	begin(3);
	assert_int_equal(change(1, STORE_TOKEN_ADD, &a), OK);
	r.prefix = bytes_str("x/z");
	assert_int_equal(change(1, STORE_TOKEN_REMOVE, &r), ERR_NOT_FOUND);
	assert_int_equal(change(2, STORE_TOKEN_REMOVE, &r), ERR_NOT_FOUND);
	r.prefix = bytes_str("x/y/z");
	assert_int_equal(change(3, STORE_TOKEN_REMOVE, &r), ERR_NOT_FOUND);
	r.prefix = bytes_str("x/");
	assert_int_equal(change(3, STORE_TOKEN_REMOVE, &r), OK);
}

static void malformed_ones_are_refused(void **state)
{
	static char longest[STORE_TOKEN_PREFIX_BYTES_MAX + 1];
	struct store_token t;

	begin(1);
	t = token("", "");
	assert_int_equal(change(1, STORE_TOKEN_ADD, &t), ERR_INVALID);
	t = token("a/b", "");
	assert_int_equal(change(1, STORE_TOKEN_ADD, &t), ERR_INVALID);
	t = token("a", "");
	memset(t.name, 'a', sizeof(t.name));
	assert_int_equal(change(1, STORE_TOKEN_ADD, &t), ERR_INVALID);
	assert_int_equal(change(1, STORE_TOKEN_REMOVE, &t), ERR_INVALID);
	t = token("a", "");
	t.right = STORE_RIGHT_NONE;
	assert_int_equal(change(1, STORE_TOKEN_ADD, &t), ERR_INVALID);
	t = token("a", "");
	t.prefix = bytes_of(longest, sizeof(longest));
	assert_int_equal(change(1, STORE_TOKEN_ADD, &t), ERR_INVALID);
	memset(longest, 'p', sizeof(longest));
	t.prefix.n--;
	assert_int_equal(change(1, STORE_TOKEN_ADD, &t), OK);
	assert_int_equal(strlen(found(1, &t)), STORE_TOKEN_PREFIX_BYTES_MAX);
}

static void there_is_a_bound(void **state)
{
	struct store_token t;
	char name[32];

	begin(1);
	for (int i = 0; i < STORE_TOKENS_MAX; i++) {
		snprintf(name, sizeof(name), "t%d", i);
		t = token(name, "");
		assert_int_equal(change(1, STORE_TOKEN_ADD, &t), OK);
	}
	t = token("more", "");
	assert_int_equal(change(1, STORE_TOKEN_ADD, &t), ERR_FULL);
	t = token("t7", "q/");
	assert_int_equal(change(1, STORE_TOKEN_SET, &t), OK);
	assert_int_equal(count(1), STORE_TOKENS_MAX);
	assert_string_equal(found(1, &t), "q/");
}

static void tokens_outlive_crashes(void **state)
{
	struct store_token a = token("a", "x/"), b = token("b", "");

	begin(3);
	assert_int_equal(change(1, STORE_TOKEN_ADD, &a), OK);
	assert_int_equal(change(1, STORE_TOKEN_ADD, &b), OK);
	assert_int_equal(change(1, STORE_TOKEN_REMOVE, &b), OK);
	for (uint64_t id = 1; id <= 3; id++)
		cluster_crash(&c, id);
	cluster_start_all(&c);
	cluster_wait_leader(&c, 10000);
	cluster_run(&c, 1000);
	everywhere(&a, true);
	everywhere(&b, false);
}

/* One that is held stays as it was. */
static void a_held_token_stays_readable(void **state)
{
	struct store_token a = token("a", "x/");
	const struct store_token *held;

	begin(1);
	assert_int_equal(change(1, STORE_TOKEN_ADD, &a), OK);
	held = store_token_find(cluster_node(&c, 1)->store, a.hash);
	assert_int_equal(change(1, STORE_TOKEN_REMOVE, &a), OK);
	assert_null(found(1, &a));
	assert_string_equal(held->name, "a");
	assert_true(bytes_equal(held->prefix, bytes_str("x/")));
	store_token_done(held);
	store_token_done(NULL);
}

/* A node that gets a state instead of the log gets the tokens with it. */
static void tokens_travel_with_the_state(void **state)
{
	struct store_token a = token("a", "x/"), b = token("b", "");
	uint64_t rev;

	begin(3);
	assert_int_equal(change(1, STORE_TOKEN_ADD, &a), OK);
	cluster_run(&c, 500);
	cluster_kill(&c, 3);
	assert_int_equal(change(1, STORE_TOKEN_REMOVE, &a), OK);
	assert_int_equal(change(2, STORE_TOKEN_ADD, &b), OK);
	for (int i = 0; i < 3; i++) {
		for (int k = 0; k < 40; k++)
			assert_int_equal(cluster_put(&c, 1, "k", "value", &rev),
					 OK);
		engine_merge_request(cluster_node(&c, 1)->engine);
		engine_merge_request(cluster_node(&c, 2)->engine);
		cluster_run(&c, 3000);
	}
	cluster_start(&c, 3);
	cluster_run(&c, 5000);
	everywhere(&a, false);
	everywhere(&b, true);
	cluster_expect_same(&c, 20000);
}

static void records_read_back(void **state)
{
	struct store_token a = token("a", "x/"), back = { 0 };
	struct buf b = BUF_INIT;

	assert_int_equal(token_encode(&b, &a), OK);
	assert_int_equal(b.n, TOKEN_HEAD_BYTES + 2);
	assert_memory_equal(b.p, "\1\2\2\0\0\0\0\0a#x/", 12);
	assert_int_equal(token_decode(buf_bytes(&b), &back), OK);
	assert_int_equal(back.right, a.right);
	assert_memory_equal(back.hash, a.hash, sizeof(a.hash));
	assert_true(bytes_equal(back.prefix, a.prefix));
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(token_decode(bytes_of(b.p, n), &back),
				 ERR_CORRUPT);
	b.p[1] = STORE_RIGHT_ADMIN + 1;
	assert_int_equal(token_decode(buf_bytes(&b), &back), ERR_CORRUPT);
	b.p[1] = STORE_RIGHT_NONE;
	assert_int_equal(token_decode(buf_bytes(&b), &back), ERR_CORRUPT);
	b.p[0] = TOKEN_FORMAT + 1;
	assert_int_equal(token_decode(buf_bytes(&b), &back), ERR_VERSION);
	buf_done(&b);
}

#define with_cluster(f) cmocka_unit_test_teardown(f, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_cluster(a_token_counts_on_every_node),
		with_cluster(names_are_given_once),
		with_cluster(a_removal_stays_below_its_prefix),
		with_cluster(malformed_ones_are_refused),
		with_cluster(there_is_a_bound),
		with_cluster(tokens_outlive_crashes),
		with_cluster(a_held_token_stays_readable),
		with_cluster(tokens_travel_with_the_state),
		cmocka_unit_test(records_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
