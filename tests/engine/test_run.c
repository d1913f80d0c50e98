/* tests/engine/test_run.c - proves engine/run.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/seed.h"
#include "engine/loc.h"
#include "engine/record.h"
#include "engine/run.h"

enum { MODEL_RUNS = 6, MODEL_ITEMS = 400 };

static uint64_t seed_now; /* printed when a model test fails */

static struct run_item item_of(uint8_t type, const char *key, uint64_t index)
{
	return (struct run_item){
		.key = bytes_str(key),
		.version = version_pack(index, 0),
		.loc = loc_pack(1, index * 64, 0),
		.term = 1,
		.disk_bytes = 64,
		.type = type,
	};
}

static void add(struct run *run, uint8_t type, const char *key, uint64_t index)
{
	struct run_item it = item_of(type, key, index);

	assert_int_equal(run_add(run, &it), OK);
}

/* What a merge said, as text: "+key@index" live, "-key@index" dead. */
struct told {
	char live[4096], dead[4096];
	uint64_t live_count, stop_after;
};

static void tell(char *text, const struct run_item *it)
{
	size_t n = strlen(text);

	snprintf(text + n, 4096 - n, "%s%.*s@%llu ",
		 it->type == RECORD_PUT		    ? "+"
		 : it->type == RECORD_DELETE_PREFIX ? "*"
						    : "-",
		 (int)it->key.n, it->key.p,
		 (unsigned long long)version_index(it->version));
}

static enum err on_live(void *ctx, const struct run_item *it)
{
	struct told *t = ctx;

	tell(t->live, it);
	return ++t->live_count == t->stop_after ? ERR_NOSPC : OK;
}

static void on_dead(void *ctx, const struct run_item *it)
{
	struct told *t = ctx;

	tell(t->dead, it);
}

static void every_field_comes_back(void **state)
{
	struct run_item in = {
		.key = bytes_str("k"),
		.version = version_pack(VERSION_INDEX_MAX, 65535),
		.loc = loc_pack(LOC_FILE_ID_MAX, LOC_OFFSET_MAX, LOC_FLAGS_MAX),
		.term = ~0ull,
		.expiry_ns = ~0ull,
		.value_bytes = ~0u,
		.disk_bytes = (1u << 25) - 8,
		.attr_bytes = 65535,
		.type = RECORD_EXPIRE,
	};
	uint8_t longest[RECORD_KEY_BYTES_MAX];
	struct run_item out;
	struct run *run;

	memset(longest, 'x', sizeof(longest));
	assert_int_equal(run_new(&run), OK);
	add(run, RECORD_PUT, "first", 1);
	assert_int_equal(run_add(run, &in), OK);
	in.key = bytes_of(longest, sizeof(longest));
	in.expiry_ns = 0;
	assert_int_equal(run_add(run, &in), OK);
	run_sort(run);
	assert_int_equal(run_count(run), 3);
	run_item(run, 1, &out);
	assert_int_equal(out.key.n, 1);
	assert_true(out.version == in.version && out.loc == in.loc);
	assert_true(out.term == ~0ull && out.expiry_ns == ~0ull);
	assert_int_equal(out.value_bytes, ~0u);
	assert_int_equal(out.disk_bytes, in.disk_bytes);
	assert_int_equal(out.attr_bytes, 65535);
	assert_int_equal(out.type, RECORD_EXPIRE);
	run_item(run, 2, &out);
	assert_true(bytes_equal(out.key, in.key));
	assert_true(out.term == ~0ull && out.expiry_ns == 0);
	run_free(run);
}

static void same_key_and_version_keeps_the_one_added_last(void **state)
{
	struct run_item a = item_of(RECORD_PUT, "a", 7), out;
	struct run *run;

	assert_int_equal(run_new(&run), OK);
	a.loc = 1 << 11;
	assert_int_equal(run_add(run, &a), OK);
	add(run, RECORD_PUT, "b", 1);
	a.loc = 2 << 11;
	assert_int_equal(run_add(run, &a), OK);
	add(run, RECORD_PUT, "a", 8);
	run_sort(run);
	assert_int_equal(run_count(run), 3);
	run_item(run, 0, &out);
	assert_int_equal(version_index(out.version), 8);
	run_item(run, 1, &out);
	assert_int_equal(version_index(out.version), 7);
	assert_true(out.loc == 2 << 11);
	run_free(run);
}

static void merge_of(struct run **runs, uint32_t n, struct told *t)
{
	memset(t, 0, sizeof(*t));
	for (uint32_t i = 0; i < n; i++)
		run_sort(runs[i]);
	assert_int_equal(run_merge(runs, n, on_live, on_dead, t), OK);
	for (uint32_t i = 0; i < n; i++)
		run_free(runs[i]);
}

