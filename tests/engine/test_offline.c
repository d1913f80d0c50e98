/* tests/engine/test_offline.c - proves engine/offline*.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "engine/offline.h"
#include "engine/replica.h"
#include "tests/lib/engine_world.h"

struct said {
	char text[8192];
	uint64_t lines;
};

static void say(void *ctx, const char *line)
{
	struct said *s = ctx;
	size_t n = strlen(s->text);

	snprintf(s->text + n, sizeof(s->text) - n, "%s\n", line);
	s->lines++;
}

/* Merged files, sealed segments with and without hints, an open one; closed. */
static void build(struct world *w)
{
	world_init(w, 7, 2);
	world_reopen(w);
	for (uint32_t round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < 70; i++) {
			struct world_op op = { RECORD_PUT, i % WORLD_KEYS,
					       20000 };

			assert_int_equal(world_change(w, i % 2, op, true), OK);
		}
		if (round == 0)
			assert_int_equal(world_merge(w), OK);
	}
	world_close(w);
}

static uint64_t check(struct world *w, struct said *s,
		      struct offline_report *report)
{
	*s = (struct said){ 0 };
	assert_int_equal(offline_check(w->o.vfs, "data", say, s, report), OK);
	return report->damaged;
}

static void a_sound_directory_has_no_damage(void **state)
{
	struct offline_report r;
	struct said s;
	struct world w;

	build(&w);
	assert_int_equal(check(&w, &s, &r), 0);
	assert_string_equal(s.text, "");
	assert_int_equal(r.torn, 0);
	assert_true(r.files > 2 && r.records > 100 && r.bytes > 2 << 20);
	world_reopen(&w);
	assert_int_equal(offline_check(w.o.vfs, "data", say, &s, &r), ERR_BUSY);
	world_done(&w);
}

/* Where the newest record of a key lies. */
static uint64_t locate(struct world *w, uint8_t key, char path[64])
{
	struct engine_info info;
	char name[16];
	size_t n = world_key(key, name);

	assert_int_equal(engine_peek(w->e, key % 2, bytes_of(name, n), &info),
			 OK);
	snprintf(path, 64, "data/%08x.log", loc_file_id(info.loc));
	return loc_off(info.loc);
}

static void flipped_bits_are_named(void **state)
{
	static const uint64_t at[] = { 0, 20, 66, 100, 19000 };
	char path[64];

	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		struct offline_report r;
		struct said s;
		struct world w;
		uint64_t off;

		build(&w);
		assert_int_equal(world_open(&w), OK);
		off = locate(&w, 5, path);
		world_close(&w);
		assert_int_equal(vfs_sim_flip(w.sim, path, off + at[i], 8), OK);
		assert_int_equal(check(&w, &s, &r), 1);
		assert_non_null(strstr(s.text, path));
		world_done(&w);
	}
}

struct dumped {
	uint64_t sound, bad, puts;
};

static void on_record(void *ctx, const char *file, uint64_t off,
		      enum record_state state, const struct record *r)
{
	struct dumped *d = ctx;

	assert_true(strlen(file) == 12 && (off || !r));
	d->sound += state == RECORD_OK;
	d->bad += state != RECORD_OK;
	d->puts += r && r->type == RECORD_PUT;
}

static void dump_tells_every_record(void **state)
{
	struct dumped d = { 0 };
	struct world w;
	char path[64];
	uint64_t off;

	build(&w);
	assert_int_equal(offline_dump(w.o.vfs, "data", on_record, &d), OK);
	assert_int_equal(d.bad, 0);
	assert_true(d.puts >= 100);
	assert_int_equal(world_open(&w), OK);
	off = locate(&w, 5, path);
	world_close(&w);
	assert_int_equal(vfs_sim_flip(w.sim, path, off + 5000, 1), OK);
	d = (struct dumped){ 0 };
	assert_int_equal(offline_dump(w.o.vfs, "data", on_record, &d), OK);
	assert_int_equal(d.bad, 1);
	world_done(&w);
}

static void hints_are_written_anew(void **state)
{
	uint64_t count = 0, again = 0;
	struct said s = { 0 };
	struct world w;

	build(&w);
	assert_int_equal(
		offline_rebuild_hints(w.o.vfs, "data", say, &s, &count), OK);
	assert_true(count >= 3);
	world_reopen(&w);
	world_close(&w);
	assert_int_equal(
		offline_rebuild_hints(w.o.vfs, "data", say, &s, &again), OK);
	assert_true(again >= count);
	world_reopen(&w);
	world_done(&w);
}

