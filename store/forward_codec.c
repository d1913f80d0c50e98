/*
 * store/forward_codec.c - forwarded requests as bytes.
 *
 * All integers little-endian, everything 8-aligned, gaps zero.
 *
 *  off  size  request
 *    0     8  incarnation
 *    8     8  sequence
 *   16     8  floor
 *   24     8  term
 *   32     1  kind: 1 write, 2 piece, 3 abandon, 4 change, 5 file
 *   33     1  flags: 1 again
 *   34     6  zero
 *   40     -  body
 *
 *  off  size  body of a write
 *    0     1  flags: 1 transaction, 2 prefix deletion, 4 upload,
 *             8 results wanted
 *    1     1  zero
 *    2     2  conditions
 *    4     2  then operations
 *    6     2  else operations
 *    8     4  prefix_bytes
 *   12     4  zero
 *   16     -  prefix; conditions and operations, each:
 *               0  1 kind   2  2 key_bytes   4  4 value_bytes
 *               8  8 rev or ttl_ns   16  - key and value
 *    -     -  with an upload: content id u64, bytes u64, chunks u32,
 *             tail_bytes u32, tail
 *
 *  piece    content id u64 (0: a new one), first chunk u32, bytes u32, bytes
 *  abandon  content id u64
 *  change   kind u8, flags u8 (1 stays learner, 2 force), name, peer, http
 *           bytes u16 each, id u64, claim u64, tag bytes u64, the four strings; of a token its name alone, then the
 *           bytes of its record u64, and that (store/tokens.h)
 *  file     see store/forward_file.c
 */
#include <stdlib.h>

#include "base/check.h"
#include "store/forward_internal.h"
#include "store/tokens.h"
#include "store/wire_bytes.h"

enum wire_kind {
	WIRE_WRITE = 1,
	WIRE_PIECE,
	WIRE_ABANDON,
	WIRE_CHANGE,
	WIRE_FILE
};
enum write_flags {
	WRITE_TXN = 1,
	WRITE_PREFIX = 2,
	WRITE_UPLOAD = 4,
	WRITE_RESULTS = 8
};
enum change_flags {
	CHANGE_LEARNER = 1,
	CHANGE_FORCE = 2,
	CHANGE_FLAGS_ALL = 3
};
enum { WRITE_BODY_BYTES = 16, ITEM_BYTES = 16, CHANGE_BYTES = 32 };

uint8_t request_kind_to_wire(enum request_kind kind)
{
	switch (kind) {
	case REQUEST_WRITE:
		return WIRE_WRITE;
	case REQUEST_STAGE:
		return WIRE_PIECE;
	case REQUEST_ABANDON:
		return WIRE_ABANDON;
	case REQUEST_CHANGE:
		return WIRE_CHANGE;
	case REQUEST_FILE:
		return WIRE_FILE;
	}
	return 0;
}

bool request_kind_from_wire(uint8_t wire, uint8_t *kind)
{
	static const uint8_t kinds[] = {
		[WIRE_WRITE] = REQUEST_WRITE,
		[WIRE_PIECE] = REQUEST_STAGE,
		[WIRE_ABANDON] = REQUEST_ABANDON,
		[WIRE_CHANGE] = REQUEST_CHANGE,
		[WIRE_FILE] = REQUEST_FILE,
	};

	if (wire < WIRE_WRITE || wire > WIRE_FILE)
		return false;
	*kind = kinds[wire];
	return true;
}

/* Append the bytes of two views, together padded. */
static enum err add_bytes(struct buf *b, struct bytes x, struct bytes y)
{
	uint8_t *p = wire_extend(b, wire_padded(x.n + y.n));

	if (!p)
		return ERR_NOMEM;
	if (x.n > 0)
		memcpy(p, x.p, x.n);
	if (y.n > 0)
		memcpy(p + x.n, y.p, y.n);
	return OK;
}

/* ---------------------------------------------------- encoding requests -- */

static enum err add_item(struct buf *b, uint8_t kind, struct bytes key,
			 struct bytes value, uint64_t number)
{
	uint8_t *p = wire_extend(b, ITEM_BYTES);

	CHECK(key.n <= STORE_KEY_BYTES_MAX);
	CHECK(value.n <= UINT32_MAX);
	if (!p)
		return ERR_NOMEM;
	p[0] = kind;
	put_u16(p + 2, (uint16_t)key.n);
	put_u32(p + 4, (uint32_t)value.n);
	put_u64(p + 8, number);
	return add_bytes(b, key, value);
}

