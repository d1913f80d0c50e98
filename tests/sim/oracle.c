/*
 * tests/sim/oracle.c - what must hold after every step of any node.
 *
 *   election safety        at most one leader of a group and term
 *   log matching           equal (index, term): equal bytes, equal predecessor
 *   leader completeness    a leader has what was committed in earlier terms
 *   commit is for ever     of an index one entry is committed, anywhere
 *   state machine safety   nothing is applied that is not committed; the state
 *                          is that of the entries, key by key
 *   no way back            commit and applied only rise while a node runs
 *
 * Each entry is read back from the log of each node as soon as it stands there
 * and again after every start: what a disk gives back is looked at, not what
 * was meant to be written.
 */
#include <stdlib.h>

#include "base/check.h"
#include "engine/replica.h"
#include "raft/core.h"
#include "store/store_internal.h"
#include "tests/sim/sim.h"

static void *must(void *p)
{
	CHECK(p);
	return p;
}

static void *grow(void *p, uint64_t *cap, uint64_t need, size_t size)
{
	uint64_t old = *cap;

	if (need < old)
		return p;
	*cap = 2 * need + 64;
	p = must(realloc(p, *cap * size));
	memset((uint8_t *)p + old * size, 0, (*cap - old) * size);
	return p;
}

static void reserve(struct sim_partition *sp, uint64_t index)
{
	uint64_t cap = sp->cap;

	sp->entries = grow(sp->entries, &cap, index, sizeof(*sp->entries));
	sp->committed = grow(sp->committed, &sp->cap, index,
			     2 * sizeof(*sp->committed));
}

/* Term of the committed entry, and the term in which it was seen first. */
static uint64_t *committed(struct sim_partition *sp, uint64_t index)
{
	reserve(sp, index);
	return &sp->committed[2 * index];
}

/* --------------------------------------------------------------- entries - */

static struct sim_entry *find_entry(struct sim_partition *sp, uint64_t index,
				    uint64_t term)
{
	struct sim_entry *e;

	reserve(sp, index);
	e = sp->entries[index];
	while (e && e->term != term)
		e = e->next;
	return e;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15;
	return h ^ h >> 32;
}

static struct sim_entry *digest(struct sim_model *m,
				const struct engine_entry *from)
{
	struct sim_entry *e = must(
		malloc(sizeof(*e) + from->record_count * sizeof(*e->records)));
	uint64_t h = mix(from->index, from->term);

	*e = (struct sim_entry){ .term = from->term,
				 .stamp_ns = from->stamp_ns,
				 .mtime_ns = from->mtime_ns,
				 .record_count = from->record_count };
	h = mix(mix(h, from->stamp_ns), from->mtime_ns);
	for (uint32_t i = 0; i < from->record_count; i++) {
		const struct engine_record *r = &from->records[i];

		e->records[i] = (struct sim_record){
			.type = r->type,
			.flags = r->flags & 63 & ~LOC_DAMAGED,
			.key = model_key(m, r->key),
			.value_hash = mix(model_value_hash(r->value),
					  model_hash(r->attrs)),
			.value_bytes = (uint32_t)r->value.n,
			.expiry_ns = r->expiry_ns,
		};
		h = mix(h, (uint64_t)r->type << 8 | e->records[i].flags);
		h = mix(h, model_hash(r->key));
		h = mix(h, e->records[i].value_hash);
		h = mix(h, r->expiry_ns);
	}
	e->hash = h;
	return e;
}

/* -------------------------------------------------------------- log clock - */

/*
 * A log clock goes on from the last stamp that was applied, at the pace of the
 * node's boot clock; who leads goes on from its own. offset: stamp less boot.
 */
static void follow_clock(struct sim *s, struct cluster_node *n, uint16_t p,
			 uint64_t applied, bool leads)
{
	struct sim_partition *sp = &s->oracle.partition[p];
	struct sim_copy *c = &s->oracle.copy[n->id][p];
	const struct sim_entry *e =
		find_entry(sp, applied, committed(sp, applied)[0]);
	int64_t offset;

	if (leads && c->leads)
		return;
	if (!e) {
		c->clock_known = false; /* a state was installed             */
		return;
	}
	offset = (int64_t)(e->stamp_ns - n->clock.boot);
	/* who has just changed its role: before or after it applied this? */
	if (leads == c->leads || offset > c->clock_ns)
		c->clock_ns = offset;
	c->clock_known = c->clock_known || leads == c->leads;
}

