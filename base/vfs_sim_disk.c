/*
 * base/vfs_sim_disk.c - live content, durable content, and the way between.
 *
 *     write, resize --> live image          create, rename --> live names
 *          \--> list of changes                   \--> list of renames
 *     sync: changes applied to durable      sync_dir: renames applied
 *     crash: chance applies some of both lists to durable; live = durable
 *
 * Which bytes are durable: vfs_sim_change.c.
 *
 * Name changes are decided one by one too, which is harsher than a journal
 * that keeps them in order: what must not be reordered needs a sync_dir.
 */
#include "base/vfs_sim_disk.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/vfs_sim.h"
#include "base/vfs_sim_change.h"

/* Make *v hold one more element of size bytes each. */
static enum err grow(void *v, size_t n, size_t *cap, size_t element_bytes)
{
	void **array = v;
	size_t want = *cap ? *cap * 2 : 8;
	void *p;

	if (n < *cap)
		return OK;
	p = realloc(*array, want * element_bytes);
	if (!p)
		return ERR_NOMEM;
	*array = p;
	*cap = want;
	return OK;
}

static char *dup_bytes(struct bytes b)
{
	char *s = malloc(b.n + 1);

	if (s) {
		memcpy(s, b.p, b.n);
		s[b.n] = '\0';
	}
	return s;
}

static struct disk_name *names_find(const struct disk_names *names,
				    uint32_t dir, struct bytes name)
{
	for (size_t i = 0; i < names->n; i++)
		if (names->v[i].dir == dir &&
		    bytes_equal(bytes_str(names->v[i].name), name))
			return &names->v[i];
	return NULL;
}

static void names_remove(struct disk_names *names, struct disk_name *e)
{
	free(e->name);
	*e = names->v[--names->n];
}

/* Let name in dir mean ino. ERR_NOMEM: nothing changed. */
static enum err names_set(struct disk_names *names, uint32_t dir,
			  struct bytes name, uint32_t ino)
{
	struct disk_name *e = names_find(names, dir, name);
	char *copy;
	enum err err;

	if (e) {
		e->ino = ino;
		return OK;
	}
	err = grow(&names->v, names->n, &names->cap, sizeof(*names->v));
	if (err)
		return err;
	copy = dup_bytes(name);
	if (!copy)
		return ERR_NOMEM;
	names->v[names->n++] =
		(struct disk_name){ .dir = dir, .ino = ino, .name = copy };
	return OK;
}

static void names_done(struct disk_names *names)
{
	while (names->n)
		names_remove(names, &names->v[names->n - 1]);
	free(names->v);
	*names = (struct disk_names){ 0 };
}

static enum err names_copy(const struct disk_names *from, struct disk_names *to)
{
	enum err err = OK;

	for (size_t i = 0; i < from->n && !err; i++)
		err = names_set(to, from->v[i].dir, bytes_str(from->v[i].name),
				from->v[i].ino);
	return err;
}

static void inode_done(struct disk_inode *in)
{
	changes_drop(in);
	free(in->changes);
	image_done(&in->live);
	if (in->apart)
		image_done(&in->durable);
	free(in->bad);
	*in = (struct disk_inode){ 0 };
}

static enum err inode_new(struct disk *d, bool dir, uint32_t *ino)
{
	struct disk_inode *more;
	uint32_t i = 0;

	while (i < d->inode_count && d->inodes[i].used)
		i++;
	if (i == d->inode_count) {
		more = realloc(d->inodes, (i + 1) * sizeof(*more));
		if (!more)
			return ERR_NOMEM;
		d->inodes = more;
		d->inode_count++;
	}
	d->inodes[i] = (struct disk_inode){ .used = true, .dir = dir };
	*ino = i;
	return OK;
}

static void rename_done(struct disk_rename *r)
{
	free(r->from);
	free(r->to);
}

