/*
 * fsd/session.c - begin, workers, ticker, end.
 *
 * libfuse reads and parses requests and writes answers; its own loop and its
 * threads are not used. A worker is a loop of "receive, process"; what it
 * processes never blocks, so few are enough.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "fsd/internal.h"

enum { LOOK_MS = 250, WRITE_BYTES = 1 << 20 };

/* The kernel says what it can; what is wanted beside the library's choice. */
static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	/* So that the kernel clears set-id bits by setattr. */
	conn->want &= ~(unsigned)FUSE_CAP_HANDLE_KILLPRIV;
	/* It would own sizes, and appends elsewhere would be lost. */
	conn->want &= ~(unsigned)FUSE_CAP_WRITEBACK_CACHE;
	if (conn->max_write > WRITE_BYTES)
		conn->max_write = WRITE_BYTES;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
}

static const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.create = op_create,
	.read = op_read,
	.write = op_write,
	.release = op_release,
	.fsync = op_fsync,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
};

static void library_says(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char text[256];

	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = 0;
	log_warn("mount", "libfuse says=\"%s\"", text);
}

/* ------------------------------------------------------------------- begin */

static void drop_node(void *ctx, struct node *node)
{
	orphan_free(ctx, node->orphan);
	node->orphan = NULL;
}

static enum err open_session(struct fsd *f, struct buf *why)
{
	const struct fsd_options *o = &f->o;
	char options[512];
	char name[] = "raftcaskd", dash_o[] = "-o";
	char *argv[] = { name, dash_o, options };
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);

	snprintf(options, sizeof(options),
		 "default_permissions,fsname=%s,subtype=raftcask%s%s%s",
		 o->source, o->allow_other ? ",allow_other" : "",
		 o->allow_dev ? ",dev" : "", o->allow_suid ? ",suid" : "");
	fuse_set_log_func(library_says);
	f->session = fuse_session_new(&args, &ops, sizeof(ops), f);
	fuse_opt_free_args(&args);
	if (!f->session) {
		(void)!buf_addf(why, "libfuse takes no options \"%s\"",
				options);
		return ERR_NOMEM;
	}
	if (!fuse_session_mount(f->session, o->path))
		return OK;
	(void)!buf_addf(why,
			"%s cannot be mounted (is there /dev/fuse, and "
			"the right to mount?)",
			o->path);
	return ERR_PERMISSION;
}

static enum err set_up(struct fsd *f)
{
	pthread_condattr_t attr;
	enum err err;

	f->blocks = calloc(f->o.partitions, sizeof(*f->blocks));
	f->mute = calloc(f->o.partitions, sizeof(*f->mute));
	if (!f->blocks || !f->mute)
		return ERR_NOMEM;
	err = table_init(&f->table, STORE_ROOT_INO, drop_node, f);
	if (err)
		return err;
	pthread_mutex_init(&f->wait_lock, NULL);
	pthread_mutex_init(&f->tell_lock, NULL);
	pthread_mutex_init(&f->room_lock, NULL);
	pthread_mutex_init(&f->proof_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&f->tick, &attr);
	pthread_cond_init(&f->moved, &attr);
	pthread_mutex_init(&f->move_lock, NULL);
	pthread_condattr_destroy(&attr);
	pthread_cond_init(&f->tell, NULL);
	return OK;
}

enum err fsd_new(const struct fsd_options *o, struct fsd **out, struct buf *why)
{
	struct fsd *f = calloc(1, sizeof(*f));
	enum err err;

	if (!f)
		return ERR_NOMEM;
	f->o = *o;
	f->store = o->store;
	f->clock = o->clock;
	err = set_up(f);
	if (err) {
		free(f->blocks);
		free(f->mute);
		free(f);
		return err;
	}
	err = open_session(f, why);
	if (err) {
		fsd_free(f);
		return err;
	}
	observe_begin(f);
	*out = f;
	return OK;
}

/* ----------------------------------------------------------------- threads */

/* What this worker has received; libfuse has no place for it. */
static _Thread_local struct fuse_buf *received;

/* Memory for a request, as the library makes it. */
struct room {
	struct room *next;
};

void *room_take(void)
{
	void *room = received->mem;

	received->mem = NULL;
	return room;
}

void room_give(struct fsd *f, void *p)
{
	struct room *room = p;

	pthread_mutex_lock(&f->room_lock);
	if (room && f->room_count < FSD_ROOMS_MAX) {
		room->next = f->rooms;
		f->rooms = room;
		f->room_count++;
		room = NULL;
	}
	pthread_mutex_unlock(&f->room_lock);
	free(room);
}

/* NULL: none is left, the library makes one. */
static void *next_room(struct fsd *f)
{
	struct room *room;

	pthread_mutex_lock(&f->room_lock);
	room = f->rooms;
	if (room) {
		f->rooms = room->next;
		f->room_count--;
	}
	pthread_mutex_unlock(&f->room_lock);
	return room;
}

