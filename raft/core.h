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

/*
 * All that follows is called by the driver's one thread, through raft.h, and
 * changes nothing but *r. What is sent is only queued: the next raft_ready
 * hands it out. `Leader:` means that the caller has seen that r leads.
 */

/* ------------------------------------------------------------- output.c -- */

/*
 * May an input be taken? One input emits at most r->reserve messages, and so
 * does the next ready by itself.
 */
bool output_has_room(const struct raft *r);

/* May an append that can wait be sent now? Else after the next ready. */
bool output_can_pump(const struct raft *r);

/*
 * Queue a copy of *m behind what has to be durable before it goes, if it
 * promises something about this node's disk. Sets from, and term except of
 * votes and reads, in *m too. There is room: see output_has_room.
 */
void output_send(struct raft *r, struct raft_msg *m);

/* Drop queued appends that name entries at or behind from. */
void output_drop_appends(struct raft *r, uint64_t from);

/*
 * Who leads, or the table of peers, is another now. Queued SNAPSHOTs that no
 * peer waits for are dropped, the others name what their peer waits for.
 */
void output_keep_snapshots(struct raft *r);

/* Queued answers acknowledge no more than index from now on. */
void output_limit_acks(struct raft *r, uint64_t index);

/* A read of this node's own may be served at index. There is room for it. */
void output_grant(struct raft *r, uint64_t context, uint64_t index);

/* Tell the observer, of which there is one: see TRACE. */
void trace(const struct raft *r, const struct raft_event *e);

/* ---------------------------------------------------------------- log.c -- */

/* Set r->log up from r->c; what the disk has is durable. */
void log_init(struct raft *r);

/*
 * The term of the entry at index, also of the one before the log's first.
 * ERR_NOT_FOUND: behind the end. ERR_COMPACTED: before the beginning. What the
 * driver's view says, for entries whose run is not kept.
 */
enum err log_term(const struct raft *r, uint64_t index, uint64_t *term);

/* Likewise; 0 where log_term has an error. */
uint64_t log_term_or_0(const struct raft *r, uint64_t index);

/* Whether an entry of that term is known to stand at index. */
bool log_matches(const struct raft *r, uint64_t index, uint64_t term);

/* n (at least 1) entries of one term, no lower than the last, were added. */
void log_extend(struct raft *r, uint64_t term, uint64_t n);

/*
 * Entries from `from` on, above the commit index and at most one behind the
 * end, are n (at least 1) of these terms now. Those that were being written
 * from there on are to be written again; queued appends of them are dropped.
 */
void log_replace(struct raft *r, uint64_t from, const uint64_t *terms,
		 uint32_t n);

/*
 * The log ends before from, which has not been handed out for writing; a
 * commit index behind that falls. Nothing where it ends there already.
 */
void log_cut(struct raft *r, uint64_t from);

/* Raise the commit index to index, which the log has; it never falls here. */
void log_commit_to(struct raft *r, uint64_t index);

/*
 * The largest index at or below index whose term is at most term, and its
 * term; 0: not known, or there is none.
 */
void log_find_by_term(const struct raft *r, uint64_t index, uint64_t term,
		      uint64_t *found, uint64_t *found_term);

/*
 * *s, above the commit index, stands in for the whole log, which is empty
 * behind it. *s is copied; it is pending until log_snapshot_installed.
 */
void log_restore(struct raft *r, const struct raft_snapshot *s);

/*
 * The disk has entries up to index. Ignored where the entry at index has
 * another term by now, or none is waited for.
 */
void log_persisted(struct raft *r, uint64_t index, uint64_t term);

/* The pending snapshot of that index is in force; others are ignored. */
void log_snapshot_installed(struct raft *r, uint64_t index);

/* index, or what lies before the first entry whose bytes are missing. */
uint64_t log_durable(const struct raft *r, uint64_t index);

/* The last index that may be handed out for applying. */
uint64_t log_appliable(const struct raft *r);

/* The last entry that the driver has: behind it are r->own, untaken. */
uint64_t log_unclaimed(const struct raft *r);

/* ----------------------------------------------------------- progress.c -- */

