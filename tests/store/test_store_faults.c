/*
 * tests/store/test_store_faults.c - a full disk, a failing fsync, no memory,
 * and many threads at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "tests/lib/fail_alloc.h"
#include "tests/lib/store_rig.h"

static struct store_rig rig;

static int setup(void **state)
{
	store_rig_init(&rig, 3, 1);
	return 0;
}

static int teardown(void **state)
{
	store_rig_done(&rig);
	return 0;
}

static void a_full_disk_refuses_puts_takes_deletes_and_recovers(void **state)
{
	struct store_file_op remove = { .kind = STORE_FILE_REMOVE,
					.flags = STORE_FILE_POSIX,
					.path = bytes_str("k2") };
	struct store_file_op empty = { .kind = STORE_FILE_SET,
				       .set = STORE_SET_BYTES,
				       .path = bytes_str("big") };
	struct store_file_op make = { .kind = STORE_FILE_CREATE,
				      .flags = STORE_FILE_POSIX,
				      .path = bytes_str("new") };
	struct store_file_op big = { .kind = STORE_FILE_WRITE,
				     .flags = STORE_FILE_MAKE,
				     .path = bytes_str("big") };
	char *value = calloc(1, 60001), key[16];
	enum err err = OK;
	int i;

	memset(value, 'x', 60000);
	big.data = bytes_of(value, 60000);
	assert_int_equal(store_rig_file(&rig, &big), OK);
	vfs_sim_set_capacity(rig.disk, 12 << 20);
	for (i = 0; i < 1000 && !err; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		err = store_rig_put(&rig, key, value, NULL);
	}
	assert_int_equal(err, ERR_NOSPC);
	assert_true(i > 50);
	store_rig_expect(&rig, "k0", value);
	store_rig_expect(&rig, key, NULL);
	assert_int_equal(store_rig_del(&rig, "k0", NULL), OK);
	store_rig_expect(&rig, "k0", NULL);
	/* as a mount removes and truncates: the directory is written too */
	assert_int_equal(store_rig_file(&rig, &remove), OK);
	store_rig_expect(&rig, "k2", NULL);
	assert_int_equal(store_rig_file(&rig, &empty), OK);
	store_rig_expect(&rig, "big", "");
	assert_int_equal(store_rig_file(&rig, &make), ERR_NOSPC);
	vfs_sim_set_capacity(rig.disk, 256 << 20);
	store_rig_pass(&rig, 5000);
	assert_int_equal(store_rig_put(&rig, key, value, NULL), OK);
	store_rig_crash(&rig);
	store_rig_expect(&rig, "k0", NULL);
	store_rig_expect(&rig, "k1", value);
	store_rig_expect(&rig, key, value);
	free(value);
}

static enum err errs[8];
static int done_count;

static void note_err(struct store_write *w)
{
	errs[done_count++] = w->err;
}

static void after_a_failed_fsync_nothing_is_acknowledged(void **state)
{
	struct store_op op = { .kind = STORE_PUT, .key = bytes_str("k") };
	struct store_write w[2] = {
		{ .then_ops = &op, .then_count = 1, .done = note_err },
		{ .then_ops = &op, .then_count = 1, .done = note_err },
	};
	uint64_t wait_ms;

	done_count = 0;
	assert_int_equal(store_write(rig.store, &w[0]), OK);
	vfs_sim_fail(rig.disk, VFS_SIM_SYNC, 1, ERR_IO, false);
	assert_int_equal(store_step(rig.store, &wait_ms), ERR_IO);
	assert_int_equal(done_count, 1);
	assert_int_equal(errs[0], ERR_UNKNOWN);
	assert_int_equal(store_write(rig.store, &w[1]), ERR_CLOSED);
	assert_int_equal(store_step(rig.store, &wait_ms), ERR_IO);
	assert_false(store_ready(rig.store));
	store_rig_crash(&rig);
	assert_int_equal(store_rig_put(&rig, "k", "again", NULL), OK);
	store_rig_expect(&rig, "k", "again");
}

