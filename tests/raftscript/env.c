/*
 * tests/raftscript/env.c - nodes, their logs in memory, what is put into them.
 */
#include "tests/raftscript/env.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

struct arena_block {
	struct arena_block *next;
};

void *arena_alloc(struct arena *a, size_t n)
{
	struct arena_block *b = calloc(1, sizeof(*b) + n);

	CHECK(b != NULL);
	b->next = a->blocks;
	a->blocks = b;
	return b + 1;
}

char *arena_string(struct arena *a, const char *p, size_t n)
{
	char *s = arena_alloc(a, n + 1);

	if (n)
		memcpy(s, p, n);
	return s;
}

void arena_free(struct arena *a)
{
	while (a->blocks) {
		struct arena_block *b = a->blocks;

		a->blocks = b->next;
		free(b);
	}
}

void out_text(struct env *env, const char *fmt, ...)
{
	char text[2048];
	va_list ap;
	int n;

	if (env->level == LEVEL_NONE)
		return;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	CHECK(n >= 0);
	if ((size_t)n >= sizeof(text))
		n = sizeof(text) - 1;
	CHECK(buf_add(&env->out, text, (size_t)n) == OK);
}

static void *grow(void *p, uint32_t count, uint32_t *cap, size_t size)
{
	if (count < *cap)
		return p;
	*cap = *cap ? 2 * *cap : 16;
	p = realloc(p, *cap * size);
	CHECK(p != NULL);
	return p;
}

void messages_add(struct messages *q, struct message *m)
{
	q->at = grow(q->at, q->count, &q->cap, sizeof(*q->at));
	q->at[q->count++] = m;
}

struct message *message_new(struct env *env, enum script_type type,
			    uint64_t from, uint64_t to)
{
	struct message *m = arena_alloc(&env->arena, sizeof(*m));

	m->type = type;
	m->from = from;
	m->to = to;
	return m;
}

/* e goes to its index; what stood there and after it is gone. */
void entries_put(struct entries *l, const struct entry *e)
{
	size_t i;

	if (e->index < l->first)
		return; /* compacted meanwhile */
	CHECK(e->index <= l->last + 1);
	i = e->index - l->first;
	if (i >= l->cap) {
		l->cap = l->cap ? 2 * l->cap : 64;
		while (l->cap <= i)
			l->cap *= 2;
		l->at = realloc(l->at, l->cap * sizeof(*l->at));
		CHECK(l->at != NULL);
	}
	l->at[i] = e;
	l->last = e->index;
}

void entries_reset(struct entries *l, uint64_t index, uint64_t term)
{
	l->first = index + 1;
	l->last = index;
	l->base_term = term;
}

const struct entry *entries_get(const struct entries *l, uint64_t index)
{
	if (index < l->first || index > l->last)
		return NULL;
	return l->at[index - l->first];
}

static enum err view_term(void *ctx, uint64_t index, uint64_t *term)
{
	struct node *n = ctx;
	const struct entry *e = entries_get(&n->log, index);

	if (!e)
		return ERR_COMPACTED;
	*term = e->term;
	return OK;
}

static uint64_t varint_bytes(uint64_t v)
{
	uint64_t n = 1;

	for (; v > 127; v >>= 7)
		n++;
	return n;
}

/* What an entry weighs on the wire of the original: limits are given in it. */
static uint64_t entry_bytes(const struct entry *e)
{
	uint64_t n = 2 + varint_bytes(e->term) + varint_bytes(e->index);
	uint64_t data = e->data_bytes;
	uint32_t i;

	if (e->type != ENTRY_NORMAL || e->refused) {
		n += 2;
		for (i = 0; i < e->change.count; i++)
			data += 3 + varint_bytes(e->change.item[i].id) +
				(e->type == ENTRY_CHANGE_V2 ? 2 : 0);
		if (e->type == ENTRY_CHANGE_V2 && !e->own)
			data += 2;
	}
	return data ? n + data + 1 + varint_bytes(data) : n;
}

static uint32_t view_fit(void *ctx, uint64_t from, uint64_t to,
			 uint64_t bytes_max, uint64_t *bytes)
{
	struct node *n = ctx;
	uint32_t count = 0;

	*bytes = 0;
	for (; from <= to; from++, count++) {
		const struct entry *e = entries_get(&n->log, from);
		uint64_t size;

		if (!e)
			break;
		size = entry_bytes(e);
		if (count > 0 && *bytes + size > bytes_max)
			break;
		*bytes += size;
	}
	return count;
}

static bool view_has_change(void *ctx, uint64_t from, uint64_t to)
{
	struct node *n = ctx;

	for (; from <= to; from++) {
		const struct entry *e = entries_get(&n->log, from);

		if (e && e->type != ENTRY_NORMAL)
			return true;
	}
	return false;
}

static enum err view_snapshot(void *ctx, struct raft_snapshot *s)
{
	struct node *n = ctx;
	const struct snap *last = n->history[n->history_count - 1];

	if (last->meta.index == 0)
		return ERR_BUSY;
	*s = last->meta;
	return OK;
}

