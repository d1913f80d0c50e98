/*
 * engine/engine.c - the append half: entries, hard state, sync, figures.
 *
 * An entry becomes records in the open frame and a line in its partition's
 * tail. Nothing here waits for the disk but engine_sync and, when a segment
 * ends, the switch to the next.
 */
#include "engine/engine.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "engine/engine_internal.h"
#include "engine/frame.h"
#include "engine/replica.h"
#include "engine/segment.h"
#include "engine/state.h"
#include "engine/unsettled.h"

enum {
	HARD_STATE_VALUE_BYTES = 24,
	/* of puts that may use the last space together with deletes */
	LIGHT_BYTES_MAX = 1024,
	LIGHT_VALUE_BYTES_MAX = 64,
};

#define SPACE_CHECK_NS 100000000ull

void engine_options_default(struct engine_options *o)
{
	*o = (struct engine_options){
		.vfs = vfs_os(),
		.clock = clock_os(),
		.partitions = 1,
		.segment_bytes = 256ull << 20,
		.min_free_bytes = 256ull << 20,
		.read_mode = ENGINE_READ_MMAP,
		.sync_mode = ENGINE_SYNC_ALWAYS,
		.sync_interval_ms = 1000,
		.merge = { .dead_ratio = 0.5,
			   .dead_bytes = 128ull << 20,
			   .small_file_bytes = 16ull << 20 },
	};
}

/* -------------------------------------------------------------- space ---- */

bool engine_space_ok(struct engine *e, bool force)
{
	uint64_t now = clock_mono_ns(e->o.clock), bytes;
	bool full =
		atomic_load_explicit(&e->out_of_space, memory_order_relaxed);

	if (atomic_load_explicit(&e->min_free_changed, memory_order_relaxed))
		force = atomic_exchange(&e->min_free_changed, false) || force;
	if (!force && (!full || now - e->space_checked_ns < SPACE_CHECK_NS))
		return !full;
	e->space_checked_ns = now;
	if (vfs_free_bytes(e->o.vfs, e->dir, &bytes))
		return !full;
	if (full != (bytes < atomic_load(&e->min_free_bytes))) {
		full = !full;
		atomic_store(&e->out_of_space, full);
		log_warn("engine", "%s free=%llu",
			 full ? "out_of_space" : "space_back",
			 (unsigned long long)bytes);
		diary_note(e->o.diary, full ? DIARY_DISK_FULL : DIARY_DISK_FREE,
			   DIARY_NO_PARTITION, 0, bytes, 0);
	}
	return !full;
}

/* ------------------------------------------------------------- append ---- */

/* Remember that p has appends the next sync makes durable. */
static void touch(struct engine *e, struct partition *p)
{
	if (p->touched)
		return;
	p->touched = true;
	e->touched[e->touched_count++] = (uint16_t)(p - e->partitions);
}

static bool is_client_record(const struct engine_record *r)
{
	return r->type != RECORD_NOOP && r->type != RECORD_CONFIG &&
	       is_client_key(r->key);
}

/* Limits of one record; what an entry from outside may get wrong. */
static enum err check_record(const struct engine_record *r)
{
	bool keyed = r->type == RECORD_PUT || r->type == RECORD_DELETE ||
		     r->type == RECORD_EXPIRE;

	if (r->key.n > RECORD_KEY_BYTES_MAX)
		return ERR_KEY_TOO_LONG;
	if (keyed && r->key.n == 0)
		return ERR_BAD_KEY;
	if (r->attrs.n > RECORD_ATTR_BYTES_MAX ||
	    r->value.n > RECORD_VALUE_BYTES_MAX)
		return ERR_TOO_LARGE;
	return OK;
}

static bool is_delete(uint8_t type)
{
	return type == RECORD_DELETE || type == RECORD_EXPIRE ||
	       type == RECORD_DELETE_PREFIX;
}

/*
 * A put that goes along with deletes: of a key without a value, as a directory
 * is whose times change, or of one that the engine's user hides.
 */
static bool is_light(const struct engine_record *r)
{
	if (r->value.n == 0)
		return true;
	return !is_client_key(r->key) && r->value.n <= LIGHT_VALUE_BYTES_MAX;
}

