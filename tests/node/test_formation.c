/*
 * Nodes become a cluster: the decision alone, and whole nodes of one process
 * over loopback, each with a simulated disk, which lose power at every step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/vfs_sim.h"
#include "node/formation.h"

enum { NODES_MAX = 4, PATIENCE_MS = 20000, DISK_BYTES = 4 << 20 };

/* ------------------------------------------------------------- identity -- */

static struct roster roster_of(uint32_t n)
{
	struct roster r = { .count = n };

	for (uint32_t i = 0; i < n; i++) {
		r.member[i].id = i + 1;
		snprintf(r.member[i].name, 8, "n%u", i + 1);
		snprintf(r.member[i].peer, 32, "10.0.0.%u:7080", i + 1);
		snprintf(r.member[i].http, 32, "10.0.0.%u:8080", i + 1);
	}
	return r;
}

static void an_identity_reads_back_and_damage_is_seen(void **state)
{
	struct identity id = { .state = IDENTITY_JOINING,
			       .joined = true,
			       .partitions = 7,
			       .cluster_id = { 1, 2, 3 },
			       .node_id = 9,
			       .claim = 77 };
	struct identity back;
	struct buf b = BUF_INIT;

	id.roster = roster_of(3);
	assert_int_equal(identity_encode(&id, &b), OK);
	assert_int_equal(identity_decode(buf_bytes(&b), &back), OK);
	assert_int_equal(back.state, id.state);
	assert_true(back.joined);
	assert_int_equal(back.partitions, 7);
	assert_int_equal(back.node_id, 9);
	assert_int_equal(back.claim, 77);
	assert_true(roster_equal(&back.roster, &id.roster));
	for (size_t i = 0; i < b.n; i++) {
		b.p[i] ^= 0x10;
		assert_int_equal(identity_decode(buf_bytes(&b), &back),
				 ERR_CORRUPT);
		b.p[i] ^= 0x10;
		assert_int_equal(identity_decode(bytes_of(b.p, i), &back),
				 ERR_CORRUPT);
	}
	buf_done(&b);
}

static void the_bytes_of_an_identity_stay_as_they_are(void **state)
{
	static const uint8_t golden[] = {
		0x3f, 0x72, 0x00, 0x5c, 'r', 'c', 'i', 'd', 1,	 0,   2, 0,
		1,    0,    0,	  0,	5,   0,	  0,   0,   0,	 0,   0, 0,
		0,    0,    0,	  0,	0,   0,	  0,   6,   3,	 0,   0, 0,
		0,    0,    0,	  0,	4,   0,	  0,   0,   0,	 0,   0, 0,
		1,    0,    0,	  0,	3,   0,	  0,   0,   0,	 0,   0, 0,
		0,    2,    0,	  'n',	'3', 3,	  0,   'a', ':', '1', 0, 0,
	};
	struct identity id = { .state = IDENTITY_PREPARED,
			       .partitions = 1,
			       .cluster_id = { 5, [15] = 6 },
			       .node_id = 3,
			       .claim = 4,
			       .roster = { .count = 1,
					   .member = { { .id = 3,
							 .name = "n3",
							 .peer = "a:1" } } } };
	struct buf b = BUF_INIT;

	assert_int_equal(identity_encode(&id, &b), OK);
	assert_int_equal(b.n, sizeof(golden));
	assert_memory_equal(b.p + 4, golden + 4, sizeof(golden) - 4);
	assert_memory_equal(b.p, golden, 4);
	buf_done(&b);
}

static void what_comes_in_malformed_is_refused(void **state)
{
	struct claimed c = { .result = CLAIM_TAKEN }, c2;
	struct question q = { .is_claim = true, .name = "n1", .claim = 5 }, q2;
	struct buf b = BUF_INIT;

	c.report.roster = roster_of(2);
	snprintf(c.report.name, 8, "n1");
	assert_int_equal(claimed_encode(&c, &b), OK);
	assert_int_equal(claimed_decode(buf_bytes(&b), &c2), OK);
	assert_int_equal(c2.result, CLAIM_TAKEN);
	assert_true(roster_equal(&c2.report.roster, &c.report.roster));
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(claimed_decode(bytes_of(b.p, n), &c2),
				 ERR_INVALID);
	b.n = 0;
	assert_int_equal(question_encode(&q, &b), OK);
	assert_int_equal(question_decode(buf_bytes(&b), &q2), OK);
	assert_string_equal(q2.name, "n1");
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(question_decode(bytes_of(b.p, n), &q2),
				 ERR_INVALID);
	buf_done(&b);
}

