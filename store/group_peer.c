/*
 * store/group_peer.c - raft's messages from and to other nodes.
 *
 * An append that arrives is decoded twice: once to learn the terms of its
 * entries, for raft to judge it, then those that raft has accepted, to be
 * appended. Nothing is copied in between.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "store/group_internal.h"
#include "store/hidden.h"
#include "store/state.h"

enum { BATCH_BYTES_MAX = 8 << 20 };

/* -------------------------------------------------------------- sending -- */

static enum err encode(struct partition *p, const struct raft_msg *m,
		       struct buf *b)
{
	enum err err = wire_msg_encode(b, m);

	for (uint32_t i = 0; i < m->entry_count && !err; i++) {
		uint64_t index = m->index + 1 + i;

		err = cache_encode(p->s, p, index, b);
		if (err == ERR_CORRUPT)
			repair_want(p->s, p, index);
	}
	return err;
}

void group_send(struct partition *p, const struct raft_msg *m)
{
	struct buf *b;
	enum err err;

	if (m->type == RAFT_MSG_SNAPSHOT) {
		state_send(p->s, p, m);
		return;
	}
	b = outbox_begin(p->s, m->to, ITEM_RAFT, p->id);
	if (!b)
		return;
	err = encode(p, m, b);
	if (!err) {
		outbox_end(p->s);
		return;
	}
	/* The entries went meanwhile, or are damaged: raft will ask again and
	 * be told so. */
	outbox_drop(p->s);
	log_debug("store", "append_not_sent partition=%u error=%s",
		  (unsigned)p->id, err_text(err));
}

/* ------------------------------------------------------------ receiving -- */

static enum err reserve_entries(struct groups *g, uint32_t n)
{
	void *terms, *offsets;

	if (n <= g->entry_cap)
		return OK;
	terms = realloc(g->terms, n * sizeof(*g->terms));
	if (!terms)
		return ERR_NOMEM;
	g->terms = terms;
	offsets = realloc(g->offsets, n * sizeof(*g->offsets));
	if (!offsets)
		return ERR_NOMEM;
	g->offsets = offsets;
	g->entry_cap = n;
	return OK;
}

/* The terms of the entries that follow m, and where each begins. */
static enum err read_terms(struct groups *g, struct raft_msg *m,
			   struct bytes entries)
{
	const uint8_t *begin = entries.p;
	enum err err = reserve_entries(g, m->entry_count);

	for (uint32_t i = 0; i < m->entry_count && !err; i++) {
		g->offsets[i] = (uint32_t)(entries.p - begin);
		err = wire_entry_decode(&entries, &g->wire_entry);
		g->terms[i] = g->wire_entry.entry.term;
	}
	m->entry_terms = g->terms;
	return err;
}

/* The leader sends again and again what has no room: say so once. */
static void tell_cut(struct partition *p, enum err err)
{
	if (err && !p->cut)
		log_warn("store", "append_cut partition=%u error=%s",
			 (unsigned)p->id, err_text(err));
	if (!err && p->cut)
		log_info("store", "append_goes_on partition=%u",
			 (unsigned)p->id);
	p->cut = err != OK;
}

static bool changes_members(const struct engine_entry *e)
{
	for (uint32_t i = 0; i < e->record_count; i++) {
		if (bytes_equal(e->records[i].key, conf_key()))
			return true;
	}
	return false;
}

static enum err append_one(struct store *s, struct partition *p, uint64_t index)
{
	const struct engine_entry *e = &s->groups->wire_entry.entry;
	enum err err = OK;

	if (changes_members(e))
		err = group_save_commit(p, index);
	return err ? err : entry_take_over(s, p, index, e);
}

/* Put what raft accepted into the log; what does not go in is cut off. */
static enum err append_accepted(struct store *s, struct partition *p,
				const struct raft_msg *m,
				const struct raft_accepted *accepted,
				struct bytes entries)
{
	struct groups *g = s->groups;
	uint32_t skip = (uint32_t)(accepted->from - m->index - 1);
	struct bytes in = entries;
	enum err err = OK;

	in.p += g->offsets[skip];
	in.n -= g->offsets[skip];
	for (uint32_t i = 0; i < accepted->count; i++) {
		uint64_t index = accepted->from + i;

		err = wire_entry_decode(&in, &g->wire_entry);
		if (!err)
			err = append_one(s, p, index);
		if (!err)
			continue;
		raft_cut(p->raft, index);
		p->last_index = index - 1;
		log_clock_cut(s, p);
		break;
	}
	tell_cut(p, err);
	if (p->last_index > p->changes_to)
		p->changes_to = p->last_index;
	return err == ERR_IO ? err : OK;
}

static enum err step(struct store *s, struct partition *p,
		     const struct raft_msg *m, struct bytes entries)
{
	struct raft_accepted accepted;
	enum err err;

	if (!group_open(p))
		return OK; /* lost, as on the way */
	err = raft_step(p->raft, m, &accepted);
	if (err == ERR_FULL) {
		err = groups_run(s);
		if (err || !group_open(p))
			return err;
		err = raft_step(p->raft, m, &accepted);
	}
	if (err == ERR_CORRUPT)
		group_break(p);
	if (err == ERR_INVALID)
		return err;
	if (err)
		return OK; /* raft.h: ignored */
	if (accepted.count > 0)
		err = append_accepted(s, p, m, &accepted, entries);
	group_fed(p);
	if (!err && s->batch_bytes >= BATCH_BYTES_MAX)
		err = groups_run(s);
	return err;
}

enum err group_receive(struct store *s, uint64_t from, const struct item *item)
{
	struct raft_snapshot snapshot;
	struct bytes in = item->body;
	struct partition *p;
	struct raft_msg m;
	enum err err;

	if (item->partition >= s->partition_count)
		return ERR_INVALID;
	p = &s->partitions[item->partition];
	err = wire_msg_decode(&in, &m, &snapshot);
	/* a snapshot is stepped when all of it is here (group_install) */
	if (!err && m.type == RAFT_MSG_SNAPSHOT)
		err = ERR_INVALID;
	if (err)
		return ERR_INVALID;
	m.from = from;
	m.to = s->self_id;
	if (m.entry_count > 0)
		err = read_terms(s->groups, &m, in);
	if (err)
		return err == ERR_NOMEM ? OK : err; /* lost: sent again */
	return step(s, p, &m, in);
}
