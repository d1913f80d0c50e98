/*
 * tests/engine/test_recovery.c - what a crash, a torn write or a decayed disk
 * may and may not do to an engine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

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

/* Open, write, reopen in the middle, close: until the disk dies. */
static void run_script(struct disk *d, struct history *h)
{
	struct engine *e;
	uint32_t i = 0;

	for (int part = 0; part < 2; part++) {
		if (engine_open(&d->o, &e, NULL))
			return;
		for (; i < (uint32_t)(part + 1) * STEPS / 2; i++)
			if (run_step(e, h, i))
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(acked_survives_power_loss_before_any_call),
		cmocka_unit_test(acked_survives_power_loss_after_any_call),
		cmocka_unit_test(acked_survives_loss_of_all_unsynced),
		cmocka_unit_test(acked_survives_kill_at_any_call),
		cmocka_unit_test(recovery_survives_a_crash_at_any_call),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
