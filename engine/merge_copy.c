/*
 * engine/merge_copy.c - the copying half of a merge.
 *
 * What is copied:
 *   PUT      iff the key directory points exactly at it. By location, not by
 *            index: of two copies of one entry only one counts, and records
 *            of a log that an installed snapshot replaced are never pointed
 *            at. A value that fails its checksum is copied as it is and
 *            marked LOC_DAMAGED: its key stays, reads answer ERR_CORRUPT.
 *   DELETE,  unless nothing older can be left that it must hide: every merged
 *   EXPIRE,  file of the partition that stays has only newer entries (the log
 *   DELETE_PREFIX  that stays has, by the base this merge sets). A tombstone
 *            of one key goes too when its key has a newer record: that one
 *            hides the same and is itself never dropped before its turn.
 *   CONFIG   the newest of each partition.
 *   NOOP, HARD_STATE  never; the writer repeats hard state in new segments.
 *
 * In the log only records count that are part of it: above the base, after
 * the last reset, not overwritten by another term.
 *
 * A copy of an entry in a segment that stays (a recovery copies what was not
 * proved synced) would die by the new base. If the directory points there, the
 * record is copied all the same, and from there when it is damaged here.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "engine/merge_internal.h"
#include "engine/unsettled.h"

bool merge_has_input(const struct merge *m, uint32_t file_id)
{
	for (uint32_t i = 0; i < m->input_count; i++)
		if (m->inputs[i].df->id == file_id)
			return true;
	return false;
}

/* ------------------------------------------------------------- outputs --- */

static enum err reserve_output(struct merge *m)
{
	uint32_t cap = m->output_cap ? m->output_cap * 2 : 8;
	struct sealed *o;

	if (m->output_count < m->output_cap)
		return OK;
	o = realloc(m->outputs, cap * sizeof(*o));
	if (!o)
		return ERR_NOMEM;
	m->outputs = o;
	m->output_cap = cap;
	return OK;
}

/* Finish the open output of a partition, with its hint. */
static enum err seal_output(struct merge *m, struct merge_part *p)
{
	struct sealed s = { .kept_bytes = p->output.kept_bytes };
	enum err err;

	err = reserve_output(m);
	if (!err)
		err = output_seal(&p->output, &s.df);
	if (err)
		return err;
	CHECK(m->outputs);
	m->outputs[m->output_count++] = s;
	m->moved_bytes += s.df->bytes;
	atomic_fetch_add(&m->e->merge_bytes_written, s.df->bytes);
	return OK;
}

static uint64_t open_items(const struct merge *m, struct merge_part **largest)
{
	uint64_t sum = 0, most = 0;

	for (uint32_t i = 0; i < m->e->o.partitions; i++) {
		struct merge_part *p = &m->parts[i];
		uint64_t n = p->output.run ? run_count(p->output.run) : 0;

		sum += n;
		if (n >= most && p->output.run) {
			most = n;
			*largest = p;
		}
	}
	return sum;
}

/* Copy r to the partition's output, beginning or ending one as needed. */
static enum err put_record(struct merge *m, const struct record *r)
{
	struct merge_part *p = &m->parts[r->partition];
	enum err err = OK;

	if (p->output.maker && output_is_full(&p->output, r))
		err = seal_output(m, p);
	if (!err && !p->output.maker)
		err = output_open(m->e, r->partition, &p->output);
	if (err)
		return err;
	m->moved_bytes += record_bytes(r->key.n, r->attrs.n, r->value.n);
	return output_add(&p->output, r);
}

/* -------------------------------------------------------------- judge ---- */

/* What the key directory says of a record. */
struct verdict {
	bool exists, newer; /* its key has an entry; a newer one             */
	bool here;	    /* the entry is this record                      */
	uint64_t elsewhere; /* this version, but at that location, else 0    */
};

