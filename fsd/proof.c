/*
 * fsd/proof.c - one read index for the requests of one system call.
 *
 * With several members nothing is cached, so a path costs the kernel two
 * requests a component, and each answer has to know of all that was
 * acknowledged before its system call began. A read index that was asked within
 * the same call says so. Which requests those are follows from how the kernel
 * goes along a path (docs/decisions/0022-proofs.md has the argument):
 *
 *	GETATTR /	asks
 *	LOOKUP / a	rests: who looks into a directory has just had its
 *			attributes checked, in the same system call
 *	GETATTR a	asks; or rests on the leader's lease, if the LOOKUP before
 *			it has led to a
 *	LOOKUP a b	rests
 *	GETATTR b	as of a
 *	OPEN b		rests, as LOOKUP
 *	GETATTR a	UNLINK follows: as the one after LOOKUP / a
 *
 *	GETATTR a
 *	GETATTR a	LOOKUP a c, CREATE follow: once, on the leader's lease
 *
 * Noted for each thread of a program before its answer is sent, taken by its
 * next request, whatever that is. Threads share places by number: a note that
 * is lost costs a question.
 */
#include <linux/fuse.h>
#include <string.h>

#include "fsd/internal.h"

static _Thread_local struct proof present;

static const struct proof nothing = { .partition = PROOF_NONE };

void proof_begin(struct fsd *f, const struct fuse_buf *buf)
{
	struct fuse_in_header h;
	struct proof *noted;

	present = nothing;
	if (atomic_load(&f->alone) || buf->flags & FUSE_BUF_IS_FD ||
	    buf->size < sizeof(h))
		return;
	memcpy(&h, buf->mem, sizeof(h));
	if (!h.pid) /* the kernel itself, or out of sight */
		return;
	noted = &f->proofs[h.pid % FSD_PROOFS];
	pthread_mutex_lock(&f->proof_lock);
	if (noted->thread == h.pid) {
		present = *noted;
		*noted = nothing;
	}
	pthread_mutex_unlock(&f->proof_lock);
	present.thread = h.pid;
}

void proof_forget(struct fsd *f)
{
	pthread_mutex_lock(&f->proof_lock);
	for (int i = 0; i < FSD_PROOFS; i++)
		f->proofs[i] = nothing;
	pthread_mutex_unlock(&f->proof_lock);
}

struct proof proof_hand(void)
{
	struct proof p = present;

	present = nothing;
	return p;
}

static void note(struct call *c, uint64_t found, uint64_t again)
{
	struct fsd *f = c->f;
	struct proof p = c->proof;

	if (!c->fresh || !p.thread || p.partition == PROOF_NONE)
		return;
	p.checked = c->at.node->id;
	p.found = found;
	p.again = again;
	pthread_mutex_lock(&f->proof_lock);
	f->proofs[p.thread % FSD_PROOFS] = p;
	pthread_mutex_unlock(&f->proof_lock);
}

void proof_looked(struct call *c, uint64_t found)
{
	note(c, found, 0);
}

/* Whoever waits for a change by asking again and again asks in between. */
static uint64_t comes_again(struct call *c)
{
	struct node *node = c->at.node;
	bool is_dir;

	table_lock(&c->f->table);
	is_dir = node->is_dir;
	table_unlock(&c->f->table);
	return is_dir && c->proof.again != node->id ? node->id : 0;
}

void proof_checked(struct call *c)
{
	if (c->rests == REST_FOUND && c->proof.thread)
		note(c, 0, comes_again(c));
}

/* Is it the partition of c's path that was proved? */
static bool is_proved(struct call *c)
{
	int32_t proved = c->proof.partition;

	if (proved < 0 || c->f->o.partitions == 1)
		return proved != PROOF_NONE;
	return !call_paths(c) && c->path.n &&
	       (int32_t)store_partition_of(c->f->store, buf_bytes(&c->path)) ==
		       proved;
}

bool proof_covers(struct call *c)
{
	return c->rests == REST_CHECKED && c->proof.checked == c->at.node->id &&
	       is_proved(c);
}

bool proof_takes_lease(const struct call *c)
{
	const struct proof *p = &c->proof;
	uint64_t id = c->at.node->id;

	if (c->rests != REST_FOUND || p->partition == PROOF_NONE)
		return false;
	return p->again == id ||
	       (p->found && (p->found == id || p->checked == id));
}

bool proof_is_void(struct call *c)
{
	if (!c->leased || store_lease_holds(c->f->store, c->proof.partition))
		return false;
	c->leased = false;
	c->proof = (struct proof){ .partition = PROOF_NONE,
				   .thread = c->proof.thread };
	return true;
}