static enum err add_rename(struct disk *d, uint32_t dir, uint32_t to_dir,
			   uint32_t ino, struct bytes from, struct bytes to)
{
	struct disk_rename *r;
	enum err err = grow(&d->renames, d->rename_count, &d->rename_cap,
			    sizeof(*d->renames));

	if (err)
		return err;
	r = &d->renames[d->rename_count];
	*r = (struct disk_rename){ .dir = dir, .to_dir = to_dir, .ino = ino };
	r->from = from.p ? dup_bytes(from) : NULL;
	r->to = to.p ? dup_bytes(to) : NULL;
	if ((from.p && !r->from) || (to.p && !r->to)) {
		rename_done(r);
		return ERR_NOMEM;
	}
	d->rename_count++;
	return OK;
}

static enum err apply_rename(struct disk_names *names,
			     const struct disk_rename *r)
{
	struct disk_name *e;
	enum err err = OK;

	if (r->to)
		err = names_set(names, r->to_dir, bytes_str(r->to), r->ino);
	if (err || !r->from)
		return err;
	e = names_find(names, r->dir, bytes_str(r->from));
	/* After a lost change in between, the name may mean another file. */
	if (e && e->ino == r->ino)
		names_remove(names, e);
	return OK;
}

enum err disk_init(struct disk *d, uint64_t seed, uint64_t capacity)
{
	uint32_t root;
	enum err err;

	*d = (struct disk){ .capacity = capacity };
	seed_init(&d->seed, seed);
	err = inode_new(d, true, &root);
	if (err)
		return err;
	CHECK(root == DISK_ROOT);
	d->inodes[root].linked = true;
	return OK;
}

void disk_done(struct disk *d)
{
	for (uint32_t i = 0; i < d->inode_count; i++)
		inode_done(&d->inodes[i]);
	free(d->inodes);
	names_done(&d->live);
	names_done(&d->durable);
	for (size_t i = 0; i < d->rename_count; i++)
		rename_done(&d->renames[i]);
	free(d->renames);
	*d = (struct disk){ 0 };
}

static enum err copy_inode(const struct disk_inode *from, struct disk_inode *to)
{
	enum err err;

	*to = (struct disk_inode){
		.used = from->used,
		.dir = from->dir,
		.linked = from->linked,
		.reserved = from->reserved,
		.apart = from->apart,
	};
	err = image_copy(&from->live, &to->live);
	if (!from->apart)
		to->durable = from->durable;
	else if (!err)
		err = image_copy(&from->durable, &to->durable);
	if (!err)
		err = changes_copy(from, to);
	if (err || !from->bad_count)
		return err;
	to->bad = malloc(from->bad_count * sizeof(*to->bad));
	if (!to->bad)
		return ERR_NOMEM;
	memcpy(to->bad, from->bad, from->bad_count * sizeof(*to->bad));
	to->bad_count = from->bad_count;
	return OK;
}

enum err disk_copy(const struct disk *from, uint64_t seed, struct disk *to)
{
	enum err err;

	*to = (struct disk){ .capacity = from->capacity };
	seed_init(&to->seed, seed);
	to->inodes = calloc(from->inode_count, sizeof(*to->inodes));
	if (!to->inodes)
		return ERR_NOMEM;
	to->inode_count = from->inode_count;
	err = names_copy(&from->live, &to->live);
	if (!err)
		err = names_copy(&from->durable, &to->durable);
	for (uint32_t i = 0; i < from->inode_count && !err; i++)
		err = copy_inode(&from->inodes[i], &to->inodes[i]);
	for (size_t i = 0; i < from->rename_count && !err; i++) {
		const struct disk_rename *r = &from->renames[i];

		err = add_rename(to, r->dir, r->to_dir, r->ino,
				 r->from ? bytes_str(r->from) : bytes_of(0, 0),
				 r->to ? bytes_str(r->to) : bytes_of(0, 0));
	}
	if (err)
		disk_done(to);
	return err;
}

/* The next name of *path, which moves behind it; empty at the end. */
static struct bytes next_name(const char **path)
{
	struct bytes name;

	do {
		*path += strspn(*path, "/");
		name = bytes_of(*path, strcspn(*path, "/"));
		*path += name.n;
	} while (bytes_equal(name, bytes_str(".")));
	return name;
}

