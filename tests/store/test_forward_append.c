/*
 * tests/store/test_forward_append.c - appends and renames through every node
 * at once, while messages are lost and come twice and leaders die: each
 * happens once, as its answer says, or not at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/lib/cluster_rig.h"

enum { CLIENTS = 6, OPS_MAX = 2000, LINE_ROOM = 24, FILES = 3 };

static struct cluster rig;

/* One append, and what was said of it. */
struct line {
	struct store_file_op op;
	char text[LINE_ROOM];
	uint32_t file;
	bool begun, done;
	enum err err;
};

static struct line lines[OPS_MAX];
static uint32_t line_count;
static struct line *busy[CLIENTS];
static struct seed chance;

static const char *const names[FILES] = { "log/0", "log/1", "big" };

static void op_done(struct store_file_op *op)
{
	struct line *l = op->user;

	l->done = true;
	l->err = op->err;
}

/* Client i appends a line of its own through a node of its choice. */
static struct line *append(uint32_t i)
{
	struct line *l = &lines[line_count++];
	uint64_t id = seed_below(&chance, rig.o.founders) + 1;

	*l = (struct line){ .file = (uint32_t)seed_below(&chance, FILES) };
	snprintf(l->text, sizeof(l->text), "<%u:%u:%0*d>", i, line_count,
		 (int)seed_below(&chance, 9) + 1, 0);
	l->op = (struct store_file_op){
		.kind = STORE_FILE_WRITE,
		.flags = STORE_FILE_APPEND | STORE_FILE_MAKE,
		.path = bytes_str(names[l->file]),
		.data = bytes_str(l->text),
		.done = op_done,
		.user = l,
	};
	if (!cluster_awake(&rig, id) ||
	    store_file_change(rig.node[id].store, &l->op)) {
		line_count--;
		return NULL;
	}
	l->begun = true;
	return l;
}

static void go_on(bool more)
{
	for (uint32_t i = 0; i < CLIENTS; i++) {
		if (busy[i] && busy[i]->done)
			busy[i] = NULL;
		if (!busy[i] && more && line_count < OPS_MAX)
			busy[i] = append(i);
	}
}

/* Virtual time passes; clients go on as soon as they are answered. */
static void run(uint64_t ms, bool more)
{
	for (uint64_t i = 0; i < ms; i++) {
		go_on(more);
		cluster_run(&rig, 1);
	}
}

static void crash_somebody(void)
{
	uint64_t id = cluster_leader(&rig, 0);

	if (!id || seed_below(&chance, 3) == 0)
		id = seed_below(&chance, rig.o.founders) + 1;
	if (!cluster_runs(&rig, id))
		return;
	if (seed_below(&chance, 2))
		cluster_crash(&rig, id);
	else
		cluster_kill(&rig, id);
	run(seed_below(&chance, 1500), true);
	cluster_start(&rig, id);
}

static void begin(uint32_t n, uint64_t number, uint32_t permille)
{
	struct cluster_options o;

	cluster_options_default(&o, n, 1, number);
	o.weather.loss_permille = permille;
	o.weather.repeat_permille = permille;
	o.weather.reorder_permille = permille;
	seed_init(&chance, number);
	memset(busy, 0, sizeof(busy));
	line_count = 0;
	cluster_init(&rig, &o);
	cluster_start_all(&rig);
	(void)cluster_wait_leader(&rig, 20000);
}

static void heal(void)
{
	rig.o.weather.loss_permille = 0;
	rig.o.weather.reorder_permille = 0;
	rig.o.weather.repeat_permille = 0;
	run(8000, false);
	for (uint32_t i = 0; i < CLIENTS; i++)
		assert_true(!busy[i] || busy[i]->done);
	cluster_expect_same(&rig, 20000);
}

/* ----------------------------------------------------------- the account - */

static uint32_t times_in(struct bytes whole, const char *text)
{
	size_t n = strlen(text);
	uint32_t times = 0;

	for (size_t i = 0; i + n <= whole.n; i++)
		times += memcmp(whole.p + i, text, n) == 0;
	return times;
}

static void check_line(struct bytes whole, const struct line *l)
{
	uint32_t times = times_in(whole, l->text);
	size_t n = strlen(l->text);

	switch (l->err) {
	case OK:
		if (times != 1 || l->op.found_off + n > whole.n ||
		    memcmp(whole.p + l->op.found_off, l->text, n) != 0)
			fail_msg("%s: %u times, said at %llu", l->text, times,
				 (unsigned long long)l->op.found_off);
		return;
	case ERR_UNKNOWN:
		if (times > 1)
			fail_msg("%s: %u times", l->text, times);
		return;
	case ERR_NO_LEADER:
	case ERR_CLOSED:
		if (times > 0)
			fail_msg("%s was not to happen", l->text);
		return;
	default:
		fail_msg("%s: %s", l->text, err_text(l->err));
	}
}

