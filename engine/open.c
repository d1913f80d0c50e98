/*
 * engine/open.c - from a directory to an engine, and back.
 *
 * The ladder of engine_open: lock, manifest (or a new directory), leftovers
 * removed, files opened, stream judged, the unproven copied to safety, state
 * built, writer started. Each rung is undone by close_engine.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "engine/frame.h"
#include "engine/keep.h"
#include "engine/load.h"
#include "engine/readback.h"
#include "engine/segment.h"
#include "engine/settle.h"
#include "engine/state.h"

enum { RECOVER_ROUNDS_MAX = 3 };

/* -------------------------------------------------------- the directory -- */

/* "0123abcd.log", also with .hint, .tmp behind: its id and kind. */
static bool parse_name(const char *name, uint32_t *id, enum datafile_kind *kind,
		       const char **rest)
{
	*id = 0;
	for (int i = 0; i < 8; i++) {
		char c = name[i];
		int digit = c >= '0' && c <= '9'   ? c - '0'
			    : c >= 'a' && c <= 'f' ? c - 'a' + 10
						   : -1;

		if (digit < 0)
			return false;
		*id = *id << 4 | (uint32_t)digit;
	}
	if (strncmp(name + 8, ".log", 4) == 0)
		*kind = DATAFILE_LOG;
	else if (strncmp(name + 8, ".dat", 4) == 0)
		*kind = DATAFILE_MERGED;
	else
		return false;
	*rest = name + 12;
	return **rest == 0 || strcmp(*rest, ".hint") == 0 ||
	       strcmp(*rest, ".tmp") == 0 || strcmp(*rest, ".hint.tmp") == 0;
}

static bool is_listed(const struct manifest *m, enum datafile_kind kind,
		      uint32_t id)
{
	if (kind == DATAFILE_LOG) {
		for (uint32_t i = 0; i < m->log_count; i++)
			if (m->log[i].id == id)
				return true;
		return false;
	}
	for (uint32_t p = 0; p < m->partition_count; p++)
		for (uint32_t i = 0; i < m->partitions[p].merged_count; i++)
			if (m->partitions[p].merged[i].id == id)
				return true;
	return false;
}

/* Names found in the directory, one behind the other with their NULs. */
struct listing {
	const struct manifest *m; /* NULL: only look for data files */
	struct buf leftovers;
	bool data_files;
};

static enum err see_name(void *ctx, const char *name)
{
	struct listing *s = ctx;
	enum datafile_kind kind;
	const char *rest;
	size_t n = strlen(name);
	uint32_t id;
	bool leftover;

	if (parse_name(name, &id, &kind, &rest)) {
		s->data_files |= *rest == 0;
		leftover = s->m &&
			   (!is_listed(s->m, kind, id) || strstr(rest, ".tmp"));
	} else {
		leftover = strcmp(name, "MANIFEST.tmp") == 0 ||
			   (strncmp(name, "spare-", 6) == 0 && n > 4 &&
			    strcmp(name + n - 4, ".tmp") == 0);
	}
	return leftover ? buf_add(&s->leftovers, name, n + 1) : OK;
}

static enum err remove_leftovers(struct engine *e)
{
	struct listing s = { .m = &e->manifest, .leftovers = BUF_INIT };
	enum err err = vfs_list(e->o.vfs, e->dir, see_name, &s);

	for (size_t at = 0; !err && at < s.leftovers.n;) {
		const char *name = (const char *)s.leftovers.p + at;
		char path[DATAFILE_PATH_BYTES];

		snprintf(path, sizeof(path), "%s/%s", e->dir, name);
		err = vfs_unlink(e->o.vfs, path);
		if (err == ERR_NOT_FOUND)
			err = OK;
		log_info("engine", "leftover_removed file=%s", name);
		at += strlen(name) + 1;
	}
	buf_done(&s.leftovers);
	return err;
}

/* Make the name of the directory itself durable. */
static enum err sync_parent(struct engine *e)
{
	char path[DATAFILE_PATH_BYTES];
	char *slash;
	enum err err;

	snprintf(path, sizeof(path), "%s", e->dir);
	for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
		path[n - 1] = 0;
	slash = strrchr(path, '/');
	if (!slash)
		snprintf(path, sizeof(path), ".");
	else
		slash[slash == path] = 0;
	err = vfs_sync_dir(e->o.vfs, path);
	/* Who may not read the parent did not make the directory either. */
	return err == ERR_PERMISSION ? OK : err;
}

