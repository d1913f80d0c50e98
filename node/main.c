/*
 * node/main.c - raftcaskd: from the command line to a node that serves, and
 * back down when it is told to stop.
 *
 * Signals are blocked everywhere and taken by one thread, which turns them
 * into flags and wakes main; so nothing ever runs inside a signal handler,
 * and a second SIGTERM or SIGINT ends the process even while main is busy
 * with a clean stop.
 */
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/process.h"
#include "node/node.h"
#include "node/notify.h"
#include "node/options.h"

struct daemon {
	struct wake wake;
	_Atomic bool stop, reload;
	sigset_t signals;
	struct conf *taken; /* over by the last reload; NULL: none yet */
};

static void *signal_main(void *arg)
{
	struct daemon *d = arg;
	int signal;

	for (;;) {
		if (sigwait(&d->signals, &signal))
			continue;
		if (signal == SIGHUP) {
			atomic_store(&d->reload, true);
		} else if (atomic_exchange(&d->stop, true)) {
			log_warn("node", "stopped_at_once signal=%d", signal);
			_exit(NODE_RUNTIME);
		}
		wake_up(&d->wake);
	}
	return NULL;
}

/* The thread lives as long as the process. */
static bool start_signals(struct daemon *d)
{
	pthread_t thread;

	sigemptyset(&d->signals);
	sigaddset(&d->signals, SIGTERM);
	sigaddset(&d->signals, SIGINT);
	sigaddset(&d->signals, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	if (pthread_sigmask(SIG_BLOCK, &d->signals, NULL))
		return false;
	if (pthread_create(&thread, NULL, signal_main, d))
		return false;
	pthread_detach(thread);
	return true;
}

/* Every line of text on stderr, behind the same words. */
static void print_text(enum log_level level, const char *before,
		       const struct buf *text)
{
	const char *p = (const char *)text->p;
	const char *end = p + text->n;

	while (p < end) {
		const char *line = memchr(p, '\n', (size_t)(end - p));

		line = line ? line : end;
		fprintf(stderr, "%s%s%.*s\n", log_priority(level), before,
			(int)(line - p), p);
		p = line + 1;
	}
}

/* Every line of text as one event. */
static void log_text(enum log_level level, const char *event,
		     const struct buf *text)
{
	const char *p = (const char *)text->p;
	const char *end = p + text->n;

	while (p < end) {
		const char *line = memchr(p, '\n', (size_t)(end - p));

		line = line ? line : end;
		log_line(level, "conf", "%s %.*s", event, (int)(line - p), p);
		p = line + 1;
	}
}

static void note_taken(void *ctx, const char *key, bool reloadable)
{
	(void)ctx;
	if (reloadable)
		log_info("conf", "changed key=%s", key);
}

static void note_kept(void *ctx, const char *key, bool reloadable)
{
	(void)ctx;
	if (!reloadable)
		log_warn("conf",
			 "changed key=%s takes_effect=\"at the next "
			 "start\"",
			 key);
}

/*
 * Name what c changes: what can be reloaded beside what held until now, the
 * rest beside what the node was started with and goes on with.
 */
static enum err note_changes(const struct conf *started_with,
			     const struct conf *held, const struct conf *c)
{
	enum err err = conf_compare(held, c, note_taken, NULL);

	if (err)
		return err;
	return conf_compare(started_with, c, note_kept, NULL);
}

/* A configuration with faults changes nothing: the running one stays. */
static void reload(struct daemon *d, struct node *n, const struct options *o,
		   const struct conf *started_with)
{
	struct buf errors = BUF_INIT, warnings = BUF_INIT;
	struct conf *c = NULL;
	enum err err;

	notify_reloading(clock_mono_ns(clock_os()));
	err = options_load(o, &c, &errors);
	if (!err)
		err = conf_check(c, &errors, &warnings);
	if (!err)
		err = node_reload(n, c, &errors);
	if (!err)
		err = note_changes(started_with,
				   d->taken ? d->taken : started_with, c);
	if (!err) {
		log_text(LOG_WARN, "note", &warnings);
		log_info("conf", "reloaded");
		conf_free(d->taken);
		d->taken = c;
	} else {
		log_text(LOG_ERROR, "fault", &errors);
		log_error("conf", "reload_refused err=\"%s\"", err_text(err));
		conf_free(c);
	}
	buf_done(&warnings);
	buf_done(&errors);
	notify_send("READY=1");
}

/* Up, be it that it waits: the service manager has nothing to wait for. */
static void say_ready(struct node *n, const struct conf *c)
{
	struct buf urls = BUF_INIT;

	if (!node_urls(n, &urls))
		log_info("node", "%s name=%s data_dir=\"%s\" http=\"%.*s\"",
			 node_serves(n) ? "ready" : "waiting", c->node_name,
			 c->data_dir, (int)urls.n, (const char *)urls.p);
	buf_done(&urls);
	notify_send("READY=1");
}

/* Until told to stop, or until the node fails. */
static enum node_exit serve(struct daemon *d, struct node *n,
			    const struct options *o, const struct conf *c)
{
	uint64_t watchdog_ms = notify_watchdog_ms(), beat = 0;
	bool served = node_serves(n);

	while (!atomic_load(&d->stop) && !node_failed(n)) {
		if (watchdog_ms && node_beat(n) != beat) {
			beat = node_beat(n);
			notify_send("WATCHDOG=1");
		}
		if (atomic_exchange(&d->reload, false))
			reload(d, n, o, c);
		if (!served && node_serves(n)) {
			served = true;
			say_ready(n, c);
		}
		wake_wait(&d->wake, watchdog_ms ? watchdog_ms : 3600000);
	}
	return node_failed(n) ? node_result(n) : NODE_OK;
}

static enum node_exit run(const struct options *o, const struct conf *c)
{
	struct daemon d = { .stop = false };
	struct buf why = BUF_INIT;
	struct node *n = NULL;
	enum node_exit result;

	wake_init(&d.wake);
	guard_install();
	if (!start_signals(&d)) {
		fprintf(stderr, "%sraftcaskd: signals cannot be set up\n",
			log_priority(LOG_ERROR));
		return NODE_RUNTIME;
	}
	log_info("node", "starting version=%s pid=%d", RAFTCASK_VERSION,
		 (int)getpid());
	result = node_start(c, &d.wake, &n, &why);
	if (result) {
		print_text(LOG_ERROR, "raftcaskd: ", &why);
		buf_done(&why);
		return result;
	}
	buf_done(&why);
	say_ready(n, c);
	result = serve(&d, n, o, c);
	notify_send("STOPPING=1");
	log_info("node", "stopping");
	node_stop(n);
	log_info("node", "stopped");
	conf_free(d.taken);
	return result;
}

static enum node_exit print_config(const struct conf *c)
{
	struct buf text = BUF_INIT;
	enum err err = conf_print(c, &text);

	if (!err)
		fwrite(text.p, 1, text.n, stdout);
	buf_done(&text);
	return err || fflush(stdout) ? NODE_RUNTIME : NODE_OK;
}

/* Configuration errors are the operator's: all of them, on stderr, exit 78. */
static enum node_exit configured(enum options_mode mode,
				 const struct options *o)
{
	struct buf errors = BUF_INIT, warnings = BUF_INIT;
	enum node_exit result = NODE_OK;
	struct conf *c = NULL;
	enum err err = options_load(o, &c, &errors);

	if (!err && mode == OPTIONS_PRINT)
		result = print_config(c);
	if (!err)
		err = conf_check(c, &errors, &warnings);
	if (!err && mode == OPTIONS_CHECK)
		err = node_check_files(c, &errors);
	if (err) {
		print_text(LOG_ERROR, "", &errors);
		if (!errors.n)
			fprintf(stderr, "%sraftcaskd: %s\n",
				log_priority(LOG_ERROR), err_text(err));
		result = err == ERR_NOMEM ? NODE_RUNTIME : NODE_CONFIG;
	} else if (mode == OPTIONS_RUN) {
		log_set_level((enum log_level)c->log_level);
		log_text(LOG_WARN, "note", &warnings);
		result = run(o, c);
	} else {
		print_text(LOG_WARN, "warning: ", &warnings);
		if (mode == OPTIONS_CHECK)
			printf("configuration ok\n");
	}
	conf_free(c);
	buf_done(&warnings);
	buf_done(&errors);
	return result;
}

/*
 * Large buffers (uploads, answers) come from mmap and go back at once. Left to
 * itself the C library raises this bound with the first of them that is freed
 * and keeps tens of megabytes for ever.
 */
enum { LARGE_BYTES = 256 << 10 };

int main(int argc, char **argv)
{
	struct options o;
	enum options_mode mode;

	if (process_take_standard_files())
		return NODE_RUNTIME;
	mode = options_parse(argc, argv, &o);
	mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
	if (mode == OPTIONS_EXIT)
		return fflush(stdout) ? NODE_RUNTIME : NODE_OK;
	if (mode == OPTIONS_BAD)
		return NODE_USAGE;
	return configured(mode, &o);
}
