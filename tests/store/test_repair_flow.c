/*
 * tests/store/test_repair_flow.c - proves store/repair.c by itself: three nodes
 * whose engines and rafts are stand-ins; messages are handed over by the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/net.h"
#include "engine/replica.h"
#include "store/group_internal.h"
#include "store/state_internal.h"

enum { NODES = 3, KEYS = 300, ENTRIES = 50, MESSAGES_MAX = 1024 };

struct key {
	char name[16];
	uint64_t version;
	bool damaged, told;
};

/* What raft.o would be. */
struct raft {
	struct raft_conf conf;
	uint64_t id, missing;
	uint32_t set;
};

struct engine {
	struct key keys[KEYS];
	uint32_t key_count;
	bool lost[ENTRIES + 1]; /* entries */
	uint64_t term_of[ENTRIES + 1];
	uint64_t applied;
	uint32_t heals, syncs, settles, gets;
	enum err heal_err;
	int lie; /* what it answers is wrong in this way */
};

struct node {
	uint64_t id;
	struct store s;
	struct engine e;
	struct raft raft;
	struct partition part;
	struct buf out;
	uint64_t out_to;
	enum item_kind out_kind;
	bool silent;
};

struct message {
	uint64_t from, to;
	enum item_kind kind;
	struct buf bytes;
};

static struct world {
	struct clock_sim clock;
	struct seed seed;
	struct net net;
	struct node nodes[NODES + 1];
	struct message queue[MESSAGES_MAX];
	uint32_t queued;
} w;

/* ---------------------------------------------------------- stand-ins ---- */

static struct node *node_of(struct store *s)
{
	for (int i = 1; i <= NODES; i++) {
		if (s == &w.nodes[i].s)
			return &w.nodes[i];
	}
	fail();
	return NULL;
}

const struct raft_conf *raft_conf(const struct raft *r)
{
	return &r->conf;
}

void raft_status(const struct raft *r, struct raft_status *status)
{
	*status = (struct raft_status){ .id = r->id, .missing = r->missing };
}

void raft_set_missing(struct raft *r, uint64_t index)
{
	r->missing = index;
	r->set++;
}

struct buf *outbox_begin(struct store *s, uint64_t to, enum item_kind kind,
			 uint16_t partition)
{
	struct node *n = node_of(s);

	n->out.n = 0;
	n->out_to = to;
	n->out_kind = kind;
	return &n->out;
}

void outbox_end(struct store *s)
{
	struct node *n = node_of(s);
	struct message *m = &w.queue[w.queued++];

	assert_true(w.queued < MESSAGES_MAX);
	*m = (struct message){ .from = n->id,
			       .to = n->out_to,
			       .kind = n->out_kind };
	assert_int_equal(buf_add(&m->bytes, n->out.p, n->out.n), OK);
}

void outbox_drop(struct store *s)
{
}

bool group_open(struct partition *p)
{
	return true;
}

void group_fed(struct partition *p)
{
}

static struct key *find_key(struct engine *e, struct bytes key)
{
	for (uint32_t i = 0; i < e->key_count; i++) {
		if (bytes_equal(bytes_str(e->keys[i].name), key))
			return &e->keys[i];
	}
	return NULL;
}

uint64_t engine_missing(struct engine *e, uint16_t partition)
{
	for (uint64_t i = e->applied + 1; i <= ENTRIES; i++) {
		if (e->lost[i])
			return i;
	}
	return 0;
}

uint64_t engine_first_index(struct engine *e, uint16_t partition)
{
	return 1;
}

uint64_t engine_applied_index(struct engine *e, uint16_t partition)
{
	return e->applied;
}

enum err engine_term_at(struct engine *e, uint16_t partition, uint64_t index,
			uint64_t *term)
{
	*term = e->term_of[index];
	return OK;
}

void engine_log_entry_done(struct engine_log_entry *le)
{
	free(le->records);
	buf_done(&le->bytes);
}