static uint64_t file_ino(uint32_t file)
{
	struct store_file f;

	assert_int_equal(
		store_file_stat(rig.node[1].store, bytes_str(names[file]), &f),
		OK);
	return f.ino;
}

/* Every byte of the file is of a line, and every line is told the truth. */
static void check_file(uint32_t file, uint32_t *ok, uint32_t *unknown)
{
	struct buf whole = BUF_INIT;
	uint64_t there = 0, ino = file_ino(file);

	assert_int_equal(
		cluster_get(&rig, 1, names[file], STORE_LINEARIZABLE, &whole),
		OK);
	for (uint32_t i = 0; i < line_count; i++) {
		const struct line *l = &lines[i];

		if (l->file != file)
			continue;
		check_line(buf_bytes(&whole), l);
		there += times_in(buf_bytes(&whole), l->text) * strlen(l->text);
		*ok += l->err == OK;
		*unknown += l->err == ERR_UNKNOWN;
		if (l->err == OK)
			assert_int_equal(l->op.found_ino, ino);
	}
	assert_int_equal(there, whole.n);
	buf_done(&whole);
}

static uint32_t check_all(void)
{
	uint32_t ok = 0, unknown = 0;

	for (uint32_t file = 0; file < FILES; file++)
		check_file(file, &ok, &unknown);
	return ok;
}

static void messages_are_lost(uint32_t n, uint64_t number)
{
	begin(n, number, 80);
	run(15000, true);
	heal();
	assert_true(check_all() > 200);
	cluster_done(&rig);
}

static void two_nodes_in_bad_weather(void **state)
{
	messages_are_lost(2, 81);
}

static void three_nodes_in_bad_weather(void **state)
{
	messages_are_lost(3, 82);
}

static void leaders_die(void **state)
{
	for (uint64_t number = 90; number < 96; number++) {
		begin(3, number, 30);
		for (int i = 0; i < 8; i++) {
			run(500 + seed_below(&chance, 1500), true);
			crash_somebody();
		}
		run(2000, true);
		heal();
		assert_true(check_all() > 100);
		cluster_done(&rig);
	}
}

/* ---------------------------------------------------------------- renames - */

static enum err mv(uint64_t id, const char *from, const char *to)
{
	struct store_file_op op = { .kind = STORE_FILE_RENAME,
				    .flags = STORE_FILE_NOREPLACE,
				    .path = bytes_str(from),
				    .path2 = bytes_str(to) };

	return cluster_file(&rig, id, &op);
}

/*
 * A directory goes to and fro. Done twice a rename would be refused, for its
 * old name is gone: a refusal of what must work would be a second effect told.
 */
static void a_rename_is_done_once(void **state)
{
	static const char *const path[2] = { "here", "there" };
	uint32_t at = 0, done = 0, unknown = 0;

	begin(3, 97, 100);
	cluster_must_put(&rig, "here/a/k", "value", 20000);
	cluster_must_put(&rig, "here/b", "value", 20000);
	for (int i = 0; i < 120; i++) {
		enum err err = mv((uint64_t)i % 3 + 1, path[at], path[1 - at]);
		struct buf b = BUF_INIT;

		if (err == ERR_UNKNOWN) { /* which is it? */
			char key[16];

			unknown++;
			cluster_run(&rig, 10000);
			snprintf(key, sizeof(key), "%s/b", path[1 - at]);
			while (cluster_get(&rig, 1, key, STORE_LINEARIZABLE,
					   &b) == ERR_NO_LEADER)
				cluster_run(&rig, 100);
			at = b.n > 0 ? 1 - at : at;
			buf_done(&b);
			continue;
		}
		if (err == ERR_NO_LEADER || err == ERR_CLOSED)
			continue;
		assert_int_equal(err, OK);
		done++;
		at = 1 - at;
	}
	assert_true(done > 60);
	heal();
	cluster_expect(&rig, 2, at ? "there/a/k" : "here/a/k", "value", 20000);
	cluster_expect(&rig, 2, at ? "here/a/k" : "there/a/k", NULL, 20000);
	cluster_done(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_nodes_in_bad_weather),
		cmocka_unit_test(three_nodes_in_bad_weather),
		cmocka_unit_test(leaders_die),
		cmocka_unit_test(a_rename_is_done_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
