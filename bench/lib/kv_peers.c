/*
 * bench/lib/kv_peers.c - the peers: LMDB, LevelDB, RocksDB.
 *
 * Each with the settings its own documentation recommends for the case: no
 * compression (the values are random), a cache large enough to be warm, one
 * long read transaction for LMDB (its fastest way to read).
 */
#include <leveldb/c.h>
#include <lmdb.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/lib/kv.h"

enum { CACHE_BYTES = 1 << 30 };

struct kv {
	MDB_env *env;
	MDB_dbi dbi;
	MDB_txn *reader;
	leveldb_t *level;
	leveldb_cache_t *level_cache;
	leveldb_options_t *level_options;
	leveldb_readoptions_t *level_read;
	leveldb_writeoptions_t *level_write, *level_write_sync;
	rocksdb_t *rocks;
	rocksdb_options_t *rocks_options;
	rocksdb_readoptions_t *rocks_read;
	rocksdb_writeoptions_t *rocks_write, *rocks_write_sync;
};

static bool failed(const char *what, const char *why)
{
	fprintf(stderr, "bench: %s: %s\n", what, why);
	return false;
}

/* ---------------------------------------------------------------- LMDB --- */

static struct kv *lmdb_kv_open(const char *dir, size_t value_bytes,
			       uint64_t key_count)
{
	struct kv *kv = calloc(1, sizeof(*kv));
	MDB_txn *txn;
	size_t bytes = (size_t)64 << 30; /* of address space, not of disk */
	int rc;

	if (!kv)
		abort();
	rc = mdb_env_create(&kv->env);
	if (!rc)
		rc = mdb_env_set_mapsize(kv->env, bytes);
	if (!rc)
		rc = mdb_env_open(kv->env, dir, MDB_NOTLS, 0644);
	if (!rc)
		rc = mdb_txn_begin(kv->env, NULL, 0, &txn);
	if (!rc)
		rc = mdb_dbi_open(txn, NULL, MDB_CREATE, &kv->dbi);
	if (!rc)
		rc = mdb_txn_commit(txn);
	if (rc) {
		failed("lmdb", mdb_strerror(rc));
		free(kv);
		return NULL;
	}
	return kv;
}

static void lmdb_kv_close(struct kv *kv)
{
	if (kv->reader)
		mdb_txn_abort(kv->reader);
	mdb_env_close(kv->env);
	free(kv);
}

/*
 * One transaction a put. Unsynced: the environment's NOSYNC flag, so that the
 * commit still writes but does not wait for the disk.
 */
static bool lmdb_kv_put(struct kv *kv, const void *key, size_t key_bytes,
			const void *value, size_t value_bytes, bool sync)
{
	MDB_val k = { key_bytes, (void *)(uintptr_t)key };
	MDB_val v = { value_bytes, (void *)(uintptr_t)value };
	MDB_txn *txn;
	int rc = mdb_env_set_flags(kv->env, MDB_NOSYNC, !sync);

	if (!rc)
		rc = mdb_txn_begin(kv->env, NULL, 0, &txn);
	if (rc)
		return failed("lmdb", mdb_strerror(rc));
	rc = mdb_put(txn, kv->dbi, &k, &v, 0);
	if (!rc)
		rc = mdb_txn_commit(txn);
	else
		mdb_txn_abort(txn);
	return rc ? failed("lmdb", mdb_strerror(rc)) : true;
}

static void lmdb_kv_settle(struct kv *kv)
{
	if (mdb_txn_begin(kv->env, NULL, MDB_RDONLY, &kv->reader))
		abort();
}

static size_t lmdb_kv_get(struct kv *kv, const void *key, size_t key_bytes,
			  void *dst, size_t dst_bytes)
{
	MDB_val k = { key_bytes, (void *)(uintptr_t)key };
	MDB_val v;

	if (mdb_get(kv->reader, kv->dbi, &k, &v) || v.mv_size > dst_bytes)
		return 0;
	memcpy(dst, v.mv_data, v.mv_size);
	return v.mv_size;
}

const struct kv_kind kv_lmdb = {
	.name = "LMDB",
	.open = lmdb_kv_open,
	.close = lmdb_kv_close,
	.put = lmdb_kv_put,
	.settle = lmdb_kv_settle,
	.get = lmdb_kv_get,
	.threads = true,
};

/* ------------------------------------------------------------- LevelDB --- */

static struct kv *level_kv_open(const char *dir, size_t value_bytes,
				uint64_t key_count)
{
	struct kv *kv = calloc(1, sizeof(*kv));
	char *why = NULL;

	if (!kv)
		abort();
	kv->level_options = leveldb_options_create();
	kv->level_cache = leveldb_cache_create_lru(CACHE_BYTES);
	leveldb_options_set_create_if_missing(kv->level_options, 1);
	leveldb_options_set_compression(kv->level_options,
					leveldb_no_compression);
	leveldb_options_set_cache(kv->level_options, kv->level_cache);
	kv->level_read = leveldb_readoptions_create();
	kv->level_write = leveldb_writeoptions_create();
	kv->level_write_sync = leveldb_writeoptions_create();
	leveldb_writeoptions_set_sync(kv->level_write_sync, 1);
	kv->level = leveldb_open(kv->level_options, dir, &why);
	if (!kv->level) {
		failed("leveldb", why);
		free(kv);
		return NULL;
	}
	return kv;
}

