/*
 * tests/sim/admin.c - members come, go and are replaced; leaders hand over.
 *
 * One change at a time is under way, as one operator would do it; in runs with
 * haste up to three, through any nodes, a change asked for during a change. The
 * nodes that run follow the member map of the newest state: an id that is in it
 * and has no node gets one, a node whose id is gone from it counts no more. So
 * a change whose outcome nobody knows is cleared up too.
 */
#include <stdio.h>

#include "base/check.h"
#include "store/store_internal.h"
#include "tests/sim/sim.h"

enum {
	MEMBERS_MIN = 3,
	MEMBERS_MAX = 7,
	SPARE_IDS = 5, /* for disks that must be replaced                    */
	HASTE_MS = 60,
	GOING_MS = 60000,
	LOOKS_GONE = 4, /* looks at the map until who is missing is gone     */
};

static void set_done(struct store_change *change)
{
	*(bool *)change->user = true;
}

/* An operator who waits for nothing; NULL: all do. */
static struct admin *idle_operator(struct sim *s)
{
	for (uint32_t i = 0; i < SIM_OPERATORS; i++)
		if (!s->admin[i].busy)
			return &s->admin[i];
	return NULL;
}

static uint32_t busy_operators(const struct sim *s)
{
	uint32_t busy = 0;

	for (uint32_t i = 0; i < SIM_OPERATORS; i++)
		busy += s->admin[i].busy;
	return busy;
}

static void ask(struct sim *s, struct store_change change, uint64_t about)
{
	uint32_t before = busy_operators(s);
	struct admin *a = idle_operator(s);
	uint64_t via = sim_any_node(s);
	enum err err;

	if (!a || !via || (before && !s->plan.faults[FAULT_HASTE]))
		return;
	a->change = change;
	a->change.done = set_done;
	a->change.user = &a->done_flag;
	a->via = via;
	a->about = about;
	a->done_flag = false;
	err = store_change(s->c.node[via].store, &a->change);
	a->busy = !err;
	s->count[SIM_changes_at_once] += a->busy && before;
	if (!err && (change.kind == STORE_MEMBER_REMOVE ||
		     change.kind == STORE_MEMBER_REPLACE))
		s->going_until[about] = s->c.now_ns + GOING_MS * SIM_MS;
	sim_trace(s, "change %d of \"%s\" through n%llu: %s", change.kind,
		  change.member.name, (unsigned long long)via, err_text(err));
}

/* The map as that running node knows it, of those with a good disk, that has
 * applied most. */
static uint32_t read_map(struct sim *s, struct store_member_status *out,
			 uint64_t *as_of)
{
	uint64_t best = 0, applied = 0;

	for (uint64_t id = 1; id <= s->c.count; id++) {
		struct store_partition_status st;

		if (!cluster_awake(&s->c, id) || s->c.node[id].removed ||
		    s->damaged[id])
			continue;
		store_partition_status(s->c.node[id].store, 0, &st);
		if (st.applied < applied)
			continue;
		applied = st.applied;
		best = id;
	}
	if (!best)
		return 0;
	*as_of = applied;
	return store_members(s->c.node[best].store, out, CLUSTER_NODES_MAX);
}

static void named(struct store_change *change, const struct cluster_node *n)
{
	snprintf(change->member.name, sizeof(change->member.name), "%s",
		 n->name);
}

static bool may_decay(const struct sim *s, uint64_t id)
{
	return id > CLUSTER_NODES_MAX || s->damaged[id] ||
	       (s->plan.victims >> id & 1 &&
		(s->plan.faults[FAULT_FLIP] ||
		 s->plan.faults[FAULT_BAD_SECTOR]));
}

