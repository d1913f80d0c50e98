/*
 * tests/raftscript/words.c - what raft tells its observer, as log lines.
 *
 * The words are those that scenarios of etcd-io/raft expect, so that whole
 * files compare.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "tests/raftscript/env.h"

typedef unsigned long long ull;

void log_line(struct env *env, int level, const char *fmt, ...)
{
	static const char *const names[] = { "DEBUG", "INFO", "WARN", "ERROR",
					     "FATAL" };
	char text[1024];
	va_list ap;

	if (level < env->level)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	out_text(env, "%s %s\n", names[level], text);
}

struct words {
	struct env *env;
	const struct raft *r;
	const struct raft_event *e;
	struct raft_status s;
	const char *type;
	uint64_t from; /* whom the message that arrives is shown to be from  */
	char progress[128]; /* of e->peer */
	char conf[512];
};

static void vote_line(struct words *w, const char *verb, const char *rest)
{
	log_line(w->env, LEVEL_INFO,
		 "%llx [logterm: %llu, index: %llu, vote: %llx] %s %s %s %llx "
		 "[logterm: %llu, index: %llu] at term %llu%s",
		 (ull)w->s.id, (ull)w->s.last_term, (ull)w->s.last_index,
		 (ull)w->e->c, verb, w->type,
		 w->e->kind == RAFT_EV_VOTE_CAST ? "for" : "from",
		 (ull)w->e->peer, (ull)w->e->a, (ull)w->e->b, (ull)w->s.term,
		 rest);
}

static void vote_words(struct words *w)
{
	const struct raft_event *e = w->e;
	char rest[64];

	switch (e->kind) {
	case RAFT_EV_VOTE_CAST:
		vote_line(w, "cast", "");
		break;
	case RAFT_EV_VOTE_REFUSED:
		vote_line(w, "rejected", "");
		break;
	case RAFT_EV_VOTE_IN_LEASE:
		snprintf(rest, sizeof(rest),
			 ": lease is not expired (remaining ticks: %llu)",
			 (ull)e->d);
		vote_line(w, "ignored", rest);
		break;
	case RAFT_EV_VOTE_GOT:
		log_line(w->env, LEVEL_INFO,
			 "%llx received %s%s from %llx at "
			 "term %llu",
			 (ull)w->s.id, w->type, e->a ? "" : " rejection",
			 (ull)e->peer, (ull)w->s.term);
		break;
	case RAFT_EV_VOTE_TALLY:
		log_line(w->env, LEVEL_INFO,
			 "%llx has received %llu %s votes "
			 "and %llu vote rejections",
			 (ull)w->s.id, (ull)e->a, w->type, (ull)e->b);
		break;
	case RAFT_EV_ASK_VOTE:
		log_line(w->env, LEVEL_INFO,
			 "%llx [logterm: %llu, index: %llu]"
			 " sent %s request to %llx at term %llu",
			 (ull)w->s.id, (ull)e->a, (ull)e->b, w->type,
			 (ull)e->peer, (ull)w->s.term);
		break;
	default:
		break;
	}
}

void dropped_words(struct env *env, const struct raft_status *s)
{
	log_line(env, LEVEL_DEBUG,
		 "%llx [term %llu] transfer leadership to %llx is in progress; "
		 "dropping proposal",
		 (ull)s->id, (ull)s->term, (ull)s->transferee);
}

