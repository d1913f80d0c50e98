/*
 * fsd/figures.c - how long requests of the kernel take.
 *
 * A worker notes what it reads and when (figures_begin). What it answers itself
 * is counted when it has been processed (figures_end); what waits takes the
 * note along (figures_hand) and is counted with its end.
 */
#include <linux/fuse.h>

#include "base/check.h"
#include "fsd/internal.h"

/* Upper bounds: 16 us, and four times as much with each, to 16 s. */
enum { FIRST_BOUND_US = 16, BOUND_SHIFT = 2 };

static _Thread_local struct {
	enum figure_kind kind;
	uint64_t began_ns;
} present;

static enum figure_kind kind_of(uint32_t opcode)
{
	switch (opcode) {
	case FUSE_LOOKUP:
		return FIGURE_LOOKUP;
	case FUSE_GETATTR:
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
	case FUSE_READLINK:
	case FUSE_STATFS:
		return FIGURE_STAT;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
	case FUSE_CREATE:
		return FIGURE_OPEN;
	case FUSE_READ:
	case FUSE_LSEEK:
		return FIGURE_READ;
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		return FIGURE_READDIR;
	case FUSE_WRITE:
	case FUSE_FALLOCATE:
		return FIGURE_WRITE;
	case FUSE_FLUSH:
	case FUSE_FSYNC:
	case FUSE_FSYNCDIR:
		return FIGURE_SYNC;
	case FUSE_SETATTR:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_SYMLINK:
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_LINK:
	case FUSE_SETXATTR:
	case FUSE_REMOVEXATTR:
		return FIGURE_CHANGE;
	default: /* nobody waits for it, or it is the library's own */
		return FIGURE_NONE;
	}
}

static const char *const kind_names[FIGURE_KINDS] = {
	[FIGURE_LOOKUP] = "lookup",   [FIGURE_STAT] = "stat",
	[FIGURE_OPEN] = "open",	      [FIGURE_READ] = "read",
	[FIGURE_READDIR] = "readdir", [FIGURE_WRITE] = "write",
	[FIGURE_SYNC] = "sync",	      [FIGURE_CHANGE] = "change",
};

void figures_begin(struct fsd *f, const struct fuse_buf *buf)
{
	struct fuse_in_header h;

	present.kind = FIGURE_NONE;
	if (buf->flags & FUSE_BUF_IS_FD || buf->size < sizeof(h))
		return;
	memcpy(&h, buf->mem, sizeof(h));
	present.kind = kind_of(h.opcode);
	present.began_ns = fsd_now(f);
}

enum figure_kind figures_hand(void)
{
	enum figure_kind kind = present.kind;

	present.kind = FIGURE_NONE;
	return kind;
}

void figures_add(struct fsd *f, enum figure_kind kind, uint64_t began_ns)
{
	struct figures *g = &f->figures[kind];
	uint64_t ns = fsd_now(f) - began_ns;
	uint64_t bound_ns = FIRST_BOUND_US * 1000;
	int bucket = 0;

	CHECK(kind < FIGURE_KINDS);
	if (kind == FIGURE_NONE)
		return;
	while (bucket < FIGURE_BUCKETS - 1 && ns > bound_ns) {
		bound_ns <<= BOUND_SHIFT;
		bucket++;
	}
	atomic_fetch_add_explicit(&g->buckets[bucket], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&g->ns_total, ns, memory_order_relaxed);
}

void figures_end(struct fsd *f)
{
	figures_add(f, figures_hand(), present.began_ns);
}

static enum err add_kind(struct buf *b, const char *family, const char *kind,
			 struct figures *g)
{
	uint64_t total = 0, bound_us = FIRST_BOUND_US;
	enum err err = OK;

	for (int i = 0; !err && i < FIGURE_BUCKETS; i++) {
		total += atomic_load_explicit(&g->buckets[i],
					      memory_order_relaxed);
		if (i == FIGURE_BUCKETS - 1)
			break;
		err = buf_addf(b,
			       "%s_bucket{operation=\"%s\",le=\"%.9g\"} %lu\n",
			       family, kind, (double)bound_us / 1e6, total);
		bound_us <<= BOUND_SHIFT;
	}
	if (err)
		return err;
	return buf_addf(b,
			"%s_bucket{operation=\"%s\",le=\"+Inf\"} %lu\n"
			"%s_sum{operation=\"%s\"} %.9g\n"
			"%s_count{operation=\"%s\"} %lu\n",
			family, kind, total, family, kind,
			(double)atomic_load_explicit(&g->ns_total,
						     memory_order_relaxed) /
				1e9,
			family, kind, total);
}

enum err fsd_figures(struct fsd *f, struct buf *b)
{
	static const char family[] = "raftcask_fuse_request_duration_seconds";
	enum err err = buf_addf(b,
				"# HELP %s From reading a request of the "
				"kernel to its answer.\n# TYPE %s histogram\n",
				family, family);

	for (int i = FIGURE_NONE + 1; !err && i < FIGURE_KINDS; i++)
		err = add_kind(b, family, kind_names[i], &f->figures[i]);
	return err;
}