static void repair_without_consent_changes_nothing(void **state)
{
	struct said s = { 0 };
	struct world w;
	char path[64];
	uint64_t off, changes;

	build(&w);
	assert_int_equal(offline_repair(w.o.vfs, "data", false, say, &s), OK);
	assert_int_equal(world_open(&w), OK);
	off = locate(&w, 5, path);
	world_close(&w);
	assert_int_equal(vfs_sim_flip(w.sim, path, off + 20, 8), OK);
	log_set_level(LOG_ERROR);
	assert_int_equal(world_open(&w), ERR_CORRUPT);
	changes = vfs_sim_calls(w.sim, VFS_SIM_CHANGES);
	assert_int_equal(offline_repair(w.o.vfs, "data", false, say, &s),
			 ERR_CORRUPT);
	assert_int_equal(vfs_sim_calls(w.sim, VFS_SIM_CHANGES), changes);
	assert_non_null(strstr(s.text, path));
	assert_non_null(strstr(s.text, "1 places must be given up"));
	world_done(&w);
}

/* Afterwards it opens, and all but what lay there is as it was. */
static void repair_with_consent_opens_again(void **state)
{
	struct engine_partition_info info;
	struct offline_report r;
	struct said s = { 0 };
	struct vfs_file *f;
	struct world w;
	char path[64], key[16];
	uint32_t sound = 0;
	uint64_t off;

	build(&w);
	assert_int_equal(world_open(&w), OK);
	off = locate(&w, 5, path);
	world_close(&w);
	assert_int_equal(vfs_sim_flip(w.sim, path, off + 20, 8), OK);
	assert_int_equal(offline_repair(w.o.vfs, "data", true, say, &s), OK);
	assert_non_null(strstr(s.text, path));
	assert_int_equal(check(&w, &s, &r), 0);
	assert_int_equal(world_open(&w), OK);
	for (uint8_t k = 0; k < WORLD_KEYS; k++) {
		struct engine_value v;
		struct bytes b = bytes_of(key, world_key(k, key));

		if (engine_get(w.e, k % 2, b, ENGINE_VERIFY, &v))
			continue;
		sound++;
		engine_value_done(&v);
	}
	assert_true(sound >= WORLD_KEYS - 1);
	/* What was given up does not stay for ever. */
	for (int i = 0; i < 3; i++) {
		struct world_op op = { RECORD_PUT, 3, 1000 };

		for (uint16_t p = 0; p < 2; p++) {
			engine_partition_info(w.e, p, &info);
			w.parts[p].count = info.last_index;
			assert_int_equal(world_change(&w, p, op, true), OK);
		}
		assert_int_equal(world_merge(&w), OK);
	}
	assert_int_equal(vfs_open(w.o.vfs, path, VFS_READ, &f), ERR_NOT_FOUND);
	world_close(&w);
	assert_int_equal(world_open(&w), OK);
	world_done(&w);
}

/* Five entries of partition 1, none called settled; the third is lost. */
static void lose_the_third(struct world *w,
			   struct engine_partition_info *before)
{
	static const uint8_t zeros[512];
	struct world_op op = { RECORD_PUT, 1, 300 };
	struct vfs_file *f;
	char path[64];
	uint64_t off;

	build(w);
	assert_int_equal(world_open(w), OK);
	engine_partition_info(w->e, 1, before);
	w->parts[1].count = before->last_index;
	for (op.key = 1; op.key <= 9; op.key += 2)
		assert_int_equal(world_change(w, 1, op, true), OK);
	off = locate(w, 5, path);
	vfs_sim_kill(w->sim);
	world_close(w);
	assert_int_equal(vfs_open(w->o.vfs, path, VFS_WRITE, &f), OK);
	assert_int_equal(vfs_pwrite(f, zeros, 512, off / 512 * 512), OK);
	assert_int_equal(vfs_sync(f), OK);
	vfs_close(f);
}

/*
 * Whole frames behind the lost one, none of them settled yet: the log ends
 * before it, and goes on there in a higher term.
 */
static void what_lies_behind_a_lost_frame_is_given_up(void **state)
{
	struct engine_partition_info before, info;
	struct said s = { 0 };
	struct world w;

	lose_the_third(&w, &before);
	assert_int_equal(world_open(&w), ERR_CORRUPT);
	assert_int_equal(offline_repair(w.o.vfs, "data", true, say, &s), OK);
	for (uint64_t i = 0; i < 3; i++) {
		struct engine_record put = { .type = RECORD_PUT,
					     .key = bytes_str("later") };
		struct engine_entry entry = { .partition = 1,
					      .records = &put,
					      .record_count = 1 };

		assert_int_equal(world_open(&w), OK);
		engine_partition_info(w.e, 1, &info);
		assert_int_equal(info.last_index, before.last_index + 2 + i);
		entry.index = info.last_index + 1;
		entry.term = before.last_term + 1;
		entry.stamp_ns = info.last_stamp_ns + 1;
		assert_int_equal(engine_append(w.e, &entry), OK);
		assert_int_equal(engine_sync(w.e), OK);
		world_close(&w);
	}
	world_done(&w);
}

