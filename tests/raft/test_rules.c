/*
 * tests/raft/test_rules.c - one node, fed by hand: each rule by its name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "raft/raft.h"

enum { LOG_MAX = 256, OUT_MAX = 512 };

/* A node whose disk and state machine are quick, unless slow_disk. */
struct solo {
	struct raft *r;
	struct raft_config c;
	uint64_t term_of[LOG_MAX], last;
	bool slow_disk;
	struct raft_point point; /* the newest, of a slow disk */
	bool has_point;
	struct raft_msg out[OUT_MAX], waiting[OUT_MAX];
	uint32_t out_count, waiting_count;
	struct raft_grant grant[16];
	uint32_t grant_count;
	uint64_t applied;
	struct raft_accepted accepted;
	bool no_snapshot, no_bytes, has_change;
};

static enum err solo_term(void *ctx, uint64_t index, uint64_t *term)
{
	struct solo *s = ctx;

	if (index == 0 || index > s->last)
		return ERR_COMPACTED;
	*term = s->term_of[index];
	return OK;
}

static uint32_t solo_fit(void *ctx, uint64_t from, uint64_t to,
			 uint64_t bytes_max, uint64_t *bytes)
{
	const struct solo *s = ctx;
	uint64_t n = to - from + 1, fit = bytes_max / 10;

	if (s->no_bytes)
		return 0;
	if (fit < 1)
		fit = 1;
	*bytes = 10 * (n < fit ? n : fit);
	return (uint32_t)(n < fit ? n : fit);
}

static bool solo_has_change(void *ctx, uint64_t from, uint64_t to)
{
	struct solo *s = ctx;

	return s->has_change;
}

static enum err solo_snapshot(void *ctx, struct raft_snapshot *out)
{
	struct solo *s = ctx;

	if (s->no_snapshot)
		return ERR_BUSY;
	out->index = s->applied;
	out->term = s->term_of[s->applied];
	out->conf = *raft_conf(s->r);
	return OK;
}

/* A voter 1 of 1..voters with entries of these terms, all but committed. */
static void solo_init(struct solo *s, uint32_t voters, const uint64_t *terms,
		      uint64_t count, uint64_t commit)
{
	uint64_t i;

	memset(s, 0, sizeof(*s));
	raft_config_default(&s->c);
	s->c.id = 1;
	s->c.seed = 1;
	s->c.restart_guard = false;
	s->c.prevote = false;
	for (i = 1; i <= voters; i++)
		assert_int_equal(raft_conf_add(&s->c.conf, i, RAFT_VOTER), OK);
	for (i = 1; i <= count; i++)
		s->term_of[i] = terms[i - 1];
	s->last = count;
	s->c.last_index = count;
	s->c.last_term = count ? terms[count - 1] : 0;
	s->c.term = s->c.last_term;
	s->c.commit = commit;
	s->c.applied = commit;
	s->applied = commit;
	s->c.view = (struct raft_log_view){ s, solo_term, solo_fit,
					    solo_has_change, solo_snapshot };
}

static void solo_start(struct solo *s)
{
	assert_int_equal(raft_new(&s->c, &s->r), OK);
}

static void solo_done(struct solo *s)
{
	raft_free(s->r);
}

static void solo_own(struct solo *s)
{
	struct raft_own own;

	while (raft_take_own(s->r, &own)) {
		s->term_of[own.index] = own.term;
		s->last = own.index;
	}
}

static enum err solo_step(struct solo *s, struct raft_msg m);

static void solo_disk(struct solo *s)
{
	struct raft_msg mine[OUT_MAX];
	uint32_t i, n = 0;

	for (i = 0; i < s->waiting_count; i++) {
		if (s->waiting[i].to == 1)
			mine[n++] = s->waiting[i];
		else
			s->out[s->out_count++] = s->waiting[i];
	}
	s->waiting_count = 0;
	for (i = 0; i < n; i++)
		assert_int_equal(solo_step(s, mine[i]), OK);
	if (s->has_point)
		raft_persisted(s->r, &s->point);
	s->has_point = false;
}

/* Do what readies ask for. */
static void solo_run(struct solo *s)
{
	struct raft_ready rd;
	uint32_t i;

	solo_own(s);
	while (raft_has_ready(s->r)) {
		raft_ready(s->r, &rd);
		for (i = 0; i < rd.msg_count; i++)
			s->out[s->out_count++] = rd.msgs[i];
		for (i = 0; i < rd.after_count; i++)
			s->waiting[s->waiting_count++] = rd.after_msgs[i];
		for (i = 0; i < rd.grant_count; i++)
			s->grant[s->grant_count++] = rd.grants[i];
		if (rd.has_point) {
			s->point = rd.point;
			s->has_point = true;
		}
		if (rd.apply_from <= rd.apply_to) {
			s->applied = rd.apply_to;
			raft_applied(s->r, rd.apply_to);
			solo_own(s);
		}
		if (!s->slow_disk)
			solo_disk(s);
	}
}

static enum err solo_step(struct solo *s, struct raft_msg m)
{
	enum err err;
	uint32_t i;

	m.to = 1;
	err = raft_step(s->r, &m, &s->accepted);
	for (i = 0; i < s->accepted.count; i++) {
		s->last = s->accepted.from + i;
		s->term_of[s->last] =
			m.entry_terms[m.entry_count - s->accepted.count + i];
	}
	solo_run(s);
	return err;
}

static struct raft_status status(struct solo *s)
{
	struct raft_status st;

	raft_status(s->r, &st);
	return st;
}

/* The newest message of that type to that peer; NULL: none. */
static struct raft_msg *sent(struct solo *s, enum raft_msg_type type,
			     uint64_t to)
{
	uint32_t i;

	for (i = s->out_count; i-- > 0;) {
		if (s->out[i].type == type && s->out[i].to == to)
			return &s->out[i];
	}
	return NULL;
}

static enum err vote(struct solo *s, uint64_t from, uint64_t term)
{
	return solo_step(s, (struct raft_msg){ .type = RAFT_MSG_VOTE_REPLY,
					       .from = from,
					       .term = term });
}

static enum err ask_vote(struct solo *s, uint64_t from, uint64_t term,
			 uint64_t last_term, uint64_t last)
{
	return solo_step(s, (struct raft_msg){ .type = RAFT_MSG_VOTE,
					       .from = from,
					       .term = term,
					       .log_term = last_term,
					       .index = last });
}

static enum err ack(struct solo *s, uint64_t from, uint64_t term,
		    uint64_t index)
{
	return solo_step(s, (struct raft_msg){ .type = RAFT_MSG_APPEND_REPLY,
					       .from = from,
					       .term = term,
					       .index = index });
}

static enum err append(struct solo *s, uint64_t term, uint64_t prev_term,
		       uint64_t prev, const uint64_t *terms, uint32_t n,
		       uint64_t commit)
{
	return solo_step(s, (struct raft_msg){ .type = RAFT_MSG_APPEND,
					       .from = 2,
					       .term = term,
					       .log_term = prev_term,
					       .index = prev,
					       .entry_terms = terms,
					       .entry_count = n,
					       .commit = commit });
}

