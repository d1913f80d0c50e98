/*
 * tests/engine/test_recovery.c - what a crash, a torn write or a decayed disk
 * may and may not do to an engine.
 */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/guard.h"
#include "base/log.h"
#include "base/vfs_sim.h"
#include "engine/engine.h"

struct disk {
	struct vfs_sim *sim;
	struct clock_sim clock;
	struct seed seed;
	struct engine_options o;
};

static void disk_use(struct disk *d, struct vfs_sim *sim)
{
	*d = (struct disk){ .sim = sim };
	clock_sim_init(&d->clock, 1000);
	seed_init(&d->seed, 42);
	engine_options_default(&d->o);
	d->o.vfs = vfs_sim_vfs(sim);
	d->o.clock = &d->clock.clock;
	d->o.seed = &d->seed;
	d->o.dir = "data";
	d->o.segment_bytes = 1 << 20;
	d->o.min_free_bytes = 0;
}

static void disk_init(struct disk *d, uint64_t seed)
{
	struct vfs_sim *sim;

	assert_int_equal(vfs_sim_new(seed, 64 << 20, &sim), OK);
	disk_use(d, sim);
}

static struct engine *must_open(struct disk *d)
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

/* ------------------------------------------------- the scripted workload - */

enum { KEYS = 6, STEPS = 24 };

/* Generation g of key k: a value that tells both. 0: absent. */
static struct bytes value_of(uint32_t k, uint32_t g, uint8_t v[150000])
{
	uint32_t n = g % 3 == 2 ? 150000 : 40 + g * 13 % 400;

	for (uint32_t i = 0; i < n; i++)
		v[i] = (uint8_t)(k * 31 + g * 7 + i);
	put_u32(v, k);
	put_u32(v + 4, g);
	return bytes_of(v, n);
}

static struct bytes key_of(uint32_t k, char key[16])
{
	snprintf(key, 16, "key-%u", k);
	return bytes_str(key);
}

/*
 * What each key may hold after a crash: what was acknowledged last, or one
 * of the later states that were begun.
 */
struct history {
	uint32_t acked[KEYS]; /* position in states[] of the acknowledged */
	uint32_t states[KEYS][STEPS + 1]; /* generation, 0: deleted */
	uint32_t count[KEYS];
};

static void push_state(struct history *h, uint32_t k, uint32_t g)
{
	h->states[k][h->count[k]++] = g;
}

static void ack_all(struct history *h)
{
	for (uint32_t k = 0; k < KEYS; k++)
		h->acked[k] = h->count[k] - 1;
}

static void history_init(struct history *h)
{
	memset(h, 0, sizeof(*h));
	for (uint32_t k = 0; k < KEYS; k++)
		h->count[k] = 1;
}

static enum err run_step(struct engine *e, struct history *h, uint32_t i)
{
	static uint8_t v[150000];
	uint32_t k = i * 5 % KEYS, g = i + 1;
	bool del = i % 5 == 4, sync = i % 3 != 1;
	char key[16];
	enum err err;

	push_state(h, k, del ? 0 : g);
	if (del)
		err = engine_del(e, 0, key_of(k, key), sync);
	else
		err = engine_put(e, 0, key_of(k, key), value_of(k, g, v), sync);
	if (!err && sync)
		ack_all(h);
	return err;
}

/* Background work between the writes; its errors change nothing. */
static enum err keep_step(struct engine *e, uint32_t i)
{
	uint64_t wait_ms = 0;

	if (i % 12 == 6)
		engine_merge_request(e);
	for (uint32_t n = 0; n < i % 4 && !wait_ms; n++)
		if (engine_keep(e, &wait_ms))
			return ERR_IO;
	return OK;
}

/* Open, write, reopen in the middle, close: until the disk dies. */
static void run_script(struct disk *d, struct history *h)
{
	struct engine *e;
	uint32_t i = 0;

	for (int part = 0; part < 2; part++) {
		if (engine_open(&d->o, &e, NULL))
			return;
		for (; i < (uint32_t)(part + 1) * STEPS / 2; i++)
			if (run_step(e, h, i) || keep_step(e, i))
				break;
		engine_close(e);
	}
}