/* Nothing is on its way. The slots stay. */
void inflights_reset(struct inflights *in);

/* All up to index are answered. */
void inflights_free_to(const struct raft *r, struct inflights *in,
		       uint64_t index);

/* Has either limit of r->c been reached? */
bool inflights_full(const struct raft *r, const struct inflights *in);

/*
 * The member id in the configuration in force; NULL: none. Valid until that
 * changes.
 */
struct progress *progress_find(struct raft *r, uint64_t id);
const struct progress *progress_of(const struct raft *r, uint64_t id);

/* Is nothing to be sent to it now? */
bool progress_paused(const struct progress *p);

/* Change its flow, as drawn in progress.c; nothing is on its way then. */
void progress_become_probe(struct progress *p);
void progress_become_replicate(struct progress *p);

/* Likewise; it is sent the snapshot of index. */
void progress_become_snapshot(struct progress *p, uint64_t index);

/* An append of n entries has gone to it, which is not paused. */
void progress_sent(const struct raft *r, struct progress *p, uint32_t n,
		   uint64_t bytes);

/* Would this commit index let it commit more than what it was told? */
bool progress_can_bump_commit(const struct progress *p, uint64_t commit);

/* It acknowledged up to index. True: that was new, and it is not paused. */
bool progress_update(struct progress *p, uint64_t index);

/*
 * It refused the append behind index rejected; the logs may match at hint.
 * False: an old answer, nothing has changed. match never falls.
 */
bool progress_decrease(struct progress *p, uint64_t rejected, uint64_t hint);

/* ------------------------------------------------------------- quorum.c -- */

enum quorum_result { QUORUM_PENDING, QUORUM_WON, QUORUM_LOST };

/*
 * What majorities of both halves say: of the votes in r->peer; whether they
 * were heard of lately; and the largest index, round of heartbeats and time of
 * one that they have acknowledged (UINT64_MAX: there are no voters).
 */
enum quorum_result quorum_votes(const struct raft *r);
bool quorum_active(const struct raft *r);
uint64_t quorum_match(const struct raft *r);
uint64_t quorum_round(const struct raft *r);
uint64_t quorum_stamp(const struct raft *r);
bool quorum_with(const struct raft *r, uint64_t id); /* this node and id */

/* --------------------------------------------------------------- conf.c -- */

/* Does id vote in either half? */
bool conf_is_voter(const struct raft_conf *c, uint64_t id);

/* Members that have one of the roles in the set. */
uint32_t conf_voters(const struct raft_conf *c, uint8_t role);

/* ----------------------------------------------------------- election.c -- */

/*
 * Follow leader (RAFT_NOBODY: unknown) in term, not below r's. What belongs to
 * a role is forgotten, and the vote if the term is new.
 */
void become_follower(struct raft *r, uint64_t term, uint64_t leader);

/*
 * Ask for pre-votes, or for votes (forced: the leader hands over). Nothing
 * where r leads, may not, or has membership changes to apply first.
 */
void start_election(struct raft *r, bool forced);

/* Has a leader been heard within the shortest election timeout? */
bool is_voter_leased(const struct raft *r);

/* -------------------------------------------- messages, one file for each --
 *
 * m is of r's term where its type has one, and who replies is a member:
 * raft_step sees to that. Who else sends need not be one. recv_append,
 * recv_heartbeat and recv_snapshot are a follower's, whose leader the sender
 * is; replies are the leader's that asked, of votes a candidate's. An answer,
 * where one is due, is queued.
 */

/* election.c: a voter has answered. May make r a leader, or a follower. */
void recv_vote_reply(struct raft *r, const struct raft_msg *m);

/* recv_vote.c: grant or refuse; refuse for a reason that raft_step has seen. */
void recv_vote(struct raft *r, const struct raft_msg *m);
void refuse_vote(struct raft *r, const struct raft_msg *m);

/*
 * recv_append.c: the leader's entries, and its heartbeats. accepted, which is
 * zeroed, says which entries the driver must take. ERR_CORRUPT: they contradict
 * what is committed here, or what this node had acknowledged is not in its
 * log; nothing has changed.
 */
