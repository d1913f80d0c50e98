/*
 * node/formation_judge.c - the decision; see formation.h. Pure.
 */
#include <stdio.h>

#include "base/check.h"
#include "node/formation.h"

static bool is_empty(const struct report *r)
{
	return r->state == IDENTITY_NONE || r->state == IDENTITY_CLAIMING;
}

/* It belongs to a cluster that stands. */
static bool has_formed(const struct report *r)
{
	return r->state == IDENTITY_FORMED || r->state == IDENTITY_JOINING ||
	       r->state == IDENTITY_MEMBER || r->state == IDENTITY_ALONE;
}

/* A member whose files do not open: it is not empty and decides nothing. */
static bool is_damaged(const struct report *r)
{
	return r->state == IDENTITY_DAMAGED;
}

/*
 * Prepared for the list as it is now. If the list was changed since, nothing
 * was formed by the new one, and the node counts as empty; unless the old one
 * did form: judge_formed.
 */
static bool is_prepared(const struct formation_view *v)
{
	return formation_is_prepared(v->identity, v->roster, v->partitions);
}

bool formation_is_prepared(const struct identity *id, const struct roster *r,
			   uint32_t partitions)
{
	return id->state == IDENTITY_PREPARED && id->partitions == partitions &&
	       roster_equal(&id->roster, r);
}

static bool agrees(const struct formation_view *v, const struct report *r)
{
	return roster_equal(v->roster, &r->roster) &&
	       v->partitions == r->partitions;
}

static bool is_self(const struct formation_view *v, uint32_t i)
{
	return strcmp(v->roster->member[i].name, v->name) == 0;
}

/* Words for the operator; without memory for them the decision stands. */
#define SAY(why, ...) (void)!buf_addf(why, __VA_ARGS__)

/*
 * Lists or partitions differ. Whoever is outnumbered gives up, so that the
 * others can wait for its correction; with as many on either side, who differs
 * from the first.
 */
static bool judge_lists(const struct formation_view *v,
			struct formation_decision *d, struct buf *why)
{
	uint32_t agree = 1, differ = 0, at = 0;
	bool first_differs;
	const struct report *r;

	for (uint32_t i = 0; i < v->roster->count; i++) {
		r = v->report[i];
		if (is_self(v, i) || !r || has_formed(r) || is_damaged(r))
			continue;
		if (agrees(v, r)) {
			agree++;
		} else {
			at = differ++ ? at : i;
		}
	}
	if (!differ)
		return false;
	r = v->report[at];
	d->key = "cluster.members";
	if (!roster_equal(v->roster, &r->roster)) {
		SAY(why, "this node's list is ");
		(void)!roster_text(v->roster, why);
		SAY(why, ", that of %s is ", v->roster->member[at].name);
		(void)!roster_text(&r->roster, why);
		SAY(why, ": it must be the same, in the same order, with the "
			 "same addresses, on all");
	} else {
		d->key = "cluster.partitions";
		SAY(why,
		    "%u partitions here, %u on %s: the number must be "
		    "the same on all",
		    v->partitions, r->partitions, v->roster->member[at].name);
	}
	first_differs = !is_self(v, 0) && at == 0;
	d->action = differ > agree || (differ == agree && first_differs)
			    ? FORMATION_REFUSE
			    : FORMATION_WAIT;
	return true;
}

/* Someone else answers there. */
static bool judge_names(const struct formation_view *v,
			struct formation_decision *d, struct buf *why)
{
	for (uint32_t i = 0; i < v->roster->count; i++) {
		const struct report *r = v->report[i];
		const struct store_member *m = &v->roster->member[i];

		if (is_self(v, i) || !r || strcmp(r->name, m->name) == 0)
			continue;
		SAY(why, "%s of %s is answered by %s", m->peer, m->name,
		    r->name);
		d->action = FORMATION_WAIT;
		return true;
	}
	return false;
}

/* Not all are there. */
static bool judge_silence(const struct formation_view *v,
			  struct formation_decision *d, struct buf *why)
{
	uint32_t silent = 0;

	for (uint32_t i = 0; i < v->roster->count; i++) {
		const struct store_member *m = &v->roster->member[i];

		if (is_self(v, i) || v->report[i])
			continue;
		SAY(why, "%s%s at %s", silent++ ? ", " : "waits for ", m->name,
		    m->peer);
		if (v->silence[i] && v->silence[i][0])
			SAY(why, " (%s)", v->silence[i]);
	}
	d->action = FORMATION_WAIT;
	return silent > 0;
}