static bool state_possible(const struct history *h, uint32_t k, uint32_t g)
{
	for (uint32_t i = h->acked[k]; i < h->count[k]; i++)
		if (h->states[k][i] == g)
			return true;
	return false;
}

static void check_history(struct engine *e, const struct history *h)
{
	static uint8_t want[150000];
	struct engine_value v;
	char key[16];

	for (uint32_t k = 0; k < KEYS; k++) {
		enum err err =
			engine_get(e, 0, key_of(k, key), ENGINE_VERIFY, &v);
		uint32_t g = 0;

		if (!err) {
			assert_true(v.value.n >= 40);
			g = get_u32(v.value.p + 4);
			assert_true(bytes_equal(v.value, value_of(k, g, want)));
			engine_value_done(&v);
		} else {
			assert_int_equal(err, ERR_NOT_FOUND);
		}
		if (!state_possible(h, k, g))
			print_error("key %u: generation %u, acked %u\n", k, g,
				    h->states[k][h->acked[k]]);
		assert_true(state_possible(h, k, g));
	}
}

/* After the crash: open, look, open again: nothing may change by it. */
static void check_after_crash(struct disk *d, const struct history *h)
{
	struct engine *e;

	for (int i = 0; i < 2; i++) {
		e = must_open(d);
		check_history(e, h);
		engine_close(e);
	}
}

enum crash { CRASH_POWER, CRASH_HARD, CRASH_KILL };

static void crash_disk(struct vfs_sim *sim, enum crash how)
{
	if (how == CRASH_POWER)
		vfs_sim_crash(sim);
	else if (how == CRASH_HARD)
		vfs_sim_crash_hard(sim);
	else
		vfs_sim_kill(sim);
}

/* Crash at every changing disk call of the script. */
static void crash_everywhere(enum crash how, bool after_it)
{
	for (uint64_t nth = 1;; nth++) {
		struct history h;
		struct disk d;
		uint64_t calls;

		disk_init(&d, nth * 2654435761u + how);
		d.o.read_mode = nth % 2 ? ENGINE_READ_PREAD : ENGINE_READ_MMAP;
		history_init(&h);
		vfs_sim_power_off(d.sim, VFS_SIM_CHANGES, nth, after_it);
		run_script(&d, &h);
		calls = vfs_sim_calls(d.sim, VFS_SIM_CHANGES);
		crash_disk(d.sim, how);
		check_after_crash(&d, &h);
		vfs_sim_free(d.sim);
		if (calls < nth)
			break;
	}
}

static void acked_survives_power_loss_before_any_call(void **state)
{
	(void)state;
	crash_everywhere(CRASH_POWER, false);
}

static void acked_survives_power_loss_after_any_call(void **state)
{
	(void)state;
	crash_everywhere(CRASH_POWER, true);
}

static void acked_survives_loss_of_all_unsynced(void **state)
{
	(void)state;
	crash_everywhere(CRASH_HARD, true);
}

static void acked_survives_kill_at_any_call(void **state)
{
	(void)state;
	crash_everywhere(CRASH_KILL, false);
}

/* Recovery itself dies at every call, and again at the next attempt. */
static void recovery_survives_a_crash_at_any_call(void **state)
{
	(void)state;
	for (uint64_t at = 30; at < 75; at += 9) {
		for (uint64_t nth = 1;; nth++) {
			struct history h;
			struct disk d;
			struct engine *e;
			uint64_t calls;

			disk_init(&d, at * 1000 + nth);
			history_init(&h);
			vfs_sim_power_off(d.sim, VFS_SIM_CHANGES, at, true);
			run_script(&d, &h);
			vfs_sim_crash(d.sim);
			calls = vfs_sim_calls(d.sim, VFS_SIM_CHANGES);
			for (uint64_t twice = 0; twice < 2; twice++) {
				vfs_sim_power_off(d.sim, VFS_SIM_CHANGES,
						  nth + twice, nth % 2);
				if (!engine_open(&d.o, &e, NULL))
					engine_close(e);
				if (twice == 0)
					calls = vfs_sim_calls(d.sim,
							      VFS_SIM_CHANGES) -
						calls;
				vfs_sim_crash(d.sim);
			}
			check_after_crash(&d, &h);
			vfs_sim_free(d.sim);
			if (calls < nth)
				break;
		}
	}
}

