/*
 * fsd/orphan.c - a file whose last name is gone, while somebody has it open.
 *
 * The store forgets it; this mount does not. When the entry that removes it is
 * about to be applied, the content is pinned as it is; what is written to it
 * afterwards stays in memory, in blocks over the pinned value, and ends with
 * the last handle. Of what nobody has open only the attributes are kept, for
 * who stands in a removed directory.
 *
 * A file of several names that loses one is taken down too: the same entry may
 * take the others. It is an orphan only when gone says so. So is every open
 * file before a whole state is installed, for it may not be in that one. Or it
 * has been renamed meanwhile, which nobody tells: what is then kept can be
 * read, but not written to, lest it be lost.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "fsd/internal.h"

enum { BLOCK_BYTES = 64 << 10 };

struct orphan {
	pthread_mutex_t lock;
	struct store_file file;
	struct store_value *value; /* NULL: the content was not kept         */
	bool readable;		   /* of a regular file that was open        */
	bool sealed;		   /* may be a file by another name          */
	uint64_t bytes;		   /* size now                               */
	uint64_t value_bytes; /* so much of value still shows                */
	uint8_t **blocks;     /* over value; NULL: as value, or zeros        */
	size_t block_count;
};

/*
 * Is path, which is file, node as it was made? Not one whose creation is still
 * deferred, unless an entry has brought that and its call has yet to hear of
 * it. The table is locked.
 */
static bool is_made(const struct node *node, const struct store_file *file)
{
	return !node->defer || node->defer->kind == DEFER_TRUNCATE ||
	       node->ino == file->ino;
}

/*
 * What is read of node while it is still there. NULL: nothing can be kept. What
 * is being truncated just now is whole: the call that does it will know. The
 * content of what has one name only if somebody has it open, else it would be
 * pinned by every unlink.
 */
static struct orphan *take_down(struct fsd *f, struct node *node,
				struct bytes path)
{
	struct orphan *o = calloc(1, sizeof(*o));
	bool open, cut, made;

	if (!o || store_file_stat(f->store, path, &o->file)) {
		free(o);
		return NULL;
	}
	table_lock(&f->table);
	made = is_made(node, &o->file);
	open = node->opens > 0;
	cut = node->defer && node->defer->kind == DEFER_TRUNCATE &&
	      !node->defer->busy;
	table_unlock(&f->table);
	if (!made) {
		free(o);
		return NULL;
	}
	pthread_mutex_init(&o->lock, NULL);
	if ((open || o->file.nlink > 1) && S_ISREG(o->file.mode))
		o->readable = !store_get(f->store, path, &o->value);
	o->bytes = o->value_bytes = cut ? 0 : o->file.bytes;
	return o;
}

/* Nothing but o knows node from now on. The table is locked. */
static void set_gone(struct fsd *f, struct node *node, struct orphan *o)
{
	node->orphan = o;
	node->gone = true;
	defer_removed(f, node);
	if (node->is_unnamed || o->file.nlink > 1) /* nobody else says so */
		tell(f, TELL_ATTR, node->id, NULL, bytes_of(NULL, 0), 0, 0);
	o->file.nlink = 0;
}

/* Whether it is gone turns out when the entry is applied. Table locked. */
static void add_leaving(struct fsd *f, struct node *node, struct orphan *o)
{
	node->orphan = o;
	node->next_leaving = f->leaving;
	f->leaving = node;
	table_ref(node);
}

/* node has been opened since o was taken down. The table is locked. */
static bool is_missed(const struct node *node, const struct orphan *o)
{
	return node->opens && !o->readable && S_ISREG(o->file.mode);
}