static struct verdict look_up(const struct merge *m, const struct datafile *df,
			      uint64_t off, const struct record *r)
{
	struct partition *p = &m->e->partitions[r->partition];
	uint64_t version = version_pack(r->index, r->position);
	const struct keydir_entry *k;
	struct verdict v = { 0 };

	epoch_enter(m->e->readers);
	k = keydir_get(p->kd, r->key);
	if (k) {
		v.exists = true;
		v.newer = k->version > version;
		if (k->version == version) {
			v.here = loc_file_id(k->loc) == df->id &&
				 loc_off(k->loc) == off;
			v.elsewhere = v.here ? 0 : k->loc;
		}
	}
	epoch_exit(m->e->readers);
	return v;
}

/* Up to which entry of the partition the segment counts; 0: none. */
static uint64_t last_in(const struct input *in, uint16_t partition)
{
	uint32_t lo = 0, hi = in->last_count;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (in->lasts[mid].partition < partition)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == in->last_count || in->lasts[lo].partition != partition)
		return 0;
	return in->lasts[lo].index;
}

/* Is this record of the log part of what the partition's log says? */
static bool part_of_log(struct merge *m, const struct input *in,
			const struct walk_item *it)
{
	const struct record *r = &it->record;
	const struct merge_part *p = &m->parts[r->partition];

	return r->index > p->dead_index &&
	       r->index <= last_in(in, r->partition) &&
	       engine_record_live(m->e, r->partition, r->index, r->term,
				  it->frame.sequence);
}

/*
 * The directory points at a copy of r in a log segment that stays and whose
 * copy dies by the new base: take it along. A file that is an input is met
 * on its own; a merged file that stays keeps its record.
 */
static enum err put_elsewhere(struct merge *m, const struct walk_item *it,
			      uint64_t loc)
{
	struct datafile *df = engine_file(m->e, loc_file_id(loc));
	enum record_state state = it->state;
	struct record r = it->record;
	enum err err;

	if (!df || merge_has_input(m, df->id) || df->kind != DATAFILE_LOG)
		return OK;
	if (it->state == RECORD_BAD_VALUE) {
		err = datafile_read_record(df, loc_off(loc), it->bytes,
					   &m->other, &state, &r);
		if (err)
			return err;
		if (state == RECORD_BAD_HEADER)
			return ERR_CORRUPT;
	}
	r.flags &= ~RECORD_LOG_FLAGS;
	if (state == RECORD_BAD_VALUE)
		r.flags |= LOC_DAMAGED;
	return put_record(m, &r);
}

static enum err judge_put(struct merge *m, struct input *in,
			  const struct walk_item *it)
{
	struct verdict v = look_up(m, in->df, it->off, &it->record);
	struct record r = it->record;

	if (v.elsewhere && in->df->kind == DATAFILE_LOG)
		return put_elsewhere(m, it, v.elsewhere);
	if (!v.here)
		return OK;
	in->copied_bytes += it->bytes;
	r.flags &= ~RECORD_LOG_FLAGS;
	if (it->state == RECORD_BAD_VALUE && !(r.flags & LOC_DAMAGED)) {
		engine_note_corrupt(m->e, in->df, it->off, 1);
		damage_note_key(m->e, r.partition,
				version_pack(r.index, r.position), r.key);
		r.flags |= LOC_DAMAGED;
	}
	return put_record(m, &r);
}

static enum err judge_tombstone(struct merge *m, const struct input *in,
				const struct walk_item *it)
{
	struct record r = it->record;

	if (m->parts[r.partition].older_min > r.index)
		return OK;
	if (r.type != RECORD_DELETE_PREFIX &&
	    look_up(m, in->df, it->off, &r).newer)
		return OK;
	r.flags &= ~RECORD_LOG_FLAGS;
	return put_record(m, &r);
}

/* Remember the newest CONFIG; it is written when the output is sealed. */
static enum err keep_config(struct merge_part *p, const struct record *r)
{
	uint64_t bytes = record_bytes(r->key.n, r->attrs.n, r->value.n);
	enum err err;

