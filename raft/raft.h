/*
 * raft/raft.h - consensus for one group, as a pure step function.
 *
 * After Ongaro & Ousterhout 2014 ("the paper") and Ongaro's dissertation of
 * 2014 ("the thesis"); the .c files cite the section behind each rule.
 *
 * Owns: term, vote, role, the log's shape (which term stands at which index,
 * never the bytes), membership, each peer's progress. Knows nothing of disks,
 * sockets, clocks, threads, log lines. Given the same calls and the same log
 * view it gives the same outputs, always.
 *
 * THE LOG'S BYTES STAY WITH THE DRIVER. raft says "send entries 11..20 to
 * peer 3" and the driver reads them where they lie; an incoming APPEND gives
 * raft the terms of its entries only, and raft answers which of them to put
 * into the log. No payload is ever copied through this interface.
 *
 * THE DRIVER'S LOOP, for each group:
 *
 *    feed   raft_tick raft_step raft_propose raft_read raft_persisted ...
 *           after each: put accepted entries (raft_step's accepted) and raft's
 *           own entries (raft_take_own) into the log's open batch, at once
 *    take   raft_ready -> struct raft_ready: what changed since the last one
 *    do     in this order:
 *           1. send ready.msgs                      (no disk wait: a leader's
 *              appends travel while its own disk writes, thesis 10.2.1)
 *           2. persist hard state, entries, snapshot: one sync for all groups
 *           3. only then: send ready.after_msgs; those addressed to this node
 *              itself go back into raft_step; then raft_persisted
 *           4. apply entries apply_from..apply_to in order, calling
 *              raft_apply_conf for each change among them, then raft_applied
 *    4 may run before or beside 2 when apply_unpersisted is set.
 *
 * Feeding may go on while a sync is under way (readies overlap); then steps 3
 * of the readies are done in the order the readies were taken.
 *
 * Memory: everything is reserved by raft_new; no later call allocates. When an
 * output queue is full an input is refused with ERR_FULL and nothing changes:
 * take a ready and call again. What a ready points to is valid until the next
 * raft_ready; the snapshot of a SNAPSHOT in it only until the next input.
 *
 * Threads: one at a time per struct raft; different groups are independent.
 *
 * The founding members of a group all start with the same conf and log. A node
 * that joins later starts with an empty conf and an empty log; it takes no
 * entries before a snapshot has given it a configuration.
 *
 * Inputs from peers are never trusted: a malformed message is ERR_INVALID, one
 * that contradicts committed state is an alarm, ERR_CORRUPT (see raft_step).
 * What the driver promises is CHECKed.
 */
#ifndef RAFT_RAFT_H
#define RAFT_RAFT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum {
	RAFT_MEMBERS_MAX = 32, /* voters and learners of both configurations */
	RAFT_CHANGES_MAX = 32, /* single changes in one membership change    */
	RAFT_OWN_MAX = 4,      /* entries raft made that wait to be taken    */
};

#define RAFT_NOBODY   UINT64_C(0) /* no node has this id                     */
#define RAFT_NO_LIMIT UINT64_MAX

struct raft;

/* --------------------------------------------------------- membership ---- */

enum raft_member_role {
	RAFT_VOTER = 1,	       /* of the present or, if joint, incoming half  */
	RAFT_VOTER_OUT = 2,    /* of the outgoing half (thesis 4.3)           */
	RAFT_LEARNER = 4,      /* receives entries, does not vote (4.2.1)     */
	RAFT_LEARNER_NEXT = 8, /* VOTER_OUT that becomes a learner on leaving */
};

/* Who belongs to the group. id is strictly rising, role[i] never 0. */
struct raft_conf {
	uint32_t count;
	bool auto_leave; /* joint, and raft leaves it by itself              */
	uint64_t id[RAFT_MEMBERS_MAX];
	uint8_t role[RAFT_MEMBERS_MAX];
};

enum raft_change_op {
	RAFT_ADD_VOTER,
	RAFT_ADD_LEARNER, /* also turns a voter into a learner               */
	RAFT_REMOVE,
	RAFT_UPDATE, /* changes nothing here (an address, say)               */
};

enum raft_transition {
	RAFT_AUTO,     /* one voter: simple (thesis 4.1); more: as IMPLICIT  */
	RAFT_IMPLICIT, /* joint, left automatically (4.3)                    */
	RAFT_EXPLICIT, /* joint, left by another, empty change               */
};

