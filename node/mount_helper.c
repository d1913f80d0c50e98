/*
 * node/mount_helper.c - raftcask-mount-helper: mounts for a daemon that may
 * not, and takes away what a dead one left.
 *
 * Run by systemd with root's rights, beside a daemon that has none
 * (node/mount_fd.h has the picture). Small, so that it can be read at once: it
 * reads mount.* of the configuration, which only root writes, looks at the
 * directory (node/mount_path.h), sees that the daemon's own process listens on
 * the socket, mounts, passes the descriptor and ends.
 *
 * The daemon is who owns $RUNTIME_DIRECTORY and is process $MAINPID; systemd
 * sets both. An alarm ends the helper whatever hangs.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/process.h"
#include "base/vfs.h"
#include "conf/conf.h"
#include "node/mount_fd.h"
#include "node/mount_path.h"
#include "node/node.h"
#include "node/options.h"

enum {
	CONNECT_MS = 2000,
	ANSWER_MS = 60000,
	PATIENCE_S = 85, /* below the unit's own                             */
};

static const char usage_text[] =
	"usage: raftcask-mount-helper [--config FILE] [--host] mount|unmount\n"
	"Mount the keys for a raftcaskd that has no right to, or take a dead\n"
	"mount of it away. systemd calls it; see raftcask-fuse(7).\n"
	"  --config FILE  as of raftcaskd\n"
	"  --host         in the mount table of process 1\n"
	"  --version      print the version, exit\n"
	"  --help         print this, exit\n";

/* Who the daemon is, by what the service manager says. */
struct daemon {
	char socket[MOUNT_FD_PATH_BYTES];
	uid_t uid;
	gid_t gid;
	pid_t pid; /* 0: it did not say */
};

static enum node_exit complain(const struct buf *why)
{
	fprintf(stderr, "%sraftcask-mount-helper: %.*s",
		log_priority(LOG_ERROR), (int)why->n, (const char *)why->p);
	return NODE_RUNTIME;
}

static bool find_daemon(struct daemon *d, struct buf *why)
{
	const char *dir = getenv("RUNTIME_DIRECTORY");
	const char *pid = getenv("MAINPID");
	struct stat st;
	int n;

	if (!dir || dir[0] != '/' || lstat(dir, &st) || !S_ISDIR(st.st_mode)) {
		(void)!buf_addf(why, "$RUNTIME_DIRECTORY names no directory: "
				     "a unit of systemd runs this\n");
		return false;
	}
	d->uid = st.st_uid;
	d->gid = st.st_gid;
	d->pid = pid ? (pid_t)strtol(pid, NULL, 10) : 0;
	n = snprintf(d->socket, sizeof(d->socket), "%s/mount.sock", dir);
	return n > 0 && (size_t)n < sizeof(d->socket);
}

static enum err mount_for(const struct daemon *d, const struct conf *c,
			  struct buf *why)
{
	struct mount_path m;
	int sock = -1, fd = -1;
	unsigned count;
	enum err err = mount_path_detach_dead(d->uid, &count);

	if (!err)
		err = mount_path_open(c->mount_path, c->data_dir, &m, why);
	if (err)
		return err;
	err = mount_fd_connect(d->socket, d->uid, d->pid, CONNECT_MS, &sock,
			       why);
	if (err)
		goto out_path;
	err = mount_path_mount(&m, d->uid, d->gid, c->mount_allow_other, &fd,
			       why);
	if (err)
		goto out_sock;
	err = mount_fd_hand_over(sock, fd, ANSWER_MS, why);
	close(fd);
	/* If that fails too, the daemon's end shows it as a dead mount. */
	if (err)
		(void)!mount_path_detach(&m);
out_sock:
	close(sock);
out_path:
	mount_path_close(&m);
	return err;
}

static enum node_exit work(const char *verb, const struct conf *c)
{
	struct buf why = BUF_INIT;
	enum node_exit result = NODE_OK;
	struct daemon d;
	unsigned count;
	enum err err = OK;

	if (!find_daemon(&d, &why))
		err = ERR_INVALID;
	if (!err && strcmp(verb, "unmount") == 0) {
		if (c && c->mount_path[0])
			mount_path_end_hung(c->mount_path, c->data_dir, d.uid);
		err = mount_path_detach_dead(d.uid, &count);
	} else if (!err && c->mount_path[0]) {
		err = mount_for(&d, c, &why);
	}
	if (err && !why.n)
		(void)!buf_addf(&why, "%s\n", err_text(err));
	if (err)
		result = complain(&why);
	buf_done(&why);
	return result;
}

/*
 * A unit with a sandbox has a mount table of its own, and systemd gives it even
 * to a command with all rights ("+"): nobody else would see the mount.
 */
static bool enter_host(void)
{
	int fd = open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC);
	bool done = fd >= 0 && !setns(fd, CLONE_NEWNS);

	if (!done)
		fprintf(stderr,
			"%sraftcask-mount-helper: the mount table of process 1 "
			"cannot be entered: %s\n",
			log_priority(LOG_ERROR), strerror(errno));
	if (fd >= 0)
		close(fd);
	return done;
}

static enum node_exit configured(const char *config, const char *verb)
{
	struct buf errors = BUF_INIT;
	enum node_exit result;
	struct conf *c = NULL;
	enum err err = conf_new(&c);

	if (!err)
		err = conf_load(c, vfs_os(),
				config ? config : OPTIONS_DEFAULT_CONFIG,
				!config, &errors);
	/* A dead mount goes away whatever the configuration says by now. */
	if (!err || strcmp(verb, "unmount") == 0) {
		result = work(verb, c);
	} else {
		(void)complain(&errors);
		result = NODE_CONFIG;
	}
	conf_free(c);
	buf_done(&errors);
	return result;
}

/* The verb, or NULL with what the process is to end with. */
static const char *parse(int argc, char **argv, const char **config, bool *host,
			 enum node_exit *result)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "host", no_argument, NULL, 'H' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	int flag;

	*result = NODE_OK;
	while ((flag = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (flag) {
		case 'c':
			*config = optarg;
			break;
		case 'H':
			*host = true;
			break;
		case 'h':
			fputs(usage_text, stdout);
			return NULL;
		case 'v':
			printf("raftcask-mount-helper %s\n", RAFTCASK_VERSION);
			return NULL;
		default:
			*result = NODE_USAGE;
			return NULL;
		}
	}
	if (optind == argc - 1 && (strcmp(argv[optind], "mount") == 0 ||
				   strcmp(argv[optind], "unmount") == 0))
		return argv[optind];
	fputs(usage_text, stderr);
	*result = NODE_USAGE;
	return NULL;
}

int main(int argc, char **argv)
{
	const char *config = NULL, *verb;
	enum node_exit result;
	bool host = false;

	if (process_take_standard_files())
		return NODE_RUNTIME;
	verb = parse(argc, argv, &config, &host, &result);
	if (!verb)
		return fflush(stdout) ? NODE_RUNTIME : result;
	alarm(PATIENCE_S);
	if (host && !enter_host())
		return NODE_RUNTIME;
	return configured(config, verb);
}