static void role_words(struct words *w)
{
	static const char *const roles[] = { "follower", "pre-candidate",
					     "candidate", "leader" };
	const struct raft_event *e = w->e;
	ull id = w->s.id, term = w->s.term;
	struct env *env = w->env;

	switch (e->kind) {
	case RAFT_EV_CONF:
		log_line(env, LEVEL_INFO, "%llx switched to configuration %s",
			 id, w->conf);
		break;
	case RAFT_EV_ROLE:
		log_line(env, LEVEL_INFO, "%llx became %s at term %llu", id,
			 roles[w->s.role], (ull)e->a);
		break;
	case RAFT_EV_ELECTION:
		log_line(env, LEVEL_INFO,
			 "%llx is starting a new election at "
			 "term %llu",
			 id, (ull)e->a);
		break;
	case RAFT_EV_HIGHER_TERM:
		log_line(env, LEVEL_INFO,
			 "%llx [term: %llu] received a %s "
			 "message with higher term from %llx [term: %llu]",
			 id, term, w->type, (ull)w->from, (ull)e->a);
		break;
	case RAFT_EV_LOWER_TERM:
		log_line(env, LEVEL_INFO,
			 "%llx [term: %llu] ignored a %s "
			 "message with lower term from %llx [term: %llu]",
			 id, term, w->type, (ull)w->from, (ull)e->a);
		break;
	case RAFT_EV_FORGET_LEADER:
		log_line(env, LEVEL_INFO,
			 "%llx forgetting leader %llx at term "
			 "%llu",
			 id, (ull)e->peer, term);
		break;
	case RAFT_EV_FORGET_REFUSED:
		log_line(env, LEVEL_ERROR,
			 "ignoring MsgForgetLeader due to "
			 "ReadOnlyLeaseBased");
		break;
	case RAFT_EV_NO_LEADER:
		if (w->s.role == RAFT_FOLLOWER)
			log_line(env, LEVEL_INFO,
				 "%llx no leader at term %llu;"
				 " dropping %s",
				 id, term,
				 e->msg == RAFT_MSG_TRANSFER
					 ? "leader transfer msg"
					 : "index reading msg");
		break;
	case RAFT_EV_UNPROMOTABLE:
		log_line(env, LEVEL_WARN,
			 "%llx is unpromotable and can not "
			 "campaign",
			 id);
		break;
	case RAFT_EV_CHANGES_UNAPPLIED:
		log_line(env, LEVEL_WARN,
			 "%llx cannot campaign at term %llu "
			 "since there are still pending configuration changes "
			 "to apply",
			 id, term);
		break;
	case RAFT_EV_ALREADY_LEADER:
		log_line(env, LEVEL_DEBUG,
			 "%llx ignoring MsgHup because "
			 "already leader",
			 id);
		break;
	case RAFT_EV_QUORUM_LOST:
		log_line(env, LEVEL_WARN,
			 "%llx stepped down to follower since "
			 "quorum is not active",
			 id);
		break;
	case RAFT_EV_LEAVE_JOINT:
		log_line(env, LEVEL_INFO,
			 "initiating automatic transition out "
			 "of joint configuration %s",
			 w->conf);
		break;
	case RAFT_EV_LEAVE_JOINT_NOT:
		if (w->s.transferee != RAFT_NOBODY &&
		    raft_conf_role(raft_conf(w->r), id) != 0)
			dropped_words(env, &w->s);
		log_line(env, LEVEL_DEBUG,
			 "not initiating automatic "
			 "transition out of joint configuration %s: raft "
			 "proposal dropped",
			 w->conf);
		break;
	case RAFT_EV_ALARM:
		log_line(env, LEVEL_ERROR,
			 "%llx alarm: %s from %llx "
			 "contradicts committed state at index %llu",
			 id, w->type, (ull)e->peer, (ull)e->a);
		break;
	default:
		break;
	}
}

static void log_words(struct words *w)
{
	const struct raft_event *e = w->e;
	struct env *env = w->env;
	ull id = w->s.id;

	switch (e->kind) {
	case RAFT_EV_CONFLICT:
		log_line(env, LEVEL_INFO,
			 "found conflict at index %llu "
			 "[existing term: %llu, conflicting term: %llu]",
			 (ull)e->a, (ull)e->b, (ull)e->c);
		break;
	case RAFT_EV_LOG_REPLACED:
		log_line(env, LEVEL_INFO,
			 "replace the unstable entries from "
			 "index %llu",
			 (ull)e->a);
		break;
	case RAFT_EV_LOG_CUT:
		log_line(env, LEVEL_INFO,
			 "truncate the unstable entries "
			 "before index %llu",
			 (ull)e->a);
		break;
	case RAFT_EV_LATE_PERSIST:
		log_line(env, LEVEL_INFO,
			 "%llx [term: %llu] ignored entry "
			 "appends from a MsgStorageAppendResp message with "
			 "lower term [term: %llu]",
			 id, (ull)w->s.term, (ull)e->a);
		break;
	case RAFT_EV_POINT_MISSING:
		log_line(env, LEVEL_INFO,
			 "entry at index %llu missing from "
			 "unstable log; ignoring",
			 (ull)e->a);
		break;
	case RAFT_EV_POINT_SNAPSHOT:
		log_line(env, LEVEL_INFO,
			 "entry at index %llu matched "
			 "unstable snapshot; ignoring",
			 (ull)e->a);
		break;
	case RAFT_EV_POINT_MISMATCH:
		log_line(env, LEVEL_INFO,
			 "entry at (index,term)=(%llu,%llu) "
			 "mismatched with entry at (%llu,%llu) in unstable log;"
			 " ignoring",
			 (ull)e->a, (ull)e->b, (ull)e->a, (ull)e->c);
		break;
	case RAFT_EV_APPEND_REFUSED:
		log_line(env, LEVEL_DEBUG,
			 "%llx [logterm: %llu, index: %llu] "
			 "rejected MsgApp [logterm: %llu, index: %llu] from "
			 "%llx",
			 id, (ull)e->c, (ull)e->a, (ull)e->b, (ull)e->a,
			 (ull)e->peer);
		break;
	case RAFT_EV_REJECTED:
		log_line(env, LEVEL_DEBUG,
			 "%llx received MsgAppResp(rejected, "
			 "hint: (index %llu, term %llu)) from %llx for index "
			 "%llu",
			 id, (ull)e->b, (ull)e->c, (ull)e->peer, (ull)e->a);
		break;
	case RAFT_EV_DECREASED:
		log_line(env, LEVEL_DEBUG,
			 "%llx decreased progress of %llx to "
			 "[%s]",
			 id, (ull)e->peer, w->progress);
		break;
	case RAFT_EV_UNREACHABLE:
		log_line(env, LEVEL_DEBUG,
			 "%llx failed to send message to "
			 "%llx because it is unreachable [%s]",
			 id, (ull)e->peer, w->progress);
		break;
	case RAFT_EV_NO_PROGRESS:
		log_line(env, LEVEL_DEBUG,
			 "%llx no progress available for "
			 "%llx",
			 id, (ull)e->peer);
		break;
	default:
		break;
	}
}