void env_init(struct env *env)
{
	memset(env, 0, sizeof(*env));
}

static void node_free(struct node *n)
{
	raft_free(n->raft);
	free(n->log.at);
	free(n->disk.at);
	free(n->gone.at);
	free(n->history);
	free(n->store_work.at);
	free(n->apply_work.at);
	free(n->proposals.at);
	free(n->proposal_pos);
}

void env_done(struct env *env)
{
	uint32_t i;

	for (i = 0; i < env->node_count; i++)
		node_free(env->node[i]);
	free(env->in_flight.at);
	buf_done(&env->out);
	arena_free(&env->arena);
}

/* Entries that raft made by itself go into the log at once. */
void node_after_input(struct node *n)
{
	struct raft_own own;

	while (raft_take_own(n->raft, &own)) {
		struct entry *e = arena_alloc(&n->env->arena, sizeof(*e));

		e->index = own.index;
		e->term = own.term;
		e->own = true;
		if (own.leave_joint)
			e->type = ENTRY_CHANGE_V2;
		entries_put(&n->log, e);
	}
}

static void announce(struct node *n)
{
	const struct raft_conf *c = raft_conf(n->raft);
	struct buf ids = BUF_INIT;
	struct raft_status s;
	uint32_t i;

	for (i = 0; i < c->count; i++) {
		if (c->role[i] & (RAFT_VOTER | RAFT_VOTER_OUT))
			CHECK(buf_addf(&ids, "%s%llx", ids.n ? "," : "",
				       (unsigned long long)c->id[i]) == OK);
	}
	raft_status(n->raft, &s);
	log_line(n->env, LEVEL_INFO,
		 "newRaft %llx [peers: [%.*s], term: %llu, commit: %llu, "
		 "applied: %llu, lastindex: %llu, lastterm: %llu]",
		 (unsigned long long)n->id, (int)ids.n, (char *)ids.p,
		 (unsigned long long)s.term, (unsigned long long)s.commit,
		 (unsigned long long)s.applied,
		 (unsigned long long)s.last_index,
		 (unsigned long long)s.last_term);
	buf_done(&ids);
}

/* Make the node's raft from what its disk holds. */
static enum err start(struct node *n)
{
	struct raft_config *c = &n->config;
	const struct snap *state = n->history[n->history_count - 1];
	const struct entry *last = entries_get(&n->disk, n->disk.last);
	enum err err;

	c->id = n->id;
	c->seed = n->id;
	c->term = n->hard.term;
	c->vote = n->hard.vote;
	c->commit = n->hard.commit;
	c->first_index = n->disk.first;
	c->base_term = n->disk.base_term;
	c->last_index = n->disk.last;
	c->last_term = last ? last->term : n->disk.base_term;
	c->applied = state->meta.index;
	c->conf = state->meta.conf;
	c->view = (struct raft_log_view){ n, view_term, view_fit,
					  view_has_change, view_snapshot };
	c->trace = words_of_event;
	c->trace_ctx = n;
	err = raft_new(c, &n->raft);
	if (err)
		return err;
	n->shown_hard = n->hard;
	announce(n);
	return OK;
}

const char *node_create(struct env *env, struct raft_config *config,
			const struct snap *snap, bool async)
{
	struct node *n = arena_alloc(&env->arena, sizeof(*n));

	if (env->node_count == NODES_MAX)
		return "too many nodes";
	n->env = env;
	n->id = env->node_count + 1;
	n->config = *config;
	n->async = async;
	n->history = grow(NULL, 0, &n->history_cap, sizeof(*n->history));
	n->history[n->history_count++] = snap;
	entries_reset(&n->log, snap->meta.index, snap->meta.term);
	entries_reset(&n->disk, snap->meta.index, snap->meta.term);
	n->hard.commit = snap->meta.index;
	if (start(n)) {
		node_free(n);
		return "invalid configuration";
	}
	n->hard.commit = 0;
	env->node[env->node_count++] = n;
	return NULL;
}

/* Power loss and start: only what the disk holds is left. */
void node_restart(struct node *n)
{
	uint64_t i;

	raft_free(n->raft);
	n->raft = NULL;
	n->store_work.count = 0;
	n->apply_work.count = 0;
	n->proposals.count = 0;
	entries_reset(&n->log, n->disk.first - 1, n->disk.base_term);
	for (i = n->disk.first; i <= n->disk.last; i++)
		entries_put(&n->log, entries_get(&n->disk, i));
	CHECK(start(n) == OK);
}

static const char *forward(struct node *n, const struct entry *draft,
			   const struct raft_status *s)
{
	struct message *m =
		message_new(n->env, TYPE_PROPOSAL,
			    n->arriving ? n->arriving->from : n->id, s->leader);

	m->entries = arena_alloc(&n->env->arena, sizeof(*m->entries));
	m->entries[0] = draft;
	m->entry_count = 1;
	n->proposal_pos = realloc(n->proposal_pos,
				  (n->proposals.count + 1) * sizeof(uint32_t));
	CHECK(n->proposal_pos != NULL);
	n->proposal_pos[n->proposals.count] = s->queued;
	messages_add(&n->proposals, m);
	return NULL;
}

