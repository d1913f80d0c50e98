/*
 * store/token.h - tokens: who may do what below which prefix.
 *
 * A part of the interface that store.h describes. A token is a secret that a
 * client shows; the store knows a hash of it, a name, a right and a prefix of
 * keys. Tokens are replicated state (hidden keys of partition 0), changed by
 * store_change and known to every node as soon as it has applied the change.
 * The store enforces nothing: the front ends do.
 */
#ifndef STORE_TOKEN_H
#define STORE_TOKEN_H

#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"

enum {
	STORE_TOKENS_MAX = 1024,
	STORE_TOKEN_NAME_BYTES_MAX = 64, /* the final NUL included           */
	STORE_TOKEN_PREFIX_BYTES_MAX = 1024,
	STORE_TOKEN_HASH_BYTES = 32,
};

/* Each holds those before it. */
enum store_right {
	STORE_RIGHT_NONE,
	STORE_RIGHT_READ,
	STORE_RIGHT_WRITE,
	STORE_RIGHT_ADMIN,
};

struct store_token {
	char name[STORE_TOKEN_NAME_BYTES_MAX]; /* letters, digits, . _ -      */
	enum store_right right;
	uint8_t hash[STORE_TOKEN_HASH_BYTES];
	struct bytes prefix; /* empty: every key                             */
};

struct store;

/*
 * The token with that hash, found in a time that tells nothing of how near
 * other hashes are; NULL: there is none. Valid until store_token_done, also
 * when it is removed meanwhile. Thread: any.
 */
const struct store_token *
store_token_find(struct store *s, const uint8_t hash[STORE_TOKEN_HASH_BYTES]);

/* Let go of it. NULL is accepted. Thread: any. */
void store_token_done(const struct store_token *t);

/*
 * Rises with every change of the tokens: who has found a token need not look
 * again before. Thread: any.
 */
uint64_t store_tokens_version(struct store *s);

/*
 * Has this node a state of its cluster, which may be an old one, so that whom
 * store_token_find does not find is a stranger? Thread: any.
 */
bool store_tokens_known(struct store *s);

/*
 * Call fn for each token, by name; an error from it ends the walk and is
 * returned. Thread: any.
 */
MUST_CHECK enum err
store_tokens_each(struct store *s,
		  enum err (*fn)(void *ctx, const struct store_token *),
		  void *ctx);

/* Is it a possible name of a token? Inline: the client asks as well. */
static inline bool store_token_name_is_sound(const char *name)
{
	size_t n = strnlen(name, STORE_TOKEN_NAME_BYTES_MAX);

	for (size_t i = 0; i < n; i++) {
		if (!(name[i] >= 'a' && name[i] <= 'z') &&
		    !(name[i] >= 'A' && name[i] <= 'Z') &&
		    !(name[i] >= '0' && name[i] <= '9') &&
		    !strchr("._-", name[i]))
			return false;
	}
	return n > 0 && n < STORE_TOKEN_NAME_BYTES_MAX;
}

#endif
