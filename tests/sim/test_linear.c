/*
 * tests/sim/test_linear.c - the judge of histories is just.
 *
 * Histories known to be good and bad, and random ones against a judge that
 * tries every order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/seed.h"
#include "tests/lib/linear.h"

enum { TRIES = 1000000 };

/* Lines, each without its braces and with ' for ". */
static enum linear_verdict judge(const char *const *lines)
{
	struct linear *l = linear_new();
	struct buf why = BUF_INIT;
	enum linear_verdict v;
	char text[512];

	for (; *lines; lines++) {
		snprintf(text, sizeof(text), "{%s}", *lines);
		for (char *p = text; *p; p++)
			if (*p == '\'')
				*p = '"';
		if (!linear_add_json(l, text, &why))
			fail_msg("%s: %.*s", text, (int)why.n, why.p);
	}
	v = linear_check(l, TRIES, &why);
	if (v != LINEAR_YES)
		assert_true(why.n > 0);
	buf_done(&why);
	linear_free(l);
	return v;
}

#define GOOD(...)                                                              \
	assert_int_equal(judge((const char *[]){ __VA_ARGS__, NULL }),         \
			 LINEAR_YES)
#define BAD(...)                                                               \
	assert_int_equal(judge((const char *[]){ __VA_ARGS__, NULL }),         \
			 LINEAR_NO)

#define OP(op, value, start, end)                                              \
	"'op':'" op "','key':'k','value':" value                               \
	",'ok':true,'start_ns':" start ",'end_ns':" end
#define LOST(op, value, start)                                                 \
	"'op':'" op "','key':'k','value':" value                               \
	",'ok':'unknown','start_ns':" start
#define CAS(expect, value, ok, start, end)                                     \
	"'op':'cas','key':'k','expect':" expect ",'value':" value ",'ok':" ok  \
	",'start_ns':" start ",'end_ns':" end

static void a_read_sees_the_last_write(void **state)
{
	GOOD(OP("get", "null", "1", "2"));
	GOOD(OP("put", "'a'", "1", "2"), OP("get", "'a'", "3", "4"));
	BAD(OP("put", "'a'", "1", "2"), OP("get", "null", "3", "4"));
	BAD(OP("put", "'a'", "1", "2"), OP("put", "'b'", "3", "4"),
	    OP("get", "'a'", "5", "6"));
	BAD(OP("get", "'a'", "1", "2"), OP("put", "'a'", "3", "4"));
	BAD(OP("put", "'a'", "1", "2"), OP("delete", "null", "3", "4"),
	    OP("get", "'a'", "5", "6"));
}

static void what_overlaps_may_be_in_any_order(void **state)
{
	GOOD(OP("put", "'a'", "1", "9"), OP("get", "null", "2", "3"),
	     OP("get", "'a'", "4", "5"));
	BAD(OP("put", "'a'", "1", "9"), OP("get", "'a'", "2", "3"),
	    OP("get", "null", "4", "5"));
	GOOD(OP("put", "'a'", "1", "9"), OP("put", "'b'", "1", "9"),
	     OP("get", "'b'", "10", "11"), OP("get", "'b'", "12", "13"));
	BAD(OP("put", "'a'", "1", "9"), OP("put", "'b'", "1", "9"),
	    OP("get", "'b'", "10", "11"), OP("get", "'a'", "12", "13"));
	/* an end and a start at the same moment are side by side */
	GOOD(OP("put", "'a'", "1", "5"), OP("get", "null", "5", "6"));
}

static void two_readers_agree_on_the_order_of_writes(void **state)
{
	BAD(OP("put", "'a'", "1", "20"), OP("put", "'b'", "1", "20"),
	    OP("get", "'a'", "2", "3"), OP("get", "'b'", "4", "5"),
	    OP("get", "'a'", "6", "7"));
	BAD(OP("put", "'0'", "0", "0"), OP("put", "'a'", "1", "20"),
	    OP("get", "'a'", "2", "3"), OP("get", "'0'", "4", "5"));
}

