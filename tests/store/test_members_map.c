/*
 * tests/store/test_members_map.c - the records of the member map and of the
 * founding entry, and what reading them makes of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/net.h"
#include "store/hidden.h"
#include "store/members_internal.h"
#include "tests/lib/store_rig.h"

static struct store_rig rig;

/* A net that only writes down what it is told. */
static struct buf told;

static enum err note_peer(struct net *n, uint64_t id, const char *address)
{
	assert_int_equal(
		buf_addf(&told, "%lu=%s ", id, address ? address : "-"), OK);
	return OK;
}

static struct net net = { .peer = note_peer };

static int setup(void **state)
{
	store_rig_init(&rig, 7, 4);
	if (!rig.store->members)
		assert_int_equal(members_new(rig.store), OK);
	told = BUF_INIT;
	return 0;
}

static int teardown(void **state)
{
	buf_done(&told);
	store_rig_done(&rig);
	return 0;
}

static void expect_told(const char *text)
{
	assert_int_equal(buf_add(&told, "", 1), OK);
	assert_string_equal((char *)told.p, text);
	told.n = 0;
}

static const struct member golden_member = {
	.m = { .id = 3,
	       .name = "n3",
	       .peer = "host:7080",
	       .http = "host:8080",
	       .stays_learner = true },
	.leaving = true,
	.replaces = 2,
	.claim = 0x0807060504030201,
};

static const uint8_t golden[] = "\x01\x03\x02\x00\x09\x00\x09\x00"
				"\x02\0\0\0\0\0\0\0"
				"\x01\x02\x03\x04\x05\x06\x07\x08"
				"n3host:7080host:8080";

static void member_has_the_bytes_of_the_format(void **state)
{
	struct member m = { .m.id = 3 };
	struct buf b = BUF_INIT;

	assert_int_equal(member_encode(&b, &golden_member), OK);
	assert_int_equal(b.n, sizeof(golden) - 1);
	assert_memory_equal(b.p, golden, b.n);
	assert_int_equal(member_decode(buf_bytes(&b), &m), OK);
	assert_memory_equal(&m, &golden_member, sizeof(m));
	buf_done(&b);
}

static void malformed_member_is_refused(void **state)
{
	uint8_t bad[sizeof(golden)];
	struct member m;

	for (size_t n = 0; n < sizeof(golden) - 1; n++)
		assert_int_equal(member_decode(bytes_of(golden, n), &m),
				 ERR_CORRUPT);
	for (size_t i = 0; i < 8; i++) {
		memcpy(bad, golden, sizeof(bad));
		bad[i] ^= i == 0 ? 1 : 0x84;
		assert_int_equal(
			member_decode(bytes_of(bad, sizeof(bad) - 1), &m),
			ERR_CORRUPT);
	}
	memcpy(bad, golden, sizeof(bad));
	bad[26] = 0; /* a NUL within the address */
	assert_int_equal(member_decode(bytes_of(bad, sizeof(bad) - 1), &m),
			 ERR_CORRUPT);
	memcpy(bad, golden, sizeof(bad));
	bad[0] = 2;
	assert_int_equal(member_decode(bytes_of(bad, sizeof(bad) - 1), &m),
			 ERR_VERSION);
}

static bool sound(const char *name, const char *peer, const char *http)
{
	struct store_member m = { 0 };

	snprintf(m.name, sizeof(m.name), "%s", name);
	snprintf(m.peer, sizeof(m.peer), "%s", peer);
	snprintf(m.http, sizeof(m.http), "%s", http);
	return member_is_sound(&m);
}

static void names_and_addresses_are_checked(void **state)
{
	assert_true(sound("n1.a-B_2", "h:1", "[::1]:65535"));
	assert_true(sound("n1", "", ""));
	assert_false(sound("", "h:1", "h:2"));
	assert_false(sound("a/b", "h:1", "h:2"));
	assert_false(sound("a b", "h:1", "h:2"));
	assert_false(sound("a", "h", "h:2"));
	assert_false(sound("a", ":1", "h:2"));
	assert_false(sound("a", "h:", "h:2"));
	assert_false(sound("a", "h:0", "h:2"));
	assert_false(sound("a", "h:65536", "h:2"));
	assert_false(sound("a", "h:1x", "h:2"));
	assert_false(sound("a", "h h:1", "h:2"));
}

