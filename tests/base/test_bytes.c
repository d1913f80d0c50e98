/*
 * tests/base/test_bytes.c - buffers grow, keep their content when memory runs
 * out, and bytes compare the way keys are ordered.
 */
#include "base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "tests/lib/fail_alloc.h"

static void a_buffer_keeps_what_was_appended(void **state)
{
	struct buf b = BUF_INIT;

	for (int i = 0; i < 5000; i++)
		assert_int_equal(buf_add(&b, &i, sizeof(i)), OK);
	assert_int_equal(b.n, 5000 * sizeof(int));
	for (int i = 0; i < 5000; i++)
		assert_memory_equal(b.p + (size_t)i * sizeof(i), &i, sizeof(i));
	assert_int_equal(buf_add(&b, NULL, 0), OK);
	buf_done(&b);
	assert_null(b.p);
	buf_done(&b);
	buf_done(NULL);
}

static void formatted_text_is_appended_without_its_nul(void **state)
{
	struct buf b = BUF_INIT;

	assert_int_equal(buf_addf(&b, "%s", ""), OK);
	assert_int_equal(b.n, 0);
	assert_int_equal(buf_addf(&b, "%d-", 12), OK);
	assert_int_equal(buf_addf(&b, "%0200d", 7), OK);
	assert_int_equal(b.n, 203);
	assert_memory_equal(b.p, "12-0", 4);
	assert_int_equal(b.p[202], '7');
	buf_done(&b);
}

static void without_memory_the_content_stays(void **state)
{
	struct buf b = BUF_INIT;

	assert_int_equal(buf_add(&b, "abc", 3), OK);
	fail_alloc_at(1, true);
	assert_int_equal(buf_reserve(&b, 1000), ERR_NOMEM);
	assert_int_equal(buf_add(&b, (char[1000]){ 0 }, 1000), ERR_NOMEM);
	assert_int_equal(buf_addf(&b, "%01000d", 1), ERR_NOMEM);
	assert_int_equal(buf_add(&b, "d", 1), OK);
	assert_true(fail_alloc_off());
	assert_int_equal(buf_reserve(&b, SIZE_MAX), ERR_NOMEM);
	assert_int_equal(buf_reserve(&b, SIZE_MAX - 4), ERR_NOMEM);
	assert_true(bytes_equal(buf_bytes(&b), bytes_str("abcd")));
	buf_done(&b);
}

static void bytes_are_ordered_unsigned_and_prefix_first(void **state)
{
	assert_true(bytes_compare(bytes_str("a"), bytes_str("b")) < 0);
	assert_true(bytes_compare(bytes_str("a"), bytes_str("ab")) < 0);
	assert_true(bytes_compare(bytes_str("\xff"), bytes_str("a")) > 0);
	assert_int_equal(bytes_compare(bytes_of(NULL, 0), bytes_str("")), 0);
	assert_true(bytes_begins(bytes_str("ab"), bytes_of(NULL, 0)));
	assert_true(bytes_begins(bytes_str("ab"), bytes_str("a")));
	assert_false(bytes_begins(bytes_str("a"), bytes_str("ab")));
}

static void big_endian_fields_sort_as_numbers(void **state)
{
	uint8_t a[8], b[8];

	put_be64(a, 255);
	put_be64(b, 256);
	assert_true(memcmp(a, b, 8) < 0);
	assert_int_equal(get_be64(b), 256);
	put_be32(a, 0x01020304);
	assert_memory_equal(a, "\1\2\3\4", 4);
	assert_int_equal(get_be32(a), 0x01020304);
	put_u32(a, 0x01020304);
	assert_memory_equal(a, "\4\3\2\1", 4);
	put_u16(a, 0x0102);
	assert_int_equal(get_u16(a), 0x0102);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_buffer_keeps_what_was_appended),
		cmocka_unit_test(formatted_text_is_appended_without_its_nul),
		cmocka_unit_test(without_memory_the_content_stays),
		cmocka_unit_test(bytes_are_ordered_unsigned_and_prefix_first),
		cmocka_unit_test(big_endian_fields_sort_as_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
