/*
 * base/vfs_sim_disk.h - what lies on the simulated disk; inside base only.
 *
 * Two of everything: what programs see (live) and what would survive a loss of
 * power (durable), with the list of changes that lead from one to the other.
 * Of a file's content the second is spelled out only while it has to be.
 * vfs_sim.c puts handles, mappings and faults on top.
 * Threads: one at a time.
 */
#ifndef BASE_VFS_SIM_DISK_H
#define BASE_VFS_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/seed.h"
#include "base/vfs_sim_image.h"

enum { DISK_ROOT = 0 };

/* An unsynced write, or change of size (bytes is the new one). */
struct disk_change {
	uint8_t *data; /* what was written; NULL: what is live there         */
	uint8_t *
		hidden; /* what was there before, as far as it was not zero   */
	uint64_t off, bytes, hidden_bytes;
	bool is_size;
	bool doomed; /* a sync of it failed: lost at the next crash           */
};

struct disk_inode {
	bool used, dir, linked, locked, marked;
	uint32_t handles;
	/*
	 * durable without memory, unless it is apart: size and hi only; its
	 * bytes are the live ones with what changes have hidden put back.
	 */
	struct disk_image live, durable;
	bool apart;
	uint64_t reserved; /* bytes counted against the capacity */
	struct disk_change *changes;
	size_t change_count, change_cap;
	uint64_t changed_to; /* no write among the changes goes beyond        */
	uint64_t *bad;	     /* sector numbers that cannot be read */
	size_t bad_count;
};

/* An entry of directory dir. */
struct disk_name {
	uint32_t dir, ino;
	char *name;
};

struct disk_names {
	struct disk_name *v;
	size_t n, cap;
};

/*
 * to in to_dir gets ino and from in dir loses it; either may be NULL (create,
 * unlink: both directories are the same).
 */
struct disk_rename {
	uint32_t dir, to_dir, ino;
	char *from, *to;
};

struct disk {
	struct seed seed;
	uint64_t capacity;
	struct disk_inode *inodes;
	uint32_t inode_count;
	struct disk_names live, durable;
	struct disk_rename *renames; /* unsynced name changes, in order */
	size_t rename_count, rename_cap;
};

/* An empty disk with a root directory. ERR_NOMEM: d is done. */
MUST_CHECK enum err disk_init(struct disk *d, uint64_t seed, uint64_t capacity);

/* Release everything d holds. */
void disk_done(struct disk *d);

/* *to becomes a copy of from, no handles, no locks. ERR_NOMEM: to is done. */
MUST_CHECK enum err disk_copy(const struct disk *from, uint64_t seed,
			      struct disk *to);

/* The inode that path names. ERR_NOT_FOUND. */
MUST_CHECK enum err disk_find(const struct disk *d, const char *path,
			      uint32_t *ino);

/* Make an empty file or directory. ERR_EXISTS; ERR_NOT_FOUND: no parent. */
MUST_CHECK enum err disk_create(struct disk *d, const char *path, bool dir,
				uint32_t *ino);

/* Give the inode that from names the name to, replacing what had it. */
MUST_CHECK enum err disk_rename(struct disk *d, const char *from,
				const char *to);

/* Remove the name of a file. */
MUST_CHECK enum err disk_unlink(struct disk *d, const char *path);

/* Make every name change in directory dir durable. */
MUST_CHECK enum err disk_sync_dir(struct disk *d, uint32_t dir);

/* Bytes in use by files that a name or a handle still holds. */
uint64_t disk_used(const struct disk *d);

/* Write n bytes; what does not fit is left out and ERR_NOSPC returned. */
MUST_CHECK enum err disk_write(struct disk *d, uint32_t ino, const void *p,
			       uint64_t n, uint64_t off);

/* Set the size; with reserve, count all of it against the capacity. */
MUST_CHECK enum err disk_resize(struct disk *d, uint32_t ino, uint64_t bytes,
				bool reserve);

/* Make every change of ino durable but those of a sync that failed. */
MUST_CHECK enum err disk_sync(struct disk *d, uint32_t ino);

/* A sync of ino failed: its changes will be lost at the next crash. */
void disk_doom(struct disk *d, uint32_t ino);

/* True when a bad sector lies in off..off+n. */
bool disk_is_bad(const struct disk *d, uint32_t ino, uint64_t off, uint64_t n);

/* Let the sector of off be unreadable. ERR_NOMEM. */
MUST_CHECK enum err disk_set_bad(struct disk *d, uint32_t ino, uint64_t off);

/* Flip bits wherever byte off is kept. ERR_INVALID: past the end. */
MUST_CHECK enum err disk_flip(struct disk *d, uint32_t ino, uint64_t off,
			      uint8_t mask);

/*
 * Loss of power: of what is not durable, chance keeps some; keep_none keeps
 * nothing. Handles and locks are forgotten.
 */
void disk_crash(struct disk *d, bool keep_none);

/* Forget handles and locks; everything written stays. */
void disk_forget_handles(struct disk *d);

/* Free the inodes that no name, change of name or handle holds. */
void disk_collect(struct disk *d);

#endif