static enum err snapshot_msg(struct solo *s, uint64_t index, uint64_t term,
			     uint64_t leader_term)
{
	struct raft_snapshot snap = { .index = index, .term = term };
	uint64_t i;

	for (i = 2; i <= 4; i++)
		assert_int_equal(raft_conf_add(&snap.conf, i, RAFT_VOTER), OK);
	assert_int_equal(raft_conf_add(&snap.conf, 1, RAFT_LEARNER), OK);
	return solo_step(s, (struct raft_msg){ .type = RAFT_MSG_SNAPSHOT,
					       .from = 2,
					       .term = leader_term,
					       .snapshot = &snap });
}

static void elect(struct solo *s)
{
	uint32_t need = s->c.conf.count / 2, i;

	assert_int_equal(raft_campaign(s->r), OK);
	solo_run(s);
	for (i = 0; i < need; i++)
		assert_int_equal(vote(s, 2 + i, status(s).term), OK);
	assert_int_equal(status(s).role, RAFT_LEADER);
}

static void propose(struct solo *s)
{
	uint64_t index, term;

	assert_int_equal(raft_proposable(s->r, 10, &index, &term), OK);
	s->term_of[index] = term;
	s->last = index;
	raft_propose(s->r, 1, 10);
	solo_run(s);
}

/* docs/testing.md, fault 1 */
static void old_term_is_never_committed_by_counting(void **state)
{
	const uint64_t terms[] = { 1, 1, 2 };
	struct solo s;

	solo_init(&s, 5, terms, 3, 1);
	solo_start(&s);
	elect(&s); /* no-op 4 of term 3 */
	assert_int_equal(ack(&s, 2, 3, 3), OK);
	assert_int_equal(ack(&s, 3, 3, 3), OK);
	assert_int_equal(ack(&s, 4, 3, 3), OK);
	assert_int_equal(status(&s).commit, 1);
	assert_int_equal(ack(&s, 2, 3, 4), OK);
	assert_int_equal(ack(&s, 3, 3, 4), OK);
	assert_int_equal(status(&s).commit, 4);
	solo_done(&s);
}

/* docs/testing.md, fault 2 */
static void no_read_is_granted_before_the_no_op_commits(void **state)
{
	const uint64_t terms[] = { 1, 1 };
	struct raft_msg beat = { .type = RAFT_MSG_HEARTBEAT_REPLY,
				 .from = 2,
				 .term = 2 };
	struct solo s;

	solo_init(&s, 3, terms, 2, 1);
	solo_start(&s);
	elect(&s);
	assert_int_equal(raft_read(s.r, 77), OK);
	solo_run(&s);
	assert_int_equal(solo_step(&s, beat), OK);
	assert_int_equal(s.grant_count, 0);
	assert_int_equal(ack(&s, 2, 2, 3), OK);
	assert_int_equal(s.grant_count, 0); /* one round still */
	beat.context = sent(&s, RAFT_MSG_HEARTBEAT, 2)->context;
	assert_true(beat.context > 0);
	assert_int_equal(solo_step(&s, beat), OK);
	assert_int_equal(s.grant_count, 1);
	assert_int_equal(s.grant[0].context, 77);
	assert_int_equal(s.grant[0].index, 3);
	solo_done(&s);
}

/* What was sent before the question says nothing about who leads since. */
static void an_answer_to_an_older_heartbeat_confirms_no_read(void **state)
{
	struct raft_msg beat = { .type = RAFT_MSG_HEARTBEAT_REPLY,
				 .from = 2,
				 .term = 1 };
	uint64_t first;
	struct solo s;

	solo_init(&s, 3, NULL, 0, 0);
	solo_start(&s);
	elect(&s);
	assert_int_equal(ack(&s, 2, 1, 1), OK);
	assert_int_equal(raft_read(s.r, 1), OK);
	solo_run(&s);
	first = sent(&s, RAFT_MSG_HEARTBEAT, 2)->context;
	assert_int_equal(raft_read(s.r, 2), OK);
	solo_run(&s);
	assert_int_equal(solo_step(&s, beat), OK); /* of no round at all */
	assert_int_equal(s.grant_count, 0);
	beat.context = first;
	assert_int_equal(solo_step(&s, beat), OK);
	assert_int_equal(s.grant_count, 1);
	assert_int_equal(s.grant[0].context, 1);
	beat.context = sent(&s, RAFT_MSG_HEARTBEAT, 2)->context;
	assert_int_not_equal(beat.context, first);
	assert_int_equal(solo_step(&s, beat), OK);
	assert_int_equal(s.grant_count, 2);
	solo_done(&s);
}

/* Only entries, a granted read, or the driver make the leader tell it. */
static void
a_lazy_commit_is_told_when_asked_for_and_to_granted_reads(void **state)
{
	struct raft_msg beat = { .type = RAFT_MSG_HEARTBEAT_REPLY,
				 .from = 2,
				 .term = 1 };
	struct solo s;

	solo_init(&s, 3, NULL, 0, 0);
	s.c.lazy_commit = true;
	solo_start(&s);
	elect(&s);
	s.out_count = 0;
	assert_false(raft_commit_is_untold(s.r));
	assert_int_equal(ack(&s, 2, 1, 1), OK);
	assert_int_equal(status(&s).commit, 1);
	assert_int_equal(ack(&s, 3, 1, 1), OK);
	assert_null(sent(&s, RAFT_MSG_APPEND, 2));
	assert_null(sent(&s, RAFT_MSG_APPEND, 3));
	assert_true(raft_commit_is_untold(s.r));
	raft_tell_commit(s.r, 2);
	solo_run(&s);
	assert_int_equal(sent(&s, RAFT_MSG_APPEND, 2)->commit, 1);
	assert_null(sent(&s, RAFT_MSG_APPEND, 3));
	propose(&s);
	assert_int_equal(sent(&s, RAFT_MSG_APPEND, 3)->commit, 1);
	assert_false(raft_commit_is_untold(s.r));

	/* 3 has entry 2 on the way and asks for a read: it is told of 2 */
	assert_int_equal(ack(&s, 2, 1, 2), OK);
	assert_int_equal(status(&s).commit, 2);
	s.out_count = 0;
	assert_int_equal(solo_step(&s, (struct raft_msg){ .type = RAFT_MSG_READ,
							  .from = 3,
							  .term = 1,
							  .context = 9 }),
			 OK);
	beat.context = sent(&s, RAFT_MSG_HEARTBEAT, 2)->context;
	assert_int_equal(solo_step(&s, beat), OK);
	assert_int_equal(sent(&s, RAFT_MSG_READ_REPLY, 3)->index, 2);
	assert_int_equal(sent(&s, RAFT_MSG_APPEND, 3)->commit, 2);
	solo_done(&s);
}

