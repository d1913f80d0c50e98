/*
 * engine/state.c - the file "state": term, vote and the log's end in their
 * second place.
 */
#include "engine/state.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/crc32c.h"

enum {
	SLOT_HEADER_BYTES = 64,
	SLOT_STATE_BYTES = 16,
	SLOT_ALIGN = 512,
	END_MARK_BYTES = 64,
};

static uint64_t slot_bytes_of(uint32_t partitions)
{
	uint64_t n =
		SLOT_HEADER_BYTES + (uint64_t)partitions * SLOT_STATE_BYTES;

	return (n + SLOT_ALIGN - 1) / SLOT_ALIGN * SLOT_ALIGN;
}

/* Not by the manifest: another thread may be exchanging it. */
static uint64_t slot_bytes(const struct engine *e)
{
	return slot_bytes_of(e->o.partitions);
}

static void state_path(const char *dir, char path[DATAFILE_PATH_BYTES])
{
	snprintf(path, DATAFILE_PATH_BYTES, "%s/state", dir);
}

static bool is_blank(const uint8_t *slot, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (slot[i])
			return false;
	return true;
}

/* One slot; one that is damaged or torn is skipped. */
static enum err read_slot(struct engine *e, const uint8_t *slot,
			  struct state_place *s)
{
	uint32_t n = e->o.partitions;

	if (get_u32(slot + 4) != STATE_MAGIC ||
	    get_u32(slot) != crc32c(0, slot + 4, slot_bytes(e) - 4))
		return OK;
	if (get_u32(slot + 8) > STATE_FORMAT_VERSION)
		return ERR_VERSION;
	if (get_u64(slot + 24) != e->owner.node_id ||
	    memcmp(slot + 32, e->owner.cluster_id, 16) != 0 ||
	    get_u32(slot + 12) != n)
		return ERR_FOREIGN;
	s->slots++;
	if (get_u64(slot + 16) <= s->sequence)
		return OK;
	s->sequence = get_u64(slot + 16);
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *p = slot + SLOT_HEADER_BYTES +
				   (uint64_t)i * SLOT_STATE_BYTES;

		s->states[i].term = get_u64(p);
		s->states[i].vote = get_u64(p + 8);
	}
	return OK;
}

enum err state_read(struct engine *e, struct state_place *s)
{
	char path[DATAFILE_PATH_BYTES];
	uint64_t n = slot_bytes(e);
	struct vfs_file *f;
	uint8_t *slots;
	bool unread = false;
	size_t got = 0;
	enum err err;

	*s = (struct state_place){ 0 };
	state_path(e->dir, path);
	err = vfs_open(e->o.vfs, path, VFS_READ, &f);
	if (err)
		return err == ERR_NOT_FOUND ? OK : err;
	s->present = true;
	slots = calloc(2, n);
	s->states = calloc(e->o.partitions, sizeof(*s->states));
	err = slots && s->states ? OK : ERR_NOMEM;
	if (!err)
		err = vfs_pread(f, slots, 2 * n, 0, &got);
	unread = err == ERR_IO; /* an unreadable place is a damaged one */
	if (unread)
		err = OK;
	if (!err)
		err = read_slot(e, slots, s);
	if (!err)
		err = read_slot(e, slots + n, s);
	s->sure = s->slots == 2 || (s->slots == 1 && s->sequence == 1 && !err &&
				    !unread && is_blank(slots, n));
	free(slots);
	vfs_close(f);
	if (err) {
		free(s->states);
		s->states = NULL;
	}
	return err;
}

enum err state_open(struct engine *e, uint64_t sequence)
{
	char path[DATAFILE_PATH_BYTES];
	enum err err;

	state_path(e->dir, path);
	err = vfs_open(e->o.vfs, path, VFS_WRITE | VFS_CREATE, &e->state_file);
	if (!err)
		e->state_sequence = sequence;
	return err;
}

