/*
 * tests/lib/replica_rig.c - an engine whose entries are known by their index.
 */
#include "tests/lib/replica_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void must_open(struct rig *r)
{
	struct buf why = BUF_INIT;
	enum err err = engine_open(&r->o, &r->e, &why);

	if (err)
		fail_msg("open: %s: %.*s", err_text(err), (int)why.n,
			 (const char *)why.p);
	buf_done(&why);
}

void rig_init(struct rig *r, uint32_t partitions)
{
	*r = (struct rig){ 0 };
	assert_int_equal(vfs_sim_new(5, 512 << 20, &r->sim), OK);
	clock_sim_init(&r->clock, 1000);
	seed_init(&r->seed, 42);
	engine_options_default(&r->o);
	r->o.vfs = vfs_sim_vfs(r->sim);
	r->o.clock = &r->clock.clock;
	r->o.seed = &r->seed;
	r->o.dir = "data";
	r->o.segment_bytes = 1 << 20;
	r->o.min_free_bytes = 0;
	r->o.partitions = partitions;
	must_open(r);
}

void rig_done(struct rig *r)
{
	engine_log_entry_done(&r->le);
	engine_close(r->e);
	vfs_sim_free(r->sim);
}

void rig_reopen(struct rig *r, enum rig_stop how)
{
	if (how != RIG_CLOSE) /* who is dead removes no files */
		vfs_sim_power_off(r->sim, VFS_SIM_ALL, 1, false);
	engine_close(r->e);
	r->e = NULL;
	if (how == RIG_KILL)
		vfs_sim_kill(r->sim);
	else if (how == RIG_CRASH)
		vfs_sim_crash(r->sim);
	must_open(r);
}

void rig_make(uint16_t partition, uint64_t index, uint64_t term,
	      struct rig_entry *x)
{
	uint64_t dice = index * 2654435761u + partition;
	uint32_t bytes = (uint32_t)(dice >> 7) % RIG_VALUE_BYTES_MAX;

	x->entry = (struct engine_entry){ .partition = partition,
					  .index = index,
					  .term = term,
					  .stamp_ns = index * 10,
					  .mtime_ns = index * 7,
					  .records = x->records,
					  .record_count = 1 };
	if (dice % 11 == 0) {
		x->records[0] = (struct engine_record){ .type = RECORD_NOOP };
		return;
	}
	x->entry.record_count = 1 + (uint32_t)(dice >> 3) % RIG_RECORDS_MAX;
	for (uint32_t i = 0; i < sizeof(x->value); i++)
		x->value[i] = (uint8_t)(index * 31 + term * 7 + i);
	for (uint32_t i = 0; i < x->entry.record_count; i++) {
		struct engine_record *r = &x->records[i];

		snprintf(x->keys[i], sizeof(x->keys[i]), "k%llu.%u",
			 (unsigned long long)(index % 50), i);
		*r = (struct engine_record){ .type = RECORD_PUT,
					     .key = bytes_str(x->keys[i]),
					     .attrs = bytes_str("attr") };
		if ((dice >> i) % 5 == 0)
			r->type = RECORD_DELETE;
		else
			r->value = bytes_of(x->value, bytes);
	}
}

void rig_append(struct rig *r, uint16_t partition, uint64_t index,
		uint64_t term)
{
	struct rig_entry x;

	rig_make(partition, index, term, &x);
	assert_int_equal(engine_append(r->e, &x.entry), OK);
}

void rig_sync(struct rig *r)
{
	assert_int_equal(engine_sync(r->e), OK);
}

void rig_settle(struct rig *r, uint16_t partition, uint64_t index)
{
	assert_int_equal(engine_settle(r->e, partition, index, NULL, NULL), OK);
}

struct engine_partition_info rig_info(struct rig *r, uint16_t partition)
{
	struct engine_partition_info info;

	engine_partition_info(r->e, partition, &info);
	return info;
}

enum err rig_read(struct rig *r, uint16_t partition, uint64_t index)
{
	return engine_log_read(r->e, partition, index, &r->le);
}

void rig_expect(struct rig *r, uint16_t partition, uint64_t index,
		uint64_t term)
{
	const struct engine_entry *e = &r->le.entry;
	struct rig_entry x;
	uint64_t bytes, got;
	enum err err = rig_read(r, partition, index);

	if (err)
		fail_msg("entry %llu of partition %u: %s",
			 (unsigned long long)index, partition, err_text(err));
	rig_make(partition, index, term, &x);
	assert_int_equal(e->partition, partition);
	assert_int_equal(e->index, index);
	assert_int_equal(e->term, term);
	assert_int_equal(e->stamp_ns, x.entry.stamp_ns);
	assert_int_equal(e->mtime_ns, x.entry.mtime_ns);
	assert_int_equal(e->record_count, x.entry.record_count);
	for (uint32_t i = 0; i < e->record_count; i++) {
		assert_int_equal(e->records[i].type, x.records[i].type);
		assert_true(bytes_equal(e->records[i].key, x.records[i].key));
		assert_true(
			bytes_equal(e->records[i].attrs, x.records[i].attrs));
		assert_true(
			bytes_equal(e->records[i].value, x.records[i].value));
	}
	assert_int_equal(engine_term_at(r->e, partition, index, &got), OK);
	assert_int_equal(got, term);
	assert_int_equal(
		engine_log_fit(r->e, partition, index, index, 1, &bytes), 1);
	assert_true(bytes > 0);
}

void rig_keep(struct rig *r, uint32_t rounds)
{
	for (uint32_t i = 0; i < rounds; i++) {
		uint64_t wait_ms = 0;
		enum err err = engine_keep(r->e, &wait_ms);

		assert_int_equal(err, OK);
		r->clock.mono += (wait_ms + 1) * 1000000;
		if (wait_ms)
			engine_idle(r->e);
	}
}

void rig_merge(struct rig *r)
{
	engine_merge_request(r->e);
	engine_idle(r->e);
	rig_keep(r, 400);
}