/*
 * Bytes of all records, and whether they may use the last space: those of
 * deletes, with a few light puts, so that what is full can be emptied.
 */
static enum err measure_entry(const struct engine_entry *entry, uint64_t *bytes,
			      bool *use_reserve, bool *client)
{
	uint64_t put_bytes = 0;
	bool deletes = false, light = true;

	*bytes = 0;
	*client = false;
	if (entry->record_count > ENTRY_POSITION_MAX)
		return ERR_TOO_LARGE;
	for (uint32_t i = 0; i < entry->record_count; i++) {
		const struct engine_record *r = &entry->records[i];
		enum err err = check_record(r);
		uint64_t n;

		CHECK(r->type != RECORD_HARD_STATE && r->flags < 64);
		if (err)
			return err;
		n = record_bytes(r->key.n, r->attrs.n, r->value.n);
		*bytes += n;
		if (r->type == RECORD_PUT) {
			put_bytes += n;
			light &= is_light(r);
		}
		deletes |= is_delete(r->type);
		*client |= is_client_record(r);
	}
	*use_reserve = put_bytes == 0 ||
		       (deletes && light && put_bytes <= LIGHT_BYTES_MAX);
	return *bytes > ENGINE_ENTRY_BYTES_MAX ? ERR_TOO_LARGE : OK;
}

void engine_as_record(const struct engine_entry *entry, uint32_t i,
		      struct record *r)
{
	const struct engine_record *from = &entry->records[i];

	*r = (struct record){ .type = from->type,
			      .flags = from->flags,
			      .partition = entry->partition,
			      .position = (uint16_t)i,
			      .index = entry->index,
			      .term = entry->term,
			      .stamp_ns = entry->stamp_ns,
			      .mtime_ns = entry->mtime_ns,
			      .expiry_ns = from->expiry_ns,
			      .key = from->key,
			      .attrs = from->attrs,
			      .value = from->value };
	if (from->expiry_ns)
		r->flags |= LOC_EXPIRES;
}

static void encode_entry(uint8_t *p, uint32_t seed,
			 const struct engine_entry *entry, unsigned flags)
{
	for (uint32_t i = 0; i < entry->record_count; i++) {
		struct record r;

		engine_as_record(entry, i, &r);
		r.flags = (r.flags & ~LOC_DAMAGED) | flags;
		if (i + 1 == entry->record_count)
			r.flags |= RECORD_LAST;
		p += record_encode(p, seed, &r);
	}
}

/* The log of p now ends, or goes on, as the entry says. */
static enum err extend_terms(struct engine *e, struct partition *p,
			     const struct engine_entry *entry)
{
	uint64_t cut;
	enum err err;

	pthread_mutex_lock(&e->terms_lock);
	err = terms_add(&p->terms, entry->index, entry->index, entry->term,
			false, &cut);
	pthread_mutex_unlock(&e->terms_lock);
	if (err || !cut)
		return err;
	unsettled_cut(e, p, cut);
	if (p->synced_index >= cut)
		p->synced_index = cut - 1;
	if (p->written_index >= cut)
		p->written_index = cut - 1;
	return OK;
}

/* Its place goes into the sparse index of the segment now and then. */
static void mark_entry(struct engine *e, uint16_t partition,
		       struct datafile *df, uint64_t index, uint64_t off,
		       uint64_t bytes)
{
	struct partition *p = &e->partitions[partition];

	p->mark_bytes += bytes;
	if (p->mark_file == df->id && p->mark_bytes < MARK_BYTES)
		return;
	p->mark_file = df->id;
	p->mark_bytes = 0;
	marks_add(&df->marks, partition, index, off, false);
}

