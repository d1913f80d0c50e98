/*
 * store/state_wire.c - chunks of a state, and damaged bytes: encode, and
 * decode what may be anything. See the drawings in state_wire.h.
 *
 * Records keep the form they have in files, so the decoder of engine/record.c,
 * which trusts nothing, serves here too. Each stream has a seed of its own for
 * them: a record of another stream never passes for one of this.
 */
#include "store/state_wire.h"

#include "base/check.h"
#include "base/crc32c.h"
#include "engine/loc.h"

static uint32_t state_seed(uint64_t stream)
{
	return crc32c(0, &stream, sizeof(stream));
}

static bool all_zero(const uint8_t *p, size_t n)
{
	uint8_t any = 0;

	for (size_t i = 0; i < n; i++)
		any |= p[i];
	return any == 0;
}

/* ---------------------------------------------------------------- chunk -- */

/* The header at p, before n bytes of body in all. */
static void put_header(uint8_t *p, size_t n, enum state_kind kind,
		       uint64_t stream, uint32_t number, uint32_t records)
{
	CHECK(n >= STATE_HEADER_BYTES);
	p[4] = (uint8_t)kind;
	memset(p + 5, 0, 3);
	put_u64(p + 8, stream);
	put_u32(p + 16, number);
	put_u32(p + 20, records);
	put_u32(p, crc32c(0, p + 4, n - 4));
}

static enum err encode_begin(struct buf *b, const struct state_chunk *c)
{
	uint8_t *p = b->p + b->n;

	put_u64(p, c->term);
	put_u64(p + 8, c->snapshot.index);
	put_u64(p + 16, c->snapshot.term);
	put_u64(p + 24, c->stamp_ns);
	put_u64(p + 32, c->clock_ns);
	b->n += STATE_BEGIN_BYTES - STATE_HEADER_BYTES;
	return wire_conf_encode(b, &c->snapshot.conf);
}

enum err state_chunk_encode(struct buf *b, const struct state_chunk *c)
{
	size_t from = b->n;
	enum err err = buf_reserve(b, STATE_BEGIN_BYTES);

	CHECK(c->kind != STATE_RECORDS);
	if (err)
		return err;
	b->n += STATE_HEADER_BYTES;
	if (c->kind == STATE_BEGIN)
		err = encode_begin(b, c);
	if (c->kind == STATE_END) {
		put_u64(b->p + b->n, c->record_count);
		b->n += 8;
	}
	if (err) {
		b->n = from;
		return err;
	}
	put_header(b->p + from, b->n - from, c->kind, c->stream, c->number, 0);
	return OK;
}

enum err state_records_begin(struct buf *b)
{
	enum err err;

	b->n = 0;
	err = buf_reserve(b, STATE_HEADER_BYTES);
	if (!err)
		b->n = STATE_HEADER_BYTES;
	return err;
}

enum err state_records_add(struct buf *b, uint64_t stream,
			   const struct record *r)
{
	uint64_t n = record_bytes(r->key.n, r->attrs.n, r->value.n);
	enum err err = buf_reserve(b, n);

	if (!err)
		b->n += record_encode(b->p + b->n, state_seed(stream), r);
	return err;
}

void state_records_end(struct buf *b, uint64_t stream, uint32_t number,
		       uint32_t records)
{
	put_header(b->p, b->n, STATE_RECORDS, stream, number, records);
}

static enum err decode_begin(struct bytes in, struct state_chunk *c)
{
	const uint8_t *p = in.p + STATE_HEADER_BYTES;
	enum err err;

	if (in.n < STATE_BEGIN_BYTES || c->number != 0)
		return ERR_INVALID;
	c->term = get_u64(p);
	c->snapshot.index = get_u64(p + 8);
	c->snapshot.term = get_u64(p + 16);
	c->stamp_ns = get_u64(p + 24);
	c->clock_ns = get_u64(p + 32);
	in = bytes_of(in.p + STATE_BEGIN_BYTES, in.n - STATE_BEGIN_BYTES);
	err = wire_conf_decode(&in, &c->snapshot.conf);
	if (err)
		return err;
	if (in.n > 0 || c->snapshot.index == 0 || c->snapshot.term == 0 ||
	    c->snapshot.index > VERSION_INDEX_MAX || c->snapshot.term > c->term)
		return ERR_INVALID;
	return OK;
}

