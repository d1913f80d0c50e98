/*
 * store/forward_answer.c - results of forwarded requests as bytes: answers, and
 * the record of the window.
 *
 * All integers little-endian, everything 8-aligned, gaps zero.
 *
 *  off  size  answer
 *    0     8  incarnation
 *    8     8  sequence
 *   16     8  term of the request
 *   24     8  index to be applied before the client hears of it
 *   32     1  status: 1 done, 2 not here, 3 lost
 *   33     1  enum err
 *   34     1  flags: 1 appended
 *   35     1  kind, as in the request
 *   36     4  zero
 *   40     -  result (done only)
 *
 *  off  size  result of a write             of a piece: content id u64
 *    0     8  rev_now                       of a change: member id u64
 *    8     8  deleted                       of an abandon: zero u64
 *   16     8  revision
 *   24     4  failed_op
 *   28     1  flags: 1 succeeded, 2 atomic
 *   29     1  zero
 *   30     2  results; each: flags u8 (1 existed, 2 found), zeros, value_bytes
 *             u32, rev u64, value
 *
 *  off  size  result of a file operation
 *    0     8  revision
 *    8     8  found_ino
 *   16     8  found_off
 *   24     8  bytes
 *
 *  off  size  value of the hidden key "\0f"
 *    0     8  incarnation
 *    8     8  sequence
 *   16     1  kind
 *   17     1  flags: 1 succeeded, 2 atomic, 4 there were values of GETs
 *   18     2  results
 *   20     4  zero
 *   24     8  deleted, content id, member id or found_ino
 *   32     -  of a write: a bit for each result that existed
 *             of a file operation: found_off u64, bytes u64
 *
 * The revision, and that of every put, is the index of the record.
 */
#include "base/check.h"
#include "store/forward_internal.h"
#include "store/hidden.h"
#include "store/wire_bytes.h"

enum result_flags {
	RESULT_SUCCEEDED = 1,
	RESULT_ATOMIC = 2,
	RESULT_VALUES = 4
};
enum one_result_flags { ONE_EXISTED = 1, ONE_FOUND = 2 };
enum {
	WRITE_RESULT_BYTES = 32,
	FILE_RESULT_BYTES = 32,
	WINDOW_BYTES = 32,
	WINDOW_FILE_BYTES = 16
};

/* ------------------------------------------------------------- answers --- */

static uint32_t result_count(const struct store_write *w)
{
	if (!w->results || w->err)
		return 0;
	return w->succeeded ? w->then_count : w->else_count;
}

/* Append one value whole; *left is what may still be added. */
static enum err add_value(struct buf *b, struct store_value *v, uint64_t *left)
{
	uint64_t bytes = store_value_info(v)->bytes;
	size_t begin = b->n;
	enum err err = OK;

	if (bytes > *left)
		return ERR_TOO_LARGE;
	*left -= bytes;
	while (!err && b->n - begin < bytes) {
		struct bytes piece;

		err = store_value_read(v, b->n - begin, &piece);
		if (!err)
			err = buf_add(b, piece.p, piece.n);
	}
	if (err)
		return err == ERR_IO ? ERR_CORRUPT : err;
	return wire_extend(b, wire_padded(bytes) - bytes) ? OK : ERR_NOMEM;
}

static enum err add_results(struct buf *b, const struct store_write *w)
{
	uint64_t left = FORWARD_VALUES_BYTES_MAX;
	enum err err = OK;

	for (uint32_t i = 0; i < result_count(w) && !err; i++) {
		const struct store_result *r = &w->results[i];
		uint8_t *p = wire_extend(b, 16);

		if (!p)
			return ERR_NOMEM;
		p[0] = (uint8_t)((r->existed ? ONE_EXISTED : 0) |
				 (r->found ? ONE_FOUND : 0));
		put_u64(p + 8, r->rev);
		if (!r->found)
			continue;
		put_u32(p + 4, (uint32_t)store_value_info(r->value)->bytes);
		err = add_value(b, r->value, &left);
	}
	return err;
}

static enum err add_write_result(struct buf *b, const struct store_write *w)
{
	uint8_t *p = wire_extend(b, WRITE_RESULT_BYTES);

	if (!p)
		return ERR_NOMEM;
	put_u64(p, w->rev_now);
	put_u64(p + 8, w->deleted);
	put_u64(p + 16, w->revision);
	put_u32(p + 24, w->failed_op);
	p[28] = (uint8_t)((w->succeeded ? RESULT_SUCCEEDED : 0) |
			  (w->atomic ? RESULT_ATOMIC : 0));
	put_u16(p + 30, (uint16_t)result_count(w));
	return add_results(b, w);
}

static enum err add_file_result(struct buf *b, const struct store_file_op *op)
{
	uint8_t *p = wire_extend(b, FILE_RESULT_BYTES);

	if (!p)
		return ERR_NOMEM;
	put_u64(p, op->revision);
	put_u64(p + 8, op->found_ino);
	put_u64(p + 16, op->found_off);
	put_u64(p + 24, op->bytes);
	return OK;
}

