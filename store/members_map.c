/*
 * store/members_map.c - the member map: its records, and the copy in memory.
 *
 * The map is applied state of partition 0 like any user's key; the copy is
 * read again whenever a record of it was applied. Only whole records count: one
 * that is damaged here is left out, and as long as one is, this node draws no
 * conclusion from an id that is missing.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "base/net.h"
#include "store/hidden.h"
#include "store/members_internal.h"

enum {
	VALUE_HEAD_BYTES = 24,
	VALUE_BYTES_MAX = VALUE_HEAD_BYTES + STORE_NAME_BYTES_MAX +
			  2 * STORE_ADDRESS_BYTES_MAX,
	RETRY_NS = 1000 * 1000 * 1000,
};

_Static_assert((int)STORE_ADDRESS_BYTES_MAX <= (int)NET_ADDRESS_BYTES_MAX,
	       "the net takes every address of the map");

/* ------------------------------------------------------------- records --- */

static bool is_address(const char *text)
{
	const char *colon = strrchr(text, ':');
	unsigned long port = 0;

	if (!colon || colon == text || !colon[1])
		return false;
	for (const char *p = text; p < colon; p++) {
		if ((uint8_t)*p <= ' ' || (uint8_t)*p > '~')
			return false;
	}
	for (const char *p = colon + 1; *p; p++) {
		if (*p < '0' || *p > '9')
			return false;
		port = port * 10 + (unsigned long)(*p - '0');
		if (port > 65535)
			return false;
	}
	return port > 0;
}