static void an_unknown_write_happens_late_or_never(void **state)
{
	GOOD(OP("put", "'a'", "1", "2"), LOST("put", "'b'", "3"),
	     OP("get", "'a'", "4", "5"), OP("get", "'a'", "6", "7"));
	GOOD(OP("put", "'a'", "1", "2"), LOST("put", "'b'", "3"),
	     OP("get", "'a'", "4", "5"), OP("get", "'b'", "600", "700"));
	BAD(OP("put", "'a'", "1", "2"), LOST("put", "'b'", "3"),
	    OP("get", "'b'", "4", "5"), OP("get", "'a'", "6", "7"));
	BAD(OP("put", "'a'", "1", "2"), OP("get", "'b'", "3", "4"),
	    LOST("put", "'b'", "5"));
	/* twice is not once */
	BAD(LOST("put", "'b'", "1"), OP("get", "'b'", "2", "3"),
	    OP("put", "'a'", "4", "5"), OP("get", "'b'", "6", "7"));
	GOOD(LOST("put", "'b'", "1"), LOST("put", "'b'", "1"),
	     OP("get", "'b'", "2", "3"), OP("put", "'a'", "4", "5"),
	     OP("get", "'b'", "6", "7"));
	GOOD(OP("put", "'a'", "1", "2"), LOST("delete", "null", "3"),
	     OP("get", "null", "4", "5"));
}

static void an_unknown_write_may_be_known_to_be_over(void **state)
{
	const char *over = "'op':'put','key':'k','value':'b','ok':'unknown',"
			   "'start_ns':1,'end_ns':6,'late':false";

	GOOD(OP("put", "'a'", "1", "2"), over, OP("get", "'b'", "5", "7"));
	GOOD(OP("put", "'a'", "1", "2"), over, OP("get", "'a'", "5", "6"),
	     OP("get", "'b'", "6", "7"));
	GOOD(OP("put", "'a'", "1", "2"), over, OP("get", "'a'", "8", "9"));
	BAD(OP("put", "'a'", "1", "2"), over, OP("get", "'a'", "7", "8"),
	    OP("get", "'b'", "9", "10"));
}

static void a_condition_is_met_or_refused_truly(void **state)
{
	GOOD(OP("put", "'a'", "1", "2"), CAS("'a'", "'b'", "true", "3", "4"),
	     OP("get", "'b'", "5", "6"));
	BAD(OP("put", "'a'", "1", "2"), CAS("'x'", "'b'", "true", "3", "4"));
	GOOD(OP("put", "'a'", "1", "2"), CAS("'x'", "'b'", "false", "3", "4"),
	     OP("get", "'a'", "5", "6"));
	BAD(OP("put", "'a'", "1", "2"), CAS("'a'", "'b'", "false", "3", "4"));
	BAD(OP("put", "'a'", "1", "2"),
	    CAS("'a'", "'b'", "'refused'", "3", "4"));
	/* of two that want the same, one */
	BAD(CAS("null", "'a'", "true", "1", "9"),
	    CAS("null", "'b'", "true", "1", "9"));
	GOOD(CAS("null", "'a'", "true", "1", "9"),
	     CAS("null", "'b'", "false", "1", "9"));
	/* an unknown one explains a later refusal */
	GOOD("'op':'cas','key':'k','expect':null,'value':'a','ok':'unknown',"
	     "'start_ns':1",
	     CAS("null", "'b'", "false", "3", "4"), OP("get", "'a'", "5", "6"));
}

static void what_existed_is_looked_at(void **state)
{
	BAD("'op':'delete','key':'k','existed':true,'ok':true,'start_ns':1,"
	    "'end_ns':2");
	GOOD(OP("put", "'a'", "1", "2"),
	     "'op':'delete','key':'k','existed':true,'ok':true,'start_ns':3,"
	     "'end_ns':4",
	     "'op':'delete','key':'k','existed':false,'ok':true,'start_ns':5,"
	     "'end_ns':6");
}

