/*
 * Any Authorization field and any stored token: taken or refused;
 * what is taken has the one form that there is, and encodes to what it was.
 *
 * Decodes in part: base/secret_os.c store/tokens.c
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/secret.h"
#include "store/tokens.h"

static void try_header(struct bytes text)
{
	uint8_t hash[SECRET_HASH_BYTES];
	struct bytes token;

	if (secret_parse_header(text, &token))
		return;
	CHECK(token.n == SECRET_TEXT_BYTES - 1);
	CHECK(token.p > text.p);
	CHECK(token.p + token.n <= text.p + text.n);
	CHECK(bytes_begins(token, bytes_str("rct_")));
	CHECK(secret_hash(token, hash) == OK);
}

static void try_record(struct bytes value)
{
	struct store_token t = { .name = "a" };
	struct buf again = BUF_INIT;

	if (token_decode(value, &t))
		return;
	CHECK(token_check(&t) == OK);
	CHECK(token_encode(&again, &t) == OK);
	CHECK(bytes_equal(buf_bytes(&again), value));
	buf_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1); /* so that one past it is seen */

	CHECK(copy);
	if (n)
		memcpy(copy, data, n);
	try_header(bytes_of(copy, n));
	try_record(bytes_of(copy, n));
	free(copy);
	return 0;
}
