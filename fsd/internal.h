/*
 * fsd/internal.h - what the files of the mount share.
 *
 *   session.c   begin and end, the table of operations, workers
 *   call.c      a request that waits: for the store, a leader, another call
 *   proof.c     one read index for the requests of one system call
 *   answer.c    errors and attributes as the kernel wants them
 *   lookup.c    lookup, forget, getattr, readlink, statfs
 *   dir.c       opendir, readdir, readdirplus
 *   open.c      open, create, release, fsync
 *   data.c      read, write, fallocate, lseek
 *   defer.c     creates and truncations that wait for the first write
 *   change.c    mkdir, mknod, symlink, unlink, rmdir, rename, link
 *   attr.c      setattr and extended attributes
 *   orphan.c    what was removed while it was open
 *   observe.c   what the store applies: table and caches follow
 *   subdirs.c   how many directories a directory has
 *   tell.c      the queue of the teller
 *   ino.c       inode numbers in stock
 *   figures.c   how long requests take
 *
 * Thread, where nothing is said: whichever has the call, a worker, the core
 * thread or the ticker; no lock of the mount is held then.
 */
#ifndef FSD_INTERNAL_H
#define FSD_INTERNAL_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "fsd/fsd.h"
#include "fsd/table.h"
#include "store/file.h"

enum {
	FSD_LEADER_MS = 10000, /* a change waits so long for a leader        */
	FSD_FRESH_MS = 2000,   /* open, stat and readdir: then as known here */
	FSD_RETRY_MS = 25,
	FSD_DEFER_MS = 100,
	FSD_AGAIN_MS = 1000, /* what is deferred and could not be committed  */
	FSD_STALE_TRIES = 4, /* paths that were renamed meanwhile            */
	FSD_MOVES_MAX = 64,  /* renames while one look is taken              */
	FSD_ORPHAN_BYTES_MAX = 256 << 20, /* written to removed files        */
	FSD_TELL_MAX = 65536,		  /* items that wait for the teller  */
	FSD_LONG_S = 3600,		  /* timeouts of a node alone        */
	FSD_NEGATIVE_S = 60,
	FSD_GROUPS_MAX = 256, /* of a caller, that are looked at             */
	FSD_ROOMS_MAX = 4,    /* kept for requests, of 1 MiB each            */
	FSD_TAKE_BYTES = 64 << 10, /* writes that are not copied             */
	FSD_PROOFS = 256,	   /* threads of programs, by number         */
};

struct ino_block {
	uint64_t next, end;
	bool asked;
};

/* A queue of calls. */
struct call_list {
	struct call *first, **last;
};

struct tell_list {
	struct tell_item *first, **last;
};

/* Kinds of requests whose time is taken; fsd/figures.c. */
enum figure_kind {
	FIGURE_NONE,
	FIGURE_LOOKUP,
	FIGURE_STAT,
	FIGURE_OPEN,
	FIGURE_READ,
	FIGURE_READDIR,
	FIGURE_WRITE,
	FIGURE_SYNC,
	FIGURE_CHANGE,
	FIGURE_KINDS
};

enum { FIGURE_BUCKETS = 12 };

struct figures {
	_Atomic uint64_t buckets[FIGURE_BUCKETS], ns_total;
};

enum { PROOF_NONE = -2 }; /* STORE_ALL_PARTITIONS is all                    */

/*
 * What the last request of a program's thread was answered by: state that was
 * fresh when its system call began.
 */
struct proof {
	uint32_t thread;   /* 0: none                                        */
	int32_t partition; /* that was fresh                                 */
	uint64_t checked;  /* node whose attributes were asked last, 0: none */
	uint64_t found;	   /* node that a LOOKUP has just led to, 0: none    */
	uint64_t again;	   /* directory whose attributes may be asked twice  */
};

/* Which proof a request may rest on. */
enum proof_rest {
	REST_NONE,
	REST_CHECKED, /* of its node's attributes                            */
	REST_FOUND,   /* of the LOOKUP or GETATTR of its node, with a lease  */
};