/* The cluster that a new directory belongs to: one of its own by default. */
static void set_cluster_id(struct engine *e, uint8_t id[16])
{
	static const uint8_t none[16];

	put_u64(id, seed_next(e->o.seed));
	put_u64(id + 8, seed_next(e->o.seed));
	if (memcmp(e->o.cluster_id, none, sizeof(none)) != 0)
		memcpy(id, e->o.cluster_id, sizeof(none));
}

static void say_rebuild(struct load *l)
{
	if (!l->e->o.has_peers)
		load_say(l,
			 "; `raftcask repair --data-dir %s` can rebuild it "
			 "from the files",
			 l->e->dir);
}

/* Who the directory belongs to, for good: what any thread may look at. */
static void know_owner(struct engine *e)
{
	memcpy(e->owner.cluster_id, e->manifest.cluster_id, 16);
	e->owner.node_id = e->manifest.node_id;
}

/* A directory without a manifest: new, unless data lies in it. */
static enum err make_directory(struct engine *e, struct load *l)
{
	struct listing s = { .leftovers = BUF_INIT };
	struct manifest m;
	enum err err = vfs_list(e->o.vfs, e->dir, see_name, &s);

	buf_done(&s.leftovers);
	if (err)
		return err;
	if (s.data_files) {
		load_say(l, "%s holds data files but no MANIFEST", e->dir);
		say_rebuild(l);
		return ERR_CORRUPT;
	}
	err = sync_parent(e);
	if (!err)
		err = manifest_init(&m, e->o.partitions);
	if (err)
		return err;
	set_cluster_id(e, m.cluster_id);
	m.node_id = e->o.node_id ? e->o.node_id : 1;
	m.next_file_id = 1;
	m.log_floor_sequence = 1;
	e->manifest = m;
	know_owner(e);
	err = state_open(e, 0);
	if (!err)
		err = state_write(e);
	if (!err)
		err = manifest_store(e->o.vfs, e->dir, &m);
	return err;
}

static enum err load_directory(struct engine *e, struct load *l)
{
	enum err err = manifest_load(e->o.vfs, e->dir, &e->manifest);

	if (err == ERR_NOT_FOUND) {
		err = make_directory(e, l);
	} else if (err == ERR_CORRUPT) {
		load_say(l, "%s/MANIFEST is damaged", e->dir);
		say_rebuild(l);
	} else if (!err && e->manifest.partition_count != e->o.partitions) {
		load_say(l,
			 "%s was made with %u partitions, not %u; the number "
			 "cannot be changed",
			 e->dir, e->manifest.partition_count, e->o.partitions);
		err = ERR_INVALID;
	} else if (err) {
		load_say(l, "%s/MANIFEST: %s", e->dir, err_text(err));
	}
	if (err)
		return err;
	if (e->manifest.log_floor_sequence == 0)
		e->manifest.log_floor_sequence = 1;
	know_owner(e);
	return remove_leftovers(e);
}

/* ---------------------------------------------------------- the ladder --- */

/* Look at the files until nothing needs to be recovered. */
static enum err load_clean(struct engine *e, struct load *l)
{
	for (int round = 0; round < RECOVER_ROUNDS_MAX; round++) {
		enum err err = load_files(l);

		if (!err)
			err = load_scan(l);
		if (!err)
			err = load_judge(l);
		if (!err && load_hints_hide_state(l)) {
			err = load_scan_hinted(l);
			if (!err)
				err = load_judge(l);
		}
		if (err)
			return err;
		if (l->cut) {
			struct datafile *df = l->log[l->cut_segment].df;

			e->cut_count++;
			e->cut_off = l->cut_off;
			e->cut_bytes = l->cut_bytes;
			datafile_name(df->kind, df->id, e->cut_file);
			log_warn("engine", "torn_tail_cut file=%s off=%llu",
				 e->cut_file, (unsigned long long)e->cut_off);
		}
		if (l->clean || l->log_count == 0)
			return OK;
		err = load_rescan(l, l->kept);
		if (!err)
			err = load_terms(l);
		if (!err)
			err = load_hard_state(l);
		if (!err)
			err = load_recover(l);
		if (err)
			return err;
		load_done(l);
	}
	load_say(l, "%s: recovery found no end", e->dir);
	return ERR_CORRUPT;
}

