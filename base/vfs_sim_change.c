/*
 * base/vfs_sim_change.c - what is durable of a simulated file.
 *
 * Mostly the durable content is the live one with the list of changes undone,
 * and is kept as just that: each change remembers what it hid, a sync forgets
 * the changes. Only when it can no longer be told so (a sync failed, a file was
 * cut) and in a crash is it spelled out in an image of its own.
 *
 * A write that a crash reaches has four ends: lost, whole, torn (each sector
 * on its own), or only its length arrived and the bytes read as zeros, which
 * is what delayed allocation shows. Each change is decided on its own, so a
 * later write can survive where an earlier one did not.
 */
#include "base/vfs_sim_change.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/vfs_sim.h"

static uint8_t *copy_of(const uint8_t *p, uint64_t n)
{
	uint8_t *copy = malloc(n + 1);

	if (copy)
		memcpy(copy, p, n);
	return copy;
}

static void change_done(struct disk_change *c)
{
	free(c->data);
	free(c->hidden);
}

void changes_drop(struct disk_inode *in)
{
	for (size_t i = 0; i < in->change_count; i++)
		change_done(&in->changes[i]);
	in->change_count = 0;
	in->changed_to = 0;
}

void changes_drop_last(struct disk_inode *in)
{
	change_done(&in->changes[--in->change_count]);
}

/* What change c wrote: nothing that came later has touched it, or a copy. */
static const uint8_t *written(const struct disk_inode *in,
			      const struct disk_change *c)
{
	return c->data ? c->data : in->live.m->p + c->off;
}

/* Bytes off..end are about to change: who wrote there needs a copy. */
static enum err save_written(struct disk_inode *in, uint64_t off, uint64_t end)
{
	for (size_t i = 0; off < in->changed_to && i < in->change_count; i++) {
		struct disk_change *c = &in->changes[i];

		if (c->is_size || c->data || c->off >= end ||
		    c->off + c->bytes <= off)
			continue;
		c->data = copy_of(in->live.m->p + c->off, c->bytes);
		if (!c->data)
			return ERR_NOMEM;
	}
	return OK;
}

static enum err add_change(struct disk_inode *in, struct disk_change c)
{
	struct disk_change *more;

	if (in->change_count == in->change_cap) {
		size_t cap = in->change_cap ? 2 * in->change_cap : 8;

		more = realloc(in->changes, cap * sizeof(*more));
		if (!more)
			return ERR_NOMEM;
		in->changes = more;
		in->change_cap = cap;
	}
	in->changes[in->change_count++] = c;
	if (!c.is_size && c.off + c.bytes > in->changed_to)
		in->changed_to = c.off + c.bytes;
	return OK;
}

/* The durable content becomes an image of its own. ERR_NOMEM: unchanged. */
static enum err set_apart(struct disk_inode *in)
{
	struct disk_image img = { 0 };
	enum err err;

	if (in->apart)
		return OK;
	err = image_resize(&img, in->durable.size);
	if (!err && in->durable.hi)
		err = image_write(&img, 0, in->live.m->p, in->durable.hi);
	for (size_t i = in->change_count; i-- > 0 && !err;)
		if (in->changes[i].hidden)
			err = image_write(&img, in->changes[i].off,
					  in->changes[i].hidden,
					  in->changes[i].hidden_bytes);
	if (err) {
		image_done(&img);
		return err;
	}
	in->durable = img;
	in->apart = true;
	return OK;
}

/* Live and durable content are the same. */
static void join(struct disk_inode *in)
{
	if (in->apart)
		image_done(&in->durable);
	in->durable =
		(struct disk_image){ .size = in->live.size, .hi = in->live.hi };
	in->apart = false;
}

enum err changes_add_write(struct disk_inode *in, uint64_t off, uint64_t bytes)
{
	struct disk_change c = { .off = off, .bytes = bytes };
	enum err err = save_written(in, off, off + bytes);

	if (err)
		return err;
	if (!in->apart && off < in->durable.hi) {
		c.hidden_bytes = in->durable.hi - off;
		if (c.hidden_bytes > bytes)
			c.hidden_bytes = bytes;
		c.hidden = copy_of(in->live.m->p + off, c.hidden_bytes);
		if (!c.hidden)
			return ERR_NOMEM;
	}
	err = add_change(in, c);
	if (err)
		change_done(&c);
	return err;
}