struct fsd {
	struct store *store;
	struct clock *clock;
	struct fuse_session *session;
	struct fsd_options o;
	struct table table;
	_Atomic bool alone;	/* nobody else can change a key              */
	_Atomic bool read_only; /* a learner                                 */
	_Atomic bool blind;	/* the last attempt to be fresh failed       */
	_Atomic bool stopping, ending;
	_Atomic uint64_t seq; /* entries seen, with the table locked         */
	_Atomic uint32_t moves; /* begun and ended: odd while one is applied */
	pthread_mutex_t move_lock;
	pthread_cond_t moved;
	pthread_t mover;
	_Atomic uint32_t calls;
	_Atomic uint64_t orphan_bytes;
	struct figures figures[FIGURE_KINDS];

	pthread_mutex_t wait_lock; /* of those that follow                   */
	pthread_cond_t tick;
	_Atomic bool resting; /* the ticker sleeps until somebody wakes it   */
	struct call_list retry;
	struct ino_block *blocks; /* one for each partition                  */
	_Atomic bool *mute;	  /* likewise: a change has waited for a leader
			       in vain                                       */

	struct defer *defers, **defers_last; /* oldest first; table's lock   */
	uint64_t defer_serial;		     /* the newest's; table's lock   */

	struct handle *handles; /* table's lock                              */

	pthread_mutex_t proof_lock; /* of what follows                       */
	struct proof proofs[FSD_PROOFS];

	pthread_mutex_t room_lock; /* of those that follow                   */
	struct room *rooms;	   /* not in use                             */
	uint32_t room_count;
	struct node *leaving; /* each with a reference; core               */
	uint64_t dirs;	  /* of the entry that is applied: changes that make or
			  remove a directory, by their places; core        */
	bool dirs_change; /* there are such; table's lock                   */

	pthread_mutex_t tell_lock; /* of those that follow                   */
	pthread_cond_t tell;
	struct tell_list ready, held;
	uint32_t own; /* changes of this mount's that are in the store      */
	uint32_t told_count; /* items in both lists                          */
	bool tell_all; /* the queue was full: everything                     */
	bool tell_stop;
};

/* A node, or a name in the directory that the node is. */
struct place {
	struct node *node; /* with a reference                               */
	bool has_name;
	uint8_t n;
	uint8_t name[TABLE_NAME_BYTES_MAX];
};

struct handle {
	struct node *node; /* with a reference, and counted in opens         */
	int flags;
	struct dir *dir; /* fsd/dir.c                                        */
	uint64_t deferred; /* serial of what its open deferred or joined; 0  */
	struct handle *next, **back; /* of f->handles                        */
};

/*
 * One request of the kernel's, from the worker that read it until its answer;
 * or something that is done of the mount's own accord (req NULL).
 */
struct call {
	struct fsd *f;
	fuse_req_t req;
	struct place at, to;
	/* What is done when the wait is over; not for changes. */
	void (*run)(struct call *c);
	/* The change has ended. False: it goes on, c is not to be freed. */
	bool (*finish)(struct call *c, enum err err);
	struct store_file_op op;
	struct store_barrier barrier;
	struct buf path, path2, data;
	void *room; /* the memory of op.data, if it was taken over           */
	uint64_t began_ns;
	enum figure_kind kind;
	uint64_t tried_ns; /* when it was last handed in                     */
	uint64_t due_ns;
	uint32_t stale_tries;
	uint32_t moves; /* f->moves, when its paths were made                */
	bool fresh;	/* what is read now is                             */
	struct proof proof; /* of its system call so far                     */
	enum proof_rest rests;
	bool leased;	  /* fresh by a lease                                */
	bool interrupted; /* gave up waiting for a leader                    */
	bool carries;	  /* brings what is deferred of node `deferred`      */
	struct node *deferred; /* with a reference                           */
	enum err waited;       /* what became of what it waited for          */
	struct call *next;
	/* what single operations keep */
	struct handle *handle;
	struct fuse_file_info fi;
	size_t size;
	int to_set;
	struct stat attr;
	void (*then)(struct call *c); /* after a wait                         */
};

static inline uint64_t fsd_now(struct fsd *f)
{
	return clock_mono_ns(f->clock);
}

