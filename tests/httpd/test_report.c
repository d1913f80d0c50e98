/*
 * tests/httpd/test_report.c - proves httpd/report.c: what one node says of
 * itself arrives as it was said, between versions too, and nothing malformed
 * gets through.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "base/seed.h"
#include "httpd/report.h"
#include "store/report.h"

static struct report sent, got;
static struct buf b;

/* Every field another number, as many rows as fit. */
static void fill(uint32_t partitions, uint32_t files, uint32_t events,
		 uint32_t lags)
{
	uint64_t n = 1000;

	memset(&sent, 0, sizeof(sent));
	snprintf(sent.version, sizeof(sent.version), "1.2.3~rc1");
	for (int i = 0; i < REPORT_FIGURES_MAX; i++)
		sent.figures[i] = n++;
	for (int i = 0; i < STORE_BUCKETS; i++) {
		sent.commit[i] = n++;
		sent.sync[i] = n++;
		sent.http[i] = n++;
	}
	sent.partition_count = partitions;
	for (uint32_t i = 0; i < partitions; i++)
		sent.partitions[i] =
			(struct report_partition){ i,	  i % 4, n + 1, n + 2,
						   n + 3, n + 4, n++ };
	sent.file_count = files;
	for (uint32_t i = 0; i < files; i++) {
		sent.files[i] = (struct report_file){ .partition = i,
						      .flags = i % 3,
						      .bytes = n++,
						      .live_bytes = n++ };
		snprintf(sent.files[i].name, REPORT_FILE_NAME_BYTES, "%08x.log",
			 i);
	}
	sent.event_count = events;
	for (uint32_t i = 0; i < events; i++)
		sent.events[i] =
			(struct diary_entry){ .number = i + 1,
					      .wall_ns = n++ * 1000000,
					      .subject = n++,
					      .a = n++,
					      .b = n++,
					      .kind = (uint16_t)(1 + i % 19),
					      .partition = (uint16_t)i,
					      .count = i + 1 };
	sent.lag_count = lags;
	for (uint32_t i = 0; i < lags; i++)
		sent.lags[i] = (struct report_lag){ i + 1, n++ };
}

static void encode(void)
{
	b.n = 0;
	assert_int_equal(httpd_report_encode(&sent, &b), OK);
}

static enum err decode(struct bytes in)
{
	/* Of its own size, so that a sanitizer sees one byte too far. */
	uint8_t *copy = malloc(in.n ? in.n : 1);
	enum err err;

	memcpy(copy, in.p, in.n);
	memset(&got, 0xa5, sizeof(got));
	err = httpd_report_decode(bytes_of(copy, in.n), &got);
	free(copy);
	return err;
}

static int done(void **state)
{
	buf_done(&b);
	return 0;
}

static void what_is_said_arrives(void **state)
{
	fill(3, 2, 5, 1);
	encode();
	assert_int_equal(decode(buf_bytes(&b)), OK);
	assert_memory_equal(&got, &sent, sizeof(got));
	fill(0, 0, 0, 0);
	encode();
	assert_int_equal(decode(buf_bytes(&b)), OK);
	assert_memory_equal(&got, &sent, sizeof(got));
}

static void the_largest_can_be_sent(void **state)
{
	fill(REPORT_PARTITIONS_MAX, REPORT_FILES_MAX, REPORT_EVENTS_MAX,
	     REPORT_LAGS_MAX);
	encode();
	assert_true(b.n <= STORE_REPORT_BYTES_MAX);
	assert_int_equal(decode(buf_bytes(&b)), OK);
	assert_memory_equal(&got, &sent, sizeof(got));
}

/* docs/format-wire.md draws them. */
static void the_bytes_are_pinned(void **state)
{
	static const uint8_t head[] = {
		'r', 'c', 'r', '1', 7,	 0,   0,   0,	1,   0,	  32,  0,   1,
		0,   0,	  0,   '1', '.', '2', '.', '3', '~', 'r', 'c', '1',
	};
	static const uint8_t tail[] = { 7, 0, 16, 0, 1, 0, 0, 0,
					1, 0, 0,  0, 0, 0, 0, 0 };

	fill(1, 1, 1, 1);
	encode();
	assert_memory_equal(b.p, head, sizeof(head));
	assert_memory_equal(b.p + b.n - 24, tail, sizeof(tail));
	/* figures begin behind head and version, in their order */
	assert_int_equal(get_u16(b.p + 48), REPORT_FIGURES);
	assert_int_equal(get_u16(b.p + 50), 8);
	assert_int_equal(get_u32(b.p + 52), REPORT_FIGURES_MAX);
	assert_int_equal(get_u64(b.p + 56), 1000);
	assert_int_equal(get_u64(b.p + 64), 1001);
}

