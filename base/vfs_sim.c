/*
 * base/vfs_sim.c - the simulated disk as a vfs: handles, mappings, faults.
 *
 * Every call passes through enter(), which counts it, and may refuse it (a
 * fault, power that is off), and through leave(), which may cut the power
 * after the effect. Handles carry the generation they were opened in; a crash
 * or kill starts a new one, and older handles answer ERR_IO until closed.
 *
 * A mapping shows the memory that holds the file's content, so that writes are
 * seen in it, until the two must part: the file grows beyond that memory, or a
 * page of the mapping, past the end of the file or with a bad sector, has to
 * raise SIGBUS as on a real disk, while a read of its neighbours goes on. Then
 * the content moves, the mapping's address stays, and every write is copied.
 */
#include "base/vfs_sim.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/vfs_sim_disk.h"
#include "base/vfs_sim_map_os.h"

enum { CALL_KINDS = 10 };

struct fault {
	unsigned mask;
	uint64_t left; /* calls until it strikes; 0: struck, or none set */
	enum err err;
	bool forever, struck;
};

struct region {
	struct region *next;
	struct sim_memory *memory; /* of the file's content, or another      */
	uint64_t bytes, pages, generation;
	uint32_t ino;
};

struct vfs_sim {
	struct vfs vfs;
	struct disk disk;
	uint64_t generation;
	uint64_t calls[CALL_KINDS];
	struct fault fault, power;
	bool power_after, off;
	bool faulted; /* the fault refused the call that is being made */
	struct region *regions;
};

struct sim_file {
	struct vfs_file file;
	struct vfs_sim *sim;
	uint64_t generation;
	uint32_t ino;
	unsigned flags;
	bool locks;
};

/* Count down; true when this call is the one, or one of those after it. */
static bool strikes(struct fault *f, unsigned kind)
{
	if (!(f->mask & kind))
		return false;
	if (f->left && --f->left == 0) {
		f->struck = true;
		return true;
	}
	return f->struck && f->forever;
}

static enum err enter(struct vfs_sim *sim, unsigned kind)
{
	sim->faulted = false;
	if (sim->off)
		return ERR_IO;
	sim->calls[__builtin_ctz(kind)]++;
	if (strikes(&sim->power, kind) && !sim->power_after) {
		sim->off = true;
		return ERR_IO;
	}
	sim->faulted = strikes(&sim->fault, kind);
	return sim->faulted ? sim->fault.err : OK;
}

/* The end of a call that entered with OK: err, unless the power goes now. */
static enum err leave(struct vfs_sim *sim, enum err err)
{
	if (!sim->power.struck)
		return err;
	sim->off = true;
	return ERR_IO;
}

static enum err enter_file(struct sim_file *f, unsigned kind, unsigned flags)
{
	f->sim->faulted = false;
	if (f->generation != f->sim->generation)
		return ERR_IO;
	if ((f->flags & flags) != flags)
		return ERR_PERMISSION;
	return enter(f->sim, kind);
}

static struct disk_inode *inode_of(struct sim_file *f)
{
	return &f->sim->disk.inodes[f->ino];
}

static bool page_is_broken(const struct vfs_sim *sim, const struct region *r,
			   uint64_t page)
{
	uint64_t at = page * SIM_PAGE_BYTES;

	return at >= sim->disk.inodes[r->ino].live.size ||
	       disk_is_bad(&sim->disk, r->ino, at, SIM_PAGE_BYTES);
}

/* How many pages from page on, below end, have to be broken or mended. */
static uint64_t run_of_changes(const struct vfs_sim *sim,
			       const struct region *r, uint64_t page,
			       uint64_t end, bool broken)
{
	uint64_t n = 0;

	while (page + n < end &&
	       sim_memory_is_broken(r->memory, page + n) != broken &&
	       page_is_broken(sim, r, page + n) == broken)
		n++;
	return n;
}

static bool shows_content(const struct vfs_sim *sim, const struct region *r)
{
	return r->memory == sim->disk.inodes[r->ino].live.m;
}

