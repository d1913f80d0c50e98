/*
 * store/members.c - making the groups follow the map, and spreading leaders.
 *
 * Every so often a node looks at each group that it leads: members_plan says
 * which change is next, and it is proposed. Nothing is remembered that matters:
 * whoever leads next looks at the same map and goes on.
 *
 * CAUGHT UP is what the thesis says in 4.2.1: the learner is given rounds. A
 * round brings it everything that the log held when the round began; when one
 * took less than an election timeout the learner is so close that promoting it
 * will not leave the group waiting for it.
 *
 * SPREADING. After failures one node may lead most groups. The group with
 * number i prefers the voter i modulo the number of voters. A node that leads
 * more than its share hands over, one a second, groups that it has led for a
 * while and whose preferred voter lives and is close behind. With one group
 * nothing ever moves, and what an operator moved stays for a while.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "store/group_internal.h"
#include "store/hidden.h"
#include "store/members_plan.h"

enum {
	LOOK_BUSY_MS = 50,
	LOOK_MS = 250,
	SHOW_MS = 100,
	MOVE_MS = 1000,
	MOVE_AFTER_ELECTIONS = 30, /* led for so many election timeouts      */
	MOVE_LAG_MAX = 1000,	   /* entries                                */
	HAND_OVERS_MAX = 3,	   /* then it removes itself                 */
	FORWARD_PREFIX_BYTES = 10,
};

/* A group that is looked at. */
struct look {
	struct store *s;
	struct partition *p;
	struct group_care *care;
	uint64_t now_ns, last_index;
};

static struct look begin_look(struct store *s, struct partition *p)
{
	struct look l = { .s = s,
			  .p = p,
			  .care = &s->members->care[p->id],
			  .now_ns = clock_mono_ns(s->o.clock) };
	struct raft_status status;

	raft_status(p->raft, &status);
	l.last_index = status.last_index;
	if (l.care->term != status.term)
		*l.care = (struct group_care){ .term = status.term,
					       .led_since_ns = l.now_ns };
	return l;
}

/* ------------------------------------------------------------- learners -- */

static bool is_up(void *ctx, uint64_t id)
{
	struct look *l = ctx;

	return members_is_up(l->s, id);
}

static struct learner_care *find_care(struct look *l, uint64_t id)
{
	const struct raft_conf *conf = raft_conf(l->p->raft);
	struct learner_care *free_one = NULL;

	for (uint32_t i = 0; i < LEARNERS_AT_ONCE_MAX; i++) {
		struct learner_care *c = &l->care->learners[i];

		if (c->id == id)
			return c;
		if (raft_conf_role(conf, c->id) != RAFT_LEARNER)
			free_one = c;
	}
	if (free_one)
		*free_one = (struct learner_care){ .id = id };
	return free_one;
}

static void begin_round(struct look *l, struct learner_care *c)
{
	c->target_index = l->last_index;
	c->since_ns = l->now_ns;
}

static bool is_caught_up(void *ctx, uint64_t id)
{
	struct look *l = ctx;
	struct learner_care *c = find_care(l, id);
	struct raft_progress progress;

	if (!c || !raft_progress_of(l->p->raft, id, &progress))
		return false;
	if (!c->target_index) {
		begin_round(l, c);
		return false;
	}
	if (progress.match >= c->target_index) {
		c->is_caught_up =
			l->now_ns - c->since_ns < members_election_ns(l->s);
		begin_round(l, c);
	} else if (l->now_ns - c->since_ns > members_election_ns(l->s)) {
		c->is_caught_up = false; /* it fell behind again */
	}
	return c->is_caught_up;
}

/* -------------------------------------------------------------- changing -- */

/* What a member that is removed had forwarded is its own no more. */
static enum err drop_window(struct store *s, uint64_t id)
{
	struct engine_record *r = entry_record(&s->entry);
	uint8_t *key = entry_room(&s->entry, FORWARD_PREFIX_BYTES);

	if (!r || !key)
		return ERR_NOMEM;
	key[0] = 0;
	key[1] = 'f';
	put_be64(key + 2, id);
	r->type = RECORD_DELETE_PREFIX;
	r->key = bytes_of(key, FORWARD_PREFIX_BYTES);
	return OK;
}

static enum err propose(struct look *l, const struct raft_change *change)
{
	static const char *const ops[] = {
		[RAFT_ADD_VOTER] = "voter",
		[RAFT_ADD_LEARNER] = "learner",
		[RAFT_REMOVE] = "remove",
		[RAFT_UPDATE] = "update",
	};
	struct store *s = l->s;
	uint64_t index;
	enum err err;

