/*
 * node/identity.c - see identity.h.
 *
 *  off  size  "cluster", little-endian
 *    0     4  crc32c of bytes 4..end
 *    4     4  magic "rcid"
 *    8     2  version, 1
 *   10     1  state, enum identity_state
 *   11     1  1: joined
 *   12     4  partitions
 *   16    16  cluster id
 *   32     8  node id
 *   40     8  claim
 *   48     -  roster (node/roster.c), to the end
 */
#include "node/identity.h"

#include <stdio.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/log.h"

enum {
	IDENTITY_VERSION = 1,
	IDENTITY_FIXED_BYTES = 48,
	IDENTITY_BYTES_MAX = 128 << 10,
	PATH_BYTES = CONF_PATH_BYTES_MAX + 32,
};

static const uint8_t magic[4] = { 'r', 'c', 'i', 'd' };

enum err identity_encode(const struct identity *id, struct buf *b)
{
	uint8_t p[IDENTITY_FIXED_BYTES] = { 0 };
	size_t at = b->n;
	enum err err;

	CHECK(id->state > IDENTITY_NONE);
	CHECK(id->state < IDENTITY_STATE_MAX);
	memcpy(p + 4, magic, sizeof(magic));
	put_u16(p + 8, IDENTITY_VERSION);
	p[10] = (uint8_t)id->state;
	p[11] = id->joined;
	put_u32(p + 12, id->partitions);
	memcpy(p + 16, id->cluster_id, 16);
	put_u64(p + 32, id->node_id);
	put_u64(p + 40, id->claim);
	err = buf_add(b, p, sizeof(p));
	if (!err)
		err = roster_encode(b, &id->roster);
	if (!err)
		put_u32(b->p + at, crc32c(0, b->p + at + 4, b->n - at - 4));
	return err;
}

enum err identity_decode(struct bytes in, struct identity *id)
{
	struct bytes rest;

	if (in.n < IDENTITY_FIXED_BYTES ||
	    memcmp(in.p + 4, magic, sizeof(magic)) != 0 ||
	    get_u32(in.p) != crc32c(0, in.p + 4, in.n - 4))
		return ERR_CORRUPT;
	if (get_u16(in.p + 8) != IDENTITY_VERSION)
		return ERR_VERSION;
	if (in.p[10] == 0 || in.p[10] >= IDENTITY_STATE_MAX || in.p[11] > 1)
		return ERR_CORRUPT;
	id->state = (enum identity_state)in.p[10];
	id->joined = in.p[11];
	id->partitions = get_u32(in.p + 12);
	memcpy(id->cluster_id, in.p + 16, 16);
	id->node_id = get_u64(in.p + 32);
	id->claim = get_u64(in.p + 40);
	rest = bytes_of(in.p + IDENTITY_FIXED_BYTES,
			in.n - IDENTITY_FIXED_BYTES);
	return roster_decode(&rest, &id->roster) || rest.n ? ERR_CORRUPT : OK;
}

static void path_of(char path[PATH_BYTES], const char *dir, const char *name)
{
	snprintf(path, PATH_BYTES, "%s/%s", dir, name);
}

static enum err read_file(struct vfs *vfs, const char *path, struct buf *b)
{
	struct vfs_file *f;
	size_t got;
	enum err err = vfs_open(vfs, path, VFS_READ, &f);

	if (err)
		return err;
	err = buf_reserve(b, IDENTITY_BYTES_MAX);
	if (!err)
		err = vfs_pread(f, b->p, IDENTITY_BYTES_MAX, 0, &got);
	if (!err)
		b->n = got;
	vfs_close(f);
	return err;
}

enum err identity_load(struct vfs *vfs, const char *dir, struct identity *id,
		       struct buf *why)
{
	char path[PATH_BYTES];
	struct buf b = BUF_INIT;
	enum err err;

	memset(id, 0, sizeof(*id));
	path_of(path, dir, "cluster");
	err = read_file(vfs, path, &b);
	if (!err)
		err = identity_decode(buf_bytes(&b), id);
	buf_done(&b);
	if (err == ERR_NOT_FOUND)
		return OK;
	if (err == ERR_CORRUPT)
		(void)!buf_addf(why,
				"%s is damaged: this node cannot know who it "
				"is; empty %s and run `raftcask members "
				"replace` for it",
				path, dir);
	else if (err)
		(void)!buf_addf(why, "%s: %s", path, err_text(err));
	return err;
}

static enum err write_file(struct vfs *vfs, const char *path, struct bytes b)
{
	struct vfs_file *f;
	enum err err =
		vfs_open(vfs, path, VFS_WRITE | VFS_CREATE | VFS_TRUNC, &f);

	if (err)
		return err;
	err = vfs_pwrite(f, b.p, b.n, 0);
	if (!err)
		err = vfs_sync(f);
	vfs_close(f);
	return err;
}

/* The directory's own name; who may not read its parent did not make it. */
static enum err sync_parent(struct vfs *vfs, const char *dir)
{
	char path[PATH_BYTES];
	char *slash;
	enum err err;

	snprintf(path, sizeof(path), "%s", dir);
	for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
		path[n - 1] = 0;
	slash = strrchr(path, '/');
	if (!slash)
		snprintf(path, sizeof(path), ".");
	else
		slash[slash == path] = 0;
	err = vfs_sync_dir(vfs, path);
	return err == ERR_PERMISSION ? OK : err;
}