/*
 * Marks behind the last proven frame are the proof of that frame: without them
 * it would be cut as torn should it decay. What is seen of them may be only in
 * the page cache. They are written again as they are and synced; then they are
 * proven too, and the writer goes on behind them.
 */
static enum err prove_marks(struct load *l)
{
	const struct load_segment *s = &l->log[l->active];
	uint8_t mark[FRAME_ALIGN_BYTES];
	enum err err = OK;

	if (s->hint || s->scan.end_off <= l->active_off)
		return OK;
	for (uint64_t off = l->active_off; !err && off < s->scan.end_off;
	     off += sizeof(mark)) {
		err = datafile_read(s->df, off, sizeof(mark), mark);
		if (!err)
			err = vfs_pwrite(s->df->f, mark, sizeof(mark), off);
	}
	if (!err)
		err = vfs_sync(s->df->f);
	if (err)
		return err;
	l->proven = s->scan.last_sequence;
	l->active_off = s->scan.end_off;
	return OK;
}

static enum err start_writer(struct engine *e, struct load *l)
{
	struct datafile *df;
	uint64_t off = FILE_HEADER_BYTES;
	uint32_t i = l->active;
	enum err err;

	if (l->log_count == 0) {
		err = engine_add_segment(e, e->o.segment_bytes, false, NULL, 0,
					 &df);
		if (err)
			return err;
	} else {
		err = prove_marks(l);
		if (err)
			return err;
		df = l->log[i].df;
		off = l->active_off;
	}
	log_begin(&e->log, e, df, off, l->proven + 1);
	for (uint32_t k = i + 1; k < l->log_count; k++) {
		atomic_store(&l->log[k].df->written, FILE_HEADER_BYTES);
		if (k == i + 1)
			atomic_store(&e->log.ready, l->log[k].df);
	}
	return OK;
}

/* The second place of terms and votes, ready and right. */
static enum err settle_state_file(struct engine *e, struct load *l)
{
	enum err err = OK;

	if (!e->state_file)
		err = state_open(e, e->state_sequence);
	if (!err && e->state_dirty) {
		err = state_write(e);
		if (!err)
			err = state_write(e);
		e->state_dirty = err != OK;
	}
	if (err)
		load_say(l, "%s/state: %s", e->dir, err_text(err));
	return err;
}

static enum err build_state(struct engine *e, struct load *l)
{
	enum err err = load_clean(e, l);

	if (!err)
		err = load_terms(l);
	if (!err)
		err = load_hard_state(l);
	if (!err)
		err = load_state(l);
	if (!err)
		err = start_writer(e, l);
	return err ? err : settle_state_file(e, l);
}

static enum err init_partitions(struct engine *e)
{
	uint32_t n = e->o.partitions;

	e->partitions = calloc(n, sizeof(*e->partitions));
	e->touched = calloc(n, sizeof(*e->touched));
	if (!e->partitions || !e->touched)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < n; i++) {
		struct keydir *kd;
		enum err err = keydir_new(e->readers, &kd);

		atomic_store(&e->partitions[i].keep_index, UINT64_MAX);

		if (err)
			return err;
		atomic_store(&e->partitions[i].kd, kd);
	}
	return OK;
}

static enum err lock_directory(struct engine *e, struct load *l)
{
	char path[DATAFILE_PATH_BYTES];
	enum err err = vfs_mkdir(e->o.vfs, e->dir);

	if (err && err != ERR_EXISTS) {
		load_say(l, "%s: %s", e->dir, err_text(err));
		return err;
	}
	snprintf(path, sizeof(path), "%s/LOCK", e->dir);
	err = vfs_lock(e->o.vfs, path, &e->lock_file);
	if (err == ERR_BUSY)
		load_say(l, "%s is in use by another process", e->dir);
	else if (err)
		load_say(l, "%s: %s", path, err_text(err));
	return err;
}

static void close_files(struct engine *e)
{
	for (uint32_t t = 0; t < FILE_TABLE_TOP; t++) {
		struct file_leaf *leaf = atomic_load(&e->files[t]);

		for (uint32_t i = 0; leaf && i < FILE_TABLE_LEAF; i++)
			datafile_close(atomic_load(&leaf->files[i]));
		free(leaf);
	}
}

