/*
 * store/wire.c - messages between nodes: items, entries, raft's messages.
 *
 * All integers little-endian, everything begins at a multiple of 8 from the
 * start of the message. What is zero here must be zero: an encoder of today
 * writes one form only, so that a later version can give the rest a meaning.
 *
 *  off  size  entry (its index follows from its place)
 *    0     8  term
 *    8     8  stamp_ns
 *   16     8  mtime_ns
 *   24     4  record_count   1..ENTRY_POSITION_MAX
 *   28     4  records_bytes  of all the records, padding included
 *   32     -  records
 *
 *  off  size  record
 *    0     1  type           enum record_type, not HARD_STATE
 *    1     1  flags          loc.h 0..63 without LOC_DAMAGED
 *    2     2  key_bytes
 *    4     2  attr_bytes
 *    6     2  zero
 *    8     4  value_bytes
 *   12     4  zero
 *   16     8  expiry_ns      not 0 exactly with LOC_EXPIRES
 *   24     -  key, attributes, value, zeros to the next multiple of 8
 *
 *  off  size  raft message
 *    0     1  type           enum raft_msg_type
 *    1     1  flags          1 reject, 2 force
 *    2     2  fields         bit i: number i of the list below is not 0
 *    4     4  entry_count    APPEND only
 *    8     -  the numbers that are not 0, 8 bytes each, in this order:
 *             term index log_term commit hint context stamp_ns entry_bytes
 *    -     -  SNAPSHOT: index u64, term u64, membership; APPEND: the entries
 *
 *  off  size  membership                   membership change
 *    0     4  count                        count
 *    4     1  auto_leave, 0 or 1           transition
 *    5     3  zero                         zero
 *    8     -  count times: id u64, role    count times: id u64, op
 *             u64                          u64
 *
 * Nothing here trusts its input: counts are held against the bytes that are
 * there before memory is taken for them, and what the engine would CHECK of an
 * entry (engine.h) is refused here.
 */
#include <stdlib.h>

#include "base/check.h"
#include "store/wire.h"
#include "store/wire_bytes.h"

enum {
	ENTRY_HEADER_BYTES = 32,
	RECORD_WIRE_BYTES = 24,
	MSG_HEADER_BYTES = 8,
	MSG_FIELDS = 8,
	CONF_HEADER_BYTES = 8,
	CONF_ITEM_BYTES = 16,
};

enum msg_flags { MSG_REJECT = 1, MSG_FORCE = 2 };

_Static_assert(RAFT_MEMBERS_MAX >= RAFT_CHANGES_MAX,
	       "one bound serves memberships and changes");

/* Room for n bytes at the end of b, counted in, not set; NULL: none. */
static uint8_t *extend_raw(struct buf *b, size_t n)
{
	if (buf_reserve(b, n))
		return NULL;
	b->n += n;
	return b->p + b->n - n;
}

static void skip(struct bytes *in, size_t n)
{
	CHECK(n <= in->n);
	in->p += n;
	in->n -= n;
}

/* --------------------------------------------------------------- items --- */

enum err item_next(struct bytes *message, struct item *item)
{
	const uint8_t *p = message->p;
	uint32_t body_bytes;
	size_t bytes;

	if (message->n == 0)
		return ERR_NOT_FOUND;
	if (message->n < ITEM_HEADER_BYTES)
		return ERR_INVALID;
	body_bytes = get_u32(p + 4);
	if (p[0] == 0 || p[1] != 0 || get_u16(p + 2) >= ENGINE_PARTITIONS_MAX ||
	    body_bytes > ITEM_BODY_BYTES_MAX)
		return ERR_INVALID;
	bytes = ITEM_HEADER_BYTES + wire_padded(body_bytes);
	if (bytes > message->n ||
	    !wire_is_zero(p + ITEM_HEADER_BYTES + body_bytes,
			  bytes - ITEM_HEADER_BYTES - body_bytes))
		return ERR_INVALID;
	*item = (struct item){
		.kind = p[0],
		.partition = get_u16(p + 2),
		.body = bytes_of(p + ITEM_HEADER_BYTES, body_bytes),
	};
	skip(message, bytes);
	return OK;
}

