/*
 * tests/base/test_secret.c - proves base/secret_os.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/secret.h"

static void two_tokens_differ_and_hash(void **state)
{
	char a[SECRET_TEXT_BYTES], b[SECRET_TEXT_BYTES];
	uint8_t x[SECRET_HASH_BYTES], y[SECRET_HASH_BYTES];

	assert_int_equal(secret_make(a), OK);
	assert_int_equal(secret_make(b), OK);
	assert_int_equal(strlen(a), SECRET_TEXT_BYTES - 1);
	assert_string_not_equal(a, b);
	assert_int_equal(secret_hash(bytes_str(a), x), OK);
	assert_int_equal(secret_hash(bytes_str(a), y), OK);
	assert_memory_equal(x, y, sizeof(x));
	assert_int_equal(secret_hash(bytes_str(b), y), OK);
	assert_memory_not_equal(x, y, sizeof(x));
}

/* Stored hashes must go on counting: SHA-256 of the text. */
static void the_hash_is_sha_256(void **state)
{
	static const uint8_t want[] = { 0xfa, 0xe6, 0xef, 0xd9, 0x7e, 0xa6,
					0xaf, 0xad, 0x27, 0x58, 0xce, 0x7f,
					0x94, 0x2f, 0x7f, 0xdd, 0x35, 0xf8,
					0x83, 0x5e, 0xe9, 0x55, 0xda, 0x49,
					0xf1, 0x01, 0x33, 0xb6, 0xa0, 0xf4,
					0xb3, 0xb1 };
	uint8_t hash[SECRET_HASH_BYTES];

	assert_int_equal(
		secret_hash(bytes_str("rct_0000000000000000000000000000000"
				      "000000000000000000000000000000000"),
			    hash),
		OK);
	assert_memory_equal(hash, want, sizeof(want));
}

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

static void only_one_form_is_a_token(void **state)
{
	static const char *const bad[] = {
		"",
		"Bearer",
		"Bearer ",
		"Bearer rct_",
		"Bearerrct_" ZEROS,
		"Bearer\trct_" ZEROS,
		" Bearer rct_" ZEROS,
		"Basic rct_" ZEROS,
		"Bearer rct_" ZEROS "0",
		"Bearer rct_0" ZEROS,
		"Bearer rcT_" ZEROS,
		"Bearer rct_" ZEROS ",",
		"Bearer rct_" ZEROS ", Bearer x",
		"Bearer \"rct_" ZEROS "\"",
		"Bearer rct_F000000000000000000000000000000000000000000000000"
		"000000000000000",
	};
	static const char *const good[] = {
		"Bearer rct_" ZEROS,
		"bearer rct_" ZEROS,
		"BEARER   rct_" ZEROS "  ",
	};
	struct bytes token;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (secret_parse_header(bytes_str(bad[i]), &token) == OK)
			fail_msg("%s", bad[i]);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(
			secret_parse_header(bytes_str(good[i]), &token), OK);
		assert_true(bytes_equal(token, bytes_str("rct_" ZEROS)));
	}
	assert_int_equal(
		secret_parse_header(bytes_of("Bearer rct_0\0", 13), &token),
		ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_tokens_differ_and_hash),
		cmocka_unit_test(the_hash_is_sha_256),
		cmocka_unit_test(only_one_form_is_a_token),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