static enum err ask_read(struct solo *s, uint64_t from, uint64_t term,
			 uint64_t context)
{
	s->out_count = 0;
	return solo_step(s, (struct raft_msg){ .type = RAFT_MSG_READ,
					       .from = from,
					       .term = term,
					       .context = context });
}

/* Of three the asker and the leader are a quorum, in the leader's term. */
static void a_question_of_the_leaders_term_is_its_own_round(void **state)
{
	struct raft_conf learns = { 0 };
	struct solo s;

	solo_init(&s, 3, NULL, 0, 0);
	s.c.asker_confirms = true;
	solo_start(&s);
	elect(&s);
	/* before the no-op is committed nothing is known */
	assert_int_equal(ask_read(&s, 3, 1, 7), OK);
	assert_null(sent(&s, RAFT_MSG_READ_REPLY, 3));
	assert_int_equal(ack(&s, 2, 1, 1), OK);
	assert_int_equal(ask_read(&s, 3, 1, 8), OK);
	assert_int_equal(sent(&s, RAFT_MSG_READ_REPLY, 3)->index, 1);
	assert_int_equal(sent(&s, RAFT_MSG_READ_REPLY, 3)->context, 8);
	/* one that does not say its term, or another's */
	assert_int_equal(ask_read(&s, 3, 0, 9), OK);
	assert_null(sent(&s, RAFT_MSG_READ_REPLY, 3));
	assert_non_null(sent(&s, RAFT_MSG_HEARTBEAT, 2));
	assert_int_equal(ask_read(&s, 3, 2, 10), OK);
	assert_null(sent(&s, RAFT_MSG_READ_REPLY, 3));
	solo_done(&s);

	solo_init(&s, 5, NULL, 0, 0);
	s.c.asker_confirms = true;
	solo_start(&s);
	elect(&s);
	assert_int_equal(ack(&s, 2, 1, 1), OK);
	assert_int_equal(ack(&s, 3, 1, 1), OK);
	assert_int_equal(ask_read(&s, 3, 1, 8), OK);
	assert_null(sent(&s, RAFT_MSG_READ_REPLY, 3));
	assert_non_null(sent(&s, RAFT_MSG_HEARTBEAT, 2));
	solo_done(&s);

	assert_int_equal(raft_conf_add(&learns, 1, RAFT_VOTER), OK);
	assert_int_equal(raft_conf_add(&learns, 2, RAFT_VOTER), OK);
	assert_int_equal(raft_conf_add(&learns, 3, RAFT_LEARNER), OK);
	solo_init(&s, 3, NULL, 0, 0);
	s.c.conf = learns;
	s.c.asker_confirms = true;
	solo_start(&s);
	elect(&s);
	assert_int_equal(ack(&s, 2, 1, 1), OK);
	assert_int_equal(ask_read(&s, 3, 1, 8), OK);
	assert_null(sent(&s, RAFT_MSG_READ_REPLY, 3));
	assert_int_equal(ask_read(&s, 2, 1, 9), OK);
	assert_int_equal(sent(&s, RAFT_MSG_READ_REPLY, 2)->context, 9);
	solo_done(&s);
}

/* docs/testing.md, fault 4 */
static void second_change_is_refused_while_one_is_pending(void **state)
{
	struct raft_change add = { .count = 1 };
	struct solo s;

	add.item[0].op = RAFT_ADD_LEARNER;
	add.item[0].id = 9;
	solo_init(&s, 3, NULL, 0, 0);
	solo_start(&s);
	elect(&s);
	assert_int_equal(raft_change_refusal(s.r, &add), RAFT_CHANGE_OK);
	s.term_of[2] = 1;
	s.last = 2;
	raft_propose_change(s.r, &add, 10);
	solo_run(&s);
	assert_int_equal(raft_change_refusal(s.r, &add), RAFT_CHANGE_PENDING);
	assert_int_equal(ack(&s, 2, 1, 2), OK);
	assert_int_equal(raft_apply_conf(s.r, &add), OK);
	assert_int_equal(raft_change_refusal(s.r, &add), RAFT_CHANGE_OK);
	solo_done(&s);
}

/* docs/testing.md, fault 3: all that was inherited is applied first */
static void new_leader_changes_nothing_before_its_log_is_applied(void **state)
{
	const uint64_t terms[] = { 1, 1, 1 };
	struct raft_change drop = { .count = 1 };
	struct solo s;

	drop.item[0].op = RAFT_REMOVE;
	drop.item[0].id = 3;
	solo_init(&s, 4, terms, 3, 1);
	solo_start(&s);
	elect(&s);
	assert_int_equal(raft_change_refusal(s.r, &drop), RAFT_CHANGE_PENDING);
	assert_int_equal(ack(&s, 2, 2, 4), OK);
	assert_int_equal(ack(&s, 3, 2, 4), OK);
	assert_int_equal(raft_change_refusal(s.r, &drop), RAFT_CHANGE_OK);
	solo_done(&s);
}

/* docs/testing.md, fault 4 */
static void leader_that_removes_itself_commits_then_steps_down(void **state)
{
	struct raft_change drop = { .count = 1 };
	struct solo s;

	drop.item[0].op = RAFT_REMOVE;
	drop.item[0].id = 1;
	solo_init(&s, 3, NULL, 0, 0);
	solo_start(&s);
	elect(&s);
	s.term_of[2] = 1;
	s.last = 2;
	raft_propose_change(s.r, &drop, 10);
	solo_run(&s);
	assert_int_equal(status(&s).role, RAFT_LEADER);
	assert_int_equal(ack(&s, 2, 1, 2), OK);
	assert_int_equal(status(&s).commit, 2);
	assert_int_equal(raft_apply_conf(s.r, &drop), OK);
	assert_int_equal(status(&s).role, RAFT_FOLLOWER);
	assert_int_equal(raft_campaign(s.r), OK);
	assert_int_equal(status(&s).role, RAFT_FOLLOWER);
	solo_done(&s);
}

/* docs/testing.md, fault 5 */
static void who_hears_a_leader_refuses_others(void **state)
{
	const uint64_t terms[] = { 1 };
	struct solo s;

	solo_init(&s, 3, terms, 1, 1);
	solo_start(&s);
	assert_int_equal(append(&s, 1, 1, 1, NULL, 0, 1), OK);
	assert_int_equal(ask_vote(&s, 3, 9, 9, 9), OK);
	assert_int_equal(status(&s).term, 1);
	assert_null(sent(&s, RAFT_MSG_VOTE_REPLY, 3));
	solo_done(&s);
}

/* docs/testing.md, fault 6 */
static void
leader_without_quorum_steps_down_in_an_election_timeout(void **state)
{
	struct solo s;
	uint32_t i;

	solo_init(&s, 3, NULL, 0, 0);
	solo_start(&s);
	elect(&s);
	propose(&s);
	for (i = 0; i < 2 * s.c.election_ticks; i++) {
		assert_int_equal(raft_tick(s.r), OK);
		solo_run(&s);
	}
	assert_int_equal(status(&s).role, RAFT_FOLLOWER);
	assert_int_equal(status(&s).commit, 0);
	solo_done(&s);
}

