/*
 * store/group.c - readies: what raft wants sent, made durable and applied.
 *
 * The loop of raft/raft.h for all groups of the node at once. Only partitions
 * that were touched are looked at; they stay active until they have nothing
 * left to do.
 *
 *    groups_run   send     readies taken, hard state appended, messages out
 *                 sync     one for all, if some ready must have it
 *                 synced   what promises something about this disk goes out
 *                 apply    engine_settle, membership, waiters
 *                 and again while that made new readies
 *
 * What a node decides for a partition that it leads is appended entry by entry
 * (group_propose), but told to raft once, before its next input: a round makes
 * one append for each peer, whatever the number of entries.
 *
 * An entry that raft made itself must be in the log before anything else of
 * its group. When that fails, for want of memory say, the group gets no input
 * and gives no ready until it has succeeded; the same holds for a hard state
 * and for a state that is to be put in force (group_install.c).
 * To the others it looks like a slow node.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "store/forward.h"
#include "store/group_internal.h"
#include "store/hidden.h"
#include "store/observer.h"
#include "store/tokens.h"

enum {
	RUNS_MAX = 16,
	UNAPPLIED_BYTES_MAX = 32 << 20,
	SETTLE_MAX = 16384,		     /* entries at a time */
	SAVE_COMMIT_EVERY = 1024,	     /* entries */
	SAVE_COMMIT_NS = 1000 * 1000 * 1000, /* or time, when there are any */
	SLOW_SYNCS_MAX = 3,
};

void group_touch(struct partition *p)
{
	struct store *s = p->s;

	if (p->active)
		return;
	p->active = true;
	CHECK(s->active_count < s->partition_count);
	s->active[s->active_count++] = p;
}

/* ------------------------------------------------------ before a change -- */

/*
 * Whoever has a membership change in its log must know, also after a restart,
 * that the change before it is committed: of two memberships that follow each
 * other any majorities meet, of others not. So the commit index goes into the
 * stream before such an entry does, else only now and then.
 */
enum err group_save_commit(struct partition *p, uint64_t before)
{
	struct engine_hard_state hs;
	struct raft_status st;
	enum err err;

	raft_status(p->raft, &st);
	hs = (struct engine_hard_state){ .term = st.term,
					 .vote = st.vote,
					 .commit = st.commit };
	if (hs.commit >= before)
		hs.commit = before - 1;
	if (hs.commit <= p->saved.commit)
		return OK;
	err = engine_set_hard_state(p->s->engine, p->id, &hs);
	if (err)
		return err;
	p->saved = (struct raft_hard_state){ hs.term, hs.vote, hs.commit };
	/* one that still waits for room is not to be older than that */
	p->hard.term = hs.term;
	p->hard.vote = hs.vote;
	if (p->hard.commit < hs.commit)
		p->hard.commit = hs.commit;
	return OK;
}

/* --------------------------------------------------------------- input --- */

static enum err append_own(struct partition *p)
{
	const struct raft_change leave = { .transition = RAFT_AUTO };
	struct store *s = p->s;
	struct engine_record *r;
	enum err err = OK;

	entry_begin(&s->entry);
	if (p->own.leave_joint) {
		err = group_save_commit(p, p->own.index);
		if (!err)
			err = members_conf_record(s, p, raft_conf(p->raft),
						  &leave);
	} else {
		r = entry_record(&s->entry);
		if (r)
			r->type = RECORD_NOOP;
		else
			err = ERR_NOMEM;
	}
	if (!err)
		err = entry_append_at(s, p, p->own.index, p->own.term);
	if (err)
		return err;
	if (p->own.leave_joint) {
		p->changes_to = p->own.index;
	} else {
		p->office_index = p->own.index;
		p->office_term = p->own.term;
	}
	return OK;
}

/* Raft's own entries go into the log before anything else. */
static void take_own(struct partition *p)
{
	while (p->own_due || raft_take_own(p->raft, &p->own)) {
		enum err err = append_own(p);

		p->own_due = err != OK;
		if (!err)
			continue;
		p->s->groups->failed |= err == ERR_IO;
		p->s->retry = true;
		return;
	}
}

bool group_open(struct partition *p)
{
	if (!p->raft || p->broken || p->installing)
		return false;
	if (p->own_due)
		take_own(p);
	if (p->own_due)
		return false;
	if (p->proposed > 0) {
		uint32_t n = p->proposed;

		p->proposed = 0;
		raft_propose(p->raft, n, 0);
		group_fed(p);
	}
	return !p->own_due;
}