	if (!group_open(l->p) || raft_change_refusal(l->p->raft, change))
		return OK; /* an earlier one is not through: later */
	entry_begin(&s->entry);
	err = members_conf_record(s, l->p, raft_conf(l->p->raft), change);
	for (uint32_t i = 0; i < change->count && !err; i++) {
		if (change->item[i].op == RAFT_REMOVE)
			err = drop_window(s, change->item[i].id);
	}
	if (!err)
		err = group_propose(s, l->p, change, &index);
	if (err == ERR_IO)
		return err;
	if (err) {
		pending_rollback(&l->p->pending);
		return OK;
	}
	for (uint32_t i = 0; i < change->count; i++)
		log_info("store",
			 "membership partition=%u index=%llu op=%s id=%llu",
			 (unsigned)l->p->id, (unsigned long long)index,
			 ops[change->item[i].op],
			 (unsigned long long)change->item[i].id);
	return OK;
}

static void transfer(struct look *l, uint64_t to)
{
	if (!group_open(l->p))
		return;
	if (raft_transfer(l->p->raft, to) == OK)
		log_info("store", "leader_moves partition=%u to=%llu",
			 (unsigned)l->p->id, (unsigned long long)to);
	group_fed(l->p);
}

/* A voter that lives, stays and is close behind: could it lead? */
static bool can_lead(struct look *l, uint64_t id)
{
	struct raft_progress progress;

	return id != l->s->self_id && !member_is_leaving(l->s, id) &&
	       members_is_up(l->s, id) &&
	       raft_progress_of(l->p->raft, id, &progress) &&
	       !progress.learner && progress.flow == RAFT_FLOW_REPLICATE &&
	       progress.match + MOVE_LAG_MAX >= l->last_index;
}

static uint64_t choose_leader(struct look *l)
{
	const struct raft_conf *conf = raft_conf(l->p->raft);

	for (uint32_t i = 0; i < conf->count; i++) {
		if (conf->role[i] == RAFT_VOTER && can_lead(l, conf->id[i]))
			return conf->id[i];
	}
	return RAFT_NOBODY;
}

/* Another one is to lead, and is tried. False: there is none. */
static bool hand_over(struct look *l)
{
	uint64_t to = choose_leader(l);

	if (to == RAFT_NOBODY || l->care->hand_overs >= HAND_OVERS_MAX)
		return false;
	if (l->care->hand_overs &&
	    l->now_ns - l->care->hand_over_ns < 2 * members_election_ns(l->s))
		return true;
	l->care->hand_overs++;
	l->care->hand_over_ns = l->now_ns;
	transfer(l, to);
	return true;
}

/*
 * This leader is to be removed. Better another leader does it: then nobody
 * waits for an election. Without one it removes itself.
 */
static enum err leave(struct look *l, const struct raft_change *change)
{
	return hand_over(l) ? OK : propose(l, change);
}

/* --------------------------------------------------------- letting go last */

static void proof_done(struct store_barrier *b, enum err err)
{
	struct members *ms = b->user;
	struct leave_proof *proof = &ms->proof;

	proof->asking = false;
	if (err)
		return; /* a group without a leader: the next look asks again */
	memcpy(proof->known, proof->asked, sizeof(proof->known));
	proof->known_count = proof->asked_count;
	ms->look = true;
}

static void add_asked(struct store *s, uint64_t id)
{
	struct leave_proof *proof = &s->members->proof;

	if (member_is_leaving(s, id))
		proof->asked[proof->asked_count++] = id;
}

/* Ask all groups, on behalf of all who leave, in the map or not any more. */
static void ask_groups(struct store *s)
{
	const struct raft_conf *conf = raft_conf(s->partitions[0].raft);
	struct members *ms = s->members;
	struct leave_proof *proof = &ms->proof;
	enum err err;

	proof->asked_count = 0;
	for (uint32_t i = 0; i < ms->count; i++)
		add_asked(s, ms->list[i].m.id);
	for (uint32_t i = 0; i < conf->count; i++) {
		if (!member_find(s, conf->id[i]))
			add_asked(s, conf->id[i]);
	}
	proof->barrier =
		(struct store_barrier){ .done = proof_done, .user = ms };
	proof->asking = true;
	err = store_barrier(s, STORE_ALL_PARTITIONS, STORE_LEASE,
			    &proof->barrier);
	if (err != ERR_PENDING)
		proof_done(&proof->barrier, err);
}

