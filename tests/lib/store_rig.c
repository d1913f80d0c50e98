/*
 * tests/lib/store_rig.c - a store on a simulated disk, driven by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/store_rig.h"

enum { STEPS_MAX = 100000 };

static void note_wake(void *ctx)
{
	struct store_rig *r = ctx;

	r->wakes++;
}

void store_rig_init(struct store_rig *r, uint64_t seed, uint32_t partitions)
{
	*r = (struct store_rig){
		.dir = "data",
		.partitions = partitions,
		.max_value_bytes = 64 << 20,
		.watch_history_bytes = 1 << 20,
		.segment_bytes = 4 << 20,
	};
	seed_init(&r->seed, seed);
	clock_sim_init(&r->clock, 1000000000000);
	assert_int_equal(vfs_sim_new(seed, 256 << 20, &r->disk), OK);
	store_rig_start(r);
}

enum err store_rig_try_start(struct store_rig *r)
{
	struct engine_options eo;
	struct store_options so = {
		.clock = &r->clock.clock,
		.seed = &r->seed,
		.node_name = "n1",
		.partitions = r->partitions,
		.max_value_bytes = r->max_value_bytes,
		.watch_history_bytes = r->watch_history_bytes,
		.staging_idle_ms = r->staging_idle_ms,
		.wake = note_wake,
		.wake_ctx = r,
	};
	struct buf why = BUF_INIT;
	uint64_t wait_ms;
	enum err err;

	engine_options_default(&eo);
	eo.vfs = vfs_sim_vfs(r->disk);
	eo.clock = &r->clock.clock;
	eo.seed = &r->seed;
	eo.dir = r->dir;
	eo.partitions = r->partitions;
	eo.segment_bytes = r->segment_bytes;
	eo.min_free_bytes = 0;
	eo.read_mode = r->read_mode;
	err = engine_open(&eo, &r->engine, &why);
	if (err && why.n > 0)
		print_message("engine_open: %.*s\n", (int)why.n, why.p);
	buf_done(&why);
	if (err) {
		r->engine = NULL;
		return err;
	}
	so.engine = r->engine;
	err = store_new(&so, &r->store);
	if (!err)
		err = store_step(r->store, &wait_ms);
	if (err)
		store_rig_stop(r);
	return err;
}

void store_rig_start(struct store_rig *r)
{
	assert_int_equal(store_rig_try_start(r), OK);
}

void store_rig_stop(struct store_rig *r)
{
	store_free(r->store);
	r->store = NULL;
	engine_close(r->engine);
	r->engine = NULL;
}

void store_rig_done(struct store_rig *r)
{
	store_rig_stop(r);
	vfs_sim_free(r->disk);
}

void store_rig_crash(struct store_rig *r)
{
	/* No power, hence no clean close. */
	vfs_sim_power_off(r->disk, VFS_SIM_ALL, 1, false);
	store_rig_stop(r);
	vfs_sim_crash(r->disk);
	store_rig_start(r);
}

enum err store_rig_step(struct store_rig *r)
{
	uint64_t wait_ms;

	return store_step(r->store, &wait_ms);
}

void store_rig_pass(struct store_rig *r, uint64_t ms)
{
	r->clock.mono += ms * 1000000;
	r->clock.boot += ms * 1000000;
	r->clock.wall += ms * 1000000;
}

static void set_flag(struct store_write *w)
{
	*(bool *)w->user = true;
}

static void set_file_flag(struct store_file_op *op)
{
	*(bool *)op->user = true;
}

static void step_until(struct store_rig *r, const bool *done)
{
	for (int i = 0; i < STEPS_MAX && !*done; i++) {
		r->clock.mono += 100000;
		r->clock.boot += 100000;
		if (store_rig_step(r))
			break;
	}
	assert_true(*done);
}

enum err store_rig_write(struct store_rig *r, struct store_write *w)
{
	bool done = false;
	enum err err;

	w->done = set_flag;
	w->user = &done;
	err = store_write(r->store, w);
	if (err)
		return err;
	step_until(r, &done);
	return w->err;
}

enum err store_rig_file(struct store_rig *r, struct store_file_op *op)
{
	bool done = false;
	enum err err;

	op->done = set_file_flag;
	op->user = &done;
	err = store_file_change(r->store, op);
	if (err)
		return err;
	step_until(r, &done);
	return op->err;
}

