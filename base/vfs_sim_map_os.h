/*
 * base/vfs_sim_map_os.h - memory that can raise SIGBUS; inside base only.
 *
 * A mapping of a simulated file is anonymous memory at a fixed address, whose
 * pages can be made unreadable and readable again one by one. Threads: as the
 * simulated disk.
 */
#ifndef BASE_VFS_SIM_MAP_OS_H
#define BASE_VFS_SIM_MAP_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { SIM_PAGE_BYTES = 4096 };

struct sim_memory {
	uint8_t *p;
	size_t pages;
	uint8_t *broken; /* one a page */
};

/* Zero-filled readable and writable memory of at least bytes. ERR_NOMEM. */
MUST_CHECK enum err sim_memory_new(size_t bytes, struct sim_memory *m);

/* Release m. */
void sim_memory_done(struct sim_memory *m);

/*
 * Let touching the pages raise SIGBUS, or make them zero-filled memory again.
 * ERR_NOMEM: they are as before.
 */
MUST_CHECK enum err sim_memory_break(struct sim_memory *m, size_t page,
				     size_t pages, bool broken);

#endif