/* n leads and has just appended e. */
static void check_clock(struct sim *s, struct cluster_node *n, uint16_t p,
			uint64_t index, const struct sim_entry *e)
{
	struct sim_copy *c = &s->oracle.copy[n->id][p];
	const struct raft *r = n->store->partitions[p].raft;
	const struct sim_entry *before =
		find_entry(&s->oracle.partition[p], index - 1, e->prev_term);
	uint64_t limit = n->clock.boot + (uint64_t)c->clock_ns;

	if (r->role != RAFT_LEADER || r->term != e->term)
		return;
	if (before && limit < before->stamp_ns)
		limit = before->stamp_ns;
	if (c->clock_known && before && e->stamp_ns > limit + SIM_MS)
		sim_fail(s,
			 "partition %u entry %llu/%llu: n%llu stamps %llu ms "
			 "ahead of the log clock",
			 p, (unsigned long long)e->term,
			 (unsigned long long)index, (unsigned long long)n->id,
			 (unsigned long long)((e->stamp_ns - limit) / SIM_MS));
	c->clock_ns = (int64_t)(e->stamp_ns - n->clock.boot);
	c->clock_known = true;
}

/* The entry at index stands in n's log. */
static void meet_entry(struct sim *s, struct cluster_node *n, uint16_t p,
		       uint64_t index, uint64_t term,
		       struct engine_log_entry *le)
{
	struct sim_partition *sp = &s->oracle.partition[p];
	struct sim_entry *known = find_entry(sp, index, term), *e;
	enum err err = engine_log_read(n->engine, p, index, le);

	if (err == ERR_COMPACTED)
		return;
	if (err && s->damaged[n->id])
		return;
	if (err)
		sim_fail(s, "n%llu partition %u: entry %llu reads %s",
			 (unsigned long long)n->id, p,
			 (unsigned long long)index, err_text(err));
	if (le->entry.term != term || le->entry.index != index)
		sim_fail(
			s,
			"n%llu partition %u: entry %llu/%llu reads as %llu/%llu",
			(unsigned long long)n->id, p, (unsigned long long)term,
			(unsigned long long)index,
			(unsigned long long)le->entry.term,
			(unsigned long long)le->entry.index);
	e = digest(&sp->model, &le->entry);
	if (engine_term_at(n->engine, p, index - 1, &e->prev_term))
		e->prev_term = 0;
	check_clock(s, n, p, index, e);
	if (!known) {
		e->next = sp->entries[index];
		sp->entries[index] = e;
		return;
	}
	if (known->hash != e->hash)
		sim_fail(s,
			 "log matching: partition %u entry %llu/%llu of n%llu "
			 "is another one (%u records, not %u)",
			 p, (unsigned long long)term, (unsigned long long)index,
			 (unsigned long long)n->id, e->record_count,
			 known->record_count);
	if (known->prev_term && e->prev_term &&
	    known->prev_term != e->prev_term)
		sim_fail(s,
			 "log matching: partition %u, before %llu/%llu stands "
			 "term %llu on n%llu, elsewhere %llu",
			 p, (unsigned long long)term, (unsigned long long)index,
			 (unsigned long long)e->prev_term,
			 (unsigned long long)n->id,
			 (unsigned long long)known->prev_term);
	if (!known->prev_term)
		known->prev_term = e->prev_term;
	free(e);
}

/* Bring what is known of the copy's terms up to its log. */
static void look_at_log(struct sim *s, struct cluster_node *n, uint16_t p,
			const struct engine_partition_info *info)
{
	struct sim_copy *c = &s->oracle.copy[n->id][p];
	uint64_t first = engine_first_index(n->engine, p);
	uint64_t from = info->last_index < c->last_index ? info->last_index
							 : c->last_index;
	struct engine_log_entry le = { 0 };
	uint64_t term;

	c->terms = grow(c->terms, &c->terms_cap, info->last_index,
			sizeof(*c->terms));
	while (from >= first && from > 0 &&
	       (engine_term_at(n->engine, p, from, &term) ||
		c->terms[from] != term))
		from--;
	if (from + 1 < first)
		from = first - 1;
	for (uint64_t i = from + 1; i <= info->last_index; i++) {
		enum err err = engine_term_at(n->engine, p, i, &term);

		if (err)
			sim_fail(s, "n%llu partition %u: term of %llu: %s",
				 (unsigned long long)n->id, p,
				 (unsigned long long)i, err_text(err));
		c->terms[i] = term;
		meet_entry(s, n, p, i, term, &le);
	}
	engine_log_entry_done(&le);
	c->last_index = info->last_index;
	c->last_term = info->last_term;
}

