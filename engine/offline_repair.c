/*
 * engine/offline_repair.c - make a directory that cannot be opened open again.
 *
 * engine_open refuses when it is not known which keys are hit: an older value
 * could show as if it were the newest. Repair turns such places into losses
 * that the operator has accepted, written in the manifest, so that the next
 * open passes over them. It removes nothing from the data files.
 *
 * A lost manifest is rebuilt from the headers of the files that are there. It
 * is not known any more which of them a merge had replaced; so a key that was
 * deleted before its tombstone was dropped may show again, and this is said.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "engine/engine.h"
#include "engine/offline_internal.h"
#include "engine/state.h"

enum { HEADER_READ_BYTES = FILE_HEADER_BYTES + FRAME_HEADER_BYTES };

static enum err unlink_log_hints(struct offline_dir *d)
{
	const struct manifest *m = &d->manifest;
	char path[DATAFILE_PATH_BYTES];

	for (uint32_t i = 0; i < m->log_count; i++) {
		enum err err;

		datafile_path(&d->owner, DATAFILE_LOG, m->log[i].id, ".hint",
			      path);
		err = vfs_unlink(d->vfs, path);
		if (err && err != ERR_NOT_FOUND)
			return err;
	}
	return OK;
}

/* -------------------------------------------------------------- losses --- */

/* Must x be given up so that the directory opens? */
static bool blocks_open(const struct offline_found *found,
			const struct offline_damage *x)
{
	return !x->value && !offline_is_torn(found, x);
}

static enum err add_losses(struct offline_dir *d,
			   const struct offline_found *found)
{
	struct manifest *m = &d->manifest;
	struct manifest_loss *losses;

	losses = realloc(m->losses,
			 (m->loss_count + found->count + 1) * sizeof(*losses));
	if (!losses)
		return ERR_NOMEM;
	m->losses = losses;
	for (uint32_t i = 0; i < found->count; i++) {
		const struct offline_damage *x = &found->damages[i];

		/* No range for a lost end: the log will go on in there. */
		if (blocks_open(found, x) && !x->tail)
			losses[m->loss_count++] =
				(struct manifest_loss){ x->file_id, x->off,
							x->bytes };
	}
	return OK;
}

static bool file_opens(struct offline_dir *d, enum datafile_kind kind,
		       uint16_t partition, const struct manifest_file *m)
{
	struct datafile *df;

	if (datafile_open(&d->owner, kind, partition, m, &df))
		return false;
	datafile_close(df);
	return true;
}

/* Files that are missing, short or of another node are listed no more. */
static void drop_files(struct offline_dir *d)
{
	struct manifest *m = &d->manifest;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < m->log_count; i++)
		if (file_opens(d, DATAFILE_LOG, 0, &m->log[i]))
			m->log[kept++] = m->log[i];
	m->log_count = kept;
	for (uint32_t p = 0; p < m->partition_count; p++) {
		struct manifest_partition *mp = &m->partitions[p];

		kept = 0;
		for (uint32_t i = 0; i < mp->merged_count; i++)
			if (file_opens(d, DATAFILE_MERGED, (uint16_t)p,
				       &mp->merged[i]))
				mp->merged[kept++] = mp->merged[i];
		mp->merged_count = kept;
	}
}

static uint32_t count_blocking(const struct offline_found *found)
{
	uint32_t n = found->missing_files;

	for (uint32_t i = 0; i < found->count; i++)
		n += blocks_open(found, &found->damages[i]);
	return n;
}

/* What an open would still refuse, to the operator. */
static enum err try_open(struct offline_dir *d)
{
	struct buf why = BUF_INIT;
	struct engine_options o;
	struct engine *e = NULL;
	struct seed seed;
	enum err err = seed_init_os(&seed);

	engine_options_default(&o);
	o.vfs = d->vfs;
	o.dir = d->dir;
	o.seed = &seed;
	o.partitions = d->manifest.partition_count;
	o.min_free_bytes = 0;
	if (d->manifest.log_count &&
	    d->manifest.log[0].bytes >= ENGINE_SEGMENT_BYTES_MIN &&
	    d->manifest.log[0].bytes % 4096 == 0)
		o.segment_bytes = d->manifest.log[0].bytes;
	vfs_close(d->lock); /* the engine takes it */
	d->lock = NULL;
	if (!err)
		err = engine_open(&o, &e, &why);
	if (err)
		offline_sayf(d, "still refused: %.*s", (int)why.n,
			     (const char *)why.p);
	engine_close(e);
	buf_done(&why);
	return err;
}

