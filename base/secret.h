/*
 * base/secret.h - tokens: secrets that clients show.
 *
 * A token is "rct_" and 64 hexadecimal digits: 256 random bits. What is kept
 * of it is its SHA-256. Pure but for the randomness; GnuTLS does both.
 * Thread: any.
 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum {
	SECRET_TEXT_BYTES = 69, /* with its NUL                              */
	SECRET_HASH_BYTES = 32,
};

/* Draw a new one. ERR_IO: the system has no randomness. */
MUST_CHECK enum err secret_make(char text[SECRET_TEXT_BYTES]);

/* The hash of a token's text. ERR_INVALID: it is none. ERR_IO: no SHA-256. */
MUST_CHECK enum err secret_hash(struct bytes text,
				uint8_t hash[SECRET_HASH_BYTES]);

/*
 * The token in the value of an Authorization field, "Bearer TOKEN" (the word
 * in any case, at least one space between): a view. ERR_INVALID.
 */
MUST_CHECK enum err secret_parse_header(struct bytes value,
					struct bytes *token);

#endif