static void refuse_change(struct node *n, const struct raft_change *change,
			  enum raft_refusal why, const struct raft_status *s)
{
	struct buf text = BUF_INIT;

	text_change(&text, change);
	CHECK(buf_addf(&text, " at config ") == OK);
	text_conf(&text, raft_conf(n->raft));
	switch (why) {
	case RAFT_CHANGE_PENDING:
		CHECK(buf_addf(&text,
			       ": possible unapplied conf change at "
			       "index %llu (applied to %llu)",
			       (unsigned long long)s->pending_change,
			       (unsigned long long)s->applied) == OK);
		break;
	case RAFT_CHANGE_JOINT:
		CHECK(buf_addf(&text, ": must transition out of joint config "
				      "first") == OK);
		break;
	case RAFT_CHANGE_NOT_JOINT:
		CHECK(buf_addf(&text, ": not in joint state; refusing empty "
				      "conf change") == OK);
		break;
	default:
		CHECK(buf_addf(&text, ": it does not fit") == OK);
	}
	log_line(n->env, LEVEL_INFO, "%llx ignoring conf change %.*s",
		 (unsigned long long)n->id, (int)text.n, (char *)text.p);
	buf_done(&text);
}

/* A refused change is proposed as an empty entry, as the original does. */
static const char *lead_propose(struct node *n, const struct entry *draft)
{
	struct entry *e = arena_alloc(&n->env->arena, sizeof(*e));
	struct raft_status s;

	*e = *draft;
	raft_status(n->raft, &s);
	if (e->type != ENTRY_NORMAL) {
		enum raft_refusal why =
			raft_change_refusal(n->raft, &e->change);

		if (why != RAFT_CHANGE_OK) {
			refuse_change(n, &e->change, why, &s);
			e->type = ENTRY_NORMAL;
			e->data_bytes = 0;
			e->change.count = 0;
			e->refused = true;
		}
	}
	e->index = s.last_index + 1;
	e->term = s.term;
	entries_put(&n->log, e);
	if (e->type == ENTRY_NORMAL)
		raft_propose(n->raft, 1, e->data_bytes);
	else
		raft_propose_change(n->raft, &e->change, 0);
	return NULL;
}

const char *node_propose(struct node *n, const struct entry *draft)
{
	uint64_t index, term;
	struct raft_status s;

	raft_status(n->raft, &s);
	if (s.role == RAFT_FOLLOWER && s.leader != RAFT_NOBODY)
		return forward(n, draft, &s);
	if (s.role != RAFT_LEADER) {
		log_line(n->env, LEVEL_INFO,
			 "%llx no leader at term %llu; "
			 "dropping proposal",
			 (unsigned long long)n->id, (unsigned long long)s.term);
		return "raft proposal dropped";
	}
	switch (raft_proposable(n->raft, draft->data_bytes, &index, &term)) {
	case OK:
		return lead_propose(n, draft);
	case ERR_BUSY:
		dropped_words(n->env, &s);
		return "raft proposal dropped";
	default:
		return "raft proposal dropped";
	}
}

static const char *step_raft(struct node *n, struct message *m)
{
	struct raft_msg rm = m->raft;
	uint64_t *terms = arena_alloc(&n->env->arena,
				      (m->entry_count + 1) * sizeof(*terms));
	struct raft_accepted accepted;
	enum err err;
	uint32_t i;

	for (i = 0; i < m->entry_count; i++)
		terms[i] = m->entries[i]->term;
	rm.entry_terms = terms;
	rm.snapshot = m->snap ? &m->snap->meta : NULL;
	err = raft_step(n->raft, &rm, &accepted);
	for (i = 0; i < accepted.count; i++)
		entries_put(&n->log,
			    m->entries[m->entry_count - accepted.count + i]);
	if (accepted.snapshot)
		entries_reset(&n->log, m->snap->meta.index, m->snap->meta.term);
	if (err == ERR_FOREIGN)
		return "raft: cannot step as peer not found";
	if (err == ERR_INVALID || err == ERR_CORRUPT || err == ERR_FULL)
		return err_text(err);
	return NULL;
}

/* A message arrives. Returns what went wrong, or NULL. */
const char *node_step(struct node *n, struct message *m)
{
	const char *text = NULL;

	n->arriving = m;
	switch (m->type) {
	case TYPE_RAFT:
		text = step_raft(n, m);
		break;
	case TYPE_PROPOSAL:
		text = node_propose(n, m->entries[0]);
		break;
	case TYPE_STORE_DONE:
		raft_persisted(n->raft, &m->point);
		break;
	case TYPE_APPLY_DONE:
		raft_applied(n->raft, m->entries[m->entry_count - 1]->index);
		break;
	default:
		text = "not for a node";
	}
	n->arriving = NULL;
	node_after_input(n);
	return text;
}

bool node_has_ready(struct node *n)
{
	return n->proposals.count > 0 || raft_has_ready(n->raft);
}