static void every_cut_is_refused(void **state)
{
	fill(2, 2, 2, 2);
	encode();
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(decode(bytes_of(b.p, n)), ERR_INVALID);
	assert_int_equal(buf_add(&b, "", 1), OK);
	assert_int_equal(decode(buf_bytes(&b)), ERR_INVALID);
}

static void nothing_random_breaks_it(void **state)
{
	const char *text = getenv("SEED");
	struct seed seed;

	seed_init(&seed, text ? strtoull(text, NULL, 0) : 4711);
	fill(4, 4, 4, 4);
	for (int i = 0; i < 20000; i++) {
		encode();
		for (uint64_t k = seed_next(&seed) % 4 + 1; k; k--)
			b.p[seed_next(&seed) % b.n] = (uint8_t)seed_next(&seed);
		if (decode(buf_bytes(&b)))
			continue;
		assert_true(got.partition_count <= REPORT_PARTITIONS_MAX);
		assert_true(got.file_count <= REPORT_FILES_MAX);
		assert_true(got.event_count <= REPORT_EVENTS_MAX);
		assert_true(got.lag_count <= REPORT_LAGS_MAX);
		assert_non_null(memchr(got.version, 0, sizeof(got.version)));
	}
}

/* One section by hand behind the head of a report. */
static void add_section(uint16_t kind, uint16_t row_bytes, uint32_t rows,
			uint8_t with)
{
	uint8_t head[8], row[512];

	put_u16(head, kind);
	put_u16(head + 2, row_bytes);
	put_u32(head + 4, rows);
	assert_int_equal(buf_add(&b, head, 8), OK);
	memset(row, with, sizeof(row));
	for (uint32_t i = 0; i < rows && row_bytes; i++)
		assert_int_equal(buf_add(&b, row, row_bytes), OK);
}

static void begin(uint32_t sections)
{
	uint8_t count[4];

	b.n = 0;
	put_u32(count, sections);
	assert_int_equal(buf_add(&b, "rcr1", 4), OK);
	assert_int_equal(buf_add(&b, count, 4), OK);
}

static void a_newer_node_is_understood(void **state)
{
	begin(5);
	add_section(REPORT_FIGURES, 8, REPORT_FIGURES_MAX + 9, 1);
	add_section(99, 24, 5, 9); /* of what this version never heard       */
	add_section(REPORT_LAGS, 64, 2, 1); /* rows have grown                */
	add_section(REPORT_TIMES, 8, 4, 1); /* or are those of an older one   */
	add_section(REPORT_EVENTS, 8, 1, 1);
	assert_int_equal(decode(buf_bytes(&b)), OK);
	assert_int_equal(got.figures[0], 0x0101010101010101);
	assert_int_equal(got.lag_count, 2);
	assert_int_equal(got.lags[1].entries, 0x0101010101010101);
	assert_int_equal(got.commit[3], 0x0101010101010101);
	assert_int_equal(got.commit[4], 0);
	assert_int_equal(got.sync[3], 0);
	assert_int_equal(got.event_count, 1);
	assert_int_equal(got.events[0].kind, 0);
	assert_int_equal(got.partition_count, 0);
}

static void refused(uint16_t kind, uint16_t row_bytes, uint32_t rows,
		    uint8_t with)
{
	begin(1);
	add_section(kind, row_bytes, rows, with);
	assert_int_equal(decode(buf_bytes(&b)), ERR_INVALID);
}