enum err recv_append(struct raft *r, const struct raft_msg *m,
		     struct raft_accepted *accepted);
enum err recv_heartbeat(struct raft *r, const struct raft_msg *m);

/*
 * recv_reply.c: what a peer has, and that it is there; may commit, grant reads,
 * finish a transfer, and send more.
 */
void recv_append_reply(struct raft *r, const struct raft_msg *m);
void recv_heartbeat_reply(struct raft *r, const struct raft_msg *m);

/* snapshot.c: accepted->snapshot says whether it takes the log's place. OK. */
enum err recv_snapshot(struct raft *r, const struct raft_msg *m,
		       struct raft_accepted *accepted);

/*
 * read_index.c: a follower asks. ERR_NO_LEADER, ERR_BUSY (too many wait):
 * dropped. A reply becomes a grant.
 */
enum err recv_read(struct raft *r, const struct raft_msg *m);
void recv_read_reply(struct raft *r, const struct raft_msg *m);

/*
 * transfer.c: the leader wants this node to lead, or a follower wants a
 * transfer, which is dropped with ERR_NO_LEADER.
 */
void recv_timeout_now(struct raft *r, const struct raft_msg *m);
enum err recv_transfer(struct raft *r, const struct raft_msg *m);

/* ---------------------------------------------------------- snapshot.c -- */

/*
 * Leader: name the driver's snapshot to p, which gets no entries until the
 * driver tells how that went. False: p was not heard of lately, or has more
 * than there is a snapshot of; it is asked for again at the next answer.
 */
bool send_snapshot(struct raft *r, struct progress *p);

/* -------------------------------------------------------- replication.c -- */

/*
 * Leader: send p the entries from next on, or with even_empty at least the
 * commit index; a snapshot where they are gone. False: nothing was sent.
 */
bool send_append(struct raft *r, struct progress *p, bool even_empty);

/* Leader: send_append to all others, even empty. */
void send_all_appends(struct raft *r);

/* Leader: all that window and output have room for; p->more: not all. */
void send_waiting(struct raft *r, struct progress *p);

/* Go on with those whose p->more is set, if r leads. */
void pump_appends(struct raft *r);

/* Leader: one to each other member, for that round of reads; 0: none. */
void send_heartbeats(struct raft *r, uint64_t round);

/*
 * Leader: append raft's own entry, a no-op or one that leaves the joint
 * configuration, for raft_take_own. At most RAFT_OWN_MAX are untaken.
 */
void append_own(struct raft *r, bool leave_joint);

/* Leader: answer itself for its log, once that is durable. */
void acknowledge_own_log(struct raft *r);

/* ------------------------------------------------------------- commit.c -- */

/* Leader: commit what a quorum holds, of its own term. True: it moved. */
bool advance_commit(struct raft *r);

/* Is an entry of r's term committed? Only then does a leader know what is. */
bool committed_in_term(const struct raft *r);

/* --------------------------------------------------------- membership.c -- */

/* conf, a snapshot's, is in force: nothing is known of anyone. */
void restore_conf(struct raft *r, const struct raft_conf *conf);

/* If r leads, is to, and may: append the entry that leaves the joint one. */
void leave_joint_if_due(struct raft *r);

/* --------------------------------------------------------- read_index.c -- */

/* Leader: grant the reads whose rounds a quorum has answered. */
void confirm_reads(struct raft *r);

/* Leader: reads that came before the no-op was committed join a round now. */
void release_early_reads(struct raft *r);

/* Send the round that newly arrived reads wait for. False: none waits. */
bool start_read_round(struct raft *r);

/* ----------------------------------------------------------- transfer.c -- */

/*
 * Leader: hand over to `to`; OK also where that is under way or `to` leads.
 * Another transfer ends. ERR_INVALID: no voter, nothing has changed.
 */
enum err lead_transfer(struct raft *r, uint64_t to);

/* Leader: no transfer is under way any more; proposals are taken again. */
void abort_transfer(struct raft *r);

/* Leader: p, the target, holds the whole log: tell it to stand. */
void finish_transfer(struct raft *r, struct progress *p);

#endif