enum err answer_encode(struct buf *b, const struct answer_head *head,
		       const struct proxy *x)
{
	uint8_t *p = wire_extend(b, FORWARD_HEAD_BYTES);

	if (!p)
		return ERR_NOMEM;
	put_u64(p, head->incarnation);
	put_u64(p + 8, head->sequence);
	put_u64(p + 16, head->term);
	put_u64(p + 24, head->index);
	p[32] = head->status;
	p[33] = head->err;
	p[34] = head->appended;
	p[35] = request_kind_to_wire((enum request_kind)head->kind);
	if (head->status != ANSWER_DONE)
		return OK;
	if (head->kind == REQUEST_WRITE)
		return add_write_result(b, &x->write);
	if (head->kind == REQUEST_FILE)
		return add_file_result(b, &x->file);
	p = wire_extend(b, 8);
	if (!p)
		return ERR_NOMEM;
	if (head->kind == REQUEST_STAGE)
		put_u64(p, x->upload.piece_id);
	else if (head->kind == REQUEST_CHANGE)
		put_u64(p, x->change.id);
	return OK;
}

enum err answer_head_decode(struct bytes *in, struct answer_head *head)
{
	const uint8_t *p = wire_take(in, FORWARD_HEAD_BYTES);

	if (!p)
		return ERR_INVALID;
	*head = (struct answer_head){ .incarnation = get_u64(p),
				      .sequence = get_u64(p + 8),
				      .term = get_u64(p + 16),
				      .index = get_u64(p + 24),
				      .status = p[32],
				      .err = p[33],
				      .appended = p[34] };
	if (head->status == 0 || head->status >= ANSWER_STATUS_MAX ||
	    head->err >= ERR_MAX || head->err == ERR_PENDING || p[34] > 1 ||
	    !request_kind_from_wire(p[35], &head->kind) ||
	    !wire_is_zero(p + 36, 4))
		return ERR_INVALID;
	return OK;
}

static enum err take_results(struct bytes *in, struct store_write *w,
			     uint32_t count)
{
	enum err err = OK;

	for (uint32_t i = 0; i < count && !err; i++) {
		const uint8_t *p = wire_take(in, 16), *value;
		struct store_result *r = &w->results[i];
		size_t n;

		if (!p || p[0] > (ONE_EXISTED | ONE_FOUND) ||
		    !wire_is_zero(p + 1, 3))
			return ERR_INVALID;
		n = get_u32(p + 4);
		value = wire_take(in, n);
		if (!value || (n > 0 && !(p[0] & ONE_FOUND)))
			return ERR_INVALID;
		r->existed = p[0] & ONE_EXISTED;
		r->rev = get_u64(p + 8);
		if (!(p[0] & ONE_FOUND))
			continue;
		err = value_of_bytes(bytes_of(value, n), r->rev, &r->value);
		r->found = !err;
	}
	return err;
}

static enum err take_write_result(struct bytes in, enum err decided,
				  struct store_write *w)
{
	const uint8_t *p = wire_take(&in, WRITE_RESULT_BYTES);
	uint32_t count;
	enum err err = OK;

	if (!p || p[28] > (RESULT_SUCCEEDED | RESULT_ATOMIC) || p[29])
		return ERR_INVALID;
	results_drop(w);
	w->err = decided;
	w->rev_now = get_u64(p);
	w->deleted = get_u64(p + 8);
	w->revision = get_u64(p + 16);
	w->failed_op = get_u32(p + 24);
	w->succeeded = p[28] & RESULT_SUCCEEDED;
	w->atomic = p[28] & RESULT_ATOMIC;
	count = get_u16(p + 30);
	if (count != result_count(w))
		return ERR_INVALID;
	err = take_results(&in, w, count);
	if (!err && in.n > 0)
		err = ERR_INVALID;
	if (err)
		results_drop(w);
	return err;
}

static enum err take_file_result(struct bytes in, enum err decided,
				 struct store_file_op *op)
{
	const uint8_t *p = wire_take(&in, FILE_RESULT_BYTES);

	if (!p || in.n > 0)
		return ERR_INVALID;
	op->err = decided;
	op->revision = get_u64(p);
	op->found_ino = get_u64(p + 8);
	op->found_off = get_u64(p + 16);
	op->bytes = get_u64(p + 24);
	return OK;
}

enum err answer_decode(struct bytes in, const struct answer_head *head,
		       struct store_queued *q)
{
	const uint8_t *p;

	CHECK(head->status == ANSWER_DONE);
	if (head->kind != q->kind)
		return ERR_INVALID;
	if (head->kind == REQUEST_WRITE)
		return take_write_result(in, (enum err)head->err, write_of(q));
	if (head->kind == REQUEST_FILE)
		return take_file_result(in, (enum err)head->err, file_of(q));
	p = wire_take(&in, 8);
	if (!p || in.n > 0)
		return ERR_INVALID;
	if (head->kind == REQUEST_STAGE) {
		if (!head->err && get_u64(p) == 0)
			return ERR_INVALID;
		upload_of(q)->piece_id = get_u64(p);
		upload_of(q)->staged_bytes = upload_piece_bytes(upload_of(q));
	} else if (head->kind == REQUEST_CHANGE) {
		change_of(q)->err = (enum err)head->err;
		change_of(q)->id = get_u64(p);
	}
	return OK;
}