enum err engine_append_flags(struct engine *e, const struct engine_entry *entry,
			     uint32_t frame_flags)
{
	struct partition *p = &e->partitions[entry->partition];
	uint64_t bytes, off;
	struct tail_entry t;
	struct datafile *df;
	bool use_reserve, client;
	uint8_t *dst;
	enum err err;

	CHECK(entry->partition < e->o.partitions);
	CHECK(entry->record_count > 0);
	CHECK(entry->index <= p->terms.last_index + 1);
	CHECK(entry->index >
	      atomic_load_explicit(&p->applied_index, memory_order_relaxed));
	if (atomic_load_explicit(&e->log.poisoned, memory_order_relaxed))
		return ERR_IO;
	err = measure_entry(entry, &bytes, &use_reserve, &client);
	if (err)
		return err;
	if (entry->index > VERSION_INDEX_MAX)
		return ERR_INVALID;
	if (!use_reserve && !engine_space_ok(e, false))
		return ERR_NOSPC;
	err = tail_reserve(&p->tail, atomic_load(&p->applied_index),
			   frame_flags & FRAME_SETTLED ? 0 : e->tail_keep);
	if (!err)
		err = log_reserve(&e->log, bytes, use_reserve, &dst, &off, &df);
	if (!err)
		err = extend_terms(e, p, entry);
	if (err)
		return err;
	encode_entry(dst, df->seed, entry, 0);
	t = (struct tail_entry){ .term = entry->term,
				 .loc = loc_pack(df->id, off, 0),
				 .stamp_ns = entry->stamp_ns,
				 .bytes = (uint32_t)bytes,
				 .records = entry->record_count };
	log_commit(&e->log, bytes, entry->record_count, frame_flags);
	unsettled_set(e, p, entry->index, &t, df);
	if (p->missing && entry->index <= p->missing)
		damage_find_missing(p);
	mark_entry(e, entry->partition, df, entry->index, off, bytes);
	p->client_entries += client;
	touch(e, p);
	return OK;
}

enum err engine_append_again(struct engine *e, const struct engine_entry *entry,
			     struct tail_entry *t, struct datafile **df)
{
	uint64_t bytes, off;
	bool use_reserve, client;
	uint8_t *dst;
	enum err err;

	if (atomic_load_explicit(&e->log.poisoned, memory_order_relaxed))
		return ERR_IO;
	err = measure_entry(entry, &bytes, &use_reserve, &client);
	if (!err)
		err = log_reserve(&e->log, bytes, true, &dst, &off, df);
	if (err)
		return err;
	encode_entry(dst, (*df)->seed, entry, RECORD_AGAIN);
	*t = (struct tail_entry){ .term = entry->term,
				  .loc = loc_pack((*df)->id, off, 0),
				  .stamp_ns = entry->stamp_ns,
				  .bytes = (uint32_t)bytes,
				  .records = entry->record_count };
	log_commit(&e->log, bytes, entry->record_count, 0);
	return OK;
}

enum err engine_append(struct engine *e, const struct engine_entry *entry)
{
	return engine_append_flags(e, entry, 0);
}

/* --------------------------------------------------------- hard state ---- */

static enum err append_hard_state(struct engine *e, uint16_t partition,
				  const struct engine_hard_state *hs)
{
	uint64_t bytes = record_bytes(0, 0, HARD_STATE_VALUE_BYTES), off;
	uint8_t value[HARD_STATE_VALUE_BYTES], *dst;
	struct record r = { .type = RECORD_HARD_STATE,
			    .flags = RECORD_LAST,
			    .partition = partition,
			    .value = { value, sizeof(value) } };
	struct datafile *df;
	enum err err;

	put_u64(value, hs->term);
	put_u64(value + 8, hs->vote);
	put_u64(value + 16, hs->commit);
	err = log_reserve(&e->log, bytes, true, &dst, &off, &df);
	if (err)
		return err;
	record_encode(dst, df->seed, &r);
	log_commit(&e->log, bytes, 1, 0);
	return OK;
}

enum err engine_set_hard_state(struct engine *e, uint16_t partition,
			       const struct engine_hard_state *hs)
{
	struct partition *p = &e->partitions[partition];
	enum err err;

	CHECK(partition < e->o.partitions);
	CHECK(hs->term >= p->hard_state.term);
	err = append_hard_state(e, partition, hs);
	if (err)
		return err;
	if (hs->term != p->hard_state.term || hs->vote != p->hard_state.vote)
		e->state_dirty = true;
	p->hard_state = *hs;
	p->has_hard_state = true;
	return OK;
}