enum err item_begin(struct buf *b, enum item_kind kind, uint16_t partition,
		    size_t *at)
{
	size_t begin = b->n;
	uint8_t *p = wire_extend(b, ITEM_HEADER_BYTES);

	CHECK(begin % 8 == 0);
	CHECK(kind > 0 && kind < ITEM_KIND_MAX);
	CHECK(partition < ENGINE_PARTITIONS_MAX);
	if (!p)
		return ERR_NOMEM;
	p[0] = (uint8_t)kind;
	put_u16(p + 2, partition);
	*at = begin;
	return OK;
}

enum err item_end(struct buf *b, size_t at)
{
	size_t body_bytes;

	CHECK(at % 8 == 0 && at + ITEM_HEADER_BYTES <= b->n);
	body_bytes = b->n - at - ITEM_HEADER_BYTES;
	if (body_bytes > ITEM_BODY_BYTES_MAX)
		return ERR_TOO_LARGE;
	if (!wire_extend(b, wire_padded(body_bytes) - body_bytes))
		return ERR_NOMEM;
	put_u32(b->p + at + 4, (uint32_t)body_bytes);
	return OK;
}

/* ------------------------------------------------------------- entries --- */

static size_t record_wire_bytes(size_t key_bytes, size_t attr_bytes,
				size_t value_bytes)
{
	return wire_padded(RECORD_WIRE_BYTES + key_bytes + attr_bytes +
			   value_bytes);
}

static uint8_t *put_bytes(uint8_t *p, struct bytes b)
{
	if (b.n > 0)
		memcpy(p, b.p, b.n);
	return p + b.n;
}

/* Answers where the next record begins. */
static uint8_t *put_record(uint8_t *p, const struct engine_record *r)
{
	uint8_t *at = p + RECORD_WIRE_BYTES;
	uint8_t *end = p + record_wire_bytes(r->key.n, r->attrs.n, r->value.n);

	CHECK(r->key.n <= RECORD_KEY_BYTES_MAX);
	CHECK(r->attrs.n <= RECORD_ATTR_BYTES_MAX);
	CHECK(r->value.n <= RECORD_VALUE_BYTES_MAX);
	memset(p, 0, RECORD_WIRE_BYTES);
	p[0] = r->type;
	p[1] = r->flags & (uint8_t) ~(LOC_DAMAGED | LOC_EXPIRES);
	if (r->expiry_ns)
		p[1] |= LOC_EXPIRES;
	put_u16(p + 2, (uint16_t)r->key.n);
	put_u16(p + 4, (uint16_t)r->attrs.n);
	put_u32(p + 8, (uint32_t)r->value.n);
	put_u64(p + 16, r->expiry_ns);
	at = put_bytes(at, r->key);
	at = put_bytes(at, r->attrs);
	at = put_bytes(at, r->value);
	memset(at, 0, (size_t)(end - at));
	return end;
}

enum err wire_entry_encode(struct buf *b, const struct engine_entry *e)
{
	uint64_t bytes = 0;
	uint8_t *p;

	CHECK(e->record_count > 0);
	CHECK(e->record_count <= ENTRY_POSITION_MAX);
	for (uint32_t i = 0; i < e->record_count; i++)
		bytes += record_wire_bytes(e->records[i].key.n,
					   e->records[i].attrs.n,
					   e->records[i].value.n);
	CHECK(bytes <= ENGINE_ENTRY_BYTES_MAX);
	p = extend_raw(b, ENTRY_HEADER_BYTES + bytes);
	if (!p)
		return ERR_NOMEM;
	put_u64(p, e->term);
	put_u64(p + 8, e->stamp_ns);
	put_u64(p + 16, e->mtime_ns);
	put_u32(p + 24, e->record_count);
	put_u32(p + 28, (uint32_t)bytes);
	p += ENTRY_HEADER_BYTES;
	for (uint32_t i = 0; i < e->record_count; i++)
		p = put_record(p, &e->records[i]);
	return OK;
}

void wire_entry_done(struct wire_entry *we)
{
	free(we->records);
	*we = (struct wire_entry){ 0 };
}