	if (r->index <= p->config_index)
		return OK;
	p->config.n = 0;
	err = buf_reserve(&p->config, bytes);
	if (err)
		return err;
	p->config.n = record_encode(p->config.p, 0, r);
	p->config_index = r->index;
	return OK;
}

static enum err unreadable(struct merge *m, struct datafile *df,
			   const struct walk_item *it)
{
	engine_note_corrupt(m->e, df, it->off, 0);
	m->bad = df;
	return ERR_CORRUPT;
}

/* Bytes of a settled key: they count only by the directory. */
static enum err judge_healed(struct merge *m, struct input *in,
			     const struct walk_item *it)
{
	const struct record *r = &it->record;

	m->parts[r->partition].seen = true;
	if (r->partition / MERGE_PASS_PARTITIONS != m->pass ||
	    r->type != RECORD_PUT || !look_up(m, in->df, it->off, r).here)
		return OK;
	return judge_put(m, in, it);
}

/*
 * A settled entry above a copy that stays: the base cannot cover it. The keeper
 * merges such segments only together with the one that has the copy.
 */
static enum err out_of_order(struct merge *m, struct datafile *df,
			     const struct record *r)
{
	log_error("engine",
		  "merge_out_of_order file=%08x partition=%u "
		  "index=%llu",
		  df->id, r->partition, (unsigned long long)r->index);
	m->bad = df;
	return ERR_CORRUPT;
}

static enum err judge(struct merge *m, struct input *in,
		      const struct walk_item *it)
{
	const struct record *r = &it->record;
	struct merge_part *p = &m->parts[r->partition];

	if (r->type == RECORD_HARD_STATE)
		return OK;
	if (it->frame.flags & FRAME_HEALED && in->df->kind == DATAFILE_LOG)
		return judge_healed(m, in, it);
	if (in->df->kind == DATAFILE_LOG) {
		if (!part_of_log(m, in, it))
			return OK;
	}
	p->seen = true;
	if (r->partition / MERGE_PASS_PARTITIONS != m->pass)
		return OK;
	if (in->df->kind == DATAFILE_LOG && r->index > p->limit_index)
		return out_of_order(m, in->df, r);
	if (in->df->kind == DATAFILE_LOG && r->index > p->base_index) {
		p->base_index = r->index;
		p->base_term = r->term;
		p->stamp_ns = r->stamp_ns;
	}
	switch ((enum record_type)r->type) {
	case RECORD_PUT:
		return judge_put(m, in, it);
	case RECORD_DELETE:
	case RECORD_EXPIRE:
	case RECORD_DELETE_PREFIX:
		return judge_tombstone(m, in, it);
	case RECORD_CONFIG:
		if (it->state == RECORD_BAD_VALUE)
			return unreadable(m, in->df, it);
		return keep_config(p, r);
	case RECORD_NOOP:
	case RECORD_HARD_STATE:
	case RECORD_TYPE_MAX:
		break;
	}
	return OK;
}

/* --------------------------------------------------------------- copy ---- */

static bool merged_in_pass(const struct merge *m, const struct datafile *df)
{
	return df->kind == DATAFILE_LOG ||
	       df->partition / MERGE_PASS_PARTITIONS == m->pass;
}

/* To the next input of this pass; at the end of it to sealing. */
static enum err next_input(struct merge *m)
{
	walk_free(m->walk);
	m->walk = NULL;
	while (m->input < m->input_count &&
	       !merged_in_pass(m, m->inputs[m->input].df))
		m->input++;
	if (m->input == m->input_count) {
		m->phase = PHASE_SEAL;
		m->seal = m->pass * MERGE_PASS_PARTITIONS;
		return OK;
	}
	return walk_new(m->inputs[m->input].df,
			m->inputs[m->input].last_sequence, &m->walk);
}

static enum err copy_one(struct merge *m, bool *at_end)
{
	struct input *in = &m->inputs[m->input];
	struct walk_item it;
	enum err err;

