/*
 * Whatever another node says of itself, or the file "cluster" holds: it is
 * refused, or it encodes to what decodes to the same. The first byte chooses.
 *
 * Decodes: node/formation_wire.c node/roster.c
 * Decodes in part: node/identity.c
 */
#include <stdint.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "node/formation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void again_report(const struct report *r)
{
	static struct report back;
	struct buf b = BUF_INIT;

	CHECK(report_encode(r, &b) == OK);
	CHECK(report_decode(buf_bytes(&b), &back) == OK);
	CHECK(roster_equal(&r->roster, &back.roster));
	CHECK(r->node_id == back.node_id);
	buf_done(&b);
}

static void try_identity(struct bytes in)
{
	static struct identity id, back;
	struct buf b = BUF_INIT, whole = BUF_INIT;

	CHECK(buf_add(&whole, "1234", 4) == OK); /* the checksum, made right */
	CHECK(buf_add(&whole, in.p, in.n) == OK);
	put_u32(whole.p, crc32c(0, whole.p + 4, whole.n - 4));
	if (identity_decode(buf_bytes(&whole), &id) == OK) {
		CHECK(identity_encode(&id, &b) == OK);
		CHECK(identity_decode(buf_bytes(&b), &back) == OK);
		CHECK(roster_equal(&id.roster, &back.roster));
	}
	buf_done(&whole);
	buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct report r;
	static struct claimed c;
	struct question q;
	struct bytes in;

	if (n == 0)
		return 0;
	in = bytes_of(data + 1, n - 1);
	switch (data[0] % 4) {
	case 0:
		if (report_decode(in, &r) == OK)
			again_report(&r);
		break;
	case 1:
		if (claimed_decode(in, &c) == OK)
			again_report(&c.report);
		break;
	case 2:
		if (question_decode(in, &q) == OK)
			CHECK(!q.is_claim || q.name[0]);
		break;
	default:
		try_identity(in);
	}
	return 0;
}
