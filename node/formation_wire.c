/*
 * node/formation_wire.c - questions and answers as bytes.
 *
 *   question   u8 kind (1 report, 2 claim); claim: text name, u64 claim
 *   report     u8 kind 1, u8 state, u32 partitions, 16 cluster id, u64 node id,
 *              text name, roster
 *   claimed    u8 kind 2, u8 result, then a report
 *
 * What comes in is never trusted.
 */
#include "node/formation.h"

enum { KIND_REPORT = 1, KIND_CLAIM = 2, REPORT_FIXED_BYTES = 30 };

enum err question_encode(const struct question *q, struct buf *b)
{
	uint8_t kind = q->is_claim ? KIND_CLAIM : KIND_REPORT, p[8];
	enum err err = buf_add(b, &kind, 1);

	if (err || !q->is_claim)
		return err;
	err = field_put_text(b, q->name);
	put_u64(p, q->claim);
	return err ? err : buf_add(b, p, sizeof(p));
}

enum err question_decode(struct bytes in, struct question *q)
{
	uint8_t kind, p[8];
	enum err err = field_take(&in, &kind, 1);

	memset(q, 0, sizeof(*q));
	if (err || (kind != KIND_CLAIM && kind != KIND_REPORT))
		return ERR_INVALID;
	q->is_claim = kind == KIND_CLAIM;
	if (!q->is_claim)
		return OK; /* what a later version may add is not looked at */
	err = field_take_text(&in, q->name, sizeof(q->name));
	if (!err)
		err = field_take(&in, p, sizeof(p));
	if (err)
		return err;
	q->claim = get_u64(p);
	return q->claim > 1 && q->name[0] ? OK : ERR_INVALID;
}

enum err report_encode(const struct report *r, struct buf *b)
{
	uint8_t p[REPORT_FIXED_BYTES];
	enum err err;

	p[0] = KIND_REPORT;
	p[1] = (uint8_t)r->state;
	put_u32(p + 2, r->partitions);
	memcpy(p + 6, r->cluster_id, 16);
	put_u64(p + 22, r->node_id);
	err = buf_add(b, p, sizeof(p));
	if (!err)
		err = field_put_text(b, r->name);
	return err ? err : roster_encode(b, &r->roster);
}

enum err report_decode(struct bytes in, struct report *r)
{
	uint8_t p[REPORT_FIXED_BYTES];
	enum err err = field_take(&in, p, sizeof(p));

	memset(r, 0, sizeof(*r));
	if (err || p[0] != KIND_REPORT || p[1] >= IDENTITY_STATE_MAX)
		return ERR_INVALID;
	r->state = (enum identity_state)p[1];
	r->partitions = get_u32(p + 2);
	memcpy(r->cluster_id, p + 6, 16);
	r->node_id = get_u64(p + 22);
	err = field_take_text(&in, r->name, sizeof(r->name));
	return err ? err : roster_decode(&in, &r->roster);
}

enum err claimed_encode(const struct claimed *c, struct buf *b)
{
	uint8_t p[2] = { KIND_CLAIM, (uint8_t)c->result };
	enum err err = buf_add(b, p, sizeof(p));

	return err ? err : report_encode(&c->report, b);
}

enum err claimed_decode(struct bytes in, struct claimed *c)
{
	uint8_t p[2];
	enum err err = field_take(&in, p, sizeof(p));

	memset(c, 0, sizeof(*c));
	if (err || p[0] != KIND_CLAIM || p[1] < CLAIM_GRANTED ||
	    p[1] > CLAIM_REFUSED)
		return ERR_INVALID;
	c->result = (enum claim_result)p[1];
	return report_decode(in, &c->report);
}