/* count 0 with RAFT_AUTO means: leave the joint configuration. */
struct raft_change {
	enum raft_transition transition;
	uint32_t count;
	struct {
		enum raft_change_op op;
		uint64_t id;
	} item[RAFT_CHANGES_MAX];
};

/* Add id with role to c, keeping the order. ERR_FULL, ERR_INVALID (id 0). */
MUST_CHECK enum err raft_conf_add(struct raft_conf *c, uint64_t id,
				  uint8_t role);

/* The roles of id in c; 0: not a member. */
uint8_t raft_conf_role(const struct raft_conf *c, uint64_t id);

/* True while c has an outgoing half. */
bool raft_conf_is_joint(const struct raft_conf *c);

/* Check order, roles and the joint rules of c. ERR_INVALID. For decoders. */
MUST_CHECK enum err raft_conf_check(const struct raft_conf *c);

/*
 * *to = from after change. Pure; what raft_apply_conf does to the group.
 * ERR_INVALID: the change does not fit (joint already, not joint, more than
 * one voter without joint, no voter would remain); ERR_FULL: too many members.
 */
MUST_CHECK enum err raft_conf_change(const struct raft_conf *from,
				     const struct raft_change *change,
				     struct raft_conf *to);

/* A state that replaces all entries up to index (paper 7, thesis 5). */
struct raft_snapshot {
	uint64_t index, term;  /* of the last entry it covers                 */
	struct raft_conf conf; /* in force at index                          */
};

/* ----------------------------------------------------------- messages ---- */

enum raft_msg_type {
	RAFT_MSG_APPEND = 1,
	RAFT_MSG_APPEND_REPLY,
	RAFT_MSG_PREVOTE,
	RAFT_MSG_PREVOTE_REPLY,
	RAFT_MSG_VOTE,
	RAFT_MSG_VOTE_REPLY,
	RAFT_MSG_HEARTBEAT,
	RAFT_MSG_HEARTBEAT_REPLY,
	RAFT_MSG_SNAPSHOT,
	RAFT_MSG_TIMEOUT_NOW,
	RAFT_MSG_READ,
	RAFT_MSG_READ_REPLY,
	RAFT_MSG_TRANSFER,
	RAFT_MSG_TYPE_MAX
};

/*
 * Which fields a type uses beside type, to, from, term; others are 0.
 *
 * APPEND           index, log_term: the entry before the first; commit;
 *                  entry_count entries index+1.. of together entry_bytes.
 *                  Outgoing: the driver adds their terms and bytes from its
 *                  log when it encodes the message; incoming: entry_terms.
 * APPEND_REPLY     index: everything up to it is held durably; or reject:
 *                  index of the refused append, hint and log_term: where the
 *                  logs may match (term 0: unknown)
 * PREVOTE, VOTE    index, log_term: the candidate's last entry; force: the
 *                  leader asked for it
 * ..VOTE_REPLY     reject, and then, from one that is no voter, index and
 *                  log_term: the last entry that it knows to be committed
 * HEARTBEAT        commit, context (read round, 0 none), stamp_ns
 * HEARTBEAT_REPLY  context, stamp_ns: as in the heartbeat
 * SNAPSHOT         snapshot. Outgoing: the driver streams the state of that
 *                  index; incoming: stepped when all of it has arrived whole
 * TIMEOUT_NOW
 * READ             context: of the asking node; term: its own with
 *                  asker_confirms, else 0
 * READ_REPLY       context, index
 * TRANSFER         hint: who shall lead
 */
struct raft_msg {
	enum raft_msg_type type;
	bool reject;
	bool force;
	uint64_t to, from, term;
	uint64_t index, log_term, commit, hint;
	uint64_t context, stamp_ns;
	uint32_t entry_count;
	uint64_t entry_bytes;
	const uint64_t *entry_terms;
	const struct raft_snapshot *snapshot;
};

/* ------------------------------------------------------------- driver ---- */

/*
 * The log as the driver sees it, for reading only. Called from inside raft's
 * functions; the answers must be those of the log with everything in it that
 * raft was told of or accepted so far.
 */
