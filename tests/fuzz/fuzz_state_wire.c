/*
 * Any bytes may come as a chunk of a state, a reply, a question, an answer:
 * every decoder answers, reads nothing beyond its input, and what it accepts
 * is encoded to the same bytes again. The first byte chooses which; chunks are
 * also tried with a right checksum.
 *
 * Decodes: store/state_wire.c
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "store/state_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void try_records(const struct state_chunk *c)
{
	const struct raft_snapshot snapshot = { .index = 1 << 20, .term = 100 };
	struct bytes payload = c->payload;
	struct buf b = BUF_INIT;
	struct record r;

	while (!state_record_next(&payload, c->stream, &r)) {
		b.n = 0;
		if (state_record_fits(&r, r.partition, &snapshot))
			CHECK(!state_records_add(&b, c->stream, &r));
	}
	buf_done(&b);
}

static void try_chunk(struct bytes in)
{
	struct state_chunk c;
	struct buf b = BUF_INIT;

	if (state_chunk_decode(in, &c))
		return;
	if (c.kind == STATE_RECORDS) {
		try_records(&c);
		return;
	}
	CHECK(!state_chunk_encode(&b, &c));
	CHECK(bytes_equal(buf_bytes(&b), in));
	buf_done(&b);
}

static void try_reply(struct bytes in)
{
	struct state_reply r;
	struct buf b = BUF_INIT;

	if (state_reply_decode(in, &r))
		return;
	CHECK(!state_reply_encode(&b, &r));
	CHECK(bytes_equal(buf_bytes(&b), in));
	buf_done(&b);
}

static void try_fetch(struct bytes in)
{
	struct fetch f;
	struct buf b = BUF_INIT;

	if (fetch_decode(in, &f))
		return;
	CHECK(!fetch_encode(&b, &f));
	CHECK(bytes_equal(buf_bytes(&b), in));
	buf_done(&b);
}

static void try_fetched(struct bytes in)
{
	struct fetched f;
	struct buf b = BUF_INIT;
	struct record r;

	if (fetched_decode(in, &f))
		return;
	CHECK(!fetched_begin(&b, f.kind, f.ticket, f.found));
	CHECK(!buf_add(&b, f.payload.p, f.payload.n));
	CHECK(bytes_equal(buf_bytes(&b), in));
	b.n = 0;
	if (!fetched_record(f.payload, &r))
		CHECK(!fetched_record_encode(&b, &r));
	buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct bytes in = bytes_of(data + 1, n - 1);
	uint8_t *copy;

	if (n == 0)
		return 0;
	switch (data[0] % 4) {
	case 0:
		try_chunk(in);
		if (in.n < 4)
			break;
		copy = malloc(in.n);
		CHECK(copy);
		memcpy(copy, in.p, in.n);
		put_u32(copy, crc32c(0, copy + 4, in.n - 4));
		try_chunk(bytes_of(copy, in.n));
		free(copy);
		break;
	case 1:
		try_reply(in);
		break;
	case 2:
		try_fetch(in);
		break;
	case 3:
		try_fetched(in);
		break;
	}
	return 0;
}
