/*
 * fsd/call.c - requests that wait.
 *
 * A change:  call_change -> store -> changed -> finish
 *                 ^                    |
 *                 '--- ticker, after 25 ms, while there is no leader
 *
 * A read that must be fresh:  call_fresh -> barrier -> run
 *                                       '--- proof ---^
 *
 * A change waits FSD_LEADER_MS for a leader: an election is a pause, not an
 * error; when that was in vain once, changes fail at once until there is one. A
 * barrier waits FSD_FRESH_MS, and when that was in vain once, not at all until
 * there is a leader: without a quorum reads and listings go on, from what this
 * node knows. A request that the kernel interrupts ends with EINTR while it is
 * not in the store.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "fsd/internal.h"

enum { SLACK_MS = 500 }; /* two attempts of 5 s fit into 10 s           */

/* ------------------------------------------------------------ life of it - */

void call_push(struct call_list *list, struct call *c)
{
	c->next = NULL;
	if (!list->first)
		list->last = &list->first;
	*list->last = c;
	list->last = &c->next;
}

struct call *call_pop(struct call_list *list)
{
	struct call *c = list->first;

	if (c)
		list->first = c->next;
	return c;
}

static enum err set_place(struct place *p, const char *name)
{
	size_t n;

	if (!name)
		return OK;
	n = strlen(name);
	if (n > TABLE_NAME_BYTES_MAX)
		return ERR_KEY_TOO_LONG;
	p->has_name = true;
	p->n = (uint8_t)n;
	memcpy(p->name, name, n);
	return OK;
}

static enum err find_place(struct fsd *f, struct place *p, uint64_t id,
			   const char *name)
{
	enum err err = set_place(p, name);

	if (err)
		return err;
	table_lock(&f->table);
	p->node = table_node(&f->table, id);
	if (p->node)
		table_ref(p->node);
	table_unlock(&f->table);
	return p->node ? OK : ERR_STALE;
}

/* A finish that answers with err. */
static bool say_it(struct call *c, enum err err)
{
	call_say(c, err);
	return true;
}

static struct call *new_call(struct fsd *f, fuse_req_t req)
{
	struct call *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	atomic_fetch_add(&f->calls, 1);
	c->f = f;
	c->req = req;
	c->fresh = true;
	c->op.user = c;
	c->barrier.user = c;
	c->finish = say_it;
	c->began_ns = fsd_now(f);
	c->kind = req ? figures_hand() : FIGURE_NONE;
	c->proof = proof_hand();
	return c;
}

struct call *call_new(struct fsd *f, fuse_req_t req, uint64_t id,
		      const char *name)
{
	struct call *c = new_call(f, req);
	enum err err;

	if (!c) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	err = find_place(f, &c->at, id, name);
	if (!err)
		return c;
	call_answer(c, err);
	return NULL;
}

bool call_second(struct call *c, uint64_t id, const char *name)
{
	enum err err = find_place(c->f, &c->to, id, name);

	if (err)
		call_answer(c, err);
	return !err;
}

struct call *call_own(struct fsd *f, struct node *node)
{
	struct call *c = new_call(f, NULL);

	if (!c)
		return NULL;
	table_lock(&f->table);
	table_ref(node);
	table_unlock(&f->table);
	c->at.node = node;
	return c;
}

void call_free(struct call *c)
{
	struct fsd *f = c->f;

	if (c->at.node || c->to.node || c->deferred) {
		table_lock(&f->table);
		if (c->at.node)
			table_unref(&f->table, c->at.node);
		if (c->to.node)
			table_unref(&f->table, c->to.node);
		if (c->deferred)
			table_unref(&f->table, c->deferred);
		table_unlock(&f->table);
	}
	buf_done(&c->path);
	buf_done(&c->path2);
	buf_done(&c->data);
	if (c->room)
		room_give(f, c->room);
	figures_add(f, c->kind, c->began_ns);
	free(c);
	atomic_fetch_sub(&f->calls, 1);
}

void call_errno(struct call *c, int e)
{
	if (c->req)
		fuse_reply_err(c->req, e);
	call_free(c);
}

void call_say(struct call *c, enum err err)
{
	if (c->req)
		fuse_reply_err(c->req, c->interrupted && err
					       ? EINTR
					       : answer_errno(err));
	c->req = NULL;
}

void call_answer(struct call *c, enum err err)
{
	call_say(c, err);
	call_free(c);
}

