/*
 * store/state_reload.c - what the store had derived from a partition's state,
 * derived anew from the one that was installed in its place.
 *
 * Consensus, its log and who waits for an index are group_install's business.
 */
#include "store/members.h"
#include "store/state_internal.h"
#include "store/tokens.h"

/*
 * The log clock goes on from where the sender's stood when it took the
 * picture: the last stamp alone would give keys with an expiry more time with
 * each state that is handed on.
 */
static void reload_clock(struct store *s, struct partition *p,
			 uint64_t clock_ns)
{
	struct engine_partition_info info;

	engine_partition_info(s->engine, p->id, &info);
	p->last_stamp_ns = info.last_stamp_ns;
	if (clock_ns < info.last_stamp_ns)
		clock_ns = info.last_stamp_ns;
	log_clock_follow(s, p, clock_ns);
}

enum err state_installed(struct store *s, struct partition *p,
			 uint64_t clock_ns)
{
	reload_clock(s, p, clock_ns);
	p->expiry_known = false;
	watch_hub_reset(s->hub, p->id, engine_applied_index(s->engine, p->id));
	count_keys(s, p);
	if (p->id != 0)
		return OK;
	tokens_installed(s);
	return members_load(s);
}
