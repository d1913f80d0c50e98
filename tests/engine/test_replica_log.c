/*
 * tests/engine/test_replica_log.c - the log read back for peers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "engine/readback.h"
#include "engine/unsettled.h"
#include "tests/lib/replica_rig.h"

static void fill(struct rig *r, uint16_t partition, uint64_t first,
		 uint64_t last, uint64_t term)
{
	for (uint64_t i = first; i <= last; i++)
		rig_append(r, partition, i, term);
}

static void fill_settled(struct rig *r, uint16_t partition, uint64_t first,
			 uint64_t last, uint64_t term)
{
	fill(r, partition, first, last, term);
	rig_sync(r);
	rig_settle(r, partition, last);
}

static void an_entry_in_the_open_batch_reads_back(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, 2);
	fill(&r, 1, 1, 5, 3);
	for (uint64_t i = 1; i <= 5; i++)
		rig_expect(&r, 1, i, 3);
	assert_int_equal(engine_write(r.e), OK);
	fill(&r, 1, 6, 9, 4);
	for (uint64_t i = 1; i <= 9; i++)
		rig_expect(&r, 1, i, i < 6 ? 3 : 4);
	assert_int_equal(rig_read(&r, 1, 10), ERR_NOT_FOUND);
	assert_int_equal(rig_read(&r, 0, 1), ERR_NOT_FOUND);
	assert_int_equal(engine_first_index(r.e, 1), 1);
	assert_int_equal(rig_info(&r, 1).first_index, 1);
	rig_done(&r);
}

static void what_was_overwritten_is_not_read(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	fill(&r, 0, 1, 20, 1);
	rig_sync(&r);
	fill(&r, 0, 11, 14, 2);
	rig_sync(&r);
	for (int again = 0; again < 2; again++) {
		for (uint64_t i = 1; i <= 14; i++)
			rig_expect(&r, 0, i, i < 11 ? 1 : 2);
		assert_int_equal(rig_read(&r, 0, 15), ERR_NOT_FOUND);
		rig_reopen(&r, again);
	}
	rig_done(&r);
}

/* From the applied entry on, whatever was opened or replaced meanwhile. */
static void the_log_clock_of_what_may_be_cut_is_told(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	fill_settled(&r, 0, 1, 5, 1);
	fill(&r, 0, 6, 12, 1);
	fill(&r, 0, 9, 10, 2);
	rig_sync(&r);
	for (int again = 0; again < 2; again++) {
		uint64_t applied = rig_info(&r, 0).applied_index;

		assert_in_range(applied, 1, 5);
		for (uint64_t i = applied; i <= 10; i++)
			assert_int_equal(engine_stamp_at(r.e, 0, i), i * 10);
		assert_int_equal(engine_stamp_at(r.e, 0, 11), 0);
		rig_reopen(&r, again);
	}
	rig_settle(&r, 0, 10);
	rig_merge(&r);
	assert_int_equal(engine_stamp_at(r.e, 0, 10), 100);
	rig_done(&r);
}

/* Many segments, all read after a restart: by marks, hints and windows. */
static void settled_entries_read_back_after_restarts(void **state)
{
	enum { LAST = 2500 };
	const struct engine_merge_options never = { .dead_ratio = 2,
						    .dead_bytes = UINT64_MAX };
	struct rig r;

	(void)state;
	rig_init(&r, 3);
	r.o.merge = never;
	rig_reopen(&r, false);
	for (uint64_t i = 1; i <= LAST; i++) {
		fill(&r, 0, i, i, 1 + i / 1000);
		fill(&r, 2, i, i, 1 + i / 700);
		if (i % 50 == 0)
			rig_sync(&r);
	}
	rig_settle(&r, 0, LAST);
	rig_settle(&r, 2, LAST - 10);
	for (int round = 0; round < 4; round++) {
		assert_int_equal(engine_first_index(r.e, 0), 1);
		for (uint64_t i = 1; i <= LAST; i++)
			rig_expect(&r, 2, i, 1 + i / 700);
		for (uint64_t i = LAST; i >= 1; i -= i < 37 ? i : 37)
			rig_expect(&r, 0, i, 1 + i / 1000);
		if (round == 0) /* hints of what is settled */
			rig_keep(&r, 100);
		rig_reopen(&r, round == 1);
	}
	rig_done(&r);
}