bool call_may_change(struct fsd *f, fuse_req_t req)
{
	int e = atomic_load(&f->stopping)    ? EIO
		: atomic_load(&f->read_only) ? EROFS
					     : 0;

	if (e)
		fuse_reply_err(req, e);
	return !e;
}

/* ------------------------------------------------------------------- paths */

/* The table is locked. */
static enum err place_path(struct table *t, const struct place *p,
			   struct buf *path)
{
	enum err err;

	path->n = 0;
	err = table_path(t, p->node, path);
	if (err || !p->has_name)
		return err;
	if (path->n && !err)
		err = buf_add(path, "/", 1);
	if (!err)
		err = buf_add(path, p->name, p->n);
	if (!err && path->n > TABLE_PATH_BYTES_MAX)
		err = ERR_KEY_TOO_LONG;
	return err;
}

enum err call_paths(struct call *c)
{
	enum err err;

	table_lock(&c->f->table);
	err = place_path(&c->f->table, &c->at, &c->path);
	if (!err && c->to.node)
		err = place_path(&c->f->table, &c->to, &c->path2);
	table_unlock(&c->f->table);
	return err == ERR_NOT_FOUND ? ERR_STALE : err;
}

/* One that comes from the path says no more than the path. */
static uint64_t number_of(const struct node *node)
{
	return node->ino >> 63 ? 0 : node->ino;
}

/* Paths, and what they must still mean, into the operation. */
static enum err fill_op(struct call *c)
{
	struct store_file_op *op = &c->op;
	enum err err;

	c->moves = atomic_load(&c->f->moves); /* before the paths */
	err = call_paths(c);
	if (err)
		return err;
	op->path = buf_bytes(&c->path);
	op->path2 = buf_bytes(&c->path2);
	table_lock(&c->f->table);
	if (c->at.has_name)
		op->dir_ino = number_of(c->at.node);
	else
		op->ino = number_of(c->at.node);
	if (c->to.node && c->to.has_name)
		op->dir2_ino = number_of(c->to.node);
	table_unlock(&c->f->table);
	return OK;
}

/* Has what c is about been renamed since its paths were made? */
static bool paths_differ(struct call *c)
{
	struct buf was = c->path, was2 = c->path2;
	bool differ;

	c->path = c->path2 = BUF_INIT;
	differ = !call_paths(c) &&
		 (!bytes_equal(buf_bytes(&was), buf_bytes(&c->path)) ||
		  !bytes_equal(buf_bytes(&was2), buf_bytes(&c->path2)));
	buf_done(&was);
	buf_done(&was2);
	return differ;
}

/* ------------------------------------------------------------------- waits */

/* c->run after FSD_RETRY_MS, on the ticker. */
static void call_later(struct call *c, void (*run)(struct call *c))
{
	struct fsd *f = c->f;

	c->run = run;
	c->due_ns = fsd_now(f) + FSD_RETRY_MS * 1000000ull;
	pthread_mutex_lock(&f->wait_lock);
	call_push(&f->retry, c);
	pthread_mutex_unlock(&f->wait_lock);
	call_wake_ticker(f);
}

void call_wake_ticker(struct fsd *f)
{
	if (!atomic_load(&f->resting))
		return;
	pthread_mutex_lock(&f->wait_lock);
	atomic_store(&f->resting, false);
	pthread_cond_signal(&f->tick);
	pthread_mutex_unlock(&f->wait_lock);
}

uint64_t call_tick(struct fsd *f)
{
	uint64_t now = fsd_now(f), due = UINT64_MAX;
	struct call_list ready = { 0 };
	struct call *c;

	/* All wait equally long, so the first is the next. */
	pthread_mutex_lock(&f->wait_lock);
	while (f->retry.first && f->retry.first->due_ns <= now)
		call_push(&ready, call_pop(&f->retry));
	if (f->retry.first)
		due = f->retry.first->due_ns;
	pthread_mutex_unlock(&f->wait_lock);
	while ((c = call_pop(&ready)))
		c->run(c);
	return due;
}

bool call_is_late(struct call *c, uint64_t ms)
{
	return fsd_now(c->f) - c->began_ns >= ms * 1000000ull;
}

/*
 * May c wait for a leader once more? The store takes its time to say that there
 * is none; it would once more.
 */