static void transfer_words(struct words *w)
{
	const struct raft_event *e = w->e;
	struct env *env = w->env;
	ull id = w->s.id, term = w->s.term, peer = e->peer;

	switch (e->kind) {
	case RAFT_EV_TIMEOUT_NOW:
		log_line(env, LEVEL_INFO,
			 "%llx [term %llu] received "
			 "MsgTimeoutNow from %llx and starts an election to "
			 "get leadership.",
			 id, term, peer);
		break;
	case RAFT_EV_TIMEOUT_NOW_IGNORED:
		log_line(env, LEVEL_DEBUG,
			 "%llx [term %llu state %s] ignored "
			 "MsgTimeoutNow from %llx",
			 id, term, role_name(w->s.role), peer);
		break;
	case RAFT_EV_TRANSFER_START:
		log_line(env, LEVEL_INFO,
			 "%llx [term %llu] starts to transfer "
			 "leadership to %llx",
			 id, term, peer);
		break;
	case RAFT_EV_TRANSFER_SAME:
		log_line(env, LEVEL_INFO,
			 "%llx [term %llu] transfer "
			 "leadership to %llx is in progress, ignores request "
			 "to same node %llx",
			 id, term, peer, peer);
		break;
	case RAFT_EV_TRANSFER_ABORT:
		log_line(env, LEVEL_INFO,
			 "%llx [term %llu] abort previous "
			 "transferring leadership to %llx",
			 id, term, peer);
		break;
	case RAFT_EV_TRANSFER_SELF:
		log_line(env, LEVEL_DEBUG,
			 "%llx is already leader. Ignored "
			 "transferring leadership to self",
			 id);
		break;
	case RAFT_EV_TRANSFER_LEARNER:
		log_line(env, LEVEL_DEBUG,
			 "%llx is learner. Ignored "
			 "transferring leadership",
			 id);
		break;
	case RAFT_EV_TRANSFER_NOW:
		log_line(env, LEVEL_INFO,
			 "%llx sends MsgTimeoutNow to %llx "
			 "immediately as %llx already has up-to-date log",
			 id, peer, peer);
		break;
	case RAFT_EV_TRANSFER_CAUGHT_UP:
		log_line(env, LEVEL_INFO,
			 "%llx sent MsgTimeoutNow to %llx "
			 "after received MsgAppResp",
			 id, peer);
		break;
	default:
		break;
	}
}