/* What the engine expects of a record (engine.h), as errors. */
static bool record_is_sound(const struct engine_record *r)
{
	bool keyed = r->type == RECORD_PUT || r->type == RECORD_DELETE ||
		     r->type == RECORD_EXPIRE;

	if (r->type == 0 || r->type >= RECORD_TYPE_MAX ||
	    r->type == RECORD_HARD_STATE || r->flags >= 64 ||
	    (r->flags & LOC_DAMAGED))
		return false;
	if (r->key.n > RECORD_KEY_BYTES_MAX ||
	    r->value.n > RECORD_VALUE_BYTES_MAX || (keyed && r->key.n == 0))
		return false;
	if ((r->flags & LOC_CONTENT) &&
	    (r->type != RECORD_PUT || r->value.n != RECORD_CONTENT_BYTES))
		return false;
	return !(r->flags & LOC_EXPIRES) == !r->expiry_ns;
}

/* Take a record off *in; *bytes grows by what it takes in a log. */
static bool take_record(struct bytes *in, struct engine_record *r,
			uint64_t *bytes)
{
	const uint8_t *p = in->p;
	uint32_t key_bytes, attr_bytes, value_bytes;
	size_t used, padded;

	if (in->n < RECORD_WIRE_BYTES)
		return false;
	key_bytes = get_u16(p + 2);
	attr_bytes = get_u16(p + 4);
	value_bytes = get_u32(p + 8);
	if (get_u16(p + 6) || get_u32(p + 12) ||
	    value_bytes > RECORD_VALUE_BYTES_MAX)
		return false;
	used = (size_t)RECORD_WIRE_BYTES + key_bytes + attr_bytes + value_bytes;
	padded = wire_padded(used);
	if (padded > in->n || !wire_is_zero(p + used, padded - used))
		return false;
	*r = (struct engine_record){
		.type = p[0],
		.flags = p[1],
		.expiry_ns = get_u64(p + 16),
		.key = bytes_of(p + RECORD_WIRE_BYTES, key_bytes),
		.attrs =
			bytes_of(p + RECORD_WIRE_BYTES + key_bytes, attr_bytes),
		.value =
			bytes_of(p + RECORD_WIRE_BYTES + key_bytes + attr_bytes,
				 value_bytes),
	};
	*bytes += record_bytes(key_bytes, attr_bytes, value_bytes);
	skip(in, padded);
	return record_is_sound(r);
}

static enum err reserve_records(struct wire_entry *we, uint32_t count)
{
	uint32_t cap = we->record_cap ? we->record_cap : 16;
	void *records;

	CHECK(count <= ENTRY_POSITION_MAX);
	if (count <= we->record_cap)
		return OK;
	while (cap < count)
		cap *= 2;
	records = realloc(we->records, cap * sizeof(*we->records));
	if (!records)
		return ERR_NOMEM;
	we->records = records;
	we->record_cap = cap;
	return OK;
}

enum err wire_entry_decode(struct bytes *in, struct wire_entry *we)
{
	const uint8_t *p = in->p;
	uint32_t count, records_bytes;
	struct bytes rest;
	uint64_t bytes = 0;
	enum err err;

	if (in->n < ENTRY_HEADER_BYTES)
		return ERR_INVALID;
	count = get_u32(p + 24);
	records_bytes = get_u32(p + 28);
	if (records_bytes % 8 || records_bytes > ENGINE_ENTRY_BYTES_MAX ||
	    records_bytes > in->n - ENTRY_HEADER_BYTES)
		return ERR_INVALID;
	if (count == 0 || count > ENTRY_POSITION_MAX ||
	    count > records_bytes / RECORD_WIRE_BYTES)
		return ERR_INVALID;
	err = reserve_records(we, count);
	if (err)
		return err;
	rest = bytes_of(p + ENTRY_HEADER_BYTES, records_bytes);
	for (uint32_t i = 0; i < count; i++) {
		if (!take_record(&rest, &we->records[i], &bytes))
			return ERR_INVALID;
	}
	if (rest.n > 0 || bytes > ENGINE_ENTRY_BYTES_MAX)
		return ERR_INVALID;
	we->entry = (struct engine_entry){ .term = get_u64(p),
					   .stamp_ns = get_u64(p + 8),
					   .mtime_ns = get_u64(p + 16),
					   .records = we->records,
					   .record_count = count };
	skip(in, (size_t)ENTRY_HEADER_BYTES + records_bytes);
	return OK;
}