enum err state_write(struct engine *e)
{
	uint64_t n = slot_bytes(e);
	uint64_t sequence = e->state_sequence + 1;
	uint8_t *slot = calloc(1, n);
	enum err err;

	if (!slot)
		return ERR_NOMEM;
	CHECK(e->state_file);
	put_u32(slot + 4, STATE_MAGIC);
	put_u32(slot + 8, STATE_FORMAT_VERSION);
	put_u32(slot + 12, e->o.partitions);
	put_u64(slot + 16, sequence);
	put_u64(slot + 24, e->owner.node_id);
	memcpy(slot + 32, e->owner.cluster_id, 16);
	for (uint32_t i = 0; i < e->o.partitions; i++) {
		uint8_t *p = slot + SLOT_HEADER_BYTES +
			     (uint64_t)i * SLOT_STATE_BYTES;

		put_u64(p, e->partitions[i].hard_state.term);
		put_u64(p + 8, e->partitions[i].hard_state.vote);
	}
	put_u32(slot, crc32c(0, slot + 4, n - 4));
	err = vfs_pwrite(e->state_file, slot, n, (sequence & 1) * n);
	if (!err)
		err = vfs_sync(e->state_file);
	if (!err)
		e->state_sequence = sequence;
	free(slot);
	return err;
}

/* ------------------------------------------------------------ end mark --- */

enum err state_end_read(struct vfs *vfs, const char *dir,
			const struct manifest *m, uint64_t *sequence)
{
	uint8_t mark[END_MARK_BYTES];
	char path[DATAFILE_PATH_BYTES];
	struct vfs_file *f;
	size_t got = 0;
	enum err err;

	*sequence = 0;
	state_path(dir, path);
	err = vfs_open(vfs, path, VFS_READ, &f);
	if (err)
		return err == ERR_NOT_FOUND ? OK : err;
	err = vfs_pread(f, mark, sizeof(mark),
			2 * slot_bytes_of(m->partition_count), &got);
	vfs_close(f);
	if (err == ERR_IO || (!err && got < sizeof(mark)))
		return OK; /* an unreadable claim is none */
	if (err)
		return err;
	if (get_u32(mark + 4) == STATE_END_MAGIC &&
	    get_u32(mark) == crc32c(0, mark + 4, sizeof(mark) - 4) &&
	    get_u64(mark + 8) == m->node_id &&
	    memcmp(mark + 16, m->cluster_id, 16) == 0)
		*sequence = get_u64(mark + 32);
	return OK;
}

enum err state_end_write(struct engine *e, uint64_t sequence, bool sync)
{
	uint8_t mark[SLOT_ALIGN] = { 0 };
	enum err err;

	CHECK(e->state_file);
	CHECK(sequence <= e->log.synced_sequence);
	put_u32(mark + 4, STATE_END_MAGIC);
	put_u64(mark + 8, e->owner.node_id);
	memcpy(mark + 16, e->owner.cluster_id, 16);
	put_u64(mark + 32, sequence);
	put_u32(mark, crc32c(0, mark + 4, END_MARK_BYTES - 4));
	err = vfs_pwrite(e->state_file, mark, sizeof(mark), 2 * slot_bytes(e));
	if (!err && sync)
		err = vfs_sync(e->state_file);
	return err;
}

enum err state_end_wipe(struct vfs *vfs, const char *dir,
			const struct manifest *m)
{
	uint8_t zeros[SLOT_ALIGN] = { 0 };
	char path[DATAFILE_PATH_BYTES];
	struct vfs_file *f;
	enum err err;

	state_path(dir, path);
	err = vfs_open(vfs, path, VFS_WRITE, &f);
	if (err)
		return err == ERR_NOT_FOUND ? OK : err;
	err = vfs_pwrite(f, zeros, sizeof(zeros),
			 2 * slot_bytes_of(m->partition_count));
	if (!err)
		err = vfs_sync(f);
	vfs_close(f);
	return err;
}
