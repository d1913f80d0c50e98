/*
 * tests/store/test_forward.c - requests through a node that does not lead: one
 * effect and one answer each, whatever becomes of messages and leaders.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/seed.h"
#include "store/forward.h"
#include "store/hidden.h"
#include "tests/lib/cluster_rig.h"

static struct cluster rig;

/* What the messages between two nodes must suffer; see tamper. */
static struct {
	uint64_t from, to;   /* of interest; 0: any */
	uint8_t drop;	     /* items of this kind are lost, 0: none          */
	uint32_t drop_count; /* so many messages with such items              */
	uint32_t seen;	     /* of them so far                                */
	uint8_t strip; /* items of this kind are taken out                   */
	uint8_t keep;  /* the last item of this kind is kept           */
	struct buf kept;
	enum err (*send)(struct net *n, uint64_t to, const struct bytes *parts,
			 uint32_t part_count);
} tamper;

static bool has_item(struct bytes message, uint8_t kind)
{
	struct item item;

	while (item_next(&message, &item) == OK) {
		if (item.kind == kind)
			return true;
	}
	return false;
}

static void keep_item(struct bytes message)
{
	struct item item;
	size_t at;

	while (item_next(&message, &item) == OK) {
		if (item.kind != tamper.keep)
			continue;
		tamper.kept.n = 0;
		assert_int_equal(item_begin(&tamper.kept,
					    (enum item_kind)item.kind,
					    item.partition, &at),
				 OK);
		assert_int_equal(
			buf_add(&tamper.kept, item.body.p, item.body.n), OK);
		assert_int_equal(item_end(&tamper.kept, at), OK);
	}
}

/* Send what is left of message without the items of kind tamper.strip. */
static enum err send_stripped(struct net *net, uint64_t to,
			      struct bytes message)
{
	struct buf b = BUF_INIT;
	struct item item;
	struct bytes part;
	enum err err = OK;
	size_t at;

	while (item_next(&message, &item) == OK) {
		if (item.kind == tamper.strip)
			continue;
		assert_int_equal(item_begin(&b, (enum item_kind)item.kind,
					    item.partition, &at),
				 OK);
		assert_int_equal(buf_add(&b, item.body.p, item.body.n), OK);
		assert_int_equal(item_end(&b, at), OK);
	}
	part = buf_bytes(&b);
	if (part.n > 0)
		err = tamper.send(net, to, &part, 1);
	buf_done(&b);
	return err;
}

static enum err tampered_send(struct net *net, uint64_t to,
			      const struct bytes *parts, uint32_t part_count)
{
	struct cluster_node *n = (struct cluster_node *)net;

	assert_int_equal(part_count, 1);
	if ((!tamper.from || tamper.from == n->id) &&
	    (!tamper.to || tamper.to == to)) {
		if (tamper.keep)
			keep_item(parts[0]);
		if (tamper.drop && has_item(parts[0], tamper.drop)) {
			tamper.seen++;
			if (tamper.seen <= tamper.drop_count)
				return OK;
		}
		if (tamper.strip)
			return send_stripped(net, to, parts[0]);
	}
	return tamper.send(net, to, parts, part_count);
}

/* A cluster of n nodes with a leader; the id of a node that follows. */
static uint64_t begin(uint32_t n, uint64_t seed)
{
	struct cluster_options o;
	uint64_t leader;

	cluster_options_default(&o, n, 1, seed);
	cluster_init(&rig, &o);
	cluster_start_all(&rig);
	buf_done(&tamper.kept);
	tamper.from = tamper.to = 0;
	tamper.drop = tamper.keep = tamper.strip = 0;
	tamper.seen = tamper.drop_count = 0;
	tamper.send = rig.node[1].net.send;
	for (uint32_t i = 1; i <= n; i++)
		rig.node[i].net.send = tampered_send;
	leader = cluster_wait_leader(&rig, 20000);
	cluster_run(&rig, 500); /* all have applied what there is */
	return leader % n + 1;
}

static void end(void)
{
	cluster_heal_all(&rig);
	tamper.drop = 0;
	cluster_expect_same(&rig, 60000);
	cluster_done(&rig);
	buf_done(&tamper.kept);
}