enum err engine_log_read(struct engine *e, uint16_t partition, uint64_t index,
			 struct engine_log_entry *le)
{
	if (index > ENTRIES)
		return ERR_NOT_FOUND;
	if (e->lost[index])
		return ERR_CORRUPT;
	if (!le->records)
		le->records = calloc(1, sizeof(*le->records));
	assert_non_null(le->records);
	le->records[0] = (struct engine_record){ .type = RECORD_PUT,
						 .key = bytes_str("k"),
						 .value = bytes_str("v") };
	le->entry = (struct engine_entry){
		.index = index,
		.term = e->term_of[index] + (e->lie == 1),
		.stamp_ns = index,
		.records = le->records,
		.record_count = 1,
	};
	return OK;
}

enum err engine_heal_entry(struct engine *e, const struct engine_entry *entry)
{
	if (e->heal_err)
		return e->heal_err;
	assert_true(entry->index >= 1 && entry->index <= ENTRIES);
	assert_int_equal(entry->term, e->term_of[entry->index]);
	assert_int_equal(entry->record_count, 1);
	e->lost[entry->index] = false;
	e->heals++;
	return OK;
}

enum err engine_heal_record(struct engine *e, const struct record *r)
{
	struct key *k = find_key(e, r->key);

	if (e->heal_err)
		return e->heal_err;
	assert_non_null(k);
	assert_int_equal(version_pack(r->index, r->position), k->version);
	assert_int_equal(r->term, 4);
	k->damaged = k->told = false;
	e->heals++;
	return OK;
}

enum err engine_sync(struct engine *e)
{
	e->syncs++;
	return OK;
}

enum err engine_heal_settle(struct engine *e)
{
	assert_true(e->syncs > e->settles); /* durable before it is in force */
	e->settles++;
	return OK;
}

uint32_t engine_damaged_take(struct engine *e, struct engine_damaged *out,
			     uint32_t cap)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < e->key_count && n < cap; i++) {
		struct key *k = &e->keys[i];

		if (!k->damaged || k->told)
			continue;
		k->told = true;
		out[n].partition = 0;
		out[n].version = k->version;
		out[n].key_bytes = strlen(k->name);
		memcpy(out[n].key, k->name, out[n].key_bytes);
		n++;
	}
	return n;
}

enum err engine_peek(struct engine *e, uint16_t partition, struct bytes key,
		     struct engine_info *info)
{
	struct key *k = find_key(e, key);

	if (!k)
		return ERR_NOT_FOUND;
	*info = (struct engine_info){ .version = k->version };
	return OK;
}

enum err engine_get(struct engine *e, uint16_t partition, struct bytes key,
		    unsigned flags, struct engine_value *v)
{
	struct key *k = find_key(e, key);

	assert_int_equal(flags, ENGINE_VERIFY);
	e->gets++;
	if (!k)
		return ERR_NOT_FOUND;
	if (k->damaged)
		return ERR_CORRUPT;
	*v = (struct engine_value){ .version = k->version,
				    .term = 4,
				    .value = bytes_str("value"),
				    .owned = malloc(1) };
	return OK;
}

void engine_value_done(struct engine_value *v)
{
	free(v->owned);
	v->owned = NULL;
}

static bool is_up(struct net *n, uint64_t id)
{
	return !w.nodes[id].silent;
}

/* ---------------------------------------------------------------- world -- */

static int setup(void **state)
{
	w = (struct world){ .net = { .is_up = is_up } };
	seed_init(&w.seed, 5);
	clock_sim_init(&w.clock, 1000000000000);
	for (uint64_t id = 1; id <= NODES; id++) {
		struct node *n = &w.nodes[id];

		n->id = id;
		n->raft.id = id;
		for (uint64_t k = 1; k <= NODES; k++)
			assert_int_equal(
				raft_conf_add(&n->raft.conf, k, RAFT_VOTER),
				OK);
		n->part.raft = &n->raft;
		n->s = (struct store){ .o = { .clock = &w.clock.clock,
					      .seed = &w.seed,
					      .net = &w.net },
				       .engine = &n->e,
				       .partitions = &n->part,
				       .partition_count = 1 };
		for (uint32_t i = 0; i < KEYS; i++) {
			snprintf(n->e.keys[i].name, sizeof(n->e.keys[i].name),
				 "key%u", i);
			n->e.keys[i].version = version_pack(i + 1, 1);
		}
		n->e.key_count = KEYS;
		n->e.applied = 20;
		for (uint32_t i = 0; i <= ENTRIES; i++)
			n->e.term_of[i] = 1 + i / 10;
		assert_int_equal(repair_start(&n->s), OK);
	}
	return 0;
}

