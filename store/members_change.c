/*
 * store/members_change.c - requests that change the cluster.
 *
 * All but the transfer are decided on the map, by the leader of partition 0,
 * and append records of the map; making the groups follow is another matter
 * (members.c). They are decided one after the other: while one is appended and
 * not applied the next is told to come again. What is wanted already is no
 * error, so that a client may repeat what it does not know the outcome of.
 */
#include <stdio.h>

#include "base/check.h"
#include "base/log.h"
#include "store/group_internal.h"
#include "store/hidden.h"
#include "store/members_plan.h"
#include "store/tokens.h"

enum {
	UPDATE_RETRY_MS = 1000,
	UPDATE_REFUSED_MS = 60 * 1000,
};

static void set_text(char *to, const char *from, size_t cap)
{
	snprintf(to, cap, "%s", from);
}

/* ------------------------------------------------------------- the map --- */

bool members_is_pending(struct store *s)
{
	struct members *ms = s->members;

	return ms->pending_term == s->partitions[0].term &&
	       ms->pending_index > engine_applied_index(s->engine, 0);
}

enum err members_propose(struct store *s, uint64_t *index)
{
	struct members *ms = s->members;
	enum err err = entry_append(s, &s->partitions[0], index);

	if (!err) {
		ms->pending_index = *index;
		ms->pending_term = s->partitions[0].term;
	}
	return err;
}

/* Whoever has one of the addresses of m and is someone else. */
static bool address_is_taken(struct store *s, const struct store_member *m)
{
	struct members *ms = s->members;

	for (uint32_t i = 0; i < ms->count; i++) {
		const struct member *o = &ms->list[i];

		if (o->leaving || o->m.id == m->id)
			continue;
		if ((m->peer[0] && strcmp(o->m.peer, m->peer) == 0) ||
		    (m->http[0] && strcmp(o->m.http, m->http) == 0))
			return true;
	}
	return false;
}

static struct member *find_leaving(struct store *s, const char *name)
{
	struct members *ms = s->members;

	for (uint32_t i = 0; i < ms->count; i++) {
		if (ms->list[i].leaving &&
		    strcmp(ms->list[i].m.name, name) == 0)
			return &ms->list[i];
	}
	return NULL;
}

/* A new entry with the next id. */
static enum err add_entry(struct store *s, struct store_change *c,
			  struct member *m)
{
	struct members *ms = s->members;
	enum err err;

	if (ms->count == MEMBERS_MAX)
		return ERR_FULL;
	m->m.id = ms->next_id;
	m->claim = 0;
	err = member_record(s, m);
	if (!err)
		err = next_id_record(s, ms->next_id + 1);
	if (!err)
		c->id = m->m.id;
	return err;
}

static enum err decide_add(struct store *s, struct store_change *c)
{
	struct member m = { .m = c->member };

	m.m.id = 0;
	if (member_find_name(s, m.m.name) || address_is_taken(s, &m.m))
		return ERR_EXISTS;
	if (find_leaving(s, m.m.name))
		return ERR_BUSY;
	return add_entry(s, c, &m);
}

/* In partition 0's group, as far as it is applied here. */
static bool is_voter(struct store *s, uint64_t id)
{
	const struct raft_conf *conf = raft_conf(s->partitions[0].raft);

	return raft_conf_role(conf, id) & RAFT_VOTER;
}

/* ------------------------------------------------------------- removing -- */

static bool is_up(void *ctx, uint64_t id)
{
	return members_is_up(ctx, id);
}

/* Would partition 0 still have voters, a majority of them up, without m? */
static enum err check_removal(struct store *s, const struct member *m)
{
	const struct raft_conf *conf = raft_conf(s->partitions[0].raft);
	const struct plan_facts f = { .self = s->self_id,
				      .ctx = s,
				      .is_up = is_up };
	struct members *ms = s->members;
	uint64_t without[MEMBERS_MAX + 1];
	uint32_t n = 0, voters;
	bool safe;

	if (!is_voter(s, m->m.id))
		return OK;
	without[n++] = m->m.id;
	for (uint32_t i = 0; i < ms->count; i++) {
		if (ms->list[i].leaving)
			without[n++] = ms->list[i].m.id;
	}
	safe = plan_is_safe_without(conf, &f, without, n, &voters);
	if (voters == 0)
		return ERR_INVALID;
	return safe ? OK : ERR_PRECONDITION;
}