/* Copy the file's bytes off..end to where r shows them; broken pages not. */
static void show_bytes(const struct vfs_sim *sim, struct region *r,
		       uint64_t off, uint64_t end)
{
	const struct disk_image *img = &sim->disk.inodes[r->ino].live;
	struct sim_memory *m = r->memory;
	uint64_t n;

	if (end > img->hi)
		end = img->hi;
	if (shows_content(sim, r) || off >= end)
		return;
	if (end > m->dirty)
		m->dirty = end;
	for (; off < end; off += n) {
		n = SIM_PAGE_BYTES - off % SIM_PAGE_BYTES;
		if (n > end - off)
			n = end - off;
		if (!sim_memory_is_broken(m, off / SIM_PAGE_BYTES))
			memcpy(m->p + off, img->m->p + off, n);
	}
}

/* Is there a page among these that has to break? */
static bool some_must_break(const struct vfs_sim *sim, const struct region *r,
			    uint64_t page, uint64_t end)
{
	const struct disk_inode *in = &sim->disk.inodes[r->ino];

	if (end * SIM_PAGE_BYTES <= in->live.size && !in->bad_count)
		return false;
	while (page < end && !page_is_broken(sim, r, page))
		page++;
	return page < end;
}

/* Bring what r shows of off..end up to date with the file. */
static enum err update_region(struct vfs_sim *sim, struct region *r,
			      uint64_t off, uint64_t end)
{
	uint64_t limit = r->pages * SIM_PAGE_BYTES;
	uint64_t page, last, n;
	enum err err;

	if (end > limit)
		end = limit;
	if (off >= end)
		return OK;
	last = (end + SIM_PAGE_BYTES - 1) / SIM_PAGE_BYTES;
	page = off / SIM_PAGE_BYTES;
	if (shows_content(sim, r)) {
		if (!some_must_break(sim, r, page, last))
			return OK;
		err = image_move_away(&sim->disk.inodes[r->ino].live);
		if (err)
			return err;
	}
	show_bytes(sim, r, off, end);
	for (; page < last; page += n) {
		bool broken = !sim_memory_is_broken(r->memory, page);

		n = run_of_changes(sim, r, page, last, broken);
		if (!n) {
			n = 1;
			continue;
		}
		err = sim_memory_break(r->memory, page, n, broken);
		if (err)
			return err;
		if (!broken)
			show_bytes(sim, r, page * SIM_PAGE_BYTES,
				   (page + n) * SIM_PAGE_BYTES);
	}
	return OK;
}

/* The same for every mapping of the file that live handles made. */
static void update_regions(struct vfs_sim *sim, uint32_t ino, uint64_t off,
			   uint64_t end)
{
	struct region *r;

	for (r = sim->regions; r; r = r->next)
		if (r->generation == sim->generation && r->ino == ino)
			CHECK(!update_region(sim, r, off, end));
}

/* A shorter file: the bytes behind its end read as zeros in its last page. */
static void update_size(struct vfs_sim *sim, uint32_t ino, uint64_t old)
{
	uint64_t now = sim->disk.inodes[ino].live.size;
	uint64_t from = now < old ? now : old, to = now < old ? old : now;
	uint64_t page_end =
		(from + SIM_PAGE_BYTES - 1) / SIM_PAGE_BYTES * SIM_PAGE_BYTES;
	struct region *r;

	for (r = sim->regions; r; r = r->next)
		if (r->generation == sim->generation && r->ino == ino &&
		    now < old && page_end > now &&
		    page_end <= r->pages * SIM_PAGE_BYTES &&
		    !sim_memory_is_broken(r->memory, now / SIM_PAGE_BYTES))
			memset(r->memory->p + now, 0, page_end - now);
	update_regions(sim, ino, from, to);
}

static void sim_close(struct vfs_file *file)
{
	struct sim_file *f = (struct sim_file *)file;

	if (f->generation == f->sim->generation) {
		CHECK(inode_of(f)->handles > 0);
		inode_of(f)->handles--;
		if (f->locks)
			inode_of(f)->locked = false;
		disk_collect(&f->sim->disk);
	}
	free(f);
}