static void drop_messages(void)
{
	while (w.queued > 0)
		buf_done(&w.queue[--w.queued].bytes);
}

static int teardown(void **state)
{
	for (int id = 1; id <= NODES; id++) {
		repair_stop(&w.nodes[id].s);
		buf_done(&w.nodes[id].out);
	}
	drop_messages();
	return 0;
}

static void deliver(const struct message *m)
{
	struct node *n = &w.nodes[m->to];
	struct item item = { .kind = (uint8_t)m->kind,
			     .body = buf_bytes(&m->bytes) };

	if (n->silent)
		return;
	if (m->kind == ITEM_FETCH)
		repair_asked(&n->s, m->from, &item);
	else
		repair_answered(&n->s, m->from, &item);
}

static void round_of_all(void)
{
	struct message now[MESSAGES_MAX];
	uint32_t count = w.queued;

	memcpy(now, w.queue, sizeof(now));
	w.queued = 0;
	w.clock.mono += 10 * 1000000;
	for (uint32_t i = 0; i < count; i++) {
		deliver(&now[i]);
		buf_done(&now[i].bytes);
	}
	for (int id = 1; id <= NODES; id++) {
		struct node *n = &w.nodes[id];

		while (repair_move(&n->s))
			;
		assert_int_equal(repair_round(&n->s), OK);
	}
}

static void run_ms(uint64_t ms)
{
	for (uint64_t i = 0; i < ms; i += 10)
		round_of_all();
}

static uint32_t damaged_keys(const struct engine *e)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < e->key_count; i++)
		n += e->keys[i].damaged;
	return n;
}

/* ---------------------------------------------------------------- tests -- */

static void a_damaged_record_comes_back_from_a_peer(void **state)
{
	struct engine *e = &w.nodes[1].e;

	e->keys[7].damaged = true;
	run_ms(300);
	assert_int_equal(damaged_keys(e), 0);
	assert_int_equal(e->heals, 1);
	assert_int_equal(e->settles, 1);
	assert_int_equal(count_of(&w.nodes[1].s.repairs_healed), 1);
	run_ms(5000);
	assert_int_equal(e->syncs, 1); /* and then it is quiet */
	assert_int_equal(count_of(&w.nodes[1].s.repairs_asked), 1);
}

static void a_peer_that_cannot_help_is_no_end(void **state)
{
	struct engine *e = &w.nodes[1].e;

	for (int other = 0; other < 4; other++) {
		struct key *k = &w.nodes[2].e.keys[other];

		e->keys[other].damaged = true;
		k->damaged = other == 0;
		if (other == 1)
			k->version += 1; /* ahead */
		if (other == 2)
			k->name[0] = 'x'; /* knows nothing of it */
	}
	w.nodes[2].silent = true;
	run_ms(1000);
	assert_int_equal(damaged_keys(e), 0);
	e->keys[5].damaged = e->keys[6].damaged = true;
	w.nodes[3].silent = true;
	w.nodes[2].silent = false;
	run_ms(300);
	assert_int_equal(damaged_keys(e), 0);
	for (int i = 0; i < 4; i++)
		e->keys[i].damaged = true;
	run_ms(20000); /* only node 2, which lacks three of them */
	assert_int_equal(damaged_keys(e), 3);
	assert_true(count_of(&w.nodes[1].s.repairs_failed) >= 6);
	assert_true(count_of(&w.nodes[1].s.repairs_asked) < 60);
	w.nodes[3].silent = false;
	run_ms(20000);
	assert_int_equal(damaged_keys(e), 0);
}

static void more_damage_than_is_held_is_healed_in_turns(void **state)
{
	struct engine *e = &w.nodes[1].e;

	for (int i = 0; i < KEYS; i++)
		e->keys[i].damaged = true;
	run_ms(20000);
	assert_int_equal(damaged_keys(e), 0);
	assert_int_equal(e->heals, KEYS);
	assert_true(e->syncs < KEYS); /* many share one */
}

