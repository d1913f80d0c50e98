/*
 * base/secret_os.c - tokens, with GnuTLS.
 */
#include "base/secret.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <strings.h>

static const char head[] = "rct_";

enum { HEAD_BYTES = sizeof(head) - 1, RANDOM_BYTES = 32 };

_Static_assert(HEAD_BYTES + 2 * RANDOM_BYTES + 1 == SECRET_TEXT_BYTES,
	       "the text of a token");

enum err secret_make(char text[SECRET_TEXT_BYTES])
{
	uint8_t random[RANDOM_BYTES];

	if (gnutls_rnd(GNUTLS_RND_KEY, random, sizeof(random)))
		return ERR_IO;
	memcpy(text, head, sizeof(head));
	for (int i = 0; i < RANDOM_BYTES; i++)
		snprintf(text + HEAD_BYTES + 2 * i, 3, "%02x", random[i]);
	gnutls_memset(random, 0, sizeof(random));
	return OK;
}

static bool is_secret(struct bytes text)
{
	if (text.n != SECRET_TEXT_BYTES - 1 ||
	    memcmp(text.p, head, HEAD_BYTES) != 0)
		return false;
	for (size_t i = HEAD_BYTES; i < text.n; i++) {
		uint8_t c = text.p[i];

		if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f'))
			return false;
	}
	return true;
}

enum err secret_hash(struct bytes text, uint8_t hash[SECRET_HASH_BYTES])
{
	if (!is_secret(text))
		return ERR_INVALID;
	return gnutls_hash_fast(GNUTLS_DIG_SHA256, text.p, text.n, hash)
		       ? ERR_IO
		       : OK;
}

enum err secret_parse_header(struct bytes value, struct bytes *token)
{
	static const char scheme[] = "Bearer";
	size_t i = sizeof(scheme) - 1;

	if (value.n <= i ||
	    strncasecmp((const char *)value.p, scheme, i) != 0 ||
	    value.p[i] != ' ')
		return ERR_INVALID;
	while (i < value.n && value.p[i] == ' ')
		i++;
	value = bytes_of(value.p + i, value.n - i);
	while (value.n && value.p[value.n - 1] == ' ')
		value.n--;
	if (!is_secret(value))
		return ERR_INVALID;
	*token = value;
	return OK;
}