static const struct store_member founders[] = {
	{ .id = 3, .name = "n3", .peer = "c:1", .http = "c:2" },
	{ .id = 1, .name = "n1", .peer = "a:1", .http = "a:2" },
	{ .id = 2, .name = "n2", .peer = "b:1", .http = "b:2" },
};

static void as_founder(uint64_t self, bool reversed)
{
	struct store_options *o = &rig.store->o;
	struct store_member *list = rig.store->members->founders;

	for (int i = 0; i < 3; i++)
		list[reversed ? 2 - i : i] = founders[i];
	o->member_count = 3;
	o->self = founders[self % 3];
	o->net = &net;
}

static void copy_records(struct buf *b)
{
	struct entry_builder *e = &rig.store->entry;

	for (uint32_t i = 0; i < e->count; i++) {
		assert_int_equal(e->records[i].type, RECORD_PUT);
		assert_int_equal(
			buf_add(b, e->records[i].key.p, e->records[i].key.n),
			OK);
		assert_int_equal(buf_add(b, e->records[i].value.p,
					 e->records[i].value.n),
				 OK);
	}
}

static void founding_entry_is_the_same_on_every_founder(void **state)
{
	struct buf one = BUF_INIT, other = BUF_INIT;

	for (uint32_t i = 0; i < 4; i++) {
		one.n = other.n = 0;
		as_founder(1, false);
		entry_begin(&rig.store->entry);
		assert_int_equal(
			members_found(rig.store, &rig.store->partitions[i]),
			OK);
		copy_records(&one);
		as_founder(2, true);
		entry_begin(&rig.store->entry);
		assert_int_equal(
			members_found(rig.store, &rig.store->partitions[i]),
			OK);
		copy_records(&other);
		assert_true(one.n > 0);
		assert_true(bytes_equal(buf_bytes(&one), buf_bytes(&other)));
	}
	buf_done(&one);
	buf_done(&other);
}

/* Make what s->entry holds the applied state of partition. */
static void apply_entry(uint16_t partition)
{
	struct entry_builder *b = &rig.store->entry;
	struct engine_partition_info info;
	struct engine_entry entry = { .partition = partition,
				      .records = b->records,
				      .record_count = b->count };

	engine_partition_info(rig.engine, partition, &info);
	entry.index = info.last_index + 1;
	entry.term = info.last_term;
	entry.stamp_ns = info.last_stamp_ns + 1;
	assert_int_equal(engine_append(rig.engine, &entry), OK);
	assert_int_equal(engine_sync(rig.engine), OK);
	assert_int_equal(
		engine_settle(rig.engine, partition, entry.index, NULL, NULL),
		OK);
}

static void found_all(void)
{
	for (uint32_t i = 0; i < 4; i++) {
		entry_begin(&rig.store->entry);
		assert_int_equal(
			members_found(rig.store, &rig.store->partitions[i]),
			OK);
		apply_entry(i);
	}
}

static void founders_are_read_back(void **state)
{
	struct raft_conf conf;

	as_founder(1, false);
	found_all();
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(members_conf_load(rig.store,
						   &rig.store->partitions[i],
						   &conf),
				 OK);
		assert_int_equal(conf.count, 3);
		assert_int_equal(conf.id[2], 3);
		assert_int_equal(conf.role[2], RAFT_VOTER);
	}
	assert_int_equal(members_load(rig.store), OK);
	expect_told("2=b:1 3=c:1 ");
	assert_int_equal(rig.store->members->next_id, 4);
	assert_string_equal(member_by_id(rig.store, 3)->http, "c:2");
	assert_int_equal(member_by_name(rig.store, "n2")->id, 2);
	assert_null(member_by_name(rig.store, "n4"));
	assert_false(member_is_leaving(rig.store, 3));
	assert_false(member_is_leaving(rig.store, 4));
}

