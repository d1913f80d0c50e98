/*
 * store/forward_file.c - forwarded file operations as bytes.
 *
 * All integers little-endian, gaps zero.
 *
 *  off  size  body of a file operation
 *    0     1  kind: 0 create, 1 remove, 2 rename, 3 link, 4 set, 5 write,
 *             6 allocate, 7 extended attribute, 8 reserve
 *    1     1  zero
 *    2     2  name_bytes
 *    4     4  flags
 *    8     4  set
 *   12     4  fields
 *   16    40  ino, ino2, dir_ino, dir2_ino, new_ino
 *   56    12  mode, uid, gid
 *   68     4  data_bytes
 *   72     8  rdev
 *   80    16  atime ns, mtime ns
 *   96    16  off, length
 *  112     2  path_bytes
 *  114     2  path2_bytes
 *  116     4  zero
 *  120     -  path, path2, name, data
 */
#include "store/forward_internal.h"
#include "store/wire_bytes.h"

enum { FILE_BYTES = 120 };

static uint8_t *add_view(uint8_t *p, struct bytes view)
{
	if (view.n > 0)
		memcpy(p, view.p, view.n);
	return p + view.n;
}

enum err file_encode(struct buf *b, const struct store_file_op *op)
{
	size_t n = op->path.n + op->path2.n + op->name.n + op->data.n;
	uint8_t *p = wire_extend(b, FILE_BYTES + wire_padded(n));

	if (!p)
		return ERR_NOMEM;
	CHECK(op->path.n <= STORE_PATH_BYTES_MAX);
	CHECK(op->path2.n <= STORE_PATH_BYTES_MAX && op->name.n <= UINT16_MAX);
	p[0] = (uint8_t)op->kind;
	put_u16(p + 2, (uint16_t)op->name.n);
	put_u32(p + 4, op->flags);
	put_u32(p + 8, op->set);
	put_u32(p + 12, op->fields);
	put_u64(p + 16, op->ino);
	put_u64(p + 24, op->ino2);
	put_u64(p + 32, op->dir_ino);
	put_u64(p + 40, op->dir2_ino);
	put_u64(p + 48, op->new_ino);
	put_u32(p + 56, op->mode);
	put_u32(p + 60, op->uid);
	put_u32(p + 64, op->gid);
	put_u32(p + 68, (uint32_t)op->data.n);
	put_u64(p + 72, op->rdev);
	put_u64(p + 80, op->atime_ns);
	put_u64(p + 88, op->mtime_ns);
	put_u64(p + 96, op->off);
	put_u64(p + 104, op->length);
	put_u16(p + 112, (uint16_t)op->path.n);
	put_u16(p + 114, (uint16_t)op->path2.n);
	p = add_view(p + FILE_BYTES, op->path);
	p = add_view(p, op->path2);
	p = add_view(p, op->name);
	add_view(p, op->data);
	return OK;
}

static struct bytes take_view(const uint8_t **p, size_t n)
{
	struct bytes view = bytes_of(*p, n);

	*p += n;
	return view;
}

static void take_fields(const uint8_t *p, struct store_file_op *op)
{
	op->kind = (enum store_file_kind)p[0];
	op->flags = get_u32(p + 4);
	op->set = get_u32(p + 8);
	op->fields = get_u32(p + 12);
	op->ino = get_u64(p + 16);
	op->ino2 = get_u64(p + 24);
	op->dir_ino = get_u64(p + 32);
	op->dir2_ino = get_u64(p + 40);
	op->new_ino = get_u64(p + 48);
	op->mode = get_u32(p + 56);
	op->uid = get_u32(p + 60);
	op->gid = get_u32(p + 64);
	op->rdev = get_u64(p + 72);
	op->atime_ns = get_u64(p + 80);
	op->mtime_ns = get_u64(p + 88);
	op->off = get_u64(p + 96);
	op->length = get_u64(p + 104);
}

enum err file_decode(struct bytes *in, struct store_file_op *op)
{
	const uint8_t *p = wire_take(in, FILE_BYTES), *views;
	size_t name_bytes, data_bytes, path_bytes, path2_bytes;

	if (!p || p[0] > STORE_FILE_RESERVE || p[1] || get_u32(p + 116))
		return ERR_INVALID;
	take_fields(p, op);
	name_bytes = get_u16(p + 2);
	data_bytes = get_u32(p + 68);
	path_bytes = get_u16(p + 112);
	path2_bytes = get_u16(p + 114);
	if (path_bytes > STORE_PATH_BYTES_MAX ||
	    path2_bytes > STORE_PATH_BYTES_MAX)
		return ERR_INVALID;
	views = wire_take(in,
			  path_bytes + path2_bytes + name_bytes + data_bytes);
	if (!views)
		return ERR_INVALID;
	op->path = take_view(&views, path_bytes);
	op->path2 = take_view(&views, path2_bytes);
	op->name = take_view(&views, name_bytes);
	op->data = take_view(&views, data_bytes);
	return OK;
}
