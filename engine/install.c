/*
 * engine/install.c - building a partition's state beside the one in force.
 *
 * Records go to merged files of this node as they come, a hint beside each
 * file of about a segment's size; what is held in memory meanwhile is the run
 * of the open file. Which records are the state is decided at the end, as at
 * the opening of a directory: the runs of all files are merged into a key
 * directory, the highest version of a key wins, tombstones hide what is older.
 *
 *      add   record -> file + run       full: file, hint synced and renamed
 *      finish    a no-op (index, term, stamp) as the last record; hints read
 *                back, merged -> key directory, expiries, counters
 *      commit    install_commit.c
 *
 * The no-op makes the files say by themselves what entry they are the state
 * of, should MANIFEST ever have to be rebuilt from them. Until the commit no
 * manifest names the files: what a crash leaves, the next open removes.
 */
#include "engine/install.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "engine/hint.h"

enum { ROOM_CHECK_BYTES = 4 << 20 };

/* ---------------------------------------------------------- open, abort -- */

enum err engine_install_open(struct engine *e, uint16_t partition,
			     uint64_t index, uint64_t term,
			     struct engine_install **out)
{
	struct engine_install *in;
	enum err err;

	CHECK(partition < e->o.partitions);
	if (index == 0 || index > VERSION_INDEX_MAX || term == 0)
		return ERR_INVALID;
	if (atomic_exchange(&e->partitions[partition].installing, true))
		return ERR_BUSY;
	in = calloc(1, sizeof(*in));
	err = in ? keydir_new(e->readers, &in->kd) : ERR_NOMEM;
	if (err) {
		free(in);
		atomic_store(&e->partitions[partition].installing, false);
		return err;
	}
	in->e = e;
	in->partition = partition;
	in->index = index;
	in->term = term;
	*out = in;
	return OK;
}

void engine_install_abort(struct engine_install *in)
{
	if (!in)
		return;
	output_abandon(&in->output);
	for (uint32_t i = 0; i < in->file_count; i++) {
		if (in->in_doubt)
			datafile_close(in->files[i]);
		else
			output_remove(in->e, in->files[i]);
	}
	keydir_free(in->kd);
	expiry_done(&in->expiry);
	atomic_store(&in->e->partitions[in->partition].installing, false);
	free(in->files);
	free(in);
}

/* ------------------------------------------------------------------ add -- */

/* What comes from outside is looked at before it becomes part of a state. */
static bool is_sound(const struct engine_install *in, const struct record *r)
{
	if (r->partition != in->partition || r->index == 0 ||
	    r->index > in->index || r->key.n > RECORD_KEY_BYTES_MAX ||
	    r->attrs.n > RECORD_ATTR_BYTES_MAX ||
	    r->value.n > RECORD_VALUE_BYTES_MAX)
		return false;
	switch (r->type) {
	case RECORD_PUT:
		return r->key.n > 0 && (!(r->flags & LOC_CONTENT) ||
					r->value.n == RECORD_CONTENT_BYTES);
	case RECORD_DELETE:
	case RECORD_EXPIRE:
		return r->key.n > 0;
	case RECORD_DELETE_PREFIX:
		return true;
	default:
		return false;
	}
}

static enum err seal_file(struct engine_install *in)
{
	uint32_t cap = in->file_cap ? in->file_cap * 2 : 8;
	struct datafile *df;
	enum err err;

	if (in->file_count == in->file_cap) {
		void *files = realloc(in->files, cap * sizeof(*in->files));

		if (!files)
			return ERR_NOMEM;
		in->files = files;
		in->file_cap = cap;
	}
	err = output_seal(&in->output, &df);
	if (!err)
		in->files[in->file_count++] = df;
	return err;
}

/* What clients may not fill, an install may not either. */
static enum err check_room(struct engine_install *in, uint64_t bytes)
{
	struct engine *e = in->e;
	uint64_t free_bytes;
	enum err err;

	in->room_checked_bytes += bytes;
	if (in->room_checked_bytes < ROOM_CHECK_BYTES && in->output.maker)
		return OK;
	in->room_checked_bytes = 0;
	err = vfs_free_bytes(e->o.vfs, e->dir, &free_bytes);
	if (!err && free_bytes < atomic_load(&e->min_free_bytes))
		err = ERR_NOSPC;
	return err;
}

