/*
 * base/vfs_sim_map_os.c - pages that break on request.
 *
 * Touching a shared mapping past the end of its file raises SIGBUS, and that
 * is how pages are broken: an empty file is mapped over them.
 */
#include "base/vfs_sim_map_os.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"

enum err sim_memory_new(size_t bytes, struct sim_memory *m)
{
	size_t pages = (bytes + SIM_PAGE_BYTES - 1) / SIM_PAGE_BYTES;
	uint8_t *broken = calloc(pages + 1, 1);
	void *p;

	if (!broken)
		return ERR_NOMEM;
	p = mmap(NULL, (pages + !pages) * SIM_PAGE_BYTES,
		 PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		free(broken);
		return ERR_NOMEM;
	}
	*m = (struct sim_memory){ .p = p, .pages = pages, .broken = broken };
	return OK;
}

void sim_memory_done(struct sim_memory *m)
{
	munmap(m->p, (m->pages + !m->pages) * SIM_PAGE_BYTES);
	free(m->broken);
	*m = (struct sim_memory){ 0 };
}

enum err sim_memory_break(struct sim_memory *m, size_t page, size_t pages,
			  bool broken)
{
	uint8_t *at = m->p + page * SIM_PAGE_BYTES;
	size_t bytes = pages * SIM_PAGE_BYTES;
	int fd = -1;
	void *p;

	CHECK(page + pages <= m->pages);
	if (broken) {
		fd = memfd_create("empty", MFD_CLOEXEC);
		if (fd < 0)
			return ERR_NOMEM;
		p = mmap(at, bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
		close(fd);
	} else {
		p = mmap(at, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
				 MAP_FIXED,
			 -1, 0);
	}
	if (p == MAP_FAILED)
		return ERR_NOMEM;
	memset(m->broken + page, broken, pages);
	return OK;
}