static void send_snapshot_words(struct words *w)
{
	const struct raft_event *e = w->e;
	struct env *env = w->env;
	ull id = w->s.id, peer = e->peer;

	switch (e->kind) {
	case RAFT_EV_SNAPSHOT_SEND:
		log_line(env, LEVEL_DEBUG,
			 "%llx [firstindex: %llu, commit: "
			 "%llu] sent snapshot[index: %llu, term: %llu] to %llx "
			 "[%s]",
			 id, (ull)w->s.first_index, (ull)w->s.commit, (ull)e->a,
			 (ull)e->b, peer, w->progress);
		break;
	case RAFT_EV_SNAPSHOT_PAUSE:
		log_line(env, LEVEL_DEBUG,
			 "%llx paused sending replication "
			 "messages to %llx [%s]",
			 id, peer, w->progress);
		break;
	case RAFT_EV_SNAPSHOT_INACTIVE:
		log_line(env, LEVEL_DEBUG,
			 "ignore sending snapshot to %llx "
			 "since it is not recently active",
			 peer);
		break;
	case RAFT_EV_SNAPSHOT_BUSY:
		log_line(env, LEVEL_DEBUG,
			 "%llx failed to send snapshot to "
			 "%llx because snapshot is temporarily unavailable",
			 id, peer);
		break;
	case RAFT_EV_SNAPSHOT_RECOVERED:
		log_line(env, LEVEL_DEBUG,
			 "%llx recovered from needing "
			 "snapshot, resumed sending replication messages to "
			 "%llx [%s]",
			 id, peer, w->progress);
		break;
	case RAFT_EV_SNAPSHOT_SUCCEEDED:
	case RAFT_EV_SNAPSHOT_FAILED:
		log_line(env, LEVEL_DEBUG,
			 "%llx snapshot %s, resumed sending "
			 "replication messages to %llx [%s]",
			 id,
			 e->kind == RAFT_EV_SNAPSHOT_FAILED ? "failed"
							    : "succeeded",
			 peer, w->progress);
		break;
	default:
		break;
	}
}

static void recv_snapshot_words(struct words *w)
{
	const struct raft_event *e = w->e;
	const struct raft_status *s = &w->s;
	struct env *env = w->env;
	ull id = s->id, held = 0;

	switch (e->kind) {
	case RAFT_EV_RESTORE:
		if (!s->snapshot_pending)
			held = s->last_index + 1 - s->unpersisted;
		log_line(env, LEVEL_INFO,
			 "log [committed=%llu, applied=%llu, "
			 "applying=%llu, unstable.offset=%llu, "
			 "unstable.offsetInProgress=%llu, "
			 "len(unstable.Entries)=%llu] starts to restore "
			 "snapshot [index: %llu, term: %llu]",
			 (ull)s->commit, (ull)s->applied, (ull)s->applying,
			 (ull)s->unpersisted, (ull)s->handed_out, held,
			 (ull)e->a, (ull)e->b);
		break;
	case RAFT_EV_RESTORED:
	case RAFT_EV_FAST_FORWARD:
		log_line(env, LEVEL_INFO,
			 "%llx [commit: %llu, lastindex: "
			 "%llu, lastterm: %llu] %s snapshot [index: %llu, "
			 "term: %llu]",
			 id, (ull)s->commit, (ull)s->last_index,
			 (ull)s->last_term,
			 e->kind == RAFT_EV_RESTORED
				 ? "restored"
				 : "fast-forwarded commit to",
			 (ull)e->a, (ull)e->b);
		break;
	case RAFT_EV_SNAPSHOT_TAKEN:
	case RAFT_EV_SNAPSHOT_IGNORED:
		log_line(env, LEVEL_INFO,
			 "%llx [commit: %llu] %s snapshot "
			 "[index: %llu, term: %llu]",
			 id, (ull)s->commit,
			 e->kind == RAFT_EV_SNAPSHOT_TAKEN ? "restored"
							   : "ignored",
			 (ull)e->a, (ull)e->b);
		break;
	default:
		break;
	}
}

void words_of_event(void *ctx, const struct raft *r, const struct raft_event *e)
{
	struct node *n = ctx;
	struct words w = { .env = n->env, .r = r, .e = e };
	struct raft_progress p;
	struct message shown = { .raft.type = e->msg };
	struct buf b = BUF_INIT;

	w.from = n->arriving ? n->arriving->from : e->peer;
	raft_status(r, &w.s);
	w.type = e->msg ? type_name(&shown) : "";
	text_conf(&b, raft_conf(r));
	snprintf(w.conf, sizeof(w.conf), "%.*s", (int)b.n, (char *)b.p);
	b.n = 0;
	if (raft_progress_of(r, e->peer, &p)) {
		text_progress(&b, &p);
		snprintf(w.progress, sizeof(w.progress), "%.*s", (int)b.n,
			 (char *)b.p);
	}
	buf_done(&b);
	role_words(&w);
	vote_words(&w);
	log_words(&w);
	transfer_words(&w);
	send_snapshot_words(&w);
	recv_snapshot_words(&w);
}