uint64_t engine_hard_states_bytes(const struct engine *e)
{
	/* One byte more each covers the frames they are spread over. */
	return (uint64_t)e->o.partitions *
	       (record_bytes(0, 0, HARD_STATE_VALUE_BYTES) + 1);
}

enum err engine_emit_hard_states(struct engine *e)
{
	for (uint32_t i = 0; i < e->o.partitions; i++) {
		struct partition *p = &e->partitions[i];
		uint64_t applied = atomic_load(&p->applied_index);
		enum err err;

		if (!p->has_hard_state && applied == 0)
			continue;
		if (applied > p->hard_state.commit)
			p->hard_state.commit = applied;
		p->has_hard_state = true;
		err = append_hard_state(e, (uint16_t)i, &p->hard_state);
		if (err)
			return err;
	}
	return OK;
}

/* --------------------------------------------------------------- sync ---- */

void engine_frame_written(struct engine *e)
{
	for (uint32_t i = 0; i < e->touched_count; i++) {
		struct partition *p = &e->partitions[e->touched[i]];

		p->written_index = p->terms.last_index;
	}
}

void engine_synced(struct engine *e)
{
	for (uint32_t i = 0; i < e->touched_count; i++) {
		struct partition *p = &e->partitions[e->touched[i]];

		p->synced_index = p->written_index;
		p->touched = false;
	}
	e->touched_count = 0;
}

enum err engine_write(struct engine *e)
{
	return log_write(&e->log);
}

/* The configuration lets this sync stay in the kernel for now. */
static bool may_stay_unsynced(struct engine *e)
{
	uint64_t span_ns = e->o.sync_interval_ms * 1000000;

	if (e->state_dirty || atomic_load(&e->sync_wanted))
		return false;
	if (e->o.sync_mode == ENGINE_SYNC_NEVER)
		return true;
	return e->o.sync_mode == ENGINE_SYNC_INTERVAL &&
	       clock_mono_ns(e->o.clock) - e->last_sync_ns < span_ns;
}

/* The second place of term and vote, after the first is durable. */
static enum err write_state(struct engine *e)
{
	enum err err;

	if (!e->state_dirty)
		return OK;
	err = state_write(e);
	if (err) {
		log_poison(&e->log, "state", err);
		return ERR_IO;
	}
	e->state_dirty = false;
	return OK;
}

enum err engine_sync(struct engine *e)
{
	enum err err;

	if (atomic_load_explicit(&e->carry_wanted, memory_order_relaxed))
		carry_step(e);
	err = log_write(&e->log);
	if (!err && may_stay_unsynced(e)) {
		engine_synced(e);
		return OK;
	}
	if (!err)
		err = log_sync(&e->log);
	if (!err)
		err = write_state(e);
	if (err)
		return err;
	atomic_store(&e->sync_wanted, false);
	e->last_sync_ns = clock_mono_ns(e->o.clock);
	engine_synced(e);
	return OK;
}

void engine_idle(struct engine *e)
{
	struct log *l = &e->log;
	enum err err = OK;

	if (atomic_load(&l->poisoned))
		return;
	if (atomic_load(&e->carry_wanted)) {
		carry_step(e);
		atomic_store(&e->sync_wanted, true);
	}
	if (atomic_load(&e->sync_wanted) ||
	    (e->o.sync_mode == ENGINE_SYNC_INTERVAL && !may_stay_unsynced(e)))
		err = engine_sync(e);
	if (!err && (l->synced_sequence > l->claimed_sequence ||
		     atomic_load(&l->switch_wanted)))
		err = log_mark(l);
	if (!err && l->synced_sequence > e->end_sequence) {
		err = state_end_write(e, l->synced_sequence, false);
		if (!err)
			e->end_sequence = l->synced_sequence;
	}
	if (err && err != ERR_NOSPC)
		log_warn("engine", "idle_mark_failed reason=%s", err_text(err));
}

/* ---------------------------------------------------------- figures ----- */