/* docs/testing.md, fault 7 */
static void empty_append_never_commits_a_divergent_tail(void **state)
{
	const uint64_t terms[] = { 1, 1, 1, 1 };
	struct solo s;

	solo_init(&s, 3, terms, 4, 1);
	solo_start(&s);
	assert_int_equal(append(&s, 2, 1, 2, NULL, 0, 4), OK);
	assert_int_equal(status(&s).commit, 2);
	solo_done(&s);
}

/* docs/testing.md, fault 8 */
static void vote_is_given_once_and_again_to_the_same(void **state)
{
	const uint64_t terms[] = { 1 };
	struct solo s;

	solo_init(&s, 3, terms, 1, 1);
	solo_start(&s);
	assert_int_equal(ask_vote(&s, 2, 5, 1, 1), OK);
	assert_false(sent(&s, RAFT_MSG_VOTE_REPLY, 2)->reject);
	assert_int_equal(ask_vote(&s, 3, 5, 1, 1), OK);
	assert_true(sent(&s, RAFT_MSG_VOTE_REPLY, 3)->reject);
	s.out_count = 0;
	assert_int_equal(ask_vote(&s, 2, 5, 1, 1), OK);
	assert_false(sent(&s, RAFT_MSG_VOTE_REPLY, 2)->reject);
	solo_done(&s);
	/* after a restart too */
	s.c.term = 5;
	s.c.vote = 2;
	solo_start(&s);
	s.out_count = 0;
	assert_int_equal(ask_vote(&s, 3, 5, 1, 1), OK);
	assert_true(sent(&s, RAFT_MSG_VOTE_REPLY, 3)->reject);
	assert_int_equal(ask_vote(&s, 2, 5, 1, 1), OK);
	assert_false(sent(&s, RAFT_MSG_VOTE_REPLY, 2)->reject);
	solo_done(&s);
}

/* docs/testing.md, fault 8 */
static void votes_and_acks_wait_for_the_disk(void **state)
{
	const uint64_t terms[] = { 1 }, more[] = { 5, 5 };
	struct solo s;

	solo_init(&s, 3, terms, 1, 1);
	s.slow_disk = true;
	solo_start(&s);
	assert_int_equal(ask_vote(&s, 2, 5, 1, 1), OK);
	assert_null(sent(&s, RAFT_MSG_VOTE_REPLY, 2));
	solo_disk(&s);
	assert_non_null(sent(&s, RAFT_MSG_VOTE_REPLY, 2));
	assert_int_equal(append(&s, 5, 1, 1, more, 2, 1), OK);
	assert_null(sent(&s, RAFT_MSG_APPEND_REPLY, 2));
	assert_true(s.has_point);
	solo_disk(&s);
	assert_int_equal(sent(&s, RAFT_MSG_APPEND_REPLY, 2)->index, 3);
	solo_done(&s);
}

/* thesis 10.2.1 */
static void leader_sends_before_its_own_disk_is_done(void **state)
{
	struct solo s;

	solo_init(&s, 3, NULL, 0, 0);
	solo_start(&s);
	elect(&s);
	s.slow_disk = true;
	propose(&s);
	assert_int_equal(ack(&s, 2, 1, 1), OK);
	assert_int_equal(sent(&s, RAFT_MSG_APPEND, 2)->entry_count, 1);
	assert_int_equal(ack(&s, 2, 1, 2), OK);
	assert_int_equal(status(&s).commit, 1); /* itself does not count yet */
	assert_int_equal(ack(&s, 3, 1, 2), OK);
	assert_int_equal(status(&s).commit, 2); /* nor need it */
	solo_done(&s);
}

/* docs/testing.md, fault 9 */
static void late_disk_answer_after_truncation_does_not_count(void **state)
{
	const uint64_t terms[] = { 1 }, two[] = { 2 }, three[] = { 3 };
	struct raft_point old;
	struct solo s;

	solo_init(&s, 3, terms, 1, 1);
	s.slow_disk = true;
	solo_start(&s);
	assert_int_equal(append(&s, 2, 1, 1, two, 1, 1), OK);
	old = s.point;
	assert_int_equal(old.index, 2);
	assert_int_equal(append(&s, 3, 1, 1, three, 1, 1), OK);
	raft_persisted(s.r, &old);
	assert_int_equal(status(&s).unpersisted, 2);
	/* the same entry again: the write of term 3 may still be under way */
	assert_int_equal(append(&s, 4, 1, 1, two, 1, 1), OK);
	raft_persisted(s.r, &old);
	assert_int_equal(status(&s).unpersisted, 2);
	raft_persisted(s.r, &s.point);
	assert_int_equal(status(&s).unpersisted, 3);
	solo_done(&s);
}

/* The point was taken in this term, before its leader replaced the entry. */
static void disk_answer_for_a_replaced_entry_does_not_count(void **state)
{
	const uint64_t terms[] = { 1 }, one[] = { 1 }, two[] = { 2 };
	struct raft_point old;
	struct solo s;

	solo_init(&s, 3, terms, 1, 1);
	s.slow_disk = true;
	s.c.check_quorum = false;
	solo_start(&s);
	assert_int_equal(append(&s, 1, 1, 1, one, 1, 1), OK);
	assert_int_equal(ask_vote(&s, 3, 2, 0, 0), OK); /* term 2 begins */
	old = s.point;
	assert_int_equal(old.term, 2);
	assert_int_equal(old.index, 2);
	assert_int_equal(append(&s, 2, 1, 1, two, 1, 1), OK);
	raft_persisted(s.r, &old);
	assert_int_equal(status(&s).unpersisted, 2);
	solo_done(&s);
}

/* docs/testing.md, fault 3: nobody stands by a configuration that is out of date */
static void node_with_an_unapplied_change_does_not_stand(void **state)
{
	const uint64_t terms[] = { 1, 1 };
	struct solo s;

	solo_init(&s, 3, terms, 2, 2);
	s.c.applied = 1;
	s.has_change = true;
	solo_start(&s);
	assert_int_equal(raft_campaign(s.r), OK);
	assert_int_equal(status(&s).role, RAFT_FOLLOWER);
	raft_applied(s.r, 1);
	s.has_change = false;
	assert_int_equal(raft_campaign(s.r), OK);
	assert_int_equal(status(&s).role, RAFT_CANDIDATE);
	solo_done(&s);
}

