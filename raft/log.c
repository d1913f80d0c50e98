/*
 * raft/log.c - the log's shape: how long, which term stands where, how far it
 * is durable, committed and applied.
 *
 * first <= offset <= in_progress <= last + 1, applied <= applying <= commit,
 * commit <= last. Nothing at or below commit is ever replaced: leader
 * completeness (paper 5.4.3) says nobody can rightly ask for it.
 */
#include "raft/core.h"

static void check_log(const struct log *l)
{
	CHECK(l->applied <= l->applying);
	CHECK(l->applying <= l->commit);
	CHECK(l->commit <= l->last);
	CHECK(l->offset <= l->in_progress);
	CHECK(l->in_progress <= l->last + 1);
}

void log_init(struct raft *r)
{
	const struct raft_config *c = &r->c;
	struct log *l = &r->log;

	l->first = c->first_index;
	l->base_term = c->base_term;
	l->last = c->last_index;
	l->commit = c->commit;
	if (l->commit > l->last) /* its unsynced end was lost */
		l->commit = l->last;
	if (l->commit < c->applied)
		l->commit = c->applied;
	l->applied = c->applied;
	l->applying = c->applied;
	l->offset = l->last + 1;
	l->in_progress = l->offset;
	l->run[0] = (struct term_run){ l->last, c->last_term };
	l->run_count = 1;
	check_log(l);
}

enum err log_term(const struct raft *r, uint64_t index, uint64_t *term)
{
	const struct log *l = &r->log;
	uint32_t i;

	if (l->has_snapshot && index == l->snapshot.index) {
		*term = l->snapshot.term;
		return OK;
	}
	if (index > l->last)
		return ERR_NOT_FOUND;
	if (index + 1 < l->first)
		return ERR_COMPACTED;
	for (i = l->run_count; i-- > 0;) {
		if (l->run[i].index <= index) {
			*term = l->run[i].term;
			return OK;
		}
	}
	if (index + 1 == l->first) {
		*term = l->base_term;
		return OK;
	}
	return r->c.view.term(r->c.view.ctx, index, term);
}

uint64_t log_term_or_0(const struct raft *r, uint64_t index)
{
	uint64_t term;

	return log_term(r, index, &term) ? 0 : term;
}

enum err raft_term_at(const struct raft *r, uint64_t index, uint64_t *term)
{
	return log_term(r, index, term);
}

bool log_matches(const struct raft *r, uint64_t index, uint64_t term)
{
	uint64_t mine;

	return log_term(r, index, &mine) == OK && mine == term;
}

void log_extend(struct raft *r, uint64_t term, uint64_t n)
{
	struct log *l = &r->log;
	uint32_t i;

	CHECK(n > 0);
	if (l->run_count > 0) {
		CHECK(l->run[l->run_count - 1].term <= term);
		if (l->run[l->run_count - 1].term == term) {
			l->last += n;
			return;
		}
	}
	if (l->run_count == RUNS_MAX) { /* older ones: the driver knows */
		for (i = 1; i < RUNS_MAX; i++)
			l->run[i - 1] = l->run[i];
		l->run_count--;
	}
	l->run[l->run_count++] = (struct term_run){ l->last + 1, term };
	l->last += n;
}

/*
 * The log ends before from. Appends that are queued and name entries that no
 * longer exist are not sent.
 */
static void shorten(struct raft *r, uint64_t from)
{
	struct log *l = &r->log;

	CHECK(from > l->commit);
	while (l->run_count > 0 && l->run[l->run_count - 1].index >= from)
		l->run_count--;
	if (from <= l->last)
		output_drop_appends(r, from);
	l->last = from - 1;
}

/*
 * Entries from `from` on are these now (paper 5.3: a conflicting entry and all
 * that follow it go). What was being written below from still counts.
 */
void log_replace(struct raft *r, uint64_t from, const uint64_t *terms,
		 uint32_t n)
{
	struct log *l = &r->log;
	uint32_t i;

	CHECK(n > 0);
	CHECK(from <= l->last + 1);
	if (from == l->last + 1) {
		/* only longer */
	} else if (from <= l->offset) {
		TRACE(r, .kind = RAFT_EV_LOG_REPLACED, .a = from);
		shorten(r, from);
		l->offset = from;
		l->in_progress = from;
	} else {
		TRACE(r, .kind = RAFT_EV_LOG_CUT, .a = from);
		shorten(r, from);
		if (l->in_progress > from)
			l->in_progress = from;
	}
	for (i = 0; i < n; i++)
		log_extend(r, terms[i], 1);
	check_log(l);
}

