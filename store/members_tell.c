/*
 * store/members_tell.c - how far each member is, for those who do not lead.
 *
 * Only the leader of partition 0 knows what each member has confirmed, and
 * people ask whichever node is at hand. So the leader tells the others once a
 * second: a few dozen bytes beside its heartbeats, and no request has to wait
 * for another node to show the members.
 *
 *  off  size  ITEM_PROGRESS, partition 0, little-endian
 *    0     8  last_index  of the leader's log
 *    8     -  members, each
 *               0  8  id
 *               8  8  match   at most last_index
 */
#include "base/net.h"
#include "store/group_internal.h"
#include "store/members_internal.h"
#include "store/wire_bytes.h"

enum {
	TELL_MS = 1000,
	LATELY_MS = 3500, /* a word lost, or two, is none                    */
	HEAD_BYTES = 8,
	ROW_BYTES = 16,
};

uint64_t members_match(struct partition *p, uint64_t id,
		       const struct raft_status *status)
{
	struct raft_progress progress;

	if (id == status->id)
		return status->last_index;
	return raft_progress_of(p->raft, id, &progress) ? progress.match : 0;
}

static void tell_one(struct store *s, uint64_t to, const uint8_t *p, size_t n)
{
	struct buf *b = outbox_begin(s, to, ITEM_PROGRESS, 0);

	if (!b)
		return;
	if (buf_add(b, p, n))
		outbox_drop(s);
	else
		outbox_end(s);
}

void members_tell(struct store *s)
{
	struct members *ms = s->members;
	struct partition *p = &s->partitions[0];
	uint8_t bytes[HEAD_BYTES + MEMBERS_MAX * ROW_BYTES];
	uint64_t now_ns = clock_mono_ns(s->o.clock);
	struct raft_status status;
	uint8_t *at = bytes + HEAD_BYTES;

	if (!s->o.net || !p->raft || p->role != RAFT_LEADER || ms->count < 2 ||
	    (ms->tell_ns && now_ns - ms->tell_ns < TELL_MS * 1000000ull))
		return;
	ms->tell_ns = now_ns;
	raft_status(p->raft, &status);
	put_u64(bytes, status.last_index);
	for (uint32_t i = 0; i < ms->count; i++, at += ROW_BYTES) {
		put_u64(at, ms->list[i].m.id);
		put_u64(at + 8, members_match(p, ms->list[i].m.id, &status));
	}
	for (uint32_t i = 0; i < ms->count; i++) {
		if (ms->list[i].m.id != s->self_id)
			tell_one(s, ms->list[i].m.id, bytes,
				 (size_t)(at - bytes));
	}
}

void members_told(struct store *s, uint64_t from, const struct item *item)
{
	struct told *told = &s->members->told;
	const uint8_t *p = item->body.p;
	size_t n = item->body.n;
	struct told now = { .from = from, .ns = clock_mono_ns(s->o.clock) };

	if (n < HEAD_BYTES || (n - HEAD_BYTES) % ROW_BYTES ||
	    (n - HEAD_BYTES) / ROW_BYTES > MEMBERS_MAX) {
		count_up(&s->messages_malformed, 1);
		return;
	}
	now.last_index = get_u64(p);
	for (p += HEAD_BYTES; p < item->body.p + n; p += ROW_BYTES) {
		now.rows[now.count].id = get_u64(p);
		now.rows[now.count].match = get_u64(p + 8);
		if (now.rows[now.count++].match > now.last_index) {
			count_up(&s->messages_malformed, 1);
			return;
		}
	}
	*told = now;
}

const struct told *members_told_lately(struct store *s)
{
	const struct told *told = &s->members->told;

	if (!told->ns || s->partitions[0].leader != told->from ||
	    clock_mono_ns(s->o.clock) - told->ns > LATELY_MS * 1000000ull)
		return NULL;
	return told;
}