/* thesis 4.3: voters 1 2 3 come, voters 1 4 5 go */
static void joint_configuration_needs_both_majorities(void **state)
{
	struct solo s;
	uint64_t half;

	for (half = 0; half < 2; half++) {
		uint64_t a = half ? 4 : 2, b = half ? 2 : 4;

		solo_init(&s, 3, NULL, 0, 0);
		s.c.conf.role[0] |= RAFT_VOTER_OUT;
		assert_int_equal(raft_conf_add(&s.c.conf, 4, RAFT_VOTER_OUT),
				 OK);
		assert_int_equal(raft_conf_add(&s.c.conf, 5, RAFT_VOTER_OUT),
				 OK);
		solo_start(&s);
		assert_int_equal(raft_campaign(s.r), OK);
		solo_run(&s);
		assert_int_equal(vote(&s, a, 1), OK);
		assert_int_equal(vote(&s, a + 1, 1), OK);
		assert_int_equal(status(&s).role, RAFT_CANDIDATE);
		assert_int_equal(vote(&s, b, 1), OK);
		assert_int_equal(status(&s).role, RAFT_LEADER);
		assert_int_equal(ack(&s, a, 1, 1), OK);
		assert_int_equal(ack(&s, a + 1, 1, 1), OK);
		assert_int_equal(status(&s).commit, 0);
		assert_int_equal(ack(&s, b + 1, 1, 1), OK);
		assert_int_equal(status(&s).commit, 1);
		solo_done(&s);
	}
}

/* docs/testing.md, fault 8 */
static void candidate_without_its_own_durable_vote_does_not_lead(void **state)
{
	struct solo s;

	solo_init(&s, 3, NULL, 0, 0);
	s.slow_disk = true;
	solo_start(&s);
	assert_int_equal(raft_campaign(s.r), OK);
	solo_run(&s);
	assert_int_equal(vote(&s, 2, 1), OK);
	assert_int_equal(vote(&s, 3, 1), OK);
	assert_int_equal(status(&s).role, RAFT_CANDIDATE);
	solo_disk(&s);
	assert_int_equal(status(&s).role, RAFT_LEADER);
	solo_done(&s);
}

/* A new node must not make up a configuration from the log alone. */
static void node_without_configuration_takes_a_snapshot_only(void **state)
{
	const uint64_t one[] = { 1 };
	struct solo s;

	solo_init(&s, 0, NULL, 0, 0);
	solo_start(&s);
	assert_int_equal(append(&s, 1, 0, 0, one, 1, 1), OK);
	assert_int_equal(s.accepted.count, 0);
	assert_true(sent(&s, RAFT_MSG_APPEND_REPLY, 2)->reject);
	assert_int_equal(snapshot_msg(&s, 3, 1, 1), OK);
	assert_true(s.accepted.snapshot);
	solo_done(&s);
}

static void refusal_at_the_start_of_the_log_asks_for_a_snapshot(void **state)
{
	struct raft_msg no = { .type = RAFT_MSG_APPEND_REPLY,
			       .from = 2,
			       .term = 1,
			       .reject = true };
	struct solo s;

	solo_init(&s, 3, NULL, 0, 0);
	solo_start(&s);
	elect(&s);
	assert_int_equal(ack(&s, 3, 1, 1), OK);
	s.out_count = 0;
	assert_int_equal(solo_step(&s, no), OK);
	assert_non_null(sent(&s, RAFT_MSG_SNAPSHOT, 2));
	assert_null(sent(&s, RAFT_MSG_APPEND, 2));
	solo_done(&s);
}

/* docs/testing.md, fault 10 */
static void repeated_and_old_appends_change_nothing(void **state)
{
	const uint64_t terms[] = { 1 }, more[] = { 1, 1, 1 };
	struct solo s;

	solo_init(&s, 3, terms, 1, 1);
	solo_start(&s);
	assert_int_equal(append(&s, 1, 1, 1, more, 3, 1), OK);
	assert_int_equal(s.accepted.count, 3);
	assert_int_equal(append(&s, 1, 1, 1, more, 1, 1), OK); /* reordered */
	assert_int_equal(s.accepted.count, 0);
	assert_int_equal(status(&s).last_index, 4); /* nothing was cut */
	assert_int_equal(append(&s, 1, 1, 1, more, 3, 4), OK);
	assert_int_equal(status(&s).commit, 4);
	assert_int_equal(append(&s, 1, 1, 1, more, 3, 1), OK);
	assert_int_equal(status(&s).commit, 4);
	solo_done(&s);
}

/* docs/testing.md, fault 11 */
static void conflict_with_a_committed_entry_is_an_alarm(void **state)
{
	const uint64_t terms[] = { 1, 1, 1 }, other[] = { 2, 2 };
	struct solo s;

	solo_init(&s, 3, terms, 3, 2);
	solo_start(&s);
	/* by an entry of the append, by the one before, right at the commit */
	assert_int_equal(append(&s, 2, 1, 1, other, 2, 3), ERR_CORRUPT);
	assert_int_equal(append(&s, 3, 2, 1, NULL, 0, 3), ERR_CORRUPT);
	assert_int_equal(append(&s, 3, 2, 2, NULL, 0, 3), ERR_CORRUPT);
	assert_int_equal(s.accepted.count, 0);
	assert_int_equal(status(&s).last_index, 3);
	assert_int_equal(status(&s).commit, 2);
	assert_null(sent(&s, RAFT_MSG_APPEND_REPLY, 2));
	/* entry 3 is not committed and may go */
	assert_int_equal(append(&s, 3, 1, 2, other, 1, 3), OK);
	assert_int_equal(s.accepted.from, 3);
	solo_done(&s);
}

/* docs/testing.md, fault 11 */
static void commit_past_what_is_held_is_an_alarm(void **state)
{
	const uint64_t terms[] = { 1 };
	struct raft_msg beat = {
		.type = RAFT_MSG_HEARTBEAT, .from = 2, .term = 1, .commit = 5
	};
	struct solo s;

	solo_init(&s, 3, terms, 1, 1);
	solo_start(&s);
	assert_int_equal(solo_step(&s, beat), ERR_CORRUPT);
	assert_int_equal(status(&s).commit, 1);
	assert_null(sent(&s, RAFT_MSG_HEARTBEAT_REPLY, 2));
	solo_done(&s);
}

static void second_leader_of_one_term_is_an_alarm(void **state)
{
	struct solo s;

	solo_init(&s, 3, NULL, 0, 0);
	solo_start(&s);
	elect(&s);
	assert_int_equal(append(&s, 1, 0, 0, NULL, 0, 0), ERR_CORRUPT);
	assert_int_equal(status(&s).role, RAFT_LEADER);
	assert_int_equal(ack(&s, 2, 1, 99), ERR_CORRUPT);
	solo_done(&s);
}

/* docs/testing.md, fault 12 */
static void stale_snapshot_never_truncates(void **state)
{
	const uint64_t terms[] = { 1, 1, 1, 1 };
	struct solo s;

	solo_init(&s, 3, terms, 4, 2);
	solo_start(&s);
	assert_false(raft_wants_snapshot(s.r, 2));
	assert_int_equal(snapshot_msg(&s, 2, 1, 1), OK);
	assert_false(s.accepted.snapshot);
	assert_int_equal(status(&s).last_index, 4);
	/* one that the log holds already only moves the commit index */
	assert_int_equal(snapshot_msg(&s, 3, 1, 1), OK);
	assert_false(s.accepted.snapshot);
	assert_int_equal(status(&s).commit, 3);
	assert_int_equal(status(&s).last_index, 4);
	assert_int_equal(raft_conf(s.r)->count, 3);
	solo_done(&s);
}