static enum err decide_remove(struct store *s, struct store_change *c)
{
	struct member *m = member_find_name(s, c->member.name);
	struct member gone;
	enum err err;

	if (!m) {
		m = find_leaving(s, c->member.name);
		if (!m)
			return ERR_NOT_FOUND;
		c->id = m->m.id;
		return OK; /* it is on its way */
	}
	c->id = m->m.id;
	err = check_removal(s, m);
	if (err)
		return err;
	gone = *m;
	gone.leaving = true;
	return member_record(s, &gone);
}

/* --------------------------------------------------------------- others -- */

static enum err decide_promote(struct store *s, struct store_change *c)
{
	struct member *m = member_find_name(s, c->member.name);
	struct member voter;

	if (!m)
		return ERR_NOT_FOUND;
	c->id = m->m.id;
	if (!m->m.stays_learner)
		return OK;
	voter = *m;
	voter.m.stays_learner = false;
	return member_record(s, &voter);
}

static enum err decide_replace(struct store *s, struct store_change *c)
{
	struct member *m = member_find_name(s, c->member.name);
	struct member old, fresh;
	enum err err;

	if (!m)
		return ERR_NOT_FOUND;
	if (m->m.id == s->self_id)
		return ERR_INVALID;
	c->id = m->m.id;
	if (m->claim == 0)
		return OK; /* no disk has this id: it waits for one */
	/* A disk that was lost, or does not open, speaks under no id. */
	if (members_is_here(s, m->m.id)) {
		err = c->force ? check_removal(s, m) : ERR_PRECONDITION;
		if (err)
			return err;
	}
	old = fresh = *m;
	/* One that never came to vote leaves the place that it was to take. */
	if (!old.replaces || is_voter(s, old.m.id))
		fresh.replaces = old.m.id;
	err = add_entry(s, c, &fresh);
	old.leaving = true;
	return err ? err : member_record(s, &old);
}

static enum err decide_claim(struct store *s, struct store_change *c)
{
	struct member *m = member_find_name(s, c->member.name);
	struct member claimed;

	if (!m)
		return ERR_NOT_FOUND;
	c->id = m->m.id;
	if (m->claim == c->claim)
		return OK;
	if (m->claim)
		return ERR_EXISTS;
	claimed = *m;
	claimed.claim = c->claim;
	return member_record(s, &claimed);
}

static enum err decide_update(struct store *s, struct store_change *c)
{
	struct member *m = member_find(s, c->member.id), *other;
	struct member now;

	if (!m || m->leaving)
		return ERR_NOT_FOUND;
	c->id = m->m.id;
	now = *m;
	set_text(now.m.name, c->member.name, sizeof(now.m.name));
	set_text(now.m.peer, c->member.peer, sizeof(now.m.peer));
	set_text(now.m.http, c->member.http, sizeof(now.m.http));
	other = member_find_name(s, now.m.name);
	if ((other && other != m) || address_is_taken(s, &now.m))
		return ERR_EXISTS;
	return member_record(s, &now);
}

static enum err decide_kind(struct store *s, struct store_change *c)
{
	switch (c->kind) {
	case STORE_MEMBER_ADD:
		return decide_add(s, c);
	case STORE_MEMBER_REMOVE:
		return decide_remove(s, c);
	case STORE_MEMBER_PROMOTE:
		return decide_promote(s, c);
	case STORE_MEMBER_REPLACE:
		return decide_replace(s, c);
	case STORE_MEMBER_CLAIM:
		return decide_claim(s, c);
	case STORE_MEMBER_UPDATE:
		return decide_update(s, c);
	case STORE_TOKEN_ADD:
	case STORE_TOKEN_SET:
	case STORE_TOKEN_REMOVE:
		return tokens_decide(s, c);
	case STORE_TRANSFER:
		break; /* never decided: members_transfer */
	}
	return ERR_INVALID;
}

/* The map as it is applied, whole, with nothing of it under way. */
static enum err know_map(struct store *s)
{
	enum err err = members_refresh(s);

