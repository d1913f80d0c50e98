/*
 * tests/sim/strike.c - what goes wrong at the worst moment.
 *
 *   at a sync    power goes at the next sync of one node, or of several at the
 *                same time: what was promised before it is found out
 *   storm        for some seconds no leader lasts: each is struck within
 *                milliseconds, and those struck before are back soon. This is
 *                how entries of several old terms come to stand at one index
 *                (paper 5.4.2, figure 8)
 *   pair         a leader and one follower are cut off together and take
 *                what is never committed; later the same node leads again
 *   sleeper      a leader asks who it still leads, and sleeps before it hears;
 *                it wakes when another one leads
 *   usurper      a node that hears no leader any more, and voters that start
 *                anew, while the leader holds its lease
 *   at a change  somebody is struck when a membership is entered or left
 *
 * Everything happens by timers: a strike is noticed inside a call into a node,
 * and must not pull the node away under it.
 */
#include "base/check.h"
#include "tests/sim/sim.h"

enum {
	AT_ONCE_NS = 1500000, /* before what it sent has arrived             */
	SOON_NS = 6000000,
	LATER_NS = 60000000,
	AFTER_NS = 15000000,
	BACK_MS = 300,
	ROOM = 20, /* timers that others may need */
};

enum blow {
	BLOW_CRASH,
	BLOW_KILL,
	BLOW_ISOLATE,
	BLOW_MUTE,
	BLOW_PAUSE,
	BLOW_AT_SYNC,
	BLOW_COUNT
};

static bool in_storm(const struct sim *s)
{
	return s->c.now_ns < s->storm_until;
}

static bool has_room(const struct sim *s)
{
	return !s->ending && s->timer_count + ROOM < SIM_TIMERS_MAX;
}

static void heal(struct sim *s, uint64_t a, uint64_t b)
{
	s->cut_off = 0;
	cluster_heal_all(&s->c);
}

/* Only id is back: who was cut off after it stays so for longer. */
static void heal_one(struct sim *s, uint64_t id, uint64_t unused)
{
	s->cut_off &= ~(1ull << id);
	for (uint64_t i = 1; i <= s->c.count; i++) {
		if (s->cut_off >> i & 1)
			continue;
		cluster_heal(&s->c, id, i);
		cluster_heal(&s->c, i, id);
	}
}

/* Cut id off for about an election timeout; only what it sends, or both. */
static void cut_off(struct sim *s, uint64_t id, bool both)
{
	uint64_t ms = s->c.o.election_ms;

	for (uint64_t i = 1; i <= s->c.count; i++) {
		if (i == id)
			continue;
		cluster_cut(&s->c, id, i);
		if (both)
			cluster_cut(&s->c, i, id);
	}
	s->count[SIM_partitions]++;
	s->cut_off |= 1ull << id;
	sim_after(s, ms / 2 + sim_draw(s, 3 * ms), heal_one, id, 0);
}

static void power_at_sync(struct sim *s, uint64_t id)
{
	if (s->c.node[id].off_at)
		return;
	s->count[SIM_crashes_at_a_sync]++;
	cluster_crash_at(&s->c, id, VFS_SIM_SYNC, 1, sim_chance(s, 200));
}

static void strike(struct sim *s, uint64_t id, uint64_t blow)
{
	if (!has_room(s) || !cluster_runs(&s->c, id))
		return;
	s->count[SIM_strikes]++;
	sim_trace(s, "strike %llu n%llu", (unsigned long long)blow,
		  (unsigned long long)id);
	switch ((enum blow)blow) {
	case BLOW_CRASH:
		s->count[SIM_crashes]++;
		cluster_crash(&s->c, id);
		fault_restart_soon(s, id, 5 + sim_draw(s, BACK_MS));
		return;
	case BLOW_KILL:
		cluster_kill(&s->c, id);
		fault_restart_soon(s, id, 5 + sim_draw(s, BACK_MS));
		return;
	case BLOW_ISOLATE:
	case BLOW_MUTE:
		cut_off(s, id, blow == BLOW_ISOLATE);
		return;
	case BLOW_PAUSE:
		cluster_pause(&s->c, id,
			      s->c.o.election_ms / 2 +
				      sim_draw(s, s->c.o.election_ms));
		s->count[SIM_pauses]++;
		return;
	case BLOW_AT_SYNC:
		power_at_sync(s, id);
		return;
	case BLOW_COUNT:
		return;
	}
}