static enum err sim_pread(struct vfs_file *file, void *p, size_t n,
			  uint64_t off, size_t *got)
{
	struct sim_file *f = (struct sim_file *)file;
	enum err err = enter_file(f, VFS_SIM_READ, 0);
	const struct disk_image *img;

	if (err)
		return err;
	img = &inode_of(f)->live;
	if (off >= img->size)
		n = 0;
	else if (n > img->size - off)
		n = img->size - off;
	if (disk_is_bad(&f->sim->disk, f->ino, off, n))
		return leave(f->sim, ERR_IO);
	err = leave(f->sim, OK);
	if (err)
		return err;
	if (n)
		memcpy(p, img->m->p + off, n);
	*got = n;
	return OK;
}

static enum err write_bytes(struct sim_file *f, const void *p, uint64_t n,
			    uint64_t off)
{
	uint64_t old = inode_of(f)->live.size;
	enum err err = disk_write(&f->sim->disk, f->ino, p, n, off);

	if (inode_of(f)->live.size != old)
		update_size(f->sim, f->ino, old);
	update_regions(f->sim, f->ino, off, off + n);
	return err;
}

/* A write that was told to fail: half of the time, a part of it happens. */
static void write_part(struct sim_file *f, const struct iovec *iov,
		       int iov_count, uint64_t off)
{
	struct seed *seed = &f->sim->disk.seed;

	while (iov_count && seed_below(seed, 2)) {
		uint64_t n = seed_below(seed, iov->iov_len + 1);

		if (write_bytes(f, iov->iov_base, n, off) || n < iov->iov_len)
			break;
		off += n;
		iov++;
		iov_count--;
	}
}

static enum err sim_pwritev(struct vfs_file *file, const struct iovec *iov,
			    int iov_count, uint64_t off)
{
	struct sim_file *f = (struct sim_file *)file;
	enum err err = enter_file(f, VFS_SIM_WRITE, VFS_WRITE);

	if (err && f->sim->faulted)
		write_part(f, iov, iov_count, off);
	for (int i = 0; i < iov_count && !err; i++) {
		err = write_bytes(f, iov[i].iov_base, iov[i].iov_len, off);
		off += iov[i].iov_len;
	}
	return err && !f->sim->power.struck ? err : leave(f->sim, err);
}

static enum err sim_sync(struct vfs_file *file)
{
	struct sim_file *f = (struct sim_file *)file;
	enum err err = enter_file(f, VFS_SIM_SYNC, 0);

	if (f->generation != f->sim->generation)
		return ERR_IO;
	if (!err)
		err = disk_sync(&f->sim->disk, f->ino);
	/* With the power gone chance decides; a failed sync has decided. */
	if (err && !f->sim->off)
		disk_doom(&f->sim->disk, f->ino);
	return err ? err : leave(f->sim, OK);
}

static enum err sim_size(struct vfs_file *file, uint64_t *bytes)
{
	struct sim_file *f = (struct sim_file *)file;
	enum err err = enter_file(f, VFS_SIM_READ, 0);

	if (!err)
		err = leave(f->sim, OK);
	if (!err)
		*bytes = inode_of(f)->live.size;
	return err;
}

/* Memory is near enough, and a disk that begins early promises nothing. */
static void sim_hint(struct vfs_file *file, uint64_t off, uint64_t bytes)
{
	(void)file;
	(void)off;
	(void)bytes;
}

/* Never written space is known; a bad sector in it is something to read. */
static enum err sim_data_from(struct vfs_file *file, uint64_t off,
			      uint64_t *data)
{
	struct sim_file *f = (struct sim_file *)file;
	enum err err = enter_file(f, VFS_SIM_READ, 0);
	const struct disk_image *img;

	if (err)
		return err;
	img = &inode_of(f)->live;
	if (off < img->hi || off >= img->size ||
	    disk_is_bad(&f->sim->disk, f->ino, off, img->size - off))
		*data = off < img->size ? off : img->size;
	else
		*data = img->size;
	return leave(f->sim, OK);
}

static enum err resize(struct vfs_file *file, uint64_t bytes, bool reserve)
{
	struct sim_file *f = (struct sim_file *)file;
	enum err err = enter_file(f, VFS_SIM_ALLOCATE, VFS_WRITE);
	uint64_t old;

