/*
 * tests/lib/engine_world.c - an engine on a simulated disk beside a model.
 */
#include "tests/lib/engine_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { KEEP_STEPS_MAX = 20000 };

void world_init(struct world *w, uint64_t seed, uint32_t partitions)
{
	*w = (struct world){ 0 };
	assert_int_equal(vfs_sim_new(seed, 256 << 20, &w->sim), OK);
	clock_sim_init(&w->clock, 1000000000);
	seed_init(&w->seed, seed);
	engine_options_default(&w->o);
	w->o.vfs = vfs_sim_vfs(w->sim);
	w->o.clock = &w->clock.clock;
	w->o.seed = &w->seed;
	w->o.dir = "data";
	w->o.partitions = partitions;
	w->o.segment_bytes = 1 << 20;
	w->o.min_free_bytes = 0;
	w->o.merge.rate_bytes_per_s = 0;
}

void world_done(struct world *w)
{
	world_close(w);
	vfs_sim_free(w->sim);
	for (int i = 0; i < WORLD_PARTITIONS_MAX; i++)
		free(w->parts[i].ops);
	*w = (struct world){ 0 };
}

void world_clone(const struct world *w, uint64_t seed, struct world *copy)
{
	*copy = *w;
	copy->e = NULL;
	assert_int_equal(vfs_sim_clone(w->sim, seed, &copy->sim), OK);
	copy->o.vfs = vfs_sim_vfs(copy->sim);
	copy->o.clock = &copy->clock.clock;
	copy->o.seed = &copy->seed;
	seed_init(&copy->seed, seed);
	for (int i = 0; i < WORLD_PARTITIONS_MAX; i++) {
		struct world_part *p = &copy->parts[i];
		struct world_op *ops = malloc((p->count + 1) * sizeof(*ops));

		assert_non_null(ops);
		if (p->count)
			memcpy(ops, p->ops, p->count * sizeof(*ops));
		p->ops = ops;
		p->cap = p->count + 1;
	}
}

size_t world_key(uint8_t key, char text[16])
{
	return (size_t)snprintf(text, 16, "d%d/%02d", key % WORLD_DIRS, key);
}

void world_value(uint16_t partition, uint64_t index, uint32_t n, uint8_t *p)
{
	uint64_t x = index * 0x9e3779b97f4a7c15 + partition;

	for (uint32_t i = 0; i < n; i++) {
		if (i % 8 == 0)
			x = x * 6364136223846793005 + 1442695040888963407;
		p[i] = (uint8_t)(x >> (8 * (i % 8)));
	}
}

void world_close(struct world *w)
{
	engine_close(w->e);
	w->e = NULL;
}

enum err world_open(struct world *w)
{
	struct buf why = BUF_INIT;
	enum err err;

	assert_null(w->e);
	err = engine_open(&w->o, &w->e, &why);
	if (err)
		w->e = NULL;
	if (err == ERR_CORRUPT)
		print_error("open: %.*s\n", (int)why.n, (const char *)why.p);
	buf_done(&why);
	for (uint32_t i = 0; !err && i < w->o.partitions; i++) {
		struct engine_partition_info info;

		engine_partition_info(w->e, (uint16_t)i, &info);
		err = engine_settle(w->e, (uint16_t)i, info.last_index, NULL,
				    NULL);
	}
	if (err)
		world_close(w);
	return err;
}

static void add_op(struct world_part *p, struct world_op op)
{
	if (p->count == p->cap) {
		p->cap = p->cap ? p->cap * 2 : 64;
		p->ops = realloc(p->ops, p->cap * sizeof(*p->ops));
		assert_non_null(p->ops);
	}
	p->ops[p->count++] = op;
}

/* The entry that was to be overwritten stands at the end of the log. */
static void take_doomed(struct world_part *p,
			const struct engine_partition_info *info)
{
	if (info->last_term != WORLD_DOOMED_TERM ||
	    info->last_index != p->doomed_index || p->acked >= p->doomed_index)
		return;
	p->count = p->doomed_index - 1;
	add_op(p, p->doomed);
}

void world_reopen(struct world *w)
{
	world_close(w);
	assert_int_equal(world_open(w), OK);
	for (uint32_t i = 0; i < w->o.partitions; i++) {
		struct world_part *p = &w->parts[i];
		struct engine_partition_info info;

		engine_partition_info(w->e, (uint16_t)i, &info);
		take_doomed(p, &info);
		if (info.last_index < p->acked || info.last_index > p->count)
			fail_msg("partition %u ends at %llu, acked %llu of "
				 "%llu",
				 i, (unsigned long long)info.last_index,
				 (unsigned long long)p->acked,
				 (unsigned long long)p->count);
		p->count = info.last_index;
	}
	world_check(w);
}

