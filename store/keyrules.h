/*
 * store/keyrules.h - small questions about keys. Pure; thread: any.
 */
#ifndef STORE_KEYRULES_H
#define STORE_KEYRULES_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/err.h"

/* An explicit directory: it ends in '/'. */
bool key_is_dir(struct bytes key);

/* Not one of the store's own (those begin with NUL). */
bool key_is_user(struct bytes key);

/*
 * ERR_BAD_KEY, ERR_KEY_TOO_LONG: path cannot be a file's. A mount's may be
 * longer than the keys that are taken over HTTP (store/file.h).
 */
MUST_CHECK enum err path_check(struct bytes path);

/* The same for a key, a directory's too. */
MUST_CHECK enum err path_key_check(struct bytes key);

/* The first component, all of a key without a slash. A view into key. */
struct bytes key_top(struct bytes key);

#endif
