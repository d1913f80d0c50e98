#include "tests/lib/raft_group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"

void rg_hold(struct rg *g, bool cond, const char *what, int line)
{
	if (cond)
		return;
	fprintf(stderr, "SEED=%llu step %llu line %d: does not hold: %s\n",
		(unsigned long long)g->seed_number, (unsigned long long)g->step,
		line, what);
	fail_msg("SEED=%llu: %s", (unsigned long long)g->seed_number, what);
}

static void *grow(void *p, uint64_t need, uint64_t *cap, size_t size)
{
	uint64_t old = *cap;

	if (need <= old)
		return p;
	*cap = need > 2 * old ? need + 64 : 2 * old;
	p = realloc(p, *cap * size);
	CHECK(p != NULL);
	memset((char *)p + old * size, 0, (*cap - old) * size);
	return p;
}

/* ---------------------------------------------------------------- logs --- */

static struct rg_entry *entry_at(const struct rg_log *l, uint64_t index)
{
	if (index < l->first || index > l->last)
		return NULL;
	return &l->e[index];
}

static uint64_t term_at(const struct rg_log *l, uint64_t index)
{
	const struct rg_entry *e = entry_at(l, index);

	if (e)
		return e->term;
	return index + 1 == l->first ? l->base_term : 0;
}

static void put_entry(struct rg_log *l, uint64_t index,
		      const struct rg_entry *e)
{
	CHECK(index <= l->last + 1);
	if (index < l->first)
		return;
	l->e = grow(l->e, index + 1, &l->cap, sizeof(*l->e));
	l->e[index] = *e;
	l->last = index;
}

static void reset_log(struct rg_log *l, uint64_t index, uint64_t term)
{
	l->first = index + 1;
	l->base_term = term;
	l->last = index;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	h ^= v + UINT64_C(0x9e3779b97f4a7c15) + (h << 6) + (h >> 2);
	return h * UINT64_C(0xff51afd7ed558ccd);
}

/* -------------------------------------------------------------- oracle --- */

static void rehash(struct rg *g)
{
	struct rg_identity *old = g->identity;
	uint64_t i, k, cap = g->identity_cap;

	g->identity_cap = cap ? 2 * cap : 1024;
	g->identity = calloc(g->identity_cap, sizeof(*old));
	CHECK(g->identity != NULL);
	for (i = 0; i < cap; i++) {
		if (old[i].index == 0)
			continue;
		k = mix(old[i].index, old[i].term) % g->identity_cap;
		while (g->identity[k].index)
			k = (k + 1) % g->identity_cap;
		g->identity[k] = old[i];
	}
	free(old);
}

/* Log matching, by induction: same place and term, same entry, same past. */
static void check_identity(struct rg *g, const struct rg_log *l, uint64_t index)
{
	const struct rg_entry *e = entry_at(l, index);
	uint64_t prev = term_at(l, index - 1), k;

	if (!e)
		return;
	if (2 * g->identity_count >= g->identity_cap)
		rehash(g);
	k = mix(index, e->term) % g->identity_cap;
	while (g->identity[k].index && (g->identity[k].index != index ||
					g->identity[k].term != e->term))
		k = (k + 1) % g->identity_cap;
	if (g->identity[k].index == 0) {
		g->identity[k] = (struct rg_identity){ index, e->term,
						       e->payload, prev };
		g->identity_count++;
		return;
	}
	RG_HOLD(g, g->identity[k].payload == e->payload);
	RG_HOLD(g, g->identity[k].prev_term == prev);
}

static void check_leader(struct rg_node *n, uint64_t term)
{
	struct rg *g = n->g;
	uint64_t i;

	g->leader_of = grow(g->leader_of, term + 1, &g->leader_of_cap,
			    sizeof(*g->leader_of));
	RG_HOLD(g, g->leader_of[term] == 0 || g->leader_of[term] == n->id);
	if (g->leader_of[term] == n->id)
		return;
	g->leader_of[term] = n->id;
	g->count.elections++;
	for (i = n->mem.first; i <= g->committed_last; i++) {
		const struct rg_entry *e = entry_at(&n->mem, i);

		if (g->committed[i].applied_in >= term)
			continue;
		RG_HOLD(g, e != NULL);
		RG_HOLD(g, e && e->term == g->committed[i].term);
	}
}

