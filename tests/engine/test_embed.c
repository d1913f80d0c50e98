/*
 * tests/engine/test_embed.c - the embedded Bitcask on a simulated and a real
 * disk: round trips, reopening, many threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/vfs_sim.h"
#include "engine/engine.h"
#include "tests/lib/fail_alloc.h"
#include "tests/lib/tmpdir.h"

struct disk {
	struct vfs_sim *sim;
	struct clock_sim clock;
	struct seed seed;
	struct engine_options o;
};

static void disk_init(struct disk *d)
{
	assert_int_equal(vfs_sim_new(7, 64 << 20, &d->sim), OK);
	clock_sim_init(&d->clock, 1000);
	seed_init(&d->seed, 42);
	engine_options_default(&d->o);
	d->o.vfs = vfs_sim_vfs(d->sim);
	d->o.clock = &d->clock.clock;
	d->o.seed = &d->seed;
	d->o.dir = "data";
	d->o.segment_bytes = 1 << 20;
	d->o.min_free_bytes = 0;
}

static struct engine *open_engine(struct disk *d)
{
	struct buf why = BUF_INIT;
	struct engine *e = NULL;
	enum err err = engine_open(&d->o, &e, &why);

	if (err)
		print_error("open: %s: %.*s\n", err_text(err), (int)why.n,
			    (const char *)why.p);
	assert_int_equal(err, OK);
	buf_done(&why);
	return e;
}

static void expect_bytes(struct engine *e, const char *key, struct bytes want)
{
	struct engine_value v;
	uint8_t *dst = malloc(want.n + 1);
	size_t n;

	assert_int_equal(engine_get(e, 0, bytes_str(key), ENGINE_VERIFY, &v),
			 OK);
	assert_true(bytes_equal(v.value, want));
	engine_value_done(&v);
	assert_int_equal(engine_copy(e, 0, bytes_str(key), 0, dst, want.n, &n),
			 OK);
	assert_true(bytes_equal(bytes_of(dst, n), want));
	assert_int_equal(engine_copy(e, 0, bytes_str(key), ENGINE_VERIFY, dst,
				     want.n, &n),
			 OK);
	assert_true(bytes_equal(bytes_of(dst, n), want));
	free(dst);
}

static void expect_absent(struct engine *e, const char *key)
{
	struct engine_value v;

	assert_int_equal(engine_get(e, 0, bytes_str(key), ENGINE_VERIFY, &v),
			 ERR_NOT_FOUND);
}

static void round_trip(enum engine_read_mode mode)
{
	struct disk d;
	struct engine *e;

	disk_init(&d);
	d.o.read_mode = mode;
	e = open_engine(&d);
	for (int round = 0; round < 3; round++) {
		assert_int_equal(engine_put(e, 0, bytes_str("a"),
					    bytes_str("one"), true),
				 OK);
		assert_int_equal(engine_put(e, 0, bytes_str("b"),
					    bytes_str("two"), false),
				 OK);
		assert_int_equal(engine_put(e, 0, bytes_str("empty"),
					    bytes_str(""), false),
				 OK);
		expect_bytes(e, "a", bytes_str("one"));
		expect_bytes(e, "b", bytes_str("two"));
		expect_bytes(e, "empty", bytes_str(""));
		expect_absent(e, "c");
		assert_int_equal(engine_del(e, 0, bytes_str("b"), true), OK);
		expect_absent(e, "b");
		engine_close(e);
		e = open_engine(&d);
		expect_bytes(e, "a", bytes_str("one"));
		expect_bytes(e, "empty", bytes_str(""));
		expect_absent(e, "b");
	}
	engine_close(e);
	vfs_sim_free(d.sim);
}

static void what_was_put_is_read_mapped(void **state)
{
	(void)state;
	round_trip(ENGINE_READ_MMAP);
}

static void what_was_put_is_read_by_pread(void **state)
{
	(void)state;
	round_trip(ENGINE_READ_PREAD);
}

/* ------------------------------------------------------------ model ------ */

enum { MODEL_KEYS = 64 };

struct model {
	bool present[MODEL_KEYS];
	uint32_t fill[MODEL_KEYS]; /* the value is n bytes of it */
	uint32_t n[MODEL_KEYS];
};

static void model_key(uint32_t k, char key[16])
{
	snprintf(key, 16, "key%05u", k);
}

