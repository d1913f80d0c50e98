/*
 * node/roster.c - see roster.h.
 *
 * A roster: u32 count, then for each member u64 id, u8 stays_learner and the
 * texts name, peer, http; a text: u16 bytes, then the bytes.
 */
#include "node/roster.h"

#include <stdio.h>

#include "base/check.h"

void roster_address(const struct conf_addr *a,
		    char out[STORE_ADDRESS_BYTES_MAX])
{
	snprintf(out, STORE_ADDRESS_BYTES_MAX,
		 strchr(a->host, ':') ? "[%s]:%u" : "%s:%u", a->host, a->port);
}

void roster_of_conf(const struct conf_members *list, struct roster *r)
{
	memset(r, 0, sizeof(*r));
	r->count = list->count;
	for (uint32_t i = 0; i < list->count; i++) {
		struct store_member *m = &r->member[i];

		m->id = i + 1;
		_Static_assert(sizeof(m->name) >= CONF_NAME_BYTES_MAX, "fits");
		_Static_assert(sizeof(m->peer) >= CONF_HOST_BYTES_MAX + 8,
			       "fits");
		snprintf(m->name, sizeof(m->name), "%s", list->member[i].name);
		roster_address(&list->member[i].peer, m->peer);
		if (list->member[i].http.host[0])
			roster_address(&list->member[i].http, m->http);
	}
}

bool roster_equal(const struct roster *a, const struct roster *b)
{
	if (a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++) {
		if (strcmp(a->member[i].name, b->member[i].name) != 0 ||
		    strcmp(a->member[i].peer, b->member[i].peer) != 0 ||
		    strcmp(a->member[i].http, b->member[i].http) != 0)
			return false;
	}
	return true;
}

const struct store_member *roster_find(const struct roster *r, const char *name)
{
	for (uint32_t i = 0; i < r->count; i++) {
		if (strcmp(r->member[i].name, name) == 0)
			return &r->member[i];
	}
	return NULL;
}

enum err roster_text(const struct roster *r, struct buf *out)
{
	enum err err = OK;

	for (uint32_t i = 0; !err && i < r->count; i++)
		err = buf_addf(out, "%s%s=%s", i ? " " : "", r->member[i].name,
			       r->member[i].peer);
	return err;
}

enum err field_put_text(struct buf *b, const char *text)
{
	uint8_t n[2];
	enum err err;

	put_u16(n, (uint16_t)strlen(text));
	err = buf_add(b, n, sizeof(n));
	return err ? err : buf_add(b, text, strlen(text));
}

enum err field_take(struct bytes *in, void *out, size_t n)
{
	if (in->n < n)
		return ERR_INVALID;
	memcpy(out, in->p, n);
	*in = bytes_of(in->p + n, in->n - n);
	return OK;
}

enum err field_take_text(struct bytes *in, char *out, size_t out_bytes)
{
	uint8_t head[2];
	size_t n;
	enum err err = field_take(in, head, sizeof(head));

	n = err ? 0 : get_u16(head);
	if (!err && n >= out_bytes)
		err = ERR_INVALID;
	if (!err)
		err = field_take(in, out, n);
	if (err)
		return err;
	for (size_t i = 0; i < n; i++) {
		if ((uint8_t)out[i] < ' ' || (uint8_t)out[i] >= 0x7f)
			return ERR_INVALID;
	}
	out[n] = 0;
	return OK;
}

enum err roster_encode(struct buf *b, const struct roster *r)
{
	uint8_t p[9];
	enum err err;

	put_u32(p, r->count);
	err = buf_add(b, p, 4);
	for (uint32_t i = 0; !err && i < r->count; i++) {
		const struct store_member *m = &r->member[i];

		put_u64(p, m->id);
		p[8] = m->stays_learner;
		err = buf_add(b, p, sizeof(p));
		if (!err)
			err = field_put_text(b, m->name);
		if (!err)
			err = field_put_text(b, m->peer);
		if (!err)
			err = field_put_text(b, m->http);
	}
	return err;
}

static enum err take_member(struct bytes *in, struct store_member *m)
{
	uint8_t p[9];
	enum err err = field_take(in, p, sizeof(p));

	if (err)
		return err;
	m->id = get_u64(p);
	m->stays_learner = p[8] == 1;
	if (p[8] > 1)
		return ERR_INVALID;
	err = field_take_text(in, m->name, sizeof(m->name));
	if (!err)
		err = field_take_text(in, m->peer, sizeof(m->peer));
	if (!err)
		err = field_take_text(in, m->http, sizeof(m->http));
	return err;
}

enum err roster_decode(struct bytes *in, struct roster *r)
{
	uint8_t p[4];
	enum err err = field_take(in, p, sizeof(p));

	memset(r, 0, sizeof(*r));
	if (err)
		return err;
	if (get_u32(p) > ROSTER_MAX)
		return ERR_INVALID;
	r->count = get_u32(p);
	for (uint32_t i = 0; !err && i < r->count; i++)
		err = take_member(in, &r->member[i]);
	return err;
}
