/*
 * base/vfs_sim_image.h - the content of one simulated file; inside base only.
 *
 * Grows to any size at the cost of what was written. Threads: one at a time.
 */
#ifndef BASE_VFS_SIM_IMAGE_H
#define BASE_VFS_SIM_IMAGE_H

#include <stdint.h>

#include "base/err.h"

/* Zeroed memory is an empty image; free p. Bytes from hi to cap are zero. */
struct disk_image {
	uint8_t *p;
	uint64_t size, cap, hi;
};

/* Cut or extend with zeros. ERR_NOMEM: unchanged. */
MUST_CHECK enum err image_resize(struct disk_image *img, uint64_t size);

/* Write n bytes at off, extending when needed. ERR_NOMEM: unchanged. */
MUST_CHECK enum err image_write(struct disk_image *img, uint64_t off,
				const void *p, uint64_t n);

/* Let to have from's content. ERR_NOMEM: to has some size and content. */
MUST_CHECK enum err image_copy(const struct disk_image *from,
			       struct disk_image *to);

/* Flip the bits of mask in byte off; nothing when off is past the end. */
void image_flip(struct disk_image *img, uint64_t off, uint8_t mask);

#endif