/* The driver could not keep entries from `from` on (raft_cut). */
void log_cut(struct raft *r, uint64_t from)
{
	struct log *l = &r->log;

	if (from > l->last)
		return;
	CHECK(from >= l->in_progress);
	if (l->commit >= from) {
		CHECK(l->applying < from);
		l->commit = from - 1;
	}
	shorten(r, from);
	check_log(l);
}

void log_commit_to(struct raft *r, uint64_t index)
{
	if (index <= r->log.commit)
		return;
	CHECK(index <= r->log.last);
	r->log.commit = index;
}

/*
 * The largest index at or below index whose term is at most term: everything
 * above cannot match a log in which the term at index is `term` (paper 5.3,
 * the optimisation at its end). found_term 0: not known.
 */
void log_find_by_term(const struct raft *r, uint64_t index, uint64_t term,
		      uint64_t *found, uint64_t *found_term)
{
	uint64_t mine;

	for (; index > 0; index--) {
		if (log_term(r, index, &mine)) {
			*found = index;
			*found_term = 0;
			return;
		}
		if (mine <= term) {
			*found = index;
			*found_term = mine;
			return;
		}
	}
	*found = 0;
	*found_term = 0;
}

/* The snapshot stands in for the whole log (paper 7, figure 13, step 7). */
void log_restore(struct raft *r, const struct raft_snapshot *s)
{
	struct log *l = &r->log;

	CHECK(s->index > l->commit);
	output_drop_appends(r, 0);
	l->has_snapshot = true;
	l->snapshot_in_progress = false;
	l->snapshot = *s;
	l->commit = s->index;
	l->first = s->index + 1;
	l->base_term = s->term;
	l->last = s->index;
	l->run[0] = (struct term_run){ s->index, s->term };
	l->run_count = 1;
	l->offset = s->index + 1;
	l->in_progress = l->offset;
	check_log(l);
}

/*
 * Entries up to index are durable, if it is still the entry of this term that
 * stands there: what was truncated meanwhile does not count.
 */
void log_persisted(struct raft *r, uint64_t index, uint64_t term)
{
	struct log *l = &r->log;
	uint64_t mine;

	if (l->has_snapshot && index == l->snapshot.index) {
		TRACE(r, .kind = RAFT_EV_POINT_SNAPSHOT, .a = index);
		return;
	}
	if (index < l->offset || index > l->last) {
		TRACE(r, .kind = RAFT_EV_POINT_MISSING, .a = index);
		return;
	}
	if (log_term(r, index, &mine) || mine != term) {
		TRACE(r, .kind = RAFT_EV_POINT_MISMATCH, .a = index, .b = term,
		      .c = log_term_or_0(r, index));
		return;
	}
	l->offset = index + 1;
	if (l->in_progress < l->offset)
		l->in_progress = l->offset;
	check_log(l);
}

void log_snapshot_installed(struct raft *r, uint64_t index)
{
	struct log *l = &r->log;

	if (!l->has_snapshot || l->snapshot.index != index)
		return; /* a newer one has come */
	l->has_snapshot = false;
	l->snapshot_in_progress = false;
}

uint64_t log_durable(const struct raft *r, uint64_t index)
{
	if (r->missing && index >= r->missing)
		return r->missing - 1;
	return index;
}

uint64_t log_appliable(const struct raft *r)
{
	const struct log *l = &r->log;

	if (r->c.apply_unpersisted || l->commit < l->offset)
		return l->commit;
	return l->offset - 1;
}

uint64_t log_unclaimed(const struct raft *r)
{
	return r->own_count ? r->own[0].index - 1 : r->log.last;
}

void raft_compacted(struct raft *r, uint64_t first_index)
{
	struct log *l = &r->log;
	uint64_t term;
	uint32_t i, drop = 0;

	if (first_index <= l->first)
		return;
	CHECK(first_index <= l->applied + 1);
	CHECK(log_term(r, first_index - 1, &term) == OK);
	l->first = first_index;
	l->base_term = term;
	while (drop + 1 < l->run_count && l->run[drop + 1].index < first_index)
		drop++;
	for (i = drop; i < l->run_count; i++)
		l->run[i - drop] = l->run[i];
	l->run_count -= drop;
}