static void highest_version_wins_whatever_the_order_of_runs(void **state)
{
	struct run *r[2];
	struct told t;

	assert_int_equal(run_new(&r[0]), OK);
	assert_int_equal(run_new(&r[1]), OK);
	add(r[0], RECORD_PUT, "a", 9);
	add(r[0], RECORD_PUT, "b", 2);
	add(r[0], RECORD_DELETE, "c", 5);
	add(r[1], RECORD_PUT, "a", 3);
	add(r[1], RECORD_PUT, "b", 4);
	add(r[1], RECORD_PUT, "c", 1);
	merge_of(r, 2, &t);
	assert_string_equal(t.live, "+a@9 +b@4 -c@5 ");
	assert_string_equal(t.dead, "+a@3 +b@2 +c@1 ");
}

static void range_tombstone_hides_exactly_what_is_older_below_it(void **state)
{
	struct run *r[2];
	struct told t;

	assert_int_equal(run_new(&r[0]), OK);
	assert_int_equal(run_new(&r[1]), OK);
	add(r[1], RECORD_DELETE_PREFIX, "a/", 9);
	add(r[0], RECORD_DELETE_PREFIX, "a/b", 7);
	add(r[0], RECORD_DELETE_PREFIX, "a/b/", 12);
	add(r[0], RECORD_PUT, "a", 1);
	add(r[0], RECORD_PUT, "a/", 8);
	add(r[1], RECORD_PUT, "a/b/x", 11);
	add(r[0], RECORD_PUT, "a/b/y", 13);
	add(r[1], RECORD_PUT, "a/c", 10);
	add(r[0], RECORD_DELETE, "a/d", 3);
	add(r[0], RECORD_PUT, "a0", 2);
	add(r[0], RECORD_PUT, "b", 3);
	merge_of(r, 2, &t);
	assert_string_equal(t.live, "+a@1 *a/@9 *a/b/@12 +a/b/y@13 +a/c@10 "
				    "+a0@2 +b@3 ");
	assert_string_equal(t.dead, "+a/@8 *a/b@7 +a/b/x@11 -a/d@3 ");
}

static void empty_prefix_hides_everything_older(void **state)
{
	struct run *r[1];
	struct told t;

	assert_int_equal(run_new(&r[0]), OK);
	add(r[0], RECORD_PUT, "k", 4);
	add(r[0], RECORD_DELETE_PREFIX, "", 5);
	add(r[0], RECORD_PUT, "j", 6);
	add(r[0], RECORD_DELETE_PREFIX, "", 3);
	merge_of(r, 1, &t);
	assert_string_equal(t.live, "*@5 +j@6 ");
	assert_string_equal(t.dead, "*@3 +k@4 ");
}

static void equal_versions_the_later_run_wins(void **state)
{
	struct run_item a = item_of(RECORD_PUT, "a", 7);
	struct run *r[3];
	struct told t = { 0 };

	for (int i = 0; i < 3; i++) {
		assert_int_equal(run_new(&r[i]), OK);
		a.version = version_pack(7, 0);
		a.loc = loc_pack(10 + i, 0, 0);
		assert_int_equal(run_add(r[i], &a), OK);
		run_sort(r[i]);
	}
	for (int turn = 0; turn < 2; turn++) {
		struct run *swap[2] = { r[turn], r[turn + 1] };

		memset(&t, 0, sizeof(t));
		assert_int_equal(run_merge(swap, 2, on_live, on_dead, &t), OK);
		assert_string_equal(t.live, "+a@7 ");
		assert_string_equal(t.dead, "+a@7 ");
	}
	for (int i = 0; i < 3; i++)
		run_free(r[i]);
}

static void an_error_of_the_callback_ends_the_walk(void **state)
{
	struct run *r[1];
	struct told t = { .stop_after = 2 };

	assert_int_equal(run_new(&r[0]), OK);
	add(r[0], RECORD_PUT, "a", 1);
	add(r[0], RECORD_PUT, "b", 1);
	add(r[0], RECORD_PUT, "c", 1);
	run_sort(r[0]);
	assert_int_equal(run_merge(r, 1, on_live, NULL, &t), ERR_NOSPC);
	assert_string_equal(t.live, "+a@1 +b@1 ");
	run_free(r[0]);
}

/* -------------------------------------------------------------- model ---- */

struct change {
	char key[16];
	uint64_t index;
	uint8_t type;
};

struct walk {
	const struct change *changes;
	uint32_t count;
	char last[16];
	uint32_t puts;
	uint64_t dead, live;
};

/* The newest change that touches key; NULL: none. */
static const struct change *newest(const struct walk *w, const char *key)
{
	const struct change *best = NULL;

	for (uint32_t i = 0; i < w->count; i++) {
		const struct change *c = &w->changes[i];
		bool hit = c->type == RECORD_DELETE_PREFIX
				   ? !strncmp(key, c->key, strlen(c->key))
				   : !strcmp(key, c->key);

		if (hit && (!best || c->index > best->index))
			best = c;
	}
	return best;
}

