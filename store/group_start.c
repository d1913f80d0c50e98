/*
 * store/group_start.c - how groups come to be, and end.
 *
 * FOUNDING. A directory without any entry is given each partition's founding
 * entry, index 1 and term 1, which holds the group's membership and, in
 * partition 0, the slot table and the members: the same bytes on each founder,
 * so that it counts as committed at once (members_found). It goes into the log
 * like any other. A crash in the middle leaves some partitions with it and
 * others empty: then the next start goes on. A node that joins a cluster founds
 * nothing: its partitions stay without a membership until a leader sends their
 * state.
 *
 * A node alone whose files have lost that entry founds its partitions again: it
 * can only be itself.
 *
 * STARTING. Raft gets the hard state, the shape of the log and the membership
 * as of the applied index. A group of one elects itself at once; others wait
 * for their election timeouts.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "store/group_internal.h"
#include "store/keyrules.h"

enum {
	FOUNDING_INDEX = 1,
	FOUNDING_TERM = 1,
	INFLIGHT_MAX = 64,
	READS_MAX = 64,
	OUT_MAX = 32,
};

/* -------------------------------------------------------------- founding - */

static uint64_t log_end(struct store *s, struct partition *p)
{
	struct engine_partition_info info;

	engine_partition_info(s->engine, p->id, &info);
	return info.last_index;
}

/* Empty, or founded in part: nothing has happened since. */
static bool is_new(struct store *s)
{
	for (uint32_t i = 0; i < s->partition_count; i++) {
		if (log_end(s, &s->partitions[i]) > FOUNDING_INDEX)
			return false;
	}
	return true;
}

static enum err found(struct store *s, struct partition *p)
{
	const struct engine_hard_state hs = { .term = FOUNDING_TERM,
					      .commit = FOUNDING_INDEX };
	struct engine_entry entry = { .partition = p->id,
				      .index = FOUNDING_INDEX,
				      .term = FOUNDING_TERM,
				      .stamp_ns = 1 };
	enum err err;

	entry_begin(&s->entry);
	err = members_found(s, p);
	if (err)
		return err;
	entry.records = s->entry.records;
	entry.record_count = s->entry.count;
	err = engine_append(s->engine, &entry);
	if (err)
		return err;
	return engine_set_hard_state(s->engine, p->id, &hs);
}

static enum err found_all(struct store *s)
{
	bool some = false;
	enum err err = OK;

	if (!is_new(s) || s->o.joining)
		return OK;
	for (uint32_t i = 0; i < s->partition_count && !err; i++) {
		struct partition *p = &s->partitions[i];

		if (log_end(s, p) >= FOUNDING_INDEX)
			continue;
		some = true;
		err = found(s, p);
	}
	if (!err && some)
		err = engine_sync(s->engine);
	for (uint32_t i = 0; i < s->partition_count && !err; i++)
		err = engine_settle(s->engine, (uint16_t)i, FOUNDING_INDEX,
				    NULL, NULL);
	return err;
}

/* -------------------------------------------------------------- starting - */

static enum err load_conf(struct store *s, struct partition *p,
			  struct raft_conf *conf)
{
	enum err err;

	*conf = (struct raft_conf){ 0 };
	if (engine_applied_index(s->engine, p->id) == 0)
		return OK; /* joining */
	err = members_conf_load(s, p, conf);
	if (err != ERR_NOT_FOUND && err != ERR_CORRUPT)
		return err;
	log_line(s->o.net ? LOG_ERROR : LOG_WARN, "store",
		 "no_membership partition=%u error=%s", (unsigned)p->id,
		 err_text(err));
	if (s->o.net)
		return ERR_CORRUPT;
	/* Lost with a damaged file; a node alone knows it by itself. */
	p->found_again = true;
	return raft_conf_add(conf, s->self_id, RAFT_VOTER);
}

static void set_limits(struct store *s, struct raft_config *c)
{
	uint64_t ticks = s->o.election_ms / s->o.heartbeat_ms;

	c->election_ticks = ticks < 3 ? 3 : (uint32_t)ticks;
	c->heartbeat_ticks = 1;
	c->lazy_commit = true; /* groups_tell */
	c->asker_confirms = true;
	/* by a clock that is at most 1 % faster than another */
	c->lease_ns = (c->election_ticks - 1) * s->tick_ns / 100 * 99;
	if (s->o.append_bytes_max)
		c->append_bytes_max = s->o.append_bytes_max;
	c->uncommitted_bytes_max = RAFT_NO_LIMIT; /* group_is_full instead */
	if (s->o.net) {
		c->members_max = RAFT_MEMBERS_MAX;
		c->out_max = OUT_MAX;
		c->reads_max = READS_MAX;
		c->inflight_max = INFLIGHT_MAX;
	} else {
		c->members_max = 1;
		c->out_max = 1;
		c->reads_max = 1;
		c->inflight_max = 1;
	}
}

static enum err start_raft(struct store *s, struct partition *p)
{
	struct engine_partition_info info;
	struct raft_config c;
	enum err err;

