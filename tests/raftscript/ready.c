/*
 * tests/raftscript/ready.c - doing what a ready asks for.
 *
 * A synchronous node persists and applies within process-ready. An
 * asynchronous one gives both to threads that the script runs when it likes;
 * what waits for the disk is then shown as the responses of the disk's work.
 */
#include <stdlib.h>

#include "base/check.h"
#include "tests/raftscript/env.h"

static const struct snap *snap_of(struct node *n, const struct raft_snapshot *s)
{
	struct snap *copy = arena_alloc(&n->env->arena, sizeof(*copy));

	copy->meta = *s;
	return copy;
}

static void attach_entries(struct node *n, struct message *m, uint64_t from,
			   uint64_t to)
{
	uint64_t i;

	if (from > to)
		return;
	m->entries = arena_alloc(&n->env->arena,
				 (to - from + 1) * sizeof(*m->entries));
	for (i = from; i <= to; i++) {
		const struct entry *e = entries_get(&n->log, i);

		if (!e)
			e = entries_get(&n->gone, i);
		CHECK(e != NULL);
		m->entries[m->entry_count++] = e;
	}
}

/* raft names a range of the log; the message carries the entries. */
static struct message *from_raft(struct node *n, const struct raft_msg *rm)
{
	struct message *m = message_new(n->env, TYPE_RAFT, rm->from, rm->to);

	m->raft = *rm;
	m->term = rm->term;
	if (rm->type == RAFT_MSG_TRANSFER)
		m->from = rm->hint; /* shown as asked by the next leader */
	if (rm->entry_count)
		attach_entries(n, m, rm->index + 1,
			       rm->index + rm->entry_count);
	if (rm->snapshot)
		m->snap = snap_of(n, rm->snapshot);
	return m;
}

/* Outgoing: raft's messages, proposals to forward in between as made. */
static void collect(struct node *n, const struct raft_ready *rd,
		    struct messages *to)
{
	uint32_t i, k = 0;

	for (i = 0; i <= rd->msg_count; i++) {
		for (; k < n->proposals.count &&
		       (n->proposal_pos[k] <= i || i == rd->msg_count);
		     k++)
			messages_add(to, n->proposals.at[k]);
		if (i < rd->msg_count)
			messages_add(to, from_raft(n, &rd->msgs[i]));
	}
	n->proposals.count = 0;
}

static bool is_empty_hard(const struct raft_hard_state *h)
{
	return h->term == 0 && h->vote == 0 && h->commit == 0;
}

static void add_response(struct message *m, struct message *r)
{
	m->response[m->response_count++] = r;
}

static struct message *store_message(struct node *n,
				     const struct raft_ready *rd)
{
	struct message *m =
		message_new(n->env, TYPE_STORE, n->id, APPEND_THREAD);
	uint32_t i;

	attach_entries(n, m, rd->persist_from, rd->persist_to);
	if (rd->hard_changed && !is_empty_hard(&rd->hard)) {
		m->has_hard = true;
		m->hard = rd->hard;
		m->term = rd->hard.term;
		m->vote = rd->hard.vote;
		m->raft.commit = rd->hard.commit;
	}
	if (rd->snapshot)
		m->snap = snap_of(n, rd->snapshot);
	m->response =
		arena_alloc(&n->env->arena, (rd->after_count + 1) * sizeof(m));
	for (i = 0; i < rd->after_count; i++)
		add_response(m, from_raft(n, &rd->after_msgs[i]));
	if (rd->has_point) {
		struct message *done = message_new(n->env, TYPE_STORE_DONE,
						   APPEND_THREAD, n->id);

		done->point = rd->point;
		done->term = rd->point.term;
		done->raft.index = rd->point.index;
		done->raft.log_term = rd->point.log_term;
		done->snap = m->snap;
		add_response(m, done);
	}
	if (!m->has_hard && !m->snap && m->entry_count == 0 &&
	    m->response_count == 0)
		return NULL;
	return m;
}