static void a_write_through_a_follower_is_seen_there_at_once(void **state)
{
	uint64_t follower = begin(3, 1), rev, last = 0;

	for (int i = 0; i < 50; i++) {
		char value[20];
		struct buf b = BUF_INIT;

		snprintf(value, sizeof(value), "v%d", i);
		assert_int_equal(cluster_put(&rig, follower, "k", value, &rev),
				 OK);
		assert_true(rev > last);
		last = rev;
		assert_int_equal(
			cluster_get(&rig, follower, "k", STORE_STALE, &b), OK);
		assert_true(bytes_equal(buf_bytes(&b), bytes_str(value)));
		buf_done(&b);
	}
	end();
}

/* ------------------------------------------------------------- helpers --- */

static uint64_t leader(void)
{
	return cluster_wait_leader(&rig, 30000);
}

static void set_done(struct store_write *w)
{
	*(bool *)w->user = true;
}

/* A put of an absent key: run twice it would be refused. */
struct create {
	struct store_condition condition;
	struct store_op op;
	struct store_result result;
	struct store_write w;
	bool done;
	char key[24], value[24];
};

static void create_begin(struct create *c, uint64_t node, const char *key)
{
	memset(c, 0, sizeof(*c));
	snprintf(c->key, sizeof(c->key), "%s", key);
	snprintf(c->value, sizeof(c->value), "of %s", key);
	c->condition.kind = STORE_IF_ABSENT;
	c->condition.key = c->op.key = bytes_str(c->key);
	c->op.value = bytes_str(c->value);
	c->w = (struct store_write){ .conditions = &c->condition,
				     .condition_count = 1,
				     .then_ops = &c->op,
				     .then_count = 1,
				     .results = &c->result,
				     .done = set_done,
				     .user = &c->done };
	assert_int_equal(store_write(cluster_node(&rig, node)->store, &c->w),
			 OK);
}

static void run_until(const bool *done)
{
	uint64_t until = rig.now_ns + 30000000000ull;

	while (!*done && cluster_step(&rig, until))
		;
	assert_true(*done);
}

static enum err create(uint64_t node, const char *key, uint64_t *rev)
{
	struct create c;

	create_begin(&c, node, key);
	run_until(&c.done);
	if (rev)
		*rev = c.result.rev;
	return c.w.err;
}

static uint64_t rev_of(uint64_t node, const char *key)
{
	struct store_info info;

	assert_int_equal(store_stat(cluster_node(&rig, node)->store,
				    bytes_str(key), &info),
			 OK);
	return info.rev;
}

static uint64_t applied(uint64_t node)
{
	return store_revision(cluster_node(&rig, node)->store, 0);
}

static struct bytes noise(size_t n, uint64_t number)
{
	uint8_t *p = malloc(n + 8);
	struct seed seed;

	assert_non_null(p);
	seed_init(&seed, number);
	for (size_t i = 0; i < n; i += 8)
		put_u64(p + i, seed_next(&seed));
	return bytes_of(p, n);
}

static void an_answer_waits_until_its_entry_is_applied_here(void **state)
{
	uint64_t follower = begin(3, 15);
	struct create c;

	tamper.from = leader();
	tamper.to = follower;
	tamper.strip = ITEM_RAFT;
	create_begin(&c, follower, "k");
	cluster_run(&rig, 100);
	assert_true(applied(tamper.from) > applied(follower));
	assert_false(c.done);
	tamper.strip = 0;
	run_until(&c.done);
	assert_int_equal(c.w.err, OK);
	assert_true(applied(follower) >= c.result.rev);
	end();
}

/* -------------------------------------------------------------- results -- */

