/*
 * base/vfs_sim.h - a disk in memory that fails the way disks fail.
 *
 * What is written is visible at once and durable only after vfs_sync; names
 * (create, rename, unlink) are durable only after vfs_sync_dir. A crash keeps
 * everything synced, and of the rest what chance decides: each unsynced write
 * survives whole, in part (torn at 512-byte sectors, the sectors in any
 * order), as zeros, or not at all. Each unsynced name change survives or not,
 * each on its own: a journal would keep their order, POSIX does not promise it.
 * A rename between directories survives as a whole, by a sync of either.
 * A file's sync says nothing about its name.
 *
 * Mappings follow writes and raise SIGBUS past the end and at bad sectors.
 *
 * Threads: one at a time (the simulator's), or any under the caller's lock.
 */
#ifndef BASE_VFS_SIM_H
#define BASE_VFS_SIM_H

#include "base/seed.h"
#include "base/vfs.h"

enum { VFS_SIM_SECTOR_BYTES = 512 };

/* Kinds of calls that can be counted and made to fail. */
enum vfs_sim_call {
	VFS_SIM_OPEN = 1, /* and lock */
	VFS_SIM_READ = 2, /* and size, list, free_bytes */
	VFS_SIM_WRITE = 4,
	VFS_SIM_SYNC = 8,
	VFS_SIM_RENAME = 16,
	VFS_SIM_UNLINK = 32,
	VFS_SIM_SYNC_DIR = 64,
	VFS_SIM_ALLOCATE = 128, /* and truncate */
	VFS_SIM_MAP = 256,
	VFS_SIM_MKDIR = 512,
	VFS_SIM_CHANGES = 4 | 8 | 16 | 32 | 64 | 128 | 512,
	VFS_SIM_ALL = 1023,
};

struct vfs_sim;

/* A new, empty disk of capacity_bytes; seed decides all that chance decides. */
MUST_CHECK enum err vfs_sim_new(uint64_t seed, uint64_t capacity_bytes,
				struct vfs_sim **sim);

/* Free the disk; every file must be closed. NULL is accepted. */
void vfs_sim_free(struct vfs_sim *sim);

/* The disk as a vfs; valid as long as sim. */
struct vfs *vfs_sim_vfs(struct vfs_sim *sim);

/* How many calls of the kinds in mask were made so far. */
uint64_t vfs_sim_calls(const struct vfs_sim *sim, unsigned mask);

/*
 * Let the nth (from 1, counted from now) call of the kinds in mask fail with
 * err, once; with forever, all later ones of these kinds too. A failed write
 * may have written a part; a failed sync loses the unsynced data at the next
 * crash even if synced again. nth 0 removes the fault.
 */
void vfs_sim_fail(struct vfs_sim *sim, unsigned mask, uint64_t nth,
		  enum err err, bool forever);

/*
 * Let the nth (from 1, counted from now) call of the kinds in mask, and every
 * call after it, fail with ERR_IO as if the machine had lost power just
 * before it (after_it: just after its effect). Then call vfs_sim_crash().
 */
void vfs_sim_power_off(struct vfs_sim *sim, unsigned mask, uint64_t nth,
		       bool after_it);

/*
 * The machine loses power and comes back: unsynced data and names are lost or
 * kept as chance decides, handles still open are dead (their calls answer
 * ERR_IO; close them), locks are released, faults are removed.
 */
void vfs_sim_crash(struct vfs_sim *sim);

/* As vfs_sim_crash, but everything unsynced is lost (keep none). */
void vfs_sim_crash_hard(struct vfs_sim *sim);

/* The process dies, the machine lives (kill -9): everything written stays. */
void vfs_sim_kill(struct vfs_sim *sim);

/* Change the capacity; less than what is used means "full", nothing is lost. */
void vfs_sim_set_capacity(struct vfs_sim *sim, uint64_t bytes);

/*
 * Flip the bits of mask in byte off of the file, durably (a decayed sector).
 * ERR_NOT_FOUND: no such file; ERR_INVALID: past its end.
 */
MUST_CHECK enum err vfs_sim_flip(struct vfs_sim *sim, const char *path,
				 uint64_t off, uint8_t mask);

/* Reads that touch the sector at off answer ERR_IO until it is rewritten. */
MUST_CHECK enum err vfs_sim_bad_sector(struct vfs_sim *sim, const char *path,
				       uint64_t off);

/*
 * A copy of the disk as it is now (synced or not), for "crash here and go on"
 * loops. *copy is freed by the caller. ERR_NOMEM: nothing made.
 */
MUST_CHECK enum err vfs_sim_clone(const struct vfs_sim *sim, uint64_t seed,
				  struct vfs_sim **copy);

#endif
