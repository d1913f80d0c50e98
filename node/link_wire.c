/*
 * node/link_wire.c - see link_wire.h. What comes in is never trusted.
 */
#include "node/link_wire.h"

#include <stdio.h>

#include "base/check.h"
#include "base/crc32c.h"

static const uint8_t magic[4] = { 'r', 'c', 'n', 'l' };

void link_header_encode(uint8_t p[LINK_HEADER_BYTES], enum link_kind kind,
			uint32_t body_bytes, uint32_t body_crc)
{
	CHECK(kind > 0);
	CHECK(kind < LINK_KIND_MAX);
	memset(p, 0, LINK_HEADER_BYTES);
	memcpy(p, magic, sizeof(magic));
	p[4] = LINK_VERSION;
	p[5] = (uint8_t)kind;
	put_u32(p + 8, body_bytes);
	put_u32(p + 12, body_crc);
	put_u32(p + 20, crc32c(0, p, 20));
}

enum err link_header_decode(const uint8_t p[LINK_HEADER_BYTES],
			    struct link_header *h)
{
	if (memcmp(p, magic, sizeof(magic)) != 0)
		return ERR_INVALID;
	if (get_u32(p + 20) != crc32c(0, p, 20))
		return ERR_INVALID;
	if (p[4] != LINK_VERSION)
		return ERR_VERSION;
	if (p[5] == 0 || p[5] >= LINK_KIND_MAX || get_u16(p + 6) ||
	    get_u32(p + 16))
		return ERR_INVALID;
	h->kind = (enum link_kind)p[5];
	h->body_bytes = get_u32(p + 8);
	h->body_crc = get_u32(p + 12);
	if (h->body_bytes > NET_MESSAGE_BYTES_MAX)
		return ERR_INVALID;
	return OK;
}

enum err link_hello_encode(struct buf *b, const struct link_hello *hello)
{
	uint8_t p[LINK_HELLO_FIXED_BYTES] = { 0 };
	size_t n = strlen(hello->name), address_n = strlen(hello->address);
	enum err err = buf_reserve(b, sizeof(p) + n + address_n);

	if (err)
		return err;
	CHECK(n < LINK_NAME_BYTES_MAX);
	CHECK(address_n < NET_ADDRESS_BYTES_MAX);
	p[0] = (uint8_t)hello->purpose;
	p[1] = hello->has_secret;
	put_u16(p + 2, (uint16_t)n);
	put_u16(p + 4, (uint16_t)address_n);
	memcpy(p + 8, hello->cluster_id, 16);
	put_u64(p + 24, hello->from);
	put_u64(p + 32, hello->to);
	memcpy(p + 40, hello->nonce, LINK_NONCE_BYTES);
	memcpy(p + LINK_HELLO_MAC_OFF, hello->mac, LINK_MAC_BYTES);
	err = buf_add(b, p, sizeof(p));
	if (!err)
		err = buf_add(b, hello->name, n);
	return err ? err : buf_add(b, hello->address, address_n);
}

/* Names are those of the configuration; anything else is not shown in logs. */
static bool is_plain(struct bytes s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if (c <= ' ' || c >= 0x7f || c == '"')
			return false;
	}
	return true;
}

enum err link_hello_decode(struct bytes body, struct link_hello *hello)
{
	struct bytes name, address;

	if (body.n < LINK_HELLO_FIXED_BYTES)
		return ERR_INVALID;
	name = bytes_of(body.p + LINK_HELLO_FIXED_BYTES, get_u16(body.p + 2));
	address = bytes_of(name.p + name.n, get_u16(body.p + 4));
	if (name.n == 0 || name.n >= LINK_NAME_BYTES_MAX ||
	    address.n >= NET_ADDRESS_BYTES_MAX ||
	    body.n != LINK_HELLO_FIXED_BYTES + name.n + address.n ||
	    !is_plain(name) || !is_plain(address) || body.p[1] > 1 ||
	    get_u16(body.p + 6) ||
	    (body.p[0] != LINK_FOR_MESSAGES && body.p[0] != LINK_FOR_QUESTIONS))
		return ERR_INVALID;
	memset(hello, 0, sizeof(*hello));
	hello->purpose = (enum link_purpose)body.p[0];
	hello->has_secret = body.p[1];
	memcpy(hello->cluster_id, body.p + 8, 16);
	hello->from = get_u64(body.p + 24);
	hello->to = get_u64(body.p + 32);
	memcpy(hello->nonce, body.p + 40, LINK_NONCE_BYTES);
	memcpy(hello->mac, body.p + LINK_HELLO_MAC_OFF, LINK_MAC_BYTES);
	memcpy(hello->name, name.p, name.n);
	memcpy(hello->address, address.p, address.n);
	return OK;
}

enum err link_refusal_encode(struct buf *b, enum link_refusal code,
			     const char *text)
{
	uint8_t p[4];
	enum err err;

	put_u32(p, code);
	err = buf_add(b, p, sizeof(p));
	return err ? err
		   : buf_addf(b, "%.*s", LINK_REFUSAL_TEXT_BYTES - 1, text);
}

enum err link_refusal_decode(struct bytes body, enum link_refusal *code,
			     char text[LINK_REFUSAL_TEXT_BYTES])
{
	uint32_t number;
	size_t n;

	if (body.n < 4)
		return ERR_INVALID;
	number = get_u32(body.p);
	*code = number >= LINK_REFUSED_VERSION &&
				number <= LINK_REFUSED_MALFORMED
			? (enum link_refusal)number
			: LINK_REFUSED_MALFORMED;
	n = body.n - 4 < LINK_REFUSAL_TEXT_BYTES - 1
		    ? body.n - 4
		    : LINK_REFUSAL_TEXT_BYTES - 1;
	for (size_t i = 0; i < n; i++) {
		uint8_t c = body.p[4 + i];

		text[i] = c < ' ' || c >= 0x7f || c == '"' ? '?' : (char)c;
	}
	text[n] = 0;
	return OK;
}
