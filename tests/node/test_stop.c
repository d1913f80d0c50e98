/*
 * A node that is told to stop while it is still coming up: whatever rung the
 * core thread is on, main takes down all that it has put up.
 *
 * A mount of the test's own stands in place of node/mount.c and can hold up the
 * start.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/vfs.h"
#include "node/mount.h"
#include "tests/lib/tmpdir.h"

struct mount {
	int unused;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct mount mount;
	bool holds, inside; /* mount_start waits; has begun                  */
	bool started, stopped, stopped_nothing, closed, freed;
} m = { .lock = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER };

static void set(bool *what)
{
	pthread_mutex_lock(&m.lock);
	*what = true;
	pthread_cond_broadcast(&m.changed);
	pthread_mutex_unlock(&m.lock);
}

enum node_exit mount_check(const struct conf *c, struct buf *why)
{
	return NODE_OK;
}

enum node_exit mount_start(const struct conf *c, struct store *store,
			   uint32_t partitions, int fd, struct mount **out,
			   struct buf *why)
{
	*out = NULL;
	set(&m.inside);
	pthread_mutex_lock(&m.lock);
	while (m.holds)
		pthread_cond_wait(&m.changed, &m.lock);
	pthread_mutex_unlock(&m.lock);
	*out = &m.mount;
	set(&m.started);
	return NODE_OK;
}

void mount_stop(struct mount *mount, bool failed)
{
	set(mount ? &m.stopped : &m.stopped_nothing);
}

void mount_close(struct mount *mount)
{
	if (mount)
		set(&m.closed);
}

void mount_free(struct mount *mount)
{
	if (mount)
		set(&m.freed);
}

enum err mount_figures(struct mount *mount, struct buf *b)
{
	return OK;
}

static char *dir;
static struct wake trouble;

/* A node that founds a cluster of so many; others are not there. */
static struct conf *conf_of(int members)
{
	char path[256];
	struct buf errors = BUF_INIT;
	struct conf *c;
	FILE *f;

	snprintf(path, sizeof(path), "%s/conf", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f,
		"node: { name = \"n1\"; data_dir = \"%s/data\"; };\n"
		"http: { listen = [ \"127.0.0.1:0\" ]; };\n"
		"storage: { min_free_disk = \"0\"; max_file_size = \"1M\"; };\n"
		"cluster: { listen = \"127.0.0.1:0\"; members = (",
		dir);
	for (int i = 1; i <= members; i++)
		fprintf(f,
			"%s{ name = \"n%d\"; peer = \"127.0.0.1:%d\";"
			" http = \"127.0.0.1:%d\"; }",
			i > 1 ? "," : "", i, i, i + 10);
	fprintf(f, "); };\n");
	fclose(f);
	assert_int_equal(conf_new(&c), OK);
	if (conf_load(c, vfs_os(), path, false, &errors))
		fail_msg("%.*s", (int)errors.n, (char *)errors.p);
	buf_done(&errors);
	return c;
}

static struct node *start(const struct conf *c)
{
	struct buf why = BUF_INIT;
	struct node *n;

	wake_init(&trouble);
	if (node_start(c, &trouble, &n, &why))
		fail_msg("%.*s", (int)why.n, (char *)why.p);
	buf_done(&why);
	return n;
}

static int set_up(void **state)
{
	dir = tmpdir_make();
	m.holds = m.inside = m.started = m.stopped = m.stopped_nothing =
		m.closed = m.freed = false;
	return 0;
}

static int tear_down(void **state)
{
	tmpdir_remove(dir);
	return 0;
}

static void *stop_main(void *arg)
{
	node_stop(arg);
	return NULL;
}

/* What is begun while the node is told to stop is ended, too. */
static void a_mount_that_begins_late_is_ended(void **state)
{
	struct conf *c = conf_of(1);
	struct timespec until;
	pthread_t stopper;
	struct node *n;

	m.holds = true;
	n = start(c);
	pthread_mutex_lock(&m.lock);
	while (!m.inside)
		pthread_cond_wait(&m.changed, &m.lock);
	assert_int_equal(pthread_create(&stopper, NULL, stop_main, n), 0);
	/* Time to go past the mount, for a node_stop that does not wait. */
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	while (!m.stopped_nothing &&
	       !pthread_cond_timedwait(&m.changed, &m.lock, &until))
		;
	m.holds = false;
	pthread_cond_broadcast(&m.changed);
	pthread_mutex_unlock(&m.lock);
	assert_int_equal(pthread_join(stopper, NULL), 0);
	assert_true(m.started && m.stopped && m.closed && m.freed);
	conf_free(c);
}

static void one_that_waits_for_others_stops_at_any_moment(void **state)
{
	struct conf *c = conf_of(2);

	for (int i = 0; i < 20; i++) {
		struct timespec t = { .tv_nsec = i % 4 * 3000000l };
		struct node *n = start(c);

		nanosleep(&t, NULL);
		node_stop(n);
	}
	assert_false(m.started);
	conf_free(c);
}

static void one_that_comes_up_stops_at_any_moment(void **state)
{
	for (int i = 0; i < 20; i++) {
		struct timespec t = { .tv_nsec = i * 2000000l };
		struct conf *c = conf_of(1);
		struct node *n;

		m.started = m.stopped = m.closed = m.freed = false;
		n = start(c);
		nanosleep(&t, NULL);
		node_stop(n);
		assert_int_equal(m.stopped, m.started);
		assert_int_equal(m.freed, m.started);
		conf_free(c);
		tmpdir_remove(dir); /* a member comes up before the core runs */
		dir = tmpdir_make();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_mount_that_begins_late_is_ended, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			one_that_waits_for_others_stops_at_any_moment, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			one_that_comes_up_stops_at_any_moment, set_up,
			tear_down),
	};

	log_set_level(getenv("TEST_LOG") ? LOG_DEBUG : LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