static void strike_within(struct sim *s, uint64_t id, uint64_t ns)
{
	uint64_t blow = sim_draw(s, 3) ? sim_draw(s, BLOW_COUNT) : BLOW_ISOLATE;

	if (has_room(s))
		sim_after_ns(s, sim_draw(s, ns), strike, id, blow);
}

/* ---------------------------------------------------------------- faults - */

/* The others cannot tell what those who went down have forgotten. */
static void stand_still(struct sim *s, uint64_t id, uint64_t unused)
{
	uint64_t ms = s->c.o.election_ms;

	if (has_room(s) && cluster_runs(&s->c, id))
		cluster_pause(&s->c, id, 2 * ms + sim_draw(s, 4 * ms));
}

/*
 * Several at once, often a majority: each goes down at its next sync, what it
 * told before is out. Then those who know better stand still for a while.
 */
bool strike_at_sync(struct sim *s, uint64_t id)
{
	uint64_t leader = cluster_leader(
		&s->c, (uint32_t)sim_draw(s, s->plan.partitions));
	bool spared = leader && sim_draw(s, 2);

	s->amnesia = 0;
	for (uint64_t i = 1; i <= s->c.count; i++) {
		if (!cluster_awake(&s->c, i) || s->c.node[i].removed ||
		    (i == leader ? spared : sim_chance(s, 400)))
			continue;
		power_at_sync(s, i);
		s->amnesia |= 1ull << i;
	}
	return true;
}

void strike_died(struct sim *s, uint64_t id)
{
	uint64_t those = s->amnesia;

	if (!(those >> id & 1) || !has_room(s))
		return;
	s->amnesia = 0;
	for (uint64_t i = 1; i <= s->c.count; i++)
		if (!(those >> i & 1) && has_room(s) && sim_chance(s, 700))
			sim_after_ns(s, sim_draw(s, AFTER_NS), stand_still, i,
				     0);
}

/* A voter forgets whom it has heard; the usurper asks it for its vote. */
static void forget_leader(struct sim *s, uint64_t leader, uint64_t usurper)
{
	if (s->ending)
		return;
	for (uint64_t id = 1; id <= s->c.count; id++) {
		if (id == leader || id == usurper ||
		    !cluster_awake(&s->c, id) || !has_room(s) || sim_draw(s, 2))
			continue;
		cluster_kill(&s->c, id);
		fault_restart_soon(s, id, 1 + sim_draw(s, 10));
	}
}

static void begin_usurper(struct sim *s)
{
	uint64_t leader = cluster_leader(
		&s->c, (uint32_t)sim_draw(s, s->plan.partitions));
	uint64_t other = sim_any_node(s), ms = s->c.o.election_ms;

	if (!leader || !other || other == leader)
		return;
	cluster_cut(&s->c, leader, other);
	cluster_cut(&s->c, other, leader);
	for (uint64_t i = 1; i <= 8 && has_room(s); i++)
		sim_after(s, ms / 2 + sim_draw(s, 2 * ms), forget_leader,
			  leader, other);
	sim_after(s, 3 * ms, heal, 0, 0);
	s->hot_until = s->c.now_ns + 3 * ms * SIM_MS;
	s->hot_node[0] = other;
	s->hot_node[1] = leader;
}

static void fall_asleep(struct sim *s, uint64_t id, uint64_t ms)
{
	if (s->ending || !cluster_awake(&s->c, id))
		return;
	cluster_pause(&s->c, id, ms);
	s->count[SIM_pauses]++;
}

static void begin_sleep(struct sim *s)
{
	uint32_t partition = (uint32_t)sim_draw(s, s->plan.partitions);
	uint64_t leader = cluster_leader(&s->c, partition);
	uint64_t ms = s->c.o.election_ms;

	if (!leader || !cluster_awake(&s->c, leader))
		return;
	probes_ask_one(s, leader, partition);
	sim_after_ns(s, sim_draw(s, SOON_NS), fall_asleep, leader,
		     2 * ms + sim_draw(s, ms));
}

static void back_to_office(struct sim *s, uint64_t id, uint64_t unused)
{
	if (!s->ending && cluster_awake(&s->c, id) && !s->c.node[id].removed)
		admin_transfer_to(s, id);
}