static inline struct bytes place_name(const struct place *p)
{
	return bytes_of(p->name, p->n);
}

/* The path of a key: a directory's has no slash at its end. */
static inline struct bytes path_of(struct bytes key)
{
	if (key.n && key.p[key.n - 1] == '/')
		key.n--;
	return key;
}

/* ------------------------------------------------------------ figures.c -- */

/* A worker has read a request; it has been processed. */
void figures_begin(struct fsd *f, const struct fuse_buf *buf);
void figures_end(struct fsd *f);

/* What the present request is; whoever asks counts it, nobody else. */
enum figure_kind figures_hand(void);

/* One of that kind has been answered; FIGURE_NONE is nothing. */
void figures_add(struct fsd *f, enum figure_kind kind, uint64_t began_ns);

/* -------------------------------------------------------------- proof.c -- */

/* A worker has read a request: take what its thread has proved. */
void proof_begin(struct fsd *f, const struct fuse_buf *buf);

/* Nobody has proved anything. Thread: any. */
void proof_forget(struct fsd *f);

/* That of the present request, which will be a call's. */
struct proof proof_hand(void);

/*
 * c, a LOOKUP, is about to be answered with the node found (0: with none); c, a
 * GETATTR, with its attributes. Nothing is noted of what is not fresh.
 */
void proof_looked(struct call *c, uint64_t found);
void proof_checked(struct call *c);

/* c need not ask: what its system call has proved will do. */
bool proof_covers(struct call *c);

/* c need not ask if a lease holds. */
bool proof_takes_lease(const struct call *c);

/* c's answer was taken while a lease held that is over: it has to ask. */
bool proof_is_void(struct call *c);

/* ------------------------------------------------------------ session.c -- */

/*
 * The memory of the request that this worker is about becomes the caller's,
 * until room_give. Thread: a worker.
 */
void *room_take(void);
void room_give(struct fsd *f, void *room);

/* ------------------------------------------------------------- answer.c -- */

/* What err is to a program. OK: 0. */
int answer_errno(enum err err);

/* Attributes for the kernel; subdirs of directories. */
void answer_stat(const struct fsd *f, const struct store_file *file,
		 uint64_t subdirs, struct stat *st);

/* Of a file whose creation is deferred. */
void answer_deferred(const struct fsd *f, const struct defer *d,
		     struct stat *st);

/* mode as it is when others than root have changed the data. */
mode_t answer_dropped_setid(mode_t mode);

/* Seconds that the kernel may keep an answer. */
double answer_timeout(const struct call *c);

/* Nanoseconds since 1970, or the nearest that there are; and back. */
uint64_t ns_of(struct timespec t);
struct timespec time_of(uint64_t ns);

/* --------------------------------------------------------------- call.c -- */

/*
 * A call about the node that the kernel calls id, or name in it (name not
 * NULL). NULL: it has been answered with an error.
 */
struct call *call_new(struct fsd *f, fuse_req_t req, uint64_t id,
		      const char *name);

/* Likewise for the second place. False: answered, and c is freed. */
bool call_second(struct call *c, uint64_t id, const char *name);

/* Of the mount's own accord, about node (gets a reference). NULL: no memory. */
struct call *call_own(struct fsd *f, struct node *node);

/* Release it, answered or not. */
void call_free(struct call *c);

/* Answer with err (OK: success without more), or errno e, and release it. */
void call_answer(struct call *c, enum err err);
void call_errno(struct call *c, int e);

/* Only answer. */
void call_say(struct call *c, enum err err);

/* False: changes are refused now; req has been answered so. */
bool call_may_change(struct fsd *f, fuse_req_t req);

/*
 * Paths of the places, appended to c->path and c->path2, which were emptied.
 * Errors of table_path.
 */
MUST_CHECK enum err call_paths(struct call *c);

/*
 * Wait until this node's state is fresh, or cannot be; then c->run. c->rests:
 * on what it may rest instead.
 */
void call_fresh(struct call *c);

/*
 * Hand c->op in, with paths and what they must still be filled in from the
 * places; wait for a leader; at the end c->finish.
 */