static void a_refusal_comes_back_with_what_it_met(void **state)
{
	uint64_t follower = begin(3, 2), rev;
	struct store_condition c = { .kind = STORE_IF_REV,
				     .key = bytes_str("k"),
				     .rev = 1 };
	struct store_op op = { .kind = STORE_PUT,
			       .key = bytes_str("k"),
			       .value = bytes_str("new") };
	struct store_write w = { .conditions = &c,
				 .condition_count = 1,
				 .then_ops = &op,
				 .then_count = 1 };
	bool existed = true;

	assert_int_equal(cluster_put(&rig, follower, "k", "old", &rev), OK);
	assert_int_equal(cluster_write(&rig, follower, &w), ERR_PRECONDITION);
	assert_true(w.rev_now == rev);
	assert_false(w.succeeded);
	assert_true(w.revision >= rev);
	c.rev = rev;
	assert_int_equal(cluster_write(&rig, follower, &w), OK);
	assert_true(w.succeeded);
	assert_true(w.revision == rev_of(follower, "k"));
	assert_int_equal(cluster_put(&rig, follower, "k/below", "x", NULL),
			 ERR_NOT_DIR);
	assert_int_equal(cluster_del(&rig, follower, "none", &existed), OK);
	assert_false(existed);
	assert_int_equal(cluster_del(&rig, follower, "k", &existed), OK);
	assert_true(existed);
	end();
}

static void expect_read(struct store_value *v, struct bytes want)
{
	uint64_t off = 0;

	assert_non_null(v);
	assert_true(store_value_info(v)->bytes == want.n);
	while (off < want.n) {
		struct bytes piece;

		assert_int_equal(store_value_read(v, off, &piece), OK);
		assert_memory_equal(piece.p, want.p + off, piece.n);
		off += piece.n;
	}
}

static void a_transaction_with_gets_brings_the_values(void **state)
{
	uint64_t follower = begin(3, 3);
	struct bytes large = noise(300000, 1);
	struct store_op put = { .kind = STORE_PUT,
				.key = bytes_str("large"),
				.value = large };
	struct store_write first = { .then_ops = &put, .then_count = 1 };
	struct store_op ops[] = {
		{ .kind = STORE_PUT,
		  .key = bytes_str("own"),
		  .value = bytes_str("written here") },
		{ .kind = STORE_GET, .key = bytes_str("large") },
		{ .kind = STORE_GET, .key = bytes_str("own") },
		{ .kind = STORE_GET, .key = bytes_str("none") },
		{ .kind = STORE_DELETE, .key = bytes_str("large") },
	};
	struct store_result r[5];
	struct store_write w = {
		.then_ops = ops, .then_count = 5, .is_txn = true, .results = r
	};

	assert_int_equal(cluster_write(&rig, follower, &first), OK);
	assert_int_equal(cluster_write(&rig, follower, &w), OK);
	assert_true(w.succeeded);
	assert_true(r[0].rev == w.revision && !r[0].existed);
	expect_read(r[1].value, large);
	expect_read(r[2].value, bytes_str("written here"));
	assert_false(r[3].found);
	assert_null(r[3].value);
	assert_true(r[4].existed);
	for (int i = 0; i < 5; i++)
		store_value_done(r[i].value);
	free((void *)(uintptr_t)large.p);
	end();
}

static void a_prefix_deletion_tells_how_many(void **state)
{
	uint64_t follower = begin(3, 4);
	struct store_write w = { .delete_prefix = true,
				 .prefix = bytes_str("d/") };

	for (int i = 0; i < 7; i++) {
		char key[20];

		snprintf(key, sizeof(key), "d/%d", i);
		assert_int_equal(cluster_put(&rig, follower, key, "x", NULL),
				 OK);
	}
	assert_int_equal(cluster_write(&rig, follower, &w), OK);
	assert_true(w.deleted == 7);
	assert_true(w.atomic);
	assert_int_equal(cluster_write(&rig, follower, &w), OK);
	assert_true(w.deleted == 0);
	end();
}

/* --------------------------------------------------------- exactly once -- */

static void lost_answers_are_asked_for_again(void **state)
{
	uint64_t follower = begin(3, 5), rev, before;

	tamper.drop = ITEM_ANSWER;
	tamper.drop_count = 3;
	before = applied(follower);
	assert_int_equal(create(follower, "k", &rev), OK);
	assert_true(tamper.seen >= 4);
	assert_true(rev == before + 1);
	assert_true(applied(follower) == before + 1);
	assert_true(rev_of(follower, "k") == rev);
	end();
}