static void check_applied(struct rg_node *n, uint64_t index,
			  const struct rg_entry *e)
{
	struct rg *g = n->g;
	struct rg_committed *c;

	n->hash = mix(mix(n->hash, e->term), e->payload);
	g->committed = grow(g->committed, index + 1, &g->committed_cap,
			    sizeof(*g->committed));
	c = &g->committed[index];
	if (index > g->committed_last) {
		RG_HOLD(g, index == g->committed_last + 1);
		*c = (struct rg_committed){ e->term, e->payload, n->hash,
					    rg_term(n) };
		g->committed_last = index;
		g->count.committed++;
		return;
	}
	RG_HOLD(g, c->term == e->term);
	RG_HOLD(g, c->payload == e->payload);
	RG_HOLD(g, c->hash == n->hash);
	if (rg_term(n) < c->applied_in)
		c->applied_in = rg_term(n);
}

static void check_grant(struct rg_node *n, const struct raft_grant *grant)
{
	struct rg *g = n->g;

	CHECK(grant->context > 0 && grant->context <= g->read_count);
	RG_HOLD(g, g->reads[grant->context - 1].node == n->id);
	RG_HOLD(g, grant->index >= g->reads[grant->context - 1].least);
	g->count.reads++;
}

/* ---------------------------------------------------------------- view --- */

static enum err view_term(void *ctx, uint64_t index, uint64_t *term)
{
	struct rg_node *n = ctx;

	if (!entry_at(&n->mem, index))
		return ERR_COMPACTED;
	*term = entry_at(&n->mem, index)->term;
	return OK;
}

static uint32_t view_fit(void *ctx, uint64_t from, uint64_t to,
			 uint64_t bytes_max, uint64_t *bytes)
{
	struct rg_node *n = ctx;
	uint32_t count = 0;

	*bytes = 0;
	for (; from <= to && entry_at(&n->mem, from); from++, count++) {
		if (count > 0 && *bytes + 100 > bytes_max)
			break;
		*bytes += 100;
	}
	return count;
}

static bool view_has_change(void *ctx, uint64_t from, uint64_t to)
{
	struct rg_node *n = ctx;

	for (; from <= to; from++) {
		if (entry_at(&n->mem, from) && entry_at(&n->mem, from)->change)
			return true;
	}
	return false;
}

static enum err view_snapshot(void *ctx, struct raft_snapshot *s)
{
	struct rg_node *n = ctx;

	n->wants_snapshot = true; /* a newer one, for the next time */
	if (n->snap.meta.index + 1 < n->mem.first || n->snap.meta.index == 0)
		return ERR_BUSY;
	*s = n->snap.meta;
	return OK;
}

/* ------------------------------------------------------------ messages --- */

static void msg_free(struct rg_msg *m)
{
	free(m->entries);
	m->entries = NULL;
}

static void msg_copy(struct rg_msg *to, const struct rg_msg *from)
{
	*to = *from;
	if (!from->entries)
		return;
	to->entries = calloc(from->m.entry_count, sizeof(*to->entries));
	CHECK(to->entries != NULL);
	memcpy(to->entries, from->entries,
	       from->m.entry_count * sizeof(*to->entries));
}

/* Fill in what raft leaves to the driver. */
static void msg_make(struct rg_node *n, struct rg_msg *to,
		     const struct raft_msg *m)
{
	uint32_t i;

	memset(to, 0, sizeof(*to));
	to->m = *m;
	to->m.snapshot = NULL;
	if (m->entry_count > 0) {
		to->entries = calloc(m->entry_count, sizeof(*to->entries));
		CHECK(to->entries != NULL);
		for (i = 0; i < m->entry_count; i++) {
			CHECK(entry_at(&n->mem, m->index + 1 + i) != NULL);
			to->entries[i] = *entry_at(&n->mem, m->index + 1 + i);
		}
	}
	if (m->snapshot) {
		n->g->count.snapshots++;
		CHECK(m->snapshot->index == n->snap.meta.index);
		to->snapshot = n->snap;
	}
}

static void pool_add(struct rg *g, const struct rg_msg *m)
{
	uint64_t cap = g->pool_cap;

	g->pool = grow(g->pool, g->pool_count + 1, &cap, sizeof(*g->pool));
	g->pool_cap = (uint32_t)cap;
	g->pool[g->pool_count++] = *m;
}