/* ---------------------------------------------------- the record "\0f" --- */

/* What the record keeps of x, in the words of the table above. */
static uint64_t number_of(const struct proxy *x)
{
	switch ((enum request_kind)x->head.kind) {
	case REQUEST_WRITE:
		return x->write.deleted;
	case REQUEST_STAGE:
		return x->upload.piece_id;
	case REQUEST_CHANGE:
		return x->change.id;
	case REQUEST_FILE:
		return x->file.found_ino;
	case REQUEST_ABANDON:
		break;
	}
	return 0;
}

static size_t window_bytes(uint8_t kind, uint32_t results)
{
	if (kind == REQUEST_FILE)
		return WINDOW_BYTES + WINDOW_FILE_BYTES;
	return WINDOW_BYTES + (results + 7) / 8;
}

enum err window_encode(struct entry_builder *b, const struct proxy *x)
{
	const struct store_write *w = &x->write;
	uint32_t count = 0;
	struct engine_record *r = entry_record(b);
	uint8_t *key = entry_room(b, WINDOW_KEY_BYTES), *p;
	size_t n;

	if (x->head.kind == REQUEST_WRITE)
		count = result_count(w);
	n = window_bytes(x->head.kind, count);
	p = entry_room(b, n);
	if (!r || !key || !p)
		return ERR_NOMEM;
	memset(p, 0, n);
	put_u64(p, x->head.incarnation);
	put_u64(p + 8, x->head.sequence);
	p[16] = request_kind_to_wire((enum request_kind)x->head.kind);
	p[17] = (uint8_t)((w->succeeded ? RESULT_SUCCEEDED : 0) |
			  (w->atomic ? RESULT_ATOMIC : 0));
	put_u16(p + 18, (uint16_t)count);
	put_u64(p + 24, number_of(x));
	if (x->head.kind == REQUEST_FILE) {
		put_u64(p + WINDOW_BYTES, x->file.found_off);
		put_u64(p + WINDOW_BYTES + 8, x->file.bytes);
	}
	for (uint32_t i = 0; i < count; i++) {
		if (w->results[i].existed)
			p[WINDOW_BYTES + i / 8] |= (uint8_t)(1u << i % 8);
		if (w->results[i].found)
			p[17] |= RESULT_VALUES;
	}
	r->type = RECORD_PUT;
	r->key = window_key(key, x->node,
			    (uint16_t)(x->head.sequence % FORWARD_WINDOW));
	r->value = bytes_of(p, n);
	return OK;
}

static void take_number(struct proxy *x, uint64_t number)
{
	switch ((enum request_kind)x->head.kind) {
	case REQUEST_WRITE:
		x->write.deleted = number;
		return;
	case REQUEST_STAGE:
		x->upload.piece_id = number;
		return;
	case REQUEST_CHANGE:
		x->change.id = number;
		return;
	case REQUEST_FILE:
		x->file.found_ino = number;
		return;
	case REQUEST_ABANDON:
		return;
	}
}

static void take_file(struct store_file_op *op, const uint8_t *p,
		      uint64_t index)
{
	op->err = OK;
	op->revision = index;
	op->found_off = get_u64(p);
	op->bytes = get_u64(p + 8);
}

enum window_match window_decode(struct bytes value, uint64_t version,
				struct proxy *x)
{
	struct store_write *w = &x->write;
	const uint8_t *p = value.p;
	uint32_t count;
	uint8_t kind;

	if (value.n < WINDOW_BYTES || !request_kind_from_wire(p[16], &kind))
		return WINDOW_BAD;
	if (get_u64(p) != x->head.incarnation)
		return WINDOW_NEW;
	if (get_u64(p + 8) != x->head.sequence)
		return get_u64(p + 8) > x->head.sequence ? WINDOW_PASSED
							 : WINDOW_NEW;
	count = get_u16(p + 18);
	w->err = OK;
	w->succeeded = p[17] & RESULT_SUCCEEDED;
	w->atomic = p[17] & RESULT_ATOMIC;
	w->revision = version_index(version);
	if (kind != x->head.kind ||
	    (kind == REQUEST_WRITE && count != result_count(w)) ||
	    value.n != window_bytes(kind, count))
		return WINDOW_BAD;
	x->known = true;
	x->known_index = version_index(version);
	take_number(x, get_u64(p + 24));
	if (kind == REQUEST_FILE)
		take_file(&x->file, p + WINDOW_BYTES, x->known_index);
	if (p[17] & RESULT_VALUES)
		return WINDOW_LOST;
	for (uint32_t i = 0; i < count && kind == REQUEST_WRITE; i++) {
		const struct store_op *ops =
			w->succeeded ? w->then_ops : w->else_ops;

		w->results[i] = (struct store_result){
			.existed = p[WINDOW_BYTES + i / 8] >> i % 8 & 1,
		};
		if (ops[i].kind == STORE_PUT)
			w->results[i].rev = w->revision;
	}
	return WINDOW_SAME;
}