struct raft_log_view {
	void *ctx;
	/*
	 * *term of the entry at index, which raft holds to be present. Asked
	 * for old entries only: recent terms are remembered inside.
	 * ERR_COMPACTED: gone, a snapshot is needed instead.
	 */
	enum err (*term)(void *ctx, uint64_t index, uint64_t *term);
	/*
	 * How many entries from..to, taken in order, fit into bytes_max: at
	 * least one, whatever its size, if it is there; 0: gone. *bytes is
	 * their sum. from <= to.
	 */
	uint32_t (*fit)(void *ctx, uint64_t from, uint64_t to,
			uint64_t bytes_max, uint64_t *bytes);
	/* Is there a membership change among the entries from..to? */
	bool (*has_change)(void *ctx, uint64_t from, uint64_t to);
	/*
	 * The newest snapshot that can be sent now: at least of entry
	 * first_index - 1, at most applied. ERR_BUSY: none at the moment, raft
	 * asks again later.
	 */
	enum err (*snapshot)(void *ctx, struct raft_snapshot *snapshot);
};

enum raft_read_mode {
	RAFT_READ_INDEX, /* each batch confirmed by a quorum (thesis 6.4)    */
	RAFT_READ_LEASE, /* by the leader's lease while it holds (6.4.1)     */
};

struct raft_event;

struct raft_config {
	uint64_t id;   /* of this node, not RAFT_NOBODY                      */
	uint64_t seed; /* election timeouts                                  */

	/* What the log holds. conf is in force at applied. */
	uint64_t term, vote, commit; /* hard state as persisted              */
	uint64_t first_index;	     /* first entry present, at least 1      */
	uint64_t base_term;	     /* of entry first_index - 1             */
	uint64_t last_index, last_term;
	uint64_t applied;
	struct raft_conf conf;

	uint32_t election_ticks; /* timeouts are this up to twice this       */
	uint32_t heartbeat_ticks;

	/* Limits; memory follows from them. */
	uint32_t members_max;		/* at most RAFT_MEMBERS_MAX           */
	uint32_t out_max;		/* messages in a ready, about         */
	uint32_t reads_max;		/* reads waiting for their round      */
	uint32_t inflight_max;		/* unanswered appends to a peer       */
	uint64_t inflight_bytes_max;	/* of them together                   */
	uint64_t append_bytes_max;	/* of one append; one entry always    */
	uint64_t uncommitted_bytes_max; /* leader's; then proposals wait     */
	uint64_t apply_bytes_max;	/* handed out and not yet applied     */

	bool prevote;	   /* thesis 9.6                                     */
	bool check_quorum; /* a leader without a quorum steps down; voters
			      that hear a leader refuse others (4.2.3, 6.2)  */
	/*
	 * Behave for one election timeout after the start as if a leader had
	 * just been heard: a restarted node has forgotten whether it had, and
	 * leases rely on it. Required on every node if any uses leases.
	 */
	bool restart_guard;
	enum raft_read_mode read_mode; /* LEASE needs check_quorum           */
	/*
	 * How long after a heartbeat was sent a quorum that answered it will
	 * surely elect nobody: less than (election_ticks - 1) ticks by the
	 * fastest clock in the group. With ticks of T ns and clocks that
	 * drift at most d from each other: (election_ticks - 1) * T * (1 - d).
	 */
	uint64_t lease_ns;
	bool apply_unpersisted;	   /* committed entries may be applied before
				      this node's own disk has them          */
	bool step_down_on_removal; /* thesis 4.2.2; set it                   */
	/*
	 * A leader does not send an append only to tell a new commit index: it
	 * goes with the next entries or heartbeat, to a peer whose read was
	 * granted at that index, or when the driver says so (raft_tell_commit).
	 */
	bool lazy_commit;
	/*
	 * Who asks the leader for a read says its term, and needs no round if
	 * it and the leader are a quorum (raft/read_index.c).
	 */
	bool asker_confirms;
	/*
	 * Accept membership changes unchecked (a second one while one is
	 * pending too): only for a driver that puts them in order itself.
	 */
	bool unchecked_changes;

	struct raft_log_view view;
	/*
	 * Told what happens, for metrics and log lines; may be NULL. May call
	 * the const functions below and nothing else.
	 */
	void (*trace)(void *ctx, const struct raft *r,
		      const struct raft_event *e);
	void *trace_ctx;
};