/*
 * Split path into its directory's inode and its last name (valid as long as
 * path; empty for the root itself). ERR_NOT_FOUND: the directory is not there.
 */
static enum err disk_parent(const struct disk *d, const char *path,
			    uint32_t *dir, struct bytes *name)
{
	struct bytes last = next_name(&path), next;
	uint32_t at = DISK_ROOT;
	const struct disk_name *e;

	for (;;) {
		next = next_name(&path);
		if (!next.n)
			break;
		e = names_find(&d->live, at, last);
		if (!e || !d->inodes[e->ino].dir)
			return ERR_NOT_FOUND;
		at = e->ino;
		last = next;
	}
	*dir = at;
	*name = last;
	return OK;
}

enum err disk_find(const struct disk *d, const char *path, uint32_t *ino)
{
	const struct disk_name *e;
	struct bytes name;
	uint32_t dir;
	enum err err = disk_parent(d, path, &dir, &name);

	if (err)
		return err;
	if (!name.n) {
		*ino = DISK_ROOT;
		return OK;
	}
	e = names_find(&d->live, dir, name);
	if (!e)
		return ERR_NOT_FOUND;
	*ino = e->ino;
	return OK;
}

enum err disk_create(struct disk *d, const char *path, bool dir, uint32_t *ino)
{
	struct bytes name;
	uint32_t parent, made;
	enum err err = disk_parent(d, path, &parent, &name);

	if (err)
		return err;
	if (!name.n || names_find(&d->live, parent, name))
		return ERR_EXISTS;
	err = inode_new(d, dir, &made);
	if (err)
		return err;
	err = names_set(&d->live, parent, name, made);
	if (err)
		goto out_inode;
	err = add_rename(d, parent, parent, made, bytes_of(0, 0), name);
	if (err)
		goto out_name;
	d->inodes[made].linked = true;
	*ino = made;
	return OK;
out_name:
	names_remove(&d->live, names_find(&d->live, parent, name));
out_inode:
	d->inodes[made].used = false;
	return err;
}

enum err disk_rename(struct disk *d, const char *from, const char *to)
{
	struct bytes from_name, to_name;
	struct disk_name *e, *old;
	uint32_t dir, to_dir, ino;
	char *copy;
	enum err err = disk_parent(d, from, &dir, &from_name);

	if (!err)
		err = disk_parent(d, to, &to_dir, &to_name);
	if (err)
		return err;
	e = names_find(&d->live, dir, from_name);
	if (!e)
		return ERR_NOT_FOUND;
	if (!to_name.n || (dir != to_dir && d->inodes[e->ino].dir))
		return ERR_INVALID;
	if (dir == to_dir && bytes_equal(from_name, to_name))
		return OK;
	ino = e->ino;
	old = names_find(&d->live, to_dir, to_name);
	if (old && (d->inodes[old->ino].dir || d->inodes[ino].dir))
		return ERR_EXISTS;
	copy = dup_bytes(to_name);
	if (!copy)
		return ERR_NOMEM;
	err = add_rename(d, dir, to_dir, ino, from_name, to_name);
	if (err) {
		free(copy);
		return err;
	}
	free(e->name);
	e->name = copy;
	e->dir = to_dir;
	if (old) {
		d->inodes[old->ino].linked = false;
		names_remove(&d->live, old);
	}
	disk_collect(d);
	return OK;
}

enum err disk_unlink(struct disk *d, const char *path)
{
	struct bytes name;
	struct disk_name *e;
	uint32_t dir;
	enum err err = disk_parent(d, path, &dir, &name);

	if (err)
		return err;
	e = name.n ? names_find(&d->live, dir, name) : NULL;
	if (!e)
		return ERR_NOT_FOUND;
	if (d->inodes[e->ino].dir)
		return ERR_PERMISSION;
	err = add_rename(d, dir, dir, e->ino, name, bytes_of(0, 0));
	if (err)
		return err;
	d->inodes[e->ino].linked = false;
	names_remove(&d->live, e);
	disk_collect(d);
	return OK;
}