static bool same_id(const uint8_t a[16], const uint8_t b[16])
{
	return memcmp(a, b, 16) == 0;
}

/* The cluster is there already: as one of its founders, or as a newcomer. */
static bool judge_formed(const struct formation_view *v,
			 struct formation_decision *d, struct buf *why)
{
	bool found = false;

	for (uint32_t i = 0; i < v->roster->count; i++) {
		const struct report *r = v->report[i];

		if (is_self(v, i) || !r || !has_formed(r))
			continue;
		if (v->identity->state == IDENTITY_PREPARED &&
		    same_id(v->identity->cluster_id, r->cluster_id)) {
			d->action = FORMATION_FORM;
			return true;
		}
		if (found)
			continue;
		found = true;
		d->action = FORMATION_CLAIM;
		d->at = i;
		SAY(why, "%s belongs to a cluster that stands",
		    v->roster->member[i].name);
	}
	return found;
}

/*
 * It has been a member: it forms nothing, and claims its next id of the
 * cluster that it was in.
 */
static void judge_damaged(const struct formation_view *v,
			  struct formation_decision *d, struct buf *why)
{
	for (uint32_t i = 0; i < v->roster->count; i++) {
		const struct report *r = v->report[i];

		if (is_self(v, i) || !r || !has_formed(r))
			continue;
		if (same_id(v->identity->cluster_id, r->cluster_id)) {
			d->action = FORMATION_CLAIM;
			d->at = i;
			why->n = 0;
			return;
		}
		SAY(why, "%s%s belongs to another cluster", why->n ? ", " : "",
		    r->name);
	}
	if (!why->n && !judge_silence(v, d, why))
		SAY(why, "no other node serves");
}

/* All others are there, empty or prepared, with the same list. */
static void judge_first(const struct formation_view *v,
			struct formation_decision *d, struct buf *why)
{
	const struct report *of = NULL;
	uint32_t empty = 0;

	for (uint32_t i = 0; i < v->roster->count; i++) {
		const struct report *r = v->report[i];

		if (is_self(v, i))
			continue;
		if (is_empty(r)) {
			empty++;
			continue;
		}
		if (is_damaged(r)) {
			SAY(why, "%s waits with damaged files", r->name);
			return;
		}
		if (r->state != IDENTITY_PREPARED) {
			SAY(why,
			    "%s was removed from a cluster; its data "
			    "directory must be emptied",
			    r->name);
			return;
		}
		if (is_prepared(v) &&
		    !same_id(r->cluster_id, v->identity->cluster_id)) {
			empty++; /* it will follow */
			continue;
		}
		if (of && !same_id(of->cluster_id, r->cluster_id)) {
			SAY(why,
			    "%s and %s are prepared for different "
			    "clusters; empty the data directory of one",
			    of->name, r->name);
			return;
		}
		of = r;
	}
	if (is_prepared(v)) {
		if (empty)
			SAY(why, "waits until all are prepared");
		else
			d->action = FORMATION_FORM;
		return;
	}
	d->action = FORMATION_PREPARE;
	if (of)
		memcpy(d->cluster_id, of->cluster_id, 16);
}

static void judge_other(const struct formation_view *v,
			struct formation_decision *d, struct buf *why)
{
	const struct report *first = v->report[0];

	if (first->state != IDENTITY_PREPARED ||
	    (is_prepared(v) &&
	     same_id(v->identity->cluster_id, first->cluster_id))) {
		SAY(why, "waits for %s to form the cluster", first->name);
		return;
	}
	d->action = FORMATION_PREPARE;
	memcpy(d->cluster_id, first->cluster_id, 16);
}

enum err formation_judge(const struct formation_view *v,
			 struct formation_decision *d, struct buf *why)
{
	memset(d, 0, sizeof(*d));
	d->action = FORMATION_WAIT;
	CHECK(roster_find(v->roster, v->name));
	if (v->identity->state == IDENTITY_DAMAGED) {
		judge_damaged(v, d, why);
		return OK;
	}
	if (judge_names(v, d, why) || judge_formed(v, d, why) ||
	    judge_lists(v, d, why) || judge_silence(v, d, why))
		return OK;
	if (is_self(v, 0))
		judge_first(v, d, why);
	else
		judge_other(v, d, why);
	return OK;
}