/* ------------------------------------------------------------ the judge -- */

static struct report reports[NODES_MAX];
static struct identity self;
static struct roster list;
static struct buf why;

static struct formation_view view_of_three(const char *name)
{
	struct formation_view v = { .name = name,
				    .identity = &self,
				    .roster = &list,
				    .partitions = 1 };

	memset(&self, 0, sizeof(self));
	memset(reports, 0, sizeof(reports));
	list = roster_of(3);
	for (uint32_t i = 0; i < 3; i++) {
		snprintf(reports[i].name, 8, "n%u", i + 1);
		reports[i].partitions = 1;
		reports[i].roster = list;
		v.report[i] = &reports[i];
	}
	return v;
}

static struct formation_decision judge(const struct formation_view *v)
{
	struct formation_decision d;

	why.n = 0;
	assert_int_equal(formation_judge(v, &d, &why), OK);
	return d;
}

static bool says(const char *text)
{
	return memmem(why.p, why.n, text, strlen(text)) != NULL;
}

static void be(struct report *r, enum identity_state state, uint8_t id)
{
	r->state = state;
	r->cluster_id[0] = id;
}

static void be_prepared(uint8_t id)
{
	self.state = IDENTITY_PREPARED;
	self.cluster_id[0] = id;
	self.partitions = 1;
	self.roster = list;
}

static void the_first_prepares_only_when_all_are_there_and_empty(void **state)
{
	struct formation_view v = view_of_three("n1");

	assert_int_equal(judge(&v).action, FORMATION_PREPARE);
	v.report[2] = NULL;
	v.silence[2] = "Connection refused";
	assert_int_equal(judge(&v).action, FORMATION_WAIT);
	assert_true(says("n3 at 10.0.0.3:7080 (Connection refused)"));
}

static void the_others_follow_the_first(void **state)
{
	struct formation_view v = view_of_three("n2");
	struct formation_decision d;

	assert_int_equal(judge(&v).action, FORMATION_WAIT);
	be(&reports[0], IDENTITY_PREPARED, 5);
	d = judge(&v);
	assert_int_equal(d.action, FORMATION_PREPARE);
	assert_int_equal(d.cluster_id[0], 5);
	be_prepared(5);
	assert_int_equal(judge(&v).action, FORMATION_WAIT);
	be(&reports[2], IDENTITY_MEMBER, 5); /* anyone who has formed */
	assert_int_equal(judge(&v).action, FORMATION_FORM);
}

static void the_first_forms_only_when_all_are_prepared(void **state)
{
	struct formation_view v = view_of_three("n1");

	be_prepared(5);
	be(&reports[1], IDENTITY_PREPARED, 5);
	assert_int_equal(judge(&v).action, FORMATION_WAIT);
	be(&reports[2], IDENTITY_PREPARED, 6); /* for another: it follows */
	assert_int_equal(judge(&v).action, FORMATION_WAIT);
	be(&reports[2], IDENTITY_PREPARED, 5);
	assert_int_equal(judge(&v).action, FORMATION_FORM);
	v.report[2] = NULL;
	assert_int_equal(judge(&v).action, FORMATION_WAIT);
}

static void a_wiped_first_takes_over_what_was_prepared(void **state)
{
	struct formation_view v = view_of_three("n1");
	struct formation_decision d;

	be(&reports[1], IDENTITY_PREPARED, 8);
	d = judge(&v);
	assert_int_equal(d.action, FORMATION_PREPARE);
	assert_int_equal(d.cluster_id[0], 8);
	be(&reports[2], IDENTITY_PREPARED, 9);
	assert_int_equal(judge(&v).action, FORMATION_WAIT);
	be(&reports[2], IDENTITY_MEMBER, 8); /* too late: it has formed */
	assert_int_equal(judge(&v).action, FORMATION_CLAIM);
}