static void level_kv_close(struct kv *kv)
{
	leveldb_close(kv->level);
	leveldb_readoptions_destroy(kv->level_read);
	leveldb_writeoptions_destroy(kv->level_write);
	leveldb_writeoptions_destroy(kv->level_write_sync);
	leveldb_options_destroy(kv->level_options);
	leveldb_cache_destroy(kv->level_cache);
	free(kv);
}

static bool level_kv_put(struct kv *kv, const void *key, size_t key_bytes,
			 const void *value, size_t value_bytes, bool sync)
{
	char *why = NULL;

	leveldb_put(kv->level, sync ? kv->level_write_sync : kv->level_write,
		    key, key_bytes, value, value_bytes, &why);
	return why ? failed("leveldb", why) : true;
}

static void level_kv_settle(struct kv *kv)
{
	leveldb_compact_range(kv->level, NULL, 0, NULL, 0);
}

static size_t level_kv_get(struct kv *kv, const void *key, size_t key_bytes,
			   void *dst, size_t dst_bytes)
{
	char *why = NULL;
	size_t n = 0;
	char *v = leveldb_get(kv->level, kv->level_read, key, key_bytes, &n,
			      &why);

	if (!v || n > dst_bytes)
		return 0;
	memcpy(dst, v, n);
	leveldb_free(v);
	return n;
}

const struct kv_kind kv_leveldb = {
	.name = "LevelDB",
	.open = level_kv_open,
	.close = level_kv_close,
	.put = level_kv_put,
	.settle = level_kv_settle,
	.get = level_kv_get,
	.threads = true,
};

/* ------------------------------------------------------------- RocksDB --- */

static struct kv *rocks_kv_open(const char *dir, size_t value_bytes,
				uint64_t key_count)
{
	struct kv *kv = calloc(1, sizeof(*kv));
	rocksdb_block_based_table_options_t *table =
		rocksdb_block_based_options_create();
	rocksdb_cache_t *cache = rocksdb_cache_create_lru(CACHE_BYTES);
	char *why = NULL;

	if (!kv)
		abort();
	kv->rocks_options = rocksdb_options_create();
	rocksdb_options_set_create_if_missing(kv->rocks_options, 1);
	rocksdb_options_set_compression(kv->rocks_options,
					rocksdb_no_compression);
	rocksdb_block_based_options_set_block_cache(table, cache);
	rocksdb_options_set_block_based_table_factory(kv->rocks_options, table);
	rocksdb_cache_destroy(cache);
	rocksdb_block_based_options_destroy(table);
	kv->rocks_read = rocksdb_readoptions_create();
	kv->rocks_write = rocksdb_writeoptions_create();
	kv->rocks_write_sync = rocksdb_writeoptions_create();
	rocksdb_writeoptions_set_sync(kv->rocks_write_sync, 1);
	kv->rocks = rocksdb_open(kv->rocks_options, dir, &why);
	if (!kv->rocks) {
		failed("rocksdb", why);
		free(kv);
		return NULL;
	}
	return kv;
}

static void rocks_kv_close(struct kv *kv)
{
	rocksdb_close(kv->rocks);
	rocksdb_readoptions_destroy(kv->rocks_read);
	rocksdb_writeoptions_destroy(kv->rocks_write);
	rocksdb_writeoptions_destroy(kv->rocks_write_sync);
	rocksdb_options_destroy(kv->rocks_options);
	free(kv);
}

static bool rocks_kv_put(struct kv *kv, const void *key, size_t key_bytes,
			 const void *value, size_t value_bytes, bool sync)
{
	char *why = NULL;

	rocksdb_put(kv->rocks, sync ? kv->rocks_write_sync : kv->rocks_write,
		    key, key_bytes, value, value_bytes, &why);
	return why ? failed("rocksdb", why) : true;
}

static void rocks_kv_settle(struct kv *kv)
{
	rocksdb_compact_range(kv->rocks, NULL, 0, NULL, 0);
}

static size_t rocks_kv_get(struct kv *kv, const void *key, size_t key_bytes,
			   void *dst, size_t dst_bytes)
{
	char *why = NULL;
	rocksdb_pinnableslice_t *slice = rocksdb_get_pinned(
		kv->rocks, kv->rocks_read, key, key_bytes, &why);
	size_t n = 0;
	const char *v = slice ? rocksdb_pinnableslice_value(slice, &n) : NULL;

	if (!v || n > dst_bytes)
		return 0;
	memcpy(dst, v, n);
	rocksdb_pinnableslice_destroy(slice);
	return n;
}

const struct kv_kind kv_rocksdb = {
	.name = "RocksDB",
	.open = rocks_kv_open,
	.close = rocks_kv_close,
	.put = rocks_kv_put,
	.settle = rocks_kv_settle,
	.get = rocks_kv_get,
	.threads = true,
};
