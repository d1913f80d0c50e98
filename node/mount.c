/*
 * node/mount.c - the threads of the mount, and the order of its end.
 *
 *   drain     changes are refused, what is under way finishes
 *   end       teller and ticker; while they still wait in the kernel the
 *             workers go on, for it is they who end such a wait
 *   exit      workers; a signal ends their wait for a request
 *   unmount   at once; who has files open keeps them open, without use
 *
 * When it does not drain in time, or the core thread has failed, every request
 * is aborted first, so that nothing waits for what nobody does.
 */
#include "node/mount.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/process.h"
#include "base/vfs.h"
#include "fsd/fsd.h"
#include "node/mount_fd.h"
#include "node/mountpoint.h"

enum {
	WORKERS = 16, /* they never wait; a few read from the disk           */
	DRAIN_MS = 3000,
	LOOK_MS = 5,
	LEAVE_S = 10, /* of a thread that hangs in a mount passed to us      */
	WAKE_SIGNAL = SIGUSR2,
};

struct mount {
	struct fsd *fsd;
	const char *path, *data_dir;
	pthread_t worker[WORKERS], teller, ticker;
	int workers;
	bool has_teller, has_ticker, unmounted;
	bool passed; /* by a helper: only it may detach                       */
	_Atomic bool stopping, ended;
	struct wake wake;
};

/* ------------------------------------------------------------------- check */

static bool is_number(const char *text, uint32_t *number)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (*end || end == text || errno || n >= UINT32_MAX)
		return false;
	*number = (uint32_t)n;
	return true;
}

static bool find_user(const char *name, uint32_t *uid)
{
	struct passwd p, *found = NULL;
	char room[4096];

	if (is_number(name, uid))
		return true;
	if (getpwnam_r(name, &p, room, sizeof(room), &found) || !found)
		return false;
	*uid = p.pw_uid;
	return true;
}

static bool find_group(const char *name, uint32_t *gid)
{
	struct group g, *found = NULL;
	char room[16384];

	if (is_number(name, gid))
		return true;
	if (getgrnam_r(name, &g, room, sizeof(room), &found) || !found)
		return false;
	*gid = g.gr_gid;
	return true;
}

static enum node_exit bad(const struct conf *c, const char *key,
			  const char *what, struct buf *why)
{
	(void)!(conf_where(c, key, why) || buf_addf(why, "%s\n", what));
	return NODE_CONFIG;
}

static enum node_exit find_owner(const struct conf *c, uint32_t *uid,
				 uint32_t *gid, struct buf *why)
{
	if (!find_user(c->mount_uid, uid))
		return bad(c, "mount.uid", "no such user", why);
	if (!find_group(c->mount_gid, gid))
		return bad(c, "mount.gid", "no such group", why);
	return NODE_OK;
}

enum node_exit mount_check(const struct conf *c, struct buf *why)
{
	char helper[MOUNT_FD_PATH_BYTES];
	struct buf below = BUF_INIT;
	enum node_exit result;
	uint32_t uid, gid;

	if (!c->mount_path[0])
		return NODE_OK;
	result = find_owner(c, &uid, &gid, why);
	if (result || mount_fd_helper(helper))
		return result;
	if (!mountpoint_prepare(c->mount_path, c->data_dir, &below)) {
		(void)!conf_where(c, "mount.path", why);
		(void)!buf_addf(why, "%.*s", (int)below.n, (char *)below.p);
		result = NODE_CONFIG;
	}
	buf_done(&below);
	return result;
}

/* ----------------------------------------------------------------- threads */

static void *worker_main(void *arg)
{
	struct mount *m = arg;

	fsd_work(m->fsd);
	if (!atomic_load(&m->stopping) && !atomic_exchange(&m->ended, true))
		log_warn("mount", "unmounted_by_others");
	return NULL;
}

static void *teller_main(void *arg)
{
	struct mount *m = arg;

	fsd_tell(m->fsd);
	return NULL;
}

static void *ticker_main(void *arg)
{
	struct mount *m = arg;

	fsd_tick(m->fsd);
	return NULL;
}

static void on_signal(int signal)
{
}

static bool start_threads(struct mount *m)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigemptyset(&action.sa_mask);
	if (sigaction(WAKE_SIGNAL, &action, NULL))
		return false;
	m->has_teller = !pthread_create(&m->teller, NULL, teller_main, m);
	m->has_ticker = !pthread_create(&m->ticker, NULL, ticker_main, m);
	while (m->workers < WORKERS &&
	       !pthread_create(&m->worker[m->workers], NULL, worker_main, m))
		m->workers++;
	return m->has_teller && m->has_ticker && m->workers;
}

/* ------------------------------------------------------------------- start */

static uint64_t free_bytes(void *ctx)
{
	struct mount *m = ctx;
	uint64_t bytes;

	return vfs_free_bytes(vfs_os(), m->data_dir, &bytes) ? 0 : bytes;
}