/* The refusal that was told is the one that was made first. */
static void a_lost_refusal_is_told_as_it_was(void **state)
{
	uint64_t follower = begin(3, 6);
	struct create c;

	cluster_must_put(&rig, "k", "there", 10000);
	tamper.drop = ITEM_ANSWER;
	tamper.drop_count = 1000000;
	create_begin(&c, follower, "k");
	cluster_run(&rig, 300);
	assert_true(tamper.seen > 0);
	assert_false(c.done);
	assert_int_equal(cluster_del(&rig, leader(), "k", NULL), OK);
	tamper.drop = 0;
	run_until(&c.done);
	assert_int_equal(c.w.err, ERR_PRECONDITION);
	cluster_expect(&rig, follower, "k", NULL, 5000);
	end();
}

/* The old leader's refusal comes when the new one has done it already. */
static void a_late_refusal_is_no_answer_to_a_newer_copy(void **state)
{
	uint64_t follower = begin(3, 16), old = leader();
	uint64_t third = 6 - follower - old;
	struct store_change ch = { .kind = STORE_TRANSFER };
	struct create c;

	cluster_must_put(&rig, "k", "there", 10000);
	tamper.from = old;
	tamper.to = follower;
	tamper.keep = tamper.drop = ITEM_ANSWER;
	tamper.drop_count = 1000000;
	create_begin(&c, follower, "k");
	cluster_run(&rig, 100);
	assert_true(tamper.kept.n > 0);
	assert_int_equal(cluster_del(&rig, old, "k", NULL), OK);
	tamper.keep = 0;
	tamper.from = 0;
	snprintf(ch.member.name, sizeof(ch.member.name), "%s",
		 cluster_node(&rig, third)->name);
	assert_int_equal(cluster_change(&rig, old, &ch), OK);
	assert_int_equal(leader(), third);
	cluster_run(&rig, 200);
	assert_true(rev_of(third, "k") > 0);
	assert_false(c.done);
	assert_int_equal(store_receive(cluster_node(&rig, follower)->store, old,
				       buf_bytes(&tamper.kept)),
			 OK);
	cluster_node(&rig, follower)->core_due = rig.now_ns;
	cluster_run(&rig, 50);
	assert_false(c.done);
	tamper.drop = 0;
	run_until(&c.done);
	assert_int_equal(c.w.err, OK);
	assert_true(rev_of(third, "k") == c.result.rev);
	end();
}

static void repeated_and_reordered_messages_do_it_once(void **state)
{
	enum { COUNT = 300 };
	static struct create c[COUNT];
	uint64_t follower = begin(3, 7);

	rig.o.weather.repeat_permille = 300;
	rig.o.weather.reorder_permille = 300;
	rig.o.weather.loss_permille = 50;
	for (int i = 0; i < COUNT; i++) {
		char key[20];

		snprintf(key, sizeof(key), "k%d", i);
		create_begin(&c[i], i % 3 ? follower : follower % 3 + 1, key);
		cluster_run(&rig, 2);
	}
	for (int i = 0; i < COUNT; i++) {
		run_until(&c[i].done);
		if (c[i].w.err != ERR_UNKNOWN && c[i].w.err != ERR_NO_LEADER)
			assert_int_equal(c[i].w.err, OK);
	}
	rig.o.weather.repeat_permille = 0;
	rig.o.weather.reorder_permille = 0;
	rig.o.weather.loss_permille = 0;
	for (int i = 0; i < COUNT; i++) {
		if (c[i].w.err == OK)
			cluster_expect(&rig, 1 + (uint64_t)i % 3, c[i].key,
				       c[i].value, 10000);
	}
	end();
}

/* Committed, the answer lost, another leads: it knows from the state. */
static void
a_leader_that_is_lost_after_the_commit_is_no_second_effect(void **state)
{
	uint64_t follower = begin(3, 8), old = leader(), before;
	struct create c;

	before = applied(follower);
	tamper.drop = ITEM_ANSWER;
	tamper.drop_count = 1000000;
	create_begin(&c, follower, "k");
	cluster_run(&rig, 200);
	assert_true(applied(follower) == before + 1);
	assert_false(c.done);
	tamper.drop = 0;
	cluster_isolate(&rig, old);
	run_until(&c.done);
	assert_int_equal(c.w.err, OK);
	assert_true(c.result.rev == before + 1);
	assert_true(rev_of(follower, "k") == before + 1);
	end();
}

