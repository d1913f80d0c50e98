/*
 * base/vfs_sim_image.c - file content that may be large and mostly zero.
 *
 * A segment of 256 MiB is allocated before a byte is written. Memory costs
 * nothing until it is touched, and hi, behind which all is zero, keeps copies
 * and comparisons from touching it.
 */
#include "base/vfs_sim_image.h"

#include <stdlib.h>
#include <string.h>

static uint64_t room(const struct disk_image *img)
{
	return img->m ? (uint64_t)img->m->pages * SIM_PAGE_BYTES : 0;
}

static void put(struct sim_memory *m, uint64_t off, const void *p, uint64_t n)
{
	memcpy(m->p + off, p, n);
	if (off + n > m->dirty)
		m->dirty = off + n;
}

/* Go on in other memory of at least bytes. */
static enum err move_to(struct disk_image *img, uint64_t bytes)
{
	struct sim_memory *m;
	enum err err = sim_memory_new(bytes, &m);

	if (err)
		return err;
	if (img->hi)
		put(m, 0, img->m->p, img->hi);
	sim_memory_unref(img->m);
	img->m = m;
	return OK;
}

void image_done(struct disk_image *img)
{
	sim_memory_unref(img->m);
	*img = (struct disk_image){ 0 };
}

enum err image_resize(struct disk_image *img, uint64_t size)
{
	enum err err = size > room(img) ? move_to(img, size) : OK;

	if (err)
		return err;
	if (size < img->hi) {
		memset(img->m->p + size, 0, img->hi - size);
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
	put(img->m, off, p, n);
	if (off + n > img->hi)
		img->hi = off + n;
	return OK;
}

enum err image_copy(const struct disk_image *from, struct disk_image *to)
{
	enum err err = image_resize(to, 0);

	if (!err)
		err = image_resize(to, from->size);
	if (!err && from->hi)
		err = image_write(to, 0, from->m->p, from->hi);
	return err;
}

enum err image_move_away(struct disk_image *img)
{
	return img->m && img->m->refs > 1 ? move_to(img, room(img)) : OK;
}

void image_flip(struct disk_image *img, uint64_t off, uint8_t mask)
{
	uint8_t byte;

	if (off >= img->size)
		return;
	byte = img->m->p[off] ^ mask;
	put(img->m, off, &byte, 1);
	if (off >= img->hi)
		img->hi = off + 1;
}