enum err state_chunk_decode(struct bytes in, struct state_chunk *c)
{
	struct bytes rest;

	if (in.n < STATE_HEADER_BYTES || !all_zero(in.p + 5, 3) ||
	    get_u32(in.p) != crc32c(0, in.p + 4, in.n - 4))
		return ERR_INVALID;
	*c = (struct state_chunk){ .stream = get_u64(in.p + 8),
				   .number = get_u32(in.p + 16),
				   .records = get_u32(in.p + 20) };
	if (c->stream == 0 || in.p[4] == 0 || in.p[4] >= STATE_KIND_MAX)
		return ERR_INVALID;
	c->kind = (enum state_kind)in.p[4];
	if (c->kind != STATE_RECORDS && c->records != 0)
		return ERR_INVALID;
	rest = bytes_of(in.p + STATE_HEADER_BYTES, in.n - STATE_HEADER_BYTES);
	switch (c->kind) {
	case STATE_BEGIN:
		return decode_begin(in, c);
	case STATE_RECORDS:
		c->payload = rest;
		return c->number > 0 && c->records > 0 ? OK : ERR_INVALID;
	case STATE_END:
		if (rest.n != 8 || c->number == 0)
			return ERR_INVALID;
		c->record_count = get_u64(rest.p);
		return OK;
	case STATE_GONE:
		return rest.n == 0 && c->number == 0 ? OK : ERR_INVALID;
	case STATE_KIND_MAX:
		break;
	}
	return ERR_INVALID;
}

/* -------------------------------------------------------------- records -- */

static enum err take_record(struct bytes *in, uint32_t seed, struct record *r)
{
	uint64_t n;

	if (record_decode(in->p, in->n, seed, true, r, &n) != RECORD_OK)
		return ERR_INVALID;
	*in = bytes_of(in->p + n, in->n - n);
	return OK;
}

enum err state_record_next(struct bytes *payload, uint64_t stream,
			   struct record *r)
{
	if (payload->n == 0)
		return ERR_NOT_FOUND;
	return take_record(payload, state_seed(stream), r);
}

/* A PUT as the store makes them. */
static bool put_fits(const struct record *r)
{
	if (r->key.n == 0 || r->flags & LOC_DAMAGED)
		return false;
	return !(r->flags & LOC_CONTENT) || r->value.n == RECORD_CONTENT_BYTES;
}

bool state_record_fits(const struct record *r, uint16_t partition,
		       const struct raft_snapshot *snapshot)
{
	if (r->partition != partition || r->flags >= 64)
		return false;
	if (r->index == 0 || r->index > snapshot->index || r->term == 0 ||
	    r->term > snapshot->term)
		return false;
	if (!(r->flags & LOC_EXPIRES) != !r->expiry_ns)
		return false;
	switch (r->type) {
	case RECORD_PUT:
		return put_fits(r);
	case RECORD_DELETE:
	case RECORD_EXPIRE:
		return r->key.n > 0 && r->value.n == 0;
	case RECORD_DELETE_PREFIX:
		return r->value.n == 0;
	default:
		return false;
	}
}

/* ---------------------------------------------------------------- reply -- */

enum err state_reply_encode(struct buf *b, const struct state_reply *r)
{
	uint8_t p[STATE_REPLY_BYTES] = { 0 };

	put_u64(p, r->stream);
	put_u32(p + 8, r->next);
	p[12] = (uint8_t)r->kind;
	return buf_add(b, p, sizeof(p));
}