static void what_waits_when_the_store_stops_is_told(void **state)
{
	struct store_op op = { .kind = STORE_PUT, .key = bytes_str("k") };
	struct store_write w = { .then_ops = &op,
				 .then_count = 1,
				 .done = note_err };

	done_count = 0;
	assert_int_equal(store_write(rig.store, &w), OK);
	store_rig_stop(&rig);
	assert_int_equal(done_count, 1);
	assert_int_equal(errs[0], ERR_CLOSED);
	store_rig_start(&rig);
	store_rig_expect(&rig, "k", NULL);
}

static void wake_comes_only_when_the_core_may_sleep(void **state)
{
	struct store_op op = { .kind = STORE_PUT, .key = bytes_str("k") };
	struct store_write w[3];
	uint32_t before = rig.wakes;

	done_count = 0;
	for (int i = 0; i < 3; i++) {
		w[i] = (struct store_write){ .then_ops = &op,
					     .then_count = 1,
					     .done = note_err };
		assert_int_equal(store_write(rig.store, &w[i]), OK);
	}
	assert_int_equal(rig.wakes, before + 1);
	assert_int_equal(store_rig_step(&rig), OK);
	assert_int_equal(done_count, 3);
}

static void gathered_requests_wake_nobody_until_go(void **state)
{
	struct store_op op = { .kind = STORE_PUT, .key = bytes_str("k") };
	struct store_write w[3];
	struct store_storage_status disk;
	uint32_t before;
	uint64_t syncs;

	assert_int_equal(store_rig_step(&rig), OK);
	store_storage_status(rig.store, &disk);
	syncs = disk.syncs;
	before = rig.wakes;
	done_count = 0;
	for (int i = 0; i < 3; i++) {
		w[i] = (struct store_write){ .then_ops = &op,
					     .then_count = 1,
					     .gather = true,
					     .done = note_err };
		assert_int_equal(store_write(rig.store, &w[i]), OK);
	}
	assert_int_equal(rig.wakes, before);
	store_go(rig.store);
	assert_int_equal(rig.wakes, before + 1);
	store_go(rig.store);
	assert_int_equal(rig.wakes, before + 1);
	assert_int_equal(store_rig_step(&rig), OK);
	assert_int_equal(done_count, 3);
	store_storage_status(rig.store, &disk);
	assert_int_equal(disk.syncs, syncs + 1);
	/* One that does not gather takes along who did. */
	w[0].gather = w[2].gather = true;
	w[1].gather = false;
	for (int i = 0; i < 2; i++)
		assert_int_equal(store_write(rig.store, &w[i]), OK);
	assert_int_equal(rig.wakes, before + 2);
	assert_int_equal(store_rig_step(&rig), OK);
	assert_int_equal(done_count, 5);
	store_go(rig.store); /* nobody is left */
	assert_int_equal(rig.wakes, before + 2);
}

/*
 * Every allocation fails in turn under a write: it is refused without effect
 * or done, and the store goes on.
 */
static void every_allocation_may_fail_under_every_write(void **state)
{
	static uint8_t big[100000];
	const struct bytes values[] = { bytes_str("small"),
					bytes_of(big, sizeof(big)) };
	uint64_t failed = 0;

	for (int i = 0; i < 6; i++) {
		for (uint64_t nth = 1;; nth++) {
			enum err err;

			fail_alloc_at(nth, false);
			if (i < 2)
				err = store_rig_put_bytes(&rig,
							  bytes_str("d/k"),
							  values[i], 0, NULL);
			else if (i < 4)
				err = store_rig_upload(&rig, bytes_str("d/k"),
						       values[i - 2], 50000,
						       NULL);
			else if (i < 5)
				err = store_rig_del_prefix(&rig, "d/", NULL);
			else
				err = store_rig_put_bytes(
					&rig, bytes_str("d/k"), values[0],
					1000000000, NULL);
			if (!fail_alloc_off())
				break;
			failed++;
			/* The simulated disk allocates too: a failed write. */
			if (err == ERR_UNKNOWN)
				store_rig_crash(&rig);
			else if (err)
				assert_int_equal(err, ERR_NOMEM);
			assert_true(nth < 1000);
		}
	}
	assert_true(failed > 10);
	assert_int_equal(store_rig_put(&rig, "d/k", "still here", NULL), OK);
	store_rig_expect(&rig, "d/k", "still here");
	store_rig_crash(&rig);
	store_rig_expect(&rig, "d/k", "still here");
}