/* Appended and never committed: the next leader decides it. */
static void a_leader_that_is_lost_before_the_commit_is_no_loss(void **state)
{
	uint64_t follower = begin(3, 9), old = leader();
	uint64_t third = 6 - follower - old;
	struct create c;

	cluster_cut(&rig, old, follower);
	cluster_cut(&rig, old, third);
	create_begin(&c, follower, "k");
	run_until(&c.done);
	assert_int_equal(c.w.err, OK);
	cluster_heal_all(&rig);
	cluster_run(&rig, 3000);
	cluster_expect(&rig, old, "k", "of k", 10000);
	assert_true(rev_of(old, "k") == c.result.rev);
	end();
}

static void without_a_leader_nothing_was_done(void **state)
{
	uint64_t follower = begin(3, 10);
	struct create c;

	cluster_isolate(&rig, follower);
	cluster_run(&rig, 3000);
	create_begin(&c, follower, "k");
	run_until(&c.done);
	assert_int_equal(c.w.err, ERR_NO_LEADER);
	cluster_heal_all(&rig);
	cluster_run(&rig, 5000);
	cluster_expect(&rig, follower, "k", NULL, 10000);
	end();
}

static void what_was_sent_and_never_answered_is_unknown(void **state)
{
	uint64_t follower = begin(3, 11);
	struct create c;

	tamper.drop = ITEM_ANSWER;
	tamper.drop_count = 1000000;
	create_begin(&c, follower, "k");
	run_until(&c.done);
	assert_int_equal(c.w.err, ERR_UNKNOWN);
	tamper.drop = 0;
	cluster_expect(&rig, follower, "k", "of k", 10000);
	end();
}

/*
 * The group drops what its state knows of a node that is to leave, which may
 * stay after all. What was decided before is not to be decided once more.
 */
static void what_the_state_forgot_is_not_asked_for_again(void **state)
{
	uint64_t follower = begin(3, 12), rev;
	struct store *s = rig.node[follower].store;
	struct create c;

	tamper.drop = ITEM_ANSWER;
	tamper.drop_count = 1000000;
	create_begin(&c, follower, "k");
	cluster_run(&rig, 200); /* decided, and one copy was sent */
	assert_false(c.done);
	tamper.drop = 0;
	forward_dropped(s, &s->partitions[0], applied(follower));
	assert_false(c.done); /* its answer may come yet */
	run_until(&c.done);
	assert_int_equal(c.w.err, ERR_UNKNOWN);

	tamper.drop = ITEM_ANSWER;
	create_begin(&c, follower, "l");
	cluster_run(&rig, 700); /* two copies */
	assert_false(c.done);
	forward_dropped(s, &s->partitions[0], applied(follower));
	assert_true(c.done);
	assert_int_equal(c.w.err, ERR_UNKNOWN);

	tamper.drop = 0; /* what is asked after that is as before */
	assert_int_equal(create(follower, "m", &rev), OK);
	assert_true(rev_of(follower, "m") == rev);
	end();
}

/* --------------------------------------------------------------- window -- */

static uint64_t term_now(void)
{
	struct store_partition_status status;

	store_partition_status(cluster_node(&rig, leader())->store, 0, &status);
	return status.term;
}

/* The kept request again, as a copy for the present leader in its term. */
static void replay(uint64_t from, uint64_t sequence_more)
{
	uint64_t to = leader();
	uint8_t *head = tamper.kept.p + ITEM_HEADER_BYTES;

	put_u64(head + 8, get_u64(head + 8) + sequence_more);
	put_u64(head + 16, get_u64(head + 8)); /* floor */
	put_u64(head + 24, term_now());
	head[33] = 1;
	assert_int_equal(store_receive(cluster_node(&rig, to)->store, from,
				       buf_bytes(&tamper.kept)),
			 OK);
	cluster_node(&rig, to)->core_due = rig.now_ns;
	cluster_run(&rig, 300);
}