/* ---------------------------------------------------------------- commit - */

static void commit_one(struct sim *s, struct cluster_node *n, uint16_t p,
		       uint64_t index, uint64_t in_term)
{
	struct sim_partition *sp = &s->oracle.partition[p];
	uint64_t *known = committed(sp, index);
	uint64_t term;

	if (engine_term_at(n->engine, p, index, &term))
		return; /* below its base: a snapshot's */
	if (!known[0]) {
		known[0] = term;
		known[1] = in_term;
	}
	if (known[0] != term)
		sim_fail(s,
			 "partition %u: n%llu has committed %llu/%llu, "
			 "elsewhere it is %llu/%llu",
			 p, (unsigned long long)n->id, (unsigned long long)term,
			 (unsigned long long)index,
			 (unsigned long long)known[0],
			 (unsigned long long)index);
	if (index > sp->committed_max)
		sp->committed_max = index;
}

static void look_at_commit(struct sim *s, struct cluster_node *n, uint16_t p,
			   uint64_t commit, uint64_t term)
{
	struct sim_copy *c = &s->oracle.copy[n->id][p];

	/* raft holds a state for installed that waits for room: the old log */
	if (n->store->partitions[p].installing)
		return;
	if (commit < c->commit)
		sim_fail(s, "n%llu partition %u: commit goes back to %llu",
			 (unsigned long long)n->id, p,
			 (unsigned long long)commit);
	for (uint64_t i = c->commit + 1; i <= commit; i++)
		commit_one(s, n, p, i, term);
	c->commit = commit;
}

static void look_at_applied(struct sim *s, struct cluster_node *n, uint16_t p,
			    uint64_t applied)
{
	struct sim_partition *sp = &s->oracle.partition[p];
	struct sim_copy *c = &s->oracle.copy[n->id][p];
	const char *wrong;

	if (applied < c->applied)
		sim_fail(s, "n%llu partition %u: applied goes back to %llu",
			 (unsigned long long)n->id, p,
			 (unsigned long long)applied);
	if (applied > sp->committed_max)
		sim_fail(s,
			 "n%llu partition %u: %llu is applied, not committed",
			 (unsigned long long)n->id, p,
			 (unsigned long long)applied);
	c->applied = applied;
	if (applied > sp->applied_max)
		sp->applied_max = applied;
	while (sp->model.applied < applied) {
		uint64_t i = sp->model.applied + 1;
		const struct sim_entry *e =
			find_entry(sp, i, committed(sp, i)[0]);

		if (!e)
			return; /* not read from any disk yet */
		wrong = model_apply(&sp->model, i, e);
		if (wrong)
			sim_fail(s, "partition %u entry %llu/%llu: %s", p,
				 (unsigned long long)e->term,
				 (unsigned long long)i, wrong);
		for (uint32_t r = 0; r < e->record_count; r++)
			s->count[SIM_expired] +=
				e->records[r].type == RECORD_EXPIRE;
	}
}

/* --------------------------------------------------------------- leaders - */

/* n has become the leader of term. */
static void check_complete(struct sim *s, struct cluster_node *n, uint16_t p,
			   uint64_t term)
{
	struct sim_partition *sp = &s->oracle.partition[p];
	uint64_t i = sp->committed_max, mine;

	while (i > 0 && committed(sp, i)[1] >= term)
		i--;
	if (i == 0 || engine_term_at(n->engine, p, i, &mine) == ERR_COMPACTED)
		return;
	if (engine_term_at(n->engine, p, i, &mine) ||
	    mine != committed(sp, i)[0])
		sim_fail(s,
			 "leader completeness: partition %u, n%llu leads term "
			 "%llu without %llu/%llu, committed in term %llu",
			 p, (unsigned long long)n->id, (unsigned long long)term,
			 (unsigned long long)committed(sp, i)[0],
			 (unsigned long long)i,
			 (unsigned long long)committed(sp, i)[1]);
}