static void an_empty_node_among_formed_ones_claims(void **state)
{
	struct formation_view v = view_of_three("n3");
	struct formation_decision d;

	be(&reports[1], IDENTITY_MEMBER, 5);
	d = judge(&v);
	assert_int_equal(d.action, FORMATION_CLAIM);
	assert_int_equal(d.at, 1);
	be_prepared(6); /* for a cluster that never came to be */
	assert_int_equal(judge(&v).action, FORMATION_CLAIM);
	/* Even when its list or its partitions are other ones. */
	reports[1].roster = roster_of(2);
	assert_int_equal(judge(&v).action, FORMATION_CLAIM);
}

static void whoever_is_outnumbered_by_other_lists_gives_up(void **state)
{
	struct formation_view v = view_of_three("n3");

	snprintf(list.member[1].peer, 32, "10.0.0.9:7080");
	assert_int_equal(judge(&v).action, FORMATION_REFUSE);
	assert_true(says("n2=10.0.0.9:7080"));
	assert_true(says("n2=10.0.0.2:7080"));
	v = view_of_three("n1");
	reports[2].partitions = 4;
	assert_int_equal(judge(&v).action, FORMATION_WAIT);
	assert_true(says("4 on n3"));
	v = view_of_three("n3");
	v.partitions = 4;
	assert_int_equal(judge(&v).action, FORMATION_REFUSE);
	assert_true(says("4 partitions here, 1 on n1"));
}

static void two_with_different_lists_leave_the_first_waiting(void **state)
{
	struct formation_view v = view_of_three("n1");

	v.report[2] = NULL;
	reports[1].roster.count = 2;
	assert_int_equal(judge(&v).action, FORMATION_WAIT);
	v = view_of_three("n2");
	v.report[2] = NULL;
	reports[0].roster.count = 2;
	assert_int_equal(judge(&v).action, FORMATION_REFUSE);
	v = view_of_three("n2"); /* the third may be the wrong one */
	v.report[0] = NULL;
	reports[2].roster.count = 2;
	assert_int_equal(judge(&v).action, FORMATION_WAIT);
}

static void another_name_at_an_address_is_told(void **state)
{
	struct formation_view v = view_of_three("n1");

	snprintf(reports[1].name, 8, "n3");
	assert_int_equal(judge(&v).action, FORMATION_WAIT);
	assert_true(says("10.0.0.2:7080 of n2 is answered by n3"));
}

static void a_changed_list_makes_a_prepared_node_an_empty_one(void **state)
{
	struct formation_view v = view_of_three("n2");

	be_prepared(5);
	self.roster.count = 2;
	be(&reports[0], IDENTITY_PREPARED, 5);
	assert_int_equal(judge(&v).action, FORMATION_PREPARE);
	be(&reports[0], IDENTITY_MEMBER, 5); /* but the old one did form */
	assert_int_equal(judge(&v).action, FORMATION_FORM);
}

/* ---------------------------------------------------------- whole nodes -- */

struct whole {
	struct vfs_sim *disk;
	struct links *links;
	struct formation *f;
	struct seed seed;
	struct identity identity; /* as loaded                               */
	char name[8], address[32];
	bool done, up, member;
	uint32_t partitions;
	bool partitions_given;
	enum err err;
	struct buf why;
	/* As one who has formed: what it says to a claim, and heard. */
	struct claimed claimed;
	uint64_t claims[2];
	uint32_t claim_count;
};

static struct whole nodes[NODES_MAX];
static struct roster everyone;

static enum err on_receive(void *ctx, uint64_t from, struct bytes m)
{
	return OK;
}

static void on_link(void *ctx, uint64_t peer, bool up)
{
}

static enum links_standing on_standing(void *ctx, uint64_t id)
{
	return LINKS_MEMBER;
}

static enum err on_question(void *ctx, struct bytes question,
			    struct buf *answer)
{
	struct whole *n = ctx;
	struct question q;
	enum err err;

	if (!n->member)
		return formation_answer(n->f, question, answer);
	err = question_decode(question, &q);
	if (err)
		return err;
	if (!q.is_claim)
		return report_encode(&n->claimed.report, answer);
	n->claims[n->claim_count++ > 0] = q.claim;
	return claimed_encode(&n->claimed, answer);
}