static enum err open_among_peers(struct world *w)
{
	struct buf why = BUF_INIT;
	enum err err;

	w->o.has_peers = true;
	err = engine_open(&w->o, &w->e, &why);
	if (err)
		w->e = NULL;
	buf_done(&why);
	return err;
}

/* The third, as a peer has it. */
static void give_back_the_third(struct world *w, uint64_t index, uint64_t term)
{
	uint8_t value[300];
	char key[16];
	struct engine_record put = { .type = RECORD_PUT };
	struct engine_entry entry = { .partition = 1,
				      .index = index,
				      .term = term,
				      .stamp_ns = index,
				      .records = &put,
				      .record_count = 1 };

	world_value(1, index, sizeof(value), value);
	put.key = bytes_of(key, world_key(5, key));
	put.value = bytes_of(value, sizeof(value));
	assert_int_equal(engine_heal_entry(w->e, &entry), OK);
	assert_int_equal(engine_sync(w->e), OK);
}

/*
 * The same of a member of a cluster that was repaired by force: what lies
 * behind was acknowledged and stays, the lost one is asked for and put back.
 */
static void a_member_keeps_what_lies_behind_a_lost_frame(void **state)
{
	struct engine_partition_info before, info;
	struct said s = { 0 };
	struct world w;
	uint64_t lost;

	lose_the_third(&w, &before);
	lost = before.last_index + 3;
	assert_int_equal(open_among_peers(&w), ERR_CORRUPT);
	assert_int_equal(offline_repair(w.o.vfs, "data", true, say, &s), OK);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(open_among_peers(&w), OK);
		engine_partition_info(w.e, 1, &info);
		assert_int_equal(info.last_index, lost + 2);
		assert_int_equal(engine_missing(w.e, 1), lost);
		if (i < 2)
			world_close(&w);
	}
	give_back_the_third(&w, lost, before.last_term);
	assert_int_equal(engine_missing(w.e, 1), 0);
	assert_int_equal(engine_settle(w.e, 1, lost + 2, NULL, NULL), OK);
	world_close(&w);
	w.o.has_peers = false;
	world_reopen(&w);
	engine_partition_info(w.e, 1, &info);
	assert_int_equal(info.last_index, lost + 2);
	world_done(&w);
}

static void a_lost_manifest_is_rebuilt_from_the_files(void **state)
{
	for (int damaged = 0; damaged < 2; damaged++) {
		struct said s = { 0 };
		struct world w;

		build(&w);
		if (damaged)
			assert_int_equal(
				vfs_sim_flip(w.sim, "data/MANIFEST", 50, 1),
				OK);
		else
			assert_int_equal(vfs_unlink(w.o.vfs, "data/MANIFEST"),
					 OK);
		assert_int_equal(world_open(&w), ERR_CORRUPT);
		assert_int_equal(
			offline_repair(w.o.vfs, "data", false, say, &s),
			ERR_CORRUPT);
		assert_int_equal(offline_repair(w.o.vfs, "data", true, say, &s),
				 OK);
		world_reopen(&w);
		world_done(&w);
	}
}

/* Zeros from the last frame that holds key on, as if it was never written. */
static void wipe_end(struct world *w, const char *path, uint64_t off)
{
	static uint8_t zeros[1 << 20];
	struct vfs_file *f;
	uint64_t n;

	assert_int_equal(vfs_open(w->o.vfs, path, VFS_WRITE, &f), OK);
	assert_int_equal(vfs_size(f, &n), OK);
	assert_true(n - off <= sizeof(zeros));
	assert_int_equal(vfs_pwrite(f, zeros, n - off, off), OK);
	assert_int_equal(vfs_sync(f), OK);
	vfs_close(f);
}

/*
 * No frame is left that could claim the lost ones; the end mark in the second
 * place does, after a clean stop and after a rest.
 */