/* ---------------------------------------------------------------- backup - */

static void read_backup(struct buf *b, enum err *err)
{
	struct store_backup *backup;
	uint8_t *room = malloc(64 << 10);
	size_t n = 1;

	assert_int_equal(store_backup_open(rig.store, &backup), OK);
	assert_int_equal(store_rig_put(&rig, "later", "x", NULL), OK);
	*err = OK;
	while (n > 0 && !*err) {
		*err = store_backup_read(backup, room, 64 << 10, &n);
		if (!*err)
			assert_int_equal(buf_add(b, room, n), OK);
	}
	store_backup_done(backup);
	free(room);
}

static bool contains(const struct buf *b, const char *text)
{
	return memmem(b->p, b->n, text, strlen(text)) != NULL;
}

static void a_backup_holds_the_state_it_began_with_and_an_end(void **state)
{
	struct buf b = BUF_INIT;
	uint8_t *big = calloc(1, 300000);
	enum err err;
	uint32_t last;

	assert_int_equal(store_rig_put(&rig, "old", "oldest-value", NULL), OK);
	assert_int_equal(store_rig_put(&rig, "old", "newer-value", NULL), OK);
	memset(big, 'b', 300000);
	assert_int_equal(store_rig_upload(&rig, bytes_str("big"),
					  bytes_of(big, 300000), 65536, NULL),
			 OK);
	read_backup(&b, &err);
	assert_int_equal(err, OK);
	assert_true(contains(&b, "newer-value"));
	assert_false(contains(&b, "oldest-value"));
	assert_false(contains(&b, "later"));
	assert_true(b.n > 300000);
	last = get_u32(b.p + b.n - 16);
	assert_int_equal(last, 0);
	buf_done(&b);
	free(big);
}

/* --------------------------------------------------------------- threads - */

enum { THREADS = 4, WRITES = 300 };

struct hammer {
	pthread_t thread;
	int number;
	atomic_int done, refused;
};

static atomic_bool stop_core;

static void count_done(struct store_write *w)
{
	struct hammer *h = w->user;

	if (w->err == ERR_PRECONDITION)
		atomic_fetch_add(&h->refused, 1);
	else
		assert_int_equal(w->err, OK);
	atomic_fetch_add(&h->done, 1);
}

static void ignore(void *user)
{
}

static enum err pass_over(void *ctx, const struct store_list_item *item)
{
	return OK;
}

