/*
 * fsd/ino.c - inode numbers in stock, for files whose creation is decided after
 * a program has already looked at them. Asked for in blocks, ahead of need;
 * while there is none, creations are not deferred.
 */
#include <stdlib.h>
#include <string.h>

#include "fsd/internal.h"

enum { LOW = STORE_INO_BLOCK / 4 };

struct reserve {
	struct fsd *f;
	struct store_file_op op;
	uint32_t partition;
	struct buf path;
};

static void free_reserve(struct reserve *r, uint64_t first)
{
	struct fsd *f = r->f;
	struct ino_block *b = &f->blocks[r->partition];

	pthread_mutex_lock(&f->wait_lock);
	b->asked = false;
	if (first) {
		b->next = first;
		b->end = first + STORE_INO_BLOCK;
	}
	pthread_mutex_unlock(&f->wait_lock);
	atomic_fetch_sub(&f->calls, 1);
	buf_done(&r->path);
	free(r);
}

static void reserved(struct store_file_op *op)
{
	struct reserve *r = op->user;

	tell_own_end(r->f, r->partition, op->err ? 0 : op->revision);
	free_reserve(r, op->err ? 0 : op->found_ino);
}

static void ask(struct fsd *f, uint32_t partition, struct bytes path)
{
	struct reserve *r = calloc(1, sizeof(*r));
	enum err err;

	if (!r)
		return;
	atomic_fetch_add(&f->calls, 1);
	r->f = f;
	r->partition = partition;
	r->op.kind = STORE_FILE_RESERVE;
	r->op.done = reserved;
	r->op.user = r;
	err = buf_add(&r->path, path.p, path.n);
	r->op.path = buf_bytes(&r->path);
	tell_own_begin(f);
	if (!err)
		err = store_file_change(f->store, &r->op);
	if (err) {
		tell_own_end(f, 0, 0);
		free_reserve(r, 0);
	}
}

uint64_t ino_take(struct fsd *f, uint32_t partition, struct bytes path)
{
	struct ino_block *b = &f->blocks[partition];
	bool asks = false;
	uint64_t ino = 0;

	pthread_mutex_lock(&f->wait_lock);
	if (b->next < b->end)
		ino = b->next++;
	if (b->end - b->next < LOW && !b->asked)
		asks = b->asked = true;
	pthread_mutex_unlock(&f->wait_lock);
	if (asks)
		ask(f, partition, path);
	return ino;
}