/* docs/testing.md, fault 12 */
static void snapshot_replaces_log_and_membership(void **state)
{
	const uint64_t terms[] = { 1, 1, 1, 1 };
	struct solo s;

	solo_init(&s, 3, terms, 4, 2);
	s.slow_disk = true;
	solo_start(&s);
	assert_int_equal(snapshot_msg(&s, 3, 2, 2), OK);
	assert_true(s.accepted.snapshot);
	assert_int_equal(raft_conf_role(raft_conf(s.r), 1), RAFT_LEARNER);
	assert_int_equal(raft_conf_role(raft_conf(s.r), 4), RAFT_VOTER);
	assert_int_equal(status(&s).last_index, 3);
	assert_null(sent(&s, RAFT_MSG_APPEND_REPLY, 2));
	/* not applied, not electable, before it is installed */
	assert_true(status(&s).snapshot_pending);
	assert_int_equal(status(&s).applied, 2);
	solo_disk(&s);
	assert_int_equal(status(&s).applied, 3);
	assert_int_equal(sent(&s, RAFT_MSG_APPEND_REPLY, 2)->index, 3);
	solo_done(&s);
}

/* Paper 5.3: what lies behind it may be another leader's. */
static void an_append_proves_no_more_than_it_says(void **state)
{
	const uint64_t terms[] = { 1, 1, 1, 1 };
	struct solo s;

	solo_init(&s, 3, terms, 4, 1);
	solo_start(&s);
	assert_int_equal(append(&s, 2, 1, 2, NULL, 0, 2), OK);
	assert_int_equal(sent(&s, RAFT_MSG_APPEND_REPLY, 2)->index, 2);
	assert_int_equal(append(&s, 2, 1, 2, &terms[2], 1, 2), OK);
	assert_int_equal(sent(&s, RAFT_MSG_APPEND_REPLY, 2)->index, 3);
	assert_int_equal(status(&s).last_index, 4);
	solo_done(&s);
}

/* docs/testing.md, fault 13 */
static void follower_behind_the_log_gets_a_snapshot(void **state)
{
	const uint64_t terms[] = { 1, 1, 1 };
	struct raft_msg no = { .type = RAFT_MSG_APPEND_REPLY,
			       .from = 2,
			       .term = 2,
			       .reject = true,
			       .index = 3 };
	struct raft_progress p;
	struct solo s;

	solo_init(&s, 3, terms, 3, 3);
	solo_start(&s);
	elect(&s);
	raft_compacted(s.r, 4);
	s.no_snapshot = true;
	assert_int_equal(solo_step(&s, no), OK);
	assert_null(sent(&s, RAFT_MSG_SNAPSHOT, 2));
	s.no_snapshot = false;
	assert_int_equal(
		solo_step(&s,
			  (struct raft_msg){ .type = RAFT_MSG_HEARTBEAT_REPLY,
					     .from = 2,
					     .term = 2 }),
		OK);
	assert_non_null(sent(&s, RAFT_MSG_SNAPSHOT, 2));
	assert_true(raft_progress_of(s.r, 2, &p));
	assert_int_equal(p.flow, RAFT_FLOW_SNAPSHOT);
	assert_int_equal(ack(&s, 2, 2, 3), OK);
	assert_true(raft_progress_of(s.r, 2, &p));
	assert_int_equal(p.flow, RAFT_FLOW_REPLICATE);
	solo_done(&s);
}

/* docs/testing.md, fault 15 */
/* What a ready hands out says what it is, or is not there. */
static void queued_snapshot_ends_with_the_office(void **state)
{
	const uint64_t terms[] = { 1, 1, 1 };
	struct raft_msg no = { .type = RAFT_MSG_APPEND_REPLY,
			       .from = 2,
			       .to = 1,
			       .term = 2,
			       .reject = true,
			       .index = 3 };
	struct raft_msg newer = { .type = RAFT_MSG_VOTE,
				  .from = 3,
				  .to = 1,
				  .term = 3,
				  .force = true,
				  .log_term = 2,
				  .index = 4 };
	struct raft_progress p;
	struct solo s;

	solo_init(&s, 3, terms, 3, 3);
	solo_start(&s);
	elect(&s);
	raft_compacted(s.r, 4);
	assert_int_equal(raft_step(s.r, &no, &s.accepted), OK);
	assert_true(raft_progress_of(s.r, 2, &p));
	assert_int_equal(p.flow, RAFT_FLOW_SNAPSHOT);
	assert_int_equal(raft_step(s.r, &newer, &s.accepted), OK);
	assert_int_equal(status(&s).role, RAFT_FOLLOWER);
	solo_run(&s);
	assert_null(sent(&s, RAFT_MSG_SNAPSHOT, 2));
	solo_done(&s);
}

/* The table of peers is built anew under it, twice. */
static void queued_snapshot_outlives_other_changes(void **state)
{
	const uint64_t terms[] = { 1, 1, 1 };
	struct raft_msg no = { .type = RAFT_MSG_APPEND_REPLY,
			       .from = 3,
			       .to = 1,
			       .term = 2,
			       .reject = true,
			       .index = 3 };
	struct raft_change change = { .count = 1 };
	struct raft_ready rd;
	struct solo s;
	uint32_t i, found = 0;

	solo_init(&s, 3, terms, 3, 3);
	solo_start(&s);
	elect(&s);
	raft_compacted(s.r, 4);
	assert_int_equal(raft_step(s.r, &no, &s.accepted), OK);
	change.item[0].op = RAFT_REMOVE;
	change.item[0].id = 2;
	assert_int_equal(raft_apply_conf(s.r, &change), OK);
	change.item[0].op = RAFT_ADD_LEARNER;
	change.item[0].id = 9;
	assert_int_equal(raft_apply_conf(s.r, &change), OK);
	raft_ready(s.r, &rd);
	for (i = 0; i < rd.msg_count; i++) {
		if (rd.msgs[i].type != RAFT_MSG_SNAPSHOT)
			continue;
		assert_int_equal(rd.msgs[i].to, 3);
		assert_int_equal(rd.msgs[i].snapshot->index, s.applied);
		assert_int_equal(rd.msgs[i].snapshot->conf.count, 3);
		found++;
	}
	assert_int_equal(found, 1);
	solo_done(&s);
}

static void lease_ends_with_time_transfer_and_restart(void **state)
{
	struct raft_msg beat = { .type = RAFT_MSG_HEARTBEAT_REPLY,
				 .from = 2,
				 .term = 1,
				 .stamp_ns = 1000 };
	struct solo s;

	solo_init(&s, 3, NULL, 0, 0);
	s.c.read_mode = RAFT_READ_LEASE;
	s.c.lease_ns = 500;
	solo_start(&s);
	raft_set_time(s.r, 1000);
	elect(&s);
	assert_false(raft_lease_holds(s.r, 1000)); /* no-op not committed */
	assert_int_equal(ack(&s, 2, 1, 1), OK);
	assert_false(raft_lease_holds(s.r, 1000)); /* nobody has answered */
	assert_int_equal(solo_step(&s, beat), OK);
	assert_true(raft_lease_holds(s.r, 1499));
	assert_false(raft_lease_holds(s.r, 1500));
	raft_set_time(s.r, 1400);
	assert_int_equal(raft_read(s.r, 5), OK);
	solo_run(&s);
	assert_int_equal(s.grant_count, 1);
	assert_int_equal(raft_transfer(s.r, 2), OK);
	assert_false(raft_lease_holds(s.r, 1400));
	solo_done(&s);
}