static void *hammer_run(void *arg)
{
	struct hammer *h = arg;
	struct store_write *w = calloc(WRITES, sizeof(*w));
	struct store_op *ops = calloc(WRITES, sizeof(*ops));
	char(*keys)[16] = calloc(WRITES, sizeof(*keys));
	struct store_event *event = malloc(sizeof(*event));
	static const struct store_condition absent = {
		.kind = STORE_IF_ABSENT,
		.key = { (const uint8_t *)"one", 3 },
	};
	struct store_watch *watch;

	assert_int_equal(store_watch_open(rig.store, bytes_str(""), false,
					  bytes_str(""), ignore, NULL, &watch),
			 OK);
	for (int i = 0; i < WRITES; i++) {
		struct store_value *v;
		struct store_list l = { .limit = 5 };

		snprintf(keys[i], sizeof(keys[i]), "h%d/%d", h->number, i % 50);
		ops[i] = (struct store_op){ .kind = STORE_PUT,
					    .key = bytes_str(keys[i]),
					    .value = bytes_str("v") };
		w[i] = (struct store_write){ .then_ops = &ops[i],
					     .then_count = 1,
					     .done = count_done,
					     .user = h };
		if (i % 50 == 0) {
			ops[i].key = absent.key;
			w[i].conditions = &absent;
			w[i].condition_count = 1;
		}
		assert_int_equal(store_write(rig.store, &w[i]), OK);
		if (store_get(rig.store, ops[i].key, &v) == OK)
			store_value_done(v);
		assert_int_not_equal(store_watch_next(watch, event),
				     ERR_CLOSED);
		if (i % 20 == 0) {
			struct store_stats stats;

			store_stats(rig.store, &stats);
			assert_int_equal(
				store_list(rig.store, &l, pass_over, NULL), OK);
			buf_done(&l.next);
			buf_done(&l.revision);
		}
	}
	while (atomic_load(&h->done) < WRITES)
		sched_yield();
	store_watch_close(watch);
	free(event);
	free(keys);
	free(ops);
	free(w);
	return NULL;
}

static void *core_run(void *arg)
{
	while (!atomic_load(&stop_core))
		assert_int_equal(store_rig_step(&rig), OK);
	return NULL;
}

static void many_threads_write_read_and_watch_at_once(void **state)
{
	struct hammer hammers[THREADS];
	pthread_t core;
	int refused = 0;

	atomic_store(&stop_core, false);
	pthread_create(&core, NULL, core_run, NULL);
	for (int i = 0; i < THREADS; i++) {
		hammers[i].number = i;
		atomic_init(&hammers[i].done, 0);
		atomic_init(&hammers[i].refused, 0);
		pthread_create(&hammers[i].thread, NULL, hammer_run,
			       &hammers[i]);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(hammers[i].thread, NULL);
		refused += atomic_load(&hammers[i].refused);
	}
	atomic_store(&stop_core, true);
	pthread_join(core, NULL);
	assert_int_equal(refused, THREADS * WRITES / 50 - 1);
	store_rig_expect(&rig, "h0/49", "v");
	store_rig_crash(&rig);
	store_rig_expect(&rig, "h3/1", "v");
}

/* A start that lacks memory says so, and the next one finds everything. */
static void every_allocation_of_a_start_may_fail(void **state)
{
	struct store_rig *r = &rig;
	uint64_t nth = 1, rev;

	assert_int_equal(store_rig_put(r, "a/b", "c", &rev), OK);
	store_rig_stop(r);
	for (;; nth++) {
		enum err err;

		fail_alloc_at(nth, false);
		err = store_rig_try_start(r);
		if (!fail_alloc_off()) {
			assert_int_equal(err, OK);
			break;
		}
		/*
		 * What can be done without is, as a larger cache; the
		 * simulated disk takes memory too, then a write fails.
		 */
		assert_true(err == OK || err == ERR_NOMEM || err == ERR_IO);
		if (!err) {
			store_rig_expect(r, "a/b", "c");
			store_rig_stop(r);
		}
	}
	assert_true(nth > 50);
	store_rig_expect(r, "a/b", "c");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_full_disk_refuses_puts_takes_deletes_and_recovers),
		T(after_a_failed_fsync_nothing_is_acknowledged),
		T(what_waits_when_the_store_stops_is_told),
		T(every_allocation_may_fail_under_every_write),
		T(every_allocation_of_a_start_may_fail),
		T(wake_comes_only_when_the_core_may_sleep),
		T(gathered_requests_wake_nobody_until_go),
		T(a_backup_holds_the_state_it_began_with_and_an_end),
		T(many_threads_write_read_and_watch_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