static enum err add_ops(struct buf *b, const struct store_op *ops,
			uint32_t count)
{
	enum err err = OK;

	for (uint32_t i = 0; i < count && !err; i++) {
		struct bytes value = { 0 };

		if (ops[i].kind == STORE_PUT)
			value = ops[i].value;
		err = add_item(b, (uint8_t)ops[i].kind, ops[i].key, value,
			       ops[i].kind == STORE_PUT ? ops[i].ttl_ns : 0);
	}
	return err;
}

static enum err add_upload(struct buf *b, const struct store_upload *u)
{
	uint8_t *p = wire_extend(b, 24);

	if (!p)
		return ERR_NOMEM;
	put_u64(p, u->content_id);
	put_u64(p + 8, u->bytes);
	put_u32(p + 16, u->chunks);
	put_u32(p + 20, (uint32_t)u->buf.n);
	return add_bytes(b, buf_bytes(&u->buf), (struct bytes){ 0 });
}

static enum err add_write(struct buf *b, const struct store_write *w)
{
	uint8_t *p = wire_extend(b, WRITE_BODY_BYTES);
	struct bytes prefix = { 0 };
	enum err err;

	if (!p)
		return ERR_NOMEM;
	if (w->delete_prefix)
		prefix = w->prefix;
	p[0] = (uint8_t)((w->is_txn ? WRITE_TXN : 0) |
			 (w->delete_prefix ? WRITE_PREFIX : 0) |
			 (w->upload ? WRITE_UPLOAD : 0) |
			 (w->results ? WRITE_RESULTS : 0));
	put_u16(p + 2, (uint16_t)w->condition_count);
	put_u16(p + 4, (uint16_t)w->then_count);
	put_u16(p + 6, (uint16_t)w->else_count);
	put_u32(p + 8, (uint32_t)prefix.n);
	err = add_bytes(b, prefix, (struct bytes){ 0 });
	for (uint32_t i = 0; i < w->condition_count && !err; i++) {
		const struct store_condition *c = &w->conditions[i];
		struct bytes value = { 0 };

		if (c->kind == STORE_IF_VALUE)
			value = c->value;
		err = add_item(b, (uint8_t)c->kind, c->key, value,
			       c->kind == STORE_IF_REV ? c->rev : 0);
	}
	if (!err)
		err = add_ops(b, w->then_ops, w->then_count);
	if (!err)
		err = add_ops(b, w->else_ops, w->else_count);
	if (!err && w->upload)
		err = add_upload(b, w->upload);
	return err;
}

static enum err add_piece(struct buf *b, const struct store_upload *u)
{
	size_t n = upload_piece_bytes(u);
	uint8_t *p = wire_extend(b, 16);

	if (!p)
		return ERR_NOMEM;
	put_u64(p, u->content_id);
	put_u32(p + 8, u->chunks);
	put_u32(p + 12, (uint32_t)n);
	return add_bytes(b, bytes_of(u->buf.p, n), (struct bytes){ 0 });
}

static enum err add_abandon(struct buf *b, const struct store_upload *u)
{
	uint8_t *p = wire_extend(b, 8);

	if (p)
		put_u64(p, u->content_id);
	return p ? OK : ERR_NOMEM;
}

static bool change_is_of_token(enum store_change_kind kind)
{
	return kind == STORE_TOKEN_ADD || kind == STORE_TOKEN_SET ||
	       kind == STORE_TOKEN_REMOVE;
}

static enum err add_token(struct buf *b, const struct store_token *of)
{
	struct store_token token = *of, *t = &token;
	size_t at = b->n;
	uint8_t *p = wire_extend(b, 8);
	struct buf record = BUF_INIT;
	enum err err = p ? OK : ERR_NOMEM;

	if (!t->right) /* a removal names none, a record has one */
		t->right = STORE_RIGHT_READ;
	if (!err)
		err = token_encode(&record, t);
	if (!err) {
		put_u64(b->p + at, record.n);
		err = add_bytes(b, buf_bytes(&record), (struct bytes){ 0 });
	}
	buf_done(&record);
	return err;
}