	if (err)
		return err;
	old = inode_of(f)->live.size;
	err = disk_resize(&f->sim->disk, f->ino, bytes, reserve);
	update_size(f->sim, f->ino, old);
	return leave(f->sim, err);
}

static enum err sim_truncate(struct vfs_file *file, uint64_t bytes)
{
	return resize(file, bytes, false);
}

static enum err sim_allocate(struct vfs_file *file, uint64_t bytes)
{
	return resize(file, bytes, true);
}

static enum err sim_map(struct vfs_file *file, uint64_t bytes,
			const uint8_t **p)
{
	struct sim_file *f = (struct sim_file *)file;
	struct vfs_sim *sim = f->sim;
	enum err err = enter_file(f, VFS_SIM_MAP, 0);
	struct region *r;

	if (!err)
		err = leave(sim, bytes ? OK : ERR_INVALID);
	if (err)
		return err;
	r = calloc(1, sizeof(*r));
	if (!r)
		return ERR_NOMEM;
	*r = (struct region){ .memory = inode_of(f)->live.m,
			      .bytes = bytes,
			      .pages = (bytes + SIM_PAGE_BYTES - 1) /
				       SIM_PAGE_BYTES,
			      .generation = sim->generation,
			      .ino = f->ino };
	if (r->memory && r->memory->pages >= r->pages)
		r->memory->refs++;
	else
		err = sim_memory_new(bytes, &r->memory);
	if (err)
		goto out_region;
	err = update_region(sim, r, 0, bytes);
	if (err)
		goto out_memory;
	r->next = sim->regions;
	sim->regions = r;
	*p = r->memory->p;
	return OK;
out_memory:
	sim_memory_unref(r->memory);
out_region:
	free(r);
	return err;
}

static void sim_unmap(struct vfs_file *file, const uint8_t *p, uint64_t bytes)
{
	struct sim_file *f = (struct sim_file *)file;
	struct region **at = &f->sim->regions, *r;

	while (*at && ((*at)->memory->p != p || (*at)->bytes != bytes))
		at = &(*at)->next;
	r = *at;
	CHECK(r);
	*at = r->next;
	sim_memory_unref(r->memory);
	free(r);
}

static const struct vfs_file_ops sim_file_ops = {
	.close = sim_close,
	.pread = sim_pread,
	.pwritev = sim_pwritev,
	.sync = sim_sync,
	.size = sim_size,
	.data_from = sim_data_from,
	.will_need = sim_hint,
	.will_sync = sim_hint,
	.truncate = sim_truncate,
	.allocate = sim_allocate,
	.map = sim_map,
	.unmap = sim_unmap,
};

/* Find or create what flags ask for. */
static enum err open_inode(struct vfs_sim *sim, const char *path,
			   unsigned flags, uint32_t *ino)
{
	enum err err = disk_find(&sim->disk, path, ino);

	if (err == ERR_NOT_FOUND && (flags & VFS_CREATE))
		return disk_create(&sim->disk, path, false, ino);
	if (err)
		return err;
	if (flags & VFS_EXCL)
		return ERR_EXISTS;
	if (sim->disk.inodes[*ino].dir)
		return ERR_IO;
	return OK;
}

static enum err sim_open(struct vfs *v, const char *path, unsigned flags,
			 struct vfs_file **file)
{
	struct vfs_sim *sim = (struct vfs_sim *)v;
	enum err err = enter(sim, VFS_SIM_OPEN);
	struct sim_file *f;
	uint32_t ino = 0;
	uint64_t old;

	if (err)
		return err;
	f = calloc(1, sizeof(*f));
	if (!f)
		return leave(sim, ERR_NOMEM);
	err = open_inode(sim, path, flags, &ino);
	if (!err && (flags & VFS_TRUNC)) {
		old = sim->disk.inodes[ino].live.size;
		err = disk_resize(&sim->disk, ino, 0, false);
		update_size(sim, ino, old);
	}
	err = leave(sim, err);
	if (err) {
		free(f);
		return err;
	}
	*f = (struct sim_file){ .file = { &sim_file_ops },
				.sim = sim,
				.generation = sim->generation,
				.ino = ino,
				.flags = flags };
	sim->disk.inodes[ino].handles++;
	*file = &f->file;
	return OK;
}