static void check_model(struct engine *e, const struct model *m)
{
	static uint8_t want[200000];
	struct engine_iter it;
	struct bytes found;
	uint32_t n = 0, seen = 0;
	char key[16];

	for (uint32_t k = 0; k < MODEL_KEYS; k++) {
		model_key(k, key);
		if (!m->present[k]) {
			expect_absent(e, key);
			continue;
		}
		memset(want, (int)m->fill[k], m->n[k]);
		expect_bytes(e, key, bytes_of(want, m->n[k]));
		n++;
	}
	engine_iter_begin(e, 0, &it);
	if (engine_iter_seek(&it, bytes_str(""), &found, NULL)) {
		do
			seen++;
		while (engine_iter_next(&it, &found, NULL));
	}
	engine_iter_end(&it);
	assert_int_equal(seen, n);
}

static void model_step(struct engine *e, struct model *m, struct seed *s)
{
	static uint8_t value[200000];
	uint32_t k = (uint32_t)seed_below(s, MODEL_KEYS);
	bool sync = seed_below(s, 4) == 0;
	char key[16];

	model_key(k, key);
	if (seed_below(s, 4) == 0) {
		m->present[k] = false;
		assert_int_equal(engine_del(e, 0, bytes_str(key), sync), OK);
		return;
	}
	m->present[k] = true;
	m->fill[k] = (uint32_t)seed_below(s, 256);
	m->n[k] = (uint32_t)seed_below(s, seed_below(s, 20) ? 2000 : 200000);
	memset(value, (int)m->fill[k], m->n[k]);
	assert_int_equal(engine_put(e, 0, bytes_str(key),
				    bytes_of(value, m->n[k]), sync),
			 OK);
}

static uint64_t test_seed(void)
{
	const char *text = getenv("SEED");

	return text ? strtoull(text, NULL, 0) : 20260101;
}

static void random_writes_and_restarts_match_a_model(void **state)
{
	struct disk d;
	struct engine *e;
	struct model m = { 0 };
	struct seed s;

	(void)state;
	print_message("SEED=%llu\n", (unsigned long long)test_seed());
	seed_init(&s, test_seed());
	disk_init(&d);
	e = open_engine(&d);
	for (int round = 0; round < 12; round++) {
		for (int i = 0; i < 150; i++) {
			uint64_t wait_ms;

			model_step(e, &m, &s);
			if (i == 100)
				engine_merge_request(e);
			if (seed_below(&s, 3) == 0)
				assert_int_equal(engine_keep(e, &wait_ms), OK);
		}
		check_model(e, &m);
		if (round % 3 == 2) {
			assert_int_equal(engine_flush(e), OK);
			engine_close(e);
		} else {
			engine_close(e);
			vfs_sim_kill(d.sim);
		}
		e = open_engine(&d);
		check_model(e, &m);
	}
	engine_close(e);
	vfs_sim_free(d.sim);
}

/* ---------------------------------------------------------- threads ------ */

enum { THREADS = 16, PUTS = 200 };

struct worker {
	pthread_t thread;
	struct engine *e;
	int id;
};

static void *put_synced(void *arg)
{
	struct worker *w = arg;
	struct engine_value v;
	char key[32];

	for (int i = 0; i < PUTS; i++) {
		snprintf(key, sizeof(key), "t%02d-%05d", w->id, i);
		if (engine_put(w->e, 0, bytes_str(key), bytes_str(key),
			       i % 8 != 0))
			return w;
		if (engine_get(w->e, 0, bytes_str(key), ENGINE_VERIFY, &v))
			return w;
		engine_value_done(&v);
	}
	return NULL;
}

static void synced_puts_of_many_threads_share_a_sync(void **state)
{
	struct worker workers[THREADS];
	struct engine_options o;
	struct engine_stats s;
	struct seed seed;
	struct engine *e;
	char *dir = tmpdir_make(), key[32];

	(void)state;
	seed_init(&seed, 1);
	engine_options_default(&o);
	o.seed = &seed;
	o.dir = dir;
	o.segment_bytes = 1 << 20;
	o.min_free_bytes = 0;
	assert_int_equal(engine_open(&o, &e, NULL), OK);
	for (int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .e = e, .id = i };
		pthread_create(&workers[i].thread, NULL, put_synced,
			       &workers[i]);
	}
	for (int i = 0; i < THREADS; i++) {
		void *failed;

		pthread_join(workers[i].thread, &failed);
		assert_null(failed);
	}
	engine_stats(e, &s);
	assert_int_equal(s.keys, THREADS * PUTS);
	assert_true(s.syncs < THREADS * PUTS / 2);
	engine_close(e);
	assert_int_equal(engine_open(&o, &e, NULL), OK);
	for (int t = 0; t < THREADS; t++) {
		snprintf(key, sizeof(key), "t%02d-%05d", t, PUTS - 1);
		expect_bytes(e, key, bytes_str(key));
	}
	engine_close(e);
	tmpdir_remove(dir);
}