static void batch_free(struct rg_batch *b)
{
	uint32_t i;

	for (i = 0; i < b->after_count; i++)
		msg_free(&b->after[i]);
	free(b->after);
	free(b->entries);
}

/* ------------------------------------------------------ driving a node --- */

static void take_own(struct rg_node *n)
{
	struct raft_own own;

	while (raft_take_own(n->raft, &own)) {
		struct rg_entry e = { .term = own.term,
				      .payload = ++n->g->next_payload };

		if (own.leave_joint) {
			struct rg *g = n->g;

			g->changes = realloc(g->changes,
					     (g->change_count + 2) *
						     sizeof(*g->changes));
			CHECK(g->changes != NULL);
			e.change = ++g->change_count;
			memset(&g->changes[e.change], 0, sizeof(*g->changes));
		}
		put_entry(&n->mem, own.index, &e);
		check_identity(n->g, &n->mem, own.index);
	}
}

static void apply(struct rg_node *n)
{
	struct rg *g = n->g;
	uint64_t i;

	for (i = n->apply_from; i <= n->apply_to; i++) {
		struct rg_entry e = *entry_at(&n->mem, i);

		if (i <= n->applied)
			continue;
		check_applied(n, i, &e);
		n->applied = i;
		if (e.change &&
		    raft_apply_conf(n->raft, &g->changes[e.change]) == OK)
			g->count.changes++;
		take_own(n);
		raft_applied(n->raft, i);
		take_own(n);
	}
	n->apply_from = 1;
	n->apply_to = 0;
}

static void queue_batch(struct rg_node *n, const struct raft_ready *rd)
{
	struct rg_batch *b;
	uint64_t i;

	n->batch = realloc(n->batch, (n->batch_count + 1) * sizeof(*b));
	CHECK(n->batch != NULL);
	b = &n->batch[n->batch_count++];
	*b = (struct rg_batch){ .has_hard = rd->hard_changed,
				.hard = rd->hard,
				.from = rd->persist_from,
				.to = rd->persist_to,
				.has_point = rd->has_point,
				.point = rd->point };
	if (b->from <= b->to) {
		b->entries = calloc(b->to - b->from + 1, sizeof(*b->entries));
		CHECK(b->entries != NULL);
		for (i = b->from; i <= b->to; i++)
			b->entries[i - b->from] = *entry_at(&n->mem, i);
	}
	if (rd->snapshot) {
		CHECK(rd->snapshot->index == n->incoming.meta.index);
		b->has_snapshot = true;
		b->snapshot = n->incoming;
	}
	b->after = calloc(rd->after_count + 1, sizeof(*b->after));
	CHECK(b->after != NULL);
	b->after_count = rd->after_count;
	for (i = 0; i < rd->after_count; i++)
		msg_make(n, &b->after[i], &rd->after_msgs[i]);
}

static bool take_snapshot(struct rg_node *n)
{
	struct raft_status s;

	raft_status(n->raft, &s);
	if (s.snapshot_pending || n->batch_count > 0 || n->applied == 0 ||
	    n->applied > n->disk.last || n->applied < n->mem.first)
		return false;
	n->snap.meta.index = n->applied;
	n->snap.meta.term = term_at(&n->mem, n->applied);
	n->snap.meta.conf = *raft_conf(n->raft);
	n->snap.hash = n->hash;
	n->wants_snapshot = false;
	return true;
}

static void handle_ready(struct rg_node *n)
{
	struct raft_ready rd;
	uint32_t i;

	take_own(n);
	while (raft_has_ready(n->raft)) {
		raft_ready(n->raft, &rd);
		if (rd.soft_changed && rd.role == RAFT_LEADER)
			check_leader(n, rd.hard.term);
		n->role = rd.role;
		for (i = 0; i < rd.msg_count; i++) {
			struct rg_msg m;

			msg_make(n, &m, &rd.msgs[i]);
			pool_add(n->g, &m);
		}
		for (i = 0; i < rd.grant_count; i++)
			check_grant(n, &rd.grants[i]);
		queue_batch(n, &rd);
		if (rd.apply_from <= rd.apply_to) {
			n->apply_from = rd.apply_from;
			n->apply_to = rd.apply_to;
			apply(n);
		}
		while (n->g->bulk_disk && rg_sync(n))
			;
	}
	if (n->wants_snapshot)
		(void)take_snapshot(n); /* else at the next chance */
}