/* Has this node seen all groups as they were when id was leaving already? */
static bool is_known(struct store *s, uint64_t id)
{
	struct leave_proof *proof = &s->members->proof;

	for (uint32_t i = 0; i < proof->known_count; i++) {
		if (proof->known[i] == id)
			return true;
	}
	if (!proof->asking)
		ask_groups(s);
	return false;
}

/*
 * May id be in one of the groups from `first` on? What is applied here may be
 * old; and who is not in a group, not yet or not any more, knows nothing of it.
 */
static bool is_in_a_group(struct store *s, uint32_t first, uint64_t id)
{
	for (uint32_t i = first; i < s->partition_count; i++) {
		const struct raft *raft = s->partitions[i].raft;

		if (!raft || !raft_conf_role(raft_conf(raft), s->self_id) ||
		    raft_conf_role(raft_conf(raft), id))
			return true;
	}
	return s->partition_count > 1 && !is_known(s, id);
}

/* Who is leaving itself may be out of the others, and knows of none. */
static bool is_elsewhere(void *ctx, uint64_t id)
{
	const struct look *l = ctx;

	return !member_is_leaving(l->s, l->s->self_id) &&
	       is_in_a_group(l->s, 1, id);
}

/* *busy: the group is not yet as the map wants it. */
static enum err reconcile(struct store *s, struct partition *p, bool *busy)
{
	struct look l = begin_look(s, p);
	const struct plan_facts facts = { .self = s->self_id,
					  .ctx = &l,
					  .is_up = is_up,
					  .is_caught_up = is_caught_up,
					  .is_elsewhere =
						  p->id ? NULL : is_elsewhere };
	struct raft_change change;

	/* Who leaves does not see what becomes of groups it has left. */
	if (p->id == 0 && member_is_leaving(s, s->self_id) && hand_over(&l)) {
		*busy = true;
		return OK;
	}
	switch (members_plan(s->members, raft_conf(p->raft), &facts, &change)) {
	case PLAN_DONE:
		return OK;
	case PLAN_WAIT:
		*busy = true;
		return OK;
	case PLAN_CHANGE:
		*busy = true;
		return propose(&l, &change);
	case PLAN_HAND_OVER:
		*busy = true;
		return leave(&l, &change);
	}
	return OK;
}

/* ------------------------------------------------------------ forgetting -- */

/*
 * Whoever left every group leaves the map. A group's configuration is seen
 * here as far as this node has applied it; should the member still come into
 * one, its leader removes it again, for its id is below the next one and not
 * in the map.
 */
static enum err forget_gone(struct store *s)
{
	struct members *ms = s->members;

	for (uint32_t i = 0; i < ms->count; i++) {
		const struct member *m = &ms->list[i];
		struct engine_record *r;
		uint8_t *key;
		uint64_t index;
		enum err err;

		if (!m->leaving || is_in_a_group(s, 0, m->m.id) ||
		    members_is_pending(s))
			continue;
		entry_begin(&s->entry);
		r = entry_record(&s->entry);
		key = entry_room(&s->entry, MEMBER_KEY_BYTES);
		if (!r || !key)
			return OK; /* another time */
		r->type = RECORD_DELETE;
		r->key = member_key(key, m->m.id);
		err = members_propose(s, &index);
		if (!err)
			log_info("store", "member_gone id=%llu",
				 (unsigned long long)m->m.id);
		if (!err)
			diary_note(s->o.diary, DIARY_MEMBER_GONE,
				   DIARY_NO_PARTITION, m->m.id, 0, 0);
		return err == ERR_IO ? err : OK;
	}
	return OK;
}

/* ------------------------------------------------------------- spreading -- */

static uint64_t preferred_voter(const struct partition *p)
{
	const struct raft_conf *conf = raft_conf(p->raft);
	uint64_t voters[RAFT_MEMBERS_MAX];
	uint32_t n = 0;

	for (uint32_t i = 0; i < conf->count; i++) {
		if (conf->role[i] == RAFT_VOTER)
			voters[n++] = conf->id[i];
	}
	return n ? voters[p->id % n] : RAFT_NOBODY;
}

/* More than this many groups a node need not lead. */
static uint32_t fair_share(struct store *s)
{
	const struct raft_conf *conf = raft_conf(s->partitions[0].raft);
	uint32_t voters = 0;

	for (uint32_t i = 0; i < conf->count; i++)
		voters += conf->role[i] == RAFT_VOTER;
	return voters ? (s->partition_count + voters - 1) / voters
		      : s->partition_count;
}