void orphan_make(struct fsd *f, struct node *node, struct bytes path)
{
	struct orphan *o = take_down(f, node, path);

	if (!o)
		return;
	table_lock(&f->table);
	for (int i = 0; i < FSD_STALE_TRIES && is_missed(node, o); i++) {
		table_unlock(&f->table);
		orphan_free(f, o);
		o = take_down(f, node, path);
		if (!o)
			return;
		table_lock(&f->table);
	}
	/* Who opens it from now on sees that it is gone, or is leaving. */
	if (node->gone || node->orphan)
		orphan_free(f, o);
	else if (o->file.nlink < 2 || S_ISDIR(o->file.mode))
		set_gone(f, node, o);
	else if (!o->readable)
		orphan_free(f, o);
	else
		add_leaving(f, node, o);
	table_unlock(&f->table);
}

void orphan_dir(struct fsd *f, struct node *node)
{
	struct orphan *o = node->gone ? NULL : calloc(1, sizeof(*o));

	if (!o)
		return;
	pthread_mutex_init(&o->lock, NULL);
	o->file.ino = node->ino;
	o->file.mode = S_IFDIR;
	o->file.implicit = true;
	set_gone(f, node, o);
}

void orphan_keep(struct fsd *f, struct node *node, struct bytes path)
{
	struct orphan *o = take_down(f, node, path);

	if (!o)
		return;
	o->sealed = true;
	table_lock(&f->table);
	if (node->gone || node->orphan || !o->readable)
		orphan_free(f, o);
	else
		add_leaving(f, node, o);
	table_unlock(&f->table);
}

/* Has node, which had several names, none any more? */
static bool is_gone(struct fsd *f, struct node *node)
{
	struct buf path = BUF_INIT;
	struct store_file file;
	uint64_t ino;
	enum err err;

	table_lock(&f->table);
	err = table_path(&f->table, node, &path);
	ino = node->ino;
	table_unlock(&f->table);
	if (!err)
		err = store_file_stat_ino(f->store, buf_bytes(&path), ino,
					  &file);
	buf_done(&path);
	return err == ERR_STALE || err == ERR_NOT_FOUND || err == ERR_NOT_DIR;
}

void orphans_settle(struct fsd *f)
{
	struct node *node;

	while ((node = f->leaving)) {
		bool gone = is_gone(f, node);
		struct orphan *o = node->orphan;

		f->leaving = node->next_leaving;
		table_lock(&f->table);
		node->orphan = NULL;
		if (gone)
			set_gone(f, node, o);
		else
			orphan_free(f, o);
		table_unref(&f->table, node);
		table_unlock(&f->table);
	}
}