uint64_t rg_now(const struct rg_node *n)
{
	return n->g->now_ns / 1000 * n->clock_permille + 1;
}

void rg_tick(struct rg_node *n)
{
	raft_set_time(n->raft, rg_now(n));
	CHECK(raft_tick(n->raft) == OK);
	handle_ready(n);
}

void rg_campaign(struct rg_node *n)
{
	CHECK(raft_campaign(n->raft) == OK);
	handle_ready(n);
}

bool rg_propose(struct rg_node *n)
{
	struct rg_entry e = { .payload = ++n->g->next_payload };
	uint64_t index;

	if (raft_proposable(n->raft, 100, &index, &e.term))
		return false;
	put_entry(&n->mem, index, &e);
	check_identity(n->g, &n->mem, index);
	raft_propose(n->raft, 1, 100);
	handle_ready(n);
	return true;
}

bool rg_change(struct rg_node *n, const struct raft_change *change)
{
	struct rg_entry e = { .payload = ++n->g->next_payload };
	struct rg *g = n->g;
	uint64_t index;

	if (raft_proposable(n->raft, 100, &index, &e.term) ||
	    raft_change_refusal(n->raft, change) != RAFT_CHANGE_OK)
		return false;
	g->changes = realloc(g->changes,
			     (g->change_count + 2) * sizeof(*g->changes));
	CHECK(g->changes != NULL);
	e.change = ++g->change_count;
	g->changes[e.change] = *change;
	put_entry(&n->mem, index, &e);
	check_identity(g, &n->mem, index);
	raft_propose_change(n->raft, change, 100);
	handle_ready(n);
	return true;
}

bool rg_read(struct rg_node *n)
{
	struct rg *g = n->g;

	g->reads = realloc(g->reads, (g->read_count + 1) * sizeof(*g->reads));
	CHECK(g->reads != NULL);
	g->reads[g->read_count++] =
		(struct rg_read){ n->id, g->committed_last };
	raft_set_time(n->raft, rg_now(n));
	if (raft_lease_holds(n->raft, rg_now(n)))
		g->count.lease_reads++;
	if (raft_read(n->raft, g->read_count))
		return false;
	handle_ready(n);
	return true;
}

void rg_transfer(struct rg_node *n, uint64_t to)
{
	if (raft_transfer(n->raft, to) == OK)
		n->g->count.transfers++;
	handle_ready(n);
}

static void write_batch(struct rg_node *n, const struct rg_batch *b)
{
	uint64_t i;

	if (b->has_hard)
		n->hard = b->hard;
	if (b->has_snapshot) {
		n->snap = b->snapshot;
		reset_log(&n->disk, b->snapshot.meta.index,
			  b->snapshot.meta.term);
	}
	for (i = b->from; i <= b->to; i++)
		put_entry(&n->disk, i, &b->entries[i - b->from]);
}

static void step(struct rg_node *n, const struct rg_msg *m, uint32_t kept);

bool rg_sync(struct rg_node *n)
{
	struct rg_batch b;
	uint32_t i;

	if (n->batch_count == 0)
		return false;
	b = n->batch[0];
	n->batch_count--;
	memmove(n->batch, n->batch + 1, n->batch_count * sizeof(b));
	write_batch(n, &b);
	for (i = 0; i < b.after_count; i++) {
		struct rg_msg *m = &b.after[i];

		if (m->m.to == n->id) {
			step(n, m, UINT32_MAX);
		} else {
			pool_add(n->g, m);
			m->entries = NULL;
		}
	}
	if (b.has_point) {
		if (b.point.term < rg_term(n))
			n->g->count.late_acks++;
		if (b.has_snapshot && b.point.snapshot_index > n->applied) {
			struct rg *g = n->g;

			n->applied = b.point.snapshot_index;
			n->hash = b.snapshot.hash;
			RG_HOLD(g, n->applied <= g->committed_last);
			RG_HOLD(g, g->committed[n->applied].hash == n->hash);
		}
		raft_persisted(n->raft, &b.point);
	}
	batch_free(&b);
	handle_ready(n);
	return true;
}

static void drop_batches(struct rg_node *n)
{
	while (n->batch_count > 0)
		batch_free(&n->batch[--n->batch_count]);
}