/* ------------------------------------------------------- a decayed disk -- */

enum { FLIP_KEYS = 4 };

/* A small directory, closed cleanly: each key holds its own letter. */
static struct engine *fill_small(struct disk *d)
{
	struct engine *e = must_open(d);
	char key[16];

	for (uint32_t k = 0; k < FLIP_KEYS; k++) {
		uint8_t v[100];

		memset(v, (int)('a' + k), sizeof(v));
		assert_int_equal(engine_put(e, 0, key_of(k, key),
					    bytes_of(v, sizeof(v)), true),
				 OK);
	}
	return e;
}

static void make_small(struct disk *d)
{
	engine_close(fill_small(d));
}

/* Every key answers its own bytes or that it is damaged. */
static uint32_t count_served(struct engine *e)
{
	struct engine_value v;
	uint32_t served = 0;
	char key[16];

	for (uint32_t k = 0; k < FLIP_KEYS; k++) {
		enum err err =
			engine_get(e, 0, key_of(k, key), ENGINE_VERIFY, &v);

		if (err == ERR_CORRUPT)
			continue;
		assert_int_equal(err, OK);
		assert_int_equal(v.value.n, 100);
		for (uint32_t i = 0; i < 100; i++)
			assert_int_equal(v.value.p[i], 'a' + k);
		engine_value_done(&v);
		served++;
	}
	return served;
}

static void a_flipped_bit_is_found_or_harmless(void **state)
{
	uint64_t refused = 0, damaged = 0, harmless = 0;

	(void)state;
	for (uint64_t off = 0; off < 512 * 7; off++) {
		struct disk d;
		struct engine *e;
		struct buf why = BUF_INIT;
		enum err err;

		if (off % 512 == 250 || off == 70) /* like what follows */
			off += off == 70 ? 440 : 260;

		disk_init(&d, off);
		d.o.read_mode = ENGINE_READ_PREAD;
		make_small(&d);
		assert_int_equal(vfs_sim_flip(d.sim, "data/00000001.log", off,
					      (uint8_t)(1 << off % 8)),
				 OK);
		err = engine_open(&d.o, &e, &why);
		if (err) {
			assert_int_equal(err, ERR_CORRUPT);
			assert_true(why.n > 0);
			refused++;
		} else {
			struct engine_stats s;
			uint32_t served = count_served(e);

			engine_stats(e, &s);
			if (served < FLIP_KEYS)
				assert_int_equal(s.corrupt_count, 1);
			damaged += served < FLIP_KEYS;
			harmless += served == FLIP_KEYS;
			engine_close(e);
		}
		buf_done(&why);
		vfs_sim_free(d.sim);
	}
	print_message("refused %llu, one key damaged %llu, harmless %llu\n",
		      (unsigned long long)refused, (unsigned long long)damaged,
		      (unsigned long long)harmless);
	assert_true(refused > FLIP_KEYS * 64);
	assert_int_equal(damaged, FLIP_KEYS * (100 + 4));
}

static void a_newer_version_heals_a_damaged_key(void **state)
{
	struct engine_value v;
	struct engine *e;
	struct disk d;
	char key[16];

	(void)state;
	disk_init(&d, 1);
	make_small(&d);
	/* in the first value: frame header, record header, key of 5 bytes */
	assert_int_equal(vfs_sim_flip(d.sim, "data/00000001.log",
				      512 + 64 + 64 + 5 + 50, 1),
			 OK);
	e = must_open(&d);
	assert_int_equal(engine_get(e, 0, key_of(0, key), 0, &v), ERR_CORRUPT);
	assert_int_equal(
		engine_put(e, 0, key_of(0, key), bytes_str("new"), true), OK);
	assert_int_equal(engine_get(e, 0, key_of(0, key), ENGINE_VERIFY, &v),
			 OK);
	engine_value_done(&v);
	engine_close(e);
	e = must_open(&d);
	assert_int_equal(engine_get(e, 0, key_of(0, key), ENGINE_VERIFY, &v),
			 OK);
	assert_true(bytes_equal(v.value, bytes_str("new")));
	engine_value_done(&v);
	engine_close(e);
	vfs_sim_free(d.sim);
}