static void a_value_with_a_time_to_live_may_go(void **state)
{
	GOOD("'op':'put','key':'k','value':'a','ttl_ns':5,'ok':true,"
	     "'start_ns':1,'end_ns':2",
	     OP("get", "'a'", "3", "4"), OP("get", "null", "30", "40"));
	BAD("'op':'put','key':'k','value':'a','ttl_ns':5,'ok':true,"
	    "'start_ns':1,'end_ns':2",
	    OP("put", "'b'", "3", "4"), OP("get", "null", "30", "40"));
	BAD("'op':'put','key':'k','value':'a','ttl_ns':5,'ok':true,"
	    "'start_ns':1,'end_ns':2",
	    OP("get", "null", "3", "4"), OP("get", "'a'", "30", "40"));
}

static void keys_that_nothing_joins_are_apart(void **state)
{
	GOOD("'op':'put','key':'x','value':'1','ok':true,'start_ns':1,"
	     "'end_ns':2",
	     "'op':'get','key':'y','value':null,'ok':true,'start_ns':3,"
	     "'end_ns':4");
}

static void a_transaction_is_one_moment_for_all_its_keys(void **state)
{
	static const char both[] =
		"'op':'txn','puts':[{'key':'x','value':'1'},{'key':'y',"
		"'value':'1'}],'ok':true,'start_ns':1,'end_ns':9";
	static const char one[] =
		"'op':'get','key':'x','value':'1','ok':true,'start_ns':2,"
		"'end_ns':3";

	BAD(both, one,
	    "'op':'get','key':'y','value':null,'ok':true,'start_ns':4,"
	    "'end_ns':5");
	GOOD(both, one,
	     "'op':'get','key':'y','value':'1','ok':true,'start_ns':4,"
	     "'end_ns':5");
	BAD(both, "'op':'txn','gets':[{'key':'x','value':'1'},{'key':'y',"
		  "'value':null}],'ok':true,'start_ns':2,'end_ns':8");
	BAD("'op':'txn','if':[{'key':'x','value':null}],'puts':[{'key':'y',"
	    "'value':'1'}],'ok':'refused','start_ns':1,'end_ns':2");
}

static void a_prefix_deletion_takes_all_below_it(void **state)
{
	static const char put[] = "'op':'put','key':'d/1','value':'a',"
				  "'ok':true,'start_ns':1,'end_ns':2";
	static const char del[] = "'op':'delete_prefix','key':'d/','ok':true,"
				  "'start_ns':3,'end_ns':4";

	BAD(put, del,
	    "'op':'get','key':'d/1','value':'a','ok':true,'start_ns':5,"
	    "'end_ns':6");
	GOOD(put, del,
	     "'op':'get','key':'d/1','value':null,'ok':true,'start_ns':5,"
	     "'end_ns':6");
	GOOD("'op':'put','key':'e/1','value':'a','ok':true,'start_ns':1,"
	     "'end_ns':2",
	     del,
	     "'op':'get','key':'e/1','value':'a','ok':true,'start_ns':5,"
	     "'end_ns':6");
}

#define APPEND(value, more, start, end)                                        \
	"'op':'append','key':'k','value':'" value "'," more                    \
	"'ok':true,'start_ns':" start ",'end_ns':" end
#define RENAME(from, to, ok, start, end)                                       \
	"'op':'rename','key':'" from "','to':'" to "','ok':" ok                \
	",'start_ns':" start ",'end_ns':" end
#define GET(key, value, start, end)                                            \
	"'op':'get','key':'" key "','value':" value                            \
	",'ok':true,'start_ns':" start ",'end_ns':" end

