/*
 * A member whose files do not open, over loopback to one that serves, with a
 * simulated disk that loses power at every step: it waits, or has become
 * another; it never has the old files under the new id.
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

enum { PATIENCE_MS = 20000, DISK_BYTES = 4 << 20, OLD_ID = 2, NEW_ID = 12 };

static const char *const files[] = { "MANIFEST",     "state",
				     "00000001.log", "00000001.log.hint",
				     "0000000a.dat", "spare-0.tmp" };
enum { FILES = sizeof(files) / sizeof(files[0]) };

/* The one that serves, and the damaged one. */
static struct {
	struct links *links;
	struct seed seed;
	char address[64];
} peer, own;
static struct roster everyone;
static struct claimed answer;
static uint64_t claim_heard;
static struct vfs_sim *disk;
static struct formation *f;
static struct buf why;

static enum err on_receive(void *ctx, uint64_t from, struct bytes message)
{
	return OK;
}

static void on_link(void *ctx, uint64_t id, bool up)
{
}

static enum links_standing on_standing(void *ctx, uint64_t id)
{
	return LINKS_UNKNOWN;
}

static enum err on_question(void *ctx, struct bytes in, struct buf *out)
{
	struct question q;

	if (ctx)
		return formation_answer(f, in, out);
	assert_int_equal(question_decode(in, &q), OK);
	if (!q.is_claim)
		return report_encode(&answer.report, out);
	assert_string_equal(q.name, "n2");
	assert_true(!claim_heard || claim_heard == q.claim);
	claim_heard = q.claim;
	return claimed_encode(&answer, out);
}

static void open_links(struct links **links, struct seed *seed, char *address,
		       const char *name, void *ctx)
{
	struct links_options o = { .listen = address,
				   .name = name,
				   .clock = clock_os(),
				   .seed = seed,
				   .receive = on_receive,
				   .link = on_link,
				   .standing = on_standing,
				   .question = on_question,
				   .ctx = ctx };

	assert_int_equal(links_open(&o, links, &why), OK);
	snprintf(address, 64, "127.0.0.1:%u", links_port(*links));
}

static void path_of(char path[64], bool aside, int i)
{
	snprintf(path, 64, "data/%s%s", aside ? "damaged-2/" : "", files[i]);
}

/* What the directory of member OLD_ID holds when its damage was found. */
static void make_disk(uint64_t seed)
{
	struct identity id = { .state = IDENTITY_DAMAGED,
			       .partitions = 3,
			       .cluster_id = { 9 },
			       .node_id = OLD_ID,
			       .claim = 77 };
	struct vfs *v;

	assert_int_equal(vfs_sim_new(seed, DISK_BYTES, &disk), OK);
	v = vfs_sim_vfs(disk);
	id.roster = everyone;
	assert_int_equal(identity_save(v, "data", &id), OK);
	for (int i = 0; i < FILES; i++) {
		struct vfs_file *file;
		char path[64];

		path_of(path, false, i);
		assert_int_equal(
			vfs_open(v, path, VFS_WRITE | VFS_CREATE, &file), OK);
		assert_int_equal(vfs_pwrite(file, files[i], 5, 0), OK);
		assert_int_equal(vfs_sync(file), OK);
		vfs_close(file);
	}
	assert_int_equal(vfs_sync_dir(v, "data"), OK);
}

static void set_up(uint64_t seed, enum claim_result result)
{
	seed_init(&peer.seed, seed);
	seed_init(&own.seed, seed + 1);
	snprintf(peer.address, sizeof(peer.address), "127.0.0.1:0");
	snprintf(own.address, sizeof(own.address), "127.0.0.1:0");
	open_links(&peer.links, &peer.seed, peer.address, "n1", NULL);
	everyone = (struct roster){ .count = 2 };
	for (uint32_t i = 0; i < 2; i++) {
		struct store_member *m = &everyone.member[i];

		m->id = i + 1;
		snprintf(m->name, sizeof(m->name), "n%u", i + 1);
		snprintf(m->peer, sizeof(m->peer), "%s",
			 i ? "127.0.0.1:1" : peer.address);
	}
	memset(&answer, 0, sizeof(answer));
	answer.result = result;
	answer.report.state = IDENTITY_MEMBER;
	answer.report.partitions = 3;
	answer.report.node_id = NEW_ID;
	answer.report.cluster_id[0] = 9;
	answer.report.roster = everyone;
	answer.report.roster.member[1].id = NEW_ID;
	snprintf(answer.report.name, sizeof(answer.report.name), "n1");
	claim_heard = 0;
	make_disk(seed);
}