static enum err model_live(void *ctx, const struct run_item *it)
{
	struct walk *w = ctx;
	const struct change *c;
	char key[16] = { 0 };

	memcpy(key, it->key.p, it->key.n);
	w->live++;
	if (it->type != RECORD_PUT)
		return OK;
	assert_true(w->puts == 0 || strcmp(w->last, key) < 0);
	c = newest(w, key);
	assert_non_null(c);
	assert_int_equal(c->type, RECORD_PUT);
	assert_int_equal(c->index, version_index(it->version));
	strcpy(w->last, key);
	w->puts++;
	return OK;
}

static void model_dead(void *ctx, const struct run_item *it)
{
	struct walk *w = ctx;
	const struct change *c;
	char key[16] = { 0 };

	memcpy(key, it->key.p, it->key.n);
	c = newest(w, key);
	assert_true(c->index >= version_index(it->version));
	w->dead++;
}

static void random_key(struct seed *s, char key[16])
{
	uint32_t n = seed_below(s, 9);

	for (uint32_t i = 0; i < n; i++)
		key[i] = "ab/"[seed_below(s, 3)];
	key[n] = 0;
}

static void one_model(uint64_t n)
{
	struct change changes[MODEL_ITEMS];
	struct run *runs[MODEL_RUNS];
	struct walk w = { .changes = changes };
	struct seed s;
	uint32_t puts = 0;

	seed_init(&s, n);
	for (int i = 0; i < MODEL_RUNS; i++)
		assert_int_equal(run_new(&runs[i]), OK);
	w.count = 1 + seed_below(&s, MODEL_ITEMS);
	for (uint32_t i = 0; i < w.count; i++) {
		struct change *c = &changes[i];
		uint64_t dice = seed_below(&s, 10);

		random_key(&s, c->key);
		c->index = i + 1;
		c->type = dice < 6   ? RECORD_PUT
			  : dice < 9 ? RECORD_DELETE
				     : RECORD_DELETE_PREFIX;
		if (c->type != RECORD_DELETE_PREFIX && !c->key[0])
			c->key[0] = 'z', c->key[1] = 0;
		add(runs[seed_below(&s, MODEL_RUNS)], c->type, c->key,
		    c->index);
	}
	for (int i = 0; i < MODEL_RUNS; i++)
		run_sort(runs[i]);
	assert_int_equal(
		run_merge(runs, MODEL_RUNS, model_live, model_dead, &w), OK);
	for (uint32_t i = 0; i < w.count; i++) {
		const struct change *c = newest(&w, changes[i].key);

		if (changes[i].type == RECORD_PUT && c == &changes[i])
			puts++;
	}
	assert_int_equal(puts, w.puts);
	assert_int_equal(w.live + w.dead, w.count);
	for (int i = 0; i < MODEL_RUNS; i++)
		run_free(runs[i]);
}

static void random_runs_agree_with_a_plain_model(void **state)
{
	const char *env = getenv("SEED");
	uint64_t first = env ? strtoull(env, NULL, 10) : 1;
	uint64_t last = env ? first : 600;

	for (uint64_t n = first; n <= last; n++) {
		if (env)
			print_message("SEED=%llu\n", (unsigned long long)n);
		seed_now = n;
		one_model(n);
	}
	seed_now = 0;
}

static void large_runs_sort_and_merge(void **state)
{
	enum { COUNT = 200000 };
	struct run_item last, it;
	struct run *run;
	struct seed s;

	seed_init(&s, 5);
	assert_int_equal(run_new(&run), OK);
	for (uint32_t i = 0; i < COUNT; i++) {
		char key[32];

		snprintf(key, sizeof(key), "user/%012llu",
			 (unsigned long long)seed_below(&s, 1000000000));
		add(run, RECORD_PUT, key, i + 1);
	}
	run_sort(run);
	assert_int_equal(run_count(run), COUNT);
	run_item(run, 0, &last);
	for (uint32_t i = 1; i < COUNT; i++) {
		int c;

		run_item(run, i, &it);
		c = bytes_compare(last.key, it.key);
		assert_true(c < 0 || (c == 0 && last.version > it.version));
		last = it;
	}
	run_free(run);
}

static int say_seed(void **state)
{
	if (seed_now)
		print_message("last SEED=%llu\n", (unsigned long long)seed_now);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_comes_back),
		cmocka_unit_test(same_key_and_version_keeps_the_one_added_last),
		cmocka_unit_test(
			highest_version_wins_whatever_the_order_of_runs),
		cmocka_unit_test(
			range_tombstone_hides_exactly_what_is_older_below_it),
		cmocka_unit_test(empty_prefix_hides_everything_older),
		cmocka_unit_test(equal_versions_the_later_run_wins),
		cmocka_unit_test(an_error_of_the_callback_ends_the_walk),
		cmocka_unit_test_teardown(random_runs_agree_with_a_plain_model,
					  say_seed),
		cmocka_unit_test(large_runs_sort_and_merge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