static void look_at_leader(struct sim *s, struct cluster_node *n, uint16_t p,
			   bool leads, uint64_t term)
{
	struct sim_partition *sp = &s->oracle.partition[p];
	struct sim_copy *c = &s->oracle.copy[n->id][p];

	if (term < c->term)
		sim_fail(s, "n%llu partition %u: term goes back to %llu",
			 (unsigned long long)n->id, p,
			 (unsigned long long)term);
	if (leads && (!c->leads || c->term != term)) {
		sp->leader_of = grow(sp->leader_of, &sp->leader_cap, term,
				     sizeof(*sp->leader_of));
		if (sp->leader_of[term] && sp->leader_of[term] != n->id)
			sim_fail(s,
				 "election safety: partition %u term %llu is "
				 "led by n%llu and n%llu",
				 p, (unsigned long long)term,
				 (unsigned long long)sp->leader_of[term],
				 (unsigned long long)n->id);
		sp->leader_of[term] = n->id;
		if (sp->term_max)
			s->count[SIM_leader_changes]++;
		if (term > sp->term_max)
			sp->term_max = term;
		check_complete(s, n, p, term);
		sim_trace(s, "n%llu leads partition %u in term %llu",
			  (unsigned long long)n->id, p,
			  (unsigned long long)term);
		strike_leader(s, n->id, p);
	}
	c->leads = leads;
	c->term = term;
}

/* ------------------------------------------------------------------ looks - */

static void look_at(struct sim *s, struct cluster_node *n, uint16_t p)
{
	struct sim_copy *c = &s->oracle.copy[n->id][p];
	struct engine_partition_info info;
	struct raft_status st;
	struct sim_glance g;
	uint64_t applied;
	bool installed;

	raft_status(n->store->partitions[p].raft, &st);
	engine_partition_info(n->engine, p, &info);
	applied = info.applied_index;
	sim_glance(n->engine, p, &g);
	installed = g.installs != c->installs;
	c->installs = g.installs;
	if (installed) {
		sim_trace(s, "n%llu partition %u installed %llu",
			  (unsigned long long)n->id, p,
			  (unsigned long long)info.base_index);
		s->count[SIM_snapshot_installs]++;
	}
	if (info.last_index != c->last_index ||
	    info.last_term != c->last_term) {
		look_at_log(s, n, p, &info);
		if (st.role == RAFT_FOLLOWER && st.leader != RAFT_NOBODY &&
		    info.last_term < st.term)
			strike_old_entry(s, st.leader, p, info.last_term);
	}
	if (st.commit != c->commit)
		look_at_commit(s, n, p, st.commit, st.term);
	if (applied != c->applied) {
		look_at_applied(s, n, p, applied);
		follow_clock(s, n, p, applied, st.role == RAFT_LEADER);
		if (installed) /* with the clock of whoever sent it */
			c->clock_known = false;
	}
	if (st.term != c->term || (st.role == RAFT_LEADER) != c->leads)
		look_at_leader(s, n, p, st.role == RAFT_LEADER, st.term);
	if (n->store->partitions[p].conf_index != c->conf_index) {
		c->conf_index = n->store->partitions[p].conf_index;
		strike_at_change(s, n->id,
				 raft_conf_is_joint(raft_conf(
					 n->store->partitions[p].raft)));
	}
	sim_mix(s, st.term << 48 ^ st.commit << 32 ^ info.last_index << 16 ^
			   applied);
}

/* Is all as it was at the last look? */
static bool is_old(struct sim *s, struct cluster_node *n, uint16_t p)
{
	const struct sim_copy *c = &s->oracle.copy[n->id][p];
	const struct partition *sp = &n->store->partitions[p];
	struct sim_glance g;

	sim_glance(n->engine, p, &g);
	if (sp->raft->term != c->term ||
	    (sp->raft->role == RAFT_LEADER) != c->leads ||
	    sp->raft->log.commit != c->commit || g.applied != c->applied ||
	    g.last_index != c->last_index || g.last_term != c->last_term ||
	    sp->conf_index != c->conf_index)
		return false;
	sim_mix(s, sp->raft->term << 48 ^ sp->raft->log.commit << 32 ^
			   g.last_index << 16 ^ g.applied);
	return true;
}

void oracle_look(struct sim *s, struct cluster_node *n)
{
	if (!n->store)
		return;
	for (uint32_t p = 0; p < s->plan.partitions; p++)
		if (!is_old(s, n, (uint16_t)p))
			look_at(s, n, (uint16_t)p);
}

