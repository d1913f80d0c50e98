/*
 * engine/offline_state.c - terms and votes that are damaged in both places.
 *
 * An older term or vote never takes the place of a damaged one, so the
 * directory does not open. A node that was alone may give them up: nobody else
 * ever had its vote. Its term begins anew above every term that is found.
 */
#include <stdlib.h>

#include "engine/offline_internal.h"
#include "engine/state.h"

/* What the log says of one partition. */
struct found_state {
	bool found, damaged; /* the newest hard state                     */
	struct engine_hard_state hs;
	uint64_t term; /* highest of any sound record                     */
};

static void see_record(struct found_state *f, const struct walk_item *it)
{
	const struct record *r = &it->record;

	if (r->type != RECORD_HARD_STATE) {
		f->term = r->term > f->term ? r->term : f->term;
		return;
	}
	f->found = true;
	f->damaged = it->state != RECORD_OK || r->value.n < 24;
	if (f->damaged)
		return;
	f->hs.term = get_u64(r->value.p);
	f->hs.vote = get_u64(r->value.p + 8);
	f->term = f->hs.term > f->term ? f->hs.term : f->term;
}

static enum err look_at_log(struct offline_dir *d,
			    const struct manifest_file *m,
			    struct found_state *states)
{
	struct walk_item it = { .kind = WALK_FRAME };
	struct datafile *df;
	struct walk *w;
	enum err err;

	if (datafile_open(&d->owner, DATAFILE_LOG, 0, m, &df))
		return OK; /* told, and given up, as a file */
	err = walk_new(df, 0, &w);
	if (err)
		goto out_close;
	while (!err && it.kind != WALK_END) {
		err = walk_next(w, &it);
		if (!err && it.kind == WALK_RECORD &&
		    it.record.partition < d->manifest.partition_count)
			see_record(&states[it.record.partition], &it);
	}
	walk_free(w);
out_close:
	datafile_close(df);
	return err;
}

/* As engine_open chooses; what is lost becomes a term nobody has seen. */
static void choose(struct offline_dir *d, uint32_t i,
		   const struct found_state *f, const struct state_place *place,
		   struct engine_hard_state *out, uint32_t *lost)
{
	uint64_t second = place->slots ? place->states[i].term : 0;

	*out = f->hs;
	if (place->slots &&
	    (second > out->term || (second == out->term && !out->vote)))
		*out = place->states[i];
	if (!f->found || !f->damaged || place->sure)
		return;
	*out = (struct engine_hard_state){
		.term = (f->term > second ? f->term : second) + 1
	};
	++*lost;
	offline_sayf(d,
		     "%s: term and vote of partition %u are damaged in both "
		     "places; a member of a cluster must be replaced instead "
		     "(raftcask members replace), for it may vote twice",
		     d->dir, i);
}

static enum err rewrite(struct engine *e, const struct state_place *place)
{
	enum err err = state_open(e, place->sequence);

	if (!err)
		err = state_write(e);
	if (!err)
		err = state_write(e); /* both slots */
	vfs_close(e->state_file);
	return err;
}

enum err offline_states(struct offline_dir *d, bool give_up, uint32_t *lost)
{
	uint32_t n = d->manifest.partition_count;
	struct found_state *states = calloc(n, sizeof(*states));
	struct partition *parts = calloc(n, sizeof(*parts));
	struct engine *e = calloc(1, sizeof(*e)); /* only to reach the file */
	struct state_place place = { 0 };
	char *dir = strdup(d->dir);
	enum err err = states && parts && e && dir ? OK : ERR_NOMEM;

	*lost = 0;
	for (uint32_t i = 0; !err && i < d->manifest.log_count; i++)
		err = look_at_log(d, &d->manifest.log[i], states);
	if (!err) {
		e->o.vfs = d->vfs;
		e->dir = dir;
		e->manifest = d->manifest;
		e->o.partitions = n;
		e->owner.node_id = d->manifest.node_id;
		memcpy(e->owner.cluster_id, d->manifest.cluster_id, 16);
		e->partitions = parts;
		err = state_read(e, &place);
	}
	for (uint32_t i = 0; !err && i < n; i++)
		choose(d, i, &states[i], &place, &parts[i].hard_state, lost);
	if (!err && give_up && *lost)
		err = rewrite(e, &place);
	free(place.states);
	free(dir);
	free(e);
	free(parts);
	free(states);
	return err;
}