/* Is id a voter of every partition, as far as anybody knows? */
static bool votes_everywhere(struct sim *s, uint64_t id)
{
	for (uint64_t n = 1; n <= s->c.count; n++) {
		const struct store *store = s->c.node[n].store;

		if (!cluster_awake(&s->c, n) || s->c.node[n].removed)
			continue;
		for (uint32_t p = 0; p < store->partition_count; p++) {
			const struct raft *r = store->partitions[p].raft;

			if (r && raft_conf(r)->count &&
			    raft_conf_role(raft_conf(r), id) != RAFT_VOTER)
				return false;
		}
	}
	return true;
}

/*
 * Nobody with his wits takes a node away when those who remain are too few, or
 * when of all who vote now no majority would be left that is sound and stays;
 * or, unless in haste, while others still come or go. What was asked for lately
 * may happen yet, and who is exchanged is not there any more.
 */
static bool may_remove(struct sim *s, uint64_t id,
		       const struct store_member_status *map, uint32_t count)
{
	uint32_t voters = 0, sound = 0, total = 0;
	bool haste = s->plan.faults[FAULT_HASTE];

	for (uint32_t i = 0; i < count; i++) {
		uint64_t member = map[i].member.id;
		bool moves = map[i].leaving ||
			     map[i].learner != map[i].member.stays_learner;

		if (moves && !haste)
			return false;
		total += !map[i].learner;
		if (moves || map[i].learner || member == id)
			continue;
		if (member <= CLUSTER_NODES_MAX &&
		    s->going_until[member] > s->c.now_ns)
			continue;
		if (!votes_everywhere(s, member))
			continue;
		voters++;
		sound += !may_decay(s, member);
	}
	return voters >= MEMBERS_MIN && sound > total / 2;
}

/* A map to act upon; 0: none. */
static uint32_t newest_map(struct sim *s, struct store_member_status *map)
{
	uint64_t as_of;
	uint32_t count = read_map(s, map, &as_of);

	/* Who has just started may show what was true long ago. */
	if (count > CLUSTER_NODES_MAX || (count && as_of < s->map_as_of))
		return 0;
	s->map_as_of = count ? as_of : s->map_as_of;
	return count;
}

static bool has_spare_ids(const struct sim *s)
{
	return s->c.count < CLUSTER_NODES_MAX - SPARE_IDS;
}

static void change_one(struct sim *s, uint64_t unused_a, uint64_t unused_b)
{
	struct store_member_status map[CLUSTER_NODES_MAX];
	struct store_change change = { 0 };
	uint32_t count = newest_map(s, map);
	uint64_t id = sim_any_node(s);

	if (!id || count == 0 || s->ending)
		return;
	if (has_spare_ids(s) && count < MEMBERS_MAX &&
	    (count <= MEMBERS_MIN || sim_chance(s, 500))) {
		change.kind = STORE_MEMBER_ADD;
		snprintf(change.member.name, sizeof(change.member.name),
			 "new%u", s->c.count + 1 + busy_operators(s));
		snprintf(change.member.peer, sizeof(change.member.peer),
			 "new%u:7000", s->c.count + 1 + busy_operators(s));
		change.member.stays_learner = sim_chance(s, 200);
	} else if (may_remove(s, id, map, count)) {
		change.kind = STORE_MEMBER_REMOVE;
		named(&change, &s->c.node[id]);
	} else {
		return;
	}
	ask(s, change, id);
}

void admin_change(struct sim *s)
{
	change_one(s, 0, 0);
	if (!s->plan.faults[FAULT_HASTE] ||
	    s->timer_count + SIM_OPERATORS + 10 > SIM_TIMERS_MAX)
		return;
	/* another operator, while the first change is under way */
	for (uint32_t i = 1; i < SIM_OPERATORS; i++)
		sim_after_ns(s, sim_draw(s, HASTE_MS * SIM_MS), change_one, 0,
			     0);
}

void admin_exchange(struct sim *s)
{
	struct store_member_status map[CLUSTER_NODES_MAX];
	uint32_t count = newest_map(s, map);
	uint64_t id = sim_any_node(s);

	if (id && count && has_spare_ids(s) && may_remove(s, id, map, count))
		admin_replace(s, id);
}