	err = walk_next(m->walk, &it);
	if (err)
		return err;
	switch (it.kind) {
	case WALK_FRAME:
		return OK;
	case WALK_DAMAGE:
		if (manifest_is_lost(m->losses, m->loss_count, in->df->id,
				     it.off, it.bytes))
			return OK;
		return unreadable(m, in->df, &it);
	case WALK_END:
		*at_end = true;
		return OK;
	case WALK_RECORD:
		break;
	}
	m->moved_bytes += it.bytes;
	if (it.record.partition >= m->e->o.partitions)
		return unreadable(m, in->df, &it);
	return judge(m, in, &it);
}

enum err merge_copy_step(struct merge *m)
{
	uint64_t began = m->moved_bytes;
	struct merge_part *largest = NULL;
	bool at_end = false;
	enum err err = OK;

	if (!m->walk)
		err = next_input(m);
	if (m->phase != PHASE_COPY)
		return err;
	for (int i = 0; !err && !at_end && i < MERGE_STEP_ITEMS &&
			m->moved_bytes - began < MERGE_STEP_BYTES;
	     i++)
		err = copy_one(m, &at_end);
	if (!err && open_items(m, &largest) > OUTPUT_RUN_ITEMS_MAX) {
		CHECK(largest);
		err = seal_output(m, largest);
	}
	if (err || !at_end)
		return err;
	atomic_fetch_add(&m->e->merge_bytes_read,
			 m->inputs[m->input].df->bytes);
	m->input++;
	walk_free(m->walk);
	m->walk = NULL;
	return OK;
}

/* The newest CONFIG goes last into the partition's output. */
static enum err put_config(struct merge *m, struct merge_part *p)
{
	struct record r;
	uint64_t bytes;
	enum err err = OK;

	if (p->config.n) {
		CHECK(record_decode(p->config.p, p->config.n, 0, true, &r,
				    &bytes) == RECORD_OK);
		r.flags &= ~RECORD_LOG_FLAGS;
		err = put_record(m, &r);
		buf_done(&p->config);
	}
	return err;
}

/*
 * After the last pass: what must be durable before the inputs may go. That is
 * all that was appended, not only what is settled: a record is judged by the
 * directory a moment before its index counts as applied, and the hard states
 * at the head of the active segment may be the only ones left.
 */
static void set_barrier(struct merge *m)
{
	for (uint32_t i = 0; i < m->e->o.partitions; i++)
		m->parts[i].exact_index =
			atomic_load(&m->e->partitions[i].settling_index);
	m->barrier_sequence = atomic_load(&m->e->log.used_sequence);
	m->phase = PHASE_BARRIER;
}

static bool pass_has_work(const struct merge *m, uint32_t pass)
{
	uint32_t first = pass * MERGE_PASS_PARTITIONS;

	for (uint32_t i = first;
	     i < m->e->o.partitions && i < first + MERGE_PASS_PARTITIONS; i++)
		if (m->parts[i].seen)
			return true;
	return false;
}

enum err merge_seal_step(struct merge *m)
{
	uint32_t end = (m->pass + 1) * MERGE_PASS_PARTITIONS;
	enum err err = OK;

	if (end > m->e->o.partitions)
		end = m->e->o.partitions;
	for (; !err && m->seal < end; m->seal++) {
		struct merge_part *p = &m->parts[m->seal];

		err = put_config(m, p);
		if (!err && p->output.maker) {
			err = seal_output(m, p);
			m->seal++;
			return err;
		}
	}
	if (err)
		return err;
	do
		m->pass++;
	while (m->pass * MERGE_PASS_PARTITIONS < m->e->o.partitions &&
	       !pass_has_work(m, m->pass));
	m->input = 0;
	m->phase = PHASE_COPY;
	if (m->pass * MERGE_PASS_PARTITIONS >= m->e->o.partitions)
		set_barrier(m);
	return OK;
}
