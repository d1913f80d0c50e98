/*
 * tests/sim/fault.c - what goes wrong, and when it ends.
 *
 * Each fault begins at a random moment and plans its own end with a timer. A
 * node that is down comes back by itself; one that says that its files are
 * damaged beyond use is replaced as an operator would do it. Disks decay only
 * on the plan's victims, so that of every entry a majority stays good.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "tests/sim/sim.h"

enum {
	FAILED_STARTS_MAX = 5,
	FLIP_MARGIN_BYTES = 96 << 10, /* the newest of a log is unproven yet */
};

void sim_after_ns(struct sim *s, uint64_t ns,
		  void (*fn)(struct sim *s, uint64_t a, uint64_t b), uint64_t a,
		  uint64_t b)
{
	CHECK(s->timer_count < SIM_TIMERS_MAX);
	s->timers[s->timer_count++] = (struct sim_timer){
		.at = s->c.now_ns + ns, .fn = fn, .a = a, .b = b
	};
}

void sim_after(struct sim *s, uint64_t ms,
	       void (*fn)(struct sim *s, uint64_t a, uint64_t b), uint64_t a,
	       uint64_t b)
{
	sim_after_ns(s, ms * SIM_MS, fn, a, b);
}

static uint32_t first_timer(const struct sim *s)
{
	uint32_t first = 0;

	for (uint32_t i = 1; i < s->timer_count; i++)
		if (s->timers[i].at < s->timers[first].at)
			first = i;
	return first;
}

/* ------------------------------------------------------------- restarts -- */

static void restart_in(struct sim *s, uint64_t id, uint64_t ms);

/* A disk that fails its node again and again is exchanged. */
static void count_failure(struct sim *s, uint64_t id)
{
	if (++s->failed_starts[id] < FAILED_STARTS_MAX || s->c.node[id].removed)
		return;
	sim_trace(s, "n%llu is given up", (unsigned long long)id);
	admin_replace(s, id);
}

static void planned_start(struct sim *s, uint64_t id, uint64_t unused)
{
	enum err err;
	bool hurt;

	s->start_planned[id] = false;
	if (cluster_runs(&s->c, id))
		return;
	/* It opened and then met what it cannot do without. */
	hurt = s->c.node[id].died == ERR_CORRUPT;
	if (hurt)
		count_failure(s, id);
	err = cluster_try_start(&s->c, id);
	if (!err && !hurt)
		s->failed_starts[id] = 0;
	if (!err)
		return;
	if ((err == ERR_CORRUPT || err == ERR_FOREIGN) && !s->damaged[id])
		sim_fail(s, "n%llu, whose disk is good, does not open: %s",
			 (unsigned long long)id, err_text(err));
	if (err == ERR_CORRUPT || err == ERR_IO || err == ERR_FOREIGN)
		count_failure(s, id);
	restart_in(s, id, 500 + sim_draw(s, 1500));
}

/* One start is planned for a node at a time. */
static void restart_in(struct sim *s, uint64_t id, uint64_t ms)
{
	if (s->start_planned[id])
		return;
	s->start_planned[id] = true;
	sim_after(s, ms, planned_start, id, 0);
}

void fault_restart_soon(struct sim *s, uint64_t id, uint64_t ms)
{
	restart_in(s, id, ms);
}

void fault_restart_later(struct sim *s, uint64_t id)
{
	bool storm = s->c.now_ns < s->storm_until;

	restart_in(s, id, 20 + sim_about(s, storm ? 200 : 1500));
}

static bool crash(struct sim *s, uint64_t id)
{
	s->count[SIM_crashes]++;
	cluster_crash(&s->c, id);
	fault_restart_later(s, id);
	return true;
}

static bool crash_in_call(struct sim *s, uint64_t id)
{
	static const unsigned masks[] = {
		VFS_SIM_CHANGES,  VFS_SIM_WRITE,   VFS_SIM_SYNC,
		VFS_SIM_RENAME,	  VFS_SIM_UNLINK,  VFS_SIM_SYNC_DIR,
		VFS_SIM_ALLOCATE, VFS_SIM_CHANGES,
	};
	unsigned mask = masks[sim_draw(s, sizeof(masks) / sizeof(*masks))];

	if (s->c.node[id].off_at)
		return false;
	cluster_crash_at(&s->c, id, mask, 1 + sim_draw(s, 30),
			 sim_chance(s, 500));
	return true;
}