static void more_than_the_tail_remembers_reads_back(void **state)
{
	enum { LAST = READBACK_TAIL_MAX + 600 };
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	for (uint64_t i = 1; i <= LAST; i += 200)
		fill_settled(&r, 0, i, i + 199, 1);
	assert_int_equal(r.e->partitions[0].tail.cap, READBACK_TAIL_MAX);
	for (uint64_t i = 1; i <= LAST; i += 3)
		rig_expect(&r, 0, i, 1);
	rig_done(&r);
}

static void a_merge_raises_the_first_index(void **state)
{
	struct engine_partition_info info;
	uint64_t term, first;
	struct rig r;

	(void)state;
	rig_init(&r, 2);
	fill_settled(&r, 0, 1, 1000, 7);
	fill_settled(&r, 1, 1, 3, 2);
	rig_merge(&r);
	fill_settled(&r, 0, 1001, 1100, 8);
	for (int round = 0; round < 2; round++) {
		info = rig_info(&r, 0);
		first = info.first_index;
		assert_true(first > 1);
		assert_int_equal(first, info.base_index + 1);
		assert_int_equal(rig_read(&r, 0, first - 1), ERR_COMPACTED);
		assert_int_equal(engine_term_at(r.e, 0, first - 1, &term), OK);
		assert_int_equal(term, first - 1 <= 1000 ? 7 : 8);
		assert_int_equal(engine_term_at(r.e, 0, first - 2, &term),
				 ERR_COMPACTED);
		assert_int_equal(engine_term_at(r.e, 0, 1101, &term),
				 ERR_NOT_FOUND);
		for (uint64_t i = first; i <= 1100; i++)
			rig_expect(&r, 0, i, i <= 1000 ? 7 : 8);
		rig_reopen(&r, round);
	}
	rig_done(&r);
}

static void what_fits_is_told_without_reading(void **state)
{
	uint64_t bytes, one, sum = 0;
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	fill_settled(&r, 0, 1, 50, 1);
	for (uint64_t i = 1; i <= 10; i++) {
		assert_int_equal(engine_log_fit(r.e, 0, i, i, 1, &one), 1);
		sum += one;
	}
	assert_int_equal(engine_log_fit(r.e, 0, 1, 50, sum, &bytes), 10);
	assert_int_equal(bytes, sum);
	assert_int_equal(engine_log_fit(r.e, 0, 1, 50, sum - 1, &bytes), 9);
	assert_int_equal(engine_log_fit(r.e, 0, 1, 4, UINT64_MAX, &bytes), 4);
	assert_int_equal(engine_log_fit(r.e, 0, 51, 60, 10, &bytes), 0);
	assert_int_equal(bytes, 0);
	rig_done(&r);
}

/* ------------------------------------------------------- carried forward - */

static uint64_t log_bytes(struct rig *r)
{
	struct engine_stats s;

	engine_stats(r->e, &s);
	return s.log_bytes;
}

/* Partition 1 idles with an entry that no quorum has seen. */
static void an_idle_partition_pins_no_segment(void **state)
{
	struct rig r;
	uint64_t at = 0;

	(void)state;
	rig_init(&r, 2);
	fill_settled(&r, 1, 1, 4, 2);
	fill(&r, 1, 5, 7, 2);
	for (int round = 0; round < 12; round++, at += 400) {
		fill_settled(&r, 0, at + 1, at + 400, 1);
		rig_keep(&r, 60);
		if (round == 4) {
			rig_append(&r, 1, 8, 3);
			rig_sync(&r);
		}
	}
	rig_merge(&r);
	assert_true(log_bytes(&r) < 5 << 20); /* of about 10 */
	for (int again = 0; again < 3; again++) {
		assert_int_equal(rig_info(&r, 1).last_index, 8);
		assert_int_equal(rig_info(&r, 1).applied_index, 4);
		assert_int_equal(rig_info(&r, 1).first_index, 5);
		for (uint64_t i = 5; i <= 8; i++)
			rig_expect(&r, 1, i, i < 8 ? 2 : 3);
		rig_reopen(&r, again == 1);
	}
	rig_settle(&r, 1, 8);
	rig_append(&r, 1, 9, 3);
	rig_reopen(&r, false);
	for (uint64_t i = 5; i <= 9; i++)
		rig_expect(&r, 1, i, i < 8 ? 2 : 3);
	rig_done(&r);
}