void call_change(struct call *c);

/* Have ms passed since it came? */
bool call_is_late(struct call *c, uint64_t ms);

/* Something waits: the ticker is to look every FSD_RETRY_MS. Thread: any. */
void call_wake_ticker(struct fsd *f);

/*
 * Put c at the end of list; take its first, or NULL. The list's lock is held,
 * if it has one.
 */
void call_push(struct call_list *list, struct call *c);
struct call *call_pop(struct call_list *list);

/* The ticker: run what is due. Returns when the next is, UINT64_MAX: never. */
uint64_t call_tick(struct fsd *f);

/* ------------------------------------------------------------- lookup.c -- */

/*
 * What name in c->at's directory is now, for the kernel; its lookup is counted.
 * c->path is its path then. Errors of store_file_stat.
 */
MUST_CHECK enum err entry_find(struct call *c, struct bytes name,
			       struct fuse_entry_param *e);

/* Answer with the entry of c->at, which has just been made, and release c. */
bool entry_answer(struct call *c, enum err err);

/*
 * Attributes of c->at's node as they are now. ERR_STALE: it is gone for good.
 */
MUST_CHECK enum err node_attr(struct call *c, struct stat *st);

/* The kernel did not take an entry of node id: its lookup does not count. */
void entry_untake(struct fsd *f, uint64_t id);

/* Answer with them, and release c. */
void node_answer_attr(struct call *c);

/* Operations of libfuse: <fuse_lowlevel.h>. */
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t id, uint64_t n);
void op_forget_multi(fuse_req_t req, size_t count,
		     struct fuse_forget_data *forgets);
void op_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_readlink(fuse_req_t req, fuse_ino_t id);
void op_statfs(fuse_req_t req, fuse_ino_t id);

/* ---------------------------------------------------------------- dir.c -- */

/* Operations of libfuse: <fuse_lowlevel.h>. */
void op_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		    struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t id, int datasync,
		 struct fuse_file_info *fi);

/* --------------------------------------------------------------- open.c -- */

/* A handle of node; NULL: no memory. The table is not locked. */
struct handle *handle_new(struct fsd *f, struct node *node, int flags);

/* Release h with what it has of a listing; its node's reference goes too. */
void handle_free(struct fsd *f, struct handle *h);

/* What h has of a directory's listing. NULL is accepted. */
void dir_free(struct dir *d);

/* Operations of libfuse: <fuse_lowlevel.h>. */
void op_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t id, int datasync,
	      struct fuse_file_info *fi);

/* --------------------------------------------------------------- data.c -- */

/* Operations of libfuse: <fuse_lowlevel.h>. */
void op_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
	     struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t id, const char *buf, size_t size,
	      off_t off, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t id, int mode, off_t off,
		  off_t length, struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t id, off_t off, int whence,
	      struct fuse_file_info *fi);

/* -------------------------------------------------------------- defer.c -- */

enum defer_kind { DEFER_CREATE, DEFER_TRUNCATE };

/*
 * A creation or truncation that waits for the first write; seen by this mount
 * only. Belongs to its node; table's lock.
 */
struct defer {
	enum defer_kind kind;
	struct node *node;   /* with a reference                             */
	struct node *parent; /* CREATE; with a reference                     */
	uint8_t n;
	uint8_t name[TABLE_NAME_BYTES_MAX];
	uint32_t mode, uid, gid;
	uint64_t made_ns; /* wall clock                                      */
	uint64_t born_ns, due_ns; /* mono                                    */
	uint64_t tried_ns;	  /* the tick that tried to commit it        */
	uint64_t serial;	  /* of this mount, from 1                */
	uint32_t caller_uid, caller_gid;
	int access;	/* CREATE: O_ACCMODE of who opened it               */
	bool truncates; /* CREATE: O_TRUNC, if the name is there by then     */
	bool drops_setid; /* TRUNCATE: not by root                           */
	bool dated;   /* CREATE: parent's times will be made_ns            */
	bool busy;    /* a call carries it                                 */
	bool spoiled; /* a write failed that was to bring it             */
	bool hidden;  /* the name is another's by now                      */
	struct call_list waiters;
	struct defer *next, **back; /* of f->defers                          */
};