static bool kill_node(struct sim *s, uint64_t id)
{
	cluster_kill(&s->c, id);
	fault_restart_later(s, id);
	return true;
}

static bool stop_node(struct sim *s, uint64_t id)
{
	cluster_stop(&s->c, id, 0);
	fault_restart_later(s, id);
	return true;
}

/* So long away that the log it lacks is gone. */
static bool long_outage(struct sim *s, uint64_t id)
{
	cluster_crash(&s->c, id);
	restart_in(s, id, 5000 + sim_about(s, 15000));
	return true;
}

/* Its front ends may be the first to run again. */
static void ask_as_it_wakes(struct sim *s, uint64_t id, uint64_t unused)
{
	clients_ask_lease(s, id);
}

/* Half of the time whoever leads; it is the one that counts on its clock. */
static uint64_t leader_or(struct sim *s, uint64_t id)
{
	uint64_t leader = cluster_leader(
		&s->c, (uint32_t)sim_draw(s, s->plan.partitions));

	return leader && cluster_awake(&s->c, leader) && sim_draw(s, 2) ? leader
									: id;
}

static bool pause_node(struct sim *s, uint64_t any)
{
	uint64_t id = leader_or(s, any);

	uint64_t ms = 100 + sim_about(s, 2000);

	cluster_pause(&s->c, id, ms);
	sim_after_ns(s, ms * SIM_MS - 1, ask_as_it_wakes, id, 0);
	s->count[SIM_pauses]++;
	return true;
}

/* --------------------------------------------------------------- network - */

static void heal_all(struct sim *s, uint64_t a, uint64_t b)
{
	cluster_heal_all(&s->c);
}

static void heal_later(struct sim *s)
{
	s->count[SIM_partitions]++;
	sim_after(s, 200 + sim_about(s, 3000), heal_all, 0, 0);
}

static bool split(struct sim *s, uint64_t id)
{
	uint64_t side = sim_draw(s, 1u << (s->c.count + 1));

	for (uint64_t a = 1; a <= s->c.count; a++)
		for (uint64_t b = 1; b <= s->c.count; b++)
			if ((side >> a & 1) != (side >> b & 1))
				cluster_cut(&s->c, a, b);
	heal_later(s);
	return true;
}

/* One pair, or one node's way out or in. */
static bool one_way(struct sim *s, uint64_t id)
{
	uint64_t other = 1 + sim_draw(s, s->c.count), kind = sim_draw(s, 4);

	for (uint64_t b = 1; b <= s->c.count; b++) {
		if (b == id || (kind < 2 && b != other))
			continue;
		if (kind == 3)
			cluster_cut(&s->c, b, id);
		else
			cluster_cut(&s->c, id, b);
		if (kind == 1) /* a partial partition */
			cluster_cut(&s->c, b, id);
	}
	heal_later(s);
	return true;
}

static bool isolate_leader(struct sim *s, uint64_t unused)
{
	uint64_t id = cluster_leader(&s->c,
				     (uint32_t)sim_draw(s, s->plan.partitions));

	if (!id)
		return false;
	cluster_isolate(&s->c, id);
	clients_hurry(s, 0);
	heal_later(s);
	return true;
}

static bool reset_link(struct sim *s, uint64_t id)
{
	uint64_t other = 1 + sim_draw(s, s->c.count);

	cluster_reset_link(&s->c, id, other);
	if (sim_chance(s, 500))
		cluster_reset_link(&s->c, other, id);
	return true;
}

static void calm(struct sim *s, uint64_t a, uint64_t b)
{
	struct cluster_weather *w = &s->c.o.weather;

	w->loss_permille = w->repeat_permille = w->reorder_permille = 0;
	w->delay_max_ns = 3 * SIM_MS;
}

