/*
 * base/vfs_sim_map_os.c - pages that break on request.
 *
 * Touching a shared mapping past the end of its file raises SIGBUS, and that
 * is how pages are broken: an empty file is mapped over them.
 *
 * The pool keeps memories of 2^k pages, zeroed, by k.
 */
#include "base/vfs_sim_map_os.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"

enum {
	KEPT_CLASSES = 10, /* up to 2 MiB each                               */
	KEPT_PAGES_MAX = 16384,
};

static struct {
	pthread_mutex_t lock;
	struct sim_memory *free[KEPT_CLASSES];
	size_t pages;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER };

static unsigned class_of(size_t pages)
{
	unsigned k = 0;

	while (((size_t)1 << k) < pages)
		k++;
	return k;
}

static struct sim_memory *take(unsigned k)
{
	struct sim_memory *m;

	if (k >= KEPT_CLASSES)
		return NULL;
	pthread_mutex_lock(&pool.lock);
	m = pool.free[k];
	if (m) {
		pool.free[k] = m->next;
		pool.pages -= m->pages;
	}
	pthread_mutex_unlock(&pool.lock);
	return m;
}

/* False: there are enough. */
static bool keep(struct sim_memory *m, unsigned k)
{
	bool kept;

	if (k >= KEPT_CLASSES || m->broken)
		return false;
	memset(m->p, 0, m->dirty);
	m->dirty = 0;
	pthread_mutex_lock(&pool.lock);
	kept = pool.pages + m->pages <= KEPT_PAGES_MAX;
	if (kept) {
		m->next = pool.free[k];
		pool.free[k] = m;
		pool.pages += m->pages;
	}
	pthread_mutex_unlock(&pool.lock);
	return kept;
}

static void *map_pages(void *at, size_t pages)
{
	return mmap(at, pages * SIM_PAGE_BYTES, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			    (at ? MAP_FIXED : 0),
		    -1, 0);
}

enum err sim_memory_new(uint64_t bytes, struct sim_memory **m)
{
	size_t pages = (bytes + SIM_PAGE_BYTES - 1) / SIM_PAGE_BYTES;
	unsigned k = class_of(pages);
	struct sim_memory *made = take(k);

	if (!made) {
		made = calloc(1, sizeof(*made));
		if (!made)
			return ERR_NOMEM;
		made->pages = (size_t)1 << k;
		made->p = map_pages(NULL, made->pages);
		if (made->p == MAP_FAILED) {
			free(made);
			return ERR_NOMEM;
		}
	}
	made->refs = 1;
	*m = made;
	return OK;
}

void sim_memory_unref(struct sim_memory *m)
{
	if (!m || --m->refs || keep(m, class_of(m->pages)))
		return;
	munmap(m->p, m->pages * SIM_PAGE_BYTES);
	free(m->broken);
	free(m);
}

enum err sim_memory_break(struct sim_memory *m, size_t page, size_t pages,
			  bool broken)
{
	uint8_t *at = m->p + page * SIM_PAGE_BYTES;
	int fd = -1;
	void *p;

	CHECK(page + pages <= m->pages);
	if (!m->broken)
		m->broken = calloc(m->pages, 1);
	if (!m->broken)
		return ERR_NOMEM;
	if (broken) {
		fd = memfd_create("empty", MFD_CLOEXEC);
		if (fd < 0)
			return ERR_NOMEM;
		p = mmap(at, pages * SIM_PAGE_BYTES, PROT_READ,
			 MAP_SHARED | MAP_FIXED, fd, 0);
		close(fd);
	} else {
		p = map_pages(at, pages);
	}
	if (p == MAP_FAILED)
		return ERR_NOMEM;
	memset(m->broken + page, broken, pages);
	return OK;
}