void group_fed(struct partition *p)
{
	group_touch(p);
	take_own(p);
}

void group_break(struct partition *p)
{
	p->broken = true;
	p->deciding = false;
	group_touch(p);
	reads_publish(p);
	requests_leave_office(p->s, p);
	reads_leave_office(p->s, p);
	groups_watch_time(p->s);
}

/* ------------------------------------------------------------ proposing -- */

bool group_is_full(struct partition *p)
{
	if (engine_applied_index(p->s->engine, p->id) >= p->unapplied_to)
		p->unapplied_bytes = 0;
	return p->unapplied_bytes >= UNAPPLIED_BYTES_MAX;
}

bool group_can_decide(const struct partition *p)
{
	uint64_t index, term;

	return p->deciding && !p->broken && !p->own_due &&
	       raft_proposable(p->raft, 0, &index, &term) == OK;
}

uint64_t group_leader(const struct partition *p)
{
	return p->broken ? RAFT_NOBODY : p->leader;
}

static enum err propose_change(struct partition *p,
			       const struct raft_change *change,
			       uint64_t *index)
{
	struct store *s = p->s;
	uint64_t term;
	enum err err;

	if (!group_open(p) || raft_change_refusal(p->raft, change))
		return ERR_BUSY;
	err = raft_proposable(p->raft, 0, index, &term);
	if (!err)
		err = group_save_commit(p, *index);
	if (!err)
		err = entry_append_at(s, p, *index, term);
	if (err)
		return err;
	p->changes_to = *index;
	raft_propose_change(p->raft, change, 0);
	group_fed(p);
	return OK;
}

static enum err propose_entry(struct partition *p, uint64_t *index)
{
	uint64_t first, term;
	enum err err = raft_proposable(p->raft, 0, &first, &term);

	if (err)
		return err;
	*index = first + p->proposed;
	err = entry_append_at(p->s, p, *index, term);
	if (err)
		return err;
	p->proposed++;
	group_touch(p);
	return OK;
}

enum err group_propose(struct store *s, struct partition *p,
		       const struct raft_change *change, uint64_t *index)
{
	enum err err = change ? propose_change(p, change, index)
			      : propose_entry(p, index);

	if (err)
		pending_rollback(&p->pending);
	else
		pending_keep(&p->pending);
	return err;
}

/* --------------------------------------------------------------- office -- */

/* The no-op is applied: what is decided now is decided on all there is. */
static enum err enter_office(struct store *s, struct partition *p)
{
	enum err err;

	pending_done(&p->pending);
	staging_free_all(p);
	err = staging_load(s, p);
	if (err)
		return err;
	p->deciding = true;
	p->expiry_known = false;
	return OK;
}

static void leave_office(struct store *s, struct partition *p)
{
	p->deciding = false;
	p->office_index = 0;
	pending_done(&p->pending);
	staging_free_all(p);
	requests_leave_office(s, p);
	reads_leave_office(s, p);
}

static bool is_leading(const struct partition *p)
{
	return p->office_index && p->office_term == p->hard.term &&
	       p->role == RAFT_LEADER;
}

static void try_to_enter(struct store *s, struct partition *p)
{
	enum err err;

	if (p->deciding || p->broken || !is_leading(p) ||
	    engine_applied_index(s->engine, p->id) < p->office_index)
		return;
	err = enter_office(s, p);
	if (err == ERR_NOMEM)
		s->retry = true;
	else if (err) /* the stagings are unreadable: leftovers, no more */
		log_error("store", "stagings_unknown partition=%u error=%s",
			  (unsigned)p->id, err_text(err));
	p->deciding = err != ERR_NOMEM;
	forward_wake(s, false);
	reads_publish(p);
}

static void role_changed(struct partition *p, const struct raft_ready *r)
{
	bool led = p->office_index != 0;

	p->role = r->role;
	p->leader = r->leader;
	p->term = r->hard.term;
	if (led && !is_leading(p))
		leave_office(p->s, p);
	reads_ask_again(p);
	forward_wake(p->s, false);
	status_publish(p);
	groups_watch_time(p->s);
}

/* --------------------------------------------------------------- readies - */