/*
 * The log goes on where its lost end began, which may lie before the reset of
 * an install: all that is left is dead all the same, what comes is not.
 */
static void lower_resets(struct offline_dir *d,
			 const struct offline_found *found)
{
	struct manifest *m = &d->manifest;

	for (uint32_t p = 0; p < m->partition_count; p++)
		if (m->partitions[p].reset_sequence > found->expected)
			m->partitions[p].reset_sequence = found->expected;
}

/* The end of the log may be among what is given up. */
static void lower_exacts(struct offline_dir *d)
{
	for (uint32_t i = 0; i < d->manifest.partition_count; i++) {
		struct manifest_partition *mp = &d->manifest.partitions[i];

		if (mp->exact_index > mp->base_index)
			mp->exact_index = mp->base_index;
	}
}

/* Places in files become losses; what they may have told is not asked for. */
static enum err give_up_places(struct offline_dir *d,
			       const struct offline_found *found)
{
	enum err err;

	drop_files(d);
	lower_resets(d, found);
	lower_exacts(d);
	err = add_losses(d, found);
	if (!err)
		err = unlink_log_hints(d);
	if (!err)
		err = state_end_wipe(d->vfs, d->dir, &d->manifest);
	if (!err)
		err = manifest_store(d->vfs, d->dir, &d->manifest);
	return err;
}

static enum err give_up(struct offline_dir *d,
			const struct offline_found *found)
{
	uint32_t places = count_blocking(found), states;
	enum err err = offline_states(d, true, &states);

	if (!err && places)
		err = give_up_places(d, found);
	if (!err)
		offline_sayf(d, "%s: %u losses accepted", d->dir,
			     places + states);
	return err ? err : try_open(d);
}

static enum err repair_listed(struct offline_dir *d, bool accept_loss)
{
	struct offline_found found;
	uint32_t blocking, lost;
	enum err err = offline_look(d, &found);

	if (err)
		return err;
	err = offline_states(d, false, &lost);
	if (err) {
		offline_found_done(&found);
		return err;
	}
	blocking = count_blocking(&found) + lost;
	if (blocking == 0)
		offline_sayf(d, "%s: nothing need be given up", d->dir);
	else if (accept_loss)
		err = give_up(d, &found);
	else
		err = ERR_CORRUPT;
	if (blocking > lost)
		offline_sayf(d, "keys that were written there show older "
				"values, and deleted ones may be back");
	if (blocking && !accept_loss)
		offline_sayf(d, "%s: %u places must be given up", d->dir,
			     blocking);
	offline_found_done(&found);
	return err;
}

/* ------------------------------------------------------------- rebuild --- */

/* A data file found by its name. */
struct stray {
	struct manifest_file file;
	enum datafile_kind kind;
	uint16_t partition;
	uint64_t first_sequence; /* log; 0: no frame */
};

struct strays {
	struct offline_dir *d;
	struct stray *list;
	uint32_t count, cap;
	uint32_t partitions, id_max;
};

static enum err add_stray(struct strays *s, const struct stray *x)
{
	if (s->count == s->cap) {
		uint32_t cap = s->cap ? s->cap * 2 : 16;
		struct stray *p = realloc(s->list, cap * sizeof(*p));

		if (!p)
			return ERR_NOMEM;
		s->list = p;
		s->cap = cap;
	}
	s->list[s->count++] = *x;
	return OK;
}