enum err disk_sync_dir(struct disk *d, uint32_t dir)
{
	size_t kept = 0;
	enum err err = OK;

	for (size_t i = 0; i < d->rename_count; i++) {
		const struct disk_rename *r = &d->renames[i];
		bool is_here = r->dir == dir || r->to_dir == dir;

		if (is_here && !err)
			err = apply_rename(&d->durable, r);
		if (is_here && !err)
			rename_done(&d->renames[i]);
		else
			d->renames[kept++] = d->renames[i];
	}
	d->rename_count = kept;
	disk_collect(d);
	return err;
}

uint64_t disk_used(const struct disk *d)
{
	uint64_t used = 0;

	for (uint32_t i = 0; i < d->inode_count; i++)
		if (d->inodes[i].linked || d->inodes[i].handles)
			used += d->inodes[i].reserved;
	return used;
}

/* How many of the bytes up to end the disk has room for. */
static uint64_t room_up_to(const struct disk *d, const struct disk_inode *in,
			   uint64_t end)
{
	uint64_t used = disk_used(d);
	uint64_t room = d->capacity > used ? d->capacity - used : 0;

	return end <= in->reserved || end - in->reserved <= room
		       ? end
		       : in->reserved + room;
}

/* Sectors that were wholly rewritten can be read again. */
static void clear_bad(struct disk_inode *in, uint64_t off, uint64_t n)
{
	uint64_t first =
		(off + VFS_SIM_SECTOR_BYTES - 1) / VFS_SIM_SECTOR_BYTES;
	uint64_t end = (off + n) / VFS_SIM_SECTOR_BYTES;
	size_t kept = 0;

	for (size_t i = 0; i < in->bad_count; i++)
		if (in->bad[i] < first || in->bad[i] >= end)
			in->bad[kept++] = in->bad[i];
	in->bad_count = kept;
}

enum err disk_write(struct disk *d, uint32_t ino, const void *p, uint64_t n,
		    uint64_t off)
{
	struct disk_inode *in = &d->inodes[ino];
	uint64_t fits = room_up_to(d, in, off + n);
	uint64_t part = fits > off ? fits - off : 0;
	enum err err;

	if (n == 0)
		return OK;
	if (part) {
		err = changes_add_write(in, off, part);
		if (err)
			return err;
		err = image_write(&in->live, off, p, part);
		if (err) {
			changes_drop_last(in);
			return err;
		}
		clear_bad(in, off, part);
		if (fits > in->reserved)
			in->reserved = fits;
	}
	return part < n ? ERR_NOSPC : OK;
}

enum err disk_resize(struct disk *d, uint32_t ino, uint64_t bytes, bool reserve)
{
	struct disk_inode *in = &d->inodes[ino];
	enum err err;

	if (reserve && room_up_to(d, in, bytes) < bytes)
		return ERR_NOSPC;
	if (reserve && bytes > in->reserved)
		in->reserved = bytes;
	if (bytes == in->live.size || (reserve && bytes < in->live.size))
		return OK;
	err = changes_add_size(in, bytes);
	if (err)
		return err;
	err = image_resize(&in->live, bytes);
	if (err) {
		changes_drop_last(in);
		return err;
	}
	if (bytes < in->reserved)
		in->reserved = bytes;
	return OK;
}

enum err disk_sync(struct disk *d, uint32_t ino)
{
	return changes_sync(&d->inodes[ino]);
}

void disk_doom(struct disk *d, uint32_t ino)
{
	changes_doom(&d->inodes[ino]);
}

bool disk_is_bad(const struct disk *d, uint32_t ino, uint64_t off, uint64_t n)
{
	const struct disk_inode *in = &d->inodes[ino];

	for (size_t i = 0; i < in->bad_count; i++) {
		uint64_t at = in->bad[i] * VFS_SIM_SECTOR_BYTES;

		if (at < off + n && at + VFS_SIM_SECTOR_BYTES > off)
			return true;
	}
	return false;
}