static enum err append_hard_state(struct partition *p)
{
	const struct engine_hard_state hs = { .term = p->hard.term,
					      .vote = p->hard.vote,
					      .commit = p->hard.commit };
	enum err err = engine_set_hard_state(p->s->engine, p->id, &hs);

	if (!err) {
		p->saved = p->hard;
		p->saved_at_ns = clock_mono_ns(p->s->o.clock);
	}
	return err;
}

void group_take_ready(struct partition *p)
{
	struct raft_ready *r = &p->ready;

	raft_ready(p->raft, r);
	p->has_ready = true;
	p->hard = r->hard;
	p->hard_due |=
		r->hard.term != p->saved.term || r->hard.vote != p->saved.vote;
	p->s->sync_wanted |= r->must_sync;
	atomic_store(&p->committed_shown, r->hard.commit);
	if (r->soft_changed || r->hard.term != p->term)
		role_changed(p, r);
	if (r->apply_from <= r->apply_to)
		p->apply_to = r->apply_to;
	for (uint32_t i = 0; i < r->grant_count; i++)
		reads_granted(p, r->grants[i].context, r->grants[i].index);
	reads_publish(p);
	for (uint32_t i = 0; i < r->msg_count; i++)
		group_send(p, &r->msgs[i]);
}

/*
 * A message of p's raft to itself that it had no room for: inputs went on while
 * the disk kept the ready waiting. Votes are asked for again by the next
 * election; what the log holds must not be forgotten.
 */
static void keep_ack(struct partition *p, const struct raft_msg *m)
{
	if (m->type != RAFT_MSG_APPEND_REPLY)
		return;
	p->ack = *m;
	p->ack_due = true;
}

static void step_self(struct partition *p, const struct raft_msg *m)
{
	struct raft_accepted none;
	enum err err = raft_step(p->raft, m, &none);

	if (err == ERR_FULL)
		keep_ack(p, m);
	group_fed(p);
	if (err == ERR_CORRUPT)
		group_break(p);
}

/* A ready was taken just now, so that there is room again. */
static void step_kept_ack(struct partition *p)
{
	struct raft_msg m;

	if (!p->ack_due || !group_open(p))
		return;
	m = p->ack; /* which may have to be kept again */
	p->ack_due = false;
	step_self(p, &m);
}

static enum err send_all(struct store *s)
{
	for (uint32_t i = 0; i < s->active_count; i++) {
		struct partition *p = s->active[i];
		enum err err = OK;

		if (!group_open(p))
			continue;
		if (reads_wait(p))
			reads_ask(p);
		if (!p->has_ready && raft_has_ready(p->raft))
			group_take_ready(p);
		step_kept_ack(p);
		if (!p->has_ready || !p->hard_due)
			continue;
		err = append_hard_state(p);
		if (err == ERR_IO)
			return err;
		p->hard_due = err != OK;
		s->sync_wanted = true;
		s->retry |= p->hard_due;
	}
	outbox_flush(s);
	return s->groups->failed ? ERR_IO : OK;
}

/* ------------------------------------------------------------------ sync - */

/* The commit index is saved now and then: it only shortens the next start. */
static enum err save_commits(struct store *s)
{
	uint64_t now_ns = clock_mono_ns(s->o.clock);

	for (uint32_t i = 0; i < s->active_count; i++) {
		struct partition *p = s->active[i];
		uint64_t more = p->hard.commit - p->saved.commit;

		/* of a state that waits for room the log has nothing yet */
		if (more == 0 || p->hard_due || p->installing ||
		    (more < SAVE_COMMIT_EVERY &&
		     now_ns - p->saved_at_ns < SAVE_COMMIT_NS))
			continue;
		/* out of space or memory: another time */
		if (append_hard_state(p) == ERR_IO)
			return ERR_IO;
	}
	return OK;
}

/* A disk that takes so long makes a bad leader. */
static void judge_sync(struct store *s, uint64_t ns)
{
	struct groups *g = s->groups;

	if (ns < s->o.election_ms * 1000000 / 2) {
		g->slow_syncs = 0;
		return;
	}
	g->slow_syncs++;
	if (g->slow_syncs % SLOW_SYNCS_MAX || !store_leads(s))
		return;
	log_warn("store", "disk_stalls sync_ms=%llu action=hand_over",
		 (unsigned long long)(ns / 1000000));
	diary_note(s->o.diary, DIARY_DISK_STALLS, DIARY_NO_PARTITION, 0,
		   ns / 1000000, 0);
	store_hand_over(s);
}

