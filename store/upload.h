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
	/*
	 * Of a value so long already as many at once, several entries under
	 * one sync, unless many are uploaded.
	 */
	UPLOAD_WIDE_BYTES = 4 * UPLOAD_STAGE_BYTES,
	UPLOADS_WIDE_MAX = 8,
};

/* Who has the upload, and what its owner does meanwhile. */
enum upload_phase {
	UPLOAD_OWNED,	/* all of it is the owner's                          */
	UPLOAD_STAGING, /* buf is the core's; the owner adds to more         */
	UPLOAD_AWAITED, /* the same; the owner waits for done                */
	UPLOAD_COMMITTING, /* the same; commit is queued behind the piece    */
	UPLOAD_CLOSED,	   /* the same; it has no owner any more             */
};

struct store_upload {
	struct store_queued queued;
	struct store *s;
	void (*done)(void *user, enum err err);
	void *user;
	_Atomic int phase; /* enum upload_phase                            */
	uint64_t bytes;	   /* added so far                                 */
	struct buf buf;	   /* of them, being staged or committed           */
	struct buf more;   /* what came after those                        */
	struct store_write *commit;
	uint64_t content_id; /* 0: nothing staged                            */
	uint32_t chunks;     /* staged                                       */
	uint64_t piece_id; /* where the pieces went that are being staged    */
	size_t staged_bytes; /* of buf they are these first ones             */
	bool committed;
	_Atomic int outcome; /* enum err that ended it; written by core      */
	struct bytes key;    /* behind the struct; of a forwarded commit, in
				its message                                  */
};

/*
 * Queue w, which commits u and is checked, now or behind the piece that is
 * being staged. Errors as store_write. Thread: the owner's.
 */
MUST_CHECK enum err upload_commit(struct store_upload *u,
				  struct store_write *w);

/* The bytes of the next piece: whole chunks at the head of u->buf. */
size_t upload_piece_bytes(const struct store_upload *u);

#endif