static void
missing_entries_keep_raft_from_office_until_all_are_back(void **state)
{
	struct node *n = &w.nodes[1];

	n->e.lost[25] = n->e.lost[30] = n->e.lost[31] = true;
	w.nodes[2].silent = w.nodes[3].silent = true;
	run_ms(500);
	assert_int_equal(n->raft.missing, 25);
	w.nodes[2].silent = false;
	w.nodes[2].e.lost[30] = true;
	run_ms(2000);
	assert_int_equal(n->raft.missing, 30);
	w.nodes[3].silent = false;
	run_ms(20000);
	assert_int_equal(n->raft.missing, 0);
	assert_int_equal(engine_missing(&n->e, 0), 0);
	/* node 2's own was healed too */
	assert_int_equal(w.nodes[2].raft.missing, 0);
	assert_int_equal(engine_missing(&w.nodes[2].e, 0), 0);
	assert_true(w.nodes[1].raft.set <= 4);
}

static void a_settled_entry_is_fetched_when_a_peer_was_to_get_it(void **state)
{
	struct node *n = &w.nodes[1];

	n->e.lost[10] = true;
	run_ms(1000);
	assert_int_equal(n->e.heals, 0);
	repair_want(&n->s, &n->part, 10);
	repair_want(&n->s, &n->part, 10);
	run_ms(300);
	assert_int_equal(n->e.heals, 1);
	assert_int_equal(n->raft.set, 0);
}

/* Raft is told to send something else then. */
static void an_entry_that_nobody_has_is_not_counted_on(void **state)
{
	struct node *n = &w.nodes[1];

	assert_int_equal(repair_readable_to(&n->s, &n->part, 8, 20), 20);
	w.nodes[2].silent = w.nodes[3].silent = true;
	n->e.lost[10] = n->e.lost[15] = true;
	repair_want(&n->s, &n->part, 15);
	repair_want(&n->s, &n->part, 10);
	assert_int_equal(repair_readable_to(&n->s, &n->part, 8, 20), 20);
	run_ms(5000);
	assert_int_equal(repair_readable_to(&n->s, &n->part, 8, 20), 9);
	assert_int_equal(repair_readable_to(&n->s, &n->part, 10, 20), 9);
	assert_int_equal(repair_readable_to(&n->s, &n->part, 11, 20), 14);
	assert_int_equal(repair_readable_to(&n->s, &n->part, 16, 20), 20);
	w.nodes[2].silent = w.nodes[3].silent = false;
	run_ms(20000);
	assert_int_equal(n->e.heals, 2);
	assert_int_equal(repair_readable_to(&n->s, &n->part, 8, 20), 20);
}

static void an_entry_of_another_term_is_not_taken(void **state)
{
	struct node *n = &w.nodes[1];

	n->e.lost[25] = true;
	w.nodes[2].e.lie = 1; /* another term than was asked for */
	for (int i = 20; i <= 30; i++)
		w.nodes[3].e.term_of[i] = 9; /* as its log really has it */
	run_ms(10000);
	assert_int_equal(n->raft.missing, 25);
	assert_int_equal(n->e.heals, 0);
	w.nodes[2].e.lie = 0;
	run_ms(20000);
	assert_int_equal(n->raft.missing, 0);
}

/* The question of node 1 about key 0, taken from its message; then silence. */
static uint64_t ticket_of_key(struct node *n, uint64_t *peer)
{
	n->e.keys[0].damaged = true;
	for (int i = 0; i < 20 && w.queued == 0; i++) {
		w.clock.mono += 100000000000;
		assert_int_equal(repair_round(&n->s), OK);
	}
	assert_int_equal(w.queued, 1);
	*peer = w.queue[0].to;
	return get_u64(w.queue[0].bytes.p + 8);
}