enum err disk_set_bad(struct disk *d, uint32_t ino, uint64_t off)
{
	struct disk_inode *in = &d->inodes[ino];
	uint64_t *more;

	if (off >= in->live.size)
		return ERR_INVALID;
	more = realloc(in->bad, (in->bad_count + 1) * sizeof(*more));
	if (!more)
		return ERR_NOMEM;
	in->bad = more;
	in->bad[in->bad_count++] = off / VFS_SIM_SECTOR_BYTES;
	return OK;
}

enum err disk_flip(struct disk *d, uint32_t ino, uint64_t off, uint8_t mask)
{
	struct disk_inode *in = &d->inodes[ino];

	return off < in->live.size ? changes_flip(in, off, mask) : ERR_INVALID;
}

static void crash_inode(struct disk *d, struct disk_inode *in, bool keep_none)
{
	changes_crash(in, keep_none ? NULL : &d->seed);
	in->reserved = in->live.size;
	in->linked = false;
}

void disk_crash(struct disk *d, bool keep_none)
{
	for (uint32_t i = 0; i < d->inode_count; i++)
		if (d->inodes[i].used)
			crash_inode(d, &d->inodes[i], keep_none);
	for (size_t i = 0; i < d->rename_count; i++) {
		if (!keep_none && seed_below(&d->seed, 2))
			CHECK(!apply_rename(&d->durable, &d->renames[i]));
		rename_done(&d->renames[i]);
	}
	d->rename_count = 0;
	names_done(&d->live);
	CHECK(!names_copy(&d->durable, &d->live));
	disk_forget_handles(d);
	for (size_t i = 0; i < d->live.n; i++)
		d->inodes[d->live.v[i].ino].linked = true;
	d->inodes[DISK_ROOT].linked = true;
	disk_collect(d);
}

void disk_forget_handles(struct disk *d)
{
	for (uint32_t i = 0; i < d->inode_count; i++) {
		d->inodes[i].handles = 0;
		d->inodes[i].locked = false;
	}
}

/* Mark what names in marked directories lead to; true when that was news. */
static bool mark_names(struct disk *d, const struct disk_names *names)
{
	bool news = false;

	for (size_t i = 0; i < names->n; i++) {
		struct disk_inode *in = &d->inodes[names->v[i].ino];

		if (d->inodes[names->v[i].dir].marked && !in->marked) {
			in->marked = true;
			news = true;
		}
	}
	return news;
}

/* Drop the names that lie in directories which are gone. */
static void sweep_names(struct disk *d, struct disk_names *names)
{
	for (size_t i = names->n; i-- > 0;)
		if (!d->inodes[names->v[i].dir].marked)
			names_remove(names, &names->v[i]);
}

/* Only what neither a name of now nor a handle holds can be free. */
static bool some_is_left(const struct disk *d)
{
	for (uint32_t i = 0; i < d->inode_count; i++)
		if (d->inodes[i].used && !d->inodes[i].linked &&
		    !d->inodes[i].handles)
			return true;
	return false;
}

static void collect_all(struct disk *d)
{
	for (uint32_t i = 0; i < d->inode_count; i++)
		d->inodes[i].marked = d->inodes[i].handles > 0;
	d->inodes[DISK_ROOT].marked = true;
	for (size_t i = 0; i < d->rename_count; i++) {
		d->inodes[d->renames[i].dir].marked = true;
		d->inodes[d->renames[i].to_dir].marked = true;
		d->inodes[d->renames[i].ino].marked = true;
	}
	while (mark_names(d, &d->live) || mark_names(d, &d->durable))
		;
	sweep_names(d, &d->live);
	sweep_names(d, &d->durable);
	for (uint32_t i = 0; i < d->inode_count; i++)
		if (d->inodes[i].used && !d->inodes[i].marked)
			inode_done(&d->inodes[i]);
}

void disk_collect(struct disk *d)
{
	if (some_is_left(d))
		collect_all(d);
}
