/*
 * tests/store/test_reports.c - proves store/reports.c: whoever looks gets the
 * reports of all others, and nobody sends any while nobody looks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/log.h"
#include "store/report.h"
#include "store/wire.h"
#include "tests/lib/cluster_rig.h"

static struct cluster c;

static int begin(void **state)
{
	struct cluster_options o;

	cluster_options_default(&o, 3, 1, 7);
	cluster_init(&c, &o);
	cluster_start_all(&c);
	cluster_wait_leader(&c, 60000);
	cluster_run(&c, 1000);
	return 0;
}

static int end(void **state)
{
	cluster_done(&c);
	return 0;
}

static struct store *node(uint64_t id)
{
	return c.node[id].store;
}

struct seen {
	char text[16][64];
	uint64_t age_ms[16];
	uint32_t count;
};

static enum err see(void *ctx, uint64_t id, uint64_t age_ms,
		    struct bytes report)
{
	struct seen *s = ctx;

	assert_in_range(id, 1, 15);
	assert_true(report.n < 64);
	memcpy(s->text[id], report.p, report.n);
	s->age_ms[id] = age_ms;
	s->count++;
	return OK;
}

static struct seen look(uint64_t at)
{
	struct seen s = { .count = 0 };

	assert_int_equal(store_reports_each(node(at), see, &s), OK);
	return s;
}

static void post(uint64_t id, const char *text)
{
	assert_int_equal(store_report_post(node(id), bytes_str(text)), OK);
}

static uint32_t wishes;

static void count_wish(void *ctx)
{
	assert_ptr_equal(ctx, &wishes);
	wishes++;
}

static void who_looks_gets_all_reports(void **state)
{
	struct seen s;

	wishes = 0;
	store_report_on_wish(node(2), count_wish, &wishes);
	assert_false(store_report_is_wanted(node(2)));
	store_reports_want(node(1));
	cluster_run(&c, 500);
	assert_true(store_report_is_wanted(node(2)));
	assert_true(store_report_is_wanted(node(3)));
	assert_false(store_report_is_wanted(node(1)));
	assert_int_equal(wishes, 1);
	post(2, "two");
	post(3, "three");
	cluster_run(&c, 500);
	s = look(1);
	assert_int_equal(s.count, 2);
	assert_string_equal(s.text[2], "two");
	assert_string_equal(s.text[3], "three");
	assert_in_range(s.age_ms[2], 0, 500);
	assert_int_equal(look(2).count, 0);
	/* and again, newer; asked once a second */
	store_reports_want(node(1));
	cluster_run(&c, 1200);
	assert_in_range(wishes, 2, 3);
	post(2, "two again");
	cluster_run(&c, 500);
	s = look(1);
	assert_string_equal(s.text[2], "two again");
	assert_in_range(s.age_ms[3], 1200, 2500);
	store_report_on_wish(node(2), NULL, NULL);
}

static void two_may_look_at_once(void **state)
{
	store_reports_want(node(1));
	store_reports_want(node(2));
	cluster_run(&c, 500);
	for (uint64_t id = 1; id <= 3; id++)
		assert_true(store_report_is_wanted(node(id)));
	post(1, "one");
	post(2, "two");
	post(3, "three");
	cluster_run(&c, 500);
	assert_string_equal(look(1).text[3], "three");
	assert_string_equal(look(2).text[3], "three");
	assert_string_equal(look(2).text[1], "one");
	assert_int_equal(look(1).count, 2);
}

static void nobody_looks_nobody_sends(void **state)
{
	uint64_t bytes;

	store_reports_want(node(1));
	cluster_run(&c, 500);
	assert_true(store_report_is_wanted(node(2)));
	/* the last wish may have been sent when the looking ended */
	cluster_run(&c, 2 * STORE_REPORT_WISH_MS + 1000);
	assert_false(store_report_is_wanted(node(2)));
	bytes = c.counts.bytes_sent;
	cluster_run(&c, 3000);
	bytes = c.counts.bytes_sent - bytes;
	/* what is posted all the same goes nowhere */
	for (int i = 0; i < 3; i++) {
		uint64_t before = c.counts.bytes_sent;

		post(2, "nobody wants me, and I am long: 0123456789 012345678");
		cluster_run(&c, 1000);
		assert_true(c.counts.bytes_sent - before <= bytes / 3 + 512);
	}
	assert_int_equal(look(1).count, 0);
}

static void a_report_has_a_limit(void **state)
{
	static uint8_t big[STORE_REPORT_BYTES_MAX + 1];

	assert_int_equal(store_report_post(node(1), bytes_of(big, sizeof(big))),
			 ERR_TOO_LARGE);
	assert_int_equal(
		store_report_post(node(1), bytes_of(big, sizeof(big) - 1)), OK);
}

static void send(uint64_t from, enum item_kind kind, size_t n)
{
	static uint8_t body[STORE_REPORT_BYTES_MAX + 8];
	struct buf b = BUF_INIT;
	size_t at;

	assert_int_equal(item_begin(&b, kind, 0, &at), OK);
	assert_int_equal(buf_add(&b, body, n), OK);
	assert_int_equal(item_end(&b, at), OK);
	assert_int_equal(store_receive(node(1), from, buf_bytes(&b)), OK);
	buf_done(&b);
}

static void what_nobody_asked_for_is_dropped(void **state)
{
	send(2, ITEM_REPORT, 8); /* nobody looks here                        */
	assert_int_equal(look(1).count, 0);
	store_reports_want(node(1));
	send(9, ITEM_REPORT, 8); /* no member                                */
	send(2, ITEM_REPORT, STORE_REPORT_BYTES_MAX + 1);
	assert_int_equal(look(1).count, 0);
	send(9, ITEM_REPORT_WANTED, 0);
	assert_false(store_report_is_wanted(node(1)));
	send(2, ITEM_REPORT, 8);
	assert_int_equal(look(1).count, 1);
	/* a later version may say more when it asks */
	send(2, ITEM_REPORT_WANTED, 16);
	assert_true(store_report_is_wanted(node(1)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_looks_gets_all_reports,
						begin, end),
		cmocka_unit_test_setup_teardown(two_may_look_at_once, begin,
						end),
		cmocka_unit_test_setup_teardown(nobody_looks_nobody_sends,
						begin, end),
		cmocka_unit_test_setup_teardown(a_report_has_a_limit, begin,
						end),
		cmocka_unit_test_setup_teardown(
			what_nobody_asked_for_is_dropped, begin, end),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