/* --------------------------------------------------------- memberships --- */

/* The table of ids and numbers that memberships and changes share. */
static uint8_t *put_table(struct buf *b, uint32_t count, uint8_t kind)
{
	uint8_t *p = wire_extend(b, CONF_HEADER_BYTES +
					    (size_t)count * CONF_ITEM_BYTES);

	if (!p)
		return NULL;
	put_u32(p, count);
	p[4] = kind;
	return p + CONF_HEADER_BYTES;
}

/* Check the head of such a table; *count and *kind are its. */
static bool take_table(struct bytes *in, uint32_t *count, uint8_t *kind,
		       const uint8_t **items)
{
	const uint8_t *p = in->p;

	if (in->n < CONF_HEADER_BYTES)
		return false;
	*count = get_u32(p);
	*kind = p[4];
	if (*count > RAFT_MEMBERS_MAX || !wire_is_zero(p + 5, 3) ||
	    *count > (in->n - CONF_HEADER_BYTES) / CONF_ITEM_BYTES)
		return false;
	*items = p + CONF_HEADER_BYTES;
	skip(in, CONF_HEADER_BYTES + (size_t)*count * CONF_ITEM_BYTES);
	return true;
}

enum err wire_conf_encode(struct buf *b, const struct raft_conf *c)
{
	uint8_t *p;

	CHECK(c->count <= RAFT_MEMBERS_MAX);
	p = put_table(b, c->count, c->auto_leave);
	if (!p)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < c->count; i++, p += CONF_ITEM_BYTES) {
		put_u64(p, c->id[i]);
		put_u64(p + 8, c->role[i]);
	}
	return OK;
}

enum err wire_conf_decode(struct bytes *in, struct raft_conf *c)
{
	struct bytes rest = *in;
	struct raft_conf got = { 0 };
	const uint8_t *p;
	uint8_t auto_leave;

	if (!take_table(&rest, &got.count, &auto_leave, &p) || auto_leave > 1)
		return ERR_INVALID;
	got.auto_leave = auto_leave;
	for (uint32_t i = 0; i < got.count; i++, p += CONF_ITEM_BYTES) {
		uint64_t role = get_u64(p + 8);

		if (role > UINT8_MAX)
			return ERR_INVALID;
		got.id[i] = get_u64(p);
		got.role[i] = (uint8_t)role;
	}
	if (raft_conf_check(&got))
		return ERR_INVALID;
	*c = got;
	*in = rest;
	return OK;
}

enum err wire_change_encode(struct buf *b, const struct raft_change *change)
{
	uint8_t *p;

	CHECK(change->count <= RAFT_CHANGES_MAX);
	p = put_table(b, change->count, (uint8_t)change->transition);
	if (!p)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < change->count; i++, p += CONF_ITEM_BYTES) {
		put_u64(p, change->item[i].id);
		put_u64(p + 8, (uint64_t)change->item[i].op);
	}
	return OK;
}

enum err wire_change_decode(struct bytes *in, struct raft_change *change)
{
	struct bytes rest = *in;
	struct raft_change got = { 0 };
	const uint8_t *p;
	uint8_t transition;

	if (!take_table(&rest, &got.count, &transition, &p) ||
	    got.count > RAFT_CHANGES_MAX || transition > RAFT_EXPLICIT)
		return ERR_INVALID;
	got.transition = (enum raft_transition)transition;
	for (uint32_t i = 0; i < got.count; i++, p += CONF_ITEM_BYTES) {
		uint64_t id = get_u64(p), op = get_u64(p + 8);

		if (id == RAFT_NOBODY || op > RAFT_UPDATE)
			return ERR_INVALID;
		got.item[i].id = id;
		got.item[i].op = (enum raft_change_op)op;
	}
	*change = got;
	*in = rest;
	return OK;
}

/* -------------------------------------------------------- raft messages -- */

static uint64_t *field_of(struct raft_msg *m, uint32_t i)
{
	uint64_t *fields[MSG_FIELDS] = {
		&m->term, &m->index,   &m->log_term, &m->commit,
		&m->hint, &m->context, &m->stamp_ns, &m->entry_bytes,
	};

	return fields[i];
}

