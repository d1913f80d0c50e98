/*
 * bench/lib/kv.h - one face for every store that is measured.
 *
 * A struct kv is one open store of one kind: raftcask's engine in its modes,
 * its peers (LMDB, LevelDB, RocksDB), and the bare system calls that bound
 * them. The measuring loops know only this, so every figure of a table comes
 * from the same loop in the same run.
 * Threads: put from any number of threads where threads is true, else one.
 */
#ifndef BENCH_LIB_KV_H
#define BENCH_LIB_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kv;

struct kv_kind {
	const char *name;
	/* Open a store in the empty directory dir; NULL on failure, said. */
	struct kv *(*open)(const char *dir, size_t value_bytes,
			   uint64_t key_count);
	void (*close)(struct kv *kv);
	/* Store; sync: durable when it returns. False on failure, said. */
	bool (*put)(struct kv *kv, const void *key, size_t key_bytes,
		    const void *value, size_t value_bytes, bool sync);
	/* Everything put so far is visible and as fast to read as it gets. */
	void (*settle)(struct kv *kv);
	/* Copy the value to dst; its size, or 0 on failure. */
	size_t (*get)(struct kv *kv, const void *key, size_t key_bytes,
		      void *dst, size_t dst_bytes);
	bool threads;
};

/* Kinds; which calls are NULL says what a kind cannot do. */
extern const struct kv_kind kv_engine_mmap;	/* unverified copy            */
extern const struct kv_kind kv_engine_pinned;	/* zero-copy, unverified      */
extern const struct kv_kind kv_engine_verified; /* mmap, both checksums       */
extern const struct kv_kind kv_engine_pread;	/* unverified                 */
extern const struct kv_kind kv_engine_pread_verified;
extern const struct kv_kind kv_lmdb;
extern const struct kv_kind kv_leveldb;
extern const struct kv_kind kv_rocksdb;
extern const struct kv_kind kv_bare_copy;     /* memcpy out of a mapping      */
extern const struct kv_kind kv_bare_copy_crc; /* and its checksum             */
extern const struct kv_kind kv_bare_pread;    /* pread of the value           */
extern const struct kv_kind
	kv_bare_overwrite;		    /* pwrite over zeros, fdatasync */
extern const struct kv_kind kv_bare_append; /* append, fdatasync           */

#endif