static void load(struct identity *id)
{
	assert_int_equal(identity_load(vfs_sim_vfs(disk), "data", id, &why),
			 OK);
}

static void start(void)
{
	struct identity id;
	struct formation_options o = { .vfs = vfs_sim_vfs(disk),
				       .clock = clock_os(),
				       .seed = &own.seed,
				       .dir = "data",
				       .name = "n2",
				       .identity = &id,
				       .roster = &everyone,
				       .partitions = 3,
				       .ask_ms = 4 };

	load(&id);
	open_links(&own.links, &own.seed, own.address, "n2", &own);
	o.links = own.links;
	assert_int_equal(formation_new(&o, &f), OK);
}

static void stop(void)
{
	links_close(own.links);
	formation_free(f);
	f = NULL;
}

static void tear_down(void)
{
	links_close(peer.links);
	vfs_sim_free(disk);
	buf_done(&why);
}

static uint64_t now_ms(void)
{
	return clock_mono_ns(clock_os()) / 1000000;
}

static enum err run(uint64_t ms, bool *done)
{
	uint64_t end_ms = now_ms() + ms, wait_ms;
	enum err err = OK;
	bool idle;

	for (*done = false; !err && !*done && now_ms() < end_ms;) {
		err = formation_step(f, done, &wait_ms, &why);
		assert_int_equal(links_wait(own.links, 1, &idle), OK);
		assert_int_equal(links_wait(peer.links, 0, &idle), OK);
	}
	return err;
}

static bool is_there(bool aside, int i)
{
	uint8_t bytes[8];
	struct vfs_file *file;
	char path[64];
	size_t got;
	enum err err;

	path_of(path, aside, i);
	err = vfs_open(vfs_sim_vfs(disk), path, VFS_READ, &file);
	if (err == ERR_NOT_FOUND)
		return false;
	assert_int_equal(err, OK);
	assert_int_equal(vfs_pread(file, bytes, sizeof(bytes), 0, &got), OK);
	assert_int_equal(got, 5);
	assert_memory_equal(bytes, files[i], 5);
	vfs_close(file);
	return true;
}

/* No file is lost, and whose they are is never in doubt. How many lie aside. */
static int look(void)
{
	struct identity id;
	int aside = 0;

	load(&id);
	for (int i = 0; i < FILES; i++) {
		assert_true(is_there(false, i) != is_there(true, i));
		aside += is_there(true, i);
	}
	if (aside) /* what is left is never taken for a state */
		assert_true(is_there(true, 0));
	if (id.state == IDENTITY_DAMAGED) {
		assert_int_equal(id.node_id, OLD_ID);
	} else {
		assert_int_equal(id.state, IDENTITY_JOINING);
		assert_int_equal(id.node_id, NEW_ID);
		assert_int_equal(aside, FILES);
	}
	return aside;
}

static void it_waits_with_all_its_files_until_it_is_replaced(void **state)
{
	const struct identity *id;
	bool done;

	set_up(1, CLAIM_TAKEN);
	for (int again = 0; again < 2; again++) {
		start();
		assert_int_equal(run(150, &done), OK);
		assert_false(done);
		assert_int_equal(claim_heard, 77);
		assert_int_equal(look(), 0);
		stop();
		vfs_sim_crash_hard(disk);
	}
	answer.result = CLAIM_GRANTED;
	start();
	assert_int_equal(run(PATIENCE_MS, &done), OK);
	assert_true(done);
	id = formation_identity(f);
	assert_int_equal(id->node_id, NEW_ID);
	assert_true(id->joined);
	stop();
	vfs_sim_crash_hard(disk); /* it is durable */
	assert_int_equal(look(), FILES);
	tear_down();
}

