/*
 * store/tokens.h - inside store/: the records of tokens and their table.
 *
 * The value of a token's record, key "\0t" name, little-endian:
 *
 *  off  size
 *    0     1  format        TOKEN_FORMAT
 *    1     1  right         enum store_right, not NONE
 *    2     2  prefix_bytes  0..1024
 *    4     4  zero
 *    8    32  hash
 *   40     -  prefix
 *
 * Thread: core.
 */
#ifndef STORE_TOKENS_H
#define STORE_TOKENS_H

#include "store/store_internal.h"

enum { TOKEN_FORMAT = 1, TOKEN_HEAD_BYTES = 40 };

/* An empty table. ERR_NOMEM. */
MUST_CHECK enum err tokens_new(struct store *s);

/* Free it; every token has been let go of. A store without one is fine. */
void tokens_free(struct store *s);

/* A record of partition 0 was applied: if it is a token's, note that. */
void tokens_applied(struct store *s, const struct engine_applied *a);

/* A state was installed: all of them are to be read again. */
void tokens_installed(struct store *s);

/*
 * Read the tokens again if they changed, or could not be read and a while has
 * passed. While they cannot be read there are none; a damaged one is left out.
 */
void tokens_refresh(struct store *s);

/* Form and limits of t. ERR_INVALID. */
MUST_CHECK enum err token_check(const struct store_token *t);

/* Append the value of t's record. ERR_NOMEM. */
MUST_CHECK enum err token_encode(struct buf *b, const struct store_token *t);

/*
 * Read one, but for its name; t->prefix is a view into value. ERR_CORRUPT,
 * ERR_VERSION.
 */
MUST_CHECK enum err token_decode(struct bytes value, struct store_token *t);

/*
 * Add to s->entry what the change of a token asks for, by the tokens that are
 * applied. ADD: ERR_EXISTS, ERR_FULL. REMOVE: ERR_NOT_FOUND, also when its
 * prefix does not begin with c->token.prefix. ERR_NOMEM.
 */
MUST_CHECK enum err tokens_decide(struct store *s, struct store_change *c);

#endif