static void start(uint32_t i)
{
	struct whole *n = &nodes[i];
	struct links_options lo = { .listen = n->address,
				    .name = n->name,
				    .clock = clock_os(),
				    .seed = &n->seed,
				    .receive = on_receive,
				    .link = on_link,
				    .standing = on_standing,
				    .question = on_question,
				    .ctx = n };
	struct formation_options fo = { .vfs = vfs_sim_vfs(n->disk),
					.clock = clock_os(),
					.seed = &n->seed,
					.dir = "data",
					.name = n->name,
					.identity = &n->identity,
					.roster = &everyone,
					.partitions = n->partitions,
					.partitions_given = n->partitions_given,
					.ask_ms = 4 };

	assert_false(n->up);
	assert_int_equal(identity_load(vfs_sim_vfs(n->disk), "data",
				       &n->identity, &n->why),
			 OK);
	n->done = n->identity.state == IDENTITY_FORMED ||
		  n->identity.state == IDENTITY_JOINING;
	n->err = OK;
	assert_int_equal(links_open(&lo, &n->links, &n->why), OK);
	fo.links = n->links;
	assert_int_equal(formation_new(&fo, &n->f), OK);
	n->up = true;
}

static void stop(uint32_t i)
{
	struct whole *n = &nodes[i];

	if (!n->up)
		return;
	links_close(n->links);
	formation_free(n->f);
	n->links = NULL;
	n->f = NULL;
	n->up = false;
}

/* A free port for each that stays the same over restarts. */
static void set_up_nodes(uint32_t count)
{
	static uint64_t seed = 1;

	memset(&everyone, 0, sizeof(everyone));
	for (uint32_t i = 0; i < count; i++) {
		struct whole *n = &nodes[i];
		struct links_options lo = { .listen = "127.0.0.1:0",
					    .name = "x",
					    .clock = clock_os(),
					    .seed = &n->seed };

		memset(n, 0, sizeof(*n));
		seed_init(&n->seed, ++seed);
		n->partitions = 1;
		assert_int_equal(vfs_sim_new(seed, DISK_BYTES, &n->disk), OK);
		snprintf(n->name, sizeof(n->name), "n%u", i + 1);
		assert_int_equal(links_open(&lo, &n->links, &n->why), OK);
		snprintf(n->address, sizeof(n->address), "127.0.0.1:%u",
			 links_port(n->links));
		links_close(n->links);
		everyone.count++;
		everyone.member[i].id = i + 1;
		memcpy(everyone.member[i].name, n->name, sizeof(n->name));
		memcpy(everyone.member[i].peer, n->address, sizeof(n->address));
	}
}

static void tear_down_nodes(uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		stop(i);
		vfs_sim_free(nodes[i].disk);
		buf_done(&nodes[i].why);
	}
}

/* One round of node i; what goes wrong is in its err. */
static void run_node(uint32_t i)
{
	struct whole *n = &nodes[i];
	uint64_t wait_ms;
	bool idle;

	if (!n->up)
		return;
	/* One that has formed only answers, as the daemon does. */
	if (!n->done && !n->err && !n->member)
		n->err = formation_step(n->f, &n->done, &wait_ms, &n->why);
	assert_int_equal(links_wait(n->links, 1, &idle), OK);
}

static uint64_t now_ms(void)
{
	return clock_mono_ns(clock_os()) / 1000000;
}

static bool all_done(uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (!nodes[i].done)
			return false;
	}
	return true;
}

/* Those that are done must be believed to have formed: answer like members. */
static void report_as_member(uint32_t i)
{
	struct whole *n = &nodes[i];
	const struct identity *id = formation_identity(n->f);

	if (n->member || !n->done)
		return;
	n->member = true;
	n->claimed.report.state = IDENTITY_MEMBER;
	memcpy(n->claimed.report.name, n->name, sizeof(n->name));
	n->claimed.report.partitions = id->partitions;
	n->claimed.report.node_id = id->node_id;
	n->claimed.report.roster = id->roster;
	memcpy(n->claimed.report.cluster_id, id->cluster_id, 16);
}

static void run_until_done(uint32_t count)
{
	uint64_t end_ms = now_ms() + PATIENCE_MS;

	while (!all_done(count) && now_ms() < end_ms) {
		for (uint32_t i = 0; i < count; i++) {
			run_node(i);
			if (nodes[i].up)
				report_as_member(i);
		}
	}
	assert_true(all_done(count));
}

