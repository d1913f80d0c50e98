/*
 * raft/core.h - what the files of raft/ share; nobody else includes it.
 *
 * The path of a message: raft.c raft_step() sorts terms out and hands it to
 * recv_vote.c, recv_append.c, recv_reply.c, snapshot.c, read_index.c or
 * transfer.c. election.c changes roles, replication.c sends, commit.c counts,
 * membership.c switches configurations, log.c knows the log's shape,
 * progress.c what each peer has, output.c collects what goes out.
 */
#ifndef RAFT_CORE_H
#define RAFT_CORE_H

#include <stddef.h>
#include <string.h>

#include "base/check.h"
#include "base/seed.h"
#include "raft/raft.h"

enum { RUNS_MAX = 32 };

/* From index on, until the next run, entries have this term. */
struct term_run {
	uint64_t index, term;
};

/*
 * The log's shape. The terms of a log never fall (paper 5.3), so it is a short
 * list of runs; the newest RUNS_MAX are here, older ones are asked of the
 * driver.
 *
 *   first      offset     in_progress       last
 *     |  durable  | being written |  not yet in a ready |
 */
struct log {
	uint64_t first, base_term; /* entry first - 1 and its term           */
	uint64_t last;
	uint64_t commit, applying, applied;
	uint64_t offset;      /* entries below are durable                   */
	uint64_t in_progress; /* entries below were handed out               */
	bool has_snapshot, snapshot_in_progress;
	struct raft_snapshot snapshot; /* taken over, not yet installed      */
	uint32_t run_count;
	struct term_run run[RUNS_MAX];
	uint64_t applying_bytes;
	bool applying_paused;
};

struct inflight {
	uint64_t index, bytes; /* last entry of an append, its size          */
};

/* Appends sent and not answered: a ring, reserved by raft_new. */
struct inflights {
	uint32_t start, count;
	uint64_t bytes;
	struct inflight *slot;
};

enum vote { VOTE_NONE, VOTE_GRANTED, VOTE_REFUSED };

/* What this node knows of one member; on a leader, what it has. */
struct progress {
	uint64_t id;
	enum raft_flow flow;
	uint64_t match, next, sent_commit, pending_snapshot;
	uint64_t granted; /* to its reads: they wait for that commit index   */
	bool learner, active, paused;
	bool more; /* there is more to send than the output had room for     */
	enum vote vote;
	uint64_t acked_round, acked_ns; /* of heartbeats                     */
	struct inflights inflights;
	struct raft_snapshot snapshot; /* as sent                            */
};

/* A read waiting for round to be confirmed; from: who asked. */
struct pending_read {
	uint64_t from, context, round, index;
};

struct msg_queue {
	struct raft_msg *slot;
	uint32_t count, cap;
};

struct raft {
	struct raft_config c;
	struct seed seed;

	uint64_t term, vote;
	enum raft_role role;
	uint64_t leader, transferee;
	bool timeout_now_sent; /* in this term: leases are off               */
	uint64_t pending_change;
	uint64_t uncommitted_bytes;
	uint64_t missing;
	uint64_t now_ns;

	uint32_t election_elapsed, heartbeat_elapsed, election_timeout;
	uint32_t guard_ticks; /* left of restart_guard                       */

	struct log log;
	struct raft_conf conf;
	struct progress *peer; /* [c.members_max], conf.count in use, by id  */
	struct progress *peer_spare; /* where the next configuration is built */
	struct inflight *inflight_slots;

	struct pending_read *read; /* [c.reads_max], in order of rounds      */
	uint32_t read_count;
	uint64_t round_sent; /* a heartbeat of it has gone to everybody      */

	struct raft_own own[RAFT_OWN_MAX];
	uint32_t own_count;

	struct msg_queue out, after;
	struct raft_msg *ready_msgs, *ready_after; /* of the last ready      */
	struct raft_grant *grant, *ready_grants;
	uint32_t grant_count;
	struct raft_snapshot ready_snapshot;
	uint32_t reserve; /* messages that one input may emit at most        */

	struct raft_hard_state prev_hard;
	uint64_t prev_leader;
	enum raft_role prev_role;
};

/* Tell the observer, if there is one: TRACE(r, .kind = ..., .peer = ...). */
#define TRACE(r, ...)                                                          \
	do {                                                                   \
		if ((r)->c.trace)                                              \
			trace(r, &(struct raft_event){ __VA_ARGS__ });         \
	} while (0)

/* output.c */
bool output_has_room(const struct raft *r);
bool output_can_pump(const struct raft *r);
void output_send(struct raft *r, struct raft_msg *m);
void output_drop_appends(struct raft *r, uint64_t from);
void output_limit_acks(struct raft *r, uint64_t index);
void output_grant(struct raft *r, uint64_t context, uint64_t index);
void trace(const struct raft *r, const struct raft_event *e);

