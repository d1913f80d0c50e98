/*
 * fsd/fsd.h - the keys as files: a FUSE file system over the store.
 *
 * Translates what the kernel asks into store/store.h and store/file.h and
 * answers from the store's completions. Knows neither HTTP nor how a thread is
 * made. Nothing here ever waits for the store: a request that has to wait is a
 * struct call, which the thread that ends the wait carries on with.
 *
 * Threads, made by node/mount.c:
 *   workers   fsd_work: read requests from the kernel; any number
 *   teller    fsd_tell: tells the kernel what it must not cache any longer; it
 *             may wait in the kernel for a request that a worker or the core
 *             answers, so nothing here ever waits for it
 *   ticker    fsd_tick: repeats what found no leader, commits what is due
 *   core      the store's completions and its observer
 *
 * Locks, outermost first, none held over a call of the store, except to pin or
 * let go of a value: one of an orphan (fsd/orphan.c); the table; what waits
 * (fsd/call.c); the teller's queue (fsd/tell.c).
 *
 * What the mount promises is in docs/mount.md.
 */
#ifndef FSD_FSD_H
#define FSD_FSD_H

#include "base/clock.h"
#include "store/store.h"

struct fsd;

struct fsd_options {
	struct store *store; /* outlives it, but for fsd_free               */
	struct clock *clock;
	const char *path;   /* an existing, empty directory; or /dev/fd/N, a
			     descriptor of /dev/fuse that is mounted already */
	const char *source; /* what mount(8) shows as its device             */
	bool allow_other;
	bool allow_dev, allow_suid;
	uint32_t uid, gid; /* of what nobody gave an owner                   */
	uint32_t file_mode, dir_mode;
	uint64_t max_value_bytes;
	uint32_t partitions;
	/* What can still be written to the disk; any thread.               */
	uint64_t (*free_bytes)(void *ctx);
	void *free_ctx;
};

/*
 * Mount. why gets a sentence. ERR_PERMISSION: the system refuses; ERR_NOMEM.
 * Requests wait in the kernel until there are workers.
 * Thread: core, or main before there is a core thread.
 */
MUST_CHECK enum err fsd_new(const struct fsd_options *o, struct fsd **f,
			    struct buf *why);

/*
 * The body of a worker: answer requests until the mount ends or fsd_exit was
 * called; a signal is needed to end the wait for the next request.
 */
void fsd_work(struct fsd *f);

/* The bodies of teller and ticker: until fsd_end. */
void fsd_tell(struct fsd *f);
void fsd_tick(struct fsd *f);

/*
 * Append how long requests took, in Prometheus' text format. ERR_NOMEM.
 * Thread: any.
 */
MUST_CHECK enum err fsd_figures(struct fsd *f, struct buf *b);

/* True once the kernel has ended the mount (umount), or fsd_exit was called. */
bool fsd_ended(const struct fsd *f);

/*
 * Refuse further changes (EIO), and commit what is deferred. True: nothing is
 * under way any more. Call it again while it is not. Workers, ticker and core
 * must be going on. Thread: any.
 */
bool fsd_drain(struct fsd *f);

/* Teller and ticker are to end; what waits for a leader ends with it. */
void fsd_end(struct fsd *f);

/* Workers are to end, after teller and ticker. Thread: any. */
void fsd_exit(struct fsd *f);

/*
 * Unmount. No worker, teller or ticker is inside, and nothing is under way that
 * the core could answer, or the core thread has ended.
 */
void fsd_unmount(struct fsd *f);

/* The core thread has ended: let go of everything that is the store's. */
void fsd_close(struct fsd *f);

/* After store_free: release the rest. NULL is accepted. */
void fsd_free(struct fsd *f);

#endif
