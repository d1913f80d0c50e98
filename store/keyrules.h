/*
 * store/keyrules.h - small questions about keys. Pure; thread: any.
 */
#ifndef STORE_KEYRULES_H
#define STORE_KEYRULES_H

#include <stdbool.h>

#include "base/bytes.h"

/* An explicit directory: it ends in '/'. */
bool key_is_dir(struct bytes key);

/* Not one of the store's own (those begin with NUL). */
bool key_is_user(struct bytes key);

/* The first component, all of a key without a slash. A view into key. */
struct bytes key_top(struct bytes key);

#endif
