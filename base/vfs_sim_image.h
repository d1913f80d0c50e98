/*
 * base/vfs_sim_image.h - the content of one simulated file; inside base only.
 *
 * Grows to any size at the cost of what was written. Threads: one at a time.
 */
#ifndef BASE_VFS_SIM_IMAGE_H
#define BASE_VFS_SIM_IMAGE_H

#include <stdint.h>

#include "base/err.h"
#include "base/vfs_sim_map_os.h"

/*
 * Zeroed memory is an empty image. The bytes lie at m->p, which others may
 * show too: of its pages none is broken. Behind hi, which is at most size,
 * they are zero.
 */
struct disk_image {
	struct sim_memory *m;
	uint64_t size, hi;
};

/* Make img empty and release its memory. */
void image_done(struct disk_image *img);

/*
 * Cut or extend with zeros. ERR_NOMEM: unchanged. Whoever shows the memory of
 * before sees a cut; a growth may move the image to other memory.
 */
MUST_CHECK enum err image_resize(struct disk_image *img, uint64_t size);

/* Write n bytes at off, extending when needed. ERR_NOMEM: unchanged. */
MUST_CHECK enum err image_write(struct disk_image *img, uint64_t off,
				const void *p, uint64_t n);

/* Let to have from's content. ERR_NOMEM: to has some size and content. */
MUST_CHECK enum err image_copy(const struct disk_image *from,
			       struct disk_image *to);

/*
 * Who else shows img's memory keeps it as it is, img goes on in memory of its
 * own. ERR_NOMEM: unchanged.
 */
MUST_CHECK enum err image_move_away(struct disk_image *img);

/* Flip the bits of mask in byte off; nothing when off is past the end. */
void image_flip(struct disk_image *img, uint64_t off, uint8_t mask);

#endif