enum err store_rig_put_bytes(struct store_rig *r, struct bytes key,
			     struct bytes value, uint64_t ttl_ns, uint64_t *rev)
{
	struct store_op op = {
		.kind = STORE_PUT, .key = key, .value = value, .ttl_ns = ttl_ns
	};
	struct store_result result = { 0 };
	struct store_write w = { .then_ops = &op,
				 .then_count = 1,
				 .results = &result };
	enum err err = store_rig_write(r, &w);

	if (!err && rev)
		*rev = result.rev;
	if (!err)
		assert_int_equal(result.rev, w.revision);
	return err;
}

enum err store_rig_put(struct store_rig *r, const char *key, const char *value,
		       uint64_t *rev)
{
	return store_rig_put_bytes(r, bytes_str(key), bytes_str(value), 0, rev);
}

enum err store_rig_del(struct store_rig *r, const char *key, bool *existed)
{
	struct store_op op = { .kind = STORE_DELETE, .key = bytes_str(key) };
	struct store_result result = { 0 };
	struct store_write w = { .then_ops = &op,
				 .then_count = 1,
				 .results = &result };
	enum err err = store_rig_write(r, &w);

	if (!err && existed)
		*existed = result.existed;
	return err;
}

enum err store_rig_del_prefix(struct store_rig *r, const char *prefix,
			      uint64_t *deleted)
{
	struct store_write w = { .delete_prefix = true,
				 .prefix = bytes_str(prefix) };
	enum err err = store_rig_write(r, &w);

	if (!err && deleted)
		*deleted = w.deleted;
	return err;
}

struct piece_done {
	bool done;
	enum err err;
};

static void on_piece(void *user, enum err err)
{
	struct piece_done *p = user;

	p->done = true;
	p->err = err;
}

enum err store_rig_upload(struct store_rig *r, struct bytes key,
			  struct bytes value, size_t piece, uint64_t *rev)
{
	struct store_op op = { .kind = STORE_PUT, .key = key };
	struct store_result result = { 0 };
	struct store_write w = { .then_ops = &op,
				 .then_count = 1,
				 .results = &result };
	struct piece_done p = { 0 };
	struct store_upload *u;
	enum err err;

	err = store_upload_open(r->store, key, on_piece, &p, &u);
	if (err)
		return err;
	for (size_t off = 0; off < value.n && !err; off += piece) {
		size_t n = value.n - off < piece ? value.n - off : piece;

		p.done = false;
		err = store_upload_add(u, value.p + off, n);
		if (err != ERR_PENDING)
			continue;
		for (int i = 0; i < STEPS_MAX && !p.done; i++) {
			if (store_rig_step(r) != OK)
				break;
		}
		assert_true(p.done);
		err = p.err;
	}
	if (!err) {
		w.upload = u;
		err = store_rig_write(r, &w);
	}
	if (!err && rev)
		*rev = result.rev;
	store_upload_close(u);
	return err;
}

enum err store_rig_read(struct store_rig *r, struct bytes key, struct buf *b)
{
	struct store_value *v;
	uint64_t off = 0, bytes;
	enum err err;

	err = store_get(r->store, key, &v);
	if (err)
		return err;
	bytes = store_value_info(v)->bytes;
	while (off < bytes && !err) {
		struct bytes piece;

		err = store_value_read(v, off, &piece);
		if (err)
			break;
		assert_true(piece.n > 0);
		err = buf_add(b, piece.p, piece.n);
		off += piece.n;
	}
	if (!err)
		assert_int_equal(off, bytes);
	store_value_done(v);
	return err;
}

void store_rig_expect(struct store_rig *r, const char *key, const char *value)
{
	struct buf b = BUF_INIT;
	enum err err = store_rig_read(r, bytes_str(key), &b);

	if (!value) {
		assert_int_equal(err, ERR_NOT_FOUND);
		return;
	}
	assert_int_equal(err, OK);
	assert_int_equal(b.n, strlen(value));
	assert_memory_equal(b.n ? (void *)b.p : (void *)"", value, b.n);
	buf_done(&b);
}

static enum err add_word(void *ctx, const struct store_list_item *item)
{
	return buf_addf(ctx, item->is_prefix ? "[%.*s] " : "%.*s ",
			(int)item->key.n, item->key.p);
}

void store_rig_list(struct store_rig *r, const struct store_list *list,
		    struct buf *b)
{
	struct buf after = BUF_INIT;
	bool more = true;

	while (more) {
		struct store_list page = *list;

		if (!page.limit)
			page.limit = 1000;
		if (after.n > 0)
			page.after = buf_bytes(&after);
		assert_int_equal(store_list(r->store, &page, add_word, b), OK);
		more = page.more;
		buf_done(&after);
		after = page.next;
		buf_done(&page.revision);
	}
	buf_done(&after);
}