static void a_record_that_was_not_asked_for_is_not_taken(void **state)
{
	const struct record good = { .type = RECORD_PUT,
				     .index = 1,
				     .position = 1,
				     .term = 4,
				     .key = bytes_str("key0"),
				     .value = bytes_str("value") };
	struct node *n = &w.nodes[1];

	for (int i = 0; i <= 8; i++) {
		struct item item = { .kind = ITEM_FETCHED };
		struct record r = good;
		struct buf b = BUF_INIT;
		uint64_t peer, ticket;

		ticket = ticket_of_key(n, &peer);
		switch (i) {
		case 0:
			r.index = 2;
			break;
		case 1:
			r.position = 0;
			break;
		case 2:
			r.key = bytes_str("key1");
			break;
		case 3:
			r.type = RECORD_DELETE;
			r.value.n = 0;
			break;
		case 4:
			r.flags = LOC_DAMAGED;
			break;
		case 5:
			ticket += 2;
			break;
		case 6:
			peer = 5 - peer;
			break;
		case 7:
			r.partition = 1;
			break;
		default:
			break;
		}
		assert_int_equal(fetched_begin(&b, FETCH_RECORD, ticket, true),
				 OK);
		assert_int_equal(fetched_record_encode(&b, &r), OK);
		item.body = buf_bytes(&b);
		repair_answered(&n->s, peer, &item);
		assert_int_equal(n->e.heals, i == 8);
		repair_answered(&n->s, peer, &item); /* and not twice */
		assert_int_equal(n->e.heals, i == 8);
		buf_done(&b);
		drop_messages();
	}
}

static void what_is_damaged_no_more_is_forgotten(void **state)
{
	struct node *n = &w.nodes[1];

	w.nodes[2].silent = w.nodes[3].silent = true;
	n->e.keys[0].damaged = true;
	run_ms(1000);
	assert_int_equal(repair_wait_ms(&n->s), 100);
	n->e.keys[0].damaged = false; /* written anew */
	n->e.keys[0].version += 1 << 16;
	run_ms(10000);
	assert_int_equal(repair_wait_ms(&n->s), 1000);
	w.nodes[2].silent = w.nodes[3].silent = false;
	run_ms(1000);
	assert_int_equal(n->e.heals, 0);
}

static void a_poisoned_log_stops_the_node(void **state)
{
	struct node *n = &w.nodes[1];

	n->e.keys[0].damaged = true;
	n->e.heal_err = ERR_NOSPC;
	run_ms(10000);
	assert_int_equal(damaged_keys(&n->e), 1);
	n->e.heal_err = ERR_IO;
	for (int i = 0; i < 2000; i++) {
		uint32_t count = w.queued;
		struct message now[8];

		w.clock.mono += 10 * 1000000;
		assert_true(count <= 8);
		memcpy(now, w.queue, sizeof(now));
		w.queued = 0;
		for (uint32_t k = 0; k < count; k++) {
			deliver(&now[k]);
			buf_done(&now[k].bytes);
		}
		for (int id = 2; id <= NODES; id++) {
			while (repair_move(&w.nodes[id].s))
				;
			assert_int_equal(repair_round(&w.nodes[id].s), OK);
		}
		if (repair_round(&n->s) == ERR_IO)
			return;
	}
	fail();
}

static void noise_does_no_harm(void **state)
{
	struct node *n = &w.nodes[1];

	for (int i = 0; i < 20000; i++) {
		uint8_t noise[80];
		size_t bytes = seed_below(&w.seed, sizeof(noise));
		struct item item = { .kind = ITEM_FETCH,
				     .body = bytes_of(noise, bytes) };

		for (size_t k = 0; k < bytes; k++)
			noise[k] = (uint8_t)seed_below(&w.seed, 3);
		if (bytes > 8 && seed_below(&w.seed, 2))
			memset(noise + 1, 0, 7);
		item.partition = (uint16_t)seed_below(&w.seed, 3);
		repair_asked(&n->s, 2, &item);
		repair_answered(&n->s, 2, &item);
		if (i % 20 == 0)
			run_ms(10);
	}
	assert_int_equal(n->e.heals, 0);
	n->e.keys[0].damaged = true;
	run_ms(500);
	assert_int_equal(n->e.heals, 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_damaged_record_comes_back_from_a_peer),
		T(a_peer_that_cannot_help_is_no_end),
		T(more_damage_than_is_held_is_healed_in_turns),
		T(missing_entries_keep_raft_from_office_until_all_are_back),
		T(a_settled_entry_is_fetched_when_a_peer_was_to_get_it),
		T(an_entry_that_nobody_has_is_not_counted_on),
		T(an_entry_of_another_term_is_not_taken),
		T(a_record_that_was_not_asked_for_is_not_taken),
		T(what_is_damaged_no_more_is_forgotten),
		T(a_poisoned_log_stops_the_node),
		T(noise_does_no_harm),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