/* Take whose files these are from the first sound header. */
static bool take_header(struct strays *s, const uint8_t *h, struct stray *x)
{
	struct offline_dir *d = s->d;
	static const uint8_t none[16];

	if (get_u32(h + 4) != DATAFILE_MAGIC ||
	    get_u32(h) != crc32c(0, h + 4, FILE_HEADER_BYTES - 4) ||
	    get_u16(h + 8) != DATAFILE_FORMAT_VERSION)
		return false;
	if (memcmp(d->owner.cluster_id, none, 16) == 0) {
		memcpy(d->owner.cluster_id, h + 16, 16);
		d->owner.node_id = get_u64(h + 32);
	}
	x->kind = get_u16(h + 10);
	x->file.id = get_u32(h + 12);
	x->file.salt = get_u64(h + 40);
	x->partition = (uint16_t)get_u32(h + 48);
	return memcmp(d->owner.cluster_id, h + 16, 16) == 0 &&
	       d->owner.node_id == get_u64(h + 32);
}

static void see_first_frame(struct strays *s, const uint8_t *h, struct stray *x)
{
	uint32_t seed = datafile_seed(&s->d->owner, x->kind, x->file.id, 0,
				      x->file.salt);
	struct frame f;

	if (frame_decode(h + FILE_HEADER_BYTES, seed, FILE_HEADER_BYTES,
			 x->file.bytes, &f))
		x->first_sequence = f.sequence;
}

static enum err see_name(void *ctx, const char *name)
{
	struct strays *s = ctx;
	uint8_t h[HEADER_READ_BYTES] = { 0 };
	char path[DATAFILE_PATH_BYTES], want[DATAFILE_NAME_BYTES];
	struct stray x = { 0 };
	struct vfs_file *f;
	size_t n = strlen(name), got;
	enum err err;

	if (n != 12 ||
	    (strcmp(name + 8, ".log") != 0 && strcmp(name + 8, ".dat") != 0))
		return OK;
	snprintf(path, sizeof(path), "%s/%s", s->d->dir, name);
	err = vfs_open(s->d->vfs, path, VFS_READ, &f);
	if (err)
		return err;
	err = vfs_pread(f, h, sizeof(h), 0, &got);
	if (!err)
		err = vfs_size(f, &x.file.bytes);
	vfs_close(f);
	if (err)
		return err;
	if (!take_header(s, h, &x)) {
		offline_sayf(s->d, "%s: unreadable header, left out", path);
		return OK;
	}
	datafile_name(x.kind, x.file.id, want);
	if (strcmp(want, name) != 0) {
		offline_sayf(s->d, "%s: its header says %s, left out", path,
			     want);
		return OK;
	}
	if (x.kind == DATAFILE_LOG)
		see_first_frame(s, h, &x);
	return add_stray(s, &x);
}

/* Records of a stray: which partitions and indices it has. */
static enum err survey_stray(struct strays *s, struct stray *x,
			     struct manifest_partition *parts)
{
	struct walk_item it = { .kind = WALK_FRAME };
	struct datafile *df;
	struct walk *w;
	enum err err;

	err = datafile_open(&s->d->owner, x->kind, x->partition, &x->file, &df);
	if (err)
		return err;
	err = walk_new(df, 0, &w);
	if (err)
		goto out_close;
	while (!err && it.kind != WALK_END) {
		struct manifest_partition *mp;
		const struct record *r = &it.record;

		err = walk_next(w, &it);
		if (err || it.kind != WALK_RECORD ||
		    r->partition >= ENGINE_PARTITIONS_MAX)
			continue;
		if (r->partition >= s->partitions)
			s->partitions = r->partition + 1u;
		mp = &parts[r->partition];
		if (r->type == RECORD_HARD_STATE)
			continue;
		if (x->kind == DATAFILE_MERGED) {
			if (!x->file.min_index || r->index < x->file.min_index)
				x->file.min_index = r->index;
			if (r->index > x->file.max_index)
				x->file.max_index = r->index;
			if (r->index > mp->base_index) {
				mp->base_index = r->index;
				mp->base_term = r->term;
				mp->last_stamp_ns = r->stamp_ns;
			}
		} else if (!mp->exact_index) { /* the first of the log */
			mp->exact_index = r->index;
			if (r->index > mp->base_index + 1) {
				mp->base_index = r->index - 1;
				mp->base_term = r->term;
			}
		}
	}
	walk_free(w);
out_close:
	datafile_close(df);
	return err;
}