static enum err add_change(struct buf *b, const struct store_change *c)
{
	const struct store_member *m = &c->member;
	bool is_token = change_is_of_token(c->kind);
	struct bytes name = bytes_str(is_token ? c->token.name : m->name);
	struct bytes peer = bytes_str(is_token ? "" : m->peer);
	struct bytes http = bytes_str(is_token ? "" : m->http);
	uint8_t *p = wire_extend(b, CHANGE_BYTES);
	enum err err;

	if (!p)
		return ERR_NOMEM;
	p[0] = (uint8_t)c->kind;
	p[1] = (uint8_t)((m->stays_learner ? CHANGE_LEARNER : 0) |
			 (c->force ? CHANGE_FORCE : 0));
	put_u16(p + 2, (uint16_t)name.n);
	put_u16(p + 4, (uint16_t)peer.n);
	put_u16(p + 6, (uint16_t)http.n);
	put_u64(p + 8, m->id);
	put_u64(p + 16, c->claim);
	put_u64(p + 24, strlen(c->tag));
	err = add_bytes(b, name, bytes_str(c->tag));
	if (!err)
		err = add_bytes(b, peer, http);
	return err || !is_token ? err : add_token(b, &c->token);
}

enum err request_encode(struct buf *b, const struct request_head *head,
			const struct store_queued *q)
{
	uint8_t *p = wire_extend(b, FORWARD_HEAD_BYTES);

	if (!p)
		return ERR_NOMEM;
	put_u64(p, head->incarnation);
	put_u64(p + 8, head->sequence);
	put_u64(p + 16, head->floor);
	put_u64(p + 24, head->term);
	p[32] = request_kind_to_wire((enum request_kind)q->kind);
	p[33] = head->again;
	switch ((enum request_kind)q->kind) {
	case REQUEST_WRITE:
		return add_write(b, write_of(q));
	case REQUEST_STAGE:
		return add_piece(b, upload_of((struct store_queued *)q));
	case REQUEST_ABANDON:
		return add_abandon(b, upload_of((struct store_queued *)q));
	case REQUEST_CHANGE:
		return add_change(b, change_of(q));
	case REQUEST_FILE:
		return file_encode(b, file_of(q));
	}
	return ERR_INVALID;
}

/* ---------------------------------------------------- decoding requests -- */

enum err request_head_decode(struct bytes *in, struct request_head *head)
{
	const uint8_t *p = wire_take(in, FORWARD_HEAD_BYTES);

	if (!p)
		return ERR_INVALID;
	*head = (struct request_head){ .incarnation = get_u64(p),
				       .sequence = get_u64(p + 8),
				       .floor = get_u64(p + 16),
				       .term = get_u64(p + 24),
				       .again = p[33] };
	if (!request_kind_from_wire(p[32], &head->kind) || p[33] > 1 ||
	    !wire_is_zero(p + 34, 6) || head->sequence == 0 ||
	    head->floor > head->sequence ||
	    head->sequence - head->floor >= FORWARD_WINDOW)
		return ERR_INVALID;
	return OK;
}

struct wire_item {
	uint8_t kind;
	uint64_t number;
	struct bytes key, value;
};

static bool take_item(struct bytes *in, struct wire_item *item)
{
	const uint8_t *p = wire_take(in, ITEM_BYTES), *data;
	size_t key_bytes, value_bytes;

	if (!p || p[1])
		return false;
	key_bytes = get_u16(p + 2);
	value_bytes = get_u32(p + 4);
	data = wire_take(in, key_bytes + value_bytes);
	if (!data)
		return false;
	*item = (struct wire_item){
		.kind = p[0],
		.number = get_u64(p + 8),
		.key = bytes_of(data, key_bytes),
		.value = bytes_of(data + key_bytes, value_bytes),
	};
	return true;
}

static bool take_ops(struct bytes *in, struct store_op *ops, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct wire_item item;

		if (!take_item(in, &item) || item.kind > STORE_GET)
			return false;
		if (item.kind != STORE_PUT && (item.value.n || item.number))
			return false;
		ops[i] = (struct store_op){
			.kind = (enum store_op_kind)item.kind,
			.key = item.key,
			.value = item.value,
			.ttl_ns = item.number,
		};
	}
	return true;
}

static bool take_conditions(struct bytes *in, struct store_condition *c,
			    uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct wire_item item;

		if (!take_item(in, &item) || item.kind > STORE_IF_VALUE)
			return false;
		if ((item.kind != STORE_IF_VALUE && item.value.n) ||
		    (item.kind != STORE_IF_REV && item.number))
			return false;
		c[i] = (struct store_condition){
			.kind = (enum store_condition_kind)item.kind,
			.key = item.key,
			.rev = item.number,
			.value = item.value,
		};
	}
	return true;
}