	if (err)
		return err == ERR_NOMEM ? ERR_NOMEM : ERR_CORRUPT;
	if (s->members->damaged)
		return ERR_CORRUPT;
	if (s->members->next_id == 0)
		return ERR_NO_LEADER;
	return members_is_pending(s) ? ERR_BUSY : OK;
}

/* NULL: no change of a member. */
static const char *verb_of(enum store_change_kind kind)
{
	switch (kind) {
	case STORE_MEMBER_ADD:
		return "add";
	case STORE_MEMBER_REMOVE:
		return "remove";
	case STORE_MEMBER_PROMOTE:
		return "promote";
	case STORE_MEMBER_REPLACE:
		return "replace";
	case STORE_MEMBER_CLAIM:
		return "claim";
	case STORE_MEMBER_UPDATE:
		return "update";
	case STORE_TOKEN_ADD:
	case STORE_TOKEN_SET:
	case STORE_TOKEN_REMOVE:
	case STORE_TRANSFER:
		break;
	}
	return NULL;
}

static void log_change(const struct store_change *c)
{
	switch (c->kind) {
	case STORE_TOKEN_ADD:
	case STORE_TOKEN_SET:
		log_info("store", "token_made name=%s request=\"%s\"",
			 c->token.name, c->tag);
		return;
	case STORE_TOKEN_REMOVE:
		log_info("store", "token_removed name=%s request=\"%s\"",
			 c->token.name, c->tag);
		return;
	default:
		log_info("store",
			 "members_changed what=%s name=%s id=%llu "
			 "request=\"%s\"",
			 verb_of(c->kind), c->member.name,
			 (unsigned long long)c->id, c->tag);
	}
}

enum err decide_change(struct store *s, struct store_change *c)
{
	enum err err;

	c->id = 0;
	entry_begin(&s->entry);
	err = know_map(s);
	if (!err)
		err = decide_kind(s, c);
	if (!err && s->entry.count > 0) {
		err = members_propose(s, &c->queued.index);
		if (err == ERR_IO)
			return err;
		if (!err)
			log_change(c);
	}
	c->err = err;
	return OK;
}

enum err change_check(const struct store *s, const struct store_change *c)
{
	switch (c->kind) {
	case STORE_MEMBER_ADD:
		if (!s->o.net)
			return ERR_PERMISSION;
		return member_is_sound(&c->member) && c->member.peer[0]
			       ? OK
			       : ERR_INVALID;
	case STORE_MEMBER_CLAIM:
		return c->claim > MEMBER_CLAIM_FOUNDER ? OK : ERR_INVALID;
	case STORE_MEMBER_UPDATE:
		return member_is_sound(&c->member) ? OK : ERR_INVALID;
	case STORE_MEMBER_REPLACE:
		return s->o.net ? OK : ERR_PERMISSION;
	case STORE_TOKEN_ADD:
	case STORE_TOKEN_SET:
		return token_check(&c->token);
	case STORE_TOKEN_REMOVE:
		return store_token_name_is_sound(c->token.name) &&
				       c->token.prefix.n <=
					       STORE_TOKEN_PREFIX_BYTES_MAX
			       ? OK
			       : ERR_INVALID;
	case STORE_MEMBER_REMOVE:
	case STORE_MEMBER_PROMOTE:
	case STORE_TRANSFER:
		return OK;
	}
	return ERR_INVALID;
}

enum err store_change(struct store *s, struct store_change *c)
{
	enum err err;

	if (!atomic_load_explicit(&s->started, memory_order_acquire))
		return atomic_load(&s->closing) ? ERR_CLOSED : ERR_STARTING;
	err = change_check(s, c);
	if (err)
		return err;
	c->queued.partition = 0;
	return queue_push(s, &c->queued, REQUEST_CHANGE);
}

/* ------------------------------------------------------------- transfer -- */

static void end_transfer(struct store *s, enum err err)
{
	struct store_change *c = s->members->transfer;

	s->members->transfer = NULL;
	c->err = err;
	request_complete(s, &c->queued, OK);
}