/* log.c */
void log_init(struct raft *r);
enum err log_term(const struct raft *r, uint64_t index, uint64_t *term);
uint64_t log_term_or_0(const struct raft *r, uint64_t index);
bool log_matches(const struct raft *r, uint64_t index, uint64_t term);
void log_extend(struct raft *r, uint64_t term, uint64_t n);
void log_replace(struct raft *r, uint64_t from, const uint64_t *terms,
		 uint32_t n);
void log_cut(struct raft *r, uint64_t from);
void log_commit_to(struct raft *r, uint64_t index);
void log_find_by_term(const struct raft *r, uint64_t index, uint64_t term,
		      uint64_t *found, uint64_t *found_term);
void log_restore(struct raft *r, const struct raft_snapshot *s);
void log_persisted(struct raft *r, uint64_t index, uint64_t term);
void log_snapshot_installed(struct raft *r, uint64_t index);
uint64_t log_durable(const struct raft *r, uint64_t index);
uint64_t log_appliable(const struct raft *r);
uint64_t log_unclaimed(const struct raft *r);

/* progress.c */
void inflights_reset(struct inflights *in);
void inflights_add(const struct raft *r, struct inflights *in, uint64_t index,
		   uint64_t bytes);
void inflights_free_to(const struct raft *r, struct inflights *in,
		       uint64_t index);
bool inflights_full(const struct raft *r, const struct inflights *in);
struct progress *progress_find(struct raft *r, uint64_t id);
const struct progress *progress_of(const struct raft *r, uint64_t id);
bool progress_paused(const struct progress *p);
void progress_become_probe(struct progress *p);
void progress_become_replicate(struct progress *p);
void progress_become_snapshot(struct progress *p, uint64_t index);
void progress_sent(const struct raft *r, struct progress *p, uint32_t n,
		   uint64_t bytes);
bool progress_can_bump_commit(const struct progress *p, uint64_t commit);
bool progress_update(struct progress *p, uint64_t index);
bool progress_decrease(struct progress *p, uint64_t rejected, uint64_t hint);

/* quorum.c */
enum quorum_result { QUORUM_PENDING, QUORUM_WON, QUORUM_LOST };
/* What majorities of both halves say: votes, activity, logs, rounds, times. */
enum quorum_result quorum_votes(const struct raft *r);
bool quorum_active(const struct raft *r);
uint64_t quorum_match(const struct raft *r);
uint64_t quorum_round(const struct raft *r);
uint64_t quorum_stamp(const struct raft *r);
bool quorum_with(const struct raft *r, uint64_t id); /* this node and id */

/* conf.c */
bool conf_is_voter(const struct raft_conf *c, uint64_t id);
uint32_t conf_voters(const struct raft_conf *c, uint8_t role);

/* election.c */
void become_follower(struct raft *r, uint64_t term, uint64_t leader);
void become_leader(struct raft *r);
void start_election(struct raft *r, bool forced);
bool is_promotable(const struct raft *r);
bool is_voter_leased(const struct raft *r);
void reset_election_timeout(struct raft *r);
void recv_vote_reply(struct raft *r, const struct raft_msg *m);

/* recv_vote.c */
void recv_vote(struct raft *r, const struct raft_msg *m);
void refuse_vote(struct raft *r, const struct raft_msg *m);

/* recv_append.c */
enum err recv_append(struct raft *r, const struct raft_msg *m,
		     struct raft_accepted *accepted);
enum err recv_heartbeat(struct raft *r, const struct raft_msg *m);

/* recv_reply.c */
void recv_append_reply(struct raft *r, const struct raft_msg *m);
void recv_heartbeat_reply(struct raft *r, const struct raft_msg *m);

/* snapshot.c */
enum err recv_snapshot(struct raft *r, const struct raft_msg *m,
		       struct raft_accepted *accepted);
bool send_snapshot(struct raft *r, struct progress *p);

/* replication.c */
bool send_append(struct raft *r, struct progress *p, bool even_empty);
void send_all_appends(struct raft *r);
void send_waiting(struct raft *r, struct progress *p);
void pump_appends(struct raft *r);
void send_heartbeats(struct raft *r, uint64_t round);
void append_own(struct raft *r, bool leave_joint);
void acknowledge_own_log(struct raft *r);

/* commit.c */
bool advance_commit(struct raft *r);
bool committed_in_term(const struct raft *r);

/* membership.c */
void switch_conf(struct raft *r, const struct raft_conf *conf);
void restore_conf(struct raft *r, const struct raft_conf *conf);
void leave_joint_if_due(struct raft *r);

/* read_index.c */
enum err recv_read(struct raft *r, const struct raft_msg *m);
void recv_read_reply(struct raft *r, const struct raft_msg *m);
void confirm_reads(struct raft *r);
void release_early_reads(struct raft *r);
bool start_read_round(struct raft *r);

/* transfer.c */
void recv_timeout_now(struct raft *r, const struct raft_msg *m);
enum err recv_transfer(struct raft *r, const struct raft_msg *m);
enum err lead_transfer(struct raft *r, uint64_t to);
void abort_transfer(struct raft *r);
void finish_transfer(struct raft *r, struct progress *p);

#endif