static int by_stream(const void *a, const void *b)
{
	const struct stray *x = a, *y = b;

	if (x->kind != y->kind) /* merged files first: they set the base */
		return x->kind == DATAFILE_MERGED ? -1 : 1;
	if (x->first_sequence != y->first_sequence)
		return x->first_sequence < y->first_sequence ? -1 : 1;
	return (x->file.id > y->file.id) - (x->file.id < y->file.id);
}

static enum err fill_manifest(struct strays *s,
			      const struct manifest_partition *parts,
			      struct manifest *m)
{
	enum err err = manifest_init(m, s->partitions ? s->partitions : 1);

	if (err)
		return err;
	memcpy(m->cluster_id, s->d->owner.cluster_id, 16);
	m->node_id = s->d->owner.node_id;
	m->log_floor_sequence = 1;
	m->log = calloc(s->count + 1, sizeof(*m->log));
	if (!m->log)
		goto out_nomem;
	for (uint32_t i = 0; i < m->partition_count; i++) {
		m->partitions[i] = parts[i];
		m->partitions[i].exact_index = 0;
		m->partitions[i].merged =
			calloc(s->count + 1, sizeof(struct manifest_file));
		if (!m->partitions[i].merged)
			goto out_nomem;
	}
	for (uint32_t i = 0; i < s->count; i++) {
		const struct stray *x = &s->list[i];
		struct manifest_partition *mp = &m->partitions[x->partition];

		if (x->file.id >= m->next_file_id)
			m->next_file_id = x->file.id + 1;
		if (x->kind == DATAFILE_MERGED) {
			mp->merged[mp->merged_count++] = x->file;
			continue;
		}
		if (!x->first_sequence)
			continue; /* never written: made anew when needed */
		if (m->log_count == 0)
			m->log_floor_sequence = x->first_sequence;
		else /* frames that a recovery copied do not count twice */
			m->log[m->log_count - 1].max_index =
				x->first_sequence - 1;
		m->log[m->log_count++] = x->file;
	}
	return OK;
out_nomem:
	manifest_done(m);
	return ERR_NOMEM;
}

static enum err rebuild(struct offline_dir *d)
{
	struct strays s = { .d = d };
	struct manifest_partition *parts;
	struct manifest m;
	enum err err;

	parts = calloc(ENGINE_PARTITIONS_MAX, sizeof(*parts));
	if (!parts)
		return ERR_NOMEM;
	err = vfs_list(d->vfs, d->dir, see_name, &s);
	if (!err && s.count)
		qsort(s.list, s.count, sizeof(*s.list), by_stream);
	for (uint32_t i = 0; !err && i < s.count; i++) {
		if (s.list[i].kind == DATAFILE_MERGED &&
		    s.list[i].partition >= s.partitions)
			s.partitions = s.list[i].partition + 1u;
		err = survey_stray(&s, &s.list[i], parts);
	}
	if (!err && s.count == 0)
		err = ERR_NOT_FOUND;
	if (!err)
		err = fill_manifest(&s, parts, &m);
	if (!err) {
		d->manifest = m;
		d->has_manifest = true;
		offline_sayf(d,
			     "%s/MANIFEST is rebuilt: %u files, %u partitions; "
			     "keys deleted long ago may show again, and what "
			     "the node knew of its cluster is lost",
			     d->dir, s.count, m.partition_count);
	}
	free(s.list);
	free(parts);
	return err;
}

enum err offline_repair(struct vfs *vfs, const char *dir, bool accept_loss,
			offline_say_fn *say, void *ctx)
{
	struct offline_dir d;
	enum err err;

	err = offline_enter(&d, vfs, dir, say, ctx);
	if (err == ERR_CORRUPT && !accept_loss) {
		offline_sayf(&d,
			     "the list of files must be rebuilt from what is "
			     "there: keys deleted long ago may show again");
	} else if (err == ERR_CORRUPT) {
		err = rebuild(&d);
		if (!err)
			err = manifest_store(vfs, dir, &d.manifest);
		if (!err)
			err = repair_listed(&d, true);
		if (!err && d.lock)
			err = try_open(&d);
	} else if (!err) {
		err = repair_listed(&d, accept_loss);
	}
	offline_leave(&d);
	return err;
}
