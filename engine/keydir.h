/*
 * engine/keydir.h - the key directory of one partition: key -> record.
 *
 * An ordered in-memory B+tree. Leaves hold 32-bit references to immutable
 * entries in an arena and the first distinguishing bytes of each key beside
 * them, so that a search touches few cache lines (after Graefe, "Modern
 * B-Tree Techniques", 2011, section 3: prefix truncation and poor man's
 * normalised keys). Readers take no lock: nodes carry a version counter
 * (optimistic lock coupling, Leis 2016), what is unlinked is retired through
 * base/epoch. Bound: 40 bytes a key beyond the key, when large.
 *
 * Threads: keydir_get from any thread inside an epoch section of the domain
 * given at keydir_new. Everything else: the holder of keydir_lock(). The lock
 * is never held over disk I/O.
 */
#ifndef ENGINE_KEYDIR_H
#define ENGINE_KEYDIR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/epoch.h"

enum { KEYDIR_KEY_BYTES_MAX = 4352 };

/* An immutable entry; changed by replacing it. */
struct keydir_entry {
	uint64_t version;     /* loc.h: index and position                    */
	uint64_t loc;	      /* loc.h: file, offset, flags                   */
	uint32_t value_bytes; /* logical size, also when chunked              */
	uint16_t attr_bytes;
	uint16_t key_bytes;
	uint8_t key[];
};
_Static_assert(sizeof(struct keydir_entry) == 24, "memory bound per key");

struct keydir;

/* An empty directory. readers is its domain, kept by reference. ERR_NOMEM. */
MUST_CHECK enum err keydir_new(struct epoch *readers, struct keydir **kd);

/* No reader and no iterator may be inside. NULL is accepted. */
void keydir_free(struct keydir *kd);

/*
 * Hold kd, found in an epoch section and still in it, against being freed
 * behind the section's end. Thread: any.
 */
void keydir_pin(struct keydir *kd);
void keydir_unpin(struct keydir *kd);

/* Does anyone hold kd? Thread: whoever wants to free it. */
bool keydir_is_pinned(struct keydir *kd);

/* Become the one that may write and iterate; held over no disk access. */
void keydir_lock(struct keydir *kd);
void keydir_unlock(struct keydir *kd);

/*
 * The entry of key, or NULL. Valid until the caller's epoch_exit (a lock
 * holder: until its next change). Never blocks. Thread: any, in an epoch.
 */
const struct keydir_entry *keydir_get(struct keydir *kd, struct bytes key);

/* What a change did. Fields of old are meaningful only when had_old. */
struct keydir_change {
	bool changed; /* false: an entry with the same or a newer version won */
	bool had_old;
	struct keydir_entry old; /* copied, without the key bytes */
};

/*
 * Point key at (version, loc, ...) unless its entry has the same or a higher
 * version. key: 1..KEYDIR_KEY_BYTES_MAX bytes, copied.
 * ERR_NOMEM: nothing changed. Lock held.
 */
MUST_CHECK enum err keydir_put(struct keydir *kd, struct bytes key,
			       uint64_t version, uint64_t loc,
			       uint32_t value_bytes, uint16_t attr_bytes,
			       struct keydir_change *change);

/* Remove key if its version is below version. Lock held. Cannot fail. */
void keydir_del(struct keydir *kd, struct bytes key, uint64_t version,
		struct keydir_change *change);

/*
 * Merge moved a record: if key's entry has exactly this version and location
 * from, give it location to. Answers whether it did. ERR_NOMEM: unchanged.
 */
MUST_CHECK enum err keydir_move(struct keydir *kd, struct bytes key,
				uint64_t version, uint64_t from, uint64_t to,
				bool *moved);

/*
 * Add a key greater than every key present; for loading. Fills leaves whole.
 * ERR_NOMEM: nothing changed. Lock held (or not yet shared).
 */
MUST_CHECK enum err keydir_append(struct keydir *kd, struct bytes key,
				  uint64_t version, uint64_t loc,
				  uint32_t value_bytes, uint16_t attr_bytes);

/*
 * An ordered walk; the lock is held from before keydir_seek to the last use.
 * A change to the directory in between makes the iterator invalid until the
 * next seek. The caller's memory; nothing to release.
 */
struct keydir_iter {
	struct keydir *kd;
	void *leaf;
	int slot;
};

/* To the first key >= key; the entry or NULL at the end. */
const struct keydir_entry *keydir_seek(struct keydir *kd, struct bytes key,
				       struct keydir_iter *it);

/* To the last key < key (key.p NULL: to the last of all); entry or NULL. */
const struct keydir_entry *
keydir_seek_before(struct keydir *kd, struct bytes key, struct keydir_iter *it);

/* To the neighbour; NULL past the end. */
const struct keydir_entry *keydir_next(struct keydir_iter *it);
const struct keydir_entry *keydir_prev(struct keydir_iter *it);

/* Keys present; any thread, no lock (a moment's truth). */
uint64_t keydir_count(const struct keydir *kd);

/* Bytes of memory held for nodes and entries. Any thread, no lock. */
uint64_t keydir_memory_bytes(const struct keydir *kd);

#endif