/* Zero c and set the usual limits and features; id, log and view are left. */
void raft_config_default(struct raft_config *c);

/*
 * A group's state machine, a follower. A commit past last_index (a log that
 * lost its unsynced end) is taken as last_index.
 *
 * ERR_INVALID  a limit, an id or the log's numbers make no sense
 * ERR_NOMEM
 */
MUST_CHECK enum err raft_new(const struct raft_config *c, struct raft **r);

/* Release r. NULL is accepted. */
void raft_free(struct raft *r);

/* ------------------------------------------------------------- inputs ---- */

/*
 * One tick of the group's clock has passed. ERR_FULL: take a ready first; the
 * tick has not been counted.
 */
MUST_CHECK enum err raft_tick(struct raft *r);

/* The monotonic clock now, for leases; never going back. 0 until first set. */
void raft_set_time(struct raft *r, uint64_t now_ns);

/* What raft_step took over. */
struct raft_accepted {
	/*
	 * count > 0: the message's entries from index `from` to the end are
	 * now part of the log: append these bytes before the next input (they
	 * replace whatever stood at from and after). If that is impossible,
	 * call raft_cut(r, from + those that were appended).
	 */
	uint64_t from;
	uint32_t count;
	bool snapshot; /* the snapshot replaces the log; see ready           */
};

/*
 * A message from a peer, or one of ready.after_msgs to this node itself. Old,
 * repeated and reordered ones are harmless (paper 5.5). m and what it points
 * to are read during the call only.
 *
 * ERR_FULL       nothing was done: take a ready, step it again
 * ERR_INVALID    malformed; nothing was done
 * ERR_FOREIGN    an answer from someone who is not a member; ignored
 * ERR_NO_LEADER  a READ or TRANSFER that found no leader; ignored
 * ERR_BUSY       a READ that found reads_max waiting; ignored
 * ERR_CORRUPT    ALARM: the message contradicts committed state (an append
 *                that would truncate a committed entry, a commit index past
 *                what this node is said to hold, a second leader in one
 *                term). Nothing was truncated or committed. An operator must
 *                look; the group must not serve from here.
 */
MUST_CHECK enum err raft_step(struct raft *r, const struct raft_msg *m,
			      struct raft_accepted *accepted);

/*
 * Directly after raft_step: entries from `from` on, accepted by it, could not
 * be put into the log after all. They are forgotten and not acknowledged; the
 * leader sends them again.
 */
void raft_cut(struct raft *r, uint64_t from);

/*
 * May n entries of together `bytes` be proposed now, and if so, as which
 * index (the first) and term must the driver append them?
 *
 * ERR_NO_LEADER  this node does not lead (or no longer belongs to the group)
 * ERR_BUSY       leadership is being handed over; soon there is another leader
 * ERR_FULL       uncommitted_bytes_max or the output queue; later
 */
MUST_CHECK enum err raft_proposable(const struct raft *r, uint64_t bytes,
				    uint64_t *index, uint64_t *term);

/*
 * The driver has appended n entries of together `bytes` at the index and term
 * that raft_proposable gave, with no other call in between.
 */
void raft_propose(struct raft *r, uint32_t n, uint64_t bytes);

enum raft_refusal {
	RAFT_CHANGE_OK,
	RAFT_CHANGE_PENDING,   /* an earlier one may not be applied yet      */
	RAFT_CHANGE_JOINT,     /* must leave the joint configuration first   */
	RAFT_CHANGE_NOT_JOINT, /* nothing to leave                           */
	RAFT_CHANGE_MISFIT,    /* raft_conf_change refuses it                */
};

/*
 * May this membership change be proposed on top of the applied configuration?
 * Besides, raft_proposable must agree.
 */
enum raft_refusal raft_change_refusal(const struct raft *r,
				      const struct raft_change *change);

/*
 * As raft_propose for the one entry that carries change, which was not
 * refused just before. It takes effect when applied (raft_apply_conf).
 */
void raft_propose_change(struct raft *r, const struct raft_change *change,
			 uint64_t bytes);

/* An entry that raft itself made. */
struct raft_own {
	uint64_t index, term;
	bool leave_joint; /* an empty membership change; else a no-op        */
};

/*
 * The next entry that raft made by itself (the no-op of a new leader, paper 8;
 * the leaving of a joint configuration, thesis 4.3): append it to the log
 * before anything else. False: none. Call after every input until false.
 */