static uint64_t done_through(uint64_t follower, const char *key)
{
	uint64_t rev;

	tamper.from = follower;
	tamper.keep = ITEM_REQUEST;
	assert_int_equal(create(follower, key, &rev), OK);
	tamper.keep = 0;
	assert_true(tamper.kept.n > 0);
	return rev;
}

static void restart_all(void)
{
	for (uint64_t id = 1; id <= 3; id++)
		cluster_crash(&rig, id);
	cluster_run(&rig, 100);
	cluster_start_all(&rig);
	leader();
}

static void the_window_survives_merge_and_restart(void **state)
{
	uint64_t follower = begin(3, 12), rev = done_through(follower, "k");
	struct bytes large = noise(200000, 2);
	struct store_op op = { .kind = STORE_PUT,
			       .key = bytes_str("filler"),
			       .value = large };

	assert_int_equal(cluster_del(&rig, leader(), "k", NULL), OK);
	for (int i = 0; i < 60; i++) {
		struct store_write w = { .then_ops = &op, .then_count = 1 };

		assert_int_equal(cluster_write(&rig, leader(), &w), OK);
		if (i % 20 == 19) {
			for (uint64_t id = 1; id <= 3; id++)
				store_merge_request(
					cluster_node(&rig, id)->store);
			cluster_run(&rig, 3000);
		}
	}
	restart_all();
	replay(follower, 0);
	cluster_expect(&rig, follower, "k", NULL, 10000);
	assert_true(rev > 0);
	/* one of a higher sequence is new */
	replay(follower, 1);
	cluster_expect(&rig, follower, "k", "of k", 10000);
	free((void *)(uintptr_t)large.p);
	end();
}

static void what_is_below_the_window_is_refused(void **state)
{
	uint64_t follower = begin(3, 13);

	done_through(follower, "k");
	replay(follower, FORWARD_WINDOW); /* refused: k is there; no record */
	assert_int_equal(cluster_del(&rig, leader(), "k", NULL), OK);
	replay(follower, FORWARD_WINDOW); /* this one is done */
	cluster_expect(&rig, follower, "k", "of k", 10000);
	assert_int_equal(cluster_del(&rig, leader(), "k", NULL), OK);
	restart_all();
	replay(follower, 0 - (uint64_t)FORWARD_WINDOW);
	cluster_expect(&rig, follower, "k", NULL, 10000);
	replay(follower, FORWARD_WINDOW);
	cluster_expect(&rig, follower, "k", NULL, 10000);
	end();
}

/* A copy that comes late, for a term that is over, is decided by nobody. */
static void a_copy_for_another_term_is_not_decided(void **state)
{
	uint64_t follower = begin(3, 14);
	uint64_t old;

	done_through(follower, "k");
	old = leader();
	cluster_isolate(&rig, old);
	cluster_run(&rig, 5000);
	cluster_heal_all(&rig);
	cluster_run(&rig, 5000);
	assert_int_equal(cluster_del(&rig, leader(), "k", NULL), OK);
	for (uint64_t id = 1; id <= 3; id++)
		assert_int_equal(store_receive(cluster_node(&rig, id)->store,
					       follower,
					       buf_bytes(&tamper.kept)),
				 OK);
	cluster_run(&rig, 1000);
	cluster_expect(&rig, follower, "k", NULL, 10000);
	end();
}

/* -------------------------------------------------------------- uploads -- */

struct piece {
	bool done;
	enum err err;
};

static void on_piece(void *user, enum err err)
{
	struct piece *p = user;

	p->done = true;
	p->err = err;
}

static void add_piece(struct store_upload *u, struct piece *p, struct bytes v)
{
	enum err err;

	p->done = false;
	err = store_upload_add(u, v.p, v.n);
	if (err == ERR_PENDING) {
		run_until(&p->done);
		err = p->err;
	}
	assert_int_equal(err, OK);
}