/* A view as a buffer that must never grow. */
static struct buf borrowed(const uint8_t *p, size_t n)
{
	return (struct buf){ .p = (uint8_t *)(uintptr_t)p, .n = n };
}

/* What an upload holds adds up: chunks staged, the rest in the message. */
static bool upload_is_sound(const struct store_upload *u)
{
	uint64_t staged = (uint64_t)u->chunks * STORE_CHUNK_BYTES;

	return u->bytes == staged + u->buf.n &&
	       u->buf.n <= UPLOAD_STAGE_BYTES &&
	       (u->content_id != 0) == (u->chunks != 0);
}

static bool take_upload(struct bytes *in, struct proxy *x)
{
	const uint8_t *p = wire_take(in, 24), *tail;
	struct store_upload *u = &x->upload;
	size_t n;

	if (!p || x->write.then_count == 0)
		return false;
	n = get_u32(p + 20);
	tail = wire_take(in, n);
	if (!tail)
		return false;
	u->content_id = get_u64(p);
	u->bytes = get_u64(p + 8);
	u->chunks = get_u32(p + 16);
	u->buf = borrowed(tail, n);
	u->key = x->ops[0].key;
	x->write.upload = u;
	return upload_is_sound(u) && u->bytes <= x->s->max_value_bytes;
}

static enum err reserve_room(struct proxy *x, uint32_t count)
{
	uint32_t room = count <= 2 ? 2 : STORE_TXN_OPS_MAX;
	void *conditions, *ops, *results;

	CHECK(count <= STORE_TXN_OPS_MAX);
	if (count <= x->room)
		return OK;
	conditions = realloc(x->conditions, room * sizeof(*x->conditions));
	if (!conditions)
		return ERR_NOMEM;
	x->conditions = conditions;
	ops = realloc(x->ops, room * sizeof(*x->ops));
	if (!ops)
		return ERR_NOMEM;
	x->ops = ops;
	results = realloc(x->results, room * sizeof(*x->results));
	if (!results)
		return ERR_NOMEM;
	x->results = results;
	x->room = room;
	return OK;
}

static enum err take_write(struct bytes *in, struct proxy *x)
{
	const uint8_t *p = wire_take(in, WRITE_BODY_BYTES), *prefix;
	struct store_write *w = &x->write;
	uint32_t count, prefix_bytes, larger;
	enum err err;

	if (!p || p[0] > 15 || p[1] || get_u32(p + 12))
		return ERR_INVALID;
	w->is_txn = p[0] & WRITE_TXN;
	w->delete_prefix = p[0] & WRITE_PREFIX;
	w->condition_count = get_u16(p + 2);
	w->then_count = get_u16(p + 4);
	w->else_count = get_u16(p + 6);
	prefix_bytes = get_u32(p + 8);
	count = w->condition_count + w->then_count + w->else_count;
	prefix = wire_take(in, prefix_bytes);
	if (count > STORE_TXN_OPS_MAX || !prefix ||
	    prefix_bytes > STORE_KEY_BYTES_MAX ||
	    (prefix_bytes && !w->delete_prefix))
		return ERR_INVALID;
	err = reserve_room(x, count ? count : 1);
	if (err)
		return err;
	w->prefix = bytes_of(prefix, prefix_bytes);
	w->conditions = x->conditions;
	w->then_ops = x->ops;
	w->else_ops = x->ops + w->then_count;
	if (!take_conditions(in, x->conditions, w->condition_count) ||
	    !take_ops(in, x->ops, w->then_count + w->else_count))
		return ERR_INVALID;
	if (p[0] & WRITE_UPLOAD && !take_upload(in, x))
		return ERR_INVALID;
	larger = w->then_count > w->else_count ? w->then_count : w->else_count;
	if (p[0] & WRITE_RESULTS) {
		w->results = x->results;
		memset(x->results, 0, larger * sizeof(*x->results));
	}
	return OK;
}

static enum err take_piece(struct bytes *in, struct proxy *x)
{
	const uint8_t *p = wire_take(in, 16), *data;
	struct store_upload *u = &x->upload;
	size_t n;