static bool is_name(const char *name)
{
	const char *p = name;

	/* What fits into a path of a URL and a label of a metric as it is. */
	for (; *p; p++) {
		if (!(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z') &&
		    !(*p >= '0' && *p <= '9') && !strchr("._-", *p))
			return false;
	}
	return p > name;
}

bool member_is_sound(const struct store_member *m)
{
	return strnlen(m->name, sizeof(m->name)) < sizeof(m->name) &&
	       strnlen(m->peer, sizeof(m->peer)) < sizeof(m->peer) &&
	       strnlen(m->http, sizeof(m->http)) < sizeof(m->http) &&
	       is_name(m->name) && (!m->peer[0] || is_address(m->peer)) &&
	       (!m->http[0] || is_address(m->http));
}

enum err member_encode(struct buf *b, const struct member *m)
{
	uint8_t head[VALUE_HEAD_BYTES] = { MEMBER_FORMAT };
	size_t name = strlen(m->m.name), peer = strlen(m->m.peer);
	size_t http = strlen(m->m.http);
	enum err err;

	CHECK(name > 0);
	head[1] = (uint8_t)((m->m.stays_learner ? MEMBER_STAYS_LEARNER : 0) |
			    (m->leaving ? MEMBER_LEAVING : 0));
	head[2] = (uint8_t)name;
	put_u16(head + 4, (uint16_t)peer);
	put_u16(head + 6, (uint16_t)http);
	put_u64(head + 8, m->replaces);
	put_u64(head + 16, m->claim);
	err = buf_reserve(b, sizeof(head) + name + peer + http);
	if (err)
		return err;
	CHECK(buf_add(b, head, sizeof(head)) == OK);
	CHECK(buf_add(b, m->m.name, name) == OK);
	CHECK(buf_add(b, m->m.peer, peer) == OK);
	CHECK(buf_add(b, m->m.http, http) == OK);
	return OK;
}

/* A text of n bytes from *p on into dst, with its NUL. */
static bool take_text(const uint8_t **p, size_t n, char *dst, size_t cap)
{
	if (n >= cap || (n > 0 && memchr(*p, 0, n)))
		return false;
	memcpy(dst, *p, n);
	dst[n] = 0;
	*p += n;
	return true;
}

enum err member_decode(struct bytes value, struct member *m)
{
	struct member out = { .m.id = m->m.id };
	const uint8_t *p = value.p;
	size_t peer, http;

	if (value.n >= 1 && p[0] > MEMBER_FORMAT)
		return ERR_VERSION;
	if (value.n < VALUE_HEAD_BYTES || p[0] != MEMBER_FORMAT ||
	    (p[1] & ~MEMBER_FLAGS_ALL) || p[2] == 0 || p[3])
		return ERR_CORRUPT;
	peer = get_u16(p + 4);
	http = get_u16(p + 6);
	if (value.n != VALUE_HEAD_BYTES + (size_t)p[2] + peer + http)
		return ERR_CORRUPT;
	out.m.stays_learner = p[1] & MEMBER_STAYS_LEARNER;
	out.leaving = p[1] & MEMBER_LEAVING;
	out.replaces = get_u64(p + 8);
	out.claim = get_u64(p + 16);
	p += VALUE_HEAD_BYTES;
	if (!take_text(&p, value.p[2], out.m.name, sizeof(out.m.name)) ||
	    !take_text(&p, peer, out.m.peer, sizeof(out.m.peer)) ||
	    !take_text(&p, http, out.m.http, sizeof(out.m.http)))
		return ERR_CORRUPT;
	*m = out;
	return OK;
}

/* A PUT of value, which is copied, under key, which lives as long as b. */
static enum err add_put(struct store *s, struct bytes key, struct bytes value)
{
	struct engine_record *r = entry_record(&s->entry);
	uint8_t *room = entry_room(&s->entry, key.n + value.n);

	if (!r || !room)
		return ERR_NOMEM;
	memcpy(room, key.p, key.n);
	memcpy(room + key.n, value.p, value.n);
	r->type = RECORD_PUT;
	r->key = bytes_of(room, key.n);
	r->value = bytes_of(room + key.n, value.n);
	return OK;
}

enum err member_record(struct store *s, const struct member *m)
{
	uint8_t key[MEMBER_KEY_BYTES];
	struct buf value = BUF_INIT;
	enum err err = member_encode(&value, m);

	CHECK(m->m.id != RAFT_NOBODY);
	if (!err)
		err = add_put(s, member_key(key, m->m.id), buf_bytes(&value));
	buf_done(&value);
	return err;
}

enum err next_id_record(struct store *s, uint64_t next_id)
{
	uint8_t value[8];

	put_u64(value, next_id);
	return add_put(s, next_id_key(), bytes_of(value, sizeof(value)));
}

/* ---------------------------------------------------------- membership --- */

static enum err conf_record(struct store *s, const struct raft_change *change,
			    const struct raft_conf *conf)
{
	struct buf value = BUF_INIT;
	enum err err = wire_change_encode(&value, change);

	if (!err)
		err = wire_conf_encode(&value, conf);
	if (!err)
		err = add_put(s, conf_key(), buf_bytes(&value));
	buf_done(&value);
	return err;
}

enum err members_conf_record(struct store *s, struct partition *p,
			     const struct raft_conf *conf,
			     const struct raft_change *change)
{
	struct raft_conf to;
	enum err err = raft_conf_change(conf, change, &to);

	return err ? err : conf_record(s, change, &to);
}

enum err members_conf_load(struct store *s, struct partition *p,
			   struct raft_conf *conf)
{
	struct raft_change change;
	struct engine_value v;
	struct bytes in;
	enum err err;

	err = engine_get(s->engine, p->id, conf_key(), ENGINE_VERIFY, &v);
	if (err)
		return err;
	in = v.value;
	err = wire_change_decode(&in, &change);
	if (!err)
		err = wire_conf_decode(&in, conf);
	if (!err && in.n > 0)
		err = ERR_INVALID;
	engine_value_done(&v);
	return err == ERR_INVALID ? ERR_CORRUPT : err;
}

/* ------------------------------------------------------------- founding -- */

static int compare_ids(const void *a, const void *b)
{
	uint64_t x = ((const struct member *)a)->m.id;
	uint64_t y = ((const struct member *)b)->m.id;

	return (x > y) - (x < y);
}

/* The options' members by id, or this node alone; how many. */
static uint32_t list_founders(struct store *s, struct member *list)
{
	uint8_t cluster_id[16];
	uint32_t n = s->o.member_count;

	for (uint32_t i = 0; i < n; i++)
		list[i] = (struct member){ .m = s->members->founders[i],
					   .claim = MEMBER_CLAIM_FOUNDER };
	if (n == 0) {
		list[0] = (struct member){ .m = s->o.self,
					   .claim = MEMBER_CLAIM_FOUNDER };
		engine_identity(s->engine, cluster_id, &list[0].m.id);
		if (!list[0].m.name[0])
			snprintf(list[0].m.name, sizeof(list[0].m.name), "%s",
				 s->o.node_name ? s->o.node_name : "n1");
		n = 1;
	}
	qsort(list, n, sizeof(*list), compare_ids);
	return n;
}

enum err members_found(struct store *s, struct partition *p)
{
	static const struct raft_change none = { .transition = RAFT_AUTO };
	struct member list[MEMBERS_MAX];
	struct raft_conf conf = { 0 };
	uint32_t n = list_founders(s, list);
	enum err err = OK;

	for (uint32_t i = 0; i < n && !err; i++)
		err = raft_conf_add(&conf, list[i].m.id, RAFT_VOTER);
	if (!err)
		err = conf_record(s, &none, &conf);
	if (p->id != 0)
		return err;
	for (uint32_t i = 0; i < n && !err; i++)
		err = member_record(s, &list[i]);
	if (!err)
		err = next_id_record(s, list[n - 1].m.id + 1);
	return err ? err : ring_found(s);
}

/* -------------------------------------------------------------- reading -- */

static enum err read_next_id(struct store *s, uint64_t *next_id)
{
	struct engine_value v;
	enum err err;

	err = engine_get(s->engine, 0, next_id_key(), ENGINE_VERIFY, &v);
	if (err)
		return err;
	if (v.value.n == 8 && get_u64(v.value.p) > 0)
		*next_id = get_u64(v.value.p);
	else
		err = ERR_CORRUPT;
	engine_value_done(&v);
	return err;
}

/* The ids that have a record; there is room for MEMBERS_MAX of them. */
static uint32_t read_ids(struct store *s, uint64_t *ids)
{
	struct engine_iter it;
	struct engine_info info;
	struct bytes key;
	uint32_t n = 0;
	bool more;

	engine_iter_begin(s->engine, 0, &it);
	more = engine_iter_seek(&it, member_prefix(), &key, &info);
	while (more && n < MEMBERS_MAX && key.n == MEMBER_KEY_BYTES &&
	       bytes_begins(key, member_prefix())) {
		ids[n++] = get_be64(key.p + 2);
		more = engine_iter_next(&it, &key, &info);
	}
	engine_iter_end(&it);
	return n;
}

static enum err read_member(struct store *s, struct member *m)
{
	uint8_t key[MEMBER_KEY_BYTES];
	struct engine_value v;
	enum err err;

	err = engine_get(s->engine, 0, member_key(key, m->m.id), ENGINE_VERIFY,
			 &v);
	if (err)
		return err;
	err = member_decode(v.value, m);
	engine_value_done(&v);
	return err;
}

/*
 * The only record there is, this node's own, cannot be read, and nobody else
 * has it. The options say all of it; members_update_round writes it anew.
 */
static void know_self(struct store *s, struct members *to)
{
	struct member *self = &to->list[0];
	const char *name = s->o.self.name;

	if (!name[0])
		name = s->o.node_name ? s->o.node_name : "n1";
	*self = (struct member){ .m.id = s->self_id, .unread = true };
	snprintf(self->m.name, sizeof(self->m.name), "%s", name);
	to->count = 1;
}

static enum err read_map(struct store *s, struct members *to)
{
	uint64_t ids[MEMBERS_MAX];
	uint32_t n = read_ids(s, ids);
	enum err err = read_next_id(s, &to->next_id);
	bool no_next_id = err == ERR_CORRUPT;

	to->count = 0;
	to->damaged = no_next_id;
	if (err && !no_next_id)
		return err;
	for (uint32_t i = 0; i < n; i++) {
		struct member *m = &to->list[to->count];

		*m = (struct member){ .m.id = ids[i] };
		err = read_member(s, m);
		if (err == ERR_CORRUPT)
			to->damaged = true;
		else if (err)
			return err;
		else
			to->count++;
	}
	if (n == 1 && to->count == 0 && ids[0] == s->self_id) {
		know_self(s, to);
		to->damaged = no_next_id;
	}
	return OK;
}

/* ------------------------------------------------------------ using it --- */

/* Someone else has that address, who is not on the way out. */
static bool is_taken_over(const struct members *ms, const struct member *m)
{
	for (uint32_t i = 0; i < ms->count; i++) {
		const struct member *other = &ms->list[i];

		if (other != m && !other->leaving &&
		    strcmp(other->m.peer, m->m.peer) == 0)
			return true;
	}
	return false;
}

static bool wants_link(struct store *s, const struct member *m)
{
	return m->m.id != s->self_id && m->m.peer[0] &&
	       !(m->leaving && is_taken_over(s->members, m));
}

static void keep_link(struct store *s, const struct member *m)
{
	struct members *ms = s->members;
	enum err err = s->o.net->peer(s->o.net, m->m.id, m->m.peer);

	if (err) {
		log_warn("store", "peer_not_linked id=%llu error=%s",
			 (unsigned long long)m->m.id, err_text(err));
		ms->retry = true;
		return;
	}
	ms->peers[ms->peer_count++] = m->m.id;
}

static bool is_stray(const struct members *ms, uint64_t id)
{
	for (uint32_t i = 0; i < ms->stray_count; i++) {
		if (ms->strays[i] == id)
			return true;
	}
	return false;
}

/*
 * A removal is through when a majority has it; whoever has not heard of that
 * goes by the membership before, and may need the vote of who was removed.
 */
static void find_strays(struct store *s)
{
	struct members *ms = s->members;

	ms->stray_count = 0;
	for (uint32_t i = 0; i < s->partition_count; i++) {
		const struct raft *raft = s->partitions[i].raft;
		const struct raft_conf *conf = raft ? raft_conf(raft) : NULL;

		for (uint32_t k = 0; conf && k < conf->count; k++) {
			if (member_find(s, conf->id[k]) ||
			    is_stray(ms, conf->id[k]) ||
			    ms->stray_count == MEMBERS_MAX)
				continue;
			ms->strays[ms->stray_count++] = conf->id[k];
		}
	}
}

/* Links to those in the map and those whose vote may be needed. */
static void tell_net(struct store *s)
{
	struct members *ms = s->members;
	uint64_t old[MEMBERS_MAX];
	uint32_t old_count = ms->peer_count;

	if (!s->o.net)
		return;
	find_strays(s);
	memcpy(old, ms->peers, sizeof(old));
	ms->peer_count = 0;
	for (uint32_t i = 0; i < old_count; i++) {
		struct member *m = member_find(s, old[i]);

		if (m && wants_link(s, m))
			continue;
		/* What cannot be read now may still be there. */
		if (!m && (ms->damaged || is_stray(ms, old[i])))
			ms->peers[ms->peer_count++] = old[i];
		else
			(void)s->o.net->peer(s->o.net, old[i], NULL);
	}
	for (uint32_t i = 0; i < ms->count; i++) {
		if (wants_link(s, &ms->list[i]) && ms->peer_count < MEMBERS_MAX)
			keep_link(s, &ms->list[i]);
	}
}

static void use_options(struct store *s)
{
	struct members *ms = s->members;

	ms->next_id = 0;
	ms->count = list_founders(s, ms->list);
	for (uint32_t i = 0; i < ms->count; i++)
		ms->list[i].claim = 0;
}

enum err members_load(struct store *s)
{
	struct members *ms = s->members;
	enum err err = read_map(s, ms);

	ms->looked_ns = clock_mono_ns(s->o.clock);
	ms->changed = false;
	ms->retry = ms->damaged;
	if (err == ERR_NOT_FOUND) {
		use_options(s);
		err = OK;
	} else if (!err) {
		err = ring_read(s);
	}
	if (err == ERR_NOT_FOUND)
		err = ERR_CORRUPT; /* a map and no slot table */
	if (err) {
		ms->damaged = ms->retry = true;
		return err;
	}
	if (ms->damaged && !ms->warned)
		log_warn("store", "member_map_damaged known=%u", ms->count);
	ms->warned = ms->damaged;
	tell_net(s);
	return OK;
}

enum err members_refresh(struct store *s)
{
	struct members *ms = s->members;

	if (!ms->changed &&
	    !(ms->retry &&
	      clock_mono_ns(s->o.clock) - ms->looked_ns > RETRY_NS))
		return OK;
	return members_load(s);
}

void members_applied(struct store *s, const struct engine_applied *a)
{
	struct bytes key = a->record->key;

	if (a->record->partition == 0 && key.n >= 2 && key.p[0] == 0 &&
	    (key.p[1] == 'm' || key.p[1] == 'n'))
		s->members->changed = true;
}

/* ---------------------------------------------------------------- finding */

struct member *member_find(struct store *s, uint64_t id)
{
	struct members *ms = s->members;

	for (uint32_t i = 0; i < ms->count; i++) {
		if (ms->list[i].m.id == id)
			return &ms->list[i];
	}
	return NULL;
}

struct member *member_find_name(struct store *s, const char *name)
{
	struct members *ms = s->members;

	for (uint32_t i = 0; i < ms->count; i++) {
		struct member *m = &ms->list[i];

		if (!m->leaving && strcmp(m->m.name, name) == 0)
			return m;
	}
	return NULL;
}

const struct store_member *member_by_id(struct store *s, uint64_t id)
{
	struct member *m = member_find(s, id);

	return m ? &m->m : NULL;
}

const struct store_member *member_by_name(struct store *s, const char *name)
{
	struct member *m = member_find_name(s, name);

	return m ? &m->m : NULL;
}

bool member_is_leaving(struct store *s, uint64_t id)
{
	struct member *m = member_find(s, id);

	if (m)
		return m->leaving;
	return !s->members->damaged && id < s->members->next_id;
}