enum err world_change(struct world *w, uint16_t partition, struct world_op op,
		      bool sync)
{
	struct world_part *p = &w->parts[partition];
	struct engine_record r = { .type = op.type };
	struct engine_entry entry = { .partition = partition,
				      .index = p->count + 1,
				      .term = 1 + p->count / 50,
				      .stamp_ns = p->count + 1,
				      .records = &r,
				      .record_count = 1 };
	uint8_t *value = malloc(op.value_bytes + 1);
	char key[16];
	enum err err;

	assert_non_null(value);
	r.key = bytes_of(key, world_key(op.key, key));
	if (op.type == RECORD_DELETE_PREFIX)
		r.key.n = 3; /* "d0/" */
	if (op.type == RECORD_CONFIG || op.type == RECORD_NOOP)
		r.key.n = 0;
	if (op.type == RECORD_PUT || op.type == RECORD_CONFIG) {
		world_value(partition, entry.index, op.value_bytes, value);
		r.value = bytes_of(value, op.value_bytes);
	}
	err = engine_append(w->e, &entry);
	free(value);
	if (err)
		return err;
	add_op(p, op);
	if (!sync)
		return OK;
	err = engine_sync(w->e);
	if (err)
		return err;
	for (uint32_t i = 0; i < w->o.partitions; i++)
		w->parts[i].acked = w->parts[i].count;
	for (uint32_t i = 0; !err && i < w->o.partitions; i++)
		err = engine_settle(w->e, (uint16_t)i, w->parts[i].count, NULL,
				    NULL);
	return err;
}

enum err world_keep(struct world *w, uint32_t steps)
{
	uint64_t wait_ms = 0;

	for (uint32_t i = 0; i < steps; i++) {
		enum err err = engine_keep(w->e, &wait_ms);

		if (err)
			return err;
		if (wait_ms >= 1000)
			return OK;
		w->clock.mono += (wait_ms + 1) * 1000000;
	}
	return OK;
}

enum err world_merge(struct world *w)
{
	engine_merge_request(w->e);
	w->clock.mono += 10000000000;
	return world_keep(w, KEEP_STEPS_MAX);
}

/* --------------------------------------------------------------- check --- */

/* For each key the entry that put it, 0: absent. */
static void replay(const struct world_part *p, uint64_t version[WORLD_KEYS])
{
	memset(version, 0, WORLD_KEYS * sizeof(*version));
	for (uint64_t i = 0; i < p->count; i++) {
		const struct world_op *op = &p->ops[i];

		switch ((enum record_type)op->type) {
		case RECORD_PUT:
			version[op->key] = i + 1;
			break;
		case RECORD_DELETE:
		case RECORD_EXPIRE:
			version[op->key] = 0;
			break;
		case RECORD_DELETE_PREFIX:
			for (int k = 0; k < WORLD_KEYS; k++)
				if (k % WORLD_DIRS == op->key % WORLD_DIRS)
					version[k] = 0;
			break;
		default:
			break;
		}
	}
}

static void check_key(struct world *w, uint16_t partition, uint8_t k,
		      uint64_t index)
{
	const struct world_part *p = &w->parts[partition];
	struct engine_value v;
	uint8_t *want;
	uint32_t n;
	char key[16];
	enum err err;

	err = engine_get(w->e, partition, bytes_of(key, world_key(k, key)),
			 ENGINE_VERIFY, &v);
	if (index == 0) {
		if (err != ERR_NOT_FOUND)
			fail_msg("%s of partition %u came back: %s version "
				 "%llu",
				 key, partition, err_text(err),
				 err ? 0ull
				     : (unsigned long long)version_index(
					       v.version));
		return;
	}
	if (err || version_index(v.version) != index)
		fail_msg("%s of partition %u is %s, version %llu, not %llu",
			 key, partition, err_text(err),
			 err ? 0ull
			     : (unsigned long long)version_index(v.version),
			 (unsigned long long)index);
	n = p->ops[index - 1].value_bytes;
	want = malloc(n + 1);
	assert_non_null(want);
	world_value(partition, index, n, want);
	assert_true(bytes_equal(v.value, bytes_of(want, n)));
	free(want);
	engine_value_done(&v);
}

void world_check(struct world *w)
{
	for (uint32_t i = 0; i < w->o.partitions; i++) {
		uint64_t version[WORLD_KEYS], live = 0, seen = 0;
		struct engine_iter it;
		struct engine_info info;
		struct bytes found;
		bool more;

		replay(&w->parts[i], version);
		for (int k = 0; k < WORLD_KEYS; k++) {
			check_key(w, (uint16_t)i, (uint8_t)k, version[k]);
			live += version[k] != 0;
		}
		engine_iter_begin(w->e, (uint16_t)i, &it);
		more = engine_iter_seek(&it, bytes_str(""), &found, &info);
		for (; more; more = engine_iter_next(&it, &found, &info))
			seen++;
		engine_iter_end(&it);
		assert_int_equal(seen, live);
	}
}