static bool can_wait(struct call *c, uint64_t ms)
{
	uint64_t now = fsd_now(c->f), took = now - c->tried_ns;

	if (c->req && fuse_req_interrupted(c->req))
		c->interrupted = true;
	return !c->interrupted &&
	       now + took < c->began_ns + (ms + SLACK_MS) * 1000000ull &&
	       !atomic_load(&c->f->ending);
}

/* ----------------------------------------------------------------- changes */

static void submit(struct call *c);

/*
 * Nobody leads, and that is no pause: changes have waited for their time. Those
 * of one directory wait for each other, in the kernel; each would take as long.
 */
static bool is_mute(struct call *c)
{
	struct fsd *f = c->f;
	uint32_t partition = store_partition_of(f->store, c->op.path);
	struct store_partition_status st;

	if (!atomic_load(&f->mute[partition]))
		return false;
	store_partition_status(f->store, partition, &st);
	if (st.leader_id)
		atomic_store(&f->mute[partition], false);
	return !st.leader_id;
}

static void set_mute(struct call *c)
{
	struct fsd *f = c->f;

	atomic_store(&f->mute[store_partition_of(f->store, c->op.path)], true);
}

static void changed(struct call *c, enum err err)
{
	bool late =
		err == ERR_NO_LEADER || err == ERR_STARTING || err == ERR_FULL;
	bool moved =
		err == ERR_STALE || err == ERR_NOT_FOUND || err == ERR_NOT_DIR;

	if (late && !is_mute(c) && can_wait(c, FSD_LEADER_MS)) {
		call_later(c, submit);
		return;
	}
	if (late && call_is_late(c, FSD_LEADER_MS - SLACK_MS))
		set_mute(c);
	if (moved && c->stale_tries++ < FSD_MOVES_MAX &&
	    (moves_passed(c->f, c->moves) || paths_differ(c))) {
		submit(c);
		return;
	}
	if (c->finish(c, err))
		call_free(c);
}

static void op_done(struct store_file_op *op)
{
	struct call *c = op->user;
	struct fsd *f = c->f;

	tell_own_end(f, store_partition_of(f->store, op->path),
		     op->err ? 0 : op->revision);
	changed(c, op->err);
}

static void submit(struct call *c)
{
	enum err err = fill_op(c);

	if (!err && is_mute(c))
		err = ERR_NO_LEADER;
	if (!err) {
		c->op.done = op_done;
		c->tried_ns = fsd_now(c->f);
		tell_own_begin(c->f);
		err = store_file_change(c->f->store, &c->op);
		if (err)
			tell_own_end(c->f, 0, 0);
	}
	if (err)
		changed(c, err);
}

void call_change(struct call *c)
{
	submit(c);
}

/* ------------------------------------------------------------------- fresh */

static void ask(struct call *c);

static void asked(struct call *c, enum err err)
{
	struct fsd *f = c->f;

	if (err && !atomic_load(&f->blind) && can_wait(c, FSD_FRESH_MS)) {
		call_later(c, ask);
		return;
	}
	c->fresh = !err;
	if (atomic_load(&f->blind) != (err != OK))
		atomic_store(&f->blind, err != OK);
	c->interrupted = false;
	c->then(c);
}

static void barrier_done(struct store_barrier *b, enum err err)
{
	asked(b->user, err);
}

static void ask(struct call *c)
{
	struct fsd *f = c->f;
	int32_t partition = STORE_ALL_PARTITIONS;
	bool leases = proof_takes_lease(c);
	enum err err = call_paths(c);

	if (err) {
		call_answer(c, err);
		return;
	}
	if (c->path.n)
		partition = (int32_t)store_partition_of(f->store,
							buf_bytes(&c->path));
	if (atomic_load(&f->blind) &&
	    store_readiness(f->store) != STORE_READY) {
		c->fresh = false; /* it would take its time to say so */
		c->then(c);
		return;
	}
	c->barrier.done = barrier_done;
	c->tried_ns = fsd_now(f);
	c->proof.partition = partition;
	err = store_barrier(f->store, partition,
			    leases ? STORE_LEASE : STORE_LINEARIZABLE,
			    &c->barrier);
	if (err == ERR_PENDING)
		return;
	c->leased = leases && !err;
	asked(c, err);
}

void call_fresh(struct call *c)
{
	c->then = c->run;
	if (proof_covers(c))
		c->then(c);
	else
		ask(c);
}
