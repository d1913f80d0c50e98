/*
 * base/vfs_sim_image.c - file content that may be large and mostly zero.
 *
 * A segment of 256 MiB is allocated before a byte is written. Memory from
 * calloc costs nothing until it is touched, and hi, behind which all is zero,
 * keeps copies and comparisons from touching it.
 */
#include "base/vfs_sim_image.h"

#include <stdlib.h>
#include <string.h>

enum err image_resize(struct disk_image *img, uint64_t size)
{
	uint64_t cap = img->cap * 2 > size ? img->cap * 2 : size;
	uint8_t *p;

	if (size > img->cap) {
		/* calloc of much memory costs nothing until it is touched. */
		p = calloc(1, cap);
		if (!p)
			return ERR_NOMEM;
		if (img->hi)
			memcpy(p, img->p, img->hi);
		free(img->p);
		img->p = p;
		img->cap = cap;
	}
	if (size < img->hi) {
		memset(img->p + size, 0, img->hi - size);
		img->hi = size;
	}
	img->size = size;
	return OK;
}

enum err image_write(struct disk_image *img, uint64_t off, const void *p,
		     uint64_t n)
{
	enum err err = OK;

	if (off + n > img->size)
		err = image_resize(img, off + n);
	if (err || !n)
		return err;
	memcpy(img->p + off, p, n);
	if (off + n > img->hi)
		img->hi = off + n;
	return OK;
}

enum err image_copy(const struct disk_image *from, struct disk_image *to)
{
	enum err err = image_resize(to, 0);

	if (!err)
		err = image_resize(to, from->size);
	if (!err)
		err = image_write(to, 0, from->p, from->hi);
	return err;
}

void image_flip(struct disk_image *img, uint64_t off, uint8_t mask)
{
	if (off >= img->size)
		return;
	img->p[off] ^= mask;
	if (off >= img->hi)
		img->hi = off + 1;
}