static void appends_lie_one_behind_the_other(void **state)
{
	GOOD(APPEND("a", "", "1", "2"), APPEND("b", "", "3", "4"),
	     GET("k", "'ab'", "5", "6"));
	BAD(APPEND("a", "", "1", "2"), APPEND("b", "", "3", "4"),
	    GET("k", "'ba'", "5", "6"));
	BAD(APPEND("a", "", "1", "2"), APPEND("b", "", "3", "4"),
	    GET("k", "'b'", "5", "6"));
	BAD(APPEND("a", "", "1", "2"), GET("k", "'aa'", "5", "6"));
	GOOD(APPEND("a", "", "1", "9"), APPEND("b", "", "1", "9"),
	     GET("k", "'ba'", "10", "11"));
	GOOD(APPEND("a", "'size':1,", "1", "9"),
	     APPEND("b", "'size':2,", "1", "9"));
	BAD(APPEND("a", "'size':1,", "1", "9"),
	    APPEND("b", "'size':1,", "1", "9"));
	GOOD(LOST("append", "'a'", "1"), LOST("append", "'b'", "1"),
	     GET("k", "'ba'", "5", "6"));
	GOOD(LOST("append", "'a'", "1"), APPEND("b", "'size':2,", "3", "4"),
	     GET("k", "'ab'", "5", "6"));
	GOOD(LOST("append", "'a'", "1"), APPEND("b", "", "3", "4"),
	     GET("k", "'b'", "5", "6"), GET("k", "'ba'", "7", "8"));
	BAD(LOST("append", "'a'", "1"), APPEND("b", "", "3", "4"),
	    GET("k", "'b'", "5", "6"), GET("k", "'ab'", "7", "8"));
}

static void a_rename_takes_the_value_along(void **state)
{
	GOOD(OP("put", "'a'", "1", "2"), RENAME("k", "m", "true", "3", "4"),
	     GET("m", "'a'", "5", "6"), GET("k", "null", "5", "6"));
	BAD(OP("put", "'a'", "1", "2"), RENAME("k", "m", "true", "3", "4"),
	    GET("m", "null", "5", "6"));
	BAD(OP("put", "'a'", "1", "2"), RENAME("k", "m", "true", "3", "4"),
	    GET("k", "'a'", "5", "6"));
	BAD(RENAME("k", "m", "true", "3", "4"));
	GOOD(RENAME("k", "m", "'refused'", "3", "4"));
	BAD(OP("put", "'a'", "1", "2"),
	    RENAME("k", "m", "'refused'", "3", "4"));
	GOOD(OP("put", "'a'", "1", "2"), RENAME("k", "m", "true", "3", "4"),
	     RENAME("m", "k", "true", "3", "4"), GET("k", "'a'", "5", "6"));
	/* Never both names, nor neither, in one look. */
	BAD(OP("put", "'a'", "1", "2"), RENAME("k", "m", "true", "3", "9"),
	    "'op':'txn','gets':[{'key':'k','exists':true},"
	    "{'key':'m','exists':true}],'ok':true,'start_ns':4,'end_ns':5");
	BAD(OP("put", "'a'", "1", "2"), RENAME("k", "m", "true", "3", "9"),
	    "'op':'txn','gets':[{'key':'k','size':0},"
	    "{'key':'m','exists':false}],'ok':true,'start_ns':4,'end_ns':5");
}

static void an_unknown_one_happens_before_its_ground_goes(void **state)
{
	GOOD(OP("put", "'a'", "1", "2"),
	     "'op':'txn','if':[{'key':'k','value':'a'}],"
	     "'puts':[{'key':'m','value':'z'}],'ok':'unknown','start_ns':3",
	     OP("put", "'b'", "5", "6"), GET("m", "'z'", "7", "8"));
	GOOD(OP("put", "'a'", "1", "2"),
	     "'op':'txn','puts':[{'key':'m','from':'k'}],'ok':'unknown',"
	     "'start_ns':3",
	     OP("put", "'b'", "5", "6"), GET("m", "'a'", "7", "8"));
	GOOD(OP("put", "'a'", "1", "2"),
	     "'op':'rename','key':'k','to':'m','ok':'unknown','start_ns':3",
	     OP("put", "'b'", "5", "6"), GET("m", "'a'", "7", "8"),
	     GET("k", "'b'", "7", "8"));
}