bool raft_take_own(struct raft *r, struct raft_own *own);

/* What a ready waits for on the disk; hand it back with raft_persisted. */
struct raft_point {
	uint64_t term;		  /* this node's term when it was taken      */
	uint64_t index, log_term; /* the log's end then; index 0: no entries */
	uint64_t snapshot_index;  /* 0: no snapshot                          */
};

/*
 * Everything of the ready that carried p is durable, a snapshot installed. A
 * late call for entries that were truncated meanwhile does not count.
 */
void raft_persisted(struct raft *r, const struct raft_point *p);

/* Entries up to index are applied, changes among them by raft_apply_conf. */
void raft_applied(struct raft *r, uint64_t index);

/*
 * An entry with a membership change is being applied. The new configuration
 * is in force at once and readable with raft_conf(). A leader that is no
 * longer a voter steps down now if so configured.
 * ERR_INVALID, ERR_FULL: the change does not fit, nothing was changed: the
 * same on every replica, so the entry counts as empty.
 */
MUST_CHECK enum err raft_apply_conf(struct raft *r,
				    const struct raft_change *change);

/* The driver is about to drop the entries below first_index, all applied. */
void raft_compacted(struct raft *r, uint64_t first_index);

/*
 * Start an election now. Nothing happens on a leader, a learner, or while
 * there are changes to apply or bytes missing. ERR_FULL.
 */
MUST_CHECK enum err raft_campaign(struct raft *r);

/*
 * Ask for an index at which a read is linearizable. The answer is a struct
 * raft_grant with this context in a later ready; it may never come (messages
 * are lost): ask again after a change of leader or a timeout. All reads asked
 * between two readies share one round.
 *
 * ERR_NO_LEADER  nobody known to ask
 * ERR_FULL       reads_max are waiting
 */
MUST_CHECK enum err raft_read(struct raft *r, uint64_t context);

/*
 * Does the leader's lease hold at now_ns? Ask again after the value was taken.
 * Thesis 6.4.1.
 */
bool raft_lease_holds(const struct raft *r, uint64_t now_ns);

/*
 * When the leader's lease ends if nothing more is heard, whatever read_mode
 * says: for a driver that serves some reads by it, and others by raft_read. 0:
 * no lease; UINT64_MAX: the only voter. Needs check_quorum, restart_guard and
 * lease_ns on every node.
 */
uint64_t raft_lease_end(const struct raft *r);

/*
 * Hand leadership to voter `to` (thesis 3.10). Proposals are refused until it
 * took over or an election timeout passed. Asked of a follower it is passed on
 * to the leader. ERR_NO_LEADER; ERR_INVALID: not a voter; ERR_FULL.
 */
MUST_CHECK enum err raft_transfer(struct raft *r, uint64_t to);

/*
 * The most advanced voter that has answered lately, to hand over to when this
 * node stops or its disk stalls. RAFT_NOBODY: none, or not the leader.
 */
uint64_t raft_successor(const struct raft *r);

/*
 * With lazy_commit: is there a peer that could commit more if it were told
 * what is committed here, and could be told now?
 */
bool raft_commit_is_untold(const struct raft *r);

/* Tell peer, or everybody (RAFT_NOBODY), unless it is known there. */
void raft_tell_commit(struct raft *r, uint64_t peer);

/* A link to peer broke: appends on the way are probably lost. */
void raft_unreachable(struct raft *r, uint64_t peer);

/* The snapshot that was being sent to peer is there, or has failed. */
void raft_snapshot_sent(struct raft *r, uint64_t peer, bool ok);

/*
 * Forget who leads, without a new term: pre-votes are then granted although a
 * leader was heard. ERR_INVALID: never with leases.
 */
MUST_CHECK enum err raft_forget_leader(struct raft *r);

/*
 * The bytes of entry `index` and perhaps later ones are lost on this node (a
 * damaged payload); 0: all are back. Meanwhile it does not campaign, does not
 * acknowledge or count index and above as persisted, and if it leads it hands
 * leadership over. It still votes: the log's terms are known.
 */
void raft_set_missing(struct raft *r, uint64_t index);

/* Replace the random part of the running election timeout (tests). */
void raft_set_election_timeout(struct raft *r, uint32_t ticks);

