/*
 * bench/lib/kv_engine.c - raftcask's engine as an embedded Bitcask.
 *
 * The keeper is stepped by hand where a test wants it (settle); no thread of
 * its own, so that one figure is one thread's work.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/guard.h"
#include "bench/lib/kv.h"
#include "engine/engine.h"

struct kv {
	struct engine *engine;
	struct seed seed;
	unsigned get_flags;
};

static struct kv *open_mode(const char *dir, enum engine_read_mode mode,
			    unsigned get_flags)
{
	struct kv *kv = calloc(1, sizeof(*kv));
	struct engine_options o;
	struct buf why = BUF_INIT;

	if (!kv)
		abort();
	guard_install();
	engine_options_default(&o);
	seed_init(&kv->seed, 1);
	kv->get_flags = get_flags;
	o.vfs = vfs_os();
	o.clock = clock_os();
	o.seed = &kv->seed;
	o.dir = dir;
	o.partitions = 1;
	o.read_mode = mode;
	if (engine_open(&o, &kv->engine, &why)) {
		fprintf(stderr, "bench: engine: %.*s\n", (int)why.n,
			(const char *)why.p);
		free(kv);
		kv = NULL;
	}
	buf_done(&why);
	return kv;
}

static struct kv *open_mmap(const char *dir, size_t value_bytes,
			    uint64_t key_count)
{
	return open_mode(dir, ENGINE_READ_MMAP, 0);
}

static struct kv *open_verified(const char *dir, size_t value_bytes,
				uint64_t key_count)
{
	return open_mode(dir, ENGINE_READ_MMAP, ENGINE_VERIFY);
}

static struct kv *open_pread(const char *dir, size_t value_bytes,
			     uint64_t key_count)
{
	return open_mode(dir, ENGINE_READ_PREAD, 0);
}

static struct kv *open_pread_verified(const char *dir, size_t value_bytes,
				      uint64_t key_count)
{
	return open_mode(dir, ENGINE_READ_PREAD, ENGINE_VERIFY);
}

static void close_engine(struct kv *kv)
{
	engine_close(kv->engine);
	free(kv);
}

static bool put_engine(struct kv *kv, const void *key, size_t key_bytes,
		       const void *value, size_t value_bytes, bool sync)
{
	return engine_put(kv->engine, 0, bytes_of(key, key_bytes),
			  bytes_of(value, value_bytes), sync) == OK;
}

static void settle_engine(struct kv *kv)
{
	uint64_t wait_ms = 0;

	if (engine_flush(kv->engine))
		abort();
	for (int i = 0; i < 10000 && wait_ms == 0; i++)
		if (engine_keep(kv->engine, &wait_ms))
			abort();
}

static size_t get_engine(struct kv *kv, const void *key, size_t key_bytes,
			 void *dst, size_t dst_bytes)
{
	size_t n = 0;

	if (engine_copy(kv->engine, 0, bytes_of(key, key_bytes), kv->get_flags,
			dst, dst_bytes, &n))
		return 0;
	return n;
}

static size_t get_pinned(struct kv *kv, const void *key, size_t key_bytes,
			 void *dst, size_t dst_bytes)
{
	struct engine_value v;
	size_t n;

	if (engine_get(kv->engine, 0, bytes_of(key, key_bytes), 0, &v))
		return 0;
	n = v.value.n;
	engine_value_done(&v);
	return n;
}

#define KV_ENGINE(kind, title, opener, getter)                                 \
	const struct kv_kind kind = {                                          \
		.name = title,                                                 \
		.open = opener,                                                \
		.close = close_engine,                                         \
		.put = put_engine,                                             \
		.settle = settle_engine,                                       \
		.get = getter,                                                 \
		.threads = true,                                               \
	}

KV_ENGINE(kv_engine_mmap, "raftcask", open_mmap, get_engine);
KV_ENGINE(kv_engine_pinned, "raftcask pinned", open_mmap, get_pinned);
KV_ENGINE(kv_engine_verified, "raftcask verified", open_verified, get_engine);
KV_ENGINE(kv_engine_pread, "raftcask pread", open_pread, get_engine);
KV_ENGINE(kv_engine_pread_verified, "raftcask pread verified",
	  open_pread_verified, get_engine);