static bool weather(struct sim *s, uint64_t id)
{
	struct cluster_weather *w = &s->c.o.weather;

	w->loss_permille = s->plan.loss_permille;
	w->repeat_permille = s->plan.repeat_permille;
	w->reorder_permille = s->plan.reorder_permille;
	w->delay_max_ns = SIM_MS * (1 + sim_draw(s, 40));
	sim_trace(s, "weather: loss %u repeat %u reorder %u delay %llu ms",
		  w->loss_permille, w->repeat_permille, w->reorder_permille,
		  (unsigned long long)(w->delay_max_ns / SIM_MS));
	sim_after(s, 500 + sim_about(s, 8000), calm, 0, 0);
	return true;
}

/* ----------------------------------------------------------------- disks - */

static void disk_has_room(struct sim *s, uint64_t id, uint64_t unused)
{
	vfs_sim_set_capacity(s->c.node[id].disk, s->c.o.disk_bytes);
	sim_trace(s, "n%llu disk has room", (unsigned long long)id);
}

static bool disk_full(struct sim *s, uint64_t id)
{
	struct vfs *v = vfs_sim_vfs(s->c.node[id].disk);
	uint64_t free_bytes;

	if (vfs_free_bytes(v, "data", &free_bytes))
		return false;
	vfs_sim_set_capacity(s->c.node[id].disk,
			     s->c.o.disk_bytes - free_bytes +
				     sim_draw(s, 256 << 10));
	s->count[SIM_full_disks]++;
	sim_after(s, 500 + sim_about(s, 5000), disk_has_room, id, 0);
	return true;
}

static bool fail_sync(struct sim *s, uint64_t id)
{
	vfs_sim_fail(s->c.node[id].disk, VFS_SIM_SYNC, 1 + sim_draw(s, 5),
		     ERR_IO, false);
	s->count[SIM_sync_failures]++;
	return true;
}

static bool no_space_once(struct sim *s, uint64_t id)
{
	vfs_sim_fail(s->c.node[id].disk, VFS_SIM_WRITE | VFS_SIM_ALLOCATE,
		     1 + sim_draw(s, 20), ERR_NOSPC, false);
	return true;
}

struct file_choice {
	struct sim *s;
	uint32_t seen;
	char name[64];
};

static bool ends_in(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n >= m && strcmp(name + n - m, end) == 0;
}

static enum err choose_file(void *ctx, const char *name)
{
	struct file_choice *f = ctx;
	bool small = ends_in(name, "MANIFEST") || ends_in(name, "state");

	if (small ? sim_draw(f->s, 4) > 0
		  : !ends_in(name, ".log") && !ends_in(name, ".dat") &&
			    !ends_in(name, ".hint"))
		return OK;
	if (sim_draw(f->s, ++f->seen) == 0)
		snprintf(f->name, sizeof(f->name), "%s", name);
	return OK;
}

/* A place on id's disk, far from what was written last. */
static bool choose_place(struct sim *s, uint64_t id, char path[80],
			 uint64_t *off)
{
	struct file_choice f = { .s = s };
	struct vfs *v = vfs_sim_vfs(s->c.node[id].disk);
	struct engine_stats stats;
	struct vfs_file *file;
	uint64_t bytes = 0, zeros;

	engine_stats(s->c.node[id].engine, &stats);
	if (vfs_list(v, "data", choose_file, &f) || !f.seen)
		return false;
	snprintf(path, 80, "data/%s", f.name);
	if (vfs_open(v, path, VFS_READ, &file))
		return false;
	if (vfs_size(file, &bytes))
		bytes = 0;
	/* Of a log that is being filled the end is zeros. */
	for (zeros = bytes; zeros > 512; zeros -= 512) {
		uint8_t sector[512];
		size_t got;

		if (vfs_pread(file, sector, 512, zeros - 512, &got))
			break;
		while (got > 0 && sector[got - 1] == 0)
			got--;
		if (got)
			break;
	}
	vfs_close(file);
	bytes = zeros;
	if (ends_in(path, ".log"))
		bytes = bytes > FLIP_MARGIN_BYTES ? bytes - FLIP_MARGIN_BYTES
						  : 0;
	if (bytes == 0)
		return false;
	*off = sim_draw(s, bytes);
	return true;
}

