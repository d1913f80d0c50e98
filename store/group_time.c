/*
 * store/group_time.c - what groups do because time passes.
 *
 * One clock for all groups of the node: at each tick every group with other
 * members gets its raft_tick, so the heartbeats of all of them travel in one
 * message for each peer; whatever waits too long is given up. Ticks that come
 * late are not made up for: a node that stood still must not take that for the
 * silence of a leader. A store whose groups are all of one has no ticks.
 */
#include "base/check.h"
#include "store/group_internal.h"

enum {
	RETRY_MS = 10,
	TEND_EVERY = 10,	   /* ticks                                 */
	TELL_NS = 2 * 1000 * 1000, /* a commit index no entry goes with     */
};

bool group_has_others(const struct partition *p)
{
	const struct raft_conf *c = raft_conf(p->raft);

	return c->count > 1 || (c->count == 1 && c->id[0] != p->s->self_id);
}

/* A broken one hears no tick, but what waits for it must be given up. */
static bool needs_ticks(const struct partition *p)
{
	return p->raft &&
	       (p->broken || p->role != RAFT_LEADER || group_has_others(p));
}

static bool leads_others(const struct partition *p)
{
	const struct raft_conf *c;
	uint32_t voters = 0;

	if (!p->raft || p->broken || p->role != RAFT_LEADER)
		return false;
	c = raft_conf(p->raft);
	for (uint32_t i = 0; i < c->count; i++)
		voters += (c->role[i] & RAFT_VOTER) != 0;
	return voters > 1;
}

static void hand_over(struct partition *p)
{
	struct raft_status st;
	uint64_t to;

	if (!leads_others(p) || !group_open(p))
		return;
	raft_status(p->raft, &st);
	if (st.transferee != RAFT_NOBODY)
		return; /* under way; raft gives it up by itself */
	to = raft_successor(p->raft);
	/* nobody, or no room for a message: again at the next tick */
	if (to != RAFT_NOBODY && raft_transfer(p->raft, to) == OK)
		group_fed(p);
}

void store_hand_over(struct store *s)
{
	s->groups->hand_over_ticks =
		2 * (uint32_t)(s->o.election_ms / s->o.heartbeat_ms);
	for (uint32_t i = 0; i < s->partition_count; i++)
		hand_over(&s->partitions[i]);
}

bool store_leads(struct store *s)
{
	for (uint32_t i = 0; i < s->partition_count; i++) {
		if (leads_others(&s->partitions[i]))
			return true;
	}
	return false;
}

static void tick(struct store *s, struct partition *p)
{
	if (!group_open(p))
		return;
	if (s->groups->hand_over_ticks > 0)
		hand_over(p);
	raft_set_time(p->raft, clock_boot_ns(s->o.clock));
	/* ERR_FULL: a ready is due; the tick does not count */
	if (raft_tick(p->raft) == OK)
		group_fed(p);
	p->apply_stuck = false;
	if (group_has_work(p))
		group_touch(p);
}

/* The slowest of those that are alive still wants the log from there on. */
static uint64_t wanted_from(const struct partition *p)
{
	uint64_t from = UINT64_MAX;

	for (uint32_t i = 0; i < raft_conf(p->raft)->count; i++) {
		struct raft_progress at;
		uint64_t next;

		raft_progress_at(p->raft, i, &at);
		next = at.match + 1;
		if (at.flow == RAFT_FLOW_SNAPSHOT)
			next = at.pending_snapshot + 1;
		if (at.id != p->s->self_id && at.active && next < from)
			from = next;
	}
	return from;
}

/* Tell the engine what of the log is wanted, and raft what is left of it. */
static void tend_log(struct store *s, struct partition *p)
{
	uint64_t wanted = UINT64_MAX;

	if (!group_open(p))
		return;
	if (p->role == RAFT_LEADER && group_has_others(p))
		wanted = wanted_from(p);
	engine_log_keep(s->engine, p->id, wanted);
	raft_compacted(p->raft, engine_first_index(s->engine, p->id));
}

void groups_tick(struct store *s)
{
	uint64_t now_ns = clock_mono_ns(s->o.clock);
	struct groups *g = s->groups;
	bool tend;

	if (!s->ticking || now_ns < s->next_tick_ns)
		return;
	s->next_tick_ns += s->tick_ns;
	if (s->next_tick_ns <= now_ns) /* late ones are not made up for */
		s->next_tick_ns = now_ns + s->tick_ns;
	s->ticking = false;
	tend = ++g->ticks % TEND_EVERY == 0;
	for (uint32_t i = 0; i < s->partition_count; i++) {
		struct partition *p = &s->partitions[i];

		s->ticking |= p->broken; /* what waits for it is given up */
		if (needs_ticks(p)) {
			s->ticking = true;
			tick(s, p);
		}
		requests_expire(s, p);
		reads_expire(s, p);
		if (tend)
			tend_log(s, p);
	}
	if (g->hand_over_ticks > 0)
		g->hand_over_ticks--;
}

/* ---------------------------------------------------------- commit index - */

void group_note_untold(struct partition *p)
{
	struct groups *g = p->s->groups;

	if (!p->raft || p->broken || p->role != RAFT_LEADER ||
	    !raft_commit_is_untold(p->raft)) {
		p->untold_ns = 0;
		return;
	}
	if (p->untold_ns)
		return;
	p->untold_ns = clock_mono_ns(p->s->o.clock);
	if (!g->tell_ns || p->untold_ns + TELL_NS < g->tell_ns)
		g->tell_ns = p->untold_ns + TELL_NS;
}

void group_tell(struct partition *p, uint64_t member)
{
	if (p->role != RAFT_LEADER || !group_open(p))
		return;
	raft_tell_commit(p->raft, member);
	if (raft_has_ready(p->raft))
		group_touch(p);
}

void groups_tell(struct store *s)
{
	struct groups *g = s->groups;
	uint64_t now_ns;

	if (!g->tell_ns)
		return;
	now_ns = clock_mono_ns(s->o.clock);
	if (now_ns < g->tell_ns)
		return;
	g->tell_ns = 0;
	for (uint32_t i = 0; i < s->partition_count; i++) {
		struct partition *p = &s->partitions[i];
		uint64_t at_ns = p->untold_ns + TELL_NS;

		if (!p->untold_ns)
			continue;
		if (at_ns <= now_ns) {
			p->untold_ns = 0;
			group_tell(p, RAFT_NOBODY);
		} else if (!g->tell_ns || at_ns < g->tell_ns) {
			g->tell_ns = at_ns;
		}
	}
}

void groups_watch_time(struct store *s)
{
	if (s->ticking)
		return;
	s->ticking = true;
	s->next_tick_ns = clock_mono_ns(s->o.clock) + s->tick_ns;
}

uint64_t groups_wait_ms(struct store *s)
{
	uint64_t now_ns = clock_mono_ns(s->o.clock), at_ns = UINT64_MAX;

	for (uint32_t i = 0; i < s->active_count; i++) {
		if (!group_is_stuck(s->active[i]))
			return 0;
	}
	if (s->retry)
		return RETRY_MS;
	if (s->ticking)
		at_ns = s->next_tick_ns;
	if (s->groups->tell_ns && s->groups->tell_ns < at_ns)
		at_ns = s->groups->tell_ns;
	if (at_ns == UINT64_MAX)
		return UINT64_MAX;
	return now_ns >= at_ns ? 0 : (at_ns - now_ns + 999999) / 1000000;
}
