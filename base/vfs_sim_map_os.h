/*
 * base/vfs_sim_map_os.h - memory of simulated files; inside base only.
 *
 * Whole pages at an address that stays, which can be made to raise SIGBUS and
 * be readable again one by one. A file's content and all mappings of it share
 * one such memory as long as they show the same; whoever must differ takes
 * memory of its own. What is released is kept for the next who asks: fresh
 * pages of the system cost more than what is done with them.
 *
 * Threads: a memory as its simulated disk; making and releasing: any.
 */
#ifndef BASE_VFS_SIM_MAP_OS_H
#define BASE_VFS_SIM_MAP_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { SIM_PAGE_BYTES = 4096 };

struct sim_memory {
	struct sim_memory *next; /* in the pool                              */
	uint8_t *p;
	size_t pages;
	uint32_t refs;
	uint64_t dirty;	 /* behind it all is zero: whoever writes raises it  */
	uint8_t *broken; /* one a page; NULL: none is                        */
};

/*
 * Zero-filled readable and writable memory of at least bytes, one reference.
 * ERR_NOMEM.
 */
MUST_CHECK enum err sim_memory_new(uint64_t bytes, struct sim_memory **m);

/* Drop a reference; NULL is accepted. */
void sim_memory_unref(struct sim_memory *m);

static inline bool sim_memory_is_broken(const struct sim_memory *m, size_t page)
{
	return m->broken && m->broken[page];
}

/*
 * Let touching the pages raise SIGBUS, or make them zero-filled memory again.
 * ERR_NOMEM: they are as before.
 */
MUST_CHECK enum err sim_memory_break(struct sim_memory *m, size_t page,
				     size_t pages, bool broken);

#endif