/* A running node whose disk may decay; 0: none. */
static uint64_t any_victim(struct sim *s)
{
	uint64_t from = sim_draw(s, s->c.count);

	for (uint64_t i = 0; i < s->c.count; i++) {
		uint64_t id = 1 + (from + i) % s->c.count;

		if (s->plan.victims >> id & 1 && cluster_awake(&s->c, id) &&
		    !s->c.node[id].removed)
			return id;
	}
	return 0;
}

static bool flip(struct sim *s, uint64_t id)
{
	uint64_t off;
	char path[80];

	if (!choose_place(s, id, path, &off) ||
	    vfs_sim_flip(s->c.node[id].disk, path, off,
			 (uint8_t)(1u << sim_draw(s, 8))))
		return false;
	s->damaged[id] = true;
	s->count[SIM_damages]++;
	sim_trace(s, "n%llu: a bit of %s at %llu is flipped",
		  (unsigned long long)id, path, (unsigned long long)off);
	return true;
}

static bool bad_sector(struct sim *s, uint64_t id)
{
	uint64_t off;
	char path[80];

	if (!choose_place(s, id, path, &off) ||
	    vfs_sim_bad_sector(s->c.node[id].disk, path, off))
		return false;
	s->damaged[id] = true;
	s->count[SIM_damages]++;
	sim_trace(s, "n%llu: the sector of %s at %llu is bad",
		  (unsigned long long)id, path, (unsigned long long)off);
	return true;
}

/* ----------------------------------------------------------------- clocks  */

static bool clock_jump(struct sim *s, uint64_t id)
{
	int64_t wall = (int64_t)(sim_draw(s, 7200) * 1000 * SIM_MS) -
		       (int64_t)(3600 * 1000 * SIM_MS);
	uint64_t mono = 0, boot = 0;

	/* a machine that slept, or one that was moved while it ran */
	if (sim_chance(s, 500))
		boot = SIM_MS * sim_draw(s, 10000);
	if (sim_chance(s, 200))
		mono = SIM_MS * sim_draw(s, 5000);
	cluster_clock_jump(&s->c, id, mono, boot + mono, wall);
	s->count[SIM_clock_jumps]++;
	return true;
}

static bool clock_rate(struct sim *s, uint64_t id)
{
	uint64_t most = sim_draw(s, 2) ? s->plan.drift_ppb : 200000;

	cluster_clock_rate(&s->c, id,
			   (int64_t)sim_draw(s, 2 * most + 1) - (int64_t)most);
	return true;
}

/* The machine sleeps: nothing runs, only the boot clock goes on counting. */
static bool suspend(struct sim *s, uint64_t any)
{
	uint64_t id = leader_or(s, any);
	uint64_t ms = 100 + sim_about(s, 3000);

	cluster_pause(&s->c, id, ms);
	cluster_clock_stop(&s->c, id, ms);
	sim_after_ns(s, ms * SIM_MS - 1, ask_as_it_wakes, id, 0);
	s->count[SIM_pauses]++;
	return true;
}

/* --------------------------------------------------------------- cluster - */

static bool member(struct sim *s, uint64_t id)
{
	admin_change(s);
	return true;
}

static bool exchange(struct sim *s, uint64_t id)
{
	admin_exchange(s);
	return true;
}

/* Whoever hands over may be the last to hear of it. */
static void isolate_from(struct sim *s, uint64_t id, uint64_t unused)
{
	if (s->ending)
		return;
	cluster_isolate(&s->c, id);
	heal_later(s);
}

static bool transfer(struct sim *s, uint64_t id)
{
	uint64_t leader = cluster_leader(&s->c, 0);

	admin_transfer(s);
	if (leader && sim_draw(s, 2))
		sim_after_ns(s, sim_draw(s, 12 * SIM_MS), isolate_from, leader,
			     0);
	return true;
}

static bool merge(struct sim *s, uint64_t id)
{
	store_merge_request(s->c.node[id].store);
	return true;
}