/* ------------------------------------------------------------ outputs ---- */

enum raft_role {
	RAFT_FOLLOWER,
	RAFT_PRE_CANDIDATE,
	RAFT_CANDIDATE,
	RAFT_LEADER,
};

struct raft_hard_state {
	uint64_t term, vote, commit;
};

/* A read asked with context may be served once index is applied here. */
struct raft_grant {
	uint64_t context, index;
};

struct raft_ready {
	bool soft_changed; /* role or leader; reads unanswered: ask again    */
	enum raft_role role;
	uint64_t leader; /* RAFT_NOBODY: unknown                             */

	bool hard_changed; /* persist hard. Of commit alone, lazily          */
	struct raft_hard_state hard;
	bool must_sync; /* false: no durability needed before after_msgs     */

	uint64_t persist_from, persist_to;    /* entries newly in the log; none
						 if from > to                   */
	const struct raft_snapshot *snapshot; /* install this one; or NULL   */
	bool has_point; /* call raft_persisted(&point) when all is durable   */
	struct raft_point point;

	uint64_t apply_from, apply_to; /* committed, to apply; none if from >
					  to                                 */
	const struct raft_msg *msgs; /* to send now                          */
	uint32_t msg_count;
	const struct raft_msg *after_msgs; /* to send when all is durable    */
	uint32_t after_count;
	const struct raft_grant *grants;
	uint32_t grant_count;
};

/* Is there anything in the next ready? */
bool raft_has_ready(const struct raft *r);

/*
 * Take what changed since the last call; raft counts it as handed out. An
 * APPEND in msgs is to be encoded before the next input that may change the
 * log. raft_take_own must have been emptied before.
 */
void raft_ready(struct raft *r, struct raft_ready *out);

/* ------------------------------------------------------------- status ---- */

enum raft_flow { RAFT_FLOW_PROBE, RAFT_FLOW_REPLICATE, RAFT_FLOW_SNAPSHOT };

struct raft_progress {
	uint64_t id;
	enum raft_flow flow;
	uint64_t match, next, pending_snapshot;
	bool learner, paused, active;
	uint32_t inflight;
	bool inflight_full;
};

struct raft_status {
	uint64_t id, term, vote, leader, transferee;
	enum raft_role role;
	uint64_t first_index, last_index, last_term;
	uint64_t commit, applying, applied;
	uint64_t unpersisted;	 /* first index not known to be durable      */
	uint64_t handed_out;	 /* first index not yet in any ready         */
	uint64_t pending_change; /* no new change until this is applied      */
	uint64_t missing;
	bool snapshot_pending;
	uint32_t election_elapsed, election_timeout;
	uint32_t member_count;
	uint32_t queued; /* messages that wait for the next ready            */
};

/* Fill s. */
void raft_status(const struct raft *r, struct raft_status *s);

/* The configuration in force; valid until the next non-const call. */
const struct raft_conf *raft_conf(const struct raft *r);

/* Progress of the i-th member by id, i < member_count. Of use on a leader. */
void raft_progress_at(const struct raft *r, uint32_t i,
		      struct raft_progress *p);

/* Progress of member id. False: not a member. */
bool raft_progress_of(const struct raft *r, uint64_t id,
		      struct raft_progress *p);

/* Term of the entry at index. ERR_COMPACTED; ERR_NOT_FOUND: past the end. */
MUST_CHECK enum err raft_term_at(const struct raft *r, uint64_t index,
				 uint64_t *term);

/*
 * Would a snapshot of index be of use here? Ask before downloading one; what
 * is no longer of use when it has arrived is ignored by raft_step anyway.
 */
bool raft_wants_snapshot(const struct raft *r, uint64_t index);

/* ------------------------------------------------------------- events ---- */