enum err state_reply_decode(struct bytes in, struct state_reply *r)
{
	if (in.n != STATE_REPLY_BYTES || !all_zero(in.p + 13, 3) ||
	    in.p[12] == 0 || in.p[12] >= STATE_REPLY_KIND_MAX)
		return ERR_INVALID;
	*r = (struct state_reply){ .kind = (enum state_reply_kind)in.p[12],
				   .stream = get_u64(in.p),
				   .next = get_u32(in.p + 8) };
	return r->stream ? OK : ERR_INVALID;
}

/* ---------------------------------------------------------------- fetch -- */

static bool is_fetch_kind(uint8_t kind)
{
	return kind > 0 && kind < FETCH_KIND_MAX;
}

enum err fetch_encode(struct buf *b, const struct fetch *f)
{
	bool entry = f->kind == FETCH_ENTRY;
	enum err err = buf_reserve(b, FETCH_HEADER_BYTES + f->key.n);
	uint8_t *p;

	if (err)
		return err;
	p = b->p + b->n;
	memset(p, 0, FETCH_HEADER_BYTES);
	p[0] = (uint8_t)f->kind;
	put_u64(p + 8, f->ticket);
	put_u64(p + 16, entry ? f->index : f->version);
	put_u64(p + 24, entry ? f->term : 0);
	if (f->key.n > 0)
		memcpy(p + FETCH_HEADER_BYTES, f->key.p, f->key.n);
	b->n += FETCH_HEADER_BYTES + f->key.n;
	return OK;
}

enum err fetch_decode(struct bytes in, struct fetch *f)
{
	uint64_t what;

	if (in.n < FETCH_HEADER_BYTES || !is_fetch_kind(in.p[0]) ||
	    !all_zero(in.p + 1, 7))
		return ERR_INVALID;
	*f = (struct fetch){ .kind = (enum fetch_kind)in.p[0],
			     .ticket = get_u64(in.p + 8),
			     .term = get_u64(in.p + 24) };
	what = get_u64(in.p + 16);
	in = bytes_of(in.p + FETCH_HEADER_BYTES, in.n - FETCH_HEADER_BYTES);
	if (f->kind == FETCH_ENTRY) {
		f->index = what;
		return in.n == 0 && what > 0 && what <= VERSION_INDEX_MAX
			       ? OK
			       : ERR_INVALID;
	}
	f->version = what;
	f->key = in;
	return in.n > 0 && in.n <= RECORD_KEY_BYTES_MAX && f->term == 0
		       ? OK
		       : ERR_INVALID;
}

enum err fetched_begin(struct buf *b, enum fetch_kind kind, uint64_t ticket,
		       bool found)
{
	uint8_t p[FETCHED_HEADER_BYTES] = { 0 };

	p[0] = (uint8_t)kind;
	p[1] = found;
	put_u64(p + 8, ticket);
	return buf_add(b, p, sizeof(p));
}

enum err fetched_decode(struct bytes in, struct fetched *f)
{
	if (in.n < FETCHED_HEADER_BYTES || !is_fetch_kind(in.p[0]) ||
	    in.p[1] > 1 || !all_zero(in.p + 2, 6))
		return ERR_INVALID;
	*f = (struct fetched){ .kind = (enum fetch_kind)in.p[0],
			       .found = in.p[1],
			       .ticket = get_u64(in.p + 8) };
	f->payload = bytes_of(in.p + FETCHED_HEADER_BYTES,
			      in.n - FETCHED_HEADER_BYTES);
	return f->found == (f->payload.n > 0) ? OK : ERR_INVALID;
}

enum err fetched_record(struct bytes payload, struct record *r)
{
	enum err err = take_record(&payload, 0, r);

	return err || payload.n == 0 ? err : ERR_INVALID;
}

enum err fetched_record_encode(struct buf *b, const struct record *r)
{
	uint64_t n = record_bytes(r->key.n, r->attrs.n, r->value.n);
	enum err err = buf_reserve(b, n);

	if (!err)
		b->n += record_encode(b->p + b->n, 0, r);
	return err;
}