enum err identity_save(struct vfs *vfs, const char *dir,
		       const struct identity *id)
{
	char path[PATH_BYTES], tmp[PATH_BYTES];
	struct buf b = BUF_INIT;
	enum err err = vfs_mkdir(vfs, dir);

	if (!err || err == ERR_EXISTS)
		err = sync_parent(vfs, dir);
	if (err)
		return err;
	path_of(path, dir, "cluster");
	path_of(tmp, dir, "cluster.tmp");
	err = identity_encode(id, &b);
	if (!err)
		err = write_file(vfs, tmp, buf_bytes(&b));
	if (!err)
		err = vfs_rename(vfs, tmp, path);
	if (!err)
		err = vfs_sync_dir(vfs, dir);
	buf_done(&b);
	return err;
}

enum err identity_has_engine(struct vfs *vfs, const char *dir, bool *has)
{
	char path[PATH_BYTES];
	struct vfs_file *f;
	enum err err;

	path_of(path, dir, "MANIFEST");
	err = vfs_open(vfs, path, VFS_READ, &f);
	*has = err == OK;
	if (!err)
		vfs_close(f);
	return err == ERR_NOT_FOUND ? OK : err;
}

/* "0123abcd.log", ".dat", ".hint", ".tmp" behind them; "state"; spares. */
static bool is_engines(const char *name)
{
	if (strcmp(name, "state") == 0 || strncmp(name, "spare-", 6) == 0 ||
	    strncmp(name, "MANIFEST", 8) == 0)
		return true;
	return strspn(name, "0123456789abcdef") == 8 &&
	       (strncmp(name + 8, ".log", 4) == 0 ||
		strncmp(name + 8, ".dat", 4) == 0);
}

static enum err see_name(void *ctx, const char *name)
{
	return is_engines(name) ? buf_add(ctx, name, strlen(name) + 1) : OK;
}

enum err identity_clear_engine(struct vfs *vfs, const char *dir)
{
	char path[PATH_BYTES];
	struct buf names = BUF_INIT;
	enum err err;

	path_of(path, dir, "MANIFEST");
	err = vfs_unlink(vfs, path);
	if (!err) /* without it the rest is never taken for a state */
		err = vfs_sync_dir(vfs, dir);
	if (err == ERR_NOT_FOUND)
		err = OK;
	if (!err)
		err = vfs_list(vfs, dir, see_name, &names);
	for (size_t at = 0; !err && at < names.n;) {
		const char *name = (const char *)names.p + at;

		path_of(path, dir, name);
		err = vfs_unlink(vfs, path);
		if (err == ERR_NOT_FOUND)
			err = OK;
		at += strlen(name) + 1;
	}
	buf_done(&names);
	return err ? err : vfs_sync_dir(vfs, dir);
}

/* From dir to aside; one that is gone was moved before. */
static enum err move_aside(struct vfs *vfs, const char *dir, const char *aside,
			   const char *name)
{
	char from[PATH_BYTES], to[PATH_BYTES];
	enum err err;

	path_of(from, dir, name);
	path_of(to, aside, name);
	err = vfs_rename(vfs, from, to);
	return err == ERR_NOT_FOUND ? OK : err;
}

/* Where the files went, then where they are no more. */
static enum err sync_both(struct vfs *vfs, const char *dir, const char *aside)
{
	enum err err = vfs_sync_dir(vfs, aside);

	return err ? err : vfs_sync_dir(vfs, dir);
}

enum err identity_set_aside(struct vfs *vfs, const char *dir, uint64_t node_id)
{
	struct buf names = BUF_INIT;
	char aside[PATH_BYTES - 16];
	enum err err;

	snprintf(aside, sizeof(aside), "%s/damaged-%llu", dir,
		 (unsigned long long)node_id);
	err = vfs_mkdir(vfs, aside);
	if (!err || err == ERR_EXISTS)
		err = vfs_sync_dir(vfs, dir);
	if (!err)
		err = move_aside(vfs, dir, aside, "MANIFEST");
	if (!err)
		err = sync_both(vfs, dir, aside);
	if (!err)
		err = vfs_list(vfs, dir, see_name, &names);
	for (size_t at = 0; !err && at < names.n;) {
		const char *name = (const char *)names.p + at;

		err = move_aside(vfs, dir, aside, name);
		at += strlen(name) + 1;
	}
	buf_done(&names);
	if (!err)
		err = sync_both(vfs, dir, aside);
	if (!err)
		log_warn("cluster", "set_aside dir=\"%s\"", aside);
	return err;
}

bool identity_has_peers(const struct identity *id)
{
	switch (id->state) {
	case IDENTITY_FORMED:
	case IDENTITY_JOINING:
	case IDENTITY_MEMBER:
	case IDENTITY_REMOVED:
	case IDENTITY_DAMAGED:
		return id->joined || id->roster.count > 1;
	case IDENTITY_NONE:
	case IDENTITY_CLAIMING:
	case IDENTITY_PREPARED:
	case IDENTITY_ALONE:
	case IDENTITY_STATE_MAX:
		break;
	}
	return false;
}