static void an_unreadable_sector_is_found(void **state)
{
	(void)state;
	guard_install(); /* over the handler that cmocka set for this test */
	for (int mode = 0; mode < 2; mode++) {
		struct engine_value v;
		struct engine *e;
		struct disk d;
		char key[16];

		disk_init(&d, 1);
		d.o.read_mode = mode ? ENGINE_READ_MMAP : ENGINE_READ_PREAD;
		make_small(&d);
		e = must_open(&d);
		assert_int_equal(
			vfs_sim_bad_sector(d.sim, "data/00000001.log", 512),
			OK);
		assert_int_not_equal(
			engine_get(e, 0, key_of(0, key), ENGINE_VERIFY, &v),
			OK);
		engine_close(e);
		assert_int_equal(engine_open(&d.o, &e, NULL), ERR_CORRUPT);
		vfs_sim_free(d.sim);
	}
}

/* ------------------------------------------------------------ torn tails - */

static void write_file(struct disk *d, const char *path, uint64_t off,
		       const uint8_t *p, size_t n)
{
	struct vfs_file *f;

	assert_int_equal(vfs_open(d->o.vfs, path, VFS_WRITE, &f), OK);
	assert_int_equal(vfs_pwrite(f, p, n, off), OK);
	assert_int_equal(vfs_sync(f), OK);
	vfs_close(f);
}

static void a_tail_torn_at_any_byte_is_cut(void **state)
{
	static const uint8_t zeros[512 * 2];
	uint64_t last = 512 * FLIP_KEYS; /* the frame of the last put */

	(void)state;
	for (uint64_t cut = 0; cut < 64 + 64 + 5 + 100; cut++) {
		struct engine_value v;
		struct engine_stats s;
		struct engine *e;
		struct disk d;
		char key[16];

		disk_init(&d, cut);
		d.o.read_mode = ENGINE_READ_PREAD;
		e = fill_small(&d);
		vfs_sim_kill(d.sim);
		engine_close(e);
		write_file(&d, "data/00000001.log", last + cut, zeros,
			   512 - cut);
		for (int twice = 0; twice < 2; twice++) {
			e = must_open(&d);
			for (uint32_t k = 0; k + 1 < FLIP_KEYS; k++) {
				assert_int_equal(engine_get(e, 0,
							    key_of(k, key),
							    ENGINE_VERIFY, &v),
						 OK);
				engine_value_done(&v);
			}
			assert_int_equal(engine_get(e, 0,
						    key_of(FLIP_KEYS - 1, key),
						    ENGINE_VERIFY, &v),
					 ERR_NOT_FOUND);
			engine_stats(e, &s);
			if (twice == 0 && cut >= 64)
				assert_int_equal(s.cut_count, 1);
			engine_close(e);
		}
		vfs_sim_free(d.sim);
	}
}

/*
 * A value that is a copy of the segment it lies in, its frames at multiples of
 * 512 as a scan looks for them. Also when the frame around it is torn, so that
 * the scan goes through the value, nothing in it is taken for the log.
 */