	if (!p)
		return ERR_INVALID;
	n = get_u32(p + 12);
	data = wire_take(in, n);
	if (!data || n == 0 || n % STORE_CHUNK_BYTES ||
	    n > UPLOAD_PIECE_BYTES_MAX)
		return ERR_INVALID;
	u->content_id = get_u64(p);
	u->chunks = get_u32(p + 8);
	u->buf = borrowed(data, n);
	u->bytes = (uint64_t)u->chunks * STORE_CHUNK_BYTES + n;
	if ((u->content_id != 0) != (u->chunks != 0) ||
	    u->bytes > x->s->max_value_bytes)
		return ERR_INVALID;
	return OK;
}

static enum err take_abandon(struct bytes *in, struct proxy *x)
{
	const uint8_t *p = wire_take(in, 8);

	if (!p || get_u64(p) == 0)
		return ERR_INVALID;
	x->upload.content_id = get_u64(p);
	return OK;
}

static bool copy_text(char *dst, size_t cap, const uint8_t *p, size_t n)
{
	if (n >= cap || (n > 0 && memchr(p, 0, n)))
		return false;
	if (n > 0)
		memcpy(dst, p, n);
	dst[n] = 0;
	return true;
}

/* Its prefix stays a view into the request's bytes. */
static enum err take_token(struct bytes *in, struct store_token *t)
{
	const uint8_t *head = wire_take(in, 8), *record;
	uint64_t n = head ? get_u64(head) : 0;

	record = head && n <= in->n ? wire_take(in, n) : NULL;
	if (!record || token_decode(bytes_of(record, n), t))
		return ERR_INVALID;
	return OK;
}

static enum err take_change(struct bytes *in, struct proxy *x)
{
	const uint8_t *p = wire_take(in, CHANGE_BYTES), *name, *addresses;
	uint64_t tag_bytes;
	struct store_member *m = &x->change.member;
	size_t name_bytes, peer_bytes, http_bytes;

	if (!p || p[0] > STORE_MEMBER_UPDATE || p[1] > CHANGE_FLAGS_ALL)
		return ERR_INVALID;
	name_bytes = get_u16(p + 2);
	peer_bytes = get_u16(p + 4);
	http_bytes = get_u16(p + 6);
	tag_bytes = get_u64(p + 24);
	if (tag_bytes >= sizeof(x->change.tag))
		return ERR_INVALID;
	name = wire_take(in, name_bytes + tag_bytes);
	addresses = name ? wire_take(in, peer_bytes + http_bytes) : NULL;
	if (!addresses)
		return ERR_INVALID;
	x->change.kind = (enum store_change_kind)p[0];
	m->stays_learner = p[1] & CHANGE_LEARNER;
	x->change.force = p[1] & CHANGE_FORCE;
	m->id = get_u64(p + 8);
	x->change.claim = get_u64(p + 16);
	if (!copy_text(x->change.tag, sizeof(x->change.tag), name + name_bytes,
		       tag_bytes))
		return ERR_INVALID;
	if (change_is_of_token(x->change.kind)) {
		if (!copy_text(x->change.token.name,
			       sizeof(x->change.token.name), name,
			       name_bytes) ||
		    peer_bytes || http_bytes)
			return ERR_INVALID;
		return take_token(in, &x->change.token);
	}
	if (!copy_text(m->name, sizeof(m->name), name, name_bytes) ||
	    !copy_text(m->peer, sizeof(m->peer), addresses, peer_bytes) ||
	    !copy_text(m->http, sizeof(m->http), addresses + peer_bytes,
		       http_bytes))
		return ERR_INVALID;
	return OK;
}

enum err request_decode(struct proxy *x)
{
	struct bytes in = buf_bytes(&x->bytes);
	enum err err = ERR_INVALID;

	x->write = (struct store_write){ 0 };
	x->change = (struct store_change){ 0 };
	x->file = (struct store_file_op){ 0 };
	memset(&x->upload, 0, sizeof(x->upload));
	x->upload.s = x->s;
	switch ((enum request_kind)x->head.kind) {
	case REQUEST_WRITE:
		err = take_write(&in, x);
		break;
	case REQUEST_STAGE:
		err = take_piece(&in, x);
		break;
	case REQUEST_ABANDON:
		err = take_abandon(&in, x);
		break;
	case REQUEST_CHANGE:
		err = take_change(&in, x);
		break;
	case REQUEST_FILE:
		err = file_decode(&in, &x->file);
		break;
	}
	return !err && in.n > 0 ? ERR_INVALID : err;
}