static void without_a_map_the_options_stand_for_it(void **state)
{
	struct engine_record *r;

	as_founder(1, false);
	entry_begin(&rig.store->entry);
	r = entry_record(&rig.store->entry);
	r->type = RECORD_DELETE;
	r->key = next_id_key();
	apply_entry(0);
	assert_int_equal(members_load(rig.store), OK);
	expect_told("2=b:1 3=c:1 ");
	assert_int_equal(rig.store->members->next_id, 0);
	assert_false(member_is_leaving(rig.store, 9));
}

static void links_follow_the_map(void **state)
{
	struct member m;
	uint8_t key[MEMBER_KEY_BYTES];
	struct engine_record *r;

	as_founder(1, false);
	found_all();
	assert_int_equal(members_load(rig.store), OK);
	told.n = 0;
	/* n2 moves, n4 comes in the place of n3, at its address. */
	entry_begin(&rig.store->entry);
	m = *member_find(rig.store, 2);
	snprintf(m.m.peer, sizeof(m.m.peer), "d:1");
	assert_int_equal(member_record(rig.store, &m), OK);
	m = *member_find(rig.store, 3);
	m.leaving = true;
	assert_int_equal(member_record(rig.store, &m), OK);
	m.leaving = false;
	m.replaces = 3;
	m.m.id = 4;
	assert_int_equal(member_record(rig.store, &m), OK);
	assert_int_equal(next_id_record(rig.store, 5), OK);
	apply_entry(0);
	assert_int_equal(members_load(rig.store), OK);
	expect_told("3=- 2=d:1 4=c:1 ");
	assert_int_equal(member_by_name(rig.store, "n3")->id, 4);
	assert_true(member_is_leaving(rig.store, 3));
	/* and n3 is gone for good. */
	entry_begin(&rig.store->entry);
	r = entry_record(&rig.store->entry);
	r->type = RECORD_DELETE;
	r->key = member_key(key, 3);
	apply_entry(0);
	assert_int_equal(members_load(rig.store), OK);
	expect_told("2=d:1 4=c:1 ");
	assert_null(member_by_id(rig.store, 3));
	assert_true(member_is_leaving(rig.store, 3));
}

static void change_of_membership_says_what_it_makes(void **state)
{
	struct raft_conf from = { .count = 1,
				  .id = { 1 },
				  .role = { RAFT_VOTER } };
	struct raft_change change = { .transition = RAFT_AUTO, .count = 1 };
	struct raft_conf conf;

	change.item[0].op = RAFT_ADD_LEARNER;
	change.item[0].id = 7;
	entry_begin(&rig.store->entry);
	assert_int_equal(members_conf_record(rig.store,
					     &rig.store->partitions[1], &from,
					     &change),
			 OK);
	apply_entry(1);
	assert_int_equal(
		members_conf_load(rig.store, &rig.store->partitions[1], &conf),
		OK);
	assert_int_equal(conf.count, 2);
	assert_int_equal(raft_conf_role(&conf, 7), RAFT_LEARNER);
	change.item[0].op = RAFT_REMOVE;
	change.item[0].id = 1; /* nobody would be left to vote */
	assert_int_equal(members_conf_record(rig.store,
					     &rig.store->partitions[1], &from,
					     &change),
			 ERR_INVALID);
}

#define map_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		map_test(member_has_the_bytes_of_the_format),
		map_test(malformed_member_is_refused),
		map_test(names_and_addresses_are_checked),
		map_test(founding_entry_is_the_same_on_every_founder),
		map_test(founders_are_read_back),
		map_test(without_a_map_the_options_stand_for_it),
		map_test(links_follow_the_map),
		map_test(change_of_membership_says_what_it_makes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