void oracle_started(struct sim *s, struct cluster_node *n)
{
	for (uint32_t p = 0; p < s->plan.partitions; p++) {
		struct sim_copy *c = &s->oracle.copy[n->id][p];
		struct engine_partition_info info;

		*c = (struct sim_copy){ .terms = c->terms,
					.terms_cap = c->terms_cap };
		if (c->terms_cap)
			memset(c->terms, 0, c->terms_cap * sizeof(*c->terms));
		engine_partition_info(n->engine, (uint16_t)p, &info);
		/* What it knew before is no news now. */
		c->commit = info.base_index;
		c->applied = info.base_index;
		c->conf_index = n->store->partitions[p].conf_index;
	}
	oracle_look(s, n);
	for (uint32_t p = 0; p < s->plan.partitions; p++) {
		struct sim_copy *c = &s->oracle.copy[n->id][p];
		struct engine_partition_info info;

		engine_partition_info(n->engine, (uint16_t)p, &info);
		c->clock_ns = (int64_t)(info.last_stamp_ns - n->clock.boot);
		c->clock_known = true;
	}
}

/* ---------------------------------------------------------- comparisons -- */

static void compare_key(struct sim *s, struct cluster_node *n, uint16_t p,
			uint32_t k, const struct sim_version *want,
			bool damage_ok)
{
	const struct sim_model *m = &s->oracle.partition[p].model;
	struct bytes key = m->keys[k].key;
	struct engine_value v;
	enum err err = engine_get(n->engine, p, key, ENGINE_VERIFY, &v);
	bool same;

	if ((err == ERR_CORRUPT || err == ERR_IO) && damage_ok && want)
		return;
	if (err) {
		if (want || err != ERR_NOT_FOUND)
			sim_fail(s,
				 "n%llu partition %u: \"%.*s\" is %s, not of "
				 "%llu",
				 (unsigned long long)n->id, p, (int)key.n,
				 (const char *)key.p, err_text(err),
				 want ? (unsigned long long)version_index(
						want->version)
				      : 0ull);
		return;
	}
	same = want && v.version == want->version &&
	       mix(model_value_hash(v.value), model_hash(v.attrs)) ==
		       want->value_hash &&
	       v.expiry_ns == want->expiry_ns && v.mtime_ns == want->mtime_ns;
	if (!same)
		sim_fail(
			s,
			"n%llu partition %u: \"%.*s\" is of %llu, not of %llu, "
			"or differs%s",
			(unsigned long long)n->id, p, (int)key.n,
			(const char *)key.p,
			(unsigned long long)version_index(v.version),
			want ? (unsigned long long)version_index(want->version)
			     : 0ull,
			want ? "" : " (a deleted key is back)");
	engine_value_done(&v);
}

static uint64_t count_all(struct cluster_node *n, uint16_t p)
{
	struct engine_iter it;
	struct engine_info info;
	struct bytes key;
	uint64_t count = 0;
	bool more;

	engine_iter_begin(n->engine, p, &it);
	more = engine_iter_seek(&it, bytes_str(""), &key, &info);
	for (; more; more = engine_iter_next(&it, &key, &info))
		count++;
	engine_iter_end(&it);
	return count;
}

void oracle_compare(struct sim *s, struct cluster_node *n, bool damage_ok)
{
	for (uint32_t p = 0; p < s->plan.partitions; p++) {
		const struct sim_model *m = &s->oracle.partition[p].model;
		uint64_t applied = engine_applied_index(n->engine, (uint16_t)p);
		uint64_t live = 0, there;

		if (m->applied < applied)
			continue;
		for (uint32_t k = 0; k < m->key_count; k++) {
			const struct sim_version *v = model_at(m, k, applied);

			live += v != NULL;
			compare_key(s, n, (uint16_t)p, k, v, damage_ok);
		}
		there = count_all(n, (uint16_t)p);
		if (there != live)
			sim_fail(s, "n%llu partition %u: %llu keys, not %llu",
				 (unsigned long long)n->id, p,
				 (unsigned long long)there,
				 (unsigned long long)live);
	}
	s->count[SIM_full_comparisons]++;
}

const struct sim_entry *oracle_entry(struct sim *s, uint32_t partition,
				     uint64_t index)
{
	struct sim_partition *sp = &s->oracle.partition[partition];

	return find_entry(sp, index, committed(sp, index)[0]);
}

void oracle_done(struct sim *s)
{
	for (uint32_t p = 0; p < SIM_PARTITIONS_MAX; p++) {
		struct sim_partition *sp = &s->oracle.partition[p];

		for (uint64_t i = 0; i < sp->cap; i++) {
			while (sp->entries[i]) {
				struct sim_entry *e = sp->entries[i];

				sp->entries[i] = e->next;
				free(e);
			}
		}
		free(sp->entries);
		free(sp->committed);
		free(sp->leader_of);
		model_done(&sp->model);
		for (int id = 0; id <= CLUSTER_NODES_MAX; id++)
			free(s->oracle.copy[id][p].terms);
	}
}
