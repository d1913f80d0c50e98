/*
 * store/members_plan.c - see members_plan.h.
 */
#include "store/members_plan.h"

enum { VOTERS_FEW = 3 }; /* with fewer, no voter may fail */

struct plan {
	const struct members *ms;
	const struct raft_conf *conf;
	const struct plan_facts *f;
	struct raft_change *change;
	bool waits;
};

static const struct member *find(const struct members *ms, uint64_t id)
{
	for (uint32_t i = 0; i < ms->count; i++) {
		if (ms->list[i].m.id == id)
			return &ms->list[i];
	}
	return NULL;
}

/* Is id to be no member? What the map does not know yet is left alone. */
static bool is_to_go(const struct members *ms, uint64_t id)
{
	const struct member *m = find(ms, id);

	return m ? m->leaving : !ms->damaged && id < ms->next_id;
}

/* The majority of the voters of conf: up? */
static bool majority_is_up(const struct raft_conf *conf,
			   const struct plan_facts *f, uint32_t *voters)
{
	uint32_t up = 0;

	*voters = 0;
	for (uint32_t i = 0; i < conf->count; i++) {
		if (!(conf->role[i] & RAFT_VOTER))
			continue;
		++*voters;
		up += conf->id[i] == f->self || f->is_up(f->ctx, conf->id[i]);
	}
	return up > *voters / 2;
}

bool plan_is_safe_without(const struct raft_conf *conf,
			  const struct plan_facts *f, const uint64_t *ids,
			  uint32_t count, uint32_t *voters)
{
	struct raft_conf rest = *conf;

	for (uint32_t i = 0; i < rest.count; i++) {
		for (uint32_t k = 0; k < count; k++) {
			if (rest.id[i] == ids[k])
				rest.role[i] &= (uint8_t)~RAFT_VOTER;
		}
	}
	return majority_is_up(&rest, f, voters);
}

/* The changed configuration has voters of which a majority is up. */
static bool try_change(struct plan *p)
{
	struct raft_conf to;
	uint32_t voters;

	if (raft_conf_change(p->conf, p->change, &to))
		return false;
	return majority_is_up(&to, p->f, &voters);
}

static bool set_change(struct plan *p, enum raft_change_op op, uint64_t id)
{
	*p->change =
		(struct raft_change){ .transition = RAFT_AUTO, .count = 1 };
	p->change->item[0].op = op;
	p->change->item[0].id = id;
	return try_change(p);
}

/* ----------------------------------------------------------------- steps -- */

/* Must id, which is to go, be kept until other groups have let it go? */
static bool is_kept_here(struct plan *p, uint64_t id)
{
	bool kept = p->f->is_elsewhere && p->f->is_elsewhere(p->f->ctx, id);

	p->waits |= kept;
	return kept;
}

/* A learner that is to go costs nothing to remove. */
static bool remove_learner(struct plan *p)
{
	for (uint32_t i = 0; i < p->conf->count; i++) {
		uint64_t id = p->conf->id[i];

		if (p->conf->role[i] == RAFT_LEARNER && is_to_go(p->ms, id) &&
		    !is_kept_here(p, id))
			return set_change(p, RAFT_REMOVE, id);
	}
	return false;
}

static bool add_learner(struct plan *p)
{
	for (uint32_t i = 0; i < p->ms->count; i++) {
		const struct member *m = &p->ms->list[i];

		if (m->leaving || raft_conf_role(p->conf, m->m.id))
			continue;
		p->waits = true; /* one day there is room for it */
		if (p->conf->count < RAFT_MEMBERS_MAX)
			return set_change(p, RAFT_ADD_LEARNER, m->m.id);
	}
	return false;
}

/* Is there a learner that is to take the place of voter id? */
static bool is_kept_for(const struct plan *p, uint64_t id)
{
	for (uint32_t i = 0; i < p->ms->count; i++) {
		const struct member *m = &p->ms->list[i];

		if (m->replaces == id && !m->leaving && !m->m.stays_learner &&
		    !(raft_conf_role(p->conf, m->m.id) & RAFT_VOTER))
			return true;
	}
	return false;
}

/* Would few vote without id, which does, while one more is about to? */
static bool is_kept_for_now(const struct plan *p, uint64_t id)
{
	uint32_t voters = 0;
	bool one_comes = false;

	for (uint32_t i = 0; i < p->conf->count; i++) {
		uint64_t other = p->conf->id[i];
		const struct member *m = find(p->ms, other);

		voters += (p->conf->role[i] & RAFT_VOTER) != 0;
		one_comes |= p->conf->role[i] == RAFT_LEARNER && m &&
			     !m->leaving && !m->m.stays_learner &&
			     p->f->is_up(p->f->ctx, other);
	}
	return voters <= VOTERS_FEW && one_comes &&
	       (id == p->f->self || p->f->is_up(p->f->ctx, id));
}

static bool remove_voter(struct plan *p)
{
	bool self_too = false;

	for (uint32_t i = 0; i < p->conf->count; i++) {
		uint64_t id = p->conf->id[i];

		if (!(p->conf->role[i] & RAFT_VOTER) || !is_to_go(p->ms, id))
			continue;
		p->waits = true;
		if (is_kept_for(p, id) || is_kept_for_now(p, id) ||
		    is_kept_here(p, id))
			continue;
		if (id == p->f->self)
			self_too = true; /* last */
		else if (set_change(p, RAFT_REMOVE, id))
			return true;
	}
	return self_too && set_change(p, RAFT_REMOVE, p->f->self);
}

static bool promote_learner(struct plan *p)
{
	for (uint32_t i = 0; i < p->conf->count; i++) {
		uint64_t id = p->conf->id[i];
		const struct member *m = find(p->ms, id);

		if (p->conf->role[i] != RAFT_LEARNER || !m || m->leaving ||
		    m->m.stays_learner)
			continue;
		p->waits = true;
		if (!p->f->is_up(p->f->ctx, id) ||
		    !p->f->is_caught_up(p->f->ctx, id))
			continue;
		set_change(p, RAFT_ADD_VOTER, id);
		if (m->replaces && is_to_go(p->ms, m->replaces) &&
		    (raft_conf_role(p->conf, m->replaces) & RAFT_VOTER)) {
			if (is_kept_here(p, m->replaces))
				continue;
			p->change->transition = RAFT_IMPLICIT;
			p->change->count = 2;
			p->change->item[1].op = RAFT_REMOVE;
			p->change->item[1].id = m->replaces;
		}
		if (try_change(p))
			return true;
	}
	return false;
}

static bool removes_self(const struct plan *p)
{
	for (uint32_t i = 0; i < p->change->count; i++) {
		if (p->change->item[i].op == RAFT_REMOVE &&
		    p->change->item[i].id == p->f->self)
			return true;
	}
	return false;
}

enum plan_step members_plan(const struct members *ms,
			    const struct raft_conf *conf,
			    const struct plan_facts *f,
			    struct raft_change *change)
{
	struct plan p = { .ms = ms, .conf = conf, .f = f, .change = change };

	if (raft_conf_is_joint(conf))
		return PLAN_WAIT; /* raft leaves it by itself */
	if (!remove_learner(&p) && !add_learner(&p) && !remove_voter(&p) &&
	    !promote_learner(&p))
		return p.waits ? PLAN_WAIT : PLAN_DONE;
	return removes_self(&p) ? PLAN_HAND_OVER : PLAN_CHANGE;
}