enum err changes_add_size(struct disk_inode *in, uint64_t bytes)
{
	enum err err = OK;

	if (bytes < in->live.size) {
		err = set_apart(in);
		if (!err)
			err = save_written(in, bytes, UINT64_MAX);
	}
	if (err)
		return err;
	return add_change(
		in, (struct disk_change){ .is_size = true, .bytes = bytes });
}

static enum err apply_change(struct disk_inode *in, const struct disk_change *c)
{
	if (c->is_size)
		return image_resize(&in->durable, c->bytes);
	return image_write(&in->durable, c->off, written(in, c), c->bytes);
}

static enum err copy_change(struct disk_inode *to, const struct disk_change *c)
{
	struct disk_change copy = *c;
	enum err err;

	if (c->data)
		copy.data = copy_of(c->data, c->bytes);
	if (c->hidden)
		copy.hidden = copy_of(c->hidden, c->hidden_bytes);
	err = (c->data && !copy.data) || (c->hidden && !copy.hidden)
		      ? ERR_NOMEM
		      : add_change(to, copy);
	if (err)
		change_done(&copy);
	return err;
}

enum err changes_copy(const struct disk_inode *from, struct disk_inode *to)
{
	enum err err = OK;

	for (size_t i = 0; i < from->change_count && !err; i++)
		err = copy_change(to, &from->changes[i]);
	return err;
}

enum err changes_sync(struct disk_inode *in)
{
	size_t kept = 0;
	enum err err = OK;

	for (size_t i = 0; i < in->change_count; i++) {
		struct disk_change *c = &in->changes[i];

		if (in->apart && !err && !c->doomed)
			err = apply_change(in, c);
		if (!err && !c->doomed)
			change_done(c);
		else
			in->changes[kept++] = *c;
	}
	in->change_count = kept;
	if (kept)
		return err;
	in->changed_to = 0;
	join(in);
	return OK;
}

void changes_doom(struct disk_inode *in)
{
	CHECK(!set_apart(in));
	for (size_t i = 0; i < in->change_count; i++)
		in->changes[i].doomed = true;
}

enum err changes_flip(struct disk_inode *in, uint64_t off, uint8_t mask)
{
	enum err err = in->change_count ? set_apart(in) : OK;

	if (err)
		return err;
	image_flip(&in->live, off, mask);
	if (!in->change_count) {
		join(in);
		return OK;
	}
	image_flip(&in->durable, off, mask);
	for (size_t i = 0; i < in->change_count; i++) {
		struct disk_change *c = &in->changes[i];

		if (c->data && off >= c->off && off - c->off < c->bytes)
			c->data[off - c->off] ^= mask;
	}
	return OK;
}

/* Each sector of the write c arrives or not. */
static void tear_write(struct disk_inode *in, const struct disk_change *c,
		       struct seed *chance)
{
	const uint8_t *data = written(in, c);
	uint64_t done = 0, n;

	while (done < c->bytes) {
		n = VFS_SIM_SECTOR_BYTES -
		    (c->off + done) % VFS_SIM_SECTOR_BYTES;
		if (n > c->bytes - done)
			n = c->bytes - done;
		if (seed_below(chance, 2))
			CHECK(!image_write(&in->durable, c->off + done,
					   data + done, n));
		done += n;
	}
}

/* What a loss of power makes of one unsynced change. */
static void settle_change(struct disk_inode *in, const struct disk_change *c,
			  struct seed *chance)
{
	uint64_t end = c->off + c->bytes;

	switch (seed_below(chance, 4)) {
	case 0:
		break; /* lost */
	case 1:
		CHECK(!apply_change(in, c));
		break;
	case 2:
		if (!c->is_size)
			tear_write(in, c, chance);
		break;
	case 3: /* the length arrived, the bytes did not */
		if (!c->is_size && end > in->durable.size)
			CHECK(!image_resize(&in->durable, end));
		break;
	}
}

void changes_crash(struct disk_inode *in, struct seed *chance)
{
	if (!in->change_count)
		return;
	CHECK(!set_apart(in));
	for (size_t i = 0; chance && i < in->change_count; i++)
		if (!in->changes[i].doomed)
			settle_change(in, &in->changes[i], chance);
	changes_drop(in);
	image_done(&in->live);
	in->live = in->durable;
	in->apart = false;
	join(in);
}
