/*
 * store/group_trace.c - what an operator wants to know of consensus.
 *
 * info: roles, leaders, membership, snapshots; warn: a lost quorum, entries
 * overwritten; error: an alarm. A group of one has no more to say than that it
 * leads, and says it at debug.
 */
#include "base/log.h"
#include "store/group_internal.h"

static const char *role_name(enum raft_role role)
{
	switch (role) {
	case RAFT_FOLLOWER:
		return "follower";
	case RAFT_PRE_CANDIDATE:
		return "pre_candidate";
	case RAFT_CANDIDATE:
		return "candidate";
	case RAFT_LEADER:
		return "leader";
	}
	return "unknown";
}

static unsigned long long ull(uint64_t n)
{
	return n;
}

static void tell_role(const struct partition *p, const struct raft *r)
{
	struct raft_status st;
	bool news;

	raft_status(r, &st);
	/* who stands in vain does so every other second */
	news = raft_conf(r)->count > 1 &&
	       (st.role == RAFT_FOLLOWER || st.role == RAFT_LEADER);
	log_line(news ? LOG_INFO : LOG_DEBUG, "raft",
		 "role partition=%u role=%s term=%llu leader=%llu last=%llu "
		 "commit=%llu",
		 (unsigned)p->id, role_name(st.role), ull(st.term),
		 ull(st.leader), ull(st.last_index), ull(st.commit));
}

/* Who leads now, and who no longer does; others only hear of it. */
static void note_role(const struct partition *p, const struct raft *r)
{
	struct diary *d = p->s->o.diary;
	struct raft_status st;

	raft_status(r, &st);
	if (st.role == RAFT_LEADER)
		diary_note(d, DIARY_LEADS, p->id, p->s->self_id, st.term, 0);
	else if (p->role == RAFT_LEADER && st.role == RAFT_FOLLOWER)
		diary_note(d, DIARY_STEPPED_DOWN, p->id, p->s->self_id, st.term,
			   0);
}

static void tell_conf(const struct partition *p, const struct raft *r)
{
	const struct raft_conf *c = raft_conf(r);
	uint32_t voters = 0, learners = 0;

	for (uint32_t i = 0; i < c->count; i++) {
		voters += (c->role[i] & RAFT_VOTER) != 0;
		learners += (c->role[i] & RAFT_LEARNER) != 0;
	}
	log_line(c->count <= 1 ? LOG_DEBUG : LOG_INFO, "raft",
		 "members partition=%u voters=%u learners=%u joint=%s",
		 (unsigned)p->id, voters, learners,
		 raft_conf_is_joint(c) ? "yes" : "no");
	if (p->role == RAFT_LEADER && !raft_conf_is_joint(c))
		diary_note(p->s->o.diary, DIARY_MEMBERS, p->id, 0, voters,
			   learners);
}

void group_trace(void *ctx, const struct raft *r, const struct raft_event *e)
{
	const struct partition *p = ctx;

	switch (e->kind) {
	case RAFT_EV_ROLE:
		tell_role(p, r);
		note_role(p, r);
		break;
	case RAFT_EV_CONF:
		tell_conf(p, r);
		break;
	case RAFT_EV_QUORUM_LOST:
		log_warn("raft", "quorum_lost partition=%u", (unsigned)p->id);
		diary_note(p->s->o.diary, DIARY_QUORUM_LOST, p->id,
			   p->s->self_id, 0, 0);
		break;
	case RAFT_EV_LOG_REPLACED:
	case RAFT_EV_LOG_CUT:
		log_info("raft", "entries_overwritten partition=%u from=%llu",
			 (unsigned)p->id, ull(e->a));
		break;
	case RAFT_EV_TRANSFER_START:
		log_info("raft", "transfer partition=%u to=%llu",
			 (unsigned)p->id, ull(e->peer));
		diary_note(p->s->o.diary, DIARY_TRANSFER, p->id, e->peer, 0, 0);
		break;
	case RAFT_EV_SNAPSHOT_SEND:
		log_info("raft", "snapshot partition=%u to=%llu index=%llu",
			 (unsigned)p->id, ull(e->peer), ull(e->a));
		diary_note(p->s->o.diary, DIARY_STATE_SENT, p->id, e->peer,
			   e->a, 0);
		break;
	case RAFT_EV_SNAPSHOT_TAKEN:
		log_info("raft", "snapshot_taken partition=%u index=%llu",
			 (unsigned)p->id, ull(e->a));
		diary_note(p->s->o.diary, DIARY_STATE_TAKEN, p->id, 0, e->a, 0);
		break;
	case RAFT_EV_ALARM:
		log_error("raft",
			  "contradiction partition=%u from=%llu message=%d "
			  "index=%llu action=\"partition serves nothing\"",
			  (unsigned)p->id, ull(e->peer), (int)e->msg,
			  ull(e->a));
		break;
	default:
		break;
	}
}