/* From when the heartbeat was sent, and not before it is known what is. */
static void lease_begins_with_the_question_and_after_the_noop(void **state)
{
	struct raft_msg beat = { .type = RAFT_MSG_HEARTBEAT_REPLY,
				 .from = 2,
				 .term = 1,
				 .stamp_ns = 1000 };
	struct solo s;
	uint32_t i;

	solo_init(&s, 3, NULL, 0, 0);
	s.c.read_mode = RAFT_READ_LEASE;
	s.c.lease_ns = 500;
	solo_start(&s);
	raft_set_time(s.r, 1000);
	elect(&s);
	raft_set_time(s.r, 1300);
	assert_int_equal(solo_step(&s, beat), OK);
	assert_int_equal(raft_lease_end(s.r), 0); /* the no-op is nowhere */
	assert_int_equal(ack(&s, 2, 1, 1), OK);
	assert_int_equal(raft_lease_end(s.r), 1500);

	/* whom it was handed to may stand still, also when it was given up */
	assert_int_equal(raft_transfer(s.r, 2), OK);
	solo_run(&s);
	assert_non_null(sent(&s, RAFT_MSG_TIMEOUT_NOW, 2));
	for (i = 0; i <= s.c.election_ticks && status(&s).transferee; i++) {
		assert_int_equal(raft_tick(s.r), OK);
		solo_run(&s);
	}
	assert_int_equal(status(&s).transferee, RAFT_NOBODY);
	assert_int_equal(status(&s).role, RAFT_LEADER);
	assert_int_equal(raft_lease_end(s.r), 0);
	solo_done(&s);
}

static void restarted_voter_grants_nothing_while_a_lease_may_hold(void **state)
{
	const uint64_t terms[] = { 1 };
	struct solo s;
	uint32_t i;

	solo_init(&s, 3, terms, 1, 1);
	s.c.restart_guard = true;
	solo_start(&s);
	assert_int_equal(ask_vote(&s, 2, 5, 1, 1), OK);
	assert_null(sent(&s, RAFT_MSG_VOTE_REPLY, 2));
	for (i = 0; i < s.c.election_ticks; i++)
		assert_int_equal(raft_tick(s.r), OK);
	assert_int_equal(ask_vote(&s, 2, 5, 1, 1), OK);
	assert_false(sent(&s, RAFT_MSG_VOTE_REPLY, 2)->reject);
	solo_done(&s);
}

/* docs/testing.md, fault 16 */
static void transfer_refuses_proposals_and_is_aborted_in_time(void **state)
{
	uint64_t index, term;
	struct solo s;
	uint32_t i;

	solo_init(&s, 3, NULL, 0, 0);
	s.c.check_quorum = false;
	solo_start(&s);
	elect(&s);
	assert_int_equal(ack(&s, 2, 1, 1), OK);
	assert_int_equal(raft_transfer(s.r, 2), OK);
	solo_run(&s);
	assert_non_null(sent(&s, RAFT_MSG_TIMEOUT_NOW, 2));
	assert_int_equal(raft_proposable(s.r, 1, &index, &term), ERR_BUSY);
	for (i = 0; i < s.c.election_ticks; i++)
		assert_int_equal(raft_tick(s.r), OK);
	assert_int_equal(raft_proposable(s.r, 1, &index, &term), OK);
	assert_int_equal(raft_transfer(s.r, 9), ERR_INVALID);
	solo_done(&s);
}

static void timeout_now_is_obeyed_past_prevote_and_lease(void **state)
{
	const uint64_t terms[] = { 1 };
	struct solo s;

	solo_init(&s, 3, terms, 1, 1);
	s.c.prevote = true;
	solo_start(&s);
	assert_int_equal(append(&s, 1, 1, 1, NULL, 0, 1), OK);
	assert_int_equal(
		solo_step(&s, (struct raft_msg){ .type = RAFT_MSG_TIMEOUT_NOW,
						 .from = 2,
						 .term = 1 }),
		OK);
	assert_int_equal(status(&s).role, RAFT_CANDIDATE);
	assert_true(sent(&s, RAFT_MSG_VOTE, 3)->force);
	solo_done(&s);
}

/* docs/testing.md, fault 18 */
static void slow_follower_does_not_grow_what_is_sent(void **state)
{
	struct raft_progress p;
	struct solo s;
	uint32_t i;

	solo_init(&s, 3, NULL, 0, 0);
	s.c.inflight_max = 4;
	solo_start(&s);
	elect(&s);
	assert_int_equal(ack(&s, 2, 1, 1), OK);
	s.out_count = 0;
	for (i = 0; i < 50; i++)
		propose(&s);
	assert_true(raft_progress_of(s.r, 2, &p));
	assert_int_equal(p.inflight, 4);
	assert_true(p.paused && p.inflight_full);
	/* an answer opens the window, and all the rest fits one append */
	assert_int_equal(ack(&s, 2, 1, 5), OK);
	assert_int_equal(sent(&s, RAFT_MSG_APPEND, 2)->entry_count, 46);
	solo_done(&s);
}

static void uncommitted_bytes_are_bounded(void **state)
{
	uint64_t index, term;
	struct solo s;

	solo_init(&s, 3, NULL, 0, 0);
	s.c.uncommitted_bytes_max = 20;
	solo_start(&s);
	elect(&s);
	propose(&s);
	propose(&s);
	assert_int_equal(raft_proposable(s.r, 10, &index, &term), ERR_FULL);
	assert_int_equal(ack(&s, 2, 1, 3), OK);
	assert_int_equal(raft_proposable(s.r, 10, &index, &term), OK);
	solo_done(&s);
}

static void what_the_log_could_not_take_is_not_acknowledged(void **state)
{
	const uint64_t terms[] = { 1 }, more[] = { 1, 1, 1 };
	struct raft_msg m = { .type = RAFT_MSG_APPEND,
			      .from = 2,
			      .to = 1,
			      .term = 1,
			      .index = 1,
			      .log_term = 1,
			      .entry_terms = more,
			      .entry_count = 3,
			      .commit = 4 };
	struct solo s;

	solo_init(&s, 3, terms, 1, 1);
	solo_start(&s);
	assert_int_equal(raft_step(s.r, &m, &s.accepted), OK);
	assert_int_equal(s.accepted.from, 2);
	raft_cut(s.r, 3);
	s.term_of[2] = 1;
	s.last = 2;
	solo_run(&s);
	assert_int_equal(status(&s).last_index, 2);
	assert_int_equal(status(&s).commit, 2);
	assert_int_equal(sent(&s, RAFT_MSG_APPEND_REPLY, 2)->index, 2);
	solo_done(&s);
}