void engine_partition_info(struct engine *e, uint16_t partition,
			   struct engine_partition_info *info)
{
	struct partition *p = &e->partitions[partition];
	const struct tail_entry *t;

	CHECK(partition < e->o.partitions);
	*info = (struct engine_partition_info){
		.base_index = p->base_index,
		.first_index = engine_first_index(e, partition),
		.base_term = p->base_term,
		.last_index = p->terms.last_index,
		.last_term = p->base_term,
		.synced_index = p->synced_index,
		.applied_index = atomic_load(&p->applied_index),
		.last_stamp_ns = p->last_stamp_ns,
		.client_entries = p->client_entries,
		.keys = keydir_count(p->kd),
		.hard_state = p->hard_state,
	};
	if (terms_at(&p->terms, info->last_index))
		info->last_term = terms_at(&p->terms, info->last_index);
	t = tail_at(&p->tail, info->last_index);
	if (t)
		info->last_stamp_ns = t->stamp_ns;
}

uint64_t engine_applied_index(struct engine *e, uint16_t partition)
{
	CHECK(partition < e->o.partitions);
	return atomic_load_explicit(&e->partitions[partition].applied_index,
				    memory_order_acquire);
}

bool engine_next_expiry(struct engine *e, uint16_t partition,
			uint64_t *expiry_ns, uint64_t *version, uint8_t *key,
			size_t *key_bytes)
{
	struct partition *p = &e->partitions[partition];
	const struct expiry_item *x;

	CHECK(partition < e->o.partitions);
	while ((x = expiry_first(&p->expiry))) {
		const struct keydir_entry *k;
		bool live;

		epoch_enter(e->readers);
		k = keydir_get(p->kd, bytes_of(x->key, x->key_bytes));
		live = k && k->version == x->version;
		epoch_exit(e->readers);
		if (live) {
			*expiry_ns = x->expiry_ns;
			*version = x->version;
			*key_bytes = x->key_bytes;
			memcpy(key, x->key, x->key_bytes);
			return true;
		}
		expiry_pop(&p->expiry);
	}
	return false;
}

struct due {
	struct engine *e;
	struct partition *p;
	bool (*fn)(void *ctx, struct bytes key, uint64_t version);
	void *ctx;
};

static bool tell_due(void *ctx, const struct expiry_item *item)
{
	struct due *d = ctx;
	struct bytes key = bytes_of(item->key, item->key_bytes);
	const struct keydir_entry *k;
	bool live;

	epoch_enter(d->e->readers);
	k = keydir_get(d->p->kd, key);
	live = k && k->version == item->version;
	epoch_exit(d->e->readers);
	return !live || d->fn(d->ctx, key, item->version);
}

void engine_due(struct engine *e, uint16_t partition, uint64_t now_ns,
		bool (*fn)(void *ctx, struct bytes key, uint64_t version),
		void *ctx)
{
	struct due d = { .e = e, .fn = fn, .ctx = ctx };

	CHECK(partition < e->o.partitions);
	d.p = &e->partitions[partition];
	expiry_due(&d.p->expiry, now_ns, tell_due, &d);
}

/* Sum up what files say, under keep_lock so that none goes away. */
static void sum_files(struct engine *e, struct engine_stats *s)
{
	const struct manifest *m = &e->manifest;

	for (uint32_t i = 0; i < m->log_count; i++) {
		struct datafile *df = engine_file(e, m->log[i].id);

		CHECK(df); /* what the manifest lists is open */
		s->files++;
		s->log_bytes += atomic_load(&df->written);
		s->live_bytes += atomic_load(&df->live_bytes);
	}
	for (uint32_t p = 0; p < m->partition_count; p++) {
		const struct manifest_partition *mp = &m->partitions[p];

		for (uint32_t i = 0; i < mp->merged_count; i++) {
			struct datafile *df = engine_file(e, mp->merged[i].id);

			CHECK(df); /* what the manifest lists is open */
			s->files++;
			s->merged_bytes += df->bytes;
			s->live_bytes += atomic_load(&df->live_bytes);
		}
	}
	s->dead_bytes = s->log_bytes + s->merged_bytes;
	s->dead_bytes = s->dead_bytes > s->live_bytes
				? s->dead_bytes - s->live_bytes
				: 0;
}