static void a_lagging_peer_holds_segments_up_to_a_bound(void **state)
{
	struct rig r;
	uint64_t at = 0;

	(void)state;
	rig_init(&r, 1);
	engine_log_keep(r.e, 0, 300);
	fill_settled(&r, 0, 1, 400, 1);
	fill_settled(&r, 0, 401, 900, 1);
	rig_merge(&r);
	assert_true(rig_info(&r, 0).first_index <= 300);
	rig_expect(&r, 0, 300, 1);
	for (at = 900; at < 6000; at += 100)
		fill_settled(&r, 0, at + 1, at + 100, 1);
	rig_merge(&r);
	assert_true(rig_info(&r, 0).first_index > 300);
	assert_true(log_bytes(&r) > 3 << 20);
	engine_log_keep(r.e, 0, UINT64_MAX);
	rig_merge(&r);
	assert_true(log_bytes(&r) < 2 << 20);
	rig_done(&r);
}

/* ----------------------------------------------------------------- model - */

enum { MODEL_PARTITIONS = 3, MODEL_INDEX_MAX = 20000 };

/* What the log of one partition is, by index. */
struct model {
	uint64_t terms[MODEL_INDEX_MAX];
	uint64_t last, acked, settled;
	uint64_t term; /* highest ever: a term has one leader */
};

static struct {
	uint64_t restarts, crashes, carried, cuts, merges;
} seen;

static void check_keys(struct rig *r, uint16_t p, const struct model *m)
{
	uint64_t applied = rig_info(r, p).applied_index;
	uint64_t version[50][RIG_RECORDS_MAX] = { 0 };
	struct rig_entry x;

	for (uint64_t i = 1; i <= applied; i++) {
		rig_make(p, i, m->terms[i], &x);
		for (uint32_t k = 0; k < x.entry.record_count; k++)
			if (x.records[k].type == RECORD_PUT)
				version[i % 50][k] = i;
			else if (x.records[k].type == RECORD_DELETE)
				version[i % 50][k] = 0;
	}
	for (uint32_t i = 0; i < 50; i++)
		for (uint32_t k = 0; k < RIG_RECORDS_MAX; k++) {
			struct engine_value v;
			char key[24];
			enum err err;

			snprintf(key, sizeof(key), "k%u.%u", i, k);
			err = engine_get(r->e, p, bytes_str(key), ENGINE_VERIFY,
					 &v);
			if (err != (version[i][k] ? OK : ERR_NOT_FOUND))
				fail_msg("%s of %u at %llu: %s, not %llu", key,
					 p, (unsigned long long)applied,
					 err_text(err),
					 (unsigned long long)version[i][k]);
			if (err)
				continue;
			assert_int_equal(version_index(v.version),
					 version[i][k]);
			engine_value_done(&v);
		}
}

static void check_model(struct rig *r, struct model *models)
{
	for (uint16_t p = 0; p < MODEL_PARTITIONS; p++) {
		struct engine_partition_info info = rig_info(r, p);
		struct model *m = &models[p];

		if (info.last_index < m->acked || info.last_index > m->last ||
		    info.applied_index > m->settled)
			fail_msg("partition %u ends at %llu of %llu..%llu", p,
				 (unsigned long long)info.last_index,
				 (unsigned long long)m->acked,
				 (unsigned long long)m->last);
		m->last = m->acked = info.last_index;
		for (uint64_t i = info.first_index; i <= m->last; i++)
			rig_expect(r, p, i, m->terms[i]);
		check_keys(r, p, m); /* exact where it stands */
		if (m->settled > m->last)
			m->settled = m->last;
		rig_settle(r, p, m->settled);
		check_keys(r, p, m);
	}
}

static void model_append(struct rig *r, struct model *m, uint16_t p,
			 uint64_t index, uint64_t term)
{
	rig_append(r, p, index, term);
	m->terms[index] = term;
	m->last = index;
}

static void model_sync(struct rig *r, struct model *models)
{
	rig_sync(r);
	for (int p = 0; p < MODEL_PARTITIONS; p++)
		models[p].acked = models[p].last;
}

/* Settle one partition; commit becomes known to a restart now and then. */
static void model_settle(struct rig *r, struct seed *s, struct model *m,
			 uint16_t p)
{
	uint64_t applied = rig_info(r, p).applied_index;
	struct engine_hard_state hs = { 1000000, 1, 0 };

	if (m->acked <= applied)
		return;
	m->settled = applied + 1 + seed_below(s, m->acked - applied);
	rig_settle(r, p, m->settled);
	hs.commit = m->settled;
	if (seed_below(s, 2))
		assert_int_equal(engine_set_hard_state(r->e, p, &hs), OK);
}

