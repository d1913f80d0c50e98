/*
 * tests/lib/install_world.c - a sender and a receiver of a partition's state.
 */
#include "tests/lib/install_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/snapshot.h"

enum { TAIL_TERM = 77 };

void install_change(struct world *w, uint16_t partition, uint8_t type,
		    uint8_t key)
{
	struct world_op op = { type, key,
			       type == RECORD_PUT ? INSTALL_VALUE_BYTES : 0 };

	assert_int_equal(world_change(w, partition, op, true), OK);
}

void install_churn(struct world *w, uint32_t first_key, uint32_t keys,
		   uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		install_change(w, (uint16_t)(i % w->o.partitions), RECORD_PUT,
			       (uint8_t)(first_key + i % keys));
}

/* Entries of partition 0 that another leader's will have replaced. */
static void diverge(struct world *w, uint32_t n)
{
	uint64_t at = w->parts[0].count;
	char key[16];

	for (uint32_t i = 0; i < n; i++) {
		struct engine_record r = { .type = RECORD_PUT };
		struct engine_entry entry = { .index = at + 1 + i,
					      .term = TAIL_TERM,
					      .stamp_ns = at + 1 + i,
					      .records = &r,
					      .record_count = 1 };
		uint8_t value[100] = { 0 };

		r.key = bytes_of(key,
				 world_key((uint8_t)(i * 5 % WORLD_KEYS), key));
		r.value = bytes_of(value, sizeof(value));
		if (i % 7 == 3)
			r = (struct engine_record){ .type = RECORD_DELETE,
						    .key = r.key };
		assert_int_equal(engine_append(w->e, &entry), OK);
	}
	assert_int_equal(engine_sync(w->e), OK);
}

void install_sender(struct world *w, uint64_t seed, uint32_t entries)
{
	world_init(w, seed, 1);
	world_reopen(w);
	for (uint32_t i = 0; i < entries; i++) {
		install_change(w, 0, RECORD_PUT, (uint8_t)(i * 7 % 40));
		if (i % 9 == 4)
			install_change(w, 0, RECORD_DELETE, (uint8_t)(i % 40));
		if (i == entries / 3)
			install_change(w, 0, RECORD_DELETE_PREFIX, 1);
		if (i == entries / 2)
			assert_int_equal(world_merge(w), OK);
		if (i == entries * 2 / 3)
			install_change(w, 0, RECORD_EXPIRE, 8);
	}
	install_change(w, 0, RECORD_NOOP, 0);
}

void install_receiver(struct world *w, uint64_t seed)
{
	world_init(w, seed, 3);
	install_receiver_in(w);
}

void install_receiver_in(struct world *w)
{
	world_reopen(w);
	install_churn(w, 0, WORLD_KEYS, 60);
	assert_int_equal(world_merge(w), OK);
	install_change(w, 0, RECORD_DELETE, 3);
	install_churn(w, 4, 44, 80);
	install_change(w, 0, RECORD_DELETE_PREFIX, 2);
	diverge(w, INSTALL_TAIL);
}

void install_receiver_settled(struct world *w, uint64_t seed)
{
	world_init(w, seed, 3);
	world_reopen(w);
	install_churn(w, 0, WORLD_KEYS, 60);
	assert_int_equal(world_merge(w), OK);
	install_change(w, 0, RECORD_DELETE, 3);
	install_churn(w, 4, 44, 190);
}

void install_adopt(struct world *w, const struct world *from, uint64_t index)
{
	struct world_part *p = &w->parts[0];

	free(p->ops);
	p->ops = malloc((index + 1) * sizeof(*p->ops));
	assert_non_null(p->ops);
	memcpy(p->ops, from->parts[0].ops, index * sizeof(*p->ops));
	p->count = p->acked = index;
	p->cap = index + 1;
}

void install_take_state(struct world *from, struct install_state *st)
{
	struct engine_partition_info info;
	struct engine_snapshot *s;
	struct record r;
	enum err err;

	*st = (struct install_state){ .records = BUF_INIT };
	assert_int_equal(engine_snapshot_open_partition(from->e, 0, &s), OK);
	st->index = engine_snapshot_index(s, 0);
	st->stamp_ns = engine_snapshot_stamp_ns(s, 0);
	engine_partition_info(from->e, 0, &info);
	assert_int_equal(st->index, info.last_index);
	st->term = info.last_term;
	while (!(err = engine_snapshot_next(s, &r))) {
		uint64_t n = record_bytes(r.key.n, r.attrs.n, r.value.n);

		assert_true(r.index <= st->index);
		assert_int_equal(buf_reserve(&st->records, n), OK);
		st->records.n +=
			record_encode(st->records.p + st->records.n, 0, &r);
	}
	assert_int_equal(err, ERR_NOT_FOUND);
	engine_snapshot_close(s);
}

enum err install_build(struct world *w, const struct install_state *st,
		       struct engine_install **out)
{
	struct engine_install *in;
	uint64_t off = 0, bytes;
	struct record r;
	enum err err;

	err = engine_install_open(w->e, 0, st->index, st->term, &in);
	if (err)
		return err;
	for (; !err && off < st->records.n; off += bytes) {
		assert_int_equal(record_decode(st->records.p + off,
					       st->records.n - off, 0, true, &r,
					       &bytes),
				 RECORD_OK);
		err = engine_install_add(in, &r);
	}
	engine_install_stamp(in, st->stamp_ns);
	if (!err)
		err = engine_install_finish(in);
	if (err)
		engine_install_abort(in);
	else
		*out = in;
	return err;
}

enum err install_commit(struct world *w, struct engine_install *in,
			bool new_term)
{
	struct engine_partition_info info;
	struct engine_hard_state hs;
	enum err err;

	engine_partition_info(w->e, 0, &info);
	hs = info.hard_state;
	if (new_term && hs.term < 500)
		hs = (struct engine_hard_state){ 500, 2, 0 };
	err = engine_install_commit(in, &hs);
	if (err == ERR_NOSPC || err == ERR_NOMEM)
		engine_install_abort(in);
	return err;
}

enum err install_state(struct world *w, const struct install_state *st)
{
	struct engine_install *in;
	enum err err = install_build(w, st, &in);

	return err ? err : install_commit(w, in, true);
}

void install_go_on(struct world *w)
{
	world_check(w);
	for (int i = 0; i < 3; i++) {
		install_churn(w, 1, 30, 12);
		install_change(w, 0, RECORD_DELETE, (uint8_t)(i * 4));
		world_check(w);
		world_reopen(w);
		install_churn(w, 1, 30, 40);
		assert_int_equal(world_merge(w), OK);
		world_check(w);
		world_reopen(w);
	}
}

struct engine_stats install_stats(struct world *w)
{
	struct engine_stats s;

	engine_stats(w->e, &s);
	return s;
}
