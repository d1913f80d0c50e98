/*
 * store/logclock.c - the log clock, and what expires by it.
 *
 * Expiry never looks at a wall clock: the log clock of a partition is the
 * stamp of its last entry plus the CLOCK_BOOTTIME that passed since that entry
 * was applied here. As both run at the same pace, it is kept as one number,
 * the offset from the boot clock: a follower sets it with each entry that it
 * applies, a leader goes on from there and stamps by it. Stamps rise strictly
 * along the log; an entry that is in no log any more holds nobody's clock up.
 *
 * A key expires by an entry that the leader appends when it is due, at most
 * 100 ms late; until then it is there for everyone.
 */
#include "base/check.h"
#include "store/file_internal.h"
#include "store/group_internal.h"

enum {
	EXPIRY_LOOK_NS = 5 * 1000 * 1000,
	EXPIRY_BATCH_MAX = 4096,
};

uint64_t log_clock_ns(struct store *s, const struct partition *p)
{
	return clock_boot_ns(s->o.clock) + count_of(&p->clock_offset_ns);
}

uint64_t log_clock_stamp(struct store *s, struct partition *p)
{
	uint64_t boot_ns = clock_boot_ns(s->o.clock);
	uint64_t now_ns = boot_ns + count_of(&p->clock_offset_ns);

	if (now_ns <= p->last_stamp_ns) {
		now_ns = p->last_stamp_ns + 1;
		atomic_store_explicit(&p->clock_offset_ns, now_ns - boot_ns,
				      memory_order_relaxed);
	}
	return now_ns;
}

void log_clock_cut(struct store *s, struct partition *p)
{
	uint64_t stamp_ns = engine_stamp_at(s->engine, p->id, p->last_index);

	if (stamp_ns) /* who lacks that entry does not lead */
		p->last_stamp_ns = stamp_ns;
}

void log_clock_follow(struct store *s, struct partition *p, uint64_t stamp_ns)
{
	atomic_store_explicit(&p->clock_offset_ns,
			      stamp_ns - clock_boot_ns(s->o.clock),
			      memory_order_relaxed);
}

static void look_up_next(struct store *s, struct partition *p)
{
	uint8_t key[ENGINE_KEY_BYTES_MAX];
	uint64_t version;
	size_t key_bytes;

	p->expiry_known = true;
	if (!engine_next_expiry(s->engine, p->id, &p->expiry_ns, &version, key,
				&key_bytes))
		p->expiry_ns = UINT64_MAX;
}

/* The records that end key, whose state is applied. */
static enum err expiry_records(struct store *s, struct partition *p,
			       struct bytes key, const struct key_state *state)
{
	struct file_decision d = { .s = s,
				   .p = p,
				   .view = view_of(s, p),
				   .index = p->last_index + 1 };
	uint64_t content_id;
	enum err err;

	if (state->flags & LOC_INODE)
		return file_remove_linked(&d, key, RECORD_EXPIRE);
	err = file_add_delete(&d, key, RECORD_EXPIRE);
	if (!err && state->flags & LOC_CONTENT &&
	    content_id_of(s, p, key, state, &content_id) == OK)
		err = entry_drop_content(&s->entry, content_id);
	return err;
}

/* Append the end of one key. ERR_IO: poisoned; other errors: another time. */
static enum err expire_one(struct store *s, struct partition *p,
			   struct bytes key)
{
	struct view view = view_of(s, p);
	struct key_state state;
	uint64_t index;
	enum err err;

	view_get(&view, key, &state);
	if (state.pending)
		return OK; /* decided already: the settle will tell */
	entry_begin(&s->entry);
	err = expiry_records(s, p, key, &state);
	if (err) {
		pending_rollback(&p->pending);
		return err;
	}
	err = entry_append(s, p, &index);
	if (!err)
		count_up(&s->expired, 1);
	return err;
}

struct expiring {
	struct store *s;
	struct partition *p;
	uint32_t count;
	enum err err;
};

static bool expire_next(void *ctx, struct bytes key, uint64_t version)
{
	struct expiring *x = ctx;

	x->err = expire_one(x->s, x->p, key);
	return !x->err && ++x->count < EXPIRY_BATCH_MAX;
}

enum err expire_due(struct store *s)
{
	uint64_t boot_ns = clock_boot_ns(s->o.clock);

	if (s->expiry_looked_ns &&
	    boot_ns - s->expiry_looked_ns < EXPIRY_LOOK_NS)
		return OK;
	s->expiry_looked_ns = boot_ns;
	for (uint32_t i = 0; i < s->partition_count; i++) {
		struct expiring x = { .s = s, .p = &s->partitions[i] };
		uint64_t now_ns = log_clock_ns(s, x.p);

		if (!group_can_decide(x.p) || group_is_full(x.p))
			continue;
		if (!x.p->expiry_known)
			look_up_next(s, x.p);
		if (x.p->expiry_ns > now_ns)
			continue;
		engine_due(s->engine, x.p->id, now_ns, expire_next, &x);
		if (x.err == ERR_IO)
			return ERR_IO;
		x.p->expiry_known = false;
		if (x.count == EXPIRY_BATCH_MAX)
			s->expiry_looked_ns = 0; /* there is more */
	}
	return OK;
}

uint64_t expire_wait_ms(struct store *s)
{
	uint64_t wait_ms = UINT64_MAX;

	for (uint32_t i = 0; i < s->partition_count; i++) {
		struct partition *p = &s->partitions[i];
		uint64_t now_ns = log_clock_ns(s, p), ms;

		if (!p->deciding) /* the leader sees to it */
			continue;
		if (!p->expiry_known)
			look_up_next(s, p);
		if (p->expiry_ns == UINT64_MAX)
			continue;
		ms = p->expiry_ns <= now_ns
			     ? 1
			     : (p->expiry_ns - now_ns) / 1000000 + 1;
		if (ms < wait_ms)
			wait_ms = ms;
	}
	return wait_ms;
}