static void free_engine(struct engine *e)
{
	epoch_free(e->readers); /* runs what is pending: before all it names */
	keep_free(e);
	keep_replaced_free(e->replaced);
	for (uint32_t i = 0; e->partitions && i < e->o.partitions; i++) {
		struct partition *p = &e->partitions[i];

		keydir_free(p->kd);
		expiry_done(&p->expiry);
		terms_done(&p->terms);
		tail_done(&p->tail);
	}
	log_done(&e->log);
	settle_done(e);
	readback_done(e);
	damage_done(e);
	engine_log_entry_done(&e->carried);
	close_files(e);
	manifest_done(&e->manifest);
	vfs_close(e->state_file);
	vfs_close(e->lock_file);
	pthread_mutex_destroy(&e->write_lock);
	pthread_mutex_destroy(&e->terms_lock);
	pthread_mutex_destroy(&e->keep_lock);
	pthread_mutex_destroy(&e->stats_lock);
	free(e->partitions);
	free(e->touched);
	free(e->dir);
	free(e);
}

static enum err check_options(const struct engine_options *o, struct load *l)
{
	if (o->partitions == 0 || o->partitions > ENGINE_PARTITIONS_MAX) {
		load_say(l, "partitions: 1 to %d", ENGINE_PARTITIONS_MAX);
		return ERR_INVALID;
	}
	if (o->segment_bytes < ENGINE_SEGMENT_BYTES_MIN ||
	    o->segment_bytes > LOC_OFFSET_MAX || o->segment_bytes % 4096 != 0) {
		load_say(l, "segment size: 256K to 4G, a multiple of 4096");
		return ERR_INVALID;
	}
	return OK;
}

enum err engine_open(const struct engine_options *o, struct engine **out,
		     struct buf *why)
{
	struct engine *e = calloc(1, sizeof(*e));
	struct load l = { .e = e, .why = why };
	enum err err;

	if (!e)
		return ERR_NOMEM;
	e->o = *o;
	e->min_free_bytes = o->min_free_bytes;
	e->tail_keep = readback_tail_keep(o->partitions ? o->partitions : 1);
	e->owner.vfs = o->vfs;
	e->owner.map = o->read_mode == ENGINE_READ_MMAP;
	pthread_mutex_init(&e->write_lock, NULL);
	pthread_mutex_init(&e->terms_lock, NULL);
	pthread_mutex_init(&e->keep_lock, NULL);
	pthread_mutex_init(&e->stats_lock, NULL);
	e->dir = strdup(o->dir);
	e->owner.dir = e->dir;
	err = e->dir ? check_options(o, &l) : ERR_NOMEM;
	if (!err)
		err = epoch_new(&e->readers);
	if (!err)
		err = init_partitions(e);
	if (!err)
		err = lock_directory(e, &l);
	if (!err)
		err = load_directory(e, &l);
	if (!err)
		err = build_state(e, &l);
	load_done(&l);
	if (err) {
		if (why && why->n == 0)
			load_say(&l, "%s: %s", o->dir, err_text(err));
		free_engine(e);
		return err;
	}
	*out = e;
	return OK;
}

/* Sync what is open, with commit as far as applied, and prove it. */
static enum err stop_log(struct engine *e)
{
	enum err err = OK;
	bool behind = false;

	if (atomic_load(&e->log.poisoned))
		return ERR_IO;
	for (uint32_t i = 0; i < e->o.partitions; i++)
		behind |= atomic_load(&e->partitions[i].applied_index) >
			  e->partitions[i].hard_state.commit;
	if (behind)
		err = engine_emit_hard_states(e);
	if (!err)
		err = log_write(&e->log);
	if (!err)
		err = log_sync(&e->log);
	if (!err && e->state_dirty)
		err = state_write(e);
	if (!err && e->log.synced_sequence > e->log.claimed_sequence) {
		err = log_mark(&e->log);
		if (!err)
			err = log_sync(&e->log);
	}
	if (!err && e->log.synced_sequence > e->end_sequence)
		err = state_end_write(e, e->log.synced_sequence, true);
	return err;
}

void engine_close(struct engine *e)
{
	enum err err;

	if (!e)
		return;
	CHECK(!e->sync_running);
	err = stop_log(e);
	if (err)
		log_error("engine", "close_unclean reason=%s", err_text(err));
	free_engine(e);
}