void fsd_work(struct fsd *f)
{
	struct fuse_buf buf = { 0 };
	int got;

	received = &buf;
	while (!fuse_session_exited(f->session)) {
		if (!buf.mem)
			buf.mem = next_room(f);
		got = fuse_session_receive_buf(f->session, &buf);
		if (got == -EINTR || got == -EAGAIN)
			continue;
		if (got <= 0)
			break;
		figures_begin(f, &buf);
		proof_begin(f, &buf);
		fuse_session_process_buf(f->session, &buf);
		figures_end(f);
	}
	free(buf.mem);
}

bool fsd_ended(const struct fsd *f)
{
	return fuse_session_exited(f->session);
}

/* What this node is in its cluster. */
static void look_around(struct fsd *f)
{
	bool alone = store_members(f->store, NULL, 0) < 2, was;
	struct store_partition_status st;

	store_partition_status(f->store, 0, &st);
	atomic_store(&f->read_only, st.role == STORE_LEARNER);
	was = atomic_exchange(&f->alone, alone);
	if (was && !alone) {
		proof_forget(f);
		tell_everything(f);
	}
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * Until due; with nothing in sight until woken, LOOK_MS at most. resting is set
 * before the last look at what waits, so nobody's wake is lost.
 */
static void rest(struct fsd *f, uint64_t due)
{
	struct timespec until;

	until.tv_sec = (time_t)(due / 1000000000u);
	until.tv_nsec = (long)(due % 1000000000u);
	pthread_mutex_lock(&f->wait_lock);
	if (!atomic_load(&f->ending))
		pthread_cond_timedwait(&f->tick, &f->wait_lock, &until);
	pthread_mutex_unlock(&f->wait_lock);
	atomic_store(&f->resting, false);
}

/* Do what is due; when the next is, UINT64_MAX: nothing waits. */
static uint64_t tick(struct fsd *f)
{
	uint64_t due = call_tick(f);

	due = sooner(due, defer_tick(f));
	return sooner(due, tell_tick(f));
}

void fsd_tick(struct fsd *f)
{
	uint64_t look_ns = 0, now, due;

	while (!atomic_load(&f->ending)) {
		now = fsd_now(f);
		if (now >= look_ns) {
			look_around(f);
			look_ns = now + LOOK_MS * 1000000ull;
		}
		due = tick(f);
		if (due == UINT64_MAX && !atomic_load(&f->calls)) {
			atomic_store(&f->resting, true);
			due = tick(f);
		}
		if (!atomic_load(&f->resting) || due != UINT64_MAX)
			due = sooner(due, now + FSD_RETRY_MS * 1000000ull);
		rest(f, sooner(due, look_ns));
	}
	while (call_tick(f) != UINT64_MAX)
		; /* nobody may wait any longer: they end */
}

/* --------------------------------------------------------------------- end */

bool fsd_drain(struct fsd *f)
{
	bool empty = true;

	atomic_store(&f->stopping, true);
	pthread_mutex_lock(&f->wait_lock);
	pthread_cond_signal(&f->tick);
	pthread_mutex_unlock(&f->wait_lock);
	table_lock(&f->table);
	for (const struct defer *d = f->defers; d; d = d->next)
		empty = empty && d->spoiled;
	table_unlock(&f->table);
	return empty && !atomic_load(&f->calls);
}

void fsd_end(struct fsd *f)
{
	atomic_store(&f->stopping, true);
	atomic_store(&f->ending, true);
	pthread_mutex_lock(&f->wait_lock);
	pthread_cond_signal(&f->tick);
	pthread_mutex_unlock(&f->wait_lock);
	pthread_mutex_lock(&f->tell_lock);
	f->tell_stop = true;
	pthread_cond_signal(&f->tell);
	pthread_mutex_unlock(&f->tell_lock);
}

void fsd_exit(struct fsd *f)
{
	fuse_session_exit(f->session);
}

static void release_orphan(void *ctx, struct node *node)
{
	if (node->orphan)
		orphan_release(node->orphan);
}

void fsd_unmount(struct fsd *f)
{
	fuse_session_unmount(f->session);
}

void fsd_close(struct fsd *f)
{
	store_observe(f->store, NULL);
	table_lock(&f->table);
	table_each_node(&f->table, release_orphan, NULL);
	table_unlock(&f->table);
}

void fsd_free(struct fsd *f)
{
	if (!f)
		return;
	if (f->session)
		fuse_session_destroy(f->session);
	tell_done(f);
	/* Of files that were still open when it was unmounted. */
	while (f->handles)
		handle_free(f, f->handles);
	while (f->defers) {
		struct defer *d = f->defers;

		f->defers = d->next;
		free(d);
	}
	while (f->rooms)
		free(next_room(f));
	table_done(&f->table);
	pthread_mutex_destroy(&f->wait_lock);
	pthread_mutex_destroy(&f->tell_lock);
	pthread_mutex_destroy(&f->room_lock);
	pthread_mutex_destroy(&f->proof_lock);
	pthread_cond_destroy(&f->tick);
	pthread_cond_destroy(&f->moved);
	pthread_mutex_destroy(&f->move_lock);
	pthread_cond_destroy(&f->tell);
	free(f->blocks);
	free(f->mute);
	free(f);
}