static void expect_one_cluster(uint32_t count)
{
	const struct identity *first = formation_identity(nodes[0].f);
	static const uint8_t none[16];

	assert_memory_not_equal(first->cluster_id, none, 16);
	for (uint32_t i = 0; i < count; i++) {
		const struct identity *id = formation_identity(nodes[i].f);
		struct identity saved;

		assert_int_equal(id->state, IDENTITY_FORMED);
		assert_false(id->joined);
		assert_int_equal(id->node_id, i + 1);
		assert_int_equal(id->partitions, 1);
		assert_memory_equal(id->cluster_id, first->cluster_id, 16);
		assert_true(roster_equal(&id->roster, &everyone));
		vfs_sim_crash_hard(nodes[i].disk); /* it is durable */
		assert_int_equal(identity_load(vfs_sim_vfs(nodes[i].disk),
					       "data", &saved, &nodes[i].why),
				 OK);
		assert_int_equal(saved.state, IDENTITY_FORMED);
		assert_memory_equal(saved.cluster_id, first->cluster_id, 16);
	}
}

static void three_nodes_form_one_cluster(void **state)
{
	set_up_nodes(3);
	start(2);
	for (int i = 0; i < 50; i++)
		run_node(2);
	start(1);
	for (int i = 0; i < 50; i++) {
		run_node(1);
		run_node(2);
	}
	assert_false(nodes[1].done || nodes[2].done);
	start(0);
	run_until_done(3);
	expect_one_cluster(3);
	tear_down_nodes(3);
}

static void a_list_of_one_forms_at_once(void **state)
{
	set_up_nodes(1);
	start(0);
	run_until_done(1);
	expect_one_cluster(1);
	tear_down_nodes(1);
}

/* Node i loses power at its nth change of the disk; false: it had fewer. */
static bool form_with_a_crash(uint32_t i, uint64_t nth, bool after_it)
{
	struct whole *n = &nodes[i];
	bool crashed = false;

	set_up_nodes(3);
	vfs_sim_power_off(n->disk, VFS_SIM_CHANGES, nth, after_it);
	for (uint32_t k = 0; k < 3; k++)
		start(k);
	for (uint64_t end_ms = now_ms() + PATIENCE_MS;
	     now_ms() < end_ms && !all_done(3);) {
		for (uint32_t k = 0; k < 3; k++) {
			run_node(k);
			report_as_member(k);
		}
		if (!n->err)
			continue;
		assert_int_equal(n->err, ERR_IO);
		assert_false(crashed);
		crashed = true;
		stop(i);
		vfs_sim_crash(n->disk);
		start(i);
	}
	assert_true(all_done(3));
	expect_one_cluster(3);
	tear_down_nodes(3);
	return crashed;
}

static void power_is_lost_at_every_step_of_every_node(void **state)
{
	uint64_t crashes = 0;

	for (uint32_t i = 0; i < 3; i++) {
		for (uint64_t nth = 1; form_with_a_crash(i, nth, nth % 2);
		     nth++)
			crashes++;
		for (uint64_t nth = 1; form_with_a_crash(i, nth, nth % 2 == 0);
		     nth++)
			crashes++;
	}
	assert_true(crashes >= 40);
}

static void all_lose_power_again_and_again(void **state)
{
	struct seed seed;
	uint64_t number =
		getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : now_ms();

	print_message("SEED=%llu\n", (unsigned long long)number);
	seed_init(&seed, number);
	set_up_nodes(3);
	for (uint32_t i = 0; i < 3; i++)
		start(i);
	for (int round = 0; round < 400; round++) {
		uint32_t i = (uint32_t)seed_below(&seed, 3);

		for (uint32_t k = 0; k < 3; k++) {
			run_node(k);
			report_as_member(k);
		}
		if (seed_below(&seed, 10))
			continue;
		stop(i);
		nodes[i].member = false;
		vfs_sim_crash(nodes[i].disk);
		start(i);
		report_as_member(i);
	}
	run_until_done(3);
	expect_one_cluster(3);
	tear_down_nodes(3);
}

/* Node 4 of 4 is new; the others answer as members do. */
static void start_newcomer(enum claim_result result, uint64_t id)
{
	set_up_nodes(4);
	for (uint32_t i = 0; i < 3; i++) {
		struct whole *n = &nodes[i];

		n->member = true;
		n->claimed.result = result;
		n->claimed.report.state = IDENTITY_MEMBER;
		n->claimed.report.partitions = 3;
		n->claimed.report.node_id = id;
		n->claimed.report.cluster_id[0] = 9;
		n->claimed.report.roster = everyone;
		n->claimed.report.roster.count = 3;
		memcpy(n->claimed.report.name, n->name, sizeof(n->name));
		start(i);
	}
}