static struct message *apply_message(struct node *n,
				     const struct raft_ready *rd)
{
	struct message *m =
		message_new(n->env, TYPE_APPLY, n->id, APPLY_THREAD);
	struct message *done =
		message_new(n->env, TYPE_APPLY_DONE, APPLY_THREAD, n->id);

	if (rd->apply_from > rd->apply_to)
		return NULL;
	attach_entries(n, m, rd->apply_from, rd->apply_to);
	attach_entries(n, done, rd->apply_from, rd->apply_to);
	m->response = arena_alloc(&n->env->arena, sizeof(m));
	add_response(m, done);
	return m;
}

static void show_entries(struct env *env, const struct message *m)
{
	uint32_t i;

	for (i = 0; i < m->entry_count; i++) {
		text_entry(env, m->entries[i]);
		out_text(env, "\n");
	}
}

static bool must_sync(struct node *n, const struct raft_ready *rd)
{
	bool sync = rd->persist_from <= rd->persist_to ||
		    rd->hard.term != n->shown_hard.term ||
		    rd->hard.vote != n->shown_hard.vote;

	n->shown_hard = rd->hard;
	return sync;
}

static bool is_empty_ready(const struct raft_ready *rd,
			   const struct messages *out)
{
	return !rd->soft_changed && !rd->hard_changed && !rd->snapshot &&
	       rd->grant_count == 0 && rd->persist_from > rd->persist_to &&
	       rd->apply_from > rd->apply_to && out->count == 0;
}

static void show_ready(struct node *n, const struct raft_ready *rd,
		       const struct message *store, const struct message *apply,
		       const struct messages *out)
{
	struct env *env = n->env;
	bool sync = must_sync(n, rd);
	uint32_t i;

	if (is_empty_ready(rd, out)) {
		out_text(env, "<empty Ready>");
		return;
	}
	out_text(env, "Ready MustSync=%s:\n", sync ? "true" : "false");
	if (rd->soft_changed)
		out_text(env, "Lead:%llu State:%s\n",
			 (unsigned long long)rd->leader, role_name(rd->role));
	if (rd->hard_changed && !is_empty_hard(&rd->hard)) {
		out_text(env, "HardState ");
		text_hard_state(env, &rd->hard);
		out_text(env, "\n");
	}
	for (i = 0; i < rd->grant_count; i++)
		out_text(env, "ReadState Index:%llu Context:%llu\n",
			 (unsigned long long)rd->grants[i].index,
			 (unsigned long long)rd->grants[i].context);
	if (store && store->entry_count) {
		out_text(env, "Entries:\n");
		show_entries(env, store);
	}
	if (rd->snapshot) {
		out_text(env, "Snapshot ");
		text_snapshot(env, rd->snapshot);
		out_text(env, "\n");
	}
	if (apply) {
		out_text(env, "CommittedEntries:\n");
		show_entries(env, apply);
	}
	if (out->count)
		out_text(env, "Messages:\n");
	for (i = 0; i < out->count; i++) {
		text_message(env, "", out->at[i]);
		out_text(env, "\n");
	}
}

/* The disk's part. */
static void persist(struct node *n, const struct message *m)
{
	uint32_t i;

	if (m->has_hard)
		n->hard = m->hard;
	if (m->snap) {
		const struct snap *last = n->history[n->history_count - 1];

		entries_reset(&n->disk, m->snap->meta.index,
			      m->snap->meta.term);
		if (m->snap->meta.index > last->meta.index) {
			n->history[n->history_count - 1] = m->snap;
		}
	}
	for (i = 0; i < m->entry_count; i++)
		entries_put(&n->disk, m->entries[i]);
}

static void remember(struct node *n, const struct entry *e)
{
	const struct snap *last = n->history[n->history_count - 1];
	struct snap *s = arena_alloc(&n->env->arena, sizeof(*s));
	char *data = arena_string(&n->env->arena, "", 0);

	if (last->data_bytes + e->data_bytes > 0) {
		data = arena_alloc(&n->env->arena,
				   last->data_bytes + e->data_bytes + 1);
		memcpy(data, last->data ? last->data : "", last->data_bytes);
		memcpy(data + last->data_bytes, e->data ? e->data : "",
		       e->data_bytes);
	}
	s->data = data;
	s->data_bytes = last->data_bytes + e->data_bytes;
	s->meta.index = e->index;
	s->meta.term = e->term;
	s->meta.conf = *raft_conf(n->raft);
	if (n->history_count == n->history_cap) {
		n->history_cap *= 2;
		n->history = realloc(n->history,
				     n->history_cap * sizeof(*n->history));
		CHECK(n->history != NULL);
	}
	n->history[n->history_count++] = s;
}