static void spread(struct store *s, uint32_t led)
{
	const uint64_t settled_ns =
		MOVE_AFTER_ELECTIONS * s->o.election_ms * 1000000;
	struct members *ms = s->members;
	uint64_t now_ns = clock_mono_ns(s->o.clock);

	if (now_ns - ms->moved_ns < MOVE_MS * UINT64_C(1000000) ||
	    led <= fair_share(s))
		return;
	for (uint32_t i = 0; i < s->partition_count; i++) {
		struct partition *p = &s->partitions[i];
		struct look l;
		uint64_t to;

		if (!group_can_decide(p))
			continue;
		l = begin_look(s, p);
		to = preferred_voter(p);
		if (now_ns - l.care->led_since_ns < settled_ns ||
		    to == s->self_id || !can_lead(&l, to))
			continue;
		ms->moved_ns = now_ns;
		transfer(&l, to);
		return;
	}
}

/* ---------------------------------------------------------------- round -- */

static enum err look_at_groups(struct store *s)
{
	struct members *ms = s->members;
	bool busy = ms->transfer != NULL;
	uint32_t led = 0;
	enum err err = OK;

	for (uint32_t i = 0; i < s->partition_count && !err; i++) {
		struct partition *p = &s->partitions[i];

		if (!group_can_decide(p))
			continue;
		led++;
		err = reconcile(s, p, &busy);
	}
	if (!err && group_can_decide(&s->partitions[0]))
		err = forget_gone(s);
	if (!err && !busy && led > 0)
		spread(s, led);
	ms->next_look_ns = clock_mono_ns(s->o.clock) +
			   (busy ? LOOK_BUSY_MS : LOOK_MS) * UINT64_C(1000000);
	return err;
}

enum err members_round(struct store *s)
{
	struct members *ms = s->members;
	uint64_t now_ns = clock_mono_ns(s->o.clock);
	bool news = ms->changed || ms->look;
	enum err err = members_refresh(s);

	if (err) { /* not the log's: what is known stays in force */
		log_warn("store", "member_map_unread error=%s", err_text(err));
		return OK;
	}
	members_transfer_round(s);
	if (news || now_ns - ms->shown_ns >= SHOW_MS * UINT64_C(1000000))
		members_publish(s);
	if (!news && now_ns < ms->next_look_ns)
		return OK;
	ms->look = false;
	members_update_round(s);
	if (ms->next_id && !ms->damaged)
		return look_at_groups(s);
	/* joining, or the map cannot be read: wait, and not by turning */
	ms->next_look_ns = now_ns + LOOK_MS * UINT64_C(1000000);
	return OK;
}

uint64_t members_wait_ms(struct store *s)
{
	struct members *ms = s->members;
	uint64_t now_ns = clock_mono_ns(s->o.clock);

	if (ms->changed || ms->look)
		return 0;
	if (!s->o.net && !ms->updating && !ms->transfer && ms->count <= 1)
		return UINT64_MAX;
	if (now_ns >= ms->next_look_ns)
		return 0;
	return (ms->next_look_ns - now_ns + 999999) / 1000000;
}

/* ------------------------------------------------------------------ life -- */

void members_changed(struct store *s, struct partition *p)
{
	(void)p;
	s->members->look = true;
	if (s->members->stray_count)
		s->members->changed = true; /* fewer of them, perhaps */
}

enum err members_new(struct store *s)
{
	struct members *ms = calloc(1, sizeof(*ms));

	CHECK(s->o.member_count <= MEMBERS_MAX);
	if (!ms)
		return ERR_NOMEM;
	if (s->o.member_count)
		memcpy(ms->founders, s->o.members,
		       s->o.member_count * sizeof(*ms->founders));
	s->o.members = NULL; /* the caller's; see founders */
	ms->care = calloc(s->partition_count, sizeof(*ms->care));
	if (!ms->care) {
		free(ms);
		return ERR_NOMEM;
	}
	pthread_mutex_init(&ms->shown.lock, NULL);
	s->members = ms;
	return OK;
}

void members_free(struct store *s)
{
	struct members *ms = s->members;

	if (!ms)
		return;
	members_transfer_end(s);
	pthread_mutex_destroy(&ms->shown.lock);
	free(ms->care);
	free(ms);
	s->members = NULL;
}