/* Another leader: the end that is not settled is overwritten. */
static void model_cut(struct rig *r, struct seed *s, struct model *models,
		      uint16_t p)
{
	struct model *m = &models[p];
	uint64_t from = m->settled + 1;

	if (m->last < from)
		return;
	from += seed_below(s, m->last - from + 1);
	m->term++;
	model_append(r, m, p, from, m->term);
	model_sync(r, models);
	seen.cuts++;
}

static void model_restart(struct rig *r, struct seed *s, struct model *models)
{
	enum rig_stop how = (enum rig_stop)seed_below(s, 3);

	seen.restarts++;
	seen.crashes += how == RIG_CRASH;
	rig_reopen(r, how);
	check_model(r, models);
}

static void count_carried(struct rig *r)
{
	const struct manifest *m = &r->e->manifest;

	for (uint32_t i = 0; i < m->log_count; i++) {
		struct datafile *df = engine_file(r->e, m->log[i].id);

		seen.carried += again_any(r->e, df);
	}
}

static void model_step(struct rig *r, struct seed *s, struct model *models)
{
	uint64_t dice = seed_below(s, 1000);
	/* Partition 2 is mostly idle, partition 1 settles seldom. */
	uint16_t p = (uint16_t)(seed_below(s, 40) ? seed_below(s, 2) : 2);
	struct model *m = &models[p];

	if (dice < 700) {
		uint64_t n = 1 + seed_below(s, 8);

		while (n-- && m->last + 1 < MODEL_INDEX_MAX)
			model_append(r, m, p, m->last + 1, m->term);
	} else if (dice < 850) {
		model_sync(r, models);
	} else if (dice < 900) {
		model_settle(r, s, &models[0], 0);
		if (seed_below(s, 10) == 0)
			model_settle(r, s, &models[1], 1);
		if (seed_below(s, 20) == 0)
			model_settle(r, s, &models[2], 2);
	} else if (dice < 908) {
		model_cut(r, s, models, p);
	} else if (dice < 980) {
		rig_keep(r, (uint32_t)seed_below(s, 40));
	} else if (dice < 992) {
		rig_merge(r);
		model_sync(r, models);
		seen.merges++;
	} else if (dice < 996) {
		uint64_t keep = m->last ? seed_below(s, m->last) : 1;

		engine_log_keep(r->e, p, seed_below(s, 2) ? keep : UINT64_MAX);
	} else {
		count_carried(r);
		model_restart(r, s, models);
	}
}

static void the_log_survives_carrying_merges_and_crashes(void **state)
{
	const char *one = getenv("SEED"), *many = getenv("SEEDS");
	uint64_t first = one ? strtoull(one, NULL, 0) : 1;
	uint64_t last = first + (many  ? strtoull(many, NULL, 0) - 1
				 : one ? 0
				       : 7);

	(void)state;
	for (uint64_t n = first; n <= last; n++) {
		struct model *models =
			calloc(MODEL_PARTITIONS, sizeof(*models));
		struct seed s;
		struct rig r;

		assert_non_null(models);
		for (int p = 0; p < MODEL_PARTITIONS; p++)
			models[p].term = 1;
		print_message("SEED=%llu\n", (unsigned long long)n);
		seed_init(&s, n);
		rig_init(&r, MODEL_PARTITIONS);
		for (int i = 0; i < 3000; i++)
			model_step(&r, &s, models);
		model_sync(&r, models);
		check_model(&r, models);
		rig_done(&r);
		free(models);
	}
	print_message("restarts %llu, crashes %llu, carried %llu, cuts %llu, "
		      "merges %llu\n",
		      (unsigned long long)seen.restarts,
		      (unsigned long long)seen.crashes,
		      (unsigned long long)seen.carried,
		      (unsigned long long)seen.cuts,
		      (unsigned long long)seen.merges);
	assert_true(one || (seen.crashes && seen.carried && seen.cuts));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_entry_in_the_open_batch_reads_back),
		cmocka_unit_test(what_was_overwritten_is_not_read),
		cmocka_unit_test(the_log_clock_of_what_may_be_cut_is_told),
		cmocka_unit_test(settled_entries_read_back_after_restarts),
		cmocka_unit_test(more_than_the_tail_remembers_reads_back),
		cmocka_unit_test(a_merge_raises_the_first_index),
		cmocka_unit_test(what_fits_is_told_without_reading),
		cmocka_unit_test(an_idle_partition_pins_no_segment),
		cmocka_unit_test(a_lagging_peer_holds_segments_up_to_a_bound),
		cmocka_unit_test(the_log_survives_carrying_merges_and_crashes),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