static void start(struct rg_node *n)
{
	struct raft_config c = n->g->o.config;

	c.id = n->id;
	c.seed = seed_next(&n->g->seed);
	c.term = n->hard.term;
	c.vote = n->hard.vote;
	c.commit = n->hard.commit;
	c.first_index = n->disk.first;
	c.base_term = n->disk.base_term;
	c.last_index = n->disk.last;
	c.last_term = term_at(&n->disk, n->disk.last);
	c.applied = n->snap.meta.index;
	c.conf = n->snap.meta.conf;
	c.view = (struct raft_log_view){ n, view_term, view_fit,
					 view_has_change, view_snapshot };
	n->applied = n->snap.meta.index;
	n->hash = n->snap.hash;
	n->apply_from = 1;
	n->apply_to = 0;
	CHECK(raft_new(&c, &n->raft) == OK);
	n->role = RAFT_FOLLOWER;
	raft_set_time(n->raft, rg_now(n));
}

void rg_crash(struct rg_node *n, uint32_t kept)
{
	uint32_t i;

	for (i = 0; i < kept && i < n->batch_count; i++)
		write_batch(n, &n->batch[i]);
	drop_batches(n);
	raft_free(n->raft);
	n->raft = NULL;
	n->g->count.crashes++;
}

void rg_restart(struct rg_node *n)
{
	uint64_t i;

	reset_log(&n->mem, n->disk.first - 1, n->disk.base_term);
	for (i = n->disk.first; i <= n->disk.last; i++)
		put_entry(&n->mem, i, entry_at(&n->disk, i));
	start(n);
	handle_ready(n);
}

void rg_compact(struct rg_node *n, uint64_t index)
{
	if (index < n->mem.first || index > n->applied || !take_snapshot(n))
		return;
	raft_compacted(n->raft, index + 1);
	n->mem.base_term = term_at(&n->mem, index);
	n->mem.first = index + 1;
	n->disk.base_term = n->mem.base_term;
	n->disk.first = index + 1;
}

/* kept: so many of the accepted entries get into the log, then it is full. */
static void step(struct rg_node *n, const struct rg_msg *m, uint32_t kept)
{
	struct rg *g = n->g;
	struct raft_msg rm = m->m;
	uint64_t *terms = calloc(rm.entry_count + 1, sizeof(*terms));
	struct raft_accepted accepted;
	enum err err;
	uint32_t i;

	CHECK(terms != NULL);
	for (i = 0; i < rm.entry_count; i++)
		terms[i] = m->entries[i].term;
	rm.entry_terms = terms;
	rm.snapshot = m->snapshot.meta.index ? &m->snapshot.meta : NULL;
	raft_set_time(n->raft, rg_now(n));
	err = raft_step(n->raft, &rm, &accepted);
	free(terms);
	RG_HOLD(g, err != ERR_INVALID);
	RG_HOLD(g, err != ERR_FULL);
	if (err == ERR_CORRUPT) {
		n->alarm = true;
		g->count.alarms++;
	}
	if (accepted.count > 0 && accepted.from <= n->mem.last) {
		RG_HOLD(g, accepted.from > n->applied);
		g->count.truncations++;
	}
	for (i = 0; i < accepted.count && i < kept; i++) {
		put_entry(&n->mem, accepted.from + i,
			  &m->entries[rm.entry_count - accepted.count + i]);
		check_identity(g, &n->mem, accepted.from + i);
	}
	if (i < accepted.count) {
		raft_cut(n->raft, accepted.from + i);
		n->mem.last = accepted.from + i - 1;
		g->count.cuts++;
	}
	if (accepted.snapshot) {
		n->incoming = m->snapshot;
		reset_log(&n->mem, m->snapshot.meta.index,
			  m->snapshot.meta.term);
	}
	handle_ready(n);
}

static void forget(struct rg *g, uint32_t i)
{
	msg_free(&g->pool[i]);
	g->pool[i] = g->pool[--g->pool_count];
}

/* A driver knows how the streaming of a snapshot ended, and tells. */
static void report_snapshot(struct rg *g, const struct raft_msg *m, bool ok)
{
	struct rg_node *from = &g->node[m->from];

	if (m->type != RAFT_MSG_SNAPSHOT || !from->raft)
		return;
	raft_snapshot_sent(from->raft, m->to, ok);
	handle_ready(from);
}