static bool (*const kinds[FAULT_COUNT])(struct sim *s, uint64_t id) = {
	[FAULT_CRASH] = crash,
	[FAULT_CRASH_IN_CALL] = crash_in_call,
	[FAULT_KILL] = kill_node,
	[FAULT_STOP] = stop_node,
	[FAULT_PAUSE] = pause_node,
	[FAULT_SPLIT] = split,
	[FAULT_ONE_WAY] = one_way,
	[FAULT_ISOLATE_LEADER] = isolate_leader,
	[FAULT_RESET] = reset_link,
	[FAULT_WEATHER] = weather,
	[FAULT_DISK_FULL] = disk_full,
	[FAULT_SYNC] = fail_sync,
	[FAULT_NO_SPACE_ONCE] = no_space_once,
	[FAULT_FLIP] = flip,
	[FAULT_BAD_SECTOR] = bad_sector,
	[FAULT_CLOCK_JUMP] = clock_jump,
	[FAULT_CLOCK_RATE] = clock_rate,
	[FAULT_SUSPEND] = suspend,
	[FAULT_MEMBER] = member,
	[FAULT_TRANSFER] = transfer,
	[FAULT_MERGE] = merge,
	[FAULT_LONG_OUTAGE] = long_outage,
	[FAULT_AT_SYNC] = strike_at_sync,
	[FAULT_STORM] = strike_storm,
	[FAULT_REPLACE] = exchange,
};

/* How often, beside the others. */
static uint32_t weight_of(const struct sim *s, enum sim_fault f)
{
	if (!s->plan.faults[f])
		return 0;
	switch (f) {
	case FAULT_FLIP:
	case FAULT_BAD_SECTOR:
		return 7;
	case FAULT_MEMBER:
		return 4;
	case FAULT_TRANSFER: /* what a lease has to end with */
		return s->plan.leases ? 8 : 3;
	case FAULT_CRASH:
	case FAULT_CRASH_IN_CALL:
	case FAULT_SPLIT:
		return 2;
	case FAULT_AT_SYNC:
		return 5;
	case FAULT_STORM:
		return 8;
	case FAULT_AT_CHANGE: /* beside the others, not for itself */
	case FAULT_HASTE:
		return 0;
	default:
		return 1;
	}
}

static void one_fault(struct sim *s)
{
	enum sim_fault f = 0;
	uint64_t sum = 0, at, id;

	for (int i = 0; i < FAULT_COUNT; i++)
		sum += weight_of(s, (enum sim_fault)i);
	if (sum == 0 || s->timer_count > SIM_TIMERS_MAX - 24)
		return;
	for (at = sim_draw(s, sum); at >= weight_of(s, f); f++)
		at -= weight_of(s, f);
	id = f == FAULT_FLIP || f == FAULT_BAD_SECTOR ? any_victim(s)
						      : sim_any_node(s);
	if (!id)
		return;
	sim_trace(s, "fault %s n%llu", sim_fault_name(f),
		  (unsigned long long)id);
	kinds[f](s, id);
}

uint64_t faults_due(struct sim *s)
{
	uint64_t due = s->ending ? CLUSTER_NEVER : s->next_fault;
	uint64_t timer =
		s->timer_count ? s->timers[first_timer(s)].at : CLUSTER_NEVER;

	return timer < due ? timer : due;
}

void faults_run(struct sim *s)
{
	while (s->timer_count && s->timers[first_timer(s)].at <= s->c.now_ns) {
		uint32_t i = first_timer(s);
		struct sim_timer t = s->timers[i];

		s->timers[i] = s->timers[--s->timer_count];
		t.fn(s, t.a, t.b);
	}
	if (s->ending || s->next_fault > s->c.now_ns)
		return;
	one_fault(s);
	s->next_fault = s->c.now_ns + sim_about(s, s->plan.fault_ms) * SIM_MS;
}

void faults_end(struct sim *s)
{
	s->ending = true;
	cluster_heal_all(&s->c);
	calm(s, 0, 0);
	for (uint64_t id = 1; id <= s->c.count; id++) {
		struct cluster_node *n = &s->c.node[id];

		if (!n->disk)
			continue;
		vfs_sim_set_capacity(n->disk, s->c.o.disk_bytes);
		vfs_sim_fail(n->disk, VFS_SIM_ALL, 0, OK, false);
		vfs_sim_power_off(n->disk, 0, 0, false);
		n->off_at = 0;
		n->paused_until = 0;
		cluster_clock_rate(&s->c, id, 0);
		if (!n->store)
			fault_restart_later(s, id);
	}
}