static void a_value_full_of_frames_is_no_log(void **state)
{
	enum { KEY_BYTES = 5, PAD = 512 - 64 - 64 - KEY_BYTES, COPY = 512 * 5 };
	static const uint8_t zeros[512];
	uint64_t last = 512 * (FLIP_KEYS + 1); /* the frame with the copy */
	uint8_t v[PAD + COPY] = { 0 };

	(void)state;
	for (int torn = 0; torn < 2; torn++) {
		struct engine_value got;
		struct buf b = BUF_INIT;
		struct engine *e;
		struct disk d;
		char key[16];

		disk_init(&d, 11);
		d.o.read_mode = ENGINE_READ_PREAD;
		e = fill_small(&d);
		assert_int_equal(vfs_read_all(d.o.vfs, "data/00000001.log",
					      16 << 20, &b),
				 OK);
		memcpy(v + PAD, b.p, COPY);
		buf_done(&b);
		assert_int_equal(key_of(9, key).n, KEY_BYTES);
		assert_int_equal(engine_put(e, 0, key_of(9, key),
					    bytes_of(v, sizeof(v)), true),
				 OK);
		vfs_sim_kill(d.sim);
		engine_close(e);
		if (torn)
			write_file(&d, "data/00000001.log", last, zeros, 512);
		for (int twice = 0; twice < 2; twice++) {
			enum err err;

			e = must_open(&d);
			assert_int_equal(count_served(e), FLIP_KEYS);
			err = engine_get(e, 0, key_of(9, key), ENGINE_VERIFY,
					 &got);
			assert_int_equal(err, torn ? ERR_NOT_FOUND : OK);
			if (!err) {
				assert_true(bytes_equal(
					got.value, bytes_of(v, sizeof(v))));
				engine_value_done(&got);
			}
			engine_close(e);
		}
		vfs_sim_free(d.sim);
	}
}

/* ------------------------------------------------------ failing calls ---- */

static void a_failed_sync_acknowledges_nothing_more(void **state)
{
	(void)state;
	for (uint64_t nth = 1; nth < 6; nth++) {
		struct history h;
		struct disk d;
		struct engine *e;
		bool failed = false;

		disk_init(&d, nth);
		history_init(&h);
		e = must_open(&d);
		vfs_sim_fail(d.sim, VFS_SIM_SYNC, nth, ERR_IO, false);
		for (uint32_t i = 0; i < STEPS; i++) {
			enum err err = run_step(e, &h, i);

			if (failed)
				assert_int_equal(err, ERR_IO);
			failed |= err == ERR_IO;
		}
		assert_true(failed);
		engine_close(e);
		vfs_sim_crash(d.sim);
		check_after_crash(&d, &h);
		vfs_sim_free(d.sim);
	}
}

static void a_full_disk_refuses_puts_and_comes_back(void **state)
{
	static uint8_t v[30000];
	struct engine_stats s;
	struct engine *e;
	struct disk d;
	char key[16];
	uint32_t n = 0;
	enum err err;

	(void)state;
	disk_init(&d, 3);
	vfs_sim_set_capacity(d.sim, 3 << 20);
	e = must_open(&d);
	do
		err = engine_put(e, 0, key_of(n, key), bytes_of(v, sizeof(v)),
				 n % 2);
	while (!err && ++n < 1000);
	assert_int_equal(err, ERR_NOSPC);
	assert_int_equal(engine_del(e, 0, key_of(0, key), true), OK);
	assert_int_equal(
		engine_put(e, 0, key_of(n, key), bytes_of(v, sizeof(v)), true),
		ERR_NOSPC);
	engine_stats(e, &s);
	assert_false(s.poisoned);
	assert_int_equal(s.keys, n - 1);
	vfs_sim_set_capacity(d.sim, 64 << 20);
	d.clock.mono += 1000000000;
	assert_int_equal(
		engine_put(e, 0, key_of(n, key), bytes_of(v, sizeof(v)), true),
		OK);
	engine_close(e);
	e = must_open(&d);
	engine_stats(e, &s);
	assert_int_equal(s.keys, n);
	engine_close(e);
	vfs_sim_free(d.sim);
}