void orphan_free(struct fsd *f, struct orphan *o)
{
	if (!o)
		return;
	for (size_t i = 0; i < o->block_count; i++) {
		if (o->blocks[i])
			atomic_fetch_sub(&f->orphan_bytes, BLOCK_BYTES);
		free(o->blocks[i]);
	}
	free(o->blocks);
	store_value_done(o->value);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

void orphan_release(struct orphan *o)
{
	pthread_mutex_lock(&o->lock);
	store_value_done(o->value);
	o->value = NULL;
	o->readable = false;
	pthread_mutex_unlock(&o->lock);
}

void orphan_attr(struct fsd *f, struct orphan *o, struct stat *st)
{
	pthread_mutex_lock(&o->lock);
	answer_stat(f, &o->file, 0, st);
	if (!S_ISDIR(st->st_mode))
		st->st_size = (off_t)o->bytes;
	pthread_mutex_unlock(&o->lock);
}

bool orphan_can_open(const struct orphan *o)
{
	return o->readable;
}

uint64_t orphan_bytes(struct orphan *o)
{
	uint64_t bytes;

	pthread_mutex_lock(&o->lock);
	bytes = o->bytes;
	pthread_mutex_unlock(&o->lock);
	return bytes;
}

/* -------------------------------------------------------------------- read */

/* n bytes at off, where no block lies: of value, then zeros. */
static enum err read_value(struct orphan *o, uint64_t off, uint8_t *dst,
			   size_t n)
{
	struct bytes piece;
	enum err err;

	while (n && off < o->value_bytes) {
		err = store_value_read(o->value, off, &piece);
		if (err)
			return err;
		if (!piece.n)
			break;
		piece.n = piece.n < n ? piece.n : n;
		if (piece.n > o->value_bytes - off)
			piece.n = (size_t)(o->value_bytes - off);
		memcpy(dst, piece.p, piece.n);
		off += piece.n;
		dst += piece.n;
		n -= piece.n;
	}
	memset(dst, 0, n);
	return OK;
}

static const uint8_t *block_at(const struct orphan *o, uint64_t off)
{
	size_t i = (size_t)(off / BLOCK_BYTES);

	return i < o->block_count ? o->blocks[i] : NULL;
}

/* Bytes from off to the end of its block, at most n. */
static size_t in_block(uint64_t off, size_t n)
{
	size_t left = BLOCK_BYTES - (size_t)(off % BLOCK_BYTES);

	return left < n ? left : n;
}

enum err orphan_read(struct orphan *o, uint64_t off, void *dst, size_t n,
		     size_t *got)
{
	enum err err = OK;
	size_t done = 0;

	pthread_mutex_lock(&o->lock);
	if (!o->readable)
		err = ERR_STALE;
	if (off >= o->bytes)
		n = 0;
	else if (n > o->bytes - off)
		n = (size_t)(o->bytes - off);
	while (!err && done < n) {
		const uint8_t *block = block_at(o, off + done);
		size_t some = in_block(off + done, n - done);
		uint8_t *to = (uint8_t *)dst + done;

		if (block)
			memcpy(to, block + (off + done) % BLOCK_BYTES, some);
		else
			err = read_value(o, off + done, to, some);
		done += some;
	}
	pthread_mutex_unlock(&o->lock);
	if (!err)
		*got = n;
	return err;
}

/* ------------------------------------------------------------------- write */

static bool can_change(const struct orphan *o)
{
	return o->readable && !o->sealed;
}

static enum err make_room(struct orphan *o, size_t count)
{
	uint8_t **blocks;

	if (count <= o->block_count)
		return OK;
	blocks = realloc(o->blocks, count * sizeof(*blocks));
	if (!blocks)
		return ERR_NOMEM;
	memset(blocks + o->block_count, 0,
	       (count - o->block_count) * sizeof(*blocks));
	o->blocks = blocks;
	o->block_count = count;
	return OK;
}

/* The block of off, to be written to. Locked. */
static enum err own_block(struct fsd *f, struct orphan *o, uint64_t off,
			  uint8_t **block)
{
	size_t i = (size_t)(off / BLOCK_BYTES);
	enum err err = make_room(o, i + 1);
	uint8_t *p;

	if (err)
		return err;
	*block = o->blocks[i];
	if (*block)
		return OK;
	if (atomic_load(&f->orphan_bytes) >= FSD_ORPHAN_BYTES_MAX)
		return ERR_NOSPC;
	p = malloc(BLOCK_BYTES);
	if (!p)
		return ERR_NOMEM;
	err = read_value(o, (uint64_t)i * BLOCK_BYTES, p, BLOCK_BYTES);
	if (err) {
		free(p);
		return err;
	}
	atomic_fetch_add(&f->orphan_bytes, BLOCK_BYTES);
	*block = o->blocks[i] = p;
	return OK;
}

/* src NULL: zeros. Locked. */
static enum err put(struct fsd *f, struct orphan *o, uint64_t off,
		    const uint8_t *src, size_t n)
{
	size_t done = 0;

	while (done < n) {
		size_t some = in_block(off + done, n - done);
		uint8_t *block;
		enum err err = own_block(f, o, off + done, &block);

		if (err)
			return err;
		block += (off + done) % BLOCK_BYTES;
		if (src)
			memcpy(block, src + done, some);
		else
			memset(block, 0, some);
		done += some;
	}
	return OK;
}

static void touch(struct fsd *f, struct orphan *o)
{
	o->file.mtime_ns = o->file.ctime_ns = clock_wall_ns(f->clock);
}

enum err orphan_write(struct fsd *f, struct orphan *o, uint64_t off,
		      bool append, struct bytes data)
{
	enum err err = OK;

	pthread_mutex_lock(&o->lock);
	if (append)
		off = o->bytes;
	if (!can_change(o))
		err = ERR_STALE;
	else if (off > f->o.max_value_bytes ||
		 data.n > f->o.max_value_bytes - off)
		err = ERR_TOO_LARGE;
	else
		err = put(f, o, off, data.p, data.n);
	if (!err && off + data.n > o->bytes)
		o->bytes = off + data.n;
	if (!err)
		touch(f, o);
	pthread_mutex_unlock(&o->lock);
	return err;
}

/* What lies behind the end is zero when it shows again. Locked. */
static enum err cut(struct fsd *f, struct orphan *o, uint64_t bytes)
{
	size_t keep = (size_t)((bytes + BLOCK_BYTES - 1) / BLOCK_BYTES);

	for (size_t i = keep; i < o->block_count; i++) {
		if (o->blocks[i])
			atomic_fetch_sub(&f->orphan_bytes, BLOCK_BYTES);
		free(o->blocks[i]);
		o->blocks[i] = NULL;
	}
	if (bytes < o->value_bytes)
		o->value_bytes = bytes;
	if (bytes % BLOCK_BYTES && block_at(o, bytes))
		return put(f, o, bytes, NULL, in_block(bytes, BLOCK_BYTES));
	return OK;
}

enum err orphan_cut(struct fsd *f, struct orphan *o, uint64_t bytes)
{
	enum err err = OK;

	pthread_mutex_lock(&o->lock);
	if (!can_change(o))
		err = ERR_STALE;
	else if (bytes > f->o.max_value_bytes)
		err = ERR_TOO_LARGE;
	else if (bytes < o->bytes)
		err = cut(f, o, bytes);
	if (!err) {
		o->bytes = bytes;
		touch(f, o);
	}
	pthread_mutex_unlock(&o->lock);
	return err;
}

enum err orphan_zero(struct fsd *f, struct orphan *o, uint64_t off, uint64_t n)
{
	enum err err = OK;

	pthread_mutex_lock(&o->lock);
	if (!can_change(o))
		err = ERR_STALE;
	else if (off < o->bytes)
		err = put(f, o, off, NULL,
			  (size_t)(n < o->bytes - off ? n : o->bytes - off));
	if (!err)
		touch(f, o);
	pthread_mutex_unlock(&o->lock);
	return err;
}

void orphan_set(struct fsd *f, struct orphan *o, const struct store_file_op *op)
{
	struct store_file *file = &o->file;
	uint64_t now = clock_wall_ns(f->clock);

	pthread_mutex_lock(&o->lock);
	if (op->set & STORE_SET_MODE)
		file->mode = (file->mode & S_IFMT) | (op->mode & 07777);
	if (op->set & STORE_SET_UID)
		file->uid = op->uid;
	if (op->set & STORE_SET_GID)
		file->gid = op->gid;
	file->fields |= op->set & STORE_SET_MODE ? STORE_HAS_MODE : 0;
	file->fields |= op->set & STORE_SET_UID ? STORE_HAS_UID : 0;
	file->fields |= op->set & STORE_SET_GID ? STORE_HAS_GID : 0;
	if (op->set & (STORE_SET_ATIME | STORE_SET_ATIME_NOW))
		file->atime_ns = op->set & STORE_SET_ATIME ? op->atime_ns : now;
	if (op->set & (STORE_SET_MTIME | STORE_SET_MTIME_NOW))
		file->mtime_ns = op->set & STORE_SET_MTIME ? op->mtime_ns : now;
	file->ctime_ns = now;
	pthread_mutex_unlock(&o->lock);
}