static void a_malformed_line_is_told(void **state)
{
	static const char *const lines[] = {
		"",
		"[]",
		"{\"op\":\"put\"}",
		"{\"op\":\"put\",\"key\":\"k\",\"ok\":true,\"start_ns\":1,"
		"\"end_ns\":2}",
		"{\"op\":\"get\",\"key\":\"k\",\"ok\":true,\"start_ns\":3,"
		"\"end_ns\":2}",
		"{\"op\":\"fly\",\"key\":\"k\",\"ok\":true,\"start_ns\":1,"
		"\"end_ns\":2}",
		"{\"op\":\"get\",\"key\":\"k\",\"ok\":\"so\",\"start_ns\":1,"
		"\"end_ns\":2}",
	};
	struct linear *l = linear_new();

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		struct buf why = BUF_INIT;

		assert_false(linear_add_json(l, lines[i], &why));
		assert_true(why.n > 0);
		buf_done(&why);
	}
	assert_int_equal(linear_op_count(l), 0);
	linear_free(l);
}

/* ------------------------------------------------- against every order ---- */

enum { SMALL = 7, SMALL_KEYS = 2, SMALL_VALUES = 3 };

struct small {
	struct linear_item condition, sight, change[SMALL_KEYS];
	struct linear_op op;
};

static struct small smalls[SMALL];
static char small_keys[SMALL_KEYS][2], small_values[SMALL_VALUES][2];

static struct linear_item draw_item(struct seed *s, bool is_change)
{
	static const enum linear_kind looks[] = { LINEAR_EXISTS, LINEAR_SIZE };
	static const enum linear_kind makes[] = { LINEAR_APPEND, LINEAR_COPY };
	struct linear_item i = {
		.key = bytes_str(small_keys[seed_below(s, SMALL_KEYS)]),
		.value = bytes_str(small_values[seed_below(s, SMALL_VALUES)]),
		.from = bytes_str(small_keys[seed_below(s, SMALL_KEYS)]),
		.size = seed_below(s, 3),
		.kind = seed_below(s, 3) ? LINEAR_VALUE : LINEAR_ABSENT,
	};

	if (seed_below(s, 4) == 0)
		i.kind = (is_change ? makes : looks)[seed_below(s, 2)];
	return i;
}

static void draw_small(struct seed *s, uint32_t client)
{
	struct small *m = &smalls[client];

	m->op = (struct linear_op){ .client = client,
				    .start_ns = seed_below(s, 20) };
	m->op.end_ns = m->op.start_ns + seed_below(s, 8) + 1;
	m->op.outcome = seed_below(s, 6) ? LINEAR_DONE : LINEAR_UNKNOWN;
	if (m->op.outcome == LINEAR_UNKNOWN && seed_below(s, 2))
		m->op.end_ns = 0;
	m->condition = draw_item(s, false);
	m->sight = draw_item(s, false);
	m->change[0] = draw_item(s, true);
	m->change[1] = draw_item(s, true);
	m->op.conditions = &m->condition;
	m->op.sights = &m->sight;
	m->op.changes = m->change;
	m->op.change_count = (uint32_t)seed_below(s, 2);
	if (m->op.change_count && seed_below(s, 4) == 0) {
		m->change[1].key =
			bytes_str(small_keys[m->change[0].key.p[0] == 'x']);
		m->op.change_count = 2;
	}
	m->op.sight_count = !m->op.change_count;
	if (seed_below(s, 3))
		return;
	m->op.condition_count = 1;
	if (m->op.outcome == LINEAR_DONE && seed_below(s, 2))
		m->op.outcome = LINEAR_REFUSED;
}

struct world {
	bool there[SMALL_KEYS];
	char value[SMALL_KEYS][2 * SMALL];
};

static bool fits(const struct world *w, const struct linear_item *i)
{
	int k = i->key.p[0] - 'x';

	if (i->kind == LINEAR_SIZE)
		return (w->there[k] ? strlen(w->value[k]) : 0) == i->size;
	if (i->kind == LINEAR_VALUE)
		return w->there[k] && w->value[k][0] == i->value.p[0] &&
		       !w->value[k][1];
	return w->there[k] == (i->kind == LINEAR_EXISTS);
}

