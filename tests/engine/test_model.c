/*
 * tests/engine/test_model.c - the whole engine against a plain model: random
 * changes, merges, restarts, kills and power failures.
 *
 * SEED=n runs one seed; SEEDS=n that many from 1 on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "tests/lib/engine_world.h"

enum { SEEDS_DEFAULT = 25, STEPS = 260, VALUE_BYTES_MAX = 30000 };

static uint64_t seed_now;

/* What happened over all seeds: a zero says that nothing was proved. */
static struct {
	uint64_t merges, restarts, kills, crashes;
} seen;

static struct world_op random_op(struct seed *s)
{
	struct world_op op = { RECORD_PUT, (uint8_t)seed_below(s, WORLD_KEYS),
			       (uint32_t)seed_below(s, VALUE_BYTES_MAX) };
	uint64_t dice = seed_below(s, 100);

	if (dice >= 70)
		op.type = dice < 85   ? RECORD_DELETE
			  : dice < 90 ? RECORD_EXPIRE
			  : dice < 93 ? RECORD_DELETE_PREFIX
			  : dice < 97 ? RECORD_NOOP
				      : RECORD_CONFIG;
	if (op.type != RECORD_PUT)
		op.value_bytes = op.type == RECORD_CONFIG ? 40 : 0;
	return op;
}

/* An entry of a leader that loses: never settled, overwritten by the next. */
static enum err doomed_entry(struct world *w, struct seed *s,
			     uint16_t partition)
{
	char key[16];
	struct world_op op = random_op(s);
	struct engine_record r = { .type = op.type };
	struct engine_entry e = { .partition = partition,
				  .index = w->parts[partition].count + 1,
				  .term = WORLD_DOOMED_TERM,
				  .records = &r,
				  .record_count = 1 };
	enum err err;

	op.value_bytes = 0;
	r.key = bytes_of(key, world_key(op.key, key));
	if (op.type == RECORD_DELETE_PREFIX)
		r.key.n = 3;
	w->parts[partition].doomed = op;
	w->parts[partition].doomed_index = e.index;
	err = engine_append(w->e, &e);
	if (!err && seed_below(s, 2))
		err = engine_sync(w->e);
	op = (struct world_op){ RECORD_NOOP, 0, 0 };
	return err ? err : world_change(w, partition, op, true);
}

static enum err random_step(struct world *w, struct seed *s)
{
	uint16_t partition = (uint16_t)seed_below(s, w->o.partitions);
	uint64_t dice = seed_below(s, 100);
	enum err err = OK;

	if (dice < 78) {
		bool sync = seed_below(s, 3) != 0;

		err = world_change(w, partition, random_op(s), sync);
	} else if (dice < 81) {
		err = doomed_entry(w, s, partition);
	} else if (dice < 92) {
		w->clock.mono += seed_below(s, 3) * 1000000000;
		err = world_keep(w, (uint32_t)seed_below(s, 30));
	} else if (dice < 94) {
		err = world_merge(w);
	} else if (dice < 97) {
		engine_merge_request(w->e);
		engine_idle(w->e);
	}
	return err;
}

/* The machine or the process dies at a call that chance picks. */
static void die(struct world *w, struct seed *s)
{
	enum err err = OK;
	uint64_t how = seed_below(s, 4);

	vfs_sim_power_off(w->sim, VFS_SIM_CHANGES, 1 + seed_below(s, 40),
			  seed_below(s, 2));
	for (int i = 0; !err && i < 200; i++)
		err = random_step(w, s);
	world_close(w);
	if (how == 0)
		vfs_sim_kill(w->sim);
	else if (how == 1)
		vfs_sim_crash_hard(w->sim);
	else
		vfs_sim_crash(w->sim);
	seen.kills += how == 0;
	seen.crashes += how != 0;
	world_reopen(w);
}

static void run_seed(uint64_t n)
{
	struct engine_stats stats;
	struct world w;
	struct seed s;

	seed_init(&s, n);
	world_init(&w, n, 1 + (uint32_t)seed_below(&s, WORLD_PARTITIONS_MAX));
	w.o.read_mode =
		seed_below(&s, 2) ? ENGINE_READ_MMAP : ENGINE_READ_PREAD;
	w.o.merge.dead_ratio = 0.2;
	w.o.merge.small_file_bytes = 200000;
	world_reopen(&w);
	for (int i = 0; i < STEPS; i++) {
		uint64_t dice = seed_below(&s, 100);
		struct world_op op = { RECORD_NOOP, 0, 0 };

		if (dice < 93) {
			assert_int_equal(random_step(&w, &s), OK);
		} else if (dice < 95) {
			assert_int_equal(world_change(&w, 0, op, true), OK);
			world_check(&w);
		} else if (dice < 97) {
			engine_stats(w.e, &stats);
			seen.merges += stats.merges;
			seen.restarts++;
			world_reopen(&w);
		} else {
			engine_stats(w.e, &stats);
			seen.merges += stats.merges;
			die(&w, &s);
		}
	}
	world_reopen(&w);
	world_done(&w);
}

static void the_engine_agrees_with_a_plain_model(void **state)
{
	const char *one = getenv("SEED"), *many = getenv("SEEDS");
	uint64_t first = one ? strtoull(one, NULL, 10) : 1;
	uint64_t last = one    ? first
			: many ? strtoull(many, NULL, 10)
			       : SEEDS_DEFAULT;

	for (uint64_t n = first; n <= last; n++) {
		seed_now = n;
		run_seed(n);
	}
	seed_now = 0;
	print_message("merges %llu restarts %llu kills %llu crashes %llu\n",
		      (unsigned long long)seen.merges,
		      (unsigned long long)seen.restarts,
		      (unsigned long long)seen.kills,
		      (unsigned long long)seen.crashes);
	if (!one)
		assert_true(seen.merges && seen.restarts && seen.kills &&
			    seen.crashes);
}

static int say_seed(void **state)
{
	if (seed_now)
		print_message("SEED=%llu\n", (unsigned long long)seed_now);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(the_engine_agrees_with_a_plain_model,
					  say_seed),
	};

	if (!getenv("SEED"))
		log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