/* Ask the leader of each group that id does not lead. */
static void ask_leaders(struct store *s, uint64_t id)
{
	struct members *ms = s->members;

	for (uint32_t i = 0; i < s->partition_count; i++) {
		struct partition *p = &s->partitions[i];

		if (group_leader(p) == id || !group_open(p))
			continue;
		if (raft_transfer(p->raft, id) == OK)
			ms->transfer_sent = true;
		group_fed(p);
	}
}

static bool leads_all(struct store *s, uint64_t id)
{
	for (uint32_t i = 0; i < s->partition_count; i++) {
		if (group_leader(&s->partitions[i]) != id)
			return false;
	}
	return true;
}

void members_transfer(struct store *s, struct store_change *c)
{
	struct members *ms = s->members;
	struct member *to;
	enum err err;

	if (ms->transfer) {
		c->err = ERR_BUSY;
		request_complete(s, &c->queued, OK);
		return;
	}
	ms->transfer = c;
	ms->transfer_asked_ns = 0;
	ms->transfer_sent = false;
	err = members_refresh(s);
	to = err ? NULL : member_find_name(s, c->member.name);
	if (err)
		end_transfer(s, err == ERR_NOMEM ? ERR_NOMEM : ERR_CORRUPT);
	else if (!to)
		end_transfer(s, ERR_NOT_FOUND);
	else if (!is_voter(s, to->m.id))
		end_transfer(s, ERR_INVALID);
	else
		c->id = to->m.id;
	members_transfer_round(s);
}

void members_transfer_round(struct store *s)
{
	struct members *ms = s->members;
	uint64_t limit_ms =
		s->o.commit_timeout_ms ? s->o.commit_timeout_ms : 5000;
	uint64_t now_ns;

	if (!ms->transfer)
		return;
	now_ns = clock_mono_ns(s->o.clock);
	if (leads_all(s, ms->transfer->id)) {
		end_transfer(s, OK);
		return;
	}
	if (now_ns - ms->transfer->queued.since_ns > limit_ms * 1000000) {
		end_transfer(s,
			     ms->transfer_sent ? ERR_UNKNOWN : ERR_NO_LEADER);
		return;
	}
	if (ms->transfer_asked_ns &&
	    now_ns - ms->transfer_asked_ns < members_election_ns(s))
		return;
	ms->transfer_asked_ns = now_ns;
	ask_leaders(s, ms->transfer->id);
}

void members_transfer_end(struct store *s)
{
	if (s->members->transfer)
		end_transfer(s, ERR_UNKNOWN);
}

/* ----------------------------------------------- this node's own entry --- */

static void update_done(struct store_change *c)
{
	struct store *s = c->user;
	struct members *ms = s->members;
	uint64_t wait_ms = UPDATE_RETRY_MS;

	ms->updating = false;
	if (c->err == ERR_EXISTS || c->err == ERR_INVALID) {
		log_warn("store", "own_address_refused error=%s",
			 err_text(c->err));
		wait_ms = UPDATE_REFUSED_MS;
	}
	ms->update_after_ns = clock_mono_ns(s->o.clock) + wait_ms * 1000000;
}

/* Take from the options what they say. */
static bool differs(const struct store_member *self, struct store_member *m)
{
	struct store_member was = *m;

	if (self->name[0])
		set_text(m->name, self->name, sizeof(m->name));
	if (self->peer[0])
		set_text(m->peer, self->peer, sizeof(m->peer));
	if (self->http[0])
		set_text(m->http, self->http, sizeof(m->http));
	return strcmp(was.name, m->name) != 0 ||
	       strcmp(was.peer, m->peer) != 0 || strcmp(was.http, m->http) != 0;
}

void members_update_round(struct store *s)
{
	struct members *ms = s->members;
	struct member *self = member_find(s, s->self_id);
	enum err err;

	if (ms->updating || !ms->next_id || !self || self->leaving ||
	    clock_mono_ns(s->o.clock) < ms->update_after_ns)
		return;
	ms->update = (struct store_change){ .kind = STORE_MEMBER_UPDATE,
					    .member = self->m,
					    .done = update_done,
					    .user = s };
	if (!differs(&s->o.self, &ms->update.member) && !self->unread)
		return;
	ms->updating = true;
	err = store_change(s, &ms->update);
	if (err) {
		ms->update.err = err;
		update_done(&ms->update);
	}
}