static enum err sim_rename(struct vfs *v, const char *from, const char *to)
{
	struct vfs_sim *sim = (struct vfs_sim *)v;
	enum err err = enter(sim, VFS_SIM_RENAME);

	return err ? err : leave(sim, disk_rename(&sim->disk, from, to));
}

static enum err sim_unlink(struct vfs *v, const char *path)
{
	struct vfs_sim *sim = (struct vfs_sim *)v;
	enum err err = enter(sim, VFS_SIM_UNLINK);

	return err ? err : leave(sim, disk_unlink(&sim->disk, path));
}

static enum err sim_mkdir(struct vfs *v, const char *path)
{
	struct vfs_sim *sim = (struct vfs_sim *)v;
	enum err err = enter(sim, VFS_SIM_MKDIR);
	uint32_t ino;

	if (err)
		return err;
	return leave(sim, disk_create(&sim->disk, path, true, &ino));
}

static enum err sim_sync_dir(struct vfs *v, const char *path)
{
	struct vfs_sim *sim = (struct vfs_sim *)v;
	enum err err = enter(sim, VFS_SIM_SYNC_DIR);
	uint32_t ino = 0;

	if (err)
		return err;
	err = disk_find(&sim->disk, path, &ino);
	if (!err && !sim->disk.inodes[ino].dir)
		err = ERR_IO;
	if (!err)
		err = disk_sync_dir(&sim->disk, ino);
	return leave(sim, err);
}

/* The names in dir, copied: fn may change the directory. Freed by caller. */
static enum err copy_names(struct vfs_sim *sim, const char *path,
			   struct buf *names)
{
	const struct disk_names *live = &sim->disk.live;
	uint32_t dir;
	enum err err = disk_find(&sim->disk, path, &dir);

	if (!err && !sim->disk.inodes[dir].dir)
		err = ERR_IO;
	for (size_t i = 0; i < live->n && !err; i++)
		if (live->v[i].dir == dir)
			err = buf_add(names, live->v[i].name,
				      strlen(live->v[i].name) + 1);
	return err;
}

static enum err sim_list(struct vfs *v, const char *path,
			 enum err (*fn)(void *ctx, const char *name), void *ctx)
{
	struct vfs_sim *sim = (struct vfs_sim *)v;
	enum err err = enter(sim, VFS_SIM_READ);
	struct buf names = BUF_INIT;

	if (err)
		return err;
	err = leave(sim, copy_names(sim, path, &names));
	for (size_t at = 0; at < names.n && !err;) {
		const char *name = (const char *)names.p + at;

		at += strlen(name) + 1;
		err = fn(ctx, name);
	}
	buf_done(&names);
	return err;
}

static enum err sim_free_bytes(struct vfs *v, const char *dir,
			       uint64_t *free_bytes)
{
	struct vfs_sim *sim = (struct vfs_sim *)v;
	uint64_t used = disk_used(&sim->disk);
	enum err err = enter(sim, VFS_SIM_READ);

	if (!err)
		err = leave(sim, OK);
	if (err)
		return err;
	*free_bytes = sim->disk.capacity > used ? sim->disk.capacity - used : 0;
	return OK;
}

static enum err sim_lock(struct vfs *v, const char *path,
			 struct vfs_file **file)
{
	struct vfs_file *opened;
	struct sim_file *f;
	enum err err = sim_open(v, path, VFS_WRITE | VFS_CREATE, &opened);

	if (err)
		return err;
	f = (struct sim_file *)opened;
	if (inode_of(f)->locked) {
		sim_close(opened);
		return ERR_BUSY;
	}
	inode_of(f)->locked = true;
	f->locks = true;
	*file = opened;
	return OK;
}

static const struct vfs_ops sim_ops = {
	.open = sim_open,
	.rename = sim_rename,
	.unlink = sim_unlink,
	.mkdir = sim_mkdir,
	.sync_dir = sim_sync_dir,
	.list = sim_list,
	.free_bytes = sim_free_bytes,
	.lock = sim_lock,
};