static void node_that_lacks_bytes_neither_stands_nor_counts(void **state)
{
	const uint64_t terms[] = { 1, 1 }, more[] = { 1 };
	struct solo s;

	solo_init(&s, 3, terms, 2, 1);
	solo_start(&s);
	raft_set_missing(s.r, 2);
	assert_int_equal(raft_campaign(s.r), OK);
	assert_int_equal(status(&s).role, RAFT_FOLLOWER);
	assert_int_equal(append(&s, 1, 1, 2, more, 1, 1), OK);
	assert_int_equal(sent(&s, RAFT_MSG_APPEND_REPLY, 2)->index, 1);
	raft_set_missing(s.r, 0);
	assert_int_equal(append(&s, 1, 1, 3, NULL, 0, 1), OK);
	assert_int_equal(sent(&s, RAFT_MSG_APPEND_REPLY, 2)->index, 3);
	solo_done(&s);
}

/* What the leader cannot read any more is not committed, and in no snapshot. */
static void who_has_more_than_the_snapshot_gets_none(void **state)
{
	struct raft_progress p;
	struct solo s;

	solo_init(&s, 5, NULL, 0, 0);
	s.c.append_bytes_max = 10;
	s.c.inflight_max = 1;
	solo_start(&s);
	elect(&s);
	assert_int_equal(ack(&s, 2, 1, 1), OK);
	assert_int_equal(ack(&s, 3, 1, 1), OK);
	assert_int_equal(s.applied, 1);
	propose(&s);
	propose(&s);
	s.no_bytes = true;
	assert_int_equal(ack(&s, 2, 1, 2), OK);
	assert_null(sent(&s, RAFT_MSG_SNAPSHOT, 2));
	s.no_bytes = false; /* they are found again: it goes on */
	assert_int_equal(
		solo_step(&s,
			  (struct raft_msg){ .type = RAFT_MSG_HEARTBEAT_REPLY,
					     .from = 2,
					     .term = 1 }),
		OK);
	assert_true(raft_progress_of(s.r, 2, &p));
	assert_int_equal(p.match, 2);
	assert_int_equal(p.next, 4);
	solo_done(&s);
}

static void queued_append_of_a_replaced_entry_is_not_sent(void **state)
{
	const uint64_t two[] = { 2 };
	struct raft_msg m = { .type = RAFT_MSG_APPEND,
			      .from = 2,
			      .to = 1,
			      .term = 2,
			      .index = 1,
			      .log_term = 1,
			      .entry_terms = two,
			      .entry_count = 1 };
	struct raft_ready rd;
	uint64_t index, term;
	struct solo s;
	uint32_t i;

	solo_init(&s, 3, NULL, 0, 0);
	solo_start(&s);
	elect(&s);
	assert_int_equal(ack(&s, 2, 1, 1), OK);
	assert_int_equal(raft_proposable(s.r, 10, &index, &term), OK);
	s.term_of[index] = term;
	s.last = index;
	raft_propose(s.r, 1, 10);
	assert_int_equal(raft_step(s.r, &m, &s.accepted), OK);
	assert_int_equal(s.accepted.from, 2);
	s.term_of[2] = 2;
	raft_ready(s.r, &rd);
	for (i = 0; i < rd.msg_count; i++)
		assert_true(rd.msgs[i].type != RAFT_MSG_APPEND ||
			    rd.msgs[i].entry_count == 0);
	solo_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(old_term_is_never_committed_by_counting),
		cmocka_unit_test(no_read_is_granted_before_the_no_op_commits),
		cmocka_unit_test(
			a_lazy_commit_is_told_when_asked_for_and_to_granted_reads),
		cmocka_unit_test(
			an_answer_to_an_older_heartbeat_confirms_no_read),
		cmocka_unit_test(
			a_question_of_the_leaders_term_is_its_own_round),
		cmocka_unit_test(second_change_is_refused_while_one_is_pending),
		cmocka_unit_test(
			new_leader_changes_nothing_before_its_log_is_applied),
		cmocka_unit_test(
			leader_that_removes_itself_commits_then_steps_down),
		cmocka_unit_test(who_hears_a_leader_refuses_others),
		cmocka_unit_test(
			leader_without_quorum_steps_down_in_an_election_timeout),
		cmocka_unit_test(empty_append_never_commits_a_divergent_tail),
		cmocka_unit_test(vote_is_given_once_and_again_to_the_same),
		cmocka_unit_test(votes_and_acks_wait_for_the_disk),
		cmocka_unit_test(leader_sends_before_its_own_disk_is_done),
		cmocka_unit_test(
			late_disk_answer_after_truncation_does_not_count),
		cmocka_unit_test(
			disk_answer_for_a_replaced_entry_does_not_count),
		cmocka_unit_test(node_with_an_unapplied_change_does_not_stand),
		cmocka_unit_test(joint_configuration_needs_both_majorities),
		cmocka_unit_test(
			candidate_without_its_own_durable_vote_does_not_lead),
		cmocka_unit_test(
			node_without_configuration_takes_a_snapshot_only),
		cmocka_unit_test(
			refusal_at_the_start_of_the_log_asks_for_a_snapshot),
		cmocka_unit_test(repeated_and_old_appends_change_nothing),
		cmocka_unit_test(conflict_with_a_committed_entry_is_an_alarm),
		cmocka_unit_test(commit_past_what_is_held_is_an_alarm),
		cmocka_unit_test(second_leader_of_one_term_is_an_alarm),
		cmocka_unit_test(stale_snapshot_never_truncates),
		cmocka_unit_test(snapshot_replaces_log_and_membership),
		cmocka_unit_test(follower_behind_the_log_gets_a_snapshot),
		cmocka_unit_test(an_append_proves_no_more_than_it_says),
		cmocka_unit_test(queued_snapshot_ends_with_the_office),
		cmocka_unit_test(queued_snapshot_outlives_other_changes),
		cmocka_unit_test(lease_ends_with_time_transfer_and_restart),
		cmocka_unit_test(
			lease_begins_with_the_question_and_after_the_noop),
		cmocka_unit_test(
			restarted_voter_grants_nothing_while_a_lease_may_hold),
		cmocka_unit_test(
			transfer_refuses_proposals_and_is_aborted_in_time),
		cmocka_unit_test(timeout_now_is_obeyed_past_prevote_and_lease),
		cmocka_unit_test(slow_follower_does_not_grow_what_is_sent),
		cmocka_unit_test(uncommitted_bytes_are_bounded),
		cmocka_unit_test(
			what_the_log_could_not_take_is_not_acknowledged),
		cmocka_unit_test(
			node_that_lacks_bytes_neither_stands_nor_counts),
		cmocka_unit_test(who_has_more_than_the_snapshot_gets_none),
		cmocka_unit_test(queued_append_of_a_replaced_entry_is_not_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
