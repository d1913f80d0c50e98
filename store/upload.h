/*
 * store/upload.h - a value that comes in pieces, as upload.c and forwarding
 * know it. Between two calls of its owner it belongs to the core thread.
 * Thread: core, unless a function says otherwise.
 */
#ifndef STORE_UPLOAD_H
#define STORE_UPLOAD_H

#include "store/store_internal.h"

enum {
	UPLOAD_STAGE_BYTES = 16 * STORE_CHUNK_BYTES,
	UPLOAD_PIECE_BYTES_MAX = 16 * STORE_CHUNK_BYTES, /* of one entry     */
};

struct store_upload {
	struct store_queued queued;
	struct store *s;
	void (*done)(void *user, enum err err);
	void *user;
	uint64_t bytes;	     /* added so far                                 */
	struct buf buf;	     /* of them, not staged yet                      */
	uint64_t content_id; /* 0: nothing staged                            */
	uint32_t chunks;     /* staged                                       */
	/* the piece that is being staged: where it went */
	uint64_t piece_id;
	uint32_t piece_bytes;
	bool committed;
	_Atomic int outcome; /* enum err that ended it; written by core      */
	struct bytes key;    /* behind the struct; of a forwarded commit, in
				its message                                  */
};

/* The bytes of the next piece: whole chunks at the head of u->buf. */
size_t upload_piece_bytes(const struct store_upload *u);

#endif
