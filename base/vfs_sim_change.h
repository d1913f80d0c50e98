/*
 * base/vfs_sim_change.h - unsynced changes of one simulated file; inside base
 * only.
 *
 * Threads: one at a time.
 */
#ifndef BASE_VFS_SIM_CHANGE_H
#define BASE_VFS_SIM_CHANGE_H

#include "base/vfs_sim_disk.h"

/* Forget all changes; the durable content is meaningless until joined. */
void changes_drop(struct disk_inode *in);

/* Forget the last one, which did not come to be. */
void changes_drop_last(struct disk_inode *in);

/*
 * So many bytes at off are about to be written, or the size is about to be
 * bytes. ERR_NOMEM: nothing is noted.
 */
MUST_CHECK enum err changes_add_write(struct disk_inode *in, uint64_t off,
				      uint64_t bytes);
MUST_CHECK enum err changes_add_size(struct disk_inode *in, uint64_t bytes);

/* Give to, which has none, those of from. ERR_NOMEM: it has some of them. */
MUST_CHECK enum err changes_copy(const struct disk_inode *from,
				 struct disk_inode *to);

/* All become durable but those of a sync that failed. ERR_NOMEM: some. */
MUST_CHECK enum err changes_sync(struct disk_inode *in);

/* A sync failed: what was changed until now is lost at the next crash. */
void changes_doom(struct disk_inode *in);

/* Flip bits of byte off, below the end, wherever it is kept. ERR_NOMEM. */
MUST_CHECK enum err changes_flip(struct disk_inode *in, uint64_t off,
				 uint8_t mask);

/* Power is lost: chance decides of each change; NULL: none survives. */
void changes_crash(struct disk_inode *in, struct seed *chance);

#endif
