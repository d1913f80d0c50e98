/*
 * engine/output.c - a merged file and its hint, made together.
 */
#include "engine/output.h"

#include "base/check.h"
#include "base/log.h"
#include "engine/hint.h"

enum err output_open(struct engine *e, uint16_t partition, struct output *o)
{
	uint64_t salt;
	enum err err;

	CHECK(!o->maker);
	*o = (struct output){ .e = e };
	err = run_new(&o->run);
	if (err)
		return err;
	pthread_mutex_lock(&e->keep_lock);
	o->file_id = engine_next_file_id(e);
	salt = seed_next(e->o.seed);
	pthread_mutex_unlock(&e->keep_lock);
	err = datafile_make(&e->owner, o->file_id, salt, partition, &o->maker);
	if (err) {
		run_free(o->run);
		*o = (struct output){ 0 };
	}
	return err;
}

bool output_is_full(const struct output *o, const struct record *r)
{
	uint64_t bytes = record_bytes(r->key.n, r->attrs.n, r->value.n);

	return datafile_make_bytes(o->maker) + bytes > o->e->o.segment_bytes ||
	       run_count(o->run) >= OUTPUT_RUN_ITEMS_MAX;
}

static void note_record(struct output *o, const struct record *r, uint64_t loc,
			uint64_t bytes)
{
	uint64_t version = version_pack(r->index, r->position);

	if (!o->first_index || r->index < o->first_index)
		o->first_index = r->index;
	if (r->index >= o->last_index) {
		o->last_index = r->index;
		o->last_term = r->term;
		o->last_stamp_ns = r->stamp_ns;
	}
	if (r->type != RECORD_PUT)
		o->kept_bytes += bytes;
	if (r->type == RECORD_CONFIG && version > o->config_version) {
		o->config_version = version;
		o->config_loc = loc;
	}
}

enum err output_add(struct output *o, const struct record *r)
{
	uint64_t bytes = record_bytes(r->key.n, r->attrs.n, r->value.n), off;
	struct run_item item;
	enum err err;

	err = datafile_make_add(o->maker, r, &off);
	if (err)
		return err;
	item = (struct run_item){
		.key = r->key,
		.version = version_pack(r->index, r->position),
		.loc = loc_pack(o->file_id, off, record_loc_flags(r)),
		.term = r->term,
		.expiry_ns = r->expiry_ns,
		.value_bytes = record_logical_bytes(r),
		.disk_bytes = (uint32_t)bytes,
		.attr_bytes = (uint16_t)r->attrs.n,
		.type = r->type,
	};
	note_record(o, r, item.loc, bytes);
	if (r->type == RECORD_CONFIG || r->type == RECORD_NOOP)
		return OK;
	return run_add(o->run, &item);
}

static enum err write_hint(const struct output *o, const struct datafile *df)
{
	struct hint_file file = { .file_id = df->id,
				  .salt = df->salt,
				  .data_bytes = df->bytes };
	struct hint_partition hp = { .partition = df->partition,
				     .first_index = o->first_index,
				     .last_index = o->last_index,
				     .last_term = o->last_term,
				     .last_stamp_ns = o->last_stamp_ns,
				     .config_version = o->config_version,
				     .config_loc = o->config_loc,
				     .kept_bytes = o->kept_bytes,
				     .run = o->run };
	char path[DATAFILE_PATH_BYTES];
	enum err err;

	run_sort(o->run);
	datafile_path(df->owner, df->kind, df->id, ".hint", path);
	err = hint_write(o->e->o.vfs, path, &file, &hp, 1);
	if (!err)
		err = vfs_sync_dir(o->e->o.vfs, o->e->dir);
	return err;
}

enum err output_seal(struct output *o, struct datafile **out)
{
	struct datafile *df;
	enum err err;

	CHECK(o->maker);
	err = datafile_make_seal(o->maker, &df);
	o->maker = NULL;
	if (!err) {
		err = write_hint(o, df);
		if (err)
			output_remove(o->e, df);
	}
	if (!err)
		*out = df;
	output_abandon(o);
	return err;
}

void output_abandon(struct output *o)
{
	datafile_make_abandon(o->maker);
	run_free(o->run);
	*o = (struct output){ 0 };
}

void output_remove(struct engine *e, struct datafile *df)
{
	static const char *const suffix[] = { ".hint", "" };
	char path[DATAFILE_PATH_BYTES];

	for (int i = 0; i < 2; i++) {
		enum err err;

		datafile_path(df->owner, df->kind, df->id, suffix[i], path);
		err = vfs_unlink(e->o.vfs, path);
		if (err && err != ERR_NOT_FOUND)
			log_warn("engine", "leftover_stays path=%s reason=%s",
				 path, err_text(err));
	}
	datafile_close(df);
}