static void describe_file(const struct datafile *df, uint32_t active,
			  struct engine_file_info *info)
{
	uint64_t live;
	bool merged;

	CHECK(df); /* what the manifest lists is open */
	merged = df->kind == DATAFILE_MERGED;
	live = atomic_load(&df->live_bytes);
	if (!merged)
		live += atomic_load(&df->unsettled_bytes);
	*info = (struct engine_file_info){
		.id = df->id,
		.partition = merged ? df->partition : 0,
		.merged = merged,
		.active = !merged && df->id == active,
		.bytes = merged ? df->bytes : atomic_load(&df->written),
	};
	info->live_bytes = live < info->bytes ? live : info->bytes;
}

uint32_t engine_list_files(struct engine *e, struct engine_file_info *out,
			   uint32_t cap)
{
	const struct manifest *m = &e->manifest;
	uint32_t active = engine_active_id(e), n = 0;

	pthread_mutex_lock(&e->keep_lock);
	for (uint32_t i = m->log_count; i > 0; i--, n++)
		if (n < cap)
			describe_file(engine_file(e, m->log[i - 1].id), active,
				      &out[n]);
	for (uint32_t p = 0; p < m->partition_count; p++) {
		const struct manifest_partition *mp = &m->partitions[p];

		for (uint32_t i = 0; i < mp->merged_count; i++, n++)
			if (n < cap)
				describe_file(engine_file(e, mp->merged[i].id),
					      active, &out[n]);
	}
	pthread_mutex_unlock(&e->keep_lock);
	return n;
}

void engine_stats(struct engine *e, struct engine_stats *s)
{
	*s = (struct engine_stats){ 0 };
	epoch_enter(e->readers);
	for (uint32_t i = 0; i < e->o.partitions; i++) {
		const struct keydir *kd = atomic_load(&e->partitions[i].kd);

		s->keys += keydir_count(kd);
		s->keydir_bytes += keydir_memory_bytes(kd);
	}
	epoch_exit(e->readers);
	pthread_mutex_lock(&e->keep_lock);
	sum_files(e, s);
	pthread_mutex_unlock(&e->keep_lock);
	s->frames = atomic_load(&e->log.frames);
	s->syncs = atomic_load(&e->log.syncs);
	s->sync_ns_total = atomic_load(&e->log.sync_ns);
	s->bytes_appended = atomic_load(&e->log.bytes_appended);
	s->merges = atomic_load(&e->merges);
	s->merge_bytes_read = atomic_load(&e->merge_bytes_read);
	s->merge_bytes_written = atomic_load(&e->merge_bytes_written);
	s->merge_running = atomic_load(&e->merge_running);
	s->out_of_space = atomic_load(&e->out_of_space);
	s->poisoned = atomic_load(&e->log.poisoned);
	pthread_mutex_lock(&e->stats_lock);
	s->cut_count = e->cut_count;
	s->cut_off = e->cut_off;
	s->cut_bytes = e->cut_bytes;
	memcpy(s->cut_file, e->cut_file, sizeof(s->cut_file));
	s->corrupt_count = e->corrupt_count;
	memcpy(s->corrupt, e->corrupt, sizeof(s->corrupt));
	pthread_mutex_unlock(&e->stats_lock);
}

void engine_identity(const struct engine *e, uint8_t cluster_id[16],
		     uint64_t *node_id)
{
	memcpy(cluster_id, e->owner.cluster_id, 16);
	*node_id = e->owner.node_id;
}

bool engine_record_live(struct engine *e, uint16_t partition, uint64_t index,
			uint64_t term, uint64_t sequence)
{
	struct partition *p = &e->partitions[partition];
	bool live;

	pthread_mutex_lock(&e->terms_lock);
	live = sequence >= atomic_load(&p->reset_sequence) &&
	       terms_live(&p->terms, index, term);
	pthread_mutex_unlock(&e->terms_lock);
	return live;
}
