/*
 * store/members_show.c - who was heard of, and what other threads are shown.
 */
#include <stdio.h>

#include "base/check.h"
#include "base/net.h"
#include "store/group_internal.h"
#include "store/members_internal.h"
#include "store/reports.h"
#include "store/state.h"

uint64_t members_election_ns(const struct store *s)
{
	return (s->o.election_ms ? s->o.election_ms : 1000) * 1000000;
}

/* ---------------------------------------------------------------- heard -- */

static struct heard *find_heard(struct members *ms, uint64_t id)
{
	for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
		if (count_of(&ms->heard[i].id) == id)
			return &ms->heard[i];
	}
	return NULL;
}

void members_heard(struct store *s, uint64_t id)
{
	struct members *ms = s->members;
	struct heard *h = find_heard(ms, id);

	if (!h) {
		/* Whose slot nobody asks for any more. */
		for (uint32_t i = 0; i < MEMBERS_MAX && !h; i++) {
			if (!member_find(s, count_of(&ms->heard[i].id)))
				h = &ms->heard[i];
		}
		if (!h)
			return;
		atomic_store_explicit(&h->id, id, memory_order_relaxed);
	}
	atomic_store_explicit(&h->ns, clock_mono_ns(s->o.clock),
			      memory_order_relaxed);
}

/* How long ago; UINT64_MAX: never since the start. Thread: any. */
static uint64_t silent_ns(struct store *s, uint64_t id)
{
	struct heard *h = find_heard(s->members, id);
	uint64_t ns = h ? count_of(&h->ns) : 0;
	uint64_t now_ns = clock_mono_ns(s->o.clock);

	if (!ns)
		return UINT64_MAX;
	return now_ns > ns ? now_ns - ns : 0;
}

bool members_is_up(struct store *s, uint64_t id)
{
	return id == s->self_id ||
	       silent_ns(s, id) < 2 * members_election_ns(s);
}

bool members_is_here(struct store *s, uint64_t id)
{
	return s->o.net && s->o.net->is_up(s->o.net, id) &&
	       silent_ns(s, id) < members_election_ns(s);
}

/* ---------------------------------------------------------------- shown -- */

static void show_progress(struct partition *p, struct store_member_status *st)
{
	struct raft_status status;

	raft_status(p->raft, &status);
	st->match = members_match(p, st->member.id, &status);
	st->lag = status.last_index - st->match;
	st->progress_known = true;
}

/* On a node that does not lead; told: NULL if nobody did. */
static void show_told(const struct told *told, struct store_member_status *st)
{
	for (uint32_t i = 0; told && i < told->count; i++) {
		if (told->rows[i].id != st->member.id)
			continue;
		st->match = told->rows[i].match;
		st->lag = told->last_index - st->match;
		st->progress_known = true;
	}
}

/* Of every group that this node leads: what the members have not confirmed. */
static void show_led_lag(struct store *s, struct members_shown *shown)
{
	for (uint32_t i = 0; i < s->partition_count; i++) {
		struct partition *p = &s->partitions[i];
		struct raft_progress at;
		struct raft_status st;

		if (!p->raft || p->role != RAFT_LEADER)
			continue;
		raft_status(p->raft, &st);
		for (uint32_t k = 0; k < shown->count; k++) {
			struct store_member_status *m = &shown->list[k];

			if (m->member.id != s->self_id &&
			    raft_progress_of(p->raft, m->member.id, &at) &&
			    st.last_index > at.match)
				m->led_lag += st.last_index - at.match;
		}
	}
}

static void show_member(struct store *s, const struct member *m, bool leads,
			struct store_member_status *st)
{
	struct partition *p = &s->partitions[0];
	uint64_t id = m->m.id;

	*st = (struct store_member_status){ .member = m->m,
					    .leaving = m->leaving };
	st->learner = !p->raft || !(raft_conf_role(raft_conf(p->raft), id) &
				    (RAFT_VOTER | RAFT_VOTER_OUT));
	st->up = id == s->self_id ||
		 (s->o.net && s->o.net->is_up && s->o.net->is_up(s->o.net, id));
	st->state_bytes = state_sent_bytes(s, id);
	if (leads)
		show_progress(p, st);
	else
		show_told(members_told_lately(s), st);
}