/* Put a new one on d->node; references are taken. The table is locked. */
void defer_add(struct fsd *f, struct defer *d);

/*
 * A file whose creation in dir was deferred by then and will change dir's times
 * to nobody knows what; NULL: none. The table is locked.
 */
struct node *defer_undated(struct fsd *f, const struct node *dir,
			   uint64_t by_ns);

/*
 * When the newest of the other files whose creation in dir is deferred was
 * made, wall clock; 0: there is none. The table is locked.
 */
uint64_t defer_made_ns(struct fsd *f, const struct node *dir);

/*
 * Let c, a WRITE, carry what is deferred of its node, or wait for who does:
 * then c->run is called again. True: go on now. The table is not locked.
 */
bool defer_carry(struct call *c);

/*
 * c, which carried something, has ended with err. True: it goes on (the name
 * is there already, and the caller may write to what it names); else *err is
 * what to answer.
 */
bool defer_carried(struct call *c, enum err *err);

/*
 * Commit what is deferred of node, or all that is now (node NULL), then call
 * then, at once if there is nothing; c->waited is what became of it.
 */
void defer_settle(struct call *c, struct node *node,
		  void (*then)(struct call *c));

/* node, with nothing but a truncation deferred, is removed. Table locked. */
void defer_removed(struct fsd *f, struct node *node);

/* A write of node has failed with err, and what is deferred with it. */
void defer_spoil(struct fsd *f, struct node *node, enum err err);

/*
 * h is about to be released: begin to commit what its open has deferred, or
 * whatever is deferred of its node if it is the last handle; forget that if it
 * is spoiled. What another handle's open has deferred is that one's to write
 * to.
 */
void defer_close(struct fsd *f, const struct handle *h);

/* The ticker: commit what is due. Returns when the next is. */
uint64_t defer_tick(struct fsd *f);

/* ------------------------------------------------------------- change.c -- */

/*
 * Owner and mode of what c's caller makes in c->at's directory, to c->op.
 * Errors of store_file_stat_ino. c->path is the new file's.
 */
MUST_CHECK enum err change_owner(struct call *c, mode_t mode);

/*
 * Hand in c's change, when what is deferred of the names that it is about, or,
 * if they are directories, of all files, is committed.
 */
void change_begin(struct call *c);

/* Operations of libfuse: <fuse_lowlevel.h>. */
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	      dev_t rdev);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
		const char *name);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
	       fuse_ino_t new_parent, const char *new_name, unsigned flags);
void op_link(fuse_req_t req, fuse_ino_t id, fuse_ino_t new_parent,
	     const char *new_name);

/* --------------------------------------------------------------- attr.c -- */

/* Operations of libfuse: <fuse_lowlevel.h>. */
void op_setattr(fuse_req_t req, fuse_ino_t id, struct stat *attr, int to_set,
		struct fuse_file_info *fi);
void op_setxattr(fuse_req_t req, fuse_ino_t id, const char *name,
		 const char *value, size_t size, int flags);
void op_getxattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t id, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t id, const char *name);

/* ------------------------------------------------------------- orphan.c -- */

/*
 * What the store has to say of node before its name path goes. If it has others
 * that decides nothing yet: orphans_settle, once the entry is applied, sees
 * whether one is left. Thread: core.
 */
void orphan_make(struct fsd *f, struct node *node, struct bytes path);
void orphans_settle(struct fsd *f);

/*
 * node, a directory that nobody had made, has gone with the last key below it.
 * The table is locked. Thread: core.
 */
void orphan_dir(struct fsd *f, struct node *node);

/*
 * The same of node, a file, before a whole state takes the place of all that is
 * known: if path is something else in it, node's content can be read, and
 * nothing be written to it, for it may be there by another name. Thread: core.
 */
void orphan_keep(struct fsd *f, struct node *node, struct bytes path);

/* Let go of it. The table is locked, or nobody else is there. */
void orphan_free(struct fsd *f, struct orphan *o);

/* The store goes away: let go of what is the store's. */
void orphan_release(struct orphan *o);