static uint64_t hidden_keys(uint64_t node, char kind)
{
	struct engine *e = cluster_node(&rig, node)->engine;
	uint8_t room[2] = { 0, (uint8_t)kind };
	struct bytes prefix = bytes_of(room, 2), key;
	struct engine_iter it;
	struct engine_info info;
	uint64_t n = 0;
	bool more;

	engine_iter_begin(e, 0, &it);
	more = engine_iter_seek(&it, prefix, &key, &info);
	for (; more && bytes_begins(key, prefix); n++)
		more = engine_iter_next(&it, &key, &info);
	engine_iter_end(&it);
	return n;
}

static void upload_through(uint64_t seed, bool lose_leader, size_t piece_bytes)
{
	uint64_t follower = begin(3, seed);
	struct bytes value = noise(5 << 20, seed);
	struct store_op op = { .kind = STORE_PUT, .key = bytes_str("up") };
	struct store_write w = { .then_ops = &op, .then_count = 1 };
	struct store_upload *u;
	struct buf b = BUF_INIT;
	struct piece p;
	size_t half = value.n / 2 / piece_bytes * piece_bytes;

	assert_int_equal(store_upload_open(cluster_node(&rig, follower)->store,
					   op.key, on_piece, &p, &u),
			 OK);
	for (size_t off = 0; off < value.n; off += piece_bytes) {
		size_t n = value.n - off < piece_bytes ? value.n - off
						       : piece_bytes;

		if (lose_leader && off == half)
			cluster_isolate(&rig, leader());
		if (off == half + piece_bytes)
			cluster_heal_all(&rig);
		add_piece(u, &p, bytes_of(value.p + off, n));
	}
	cluster_heal_all(&rig);
	w.upload = u;
	assert_int_equal(cluster_write(&rig, follower, &w), OK);
	store_upload_close(u);
	assert_int_equal(
		cluster_get(&rig, follower, "up", STORE_LINEARIZABLE, &b), OK);
	assert_true(bytes_equal(buf_bytes(&b), value));
	cluster_run(&rig, 3000);
	assert_int_equal(hidden_keys(leader(), 's'), 0);
	assert_int_equal(hidden_keys(leader(), 'c'), 80);
	buf_done(&b);
	free((void *)(uintptr_t)value.p);
	end();
}

static void an_upload_through_a_follower_is_whole(void **state)
{
	upload_through(20, false, 100000);
}

static void an_upload_goes_on_with_the_next_leader(void **state)
{
	upload_through(21, true, 100000);
	upload_through(22, true, 2500000);
}

static void an_upload_given_up_through_a_follower_leaves_nothing(void **state)
{
	uint64_t follower = begin(3, 23);
	struct bytes value = noise(1 << 20, 3);
	struct store_upload *u;
	struct piece p;

	assert_int_equal(store_upload_open(cluster_node(&rig, follower)->store,
					   bytes_str("up"), on_piece, &p, &u),
			 OK);
	add_piece(u, &p, value);
	cluster_run(&rig, 1000);
	assert_int_equal(hidden_keys(follower, 's'), 1);
	assert_int_equal(hidden_keys(follower, 'c'), 16);
	store_upload_close(u);
	cluster_run(&rig, 1000);
	assert_int_equal(hidden_keys(follower, 's'), 0);
	/* Also when the piece is still on its way to the leader. */
	assert_int_equal(store_upload_open(cluster_node(&rig, follower)->store,
					   bytes_str("up"), on_piece, &p, &u),
			 OK);
	assert_int_equal(store_upload_add(u, value.p, value.n), OK);
	store_upload_close(u);
	cluster_run(&rig, 3000);
	assert_int_equal(hidden_keys(follower, 's'), 0);
	assert_int_equal(hidden_keys(follower, 'c'), 0);
	free((void *)(uintptr_t)value.p);
	end();
}