void admin_transfer_to(struct sim *s, uint64_t id)
{
	struct store_change change = { .kind = STORE_TRANSFER };

	named(&change, &s->c.node[id]);
	ask(s, change, id);
}

void admin_transfer(struct sim *s)
{
	uint64_t id = sim_any_node(s);

	if (id)
		admin_transfer_to(s, id);
}

void admin_replace(struct sim *s, uint64_t id)
{
	struct store_change change = { .kind = STORE_MEMBER_REPLACE };

	if (s->c.count == CLUSTER_NODES_MAX)
		return;
	named(&change, &s->c.node[id]);
	ask(s, change, id);
}

/* What came of a change that was under way. */
static void take_one(struct sim *s, struct admin *a)
{
	if (!a->busy || !a->done_flag)
		return;
	a->busy = false;
	sim_trace(s, "change %d: %s id=%llu", a->change.kind,
		  err_text(a->change.err), (unsigned long long)a->change.id);
	if (a->change.err)
		return;
	if (a->change.kind == STORE_TRANSFER)
		s->count[SIM_transfers]++;
	else
		s->count[SIM_membership_changes]++;
	if (a->change.kind == STORE_MEMBER_REPLACE)
		s->count[SIM_replaced_members]++;
}

static void take_answers(struct sim *s)
{
	for (uint32_t i = 0; i < SIM_OPERATORS; i++)
		take_one(s, &s->admin[i]);
}

static void adopt(struct sim *s, const struct store_member *m)
{
	struct cluster_node *n;

	if (m->id <= s->c.count || m->id > CLUSTER_NODES_MAX)
		return;
	n = cluster_new_node(&s->c, m->id);
	snprintf(n->name, sizeof(n->name), "%s", m->name);
	snprintf(n->address, sizeof(n->address), "%s", m->peer);
	sim_trace(s, "n%llu joins as %s", (unsigned long long)m->id, m->name);
	fault_restart_later(s, m->id);
}

void admin_follow(struct sim *s)
{
	struct store_member_status map[CLUSTER_NODES_MAX];
	bool there[CLUSTER_NODES_MAX + 1] = { false };
	uint64_t as_of;
	uint32_t count;

	take_answers(s);
	count = read_map(s, map, &as_of);
	if (count == 0 || count > CLUSTER_NODES_MAX)
		return;
	for (uint32_t i = 0; i < count; i++) {
		if (map[i].member.id <= CLUSTER_NODES_MAX)
			there[map[i].member.id] = true;
		adopt(s, &map[i].member);
	}
	for (uint64_t id = 1; id <= s->c.count; id++) {
		struct cluster_node *n = &s->c.node[id];

		if (there[id]) {
			s->looks_without[id] = 0;
			if (as_of > s->seen_as_of[id])
				s->seen_as_of[id] = as_of;
		}
		if (!n->disk || n->removed || there[id] ||
		    as_of < s->seen_as_of[id] || /* one that is behind */
		    ++s->looks_without[id] < LOOKS_GONE)
			continue;
		sim_trace(s, "n%llu is a member no more",
			  (unsigned long long)id);
		n->removed = true;
		/*
		 * It runs on: the others may need its vote until they have
		 * applied its removal (docs/raft.md).
		 */
	}
}

bool admin_idle(struct sim *s, struct buf *why)
{
	struct store_member_status map[CLUSTER_NODES_MAX];
	uint64_t as_of;
	uint32_t count = read_map(s, map, &as_of);

	take_answers(s);
	if (busy_operators(s) && why)
		(void)!buf_addf(why, "a membership change is under way");
	if (busy_operators(s) || count > CLUSTER_NODES_MAX)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		const struct store_member_status *m = &map[i];

		if (!m->leaving && m->learner == m->member.stays_learner)
			continue;
		if (why)
			(void)!buf_addf(why, "n%llu is still %s",
					(unsigned long long)m->member.id,
					m->leaving ? "leaving" : "a learner");
		return false;
	}
	return true;
}