/*
 * From here on a kill can leave this process hanging in its own mount; the next
 * start finds out by its number (mountpoint_prepare). Without a mount LOCK
 * stays as it is, so that who only looks or refuses changes no byte.
 */
static void sign_lock(const struct conf *c)
{
	char lock[PATH_MAX + sizeof("/LOCK")];

	snprintf(lock, sizeof(lock), "%s/LOCK", c->data_dir);
	process_sign_file(lock);
}

static enum node_exit open_mount(struct mount *m, const struct conf *c,
				 struct fsd_options *o, struct buf *why)
{
	struct buf below = BUF_INIT;
	enum node_exit result = find_owner(c, &o->uid, &o->gid, why);
	enum err err;

	if (result)
		return result;
	sign_lock(c);
	err = fsd_new(o, &m->fsd, &below);
	if (err)
		(void)!buf_addf(why, "mount: %.*s: %s\n", (int)below.n,
				below.n ? (char *)below.p : "", err_text(err));
	buf_done(&below);
	return err ? NODE_RUNTIME : NODE_OK;
}

enum node_exit mount_start(const struct conf *c, struct store *store,
			   uint32_t partitions, int fd, struct mount **out,
			   struct buf *why)
{
	char passed[32];
	struct mount *m = NULL;
	struct fsd_options o = { .store = store,
				 .clock = clock_os(),
				 .path = c->mount_path,
				 .source = "raftcask",
				 .allow_other = c->mount_allow_other,
				 .file_mode = c->mount_file_mode,
				 .dir_mode = c->mount_dir_mode,
				 .max_value_bytes = c->http_value_bytes_max,
				 .partitions = partitions,
				 .free_bytes = free_bytes };
	enum node_exit result = mount_check(c, why);

	*out = NULL;
	if (result || !c->mount_path[0])
		return result;
	m = calloc(1, sizeof(*m));
	if (!m) {
		(void)!buf_addf(why, "out of memory\n");
		return NODE_RUNTIME;
	}
	if (fd >= 0) {
		snprintf(passed, sizeof(passed), "/dev/fd/%d", fd);
		o.path = passed;
		m->passed = true;
	}
	m->path = c->mount_path;
	m->data_dir = c->data_dir;
	wake_init(&m->wake);
	o.free_ctx = m;
	result = open_mount(m, c, &o, why);
	if (result) {
		free(m);
		return result;
	}
	*out = m;
	if (!start_threads(m)) {
		(void)!buf_addf(why, "no thread can be made\n");
		return NODE_RUNTIME; /* the node unwinds */
	}
	log_info("mount", "mounted path=\"%s\"", m->path);
	return NODE_OK;
}

/* --------------------------------------------------------------------- end */

static bool drain(struct mount *m)
{
	struct clock *clock = clock_os();
	uint64_t until_ns = clock_mono_ns(clock) + DRAIN_MS * 1000000ull;

	while (!fsd_drain(m->fsd)) {
		if (clock_mono_ns(clock) >= until_ns)
			return false;
		wake_wait(&m->wake, LOOK_MS);
	}
	return true;
}

static void end_worker(struct mount *m, pthread_t worker)
{
	/* The signal may come just before it begins to wait: once more. */
	while (pthread_tryjoin_np(worker, NULL)) {
		pthread_kill(worker, WAKE_SIGNAL);
		wake_wait(&m->wake, 1);
	}
}

/* Nobody here may end what waits in a mount that was passed to us. */
static void join_thread(struct mount *m, pthread_t thread, bool *has)
{
	struct timespec until;

	if (!*has)
		return;
	*has = false;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LEAVE_S;
	if (!m->passed) {
		pthread_join(thread, NULL);
	} else if (pthread_timedjoin_np(thread, NULL, &until)) {
		log_error("mount",
			  "left reason=\"a thread hangs in the kernel\"");
		_exit(NODE_RUNTIME);
	}
}

void mount_stop(struct mount *m, bool failed)
{
	bool drained;

	if (!m)
		return;
	atomic_store(&m->stopping, true);
	drained = !failed && drain(m);
	fsd_end(m->fsd);
	if (!drained && !fsd_ended(m->fsd) && !m->passed)
		mountpoint_detach(m->path, true);
	join_thread(m, m->teller, &m->has_teller);
	join_thread(m, m->ticker, &m->has_ticker);
	fsd_exit(m->fsd);
	for (int i = 0; i < m->workers; i++)
		end_worker(m, m->worker[i]);
	/* What the core still answers needs the descriptor. */
	m->unmounted = drained;
	if (drained)
		fsd_unmount(m->fsd);
	log_info("mount", "unmounted drained=%d", drained);
}

void mount_close(struct mount *m)
{
	if (!m)
		return;
	if (!m->unmounted)
		fsd_unmount(m->fsd);
	fsd_close(m->fsd);
}

void mount_free(struct mount *m)
{
	if (!m)
		return;
	fsd_free(m->fsd);
	free(m);
}

enum err mount_figures(struct mount *m, struct buf *b)
{
	return fsd_figures(m->fsd, b);
}