	engine_partition_info(s->engine, p->id, &info);
	raft_config_default(&c);
	set_limits(s, &c);
	c.id = s->self_id;
	c.seed = seed_next(s->o.seed);
	c.term = info.hard_state.term;
	c.vote = info.hard_state.vote;
	c.commit = info.hard_state.commit;
	if (c.commit < info.applied_index)
		c.commit = info.applied_index;
	c.first_index = engine_first_index(s->engine, p->id);
	c.last_index = info.last_index;
	c.last_term = info.last_term;
	c.applied = info.applied_index;
	c.view = group_log_view(p);
	c.trace = group_trace;
	c.trace_ctx = p;
	err = load_conf(s, p, &c.conf);
	if (!err && c.first_index > 1)
		err = engine_term_at(s->engine, p->id, c.first_index - 1,
				     &c.base_term);
	if (!err)
		err = raft_new(&c, &p->raft);
	if (err == ERR_INVALID) {
		log_error("store", "log_makes_no_sense partition=%u",
			  (unsigned)p->id);
		err = ERR_CORRUPT;
	}
	if (err)
		return err;
	p->term = c.term;
	p->hard = (struct raft_hard_state){ c.term, c.vote,
					    info.hard_state.commit };
	p->saved = p->hard;
	p->last_index = info.last_index;
	p->apply_to = info.applied_index;
	p->conf_index = info.applied_index;
	p->changes_to = info.last_index;
	p->last_stamp_ns = info.last_stamp_ns;
	log_clock_follow(s, p, info.last_stamp_ns);
	atomic_store(&p->committed_shown, info.applied_index);
	raft_set_time(p->raft, clock_boot_ns(s->o.clock));
	status_publish(p);
	return OK;
}

/* Nobody else is to be asked. */
static void elect_oneself(struct partition *p)
{
	if (group_has_others(p) || raft_conf(p->raft)->count == 0)
		return;
	CHECK(raft_campaign(p->raft) == OK); /* its output is empty */
	group_fed(p);
}

/* What damage took of the founding entries is written anew. */
static enum err found_again(struct store *s)
{
	bool some = false;
	uint64_t index;
	enum err err = OK;

	for (uint32_t i = 0; i < s->partition_count && !err; i++) {
		struct partition *p = &s->partitions[i];

		if (!p->found_again || !group_can_decide(p))
			continue;
		some = true;
		entry_begin(&s->entry);
		err = members_found(s, p);
		if (!err)
			err = group_propose(s, p, NULL, &index);
	}
	return err || !some ? err : groups_run(s);
}

/*
 * The number of the last event of the last entry that is applied: who has seen
 * only those before it has missed some. UINT32_MAX: it cannot be told.
 */
static uint32_t last_event(struct store *s, struct partition *p)
{
	struct engine_log_entry *le = &s->groups->log_entry;
	uint32_t events = 0;

	if (p->apply_to == 0)
		return 0;
	if (engine_log_read(s->engine, p->id, p->apply_to, le))
		return UINT32_MAX;
	for (uint32_t i = 0; i < le->entry.record_count; i++) {
		const struct engine_record *r = &le->entry.records[i];

		if (!key_is_user(r->key))
			continue;
		if (r->type == RECORD_DELETE_PREFIX)
			return UINT32_MAX;
		events++;
	}
	return events ? events - 1 : 0;
}

enum err groups_start(struct store *s)
{
	enum err err = found_all(s);

	for (uint32_t i = 0; i < s->partition_count && !err; i++)
		err = start_raft(s, &s->partitions[i]);
	if (err)
		return err;
	s->begun = true;
	for (uint32_t i = 0; i < s->partition_count; i++) {
		struct partition *p = &s->partitions[i];

		elect_oneself(p);
		watch_hub_floor(s->hub, i, p->apply_to, last_event(s, p));
		count_keys(s, p);
	}
	groups_watch_time(s);
	err = groups_run(s);
	return err ? err : found_again(s);
}

/* ------------------------------------------------------------------ life - */

enum err groups_new(struct store *s)
{
	struct groups *g = calloc(1, sizeof(*g));

	s->active = calloc(s->partition_count, sizeof(*s->active));
	s->groups = g;
	if (!g || !s->active)
		return ERR_NOMEM;
	g->context = seed_next(s->o.seed);
	for (uint32_t i = 0; i < s->partition_count; i++) {
		struct partition *p = &s->partitions[i];

		p->s = s;
		list_init(&p->waiting);
		list_init(&p->decided);
	}
	return OK;
}

void groups_free(struct store *s)
{
	struct groups *g = s->groups;

	for (uint32_t i = 0; i < s->partition_count; i++) {
		raft_free(s->partitions[i].raft);
		free(s->partitions[i].cache);
	}
	free(s->active);
	if (!g)
		return;
	outbox_free(s);
	reads_free(s);
	engine_log_entry_done(&g->log_entry);
	wire_entry_done(&g->wire_entry);
	buf_done(&g->cache.entry);
	free(g->cache.ring);
	free(g->terms);
	free(g->offsets);
	free(g->changes);
	free(g);
}