static void a_synced_end_that_is_gone_is_damage_not_a_torn_tail(void **state)
{
	for (int clean = 0; clean < 2; clean++) {
		struct world_op op = { RECORD_PUT, 5, 300 };
		struct offline_report r;
		struct buf why = BUF_INIT;
		struct said s = { 0 };
		struct world w;
		char path[64];
		uint64_t off;

		build(&w);
		world_reopen(&w);
		assert_int_equal(world_change(&w, 1, op, true), OK);
		off = locate(&w, 5, path);
		engine_idle(w.e);
		if (!clean)
			vfs_sim_kill(w.sim);
		world_close(&w);
		wipe_end(&w, path, off / 512 * 512);
		assert_int_equal(engine_open(&w.o, &w.e, &why), ERR_CORRUPT);
		assert_int_equal(buf_add(&why, "", 1), OK);
		assert_non_null(strstr((char *)why.p, path));
		assert_non_null(strstr((char *)why.p, "raftcask repair"));
		buf_done(&why);
		assert_true(check(&w, &s, &r) >= 1);
		assert_non_null(strstr(s.text, path));
		assert_int_equal(
			offline_repair(w.o.vfs, "data", false, say, &s),
			ERR_CORRUPT);
		assert_int_equal(offline_repair(w.o.vfs, "data", true, say, &s),
				 OK);
		w.parts[1].acked--;
		w.parts[1].count--;
		world_reopen(&w);
		assert_int_equal(world_change(&w, 1, op, true), OK);
		world_close(&w);
		assert_int_equal(check(&w, &s, &r), 0);
		world_reopen(&w);
		world_done(&w);
	}
}

/* Spoil the last 8 bytes in the file that read as the number. */
static void spoil_number(struct world *w, const char *path, uint64_t number)
{
	struct buf b = BUF_INIT;
	uint64_t off = 0;

	assert_int_equal(vfs_read_all(w->o.vfs, path, 4 << 20, &b), OK);
	for (uint64_t i = 0; i + 8 <= b.n; i += 8)
		if (get_u64(b.p + i) == number)
			off = i;
	buf_done(&b);
	assert_int_not_equal(off, 0);
	assert_int_equal(vfs_sim_flip(w->sim, path, off, 4), OK);
}

static void a_vote_damaged_in_both_places_can_be_given_up(void **state)
{
	struct engine_hard_state hs = { .term = 7001, .vote = 11 };
	struct engine_partition_info info;
	struct buf why = BUF_INIT;
	struct world w;
	struct said s;

	(void)state;
	world_init(&w, 7, 2);
	world_reopen(&w);
	for (uint32_t i = 0; i < 20; i++)
		assert_int_equal(
			world_change(&w, i % 2,
				     (struct world_op){ RECORD_PUT, i, 100 },
				     true),
			OK);
	for (; hs.term <= 7002; hs.term++) {
		assert_int_equal(engine_set_hard_state(w.e, 1, &hs), OK);
		assert_int_equal(engine_sync(w.e), OK);
	}
	world_close(&w);
	spoil_number(&w, "data/00000001.log", 7002);
	spoil_number(&w, "data/state", 7002);
	assert_int_equal(engine_open(&w.o, &w.e, &why), ERR_CORRUPT);
	assert_int_equal(buf_add(&why, "", 1), OK);
	assert_non_null(strstr((const char *)why.p, "--accept-loss"));
	why.n = 0;
	w.o.has_peers = true;
	assert_int_equal(engine_open(&w.o, &w.e, &why), ERR_CORRUPT);
	assert_int_equal(buf_add(&why, "", 1), OK);
	assert_non_null(strstr((const char *)why.p, "members replace"));
	buf_done(&why);
	w.o.has_peers = false;
	w.e = NULL;
	s = (struct said){ 0 };
	assert_int_equal(offline_repair(w.o.vfs, "data", false, say, &s),
			 ERR_CORRUPT);
	assert_non_null(strstr(s.text, "partition 1"));
	assert_int_equal(offline_repair(w.o.vfs, "data", true, say, &s), OK);
	world_reopen(&w);
	engine_partition_info(w.e, 1, &info);
	assert_true(info.hard_state.term > 7001);
	assert_int_equal(info.hard_state.vote, 0);
	world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_vote_damaged_in_both_places_can_be_given_up),
		cmocka_unit_test(a_sound_directory_has_no_damage),
		cmocka_unit_test(flipped_bits_are_named),
		cmocka_unit_test(dump_tells_every_record),
		cmocka_unit_test(hints_are_written_anew),
		cmocka_unit_test(repair_without_consent_changes_nothing),
		cmocka_unit_test(repair_with_consent_opens_again),
		cmocka_unit_test(what_lies_behind_a_lost_frame_is_given_up),
		cmocka_unit_test(a_member_keeps_what_lies_behind_a_lost_frame),
		cmocka_unit_test(a_lost_manifest_is_rebuilt_from_the_files),
		cmocka_unit_test(
			a_synced_end_that_is_gone_is_damage_not_a_torn_tail),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