static void a_grant_of_another_cluster_or_of_the_old_id_is_none(void **state)
{
	bool done;

	for (int i = 0; i < 2; i++) {
		set_up(1, CLAIM_GRANTED);
		if (i == 0)
			answer.report.cluster_id[0] = 8;
		else
			answer.report.node_id = OLD_ID;
		start();
		assert_int_equal(run(150, &done), OK);
		assert_false(done);
		assert_int_equal(look(), 0);
		stop();
		tear_down();
	}
}

/* Power goes at the nth change of the disk; false: there were fewer. */
static bool replace_with_a_crash(uint64_t nth, bool after_it, uint64_t seed,
				 int *partly)
{
	bool crashed = false, done;
	int aside;

	set_up(seed, CLAIM_GRANTED);
	vfs_sim_power_off(disk, VFS_SIM_CHANGES, nth, after_it);
	start();
	if (run(PATIENCE_MS, &done)) {
		crashed = true;
		stop();
		vfs_sim_crash(disk);
		aside = look();
		*partly += aside > 0 && aside < FILES;
		start();
		if (formation_identity(f)->state != IDENTITY_JOINING)
			assert_int_equal(run(PATIENCE_MS, &done), OK);
	}
	assert_int_equal(formation_identity(f)->state, IDENTITY_JOINING);
	stop();
	vfs_sim_crash_hard(disk);
	assert_int_equal(look(), FILES);
	tear_down();
	return crashed;
}

static void power_is_lost_at_every_step_of_setting_aside(void **state)
{
	int crashes = 0, partly = 0;

	for (uint64_t seed = 1; seed <= 6; seed++) {
		for (uint64_t nth = 1; replace_with_a_crash(
			     nth, seed % 2, seed * 1000 + nth, &partly);
		     nth++)
			crashes++;
	}
	print_message("%d crashes, %d with files in both places\n", crashes,
		      partly);
	assert_true(crashes >= 60);
	assert_true(partly >= 6);
}

static void it_tells_others_that_it_is_damaged_and_decides_nothing(void **state)
{
	struct question q = { .is_claim = true, .name = "n3", .claim = 99 };
	struct buf in = BUF_INIT, out = BUF_INIT;
	struct claimed c;

	set_up(1, CLAIM_TAKEN);
	start();
	assert_int_equal(question_encode(&q, &in), OK);
	assert_int_equal(formation_answer(f, buf_bytes(&in), &out), OK);
	assert_int_equal(claimed_decode(buf_bytes(&out), &c), OK);
	assert_int_equal(c.result, CLAIM_REFUSED);
	assert_int_equal(c.report.state, IDENTITY_DAMAGED);
	assert_int_equal(c.report.cluster_id[0], 9);
	buf_done(&in);
	buf_done(&out);
	stop();
	tear_down();
}

/* All others are empty, as after the loss of all disks but this one. */
static void it_forms_no_new_cluster(void **state)
{
	struct identity id;
	bool done;

	set_up(1, CLAIM_REFUSED);
	answer.report.state = IDENTITY_NONE;
	start();
	assert_int_equal(run(150, &done), OK);
	assert_false(done);
	assert_int_equal(look(), 0);
	load(&id);
	assert_int_equal(id.state, IDENTITY_DAMAGED);
	stop();
	tear_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			it_waits_with_all_its_files_until_it_is_replaced),
		cmocka_unit_test(
			a_grant_of_another_cluster_or_of_the_old_id_is_none),
		cmocka_unit_test(power_is_lost_at_every_step_of_setting_aside),
		cmocka_unit_test(
			it_tells_others_that_it_is_damaged_and_decides_nothing),
		cmocka_unit_test(it_forms_no_new_cluster),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