/* What each event's numbers mean: a, b, c, d. peer and msg where named. */
enum raft_event_kind {
	RAFT_EV_CONF,	      /* raft_conf() is new                           */
	RAFT_EV_ROLE,	      /* status says which; a: term                   */
	RAFT_EV_ELECTION,     /* a: term before                               */
	RAFT_EV_ASK_VOTE,     /* peer, msg; a: last term, b: last index       */
	RAFT_EV_HIGHER_TERM,  /* peer, msg; a: its term                       */
	RAFT_EV_LOWER_TERM,   /* peer, msg; a: its term                       */
	RAFT_EV_LATE_PERSIST, /* a: its term                                  */
	RAFT_EV_VOTE_CAST,    /* peer, msg; a: its last term, b: its last index
				 c: my vote before                            */
	RAFT_EV_VOTE_REFUSED, /* as VOTE_CAST                                 */
	RAFT_EV_VOTE_IN_LEASE, /* as VOTE_CAST; d: ticks left                 */
	RAFT_EV_VOTE_GOT,   /* peer, msg; a: 1 granted, 0 refused           */
	RAFT_EV_VOTE_TALLY, /* msg; a: granted, b: refused                  */
	RAFT_EV_NO_LEADER,  /* msg dropped: READ or TRANSFER                */
	RAFT_EV_FORGET_LEADER,	/* peer: it                                   */
	RAFT_EV_FORGET_REFUSED, /* leases                                     */
	RAFT_EV_TIMEOUT_NOW,	/* peer: from                                 */
	RAFT_EV_TIMEOUT_NOW_IGNORED, /* peer: from                            */
	RAFT_EV_TRANSFER_START,	     /* peer: to                              */
	RAFT_EV_TRANSFER_SAME,	     /* peer: in progress already             */
	RAFT_EV_TRANSFER_ABORT,	     /* peer: the earlier one                 */
	RAFT_EV_TRANSFER_SELF,	     /* leads already                         */
	RAFT_EV_TRANSFER_LEARNER,    /* peer: may not lead                    */
	RAFT_EV_TRANSFER_NOW,	     /* peer: it was up to date               */
	RAFT_EV_TRANSFER_CAUGHT_UP,  /* peer: it is now                       */
	RAFT_EV_CONFLICT,     /* a: index, b: my term there, c: the leader's */
	RAFT_EV_LOG_REPLACED, /* a: from index, nothing durable kept         */
	RAFT_EV_LOG_CUT,      /* a: from index, part of the not yet durable  */
	RAFT_EV_APPEND_REFUSED, /* peer; a: prev index, b: prev term, c: mine */
	RAFT_EV_REJECTED,      /* peer; a: index, b: hint, c: hint's term     */
	RAFT_EV_DECREASED,     /* peer: its progress went back                */
	RAFT_EV_SNAPSHOT_SEND, /* peer; a: index, b: term                     */
	RAFT_EV_SNAPSHOT_PAUSE,	   /* peer: no appends until it is there    */
	RAFT_EV_SNAPSHOT_INACTIVE, /* peer: not sent, it is silent */
	RAFT_EV_SNAPSHOT_BUSY, /* peer: none available                     */
	RAFT_EV_SNAPSHOT_RECOVERED, /* peer: appends go on */
	RAFT_EV_SNAPSHOT_SUCCEEDED, /* peer */
	RAFT_EV_SNAPSHOT_FAILED,  /* peer                                    */
	RAFT_EV_RESTORE,	  /* a: index, b: term: begins               */
	RAFT_EV_RESTORED,	  /* a, b                                    */
	RAFT_EV_SNAPSHOT_TAKEN,	  /* a, b: message answered                  */
	RAFT_EV_SNAPSHOT_IGNORED, /* a, b: message answered                  */
	RAFT_EV_FAST_FORWARD,	  /* a, b: log already had it                */
	RAFT_EV_UNREACHABLE,	  /* peer                                    */
	RAFT_EV_NO_PROGRESS,	  /* peer: not a member                      */
	RAFT_EV_UNPROMOTABLE,
	RAFT_EV_CHANGES_UNAPPLIED,
	RAFT_EV_ALREADY_LEADER,
	RAFT_EV_QUORUM_LOST,
	RAFT_EV_POINT_MISSING, /* a: index                                    */
	RAFT_EV_POINT_SNAPSHOT, /* a: index */
	RAFT_EV_POINT_MISMATCH, /* a: index, b: its term, c: mine */
	RAFT_EV_LEAVE_JOINT, /* being proposed                              */
	RAFT_EV_LEAVE_JOINT_NOT, /* not possible now */
	RAFT_EV_ALARM, /* peer, msg; a: index                         */
};

struct raft_event {
	enum raft_event_kind kind;
	enum raft_msg_type msg;
	uint64_t peer, a, b, c, d;
};

#endif
