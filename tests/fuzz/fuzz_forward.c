/*
 * Any bytes may come as a forwarded request, as an answer, or lie in a record
 * of the window: decoding answers, reads nothing beyond its input, and a
 * request that it accepts is encoded to the same bytes again. The first byte
 * chooses which of them the input is.
 *
 * Decodes: store/forward_codec.c store/forward_file.c
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "store/forward_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct store store = { .o = { .max_value_bytes = 64 << 20 } };

static const struct store_queued *queued(struct proxy *x)
{
	switch ((enum request_kind)x->head.kind) {
	case REQUEST_WRITE:
		return &x->write.queued;
	case REQUEST_STAGE:
	case REQUEST_ABANDON:
		return &x->upload.queued;
	case REQUEST_FILE:
		return &x->file.queued;
	case REQUEST_CHANGE:
		break;
	}
	return &x->change.queued;
}

static void done(struct proxy *x)
{
	results_drop(&x->write);
	buf_done(&x->bytes);
	free(x->conditions);
	free(x->ops);
	free(x->results);
}

static void try_request(struct bytes in)
{
	struct proxy x = { .s = &store };
	struct bytes whole = in;
	struct buf b = BUF_INIT;

	if (request_head_decode(&in, &x.head))
		return;
	CHECK(!buf_add(&x.bytes, in.p, in.n));
	if (request_decode(&x) == OK) {
		x.write.queued.kind = x.head.kind;
		x.upload.queued.kind = x.head.kind;
		x.change.queued.kind = x.head.kind;
		x.file.queued.kind = x.head.kind;
		CHECK(!request_encode(&b, &x.head, queued(&x)));
		CHECK(bytes_equal(buf_bytes(&b), whole));
	} else {
		x.write.results = NULL;
	}
	buf_done(&b);
	done(&x);
}

/* A write of two operations, the second a GET. */
static void try_answer(struct bytes in)
{
	struct store_result results[2] = { 0 };
	struct store_op ops[2] = { { .kind = STORE_PUT },
				   { .kind = STORE_GET } };
	struct proxy x = { .write = { .then_ops = ops,
				      .else_ops = ops,
				      .then_count = 2,
				      .else_count = 1,
				      .results = results } };
	struct answer_head head;

	if (answer_head_decode(&in, &head) || head.status != ANSWER_DONE)
		return;
	x.head.kind = head.kind;
	x.write.queued.kind = head.kind;
	x.upload.queued.kind = head.kind;
	x.change.queued.kind = head.kind;
	x.file.queued.kind = head.kind;
	if (answer_decode(in, &head, (struct store_queued *)queued(&x)) &&
	    head.kind == REQUEST_WRITE)
		CHECK(!results[0].value && !results[1].value);
	results_drop(&x.write);
}

static void try_window(struct bytes in)
{
	struct store_result results[2] = { 0 };
	struct store_op ops[2] = { { .kind = STORE_PUT },
				   { .kind = STORE_DELETE } };
	struct proxy x = { .head = { .kind = REQUEST_WRITE },
			   .write = { .then_ops = ops,
				      .else_ops = ops,
				      .then_count = 2,
				      .else_count = 1,
				      .results = results } };

	if (in.n >= 16) {
		x.head.incarnation = get_u64(in.p);
		x.head.sequence = get_u64(in.p + 8);
	}
	(void)window_decode(in, 1 << 20, &x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct bytes in = bytes_of(data + 1, n - 1);

	if (n == 0)
		return 0;
	switch (data[0] % 3) {
	case 0:
		try_request(in);
		break;
	case 1:
		try_answer(in);
		break;
	case 2:
		try_window(in);
		break;
	}
	return 0;
}