static void change(struct world *w, const struct linear_op *op)
{
	const struct world before = *w;

	for (uint32_t i = 0; i < op->change_count; i++) {
		const struct linear_item *c = &op->changes[i];
		int k = c->key.p[0] - 'x', from = k;
		size_t n = 0;

		if (c->kind == LINEAR_COPY)
			from = c->from.p[0] - 'x';
		w->there[k] = c->kind == LINEAR_COPY ? before.there[from]
						     : c->kind != LINEAR_ABSENT;
		if (c->kind == LINEAR_COPY)
			memcpy(w->value[k], before.value[from],
			       sizeof(w->value[k]));
		if (c->kind == LINEAR_APPEND && before.there[k])
			n = strlen(before.value[k]);
		if (c->kind == LINEAR_APPEND || c->kind == LINEAR_VALUE) {
			w->value[k][n] = (char)c->value.p[0];
			w->value[k][n + 1] = 0;
		}
	}
}

static bool place(struct world *w, const struct linear_op *op)
{
	bool met = !op->condition_count || fits(w, op->conditions);

	if (op->outcome == LINEAR_UNKNOWN) {
		if (met)
			change(w, op);
		return true;
	}
	if (met != (op->outcome == LINEAR_DONE))
		return false;
	if (op->sight_count && !fits(w, op->sights))
		return false;
	if (met)
		change(w, op);
	return true;
}

static uint64_t latest_start(unsigned placed, uint32_t n)
{
	uint64_t latest = 0;

	for (uint32_t i = 0; i < n; i++)
		if (placed >> i & 1 && smalls[i].op.start_ns > latest)
			latest = smalls[i].op.start_ns;
	return latest;
}

static bool any_order(struct world w, unsigned placed, uint32_t n)
{
	uint64_t first_end = UINT64_MAX;
	bool all = true;

	for (uint32_t i = 0; i < n; i++) {
		if (placed >> i & 1 || smalls[i].op.outcome == LINEAR_UNKNOWN)
			continue;
		all = false;
		if (smalls[i].op.end_ns < first_end)
			first_end = smalls[i].op.end_ns;
	}
	if (all)
		return true;
	for (uint32_t i = 0; i < n; i++) {
		struct world next = w;

		const struct linear_op *op = &smalls[i].op;

		if (placed >> i & 1 || op->start_ns > first_end)
			continue;
		if (op->outcome == LINEAR_UNKNOWN && op->end_ns &&
		    op->end_ns < latest_start(placed, n))
			continue;
		if (place(&next, &smalls[i].op) &&
		    any_order(next, placed | 1u << i, n))
			return true;
	}
	return false;
}

static void the_search_agrees_with_trying_every_order(void **state)
{
	const char *text = getenv("SEED");
	uint64_t from = text ? strtoull(text, NULL, 10) : 1;
	uint64_t yes = 0, rounds = text ? 1 : 40000;

	for (int i = 0; i < SMALL_KEYS; i++)
		small_keys[i][0] = (char)('x' + i);
	for (int i = 0; i < SMALL_VALUES; i++)
		small_values[i][0] = (char)('a' + i);
	for (uint64_t seed = from; seed < from + rounds; seed++) {
		struct linear *l = linear_new();
		struct world w = { 0 };
		enum linear_verdict got;
		struct seed s;
		uint32_t n;
		bool want;

		seed_init(&s, seed);
		n = 1 + (uint32_t)seed_below(&s, SMALL);
		for (uint32_t i = 0; i < n; i++) {
			draw_small(&s, i);
			linear_add(l, &smalls[i].op);
		}
		want = any_order(w, 0, n);
		got = linear_check(l, TRIES, NULL);
		if (got != (want ? LINEAR_YES : LINEAR_NO))
			fail_msg("SEED=%llu: %d, wanted %d",
				 (unsigned long long)seed, got, want);
		yes += want;
		linear_free(l);
	}
	if (!text)
		assert_in_range(yes, rounds / 20, rounds * 19 / 20);
}

/* -------------------------------------------------------------- long ones - */