/* The state machine's part. */
static const char *apply(struct node *n, const struct message *m)
{
	const char *text = NULL;
	uint32_t i;

	for (i = 0; i < m->entry_count; i++) {
		const struct entry *e = m->entries[i];

		if (e->type != ENTRY_NORMAL &&
		    raft_apply_conf(n->raft, &e->change))
			text = "membership change does not fit";
		node_after_input(n);
		remember(n, e);
	}
	return text;
}

static void queue_or_send(struct node *n, const struct messages *out)
{
	uint32_t i;

	for (i = 0; i < out->count; i++) {
		struct message *m = out->at[i];

		if (m->type == TYPE_STORE)
			messages_add(&n->store_work, m);
		else if (m->type == TYPE_APPLY)
			messages_add(&n->apply_work, m);
		else
			messages_add(&n->env->in_flight, m);
	}
}

/* What waited for the disk and is meant for the node itself. */
static void answer_self(struct node *n, const struct message *store,
			const struct message *applied)
{
	uint32_t i;

	for (i = 0; store && i < store->response_count; i++) {
		const struct message *m = store->response[i];
		struct raft_status s;

		if (m->to != n->id || !node_step(n, store->response[i]))
			continue;
		raft_status(n->raft, &s); /* it is no member any more */
		if (s.role == RAFT_LEADER)
			log_line(n->env, LEVEL_DEBUG,
				 "%llx no progress available for %llx",
				 (unsigned long long)n->id,
				 (unsigned long long)n->id);
	}
	if (applied)
		(void)node_step(n, applied->response[0]);
}

const char *node_process_ready(struct node *n)
{
	struct message *store, *applied;
	struct messages out = { 0 };
	struct raft_ready rd;
	const char *text = NULL;
	uint32_t i;

	raft_ready(n->raft, &rd);
	collect(n, &rd, &out);
	store = store_message(n, &rd);
	applied = apply_message(n, &rd);
	if (n->async) {
		if (store)
			messages_add(&out, store);
		if (applied)
			messages_add(&out, applied);
	} else {
		for (i = 0; store && i < store->response_count; i++) {
			if (store->response[i]->to != n->id)
				messages_add(&out, store->response[i]);
		}
	}
	show_ready(n, &rd, store, applied, &out);
	if (!n->async) {
		if (store)
			persist(n, store);
		if (applied)
			text = apply(n, applied);
	}
	queue_or_send(n, &out);
	if (!n->async)
		answer_self(n, store, applied);
	free(out.at);
	return text;
}

static struct message *take(struct messages *q)
{
	struct message *m = q->at[0];
	uint32_t i;

	q->count--;
	for (i = 0; i < q->count; i++)
		q->at[i] = q->at[i + 1];
	return m;
}

static void show_work(struct node *n, const struct message *m)
{
	struct message alone = *m;

	alone.response_count = 0;
	out_text(n->env, "Processing:\n");
	text_message(n->env, "", &alone);
	out_text(n->env, "\n");
}

static void show_responses(struct node *n, const struct message *m)
{
	uint32_t i;

	out_text(n->env, "Responses:\n");
	for (i = 0; i < m->response_count; i++) {
		text_message(n->env, "", m->response[i]);
		out_text(n->env, "\n");
		messages_add(&n->env->in_flight, m->response[i]);
	}
}

const char *node_process_store(struct node *n)
{
	struct message *m;

	if (n->store_work.count == 0) {
		out_text(n->env, "no append work to perform");
		return NULL;
	}
	m = take(&n->store_work);
	show_work(n, m);
	persist(n, m);
	show_responses(n, m);
	return NULL;
}

const char *node_process_apply(struct node *n)
{
	const char *text;
	struct message *m;

	if (n->apply_work.count == 0) {
		out_text(n->env, "no apply work to perform");
		return NULL;
	}
	m = take(&n->apply_work);
	show_work(n, m);
	text = apply(n, m);
	show_responses(n, m);
	return text;
}