static enum err put_record(struct engine_install *in, const struct record *r)
{
	enum err err =
		check_room(in, record_bytes(r->key.n, r->attrs.n, r->value.n));

	if (!err && in->output.maker && output_is_full(&in->output, r))
		err = seal_file(in);
	if (!err && !in->output.maker)
		err = output_open(in->e, in->partition, &in->output);
	return err ? err : output_add(&in->output, r);
}

enum err engine_install_add(struct engine_install *in, const struct record *r)
{
	struct record copy = *r;

	CHECK(!in->finished);
	if (!is_sound(in, r))
		return ERR_INVALID;
	copy.flags &= ~(RECORD_LOG_FLAGS | LOC_EXPIRES);
	if (r->type != RECORD_PUT)
		copy.expiry_ns = 0;
	if (copy.expiry_ns)
		copy.flags |= LOC_EXPIRES;
	if (r->stamp_ns > in->stamp_ns)
		in->stamp_ns = r->stamp_ns;
	return put_record(in, &copy);
}

void engine_install_stamp(struct engine_install *in, uint64_t stamp_ns)
{
	CHECK(!in->finished);
	if (stamp_ns > in->stamp_ns)
		in->stamp_ns = stamp_ns;
}

/* --------------------------------------------------------------- finish -- */

/* Ids ascend with the order of making. */
static struct datafile *file_of(const struct engine_install *in, uint64_t loc)
{
	uint32_t id = loc_file_id(loc), lo = 0, hi = in->file_count;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (in->files[mid]->id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	CHECK(lo < in->file_count);
	CHECK(in->files[lo]->id == id);
	return in->files[lo];
}

static enum err take_live(void *ctx, const struct run_item *item)
{
	struct engine_install *in = ctx;
	struct datafile *df;
	enum err err;

	in->client_entries += is_client_key(item->key);
	if (item->type != RECORD_PUT)
		return OK;
	df = file_of(in, item->loc);
	if (item->loc & LOC_DAMAGED)
		engine_note_corrupt(in->e, df, loc_off(item->loc), 1);
	err = keydir_append(in->kd, item->key, item->version, item->loc,
			    item->value_bytes, item->attr_bytes);
	if (!err && item->expiry_ns)
		err = expiry_add(&in->expiry, item->key, item->version,
				 item->expiry_ns);
	if (!err)
		atomic_fetch_add_explicit(&df->live_bytes, item->disk_bytes,
					  memory_order_relaxed);
	return err;
}

static void take_dead(void *ctx, const struct run_item *item)
{
	struct engine_install *in = ctx;

	in->client_entries += is_client_key(item->key);
}

static enum err load_hint(struct engine_install *in, const struct datafile *df,
			  struct hint **hint)
{
	struct hint_file file = { .file_id = df->id,
				  .salt = df->salt,
				  .data_bytes = df->bytes };
	char path[DATAFILE_PATH_BYTES];

	datafile_path(df->owner, df->kind, df->id, ".hint", path);
	return hint_load(in->e->o.vfs, path, &file, hint);
}

static enum err build_directory(struct engine_install *in)
{
	uint32_t n = in->file_count;
	struct hint **hints = calloc(n, sizeof(*hints));
	struct run **runs = calloc(n, sizeof(*runs));
	enum err err = hints && runs ? OK : ERR_NOMEM;

	for (uint32_t i = 0; !err && i < n; i++) {
		err = load_hint(in, in->files[i], &hints[i]);
		if (!err)
			runs[i] = hint_partition(hints[i], 0)->run;
	}
	if (!err)
		err = run_merge(runs, n, take_live, take_dead, in);
	for (uint32_t i = 0; hints && i < n; i++)
		hint_free(hints[i]);
	free(hints);
	free(runs);
	return err;
}

enum err engine_install_finish(struct engine_install *in)
{
	struct record end = { .type = RECORD_NOOP,
			      .partition = in->partition,
			      .index = in->index,
			      .term = in->term,
			      .stamp_ns = in->stamp_ns };
	enum err err;

	CHECK(!in->finished);
	err = put_record(in, &end);
	if (!err)
		err = seal_file(in);
	if (!err)
		err = build_directory(in);
	in->finished = err == OK;
	return err;
}