static enum err sync_batch(struct store *s)
{
	uint64_t from_ns, to_ns;
	enum err err = save_commits(s);

	if (err)
		return err;
	from_ns = clock_mono_ns(s->o.clock);
	err = engine_sync(s->engine);
	if (err)
		return err;
	to_ns = clock_mono_ns(s->o.clock);
	count_up(&s->sync_buckets[time_bucket(to_ns - from_ns)], 1);
	count_up(&s->write_batches, 1);
	s->sync_wanted = false;
	s->batch_bytes = 0;
	s->last_batch_ns = to_ns;
	s->idle_told = false;
	judge_sync(s, to_ns - from_ns);
	return OK;
}

/* What was promised is true now: to others, and to raft here. */
static void synced(struct partition *p)
{
	const struct raft_ready *r = &p->ready;

	p->has_ready = false;
	for (uint32_t i = 0; i < r->after_count; i++) {
		const struct raft_msg *m = &r->after_msgs[i];

		if (m->to != p->s->self_id)
			group_send(p, m);
		else if (group_open(p))
			step_self(p, m);
		/* else: repeated at the next entry or election */
	}
	if (r->has_point)
		raft_persisted(p->raft, &r->point);
}

static void all_synced(struct store *s)
{
	for (uint32_t i = 0; i < s->active_count; i++) {
		struct partition *p = s->active[i];

		if (p->has_ready && !p->hard_due && !p->installing)
			synced(p);
	}
}

/* ----------------------------------------------------------------- apply - */

static enum err reserve_change(struct groups *g)
{
	uint32_t cap = g->change_cap ? 2 * g->change_cap : 4;
	void *changes;

	if (g->change_count < g->change_cap)
		return OK;
	changes = realloc(g->changes, cap * sizeof(*g->changes));
	if (!changes)
		return ERR_NOMEM;
	g->changes = changes;
	g->change_cap = cap;
	return OK;
}

/* A record of the key "\0g" was applied. */
static void note_change(struct store *s, const struct record *r)
{
	struct groups *g = s->groups;
	struct bytes in = r->value;

	if (reserve_change(g)) {
		/* Settled it is; without its change raft cannot go on. */
		log_error("store", "membership_change_lost partition=%u",
			  (unsigned)r->partition);
		group_break(&s->partitions[r->partition]);
		return;
	}
	if (wire_change_decode(&in, &g->changes[g->change_count].change)) {
		/* the same bytes on every replica: they all pass it over */
		log_error("store", "bad_membership_change partition=%u",
			  (unsigned)r->partition);
		return;
	}
	g->changes[g->change_count++].index = r->index;
}

/* Keep the figure that status shows: keys of users, not the store's own. */
static void count_key(struct partition *p, const struct engine_applied *a)
{
	if (a->record->type == RECORD_PUT && !a->had_old)
		count_up(&p->keys_shown, 1);
	else if (a->record->type != RECORD_PUT && a->had_old)
		count_up(&p->keys_shown, (uint64_t)-1);
}

static void on_applied(void *ctx, const struct engine_applied *a)
{
	struct store *s = ctx;
	const struct record *r = a->record;

	s->groups->stamp_ns = r->stamp_ns;
	if (r->key.n > 0 && r->key.p[0] != 0) {
		count_key(&s->partitions[r->partition], a);
		watch_publish(s->hub, a);
		return;
	}
	if (r->type == RECORD_PUT && bytes_equal(r->key, conf_key()))
		note_change(s, r);
	if (r->partition == 0) {
		members_applied(s, a);
		tokens_applied(s, a);
	}
}

static bool removes(const struct raft_change *c, uint64_t id)
{
	for (uint32_t i = 0; i < c->count; i++)
		if (c->item[i].op == RAFT_REMOVE && c->item[i].id == id)
			return true;
	return false;
}

