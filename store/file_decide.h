/*
 * store/file_decide.h - one file operation while it is decided.
 *
 * decide_file (file_decide.c) begins an entry, calls the function of the
 * operation's kind, and appends what that has put together. Such a function
 *
 *    looks at the state through d->view;
 *    adds records to d->s->entry and what they make of keys to the overlay
 *    (d->p->pending), with d->index as the index that they will have;
 *    sets found_ino, found_off and bytes of d->op;
 *
 * and answers OK (without a record: there was nothing to do), a refusal of
 * store/file.h, ERR_NOMEM, ERR_CORRUPT, ERR_NOSPC, or ERR_PENDING: it needs
 * bytes that are not applied yet and is called again when they are. After all
 * but OK what it added is taken back. Thread: core.
 */
#ifndef STORE_FILE_DECIDE_H
#define STORE_FILE_DECIDE_H

#include "base/check.h"
#include "store/file.h"
#include "store/store_internal.h"

struct file_decision {
	struct store *s;
	struct partition *p;
	struct store_file_op *op; /* NULL: a request of another kind      */
	struct view view;
	uint64_t index;	   /* of the entry, if there is to be one            */
	uint32_t contents; /* content ids given away in it                   */
};

/* Inode number `number` of those that entry index of v's partition gives. */
static inline uint64_t file_ino(const struct view *v, uint64_t index,
				uint32_t number)
{
	CHECK(number < STORE_INO_BLOCK);
	CHECK(v->partition < v->partitions);
	return (index * v->partitions + v->partition) * STORE_INO_BLOCK +
	       number;
}

/* The number of a directory without a record: the hash of its path. */
static inline bool file_ino_is_hash(uint64_t ino)
{
	return ino >> 63;
}

/* A content id that nobody has had. */
static inline uint64_t file_new_content(struct file_decision *d)
{
	return version_pack(d->index, d->contents++);
}

/* As store_file_change, without handing it in; sets op->queued.partition. */
MUST_CHECK enum err file_check(struct store *s, struct store_file_op *op);

/* Decide op and append what it changes; as decide_write. */
MUST_CHECK enum err decide_file(struct store *s, struct store_file_op *op);

static inline struct store_file_op *file_of(const struct store_queued *q)
{
	return (struct store_file_op *)((uintptr_t)q -
					offsetof(struct store_file_op, queued));
}

#endif