static void every_failing_call_of_open_is_an_error(void **state)
{
	(void)state;
	for (uint64_t nth = 1;; nth++) {
		struct history h;
		struct disk d;
		struct engine *e = NULL;
		uint64_t before;
		enum err err;

		disk_init(&d, nth);
		history_init(&h);
		run_script(&d, &h);
		before = vfs_sim_calls(d.sim, VFS_SIM_ALL);
		vfs_sim_fail(d.sim, VFS_SIM_ALL, nth, ERR_IO, false);
		err = engine_open(&d.o, &e, NULL);
		vfs_sim_fail(d.sim, VFS_SIM_ALL, 0, OK, false);
		if (!err)
			check_history(e, &h);
		engine_close(err ? NULL : e);
		check_after_crash(&d, &h);
		before = vfs_sim_calls(d.sim, VFS_SIM_ALL) - before;
		vfs_sim_free(d.sim);
		if (nth > 60)
			break;
	}
}

/* ------------------------------------------------------ foreign files ---- */

static void copy_file(struct disk *d, const char *from, const char *to)
{
	struct buf b = BUF_INIT;

	assert_int_equal(vfs_read_all(d->o.vfs, from, 16 << 20, &b), OK);
	assert_int_equal(vfs_replace(d->o.vfs, "data", to, buf_bytes(&b)), OK);
	buf_done(&b);
}

static enum err open_fails(struct disk *d)
{
	struct buf why = BUF_INIT;
	struct engine *e = NULL;
	enum err err = engine_open(&d->o, &e, &why);

	if (!err)
		engine_close(e);
	else
		assert_true(why.n > 0);
	buf_done(&why);
	return err;
}

static void missing_swapped_and_doubled_segments_are_refused(void **state)
{
	static uint8_t v[300000];
	struct engine *e;
	struct disk d;
	char key[16];

	(void)state;
	disk_init(&d, 9);
	e = must_open(&d);
	for (uint32_t k = 0; k < 10; k++)
		assert_int_equal(engine_put(e, 0, key_of(k, key),
					    bytes_of(v, sizeof(v)), true),
				 OK);
	engine_close(e);
	copy_file(&d, "data/00000001.log", "data/keep-1");
	copy_file(&d, "data/00000002.log", "data/keep-2");
	copy_file(&d, "data/keep-2", "data/00000001.log");
	assert_int_equal(open_fails(&d), ERR_FOREIGN);
	copy_file(&d, "data/keep-1", "data/00000001.log");
	assert_int_equal(open_fails(&d), OK);
	copy_file(&d, "data/keep-1", "data/00000002.log");
	assert_int_equal(open_fails(&d), ERR_FOREIGN);
	assert_int_equal(vfs_unlink(d.o.vfs, "data/00000002.log"), OK);
	assert_int_equal(open_fails(&d), ERR_CORRUPT);
	copy_file(&d, "data/keep-2", "data/00000002.log");
	assert_int_equal(open_fails(&d), OK);
	assert_int_equal(vfs_unlink(d.o.vfs, "data/MANIFEST"), OK);
	assert_int_equal(open_fails(&d), ERR_CORRUPT);
	vfs_sim_free(d.sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(acked_survives_power_loss_before_any_call),
		cmocka_unit_test(acked_survives_power_loss_after_any_call),
		cmocka_unit_test(acked_survives_loss_of_all_unsynced),
		cmocka_unit_test(acked_survives_kill_at_any_call),
		cmocka_unit_test(recovery_survives_a_crash_at_any_call),
		cmocka_unit_test(a_flipped_bit_is_found_or_harmless),
		cmocka_unit_test(a_newer_version_heals_a_damaged_key),
		cmocka_unit_test(an_unreadable_sector_is_found),
		cmocka_unit_test(a_tail_torn_at_any_byte_is_cut),
		cmocka_unit_test(a_value_full_of_frames_is_no_log),
		cmocka_unit_test(a_failed_sync_acknowledges_nothing_more),
		cmocka_unit_test(a_full_disk_refuses_puts_and_comes_back),
		cmocka_unit_test(every_failing_call_of_open_is_an_error),
		cmocka_unit_test(
			missing_swapped_and_doubled_segments_are_refused),
	};

	/* The simulated disk frees megabytes all the time: keep the pages. */
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