static void the_commit_of_a_collected_upload_is_refused(void **state)
{
	uint64_t follower = begin(3, 24);
	struct bytes value = noise(1 << 20, 4);
	struct store_op op = { .kind = STORE_PUT, .key = bytes_str("up") };
	struct store_write w = { .then_ops = &op, .then_count = 1 };
	struct store_upload *u;
	struct piece p;

	assert_int_equal(store_upload_open(cluster_node(&rig, follower)->store,
					   op.key, on_piece, &p, &u),
			 OK);
	add_piece(u, &p, value);
	cluster_run(&rig, 11 * 60 * 1000);
	assert_int_equal(hidden_keys(follower, 's'), 0);
	w.upload = u;
	assert_int_equal(cluster_write(&rig, follower, &w), ERR_NO_LEADER);
	store_upload_close(u);
	cluster_expect(&rig, follower, "up", NULL, 10000);
	free((void *)(uintptr_t)value.p);
	end();
}

/* --------------------------------------------------------------- random -- */

/* Leaders come and go under load: whatever is told is true, once. */
static void leaders_that_come_and_go(uint64_t number)
{
	enum { COUNT = 400 };
	static struct create c[COUNT];
	uint32_t done = 0, unknown = 0;
	struct seed seed;

	begin(3, number);
	seed_init(&seed, number);
	rig.o.weather.loss_permille = 20;
	rig.o.weather.repeat_permille = 50;
	for (int i = 0; i < COUNT; i++) {
		char key[20];

		snprintf(key, sizeof(key), "k%d", i);
		create_begin(&c[i], 1 + seed_below(&seed, 3), key);
		cluster_run(&rig, seed_below(&seed, 200));
		if (i % 60 == 30) {
			uint64_t id = cluster_leader(&rig, 0);

			if (id)
				cluster_isolate(&rig, id);
		}
		if (i % 60 == 55)
			cluster_heal_all(&rig);
	}
	cluster_heal_all(&rig);
	for (int i = 0; i < COUNT; i++)
		run_until(&c[i].done);
	rig.o.weather.loss_permille = rig.o.weather.repeat_permille = 0;
	leader();
	for (int i = 0; i < COUNT; i++) {
		switch (c[i].w.err) {
		case OK:
			cluster_expect(&rig, 1 + (uint64_t)i % 3, c[i].key,
				       c[i].value, 10000);
			assert_true(rev_of(1 + (uint64_t)i % 3, c[i].key) ==
				    c[i].result.rev);
			done++;
			break;
		case ERR_NO_LEADER:
			cluster_expect(&rig, 1, c[i].key, NULL, 10000);
			break;
		default:
			assert_int_equal(c[i].w.err, ERR_UNKNOWN);
			unknown++;
		}
	}
	assert_true(done > COUNT / 2);
	print_message("SEED=%llu done %u unknown %u terms %llu\n",
		      (unsigned long long)number, done, unknown,
		      (unsigned long long)term_now());
	assert_true(term_now() > 5);
	end();
}

static void whatever_is_told_is_true(void **state)
{
	const char *text = getenv("SEED");

	if (text) {
		leaders_that_come_and_go(strtoull(text, NULL, 10));
		return;
	}
	for (uint64_t number = 100; number < 106; number++)
		leaders_that_come_and_go(number);
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_write_through_a_follower_is_seen_there_at_once),
		T(an_answer_waits_until_its_entry_is_applied_here),
		T(a_refusal_comes_back_with_what_it_met),
		T(a_transaction_with_gets_brings_the_values),
		T(a_prefix_deletion_tells_how_many),
		T(lost_answers_are_asked_for_again),
		T(a_lost_refusal_is_told_as_it_was),
		cmocka_unit_test(a_late_refusal_is_no_answer_to_a_newer_copy),
		T(repeated_and_reordered_messages_do_it_once),
		T(a_leader_that_is_lost_after_the_commit_is_no_second_effect),
		T(a_leader_that_is_lost_before_the_commit_is_no_loss),
		T(without_a_leader_nothing_was_done),
		T(what_was_sent_and_never_answered_is_unknown),
		T(what_the_state_forgot_is_not_asked_for_again),
		T(the_window_survives_merge_and_restart),
		T(what_is_below_the_window_is_refused),
		T(a_copy_for_another_term_is_not_decided),
		T(an_upload_through_a_follower_is_whole),
		T(an_upload_goes_on_with_the_next_leader),
		T(an_upload_given_up_through_a_follower_leaves_nothing),
		T(the_commit_of_a_collected_upload_is_refused),
		T(whatever_is_told_is_true),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