void members_publish(struct store *s)
{
	struct members *ms = s->members;
	struct members_shown *shown = &ms->shown;
	bool leads =
		s->partitions[0].raft && s->partitions[0].role == RAFT_LEADER;

	pthread_mutex_lock(&shown->lock);
	shown->count = ms->count;
	shown->next_id = ms->next_id;
	shown->damaged = ms->damaged;
	shown->stray_count = ms->stray_count;
	memcpy(shown->strays, ms->strays, sizeof(shown->strays));
	shown->leads = leads;
	for (uint32_t i = 0; i < ms->count; i++)
		show_member(s, &ms->list[i], leads, &shown->list[i]);
	/* It costs a look at every group: only for people who look. */
	if (reports_are_due(s))
		show_led_lag(s, shown);
	pthread_mutex_unlock(&shown->lock);
	ms->shown_ns = clock_mono_ns(s->o.clock);
}

uint32_t store_members(struct store *s, struct store_member_status *out,
		       uint32_t cap)
{
	struct members_shown *shown = &s->members->shown;
	uint32_t count;

	pthread_mutex_lock(&shown->lock);
	count = shown->count;
	for (uint32_t i = 0; i < count && i < cap; i++) {
		uint64_t id = shown->list[i].member.id, ns;

		out[i] = shown->list[i];
		if (id == s->self_id)
			continue;
		ns = silent_ns(s, id);
		/* Followers hear of each other only what the link says. */
		if (ns < 2 * members_election_ns(s))
			out[i].up = true;
		else if (shown->leads)
			out[i].up = false;
		out[i].last_contact_ms =
			ns == UINT64_MAX ? UINT64_MAX : ns / 1000000;
	}
	pthread_mutex_unlock(&shown->lock);
	return count;
}

void members_name(struct store *s, uint64_t id, char *name, size_t cap)
{
	struct members_shown *shown = &s->members->shown;

	name[0] = 0;
	pthread_mutex_lock(&shown->lock);
	for (uint32_t i = 0; i < shown->count; i++) {
		if (shown->list[i].member.id == id)
			snprintf(name, cap, "%s", shown->list[i].member.name);
	}
	pthread_mutex_unlock(&shown->lock);
}

/* Tokens and the map of members are records of the same partition. */
bool store_tokens_known(struct store *s)
{
	struct members_shown *shown = &s->members->shown;
	bool known;

	pthread_mutex_lock(&shown->lock);
	known = shown->next_id > 0;
	pthread_mutex_unlock(&shown->lock);
	return known;
}

/* This node by its own map; *leaving: it is on its way out. */
static enum store_standing own_standing(struct store *s, bool *has_map,
					bool *leaving)
{
	struct members_shown *shown = &s->members->shown;

	*leaving = false;
	pthread_mutex_lock(&shown->lock);
	*has_map = shown->next_id > 0;
	for (uint32_t i = 0; i < shown->count; i++) {
		if (shown->list[i].member.id == s->self_id)
			*leaving = shown->list[i].leaving;
	}
	pthread_mutex_unlock(&shown->lock);
	return store_standing(s, s->self_id);
}

/*
 * Who does not stand for election never forgets its leader: a learner that is
 * cut off, and a member that was removed. What counts is to have heard of it.
 */
static bool hears_leaders(struct store *s)
{
	for (uint32_t i = 0; i < s->partition_count; i++) {
		uint64_t leader = count_of(&s->partitions[i].leader_shown);

		if (!members_is_up(s, leader))
			return false;
	}
	return true;
}

enum store_readiness store_readiness(struct store *s)
{
	enum store_standing standing;
	bool has_map, leaving;

	if (atomic_load_explicit(&s->closing, memory_order_relaxed))
		return STORE_STOPPING;
	standing = own_standing(s, &has_map, &leaving);
	if (has_map && standing == STORE_REMOVED)
		return STORE_DISMISSED;
	if (has_map ? standing == STORE_UNKNOWN : s->o.joining)
		return STORE_OUTSIDE;
	if (!atomic_load_explicit(&s->started, memory_order_acquire))
		return STORE_STARTING;
	if (store_ready(s) && hears_leaders(s))
		return STORE_READY;
	/* Those who stay tell it no more; it was to leave, so it has left. */
	return leaving ? STORE_DISMISSED : STORE_LEADERLESS;
}

enum store_standing store_standing(struct store *s, uint64_t id)
{
	struct members_shown *shown = &s->members->shown;
	enum store_standing standing = STORE_UNKNOWN;

	pthread_mutex_lock(&shown->lock);
	if (!shown->damaged && id < shown->next_id)
		standing = STORE_REMOVED;
	for (uint32_t i = 0; i < shown->stray_count; i++) {
		if (shown->strays[i] == id && id != s->self_id)
			standing = STORE_UNKNOWN;
	}
	for (uint32_t i = 0; i < shown->count; i++) {
		if (shown->list[i].member.id == id)
			standing = STORE_MEMBER;
	}
	pthread_mutex_unlock(&shown->lock);
	return standing;
}