/* Changes among the entries up to applied, each once. */
static void apply_changes(struct store *s, struct partition *p,
			  uint64_t applied)
{
	struct groups *g = s->groups;

	for (uint32_t i = 0; i < g->change_count; i++) {
		const struct applied_change *c = &g->changes[i];
		enum err err;

		if (c->index <= p->conf_index || c->index > applied)
			continue;
		p->conf_index = c->index;
		err = raft_apply_conf(p->raft, &c->change);
		if (removes(&c->change, s->self_id))
			forward_dropped(s, p, c->index);
		group_fed(p);
		if (err)
			log_error("store",
				  "membership_change_ignored partition=%u "
				  "index=%llu",
				  (unsigned)p->id,
				  (unsigned long long)c->index);
		reads_publish(p);
		status_publish(p);
		groups_watch_time(s);
		members_changed(s, p);
	}
}

static enum err apply_some(struct store *s, struct partition *p, uint64_t from)
{
	uint64_t to = p->apply_to - from > SETTLE_MAX ? from + SETTLE_MAX
						      : p->apply_to;
	struct engine_settler settler = { .ctx = s, .applied = on_applied };
	uint64_t applied;
	enum err err;

	observer_join(s, &settler);
	s->groups->change_count = 0;
	err = engine_settle_told(s->engine, p->id, to, &settler);
	applied = engine_applied_index(s->engine, p->id);
	if (p->id == 0)
		tokens_refresh(s); /* before anyone is told of it */
	if (applied == from || p->broken)
		return err;
	apply_changes(s, p, applied);
	raft_applied(p->raft, applied);
	group_fed(p);
	if (p->deciding)
		pending_applied(&p->pending, applied);
	if (!p->office_index)
		log_clock_follow(s, p, s->groups->stamp_ns);
	p->expiry_known = false;
	return err;
}

/*
 * The next entry's bytes are damaged here, and others have it. Until it is back
 * this node neither leads p nor counts it as held; applying goes on then.
 */
static void miss_entry(struct store *s, struct partition *p)
{
	struct raft_status st;

	raft_status(p->raft, &st);
	if (st.missing || !group_open(p))
		return;
	log_error("store", "entry_missing partition=%u index=%llu",
		  (unsigned)p->id,
		  (unsigned long long)engine_applied_index(s->engine, p->id) +
			  1);
	raft_set_missing(p->raft, engine_applied_index(s->engine, p->id) + 1);
	group_fed(p);
}

static enum err apply_all(struct store *s)
{
	for (uint32_t i = 0; i < s->active_count; i++) {
		struct partition *p = s->active[i];
		uint64_t from = engine_applied_index(s->engine, p->id);
		enum err err = OK;

		if (p->apply_to > from && group_open(p))
			err = apply_some(s, p, from);
		p->apply_stuck = err != OK;
		if (err == ERR_NOMEM)
			s->retry = true;
		else if (err == ERR_CORRUPT && group_has_others(p))
			miss_entry(s, p);
		else if (err)
			return ERR_IO;
		try_to_enter(s, p);
		requests_applied(s, p);
		reads_applied(s, p);
	}
	return OK;
}

/* ------------------------------------------------------------- the loop -- */

/* Held up until something else happens: memory, space, bytes from a peer. */
bool group_is_stuck(const struct partition *p)
{
	return p->own_due || p->hard_due || p->apply_stuck || p->installing;
}

bool group_has_work(struct partition *p)
{
	if (p->broken || !p->raft)
		return false;
	return p->own_due || p->proposed > 0 || p->has_ready ||
	       raft_has_ready(p->raft) ||
	       engine_applied_index(p->s->engine, p->id) < p->apply_to;
}

/* Let go of partitions that have nothing to do. True: go on now. */
static bool retire(struct store *s)
{
	uint32_t kept = 0;
	bool more = false;

	for (uint32_t i = 0; i < s->active_count; i++) {
		struct partition *p = s->active[i];
		bool work = group_has_work(p);

		group_note_untold(p);
		more |= work && !group_is_stuck(p);
		if (work || requests_are_due(p) || reads_are_due(p))
			s->active[kept++] = p;
		else
			p->active = false;
	}
	s->active_count = kept;
	return more;
}

enum err groups_run(struct store *s)
{
	bool more = true;

	for (int i = 0; i < RUNS_MAX && more; i++) {
		enum err err = send_all(s);

		if (!err && s->sync_wanted)
			err = sync_batch(s);
		if (err)
			return err;
		all_synced(s);
		outbox_flush(s);
		err = apply_all(s);
		if (err)
			return err;
		more = retire(s);
	}
	return OK;
}