static void run_newcomer(uint64_t ms)
{
	uint64_t end_ms = now_ms() + ms;

	while (now_ms() < end_ms && !nodes[3].done && !nodes[3].err) {
		for (uint32_t i = 0; i < 4; i++)
			run_node(i);
	}
}

static bool newcomer_says(const char *text)
{
	return memmem(nodes[3].why.p, nodes[3].why.n, text, strlen(text)) !=
	       NULL;
}

static void a_newcomer_waits_for_members_add(void **state)
{
	const struct identity *id;
	uint64_t claim;

	start_newcomer(CLAIM_UNKNOWN, 0);
	start(3);
	run_newcomer(300);
	assert_false(nodes[3].done);
	assert_true(newcomer_says("members add n4"));
	/* It asks with the same number after a crash. */
	claim = nodes[0].claims[0];
	assert_true(claim > 1);
	stop(3);
	vfs_sim_crash_hard(nodes[3].disk);
	start(3);
	for (uint32_t i = 0; i < 3; i++)
		nodes[i].claimed.result = CLAIM_GRANTED;
	for (uint32_t i = 0; i < 3; i++)
		nodes[i].claimed.report.node_id = 12;
	run_newcomer(PATIENCE_MS);
	assert_true(nodes[3].done);
	assert_int_equal(nodes[0].claims[1], claim);
	id = formation_identity(nodes[3].f);
	assert_int_equal(id->state, IDENTITY_JOINING);
	assert_true(id->joined);
	assert_int_equal(id->node_id, 12);
	assert_int_equal(id->partitions, 3);
	assert_int_equal(id->cluster_id[0], 9);
	assert_int_equal(id->roster.count, 3);
	tear_down_nodes(4);
}

static void a_wiped_node_waits_for_members_replace(void **state)
{
	start_newcomer(CLAIM_TAKEN, 0);
	start(3);
	run_newcomer(300);
	assert_false(nodes[3].done);
	assert_true(newcomer_says("members replace n4"));
	tear_down_nodes(4);
}

static void a_newcomer_with_other_partitions_is_refused(void **state)
{
	start_newcomer(CLAIM_GRANTED, 12);
	nodes[3].partitions = 2;
	nodes[3].partitions_given = true;
	start(3);
	run_newcomer(PATIENCE_MS);
	assert_int_equal(nodes[3].err, ERR_INVALID);
	assert_true(newcomer_says("2 partitions here, 3 in the cluster"));
	tear_down_nodes(4);
}

static int release(void **state)
{
	buf_done(&why);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_identity_reads_back_and_damage_is_seen),
		cmocka_unit_test(the_bytes_of_an_identity_stay_as_they_are),
		cmocka_unit_test(what_comes_in_malformed_is_refused),
		cmocka_unit_test(
			the_first_prepares_only_when_all_are_there_and_empty),
		cmocka_unit_test(the_others_follow_the_first),
		cmocka_unit_test(the_first_forms_only_when_all_are_prepared),
		cmocka_unit_test(a_wiped_first_takes_over_what_was_prepared),
		cmocka_unit_test(an_empty_node_among_formed_ones_claims),
		cmocka_unit_test(
			whoever_is_outnumbered_by_other_lists_gives_up),
		cmocka_unit_test(
			two_with_different_lists_leave_the_first_waiting),
		cmocka_unit_test(another_name_at_an_address_is_told),
		cmocka_unit_test(
			a_changed_list_makes_a_prepared_node_an_empty_one),
		cmocka_unit_test(three_nodes_form_one_cluster),
		cmocka_unit_test(a_list_of_one_forms_at_once),
		cmocka_unit_test(power_is_lost_at_every_step_of_every_node),
		cmocka_unit_test(all_lose_power_again_and_again),
		cmocka_unit_test(a_newcomer_waits_for_members_add),
		cmocka_unit_test(a_wiped_node_waits_for_members_replace),
		cmocka_unit_test(a_newcomer_with_other_partitions_is_refused),
	};

	log_set_level(getenv("TEST_LOG") ? LOG_DEBUG : LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, release);
}
