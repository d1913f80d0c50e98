/*
 * node/first_token.h - the token that `raftcask token init` leaves behind.
 *
 * The first administrator's token cannot be asked for over HTTP, which asks
 * for a token. So its hash is put into the data directory while no daemon has
 * it open, in the file "token.init", and the node makes it a token of the
 * cluster as soon as it serves, in place of one of that name. Whoever can
 * write there can do so: the way back in when all tokens are lost.
 *
 *	raftcask token init 1
 *	NAME HASH		64 hexadecimal digits
 */
#ifndef NODE_FIRST_TOKEN_H
#define NODE_FIRST_TOKEN_H

#include "base/vfs.h"
#include "store/token.h"

enum { FIRST_TOKEN_FILE_BYTES_MAX = 256, FIRST_TOKEN_PATH_BYTES = 4200 };

/* The file's path in dir. */
void first_token_path(const char *dir, char path[FIRST_TOKEN_PATH_BYTES]);

/*
 * Write dir/token.init, in place of an older one; durable on OK. dir exists.
 * Errors: as of struct vfs.
 */
MUST_CHECK enum err first_token_save(struct vfs *vfs, const char *dir,
				     const struct store_token *t);

/*
 * Read it: name and hash; the right is an administrator's, the prefix empty.
 * ERR_NOT_FOUND; ERR_INVALID: it is none. Others as of struct vfs.
 */
MUST_CHECK enum err first_token_load(struct vfs *vfs, const char *dir,
				     struct store_token *t);

/* Remove it, durably. */
MUST_CHECK enum err first_token_drop(struct vfs *vfs, const char *dir);

#endif