static void too_much_is_refused(void **state)
{
	refused(REPORT_PARTITIONS, 48, REPORT_PARTITIONS_MAX + 1, 0);
	refused(REPORT_FILES, 40, REPORT_FILES_MAX + 1, 0);
	refused(REPORT_EVENTS, 48, REPORT_EVENTS_MAX + 1, 0);
	refused(REPORT_LAGS, 16, REPORT_LAGS_MAX + 1, 0);
	refused(REPORT_TIMES, 24, STORE_BUCKETS + 1, 0);
	refused(REPORT_TEXTS, 32, 2, 0);
	refused(REPORT_FIGURES, 0, 7, 0);
	refused(REPORT_FIGURES, 12, 2, 0);
}

static void a_section_that_comes_twice_is_refused(void **state)
{
	begin(2);
	add_section(REPORT_LAGS, 16, 3, 1);
	add_section(REPORT_LAGS, 16, 1, 1);
	assert_int_equal(decode(buf_bytes(&b)), ERR_INVALID);
}

static void text_that_is_not_plain_is_refused(void **state)
{
	static const char *const bad[] = { "<b>", "a\"b", "a b", "a\nb",
					   "\xc3\xa4" };

	refused(REPORT_TEXTS, 32, 1, 'a'); /* no end */
	refused(REPORT_FILES, 40, 1, 'a');
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fill(0, 1, 0, 0);
		snprintf(sent.version, sizeof(sent.version), "%s", bad[i]);
		encode();
		assert_int_equal(decode(buf_bytes(&b)), ERR_INVALID);
		fill(0, 1, 0, 0);
		snprintf(sent.files[0].name, REPORT_FILE_NAME_BYTES, "%s",
			 bad[i]);
		encode();
		assert_int_equal(decode(buf_bytes(&b)), ERR_INVALID);
	}
}

static struct json_object *member(struct json_object *o, const char *name)
{
	struct json_object *value = NULL;

	assert_true(json_object_object_get_ex(o, name, &value));
	return value;
}

static int64_t number(struct json_object *list, size_t i)
{
	return json_object_get_int64(json_object_array_get_idx(list, i));
}

static void json_has_all_of_it(void **state)
{
	struct json_object *o, *figures, *list;

	fill(2, 3, 2, 1);
	sent.events[1].partition = DIARY_NO_PARTITION;
	b.n = 0;
	assert_int_equal(httpd_report_json(&sent, &b), OK);
	assert_int_equal(buf_add(&b, "", 1), OK);
	assert_null(strchr((char *)b.p, '\n')); /* it is one line of a stream */
	o = json_tokener_parse((char *)b.p);
	assert_non_null(o);
	assert_string_equal(json_object_get_string(member(o, "version")),
			    "1.2.3~rc1");
	figures = member(o, "figures");
	assert_int_equal(json_object_object_length(figures),
			 REPORT_FIGURES_MAX);
	for (int i = 0; i < REPORT_FIGURES_MAX; i++) {
		assert_non_null(httpd_report_figure(i));
		assert_int_equal(json_object_get_int64(member(
					 figures, httpd_report_figure(i))),
				 sent.figures[i]);
	}
	assert_int_equal(json_object_array_length(member(o, "http")),
			 STATS_BUCKETS);
	assert_int_equal(number(member(o, "commit"), 31), sent.commit[31]);
	list = json_object_array_get_idx(member(o, "partitions"), 1);
	assert_int_equal(number(list, 0), 1);
	assert_int_equal(number(list, 6), sent.partitions[1].keys);
	list = json_object_array_get_idx(member(o, "files"), 1);
	assert_string_equal(
		json_object_get_string(json_object_array_get_idx(list, 3)),
		"merged");
	list = json_object_array_get_idx(member(o, "events"), 1);
	assert_int_equal(number(list, 3), -1);
	assert_int_equal(number(list, 1), sent.events[1].wall_ns / 1000000);
	list = json_object_array_get_idx(member(o, "lags"), 0);
	assert_int_equal(number(list, 1), sent.lags[0].entries);
	json_object_put(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_said_arrives),
		cmocka_unit_test(the_largest_can_be_sent),
		cmocka_unit_test(the_bytes_are_pinned),
		cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(nothing_random_breaks_it),
		cmocka_unit_test(a_newer_node_is_understood),
		cmocka_unit_test(too_much_is_refused),
		cmocka_unit_test(a_section_that_comes_twice_is_refused),
		cmocka_unit_test(text_that_is_not_plain_is_refused),
		cmocka_unit_test(json_has_all_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, done);
}