enum err vfs_sim_new(uint64_t seed, uint64_t capacity_bytes,
		     struct vfs_sim **sim)
{
	struct vfs_sim *s = calloc(1, sizeof(*s));
	enum err err;

	if (!s)
		return ERR_NOMEM;
	s->vfs.ops = &sim_ops;
	err = disk_init(&s->disk, seed, capacity_bytes);
	if (err) {
		free(s);
		return err;
	}
	*sim = s;
	return OK;
}

void vfs_sim_free(struct vfs_sim *sim)
{
	if (!sim)
		return;
	CHECK(!sim->regions);
	disk_done(&sim->disk);
	free(sim);
}

struct vfs *vfs_sim_vfs(struct vfs_sim *sim)
{
	return &sim->vfs;
}

uint64_t vfs_sim_calls(const struct vfs_sim *sim, unsigned mask)
{
	uint64_t sum = 0;

	for (int i = 0; i < CALL_KINDS; i++)
		if (mask & (1u << i))
			sum += sim->calls[i];
	return sum;
}

void vfs_sim_fail(struct vfs_sim *sim, unsigned mask, uint64_t nth,
		  enum err err, bool forever)
{
	sim->fault = (struct fault){
		.mask = mask, .left = nth, .err = err, .forever = forever
	};
}

void vfs_sim_power_off(struct vfs_sim *sim, unsigned mask, uint64_t nth,
		       bool after_it)
{
	sim->power = (struct fault){ .mask = mask, .left = nth };
	sim->power_after = after_it;
}

/* Mappings of before go on showing what they showed. */
static void freeze_regions(struct vfs_sim *sim)
{
	struct region *r;

	for (r = sim->regions; r; r = r->next)
		if (r->generation == sim->generation && shows_content(sim, r))
			CHECK(!image_move_away(&sim->disk.inodes[r->ino].live));
}

/* What a new start finds: no faults, and handles of before are dead. */
static void begin_generation(struct vfs_sim *sim)
{
	freeze_regions(sim);
	sim->generation++;
	sim->fault = (struct fault){ 0 };
	sim->power = (struct fault){ 0 };
	sim->off = false;
}

void vfs_sim_crash(struct vfs_sim *sim)
{
	begin_generation(sim);
	disk_crash(&sim->disk, false);
}

void vfs_sim_crash_hard(struct vfs_sim *sim)
{
	begin_generation(sim);
	disk_crash(&sim->disk, true);
}

void vfs_sim_kill(struct vfs_sim *sim)
{
	begin_generation(sim);
	disk_forget_handles(&sim->disk);
	disk_collect(&sim->disk);
}

void vfs_sim_set_capacity(struct vfs_sim *sim, uint64_t bytes)
{
	sim->disk.capacity = bytes;
}

enum err vfs_sim_flip(struct vfs_sim *sim, const char *path, uint64_t off,
		      uint8_t mask)
{
	uint32_t ino;
	enum err err = disk_find(&sim->disk, path, &ino);

	if (!err)
		err = disk_flip(&sim->disk, ino, off, mask);
	if (!err)
		update_regions(sim, ino, off, off + 1);
	return err;
}

enum err vfs_sim_bad_sector(struct vfs_sim *sim, const char *path, uint64_t off)
{
	uint32_t ino;
	enum err err = disk_find(&sim->disk, path, &ino);

	if (!err)
		err = disk_set_bad(&sim->disk, ino, off);
	if (!err)
		update_regions(sim, ino, off, off + 1);
	return err;
}

enum err vfs_sim_clone(const struct vfs_sim *sim, uint64_t seed,
		       struct vfs_sim **copy)
{
	struct vfs_sim *s = calloc(1, sizeof(*s));
	enum err err;

	if (!s)
		return ERR_NOMEM;
	s->vfs.ops = &sim_ops;
	err = disk_copy(&sim->disk, seed, &s->disk);
	if (err) {
		free(s);
		return err;
	}
	*copy = s;
	return OK;
}