enum err wire_msg_encode(struct buf *b, const struct raft_msg *m)
{
	size_t begin = b->n;
	struct raft_msg copy = *m;
	uint16_t fields = 0;
	uint8_t *p;
	enum err err = OK;

	CHECK(m->type > 0 && m->type < RAFT_MSG_TYPE_MAX);
	CHECK(m->type == RAFT_MSG_APPEND || m->entry_count == 0);
	CHECK((m->type == RAFT_MSG_SNAPSHOT) == (m->snapshot != NULL));
	for (uint32_t i = 0; i < MSG_FIELDS; i++) {
		if (*field_of(&copy, i))
			fields |= (uint16_t)(1u << i);
	}
	p = wire_extend(b, MSG_HEADER_BYTES +
				   8 * (size_t)__builtin_popcount(fields));
	if (!p)
		return ERR_NOMEM;
	p[0] = (uint8_t)m->type;
	p[1] = (uint8_t)((m->reject ? MSG_REJECT : 0) |
			 (m->force ? MSG_FORCE : 0));
	put_u16(p + 2, fields);
	put_u32(p + 4, m->entry_count);
	p += MSG_HEADER_BYTES;
	for (uint32_t i = 0; i < MSG_FIELDS; i++) {
		if (!(fields & 1u << i))
			continue;
		put_u64(p, *field_of(&copy, i));
		p += 8;
	}
	if (m->snapshot) {
		p = wire_extend(b, 16);
		err = p ? OK : ERR_NOMEM;
		if (!err) {
			put_u64(p, m->snapshot->index);
			put_u64(p + 8, m->snapshot->term);
			err = wire_conf_encode(b, &m->snapshot->conf);
		}
	}
	if (err)
		b->n = begin;
	return err;
}

static enum err take_snapshot(struct bytes *in, struct raft_snapshot *snapshot)
{
	struct raft_snapshot got;
	enum err err;

	if (in->n < 16)
		return ERR_INVALID;
	got.index = get_u64(in->p);
	got.term = get_u64(in->p + 8);
	if (got.index > VERSION_INDEX_MAX)
		return ERR_INVALID;
	skip(in, 16);
	err = wire_conf_decode(in, &got.conf);
	if (!err)
		*snapshot = got;
	return err;
}

/* Indexes fit into a version (loc.h), also that of the last entry. */
static bool indexes_fit(const struct raft_msg *m)
{
	return m->index <= VERSION_INDEX_MAX - m->entry_count &&
	       m->commit <= VERSION_INDEX_MAX;
}

enum err wire_msg_decode(struct bytes *in, struct raft_msg *m,
			 struct raft_snapshot *snapshot)
{
	const uint8_t *p = in->p;
	struct bytes rest = *in;
	struct raft_msg got = { 0 };
	uint32_t fields;
	enum err err;

	if (rest.n < MSG_HEADER_BYTES || p[0] == 0 ||
	    p[0] >= RAFT_MSG_TYPE_MAX || p[1] > (MSG_REJECT | MSG_FORCE))
		return ERR_INVALID;
	got.type = (enum raft_msg_type)p[0];
	got.reject = p[1] & MSG_REJECT;
	got.force = p[1] & MSG_FORCE;
	fields = get_u16(p + 2);
	got.entry_count = get_u32(p + 4);
	skip(&rest, MSG_HEADER_BYTES);
	if (fields >> MSG_FIELDS ||
	    8 * (size_t)__builtin_popcount(fields) > rest.n)
		return ERR_INVALID;
	for (uint32_t i = 0; i < MSG_FIELDS; i++) {
		if (!(fields & 1u << i))
			continue;
		*field_of(&got, i) = get_u64(rest.p);
		if (*field_of(&got, i) == 0)
			return ERR_INVALID;
		skip(&rest, 8);
	}
	if (got.type == RAFT_MSG_SNAPSHOT) {
		err = take_snapshot(&rest, snapshot);
		if (err)
			return err;
		got.snapshot = snapshot;
	}
	if (got.entry_count >
		    (got.type == RAFT_MSG_APPEND
			     ? rest.n / (ENTRY_HEADER_BYTES + RECORD_WIRE_BYTES)
			     : 0) ||
	    !indexes_fit(&got))
		return ERR_INVALID;
	*m = got;
	*in = rest;
	return OK;
}