enum { LONG_OPS = 4000, LONG_CLIENTS = 8 };

/*
 * A register really run, clients overlapping, some answers lost: good by
 * construction. spoil: one read then sees what was overwritten before it.
 */
static enum linear_verdict run_long(uint64_t seed, bool spoil)
{
	struct linear *l = linear_new();
	char value[24] = "", old[24] = "";
	uint64_t busy[LONG_CLIENTS] = { 0 }, now = 0, changed = 0, end = 0;
	bool spoilt = false, known = false, old_known = false;
	struct buf why = BUF_INIT;
	enum linear_verdict v;
	struct seed s;

	seed_init(&s, seed);
	for (uint32_t i = 0; i < LONG_OPS; i++) {
		uint32_t client = (uint32_t)seed_below(&s, LONG_CLIENTS);
		struct linear_item item = { .key = bytes_str("k"),
					    .kind = LINEAR_VALUE };
		struct linear_op op = { .client = client,
					.start_ns = busy[client] };
		char text[24];

		now += 10; /* its moment */
		if (op.start_ns + 80 < now)
			op.start_ns = now - seed_below(&s, 80);
		op.end_ns = now + seed_below(&s, 80);
		busy[client] = op.end_ns + 1;
		if (op.start_ns > now)
			continue;
		if (seed_below(&s, 2)) {
			bool lost = seed_below(&s, 8) == 0;

			snprintf(text, sizeof(text), "v%u", i);
			item.value = bytes_str(text);
			op.changes = &item;
			op.change_count = 1;
			op.outcome = lost ? LINEAR_UNKNOWN : LINEAR_DONE;
			if (!lost || seed_below(&s, 2)) {
				memcpy(old, value, sizeof(old));
				memcpy(value, text, sizeof(value));
				/* surely overwritten: one after the other */
				changed = lost || op.start_ns <= end
						  ? UINT64_MAX
						  : op.end_ns;
				end = op.end_ns;
				old_known = known;
				known = !lost;
			}
		} else {
			bool stale = spoil && !spoilt && i > LONG_OPS / 2 &&
				     old_known && changed < op.start_ns;
			const char *seen = stale ? old : value;

			spoilt = spoilt || stale;
			item.value = bytes_str(seen);
			item.kind = seen[0] ? LINEAR_VALUE : LINEAR_ABSENT;
			op.sights = &item;
			op.sight_count = 1;
		}
		linear_add(l, &op);
	}
	assert_true(spoilt == spoil);
	v = linear_check(l, TRIES, &why);
	buf_done(&why);
	linear_free(l);
	return v;
}

static void long_histories_are_judged_soon(void **state)
{
	for (uint64_t seed = 1; seed <= 3; seed++) {
		assert_int_equal(run_long(seed, false), LINEAR_YES);
		assert_int_equal(run_long(seed, true), LINEAR_NO);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_read_sees_the_last_write),
		cmocka_unit_test(what_overlaps_may_be_in_any_order),
		cmocka_unit_test(two_readers_agree_on_the_order_of_writes),
		cmocka_unit_test(an_unknown_write_happens_late_or_never),
		cmocka_unit_test(an_unknown_write_may_be_known_to_be_over),
		cmocka_unit_test(a_condition_is_met_or_refused_truly),
		cmocka_unit_test(what_existed_is_looked_at),
		cmocka_unit_test(a_value_with_a_time_to_live_may_go),
		cmocka_unit_test(keys_that_nothing_joins_are_apart),
		cmocka_unit_test(a_transaction_is_one_moment_for_all_its_keys),
		cmocka_unit_test(a_prefix_deletion_takes_all_below_it),
		cmocka_unit_test(appends_lie_one_behind_the_other),
		cmocka_unit_test(a_rename_takes_the_value_along),
		cmocka_unit_test(an_unknown_one_happens_before_its_ground_goes),
		cmocka_unit_test(a_malformed_line_is_told),
		cmocka_unit_test(the_search_agrees_with_trying_every_order),
		cmocka_unit_test(long_histories_are_judged_soon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