/* What the leader knows of the one beside it is wrong when it leads again. */
static bool begin_pair(struct sim *s)
{
	uint64_t leader = cluster_leader(
		&s->c, (uint32_t)sim_draw(s, s->plan.partitions));
	uint64_t other = sim_any_node(s), ms = s->c.o.election_ms;
	uint64_t pair = 1ull << leader | 1ull << other;

	if (!leader || !other || other == leader || s->plan.founders < 4)
		return false;
	for (uint64_t a = 1; a <= s->c.count; a++)
		for (uint64_t b = 1; b <= s->c.count; b++)
			if ((pair >> a & 1) != (pair >> b & 1))
				cluster_cut(&s->c, a, b);
	s->count[SIM_partitions]++;
	clients_hurry(s, leader);
	sim_after(s, 3 * ms, heal, 0, 0);
	for (uint64_t i = 0; i < 4; i++)
		sim_after(s, 3 * ms + i * ms / 3 + sim_draw(s, ms / 3),
			  back_to_office, leader, 0);
	return true;
}

bool strike_storm(struct sim *s, uint64_t id)
{
	if (!has_room(s) || in_storm(s))
		return false;
	s->count[SIM_storms]++;
	if (sim_chance(s, 250) && begin_pair(s))
		return true;
	if (sim_chance(s, 300)) {
		begin_usurper(s);
		return true;
	}
	if (sim_chance(s, 120)) {
		begin_sleep(s);
		return true;
	}
	s->storm_until = s->c.now_ns + SIM_MS * (5000 + sim_draw(s, 30000));
	id = cluster_leader(&s->c, (uint32_t)sim_draw(s, s->plan.partitions));
	if (id)
		strike_within(s, id, LATER_NS);
	return true;
}

/* ---------------------------------------------------------------- moments  */

void strike_leader(struct sim *s, uint64_t id, uint32_t partition)
{
	static const uint64_t when[] = { AT_ONCE_NS, AT_ONCE_NS, SOON_NS,
					 LATER_NS };

	if (s->hot_node[0] != id) {
		s->hot_node[1] = s->hot_node[0];
		s->hot_node[0] = id;
	}
	s->hot_until = s->c.now_ns + 2 * s->c.o.election_ms * SIM_MS;
	if (has_room(s))
		probes_ask(s, partition);
	if (in_storm(s) && sim_chance(s, 800))
		strike_within(s, id, when[sim_draw(s, 4)]);
}

/*
 * A follower has just got an entry that is older than its leader's term. When
 * a majority has it, it is not committed yet: another one, who has an entry of
 * a term between at that place, may still be elected. Here it may be, soon.
 */
void strike_old_entry(struct sim *s, uint64_t leader, uint32_t partition,
		      uint64_t old_term)
{
	uint64_t ms = s->c.o.election_ms;
	bool rival = false;

	for (uint64_t i = 1; i <= s->c.count; i++)
		rival |= i != leader && cluster_runs(&s->c, i) &&
			 s->oracle.copy[i][partition].last_term > old_term;
	if (!rival || !in_storm(s) || s->c.now_ns < s->muted_until ||
	    !has_room(s) || !sim_chance(s, 900))
		return;
	s->muted_until = s->c.now_ns + 4 * ms * SIM_MS;
	sim_trace(s, "n%llu falls silent", (unsigned long long)leader);
	heal(s, 0, 0);
	for (uint64_t i = 1; i <= s->c.count; i++)
		if (i != leader)
			cluster_cut(&s->c, leader, i);
	s->count[SIM_strikes]++;
	s->count[SIM_partitions]++;
	sim_after(s, 4 * ms, heal, 0, 0);
}

void strike_at_change(struct sim *s, uint64_t id, bool joint)
{
	uint64_t other;

	s->count[SIM_joint_memberships] += joint;
	if (!s->plan.faults[FAULT_AT_CHANGE] ||
	    !sim_chance(s, joint ? 300 : 100))
		return;
	other = sim_draw(s, 2) ? id : sim_any_node(s);
	if (!other)
		return;
	strike_within(s, other, sim_draw(s, 2) ? SOON_NS : LATER_NS);
	other = cluster_leader(&s->c,
			       (uint32_t)sim_draw(s, s->plan.partitions));
	if (other && sim_draw(s, 2))
		strike_within(s, other, SOON_NS);
}