void rg_drop(struct rg *g, uint32_t i)
{
	struct raft_msg m = g->pool[i].m;

	forget(g, i);
	report_snapshot(g, &m, false);
}

static void arrive(struct rg *g, const struct rg_msg *m, uint32_t kept)
{
	bool up = m->m.to <= g->o.nodes && g->node[m->m.to].raft;

	if (up)
		step(&g->node[m->m.to], m, kept);
	report_snapshot(g, &m->m, up);
}

void rg_deliver(struct rg *g, uint32_t i, bool keep)
{
	uint32_t kept = UINT32_MAX;
	struct rg_msg m;

	msg_copy(&m, &g->pool[i]);
	if (!keep)
		forget(g, i);
	if (m.m.entry_count > 0 && !g->bulk_disk &&
	    seed_below(&g->seed, 50) == 0)
		kept = (uint32_t)seed_below(&g->seed, m.m.entry_count);
	arrive(g, &m, kept);
	msg_free(&m);
}

void rg_settle(struct rg *g)
{
	bool busy = true;
	uint32_t i, rounds = 0;

	while (busy && rounds++ < RG_SETTLE_MAX) {
		busy = false;
		for (i = 1; i <= g->o.nodes; i++) {
			while (g->node[i].raft && rg_sync(&g->node[i]))
				busy = true;
		}
		if (g->pool_count > 0) {
			/* in the order sent: the first goes, the rest moves */
			struct rg_msg first = g->pool[0];

			memmove(g->pool, g->pool + 1,
				--g->pool_count * sizeof(first));
			arrive(g, &first, UINT32_MAX);
			msg_free(&first);
			busy = true;
		}
	}
}

/* ---------------------------------------------------------- the group ---- */

void rg_options_default(struct rg_options *o, uint32_t voters)
{
	memset(o, 0, sizeof(*o));
	o->nodes = voters;
	o->voters = voters;
	raft_config_default(&o->config);
	o->config.restart_guard = false;
}

void rg_init(struct rg *g, const struct rg_options *o, uint64_t seed)
{
	struct raft_conf conf = { 0 };
	uint64_t id;

	CHECK(o->nodes <= RG_NODES_MAX);
	memset(g, 0, sizeof(*g));
	g->o = *o;
	g->seed_number = seed;
	g->now_ns = 1;
	seed_init(&g->seed, seed);
	for (id = 1; id <= o->voters; id++)
		CHECK(raft_conf_add(&conf, id, RAFT_VOTER) == OK);
	for (id = 1; id <= o->nodes; id++) {
		struct rg_node *n = &g->node[id];

		n->g = g;
		n->id = id;
		n->clock_permille = 1000;
		reset_log(&n->mem, 0, 0);
		reset_log(&n->disk, 0, 0);
		if (id <= o->voters)
			n->snap.meta.conf = conf;
		start(n);
	}
}

void rg_done(struct rg *g)
{
	uint64_t id;

	for (id = 1; id <= g->o.nodes; id++) {
		struct rg_node *n = &g->node[id];

		drop_batches(n);
		free(n->batch);
		raft_free(n->raft);
		free(n->mem.e);
		free(n->disk.e);
	}
	while (g->pool_count > 0)
		forget(g, 0);
	free(g->pool);
	free(g->changes);
	free(g->reads);
	free(g->leader_of);
	free(g->identity);
	free(g->committed);
}

struct rg_node *rg_leader(struct rg *g)
{
	struct rg_node *best = NULL;
	uint64_t id;

	for (id = 1; id <= g->o.nodes; id++) {
		struct rg_node *n = &g->node[id];

		if (n->raft && n->role == RAFT_LEADER &&
		    (!best || rg_term(n) > rg_term(best)))
			best = n;
	}
	return best;
}

uint64_t rg_last(const struct rg_node *n)
{
	struct raft_status s;

	raft_status(n->raft, &s);
	return s.last_index;
}

uint64_t rg_commit(const struct rg_node *n)
{
	struct raft_status s;

	raft_status(n->raft, &s);
	return s.commit;
}

uint64_t rg_term(const struct rg_node *n)
{
	struct raft_status s;

	raft_status(n->raft, &s);
	return s.term;
}
