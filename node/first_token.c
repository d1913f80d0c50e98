/*
 * node/first_token.c - see first_token.h.
 */
#include "node/first_token.h"

#include <stdio.h>

static const char head[] = "raftcask token init 1\n";

void first_token_path(const char *dir, char path[FIRST_TOKEN_PATH_BYTES])
{
	snprintf(path, FIRST_TOKEN_PATH_BYTES, "%s/token.init", dir);
}

static enum err write_file(struct vfs *vfs, const char *path, struct bytes text)
{
	struct vfs_file *f;
	enum err err;

	err = vfs_open(vfs, path, VFS_WRITE | VFS_CREATE | VFS_TRUNC, &f);
	if (err)
		return err;
	err = vfs_pwrite(f, text.p, text.n, 0);
	if (!err)
		err = vfs_sync(f);
	vfs_close(f);
	return err;
}

enum err first_token_save(struct vfs *vfs, const char *dir,
			  const struct store_token *t)
{
	char path[FIRST_TOKEN_PATH_BYTES], tmp[FIRST_TOKEN_PATH_BYTES + 4];
	struct buf text = BUF_INIT;
	enum err err = buf_addf(&text, "%s%s ", head, t->name);

	first_token_path(dir, path);
	snprintf(tmp, sizeof(tmp), "%s.tmp", path);
	for (int i = 0; !err && i < STORE_TOKEN_HASH_BYTES; i++)
		err = buf_addf(&text, "%02x", t->hash[i]);
	if (!err)
		err = buf_addf(&text, "\n");
	if (!err)
		err = write_file(vfs, tmp, buf_bytes(&text));
	if (!err)
		err = vfs_rename(vfs, tmp, path);
	if (!err)
		err = vfs_sync_dir(vfs, dir);
	buf_done(&text);
	return err;
}

static int digit(uint8_t c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
				      : -1;
}

static enum err parse(struct bytes text, struct store_token *t)
{
	struct bytes begin = bytes_str(head);
	size_t n;

	*t = (struct store_token){ .right = STORE_RIGHT_ADMIN };
	if (!bytes_begins(text, begin))
		return ERR_INVALID;
	text = bytes_of(text.p + begin.n, text.n - begin.n);
	for (n = 0; n < text.n && text.p[n] != ' '; n++) {
		if (n + 1 >= sizeof(t->name))
			return ERR_INVALID;
		t->name[n] = (char)text.p[n];
	}
	if (!store_token_name_is_sound(t->name) ||
	    text.n != n + 1 + 2 * STORE_TOKEN_HASH_BYTES + 1 ||
	    text.p[text.n - 1] != '\n')
		return ERR_INVALID;
	for (int i = 0; i < STORE_TOKEN_HASH_BYTES; i++) {
		int high = digit(text.p[n + 1 + 2 * (size_t)i]);
		int low = digit(text.p[n + 2 + 2 * (size_t)i]);

		if (high < 0 || low < 0)
			return ERR_INVALID;
		t->hash[i] = (uint8_t)(high << 4 | low);
	}
	return OK;
}

enum err first_token_load(struct vfs *vfs, const char *dir,
			  struct store_token *t)
{
	char path[FIRST_TOKEN_PATH_BYTES];
	struct buf text = BUF_INIT;
	enum err err;

	first_token_path(dir, path);
	err = vfs_read_all(vfs, path, FIRST_TOKEN_FILE_BYTES_MAX, &text);
	if (err == ERR_TOO_LARGE)
		err = ERR_INVALID;
	if (!err)
		err = parse(buf_bytes(&text), t);
	buf_done(&text);
	return err;
}

enum err first_token_drop(struct vfs *vfs, const char *dir)
{
	char path[FIRST_TOKEN_PATH_BYTES];
	enum err err;

	first_token_path(dir, path);
	err = vfs_unlink(vfs, path);
	return err ? err : vfs_sync_dir(vfs, dir);
}