/* ---------------------------------------------------------- readers ------ */

struct reader {
	pthread_t thread;
	struct engine *e;
	_Atomic bool *stop;
	bool wrong;
};

enum { READ_KEYS = 50 };

/* Values are 600 times one byte: a mixture of two would be seen. */
static void *read_always(void *arg)
{
	struct reader *r = arg;
	struct engine_value v;
	uint8_t dst[600];
	char key[16];
	size_t n;

	for (uint32_t i = 0; !atomic_load(r->stop); i++) {
		model_key(i % READ_KEYS, key);
		if (engine_get(r->e, 0, bytes_str(key), ENGINE_VERIFY, &v)) {
			r->wrong = true;
			return NULL;
		}
		r->wrong |= v.value.n != 600 || v.value.p[0] != v.value.p[599];
		engine_value_done(&v);
		if (engine_copy(r->e, 0, bytes_str(key), i % 2, dst,
				sizeof(dst), &n))
			r->wrong = true;
		r->wrong |= n != 600 || dst[0] != dst[599];
	}
	return NULL;
}

static void readers_never_wait_for_and_never_see_half_a_put(void **state)
{
	struct reader readers[2];
	_Atomic bool stop = false;
	struct engine_options o;
	struct seed seed;
	struct engine *e;
	char *dir = tmpdir_make(), key[16];
	uint8_t value[600];

	(void)state;
	seed_init(&seed, 1);
	engine_options_default(&o);
	o.seed = &seed;
	o.dir = dir;
	o.segment_bytes = 1 << 20;
	o.min_free_bytes = 0;
	assert_int_equal(engine_open(&o, &e, NULL), OK);
	for (uint32_t i = 0; i < 8000; i++) {
		model_key(i % READ_KEYS, key);
		memset(value, (int)(i % 251), sizeof(value));
		assert_int_equal(engine_put(e, 0, bytes_str(key),
					    bytes_of(value, sizeof(value)),
					    i % 500 == 0),
				 OK);
		if (i != READ_KEYS)
			continue;
		for (int k = 0; k < 2; k++) {
			readers[k] = (struct reader){ .e = e, .stop = &stop };
			pthread_create(&readers[k].thread, NULL, read_always,
				       &readers[k]);
		}
	}
	atomic_store(&stop, true);
	for (int k = 0; k < 2; k++) {
		pthread_join(readers[k].thread, NULL);
		assert_false(readers[k].wrong);
	}
	engine_close(e);
	tmpdir_remove(dir);
}

/* ------------------------------------------------------- no memory ------- */

static void every_failing_allocation_is_an_error(void **state)
{
	for (uint64_t nth = 1;; nth++) {
		struct engine *e = NULL;
		struct engine_value v = { 0 };
		struct disk d;
		bool reached;
		enum err err;

		(void)state;
		disk_init(&d);
		e = open_engine(&d);
		assert_int_equal(engine_put(e, 0, bytes_str("a"),
					    bytes_str("old"), true),
				 OK);
		engine_close(e);
		e = NULL;
		fail_alloc_at(nth, false);
		err = engine_open(&d.o, &e, NULL);
		if (!err)
			err = engine_put(e, 0, bytes_str("a"), bytes_str("new"),
					 true);
		if (!err)
			err = engine_get(e, 0, bytes_str("a"), ENGINE_VERIFY,
					 &v);
		reached = fail_alloc_off();
		/* The simulated disk allocates too: its failed write is IO. */
		assert_true(err == OK || err == ERR_NOMEM || err == ERR_IO);
		engine_value_done(&v);
		engine_close(e);
		e = open_engine(&d);
		assert_int_equal(
			engine_get(e, 0, bytes_str("a"), ENGINE_VERIFY, &v),
			OK);
		engine_value_done(&v);
		engine_close(e);
		vfs_sim_free(d.sim);
		if (!reached)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_put_is_read_mapped),
		cmocka_unit_test(what_was_put_is_read_by_pread),
		cmocka_unit_test(random_writes_and_restarts_match_a_model),
		cmocka_unit_test(synced_puts_of_many_threads_share_a_sync),
		cmocka_unit_test(
			readers_never_wait_for_and_never_see_half_a_put),
		cmocka_unit_test(every_failing_allocation_is_an_error),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