/* Attributes; size as it is now. */
void orphan_attr(struct fsd *f, struct orphan *o, struct stat *st);

/*
 * As the calls of store/file.h. ERR_STALE: its content was not kept, or it may
 * not be changed (orphan_keep).
 */
MUST_CHECK enum err orphan_read(struct orphan *o, uint64_t off, void *dst,
				size_t n, size_t *got);
MUST_CHECK enum err orphan_write(struct fsd *f, struct orphan *o, uint64_t off,
				 bool append, struct bytes data);
MUST_CHECK enum err orphan_cut(struct fsd *f, struct orphan *o, uint64_t bytes);
MUST_CHECK enum err orphan_zero(struct fsd *f, struct orphan *o, uint64_t off,
				uint64_t n);

/* Mode, owner, times as a SET would. */
void orphan_set(struct fsd *f, struct orphan *o,
		const struct store_file_op *op);

/* Bytes it has. */
uint64_t orphan_bytes(struct orphan *o);

/* Its content was kept, for others have it open. The table is locked. */
bool orphan_can_open(const struct orphan *o);

/* ------------------------------------------------------------ observe.c -- */

/*
 * While a rename is applied, what lies below has moved in the store and not in
 * the table: neither name leads to it. Nor does any lead to what has just lost
 * its last name of several, which the observer has yet to find out. Wait until
 * none is (2 s at most; not on the core thread, which applies it); what was
 * then found by a path is right if moves_passed does not say that one was
 * applied meanwhile. Thread: any.
 */
uint32_t moves_begin(struct fsd *f);
bool moves_passed(struct fsd *f, uint32_t moves);

/* Follow what the store applies from now on. Thread: core. */
void observe_begin(struct fsd *f);

/* ----------------------------------------------------------- subdirs.c --- */

/* Directories in the directory node, which path is. Thread: any. */
uint64_t subdirs_of(struct fsd *f, struct node *node, struct bytes path);

/*
 * An entry is about to be applied; has been, and every directory heard of it.
 * In between, whether its change i makes a directory where nothing was, or
 * removes one that was there; false: that is not known. Thread: core.
 */
void subdirs_before(struct fsd *f, const struct store_seen *seen,
		    uint32_t count);
bool subdirs_changed(const struct fsd *f, uint32_t i);
void subdirs_after(struct fsd *f);

/*
 * A directory has come to dir, or gone; or something of the kind may have
 * happened, so that it must be counted anew. The table is locked.
 */
void subdirs_count(struct node *dir, bool comes);
void subdirs_forget(struct node *dir);

/* ---------------------------------------------------------------- tell.c - */

enum tell_kind { TELL_ENTRY, TELL_INODE, TELL_ATTR, TELL_END };

/*
 * The kernel is to forget what it knows: of name in the directory parent
 * (ENTRY), of the content and attributes of node id, which is called so
 * (INODE), of its attributes only (ATTR). parent and name may be unknown but
 * for ENTRY. rev of partition did it; 0: nothing that is held. END: that was
 * all of rev; the store hears of it when it is done. Thread: any.
 */
void tell(struct fsd *f, enum tell_kind kind, uint64_t id,
	  const struct node *parent, struct bytes name, uint32_t partition,
	  uint64_t rev);

/* All that it knows. Thread: any. */
void tell_everything(struct fsd *f);

/*
 * A change of this mount's goes to the store; it ended (rev 0: no entry). What
 * is told meanwhile may be held until then: of the change itself the kernel is
 * not told, the answer says it. One end for each begin. Thread: any.
 */
void tell_own_begin(struct fsd *f);
void tell_own_end(struct fsd *f, uint32_t partition, uint64_t rev);

/* The ticker: nothing is held for long. Returns when to come again. */
uint64_t tell_tick(struct fsd *f);

/* Release what waits. */
void tell_done(struct fsd *f);

/* ----------------------------------------------------------------- ino.c - */

/*
 * A number for a file to be made in partition; 0: none is in stock. path: any
 * key of the partition, to ask for more with.
 */
uint64_t ino_take(struct fsd *f, uint32_t partition, struct bytes path);

#endif
